from dataclasses import dataclass, field, replace

import pytest

from fmnist.checks import check
from fmnist.config import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    StudyConfig,
    UserError,
    from_flat,
)
from fmnist.identity import _presets, command, parameters, run_name, sign, variant_name
from fmnist.network import feature_sizes, flops_per_image, parameter_count

RESOLVED = {"compute.precision": "float32", "compute.threads": 1}


def resolved(**options):
    return from_flat(Config(), RESOLVED | {key.replace("__", "."): value for key, value in options.items()})


def test_the_defaults_are_the_article_s_run():
    config = check(Config())
    assert variant_name(config) == "baseline"
    assert parameter_count(config.model) == 940_170
    assert feature_sizes(config.model) == [(24, 12), (8, 4)]
    assert flops_per_image(config.model) == pytest.approx(168e6, rel=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model.kernel_size": 11}, ["model.kernel_size=11", "9x9", "the largest that fits is 9"]),
        ({"model.kernel_size": 28}, ["first convolution", "28x28", "1x1"]),
        ({"model.filters": 0}, ["model.filters", "at least 1", "got 0"]),
        ({"model.filters": [32, 64, 128]}, ["2 convolutions", "[32, 64, 128]"]),
        ({"model.filters": "many"}, ["model.filters", "many"]),
        ({"model.pooling": "maximum"}, ["max, average", "did you mean 'max'"]),
        ({"model.dense_units": 0}, ["model.dense_units", "at least 1"]),
        ({"model.dropout": 1.0}, ["model.dropout", "below 1", "1.0"]),
        ({"augment.rotation": -1.0}, ["augment.rotation", "at least 0", "-1.0"]),
        ({"augment.zoom": 1.5}, ["augment.zoom", "below 1", "1.5"]),
        ({"optimizer.name": "adan"}, ["optimizer.name", "did you mean 'adam'"]),
        ({"optimizer.learning_rate": 0.0}, ["optimizer.learning_rate", "at least 1e-12"]),
        ({"optimizer.learning_rate": 1e-320}, ["optimizer.learning_rate", "at least 1e-12"]),
        ({"optimizer.learning_rate": float("inf")}, ["optimizer.learning_rate", "at least 1e-12", "inf"]),
        ({"model.filters": 10**20}, ["model.filters", "at most 4096"]),
        ({"model.filters": 4096}, ["parameters", "100,000,000", "lower model.filters"]),
        ({"model.dense_units": 5_000_000_000}, ["model.dense_units", "at most 65536"]),
        ({"compute.threads": 100_000}, ["compute.threads", "at most 512"]),
        ({"seed": 5_000_000_000}, ["seed", "at most 4294967295"]),
        ({"optimizer.learning_rate": float("nan")}, ["optimizer.learning_rate", "nan"]),
        ({"data.scale": "units"}, ["raw, unit", "did you mean 'unit'"]),
        ({"data.source": "csv"}, ["data.train_csv=FILE"]),
        ({"data.limit": 50}, ["data.limit=50", "5 rows for validation", "100"]),
        ({"data.limit": 130}, ["data.limit=130", "117 rows", "batch of 128"]),
        ({"data.validation_rows": 10_000}, ["=10000 needs data.limit=ROWS", "set data.validation_rows=auto"]),
        ({"data.limit": 6000, "data.validation_rows": 599}, ["validation_rows", "at least 600, ", "got 599"]),
        ({"data.limit": 6000, "data.validation_rows": 0}, ["data.validation_rows", "at least 1", "got 0"]),
        ({"data.limit": 6000, "data.validation_rows": 0.5}, ["data.validation_rows", "a whole number", "got 0.5"]),
        ({"data.limit": 6000, "data.validation_rows": "all"}, ["validation_rows must be auto, null or a", "got all"]),
        ({"data.validation_rows": False}, ["data.validation_rows must be auto, null or a", "got false"]),
        ({"data.validation": 10.0}, ["data.validation", "above 0 and below 1"]),
        ({"compute.precision": "float16"}, ["compute.precision", "bfloat16"]),
        ({"compute.threads": 0}, ["compute.threads", "at least 1"]),
        ({"batch_size": 0}, ["batch_size", "at least 1"]),
        ({"epochs": 0}, ["epochs", "at least 1"]),
        ({"seed": -1}, ["seed", "at least 0"]),
    ],
)
def test_an_impossible_option_is_refused_with_its_value_and_a_remedy(options, words):
    with pytest.raises(UserError) as error:
        check(from_flat(Config(), options))
    assert "\n" not in str(error.value)
    assert [word for word in words if word not in str(error.value)] == []


