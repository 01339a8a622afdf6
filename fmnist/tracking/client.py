"""Where the store is and how it is spoken to: MLflow's client, with patience."""

import gc
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from requests import RequestException
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from fmnist import words
from fmnist.config import RunError, UserError
from fmnist.schema import VAL_ACCURACY
from fmnist.tracking.server_requests import numbers, of_json, search
from fmnist.tracking.stored import Number, StoredRun, leave_out

logging.getLogger("mlflow").setLevel(logging.WARNING)  # it announces every table that it creates
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # and prints tracebacks that it raises too
PAGE = 250  # runs of one answer: a busy server needs seconds for them, and 20 s is all that a call waits
BATCH = 1000  # metrics of one call
_STUMBLED = "500 error responses"  # of a server that is there
_AWAY = ("failed with exception", "Connection refused", "database is locked", "error 502", "error 503", "error 504")

_REFUSED = (r"(?:password|peer) authentication failed[^\n]*", "no password supplied", r'\w+ "[^"\n]*" does not exist',
            "no pg_hba.conf entry", r"Access denied[^\n]*")  # fmt: skip
_DAMAGED = ("database disk image is malformed", "file is not a database")
SCHEME = "sqlite:///"
_DATABASES = ("postgresql", "mysql", "mssql")
_SCHEMES = ("http://", "https://", SCHEME, *_DATABASES, "file://", "databricks://")


