"""A run as it stands in the store, and what is kept as text: parameters, and a description as MLflow's tags."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fmnist.schema import COLUMNS, VAL_ACCURACY, Column

_MLFLOW = {  # which its UI shows in places of their own
    "note": "mlflow.note.content",  # Markdown
    "source": "mlflow.source.name",
    "commit": "mlflow.source.git.commit",
    "parent": "mlflow.parentRunId",
}


@dataclass(frozen=True)
class StoredRun:
    """A run as it stands in the store, of a metric the last value; an attempt equals itself, whatever was logged."""

    run_id: str
    name: str = field(compare=False)
    status: str
    start_time: int  # ms
    ended: int = 0  # ms; 0 for one that has not
    tags: dict[str, str] = field(default_factory=dict, compare=False)
    params: dict[str, str] = field(default_factory=dict, compare=False)
    metrics: dict[str, float] = field(default_factory=dict, compare=False)

    @property
    def signature(self) -> str:
        """Of the run."""
        return str(COLUMNS["signature"].read(self.tags))

    @property
    def trajectory(self) -> str:
        """The trajectory's signature."""
        return str(COLUMNS["trajectory_signature"].read(self.tags))

    @property
    def commit(self) -> str:
        """The first letters of the commit that made it; empty where there was none."""
        return self.tags.get(_MLFLOW["commit"], "")[:7]

    @property
    def val_accuracy(self) -> float:
        """The last; NaN without one."""
        return self.metrics.get(VAL_ACCURACY.key, float("nan"))


def as_text(value: Any) -> str:
    """A value as the store keeps it."""
    return value if isinstance(value, str) else json.dumps(value)


def as_tags(description: Mapping[str, Any]) -> dict[str, str]:
    """A description as tags by their keys: columns of `fmnist.schema`, and `note`, `source`, `commit`, `parent`.

    What is None is left out.
    """
    stated = {name: value for name, value in description.items() if value is not None}
    return {_MLFLOW.get(name) or Column(name).tag: as_text(value) for name, value in stated.items()}


def condition(name: str, value: str) -> str:
    """MLflow's filter for the runs that a column describes so."""
    return f"tags.`{Column(name).tag}` = '{value}'"
