"""Whole searches as a user starts them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from commands import ROOT, here, mistake, run, work_here
from mlflow import MlflowClient

from fmnist import tracking, words
from fmnist.search import trials

SMALL = [
    "tuner.space.model.filters.0.values=[2,4]",
    "tuner.space.model.filters.1.values=[2,4]",
    "tuner.space.model.kernel_size.values=[3]",
    "tuner.space.model.dense_units.values=[8,16]",
    "model.filters=4",
    "model.kernel_size=3",
    "model.dense_units=16",
    "batch_size=32",
    "compute.precision=float32",
]
NAME = "tuner.name=small"


def summary(store):
    """What a search came to, but for times and ids."""
    return [(a.trial, a.status, a.values, a.scores) for a in trials.load_trials(Path(store) / "tuner" / "small")]


@pytest.fixture(scope="module")
def hyperband(images, tmp_path_factory):
    """The arguments of a small hyperband search (6 trials, 11 epochs), its store, and what it printed.

    In one process; the search that is killed must come to the same in several.
    """
    store = tmp_path_factory.mktemp("hyperband")
    arguments = [*SMALL, f"data.dir={images}", "tuner.max_epochs=3", NAME]
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        done = here("tune", *arguments, "tuner.confirm_seeds=2", f"store={store}")
    assert done.stderr == ""
    return arguments, store, done.stdout


def test_promoted_trials_continue_their_paths(hyperband):
    _, store, printed = hyperband
    runs = tracking.load(str(store))
    tried = trials.load_trials(store / "tuner" / "small")
    promoted = [a for a in tried if a.start]
    assert [(a.epochs, a.trained) for a in promoted] == [(2, 2)]
    ids = {a.trial: a.run_ids["0"] for a in tried}
    path = runs.set_index("run_id")["trajectory_signature"]
    assert path[ids[promoted[0].trial]] == path[ids[promoted[0].values["tuner/trial_id"]]]
    assert "continued from epoch 1" in printed and "1 (8 %)" in printed
    assert sum(a.trained for a in tried) == 11


def test_trials_are_runs_of_the_book_with_the_search_as_their_parent(hyperband):
    _, store, printed = hyperband
    client = MlflowClient(tracking.address(str(store)))
    runs = tracking.load(str(store))
    assert set(runs["status"]) == {"FINISHED"} and len(runs) == 6 + 4  # the parent is no run
    (parent,) = client.search_runs([client.get_experiment_by_name("fmnist searches").experiment_id])
    for a in trials.load_trials(store / "tuner" / "small"):
        tags = client.get_run(a.run_ids["0"]).data.tags
        assert (tags["mlflow.parentRunId"], tags["fmnist.search"]) == (parent.info.run_id, "small")
    best = client.get_metric_history(parent.info.run_id, "search/best")
    assert [metric.step for metric in best] == [1, 2, 3, 4, 5, 6]
    assert parent.info.status == "FINISHED" and parent.data.metrics["search/epochs"] == 11
    page = parent.data.tags["mlflow.note.content"]
    assert "augment.rotation | 0 .. 16 where augmented=true" in page and "too few to trust" in page
    assert "on 2 fresh seeds" in printed and page.startswith("on 2 fresh seeds")
    assert "![search](get-artifact?path=search.png&run_uuid=" in page and "](#/experiments/1/runs/" in page
    assert any(name.startswith("small/") for name in runs["run_name"])
    (summed,) = tracking.searches(str(store))
    assert (summed.name, summed.trials, len(summed.scores)) == ("small", 6, 6) and "fresh seeds" in summed.verdict
    assert summed.reached == [1, 1, 1, 3, 3, 3] and (summed.failed, summed.epochs) == (0, 11)
    assert set(runs["search"]) == {"small", ""} and summed.best_trial in set(runs["trial"])


def test_a_search_that_is_over_trains_nothing_again(hyperband, one_process):
    arguments, store, _ = hyperband
    before = tracking.load(str(store))
    printed = here("tune", *arguments, "tuner.confirm_seeds=2", f"store={store}").stdout
    assert "0 of 4 runs to do" in printed and "comparison 2" not in printed
    pd.testing.assert_frame_equal(tracking.load(str(store)), before)


def test_a_search_that_is_judged_again_on_more_seeds_says_so(hyperband, one_process, tmp_path):
    arguments, store, _ = hyperband
    shutil.copytree(store, tmp_path / "copy")
    printed = here("tune", *arguments, "tuner.confirm_seeds=3", f"store={tmp_path / 'copy'}").stdout
    assert "on 3 fresh seeds" in printed
    assert "(comparison 2 of this search: the 95 % hold for each by itself)" in printed


def test_a_name_belongs_to_one_search(hyperband):
    arguments, store, _ = hyperband
    said = mistake("tune", *arguments, f"store={store}", "tuner.seed=5")
    assert "was begun with tuner.seed=0, but now it is 5; give this one another tuner.name" in said


def points(store):
    """What a search tried and what it came to; with several workers trials are numbered in the order they begin."""
    return sorted(
        json.dumps([{k: v for k, v in values.items() if k != "tuner/trial_id"}, scores], sort_keys=True)
        for _, _, values, scores in summary(store)
    )


def started(folder, arguments, count):
    """A search in a group of its own that has begun so many trials, one of which goes on."""
    command = [sys.executable, "-m", "fmnist.tune", *arguments]
    search = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(found := trials.load_trials(folder)) < count or not any(a.status == trials.RUNNING for a in found):
        assert time.monotonic() < deadline and search.poll() is None
        time.sleep(0.05)
    return search


def assert_it_says_that_it_goes_on(search):
    _, said = search.communicate(timeout=60)
    assert search.returncode == 130
    assert said.decode().strip() == "fmnist.tune: interrupted; the same command goes on where this stopped"


def assert_it_ends_like_one_that_was_not_stopped(arguments, folder, other, carry_out=run):
    done = [a.trial for a in trials.ended(trials.load_trials(folder / "tuner" / "small"))]
    printed = carry_out("tune", *arguments).stdout
    assert done and not [trial for trial in done if f"/6  trial {int(trial)}: " in printed]
    assert points(folder) == points(other)
    assert len(tracking.load(str(folder))) == 6


def test_a_search_of_two_workers_that_is_killed_and_then_hears_ctrl_c_goes_on_each_time(
    hyperband, tmp_path, one_process
):
    arguments, store, _ = hyperband
    arguments = [*arguments, f"store={tmp_path}", "tuner.confirm_seeds=0", "tuner.workers=2"]
    folder = tmp_path / "tuner" / "small"
    tracking.Store(str(tmp_path))  # which a process would take a second for
    killed = started(folder, arguments, count=2)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    stopped = started(folder, [*arguments[:-1], "tuner.workers=1"], count=len(trials.load_trials(folder)) + 1)
    os.killpg(stopped.pid, signal.SIGINT)  # as a terminal sends it: to the workers too
    assert_it_says_that_it_goes_on(stopped)
    assert_it_ends_like_one_that_was_not_stopped(arguments, tmp_path, store, carry_out=here)


@pytest.mark.slow
def test_a_search_that_loses_a_worker_starts_what_it_worked_on_again(hyperband, tmp_path):
    arguments, store, _ = hyperband
    arguments = [*arguments, f"store={tmp_path}", "tuner.confirm_seeds=0", "tuner.workers=2"]
    search = started(tmp_path / "tuner" / "small", arguments, count=1)
    children = psutil.Process(search.pid).children(recursive=True)
    next(child for child in children if any("popen_loky" in part for part in child.cmdline())).kill()
    printed, errors = search.communicate(timeout=240)
    assert (search.returncode, errors) == (0, b"")
    assert b"a worker died (TerminatedWorkerError: SIGKILL(-9)); what it worked on is started again" in printed
    assert points(tmp_path) == points(store)
    assert set(tracking.load(str(tmp_path))["status"]) == {"FINISHED"}


@pytest.mark.slow
def test_a_search_that_was_terminated_numbers_its_trials_like_one_that_was_not(hyperband, tmp_path):
    arguments, store, _ = hyperband
    arguments = [*arguments, f"store={tmp_path}", "tuner.confirm_seeds=0"]
    search = started(tmp_path / "tuner" / "small", arguments, count=3)
    search.terminate()
    assert_it_says_that_it_goes_on(search)
    assert_it_ends_like_one_that_was_not_stopped(arguments, tmp_path, store)
    assert summary(tmp_path) == summary(store)


def test_points_that_fail_are_trials_with_their_reason(images, tmp_path, one_process):
    arguments = [*SMALL, f"data.dir={images}", f"store={tmp_path}", NAME, "tuner=random", "tuner.max_epochs=1"]
    done = here("tune", *arguments, "tuner.space.model.kernel_size.values=[25]", code=1)
    assert "3 trials in a row failed" in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout.count("FAILED: model.kernel_size") == 3 and tracking.load(str(tmp_path)).empty
    wild = ["tuner.space.optimizer.learning_rate={min: 1e29, max: 1e30}", "tuner.max_trials=1", "tuner.name=wild"]
    done = here("tune", *arguments, "tuner.space.model.batch_norm=null", *wild, code=1)
    assert "no trial has a score" in done.stderr and "FAILED: DivergedError" in done.stdout
    runs = tracking.load(str(tmp_path))
    assert list(runs["status"]) == ["FAILED"] and list(runs["search"]) == ["wild"]


def test_every_execution_s_score_is_kept(images, tmp_path, one_process):
    arguments = [*SMALL, f"data.dir={images}", NAME, "tuner=random", "tuner.max_trials=1", "tuner.max_epochs=1"]
    printed = here(
        "tune", *arguments, "tuner.executions_per_trial=2", "tuner.confirm_seeds=0", f"store={tmp_path}"
    ).stdout
    (a,) = trials.load_trials(tmp_path / "tuner" / "small")
    assert set(a.scores) == {"0", "1"} and a.score == pytest.approx(sum(a.scores.values()) / 2)
    assert f"seed 1 {words.percent(a.scores['1'])}" in printed and len(tracking.load(str(tmp_path))) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "tuner.seed=1,2"], "a search chooses its points itself"),
        (["tuner=hyperbnad"], "did you mean 'hyperband'"),
        (["tuner.max_trial=3"], "did you mean 'tuner.max_trials'"),
        (["data.dir=/nowhere"], "there is no file /nowhere/"),
        (["tuner.space.model.dropout.max=-1"], "needs numbers min < max"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(arguments, words, tmp_path):
    assert words in mistake("tune", *arguments, f"store={tmp_path / 'store'}")
    assert not (tmp_path / "store").exists() or not (tmp_path / "store" / "mlflow.db").exists()
