"""All searches of a store in a table, and what so many of their trials may be expected to find."""

import json

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist import words
from fmnist.analysis.importance import expected_best
from fmnist.analysis.leaderboard import METRICS
from fmnist.config import suggest

NONE = "no searches yet: start one with 'make tune'"
FORMATS = ("table", "csv", "md", "json")
_AT = [step * 10**power for power in range(5) for step in (1, 2, 5)]  # trials at which the curve is told
_CONCLUDED = ("FINISHED", "FAILED")


def comparable(search: pd.Series) -> tuple[NDArray[np.float64], int]:
    """The scores of a search that may be compared, and their epochs: of hyperband's those after the most epochs.

    None where it is not recorded after how many epochs a score came.
    """
    most = max(search["reached"], default=0)
    scores = [score for score, reached in zip(search["scores"], search["reached"], strict=True) if reached == most]
    return np.array(scores if most else [], float), most


def curves(searches: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Expected best validation accuracy of 1, 2, .. n trials, by a search's name, trials and epochs."""
    found = {}
    for _, search in searches[searches["objective"] == "val/accuracy"].iterrows():
        scores, epochs = comparable(search)
        if len(scores):
            said = f"{search['name']}: {words.plural(len(scores), 'trial')} of {words.plural(epochs, 'epoch')}"
            found[said.replace(words.NARROW, " ")] = expected_best(scores)
    return found


def table(searches: pd.DataFrame) -> pd.DataFrame:
    """A row a search: what it tried, its best trial, the best that so many trials may be expected to find, its verdict.

    Args:
        searches: a row a search, as `fmnist.tracking.SearchSummary` describes it, with its objective.
    """
    rows = []
    for _, search in searches.iterrows():
        scores, epochs = comparable(search)
        best = expected_best(scores, METRICS[search["objective"]] > 0) if len(scores) else np.zeros(0)
        concluded = search["status"] in _CONCLUDED  # one that goes on has what it concluded before from fewer trials
        rows.append(
            {
                **{name: search[name] for name in ("name", "status", "objective", "trials", "failed", "epochs")},
                "best_trial": search["best_trial"].lstrip("0") or "0" if concluded and search["best_trial"] else "",
                "best_score": search["best_score"],
                "compared": len(scores),
                "compared_epochs": epochs,
                **{f"expected_{at}": best[at - 1] for at in _AT if at <= len(best)},
                "verdict": search["verdict"] if concluded else "",
            }
        )
    expected = [f"expected_{at}" for at in _AT if any(f"expected_{at}" in row for row in rows)]
    return pd.DataFrame(rows, columns=[*_FIRST, *expected, "verdict"])


_FIRST = ("name", "status", "objective", "trials", "failed", "epochs", "best_trial", "best_score", "compared",
          "compared_epochs")  # fmt: skip


def render(found: pd.DataFrame, format: str) -> str:
    """The table as text without a newline at its end: `table` and `md` to read, `csv` and `json` in full precision.

    Raises:
        ValueError: the format is unknown.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, but got '{format}'{suggest(format, FORMATS)}")
    if format == "csv":
        return found.to_csv(index=False).rstrip("\n")
    if format == "json":
        return json.dumps(found.astype(object).where(found.notna(), None).to_dict("records"), indent=1)
    if found.empty:
        return NONE
    texts = _texts(found)
    if format == "md":
        return _tabulated(texts.assign(verdict=found["verdict"]), "github") + f"\n\n{_EXPLAINED}"
    verdicts = [f"{name}: {verdict}" for name, verdict in zip(found["name"], found["verdict"], strict=True) if verdict]
    return "\n\n".join([_tabulated(texts, "simple"), *(["\n".join(verdicts)] if verdicts else []), _EXPLAINED])


_EXPLAINED = (
    "best of n: the best score to be expected of n trials, drawn with replacement from these (Dodge et al. 2019).\n"
    "Only scores after the same number of epochs count: of hyperband's trials those that reached the most."
)


def _texts(found: pd.DataFrame) -> pd.DataFrame:
    """Every cell as it is read; an accuracy in per cent."""
    accuracy = (found["objective"] == "val/accuracy").tolist()

    def scores(column: str) -> list[str]:
        pairs = zip(found[column], accuracy, strict=True)
        return [
            words.DASH if pd.isna(score) else f"{100 * score:.2f}" if share else f"{score:.4f}"
            for score, share in pairs
        ]

    return pd.DataFrame(
        {
            "search": found["name"],
            "status": found["status"],
            "trials (failed)": [
                f"{n}" + (f" ({bad})" if bad else "") for n, bad in zip(found["trials"], found["failed"], strict=True)
            ],
            "epochs": found["epochs"].astype(str),
            "best trial": found["best_trial"].replace("", words.DASH),
            "score": scores("best_score"),
            "compared": [
                f"{n} at {words.plural(epochs, 'epoch')}".replace(words.NARROW, " ") if n else words.DASH
                for n, epochs in zip(found["compared"], found["compared_epochs"], strict=True)
            ],
            **{name.replace("expected_", "best of "): scores(name) for name in map(str, found) if "expected_" in name},
        }
    )


def _tabulated(texts: pd.DataFrame, form: str) -> str:
    from tabulate import tabulate

    align = ["left" if heading in ("search", "status", "verdict") else "right" for heading in texts]
    cells = [[str(cell) for cell in row] for row in texts.to_numpy()]
    return tabulate(cells, list(texts.columns), tablefmt=form, disable_numparse=True, colalign=align)
