"""What a search has tried, in one picture: its history, what mattered, and every trial across all dimensions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fmnist.report.drawing import BLUE, MUTED, RULE, VERMILION, clean, short

_MOST = 12  # letters of a level


def overview(
    points: pd.DataFrame, scores: Sequence[float], best: Sequence[float], shares: pd.Series, title: str
) -> Figure:
    """The picture of a search.

    Args:
        points: a row a trial with a score, in the order of their ends, a column a dimension; missing where not active.
        scores: theirs.
        best: the best after each.
        shares: the importance of each dimension, the largest first.
        title: what was searched for.
    """
    figure = Figure(figsize=(9, 7), facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(clean(title), fontsize=13, parse_math=False)
    grid = figure.add_gridspec(2, 2, left=0.06, right=0.96, top=0.9, bottom=0.14, hspace=0.42, wspace=0.5)
    history, bars = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    trials = np.arange(1, len(scores) + 1)
    history.plot(trials, scores, "o", color=MUTED, markersize=4, label="trial")
    history.step(trials, best, where="post", color=BLUE, label="best so far")
    history.set_title("history", loc="left")
    history.set_xlabel("trials that have ended")
    history.legend(frameon=False)
    shown = shares[shares > 0][::-1]
    bars.barh([short(name, 22) for name in shown.index], 100 * shown.to_numpy(), color=BLUE)
    bars.tick_params(labelsize=8)
    bars.set_title("importance of each dimension, per cent", loc="left")
    _parallel(figure.add_subplot(grid[1, :]), points, np.asarray(scores, float), best[-1] if len(best) else np.nan)
    for axes in (history, bars):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _parallel(axes: Axes, points: pd.DataFrame, scores: NDArray[np.float64], best: float) -> None:
    """A line for each trial through its levels; the better, the stronger, and the best in another colour."""
    varied = [name for name in points if points[name].nunique() > 1]
    places = pd.DataFrame({name: _places(axes, points[name], number) for number, name in enumerate(varied)})
    ranks = scores.argsort().argsort() / max(len(scores) - 1, 1)
    for (_, line), score, rank in zip(places.iterrows(), scores, ranks, strict=False):
        look: dict[str, Any] = {"color": BLUE, "alpha": 0.08 + 0.5 * rank**2}
        look = {"color": VERMILION, "linewidth": 2.2, "zorder": 3} if score == best else look
        axes.plot(range(len(varied)), line.to_numpy(float), **look)
    axes.set_xticks(range(len(varied)), [short(name, 20) for name in varied], fontsize=8, rotation=25, ha="right")
    axes.set_yticks([])
    axes.set_xlim(-0.2, max(len(varied) - 0.6, 0.5))
    axes.set_title("every trial across the dimensions that varied; the best in orange", loc="left")
    axes.spines[:].set_visible(False)


def _places(axes: Axes, levels: pd.Series, number: int) -> NDArray[np.float64]:
    """Where the levels of a dimension lie on its axis, from 0 to 1; the axis is drawn and labelled."""
    numbers = pd.to_numeric(levels, errors="coerce")
    is_word = bool((numbers.isna() & levels.notna()).any()) or any(isinstance(level, bool) for level in levels)
    known = sorted(levels.dropna().unique(), key=str if is_word else float)
    order = {level: place / max(len(known) - 1, 1) for place, level in enumerate(known)}
    axes.axvline(number, color=RULE, zorder=0)
    marked = known if len(known) <= 4 else [known[0], known[len(known) // 2], known[-1]]
    for level in marked:
        text = f"{level:.2g}" if isinstance(level, float) else str(level).lower()
        axes.text(
            number + 0.03, order[level], short(text, _MOST), fontsize=8, color=MUTED, va="center", parse_math=False
        )
    return levels.map(order).to_numpy(float)
