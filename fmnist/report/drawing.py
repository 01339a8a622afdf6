"""What the pictures of a study share: inks, the panel, names that fit, places that do not overlap.

The inks are few and fixed, so that a page can replace each by its own (`fmnist.report.svg`). One unit is a point,
1/72 inch.
"""

import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox, blended_transform_factory
from numpy.typing import ArrayLike, NDArray

from fmnist.words import plural

INK, MUTED, RULE = "#1c2126", "#5d6670", "#dde1e5"
BLUE, VERMILION = "#0072B2", "#D55E00"  # Okabe and Ito: told apart by colour-blind readers
STRONGEST = 0.5  # of a cell's colour, on which ink can be read in light and in dark
TIP, BAND = "tip:", "band:"  # a group whose gid begins so carries the name of what it shows
TIPS = "␟"  # and after it, each after this, what is to be said of its points
MOST_TIPS = 60  # along a line
STYLE: dict[Any, Any] = {
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
    "axes.titley": 1.0,  # said, so that no place for it is sought
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
}
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.4g} %".replace("-", "−"))
SIGNED = FuncFormatter(lambda share, _: f"{100 * share:+.3g}".replace("-", "−") if share else "0")
COUNT = FuncFormatter(lambda number, _: count(number))
_UNPRINTABLE = re.compile(f"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|{TIPS}")


@contextmanager
def any_script() -> Iterator[None]:
    """Without matplotlib's warnings of letters that its font lacks: browsers have others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def clean(text: object) -> str:
    """The text without characters that XML forbids."""
    return _UNPRINTABLE.sub("\ufffd", str(text))


def wrapped(title: str, columns: int) -> str:
    """A title in lines of so many characters."""
    return textwrap.fill(clean(title), columns, break_long_words=False, break_on_hyphens=False)


def short(name: object, most: int) -> str:
    """The name in at most so many characters, the middle left out."""
    text = clean(name)
    return text if len(text) <= most else f"{text[: most - 9]}…{text[-8:]}"


def room(names: Iterable[object], most: int) -> float:
    """The width that the longest of these names takes."""
    return 6.0 * max(len(short(name, most)) for name in names)


def count(number: float) -> str:
    """1500 as `1.5 k`."""
    if number >= 1e6:
        return f"{number / 1e6:g} M"
    return f"{number / 1e3:g} k" if number >= 1e3 else f"{number:g}"


def panel(width: float, height: float, *, left: float, right: float, bottom: float, top: float) -> tuple[Figure, Axes]:
    """A figure with one axes and these margins around it."""
    figure = Figure(figsize=(width / 72, height / 72), facecolor="white")
    FigureCanvasAgg(figure)
    place = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    return figure, figure.add_axes(place)


def beside(axes: Axes, left: float, place: float, text: str, **style: Any) -> None:
    """Text outside the axes: so far from the figure's left edge, at a place on the y axis."""
    across = blended_transform_factory(axes.figure.transFigure, axes.transData)
    x = left / (72 * axes.figure.get_figure(root=True).get_figwidth())
    axes.text(x, place, text, transform=across, va="center", **style)


def heading(axes: Axes, title: str, handles: list[Line2D]) -> None:
    """A title, and below it a legend that hides nothing."""
    axes.set_title(title, color=MUTED, pad=26)
    style: dict[str, Any] = {"ncols": 3, "handlelength": 1.4, "columnspacing": 1.4, "fontsize": 8.8}
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 0.98), **style)


def line(name: str, baseline: str, best: str) -> dict[str, Any]:
    """How the line of a variant looks among the others."""
    if name and name == baseline:
        return {"color": INK, "linewidth": 2.4, "zorder": 4}
    if name and name == best:
        return {"color": BLUE, "linewidth": 2.4, "zorder": 3}
    return {"color": MUTED, "linewidth": 1.1, "alpha": 0.5, "zorder": 2}


