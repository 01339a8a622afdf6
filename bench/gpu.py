"""How fast a GPU trains the baseline: the compiled loop beside Keras's `fit`, one trajectory beside several at once.

KERAS_BACKEND=jax python -m bench.gpu              # or tensorflow; under 10 minutes
KERAS_BACKEND=jax python -m bench.gpu --quick      # small sizes, on any machine: that it works, not how fast
"""

import itertools
import math
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from bench.measures import EPOCH, config, data, products, timed
from bench.processes import Measure, Workers
from fmnist import machine
from fmnist.cli.entry import Parser, enter
from fmnist.config import RunError
from fmnist.network import flops_per_image

DEADLINE, ROW_SECONDS = 540.0, 150.0  # for all rows; for an answer of one
HEADS = ("way", "precision", "images/s", "vs fit", "products", "s/epoch", "50 epochs", "compiling", "bits")
FORMATS = (",.0f", ".1f", ".2f", ".3f", ".1f", ".1f", "06x")  # from images/s on
# What an epoch draws; trains of that, with the number of images; does afterwards; and the weights.
Way = tuple[Callable[[int], Any], Callable[[Any], int], Callable[[int], object], Callable[[], list[Any]]]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    images: int = EPOCH  # trained in an epoch, but for an incomplete batch; a ninth of that validates
    batch: int = 128
    filters: int = 128
    matrix: int = 8192
    seconds: float = 8.0  # after which no further epoch of a row begins
    several: tuple[int, ...] = (4, 16)


QUICK = Size(images=640, batch=32, filters=8, matrix=512, seconds=1.0, several=(2,))


