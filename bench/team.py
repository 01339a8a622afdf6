"""Processes that measure the same thing at the same time, when they are told to."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from typing import Any, Self

Measure = Callable[[], tuple[float, float]]  # does a little and returns how much it was, and in which seconds
LONGEST = 600.0  # seconds to wait for a process


class Team:
    """So many processes, each with the measures that `prepare(*arguments)` makes of them; a context manager."""

    def __init__(self, count: int, prepare: Callable[..., dict[str, Measure]], *arguments: Any) -> None:
        """Start them; they get ready while others do."""
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, prepare, arguments), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self._ready = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def wait(self) -> None:
        """Until all are ready."""
        if not self._ready:
            self._answers()
            self._ready = True

    def rate(self, name: str, seconds: float) -> float:
        """How much of a measure all of them together get done in a second, measured for so many seconds."""
        return sum(amount / took for amount, took in self._ask(name, seconds))

    def memory(self) -> float:
        """Bytes that one of them holds, the most of all."""
        return max(self._ask("memory", 0.0))

    def _ask(self, name: str, seconds: float) -> list[Any]:
        self.wait()
        for pipe in self._pipes:
            pipe.send((name, seconds))
        return self._answers()

    def _answers(self) -> list[Any]:
        answers = []
        for pipe in self._pipes:
            if not pipe.poll(LONGEST):
                raise TimeoutError(f"a process has not answered within {LONGEST:.0f} s")
            answers.append(pipe.recv())
        return answers


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, function, arguments), daemon=True)
    process.start()
    theirs.close()
    found = ours.recv()
    process.join()
    return found


def _answer(pipe: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    _begin()
    pipe.send(function(*arguments))


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has started this one
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def _work(pipe: Any, prepare: Callable[..., dict[str, Measure]], arguments: tuple[Any, ...]) -> None:
    import psutil

    _begin()
    measures = prepare(*arguments)
    pipe.send("ready")
    while True:  # until it is terminated
        name, seconds = pipe.recv()
        if name == "memory":
            pipe.send(psutil.Process().memory_info().rss)
            continue
        amount = took = 0.0
        began = time.perf_counter()
        while not amount or time.perf_counter() - began < seconds:
            more, elapsed = measures[name]()
            amount, took = amount + more, took + elapsed
        pipe.send((amount, took))
