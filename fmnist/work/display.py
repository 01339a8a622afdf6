"""What a sweep or a search shows while it goes on: a live table on a terminal, elsewhere a plain line for each end."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from fmnist import words

if TYPE_CHECKING:
    from fmnist.tracking import Store

REFRESH_SECONDS = 1.0
LEAVE_SECONDS = 1.0  # for a look that is under way when the block is interrupted: the store may hang
LAST = 5  # ended runs that stay in sight on a terminal
HEADINGS = ("run", "epoch", "validation", "s/epoch", "left")


@dataclass(frozen=True)
class ActiveRun:
    """A run that a process works on."""

    name: str
    start: int  # the epoch it continues from
    epoch: int  # the last that it has finished
    epochs: int
    accuracy: float | None  # of the last epoch, on the validation images
    epoch_seconds: float | None  # that the last epoch took
    estimate: float | None = None  # seconds of the whole run, before it has finished an epoch

    @property
    def share(self) -> float:
        """Of its work that is done, 0 to 1."""
        return max(0.0, (self.epoch - self.start) / max(1, self.epochs - self.start))

    @property
    def seconds_left(self) -> float | None:
        """By its own last epoch, or as estimated."""
        return self.estimate if self.epoch_seconds is None else (self.epochs - self.epoch) * self.epoch_seconds


@dataclass(frozen=True)
class Outcome:
    """What a run or trial came to, in a few words before its name."""

    text: str
    has_failed: bool


@dataclass(frozen=True)
class State:
    """How far a sweep or search is: a bar of so many that have ended, where it is known how many there will be."""

    text: str
    ended: int
    total: int | None
    noun: str  # runs, trials


Ended = TypeVar("Ended")  # what is known of a run or trial that has ended


class Observed(Protocol[Ended]):
    """A sweep or a search as the display needs it."""

    store: "Store"

    def refresh(self) -> list[Ended]:
        """Look again; returns what has ended since the last look."""

    def line(self, ended: Ended) -> str:
        """What is printed of an end where there is no terminal."""

    def state(self) -> State:
        """How far it is."""

    def active(self) -> list[ActiveRun]:
        """The runs that processes work on."""

    def last(self, count: int) -> list[Outcome]:
        """The last that have ended, the latest first."""


@contextmanager
def showing(
    observed: Observed[Ended], console: Console, on_end: Callable[[list[Ended]], None] = lambda ended: None
) -> Iterator[None]:
    """Show a sweep or a search until the block ends; `on_end` is given what has ended, while nothing else prints."""
    from fmnist.tracking import StoreError

    over = threading.Event()
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def look() -> None:
        ended = observed.refresh()
        for one in ended if live is None else []:
            console.print(observed.line(one), markup=False, soft_wrap=True)
        if ended:
            on_end(ended)
        if live is not None and not over.is_set():
            live.update(picture(observed, console.height), refresh=True)

    def watch() -> None:
        while not over.wait(REFRESH_SECONDS):
            with suppress(StoreError):  # it may answer later; the sweep itself says how long it waits
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
            with suppress(StoreError):
                look()
        raise
    end(None)
    look()


def picture(observed: Observed[Ended], height: int) -> Group:
    """What a terminal of so many lines shows: active runs, how far it all is, and what has ended last."""
    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "run" else "right")
    runs = observed.active()
    visible = runs[: max(1, (height - LAST - 4) // 2)]  # a long name takes two lines
    for run in visible:
        table.add_row(
            escape(run.name),
            f"{run.epoch}/{run.epochs}",
            percent(run.accuracy),
            "-" if run.epoch_seconds is None else f"{run.epoch_seconds:.1f}",
            "-" if run.seconds_left is None else words.clock(run.seconds_left),
        )
    if len(visible) < len(runs):
        table.add_row(f"... and {len(runs) - len(visible)} more")
    return Group(table, _bar(observed.state()), *map(_line, observed.last(LAST)))


def _bar(state: State) -> RenderableType:
    if state.total is None:
        return Text(f"{state.ended} {state.noun}, {state.text}")
    count = TextColumn(f"{{task.completed}}/{{task.total}} {state.noun}")
    bar = Progress(TextColumn("{task.description}"), BarColumn(), count)
    bar.add_task(escape(state.text), total=state.total, completed=state.ended)
    return bar


def _line(outcome: Outcome) -> Text:
    return Text(outcome.text, "red" if outcome.has_failed else "dim", no_wrap=True, overflow="ellipsis")


def counted(number: int, noun: str) -> str:
    """`1 worker`, `2 workers`."""
    return words.plural(number, noun)


def percent(share: float | None) -> str:
    """`84.31 %`."""
    return "-" if share is None else f"{100 * share:.2f} %"
