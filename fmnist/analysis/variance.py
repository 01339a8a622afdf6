"""How much of a grid's variance each axis explains."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

EFFECT_COLUMNS = ("term", "kind", "share", "df", "F", "p")


def grid_effects(frame: pd.DataFrame, response: str, axes: list[str], block: str) -> pd.DataFrame:
    """How much of a response's variance each axis of a grid explains: a linear model with seeds as blocks.

    Args:
        frame: a row a run, with the columns named below; rows without a response are left out.
        response: a number, such as `val/accuracy`.
        axes: options, each level a category; those with one level are left out.
        block: what the runs share in pairs, `seed`.

    Returns:
        term (an axis, `axis × axis`, the block, `rest`), kind (main | interaction | seeds | rest), share (eta
        squared: sum of squares, type II, over the total; shares add up to 1 if every combination has as many runs),
        df, F, p (NaN for the rest). Interactions are there if all of them can be told from the rest; no row at all
        if not even the main effects can, or nothing varies.
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
        return pd.DataFrame([], columns=list(EFFECT_COLUMNS)).astype(dict.fromkeys(EFFECT_COLUMNS[2:], float))
    total = ((data["response"] - data["response"].mean()) ** 2).sum()
    terms = [
        *((names[short], "main", short) for short in mains),
        *((f"{names[a]} × {names[b]}", "interaction", f"{a}:{b}") for a, b in pairs),
        *((block, "seeds", short) for short in blocks),
        ("rest", "rest", "Residual"),
    ]
    rows = [(term, kind, table.at[key, "sum_sq"] / total, *table.loc[key, ["df", "F", "PR(>F)"]])
            for term, kind, key in terms]  # fmt: skip
    return pd.DataFrame(rows, columns=list(EFFECT_COLUMNS))


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
