"""Runs in one file that every zip tool, JSON and NumPy can read: equal bytes for equal runs, and read with care.

    about.json                the format, its version, the ids of all runs, and what the rest is
    runs/<id>.json            a run: name, status, start and end (ms), tags, params, data sets, and of each metric
                              every [step, ms, value] (null: not a number); `files` and `predictions` name the members
                              below that hold its text artifacts (path -> member) and arrays (name -> member); where
                              asked for, `model` those of its weights by their names in Keras (`model/conv1/kernel`)
                              and of the images that it was saved with (`example`), and `checkpoint` those of the
                              state from which its path goes on, optimizer too, after the epochs of `history`
    files/<digest>.<suffix>   a text artifact or an array (npy), once however many runs have it; `test_errors` is the
                              predicted class minus the label, modulo 10 (0: right), a fifth of `test_predicted`;
                              `val_steps` is by how much each row that validates is after the one before it

Pictures are left out, and without `export --models --checkpoints` what was learnt too.
"""

import hashlib
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fmnist.config import CLASS_COUNT, Config, UserError, check_option, option_fields
from fmnist.tracking.learnt import check_learnt
from fmnist.tracking.stored import StoredRun, by_rows, check_classes, faults, value_of
from fmnist.words import harmless, plural, shown

VERSION = 2
_READ = (1, VERSION)  # the first had the rows that validate themselves, as a run draws them
SUFFIXES = (".yaml", ".json", ".csv", ".txt", ".diff", ".md")  # of text artifacts
LARGEST, LARGEST_ARRAY, LARGEST_SUM = 2**24, 2**28, 2**36  # bytes of a member, of an array and of all, unpacked
_ABOUT, _FORMAT = "about.json", "fmnist runs"
_TYPES = {np.dtype(name).str for name in ("uint8", "uint32", "int32", "int64", "float16", "float32", "float64")}
_PARTS = ("test", "val")
_WEIGHT = r"^(example|model/\w+(/\w+)+|optimizer/\d+)$"
_ARRAY = r"^(test|val)_(labels|errors|probabilities|rows|steps)$"
_MEMBER = r"^files/[0-9a-f]{32}\.[a-z]{2,4}$"


def _path(text: str) -> str:
    """What MLflow takes as a key, and what stays within a folder as a file."""
    if not re.fullmatch(r"[\w .:-]+(/[\w .:-]+)*", text) or {".", ".."} & set(text.split("/")):
        raise ValueError("must be words with / between them")
    return text


Moment = Annotated[int, Field(ge=0, le=10**14)]  # ms
Key = Annotated[str, Field(max_length=250), AfterValidator(_path)]
Step = Annotated[int, Field(ge=0, le=10**9)]
Number = Annotated[float, Field(allow_inf_nan=False)] | None
Member = Annotated[str, Field(pattern=_MEMBER)]
Weight = Annotated[str, Field(pattern=_WEIGHT, max_length=250)]
Arrays = dict[str, NDArray[Any]]


class DataSet(BaseModel):
    """Data that a run saw, as MLflow names it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    name: Annotated[str, Field(min_length=1, max_length=500)]
    digest: Annotated[str, Field(min_length=1, max_length=36)]
    source_type: Annotated[str, Field(max_length=36)]
    source: Annotated[str, Field(max_length=10_000)]
    profile: Annotated[str, Field(max_length=10_000)]
    features: Annotated[str, Field(max_length=100_000)] = ""  # MLflow's schema
    tags: dict[Key, Annotated[str, Field(max_length=500)]]


class Facts(BaseModel):
    """What a run's JSON holds."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]  # where the run was made
    name: Annotated[str, Field(max_length=250)]
    status: Literal["FINISHED", "FAILED"]
    start: Moment
    end: Moment
    tags: Annotated[dict[Key, Annotated[str, Field(max_length=8000)]], Field(max_length=99)]
    params: Annotated[dict[Key, Annotated[str, Field(max_length=6000)]], Field(max_length=100)]
    metrics: dict[Key, Annotated[list[tuple[Step, Moment, Number]], Field(min_length=1)]]
    data: list[DataSet]
    files: dict[Key, Member] = {}
    predictions: dict[Annotated[str, Field(pattern=_ARRAY)], Member] = {}
    model: dict[Weight, Member] = {}
    checkpoint: dict[Weight, Member] = {}
    history: list[dict[Key, Annotated[float, Field(allow_inf_nan=False)]]] = []

    def stored(self) -> StoredRun:
        """As a store shows it."""
        last = {key: max(points, key=lambda point: point[:2])[2] for key, points in self.metrics.items()}
        metrics = {key: math.nan if value is None else value for key, value in last.items()}
        return StoredRun(self.id, self.name, self.status, self.start, self.end, self.tags, self.params, metrics)


