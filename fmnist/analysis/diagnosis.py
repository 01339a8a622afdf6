"""What to look at next, in sentences: trends over the epochs, edges of axes, failures, rungs, classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as tests

from fmnist.analysis.budgets import own_longest
from fmnist.analysis.classes import class_changes
from fmnist.analysis.stats import paired
from fmnist.config import Config
from fmnist.identity import parameters

ALPHA = 0.05
NOTABLE = 0.001  # accuracy: a rise smaller than 0.1 points is not worth a longer budget
NEAR = 0.002  # accuracy: what lies this close to the best has got there
SEVERAL = 3  # levels, epochs or variants, below which there is no edge, no trend and no ranking

Histories = Mapping[str, pd.DataFrame]
Predictions = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Finding:
    """One thing that a reader should know: its kind, what it is about, and one sentence with the numbers."""

    kind: str
    subject: str
    text: str


def diagnose(
    runs: pd.DataFrame,
    board: pd.DataFrame,
    axes: Mapping[str, Sequence[Any]],
    *,
    budget: int,
    histories: Histories,
    predictions: Predictions,
    labels: NDArray[np.uint8],
) -> list[Finding]:
    """What the runs show beyond their ranks; parts that are missing are not spoken of.

    Args:
        runs: a row a run, as `fmnist.tracking.load` returns them.
        board: their leaderboard by variant, best first; only rows with a rank are looked at.
        axes: the study's options and their levels.
        budget: the leaderboard's (`budgets.common_budget`), at which variants are compared.
        histories: by run id, a row an epoch (1..n), with `train/loss`, `val/loss`, `val/accuracy`; as many as known.
        predictions: by run id, the predicted class of each test image (n,); as many as known.
        labels: the true classes (n,).

    Returns:
        findings of the kinds `failed runs`, `still improving`, `overfitting`, `saturated early`, `edge of an axis`,
        `shorter budget` and `classes`, in this order.
    """
    ranked = board[board["rank"].notna()]
    at_budget = ranked[ranked["epochs"] == budget]
    recorded = runs.drop_duplicates("run_id").set_index("run_id", drop=False)
    return [
        *_failures(runs),
        *_trends(ranked, histories),
        *_edges(at_budget, recorded, axes),
        *_rungs(ranked, at_budget),
        *_classes(at_budget, recorded, predictions, labels),
    ]


# ---- Failures -------------------------------------------------------------------------------------------


def _failures(runs: pd.DataFrame) -> Iterator[Finding]:
    """The share of runs that ended without a number; one that was repeated with success has not failed."""
    ended = runs[runs["status"].isin(["FINISHED", "FAILED"])]
    good = ended[(ended["status"] == "FINISHED") & np.isfinite(ended["val/accuracy"].astype(float))]
    bad = ended[~ended["signature"].isin(good["signature"])].drop_duplicates("signature")
    if len(bad):
        total = ended["signature"].nunique()
        where = ", ".join(f"{name} ({count})" for name, count in bad["variant"].value_counts().items())
        text = f"{len(bad)} of {total} runs failed or diverged ({_percent(len(bad) / total)}): {where}"
        yield Finding("failed runs", "all runs", text)


# ---- Trends over the epochs -----------------------------------------------------------------------------


def _trends(ranked: pd.DataFrame, histories: Histories) -> list[Finding]:
    """Each variant's last epochs, at the longest budget it has finished."""
    found: list[Finding] = []
    for row in own_longest(ranked).drop_duplicates("variant").itertuples():
        known = [histories[run_id] for run_id in str(row.run_id).split() if run_id in histories]
        curves = [curve for curve in known if SEVERAL <= len(curve) == row.epochs]
        if curves:
            found += [*_improving(str(row.variant), curves)] or [*_saturated(str(row.variant), curves)]
            found += _overfitting(str(row.variant), curves)
    order = ("still improving", "overfitting", "saturated early")
    return sorted(found, key=lambda finding: order.index(finding.kind))


