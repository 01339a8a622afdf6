"""The end of a search: what it found, and whether that holds on seeds that it has not chosen by."""

import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from fmnist.analysis import stats
from fmnist.config import RunError, StudyConfig
from fmnist.identity import sign
from fmnist.search import summary, trials
from fmnist.search.search import Search
from fmnist.study.plan import STARTUP_SECONDS, PlannedRun, Variant, work, work_out
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
    """Say what the search found, confirm it, and close its record.

    Raises:
        RunError: no trial has a score, or a run of the comparison failed.
    """
    from fmnist.tracking import FAILED, FINISHED, KILLED, Store, StoreError

    try:
        records = trials.load_trials(search.folder)
        leader = trials.best(records, search.direction)
        if search.reached:
            search.console.print(f"stopped by {search.reached}", soft_wrap=True)
        if leader is None:
            raise RunError("no trial has a score; see the messages above")
        _tell(search, records)
        told = summary.weights(records, search.space)
        for line in summary.importance_lines(told):
            search.console.print(line, soft_wrap=True)
        text = summary.page(records, search.space, search.direction, search.config.tuner.objective, told)
        numbers = {f"importance/{key}": float(share) for key, share in told.shares.items()}
        over = len(trials.ended(records))
        record.describe(text, numbers, over, search_trials=str(over), best_trial=leader.trial)
        verdict = _confirm(search, leader, Store(search.config.store, search.config.patience), record)
        search.console.print(verdict, soft_wrap=True)
        record.describe(f"{verdict}\n\n{text}", {}, over, verdict=verdict)
    except BaseException as error:
        with suppress(StoreError):
            record.end(KILLED if isinstance(error, KeyboardInterrupt) else FAILED)
        raise
    record.end(FINISHED)


def _tell(search: Search, records: list[trials.TrialRecord]) -> None:
    over = trials.ended(records)
    failed = sum(a.status == trials.FAILED for a in over)
    needed, trained = sum(a.epochs for a in over), sum(a.trained for a in over)
    title = (
        f"\nSearch {search.name}: {len(over)} trials{f', {failed} failed' if failed else ''}, "
        f"{needed} epochs, {trained} of them trained for it; best {search.config.tuner.objective}"
    )
    for line in (title, *summary.top_lines(records, search.direction)):
        search.console.print(line, soft_wrap=True)
    if any("tuner/bracket" in a.values for a in over):
        search.console.print(summary.bracket_table(records))


def _confirm(search: Search, leader: trials.TrialRecord, book: "Store", record: "SearchRecord") -> str:
    """Train the best and the baseline on fresh seeds, and return the verdict in a sentence."""
    tuner = search.config.tuner
    if not tuner.confirm_seeds:
        return f"not compared with the baseline on fresh seeds (tuner.confirm_seeds=0): {UNPROVEN}"
    first = search.config.seed + tuner.executions_per_trial
    seeds = list(range(first, first + tuner.confirm_seeds))
    planned = _planned(search, leader, seeds)
    left = [entry for entry in planned if not entry.done]
    if left and (lacking := _lacking(search, left)):
        return f"not compared with the baseline on fresh seeds: {lacking}: {UNPROVEN}"
    search.console.print(
        f"\ncomparing trial {int(leader.trial)} with the baseline on seeds {', '.join(map(str, seeds))}, "
        f"which no trial has seen: {len(left)} of {len(planned)} runs to do",
        soft_wrap=True,
    )
    _carry_out(search, planned)
    pairs = _pairs(search, planned, seeds, book)
    for run_id in pairs.run_ids:
        book.mark(run_id, search.name, trial=leader.trial, parent=record.run_id, confirms=True)
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
    limits, records = search.limits(), [asdict(a) for a in trials.load_trials(search.folder)]
    seconds = sum(limits.seconds(work(entry.config, search.images, 0), records) for entry in left)
    needed = STARTUP_SECONDS + seconds / min(search.config.tuner.workers, len(left))
    if time.time() + needed <= end:
        return ""
    return f"that takes about {needed:.0f} s, more than is left of tuner.minutes={search.config.tuner.minutes:g}"


def _carry_out(search: Search, planned: list[PlannedRun]) -> None:
    """Which is a sweep like any other."""
    config, study = search.config, planned[0].config.study
    workers = max(1, min(config.tuner.workers, sum(not run.done for run in planned)))
    began = int(time.time() * 1000)
    Sweep(planned, study, config.store, config.patience, began, workers, search.launcher, search.console).carry_out()


def _pairs(search: Search, planned: list[PlannedRun], seeds: list[int], book: "Store") -> Pairs:
    baseline = sign(search.base, search.data_digest).variant
    scores: dict[bool, dict[int, tuple[float, str]]] = {True: {}, False: {}}
    for entry in planned:
        run = book.find(entry.signatures.run)
        if run is None or run.info.status != "FINISHED":
            raise RunError(f"{entry.name} failed; see its record")
        summary = (run.data.metrics[search.config.tuner.objective], run.info.run_id)
        scores[entry.signatures.variant == baseline][entry.config.seed] = summary
    theirs, ours = scores[True], scores[False] or scores[True]
    return Pairs(
        seeds,
        [ours[seed][0] for seed in seeds],
        [theirs[seed][0] for seed in seeds],
        [scores[False][seed][1] for seed in seeds if scores[False]],
    )


def _verdict(search: Search, pairs: Pairs, leader: trials.TrialRecord) -> str:
    tuned, baseline = np.array([pairs.tuned]), np.array(pairs.baseline)
    compared = stats.paired(tuned, baseline)
    mean, low, high = (float(part[0]) for part in (compared.mean, compared.low, compared.high))
    sign = 1 if search.direction == "max" else -1
    if len(pairs.seeds) == 1:
        word, interval = "one seed decides nothing", ""
    else:
        better, worse = (low > 0, high < 0) if sign > 0 else (high < 0, low > 0)
        word = "better than the baseline" if better else "worse than the baseline" if worse else "not distinguishable"
        interval = f" (95 %: {low:+.4f} .. {high:+.4f})"
    return (
        f"on {len(pairs.seeds)} fresh seeds: {np.mean(pairs.tuned):.4f} against the baseline's {baseline.mean():.4f}, "
        f"{mean:+.4f}{interval}: {word}; the search itself had seen {leader.score:.4f}"
    )
