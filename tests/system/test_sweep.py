"""Sweeps as a user starts them: real processes, Hydra's joblib launcher, a real store."""

import json
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pandas as pd
import pytest
from browser import BROWSER, FLAGS, NO_BROWSER
from chaos import PARENT, TERM, WORKER, Chaos, compare, contents, study, write_images
from commands import ROOT, TINY, here, mistake, run, work_here
from playwright.sync_api import sync_playwright

from fmnist import tracking

DECK = (WORKER, PARENT, TERM)


def finals(store):
    """The final numbers of every run but its times, by run name."""
    runs = tracking.load(str(store)).set_index("run_name").sort_index()
    assert set(runs["status"]) == {"FINISHED"}
    return runs[[c for c in runs if c.startswith(("train/", "val/", "test/"))]]


def tree():
    """What stands at the top of the repository and in its own folder for runs."""
    return {path.name for folder in (ROOT, ROOT / "mlruns") for path in folder.iterdir()}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The arguments of study smoke, the store where one process has carried it out, and what that printed."""
    folder, store = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("smoke")
    write_images(folder)
    arguments = study(folder, "1,2")
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        return arguments, store, here("train", *arguments, f"store={store}").stdout


def test_a_study_whose_workers_and_parents_are_killed_ends_bitwise_like_one_left_alone_to_one_process(
    smoke, tmp_path, capsys
):
    """The short form of chaos.py: `make chaos` kills for longer, and by more kinds of signals."""
    arguments, store, _ = smoke
    before = tree()
    chaos = Chaos(arguments, tmp_path, random.Random(0), longest=6.0, deck=DECK)
    try:
        survived = chaos.survive(len(DECK))
        printed = chaos.sweeps[-1].output
        compare(chaos.finish(survived), contents(store))
    finally:
        chaos.end()
        with capsys.disabled():
            print(f"\nchaos: {chaos}")
    assert chaos.survived.total() >= len(DECK) and chaos.survived[WORKER] and chaos.survived[PARENT]
    assert tree() == before, "a sweep writes into its store alone"
    assert "Rung 1: " in printed and "Rung 2: " in printed and "\x1b" not in printed


def test_a_study_prints_its_plan_then_a_leaderboard_for_each_rung(smoke):
    _, store, printed = smoke
    plan, first, second = printed.split("Rung ")
    assert "Study smoke: Does everything work?" in plan and "estimated" in plan
    assert first.startswith("1: 3 runs, ") and second.startswith("2: 3 runs, ")
    assert "6/6  " in printed and "6 runs in " in printed and "the plan said" in printed
    assert "\x1b" not in printed
    assert len(finals(store)) == 6


def test_a_study_has_a_page_with_tables_and_pictures_above_its_runs(smoke):
    store = tracking.Store(str(smoke[1]))
    page, pictures, files = page_of(store)
    runs = [store.client.get_run(run.run_id) for run in store.all_runs()]  # of which it is none
    assert len(runs) == 6 and {run.data.tags["mlflow.parentRunId"] for run in runs} == {page.info.run_id}
    note = page.data.tags["mlflow.note.content"]
    assert note.startswith("**Does everything work?**") and "| pooling=average |" in note and "make sweep" in note
    assert pictures == {"baseline", "pooling=average", "scale=unit"}
    assert {"leaderboard.md", "claims.csv", "report.html"} <= files
    beside = "points in validation against the baseline's run of the same seed"
    assert any(beside in run.data.tags["mlflow.note.content"] for run in runs)
    described = store.client.get_experiment(store.id).tags
    assert "of study smoke" in described["mlflow.note.content"] and "mlflow.sharedViewState.means" in described


def page_of(store):
    """The page of the study, and the names of its pictures and files."""
    (page,) = store.client.search_runs([store.id], "tags.`fmnist.page_of` = 'smoke'")
    pictures, files = (store.client.list_artifacts(page.info.run_id, folder) for folder in ("images", None))
    return page, {file.path.split("/")[1].split("+")[0] for file in pictures}, {file.path for file in files}


def test_a_study_whose_runs_were_imported_has_the_same_page_above_them(smoke, tmp_path):
    there = tracking.Store(str(smoke[1]))
    here("runs", "export", tmp_path / "runs.zip", "--store", smoke[1])
    said = here("runs", "import", tmp_path / "runs.zip", "--store", tmp_path / "store").stdout
    assert "6 runs imported" in said and "page of study smoke: " in said
    store = tracking.Store(str(tmp_path / "store"))
    (page, *files), (before, *others) = page_of(store), page_of(there)
    assert files == others
    notes = [each.data.tags["mlflow.note.content"].partition("Again: ")[0] for each in (page, before)]
    assert notes[0] == notes[1]
    parents = {store.client.get_run(run.run_id).data.tags["mlflow.parentRunId"] for run in store.all_runs()}
    assert parents == {page.info.run_id}


def test_a_finished_study_trains_nothing_again(smoke):
    study, store, _ = smoke
    before = tracking.load(str(store))
    assert here("train", *study, f"store={store}").stdout.count("nothing to do") == 2
    pd.testing.assert_frame_equal(tracking.load(str(store)), before)


RAY = pytest.param(
    "hydra/launcher=ray",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(not find_spec("hydra_plugins.hydra_ray_launcher"), reason="Hydra's Ray launcher is missing"),
    ],
)
CLUSTER = pytest.param("hydra/launcher=submitit_local", marks=pytest.mark.slow)


@pytest.mark.slow  # the killed study does this and worse
@pytest.mark.parametrize("launcher", ["hydra.launcher.n_jobs=2", CLUSTER, RAY])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_study_stopped_half_way_and_started_again_ends_bitwise_like_one_never_stopped(
    number, launcher, smoke, tmp_path
):
    study, store, _ = smoke
    command = [sys.executable, "-m", "fmnist.train", *study, f"store={tmp_path}", launcher]
    sweep = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 120
    while "FINISHED" not in set(tracking.load(str(tmp_path))["status"]):
        assert time.monotonic() < deadline and sweep.poll() is None
        time.sleep(0.2)
    sweep.send_signal(number)
    _, said = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert (
        said.decode().strip().splitlines()[-1]
        == "fmnist.train: interrupted; the same command goes on where this stopped"
    )
    assert len(tracking.load(str(tmp_path)).query("status == 'FINISHED'")) < 6
    run("train", *study, f"store={tmp_path}")
    pd.testing.assert_frame_equal(finals(tmp_path), finals(store), check_exact=True)


@pytest.mark.parametrize("launcher", [CLUSTER, RAY])  # one process's bits are those of two above
def test_a_cluster_s_jobs_give_the_same_bits_as_workers(launcher, smoke, tmp_path):
    study, store, _ = smoke
    run("train", *study, f"store={tmp_path}", launcher)
    pd.testing.assert_frame_equal(finals(tmp_path), finals(store), check_exact=True)


def test_the_plan_lists_every_run_and_starts_nothing(smoke, tmp_path):
    study, store, _ = smoke
    printed = here("train", *study, f"store={store}", "study.rungs=[1,2,4]", "study.dry_run=true").stdout
    assert printed.count("  done") == 6 and printed.count("continues from epoch 2") == 3
    assert "trains 6 epochs" in printed and "MB of disk" in printed
    assert len(finals(store)) == 6
    printed = here("train", *study, f"store={tmp_path}", "study.dry_run=true").stdout
    assert printed.count("  new") == 3 and not (tmp_path / "mlflow.db").exists()


def test_watching_shows_what_ended_and_how(smoke, tmp_path):
    store = smoke[1]
    watched = here("watch", "--store", store).stdout
    assert "Study smoke: 6 runs, 2 workers" in watched and watched.count("validation") == 6
    assert "no runs in" in mistake("watch", "--store", tmp_path / "none")


def test_commas_are_a_plain_sweep_in_which_a_run_that_fails_is_named_and_the_others_are_done(
    images, tmp_path, one_process
):
    arguments = [*TINY, f"data.dir={images}", f"store={tmp_path}", "epochs=1,2", "seed=3"]
    done = here("train", "-m", *arguments, "optimizer.learning_rate=0.001,1e30", code=1)
    assert "1 of 4 runs failed" in done.stderr and "learning_rate=1e+30" in done.stderr
    assert "DivergedError: the loss is no longer finite" in done.stdout and "Traceback" not in done.stderr
    runs = tracking.load(str(tmp_path)).sort_values(["status", "epochs"])
    assert list(runs["status"]) == ["FAILED", "FINISHED", "FINISHED"] and list(runs["epochs"]) == [1, 1, 2]
    assert set(runs["seed"]) == {3} and runs["signature"].is_unique
    assert runs.query("status == 'FINISHED'")["trajectory_signature"].nunique() == 1, "the longer continues the shorter"


def test_a_single_run_shows_its_epochs_and_is_not_repeated(images, tmp_path):
    arguments = [*TINY, f"data.dir={images}", f"store={tmp_path}", "epochs=2", "compute.threads=1"]
    first = here("train", *arguments)  # by a process of its own in test_installed
    assert "epoch 1/2" in first.stdout and "left" in first.stdout and "test accuracy " in first.stdout
    assert first.stderr == ""
    assert "nothing was trained" in here("train", *arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model.kernel_size=12"], "the largest that fits is 9"),
        (["data.dir=/nowhere"], "there is no file /nowhere/"),
        (["study=kernel", "study.axes.model.kernel_size=[3,12]"], "1 of 3 points of the study cannot be run"),
        (["-m", "model.filters=32,0"], "model.filters must be at least 1 and at most 4096, but got 0"),
        (["model.filters=32,64"], "put -m before it"),
        (["epoch=3"], "did you mean 'epochs'?"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(arguments, words, tmp_path):
    assert words in mistake("train", *arguments, f"store={tmp_path / 'store'}")
    assert not (tmp_path / "store" / "mlflow.db").exists()


def test_compare_ranks_what_a_study_left(smoke):
    study, store, _ = smoke
    board = json.loads(here("compare", "--store", store, "--format", "json", "--epochs", "2").stdout)
    assert [row["rank"] for row in board] == [1, 2, 3]  # one seed: in the order of their accuracies
    accuracies = [row["val_accuracy"] for row in board]
    assert accuracies == sorted(accuracies, reverse=True)
    options = ["--epochs", "2", "--format", "json", "--top", "3"]
    same = here("compare", "--store", store, "--study", "smoke", *study[1:], *options)
    theirs = json.loads(same.stdout)
    # A study names variants by what they change of its own baseline, and compares with that.
    compared = [name for name in board[0] if name.startswith(("difference", "pairs", "verdict", "variant"))]
    compared.remove("variant_signature")
    assert [{**row, **{name: None for name in compared}} for row in board] == [
        {**row, **{name: None for name in compared}} for row in theirs
    ]
    # Among all runs nothing is the article's baseline; the study has its own.
    assert {row["verdict"] for row in board} == {""}
    assert sorted(row["verdict"] for row in theirs) == ["baseline", "one seed", "one seed"]
    assert here("compare", "--store", store, "--study", "kernel").stdout.startswith("of 6 recorded runs none matches")


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_the_report_of_real_runs_opens_without_a_word_in_the_console(smoke, tmp_path):
    study, store, _ = smoke
    here("compare", "--store", store, "--study", "smoke", *study[1:], "study.seeds=[0]", "--format", "html",
        "--out", tmp_path)  # fmt: skip
    said = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((tmp_path / "report.html").as_uri())
        assert "smoke" in page.inner_text("body") and page.locator("img[alt^='test image']").count() > 0
        assert page.locator("svg[role=img]").count() == len(list((tmp_path / "figures").iterdir()))
        browser.close()
    assert said == []


def test_compare_writes_a_file_and_refuses_what_it_does_not_know(smoke, tmp_path):
    store = smoke[1]
    here("compare", "--store", store, "--format", "csv", "--out", tmp_path / "deep" / "board.csv")
    assert len(pd.read_csv(tmp_path / "deep" / "board.csv")) == 6
    assert "did you mean 'smoke'" in mistake("compare", "--study", "smoek", "--store", store)
    assert "whole number" in mistake("compare", "--epochs", "ten", "--store", store)
    assert "cannot write" in mistake("compare", "--store", store, "--out", "/proc/board.csv")
    assert "no runs yet" in here("compare", "--store", tmp_path / "none").stdout
