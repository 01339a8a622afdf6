"""What is measured is what is said: the plain way trains the same network, invented runs read like real ones."""

from dataclasses import replace
from itertools import islice

import pandas as pd
import pytest
import yaml
from invented import Copier, configs, write

from bench import plain, plain_way
from bench.limit import _kind
from bench.measures import config
from bench.table import Row, render
from fmnist import tracking
from fmnist.config import CONF
from fmnist.network import parameter_count

NAMES = {"rotation": "rotation_range", "width_shift": "width_shift_range", "height_shift": "height_shift_range"}
NAMES |= {"shear": "shear_range", "zoom": "zoom_range"}


@pytest.mark.parametrize("file", sorted((CONF / "augment").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_plain_way_warps_by_the_same_ranges(file):
    ours = {NAMES.get(key, key): value for key, value in yaml.safe_load(file.read_text()).items()}
    theirs = dict.fromkeys(ours, 0) | plain_way.AUGMENT[file.stem]
    assert theirs == ours


@pytest.mark.parametrize(("filters", "kernel_size", "pooling"), [(32, 5, "max"), (8, 7, "average")])
def test_the_plain_way_trains_the_same_network(filters, kernel_size, pooling):
    ours = config(model__filters=filters, model__kernel_size=kernel_size, model__pooling=pooling)
    assert plain_way.network(filters, kernel_size, pooling).count_params() == parameter_count(ours.model)


def test_the_study_is_worked_out_from_speeds_and_from_what_runs_cost_beside_training():
    short = plain.Shortened(ours=1.0, plain=1.0, sweep=10.0, run=2.0, script=20.0)
    slow, fast = plain.Speeds(1000.0, 2000.0, script_epoch=70.0), plain.Speeds(2000.0, 4000.0)
    assert (slow.epoch, fast.epoch) == (54 + 3, 27 + 1.5)  # 54,000 images trained, 6,000 scored
    assert plain._script_seconds(slow, 10, short) == 20 + 700
    other = plain._as_the_baseline(plain.Speeds(1.0, 1.0, script_steps=450.0), replace(slow, script_steps=900.0))
    assert other.script_epoch == 140.0
    cores = plain.machine.cores()
    rungs = 2 * (2 * 2 / cores + 5 + 2.5)  # a run's overhead on all cores, 10,000 images scored
    assert plain._sweep_seconds([slow, fast], [1, 10], short) == pytest.approx(10 + 10 * (57 + 28.5) + rungs)


def test_every_level_of_the_article_is_a_point_that_is_measured():
    points = [" ".join(point.overrides) or "baseline" for point in plain.one_thread_points("study=article")]
    axes = plain.compose_config(["study=article"]).study.axes
    levels = [
        plain._name(plain.plan.override(axis, level), dict.fromkeys(points)) for axis in axes for level in axes[axis]
    ]
    assert len(levels) == 14 and set(levels) == set(points) and levels.count("baseline") == len(axes)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("while/body/_1/while/functional_1/conv2_1/BiasAdd:_MklNativeFusedConv2D", "conv2"),
        ("while/body/_1/while/functional_1/conv1_1/BiasAdd:_MklNativeFusedConv2D", "conv1"),
        ("while/body/_1/gradient_tape/while/functional_1/relu1_1/ReluGrad:ReluGrad", "pooling, ReLU"),
        ("while/body/_1/while/functional_1/pool1_1/MaxPool2d:_MklNativeMaxPool", "pooling, ReLU"),
        ("while/body/_1/while/functional_1/relu1_1/Relu:_MklNativeRelu", "pooling, ReLU"),
        ("while/body/_1/while/ImageProjectiveTransformV3:ImageProjectiveTransformV3", "warps"),
        ("while/body/_1/while/adam/Square_4:Square", "Adam"),
        ("while/body/_1/gradient_tape/while/functional_1/dense_1/MatMul/MatMul:_MklMatMul", "dense"),
        ("while/body/_1/while/GatherV2:GatherV2", "everything else"),
        ("KernelAndDeviceFunc::Run", ""),
        ("EagerLocalExecute: __inference__train_steps_767", ""),
        ("ExecutorState::Process", ""),
    ],
)
def test_an_operation_is_told_by_its_name(name, kind):
    assert _kind(name) == kind


def test_the_table_has_a_line_for_every_part_and_row():
    text = render([("Growth", [Row("time", "2 s", "half of it", "1 s", 2.0, "at most 2")])])
    assert text.splitlines()[2:] == [
        "| **Growth** |        |                 |          |         |           |",
        "| time       | 2 s    | half of it      | 1 s      | 2       | at most 2 |",
    ]


def test_a_copied_run_reads_like_one_that_was_written(tmp_path):
    store = tracking.Store(str(tmp_path))
    first, *_, other = islice(configs(17), 1, 17)  # of 3 epochs both
    pattern, written = write(store, first), write(store, other)
    copier = Copier(store)
    copied = copier.copy(pattern, other)
    copier.close()
    rows = tracking.frame(store.all_runs()).set_index("run_id").drop(columns="start_time")
    assert (
        len(rows) == 3 and rows.loc[copied].equals(rows.loc[written]) and not rows.loc[copied].equals(rows.loc[pattern])
    )
    histories = store.histories([written, copied])
    pd.testing.assert_frame_equal(histories[written], histories[copied])
    one, two = (store.client.get_run(run_id) for run_id in (written, copied))
    assert one.data.tags == two.data.tags
    for run in (one, two):
        assert run.inputs.dataset_inputs[0].dataset.name == "fashion-mnist training"
        assert run.inputs.dataset_inputs[0].tags[0].value == "training"
        assert len(run.outputs.model_outputs) == 1
