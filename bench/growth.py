"""Growth: time and memory against images, filters, workers and runs in the store.

Every row compares the largest size with the smallest; the exponent says what the figure grows like: 1 is in proportion.
"""

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.measures import EPOCH, FILTERS, config, ours
from bench.processes import Workers, in_process
from bench.reading import Reading, measure
from bench.table import Row
from fmnist import machine
from fmnist.config import Config
from tests.invented import make

IMAGES = (6_000, 18_000, 54_000)  # trained an epoch
RUNS = (100, 2_000, 10_000)
GOALS = {2_000: "at most 6 s", 10_000: "at most 20 s"}
SMALL = 16  # filters, where what grows with images is not lost in convolutions
SECONDS = 4.0


def rows() -> Iterator[Row]:
    """All of it."""
    small = [config(model__filters=SMALL, data__limit=round(images / 0.9)) for images in IMAGES]
    yield from _grown(f"images an epoch, {SMALL} filters", IMAGES, [in_process(second_epoch, each) for each in small])
    what = f"filters, epochs of {EPOCH:,} images, one worker"
    yield from _grown(what, FILTERS, [_epoch(filters) for filters in FILTERS])
    yield from _workers()
    yield from _stores()


def _grown(what: str, sizes: Sequence[int], costs: Sequence[tuple[float, float]]) -> Iterator[Row]:
    """Rows for seconds and bytes of each size."""
    for index, (name, factor, digits, unit) in enumerate((("time", 1.0, 1, "s"), ("memory", 1e-6, 0, "MB"))):
        values = [cost[index] for cost in costs]
        series = ", ".join(f"{size:,}: {value * factor:,.{digits}f}" for size, value in zip(sizes, values, strict=True))
        ratio = values[-1] / values[0]
        exponent = math.log(ratio) / math.log(sizes[-1] / sizes[0])
        first, last = (f"{value * factor:,.{digits}f} {unit}" for value in (values[0], values[-1]))
        against = f"{sizes[0]:,} (of {series} {unit}; exponent {exponent:.2f})"
        yield Row(f"{name}, {sizes[-1]:,} {what}", last, against, first, ratio)


def second_epoch(config: Config) -> tuple[float, float]:
    """Seconds of a path's second epoch, and bytes that the process holds; call it in a process of its own."""
    import psutil

    from fmnist.training.data import load
    from fmnist.training.trajectory import Trajectory

    with tempfile.TemporaryDirectory() as folder:
        path = Trajectory(config, load(config.data), Path(folder))
        path.advance(1, lambda done, steps: None, lambda epoch, record: None)
        began = time.perf_counter()
        path.advance(2, lambda done, steps: None, lambda epoch, record: None)
        return time.perf_counter() - began, psutil.Process().memory_info().rss


def _epoch(filters: int) -> tuple[float, float]:
    """Seconds of an epoch by one worker, and bytes that it holds."""
    with Workers(1, ours, config(model__filters=filters)) as worker:
        return EPOCH / worker.rate("train", SECONDS), worker.memory()


def _workers() -> Iterator[Row]:
    """What a second worker and so on adds: to the speed, and in memory."""
    speeds, memories = [], []
    for count in range(1, machine.cores() + 1):
        with Workers(count, ours, config()) as workers:
            speeds.append(workers.rate("train", SECONDS))
            memories.append(workers.memory() * count)
    for what, values, factor, unit in (("speed", speeds, 1.0, "images/s"), ("memory", memories, 1e-6, "MB")):
        one, several = (f"{value * factor:,.0f} {unit}" for value in (values[0], values[-1]))
        yield Row(f"{what} of {machine.cores()} workers", several, "one worker", one, values[-1] / values[0])


def _stores() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        readings = {runs: _read(Path(folder) / str(runs), runs) for runs in RUNS}
    fewest = readings[RUNS[0]]
    for what, field, unit in (
        ("fmnist.compare", "whole", "s"),
        ("its reading of the runs", "loading", "s"),
        ("the same by MLflow's client", "client", "s"),
        ("the epochs of all runs", "epochs", "s"),
        ("database", "megabytes", "MB"),
    ):
        for runs in RUNS[1:]:
            first, last = getattr(fewest, field), getattr(readings[runs], field)
            texts = (f"{last:.2f} {unit}", f"{RUNS[0]} runs", f"{first:.2f} {unit}")
            yield Row(f"{what}, {runs:,} runs in the store", *texts, last / first, GOALS[runs] * (field == "whole"))
    ours, theirs = fewest.epochs, fewest.one_by_one
    against = "number by number by MLflow's client", f"{theirs:.2f} s"
    yield Row(f"the epochs of {RUNS[0]} runs", f"{ours:.2f} s", *against, ours / theirs)


def _read(store: Path, runs: int) -> Reading:
    make(store, runs)
    return measure(store)
