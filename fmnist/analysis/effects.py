"""What each level of an axis changes, and how much of a grid's variance each axis explains."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as distributions

from fmnist.analysis import stats
from fmnist.analysis.rule import Rule
from fmnist.schema import VAL_ACCURACY

COLUMNS = ("axis", "level", "epochs", "seeds", "effect", "low", "high", "plain", "p_value")
SHARE_COLUMNS = ("term", "kind", "share", "df", "F", "p")
_OF_ROW = ("epochs", "pairs", "difference", "difference_low", "difference_high", "difference_sd", "p_value")
Levels = Mapping[str, Mapping[str, str]]  # variant signature -> axis -> level


def one_at_a_time(rows: pd.DataFrame, levels: Levels) -> pd.DataFrame:
    """The effect of each level at each budget: its row's difference from the baseline.

    Args:
        rows: a leaderboard by variant; its corrected p-values are taken over.
        levels: of each variant, the axis that it varies and the level; rows come in this order.

    Returns:
        axis, level, epochs, seeds (that level and baseline share), effect, low, high (shares of accuracy), plain (half
        of the 95 % interval that looks once and allows for no other comparison), p_value.
    """
    place = {signature: number for number, signature in enumerate(levels)}
    rows = rows.assign(_place=rows["variant_signature"].map(place)).sort_values(["_place", "epochs"], kind="stable")
    effects = [
        (axis, level, *(row[name] for name in _OF_ROW))
        for row in rows[rows["difference"].notna()].to_dict("records")
        for axis, level in levels.get(row["variant_signature"], {}).items()
    ]
    return _frame(effects)


def main_effects(
    runs: pd.DataFrame, levels: Levels, base: Mapping[str, str], rule: Rule = stats.ONE_LOOK
) -> pd.DataFrame:
    """The effect of each level of a grid's axes, averaged over the combinations of the others.

    For each seed the mean over all combinations that were run with both the level and the baseline's level is
    compared; the seeds are the pairs. p-values are corrected by Holm over the levels at the same number of epochs, and
    the intervals are at the level at which Holm judged them.

    Args:
        runs: finished runs, a row a run.
        levels: of each variant, the level of every axis.
        base: the level of each axis that the others are compared with.
        rule: by which differences are judged.

    Returns:
        as `one_at_a_time`.
    """
    table = pd.DataFrame([dict(levels[signature]) for signature in runs["variant_signature"]], runs.index)
    table = table.assign(epochs=runs["epochs"], seed=runs["seed"], accuracy=runs[VAL_ACCURACY.key].astype(float))
    effects = []
    for epochs, of_budget in table.groupby("epochs"):
        family = []
        for axis, start in base.items():
            others = [name for name in base if name != axis]
            wide = of_budget.pivot_table(index=[*others, "seed"], columns=axis, values="accuracy")
            for level in (name for name in wide if name != start and start in wide):
                family.append((axis, level, (wide[level] - wide[start]).dropna().groupby("seed").mean()))
        if not family:
            continue
        differences = pd.concat([by_seed for *_, by_seed in family], axis=1).to_numpy(dtype=float).T
        nothing = np.zeros(differences.shape[1])
        p = stats.paired(differences, nothing, rule=rule).p
        pairs = stats.paired(differences, nothing, stats.confidence_levels(p), rule)
        low, high = np.clip((pairs.low, pairs.high), -1, 1)  # of shares
        numbers = zip(pairs.n, pairs.mean, low, high, pairs.sd, stats.holm(p), strict=True)
        effects += [(axis, level, epochs, *each) for (axis, level, _), each in zip(family, numbers, strict=True)]
    return _frame(effects)


def _frame(effects: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    """The table of effects, whose standard deviations stand in the place of the plain intervals."""
    types = {name: int if name in ("epochs", "seeds") else float for name in COLUMNS[2:]}
    frame = pd.DataFrame(effects, columns=list(COLUMNS)).astype(types)
    plain = stats.half_width(frame["seeds"].to_numpy(), frame["plain"].to_numpy(), 0.95)
    return frame.assign(plain=plain)


def grid_effects(
    frame: pd.DataFrame, response: str, axes: list[str], block: str, rule: Rule = stats.ONE_LOOK
) -> pd.DataFrame:
    """How much of a response's variance each axis of a grid explains, and whether the seeds agree that it does.

    Shares are those of a linear model with seeds as blocks. F and p are a repeated-measures analysis of variance's:
    each effect against how much it differs from seed to seed, over the seeds that have every combination, with degrees
    of freedom corrected for unequal variances (Greenhouse and Geisser 1959). The model's own rest would count every
    combination of a seed as another witness.

    Args:
        frame: a row a run, with the columns named below; rows without a response are left out.
        response: a number, such as `val/accuracy`.
        axes: options, each level a category; those with one level are left out.
        block: what the runs share in pairs, `seed`; each once at every point.
        rule: by which p is corrected for looks at fewer seeds.

    Returns:
        term (an axis, `axis × axis`, the block, `rest`), kind (main | interaction | seeds | rest), share (eta
        squared: sum of squares, type II, over the total; shares add up to 1 if every combination has as many runs),
        df (of the term), F, p (NaN for seeds and rest, or with fewer than two complete seeds). Interactions are there
        if all of them can be told from the rest; no row at all if not even the main effects can, or nothing varies.
    """
    names = {"response": response, "block": block, **{f"axis{i}": axis for i, axis in enumerate(axes)}}
    measured = frame[
        frame[response].notna()
    ]  # renamed, as a formula cannot hold `model.filters`; a level may be a list
    data = pd.DataFrame({short: measured[name].astype(float if short == "response" else str)
                         for short, name in names.items()})  # fmt: skip
    mains = [short for short in names if short.startswith("axis") and data[short].nunique() > 1]
    blocks = ["block"] if data["block"].nunique() > 1 else []
    pairs = list(combinations(mains, 2))
    table = _anova(data, [*mains, *blocks, *map(":".join, pairs)])
    if table is None:
        pairs, table = [], _anova(data, [*mains, *blocks])
    if table is None or not mains:
        return pd.DataFrame([], columns=list(SHARE_COLUMNS)).astype(dict.fromkeys(SHARE_COLUMNS[2:], float))
    total = ((data["response"] - data["response"].mean()) ** 2).sum()
    responses = _complete(data, mains)
    rows = [(" × ".join(names[short] for short in term), "interaction" if len(term) > 1 else "main", ":".join(term),
             *_repeated_measures(responses, [mains.index(short) for short in term], rule))
            for term in [*((short,) for short in mains), *pairs]]  # fmt: skip
    rows += [(block, "seeds", short, np.nan, np.nan) for short in blocks]
    rows += [("rest", "rest", "Residual", np.nan, np.nan)]
    return pd.DataFrame(
        [(term, kind, table.at[key, "sum_sq"] / total, table.at[key, "df"], f, p) for term, kind, key, f, p in rows],
        columns=list(SHARE_COLUMNS),
    )


def _complete(data: pd.DataFrame, mains: list[str]) -> NDArray[np.float64]:
    """The responses (seeds, levels of the first axis, levels of the second, ...) of the seeds that have all of them."""
    wide = data.pivot_table(index="block", columns=mains, values="response", dropna=False).dropna()
    return wide.to_numpy().reshape(-1, *(data[short].nunique() for short in mains))


def _repeated_measures(responses: NDArray[np.float64], axes: list[int], rule: Rule) -> tuple[float, float]:
    """F and p of an effect: of an axis, or of the interaction of two; NaN with fewer than two seeds."""
    count = len(responses)
    if count < 2:
        return np.nan, np.nan
    others = tuple(1 + axis for axis in range(responses.ndim - 1) if axis not in axes)
    effects = responses.mean(axis=others)  # of each seed
    for axis in range(1, effects.ndim):
        effects = effects - effects.mean(axis=axis, keepdims=True)
    df = int(np.prod([size - 1 for size in effects.shape[1:]]))
    effects = effects.reshape(count, -1)
    mean = effects.mean(axis=0)
    covariance = (effects - mean).T @ (effects - mean) / (count - 1)
    noise = np.trace(covariance)
    if noise <= 1e-24 * np.abs(responses).max() ** 2:  # all seeds agree to rounding
        return (np.inf, 0.0) if (np.abs(mean) > 1e-12 * np.abs(responses).max()).any() else (np.nan, np.nan)
    f, epsilon = count * (mean**2).sum() / noise, noise**2 / (df * (covariance**2).sum())
    p = distributions.f.sf(f, epsilon * df, epsilon * df * (count - 1))
    return float(f), float(rule.bound(p, count))


def _anova(data: pd.DataFrame, terms: list[str]) -> Any:
    """Table of sums of squares by term; None where the data cannot tell the terms and the rest apart."""
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    if data["response"].nunique() < 2:
        return None
    model = ols(" + ".join(["response ~ 1", *terms]), data)
    columns = model.exog.shape[1]
    if len(data) <= columns or np.linalg.matrix_rank(model.exog) < columns:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):  # a rest of exactly nothing
        return anova_lm(model.fit(), typ=2)
