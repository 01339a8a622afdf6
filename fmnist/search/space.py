"""What a search is asked: its options, and the space of configurations that it looks through."""

import math
import re
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, TypeGuard

import yaml

from fmnist.checks import check
from fmnist.config import (
    MOST_EPOCHS,
    MOST_SEED,
    Config,
    ModelConfig,
    UserError,
    check_option,
    check_options,
    flatten,
    from_flat,
    option,
    option_fields,
    suggest,
    suggest_option,
)
from fmnist.network import filters_per_convolution
from fmnist.schema import PER_EPOCH, RANKING
from fmnist.study.compose import Application
from fmnist.words import shown

KINDS = ("random", "bayesian", "hyperband", "grid")
# Of the ranking metrics those that each epoch has, as a trial is scored after any number of them.
OBJECTIVES = {key: "max" if RANKING[key].higher_is_better else "min" for key in RANKING if key in PER_EPOCH}
TYPES = ("choice", "float", "int")
DIGITS = 4  # that a number of the space keeps: enough to be continuous, few enough to be read
_PARTS = ("type", "values", "min", "max", "step", "sampling", "when", "otherwise")
_FIXED = ("study.", "store", "patience", "seed", "epochs", "data.dir", "data.source", "compute.")  # no dimensions
NAME_LETTERS = 100
_NAME = re.compile(rf"""[^./\\'"`\x00-\x1f][^/\\'"`\x00-\x1f]{{0,{NAME_LETTERS - 1}}}""")
_FILTERS = ("model.filters.0", "model.filters.1")
_HOW = "write {type: choice, values: [..]}, or {type: float|int, min: .., max: ..} with step or sampling: log"


@dataclass
class TunerConfig:
    """A search; see conf/tuner/. A larger `max_trials`, `iterations`, `minutes` or `epochs_budget` continues it."""

    kind: str = option("hyperband", *KINDS)
    name: str = ""  # none: made of the kind and of what determines the search
    objective: str = option("val/accuracy", *OBJECTIVES)  # after a trial's last epoch
    max_trials: int | None = option(None, least=1, most=1_000_000)  # none: until hyperband or grid are through
    max_epochs: int = option(9, least=1, most=MOST_EPOCHS)  # of a trial; hyperband begins with fewer
    executions_per_trial: int = option(1, least=1, most=1000)  # seeds that a trial's score is the mean of
    seed: int = option(0, least=0, most=4_000_000_000)  # of the search; `seed` is the first of every trial's executions
    minutes: float | None = option(
        None, least=0, most=1_000_000
    )  # nothing is started that would not fit, nor the last comparison
    epochs_budget: int | None = option(
        None, least=1, most=10**9
    )  # of all trials; what a continued path had before is not counted
    workers: int = option(1, least=1, most=512)  # processes side by side
    confirm_seeds: int = option(3, least=0, most=1000)  # fresh ones, on which the best is compared with the baseline
    initial_points: int = option(5, least=1, most=1_000_000)  # bayesian: random trials before its model begins
    factor: int = option(
        3, least=2, most=100
    )  # hyperband: a round goes on with 1/factor of the last for factor times its epochs
    iterations: int = option(1, least=1, most=1000)  # hyperband: times through all brackets
    space: dict[str, Any] = field(default_factory=dict)  # option -> what it may be; see conf/tuner/space/

    @property
    def direction(self) -> str:
        """Of the objective, `max` or `min`."""
        return OBJECTIVES[self.objective]


@dataclass
class SearchConfig(Config):
    """The run that a search starts from and compares with, and the search."""

    tuner: TunerConfig = field(default_factory=TunerConfig)
    UNUSED: ClassVar = ("study.", "epochs")  # options that a search must leave alone


TUNE = Application("tune", "tune", SearchConfig, "tuner.space")


