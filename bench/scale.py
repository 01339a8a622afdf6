"""Scale: what commands and sweeps take against the runs of a store in a file, in PostgreSQL, and behind a server.

Each size of each store is made once, and measured in turn: a comparison of all runs, twice; a plan of 1,080 runs, of
which the store has what it holds; a sweep, and what a run of it costs beside training; watching what has ended.
"""

import importlib
import math
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bench.processes import run_python, variables
from bench.table import Row
from fmnist import tracking
from fmnist.config import Config, RunError
from fmnist.training.data import load
from tests import invented

RUNS = (100, 1_000, 10_000)
URI, START_SECONDS = "MLFLOW_TRACKING_URI", 120.0
GRID = (
    *("model.batch_norm=false,true", "augment=article,none", "model.dropout=0.0,0.25,0.5", "data.scale=raw,unit"),
    *("optimizer.learning_rate=0.001,0.0003,0.003", "seed=0,1,2,3,4", "epochs=1,3,10"),
    *("compute.precision=float32", "study.dry_run=true"),
)
WORKERS = 8
SWEEP = (
    *("model.filters=4", "model.kernel_size=3", "data.limit=600", "compute.precision=float32"),
    *("seed=0,1,2,3,4,5,6,7", "epochs=1,2", f"hydra.launcher.n_jobs={WORKERS}"),
)
SWEPT = 16  # runs
OF_A_RECORD = re.compile(r"mlflow-artifacts|logged-models|runs/(create|get|update|log-|set-tag|outputs)")
GOALS = {"comparing all runs, first": "at most 15 s", "comparing all runs, again": "at most 6 s",
         "planning 1,080 runs": "at most 10 s", "a run of a sweep beside training": "at most 2 times",
         "requests beside a run's own": "below 15"}  # fmt: skip
Figures = dict[str, float]


class SkippedError(Exception):
    """The machine cannot do it; says why."""


def rows() -> Iterator[Row]:
    """All of it."""
    invented.DIGEST = load(Config().data).digest  # so that the plan finds the runs
    with tempfile.TemporaryDirectory(prefix="scale") as folder, ExitStack() as stack:
        files = {runs: Path(folder) / str(runs) for runs in RUNS}
        for runs, file in files.items():
            invented.make(file, runs)
        try:
            address = stack.enter_context(_postgresql(Path(folder)))
            databases = {
                (way, runs): _filled(address, f"{way}_{runs}", files[runs] / "mlflow.db")
                for way in ("direct", "served")
                for runs in RUNS
            }
        except SkippedError as reason:
            databases = {}
            yield Row("PostgreSQL, and a server over it", "skipped", str(reason), "", math.nan)
        yield from _grown("SQLite file", {runs: _measured(str(file), {}) for runs, file in files.items()})
        if databases:
            direct = {runs: _measured(f"{folder}/direct-{runs}", {URI: databases["direct", runs]}) for runs in RUNS}
            yield from _grown("PostgreSQL", direct)
            served = {runs: _served(Path(folder) / f"served-{runs}", databases["served", runs]) for runs in RUNS}
            yield from _grown("server over PostgreSQL", served)


def _grown(store: str, figures: dict[int, Figures]) -> Iterator[Row]:
    """A row for each figure: the most runs beside the fewest."""
    for what in figures[RUNS[0]]:
        values = [figures[runs][what] for runs in RUNS]
        unit = "" if "requests" in what else " s"
        series = ", ".join(f"{runs:,}: {value:.1f}" for runs, value in zip(RUNS, values, strict=True))
        exponent = math.log(values[-1] / values[0]) / math.log(RUNS[-1] / RUNS[0])
        against = f"{RUNS[0]} runs (of {series}{unit}; exponent {exponent:.2f})"
        texts = f"{values[-1]:.1f}{unit}", against, f"{values[0]:.1f}{unit}"
        yield Row(f"{store}, {RUNS[-1]:,} runs: {what}", *texts, values[-1] / values[0], GOALS.get(what, ""))


def _measured(folder: str, environment: dict[str, str], log: Path | None = None) -> Figures:
    """Seconds of every command by what it does, and by a server's log what a run of the sweep asked it for."""
    store, figures = f"store={folder}", Figures()
    with variables({URI: "", **environment}):
        figures["comparing all runs, first"] = _seconds("fmnist.compare", "--store", folder)
        figures["comparing all runs, again"] = _seconds("fmnist.compare", "--store", folder)
        figures["planning 1,080 runs"] = _seconds("fmnist.train", "-m", *GRID, store)
        figures[f"sweep of {SWEPT} runs, {WORKERS} workers"] = _seconds("fmnist.train", "-m", *SWEEP, store)
        if log:  # what came before its first record was planning
            planned_and_asked = log.read_text(errors="replace").split("mlflow/runs/create", 1)
            asked = re.findall(r'"[A-Z]+ (/api/[^ ?"]+)', planned_and_asked[-1])
            beside = [path for path in asked if not OF_A_RECORD.search(path)]
            figures |= {"requests beside a run's own": len(beside) / SWEPT, "requests of a run": len(asked) / SWEPT}
        runs = tracking.load(folder)
        figures["a run of a sweep beside training"] = float(runs["time/overhead_s"].iloc[-SWEPT:].mean())
        figures["watching what has ended"] = _seconds("fmnist.watch", "--store", folder)
    return figures


