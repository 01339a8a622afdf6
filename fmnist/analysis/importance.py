"""What a search teaches: how much each dimension matters, and what so many trials may be expected to find."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ENOUGH = 4.0  # trials for each dimension, below which importances are little more than noise
TREES, REPEATS = 200, 5


@dataclass(frozen=True)
class Importance:
    """Of the dimensions of a search."""

    shares: pd.Series  # by dimension, the most important first; they sum to 1, or are all 0
    explained: float  # R2 of the forest on trials that its trees have not seen; NaN where it cannot be told
    trials: int
    is_known: bool = True  # of too few trials, or of equal scores, nothing is

    @property
    def needed(self) -> int:
        """Trials that would be a beginning."""
        return int(ENOUGH * len(self.shares))


def importance(points: pd.DataFrame, scores: NDArray[np.float64]) -> Importance:
    """How much worse a random forest predicts the scores when a dimension is shuffled among the trials.

    Args:
        points: a row a trial (n), a column a dimension: numbers, or words; missing where it was not active.
        scores: of the trials (n,).
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    names = [str(name) for name in points]
    none = pd.Series(0.0, index=names)
    if len(points) < 3 or np.ptp(scores) == 0:
        return Importance(none, float("nan"), len(points), is_known=False)
    numbers = _numbers(points)
    forest = RandomForestRegressor(TREES, bootstrap=True, oob_score=len(points) >= 8, random_state=0, n_jobs=1)
    forest.fit(numbers, scores)
    permuted = permutation_importance(forest, numbers, scores, n_repeats=REPEATS, random_state=0, n_jobs=1)
    raw = pd.Series(np.clip(permuted.importances_mean, 0, None), index=names)
    shares = raw / raw.sum() if raw.sum() > 0 else none
    explained = float(forest.oob_score_) if len(points) >= 8 else float("nan")
    return Importance(shares.sort_values(ascending=False, kind="stable"), explained, len(points))


def _numbers(points: pd.DataFrame) -> NDArray[np.float64]:
    """Words as codes in their order of appearance; what is missing lies below all that is there."""
    columns = []
    for name in points:
        column = points[name]
        number = pd.to_numeric(column, errors="coerce")
        if (number.isna() & column.notna()).any():
            number = pd.Series(pd.factorize(column)[0], index=points.index, dtype=float).where(column.notna())
        low, high = number.min(), number.max()
        columns.append(number.fillna(low - max(high - low, 1.0) if column.notna().any() else 0.0))
    return np.column_stack(columns).astype(float)


def expected_best(scores: NDArray[np.float64], maximise: bool = True) -> NDArray[np.float64]:
    """The best score to be expected of 1, 2, .. n trials like these n, drawn with replacement (Dodge et al. 2019).

    What a search of n trials found is one draw of its last value: the curve says how much of it was luck of numbers.
    """
    ordered = np.sort(scores if maximise else -scores)
    shares = np.arange(len(ordered) + 1) / max(len(ordered), 1)
    powers = shares[:, None] ** np.arange(1, len(ordered) + 1)
    best = (np.diff(powers, axis=0) * ordered[:, None]).sum(axis=0)
    return np.asarray(best if maximise else -best)
