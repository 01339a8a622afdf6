"""What to look at next: trends over the epochs, edges of axes, failures, budgets, classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as tests

from fmnist.analysis.budgets import own_longest
from fmnist.analysis.classes import class_changes
from fmnist.analysis.leaderboard import ALPHA
from fmnist.analysis.stats import paired
from fmnist.config import Config
from fmnist.identity import parameters
from fmnist.schema import Comparison, Status

NOTABLE = 0.001  # accuracy: a rise smaller than 0.1 points is not worth a longer budget
NEAR = 0.002  # accuracy: what lies this close to the best has got there
SEVERAL = 3  # levels, epochs or variants, below which there is no edge, no trend and no ranking

Histories = Mapping[str, pd.DataFrame]
Predictions = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class FailedRuns:
    """Runs that ended without a number."""

    failed: int
    ended: int
    variants: dict[str, int]  # how many of each


@dataclass(frozen=True)
class StillImproving:
    """A variant whose validation accuracy rises to the last epoch."""

    variant: str
    epochs: int
    since: int  # epoch from which the rise is counted
    rise: float
    accuracy: float  # at the last epoch
    p: float  # of no trend


@dataclass(frozen=True)
class Overfitting:
    """A variant whose validation loss rises while its training loss falls; losses are (then, now)."""

    variant: str
    since: int  # epoch of the lowest validation loss
    validation: tuple[float, float]
    training: tuple[float, float]


@dataclass(frozen=True)
class SaturatedEarly:
    """A variant that has come close to its best in the first half of its epochs."""

    variant: str
    epochs: int
    reached: int  # epoch
    accuracy: float  # there
    best: float


@dataclass(frozen=True)
class EdgeOfAxis:
    """An axis whose best level is its first or last."""

    axis: str
    epochs: int
    is_largest: bool
    levels: tuple[float, float]  # the best, and the one beside it
    accuracies: tuple[float, float]
    p: float  # that they differ; NaN with too few seeds
    seeds: int


@dataclass(frozen=True)
class ShorterBudget:
    """What a shorter budget would have picked, and how well its order agrees."""

    epochs: int
    longer: int  # epochs of the budget that it is compared with
    picked: str
    winner: str
    place: int  # of the picked at the longer budget
    behind: float  # accuracy, below the winner
    variants: int  # that both budgets have
    spearman: float
    kendall: float


@dataclass(frozen=True)
class ClassChanges:
    """Which classes the best variant recognises better or worse than the baseline."""

    variant: str
    epochs: int
    seeds: int
    changes: pd.DataFrame  # as `class_changes` returns them


Finding = FailedRuns | StillImproving | Overfitting | SaturatedEarly | EdgeOfAxis | ShorterBudget | ClassChanges


def diagnose(
    runs: pd.DataFrame,
    rows: pd.DataFrame,
    axes: Mapping[str, Sequence[Any]],
    *,
    budget: int,
    histories: Histories,
    predictions: Predictions,
    labels: NDArray[np.uint8],
) -> list[Finding]:
    """What the runs show beyond their ranks, in the order of `Finding`; of parts that are missing there is nothing.

    Args:
        runs: a row a run, as `fmnist.tracking.load` returns them.
        rows: their leaderboard by variant, best first; only rows with a rank are looked at.
        axes: the study's options and their levels.
        budget: the leaderboard's (`budgets.common_budget`), at which variants are compared.
        histories: by run id, a row an epoch (1..n), with `train/loss`, `val/loss`, `val/accuracy`; as many as known.
        predictions: by run id, the predicted class of each test image (n,); as many as known.
        labels: the true classes (n,).
    """
    ranked = rows[rows["rank"].notna()]
    at_budget = ranked[ranked["epochs"] == budget]
    recorded = runs.drop_duplicates("run_id").set_index("run_id", drop=False)
    return [
        *_failures(runs),
        *_trends(ranked, histories),
        *_edges(at_budget, recorded, axes),
        *_shorter(ranked, at_budget),
        *_classes(at_budget, recorded, predictions, labels),
    ]


def _failures(runs: pd.DataFrame) -> Iterator[FailedRuns]:
    """The runs that ended without a number; one that was repeated with success has not failed."""
    ended = runs[runs["status"].isin([Status.FINISHED, Status.FAILED])]
    good = ended[(ended["status"] == Status.FINISHED) & np.isfinite(ended["val/accuracy"].astype(float))]
    bad = ended[~ended["signature"].isin(good["signature"])].drop_duplicates("signature")
    if len(bad):
        variants = {str(name): int(count) for name, count in bad["variant"].value_counts().items()}
        yield FailedRuns(len(bad), ended["signature"].nunique(), variants)


# ---- Trends over the epochs -----------------------------------------------------------------------------


def _trends(ranked: pd.DataFrame, histories: Histories) -> list[Finding]:
    """Each variant's last epochs, at the longest budget it has finished."""
    trends: list[Finding] = []
    for row in own_longest(ranked).drop_duplicates("variant").itertuples():
        paths = [histories[run_id] for run_id in str(row.run_id).split() if run_id in histories]
        curves = [path for path in paths if SEVERAL <= len(path) == row.epochs]
        if curves:
            variant = str(row.variant)
            trends += [*_improving(variant, curves)] or [*_saturated(variant, curves)]
            trends += _overfitting(variant, curves)
    order = (StillImproving, Overfitting, SaturatedEarly)
    return sorted(trends, key=lambda trend: [isinstance(trend, kind) for kind in order], reverse=True)


