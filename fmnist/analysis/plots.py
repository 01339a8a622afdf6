"""Pictures of a study: effects, learning curves, rungs, recalls, costs.

Their inks and series colours are a fixed few, so that a page can replace each by its own (`fmnist.analysis.svg`).
A group whose gid begins with `TIP` carries the name of what it shows. One unit is a point, 1/72 inch.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from fmnist.analysis.figures import BLUE, VERMILION
from fmnist.config import CLASSES

INK, MUTED, RULE = "#1c2126", "#5d6670", "#dde1e5"
TIP = "tip:"
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same layout everywhere
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a name with a dollar sign is no formula
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "svg.fonttype": "none",
}
_SIGNIFICANT = 0.05
_LABELLED = 14  # variants: more names than these do not fit beside the lines
_UNPRINTABLE = re.compile("[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.4g} %")


def figures(
    board: pd.DataFrame, effects: pd.DataFrame, runs: pd.DataFrame, histories: Mapping[str, pd.DataFrame]
) -> dict[str, Figure]:
    """All pictures that the findings suffice for, by name; each one's label is its alternative text.

    Args:
        board: the leaderboard's rows, best first.
        effects: axis, level, epochs, seeds, effect, low, high, p_value (shares).
        runs: a row a run, with `test/recall/<class>`.
        histories: run_id -> frame indexed by epoch with `val/accuracy` and `val/loss`.

    Not for several threads at once: matplotlib's settings are shared.
    """
    with rc_context(STYLE):
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


def measured(board: pd.DataFrame) -> pd.DataFrame:
    """The board's rows that this project trained to their end."""
    return board[board["val_accuracy"].notna() & (board["verdict"] != "published")]


def budget(board: pd.DataFrame) -> int:
    """The longest epoch budget that at least half as many variants have reached as any other; 0 without runs."""
    reached = measured(board).groupby("epochs")["variant"].nunique()
    return int(reached[reached >= reached.max() / 2].index.max()) if len(reached) else 0


# ---- Effects --------------------------------------------------------------------------------------------


def forest(effects: pd.DataFrame) -> Figure | None:
    """The effect of each level against the baseline with its interval, each at its longest budget."""
    known = effects[effects["effect"].notna()]
    if known.empty:
        return None
    last = known[known["epochs"] == known.groupby(["axis", "level"])["epochs"].transform("max")]
    last = last.drop_duplicates(["axis", "level"])
    axes_names = list(dict.fromkeys(last["axis"]))
    height = 15.0 * len(last) + 22.0 * len(axes_names)
    figure, axes = _panel(600, height + 62, left=152, right=118, bottom=44, top=18)
    axes.set_ylim(height, 0)
    below = 0.0
    for name in axes_names:
        _beside(axes, 6, below + 14, _short(str(name), 40), fontweight="bold")
        below += 22
        for row in last[last["axis"] == name].itertuples():
            _effect(axes, row, below + 7.5, int(last["epochs"].max()))
            below += 15
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:+.3g}".replace("-", "−") if share else "0"))
    axes.set_xlabel("validation accuracy minus the baseline's, percentage points")
    axes.text(0, -9, "baseline", ha="center", color=MUTED, fontsize=8.5)
    best, worst = last.loc[last["effect"].idxmax()], last.loc[last["effect"].idxmin()]
    ends = " to ".join(f"{row['axis']}={row['level']} {_points(row['effect'])}" for row in (worst, best))
    figure.set_label(f"Forest plot of {len(last)} effects on validation accuracy in percentage points, from {ends}.")
    return figure


