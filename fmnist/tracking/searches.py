"""The record of a search: the parent of its trials' runs, in an experiment of its own, so that it counts as no run."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Metric, Param, RunTag
from numpy.typing import NDArray

from fmnist.config import UserError
from fmnist.schema import RANKING, VAL_ACCURACY, Column, Status
from fmnist.tracking.client import Client
from fmnist.tracking.run_writer import RunWriter
from fmnist.tracking.store import SEARCHES, Experiment, Store, reading
from fmnist.tracking.stored import LONGEST_TAG, StoredRun, as_tags, as_text, condition, leave_out, with_defaults

_BEST_TRIAL, _VERDICT, _FOLDER = Column("best_trial"), Column("verdict"), Column("folder")
_JUDGED = Column("judged")  # comparisons on fresh seeds that a verdict was given for, `TRIAL:SEEDS`
_VALUE = 500  # letters of a parameter that every server takes


@dataclass(frozen=True)
class SearchSummary:
    """A search as its record shows it."""

    name: str
    run_id: str  # of its record
    status: str
    options: dict[str, str]  # `tuner.kind`, ..., all of its runs' (`model.filters`), and `data`, the data's digest
    objective: str  # what its scores are: val/accuracy or val/loss
    trials: int  # that have ended
    failed: int  # of them
    epochs: int  # that they needed
    best_trial: str  # as the column `trial` of a frame has it
    best_score: float  # so far; NaN without one
    verdict: str  # of the comparison on fresh seeds, in a sentence; empty if there is none yet
    scores: list[float]  # of the trials, in the order of their ends, without those that failed
    reached: list[int]  # epochs after which each was scored; 0 where that is not recorded


def searches(folder: str | Path) -> list[SearchSummary]:
    """All searches of a store, the latest first; nothing is created, and what is no record of one is named.

    Raises:
        UserError: the store cannot be read.
    """
    with reading(folder, SEARCHES) as experiment:
        return [] if experiment is None else list(_summaries(experiment))


def _summaries(experiment: Experiment) -> Iterator[SearchSummary]:
    for run in experiment.runs():
        try:
            yield _summary(experiment.client, run)
        except (LookupError, ValueError, TypeError, ArithmeticError) as error:  # what others have written or changed
            leave_out(run.run_id, run.name, f"it is no record of a search ({type(error).__name__}: {error})")


def _summary(client: Client, run: StoredRun) -> SearchSummary:
    options = run.params
    scores, reached, epochs = (client.by_step(run.run_id, f"search/{key}") for key in ("score", "reached", "epochs"))
    max_epochs = 0 if options.get("tuner.kind") == "hyperband" else int(options.get("tuner.max_epochs", 0))
    objective = options.get("tuner.objective", VAL_ACCURACY.key)
    return SearchSummary(
        name=run.tags[Column("search").tag],
        run_id=run.run_id,
        status=run.status,
        options=with_defaults(options),
        objective=RANKING[objective].key,
        trials=max(epochs, default=0),
        failed=int(run.metrics.get("search/failed", 0)),
        epochs=int(run.metrics.get("search/epochs", 0)),
        best_trial=str(_BEST_TRIAL.read(run.tags)),
        best_score=run.metrics.get("search/best", math.nan),
        verdict=str(_VERDICT.read(run.tags)),
        scores=[scores[step] for step in sorted(scores)],
        reached=[int(reached.get(step, max_epochs)) for step in sorted(scores)],
    )


class SearchRecord:
    """The record of a search that is being written."""

    def __init__(self, store: Store, name: str, options: dict[str, Any]) -> None:
        """Open the record of a search, or go on with it.

        Raises:
            UserError: on the same server another folder carries it out.
        """
        self._client, self.name = store.client, name
        experiment = store.experiment(SEARCHES)
        record = next(self._client.all_runs(experiment, condition("search", name)), None)
        if store.leases:
            other = _FOLDER.read(record.tags) if record else ""
            if record and other not in ("", store.leases.folder) and store.is_alive(record.run_id):
                raise UserError(
                    f"another folder carries out search {name} on this server; share that folder (store=), name this "
                    "search otherwise (tuner.name=), or wait: what that one has trained costs nothing"
                )
        tags = as_tags({"search": name})
        self.run_id = record.run_id if record else self._client.new_run(experiment, name, tags)
        if store.leases:
            self._client.set_tag(self.run_id, _FOLDER.tag, store.leases.folder)
        # A larger budget is another value, which a parameter cannot take: a tag says it.
        before = record.params if record else {}
        params = [Param(key, as_text(value)[:_VALUE]) for key, value in options.items() if key not in before]
        self._client.log_batch(self.run_id, params=params)
        self._client.update_run(self.run_id, status=Status.RUNNING)
        self._judged = str(_JUDGED.read(record.tags if record else {})).split()
        logged = {key: self._client.by_step(self.run_id, key) for key in ("search/best", "search/score")}
        self._logged = {(key, step): value for key in logged for step, value in logged[key].items()}

    def trials(self, rows: list[tuple[int, dict[str, float]]]) -> None:
        """Log numbers of the trials that have ended, each (ms, metric -> value), the first to end at step 1."""
        fresh = [
            Metric(key, value, moment, step)
            for step, (moment, values) in enumerate(rows, 1)
            for key, value in values.items()
            if self._logged.get((key, step)) != value
        ]
        self._logged |= {(metric.key, metric.step): metric.value for metric in fresh}
        self._client.log_metrics(self.run_id, fresh)

    def picture(self, name: str, pixels: NDArray[np.uint8]) -> str:
        """Keep a picture, and return what shows it on the record's page; see `RunWriter.picture`."""
        return RunWriter(self._client, self.run_id).picture(name, pixels)

    def describe(self, note: str, **description: str) -> None:
        """Replace what the record's page says (Markdown), and describe it by more columns."""
        tags = as_tags({"note": note[:LONGEST_TAG], **description})
        self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def judge(self, trial: str, seeds: int) -> int:
        """Note that a trial is judged on so many fresh seeds; returns how many such comparisons there have been."""
        if seeds > 1 and (comparison := f"{trial}:{seeds}") not in self._judged:
            self._judged.append(comparison)
            self._client.set_tag(self.run_id, _JUDGED.tag, " ".join(self._judged))
        return len(self._judged)

    def end(self, status: str) -> None:
        """Close the record with its true status."""
        self._client.set_terminated(self.run_id, status)
