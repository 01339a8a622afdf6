"""The database of a store: its SQLite file made whole and checked; read by a shorter way than MLflow's client.

The client makes an object of every number and word that it reads, and takes ten times as long as four queries.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import mlflow
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from fmnist.config import UserError
from fmnist.tracking.client import SCHEME, Client, as_written, damaged, database_path
from fmnist.tracking.stored import Number, StoredRun

Select = Callable[[str, tuple[Any, ...]], Iterable[Any]]  # a query with ? for each value -> rows
Answer = TypeVar("Answer")


def create(uri: str) -> None:
    """Make a new database elsewhere and move it here when it is whole: MLflow cannot go on with half of one.

    MLflow makes one by all changes that its tables ever had, which takes more than a second: an empty one is kept in
    the user's cache folder, of which the next are copies.
    """
    path = database_path(uri)
    part = path.parent / ".new"
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    part.mkdir(parents=True)
    new = part / path.name
    is_copy = _is_copied(new)
    Client(SCHEME + quote(str(new)), patience=0.0)
    if not is_copy:
        _keep(new)
    new.replace(path)
    shutil.rmtree(part)


def _kept() -> Path:
    """Where an empty database of this MLflow is kept.

    Raises:
        RuntimeError: there is no home folder.
    """
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "fmnist" / f"mlflow-{mlflow.__version__}.db"


def _is_copied(new: Path) -> bool:
    """Copy what is kept, if there is something, and it is whole."""
    with suppress(OSError, RuntimeError, sqlite3.Error):
        shutil.copyfile(_kept(), new)
        with closing(sqlite3.connect(new)) as database:
            if database.execute("PRAGMA quick_check").fetchone() == ("ok",):
                return True
    new.unlink(missing_ok=True)
    return False


def _keep(new: Path) -> None:
    """Keep a copy of a new database, if that is possible, without MLflow's own experiment, whose folder is here."""
    with suppress(OSError, RuntimeError, sqlite3.Error):
        kept = _kept()
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        try:
            shutil.copyfile(new, part)
            with closing(sqlite3.connect(part)) as database, database:
                database.execute("DELETE FROM experiments")
            part.replace(kept)
        finally:
            part.unlink(missing_ok=True)


def is_new(uri: str) -> bool:
    """Whether a store is a database file that does not exist yet.

    Raises:
        UserError: it does exist, but this MLflow cannot work with it.
    """
    if not uri.startswith(SCHEME):
        return False
    path = database_path(uri)
    try:
        path.open("rb").close()  # whose errors are clearer than SQLite's
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
            (version,) = database.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); it should be the database of all runs") from error
    except sqlite3.Error as error:
        if "locked" in str(error):  # for the client to wait
            return False
        raise damaged(uri, error) from error
    _check_version(path, version)
    return False


def _check_version(path: Path, version: str) -> None:
    """Refuse tables of another MLflow: it would rebuild older ones without asking, and lose its way in newer ones."""
    folder = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    migrations = [file.read_text(encoding="utf-8") for file in folder.glob("*.py")]
    if not any(f'\nrevision = "{version}"' in migration for migration in migrations):
        age, remedy = "a newer", "install that, or move it away"
    elif any(f'\ndown_revision = "{version}"' in migration for migration in migrations):
        age, remedy = "an older", f"keep a copy, then run python -m mlflow db upgrade '{SCHEME}{quote(str(path))}'"
    else:
        return
    raise UserError(f"{path} was written by {age} MLflow than {mlflow.__version__}; {remedy}")


_PLACES = (  # of files, which MLflow keeps in full
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def take_place(uri: str, artifacts: str, experiment: str) -> None:
    """Tell the database of a store that was moved, renamed or copied where its artifacts lie now.

    Args:
        uri: of the database; of another kind of store nothing is changed.
        artifacts: the URI of the folder of artifacts beside it.
        experiment: one whose artifacts lie there.
    """
    if not uri.startswith(SCHEME):
        return
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(database_path(uri))) as database:
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        (before,) = database.execute(query, (experiment,)).fetchone() or (artifacts,)
        if before != artifacts and before.startswith("file:"):  # elsewhere on purpose, in a bucket say
            for table, column in _PLACES:
                moved = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
                database.execute(moved, (artifacts, len(before) + 1, len(before), before))
            database.commit()


_RUNS = """
    FROM runs JOIN experiments USING (experiment_id)
    WHERE experiments.name = ? AND runs.lifecycle_stage = 'active'
"""


