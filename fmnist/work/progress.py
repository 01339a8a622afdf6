"""How a run or a sweep shows itself while it goes on: a live display on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from fmnist.config import Config, StudyConfig
from fmnist.identity import run_name
from fmnist.network import disk_bytes
from fmnist.study.plan import PlannedRun, estimate

if TYPE_CHECKING:
    import pandas as pd

    from fmnist.run import Listener


def epoch_line(epoch: int, epochs: int, record: dict[str, float]) -> str:
    """What an epoch came to, in one line."""
    return (
        f"epoch {epoch:>{len(str(epochs))}}/{epochs}  train {record['train/loss']:.4f} "
        f"{record['train/accuracy']:.4f}  val {record['val/loss']:.4f} {record['val/accuracy']:.4f}  "
        f"{record['time/epoch_s']:.1f} s"
    )


@contextmanager
def shown(config: Config) -> Iterator["Listener"]:
    """A listener that shows the epochs of a single run with the time left."""
    console = Console(file=sys.stdout, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _listener(config, console, progress)


def _listener(config: Config, console: Console, progress: Progress) -> "Listener":
    from fmnist.run import Listener

    bar = progress.add_task("starting", total=config.epochs)
    done = [0]
    began = [time.monotonic(), 0.0]

    def on_start(epoch: int) -> None:
        console.print(f"{run_name(config)}  (epoch, then loss and accuracy in training and validation)", soft_wrap=True)
        done[0], began[:] = epoch, [time.monotonic(), float(epoch)]
        if epoch:
            console.print(f"continuing from the checkpoint after {epoch} epochs")
        progress.reset(bar, total=config.epochs - epoch)

    def on_step(step: int, steps: int) -> None:
        part = done[0] + step / steps
        progress.update(bar, completed=part - began[1], description=f"epoch {done[0] + 1}/{config.epochs}")

    def on_epoch(epoch: int, record: dict[str, float]) -> None:
        done[0] = epoch
        left = (time.monotonic() - began[0]) / (epoch - began[1]) * (config.epochs - epoch)
        ending = "" if console.is_terminal else f"  left {clock(left)}"
        console.print(epoch_line(epoch, config.epochs, record) + ending, soft_wrap=True)

    return Listener(on_start, on_step, on_epoch)


def clock(seconds: float) -> str:
    """1:02:03."""
    return str(timedelta(seconds=round(seconds)))


def plan_table(planned: list[PlannedRun], study: StudyConfig, workers: int) -> Table:
    """The plan as a table, a row a rung, with the estimated time on so many workers."""
    table = Table(title=f"Study {study.name}: {study.question or 'a plain sweep'}", title_justify="left")
    for heading in ("epochs", "runs", "done", "continuing", "new", "estimated time"):
        table.add_column(heading, justify="right")
    for rung in sorted({entry.config.epochs for entry in planned}):
        of_rung = [entry for entry in planned if entry.config.epochs == rung]
        done = sum(entry.done for entry in of_rung)
        continuing = sum(entry.start > 0 and not entry.done for entry in of_rung)
        counts = (rung, len(of_rung), done, continuing, len(of_rung) - done - continuing)
        table.add_row(*map(str, counts), clock(estimate(of_rung, workers)))
    table.caption = f"{workers} worker{'s'[: workers != 1]}, about {clock(estimate(planned, workers))} in all"
    return table


def run_table(planned: list[PlannedRun]) -> Table:
    """Every run of a plan, whether it is done, continues from an epoch, or is new, and its estimated time."""
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "one worker"):
        table.add_column(heading, justify="right" if heading == "one worker" else "left")
    for entry in planned:
        state = "done" if entry.done else f"continues from epoch {entry.start}" if entry.start else "new"
        table.add_row(escape(entry.name), state, "" if entry.done else clock(entry.seconds))
    return table


def plan_summary(planned: list[PlannedRun], runs: "pd.DataFrame") -> str:
    """What the plan shares: epochs that continuing saves, trajectories of other studies, and the disk it needs."""
    left = [entry for entry in planned if not entry.done]
    trained = sum(entry.config.epochs - entry.start for entry in left)
    alone = sum(entry.config.epochs for entry in left)
    others = runs[runs["trajectory_signature"].isin({entry.signatures.trajectory for entry in planned})]
    shared = others[~others["study"].isin(["", planned[0].config.study.name])]
    lines = [f"trains {trained} epochs; each run by itself would need {alone}"]
    if len(shared):
        count = shared["trajectory_signature"].nunique()
        lines.append(f"{count} trajectories are shared with {', '.join(sorted(set(shared['study'])))}")
    megabytes = sum(disk_bytes(entry.config.model) for entry in left) / 1e6
    lines.append(f"needs about {megabytes:,.0f} MB of disk")
    return "; ".join(lines)
