"""What is taken for what: confusion matrices, how two variants differ by class, the images that most runs miss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist.analysis.rule import Rule
from fmnist.analysis.stats import ONE_LOOK, holm, paired
from fmnist.config import CLASS_COUNT, CLASSES
from fmnist.training.evaluation import confusion

FIRST = "Shirt"  # the class that the article calls its weakest


def class_changes(
    predictions: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    rule: Rule = ONE_LOOK,
) -> pd.DataFrame:
    """The change in recall of each class, with a paired t test over the seeds, corrected by Holm over the classes.

    Seeds are the units: the images of one seed share its luck, however many they are.

    Args:
        predictions: (seeds, n) predicted classes of a variant.
        reference: (seeds, n) those of another, on the same seeds.
        labels: (n,) true classes.
        rule: by which differences are judged.

    Returns:
        a row a class that has images, the largest gains first: class, images, gain (of recall, -1..1), p (NaN with one
        seed), taken_for (the wrong class whose share in this class changed most in the direction that explains the
        gain) and moved (by how many images, mean over the seeds).
    """
    moved = (confusion(labels, predictions) - confusion(labels, reference)) / len(predictions)
    present = np.unique(labels)
    recalls, recalls_reference = (
        np.stack([(answers[:, labels == label] == label).mean(axis=1) for label in present])
        for answers in (predictions, reference)
    )
    pairs = paired(recalls, recalls_reference, rule=rule)
    rows = []
    for label, gain, p in zip(present, pairs.mean, holm(pairs.p), strict=True):
        wrong = np.where(np.arange(CLASS_COUNT) == label, 0, moved[label])
        other = int(np.argmin(wrong) if gain > 0 else np.argmax(wrong))
        rows.append((CLASSES[label], int((labels == label).sum()), gain, p, CLASSES[other], wrong[other]))
    changes = pd.DataFrame(rows, columns=["class", "images", "gain", "p", "taken_for", "moved"])
    return changes.sort_values("gain", ascending=False, kind="stable", ignore_index=True)


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
    missed = {}
    for label, name in enumerate(CLASSES):
        of_class = np.flatnonzero((labels == label) & (misses > 0))
        worst = of_class[np.argsort(-misses[of_class], kind="stable")][: most * (1 + (name == FIRST))]
        if len(worst):
            images = [Missed(int(i), name, CLASSES[int(votes[i].argmax())], int(misses[i])) for i in worst]
            missed[name] = (int(misses[of_class].sum()), images)
    return dict(sorted(missed.items(), key=lambda item: (item[0] != FIRST, -item[1][0])))
