"""The end of a search: its best trial, and whether that is better on seeds by which it was not chosen."""

import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from fmnist.analysis import stats
from fmnist.config import RunError, StudyConfig
from fmnist.identity import sign
from fmnist.schema import Comparison, Status
from fmnist.search import summary, trials
from fmnist.search.search import Search
from fmnist.study.plan import STARTUP_SECONDS, PlannedRun, Variant, operations, work_out
from fmnist.work.sweep import Sweep

if TYPE_CHECKING:
    from fmnist.tracking import SearchRecord, Store

UNPROVEN = "nothing says yet that it is better"


@dataclass(frozen=True)
class Pairs:
    """The best configuration and the baseline, on the same fresh seeds."""

    seeds: list[int]
    tuned: list[float]  # objective by seed
    baseline: list[float]
    run_ids: list[str]  # the tuned ones


def conclude(search: Search, record: "SearchRecord") -> None:
    """Print what the search has come to, compare its best trial with the baseline, and close its record.

    Raises:
        RunError: no trial has a score, or a run of the comparison failed.
    """
    from fmnist.tracking import StoreError

    try:
        _conclude(search, record)
    except BaseException as error:
        with suppress(StoreError):
            record.end(Status.KILLED if isinstance(error, KeyboardInterrupt) else Status.FAILED)
        raise
    record.end(Status.FINISHED)


def _conclude(search: Search, record: "SearchRecord") -> None:
    from fmnist.tracking import Store

    records = trials.load_trials(search.folder)
    over, leader = len(trials.ended(records)), trials.best(records, search.direction)
    if search.reached:
        search.console.print(f"stopped by {search.reached}", soft_wrap=True)
    if leader is None:
        raise RunError("no trial has a score; see the messages above")
    _print(search, records)
    importance = summary.importances(records, search.space)
    for line in summary.importance_lines(importance):
        search.console.print(line, soft_wrap=True)
    text = summary.page(records, search.space, search.direction, search.config.tuner.objective, importance)
    numbers = {f"importance/{key}": float(share) for key, share in importance.shares.items()}
    record.describe(text, numbers, over, search_trials=str(over), best_trial=leader.trial)
    verdict = _confirm(search, leader, Store(search.config.store, search.config.patience), record)
    search.console.print(verdict, soft_wrap=True)
    record.describe(f"{verdict}\n\n{text}", {}, over, verdict=verdict)


def _print(search: Search, records: list[trials.TrialRecord]) -> None:
    """The best trials, and what hyperband has saved."""
    over = trials.ended(records)
    failed = sum(trial.status == trials.FAILED for trial in over)
    needed, trained = sum(trial.epochs for trial in over), sum(trial.trained for trial in over)
    title = (
        f"\nSearch {search.name}: {len(over)} trials{f', {failed} failed' if failed else ''}, "
        f"{needed} epochs, {trained} of them trained for it; best {search.config.tuner.objective}"
    )
    for line in (title, *summary.top_lines(records, search.direction)):
        search.console.print(line, soft_wrap=True)
    if any("tuner/bracket" in trial.values for trial in over):
        search.console.print(summary.bracket_table(records))


def _confirm(search: Search, leader: trials.TrialRecord, store: "Store", record: "SearchRecord") -> str:
    """Train the best and the baseline on fresh seeds, and return the verdict in a sentence."""
    tuner = search.config.tuner
    if not tuner.confirm_seeds:
        return f"not compared with the baseline on fresh seeds (tuner.confirm_seeds=0): {UNPROVEN}"
    first = search.config.seed + tuner.executions_per_trial
    seeds = list(range(first, first + tuner.confirm_seeds))
    planned = _planned(search, leader, seeds)
    left = [run for run in planned if not run.done]
    if left and (lacking := _lacking(search, left)):
        return f"not compared with the baseline on fresh seeds: {lacking}: {UNPROVEN}"
    search.console.print(
        f"\ncomparing trial {leader.number} with the baseline on seeds {', '.join(map(str, seeds))}, "
        f"which no trial has seen: {len(left)} of {len(planned)} runs to do",
        soft_wrap=True,
    )
    _carry_out(search, planned)
    pairs = _pairs(search, planned, seeds, store)
    for run_id in pairs.run_ids:
        store.mark(run_id, search.name, trial=leader.trial, parent=record.run_id, confirms=True)
    return _verdict(search, pairs, leader)


