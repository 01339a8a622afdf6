"""How long `python -m fmnist.compare` takes on a store, start-up included."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from bench.processes import run_python

REPEAT = 3  # processes for each figure
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
print(sum(1 for _ in tracking.Store(sys.argv[1]).runs()), time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Reading:
    """Medians of seconds: the whole command, reading the runs, the same by MLflow's client; and the database's MB."""

    whole: float
    loading: float
    client: float
    megabytes: float


def measure(store: Path) -> Reading:
    """Read a store in processes of their own."""
    whole = []
    for _ in range(REPEAT):
        began = time.perf_counter()
        run_python("-m", "fmnist.compare", "--store", str(store))
        whole.append(time.perf_counter() - began)
    loading, client = (
        statistics.median(float(run_python("-c", code, str(store)).split()[1]) for _ in range(REPEAT))
        for code in (LOADING, THROUGH_THE_CLIENT)
    )
    return Reading(statistics.median(whole), loading, client, (store / "mlflow.db").stat().st_size / 1e6)
