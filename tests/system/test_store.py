"""A store that cannot be used: every command says in one line which file it is and what to do."""

import importlib
import os
import random
import shlex
import shutil
import sqlite3
from contextlib import closing
from importlib.util import find_spec

import mlflow
import pytest
from commands import ROOT, TINY, here, mistake
from mlflow import MlflowClient
from server import free_port

from fmnist import environment, tracking
from fmnist.config import UserError
from fmnist.config import folder as named_folder


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


@pytest.mark.parametrize("spoil", [None, garbage, half, folder])
def test_a_new_store_is_a_copy_of_an_empty_one_that_is_kept_or_made_anew_where_that_is_damaged(
    spoil, good, tmp_path, monkeypatch
):
    kept = tmp_path / "cache" / "fmnist" / f"mlflow-{mlflow.__version__}.db"
    if spoil:
        kept.parent.mkdir(parents=True)
        spoil(good, kept)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        tracking.Store("here")
        (default,) = MlflowClient(tracking.address("here")).search_experiments(filter_string="name = 'Default'")
        assert default.artifact_location == str(tmp_path / name / "mlruns" / "0"), "as MLflow has it"
        assert list(tmp_path.glob("*/here/.new")) == []
    if spoil != folder:
        with closing(sqlite3.connect(kept)) as database:
            assert database.execute("SELECT count(*) FROM experiments").fetchone() == (0,)


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
    [["train", *TINY, "epochs=1"], ["train", "study=smoke"], ["compare"], ["watch"], ["ui", "--port=PORT"],
     ["runs", "list"]],
    ids=lambda command: f"{command[0]} {command[-1]}",
)  # fmt: skip
def test_every_command_refuses_a_damaged_store_in_one_line(command, images, tmp_path):
    file = tmp_path / "mlflow.db"
    garbage(None, file)
    module, *arguments = [text.replace("PORT", str(free_port())) for text in command]
    if module == "train":
        arguments += [f"data.dir={images}", f"store={tmp_path}"]
    else:
        arguments += ["--store", tmp_path]
    assert str(file) in mistake(module, *arguments)


# ---- Where it is ------------------------------------------------------------------------------------------

COMMANDS = ["train", "tune", "compare", "watch", "ui"]


def at(module, store):
    """The arguments of a command for a store of that name."""
    return [f"store={store}"] if module in ("train", "tune") else [f"--store={store}"]


@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.parametrize(
    ("store", "reason"),
    [
        ("README.md", "README.md is a file; name a folder"),
        ("README.md/runs", "README.md is a file; name a folder"),
        ("", "store is empty; name a folder"),
        ("~nobody-of-that-name/runs", "no home folder is known here"),
    ],
)
def test_a_store_that_is_no_folder_is_refused_by_its_name_and_nothing_is_made(module, store, reason):
    before = set(ROOT.iterdir())
    said = mistake(module, *at(module, store))
    assert reason in said and "store" in said
    assert set(ROOT.iterdir()) == before


@pytest.mark.parametrize("where", ["store=/proc/self/no", "hydra.run.dir=/proc/self/no"])
def test_a_folder_that_cannot_be_made_is_named(where, images):
    assert "fmnist.train: /proc/self/no" in mistake("train", where, f"data.dir={images}")


