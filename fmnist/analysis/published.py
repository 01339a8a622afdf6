"""What the article and its notebooks published, as numbers to stand beside ours.

Source: "Exploring Fashion MNIST with TensorFlow" (2020) and the classification reports of its two notebooks. Its
validation images were augmented, and its 50 epochs continued from saved weights.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One training of the article: accuracies and recall in 0..1."""

    epochs: int
    train_accuracy: float
    val_accuracy: float
    test_accuracy: float
    worst_class: str
    worst_recall: float


RUNS = (
    Published(10, 0.8811, 0.8750, 0.9021, "Shirt", 0.69),
    Published(50, 0.9175, 0.9032, 0.9159, "Shirt", 0.76),
)
