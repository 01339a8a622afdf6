"""What a worker of a sweep does: it takes the next run that nobody is at, until the plan is done."""

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fmnist import machine
from fmnist.config import UserError
from fmnist.study.plan import PlannedRun
from fmnist.training.locking import BusyError

if TYPE_CHECKING:
    from fmnist.tracking import Store

POLL_SECONDS = 0.5  # between looks for a run that has become free
WATCH_SECONDS = 1.0  # between looks whether the sweep is still there
GRACE_SECONDS = 15.0  # that an orphaned worker has to close its run


@dataclass
class Worker:
    """Called by a Hydra launcher in a process of its own, once for many runs: TensorFlow is loaded once.

    Every worker may be given the same runs. A trajectory is one worker's at a time, by its lock; which runs are
    done is what the store says. So workers need no channel between them, and any number of sweeps can share a store.
    """

    runs: list[PlannedRun]
    began: int  # ms; what failed since then is not tried again
    fail_fast: bool = False
    sweep: str = ""  # its record in the store, and
    process: str = ""  # who carries it out, for a worker that is no child of that process
    _errors: dict[str, Exception] = field(default_factory=dict)

    def __call__(self) -> None:
        """Carry out runs until none is left that could be.

        Raises:
            UserError: the data or the store cannot be had.
            Exception: a run went wrong and the store could not be told.
        """
        from fmnist.tracking import Store

        config = self.runs[0].config
        book = Store(config.store, config.patience, known=True)
        with _unless(lambda: self._is_over(book)) if self.sweep else nullcontext():
            while runs := next_runs(self.runs, book, self.began, self.fail_fast):
                if not any(self._took(entry, book) for entry in runs):
                    time.sleep(POLL_SECONDS)

    def _is_over(self, book: "Store") -> bool:
        """Whether the sweep has ended without us: it was interrupted, or killed on this machine."""
        from fmnist.tracking import StoreError

        if machine.is_gone(self.process):
            return True
        with suppress(StoreError):
            return not book.is_running(self.sweep, wait=False)
        return False

    def _took(self, entry: PlannedRun, book: "Store") -> bool:
        """Carry out a run, unless another process is at its trajectory; whatever goes wrong is its record's to tell."""
        from fmnist import run
        from fmnist.tracking import AwayError

        if entry.signatures.run in self._errors:
            raise self._errors[entry.signatures.run]
        try:
            run.execute(entry.config, wait=False, store=book)
        except BusyError:
            return False
        except (UserError, AwayError):
            raise
        except Exception as error:  # whatever it is: the run is FAILED, and the other runs shall not suffer
            self._errors[entry.signatures.run] = error
        return True


def next_runs(runs: list[PlannedRun], book: "Store", began: int, fail_fast: bool) -> list[PlannedRun]:
    """The next rung of every trajectory that has neither reached its last nor failed, in the order of the plan."""
    ended = book.ended_since(began)
    finished = {run.signature for run in ended if run.status == "FINISHED"}
    failed = {run.trajectory for run in ended if run.status == "FAILED"}
    if failed and fail_fast:
        return []
    first: dict[str, PlannedRun] = {}
    for entry in runs:
        if not (entry.done or entry.signatures.run in finished or entry.signatures.trajectory in failed):
            first.setdefault(entry.signatures.trajectory, entry)
    return list(first.values())


def end_with(parent: int) -> None:
    """Called as a process starts that shall not outlive its parent, not even one that is killed.

    Not called with the first run: a process whose parent is killed before it could send one would wait for it forever.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts with &
    threading.Thread(target=_watch, args=(lambda: os.getppid() != parent, threading.Event()), daemon=True).start()


@contextmanager
def _unless(over: Callable[[], bool]) -> Iterator[None]:
    """Do something only as long as it is not over; the process may serve others afterwards."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    done = threading.Event()
    threading.Thread(target=_watch, args=(over, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _watch(over: Callable[[], bool], done: threading.Event) -> None:
    while not done.wait(WATCH_SECONDS):
        if over():
            _thread.interrupt_main()
            if not done.wait(GRACE_SECONDS):
                os._exit(1)
            return
