"""What a leaderboard says: rows, intervals, paired comparisons, verdicts, ranks."""

import io

import numpy as np
import pandas as pd
import pytest
from runs import frame, run, seeds
from scipy import stats as scipy
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from fmnist.analysis import leaderboard as module
from fmnist.analysis import stats
from fmnist.analysis.leaderboard import columns, leaderboard
from fmnist.analysis.rule import Rule
from fmnist.report.leaderboard import render
from fmnist.schema import Metric

NUMBERS = ["difference", "difference_low", "difference_high", "bootstrap_low", "bootstrap_high", "p_value"]


def board(*runs, **options):
    return leaderboard(frame(*runs), **options)


def row(found, variant, epochs=10):
    """The one row of a variant at a budget."""
    (index,) = found.index[(found["variant"] == variant) & (found["epochs"] == epochs)]
    return found.loc[index]


def ours(found):
    return found[found["verdict"] != "published"]


# ---- Rows -----------------------------------------------------------------------------------------------


def test_variants_are_in_the_order_of_validation_accuracy_whatever_the_test_says():
    found = board(
        seeds("filters=32", [0.880, 0.881, 0.882], **{"test/accuracy": 0.99}),
        seeds("filters=64", [0.910, 0.911, 0.912], **{"test/accuracy": 0.80}),
    )
    assert list(found.columns) == columns() and len(set(columns())) == len(columns())
    assert list(found["variant"]) == ["filters=64", "filters=32"]
    assert found["rank"].dtype == "Int64"


def test_ranks_and_verdicts_do_not_change_with_the_test_set():
    runs = frame(seeds("baseline", [0.90, 0.91, 0.92]), seeds("a", [0.93, 0.94, 0.951]), seeds("b", [0.89, 0.92, 0.91]))
    luck = np.random.default_rng(0).random(len(runs))
    kept = ["variant", "rank", "verdict", "val_accuracy", "better_probability", *NUMBERS]
    pd.testing.assert_frame_equal(leaderboard(runs)[kept], leaderboard(runs.assign(**{"test/accuracy": luck}))[kept])


def test_a_row_is_the_mean_over_seeds_of_a_variant_at_an_epoch_budget():
    found = board(
        run("b", "x", val=0.90, seed=1, train_seconds=120.0),
        run("a", "x", val=0.92, seed=0, train_seconds=100.0),
        run("c", "x", val=0.80, seed=0, epochs=3),
    )
    assert list(found["epochs"]) == [10, 3] and list(found["seeds"]) == [2, 1]
    assert found["val_accuracy"][0] == pytest.approx(0.91) and found["test_accuracy"][0] == pytest.approx(0.90)
    assert found["train_seconds"][0] == 110.0
    assert found["run_id"][0] == "a b"


def test_by_run_a_row_is_a_run_and_is_compared_with_the_baselines_run_of_its_seed():
    found = board(seeds("baseline", [0.90, 0.80]), seeds("x", [0.91, 0.85]), by="run")
    found = ours(found).set_index("variant")
    assert list(found.index) == ["x · seed 0", "baseline · seed 0", "x · seed 1", "baseline · seed 1"]
    assert list(found["seeds"]) == [1] * 4 and list(found["run_id"].str.split().map(len)) == [1] * 4
    assert found.loc["x · seed 0", "difference"] == pytest.approx(0.01)
    assert found.loc["x · seed 1", "difference"] == pytest.approx(0.05)
    assert list(found["verdict"]) == ["one seed", "baseline"] * 2 and found["p_value"].isna().all()


def test_ties_go_to_fewer_parameters_then_to_the_name():
    found = board(run("c", "b", parameters=10), run("a", "z", parameters=5), run("b", "a", parameters=10))
    assert list(found["run_id"]) == ["a", "b", "c"] and list(found["rank"]) == [1, 1, 1]


def test_budgets_are_ranked_each_by_itself_the_common_one_first_then_the_longest():
    found = board(
        run("a", "x", 0.80, epochs=10), run("b", "y", 0.81, epochs=10), run("c", "x", 0.7, epochs=1),
        run("d", "y", 0.6, epochs=1), run("e", "z", 0.5, epochs=1), run("f", "x", 0.99, epochs=50),
    )  # fmt: skip
    assert list(found["run_id"]) == list("bafcde") and list(found["rank"]) == [1, 2, 1, 1, 2, 3]


