"""What several seeds can tell: intervals, paired tests, power, and what a grid's variance comes from.

Pure functions over arrays. `values` is always (rows, seeds): a row a variant, a column a seed, NaN where a row lacks
that seed, else finite. Two rules hold throughout: a single run has no interval, and neither have runs that are all
equal, since an interval of no width would claim a certainty that a few numbers on a grid of 1/6000 do not give.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from fmnist.analysis.rule import Rule

Array = NDArray[np.float64]

ONE_LOOK = Rule()  # the number of seeds was chosen before
RESAMPLES = 2000  # the ends of a 95 % interval then rest on 50 resamples each
MOST_PAIRS = 1000  # no one trains more
FEW_DISCORDANT = 25  # below, McNemar's chi-square is not trusted
_ROUNDING = 1e-12  # of the largest value: numbers closer than that differ by how they were added up


@dataclass(frozen=True)
class Means:
    """Arrays (rows,): number of runs, their mean, standard deviation and the interval of the mean."""

    n: NDArray[np.int64]
    mean: Array
    sd: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Paired(Means):
    """The same of the differences between pairs of runs with the same seed; p (rows,) is valid by the rule, but not
    corrected for other comparisons.
    """

    p: Array


def means(values: Array, confidence: ArrayLike = 0.95) -> Means:
    """Mean over the seeds, with Student's t interval (NaN with one run, or where all are equal)."""
    n, mean, sd = _moments(values, np.abs(values))
    half = half_width(n, sd, confidence)
    return Means(n, mean, sd, mean - half, mean + half)


def prediction_interval(values: Array, confidence: float = 0.95) -> tuple[Array, Array]:
    """Low and high, each (rows,), of where one more run would lie: mean ± t · sd · √(1 + 1/n), NaN as in `means`."""
    n, mean, sd = _moments(values, np.abs(values))
    half = half_width(n, sd, confidence) * np.sqrt(n + 1)
    return mean - half, mean + half


def paired(values: Array, reference: Array, confidence: ArrayLike = 0.95, rule: Rule = ONE_LOOK) -> Paired:
    """Differences to a reference on the seeds that both have: the same seed means the same split and order.

    The interval is Student's t, p the paired t test's, two-sided. Differences that are all equal have no t; if they are
    0, p is 1, since runs that agree are evidence of nothing, else p is the sign test's, 2 · 0.5^n: two equal
    differences can be chance.

    Args:
        values: (rows, seeds).
        reference: (seeds,) for all rows, or (rows, seeds); it is subtracted.
        confidence: of the intervals, 0..1; one, or (rows,).
        rule: at which numbers of seeds one looks, which p and intervals allow for.
    """
    difference, scale = _differences(values, reference)
    n, mean, sd = _moments(difference, scale)
    half = half_width(n, sd, 1 - rule.level(1 - np.asarray(confidence), n))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(mean) / (sd / np.sqrt(n)), n - 1)
    equal = np.where(mean == 0, 1.0, 0.5 ** (n - 1.0))
    p = np.where(n < 2, np.nan, np.where(sd == 0, equal, p))
    return Paired(n, mean, sd, mean - half, mean + half, rule.valid(p, n))


def _differences(values: Array, reference: Array) -> tuple[Array, Array]:
    """Of pairs, 0 where they differ by rounding alone; and how large the numbers are."""
    reference = np.broadcast_to(reference, values.shape)
    scale = np.maximum(np.abs(values), np.abs(reference))
    difference = values - reference
    return np.where(np.abs(difference) <= _ROUNDING * scale, 0 * difference, difference), scale


