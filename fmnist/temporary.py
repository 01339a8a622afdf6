"""A temporary folder for each process of a command, so that nothing outlives it: what one that was killed left in its
folder, TensorFlow's and joblib's files among it, the next command clears.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache  # of a process
def claim() -> None:
    """Have this process, and all that it starts, keep temporary files in a folder of its own within the usual one."""
    with suppress(OSError):  # then in the usual one
        base = Path(tempfile.gettempdir())
        _clear(base)
        folder = base / f"fmnist-{os.getpid()}-{os.urandom(4).hex()}"
        _locked(_lock_of(folder), os.O_CREAT)  # until the process ends, however it does
        folder.mkdir(mode=0o700)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        os.environ["JOBLIB_TEMP_FOLDER"] = str(folder)  # else it would leave empty folders in shared memory
        atexit.register(_remove, folder)


def _lock_of(folder: Path) -> Path:
    """The file beside a folder that its process locks as long as it lives."""
    return folder.with_name(f"{folder.name}.lock")


def _locked(file: Path, flags: int = 0) -> int:
    """Lock a file and return its descriptor.

    Raises:
        OSError: it cannot be, because a living process has it perhaps.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _lock_of(folder).unlink(missing_ok=True)


def _clear(base: Path) -> None:
    """Remove the folders of this user's processes that have died, and so have those that they had started."""
    for file in base.glob("fmnist-*.lock"):
        folder, locks = file.with_suffix(""), list[int]()
        try:
            if file.stat().st_uid == os.getuid():
                locks += map(_locked, (file, *folder.rglob("fmnist-*.lock")))
                _remove(folder)
                _remove_semaphores(int(folder.name.split("-")[1]))
        except (OSError, ValueError):
            continue
        finally:
            for lock in locks:
                os.close(lock)


def _remove_semaphores(pid: int) -> None:
    """Remove joblib's semaphores of a process that has died; its number may be another's by now."""
    if not Path(f"/proc/{pid}").exists():
        for semaphore in Path("/dev/shm").glob(f"sem.loky-{pid}-*"):
            semaphore.unlink()
