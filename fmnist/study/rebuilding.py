"""The packages that a run was made with, put into a folder of their own."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fmnist import provenance
from fmnist.config import RunError, UserError
from fmnist.schema import LOCK
from fmnist.tracking import StoredRun
from fmnist.words import plural, shown


def rebuild(run: StoredRun, folder: Path) -> str:
    """Make a virtual environment of the lock file of a run's record, and say how the run is trained again in it.

    Raises:
        UserError: the lock file or the Python of the record cannot be had here, or the folder is taken.
        RunError: packages cannot be installed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--environment {shown(folder)} is taken; name a folder that is empty, or not there yet")
    lock, python = _lock(run), _python(run)
    uv = Path(sys.executable).with_name("uv")
    _call([python, "-m", "venv", *(["--without-pip"] if uv.exists() else []), str(folder)])
    file, own = folder / provenance.LOCK, str(folder.resolve() / "bin" / "python")
    file.write_text(lock, "utf-8")
    pip = [str(uv), "pip", "install", "--python", own] if uv.exists() else [own, "-m", "pip", "install"]
    _call([*pip, "--quiet", "--require-hashes", "-r", str(file)])
    packages = plural(len(re.findall(r"^[\w.-]+==", lock, re.MULTILINE)), "package")
    code = f"its code: git worktree add CODE {run.commit or 'COMMIT'}"
    again = f"in there: {own} -m fmnist.reproduce {run.run_id[:8]} --store STORE"
    return "\n".join((f"{folder}: {packages} of lock file {provenance.lock_digest(lock)}", code, again))


def _lock(run: StoredRun) -> str:
    """The lock file of a record: that of its digest, or of a record without one that of its commit."""
    recorded, name, commit = str(LOCK.read(run.tags)), f"run {run.run_id[:8]}", run.commit or "which is not known"
    committed = provenance.lock_of(run.commit) if run.commit else ""
    known = [committed, provenance.lock_of()] if recorded else [committed]
    found = [text for text in known if text and recorded in ("", provenance.lock_digest(text))]
    if not found and recorded:
        raise UserError(f"{name}: its lock file ({recorded}) is neither the one here nor that of its commit ({commit})")
    if not found:
        raise UserError(f"{name} has no lock file recorded, and git has none of its commit ({commit}) here")
    return found[0]


def _python(run: StoredRun) -> str:
    """A Python of the version that a run was made with."""
    wanted, here = run.tags.get("machine.python", ""), f"{sys.version_info.major}.{sys.version_info.minor}"
    minor = ".".join(wanted.split(".")[:2]) or here
    python = sys.executable if minor == here else shutil.which(f"python{minor}")
    if python is None:
        made = f"run {run.run_id[:8]} was made with Python {shown(wanted)}"
        raise UserError(f"{made}, but there is no python{shown(minor)} on the PATH")
    return python


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise RunError(f"{command[0]} failed: {lines[-1]}")
