"""Where trajectories lie in a store's folder, and a lock that lets one process at a time work on each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class BusyError(Exception):
    """Another process works on the trajectory."""


def checkpoint_folder(store_folder: str, trajectory: str) -> Path:
    """The folder of a trajectory's checkpoints; the file that a process locks lies beside it."""
    return Path(store_folder) / "checkpoints" / trajectory


@contextmanager
def exclusively(store_folder: str, trajectory: str, wait: bool) -> Iterator[None]:
    """Let only this process work on a trajectory; the system frees the lock of one that is killed.

    Raises:
        BusyError: another process works on it, and `wait` is False.
    """
    file = checkpoint_folder(store_folder, f"{trajectory}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(file, blocking=wait):
            yield
    except Timeout as error:
        raise BusyError from error


def is_free(store_folder: str, trajectory: str) -> bool:
    """Whether no other process works on a trajectory in this folder."""
    try:
        with exclusively(store_folder, trajectory, wait=False):
            return True
    except BusyError:
        return False


def was_used_here(store_folder: str, trajectory: str) -> bool:
    """Whether a process whose store is this folder has worked on a trajectory."""
    return checkpoint_folder(store_folder, f"{trajectory}.lock").exists()
