"""Keras Tuner's oracles, mended so that a search can be stopped at any moment, shared, and repeated exactly.

As they come they save a file for each trial and one for themselves, which a kill leaves at odds; Bayesian search
forgets the state of its generator, grid search its place, and Hyperband promotes by whoever ends first, or, after a
failed trial, not at all. Here the state is one file, written whole, and what is drawn depends on seed and trial alone.
"""

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from threadpoolctl import ThreadpoolController

import fmnist.training.engine  # noqa: F401  # before Keras Tuner, which would load TensorFlow with all that it prints
from fmnist.search.space import Dimension, TunerConfig
from fmnist.search.trials import COMPLETED, FAILED, LOCK, STATE, is_free, read, whole, write
from fmnist.training.libraries import quiet_stderr

with quiet_stderr(), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of old names in other libraries
    import keras_tuner
    from keras_tuner.engine.trial import Trial
    from keras_tuner.oracles import (
        BayesianOptimizationOracle,
        GridSearchOracle,
        HyperbandOracle,
        RandomSearchOracle,
    )

POLL_SECONDS = 0.5  # between looks for a trial where one has to wait for others
RUNNING, STOPPED, IDLE = "RUNNING", "STOPPED", "IDLE"
Values = dict[str, Any]


def hyperparameters(space: list[Dimension]) -> keras_tuner.HyperParameters:
    """A space in Keras Tuner's terms."""
    result = keras_tuner.HyperParameters()
    for one in space:
        parent = {"parent_name": one.when[0], "parent_values": [one.when[1]]} if one.when else {}
        if one.type == "choice":
            result.Choice(one.key, list(one.values), **parent)
        else:
            add = result.Float if one.type == "float" else result.Int
            add(one.key, one.low, one.high, step=one.step, sampling=one.sampling, **parent)
    return result


def seed_of(*key: Any) -> int:
    """A seed below 2^32 that depends on all of the key."""
    return int(hashlib.sha256(repr(key).encode()).hexdigest()[:8], 16)


def _version(file: Path) -> tuple[int, ...] | None:
    """What changes with every `write` of a file; none: it is not there."""
    with suppress(FileNotFoundError):
        found = file.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size
    return None


@cache
def _pools() -> ThreadpoolController:
    """The pools of threads of this process's libraries, which it takes 10 ms to find."""
    return ThreadpoolController()


class SharedOracle(keras_tuner.Oracle):  # type: ignore[misc]  # Keras Tuner has no types
    """An oracle that processes share through its file: none repeats another's trial."""

    trials: dict[str, Trial]
    ongoing_trials: dict[str, Trial]
    folder: Path
    fits: Callable[[Values], bool]  # whether a trial may still be begun
    draw_key: tuple[Any, ...] | None = None  # what is drawn; none: the trial's number

    def keep(self, folder: Path, fits: Callable[[Values], bool]) -> None:
        """Keep the state in a folder, and begin only what fits."""
        self.folder, self.fits, self.records = folder, fits, dict[str, dict[str, Any]]()
        self._scores, self._record = dict[str, float](), dict[str, Any]()  # of a trial, until it is kept
        self.max_trials = None  # the numbers of trials shall not depend on how many there may be: `fits` knows
        self.verbose = 0
        # Of the file that holds what this process does; none: it must be read, which takes a millisecond a trial.
        self._version: tuple[int, ...] | None = None

    def create_trial(self, tuner_id: str) -> Trial:
        """The next trial for a worker: the one it was interrupted in, one of a worker that is gone, or a new one."""
        with self._shared():
            self._reclaim(tuner_id)
            trial = super().create_trial(tuner_id)
        if trial.status == IDLE:
            time.sleep(POLL_SECONDS)
        return trial

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> None:
        """Note a trial's scores, which `end_trial` keeps."""
        self._scores = metrics

    def note(self, record: dict[str, Any]) -> None:
        """Note what else there is to say of a trial that has ended."""
        self._record = record

    def end_trial(self, trial: Trial) -> None:
        """Keep a trial with its scores, all at once."""
        with self._shared():
            if self._scores:
                super().update_trial(trial.trial_id, self._scores)
            self.records[trial.trial_id] = self._record
            self._scores, self._record = {}, {}
            super().end_trial(trial)
            self.save()  # once more without the trial among those that are going on

    @contextmanager
    def _shared(self) -> Iterator[None]:
        with FileLock(self.folder / LOCK), warnings.catch_warnings(), _pools().limit(limits=1):
            warnings.simplefilter("ignore")  # of old names in Keras Tuner, and that a process of few points fits badly
            if self._version is None or self._version != _version(self.folder / STATE):
                self.reload()
            self._version = None
            try:
                yield
            except BaseException:
                self._version = None  # what was saved may not be all that has been changed
                raise

    def save(self) -> None:
        """Write all there is to one file."""
        trials = [trial.get_state() for trial in self.trials.values()]
        write(self.folder / STATE, {"oracle": self.get_state(), "trials": trials, "records": self.records})
        self._version = _version(self.folder / STATE)

    def reload(self) -> None:
        """Take over what stands in the file."""
        state = read(self.folder)
        if state is None:
            return
        with whole(self.folder / STATE):
            self.trials = {entry["trial_id"]: Trial.from_state(entry) for entry in state["trials"]}
            self.records = state["records"]
            self.set_state(state["oracle"])

    def _save_trial(self, trial: Trial) -> None:
        pass  # `save` does

    def _check_consecutive_failures(self) -> None:
        pass  # the search looks at them

    def _reclaim(self, tuner_id: str) -> None:
        """Queue the trials of workers that are gone; the oldest is taken first."""
        for other, trial in sorted(self.ongoing_trials.items(), key=lambda entry: entry[1].trial_id, reverse=True):
            if other != tuner_id and is_free(self.folder, other):
                del self.ongoing_trials[other]
                self._retry_queue.append(trial.trial_id)

    def populate_space(self, trial_id: str) -> Values:
        """What is proposed, or the end where that does not fit."""
        proposed = self.propose(trial_id)
        if proposed["status"] == RUNNING and not self.fits(proposed["values"]):
            return {"status": STOPPED, "values": None}  # and the file knows nothing of it
        return proposed

    def propose(self, trial_id: str) -> Values:
        """What Keras Tuner proposes."""
        return super().populate_space(trial_id)  # type: ignore[no-any-return]

    def nothing(self) -> Values:
        """No trial: for the moment, or where none goes on any more, for good."""
        return {"status": IDLE if self.ongoing_trials else STOPPED, "values": None}

    def _random_values(self) -> Values | None:
        self._seed_state = seed_of(self.seed, *(self.draw_key or (len(self.trials),)))
        return super()._random_values()  # type: ignore[no-any-return]


