"""Figures of effects and of scatter, each with its intervals; `figures` has their captions."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fmnist.analysis.budgets import own_longest
from fmnist.analysis.leaderboard import ALPHA
from fmnist.identity import short_key
from fmnist.report import drawing
from fmnist.report.content import Content
from fmnist.report.drawing import BLUE, INK, MUTED, VERMILION, clean, short
from fmnist.schema import TEST_ACCURACY, VAL_ACCURACY
from fmnist.words import plural, points

_SCORED = {"val": VAL_ACCURACY.label, "test": TEST_ACCURACY.label}


def forest(content: Content) -> Figure | None:
    """The effect of each level against the baseline with its interval, each at its longest budget."""
    effects = content.effects if content.effects.empty else content.effects.dropna(subset="effect")
    if effects.empty:
        return None
    rows = own_longest(effects, ["axis", "level"]).drop_duplicates(["axis", "level"]).to_dict("records")
    names = list(dict.fromkeys(row["axis"] for row in rows))
    height = 15.0 * len(rows) + 22.0 * len(names)
    figure, axes = drawing.panel(600, height + 62, left=152, right=128, bottom=44, top=18)
    axes.set_ylim(height, 0)
    below = 0.0
    for name in names:
        drawing.beside(axes, 6, below + 14, short(name, 40), fontweight="bold")
        below += 22
        for row in (row for row in rows if row["axis"] == name):
            _effect(axes, row, below + 7.5, effects["epochs"].max())
            below += 15
    cut = _widths(axes, rows)
    axes.axvline(0, color=MUTED, linewidth=1)
    if content.margin:  # within which no difference matters
        axes.axvspan(-content.margin, content.margin, color=MUTED, alpha=0.12, linewidth=0, zorder=0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(drawing.SIGNED)
    axes.set_xlabel("validation accuracy minus the baseline's, percentage points" + cut)
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
        plain = [effect - row["plain"], effect + row["plain"]]
        axes.plot(plain, [place + 4, place + 4], color=MUTED, linewidth=0.8)
    numbers = points(effect) + (f"  [{points(low)}, {points(high)}]" if bounded else "  no interval")
    counts = f"{plural(row['epochs'], 'epoch')}, {plural(row['seeds'], 'seed')}"
    said = f"{row['axis']}={row['level']}, {counts}: {numbers} points"
    look: dict[str, Any] = {"color": colour, "markerfacecolor": colour if bounded else "none", "markersize": 6}
    axes.plot(effect, place, "o", gid=drawing.tip(f"{short_key(row['axis'])}={row['level']}", said), **look)
    level = short(row["level"], 20) + ("" if row["epochs"] == longest else f" · {row['epochs']} ep.")
    drawing.beside(axes, 142, place, level, ha="right", fontsize=9)
    drawing.beside(axes, 480, place, numbers, fontsize=8.5, color=INK if significant else MUTED)


def _widths(axes: Axes, rows: list[dict[Any, Any]]) -> str:
    """Keep wide intervals from squeezing all effects into a line, and say how many go on beyond the scale."""
    effect, low, high, plain = np.array([[row[key] for key in ("effect", "low", "high", "plain")] for row in rows]).T
    moderate = 2.5 * float(np.max(np.abs(effect) + np.nan_to_num(plain)))
    left, right = max(np.nanmin([*low, *effect, 0]), -moderate), min(np.nanmax([*high, *effect, 0]), moderate)
    pad = 0.05 * (right - left) or 0.001
    axes.set_xlim(left - pad, right + pad)
    count = int(((low < left - pad) | (high > right + pad)).sum())
    return f" ({plural(count, 'interval')} beyond the scale)" if count else ""


def scatter(content: Content) -> Figure | None:
    """The standard deviation of accuracy that each source of chance brings by itself."""
    if content.noise.empty:
        return None
    rows = content.noise.to_dict("records")
    figure, axes = drawing.panel(600, 30.0 * len(rows) + 66, left=80, right=20, bottom=44, top=22)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for place, row in enumerate(rows):
        drawing.beside(axes, 70, place, row["source"], ha="right", fontsize=9.5, fontweight="bold")
        for part, colour, step in (("val", BLUE, -0.14), ("test", VERMILION, 0.14)):
            sd, low, high = (100 * row[f"{part}_{end}"] for end in ("sd", "low", "high"))
            axes.plot([low, high], [place + step] * 2, color=colour, linewidth=2.2, solid_capstyle="round")
            bounded = bool(np.isfinite(low))
            within = f" [{low:.2f}, {high:.2f}]" if bounded else ""
            said = f"{row['source']}, {_SCORED[part]}: {sd:.2f}{within} points"
            look: dict[str, Any] = {"color": colour, "markerfacecolor": colour if bounded else "none", "markersize": 6}
            axes.plot(sd, place + step, "o", gid=drawing.tip(row["source"], said), **look)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlim(left=0)
    axes.set_xlabel("standard deviation of accuracy from seed to seed, percentage points")
    handles = [Line2D([], [], color=colour, marker="o", label=_SCORED[part])
               for part, colour in (("val", BLUE), ("test", VERMILION))]  # fmt: skip
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 0.99), ncols=2, fontsize=8.8)
    first = rows[0]
    figure.set_label(clean(f"Scatter of accuracy by {len(rows)} sources of chance; the largest: {first['source']}."))
    return figure
