"""The files that Fashion-MNIST comes in, read and judged: idx.gz of the original, CSV of Kaggle."""

import csv
import gzip
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.config import CLASSES, IMAGE_SIZE, UserError, suggest

PIXELS = IMAGE_SIZE**2
COLUMNS = ("label", *(f"pixel{number}" for number in range(1, PIXELS + 1)))
Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]
_PIXEL_VALUES = {str(value): value for value in range(256)}
_WHOLE = re.compile(r"\s*[+-]?[0-9]+\s*")


def read_bytes(path: Path) -> bytes:
    """The content of a file that must be there and not empty.

    Raises:
        UserError: it is not.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; check the path, or run 'make data'") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not content:
        raise UserError(f"{path} is empty; get the file again")
    return content


# ---- idx ----------------------------------------------------------------------------------------------


def read_idx_pair(folder: Path, half: str) -> tuple[Bytes, Labels]:
    """Images (n, 28, 28, 1) and labels (n,) of one half, 'train' or 't10k'.

    Raises:
        UserError: a file is missing, damaged or malformed.
    """
    image_path, label_path = folder / f"{half}-images-idx3-ubyte.gz", folder / f"{half}-labels-idx1-ubyte.gz"
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
        raise UserError(f"{image_path} holds no images; get the file again")
    if labels.max() >= len(CLASSES):
        row = int(np.argmax(labels >= len(CLASSES)))
        raise UserError(
            f"{label_path}: label {row + 1} (counted from 1) is {labels[row]}; mend it to be between 0 and 9"
        )
    return images[..., np.newaxis], labels.astype(np.int64)


def _read_idx(path: Path, dimensions: int) -> Bytes:
    """The array in a gzip idx file of unsigned bytes."""
    try:
        content = gzip.decompress(read_bytes(path))
    except (OSError, EOFError, zlib.error) as error:
        reason = "is cut off" if isinstance(error, EOFError) else "is no intact gzip file"
        raise UserError(f"{path} {reason} ({error}); get the file again") from error
    expected = bytes((0, 0, 8, dimensions))
    if content[:4] != expected:
        kind = "images" if dimensions == 3 else "labels"
        raise UserError(
            f"{path} begins with 0x{content[:4].hex()}, but an idx file of {kind} with 0x{expected.hex()}; "
            "put the right file under this name"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise UserError(f"{path} ends within its header of {start} bytes; get the file again")
    shape = [int(size) for size in np.frombuffer(content, ">u4", dimensions, 4)]
    announced, size = math.prod(shape), len(content) - start
    if size != announced:
        sizes = " x ".join(map(str, shape))
        raise UserError(
            f"{path}: its header announces {sizes} = {announced} bytes, but {size} follow; get the file again"
        )
    return np.frombuffer(content, np.uint8, announced, start).reshape(shape)


# ---- CSV ----------------------------------------------------------------------------------------------


def read_csv(path: Path) -> tuple[Bytes, Labels]:
    """Images (n, 28, 28, 1) and labels (n,) of Kaggle's layout; empty lines are skipped.

    Raises:
        UserError: the file is missing or malformed; the line names row and column.
    """
    with _open_csv(path) as file:
        _check_header(path, file.readline())
        parts = _parse_fast(file)
    if parts is None:
        parts = _parse_slowly(path)
    if not parts:
        raise UserError(f"{path} has no rows below its header; get the file again")
    images = np.concatenate([images for images, _ in parts]).reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 1)
    return images, np.concatenate([labels for _, labels in parts])


def _open_csv(path: Path) -> Any:
    try:
        if path.stat().st_size:
            return path.open(encoding="utf-8-sig", errors="replace", newline="")
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; check the path, or use data.source=idx") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    raise UserError(f"{path} is empty; get the file again")


def _check_header(path: Path, line: str) -> None:
    names = [name.strip() for name in next(csv.reader([line]), [])]
    if len(names) != len(COLUMNS):
        raise _count_error(path, 1, len(names))
    for number, (name, wanted) in enumerate(zip(names, COLUMNS, strict=True), 1):
        if name != wanted:
            raise UserError(
                f"{path}, line 1: column {number} is {_shortened(name)} instead of '{wanted}'; "
                f"the header must be label,pixel1,...,pixel{PIXELS}"
            )


def _parse_fast(file: Any) -> list[tuple[Bytes, Labels]] | None:
    """All rows in chunks, or None if any is not plainly right: `_parse_slowly` is the one that judges."""
    import pandas as pd

    parts = []
    try:
        # Chunks, because pandas holds pixels in 8 bytes: the whole file would need 376 MB at once.
        for chunk in pd.read_csv(file, header=None, na_filter=False, low_memory=False, chunksize=10_000):
            labels, pixels = chunk.iloc[:, 0], chunk.iloc[:, 1:].to_numpy()
            if pixels.shape[1] != PIXELS or pixels.dtype != np.int64:
                return None
            if pixels.min() < 0 or pixels.max() > 255:
                return None
            encoded = np.array([_encode(str(label)) for label in labels], np.int64)
            parts.append((pixels.astype(np.uint8), encoded))
    except pd.errors.EmptyDataError:
        return []
    except (ValueError, OverflowError):  # pandas' own parser errors are ValueErrors
        return None
    return parts


def _parse_slowly(path: Path) -> list[tuple[Bytes, Labels]]:
    """Row by row: seconds slower, but it knows line and column of the first fault."""
    images, labels = [], []
    for line, row in _rows_below_header(path):
        if len(row) != len(COLUMNS):
            raise _count_error(path, line, len(row))
        try:
            labels.append(_encode(row[0]))
        except ValueError as error:
            raise UserError(f"{path}, line {line}, column label: {error}") from None
        images.append(_pixels(f"{path}, line {line}", row[1:]))
    return [(np.array(images), np.array(labels, np.int64))] if images else []


def _rows_below_header(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Cells of every row that is not empty, with its line as a text editor counts (the header is line 1)."""
    line = 1
    with _open_csv(path) as file:
        reader = csv.reader(file)
        try:
            for row in reader:
                if line > 1 and (len(row) > 1 or "".join(row).strip()):
                    yield line, row
                line = reader.line_num + 1
        except csv.Error as error:
            raise UserError(f"{path}, line {line} is not CSV ({error}); mend that line") from error


