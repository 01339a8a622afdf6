import numpy as np
import pytest
from scipy import stats as scipy_stats

from fmnist.analysis import stats
from fmnist.analysis.rule import Rule

NAN = float("nan")
T2 = 4.302652729749462  # Student's t, 97.5 %, 2 degrees of freedom


def noise(rows, seeds, seed=0):
    return np.random.default_rng(seed).normal(0.9, 0.01, (rows, seeds))


# ---- Means ----------------------------------------------------------------------------------------------


def test_a_mean_has_students_interval():
    found = stats.means(np.array([[0.90, 0.92, 0.94]]))
    assert found.n[0] == 3 and found.mean[0] == pytest.approx(0.92) and found.sd[0] == pytest.approx(0.02)
    assert found.high[0] - found.mean[0] == pytest.approx(T2 * 0.02 / 3**0.5)
    assert found.mean[0] - found.low[0] == pytest.approx(found.high[0] - found.mean[0])


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_intervals_of_means_are_scipys(confidence):
    values = noise(4, 5)
    found = stats.means(values, confidence)
    for row, low, high in zip(values, found.low, found.high, strict=True):
        expected = scipy_stats.t.interval(confidence, 4, row.mean(), scipy_stats.sem(row))
        assert (low, high) == pytest.approx(expected)


def test_a_missing_seed_counts_for_its_row_alone():
    values = noise(2, 4)
    values[0, 1] = NAN
    found, alone = stats.means(values), stats.means(values[:1, [0, 2, 3]])
    assert list(found.n) == [3, 4]
    assert (found.mean[0], found.low[0], found.sd[0]) == pytest.approx((alone.mean[0], alone.low[0], alone.sd[0]))


def test_one_run_has_a_mean_but_no_interval_and_no_run_has_neither():
    found = stats.means(np.array([[0.9, NAN], [NAN, NAN]]))
    np.testing.assert_array_equal(found.n, [1, 0])
    np.testing.assert_array_equal(found.mean, [0.9, NAN])
    assert np.isnan([found.sd, found.low, found.high]).all()


def test_equal_runs_have_no_interval_as_no_width_would_claim_certainty():
    found = stats.means(np.array([[0.1 + 0.2, 0.3, 0.3]]))  # which differ by rounding alone
    assert found.sd[0] == 0 and np.isnan([found.low[0], found.high[0]]).all()


def test_the_next_run_is_expected_in_a_wider_interval_than_the_mean():
    low, high = stats.prediction_interval(np.array([[0.90, 0.92, 0.94], [0.9, NAN, NAN]]))
    assert high[0] - 0.92 == pytest.approx(T2 * 0.02 * (4 / 3) ** 0.5) and low[0] == pytest.approx(1.84 - high[0])
    assert np.isnan([low[1], high[1]]).all()


# ---- Paired ---------------------------------------------------------------------------------------------


def test_paired_differences_have_students_interval_and_p():
    reference = np.array([0.80, 0.85, 0.90])
    found = stats.paired(reference[None] + [[0.01, 0.02, 0.03]], reference)
    assert found.n[0] == 3 and found.mean[0] == pytest.approx(0.02) and found.sd[0] == pytest.approx(0.01)
    assert found.high[0] - found.mean[0] == pytest.approx(T2 * 0.01 / 3**0.5)
    # With 2 degrees of freedom p = 1 - t / √(2 + t²); here t = 2√3.
    assert found.p[0] == pytest.approx(1 - 12**0.5 / 14**0.5)


def test_the_bootstrap_of_three_seeds_ends_at_the_extremes():
    # Each extreme is the mean of 1 in 27 resamples, more than the 2.5 % cut off.
    assert stats.bootstrap(np.array([[1.0, 2.0, 3.0]]), np.zeros(3)) == ([1], [3])


def test_the_paired_test_is_scipys_on_the_seeds_that_both_have():
    values, reference = noise(3, 6), noise(1, 6, seed=1)[0]
    values[0, 2], reference[4] = NAN, NAN
    found = stats.paired(values, reference)
    assert list(found.n) == [4, 5, 5]
    for row, p, low in zip(values, found.p, found.low, strict=True):
        both = ~np.isnan(row) & ~np.isnan(reference)
        expected = scipy_stats.ttest_rel(row[both], reference[both])
        assert (p, low) == pytest.approx((expected.pvalue, expected.confidence_interval().low))


def test_a_reference_may_differ_from_row_to_row():
    values, reference = noise(3, 4), noise(3, 4, seed=1)
    together = stats.paired(values, reference)
    alone = [stats.paired(values[[row]], reference[row]).p[0] for row in range(3)]
    np.testing.assert_allclose(together.p, alone)


