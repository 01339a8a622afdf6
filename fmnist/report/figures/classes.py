"""What each class's recall is."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fmnist import schema
from fmnist.config import CLASSES
from fmnist.report import drawing
from fmnist.report.content import Content
from fmnist.report.drawing import INK, VERMILION, short


def recall(content: Content) -> Figure | None:
    """Recall of each class for every variant at the common budget; the weaker, the stronger the colour."""
    columns = [schema.recall(name) for name in CLASSES]
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
    _heat(axes, table.to_numpy())
    axes.set_xticks(
        range(len(CLASSES)), [name.replace(" ", "\n").replace("/", "/\n") for name in CLASSES], fontsize=8.8
    )
    axes.set_yticks(range(len(table)), [short(name, 32) for name in table.index], color=INK)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    mean = table.mean()
    weakest = f"{mean.idxmin()} with {100 * mean.min():.1f} %"
    figure.set_label(f"Recall in per cent of 10 classes for {len(table)} variants; weakest on average: {weakest}.")
    return figure


def _heat(axes: Axes, shares: NDArray[np.float64]) -> None:
    weakness = (1 - shares) / max(float((1 - shares).max()), 0.05)
    cells = [Rectangle((x - 0.48, y - 0.46), 0.96, 0.92) for y, x in np.ndindex(shares.shape)]
    colours = [to_rgba(VERMILION, 0.72 * strength) for strength in weakness.ravel()]
    axes.add_collection(PatchCollection(cells, facecolors=colours, edgecolors="none"))
    for (y, x), share in np.ndenumerate(shares):
        axes.text(x, y, f"{100 * share:.1f}", ha="center", va="center", fontsize=8.8)
    axes.set_xlim(-0.5, shares.shape[1] - 0.5)
    axes.set_ylim(len(shares) - 0.5, -0.5)
