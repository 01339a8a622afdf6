"""A store that cannot be used: every command says in one line which file it is and what to do."""

import os
import random
import shutil
import sqlite3
from contextlib import closing

import pytest
from commands import TINY, mistake

from fmnist import tracking
from fmnist.config import UserError


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The database of an empty store."""
    store = tmp_path_factory.mktemp("good")
    tracking.Store(str(store))
    return store / "mlflow.db"


def garbage(good, file):
    file.write_bytes(random.Random(0).randbytes(50_000))


def nothing(good, file):
    file.touch()


def half(good, file):
    file.write_bytes(good.read_bytes()[: good.stat().st_size // 2])


def hole(good, file):
    content = bytearray(good.read_bytes())
    content[4096 * 3 : 4096 * 40] = b"U" * (4096 * 37)
    file.write_bytes(content)


def folder(good, file):
    file.mkdir()


def others(good, file):
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE addresses (name TEXT)")


def newer(good, file):
    _versioned(good, file, "ffffffffffff")


def older(good, file):
    _versioned(good, file, "451aebb31d03")


def _versioned(good, file, version):
    shutil.copy(good, file)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))


@pytest.mark.parametrize(
    ("spoil", "reason", "remedy"),
    [
        (garbage, "file is not a database", "put a copy of it back"),
        (nothing, "no such table", "put a copy of it back"),
        (half, "malformed", "put a copy of it back"),
        (hole, "malformed", "put a copy of it back"),
        (others, "no such table", "put a copy of it back"),
        (folder, "Is a directory", "should be the database"),
        (newer, "newer MLflow than", "install that"),
        (older, "older MLflow than", "python -m mlflow db upgrade"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_with_reason_and_remedy_and_left_alone(
    spoil, reason, remedy, good, tmp_path
):
    file = tmp_path / "mlflow.db"
    spoil(good, file)
    before = file.read_bytes() if file.is_file() else None
    for act in (tracking.Store, tracking.load, tracking.experiment_id):
        with pytest.raises(UserError) as error:
            act(str(tmp_path))
        text = str(error.value)
        assert str(file) in text and reason in text and remedy in text and "\n" not in text
    assert before is None or file.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_database_that_may_not_be_read_is_named(good, tmp_path):
    file = tmp_path / "mlflow.db"
    shutil.copy(good, file)
    file.chmod(0)
    with pytest.raises(UserError, match=rf"{file} cannot be read \(Permission denied\)"):
        tracking.load(str(tmp_path))


@pytest.mark.parametrize(
    "command",
    [["train", *TINY, "epochs=1"], ["train", "study=smoke"], ["compare"], ["watch"], ["ui"]],
    ids=lambda command: f"{command[0]} {command[-1]}",
)
def test_every_command_refuses_a_damaged_store_in_one_line(command, images, tmp_path):
    file = tmp_path / "mlflow.db"
    garbage(None, file)
    module, *arguments = command
    if module == "train":
        arguments += [f"data.dir={images}", f"store={tmp_path}"]
    else:
        arguments += ["--store", tmp_path]
    assert str(file) in mistake(module, *arguments)