def test_a_rows_bootstrap_is_repeatable_and_depends_on_no_other_row():
    values, reference = noise(4, 5), noise(1, 5, seed=1)[0]
    values[1, 0] = NAN
    (low, high), (alone, _) = stats.bootstrap(values, reference), stats.bootstrap(values[2:3], reference)
    assert low[2] == alone[0] < stats.paired(values, reference).mean[2] < high[2]


def test_one_pair_shows_a_difference_and_nothing_else():
    found = stats.paired(np.array([[0.9, 0.8], [NAN, NAN]]), np.array([0.8, NAN]))
    np.testing.assert_allclose(found.mean, [0.1, NAN])
    assert list(found.n) == [1, 0]
    for column in (found.sd, found.low, found.high, found.p):
        assert np.isnan(column).all()


def test_equal_runs_are_evidence_of_nothing():
    found = stats.paired(np.array([[0.9, 0.91]]), np.array([0.9, 0.91]))
    assert found.p[0] == 1 and found.mean[0] == 0 == found.sd[0] and np.isnan(found.low[0])


def test_equal_differences_count_as_signs_whatever_the_rounding():
    reference = np.array([0.7, 0.8, 0.85])
    found = stats.paired(np.array([reference + 0.1, [0.8, 0.9, NAN]]), reference)
    assert list(found.sd) == [0, 0] and list(found.p) == [0.25, 0.5]
    assert np.isnan([found.high, stats.bootstrap(np.array([reference + 0.1, reference + 0.1]), reference)[1]]).all()


def test_no_row_is_no_error():
    none = np.empty((0, 3))
    assert len(stats.means(none).mean) == len(stats.paired(none, np.zeros(3)).p) == 0
    assert len(stats.probability_better(none, np.zeros(3))) == len(stats.holm([])) == 0


# ---- Families, probabilities, power ---------------------------------------------------------------------


def test_families_side_by_side_are_corrected_each_by_itself():
    rng = np.random.default_rng(0)
    families = np.where(rng.random((30, 2, 9)) < 0.1, NAN, rng.choice([0.001, 0.01, 0.02, 0.5], (30, 2, 9)))
    for together in (stats.holm, stats.confidence_levels):
        alone = [[together(family) for family in pair] for pair in families]
        np.testing.assert_array_equal(together(families), alone)


def test_holm_multiplies_the_smallest_by_the_family_and_keeps_the_order():
    np.testing.assert_allclose(stats.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])


def test_holm_is_that_of_statsmodels_with_ties_and_in_any_order():
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        p = rng.uniform(0, 0.3, size).round(2)
        np.testing.assert_allclose(stats.holm(p), multipletests(p, method="holm")[1])


def test_comparisons_without_p_do_not_count_in_the_family():
    np.testing.assert_allclose(stats.holm([NAN, 0.01, 0.5, NAN]), [NAN, 0.02, 0.5, NAN])
    assert np.isnan(stats.holm([NAN])).all()


def test_the_probability_of_being_better_counts_pairs_of_runs_and_ties_half():
    assert stats.probability_better(np.array([[3.0, 5.0]]), np.array([1.0, 3.0]))[0] == 3.5 / 4


def test_the_probability_of_being_better_is_mann_and_whitneys_u():
    values, reference = noise(3, 6).round(3), noise(1, 5, seed=1)[0].round(3)
    expected = scipy_stats.mannwhitneyu(values, reference[None], axis=1).statistic / 30
    np.testing.assert_allclose(stats.probability_better(values, reference), expected)


def test_the_probability_of_being_better_needs_two_runs_of_each():
    values = np.array([[0.9, 0.8], [0.9, NAN]])
    np.testing.assert_array_equal(stats.probability_better(values, np.array([0.7, 0.8])), [0.875, NAN])
    assert np.isnan(stats.probability_better(values, np.array([0.7, NAN]))).all()


def share_found(effect, n, alpha, studies=40_000):
    """How often a paired t test finds an effect, in standard deviations of a pair's difference, by simulation."""
    differences = np.random.default_rng(n).normal(effect, 1, (studies, n))
    return (scipy_stats.ttest_1samp(differences, 0, axis=1).pvalue < alpha).mean()


@pytest.mark.parametrize(("n", "comparisons"), [(2, 1), (2, 2), (3, 1), (3, 11), (5, 9), (10, 45), (30, 1)])
def test_the_detectable_difference_is_found_with_the_promised_power(n, comparisons):
    effect = stats.detectable(0.002, n, 0.05 / comparisons) / 0.002
    assert share_found(effect, n, 0.05 / comparisons) == pytest.approx(0.8, abs=0.01)
    assert float(stats.power(effect, n, 0.05 / comparisons)) == pytest.approx(0.8)


@pytest.mark.parametrize(("sd", "n", "comparisons", "right"), [(1, 3, 11, 10.86), (1, 2, 2, 23.1), (2, 3, 1, 6.53)])
def test_few_seeds_and_many_comparisons_show_large_differences_alone(sd, n, comparisons, right):
    assert stats.detectable(sd, n, 0.05 / comparisons) == pytest.approx(right, rel=1e-3)


