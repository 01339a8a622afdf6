"""A sweep from the first launch to the last run: whatever happens to its workers, the store says what is left."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console

from fmnist import machine, words
from fmnist.config import RunError, StudyConfig, UserError
from fmnist.schema import Status
from fmnist.study.plan import PlannedRun, estimate
from fmnist.training import checkpoint
from fmnist.training.locking import BusyError, checkpoint_folder, exclusively, was_used_here
from fmnist.work.display import showing
from fmnist.work.launcher import Deaths, Launcher, Starter
from fmnist.work.sweep_progress import AnnouncedSweep, SweepProgress
from fmnist.work.worker import Attempt, Worker, next_runs

if TYPE_CHECKING:
    from fmnist.tracking import RunSummary, Store

CLOSING_SECONDS = 3.0  # that killed workers may take to let go of their locks


@dataclass
class Sweep:
    """The runs of a plan, launched until none is left."""

    planned: list[PlannedRun]
    study: StudyConfig
    folder: str  # of the store
    patience: int
    began: int  # ms
    workers: int
    launcher: Launcher
    console: Console
    _failed_before: frozenset[Attempt] = frozenset()
    _shown: set[int] = field(default_factory=set)  # rungs whose leaderboard has been printed

    def carry_out(self) -> None:
        """Launch, watch, launch again what was lost; close what was left open.

        Raises:
            RunError: runs failed; all others are done.
        """
        from fmnist.tracking import Store, StoreError

        self.store = Store(self.folder, self.patience)
        close_orphans(self.store, self.folder)
        _close_sweeps(self.store)
        self._failed_before = frozenset((run.run_id, run.ended) for run in self.store.failed())
        self._show_rungs()
        missing = [run for run in self.planned if not run.done]
        if not missing:
            return
        announced = AnnouncedSweep.of(self.planned, self.study.name, self.workers, self.began)
        record = self.store.announce(announced.study, announced.to_json())
        try:
            with showing(SweepProgress(self.store, announced), self.console, self._on_end):
                self._until_done(Starter(self.folder, record, announced.process))
            close_orphans(self.store, self.folder, CLOSING_SECONDS)
            failed = self._failed()
        except BaseException:
            with suppress(StoreError):  # the reason tells more; the next sweep closes what stands as running
                self.store.close(record, Status.KILLED)  # which workers everywhere hear of
                close_orphans(self.store, self.folder, CLOSING_SECONDS)
            raise
        self.store.close(record, Status.FAILED if failed else Status.FINISHED)
        self._sum_up(missing, failed)

    def _until_done(self, starter: Starter) -> None:
        deaths = Deaths("finishing an epoch", "fewer with hydra.launcher.n_jobs=1")
        while runs := self._left():
            before = self._epochs()
            try:
                self._launch(runs, starter)
            except (RunError, UserError):
                raise
            except Exception as error:
                lost = close_orphans(self.store, self.folder, CLOSING_SECONDS)
                try:
                    self.console.print(deaths.add(error, self._epochs() > before), soft_wrap=True)
                except RunError:
                    for run in lost:
                        self.store.close(run.run_id, Status.FAILED)
                    raise

    def _launch(self, runs: list[PlannedRun], starter: Starter) -> None:
        """Here as many workers as asked for, each with the whole list; on a cluster one for each trajectory."""
        missing = [run for run in self.planned if not run.done]
        if self.launcher.is_local:
            worker = Worker(missing, self._failed_before, self.study.fail_fast)
            self.launcher.launch([worker] * min(self.workers, len(runs)), starter)
            return
        paths = [[run for run in missing if run.signatures.trajectory == first.signatures.trajectory] for first in runs]
        workers = [Worker(path, self._failed_before, self.study.fail_fast) for path in paths]
        self.launcher.launch(workers, starter, [worker.label for worker in workers])

    # ---- What the store says, by signatures and statuses alone: clocks of machines differ

    def _failed(self) -> list["RunSummary"]:
        """The runs of the plan that have failed since the sweep began."""
        signatures = {run.signatures.run for run in self.planned}
        return [
            run
            for run in self.store.failed()
            if run.signature in signatures and (run.run_id, run.ended) not in self._failed_before
        ]

    def _left(self) -> list[PlannedRun]:
        """What workers could carry out now."""
        from fmnist import tracking

        failed = {run.trajectory for run in self._failed()}
        if failed and self.study.fail_fast:
            return []
        return next_runs(self.planned, _finished(tracking.frame(self.store)), failed)

    def _epochs(self) -> int:
        """How many are safe in checkpoints, over all trajectories of the plan."""
        paths = {run.signatures.trajectory for run in self.planned}
        newest = [checkpoint.newest(checkpoint_folder(self.folder, path), 10**9)[:1] for path in paths]
        return sum(epoch for first in newest for epoch, _ in first)

    # ---- What people see

    def _on_end(self, ended: list["RunSummary"]) -> None:
        for run in ended:
            if run.status == Status.FAILED:
                self.console.print(self.store.error(run.run_id).rstrip(), markup=False, soft_wrap=True)
        self._show_rungs()

    def _show_rungs(self) -> None:
        """Print the leaderboard of every rung that has become complete."""
        from fmnist import tracking
        from fmnist.analysis.leaderboard import leaderboard
        from fmnist.report.leaderboard import render

        runs = tracking.frame(self.store)
        finished, failed = _finished(runs), {run.trajectory for run in self._failed()}
        for rung in sorted({run.config.epochs for run in self.planned} - self._shown):
            of_rung = [run for run in self.planned if run.config.epochs == rung]
            if not all(run.signatures.run in finished or run.signatures.trajectory in failed for run in of_rung):
                return
            self._shown.add(rung)
            fresh = sum(not run.done for run in of_rung)
            after = f"{fresh} runs, {words.clock(time.time() - self.began / 1000)} after the start"
            self.console.print(f"\n[bold]Rung {rung}[/]: {after if fresh else 'nothing to do'}")
            signed = {run.signatures.run for run in of_rung}
            text = render(leaderboard(runs[runs["signature"].isin(signed)]), "table")
            self.console.print(text, markup=False, soft_wrap=True)

    def _sum_up(self, missing: list[PlannedRun], failed: list["RunSummary"]) -> None:
        if failed:
            reasons = "; ".join(f"{run.name}: {self._reason(run)}" for run in failed)
            raise RunError(f"{len(failed)} of {len(missing)} runs failed: {reasons}")
        took, estimated = time.time() - self.began / 1000, estimate(self.planned, self.workers)
        off = 100 * (estimated - took) / took
        clocks = f"{words.clock(took)}; the plan said {words.clock(estimated)}"
        self.console.print(f"\n{len(missing)} runs in {clocks} ({off:+.0f} %)")

    def _reason(self, run: "RunSummary") -> str:
        lines = self.store.error(run.run_id).rstrip().splitlines()
        return lines[-1] if lines else "its worker died"


def _finished(runs: pd.DataFrame) -> set[str]:
    """Signatures of the runs that have finished."""
    return set(runs.loc[runs["status"] == Status.FINISHED, "signature"])


def close_orphans(store: "Store", folder: str, patience: float = 0.0) -> list["RunSummary"]:
    """Close the runs that stand as running though no process works on them, and return them.

    Only runs that were carried out with this folder are judged; `patience` is how many seconds a process that is
    about to end gets to let go.
    """
    deadline, closed = time.monotonic() + patience, list["RunSummary"]()
    while running := [run for run in store.running() if was_used_here(folder, run.trajectory)]:
        for run in running:
            with suppress(BusyError), exclusively(folder, run.trajectory, wait=False):
                if store.is_running(run.run_id):  # or its process has ended it since we asked
                    store.close(run.run_id, Status.KILLED)
                    closed.append(run)
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return closed


def _close_sweeps(store: "Store") -> None:
    """Close the sweeps whose process was killed before it could."""
    for sweep, status in store.sweeps():
        if status == Status.RUNNING:
            announced = store.plan(sweep)
            if announced is None or machine.is_gone(announced["process"]):
                store.close(sweep, Status.KILLED)
