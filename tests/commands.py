"""The project's commands as a user runs them: in processes of their own, from the root of the repository, or here."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

if TYPE_CHECKING:
    from fmnist.work.launcher import Task

ROOT = Path(__file__).parent.parent
TINY = ["model.filters=4", "model.kernel_size=3", "model.dense_units=16", "batch_size=32", "compute.precision=float32"]
Ended = subprocess.CompletedProcess[str]


def run(module: str, *arguments: str | Path, code: int = 0) -> Ended:
    """`python -m fmnist.<module>` with these arguments, which must end with exit code `code`."""
    command = [sys.executable, "-m", f"fmnist.{module}", *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def here(module: str, *arguments: str | Path, code: int | None = 0, **environment: str) -> Ended:
    """The same in this process, which has loaded the libraries already, for what starts no other; any code is None."""
    command, out, err = [f"fmnist.{module}", *map(str, arguments)], io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(ROOT)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", command)
        try:
            ended = import_module(f"fmnist.{module}").main()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    assert code in (ended, None), out.getvalue() + err.getvalue()
    return Ended(command, ended, out.getvalue(), err.getvalue())


def mistake(module: str, *arguments: str | Path, **environment: str) -> str:
    """The one line with which a command refuses these arguments."""
    done = here(module, *arguments, code=2, **environment)
    assert done.stdout == "" and done.stderr.count("\n") == 1, done.stdout + done.stderr
    assert done.stderr.startswith(f"fmnist.{module}: ")
    return done.stderr


def work_here(patch: pytest.MonkeyPatch) -> None:
    """Have workers of sweeps and searches do their work in this process, one after the other.

    What they are given and what becomes of it is pickled nevertheless, as between processes.
    """
    from fmnist.work.launcher import LaunchingSweeper

    def launch(self: Any, tasks: "Sequence[Task]", record: str, labels: object = None) -> list[Any]:
        try:
            return [_sent(_sent(task)()) for task in tasks]
        except Exception as error:
            raise _sent(error) from error

    patch.setattr(LaunchingSweeper, "launch", launch)


def _sent(thing: Any) -> Any:
    """What another process gets of something, as joblib sends it."""
    return cloudpickle.loads(cloudpickle.dumps(thing))
