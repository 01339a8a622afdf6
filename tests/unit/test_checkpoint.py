"""Files of a trajectory's states: whole or not there, checked, without pickle."""

import hashlib
import io
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fmnist.config import RunError
from fmnist.training import checkpoint
from fmnist.training.checkpoint import CheckpointError

ARRAYS = {
    "model/conv1/kernel": np.random.default_rng(0).normal(size=(3, 3, 1, 2)).astype(np.float32),
    "optimizer/00": np.array(7, np.int64),
    "optimizer/01": np.array([], np.float32),
}
META = {"trajectory": "0123abcd", "epoch": 3, "history": [{"val/loss": 0.1 + 0.2}], "text": "ä · 字"}


@contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """Makes the system refuse to let any file grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_arrays_and_meta_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.ckpt"
    checkpoint.save(path, ARRAYS, META)
    arrays, meta = checkpoint.load(path)
    assert meta == META and list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()
    assert names(path.parent) == ["a.ckpt"]


def test_a_write_cut_off_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, ARRAYS, META)
    before = path.read_bytes()
    with disk_full_after(len(before) // 2), pytest.raises(RunError, match="File too large; the last good one stays"):
        checkpoint.save(path, {name: array + 1 for name, array in ARRAYS.items()}, META)
    assert path.read_bytes() == before and names(tmp_path) == ["a.ckpt"]


def test_a_first_write_cut_off_half_way_leaves_nothing(tmp_path: Path) -> None:
    with disk_full_after(100), pytest.raises(RunError, match="File too large; the last good one stays"):
        checkpoint.save(tmp_path / "a.ckpt", ARRAYS, META)
    assert names(tmp_path) == []


def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, ARRAYS, META)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="is damaged"):
            checkpoint.load(path)


def test_a_file_that_is_too_short_or_too_long_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, ARRAYS, META)
    whole = path.read_bytes()
    for content in (*(whole[:length] for length in range(len(whole))), whole + b"\0"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{path} is damaged"):
            checkpoint.load(path)


def test_another_kind_of_file_is_refused_even_with_a_right_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, ARRAYS, META)
    path.write_bytes(path.read_bytes().replace(checkpoint.MAGIC, b"fmnist-checkpoint-2\n"))
    with pytest.raises(CheckpointError):
        checkpoint.load(path)
    np.savez(tmp_path / "b.npz", **ARRAYS)
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "b.npz")


class Trap:
    """Notes when it is unpickled."""

    sprung = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (Trap, "sprung", True)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path, buffer = tmp_path / "a.ckpt", io.BytesIO()
    np.savez(buffer, __meta__=np.frombuffer(b"{}", np.uint8), trap=np.array([Trap()]))
    payload = buffer.getvalue()
    path.write_bytes(checkpoint.MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        checkpoint.load(path)
    assert not Trap.sprung


def test_the_newest_comes_first_up_to_the_epoch_asked_for(tmp_path: Path) -> None:
    for name in ("rung-0003", "epoch-0009", "epoch-0010", "rung-0010", "epoch-10001"):
        (tmp_path / f"{name}.ckpt").touch()
    for name in (".lock", ".epoch-0004.ckpt.123", "notes.txt"):
        (tmp_path / name).touch()
    found = [(epoch, path.stem) for epoch, path in checkpoint.newest(tmp_path, 10)]
    assert found == [(10, "rung-0010"), (10, "epoch-0010"), (9, "epoch-0009"), (3, "rung-0003")]
    assert checkpoint.newest(tmp_path, 99_999)[0][0] == 10_001
    assert checkpoint.newest(tmp_path, 2) == [] and checkpoint.newest(tmp_path / "none", 2) == []


def test_a_rung_stays_while_passing_checkpoints_are_reduced_to_two(tmp_path: Path) -> None:
    for epoch in range(1, 7):
        checkpoint.save_epoch(tmp_path, epoch, ARRAYS, META)
        if epoch == 3:
            checkpoint.keep_rung(tmp_path, epoch)
    assert names(tmp_path) == ["epoch-0005.ckpt", "epoch-0006.ckpt", "rung-0003.ckpt"]
    assert checkpoint.load(tmp_path / "rung-0003.ckpt")[1] == META
    checkpoint.keep_rung(tmp_path, 4)  # gone already
    assert "rung-0004.ckpt" not in names(tmp_path)


def test_a_rung_can_be_recorded_below_checkpoints_of_a_longer_run_that_was_stopped(tmp_path: Path) -> None:
    for epoch in (7, 8, 1, 2, 3):
        checkpoint.save_epoch(tmp_path, epoch, ARRAYS, META)
    checkpoint.keep_rung(tmp_path, 3)
    assert names(tmp_path) == ["epoch-0002.ckpt", "epoch-0007.ckpt", "epoch-0008.ckpt", "rung-0003.ckpt"]


def test_the_last_two_are_the_last_two_beyond_epoch_9999(tmp_path: Path) -> None:
    for epoch in (9_998, 9_999, 10_000):
        checkpoint.save_epoch(tmp_path, epoch, ARRAYS, META)
    assert names(tmp_path) == ["epoch-10000.ckpt", "epoch-9999.ckpt"]
