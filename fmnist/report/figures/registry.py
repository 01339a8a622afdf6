"""The figures of a study, a list of entries: what a figure needs is a function in this folder and its entry here.

A function draws from the report's content and returns None where there is nothing to draw; the figure's label is its
alternative text. Wide figures (over 450 points) get a row of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from matplotlib import rc_context
from matplotlib.figure import Figure

from fmnist.report import drawing
from fmnist.report.content import Content
from fmnist.report.figures import classes, costs, effects, epochs, searches
from fmnist.schema import VAL_ACCURACY, VAL_LOSS


@dataclass(frozen=True)
class Entry:
    """A figure of the report."""

    name: str  # of its file, and of its element in the page
    section: str  # the id of a section of page.html.j2, where it stands in the order of this list
    draw: Callable[[Content], Figure | None]
    caption: str  # {budget} stands for `10 epochs`, the leaderboard's budget


FIGURES = (
    Entry("effects", "sizes", effects.forest,
          "Each level against the baseline on the same seeds, at the longest budget that it reached, with its 95 % "
          "interval. Blue is better, orange is worse, where the corrected p-value is below 0.05; grey cannot be told "
          "from luck. Hollow points have no interval."),
    Entry("learning_accuracy", "curves", partial(epochs.learning, metric=VAL_ACCURACY.key),
          "Accuracy on images that were held back and not augmented."),
    Entry("learning_loss", "curves", partial(epochs.learning, metric=VAL_LOSS.key),
          "Their loss: where it rises while accuracy stands still, the network grows too sure of its mistakes."),
    Entry("rungs", "budgets", epochs.rungs,
          "Where lines cross, fewer epochs would have picked another winner. Vertical strokes are 95 % intervals."),
    Entry("recall", "classes", classes.recall,
          "Per cent of a class's test images that are recognised, mean over the seeds at {budget}, best variant first. "
          "The stronger the colour, the more are missed."),
    Entry("pareto_parameters", "costs", partial(costs.pareto, cost="parameters"), "Variants at {budget}, by size."),
    Entry("pareto_seconds", "costs", partial(costs.pareto, cost="train_seconds"),
          "Variants at every budget, by training time; times of different machines do not compare."),
    Entry("searches", "searches", searches.expected,
          "Expected best validation accuracy against the number of trials: the mean of the best of n scores drawn with "
          "replacement from those of the search's trials (Dodge et al. 2019). Only scores after the same number of "
          "epochs count: of Hyperband's trials those that reached the most, which it picked from many more; of the "
          "others all that did not fail."),
)  # fmt: skip


def draw(content: Content) -> dict[str, Figure]:
    """All figures that the content suffices for, by name.

    Not for several threads at once: matplotlib's settings are shared.
    """
    with rc_context(drawing.STYLE):
        drawn = {entry.name: entry.draw(content) for entry in FIGURES}
    return {name: figure for name, figure in drawn.items() if figure is not None}
