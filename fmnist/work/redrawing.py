"""The pictures of imported runs, which take longer than all else of an import: processes beside this one draw them."""

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import chain, islice
from multiprocessing import get_context

from fmnist import artifacts, machine, signals
from fmnist.tracking import EncodedPicture, encoded
from fmnist.tracking.portable import PortableRun

FEW = 8  # runs that are drawn before processes have started


def drawn(runs: Iterable[PortableRun]) -> Iterator[tuple[PortableRun, dict[str, EncodedPicture]]]:
    """Each run with its pictures, in the same order; no more runs are read ahead than are being drawn."""
    rest, cores = iter(runs), machine.cores()
    first = list(islice(rest, FEW))
    if len(first) < FEW or cores == 1:
        yield from ((run, _draw(run)) for run in chain(first, rest))
        return
    pool = ProcessPoolExecutor(cores, get_context("spawn"), _begin, (os.getpid(),))
    try:
        waiting = deque((run, pool.submit(_draw, _small(run))) for run in first)
        while waiting:
            run, pictures = waiting.popleft()
            yield run, pictures.result()
            waiting.extend((run, pool.submit(_draw, _small(run))) for run in islice(rest, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _draw(run: PortableRun) -> dict[str, EncodedPicture]:
    return {name: encoded(*picture) for name, picture in artifacts.redrawn(run).items()}


def _small(run: PortableRun) -> PortableRun:
    """All of it that is drawn."""
    return replace(run, model={}, checkpoint={})


def _begin(parent: int) -> None:
    signals.end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whose message is the parent's
