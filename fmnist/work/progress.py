"""How a single run shows itself while it goes on: a bar on a terminal, a plain line for each epoch everywhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fmnist import words
from fmnist.config import Config
from fmnist.identity import run_name

if TYPE_CHECKING:
    from fmnist.run import Listener


def epoch_line(epoch: int, epochs: int, record: dict[str, float]) -> str:
    """What an epoch came to, in one line."""
    return (
        f"epoch {epoch:>{len(str(epochs))}}/{epochs}  train {record['train/loss']:.4f} "
        f"{record['train/accuracy']:.4f}  val {record['val/loss']:.4f} {record['val/accuracy']:.4f}  "
        f"{record['time/epoch_s']:.1f} s"
    )


@contextmanager
def showing(config: Config) -> Iterator["Listener"]:
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
        ending = "" if console.is_terminal else f"  left {words.clock(left)}"
        console.print(epoch_line(epoch, config.epochs, record) + ending, soft_wrap=True)

    return Listener(on_start, on_step, on_epoch)
