"""What a run may be: the dataclasses behind the YAML, with the values that each option may have.

The defaults are the baseline, the run of the 2020 article. Imports neither Hydra nor Keras.
"""

import difflib
import math
import operator
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from fmnist.words import shown

PACKAGE = Path(__file__).parent
# Beside the package in a checkout, within it where it is installed.
CONF = next((folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir()), PACKAGE / "conf")
IMAGE_SIZE = 28
CLASSES: tuple[str, ...] = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CLASS_COUNT = len(CLASSES)
STORE = "mlruns"  # the usual folder of the runs
ENOUGH_ROWS = 10_000  # that validate unless more are asked for: 0.3 points of standard error at 90 %
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


_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    list: "a list of whole numbers like [1,3]",
    dict: "a mapping like {key: value}",
}
# Other names of options, by the last part of the key as people type it.
_ALIASES = {
    "optimizer.learning_rate": "lr learningrate rate step_size",
    "epochs": "epoch n_epochs num_epochs max_epochs",
    "batch_size": "bs batch batchsize",
    "seed": "random_seed random_state rng",
    "study.rungs": "budgets",
    "model.filters": "channels features",
    "model.kernel_size": "kernel kernels kernelsize",
    "model.pooling": "pool",
    "model.dense_units": "units hidden dense neurons",
    "model.dropout": "drop",
    "model.batch_norm": "bn norm batchnorm",
    "optimizer.name": "optimizer opt optim",
    "optimizer.ema_momentum": "ema use_ema averaging swa",
    "augment": "augmentation aug augmentations",
    "data.scale": "scaling normalize",
    "data.limit": "rows samples subset",
    "data.validation": "val validation_split val_split",
    "data.validation_rows": "val_rows n_val validation_size val_size",
    "data.dir": "folder path data_dir",
    "compute.backend": "device gpu",
    "tuner.max_trials": "trials n_trials",
    "tuner.workers": "jobs n_jobs",
    "hydra.launcher.n_jobs": "workers jobs n_jobs",
}
_ALIAS = {(alias, key) for key, aliases in _ALIASES.items() for alias in aliases.split()}


def allowed(*one_of: str, **bounds: float) -> dict[str, Any]:
    """What a field may be, as its metadata: texts, or `least`, `most`, `above`, `below` of a number or of several."""
    return {"allowed": (one_of, bounds)}


def option(default: Any, *one_of: str, **bounds: float) -> Any:
    """A field with its default and what it may be."""
    return field(default=default, metadata=allowed(*one_of, **bounds))


def check_value(key: str, value: Any, *one_of: str, **bounds: float) -> None:
    """Refuse a value that the option of that key may not have, as NaN in any range; None stands for one left open.

    Raises:
        UserError: names key, value and what is allowed.
    """
    if value is None:
        return
    if one_of and value not in one_of:
        known = f"{', '.join(one_of)}, but got '{shown(value)}'{suggest(str(value), one_of)}"
        raise UserError(f"{key} must be one of {known}")
    holds = (_BOUNDS[name][1](value, bound) for name, bound in bounds.items())
    if bounds and not (math.isfinite(value) and all(holds)):
        numbers = {name: str(bound) if isinstance(bound, int) else f"{bound:g}" for name, bound in bounds.items()}
        allowed = " and ".join(f"{_BOUNDS[name][0]} {number}" for name, number in numbers.items())
        raise UserError(f"{key} must be {allowed}, but got {shown(value)}")


def check_type(key: str, value: Any, hint: Any) -> None:
    """Refuse a value of another type than the option's.

    Raises:
        UserError: names key, value and what is expected.
    """
    if hint is not Any and not _is_a(value, hint):
        raise UserError(f"{key} must be {kind(hint)}, but got {shown(value) or 'nothing'}")


def kind(hint: Any) -> str:
    """The type of an option as people call it: `a whole number`."""
    plain = next(part for part in get_args(hint) if part is not NoneType) if isinstance(hint, UnionType) else hint
    return _KINDS.get(get_origin(plain) or plain, "a group of options")


