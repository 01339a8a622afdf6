"""What an honest ruler can gain: how paired differences scatter, scored otherwise than by the last epoch's accuracy."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.measures import config
from bench.processes import in_process
from bench.recorded import H100
from bench.table import Row
from fmnist import machine
from fmnist.schema import BASELINE, VAL_ACCURACY, VAL_LOSS
from fmnist.tracking.portable import RunFile

SEEDS, EPOCHS, IMAGES, LAST, MOMENTUM = range(12), 10, 6_000, 3, 0.99
TRAINED: dict[str, Any] = {"data__limit": IMAGES, "model__filters": 64}
LATE, AVERAGED = f"mean of the last {LAST} epochs", f"averaged weights (optimizer.ema_momentum={MOMENTUM})"
Array = NDArray[np.float64]


def rows() -> Iterator[Row]:
    """Max against average pooling on a tenth of the data, seed by seed."""
    ways = list(product(("max", "average"), SEEDS))
    with ThreadPoolExecutor(machine.cores()) as pool:
        scored = list(pool.map(lambda way: in_process(scores, *way), ways))
    table = pd.DataFrame(scored, index=pd.MultiIndex.from_tuples(ways))
    differences = table.loc["max"] - table.loc["average"]
    yield from _beside_accuracy(differences, f"{len(SEEDS)} pairs, {IMAGES:,} images")


def recorded_rows() -> Iterator[Row]:
    """The variants of study article on all images, each beside the baseline, pooled."""
    recorded = recorded_differences()
    off = recorded - recorded.groupby(level=0).transform("mean")
    freedom = len(off) - off.index.get_level_values(0).nunique()
    yield from _beside_accuracy(off * np.sqrt((len(off) - 1) / freedom), f"{len(off)} recorded pairs, all images")


def scores(pooling: str, seed: int) -> dict[str, float]:
    """One path by every ruler; call it in a process of its own."""
    from fmnist.training import data
    from fmnist.training.engine import Engine
    from fmnist.training.trajectory import Trajectory

    assert Engine  # which imports Keras quietly

    def curve(**options: float) -> dict[str, float]:
        path = Trajectory(config(**TRAINED, model__pooling=pooling, seed=seed, **options), dataset, Path(folder))
        path.advance(EPOCHS, lambda step, steps: None, lambda epoch, record: None)
        return _of_curve(path.history)

    with tempfile.TemporaryDirectory() as folder:
        dataset = data.load(config(**TRAINED).data)
        return curve() | {AVERAGED: curve(optimizer__ema_momentum=MOMENTUM)["accuracy"]}


def _of_curve(history: list[dict[str, float]]) -> dict[str, float]:
    accuracies, losses = ([epoch[metric.key] for epoch in history] for metric in (VAL_ACCURACY, VAL_LOSS))
    return {"accuracy": accuracies[-1], LATE: float(np.mean(accuracies[-LAST:])), "loss": losses[-1]}


def recorded_differences() -> pd.DataFrame:
    """The differences from the baseline of the recorded runs of as many epochs, by variant and seed."""
    found = {}
    for run in RunFile(H100):
        stored, curves = run.facts.stored(), run.facts.metrics
        if stored.params["epochs"] == str(EPOCHS) and stored.status == "FINISHED":
            history = [{VAL_ACCURACY.key: a, VAL_LOSS.key: b} for (*_, a), (*_, b) in zip(
                sorted(curves[VAL_ACCURACY.key]), sorted(curves[VAL_LOSS.key]), strict=True)]  # fmt: skip
            found[stored.tags["fmnist.variant"], int(stored.params["seed"])] = _of_curve(history)
    table = pd.DataFrame(found).T.sort_index()
    baseline = table.loc[BASELINE]
    others = {name: table.loc[name] - baseline for name in table.index.levels[0] if name != BASELINE}
    return pd.concat(others).dropna()


def _beside_accuracy(differences: pd.DataFrame, pairs: str) -> Iterator[Row]:
    spread = differences.std()
    for way in differences:
        if way != "accuracy":
            unit, factor = ("nats", 1.0) if way == "loss" else ("points", 100.0)
            what = f"deviation of paired differences, {pairs}: {way}"
            theirs = f"{100 * spread['accuracy']:.2f} points"
            yield Row(what, f"{factor * spread[way]:.3g} {unit}", "accuracy of the last epoch", theirs,
                      spread[way] / spread["accuracy"], "" if way == "loss" else "at most 0.9")  # fmt: skip
