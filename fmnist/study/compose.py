"""Hydra between the command line and the dataclasses: schema, composing, and its errors in one line of our own."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from hydra import compose, initialize_config_dir, main
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from fmnist.config import CONF, Config, StudyConfig, UserError, flatten, folder, place, suggest


@dataclass(frozen=True)
class Application:
    """A command line that Hydra reads."""

    command: str  # python -m fmnist.COMMAND
    name: str  # of its file in conf/
    schema: type[Config]
    open: str  # the option below which any key may be added


TRAIN = Application("train", "config", Config, "study.axes")  # study.axes.KEY=[LEVEL,LEVEL]


def register(application: Application = TRAIN, sweeper: type[Sweeper] | None = None) -> None:
    """Register the schema with Hydra, and the sweeper if one is to be used.

    Hydra takes plugins only from the namespace `hydra_plugins`; registering the class under such a name spares
    the project a second top-level package.
    """
    plugin = "hydra_plugins.fmnist.StudySweeper"
    schema = OmegaConf.structured(application.schema)
    OmegaConf.set_struct(OmegaConf.select(schema, application.open), False)
    store = ConfigStore.instance()
    store.store(name="schema", node=schema)
    for name in ("study", "search"):  # one of them, as the application's file chooses
        store.store(group="hydra/sweeper", name=name, node={"_target_": plugin})
    if sweeper is not None:
        Plugins.instance().class_name_to_class[plugin] = sweeper


def to_config(composed: DictConfig, application: Application = TRAIN) -> Config:
    """The dataclasses of a composed config, without Hydra's own part.

    Raises:
        UserError: an option that the schema does not have, or one of a study without a study.
    """
    composed = composed.copy()
    OmegaConf.set_struct(composed, False)
    composed.pop("hydra", None)
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    if unknown := next(_unknown(config), None):
        raise UserError(_no_option(unknown, application))
    study = replace(config.study, dry_run=False, fail_fast=False)  # which are of use to a plain sweep too
    if not study.name and study != StudyConfig():
        raise UserError("options of a study need one: begin with study=NAME (a file of conf/study/)")
    # An override study.axes.model.filters=[32,64] comes nested; =null takes the axis out.
    config.study.axes = {key: levels for key, levels in flatten(config.study.axes).items() if levels is not None}
    return config


def _unknown(node: Any, prefix: str = "") -> Iterator[str]:
    for key, value in vars(node).items():
        if key not in [field.name for field in fields(node)]:
            yield prefix + key
        elif is_dataclass(value):
            yield from _unknown(value, f"{prefix}{key}.")


def compose_config(overrides: Sequence[str] = (), application: Application = TRAIN) -> Config:
    """The config that these overrides of an application describe, composed without carrying it out.

    Raises:
        UserError: an override is not understood.
    """
    register(application)
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="fmnist"):
            return to_config(compose(application.name, list(map(_with_places, overrides))), application)
    except (HydraException, YAMLError) as error:
        raise UserError(explain(error, application)) from error


def run_application(
    task: Callable[[Any], Any], application: Application = TRAIN, sweeper: type[Sweeper] | None = None
) -> None:
    """Let Hydra read the command line and carry out the task, or the sweeper that the command line asks for.

    Raises:
        UserError: the command line is not understood.
        Exception: whatever task or sweeper raise, without the lines that Hydra would print about it.
    """
    errors: list[BaseException] = []

    def guarded(composed: DictConfig) -> None:
        try:
            os.chdir(HydraConfig.get().runtime.cwd)  # where paths begin, whatever hydra.job.chdir says
            task(to_config(composed, application))
        except BaseException as error:
            errors.append(error)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us whole instead of being printed
    register(application, sweeper)
    sys.argv[1:] = map(_with_places, sys.argv[1:])
    try:
        main(version_base="1.3", config_path=str(CONF), config_name=application.name)(guarded)()
    except (HydraException, YAMLError) as error:
        raise UserError(explain(error, application)) from error
    if errors:
        raise errors[0]


def _with_places(override: str) -> str:
    """An override with the home folder written out, which Hydra would not read, and its store checked.

    Not later: Hydra makes folders in the store before it calls anything.
    """
    parts = _OVERRIDE.fullmatch(override)
    if parts is None or not (parts["key"] == "store" or parts["text"].startswith("~")):
        return override
    named = folder if parts["key"] == "store" else place
    return f"{parts['start']}{parts['quote']}{named(parts['key'], parts['text'])}{parts['quote']}"


_OVERRIDE = re.compile(r"""(?P<start>\+*(?P<key>[\w.]+)=)(?P<quote>['"]?)(?P<text>.*)(?P=quote)""", re.DOTALL)


def explain(error: HydraException | YAMLError, application: Application = TRAIN) -> str:
    """What is wrong with the overrides or a file, in one line, with the nearest name that exists."""
    text, cause = str(error), str(error.__cause__ or "")
    if isinstance(error, YAMLError):
        return f"no YAML: {' '.join(text.split())}"
    first, reason = (" ".join(part.splitlines()[:1]).strip() for part in (text, cause))
    in_short = f"{first}: {reason}" if reason and reason not in first else first
    return _not_there(text, application) or _wrong_value(text, cause) or in_short


def _not_there(text: str, application: Application) -> str:
    """An option or a file that does not exist, or what is wrong within a file."""
    if option := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        return _no_option(option[1] or option[2], application)
    if wrong := re.search(r"In '([^']+)': \w+ raised while composing config:\n(.*)(?:\n\s+full_key: (\S+))?", text):
        file, reason, key = wrong.groups()
        if key:
            is_missing = re.match(r"Key '.+' (is )?not in", reason)
            reason = _no_option(key, application) if is_missing else f"{key}: {reason}"
        return f"conf/{file}.yaml: {reason}"
    if choice := re.search(r"Could not find '(.+)/([^/']+)'\s+Available options in '[^']+':\n((?:\t\S+\n?)+)", text):
        group, name, names = choice[1], choice[2], choice[3].split()
        return f"there is no {group} '{name}'; known are {', '.join(names)}{suggest(name, names)}"
    return ""


def _wrong_value(text: str, cause: str) -> str:
    """A value that its option cannot have."""
    if several := re.search(r"Ambiguous value for argument '([^']+)'", text):
        remedy = "put -m before it for a sweep over them, or write a list in [brackets]"
        return f"{several[1]} names several values: {remedy}"
    merged = re.search(r"Error merging override (\w+)=(\S+)", text)
    if merged and "is not a subclass of" in f"{text} {cause}":
        options = ", ".join(key for key in flatten(Config()) if key.startswith(f"{merged[1]}."))
        return f"{merged[1]}={merged[2]}: {merged[1]} is a group of options; set one of {options}"
    if text.startswith("Error parsing override"):
        return f"{text.splitlines()[0]}; write KEY=VALUE, with quotes around what the shell would change"
    return ""


def _no_option(key: str, application: Application) -> str:
    nearest = suggest(key, list(flatten(application.schema())))
    return f"there is no option '{key}'{nearest} (python -m fmnist.{application.command} --help lists all)"
