"""What to look at next: trends over the epochs, edges of axes, failures, budgets, classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as tests

from fmnist.analysis.budgets import own_longest
from fmnist.analysis.classes import class_changes
from fmnist.analysis.leaderboard import ALPHA
from fmnist.analysis.rule import Rule
from fmnist.analysis.stats import ONE_LOOK, holm, paired
from fmnist.config import Config
from fmnist.identity import parameters
from fmnist.schema import VAL_ACCURACY, VAL_LOSS, Comparison, Status

NOTABLE = 0.001  # accuracy: a rise smaller than 0.1 points is not worth a longer budget
NEAR = 0.002  # accuracy: what lies this close to the best has got there
SEVERAL = 3  # levels, epochs or variants, below which there is no edge, no trend and no ranking

Histories = Mapping[str, pd.DataFrame]
Predictions = Mapping[str, NDArray[np.uint8]]


class Kind(StrEnum):
    """What a finding is about, in the order in which they come."""

    FAILED = "failed runs"
    IMPROVING = "still improving"
    OVERFITTING = "overfitting"
    SATURATED = "saturated early"
    EDGE = "edge of an axis"
    SHORTER = "shorter budget"
    CLASSES = "classes"


@dataclass(frozen=True)
class Finding:
    """One thing that a reader should know, in values."""

    kind: Kind
    subject: str  # a variant, an axis, a number of epochs, `all runs`
    numbers: dict[str, Any]  # by the names that the sentence of its kind in `report.diagnosis` has for them


def diagnose(
    runs: pd.DataFrame,
    rows: pd.DataFrame,
    axes: Mapping[str, Sequence[Any]],
    *,
    budget: int,
    histories: Histories,
    predictions: Predictions,
    labels: NDArray[np.uint8],
    rule: Rule = ONE_LOOK,
) -> list[Finding]:
    """What the runs show beyond their ranks, in the order of `Kind`; of parts that are missing there is nothing.

    Args:
        runs: a row a run, as `fmnist.tracking.load` returns them.
        rows: their leaderboard by variant, best first; only rows with a rank are looked at.
        axes: the study's options and their levels.
        budget: the leaderboard's (`budgets.common_budget`), at which variants are compared.
        histories: by run id, a row an epoch (1..n), with `train/loss`, `val/loss`, `val/accuracy`; as many as known.
        predictions: by run id, the predicted class of each test image (n,); as many as known.
        labels: the true classes (n,).
        rule: by which differences are judged.
    """
    ranked = rows[rows["rank"].notna()]
    at_budget = ranked[ranked["epochs"] == budget]
    recorded = runs.drop_duplicates("run_id").set_index("run_id", drop=False)
    return [
        *_failures(runs),
        *_trends(ranked, histories, rule),
        *_edges(at_budget, recorded, axes, rule),
        *_shorter(ranked, at_budget, recorded),
        *_classes(at_budget, recorded, predictions, labels, rule),
    ]


def _failures(runs: pd.DataFrame) -> Iterator[Finding]:
    """The runs that ended without a number; one that was repeated with success has not failed."""
    ended = runs[runs["status"].isin([Status.FINISHED, Status.FAILED])]
    good = ended[(ended["status"] == Status.FINISHED) & np.isfinite(ended[VAL_ACCURACY.key].astype(float))]
    bad = ended[~ended["signature"].isin(good["signature"])].drop_duplicates("signature")
    if len(bad):
        variants = {str(name): int(count) for name, count in bad["variant"].value_counts().items()}
        numbers = {"failed": len(bad), "ended": ended["signature"].nunique(), "variants": variants}
        yield Finding(Kind.FAILED, "all runs", numbers)


# ---- Trends over the epochs -----------------------------------------------------------------------------


def _trends(ranked: pd.DataFrame, histories: Histories, rule: Rule) -> list[Finding]:
    """Each variant's last epochs, at the longest budget it has finished; p is corrected over the variants (Holm)."""
    curves: dict[str, list[pd.DataFrame]] = {}
    for row in own_longest(ranked).drop_duplicates("variant").itertuples():
        paths = [histories[run_id] for run_id in str(row.run_id).split() if run_id in histories]
        if whole := [path for path in paths if SEVERAL <= len(path) == row.epochs]:
            curves[str(row.variant)] = whole
    rises, overfits = (
        holm([max(_trend_p(paths, column, sign, rule) for column, sign in trends) for paths in curves.values()])
        for trends in (((VAL_ACCURACY.key, 1),), ((VAL_LOSS.key, 1), ("train/loss", -1)))
    )
    findings: list[Finding] = []
    for (variant, paths), rising, overfitting in zip(curves.items(), rises, overfits, strict=True):
        findings += [*_improving(variant, paths, rising)] or [*_saturated(variant, paths)]
        findings += _overfitting(variant, paths, overfitting)
    return sorted(findings, key=lambda finding: list(Kind).index(finding.kind))