def _improving(variant: str, curves: list[pd.DataFrame]) -> Iterator[Finding]:
    accuracy, p = _mean(curves, "val/accuracy"), _trend_p(curves, "val/accuracy", 1)
    since = len(accuracy) - _window(len(accuracy)) + 1
    rise = accuracy.iloc[-1] - accuracy.iloc[since - 1]
    if p < ALPHA and rise >= NOTABLE:
        text = (
            f"{variant} still improves at epoch {len(accuracy)}: its validation accuracy has risen by "
            f"{100 * rise:.2f} points since epoch {since}, to {_percent(accuracy.iloc[-1])} ({_p(p)})"
        )
        yield Finding("still improving", variant, text)


def _saturated(variant: str, curves: list[pd.DataFrame]) -> Iterator[Finding]:
    accuracy = _mean(curves, "val/accuracy")
    best, epochs = accuracy.max(), len(accuracy)
    early = int(np.argmax(accuracy >= best - NEAR)) + 1
    if epochs > SEVERAL and early <= epochs / 2:
        text = (
            f"{variant} is saturated from epoch {early} of {epochs} on: its validation accuracy was "
            f"{_percent(accuracy.iloc[early - 1])} then and {_percent(best)} at its best"
        )
        yield Finding("saturated early", variant, text)


def _overfitting(variant: str, curves: list[pd.DataFrame]) -> Iterator[Finding]:
    rising, falling = _trend_p(curves, "val/loss", 1), _trend_p(curves, "train/loss", -1)
    if max(rising, falling) < ALPHA:
        val, train = _mean(curves, "val/loss"), _mean(curves, "train/loss")
        lowest = int(np.argmin(val))
        text = (
            f"{variant} overfits: since epoch {lowest + 1} its validation loss has risen from {val.iloc[lowest]:.3f} "
            f"to {val.iloc[-1]:.3f}, while its training loss fell from {train.iloc[lowest]:.3f} to "
            f"{train.iloc[-1]:.3f}"
        )
        yield Finding("overfitting", variant, text)


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


def _edges(rows: pd.DataFrame, recorded: pd.DataFrame, axes: Mapping[str, Sequence[Any]]) -> Iterator[Finding]:
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
        best, last = line[0], line[0] == levels.index[-1]  # the board has the best first
        if not (last or best == levels.index[0]) or levels[best] == 0:  # there is no option below 0
            continue
        beside = levels.index[-2] if last else levels.index[1]
        text = (
            f"the {'largest' if last else 'smallest'} {axis} tried, {levels[best]:g}, is the best at "
            f"{_epochs(rows.at[best, 'epochs'])}, with {_percent(rows.at[best, 'val_accuracy'])} validation accuracy "
            f"against {_percent(rows.at[beside, 'val_accuracy'])} for {levels[beside]:g} "
            f"({_difference(rows, recorded, best, beside)}); {'larger' if last else 'smaller'} ones are untried"
        )
        yield Finding("edge of an axis", axis, text)


def _line(rows: pd.DataFrame, points: pd.DataFrame, levels: pd.Series, axis: str) -> list[Any]:
    """Rows that differ in one axis only, best first: through the best row, or the baseline if that has more levels."""
    skipped = (axis, "seed", "epochs", "compute.precision", "compute.threads")
    others = points[[key for key in parameters(Config()) if key in points and key not in skipped]].astype(str)
    anchors = [*rows.index[:1], *rows.index[rows["verdict"] == "baseline"]]
    lines = [levels.index[(others == others.loc[anchor]).all(axis=1)[levels.index]] for anchor in anchors]
    return max((line.tolist() for line in lines), key=len, default=[])


def _difference(rows: pd.DataFrame, recorded: pd.DataFrame, one: Any, other: Any) -> str:
    ours, theirs = (
        recorded.loc[str(rows.at[i, "run_id"]).split()].set_index("seed")["val/accuracy"] for i in (one, other)
    )
    both = pd.concat([ours, theirs], axis=1, join="inner").to_numpy(dtype=float).T
    p = paired(both[:1], both[1]).p[0]
    return "too few seeds to tell them apart" if np.isnan(p) else f"{_p(p)} over {both.shape[1]} seeds"


# ---- Rungs ----------------------------------------------------------------------------------------------


