"""Reading, checking, splitting and fetching the data."""

import contextlib
import gzip
import os
import shutil
import socket
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import here, mistake
from idx import Half, pack, synthetic, write_idx
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from fmnist.config import CLASSES, Config, DataConfig, UserError, from_flat
from fmnist.training import data, fetch, readers
from fmnist.training.streams import stream

TRAIN, TEST = synthetic(40, 20)
PIXELS, BYTES = TRAIN[0][..., 0], TRAIN[1].astype(np.uint8)
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
REAL = fetch.find()
real = pytest.mark.skipif(REAL is None, reason="needs the real data: run 'make data'")


def csv_text(half: Half) -> str:
    images, labels = half
    rows = np.column_stack([labels, images.reshape(len(images), -1)]).tolist()
    return "\n".join([",".join(readers.COLUMNS), *(",".join(map(str, row)) for row in rows)]) + "\n"


def from_csv(folder: Path, text: str) -> data.Dataset:
    """Load `text` as the training half, beside a good test half."""
    train, test = folder / "train.csv", folder / "test.csv"
    train.write_text(text)
    test.write_text(csv_text(TEST))
    return data.load(DataConfig(source="csv", train_csv=str(train), test_csv=str(test)))


def with_cell(line: int, column: str, value: str) -> str:
    """The training CSV with one cell changed; lines as in a text editor."""
    rows = [row.split(",") for row in csv_text(TRAIN).splitlines()]
    rows[line - 1][readers.COLUMNS.index(column)] = value
    return "\n".join(map(",".join, rows)) + "\n"


def message(act: Callable[[], object]) -> str:
    """The error of `act`, which must be one line."""
    with pytest.raises(UserError) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_idx(tmp_path / "idx", TRAIN, TEST)
    return tmp_path / "idx"


@pytest.fixture
def nothing_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes the usual places empty; returns Keras's cache folder, which does not exist yet."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(fetch, "PACKAGE_FOLDER", tmp_path / "package")
    return tmp_path / "keras" / "datasets" / "fashion-mnist"


# ---- Reading ------------------------------------------------------------------------------------------


def test_idx_files_are_read_as_written(folder: Path) -> None:
    loaded = data.load(DataConfig(dir=str(folder)))
    arrays = loaded.train_images, loaded.train_labels, loaded.test_images, loaded.test_labels
    for read, written in zip(arrays, (*TRAIN, *TEST), strict=True):
        assert read.dtype == written.dtype and np.array_equal(read, written)
        assert not read.flags.writeable
    assert loaded.source == str(folder)


def test_csv_and_idx_give_the_same_arrays_and_digest(folder: Path, tmp_path: Path) -> None:
    idx, csv = data.load(DataConfig(dir=str(folder))), from_csv(tmp_path, csv_text(TRAIN))
    assert np.array_equal(idx.train_images, csv.train_images)
    assert np.array_equal(idx.test_images, csv.test_images)
    assert np.array_equal(idx.train_labels, csv.train_labels) and csv.train_labels.dtype == np.int64
    assert idx.digest == csv.digest and len(csv.digest) == 16


def test_the_digest_tells_another_pixel_another_label_and_another_cut(tmp_path: Path) -> None:
    images, labels = TRAIN[0].copy(), np.roll(TRAIN[1], 1)
    images[0, 0, 0] ^= 1
    sets = [(TRAIN, TEST), ((images, TRAIN[1]), TEST), ((TRAIN[0], labels), TEST), (TEST, TRAIN)]
    digests = set()
    for number, (train, test) in enumerate(sets):
        write_idx(tmp_path / str(number), train, test)
        digests.add(data.load(DataConfig(dir=str(tmp_path / str(number)))).digest)
    assert len(digests) == len(sets)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n", "\n\n", 5) + "\n",
        lambda text: text.replace("label,pixel1,", '"label","pixel1",', 1),
        lambda text: text.replace(",", ", "),
    ],
    ids=["CRLF", "BOM", "no last newline", "empty lines", "quotes", "spaces"],
)
def test_harmless_ways_to_write_a_csv_do_not_matter(tmp_path: Path, change: Callable[[str], str]) -> None:
    assert from_csv(tmp_path, change(csv_text(TRAIN))).digest == from_csv(tmp_path, csv_text(TRAIN)).digest