def legend(baseline: str, best: str, total: int) -> list[Line2D]:
    """What the lines of so many variants are, as `line` draws them."""
    lines = [(baseline, "baseline")] if baseline else []
    lines += [(best, f"best: {short(best, 24)}")] if best and best != baseline else []
    lines += [("", "others")] if total > len(lines) else []
    return [Line2D([], [], label=label, **line(name, baseline, best)) for name, label in lines]


def dot(colour: str, x: float = 0, y: float = 0, **names: Any) -> Line2D:
    """A dot, smaller and fainter in the muted ink."""
    size, alpha = (5, 0.55) if colour == MUTED else (6.5, 1.0)
    style: dict[str, Any] = {"marker": "o", "linestyle": "", "markeredgewidth": 0, "zorder": 3}
    return Line2D([x], [y], color=colour, markersize=size, alpha=alpha, **style, **names)


def tip(name: object, *texts: str) -> str:
    """The gid of a group that shows something with this name: what to say of it, or of each of its points."""
    return TIP + TIPS.join(map(clean, (name, *texts)))


def marks(axes: Axes, x: ArrayLike, y: ArrayLike, name: object, texts: Sequence[str], **style: Any) -> None:
    """Points with a text each, unseen without a style; `axes` has its limits, and what lies beyond is left out."""
    across, along = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    low, high = sorted(axes.get_ylim())
    within = np.flatnonzero((low <= along) & (along <= high))
    within = within[:: -(-len(within) // MOST_TIPS) or 1]
    look: dict[str, Any] = {"s": 60, "color": MUTED, "alpha": 0, "linewidth": 0, "zorder": 5} | style
    if len(within):
        gid = tip(name, *(texts[place] for place in within.tolist()))
        axes.scatter(across[within], along[within], gid=gid, clip_on=False, **look)


def strokes(axes: Axes, x: ArrayLike, spans: NDArray[np.float64], colour: Any) -> None:
    """Vertical strokes between these ends (n, 2), of one colour or of one each."""
    axes.vlines(x, spans[:, 0].tolist(), spans[:, 1].tolist(), colour, linewidth=1.1, alpha=0.8)


def band(axes: Axes, edges: pd.DataFrame, name: object, colour: str) -> None:
    """From `min` to `max` of each row; of what is muted unseen until it is pointed out on the page."""
    style: dict[str, Any] = {"color": colour, "alpha": 0 if colour == MUTED else 0.16, "linewidth": 0, "zorder": 1}
    axes.fill_between(edges.index.to_numpy(), edges["min"], edges["max"], gid=BAND + clean(name), **style)


def logarithmic(axes: Axes, format: FuncFormatter, subs: tuple[int, ...] = (1, 2, 5)) -> None:
    """A logarithmic x axis with ticks at these multiples of the powers of ten."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(format)
    axes.xaxis.set_minor_formatter(NullFormatter())


def heat(axes: Axes, shares: NDArray[np.float64], ink: str) -> None:
    """Cells with a share each in per cent; the lower it is, the stronger the colour."""
    weakness = (1 - shares) / max(float((1 - shares).max()), 0.05)
    cells = [Rectangle((x - 0.48, y - 0.46), 0.96, 0.92) for y, x in np.ndindex(shares.shape)]
    colours = [to_rgba(ink, STRONGEST * strength) for strength in weakness.ravel()]
    axes.add_collection(PatchCollection(cells, facecolors=colours, edgecolors="none"))
    for (y, x), share in np.ndenumerate(shares):
        axes.text(x, y, f"{100 * share:.1f}", ha="center", va="center", fontsize=8.8)
    axes.set_xlim(-0.5, shares.shape[1] - 0.5)
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)


def limit(
    axes: Axes, values: NDArray[np.float64], spans: NDArray[np.float64] | None = None, falling: bool = False
) -> str:
    """Keep far outliers from squeezing the rest, and say how many values that hides.

    Args:
        axes: its y axis is limited.
        values: all that is drawn, or missing; outliers are those far below, of `falling` ones also those far above.
        spans: (n, 2) ends of the values' intervals, or missing; there is room for those of moderate length.
        falling: values such as losses.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ""
    low, high = np.quantile(finite, [0.1, 0.9])
    reach = 2.5 * max(high - low, 0.004)
    least = max(finite.min(), low - reach)
    most = min(finite.max(), high + reach) if falling else finite.max()
    hidden = int(((finite < least) | (finite > most)).sum())
    shown = np.full((1, 2), np.nan) if spans is None else spans[(values >= least) & (values <= most)]
    room = max(most - least, 0.004)
    bottom, top = np.clip(
        [np.nanmin([least, *shown[:, 0]]), np.nanmax([most, *shown[:, 1]])], least - room, most + room
    )
    pad = 0.06 * (top - bottom or room)  # all values may be equal
    axes.set_ylim(bottom - pad, top + pad)
    cut = int(((shown < bottom - pad) | (shown > top + pad)).any(axis=1).sum())
    said = [plural(number, noun) for number, noun in ((hidden, "value"), (cut, "interval")) if number]
    return f"  ({' and '.join(said)} beyond the scale)" if said else ""


def apart(falling: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """The positions, moved as little as it takes to keep them a gap apart and between 0 and 1."""
    from scipy.optimize import isotonic_regression

    steps = gap * np.arange(len(falling))
    places = isotonic_regression(falling + steps, increasing=False).x - steps
    moved: NDArray[np.float64] = np.maximum(np.minimum(places, 1 - steps), steps[::-1])
    return moved


def label(axes: Axes, named: Sequence[tuple[float, float, str]], marks: NDArray[np.float64]) -> None:
    """Names beside points (x, y, name), clear of each other and of `marks`; those without room are left out.

    Args:
        axes: with its final limits.
        named: the points, the most important first.
        marks: (n, 2) points of what is drawn.
    """
    canvas: Any = axes.figure.canvas  # its methods have no types
    renderer, inside, taken = canvas.get_renderer(), axes.get_window_extent(), list[Bbox]()
    drawn = axes.transData.transform(marks)
    for x, y, name in named:
        for side, offset in (("right", (-4, 8)), ("left", (5, -9)), ("left", (8, 0)), ("right", (-8, 0))):
            place: dict[str, Any] = {"xytext": offset, "textcoords": "offset points", "ha": side, "va": "center"}
            text = axes.annotate(name, (x, y), fontsize=8.5, annotation_clip=False, **place)
            box = text.get_window_extent(renderer).padded(1.5)
            free = inside.x0 - 20 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if free and not box.count_contains(drawn) and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def stairs(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, 2) close together on the steps that join these, for x on a logarithmic scale."""
    flat = [np.column_stack([np.geomspace(x[i], x[i + 1], 40), np.full(40, y[i])]) for i in range(len(x) - 1)]
    steep = [np.column_stack([np.full(40, x[i + 1]), np.linspace(y[i], y[i + 1], 40)]) for i in range(len(x) - 1)]
    return np.concatenate([np.column_stack([x, y]), *flat, *steep])


def ends(axes: Axes, last: pd.Series, right: float, baseline: str, best: str) -> None:
    """Names with their values beside the lines' ends, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    height = axes.bbox.height * 72 / axes.figure.dpi
    shares = (last.clip(low, high).to_numpy(dtype=float) - low) / (high - low)
    leader = {"arrowstyle": "-", "color": RULE, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4, "relpos": (0, 0.5)}
    for name, accuracy, share, place in zip(last.index, last, shares, apart(shares, 14 / height), strict=True):
        colour = line(str(name), baseline, best)["color"]
        style: dict[str, Any] = {"color": colour, "fontweight": "normal" if colour == MUTED else "bold"}
        where: dict[str, Any] = {"xytext": (18, (place - share) * height), "textcoords": "offset points"}
        text = f"{short(name, 26)}  {100 * accuracy:.2f} %"
        spot = (right, low + share * (high - low))
        axes.annotate(text, spot, va="center", fontsize=8.8, arrowprops=leader, annotation_clip=False, **where, **style)
