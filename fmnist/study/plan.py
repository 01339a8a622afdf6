"""The study worked out: every run, which are done, which trajectories continue, in which order, at which cost."""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from fmnist.checks import check
from fmnist.config import Config, StudyConfig, UserError, check_options, flatten, from_flat
from fmnist.identity import Signatures, differing, parameters, run_name, short_key, sign, variant_name
from fmnist.network import flops_per_image
from fmnist.schema import BASELINE, Status
from fmnist.training.data import part_sizes
from fmnist.words import plural, shown, some

STARTUP_SECONDS = 10.0  # of a sweep: starting the workers, and importing TensorFlow in each
PLAIN = "sweep"  # the name of a sweep that is no study: its runs have no baseline but the article's
TEST_IMAGES = 10_000  # Fashion-MNIST's; scoring them is a small part of a run
_EACH = "; start a sweep for each of its values"
NOT_AXES = {
    **dict.fromkeys(flatten(Config()).keys() - parameters(Config()).keys(), _EACH),  # data.dir, patience, ...
    **dict.fromkeys(("compute.threads", "compute.backend"), _EACH),  # which a process cannot change
    **{"study": _EACH, "hydra": _EACH, "seed": "; use study.seeds", "epochs": "; use study.rungs"},
}
Compose = Callable[[Sequence[str]], Config]  # overrides -> config


@dataclass(frozen=True)
class Variant:
    """A point of the design: its config, and the overrides that lead there from the study's baseline."""

    config: Config
    overrides: tuple[str, ...]
    name: str = BASELINE  # by what it changes of the study's own baseline


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan."""

    config: Config
    overrides: tuple[str, ...]
    signatures: Signatures
    done: bool
    start: int  # the epoch it can continue from; that of a checkpoint or of the rung before it
    seconds: float  # estimated; 0 if done
    variant: str = ""  # its name in the study

    @property
    def name(self) -> str:
        """`filters=64 · seed 0 · 10 epochs`."""
        return run_name(self.config, self.variant)


def override(key: str, level: Any) -> str:
    """An axis level as Hydra's override, `model.filters=[32,64]`."""
    return f"{key}={level if isinstance(level, str) else json.dumps(level).replace(' ', '')}"


def point_name(changes: Iterable[Sequence[str]]) -> str:
    """A point by the levels that it changes of the study's baseline: `filters=64 scale=unit`, or `baseline`."""
    return " ".join(f"{short_key(axis)}={level}" for axis, level in changes) or BASELINE


def check_axis(axis: str) -> None:
    """Refuse an axis that no study or sweep can vary.

    Raises:
        UserError: says what to do instead.
    """
    for key in {axis, re.split("[./]", axis)[0]} & NOT_AXES.keys():
        raise UserError(f"a study or sweep cannot vary {shown(axis)}{NOT_AXES[key]}")


def check_study(study: StudyConfig) -> None:
    """Refuse a study that cannot be planned.

    Raises:
        UserError: an unknown design, or rungs, seeds or levels that are missing or impossible.
    """
    check_options(study, "study.")
    if len(study.name) > 100:
        raise UserError(f"study.name must have at most 100 letters, but got {shown(study.name)}")
    for key, numbers, least in (("study.rungs", study.rungs, 1), ("study.seeds", study.seeds, 0)):
        if not numbers:
            raise UserError(f"{key} is empty; give at least one, {key}=[{least}]")
    if (count := len(set(study.seeds))) > study.most_seeds:
        allowed = f"verdicts hold for looks at up to study.most_seeds={study.most_seeds}"
        raise UserError(f"study.seeds has {plural(count, 'seed')}, but {allowed}; set study.most_seeds={count}")
    for axis, levels in study.axes.items():
        check_axis(axis)
        if not isinstance(levels, list) or not levels:
            raise UserError(f"study.axes.{shown(axis)} must be a list of levels like [32,64], but got {shown(levels)}")


