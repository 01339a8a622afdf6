"""Pictures of a study: effects, learning curves, rungs, recalls, costs. Each one's label is its alternative text."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from fmnist.analysis.budgets import common_budget, own_longest
from fmnist.analysis.leaderboard import measured
from fmnist.config import CLASSES
from fmnist.report import drawing
from fmnist.report.drawing import COUNT, INK, MUTED, PERCENT, RULE, TIP, clean, short
from fmnist.report.run_pictures import BLUE, VERMILION

Figures = dict[str, Figure]
_SIGNIFICANT = 0.05
_NAMED = 14  # variants: more names than these do not fit beside the lines


def figures(
    board: pd.DataFrame, effects: pd.DataFrame, runs: pd.DataFrame, histories: Mapping[str, pd.DataFrame]
) -> Figures:
    """All pictures that the findings suffice for, by name.

    Args:
        board: the leaderboard's rows, best first.
        effects: axis, level, epochs, seeds, effect, low, high, p_value (shares).
        runs: a row a run, with `test/recall/<class>`.
        histories: run_id -> frame indexed by epoch with `val/accuracy` and `val/loss`.

    Not for several threads at once: matplotlib's settings are shared.
    """
    with rc_context(drawing.STYLE):
        drawn = {
            "effects": forest(effects),
            "learning_accuracy": learning(board, histories, "val/accuracy"),
            "learning_loss": learning(board, histories, "val/loss"),
            "rungs": rungs(board),
            "recall": recall(board, runs),
            "pareto_parameters": pareto(board, "parameters"),
            "pareto_seconds": pareto(board, "train_seconds"),
        }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False, name=None)]


# ---- Effects --------------------------------------------------------------------------------------------


def forest(effects: pd.DataFrame) -> Figure | None:
    """The effect of each level against the baseline with its interval, each at its longest budget."""
    known = effects if effects.empty else effects[effects["effect"].notna()]
    if known.empty:
        return None
    rows = _records(own_longest(known, ["axis", "level"]).drop_duplicates(["axis", "level"]))
    names = list(dict.fromkeys(row["axis"] for row in rows))
    height = 15.0 * len(rows) + 22.0 * len(names)
    figure, axes = drawing.panel(600, height + 62, left=152, right=118, bottom=44, top=18)
    axes.set_ylim(height, 0)
    below = 0.0
    for name in names:
        drawing.beside(axes, 6, below + 14, short(name, 40), fontweight="bold")
        below += 22
        for row in (row for row in rows if row["axis"] == name):
            _effect(axes, row, below + 7.5, known["epochs"].max())
            below += 15
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    signed = FuncFormatter(lambda share, _: f"{100 * share:+.3g}".replace("-", "−") if share else "0")
    axes.xaxis.set_major_formatter(signed)
    axes.set_xlabel("validation accuracy minus the baseline's, percentage points")
    axes.text(0, -9, "baseline", ha="center", color=MUTED, fontsize=8.5)
    ends = [select(rows, key=lambda row: row["effect"]) for select in (min, max)]
    said = " to ".join(f"{row['axis']}={row['level']} {drawing.points(row['effect'])}" for row in ends)
    figure.set_label(clean(f"Forest plot of {len(rows)} effects on validation accuracy in percentage points: {said}."))
    return figure


def _effect(axes: Axes, row: dict[str, Any], place: float, longest: int) -> None:
    effect, low, high = row["effect"], row["low"], row["high"]
    found = bool(row["p_value"] < _SIGNIFICANT)
    colour = MUTED if not found else BLUE if effect > 0 else VERMILION
    bounded = bool(np.isfinite(low) and np.isfinite(high))
    if bounded:
        axes.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
    tip = f"{TIP}{clean(row['axis'])}={clean(row['level'])}, {row['epochs']} epochs, {row['seeds']} seeds"
    face = colour if bounded else "none"
    axes.plot(effect, place, "o", color=colour, markersize=6, markerfacecolor=face, gid=tip)
    level = short(row["level"], 20) + ("" if row["epochs"] == longest else f" · {row['epochs']} ep.")
    drawing.beside(axes, 142, place, level, ha="right", fontsize=9)
    said = drawing.points(effect)
    said += f"  [{drawing.points(low)}, {drawing.points(high)}]" if bounded else "  no interval"
    drawing.beside(axes, 490, place, said, fontsize=8.5, color=INK if found else MUTED)


# ---- Over the epochs ------------------------------------------------------------------------------------


def learning(board: pd.DataFrame, histories: Mapping[str, pd.DataFrame], metric: str) -> Figure | None:
    """A metric over the epochs for every variant, mean over the seeds, at the longest budget that it reached."""
    means: dict[str, pd.Series] = {}
    for row in _records(measured(board).sort_values("epochs", ascending=False, kind="stable")):
        found = [histories[key][metric] for key in str(row["run_id"]).split() if key in histories]
        found = [path for path in found if path.notna().any()]
        if found and row["variant"] not in means:
            means[row["variant"]] = pd.concat(found).groupby(level=0).mean()
    if not means:
        return None
    baseline, best = _marked(board, set(means))
    figure, axes = drawing.panel(380, 290, left=50, right=10, bottom=40, top=44)
    longest = max(len(mean) for mean in means.values())
    for name, mean in means.items():
        style = drawing.line(name, baseline, best) | ({"marker": "o", "markersize": 4} if len(mean) == 1 else {})
        axes.plot(mean.index.to_numpy(), mean.to_numpy(), gid=TIP + clean(name), **style)
    values = np.concatenate([mean.to_numpy(dtype=float) for mean in means.values()])
    axes.set_xlabel("epoch" + drawing.limit(axes, values, falling=metric.endswith("loss")))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    pad = 0.5 if longest == 1 else min(0.03 * longest, 0.7)  # below 1: there is no epoch 0
    axes.set_xlim(1 - pad, longest + pad)
    if metric.endswith("accuracy"):
        axes.yaxis.set_major_formatter(PERCENT)
    title = metric.replace("val/", "validation ")
    drawing.heading(axes, title, _legend(baseline, best, len(means)))
    figure.set_label(f"Learning curves of {len(means)} variants: {title} over {longest} epochs, mean over the seeds.")
    return figure


def rungs(board: pd.DataFrame) -> Figure | None:
    """Validation accuracy of every variant at each epoch budget; none with fewer than two budgets."""
    rows = measured(board)
    table = rows.pivot_table(index="variant", columns="epochs", values="val_accuracy", sort=True)
    if table.shape[1] < 2:
        return None
    baseline, best = _marked(board, set(table.index))
    last = table.ffill(axis=1).iloc[:, -1].sort_values(ascending=False, kind="stable")
    few = set(last.index) if len(last) <= _NAMED else {*last.index[:7], *last.index[-2:], baseline, best}
    named = last[[name in few for name in last.index]]
    right = drawing.room(named.index, 26) + 74
    figure, axes = drawing.panel(640, max(340, 16 * len(named) + 110), left=52, right=right, bottom=42, top=44)
    places = np.arange(table.shape[1])
    for name in map(str, last.index):
        style = drawing.line(name, baseline, best)
        accuracy = table.loc[name].to_numpy(dtype=float)
        axes.plot(places, accuracy, marker="o", markersize=3.5, gid=TIP + clean(name), **style)
        if name in (baseline, best):
            own = rows[rows["variant"] == name].set_index("epochs").reindex(table.columns)
            axes.vlines(places, own["val_accuracy_low"], own["val_accuracy_high"], style["color"], linewidth=1.1)
    axes.set_xlabel("epochs trained" + drawing.limit(axes, table.to_numpy(dtype=float).ravel()))
    axes.set_xticks(places, [f"{epochs}" for epochs in table.columns])
    axes.set_xlim(-0.15, places[-1] + 0.05)
    axes.yaxis.set_major_formatter(PERCENT)
    _ends(axes, named, places[-1], baseline, best)
    drawing.heading(axes, "validation accuracy", _legend(baseline, best, len(last)))
    spans = f"{table.columns[0]} to {table.columns[-1]} epochs"
    figure.set_label(clean(f"Slope chart of {len(last)} variants from {spans}; highest at the end: {last.index[0]}."))
    return figure


def _ends(axes: Axes, last: pd.Series, right: float, baseline: str, best: str) -> None:
    """Names beside the lines' ends, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    height = axes.bbox.height * 72 / axes.figure.dpi
    shares = (last.clip(low, high).to_numpy(dtype=float) - low) / (high - low)
    leader = {"arrowstyle": "-", "color": RULE, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4, "relpos": (0, 0.5)}
    for name, accuracy, share, place in zip(last.index, last, shares, drawing.apart(shares, 14 / height), strict=True):
        colour = drawing.line(str(name), baseline, best)["color"]
        style: dict[str, Any] = {"color": colour, "fontweight": "normal" if colour == MUTED else "bold"}
        where: dict[str, Any] = {"xytext": (18, (place - share) * height), "textcoords": "offset points"}
        said = f"{short(name, 26)}  {100 * accuracy:.2f} %"
        spot = (right, low + share * (high - low))
        axes.annotate(said, spot, va="center", fontsize=8.8, arrowprops=leader, annotation_clip=False, **where, **style)


