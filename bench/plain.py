"""Against the plain way: epochs of every variant of study article, what a run costs beside training, the whole study.

The study is too long to be done both ways here. A shortened form is, and the whole is worked out from what was
measured: how fast each variant is trained, and what a run takes beside its training.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measures import EPOCH, config, ours, plain
from bench.table import Row
from bench.team import Team
from fmnist import machine, tracking
from fmnist.config import Config, flatten
from fmnist.identity import differences
from fmnist.study import plan
from fmnist.study.compose import compose_config

ROOT = Path(__file__).parent.parent
ROUNDS, SECONDS = 2, 3.0
WHOLE = EPOCH + 6_000 / 3  # images of an epoch: scoring one costs a third of training it
TEST = 10_000 / 3
FIT = "fit, generator, float32"
SHORT = {"model.filters": 32, "data.limit": 6000}
SHORT_AXES, SHORT_RUNGS = ("model.pooling", "data.scale"), (1, 2)
SHORT_WHOLE = 5_400 + 600 / 3


@dataclass(frozen=True)
class Speed:
    """Images a second that are trained with all cores busy."""

    ours: float
    plain: float


@dataclass(frozen=True)
class Shortened:
    """A small study done both ways, in seconds: its wall time, and what is no training."""

    ours: float
    plain: float
    sweep: float  # of the sweep, once
    run: float  # of a run
    script: float  # of a plain script


def rows() -> Iterator[Row]:
    """All of it."""
    axes = compose_config(["study=article"]).study.axes
    speeds: dict[str, Speed] = {}
    for point in _points("study=article"):
        name = " ".join(point.overrides) or "baseline"
        speeds[name] = _speed(point.config)
        goal = "at least 2.5" if machine.multiplies_bfloat16() else "at least 1.3"
        yield _epoch_row(f"epoch, {name}, {point.config.compute.precision}", speeds[name].ours, speeds[name], goal)
    levels = {axis: [_name(plan.override(axis, level), speeds) for level in found] for axis, found in axes.items()}
    yield from _other_ways([speeds[name] for name in levels["model.filters"]], axes["model.filters"])
    short = _shortened(speeds["model.filters=32"])
    yield from _short_rows(short)
    yield from _study_rows(speeds, levels, short)


def _name(override: str, speeds: dict[str, Speed]) -> str:
    """The point that a level is: what the baseline has is not there by its own name."""
    return override if override in speeds else "baseline"


def _points(*overrides: str) -> list[plan.Variant]:
    def compose(more: Sequence[str]) -> Config:
        return compose_config([*overrides, *more])

    found = plan.variants(compose(()).study, compose)
    return [plan.Variant(_one_thread(point.config), point.overrides) for point in found]


def _one_thread(given: Config) -> Config:
    options = {key: value for key, value in flatten(given).items() if key.split(".")[0] in ("model", "augment", "data")}
    return config(**{key.replace(".", "__"): value for key, value in options.items()})


def _speed(given: Config) -> Speed:
    """Both measured in turn: what else the machine does meets both."""
    named = differences(given).get("augment", "article")
    arguments = (given.model.filters, given.model.kernel_size, given.model.pooling, named, given.data.scale)
    with Team(machine.cores(), ours, given) as us, Team(1, plain, *arguments) as them:
        them.wait()
        found = [(us.rate("train", SECONDS), them.rate("train", SECONDS)) for _ in range(ROUNDS)]
    return Speed(*(sum(rates) / ROUNDS for rates in zip(*found, strict=True)))


def _epoch_row(what: str, ours: float, speed: Speed, goal: str) -> Row:
    return Row(what, f"{EPOCH / ours:.1f} s", FIT, f"{EPOCH / speed.plain:.1f} s", ours / speed.plain, goal, less=True)


def _other_ways(speeds: Sequence[Speed], filters: Sequence[int]) -> Iterator[Row]:
    """In float32, and a single run that has all cores."""
    for speed, count in zip(speeds, filters, strict=True):
        given = config(compute__precision="float32", model__filters=count)
        yield _epoch_row(f"epoch, {count} filters, float32", _alone(given, machine.cores()), speed, "at least 1.3")
    given = config(compute__threads=machine.cores())
    what = f"epoch of one run alone, {given.compute.threads} threads, {given.compute.precision}"
    yield _epoch_row(what, _alone(given, 1), speeds[-1], "")


def _alone(given: Config, count: int) -> float:
    with Team(count, ours, given) as team:
        return team.rate("train", 2 * SECONDS)


# ---- A small study, done both ways -------------------------------------------------------------------


def _shortened(speed: Speed) -> Shortened:
    axes = compose_config(["study=article"]).study.axes
    with tempfile.TemporaryDirectory() as folder:
        out = [f"study.axes.{axis}=null" for axis in axes if axis not in SHORT_AXES]
        overrides = [f"{key}={value}" for key, value in SHORT.items()]
        rungs = f"study.rungs={list(SHORT_RUNGS)}".replace(" ", "")
        sweep = ["fmnist.train", "study=article", *overrides, *out, rungs, f"store={folder}/ours"]
        ours = _seconds(sweep, folder)
        runs = tracking.load(f"{folder}/ours")
        scripts = {
            (axis, level, epochs): _seconds(["bench.plain_way", *_arguments({axis: level}, epochs)], folder)
            for axis in SHORT_AXES
            for level in axes[axis]
            for epochs in SHORT_RUNGS
        }
    beside = [
        took - (epochs * SHORT_WHOLE + 2 * TEST) / speed.plain for (_, _, epochs), took in scripts.items()
    ]  # the test set is evaluated, and predicted
    workers = machine.cores()
    return Shortened(
        ours=ours,
        plain=sum(scripts.values()),
        sweep=ours - float(runs["time/wall_s"].sum()) / workers,
        run=float(runs["time/overhead_s"].median()) - TEST / (speed.ours / workers),
        script=sum(beside) / len(beside),
    )


def _arguments(level: dict[str, Any], epochs: int) -> list[str]:
    """A point of the study, as the script's options."""
    options = {**SHORT, **level, "epochs": epochs}
    return [
        text
        for key, value in options.items()
        for text in (f"--{key.rsplit('.', maxsplit=1)[-1].replace('_', '-')}", str(value))
    ]


