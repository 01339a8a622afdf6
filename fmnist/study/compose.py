"""Hydra between the command line and the dataclasses: schema, composing, and its errors in one line of our own."""

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir, main
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import Overrides
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

from fmnist.config import CONF, Config, StudyConfig, UserError, flatten, folder, kind, option_fields, place
from fmnist.study import typed
from fmnist.words import shown


@dataclass(frozen=True)
class Application:
    """A command line that Hydra reads."""

    command: str  # python -m fmnist.COMMAND
    name: str  # of its file in conf/
    schema: type[Config]
    open: str  # the option below which any key may be added


SWEEPER = "hydra_plugins.fmnist.StudySweeper"  # as Hydra is told; see `register`
TRAIN = Application("train", "config", Config, "study.axes")  # study.axes.KEY=[LEVEL,LEVEL]


class SweeperError(Exception):
    """Its cause was raised by a sweeper of ours, and is no error of Hydra's."""


def register(application: Application = TRAIN, sweeper: type[Sweeper] | None = None) -> None:
    """Register the schema with Hydra, the sweeper if one is to be used, and that files are checked.

    Hydra takes plugins only from the namespace `hydra_plugins`; registering the class under such a name spares
    the project a second top-level package.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=_schema(application))
    for name in ("study", "search"):  # one of them, as the application's file chooses
        store.store(group="hydra/sweeper", name=name, node={"_target_": SWEEPER})
    warnings.filterwarnings("error", "provider=")  # of a search path that does not exist
    plugins = Plugins.instance()
    SourcesRegistry.instance().types["file"] = typed.FileConfigSource
    if sweeper is not None:
        plugins.class_name_to_class[SWEEPER] = sweeper


@lru_cache
def _schema(application: Application) -> DictConfig:
    schema: DictConfig = OmegaConf.structured(application.schema)
    OmegaConf.set_struct(OmegaConf.select(schema, application.open), False)
    return schema


def to_config(composed: DictConfig, application: Application = TRAIN) -> Config:
    """The dataclasses of a composed config, without Hydra's own part.

    Raises:
        UserError: an option that the schema does not have, or one of a study without a study.
    """
    if "hydra" in composed:
        composed = composed.copy()
        OmegaConf.set_struct(composed, False)
        composed.pop("hydra")
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise explained(error, application) from error
    assert isinstance(config, Config)
    if unknown := next(_unknown(config), None):
        raise UserError(typed.no_option(unknown, application.schema, application.command))
    if config.study != StudyConfig() and "study." in getattr(application.schema, "UNUSED", ()):
        raise UserError(typed.no_option("study", application.schema, application.command))
    study = replace(config.study, dry_run=False, fail_fast=False, minutes=None)  # which are of use to a plain sweep too
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
    for override in typed.read(overrides, application.schema):
        if override.is_sweep_override():
            raise UserError(f"{override.get_key_element()} names several values, but only one has a place here")
    return to_config(_composed(overrides, application), application)


def _composed(overrides: Sequence[str], application: Application, *, with_hydra: bool = False) -> DictConfig:
    """With Hydra's own part, or without.

    Hydra takes a tenth of a second for the files that overrides choose, and then sets the other options one by one:
    the points of a study choose the same files, so only that last step is taken for each.
    """
    try:
        parsed = [typed.parse(_with_places(text)) for text in overrides]
        options = Overrides(_repository(CONF), parsed).config_overrides
        own = [override for override in options if not override.is_hydra_override()]
        chosen = [override.input_line for override in parsed if override not in own]
        composed = _of_files(CONF, application, with_hydra, *chosen).copy()
        ConfigLoaderImpl._apply_overrides_to_config(own, composed)
        return composed
    except Exception as error:  # whatever Hydra cannot do with it has been typed
        raise explained(error, application) from error


@lru_cache
def _repository(conf: Path) -> ConfigRepository:
    return ConfigRepository(create_config_search_path(str(conf)))


@lru_cache
def _of_files(conf: Path, application: Application, with_hydra: bool, *chosen: str) -> DictConfig:
    register(application)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3", job_name="fmnist"):
        return compose(application.name, list(chosen), return_hydra_config=with_hydra)


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

    register(application, sweeper)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us whole instead of being printed
    sys.argv[1:] = sorted(map(_with_places, sys.argv[1:]), key=lambda text: text not in ("-m", "--multirun"))
    try:
        _check_command_line(application)
        main(version_base="1.3", config_path=str(CONF), config_name=application.name)(guarded)()
    except SweeperError as error:
        assert error.__cause__ is not None
        errors.append(error.__cause__)
    except Exception as error:  # Hydra's: it cannot do what was typed
        raise explained(error, application) from error
    if errors:
        first = errors[0]
        raise explained(first, application) if isinstance(first, HydraException | OmegaConfBaseException) else first


def _check_command_line(application: Application) -> None:
    """Refuse a command line that Hydra, or a run, could not do anything with; a study is a sweep without `-m`.

    Raises:
        UserError: one of its arguments is not understood.
    """
    arguments = _arguments(application)
    if arguments.help or arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion:
        return
    overrides = typed.read(arguments.overrides, application.schema)
    single = [override for override in overrides if not override.is_sweep_override()]
    swept = [override.get_key_element().lstrip("+") for override in overrides if override.is_sweep_override()]
    composed = _composed([override.input_line or "" for override in single], application, with_hydra=True)
    study, mode = to_config(composed, application).study.name, composed.hydra.mode
    _check_hydra(composed, single, application)
    if study and mode == RunMode.RUN:
        raise UserError(f"study {shown(study)} is a sweep: leave out hydra.mode=RUN")
    for key in swept:
        typed.check_several(key, application.schema)
        if not (arguments.multirun or study or mode):
            raise UserError(f"{key} names several values: put -m before it for a sweep over them")
    if study and not (arguments.multirun or mode):
        sys.argv = [*sys.argv, "hydra.mode=MULTIRUN"]


def _arguments(application: Application) -> Any:
    """What Hydra's own parser makes of the command line."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        unknown = re.match("unrecognized arguments: (--?.*)", message)
        if unknown is None:
            raise UserError(f"{shown(message)} (python -m fmnist.{application.command} --help says more)")
        first = next(text for text in sys.argv[1:] if text.startswith("-") and text in message)
        key, _, value = first.lstrip("-").partition("=")
        after = sys.argv[sys.argv.index(first) + 1 :][:1]
        value = shown(value or (after[0] if after and "=" not in after[0] and after[0][:1] != "-" else ""))
        raise UserError(f"'{shown(first)}': options have no dashes{typed.remedy(key, application.schema, value)}")

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args()


