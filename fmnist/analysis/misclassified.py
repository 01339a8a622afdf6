"""What runs take for something else: confusion matrices and the images that are most often misclassified."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.config import CLASS_COUNT, CLASSES

FIRST = "Shirt"  # the class that the article calls its weakest


def confusion(labels: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.int64]:
    """Counts (10, 10), actual by predicted.

    Raises:
        ValueError: not as many predictions as labels.
    """
    if labels.shape != predicted.shape:
        raise ValueError(f"each of the {len(labels)} labels needs a prediction, but got {len(predicted)}")
    pairs = labels.astype(np.int64) * CLASS_COUNT + predicted
    return np.bincount(pairs, minlength=CLASS_COUNT**2).reshape(CLASS_COUNT, CLASS_COUNT)


@dataclass(frozen=True)
class Missed:
    """A test image that runs misclassified: its number, what it is, what it is mostly taken for and how often."""

    image: int
    actual: str
    taken_for: str
    times: int  # misclassified, as whatever


def most_missed(
    labels: NDArray[Any], predictions: Mapping[str, NDArray[Any]], most: int = 8
) -> dict[str, tuple[int, list[Missed]]]:
    """For each class that was ever missed, how often that was, and the images missed most often.

    Args:
        labels: (n,) actual classes.
        predictions: run -> (n,) predicted classes.
        most: images of a class; the first class gets twice as many.

    Returns:
        `FIRST` first, then the classes with the most misses.
    """
    if not predictions:
        return {}
    votes = np.zeros((len(labels), CLASS_COUNT), np.int64)
    for predicted in predictions.values():
        votes[np.arange(len(labels)), predicted] += 1
    votes[np.arange(len(labels)), labels] = 0
    misses = votes.sum(axis=1)
    found = {}
    for number, name in enumerate(CLASSES):
        mine = np.flatnonzero((labels == number) & (misses > 0))
        worst = mine[np.argsort(-misses[mine], kind="stable")][: most * (1 + (name == FIRST))]
        if len(worst):
            images = [Missed(int(i), name, CLASSES[int(votes[i].argmax())], int(misses[i])) for i in worst]
            found[name] = (int(misses[mine].sum()), images)
    return dict(sorted(found.items(), key=lambda item: (item[0] != FIRST, -item[1][0])))
