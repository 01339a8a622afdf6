"""Processes that measure: several side by side that start together, or one for a single figure."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from fmnist.config import RunError

ROOT = Path(__file__).parent.parent
Measure = Callable[[], tuple[float, float]]  # does a little and returns how much it was, and in which seconds
LONGEST = 600.0  # seconds to wait for an answer


class Workers:
    """So many processes, each with the measures that `prepare(*arguments)` makes of them; a context manager."""

    def __init__(
        self, count: int, prepare: Callable[..., dict[str, Measure]], *arguments: Any, longest: float = LONGEST
    ) -> None:
        """Start them; they get ready while others do. None may take more than `longest` seconds to answer."""
        self._longest = longest
        self._processes = [_Process(_measure_on_request, prepare, arguments) for _ in range(count)]
        self._ready = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.end()

    def wait(self) -> None:
        """Until all are ready.

        Raises:
            RunError: a process fails, dies or does not answer; so do the other methods.
        """
        if not self._ready:
            self._receive()
            self._ready = True

    def rate(self, name: str, seconds: float) -> float:
        """How much of a measure all of them together get done in a second, measured for so many seconds."""
        return sum(amount / took for amount, took in self._ask(name, seconds))

    def memory(self) -> float:
        """Bytes that one of them holds, the most of all."""
        return max(self._ask("memory", 0.0))

    def _ask(self, name: str, seconds: float) -> list[Any]:
        self.wait()
        for process in self._processes:
            process.pipe.send((name, seconds))
        return self._receive()

    def _receive(self) -> list[Any]:
        return [process.receive(self._longest) for process in self._processes]


def in_process(
    function: Callable[..., Any],
    *arguments: Any,
    seconds: float = LONGEST,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """What a function returns in a process of its own, with these variables beside ours.

    Raises:
        RunError: it fails, dies or takes longer than `seconds`.
    """
    with variables(environment or {}):
        process = _Process(_call, function, arguments)
    try:
        return process.receive(seconds)
    finally:
        process.end()


def run_python(*arguments: str, folder: Path | str = ROOT) -> str:
    """What Python prints when it is called with these arguments in a folder.

    Raises:
        RunError: it fails; with the last line that it printed.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        command = " ".join(arguments[:2]).splitlines()[0].strip()  # of code not more than -c
        raise RunError(f"python {command} failed: {last[0]}")
    return done.stdout


# ---- A process and its pipe -----------------------------------------------------------------------------


class _Process:
    """It calls `target(pipe, *arguments)` and sends pairs through the pipe: a value, or why there is none."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_guarded, args=(target, theirs, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def receive(self, seconds: float) -> Any:
        if not self.pipe.poll(seconds):
            raise RunError(f"a measuring process has not answered within {seconds:.0f} s")
        try:
            value, error = self.pipe.recv()
        except EOFError:
            self._process.join()
            raise RunError(f"a measuring process died (exit code {self._process.exitcode})") from None
        if error:
            raise RunError(f"a measuring process failed: {error}")
        return value

    def end(self) -> None:
        self._process.terminate()
        self._process.join()


def _guarded(target: Callable[..., None], pipe: Any, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has started this one
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        target(pipe, *arguments)
    except Exception as error:
        pipe.send((None, f"{type(error).__name__}: {error}".splitlines()[0][:150]))


def _call(pipe: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    pipe.send((function(*arguments), None))


def _measure_on_request(pipe: Any, prepare: Callable[..., dict[str, Measure]], arguments: tuple[Any, ...]) -> None:
    measures = prepare(*arguments)
    pipe.send(("ready", None))
    while True:  # until it is terminated
        name, seconds = pipe.recv()
        pipe.send((_memory() if name == "memory" else _repeated(measures[name], seconds), None))


def _memory() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss)


def _repeated(measure: Measure, seconds: float) -> tuple[float, float]:
    """How much it was and how long it took, repeated for so many seconds and once at least."""
    amount = took = 0.0
    began = time.perf_counter()
    while not amount or time.perf_counter() - began < seconds:
        more, elapsed = measure()
        amount, took = amount + more, took + elapsed
    return amount, took


@contextmanager
def variables(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables that processes inherit which are started meanwhile."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
