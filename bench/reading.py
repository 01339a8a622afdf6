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
EPOCHS = """
import sys, time
from fmnist import tracking
store = tracking.Store(sys.argv[1])
runs = [run.run_id for run in store.all_runs()]
began = time.perf_counter()
print(len(store.histories(runs)), time.perf_counter() - began)
"""
EPOCHS_ONE_BY_ONE = """
import sys, time
from fmnist import tracking
from fmnist.schema import PER_EPOCH
store = tracking.Store(sys.argv[1])
runs = [run.run_id for run in store.all_runs()][:100]
began = time.perf_counter()
print(len([store.client.by_step(run, key) for run in runs for key in PER_EPOCH]), time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Reading:
    """Medians of seconds, and the database's MB."""

    whole: float  # the command, start-up included
    loading: float  # the runs
    client: float  # the same by MLflow's client
    epochs: float  # of all runs
    one_by_one: float  # those of 100 by MLflow's client
    megabytes: float


def measure(store: Path) -> Reading:
    """Read a store in processes of their own."""
    whole = []
    for _ in range(REPEAT):
        began = time.perf_counter()
        run_python("-m", "fmnist.compare", "--store", str(store))
        whole.append(time.perf_counter() - began)
    loading, client, epochs, one_by_one = (
        statistics.median(float(run_python("-c", code, str(store)).split()[1]) for _ in range(REPEAT))
        for code in (LOADING, THROUGH_THE_CLIENT, EPOCHS, EPOCHS_ONE_BY_ONE)
    )
    megabytes = (store / "mlflow.db").stat().st_size / 1e6
    return Reading(statistics.median(whole), loading, client, epochs, one_by_one, megabytes)
