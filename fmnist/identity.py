"""What a run is called and what it is recognised by: names for people, signatures for the store."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import yaml

from fmnist.config import CONF, AugmentConfig, Config, DataConfig, flatten, validation_rows
from fmnist.network import filters_per_convolution
from fmnist.schema import BASELINE
from fmnist.words import harmless, plural

RECIPE = 2  # Raise it when the same configuration and data would give other numbers than before.
AUGMENT, OWN = "augment", "own"  # the name of a run's augmentation, which its ranges determine: it is not signed
# What every run has recorded since the first one; a record that lacks one of them was changed.
FIRST_OPTIONS = frozenset(
    (
        "data.scale", "data.limit", "data.validation", "data.augment_validation",
        "model.filters", "model.kernel_size", "model.pooling", "model.dense_units", "model.dropout", "model.batch_norm",
        "augment.rotation", "augment.width_shift", "augment.height_shift", "augment.shear", "augment.zoom",
        "augment.horizontal_flip", "optimizer.name", "optimizer.learning_rate",
        "compute.precision", "compute.threads", "batch_size", "epochs", "seed",
    )
)  # fmt: skip
_SORTED = json.JSONEncoder(sort_keys=True)
_NOT_NUMBERS = ("data.source", "data.dir", "data.train_csv", "data.test_csv", "store", "patience", "study.")


def parameters(config: Config) -> dict[str, Any]:
    """All options that determine a run's numbers, flat, in one spelling.

    Filters are one number if equal, 0 is 0.0 where the default is a float, and what stands for `auto` is named.
    """
    flat = {key: value for key, value in flatten(config).items() if not key.startswith(_NOT_NUMBERS)}
    floats = [key for key, default in flatten(Config()).items() if isinstance(default, float)]
    flat |= {key: float(flat[key]) for key in floats if key in flat}
    first, second = filters_per_convolution(config.model)
    flat["model.filters"] = first if first == second else [first, second]
    flat["data.validation_rows"] = validation_rows(config.data)
    flat["compute.backend"] = config.compute.backend.replace("auto", "tensorflow")
    return flat


def recorded(config: Config) -> dict[str, Any]:
    """What a run is recorded with: its parameters, and the name of its augmentation beside the ranges."""
    options = parameters(config)
    return {**options, AUGMENT: augmentation(options)}


def augmentation(options: Mapping[str, Any]) -> str:
    """The file of conf/augment/ with the ranges of these options, or `own`."""
    ranges = {key.rpartition(".")[2]: value for key, value in options.items() if key.startswith(f"{AUGMENT}.")}
    return next((name for name, each in _presets().items() if asdict(each) == ranges), OWN)


def default_parameters() -> Mapping[str, Any]:
    """The baseline's."""
    return _parameters_of(Config)


@cache
def _parameters_of(kind: type[Config]) -> Mapping[str, Any]:
    return parameters(kind())


@dataclass(frozen=True)
class Signatures:
    """Hashes of what determines the numbers of a run, of its trajectory, of its variant (16 hex digits)."""

    run: str
    trajectory: str
    variant: str


def sign(config: Config, data_digest: str) -> Signatures:
    """Sign a resolved config (precision and threads are no longer `auto`) together with the data.

    Options are signed only where they differ from their defaults, so that one that is added to a recipe later changes
    no signature of the runs that do not use it. (Recipe 1 also signed the defaults of what options there were then.)

    Raises:
        ValueError: the config is not resolved.
    """
    if config.compute.precision == "auto" or config.compute.threads is None:
        raise ValueError(f"only a resolved config can be signed, but got {config.compute}")
    return sign_options(parameters(config), data_digest)


def sign_options(options: Mapping[str, Any], data_digest: str) -> Signatures:
    """Sign what `parameters` gives of a resolved config, as records keep it."""
    signed = {key: value for key, value in options.items() if key != AUGMENT}
    content = {**differing(signed, default_parameters()), "data": data_digest, "recipe": RECIPE}
    run = _digest(content)
    content.pop("epochs", None)
    trajectory = _digest(content)
    for key in ("seed", "compute.threads", "compute.backend"):  # these change a seed's bits, not what is asked
        content.pop(key, None)
    return Signatures(run, trajectory, _digest(content))


def differing(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from their defaults."""
    return {key: value for key, value in options.items() if value != defaults.get(key)}


def _digest(content: Any) -> str:
    return hashlib.sha256(_SORTED.encode(content).encode()).hexdigest()[:16]


def differences(config: Config) -> dict[str, str]:
    """What a variant changes of the baseline, as option -> level; {} is the baseline.

    An augmentation equal to one of conf/augment/ goes by its name. How it is computed (`compute`) is no part of
    a variant, unless its study varies it; the seed and the epochs never are.
    """
    presets = [name for name, ranges in _presets().items() if ranges == config.augment != AugmentConfig()]
    changes = {"augment": presets[0]} if presets else {}
    for key, value in differing(parameters(config), _usual(config)).items():
        group = key.split(".")[0]
        if group not in ("seed", "epochs", *changes) and (group != "compute" or key in config.study.axes):
            changes[key] = _text(value)
    return changes


def _usual(config: Config) -> dict[str, Any]:
    """The baseline's parameters, and as many rows that validate as the limit has unless others are asked for."""
    return {**parameters(Config()), "data.validation_rows": validation_rows(DataConfig(limit=config.data.limit))}


@cache
def _presets() -> dict[str, AugmentConfig]:
    """The ranges of each file of conf/augment/ that has nothing else."""
    presets = {}
    for file in sorted((CONF / "augment").glob("*.yaml")):
        with suppress(
            TypeError, ValueError, OSError, RecursionError, yaml.YAMLError
        ):  # which Hydra says if it is chosen
            presets[file.stem] = AugmentConfig(**(yaml.safe_load(file.read_text()) or {}))
    return presets


def _text(value: Any) -> str:
    return json.dumps(value).replace(" ", "").strip('"')


def short_key(key: str) -> str:
    """An option as names write it: `filters` for model.filters."""
    return "optimizer" if key == "optimizer.name" else key.rsplit(".", maxsplit=1)[-1]


def variant_name(config: Config) -> str:
    """`filters=64 scale=unit`, or `baseline`."""
    return " ".join(f"{short_key(key)}={level}" for key, level in differences(config).items()) or BASELINE


def run_name(config: Config, variant: str = "") -> str:
    """`filters=64 · seed 0 · 10 epochs`, in few letters: MLflow keeps 250, and the variant has a tag of its own.

    Args:
        config: the run's.
        variant: as its study names it; none: by what differs from the article's baseline.
    """
    name = harmless(variant or variant_name(config), 120)
    return f"{name} · seed {config.seed} · {plural(config.epochs, 'epoch')}"


def command(config: Config) -> str:
    """The command line that repeats a run, with every option that is not the baseline's."""
    changes = differing(parameters(config), _usual(config))
    return " ".join(["python -m fmnist.train", *(f"{key}={_text(value)}" for key, value in changes.items())])
