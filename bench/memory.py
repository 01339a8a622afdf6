"""Memory of workers: how much one holds after many runs, which must not grow, and what keeping freed memory saves."""

import tempfile
from collections.abc import Iterator

from bench.measures import EPOCH, config, giving_back, ours
from bench.processes import Workers, in_process
from bench.table import Row
from fmnist import machine

RUNS = 40
ROUNDS, SECONDS = 3, 4.0
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
    """After two runs, which fill caches, and after many; an epoch of the baseline by all workers, each way in turn."""
    held = in_process(held_after)
    for count in (10, RUNS):
        texts = (f"{held[count - 1]:.0f} MB", "after 2", f"{held[1]:.0f} MB")
        yield Row(f"held after {count} small runs", *texts, held[count - 1] / held[1], "below 1.05")
    with Workers(machine.cores(), ours, config()) as keeping, Workers(machine.cores(), giving_back, config()) as giving:
        rates = [(keeping.rate("train", SECONDS), giving.rate("train", SECONDS)) for _ in range(ROUNDS)]
        texts = f"{keeping.memory() / 1e6:.0f} MB", "given back", f"{giving.memory() / 1e6:.0f} MB"
        yield Row("held by a worker of these", *texts, keeping.memory() / giving.memory())
    kept, given = (EPOCH * ROUNDS / sum(rate) for rate in zip(*rates, strict=True))
    texts = (f"{kept:.1f} s", "given back", f"{given:.1f} s")
    yield Row("epoch, baseline, freed memory kept", *texts, given / kept, less=True)


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