def _improving(variant: str, curves: list[pd.DataFrame], p: float) -> Iterator[Finding]:
    accuracy = _mean(curves, VAL_ACCURACY.key)
    epochs = len(accuracy)
    since = epochs - _window(epochs) + 1
    rise = accuracy.iloc[-1] - accuracy.iloc[since - 1]
    if p < ALPHA and rise >= NOTABLE:
        numbers = {"epochs": epochs, "since": since, "rise": rise, "accuracy": accuracy.iloc[-1], "p": p}
        yield Finding(Kind.IMPROVING, variant, numbers)


def _saturated(variant: str, curves: list[pd.DataFrame]) -> Iterator[Finding]:
    accuracy = _mean(curves, VAL_ACCURACY.key)
    best, epochs = accuracy.max(), len(accuracy)
    reached = int(np.argmax(accuracy >= best - NEAR)) + 1
    if epochs > SEVERAL and reached <= epochs / 2:
        numbers = {"epochs": epochs, "reached": reached, "accuracy": accuracy.iloc[reached - 1], "best": best}
        yield Finding(Kind.SATURATED, variant, numbers)


def _overfitting(variant: str, curves: list[pd.DataFrame], p: float) -> Iterator[Finding]:
    if p < ALPHA:
        validation, training = _mean(curves, VAL_LOSS.key), _mean(curves, "train/loss")
        lowest = int(np.argmin(validation))
        ends = [(float(loss.iloc[lowest]), float(loss.iloc[-1])) for loss in (validation, training)]
        numbers = {"since": lowest + 1, "validation": ends[0], "training": ends[1]}
        yield Finding(Kind.OVERFITTING, variant, numbers)


def _mean(curves: list[pd.DataFrame], column: str) -> pd.Series:
    """Mean over the seeds, by epoch."""
    return pd.concat([curve[column] for curve in curves], axis=1).mean(axis=1)