@dataclass(frozen=True)
class PortableRun:
    """A run without its pictures."""

    facts: Facts  # without members
    texts: dict[str, str]  # artifacts by path
    predictions: Arrays
    model: Arrays = field(default_factory=dict)  # as `learnt.model_arrays` gives it
    checkpoint: Arrays = field(default_factory=dict)  # of which the facts have the history


def write(path: Path, runs: Iterable[PortableRun]) -> int:
    """Write a file of runs, or nothing of it; returns how many they are.

    Raises:
        UserError: it cannot be written.
    """
    part, written = path.with_name(f".{path.name}.part"), set[str]()
    try:
        with zipfile.ZipFile(part, "w") as archive:

            def put(name: str, content: bytes) -> str:
                if name not in written:
                    info = zipfile.ZipInfo(name)  # of 1980: bytes shall not tell when
                    archive.writestr(info, content, zipfile.ZIP_DEFLATED, compresslevel=9)
                    written.add(name)
                return name

            ids = []
            for run in runs:
                texts = {name: (text.encode(), Path(name).suffix) for name, text in run.texts.items()}
                groups = {"predictions": _packed(run.predictions), "model": run.model, "checkpoint": run.checkpoint}
                contents = {"files": texts} | {
                    name: {key: (_npy(array), ".npy") for key, array in arrays.items()}
                    for name, arrays in groups.items()
                }
                members = {
                    name: {key: put(_member(*each), each[0]) for key, each in sorted(group.items())}
                    for name, group in contents.items()
                }
                facts = run.facts.model_copy(update=members)
                put(f"runs/{facts.id}.json", _json(facts.model_dump(exclude_defaults=True)))
                ids.append(facts.id)
            about = {"format": _FORMAT, "version": VERSION, "runs": ids, "about": (__doc__ or "").splitlines()}
            put(_ABOUT, _json(about))
        part.replace(path)
        return len(ids)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _member(content: bytes, suffix: str) -> str:
    return f"files/{hashlib.sha256(content).hexdigest()[:32]}{suffix}"


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


