"""Whether the best trial of a search is better than the baseline on seeds by which it was not chosen."""

from typing import Any

import numpy as np

from fmnist import words
from fmnist.analysis import stats
from fmnist.config import Config, RunError, StudyConfig
from fmnist.identity import sign, variant_name
from fmnist.schema import RANKING, Comparison, Status
from fmnist.search.limits import Limits
from fmnist.search.trials import TrialRecord
from fmnist.study.plan import PlannedRun, Variant, work_out
from fmnist.tracking import Store, load


def fresh_seeds(limits: Limits) -> list[int]:
    """Seeds that no trial has seen."""
    first = limits.search.seed + limits.search.tuner.executions_per_trial
    return list(range(first, first + limits.search.tuner.confirm_seeds))


def plan(limits: Limits, best: Config, trials: list[TrialRecord], name: str) -> list[PlannedRun]:
    """The runs of the comparison: of two variants, or of one where the best is the baseline itself."""
    points = {sign(config, limits.data_digest).variant: config for config in (limits.base, best)}
    speed = limits.speed(trials)
    return work_out(
        [Variant(config, (), variant_name(config)) for config in points.values()],
        StudyConfig(name=name, rungs=[best.epochs], seeds=fresh_seeds(limits)),
        runs=load(limits.search.store),
        data_digest=limits.data_digest,
        images=limits.images,
        checkpointed=lambda trajectory, epoch: 0,
        flops_per_second=lambda config: speed,
        seconds_per_run=limits.overhead,
    )


def scores(planned: list[PlannedRun], limits: Limits, store: Store, **marks: Any) -> tuple[list[float], list[float]]:
    """What the best and the baseline came to, by seed; the best's runs are marked as the search's.

    Raises:
        RunError: a run has failed.
    """
    baseline = sign(limits.base, limits.data_digest).variant
    best_scores, baseline_scores = list[float](), list[float]()
    for run in sorted(planned, key=lambda run: run.config.seed):
        record = store.find(run.signatures.run)
        if record is None or record.status != Status.FINISHED:
            raise RunError(f"{run.name} failed; see its record")
        score = record.metrics[limits.search.tuner.objective]
        if run.signatures.variant == baseline:
            baseline_scores.append(score)
        else:
            best_scores.append(score)
            store.mark(record.run_id, run.config.study.name, confirms=True, **marks)
    return best_scores or baseline_scores, baseline_scores  # the best trial may be the baseline itself


def verdict(best: list[float], baseline: list[float], objective: str, seen: float | None, looks: int = 1) -> str:
    """What the scores on fresh seeds say, in a sentence; `seen` is the score by which the best was chosen.

    By one look: how many seeds there are (`tuner.confirm_seeds`) was chosen before. A search that has gone on since, or
    been given more seeds, has been looked at more often, and the sentence says how many times. Beside a study's
    variants its leaderboard judges the same runs by the study's rule.
    """
    compared = stats.paired(np.array([best]), np.array(baseline))
    mean, low, high = (float(part[0]) for part in (compared.mean, compared.low, compared.high))
    unit = RANKING[objective].unit
    if len(best) == 1:
        word, interval = "one seed decides nothing", ""
    else:
        is_better = (mean > 0) == RANKING[objective].higher_is_better
        sure = f"{'better' if is_better else 'worse'} than the baseline"
        word = sure if low > 0 or high < 0 else Comparison.OPEN
        interval = f" (95 %: {words.score(low, unit, signed=True)} to {words.score(high, unit, signed=True)})"
    if looks > 1:
        word += f" (comparison {looks} of this search: the 95 % hold for each by itself)"
    return (
        f"on {words.plural(len(best), 'fresh seed')}: {words.score(float(np.mean(best)), unit)} against the baseline's "
        f"{words.score(float(np.mean(baseline)), unit)}, {words.score(mean, unit, signed=True)}{interval}: {word}; "
        f"the search itself had seen {words.score(seen, unit)}"
    )
