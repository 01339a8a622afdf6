"""Files that hold one state of a trajectory: written atomically, checked by SHA-256, read without pickle."""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.config import RunError

MAGIC = b"fmnist-checkpoint-1\n"
SUFFIX = ".ckpt"
Arrays = dict[str, NDArray[Any]]


class CheckpointError(Exception):
    """A checkpoint is damaged or of another trajectory."""


def file_name(epoch: int) -> str:
    """Of the passing checkpoint after so many epochs."""
    return f"epoch-{epoch:04d}{SUFFIX}"


def save_epoch(folder: Path, epoch: int, arrays: Arrays, meta: dict[str, Any]) -> None:
    """Save the state after `epoch` epochs; of the passing checkpoints up to there only the last two stay.

    Later ones, of a longer run that was stopped, are left to that run.
    """
    save(folder / file_name(epoch), arrays, meta)
    for _, path in newest(folder, epoch, kind="epoch")[2:]:
        path.unlink(missing_ok=True)


def keep_rung(folder: Path, epoch: int) -> None:
    """Turn the passing checkpoint of an epoch into one that stays: a run was recorded at this rung."""
    passing = folder / file_name(epoch)
    if passing.exists():
        passing.replace(rung(folder, epoch))


def rung(folder: Path, epoch: int) -> Path:
    """Where the state after so many epochs stays."""
    return folder / f"rung-{epoch:04d}{SUFFIX}"


def newest(folder: Path, at_most: int, kind: str = "*") -> list[tuple[int, Path]]:
    """Checkpoints of up to `at_most` epochs, the latest first; whether they can be read is not looked at."""
    numbered = [(path.stem.partition("-")[2], path) for path in folder.glob(f"{kind}-*{SUFFIX}")]
    epochs = [(int(number), path) for number, path in numbered if number.isdecimal() and path.is_file()]
    return sorted((entry for entry in epochs if entry[0] <= at_most), reverse=True)


def save(path: Path, arrays: Arrays, meta: dict[str, Any]) -> None:
    """Write arrays and JSON-able meta so that the path holds either all of it or what it held before.

    Raises:
        RunError: the file cannot be written, the disk is full perhaps.
    """
    buffer = io.BytesIO()
    np.savez(buffer, __meta__=np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays, allow_pickle=False)
    payload = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise RunError(f"cannot write checkpoint {path}: {error.strerror}; the last good one stays") from error
    finally:
        part.unlink(missing_ok=True)


def load(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what `save` wrote.

    Raises:
        CheckpointError: the file is not a checkpoint, is incomplete, or its checksum differs.
    """
    content = path.read_bytes()
    head, payload = content[: len(MAGIC) + 65], content[len(MAGIC) + 65 :]
    if head != MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n":
        raise CheckpointError(f"checkpoint {path} is damaged: its checksum does not match its content")
    with np.load(io.BytesIO(payload), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return arrays, json.loads(arrays.pop("__meta__").tobytes())
