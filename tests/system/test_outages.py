"""What a user loses to servers that go away, full disks, rivals, failures and signals: nothing but time."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest
from commands import ROOT, TINY, here, mistake
from invented import configs, write
from mlflow import MlflowClient
from server import URI, Server, tiny, until

from fmnist import run, tracking
from fmnist.config import from_flat
from fmnist.identity import sign
from fmnist.tracking import store
from fmnist.training import checkpoint
from fmnist.training.data import load
from fmnist.training.locking import checkpoint_folder

TINY_THREAD = [*TINY, "compute.threads=1"]
PER_EPOCH = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "time/epoch_s")


# ---- Processes ------------------------------------------------------------------------------------------


@contextmanager
def started(*arguments, server=None, **variables):
    """`python -m fmnist.train` as a shell starts it, in a group of its own; nothing of it is left behind."""
    environment = {key: value for key, value in os.environ.items() if key != URI}
    process = subprocess.Popen(
        [sys.executable, "-m", "fmnist.train", *map(str, arguments)],
        cwd=ROOT,
        env=environment | variables | ({URI: server} if server else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process, code, seconds=120):
    """What a process has said, which must end with exit code `code` within `seconds`."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == code, out + err
    return out, err


def train(*arguments, code=0, server=None):
    """A run or a sweep from start to end: what it said."""
    with started(*arguments, server=server) as process:
        return ended(process, code)


def only_line(err):
    """The one line on stderr; a traceback is none."""
    line = err.strip()
    assert line.count("\n") == 0 and line.startswith("fmnist.train: "), err
    return line


@pytest.fixture(scope="module")
def the_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    store.create(f"sqlite:///{folder}/mlflow.db")  # which the server would take seconds for
    server = Server(folder).start()
    yield server
    server.kill()


@pytest.fixture
def server(the_server, monkeypatch):
    """A server that is up when a test begins; this process speaks to it too."""
    if the_server.process.poll() is not None:
        the_server.start()
    monkeypatch.setenv(URI, the_server.uri)
    return the_server.wait()


# ---- What must come out ---------------------------------------------------------------------------------


def undisturbed(config, folder, monkeypatch):
    """The numbers of the same run in a store of its own, where nothing goes wrong."""
    with monkeypatch.context() as patch:
        patch.delenv(URI, raising=False)
        return numbers(run.execute(from_flat(config, {"store": str(folder)})).metrics)


def numbers(metrics):
    """Those that do not depend on the clock."""
    found = {key: value for key, value in metrics.items() if not key.startswith("time/")}
    assert len(found) > 30
    return found


def steps(store, run_id):
    """The steps of a run's metrics in the order of their arrival, which must be the same for all."""
    client = MlflowClient(tracking.address(str(store)))
    found = [[metric.step for metric in client.get_metric_history(run_id, key)] for key in PER_EPOCH]
    assert all(other == found[0] for other in found)
    return found[0]


def finals(store, study=False):
    """The numbers of every run by its name; all are finished, each is there once and has each of its steps once.

    With `study` those of study smoke alone, on a server that other tests have used.
    """
    runs = tracking.load(str(store)).set_index("run_name").sort_index()
    runs = runs[runs["data.limit"] == "600"] if study else runs
    assert set(runs["status"]) == {"FINISHED"}
    assert runs["signature"].is_unique
    for record in runs.itertuples():
        assert steps(store, record.run_id) == list(range(1, record.epochs + 1))
    return runs[[name for name in runs if name.startswith(("train/", "val/", "test/"))]]


def statuses(store):
    return list(tracking.load(str(store))["status"])


def test_a_run_is_removed_from_a_server_with_its_files_and_it_is_said_who_removes_the_rest(server, tmp_path):
    opened = tracking.Store(str(tmp_path))
    run_id = write(opened, next(configs(1)))
    tracking.RunWriter(opened.client, run_id).texts({"config.yaml": "seed: 0"})
    assert list(server.folder.rglob(f"{run_id}/**/config.yaml"))
    asked = ["--yes", "--store", tmp_path]
    said = here("runs", "remove", run_id, *asked, MLFLOW_TRACKING_URI=server.uri).stdout
    assert "1 run removed, 0.0 MB freed here" in said and "stay the files" not in said
    assert not list(server.folder.rglob(f"{run_id}/**/config.yaml"))
    for text in (said, here("runs", "tidy", *asked, MLFLOW_TRACKING_URI=server.uri).stdout):
        assert f"MLFLOW_TRACKING_URI={server.uri} python -m mlflow gc --backend-store-uri" in text


# ---- A server that goes away ----------------------------------------------------------------------------


