"""What a message advises works: each mistake is made, the advice is taken out of its message, and followed."""

import importlib
import itertools
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib

import alembic.command
import pytest
from commands import ROOT, here, mistake, run
from invented import write
from mlflow import MlflowClient
from mlflow.store.db.utils import _get_alembic_config
from server import free_port

from fmnist import tracking
from fmnist.config import Config, StudyConfig, from_flat
from fmnist.search.space import TUNE, check_search, dimensions
from fmnist.study.compose import compose_config

DRY = "study.dry_run=true"
SWEEPS = [  # arguments with a mistake, what the message says, the arguments that follow from it
    (["--epochs", "3"], r"write (\S+)$", [r"\1"]),
    (["--lr", "0.1"], r"write (\S+)$", [r"\1"]),
    (["lr=0.1"], r"did you mean '(\S+)'", [r"\1=0.1"]),
    (["optimizer.lr=0.1"], r"did you mean '(\S+)'", [r"\1=0.1"]),
    (["augmentation=none"], r"did you mean '(\S+)'", [r"\1=none"]),
    (["augment=lite"], r"did you mean '(\S+)'", [r"augment=\1"]),
    (["model.pooling=maximum"], r"did you mean '(\S+)'", [r"model.pooling=\1"]),
    (["epochs"], r"write (\S+)$", [r"\1"]),
    (["epochs=???"], r"write (\S+)$", [r"\1"]),
    (["epochs==3"], r"write (\S+)$", [r"\1"]),
    (["nonsense"], r"write KEY=VALUE, (\S+)$", [r"\1"]),
    (["+epochs=3"], r": (\S+) is there already; write it without \+$", [r"\1"]),
    (["study.question=a=b", "study=pooling"], r"quotes: '(.*)'$", [r"\1", "study=pooling"]),
    (["model=3"], r"set one of (\S+),", [r"\1=3"]),
    (["epochs=1,3"], r"put (-m) before it", [r"\1", "epochs=1,3"]),
    (["study.rungs=[1]"], r"begin with (study)=NAME", [r"\1=pooling", "study.rungs=[1]"]),
    (["study.rungs=1,3", "study=pooling"], r"brackets\], (\S+)$", [r"\1", "study=pooling"]),
    (["study.rungs=3", "study=pooling"], r"like (\[.*\]),", [r"study.rungs=\1", "study=pooling"]),
    (["study.seeds=[]", "study=pooling"], r"at least one, (\S+)$", [r"\1", "study=pooling"]),
    (["study=pooling,kernel"], r"make sweep STUDY=(\w+)", [r"study=\1"]),
    (["study=poling"], r"did you mean '(\w+)'", [r"study=\1"]),
    (["study=pooling", "hydra.mode=RUN"], r"leave out (\S+)$", ["study=pooling"]),
    (["study=pooling", "study.claims.x=1"], r"(\+study.claims.x)=", ["study=pooling", r"\1={says: s, weakest: Bag}"]),
    (["study=pooling", "study.axes.seed=[0,1]"], r"use (study.seeds)$", ["study=pooling", r"\1=[0,1]"]),
    (["study=pooling", "study.axes.data.scale=raw"], r"levels like", ["study=pooling", "study.axes.data.scale=[raw]"]),
    (["model.kernel_size=11"], r"fits is (\d+)$", [r"model.kernel_size=\1"]),
    (["data.limit=60", "batch_size=8"], r"that works is (\d+)$", [r"data.limit=\1", "batch_size=8"]),
    (["study=pooling", "data.validation_rows=9"], r"or set (\S+)$", ["study=pooling", r"\1"]),
    (["study=pooling", "data.validation_rows=90"], r"needs (\S+=)ROWS", ["study=pooling", "data.validation_rows=90",
                                                                       r"\g<1>600"]),
    (["study=pooling", "data.limit=600", "data.validation_rows=9"], r"at least (\d+),",
     ["study=pooling", "data.limit=600", r"data.validation_rows=\1"]),
    (["hydra.launcher.n_jobs=0", "study=pooling"], r"or (-1) for", [r"hydra.launcher.n_jobs=\1", "study=pooling"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "advice", "followed"), SWEEPS, ids=[" ".join(row[0]) for row in SWEEPS])
def test_the_advice_about_a_sweep_works(arguments, advice, followed, images, tmp_path):
    place = [f"data.dir={images}", f"store={tmp_path}"]
    if not any("model" in text for text in [*arguments, *followed]):
        place.append("model.filters=4")  # a plan too short for measuring the pace
    is_sweep = any(text.startswith(("study", "-m")) for text in followed)
    found = re.search(advice, mistake("train", *arguments, *place, *([DRY] if is_sweep else [])).strip())
    assert found
    then = [found.expand(text) for text in followed]
    assert "epoch" in here("train", *then, *place, DRY, *([] if is_sweep else ["-m"])).stdout


SEARCHES = [  # likewise of a search
    (["tuner=hyperbnad"], r"did you mean '(\w+)'", [r"tuner=\1"]),
    (["tuner/space=wid"], r"did you mean '(\w+)'", [r"tuner/space=\1"]),
    (["tuner.kind=randm"], r"did you mean '(\w+)'", [r"tuner.kind=\1", "tuner.max_trials=3"]),
    (["tuner.objective=val/acc"], r"did you mean '(\S+)'", [r"tuner.objective=\1"]),
    (["tuner.max_trial=3"], r"did you mean '(\S+)'", [r"\1=3"]),
    (["tuner.epochs=3"], r"did you mean '(\S+)'", [r"\1=3"]),
    (["workers=2"], r"did you mean '(\S+)'", [r"\1=2"]),
    (["--workers", "2"], r"write (\S+)$", [r"\1"]),
    (["--seed", "2"], r"write (\S+)$", [r"\1"]),
    (["random"], r"write KEY=VALUE, (\S+)$", [r"\1"]),
    (["=3"], r"write KEY=VALUE, (\S+)$", [r"\1"]),
    (["epochs=3"], r"for (\S+) at most; set that", [r"\1=3"]),
    (["study=filters"], r"leave (it) out", []),
    (["study.name=filters"], r"leave (it) out", []),
    (["study.seeds=[1]"], r"leave (it) out", []),
    (["study.dry_run=true"], r"leave (it) out", []),
    (["tuner=random", "tuner.max_trials=null"], r"give (\S+),", ["tuner=random", "tuner.max_trials=null", r"\1=3"]),
    (["tuner=random", "tuner.max_trials=null"], r"or (\S+)$", ["tuner=random", "tuner.max_trials=null", r"\1=3"]),
    (["-m", "tuner.seed=1"], r"(tuner.space), without -m", [r"\1.model.kernel_size.values=[3]", "tuner.seed=1"]),
    (["model.filters=16,32"], r"in \[(brackets)\]", ["model.filters=[16,32]"]),
    (["hydra.mode=RUN"], r"needs (\S+),", [r"\1"]),
    (["seed=4294967295"], r"at most (\d+)", [r"seed=\1"]),
    (["tuner.space.batch_sise={type: choice, values: [32]}"], r"did you mean '(\S+)'",
     [r"+tuner.space.\1={type: choice, values: [32]}"]),
    (["tuner.space.optimizer.lr.min=0.1"], r"did you mean '(\S+)'", [r"tuner.space.\1.min=0.0001"]),
    (["tuner.space.model.dropout=3"], r"or ({.*})", ["tuner.space.model.dropout={type: float, min: 0, max: 0.5}"]),
    (["tuner.space.model.dropout.sampling=log"], r"(log) with min above",
     [r"tuner.space.model.dropout.sampling=\1", "tuner.space.model.dropout.min=0.1"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "advice", "followed"), SEARCHES, ids=[" ".join(row[0]) for row in SEARCHES])
def test_the_advice_about_a_search_works(arguments, advice, followed, tmp_path):
    found = re.search(advice, mistake("tune", *arguments, f"store={tmp_path}").strip())
    assert found
    search = compose_config([found.expand(text) for text in followed], TUNE)
    check_search(search)
    assert dimensions(search.tuner.space)


@pytest.mark.parametrize(
    ("mistaken", "advice"),
    [
        ("make sweep study=filters", r"it takes (STUDY=filters)\."),
        ("make plan STUDY=filters model.filters=8 epochs=3", r"it takes (ARGS=\".*\")\."),
        ("make tune tuner=grid workers=2", r"it takes (TUNER=grid WORKERS=2)\."),
        ("make compare study=filters", r"it takes (STUDY=filters)\."),
    ],
)
def test_the_advice_of_make_works(mistaken, advice):
    make, target, *_ = shlex.split(mistaken)
    done = subprocess.run([*shlex.split(mistaken), "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.search(advice, done.stderr)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and found, done.stderr
    subprocess.run([make, target, "-n", *shlex.split(found[1])], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize("goal", ["swep", "filters", "epochs"])
def test_make_has_no_other_targets(goal):
    done = subprocess.run(["make", goal, "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"there is no target '{goal}'" in done.stderr


def test_a_study_that_was_run_with_options_is_found_by_the_advice_that_names_them(tmp_path):
    store = tracking.Store(str(tmp_path))
    computed = {"compute.precision": "float32", "compute.threads": 1, "epochs": 1, "data.limit": 600}
    for pooling in ("max", "average"):
        config = from_flat(Config(), {**computed, "model.pooling": pooling, "model.filters": [4, 8]})
        config.study = StudyConfig(name="pooling")
        write(store, config)
    told = here("compare", "--store", tmp_path, "--study", "pooling").stdout
    _, target, study, arguments = shlex.split(told.strip().partition(": ")[2])
    assert (target, study) == ("compare", "STUDY=pooling")
    options = shlex.split(arguments.removeprefix("ARGS="))
    assert "pooling=average" in here("compare", "--study", "pooling", *options).stdout


def test_the_command_that_answers_what_is_open_trains_what_a_claim_waits_for(tmp_path):
    from fmnist.study.findings import answer
    from fmnist.study.question import Question

    store = tracking.Store(str(tmp_path))
    for epochs in (1, 10):
        computed = {"compute.precision": "float32", "compute.threads": 1, "epochs": epochs}
        write(store, from_flat(Config(), computed))
    findings = answer(Question(str(tmp_path), "epochs", ["study.rungs=[1,10]"]))
    assert findings.command() == f'make sweep STUDY=epochs ARGS="store={tmp_path} study.rungs=[1,10,50]"'


OPEN = [  # study, its overrides, and how many seeds have reached which epochs; what waits
    ("epochs", ["study.rungs=[1,10]"], 1, (1, 10), "epochs"),
    ("article", [], 1, (1,), "published"),
    ("pooling", ["data.limit=300"], 2, (10,), "pooling"),
    ("pooling", ["study.seeds=[0,1,2,3]", "model.filters=[4,8]"], 4, (10,), "pooling=average"),
]


@pytest.mark.parametrize("case", OPEN, ids=[f"{study} {seeds}" for study, _, seeds, *_ in OPEN])
def test_the_advice_about_what_is_open_trains_what_it_waits_for(case, images, tmp_path):
    from fmnist.study.findings import answer
    from fmnist.study.question import Question

    study, overrides, seeds, rungs, waits = case
    store = tracking.Store(str(tmp_path))
    fixed = {"data.limit": 300} if "data.limit=300" in overrides else {"model.filters": [4, 8]} if seeds == 4 else {}
    for pooling, epochs, seed in itertools.product(("max", "average"), rungs, range(seeds)):
        computed = {"compute.precision": "float32", "compute.threads": 1, "epochs": epochs, "seed": seed}
        write(store, from_flat(Config(), {**computed, **fixed, "model.pooling": pooling}))
    findings = answer(Question(str(tmp_path), study, overrides))
    assert findings.settling() in findings.notes[-1]
    _, target, named, arguments = shlex.split(findings.settling())
    assert (target, named) == ("settle", f"STUDY={study}")
    followed = ["study.settle=true", f"data.dir={images}", *shlex.split(arguments.removeprefix("ARGS="))]
    alone = "hydra.launcher.n_jobs=1"  # one process measures the pace, not two
    forecast = here("train", f"study={study}", *followed, DRY, alone).stdout
    assert re.search(rf"^ *{waits} +0 ", forecast, re.MULTILINE)  # of these images no seed is there yet


def test_a_study_of_chance_shows_how_much_each_source_brings_and_has_nothing_to_settle(tmp_path):
    from fmnist.study.findings import answer
    from fmnist.study.question import Question

    store = tracking.Store(str(tmp_path))
    computed = {"compute.precision": "float32", "compute.threads": 1}
    for changed in ({}, {"noise.order": 1}, {"noise.order": 2}, {"noise.split": 1}):
        write(store, from_flat(Config(), {**computed, **changed}))
    findings = answer(Question(str(tmp_path), "noise"))
    assert findings.settling() == ""
    told = "\n".join(findings.notes)
    assert re.search(r"order: validation .*, 3 runs", told) and re.search(r"split: validation .*, 2 runs", told)
    assert "images: those that score leave" in told


# ---- Of a server ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["compare", "ui", "watch", "train"])
def test_a_server_that_does_not_answer_is_done_without_as_advised(module, recorded, images, monkeypatch, capsys):
    place = [f"store={recorded}", "study=pooling", DRY, f"data.dir={images}"]
    arguments = place if module == "train" else ["--store", str(recorded)]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setattr("sys.argv", [f"fmnist.{module}", *arguments])
    monkeypatch.setattr("fmnist.tracking.store.OPENING_SECONDS", 0.0)
    assert importlib.import_module(f"fmnist.{module}").main() == 2
    advice = re.search(r"start it, or unset (\w+) to use the store in (.*)$", capsys.readouterr().err.strip())
    assert advice and advice[2] == str(recorded)
    monkeypatch.delenv(advice[1])
    assert "baseline" in here("compare", "--store", advice[2]).stdout


def test_an_address_of_no_server_is_told_with_those_that_may_be(monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "htp://127.0.0.1:1")
    monkeypatch.setattr("sys.argv", ["fmnist.compare"])
    assert importlib.import_module("fmnist.compare").main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "htp://127.0.0.1:1" in error
    assert {"http://", "sqlite:///"} <= set(re.search(r"one of (.*), but", error)[1].split(", "))


@pytest.mark.parametrize("module", ["compare", "ui", "train"])
def test_a_database_whose_driver_is_missing_is_told_with_what_installs_it(module, monkeypatch, capsys, images):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@127.0.0.1/runs")
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as where it is not installed
    options = {"train": [f"data.dir={images}"], "ui": ["--port", str(free_port())]}
    monkeypatch.setattr("sys.argv", [f"fmnist.{module}", *options.get(module, [])])
    assert importlib.import_module(f"fmnist.{module}").main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "secret" not in error
    extra = re.search(r"install 'fmnist\[(\w+)\]'", error)[1]
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    assert any(requirement.startswith("psycopg") for requirement in wanted)


def test_a_port_that_is_taken_is_followed_by_one_on_which_a_server_can_listen(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = mistake("ui", "--store", tmp_path, "--port", str(taken.getsockname()[1]))
        advice = re.search(r"; (--port \d+) is free$", told.strip())
        assert advice and "make sweep" in mistake("ui", "--store", tmp_path, *advice[1].split())  # past the port


def test_a_host_that_is_none_is_followed_by_this_machine(tmp_path):
    advice = re.search(r"; (--host \S+) serves", mistake("ui", "--store", tmp_path, "--host", "nowhere.invalid"))
    assert advice and "make sweep" in mistake("ui", "--store", tmp_path, *advice[1].split(), "--port", str(free_port()))


# ---- Of a store ----------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path):
    """A store with a run, and its database."""
    folder = tmp_path / "store"
    computed = {"compute.precision": "float32", "compute.threads": 1, "epochs": 1}
    write(tracking.Store(str(folder)), from_flat(Config(), computed))
    return folder


def follow(command):
    """Carry out a command as a shell would."""
    variables, words = {}, shlex.split(command)
    while "=" in words[0]:
        key, _, variables[key] = words.pop(0).partition("=")
    assert words.pop(0) == "python"
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"} | variables
    subprocess.run([sys.executable, *words], env=environment, cwd=ROOT, capture_output=True, check=True)


def test_a_database_of_an_older_mlflow_is_read_after_the_command_that_is_named(recorded):
    alembic.command.downgrade(_get_alembic_config(tracking.address(recorded)), "-1")
    follow(mistake("compare", "--store", recorded).partition("then run ")[2])
    assert "baseline" in here("compare", "--store", recorded).stdout


def test_runs_that_were_deleted_with_their_experiment_are_back_after_the_command_that_is_named(recorded):
    client = MlflowClient(tracking.address(recorded))
    client.delete_experiment(client.get_experiment_by_name("fmnist").experiment_id)
    follow(mistake("compare", "--store", recorded).partition("get them back with: ")[2])
    assert "baseline" in here("compare", "--store", recorded).stdout


def test_a_damaged_database_that_is_moved_away_makes_place_for_a_copy(recorded, tmp_path):
    file, copy = recorded / "mlflow.db", tmp_path / "copy"
    shutil.copy(file, copy)
    file.write_bytes(b"no database")
    assert "put a copy of it back, or move it away to start anew" in mistake("compare", "--store", recorded)
    file.rename(tmp_path / "away")
    shutil.copy(copy, file)
    assert "baseline" in run("compare", "--store", recorded).stdout  # in a process that has not yet opened the other
