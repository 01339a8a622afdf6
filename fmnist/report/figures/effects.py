"""How large the effects are."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from fmnist.analysis.budgets import own_longest
from fmnist.analysis.leaderboard import ALPHA
from fmnist.report import drawing
from fmnist.report.content import Content
from fmnist.report.drawing import BLUE, INK, MUTED, TIP, VERMILION, clean, short
from fmnist.words import points


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