def test_every_kernel_up_to_the_named_limit_is_possible():
    for size in range(1, 10):
        check(from_flat(Config(), {"model.kernel_size": size}))


def test_a_variant_is_named_by_what_differs_from_the_baseline():
    assert variant_name(Config(model=ModelConfig(filters=64))) == "filters=64"
    assert variant_name(Config(model=ModelConfig(filters=[64, 64]))) == "filters=64"
    assert variant_name(Config(model=ModelConfig(filters=[32, 64]))) == "filters=[32,64]"
    assert variant_name(Config(optimizer=OptimizerConfig(name="sgd"))) == "optimizer=sgd"
    both = Config(data=DataConfig(scale="unit", limit=6000))
    assert variant_name(both) == "scale=unit limit=6000"
    assert variant_name(from_flat(both, {"data.validation_rows": None})) == "scale=unit limit=6000 validation_rows=null"


def test_an_augmentation_goes_by_its_group_s_name_or_by_the_ranges_that_differ():
    assert variant_name(Config(augment=AugmentConfig(0.0, 0.0, 0.0, 0.0, 0.0))) == "augment=none"
    assert variant_name(Config(augment=AugmentConfig(rotation=20.0))) == "rotation=20.0"


def test_epochs_seed_and_computing_are_no_part_of_a_variant_s_name():
    config = resolved(epochs=3, seed=7)
    assert variant_name(config) == "baseline"
    assert run_name(config) == "baseline · seed 7 · 3 epochs"
    assert run_name(replace(config, epochs=1)) == "baseline · seed 7 · 1 epoch"


def test_the_precision_is_part_of_a_variant_s_name_where_the_study_varies_it():
    varied = StudyConfig(axes={"compute.precision": ["float32", "bfloat16"]})
    assert variant_name(replace(resolved(), study=varied)) == "precision=float32"


def test_signatures_differ_by_exactly_what_they_are_of():
    base = sign(resolved(), "data")
    longer = sign(resolved(epochs=50), "data")
    assert longer.run != base.run
    assert longer.trajectory == base.trajectory
    other_seed = sign(resolved(seed=1), "data")
    assert other_seed.trajectory != base.trajectory
    assert other_seed.variant == base.variant
    threads = sign(resolved(compute__threads=2), "data")
    assert (threads.trajectory != base.trajectory, threads.variant) == (True, base.variant)
    for other in (resolved(model__filters=64), resolved(compute__precision="bfloat16")):
        assert sign(other, "data").variant != base.variant
    limits = [resolved(data__limit=6000, data__validation_rows=rows) for rows in (None, 5000, 10_000)]
    assert len({sign(limited, "data").trajectory for limited in limits}) == 3  # its history holds other scores
    assert sign(resolved(), "other data").variant != base.variant


