"""The files that Fashion-MNIST comes in, read and judged: idx of the original, CSV of Kaggle, packed by gzip or not.

Nothing is taken for granted: how much is read is bounded by what a header announces, a line by what a row can need.
"""

import csv
import gzip
import hashlib
import io
import itertools
import math
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmnist.advice import command_for
from fmnist.config import CLASSES, IMAGE_SIZE, UserError, suggest

PIXELS = IMAGE_SIZE**2
COLUMNS = ("label", *(f"pixel{number}" for number in range(1, PIXELS + 1)))
MOST_IMAGES = 300_000  # of one half, a quarter of a gigabyte; Fashion-MNIST has 60,000
LONGEST_LINE = 50_000  # characters of CSV; a header has 7,000
MOST_BLANK = 1_000_000  # characters of empty lines
CHUNK_ROWS = 1_000  # which are parsed at once
GZIP = b"\x1f\x8b"
_FOREIGN = {b"PK": "a zip archive; unpack it", b"BZ": "packed by bzip2; unpack it", b"\xfd7": "packed by xz; unpack it",
            b"<!": "a web page; get the file again", b"<h": "a web page; get the file again"}  # fmt: skip
Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]
_PIXEL_VALUES = {f"{value}{end}": value for value in range(256) for end in ("", ".0")}
_PLAIN = re.compile(r"[0-9,;\t +-]*")
_WHOLE = re.compile(r"\s*[+-]?[0-9]+(\.0*)?\s*")


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """The content of a file, unpacked where it is packed.

    Raises:
        UserError: it is missing, empty, no regular file, cannot be read, or is damaged as far as the block reads it.
    """
    if "\0" in str(path):
        raise UserError(f"{str(path)!r} is no name of a file; give one without a NUL byte")
    try:
        with open(path, "rb", opener=_open_regular) as file:  # Path.open takes no opener
            start = file.read(2)
            if not start:
                raise _broken(f"{path} is empty")
            if start in _FOREIGN:
                raise UserError(f"{path} is {_FOREIGN[start]}")
            file.seek(0)
            yield io.BufferedReader(gzip.GzipFile(fileobj=file)) if start == GZIP else file
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; check the path, or run '{command_for('data')}'") from None
    except EOFError as error:
        raise _broken(f"{path} is cut off ({error})") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _broken(f"{path} is no intact gzip file ({error})") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _broken(fault: str) -> UserError:
    return UserError(f"{fault}; get the file again")