def _encode(label: str) -> int:
    """The number of a class written as number or name; ValueError tells why it is none."""
    if _WHOLE.fullmatch(label):
        if 0 <= int(label) < len(CLASSES):
            return int(label)
        raise ValueError(f"label {_shortened(label)} is out of range; write a number from 0 to 9 or a class name")
    if label.strip() in CLASSES:
        return CLASSES.index(label.strip())
    hint = suggest(label.strip(), CLASSES) or f"; write a number from 0 to 9 or one of {', '.join(CLASSES)}"
    raise ValueError(f"{_shortened(label)} is no class{hint}")


def _pixels(place: str, cells: list[str]) -> Bytes:
    try:  # a look-up is 20 times faster than judging each cell
        return np.frombuffer(bytes(map(_PIXEL_VALUES.__getitem__, cells)), np.uint8)
    except KeyError:
        for number, cell in enumerate(cells, 1):
            fault = "is out of range" if _WHOLE.fullmatch(cell) else "is not a whole number"
            if not _WHOLE.fullmatch(cell) or not 0 <= int(cell) <= 255:
                raise UserError(
                    f"{place}, column pixel{number}: {_shortened(cell)} {fault}; write a number from 0 to 255"
                ) from None
        return np.array([int(cell) for cell in cells], np.uint8)


def _count_error(path: Path, line: int, count: int) -> UserError:
    return UserError(
        f"{path}, line {line} has {count} columns, not the {len(COLUMNS)} (label,pixel1,...,pixel{PIXELS}); "
        "mend it or get the file again"
    )


def _shortened(cell: str) -> str:
    return repr(cell if len(cell) <= 30 else cell[:30] + "...")
