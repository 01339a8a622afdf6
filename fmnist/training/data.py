"""Fashion-MNIST as arrays, from idx or CSV files: found or fetched, checked, split for training."""

import argparse
import csv
import gzip
import hashlib
import math
import os
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.config import IMAGE_SIZE, DataConfig, UserError, suggest
from fmnist.training.streams import stream

CLASSES: tuple[str, ...] = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FILES = {  # name -> SHA-256 of the original
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")
PIXELS = IMAGE_SIZE**2
COLUMNS = ("label", *(f"pixel{number}" for number in range(1, PIXELS + 1)))
Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]
_PIXEL_VALUES = {str(value): value for value in range(256)}
_WHOLE = re.compile(r"\s*[+-]?[0-9]+\s*")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Both halves of the data, read-only: images uint8 (n, 28, 28, 1) from 0 to 255, labels int64 (n,)."""

    train_images: Bytes
    train_labels: Labels
    test_images: Bytes
    test_labels: Labels
    digest: str  # 16 hex digits of the SHA-256 over the arrays: the same for the same rows in idx and CSV
    source: str  # where they were read, for people


def load(options: DataConfig) -> Dataset:
    """Read the data that `data.source` and its paths name.

    In the usual places (Keras's cache folder, the Debian package's) the four idx files must be the originals
    by their SHA-256, for there another content can only be a damaged download. In a folder given as
    `data.dir` any well-formed idx files pass, so that own data can be used.

    Raises:
        UserError: a file is missing, damaged or malformed; one line with file, place and remedy.
    """
    if options.source == "csv":
        if not options.train_csv or not options.test_csv:
            raise UserError("data.source=csv needs both data.train_csv=FILE and data.test_csv=FILE")
        paths = Path(options.train_csv).expanduser(), Path(options.test_csv).expanduser()
        return _dataset(*_read_csv(paths[0]), *_read_csv(paths[1]), f"{paths[0]}, {paths[1]}")
    folder = Path(options.dir).expanduser() if options.dir else find()
    if folder is None:
        places = " or ".join(map(str, _folders()))
        raise UserError(f"no Fashion-MNIST in {places}; run 'make data', or give data.dir=FOLDER")
    damaged = [] if options.dir else _damaged(folder)
    if damaged:
        raise UserError(
            f"{folder / damaged[0]} is not the original file (its SHA-256 differs), likely cut short; "
            "run 'make data' to fetch it anew, or use own files with data.dir=FOLDER"
        )
    train, test = (_read_pair(folder, half) for half in ("train", "t10k"))
    return _dataset(*train, *test, str(folder))


def split(labels: Labels, *, seed: int, validation: float, limit: int | None) -> tuple[Labels, Labels]:
    """Row numbers, int64, of the training part and of the validation part, both stratified by label.

    Together they are `limit` rows drawn by the seed, or all rows; round(rows * validation) of them validate.

    Raises:
        UserError: `limit` exceeds the data, or there are too few rows to stratify.
    """
    from sklearn.model_selection import train_test_split

    rows = len(labels)
    if limit is not None and limit > rows:
        raise UserError(f"data.limit must be at most the {rows} training rows there are, but got {limit}")
    total = rows if limit is None else limit
    held_out = round(total * validation)
    names, counts = np.unique(labels, return_counts=True)
    if min(held_out, total - held_out) < len(names):
        raise UserError(
            f"{total} rows with data.validation={validation} give {total - held_out} for training and "
            f"{held_out} for validation, but each needs at least one for each of {len(names)} classes; "
            "use more rows"
        )
    if counts.min() < 2:
        raise UserError(
            f"class '{CLASSES[names[counts.argmin()]]}' has 1 row, but at least 2 are needed to split it; "
            "add rows of that class or leave it out"
        )
    state = int(stream(seed, "split").integers(2**31))
    training, validating = train_test_split(
        np.arange(rows), train_size=total - held_out, test_size=held_out, stratify=labels, random_state=state
    )
    return np.asarray(training, np.int64), np.asarray(validating, np.int64)


def _dataset(train: Bytes, train_labels: Labels, test: Bytes, test_labels: Labels, source: str) -> Dataset:
    digest = hashlib.sha256()
    for array in (train, train_labels, test, test_labels):
        array.setflags(write=False)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return Dataset(train, train_labels, test, test_labels, digest.hexdigest()[:16], source)


def _read_bytes(path: Path) -> bytes:
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


def _read_pair(folder: Path, half: str) -> tuple[Bytes, Labels]:
    """Images (n, 28, 28, 1) and labels (n,) of one half, 'train' or 't10k'."""
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
        content = gzip.decompress(_read_bytes(path))
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
    wanted, there = math.prod(shape), len(content) - start
    if there != wanted:
        sizes = " x ".join(map(str, shape))
        raise UserError(
            f"{path}: its header announces {sizes} = {wanted} bytes, but {there} follow; get the file again"
        )
    return np.frombuffer(content, np.uint8, wanted, start).reshape(shape)


# ---- CSV ----------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> tuple[Bytes, Labels]:
    """Images (n, 28, 28, 1) and labels (n,) of Kaggle's layout; empty lines are skipped."""
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
                f"{path}, line 1: column {number} is {_shown(name)} instead of '{wanted}'; "
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
        raise ValueError(f"label {_shown(label)} is out of range; write a number from 0 to 9 or a class name")
    if label.strip() in CLASSES:
        return CLASSES.index(label.strip())
    hint = suggest(label.strip(), CLASSES) or f"; write a number from 0 to 9 or one of {', '.join(CLASSES)}"
    raise ValueError(f"{_shown(label)} is no class{hint}")