@pytest.mark.parametrize(
    ("options", "run", "trajectory", "variant"),
    [  # of recipe 2
        ({}, "01673e668b72a458", "01673e668b72a458", "a420588797035d24"),
        ({"compute.backend": "tensorflow"}, "01673e668b72a458", "01673e668b72a458", "a420588797035d24"),
        (
            {"model.filters": [32, 64], "data.scale": "unit", "epochs": 50, "seed": 3},
            "cbb085fe4bcd19a9", "93560b232ec0a2b8", "d296fcc27a3d72ed",
        ),
        (
            {"compute.precision": "bfloat16", "compute.threads": 2, "data.limit": 6000, "data.validation_rows": None},
            "38e993cc7d29177a", "38e993cc7d29177a", "01aa97a5191f0c9e",
        ),
        (
            {"compute.backend": "jax", "model.dropout": 0.25, "model.batch_norm": True, "optimizer.name": "sgd"},
            "0d1d2336c2d897c6", "0d1d2336c2d897c6", "dd67b37b3ebf468a",
        ),
        (
            {"augment.rotation": 0.0, "augment.horizontal_flip": True, "batch_size": 32},
            "58f58715b0479443", "58f58715b0479443", "95f58f9180a624a6",
        ),
    ],
)  # fmt: skip
def test_the_signatures_of_the_recipe_stay(options, run, trajectory, variant):
    signatures = sign(from_flat(Config(), RESOLVED | options), "data")
    assert (signatures.run, signatures.trajectory, signatures.variant) == (run, trajectory, variant)


def test_an_option_that_is_added_later_changes_no_signature_that_does_not_use_it(monkeypatch):
    @dataclass
    class LaterModel(ModelConfig):
        label_smoothing: float = 0.0

    @dataclass
    class LaterConfig(Config):
        model: ModelConfig = field(default_factory=LaterModel)

    before = sign(resolved(), "data")
    monkeypatch.setattr("fmnist.identity.Config", LaterConfig)
    later = from_flat(LaterConfig(), RESOLVED)
    assert parameters(later)["model.label_smoothing"] == 0.0
    assert sign(later, "data") == before
    smoothed = sign(from_flat(later, {"model.label_smoothing": 0.1}), "data")
    assert (
        smoothed.run != before.run and smoothed.trajectory != before.trajectory and smoothed.variant != before.variant
    )
    assert variant_name(from_flat(later, {"model.label_smoothing": 0.1})) == "label_smoothing=0.1"


def test_a_run_by_jax_is_another_run_of_the_same_variant_and_says_so():
    base, other = resolved(), resolved(compute__backend="jax")
    ours, theirs = sign(base, "data"), sign(other, "data")
    assert ours.run != theirs.run and ours.trajectory != theirs.trajectory and ours.variant == theirs.variant
    assert variant_name(other) == "baseline"
    assert command(other).endswith("compute.backend=jax")


def test_paths_store_and_spelling_do_not_change_a_signature():
    base = sign(resolved(), "data")
    assert sign(resolved(data__dir="/elsewhere", store="other"), "data") == base
    assert sign(resolved(model__filters=[128, 128]), "data") == base
    assert sign(resolved(augment__zoom=0), "data") == sign(resolved(augment__zoom=0.0), "data")


def test_an_unresolved_config_cannot_be_signed():
    with pytest.raises(ValueError, match="auto"):
        sign(Config(), "data")


def test_flat_options_and_back():
    config = resolved(model__filters=64, epochs=3)
    assert parameters(from_flat(Config(), parameters(config))) == parameters(config)


def test_an_augmentation_that_cannot_be_read_is_no_matter_of_runs_that_do_not_choose_it(tmp_path, monkeypatch):
    (tmp_path / "augment").mkdir()
    for name, text in {"deep": "[" * 3000, "odd": "rotation: 1\nrotaton: 2\n", "mild": "rotation: 1.0\n"}.items():
        (tmp_path / "augment" / f"{name}.yaml").write_text(text)
    monkeypatch.setattr("fmnist.identity.CONF", tmp_path)
    monkeypatch.setattr("fmnist.identity._presets", _presets.__wrapped__)
    assert variant_name(Config(augment=AugmentConfig(rotation=1.0))) == "augment=mild"
