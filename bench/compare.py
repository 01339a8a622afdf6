"""How long `python -m fmnist.compare` takes on large stores, start-up included.

    python -m bench.compare                                  # makes stores of 2,000 and 10,000 runs, a minute and more
    python -m bench.compare --store /tmp/store               # a store that is there, like one of bench.store
    python -m bench.compare --runs 500 --arguments="--epochs 10"

Every figure is the median of so many processes of their own.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fmnist import machine
from fmnist.config import CONF

LOADING = """
import sys, time
from fmnist import tracking
began = time.perf_counter()
print(len(tracking.load(sys.argv[1])), time.perf_counter() - began)
"""
THROUGH_THE_CLIENT = """
import sys, time
from fmnist import tracking
began = time.perf_counter()
print(sum(1 for _ in tracking.Book(sys.argv[1]).runs()), time.perf_counter() - began)
"""


def _python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=CONF.parent, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def _compare(store: Path, arguments: list[str]) -> float:
    began = time.perf_counter()
    _python("-m", "fmnist.compare", "--store", str(store), *arguments)
    return time.perf_counter() - began


def _seconds(code: str, store: Path) -> tuple[int, float]:
    runs, seconds = _python("-c", code, str(store)).split()
    return int(runs), float(seconds)


def measure(store: Path, arguments: list[str], repeat: int) -> tuple[int, float, float, float, float]:
    """Runs, seconds of the whole, seconds of loading, the same through MLflow's client, megabytes of the database."""
    whole = statistics.median(_compare(store, arguments) for _ in range(repeat))
    loaded = [_seconds(LOADING, store) for _ in range(repeat)]
    loading = statistics.median(seconds for _, seconds in loaded)
    _, client = _seconds(THROUGH_THE_CLIENT, store)
    return loaded[0][0], whole, loading, client, (store / "mlflow.db").stat().st_size / 1e6


def main() -> None:
    """Print the table."""
    from tabulate import tabulate

    from bench.store import make

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[2000, 10_000], metavar="N", help="of the stores made")
    parser.add_argument("--store", type=Path, nargs="+", metavar="DIR", help="stores to measure instead")
    parser.add_argument("--arguments", default="", metavar='"..."', help="handed on to fmnist.compare")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="processes for each figure (3)")
    options = parser.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # it would win over the stores
    with tempfile.TemporaryDirectory() as folder:
        stores = [store.resolve() for store in options.store or [Path(folder) / str(runs) for runs in options.runs]]
        if not options.store:
            for store, runs in zip(stores, options.runs, strict=True):
                make(store, runs)
        rows = [measure(store, shlex.split(options.arguments), options.repeat) for store in stores]
    print(f"{machine.cpu()}, {machine.cores()} cores")
    headers = ("runs", "s of compare", "s of loading", "s by the client", "MB of database")
    print(tabulate(rows, headers, floatfmt=("d", ".1f", ".2f", ".1f", ".0f")))


if __name__ == "__main__":
    main()
