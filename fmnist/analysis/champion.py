"""Which run deserves to be used: one of the best variant that a verdict supports, or of a cheaper one as good."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fmnist.analysis.budgets import common_budget
from fmnist.analysis.claims import most_common
from fmnist.analysis.leaderboard import leaderboard, measured
from fmnist.analysis.rule import Rule
from fmnist.schema import VAL_ACCURACY, Comparison, Status

SUPPORTED = (Comparison.BETTER, Comparison.NO_DIFFERENCE)  # verdicts that let a variant be used instead of the baseline
_COST = ["flops_per_image", "parameters"]


@dataclass(frozen=True)
class Choice:
    """A run, and why it is the one."""

    run_id: str
    row: pd.Series  # its variant's, of the leaderboard, with flops_per_image
    is_settled: bool  # a verdict supports the variant
    is_median: bool  # it is the nearest to the median of its seeds, not chosen by somebody
    best: str  # the variant with the highest mean of those that it was chosen from
    equals: tuple[str, ...] = ()  # dearer variants that are as good, as far as their seeds tell


def choose(
    runs: pd.DataFrame, baseline: str, pair_columns: Sequence[str], rule: Rule, epochs: int | None = None
) -> Choice | None:
    """The run to use: of the cheapest of those variants that are as good as the best, the one nearest to their median.

    It is looked for among the variants that a verdict supports; where nothing is settled, among all.

    Args:
        runs: a row a run, as `fmnist.tracking.load` returns them.
        baseline: the variant that the others are compared with.
        pair_columns: what the runs of a pair share.
        rule: by which differences are judged.
        epochs: the budget; none: the one that the leaderboard speaks of.

    Returns:
        None where no variant can be ranked.
    """
    columns = [name for name in pair_columns if name in runs]
    runs = _like(runs, most_common(runs[runs["status"] == Status.FINISHED], columns), columns)
    rows = _ranked(runs, baseline, pair_columns, rule)
    rows = rows[rows["epochs"] == (epochs or common_budget(rows))]
    pool = rows[rows["is_settled"]] if rows["is_settled"].any() else rows[rows["verdict"] != Comparison.WORSE]
    if pool.empty:
        return None
    pool = pool.sort_values(VAL_ACCURACY.column, ascending=False, kind="stable")
    best = pool.iloc[0]
    beside = leaderboard(runs, best["variant"], pair_columns=pair_columns, rule=rule)
    beside = beside[(beside["epochs"] == best["epochs"]) & (beside["verdict"] == Comparison.NO_DIFFERENCE)]
    is_as_good = (pool["rank"] == best["rank"]) | pool["variant_signature"].isin(beside["variant_signature"])
    equal = pool[is_as_good].sort_values(_COST, kind="stable")
    row, *dearer = (row for _, row in equal.iterrows())
    run_id = _median(runs[runs["run_id"].isin(row["run_id"].split())])
    equals = tuple(str(other["variant"]) for other in dearer)
    return Choice(run_id, row, bool(row["is_settled"]), True, str(best["variant"]), equals)


def choice_of(run_id: str, runs: pd.DataFrame, baseline: str, pair_columns: Sequence[str], rule: Rule) -> Choice | None:
    """What supports a run that was chosen by somebody; None where its variant cannot be ranked."""
    columns = [name for name in pair_columns if name in runs]
    rows = _ranked(_like(runs, runs[runs["run_id"] == run_id], columns), baseline, pair_columns, rule)
    return next(
        (Choice(run_id, row, bool(row["is_settled"]), False, str(row["variant"])) for _, row in rows.iterrows()
         if run_id in row["run_id"].split()),
        None,
    )  # fmt: skip


def _like(runs: pd.DataFrame, wanted: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The runs that have what the wanted ones have in these columns: one precision, data and recipe."""
    return runs[(runs[columns] == wanted[columns].iloc[0]).all(axis=1)] if len(wanted) else wanted


def _ranked(runs: pd.DataFrame, baseline: str, pair_columns: Sequence[str], rule: Rule) -> pd.DataFrame:
    """The ranked rows of the leaderboard, with what they cost and whether a verdict supports them.

    The baseline is supported where any other variant has been told from it, or from any that would matter.
    """
    rows = measured(leaderboard(runs, baseline, pair_columns=pair_columns, rule=rule))
    rows = rows[rows["rank"].notna()].drop(columns="parameters")
    is_judged = rows["verdict"].isin([*SUPPORTED, Comparison.WORSE]).groupby(rows["epochs"]).transform("any")
    is_settled = rows["verdict"].isin(SUPPORTED) | ((rows["verdict"] == Comparison.BASELINE) & is_judged)
    cost = runs.groupby("variant_signature")[_COST].max()
    return rows.assign(is_settled=is_settled).join(cost, on="variant_signature")


def _median(runs: pd.DataFrame) -> str:
    """The run nearest to the median of validation accuracy; of equally near ones that of the lowest seed."""
    accuracy = runs[VAL_ACCURACY.key].astype(float)
    distance = (accuracy - accuracy.median()).abs().round(12)
    return str(runs.assign(distance=distance).sort_values(["distance", "seed"], kind="stable")["run_id"].iloc[0])