def _marked(board: pd.DataFrame, names: set[str]) -> tuple[str, str]:
    """The names of the baseline and of the best variant at the common budget, as far as they are among these."""
    rows = _records(measured(board))
    baselines = [row["variant"] for row in rows if row["verdict"] == "baseline" and row["variant"] in names]
    best = [
        row["variant"] for row in rows if row["epochs"] == common_budget(measured(board)) and row["variant"] in names
    ]
    return baselines[0] if baselines else "", best[0] if best else ""


def _legend(baseline: str, best: str, total: int) -> list[Line2D]:
    shown = [(baseline, "baseline")] if baseline else []
    shown += [(best, f"best: {short(best, 24)}")] if best and best != baseline else []
    shown += [("", "others")] if total > len(shown) else []
    return [Line2D([], [], label=label, **drawing.line(name, baseline, best)) for name, label in shown]


# ---- Classes and costs ----------------------------------------------------------------------------------


def recall(board: pd.DataFrame, runs: pd.DataFrame) -> Figure | None:
    """Recall of each class for every variant at the common budget; the weaker, the stronger the colour."""
    columns = [f"test/recall/{name}" for name in CLASSES]
    rows = measured(board)
    rows = rows[rows["epochs"] == common_budget(measured(board))]
    if rows.empty or not set(columns) <= set(runs.columns):
        return None
    by_run = runs.set_index("run_id")[columns].astype(float)
    found = [by_run.reindex(str(ids).split()).mean().to_numpy() for ids in rows["run_id"]]
    table = pd.DataFrame(found, index=list(rows["variant"]), columns=list(CLASSES)).dropna()
    if table.empty:
        return None
    left = drawing.room(table.index, 32) + 8
    figure, axes = drawing.panel(720, 24 * len(table) + 48, left=left, right=8, bottom=8, top=40)
    _heat(axes, table.to_numpy())
    axes.set_xticks(
        range(len(CLASSES)), [name.replace(" ", "\n").replace("/", "/\n") for name in CLASSES], fontsize=8.8
    )
    axes.set_yticks(range(len(table)), [short(name, 32) for name in table.index], color=INK)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    mean = table.mean()
    weakest = f"{mean.idxmin()} with {100 * mean.min():.1f} %"
    figure.set_label(f"Recall in per cent of 10 classes for {len(table)} variants; weakest on average: {weakest}.")
    return figure