def base_of(search: SearchConfig) -> Config:
    """The run that a search starts from, with its epochs and one thread unless told otherwise, as in a sweep."""
    plain = Config(**{part.name: getattr(search, part.name) for part in fields(Config)})
    compute = replace(plain.compute, threads=plain.compute.threads or 1)
    return replace(plain, compute=compute, epochs=search.tuner.max_epochs)


def check_search(search: SearchConfig) -> None:
    """Refuse a search that cannot be.

    Raises:
        UserError: an option is impossible; the message names key, value and remedy.
    """
    tuner = search.tuner
    check_options(tuner, "tuner.")
    if search.epochs != Config().epochs:
        raise UserError(f"a trial trains for tuner.max_epochs at most; set that instead of epochs={search.epochs}")
    if tuner.name and not _NAME.fullmatch(tuner.name):
        raise UserError(
            f"tuner.name is the name of a folder: at most {NAME_LETTERS} letters, none of them a slash or a quote, and "
            f"no dot in front, but got '{shown(tuner.name)}'"
        )
    if tuner.kind in ("random", "bayesian") and not (tuner.max_trials or tuner.epochs_budget or tuner.minutes):
        bounds = "tuner.max_trials, tuner.epochs_budget or tuner.minutes"
        raise UserError(f"a {tuner.kind} search has no end of its own; give {bounds}")
    most = MOST_SEED - (tuner.executions_per_trial + tuner.confirm_seeds - 1)
    if search.seed > most:
        raise UserError(f"seed must be at most {most}, since this search counts on from it, but got {search.seed}")
    check(base_of(search))


@dataclass(frozen=True)
class Dimension:
    """One thing that varies."""

    key: str
    type: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    sampling: str = "linear"
    when: tuple[str, Any] | None = None  # active only where that other dimension has this value
    otherwise: Any = None  # the option's value elsewhere

    @property
    def is_option(self) -> bool:
        """Whether it is an option of a run; others only decide, through `when`, about those that are."""
        return self.key in _FILTERS or self.key in flatten(Config())

    def __str__(self) -> str:
        """`0.0002 .. 0.005 (log)`."""
        if self.type == "choice":
            text = ", ".join(yaml.safe_dump(value).split("\n")[0] for value in self.values)
        else:
            text = f"{self.low:g} .. {self.high:g}" + (" (log)" if self.sampling == "log" else "")
        return text + (f" where {self.when[0]}={str(self.when[1]).lower()}" if self.when else "")

    def plain(self, value: Any) -> Any:
        """A value as the options have it: Keras Tuner makes numbers of true and false, and gives all digits.

        Raises:
            UserError: the dimension has no such value.
        """
        if self.type == "choice":
            if value not in self.values:
                raise UserError(f"tuner.space.{self.key} has no value {value}")
            return self.values[self.values.index(value)]
        if not _is_number(value):
            raise UserError(f"tuner.space.{self.key} must be a number, but got {value}")
        return int(value) if self.type == "int" else float(f"{value:.{DIGITS}g}")


def dimensions(space: dict[str, Any]) -> list[Dimension]:
    """The dimensions of a space as YAML and overrides leave it; `KEY: null` takes one out.

    Raises:
        UserError: an option that does not exist, or a description that is not understood.
    """
    described: dict[str, dict[str, Any]] = {}
    for flat, value in flatten(space).items():
        key, _, part = flat.rpartition(".")
        if part in _PARTS:
            described.setdefault(key, {})[part] = value
        elif value is None:
            described.pop(flat, None)
        else:
            raise UserError(f"tuner.space.{shown(flat)}: {_HOW}{suggest(part, _PARTS)}")
    result: list[Dimension] = []
    for key, parts in described.items():
        result.append(_dimension(key, parts, [dimension.key for dimension in result]))
    deciding = {dimension.when[0] for dimension in result if dimension.when}
    for dimension in result:
        if not (dimension.is_option or dimension.key in deciding):
            near = suggest_option(dimension.key, [*flatten(Config()), *_FILTERS])
            raise UserError(f"tuner.space.{shown(dimension.key)} is no option, and decides about none{near}")
    if not result:
        raise UserError("tuner.space is empty; take one of conf/tuner/space/, tuner/space=wide")
    return result