def _rungs(ranked: pd.DataFrame, at_budget: pd.DataFrame) -> Iterator[Finding]:
    """Whether each shorter budget would have picked the winner."""
    long = at_budget.set_index("variant")["val_accuracy"]
    for epochs in sorted(set(ranked["epochs"][ranked["epochs"] < at_budget["epochs"].max()])):
        short = ranked[ranked["epochs"] == epochs].set_index("variant")["val_accuracy"]
        both = pd.concat([short, long], axis=1, join="inner", keys=["short", "long"]).astype(float)
        if len(both) < SEVERAL or (both.nunique() < 2).any():
            continue
        picked, winner = str(both["short"].idxmax()), str(both["long"].idxmax())
        spearman, kendall = (test(both["short"], both["long"])[0] for test in (tests.spearmanr, tests.kendalltau))
        place = 1 + (both["long"] > both.at[picked, "long"]).sum()
        behind = f"{100 * (both.at[winner, 'long'] - both.at[picked, 'long']):.2f} points of validation accuracy"
        until = _epochs(at_budget["epochs"].iloc[0])
        outcome = f"number {place} at {until}, {behind} below {winner}"
        if picked == winner:
            outcome = f"the winner at {until} too"
        text = (
            f"{_epochs(epochs)} would have picked {picked}, {outcome}; rank correlation over {len(both)} variants: "
            f"Spearman {spearman:.2f}, Kendall {kendall:.2f}"
        )
        yield Finding("shorter budget", _epochs(epochs), text)


# ---- Classes --------------------------------------------------------------------------------------------


def _classes(
    rows: pd.DataFrame, recorded: pd.DataFrame, predictions: Predictions, labels: NDArray[np.uint8]
) -> Iterator[Finding]:
    """Which classes the best variant recognises better or worse than the baseline does."""
    baseline = rows[rows["verdict"] == "baseline"]
    if baseline.empty or rows.index[0] == baseline.index[0]:
        return
    ours, theirs = (_by_seed(row["run_id"], recorded, predictions, labels) for row in (rows.iloc[0], baseline.iloc[0]))
    seeds = sorted(ours.keys() & theirs.keys())
    if seeds:
        aligned = [np.stack([answers[seed] for seed in seeds]) for answers in (ours, theirs)]
        changes = class_changes(aligned[0], aligned[1], labels)
        amount = f"{len(seeds)} seeds" if len(seeds) > 1 else "one seed, whose luck the test cannot see"
        text = (
            f"against the baseline at {_epochs(rows['epochs'].iloc[0])} {rows['variant'].iloc[0]} "
            f"{_gains_and_losses(changes)} (test set; McNemar with Holm; {amount})"
        )
        yield Finding("classes", str(rows["variant"].iloc[0]), text)


def _by_seed(
    run_ids: Any, recorded: pd.DataFrame, predictions: Predictions, labels: NDArray[np.uint8]
) -> dict[Any, NDArray[np.uint8]]:
    known = [i for i in str(run_ids).split() if i in predictions and len(predictions[i]) == len(labels) > 0]
    return {recorded.at[run_id, "seed"]: predictions[run_id] for run_id in known}


def _gains_and_losses(changes: pd.DataFrame) -> str:
    sure = changes[changes["p"] < ALPHA]
    if sure.empty:
        return f"differs in no class for certain, most in {_changes(changes.loc[[changes['gain'].abs().idxmax()]])}"
    parts = (("gains in", sure[sure["gain"] > 0]), ("loses in", sure[sure["gain"] < 0]))
    return " and ".join(f"{verb} {_changes(rows)}" for verb, rows in parts if len(rows))


def _changes(rows: pd.DataFrame) -> str:
    return ", ".join(
        f"{name} ({100 * gain:+.1f} points of recall, {_p(p)}, {abs(moved):.3g} {'fewer' if moved < 0 else 'more'} "
        f"of {images} taken for {other})"
        for name, images, gain, p, other, moved in rows.itertuples(index=False)
    )


# ---- Words ----------------------------------------------------------------------------------------------


def _percent(share: Any) -> str:
    return f"{100 * share:.2f} %"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _epochs(number: Any) -> str:
    return "1 epoch" if number == 1 else f"{number} epochs"