def test_power_is_a_number_however_large_the_effect_and_alpha_without_any():
    n = np.array([2, 3, 10, 1000])
    for alpha in (0.05, 0.05 / 200):
        np.testing.assert_allclose(stats.power(0.0, n, alpha), alpha)
        assert (stats.power(1e4, n, alpha) > 0.99).all()
    assert stats.pairs_needed(6, 1, 0.05 / 9) == 4


def test_the_upper_bound_of_a_deviation_lies_above_the_true_one_as_often_as_promised():
    deviations = np.random.default_rng(0).normal(0, 1, (20_000, 3)).std(axis=1, ddof=1)
    assert (stats.most_deviation(deviations, np.full(20_000, 3)) > 1).mean() == pytest.approx(0.8, abs=0.01)


def test_an_interval_excludes_0_exactly_where_holm_finds_a_difference():
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = rng.normal(rng.choice([0, 0.01, 0.05], (6, 1)), 0.01, (6, 3))
        p = stats.paired(values, np.zeros(3)).p
        levels = stats.confidence_levels(p)
        bounds = stats.paired(values, np.zeros(3), levels)
        assert (((bounds.low > 0) | (bounds.high < 0)) == (stats.holm(p) < 0.05)).all()
        assert (levels >= 0.95).all() and levels.max() <= 1 - 0.05 / 6 + 1e-12


def test_what_is_not_compared_or_compared_alone_has_the_plain_level():
    np.testing.assert_allclose(stats.confidence_levels([NAN, 0.2, NAN]), 0.95)
    assert stats.widening(3, 0.05) == pytest.approx(1) == stats.widening(1, 0.01) and stats.widening(3, 0.01) > 2


def test_nothing_is_detectable_with_one_pair_or_an_unknown_deviation():
    assert np.isnan([stats.detectable(0.002, 1), stats.detectable(NAN, 3)]).all()


@pytest.mark.parametrize("effect", [0.5, 1.0, 1.7])
def test_the_pairs_needed_are_enough_and_one_fewer_are_not(effect):
    needed = stats.pairs_needed(-0.002 * effect, 0.002)
    assert share_found(effect, needed - 1, 0.05) < 0.81 and share_found(effect, needed, 0.05) > 0.79


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_pairs_needed_and_detectable_differences_say_the_same(n):
    assert stats.pairs_needed(stats.detectable(0.01, n) * 1.001, 0.01) == n


def test_pairs_needed_are_never_under_two_and_unknown_where_they_are_too_many():
    assert stats.pairs_needed(1, 0.001) == 2
    assert stats.pairs_needed(0.0001, 0.01) is None is stats.pairs_needed(0, 0.01)
    assert stats.pairs_needed(0.01, NAN) is None is stats.pairs_needed(NAN, 0.01)


# ---- One run --------------------------------------------------------------------------------------------


def test_wilsons_interval_of_nine_in_ten():
    # z = 1.96: (0.9 + z²/20 ± z √(0.009 + z²/400)) / (1 + z²/10)
    low, high = stats.wilson(0.9, 10)
    assert (float(low), float(high)) == pytest.approx((0.5958, 0.9821), abs=5e-5)


def test_wilsons_interval_is_scipys_for_each_of_many_and_unknown_where_the_share_is():
    low, high = stats.wilson([0.91, 1.0, NAN], 10_000, confidence=0.9)
    for share, ends in zip([0.91, 1.0], zip(low[:2], high[:2], strict=True), strict=True):
        expected = scipy_stats.binomtest(int(share * 10_000), 10_000).proportion_ci(0.9, method="wilson")
        assert ends == pytest.approx((expected.low, expected.high))
    assert np.isnan([low[2], high[2]]).all()


def answers(both, only_a, only_b, none):
    counts = both, only_a, only_b, none
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_mcnemar_is_exact_for_few_images_on_which_the_runs_differ():
    assert stats.mcnemar(*answers(50, 1, 7, 3)) == pytest.approx(2 * (1 + 8) / 2**8)
    assert stats.mcnemar(*answers(0, 10, 14, 0)) == pytest.approx(scipy_stats.binomtest(10, 24).pvalue)


def test_mcnemar_is_chi_square_with_continuity_correction_for_many():
    assert stats.mcnemar(*answers(50, 10, 30, 3)) == pytest.approx(scipy_stats.chi2.sf(19**2 / 40, 1))


def test_runs_that_answer_alike_do_not_differ():
    assert stats.mcnemar(*answers(5, 0, 0, 5)) == 1


def test_equal_differences_of_so_few_seeds_that_they_decide_nothing_have_no_interval():
    pairs = stats.paired(np.array([[0.5, 0.5]]), np.zeros(2), rule=Rule(20))
    assert np.isnan(pairs.low) and np.isnan(pairs.high) and pairs.mean == 0.5
