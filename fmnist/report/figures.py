"""The figures of a study: what a figure needs is a function here and its entry at the end.

A function draws from the report's content and returns None where there is nothing to draw; the figure's label is its
alternative text. Wide figures (over 450 points) get a row of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle
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

from fmnist.analysis.budgets import own_longest
from fmnist.analysis.leaderboard import ALPHA
from fmnist.config import CLASSES
from fmnist.report import drawing
from fmnist.report.content import Content
from fmnist.report.drawing import BLUE, COUNT, INK, MUTED, PERCENT, RULE, TIP, VERMILION, clean, short
from fmnist.schema import METRICS, VAL_ACCURACY, VAL_LOSS, Comparison
from fmnist.schema import recall as recall_key
from fmnist.words import plural, points

_NAMED = 14  # variants: more names than these do not fit beside the lines
_INKS, _DASHES = (BLUE, VERMILION, INK, MUTED), ("-", "--", ":")  # twelve that can be told apart


# ---- Effects --------------------------------------------------------------------------------------------


def forest(content: Content) -> Figure | None:
    """The effect of each level against the baseline with its interval, each at its longest budget."""
    effects = content.effects if content.effects.empty else content.effects.dropna(subset="effect")
    if effects.empty:
        return None
    rows = own_longest(effects, ["axis", "level"]).drop_duplicates(["axis", "level"]).to_dict("records")
    names = list(dict.fromkeys(row["axis"] for row in rows))
    height = 15.0 * len(rows) + 22.0 * len(names)
    figure, axes = drawing.panel(600, height + 62, left=152, right=118, bottom=44, top=18)
    axes.set_ylim(height, 0)
    below = 0.0
    for name in names:
        drawing.beside(axes, 6, below + 14, short(name, 40), fontweight="bold")
        below += 22
        for row in (row for row in rows if row["axis"] == name):
            _effect(axes, row, below + 7.5, effects["epochs"].max())
            below += 15
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    signed = FuncFormatter(lambda share, _: f"{100 * share:+.3g}".replace("-", "−") if share else "0")
    axes.xaxis.set_major_formatter(signed)
    axes.set_xlabel("validation accuracy minus the baseline's, percentage points")
    axes.text(0, -9, "baseline", ha="center", color=MUTED, fontsize=8.5)
    ends = [select(rows, key=lambda row: row["effect"]) for select in (min, max)]
    span = " to ".join(f"{row['axis']}={row['level']} {points(row['effect'])}" for row in ends)
    figure.set_label(clean(f"Forest plot of {len(rows)} effects on validation accuracy in percentage points: {span}."))
    return figure


def _effect(axes: Axes, row: dict[Any, Any], place: float, longest: int) -> None:
    effect, low, high = row["effect"], row["low"], row["high"]
    significant = bool(row["p_value"] < ALPHA)
    colour = MUTED if not significant else BLUE if effect > 0 else VERMILION
    bounded = bool(np.isfinite(low) and np.isfinite(high))
    if bounded:
        axes.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
    tip = f"{TIP}{clean(row['axis'])}={clean(row['level'])}, {row['epochs']} epochs, {row['seeds']} seeds"
    face = colour if bounded else "none"
    axes.plot(effect, place, "o", color=colour, markersize=6, markerfacecolor=face, gid=tip)
    level = short(row["level"], 20) + ("" if row["epochs"] == longest else f" · {row['epochs']} ep.")
    drawing.beside(axes, 142, place, level, ha="right", fontsize=9)
    numbers = points(effect)
    numbers += f"  [{points(low)}, {points(high)}]" if bounded else "  no interval"
    drawing.beside(axes, 490, place, numbers, fontsize=8.5, color=INK if significant else MUTED)


# ---- Epochs ---------------------------------------------------------------------------------------------


def learning(content: Content, metric: str) -> Figure | None:
    """A metric over the epochs for every variant, mean over the seeds, at the longest budget that it reached."""
    means: dict[str, pd.Series] = {}
    for _, row in content.measured.sort_values("epochs", ascending=False, kind="stable").iterrows():
        paths = [content.histories[key][metric] for key in row["run_id"].split() if key in content.histories]
        paths = [path for path in paths if path.notna().any()]
        if paths and row["variant"] not in means:
            means[row["variant"]] = pd.concat(paths).groupby(level=0).mean()
    if not means:
        return None
    baseline, best = _pointed_out(content, set(means))
    figure, axes = drawing.panel(380, 290, left=50, right=10, bottom=40, top=44)
    longest = max(len(mean) for mean in means.values())
    for name, mean in means.items():
        style = drawing.line(name, baseline, best) | ({"marker": "o", "markersize": 4} if len(mean) == 1 else {})
        axes.plot(mean.index.to_numpy(), mean.to_numpy(), gid=TIP + clean(name), **style)
    values = np.concatenate([mean.to_numpy(dtype=float) for mean in means.values()])
    axes.set_xlabel("epoch" + drawing.limit(axes, values, falling=not METRICS[metric].higher_is_better))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    pad = 0.5 if longest == 1 else min(0.03 * longest, 0.7)  # below 1: there is no epoch 0
    axes.set_xlim(1 - pad, longest + pad)
    if METRICS[metric].unit == "share":
        axes.yaxis.set_major_formatter(PERCENT)
    title = METRICS[metric].label
    drawing.heading(axes, title, _legend(baseline, best, len(means)))
    figure.set_label(f"Learning curves of {len(means)} variants: {title} over {longest} epochs, mean over the seeds.")
    return figure


def rungs(content: Content) -> Figure | None:
    """Validation accuracy of every variant at each epoch budget; none with fewer than two budgets."""
    rows = content.measured
    table = rows.pivot_table(index="variant", columns="epochs", values="val_accuracy", sort=True)
    if table.shape[1] < 2:
        return None
    baseline, best = _pointed_out(content, set(table.index))
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
        text = f"{short(name, 26)}  {100 * accuracy:.2f} %"
        spot = (right, low + share * (high - low))
        axes.annotate(text, spot, va="center", fontsize=8.8, arrowprops=leader, annotation_clip=False, **where, **style)


def _pointed_out(content: Content, names: set[str]) -> tuple[str, str]:
    """The names of the baseline and of the best variant at the common budget, as far as they are among these."""
    rows = content.measured
    rows = rows[rows["variant"].isin(list(names))]
    baselines = rows.loc[rows["verdict"] == Comparison.BASELINE, "variant"]
    best = rows.loc[rows["epochs"] == content.budget, "variant"]
    return next(iter(baselines), ""), next(iter(best), "")


def _legend(baseline: str, best: str, total: int) -> list[Line2D]:
    lines = [(baseline, "baseline")] if baseline else []
    lines += [(best, f"best: {short(best, 24)}")] if best and best != baseline else []
    lines += [("", "others")] if total > len(lines) else []
    return [Line2D([], [], label=label, **drawing.line(name, baseline, best)) for name, label in lines]


# ---- Classes --------------------------------------------------------------------------------------------


def recall(content: Content) -> Figure | None:
    """Recall of each class for every variant at the common budget; the weaker, the stronger the colour."""
    columns = [recall_key(name) for name in CLASSES]
    rows = content.at_budget
    if rows.empty or not set(columns) <= set(content.runs.columns):
        return None
    by_run = content.runs.set_index("run_id")[columns].astype(float)
    recalls = [by_run.reindex(str(ids).split()).mean().to_numpy() for ids in rows["run_id"]]
    table = pd.DataFrame(recalls, index=list(rows["variant"]), columns=list(CLASSES)).dropna()
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


# ---- Costs ----------------------------------------------------------------------------------------------


def front(cost: NDArray[np.float64], accuracy: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of the Pareto front, cheapest first: each is more accurate than all that cost no more."""
    order = np.lexsort((-accuracy, cost))
    best = np.maximum.accumulate(accuracy[order])
    rises = np.concatenate([np.ones(min(len(order), 1), bool), best[1:] > best[:-1]])
    chosen: NDArray[np.intp] = order[rises]
    return chosen


