"""What the runs of a table have in common, and which of them do not count."""

from collections.abc import Sequence

import pandas as pd

from fmnist.analysis.claims import most_common, unrepeated

SOURCES = {
    "data digest": "data_digest",
    "precision": "compute.precision",
    "processor": "machine.cpu",
    "instructions": "machine.instructions",
    "GPU": "machine.gpu",
    "threads": "compute.threads",
    "backend": "compute.backend",
    "recipe": "recipe",
    "commit": "commit",
}
_TOLD_APART = ("data digest", "precision", "recipe")  # by rows of their own


def sources(runs: pd.DataFrame) -> dict[str, list[str]]:
    """What made the runs: the values of each of `SOURCES`, as far as they are recorded."""
    values = {name: sorted({str(value) for value in runs[column]} - {"", "nan"})
              for name, column in SOURCES.items() if column in runs}  # fmt: skip
    return {name: texts for name, texts in values.items() if texts}


def mixed(runs: pd.DataFrame) -> dict[str, list[str]]:
    """That in which the runs differ though they stand in the same rows."""
    return {name: texts for name, texts in sources(runs).items() if len(texts) > 1 and name not in _TOLD_APART}


def repeated(runs: pd.DataFrame) -> int:
    """How many finished runs do not count, as a later one repeats their variant, seed and epochs."""
    return len(runs) - len(unrepeated(runs))


def unlike(runs: pd.DataFrame, pair_columns: Sequence[str]) -> int:
    """How many finished runs claims and effects leave out, as most have another precision, recipe or other data."""
    return len(runs) - len(most_common(runs, pair_columns))
