"""Stores that are damaged, or that others write into: a command works with the rest, or says in a line what is wrong.

The store is that of `test_old_store`: a sweep, a failed run, a search. What happens to it is drawn from a seed.
"""

import json
import random
import re
import sqlite3
import tarfile
from contextlib import closing, suppress
from io import BytesIO

import numpy as np
import pytest
from commands import here
from test_old_store import SEARCH, STORES

JUNK = ["", " ", "three", "-1", "1e400", "NaN", "{", "[1, 2", "a\nb", "\x00", "null", "9" * 40, "ü" * 300, "false",
        b"\xff\xfe", "0123456789abcdef", "5", "0.5", None]  # fmt: skip
ARRAYS = [
    {}, {"test_labels": np.zeros(200, np.uint8)}, {"test_labels": np.zeros(3), "test_predicted": np.zeros(3)},
    {"test_labels": np.zeros((2, 2), np.uint8), "test_predicted": np.zeros((2, 2), np.uint8)},
    {"test_labels": np.full(200, 77), "test_predicted": np.full(200, -1)},
    {"test_labels": np.full(200, np.nan), "test_predicted": np.full(200, np.nan)},
    {"test_labels": np.zeros(7, np.uint8), "test_predicted": np.zeros(7, np.uint8)},
    {"test_labels": np.array(["a"] * 200), "test_predicted": np.array(["b"] * 200)},
]  # fmt: skip


@pytest.fixture(scope="module")
def whole():
    """The files of the store that is to be damaged."""
    with tarfile.open(STORES / "recipe2.tar.xz") as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}


@pytest.fixture
def store(whole, tmp_path):
    for name, content in whole.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


# ---- What happens ---------------------------------------------------------------------------------------


def change(store, chance, tables):
    """One value of a row, by somebody with a browser or an SQLite shell."""
    table, column = chance.choice(tables)
    with closing(sqlite3.connect(store / "mlflow.db")) as database, database, suppress(sqlite3.IntegrityError):
        rows = [row for (row,) in database.execute(f"SELECT rowid FROM {table} ORDER BY rowid")]
        database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (chance.choice(JUNK), chance.choice(rows)))


def edited(store, chance):
    change(store, chance, [("tags", "value"), ("params", "value")])


def numbers(store, chance):
    change(store, chance, [("latest_metrics", "value"), ("metrics", "value"), ("metrics", "step"), ("runs", "name")])


def lacking(store, chance):
    with closing(sqlite3.connect(store / "mlflow.db")) as database, database:
        table = chance.choice(["tags", "params", "latest_metrics", "metrics"])
        keys = [key for (key,) in database.execute(f"SELECT DISTINCT key FROM {table} ORDER BY key")]
        database.execute(f"DELETE FROM {table} WHERE key = ?", (chance.choice(keys),))


def foreign(store, chance):
    with closing(sqlite3.connect(store / "mlflow.db")) as database, database:
        (place,) = chance.choice(database.execute("SELECT experiment_id FROM experiments").fetchall())
        run = (
            "foreign",
            "somebody's",
            chance.choice(["FINISHED", "RUNNING", "SCHEDULED"]),
            1,
            "active",
            place,
            "somebody",
        )
        names = "run_uuid, name, status, start_time, lifecycle_stage, experiment_id, user_id"
        database.execute(f"INSERT INTO runs ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", run)
        for key in chance.sample(["epochs", "seed", "model.filters"], 2):
            database.execute("INSERT INTO params VALUES (?, ?, ?)", (key, chance.choice(JUNK[2:6]), "foreign"))


def deleted(store, chance):
    with closing(sqlite3.connect(store / "mlflow.db")) as database, database:
        name = chance.choice(["fmnist", "fmnist sweeps", "fmnist searches"])
        database.execute("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = ?", (name,))


def spoilt(store, chance, pattern="**/*.*"):
    """Bytes of a file: overwritten, cut off, or all of them."""
    file = chance.choice(sorted(file for file in store.glob(pattern) if file.is_file()))
    content, start = bytearray(file.read_bytes()), 0
    start = chance.randrange(max(1, len(content)))
    size = min(chance.choice([1, 100, 5000]), len(content) - start)
    noise = bytes(chance.randrange(256) for _ in range(size))
    file.write_bytes(chance.choice([content[:start], content[:start] + noise + content[start + size :], noise]))


def page(store, chance):
    spoilt(store, chance, "mlflow.db")


def arrays(store, chance):
    stream = BytesIO()
    np.savez_compressed(stream, **chance.choice(ARRAYS))
    chance.choice(sorted(store.glob("**/predictions.npz"))).write_bytes(stream.getvalue())


def tree(store, chance):
    """A value of a JSON file."""
    file = chance.choice(sorted(store.glob("**/*.json")))
    content = node = parent = {"": json.loads(file.read_text())}
    key = ""
    while isinstance(node, dict | list) and node and (node is content or chance.random() < 0.8):
        parent, key = node, chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node = node[key]
    parent[key] = chance.choice([junk for junk in JUNK if not isinstance(junk, bytes)] + [[], {}, 1.5])
    file.write_text(json.dumps(content[""]))


DAMAGES = [edited, edited, numbers, lacking, foreign, deleted, spoilt, page, arrays, tree]
READING = [
    ["compare", "--store"],
    ["compare", "--study", "smoke", "--claims", "--store"],
    ["compare", "--searches", "--store"],
    ["watch", "--store"],
    ["train", "study=smoke", "study.dry_run=true", "compute.precision=float32"],
]


def act(command, store, images):
    """Carry a command out, which may find the store good or refuse it."""
    module, *arguments = command
    where = [store] if arguments[-1] == "--store" else [f"store={store}", f"data.dir={images}"]
    done = here(module, *arguments, *where, code=None)
    lines = done.stderr.splitlines()
    said = [line for line in lines if line.startswith(f"fmnist.{module}: ")]
    assert done.returncode in ((0, 1, 2) if module == "watch" else (0, 2)), done.stderr
    assert len(said) == (done.returncode > 0) and said == lines[len(lines) - len(said) :], done.stderr
    assert all(re.match(r"wrote |'.*' \(run \w*\) is left out: ", line) for line in lines[: len(lines) - len(said)])
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_store_is_read_in_part_or_refused_in_a_line(seed, store, images):
    chance = random.Random(seed)
    DAMAGES[seed % len(DAMAGES)](store, chance)
    act(READING[seed % len(READING)] if seed < 10 else chance.choice(READING), store, images)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_commands_that_write_go_on_with_a_damaged_store_or_refuse_it(seed, store, images, one_process):
    chance = random.Random(seed)
    for damage in chance.choices(DAMAGES, k=3):
        with suppress(sqlite3.DatabaseError, ValueError):  # what is damaged already
            damage(store, chance)
    report = ["compare", "--study", "smoke", "--format", "html", "--out", str(store / "report.html"), "--store"]
    for command in (*READING, report):
        act(command, store, images)
    act(["train", "study=smoke", "compute.precision=float32"], store, images)
    act(["tune", *SEARCH], store, images)
