"""The runs of a store as a DataFrame."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from fmnist.identity import AUGMENT, augmentation
from fmnist.schema import COLUMNS, TEST_ACCURACY, VAL_ACCURACY, Status
from fmnist.tracking.client import address
from fmnist.tracking.database import is_new, read
from fmnist.tracking.store import EXPERIMENT, all_of, reading
from fmnist.tracking.stored import StoredRun, readable, value_of, with_defaults


def load(folder: str | Path) -> pd.DataFrame:
    """All runs of a store as `frame` gives them; nothing is created where there is no store yet.

    Records that others have made or changed are left out, each with a line.

    Raises:
        UserError: the store cannot be read.
    """
    uri = address(folder)
    runs = [] if is_new(uri) else read(uri, EXPERIMENT)
    if runs is None:
        with reading(folder, EXPERIMENT) as experiment:
            runs = [] if experiment is None else all_of(experiment.client, experiment.id, Path(folder))
    return frame(list(readable(runs)))


def frame(runs: Sequence[StoredRun]) -> pd.DataFrame:
    """Runs that come newest first as a frame, a row a run, oldest first.

    Columns: run_id, run_name, status, start_time (ms), those of `fmnist.schema.COLUMNS`, commit, train_seconds, epochs,
    seed, every metric by its key (`val/accuracy`, the last value), every option by its key (`model.filters`, as text).
    An option that a record lacks did not exist when the run was made: it has its default. A run that was killed before
    its options were recorded has none.
    """
    rows = pd.DataFrame([_row(run) for run in reversed(runs)] or [_row(_NO_RUN)])
    for metric in (VAL_ACCURACY.key, TEST_ACCURACY.key):  # missing while no run has got that far
        if metric not in rows:
            rows[metric] = float("nan")
    return rows if runs else rows.iloc[:0]


def _row(run: StoredRun) -> dict[str, Any]:
    params, metrics = with_defaults(run.params) if run.params else {}, run.metrics
    return {
        "run_id": run.run_id,
        "run_name": run.name,
        "status": run.status,
        "start_time": run.start_time,
        **{name: column.read(run.tags) for name, column in COLUMNS.items()},
        "commit": run.commit,
        "train_seconds": metrics.get("time/train_s", float("nan")),
        **metrics,
        **params,
        **({AUGMENT: _augmentation(params)} if params else {}),
        "epochs": int(params.get("epochs", 0)),
        "seed": int(params.get("seed", 0)),
    }


def _augmentation(params: Mapping[str, str]) -> str:
    """By its ranges: not every run has recorded the name."""
    return _named(tuple((key, text) for key, text in params.items() if key.startswith(f"{AUGMENT}.")))


@cache
def _named(ranges: tuple[tuple[str, str], ...]) -> str:
    return augmentation({key: value_of(text) for key, text in ranges})


_NO_RUN = StoredRun("", "", Status.FINISHED, 0)