def _moments(values: Array, scale: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """Number, mean and standard deviation of each row; a deviation within the rounding of `scale` is 0."""
    present = ~np.isnan(values)
    n = present.sum(axis=1)
    mean = np.nansum(values, axis=1) / np.where(n > 0, n, np.nan)
    squares = np.nansum((values - mean[:, None]) ** 2, axis=1)
    sd = np.sqrt(squares / np.where(n > 1, n - 1, np.nan))
    largest = np.max(np.where(present, scale, 0), axis=1, initial=0)
    return n, mean, np.where(sd <= _ROUNDING * largest, 0, sd)


def half_width(n: NDArray[np.int64], sd: Array, confidence: ArrayLike) -> Array:
    """Half of Student's t interval of a mean (rows,); NaN with one value, or where all are equal."""
    quantile = stats.t.isf((1 - np.asarray(confidence)) / 2, np.where(n > 1, n - 1, np.nan))
    known = (sd > 0) & np.isfinite(quantile)  # not where so few seeds may decide nothing
    return np.where(known, np.where(known, quantile, 0) * sd / np.sqrt(np.maximum(n, 1)), np.nan)


def bootstrap(values: Array, reference: Array, confidence: float = 0.95) -> tuple[Array, Array]:
    """Percentile interval of the mean difference of pairs, over resampled seeds.

    It leans on no normal distribution but is too narrow with few seeds, less than half of Student's with three: it
    supports, the t test decides. A row's numbers do not depend on what other rows there are.

    Returns:
        low and high, each (rows,), NaN where `paired` has no interval.
    """
    difference, scale = _differences(values, reference)
    n, _, sd = _moments(difference, scale)
    low, high = np.full((2, len(values)), np.nan)
    for size in np.unique(n[sd > 0]):
        rows = (n == size) & (sd > 0)
        sample = difference[rows]
        sample = sample[~np.isnan(sample)].reshape(-1, size)
        interval = stats.bootstrap(
            (sample,),
            np.mean,
            axis=1,
            n_resamples=RESAMPLES,
            batch=100,  # resamples of all rows in memory at once
            confidence_level=confidence,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        low[rows], high[rows] = interval.low, interval.high
    return low, high


def holm(p: ArrayLike) -> Array:
    """p-values (..., n) corrected by Holm, each n of them a family; NaN stay NaN and do not count as comparisons made.

    The numbers of statsmodels' `multipletests`, which collects garbage at every call and so takes a tenth of a second.
    """
    values = np.asarray(p, dtype=np.float64)
    order, remaining = _steps(values)
    corrected = np.empty_like(values)
    steps = np.maximum.accumulate(np.take_along_axis(values, order, -1) * remaining, axis=-1)
    np.put_along_axis(corrected, order, np.minimum(steps, 1), -1)
    return corrected


def _steps(values: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of Holm's steps of each family, NaN last: places of the p-values, and comparisons that remain, at least one."""
    made = (~np.isnan(values)).sum(axis=-1, keepdims=True)
    return np.argsort(values, axis=-1, kind="stable"), np.maximum(made - np.arange(values.shape[-1]), 1)


def probability_better(values: Array, reference: Array) -> Array:
    """Probability that a run of the row beats one of the reference, over all pairs of runs, ties counting half.

    The probability of improvement of Agarwal et al. 2021 (rliable); Mann and Whitney's U over the number of pairs.

    Args:
        values: (rows, seeds), higher is better.
        reference: (seeds,) for all rows, or (rows, seeds).

    Returns:
        (rows,), NaN where either has fewer than two runs.
    """
    ours = values[:, :, None]
    theirs = np.broadcast_to(reference, (len(values), np.shape(reference)[-1]))[:, None, :]
    won: Array = ((ours > theirs) + 0.5 * (ours == theirs)).sum(axis=(1, 2))
    n, m = ((~np.isnan(runs)).sum(axis=(1, 2)) for runs in (ours, theirs))
    return won / np.where((n > 1) & (m > 1), n * m, np.nan)


def confidence_levels(p: ArrayLike, alpha: float = 0.05) -> Array:
    """Of the intervals (..., n) that belong to families of uncorrected p-values (..., n), judged by `holm` at alpha.

    Each is Bonferroni's, 1 - alpha over the number of comparisons, or that of Holm's step where Holm finds a difference
    that Bonferroni does not: so an interval excludes 0 exactly where the corrected p-value is below alpha, and those of
    a family hold together. What is not compared has 1 - alpha.
    """
    values = np.asarray(p, dtype=np.float64)
    order, remaining = _steps(values)
    ordered, steps = np.take_along_axis(values, order, -1), alpha / remaining
    rejected = np.logical_and.accumulate(ordered < steps, axis=-1)
    all_together = steps[..., :1]
    share = np.where(rejected & (ordered >= all_together), steps, all_together)
    levels = np.empty_like(values)
    np.put_along_axis(levels, order, 1 - np.where(np.isnan(ordered), alpha, share), -1)
    return levels


def widening(n: int, level: float) -> float:
    """By how much an interval over n values at that level is wider than Student's of 95 %; 1 where there is none."""
    return float(stats.t.isf(level / 2, n - 1) / stats.t.isf(0.025, n - 1)) if n > 1 else 1.0


def power(effect: ArrayLike, n: ArrayLike, alpha: ArrayLike = 0.05) -> Array:
    """Probability that a two-sided paired t test over n seeds finds a true difference.

    Both tails as survival functions of the noncentral t: scipy's distribution function is NaN far from 0.

    Args:
        effect: the difference, in standard deviations of a pair's.
        n: number of pairs, at least 2; both broadcast.
        alpha: level of the test.
    """
    pairs = np.asarray(n, dtype=np.float64)
    shift, limit = np.asarray(effect) * np.sqrt(pairs), stats.t.isf(np.asarray(alpha) / 2, pairs - 1)
    return np.asarray(stats.nct.sf(limit, pairs - 1, shift) + stats.nct.sf(limit, pairs - 1, -shift))


def detectable(sd: float, n: int, alpha: float = 0.05, wanted: float = 0.8) -> float:
    """The smallest true difference that a paired t test over n seeds would find with the wanted power.

    Args:
        sd: standard deviation of the paired differences, whose unit the result has.
        n: number of pairs; with fewer than two the result is NaN.
        alpha: level of the two-sided test.
        wanted: probability of finding it.
    """
    return sd * _detectable_effect(n, alpha, wanted) if n > 1 else float("nan")


@cache
def _detectable_effect(n: int, alpha: float, wanted: float) -> float:
    above = 2.0 * stats.t.isf(alpha / 2, n - 1)  # by twice the limit nearly all lie beyond it, for any n
    return float(optimize.brentq(lambda effect: power(effect, n, alpha) - wanted, 0.0, above))


def pairs_needed(
    difference: float, sd: float, alpha: float = 0.05, wanted: float = 0.8, rule: Rule = ONE_LOOK
) -> int | None:
    """How many seeds a paired t test needs to find a true difference with the wanted power, at least 2.

    None if that is above the rule's last look (`MOST_PAIRS` without one), or nothing can be said; `sd`, `alpha` and
    `wanted` as in `detectable`, at each look by the rule.
    """
    if not (np.isfinite(difference) and sd > 0):
        return None
    numbers = np.arange(2, (rule.most or MOST_PAIRS) + 1)
    with np.errstate(invalid="ignore"):  # before the first look
        enough = power(abs(difference) / sd, numbers, rule.level(alpha, numbers)) >= wanted
    return int(numbers[np.argmax(enough)]) if enough.any() else None


def most_deviation(sd: ArrayLike, n: ArrayLike, confidence: float = 0.8) -> Array:
    """Upper confidence bound of a standard deviation that n values had: of three it is 2.1 times as large."""
    degrees = np.asarray(n) - 1.0
    return np.asarray(sd * np.sqrt(degrees / stats.chi2.ppf(1 - confidence, degrees)))


def wilson(share: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Array, Array]:
    """Wilson's interval (low, high) of a share 0..1 of n images: what the finite test set leaves open."""
    from statsmodels.stats.proportion import proportion_confint

    shares, counts = np.broadcast_arrays(np.asarray(share, dtype=np.float64), n)
    low, high = proportion_confint(shares * counts, counts, alpha=1 - confidence, method="wilson")
    return np.minimum(low, shares), np.maximum(high, shares)  # which rounding may put outside at 0 and 1


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """p of McNemar's test that two runs are right equally often on the same images.

    Only images count that one run got right and the other did not: exact (binomial) where they are fewer than
    `FEW_DISCORDANT`, else chi-square with continuity correction. Both arguments are (n,): whether a run was right.
    """
    from statsmodels.stats.contingency_tables import mcnemar as test

    only_a, only_b = int((correct_a & ~correct_b).sum()), int((~correct_a & correct_b).sum())
    return float(test([[0, only_a], [only_b, 0]], exact=only_a + only_b < FEW_DISCORDANT).pvalue)