def test_a_server_that_is_away_in_mid_training_misses_no_epoch_and_gets_all_that_a_run_leaves(
    server, images, tmp_path, monkeypatch
):
    config = tiny(images, tmp_path / "store", epochs=6)
    heard = []

    def outage(epoch, record):
        heard.append((epoch, time.monotonic()))
        if epoch == 2:
            server.kill()
        if epoch == 5:
            server.start().wait()

    outcome = run.execute(config, run.Listener(on_epoch=outage))
    assert [epoch for epoch, _ in heard] == [1, 2, 3, 4, 5, 6]
    assert heard[4][1] - heard[1][1] < 5, "training went on without it"
    assert steps(config.store, outcome.run_id) == [1, 2, 3, 4, 5, 6]
    client = MlflowClient(server.uri)
    record = client.get_run(outcome.run_id)
    assert record.info.status == "FINISHED" and record.data.params["epochs"] == "6"
    assert record.info.artifact_uri.startswith("mlflow-artifacts:/")
    folder = Path(client.download_artifacts(outcome.run_id, "", str(tmp_path)))
    left = {path.name.split("+")[0] for path in folder.rglob("*") if path.is_file()}
    assert {"config.yaml", "predictions.npz", "history.csv", "confusion_matrix", "curves", "samples"} <= left
    (model,) = record.outputs.model_outputs
    assert client.get_logged_model(model.model_id).status == "READY"
    assert numbers(record.data.metrics) == undisturbed(config, tmp_path / "alone", monkeypatch)


def test_a_server_that_hangs_holds_training_up_once_and_is_waited_for_at_the_end(server, images, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    config = tiny(images, tmp_path, epochs=6, seed=4)
    silent, heard = socket.socket(), []
    silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def binds():
        with suppress(OSError):
            silent.bind(("127.0.0.1", server.port))
            return True
        return False

    def hang(epoch, record):
        if epoch == 2:
            server.line.cut()
            until(binds)  # once the system has let go of it
            silent.listen()  # the system accepts; nobody answers
        heard.append(time.monotonic())
        if epoch == 6:
            threading.Timer(3.0, lambda: (silent.close(), server.line.mend())).start()

    with silent:
        outcome = run.execute(config, run.Listener(on_epoch=hang))
    assert heard[5] - heard[1] < 2 * 2, "one time-out in four epochs"
    assert MlflowClient(server.uri).get_run(outcome.run_id).info.status == "FINISHED"
    assert steps(tmp_path, outcome.run_id) == [1, 2, 3, 4, 5, 6]


def test_a_trained_run_waits_for_a_server_that_is_away_at_its_end(server, images, tmp_path):
    config = tiny(images, tmp_path, epochs=2, seed=1)

    def outage(epoch, record):
        if epoch == 2:
            server.line.cut()
            threading.Timer(2.0, server.line.mend).start()

    outcome = run.execute(config, run.Listener(on_epoch=outage))
    assert MlflowClient(server.uri).get_run(outcome.run_id).info.status == "FINISHED"
    assert steps(tmp_path, outcome.run_id) == [1, 2]


def test_a_run_gives_up_on_a_server_that_stays_away_and_its_record_is_completed_when_it_is_back(
    server, images, tmp_path
):
    arguments = [*TINY_THREAD, f"data.dir={images}", f"store={tmp_path}", "seed=2", "patience=3", "epochs=30"]
    with started(*arguments, server=server.uri) as process:
        until(lambda: list(tmp_path.glob("checkpoints/*/epoch-0003.ckpt")))
        server.line.cut()
        _, err = ended(process, 1, seconds=60)
    warning, last = err.splitlines()
    assert "training goes on" in warning
    assert last == f"fmnist.train: {server.uri} does not answer: [Errno 111] Connection refused"
    (file,) = tmp_path.glob("checkpoints/*/rung-0030.ckpt")
    checkpoint.load(file)
    server.wait()
    assert statuses(tmp_path).count("RUNNING") == 1
    assert "nothing was trained" in here("train", *arguments, MLFLOW_TRACKING_URI=server.uri).stdout
    (record,) = tracking.load(str(tmp_path)).query("seed == 2").to_dict("records")
    assert record["status"] == "FINISHED" and steps(tmp_path, record["run_id"]) == list(range(1, 31))


def test_who_is_interrupted_does_not_wait_for_a_server_that_is_away(server, images, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # which an interruption makes shorter
    arguments = [*TINY_THREAD, f"data.dir={images}", f"store={tmp_path}", "seed=3", "epochs=9999"]
    moments = []

    def interrupt():
        until(lambda: list(tmp_path.glob("checkpoints/*/epoch-0003.ckpt")))
        server.line.cut()
        moments.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    err = here("train", *arguments, code=130, MLFLOW_TRACKING_URI=server.uri).stderr
    assert time.monotonic() - moments[0] < 10
    assert "interrupted; the same command goes on where this stopped" in err and "Traceback" not in err


@pytest.mark.parametrize("arguments", [[], ["study=smoke"]], ids=["run", "sweep"])
def test_a_server_that_was_never_there_is_a_mistake_that_is_told_at_once(arguments, images, tmp_path):
    began = time.monotonic()
    place = [f"data.dir={images}", f"store={tmp_path}"]
    said = mistake("train", *arguments, *place, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "http://127.0.0.1:9 does not answer" in said and time.monotonic() - began < 15


@pytest.fixture(scope="module")
def calm(images, tmp_path_factory):
    """The numbers of study smoke where nothing goes wrong."""
    store = tmp_path_factory.mktemp("calm")
    train(*smoke(images, store))
    return finals(store)


def smoke(images, store):
    return ["study=smoke", f"data.dir={images}", f"store={store}", "compute.precision=float32"]


@pytest.mark.slow
def test_a_sweep_outlives_an_outage_of_its_server(server, images, tmp_path, calm):
    with started(*smoke(images, tmp_path), server=server.uri) as sweep:
        until(lambda: list(tmp_path.glob("checkpoints/*/*.ckpt")))
        server.kill()
        time.sleep(3)
        server.start().wait()
        _, err = ended(sweep, 0)
    assert "Traceback" not in err
    pd.testing.assert_frame_equal(finals(tmp_path, study=True)[calm.columns], calm, check_exact=True)


def test_a_database_that_is_locked_for_a_while_holds_a_run_up_and_does_not_fail_it(images, tmp_path):
    config = tiny(images, tmp_path, epochs=3)
    database = []

    def lock(epoch, record):
        if epoch == 1:
            database.append(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None, check_same_thread=False))
            database[0].execute("BEGIN EXCLUSIVE")
            threading.Timer(6.0, database[0].rollback).start()

    outcome = run.execute(config, run.Listener(on_epoch=lock))
    database[0].close()
    assert statuses(tmp_path) == ["FINISHED"] and steps(tmp_path, outcome.run_id) == [1, 2, 3]


# ---- A disk that is full --------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own; called with a size it becomes as large."""
    place = tmp_path / "disk"
    place.mkdir()

    def resize(kilobytes):
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", place], check=True)
        return place

    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk is not permitted here")
    yield resize
    subprocess.run(["umount", "-l", place], check=True)


def fill(place, leave):
    """Take all space of a disk but `leave` kilobytes."""
    free = os.statvfs(place)
    (place / "ballast").write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - leave * 1024)))


