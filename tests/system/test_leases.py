"""Several folders on one server: who works on a trajectory, and what goes from one to the other."""

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from commands import TINY, here
from server import URI, Server, tiny, until

from fmnist import run, tracking
from fmnist.config import UserError
from fmnist.identity import sign
from fmnist.tracking import leases, store
from fmnist.training.data import load
from fmnist.training.locking import BusyError, checkpoint_folder

RIVALS = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    store.create(f"sqlite:///{folder}/mlflow.db")
    running = Server(folder).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(URI, running.wait().uri)
        yield running
    running.kill()


@pytest.fixture
def folders(server, tmp_path):
    """Opens the store as another folder has it."""
    if server.line.is_cut:
        server.wait()
    return lambda name: tracking.Store(str(tmp_path / name), patience=60)


@pytest.fixture
def soon(monkeypatch):
    """Who shows no sign of life is taken for dead within seconds."""
    monkeypatch.setattr(leases, "SECONDS", 3.0)
    return monkeypatch


def claimed(one, trajectory):
    """A lease that nobody keeps nor lets go of, None where another has it."""
    with suppress(BusyError):
        return one.leases.claim(trajectory)
    return None


def test_of_many_rivals_for_a_trajectory_that_nobody_has_had_exactly_one_gets_it(folders):
    stores, together = [folders(f"rival {number}") for number in range(RIVALS)], threading.Barrier(RIVALS)

    def try_all(one):
        together.wait()
        return [claimed(one, f"contested {number}") is not None for number in range(3)]

    with ThreadPoolExecutor(RIVALS) as threads:
        won = list(threads.map(try_all, stores))
    assert [sum(of_one) for of_one in zip(*won, strict=True)] == [1, 1, 1]


def test_the_first_folders_on_a_server_agree_on_where_they_note_it(folders, monkeypatch):
    monkeypatch.setattr(store, "TRAJECTORIES", "fmnist first")
    stores, together = [folders(f"first {number}") for number in range(4)], threading.Barrier(4)

    def record(one):
        together.wait()
        return one.leases.record("the same").run_id

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(record, stores))) == 1


def test_who_seems_dead_loses_a_trajectory_to_one_of_many_and_can_write_nothing_when_it_wakes(folders, soon):
    stores, heirs = [folders(f"heir {number}") for number in range(4)], []
    sleeper = folders("sleeper").leases.claim("orphaned")
    sleeper.confirm()

    def wait_for_it(one):
        deadline = time.monotonic() + 20
        while not heirs and time.monotonic() < deadline:
            if held := claimed(one, "orphaned"):
                heirs.append(held)
            time.sleep(0.1)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(wait_for_it, stores))
    (heir,) = heirs
    heir.confirm()
    with pytest.raises(BusyError):
        sleeper.confirm()


def test_a_record_that_somebody_has_deleted_is_taken_up_again(folders):
    one, other = folders("one"), folders("other")
    with one.holding("deleted", wait=False):
        record = one.leases.record("deleted").run_id
        one.client.delete_run(record)
        assert other.leases.record("deleted").run_id == record
        assert claimed(other, "deleted") is None


def test_folders_that_share_a_database_without_a_server_are_told_apart_too(tmp_path, monkeypatch):
    monkeypatch.setenv(URI, f"sqlite:///{tmp_path}/shared.db")
    one, other = (tracking.Store(str(tmp_path / name)) for name in ("one", "other"))
    with one.holding("shared", wait=False):
        assert claimed(other, "shared") is None


def test_workers_ask_the_less_the_more_there_are_and_not_all_at_once():
    few, many = ([leases.pause(count) for _ in range(100)] for count in (1, 500))
    assert min(few) >= 1 and max(few) <= 3 and 25 <= min(many) < 40 and 60 < max(many) <= 75


def test_who_lives_keeps_a_trajectory_for_as_long_as_it_likes_and_lets_go_of_it_at_once(folders, soon):
    one, other = folders("living"), folders("waiting")
    with one.holding("kept", wait=False):
        until_then = time.monotonic() + 2.5 * leases.SECONDS
        while time.monotonic() < until_then:
            assert claimed(other, "kept") is None
            time.sleep(0.3)
    until(lambda: not other.leases.rests("kept"))
    with other.holding("kept", wait=False):
        pass


def test_who_was_cut_off_goes_on_if_nobody_has_taken_over(folders, server, soon):
    one = folders("cut off")
    with one.holding("cut", wait=False) as held:
        record = held.checkpoints._record.run_id
        server.line.cut()
        time.sleep(1.5 * leases.SECONDS)
        server.wait()
        held.client.set_tag(record, "written", "yes")
        assert len(one.leases.record("cut").params) == 2  # it has claimed it anew, before it has written


def test_a_search_that_goes_on_in_one_folder_is_refused_in_another_until_it_has_ended(folders, soon):
    one, other = folders("one"), folders("other")
    record = tracking.SearchRecord(one, "shared", {})
    with one.beating(record.run_id):
        tracking.SearchRecord(one, "shared", {})  # another terminal of the same folder
        with pytest.raises(UserError, match=r"another folder carries out search shared on this server; .*tuner.name="):
            tracking.SearchRecord(other, "shared", {})
    tracking.SearchRecord(other, "shared", {})  # it was killed


# ---- Checkpoints that travel ------------------------------------------------------------------------------


