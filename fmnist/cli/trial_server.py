"""MLflow's server with PostgreSQL behind it on this machine alone, for trying out what a team has; no mlflow here."""

import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from fmnist.cli import server
from fmnist.config import RunError, UserError

HOST, USER, DATABASE = "127.0.0.1", "fmnist", "mlflow"
OWNER = "postgres"  # as whom PostgreSQL runs where we are root
PROGRAMS = ("initdb", "pg_ctl", "psql", "createdb")
VERSIONS = Path("/usr/lib/postgresql")  # of Debian: in no PATH
START_SECONDS, STOP_SECONDS = 120.0, 10.0
REMEDY = (
    "install it: apt-get install postgresql (Debian, Ubuntu), dnf install postgresql-server, brew install postgresql"
)


@dataclass
class TrialServer:
    """Both servers of a folder: what they keep, a password that nobody has typed, and the way to end them."""

    folder: Path

    def __post_init__(self) -> None:
        """Name what lies there."""
        self.data, self.password, self.pid = (self.folder / name for name in ("postgres", "pgpass", "server.json"))
        self._child: subprocess.Popen[bytes] | None = None  # MLflow's server, where this process has started it

    @property
    def is_running(self) -> bool:
        """Whether MLflow's server of this folder is a process."""
        return self._process() is not None

    @property
    def port(self) -> int:
        """Where MLflow's server of this folder was told to answer."""
        return int(json.loads(self.pid.read_text())["port"])

    def check(self, port: int, database_port: int) -> None:
        """Refuse what cannot be started.

        Raises:
            UserError: PostgreSQL is not installed, or a port or the folder cannot be had.
        """
        _programs()
        self.stop()  # what a start that was cut off has left
        server.check_place(HOST, port)
        server.check_place(HOST, database_port, "--database-port")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_entrance()

    def start(self, port: int, database_port: int) -> None:
        """Start PostgreSQL and MLflow's server in the background and wait until they answer.

        Raises:
            RunError: one of them did not start; with its last output.
        """
        programs = _programs()
        if not self.password.exists():
            self._choose_password()
        if not (self.data / "PG_VERSION").exists():
            self._make_database(programs)
        try:
            self._start_postgres(programs, database_port)
            self._start_mlflow(port, database_port)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> bool:
        """End both servers, what they keep stays; returns whether there was anything to end."""
        process = self._process()
        if process is not None:
            process.terminate()
            with suppress(psutil.TimeoutExpired):
                process.wait(STOP_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if self._child:
            self._child.wait()
        self.pid.unlink(missing_ok=True)
        was_running = self._has_postgres()  # and not only its note, which a machine that lost its power leaves
        if was_running:
            self._carry_out([_programs() / "pg_ctl", "stop", "-D", self.data, "-m", "fast", "-w"])
        return was_running or process is not None

    def _check_entrance(self) -> None:
        """Refuse a folder that PostgreSQL's user may not enter."""
        if _owner() and subprocess.run(["runuser", "-u", _owner(), "--", "test", "-x", self.folder.resolve()],
                                       check=False).returncode:  # fmt: skip
            raise UserError(
                f"PostgreSQL does not run as root, and user {_owner()} may not enter {self.folder}; "
                "name another folder with --store, or be another user"
            )

    def _choose_password(self) -> None:
        """Keep a new one as PostgreSQL's own clients read it: it stands in no command line and in no address."""
        self.password.touch(mode=0o600)
        self.password.write_text(f"{HOST}:*:*:{USER}:{secrets.token_urlsafe(24)}\n")

    def _make_database(self, programs: Path) -> None:
        """Have PostgreSQL lay out its files, with the password for all who connect."""
        owner = _owner()
        shutil.rmtree(self.data, ignore_errors=True)  # half of them, of a start that was cut off
        self.data.mkdir(mode=0o700)
        once = self.folder / "password"
        once.touch(mode=0o600)
        try:
            once.write_text(self.password.read_text().rpartition(":")[2])
            if owner:
                for path in (self.data, once):
                    shutil.chown(path, owner)
            safety = ["--auth=scram-sha-256", f"--pwfile={once}", "--encoding=UTF8", "--no-locale"]
            self._carry_out([programs / "initdb", "-D", self.data, "-U", USER, *safety])
        finally:
            once.unlink()

    def _start_postgres(self, programs: Path, port: int) -> None:
        """Start it where only this machine reaches it, and make the database of the runs if it has none yet."""
        options = f"-p {port} -c listen_addresses={HOST} -c unix_socket_directories=''"
        log = self.data / "server.log"
        self._carry_out([programs / "pg_ctl", "start", "-D", self.data, "-l", log, "-w", "-o", options])
        place = ["-h", HOST, "-p", str(port), "-U", USER, "--no-password"]
        listed = subprocess.run(
            [programs / "psql", *place, "-d", "postgres", "-Atc", "SELECT datname FROM pg_database"],
            env=self._environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if DATABASE not in listed.stdout.split():
            self._carry_out([programs / "createdb", *place, DATABASE], as_owner=False)

    def _start_mlflow(self, port: int, database_port: int) -> None:
        """Start the server, which outlives this process, and wait until it answers."""
        place = f"postgresql+psycopg://{USER}@{HOST}:{database_port}/{DATABASE}"
        command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "2"]
        command += ["--artifacts-destination", str((self.folder / "artifacts").resolve())]
        settings = {**self._environment, "MLFLOW_BACKEND_STORE_URI": place, **server.SETTINGS}
        log = self.folder / "server.log"
        with log.open("wb") as output:
            self._child = started = subprocess.Popen(
                command, env=settings, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        known = {"pid": started.pid, "created": psutil.Process(started.pid).create_time()}
        self.pid.write_text(json.dumps({**known, "port": port}))
        began = time.monotonic()
        while not server.answers(HOST, port):
            if started.poll() is not None or time.monotonic() - began > START_SECONDS:
                last = log.read_text(errors="replace").splitlines()[-server.OUTPUT_LINES :]
                raise RunError("\n".join(["MLflow's server does not answer; its last output:", *last]))
            time.sleep(server.POLL_SECONDS)

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PGPASSFILE": str(self.password.resolve())}

    def _carry_out(self, command: Sequence[str | Path], *, as_owner: bool = True) -> None:
        """Carry out a program of PostgreSQL's, which as root does not run.

        Raises:
            RunError: it failed; with its last output.
        """
        before = ["runuser", "-u", _owner(), "--"] if as_owner and _owner() else []
        # Into a file: the server that pg_ctl starts would hold a pipe open for ever.
        output = self.folder / "postgres.log"
        with output.open("wb") as written:
            ended = subprocess.run(
                [*before, *map(str, command)], env=self._environment, stdin=subprocess.DEVNULL,
                stdout=written, stderr=written, cwd=self.folder, check=False,
            )  # fmt: skip
        if ended.returncode:
            last = output.read_text(errors="replace").splitlines()[-server.OUTPUT_LINES :]
            raise RunError("\n".join([f"{Path(command[0]).name} failed; its last output:", *last]))

    def _has_postgres(self) -> bool:
        """Whether PostgreSQL of this folder is a process."""
        with suppress(OSError, ValueError, IndexError, psutil.Error):
            process = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
            return process.name().startswith("postgres") and process.status() != psutil.STATUS_ZOMBIE
        return False

    def _process(self) -> psutil.Process | None:
        """MLflow's server, if the process of that number is still the one that was started."""
        with suppress(OSError, ValueError, KeyError, psutil.Error):
            known = json.loads(self.pid.read_text())
            process = psutil.Process(known["pid"])
            if process.create_time() == known["created"] and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def _owner() -> str:
    """Who PostgreSQL runs as where we are root, or nobody else.

    Raises:
        UserError: there is nobody.
    """
    if os.geteuid() != 0:
        return ""
    with suppress(KeyError):
        return pwd.getpwnam(OWNER).pw_name
    raise UserError(f"PostgreSQL does not run as root, and there is no user {OWNER}; be another user")


def _programs() -> Path:
    """The folder of PostgreSQL's newest programs.

    Raises:
        UserError: there is none.
    """
    named = [Path(folder) for folder in os.get_exec_path()]
    versions = sorted(VERSIONS.glob("[0-9]*/bin"), key=lambda path: float(path.parent.name))
    whole = [folder for folder in (*named, *versions) if all((folder / name).exists() for name in PROGRAMS)]
    if not whole:
        raise UserError(f"there is no PostgreSQL on this machine; {REMEDY}")
    return whole[-1]
