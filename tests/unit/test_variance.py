"""What explains a grid's variance: by hand, and as statsmodels has it."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.anova import AnovaRM

from fmnist.analysis.effects import SHARE_COLUMNS, _repeated_measures, grid_effects
from fmnist.analysis.stats import ONE_LOOK


def grid(response, **levels):
    points = [dict(zip(levels, point, strict=True)) for point in product(*levels.values())]
    return pd.DataFrame([{"val/accuracy": response(**point), **point} for point in points])


def signed(filters, scale, seed):
    a, b, c = 2 * filters - 1, 2 * scale - 1, 2 * seed - 1
    return 2 * a + b + a * b / 2 + c / 4 + a * b * c / 8


def effects(frame, axes=("filters", "scale")):
    return grid_effects(frame, "val/accuracy", list(axes), "seed")


def test_a_grids_variance_is_shared_among_axes_their_interaction_seeds_and_the_rest():
    found = effects(grid(signed, filters=[0, 1], scale=[0, 1], seed=[0, 1]))
    assert list(found["term"]) == ["filters", "scale", "filters × scale", "seed", "rest"]
    assert list(found["kind"]) == ["main", "main", "interaction", "seeds", "rest"]
    squares = np.array([8 * 2**2, 8, 8 / 2**2, 8 / 4**2, 8 / 8**2])  # of 8 runs, each effect squared
    np.testing.assert_allclose(found["share"], squares / squares.sum())
    assert list(found["df"]) == [1, 1, 1, 1, 3] and found.iloc[3:][["F", "p"]].isna().all(axis=None)


def test_an_effect_is_tested_against_how_much_it_differs_from_seed_to_seed():
    rng = np.random.default_rng(0)
    noise = {point: rng.normal() for point in product(range(3), range(2), range(5))}
    frame = grid(lambda filters, scale, seed: filters + noise[filters, scale, seed] + seed,
                 filters=[0, 1, 2], scale=[0, 1], seed=range(5))  # fmt: skip
    found = effects(frame).set_index("term")
    theirs = AnovaRM(frame, "val/accuracy", "seed", within=["filters", "scale"]).fit().anova_table
    assert found["F"].tolist()[:3] == pytest.approx(theirs["F Value"].tolist())
    means = frame.pivot_table(index="seed", columns="scale", values="val/accuracy")
    assert found.loc["scale", "p"] == pytest.approx(scipy_stats.ttest_rel(means[0], means[1]).pvalue)
    assert found.loc["filters", "p"] >= theirs.loc["filters", "Pr > F"]  # degrees of freedom corrected
    lacking = effects(frame.iloc[1:]).set_index("term")  # the seed that lacks a combination does not count
    assert lacking.loc["scale", "F"] == pytest.approx(effects(frame[frame["seed"] > 0]).set_index("term")["F"]["scale"])


@pytest.mark.parametrize(("spread", "count"), [(0.0, 3), (1.0, 3), (3.0, 5)])
def test_a_grid_in_which_seeds_alone_differ_shows_a_main_effect_in_5_of_100_studies(spread, count):
    rng = np.random.default_rng(count)
    found = 0
    for _ in range(200):
        of_level = rng.normal(0, 1, (3, count)) * np.array([[1.0], [1.0], [1.0 + spread]])  # a seed's liking of levels
        accuracies = rng.normal(0, 0.5, (3, 2, count)) + of_level[:, None] + rng.normal(0, 1, count)
        found += _repeated_measures(np.moveaxis(accuracies, -1, 0), [0], ONE_LOOK)[1] < 0.05
    assert found <= scipy_stats.binom.ppf(0.99, 200, 0.05)


def test_options_keep_their_names_and_levels_may_be_lists():
    frame = grid(signed, filters=[0, 1], scale=[0, 1], seed=[0, 1]).rename(columns={"filters": "model.filters"})
    frame["model.filters"] = frame["model.filters"].map({0: 64, 1: [32, 64]})
    assert effects(frame, ["model.filters", "scale"])["term"][2] == "model.filters × scale"


def test_without_seeds_to_tell_interactions_from_chance_there_are_main_effects_only():
    found = effects(grid(signed, filters=[0, 1], scale=[0, 1], seed=[0]))
    assert list(found["kind"]) == ["main", "main", "rest"]


def test_a_study_that_varies_one_axis_at_a_time_has_no_interactions():
    frame = grid(signed, filters=[0, 1], scale=[0, 1], seed=[0, 1, 2])
    found = effects(frame[frame["filters"] * frame["scale"] == 0])
    assert list(found["kind"]) == ["main", "main", "seeds", "rest"] and found["share"][0] > found["share"][1]


def test_an_axis_of_one_level_and_runs_without_a_number_are_left_out():
    frame = grid(signed, filters=[0, 1], scale=[1], seed=[0, 1, 2])
    frame.loc[1, "val/accuracy"] = float("nan")
    found = effects(frame)
    assert list(found["term"]) == ["filters", "seed", "rest"] and found["df"].sum() == 4


@pytest.mark.parametrize("rows", [[], [0], [0, 3, 6], [0, 1]])
def test_where_effects_cannot_be_told_apart_nothing_is_said(rows):
    found = effects(grid(signed, filters=[0, 1], scale=[0, 1], seed=[0, 1]).iloc[rows])
    assert found.empty and list(found.columns) == list(SHARE_COLUMNS) and found["share"].dtype == float


def test_a_response_that_never_varies_has_no_effects():
    assert effects(grid(lambda **_: 0.9, filters=[0, 1], scale=[0, 1], seed=[0, 1])).empty


def test_effects_without_any_noise_are_no_error():
    found = effects(grid(lambda filters, scale, seed: float(filters), filters=[0, 1], scale=[0, 1], seed=[0, 1]))
    assert found["share"][0] == pytest.approx(1)
