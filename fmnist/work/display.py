"""What a sweep or a search shows while it goes on: a live table on a terminal, elsewhere a plain line for each end."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column, Table
from rich.text import Text

from fmnist import words
from fmnist.config import UserError
from fmnist.tracking import Store, StoredRun, StoreError

REFRESH_SECONDS, LONGEST_PAUSE = 1.0, 10.0
WORDS = ("run", "state")  # headings of columns that stand left; the rest are numbers
LEAVE_SECONDS = 1.0  # for a look that is under way when the block is interrupted: the store may hang
LAST = 5  # ended runs that stay in sight on a terminal


@dataclass(frozen=True)
class ExpectedRun:
    """A run that a process is to carry out: as much of the plan as a watcher on another machine needs."""

    name: str
    signature: str
    epochs: int
    start: int  # the epoch it continues from
    seconds: float | None  # estimated, on one worker
    trajectory: str = ""  # not in the plans of older sweeps


@dataclass(frozen=True)
class ActiveRun:
    """A run that a process works on."""

    expected: ExpectedRun
    epoch: int  # the last that it has finished
    accuracy: float | None = None  # of the last epoch, on the validation images
    epoch_seconds: float | None = None  # that the last epoch took

    @property
    def share(self) -> float:
        """Of its work that is done, 0 to 1."""
        start, epochs = self.expected.start, self.expected.epochs
        return max(0.0, (self.epoch - start) / max(1, epochs - start))

    @property
    def seconds_left(self) -> float | None:
        """By its own last epoch, or as estimated."""
        if self.epoch_seconds is None:
            return self.expected.seconds
        return (self.expected.epochs - self.epoch) * self.epoch_seconds


@dataclass(frozen=True)
class View:
    """How far a sweep or a search is: a bar of so many that have ended, where it is known how many there will be."""

    text: str
    ended: int
    total: int | None
    noun: str  # run, trial
    active: list[ActiveRun]
    last: list[tuple[str, bool]]  # what those that ended last came to, the latest first, and whether it is a failure
    best: str = ""  # what the best so far came to


class Observed(Protocol):
    """A sweep or a search as the display needs it."""

    store: Store

    def refresh(self) -> list[str]:
        """Look again; returns a line for each run or trial that has ended since the last look."""

    def view(self) -> View:
        """What the last look has shown."""


def active_runs(store: Store, expected: Iterable[ExpectedRun]) -> list[ActiveRun]:
    """Those of the expected runs that processes work on."""
    runs = {run.signature: run for run in expected}
    active = {record.signature: record for record in store.running() if record.signature in runs} if runs else {}
    return [_active(runs[signature], record) for signature, record in active.items()]


def _active(run: ExpectedRun, record: StoredRun) -> ActiveRun:
    seconds = record.metrics.get("time/epoch_s", 0.0)
    return ActiveRun(run, record.epoch, record.val_accuracy, seconds) if record.epoch else ActiveRun(run, run.start)


def pause(store: Store, last_news: float) -> float:
    """Seconds until the next look; a server is asked the less often the longer nothing has ended (time.monotonic())."""
    waited = 0.0 if store.uri.startswith("sqlite:") else time.monotonic() - last_news
    return min(max(REFRESH_SECONDS, waited / 2), LONGEST_PAUSE)


@contextmanager
def showing(observed: Observed, console: Console, on_end: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Show a sweep or a search until the block ends; `on_end` is called when runs have ended, and may print."""
    over, last_news = threading.Event(), time.monotonic()
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def look() -> None:
        nonlocal last_news
        lines = observed.refresh()
        last_news = time.monotonic() if lines else last_news
        for line in lines if live is None else []:
            console.print(line, markup=False, soft_wrap=True)
        if lines:
            on_end()
        if live is not None and not over.is_set():
            live.update(picture(observed.view(), console.height), refresh=True)

    def watch() -> None:
        while not over.wait(pause(observed.store, last_news)):
            with suppress(StoreError, UserError):  # it may answer later; the sweep itself says how long it waits
                look()

    watcher = threading.Thread(target=watch, daemon=True)

    def end(patience: float | None) -> None:
        over.set()
        watcher.join(patience)
        if live is not None:
            live.stop()

    if live is not None:
        live.start()
    watcher.start()
    try:
        yield
    except BaseException as error:
        observed.store.stop_waiting()
        end(LEAVE_SECONDS)
        if not (isinstance(error, KeyboardInterrupt) or watcher.is_alive()):
            with suppress(StoreError, UserError):
                look()
        raise
    end(None)
    look()


def table(*headings: str, **options: Any) -> Table:
    """An empty table: names and states stand left, numbers right."""
    sides: dict[str, Any] = {heading: "left" if heading in WORDS else "right" for heading in headings}
    columns = (Column(heading, justify=side, no_wrap=heading != "run") for heading, side in sides.items())
    return Table(*columns, **options)


def picture(view: View, height: int) -> Group:
    """What a terminal of so many lines shows: active runs, how far it all is, and what has ended last."""
    rows = table("run", "epoch", "validation", "s/epoch", "left", box=None, pad_edge=False)
    visible = view.active[: max(1, (height - LAST - 5) // 2)]  # a long name takes two lines
    for run in visible:
        rows.add_row(
            escape(run.expected.name),
            f"{run.epoch}/{run.expected.epochs}",
            words.percent(run.accuracy),
            words.DASH if run.epoch_seconds is None else f"{run.epoch_seconds:.1f}",
            _left(run),
        )
    if len(visible) < len(view.active):
        rows.add_row(f"... and {len(view.active) - len(visible)} more")
    last = [
        Text(text, "red" if has_failed else "dim", no_wrap=True, overflow="ellipsis")
        for text, has_failed in view.last[:LAST]
    ]
    best = [Text(f"best so far: {view.best}", no_wrap=True, overflow="ellipsis")] if view.best else []
    return Group(rows, _bar(view), *best, *last)


def _left(run: ActiveRun) -> str:
    if run.epoch >= run.expected.epochs:
        return "scoring"  # the test images, and writing what there is to keep
    return words.DASH if run.seconds_left is None else words.clock(run.seconds_left)


def _bar(view: View) -> RenderableType:
    if view.total is None:
        return Text(f"{words.plural(view.ended, view.noun)}, {view.text}")
    noun = words.plural(view.total, view.noun).split(" ", 1)[1]
    count = TextColumn(f"{{task.completed}}/{{task.total}} {noun}")
    bar = Progress(TextColumn("{task.description}"), BarColumn(), count)
    bar.add_task(escape(view.text), total=view.total, completed=view.ended)
    return bar