def _open_regular(path: str, flags: int) -> int:
    """Open a file, but not what may never end, such as a pipe or a device."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # the opening of a pipe would wait for a writer
    kind = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # of a folder Python's own error is clear
        os.close(descriptor)
        raise OSError(0, "it is no regular file")
    return descriptor


def sha256(path: Path) -> str:
    """The digest of a file as it stands on the disk, which must be there and not empty.

    Raises:
        UserError: it is not.
    """
    with _opened(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- idx ----------------------------------------------------------------------------------------------


def read_idx_pair(folder: Path, half: str) -> tuple[Bytes, Labels]:
    """Images (n, 28, 28, 1) and labels (n,) of one half, 'train' or 't10k', from idx.gz files or unpacked ones.

    Raises:
        UserError: a file is missing, damaged or malformed.
    """
    image_path, label_path = (_idx_path(folder, f"{half}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    images, labels = _read_idx(image_path, 3), _read_idx(label_path, 1)
    if images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        size = "x".join(map(str, images.shape[1:]))
        raise UserError(f"{image_path} holds images of {size} pixels; they must be {IMAGE_SIZE}x{IMAGE_SIZE}")
    if len(images) != len(labels):
        raise UserError(
            f"{image_path} holds {len(images)} images, but {label_path} {len(labels)} labels; "
            "they must come from the same set"
        )
    if not len(images):
        raise _broken(f"{image_path} holds no images")
    if labels.max() >= len(CLASSES):
        row = int(np.argmax(labels >= len(CLASSES)))
        place = f"{label_path}: label {row + 1} (counted from 1)"
        raise UserError(f"{place} is {labels[row]}; mend it to be between 0 and 9")
    return images[..., np.newaxis], labels.astype(np.int64)


def _idx_path(folder: Path, name: str) -> Path:
    """The packed file, or the unpacked one where there is only that."""
    packed, unpacked = folder / f"{name}.gz", folder / name
    return unpacked if os.path.lexists(unpacked) and not os.path.lexists(packed) else packed  # it raises nothing


def _read_idx(path: Path, dimensions: int) -> Bytes:
    """The array in an idx file of unsigned bytes."""
    with _opened(path) as file:
        shape = _idx_shape(path, file.read(4 + 4 * dimensions), dimensions)
        announced = math.prod(shape)
        head = f"{path}: its header announces {' x '.join(map(str, shape))} = {announced} bytes"
        if announced > MOST_IMAGES * (PIXELS if dimensions == 3 else 1):
            raise _broken(f"{head}, more than {MOST_IMAGES} images have")
        content = np.empty(announced, np.uint8)
        size = file.readinto(content.data) if announced else 0
        while 0 < size < announced and (more := file.readinto(content.data[size:])):
            size += more
        if size < announced or file.read(1):
            raise _broken(f"{head}, but {size if size < announced else 'more'} follow")
    return content.reshape(shape)


def _idx_shape(path: Path, header: bytes, dimensions: int) -> list[int]:
    expected = bytes((0, 0, 8, dimensions))
    if header[:4] != expected:
        kind = "images" if dimensions == 3 else "labels"
        if path.suffix == ".gz" and header[:4] and not header.startswith(b"\0\0"):
            raise _broken(f"{path} is no intact gzip file (it begins with 0x{header[:4].hex()})")
        raise UserError(
            f"{path} begins with 0x{header[:4].hex()}, but an idx file of {kind} with 0x{expected.hex()}; "
            "put the right file under this name"
        )
    if len(header) < 4 + 4 * dimensions:
        raise _broken(f"{path} ends within its header of {4 + 4 * dimensions} bytes")
    return [int(size) for size in np.frombuffer(header, ">u4", dimensions, 4)]


# ---- CSV ----------------------------------------------------------------------------------------------


class _Layout(NamedTuple):
    """How the rows of a CSV file are written."""

    separator: str  # one of , ; and tab
    has_index: bool  # a column without meaning comes before the label, as pandas writes it


Rows = list[tuple[int, str]]  # line as a text editor counts (the header is line 1), and its text


def read_csv(path: Path) -> tuple[Bytes, Labels]:
    """Images (n, 28, 28, 1) and labels (n,) of Kaggle's layout; empty lines are skipped.

    The separator may be a comma, a semicolon or a tab, whole numbers may be written as 5.0, and an index column before
    the label is left out.

    Raises:
        UserError: the file is missing or malformed; the line names row and column.
    """
    images, labels = list[Bytes](), list[Labels]()
    with _opened(path) as file, io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline="") as text:
        lines = _lines(path, text)
        layout = _layout(path, next(lines, (1, ""))[1])
        while chunk := list(itertools.islice(lines, CHUNK_ROWS)):
            parsed = _parse(chunk, layout) or _parse_carefully(path, chunk, layout)
            images.append(parsed[0])
            labels.append(parsed[1])
            if sum(map(len, images)) > MOST_IMAGES:
                raise _broken(f"{path} has more than {MOST_IMAGES} rows")
    if not images:
        raise _broken(f"{path} has no rows below its header")
    return np.concatenate(images).reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 1), np.concatenate(labels)


def _lines(path: Path, file: IO[str]) -> Iterator[tuple[int, str]]:
    """The header, and each line below it in which something stands."""
    blank = 0
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), ""), 1):
        if len(line) == LONGEST_LINE:
            fault = f"has more than {LONGEST_LINE} characters, more than any row needs"
            raise UserError(f"{path}, line {number} {fault}; mend it or get the file again")
        if "\0" in line:
            raise UserError(f"{path}, line {number} has NUL bytes, as text in UTF-16 has; save it as UTF-8")
        if line.strip() or number == 1:
            yield number, line.rstrip("\r\n")
        elif (blank := blank + len(line)) > MOST_BLANK:
            raise _broken(f"{path} has more than {MOST_BLANK} blanks and empty lines")


def _layout(path: Path, header: str) -> _Layout:
    separator = max(",;\t", key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
    has_index = len(names) == len(COLUMNS) + 1 and names[1] == COLUMNS[0]
    names = names[has_index:]
    if len(names) != len(COLUMNS):
        raise _count_error(path, 1, len(names))
    for number, (name, wanted) in enumerate(zip(names, COLUMNS, strict=True), 1 + has_index):
        if name != wanted:
            raise UserError(
                f"{path}, line 1: column {number} is {_shortened(name)} instead of '{wanted}'; "
                f"the header must be label,pixel1,...,pixel{PIXELS}"
            )
    return _Layout(separator, has_index)


def _parse(rows: Rows, layout: _Layout) -> tuple[Bytes, Labels] | None:
    """All rows at once, or None if any is not plainly right: `_parse_carefully` is the one that judges."""
    lines = [line for _, line in rows]
    if not all(map(_PLAIN.fullmatch, lines)):  # numpy's own idea of a whole number depends on its version
        return None
    try:
        table = np.loadtxt(lines, np.int64, comments=None, delimiter=layout.separator, ndmin=2)[:, layout.has_index :]
    except (ValueError, OverflowError):
        return None
    if table.shape[1] != len(COLUMNS) or table.min() < 0 or table.max() > 255 or table[:, 0].max() >= len(CLASSES):
        return None
    return table[:, 1:].astype(np.uint8), table[:, 0].copy()  # a view would keep the table


def _parse_carefully(path: Path, rows: Rows, layout: _Layout) -> tuple[Bytes, Labels]:
    """Row by row: slower, but it knows line and column of the first fault."""
    images, labels = [], []
    for line, text in rows:
        cells = next(csv.reader([text], delimiter=layout.separator))[layout.has_index :]
        if len(cells) != len(COLUMNS):
            raise _count_error(path, line, len(cells))
        try:
            labels.append(_encode(cells[0]))
        except ValueError as error:
            raise UserError(f"{path}, line {line}, column label: {error}") from None
        images.append(_pixels(f"{path}, line {line}", cells[1:]))
    return np.array(images), np.array(labels, np.int64)


def _whole(text: str) -> int | None:
    """A whole number, written as 5 or 5.0; None for anything else, -1 for one of more digits than any is read."""
    if not _WHOLE.fullmatch(text):
        return None
    digits = text.strip().partition(".")[0]
    return int(digits) if len(digits) < 20 else -1


def _encode(label: str) -> int:
    """The number of a class written as number or name; ValueError tells why it is none."""
    number = _whole(label)
    if number is not None:
        if 0 <= number < len(CLASSES):
            return number
        raise ValueError(f"label {_shortened(label)} is out of range; write a number from 0 to 9 or a class name")
    if label.strip() in CLASSES:
        return CLASSES.index(label.strip())
    hint = suggest(label.strip()[:30], CLASSES) or f"; write a number from 0 to 9 or one of {', '.join(CLASSES)}"
    raise ValueError(f"{_shortened(label)} is no class{hint}")


def _pixels(place: str, cells: list[str]) -> Bytes:
    try:  # a look-up is 20 times faster than judging each cell
        return np.frombuffer(bytes(map(_PIXEL_VALUES.__getitem__, cells)), np.uint8)
    except KeyError:
        numbers = [_whole(cell) for cell in cells]
        for column, (cell, number) in enumerate(zip(cells, numbers, strict=True), 1):
            if number is None or not 0 <= number <= 255:
                fault = f"{_shortened(cell)} is {'not a whole number' if number is None else 'out of range'}"
                raise UserError(f"{place}, column pixel{column}: {fault}; write a number from 0 to 255") from None
        return np.array(numbers, np.uint8)


def _count_error(path: Path, line: int, count: int) -> UserError:
    fault = f"has {count} columns, not the {len(COLUMNS)} (label,pixel1,...,pixel{PIXELS})"
    return UserError(f"{path}, line {line} {fault}; mend it or get the file again")


def _shortened(cell: str) -> str:
    return repr(cell if len(cell) <= 30 else cell[:30] + "...")
