"""What predictions are worth: accuracy, loss, scores per class, confusion matrix."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from fmnist.config import CLASS_COUNT, CLASSES

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Evaluation:
    """Scores of n predictions; arrays per class are in the order of the labels."""

    accuracy: float
    loss: float
    precision: NDArray[np.float64]  # (10,)
    recall: NDArray[np.float64]  # (10,)
    f1: NDArray[np.float64]  # (10,)
    support: NDArray[np.int64]  # (10,) images of each class
    confusion: NDArray[np.int64]  # (10, 10) actual by predicted
    predicted: NDArray[np.int64]  # (n,)
    probabilities: NDArray[np.float32]  # (n, 10)

    def metrics(self, prefix: str) -> dict[str, float]:
        """Every number that a record keeps, by its key: `test/accuracy`, `test/recall/Shirt`, ..."""
        scores = {"accuracy": self.accuracy, "loss": self.loss}
        for index, name in enumerate(CLASSES):
            for score in ("precision", "recall", "f1"):
                scores[f"{score}/{name}"] = float(getattr(self, score)[index])
        return {f"{prefix}/{score}": value for score, value in scores.items()}


def confusion(labels: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.int64]:
    """Counts (10, 10), actual by predicted, added up over the seeds.

    Args:
        labels: (n,) actual classes.
        predicted: (n,) or (seeds, n) predicted classes.

    Raises:
        ValueError: not as many predictions as labels.
    """
    if labels.shape != predicted.shape[-1:]:
        raise ValueError(f"each of the {len(labels)} labels needs a prediction, but got {predicted.shape[-1]}")
    pairs = labels.astype(np.int64) * CLASS_COUNT + predicted
    return np.bincount(pairs.ravel(), minlength=CLASS_COUNT**2).reshape(CLASS_COUNT, CLASS_COUNT)


def log_loss(logits: Logits, labels: Labels) -> float:
    """Mean cross-entropy in nats of logits (n, 10) against labels (n,)."""
    chosen = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    return float(-chosen.mean())


def evaluate(logits: Logits, labels: Labels) -> Evaluation:
    """Score logits (n, 10) against labels (n,); a class that is never predicted has precision 0."""
    predicted = logits.argmax(axis=1)
    counts = confusion(labels, predicted)
    hits, said, support = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    precision, recall, f1 = (
        np.divide(part, whole, out=np.zeros(CLASS_COUNT), where=whole > 0)
        for part, whole in ((hits, said), (hits, support), (2 * hits, said + support))
    )
    return Evaluation(
        accuracy=float((predicted == labels).mean()),
        loss=log_loss(logits, labels),
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
        confusion=counts,
        predicted=predicted,
        probabilities=softmax(logits.astype(np.float64), axis=1).astype(np.float32),
    )