def address(folder: str | Path) -> str:
    """The tracking URI of a store's folder: MLFLOW_TRACKING_URI where it is set, else the folder's database.

    Raises:
        UserError: MLFLOW_TRACKING_URI is none that MLflow's servers and databases have.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri and "://" in uri and not uri.startswith(_SCHEMES):
        got = words.shown(words.without_passwords(uri))
        raise UserError(f"MLFLOW_TRACKING_URI must begin with one of {', '.join(_SCHEMES)}, but got {got}")
    return uri or SCHEME + quote(str(Path(folder).resolve() / "mlflow.db"))


def elsewhere(error: Exception, folder: str | Path) -> str:
    """`; start it, or ...`: the way out where the server does not answer that MLFLOW_TRACKING_URI names."""
    if not isinstance(error, AwayError) or not os.environ.get("MLFLOW_TRACKING_URI"):
        return ""
    return f"; start it, or unset MLFLOW_TRACKING_URI to use the store in {folder}"


def database_path(uri: str) -> Path:
    """The file of an SQLite store."""
    return Path(unquote(uri.removeprefix(SCHEME)))


class StoreError(RunError):
    """The store refused something; the message is one line, without the password of an address."""

    def __init__(self, message: str) -> None:
        """With the message."""
        super().__init__(words.without_passwords(message))


class AwayError(StoreError):
    """The store does not answer, or is busy: later it may."""


class UnusableError(StoreError, UserError):
    """The database cannot be used, and it is the user who can mend that."""


def damaged(uri: str, reason: object) -> UnusableError:
    """What to say of a database that is none, or of which a part cannot be read, for the reason that SQLite gives."""
    remedy = "put a copy of it back, or move it away to start anew"
    return UnusableError(f"{database_path(uri)} is damaged, or no database of MLflow ({reason}); {remedy}")


def as_written(text: bytes) -> str:
    """A text of a database, with marks where it is damaged: what is wrong with a run shall not stop all others."""
    return text.decode(errors="replace")


@event.listens_for(Engine, "connect")
def _read_damaged_texts(connection: Any, _: Any) -> None:
    if hasattr(connection, "text_factory"):  # of SQLite
        connection.text_factory = as_written


class Client:
    """MLflow's client, whose calls wait for a server that is away or a database that is locked.

    Sending a call twice leaves nothing double: MLflow keeps one of metrics, parameters and tags that are equal.
    """

    tries = 3  # of a call that a server answers with an error of its own, however short the patience

    def __init__(self, uri: str, patience: float) -> None:
        """Connect to a store; a call waits up to `patience` seconds for it, which may change while it waits."""
        self.uri, self.patience = uri, patience
        self._check: Callable[[], None] = lambda: None  # before every call
        with self.waiting(_alone)(uri) if uri.startswith(_DATABASES) else nullcontext():
            self._client = self.waiting(MlflowClient)(uri)

    def __getattr__(self, name: str) -> Any:
        """A method of MLflow's client, waiting."""
        return self.waiting(getattr(self._client, name))

    def guarded(self, check: Callable[[], None]) -> "Client":
        """The same client, which makes sure before every call that it may be made."""
        other = object.__new__(Client)
        vars(other).update(vars(self) | {"_check": check})
        return other

    def at_once(self, name: str) -> Any:
        """A method that does not wait."""
        return self.waiting(getattr(self._client, name), 0.0)

    def new_run(self, experiment: str, name: str, tags: dict[str, str] | None = None) -> str:
        """Create a run and return its id."""
        return str(self.create_run(experiment, run_name=name, tags=tags).info.run_id)

    def log_metrics(self, run_id: str, metrics: list[Metric], wait: bool = True) -> None:
        """Log numbers in as many calls as they need, waiting in each or in none."""
        send = self.log_batch if wait else self.at_once("log_batch")
        for start in range(0, len(metrics), BATCH):
            send(run_id, metrics=metrics[start : start + BATCH])

    def by_step(self, run_id: str, key: str) -> dict[int, float]:
        """The values of a metric that a run has logged, of a step the last; what is no number or step is named."""
        logged = ((metric.step, metric.value) for metric in self.get_metric_history(run_id, key))
        return {step: value for step, value in logged if is_number_of_step(run_id, key, step, value)}

    def numbers(self, run_ids: Sequence[str], key: str) -> list[Number]:
        """What runs of a server have logged under a key, as `server_requests.numbers` gives it."""
        return list(self.waiting(numbers)(self._credentials, run_ids, key))

    def text(self, run_id: str, artifact: str) -> str:
        """A text that a run has kept, nothing if it cannot be read."""
        with suppress(StoreError, OSError), tempfile.TemporaryDirectory() as folder:
            return Path(self.download_artifacts(run_id, artifact, folder)).read_text("utf-8", "replace")
        return ""

    @property
    def _credentials(self) -> Any:
        return self._client._tracking_client.store.get_host_creds()

    def all_runs(self, experiment: str, condition: str = "", order: str = "") -> Iterator[StoredRun]:
        """The runs of an experiment that are not deleted and meet MLflow's filter, newest first or in that order."""
        token: str | None = None
        while True:
            with _no_garbage_collection():
                options = {"order_by": [order] if order else None, "max_results": PAGE, "page_token": token}
                page = self.search_runs([experiment], condition, **options)
            yield from map(stored, page)
            token = page.token
            if not token:
                return

    def page(self, experiment: str, offset: int) -> list[StoredRun]:
        """So many runs of a server's experiment from the offset on, newest first."""
        runs, _ = self.waiting(search)(self._credentials, experiment, offset=offset, count=PAGE)
        return [of_json(run) for run in runs]

    def counts(self, experiment: str, condition: str, number: int) -> bool:
        """Whether so many runs of a server's experiment meet MLflow's filter: the last is there, and none after it."""
        last = max(0, number - 1)
        runs, more = self.waiting(search)(self._credentials, experiment, condition, offset=last, count=1)
        return len(runs) == min(number, 1) and not more

    def artifact(self, experiment: str, name: str) -> bytes:
        """A file among an experiment's artifacts, beside those of its runs; empty where there is none to be had."""
        # Every kind of place has errors of its own: no rights, no package for that bucket.
        with suppress(Exception), tempfile.TemporaryDirectory() as folder:
            return Path(self._artifacts(experiment).download_artifacts(name, folder)).read_bytes()
        return b""

    def put_artifact(self, experiment: str, name: str, content: bytes) -> None:
        """Leave a file there, where that can be done."""
        with suppress(Exception), tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / name
            file.write_bytes(content)
            self._artifacts(experiment).log_artifact(str(file))

    def _artifacts(self, experiment: str) -> Any:
        return get_artifact_repository(self.get_experiment(experiment).artifact_location, tracking_uri=self.uri)

    def waiting(self, method: Callable[..., Any], patience: float | None = None) -> Callable[..., Any]:
        """What calls a method until the store answers, for so many seconds or as long as its patience lasts."""

        def call(*arguments: Any, **options: Any) -> Any:
            began, stumbles = time.monotonic(), 0
            while True:
                try:
                    self._check()
                    return method(*arguments, **options)
                except AwayError:  # by the check
                    if time.monotonic() - began >= (self.patience if patience is None else patience):
                        raise
                    time.sleep(1.0)
                except (MlflowException, RequestException, SQLAlchemyError) as error:
                    if sign := next((sign for sign in _DAMAGED if sign in str(error)), ""):
                        raise damaged(self.uri, sign) from error
                    if "attempt to write a readonly database" in str(error):
                        remedy = "name another store, or change its rights"
                        raise UnusableError(f"{database_path(self.uri)} can only be read; {remedy}") from error
                    away = isinstance(error, RequestException) or any(sign in str(error) for sign in _AWAY)
                    if not away:
                        raise StoreError(f"{self.uri} refuses: {_reason(error)}") from error
                    stumbles += _STUMBLED in str(error)
                    is_late = time.monotonic() - began >= (self.patience if patience is None else patience)
                    if is_late and not (patience is None and 0 < stumbles < self.tries):
                        raise AwayError(f"{self.uri} does not answer: {_reason(error)}") from error
                    time.sleep(1.0)
                except OSError as error:  # of an artifact
                    raise StoreError(f"{error.filename2 or error.filename or self.uri}: {error.strerror}") from error

        return call