def _seconds(module: str, *arguments: str) -> float:
    began = time.perf_counter()
    run_python("-m", module, *arguments)
    return time.perf_counter() - began


def _served(folder: Path, database: str) -> Figures:
    """The same by a server of MLflow's over a database."""
    with _server(database, folder) as (address, log):
        return _measured(str(folder), {URI: address}, log)


# ---- PostgreSQL and MLflow's server ---------------------------------------------------------------------------


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def _postgresql(folder: Path) -> Iterator[str]:
    """The address of a server of PostgreSQL that only this machine reaches, without the name of a database.

    Raises:
        SkippedError: there is none here, or no driver for it.
    """
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        raise SkippedError("PostgreSQL is not installed")
    if importlib.util.find_spec("psycopg") is None:
        raise SkippedError("there is no psycopg; install 'fmnist[postgres]'")
    user = {"user": "postgres"} if os.geteuid() == 0 else {}  # root may not run it
    place, data, port = places[-1], folder / "postgresql", _free_port()
    data.mkdir()
    if user:
        shutil.chown(data, "postgres")
        folder.chmod(0o755)
    make = [place / "initdb", "-D", data / "data", "-U", "fmnist", "--auth=trust", "-E", "UTF8", "--locale=C"]
    subprocess.run(make, check=True, capture_output=True, cwd="/", **user)  # type: ignore[call-overload]
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": data, "fsync": "off"}
    start = [place / "postgres", "-D", data / "data", *(f"--{key}={value}" for key, value in settings.items())]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    with subprocess.Popen(start, **quiet, **user) as server:  # type: ignore[call-overload]
        try:
            ready = [place / "pg_isready", "-q", "-h127.0.0.1", f"-p{port}"]
            _until(server, lambda: subprocess.run(ready, check=False).returncode == 0)
            yield f"postgresql://fmnist@127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGINT)  # which does not wait for those who are connected


def _until(server: "subprocess.Popen[bytes]", answers: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RunError("a server does not start")
        time.sleep(0.2)


def _filled(address: str, name: str, file: Path) -> str:
    """The address of a new database with the rows of an SQLite file."""
    psycopg = importlib.import_module("psycopg")
    with psycopg.connect(f"{address}/postgres", autocommit=True) as postgres:
        postgres.execute(f'CREATE DATABASE "{name}"')
    database = f"{address}/{name}"
    with variables({URI: database}):
        tracking.Store(file.parent)  # which makes the tables
    with closing(sqlite3.connect(file)) as source, psycopg.connect(database) as target:
        target.execute("SET session_replication_role = replica")  # foreign keys in any order
        columns = (
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
        )
        kinds = {(table, column): kind for table, column, kind in target.execute(columns)}
        tables = {table for table, _ in kinds} - {"alembic_version"}
        target.execute(f"TRUNCATE {', '.join(sorted(tables))}")
        for table in tables:
            names = [row[1] for row in source.execute(f"PRAGMA table_info({table})")]
            is_bool = [kinds[table, column] == "boolean" for column in names]
            quoted = ", ".join(f'"{column}"' for column in names)
            with target.cursor().copy(f"COPY {table} ({quoted}) FROM STDIN") as rows:
                for row in source.execute(f"SELECT {quoted} FROM {table}"):
                    rows.write_row(
                        [
                            bool(value) if flag and value is not None else value
                            for value, flag in zip(row, is_bool, strict=True)
                        ]
                    )
    return database


@contextmanager
def _server(database: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """The address of MLflow's server over a database, and the file where it writes what it is asked for."""
    folder.mkdir()
    port, log = _free_port(), folder / "server.log"
    place = ["--host", "127.0.0.1", "--port", str(port), "--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_BACKEND_STORE_URI": database, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as output, variables(quiet | {"MLFLOW_DISABLE_TELEMETRY": "true"}):
        command = [sys.executable, "-m", "mlflow", "server", *place, "--uvicorn-opts", "--log-level info"]
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _until(server, lambda: _answers(port))
        yield f"http://127.0.0.1:{port}", log
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(port: int) -> bool:
    with suppress(OSError, HTTPException), closing(HTTPConnection("127.0.0.1", port, timeout=1)) as connection:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False