def test_the_order_in_which_seeds_are_added_up_does_not_break_a_tie():
    values = (0.1, 0.2, 0.3)
    first = [run(f"a{i}", "small", value, seed=i, parameters=1) for i, value in enumerate(values)]
    second = [run(f"b{i}", "large", value, seed=i, parameters=2) for i, value in enumerate(values[::-1])]
    assert list(board(second, first)["variant"]) == ["small", "large"]


def test_the_order_of_the_runs_changes_nothing():
    rng = np.random.default_rng(0)
    runs = frame(*(seeds(f"v{i}", 0.9 + rng.normal(0, 0.005, 3), epochs=e) for i in range(6) for e in (1, 10)))
    runs = pd.concat([runs, frame(seeds("baseline", [0.90, 0.905, 0.91]), run("f", "v1", None, status="FAILED"))])
    runs = runs.assign(start_time=range(len(runs)))
    first = leaderboard(runs)
    for seed in range(3):
        pd.testing.assert_frame_equal(first, leaderboard(runs.sample(frac=1, random_state=seed)), check_exact=True)


@pytest.mark.parametrize("status", ["FAILED", "RUNNING", "KILLED"])
def test_runs_that_did_not_finish_come_last_one_row_each_without_rank_accuracy_or_verdict(status):
    found = board(run("a", "x", 0.99, status=status), run("b", "x", 0.98, status=status), run("c", val=0.5))
    found = ours(found)
    assert list(found["run_id"]) == ["c", "a", "b"]
    assert found["rank"][0] == 1 and found["rank"][1:].isna().all()
    assert list(found["status"]) == ["FINISHED", status, status]
    assert found["val_accuracy"][1:].isna().all() and list(found["verdict"]) == ["baseline", "", ""]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_finished_run_without_a_finite_accuracy_is_seen_but_not_ranked(value):
    found = board(run("a", "wild", value), run("b", "x", val=0.5), run("c", "wild", 0.4, seed=1))
    assert list(found["run_id"]) == ["b", "c", "a"]
    assert found["rank"].isna().tolist() == [False, True, True]
    assert found["seeds"][1] == 1 and found["val_accuracy"][1] == 0.4
    assert list(found["failed"]) == [0, 1, 1]


def test_a_variant_of_which_seeds_failed_says_so_and_has_no_rank_unless_asked_for():
    runs = [
        seeds("baseline", [0.90, 0.91, 0.92]), seeds("x", [0.93, 0.94, 0.951]), run("f", "x", None, seed=3,
        status="FAILED"), seeds("y", [0.93, 0.94, 0.951]),
    ]  # fmt: skip
    found = row(board(*runs).query("status == 'FINISHED'"), "x")
    assert (found["verdict"], found["failed"], found["rank"]) == ("seeds failed", 1, pd.NA)
    assert list(board(*runs)["variant"])[:3] == ["y", "baseline", "x"] and board(*runs)["rank"][0] == 1
    assert row(board(*runs, rank_failed=True).query("status == 'FINISHED'"), "x")["rank"] == 1
    again = run("g", "x", 0.9, seed=3, signature="signed f")
    assert row(board(*runs, again).query("status == 'FINISHED'"), "x")["failed"] == 0


def test_a_baseline_of_which_seeds_failed_is_no_baseline_to_be_better_than():
    lost = run("f", "baseline", None, seed=3, status="FAILED")
    found = board(seeds("baseline", [0.90, 0.91, 0.92]), seeds("x", [0.93, 0.94, 0.951]), lost)
    assert row(found, "x")["verdict"] == "seeds failed" and row(found, "x")["rank"] == 1


def test_the_worst_seeds_failing_makes_no_equal_variant_better():
    rng, found = np.random.default_rng(0), 0
    for _ in range(20):
        values = rng.normal(0.9, 0.003, 10)
        kept = values > np.quantile(values, 0.3)
        runs = [run(f"x{s}", "x", v if ok else None, seed=s, status="FINISHED" if ok else "FAILED")
                for s, (v, ok) in enumerate(zip(values, kept, strict=True))]  # fmt: skip
        found += (board(seeds("baseline", list(rng.normal(0.9, 0.003, 10))), runs)["verdict"] == "better").any()
    assert found == 0