def is_number_of_step(run_id: str, key: str, step: Any, value: Any) -> bool:
    """Whether that is what a run may have logged of a step; anything else is named."""
    if isinstance(step, int) and step >= 0 and isinstance(value, float):
        return True
    reason = f"a step must be a whole number and its value a number, but got '{step}' and '{value}'"
    leave_out(run_id, f"{key}, step {step}", reason)
    return False


def stored(run: Run) -> StoredRun:
    """MLflow's run as ours."""
    info, data = run.info, run.data
    head = (info.run_id, info.run_name or "", info.status, info.start_time or 0, info.end_time or 0)
    epoch = next((metric.step for metric in data._metric_objs if metric.key == VAL_ACCURACY.key), 0)
    return StoredRun(*head, data.tags, data.params, data.metrics, epoch if isinstance(epoch, int) else 0)


def _alone(uri: str) -> Connection:
    """Open a database before MLflow, which would try for minutes what a wrong password or a missing driver cannot give.

    As long as the connection lasts, no other process of ours begins to use PostgreSQL: MLflow's migrations race.

    Raises:
        UserError: there is no driver, or the database lets nobody in by that address.
        SQLAlchemyError: it does not answer.
    """
    shown = words.without_passwords(uri)
    try:
        engine = create_engine(
            uri, poolclass=NullPool, connect_args={"connect_timeout": 10} if "postgres" in uri else {}
        )
    except ArgumentError as error:
        raise UserError(f"MLFLOW_TRACKING_URI={words.shown(shown)} is no address of a database") from error
    except ModuleNotFoundError as error:
        package = "'fmnist[postgres]'" if error.name == "psycopg" else f"the package of module {error.name}"
        raise UserError(f"MLFLOW_TRACKING_URI={words.shown(shown)} needs a driver; install {package}") from error
    try:
        connection = engine.connect()
    except OperationalError as error:
        if refused := re.search("|".join(_REFUSED), str(error)):
            raise UserError(f"{words.shown(shown)} refuses: {refused[0]}; mend MLFLOW_TRACKING_URI") from error
        raise
    if uri.startswith("postgresql"):
        connection.execute(text("SELECT pg_advisory_lock(703)"))
    return connection


def _reason(error: Exception) -> str:
    """The reason of an error in a line: the database's own, or the innermost of requests, which comes last."""
    lines = str(error).splitlines()
    first = next((line for line in lines if line.startswith("(") and "Error)" in line), lines[0])
    return first.split(": ")[-1].strip("')\"") if "Caused by" in first else first


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the collector from going through a page's objects again and again: two thirds of the time, for nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
