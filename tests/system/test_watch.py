"""Watching a sweep from another terminal: what the store says of it, and how the watching ends."""

import json
import subprocess
import sys
import time
from dataclasses import asdict

import psutil
import pytest
from commands import here
from invented import configs, dataset, write

from fmnist import machine, tracking
from fmnist.config import UserError
from fmnist.identity import sign
from fmnist.tracking import leases
from fmnist.watch import _show, watch
from fmnist.work.display import ExpectedRun
from fmnist.work.sweep_progress import Announcement, SweepProgress


@pytest.fixture(scope="module")
def announced(tmp_path_factory):
    """A store with a sweep whose process has been killed, which therefore stands as running."""
    store = tmp_path_factory.mktemp("killed")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        name = f"{machine.platform.node()} {process.pid} {psutil.Process(process.pid).create_time()}"
        assert not machine.is_gone(name)
        process.kill()
    runs = [asdict(ExpectedRun("filters=4 · 1 epoch · seed 0", "of nobody", epochs=1, start=0, seconds=1.0))]
    sweep = {"study": "smoke", "workers": 2, "began": int(time.time() * 1000), "process": name, "runs": runs}
    opened = tracking.Store(str(store))
    opened.sweeps.announce("smoke", sweep)
    return store, opened, sweep


def test_watching_a_sweep_that_was_killed_says_so_and_ends(announced):
    store, _, _ = announced
    done = here("watch", "--store", store, code=1)
    assert done.stdout.startswith("Study smoke: 1 run, 2 workers")
    assert done.stderr == "fmnist.watch: the sweep was killed; the command that started it goes on where it stopped\n"


def test_a_sweep_of_another_machine_is_over_once_its_process_has_shown_no_sign_of_life_for_long_enough(
    announced, tmp_path, monkeypatch
):
    _, _, sweep = announced
    monkeypatch.setattr(leases, "SECONDS", 1.0)
    store = tracking.Store(str(tmp_path))
    record = store.sweeps.announce("smoke", sweep | {"process": "elsewhere 1 1.0"})
    with store.beating(record):
        deadline = time.monotonic() + 2 * leases.SECONDS
        while time.monotonic() < deadline:
            assert store.goes_on(record)
            time.sleep(0.1)
        store.close(record, "KILLED")  # by another sweep, since it was cut off for so long
        time.sleep(leases.SECONDS)
        assert store.goes_on(record)
    done = here("watch", "--store", tmp_path, code=1)  # it was killed
    assert done.stderr == "fmnist.watch: the sweep was killed; the command that started it goes on where it stopped\n"


def test_of_a_settling_one_block_is_shown_after_the_other(tmp_path, announced, capsys):
    store, sweep = tracking.Store(str(tmp_path)), announced[2]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        name = f"{machine.platform.node()} {process.pid} {psutil.Process(process.pid).create_time()}"
        blocks = []
        for _ in range(2):
            blocks.append(store.sweeps.announce("smoke", sweep | {"process": name, "is_block": True}))
            store.client.set_terminated(blocks[-1])
        assert _show(store, blocks[0]) == blocks[1]
        process.kill()
    assert _show(store, blocks[1]) == "" and capsys.readouterr().out.count("Study smoke: 1 run") == 2


def test_a_sweep_that_has_not_said_its_plan_yet_is_a_matter_of_a_moment(announced):
    store, opened, _ = announced
    young = opened.client.create_run(opened.client.get_experiment_by_name("fmnist sweeps").experiment_id)
    with pytest.raises(UserError, match="try again in a moment"):
        watch(str(store))
    opened.client.delete_run(young.info.run_id)


def test_a_process_is_gone_once_it_has_ended_though_nobody_has_asked_how(announced):
    _, _, sweep = announced
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        name = f"{machine.platform.node()} {process.pid} {psutil.Process(process.pid).create_time()}"
        deadline = time.monotonic() + 30
        while not machine.is_gone(name):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert machine.is_gone(name) and not machine.is_gone(machine.this_process())
    assert not machine.is_gone(sweep["process"].replace(machine.platform.node(), "elsewhere"))


def test_an_announcement_survives_the_store(announced):
    _, opened, sweep = announced
    (sweep_id,) = opened.sweeps.latest(tracking.RUNNING)
    assert opened.sweeps.plan(sweep_id) == sweep
    assert asdict(SweepProgress.of(None, sweep).runs[0]) == sweep["runs"][0]


def test_what_has_ended_is_told_by_signature_and_status_whatever_the_clocks_of_machines_say(tmp_path):
    store, now = tracking.Store(str(tmp_path)), int(time.time() * 1000)
    finished, failed, *_ = configs(3)
    signs = [sign(config, dataset().digest) for config in (finished, failed)]
    signatures = [each.run for each in signs]
    for config, moment in ((finished, 1000), (failed, 2000)):
        store.client.set_terminated(write(store, config), "FAILED" if config is failed else "FINISHED", moment)
    ids = {run.signature: run.run_id for run in store.all_runs()}
    runs = [ExpectedRun(each.run, each.run, 1, 0, 1.0, each.trajectory) for each in signs]
    announced = Announcement("smoke", 2, now, "elsewhere 1 1.0", runs, [(ids[signatures[1]], 2000)])
    sweep = SweepProgress.of(store, json.loads(json.dumps(asdict(announced))))
    sweep.refresh()
    assert list(sweep.ended) == signatures[:1]  # the failed one had failed before
    store.client.set_terminated(ids[signatures[1]], "FAILED", 1500)
    sweep.ask_for_all()
    sweep.refresh()
    assert list(sweep.ended) == signatures
    assert sweep.refresh() == []


def test_a_run_of_a_machine_with_a_slow_clock_is_found_by_its_trajectory_and_nothing_older_is_read(tmp_path):
    store = tracking.Store(str(tmp_path))
    old, seen, unseen = list(configs(31))[::15]
    for config in (old, seen, unseen):
        store.client.set_terminated(write(store, config), "FINISHED", 2_000_000)
    assert store.newest_end() == 2_000_000
    records = {run.signature: run for run in store.all_runs()}
    signs = [sign(config, dataset().digest) for config in (old, seen, unseen)]
    runs = [ExpectedRun(each.run, each.run, 1, 0, 1.0, each.trajectory) for each in signs]
    sweep = SweepProgress.of(store, asdict(Announcement("smoke", 2, 0, "elsewhere 1 1.0", runs, [], 2_000_000)))
    assert sweep.refresh() == []
    store.client.update_run(records[signs[1].run].run_id, status="RUNNING")
    assert sweep.refresh() == [] and [run.epoch for run in sweep.active] == [1]
    store.client.set_terminated(records[signs[1].run].run_id, "FINISHED", 1_000_000)
    assert len(sweep.refresh()) == 1 and list(sweep.ended) == [signs[1].run]
    sweep.ask_for_all()
    assert len(sweep.refresh()) == 2 and len(sweep.ended) == 3