def test_nothing_finished_yet_is_a_board_without_ranks():
    recalls = {name: np.nan for name in run("a") if name.startswith("test/recall/")}
    found = board(run("a", val=None, status="RUNNING", **recalls))
    assert found["rank"].isna().all() and found["worst_class"].isna().all() and list(found["verdict"]) == [""]


def test_no_runs_are_a_board_without_rows_and_with_the_same_types():
    empty = leaderboard(frame(run("a")).iloc[:0])
    assert empty.empty and list(empty.columns) == columns()
    assert empty.dtypes.equals(board(run("a")).dtypes)


def test_metrics_that_no_run_has_logged_are_missing_not_an_error():
    record = {key: value for key, value in run("a", "x").items() if not key.startswith("test/")}
    found = board(record)
    assert found["rank"][0] == 1 and found["test_accuracy"].isna().all() and found["worst_recall"].isna().all()


def test_a_seed_recorded_twice_counts_once_and_the_newest_counts():
    found = board(
        run("new", "x", val=0.95, start_time=3000),
        run("old", "x", val=0.50, start_time=2000),
        run("other", "x", val=0.93, seed=1),
    )
    assert len(found) == 1 and found["seeds"][0] == 2
    assert found["val_accuracy"][0] == pytest.approx(0.94) and found["run_id"][0] == "new other"


def test_a_newer_failure_does_not_displace_a_finished_run():
    found = board(run("good", "x", start_time=1000), run("bad", "x", None, status="FAILED", start_time=2000))
    assert list(found["run_id"]) == ["good", "bad"]


def test_the_worst_class_is_that_of_the_recall_averaged_over_seeds():
    shirt, top = "test/recall/Shirt", "test/recall/T-shirt/top"
    found = board(run("a", "x", seed=0, **{shirt: 0.60, top: 0.70}), run("b", "x", seed=1, **{shirt: 0.90, top: 0.74}))
    assert found["worst_class"][0] == "T-shirt/top" and found["worst_recall"][0] == pytest.approx(0.72)


def test_one_name_with_different_precisions_or_data_is_told_apart():
    found = board(
        run("a", "x", val=0.9, variant_signature="s1"),
        run("b", "x", val=0.8, variant_signature="s2", **{"compute.precision": "bfloat16"}),
        run("c", "filters=64", val=0.7, variant_signature="s3"),
        run("d", "filters=64", val=0.6, variant_signature="s4", data_digest="fedcba9876543210"),
        run("e", "filters=32", val=0.5),
    )
    assert list(found["variant"]) == [
        "x (float32)",
        "x (bfloat16)",
        "filters=64 (data 01234567)",
        "filters=64 (data fedcba98)",
        "filters=32",
    ]


def test_a_study_of_precision_compares_across_it():
    exact = seeds("baseline", [0.90, 0.91, 0.92])
    rounded = seeds("rounded", [0.92, 0.94, 0.96], **{"compute.precision": "bfloat16"})
    assert row(board(exact, rounded), "rounded")["pairs"] == 0
    found = row(board(exact, rounded, pair_columns=["data_digest"]), "rounded")
    assert found["pairs"] == 3 and found["difference"] == pytest.approx(0.03) and found["verdict"] == "better"


def test_names_that_nothing_else_tells_apart_carry_their_signature():
    found = board(run("a", "x", variant_signature="abcdef012345"), run("b", "x", variant_signature="fedcba543210"))
    assert set(found["variant"]) == {"x (signature abcdef01)", "x (signature fedcba54)"}


def test_the_runs_given_are_left_as_they_were():
    runs = frame(run("a"), run("b", status="FAILED"))
    before = runs.copy()
    leaderboard(runs)
    pd.testing.assert_frame_equal(runs, before)


# ---- Intervals ------------------------------------------------------------------------------------------


