"""All searches of a store as a table."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fmnist.advice import command_for
from fmnist.analysis.importance import Importance
from fmnist.report.formats import DATA, SEARCH_FORMATS, check, data, filled, minus, table
from fmnist.schema import RANKING
from fmnist.words import DASH, plural

_EXPLANATION = (
    "best of n: the best score to be expected of n trials, drawn with replacement from these (Dodge et al. 2019).\n"
    "Only scores after the same number of epochs count: of hyperband's trials those that reached the most."
)


def render(overview: pd.DataFrame, format: str) -> str:
    """What `fmnist.analysis.searches.overview` returned as text without a newline at its end.

    Raises:
        ValueError: the format is unknown.
    """
    check(format, SEARCH_FORMATS)
    if format in DATA:
        return data(overview, format)
    if overview.empty:
        return f"no searches yet: start one with '{command_for('tune')}'"
    texts, verdicts = _texts(overview), overview["verdict"].map(minus)
    if format == "md":
        return f"{table(texts.assign(verdict=verdicts), format)}\n\n{_EXPLANATION}"
    pairs = zip(overview["name"], verdicts, strict=True)
    concluded = "\n".join(filled(f"{name}: {verdict}") for name, verdict in pairs if verdict)
    read = "\n".join(map(filled, _EXPLANATION.split("\n")))
    return "\n\n".join(part for part in (table(texts, format), concluded, read) if part)


def _texts(overview: pd.DataFrame) -> pd.DataFrame:
    """Every cell as it is read; an accuracy in per cent."""
    expected = [name for name in map(str, overview) if name.startswith("expected_")]
    texts = [
        {
            "search": row["name"],
            "status": row["status"],
            "trials (failed)": f"{row['trials']}" + (f" ({row['failed']})" if row["failed"] else ""),
            "epochs": row["epochs"],
            "best trial": row["best_trial"] or DASH,
            "score": _score(row, "best_score"),
            "compared": f"{row['compared']} at {plural(row['compared_epochs'], 'epoch')}" if row["compared"] else DASH,
            **{name.replace("expected_", "best of "): _score(row, name) for name in expected},
        }
        for row in overview.to_dict("records")
    ]
    return pd.DataFrame(texts)


def _score(row: Mapping[Any, Any], column: str) -> str:
    score, unit = row[column], RANKING[row["objective"]].unit
    return DASH if pd.isna(score) else f"{100 * score:.2f}" if unit == "share" else f"{score:.4f}"


def importance_warning(importance: Importance) -> str:
    """Why not to trust the importances of a search's dimensions; empty where there is no reason."""
    trials, dimensions = importance.trials, len(importance.shares)
    if not importance.is_known:
        return f"nothing is known of importance from {plural(trials, 'trial')}"
    if trials < importance.needed:
        few = f"{plural(trials, 'trial')} for {plural(dimensions, 'dimension')}"
        return f"too few to trust: {few}, {importance.needed} would be a beginning"
    if not importance.explained > 0:
        return "not to be trusted: the forest predicts trials that it has not seen no better than their mean"
    return ""
