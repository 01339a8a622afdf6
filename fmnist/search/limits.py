"""What a search may still begin, and what its trials are as runs."""

import math
import time
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median_high
from typing import Any

from fmnist.config import Config, UserError
from fmnist.search.space import Dimension, SearchConfig, TunerConfig, base_of, to_run
from fmnist.search.trials import TrialRecord
from fmnist.study.plan import operations
from fmnist.training.data import check_sizes

CAUTION = 1.25  # by which a trial is taken to last longer than those before it


@dataclass
class Limits:
    """What a search may still begin."""

    search: SearchConfig
    space: list[Dimension]
    data_digest: str
    images: int  # of the data set, for training and validation
    pace: float  # operations a second, as long as no trial has shown it
    overhead: float  # s that a run takes beyond its epochs
    end: float | None = None  # time.time() when the minutes are over
    until: float | None = None  # and before that, time.time() of the latest end of a trial
    reached: str = ""  # the limit that was reached, for people

    @cached_property
    def base(self) -> Config:
        """The run that trials start from."""
        return base_of(self.search)

    def configs(self, values: dict[str, Any]) -> list[Config]:
        """The runs of a trial, one for each seed.

        Raises:
            UserError: such a run is impossible.
        """
        point = to_run(self.base, self.space, values)
        check_sizes(point, self.images)
        epochs, first = values.get("tuner/epochs", self.search.tuner.max_epochs), self.search.seed
        seeds = range(first, first + self.search.tuner.executions_per_trial)
        return [replace(point, epochs=epochs, seed=seed) for seed in seeds]

    def cost(self, values: dict[str, Any]) -> tuple[int, float]:
        """Epochs that the search needs for a trial, and operations; a continued path's first epochs cost nothing."""
        start = values.get("tuner/initial_epoch", 0)
        try:
            configs = self.configs(values)
        except UserError:
            return 0, 0.0  # it will fail at once
        epochs = sum(config.epochs - start for config in configs)
        return epochs, sum(operations(config, self.images, start) for config in configs)

    def total(self) -> tuple[int | None, int | None]:
        """Trials and epochs that the search comes to if none fails; None where nothing, or time alone, bounds them."""
        tuner, each = self.search.tuner, self.search.tuner.max_epochs * self.search.tuner.executions_per_trial
        trials = tuner.max_trials
        epochs = trials * each if trials else None
        if tuner.kind == "hyperband":
            rounds = [level for bracket in brackets(tuner) for level in bracket]
            whole = tuner.iterations * sum(size for size, _, _ in rounds)
            trials = min(trials or whole, whole)
            epochs = tuner.iterations * sum(size * (end - start) for size, start, end in rounds)
            epochs = epochs * tuner.executions_per_trial
        elif tuner.kind == "grid" and all(one.type == "choice" and not one.when for one in self.space):
            whole = math.prod(len(dimension.values) for dimension in self.space)
            trials = min(trials or whole, whole)
            epochs = trials * each
        if tuner.epochs_budget is not None and (epochs is None or tuner.epochs_budget < epochs):
            epochs = tuner.epochs_budget
            trials = None if tuner.kind == "hyperband" else epochs // each
        return trials or None, epochs

    def speed(self, trials: list[TrialRecord]) -> float:
        """Operations a second, by the trials that were trained in full."""
        whole = [trial for trial in trials if trial.trained and trial.trained == trial.epochs]
        return median_high(trial.work / trial.seconds for trial in whole) if whole else self.pace

    def are_exhausted(self, ended: int) -> bool:
        """Whether so many trials that have ended are all that can be begun; False where only the oracle can tell."""
        total, _ = self.total()
        if total is None or ended < total or self.search.tuner.epochs_budget is not None:
            return False
        if total == self.search.tuner.max_trials:
            self.reached = f"tuner.max_trials={total}"
        return True

    def allow(self, values: dict[str, Any], begun: list[TrialRecord]) -> bool:
        """Whether a trial may be begun, after all those that have been; if not, `reached` says why."""
        tuner, (epochs, work) = self.search.tuner, self.cost(values)
        needed = CAUTION * (self.overhead + work / self.speed(begun))
        if tuner.max_trials is not None and len(begun) >= tuner.max_trials:
            self.reached = f"tuner.max_trials={tuner.max_trials}"
        elif tuner.epochs_budget is not None and (
            epochs + sum(self.cost(trial.values)[0] for trial in begun) > tuner.epochs_budget
        ):
            self.reached = f"tuner.epochs_budget={tuner.epochs_budget} (the next trial needs {epochs} more epochs)"
        elif self.until is not None and time.time() + needed > self.until:
            self.reached = f"tuner.minutes={tuner.minutes:g} (the next trial needs about {needed:.0f} s)"
        return not self.reached


def brackets(tuner: TunerConfig) -> list[list[tuple[int, int, int]]]:
    """Hyperband's rounds, as Keras Tuner cuts them: of each bracket (trials, from epoch, to epoch), longest first."""
    count, left = 0, float(tuner.max_epochs)
    while left >= 1:
        count, left = count + 1, left / tuner.factor
    last = math.ceil(1 + math.log(tuner.max_epochs, tuner.factor))
    result = []
    for number in reversed(range(count)):
        ends = [math.ceil(tuner.max_epochs / tuner.factor ** (number - level)) for level in range(number + 1)]
        sizes = [math.ceil(last / (number + 1) * tuner.factor ** (number - level)) for level in range(number + 1)]
        result.append(list(zip(sizes, [0, *ends], ends, strict=False)))
    return result