def _packed(predictions: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """With errors instead of the classes that were predicted, most are 0, and the rows that validate in their order."""
    packed = dict(by_rows(predictions))
    if "val_rows" in packed:
        steps = np.diff(packed.pop("val_rows").astype(np.int64), prepend=0)
        packed["val_steps"] = steps.astype(np.min_scalar_type(steps.max(initial=0)))
    for part in _PARTS:
        if {f"{part}_labels", f"{part}_predicted"} <= packed.keys():
            classes = packed.pop(f"{part}_predicted").astype(np.int64)
            packed[f"{part}_errors"] = ((classes - packed[f"{part}_labels"]) % CLASS_COUNT).astype(np.uint8)
    return packed


def _unpacked(packed: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What `_packed` was given.

    Raises:
        ValueError: the classes are none.
        KeyError: errors have no labels.
    """
    predictions = dict(packed)
    if "val_steps" in predictions:
        steps = predictions.pop("val_steps")
        if steps.ndim != 1 or steps.dtype.kind != "u":
            raise ValueError(f"val_steps have shape {steps.shape} and type {steps.dtype}")
        predictions["val_rows"] = steps.cumsum(dtype=np.int64).astype(np.int32)
    for part in _PARTS:
        if f"{part}_errors" in packed:
            labels, errors = packed[f"{part}_labels"], predictions.pop(f"{part}_errors")
            check_classes(labels, errors)
            predictions[f"{part}_predicted"] = ((labels + errors.astype(np.int64)) % CLASS_COUNT).astype(np.uint8)
    return predictions


class RunFile:
    """A file of runs to be read; whatever is wrong with it is a UserError that names it and the part."""

    def __init__(self, path: Path) -> None:
        """Open it; nothing of its runs is read yet."""
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise self._refused(f"it is no zip file, or not all of one ({error})") from error
        members = self._archive.infolist()
        self._sizes = {member.filename: member.file_size for member in members}
        if len(self._sizes) < len(members):
            raise self._refused("it has two members of one name")
        too_large = [name for name, size in self._sizes.items() if size > _most(name)]
        if too_large or sum(self._sizes.values()) > LARGEST_SUM:
            raise self._refused(f"it unpacks to {sum(self._sizes.values()):,} bytes, which no runs need")
        self._runs = self._listed()

    def __len__(self) -> int:
        """How many runs it says it has."""
        return len(self._runs)

    def __iter__(self) -> Iterator[PortableRun]:
        """The runs in the order of the file, each checked."""
        return map(self._run, self._runs)

    def _refused(self, reason: str) -> UserError:
        return UserError(
            f"{harmless(str(self.path), 200)} cannot be imported: {harmless(reason, 300)}; nothing was changed"
        )

    def _listed(self) -> list[str]:
        """The members of all runs, of a version that we can read."""
        content = self._content(_ABOUT)
        try:
            about = json.loads(content)
            if about["format"] != _FORMAT:
                raise self._refused(f"it is no file of runs but of '{shown(about['format'])}'")
            version = about["version"]
            if version is True or version not in _READ:
                raise self._refused(f"it is of version {shown(version)}, and this fmnist reads {VERSION}; update it")
            listed = [f"runs/{run_id}.json" for run_id in about["runs"]]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise self._refused(f"it is no file of runs ({_ABOUT} does not say so)") from error
        there = [name for name in self._sizes if not name.startswith("files/")]
        if sorted(there) != sorted([_ABOUT, *listed]):
            raise self._refused("it has other runs than it says")
        return listed

    def _content(self, name: str) -> bytes:
        """A member, whose checksum is right."""
        if name not in self._sizes:
            raise self._refused(f"it lacks {name}")
        try:
            with self._archive.open(name) as member:
                content = member.read(_most(name))  # never more than the size that it claims
        except (
            OSError,
            EOFError,
            ValueError,
            RuntimeError,
            NotImplementedError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise self._refused(f"{name} is damaged ({error})") from error
        if len(content) != self._sizes[name]:
            raise self._refused(f"{name} is damaged ({len(content):,} of {plural(self._sizes[name], 'byte')})")
        return content

    def _run(self, name: str) -> PortableRun:
        content = self._content(name)
        try:
            facts = Facts.model_validate_json(content)
            if name != f"runs/{facts.id}.json":
                raise ValueError(f"it is that of run {facts.id}")
            _check_options(facts)
            texts = {key: self._text(key, member) for key, member in facts.files.items()}
            predictions = _unpacked(self._arrays(facts.predictions))
            model, state = self._arrays(facts.model), self._arrays(facts.checkpoint)
            check_learnt(facts.stored(), model, state, facts.history)
        except ValidationError as error:
            raise self._refused(f"{name}: {reason(error)}") from error
        except (ValueError, LookupError, RecursionError) as error:
            raise self._refused(f"{name}: {error}") from error
        facts = facts.model_copy(update={name: {} for name in ("files", "predictions", "model", "checkpoint")})
        return PortableRun(facts, texts, predictions, model, state)

    def _arrays(self, members: dict[str, str]) -> Arrays:
        return {key: _array(self._content(member)) for key, member in members.items()}

    def _text(self, path: str, member: str) -> str:
        if not path.endswith(SUFFIXES) or Path(member).suffix != Path(path).suffix:
            raise ValueError(f"{path} is no text that runs have")
        return self._content(member).decode()  # or UnicodeDecodeError, a ValueError


def _most(member: str) -> int:
    return LARGEST_ARRAY if member.endswith(".npy") else LARGEST


def reason(error: ValidationError) -> str:
    """What is wrong first, and where."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"


def _check_options(facts: Facts) -> None:
    """Refuse what is no record of ours, with ValueError."""
    if wrong := next(faults(facts.stored()), ""):
        raise ValueError(wrong)
    options = option_fields(Config)
    try:
        for key in facts.params.keys() & options.keys():
            check_option(key, value_of(facts.params[key]), options[key])
    except UserError as error:
        raise ValueError(str(error)) from error


def _array(content: bytes) -> NDArray[Any]:
    """The array of an npy file that says no more than it holds.

    Raises:
        ValueError: it is damaged, or of a type that no prediction has.
    """
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array is of an unknown version")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.str not in _TYPES or is_fortran or min(shape, default=0) < 0:
        raise ValueError(f"an array is of type {dtype} and shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError(f"an array of shape {shape} has {len(content) - stream.tell():,} bytes")
    array = np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError("an array holds what is no number")
    return array
