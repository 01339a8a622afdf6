"""The plan is arithmetic on the store's frame: no training, no Hydra, no MLflow."""

from dataclasses import replace

import pandas as pd
import pytest

from fmnist.config import Config, ModelConfig, StudyConfig, from_flat
from fmnist.identity import sign
from fmnist.network import flops_per_image
from fmnist.study import plan

BASE = from_flat(Config(), {"compute.precision": "float32", "compute.threads": 1})
SMALL = replace(BASE, model=ModelConfig(filters=32))
STUDY = StudyConfig(name="test", rungs=[3, 1], seeds=[0, 1])
NOTHING = pd.DataFrame({"signature": [], "status": []})


def planned(configs=(BASE,), study=STUDY, runs=NOTHING, checkpoints=None, speed=1e12):
    saved = checkpoints or {}
    return plan.work_out(
        [plan.Variant(config, ()) for config in configs],
        study,
        runs=runs,
        data_digest="data",
        images=60_000,
        checkpointed=lambda trajectory, epoch: max([e for e in saved.get(trajectory, []) if e <= epoch], default=0),
        flops_per_second=lambda config: speed,
        seconds_per_run=3.0,
    )


def finished(*configs):
    return pd.DataFrame({"signature": [sign(c, "data").run for c in configs], "status": "FINISHED"})


def test_every_variant_seed_and_rung_is_one_run_the_rungs_in_order():
    runs = planned((BASE, SMALL))
    assert [run.config.epochs for run in runs] == [1] * 4 + [3] * 4
    assert len({run.signatures.run for run in runs}) == 8 and len({run.signatures.trajectory for run in runs}) == 4


def test_within_a_rung_seeds_come_one_by_one_so_that_a_stopped_sweep_has_as_many_of_each_variant():
    assert [run.config.seed for run in planned((SMALL, BASE))][:4] == [0, 0, 1, 1]


def test_of_a_seed_the_longest_run_comes_first():
    assert [run.config.model.filters for run in planned((SMALL, BASE))][:4] == [128, 32, 128, 32]


def test_a_longer_rung_continues_where_the_shorter_one_will_have_ended():
    runs = planned(study=replace(STUDY, rungs=[1, 3, 10], seeds=[0]))
    assert [run.start for run in runs] == [0, 1, 3]


def test_a_longer_rung_costs_only_the_epochs_that_are_new():
    shared = planned(study=replace(STUDY, rungs=[10, 50], seeds=[0]))
    alone = planned(study=replace(STUDY, rungs=[50], seeds=[0]))
    extra = sum(run.seconds for run in shared) - alone[0].seconds
    assert extra < 2 * 3.0


def test_every_row_that_validates_costs_a_third_of_one_that_trains():
    few, many = (
        from_flat(BASE, {"data.limit": 6000, "data.validation_rows": rows, "epochs": 2}) for rows in (None, 10_000)
    )
    added = plan.operations(many, 60_000, 0) - plan.operations(few, 60_000, 0)
    assert added == pytest.approx(2 * 9_400 / 3 * flops_per_image(BASE.model))


def test_the_estimate_is_the_workers_share_but_no_less_than_the_longest_trajectory():
    runs = planned((BASE, SMALL), study=replace(STUDY, rungs=[1, 3], seeds=[0]))
    total, longest = sum(run.seconds for run in runs), sum(run.seconds for run in runs if run.config.model.filters > 32)
    assert plan.estimate(runs, 1) == pytest.approx(plan.STARTUP_SECONDS + total)
    assert plan.estimate(runs, 8) == pytest.approx(plan.STARTUP_SECONDS + longest)
    assert plan.estimate([], 2) == 0


def test_finished_runs_are_done_and_cost_nothing_but_failed_ones_are_run_again():
    one = replace(BASE, epochs=1, seed=0)
    runs = finished(one)
    done = [run for run in planned(runs=runs) if run.done]
    assert [(run.config.epochs, run.config.seed, run.seconds) for run in done] == [(1, 0, 0.0)]
    assert not any(run.done for run in planned(runs=runs.assign(status="FAILED")))


def test_a_checkpoint_between_the_rungs_is_continued():
    trajectory = sign(BASE, "data").trajectory
    runs = planned(study=replace(STUDY, rungs=[1, 10], seeds=[0]), checkpoints={trajectory: [1, 7]})
    assert [run.start for run in runs] == [1, 7]


def test_a_finished_run_whose_checkpoints_are_gone_is_no_start():
    runs = planned(study=replace(STUDY, seeds=[0]), runs=finished(replace(BASE, epochs=1)))
    assert [(run.done, run.start) for run in runs] == [(True, 0), (False, 0)]
