"""What a finished run leaves in files: pictures, tables and predictions, each as its record keeps them."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist.config import CLASSES
from fmnist.identity import run_name
from fmnist.report import run_pictures
from fmnist.schema import CONFUSION_MATRIX, CURVES, PER_EPOCH, SAMPLES
from fmnist.training.evaluation import Evaluation, confusion

Pictures = Mapping[str, Sequence[NDArray[np.uint8]]]

if TYPE_CHECKING:
    from fmnist.tracking.portable import PortableRun
    from fmnist.training.trajectory import Trajectory


def pictures(trajectory: "Trajectory", test: Evaluation) -> Pictures:
    """The pictures (h, w, 3) of a trajectory where it stands, by their names in `schema.PICTURES`."""
    title = run_name(trajectory.config)
    names = [CLASSES[label] for label in trajectory.dataset.train_labels[trajectory.train_rows[:6]]]
    samples = run_pictures.samples(trajectory.augmented(len(names), versions=7), names, title)
    return {**_matrices(test.confusion, title), CURVES: [_curves(_history(trajectory), title)], SAMPLES: [samples]}


def _curves(history: pd.DataFrame, title: str) -> NDArray[np.uint8]:
    return run_pictures.to_image(run_pictures.curves(history, title))


def _matrices(counts: NDArray[np.int64], title: str) -> Pictures:
    """A confusion matrix of counts, and a smaller one to be seen beside others."""
    large, small = run_pictures.confusion(counts, CLASSES, title), run_pictures.small_confusion(counts, CLASSES)
    return {CONFUSION_MATRIX: [large, small]}


def redrawn(run: "PortableRun") -> Pictures:
    """The pictures of a run that can be drawn from its record alone: not its samples, which need the images."""
    facts, drawn = run.facts, dict[str, Sequence[NDArray[np.uint8]]]()
    columns = {key: {step: value for step, _, value in facts.metrics.get(key, ())} for key in PER_EPOCH}
    history = pd.DataFrame(columns, dtype=float).sort_index().rename_axis("epoch")
    if "test_predicted" in run.predictions:
        counts = confusion(run.predictions["test_labels"], run.predictions["test_predicted"])
        drawn |= _matrices(counts, facts.name)
    if len(history):
        drawn[CURVES] = [_curves(history, facts.name)]
    return drawn


def tables(trajectory: "Trajectory", test: Evaluation) -> dict[str, str]:
    """Scores by class, confusion matrix and history, as file -> text."""
    scores = {"precision": test.precision, "recall": test.recall, "f1-score": test.f1, "support": test.support}
    by_class = pd.DataFrame(scores, index=CLASSES).to_dict("index")
    matrix = pd.DataFrame(test.confusion, index=pd.Index(CLASSES, name="actual"), columns=CLASSES)
    return {
        "classification_report.json": json.dumps({**by_class, "accuracy": test.accuracy}, indent=1),
        "confusion_matrix.csv": matrix.to_csv(),
        "history.csv": _history(trajectory).to_csv(),
    }


def predictions(trajectory: "Trajectory", test: Evaluation, validation: Evaluation) -> dict[str, NDArray[np.generic]]:
    """What the network says of every test and validation image, by name; `val_rows` are rows of the training file."""
    dataset = trajectory.dataset
    return {
        "test_labels": dataset.test_labels.astype(np.uint8),
        "test_predicted": test.predicted.astype(np.uint8),
        "test_probabilities": test.probabilities.astype(np.float16),
        "val_rows": trajectory.val_rows.astype(np.int32),
        "val_labels": dataset.train_labels[trajectory.val_rows].astype(np.uint8),
        "val_predicted": validation.predicted.astype(np.uint8),
        "val_probabilities": validation.probabilities.astype(np.float16),
    }


def _history(trajectory: "Trajectory") -> pd.DataFrame:
    """The numbers of every epoch, a row an epoch from 1 on."""
    epochs = pd.RangeIndex(1, len(trajectory.history) + 1, name="epoch")
    return pd.DataFrame(trajectory.history, index=epochs).drop(columns="time/ended_ms")