class Random(SharedOracle, RandomSearchOracle):  # type: ignore[misc]
    """Random search."""


class Grid(SharedOracle, GridSearchOracle):  # type: ignore[misc]
    """Grid search."""

    def propose(self, trial_id: str) -> Values:
        """The combination after the last that was begun; what it came to plays no role."""
        if not self.trials:
            space = self.get_space()
            return {"status": RUNNING, "values": {hp.name: hp.default for hp in space.space if space.is_active(hp)}}
        values = self._get_next_combination(self.trials[max(self.trials)].hyperparameters.values)
        return {"status": RUNNING, "values": values} if values is not None else self.nothing()


class Bayesian(SharedOracle, BayesianOptimizationOracle):  # type: ignore[misc]
    """Bayesian optimisation; with several workers it depends on the order in which they end."""

    def propose(self, trial_id: str) -> Values:
        """Start the optimizer from points that depend on the trial, not on what was drawn in this process."""
        self._random_state = np.random.RandomState(seed_of(self.seed, "starts", len(self.trials)))
        if self.ongoing_trials:  # Keras Tuner asks the model of the last proposal about them, which a new process lacks
            trials, ongoing = self.trials, self.ongoing_trials
            self.trials, self.ongoing_trials = {k: t for k, t in trials.items() if t.status == COMPLETED}, {}
            if len(self.trials) >= self.num_initial_points:
                self.gpr.fit(*self._vectorize_trials())
            self.trials, self.ongoing_trials = trials, ongoing
        return super().propose(trial_id)


class Hyperband(SharedOracle, HyperbandOracle):  # type: ignore[misc]
    """Hyperband by whole rounds: the same trials, however many workers and whoever ends first."""

    def propose(self, trial_id: str) -> Values:
        """The next trial of the first bracket that has one ready; a round begins when the last one is over."""
        count = self._get_num_brackets()
        for index in range(self.hyperband_iterations * count):
            number = count - 1 - index % count
            if index == len(self._brackets):
                self._brackets.append({"bracket_num": number, "rounds": [[] for _ in range(number + 1)]})
            values = self._next(index, number, trial_id)
            if values is not None:
                return {"status": RUNNING, "values": values}
        return self.nothing()

    def _next(self, index: int, number: int, trial_id: str) -> Values | None:
        rounds = self._brackets[index]["rounds"]
        for level, entries in enumerate(rounds):
            size = self._get_size(number, level)
            parents = self._promoted(rounds[level - 1], size) if level else [None] * size
            if len(entries) < len(parents):
                parent = parents[len(entries)]
                self.draw_key = (index, len(entries))
                values = self._random_values() if parent is None else parent.hyperparameters.values
                if values is None:
                    return None
                entries.append({"past_id": parent and parent.trial_id, "id": trial_id})
                return {
                    **values,
                    **({"tuner/trial_id": parent.trial_id} if parent else {}),
                    "tuner/epochs": self._get_epochs(number, level),
                    "tuner/initial_epoch": self._get_epochs(number, level - 1) if level else 0,
                    "tuner/bracket": number,
                    "tuner/round": level,
                }
            if not all(self.trials[entry["id"]].status in (COMPLETED, FAILED) for entry in entries):
                return None
        return None

    def _promoted(self, entries: list[Values], size: int) -> list[Trial]:
        """The best of a round that is over, best first; those that failed are not among them."""
        completed = [trial for entry in entries if (trial := self.trials[entry["id"]]).status == COMPLETED]
        return sorted(completed, key=lambda trial: trial.score, reverse=self.objective.direction == "max")[:size]


def oracle(tuner: TunerConfig, space: list[Dimension]) -> SharedOracle:
    """The oracle of a search, not yet kept anywhere."""
    kinds = {"random": Random, "grid": Grid, "bayesian": Bayesian, "hyperband": Hyperband}
    options: dict[str, Any] = {}
    if tuner.kind == "hyperband":
        options = {"max_epochs": tuner.max_epochs, "factor": tuner.factor, "hyperband_iterations": tuner.iterations}
    elif tuner.kind == "bayesian":
        options = {"num_initial_points": tuner.initial_points}
    made: SharedOracle = kinds[tuner.kind](
        objective=keras_tuner.Objective(tuner.objective, tuner.direction),
        hyperparameters=hyperparameters(space),
        seed=tuner.seed + 1,  # 0 would be none
        allow_new_entries=False,
        tune_new_entries=False,
        **options,
    )
    made._brackets = []  # hyperband's, in which Keras Tuner begins a round at once
    return made
