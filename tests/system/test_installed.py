"""The package as it is installed: built as a wheel, put elsewhere, and called from an empty folder."""

import os
import subprocess
import sys
from zipfile import ZipFile

import pytest
from commands import ROOT, TINY
from server import free_port

from fmnist import __version__
from fmnist.config import CONF

COMMANDS = ("train", "tune", "compare", "watch", "ui", "runs", "champion", "reproduce")
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
SEARCH = ["tuner=random", "tuner.max_trials=1", "tuner.max_epochs=1", "tuner.confirm_seeds=0", "tuner/space=coarse"]


def call(*command, folder, code=0, silent=False, **environment):
    """What a command prints, called in a folder, where it must end with this exit code; if silent, without errors."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "PYTHONPATH")}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=inherited | environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == code and not (silent and done.stderr), done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built by setuptools from a copy of what it needs of the checkout, where building leaves folders of its own."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "fmnist", "conf"):
        call("cp", "-r", ROOT / name, folder, folder=ROOT)
    call(sys.executable, "-c", BUILD, folder / "dist", folder=folder)
    (file,) = (folder / "dist").glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder that it is installed in."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    call(*pip, "--target", folder, wheel, folder=folder)
    return folder


@pytest.fixture(scope="module")
def start(installed, tmp_path_factory):
    """Calls a command of the installed package in an empty folder: by its script, or by its module."""
    empty = tmp_path_factory.mktemp("empty")

    def start(name, *arguments, module=False, **options):
        command = [sys.executable, "-m", f"fmnist.{name}"] if module else [installed / "bin" / f"fmnist-{name}"]
        return call(*command, *arguments, folder=empty, PYTHONPATH=str(installed), **options)

    start.folder = empty
    return start


def test_a_wheel_holds_the_package_and_every_yaml(wheel):
    files = set(ZipFile(wheel).namelist())
    for folder, prefix in ((CONF, "fmnist/conf"), (ROOT / "fmnist", "fmnist")):
        here = {f"{prefix}/{path.relative_to(folder)}" for path in folder.rglob("*.*") if path.suffix != ".pyc"}
        assert here and here <= files
    assert not [name for name in files if not name.startswith(("fmnist/", f"fmnist-{__version__}"))]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_its_version_and_how_it_is_used(name, start):
    assert start(name, "--version") == f"fmnist {__version__}\n"
    assert f"python -m fmnist.{name}" in start(name, "--help", module=True)


def test_every_command_works_from_an_empty_folder_where_alone_it_leaves_something(start, installed, images):
    place = call(sys.executable, "-c", "import fmnist; print(fmnist.__file__)", folder=start.folder,
                 PYTHONPATH=str(installed))  # fmt: skip
    assert place.startswith(str(installed))
    assert "start some with 'python -m fmnist.train study=article'" in start("watch", code=2)
    assert "there are no runs in mlruns yet" in start("ui", "--port", free_port(), module=True, code=2)
    tiny = [*TINY, f"data.dir={images}"]
    trained = start("train", *tiny, "epochs=1", silent=True)
    assert "epoch 1/1" in trained and "test accuracy" in trained and "\x1b" not in trained
    assert "1 trial" in start("tune", *tiny, *SEARCH, module=True)
    assert "of 2 recorded runs none matches" in start("compare", "--study", "smoke", module=True)
    assert [path.name for path in start.folder.iterdir()] == ["mlruns"]
