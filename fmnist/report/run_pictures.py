"""Pictures of a run: no pyplot, so no global state, safe in threads."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fmnist.report.drawing import BLUE, PERCENT, VERMILION, any_script, wrapped
from fmnist.report.sheet import Grid, Pixels, Sheet

_LINES = (("train", "training", BLUE, "o", "-"), ("val", "validation", VERMILION, "s", "--"))
_FEW_EPOCHS = 15
_BLUES = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#9ecae1", "#2b7bba", "#08306b"])
_SIDE, _GAP = 28, 2  # pixels of an image, and between two
_INCH = 72


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
    heading = wrapped(title, 95)
    figure = Figure(figsize=(11, 4.6), facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.5, 0.975, heading, ha="center", va="top", parse_math=False, fontsize=13)
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
    axes.set_title(metric, fontsize=12, loc="left", y=1)  # said, so that no place for it is sought
    pad = 0.5 if len(epochs) == 1 else min(0.03 * len(epochs), 0.7)  # below 1: there is no epoch 0
    axes.set_xlim(epochs[0] - pad, epochs[-1] + pad)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.margins(y=0.12)
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # Above the panel, where it hides no point.
    axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.98), ncols=2, frameon=False)


def confusion(matrix: NDArray[Any], classes: Sequence[str], title: str, dpi: int = 110) -> Pixels:
    """A confusion matrix: counts, and below them the share of the actual class, which also gives the colour.

    Args:
        matrix: counts (n, n), actual by predicted; zeros are left blank.
        classes: the n names, in the matrix's order.
        title: what was run; the accuracy is added to it.
        dpi: pixels per inch, of which it has 9 by 9.

    Raises:
        ValueError: the matrix is not square or does not fit the names.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"{len(classes)} classes need a square matrix of that size, but got {counts.shape}")
    shares, heading, side = _percent(counts), wrapped(with_accuracy(title, counts), 64), 9 * _INCH
    top = (0.05 + 0.028 * heading.count("\n")) * side
    sheet, grid = Sheet(side, side, dpi), Grid(0.13 * side, top, 0.855 * side, 0.91 * side - top, *counts.shape)
    sheet.write((side / 2, 8), heading, 15, "ma", bold=True)
    sheet.cells(grid, _colours(shares), rule="#d0d0d0")
    sheet.names(grid, _broken(classes), 11.5)
    sheet.write((grid.left + grid.width / 2, side - 17), "predicted", 13, "mm")
    sheet.write((24, grid.top + grid.height / 2), "actual", 13, "mm", upright=True)
    for row, column in np.argwhere(counts > 0):
        x, y = grid.centre(row, column)
        colour = _ink(shares[row, column] > 30)
        sheet.write((x, y + 2), f"{counts[row, column]:d}", 16, "md", colour=colour, bold=bool(row == column))
        sheet.write((x, y + 5), f"{shares[row, column]:.1f} %", 10.5, "ma", colour=colour)
    return sheet.pixels()


def confusion_beside(
    matrix: NDArray[Any], reference: NDArray[Any] | None, classes: Sequence[str], title: str, dpi: int = 80
) -> Pixels:
    """A mean confusion matrix, that of a reference, and what they differ by, in per cent of each actual class.

    Args:
        matrix: mean counts (n, n), actual by predicted.
        reference: those of the baseline; none: the matrix stands alone.
        classes: the n names, in the matrix's order.
        title: what was run.
        dpi: pixels per inch, of which each matrix has 7 by 6.6.
    """
    panels = {title: _percent(matrix)}
    if reference is not None and not np.array_equal(matrix, reference):
        panels |= {"baseline": _percent(reference), "difference in points": _percent(matrix) - _percent(reference)}
    width, height = 7 * _INCH, 6.6 * _INCH
    sheet = Sheet(width * len(panels), height, dpi)
    for place, (heading, shares) in enumerate(panels.items()):
        grid = Grid((place + 0.12) * width, 0.07 * height, 0.86 * width, 0.83 * height, *shares.shape)
        _shares(sheet, grid, shares, is_difference=place == 2, digits=1, size=10)
        sheet.write((grid.left + grid.width / 2, grid.top - 6), wrapped(heading, 60), 13, "md")
        sheet.names(grid, _broken(classes), 9)
    return sheet.pixels()


