"""Pictures of a run, drawn on Agg canvases of their own: no pyplot, so no global state, safe in threads."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fmnist.report.drawing import BLUE, PERCENT, VERMILION, any_script, clean

_LINES = (("train", "training", BLUE, "o", "-"), ("val", "validation", VERMILION, "s", "--"))
_FEW_EPOCHS = 15
_SHARES = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#9ecae1", "#2b7bba", "#08306b"])
_SIDE, _GAP = 28, 2


def curves(history: pd.DataFrame, title: str) -> Figure:
    """Accuracy and loss over the epochs, training and validation.

    Args:
        history: indexed by epoch (1..n), with `train/accuracy`, `val/accuracy` (0..1), `train/loss` and
            `val/loss` (nats); other columns are ignored.
        title: what was run; long ones are wrapped.

    Raises:
        ValueError: the history has no epoch.
    """
    if history.empty:
        raise ValueError("curves need a history of at least 1 epoch, but got 0")
    heading = _wrapped(title, 95)
    figure = _figure(11, 4.6, heading, 0.975, fontsize=13)
    accuracy, loss = figure.subplots(1, 2)
    top = 0.83 - 0.05 * heading.count("\n")
    figure.subplots_adjust(left=0.07, right=0.985, bottom=0.12, top=top, wspace=0.17)
    _panel(accuracy, history, "accuracy", "{:.2%}")
    accuracy.yaxis.set_major_formatter(PERCENT)
    _panel(loss, history, "loss", "{:.4f}")
    return figure


def _panel(axes: Axes, history: pd.DataFrame, metric: str, form: str) -> None:
    epochs = history.index.to_numpy()
    few = len(epochs) <= _FEW_EPOCHS
    for prefix, name, colour, marker, style in _LINES:
        values = history[f"{prefix}/{metric}"].to_numpy(dtype=float)
        label = f"{name} {form.format(values[-1]).replace('%', ' %')}"
        shape = marker if few else ""
        axes.plot(epochs, values, style, color=colour, label=label, linewidth=1.8, marker=shape, markersize=6)
    axes.set_xlabel("epoch")
    axes.set_title(metric, fontsize=12, loc="left")
    pad = 0.5 if len(epochs) == 1 else min(0.03 * len(epochs), 0.7)  # below 1: there is no epoch 0
    axes.set_xlim(epochs[0] - pad, epochs[-1] + pad)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.margins(y=0.12)
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # Above the panel, where it hides no point.
    axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.98), ncols=2, frameon=False)


def confusion(matrix: NDArray[Any], classes: Sequence[str], title: str) -> Figure:
    """A confusion matrix: counts, and below them the share of the actual class, which also gives the colour.

    Args:
        matrix: counts (n, n), actual by predicted; zeros are left blank.
        classes: the n names, in the matrix's order.
        title: what was run; the accuracy is added to it.

    Raises:
        ValueError: the matrix is not square or does not fit the names.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"{len(classes)} classes need a square matrix of that size, but got {counts.shape}")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    accuracy = 100 * np.trace(counts) / max(counts.sum(), 1)
    heading = _wrapped(f"{title} · accuracy {accuracy:.2f} %", 64)
    figure = _figure(9, 9, heading, 0.988, fontsize=15, fontweight="bold")
    axes = figure.add_axes((0.13, 0.09, 0.855, 0.86 - 0.028 * heading.count("\n")))
    # The root spreads the few per cent of the errors, which a linear scale would leave white.
    axes.imshow(shares, cmap=_SHARES, norm=PowerNorm(0.5, vmin=0, vmax=1), aspect="auto")
    ticks, names = range(len(classes)), [name.replace(" ", "\n").replace("/", "/\n") for name in classes]
    axes.set_xticks(ticks, names, fontsize=11.5)
    axes.set_yticks(ticks, names, fontsize=12)
    axes.set_xlabel("predicted", fontsize=13)
    axes.set_ylabel("actual", fontsize=13, labelpad=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#d0d0d0", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    _cells(axes, counts, shares)
    return figure


def confusion_beside(
    matrix: NDArray[Any], reference: NDArray[Any] | None, classes: Sequence[str], title: str
) -> Figure:
    """A mean confusion matrix, that of a reference, and what they differ by, in per cent of each actual class.

    Args:
        matrix: mean counts (n, n), actual by predicted.
        reference: those of the baseline; none: the matrix stands alone.
        classes: the n names, in the matrix's order.
        title: what was run.
    """
    panels = {title: _percent(matrix)}
    if reference is not None and not np.array_equal(matrix, reference):
        panels |= {"baseline": _percent(reference), "difference in points": _percent(matrix) - _percent(reference)}
    figure = _figure(7 * len(panels), 6.6, "", 1)
    names = [name.replace(" ", "\n").replace("/", "/\n") for name in classes]
    for place, (heading, shares) in enumerate(panels.items()):
        axes = figure.add_axes(((place + 0.12) / len(panels), 0.1, 0.86 / len(panels), 0.83))
        _shares(axes, shares, is_difference=place == 2, digits=1, fontsize=10)
        axes.set_title(_wrapped(heading, 60), fontsize=13)
        axes.set_xticks(range(len(names)), names, fontsize=9)
        axes.set_yticks(range(len(names)), names, fontsize=9)
        axes.tick_params(length=0)
    return figure


def _shares(axes: Axes, shares: NDArray[np.float64], *, is_difference: bool, digits: int, fontsize: float) -> None:
    """Per cent, or differences in points, as colours with numbers; those that round to 0 are left out."""
    look: dict[str, Any] = {"cmap": _SHARES, "norm": PowerNorm(0.5, 0, 100)}
    if is_difference:
        look = {"cmap": "RdBu", "vmin": -10, "vmax": 10}
    axes.imshow(shares, aspect="auto", **look)
    for row, column in np.argwhere(np.round(np.abs(shares), digits) > 0):
        share = shares[row, column]
        text = f"{share:{'+' * is_difference}.{digits}f}".replace("-", "−")
        is_dark = abs(share) > 6 if is_difference else share > 30
        place: dict[str, Any] = {"ha": "center", "va": "center", "color": "white" if is_dark else "#202020"}
        axes.text(column, row, text, fontsize=fontsize, **place)


def _percent(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Of the actual class."""
    return np.asarray(100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def small_confusion(matrix: NDArray[Any], classes: Sequence[str], reference: NDArray[Any] | None = None) -> Figure:
    """A confusion matrix of 304 pixels at 100 dots per inch, to be seen beside others: per cent of the actual class.

    Where there is a reference: what it differs by from that, in points.
    """
    shares = _percent(matrix) - (0 if reference is None else _percent(reference))
    figure = _figure(3.04, 3.04, "", 1)
    axes = figure.add_axes((0.2, 0.22, 0.79, 0.77))
    _shares(axes, shares, is_difference=reference is not None, digits=0, fontsize=7.5)
    names = [name.split("/")[0].replace("Ankle boot", "Boot") for name in classes]
    axes.set_xticks(range(len(names)), names, fontsize=7.5, rotation=90)
    axes.set_yticks(range(len(names)), names, fontsize=7.5)
    axes.tick_params(length=0, pad=2)
    return figure


def _cells(axes: Axes, counts: NDArray[Any], shares: NDArray[np.float64]) -> None:
    for row, column in np.argwhere(counts > 0):
        share = shares[row, column]
        colour = "white" if share > 0.3 else "#202020"
        place: dict[str, Any] = {"ha": "center", "color": colour}
        weight = "bold" if row == column else "normal"
        axes.text(column, row + 0.02, f"{counts[row, column]:d}", va="bottom", fontsize=16, weight=weight, **place)
        axes.text(column, row + 0.1, f"{100 * share:.1f} %", va="top", fontsize=10.5, **place)


def samples(images: NDArray[Any], row_names: Sequence[str], title: str) -> Figure:
    """Originals beside what the augmentation makes of them.

    Args:
        images: (rows, columns, 28, 28) in 0..255; the first column holds the originals.
        row_names: a name for each row.
        title: what was run; long ones are wrapped.

    Raises:
        ValueError: the images have another shape, or another number of rows than names.
    """
    pictures = np.asarray(images)
    if pictures.ndim != 4 or pictures.shape[2:] != (_SIDE, _SIDE) or len(pictures) != len(row_names):
        raise ValueError(f"images must be ({len(row_names)}, columns, 28, 28), but got {pictures.shape}")
    rows, columns = pictures.shape[:2]
    lefts = [column * (_SIDE + _GAP) + (6 if column else 0) for column in range(columns)]
    canvas = np.full((rows * (_SIDE + _GAP) - _GAP, lefts[-1] + _SIDE), np.nan)
    for column, left in enumerate(lefts):
        for row in range(rows):
            top = row * (_SIDE + _GAP)
            canvas[top : top + _SIDE, left : left + _SIDE] = pictures[row, column]
    return _mosaic(canvas, lefts, row_names, title)


def _mosaic(canvas: NDArray[Any], lefts: Sequence[int], row_names: Sequence[str], title: str) -> Figure:
    """One picture rather than an axes for each tile, which takes far longer to draw."""
    height, width = (length / _SIDE for length in canvas.shape)  # in inches: a tile is one inch
    side, below = 1.15, 0.12
    whole_width = max(width + side + below, 6.0)
    heading = _wrapped(title, int(9 * whole_width))
    whole_height = height + below + 0.7 + 0.22 * heading.count("\n")
    figure = _figure(whole_width, whole_height, heading, 1 - 0.1 / whole_height, fontsize=13)
    axes = figure.add_axes((side / whole_width, below / whole_height, width / whole_width, height / whole_height))
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    centres = [row * (_SIDE + _GAP) + _SIDE / 2 for row in range(len(row_names))]
    axes.set_yticks(centres, row_names, fontsize=11)
    middle = (lefts[1] + lefts[-1] + _SIDE) / 2 if len(lefts) > 1 else 0.0
    ticks, labels = [_SIDE / 2, middle], ["original", "augmented"]
    axes.set_xticks(ticks[: len(lefts)], labels[: len(lefts)], fontsize=11)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure


def to_image(figure: Figure, dpi: int = 110) -> NDArray[np.uint8]:
    """The figure's pixels (height, width, 3) at so many dots per inch."""
    before = figure.dpi
    try:
        figure.set_dpi(dpi)
        canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
        with any_script():
            canvas.draw()
        return np.array(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()
    finally:
        figure.set_dpi(before)


def _figure(width: float, height: float, heading: str, top: float, **style: Any) -> Figure:
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.5, top, heading, ha="center", va="top", parse_math=False, **style)
    return figure


def _wrapped(title: str, columns: int) -> str:
    return textwrap.fill(clean(title), columns, break_long_words=False, break_on_hyphens=False)
