"""A search from its first trial to its last: whatever is stopped, its folder says what is left."""

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from fmnist import machine, words
from fmnist.config import RunError
from fmnist.schema import Status
from fmnist.search import confirm, summary, trials
from fmnist.search.definition import FILE, check_agreement, definition, digest
from fmnist.search.limits import Limits
from fmnist.search.progress import SearchProgress
from fmnist.search.space import SearchConfig, base_of, check_search, dimensions
from fmnist.signals import GRACE_SECONDS
from fmnist.study import pace
from fmnist.study.plan import STARTUP_SECONDS, estimate, operations
from fmnist.tracking import SearchRecord, Store, StoreError, load
from fmnist.training import data
from fmnist.work.display import showing
from fmnist.work.launcher import LaunchingSweeper
from fmnist.work.sweep import CLOSING_SECONDS, Sweep, close_orphans

RESERVED = 0.5  # of tuner.minutes, which the last comparison gets at most
NOT_COMPARED = "not compared with the baseline on fresh seeds{}: nothing says yet that it is better"


@dataclass
class Search:
    """A search that this process carries out with its workers; others may work on it too."""

    config: SearchConfig
    launcher: LaunchingSweeper
    began: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        """Check all there is to check; nothing starts.

        Raises:
            UserError: the search is impossible, or its name belongs to another.
        """
        check_search(self.config)
        self.space, self.tuner = dimensions(self.config.tuner.space), self.config.tuner
        self.base = machine.resolve(base_of(self.config))
        self.config = replace(self.config, compute=self.base.compute)
        self.data = data.load(self.base.data)
        data.check_rows(self.base, self.data)
        machine.use_backend(self.base)
        self.definition = definition(self.config, self.space, self.data.digest)
        self.name = self.tuner.name or f"{self.tuner.kind}-{digest(self.definition)}"
        self.folder = (Path(self.config.store) / "tuner" / self.name).resolve()
        check_agreement(self.folder, self.definition)

    def carry_out(self) -> None:
        """Run trials until there is none left or a limit is reached, then compare the best with the baseline.

        Raises:
            UserError: the store cannot be opened.
            RunError: trials fail one after the other, workers die, no trial has a score, or a run of the comparison
                failed; what is done is kept.
        """
        self.store = Store(self.config.store, self.config.patience)
        self.folder.mkdir(parents=True, exist_ok=True)
        trials.write(self.folder / FILE, self.definition)
        self.limits = self._limits()
        self._wait_for_orphans()
        close_orphans(self.store, self.config.store)
        record = SearchRecord(self.store, self.name, self.definition)
        status = Status.KILLED  # until all trials have ended
        try:
            with self.store.beating(record.run_id):
                reached = self._run_trials(record)
                status = Status.FAILED
                self._conclude(record, reached)
        except BaseException as error:
            with suppress(StoreError):  # the reason tells more
                close_orphans(self.store, self.config.store, CLOSING_SECONDS)
                record.end(Status.KILLED if isinstance(error, KeyboardInterrupt) else status)
            raise
        record.end(Status.FINISHED)

    def _ended(self) -> list[trials.TrialRecord]:
        return trials.ended(trials.load_trials(self.folder))

    def _limits(self) -> Limits:
        """What may be begun, by the pace of the store's runs if there are any alike."""
        runs, images = load(self.config.store), len(self.data.train_labels)
        speed, overhead = pace.Pace(runs, [self.base]).of(self.base), pace.overhead(runs, self.base)
        limits = Limits(self.config, self.space, self.data.digest, images, speed, overhead)
        if self.tuner.minutes is not None:  # less those that trials took before this process began
            before = sum(trial.seconds for trial in self._ended())
            limits.end = self.began + 60 * self.tuner.minutes - before / self.tuner.workers
            each = overhead + operations(self.base, images, 0) / speed
            last = STARTUP_SECONDS + 2 * self.tuner.confirm_seeds * each / self.tuner.workers
            reserved = min(RESERVED * (limits.end - self.began), last if self.tuner.confirm_seeds else 0.0)
            limits.until = limits.end - reserved
        return limits

    def _run_trials(self, record: SearchRecord) -> str:
        """Run trials until there is none left, and return the limit that was reached, if it was one."""
        limits, tuner, (total, epochs), before = self.limits, self.tuner, self.limits.total(), len(self._ended())
        all_trials = words.plural(total, "trial") if total else "some trials"
        size = words.plural(tuner.minutes or 0, "minute")
        if epochs is not None:
            size = f"{all_trials}, {words.plural(epochs, 'epoch')}"
        where = f"{words.plural(len(self.space), 'dimension')}, {words.plural(tuner.workers, 'worker')}"
        line = f"Search {self.name}: {size} in {where}"
        self.launcher.say(line + (f"; {words.plural(before, 'trial')} had ended before" if before else ""))
        if limits.are_exhausted(before):
            return limits.reached
        progress = SearchProgress(self.store, limits, self.folder, self.began)

        def log() -> None:
            summary.log(record, progress.records, tuner.direction)

        def recover() -> None:
            close_orphans(self.store, self.config.store, CLOSING_SECONDS)
            self._wait_for_workers(CLOSING_SECONDS)

        worker = partial(_search, limits, self.folder, record.run_id)
        with trials.slot(self.folder, "parent"), showing(progress, self.launcher.console, log):
            reached = self.launcher.in_spite_of_deaths(
                lambda: self.launcher.launch([worker] * tuner.workers, record.run_id),
                recover,
                count=lambda: len(self._ended()),
                progress="ending a trial",
                remedy="tuner.workers=1",
            )
        log()
        return next(filter(None, reached), "")

    def _wait_for_orphans(self) -> None:
        """Let the workers of a killed process end before others take their places: there is one at a trial then."""
        if not trials.living(self.folder, "parent"):
            self._wait_for_workers(GRACE_SECONDS + 5.0)

    def _wait_for_workers(self, seconds: float) -> None:
        """Until no process works on the search any more, but no longer than that."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and trials.living(self.folder, "worker"):
            time.sleep(0.2)

    def _conclude(self, record: SearchRecord, reached: str) -> None:
        """Print what the search has come to, and compare its best trial with the baseline."""
        records, direction, objective = trials.load_trials(self.folder), self.tuner.direction, self.tuner.objective
        over, leader = len(trials.ended(records)), trials.best(records, direction)
        if reached:
            self.launcher.say(f"stopped by {reached}")
        if leader is None:
            raise RunError("no trial has a score; see the messages above")
        for line in summary.result_lines(records, self.name, objective, direction):
            self.launcher.say(line)
        if self.tuner.kind == "hyperband":
            self.launcher.console.print(summary.bracket_table(records))
        importance = summary.importances(records, self.space)
        for line in summary.importance_lines(importance):
            self.launcher.say(line)
        text = summary.page(records, self.space, direction, objective, importance, experiment=self.store.id)
        shown = record.picture("search", summary.picture(records, self.space, direction, self.name, importance))
        text = f"{shown}\n\n{text}"
        record.describe(text, search_trials=str(over), best_trial=leader.trial)
        verdict = self._confirm(leader, records, record)
        self.launcher.say(verdict)
        record.describe(f"{verdict}\n\n{text}", verdict=verdict)

    def _confirm(self, leader: trials.TrialRecord, records: list[trials.TrialRecord], record: SearchRecord) -> str:
        """Train the best and the baseline on fresh seeds, and return the verdict in a sentence."""
        tuner, end = self.tuner, self.limits.end
        if not tuner.confirm_seeds:
            return NOT_COMPARED.format(" (tuner.confirm_seeds=0)")
        planned = confirm.plan(self.limits, self.limits.configs(leader.values)[0], records, self.name)
        left = [run for run in planned if not run.done]
        needed = estimate(left, tuner.workers)
        if left and end is not None and time.time() + needed > end:
            lacking = f"that takes about {words.duration(needed)}, more than is left of tuner.minutes={tuner.minutes:g}"
            return NOT_COMPARED.format(f": {lacking}")
        self.launcher.say(
            f"\ncomparing trial {leader.number} with the baseline on seeds "
            f"{', '.join(map(str, confirm.fresh_seeds(self.limits)))}, "
            f"which no trial has seen: {len(left)} of {words.plural(len(planned), 'run')} to do"
        )
        workers = max(1, min(tuner.workers, len(left)))
        Sweep(planned, int(time.time() * 1000), workers, self.launcher).carry_out()
        best, baseline = confirm.scores(planned, self.limits, self.store, trial=leader.trial, parent=record.run_id)
        looks = record.judge(leader.trial, len(best))
        return confirm.verdict(best, baseline, tuner.objective, leader.score, looks)


def _search(limits: Limits, folder: Path, parent: str) -> str:
    """What a worker does."""
    from fmnist.search import tuner  # in a worker alone: it loads TensorFlow

    return tuner.search(limits, folder, parent)
