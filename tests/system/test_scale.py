"""What a server is asked for, and what is kept of its runs: MLflow's server in this process, and its requests."""

import gzip
import os
import re
import sqlite3
import sys
import threading
from collections import Counter
from contextlib import closing
from types import SimpleNamespace

import pandas as pd
import pytest
from commands import TINY, here
from invented import configs, write
from mlflow import server as mlflow_server
from mlflow.server import constants, handlers
from werkzeug.serving import make_server

from fmnist import tracking
from fmnist.schema import PER_EPOCH
from fmnist.tracking import ended_runs, histories, server_requests, store
from fmnist.work import display

OF_A_RECORD = re.compile(r"mlflow-artifacts|logged-models|runs/(create|get|update|log-|set-tag|outputs)")


@pytest.fixture(scope="module")
def requests(tmp_path_factory):
    """The server's address, the paths it was asked for, what was said of connections, and which answers shall fail."""
    folder = tmp_path_factory.mktemp("server")
    store.create(f"sqlite:///{folder}/mlflow.db")
    asked, connections, failing = list[str](), set[str | None](), list[bool]()

    def count(environment, respond):
        asked.append(environment["PATH_INFO"])
        connections.add(environment.get("HTTP_CONNECTION"))
        if failing and failing.pop():
            respond("500 Internal Server Error", [])
            return []
        return mlflow_server.app(environment, respond)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(constants.SERVE_ARTIFACTS_ENV_VAR, "true")
        patch.setenv(constants.ARTIFACTS_DESTINATION_ENV_VAR, f"{folder}/artifacts")
        patch.setenv(constants.ARTIFACT_ROOT_ENV_VAR, "mlflow-artifacts:/")
        patch.setenv(constants.BACKEND_STORE_URI_ENV_VAR, f"sqlite:///{folder}/mlflow.db")
        patch.setattr(handlers, "_tracking_store", None)
        patch.setattr(handlers.utils, "set_tracking_uri", lambda uri: None)  # of this process, where the client is too
        patch.setitem(sys.modules, "mlflow.server.auth", None)  # as where nobody signs in: its import warns
        listening = make_server("127.0.0.1", 0, count, threaded=True)
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.port}", asked, connections, failing
        listening.shutdown()


@pytest.fixture
def asked(requests, monkeypatch):
    """The paths that a test asks for."""
    address, paths, *_ = requests
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    paths.clear()
    return paths


def test_a_run_of_a_sweep_asks_for_little_but_its_own_record(asked, images, tmp_path, one_process, monkeypatch):
    monkeypatch.setattr(display, "pause", lambda store, last_news: 1e6)  # looks at what goes on come with time
    runs = 4
    for seeds in ("0", "1,2"):  # the first makes the experiments
        asked.clear()
        options = [f"data.dir={images}", f"store={tmp_path}", f"seed={seeds}", "epochs=1,2"]
        here("train", "-m", *TINY, *options, MLFLOW_TRACKING_URI=os.environ["MLFLOW_TRACKING_URI"])
    whole = list(asked)
    beside = [path for path in whole if not OF_A_RECORD.search(path)]
    assert len(beside) < runs * 15, Counter(beside)
    assert len(whole) < runs * 75, Counter(whole)
    assert len(tracking.load(str(tmp_path))) == 2 + runs


@pytest.fixture
def kept(asked, tmp_path):
    """A store with four runs, of which it has read all."""
    opened = tracking.Store(str(tmp_path))
    for run in opened.client.all_runs(opened.id):
        opened.client.delete_run(run.run_id)
    for config in list(configs(20))[::5]:
        write(opened, config)
    assert len(tracking.load(str(tmp_path))) == 4
    return opened


def current(opened):
    """What is read with what is kept, which must be what the server has."""
    runs = tracking.load(opened.folder)
    truth = tracking.frame(list(opened.client.all_runs(opened.id)))
    by = ["run_id"]
    pd.testing.assert_frame_equal(*(each.sort_values(by, ignore_index=True) for each in (runs, truth)), check_like=True)
    return runs


def test_no_request_waits_on_the_connection_of_another(kept, requests):
    current(kept)
    assert requests[2] == {"close"}


def test_a_server_that_fails_twice_is_asked_again_and_one_that_goes_on_failing_does_not_answer(kept, requests):
    failing = requests[3]
    failing += [True, True]
    assert len(current(kept)) == 4 and not failing
    failing += 3 * [True]
    with pytest.raises(tracking.AwayError, match="does not answer"):
        kept.client.get_experiment_by_name("fmnist")
    failing += [True]
    with pytest.raises(tracking.AwayError, match="does not answer"):
        kept.client.at_once("get_experiment_by_name")("fmnist")
    assert not failing


def test_what_has_ended_is_read_once(kept, asked):
    asked.clear()
    runs = current(kept)
    assert len(runs) == 4 and runs["val/accuracy"].notna().all()
    (file,) = kept.folder.glob(".server-*.db")
    before = file.read_bytes()
    write(kept, list(configs(40))[-1])
    assert len(current(kept)) == 5 and file.read_bytes() != before


