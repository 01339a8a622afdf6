"""What a run is called and what it is recognised by: names for people, signatures for the store."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import yaml

from fmnist.config import CONF, AugmentConfig, Config, flatten
from fmnist.network import filters_per_convolution

RECIPE = 1  # Raise it when the same configuration and data would give other numbers than before.
_NOT_NUMBERS = ("data.source", "data.dir", "data.train_csv", "data.test_csv", "store", "patience", "study.")


def parameters(config: Config) -> dict[str, Any]:
    """All options that determine a run's numbers, flat, in one spelling (filters as one number if equal).

    The backend is among them only where it is another than TensorFlow.
    """
    flat = {key: value for key, value in flatten(config).items() if not key.startswith(_NOT_NUMBERS)}
    first, second = filters_per_convolution(config.model)
    flat["model.filters"] = first if first == second else [first, second]
    if flat["compute.backend"] in ("auto", "tensorflow"):  # the only one there was, once: its signatures stay
        del flat["compute.backend"]
    return flat


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Signatures:
    """Hashes of what determines the numbers of a run, of its trajectory, of its variant (16 hex digits)."""

    run: str
    trajectory: str
    variant: str


def sign(config: Config, data_digest: str) -> Signatures:
    """Sign a resolved config (precision and threads are no longer `auto`) together with the data.

    Raises:
        ValueError: the config is not resolved.
    """
    if config.compute.precision == "auto" or config.compute.threads is None:
        raise ValueError(f"only a resolved config can be signatures, but got {config.compute}")
    content = {**parameters(config), "data": data_digest, "recipe": RECIPE}
    run = _digest(content)
    del content["epochs"]
    trajectory = _digest(content)
    for key in ("seed", "compute.threads", "compute.backend"):  # these change a seed's bits, not what is asked
        content.pop(key, None)
    return Signatures(run, trajectory, _digest(content))


def _text(value: Any) -> str:
    """A value as it is written on the command line."""
    return json.dumps(value).replace(" ", "").strip('"')


@cache
def _presets() -> dict[str, dict[str, Any]]:
    files = sorted((CONF / "augment").glob("*.yaml"))
    return {file.stem: asdict(AugmentConfig(**(yaml.safe_load(file.read_text()) or {}))) for file in files}


def differences(config: Config) -> dict[str, str]:
    """What a variant changes of the baseline, as option -> level; {} is the baseline.

    An augmentation equal to one of conf/augment/ goes by its name. How it is computed (`compute`) is no part of
    a variant, unless its study varies it; the seed and the epochs never are.
    """
    ours, theirs = parameters(config), parameters(Config())
    found: dict[str, str] = {}
    if asdict(config.augment) != asdict(Config().augment):
        names = [name for name, ranges in _presets().items() if ranges == asdict(config.augment)]
        if names:
            found["augment"] = names[0]
    for key, value in ours.items():
        group = key.split(".")[0]
        if value == theirs.get(key) or group in ("seed", "epochs", *found):
            continue
        if group == "compute" and key not in config.study.axes:
            continue
        found[key] = _text(value)
    return found


def short_key(key: str) -> str:
    """An option as names write it: `filters` for model.filters."""
    return "optimizer" if key == "optimizer.name" else key.rsplit(".", maxsplit=1)[-1]


def variant_name(config: Config) -> str:
    """`filters=64 scale=unit`, or `baseline`."""
    changes = differences(config)
    return " ".join(f"{short_key(key)}={level}" for key, level in changes.items()) or "baseline"


def command(config: Config) -> str:
    """The command line that repeats a run, with every option that is not the baseline's."""
    ours, theirs = parameters(config), parameters(Config())
    changed = [f"{key}={_text(value)}" for key, value in ours.items() if value != theirs.get(key)]
    return " ".join(["python -m fmnist.train", *changed])


def run_name(config: Config) -> str:
    """`filters=64 · 10 epochs · seed 0`."""
    return f"{variant_name(config)} · {config.epochs} epoch{'s'[: config.epochs != 1]} · seed {config.seed}"
