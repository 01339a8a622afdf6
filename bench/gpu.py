"""How fast a GPU trains the baseline: the compiled loop against Keras's `fit`, one trajectory against several at once.

    KERAS_BACKEND=jax python -m bench.gpu              # or tensorflow; under 9 minutes
    KERAS_BACKEND=jax python -m bench.gpu --quick      # small sizes, for any machine: shows that it works, not how fast

Needs keras, numpy and the backend; `fit` also scipy, which JAX brings along. The images are invented, their number is
Fashion-MNIST's. Every row is measured by processes of its own, so one that fails costs nothing but its row.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fmnist.config import Config, from_flat
from fmnist.machine import cpu
from fmnist.network import flops_per_image

DEADLINE = 500.0  # seconds for all rows: what would begin later is left out
ROW_SECONDS = 150.0  # that one row may take
RUN_EPOCHS = 50
DETERMINISTIC = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true", "TF_DETERMINISTIC_OPS": "1"}
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true", "TF_CPP_MIN_LOG_LEVEL": "3"}


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
Row = dict[str, Any]  # images_per_s always; the others where the row has them


def _config(size: Size, precision: str, seed: int = 0) -> Config:
    options = {"compute.precision": precision, "compute.threads": 1, "model.filters": size.filters, "seed": seed}
    backend = {"compute.backend": os.environ["KERAS_BACKEND"]}
    return from_flat(Config(batch_size=size.batch), options | backend)


def _data(count: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8), rng.integers(0, 10, count)


def _epoch(config: Config, size: Size, epoch: int) -> tuple[Any, Any]:
    """Rows and warps of an epoch, drawn as a trajectory draws them."""
    from fmnist.training import augment
    from fmnist.training.streams import stream

    steps = size.training // size.batch
    order = stream(config.seed, "order", epoch).permutation(size.training)[: steps * size.batch].astype(np.int32)
    draws = augment.draw(config.augment, size.training, stream(config.seed, "augment", epoch))
    return order.reshape(steps, size.batch), augment.transforms(draws)[order].reshape(steps, size.batch, 8)


# ---- What is measured: each in a process of its own --------------------------------------------------


def loop(size: Size, precision: str) -> Row:
    """A run as a trajectory does it: order, warps, training, validation, checkpoint, epoch by epoch."""
    from fmnist.training import checkpoint
    from fmnist.training.engine import Engine

    config = _config(size, precision)
    engine, began = Engine(config, *_data(size.training)), time.perf_counter()
    engine.train(*_epoch(config, size, 0))
    compiling, validation = time.perf_counter() - began, _data(size.validation)[0]
    engine.logits(validation)
    bits = hashlib.sha256(b"".join(array.tobytes() for array in engine.state().values())).hexdigest()[:6]
    trained, count, began = 0.0, 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        while count < RUN_EPOCHS and (count < 2 or time.perf_counter() - began < size.seconds):
            count += 1
            rows, warps = _epoch(config, size, count)
            tick = time.perf_counter()
            engine.train(rows, warps)
            trained += time.perf_counter() - tick
            engine.logits(validation)
            checkpoint.save_epoch(Path(folder), count, engine.state(), {})
    whole, speed = (time.perf_counter() - began) / count, count * rows.size / trained
    share = speed * flops_per_image(config.model) / _peak(size, precision)
    return {"images_per_s": speed, "epoch_s": whole, "share": share, "compiling_s": compiling, "bits": bits}


def fit(size: Size, precision: str) -> Row:
    """What one would write without this project: ImageDataGenerator and `fit`, validated after the epoch."""
    from fmnist.training.engine import keras
    from fmnist.training.model import build

    generators: Any = __import__("keras.src.legacy.preprocessing.image", fromlist=["ImageDataGenerator"])
    config = _config(size, precision)
    ranges, (images, labels), steps = config.augment, _data(size.training), size.training // size.batch
    model = build(config)
    model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = generators.ImageDataGenerator(
        rotation_range=ranges.rotation,
        width_shift_range=ranges.width_shift,
        height_shift_range=ranges.height_shift,
        shear_range=ranges.shear,
        zoom_range=ranges.zoom,
    ).flow(images.astype(np.float32), labels, batch_size=size.batch)
    began = time.perf_counter()
    model.fit(batches, steps_per_epoch=3, validation_data=_data(size.validation), verbose=0)
    compiling, began = time.perf_counter() - began, time.perf_counter()
    model.fit(batches, steps_per_epoch=steps, validation_data=_data(size.validation), verbose=0)
    seconds = time.perf_counter() - began
    return {"images_per_s": steps * size.batch / seconds, "epoch_s": seconds, "compiling_s": compiling}


def vmap(size: Size, precision: str, count: int) -> Row:
    """So many seeds in one program of JAX."""
    import jax

    from fmnist.training.engine import Engine

    configs = [_config(size, precision, seed) for seed in range(count)]
    engines = [Engine(config, *_data(size.training)) for config in configs]
    first = engines[0].loop
    state = jax.tree.map(lambda *values: jax.numpy.stack(values), *[engine.loop.state() for engine in engines])
    train = jax.jit(jax.vmap(first.segment, in_axes=(0, None, 0, 0)), donate_argnums=0)
    done, compiling, began = 0, 0.0, time.perf_counter()
    while done < 2 or (done < RUN_EPOCHS and time.perf_counter() - began < size.seconds):
        tick = time.perf_counter()
        drawn = [_epoch(config, size, done) for config in configs]
        rows, warps = (np.stack(part) for part in zip(*drawn, strict=True))
        state, found = train(state, first.data, rows, warps)
        jax.block_until_ready(found)
        if not done:
            compiling, began = time.perf_counter() - tick, time.perf_counter()
        done += 1
    seconds = (time.perf_counter() - began) / (done - 1)
    return {"images_per_s": rows.size / seconds, "epoch_s": seconds, "compiling_s": compiling}


def processes(size: Size, precision: str, count: int) -> Row:
    """So many processes, a trajectory each, that train at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    started = [context.Process(target=_worker, args=(size, precision, n, barrier, results)) for n in range(count)]
    for process in started:
        process.start()
    found = [results.get(timeout=ROW_SECONDS) for _ in started]
    for process in started:
        process.join()
    speeds, seconds = zip(*found, strict=True)
    return {"images_per_s": sum(speeds), "epoch_s": sum(seconds) / count}


