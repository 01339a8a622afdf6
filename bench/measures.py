"""What processes measure: matrix products, training by our loop, training the plain way."""

import time
from typing import Any

import numpy as np

from bench.team import Measure
from fmnist import machine
from fmnist.config import Config, check, from_flat

EPOCH = 54_000  # images
_IMAGES = 6_400  # invented ones: what is in a picture does not matter to its pace
_CHUNK_SECONDS = 0.5  # that a call of the compiled loop is to take, about
_BATCHES = 24  # of one call of `fit`, the first few of which are not counted
_WARM = 4


def config(**options: Any) -> Config:
    """The baseline with options, `model__filters=32`, resolved: in the precision that `auto` picks, with one thread."""
    given = {"compute.threads": 1, **{key.replace("__", "."): value for key, value in options.items()}}
    return machine.resolve(check(from_flat(Config(), given)))


def ours(config: Config) -> dict[str, Measure]:
    """Images trained by the compiled loop, and operations of matrix products in the same precision and threads."""
    from fmnist.training import augment
    from fmnist.training.engine import Engine
    from fmnist.training.streams import stream

    engine = Engine(config, *_data())
    batch = config.batch_size
    rows = np.arange(_IMAGES, dtype=np.int32).reshape(-1, batch)
    draws = augment.draw(config.augment, rows.size, stream(0, "augment"))
    warps = augment.transforms(draws).reshape(-1, batch, 8)
    warped = augment.augments(config.augment)
    engine.train(rows[:2], warps[:2] if warped else None)
    began = time.perf_counter()
    engine.train(rows[:2], warps[:2] if warped else None)
    steps = min(len(rows), max(1, int(_CHUNK_SECONDS * 2 / (time.perf_counter() - began))))

    def train() -> tuple[float, float]:
        began = time.perf_counter()
        engine.train(rows[:steps], warps[:steps] if warped else None)
        return steps * batch, time.perf_counter() - began

    return {"train": train, "products": _products(config.compute.precision)}


def _products(precision: str, size: int = 2048) -> Measure:
    import tensorflow as tf

    matrix = tf.ones((size, size), precision)
    product = tf.function(tf.matmul)
    product(matrix, matrix)

    def multiply() -> tuple[float, float]:
        began = time.perf_counter()
        product(matrix, matrix).numpy()
        return 2 * size**3, time.perf_counter() - began

    return multiply


def plain(filters: int, kernel_size: int, pooling: str, augment: str, scale: str) -> dict[str, Measure]:
    """Images trained by `fit` with a generator, on all cores; `fit` has begun and has not ended while it is timed."""
    from bench import plain_way
    from bench.plain_way import keras

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            times.append(time.perf_counter())

    times: list[float] = []
    images, labels = _data()
    model = plain_way.network(filters, kernel_size, pooling)
    batches = plain_way.batches(images.astype("float32") / {"raw": 1, "unit": 255}[scale], labels, augment)

    def train() -> tuple[float, float]:
        times.clear()
        model.fit(batches, steps_per_epoch=_BATCHES, verbose=0, callbacks=[Clock()])
        return 128.0 * (_BATCHES - _WARM), times[-1] - times[_WARM - 1]

    train()
    return {"train": train}


def _data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (_IMAGES, 28, 28, 1), dtype=np.uint8), rng.integers(0, 10, _IMAGES)
