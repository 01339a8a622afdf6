"""Verdicts by the rule are right however often one looks: whole studies with known truths, a look after every seed."""

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

from fmnist.analysis import stats
from fmnist.analysis.rule import Rule

STUDIES, VARIANTS, MOST = 400, 9, 20
ALLOWED = int(binom.ppf(0.99, STUDIES, 0.05))  # 31: of studies with a false verdict, if 5 % may have one
RULE = Rule(MOST, margin=0.005)
NOISE = 0.004


def normal(rng, shape):
    return rng.normal(0, NOISE, shape)


def unequal(rng, shape):
    return rng.normal(0, NOISE, shape) * np.linspace(0.3, 3, shape[1])[None, :, None]


def correlated(rng, shape):
    return rng.normal(0, 3 * NOISE, (shape[0], 1, shape[2])) + rng.normal(0, NOISE, shape)


def skewed(rng, shape):
    return NOISE * (rng.gamma(2.0, 1.0, shape) - 2.0)


def tied(rng, shape):
    return np.round(rng.normal(0, NOISE, shape) * 600) / 600


def missing(rng, shape):
    return np.where(rng.random(shape) < 0.15, np.nan, rng.normal(0, NOISE, shape))


KINDS = [normal, unequal, correlated, skewed, tied, missing]


def looks(kind, worth=0.0, seed=0, rule=RULE, most=MOST):
    """At each look, from 3 seeds on, of nine variants in 400 studies: corrected p, low, high (studies, variants)."""
    accuracies = 0.9 + kind(np.random.default_rng(seed), (STUDIES, 1 + VARIANTS, most))
    accuracies[:, 1:] += worth
    rows = accuracies[:, 1:].reshape(-1, most)
    reference = np.repeat(accuracies[:, :1], VARIANTS, axis=1).reshape(-1, most)
    for n in range(3, most + 1):
        p = stats.paired(rows[:, :n], reference[:, :n], rule=rule).p.reshape(STUDIES, VARIANTS)
        pairs = stats.paired(rows[:, :n], reference[:, :n], stats.confidence_levels(p).ravel(), rule)
        yield stats.holm(p), pairs.low.reshape(p.shape), pairs.high.reshape(p.shape)


def test_the_chance_that_any_look_is_as_significant_is_that_of_a_simulation():
    paths = np.random.default_rng(1).normal(size=(100_000, MOST))
    n = np.arange(2, MOST + 1)
    sums, squares = paths.cumsum(axis=1)[:, 1:], (paths**2).cumsum(axis=1)[:, 1:]
    t = np.abs(sums / n) / np.sqrt((squares - sums**2 / n) / (n - 1) / n)
    p = 2 * student.sf(t, n - 1)
    for rule in (Rule(MOST), Rule(MOST, first=2), Rule(4)):
        of_rule = n[(n >= rule.first) & (n <= rule.most)]
        smallest = np.min([rule.valid(p[:, count - 2], count) for count in of_rule], axis=0)
        for alpha in (0.3, 0.05, 0.05 / 9, 0.001):
            count = (smallest < alpha).sum()
            assert binom.ppf(0.001, len(p), alpha) <= count <= binom.ppf(0.999, len(p), alpha), (rule, alpha)


def test_p_and_level_of_a_look_say_the_same_and_one_look_changes_nothing():
    for rule in (RULE, Rule(5, first=5), Rule(2, first=2), Rule(30)):
        for n in range(rule.first, rule.most + 3):
            assert rule.valid(rule.level([0.2, 0.05, 0.001], n), n) == pytest.approx([0.2, 0.05, 0.001])
    assert Rule(5, first=5).level(0.05, 5) == pytest.approx(0.05, rel=1e-3)
    assert stats.ONE_LOOK.valid(0.03, 7) == 0.03 == stats.ONE_LOOK.level(0.03, 7)
    assert np.isnan(RULE.valid(np.nan, 5)) and RULE.valid(0.0, 5) == 0 and RULE.valid(0.0, 2) == 1


def test_before_the_first_look_nothing_is_significant_and_nothing_has_an_interval():
    few = stats.paired(np.array([[0.91, 0.92, 0.93]]), np.array([0.81, 0.80, 0.84]), rule=Rule(5, first=5))
    assert few.p == 1 and np.isnan([few.low, few.high]).all() and few.mean == pytest.approx(0.1033333)


@pytest.mark.parametrize("kind", KINDS)
def test_of_nine_variants_without_a_difference_none_is_found_at_any_look_in_95_of_100_studies(kind):
    false = np.zeros(STUDIES, bool)
    for corrected, low, high in looks(kind):
        assert ((corrected < 0.05) == ((low > 0) | (high < 0)))[~np.isnan(low)].all()
        false |= (corrected < 0.05).any(axis=1)
    assert false.sum() <= ALLOWED


@pytest.mark.parametrize("kind", KINDS)
def test_the_intervals_of_all_variants_hold_the_truth_at_all_looks_in_95_of_100_studies(kind):
    missed = np.zeros(STUDIES, bool)
    for _, low, high in looks(kind, worth=0.002, seed=1):
        missed |= ((low > 0.002) | (high < 0.002)).any(axis=1)
    assert missed.sum() <= ALLOWED


@pytest.mark.parametrize("kind", KINDS)
def test_differences_as_large_as_the_margin_are_called_small_in_5_of_100_studies_at_most(kind):
    false = np.zeros(STUDIES, bool)
    for _, low, high in looks(kind, worth=RULE.margin, seed=2):
        false |= RULE.is_small(low, high).any(axis=1)
    assert false.sum() <= ALLOWED


def test_where_nothing_differs_enough_seeds_show_that_nothing_matters():
    *_, (_, low, high) = looks(lambda rng, shape: rng.normal(0, NOISE / 2, shape))
    assert RULE.is_small(low, high).mean() > 0.9


def test_looking_after_every_seed_with_tests_for_one_look_finds_what_is_not_there():
    false = np.zeros(STUDIES, bool)
    for corrected, _, _ in looks(normal, rule=stats.ONE_LOOK):
        false |= (corrected < 0.05).any(axis=1)
    assert false.mean() > 0.15


def test_other_tests_are_bounded_over_all_looks():
    assert RULE.bound([0.001, 0.9, np.nan], 20) == pytest.approx([0.001 * 10.35, 1, np.nan], nan_ok=True)
    assert RULE.bound(0.001, 10) == pytest.approx(2 * 0.001 * 10.35) and Rule(5, first=5).bound(0.01, 4) == 1
