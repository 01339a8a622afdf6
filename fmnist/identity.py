"""What a run is called and what it is recognised by: names for people, signatures for the store."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from fmnist.config import CONF, AugmentConfig, Config, flatten
from fmnist.network import filters_per_convolution
from fmnist.schema import BASELINE

RECIPE = 1  # Raise it when the same configuration and data would give other numbers than before.
# What recipe 1 has always signed, whatever its value: all options that there were when it began.
FIRST_OPTIONS = frozenset(
    (
        "data.scale", "data.limit", "data.validation", "data.augment_validation",
        "model.filters", "model.kernel_size", "model.pooling", "model.dense_units", "model.dropout", "model.batch_norm",
        "augment.rotation", "augment.width_shift", "augment.height_shift", "augment.shear", "augment.zoom",
        "augment.horizontal_flip", "optimizer.name", "optimizer.learning_rate",
        "compute.precision", "compute.threads", "batch_size", "epochs", "seed",
    )
)  # fmt: skip
_NOT_NUMBERS = ("data.source", "data.dir", "data.train_csv", "data.test_csv", "store", "patience", "study.")


def parameters(config: Config) -> dict[str, Any]:
    """All options that determine a run's numbers, flat, in one spelling.

    Filters are one number if equal, 0 is 0.0 where the default is a float, and TensorFlow is the backend of `auto`.
    """
    flat = {key: value for key, value in flatten(config).items() if not key.startswith(_NOT_NUMBERS)}
    flat |= {key: float(flat[key]) for key, default in flatten(Config()).items() if isinstance(default, float)}
    first, second = filters_per_convolution(config.model)
    flat["model.filters"] = first if first == second else [first, second]
    flat["compute.backend"] = config.compute.backend.replace("auto", "tensorflow")
    return flat


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

    An option that is added to a recipe later is signed only where it differs from its default, so that it changes no
    signature of the runs that do not use it.

    Raises:
        ValueError: the config is not resolved.
    """
    if config.compute.precision == "auto" or config.compute.threads is None:
        raise ValueError(f"only a resolved config can be signed, but got {config.compute}")
    return sign_options(parameters(config), data_digest)


def sign_options(options: Mapping[str, Any], data_digest: str) -> Signatures:
    """Sign what `parameters` gives of a resolved config, as records keep it."""
    signed = differing(options, default_parameters(), always=FIRST_OPTIONS)
    content = {**signed, "data": data_digest, "recipe": RECIPE}
    run = _digest(content)
    del content["epochs"]
    trajectory = _digest(content)
    for key in ("seed", "compute.threads", "compute.backend"):  # these change a seed's bits, not what is asked
        content.pop(key, None)
    return Signatures(run, trajectory, _digest(content))


def differing(options: Mapping[str, Any], defaults: Mapping[str, Any], always: Collection[str]) -> dict[str, Any]:
    """The options that differ from their defaults, and those that are always signed."""
    return {key: value for key, value in options.items() if key in always or value != defaults.get(key)}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def differences(config: Config) -> dict[str, str]:
    """What a variant changes of the baseline, as option -> level; {} is the baseline.

    An augmentation equal to one of conf/augment/ goes by its name. How it is computed (`compute`) is no part of
    a variant, unless its study varies it; the seed and the epochs never are.
    """
    presets = [name for name, ranges in _presets().items() if ranges == config.augment != AugmentConfig()]
    changes = {"augment": presets[0]} if presets else {}
    for key, value in differing(parameters(config), parameters(Config()), always=()).items():
        group = key.split(".")[0]
        if group not in ("seed", "epochs", *changes) and (group != "compute" or key in config.study.axes):
            changes[key] = _text(value)
    return changes


@cache
def _presets() -> dict[str, AugmentConfig]:
    """The ranges of each file of conf/augment/."""
    files = sorted((CONF / "augment").glob("*.yaml"))
    return {file.stem: AugmentConfig(**(yaml.safe_load(file.read_text()) or {})) for file in files}


def _text(value: Any) -> str:
    return json.dumps(value).replace(" ", "").strip('"')


def short_key(key: str) -> str:
    """An option as names write it: `filters` for model.filters."""
    return "optimizer" if key == "optimizer.name" else key.rsplit(".", maxsplit=1)[-1]


def variant_name(config: Config) -> str:
    """`filters=64 scale=unit`, or `baseline`."""
    return " ".join(f"{short_key(key)}={level}" for key, level in differences(config).items()) or BASELINE


def run_name(config: Config) -> str:
    """`filters=64 · 10 epochs · seed 0`."""
    return f"{variant_name(config)} · {config.epochs} epoch{'s'[: config.epochs != 1]} · seed {config.seed}"


def command(config: Config) -> str:
    """The command line that repeats a run, with every option that is not the baseline's."""
    changes = differing(parameters(config), parameters(Config()), always=())
    return " ".join(["python -m fmnist.train", *(f"{key}={_text(value)}" for key, value in changes.items())])
