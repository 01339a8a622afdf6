"""Eight workers on MLflow's server with 10,000 runs: what a run costs beside training, as the benchmark measures it."""

import pytest
from invented import make

from bench import scale
from bench.processes import variables
from fmnist.config import UserError


def beside_training(folder, runs):
    """Seconds of a run beside its training, in a sweep of eight workers on a server with so many runs."""
    make(folder / f"{runs}", runs)
    with scale.servers(folder / f"server-{runs}", folder / f"{runs}" / "mlflow.db") as (trial, address, _):
        store = str(folder / f"sweep-{runs}")
        with variables({scale.URI: address, "PGPASSFILE": str(trial.password)}):
            scale.sweep(store)
            return scale.beside_training(store)


def test_a_run_costs_less_than_twice_what_it_costs_where_there_is_next_to_none(folder):
    try:
        few, many = (beside_training(folder, runs) for runs in (10, 10_000))
    except UserError as reason:
        pytest.skip(str(reason))
    assert many < 2 * few, f"{many:.2f} s with 10,000 runs, {few:.2f} s with 10"
