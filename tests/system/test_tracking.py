"""What the store gives back: all runs as a frame, the epochs of a run, its predictions."""

import ast
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pandas as pd
import pytest
from invented import configs, write
from mlflow import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from fmnist import tracking
from fmnist.config import from_flat
from fmnist.schema import COLUMNS, PER_EPOCH, Status
from fmnist.tracking import database


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with runs of all kinds, none of which a test may change."""
    store = tracking.Store(str(tmp_path_factory.mktemp("store")))
    write(store, next(configs(1)))
    wild = store.begin("wild", "s1", {"epochs": 2, "seed": 4, "model.filters": [32, 64]}, {"variant": "ü=1"})
    wild.epochs([epoch(0.8), epoch(float("nan"))])
    wild.end(Status.FAILED)
    store.begin("just begun", "s2", {"epochs": 1}, {})
    deleted = store.begin("deleted", "s3", {}, {})
    store.client.delete_run(deleted.run_id)
    store.sweeps.announce("a sweep", {"study": "x"})
    return store


def epoch(accuracy):
    return {
        "train/loss": 0.5,
        "train/accuracy": 0.7,
        "val/loss": float("inf"),
        "val/accuracy": accuracy,
        "time/epoch_s": 1.5,
        "time/ended_ms": 1000.0,
    }


def run_id(store, name):
    return tracking.frame(store.all_runs()).set_index("run_name")["run_id"][name]


def busy(*_):
    raise sqlite3.OperationalError("database is locked")


# ---- The frame ------------------------------------------------------------------------------------------


def test_a_database_is_read_as_the_client_reads_it(store, monkeypatch):
    short = tracking.frame(store.all_runs())
    monkeypatch.setattr(database, "_runs", busy)
    pd.testing.assert_frame_equal(short, tracking.frame(store.all_runs()))
    pd.testing.assert_frame_equal(short, tracking.load(store.folder))
    assert sorted(short["run_name"]) == ["baseline · seed 0 · 1 epoch", "just begun", "wild"]


def test_runs_longer_than_a_page_are_all_read_by_the_client(store, monkeypatch):
    short = tracking.frame(store.all_runs())
    monkeypatch.setattr(database, "_runs", busy)
    monkeypatch.setattr("fmnist.tracking.client.PAGE", 1)
    pd.testing.assert_frame_equal(short, tracking.frame(store.all_runs()))


def test_numbers_that_are_not_finite_come_back(store):
    wild = tracking.frame(store.all_runs()).set_index("run_name").loc["wild"]
    assert np.isnan(wild["val/accuracy"]) and wild["val/loss"] > 1e300  # as large as the database can
    assert (wild["status"], wild["seed"], wild["model.filters"], wild["variant"]) == ("FAILED", 4, "[32, 64]", "ü=1")


def test_counts_of_images_are_whole_numbers_and_0_where_an_older_run_does_not_say(store):
    runs = tracking.frame(store.all_runs()).set_index("run_name")
    assert runs["test_images"].dtype == runs["validation_images"].dtype == "int64"
    assert runs.loc["wild", ["test_images", "validation_images"]].tolist() == [0, 0]
    assert runs.loc["baseline · seed 0 · 1 epoch", ["test_images", "validation_images"]].tolist() == [10_000, 6_000]


def test_only_the_client_can_tell_of_servers_other_tables_and_what_is_no_database(tmp_path):
    assert database.read("http://127.0.0.1:1", "fmnist") is None
    sqlite3.connect(tmp_path / "empty.db").close()
    assert database.read(f"sqlite:///{tmp_path}/empty.db", "fmnist") is None
    (tmp_path / "damaged.db").write_text("no database" * 1000)
    assert database.read(f"sqlite:///{tmp_path}/damaged.db", "fmnist") is None
    assert (
        database.read(f"sqlite:///{tmp_path}/missing.db", "fmnist") is None and not (tmp_path / "missing.db").exists()
    )


def test_an_option_that_a_record_lacks_has_its_default_and_a_run_without_options_has_none(tmp_path):
    """As in the store of a version that did not have the option yet."""
    store = tracking.Store(str(tmp_path))
    write(store, from_flat(next(configs(1)), {"model.batch_norm": True}))
    store.begin("killed at once", "s", {}, {})
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute("DELETE FROM params WHERE key = 'compute.backend'")
    for runs in (tracking.load(str(tmp_path)), tracking.frame(store.all_runs())):
        row, killed = (
            runs[runs["run_name"] == name].iloc[0] for name in ("batch_norm=true · seed 0 · 1 epoch", "killed at once")
        )
        assert row[["model.batch_norm", "compute.backend"]].tolist() == ["true", "tensorflow"]
        assert killed[["model.batch_norm", "compute.backend"]].isna().all() and killed["epochs"] == 0


def test_an_attempt_read_again_is_the_same_whatever_its_numbers_are(store):
    """Or a failed run, whose accuracy is no number, would be news at every look."""
    once, again = ({run.name: run for run in store.runs()} for _ in range(2))
    assert once == again and np.isnan(once["wild"].val_accuracy) and np.isnan(once["just begun"].val_accuracy)
    assert once["wild"].ended > 0 == once["just begun"].ended


SET_TAG = "UPDATE tags SET value = '{1}' WHERE key = 'fmnist.{0}'"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE params SET value = 'three' WHERE key = 'epochs'", "epochs must be a whole number, but got 'three'"),
        ("UPDATE params SET value = '3' WHERE key = 'epochs'", "its options give another fmnist.signature than it has"),
        (
            "UPDATE params SET value = 'x' WHERE key = 'data.validation'",
            "data.validation must be a number, but got 'x'",
        ),
        ("DELETE FROM params WHERE key = 'seed'", "it lacks seed"),
        ("DELETE FROM params", "it has no parameters"),
        ("DELETE FROM tags WHERE key = 'fmnist.signature'", "it has no fmnist.signature, so it is no run of fmnist"),
        (SET_TAG.format("signature", "0" * 16), "its options give another fmnist.signature than it has"),
        (SET_TAG.format("variant_signature", "0" * 16), "another fmnist.variant_signature than it has"),
        (SET_TAG.format("parameters", "many"), "fmnist.parameters must be a whole number, but got 'many'"),
        ("UPDATE latest_metrics SET value = 'high' WHERE key = 'val/accuracy'", "val/accuracy must be a number"),
        (
            "UPDATE latest_metrics SET value = 90 WHERE key = 'val/accuracy'",
            "val/accuracy must be from 0 to 1, but got 90",
        ),
        ("UPDATE tags SET value = CAST(x'ff' AS TEXT) WHERE key = 'fmnist.data_digest'", "another fmnist.signature"),
        ("UPDATE runs SET start_time = 'then'", "start_time must be a whole number, but got 'then'"),
        ("UPDATE runs SET start_time = 1e40", "start_time must be a whole number, but got '1e+40'"),
        ("UPDATE runs SET end_time = x'ff'", "ended must be a whole number, but got"),
    ],
)
def test_a_run_that_others_have_written_or_changed_is_left_out_and_named_with_the_reason(
    change, reason, tmp_path, monkeypatch, caplog
):
    changed, kept = configs(2)
    store = tracking.Store(str(tmp_path))
    run_id = write(store, changed)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute(change)
    write(store, kept)
    for read in (lambda store: tracking.frame(store.all_runs()), lambda store: tracking.load(store.folder)):
        assert len(read(store)) == 1
    ((_, _, message),) = caplog.record_tuples
    assert f"(run {run_id}) is left out: " in message and reason in message and "\n" not in message
    monkeypatch.setattr(database, "_runs", busy)
    assert len(tracking.frame(store.all_runs())) == len(list(store.runs())) == 1


# ---- Tags ---------------------------------------------------------------------------------------------


def test_a_description_by_plain_names_becomes_the_tags_that_stores_have_always_had():
    description = {"variant": "ü=1", "study": None, "parameters": 7, "confirms": True, "machine.gpu": "none"}
    assert tracking.as_tags(description | {"note": "Again", "source": "s", "commit": "c", "parent": "p"}) == {
        "fmnist.variant": "ü=1",
        "fmnist.parameters": "7",
        "fmnist.confirms": "true",
        "machine.gpu": "none",
        "mlflow.note.content": "Again",
        "mlflow.source.name": "s",
        "mlflow.source.git.commit": "c",
        "mlflow.parentRunId": "p",
    }


def test_no_tag_is_spelled_out_but_in_tracking():
    package = Path(tracking.__file__).parent.parent
    tags = {column.tag for column in COLUMNS.values() if column.tag.startswith("fmnist.")}
    for file in package.rglob("*.py"):
        texts = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
        spelled = {text for text in texts if isinstance(text, str) and (text in tags or text.startswith("mlflow."))}
        assert not spelled or file.parent.name == "tracking", (file, spelled)


# ---- Epochs and predictions -----------------------------------------------------------------------------


def test_a_history_has_a_row_an_epoch_and_runs_without_epochs_are_left_out(store):
    wild, begun = run_id(store, "wild"), run_id(store, "just begun")
    histories = store.histories([wild, begun, "nowhere"])
    assert list(histories) == [wild]
    expected = pd.DataFrame([epoch(0.8), epoch(float("nan"))], index=pd.Index([1, 2], name="epoch"))[[*PER_EPOCH]]
    history = histories[wild]
    assert (history["val/loss"] > 1e300).all()
    pd.testing.assert_frame_equal(history.drop(columns="val/loss"), expected.drop(columns="val/loss"))


@pytest.mark.parametrize("change", ["step = ' '", "step = 0.5", "step = 1e40", "step = -1", "value = 'high'"])
def test_a_number_of_an_epoch_that_others_have_changed_is_left_out_and_named(change, tmp_path, caplog):
    store = tracking.Store(str(tmp_path))
    writer = store.begin("changed", "s", {}, {})
    writer.epochs([epoch(0.7), epoch(0.8)])
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute(f"UPDATE metrics SET {change} WHERE key = 'val/accuracy' AND step = 2")
    history = store.histories([writer.run_id])[writer.run_id]
    assert history.index.tolist() == [1, 2] and history["val/accuracy"].isna().tolist() == [False, True]
    ((_, _, message),) = caplog.record_tuples
    assert message.startswith("'val/accuracy, step ") and f"(run {writer.run_id}) is left out: " in message


def test_predictions_come_back_as_they_were_kept(store):
    writer = store.begin("with predictions", "s4", {}, {})
    classes = {"test_labels": np.ones(10, np.uint8), "test_predicted": np.arange(10, dtype=np.uint8)}
    kept = classes | {"test_probabilities": np.eye(3, dtype=np.float16)}
    writer.arrays(tracking.PREDICTIONS, **kept)
    arrays = store.predictions(writer.run_id)
    assert arrays.keys() == kept.keys()
    for name, array in kept.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
    store.client.delete_run(writer.run_id)


def test_mlflow_draws_no_bars_over_our_tables_where_tqdm_is_installed(tmp_path, monkeypatch, capfd):
    store = tracking.Store(str(tmp_path / "store"))
    experiment = store.client.get_run(store.begin("one", "s1", {}, {}).run_id).info.experiment_id
    store.client.put_artifact(experiment, "note.txt", b"kept")
    (tmp_path / "tqdm").mkdir()
    (tmp_path / "tqdm" / "__init__.py").touch()
    (tmp_path / "tqdm" / "auto.py").write_text("def tqdm(*arguments, **options):\n    print('a bar')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    assert store.client.artifact(experiment, "note.txt") == b"kept"
    assert "a bar" not in capfd.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no arrays", b"PK\x03\x04" + bytes(100), None])
def test_predictions_that_are_missing_or_damaged_are_none(store, content):
    wild = run_id(store, "wild")
    if content is not None:
        folder = Path(urlparse(store.client.get_run(wild).info.artifact_uri).path)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / tracking.PREDICTIONS).write_bytes(content)
    assert store.predictions(wild) is None
    if content is not None:
        (folder / tracking.PREDICTIONS).unlink()


def test_predictions_cut_short_are_none(store):
    writer = store.begin("cut short", "s5", {}, {})
    writer.arrays(tracking.PREDICTIONS, test_probabilities=np.random.default_rng(0).random((100, 10)))
    file = Path(urlparse(store.client.get_run(writer.run_id).info.artifact_uri).path) / tracking.PREDICTIONS
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert store.predictions(writer.run_id) is None
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes(8) + whole[middle + 8 :])
    assert store.predictions(writer.run_id) is None
    store.client.delete_run(writer.run_id)


def test_a_store_that_is_moved_or_copied_has_its_files_where_it_is_and_writes_there(tmp_path):
    def record(folder, seed):
        run_id = write(tracking.Store(str(folder)), next(configs(1)) if seed is None else list(configs(4))[3])
        client = MlflowClient(tracking.address(folder))
        client.log_text(run_id, folder.name, "where.txt")
        return client, run_id

    before = tmp_path / "with a blank, 100%20?, # and ü"
    _, first = record(before, None)
    shutil.copytree(before, tmp_path / "copy")
    before.rename(tmp_path / "moved")
    for place in (tmp_path / "copy", tmp_path / "moved"):
        client, second = record(place, 3)
        for run_id in (first, second):
            artifact = Path(local_file_uri_to_path(client.get_run(run_id).info.artifact_uri)) / "where.txt"
            assert artifact.is_relative_to(place) and artifact.exists()
        assert Path(client.download_artifacts(first, "where.txt", str(tmp_path))).read_text() == before.name
        models = client.search_logged_models([client.get_run(first).info.experiment_id])
        assert all(str(place / "artifacts") in local_file_uri_to_path(m.artifact_location) for m in models)
    assert not before.exists()
