"""Growth: time and memory against images, filters, workers and runs in the store.

Every row compares the largest size with the smallest; the exponent says what the figure grows like: 1 is in proportion.
"""

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.measures import EPOCH, config, ours
from bench.reading import Reading, measure
from bench.table import Row
from bench.team import Team, alone
from fmnist import machine
from fmnist.config import Config
from tests.invented import make

IMAGES = (6_000, 18_000, 54_000)  # trained an epoch
FILTERS = (16, 32, 64, 128, 256)
RUNS = (100, 2_000, 10_000)
GOALS = {2_000: "at most 6 s", 10_000: "at most 20 s"}
SMALL = 16  # filters, where what grows with images is not lost in convolutions
SECONDS = 4.0


def rows() -> Iterator[Row]:
    """All of it."""
    found = [alone(trained, config(model__filters=SMALL, data__limit=round(images / 0.9))) for images in IMAGES]
    yield from _grown(f"images an epoch, {SMALL} filters", IMAGES, found)
    found = [_paced(filters) for filters in FILTERS]
    yield from _grown(f"filters, epochs of {EPOCH:,} images, one worker", FILTERS, found)
    yield from _workers()
    yield from _stores()


def _grown(what: str, sizes: Sequence[int], found: Sequence[tuple[float, float]]) -> Iterator[Row]:
    """Rows for seconds and bytes."""
    for index, (name, factor, digits, unit) in enumerate((("time", 1.0, 1, "s"), ("memory", 1e-6, 0, "MB"))):
        values = [each[index] for each in found]
        said = ", ".join(f"{size:,}: {value * factor:,.{digits}f}" for size, value in zip(sizes, values, strict=True))
        ratio = values[-1] / values[0]
        exponent = math.log(ratio) / math.log(sizes[-1] / sizes[0])
        first, last = (f"{value * factor:,.{digits}f} {unit}" for value in (values[0], values[-1]))
        against = f"{sizes[0]:,} (of {said} {unit}; exponent {exponent:.2f})"
        yield Row(f"{name}, {sizes[-1]:,} {what}", last, against, first, ratio)


def trained(given: Config) -> tuple[float, float]:
    """Seconds of a path's second epoch, and bytes that the process holds; call it in a process of its own."""
    import psutil

    from fmnist.training.data import load
    from fmnist.training.trajectory import Trajectory

    with tempfile.TemporaryDirectory() as folder:
        path = Trajectory(given, load(given.data), Path(folder))
        path.advance(1, lambda done, steps: None, lambda epoch, record: None)
        began = time.perf_counter()
        path.advance(2, lambda done, steps: None, lambda epoch, record: None)
        return time.perf_counter() - began, psutil.Process().memory_info().rss


def _paced(filters: int) -> tuple[float, float]:
    with Team(1, ours, config(model__filters=filters)) as team:
        return EPOCH / team.rate("train", SECONDS), team.memory()


def _workers() -> Iterator[Row]:
    """What a second worker and so on adds: to the speed, and in memory."""
    found = []
    for workers in range(1, machine.cores() + 1):
        with Team(workers, ours, config()) as team:
            found.append((team.rate("train", SECONDS), team.memory() * workers))
    (one, held), (all_, held_by_all) = found[0], found[-1]
    cores = machine.cores()
    yield Row(f"speed of {cores} workers", f"{all_:,.0f} images/s", "one worker", f"{one:,.0f} images/s", all_ / one)
    texts = (f"{held_by_all / 1e6:,.0f} MB", "one worker", f"{held / 1e6:,.0f} MB")
    yield Row(f"memory of {cores} workers", *texts, held_by_all / held)


def _stores() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        found = {runs: _read(Path(folder) / str(runs), runs) for runs in RUNS}
    base = found[RUNS[0]]
    for what, field, unit in (
        ("fmnist.compare", "whole", "s"),
        ("its reading of the runs", "loading", "s"),
        ("the same by MLflow's client", "client", "s"),
        ("database", "megabytes", "MB"),
    ):
        for runs in RUNS[1:]:
            theirs, ours = getattr(base, field), getattr(found[runs], field)
            texts = (f"{ours:.2f} {unit}", f"{RUNS[0]} runs", f"{theirs:.2f} {unit}")
            yield Row(f"{what}, {runs:,} runs in the store", *texts, ours / theirs, GOALS[runs] * (field == "whole"))


def _read(store: Path, runs: int) -> Reading:
    make(store, runs)
    return measure(store)
