"""Processes side by side, each at a job of its own, that end with the process that started them."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from fmnist.config import RunError, UserError
from fmnist.signals import end_with

Job = Callable[[], Any]
_SPAWN = multiprocessing.get_context("spawn")


def _hear(handler: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _interrupt(number: int, frame: Any) -> NoReturn:
    """Only once: a terminal's Ctrl-C comes to all processes, and then the parent's SIGTERM while we are closing."""
    _hear(lambda number, frame: None)
    raise KeyboardInterrupt


def _work(job: Job, parent: int, pipe: Connection) -> None:
    end_with(parent)
    _hear(_interrupt)
    try:
        pipe.send((job(), None))
    except (UserError, RunError) as error:
        pipe.send((None, error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


class ProcessGroup:
    """Started at once; one that dies without a word, for lack of memory say, is replaced by another at the same job."""

    def __init__(self, jobs: list[Job]) -> None:
        """Start a process for each job, which must be picklable."""
        self.results: list[Any] = []
        self.deaths = 0
        self._members = [self._start(job) for job in jobs]

    def _start(self, job: Job) -> tuple[Job, Any, Connection]:
        ours, theirs = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(target=_work, args=(job, os.getpid(), theirs))
        process.start()
        theirs.close()
        return job, process, ours

    def is_busy(self) -> bool:
        """Whether any is still at work.

        Raises:
            UserError: one has found a mistake.
            RunError: one cannot go on.
        """
        left = []
        for job, process, pipe in self._members:
            if process.is_alive() and not pipe.poll():
                left.append((job, process, pipe))
                continue
            try:
                result, error = pipe.recv()
            except EOFError:
                self.deaths += 1
                left.append(self._start(job))
                continue
            process.join()
            if error is not None:
                raise error
            self.results.append(result)
        self._members = left
        return bool(left)

    def stop(self) -> None:
        """Interrupt all, and wait until they have closed what they were at."""
        for _, process, _ in self._members:
            if process.is_alive():
                process.terminate()
        for _, process, _ in self._members:
            process.join()
