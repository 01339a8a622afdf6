"""What a run may be: the dataclasses behind the YAML and their checks.

The defaults are the baseline, the run of the 2020 article. Imports nothing of the project, nor Hydra, nor Keras.
"""

import difflib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

CONF = Path(__file__).parent.parent / "conf"
IMAGE_SIZE = 28
CLASSES: tuple[str, ...] = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CLASS_COUNT = len(CLASSES)
PRECISIONS = ("auto", "float32", "bfloat16")
BACKENDS = ("auto", "tensorflow", "jax")
OPTIMIZERS = ("adam", "adamw", "nadam", "rmsprop", "sgd")


class UserError(Exception):
    """A mistake that the user can mend: a door prints it as one line and exits with 2."""


class RunError(Exception):
    """Training went wrong though nothing was mistaken: a door prints it as one line and exits with 1."""


@dataclass
class DataConfig:
    """Where the images come from and how they are cut; `scale` and below belong to a run's signature."""

    source: str = "idx"  # idx: the four idx.gz files; csv: Kaggle's two files
    dir: str | None = None  # folder of the idx.gz files; none: the usual places
    train_csv: str | None = None
    test_csv: str | None = None
    scale: str = "raw"  # raw: 0..255 as the article; unit: 0..1
    limit: int | None = None  # rows for training and validation together; none: all
    validation: float = 0.1  # share of those rows that validates
    augment_validation: bool = False  # only to repeat the article's number


@dataclass
class ModelConfig:
    """The network: two convolutions, each with pooling, then a hidden dense layer."""

    filters: Any = 128  # one number, or one per convolution: [32,64]
    kernel_size: int = 5
    pooling: str = "max"  # max | average
    dense_units: int = 256
    dropout: float = 0.0  # before the last layer
    batch_norm: bool = False  # after each convolution, before its ReLU


@dataclass
class AugmentConfig:
    """Ranges of the random warp, in ImageDataGenerator's units."""

    rotation: float = 8.0  # degrees
    width_shift: float = 0.08  # fraction of the width
    height_shift: float = 0.08  # fraction of the height
    shear: float = 0.3  # degrees
    zoom: float = 0.08  # each axis is scaled by 1 - zoom .. 1 + zoom
    horizontal_flip: bool = False


@dataclass
class OptimizerConfig:
    """Keras's optimizer by name, with its defaults but for the learning rate."""

    name: str = "adam"
    learning_rate: float = 0.001


@dataclass
class ComputeConfig:
    """How the numbers are computed; all are part of what determines a run's bits."""

    precision: str = "auto"  # bfloat16 where the hardware multiplies it, else float32
    threads: int | None = None  # none: all cores for a single run, one for each worker of a sweep
    backend: str = "auto"  # what Keras computes with: tensorflow, or jax (for GPUs); auto: as KERAS_BACKEND says


@dataclass
class StudyConfig:
    """A declared question; see conf/study/."""

    name: str = ""  # none: the run belongs to no study
    question: str = ""
    command: str = ""
    expect: str = ""
    axes: dict[str, Any] = field(default_factory=dict)  # option -> its levels
    design: str = "one_at_a_time"  # one_at_a_time | grid
    rungs: list[int] = field(default_factory=lambda: [10])  # epoch budgets
    seeds: list[int] = field(default_factory=lambda: [0])
    claims: dict[str, Any] = field(default_factory=dict)  # key -> what is claimed; see study/asked.py
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
    batch_size: int = 128
    epochs: int = 10
    seed: int = 0
    store: str = "mlruns"  # folder of the database, artifacts, checkpoints and Hydra's files
    patience: int = 600  # seconds that a trained run waits for an MLflow server that is away
    study: StudyConfig = field(default_factory=StudyConfig)  # without a name: none


# ---- Checks -------------------------------------------------------------------------------------------