def engine(size: Size, precision: str, seed: int) -> tuple[Any, Callable[[int], tuple[Any, Any]]]:
    """The baseline's, and what draws rows and warps of an epoch as a trajectory does."""
    from fmnist.training import augment
    from fmnist.training.engine import Engine
    from fmnist.training.streams import stream

    point = config(compute__precision=precision, model__filters=size.filters, batch_size=size.batch, seed=seed)

    def draw(epoch: int) -> tuple[Any, Any]:
        order = stream(seed, "order", epoch).permutation(size.images)[: size.images // size.batch * size.batch]
        draws = augment.draw(point.augment, size.images, stream(seed, "augment", epoch))
        warps = augment.transforms(draws)[order].reshape(-1, size.batch, 8)
        return order.astype(np.int32).reshape(-1, size.batch), warps

    return Engine(point, *data(size.images)), draw


def loop(size: Size, precision: str) -> Way:
    """A run as a trajectory does it: order, warps, training, validation, checkpoint."""
    from fmnist.training import checkpoint

    (one, draw), validation = engine(size, precision, 0), data(size.images // 9)[0]
    folder = tempfile.TemporaryDirectory()

    def end(epoch: int) -> None:
        one.logits(validation)
        checkpoint.save_epoch(Path(folder.name), epoch, one.state(), {})

    return draw, lambda drawn: one.train(*drawn) and drawn[0].size, end, lambda: list(one.state().values())


def vmap(count: int, size: Size, precision: str) -> Way:
    """So many seeds in one program of JAX: order, warps, training."""
    import jax

    from fmnist.training.jax_loop import OPTIONS

    engines, draws = zip(*(engine(size, precision, seed) for seed in range(count)), strict=True)
    state = jax.tree.map(lambda *values: jax.numpy.stack(values), *(one.loop.state() for one in engines))
    segments = jax.vmap(engines[0].loop.segment, in_axes=(0, None, 0, 0))
    segment = jax.jit(segments, donate_argnums=0, compiler_options=OPTIONS)

    def train(drawn: Any) -> int:
        nonlocal state
        state, _ = jax.block_until_ready(segment(state, engines[0].data, *drawn))
        return int(drawn[0].size)

    def draw(epoch: int) -> Any:
        return [np.stack(part) for part in zip(*(draw(epoch) for draw in draws), strict=True)]

    return draw, train, lambda epoch: None, lambda: jax.tree.leaves(state)


def fit(size: Size, precision: str) -> Way:
    """What one would write without this project: ImageDataGenerator and `fit`, which validates after the epoch."""
    from fmnist.training.engine import keras
    from fmnist.training.model import build

    generators: Any = __import__("keras.src.legacy.preprocessing.image", fromlist=["ImageDataGenerator"])
    point, (images, labels) = config(compute__precision=precision, model__filters=size.filters), data(size.images)
    ranges = {f"{name}_range": value for name, value in asdict(point.augment).items() if name != "horizontal_flip"}
    batches = generators.ImageDataGenerator(**ranges).flow(images.astype(np.float32), labels, batch_size=size.batch)
    model, validation = build(point), data(size.images // 9)
    model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])

    def train(steps: int) -> int:
        model.fit(batches, steps_per_epoch=steps, validation_data=validation, verbose=0)
        return steps * size.batch

    return lambda epoch: size.images // size.batch if epoch else 3, train, lambda epoch: None, model.get_weights


def measures(way: Callable[[Size, str], Way], size: Size, precision: str) -> dict[str, Measure]:
    """Epochs, the training in them, and matrix products; seconds and bits of the first epoch as amounts."""
    draw, train, end, weights = way(size, precision)
    compiling = timed(lambda: train(draw(0)))
    bits = zlib.crc32(b"".join(np.asarray(array).tobytes() for array in weights())) % 16**6
    end(0)
    numbers, images, seconds = itertools.count(1), list[int](), list[float]()

    def epoch() -> tuple[float, float]:
        number, began = next(numbers), time.perf_counter()
        drawn = draw(number)
        seconds.append(timed(lambda: images.append(train(drawn))))
        end(number)
        return 1, time.perf_counter() - began

    return {
        "epoch": epoch,
        "train": lambda: (sum(images), sum(seconds)),
        "products": products(precision, size.matrix, 20),
        "compiling": lambda: (compiling, 1.0),
        "bits": lambda: (bits, 1.0),
    }


def ways(size: Size) -> list[tuple[str, str, Callable[[Size, str], Way], int]]:
    """Name, precision, way and processes of every row, the most telling first."""
    half, is_jax = "bfloat16", os.environ["KERAS_BACKEND"] == "jax"
    return [
        ("fit", "float32", fit, 1),
        ("loop", half, loop, 1),
        ("loop", "float32", loop, 1),
        *((f"{count} by vmap", half, partial(vmap, count), 1) for count in size.several[::-1] if is_jax),
        ("loop, again", half, loop, 1),
        *((f"{count} processes", half, loop, count) for count in size.several),
    ]


def figures(workers: Workers, count: int, size: Size) -> tuple[float, ...]:
    """Of so many processes: images/s and the columns after `vs fit`, bits as the mean of theirs."""
    epochs = workers.rate("epoch", size.seconds) / count
    train, products = workers.rate("train", 0.0), workers.rate("products", min(3.0, size.seconds))
    share = train * flops_per_image(config(model__filters=size.filters).model) / products
    compiling, bits = workers.rate("compiling", 0.0) / count, workers.rate("bits", 0.0) / count
    return train, share, 1 / epochs, 50 / epochs, compiling, bits


def main() -> None:
    """Print the table."""
    parser = Parser("bench.gpu", str(__doc__))
    parser.add_argument("--quick", action="store_true", help="small sizes")
    size, began = QUICK if parser.parse_args().quick else Size(), time.monotonic()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    hardware = f"{', '.join(machine.gpus()) or 'no GPU'}; {machine.cpu()}, {machine.cores()} cores"
    print(f"{os.environ['KERAS_BACKEND']}, {hardware}; {size}\n", flush=True)
    lines, failed, fit_speed = list[tuple[str, ...]](), list[str](), math.nan
    for name, precision, way, count in ways(size):
        passed = time.monotonic() - began
        print(f"{passed:4.0f} s: {name}, {precision}", file=sys.stderr, flush=True)
        longest = max(0.0, min(ROW_SECONDS, DEADLINE - passed))
        try:
            with Workers(count, measures, way, size, precision, longest=longest) as workers:
                speed, *others, bits = figures(workers, count, size)
        except RunError as error:  # which costs nothing but this row
            failed.append(f"{name}, {precision}: {error}")
            continue
        fit_speed = speed if way is fit else fit_speed
        cells = map(format, (speed, speed / fit_speed, *others, round(bits)), FORMATS)
        lines.append((name, precision, *cells))
    print(tabulate(lines, HEADS, "pipe", disable_numparse=True))
    if failed:
        raise RunError("\n".join(failed))


if __name__ == "__main__":
    sys.exit(enter("bench.gpu", main, interrupted="what was measured is lost"))