def tells_of_space(err, place):
    line = only_line(err)
    assert str(place) in line and ("No space left on device" in line or "disk is full" in line), line


@pytest.mark.slow
@pytest.mark.parametrize("leave", [20, 80, 400], ids=["database", "checkpoint", "artifact"])
def test_a_run_on_a_full_disk_says_so_and_is_completed_once_there_is_space(leave, disk, images, tmp_path, monkeypatch):
    place = disk(65536)
    tracking.Store(str(place))
    fill(place, leave)
    arguments = [*TINY_THREAD, f"data.dir={images}", f"store={place}", "epochs=5"]
    _, err = train(*arguments, code=1)
    tells_of_space(err, place)
    for file in place.glob("checkpoints/*/*.ckpt"):
        checkpoint.load(file)
    (place / "ballast").unlink()
    train(*arguments)
    (record,) = tracking.load(str(place)).to_dict("records")
    assert record["status"] == "FINISHED" and steps(place, record["run_id"]) == [1, 2, 3, 4, 5]
    alone = undisturbed(tiny(images, place, epochs=5), tmp_path / "alone", monkeypatch)
    assert {key: record[key] for key in alone} == alone


@pytest.mark.slow
@pytest.mark.parametrize("leave", [60, 700])
def test_a_sweep_on_a_full_disk_says_so_and_is_completed_once_there_is_space(leave, disk, images, calm):
    place = disk(65536)
    tracking.Store(str(place))
    fill(place, leave)
    _, err = train(*smoke(images, place), code=1)
    tells_of_space(err, place)
    (place / "ballast").unlink()
    train(*smoke(images, place))
    pd.testing.assert_frame_equal(finals(place)[calm.columns], calm, check_exact=True)


# ---- Rivals, failures, signals --------------------------------------------------------------------------


