"""What predictions are worth, against numbers worked out by hand and by other libraries."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from fmnist.schema import REPORTED, recall
from fmnist.training.evaluation import evaluate, log_loss


def voting(predicted: list[int], height: float = 1.0) -> NDArray[np.float32]:
    """Logits that are `height` for the predicted class and 0 for all others."""
    return (height * np.eye(10)[predicted]).astype(np.float32)


def random_case(count: int, scale: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    return rng.normal(scale=scale, size=(count, 10)).astype(np.float32), rng.integers(0, 10, count)


def test_a_small_example_gives_the_numbers_worked_out_by_hand() -> None:
    actual = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    found = evaluate(voting([0, 0, 0, 1, 1, 0, 2, 9], math.log(11)), actual)
    assert found.accuracy == 5 / 8
    # The class voted for has 11 of 20 parts of the probability, each other class 1.
    assert found.loss == pytest.approx((5 * math.log(20 / 11) + 3 * math.log(20)) / 8, rel=1e-6)
    none = [0.0] * 6
    assert found.precision == pytest.approx([3 / 4, 1 / 2, 1, *none, 0])
    assert found.recall == pytest.approx([3 / 4, 1 / 2, 1 / 2, *none, 0])
    assert found.f1 == pytest.approx([3 / 4, 1 / 2, 2 / 3, *none, 0])
    assert found.support.tolist() == [4, 2, 2, 0, 0, 0, 0, 0, 0, 0]
    expected = np.zeros((10, 10), int)
    expected[0, 0], expected[0, 1], expected[1, 1], expected[1, 0], expected[2, 2], expected[2, 9] = 3, 1, 1, 1, 1, 1
    assert found.confusion.tolist() == expected.tolist()
    assert found.probabilities[0] == pytest.approx([11 / 20, *[1 / 20] * 9], rel=1e-6)
    assert found.probabilities.shape == (8, 10) and found.probabilities.dtype == np.float32


def test_rows_of_the_confusion_matrix_are_actual_classes_and_columns_predicted_ones() -> None:
    found = evaluate(voting([7, 7, 7]), np.array([5, 5, 5]))
    assert found.confusion[5, 7] == 3 == found.confusion.sum()
    assert found.confusion.shape == (10, 10)


def test_a_class_that_is_never_predicted_has_precision_0_and_no_warning() -> None:
    found = evaluate(voting([0] * 10), np.arange(10))  # pytest makes an error of any warning
    assert found.precision.tolist() == [0.1, *[0] * 9] and found.recall.tolist() == [1, *[0] * 9]
    assert found.f1[1:].tolist() == [0] * 9


@pytest.mark.parametrize("scale", [0.1, 1, 3])
def test_the_loss_is_that_of_scikit_learn(scale: float) -> None:
    logits, labels = random_case(1234, scale)
    found = evaluate(logits, labels)
    exact = np.exp(logits.astype(float) - logits.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    assert found.loss == pytest.approx(metrics.log_loss(labels, exact, labels=range(10)), rel=1e-9)
    assert found.probabilities == pytest.approx(exact, abs=1e-7)


def test_a_record_keeps_every_reported_metric_and_the_scores_of_each_class() -> None:
    logits, labels = random_case(100, 1)
    found = evaluate(logits, labels)
    kept = found.metrics("test")
    assert {metric.key for metric in REPORTED} <= kept.keys() and len(kept) == 2 + 3 * 10
    assert kept["test/loss"] == found.loss and kept[recall("Shirt")] == found.recall[6]


def test_the_scores_fit_together() -> None:
    logits, labels = random_case(1234, 3)
    logits[np.arange(1234), labels] += 3
    found = evaluate(logits, labels)
    hits = np.diag(found.confusion)
    assert found.accuracy == hits.sum() / 1234 == metrics.accuracy_score(labels, logits.argmax(axis=1))
    assert found.support.tolist() == found.confusion.sum(axis=1).tolist() == np.bincount(labels).tolist()
    assert found.recall == pytest.approx(hits / found.confusion.sum(axis=1))
    assert found.precision == pytest.approx(hits / found.confusion.sum(axis=0))
    assert found.f1 == pytest.approx(2 * hits / (found.confusion.sum(axis=0) + found.support))
    assert found.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("count", "classes"), [(1234, 10), (40, 10), (7, 3)])
def test_scores_and_counts_are_those_of_scikit_learn_bit_for_bit(count: int, classes: int) -> None:
    logits, labels = random_case(count, 3)
    labels %= classes
    found, predicted = evaluate(logits, labels), logits.argmax(axis=1)
    theirs = metrics.precision_recall_fscore_support(labels, predicted, labels=range(10), zero_division=0.0)
    for ours, their in zip((found.precision, found.recall, found.f1, found.support), theirs, strict=True):
        assert ours.tolist() == their.tolist() and ours.dtype == their.dtype
    assert found.confusion.tolist() == metrics.confusion_matrix(labels, predicted, labels=range(10)).tolist()


def test_extreme_logits_give_a_finite_loss() -> None:
    logits = voting([0, 1], 1e30)
    assert log_loss(logits, np.array([0, 1])) == 0
    assert log_loss(logits, np.array([1, 1])) == pytest.approx(5e29)
    found = evaluate(-logits, np.array([2, 2]))
    assert found.loss == pytest.approx(math.log(9))
    assert np.isfinite(found.probabilities).all()


def test_the_loss_of_images_that_are_certainly_right_keeps_its_last_digits() -> None:
    assert log_loss(voting([3], 20), np.array([3])) == pytest.approx(9 * math.exp(-20), rel=1e-6)