def test_the_interval_of_several_seeds_is_students():
    found = board(seeds("x", [0.90, 0.92, 0.91])).iloc[0]
    # sd 0.01, t(0.975, 2) = 4.302653, half width 4.302653 * 0.01 / sqrt(3)
    assert found["val_accuracy_sd"] == pytest.approx(0.01)
    assert found["val_accuracy_low"] == pytest.approx(0.91 - 0.0248414, abs=1e-7)
    assert found["val_accuracy_high"] == pytest.approx(0.91 + 0.0248414, abs=1e-7)
    assert found["test_accuracy_high"] - found["test_accuracy_low"] == pytest.approx(2 * 0.0248414, abs=1e-7)


def test_the_interval_of_one_seed_is_wilsons_for_the_images_that_it_was_counted_on():
    found = board(run("a", "x", 0.9, validation_images=300, test_images=200)).iloc[0]
    for name, share, images in (("val", 0.9, 300), ("test", 0.89, 200)):
        ends = proportion_confint(share * images, images, method="wilson")
        assert (found[f"{name}_accuracy_low"], found[f"{name}_accuracy_high"]) == pytest.approx(ends)
    assert np.isnan(found["val_accuracy_sd"])


def test_a_run_that_does_not_say_how_many_images_it_saw_is_taken_to_have_seen_the_usual_ones():
    found = board(run("a", "x", 0.9, validation_images=0, test_images=0)).iloc[0]
    ends = proportion_confint(0.9 * 6000, 6000, method="wilson")
    assert (found["val_accuracy_low"], found["val_accuracy_high"]) == pytest.approx(ends)


def test_a_metric_that_the_schema_reports_is_a_group_of_columns(monkeypatch):
    size = Metric("test/confidence", "confidence on the test set", True, unit="nats")
    monkeypatch.setattr(module, "REPORTED", [*module.REPORTED, size])
    found = board(seeds("x", [0.9, 0.92], **{size.key: 0.5}), seeds("y", [0.8, 0.82])).set_index("variant")
    assert list(found.columns) == [name for name in columns() if name != "variant"]
    assert found.loc["x", "test_confidence"] == 0.5 and found.loc["x", "test_confidence_sd"] == 0
    assert np.isnan(found.loc["y", "test_confidence"])


def test_a_loss_of_one_seed_has_no_interval():
    found = board(run("a", "x", 0.9), metric="val/loss").iloc[0]
    assert found["val_loss"] == pytest.approx(0.1) and np.isnan(found[["val_loss_low", "val_loss_high"]].tolist()).all()


def test_an_interval_of_a_share_stays_within_0_and_1():
    found = board(seeds("x", [0.999, 0.95, 0.9]), seeds("y", [0.0, 0.1, 0.02]))
    assert found["val_accuracy_high"][0] == 1 and found["val_accuracy_low"][1] == 0 <= found["test_accuracy_low"][1]


def test_intervals_of_differences_exclude_0_exactly_where_the_corrected_p_is_below_5_per_cent():
    rng = np.random.default_rng(0)
    values = {f"v{i}": 0.9 + 0.004 * i + rng.normal(0, 0.003, 4) for i in range(8)}
    found = board(seeds("baseline", list(0.9 + rng.normal(0, 0.003, 4))), *(seeds(n, list(v)) for n, v in
                  values.items())).dropna(subset="p_value")  # fmt: skip
    excluded = (found["difference_low"] > 0) | (found["difference_high"] < 0)
    assert list(excluded) == list(found["p_value"] < 0.05) and 0 < excluded.sum() < 8
    assert list(found["comparisons"]) == [8] * 8 and found["difference_sd"].between(0.001, 0.01).all()


# ---- Against the baseline -------------------------------------------------------------------------------


def test_a_difference_is_that_of_pairs_on_the_seeds_that_both_have():
    found = row(board(seeds("baseline", [0.90, 0.80, 0.70, None]), seeds("x", [None, 0.83, 0.71, 0.99])), "x")
    # Of seeds 1 and 2: +0.03 and +0.01. sd 0.0141421, t(0.975, 1) = 12.7062, t = 2, p = 2 (1/2 - atan(2)/pi).
    assert found["difference"] == pytest.approx(0.02)
    assert found["difference_high"] == pytest.approx(0.02 + 12.7062047 * 0.01)
    assert found["p_value"] == pytest.approx(1 - 2 * np.arctan(2) / np.pi)
    assert found["bootstrap_low"] == pytest.approx(0.01) and found["bootstrap_high"] == pytest.approx(0.03)
    assert found["seeds"] == 3 and found["pairs"] == 2