def _worker(size: Size, precision: str, seed: int, barrier: Any, results: Any) -> None:
    from fmnist.training.engine import Engine

    config = _config(size, precision, seed)
    engine = Engine(config, *_data(size.training))
    engine.train(*_epoch(config, size, 0))
    barrier.wait(ROW_SECONDS)
    done, began = 0, time.perf_counter()
    while not done or time.perf_counter() - began < size.seconds:  # all train until the same moment
        done += 1
        rows, warps = _epoch(config, size, done)
        engine.train(rows, warps)
    seconds = (time.perf_counter() - began) / done
    results.put((rows.size / seconds, seconds))


def _peak(size: Size, precision: str) -> float:
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


def _parts(backend: str, size: Size) -> list[tuple[str, list[Any], dict[str, str]]]:
    """Name, function with its arguments, and environment of every row, the most telling first."""
    half = "bfloat16"
    several = [
        (f"{count} {name}", [function, half, count], {})
        for count in size.several
        for name, function in (("by vmap", "vmap"), ("processes", "processes"))
        if (function, backend) != ("vmap", "tensorflow")
    ]
    return [
        ("loop", ["loop", half], {}),
        ("fit", ["fit", "float32"], {}),
        ("loop", ["loop", "float32"], {}),
        *several,
        ("loop, deterministic", ["loop", half], DETERMINISTIC),
        ("loop, deterministic, again", ["loop", half], DETERMINISTIC),
        ("loop, again", ["loop", half], {}),
    ]


def _measure(call: list[Any], environment: dict[str, str], quick: bool, seconds: float) -> Row:
    """Carry out a function in a process of its own; a row that fails says why."""
    command = [sys.executable, "-m", "bench.gpu", "--part", json.dumps(call), *(["--quick"] if quick else [])]
    variables = {**os.environ, **SHARED, **environment}
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done in {seconds:.0f} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["it died"])[-1][:150]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _line(name: str, precision: str, row: Row, fitted: float | None) -> str:
    if "failed" in row:
        return f"{name:<28}{precision:<10}{row['failed']}"
    faster = f"{row['images_per_s'] / fitted:.1f}" if fitted else "-"
    share, compiling = (
        f"{row[key]:.{digits}f}" if key in row else "-" for key, digits in (("share", 2), ("compiling_s", 1))
    )
    return (
        f"{name:<28}{precision:<10}{row['images_per_s']:>10,.0f}{faster:>10}{share:>10}{row['epoch_s']:>10.3f}"
        f"{row['epoch_s'] * RUN_EPOCHS:>10.1f}{compiling:>10}  {row.get('bits', '-')}"
    )


def _machine() -> str:
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        gpus = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    except (OSError, subprocess.CalledProcessError):
        gpus = []
    return f"{', '.join(gpus) or 'no GPU'}; {cpu()}, {os.cpu_count()} threads"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--part", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    backend, size = os.environ.setdefault("KERAS_BACKEND", "tensorflow"), QUICK if arguments.quick else Size()
    if arguments.part:
        function, *given = arguments.part
        print(json.dumps(globals()[function](size, *given)))
        return
    began, found = time.monotonic(), []
    for name, call, environment in _parts(backend, size):
        left = DEADLINE - (time.monotonic() - began)
        row = (
            _measure(call, environment, arguments.quick, min(left, ROW_SECONDS)) if left > 20 else {"failed": "no time"}
        )
        found.append((name, call[1], row))
        print(f"{time.monotonic() - began:4.0f} s: {name} done", file=sys.stderr, flush=True)
    print(f"{backend}, {_machine()}; {asdict(size)}")
    heads = ("images/s", "vs fit", "products", "s/epoch", f"{RUN_EPOCHS} epochs", "compiling")
    print(f"{'way':<28}{'precision':<10}{''.join(f'{head:>10}' for head in heads)}  bits")
    fitted = next((row.get("images_per_s") for name, _, row in found if name == "fit"), None)
    for name, precision, row in found:
        print(_line(name, precision, row, fitted))


if __name__ == "__main__":
    main()
