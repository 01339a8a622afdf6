"""How far a search is, by its folder and by the runs of its trials that go on."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fmnist import words
from fmnist.config import UserError
from fmnist.identity import run_name, sign
from fmnist.schema import RANKING
from fmnist.search import trials
from fmnist.search.limits import Limits
from fmnist.search.trials import COMPLETED, RUNNING, TrialRecord
from fmnist.tracking import Store
from fmnist.work.display import ExpectedRun, View, active_runs


@dataclass
class SearchProgress:
    """How far a search is; see `fmnist.work.display.Observed`."""

    store: Store
    limits: Limits
    folder: Path
    began: float  # s
    records: list[TrialRecord] = field(init=False)
    ended: list[TrialRecord] = field(init=False)

    def __post_init__(self) -> None:
        """Look a first time: what has ended before is no news."""
        self.records = trials.load_trials(self.folder)
        self.ended = trials.ended(self.records)
        self._before = {trial.trial for trial in self.ended}

    def refresh(self) -> list[str]:
        """Look again; returns a line for each trial that has ended since the last look."""
        before = {trial.trial for trial in self.ended}
        self.records = trials.load_trials(self.folder)
        self.ended = trials.ended(self.records)
        return [self._line(number, trial) for number, trial in enumerate(self.ended, 1) if trial.trial not in before]

    def _line(self, number: int, trial: TrialRecord) -> str:
        """What a trial came to, the best so far, and how far the search is."""
        (total, _), left = self.limits.total(), self.seconds_left()
        of_all = f"/{total}" if total else ""
        continued = f", continued from epoch {trial.start}" if trial.start else ""
        tuner = self.limits.search.tuner
        unit = RANKING[tuner.objective].unit
        outcome = words.score(trial.score, unit) if trial.status == COMPLETED else f"FAILED: {trial.message}"
        line = f"{number}{of_all}  trial {trial.number}: {trial.name or 'no run'}{continued}: {outcome}"
        leader = trials.best(self.ended, tuner.direction)
        if leader is not None:
            best = f"best {words.score(leader.score, unit)} (trial {leader.number})"
            line += f"; {best}, epochs so far: {self._epochs}"
        return line if left is None else f"{line}, left about {words.clock(left)}"

    @property
    def _epochs(self) -> int:
        """Of all trials that have ended."""
        return sum(trial.epochs for trial in self.ended)

    def seconds_left(self) -> float | None:
        """By the pace of this process so far; None where nothing bounds the search, or nothing has ended."""
        _, total = self.limits.total()
        done = sum(trial.epochs for trial in self.ended if trial.trial not in self._before)
        if total is None or not done:
            return None
        left = max(0, total - self._epochs) * (time.time() - self.began) / done
        return min(left, max(0.0, self.limits.until - time.time())) if self.limits.until else left

    def view(self) -> View:
        """With the epochs so far; which runs go on says the store, the last that was asked where it does not answer."""
        (total, _), left, tuner = self.limits.total(), self.seconds_left(), self.limits.search.tuner
        unit = RANKING[tuner.objective].unit
        text = words.plural(self._epochs, "epoch") + ("" if left is None else f", left about {words.clock(left)}")
        last = [
            (f"{words.score(trial.score, unit)}  trial {trial.number}: {trial.name}", False)
            if trial.status == COMPLETED
            else (f"FAILED  trial {trial.number}: {trial.name or 'no run'}: {trial.message}", True)
            for trial in reversed(self.ended)
        ]
        active = active_runs(self.store, self._expected())
        leader = trials.best(self.ended, tuner.direction)
        best = f"{words.score(leader.score, unit)}  trial {leader.number}: {leader.name}" if leader else ""
        return View(text, len(self.ended), total, "trial", active, last, best)

    def _expected(self) -> Iterator[ExpectedRun]:
        """The runs of trials that go on."""
        for trial in self.records:
            if trial.status == RUNNING:
                with suppress(UserError):  # an impossible point, which will fail at once
                    for config in self.limits.configs(trial.values):
                        name = f"trial {trial.number}: {run_name(config)}"
                        signature = sign(config, self.limits.data_digest).run
                        yield ExpectedRun(name, signature, config.epochs, trial.start, None)