def test_the_test_is_scipys_paired_t_test_and_the_correction_statsmodels_holm_of_each_epoch_budget():
    rng = np.random.default_rng(1)
    values = {(name, epochs): 0.9 + rng.normal(0, 0.003, 4) for name in ("baseline", *"abcd") for epochs in (3, 10)}
    found = board(*(seeds(name, list(value), epochs=epochs) for (name, epochs), value in values.items()))
    for epochs in (3, 10):
        p = [scipy.ttest_rel(values[name, epochs], values["baseline", epochs]).pvalue for name in "abcd"]
        corrected = [row(found, name, epochs)["p_value"] for name in "abcd"]
        assert corrected == pytest.approx(multipletests(p, method="holm")[1])


def test_runs_that_cannot_be_compared_do_not_make_the_correction_stricter():
    pair = [seeds("baseline", [0.90, 0.91, 0.92]), seeds("x", [0.93, 0.94, 0.951])]
    alone = row(board(*pair), "x")["p_value"]
    others = [run("o1", "one seed"), run("o2", "failed", None, status="FAILED"), seeds("y", [0.1, 0.2], epochs=3)]
    assert row(board(*pair, *others), "x")["p_value"] == alone


def test_verdicts_are_words():
    steady = [0.900, 0.910, 0.920, 0.905]
    found = board(
        seeds("baseline", steady),
        seeds("up", [value + 0.02 + i / 1e4 for i, value in enumerate(steady)]),
        seeds("down", [value - 0.02 + i / 1e4 for i, value in enumerate(steady)]),
        seeds("same", [0.901, 0.909, 0.921, 0.904]),
        seeds("alone", [0.99]),
        seeds("elsewhere", steady, epochs=3),
    )
    assert ours(found).set_index("variant")["verdict"].to_dict() == {
        "up": "better", "down": "worse", "same": "open", "alone": "one seed",
        "baseline": "baseline", "elsewhere": "",
    }  # fmt: skip
    none = row(found, "baseline")[["difference", "difference_low", "p_value", "better_probability", "bootstrap_low"]]
    assert none.isna().all() and np.isnan(row(found, "alone")["p_value"])


def test_less_loss_is_better():
    steady = np.array([0.300, 0.310, 0.320, 0.305])
    losses = {"baseline": steady, "less": steady * 0.7, "more": steady * 1.3}
    runs = frame(*(seeds(name, [0.9] * 4) for name in losses)).assign(
        **{"val/loss": np.concatenate([*losses.values()])}
    )
    found = leaderboard(runs, metric="val/loss")
    assert list(found.columns) == columns("val/loss") and "val_loss" in found
    found = ours(found)
    assert list(found["variant"]) == ["less", "baseline", "more"] and list(found["rank"]) == [1, 2, 3]
    assert list(found["verdict"]) == ["better", "baseline", "worse"]
    assert found["difference"][0] < 0 < found["difference"][2]
    assert found["better_probability"][0] == 1.0 and found["better_probability"][2] == 0.0


def test_the_probability_to_be_better_is_over_all_pairs_of_runs():
    found = row(board(seeds("baseline", [0.90, 0.92]), seeds("x", [0.91, 0.92])), "x")
    assert found["better_probability"] == (1 + 0 + 1 + 0.5) / 4


def test_only_a_baseline_of_the_same_precision_and_data_is_compared_with():
    other = {"compute.precision": "bfloat16"}
    found = board(
        seeds("baseline", [0.90, 0.91], variant_signature="s1"),
        seeds("baseline", [0.80, 0.81], variant_signature="s2", **other),
        seeds("x", [0.82, 0.84], **other),
        seeds("y", [0.5, 0.6], data_digest="fedcba9876543210"),
    )
    assert row(found, "x")["difference"] == pytest.approx(0.025)
    assert row(found, "y")["verdict"] == "" and np.isnan(row(found, "y")["difference"])
    assert list(ours(found)["verdict"]).count("baseline") == 2


