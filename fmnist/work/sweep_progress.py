"""What a sweep is expected to do, for people and as it announces it in the store, and how far it has come since."""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fmnist import machine, words
from fmnist.config import Config, StudyConfig, UserError
from fmnist.identity import RECIPE, variant_name
from fmnist.network import disk_bytes
from fmnist.schema import BASELINE, Status
from fmnist.study.plan import PlannedRun, estimate
from fmnist.tracking import Store, StoredRun
from fmnist.work.display import ActiveRun, ExpectedRun, View, active_runs, table
from fmnist.work.worker import Attempt

LONGEST_GAP = 60.0  # seconds between two looks; a longer one is a machine asleep, or a stopped process


def plan_table(planned: list[PlannedRun], study: StudyConfig, workers: int) -> Group:
    """The plan as a table, a row a rung, with the estimated time on so many workers."""
    rows = table("epochs", "runs", "done", "continuing", "new", "time")
    for rung in sorted({entry.config.epochs for entry in planned}):
        of_rung = [entry for entry in planned if entry.config.epochs == rung]
        done = sum(entry.done for entry in of_rung)
        continuing = sum(entry.start > 0 and not entry.done for entry in of_rung)
        counts = (rung, len(of_rung), done, continuing, len(of_rung) - done - continuing)
        rows.add_row(*map(str, counts), words.clock(estimate(of_rung, workers)))
    title = f"Study {study.name}: {study.question or 'a plain sweep'}"
    base = next((variant_name(entry.config) for entry in planned if entry.variant == BASELINE), BASELINE)
    title += "" if base == BASELINE else f"\nIts baseline is the article's with {base}"
    in_all = f"estimated for {words.plural(workers, 'worker')}: {words.clock(estimate(planned, workers))} in all"
    return Group(Text(title), rows, Text(in_all))


def run_table(planned: list[PlannedRun]) -> Table:
    """Every run of a plan, whether it is done, continues from an epoch, or is new, and its estimated time."""
    rows = table("run", "state", "one worker", box=None, pad_edge=False)
    for entry in planned:
        state = "done" if entry.done else f"continues from epoch {entry.start}" if entry.start else "new"
        rows.add_row(escape(entry.name), state, "" if entry.done else words.clock(entry.seconds))
    return rows


def plan_summary(planned: list[PlannedRun], runs: pd.DataFrame) -> str:
    """What the plan shares: epochs that continuing saves, trajectories of other studies, and the disk it needs."""
    left = [entry for entry in planned if not entry.done]
    if not left:
        return "all of it is done"
    trained = sum(entry.config.epochs - entry.start for entry in left)
    alone = sum(entry.config.epochs for entry in left)
    others = runs[runs["trajectory_signature"].isin({entry.signatures.trajectory for entry in planned})]
    shared = others[~others["study"].isin(["", planned[0].config.study.name])]
    lines = [f"trains {words.plural(trained, 'epoch')}; each run by itself would need {alone:,}"]
    if len(shared):
        count = shared["trajectory_signature"].nunique()
        lines.append(f"shares {words.plural(count, 'trajectory')} with {', '.join(sorted(set(shared['study'])))}")
    megabytes = sum(disk_bytes(entry.config.model) for entry in left) / 1e6
    lines.append(f"needs about {megabytes:,.0f} MB of disk")
    earlier = runs[(runs["status"] == Status.FINISHED) & (runs["recipe"] != RECIPE)]
    if len(earlier):
        recipes = ", ".join(str(recipe) for recipe in sorted(set(earlier["recipe"])))
        lines.append(
            f"not continued, and left as recorded: {words.plural(len(earlier), 'run')} of recipe {recipes}, with other "
            f"numbers than recipe {RECIPE} gives"
        )
    if count := len(runs) and _scored_on_few(planned[0].config, runs):
        lines.append(
            f"not continued, as fewer images validate them: {words.plural(count, 'run')} of "
            f"data.limit={planned[0].config.data.limit}; data.validation_rows=null goes on with them"
        )
    return "; ".join(lines)