def test_class_names_are_encoded_by_their_position(tmp_path: Path) -> None:
    header, *rows = csv_text(TRAIN).splitlines()
    named = [",".join([CLASSES[int(row[0])], row.split(",", 1)[1]]) for row in rows]
    loaded = from_csv(tmp_path, "\n".join([header, *named]))
    assert np.array_equal(loaded.train_labels, TRAIN[1])


def test_the_careful_way_reads_what_the_fast_one_reads() -> None:
    layout = readers._Layout(",", False)
    rows = list(enumerate(csv_text(TRAIN).splitlines()[1:], 2))
    fast, careful = readers._parse(rows, layout), readers._parse_carefully(Path("rows.csv"), rows, layout)
    assert fast is not None
    assert fast[1].base is None  # nor does it keep more than it returns
    for images, labels in (fast, careful):
        assert np.array_equal(images.reshape(TRAIN[0].shape), TRAIN[0]) and np.array_equal(labels, TRAIN[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace(",7,", ",7.0,").replace("\n3,", "\n3.0,").replace(",9,", ", +9,"),
        lambda text: "\n".join(f"{number},{line}" for number, line in enumerate(text.splitlines())).replace(
            "0,l", ",l", 1
        ),
    ],
    ids=["semicolons", "tabs", "5.0", "index column"],
)
def test_other_separators_spellings_and_an_index_column_are_read(tmp_path: Path, change: Callable[[str], str]) -> None:
    assert from_csv(tmp_path, change(csv_text(TRAIN))).digest == from_csv(tmp_path, csv_text(TRAIN)).digest


def test_a_packed_csv_and_unpacked_idx_files_are_read(folder: Path, tmp_path: Path) -> None:
    wanted = data.load(DataConfig(dir=str(folder))).digest
    for half, name in ((TRAIN, "train.csv.gz"), (TEST, "test.csv.gz")):
        (tmp_path / name).write_bytes(gzip.compress(csv_text(half).encode()))
    packed = [str(tmp_path / name) for name in ("train.csv.gz", "test.csv.gz")]
    assert data.load(DataConfig("csv", train_csv=packed[0], test_csv=packed[1])).digest == wanted
    for path in folder.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert data.load(DataConfig(dir=str(folder))).digest == wanted


@real
def test_the_real_data_has_the_known_counts_and_both_sources_agree(tmp_path: Path) -> None:
    loaded = data.load(DataConfig())
    assert loaded.train_images.shape == (60_000, 28, 28, 1)
    assert loaded.test_images.shape == (10_000, 28, 28, 1)
    assert np.bincount(loaded.train_labels).tolist() == [6000] * 10
    assert np.bincount(loaded.test_labels).tolist() == [1000] * 10
    train = loaded.train_images[:300], loaded.train_labels[:300]
    test = loaded.test_images[:100], loaded.test_labels[:100]
    write_idx(tmp_path / "part", train, test)
    (tmp_path / "a.csv").write_text(csv_text(train))
    (tmp_path / "b.csv").write_text(csv_text(test))
    csv = data.load(DataConfig("csv", train_csv=str(tmp_path / "a.csv"), test_csv=str(tmp_path / "b.csv")))
    assert csv.digest == data.load(DataConfig(dir=str(tmp_path / "part"))).digest
    assert np.array_equal(csv.train_images, train[0]) and np.array_equal(csv.test_labels, test[1])


# ---- Faults in idx files ------------------------------------------------------------------------------


