"""The runs of a store as a DataFrame."""

from functools import cache
from typing import Any

import pandas as pd
from mlflow.entities import Run

from fmnist.config import Config
from fmnist.identity import parameters
from fmnist.schema import COLUMNS, TEST_ACCURACY, VAL_ACCURACY, Status
from fmnist.tracking.client import address, is_new
from fmnist.tracking.database import StoredRun, entries
from fmnist.tracking.store import EXPERIMENT, Store
from fmnist.tracking.tags import as_text


def load(store: str) -> pd.DataFrame:
    """All runs of a store as `frame` gives them; nothing is created where there is no store yet."""
    uri = address(store)
    if is_new(uri):
        return _frame([])
    found = entries(uri, EXPERIMENT)
    return frame(Store(store)) if found is None else _frame(found)


def frame(book: Store) -> pd.DataFrame:
    """All runs of a store as a frame, a row a run, oldest first.

    Columns: run_id, run_name, status, start_time (ms), those of `fmnist.schema.COLUMNS`, train_seconds, epochs, seed,
    every metric by its key (`val/accuracy`, the last value) and every option by its key (`model.filters`, as text).
    An option that a record lacks did not exist when the run was made: it has its default. A run that was killed before
    its options were recorded has none.
    """
    found = entries(book.uri, EXPERIMENT)
    return _frame([_entry(run) for run in book.runs()] if found is None else found)


def _entry(run: Run) -> StoredRun:
    info, data = run.info, run.data
    return StoredRun(info.run_id, info.run_name, info.status, info.start_time, data.tags, data.params, data.metrics)


@cache
def _defaults() -> dict[str, str]:
    return {key: as_text(value) for key, value in parameters(Config()).items()}


def _row(run: StoredRun) -> dict[str, Any]:
    params, metrics = {**_defaults(), **run.params} if run.params else {}, run.metrics
    return {
        "run_id": run.run_id,
        "run_name": run.name,
        "status": run.status,
        "start_time": run.start_time,
        **{name: column.read(run.tags) for name, column in COLUMNS.items()},
        "train_seconds": metrics.get("time/train_s", float("nan")),
        **metrics,
        **params,
        "epochs": int(params.get("epochs", 0)),
        "seed": int(params.get("seed", 0)),
    }


def _frame(runs: list[StoredRun]) -> pd.DataFrame:
    """Of runs that come newest first."""
    found = pd.DataFrame([_row(run) for run in reversed(runs)] or [_row(_NO_RUN)])
    for metric in (VAL_ACCURACY.key, TEST_ACCURACY.key):  # missing while no run has got that far
        if metric not in found:
            found[metric] = float("nan")
    return found if runs else found.iloc[:0]


_NO_RUN = StoredRun("", "", Status.FINISHED, 0)
