"""Scale: what commands and sweeps take against the runs of a store in a file, in PostgreSQL, and behind a server.

Each size of each store is made once, and measured in turn: a comparison of all runs, twice; a plan of 1,080 runs, of
which the store has what it holds; a sweep, and what a run of it costs beside training; watching what has ended.
"""

import math
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg

from bench.processes import run_python, variables
from bench.table import Row
from fmnist import tracking
from fmnist.cli.trial_server import DATABASE, HOST, USER, TrialServer
from fmnist.config import Config, UserError
from fmnist.training.data import load
from tests import invented
from tests.server import free_port

RUNS = (100, 1_000, 10_000)
URI = "MLFLOW_TRACKING_URI"
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
BESIDE = "a run of a sweep beside training"
GOALS = {"comparing all runs, first of all": "at most 15 s", "comparing all runs, first in a folder": "at most 15 s",
         "comparing all runs, again": "at most 6 s", "planning 1,080 runs": "at most 10 s", BESIDE: "at most 2 times",
         "requests beside a run's own": "below 15"}  # fmt: skip
Figures = dict[str, float]


def rows() -> Iterator[Row]:
    """All of it."""
    invented.DIGEST = load(Config().data).digest  # so that the plan finds the runs
    with tempfile.TemporaryDirectory(prefix="scale") as temporary:
        folder = Path(temporary)
        for place in (folder, folder.parent):  # which PostgreSQL's user has to enter; the parent is this process's own
            if place.stat().st_mode & 0o777 == 0o700:
                place.chmod(0o711)
        figures: dict[str, list[Figures]] = {"SQLite file": [], "PostgreSQL": [], "server over PostgreSQL": []}
        for runs in RUNS:
            place = folder / str(runs)
            invented.make(place / "file", runs)
            stack, reached = ExitStack(), []
            with stack:
                try:
                    trial, address, database = stack.enter_context(servers(place / "server", place / "file/mlflow.db"))
                    reached = [("PostgreSQL", database), ("server over PostgreSQL", address)]
                except UserError as reason:
                    yield Row(f"PostgreSQL, and a server over it, {runs:,} runs", "skipped", str(reason), "", math.nan)
                for name, uri in reached:
                    log = trial.folder / "server.log" if uri.startswith("http") else None
                    secret = {"PGPASSFILE": str(trial.password)}
                    figures[name].append(_measured(str(place / name), {URI: uri, **secret}, log))
            figures["SQLite file"].append(_measured(str(place / "file"), {URI: ""}))
        for name, of_size in figures.items():
            yield from _grown(name, dict(zip(RUNS, of_size, strict=False)))


def _grown(store: str, figures: dict[int, Figures]) -> Iterator[Row]:
    """A row for each figure: the most runs beside the fewest."""
    for what in figures.get(RUNS[0], ()):
        values = [figures[runs][what] for runs in RUNS]
        unit = "" if "requests" in what else " s"
        series = ", ".join(f"{runs:,}: {value:.1f}" for runs, value in zip(RUNS, values, strict=True))
        exponent = math.log(values[-1] / values[0]) / math.log(RUNS[-1] / RUNS[0])
        against = f"{RUNS[0]} runs (of {series}{unit}; exponent {exponent:.2f})"
        texts = f"{values[-1]:.1f}{unit}", against, f"{values[0]:.1f}{unit}"
        yield Row(f"{store}, {RUNS[-1]:,} runs: {what}", *texts, values[-1] / values[0], GOALS.get(what, ""))


def _measured(folder: str, environment: dict[str, str], log: Path | None = None) -> Figures:
    """Seconds of every command by what it does, and by a server's log what a run of the sweep asked it for."""
    figures = Figures()
    with variables(environment):
        figures["comparing all runs, first of all"] = _seconds("fmnist.compare", "--store", folder)
        figures["comparing all runs, again"] = _seconds("fmnist.compare", "--store", folder)
        if log:
            figures["comparing all runs, first in a folder"] = _seconds("fmnist.compare", "--store", f"{folder}-new")
        figures["planning 1,080 runs"] = _seconds("fmnist.train", "-m", *GRID, f"store={folder}")
        began = log.stat().st_size if log else 0
        figures[f"sweep of {SWEPT} runs, {WORKERS} workers"] = sweep(folder)
        if log:  # what came before its first record was planning
            _, _, swept = log.read_bytes()[began:].decode(errors="replace").partition("mlflow/runs/create")
            asked = re.findall(r'"[A-Z]+ (/api/[^ ?"]+)', swept)
            beside = [path for path in asked if not OF_A_RECORD.search(path)]
            figures |= {"requests beside a run's own": len(beside) / SWEPT, "requests of a run": len(asked) / SWEPT}
        figures[BESIDE] = beside_training(folder)
        figures["watching what has ended"] = _seconds("fmnist.watch", "--store", folder)
    return figures


def sweep(folder: str) -> float:
    """Sweep, and return the seconds."""
    return _seconds("fmnist.train", "-m", *SWEEP, f"store={folder}")


def beside_training(folder: str) -> float:
    """Seconds that a run of the last sweep took beside its training."""
    return float(tracking.load(folder)["time/overhead_s"].iloc[-SWEPT:].mean())


def _seconds(module: str, *arguments: str) -> float:
    began = time.perf_counter()
    run_python("-m", module, *arguments)
    return time.perf_counter() - began


# ---- PostgreSQL and MLflow's server ---------------------------------------------------------------------------


@contextmanager
def servers(folder: Path, file: Path) -> Iterator[tuple[TrialServer, str, str]]:
    """PostgreSQL and MLflow's server with the rows of an SQLite file in two databases.

    Gives the servers, the address of MLflow's, and that of the database which no server uses.

    Raises:
        UserError: there is no PostgreSQL here.
    """
    trial, ports = TrialServer(folder), (free_port(), free_port())
    trial.check(*ports)
    place = f"postgresql://{USER}@{HOST}:{ports[1]}/"
    with variables({URI: "", "PGPASSFILE": str(trial.password), "UVICORN_LOG_LEVEL": "info"}):
        trial.start(*ports)
        try:
            with psycopg.connect(place + DATABASE, autocommit=True) as postgres:
                postgres.execute("CREATE DATABASE direct")
            with variables({URI: place + "direct"}):
                tracking.Store(file.parent)  # which makes the tables
            _fill(place + "direct", file)
            _fill(place + DATABASE, file, artifacts="mlflow-artifacts:/")
            yield trial, f"http://{HOST}:{ports[0]}", place + "direct"
        finally:
            trial.stop()


def _fill(database: str, file: Path, artifacts: str = "") -> None:
    """Give a database the rows of an SQLite file alone; experiments keep what their runs leave in this place."""
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
        next_id = "pg_get_serial_sequence('experiments', 'experiment_id')"
        target.execute(f"SELECT setval({next_id}, max(experiment_id)) FROM experiments")
        if artifacts:
            target.execute("UPDATE experiments SET artifact_location = %s || experiment_id", [artifacts])