def test_a_missing_idx_file_is_named(folder: Path) -> None:
    (folder / LABELS).unlink()
    text = message(lambda: data.load(DataConfig(dir=str(folder))))
    assert str(folder / LABELS) in text and "make data" in text


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (IMAGES, b"", "is empty"),
        (IMAGES, gzip.compress(pack(PIXELS))[:900], "is cut off"),
        (IMAGES, gzip.compress(pack(PIXELS))[:30] + b"\0" * 200, "is no intact gzip file"),
        (IMAGES, b"not found", "is no intact gzip file"),
        (IMAGES, b"<html>not found</html>", "is a web page; get the file again"),
        (IMAGES, b"PK\3\4" + bytes(30), "is a zip archive; unpack it"),
        (IMAGES, gzip.compress(b""), "begins with 0x,"),
        (IMAGES, gzip.compress(pack(BYTES)), "begins with 0x00000801, but an idx file of images"),
        (IMAGES, gzip.compress(bytes((0, 0, 8, 3, 0))), "ends within its header of 16 bytes"),
        (IMAGES, gzip.compress(pack(PIXELS)[:-1]), "40 x 28 x 28 = 31360 bytes, but 31359 follow"),
        (IMAGES, gzip.compress(pack(PIXELS) + b"x"), "but more follow"),
        (IMAGES, gzip.compress(pack(PIXELS[:, :14])), "images of 14x28 pixels"),
        (IMAGES, gzip.compress(pack(PIXELS[:39])), "holds 39 images, but"),
        (LABELS, gzip.compress(pack(np.insert(BYTES[1:], 16, 10))), "label 17 (counted from 1) is 10"),
    ],
    ids=lambda value: "content" if isinstance(value, bytes) else value,  # gzip holds the time
)
def test_a_faulty_idx_file_is_one_clear_line(folder: Path, name: str, content: bytes, expected: str) -> None:
    (folder / name).write_bytes(content)
    text = message(lambda: data.load(DataConfig(dir=str(folder))))
    assert expected in text and str(folder / name) in text


def test_no_more_is_unpacked_than_a_header_announces(folder: Path) -> None:
    bomb = gzip.compress(pack(PIXELS) + bytes(300_000_000), compresslevel=1)
    (folder / IMAGES).write_bytes(bomb)
    tracemalloc.start()
    assert "but more follow" in message(lambda: data.load(DataConfig(dir=str(folder))))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    (folder / IMAGES).write_bytes(gzip.compress(bytes((0, 0, 8, 3)) + b"\xff" * 12))
    assert "more than 300000 images have" in message(lambda: data.load(DataConfig(dir=str(folder))))


def test_what_is_no_file_is_not_waited_for(folder: Path, tmp_path: Path) -> None:
    (folder / IMAGES).unlink()
    os.mkfifo(folder / IMAGES)
    assert "it is no regular file" in message(lambda: data.load(DataConfig(dir=str(folder))))
    options = DataConfig("csv", train_csv="/dev/zero", test_csv=str(tmp_path))
    assert "it is no regular file" in message(lambda: data.load(options))
    with socket.socket(socket.AF_UNIX) as end, contextlib.chdir(tmp_path):
        end.bind("socket")
        assert "cannot be read" in message(lambda: readers.read_csv(Path("socket")))


@pytest.mark.parametrize("path", ["x" * 5_000, "a\0b", "~nobody-of-this-name/x", "/proc/self/mem/x"])
def test_a_path_that_cannot_be_is_one_line(path: str) -> None:
    message(lambda: data.load(DataConfig(dir=path)))
    message(lambda: data.load(DataConfig("csv", train_csv=path, test_csv=path)))


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, (TRAIN[0][:0], TRAIN[1][:0]), TEST)
    assert "holds no images" in message(lambda: data.load(DataConfig(dir=str(tmp_path))))


