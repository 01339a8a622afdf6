"""A run trained again from its record: the same bit for bit, and every change of the record found."""

import re
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from commands import here, mistake

from fmnist import machine, provenance, run, tracking
from fmnist.study.compose import compose_config
from fmnist.study.records import Records
from fmnist.study.reproduction import differs_here
from fmnist.tracking.registry import model_of

OPTIONS = ["model.filters=2", "model.kernel_size=3", "model.dense_units=8", "batch_size=32", "compute.threads=1",
           "optimizer.ema_momentum=0.9"]  # fmt: skip


@pytest.fixture(scope="module")
def original(images, tmp_path_factory):
    """A run of two epochs."""
    folder = tmp_path_factory.mktemp("original")
    run.execute(compose_config([*OPTIONS, "epochs=2", f"data.dir={images}", f"store={folder}"]))
    return folder


@pytest.fixture
def store(original, tmp_path):
    """The same elsewhere, to be changed."""
    shutil.copytree(original, tmp_path / "store")
    tracking.Store(tmp_path / "store")
    return tmp_path / "store"


def only(store):
    (record,) = tracking.Store(store).all_runs(also_changed=True)
    return record


def change(store, statement):
    with closing(sqlite3.connect(store / "mlflow.db")) as database:
        assert database.execute(statement).rowcount == 1
        database.commit()


def reproduce(store, *arguments, code=0):
    return here("reproduce", *(arguments or [only(store).run_id[:6]]), "--store", store, code=code).stdout


def artifacts(store):
    return store / "artifacts" / only(store).run_id / "artifacts"


def content(store):
    return {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}


def test_a_run_is_the_same_bit_for_bit_and_the_store_is_left_alone(store):
    before = content(store)
    said = reproduce(store, "--where", "model.filters=2", "--where", "seed=0")
    assert "code, packages and machine are those here" in said
    assert "bit-exact: 37 metrics, the curves of 2 epochs, 200 predictions (test), " in said
    assert content(store) == before


def test_a_record_of_which_an_option_was_changed_is_another_run(store):
    change(store, "UPDATE params SET value = '1' WHERE key = 'seed'")
    said = reproduce(store, code=3)
    assert "not the same" in said and "another fmnist.signature than it has" in said
    assert "test labels" not in said.partition("what ")[2] and "test predicted" in said and "of its weights" in said


def test_every_number_of_a_record_that_was_changed_is_found(store):
    record, opened = only(store), tracking.Store(store)
    change(store, "UPDATE latest_metrics SET value = 0.5 WHERE key = 'test/accuracy'")
    change(store, "UPDATE metrics SET value = 0.5 WHERE key = 'val/accuracy' AND step = 1")
    arrays = opened.predictions(record.run_id)
    arrays["test_predicted"][:3] = (arrays["test_predicted"][:3] + 1) % 10
    np.savez(artifacts(store) / tracking.PREDICTIONS, **arrays)
    said = reproduce(store, code=3)
    found = said.partition("off by\n")[2].splitlines()[1:]
    names = [line.split("  ")[0] for line in found]
    assert names == ["test/accuracy", "val/accuracy, 1 epoch from 1", "test predicted"]
    accuracy = record.metrics["test/accuracy"]
    assert f"{accuracy:.8g}" in found[0] and f"{accuracy - 0.5:+.3g}".replace("-", "−") in found[0]
    assert "3 of 200" in found[2]


def test_a_run_gets_the_model_that_its_record_lacks(store):
    opened, run_id = tracking.Store(store), only(store).run_id
    shutil.rmtree(store / "artifacts" / "models")
    change(store, "DELETE FROM inputs WHERE destination_type = 'MODEL_OUTPUT'")
    change(store, "DELETE FROM logged_models")
    assert model_of(opened, run_id) is None
    said = reproduce(store, run_id, "--keep")
    assert "weights" not in said and "its model and predictions are kept" in said
    assert model_of(opened, run_id)


def test_what_differs_here_is_said_and_what_no_commit_has_is_shown(store):
    (artifacts(store) / "provenance" / "uncommitted.diff").write_text("+a line\x1b\n")
    change(store, "UPDATE tags SET value = 'Z80' WHERE key = 'machine.cpu'")
    change(store, "UPDATE tags SET value = '0123' WHERE key = 'fmnist.lock'")
    change(store, "DELETE FROM tags WHERE key = 'machine.instructions'")  # as in early records
    records = Records(str(store))
    record = records.find(only(store).run_id)
    differing = differs_here(records.store, record, records.config(record))
    rows = {what: [recorded, ours] for what, recorded, ours, _ in differing}
    assert rows["machine: cpu"] == ["Z80", machine.cpu()] and rows["packages: lock file"] == ["0123", provenance.lock()]
    assert "machine: instructions" not in rows
    assert reproduce(store, record.run_id, "--show-diff") == "+a line\\x1b\n"


def test_a_lock_file_is_recorded_only_where_its_packages_compute(monkeypatch):
    lock = provenance.lock_of()
    assert provenance.lock.__wrapped__() == provenance.lock_digest(lock)
    monkeypatch.setattr(provenance, "lock_of", lambda: re.sub("^keras==.*", "keras==3.10.0", lock, flags=re.M))
    assert provenance.lock.__wrapped__() is None


def test_the_packages_of_a_record_are_installed_from_its_lock_file_or_it_is_said_why_not(store, tmp_path, monkeypatch):
    run_id, place = only(store).run_id, tmp_path / "environment"
    asked = [run_id, "--environment", place, "--store", store]
    (tmp_path / "checkout").mkdir()
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "checkout" / "fmnist")
    assert "is neither the one here nor that of its commit" in mistake("reproduce", *asked)
    lock = "# nothing but this line\n"
    (tmp_path / "checkout" / "requirements.lock").write_text(lock)
    change(store, f"UPDATE tags SET value = '{provenance.lock_digest(lock)}' WHERE key = 'fmnist.lock'")
    assert "0 packages" in reproduce(store, *asked[:3])
    assert (place / "bin" / "python").exists() and (place / "requirements.lock").read_text() == lock
    assert "is taken" in mistake("reproduce", *asked)
    change(store, "DELETE FROM tags WHERE key = 'fmnist.lock'")
    place.rename(tmp_path / "done")
    assert "has no lock file recorded, and git has none" in mistake("reproduce", *asked)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which run? Name it by its id"),
        (["champion"], "fashion-mnist has no champion yet"),
        (["ffff"], "of 1 recorded run none begins so"),
        (["--where", "seed=7"], "0 runs with these options; one is needed"),
        (["--where", "seed=0", "model.filters=3"], "but got 'model.filters=3' too"),
        (["--where", "seed=0", "data.dir=/nowhere"], "/nowhere"),
    ],
)
def test_what_is_no_run_of_the_store_is_refused(arguments, said, original):
    assert said in mistake("reproduce", *arguments, "--store", original)