def _effect(axes: Axes, row: Any, place: float, longest: int) -> None:
    found = np.isfinite(row.p_value) and row.p_value < _SIGNIFICANT
    colour = MUTED if not found else BLUE if row.effect > 0 else VERMILION
    bounded = bool(np.isfinite(row.low) and np.isfinite(row.high))
    tip = f"{TIP}{_clean(row.axis)}={_clean(row.level)}, {row.epochs} epochs, {row.seeds} seeds"
    if bounded:
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
    face = colour if bounded else "none"
    axes.plot(row.effect, place, "o", color=colour, markersize=6, markerfacecolor=face, gid=tip)
    label = _short(str(row.level), 20) + ("" if row.epochs == longest else f" · {row.epochs} ep.")
    _beside(axes, 142, place, label, ha="right", fontsize=9)
    text = _points(row.effect) + (f"  [{_points(row.low)}, {_points(row.high)}]" if bounded else "  one seed")
    _beside(axes, 490, place, text, fontsize=8.5, color=INK if found else MUTED)


# ---- Over the epochs ------------------------------------------------------------------------------------


def learning(board: pd.DataFrame, histories: Mapping[str, pd.DataFrame], metric: str) -> Figure | None:
    """A metric over the epochs for every variant, mean over the seeds, at the longest budget that it reached."""
    means = {}
    for row in measured(board).sort_values("epochs", ascending=False, kind="stable").itertuples():
        found = [histories[key][metric] for key in str(row.run_id).split() if key in histories]
        if found and row.variant not in means:
            means[row.variant] = pd.concat(found).groupby(level=0).mean()
    if not means:
        return None
    baseline, best = _marked(board, list(means))
    figure, axes = _panel(380, 290, left=50, right=10, bottom=40, top=44)
    longest = max(len(mean) for mean in means.values())
    for name, mean in means.items():
        marker = "o" if len(mean) == 1 else ""
        axes.plot(mean.index, mean, marker=marker, markersize=4, gid=TIP + _clean(name), **_line(name, baseline, best))
    values = np.concatenate([mean.to_numpy(dtype=float) for mean in means.values()])
    hidden = _limit(axes, values, falling=metric.endswith("loss"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    pad = 0.5 if longest == 1 else min(0.03 * longest, 0.7)  # below 1: there is no epoch 0
    axes.set_xlim(1 - pad, longest + pad)
    axes.set_xlabel("epoch" + hidden)
    if metric.endswith("accuracy"):
        axes.yaxis.set_major_formatter(_PERCENT)
    title = metric.replace("val/", "validation ")
    _legend(axes, title, baseline, best, len(means))
    figure.set_label(f"Learning curves of {len(means)} variants: {title} over {longest} epochs, mean over the seeds.")
    return figure


def rungs(board: pd.DataFrame) -> Figure | None:
    """Validation accuracy of every variant at each epoch budget; none with fewer than two budgets."""
    table = measured(board).pivot_table(index="variant", columns="epochs", values="val_accuracy", sort=True)
    if table.shape[1] < 2:
        return None
    baseline, best = _marked(board, list(table.index))
    last = table.ffill(axis=1).iloc[:, -1].sort_values(ascending=False, kind="stable")
    named = list(last.index) if len(last) <= _LABELLED else [*last.index[:7], *last.index[-2:]]
    named = [name for name in last.index if name in {*named, baseline, best}]
    figure, axes = _panel(640, max(340, 16 * len(named) + 110), left=52, right=_room(named, 26) + 74, bottom=42, top=44)
    places = np.arange(table.shape[1])
    for name in last.index:
        axes.plot(
            places, table.loc[name], marker="o", markersize=3.5, gid=TIP + _clean(name), **_line(name, baseline, best)
        )
    hidden = _limit(axes, table.to_numpy(dtype=float).ravel())
    axes.set_xticks(places, [f"{epochs}" for epochs in table.columns])
    axes.set_xlim(-0.15, places[-1] + 0.05)
    axes.set_xlabel("epochs trained" + hidden)
    axes.yaxis.set_major_formatter(_PERCENT)
    axes.grid(axis="y", visible=False)
    _ends(axes, last[named], places[-1], baseline, best)
    _legend(axes, "validation accuracy", baseline, best, len(last))
    spans = f"{table.columns[0]} to {table.columns[-1]} epochs"
    figure.set_label(f"Slope chart of {len(last)} variants from {spans}; highest at the end: {last.index[0]}.")
    return figure


def _ends(axes: Axes, last: pd.Series, right: float, baseline: str, best: str) -> None:
    """Names beside the lines' ends, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    height = axes.get_position().height * axes.figure.bbox.height * 72 / axes.figure.dpi
    shares = (last.clip(low, high).to_numpy() - low) / (high - low)
    for name, share, place in zip(last.index, shares, _apart(shares, 14 / height), strict=True):
        strong = name in (baseline, best)
        colour = INK if name == baseline else BLUE if name == best else MUTED
        axes.annotate(
            f"{_short(str(name), 26)}  {100 * last[name]:.2f} %",
            (right, low + share * (high - low)),
            (18, (place - share) * height),
            textcoords="offset points",
            va="center",
            fontsize=8.8,
            color=colour,
            fontweight="bold" if strong else "normal",
            arrowprops={"arrowstyle": "-", "color": RULE, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4, "relpos": (0, 0.5)},
            annotation_clip=False,
        )


def _apart(falling: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """The positions, moved as little as it takes to keep them a gap apart and between 0 and 1."""
    from scipy.optimize import isotonic_regression

    steps = gap * np.arange(len(falling))
    places = isotonic_regression(falling + steps, increasing=False).x - steps
    moved: NDArray[np.float64] = np.maximum(np.minimum(places, 1 - steps), steps[::-1])
    return moved


# ---- Classes and costs ----------------------------------------------------------------------------------


def recall(board: pd.DataFrame, runs: pd.DataFrame) -> Figure | None:
    """Recall of each class for every variant at the common budget; the weaker, the stronger the colour."""
    columns = [f"test/recall/{name}" for name in CLASSES]
    rows = measured(board)
    rows = rows[rows["epochs"] == budget(board)]
    if rows.empty or not set(columns) <= set(runs.columns):
        return None
    by_run = runs.set_index("run_id")[columns].astype(float)
    found = [by_run.reindex(str(ids).split()).mean() for ids in rows["run_id"]]
    table = pd.DataFrame(found, index=rows["variant"]).dropna()
    if table.empty:
        return None
    figure, axes = _panel(720, 24 * len(table) + 48, left=_room(table.index, 32) + 8, right=8, bottom=8, top=40)
    shares = table.to_numpy()
    weakness = (1 - shares) / max(float((1 - shares).max()), 0.05)
    cells = [Rectangle((x - 0.48, y - 0.46), 0.96, 0.92) for y, x in np.ndindex(shares.shape)]
    colours = [to_rgba(VERMILION, 0.72 * strength) for strength in weakness.ravel()]
    axes.add_collection(PatchCollection(cells, facecolors=colours, edgecolors="none"))
    for (y, x), share in np.ndenumerate(shares):
        axes.text(x, y, f"{100 * share:.1f}", ha="center", va="center", fontsize=8.8)
    axes.set_xlim(-0.5, len(CLASSES) - 0.5)
    axes.set_ylim(len(table) - 0.5, -0.5)
    heads = [name.replace(" ", "\n").replace("/", "/\n") for name in CLASSES]
    axes.set_xticks(range(len(CLASSES)), heads, fontsize=8.8)
    axes.set_yticks(range(len(table)), [_short(str(name), 32) for name in table.index], color=INK)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    mean = table.mean()
    weakest = f"{CLASSES[int(mean.argmin())]} with {100 * mean.min():.1f} %"
    figure.set_label(f"Recall in per cent of 10 classes for {len(table)} variants; weakest on average: {weakest}.")
    return figure


def front(cost: NDArray[np.float64], accuracy: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of the Pareto front, cheapest first: what nothing cheaper, or equally cheap, beats or equals."""
    order = np.lexsort((-accuracy, cost))
    best = np.maximum.accumulate(accuracy[order])
    return order[np.concatenate([[True], best[1:] > best[:-1]])] if len(order) else order


def pareto(board: pd.DataFrame, cost: str) -> Figure | None:
    """Validation accuracy against `parameters` (at the common budget) or `train_seconds` (at every budget)."""
    rows = measured(board)
    rows = rows[(rows[cost] > 0) & ((cost == "train_seconds") | (rows["epochs"] == budget(board)))]
    if len(rows) < 2:
        return None
    x, y = rows[cost].to_numpy(dtype=float), rows["val_accuracy"].to_numpy(dtype=float)
    best = front(x, y)
    figure, axes = _panel(380, 290, left=50, right=10, bottom=40, top=44)
    axes.set_xscale("log")
    axes.step(x[best], y[best], where="post", color=BLUE, linewidth=1.4, alpha=0.7)
    for index, (name, epochs, verdict) in enumerate(zip(rows["variant"], rows["epochs"], rows["verdict"], strict=True)):
        colour = INK if verdict == "baseline" else BLUE if index in best else MUTED
        tip = f"{TIP}{_clean(name)}, {epochs} epochs, {100 * y[index]:.2f} %"
        size, alpha = (5, 0.55) if colour == MUTED else (6.5, 1.0)
        axes.add_line(_dot(colour, size, alpha, x[index], y[index], gid=tip))
    hidden = _limit(axes, y)
    axes.margins(x=0.12)
    axes.yaxis.set_major_formatter(_PERCENT)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: _count(value) if x.max() < 8 * x.min() else ""))
    axes.set_xlabel(("trainable parameters" if cost == "parameters" else "training time, seconds") + hidden)
    dots = (("baseline", INK, 6.5, 1.0), ("Pareto front", BLUE, 6.5, 1.0), ("others", MUTED, 5, 0.55))
    _heading(axes, "validation accuracy", [_dot(colour, size, alpha, label=name) for name, colour, size, alpha in dots])
    chosen = [*best[::-1], *np.flatnonzero(rows["verdict"] == "baseline")]
    suffix = " · {} ep." if cost == "train_seconds" else ""
    _names(axes, [(x[i], y[i], _short(str(rows["variant"].iloc[i]), 24) + suffix.format(rows["epochs"].iloc[i]))
                  for i in dict.fromkeys(int(i) for i in chosen)],
           np.concatenate([np.column_stack([x, y]), _stairs(x[best], y[best])]))  # fmt: skip
    names = ", ".join(str(rows["variant"].iloc[i]) for i in best)
    what = cost.replace("train_seconds", "seconds of training")
    figure.set_label(f"Validation accuracy against {what} of {len(rows)} rows; on the Pareto front: {names}.")
    return figure


