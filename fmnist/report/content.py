"""What a report shows, as plain values: the border between what works it out (`fmnist.study.findings`) and what draws
and says it (this folder).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist.analysis.budgets import common_budget
from fmnist.analysis.claims import Verdict
from fmnist.analysis.diagnosis import Finding
from fmnist.analysis.leaderboard import measured
from fmnist.analysis.searches import ExpectedBest


@dataclass
class Content:
    """Everything on the page; empty frames, lists and mappings stand for what is not there."""

    study: str
    question: str
    setting: str  # options that the study was run with, data.limit=12000
    command: str  # that repeats the study
    settling: str  # the command that trains what open questions wait for; empty if there is none
    leaderboard: pd.DataFrame
    claims: Sequence[Verdict]
    effects: pd.DataFrame  # as `fmnist.analysis.effects` returns them
    noise: pd.DataFrame  # as `fmnist.analysis.noise.by_source` returns it
    diagnosis: Sequence[Finding]
    runs: pd.DataFrame  # that have finished
    histories: Mapping[str, pd.DataFrame]  # run_id -> metrics by epoch
    predictions: Mapping[str, NDArray[np.uint8]]  # run_id -> (n_test,)
    labels: NDArray[np.uint8]  # (n_test,)
    images: NDArray[np.uint8]  # (n_test, 28, 28)
    notes: Sequence[str]  # the statistics, stated
    provenance: Mapping[str, str]
    curves: Sequence[ExpectedBest] = ()  # of searches on the same data
    margin: float = 0.0  # of accuracy, within which no difference matters

    @property
    def measured(self) -> pd.DataFrame:
        """The leaderboard's rows that this project trained to their end, best first."""
        return measured(self.leaderboard)

    @property
    def budget(self) -> int:
        """The epochs that all statements about the leaderboard are about."""
        return common_budget(self.measured)

    @property
    def at_budget(self) -> pd.DataFrame:
        """The measured rows of that budget."""
        rows = self.measured
        return rows[rows["epochs"] == common_budget(rows)]
