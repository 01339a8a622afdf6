"""A run as it stands in the store, and what is kept as text: parameters, and a description as MLflow's tags."""

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.config import CLASS_COUNT, Config, from_flat, option_fields
from fmnist.identity import FIRST_OPTIONS, RECIPE, default_parameters, sign_options
from fmnist.schema import COLUMNS, VAL_ACCURACY, Column, Status

log = logging.getLogger(__name__)
PAGE_OF = "page_of"  # the column of what stands among the runs and is none: the study that it is the page of
RUNNING = f"attributes.status = '{Status.RUNNING}'"  # MLflow's filter
Number = tuple[str, str, Any, Any, Any]  # that a run has logged: its id, key, step, value, when (ms)
LONGEST_TAG = 8000  # letters that every server takes

_MLFLOW = {  # which its UI shows in places of their own
    "note": "mlflow.note.content",  # Markdown
    "source": "mlflow.source.name",
    "source_type": "mlflow.source.type",
    "user": "mlflow.user",
    "commit": "mlflow.source.git.commit",
    "parent": "mlflow.parentRunId",
}


@dataclass(frozen=True)
class StoredRun:
    """A run as it stands in the store, of a metric the last value; an attempt equals itself, whatever was logged."""

    run_id: str
    name: str = field(compare=False)
    status: str
    start_time: int  # ms
    ended: int = 0  # ms; 0 for one that has not
    tags: dict[str, str] = field(default_factory=dict, compare=False)
    params: dict[str, str] = field(default_factory=dict, compare=False)
    metrics: dict[str, float] = field(default_factory=dict, compare=False)
    epoch: int = field(default=0, compare=False)  # the last that it has logged, where MLflow's client tells

    @property
    def signature(self) -> str:
        """Of the run."""
        return str(COLUMNS["signature"].read(self.tags))

    @property
    def trajectory(self) -> str:
        """The trajectory's signature."""
        return str(COLUMNS["trajectory_signature"].read(self.tags))

    @property
    def commit(self) -> str:
        """The first letters of the commit that made it; empty where there was none."""
        return self.tags.get(_MLFLOW["commit"], "")[:7]

    @property
    def val_accuracy(self) -> float:
        """The last; NaN without one."""
        return self.metrics.get(VAL_ACCURACY.key, float("nan"))


def as_text(value: Any) -> str:
    """A value as the store keeps it."""
    return value if isinstance(value, str) else json.dumps(value)


@cache
def _defaults() -> dict[str, str]:
    return {key: as_text(value) for key, value in default_parameters().items()}


def with_defaults(params: Mapping[str, str]) -> dict[str, str]:
    """Recorded options, with the default of each that is not: it did not exist when the record was made."""
    return {**_defaults(), **params}


def options_of(run: StoredRun) -> Config | None:
    """A run's options as its record has them; None if it was killed before there were any."""
    options = option_fields(Config)
    given = {key: value_of(text) for key, text in run.params.items() if key in options}
    return from_flat(Config(), {**default_parameters(), **given}) if given else None


def as_tags(description: Mapping[str, Any]) -> dict[str, str]:
    """A description as tags by their keys: columns of `fmnist.schema`, and those of MLflow.

    What is None is left out.
    """
    stated = {name: value for name, value in description.items() if value is not None}
    return {_MLFLOW.get(name) or Column(name).tag: as_text(value) for name, value in stated.items()}


def condition(name: str, value: str) -> str:
    """MLflow's filter for the runs that a column describes so."""
    return f"tags.`{Column(name).tag}` = '{value}'"


# ---- What others have written, or changed -----------------------------------------------------------------


@cache  # of a process: a command looks at its store more than once
def leave_out(run_id: str, name: str, reason: str) -> None:
    """Say once, in a line, that a record cannot be used, and why."""
    log.warning(" ".join(f"'{name[:200]}' (run {run_id}) is left out: {reason[:300]}".split()))


