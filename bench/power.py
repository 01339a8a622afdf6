"""How often a true difference is found by so many seeds: by our rule, and by others that one may look at often."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import t as student

from bench.table import Row
from fmnist.analysis.rule import Rule

STUDIES, MOST, COMPARISONS = 20_000, 20, 9
ALPHA = 0.05 / COMPARISONS  # as Holm begins
EFFECTS, LOOKS = (0.5, 1.0, 2.0, 4.0), (3, 5, 10, 20)
SEEDS = np.arange(3, MOST + 1)
Limits = NDArray[np.float64]  # of |t|, by number of seeds from 3 on


def rows() -> Iterator[Row]:
    """Power at 5 % over nine comparisons, by effect and number of seeds."""
    ours, anytime = limits(), anytime_limits()
    pocock, once = equal_limits(), student.isf(ALPHA / 2, SEEDS - 1)
    for effect in EFFECTS:
        t = statistics(effect)
        for seeds in LOOKS:
            by = seeds >= SEEDS
            found, theirs, equal = ((t >= each)[:, by].any(axis=1).mean() for each in (ours, anytime, pocock))
            single = (t >= once)[:, seeds == SEEDS].mean()
            others = f"{theirs:.2f}; equal levels {equal:.2f}; one look {single:.2f}"
            ratio = float(found / theirs) if theirs else float("inf")
            yield Row(f"{effect:g} spreads, by {seeds} seeds", f"{found:.2f}", "anytime-valid t test", others, ratio)


def statistics(effect: float) -> NDArray[np.float64]:
    """|t| of studies (studies, looks) whose differences have this mean and deviation 1."""
    x = np.random.default_rng(0).normal(effect, 1, (STUDIES, MOST))
    sums, squares = x.cumsum(axis=1)[:, 2:], (x**2).cumsum(axis=1)[:, 2:]
    return np.asarray(np.abs(sums / SEEDS) / np.sqrt((squares - sums**2 / SEEDS) / (SEEDS - 1) / SEEDS))


def limits() -> Limits:
    """Those of the rule."""
    return np.asarray(student.isf(Rule(MOST).level(ALPHA, SEEDS) / 2, SEEDS - 1))


def equal_limits() -> Limits:
    """The same level at every look (Pocock 1977), by the null's own studies."""
    t = statistics(0.0)
    smallest = (2 * student.sf(t, SEEDS - 1)).min(axis=1)
    return np.asarray(student.isf(np.quantile(smallest, ALPHA) / 2, SEEDS - 1))


def anytime_limits(spread: float = 2.0) -> Limits:
    """Of the Bayes factor with normal effects of this spread, which is 1 / ALPHA once in 1 / ALPHA studies at most."""

    def excess(log_t: float, n: int) -> float:
        squared, wide = np.exp(2 * log_t), 1 + n * spread**2
        evidence = n / 2 * (np.log1p(squared / (n - 1)) - np.log1p(squared / ((n - 1) * wide))) - np.log(wide) / 2
        return float(evidence + np.log(ALPHA))

    return np.array([np.exp(brentq(excess, -5, 30, (n,))) if excess(30, n) > 0 else np.inf for n in SEEDS])
