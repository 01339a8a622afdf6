"""What each level of an axis changes: against the baseline alone, or over all combinations of a grid."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fmnist.analysis import stats
from fmnist.schema import VAL_ACCURACY

COLUMNS = ("axis", "level", "epochs", "seeds", "effect", "low", "high", "p_value")

_OF_ROW = ("epochs", "pairs", "difference", "difference_low", "difference_high", "p_value")
Levels = Mapping[str, Mapping[str, str]]  # variant signature -> axis -> level


def one_at_a_time(rows: pd.DataFrame, levels: Levels) -> pd.DataFrame:
    """The effect of each level at each budget: its row's difference from the baseline.

    Args:
        rows: a leaderboard by variant; its corrected p-values are taken over.
        levels: of each variant, the axis that it varies and the level; rows come in this order.

    Returns:
        axis, level, epochs, seeds (that level and baseline share), effect, low, high (shares of accuracy), p_value.
    """
    place = {signature: number for number, signature in enumerate(levels)}
    rows = rows.assign(_place=rows["variant_signature"].map(place)).sort_values(["_place", "epochs"], kind="stable")
    effects = [
        (axis, level, *(row[name] for name in _OF_ROW))
        for row in rows[rows["difference"].notna()].to_dict("records")
        for axis, level in levels.get(row["variant_signature"], {}).items()
    ]
    return _frame(effects)


def main_effects(runs: pd.DataFrame, levels: Levels, base: Mapping[str, str]) -> pd.DataFrame:
    """The effect of each level of a grid's axes, averaged over the combinations of the others.

    For each seed the mean over all combinations that were run with both the level and the baseline's level is
    compared; the seeds are the pairs. p-values are corrected by Holm over the levels at the same number of epochs.

    Args:
        runs: finished runs, a row a run.
        levels: of each variant, the level of every axis.
        base: the level of each axis that the others are compared with.

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
                difference = (wide[level] - wide[start]).dropna().groupby("seed").mean()
                pairs = stats.paired(difference.to_numpy()[None], np.zeros(len(difference)))
                numbers = (array[0] for array in (pairs.n, pairs.mean, pairs.low, pairs.high, pairs.p))
                family.append((axis, level, epochs, *numbers))
        corrected = stats.holm([effect[-1] for effect in family])
        effects += [(*effect[:-1], p) for effect, p in zip(family, corrected, strict=True)]
    return _frame(effects)


def _frame(effects: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    types = {"epochs": int, "seeds": int, "effect": float, "low": float, "high": float, "p_value": float}
    return pd.DataFrame(effects, columns=list(COLUMNS)).astype(types)