def pareto(content: Content, cost: str) -> Figure | None:
    """Validation accuracy against `parameters` (at the common budget) or `train_seconds` (at every budget)."""
    costly = content.at_budget if cost == "parameters" else content.measured
    costly = costly[costly[cost] > 0]
    if len(costly) < 2:
        return None
    x, y = costly[cost].to_numpy(dtype=float), costly["val_accuracy"].to_numpy(dtype=float)
    rows, best = costly.to_dict("records"), front(x, y)
    figure, axes = drawing.panel(380, 290, left=50, right=10, bottom=40, top=44)
    axes.set_xscale("log")
    axes.step(x[best], y[best], where="post", color=BLUE, linewidth=1.4, alpha=0.7)
    for index, row in enumerate(rows):
        colour = INK if row["verdict"] == Comparison.BASELINE else BLUE if index in best else MUTED
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
    chosen = [*best[::-1], *(index for index, row in enumerate(rows) if row["verdict"] == Comparison.BASELINE)]
    suffix = " · {epochs} ep." if cost == "train_seconds" else ""
    named = [
        (x[i], y[i], short(rows[i]["variant"], 24) + suffix.format(epochs=rows[i]["epochs"]))
        for i in dict.fromkeys(chosen)
    ]
    drawing.label(axes, named, np.concatenate([np.column_stack([x, y]), drawing.stairs(x[best], y[best])]))
    names = ", ".join(rows[i]["variant"] for i in best)
    figure.set_label(clean(f"Validation accuracy against {what} of {len(rows)} rows; on the Pareto front: {names}."))
    return figure