def read(uri: str, experiment: str) -> list[StoredRun] | None:
    """All runs of an experiment that are not deleted, newest first; None where only MLflow's client can tell.

    That is where the store is a server, its tables are not those that this was written for (MLflow 3.13 to 3.17), it is
    busy or away, or the experiment was deleted.
    """

    def ask(select: Select) -> list[StoredRun] | None:
        query = "SELECT lifecycle_stage FROM experiments WHERE name = ?"
        is_deleted = [tuple(row) for row in select(query, (experiment,))] == [("deleted",)]
        return None if is_deleted else _runs(select, experiment)

    return _answered(uri, ask)


def read_numbers(uri: str, run_ids: Sequence[str], keys: Sequence[str]) -> list[Number] | None:
    """All that up to some thousand runs have logged under these keys, as they logged it; None as of `read`."""

    def ask(select: Select) -> list[Number]:
        named = ", ".join("?" * len(run_ids)), ", ".join("?" * len(keys))
        of_these = "FROM metrics WHERE run_uuid IN ({}) AND key IN ({})".format(*named)
        query = f"SELECT run_uuid, key, step, value, timestamp, is_nan {of_these} ORDER BY timestamp, step, value"
        rows = select(query, (*run_ids, *keys))
        return [(*row[:3], float("nan") if row[5] else row[3], row[4]) for row in map(tuple, rows)]

    return _answered(uri, ask)


def _answered(uri: str, ask: Callable[[Select], Answer | None]) -> Answer | None:
    """What a question to the database is answered; None where it cannot be put."""
    try:
        with _selecting(uri, str) as select:  # SQLite's own way to read texts, which is the quickest
            return ask(select)
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            return None
    except (sqlite3.Error, SQLAlchemyError, ImportError, LookupError):
        return None
    with suppress(sqlite3.Error), _selecting(uri, as_written) as select:
        return ask(select)
    return None


@contextmanager
def _selecting(uri: str, read_text: Callable[[bytes], str] | type[str]) -> Iterator[Select]:
    """What answers queries to a database, all from one state of it, and reads SQLite's texts in that way.

    Raises:
        LookupError: the store is none.
    """
    if uri.startswith(SCHEME):
        location = database_path(uri).absolute().as_uri() + "?mode=ro"
        with closing(sqlite3.connect(location, uri=True)) as database:
            database.text_factory = read_text
            database.execute("BEGIN")
            yield database.execute
    elif uri.startswith("postgresql"):
        engine = create_engine(uri, isolation_level="REPEATABLE READ", connect_args={"connect_timeout": 10})
        try:
            with engine.connect() as connection:
                yield lambda query, values: connection.exec_driver_sql(query.replace("?", "%s"), values)
        finally:
            engine.dispose()
    else:
        raise LookupError(uri)


def _runs(answer: Select, experiment: str) -> list[StoredRun]:
    def select(columns: str, table: str) -> Iterable[Any]:
        of_these = f"WHERE run_uuid IN (SELECT run_uuid {_RUNS})"
        return answer(f"SELECT run_uuid, {columns} FROM {table} {of_these}", (experiment,))

    columns = "run_uuid, COALESCE(runs.name, ''), status, COALESCE(start_time, 0), COALESCE(end_time, 0)"
    rows = answer(f"SELECT {columns} {_RUNS} ORDER BY start_time DESC, run_uuid", (experiment,))
    runs = {row[0]: StoredRun(*row) for row in rows}
    for table in ("tags", "params"):
        of_runs = {run_id: getattr(run, table) for run_id, run in runs.items()}
        for run_id, key, value in select("key, value", table):
            of_runs[run_id][key] = value
    of_runs = {run_id: run.metrics for run_id, run in runs.items()}
    for run_id, key, value, is_nan in select("key, value, is_nan", "latest_metrics"):
        of_runs[run_id][key] = float("nan") if is_nan else value
    return list(runs.values())


def lifecycles(uri: str) -> dict[str, str] | None:
    """`active` or `deleted` by the id of every run and every model; a model goes with the run that made it.

    None where only the owner of a server can tell.
    """
    if not uri.startswith(SCHEME):
        return None
    location = database_path(uri).absolute().as_uri() + "?mode=ro"
    with closing(sqlite3.connect(location, uri=True)) as database:
        runs = dict(database.execute("SELECT run_uuid, lifecycle_stage FROM runs"))
        models = database.execute("SELECT model_id, source_run_id, lifecycle_stage FROM logged_models").fetchall()
    gone = {model: "deleted" for model, run, stage in models if "deleted" in (stage, runs.get(run))}
    return runs | {model: "active" for model, _, _ in models} | gone
