"""What so many trials of a search may be expected to find."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fmnist.analysis.searches import ExpectedBest
from fmnist.report import drawing
from fmnist.report.content import Content
from fmnist.report.drawing import BLUE, INK, MUTED, PERCENT, TIP, VERMILION, clean
from fmnist.words import plural

_INKS, _DASHES = (BLUE, VERMILION, INK, MUTED), ("-", "--", ":")  # twelve that can be told apart


def expected(content: Content) -> Figure | None:
    """Expected best accuracies after 1, 2, .. n trials; nothing without a search."""
    curves = content.curves
    if not curves:
        return None
    most = max(len(curve.best) for curve in curves)
    names = [_name(curve) for curve in curves]
    figure, axes = drawing.panel(640, 320 + 14 * max(0, len(curves) - 4), left=52, right=16, bottom=42, top=26)
    for number, (name, best) in enumerate(zip(names, (curve.best for curve in curves), strict=True)):
        style: dict[str, Any] = {
            "color": _INKS[number % len(_INKS)],
            "linestyle": _DASHES[number // len(_INKS) % len(_DASHES)],
        }
        style |= {"marker": "o", "markersize": 3.5} if len(best) < 15 else {}
        trials = np.arange(1, len(best) + 1)
        axes.plot(trials, best, linewidth=1.8, label=clean(name), gid=TIP + clean(name), **style)
    axes.set_xscale("log")
    axes.set_xlim(0.95, 1.05 * max(most, 2))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set_xlabel("trials")
    axes.set_title("expected best validation accuracy", color=MUTED)
    axes.legend(loc="lower right", fontsize=8.8)
    ends = "; ".join(
        f"{name} {100 * best[-1]:.2f} %" for name, best in zip(names, (curve.best for curve in curves), strict=True)
    )
    figure.set_label(clean(f"Expected best validation accuracy against the number of trials; at the ends: {ends}."))
    return figure


def _name(curve: ExpectedBest) -> str:
    return f"{curve.search}: {plural(len(curve.best), 'trial')} of {plural(curve.epochs, 'epoch')}"
