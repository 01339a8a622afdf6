"""Commands that are advised: what make is told in a checkout, and what it would call anywhere else."""

import subprocess

import pytest

from fmnist.advice import MODULES, command_for
from fmnist.config import PACKAGE


def words_of(line):
    """What a shell makes of a command line."""
    command = ["sh", "-c", f"printf '%s\\n' {line}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout[:-1].split("\n")


@pytest.fixture
def checkout(monkeypatch):
    monkeypatch.chdir(PACKAGE.parent)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


TYPED = ["data.limit=600", "study.rungs=[1,3]", "a='b c'", 'x="y"', "$HOME", "`id`", "a\\b"]


@pytest.mark.parametrize("text", TYPED)
def test_make_hands_arguments_through_two_shells(text, checkout):
    *command, given = words_of(command_for("compare", "filters", ["one=1", text]))
    assert command == ["make", "compare", "STUDY=filters"]
    assert words_of(given.removeprefix("ARGS=").replace("$$", "$")) == ["one=1", text]  # as make expands it


@pytest.mark.parametrize("text", TYPED)
def test_elsewhere_a_shell_hands_them_to_the_module(text, elsewhere):
    command = command_for("compare", "filters", ["one=1", text])
    assert words_of(command) == ["python", "-m", "fmnist.compare", "--study", "filters", "one=1", text]


@pytest.mark.parametrize("study", ["", "filters"])
@pytest.mark.parametrize("target", MODULES)
def test_elsewhere_each_command_is_what_make_would_call(target, study, elsewhere):
    about = [f"STUDY={study}"] * (study != "" and target in ("sweep", "settle", "compare", "report"))
    command = ["make", "-C", PACKAGE.parent, "--dry-run", target, *about, "ARGS=--x"]
    last = subprocess.run(command, capture_output=True, text=True, check=True).stdout.replace("\\\n", "").splitlines()
    called = [line for line in last if "fmnist" in line and line.rstrip().endswith("--x")][-1].split()
    if target == "compare" and about:  # which make writes down too
        called = [word for word in called if word not in ("--out", f"experiments/{study}")]
    assert called == [".venv/bin/python", *command_for(target, study if about else "", ["--x"]).split()[1:]]


def test_a_checkout_is_told_make_and_any_other_folder_is_not(checkout, tmp_path, monkeypatch):
    assert command_for("sweep") == "make sweep"
    assert command_for("ui", arguments=["--epochs", "3"]) == 'make ui ARGS="--epochs 3"'
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Makefile").touch()  # another's
    assert command_for("sweep") == "python -m fmnist.train study=article"