def _check_hydra(composed: DictConfig, overrides: Sequence[Override], application: Application) -> None:
    """Refuse Hydra's own options where a value is none, or another sweeper would do the work.

    Raises:
        UserError: names the option.
    """
    if composed.hydra.sweeper.get("_target_") != SWEEPER:
        raise UserError("hydra/sweeper is what fmnist is made of; leave it out")
    with read_write(composed), open_dict(composed):
        composed.hydra.job.num, composed.hydra.job.id = 0, "0"  # which a job has
    keys = [override.get_key_element().lstrip("+") for override in overrides if not override.is_delete()]
    for key in [key for key in keys if key.startswith("hydra.")]:
        try:
            found = OmegaConf.select(composed, key, throw_on_missing=True)
            if OmegaConf.is_config(found):
                OmegaConf.to_container(found, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise explained(error, application) from error
        before = OmegaConf.select(_composed([], application, with_hydra=True), key)
        if OmegaConf.is_dict(before) and not OmegaConf.is_dict(found):
            raise UserError(f"{key} is a group of options, but got {shown(found)}")


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


def explained(error: Exception, application: Application = TRAIN) -> UserError:
    """What is wrong with the overrides or a file, in one line, with the nearest name that exists."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        return UserError(f"{shown(error.filename)}: {error.strerror}")
    text, cause = str(error), error.__cause__
    wrong = next((one for one in (error, cause) if isinstance(one, OmegaConfBaseException) and one.full_key), None)
    first = next(iter(text.splitlines()), "").strip() or type(error).__name__
    return UserError(
        _not_there(text, application) or (_wrong_value(wrong, application) if wrong else "") or shown(first)
    )


_HYDRA_S = {  # what it says, and we
    r"Could not (?:load|find) 'hydra/launcher/((ray|submitit)(?:_local|_slurm)?)'": (
        "hydra/launcher={} comes with the package hydra-{}-launcher, which is not installed"
    ),
    r"^Could not delete (?:from config\. (?:The value of )?)?'([^']+)'": "~{} cannot be taken out",
    r"^Could not append to config\. .*\s+Either remove \+ prefix: '(.*)'": "{} is there already; write it without +",
    r"^force-add of config groups is not supported: '\+\+(.*)'": "{} is there already; write it without +",
}


def _not_there(text: str, application: Application) -> str:
    """An option or a file that does not exist, or what is wrong within a file."""
    for pattern, message in _HYDRA_S.items():
        if found := re.search(pattern, text):
            return message.format(*map(shown, found.groups()))
    if option := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        return typed.no_option(option[1] or option[2], application.schema, application.command)
    if wrong := re.search(r"In '([^']+)': \w+ raised while composing config:\n(.*)(?:\n\s+full_key: (\S+))?", text):
        file, reason, key = wrong.groups()
        if key:
            key = re.sub(r"\[.*", "", key)
            part = option_fields(application.schema).get(key)
            is_missing = re.match(r"Key '.+' (is )?not in", reason)
            value = re.match("Value '(.*)' of type", reason)
            got = f", but got {shown(value[1])}" if value else ""
            if "erge" in reason or "subclass" in reason:
                reason = "options stand here, KEY: VALUE, and no value"
            known = f"{key} must be {kind(part.type)}{got}" if part else f"{key}: {shown(reason)}"
            missing = typed.no_option(key, application.schema, application.command)
            return f"conf/{file}.yaml: {missing if is_missing else known}"
        if "erge" in reason:  # a mapping and a value
            reason = "a value stands where options do, KEY: VALUE, or options where a value does"
        return f"conf/{file}.yaml: {shown(reason)}"
    if choice := re.search(r"Could not find '(.+)/([^']*)'\s+Available options in '[^']+':\n((?:\t\S+\n?)+)", text):
        return typed.no_file(choice[1], choice[2], choice[3].split())
    return ""


def _wrong_value(error: OmegaConfBaseException, application: Application) -> str:
    """A value that its option cannot have, by OmegaConf's error about it."""
    key, reason = re.sub(r"\[.*", "", str(error.full_key)), next(iter(str(error.msg or error).splitlines()), "")
    options = option_fields(application.schema)
    if isinstance(error, MissingMandatoryValue):
        return f"{shown(key)} has no value (???){typed.remedy(key, application.schema)}"
    if isinstance(error, InterpolationResolutionError) or "nterpolation" in reason:
        why = reason.removeprefix("KeyError raised while resolving interpolation: ").strip('"')
        return f"{shown(key)}: ${{...}} cannot be resolved ({shown(why)}); write the value itself"
    if group := [option for option in options if option.startswith(f"{key}.")]:
        files = f", or a file: {key}={' | '.join(names)}" if (names := typed.group_files(key)) else ""
        return f"{key}={shown(error.value)}: {key} is a group of options; set one of {', '.join(group)}{files}"
    if key in options:
        return f"{key} must be {kind(options[key].type)}, but got {shown(error.value)}"
    if converted := re.search(r"could not be converted to (\w+)", reason):
        kinds = {"Integer": kind(int), "Float": kind(float), "Boolean": kind(bool)}
        return f"{shown(key)} must be {kinds.get(converted[1], converted[1])}, but got {shown(error.value)}"
    return f"{shown(key)}: {shown(reason)}"
