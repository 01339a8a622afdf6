"""How far a search is, by its folder and by the runs of its trials that go on."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist import words
from fmnist.config import Config, UserError
from fmnist.identity import run_name, sign
from fmnist.search import trials
from fmnist.search.limits import Limits
from fmnist.search.trials import COMPLETED, RUNNING, TrialRecord
from fmnist.work.display import ActiveRun, Outcome, State, percent

if TYPE_CHECKING:
    from fmnist.tracking import Store


@dataclass
class SearchProgress:
    """How far a search is; see `fmnist.work.display.Observed`."""

    store: "Store"
    limits: Limits
    folder: Path
    direction: str
    data_digest: str
    began: float  # s
    records: list[TrialRecord] = field(init=False)
    ended: list[TrialRecord] = field(init=False)

    def __post_init__(self) -> None:
        """Look a first time: what has ended before is no news."""
        self.records = trials.load_trials(self.folder)
        self.ended = trials.ended(self.records)
        self._before = {trial.trial for trial in self.ended}

    def refresh(self) -> list[TrialRecord]:
        """Look again; returns the trials that have ended since the last look."""
        before = {trial.trial for trial in self.ended}
        self.records = trials.load_trials(self.folder)
        self.ended = trials.ended(self.records)
        return [trial for trial in self.ended if trial.trial not in before]

    def line(self, trial: TrialRecord) -> str:
        """What a trial came to, the best so far, and how far the search is."""
        total = self.limits.total()
        number = self.ended.index(trial) + 1
        line = f"{number}/{total[0]}" if total and total[0] else str(number)
        continued = f", continued from epoch {trial.start}" if trial.start else ""
        outcome = percent(trial.score) if trial.status == COMPLETED else f"FAILED: {trial.message}"
        line += f"  trial {int(trial.trial)}: {trial.name or 'no run'}{continued}: {outcome}"
        leader = trials.best(self.ended, self.direction)
        if leader is not None:
            line += f"; best {percent(leader.score)} (trial {int(leader.trial)}), epochs so far: {self._epochs}"
        left = self.seconds_left()
        return line if left is None else f"{line}, left about {words.clock(left)}"

    @property
    def _epochs(self) -> int:
        """Of all trials that have ended."""
        return sum(trial.epochs for trial in self.ended)

    def seconds_left(self) -> float | None:
        """By the pace of this process so far; None where nothing bounds the search, or nothing has ended."""
        total = self.limits.total()
        done = sum(trial.epochs for trial in self.ended if trial.trial not in self._before)
        if total is None or not done:
            return None
        left = max(0, total[1] - self._epochs) * (time.time() - self.began) / done
        return min(left, max(0.0, self.limits.until - time.time())) if self.limits.until else left

    def state(self) -> State:
        """With the epochs so far."""
        total, left = self.limits.total(), self.seconds_left()
        text = f"{self._epochs} epochs" + ("" if left is None else f", left about {words.clock(left)}")
        return State(text, len(self.ended), total[0] or None if total else None, "trials")

    def active(self) -> list[ActiveRun]:
        """The runs of trials that go on, by the store; the last that was asked, where it does not answer."""
        expected = {sign(config, self.data_digest).run: (trial, config) for trial, config in self._at_work()}
        return [
            self._active(*expected[record.signature], self.store.progress(record.run_id))
            for record in (self.store.running() if expected else [])
            if record.signature in expected
        ]

    def _at_work(self) -> Iterator[tuple[TrialRecord, Config]]:
        for trial in self.records:
            if trial.status == RUNNING:
                with suppress(UserError):  # an impossible point, which will fail at once
                    yield from ((trial, config) for config in self.limits.configs(trial.values))

    def _active(self, trial: TrialRecord, config: Config, epochs: list[tuple[int, float, float]]) -> ActiveRun:
        epoch, accuracy, seconds = epochs[-1] if epochs else (trial.start, None, None)
        name = f"trial {int(trial.trial)}: {run_name(config)}"
        return ActiveRun(name, trial.start, epoch, config.epochs, accuracy, seconds)

    def last(self, count: int) -> list[Outcome]:
        """The last trials that have ended, the latest first."""
        return [
            Outcome(f"{percent(trial.score)}  trial {int(trial.trial)}: {trial.name}", False)
            if trial.status == COMPLETED
            else Outcome(f"FAILED  trial {int(trial.trial)}: {trial.name or 'no run'}: {trial.message}", True)
            for trial in self.ended[: -count - 1 : -1]
        ]