def _pixels(place: str, cells: list[str]) -> Bytes:
    try:  # a look-up is 20 times faster than judging each cell
        return np.frombuffer(bytes(map(_PIXEL_VALUES.__getitem__, cells)), np.uint8)
    except KeyError:
        for number, cell in enumerate(cells, 1):
            fault = "is out of range" if _WHOLE.fullmatch(cell) else "is not a whole number"
            if not _WHOLE.fullmatch(cell) or not 0 <= int(cell) <= 255:
                raise UserError(
                    f"{place}, column pixel{number}: {_shown(cell)} {fault}; write a number from 0 to 255"
                ) from None
        return np.array([int(cell) for cell in cells], np.uint8)


def _count_error(path: Path, line: int, count: int) -> UserError:
    return UserError(
        f"{path}, line {line} has {count} columns, not the {len(COLUMNS)} (label,pixel1,...,pixel{PIXELS}); "
        "mend it or get the file again"
    )


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 30 else cell[:30] + "...")


# ---- Finding and fetching -----------------------------------------------------------------------------


class _UnavailableError(Exception):
    """This way of fetching does not work here; says why."""


def _folders() -> list[Path]:
    """The usual places; the first, Keras's cache folder, is where a download goes."""
    home = Path.home() if os.access(Path.home(), os.W_OK) else Path("/tmp")  # as Keras itself decides
    keras_home = Path(os.environ.get("KERAS_HOME") or home / ".keras").expanduser()
    return [keras_home / "datasets" / "fashion-mnist", PACKAGE_FOLDER]


def find() -> Path | None:
    """The first of the usual places that holds all four idx files, or None."""
    return next((folder for folder in _folders() if all((folder / name).is_file() for name in FILES)), None)


def _damaged(folder: Path) -> list[str]:
    """Which of the four files are not the originals."""
    return [n for n, known in FILES.items() if hashlib.sha256(_read_bytes(folder / n)).hexdigest() != known]


