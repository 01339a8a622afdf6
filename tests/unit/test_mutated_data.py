"""Files of images with a few random faults: read as what they still are, or refused in one line.

`python -m pytest -m slow tests/unit/test_mutated_data.py` tries ten times as many.
"""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from idx import pack, synthetic

from fmnist.config import UserError
from fmnist.training import readers

Change = Callable[[np.random.Generator, bytes], bytes]
(IMAGES, LABELS), _ = synthetic(12, 10)
NAMES = {"images": "train-images-idx3-ubyte", "labels": "train-labels-idx1-ubyte"}
IDX = {"images": pack(IMAGES[..., 0]), "labels": pack(LABELS.astype(np.uint8))}
ROWS = np.column_stack([LABELS, IMAGES.reshape(len(IMAGES), -1)]).tolist()
CSV = "\n".join([",".join(readers.COLUMNS), *(",".join(map(str, row)) for row in ROWS), ""]).encode()
BITS = (b"", b"\0", b'"', b"\n", b"\r", b",", b";", b"\t", b"-1", b"256", b"5.0", b"1e3", b"nan", b"9" * 30, b" ",
        b"\xff\xfe", b"\xef\xbb\xbf", b"Shirt", b"\x1f\x8b", "−٣".encode(), b"x" * 60_000)  # fmt: skip


def place(chance: np.random.Generator, content: bytes) -> int:
    """A place in it, as often near its beginning as anywhere."""
    return int(chance.integers(min(len(content), 40) if chance.random() < 0.5 else len(content)))


def flipped(chance: np.random.Generator, content: bytes) -> bytes:
    at = place(chance, content)
    return content[:at] + bytes([content[at] ^ (1 << chance.integers(8))]) + content[at + 1 :]


def replaced(chance: np.random.Generator, content: bytes) -> bytes:
    at = place(chance, content)
    return content[:at] + BITS[chance.integers(len(BITS))] + content[at + chance.integers(4) :]


def cut(chance: np.random.Generator, content: bytes) -> bytes:
    return content[: place(chance, content)]


def moved(chance: np.random.Generator, content: bytes) -> bytes:
    first, second, third = sorted(place(chance, content) for _ in range(3))
    return content[:first] + content[second:third] + content[first:second] + content[third:]


def doubled(chance: np.random.Generator, content: bytes) -> bytes:
    first, second = sorted(place(chance, content) for _ in range(2))
    return content[:second] + content[first:]


def announcing(chance: np.random.Generator, content: bytes) -> bytes:
    sizes = chance.choice([0, 1, 12, 28, 2**16, 2**31, 2**32 - 1], 3).astype(">u4").tobytes()
    end = 8 if content[3:4] == b"\1" else 16
    return content[:4] + sizes[: end - 4] + content[end:]


def separated(chance: np.random.Generator, content: bytes) -> bytes:
    return content.replace(b",", (b";", b"\t", b" ", b", ", b",,")[chance.integers(5)])


def encoded(chance: np.random.Generator, content: bytes) -> bytes:
    return content.decode("latin-1").encode(("utf-16", "utf-16-le", "utf-32", "utf-8-sig")[chance.integers(4)])


def swapped(chance: np.random.Generator, content: bytes) -> bytes:
    lines = [line.split(b",") for line in content.split(b"\n")]
    line = lines[chance.integers(len(lines))]
    one, other = chance.integers(len(line), size=2)
    line[one], line[other] = line[other], line[one]
    return b"\n".join(map(b",".join, lines))


ANY: list[Change] = [flipped, replaced, cut, moved, doubled]


def mutated(chance: np.random.Generator, content: bytes, changes: list[Change]) -> bytes:
    """One to three changes, before the file is packed or after it."""
    for _ in range(chance.integers(1, 4)):
        content = changes[chance.integers(len(changes))](chance, content) if content else content
    if chance.random() < 0.5:
        content = gzip.compress(content, 1, mtime=0)
        if chance.random() < 0.3:
            content = ANY[chance.integers(len(ANY))](chance, content)
    return content


def read_one(folder: Path, seed: int) -> tuple[readers.Bytes, readers.Labels]:
    """Make and read the files of a seed."""
    chance = np.random.default_rng(seed)
    if seed % 2:
        (folder / "rows.csv").write_bytes(mutated(chance, CSV, [*ANY, separated, encoded, swapped]))
        return readers.read_csv(folder / "rows.csv")
    victim = ("images", "labels")[chance.integers(2)]
    for kind, name in NAMES.items():
        (folder / name).write_bytes(mutated(chance, IDX[kind], [*ANY, announcing]) if kind == victim else IDX[kind])
    if chance.random() < 0.1:
        (folder / NAMES["images"]).rename(folder / NAMES["labels"])
    return readers.read_idx_pair(folder, "train")


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_a_mutated_file_is_read_or_refused_in_one_line(tmp_path: Path, count: int) -> None:
    refusals, read = set(), 0
    tracemalloc.start()
    for seed in range(count):
        try:
            images, labels = read_one(tmp_path, seed)
        except UserError as error:
            text = str(error)
            assert "\n" not in text and str(tmp_path) in text and len(text) < 500 + 2 * len(str(tmp_path)), seed
            refusals.add(text[len(str(tmp_path)) + 20 :][:40])
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        else:
            read += 1
            assert images.shape == (len(labels), 28, 28, 1) and images.dtype == np.uint8, seed
            assert len(labels) and labels.dtype == np.int64 and labels.min() >= 0 and labels.max() <= 9, seed
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 300_000_000 and len(refusals) > 10 and read > count / 20
