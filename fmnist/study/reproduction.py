"""A run trained again from its record, and held against it, number by number and bit for bit."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist import artifacts, machine, provenance
from fmnist.config import Config, UserError
from fmnist.identity import RECIPE
from fmnist.report.formats import table
from fmnist.run import Listener, scored
from fmnist.schema import ALIASES, COLUMNS, LOCK, PER_EPOCH
from fmnist.study.records import Records
from fmnist.study.selection import that_have
from fmnist.tracking import PREDICTIONS, RunWriter, Store, StoredRun, frame
from fmnist.tracking.registry import Registry, load_model, model_of
from fmnist.tracking.stored import by_rows
from fmnist.training.data import Dataset
from fmnist.words import DASH, plural, shown, some

if TYPE_CHECKING:
    from fmnist.training.evaluation import Evaluation
    from fmnist.training.trajectory import Trajectory

DIFF, PACKAGES = "provenance/uncommitted.diff", "provenance/packages.json"
Arrays = Mapping[str, NDArray[Any]]
Row = tuple[str, Any, Any, str]  # what, as it is recorded, as it is here, how far off


def find(records: Records, named: str, where: Sequence[tuple[str, str]]) -> StoredRun:
    """The run that is meant: by the first letters of its id, by an alias of the registered model, or by its options.

    Raises:
        UserError: there is none, or several.
    """
    if named:
        return records.find(Registry(records.store).find(named).run_id if named in ALIASES else named)
    if not where:
        raise UserError("which run? Name it by its id, as champion, or by its options: --where seed=0")
    runs = frame(records.store.all_runs())
    for condition in where:
        runs = that_have(runs, condition)
    if len(runs) != 1:
        found = some([f"{row['run_id'][:8]} ({row['run_name']})" for row in runs.to_dict("records")])
        raise UserError(f"{plural(len(runs), 'run')} with these options; one is needed{f': {found}' if found else ''}")
    return records.find(runs["run_id"].iloc[0])


def differs_here(store: Store, run: StoredRun, config: Config) -> list[Row]:
    """What differs here from what a run was made with: code, packages, machine."""
    ours, packages = provenance.files(config), dict[str, str]()
    with suppress(ValueError, TypeError):
        packages = dict(json.loads(store.client.text(run.run_id, PACKAGES)))
    here, theirs = json.loads(ours[PACKAGES]), machine.describe()
    changes = ["yes" if text else "none" for text in (store.client.text(run.run_id, DIFF), ours.get(DIFF))]
    rows: list[tuple[str, Any, Any]] = [
        ("code: commit", run.commit, (provenance.commit() or "")[:7]),
        ("code: changes that no commit has", changes[0], changes[1]),
        ("code: recipe", COLUMNS["recipe"].read(run.tags), RECIPE),
        ("packages: lock file", LOCK.read(run.tags), provenance.lock() or ""),
        *((f"packages: {name}", packages.get(name, ""), here.get(name, "")) for name in packages | here),
        *((key.replace(".", ": "), run.tags[key], theirs[key]) for key in theirs if key in run.tags),
    ]
    return [(*row, "") for row in rows if row[1] != row[2]]


@dataclass(frozen=True)
class Again:
    """A run as it was trained here."""

    trajectory: "Trajectory"
    test: "Evaluation"
    validation: "Evaluation"

    @property
    def metrics(self) -> dict[str, float]:
        """What a record keeps of its end."""
        parameters = {"model/parameters": float(self.trajectory.engine.model.count_params())}
        return {**self.trajectory.history[-1], **self.test.metrics("test"), **parameters}

    @property
    def predictions(self) -> Arrays:
        """What a record keeps of every image."""
        return artifacts.predictions(self.trajectory, self.test, self.validation)


def train(config: Config, dataset: Dataset, listener: Listener) -> Again:
    """Train a run from its first step on, in no store.

    Raises:
        DivergedError: its loss is no longer a number.
    """
    from fmnist.training.trajectory import Trajectory

    with tempfile.TemporaryDirectory() as folder:
        trajectory = Trajectory(config, dataset, Path(folder))
        listener.on_start(0)
        trajectory.advance(config.epochs, listener.on_step, listener.on_epoch)
        return Again(trajectory, *scored(trajectory))


# ---- What came out, held against the record -------------------------------------------------------------


def deviations(store: Store, run: StoredRun, again: Again) -> tuple[list[Row], str]:
    """In what a run came out otherwise than it is recorded, and what of it could be compared."""
    ours = again.metrics
    compared = sorted(run.metrics.keys() & ours.keys() - {key for key in ours if key.startswith("time/")})
    rows = [_of_number(key, run.metrics[key], ours[key]) for key in compared if not _same(run.metrics[key], ours[key])]
    counted = [plural(len(compared), "metric")]
    history = store.histories([run.run_id]).get(run.run_id)
    if history is not None:
        rows += _of_epochs(history, again.trajectory.history)
        counted.append(f"the curves of {plural(len(history), 'epoch')}")
    recorded, predictions = map(by_rows, (store.predictions(run.run_id) or {}, again.predictions))  # of imports too
    for name in predictions:
        if name in recorded:
            rows += _of_images(name.replace("_", " "), recorded[name], predictions[name])
            if name.endswith("_predicted"):
                counted.append(f"{plural(len(predictions[name]), 'prediction')} ({name[:-10]})")
    weights = _weights(store, run, again.trajectory.config)
    if weights is not None:
        with again.trajectory.engine.averaged() as model:
            rows += _of_weights(weights, model.get_weights())
        counted.append(f"{plural(len(weights), 'array')} of its weights")
    return rows, ", ".join(counted)


def _same(first: Any, second: Any) -> bool:
    return bool(np.array_equal(first, second, equal_nan=True))


def _of_number(what: str, recorded: float, ours: float) -> Row:
    return what, recorded, ours, f"{ours - recorded:+.3g}".replace("-", "−")


def _of_epochs(recorded: pd.DataFrame, history: Sequence[Mapping[str, float]]) -> Iterator[Row]:
    """The curves that differ, each where it first does."""
    ours = pd.DataFrame(history, index=range(1, len(history) + 1))
    if list(recorded.index) != list(ours.index):
        yield "epochs", len(recorded), len(ours), ""
        return
    for key in (key for key in PER_EPOCH if not key.startswith("time/")):
        other = [epoch for epoch in ours.index if not _same(recorded[key][epoch], ours[key][epoch])]
        if other:
            what = f"{key}, {plural(len(other), 'epoch')} from {other[0]}"
            yield _of_number(what, recorded[key][other[0]], ours[key][other[0]])


def _of_images(name: str, recorded: NDArray[Any], ours: NDArray[Any]) -> Iterator[Row]:
    """Predictions, labels or probabilities that differ."""
    if recorded.shape != ours.shape:
        yield name, recorded.shape, ours.shape, ""
    elif not _same(recorded, ours):
        other = (recorded != ours).reshape(len(ours), -1).any(axis=1)
        how = f"{other.sum():,} of {len(ours):,}"
        if "probabilities" in name:
            how = f"up to {np.abs(ours.astype(float) - recorded.astype(float)).max():.2g} in {how}"
        yield name, DASH, DASH, how


def _weights(store: Store, run: StoredRun, config: Config) -> list[NDArray[Any]] | None:
    """Those of a run's model, None where it has none that can be loaded."""
    with suppress(UserError):
        if found := model_of(store, run.run_id):
            return list(load_model(store.uri, found[1], config).get_raw_model().get_weights())
    return None


def _of_weights(recorded: Sequence[NDArray[Any]], ours: Sequence[NDArray[Any]]) -> Iterator[Row]:
    other = [new for old, new in zip(recorded, ours, strict=False) if not _same(old, new)]
    if len(recorded) != len(ours) or other:
        yield "arrays of its weights", DASH, DASH, f"{len(other)} of {len(ours)}"


def keep(store: Store, run: StoredRun, again: Again, requirements: list[str]) -> None:
    """Give a record the model that it lacks, and the predictions."""
    writer = RunWriter(store.client, run.run_id)
    images = again.trajectory.dataset.test_images[:2].astype(np.float32)
    with again.trajectory.engine.averaged() as model:
        writer.model(model, images, again.test.probabilities[:2], requirements, anew=True)
    writer.arrays(PREDICTIONS, **again.predictions)


def told(rows: Sequence[Row]) -> str:
    """Differences as a table."""
    cells = [(what, _text(recorded), _text(ours), off) for what, recorded, ours, off in rows]
    texts = pd.DataFrame(cells, columns=["what", "recorded", "here", "off by"])
    return table(texts if (texts["off by"] != "").any() else texts.drop(columns="off by"), "table")


def _text(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else shown(value) or DASH
