"""Eight workers on MLflow's server with 10,000 runs: what a run costs beside training, as the benchmark measures it."""

import pytest

from bench import scale
from fmnist import tracking


def beside_training(address, name, runs, folder):
    """Seconds of a run beside its training, in a sweep of eight workers on a server with so many runs."""
    file, store = folder / str(runs), folder / name
    scale.invented.make(file, runs)
    database = scale._filled(address, name, file / "mlflow.db")
    with scale._server(database, store) as (server, _), scale.variables({scale.URI: server}):
        scale._seconds("fmnist.train", "-m", *scale.SWEEP, f"store={store}")
        return tracking.load(str(store))["time/overhead_s"].iloc[-scale.SWEPT :].mean()


def test_a_run_costs_less_than_twice_what_it_costs_where_there_is_next_to_none(place):
    folder = place[0] / "full"
    folder.mkdir()
    folder.chmod(0o711)
    try:
        with scale._postgresql(folder) as address:
            few, many = (beside_training(address, f"served_{runs}", runs, folder) for runs in (10, 10_000))
    except scale.SkippedError as reason:
        pytest.skip(str(reason))
    assert many < 2 * few, f"{many:.2f} s with 10,000 runs, {few:.2f} s with 10"
