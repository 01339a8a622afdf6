"""Verdicts on claims, by numbers that were worked out by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from runs import frame, run, seeds

from fmnist.analysis.claims import Claim, Side, judge, most_common
from fmnist.analysis.leaderboard import leaderboard
from fmnist.analysis.rule import Rule
from fmnist.config import CLASSES
from fmnist.report.claims import because

BASELINE = Side("baseline", frozenset({"signed baseline"}))
SHIRT = Claim("shirt", "Shirt is the weakest class", weakest="Shirt")
PUBLISHED = Claim("published", "the published accuracies are within our interval", published=True)


def side(name, epochs=None, *signatures):
    return Side(name, frozenset(signatures or {f"signed {name}"}), epochs)


def rising(*names, key="rising"):
    return Claim(key, "each is better", tuple(side(name) for name in names))


def longer(*epochs):
    return Claim("epochs", "longer is better", tuple(side("baseline", number) for number in epochs))


def verdicts(claims, *runs, correct=lambda run: None, epochs=None, **options):
    return judge(claims, frame(*runs), BASELINE, correct, epochs=epochs, **options)


def verdict(claim, *runs, **options):
    (found,) = verdicts([claim], *runs, **options)
    return found


# ---- Two sides ------------------------------------------------------------------------------------------


def test_a_step_up_that_a_paired_test_finds_holds():
    found = verdict(rising("x", "y"), seeds("x", [0.90, 0.91, 0.92]), seeds("y", [0.92, 0.94, 0.96]))
    # Differences 0.02, 0.03, 0.04: mean 0.03, sd 0.01, t = 3 sqrt(3) = 5.196152, two-sided p with 2 df
    # = 1 - t / sqrt(t^2 + 2) = 0.0350987; half width 4.302653 * 0.01 / sqrt(3) = 0.0248414.
    assert found.verdict == "holds" and (found.key, found.says) == ("rising", "each is better")
    assert found.effect == pytest.approx(0.03) and found.p_value == pytest.approx(0.0350987, abs=1e-7)
    assert (found.low, found.high) == pytest.approx((0.03 - 0.0248414, 0.03 + 0.0248414), abs=1e-7)
    assert (found.seeds, found.epochs) == (3, 10)
    assert found.run_ids == ("x-10-0", "x-10-1", "x-10-2", "y-10-0", "y-10-1", "y-10-2")
    assert because(found) == "y against x: +3.00 points in validation, +3.00 in test"


def test_sides_in_two_precisions_are_compared_where_the_study_varies_it_and_only_there():
    exact = seeds("x", [0.90, 0.91, 0.92])
    rounded = seeds("y", [0.92, 0.94, 0.96], **{"compute.precision": "bfloat16"})
    assert verdict(rising("x", "y"), exact, rounded).verdict == "not yet run"
    across = verdict(rising("x", "y"), exact, rounded, pair_columns=["data_digest"])
    assert across.verdict == "holds" and across.p_value == pytest.approx(0.0350987, abs=1e-7)


def test_of_two_kinds_of_which_there_are_equally_many_the_same_is_looked_at_in_any_order():
    exact = seeds("x", [0.90, 0.91, 0.92])
    rounded = seeds("x", [0.92, 0.94, 0.96], **{"compute.precision": "bfloat16"})
    for runs in (frame(exact, rounded), frame(rounded, exact)):
        assert set(most_common(runs)["compute.precision"]) == {"bfloat16"}


def test_a_step_down_does_not_hold_and_has_the_same_p():
    found = verdict(rising("y", "x"), seeds("x", [0.90, 0.91, 0.92]), seeds("y", [0.92, 0.94, 0.96]))
    assert found.verdict == "does not hold" and found.effect == pytest.approx(-0.03)
    assert found.p_value == pytest.approx(0.0350987, abs=1e-7)


def test_a_difference_within_the_noise_is_not_distinguishable():
    found = verdict(rising("x", "y"), seeds("x", [0.90, 0.91, 0.92]), seeds("y", [0.93, 0.90, 0.93]))
    assert found.verdict == "open" and found.low < 0 < found.high


def test_runs_that_agree_to_the_last_bit_are_not_distinguishable():
    found = verdict(rising("x", "y"), seeds("x", [0.9] * 4), seeds("y", [0.9] * 4))
    assert (found.verdict, found.effect, found.p_value) == ("open", 0.0, 1.0)


def test_only_seeds_that_all_sides_have_count():
    found = verdict(rising("x", "y"), seeds("x", [0.90, 0.91, 0.92, 0.1]), seeds("y", [0.92, 0.94, 0.96]))
    assert found.seeds == 3 and found.effect == pytest.approx(0.03)
    apart = verdict(rising("x", "y"), seeds("x", [0.90, None]), seeds("y", [None, 0.94]))
    assert apart.verdict == "not yet run" and because(apart) == "no seed that all sides share"


def test_a_failed_attempt_or_a_number_that_is_none_is_no_run():
    given = [seeds("x", [0.90, 0.91, 0.92]), seeds("y", [0.92, 0.94, 0.96])]
    again = [run("f", "y", 0.1, status="FAILED", seed=0, start_time=9), run("n", "y", float("nan"), seed=1)]
    for attempt, signature in zip(again, ("signed y-10-0", "signed y-10-1"), strict=True):
        attempt["signature"] = signature
    assert verdict(rising("x", "y"), *given, *again) == verdict(rising("x", "y"), *given)


def test_a_side_of_which_seeds_failed_is_not_judged_by_those_that_are_left():
    given = [seeds("x", [0.90, 0.91, 0.92]), seeds("y", [0.92, 0.94, 0.96])]
    lost = [run("f", "y", None, status="FAILED", seed=3), run("g", "y", float("nan"), seed=4)]
    found = verdict(rising("x", "y"), *given, *lost)
    assert found.verdict == "seeds failed" and found.effect == pytest.approx(0.03)
    assert because(found).endswith("2 seeds of y failed: those that are left may be the lucky ones")
    baseline = [scored([0.900, 0.902, 0.904]), scored([0.910, 0.9115, 0.9105], epochs=50)]
    for epochs in (10, 50):
        gone = run("h", "baseline", None, status="FAILED", seed=3, epochs=epochs)
        assert verdict(PUBLISHED, *baseline, gone).verdict == "seeds failed"
    elsewhere = [{**each, "epochs": 50} for each in lost]
    assert verdict(rising("x", "y"), *given, *elsewhere).verdict == "holds"


def test_intervals_are_at_the_level_at_which_holm_judged_the_claim():
    runs = [seeds("x", [0.90, 0.91, 0.92]), seeds("y", [0.92, 0.94, 0.96])]
    first, second = verdicts([rising("x", "y"), rising("y", "x")], *runs)
    # Alone p is 0.035 and the interval [+0.5, +5.5]; of two neither is clear, and t(0.9875, 2) = 6.2053.
    assert {first.verdict, second.verdict} == {"open"} and first.low < 0 < first.high
    assert first.high - first.effect == pytest.approx(6.205347 * 0.01 / np.sqrt(3), abs=1e-6)


def test_no_interval_reaches_further_than_two_accuracies_can_differ():
    runs = seeds("x", [0.6, 0.9, 0.7]), seeds("y", [0.9, 0.7, 0.8])
    found = verdict(rising("x", "y"), *runs, rule=Rule(20))
    assert (found.low, found.high, found.verdict) == (-1.0, 1.0, "open")
    rows = leaderboard(frame(*runs), baseline="x", rule=Rule(20)).set_index("variant")
    assert tuple(rows.loc["y", ["difference_low", "difference_high"]]) == (-1.0, 1.0)


def test_of_a_seed_that_was_run_twice_the_newest_counts():
    given = [seeds("x", [0.90, 0.91, 0.92]), seeds("y", [0.92, 0.94, 0.1])]
    found = verdict(rising("x", "y"), *given, run("again", "y", 0.96, seed=2, start_time=2000))
    assert found.effect == pytest.approx(0.03) and found.run_ids[-1] == "again"


def test_nothing_run_yet_names_what_is_missing():
    found = verdict(rising("x", "y"), seeds("x", [0.9]))
    assert (found.verdict, because(found)) == ("not yet run", "no run yet of y")
    assert np.isnan([found.effect, found.low, found.high, found.p_value]).all()
    assert (found.seeds, found.epochs, found.run_ids) == (0, 0, ())
    empty = judge([rising("x", "y"), SHIRT, PUBLISHED, longer(10, 50)], frame(run("a")).iloc[:0], BASELINE, str)
    assert [one.verdict for one in empty] == ["not yet run"] * 4
    assert because(empty[0]) == "no run yet of x or y"


# ---- Three sides ----------------------------------------------------------------------------------------


def test_a_ladder_holds_if_every_step_does_and_its_p_is_the_worst_steps():
    found = verdict(
        rising("x", "y", "z"),
        seeds("x", [0.80, 0.81, 0.82]), seeds("y", [0.82, 0.84, 0.86]), seeds("z", [0.90, 0.92, 0.9401]),
    )  # fmt: skip
    assert found.verdict == "holds" and found.p_value == pytest.approx(0.0350987, abs=1e-6)
    assert found.effect == pytest.approx(0.03)  # of that step
    assert because(found).startswith("y against x: +3.00 points in validation, +3.00 in test (p 0.035); z against y:")


def test_a_ladder_with_one_step_within_the_noise_is_not_distinguishable():
    found = verdict(
        rising("x", "y", "z"),
        seeds("x", [0.80, 0.81, 0.82]), seeds("y", [0.82, 0.84, 0.86]), seeds("z", [0.83, 0.83, 0.87]),
    )  # fmt: skip
    assert found.verdict == "open"


def test_a_ladder_with_one_step_down_does_not_hold_however_high_it_rises():
    low, middle, high = [0.80, 0.81, 0.82], [0.900, 0.909, 0.921], [0.850, 0.860, 0.871]
    found = verdict(rising("x", "y", "z"), seeds("x", low), seeds("y", middle), seeds("z", high))
    assert found.verdict == "does not hold" and found.effect == pytest.approx(-0.0497, abs=1e-4)


def test_steps_down_are_corrected_for_how_many_there_are():
    # Each alone falls with p 0.035; together (Holm) 0.070.
    found = verdict(
        rising("z", "y", "x"),
        seeds("x", [0.80, 0.81, 0.82]), seeds("y", [0.82, 0.84, 0.86]), seeds("z", [0.84, 0.87, 0.90]),
    )  # fmt: skip
    assert found.verdict == "open" and found.p_value == pytest.approx(2 * 0.0350987, abs=1e-6)


# ---- Several claims -------------------------------------------------------------------------------------


def test_claims_are_corrected_for_how_many_could_be_judged():
    pair = [seeds("x", [0.90, 0.91, 0.92]), seeds("y", [0.92, 0.94, 0.96])]
    weak = [seeds("v", [0.90, 0.91, 0.92]), seeds("w", [0.93, 0.90, 0.93])]
    one, two, three = rising("x", "y"), rising("v", "w", key="weak"), rising("x", "nowhere", key="never")
    first, second, third = verdicts([one, two, three], *pair, *weak)
    assert first.p_value == pytest.approx(2 * 0.0350987, abs=1e-6) and first.verdict == "open"
    assert second.verdict == "open" and third.verdict == "not yet run"
    assert verdicts([one, three], *pair)[0].verdict == "holds"


# ---- Budgets --------------------------------------------------------------------------------------------


def pairs(count, epochs):
    shared = [0.9 + i / 100 for i in range(count)]
    return [seeds("x", shared, epochs=epochs), seeds("y", [value + 0.01 for value in shared], epochs=epochs)]


@pytest.mark.parametrize(
    ("reached", "judged"),
    [
        ({3: 3, 10: 5, 50: 3}, 10),  # the most seeds
        ({3: 4, 10: 2}, 3),
        ({3: 2, 10: 2, 50: 1}, 10),  # of equally many the longest
        ({3: 1, 50: 1}, 50),
    ],
)
def test_the_budget_is_the_one_that_most_seeds_have_reached_and_the_longest_of_those(reached, judged):
    found = verdict(rising("x", "y"), *(one for epochs, count in reached.items() for one in pairs(count, epochs)))
    assert (found.epochs, found.seeds) == (judged, reached[judged])


def test_a_budget_that_is_asked_for_is_judged_at_unless_the_claim_has_its_own():
    runs = [*pairs(3, 3), *pairs(3, 10), seeds("baseline", [0.8, 0.81, 0.82], epochs=3),
            seeds("baseline", [0.9, 0.92, 0.94], epochs=10)]  # fmt: skip
    first, second = verdicts([rising("x", "y"), longer(3, 10)], *runs, epochs=3)
    assert first.epochs == 3 and second.epochs == 10 and second.effect == pytest.approx(0.11)
    assert verdict(rising("x", "y"), *runs, epochs=50).verdict == "not yet run"


def test_budgets_against_each_other_are_paired_by_seed():
    ten, fifty = [0.90, 0.91, 0.92], [0.92, 0.94, 0.96, 0.5]
    found = verdict(longer(10, 50), seeds("baseline", ten), seeds("baseline", fifty, epochs=50))
    assert (found.verdict, found.epochs, found.seeds) == ("holds", 50, 3)
    assert found.p_value == pytest.approx(0.0350987, abs=1e-7)
    assert found.run_ids[0] == "baseline-10-0" and found.run_ids[-1] == "baseline-50-2"


# ---- One seed -------------------------------------------------------------------------------------------


def test_one_seed_gives_no_verdict_but_mcnemars_p_as_support():
    answers = {"x-10-0": np.arange(100) < 80, "y-10-0": np.arange(100) < 90}  # 10 to 0 discordant: p = 2 / 2^10
    found = verdict(rising("x", "y"), seeds("x", [0.8]), seeds("y", [0.9]), correct=answers.get)
    assert found.verdict == "one seed" and np.isnan([found.p_value, found.low, found.high]).all()
    assert found.effect == pytest.approx(0.1) and found.seeds == 1
    assert "McNemar on the test images, of these two networks alone: p 0.002" in because(found)
    assert because(found).endswith("one seed cannot show the noise of training: add seeds")


def test_without_predictions_one_seed_has_no_support_and_several_do_not_ask_for_any():
    found = verdict(rising("x", "y"), seeds("x", [0.8]), seeds("y", [0.9]))
    assert "McNemar" not in because(found) and "add seeds" in because(found)

    def never(run):
        raise AssertionError(run)

    verdict(rising("x", "y"), *pairs(2, 10), correct=never)


# ---- Precisions and data --------------------------------------------------------------------------------


def test_runs_of_the_precision_and_data_that_most_have_are_judged():
    other = {"compute.precision": "bfloat16"}
    claim = Claim("c", "c", (side("x", None, "x32", "x16"), side("y", None, "y32", "y16")))
    found = verdict(
        claim,
        seeds("x", [0.90, 0.91, 0.92], variant_signature="x32"),
        seeds("y", [0.92, 0.94, 0.96], variant_signature="y32"),
        seeds("x", [0.1, 0.2], variant_signature="x16", **other),
        seeds("y", [None, None, None, 0.5, 0.6], variant_signature="y16", data_digest="fedcba9876543210"),
    )
    assert found.effect == pytest.approx(0.03) and found.seeds == 3


# ---- The weakest class ----------------------------------------------------------------------------------


def recalls(shirt, others, name="baseline", **changes):
    """A seed for each pair of recalls, of Shirt and of Coat; the other classes have `others`."""
    rest = {f"test/recall/{label}": others for label in CLASSES}
    given = zip(seeds(name, [0.9] * len(shirt), **changes), shirt, strict=True)
    return [{**each, **rest, "test/recall/Shirt": own, "test/recall/Coat": coat} for each, (own, coat) in given]


def test_a_class_is_the_weakest_if_it_is_below_every_other():
    found = verdict(SHIRT, recalls([(0.70, 0.80), (0.71, 0.83), (0.72, 0.86)], 0.95))
    # Nearest is Coat: 0.10, 0.12, 0.14 above; mean 0.12, sd 0.02, t = 6 sqrt(3), p = 1 - t / sqrt(t^2 + 2).
    t = 6 * np.sqrt(3)
    assert found.verdict == "holds" and found.p_value == pytest.approx(1 - t / np.sqrt(t * t + 2))
    half = 4.302652730 * 0.02 / np.sqrt(3)
    assert (found.effect, found.low, found.high) == pytest.approx((0.12, 0.12 - half, 0.12 + half))
    assert because(found) == "recall of Shirt 71.0 %, of Coat, which decides, 83.0 %"
    assert (found.seeds, found.epochs) == (3, 10) and len(found.run_ids) == 3


def test_a_class_is_not_the_weakest_if_another_is_surely_below():
    found = verdict(SHIRT, recalls([(0.90, 0.60), (0.91, 0.6101), (0.92, 0.6201)], 0.95))
    assert found.verdict == "does not hold" and found.effect < 0 and "Coat, which decides, 61.0 %" in because(found)


def test_one_seed_does_not_say_which_class_is_the_weakest_for_certain():
    found = verdict(SHIRT, recalls([(0.70, 0.80)], 0.95))
    assert found.verdict == "one seed" and because(found).endswith("add seeds")
    assert because(verdict(SHIRT, seeds("x", [0.9]))) == "no run yet of the baseline"


def test_the_weakest_class_is_judged_at_one_budget():
    ten = recalls([(0.70, 0.80), (0.71, 0.83), (0.72, 0.86), (0.71, 0.82)], 0.95)
    found = verdict(SHIRT, ten, recalls([(0.1, 0.2)] * 3, 0.95, epochs=50))
    assert found.epochs == 10 and found.seeds == 4


# ---- The published numbers ------------------------------------------------------------------------------


def scored(values, epochs=10):
    return seeds("baseline", [value + 0.01 for value in values], epochs=epochs)  # test accuracy is 0.01 less


def test_published_numbers_hold_where_one_more_run_of_ours_could_have_them():
    found = verdict(PUBLISHED, scored([0.900, 0.902, 0.904]))
    assert found.verdict == "holds" and np.isnan(found.p_value)  # the article: 0.9021
    assert found.effect == pytest.approx(0.0001) and (found.seeds, found.epochs) == (3, 10)
    # 0.902 -+ 4.302653 * 0.002 * sqrt(4 / 3) = 0.0099365
    assert (found.low, found.high) == pytest.approx((0.0001 - 0.0099365, 0.0001 + 0.0099365), abs=1e-6)
    assert because(found) == (
        "test accuracy 90.21 % published for 10 epochs, one more run of ours lies within 89.21 to 91.19"
    )


def test_published_numbers_that_no_run_of_ours_would_have_do_not_hold():
    found = verdict(PUBLISHED, scored([0.880, 0.881, 0.882]))
    # t = (0.9021 - 0.881) / (0.001 sqrt(4 / 3)) = 18.27, p = 1 - t / sqrt(t^2 + 2)
    t = 0.0211 / (0.001 * np.sqrt(4 / 3))
    assert found.verdict == "does not hold" and found.p_value == pytest.approx(1 - t / np.sqrt(t * t + 2))
    assert found.effect == pytest.approx(0.0211) and found.low > 0


def test_both_published_numbers_must_hold_and_the_clearest_failure_is_shown():
    good, bad = scored([0.900, 0.902, 0.904]), scored([0.880, 0.881, 0.882], epochs=50)
    found = verdict(PUBLISHED, good, bad)
    assert found.verdict == "does not hold" and found.epochs == 50 and len(found.run_ids) == 6
    assert because(found).count("published for") == 2
    wide = scored([0.70, 0.90, 0.95])
    assert verdict(PUBLISHED, wide, bad).epochs == 50  # further off, but within what one more run could have


def test_a_published_number_that_is_surely_off_fails_beside_one_with_one_seed_alone():
    bad, alone = scored([0.880, 0.881, 0.882]), scored([0.91], epochs=50)
    assert verdict(PUBLISHED, bad, alone).verdict == "does not hold"
    found = verdict(PUBLISHED, scored([0.900, 0.902, 0.904]), alone)
    assert found.verdict == "one seed" and "one seed has no interval" in because(found)


def test_an_interval_wider_than_a_point_on_either_side_says_nothing_of_a_published_number():
    assert verdict(PUBLISHED, scored([0.897, 0.902, 0.907])).verdict == "open"
    rng, held = np.random.default_rng(0), 0
    for _ in range(60):  # two seeds 2.4 points, eight deviations, away
        held += verdict(PUBLISHED, scored(list(rng.normal(0.9021 + 0.024, 0.003, 2)))).verdict == "holds"
    assert held == 0


def test_the_seeds_of_a_published_number_are_those_of_the_budget_that_is_named():
    found = verdict(PUBLISHED, scored([0.900, 0.902, 0.904, 0.903]), scored([0.88, 0.881, 0.8815], epochs=50))
    assert (found.epochs, found.seeds) == (50, 3)
    found = verdict(PUBLISHED, scored([0.90, 0.902, 0.904, 0.901]), scored([0.9158, 0.9159], epochs=50))
    assert found.seeds == {10: 4, 50: 2}[found.epochs]


def test_published_numbers_are_about_their_own_budgets():
    found = verdict(PUBLISHED, scored([0.90], epochs=3))
    assert found.verdict == "not yet run" and because(found) == "no run yet of the baseline at 10 or 50 epochs"


def test_that_published_numbers_hold_counts_among_the_claims_that_were_tested():
    pair = [seeds("x", [0.90, 0.91, 0.92]), seeds("y", [0.92, 0.94, 0.96])]
    first, second = verdicts([rising("x", "y"), PUBLISHED], *pair, scored([0.900, 0.902, 0.904]))
    assert first.p_value == pytest.approx(2 * 0.0350987, abs=1e-6) and second.verdict == "holds"


def test_the_runs_given_are_left_as_they_were():
    runs = frame(seeds("x", [0.9, 0.91]), seeds("y", [0.92, None]))
    before = runs.copy()
    judge([rising("x", "y"), SHIRT, PUBLISHED], runs, BASELINE, lambda run: None)
    pd.testing.assert_frame_equal(runs, before)


def test_published_numbers_are_not_held_against_another_baseline():
    moved = Side("baseline", frozenset({"signed baseline"}), changes="limit=12000")
    (found,) = judge([PUBLISHED], frame(*scored([0.88, 0.89, 0.9])), moved, lambda run: None)
    assert found.verdict == "not yet run" and "this one with limit=12000" in because(found)


# ---- Verdict and interval ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [Rule(), Rule(20)])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_an_interval_excludes_0_exactly_where_the_claim_is_decided(rule, count):
    rng, seen = np.random.default_rng(count), set()
    for _ in range(60):
        x, y, z = (rng.normal(0.8 + rng.choice([0, 0.02, 0.2]), 0.01, count) for _ in "xyz")
        shirt, coat = rng.normal(0.7, 0.02, count), rng.normal(0.7 + rng.choice([-0.2, 0, 0.2]), 0.05, count)
        noisy, test = recalls(list(zip(shirt, coat, strict=True)), 0.95), rng.choice([0.9, 0.95])
        for each, bag in zip(noisy, rng.normal(rng.choice([0.71, 0.8, 0.95]), 0.02, count), strict=True):
            each |= {"test/recall/Bag": bag, "test/accuracy": rng.normal(test, 0.002)}
        claims = [rising("x", "y", "z"), SHIRT, PUBLISHED, rising("x", "y")]
        for found in verdicts(claims, seeds("x", x), seeds("y", y), seeds("z", z), noisy, rule=rule):
            excludes = found.low > 0 or found.high < 0
            if found.key == "published":  # which hold where the interval is narrow
                assert excludes == (found.verdict == "does not hold"), found
            else:
                says = "holds" if found.low > 0 else "does not hold" if found.high < 0 else "open"
                assert found.verdict == says, found
            seen.add((found.key, excludes))
    assert {("rising", False), ("shirt", False), ("published", False)} <= seen
    assert rule.most or count == 2 or {("rising", True), ("shirt", True), ("published", True)} <= seen


# ---- What matters ---------------------------------------------------------------------------------------


def test_a_claim_whose_interval_lies_within_the_margin_does_not_hold_however_sure_its_sign():
    close = seeds("x", [0.9000, 0.9010, 0.9020, 0.9030]), seeds("y", [0.9011, 0.9022, 0.9031, 0.9042])
    sure = verdict(rising("x", "y"), *close)
    assert sure.verdict == "holds" and 0 < sure.low < sure.high < 0.005
    small = verdict(rising("x", "y"), *close, rule=Rule(margin=0.005))
    assert (small.verdict, small.low, small.high) == ("no difference that matters", sure.low, sure.high)
    (own,) = verdicts([replace(rising("x", "y"), margin=0.001)], *close, rule=Rule(margin=0.005))
    assert own.verdict == "holds"


def test_claims_hold_however_often_one_looks_and_fewer_seeds_than_were_chosen_before_decide_nothing():
    pair = seeds("x", [0.900, 0.901, 0.902]), seeds("y", [0.930, 0.932, 0.931])
    once, often, early = (verdict(rising("x", "y"), *pair, rule=rule) for rule in (Rule(), Rule(20), Rule(5, first=5)))
    assert once.verdict == "holds" and once.p_value < often.p_value and often.high - often.low > once.high - once.low
    assert (early.verdict, early.p_value) == ("open", 1.0) and np.isnan([early.low, early.high]).all()