def _scored_on_few(config: Config, runs: pd.DataFrame) -> int:
    """How many runs of a study were made as none but a limit's own rows validated, unless that is asked for now too."""
    if config.data.validation_rows is None:
        return 0
    alike = runs["study"].eq(config.study.name) & runs["status"].eq(Status.FINISHED) & runs["recipe"].eq(RECIPE)
    few = runs["data.limit"].eq(str(config.data.limit)) & runs["data.validation_rows"].eq("null")
    return int((alike & few).sum())


@dataclass(frozen=True)
class Announcement:
    """What a sweep leaves in the store, for those who watch."""

    study: str
    workers: int
    began: int  # ms
    process: str  # that carries it out
    runs: list[ExpectedRun]
    failed_before: list[Attempt] = field(default_factory=list)  # not known of older sweeps
    newest_end: int = 0  # ms; of all runs of the store, as the sweep began
    is_block: bool = False  # after which the same process begins another sweep, or has settled all


def announcement(
    planned: list[PlannedRun],
    workers: int,
    began: int,
    failed_before: Iterable[Attempt] = (),
    newest_end: int = 0,
    *,
    is_block: bool = False,
) -> dict[str, Any]:
    """The announcement of a plan: its runs that are not yet done."""
    runs = [
        ExpectedRun(run.name, run.signatures.run, run.config.epochs, run.start, run.seconds, run.signatures.trajectory)
        for run in planned
        if not run.done
    ]
    study, process = planned[0].config.study.name, machine.this_process()
    return asdict(Announcement(study, workers, began, process, runs, sorted(failed_before), newest_end, is_block))