# ---- Faults in CSV files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("label", "10", "column label: label '10' is out of range"),
        ("label", "-1", "column label: label '-1' is out of range"),
        ("label", "Pulover", "column label: 'Pulover' is no class; did you mean 'Pullover'?"),
        ("label", "xyzzy", "'xyzzy' is no class; write a number from 0 to 9 or one of T-shirt/top,"),
        ("label", "", "column label: '' is no class"),
        ("label", "3.5", "column label: '3.5' is no class"),
        ("pixel3", "256", "column pixel3: '256' is out of range"),
        ("pixel784", "-1", "column pixel784: '-1' is out of range"),
        ("pixel1", "99999999999999999999", "column pixel1: '99999999999999999999' is out of range"),
        ("pixel400", "abc", "column pixel400: 'abc' is not a whole number"),
        ("pixel400", "3.5", "column pixel400: '3.5' is not a whole number"),
        ("pixel400", "nan", "column pixel400: 'nan' is not a whole number"),
        ("pixel400", "", "column pixel400: '' is not a whole number"),
        ("pixel784", "", "column pixel784: '' is not a whole number"),
        ("pixel400", "1,2", "has 786 columns"),
        ("pixel400", '"', "has 401 columns"),
    ],
)
def test_a_faulty_cell_is_found_by_line_and_column(tmp_path: Path, column: str, value: str, expected: str) -> None:
    text = message(lambda: from_csv(tmp_path, with_cell(17, column, value)))
    assert f"{tmp_path / 'train.csv'}, line 17" in text and expected in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.replace(",7,", f",{'7' * 5000},", 1), "is out of range"),
        (lambda text: text.replace(",", ",1" * 200_000, 1), "line 1 has more than 50000 characters"),
        (lambda text: text.replace("\n", ",1" * 30_000 + "\n", 2), "line 1 has more than 50000 characters"),
        (lambda text: text + "1," * 100_000, "line 42 has more than 50000 characters"),
        (lambda text: text.replace("label", "l" * 30_000, 1), "column 1 is 'llll"),
        (lambda text: text + "\n" * 1_100_000, "more than 1000000 blanks and empty lines"),
        (lambda text: text.replace("7", "\0", 1), "line 1 has NUL bytes, as text in UTF-16 has; save it as UTF-8"),
        (lambda text: text.replace("\n3,", "\n" + "x" * 20_000 + ",", 1), "column label: 'xxx"),
    ],
    ids=["5,000 digits", "one line", "wide rows", "long last line", "long header", "empty lines", "NUL", "long label"],
)  # fmt: skip
def test_unbounded_csv_is_one_short_line(tmp_path: Path, change: Callable[[str], str], expected: str) -> None:
    text = message(lambda: from_csv(tmp_path, change(csv_text(TRAIN))))
    assert expected in text and len(text) < 400 + len(str(tmp_path))


def test_a_row_is_counted_as_a_text_editor_counts(tmp_path: Path) -> None:
    shifted = with_cell(17, "pixel5", "x").replace("\n", "\n\n\n", 1)
    assert "line 19, column pixel5" in message(lambda: from_csv(tmp_path, shifted))


def test_a_wrong_column_count_names_the_row(tmp_path: Path) -> None:
    lines = csv_text(TRAIN).splitlines()
    for number in (1, 2, 17, 41):
        for line in (lines[number - 1].rsplit(",", 1)[0], lines[number - 1] + ",0"):
            changed = "\n".join([*lines[: number - 1], line, *lines[number:]])
            expected = f"line {number} has {line.count(',') + 1} columns"
            assert expected in message(lambda text=changed: from_csv(tmp_path, text))


def test_a_column_missing_from_every_row_is_found_in_the_header(tmp_path: Path) -> None:
    unlabelled = "\n".join(line.split(",", 1)[1] for line in csv_text(TRAIN).splitlines())
    assert "line 1 has 784 columns" in message(lambda: from_csv(tmp_path, unlabelled))


def test_a_csv_without_header_or_with_another_order_is_refused(tmp_path: Path) -> None:
    headless = csv_text(TRAIN).split("\n", 1)[1]
    assert "line 1: column 1 is" in message(lambda: from_csv(tmp_path, headless))
    swapped = csv_text(TRAIN).replace("pixel1,pixel2,", "pixel2,pixel1,", 1)
    assert "line 1: column 2 is 'pixel2' instead of 'pixel1'" in message(lambda: from_csv(tmp_path, swapped))


