"""Folders that share MLflow's server with PostgreSQL behind it, and what happens to them: the bits of one machine."""

import shutil
import time
import uuid

import pandas as pd
from commands import ROOT
from server import URI, Line, until
from sharing import LEASE, LONGEST, ending, ends, has_trained, killed, same, sweep, tells_no_password, trained

from fmnist import tracking
from fmnist.cli.trial_server import HOST
from fmnist.schema import PER_EPOCH
from fmnist.tracking.database import read_numbers

# What Python and MLflow take the time of day from; libfaketime, which shifts all, breaks joblib's semaphores.
CLOCK = """\
import time
of_day, of_day_ns = time.time, time.time_ns
time.time, time.time_ns = lambda: of_day() + {shift}, lambda: of_day_ns() + {shift} * 10**9
"""


def test_two_folders_with_the_same_study_both_killed_twice_leave_what_one_machine_does_and_no_password(
    servers, folder, arguments, alone
):
    stores = [folder / name / "mlruns" for name in ("a", "b")]
    for _ in range(2):
        sweeps = [sweep(arguments, store, servers.settings()) for store in stores]
        with ending(*sweeps):
            has_trained(*sweeps)
            killed(*sweeps)
    ends(*(sweep(arguments, store, servers.settings()) for store in stores))
    same(alone, servers, *stores)
    tells_no_password(servers, folder)


def test_what_a_machine_that_is_lost_began_another_continues_from_its_last_shared_checkpoint(
    servers, folder, arguments, alone
):
    lost, heir = (folder / name / "mlruns" for name in ("lost", "heir"))
    first = sweep(arguments, lost, servers.settings())
    with ending(first):
        until(lambda: len(list(lost.glob("checkpoints/*/rung-0002.ckpt"))) == 3, LONGEST)
        until(lambda: list(lost.glob("checkpoints/*/epoch-0004.ckpt")), LONGEST)
        killed(first)
    kept = folder / "kept"
    shutil.copytree(lost / "checkpoints", kept / "checkpoints")  # to be compared: nobody else knows of it
    shutil.rmtree(lost)
    second, seen = sweep(arguments, heir, servers.settings()), set()
    while not second.ends(0.1):
        seen |= {path.name for path, _ in trained(heir)}
    ends(second)
    assert "epoch-0002.ckpt" in seen and "epoch-0001.ckpt" not in seen
    same(alone, servers, heir, lost, kept)


def test_the_server_and_its_database_are_killed_in_mid_sweep_and_started_again(servers, folder, arguments, alone):
    going_on = sweep(arguments, folder / "a" / "mlruns", servers.settings())
    with ending(going_on):
        has_trained(going_on)
        servers.kill()
        time.sleep(5)
        assert going_on.parent.poll() is None, going_on.output
        servers.start()
        ends(going_on)
    same(alone, servers, going_on.store)
    tells_no_password(servers, folder)


def test_clocks_that_are_300_s_off_to_either_side_change_nothing(servers, folder, arguments, alone):
    sweeps = []
    for name, shift in (("a", -300), ("b", 300)):
        (folder / f"clock{name}").mkdir()
        (folder / f"clock{name}" / "sitecustomize.py").write_text(CLOCK.format(shift=shift))
        path = f"{folder / f'clock{name}'}:{ROOT}"
        sweeps.append(sweep(arguments, folder / name / "mlruns", servers.settings(PYTHONPATH=path)))
    ends(*sweeps)
    same(alone, servers, *(each.store for each in sweeps))


def test_a_folder_whose_network_is_cut_for_30_s_longer_than_a_lease_lasts(servers, folder, arguments, alone):
    line = Line(servers.ports[0])
    line.mend()
    through = servers.address.replace(f":{servers.ports[0]}", f":{line.port}")
    sweeps = [
        sweep(arguments, folder / "a" / "mlruns", servers.settings()),
        sweep(arguments, folder / "b" / "mlruns", servers.settings(MLFLOW_TRACKING_URI=through)),
    ]
    with ending(*sweeps):
        has_trained(*sweeps)
        line.cut()
        assert LEASE < 30
        time.sleep(30)
        line.mend()
        ends(*sweeps)
    line.cut()
    same(alone, servers, *(each.store for each in sweeps))


def test_the_epochs_of_runs_are_the_same_by_the_server_by_its_database_and_number_by_number(
    servers, folder, arguments, monkeypatch
):
    ends(sweep(arguments, folder / "a" / "mlruns", servers.settings(), "study.rungs=[2]"))
    found = []
    for address in (
        servers.address,
        f"postgresql://fmnist:{servers.database_password}@{HOST}:{servers.ports[1]}/mlflow",
    ):
        monkeypatch.setenv(URI, address)
        store = tracking.Store(folder / "a" / "mlruns")
        found.append(store.histories(run.run_id for run in store.runs()))
        assert (read_numbers(store.uri, list(found[0]), PER_EPOCH) is None) == address.startswith("http")
    assert found[0].keys() == found[1].keys() and len(found[0]) == 3
    for run_id, epochs in found[0].items():
        columns = {key: store.client.by_step(run_id, key) for key in PER_EPOCH}
        for other in (found[1][run_id], pd.DataFrame(columns).sort_index().rename_axis("epoch")):
            pd.testing.assert_frame_equal(epochs, other)


def test_a_password_in_a_database_s_address_is_in_no_output_not_even_of_what_fails(servers, folder, arguments, alone):
    secret, wrong = servers.database_password, uuid.uuid4().hex
    address = f"postgresql://fmnist:{secret}@{HOST}:{servers.ports[1]}/mlflow"
    began = time.monotonic()
    refused = sweep(
        arguments, folder / "a" / "mlruns", servers.settings(MLFLOW_TRACKING_URI=address.replace(secret, wrong))
    )
    assert refused.ends(LONGEST) and refused.parent.returncode == 2 and time.monotonic() - began < 60
    assert refused.output.count("\n") == 1 and "password" in refused.output and wrong not in refused.output
    path = next(key for key in alone if "/rung-" in key).split("/")[0]
    blocked = folder / "b" / "mlruns" / "checkpoints" / path
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")
    fails = sweep(arguments, folder / "b" / "mlruns", servers.settings(MLFLOW_TRACKING_URI=address), "study.rungs=[1]")
    assert fails.ends(LONGEST) and fails.parent.returncode == 1 and "Traceback" in fails.output
    tells_no_password(servers, folder)