def numbers(metrics):
    """Those that do not depend on the clock."""
    return {key: value for key, value in metrics.items() if not key.startswith("time/")}


def begun_at(config):
    """The epoch from which a run goes on, and what it comes to."""
    starts = []
    outcome = run.execute(config, run.Listener(on_start=starts.append))
    return starts[0], numbers(outcome.metrics)


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    """What runs of four epochs with these seeds come to where nobody else is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(URI, raising=False)
        folder = tmp_path_factory.mktemp("alone")
        return [begun_at(tiny(images, folder, epochs=4, seed=seed))[1] for seed in (0, 1, 2)]


def test_what_one_folder_began_another_continues_bit_for_bit(server, images, tmp_path, alone):
    begun_at(tiny(images, tmp_path / "one", epochs=2))
    assert begun_at(tiny(images, tmp_path / "other", epochs=4)) == (2, alone[0])


def test_removing_a_run_removes_what_the_store_has_of_its_path(server, images, tmp_path):
    outcome = run.execute(tiny(images, tmp_path / "one", epochs=1, seed=7))
    trajectory = (
        tracking.Store(str(tmp_path / "one")).client.get_run(outcome.run_id).data.tags["fmnist.trajectory_signature"]
    )
    assert tracking.shared_epochs(tmp_path / "one")[trajectory] == [1]
    here("runs", "remove", outcome.run_id, "--yes", "--store", tmp_path / "other", MLFLOW_TRACKING_URI=server.uri)
    assert tracking.shared_epochs(tmp_path / "one")[trajectory] == []
    begun, _ = begun_at(tiny(images, tmp_path / "third", epochs=1, seed=7))
    assert begun == 0


def test_what_was_interrupted_in_one_folder_goes_on_in_another_from_its_last_shared_checkpoint(
    server, images, tmp_path, alone, monkeypatch
):
    monkeypatch.setattr("fmnist.tracking.shared_checkpoints.EVERY_SECONDS", 0.0)

    def interrupt(epoch, record):
        if epoch == 3:
            raise KeyboardInterrupt

    config = tiny(images, tmp_path / "one", epochs=4, seed=1)
    with pytest.raises(KeyboardInterrupt):
        run.execute(config, run.Listener(on_epoch=interrupt))
    (path,) = (path for path, epochs in tracking.shared_epochs(tmp_path / "one").items() if epochs == [3, 2])
    record = tracking.Store(str(tmp_path / "one")).leases.record(path)
    files = Path(server.folder).glob(f"artifacts/*/{record.run_id}/artifacts/checkpoints/*")
    assert sorted(file.name for file in files) == ["epoch-0002.ckpt", "epoch-0003.ckpt"]
    assert begun_at(tiny(images, tmp_path / "other", epochs=4, seed=1)) == (3, alone[1])
    (record,) = tracking.load(str(tmp_path / "other")).query("seed == 1").to_dict("records")
    steps = tracking.Store(str(tmp_path)).client.get_metric_history(record["run_id"], "val/accuracy")
    assert [metric.step for metric in steps] == [1, 2, 3, 4]


def test_a_damaged_checkpoint_in_the_store_is_named_in_a_line_and_the_one_before_it_used(
    server, images, tmp_path, alone, caplog
):
    for epochs in (1, 3):
        begun_at(tiny(images, tmp_path / "one", epochs=epochs, seed=2))
    damaged = max(Path(server.folder).rglob("checkpoints/epoch-0003.ckpt"), key=lambda path: path.stat().st_mtime)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert begun_at(tiny(images, tmp_path / "other", epochs=4, seed=2)) == (1, alone[2])
    (line,) = [record.getMessage() for record in caplog.records if "checkpoint" in record.getMessage()]
    assert line.startswith("the store's checkpoint after 3 epochs is left out: ") and "\n" not in line


def test_a_store_in_its_folder_has_neither_leases_nor_shared_epochs(tmp_path, monkeypatch):
    monkeypatch.delenv(URI, raising=False)
    with tracking.Store(str(tmp_path)).holding("of nobody else", wait=False) as held:
        assert held.leases is None and held.checkpoints is None


def test_a_password_in_the_server_s_address_is_in_no_output_record_or_file(server, images, tmp_path, one_process):
    password = uuid.uuid4().hex  # which no record of changes to the code has
    address = server.uri.replace("http://", f"http://me:{password}@")
    smoke = ["-m", *TINY, f"data.dir={images}", f"store={tmp_path / 'one'}", "epochs=1"]
    config = tiny(images, tmp_path / "one", epochs=1, seed=90)
    blocked = checkpoint_folder(config.store, sign(config, load(config.data).digest).trajectory)
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")
    done = here("train", *smoke, "seed=90,91", code=1, MLFLOW_TRACKING_URI=address)
    assert "1 of 2 runs failed" in done.stderr and "Traceback" in done.stdout
    server.line.cut()
    away = here("train", *smoke, "seed=92", code=2, MLFLOW_TRACKING_URI=address)
    server.wait()
    assert "me:***@" in away.stderr
    for said in (done, away):
        assert password not in said.stdout + said.stderr
    files = [file for folder in (server.folder, tmp_path) for file in Path(folder).rglob("*") if file.is_file()]
    assert len(files) > 20 and not [file for file in files if password.encode() in file.read_bytes()]
