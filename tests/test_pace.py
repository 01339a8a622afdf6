"""How the plan learns what a machine achieves."""

import pandas as pd
import pytest

from fmnist.config import Config, from_flat
from fmnist.cost import flops_per_image
from fmnist.machine import cpu
from fmnist.study import pace

BASE = from_flat(Config(), {"compute.precision": "float32", "compute.threads": 1})
SMALL = from_flat(BASE, {"model.filters": 4, "model.kernel_size": 3, "model.dense_units": 16, "batch_size": 32})


def record(flops, images_per_s, **changes):
    return {
        "status": "FINISHED",
        "machine.cpu": cpu(),
        "compute.precision": "float32",
        "compute.threads": "1",
        "time/images_per_s": images_per_s,
        "flops_per_image": flops,
        "epochs": 3,
        **changes,
    }


def test_finished_runs_of_this_processor_precision_and_threads_tell_the_pace_by_the_median_of_the_longest():
    others = [
        {"status": "FAILED"},
        {"machine.cpu": "other"},
        {"compute.precision": "bfloat16"},
        {"compute.threads": "2"},
    ]
    runs = [record(100, speed) for speed in (1.0, 2.0, 9.0)] + [record(100, 50.0, **other) for other in others]
    assert pace.recorded(pd.DataFrame(runs), BASE) == {100.0: 200.0}
    assert pace.recorded(pd.DataFrame([*runs, record(100, 0.1, epochs=1)]), BASE) == {100.0: 200.0}
    assert pace.recorded(pd.DataFrame(runs[3:]), BASE) == {}
    assert pace.recorded(pd.DataFrame(), BASE) == {}


def test_finished_runs_tell_what_a_run_takes_beyond_its_epochs_and_where_none_does_it_is_guessed():
    runs = pd.DataFrame([record(100, 1.0, **{"time/overhead_s": seconds}) for seconds in (1.5, 1.7, 9.0)])
    assert pace.overhead(runs, BASE) == 1.7
    assert pace.overhead(runs.assign(status="FAILED"), BASE) == pace.SECONDS_PER_RUN
    assert pace.overhead(runs.drop(columns="time/overhead_s"), BASE) == pace.SECONDS_PER_RUN


def test_only_the_ends_of_the_costs_are_measured_and_only_where_no_run_tells():
    middle = from_flat(BASE, {"model.filters": 32})
    assert pace.untold({}, [middle, BASE, SMALL]) == [SMALL, BASE]
    assert pace.untold({1.2 * flops_per_image(BASE.model): 1.0}, [middle, BASE, SMALL]) == [SMALL]
    assert pace.untold({}, [BASE, BASE]) == [BASE]


def test_between_two_costs_the_pace_is_interpolated_and_beyond_them_it_stays():
    cost = flops_per_image(BASE.model)
    assert pace.at({cost / 10: 1.0, cost * 10: 100.0}, BASE) == pytest.approx(10.0)
    assert pace.at({cost / 10: 3.0}, BASE) == pytest.approx(3.0)


def test_a_measurement_by_real_processes_gives_a_pace_for_each_config():
    found = pace.measured([SMALL], workers=1)
    assert list(found) == [flops_per_image(SMALL.model)] and 1e6 < found[flops_per_image(SMALL.model)] < 1e13


def test_what_cannot_be_measured_is_left_out():
    assert pace.measured([from_flat(BASE, {"model.filters": 0})], workers=1) == {}
