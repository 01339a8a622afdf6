"""Fashion-MNIST as arrays, checked and split for training."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from fmnist.advice import command_for
from fmnist.config import CLASSES, Config, DataConfig, UserError, place, validation_rows
from fmnist.training.fetch import damaged, find, folders
from fmnist.training.readers import Bytes, Labels, read_csv, read_idx_pair
from fmnist.training.streams import stream
from fmnist.words import plural

Half = Callable[[], tuple[Bytes, Labels]]


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
    source, train, test = _halves(options)
    return _dataset(*train(), *test(), source)


def load_test(options: DataConfig) -> tuple[Bytes, Labels]:
    """The test half alone, images and labels: a sixth of the time.

    Raises:
        UserError: as `load`.
    """
    return _halves(options)[2]()


def _halves(options: DataConfig) -> tuple[str, Half, Half]:
    """Where the data is, and what reads each half."""
    if options.source == "csv":
        if not options.train_csv or not options.test_csv:
            raise UserError("data.source=csv needs both data.train_csv=FILE and data.test_csv=FILE")
        train_csv, test_csv = place("data.train_csv", options.train_csv), place("data.test_csv", options.test_csv)
        return f"{train_csv}, {test_csv}", partial(read_csv, train_csv), partial(read_csv, test_csv)
    folder = place("data.dir", options.dir) if options.dir else find()
    if folder is None:
        places = " or ".join(map(str, folders()))
        raise UserError(f"no Fashion-MNIST in {places}; run '{command_for('data')}', or give data.dir=FOLDER")
    altered = [] if options.dir else damaged(folder)
    if altered:
        raise UserError(
            f"{folder / altered[0]} is not the original file (its SHA-256 differs), likely cut short; "
            f"run '{command_for('data')}' to fetch it anew, or use own files with data.dir=FOLDER"
        )
    return str(folder), partial(read_idx_pair, folder, "train"), partial(read_idx_pair, folder, "t10k")


def part_sizes(rows: int, options: DataConfig) -> tuple[int, int]:
    """How many of so many rows train and how many validate."""
    training, share = _shares(rows, options)
    return training, max(share, min(validation_rows(options) or 0, rows - training))


def _shares(rows: int, options: DataConfig) -> tuple[int, int]:
    """How `validation` divides the rows that `limit` leaves, whatever else validates."""
    total = rows if options.limit is None else options.limit
    share = round(total * options.validation)
    return total - share, share


def split(labels: Labels, *, seed: int, options: DataConfig) -> tuple[Labels, Labels]:
    """Row numbers, int64, of the training part and of the validation part, both stratified by label.

    They are `limit` rows drawn by the seed, or all rows; `validation_rows` adds others to those that validate, and
    changes none that train.

    Raises:
        UserError: `limit` exceeds the data, or there are too few rows to stratify.
    """
    _check_split(labels, options)
    train_size, test_size = _shares(len(labels), options)
    training, validating = _drawn(labels, (train_size, test_size), int(stream(seed, "split").integers(2**31)))
    _, count = part_sizes(len(labels), options)
    if count > test_size:
        left_out = np.setdiff1d(np.arange(len(labels)), np.concatenate([training, validating]))
        further = _stratified(stream(seed, "validation-rows").permutation(left_out), labels)
        validating = np.concatenate([validating, further[: count - test_size]])
    return np.asarray(training, np.int64), np.asarray(validating, np.int64)


def _drawn(labels: Labels, sizes: tuple[int, int], seed: int) -> tuple[Labels, Labels]:
    """Rows of two parts of these sizes, each stratified by label: those of sklearn's `train_test_split`.

    To import that takes a second, and it promises no seed's rows to a later version.
    """
    rng, (_, counts) = np.random.RandomState(seed), np.unique(labels, return_counts=True)
    of_class = np.split(np.argsort(labels, kind="stable"), counts.cumsum()[:-1])
    first = _proportional(counts, sizes[0], rng)
    second = _proportional(counts - first, sizes[1], rng)
    parts: tuple[list[Labels], list[Labels]] = [], []
    for rows, end, more in zip(of_class, first, second, strict=True):
        shuffled = rows[rng.permutation(len(rows))]
        parts[0].append(shuffled[:end])
        parts[1].append(shuffled[end : end + more])
    training, validating = (rng.permutation(np.concatenate(part)) for part in parts)
    return training, validating


def _proportional(counts: Labels, total: int, rng: np.random.RandomState) -> Labels:
    """So many in all, of each class its share; whole ones by the largest remainders, equal ones by lot."""
    shares = counts / counts.sum() * total
    whole = np.floor(shares)
    remainders = shares - whole
    for remainder in np.unique(remainders)[::-1]:
        if lacking := int(total - whole.sum()):
            equal = np.flatnonzero(remainders == remainder)
            whole[rng.choice(equal, size=min(len(equal), lacking), replace=False)] += 1
    return np.asarray(whole, np.int64)


def _stratified(rows: Labels, labels: Labels) -> Labels:
    """The same rows in an order of which every beginning has each class in proportion, as far as whole rows can.

    Any number of rows can be taken of it; a draw of two parts needs a row of each class in either.
    """
    of_class = labels[rows, np.newaxis] == np.unique(labels[rows])
    place = (of_class.cumsum(axis=0) - 0.5) / of_class.sum(axis=0)  # within its class, from 0 to 1
    return rows[np.argsort(place[of_class], kind="stable")]


def check_rows(config: Config, dataset: Dataset) -> None:
    """Refuse a config for which the data have too few rows, before anything is recorded.

    Raises:
        UserError: rows, classes or a batch are lacking; the message names key, value and remedy.
    """
    check_sizes(config, len(dataset.train_labels))
    _check_split(dataset.train_labels, config.data)


def check_sizes(config: Config, rows: int) -> None:
    """Refuse a config that needs more than so many rows, with UserError."""
    _check_limit(rows, config.data.limit)
    training, _ = part_sizes(rows, config.data)
    if training < config.batch_size:
        raise UserError(
            f"batch_size must be at most {training:,}, the number of rows for training, but got {config.batch_size}"
        )


def _check_limit(rows: int, limit: int | None) -> None:
    if limit is not None and limit > rows:
        raise UserError(f"data.limit must be at most the {rows} training rows there are, but got {limit}")


def _check_split(labels: Labels, options: DataConfig) -> None:
    _check_limit(len(labels), options.limit)
    training, validating = _shares(len(labels), options)
    names, counts = np.unique(labels, return_counts=True)
    if min(training, validating) < len(names):
        raise UserError(
            f"data.validation={options.validation} of {plural(training + validating, 'row')} means {training:,} for "
            f"training and {validating:,} for validation, but each needs at least one for each of {len(names)} "
            "classes; use more rows"
        )
    if counts.min() < 2:
        raise UserError(
            f"class '{CLASSES[names[counts.argmin()]]}' has 1 row, but at least 2 are needed to split it; "
            "add rows of that class or leave it out"
        )


def _dataset(train: Bytes, train_labels: Labels, test: Bytes, test_labels: Labels, source: str) -> Dataset:
    digest = hashlib.sha256()
    for array in (train, train_labels, test, test_labels):
        array.setflags(write=False)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return Dataset(train, train_labels, test, test_labels, digest.hexdigest()[:16], source)
