"""What a worker of a sweep does: it takes the next run that nobody is at, until the plan is done."""

import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fmnist import machine, signals
from fmnist.config import UserError
from fmnist.study.plan import PlannedRun
from fmnist.training.locking import BusyError

if TYPE_CHECKING:
    from fmnist.tracking import Store

POLL_SECONDS = 0.5  # between looks for a run that has become free


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
        with signals.interrupted_when(lambda: self._is_over(book)) if self.sweep else nullcontext():
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