# ---- Searches -------------------------------------------------------------------------------------------


def expected(content: Content) -> Figure | None:
    """Expected best accuracies after 1, 2, .. n trials; nothing without a search."""
    if not content.curves:
        return None
    best = {f"{curve.search}: {plural(len(curve.best), 'trial')} of {plural(curve.epochs, 'epoch')}": curve.best
            for curve in content.curves}  # fmt: skip
    most = max(map(len, best.values()))
    figure, axes = drawing.panel(640, 320 + 14 * max(0, len(best) - 4), left=52, right=16, bottom=42, top=26)
    looks = cycle((colour, dash) for dash in _DASHES for colour in _INKS)
    for (name, scores), (colour, dash) in zip(best.items(), looks, strict=False):
        style: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": 1.8}
        style |= {"marker": "o", "markersize": 3.5} if len(scores) < 15 else {}
        axes.plot(np.arange(1, len(scores) + 1), scores, label=clean(name), gid=TIP + clean(name), **style)
    axes.set_xscale("log")
    axes.set_xlim(0.95, 1.05 * max(most, 2))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set_xlabel("trials")
    axes.set_title("expected best validation accuracy", color=MUTED)
    axes.legend(loc="lower right", fontsize=8.8)
    ends = "; ".join(f"{name} {100 * scores[-1]:.2f} %" for name, scores in best.items())
    figure.set_label(clean(f"Expected best validation accuracy against the number of trials; at the ends: {ends}."))
    return figure


@dataclass(frozen=True)
class Entry:
    """A figure of the report."""

    name: str  # of its file, and of its element in the page
    section: str  # the id of a section of page.html.j2, where it stands in the order of this list
    draw: Callable[[Content], Figure | None]
    caption: str  # {budget} stands for `10 epochs`, the leaderboard's budget


FIGURES = (
    Entry("effects", "sizes", forest,
          "Each level against the baseline on the same seeds, at the longest budget that it reached, with its 95 % "
          "interval. Blue is better, orange is worse, where the corrected p-value is below 0.05; grey cannot be told "
          "from luck. Hollow points have no interval."),
    Entry("learning_accuracy", "curves", partial(learning, metric=VAL_ACCURACY.key),
          "Accuracy on images that were held back and not augmented."),
    Entry("learning_loss", "curves", partial(learning, metric=VAL_LOSS.key),
          "Their loss: where it rises while accuracy stands still, the network grows too sure of its mistakes."),
    Entry("rungs", "budgets", rungs,
          "Where lines cross, fewer epochs would have picked another winner. Vertical strokes are 95 % intervals."),
    Entry("recall", "classes", recall,
          "Per cent of a class's test images that are recognised, mean over the seeds at {budget}, best variant first. "
          "The stronger the colour, the more are missed."),
    Entry("pareto_parameters", "costs", partial(pareto, cost="parameters"), "Variants at {budget}, by size."),
    Entry("pareto_seconds", "costs", partial(pareto, cost="train_seconds"),
          "Variants at every budget, by training time; times of different machines do not compare."),
    Entry("searches", "searches", expected,
          "Expected best validation accuracy against the number of trials: the mean of the best of n scores drawn with "
          "replacement from those of the search's trials (Dodge et al. 2019). Only scores after the same number of "
          "epochs count: of Hyperband's trials those that reached the most, which it picked from many more; of the "
          "others all that did not fail."),
)  # fmt: skip


def draw(content: Content) -> dict[str, Figure]:
    """All figures that the content suffices for, by name.

    Not for several threads at once: matplotlib's settings are shared.
    """
    with rc_context(drawing.STYLE):
        drawn = {entry.name: entry.draw(content) for entry in FIGURES}
    return {name: figure for name, figure in drawn.items() if figure is not None}
