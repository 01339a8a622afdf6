"""What a run may be: the dataclasses behind the YAML, with the values that each option may have.

The defaults are the baseline, the run of the 2020 article. Imports nothing of the project, nor Hydra, nor Keras.
"""

import difflib
import math
import operator
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
# Beside the package in a checkout, within it where it is installed.
CONF = next((folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir()), PACKAGE / "conf")
IMAGE_SIZE = 28
CLASSES: tuple[str, ...] = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CLASS_COUNT = len(CLASSES)
MOST_EPOCHS, MOST_SEED = 100_000, 2**32 - 1
OPTIMIZERS = ("adam", "adamw", "nadam", "rmsprop", "sgd")


class UserError(Exception):
    """A mistake that the user can mend: a command prints it as one line and exits with 2."""


class RunError(Exception):
    """Training went wrong though nothing was mistaken: a command prints it as one line and exits with 1."""


# ---- What an option may be ------------------------------------------------------------------------------

_BOUNDS = {
    "least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "most": ("at most", operator.le),
    "below": ("below", operator.lt),
}


def option(default: Any, *one_of: str, **bounds: float) -> Any:
    """A field with its default and its values: texts, or `least`, `most`, `above`, `below` of a number."""
    return field(default=default, metadata={"allowed": (one_of, bounds)})


def check_value(key: str, value: Any, *one_of: str, **bounds: float) -> None:
    """Refuse a value that the option of that key may not have, as NaN in any range; None stands for one left open.

    Raises:
        UserError: names key, value and what is allowed.
    """
    if value is None:
        return
    if one_of and value not in one_of:
        raise UserError(f"{key} must be one of {', '.join(one_of)}, but got '{value}'{suggest(str(value), one_of)}")
    holds = (_BOUNDS[name][1](value, bound) for name, bound in bounds.items())
    if bounds and not (math.isfinite(value) and all(holds)):
        numbers = {name: str(bound) if isinstance(bound, int) else f"{bound:g}" for name, bound in bounds.items()}
        allowed = " and ".join(f"{_BOUNDS[name][0]} {number}" for name, number in numbers.items())
        raise UserError(f"{key} must be {allowed}, but got {value}")


def check_options(node: Any, prefix: str = "") -> None:
    """Check every option of a dataclass and of those within it against what it may be.

    Raises:
        UserError: the first that has another value, by its key.
    """
    for part in fields(node):
        value = getattr(node, part.name)
        if is_dataclass(value):
            check_options(value, f"{prefix}{part.name}.")
        elif "allowed" in part.metadata:
            one_of, bounds = part.metadata["allowed"]
            check_value(prefix + part.name, value, *one_of, **bounds)


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


# ---- The options ----------------------------------------------------------------------------------------


@dataclass
class DataConfig:
    """Where the images come from and how they are cut; `scale` and below belong to a run's signature."""

    source: str = option("idx", "idx", "csv")  # idx: the four idx.gz files; csv: Kaggle's two files
    dir: str | None = None  # folder of the idx.gz files; none: the usual places
    train_csv: str | None = None
    test_csv: str | None = None
    scale: str = option("raw", "raw", "unit")  # raw: 0..255 as the article; unit: 0..1
    limit: int | None = option(None, least=1)  # rows for training and validation together; none: all
    validation: float = option(0.1, above=0, below=1)  # share of those rows that validates
    augment_validation: bool = False  # only to repeat the article's number


@dataclass
class ModelConfig:
    """The network: two convolutions, each with pooling, then a hidden dense layer."""

    filters: Any = 128  # one number, or one per convolution: [32,64]
    kernel_size: int = option(5, least=1, most=IMAGE_SIZE)
    pooling: str = option("max", "max", "average")
    dense_units: int = option(256, least=1, most=65_536)
    dropout: float = option(0.0, least=0, below=1)  # before the last layer
    batch_norm: bool = False  # after each convolution, before its ReLU


