"""Against the plain way: epochs of every variant of study article, what a run costs beside training, the whole study.

The study is too long to be done both ways here. A shortened form is, and the whole is worked out from what was
measured: how fast each variant is trained, and what a run takes beside its training.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.measures import EPOCH, TEST, VALIDATION, config, ours, plain
from bench.processes import Workers, run_python, variables
from bench.table import Row
from fmnist import machine, tracking
from fmnist.config import Config, flatten
from fmnist.identity import differences
from fmnist.study import plan
from fmnist.study.compose import compose_config
from fmnist.training.fetch import fetch

SECONDS = 3.0
FIT = "fit, generator, float32"
SHORT = {"model.filters": 32, "data.limit": 6000}
SHORT_AXES, SHORT_RUNGS = ("model.pooling", "data.scale"), (1, 2)


@dataclass(frozen=True)
class Speeds:
    """How fast all workers of a sweep together train and score, and a script on all cores trains; in images a second.

    The steps of `fit` are not all of its epoch: it validates, and it waits.
    """

    train: float
    score: float
    script_steps: float = float("nan")
    script_epoch: float = float("nan")  # seconds, all included

    @property
    def epoch(self) -> float:
        """Seconds of ours, validation included, with a path for every worker."""
        return EPOCH / self.train + VALIDATION / self.score


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
    speeds: dict[str, Speeds] = {}
    for point in one_thread_points("study=article"):
        name = " ".join(point.overrides) or "baseline"
        speeds[name], against = _measured(point.config), FIT
        if name != "baseline" and "model.filters" not in name:
            speeds[name], against = _as_the_baseline(speeds[name], speeds["baseline"]), f"{FIT}, from its steps"
        goal = "at least 3.5" if name == "baseline" else ""
        what = f"epoch, {name}, {point.config.compute.precision}"
        yield _epoch_row(what, speeds[name].epoch, speeds[name], goal, against)
    names = {axis: [_name(plan.override(axis, level), speeds) for level in axes[axis]] for axis in axes}
    for name, count in zip(names["model.filters"], axes["model.filters"], strict=True):
        yield from _filters_rows(speeds[name], count)
    alone = config(compute__threads=machine.cores())
    what = f"epoch of one run alone, {alone.compute.threads} threads, {alone.compute.precision}"
    yield _epoch_row(what, _ours(alone, 1).epoch, speeds["baseline"])
    short = _shortened(speeds["model.filters=32"])
    yield from _short_rows(short)
    yield from _study_rows(speeds, names, short)


def _name(override: str, speeds: dict[str, Speeds]) -> str:
    """The point that a level is: what the baseline has is not there by its own name."""
    return override if override in speeds else "baseline"


def one_thread_points(*overrides: str) -> list[plan.Variant]:
    def compose(more: Sequence[str]) -> Config:
        return compose_config([*overrides, *more])

    points = plan.variants(compose(()).study, compose)
    return [plan.Variant(_one_thread(point.config), point.overrides) for point in points]


def _one_thread(point: Config) -> Config:
    options = {key: value for key, value in flatten(point).items() if key.split(".")[0] in ("model", "augment", "data")}
    return config(**{key.replace(".", "__"): value for key, value in options.items()})


def _measured(point: Config) -> Speeds:
    """Ours before and after `fit`: what else the machine does meets both. Whole epochs for the filter counts only."""
    options = differences(point)
    arguments = (point.model.filters, point.model.kernel_size, point.model.pooling)
    whole = set(options) <= {"model.filters"}
    with (
        Workers(machine.cores(), ours, point) as workers,
        Workers(1, plain, *arguments, options.get("augment", "article"), point.data.scale) as script,
    ):
        script.wait()
        before = workers.rate("train", SECONDS), workers.rate("score", 1.0)
        steps = script.rate("steps", SECONDS)
        epoch = 1 / script.rate("epochs", 0.0) if whole else float("nan")
        after = workers.rate("train", SECONDS), workers.rate("score", 1.0)
    train, score = (sum(rates) / 2 for rates in zip(before, after, strict=True))
    return Speeds(train, score, steps, epoch)


def _as_the_baseline(speeds: Speeds, baseline: Speeds) -> Speeds:
    """With an epoch of the script that is longer than its steps by as much as the baseline's."""
    return replace(speeds, script_epoch=baseline.script_epoch * baseline.script_steps / speeds.script_steps)


