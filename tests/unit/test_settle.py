"""What is trained next, and that choosing it by what the seeds have shown makes no verdict wrong."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from fmnist.analysis import stats
from fmnist.analysis.rule import Rule
from fmnist.study.settle import Contrast, next_block, spread_of, steps

RULE = Rule(20, margin=0.005)
STUDIES = 400
ALLOWED = int(binom.ppf(0.99, STUDIES, 0.05))


def contrast(name, seeds=3, mean=0.0, sd=0.004, is_open=True, **options):
    points = ((name, 10), ("baseline", 10))
    return Contrast(name, points, "open", is_open, 0.05 / 9, RULE.margin, frozenset(range(seeds)), mean, sd, **options)


def seconds(point, seed):
    return 10.0


def names(planned):
    return [step.contrast.name for step in planned]


def test_what_needs_the_least_time_comes_first_and_what_nothing_is_expected_to_settle_last():
    near, far, never = (
        contrast("near", mean=0.02),
        contrast("far", mean=0.012, sd=0.008),
        contrast("never", mean=0.004, sd=0.02),
    )
    planned = steps([never, far, near, contrast("over", is_open=False)], RULE, seconds, 6000)
    assert names(planned) == ["near", "far", "never"] and planned[2].seeds is None
    assert planned[0].seeds < planned[1].seeds <= 20 and planned[0].runs[0] == (
        (("near", 10), 3),
        (("baseline", 10), 3),
    )
    dear = steps([far, near], RULE, lambda point, seed: 1000.0 if point[0] == "near" else 1.0, 6000)
    assert names(dear) == ["far", "near"]


def test_three_seeds_of_all_come_before_anything_is_chosen():
    few, fewer = contrast("few", seeds=2, mean=0.05), contrast("fewer", seeds=1, sd=float("nan"))
    block = next_block(steps([few, fewer, contrast("near", mean=0.02)], RULE, seconds, 6000), RULE, 1, seconds)
    assert block == [(("fewer", 10), 1), (("baseline", 10), 1)]


def test_there_is_work_for_every_worker_and_what_is_done_or_has_failed_is_not_asked_for():
    planned = steps([contrast("near", mean=0.02), contrast("far", mean=0.012, sd=0.008)], RULE, seconds, 6000)
    assert len(next_block(planned, RULE, 3, seconds)) == 3
    done = steps([contrast("near", mean=0.02)], RULE, lambda point, seed: 0.0 if point[0] == "baseline" else 10.0, 6000)
    assert next_block(done, RULE, 1, seconds) == [(("near", 10), 3)]
    assert next_block(done, RULE, 3, seconds) == [(("near", 10), seed) for seed in (3, 4, 5)]
    after = steps([contrast("near", mean=0.02)], RULE, seconds, 6000, failed={(("near", 10), 3)})
    assert after[0].runs[0][0] == (("near", 10), 4)
    hopeless = {(("near", 10), seed) for seed in range(3, 20)}
    assert steps([contrast("near", mean=0.02)], RULE, seconds, 6000, hopeless) == [] == next_block([], RULE, 2, seconds)


def test_a_spread_that_is_not_measured_is_the_median_of_the_others_or_assumed():
    unknown = contrast("unknown", seeds=0, mean=float("nan"), sd=float("nan"))
    assert spread_of([unknown], 6000) == pytest.approx(0.0055, abs=1e-4) and spread_of([unknown], 600) > 0.017
    assert spread_of([unknown, contrast("x", sd=0.003)], 600) == 0.003
    assert unknown.seeds_expected(RULE, 0.001) < unknown.seeds_expected(RULE, 0.003) <= 20
    assert unknown.seeds_expected(RULE, 0.02) is None


def settled(values, uniform=False):
    """Of each study the seeds that it spends and, by variant, its verdicts: +1, -1, 0 (no difference) or None (open).

    Args:
        values: (studies, variants, seeds), minus the baseline's.
        uniform: every variant gets each seed.
    """
    count, variants, most = values.shape
    counts, spent = np.zeros((count, variants), int), np.zeros(count, int)
    verdicts, going = [[None] * variants for _ in range(count)], list(range(count))
    while going:  # all studies side by side, which takes a fraction of the time
        rows = np.where(np.arange(most) < counts[going, :, None], values[going], np.nan).reshape(-1, most)
        p = stats.paired(rows, np.zeros(most), rule=RULE).p.reshape(-1, variants)
        pairs = stats.paired(rows, np.zeros(most), stats.confidence_levels(p).ravel(), RULE)
        mean, sd, small = (
            array.reshape(p.shape) for array in (pairs.mean, pairs.sd, RULE.is_small(pairs.low, pairs.high))
        )
        for place, study in enumerate(list(going)):
            seen = (array[place] for array in (p, mean, sd, small))
            chosen = look(verdicts[study], counts[study], *seen)
            if not chosen:
                going.remove(study)
            for index in range(variants) if uniform and chosen else chosen:
                counts[study, index] += counts[study, index] < most
                spent[study] += 1
    return list(zip(spent.tolist(), verdicts, strict=True))


def look(verdicts, counts, *seen):
    """Note what a study has settled by what it has seen, and return the variants that get a seed next."""
    p, mean, sd, small = seen
    sure = stats.holm(p) < 0.05
    for index in np.flatnonzero(sure | small):
        if verdicts[index] is None:
            verdicts[index] = 0 if small[index] else np.sign(mean[index])
    states = [
        contrast(str(i), int(n), float(m), float(s), is_open=verdicts[i] is None)
        for i, (n, m, s) in enumerate(zip(counts, mean, sd, strict=True))
    ]
    block = next_block(steps(states, RULE, seconds, 6000), RULE, 2, seconds)
    return {int(point[0]) for point, _ in block if point[0] != "baseline"}


def studies(worths, seed, count, spread=0.003):
    rng = np.random.default_rng(seed)
    baseline = rng.normal(0, spread, (count, 1, RULE.most))
    return np.array(worths)[None, :, None] + rng.normal(0, spread, (count, len(worths), RULE.most)) - baseline


def test_choosing_what_to_train_next_finds_in_95_of_100_studies_nothing_that_is_not_there():
    false = sum(any(verdict in (1, -1) for verdict in found) for _, found in settled(studies([0.0] * 3, 0, STUDIES)))
    assert false <= ALLOWED
    at_the_margin = settled(studies([RULE.margin] * 3, 1, STUDIES))
    small = sum(any(verdict == 0 for verdict in found) for _, found in at_the_margin)
    assert small <= ALLOWED


def test_it_settles_the_same_with_fewer_seeds_than_giving_each_to_all():
    worths = [0.0, 0.03, -0.03, 0.02, 0.004]
    ours, uniform = (settled(studies(worths, 2, 20), way) for way in (False, True))
    assert np.mean([spent for spent, _ in ours]) < 0.8 * np.mean([spent for spent, _ in uniform])
    assert np.mean([verdicts.count(None) for _, verdicts in ours]) <= 0.1 + np.mean(
        [verdicts.count(None) for _, verdicts in uniform]
    )


def test_a_contrast_says_at_how_many_seeds_its_verdict_is_expected():
    sure = contrast("sure", mean=0.02, sd=0.004)
    n = sure.seeds_expected(RULE, 0.01)
    half = stats.paired(np.full((1, n), 0.02) + 0.004 * np.resize([1, -1], n), np.zeros(n), 1 - 0.05 / 9, RULE)
    assert half.low[0] > 0 and replace(sure, seeds=frozenset(range(n))).seeds_expected(RULE, 0.01) == n + 1
    assert replace(sure, sd=float("nan"), mean=float("nan"), margin=0.0).seeds_expected(RULE, 0.01) is None


@pytest.mark.parametrize("workers", [1, 4])
def test_nothing_is_trained_twice(workers):
    planned = steps([contrast("a", mean=0.02), contrast("b", mean=0.02)], RULE, seconds, 6000)
    block = next_block(planned, RULE, workers, seconds)
    assert len(block) == len(set(block)) == {1: 3, 4: 5}[workers]


def test_no_worker_waits_for_a_longer_run_while_something_is_open():
    def cost(point, seed):
        return {"baseline": 100.0, "small": 10.0}.get(point[0], 50.0)

    planned = steps([contrast("small", mean=0.02), contrast("other", mean=0.012, sd=0.008)], RULE, cost, 6000)
    alone = next_block(planned, RULE, 1, cost)
    assert alone == [(("small", 10), 3), (("baseline", 10), 3)]
    assert next_block(planned, RULE, 2, cost) == [*alone, (("other", 10), 3)]  # 10 + 50 s beside 100
    more = next_block(planned, RULE, 3, cost)
    assert more[:3] == [*alone, (("other", 10), 3)] and more[3:] == [(("small", 10), 4), (("baseline", 10), 4)]