@dataclass
class AugmentConfig:
    """Ranges of the random warp, in ImageDataGenerator's units."""

    rotation: float = option(8.0, least=0, most=180)  # degrees
    width_shift: float = option(0.08, least=0, below=1)  # fraction of the width
    height_shift: float = option(0.08, least=0, below=1)  # fraction of the height
    shear: float = option(0.3, least=0, most=180)  # degrees
    zoom: float = option(0.08, least=0, below=1)  # each axis is scaled by 1 - zoom .. 1 + zoom
    horizontal_flip: bool = False


@dataclass
class OptimizerConfig:
    """Keras's optimizer by name, with its defaults but for the learning rate."""

    name: str = option("adam", *OPTIMIZERS)
    learning_rate: float = option(0.001, least=1e-12)


@dataclass
class ComputeConfig:
    """How the numbers are computed; all are part of what determines a run's bits."""

    # auto: bfloat16 where the hardware multiplies it, else float32
    precision: str = option("auto", "auto", "float32", "bfloat16")
    # none: all cores for a single run, one for each worker of a sweep
    threads: int | None = option(None, least=1, most=512)
    backend: str = option("auto", "auto", "tensorflow", "jax")  # jax: for GPUs; auto: as KERAS_BACKEND says


@dataclass
class StudyConfig:
    """A declared question; see conf/study/."""

    name: str = ""  # none: the run belongs to no study
    question: str = ""
    command: str = ""
    expect: str = ""
    axes: dict[str, Any] = field(default_factory=dict)  # option -> its levels
    design: str = option("one_at_a_time", "one_at_a_time", "grid")
    rungs: list[int] = field(default_factory=lambda: [10])  # epoch budgets
    seeds: list[int] = field(default_factory=lambda: [0])
    claims: dict[str, Any] = field(default_factory=dict)  # key -> what is claimed; see study/declared.py
    dry_run: bool = False  # print the plan and stop
    fail_fast: bool = False  # start nothing more after the first failure


@dataclass
class Config:
    """One run, and the study it is part of if any."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    batch_size: int = option(128, least=1, most=60_000)
    epochs: int = option(10, least=1, most=MOST_EPOCHS)
    seed: int = option(0, least=0, most=MOST_SEED)
    store: str = "mlruns"  # folder of the database, artifacts, checkpoints and Hydra's files
    patience: int = option(600, least=0, most=10_000_000)  # seconds that a trained run waits for a server that is away
    study: StudyConfig = field(default_factory=StudyConfig)  # without a name: none


# ---- Places ---------------------------------------------------------------------------------------------


def place(key: str, text: str) -> Path:
    """The path that an option names; `~` is the home folder.

    Raises:
        UserError: there is no home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{key}={text}: no home folder is known here; write the whole path, or set HOME") from error


def folder(key: str, text: str) -> str:
    """The path of a folder that is there, or that could be made.

    Raises:
        UserError: it is neither.
    """
    path = place(key, text)
    if "://" in text:
        raise UserError(f"{key} names a folder, for checkpoints too; a server is named by MLFLOW_TRACKING_URI={text}")
    if not text.strip():
        raise UserError(f"{key} is empty; name a folder")
    for part in (path, *path.parents):
        if os.path.exists(part) and not part.is_dir():  # noqa: PTH110  # Path.exists raises where one may not look
            raise UserError(f"{key}={text}: {part} is a file; name a folder")
    return str(path)


# ---- Flat keys ------------------------------------------------------------------------------------------


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """`{"model": {"filters": 64}}` or a dataclass as `{"model.filters": 64}`."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    parts = (
        flatten(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
        for key, item in value.items()
    )
    return {key: item for part in parts for key, item in part.items()}


def from_flat(base: Config, options: dict[str, Any]) -> Config:
    """A copy of `base` with options set by their flat keys: {"model.filters": 64, "epochs": 3}."""
    config = replace(base)
    for key, value in options.items():
        group, _, name = key.rpartition(".")
        setattr(config, group or name, replace(getattr(config, group), **{name: value}) if group else value)
    return config