def variants(study: StudyConfig, compose: Compose) -> list[Variant]:
    """Every distinct variant of a study, its baseline first in a one-at-a-time design.

    Levels are composed one by one and combined afterwards: a grid costs as many compositions as it has levels.

    Raises:
        UserError: the study or any of its points is impossible; all impossible points are named at once.
    """
    check_study(study)
    base = check(compose(()))
    axes = [[override(axis, level) for level in levels] for axis, levels in study.axes.items()]
    levels = list(itertools.chain(*axes))
    changes = {level: differing(parameters(compose((level,))), parameters(base)) for level in levels}
    points = list(itertools.product(*axes)) if study.design == "grid" else [(), *((level,) for level in levels)]
    distinct: dict[str, Variant] = {}
    errors: list[str] = []
    for overrides in points:
        options = {key: value for level in overrides for key, value in changes[level].items()}
        try:
            config = check(from_flat(base, options))
        except UserError as error:
            errors.append(f"{shown(' '.join(overrides)) or 'the baseline'}: {error}")
        else:
            changed = [text.split("=", 1) for text in overrides if changes[text]]
            name = variant_name(config) if study.name == PLAIN else point_name(changed)
            distinct.setdefault(json.dumps(parameters(config)), Variant(config, overrides, name))
    if errors:
        impossible = f"{len(errors)} of {plural(len(points), 'point')} of the study"
        raise UserError(f"{impossible} cannot be run: {some(errors, ' | ')}")
    return list(distinct.values())


def work_out(
    points: Sequence[Variant],
    study: StudyConfig,
    *,
    runs: pd.DataFrame,
    data_digest: str,
    images: int,
    checkpointed: Callable[[str, int], int],
    flops_per_second: Callable[[Config], float],
    seconds_per_run: float,
) -> list[PlannedRun]:
    """Every run of a study, rung by rung, seed by seed, of a seed the longest first.

    A sweep that is stopped has so about as many seeds of every variant: verdicts rest on those that variants share.

    Args:
        points: the study's variants, their configs resolved.
        study: gives rungs and seeds.
        runs: the store, as `tracking.load` gives it.
        data_digest: of the data that the runs will see.
        images: training and validation images without `data.limit`.
        checkpointed: (trajectory signature, epoch) -> latest epoch up to that one with a checkpoint, 0 for none.
        flops_per_second: what the machine achieves on a config.
        seconds_per_run: that a run takes beyond its epochs.
    """
    finished = set(runs.loc[runs["status"] == Status.FINISHED, "signature"])
    planned: list[PlannedRun] = []
    reached: dict[str, int] = {}
    for rung, seed in itertools.product(sorted(set(study.rungs)), dict.fromkeys(study.seeds)):
        of_seed = []
        for point in points:
            config = replace(point.config, epochs=rung, seed=seed, study=study)
            signatures = sign(config, data_digest)
            done = signatures.run in finished
            start = max(reached.get(signatures.trajectory, 0), checkpointed(signatures.trajectory, rung))
            reached[signatures.trajectory] = rung if not done else start
            seconds = 0.0 if done else seconds_per_run + operations(config, images, start) / flops_per_second(config)
            of_seed.append(PlannedRun(config, point.overrides, signatures, done, start, seconds, point.name))
        planned += sorted(of_seed, key=lambda run: -run.seconds)
    return planned


def operations(config: Config, images: int, start: int) -> float:
    """Floating-point operations of a run from epoch `start` on; a forward pass is a third of a training step."""
    training, validating = part_sizes(images, config.data)
    per_epoch = training + validating / 3
    return flops_per_image(config.model) * (per_epoch * (config.epochs - start) + TEST_IMAGES / 3)


def estimate(planned: Sequence[PlannedRun], workers: int) -> float:
    """Seconds that so many workers will need: their share of the work, but no less than the longest trajectory."""
    seconds: dict[str, float] = {}  # by trajectory
    for run in planned:
        seconds[run.signatures.trajectory] = seconds.get(run.signatures.trajectory, 0.0) + run.seconds
    work = max(sum(seconds.values()) / workers, max(seconds.values(), default=0.0))
    return STARTUP_SECONDS + work if work else 0.0