def readable(runs: Iterable[StoredRun]) -> Iterator[StoredRun]:
    """Those of the runs that are as they were written; each other one is named, but for pages of studies."""
    for run in runs:
        if Column(PAGE_OF).tag in run.tags:
            continue
        if reason := next(faults(run), ""):
            leave_out(run.run_id, run.name, reason)
        else:
            yield run


def faults(run: StoredRun) -> Iterator[str]:
    """What is wrong with a record: whoever can reach the store can write there, and edit tags."""
    if not run.signature:
        yield f"it has no {COLUMNS['signature'].tag}, so it is no run of fmnist"
    if run.status not in set(Status):
        yield f"its status is {run.status}"
    for name, moment in (("start_time", run.start_time), ("ended", run.ended)):
        if not isinstance(moment, int):
            yield f"{name} must be a whole number, but got '{moment}'"
    for column in COLUMNS.values():
        text = run.tags.get(column.tag, "0")
        if column.type is int and not _is_whole(text):
            yield f"{column.tag} must be a whole number, but got '{text}'"
    trial = run.tags.get(COLUMNS["trial"].tag, "")
    if run.tags.get(COLUMNS["search"].tag) and not _is_whole(trial):
        yield f"{COLUMNS['trial'].tag} must be the number of a trial, but got '{trial}'"
    for key, value in run.metrics.items():
        if not isinstance(value, float | int):
            yield f"{key} must be a number, but got '{value}'"
        elif key.startswith(_SHARES) and not (0 <= value <= 1 or math.isnan(value)):
            yield f"{key} must be from 0 to 1, but got {value:g}"
    if run.params:
        yield from _faults_of_options(run)
    elif run.status == Status.FINISHED:
        yield "it has no parameters"


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16


def _faults_of_options(run: StoredRun) -> Iterator[str]:
    """Options of the wrong type, and such as do not give the signatures beside them."""
    options, defaults = {key: value_of(text) for key, text in run.params.items()}, default_parameters()
    for key in sorted(options.keys() & defaults.keys() - {"model.filters"}):  # which may be a list
        kind = type(defaults[key])
        if kind in _KINDS and type(options[key]) is not kind:
            yield f"{key} must be {_KINDS[kind]}, but got '{run.params[key]}'"
    if COLUMNS["recipe"].read(run.tags) != RECIPE:  # of which we do not know what it signed
        return
    if missing := FIRST_OPTIONS - options.keys():
        yield f"it lacks {min(missing)}"
    signed = sign_options(options, str(COLUMNS["data_digest"].read(run.tags)))
    for name, expected in (
        ("signature", signed.run),
        ("trajectory_signature", signed.trajectory),
        ("variant_signature", signed.variant),
    ):
        if COLUMNS[name].read(run.tags) != expected:
            yield f"its options give another {COLUMNS[name].tag} than it has"


_SHARES = ("train/accuracy", "val/accuracy", "test/accuracy", "test/precision/", "test/recall/", "test/f1/")
_KINDS: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false"}


@cache
def value_of(text: str) -> Any:
    """What `as_text` has made a text of."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def by_rows(predictions: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """The arrays of a run's predictions with those of the rows that validate in the order of the rows."""
    if "val_rows" not in predictions:
        return predictions
    order = np.argsort(predictions["val_rows"], kind="stable")
    sortable = {name for name, array in predictions.items() if name[:4] == "val_" and array.shape[:1] == order.shape}
    return {name: array[order] if name in sortable else array for name, array in predictions.items()}


def check_classes(*of_images: NDArray[Any]) -> None:
    """Refuse what are no classes of the same images, with ValueError."""
    for classes in of_images:
        if classes.ndim != 1 or classes.dtype.kind not in "iu" or len(classes) != len(of_images[0]):
            raise ValueError(f"classes have shape {classes.shape} and type {classes.dtype}")
        if len(classes) and not 0 <= classes.min() <= classes.max() < CLASS_COUNT:
            raise ValueError(f"classes reach from {classes.min()} to {classes.max()}")
