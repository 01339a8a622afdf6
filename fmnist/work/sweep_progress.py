"""What a sweep is expected to do, as it announces it in the store, and how far it has come by what the store says."""

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fmnist import machine, words
from fmnist.schema import Status
from fmnist.study.plan import PlannedRun
from fmnist.work.display import ActiveRun, Outcome, State, percent

if TYPE_CHECKING:
    from fmnist.tracking import Store, StoredRun


@dataclass(frozen=True)
class AnnouncedRun:
    """What is expected of a run of a sweep: as much of the plan as a watcher on another machine needs."""

    name: str
    signature: str
    epochs: int
    start: int  # the epoch it continues from
    seconds: float  # estimated, on one worker
    trajectory: str = ""  # not in the plans of older sweeps


@dataclass(frozen=True)
class AnnouncedSweep:
    """A sweep as it stands in the store."""

    study: str
    workers: int
    began: int  # ms
    process: str  # that carries it out
    runs: list[AnnouncedRun]

    @classmethod
    def of(cls, planned: list[PlannedRun], study: str, workers: int, began: int) -> "AnnouncedSweep":
        """Of the runs of a plan that are not yet done."""
        runs = [
            AnnouncedRun(
                run.name, run.signatures.run, run.config.epochs, run.start, run.seconds, run.signatures.trajectory
            )
            for run in planned
            if not run.done
        ]
        return cls(study, workers, began, machine.this_process(), runs)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "AnnouncedSweep":
        """What `to_json` gave."""
        return cls(**{**values, "runs": [AnnouncedRun(**run) for run in values["runs"]]})


@dataclass
class SweepProgress:
    """How far an announced sweep is; see `display.Observed`."""

    store: "Store"
    sweep: AnnouncedSweep
    ended: dict[str, "StoredRun"] = field(default_factory=dict)  # signature -> its record, in the order of their ends
    at_work: dict[str, ActiveRun] = field(default_factory=dict)  # signature -> the run that goes on

    def refresh(self) -> list["StoredRun"]:
        """Look again; returns what has ended since the last look."""
        expected = {run.signature: run for run in self.sweep.runs}
        records = [
            record
            for record in self.store.ended_since(self.sweep.began)
            if record.signature in expected and record.status != Status.KILLED
        ]
        fresh = [record for record in records if self.ended.get(record.signature) != record]
        self.ended.update((record.signature, record) for record in fresh)
        self.at_work = {
            record.signature: _active(expected[record.signature], self.store.progress(record.run_id))
            for record in self.store.running()
            if record.signature in expected
        }
        return fresh

    @property
    def runs(self) -> list[AnnouncedRun]:
        """What is still expected of the plan: not the later rungs of a trajectory that has failed."""
        failed = {record.trajectory for record in self.ended.values() if record.status == Status.FAILED}
        return [run for run in self.sweep.runs if run.signature in self.ended or run.trajectory not in failed]

    @property
    def complete(self) -> bool:
        """Whether every run that is expected has ended."""
        return len(self.ended) == len(self.runs)

    def seconds_left(self) -> float:
        """By the plan's estimates, corrected by how fast the plan has been worked off so far."""
        runs = self.runs
        total = sum(run.seconds for run in runs)
        done = sum(run.seconds for run in runs if run.signature in self.ended)
        done += sum(run.share * (run.estimate or 0.0) for run in self.at_work.values())
        elapsed = time.time() - self.sweep.began / 1000
        pace = done / elapsed if done > 0 and elapsed > 0 else self.sweep.workers
        return (total - done) / pace

    def line(self, ended: "StoredRun") -> str:
        """`3/6  filters=64 · 10 epochs · seed 0: validation 91.23 %, left about 0:01:00`."""
        left = "" if self.complete else f", left about {words.clock(self.seconds_left())}"
        number = list(self.ended).index(ended.signature) + 1
        return f"{number}/{len(self.runs)}  {ended.name}: {_outcome(ended)}{left}"

    def state(self) -> State:
        """With the lowest rung that is not complete, and the time of the end."""
        rungs = sorted({run.epochs for run in self.sweep.runs})
        unfinished = {run.epochs for run in self.runs if run.signature not in self.ended}
        rung = f"rung {min(unfinished)} of {', '.join(map(str, rungs))}; " if unfinished else ""
        left = self.seconds_left()
        until = time.strftime("%H:%M", time.localtime(time.time() + left))
        return State(f"{rung}left {words.clock(left)}, until {until}", len(self.ended), len(self.runs), "runs")

    def active(self) -> list[ActiveRun]:
        """The runs that workers work on."""
        return list(self.at_work.values())

    def last(self, count: int) -> list[Outcome]:
        """The last that have ended, the latest first."""
        latest = list(self.ended.values())[: -count - 1 : -1]
        return [Outcome(f"{_outcome(run)}  {run.name}", run.status != Status.FINISHED) for run in latest]


def _active(expected: AnnouncedRun, epochs: list[tuple[int, float, float]]) -> ActiveRun:
    epoch, accuracy, seconds = epochs[-1] if epochs else (expected.start, None, None)
    return ActiveRun(
        expected.name, expected.start, epoch, expected.epochs, accuracy, seconds, estimate=expected.seconds
    )


def _outcome(ended: "StoredRun") -> str:
    return f"validation {percent(ended.val_accuracy)}" if ended.status == Status.FINISHED else ended.status
