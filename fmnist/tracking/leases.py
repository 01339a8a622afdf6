"""Who may work on a trajectory in a store that several folders share, and who is alive: no clocks are compared.

File locks hold within a folder. Between folders the store decides, by the one thing of MLflow's that every database of
its makes atomic and keeps for good: a parameter of a run is written once (primary key: name and run). Tried with 16
processes against a server on SQLite and on PostgreSQL 15, one of them wins each time; a registered model or an
experiment of a unique name does as well, but shows up among the user's own and cannot be taken over safely, a run's
tag read back after a wait is no decision, and versions of a registered model take longer the more there are.

Each trajectory has a record, in an experiment of their own. `claim.3` on it says who holds the trajectory as the third:
who wants it from a holder that has let go, or has died, writes `claim.4`, and only one can. A holder is alive as long
as its beat, a count in a tag, changes; who waits for it measures by the own clock for how long it has not. A holder
trusts its claim for less long than others wait; after that it claims anew before it writes anything.
"""

import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from fmnist import machine
from fmnist.config import UserError
from fmnist.schema import Column, Status
from fmnist.tracking.client import Client, StoreError
from fmnist.tracking.stored import StoredRun, as_tags, condition
from fmnist.training.locking import BusyError
from fmnist.words import shown


def _chosen_seconds() -> float:
    text = os.environ.get("FMNIST_LEASE_SECONDS", "90")
    if not text.isdecimal() or not 5 <= int(text) <= 3600:
        raise UserError(f"FMNIST_LEASE_SECONDS must be a whole number from 5 to 3600, but got {shown(text)}")
    return float(text)


SECONDS = _chosen_seconds()  # without a beat, after which a holder is taken for dead
TRUSTED, BEATS = 2 / 3, 4  # of these seconds that a holder trusts its claim; beats within them
MOST_QUESTIONS = 10.0  # a second, of all workers together
_BEAT, _CLAIM, _OVER = Column("beat").tag, "claim.", "over"
_REFUSED = "Changing param values is not allowed"  # in MLflow's words
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps, as those of others


def pause(askers: int) -> float:
    """Seconds until the next question of one of so many workers, at random: together they ask no server too often."""
    return max(2.0, askers / MOST_QUESTIONS) * random.uniform(0.5, 1.5)


# ---- Who is alive -----------------------------------------------------------------------------------------


def beat_of(record: StoredRun) -> str:
    """What its owner changes as long as it lives: it ends with the seconds that it may stay the same."""
    return record.tags.get(_BEAT, "")


class Pulses:
    """Which of others have died: by how long this process has seen the same beat, as far as it could look."""

    def __init__(self) -> None:
        """Nothing has been seen yet."""
        self._seen: dict[str, tuple[str, float]] = {}

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Read beats in this block: where the store does not answer, others cannot reach it either."""
        began = time.monotonic()
        try:
            yield
        except StoreError:
            self._seen.clear()
            raise
        if time.monotonic() - began > SECONDS / BEATS:
            self._seen.clear()

    def has_stopped(self, name: str, beat: str) -> bool:
        """Whether a beat has stayed the same for too long; without one nothing is known."""
        now = time.monotonic()
        before, since = self._seen.get(name, ("", now))
        if not beat or before != beat:
            self._seen[name] = beat, now
            return False
        return now - since > float(beat.rsplit(" ", 1)[-1])


@contextmanager
def regularly(act: Callable[[], None]) -> Iterator[None]:
    """Do something several times within the seconds of a lease, in a thread, until the block ends."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(SECONDS / BEATS):
            with suppress(Exception):  # whatever it is, the next time it may be over
                act()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1.0)  # a store that hangs holds nobody up


@contextmanager
def beating(client: Client, run_id: str) -> Iterator[None]:
    """Show on the record of a sweep or a search that this process is alive, until the block ends."""
    name, count = uuid.uuid4().hex, 0

    def beat() -> None:
        nonlocal count
        client.at_once("set_tag")(run_id, _BEAT, f"{name} {count} {SECONDS:g}")
        client.at_once("update_run")(run_id, status=Status.RUNNING)  # cut off for long, it was taken for dead perhaps
        count += 1

    with suppress(StoreError):
        beat()
    with regularly(beat):
        yield


