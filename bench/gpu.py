"""How fast a GPU trains the baseline: the compiled loop against Keras's `fit`, one trajectory against several at once.

    KERAS_BACKEND=jax python -m bench.gpu              # or tensorflow; under 9 minutes
    KERAS_BACKEND=jax python -m bench.gpu --quick      # small sizes, for any machine: shows that it works, not how fast

Needs keras, numpy and the backend; `fit` also scipy, which JAX brings along. The images are invented, their number is
Fashion-MNIST's. Every row is measured by processes of its own, so one that fails costs nothing but its row.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.processes import Measure, Workers, in_process
from fmnist import machine
from fmnist.config import Config, RunError, from_flat
from fmnist.network import flops_per_image

DEADLINE = 500.0  # seconds for all rows: what would begin later is left out
ROW_SECONDS = 150.0  # that one row may take
RUN_EPOCHS = 50
DETERMINISTIC = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true", "TF_DETERMINISTIC_OPS": "1"}
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
HEADS = ("images/s", "vs fit", "products", "s/epoch", f"{RUN_EPOCHS} epochs", "compiling")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    training: int = 54_000
    validation: int = 6_000
    batch: int = 128
    filters: int = 128
    matrix: int = 8192
    products: int = 20  # in one call
    seconds: float = 20.0  # after which no further epoch of a row begins
    several: tuple[int, ...] = (2, 4, 8)  # trajectories at once


QUICK = Size(training=640, validation=100, batch=32, filters=8, matrix=512, products=5, seconds=1.0, several=(2,))
Figures = dict[str, Any]  # images_per_s and epoch_s always; share, compiling_s and bits where a way has them


def config(size: Size, precision: str, seed: int = 0) -> Config:
    """The baseline in that size, by the backend of KERAS_BACKEND."""
    options = {"compute.precision": precision, "compute.threads": 1, "model.filters": size.filters, "seed": seed}
    return from_flat(Config(batch_size=size.batch), {**options, "compute.backend": os.environ["KERAS_BACKEND"]})


def data(count: int) -> tuple[Any, Any]:
    """Invented images and labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8), rng.integers(0, 10, count)


def epoch(config: Config, size: Size, number: int) -> tuple[Any, Any]:
    """Rows and warps of an epoch, drawn as a trajectory draws them."""
    from fmnist.training import augment
    from fmnist.training.streams import stream

    steps = size.training // size.batch
    order = stream(config.seed, "order", number).permutation(size.training)[: steps * size.batch].astype(np.int32)
    draws = augment.draw(config.augment, size.training, stream(config.seed, "augment", number))
    return order.reshape(steps, size.batch), augment.transforms(draws)[order].reshape(steps, size.batch, 8)


def engine_of(config: Config, size: Size) -> Any:
    """Its engine, which compiles as it trains for the first time."""
    from fmnist.training.engine import Engine

    return Engine(config, *data(size.training))


def timed(act: Callable[..., object], *arguments: Any) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    act(*arguments)
    return time.perf_counter() - began


# ---- What is measured: each in a process of its own --------------------------------------------------


def loop(size: Size, precision: str) -> Figures:
    """A run as a trajectory does it: order, warps, training, validation, checkpoint, epoch by epoch."""
    from fmnist.training import checkpoint

    point, validation = config(size, precision), data(size.validation)[0]
    engine = engine_of(point, size)
    compiling = timed(lambda: engine.train(*epoch(point, size, 0)))
    engine.logits(validation)
    bits = hashlib.sha256(b"".join(array.tobytes() for array in engine.state().values())).hexdigest()[:6]
    training, epochs, began = 0.0, 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        while epochs < RUN_EPOCHS and (epochs < 2 or time.perf_counter() - began < size.seconds):
            epochs += 1
            rows, warps = epoch(point, size, epochs)
            training += timed(engine.train, rows, warps)
            engine.logits(validation)
            checkpoint.save_epoch(Path(folder), epochs, engine.state(), {})
    whole, speed = (time.perf_counter() - began) / epochs, epochs * rows.size / training
    share = speed * flops_per_image(point.model) / peak(size, precision)
    return {"images_per_s": speed, "epoch_s": whole, "share": share, "compiling_s": compiling, "bits": bits}


def fit(size: Size, precision: str) -> Figures:
    """What one would write without this project: ImageDataGenerator and `fit`, validated after the epoch."""
    from fmnist.training.engine import keras
    from fmnist.training.model import build

    generators: Any = __import__("keras.src.legacy.preprocessing.image", fromlist=["ImageDataGenerator"])
    point, (images, labels), steps = config(size, precision), data(size.training), size.training // size.batch
    ranges = {f"{name}_range": value for name, value in asdict(point.augment).items() if name != "horizontal_flip"}
    batches = generators.ImageDataGenerator(**ranges).flow(images.astype(np.float32), labels, batch_size=size.batch)
    model = build(point)
    model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    train = partial(model.fit, batches, validation_data=data(size.validation), verbose=0)
    compiling = timed(lambda: train(steps_per_epoch=3))
    seconds = timed(lambda: train(steps_per_epoch=steps))
    return {"images_per_s": steps * size.batch / seconds, "epoch_s": seconds, "compiling_s": compiling}


