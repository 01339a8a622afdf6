"""What a search is asked: its options, and the space of configurations that it looks through."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import yaml

from fmnist.checks import check
from fmnist.config import Config, UserError, flatten, from_flat, suggest
from fmnist.network import filters_per_convolution
from fmnist.study.compose import Application

KINDS = ("random", "bayesian", "hyperband", "grid")
OBJECTIVES = {"val/accuracy": "max", "val/loss": "min"}  # the test set never decides
TYPES = ("choice", "float", "int")
DIGITS = 4  # that a number of the space keeps: enough to be continuous, few enough to be read
_PARTS = ("type", "values", "min", "max", "step", "sampling", "when", "otherwise")
_FIXED = ("study.", "store", "patience", "seed", "epochs", "data.dir", "data.source", "compute.")  # no dimensions
_FILTERS = ("model.filters.0", "model.filters.1")


@dataclass
class TunerConfig:
    """A search; see conf/tuner/. A larger `max_trials`, `iterations`, `minutes` or `epochs_budget` continues it."""

    kind: str = "hyperband"  # random | bayesian | hyperband | grid
    name: str = ""  # none: made of the kind and of what determines the search
    objective: str = "val/accuracy"  # or val/loss, after a trial's last epoch
    max_trials: int | None = None  # none: until hyperband or grid are through
    max_epochs: int = 9  # of a trial; hyperband begins with fewer
    executions_per_trial: int = 1  # seeds that a trial's score is the mean of
    seed: int = 0  # of the search; `seed` is the first of every trial's executions
    minutes: float | None = None  # nothing is started that would not fit, the last comparison included
    epochs_budget: int | None = None  # epochs trained in all trials; what a continued path had before is not counted
    workers: int = 1  # processes side by side
    confirm_seeds: int = 3  # fresh ones, on which the best is compared with the baseline
    initial_points: int = 5  # bayesian: random trials before its model begins
    factor: int = 3  # hyperband: a round goes on with 1/factor of the last, for factor times its epochs
    iterations: int = 1  # hyperband: times through all brackets
    space: dict[str, Any] = field(default_factory=dict)  # option -> what it may be; see conf/tuner/space/


@dataclass
class SearchConfig(Config):
    """The run that a search starts from and compares with, and the search."""

    tuner: TunerConfig = field(default_factory=TunerConfig)


TUNE = Application("tune", "tune", SearchConfig, "tuner.space")


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

    def __str__(self) -> str:
        """`0.0002 .. 0.005 (log)`."""
        if self.type == "choice":
            text = ", ".join(yaml.safe_dump(value).split("\n")[0] for value in self.values)
        else:
            text = f"{self.low:g} .. {self.high:g}" + (" (log)" if self.sampling == "log" else "")
        return text + (f" where {self.when[0]}={str(self.when[1]).lower()}" if self.when else "")


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
    for key, given, known in (("kind", tuner.kind, KINDS), ("objective", tuner.objective, tuple(OBJECTIVES))):
        if given not in known:
            raise UserError(f"tuner.{key} must be one of {', '.join(known)}, but got '{given}'{suggest(given, known)}")
    least = {"max_epochs": 1, "executions_per_trial": 1, "workers": 1, "iterations": 1, "initial_points": 1}
    optional = {"max_trials": 1, "epochs_budget": 1, "minutes": 0}
    for key, limit in {**least, **optional, "factor": 2, "seed": 0, "confirm_seeds": 0}.items():
        given = getattr(tuner, key)
        if not (key in optional and given is None) and not given >= limit:
            raise UserError(f"tuner.{key} must be at least {limit}, but got {given}")
    if search.epochs != Config().epochs:
        raise UserError(f"a trial trains for tuner.max_epochs at most; set that instead of epochs={search.epochs}")
    if "/" in tuner.name or tuner.name.startswith("."):
        raise UserError(f"tuner.name is the name of a folder, but got '{tuner.name}'")
    if tuner.kind in ("random", "bayesian") and not (tuner.max_trials or tuner.epochs_budget or tuner.minutes):
        bounds = "tuner.max_trials, tuner.epochs_budget or tuner.minutes"
        raise UserError(f"a {tuner.kind} search has no end of its own; give {bounds}")
    check(base_of(search))


def dimensions(space: dict[str, Any]) -> list[Dimension]:
    """The dimensions of a space as YAML and overrides leave it; `KEY: null` takes one out.

    Raises:
        UserError: an option that does not exist, or a description that is not understood.
    """
    described: dict[str, dict[str, Any]] = {}
    for flat, value in flatten(space).items():
        key, _, part = flat.rpartition(".")
        if value is None and part not in _PARTS:
            described.pop(flat, None)
        elif part in _PARTS:
            described.setdefault(key, {})[part] = value
        else:
            raise UserError(f"tuner.space.{flat}: {_HOW}{suggest(part, _PARTS)}")
    found: list[Dimension] = []
    for key, parts in described.items():
        found.append(_dimension(key, parts, found))
    for entry in found:
        if not (is_option(entry.key) or any(other.when and other.when[0] == entry.key for other in found)):
            known = [*flatten(Config()), *_FILTERS]
            raise UserError(f"tuner.space.{entry.key} is no option, and decides about none{suggest(entry.key, known)}")
    if not found:
        raise UserError("tuner.space is empty; take one of conf/tuner/space/, tuner/space=wide")
    return found


_HOW = "write {type: choice, values: [..]}, or {type: float|int, min: .., max: ..} with step or sampling: log"


def _dimension(key: str, parts: dict[str, Any], before: list[Dimension]) -> Dimension:
    options = [name for name in flatten(Config()) if not name.startswith(_FIXED)]
    if key not in (*options, *_FILTERS) and ("." in key or key in flatten(Config())):
        raise UserError(f"tuner.space: no option '{key}' can vary{suggest(key, [*options, *_FILTERS])}")
    kind = parts.get("type")
    if kind not in TYPES:
        raise UserError(f"tuner.space.{key}.type must be one of {', '.join(TYPES)}, but got {kind}; {_HOW}")
    if kind == "choice":
        values = parts.get("values")
        if not isinstance(values, list) or not values or len({type(value) for value in values}) > 1:
            raise UserError(f"tuner.space.{key}.values must be a list of one type, but got {values}")
        dimension = Dimension(key, kind, values=tuple(values))
    else:
        low, high = parts.get("min"), parts.get("max")
        if not isinstance(low, int | float) or not isinstance(high, int | float) or not low < high:
            raise UserError(f"tuner.space.{key} needs numbers min < max, but got {low} and {high}")
        sampling = parts.get("sampling", "linear")
        if sampling not in ("linear", "log") or (sampling == "log" and low <= 0):
            raise UserError(f"tuner.space.{key}.sampling must be linear, or log with min above 0, but got {sampling}")
        dimension = Dimension(key, kind, low=low, high=high, step=parts.get("step"), sampling=sampling)
    if "when" not in parts:
        return dimension
    parent, _, value = str(parts["when"]).partition("=")
    if parent not in [entry.key for entry in before] or "otherwise" not in parts:
        raise UserError(
            f"tuner.space.{key}: write when: KEY=VALUE of a key that stands before it, and otherwise: VALUE"
        )
    return replace(dimension, when=(parent, yaml.safe_load(value)), otherwise=parts["otherwise"])


def is_option(key: str) -> bool:
    """Whether a dimension is an option of a run; others only decide, through `when`, about those that are."""
    return key in _FILTERS or key in flatten(Config())


def to_run(base: Config, space: list[Dimension], values: dict[str, Any]) -> Config:
    """The run of a point of the space: values of its active dimensions by key.

    Raises:
        UserError: such a run is impossible.
    """
    options: dict[str, Any] = {}
    for entry in (entry for entry in space if is_option(entry.key)):
        if entry.key in values:
            options[entry.key] = _plain(entry, values[entry.key])
        elif entry.when:
            options[entry.key] = entry.otherwise
    filters = [options.pop(key, None) for key in _FILTERS]
    if any(filters):
        before = filters_per_convolution(base.model)
        options["model.filters"] = [given or old for given, old in zip(filters, before, strict=True)]
    return check(from_flat(base, options))


def _plain(entry: Dimension, value: Any) -> Any:
    """A value as the options have it: Keras Tuner makes numbers of true and false, and gives all digits."""
    if entry.type == "choice":
        return next(known for known in entry.values if known == value)
    return int(value) if entry.type == "int" else float(f"{value:.{DIGITS}g}")
