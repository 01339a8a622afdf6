"""Every YAML composes, and what Hydra cannot use is refused in a line that helps."""

import shutil

import pytest
import yaml
from omegaconf import OmegaConf

from fmnist.checks import check
from fmnist.config import CONF, Config, StudyConfig, UserError
from fmnist.identity import variant_name
from fmnist.study import compose, plan
from fmnist.study.compose import compose_config


def points(*overrides):
    config = compose_config(overrides)
    return config, plan.variants(config.study, lambda more: compose_config([*overrides, *more]))


def names(*overrides):
    return [variant_name(point.config) for point in points(*overrides)[1]]


def refusal(*overrides):
    with pytest.raises(UserError) as error:
        points(*overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_overrides_the_config_is_the_baseline():
    assert compose_config() == Config()


@pytest.mark.parametrize("file", sorted((CONF / "augment").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_augmentation_sets_every_range(file):
    config = check(compose_config([f"augment={file.stem}"]))
    assert vars(config.augment) == yaml.safe_load(file.read_text())
    assert variant_name(config) in (f"augment={file.stem}", "baseline")


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.filters=[8,16]", "study=grid", "augment=light", "augment.zoom=0.5", "~study.axes.augment", "seed=3"],
        ["model.filters=5", "model={filters: 3, pooling: average}", "epochs=2", "epochs=3", "store=a b"],
        ["model={filters: 3}", "model.filters=5", "study.axes={model.filters: [1, 2]}", "study=filters"],
        [
            "study.axes.model.filters=[8]",
            "+study.axes.model.dropout=[0.0,0.1]",
            "+study.claims.a.says=b",
            "study=kernel",
        ],
        ["epochs=${seed}", "hydra.job.name=x", "seed=7", "hydra/launcher=slurm", "data.dir='a b'", "data.limit=null"],
    ],
)
def test_what_is_set_after_the_files_were_composed_once_is_what_hydra_composes(overrides):
    """Whichever files the points before have chosen."""
    kept = compose._composed(overrides, compose.TRAIN)
    hydras = compose._of_files.__wrapped__(CONF, compose.TRAIN, False, *overrides)
    assert OmegaConf.to_yaml(kept) == OmegaConf.to_yaml(hydras) and kept == hydras
    assert compose_config(["study=filters"]) == compose_config(["study=filters"])  # and leaves what is kept alone
    assert compose_config() == Config()


def test_one_axis_at_a_time_meets_the_baseline_once():
    assert names("study=article") == [
        "baseline",
        "filters=32",
        "filters=64",
        "kernel_size=3",
        "kernel_size=7",
        "pooling=average",
        "augment=none",
        "augment=light",
        "augment=heavy",
        "scale=unit",
    ]


def test_a_grid_is_the_product_of_its_axes():
    assert len(points("study=grid")[1]) == 3 * 3 * 2 * 4 * 2


def test_options_beside_a_study_move_its_baseline():
    assert names("study=pooling", "model.kernel_size=3") == ["kernel_size=3", "kernel_size=3 pooling=average"]


def test_axes_are_added_changed_and_taken_out_by_their_option():
    changed = points("study=filters", "study.axes.model.filters=[16,[8,16]]", "study.axes.data.scale=[raw,unit]")
    assert changed[0].study.axes == {"model.filters": [16, [8, 16]], "data.scale": ["raw", "unit"]}
    assert names("study=filters", "study.axes.model.filters=null") == ["baseline"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.filter=3"], ["no option 'model.filter'", "did you mean 'model.filters'"]),
        (["+model.foo=3"], ["no option 'model.foo'"]),
        (["+foo=3"], ["no option 'foo'"]),
        (["augment=lite"], ["no augment 'lite'", "article, heavy, light, none", "did you mean 'light'"]),
        (["study=filtres"], ["no study 'filtres'", "did you mean 'filters'"]),
        (["optimizer=sgd"], ["group of options", "optimizer.name"]),
        (["epochs=ten"], ["epochs must be a whole number, but got ten"]),
        (["nonsense"], ["nonsense", "KEY=VALUE"]),
        (["study.rungs=[1]"], ["study=NAME"]),
        (["study=kernel", "study.axes.model.kernel_size=[3,10,40]"], ["2 of 4 points", "model.kernel_size=10", "=40"]),
        (["study=kernel", "study.axes.seed=[1,2]"], ["cannot vary seed", "study.seeds"]),
        (["study=kernel", "study.axes.data.dir=[a,b]"], ["cannot vary data.dir", "a sweep for each"]),
        (["study=kernel", "study.axes.compute.threads=[1,2]"], ["cannot vary compute.threads", "a sweep for each"]),
        (["study=kernel", "study.axes.store=[a,b]"], ["cannot vary store", "a sweep for each"]),
        (["study=kernel", "study.axes.model.pooling=max"], ["list of levels", "got max"]),
        (["study=kernel", "study.design=square"], ["one_at_a_time, grid", "got 'square'"]),
        (["study=kernel", "study.rungs=[]"], ["study.rungs is empty"]),
        (["study=kernel", "study.seeds=[-1]"], ["study.seeds", "at least 0"]),
        (["study=kernel", "study.axes.foo=[1]"], ["no option 'foo'"]),
    ],
)
def test_what_is_not_understood_is_refused_in_one_line_with_a_remedy(overrides, words):
    text = refusal(*overrides)
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("  cros: true", ["conf/study/mine.yaml", "no option 'study.cros'", "did you mean 'study."]),
        ("  seeds: five", ["conf/study/mine.yaml", "study.seeds"]),
        ("  seeds: [0", ["mine.yaml is no valid YAML", "line"]),
    ],
)
def test_a_study_s_file_that_is_not_understood_is_refused_in_one_line(lines, words, tmp_path, monkeypatch):
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "conf" / "study" / "mine.yaml").write_text(f"# @package _global_\nstudy:\n  name: mine\n{lines}\n")
    monkeypatch.setattr("fmnist.study.compose.CONF", tmp_path / "conf")
    text = refusal("study=mine")
    assert [word for word in words if word not in text] == []


def test_no_study_is_the_default():
    assert compose_config().study == StudyConfig()


def test_points_are_named_by_what_the_study_changes_of_its_baseline_and_those_of_a_plain_sweep_in_full():
    def of(*overrides):
        return [point.name for point in points(*overrides)[1]]

    moved = ["study=pooling", "data.limit=600", "model.kernel_size=3"]
    assert of(*moved) == ["baseline", "pooling=average"]
    assert of(*moved, "study.axes.model.kernel_size=[3,5]") == ["baseline", "pooling=average", "kernel_size=5"]
    plain = StudyConfig(name=plan.PLAIN, design="grid", axes={"model.filters": [64]})
    (point,) = plan.variants(plain, lambda more: compose_config(["data.limit=600", *more]))
    assert point.name == "limit=600 filters=64"