# ---- Who may work on a trajectory -------------------------------------------------------------------------


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class Lease:
    """A trajectory that this process holds."""

    def __init__(self, client: Client, record: StoredRun, number: int, folder: str) -> None:
        """Claim it as the holder of that number.

        Raises:
            BusyError: another was faster.
        """
        self.record, self._client, self._number = record, client, number - 1
        self._holder = f"{folder} {SECONDS:g} {uuid.uuid4().hex} {machine.this_process()}"
        self._lock, self._beats, self._until, self._tried = threading.Lock(), 0, 0.0, 0.0
        client.waiting(self.confirm)()

    def confirm(self) -> None:
        """Make sure that the trajectory still is this process's, before anything is written.

        Raises:
            BusyError: it is another's by now.
        """
        if _now() < self._until:
            return
        with self._lock:
            while _now() >= self._until:
                self._tried = self._tried or _now()  # the first time may have arrived, though no answer has
                try:
                    key = f"{_CLAIM}{self._number + 1}"
                    self._client.at_once("log_param")(self.record.run_id, key, self._holder)
                except StoreError as error:
                    if _REFUSED in str(error):
                        raise BusyError from error
                    raise
                self._number, self._until, self._tried = self._number + 1, self._tried + TRUSTED * SECONDS, 0.0

    def _beat(self) -> None:
        with self._lock:
            began, self._beats = _now(), self._beats + 1
            self._say(f"{self._beats} {SECONDS:g}")
            if _now() < self._until:  # else others may have waited long enough, and only another claim can tell
                self._until = began + TRUSTED * SECONDS

    def _say(self, beat: str) -> None:
        self._client.at_once("set_tag")(self.record.run_id, _BEAT, f"{self._number} {beat}")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep it until the block ends; then others may have it at once."""
        try:
            with regularly(self._beat):
                yield
        finally:
            if self._lock.acquire(timeout=1.0):
                with suppress(StoreError):
                    if _now() < self._until:
                        self._say(_OVER)
                self._lock.release()


class Leases:
    """Those of a store that several folders share."""

    def __init__(self, client: Client, experiment: str, root: str, folder: Path) -> None:
        """Their records are in an experiment, and `root` is the run of it that says which is whose."""
        self._client, self._experiment, self._root, self.folder = client, experiment, root, _identity(folder)
        self._pulses, self._rests = Pulses(), dict[str, tuple[float, float]]()  # until when, for so long

    def rests(self, trajectory: str) -> bool:
        """Whether a trajectory has been another's so lately that it is too early to ask again."""
        return time.monotonic() < self._rests.get(trajectory, (0.0, 0.0))[0]

    def claim(self, trajectory: str) -> Lease:
        """Take a trajectory, whose file lock in this folder this process has.

        Raises:
            BusyError: another holds it, or did a moment ago.
        """
        if self.rests(trajectory):
            raise BusyError
        try:
            lease = self._claim(trajectory)
        except BusyError:
            seconds = min(2 * self._rests.get(trajectory, (0.0, 0.5))[1], SECONDS / BEATS)
            self._rests[trajectory] = time.monotonic() + seconds * random.uniform(0.5, 1.5), seconds
            raise
        self._rests.pop(trajectory, None)
        return lease

    def _claim(self, trajectory: str) -> Lease:
        with self._pulses.looking():
            record = self.record(trajectory)
        numbers = [key.removeprefix(_CLAIM) for key in record.params if key.startswith(_CLAIM)]
        number = max((int(text) for text in numbers if text.isdecimal()), default=0)
        if number and beat_of(record) != f"{number} {_OVER}":
            folder, seconds, *_ = record.params[f"{_CLAIM}{number}"].split()
            # Of a folder only one process has the file lock: who has claimed it in this one is dead.
            state = f"{number} {beat_of(record)} {seconds}"
            if folder != self.folder and not self._pulses.has_stopped(trajectory, state):
                raise BusyError
        return Lease(self._client, record, number + 1, self.folder)

    def record(self, trajectory: str) -> StoredRun:
        """The record of a trajectory, the same for all who ask."""
        wanted = condition("trajectory_signature", trajectory)
        found = next(self._client.all_runs(self._experiment, wanted), None)
        if found is None:
            tags = as_tags({"trajectory_signature": trajectory})
            self.agreed(trajectory, self._client.new_run(self._experiment, trajectory), tags)
            found = next(self._client.all_runs(self._experiment, wanted))
        return found

    def agreed(self, name: str, made: str, tags: dict[str, str]) -> str:
        """The run that goes by a name, for all who ask: one that was made for that, or a rival's; it gets the tags."""
        try:
            self._client.log_param(self._root, name, made)
        except StoreError as error:
            if _REFUSED not in str(error):
                raise
            self._client.delete_run(made)
            made = str(self._client.get_run(self._root).data.params[name])
            if self._client.get_run(made).info.lifecycle_stage == "deleted":
                self._client.restore_run(made)
        for key, value in tags.items():
            try:
                self._client.set_tag(made, key, value)
            except StoreError:  # a rival writes the same for the first time: that stands by now
                self._client.set_tag(made, key, value)
        return made


def _identity(folder: Path) -> str:
    """A name for a folder that no copy of it has, and that is the same on all machines which see it."""
    file = folder / ".folder"
    with FileLock(folder / ".setup.lock"):
        if not (file.exists() and file.read_text()):
            file.write_text(uuid.uuid4().hex)
        return f"{file.read_text()}-{file.stat().st_ino}"
