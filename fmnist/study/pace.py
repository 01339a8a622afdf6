"""How fast this machine trains: from recorded runs of about the same cost, or measured where there are none."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from fmnist.config import CONF, Config, from_flat
from fmnist.identity import parameters
from fmnist.machine import cpu, matmul_flops_per_second, use_backend
from fmnist.network import flops_per_image

ALIKE = 1.3  # a run tells of another whose operations differ by no more than this factor
MEASURE_SECONDS = 3.0
SECONDS_PER_RUN = 2.0  # beyond its epochs, where no run tells
Kind = tuple[str, int | None, str]  # precision, threads, backend


class Pace:
    """Operations a second of one worker, by kind of computing and by the cost of an image."""

    def __init__(self, runs: pd.DataFrame, configs: Sequence[Config]) -> None:
        """What finished runs on this kind of processor tell of some configs; nothing where there are none."""
        self._known: dict[Kind, dict[float, float]] = {_kind(config): _recorded(runs, config) for config in configs}

    def of(self, config: Config) -> float:
        """That of a config, interpolated between the costs that are known; a guess where none is."""
        known = sorted(self._known[_kind(config)].items())
        if not known:
            return self._guess
        costs, speeds = np.log([cost for cost, _ in known]), np.log([speed for _, speed in known])
        return float(np.exp(np.interp(np.log(flops_per_image(config.model)), costs, speeds)))

    @cached_property
    def _guess(self) -> float:
        return 0.6 * matmul_flops_per_second()

    def untold(self, configs: Sequence[Config]) -> list[Config]:
        """The cheapest and the dearest of each kind, as far as no run of about their cost is known."""
        ends: dict[tuple[Kind, float], Config] = {}
        ordered = sorted(configs, key=lambda config: flops_per_image(config.model))
        for kind in dict.fromkeys(map(_kind, ordered)):
            alike = [config for config in ordered if _kind(config) == kind]
            ends |= {(kind, flops_per_image(config.model)): config for config in (alike[0], alike[-1])}
        return [config for (kind, cost), config in ends.items() if not self._tells(kind, cost)]

    def _tells(self, kind: Kind, cost: float) -> bool:
        return any(1 / ALIKE <= cost / known <= ALIKE for known in self._known[kind])

    def measure(self, configs: Sequence[Config], workers: int) -> None:
        """Find out that of some configs by as many processes as will work side by side; a few seconds for each."""
        command = [sys.executable, "-m", "fmnist.study.pace", *(json.dumps(parameters(config)) for config in configs)]
        processes = [
            subprocess.Popen(command, cwd=CONF.parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            for _ in range(workers)
        ]
        speeds = [json.loads(process.communicate()[0] or "null") for process in processes]
        told = [speed for speed in speeds if speed is not None]
        if told:  # else it stays a guess
            for config, speed in zip(configs, np.mean(told, axis=0).tolist(), strict=True):
                self._known[_kind(config)][flops_per_image(config.model)] = speed


def _kind(config: Config) -> Kind:
    return config.compute.precision, config.compute.threads, config.compute.backend


def _recorded(runs: pd.DataFrame, config: Config) -> dict[float, float]:
    """Of each cost the longest runs tell: a first epoch is slower than those that follow."""
    alike = _alike(runs, config, "time/images_per_s")
    if alike.empty:
        return {}
    alike = alike[alike["epochs"] == alike.groupby("flops_per_image")["epochs"].transform("max")]
    speeds = (alike["flops_per_image"] * alike["time/images_per_s"]).groupby(alike["flops_per_image"]).median()
    return {float(str(flops)): float(speed) for flops, speed in speeds.items()}


def overhead(runs: pd.DataFrame, config: Config) -> float:
    """Seconds that such a run takes beyond its epochs: compiling, scoring, drawing, logging."""
    alike = _alike(runs, config, "time/overhead_s")
    return SECONDS_PER_RUN if alike.empty else float(alike["time/overhead_s"].median())


def _alike(runs: pd.DataFrame, config: Config, metric: str) -> pd.DataFrame:
    if runs.empty or metric not in runs:
        return runs.iloc[:0]
    backends = runs.get("compute.backend", pd.Series(index=runs.index, dtype=object)).fillna("tensorflow")
    return runs[
        (runs["status"] == "FINISHED")
        & (runs["machine.cpu"] == cpu())
        & (runs["compute.precision"] == config.compute.precision)
        & (runs["compute.threads"] == str(config.compute.threads))
        & (backends == config.compute.backend.replace("auto", "tensorflow"))
        & (runs[metric] > 0)
    ]


def _measure(config: Config) -> float:
    use_backend(config)
    from fmnist.training import augment
    from fmnist.training.engine import Engine

    steps, batch = 4, config.batch_size
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (steps * batch, 28, 28, 1), dtype=np.uint8)
    engine = Engine(config, images, rng.integers(0, 10, steps * batch))
    rows = np.arange(steps * batch, dtype=np.int32).reshape(steps, batch)
    warps = augment.transforms(augment.draw(config.augment, rows.size, rng)).reshape(steps, batch, 8)
    engine.train(rows, warps)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < MEASURE_SECONDS:
        engine.train(rows, warps)
        count += rows.size
    return count * flops_per_image(config.model) / (time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps([_measure(from_flat(Config(), json.loads(given))) for given in sys.argv[1:]]))
