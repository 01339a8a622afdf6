"""What makes a search the one it is: only one that is the same goes on where it was stopped."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fmnist.config import UserError
from fmnist.identity import FIRST_OPTIONS, parameters
from fmnist.search.space import Dimension, SearchConfig, base_of
from fmnist.search.trials import whole

FILE = "definition.json"
FIRST = ("kind", "objective", "max_epochs", "executions_per_trial", "seed", "initial_points", "factor")
# What every definition says, as the first ones did; of other options only those that are not at their defaults.
# An option that is added later changes neither the name of a search that does not use it, nor whether it continues.
ALWAYS = {*FIRST_OPTIONS, *(f"tuner.{key}" for key in FIRST)}
GROWS = ("max_trials", "minutes", "epochs_budget", "iterations", "workers", "confirm_seeds", "name")  # may change


def _options(config: SearchConfig) -> dict[str, Any]:
    """All options that determine which trials come one after the other, and what they come to."""
    tuner = {f"tuner.{key}": value for key, value in asdict(config.tuner).items() if key not in (*GROWS, "space")}
    return {key: value for key, value in (tuner | parameters(base_of(config))).items() if key != "epochs"}


def definition(config: SearchConfig, space: list[Dimension], data_digest: str) -> dict[str, Any]:
    """What makes a search the one it is, by key: its options, its space, and its data."""
    unset, defaults = object(), _options(SearchConfig())
    signed = {
        key: value for key, value in _options(config).items() if key in ALWAYS or value != defaults.get(key, unset)
    }
    described = {f"tuner.space.{dimension.key}": str(dimension) for dimension in space}
    return {**signed, **described, "data": data_digest}


def digest(definition: dict[str, Any]) -> str:
    """By which a search is named that has no name."""
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:6]


def check_agreement(folder: Path, ours: dict[str, Any]) -> None:
    """Refuse to go on with a search that was begun with other options; one that is not named is at its default.

    Raises:
        UserError: it was, or the file that says so is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return
    with whole(file):
        theirs = dict(json.loads(file.read_text()))
    ours, defaults = json.loads(json.dumps([ours, _options(SearchConfig())]))
    for key in {**theirs, **ours}:
        before, now = (options.get(key, defaults.get(key)) for options in (theirs, ours))
        if before != now:
            raise UserError(
                f"search '{folder.name}' was begun with {key}={before}, but now it is {now}; "
                "give this one another tuner.name"
            )
