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
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fmnist.config import CLASSES
from fmnist.report import drawing, intervals
from fmnist.report.content import Content
from fmnist.report.drawing import BLUE, COUNT, INK, MUTED, PERCENT, VERMILION, clean, short
from fmnist.report.formats import number
from fmnist.schema import METRICS, VAL_ACCURACY, VAL_LOSS, Comparison
from fmnist.schema import recall as recall_key
from fmnist.words import duration, percent, plural

_NAMED = 14  # variants: more names than these do not fit beside the lines
_INKS, _DASHES = (BLUE, VERMILION, INK, MUTED), ("-", "--", ":")  # twelve that can be told apart


# ---- Epochs ---------------------------------------------------------------------------------------------


def learning(content: Content, metric: str) -> Figure | None:
    """A metric over the epochs for every variant, mean and range over the seeds, at the longest budget it reached."""
    seeds: dict[str, pd.DataFrame] = {}
    for _, row in content.measured.sort_values("epochs", ascending=False, kind="stable").iterrows():
        paths = [content.histories[key][metric] for key in row["run_id"].split() if key in content.histories]
        paths = [path for path in paths if path.notna().any()]
        if paths and row["variant"] not in seeds:
            own = pd.concat(paths, axis=1)
            seeds[row["variant"]] = pd.DataFrame(
                {"mean": own.mean(axis=1), "min": own.min(axis=1), "max": own.max(axis=1)}
            )
    if not seeds:
        return None
    baseline, best = _pointed_out(content, set(seeds))
    figure, axes = drawing.panel(380, 290, left=50, right=10, bottom=40, top=44)
    longest, unit = max(map(len, seeds.values())), METRICS[metric].unit
    for name, path in seeds.items():
        style = drawing.line(name, baseline, best) | ({"marker": "o", "markersize": 4} if len(path) == 1 else {})
        axes.plot(path.index.to_numpy(), path["mean"].to_numpy(), gid=drawing.tip(name), **style)
        drawing.band(axes, path, name, style["color"])
    ranges = pd.concat([path if name in (baseline, best) else path[["mean"]] for name, path in seeds.items()])
    spans = ranges.reindex(columns=["min", "max"]).to_numpy(dtype=float)
    values, falling = ranges["mean"].to_numpy(dtype=float), not METRICS[metric].higher_is_better
    axes.set_xlabel("epoch" + drawing.limit(axes, values, spans, falling=falling))
    for name, path in seeds.items():
        texts = [
            f"{name}, epoch {epoch}: {number(mean, low, high, unit)}" for epoch, mean, low, high in path.itertuples()
        ]
        drawing.marks(axes, path.index, path["mean"], name, texts)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    pad = 0.5 if longest == 1 else min(0.03 * longest, 0.7)  # below 1: there is no epoch 0
    axes.set_xlim(1 - pad, longest + pad)
    if unit == "share":
        axes.yaxis.set_major_formatter(PERCENT)
    title = METRICS[metric].label
    drawing.heading(axes, title, drawing.legend(baseline, best, len(seeds)))
    over = f"{title} over {plural(longest, 'epoch')}, mean over the seeds"
    figure.set_label(f"Learning curves of {plural(len(seeds), 'variant')}: {over}.")
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
    found = {
        str(name): _at(
            rows[rows["variant"] == name].drop_duplicates("epochs").set_index("epochs").reindex(table.columns)
        )
        for name in last.index
    }
    looks = {name: drawing.line(name, baseline, best) for name in found}
    every, pointed = (
        np.concatenate(list(found.values())),
        np.repeat([name in (baseline, best) for name in found], len(places)),
    )
    every[~pointed, 1:] = np.nan
    for name, look in looks.items():
        axes.plot(places, found[name][:, 0], gid=drawing.tip(name), **look)
    inks = np.repeat([look["color"] for look in looks.values()], len(places))
    drawing.strokes(axes, np.tile(places, len(found)), every[:, 1:], inks)
    axes.set_xlabel("epochs trained" + drawing.limit(axes, every[:, 0], every[:, 1:]))
    for name, look in looks.items():
        at = zip(table.columns.astype(int), found[name], strict=True)
        texts = [f"{name}, {plural(epochs, 'epoch')}: {number(*values)}" for epochs, values in at]
        drawing.marks(axes, places, found[name][:, 0], name, texts, **{"s": 12, "alpha": 1, **look, "linewidth": 0})
    axes.set_xticks(places, [f"{epochs}" for epochs in table.columns])
    axes.set_xlim(-0.15, places[-1] + 0.05)
    axes.yaxis.set_major_formatter(PERCENT)
    drawing.ends(axes, named, places[-1], baseline, best)
    drawing.heading(axes, "validation accuracy", drawing.legend(baseline, best, len(last)))
    budgets = f"{table.columns[0]} to {plural(int(table.columns[-1]), 'epoch')}"
    figure.set_label(clean(f"Slope chart of {len(last)} variants from {budgets}; highest at the end: {last.index[0]}."))
    return figure


