"""A sweep from the first launch to the last run: whatever happens to its workers, the store says what is left."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import pandas as pd

from fmnist import machine, tracking, words
from fmnist.config import RunError, UserError
from fmnist.schema import BASELINE, Status
from fmnist.study.plan import PlannedRun, estimate
from fmnist.study.question import Question
from fmnist.tracking import RUNNING, Store, StoredRun, StoreError
from fmnist.tracking.leases import regularly
from fmnist.training import checkpoint
from fmnist.training.locking import BusyError, checkpoint_folder, was_used_here
from fmnist.work.display import showing
from fmnist.work.launcher import HopelessError, LaunchingSweeper
from fmnist.work.sweep_progress import SweepProgress, announcement
from fmnist.work.worker import Attempt, Worker, next_runs

CLOSING_SECONDS = 3.0  # that killed workers may take to let go of their locks


@dataclass
class Sweep:
    """The runs of a plan, launched until none is left."""

    planned: list[PlannedRun]
    began: int  # ms
    workers: int
    launcher: LaunchingSweeper
    until: float = float("inf")  # time.time() after which no run is begun
    is_block: bool = False  # of a larger whole, which tells how it goes on
    question: Question | None = None  # of a study that is declared, which has a page in the store
    recorded: pd.DataFrame | None = None  # in the store as it was planned; None: no leaderboards
    _failed_before: frozenset[Attempt] = frozenset()
    _shown: set[int] = field(default_factory=set)  # rungs whose leaderboard has been printed
    _record: str = ""  # its own in the store
    _abandoned: set[str] = field(default_factory=set)  # trajectories of sweeps that were killed
    _has_launched: bool = False
    _ended: dict[str, StoredRun] = field(default_factory=dict)  # by signature, as the display has seen them

    def carry_out(self) -> None:
        """Launch, watch, launch again what was lost; close what was left open.

        Raises:
            RunError: runs failed; all others are done.
        """
        config = self.planned[0].config
        self.study, self.folder = config.study, config.store
        self.store = Store(config.store, config.patience)
        close_orphans(self.store, self.folder)
        self._close_sweeps()
        self._failed_before = frozenset((run.run_id, run.ended) for run in self.store.failed())
        self._show_rungs()
        self.missing = [run for run in self.planned if not run.done]
        if not self.missing:
            return
        page = self.store.page(self.question.study).run_id if self.question else ""
        newest_end = self.store.newest_end()
        announced = announcement(
            self.planned, self.workers, self.began, self._failed_before, newest_end, is_block=self.is_block
        )
        record = self._record = self.store.sweeps.announce(self.study.name, announced)
        self.progress = SweepProgress.of(self.store, announced)
        self._ended = self.progress.ended
        try:
            shown = showing(self.progress, self.launcher.console, lambda: self._on_end(self.progress.fresh))
            with shown, self.store.beating(record), regularly(self._tend):
                self._until_done(record, page)
                self.progress.ask_for_all()
            close_orphans(self.store, self.folder, CLOSING_SECONDS)
            failed = self.failed()
        except BaseException:
            with suppress(StoreError):  # the reason tells more; the next sweep closes what stands as running
                self.store.close(record, Status.KILLED)  # which workers everywhere hear of
                close_orphans(self.store, self.folder, CLOSING_SECONDS)
            raise
        self.store.close(record, Status.FAILED if failed else Status.FINISHED)
        self._refresh_page()
        self._sum_up(failed)

    def _tend(self) -> None:
        """What is to be done again and again while workers work, elsewhere perhaps."""
        if time.time() >= self.until:
            self.store.sweeps.note_that_time_is_over(self._record)
        self._close_sweeps()

    def _close_sweeps(self) -> None:
        """Close the sweeps whose process was killed before it could, here or elsewhere, and the runs they left."""
        for sweep in list(self.store.sweeps.latest(RUNNING)):
            if sweep != self._record:
                announced = self.store.sweeps.plan(sweep) or {}
                if machine.is_gone(str(announced.get("process"))) or not self.store.goes_on(sweep):
                    self.store.close(sweep, Status.KILLED)
                    self._abandoned |= {str(run.get("trajectory")) for run in announced.get("runs", [])}
        if self._abandoned:
            close_abandoned(self.store, [run for run in self.store.running() if run.trajectory in self._abandoned])

    def _until_done(self, record: str, page: str) -> None:
        lost, fewer = list[StoredRun](), "fewer with hydra.launcher.n_jobs=1"

        def recover() -> None:
            lost[:] = close_orphans(self.store, self.folder, CLOSING_SECONDS)

        try:
            self.launcher.in_spite_of_deaths(
                partial(self._launch, record, page),
                recover,
                count=self._epochs,
                progress="finishing an epoch",
                remedy=fewer if self.launcher.is_local else "jobs with more memory or time",
            )
        except HopelessError:
            for run in lost:
                self.store.close(run.run_id, Status.FAILED)
            raise

    def _launch(self, record: str, page: str) -> None:
        """Here as many workers as asked for, each with the whole list; on a cluster one for each trajectory."""
        baselines = {
            (run.config.seed, run.config.epochs): run.signatures.run for run in self.planned if run.variant == BASELINE
        }
        while runs := self._left():
            self._has_launched = True
            process = machine.this_process()
            options = self._failed_before, self.study.fail_fast, self.until, baselines, page, record, process
            if self.launcher.is_local:
                self.launcher.launch([Worker(self.missing, *options)] * min(self.workers, len(runs)), record)
            else:
                paths = [run.signatures.trajectory for run in runs]
                of_path = [[run for run in self.missing if run.signatures.trajectory == path] for path in paths]
                workers = [Worker(missing, *options) for missing in of_path]
                self.launcher.launch(workers, record, [worker.label for worker in workers])

    def _refresh_page(self) -> None:
        """Have the study's page say what it has come to."""
        if self.question:
            from fmnist.study.study_page import refresh  # statistics and pictures, for which no worker has to wait

            with suppress(StoreError, UserError):  # all runs are safe; the next sweep tries again
                refresh(self.store, self.question)

    # ---- What the store says, by signatures and statuses alone: clocks of machines differ

    def failed(self) -> list[StoredRun]:
        """The runs of the plan that have failed since the sweep began, as far as the display has seen."""
        return [run for run in list(self._ended.values()) if run.status == Status.FAILED]

    def _left(self) -> list[PlannedRun]:
        """What workers could carry out now; where the display has not seen how a run ended, the store is asked."""
        if time.time() >= self.until:
            return []
        ended = dict(self._ended)
        if self._has_launched:
            unknown = {run.signatures.trajectory for run in self.missing if run.signatures.run not in ended}
            ended |= self.progress.of_these(self.store.of_trajectories(unknown))
        failed = {run.trajectory for run in ended.values() if run.status == Status.FAILED}
        finished = {run.signature for run in ended.values() if run.status == Status.FINISHED}
        return [] if failed and self.study.fail_fast else next_runs(self.missing, finished, failed)

    def _epochs(self) -> int:
        """How many are safe in checkpoints, over all trajectories of the plan."""
        paths = {run.signatures.trajectory for run in self.planned}
        shared = tracking.shared_epochs(self.folder)
        newest = {path: checkpoint.newest(checkpoint_folder(self.folder, path), 10**9) for path in paths}
        return sum(max([0, *(epoch for epoch, _ in newest[path]), *shared.get(path, [])]) for path in paths)

    # ---- What people see

    def _on_end(self, ended: list[StoredRun]) -> None:
        for run in ended:
            if run.status == Status.FAILED:
                self.launcher.console.print(self.store.error(run.run_id).rstrip(), markup=False, soft_wrap=True)
        self._show_rungs()

    def _show_rungs(self) -> None:
        """Print the leaderboard of every rung that has become complete; the store is not asked."""
        if self.recorded is None:
            return
        finished = {run.signatures.run for run in self.planned if run.done}
        finished |= {record.signature for record in self._ended.values() if record.status == Status.FINISHED}
        failed = {record.trajectory for record in self._ended.values() if record.status == Status.FAILED}
        for rung in sorted({run.config.epochs for run in self.planned} - self._shown):
            of_rung = [run for run in self.planned if run.config.epochs == rung]
            if not all(run.signatures.run in finished or run.signatures.trajectory in failed for run in of_rung):
                return
            self._shown.add(rung)
            fresh = sum(not run.done for run in of_rung)
            after = f"{words.plural(fresh, 'run')}, {words.clock(time.time() - self.began / 1000)} after the start"
            self.launcher.console.print(f"\n[bold]Rung {rung}[/]: {after if fresh else 'nothing to do'}")
            self.launcher.console.print(_leaderboard(of_rung, self._runs()), markup=False, soft_wrap=True)

    def _runs(self) -> pd.DataFrame:
        """What was recorded as it was planned, with what has ended since in its place."""
        assert self.recorded is not None
        ended = sorted(self._ended.values(), key=lambda run: run.start_time, reverse=True)
        before = self.recorded[~self.recorded["signature"].isin({run.signature for run in ended})]
        return pd.concat([before, tracking.frame(ended)]) if ended else before

    def _sum_up(self, failed: list[StoredRun]) -> None:
        if failed:
            ends = [(run.name, self.store.error(run.run_id).rstrip().splitlines()) for run in failed]
            reasons = [f"{name}: {lines[-1] if lines else 'its worker died'}" for name, lines in ends]
            of_all = words.plural(len(self.missing), "run")
            raise RunError(f"{len(failed)} of {of_all} failed: {words.some(reasons)}")
        if self.is_block:
            return
        if left := len(self.missing) - len(self._ended):  # all that has ended has finished
            over = f"the time (study.minutes={self.study.minutes:g}) is over"
            self.launcher.say(f"\n{over}: {left} of {words.plural(len(self.missing), 'run')} left for the same command")
            return
        took, estimated = time.time() - self.began / 1000, estimate(self.planned, self.workers)
        clocks = f"{words.clock(took)}; the plan said {words.clock(estimated)}"
        self.launcher.say(f"\n{words.plural(len(self.missing), 'run')} in {clocks}")