def _dimension(key: str, parts: dict[str, Any], before: list[str]) -> Dimension:
    options = [name for name in (*flatten(Config()), *_FILTERS) if not name.startswith(_FIXED)]
    if key not in options and ("." in key or key in flatten(Config())):
        raise UserError(f"tuner.space: no option '{shown(key)}' can vary{suggest_option(key, options)}")
    kind, values = parts.get("type"), parts.get("values")
    if kind not in TYPES:
        near = "" if key in options else suggest_option(key, options)
        got = f"must be one of {', '.join(TYPES)}, but got {shown(kind)}"
        raise UserError(f"tuner.space.{key}.type {got}; {_HOW}{near}")
    when = None
    if "when" in parts:
        parent, _, value = str(parts["when"]).partition("=")
        if parent not in before or "otherwise" not in parts:
            remedy = "write when: KEY=VALUE of a key that stands before it, and otherwise: VALUE"
            raise UserError(f"tuner.space.{key}: {remedy}")
        try:
            when = parent, yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"tuner.space.{key}.when is no KEY=VALUE, but {shown(parts['when'])}") from error
    conditions: dict[str, Any] = {"when": when, "otherwise": parts.get("otherwise")}
    if "otherwise" in parts:
        _check_point(key, "otherwise", parts["otherwise"])
    if kind != "choice":
        limits = _range(key, parts)
        for part, end in (("min", limits["low"]), ("max", limits["high"])):
            _check_point(key, part, float(end) if kind == "float" else end)
        return Dimension(key, kind, **limits, **conditions)
    if not isinstance(values, list) or not values or len({type(value) for value in values}) > 1:
        raise UserError(f"tuner.space.{key}.values must be a list of one type, but got {shown(values)}")
    for value in values:
        _check_point(key, "values", value)
    return Dimension(key, "choice", tuple(values), **conditions)


def _check_point(key: str, part: str, value: Any) -> None:
    """Refuse a value that the option of that dimension may not have."""
    if key not in (*_FILTERS, *option_fields(Config)):
        return  # it only decides about others
    if key in _FILTERS:
        key = "model.filters"
    try:
        check_option(key, value, option_fields(Config)[key])
        if key == "model.filters":
            filters_per_convolution(ModelConfig(filters=value))
    except UserError as error:
        raise UserError(f"tuner.space.{key}.{part}: {error}") from error


def _range(key: str, parts: dict[str, Any]) -> dict[str, Any]:
    low, high, step, sampling = (parts.get(part) for part in ("min", "max", "step", "sampling"))
    if not (_is_number(low) and _is_number(high) and low < high):
        raise UserError(f"tuner.space.{key} needs numbers min < max, but got {shown(low)} and {shown(high)}")
    if sampling not in (None, "linear", "log") or (sampling == "log" and low <= 0):
        raise UserError(
            f"tuner.space.{key}.sampling must be linear, or log with min above 0, but got {shown(sampling)}"
        )
    least = int(sampling == "log")  # a step is a factor then
    if step is not None and not (_is_number(step) and step > least):
        raise UserError(f"tuner.space.{key}.step must be above {least}, but got {shown(step)}")
    return {"low": low, "high": high, "step": step, "sampling": sampling or "linear"}


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def to_run(base: Config, space: list[Dimension], values: dict[str, Any]) -> Config:
    """The run of a point of the space: values of its active dimensions by key.

    Raises:
        UserError: such a run is impossible.
    """
    options = {
        dimension.key: dimension.plain(values[dimension.key]) if dimension.key in values else dimension.otherwise
        for dimension in space
        if dimension.is_option and (dimension.key in values or dimension.when)
    }
    filters = [options.pop(key, None) for key in _FILTERS]
    if any(filters):
        before = filters_per_convolution(base.model)
        options["model.filters"] = [new or old for new, old in zip(filters, before, strict=True)]
    return check(from_flat(base, options))
