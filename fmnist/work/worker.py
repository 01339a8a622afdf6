"""What a worker of a sweep does: it takes the next run that no process works on, until the plan is done."""

import time
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from functools import partial

from fmnist import machine
from fmnist.config import UserError
from fmnist.run import Listener, execute
from fmnist.schema import COLUMNS, Status
from fmnist.study.plan import PlannedRun
from fmnist.tracking import AwayError, Store, StoredRun
from fmnist.training.locking import BusyError

POLL_SECONDS = 0.5  # between looks for a run that has become free
Attempt = tuple[str, int]  # a run's id and the ms of its end: another attempt has another end


@dataclass
class Worker:
    """Called in a process of its own, once for many runs: TensorFlow is loaded once.

    Every worker may be given the same runs. A trajectory is one worker's at a time (`Store.holding`); what has become
    of its runs the store says. So workers need no channel between them, and any number of sweeps can share a store.
    """

    runs: list[PlannedRun]
    failed_before: frozenset[Attempt] = frozenset()  # the sweep; what has failed since is not tried again
    fail_fast: bool = False
    until: float = float("inf")  # time.time() after which no run is begun, by the clock of the sweep's machine
    baselines: Mapping[tuple[int, int], str] = field(default_factory=dict)  # seed, epochs -> its run's signature
    page: str = ""  # id of the page of their study
    sweep: str = ""  # id of its record, which says on other machines that the time is over
    process: str = ""  # that carries it out
    _finished: set[str] = field(default_factory=set)  # signatures, as far as this worker has looked
    _failed: set[str] = field(default_factory=set)  # trajectories
    _heard: int = field(default_factory=lambda: int(1000 * time.time()))  # latest end (ms) that this worker knows of

    @property
    def label(self) -> list[str]:
        """The overrides by which a cluster names the job of a single trajectory: those of its last rung."""
        last = self.runs[-1]
        return [*last.overrides, f"epochs={last.config.epochs}", f"seed={last.config.seed}"]

    def __call__(self) -> None:
        """Carry out runs until none is left that could be."""
        config = self.runs[0].config
        store = Store(config.store, config.patience, answered_before=True)
        while not (self._failed and self.fail_fast) and not self._is_late(store):
            candidates = next_runs(self.runs, self._finished, self._failed)
            if not candidates:
                return
            # Nothing is asked of the store about trajectories that are others'.
            if not any(store.is_free(run.signatures.trajectory) for run in candidates) or not (
                self._hears(store) or any(self._settles(run, store) for run in candidates)
            ):
                time.sleep(POLL_SECONDS)

    def _is_late(self, store: Store) -> bool:
        if self.until < float("inf") and machine.is_elsewhere(self.process):  # whose clock is another
            return store.sweeps.time_is_over(self.sweep)
        return time.time() >= self.until

    def _settles(self, planned: PlannedRun, store: Store) -> bool:
        """Carry out a run unless it has ended already; False if another process works on its trajectory."""
        try:
            if not store.is_free(planned.signatures.trajectory):
                return False
            self._carry_out(planned, store)
        except BusyError:
            return False
        return True

    def _hears(self, store: Store) -> bool:
        """Learn at once what others have finished meanwhile, instead of asking run by run; whether there was anything.

        What another's clock hides is asked about all the same. Of a single trajectory, a cluster's job, there is none.
        """
        if all(run.signatures.trajectory == self.runs[0].signatures.trajectory for run in self.runs):
            return False
        ended = store.ended_after(self._heard)
        self._heard = max([self._heard, *(run.ended for run in ended)])
        signatures = {run.tags.get(COLUMNS["signature"].tag, "") for run in ended if run.status == Status.FINISHED}
        is_new = not signatures <= self._finished
        self._finished |= signatures
        return is_new

    def _carry_out(self, planned: PlannedRun, store: Store) -> None:
        """Carry out a run; whatever goes wrong is its record's to tell."""
        signatures = planned.signatures
        try:
            heard = Listener(reference=partial(self._reference, planned, store))
            outcome = execute(
                planned.config, heard, False, store,
                variant=planned.variant, parent=self.page, given_up=self._has_failed,
            )  # fmt: skip
            if outcome.status == Status.FINISHED:
                self._finished.add(signatures.run)
            else:
                self._failed.add(signatures.trajectory)
        except (BusyError, UserError, AwayError):
            raise
        except Exception:  # whatever it is: the run is FAILED, and the other runs shall not suffer
            attempt = store.find(signatures.run)
            if attempt is None or not self._has_failed(attempt):  # it would be tried for ever
                raise
            self._failed.add(signatures.trajectory)

    def _reference(self, planned: PlannedRun, store: Store) -> float | None:
        """What the baseline's run of the same seed and epochs came to, if it has finished."""
        signature = self.baselines.get((planned.config.seed, planned.config.epochs), "")
        same = store.find(signature) if signature not in ("", planned.signatures.run) else None
        return same.val_accuracy if same is not None and same.status == Status.FINISHED else None

    def _has_failed(self, record: StoredRun) -> bool:
        return record.status == Status.FAILED and (record.run_id, record.ended) not in self.failed_before


def next_runs(runs: list[PlannedRun], finished: Container[str], failed: Container[str]) -> list[PlannedRun]:
    """The next rung of every trajectory (by signature) that has neither reached its last nor failed, in plan order."""
    first: dict[str, PlannedRun] = {}
    for run in runs:
        if not (run.done or run.signatures.run in finished or run.signatures.trajectory in failed):
            first.setdefault(run.signatures.trajectory, run)
    return list(first.values())