@dataclass
class SweepProgress:
    """How far a sweep is: its announcement beside the runs that have ended and those that go on."""

    store: Store
    study: str
    workers: int
    began: int  # ms
    process: str  # that carries it out
    runs: list[ExpectedRun]
    failed_before: list[Attempt] = field(default_factory=list)
    ended: dict[str, StoredRun] = field(default_factory=dict)  # signature -> its record, in the order of their ends
    active: list[ActiveRun] = field(default_factory=list)
    newest_end: int = 0  # ms, by the clocks of those that wrote: the store was asked for all that ended up to it
    is_block: bool = False
    fresh: list[StoredRun] = field(default_factory=list)  # have ended between the last two looks
    _left: set[str] = field(default_factory=set)  # trajectories that nobody works on any more since the last look
    _asks_for_all: bool = False
    _watched: float = 0.0  # seconds, of which those that this process stood still are none
    _last_look: float | None = None  # its moment, by time.monotonic()
    _done_before: float = 0.0  # by the first look

    @classmethod
    def of(cls, store: Store, announced: dict[str, Any]) -> "SweepProgress":
        """Of a sweep by what it has announced.

        Raises:
            UserError: that is damaged.
        """
        try:
            return cls(store, **vars(TypeAdapter(Announcement).validate_python(announced)))
        except ValidationError as error:
            wrong = ".".join(map(str, error.errors()[0]["loc"]))
            remedy = "the next sweep closes it"
            raise UserError(f"what the sweep has announced is damaged ({wrong} cannot be read); {remedy}") from error

    def refresh(self) -> list[str]:
        """Look again; returns a line for each run that has ended since the last look."""
        before, self.active = self.active, active_runs(self.store, self.runs)
        now, then = ({run.expected for run in active} for active in (self.active, before))
        self._left |= {run.trajectory for run in then - now}
        self.fresh = self._news() if not now or now != then or self._asks_for_all else []
        self.ended.update((record.signature, record) for record in self.fresh)
        self._watch(time.monotonic())
        return [self._line(record) for record in self.fresh]

    def _watch(self, now: float) -> None:
        if self._last_look is None:
            self._done_before = self._seconds_done()
        else:
            self._watched += min(now - self._last_look, LONGEST_GAP)
        self._last_look = now

    def _news(self) -> list[StoredRun]:
        """What has ended in this sweep and is not yet known: those that were done before are not among its runs.

        What ended after all that was seen to end, and what became of the trajectories that were worked on at the last
        look: the clock of a machine may be slow, and its runs end before those that are known.
        """
        later = self.store.ended_after(self.newest_end)
        paths = self._left - {record.trajectory for record in later}
        if self._asks_for_all:
            paths |= {run.trajectory for run in self.runs if run.signature not in self.ended}
        found = [*later, *self.store.of_trajectories(paths)]
        self._left, self.newest_end = set(), max((record.ended for record in later), default=self.newest_end)
        news = [record for record in self.of_these(found).values() if self.ended.get(record.signature) != record]
        return sorted(news, key=lambda record: record.ended)

    def of_these(self, records: Iterable[StoredRun]) -> dict[str, StoredRun]:
        """Those of the records that a run of this sweep has ended with, by signatures: the finished one of several."""
        signatures, failed_before = {run.signature for run in self.runs}, set(self.failed_before)
        return {
            record.signature: record
            for record in sorted(records, key=lambda record: record.status == Status.FINISHED)
            if record.signature in signatures
            and record.status in (Status.FINISHED, Status.FAILED)
            and (record.run_id, record.ended) not in failed_before
        }

    def ask_for_all(self) -> None:
        """Have looks from now on find all that has ended, whatever the clocks of machines said."""
        self._asks_for_all = True

    @property
    def expected(self) -> list[ExpectedRun]:
        """What is still expected of the plan: not the later rungs of a trajectory that has failed."""
        failed = {record.trajectory for record in self.ended.values() if record.status == Status.FAILED}
        return [run for run in self.runs if run.signature in self.ended or run.trajectory not in failed]

    @property
    def complete(self) -> bool:
        """Whether every run that is expected has ended."""
        return len(self.ended) == len(self.expected)

    def seconds_left(self) -> float:
        """By the plan's estimates, corrected by how fast the plan has been worked off since the first look."""
        done = self._seconds_done()
        fresh = done - self._done_before
        pace = fresh / self._watched if fresh > 0 and self._watched > 0 else self.workers
        return (sum(run.seconds or 0.0 for run in self.expected) - done) / pace

    def _seconds_done(self) -> float:
        """Of the plan's estimates, those of what is done."""
        done = sum(run.seconds or 0.0 for run in self.expected if run.signature in self.ended)
        return done + sum(run.share * (run.expected.seconds or 0.0) for run in self.active)

    def _line(self, record: StoredRun) -> str:
        """`3/6  filters=64 · seed 0 · 10 epochs: validation 91.23 %, left about 0:01:00`."""
        left = "" if self.complete else f", left about {words.clock(max(1.0, self.seconds_left()))}"
        number = list(self.ended).index(record.signature) + 1
        return f"{number}/{len(self.expected)}  {record.name}: {_outcome(record)}{left}"

    def view(self) -> View:
        """With the lowest rung that is not complete, and the time of the end."""
        expected, rungs = self.expected, sorted({run.epochs for run in self.runs})
        unfinished = {run.epochs for run in expected if run.signature not in self.ended}
        lowest = min(unfinished, default=0)
        number = f"rung {rungs.index(lowest) + 1} of {len(rungs)}" if unfinished else ""
        rung = f"{number} ({words.plural(lowest, 'epoch')}); " if unfinished else ""
        left = max(1.0, self.seconds_left())  # the end of a run takes its time too
        until = time.strftime("%H:%M", time.localtime(time.time() + left))
        last = [(f"{_outcome(run)}  {run.name}", run.status != Status.FINISHED) for run in self.ended.values()][::-1]
        text = f"{rung}left {words.clock(left)}, until {until}"
        finished = [run for run in self.ended.values() if run.status == Status.FINISHED]
        leader = max(finished, key=lambda run: run.val_accuracy, default=None)
        best = f"{words.percent(leader.val_accuracy)}  {leader.name}" if leader else ""
        return View(text, len(self.ended), len(expected), "run", self.active, last, best)


def _outcome(record: StoredRun) -> str:
    return f"validation {words.percent(record.val_accuracy)}" if record.status == Status.FINISHED else record.status
