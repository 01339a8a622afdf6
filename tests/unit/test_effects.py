"""What each level changes: against the baseline alone, and over the combinations of a grid."""

import itertools

import numpy as np
import pandas as pd
import pytest
from runs import frame, run, seeds
from scipy import stats as scipy
from statsmodels.formula.api import ols

from fmnist.analysis.effects import COLUMNS, main_effects, one_at_a_time
from fmnist.analysis.leaderboard import leaderboard

AXES = {"a": "1", "b": "x"}  # with the levels that the others are compared with


# ---- One at a time --------------------------------------------------------------------------------------


def test_a_levels_effect_is_its_rows_difference_from_the_baseline():
    board = leaderboard(
        frame(
            seeds("baseline", [0.90, 0.91, 0.92]), seeds("filters=64", [0.92, 0.94, 0.96]),
            seeds("scale=unit", [0.93, 0.90, 0.93]), seeds("other", [0.1, 0.2, 0.3]), run("f", "filters=32", None),
        )
    )  # fmt: skip
    levels = {
        "signed baseline": {},
        "signed filters=32": {"model.filters": "32"},
        "signed filters=64": {"model.filters": "64"},
        "signed scale=unit": {"data.scale": "unit"},
    }
    found = one_at_a_time(board, levels)
    assert list(found.columns) == list(COLUMNS)
    assert found[["axis", "level", "epochs", "seeds"]].to_numpy().tolist() == [
        ["model.filters", "64", 10, 3],
        ["data.scale", "unit", 10, 3],
    ]
    row = board.set_index("variant").loc["filters=64"]
    expected = row[["difference", "difference_low", "difference_high", "p_value"]].tolist()
    assert found.loc[0, ["effect", "low", "high", "p_value"]].tolist() == expected
    assert found["effect"][0] == pytest.approx(0.03)


def test_effects_come_by_axis_and_level_as_they_were_declared_then_by_budget():
    rng = np.random.default_rng(0)
    names = ["baseline", "size=16", "size=3", "augment=none", "augment=light"]
    runs = frame(*(seeds(name, list(rng.random(2)), epochs=epochs) for epochs in (10, 1) for name in names))
    levels = {
        f"signed {name}": dict([name.split("=")]) for name in ("size=3", "size=16", "augment=none", "augment=light")
    }
    found = one_at_a_time(leaderboard(runs), levels)
    assert list(zip(found["level"], found["epochs"], strict=True)) == [
        ("3", 1), ("3", 10), ("16", 1), ("16", 10), ("none", 1), ("none", 10), ("light", 1), ("light", 10),
    ]  # fmt: skip


def test_seeds_are_those_that_level_and_baseline_share():
    board = leaderboard(frame(seeds("baseline", [0.90, 0.91]), seeds("x", [0.92, 0.94, 0.96, 0.97])))
    assert one_at_a_time(board, {"signed x": {"a": "x"}})["seeds"].tolist() == [2]


def test_of_one_seed_there_is_an_effect_without_interval():
    found = one_at_a_time(leaderboard(frame(run("a"), run("b", "x", 0.95))), {"signed x": {"a": "x"}})
    assert found["effect"][0] == pytest.approx(0.05) and found[["low", "high", "p_value"]].isna().all(axis=None)


def test_nothing_to_compare_is_an_empty_frame_with_its_types():
    board = leaderboard(frame(run("a", "x")))
    found = one_at_a_time(board, {"signed x": {"a": "x"}})
    assert found.empty and found["effect"].dtype.kind == "f" and found["seeds"].dtype.kind == "i"
    assert one_at_a_time(board.iloc[:0], {}).dtypes.equals(found.dtypes)


# ---- Grids ----------------------------------------------------------------------------------------------


def grid(values, **changes):
    """Runs of a grid, from (level of a, level of b) to an accuracy by seed; and the levels of their signatures."""
    runs = [one for (a, b), given in values.items() for one in seeds(f"a={a} b={b}", given, **changes)]
    return frame(runs), {f"signed a={a} b={b}": {"a": a, "b": b} for a, b in values}