def _planned(search: Search, leader: trials.TrialRecord, seeds: list[int]) -> list[PlannedRun]:
    """The runs of the comparison: of two variants, or of one where the best is the baseline itself."""
    from fmnist.tracking import load

    limits = search.limits()
    points = {sign(config, search.data_digest).variant: config for config in (search.base, limits.point(leader))}
    return work_out(
        [Variant(config, ()) for config in points.values()],
        StudyConfig(name=search.name, rungs=[limits.point(leader).epochs], seeds=seeds),
        runs=load(search.config.store),
        data_digest=search.data_digest,
        images=search.images,
        checkpointed=lambda trajectory, epoch: 0,
        flops_per_second=lambda config: limits.pace,
        seconds_per_run=limits.overhead,
    )


def _lacking(search: Search, left: list[PlannedRun]) -> str:
    """Why the comparison does not fit into the minutes; empty if it does."""
    end = search.deadline()
    if end is None:
        return ""
    limits, records = search.limits(), [asdict(trial) for trial in trials.load_trials(search.folder)]
    seconds = sum(limits.seconds(operations(run.config, search.images, 0), records) for run in left)
    needed = STARTUP_SECONDS + seconds / min(search.config.tuner.workers, len(left))
    if time.time() + needed <= end:
        return ""
    return f"that takes about {needed:.0f} s, more than is left of tuner.minutes={search.config.tuner.minutes:g}"


def _carry_out(search: Search, planned: list[PlannedRun]) -> None:
    """Which is a sweep like any other."""
    workers = max(1, min(search.config.tuner.workers, sum(not run.done for run in planned)))
    Sweep(planned, int(time.time() * 1000), workers, search.launcher, search.console).carry_out()


def _pairs(search: Search, planned: list[PlannedRun], seeds: list[int], store: "Store") -> Pairs:
    baseline, objective = sign(search.base, search.data_digest).variant, search.config.tuner.objective
    scores: dict[str, dict[int, float]] = {"tuned": {}, "baseline": {}}
    tuned_ids = []
    for planned_run in planned:
        run = store.find(planned_run.signatures.run)
        if run is None or run.info.status != Status.FINISHED:
            raise RunError(f"{planned_run.name} failed; see its record")
        is_baseline = planned_run.signatures.variant == baseline
        scores["baseline" if is_baseline else "tuned"][planned_run.config.seed] = run.data.metrics[objective]
        if not is_baseline:
            tuned_ids.append(run.info.run_id)
    tuned = scores["tuned"] or scores["baseline"]  # the best trial may be the baseline itself
    return Pairs(seeds, [tuned[seed] for seed in seeds], [scores["baseline"][seed] for seed in seeds], tuned_ids)


def _verdict(search: Search, pairs: Pairs, leader: trials.TrialRecord) -> str:
    tuned, baseline = np.array([pairs.tuned]), np.array(pairs.baseline)
    compared = stats.paired(tuned, baseline)
    mean, low, high = (float(part[0]) for part in (compared.mean, compared.low, compared.high))
    sign = 1 if search.direction == "max" else -1
    if len(pairs.seeds) == 1:
        word, interval = "one seed decides nothing", ""
    else:
        better, worse = (low > 0, high < 0) if sign > 0 else (high < 0, low > 0)
        word = "better than the baseline" if better else "worse than the baseline" if worse else Comparison.UNDECIDED
        interval = f" (95 %: {low:+.4f} .. {high:+.4f})"
    return (
        f"on {len(pairs.seeds)} fresh seeds: {np.mean(pairs.tuned):.4f} against the baseline's {baseline.mean():.4f}, "
        f"{mean:+.4f}{interval}: {word}; the search itself had seen {leader.score:.4f}"
    )