def small_confusion(
    matrix: NDArray[Any], classes: Sequence[str], reference: NDArray[Any] | None = None, dpi: int = 100
) -> Pixels:
    """A confusion matrix of 304 pixels at 100 per inch, to be seen beside others: per cent of the actual class.

    Where there is a reference: what it differs by from that, in points.
    """
    shares, side = _percent(matrix) - (0 if reference is None else _percent(reference)), 3.04 * _INCH
    sheet, grid = Sheet(side, side, dpi), Grid(0.2 * side, 0.01 * side, 0.79 * side, 0.77 * side, *shares.shape)
    _shares(sheet, grid, shares, is_difference=reference is not None, digits=0, size=7.5)
    sheet.names(grid, [name.split("/")[0].replace("Ankle boot", "Boot") for name in classes], 7.5, upright=True)
    return sheet.pixels()


def with_accuracy(title: str, counts: NDArray[Any]) -> str:
    """A title, and the accuracy of these counts."""
    return f"{title} · accuracy {100 * np.trace(counts) / max(counts.sum(), 1):.2f} %"


def _percent(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Of the actual class."""
    return np.asarray(100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def _colours(shares: NDArray[np.float64], *, is_difference: bool = False) -> Pixels:
    """A colour for each share in per cent, or difference in points."""
    # The root spreads the few per cent of the errors, which a linear scale would leave white.
    rgba = (
        mpl.colormaps["RdBu"](shares / 20 + 0.5, bytes=True)
        if is_difference
        else _BLUES(np.sqrt(shares / 100), bytes=True)
    )
    return np.asarray(rgba)[..., :3]


def _ink(is_dark: bool) -> str:
    return "white" if is_dark else "#202020"


def _broken(names: Sequence[str]) -> list[str]:
    return [name.replace(" ", "\n").replace("/", "/\n") for name in names]


def _shares(
    sheet: Sheet, grid: Grid, shares: NDArray[np.float64], *, is_difference: bool, digits: int, size: float
) -> None:
    """Per cent, or differences in points, as colours with numbers; those that round to 0 are left out."""
    sheet.cells(grid, _colours(shares, is_difference=is_difference))
    for row, column in np.argwhere(np.round(np.abs(shares), digits) > 0):
        share = shares[row, column]
        text = f"{share:{'+' * is_difference}.{digits}f}".replace("-", "−")
        colour = _ink(abs(share) > 6 if is_difference else share > 30)
        sheet.write(grid.centre(row, column), text, size, "mm", colour=colour)


def samples(images: NDArray[Any], row_names: Sequence[str], title: str, dpi: int = 110) -> Pixels:
    """Originals beside what the augmentation makes of them.

    Args:
        images: (rows, columns, 28, 28) in 0..255; the first column holds the originals.
        row_names: a name for each row.
        title: what was run; long ones are wrapped.
        dpi: pixels per inch, the side of an image.

    Raises:
        ValueError: the images have another shape, or another number of rows than names.
    """
    pictures = np.asarray(images)
    if pictures.ndim != 4 or pictures.shape[2:] != (_SIDE, _SIDE) or len(pictures) != len(row_names):
        raise ValueError(f"images must be ({len(row_names)}, columns, 28, 28), but got {pictures.shape}")
    rows, columns = pictures.shape[:2]
    lefts = [column * (_SIDE + _GAP) + (6 if column else 0) for column in range(columns)]
    canvas = np.full((rows * (_SIDE + _GAP) - _GAP, lefts[-1] + _SIDE), 255, np.uint8)
    tops = [row * (_SIDE + _GAP) for row in range(rows)]
    for (row, first), (column, left) in product(enumerate(tops), enumerate(lefts)):
        canvas[first : first + _SIDE, left : left + _SIDE] = pictures[row, column].clip(0, 255)
    point, side, margin = _INCH / _SIDE, 1.15 * _INCH, 0.12 * _INCH
    width, height = canvas.shape[1] * point, canvas.shape[0] * point
    whole = max(side + width + margin, 6 * _INCH)
    heading = wrapped(title, int(9 * whole / _INCH))
    top = (0.7 + 0.22 * heading.count("\n")) * _INCH
    sheet, grid = Sheet(whole, top + height + margin, dpi), Grid(side, top, width, height, *canvas.shape)
    sheet.write((whole / 2, 7), heading, 13, "ma")
    sheet.picture(grid, canvas)
    for first, name in zip(tops, row_names, strict=True):
        sheet.write((side - 4, top + (first + _SIDE / 2) * point), name, 11, "rm")
    spans = {"original": (0, _SIDE), "augmented": (lefts[min(1, columns - 1)], lefts[-1] + _SIDE)}
    for name, (first, last) in list(spans.items())[:columns]:
        sheet.write((side + (first + last) / 2 * point, top - 4), name, 11, "md")
    return sheet.pixels()


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
