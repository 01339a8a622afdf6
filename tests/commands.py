"""The project's commands as a user runs them: in processes of their own, from the root of the repository."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TINY = ["model.filters=4", "model.kernel_size=3", "model.dense_units=16", "batch_size=32", "compute.precision=float32"]


def run(module: str, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`python -m fmnist.<module>` with these arguments, which must end with exit code `code`."""
    command = [sys.executable, "-m", f"fmnist.{module}", *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def mistake(module: str, *arguments: str | Path) -> str:
    """The one line with which a door refuses these arguments."""
    done = run(module, *arguments, code=2)
    assert done.stdout == "" and done.stderr.count("\n") == 1, done.stdout + done.stderr
    assert done.stderr.startswith(f"fmnist.{module}: ")
    return done.stderr