def _ours(point: Config, count: int) -> Speeds:
    with Workers(count, ours, point) as workers:
        return Speeds(workers.rate("train", 2 * SECONDS), workers.rate("score", 1.0))


def _epoch_row(what: str, ours: float, speeds: Speeds, goal: str = "", against: str = FIT) -> Row:
    theirs = speeds.script_epoch
    return Row(what, f"{ours:.1f} s", against, f"{theirs:.1f} s", theirs / ours, goal, less=True)


def _filters_rows(speeds: Speeds, count: int) -> Iterator[Row]:
    """The training steps of an epoch alone."""
    ours, theirs = EPOCH / speeds.train, EPOCH / speeds.script_steps
    what = f"the steps of an epoch alone, {count} filters"
    yield Row(what, f"{ours:.1f} s", FIT, f"{theirs:.1f} s", theirs / ours, less=True)


# ---- A small study, done both ways -------------------------------------------------------------------


def _shortened(speeds: Speeds) -> Shortened:
    """Done both ways; `speeds` are those of its runs."""
    axes = compose_config(["study=article"]).study.axes
    with tempfile.TemporaryDirectory() as folder:
        out = [f"study.axes.{axis}=null" for axis in axes if axis not in SHORT_AXES]
        overrides = [f"{key}={value}" for key, value in SHORT.items()]
        rungs = f"study.rungs={list(SHORT_RUNGS)}".replace(" ", "")
        sweep = ["fmnist.train", "study=article", *overrides, *out, rungs, f"store={folder}/ours"]
        ours = _seconds(sweep, folder)
        runs = tracking.load(f"{folder}/ours")
        keras_home = Path(folder, "keras")  # where the script's loader finds the files that ours found
        (keras_home / "datasets").mkdir(parents=True)
        (keras_home / "datasets" / "fashion-mnist").symlink_to(fetch())
        with variables({"KERAS_HOME": str(keras_home)}):
            scripts = [
                [_seconds(["bench.plain_way", *_arguments({axis: level}, epochs)], folder) for epochs in SHORT_RUNGS]
                for axis in SHORT_AXES
                for level in axes[axis]
            ]
    workers = machine.cores()
    return Shortened(
        ours=ours,
        plain=sum(map(sum, scripts)),
        sweep=ours - float(runs["time/wall_s"].sum()) / workers,
        run=float(runs["time/overhead_s"].median()) - TEST / (speeds.score / workers),
        script=sum(2 * one - two for one, two in scripts) / len(scripts),  # what is left without an epoch
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
    run_python("-m", *command, folder=folder)
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


def _study_rows(speeds: dict[str, Speeds], levels: dict[str, list[str]], short: Shortened) -> Iterator[Row]:
    names = [name for axis in levels.values() for name in axis]  # the baseline once an axis
    rungs = compose_config(["study=article"]).study.rungs
    ours = _sweep_seconds(list(speeds.values()), rungs, short)
    every = sum(_script_seconds(speeds[name], epochs, short) for name in names for epochs in (10, 50))
    least = sum(_script_seconds(speeds[name], 50, short) for name in names)
    least += _script_seconds(speeds["baseline"], 10, short)
    what = f"study article, {len(speeds)} variants at {', '.join(map(str, rungs))} epochs"
    for scripts, theirs, goal in (
        (f"{2 * len(names)} scripts: every axis, 10 and 50 epochs", every, "at least 6.5"),
        (f"{len(names) + 1} scripts: every axis at 50 epochs, the baseline at 10", least, ""),
    ):
        yield Row(what, f"{ours / 3600:.1f} h", scripts, f"{theirs / 3600:.1f} h", theirs / ours, goal, less=True)


def _sweep_seconds(speeds: Sequence[Speeds], rungs: Sequence[int], short: Shortened) -> float:
    """A path a variant: epochs are trained once, every rung is scored and recorded."""
    runs = len(rungs) * (len(speeds) * short.run / machine.cores() + sum(TEST / each.score for each in speeds))
    return short.sweep + max(rungs) * sum(each.epoch for each in speeds) + runs


def _script_seconds(speeds: Speeds, epochs: int, short: Shortened) -> float:
    return short.script + epochs * speeds.script_epoch
