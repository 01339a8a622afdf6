"""A sweep from the first launch to the last run: whatever happens to its workers, the store says what is left."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console

from fmnist import machine
from fmnist.config import RunError, StudyConfig, UserError
from fmnist.study.plan import PlannedRun, estimate
from fmnist.training import checkpoint
from fmnist.training.locking import BusyError, checkpoint_folder, exclusively, was_used_here
from fmnist.work import display
from fmnist.work.progress import clock
from fmnist.work.worker import Worker, next_runs

if TYPE_CHECKING:
    from fmnist.tracking import RunSummary, Store

HOPELESS = 3  # launches in a row that end with dead workers and without an epoch of progress
CLOSING_SECONDS = 3.0  # that killed workers may take to let go of their locks


@dataclass
class Sweep:
    """The runs of a plan, launched until none is left."""

    planned: list[PlannedRun]
    study: StudyConfig
    store: str
    patience: int
    began: int  # ms
    workers: int
    is_local: bool  # the workers are children of this process, and take runs as they come
    launch: Callable[[list[Worker]], None]  # starts a process for each and returns when all have ended
    console: Console
    _failed: dict[str, str] = field(default_factory=dict)  # name -> reason
    _shown: set[int] = field(default_factory=set)  # rungs whose leaderboard has been printed

    def carry_out(self) -> None:
        """Launch, watch, launch again what was lost; close what was left open.

        Raises:
            RunError: runs failed; all others are done.
        """
        from fmnist.tracking import FAILED, FINISHED, KILLED, Store, StoreError

        book = Store(self.store, self.patience)
        close_orphans(book, self.store)
        _close_sweeps(book)
        self._show_rungs(book)
        missing = [entry for entry in self.planned if not entry.done]
        if not missing:
            return
        sweep = display.AnnouncedSweep.of(self.planned, self.study.name, self.workers, self.began)
        sweep_id = book.announce(sweep.study, sweep.to_json())
        try:
            with display.shown(
                display.SweepProgress(book, sweep), self.console, lambda record: self._on_end(book, record)
            ):
                self._until_done(book, sweep_id, sweep.process)
        except BaseException:
            with suppress(StoreError):  # the reason tells more; the next sweep closes what stands as running
                book.close(sweep_id, KILLED)  # which workers everywhere hear of
                close_orphans(book, self.store, CLOSING_SECONDS)
            raise
        close_orphans(book, self.store, CLOSING_SECONDS)
        book.close(sweep_id, FAILED if self._failed else FINISHED)
        self._sum_up(missing)

    def _until_done(self, book: "Store", sweep: str, process: str) -> None:
        hopeless = 0
        while left := next_runs(self.planned, book, self.began, self.study.fail_fast):
            before = self._progress()
            try:
                self.launch(self._staff(left, sweep, process))
            except (RunError, UserError):
                raise
            except Exception as error:  # One worker's death takes the whole batch along, in every launcher.
                lost = close_orphans(book, self.store, CLOSING_SECONDS)
                hopeless = 0 if self._progress() > before else hopeless + 1
                if hopeless == HOPELESS:
                    for record in lost:
                        book.close(record.run_id, "FAILED")
                    raise RunError(
                        f"workers died {HOPELESS} times without finishing an epoch, for lack of memory perhaps; "
                        f"try fewer with hydra.launcher.n_jobs=1 (the last error: {_line(error)})"
                    ) from error
                self.console.print(
                    f"a worker died ({type(error).__name__}); what it was at is started again", soft_wrap=True
                )

    def _staff(self, left: list[PlannedRun], sweep: str, process: str) -> list[Worker]:
        """Here as many workers as asked for, all at the same list; on a cluster one for each trajectory."""
        runs = [entry for entry in self.planned if not entry.done]

        if self.is_local:
            return [Worker(runs, self.began, self.study.fail_fast)] * min(self.workers, len(left))
        paths = [entry.signatures.trajectory for entry in left]
        return [
            Worker(
                [entry for entry in runs if entry.signatures.trajectory == path],
                self.began,
                self.study.fail_fast,
                sweep,
                process,
            )
            for path in paths
        ]

    def _progress(self) -> int:
        """Epochs that are safe in checkpoints, over all trajectories of the plan."""
        paths = {entry.signatures.trajectory for entry in self.planned}
        newest = [checkpoint.newest(checkpoint_folder(self.store, path), 10**9)[:1] for path in paths]
        return sum(epoch for found in newest for epoch, _ in found)

    def _on_end(self, book: "Store", record: "RunSummary") -> None:
        if record.status == "FAILED":
            traceback = book.error(record.run_id).rstrip()
            self._failed[record.name] = traceback.splitlines()[-1] if traceback else "its worker died"
            self.console.print(traceback, markup=False, soft_wrap=True)
        self._show_rungs(book)

    def _show_rungs(self, book: "Store") -> None:
        """Print the leaderboard of every rung that has become complete."""
        from fmnist import tracking
        from fmnist.analysis.leaderboard import leaderboard
        from fmnist.report.leaderboard import render

        runs = tracking.frame(book)
        failed = {record.trajectory for record in book.ended_since(self.began) if record.status == "FAILED"}
        finished = set(runs.loc[runs["status"] == "FINISHED", "signature"])
        for rung in sorted({entry.config.epochs for entry in self.planned} - self._shown):
            of_rung = [entry for entry in self.planned if entry.config.epochs == rung]
            if not all(entry.signatures.run in finished or entry.signatures.trajectory in failed for entry in of_rung):
                return
            self._shown.add(rung)
            fresh = sum(not entry.done for entry in of_rung)
            after = f"{fresh} runs, {clock(time.time() - self.began / 1000)} after the start"
            self.console.print(f"\n[bold]Rung {rung}[/]: {after if fresh else 'nothing to do'}")
            signed = {entry.signatures.run for entry in of_rung}
            text = render(leaderboard(runs[runs["signature"].isin(signed)]), "table")
            self.console.print(text, markup=False, soft_wrap=True)

    def _sum_up(self, missing: list[PlannedRun]) -> None:
        took, estimated = time.time() - self.began / 1000, estimate(self.planned, self.workers)
        if self._failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self._failed.items())
            raise RunError(f"{len(self._failed)} of {len(missing)} runs failed: {reasons}")
        off = 100 * (estimated - took) / took
        self.console.print(f"\n{len(missing)} runs in {clock(took)}; the plan said {clock(estimated)} ({off:+.0f} %)")


def close_orphans(book: "Store", store: str, patience: float = 0.0) -> list["RunSummary"]:
    """Close the runs that stand as running though no process is at them, and return them.

    Only runs that were carried out with this folder are judged; `patience` is how many seconds a process that is
    about to end gets to let go.
    """
    deadline, closed = time.monotonic() + patience, list["RunSummary"]()
    while running := [entry for entry in book.running() if was_used_here(store, entry.trajectory)]:
        for entry in running:
            with suppress(BusyError), exclusively(store, entry.trajectory, wait=False):
                if book.is_running(entry.run_id):  # or its process has ended it since we asked
                    book.close(entry.run_id, "KILLED")
                    closed.append(entry)
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return closed


def _close_sweeps(book: "Store") -> None:
    """Close the sweeps whose process was killed before it could."""
    for sweep, status in book.sweeps():
        if status == "RUNNING":
            announced = book.plan(sweep)
            if announced is None or machine.is_gone(announced["process"]):
                book.close(sweep, "KILLED")


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
