"""What epochs change: learning curves, and every variant at each budget."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fmnist.report import drawing
from fmnist.report.content import Content
from fmnist.report.drawing import MUTED, PERCENT, RULE, TIP, clean, short
from fmnist.schema import METRICS, Comparison

_NAMED = 14  # variants: more names than these do not fit beside the lines


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