def test_a_csv_that_is_missing_empty_a_folder_or_only_a_header_is_refused(tmp_path: Path) -> None:
    header = csv_text(TRAIN).split("\n")[0] + "\n"
    assert "train.csv is empty" in message(lambda: from_csv(tmp_path, ""))
    assert "has no rows below its header" in message(lambda: from_csv(tmp_path, header))
    for path, expected in ((tmp_path / "none.csv", "there is no file"), (tmp_path, "Is a directory")):
        options = DataConfig(source="csv", train_csv=str(path), test_csv=str(path))
        text = message(lambda options=options: data.load(options))
        assert expected in text and str(path) in text
    assert "data.test_csv=FILE" in message(lambda: data.load(DataConfig(source="csv", train_csv="x.csv")))


def test_the_test_half_alone_is_that_of_the_whole(tmp_path: Path) -> None:
    write_idx(tmp_path, TRAIN, TEST)
    (tmp_path / "train.csv").write_text(csv_text(TRAIN))
    (tmp_path / "test.csv").write_text(csv_text(TEST))
    csv = DataConfig(source="csv", train_csv=str(tmp_path / "train.csv"), test_csv=str(tmp_path / "test.csv"))
    for options in (DataConfig(dir=str(tmp_path)), csv):
        whole, (images, labels) = data.load(options), data.load_test(options)
        assert np.array_equal(images, whole.test_images) and np.array_equal(labels, whole.test_labels)
    assert message(lambda: data.load_test(DataConfig(source="csv"))) == message(
        lambda: data.load(DataConfig(source="csv"))
    )


# ---- Splitting ----------------------------------------------------------------------------------------


def test_a_split_is_stratified_disjoint_and_of_the_declared_sizes() -> None:
    labels = np.repeat(np.arange(10), 6000)
    training, validating = data.split(labels, seed=0, options=DataConfig())
    assert training.dtype == validating.dtype == np.int64
    assert np.array_equal(np.sort(np.concatenate([training, validating])), np.arange(60_000))
    assert np.bincount(labels[training]).tolist() == [5400] * 10
    assert np.bincount(labels[validating]).tolist() == [600] * 10