def test_another_variant_can_be_the_baseline():
    runs = [seeds("baseline", [0.90, 0.91]), seeds("x", [0.92, 0.94])]
    found = board(*runs, baseline="x")
    assert row(found, "baseline")["difference"] == pytest.approx(-0.025) and row(found, "x")["verdict"] == "baseline"
    assert "published" not in set(found["verdict"])


def test_runs_that_agree_to_the_last_bit_are_evidence_of_nothing():
    found = row(board(seeds("baseline", [0.9, 0.9, 0.9]), seeds("x", [0.9, 0.9, 0.9])), "x")
    assert (found["difference"], found["p_value"], found["verdict"]) == (0.0, 1.0, "open")
    assert np.isnan(found["difference_low"]) and found["better_probability"] == 0.5


def test_equal_differences_are_weighed_by_how_many_they_are():
    for count, verdict in ((3, "open"), (6, "better")):
        steady = [0.9 + i / 64 for i in range(count)]
        found = row(board(seeds("baseline", steady), seeds("x", [value + 1 / 64 for value in steady])), "x")
        assert found["p_value"] == pytest.approx(2 * 0.5**count) and found["verdict"] == verdict


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_wrong_and_all_right_are_numbers_like_others(share):
    found = board(run("a", val=share, **{"test/accuracy": share}), run("b", "x", share, **{"test/accuracy": share}))
    for name in ("val", "test"):
        low, high = found[f"{name}_accuracy_low"][0], found[f"{name}_accuracy_high"][0]
        assert 0 <= low <= share <= high <= 1 and high - low > 1e-4


# ---- Ranks ----------------------------------------------------------------------------------------------


def test_rows_share_the_rank_of_the_first_that_they_cannot_be_told_from():
    found = board(
        seeds("a", [0.950, 0.951, 0.952]),
        seeds("b", [0.949, 0.953, 0.950]),
        seeds("c", [0.9000, 0.9011, 0.9019]),
        seeds("d", [0.899, 0.903, 0.900]),
        seeds("e", [0.8000, 0.8021, 0.8009]),
    )
    assert list(found["variant"]) == list("abcde") and list(found["rank"]) == [1, 1, 3, 3, 5]


def test_rows_of_one_seed_are_in_their_order_and_share_a_rank_with_the_same_number_alone():
    assert list(board(run("a", "x", 0.9), run("b", "y", 0.5), run("c", "z", 0.5))["rank"]) == [1, 2, 2]
    found = board(seeds("a", [0.95, 0.951, 0.952]), seeds("b", [0.949, 0.953, 0.95]), run("o", "one", 0.9505))
    assert list(found["variant"]) == ["a", "b", "one"] and list(found["rank"]) == [1, 1, 3]


def test_the_luckiest_of_equal_variants_leaves_none_behind_in_95_of_100_studies():
    rng, behind = np.random.default_rng(1), 0
    for _ in range(100):
        scores = pd.DataFrame(rng.normal(0.9, 0.003, (10, 4)) + rng.normal(0, 0.004, 4))
        scores = scores.loc[scores.mean(axis=1).sort_values(ascending=False).index]
        behind += (module._ranks(scores, stats.ONE_LOOK) > 1).any()
    assert behind <= scipy.binom.ppf(0.99, 100, 0.05)


def test_a_row_that_cannot_be_told_from_the_first_shares_its_rank_though_one_above_it_can():
    found = board(
        seeds("first", [0.950, 0.951, 0.952, 0.9505]),
        seeds("told", [0.9300, 0.9311, 0.9319, 0.9304]),
        seeds("noisy", [0.80, 0.99, 0.97, 0.94]),
    )
    assert list(found["variant"]) == ["first", "noisy", "told"] and list(found["rank"]) == [1, 1, 3]


def test_a_row_that_is_ahead_on_the_seeds_that_are_shared_is_not_ranked_below():
    found = board(seeds("a", [0.800, 0.810, 0.805, 0.99, 0.99]), seeds("b", [0.8200, 0.8301, 0.8252]))
    assert list(found["variant"]) == ["a", "b"] and list(found["rank"]) == [1, 1]


