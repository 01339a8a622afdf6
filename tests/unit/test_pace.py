"""How the plan learns what a machine achieves."""

import pandas as pd
import pytest

from fmnist.config import Config, from_flat
from fmnist.machine import cpu, gpu, instructions
from fmnist.network import flops_per_image
from fmnist.study import pace

BASE = from_flat(Config(), {"compute.precision": "float32", "compute.threads": 1})
SMALL = from_flat(BASE, {"model.filters": 4, "model.kernel_size": 3, "model.dense_units": 16, "batch_size": 32})


def record(flops, images_per_s, **changes):
    return {
        "status": "FINISHED",
        "machine.cpu": cpu(),
        "machine.instructions": instructions(),
        "machine.gpu": gpu(),
        "compute.precision": "float32",
        "compute.threads": "1",
        "compute.backend": "tensorflow",
        "time/images_per_s": images_per_s,
        "flops_per_image": flops,
        "validation_images": 0,
        "data.validation": "0.1",
        "data.limit": "null",
        "epochs": 3,
        **changes,
    }


def learned(*runs):
    """The pace of the baseline by recorded runs."""
    return pace.Pace(pd.DataFrame(runs), [BASE]).of(BASE)


def cost(config):
    return flops_per_image(config.model)


def test_finished_runs_of_this_processor_precision_and_threads_tell_the_pace_by_the_median_of_long_ones():
    others = [
        {"status": "FAILED"},
        {"machine.cpu": "other"},
        {"machine.instructions": "other"},
        {"machine.gpu": "other"},
        {"compute.precision": "bfloat16"},
        {"compute.threads": "2"},
        {"compute.backend": "jax"},
    ]
    runs = [record(100, speed) for speed in (1.0, 2.0, 9.0)] + [record(100, 50.0, **other) for other in others]
    assert learned(*runs) == learned(*runs, record(100, 0.1, epochs=1)) == pytest.approx(200.0)
    guess = learned()
    assert guess != 200.0
    assert pace.Pace(pd.DataFrame(runs[3:]), [BASE]).unknown([BASE]) == [BASE]


def test_the_last_runs_tell_the_pace_of_a_machine_that_had_more_to_do_before():
    before = [record(100, 1.0, epochs=50) for _ in range(9)]
    assert learned(*before, *(record(100, speed, epochs=10) for speed in (3.0, 2.9, 3.1))) == pytest.approx(290.0)
    assert learned(*before, *[record(100, 3.0, epochs=3)] * 5) == pytest.approx(100.0), "too short"


def test_what_scoring_takes_is_no_lower_pace():
    usual = {"validation_images": 6_000}  # 54,000 train
    many = {"validation_images": 10_000, "data.limit": "6000"}  # 5,400 train
    assert learned(record(100, 2.0, **usual)) == pytest.approx(200 * (1 + 6_000 / 3 / 54_000))
    assert learned(record(100, 2.0, **many)) == pytest.approx(200 * (1 + 10_000 / 3 / 5_400))


def test_finished_runs_tell_what_a_run_takes_beyond_its_epochs_and_where_none_does_it_is_guessed():
    runs = pd.DataFrame([record(100, 1.0, **{"time/overhead_s": seconds}) for seconds in (1.5, 1.7, 9.0)])
    assert pace.overhead(runs, BASE) == 1.7
    assert pace.overhead(runs.assign(status="FAILED"), BASE) == pace.SECONDS_PER_RUN
    assert pace.overhead(runs.drop(columns="time/overhead_s"), BASE) == pace.SECONDS_PER_RUN


def test_only_the_ends_of_the_costs_are_measured_and_only_where_no_run_tells():
    middle = from_flat(BASE, {"model.filters": 32})
    configs = [middle, BASE, SMALL]
    assert pace.Pace(pd.DataFrame(), configs).unknown(configs) == [SMALL, BASE]
    assert pace.Pace(pd.DataFrame([record(1.2 * cost(BASE), 1.0)]), configs).unknown(configs) == [SMALL]
    assert pace.Pace(pd.DataFrame(), configs).unknown([BASE, BASE]) == [BASE]
    assert pace.Pace(pd.DataFrame(), configs).unknown([]) == []


def test_each_precision_has_a_pace_of_its_own():
    half = from_flat(BASE, {"compute.precision": "bfloat16"})
    runs = [record(cost(BASE), 1.0), record(cost(BASE), 2.0, **{"compute.precision": "bfloat16"})]
    speed = pace.Pace(pd.DataFrame(runs), [BASE, half])
    assert (speed.of(BASE), speed.of(half)) == pytest.approx((cost(BASE), 2 * cost(BASE)))
    assert pace.Pace(pd.DataFrame(runs[:1]), [BASE, half]).unknown([BASE, half]) == [half]


def test_between_two_costs_the_pace_is_interpolated_and_beyond_them_it_stays():
    low, high = cost(BASE) / 10, cost(BASE) * 10
    assert learned(record(low, 1.0 / low), record(high, 100.0 / high)) == pytest.approx(10.0)
    assert learned(record(low, 3.0 / low)) == pytest.approx(3.0)