def _heat(axes: Axes, shares: NDArray[np.float64]) -> None:
    weakness = (1 - shares) / max(float((1 - shares).max()), 0.05)
    cells = [Rectangle((x - 0.48, y - 0.46), 0.96, 0.92) for y, x in np.ndindex(shares.shape)]
    colours = [to_rgba(VERMILION, 0.72 * strength) for strength in weakness.ravel()]
    axes.add_collection(PatchCollection(cells, facecolors=colours, edgecolors="none"))
    for (y, x), share in np.ndenumerate(shares):
        axes.text(x, y, f"{100 * share:.1f}", ha="center", va="center", fontsize=8.8)
    axes.set_xlim(-0.5, shares.shape[1] - 0.5)
    axes.set_ylim(len(shares) - 0.5, -0.5)


def front(cost: NDArray[np.float64], accuracy: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of the Pareto front, cheapest first: each is more accurate than all that cost no more."""
    order = np.lexsort((-accuracy, cost))
    best = np.maximum.accumulate(accuracy[order])
    rises = np.concatenate([np.ones(min(len(order), 1), bool), best[1:] > best[:-1]])
    chosen: NDArray[np.intp] = order[rises]
    return chosen


def pareto(board: pd.DataFrame, cost: str) -> Figure | None:
    """Validation accuracy against `parameters` (at the common budget) or `train_seconds` (at every budget)."""
    known = measured(board)
    known = known[(known[cost] > 0) & ((cost == "train_seconds") | (known["epochs"] == common_budget(measured(board))))]
    if len(known) < 2:
        return None
    x, y = known[cost].to_numpy(dtype=float), known["val_accuracy"].to_numpy(dtype=float)
    rows, best = _records(known), front(x, y)
    figure, axes = drawing.panel(380, 290, left=50, right=10, bottom=40, top=44)
    axes.set_xscale("log")
    axes.step(x[best], y[best], where="post", color=BLUE, linewidth=1.4, alpha=0.7)
    for index, row in enumerate(rows):
        colour = INK if row["verdict"] == "baseline" else BLUE if index in best else MUTED
        tip = f"{TIP}{clean(row['variant'])}, {row['epochs']} epochs, {100 * y[index]:.2f} %"
        axes.add_line(drawing.dot(colour, x[index], y[index], gid=tip))
        if colour != MUTED:
            axes.vlines(x[index], row["val_accuracy_low"], row["val_accuracy_high"], colour, linewidth=1, alpha=0.7)
    what = "trainable parameters" if cost == "parameters" else "training time, seconds"
    axes.set_xlabel(what + drawing.limit(axes, y))
    axes.margins(x=0.12)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.xaxis.set_major_formatter(COUNT)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if x.max() < 100 * x.min() else (1,)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    dots = (("baseline", INK), ("Pareto front", BLUE), ("others", MUTED))
    drawing.heading(axes, "validation accuracy", [drawing.dot(colour, label=name) for name, colour in dots])
    chosen = [*best[::-1], *(index for index, row in enumerate(rows) if row["verdict"] == "baseline")]
    suffix = " · {epochs} ep." if cost == "train_seconds" else ""
    named = [(x[i], y[i], short(rows[i]["variant"], 24) + suffix.format(**rows[i])) for i in dict.fromkeys(chosen)]
    drawing.label(axes, named, np.concatenate([np.column_stack([x, y]), drawing.stairs(x[best], y[best])]))
    names = ", ".join(rows[i]["variant"] for i in best)
    figure.set_label(clean(f"Validation accuracy against {what} of {len(rows)} rows; on the Pareto front: {names}."))
    return figure