def test_ranks_never_fall_along_the_board():
    rng = np.random.default_rng(2)
    for _ in range(8):
        values = {f"v{i}": rng.normal(0.9, 0.003, 4) + rng.normal(0, 0.01) for i in range(8)}
        runs = [seeds(name, [v if rng.random() < 0.8 else None for v in value]) for name, value in values.items()]
        ranks = board(*runs)["rank"].to_numpy(dtype=int)
        assert ranks[0] == 1 and (np.diff(ranks) >= 0).all()
        assert all(rank == 1 + place for place, rank in enumerate(ranks) if place and rank != ranks[place - 1])


# ---- What the article published -------------------------------------------------------------------------


def test_what_the_article_published_stands_beside_its_baseline_at_the_same_epochs_alone():
    found = board(run("a", epochs=10), run("b", epochs=3), run("c", "x", epochs=50))
    said = found[found["verdict"] == "published"]
    assert list(said["variant"]) == ["article · 10 epochs"]
    only = said.iloc[0]
    assert (only["val_accuracy"], only["test_accuracy"], only["worst_class"]) == (0.8750, 0.9021, "Shirt")
    assert only["rank"] is pd.NA and only["run_id"] == "" and np.isnan(only["difference"])
    assert "published" not in set(board(run("a", "limit=3000", epochs=10), baseline="limit=3000")["verdict"])
    assert "published" not in set(board(run("a", val=None, status="RUNNING", epochs=10))["verdict"])


def test_beside_a_loss_the_article_has_its_test_accuracy():
    said = board(run("a"), metric="val/loss").iloc[-1]
    assert said["verdict"] == "published" and np.isnan(said["val_loss"]) and said["test_accuracy"] == 0.9021


# ---- As data --------------------------------------------------------------------------------------------


def test_csv_reads_back_to_the_same_values_and_types():
    found = board(
        seeds("baseline", [0.1 + 0.2, 1 / 3], train_seconds=1 / 3),
        seeds("filters=[32,64]", [0.31, 0.44]),
        run("f", "x", None, status="FAILED"),
    )
    texts = {name: str for name in found if found[name].dtype == object}
    back = pd.read_csv(io.StringIO(render(found, "csv")), dtype={"rank": "Int64", **texts})
    for name in texts:
        back[name] = back[name].astype(object).where(back[name].notna(), "")
    pd.testing.assert_frame_equal(back, found.assign(**{name: found[name].fillna("") for name in texts}))


def test_three_thousand_rows_are_a_board_like_any_other():
    rng = np.random.default_rng(0)
    count, of_each = 3000, 3
    total = count * of_each
    variant = np.repeat([f"v{i}" for i in range(count - 1)] + ["baseline"], of_each)
    runs = pd.DataFrame({**run("", ""), "variant": variant, "variant_signature": variant})
    runs = runs.assign(run_id=[f"{i:032x}" for i in range(total)], seed=np.tile(range(of_each), count))
    runs["val/accuracy"] = 0.9 + rng.normal(0, 0.003, total)
    found = leaderboard(runs)
    assert len(ours(found)) == count and found["p_value"].notna().sum() == count - 1
    assert found["variant"].is_unique and ours(found)["val_accuracy"].is_monotonic_decreasing
    assert set(found["verdict"]) == {"baseline", "open", "published"}


def test_a_row_whose_interval_lies_within_the_margin_is_no_difference_that_matters():
    base, close = [0.900, 0.901, 0.902, 0.903], [0.9011, 0.9022, 0.9031, 0.9042]
    runs = [seeds("baseline", base), seeds("close", close), seeds("wild", [0.9, 0.93, 0.88, 0.91])]
    rows = board(*runs, rule=Rule(margin=0.005)).set_index("variant").loc[["baseline", "close", "wild"]]
    assert rows["verdict"].to_dict() == {"baseline": "baseline", "close": "no difference that matters", "wild": "open"}
    assert board(*runs).set_index("variant")["verdict"]["close"] == "better"
    assert "no difference that matters" not in set(board(*runs, metric="val/loss", rule=Rule(margin=1.0))["verdict"])