def test_a_main_effect_is_the_mean_over_the_other_axis_paired_by_seed():
    runs, levels = grid(
        {("1", "x"): [0.80, 0.82], ("2", "x"): [0.83, 0.86], ("1", "y"): [0.70, 0.71], ("2", "y"): [0.72, 0.72]}
    )
    found = main_effects(runs, levels, AXES).set_index(["axis", "level"])
    # a=2 against 1. Seed 0: (0.03 + 0.02) / 2 = 0.025; seed 1: (0.04 + 0.01) / 2 = 0.025: equal, so the sign test.
    two = found.loc[("a", "2")]
    assert two["effect"] == pytest.approx(0.025) and two["seeds"] == 2 and np.isnan(two["low"])
    # b=y against x. Seed 0: (-0.10 - 0.11) / 2 = -0.105; seed 1: (-0.11 - 0.14) / 2 = -0.125.
    # sd 0.0141421, t = -0.115 / 0.01 = -11.5, p = 1 - 2 atan(11.5) / pi = 0.055219; of two: t(0.9875, 1) = 25.4517
    y = found.loc[("b", "y")]
    assert y["effect"] == pytest.approx(-0.115)
    assert (y["low"], y["high"]) == pytest.approx((-0.115 - 0.254517, -0.115 + 0.254517), abs=1e-6)
    assert (two["p_value"], y["p_value"]) == pytest.approx((0.5, 2 * (1 - 2 * np.arctan(11.5) / np.pi)))


def test_a_full_grids_effects_are_those_of_a_linear_model():
    rng = np.random.default_rng(3)
    values = {(a, b): list(rng.normal(0.9, 0.01, 4)) for a, b in itertools.product("123", "xyz")}
    runs, levels = grid(values)
    found = main_effects(runs, levels, AXES).set_index(["axis", "level"])
    data = runs.assign(accuracy=runs["val/accuracy"], a=[levels[s]["a"] for s in runs["variant_signature"]],
                       b=[levels[s]["b"] for s in runs["variant_signature"]])  # fmt: skip
    model = ols("accuracy ~ C(a) + C(b) + C(seed)", data).fit()
    for (axis, level), row in found.iterrows():
        assert row["effect"] == pytest.approx(model.params[f"C({axis})[T.{level}]"])
    means = data.pivot_table(index="seed", columns="a", values="accuracy")
    p = scipy.ttest_rel(means["2"], means["1"]).pvalue
    assert found["p_value"].loc[("a", "2")] >= p and len(found) == 4


def test_combinations_that_were_not_run_with_both_levels_do_not_count():
    runs, levels = grid({("1", "x"): [0.80, 0.81], ("2", "x"): [0.83, 0.84], ("2", "y"): [0.10, 0.11]})
    found = main_effects(runs, levels, AXES).set_index(["axis", "level"])
    assert found.loc[("a", "2"), "effect"] == pytest.approx(0.03)
    assert found.loc[("b", "y"), "effect"] == pytest.approx(-0.73)
    assert len(found) == 2


def test_budgets_are_families_of_their_own():
    values = {("1", "x"): [0.80, 0.81, 0.82], ("2", "x"): [0.82, 0.84, 0.86]}
    short, levels = grid(values, epochs=1)
    long, _ = grid(values)
    both = main_effects(pd.concat([short, long]), levels, AXES)
    assert list(both["epochs"]) == [1, 10] and both["p_value"].tolist() == pytest.approx([0.0350987] * 2, abs=1e-6)


def test_a_level_without_the_level_that_it_is_compared_with_has_no_effect():
    runs, levels = grid({("2", "x"): [0.80, 0.81], ("3", "x"): [0.83, 0.84]})
    assert main_effects(runs, levels, AXES).empty
    assert main_effects(runs.iloc[:0], levels, AXES)["effect"].dtype.kind == "f"


def test_a_grid_of_one_axis_is_one_axis():
    runs, levels = grid({("1", "x"): [0.80, 0.81], ("2", "x"): [0.83, 0.85]})
    levels = {signature: {"a": level["a"]} for signature, level in levels.items()}
    assert main_effects(runs, levels, {"a": "1"})["effect"].tolist() == pytest.approx([0.035])
