"""A sweep as it goes on: a live table on a terminal, else a plain line per event; all of it read from the store."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from fmnist import machine
from fmnist.study.plan import PlannedRun
from fmnist.work.progress import clock

if TYPE_CHECKING:
    from fmnist.tracking import RunSummary, Store

REFRESH_SECONDS = 1.0
LEAVE_SECONDS = 1.0  # for a look that is under way when the block is interrupted: the store may hang
LAST = 5  # ended runs that stay in sight on a terminal


@dataclass(frozen=True)
class AnnouncedRun:
    """What is expected of a run of a sweep: as much of the plan as a watcher on another machine needs."""

    name: str
    signature: str
    epochs: int
    start: int  # the epoch it continues from
    seconds: float  # estimated, on one worker
    trajectory: str = ""  # not in the plans of older sweeps


@dataclass(frozen=True)
class AnnouncedSweep:
    """A sweep as it stands in the store."""

    study: str
    workers: int
    began: int  # ms
    process: str  # that carries it out
    runs: list[AnnouncedRun]

    @classmethod
    def of(cls, planned: list[PlannedRun], study: str, workers: int, began: int) -> "AnnouncedSweep":
        """Of the runs of a plan that are not yet done."""
        runs = [
            AnnouncedRun(
                run.name, run.signatures.run, run.config.epochs, run.start, run.seconds, run.signatures.trajectory
            )
            for run in planned
            if not run.done
        ]
        return cls(study, workers, began, machine.this_process(), runs)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "AnnouncedSweep":
        """What `to_json` gave."""
        return cls(**{**values, "runs": [AnnouncedRun(**run) for run in values["runs"]]})


@dataclass
class ActiveRun:
    """A run that somebody is at."""

    expected: AnnouncedRun
    epoch: int
    accuracy: float | None
    epoch_seconds: float | None

    @property
    def share(self) -> float:
        """Of its work that is done, 0 to 1."""
        return max(0.0, (self.epoch - self.expected.start) / max(1, self.expected.epochs - self.expected.start))

    @property
    def seconds_left(self) -> float:
        """By its own last epoch, or as estimated."""
        if self.epoch_seconds is None:
            return self.expected.seconds
        return (self.expected.epochs - self.epoch) * self.epoch_seconds


@dataclass
class SweepProgress:
    """What the store says of an announced sweep at the moment."""

    book: "Store"
    sweep: AnnouncedSweep
    ended: dict[str, "RunSummary"] = field(default_factory=dict)  # signature -> its record, in the order of their ends
    active: list[ActiveRun] = field(default_factory=list)

    def refresh(self) -> list["RunSummary"]:
        """Look again; returns what has ended since the last look."""
        expected = {run.signature: run for run in self.sweep.runs}
        ended = [r for r in self.book.ended_since(self.sweep.began) if r.signature in expected and r.status != "KILLED"]
        fresh = [record for record in ended if self.ended.get(record.signature) != record]
        self.ended.update((record.signature, record) for record in fresh)
        self.active = [
            self._at(expected[record.signature], self.book.progress(record.run_id))
            for record in self.book.running()
            if record.signature in expected
        ]
        return fresh

    def _at(self, expected: AnnouncedRun, epochs: list[tuple[int, float, float]]) -> ActiveRun:
        if not epochs:
            return ActiveRun(expected, expected.start, None, None)
        epoch, accuracy, seconds = epochs[-1]
        return ActiveRun(expected, epoch, accuracy, seconds)

    @property
    def runs(self) -> list[AnnouncedRun]:
        """What is still expected of the plan: not the later rungs of a trajectory that has failed."""
        failed = {record.trajectory for record in self.ended.values() if record.status == "FAILED"}
        return [run for run in self.sweep.runs if run.signature in self.ended or run.trajectory not in failed]

    @property
    def complete(self) -> bool:
        """Whether every run that is expected has ended."""
        return len(self.ended) == len(self.runs)

    def rung(self) -> str:
        """`rung 3 of 1, 3, 10; `: the lowest that is not complete, nothing at the end."""
        rungs = sorted({run.epochs for run in self.sweep.runs})
        open_ones = {run.epochs for run in self.runs if run.signature not in self.ended}
        return f"rung {min(open_ones)} of {', '.join(map(str, rungs))}; " if open_ones else ""

    def seconds_left(self) -> float:
        """By the plan's estimates, corrected by how fast the plan has been worked off so far."""
        runs = self.runs
        total = sum(run.seconds for run in runs)
        done = sum(run.seconds for run in runs if run.signature in self.ended)
        done += sum(active.share * active.expected.seconds for active in self.active)
        elapsed = time.time() - self.sweep.began / 1000
        pace = done / elapsed if done > 0 and elapsed > 0 else self.sweep.workers
        return (total - done) / pace


@contextmanager
def shown(board: SweepProgress, console: Console, on_end: Callable[["RunSummary"], None]) -> Iterator[None]:
    """Show a board until the block ends; `on_end` is told of every run that has ended, while nothing else prints."""
    over = threading.Event()
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def look() -> None:
        fresh = board.refresh()
        for record in fresh if live is None else []:
            console.print(_event(board, record), markup=False, soft_wrap=True)
        for record in fresh:
            on_end(record)
        if live is not None:
            live.update(table(board, console.height), refresh=True)

    def watch() -> None:
        from fmnist.tracking import StoreError

        while not over.wait(REFRESH_SECONDS):
            with suppress(StoreError):  # it may answer later; the sweep itself says how long it waits
                look()

    watcher = threading.Thread(target=watch, daemon=True)
    if live is not None:
        live.start()
    watcher.start()
    patience = None
    try:
        yield
    except BaseException:
        patience = LEAVE_SECONDS
        board.book.hurry()
        raise
    finally:
        over.set()
        watcher.join(patience)
        if live is not None:
            live.stop()
    look()


def _event(board: SweepProgress, record: "RunSummary") -> str:
    left = "" if board.complete else f", left about {clock(board.seconds_left())}"
    number = list(board.ended).index(record.signature) + 1
    return f"{number}/{len(board.runs)}  {record.name}: {_outcome(record)}{left}"


def _outcome(record: "RunSummary") -> str:
    return f"validation {100 * record.val_accuracy:.2f} %" if record.status == "FINISHED" else record.status


def table(board: SweepProgress, height: int) -> Group:
    """What a terminal of so many lines shows: runs under way, how far the sweep is, and what ended last."""
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "epoch", "validation", "s/epoch", "left"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    shown = board.active[: max(1, (height - LAST - 4) // 2)]  # a long name takes two lines
    for active in shown:
        table.add_row(
            escape(active.expected.name),
            f"{active.epoch}/{active.expected.epochs}",
            "-" if active.accuracy is None else f"{100 * active.accuracy:.2f} %",
            "-" if active.epoch_seconds is None else f"{active.epoch_seconds:.1f}",
            clock(active.seconds_left),
        )
    if len(shown) < len(board.active):
        table.add_row(f"... and {len(board.active) - len(shown)} more")
    left = board.seconds_left()
    finish = time.strftime("%H:%M", time.localtime(time.time() + left))
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} runs"))
    description = f"{board.rung()}left {clock(left)}, until {finish}"
    bar.add_task(description, total=len(board.runs), completed=len(board.ended))
    return Group(table, bar, *(_line(record) for record in list(board.ended.values())[: -LAST - 1 : -1]))


def _line(record: "RunSummary") -> Text:
    style = "dim" if record.status == "FINISHED" else "red"
    return Text(f"{_outcome(record)}  {record.name}", style, no_wrap=True, overflow="ellipsis")
