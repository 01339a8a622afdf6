"""How much memory a worker holds after each of many small runs: what grows would end a long sweep.

python -m bench.memory               # 40 runs of a small network, the first few of which fill caches
"""

import argparse
import tempfile

import psutil
from tabulate import tabulate

from fmnist import run
from fmnist.config import Config, from_flat

SMALL = {
    "data.limit": 2000,
    "model.filters": 8,
    "model.kernel_size": 3,
    "model.dense_units": 16,
    "batch_size": 32,
    "epochs": 1,
    "compute.threads": 1,
}


def main() -> None:
    """Carry out the runs in this process, as a worker of a sweep does, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40)
    runs = parser.parse_args().runs
    held = []
    with tempfile.TemporaryDirectory() as store:
        for seed in range(runs):
            run.execute(from_flat(Config(store=store), {**SMALL, "seed": seed}))
            held.append(psutil.Process().memory_info().rss / 1e6)
    rows = [(count, held[count - 1], held[count - 1] - held[0]) for count in (1, 2, 5, 10, 20, 40, 80) if count <= runs]
    print(tabulate(rows, ("runs", "MB held", "more than after the first"), floatfmt=".0f"))


if __name__ == "__main__":
    main()
