"""What processes measure: matrix products, training by our loop, training the plain way."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.processes import Measure
from fmnist import machine
from fmnist.checks import check
from fmnist.config import Config, from_flat

EPOCH, VALIDATION, TEST = 54_000, 6_000, 10_000  # images
FILTERS = (16, 32, 64, 128, 256)
_IMAGES = 6_400  # invented ones: what is in a picture does not matter to its pace
_CHUNK_SECONDS = 0.5  # that a call of the compiled loop is to take, about
_STEPS, _WARM = 24, 4  # steps of a call of `fit`, and how many of them are not counted
_EPOCHS = 3  # of a longer call: some last twice as long as others, which wait until the iterator before them is gone


def timed(act: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def config(**options: Any) -> Config:
    """The baseline with options, `model__filters=32`, resolved: in the precision that `auto` picks, with one thread."""
    flat = {"compute.threads": 1, **{key.replace("__", "."): value for key, value in options.items()}}
    return machine.resolve(check(from_flat(Config(), flat)))


def ours(config: Config) -> dict[str, Measure]:
    """Images trained and scored by our loops, and operations of matrix products in the same precision and threads."""
    from fmnist.training import augment
    from fmnist.training.engine import Engine
    from fmnist.training.streams import stream

    images, labels = data(_IMAGES)
    engine = Engine(config, images, labels)
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

    def score() -> tuple[float, float]:
        began = time.perf_counter()
        engine.logits(images[:1000])
        return 1000, time.perf_counter() - began

    score()
    return {"train": train, "score": score, "products": products(config.compute.precision)}


def directly(config: Config) -> dict[str, Measure]:
    """The same with all convolutions computed directly; for a process of its own."""
    from fmnist.training import engine, winograd  # the engine first, which imports Keras quietly

    assert engine
    winograd.TILES.clear()
    return ours(config)


def giving_back(config: Config) -> dict[str, Measure]:
    """The same where malloc gives freed memory back to the system; for a process of its own."""
    from fmnist.training import libraries

    libraries.keep_memory = lambda: None
    return ours(config)


def products(precision: str, size: int = 2048, count: int = 1) -> Measure:
    """Operations of so many matrix products in a call, one upon the other, on random numbers."""
    from fmnist.training.engine import keras

    numbers = np.random.default_rng(0).standard_normal((size, size), np.float32) / np.sqrt(size)
    matrix = keras.ops.cast(numbers, precision)

    def multiply() -> tuple[float, float]:
        began, product = time.perf_counter(), matrix
        for _ in range(count):
            product = keras.ops.matmul(product, matrix)
        float(product[0, 0])  # waits for it
        return count * 2 * size**3, time.perf_counter() - began

    multiply()
    return multiply


def plain(filters: int, kernel_size: int, pooling: str, augment: str, scale: str) -> dict[str, Measure]:
    """Images trained by steps of `fit` with a generator, on all cores; and whole epochs of it, validation included."""
    from bench import plain_way
    from bench.plain_way import keras

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            times.append(time.perf_counter())

    times: list[float] = []
    images, labels = data(EPOCH + VALIDATION)
    pixels = images.astype("float32") / {"raw": 1, "unit": 255}[scale]
    validation = pixels[EPOCH:], labels[EPOCH:]
    model = plain_way.network(filters, kernel_size, pooling)
    batches = plain_way.batches(pixels[:EPOCH], labels[:EPOCH], augment)

    def steps() -> tuple[float, float]:
        times.clear()
        model.fit(batches, steps_per_epoch=_STEPS, verbose=0, callbacks=[Clock()])
        return 128 * (_STEPS - _WARM), times[-1] - times[_WARM - 1]

    def epochs() -> tuple[float, float]:
        began = time.perf_counter()
        model.fit(batches, epochs=_EPOCHS, validation_data=validation, verbose=0)
        return _EPOCHS, time.perf_counter() - began

    steps()
    return {"steps": steps, "epochs": epochs}


def data(count: int) -> tuple[Any, Any]:
    """Invented images and labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8), rng.integers(0, 10, count)
