"""What only processes of their own show: what they import, and that they work from any folder."""

import subprocess
import sys

import pandas as pd
import pytest
from commands import ROOT
from invented import write

from fmnist import tracking
from fmnist.config import Config, from_flat
from fmnist.study import pace

POOLING = ["--study", "pooling"]
BASE = from_flat(Config(), {"compute.precision": "float32", "compute.threads": 1, "epochs": 1})
SMALL = from_flat(BASE, {"model.filters": 4, "model.kernel_size": 3, "model.dense_units": 16, "batch_size": 32})


@pytest.fixture
def store(tmp_path):
    """A run of study pooling."""
    folder = tmp_path / "store"
    write(tracking.Store(str(folder)), BASE)
    return folder


def test_its_help_needs_no_pandas():
    code = "import sys, fmnist.compare; print({'pandas', 'numpy', 'matplotlib', 'mlflow'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_the_help_of_what_trains_needs_neither_pandas_nor_mlflow():
    for command in ("train", "tune"):
        code = (
            f"import atexit, sys, fmnist.{command} as command; sys.argv = ['fmnist.{command}', '--help']; "
            "atexit.register(lambda: print({'pandas', 'matplotlib', 'mlflow', 'tensorflow'} & {*sys.modules})); "
            "command.main()"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "set()"


def test_from_another_folder_all_is_found_and_nothing_heavy_is_imported(store, tmp_path):
    code = (
        "import sys; from fmnist.compare import main; code = main(sys.argv[1:]); "
        "print(sorted({'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules)), code, file=sys.stderr)"
    )
    arguments = ["--store", str(store), *POOLING, "--format", "html", "--out", "found"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "[] 0" and (tmp_path / "found" / "report.html").exists()


def test_drawing_needs_neither_pyplot_nor_keras_nor_mlflow():
    code = (
        "import sys, fmnist.report.run_pictures;"
        "print([m for m in ('matplotlib.pyplot', 'keras', 'tensorflow', 'mlflow') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_report_needs_neither_keras_nor_mlflow_nor_pyplot() -> None:
    heavy = "{'matplotlib.pyplot', 'keras', 'tensorflow', 'mlflow'}"
    code = f"import sys, fmnist.report.page; print({heavy} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_importing_the_module_loads_no_heavy_library() -> None:
    code = "import sys, fmnist.training.data; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"keras", "sklearn", "pandas", "tensorflow"} & set(done.stdout.split())


def test_a_measurement_by_a_real_process_gives_a_pace_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    speed = pace.Pace(pd.DataFrame(), [SMALL])
    guess = speed.of(SMALL)
    assert speed.measure([SMALL], workers=1)
    assert 1e6 < speed.of(SMALL) < 1e13 and speed.of(SMALL) != guess
    assert speed.unknown([SMALL]) == []


def test_each_config_gets_the_mean_of_what_all_processes_have_measured(tmp_path, monkeypatch):
    script, fewer = tmp_path / "python", from_flat(SMALL, {"model.filters": 2})
    script.write_text(f'#!/bin/sh\nmkdir {tmp_path}/first 2> /dev/null && echo "[2e9, 4e9]" || echo "[4e9, 8e9]"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    speed = pace.Pace(pd.DataFrame(), [SMALL])
    speed.measure([SMALL, fewer], workers=2)
    assert [speed.of(SMALL), speed.of(fewer)] == pytest.approx([3e9, 6e9])
    assert speed.unknown([SMALL, fewer]) == []


@pytest.mark.parametrize("does", ["exit 1", "exec sleep 600"])
def test_what_fails_or_takes_too_long_to_be_measured_stays_a_guess(does, tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(pace, "LONGEST", 0.5)
    speed = pace.Pace(pd.DataFrame(), [SMALL])
    guess = speed.of(SMALL)
    assert not speed.measure([SMALL], workers=2) and speed.of(SMALL) == guess