def test_what_is_done_to_ended_runs_on_the_server_is_seen(kept):
    client, (first, second, third, *_) = kept.client, current(kept)["run_id"]
    client.delete_run(first)
    assert first not in set(current(kept)["run_id"])
    client.restore_run(first)
    client.delete_run(second)
    assert first in set(current(kept)["run_id"])
    old = write(kept, list(configs(44))[-1])
    client.update_run(old, status="RUNNING")
    current(kept)
    client.set_terminated(old, "FINISHED", 1000)  # as an import does, or a machine whose clock is slow
    assert old in set(current(kept)["run_id"])
    client.set_tag(third, "fmnist.study", "another")
    client.set_tag(third, "fmnist.trial", "1")
    client.set_tag(third, "fmnist.search", "random-1")
    assert set(current(kept).set_index("run_id").loc[third, ["study", "search"]]) == {"another", "random-1"}
    client.set_tag(third, "fmnist.search", "random-2")
    client.delete_tag(third, "fmnist.study")
    current(kept)
    (file,) = kept.folder.glob(".server-*.db")
    assert b"random-2" in file.read_bytes()  # so that it is not read anew the next time


def is_as_one_by_one(opened):
    """Whether the epochs of all runs are what MLflow's client says of each number of each run."""
    run_ids = [run.run_id for run in opened.all_runs()]
    found = opened.histories(run_ids)
    assert list(found) == run_ids
    for run_id, history in found.items():
        columns = {key: opened.client.by_step(run_id, key) for key in PER_EPOCH}
        pd.testing.assert_frame_equal(history, pd.DataFrame(columns).sort_index().rename_axis("epoch"))
    return True


def test_the_epochs_of_all_runs_come_by_one_request_for_each_kind_of_number(kept, asked):
    run_ids = [run.run_id for run in kept.all_runs()]
    asked.clear()
    kept.histories(run_ids)
    assert len(asked) == len(PER_EPOCH)
    assert is_as_one_by_one(kept)


def test_epochs_that_are_more_than_a_server_tells_at_once_or_of_a_server_that_does_not_are_read_one_by_one(
    kept, asked, monkeypatch
):
    monkeypatch.setattr(histories, "MOST_NUMBERS", 4)  # as if the server had stopped there
    assert is_as_one_by_one(kept)
    monkeypatch.setattr(server_requests, "_NUMBERS", "/ajax-api/2.0/mlflow/nowhere")
    assert is_as_one_by_one(kept)


def test_epochs_of_a_server_that_does_not_answer_are_waited_for_once(kept, requests):
    failing = requests[3]
    run_ids = [run.run_id for run in kept.all_runs()]
    failing += 4 * [True]  # one more than a call is sent again
    with pytest.raises(tracking.AwayError, match="does not answer"):
        kept.histories(run_ids)
    assert failing == [True]
    failing.clear()


@pytest.mark.parametrize("damage", ["no database", "no table", "no record"])
def test_what_is_kept_and_damaged_is_thrown_away(kept, damage):
    (file,) = kept.folder.glob(".server-*.db")
    if damage == "no database":
        file.write_bytes(b"damaged" * 1000)
    else:
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("DROP TABLE runs" if damage == "no table" else "UPDATE runs SET record = '[1, {'")
    assert len(current(kept)) == 4 and len(current(kept)) == 4


def test_where_nothing_can_be_kept_all_is_read(kept, tmp_path):
    (file,) = kept.folder.glob(".server-*.db")
    file.unlink()
    file.mkdir()
    assert len(current(kept)) == 4


# ---- What is kept for others ------------------------------------------------------------------------------------


@pytest.fixture
def shared(kept, monkeypatch, tmp_path_factory):
    """The store after its reader has left what it read for others, and the store of a folder that has read nothing."""
    monkeypatch.setattr(ended_runs, "SHARED_EVERY", 5)
    write(kept, list(configs(40))[-1])
    current(kept)
    return kept, tracking.Store(str(tmp_path_factory.mktemp("newcomer")))


def test_a_folder_that_has_read_nothing_begins_with_what_others_have_read(shared, asked, monkeypatch):
    _, newcomer = shared
    monkeypatch.setattr(ended_runs, "_all", None)  # is not called
    write(newcomer, list(configs(44))[-1])
    assert len(current(newcomer)) == 6


@pytest.mark.parametrize("place", ["gs://bucket/1", "nowhere://1"])  # no package for it, or for nothing in the world
def test_where_nothing_can_be_left_for_others_all_is_read(kept, place, monkeypatch):
    monkeypatch.setattr(ended_runs, "SHARED_EVERY", 1)
    experiment = SimpleNamespace(artifact_location=place)
    monkeypatch.setattr(type(kept.client), "get_experiment", lambda client, id: experiment, raising=False)
    next(kept.folder.glob(".server-*.db")).unlink()
    assert kept.client.artifact(kept.id, ended_runs.SHARED) == b""
    assert len(current(kept)) == 4


def test_what_others_have_read_is_held_against_the_server(shared):
    others, newcomer = shared
    gone, old, *_ = current(others)["run_id"]
    others.client.delete_run(gone)
    others.client.set_tag(old, "fmnist.study", "another")
    assert set(current(newcomer).set_index("run_id").loc[[old], "study"]) == {"another"}


def test_what_others_have_left_and_is_damaged_is_passed_over(shared, tmp_path):
    others, _ = shared
    whole = gzip.compress(b"{}")
    for content in (b"", gzip.compress(b'[["run"'), gzip.compress(b"[[1]]"), whole + b"0", whole[:-9]):
        others.client.put_artifact(others.id, ended_runs.SHARED, content)
        assert ended_runs._shared(others.client, others.id) == {}
    assert len(current(tracking.Store(str(tmp_path)))) == 5