def _improving(variant: str, curves: list[pd.DataFrame]) -> Iterator[StillImproving]:
    accuracy, p = _mean(curves, "val/accuracy"), _trend_p(curves, "val/accuracy", 1)
    epochs = len(accuracy)
    since = epochs - _window(epochs) + 1
    rise = accuracy.iloc[-1] - accuracy.iloc[since - 1]
    if p < ALPHA and rise >= NOTABLE:
        yield StillImproving(variant, epochs, since, rise, accuracy.iloc[-1], p)


def _saturated(variant: str, curves: list[pd.DataFrame]) -> Iterator[SaturatedEarly]:
    accuracy = _mean(curves, "val/accuracy")
    best, epochs = accuracy.max(), len(accuracy)
    reached = int(np.argmax(accuracy >= best - NEAR)) + 1
    if epochs > SEVERAL and reached <= epochs / 2:
        yield SaturatedEarly(variant, epochs, reached, accuracy.iloc[reached - 1], best)


def _overfitting(variant: str, curves: list[pd.DataFrame]) -> Iterator[Overfitting]:
    rising, falling = _trend_p(curves, "val/loss", 1), _trend_p(curves, "train/loss", -1)
    if max(rising, falling) < ALPHA:
        validation, training = _mean(curves, "val/loss"), _mean(curves, "train/loss")
        lowest = int(np.argmin(validation))
        losses = [(loss.iloc[lowest], loss.iloc[-1]) for loss in (validation, training)]
        yield Overfitting(variant, lowest + 1, *losses)


def _mean(curves: list[pd.DataFrame], column: str) -> pd.Series:
    """Mean over the seeds, by epoch."""
    return pd.concat([curve[column] for curve in curves], axis=1).mean(axis=1)


