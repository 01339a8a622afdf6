"""Which classes two variants recognise differently."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist.analysis.stats import holm, mcnemar
from fmnist.config import CLASS_COUNT, CLASSES


def confusion(predictions: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Images by actual and predicted class (classes, classes), mean over the seeds.

    Args:
        predictions: (seeds, n) predicted classes.
        labels: (n,) true classes.
    """
    counts = np.zeros((CLASS_COUNT, CLASS_COUNT))
    np.add.at(counts, (np.broadcast_to(labels, predictions.shape), predictions), 1)
    return counts / len(predictions)


def class_changes(
    predictions: NDArray[np.uint8], reference: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> pd.DataFrame:
    """The change in recall of each class, with McNemar's test by class, corrected by Holm over the classes.

    An image counts once however many seeds answered: for the side that is right on it more often. So the test speaks
    of these trainings on other images; with one seed, of no other training.

    Args:
        predictions: (seeds, n) predicted classes of a variant.
        reference: (seeds, n) those of another, on the same seeds.
        labels: (n,) true classes.

    Returns:
        a row a class that has images, the largest gains first: class, images, gain (of recall, -1..1), p, taken_for
        (the wrong class whose share in this class changed most in the direction that explains the gain) and moved
        (by how many images, mean over the seeds).
    """
    moved = confusion(predictions, labels) - confusion(reference, labels)
    rows = []
    for label in np.unique(labels):
        images = labels == label
        right, right_reference = ((answers[:, images] == label).mean(axis=0) for answers in (predictions, reference))
        gain = right.mean() - right_reference.mean()
        wrong = np.where(np.arange(CLASS_COUNT) == label, 0, moved[label])
        other = int(np.argmin(wrong) if gain > 0 else np.argmax(wrong))
        p = mcnemar(right > right_reference, right < right_reference)
        rows.append((CLASSES[label], images.sum(), gain, p, CLASSES[other], wrong[other]))
    found = pd.DataFrame(rows, columns=["class", "images", "gain", "p", "taken_for", "moved"])
    return found.assign(p=holm(found["p"])).sort_values("gain", ascending=False, kind="stable", ignore_index=True)