def suggest(word: str, known: Iterator[str] | list[str] | tuple[str, ...]) -> str:
    """`; did you mean 'x'?` for the nearest known word, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{key} must be one of {', '.join(known)}, but got '{value}'{suggest(value, known)}")


def _at_least(key: str, value: float, least: float) -> None:
    if not value >= least:
        raise UserError(f"{key} must be at least {least}, but got {value}")


def _below(key: str, value: float, low: float, high: float) -> None:
    if not low <= value < high:
        raise UserError(f"{key} must be at least {low} and below {high}, but got {value}")


def filters_per_convolution(model: ModelConfig) -> tuple[int, int]:
    """The number of filters of each of the two convolutions.

    Raises:
        UserError: `model.filters` is neither a whole number nor a list of two.
    """
    given = model.filters
    numbers = list(given) if isinstance(given, list | tuple) else [given, given]
    if len(numbers) != 2 or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        raise UserError(
            "model.filters must be one whole number or one for each of the 2 convolutions "
            f"(64 or [32,64]), but got {given}"
        )
    return numbers[0], numbers[1]


def feature_sizes(model: ModelConfig) -> list[tuple[int, int]]:
    """Side of the square feature map after each convolution and after its pooling: [(24, 12), (8, 4)].

    Raises:
        UserError: a kernel is larger than what is left of the image, or pooling leaves nothing.
    """
    sizes: list[tuple[int, int]] = []
    side = IMAGE_SIZE
    for number in ("first", "second"):
        convolved = side - model.kernel_size + 1
        if convolved < 2:
            largest = max(k for k in range(1, IMAGE_SIZE) if ((IMAGE_SIZE - k + 1) // 2) - k + 1 >= 2)
            raise UserError(
                f"model.kernel_size={model.kernel_size} is too large: the {number} convolution sees "
                f"{side}x{side} pixels and would leave {max(convolved, 0)}x{max(convolved, 0)}, "
                f"where pooling needs 2x2; the largest that fits is {largest}"
            )
        side = convolved // 2
        sizes.append((convolved, side))
    return sizes


def check(config: Config) -> Config:
    """Return the config if a run of it is possible.

    Raises:
        UserError: an option is impossible; the message names key, value and remedy.
    """
    data, model, augment = config.data, config.model, config.augment
    _one_of("data.source", data.source, ("idx", "csv"))
    for key in ("train_csv", "test_csv"):
        if data.source == "csv" and not getattr(data, key):
            raise UserError(f"data.source=csv needs data.{key}=FILE (Kaggle's fashion-mnist CSV)")
    _one_of("data.scale", data.scale, ("raw", "unit"))
    if not 0 < data.validation < 1:
        raise UserError(f"data.validation must lie between 0 and 1 (0.1 is a tenth), but got {data.validation}")
    for number in filters_per_convolution(model):
        _at_least("model.filters", number, 1)
    for key in ("kernel_size", "dense_units"):
        _at_least(f"model.{key}", getattr(model, key), 1)
    feature_sizes(model)
    _one_of("model.pooling", model.pooling, ("max", "average"))
    _below("model.dropout", model.dropout, 0, 1)
    for key in ("rotation", "shear"):
        _below(f"augment.{key}", getattr(augment, key), 0, 180.0001)
    for key in ("width_shift", "height_shift", "zoom"):
        _below(f"augment.{key}", getattr(augment, key), 0, 1)
    _one_of("optimizer.name", config.optimizer.name, OPTIMIZERS)
    if not 0 < config.optimizer.learning_rate < float("inf"):
        raise UserError(f"optimizer.learning_rate must be above 0, but got {config.optimizer.learning_rate}")
    _one_of("compute.precision", config.compute.precision, PRECISIONS)
    _one_of("compute.backend", config.compute.backend, BACKENDS)
    if config.compute.threads is not None:
        _at_least("compute.threads", config.compute.threads, 1)
    for key in ("batch_size", "epochs"):
        _at_least(key, getattr(config, key), 1)
    for key in ("seed", "patience"):
        _at_least(key, getattr(config, key), 0)
    if data.limit is not None:
        _check_limit(config)
    return config


def _check_limit(config: Config) -> None:
    limit = config.data.limit or 0
    validation = round(limit * config.data.validation)
    if validation < CLASS_COUNT:
        raise UserError(
            f"data.limit={limit} leaves {validation} rows for validation, fewer than the {CLASS_COUNT} classes; "
            f"the least that works is {-(-CLASS_COUNT // config.data.validation):.0f}"
        )
    if limit - validation < config.batch_size:
        raise UserError(
            f"data.limit={limit} leaves {limit - validation} rows for training, less than one batch of "
            f"{config.batch_size}; raise data.limit or lower batch_size"
        )


# ---- Flat keys ------------------------------------------------------------------------------------------


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """`{"model": {"filters": 64}}` or a dataclass as `{"model.filters": 64}`."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat.update(flatten(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item})
    return flat


def from_flat(base: Config, options: dict[str, Any]) -> Config:
    """A copy of `base` with options set by their flat keys: {"model.filters": 64, "epochs": 3}."""
    config = replace(base)
    for key, value in options.items():
        group, _, name = key.rpartition(".")
        if group:
            setattr(config, group, replace(getattr(config, group), **{name: value}))
        else:
            setattr(config, name, value)
    return config
