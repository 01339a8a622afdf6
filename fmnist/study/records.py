"""What a store has of single runs beside their row: epochs and predictions, each read once."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist.tracking import Store

Classes = NDArray[np.uint8]  # (n,) of the test images


class Records:
    """The records of a store's runs; opened when the first is asked for, as opening a store makes it."""

    def __init__(self, folder: str) -> None:
        """Of the store in that folder."""
        self._folder = folder
        self._answers: dict[str, tuple[Classes, Classes] | None] = {}

    @cached_property
    def _store(self) -> Store:
        return Store(self._folder)

    def histories(self, run_ids: Sequence[str]) -> dict[str, pd.DataFrame]:
        """By run, a row an epoch; runs that have logged none are left out."""
        return self._store.histories(run_ids) if run_ids else {}

    def predictions(self, run_ids: Sequence[str]) -> tuple[dict[str, Classes], Classes]:
        """The classes that runs predict for each test image, and the true ones; runs without are left out."""
        answers = {run_id: pair for run_id in run_ids if (pair := self._read(run_id)) is not None}
        labels = next((labels for labels, _ in answers.values()), np.zeros(0, np.uint8))
        same = {run_id: pair for run_id, pair in answers.items() if np.array_equal(pair[0], labels)}
        return {run_id: predicted for run_id, (_, predicted) in same.items()}, labels

    def correct(self, run_id: str) -> NDArray[np.bool_] | None:
        """Whether a run is right on each test image (n,), if it is known."""
        pair = self._read(run_id)
        return None if pair is None else np.asarray(pair[0] == pair[1])

    def _read(self, run_id: str) -> tuple[Classes, Classes] | None:
        """The true classes and the predicted ones."""
        if run_id not in self._answers:
            arrays = self._store.predictions(run_id) or {}
            pair = arrays.get("test_labels"), arrays.get("test_predicted")
            self._answers[run_id] = None if pair[0] is None or pair[1] is None else (pair[0], pair[1])
        return self._answers[run_id]