def test_a_home_folder_is_written_out_and_changing_the_folder_moves_nothing(images, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").symlink_to(images)
    here("train", *TINY, "compute.threads=1", "epochs=1", "store=~/runs", "data.dir=~/data", "hydra.job.chdir=true")
    assert (tmp_path / "runs" / "mlflow.db").exists() and (tmp_path / "runs" / "hydra").is_dir()
    assert not (ROOT / "~").exists() and len(tracking.load(tmp_path / "runs")) == 1
    relative = os.path.relpath(tmp_path / "runs", ROOT)
    again = here(
        "train", *TINY, "compute.threads=1", "epochs=1", f"store={relative}", "data.dir=~/data", "hydra.job.chdir=true"
    )
    assert "already in the store" in again.stdout


def test_what_a_checkpoint_had_is_not_said_to_have_been_in_the_store(images, tmp_path):
    one = ["train", *TINY, "compute.threads=1", "epochs=1", f"data.dir={images}", f"store={tmp_path}"]
    here(*one)
    client = MlflowClient(tracking.address(tmp_path))
    client.delete_run(tracking.load(tmp_path)["run_id"].item())
    assert "a checkpoint had all epochs of this run; nothing was trained" in here(*one).stdout
    assert "this run was already in the store; nothing was trained" in here(*one).stdout


def test_without_a_home_folder_the_option_that_needs_one_is_named(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    assert named_folder("store", "runs") == "runs"
    with pytest.raises(UserError, match="store=~/runs: no home folder is known here; write"):
        named_folder("store", "~/runs")


# ---- A server -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", COMMANDS)
def test_a_password_in_the_address_of_a_server_is_shown_by_no_command(module, images, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:pass@word@127.0.0.1:1")
    monkeypatch.setattr("fmnist.tracking.store.OPENING_SECONDS", 0.0)
    options = [f"data.dir={images}", "hydra.mode=MULTIRUN"] if module in ("train", "tune") else []
    monkeypatch.setattr("sys.argv", [f"fmnist.{module}", *at(module, tmp_path / "store"), *options])
    assert importlib.import_module(f"fmnist.{module}").main() == 2
    said = capsys.readouterr()
    assert "http://me:***@127.0.0.1:1" in said.err and said.err.count("\n") == 1
    assert "@word" not in said.out + said.err and "pass@" not in said.out + said.err
    files = (file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    assert not any("pass@word" in text for text in files)


@pytest.mark.parametrize("module", COMMANDS)
def test_an_address_is_no_folder(module):
    said = mistake(module, *at(module, "http://me:word@host:5000"))
    assert "store names a folder" in said and "MLFLOW_TRACKING_URI=http://me:***@host:5000" in said


def test_what_another_program_left_in_the_environment_is_not_taken(monkeypatch):
    others = (
        "MLFLOW_RUN_ID",
        "MLFLOW_ACTIVE_MODEL_ID",
        "MLFLOW_EXPERIMENT_NAME",
        "MLFLOW_WORKSPACE",
        "KERASTUNER_ORACLE_IP",
    )
    for name in others:
        monkeypatch.setenv(name, "another's")
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    importlib.reload(environment)
    assert not set(others) & set(os.environ)
    assert (os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"], os.environ["MLFLOW_TRACKING_USERNAME"]) == ("false", "me")


@pytest.mark.parametrize("module", COMMANDS)
def test_runs_that_were_deleted_with_their_experiment_are_got_back_with_the_command_that_is_named(
    module, good, images, tmp_path
):
    shutil.copy(good, tmp_path / "mlflow.db")
    client = MlflowClient(tracking.address(tmp_path))
    experiment = client.get_experiment_by_name("fmnist").experiment_id
    client.delete_experiment(experiment)
    own = [f"data.dir={images}"] if module in ("train", "tune") else []
    options = own + [f"--port={free_port()}"] * (module == "ui")
    said = mistake(module, *at(module, tmp_path), *options)
    assert "the experiment 'fmnist' was deleted in MLflow, and with it its runs; get them back with: " in said
    environment, *command = shlex.split(said.split("with: ")[1])
    assert command == ["python", "-m", "mlflow", "experiments", "restore", "-x", experiment]
    assert environment == f"MLFLOW_TRACKING_URI={client.tracking_uri}"


# ---- Mistakes leave nothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "data.limit=9999999"], "data.limit must be at most the 600 training rows there are"),
        (["train", "-m", "data.limit=300,9999999"], "data.limit must be at most the 600 training rows there are"),
        (["train", "-m", "batch_size=32,560"], "batch_size must be at most 540, the number of rows for training"),
        (["train", "-m", "seed=0,4294967296"], "study.seeds must be at least 0 and at most 4294967295"),
        (["train", "study=smoke", "data.limit=9999"], "data.limit must be at most the 600 training rows there are"),
        (["train", "compute.backend=jax"], "compute.backend=jax needs the package jax"),
        (["train", "-m", "compute.backend=jax"], "compute.backend=jax needs the package jax"),
        (["tune", "compute.backend=jax"], "compute.backend=jax needs the package jax"),
        (["tune", "data.limit=9999"], "data.limit must be at most the 600 training rows there are"),
        (["tune", "seed=4294967295"], "seed must be at most 4294967292, since this search counts on from it"),
    ],
)
def test_what_can_be_known_before_training_is_refused_before_anything_is_recorded(
    arguments, reason, images, tmp_path, monkeypatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "jax" else find_spec(name))
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "tensorflow"))
    said = mistake(*arguments, *TINY, f"data.dir={images}", f"store={tmp_path}")
    assert reason in said and not (tmp_path / "mlflow.db").exists()
