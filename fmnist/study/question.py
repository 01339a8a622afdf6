"""A question to a store: a sweep can carry one along without loading what answers it."""

from collections.abc import Sequence
from dataclasses import dataclass

from fmnist.schema import VAL_ACCURACY


@dataclass(frozen=True)
class Question:
    """What is asked of a store; without a study it is about all runs."""

    folder: str  # of the store
    study: str = ""
    overrides: Sequence[str] = ()  # that the study was run with
    epochs: int | None = None  # none: every budget
    metric: str = VAL_ACCURACY.key
    baseline: str = ""  # none: the study's own
    by: str = "variant"
    rank_failed: bool = False  # variants too of which seeds failed
    where: Sequence[tuple[str, str]] = ()  # options that the runs of a row must have, and their values
    top: int | None = None  # the first so many rows; rows are cut after the statistics, which do not depend on it