def _dot(colour: str, size: float, alpha: float, x: float = 0, y: float = 0, **names: str) -> Line2D:
    style: dict[str, Any] = {"marker": "o", "linestyle": "", "markeredgewidth": 0}
    return Line2D([x], [y], color=colour, markersize=size, alpha=alpha, **style, **names)


def _names(axes: Axes, points: Sequence[tuple[float, float, str]], marks: NDArray[np.float64]) -> None:
    """Names beside points, clear of each other and of what is drawn at `marks`; those without room are left out."""
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer, taken, inside = canvas.get_renderer(), [], axes.get_window_extent()  # type: ignore[no-untyped-call]
    drawn = axes.transData.transform(marks)
    for x, y, name in points:
        for side, offset in (("right", (-4, 8)), ("left", (5, -9)), ("left", (8, 0)), ("right", (-8, 0))):
            text = axes.annotate(
                name, (x, y), offset, textcoords="offset points", ha=side, va="center", fontsize=8.5, annotation_clip=False
            )
            box = text.get_window_extent(renderer)
            free = inside.x0 - 20 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if free and not box.count_contains(drawn) and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _stairs(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, 2) close together on the steps that join these, for x on a logarithmic scale."""
    flat = [np.column_stack([np.geomspace(x[i], x[i + 1], 40), np.full(40, y[i])]) for i in range(len(x) - 1)]
    steep = [np.column_stack([np.full(40, x[i + 1]), np.linspace(y[i], y[i + 1], 40)]) for i in range(len(x) - 1)]
    return np.concatenate([np.column_stack([x, y]), *flat, *steep])


# ---- What they share ------------------------------------------------------------------------------------


def _panel(width: float, height: float, left: float, right: float, bottom: float, top: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width / 72, height / 72), facecolor="white")
    FigureCanvasAgg(figure)
    place = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    return figure, figure.add_axes(place)


def _beside(axes: Axes, points: float, place: float, text: str, **style: Any) -> None:
    """Text outside the axes: so many points from the figure's left edge, at a place on the y axis."""
    across = blended_transform_factory(axes.figure.transFigure, axes.transData)
    x = points / (72 * axes.figure.get_figure(root=True).get_figwidth())
    axes.text(x, place, text, transform=across, va="center", **style)


