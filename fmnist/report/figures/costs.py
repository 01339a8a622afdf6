"""What accuracy costs: the Pareto fronts."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from fmnist.report import drawing
from fmnist.report.content import Content
from fmnist.report.drawing import BLUE, COUNT, INK, MUTED, PERCENT, TIP, clean, short
from fmnist.schema import Comparison


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
