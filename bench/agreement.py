"""Whether networks trained on tiles are as good as those trained directly: the same seeds both ways."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np

from bench.measures import config
from bench.processes import in_process
from bench.table import Row
from fmnist import machine, words
from fmnist.analysis import stats
from fmnist.config import Config

SEEDS, EPOCHS, IMAGES = range(5), 10, 6_000


def rows() -> Iterator[Row]:
    """The baseline after ten epochs on a tenth of the data."""
    ways = list(product((False, True), SEEDS))
    with ThreadPoolExecutor(machine.cores()) as pool:
        accuracies = np.array(list(pool.map(lambda way: in_process(accuracy, *way), ways))).reshape(2, len(SEEDS))
    ours, theirs = accuracies
    pairs = stats.paired(ours[None], theirs)
    difference = f"{words.points(pairs.mean[0])} points ({words.interval(pairs.low[0], pairs.high[0], signed=True)})"
    texts = (words.percent(ours.mean()), "directly; difference and 95 % interval", f"{words.percent(theirs.mean())}; ")
    what = f"validation accuracy after {EPOCHS} epochs on {IMAGES:,} images, {len(SEEDS)} seeds"
    yield Row(what, texts[0], texts[1], texts[2] + difference, float(ours.mean() / theirs.mean()))


def accuracy(directly: bool, seed: int) -> float:
    """Validation accuracy of a path; call it in a process of its own."""
    from fmnist.training import data, engine, winograd
    from fmnist.training.trajectory import Trajectory

    assert engine  # which imports Keras quietly
    if directly:
        winograd.TILES.clear()
    options: Config = config(data__limit=IMAGES, epochs=EPOCHS, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Trajectory(options, data.load(options.data), Path(folder))
        path.advance(EPOCHS, lambda step, steps: None, lambda epoch, record: None)
    return float(path.history[-1]["val/accuracy"])
