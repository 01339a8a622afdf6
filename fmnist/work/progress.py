"""How a single run shows itself while it goes on: a bar on a terminal, a plain line for each epoch everywhere."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn, track

from fmnist import words
from fmnist.config import Config
from fmnist.identity import run_name
from fmnist.run import Listener
from fmnist.tracking import StoredRun
from fmnist.work.console import console as standard_output

T = TypeVar("T")
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    TextColumn("{task.percentage:>3.0f}%"),
    TimeElapsedColumn(),
    TextColumn("left"),
    TimeRemainingColumn(elapsed_when_finished=False),
)


@contextmanager
def showing(config: Config) -> Iterator[Listener]:
    """A listener that shows the epochs of a single run with the time left."""
    console, epochs = standard_output(), config.epochs
    progress = Progress(*COLUMNS, console=console, transient=True, disable=not console.is_terminal)
    bar = progress.add_task("starting", total=epochs)
    start = done = 0
    began = time.monotonic()

    def on_start(epoch: int) -> None:
        nonlocal start, done, began
        start, done, began = epoch, epoch, time.monotonic()
        console.print(f"{run_name(config)}  (epoch, then loss and accuracy in training and validation)")
        if epoch:
            console.print(f"continuing from the checkpoint after {words.plural(epoch, 'epoch')}")
        progress.reset(bar, total=epochs - epoch)

    def on_step(step: int, steps: int) -> None:
        progress.update(bar, completed=done + step / steps - start, description=f"epoch {done + 1}/{epochs}")

    def on_epoch(epoch: int, record: dict[str, float]) -> None:
        nonlocal done
        done = epoch
        left = (time.monotonic() - began) / (epoch - start) * (epochs - epoch)
        parts = [f"{part} {record[f'{part}/loss']:.4f} {record[f'{part}/accuracy']:.4f}" for part in ("train", "val")]
        parts = [f"epoch {epoch:>{len(str(epochs))}}/{epochs}", *parts, f"{record['time/epoch_s']:.1f} s"]
        parts += [] if console.is_terminal or epoch == epochs else [f"left {words.clock(left)}"]
        console.print("  ".join(parts), soft_wrap=True)
        if epoch == epochs:
            progress.reset(bar, total=None, description="scoring the test images")

    def on_same(run: StoredRun) -> None:
        same = f"{run.run_id[:8]}, validation {words.percent(run.val_accuracy)}"
        ways = [f"{key}={run.params.get(key)}" for key in ("compute.threads", "compute.backend")]
        console.print(f"the store has this run by {' '.join(ways)} ({same}); with these nothing would be trained")

    with progress:
        yield Listener(on_start, on_step, on_epoch, on_same)


def counted(what: str, items: Iterable[T], total: int) -> Iterator[T]:
    """The items, with a bar on a terminal that shows how many of them have been done."""
    console = standard_output()
    yield from track(items, what, total, console=console, transient=True, disable=not console.is_terminal)
