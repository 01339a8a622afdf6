"""Where the store is and how it is spoken to: MLflow's client, with patience."""

import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # by itself it would try for minutes: Client waits
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines at the end of every run

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from fmnist.config import RunError, UserError

logging.getLogger("mlflow").setLevel(logging.WARNING)  # it announces every table that it creates
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # and prints tracebacks that it raises too
_AWAY = ("failed with exception", "Connection refused", "database is locked", "error 502", "error 503", "error 504")


def address(store: str) -> str:
    """The tracking URI of a store folder: MLFLOW_TRACKING_URI where it is set, else the folder's database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(store).resolve()}/mlflow.db"


class StoreError(RunError):
    """The store refused something; the message is one line."""


class AwayError(StoreError):
    """The store does not answer, or is busy: later it may."""


class Client:
    """MLflow's client, whose calls wait for a server that is away or a database that is locked.

    Sending a call twice leaves nothing double: MLflow keeps one of metrics, parameters and tags that are equal.
    """

    def __init__(self, uri: str, patience: float) -> None:
        """Connect to a store; a call waits up to `patience` seconds for it, which may change while it waits."""
        self.uri, self.patience = uri, patience
        self._client = self._waiting(MlflowClient)(uri)

    def __getattr__(self, name: str) -> Any:
        """A method of MLflow's client, waiting."""
        return self._waiting(getattr(self._client, name))

    def at_once(self, name: str) -> Any:
        """A method that does not wait."""
        return self._waiting(getattr(self._client, name), 0.0)

    def _waiting(self, act: Callable[..., Any], patience: float | None = None) -> Callable[..., Any]:
        def patiently(*arguments: Any, **options: Any) -> Any:
            began = time.monotonic()
            while True:
                try:
                    return act(*arguments, **options)
                except (MlflowException, RequestException, SQLAlchemyError) as error:
                    away = isinstance(error, RequestException) or any(sign in str(error) for sign in _AWAY)
                    if not away:
                        raise StoreError(f"{self.uri} refuses: {_reason(error)}") from error
                    if time.monotonic() - began >= (self.patience if patience is None else patience):
                        raise AwayError(f"{self.uri} does not answer: {_reason(error)}") from error
                    time.sleep(1.0)
                except OSError as error:  # of an artifact
                    raise StoreError(f"{error.filename2 or error.filename or self.uri}: {error.strerror}") from error

        return patiently


def _reason(error: Exception) -> str:
    """The reason of an error in a line: the database's own, or the innermost of requests, which comes last."""
    lines = str(error).splitlines()
    first = next((line for line in lines if line.startswith("(") and "Error)" in line), lines[0])
    return first.split(": ")[-1].strip("')\"") if "Caused by" in first else first


def create(uri: str) -> None:
    """Make a new database elsewhere and move it here when it is whole: MLflow cannot go on with half of one."""
    path = Path(uri.removeprefix("sqlite:///"))
    part = path.parent / ".new"
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    part.mkdir(parents=True)
    Client(f"sqlite:///{part / path.name}", patience=0.0)
    (part / path.name).replace(path)
    shutil.rmtree(part)


def is_new(uri: str) -> bool:
    """Whether a store is a database file that does not exist yet.

    Raises:
        UserError: it does exist, but this MLflow cannot work with it.
    """
    if not uri.startswith("sqlite:///"):
        return False
    path = Path(uri.removeprefix("sqlite:///"))
    try:
        path.open("rb").close()  # whose errors are clearer than SQLite's
        _check_tables(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); it should be the database of all runs") from error
    return False


def _check_tables(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
            (version,) = database.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    except sqlite3.Error as error:
        if "locked" in str(error):  # for the client to wait
            return
        remedy = "put a copy of it back, or move it away to start anew"
        raise UserError(f"{path} is damaged, or no database of MLflow ({error}); {remedy}") from error
    _check_version(path, version)


def _check_version(path: Path, version: str) -> None:
    """Refuse tables of another MLflow: it would rebuild older ones without asking, and lose its way in newer ones."""
    folder = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    migrations = [file.read_text(encoding="utf-8") for file in folder.glob("*.py")]
    if not any(f'\nrevision = "{version}"' in migration for migration in migrations):
        raise UserError(
            f"{path} was written by a newer MLflow than {mlflow.__version__}; install that, or move it away"
        )
    if any(f'\ndown_revision = "{version}"' in migration for migration in migrations):
        raise UserError(
            f"{path} was written by an older MLflow than {mlflow.__version__}; keep a copy, then run "
            f"python -m mlflow db upgrade sqlite:///{path}"
        )