def _leaderboard(planned: list[PlannedRun], runs: pd.DataFrame) -> str:
    """Of these runs of a plan, as a table."""
    from fmnist.analysis.leaderboard import leaderboard  # SciPy's statistics, for which no worker has to wait
    from fmnist.report.leaderboard import render
    from fmnist.study.declared import rule_of

    rows = runs[runs["signature"].isin({run.signatures.run for run in planned})]
    names = {run.signatures.variant: run.variant for run in planned}
    named = rows.assign(changes=rows["variant"], variant=rows["variant_signature"].map(names).astype(object))
    return render(leaderboard(named, rule=rule_of(planned[0].config.study)), "table")


def close_orphans(store: Store, folder: str, patience: float = 0.0) -> list[StoredRun]:
    """Close the runs that stand as running though no process works on them, and return them.

    Only runs that were carried out with this folder are judged; `patience` is how many seconds a process that is
    about to end gets to let go.
    """
    deadline, closed = time.monotonic() + patience, list[StoredRun]()
    while running := [run for run in store.running() if was_used_here(folder, run.trajectory)]:
        closed += close_abandoned(store, running)
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return closed


def close_abandoned(store: Store, running: list[StoredRun]) -> list[StoredRun]:
    """Close those of the runs that no process works on, and return them."""
    closed = []
    for run in running:
        with suppress(BusyError), store.holding(run.trajectory, wait=False) as held:
            if held.status(run.run_id) == Status.RUNNING:  # or its process has ended it since we asked
                held.close(run.run_id, Status.KILLED)
                closed.append(run)
    return closed