def _marked(board: pd.DataFrame, names: list[str]) -> tuple[str, str]:
    """The names of the baseline and of the best variant at the common budget, as far as they are among these."""
    rows = measured(board)
    baselines = set(rows.loc[rows["verdict"] == "baseline", "variant"]) & set(names)
    best = [name for name in rows.loc[rows["epochs"] == budget(board), "variant"] if name in names]
    return min(baselines, default=""), best[0] if best else ""


def _line(name: str, baseline: str, best: str) -> dict[str, Any]:
    if name and name == baseline:
        return {"color": INK, "linewidth": 2.4, "zorder": 4}
    if name and name == best:
        return {"color": BLUE, "linewidth": 2.4, "zorder": 3}
    return {"color": MUTED, "linewidth": 1.1, "alpha": 0.5, "zorder": 2}


def _legend(axes: Axes, title: str, baseline: str, best: str, count: int) -> None:
    shown = [(baseline, "baseline")] if baseline else []
    shown += [(best, f"best: {_short(best, 24)}")] if best and best != baseline else []
    shown += [("", "others")] if count > len(shown) else []
    _heading(axes, title, [Line2D([], [], label=label, **_line(name, baseline, best)) for name, label in shown])


def _heading(axes: Axes, title: str, handles: list[Line2D]) -> None:
    """A title, and below it a legend that hides nothing."""
    axes.set_title(title, color=MUTED, pad=26)
    style: dict[str, Any] = {"ncols": 3, "handlelength": 1.4, "columnspacing": 1.4, "fontsize": 8.8}
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 0.98), **style)


def _limit(axes: Axes, values: NDArray[np.float64], falling: bool = False) -> str:
    """Keep far outliers from squeezing the rest, and say how many values that hides."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ""
    low, high = np.quantile(finite, [0.1, 0.9])
    reach = 2.5 * max(high - low, 0.004)
    least, most = max(finite.min(), low - reach), min(finite.max(), high + reach) if falling else finite.max()
    pad = 0.06 * max(most - least, 0.002)
    axes.set_ylim(least - pad, most + pad)
    hidden = int(((values < least) | (values > most) | ~np.isfinite(values) & falling).sum())
    return f"  ({hidden} {'value' if hidden == 1 else 'values'} beyond the scale)" if hidden else ""


def _clean(text: object) -> str:
    return _UNPRINTABLE.sub("\ufffd", str(text))


def _short(name: str, most: int) -> str:
    name = _clean(name)
    return name if len(name) <= most else f"{name[: most - 9]}…{name[-8:]}"


def _room(names: Iterable[str], most: int) -> float:
    """Points that the longest of these names takes."""
    return 6 * max(len(_short(str(name), most)) for name in names)


def _points(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")


def _count(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"
