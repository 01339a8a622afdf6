"""What people type, overrides and YAML files: read with care, and refused in one line of our own."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins import file_config_source
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult

from fmnist.advice import command_for
from fmnist.config import CONF, UserError, kind, nearest_option, option_fields, suggest
from fmnist.words import shown

LONGEST = 10_000  # characters of an override
LARGEST = 100_000  # bytes of a file
DEEPEST = 20  # lists and mappings within each other
MOST_NODES = 10_000  # of a file, once its aliases are written out
_TAGS = "tag:yaml.org,2002:"
_PAIRS = {"]": "[", "}": "{", ")": "("}


# ---- Overrides ------------------------------------------------------------------------------------------


def read(texts: Sequence[str], schema: type) -> list[Override]:
    """The overrides that these texts write.

    Raises:
        UserError: one of them cannot be read, or chooses what is no file of its group.
    """
    overrides = []
    for text in texts:
        _check_form(text)
        try:
            override = parse(text)
            value: Any = list(_values(override)) if override.is_sweep_override() else [override.value()]
        except Exception as error:
            raise UserError(_unreadable(text, schema)) from error
        key = override.get_key_element().lstrip("+~")
        if not key:
            raise UserError(f"'{shown(text)}' has no key{remedy('', schema)}")
        if not override.is_delete():
            _check_group(key, value)
        overrides.append(override)
    return overrides


@lru_cache(1024)
def parse(text: str) -> Override:
    """What Hydra reads in an override, milliseconds of work: the points of a study write the same ones."""
    return OverridesParser.create().parse_override(text)


def _values(override: Override) -> Iterator[Any]:
    """What a sweep override lists, as far as it goes through a list."""
    return override.sweep_iterator() if override.is_choice_sweep() else iter(())


def _check_form(text: str) -> None:
    """Refuse what would keep a parser busy for minutes."""
    if len(text) > LONGEST:
        raise UserError(f"'{shown(text)}' is longer than {LONGEST:,} characters; put it into a file of conf/")
    if max(map(text.count, _PAIRS.values())) > DEEPEST and _depth(text) > DEEPEST:
        raise UserError(f"'{shown(text)}' is nested deeper than {DEEPEST} levels")


def _depth(text: str) -> int:
    depth = deepest = 0
    for letter in text:
        depth += (letter in _PAIRS.values()) - (letter in _PAIRS)
        deepest = max(deepest, depth)
    return deepest


def _unreadable(text: str, schema: type) -> str:
    """Why an override cannot be read, and how it would be."""
    key, equals, value = text.partition("=")
    if not equals:
        return f"'{shown(text)}' is no KEY=VALUE{remedy(key, schema)}"
    if left := _left_open(value):
        return f"'{shown(text)}' cannot be read: {left} has no end"
    quoted, options = f'{key}="{value}"', option_fields(schema)
    try:
        parse(quoted)
        takes_text = key not in options or kind(options[key].type) == kind(str)
    except Exception:
        takes_text = False
    how = f"; put the value in quotes: '{shown(quoted)}'" if takes_text else remedy(key, schema)
    return f"'{shown(text)}' cannot be read{how}"


def _left_open(value: str) -> str:
    """The quote or bracket that is opened and not closed, if there is one."""
    opened: list[str] = []
    for letter in value:
        if opened and opened[-1] in "'\"":
            if letter == opened[-1]:
                opened.pop()
        elif letter in "'\"[{(":
            opened.append(letter)
        elif opened and _PAIRS.get(letter) == opened[-1]:
            opened.pop()
    return opened[-1] if opened else ""


def remedy(key: str, schema: type, value: str = "") -> str:
    """`; write epochs=3`: the option that a key means, with a value that it may have, or one for an example."""
    known = _of_use(schema)
    option = nearest_option(key, known)
    if not option:
        return f"; write KEY=VALUE, {next(each for each in known if each.endswith('epochs'))}=3"
    default = known[option].default if option in known else None
    return f"; write {option}={value or (default if isinstance(default, int | float | str) and default else 'VALUE')}"


def _of_use(schema: type) -> dict[str, Any]:
    """The options that may be advised."""
    unused = getattr(schema, "UNUSED", ())
    return {key: part for key, part in option_fields(schema).items() if not key.startswith(unused or "-")}


def _check_group(key: str, values: Sequence[Any]) -> None:
    """Refuse to choose other than one file of a group, `augment=none`."""
    files = group_files(key)
    if not files and (CONF / key).is_dir():
        raise UserError(f"{key} is no option, and no group of files")
    if not files:
        return
    if key == "study" and len(values) > 1:
        each = " and ".join(command_for("sweep", shown(name)) for name in values)
        raise UserError(f"a study is a sweep by itself; run one after the other: {each}")
    for name in values:
        if not isinstance(name, str):
            raise UserError(f"{key} must be one of {', '.join(files)}, but got {shown(name)}")


def check_several(key: str, schema: type) -> None:
    """Refuse several values of what a sweep cannot vary.

    Raises:
        UserError: says how it is written instead.
    """
    from fmnist.study.plan import check_axis

    options = option_fields(schema)
    if key in options and kind(options[key].type) == kind(list):
        raise UserError(f"{key} is one list: write it in [brackets], {key}=[1,3]")
    if key not in ("seed", "epochs"):
        check_axis(key)


def group_files(key: str) -> list[str]:
    """The names of the files that a group has to choose from; none if it is no group."""
    folder = CONF / key
    inside = not key.startswith(("/", ".")) and ".." not in key.split("/")
    return sorted(file.stem for file in folder.glob("*.yaml")) if inside else []


def no_option(key: str, schema: type, command: str) -> str:
    """That there is no such option, with the nearest that there is."""
    known = [*_of_use(schema), "hydra.launcher.n_jobs", *(key for key in ("augment",) if group_files(key))]
    group = key.rpartition(".")[0]
    if f"{key}.".startswith(getattr(schema, "UNUSED", ()) or "-"):
        return f"fmnist.{command} has no {shown(key)}: leave it out"
    if group in option_fields(schema) and kind(option_fields(schema)[group].type).startswith("a mapping"):
        return f"there is no '{shown(key)}' yet; write +{shown(key)}=VALUE to add it"
    near = nearest_option(key, known)
    hint = f"; did you mean '{near}'?" if near else ""
    return f"there is no option '{shown(key)}'{hint} (python -m fmnist.{command} --help lists all)"


def no_file(group: str, name: str, names: Sequence[str]) -> str:
    """That a group has no such file, with the nearest that it has."""
    return f"there is no {group} '{shown(name)}'; known are {', '.join(names)}{suggest(name, names)}"


# ---- Files ----------------------------------------------------------------------------------------------


class FileConfigSource(file_config_source.FileConfigSource):
    """Where Hydra finds the files of conf/: a file is checked before it is loaded.

    Called as Hydra's own is: by its name workers, which get it pickled, see that there is one already.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """As Hydra's own.

        Raises:
            UserError: the file is no YAML, or would take minutes or gigabytes to load.
        """
        file = Path(self.path, self._normalize_file_name(config_path))
        if not file.is_file():
            return super().load_config(config_path)
        name = f"conf/{file.relative_to(CONF)}" if file.is_relative_to(CONF) else shown(file)
        try:
            if file.stat().st_size > LARGEST:
                raise UserError(f"it is larger than {LARGEST // 1000} kB")
            _check_events(file.read_text(encoding="utf-8"))
            return super().load_config(config_path)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise UserError(f"{name} is no valid YAML: line {line}: {shown(error.problem)}") from error
        except (yaml.YAMLError, ValueError, OSError) as error:
            raise UserError(f"{name} cannot be read: {shown(error)}") from error


@lru_cache  # Hydra loads the same files for every point
def _check_events(text: str) -> None:
    """Count nodes and levels as a parser comes across them: nothing is built."""
    sizes = [0]  # of the document, and of each list or mapping that is open
    anchors: list[str | None] = []
    named: dict[str, int] = {}
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        tag = getattr(event, "tag", None) or f"{_TAGS}str"
        if tag.removeprefix(_TAGS) not in ("str", "int", "float", "bool", "null", "seq", "map"):
            raise UserError(f"the tag {shown(tag)} is not understood")
        if len(sizes) == 1 and isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.MappingStartEvent):
            raise UserError("it must hold options, KEY: VALUE")
        if isinstance(event, yaml.CollectionStartEvent):
            anchors.append(event.anchor)
            sizes.append(1)
        elif isinstance(event, yaml.CollectionEndEvent):
            size = sizes.pop()
            sizes[-1] += size
            named |= {anchor: size for anchor in [anchors.pop()] if anchor}
        elif isinstance(event, yaml.AliasEvent):
            sizes[-1] += named.get(
                str(event.anchor), MOST_NODES if event.anchor in anchors else 1
            )  # else it has no end
        elif isinstance(event, yaml.ScalarEvent):
            sizes[-1] += 1
        if len(sizes) > DEEPEST or sum(sizes) > MOST_NODES:
            what = f"{DEEPEST} levels deep" if len(sizes) > DEEPEST else f"{MOST_NODES:,} values, aliases written out"
            raise UserError(f"it has more than {what}")
