"""How fast the baseline trains, as a share of what this machine's matrix products reach in the same run.

    make bench                          # the baseline in the precision that `auto` picks
    make bench ARGS="--precision float32 --filters 32"

Every figure is measured by single-threaded processes that start together, like the workers of a sweep.
"""

import argparse
import multiprocessing
import time
from typing import Any

from fmnist import machine
from fmnist.config import Config, check, from_flat
from fmnist.cost import flops_per_image

STEPS = 100  # of one measurement: 12,800 images


def _config(precision: str, filters: int) -> Config:
    return machine.resolve(
        check(from_flat(Config(), {"compute.precision": precision, "compute.threads": 1, "model.filters": filters}))
    )


def _worker(config: Config, barrier: Any, results: Any) -> None:
    """Measure matrix products, then training steps; every worker measures the same thing at the same time."""
    import numpy as np

    from fmnist.training import augment
    from fmnist.training.data import load
    from fmnist.training.engine import Engine
    from fmnist.training.streams import stream

    dataset, batch = load(config.data), config.batch_size
    engine = Engine(config, dataset.train_images, dataset.train_labels)
    rows = np.arange(STEPS * batch, dtype=np.int32).reshape(STEPS, batch)
    draws = augment.draw(config.augment, rows.size, stream(0, "augment"))
    warps = augment.transforms(draws).reshape(STEPS, batch, 8)
    engine.train(rows[:3], warps[:3])
    barrier.wait()
    peak = _matmul_flops_per_second(config.compute.precision)
    barrier.wait()
    began = time.perf_counter()
    engine.train(rows, warps)
    images_per_second = rows.size / (time.perf_counter() - began)
    barrier.wait()
    results.put((peak, images_per_second))


def _matmul_flops_per_second(precision: str, size: int = 2048, seconds: float = 4.0) -> float:
    import tensorflow as tf

    matrix = tf.ones((size, size), precision)
    product = tf.function(tf.matmul)
    product(matrix, matrix)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        product(matrix, matrix).numpy()
        count += 1
    return count * 2 * size**3 / (time.perf_counter() - began)


def measure(config: Config, workers: int) -> tuple[float, float]:
    """Sums over so many workers: operations a second of matrix products, and training images a second."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=_worker, args=(config, barrier, results)) for _ in range(workers)]
    for process in processes:
        process.start()
    found = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    return sum(peak for peak, _ in found), sum(speed for _, speed in found)


def main() -> None:
    """Print the table."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--filters", type=int, default=128)
    arguments = parser.parse_args()
    config = _config(arguments.precision, arguments.filters)
    epoch_images = 54_000
    rows, single = [], 0.0
    for workers in dict.fromkeys((1, machine.cores())):
        peak, speed = measure(config, workers)
        single = single or speed
        share = speed * flops_per_image(config.model) / peak
        rows.append((workers, peak / 1e9, speed, epoch_images / speed, share, speed / single))
    print(f"{machine.cpu()}, {machine.cores()} cores, {config.compute.precision}, filters={arguments.filters}")
    headers = ("workers", "matmul GFLOP/s", "images/s", "s per epoch", "share of matmul", "vs one worker")
    print(tabulate(rows, headers, floatfmt=("d", ".0f", ".0f", ".1f", ".2f", ".2f")))


if __name__ == "__main__":
    main()
