"""What the store keeps beside metrics, as text: parameters, and a description by plain names as MLflow's tags."""

import json
from collections.abc import Mapping
from typing import Any

from fmnist.schema import Column

_MLFLOW = {  # which its UI shows in places of their own
    "note": "mlflow.note.content",  # Markdown
    "source": "mlflow.source.name",
    "commit": "mlflow.source.git.commit",
    "parent": "mlflow.parentRunId",
}


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
