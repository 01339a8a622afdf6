"""How much memory a worker holds after each of many small runs: what grows would end a long sweep."""

import tempfile
from collections.abc import Iterator

from bench.processes import in_process
from bench.table import Row

RUNS = 40
SMALL = {
    "data.limit": 2000,
    "model.filters": 8,
    "model.kernel_size": 3,
    "model.dense_units": 16,
    "batch_size": 32,
    "epochs": 1,
    "compute.threads": 1,
}


def rows() -> Iterator[Row]:
    """After two runs, which fill caches, and after many."""
    held = in_process(held_after)
    for count in (10, RUNS):
        texts = (f"{held[count - 1]:.0f} MB", "after 2", f"{held[1]:.0f} MB")
        yield Row(f"held after {count} small runs", *texts, held[count - 1] / held[1], "below 1.05")


def held_after() -> list[float]:
    """MB that a process holds after each run that it carries out; call it in a process of its own."""
    import psutil

    from fmnist import run
    from fmnist.config import Config, from_flat

    held = []
    with tempfile.TemporaryDirectory() as store:
        for seed in range(RUNS):
            run.execute(from_flat(Config(store=store), {**SMALL, "seed": seed}))
            held.append(psutil.Process().memory_info().rss / 1e6)
    return held