def _is_a(value: Any, hint: Any) -> bool:
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_is_a(each, get_args(hint)[0]) for each in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict)
    parts = get_args(hint) or (hint,)
    if isinstance(value, bool) or value is None:
        return (NoneType if value is None else bool) in parts
    return isinstance(value, (*parts, *([int] if float in parts else [])))


def option_fields(node: Any, prefix: str = "") -> dict[str, Any]:
    """The fields of a dataclass, or of its instance, and of those within it, by flat key."""
    result: dict[str, Any] = {}
    for part in fields(node):
        within = is_dataclass(part.type)
        result |= option_fields(part.type, f"{prefix}{part.name}.") if within else {prefix + part.name: part}
    return result


def check_option(key: str, value: Any, part: Any) -> None:
    """Check a value of an option against its field: its type, and what is allowed.

    Raises:
        UserError: it may not have that value.
    """
    check_type(key, value, part.type)
    one_of, bounds = part.metadata.get("allowed", ((), {}))
    for each in value if isinstance(value, list) else [value]:
        check_value(key, each, *one_of, **bounds)


def check_options(node: Any, prefix: str = "") -> None:
    """Check every option of a dataclass and of those within it against what it may be.

    Raises:
        UserError: the first that has another value, by its key.
    """
    for part in fields(node):
        value = getattr(node, part.name)
        if is_dataclass(value):
            check_options(value, f"{prefix}{part.name}.")
        else:
            check_option(prefix + part.name, value, part)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The nearest known word, or none."""
    return next(iter(difflib.get_close_matches(word[:100], list(known), n=1, cutoff=cutoff)), "")


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, else nothing."""
    close = nearest(word, known)
    return f"; did you mean '{close}'?" if close else ""


def nearest_option(key: str, known: Iterable[str]) -> str:
    """The option that a key means: by its last part, by another name for it, or by its letters; or none."""
    options, last = list(known), key.rpartition(".")[2].strip("-+~").replace("-", "_").lower()[:100]
    ends = {option: option.rpartition(".")[2] for option in options}
    named = [option for option in options if ends[option] == last]
    named = named or [option for option in options if (last, option) in _ALIAS]
    named = named or [option for option in options if nearest(last, [ends[option]], cutoff=0.75)]
    return nearest(key, named, cutoff=0.0) or nearest(key, options)


def suggest_option(key: str, known: Iterable[str]) -> str:
    """`; did you mean 'model.filters'?`, or nothing."""
    close = nearest_option(key, known)
    return f"; did you mean '{close}'?" if close else ""


# ---- The options ----------------------------------------------------------------------------------------


@dataclass
class DataConfig:
    """Where the images come from and how they are cut; `scale` and below belong to a run's signature."""

    source: str = option("idx", "idx", "csv")  # idx: the four idx.gz files; csv: Kaggle's two files
    dir: str | None = None  # folder of the idx.gz files; none: the usual places
    train_csv: str | None = None
    test_csv: str | None = None
    scale: str = option("raw", "raw", "unit")  # raw: 0..255 as the article; unit: 0..1
    limit: int | None = option(None, least=1, most=10**9)  # rows for training and validation together; none: all
    validation: float = option(0.1, above=0, below=1)  # share of those rows that validates
    # rows that validate beside a limit, filled up from those that it leaves out; auto: as many as the limit, up to
    # 10,000; none: that share alone
    validation_rows: Any = "auto"
    augment_validation: bool = False  # only to repeat the article's number


PLACES = ("source", "dir", "train_csv", "test_csv")  # of a DataConfig: where the data are