def vmap(size: Size, precision: str, count: int) -> Figures:
    """So many seeds in one program of JAX."""
    import jax

    configs = [config(size, precision, seed) for seed in range(count)]
    loops = [engine_of(each, size).loop for each in configs]
    state = jax.tree.map(lambda *values: jax.numpy.stack(values), *[each.state() for each in loops])
    train = jax.jit(jax.vmap(loops[0].segment, in_axes=(0, None, 0, 0)), donate_argnums=0)
    epochs, compiling, began = 0, 0.0, time.perf_counter()
    while epochs < 2 or (epochs < RUN_EPOCHS and time.perf_counter() - began < size.seconds):
        rows, warps = (np.stack(part) for part in zip(*(epoch(each, size, epochs) for each in configs), strict=True))
        state, losses = train(state, loops[0].data, rows, warps)
        jax.block_until_ready(losses)
        if not epochs:
            compiling, began = time.perf_counter() - began, time.perf_counter()
        epochs += 1
    seconds = (time.perf_counter() - began) / (epochs - 1)
    return {"images_per_s": rows.size / seconds, "epoch_s": seconds, "compiling_s": compiling}


def processes(size: Size, precision: str, count: int, longest: float) -> Figures:
    """So many processes, a trajectory each, that train at the same time; they may take `longest` seconds to answer."""
    with Workers(count, measures, size, precision, longest=longest) as workers:
        speed = workers.rate("epoch", size.seconds)
    images = size.training // size.batch * size.batch
    return {"images_per_s": speed, "epoch_s": count * images / speed}


def measures(size: Size, precision: str) -> dict[str, Measure]:
    """An epoch, drawn and trained, as `Workers` measure it."""
    point = config(size, precision)
    engine, images = engine_of(point, size), size.training // size.batch * size.batch

    def one() -> tuple[float, float]:
        return images, timed(lambda: engine.train(*epoch(point, size, 1)))

    one()
    return {"epoch": one}


def peak(size: Size, precision: str) -> float:
    """Operations a second of matrix products, one upon the other, on random numbers."""
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal((size.matrix, size.matrix), np.float32) / np.sqrt(size.matrix)
    if os.environ["KERAS_BACKEND"] == "jax":
        import jax

        matrix = jax.numpy.asarray(numbers, precision)
        chain = jax.jit(lambda m: jax.lax.fori_loop(0, size.products, lambda _, x: x @ m, m)[0, 0])
    else:
        import tensorflow as tf

        matrix = tf.cast(numbers, precision)

        @tf.function
        def chain(m: Any) -> Any:
            x = m
            for _ in tf.range(size.products):
                x = x @ m
            return x[0, 0]

    float(chain(matrix))
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < min(3.0, size.seconds):
        float(chain(matrix))
        count += size.products
    return count * 2.0 * size.matrix**3 / (time.perf_counter() - began)


# ---- The table ---------------------------------------------------------------------------------------


def ways(backend: str, size: Size) -> list[tuple[str, str, Callable[[float], Figures]]]:
    """Name and precision of every row, the most telling first, and what measures it within so many seconds."""

    def alone(way: Callable[..., Figures], *arguments: Any, **variables: str) -> Callable[[float], Figures]:
        return lambda seconds: in_process(way, size, *arguments, seconds=seconds, environment=variables)

    half, several = "bfloat16", []
    for count in size.several:
        if backend == "jax":
            several.append((f"{count} by vmap", half, alone(vmap, half, count)))
        several.append((f"{count} processes", half, partial(processes, size, half, count)))
    return [
        ("loop", half, alone(loop, half)),
        ("fit", "float32", alone(fit, "float32")),
        ("loop", "float32", alone(loop, "float32")),
        *several,
        ("loop, deterministic", half, alone(loop, half, **DETERMINISTIC)),
        ("loop, deterministic, again", half, alone(loop, half, **DETERMINISTIC)),
        ("loop, again", half, alone(loop, half)),
    ]


def line(name: str, precision: str, figures: Figures | str, fit_speed: float | None) -> str:
    """A line of the table: figures, or why there are none."""
    if isinstance(figures, str):
        return f"{name:<28}{precision:<10}{figures}"
    speed, seconds = figures["images_per_s"], figures["epoch_s"]
    cells = (
        f"{speed:,.0f}",
        f"{speed / fit_speed:.1f}" if fit_speed else "-",
        f"{figures['share']:.2f}" if "share" in figures else "-",
        f"{seconds:.3f}",
        f"{seconds * RUN_EPOCHS:.1f}",
        f"{figures['compiling_s']:.1f}" if "compiling_s" in figures else "-",
    )
    return f"{name:<28}{precision:<10}{''.join(f'{cell:>10}' for cell in cells)}  {figures.get('bits', '-')}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    size = QUICK if parser.parse_args().quick else Size()
    backend, began = os.environ.setdefault("KERAS_BACKEND", "tensorflow"), time.monotonic()
    os.environ.update(SHARED)
    rows: list[tuple[str, str, Figures | str]] = []
    for name, precision, measure in ways(backend, size):
        left = DEADLINE - (time.monotonic() - began)
        try:
            rows.append((name, precision, measure(min(left, ROW_SECONDS)) if left > 20 else "no time"))
        except RunError as error:
            rows.append((name, precision, str(error)))
        print(f"{time.monotonic() - began:4.0f} s: {name} done", file=sys.stderr, flush=True)
    gpus = ", ".join(machine.gpus()) or "no GPU"
    print(f"{backend}, {gpus}; {machine.cpu()}, {os.cpu_count()} threads; {asdict(size)}")
    print(f"{'way':<28}{'precision':<10}{''.join(f'{head:>10}' for head in HEADS)}  bits")
    fit_speed = next((row["images_per_s"] for name, _, row in rows if name == "fit" and isinstance(row, dict)), None)
    for row in rows:
        print(line(*row, fit_speed))


if __name__ == "__main__":
    main()