def _window(epochs: int) -> int:
    """How many of the last epochs tell a trend."""
    return min(epochs, max(5, epochs // 3))


def _trend_p(curves: list[pd.DataFrame], column: str, sign: int) -> float:
    """p of no trend in the last epochs: by ranks, as a curve that flattens still rises. Page's test over the seeds.

    One seed has Kendall's, which cannot find a trend in fewer than four epochs.
    """
    tails = sign * np.stack([curve[column].tail(_window(len(curve))) for curve in curves])
    if len(tails) > 1:
        return float(tests.page_trend_test(tails).pvalue)
    return float(tests.kendalltau(np.arange(tails.shape[1]), tails[0], alternative="greater").pvalue)


# ---- Edges of axes --------------------------------------------------------------------------------------


def _edges(rows: pd.DataFrame, recorded: pd.DataFrame, axes: Mapping[str, Sequence[Any]]) -> Iterator[EdgeOfAxis]:
    """Numeric axes whose best level is their first or last, judged where only that axis varies."""
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
        p, seeds = _difference(rows, recorded, *two)
        yield EdgeOfAxis(axis, int(rows["epochs"].iloc[0]), is_largest, ends, accuracies, p, seeds)


def _line(rows: pd.DataFrame, points: pd.DataFrame, levels: pd.Series, axis: str) -> list[Any]:
    """Rows that differ in one axis only, best first: through the best row, or the baseline if that has more levels."""
    skipped = (axis, "seed", "epochs", "compute.precision", "compute.threads")
    others = points[[key for key in parameters(Config()) if key in points and key not in skipped]].astype(str)
    anchors = [*rows.index[:1], *rows.index[rows["verdict"] == Comparison.BASELINE]]
    lines = [levels.index[(others == others.loc[anchor]).all(axis=1)[levels.index]] for anchor in anchors]
    return max((line.tolist() for line in lines), key=len, default=[])


def _difference(rows: pd.DataFrame, recorded: pd.DataFrame, one: Any, other: Any) -> tuple[float, int]:
    """p of two rows on the seeds that both have, and how many these are."""
    ours, theirs = (
        recorded.loc[str(rows.at[i, "run_id"]).split()].set_index("seed")["val/accuracy"] for i in (one, other)
    )
    both = pd.concat([ours, theirs], axis=1, join="inner").to_numpy(dtype=float).T
    return float(paired(both[:1], both[1]).p[0]), both.shape[1]


# ---- Budgets and classes --------------------------------------------------------------------------------


def _shorter(ranked: pd.DataFrame, at_budget: pd.DataFrame) -> Iterator[ShorterBudget]:
    """Whether each shorter budget would have picked the winner."""
    longer, long = at_budget["epochs"].max(), at_budget.set_index("variant")["val_accuracy"]
    for epochs in sorted(set(ranked["epochs"][ranked["epochs"] < longer])):
        short = ranked[ranked["epochs"] == epochs].set_index("variant")["val_accuracy"]
        both = pd.concat([short, long], axis=1, join="inner", keys=["short", "long"]).astype(float)
        if len(both) < SEVERAL or (both.nunique() < 2).any():
            continue
        picked, winner = str(both["short"].idxmax()), str(both["long"].idxmax())
        accuracy, best = both.at[picked, "long"], both.at[winner, "long"]
        place = 1 + int((both["long"] > accuracy).sum())
        orders = [float(test(both["short"], both["long"])[0]) for test in (tests.spearmanr, tests.kendalltau)]
        yield ShorterBudget(int(epochs), int(longer), picked, winner, place, best - accuracy, len(both), *orders)


def _classes(
    rows: pd.DataFrame, recorded: pd.DataFrame, predictions: Predictions, labels: NDArray[np.uint8]
) -> Iterator[ClassChanges]:
    baseline = rows[rows["verdict"] == Comparison.BASELINE]
    if baseline.empty or rows.index[0] == baseline.index[0]:
        return
    best = rows.iloc[0]
    ours, theirs = (_by_seed(row["run_id"], recorded, predictions, labels) for row in (best, baseline.iloc[0]))
    seeds = sorted(ours.keys() & theirs.keys())
    if seeds:
        aligned = [np.stack([answers[seed] for seed in seeds]) for answers in (ours, theirs)]
        changes = class_changes(aligned[0], aligned[1], labels)
        yield ClassChanges(str(best["variant"]), int(best["epochs"]), len(seeds), changes)


def _by_seed(
    run_ids: Any, recorded: pd.DataFrame, predictions: Predictions, labels: NDArray[np.uint8]
) -> dict[Any, NDArray[np.uint8]]:
    answered = [i for i in str(run_ids).split() if i in predictions and len(predictions[i]) == len(labels) > 0]
    return {recorded.at[run_id, "seed"]: predictions[run_id] for run_id in answered}
