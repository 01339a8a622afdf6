"""The trials of a search as its folder holds them: one file, written whole, that needs no Keras Tuner to be read."""

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from fmnist.config import UserError

STATE, LOCK = "oracle.json", "oracle.lock"
RUNNING, COMPLETED, FAILED = "RUNNING", "COMPLETED", "FAILED"  # Keras Tuner's words


@dataclass(frozen=True)
class TrialRecord:
    """A trial of a search."""

    trial: str  # its number, as text
    status: str  # RUNNING | COMPLETED | FAILED
    values: dict[str, Any]  # by dimension, only the active ones; hyperband's own as tuner/epochs
    score: float | None
    message: str | None  # why it failed
    scores: dict[str, float] = field(default_factory=dict)  # of every execution, by its seed
    run_ids: dict[str, str] = field(default_factory=dict)
    name: str = ""  # of its first run
    epochs: int = 0  # that the search needed for it: those that a continued path already had are not counted
    trained: int = 0  # that were trained for it now: none if the store had its runs
    seconds: float = 0.0
    work: float = 0.0  # operations of its training
    ended: int = 0  # ms

    @property
    def number(self) -> int:
        """As people call it."""
        return int(self.trial)

    @property
    def reached(self) -> int:
        """Epochs after which hyperband's trial was scored, 0 for other kinds."""
        return int(self.values.get("tuner/epochs", 0))

    @property
    def start(self) -> int:
        """The epoch from which hyperband's trial continued another's path."""
        return int(self.values.get("tuner/initial_epoch", 0))


def load_trials(folder: Path) -> list[TrialRecord]:
    """All trials of a search, oldest first; none where it has not begun.

    Raises:
        UserError: its file is damaged.
    """
    with whole(folder / STATE):
        state = read(folder) or {"trials": []}
        trials = [_record(trial, state["records"].get(trial["trial_id"], {})) for trial in state["trials"]]
        return sorted(trials, key=lambda trial: (trial.number, trial.reached, trial.start))  # if those are numbers


def _record(trial: dict[str, Any], details: dict[str, Any]) -> TrialRecord:
    own = {key: trial[key] for key in ("status", "score", "message")}
    values = trial["hyperparameters"]["values"]
    return _RECORDS.validate_python({**details, **own, "trial": trial["trial_id"], "values": values})


_RECORDS = TypeAdapter(TrialRecord)


@contextmanager
def whole(file: Path) -> Iterator[None]:
    """Take what goes wrong in the block for damage of a file of a search.

    Raises:
        UserError: something did.
    """
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        remedy = f"put a copy of it back, or remove {file.parent} to begin the search anew with the runs there are"
        raise UserError(f"{file} is damaged ({reason}); {remedy}") from error


def ended(trials: list[TrialRecord]) -> list[TrialRecord]:
    """Those that are over, in the order of their ends."""
    over = [trial for trial in trials if trial.status in (COMPLETED, FAILED)]
    return sorted(over, key=lambda trial: (trial.ended, trial.trial))


def scored(trials: list[TrialRecord]) -> list[TrialRecord]:
    """Those that are over with a score, in the order of their ends."""
    return [trial for trial in ended(trials) if trial.status == COMPLETED and trial.score is not None]


def ranked(trials: list[TrialRecord], direction: str) -> list[TrialRecord]:
    """The best first, of those that reached the most epochs: a score after one says little beside one after nine."""
    candidates, sign = scored(trials), 1 if direction == "max" else -1
    furthest = max((trial.reached for trial in candidates), default=0)
    leading = [trial for trial in candidates if trial.reached == furthest]
    return sorted(leading, key=lambda trial: (-sign * (trial.score or 0.0), trial.number))


def best(trials: list[TrialRecord], direction: str) -> TrialRecord | None:
    """The first of those that `ranked` gives, if there is any."""
    return next(iter(ranked(trials, direction)), None)


def read(folder: Path) -> dict[str, Any] | None:
    """The state of a search as it was last saved."""
    file = folder / STATE
    if not file.exists():
        return None
    with whole(file):
        state = json.loads(file.read_text())
        return {key: state[key] for key in ("oracle", "trials", "records")}


def write(file: Path, content: Any) -> None:
    """Leave all of it in the file, or what was there before."""
    part = file.with_name(f".{file.name}.part")
    with part.open("w") as stream:
        stream.write(json.dumps(content))  # ten times as fast as json.dump, which encodes piece by piece in Python
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


@contextmanager
def slot(folder: Path, kind: str) -> Iterator[str]:
    """A name, `worker-0`, that no other has as long as it lasts: a lock shows that it is alive.

    Args:
        folder: of the search.
        kind: worker, or parent, which has started workers.
    """
    for number in itertools.count():
        lock = FileLock(folder / f"{kind}-{number}.lock", blocking=False)
        with suppress(Timeout):
            lock.acquire()
            break
    try:
        yield f"{kind}-{number}"
    finally:
        lock.release()


def is_free(folder: Path, name: str) -> bool:
    """Whether no living process has this name."""
    try:
        with FileLock(folder / f"{name}.lock", blocking=False):
            return True
    except Timeout:
        return False


def living(folder: Path, kind: str) -> bool:
    """Whether any process of that kind lives."""
    return not all(is_free(folder, lock.stem) for lock in folder.glob(f"{kind}-*.lock"))