def fetch() -> Path:
    """The folder of the four idx files: where they are already, else Keras's cache folder after a download.

    Tries Keras's downloader, then the Debian package (unpacked, not installed: no root needed). Every attempt
    ends after some minutes at most, and files appear under their names only whole and checked.

    Raises:
        UserError: no way led to the files; the line says what to put where.
    """
    folder = find()
    if folder and not _damaged(folder):
        return folder
    target, reasons = _folders()[0], []
    for name, way in WAYS.items():
        print(f"fetching Fashion-MNIST with {name} ...", file=sys.stderr, flush=True)
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target) as scratch:
                way(Path(scratch))
                _move_originals(Path(scratch), target)
            return target
        except (_UnavailableError, OSError) as error:
            print(f"  {error}", file=sys.stderr, flush=True)
            reasons.append(f"{name}: {error}")
    raise UserError(
        f"Fashion-MNIST cannot be fetched ({'; '.join(reasons)}); put {', '.join(FILES)} into {target}, "
        "or into a folder that data.dir=FOLDER names"
    )


def _move_originals(scratch: Path, target: Path) -> None:
    found = {path.name: path for path in scratch.rglob("*.gz") if path.name in FILES}
    for name, known in FILES.items():
        if name not in found:
            raise _UnavailableError(f"the download lacks {name}")
        if hashlib.sha256(found[name].read_bytes()).hexdigest() != known:
            raise _UnavailableError(f"the downloaded {name} is not the original file (its SHA-256 differs)")
    for name, path in found.items():
        path.replace(target / name)


def _from_keras(scratch: Path) -> None:
    # Another process, because only that can be stopped when a server sends a byte a minute.
    code = "import keras, socket; socket.setdefaulttimeout(20); keras.datasets.fashion_mnist.load_data()"
    level = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3")
    _call([sys.executable, "-c", code], scratch, KERAS_HOME=str(scratch), TF_CPP_MIN_LOG_LEVEL=level)


def _from_package(scratch: Path) -> None:
    download = ["apt-get", "-o", "Acquire::http::Timeout=20", "download", PACKAGE]
    try:
        _call(download, scratch)
    except _UnavailableError:
        if os.geteuid() != 0:
            raise
        _call(["apt-get", "-o", "Acquire::http::Timeout=20", "update"], scratch)  # the lists may be stale
        _call(download, scratch)
    for package in scratch.glob("*.deb"):
        _call(["dpkg", "-x", package.name, "unpacked"], scratch)


WAYS: dict[str, Callable[[Path], None]] = {  # each leaves the four files somewhere in the folder it is given
    "Keras's downloader": _from_keras,
    f"the Debian package {PACKAGE}": _from_package,
}


def _call(command: list[str], folder: Path, timeout: float = 300, **settings: str) -> None:
    """Run a command quietly in `folder`, with `settings` in its environment."""
    environment = {**os.environ, "LC_ALL": "C", **settings}
    # The output goes to a file, because a pipe held open by a grandchild would outlast the timeout.
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                command, cwd=folder, env=environment, timeout=timeout, check=False,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            ).returncode  # fmt: skip
        except FileNotFoundError:
            raise _UnavailableError(f"there is no {command[0]} here") from None
        except subprocess.TimeoutExpired:
            raise _UnavailableError(f"{command[0]} had not ended after {timeout:.0f} s") from None
        output.seek(0)
        lines = [line.strip() for line in output.read().decode(errors="replace").splitlines() if line.strip()]
    if code:
        raise _UnavailableError(f"{lines[-1][:200] if lines else f'{command[0]} ended with {code}'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Find or fetch the data, check it and say where it is; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m fmnist.training.data", description=main.__doc__)
    parser.add_argument("--source", choices=("idx", "csv"), default="idx", help="default: idx")
    parser.add_argument("--dir", help="folder of the idx.gz files (default: found or fetched)")
    parser.add_argument("--train-csv", help="for csv: Kaggle's fashion-mnist_train.csv")
    parser.add_argument("--test-csv", help="for csv: Kaggle's fashion-mnist_test.csv")
    args = parser.parse_args(argv)
    try:
        if args.source == "idx" and not args.dir:
            fetch()
        data = load(DataConfig(args.source, args.dir, args.train_csv, args.test_csv))
    except UserError as error:
        print(f"fmnist.training.data: {error}", file=sys.stderr)
        return 2
    print(f"{data.source}: {len(data.train_labels):,} training and {len(data.test_labels):,} test images, "
          f"digest {data.digest}")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
