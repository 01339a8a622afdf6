"""A search as it goes on: a live table on a terminal, else a plain line for each trial that ends."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fmnist.config import UserError
from fmnist.identity import run_name, sign
from fmnist.search import trials
from fmnist.search.limits import Limits
from fmnist.search.trials import COMPLETED, RUNNING, TrialRecord
from fmnist.work.progress import clock

if TYPE_CHECKING:
    from fmnist.tracking import Store

LAST = 5  # ended trials that stay in sight on a terminal


@dataclass
class SearchProgress:
    """Looks at a search's folder, and at the runs of its trials that are going on."""

    book: "Store"
    limits: Limits
    folder: Path
    direction: str
    data_digest: str
    began: float  # s
    records: list[TrialRecord] = field(default_factory=list)
    _before: set[str] | None = None  # trials that had ended when we began

    def refresh(self) -> list[TrialRecord]:
        """Look again; returns the trials that have ended since the last look."""
        known = {a.trial for a in trials.ended(self.records)}
        self.records = trials.load_trials(self.folder)
        over = trials.ended(self.records)
        if self._before is None:
            self._before = {a.trial for a in over}
            return []
        return [a for a in over if a.trial not in known]

    def needed(self) -> int:
        """Epochs of all trials that have ended."""
        return sum(a.epochs for a in trials.ended(self.records))

    def line(self, a: TrialRecord) -> str:
        """What a trial came to."""
        over = trials.ended(self.records)
        total = self.limits.total()
        best = trials.best(over, self.direction)
        outcome = f"{percent(a.score)}" if a.status == COMPLETED else f"FAILED: {a.message}"
        number = over.index(a) + 1
        continued = f", continued from epoch {a.start}" if a.start else ""
        counted = f"{number}/{total[0]}" if total and total[0] else str(number)
        line = f"{counted}  trial {int(a.trial)}: {a.name or 'no run'}{continued}: {outcome}"
        if best is not None:
            line += f"; best {percent(best.score)} (trial {int(best.trial)}), epochs so far: {self.needed()}"
        left = self.seconds_left()
        return line + (f", left about {clock(left)}" if left is not None else "")

    def seconds_left(self) -> float | None:
        """By the pace of this process so far; None where nothing bounds the search, or nothing has ended."""
        total = self.limits.total()
        fresh = [a for a in trials.ended(self.records) if a.trial not in (self._before or ())]
        done = sum(a.epochs for a in fresh)
        if total is None or not done:
            return None
        left = max(0, total[1] - self.needed()) * (time.time() - self.began) / done
        return min(left, max(0.0, self.limits.until - time.time())) if self.limits.until else left

    def active(self) -> list[tuple[str, int, int, float | None]]:
        """Name, epoch, epochs and latest validation accuracy of the runs that are going on."""
        expected = {}
        for a in self.records:
            if a.status == RUNNING:
                with suppress(UserError):
                    for config in self.limits.configs(a.values):
                        expected[sign(config, self.data_digest).run] = (
                            f"trial {int(a.trial)}: {run_name(config)}",
                            config.epochs,
                        )
        rows = []
        for record in self.book.running() if expected else []:
            if record.signature in expected:
                name, whole = expected[record.signature]
                epochs = self.book.progress(record.run_id)
                last = epochs[-1] if epochs else None
                rows.append((name, last[0] if last else 0, whole, last[1] if last else None))
        return rows


def percent(share: float | None) -> str:
    """`84.31 %`."""
    return "-" if share is None else f"{100 * share:.2f} %"


@contextmanager
def shown(lookout: SearchProgress, console: Console) -> Iterator[Callable[[], None]]:
    """Show a search; what is yielded looks again and shows what is new."""
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    lookout.refresh()

    def look() -> None:
        from fmnist.tracking import StoreError

        for a in lookout.refresh():
            if live is None:
                console.print(lookout.line(a), markup=False, soft_wrap=True)
        if live is not None:
            with suppress(StoreError):  # it may answer later
                live.update(_table(lookout), refresh=True)

    if live is not None:
        live.start()
    try:
        yield look
    finally:
        if live is not None:
            live.stop()


def _table(lookout: SearchProgress) -> Group:
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "epoch", "validation"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for name, epoch, epochs, accuracy in lookout.active():
        table.add_row(Text(name, overflow="ellipsis", no_wrap=True), f"{epoch}/{epochs}", percent(accuracy))
    over = trials.ended(lookout.records)
    left = lookout.seconds_left()
    state = f"{len(over)} trials, {lookout.needed()} epochs" + (f", left about {clock(left)}" if left else "")
    lines = [Text(lookout.line(a), style="dim" if a.status == COMPLETED else "red") for a in over[-LAST:]]
    return Group(table, Text(state), *lines[::-1])
