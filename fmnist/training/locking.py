"""Where trajectories lie in a store's folder, and which process is at one: a lock lets one at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def checkpoint_folder(store: str, trajectory: str) -> Path:
    """The folder of a trajectory's checkpoints."""
    return Path(store) / "checkpoints" / trajectory


def _lock(store: str, trajectory: str) -> Path:
    """The file that is locked by the process at a trajectory: beside its checkpoints, whatever becomes of them."""
    return Path(store) / "checkpoints" / f"{trajectory}.lock"


class BusyError(Exception):
    """Another process is at the trajectory."""


@contextmanager
def exclusively(store: str, trajectory: str, wait: bool) -> Iterator[None]:
    """Be the only process on a trajectory; the system frees the lock of one that is killed.

    Raises:
        BusyError: another process is, and we were told not to wait.
    """
    lock = _lock(store, trajectory)
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, blocking=wait):
            yield
    except Timeout as error:
        raise BusyError from error


def was_used_here(store: str, trajectory: str) -> bool:
    """Whether a process using this folder as its store has been on a trajectory."""
    return _lock(store, trajectory).exists()