def _window(epochs: int) -> int:
    """How many of the last epochs tell a trend."""
    return min(epochs, max(5, epochs // 3))


def _trend_p(curves: list[pd.DataFrame], column: str, sign: int, rule: Rule) -> float:
    """p of no trend in the last epochs, one-sided: a t test of the seeds' slopes; NaN with one seed.

    The epochs of a seed continue one another, and so are no witnesses of their own.
    """
    tails = sign * np.stack([curve[column].tail(_window(len(curve))) for curve in curves])
    slopes = np.polynomial.polynomial.polyfit(np.arange(tails.shape[1]), tails.T, 1)[1]
    pairs = paired(slopes[None], np.zeros(len(slopes)), rule=rule)
    return float(pairs.p[0] / 2 if pairs.mean[0] > 0 else 1 - pairs.p[0] / 2)


# ---- Edges of axes --------------------------------------------------------------------------------------


def _edges(rows: pd.DataFrame, recorded: pd.DataFrame, axes: Mapping[str, Sequence[Any]], rule: Rule) -> list[Finding]:
    """Numeric axes whose best level is their first or last, and better than the next, where only that axis varies.

    p is corrected (Bonferroni) for as many comparisons as the leaderboard has, so that it calls nothing better that is
    open there.
    """
    findings: list[Finding] = []
    points = recorded.loc[[str(run_ids).split()[0] for run_ids in rows["run_id"]]].set_index(rows.index)
    for axis, declared in axes.items():
        if axis not in points or not all(isinstance(level, int | float) for level in declared):
            continue
        levels = pd.to_numeric(points[axis], errors="coerce").dropna()
        line = _line(rows, points, levels, axis)
        levels = levels[line].sort_values()
        if len(levels) < SEVERAL or not set(declared) <= set(levels):
            continue
        best, is_largest = line[0], line[0] == levels.index[-1]  # the leaderboard has the best first
        if not (is_largest or best == levels.index[0]) or levels[best] == 0:  # there is no option below 0
            continue
        two = (best, levels.index[-2] if is_largest else levels.index[1])
        ends, accuracies = ((float(column[two[0]]), float(column[two[1]])) for column in (levels, rows["val_accuracy"]))
        alone, seeds = _difference(rows, recorded, *two, rule)
        p = min(1.0, alone * (len(rows) - 1))
        numbers = {"is_largest": is_largest, "levels": ends, "accuracies": accuracies, "p": p, "seeds": seeds}
        if p < ALPHA:
            findings.append(Finding(Kind.EDGE, axis, {"epochs": int(rows["epochs"].iloc[0]), **numbers}))
    return findings


def _line(rows: pd.DataFrame, points: pd.DataFrame, levels: pd.Series, axis: str) -> list[Any]:
    """Rows that differ in one axis only, best first: through the best row, or the baseline if that has more levels."""
    skipped = (axis, "seed", "epochs", "compute.precision", "compute.threads")
    others = points[[key for key in parameters(Config()) if key in points and key not in skipped]].astype(str)
    anchors = [*rows.index[:1], *rows.index[rows["verdict"] == Comparison.BASELINE]]
    lines = [levels.index[(others == others.loc[anchor]).all(axis=1)[levels.index]] for anchor in anchors]
    return max((line.tolist() for line in lines), key=len, default=[])


def _difference(rows: pd.DataFrame, recorded: pd.DataFrame, one: Any, other: Any, rule: Rule) -> tuple[float, int]:
    """p of two rows on the seeds that both have, and how many these are."""
    ours, theirs = (
        recorded.loc[str(rows.at[i, "run_id"]).split()].set_index("seed")[VAL_ACCURACY.key] for i in (one, other)
    )
    both = pd.concat([ours, theirs], axis=1, join="inner").to_numpy(dtype=float).T
    return float(paired(both[:1], both[1], rule=rule).p[0]), both.shape[1]


# ---- Budgets and classes --------------------------------------------------------------------------------


def _shorter(ranked: pd.DataFrame, at_budget: pd.DataFrame, recorded: pd.DataFrame) -> Iterator[Finding]:
    """Whether each shorter budget would have picked the winner, and whether it orders the variants like the longest."""
    longer, long = at_budget["epochs"].max(), at_budget.set_index("variant")["val_accuracy"]
    for epochs in sorted(set(ranked["epochs"][ranked["epochs"] < longer])):
        short = ranked[ranked["epochs"] == epochs].set_index("variant")["val_accuracy"]
        both = pd.concat([short, long], axis=1, join="inner", keys=["short", "long"]).astype(float)
        if len(both) < SEVERAL or (both.nunique() < 2).any():
            continue
        picked, winner = str(both["short"].idxmax()), str(both["long"].idxmax())
        accuracy, best = both.at[picked, "long"], both.at[winner, "long"]
        numbers = {
            "longer": int(longer),
            "picked": picked,
            "winner": winner,
            "place": 1 + int((both["long"] > accuracy).sum()),  # of the picked one at the longer budget
            "behind": best - accuracy,
            "variants": len(both),
            "spearman": _agreement(*(_by_seed(rows[rows["variant"].isin(both.index)], recorded) for rows in
                                     (ranked[ranked["epochs"] == epochs], at_budget))),
        }  # fmt: skip
        yield Finding(Kind.SHORTER, str(epochs), numbers)


def _by_seed(rows: pd.DataFrame, recorded: pd.DataFrame) -> pd.DataFrame:
    """Validation accuracies of rows, a row a variant and a column a seed."""
    runs = recorded.loc[[run_id for run_ids in rows["run_id"] for run_id in str(run_ids).split()]]
    names = np.repeat(rows["variant"].to_numpy(), [len(str(run_ids).split()) for run_ids in rows["run_id"]])
    return runs.assign(_name=names).pivot_table(index="_name", columns="seed", values=VAL_ACCURACY.key)


def _agreement(short: pd.DataFrame, long: pd.DataFrame) -> float:
    """Mean Spearman correlation of what some seeds say at one budget with what the others say at another.

    A seed's later epochs continue its earlier ones: of the same seeds, equal variants correlate by 0.5. NaN with one.
    """
    seeds = [seed for seed in short if seed in long]
    correlations = []
    for start in range(len(seeds) if len(seeds) > 1 else 0):
        turned = seeds[start:] + seeds[:start]
        half = len(seeds) // 2
        both = pd.concat([short[turned[:half]].mean(axis=1), long[turned[half:]].mean(axis=1)], axis=1).dropna()
        if len(both) >= SEVERAL and (both.nunique() > 1).all():
            correlations.append(tests.spearmanr(both[0], both[1])[0])
    return float(np.mean(correlations)) if correlations else float("nan")


def _classes(
    rows: pd.DataFrame, recorded: pd.DataFrame, predictions: Predictions, labels: NDArray[np.uint8], rule: Rule
) -> Iterator[Finding]:
    """Which classes the best variant recognises better or worse than the baseline."""
    baseline = rows[rows["verdict"] == Comparison.BASELINE]
    if baseline.empty or rows.index[0] == baseline.index[0]:
        return
    best = rows.iloc[0]
    ours, theirs = (_answers(row["run_id"], recorded, predictions, labels) for row in (best, baseline.iloc[0]))
    seeds = sorted(ours.keys() & theirs.keys())
    if seeds:
        aligned = [np.stack([answers[seed] for seed in seeds]) for answers in (ours, theirs)]
        changes = class_changes(aligned[0], aligned[1], labels, rule)
        numbers = {"epochs": int(best["epochs"]), "seeds": len(seeds), "changes": changes}
        yield Finding(Kind.CLASSES, str(best["variant"]), numbers)


def _answers(
    run_ids: Any, recorded: pd.DataFrame, predictions: Predictions, labels: NDArray[np.uint8]
) -> dict[Any, NDArray[np.uint8]]:
    answered = [i for i in str(run_ids).split() if i in predictions and len(predictions[i]) == len(labels) > 0]
    return {recorded.at[run_id, "seed"]: predictions[run_id] for run_id in answered}