def _at(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Validation accuracy of these rows with the ends of its interval (n, 3)."""
    return rows[["val_accuracy", "val_accuracy_low", "val_accuracy_high"]].to_numpy(dtype=float, copy=True)


def _pointed_out(content: Content, names: set[str]) -> tuple[str, str]:
    """The names of the baseline and of the best variant at the common budget, as far as they are among these."""
    rows = content.measured
    rows = rows[rows["variant"].isin(list(names))]
    baselines = rows.loc[rows["verdict"] == Comparison.BASELINE, "variant"]
    best = rows.loc[rows["epochs"] == content.budget, "variant"]
    return next(iter(baselines), ""), next(iter(best), "")


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
    drawing.heat(axes, table.to_numpy(), VERMILION)
    for place, (name, *row) in enumerate(table.itertuples()):
        texts = [f"{name}, {label}: {percent(share, 1)}" for label, share in zip(CLASSES, row, strict=True)]
        drawing.marks(axes, range(len(row)), [place] * len(row), name, texts, marker="s", s=400)
    axes.set_xticks(
        range(len(CLASSES)), [name.replace(" ", "\n").replace("/", "/\n") for name in CLASSES], fontsize=8.8
    )
    axes.set_yticks(range(len(table)), [short(name, 32) for name in table.index], color=INK)
    mean = table.mean()
    weakest = f"{mean.idxmin()} with {100 * mean.min():.1f} %"
    figure.set_label(f"Recall in per cent of 10 classes for {len(table)} variants; weakest on average: {weakest}.")
    return figure


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
    what, say = (("trainable parameters", lambda number: f"{number:,} parameters") if cost == "parameters"
                 else ("training time, seconds", duration))  # fmt: skip
    figure, axes = drawing.panel(380, 290, left=50, right=10, bottom=40, top=44)
    drawing.logarithmic(axes, COUNT, (1, 2, 5) if x.max() < 100 * x.min() else (1,))
    axes.step(x[best], y[best], where="post", color=BLUE, linewidth=1.4, alpha=0.7)
    spans = _at(costly)[:, 1:]
    for index, row in enumerate(rows):
        colour = INK if row["verdict"] == Comparison.BASELINE else BLUE if index in best else MUTED
        text = (
            f"{row['variant']}, {plural(row['epochs'], 'epoch')}, {say(row[cost])}: {number(y[index], *spans[index])}"
        )
        axes.add_line(drawing.dot(colour, x[index], y[index], gid=drawing.tip(row["variant"], text)))
        if colour == MUTED:
            spans[index] = np.nan
    inks = [INK if row["verdict"] == Comparison.BASELINE else BLUE for row in rows]
    drawing.strokes(axes, x, spans, inks)
    axes.set_xlabel(what + drawing.limit(axes, y, spans))
    reach = max((x.max() / x.min()) ** 0.12, 1.2)  # though all cost the same
    axes.set_xlim(x.min() / reach, x.max() * reach)
    axes.yaxis.set_major_formatter(PERCENT)
    dots = (("baseline", INK), ("Pareto front", BLUE), ("others", MUTED))
    drawing.heading(axes, "validation accuracy", [drawing.dot(colour, label=name) for name, colour in dots])
    chosen = [*(index for index, row in enumerate(rows) if row["verdict"] == Comparison.BASELINE), *best[::-1]]
    suffix = " · {epochs} ep." if cost == "train_seconds" else ""
    named = [
        (x[i], y[i], short(rows[i]["variant"], 24) + suffix.format(epochs=rows[i]["epochs"]))
        for i in dict.fromkeys(chosen)
    ]
    strokes = [np.column_stack([x, y + part * (end - y)]) for end in spans.T for part in np.linspace(0, 1, 9)]
    drawing.label(axes, named, np.concatenate([*strokes, np.column_stack([x, y]), drawing.stairs(x[best], y[best])]))
    names = ", ".join(rows[i]["variant"] for i in best)
    of_all = f"{what} of {plural(len(rows), 'row')}"
    figure.set_label(clean(f"Validation accuracy against {of_all}; on the Pareto front: {names}."))
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
        trials = np.arange(1, len(scores) + 1)
        axes.plot(trials, scores, label=clean(name), gid=drawing.tip(name), **style)
        texts = [f"{name}, best of {trial}: {percent(score)}" for trial, score in zip(trials, scores, strict=True)]
        drawing.marks(axes, trials, scores, name, texts)
    drawing.logarithmic(axes, COUNT)
    axes.set_xlim(0.95, 1.05 * max(most, 2))
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


_OVER_SEEDS = "Lines: the mean over the seeds; bands: from the lowest seed to the highest."
FIGURES = (
    Entry("effects", "sizes", intervals.forest,
          "Each level against the baseline on the same seeds, at the longest budget that it reached, with its "
          "interval, corrected for the other comparisons and for looking often, as its p-value is. Blue is better, "
          "orange worse, where the corrected p-value is below 0.05; grey cannot be told from luck; within the grey "
          "band no difference matters. Thin lines: the plain 95 % interval, on which no verdict rests. "
          "Positive: better than the baseline. Hollow points have no interval."),
    Entry("noise", "sizes", intervals.scatter,
          "Where the scatter comes from: the standard deviation of accuracy with one source of chance drawn anew and "
          "the others held, with its 95 % interval (chi-square). All: everything drawn anew. Images, hollow: what the "
          "images that score leave to chance by themselves."),
    Entry("learning_accuracy", "curves", partial(learning, metric=VAL_ACCURACY.key),
          f"Accuracy on images that were held back and not augmented. {_OVER_SEEDS}"),
    Entry("learning_loss", "curves", partial(learning, metric=VAL_LOSS.key),
          "Their loss: where it rises while accuracy stands still, the network grows too sure of its mistakes. "
          f"{_OVER_SEEDS}"),
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
    with rc_context(drawing.STYLE), drawing.any_script():
        drawn = {entry.name: entry.draw(content) for entry in FIGURES}
    return {name: figure for name, figure in drawn.items() if figure is not None}