@pytest.mark.slow
def test_two_sweeps_at_once_share_the_runs(images, tmp_path, calm):
    with started(*smoke(images, tmp_path)) as first, started(*smoke(images, tmp_path), "epochs=2") as second:
        ended(first, 0)
        ended(second, 0)
    pd.testing.assert_frame_equal(finals(tmp_path)[calm.columns], calm, check_exact=True)


CLOCK = """
import time
time.time, time.time_ns = (
    lambda now=time.time: now() - 300, lambda now=time.time_ns: now() - 300_000_000_000
)
"""


@pytest.mark.slow
def test_two_folders_on_one_server_one_killed_the_other_s_clock_slow_come_to_what_one_machine_does(
    images, tmp_path, calm, monkeypatch
):
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    lease = {"FMNIST_LEASE_SECONDS": "12"}
    store.create(f"sqlite:///{tmp_path}/mlflow.db")
    shared = Server(tmp_path).start().wait()
    monkeypatch.setenv(URI, shared.uri)
    one, other = smoke(images, tmp_path / "one"), smoke(images, tmp_path / "other")
    try:
        with started(*other, server=shared.uri, **lease, PYTHONPATH=str(tmp_path)) as second:
            for _ in range(2):
                with started(*one, server=shared.uri, **lease) as first:  # which is killed at the end
                    until(lambda: list(tmp_path.glob("one/checkpoints/*/*.ckpt")) or first.poll() is not None)
            with started(*one, server=shared.uri, **lease) as first:
                ended(first, 0)
                ended(second, 0)
        pd.testing.assert_frame_equal(finals(tmp_path / "one")[calm.columns], calm, check_exact=True)
    finally:
        shared.kill()


def seeds(images, store):
    """A sweep of three runs, and the folders of their checkpoints."""
    configs = [tiny(images, store, epochs=1, seed=seed) for seed in (0, 1, 2)]
    digest = load(configs[0].data).digest
    folders = [checkpoint_folder(str(store), sign(config, digest).trajectory) for config in configs]
    return ["-m", *TINY, f"data.dir={images}", f"store={store}", "epochs=1", "seed=0,1,2"], folders


@pytest.mark.slow
def test_a_run_that_fails_stops_no_other_and_is_tried_again_by_the_next_sweep(images, tmp_path):
    arguments, folders = seeds(images, tmp_path)
    folders[0].parent.mkdir()
    folders[0].write_text("in the way")
    out, err = train(*arguments, code=1)
    assert "1 of 3 runs failed" in only_line(err) and "seed 0" in err and str(folders[0]) in err
    assert "Traceback" in out and out.index("Traceback") < out.index("Rung 1")
    (failed,) = tracking.load(str(tmp_path)).query("status == 'FAILED'").to_dict("records")
    assert failed["seed"] == 0 and "Traceback" in tracking.Store(str(tmp_path)).error(failed["run_id"])
    assert sorted(statuses(tmp_path)) == ["FAILED", "FINISHED", "FINISHED"]
    folders[0].unlink()
    train(*arguments)
    assert len(finals(tmp_path)) == 3


def test_fail_fast_starts_nothing_more(images, tmp_path, one_process):
    arguments, folders = seeds(images, tmp_path)
    folders[0].parent.mkdir()
    folders[0].write_text("in the way")
    err = here("train", *arguments, "study.fail_fast=true", code=1).stderr
    assert "1 of 3 runs failed" in only_line(err)
    assert statuses(tmp_path) == ["FAILED"]


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT] * 2], ids=len)
@pytest.mark.parametrize("strike", [os.kill, os.killpg])  # of a script, and of a terminal
def test_a_signal_ends_a_sweep_and_its_workers_soon_and_a_second_one_at_once(strike, numbers, images, tmp_path):
    arguments = ["-m", *TINY, f"data.dir={images}", f"store={tmp_path}", "seed=0,1"]
    with started(*arguments, "epochs=9999") as sweep:
        until(lambda: len(list(tmp_path.glob("checkpoints/*/epoch-*.ckpt"))) > 2, seconds=180)
        for number in numbers:
            strike(sweep.pid, number)
            time.sleep(0.2)
        _, err = ended(sweep, 130, seconds=5 if len(numbers) == 1 else 1)
        assert only_line(err) == "fmnist.train: interrupted; the same command goes on where this stopped"
        until(lambda: not alive(tmp_path), seconds=1)
    if len(numbers) == 2:
        train(*arguments, "epochs=1")  # which closes what stands open
    assert set(tracking.load(str(tmp_path)).query("epochs == 9999")["status"]) == {"KILLED"}


def alive(store):
    """Processes that have to do with a store, by the locks that they hold open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(store) in str(link.readlink()):
                found.append(link)
    return found
