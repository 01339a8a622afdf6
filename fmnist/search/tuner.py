"""Keras Tuner drives our runs: a worker of a search takes trials from the oracle until it has none, and runs them."""

import time
from pathlib import Path
from typing import Any

from fmnist import run
from fmnist.config import Config, RunError, UserError
from fmnist.identity import run_name, sign
from fmnist.search import oracles  # which imports Keras Tuner first, and quietly
from fmnist.search.limits import Limits
from fmnist.search.trials import COMPLETED, FAILED, ended, load_trials, slot
from fmnist.tracking import Store
from fmnist.training.trajectory import DivergedError

from keras_tuner.engine.base_tuner import BaseTuner  # isort: skip
from keras_tuner.engine.trial import Trial  # isort: skip
from keras_tuner.errors import FailedTrialError  # isort: skip

HOPELESS = 3  # trials in a row that fail: something is wrong with more than their values


class TrialRunner(BaseTuner):  # type: ignore[misc]  # Keras Tuner has no types
    """A worker: Keras Tuner's loop over trials, with our runs in it and our oracle's file behind it."""

    def __init__(self, oracle: oracles.SharedOracle, name: str, limits: Limits, parent: str) -> None:
        """Of that name among the workers; `parent` is the id of the search's record."""
        folder, search = oracle.folder, limits.search
        super().__init__(oracle, directory=str(folder.parent), project_name=folder.name)
        self.tuner_id, self.limits, self.parent = name, limits, parent
        self.store = Store(search.store, search.patience, answered_before=True)
        self._before = {trial.trial for trial in ended(load_trials(folder))}

    def run_trial(self, trial: Trial, *args: Any, **options: Any) -> dict[str, float]:
        """Carry out a trial's runs and return the objective over all, and of each by its seed.

        Raises:
            FailedTrialError: the point is impossible, or the run went wrong; the message is the reason.
            RunError: the data cannot be had, or the store or the disk does not take what was trained.
        """
        values, objective = trial.hyperparameters.values, self.oracle.objective.name
        epochs, operations = self.limits.cost(values)
        record: dict[str, Any] = {"epochs": epochs, "work": operations, "trained": 0, "scores": {}, "run_ids": {}}
        began = time.monotonic()
        try:
            for config in self.limits.configs(values):
                record["name"] = record.get("name") or run_name(config)
                outcome = self._run(config, trial.trial_id)
                record["trained"] += outcome.trained
                record["scores"][str(config.seed)] = outcome.metrics[objective]
                record["run_ids"][str(config.seed)] = outcome.run_id
        except UserError as error:
            raise FailedTrialError(str(error)) from error
        finally:
            self.oracle.note({**record, "seconds": time.monotonic() - began, "ended": int(time.time() * 1000)})
        scores = record["scores"]
        return {objective: sum(scores.values()) / len(scores)} | {
            f"seed {seed}": score for seed, score in scores.items()
        }

    def _run(self, config: Config, trial: str) -> run.Outcome:
        """A run, whose record is marked as the search's whatever becomes of it."""
        search = self.oracle.folder.name
        try:
            outcome = run.execute(config, store=self.store, variant=f"{search}/{int(trial)}", parent=self.parent)
        except UserError as error:  # of the data or the store: no trial's fault
            raise RunError(str(error)) from error
        except Exception as error:
            if isinstance(error, RunError) and not isinstance(error, DivergedError):
                raise
            record = self.store.find(sign(config, self.limits.data_digest).run)
            if record is not None:
                self.store.mark(record.run_id, search, trial=trial, parent=self.parent)
            raise FailedTrialError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
        self.store.mark(outcome.run_id, search, trial=trial, parent=self.parent)
        return outcome

    def _try_run_and_update_trial(self, trial: Trial, *args: Any, **options: Any) -> None:
        """As Keras Tuner's own, which would take an error of ours, or of the disk, for one of the trial."""
        try:
            self._run_and_update_trial(trial)
            trial.status = COMPLETED
        except FailedTrialError as error:
            trial.status, trial.message = FAILED, str(error)

    def on_trial_end(self, trial: Trial) -> None:
        """Keep the trial.

        Raises:
            RunError: trials fail one after the other.
        """
        super().on_trial_end(trial)
        fresh = [one for one in ended(load_trials(self.oracle.folder)) if one.trial not in self._before]
        for start in range(len(fresh) - HOPELESS + 1):  # of all workers, so that they stop together
            row = fresh[start : start + HOPELESS]
            if all(one.status == FAILED for one in row):
                raise RunError(f"{HOPELESS} trials in a row failed (the last: {row[-1].message})")

    def save(self) -> None:
        """The oracle keeps all there is."""


def search(limits: Limits, folder: Path, parent: str) -> str:
    """Work on a search until it has no trial for us, and return the limit that was reached, if it was one.

    Raises:
        UserError: the store cannot be had.
        RunError: trials fail one after the other, or what they trained cannot be kept.
    """
    oracle = oracles.oracle(limits.search.tuner, limits.space)
    oracle.keep(folder, lambda values: limits.allow(values, load_trials(folder)))
    with slot(folder, "worker") as name:
        TrialRunner(oracle, name, limits, parent).search()
    return limits.reached
