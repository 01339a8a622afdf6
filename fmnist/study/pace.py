"""How fast this machine trains: from recorded runs of about the same cost, or measured where there are none."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd

from fmnist.config import CLASS_COUNT, IMAGE_SIZE, PACKAGE, Config, from_flat
from fmnist.identity import parameters
from fmnist.machine import cpu, gpu, instructions, use_backend
from fmnist.network import flops_per_image
from fmnist.schema import Status

SIMILAR = 1.3  # the pace at one cost holds for another that differs by no more than this factor
LONG, LAST = 10, 5  # epochs, and runs
MEASURE_SECONDS, LONGEST = 3.0, 120.0  # of training a config; of all of it, compiling too
SECONDS_PER_RUN = 2.0  # beyond its epochs, where no run is recorded
Computing = tuple[str, int | None, str]  # precision, threads, backend


class Pace:
    """Operations per second of one worker, by the way of computing and by the operations per image."""

    def __init__(self, runs: pd.DataFrame, configs: Sequence[Config]) -> None:
        """Learn from finished runs on this kind of processor that compute as these configs do."""
        self._speeds: dict[Computing, dict[float, float]] = {
            _computing(config): _recorded(runs, config) for config in configs
        }

    def of(self, config: Config) -> float:
        """The pace of a config, interpolated between the costs whose pace is known; a guess where none is."""
        points = sorted(self._speeds[_computing(config)].items())
        if not points:
            return _guess()
        costs, speeds = np.log(points).T
        return float(np.exp(np.interp(np.log(flops_per_image(config.model)), costs, speeds)))

    def unknown(self, configs: Sequence[Config]) -> list[Config]:
        """The cheapest and the dearest config of each way of computing, where no pace of a similar cost is known."""
        ends: dict[tuple[Computing, float], Config] = {}
        ordered = sorted(configs, key=lambda config: flops_per_image(config.model))
        for computing in dict.fromkeys(map(_computing, ordered)):
            same = [config for config in ordered if _computing(config) == computing]
            ends |= {(computing, flops_per_image(config.model)): config for config in (same[0], same[-1])}
        return [
            config
            for (computing, cost), config in ends.items()
            if not any(1 / SIMILAR <= cost / other <= SIMILAR for other in self._speeds[computing])
        ]

    def measure(self, configs: Sequence[Config], workers: int) -> bool:
        """Measure configs in as many processes as will work side by side; a few seconds for each config.

        Returns:
            False where they fail or take too long, as JAX does on a processor: what is not measured stays a guess.
        """
        command = [sys.executable, "-m", "fmnist.study.pace", *(json.dumps(parameters(config)) for config in configs)]
        processes = [
            subprocess.Popen(command, cwd=PACKAGE.parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            for _ in range(workers)
        ]
        deadline = time.monotonic() + LONGEST
        printed = [_printed(process, deadline) for process in processes]
        measured = [json.loads(speeds) for speeds in printed if speeds]
        if measured:
            for config, speed in zip(configs, np.mean(measured, axis=0).tolist(), strict=True):
                self._speeds[_computing(config)][flops_per_image(config.model)] = speed
        return bool(measured)


def _printed(process: "subprocess.Popen[str]", deadline: float) -> str:
    """What a process prints by then, when it is ended."""
    try:
        return process.communicate(timeout=max(0.0, deadline - time.monotonic()))[0]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return ""


@cache  # of a process: its machine stays the same
def _guess() -> float:
    """By what one thread achieves on a float32 matrix product, in a fifth of a second."""
    from threadpoolctl import threadpool_limits

    matrix = np.ones((512, 512), np.float32)
    with threadpool_limits(1):
        matrix @ matrix
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < 0.2:
            matrix @ matrix
            count += 1
    return 0.6 * count * 2 * 512**3 / (time.perf_counter() - began)


def _computing(config: Config) -> Computing:
    return config.compute.precision, config.compute.threads, config.compute.backend


def _recorded(runs: pd.DataFrame, config: Config) -> dict[float, float]:
    """The pace by cost: of each the last runs, since what else a machine does changes, and long ones where there are.

    A first epoch is slower than those that follow.
    """
    same = _same_computing(runs, config, "time/images_per_s")
    if same.empty:
        return {}
    costs = same["flops_per_image"]
    are_long = same["epochs"] >= same.groupby(costs)["epochs"].transform("max").clip(upper=LONG)
    last = (costs * same["time/images_per_s"] * _scoring(same))[are_long].groupby(costs).tail(LAST)
    speeds = last.groupby(costs).median()
    return {float(str(cost)): float(speed) for cost, speed in speeds.items()}


def _scoring(runs: pd.DataFrame) -> pd.Series:
    """By how much an epoch's operations, as `plan.operations` counts them, exceed those of its training."""
    validating, share = runs["validation_images"], runs["data.validation"].astype(float)
    rows = pd.to_numeric(runs["data.limit"], errors="coerce").fillna(validating / share)
    return (1 + validating / 3 / (rows * (1 - share))).fillna(1.0)  # of older records we do not know it


def overhead(runs: pd.DataFrame, config: Config) -> float:
    """Seconds that such a run takes beyond its epochs: compiling, scoring, drawing, logging."""
    same = _same_computing(runs, config, "time/overhead_s")
    return SECONDS_PER_RUN if same.empty else float(same["time/overhead_s"].median())


def _same_computing(runs: pd.DataFrame, config: Config, metric: str) -> pd.DataFrame:
    """The finished runs on this kind of processor that computed as a config does and have a metric."""
    if runs.empty or metric not in runs:
        return runs.iloc[:0]
    same = (runs["status"] == Status.FINISHED) & (runs["machine.cpu"] == cpu()) & (runs[metric] > 0)
    same &= runs["machine.gpu"].isin(("", gpu()))
    same &= runs["machine.instructions"].isin(("", instructions()))  # early records do not say
    for key, value in parameters(config).items():
        if key.startswith("compute."):
            same &= runs[key] == str(value)
    return runs[same]


def _measure(config: Config) -> float:
    """Operations per second of this process on random images."""
    use_backend(config)
    from fmnist.training import augment
    from fmnist.training.engine import Engine

    steps, batch = 4, config.batch_size
    count = steps * batch
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, IMAGE_SIZE, IMAGE_SIZE, 1), dtype=np.uint8)
    engine = Engine(config, images, rng.integers(0, CLASS_COUNT, count))
    rows = np.arange(count, dtype=np.int32).reshape(steps, batch)
    warps = augment.transforms(augment.draw(config.augment, count, rng)).reshape(steps, batch, 8)
    engine.train(rows, warps)
    began, trained = time.perf_counter(), 0
    while time.perf_counter() - began < MEASURE_SECONDS:
        engine.train(rows, warps)
        trained += count
    return trained * flops_per_image(config.model) / (time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps([_measure(from_flat(Config(), json.loads(options))) for options in sys.argv[1:]]))