def _seconds(command: Sequence[str], folder: str) -> float:
    """What a module takes as a command, called in a folder."""
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", *command], cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def _short_rows(short: Shortened) -> Iterator[Row]:
    for what, took in (("sweep: its start and end, once", short.sweep), ("run of a sweep beside training", short.run)):
        texts = (f"{took:.1f} s", "a script beside training", f"{short.script:.1f} s")
        yield Row(what, *texts, short.script / took, less=True)
    runs = (len(SHORT_AXES) + 1) * len(SHORT_RUNGS)
    scripts = 2 * len(SHORT_AXES) * len(SHORT_RUNGS)
    what = f"shortened study: {runs} runs of 32 filters, 6,000 images, 1 and 2 epochs"
    texts = (f"{short.ours:.0f} s", f"{scripts} scripts", f"{short.plain:.0f} s")
    yield Row(what, *texts, short.plain / short.ours, less=True)


# ---- The whole study, worked out ---------------------------------------------------------------------


def _study_rows(speeds: dict[str, Speed], levels: dict[str, list[str]], short: Shortened) -> Iterator[Row]:
    names = [name for found in levels.values() for name in found]  # the baseline once an axis
    rungs = compose_config(["study=article"]).study.rungs
    ours = _sweep_seconds([speed.ours for speed in speeds.values()], rungs, short)
    every = sum(_script_seconds(speeds[name].plain, epochs, short) for name in names for epochs in (10, 50))
    least = sum(_script_seconds(speeds[name].plain, 50, short) for name in names)
    least += _script_seconds(speeds["baseline"].plain, 10, short)
    what = f"study article, {len(speeds)} variants at {', '.join(map(str, rungs))} epochs"
    for scripts, theirs, goal in (
        (f"{2 * len(names)} scripts: every axis, 10 and 50 epochs", every, "at least 5"),
        (f"{len(names) + 1} scripts: every axis at 50 epochs, the baseline at 10", least, ""),
    ):
        yield Row(what, f"{ours / 3600:.1f} h", scripts, f"{theirs / 3600:.1f} h", theirs / ours, goal, less=True)


def _sweep_seconds(speeds: Sequence[float], rungs: Sequence[int], short: Shortened) -> float:
    """A path a variant: epochs are trained once, every rung is scored and recorded."""
    runs = len(rungs) * (len(speeds) * short.run / machine.cores() + sum(TEST / speed for speed in speeds))
    return short.sweep + max(rungs) * sum(WHOLE / speed for speed in speeds) + runs


def _script_seconds(speed: float, epochs: int, short: Shortened) -> float:
    return short.script + (epochs * WHOLE + 2 * TEST) / speed