def test_a_split_is_determined_by_the_seed() -> None:
    first, again, other = (data.split(TRAIN[1], seed=seed, options=DataConfig(validation=0.25)) for seed in (0, 0, 1))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(np.sort(first[1]), np.sort(other[1]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("limit", "validation"), [(None, 0.1), (None, 0.37), (145, 0.2), (997, 0.011), (101, 0.9)])
def test_a_split_has_the_rows_that_scikit_learn_draws(limit: int | None, validation: float, seed: int) -> None:
    options = DataConfig(limit=limit, validation=validation, validation_rows=None)
    for labels in (UNEVEN, np.arange(1000) % 10, np.arange(1000) % 7 + 2):
        training, validating = data.split(labels, seed=seed, options=options)
        theirs = train_test_split(
            np.arange(1000),
            train_size=len(training),
            test_size=len(validating),
            stratify=labels,
            random_state=int(stream(seed, "split").integers(2**31)),
        )
        assert [training.tolist(), validating.tolist()] == [part.tolist() for part in theirs]


@pytest.mark.parametrize("limit", [100, 995, 999, 1000])
def test_a_limit_draws_a_stratified_subset(limit: int) -> None:
    labels = np.arange(1000) % 10
    training, validating = data.split(
        labels, seed=3, options=DataConfig(validation=0.2, limit=limit, validation_rows=None)
    )
    assert len(validating) == round(limit * 0.2) and len(training) + len(validating) == limit
    assert len(np.unique(np.concatenate([training, validating]))) == limit
    counts = np.bincount(labels[np.concatenate([training, validating])])
    assert counts.max() - counts.min() <= 2
    assert training.max() > limit / 2 or limit == 100


UNEVEN = np.random.default_rng(0).permutation(np.repeat(np.arange(10), range(55, 155, 10)))  # 1,000 labels


def limited(validation_rows: int | str | None, seed: int = 3) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """116 rows that train, and 29 or more that validate."""
    options = DataConfig(limit=145, validation=0.2, validation_rows=validation_rows)
    training, validating = data.split(UNEVEN, seed=seed, options=options)
    assert (len(training), len(validating)) == data.part_sizes(1000, options)
    return training, validating


@pytest.mark.parametrize("wanted", [29, 30, 57, 300, 883, 884, 10_000])
def test_rows_that_a_limit_leaves_out_validate_too_and_those_that_train_stay(wanted: int) -> None:
    (training, few), (same, validating) = limited(None), limited(wanted)
    assert same.tobytes() == training.tobytes() and validating.dtype == np.int64
    assert len(validating) == min(wanted, 1000 - 116) and np.array_equal(validating[:29], few)
    used = np.concatenate([training, validating])
    assert len(np.unique(used)) == len(used)
    free = np.bincount(UNEVEN) - np.bincount(UNEVEN[np.concatenate([training, few])])
    further = np.bincount(UNEVEN[validating[29:]], minlength=10)
    assert np.abs(further - free * further.sum() / free.sum()).max() <= 1


def test_as_many_rows_validate_as_a_limit_has_unless_others_are_asked_for_but_no_more_than_are_enough() -> None:
    training, validating = data.split(UNEVEN, seed=3, options=DataConfig(limit=145, validation=0.2))
    assert len(training) == 116 and np.array_equal(validating, limited(145)[1])
    sizes = [data.part_sizes(60_000, DataConfig(limit=limit))[1] for limit in (None, 600, 6000, 30_000, 59_000)]
    assert sizes == [6000, 600, 6000, 10_000, 6900]


def test_rows_that_validate_beside_a_limit_are_drawn_by_the_seed_and_more_of_them_begin_with_the_same() -> None:
    first, again, longer = limited(300)[1], limited(300)[1], limited(500)[1]
    assert np.array_equal(first, again) and np.array_equal(first, longer[:300])
    assert len(np.intersect1d(first, limited(300, seed=4)[1])) < 200
    assert np.any(np.diff(first[29:]) < 0)  # in no order of the file


def test_too_few_rows_to_split_are_refused_with_the_numbers() -> None:
    def refusal(labels: NDArray[np.int64], validation: float, limit: int | None) -> str:
        options = DataConfig(validation=validation, limit=limit)
        return message(lambda: data.split(labels, seed=0, options=options))

    labels = np.arange(40) % 10
    assert "at most the 40 training rows there are, but got 41" in refusal(labels, 0.5, 41)
    assert "data.validation=0.1 of 40 rows means 36 for training and 4 for" in refusal(labels, 0.1, None)
    lonely = np.array([0] * 20 + [1] * 20 + [6])
    assert "class 'Shirt' has 1 row" in refusal(lonely, 0.2, None)


# ---- Finding and fetching -----------------------------------------------------------------------------


def test_without_data_the_one_line_says_make_data(nothing_usual: Path) -> None:
    text = message(lambda: data.load(DataConfig()))
    assert "run 'make data'" in text and str(nothing_usual) in text


def test_other_content_in_a_usual_place_is_a_damaged_download(nothing_usual: Path) -> None:
    write_idx(nothing_usual, TRAIN, TEST)
    text = message(lambda: data.load(DataConfig()))
    assert str(nothing_usual / IMAGES) in text and "SHA-256" in text and "make data" in text


def test_keras_cache_folder_comes_before_the_package_and_must_be_whole(nothing_usual: Path) -> None:
    write_idx(fetch.PACKAGE_FOLDER, TRAIN, TEST)
    assert fetch.find() == fetch.PACKAGE_FOLDER
    write_idx(nothing_usual, TRAIN, TEST)
    assert fetch.find() == nothing_usual
    (nothing_usual / LABELS).unlink()
    assert fetch.find() == fetch.PACKAGE_FOLDER


@real
def test_fetching_goes_on_to_the_next_way_and_heals_a_damaged_cache(
    nothing_usual: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert REAL is not None

    def truncated(scratch: Path) -> None:
        shutil.copytree(REAL, scratch / "deep")
        (scratch / "deep" / IMAGES).write_bytes(b"half of it")

    def whole(scratch: Path) -> None:
        shutil.copytree(REAL, scratch / "deep")

    write_idx(nothing_usual, TRAIN, TEST)
    monkeypatch.setattr(fetch, "WAYS", {"first": truncated, "second": whole})
    assert fetch.fetch() == nothing_usual
    assert len(data.load(DataConfig()).test_labels) == 10_000
    assert sorted(path.name for path in nothing_usual.iterdir()) == sorted(fetch.FILES)
    assert f"the downloaded {IMAGES} is not the original" in capfd.readouterr().err
    monkeypatch.setattr(fetch, "WAYS", {})
    assert fetch.fetch() == nothing_usual


def test_when_every_way_fails_one_line_says_what_to_put_where(
    nothing_usual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def incomplete(scratch: Path) -> None:
        (scratch / LABELS).write_bytes(b"")

    def absent(scratch: Path) -> None:
        fetch._call(["no-such-command"], scratch)

    def slow(scratch: Path) -> None:
        fetch._call(["sleep", "60"], scratch, timeout=0.1)

    def empty(scratch: Path) -> None:
        for name in fetch.FILES:
            (scratch / name).touch()

    monkeypatch.setattr(fetch, "WAYS", {"a": incomplete, "b": absent, "c": slow, "d": empty})
    text = message(fetch.fetch)
    for part in (f"lacks {IMAGES}", "no no-such-command here", "sleep had not ended", "is empty", "data.dir="):
        assert part in text
    assert str(nothing_usual) in text
    assert all(name in text for name in fetch.FILES) and not list(nothing_usual.iterdir())


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")
def test_the_debian_package_is_unpacked_without_being_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, scratch, bin_folder = tmp_path / "tree", tmp_path / "scratch", tmp_path / "bin"
    write_idx(tree / "usr/share/datasets/fashion-mnist", TRAIN, TEST)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text("Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n")
    build = ["dpkg-deb", "--build", str(tree), str(tmp_path / "x.deb")]
    subprocess.run(build, check=True, capture_output=True)
    scratch.mkdir()
    bin_folder.mkdir()
    (bin_folder / "apt-get").write_text(  # knows the package only after an update, as with stale lists
        f'#!/bin/sh\ncase "$*" in\n*update) touch {tmp_path}/fresh;;\n'
        f'*) test -e {tmp_path}/fresh || {{ echo "E: Unable to locate"; exit 100; }}\n'
        f"cp {tmp_path}/x.deb .;;\nesac\n"
    )
    (bin_folder / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    monkeypatch.setattr(fetch.os, "geteuid", lambda: 1000)
    with pytest.raises(fetch._UnavailableError, match="Unable to locate"):
        fetch._from_package(scratch)
    monkeypatch.setattr(fetch.os, "geteuid", lambda: 0)
    fetch._from_package(scratch)
    assert {path.name for path in scratch.rglob("*.gz")} == set(fetch.FILES)


# ---- The command --------------------------------------------------------------------------------------


def test_the_command_takes_the_options_of_every_other_and_says_where_the_data_is(folder: Path) -> None:
    out = here("data", f"data.dir={folder}").stdout
    assert str(folder) in out and "40 training and 20 test images" in out


def test_the_command_ends_with_2_and_one_line_on_a_mistake(tmp_path: Path) -> None:
    assert "there is no file" in mistake("data", f"data.dir={tmp_path}")
    assert "did you mean 'data.dir'" in mistake("data", f"data.dri={tmp_path}")


def test_too_few_rows_for_a_config_are_refused_before_anything_is_recorded(folder: Path) -> None:
    dataset = data.load(DataConfig(dir=str(folder)))

    def refusal(**options: object) -> str:
        config = from_flat(Config(), {key.replace("__", "."): value for key, value in options.items()})
        return message(lambda: data.check_rows(config, dataset))

    assert "at most the 40 training rows" in refusal(data__limit=9_999_999, batch_size=8)
    assert "at most 30, the number of rows for training, but got 128" in refusal(data__validation=0.25)
    data.check_rows(from_flat(Config(), {"data.validation": 0.25, "batch_size": 30}), dataset)