def validation_rows(data: DataConfig) -> int | None:
    """How many rows validate where a limit leaves some out; none: its share alone.

    An image that validates costs a third of one that trains, so `auto`, as many as the limit, costs a third more, and
    the standard error of an accuracy is a third of what a tenth of them would give.

    Raises:
        UserError: it is no number of rows, or there is no limit.
    """
    rows = data.validation_rows
    if rows in ("auto", None) and not isinstance(rows, bool):
        share = round((data.limit or 0) * data.validation)
        return max(share, min(data.limit, ENOUGH_ROWS)) if rows and data.limit is not None else None
    if isinstance(rows, bool) or not isinstance(rows, int):
        raise UserError(f"data.validation_rows must be auto, null or a whole number, but got {shown(rows)}")
    check_value("data.validation_rows", rows, least=1, most=10**9)
    if data.limit is None:
        raise UserError(
            f"data.validation_rows={rows} needs data.limit=ROWS, which leaves rows out; give it, or set "
            "data.validation_rows=auto"
        )
    return rows


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
    """Keras's optimizer by name, with its defaults but for what stands here."""

    name: str = option("adam", *OPTIMIZERS)
    learning_rate: float = option(0.001, least=1e-12)
    # above 0: scored and saved are averages of the weights, which keep this share of themselves in each step (0.99)
    ema_momentum: float = option(0.0, least=0, below=1)


@dataclass
class NoiseConfig:
    """A seed for one source of chance alone, where it is to differ from the run's; to tell the sources apart."""

    split: int | None = option(None, least=0, most=MOST_SEED)  # which images train and which validate
    weights: int | None = option(None, least=0, most=MOST_SEED)  # the first ones
    order: int | None = option(None, least=0, most=MOST_SEED)  # of the images in each epoch
    warps: int | None = option(None, least=0, most=MOST_SEED)  # of the augmentation
    masks: int | None = option(None, least=0, most=MOST_SEED)  # of dropout


@dataclass
class ComputeConfig:
    """How the numbers are computed; all are part of what determines a run's bits."""

    precision: str = option("auto", "auto", "float32", "bfloat16")  # auto: float32, on every machine
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
    rungs: list[int] = field(default_factory=lambda: [10], metadata=allowed(least=1, most=MOST_EPOCHS))  # epoch budgets
    seeds: list[int] = field(default_factory=lambda: [0], metadata=allowed(least=0, most=MOST_SEED))
    most_seeds: int = option(20, least=2, most=200)  # verdicts hold for a look after every seed up to it
    margin: float = option(0.5, least=0, most=100)  # percentage points; a difference within ±margin does not matter
    claims: dict[str, Any] = field(default_factory=dict)  # key -> what is claimed; see study/declared.py
    minutes: float | None = option(None, above=0, most=1_000_000)  # when they are over, no more runs are begun
    settle: bool = False  # train what settles the open questions soonest, seed by seed
    dry_run: bool = False  # print the plan and stop
    fail_fast: bool = False  # start nothing more after the first failure


@dataclass
class Config:
    """One run, and the study it is part of if any."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    batch_size: int = option(128, least=1, most=60_000)
    epochs: int = option(10, least=1, most=MOST_EPOCHS)
    seed: int = option(0, least=0, most=MOST_SEED)
    store: str = STORE  # folder of the database, artifacts, checkpoints and Hydra's files
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
        raise UserError(
            f"{key} names a folder, for checkpoints too; a server is named by MLFLOW_TRACKING_URI={shown(text)}"
        )
    if not text.strip():
        raise UserError(f"{key} is empty; name a folder")
    for part in (path, *path.parents):
        if os.path.exists(part) and not part.is_dir():  # noqa: PTH110  # Path.exists raises where one may not look
            raise UserError(f"{key}={shown(text)}: {shown(part)} is a file; name a folder")
    return str(path)


# ---- Flat keys ------------------------------------------------------------------------------------------


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """`{"model": {"filters": 64}}` or a dataclass as `{"model.filters": 64}`."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    parts = (
        flatten(item, f"{prefix}{key}.") if isinstance(item, dict) else {f"{prefix}{key}": item}
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
