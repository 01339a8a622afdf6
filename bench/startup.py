"""Start-up and what an epoch costs beside its training: imports, data, tracing, checkpoint, record."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.measures import EPOCH, config, ours
from bench.processes import Workers, in_process, run_python, variables
from bench.table import Row
from fmnist import tracking

REPEAT = 5
SWEEP = ("study=pooling", "data.limit=6000", "model.filters=16")  # the first rung of two paths
SWEEPS = (("of a user's first store", "first", 1), ("in a new store", "new", 1), ("in a store with runs", "new", 2))
PLAIN = """
import sys, time
from bench import plain_way
class Clock(plain_way.keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        print("began", time.time(), flush=True)
plain_way.CALLBACKS.append(Clock())
plain_way.main()
"""


def rows() -> Iterator[Row]:
    """All of it."""
    tensorflow = _seconds("-c", "import keras")
    for what, command in (
        ("fmnist.train --help", ("-m", "fmnist.train", "--help")),
        ("import mlflow", ("-c", "import mlflow")),
    ):
        took = _seconds(*command)
        goal = "at most 1.5 s" if "help" in what else ""
        yield Row(what, f"{took:.2f} s", "import keras, tensorflow", f"{tensorflow:.2f} s", took / tensorflow, goal)
    with tempfile.TemporaryDirectory() as folder:
        plain = _first_epoch_of_a_script(folder)
        with variables({"XDG_CACHE_HOME": f"{folder}/cache"}):  # where nothing is kept yet
            for what, store, rung in SWEEPS:
                took = _first_epoch_of_a_sweep(f"{folder}/{store}", rung)
                texts = (f"{took:.1f} s", "of a plain script", f"{plain:.1f} s")
                yield Row(f"start to first epoch: sweep {what}", *texts, plain / took, less=True)
    yield from _beside_rows()


def _seconds(*arguments: str) -> float:
    """The median of what a process takes."""
    return _median(lambda: run_python(*arguments))


def _median(body: Callable[[], object]) -> float:
    """Seconds of the median call; the first one, which fills caches, does not count."""
    taken = []
    for _ in range(REPEAT + 1):
        began = time.perf_counter()
        body()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def _first_epoch_of_a_sweep(store: str, rung: int) -> float:
    """Seconds from the command to its first epoch."""
    began = time.time()
    run_python("-m", "fmnist.train", *SWEEP, f"study.rungs=[{rung}]", f"store={store}")
    runs = tracking.load(store)
    runs = runs[runs["start_time"] > began * 1000]
    client = tracking.Store(store).client
    epochs = [client.get_metric_history(run, "time/epoch_s")[-1] for run in runs["run_id"]]  # the one that was trained
    return min(epoch.timestamp / 1000 - epoch.value for epoch in epochs) - began


def _first_epoch_of_a_script(folder: str) -> float:
    began = time.time()
    output = run_python("-c", PLAIN, "--filters", "16", "--limit", "6000", "--epochs", "1", folder=folder)
    return float(output.split("began")[1].split()[0]) - began


# ---- Beside the training of an epoch -----------------------------------------------------------------


def _beside_rows() -> Iterator[Row]:
    """What the baseline's epoch costs beside its training, as a share of it."""
    with Workers(1, ours, config()) as worker:
        epoch = EPOCH / worker.rate("train", 6.0)
    costs = in_process(beside)
    against = ("an epoch's training, one worker", f"{epoch:.1f} s")
    tracked = costs["checkpoint"] + costs["record of an epoch"]
    for what, took in costs.items():
        yield Row(what, _small(took), *against, took / epoch)
    yield Row("checkpoint and record", _small(tracked), *against, tracked / epoch, "below 0.02")


def _small(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def beside() -> dict[str, float]:
    """Seconds by kind; call it in a process of its own."""
    import numpy as np

    from fmnist import run
    from fmnist.identity import parameters, sign
    from fmnist.training import augment, checkpoint, data
    from fmnist.training.engine import Engine
    from fmnist.training.streams import stream

    baseline = config(epochs=50)
    dataset = data.load(baseline.data)
    costs = {"data: four files read, checked, decoded": _median(lambda: data.load(baseline.data))}
    began = time.perf_counter()
    engine = Engine(baseline, dataset.train_images[:EPOCH], dataset.train_labels[:EPOCH])
    costs["network built"] = time.perf_counter() - began
    rows, warps = np.zeros((1, 128), np.int32), np.zeros((1, 128, 8), np.float32)
    began = time.perf_counter()
    engine.train(rows, warps)
    first = time.perf_counter() - began
    costs["training traced"] = first - _median(lambda: engine.train(rows, warps))

    def draw() -> object:
        order = stream(0, "order", 1).permutation(EPOCH)
        return augment.transforms(augment.draw(baseline.augment, EPOCH, stream(0, "augment", 1)))[order]

    costs["order and warps drawn"] = _median(draw)
    images = dataset.train_images[EPOCH:]
    costs["validation scored"] = _median(lambda: engine.logits(images))
    record = {"train/loss": 0.5, "train/accuracy": 0.8, "val/loss": 0.5, "val/accuracy": 0.8, "time/epoch_s": 30.0}
    history: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        state = engine.state()
        costs["checkpoint"] = _median(lambda: checkpoint.save_epoch(Path(folder), 1, state, {"history": [record] * 50}))
        store, signatures = tracking.Store(folder), sign(baseline, dataset.digest)
        writer = store.begin("bench", signatures.run, parameters(baseline), run.describe(baseline, signatures, dataset))

        def write() -> None:
            history.append({**record, "time/ended_ms": time.time() * 1000})
            writer.epochs(history)

        costs["record of an epoch"] = _median(write)
    return costs
