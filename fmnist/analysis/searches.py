"""What searches tried: marked among the runs, in a table of their own, and what so many trials may find."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist.analysis.importance import expected_best
from fmnist.schema import RANKING, VAL_ACCURACY, Status

TRIALS = [step * 10**power for power in range(5) for step in (1, 2, 5)]  # at which the expected best is given
_CONCLUDED = (Status.FINISHED, Status.FAILED)
_COLUMNS = ("name", "status", "objective", "trials", "failed", "epochs", "best_trial", "best_score", "compared",
            "compared_epochs")  # fmt: skip


def add_searches(runs: pd.DataFrame, designed: Collection[str], trials: Mapping[str, int]) -> pd.DataFrame:
    """The runs with three columns more; a variant that only searches used goes by `SEARCH/TRIAL`, `hyperband-1f0c9a/7`.

    Such names are short, and the same at every epoch budget: the trial is that of the longest run.

    Args:
        runs: a row a run, as `fmnist.tracking.load` returns them.
        designed: signatures of the variants that no score chose: the baseline, and what studies declare.
        trials: how many each search tried.

    Returns:
        found_by: `search NAME, one of N trials` of a variant whose runs a search used, else empty. chosen: the run is
        a trial of a search that may have been chosen for its luck, so that it is no evidence of how good the variant
        is; never of a designed one. changes: what the variant changes of conf/config.yaml's baseline.
    """
    used, signatures = runs["search"] != "", runs["variant_signature"]
    own = ~used | signatures.isin(list(designed))
    names, found_by = runs["variant"].copy(), pd.Series("", runs.index, dtype=object)
    for _, same in runs[signatures.isin(signatures[used])].groupby("variant_signature"):
        searches = dict.fromkeys(" ".join(same["search"]).split())
        found_by[same.index] = "; ".join(f"search {name}, one of {_count(trials, name)}" for name in searches)
        if not own[same.index].any():
            longest = same.sort_values("epochs", kind="stable").iloc[-1]
            names[same.index] = f"{longest['search'].split()[0]}/{int(longest['trial'])}"
    chosen = ~own & ~runs["confirms"].astype(bool)
    return runs.assign(variant=names, found_by=found_by, chosen=chosen, changes=runs["variant"])


def _count(trials: Mapping[str, int], name: str) -> str:
    return f"{trials[name]:,} trial{'s' * (trials[name] != 1)}" if name in trials else "several trials"


def is_named_by_search(variant: str, found_by: str) -> bool:
    """Whether the variant goes by its search and trial."""
    return "/" in variant and found_by.startswith(f"search {variant.rpartition('/')[0]}, ")


@dataclass(frozen=True)
class ExpectedBest:
    """The validation accuracy to be expected of the best of 1, 2, .. n trials of a search."""

    search: str
    epochs: int  # after which the trials were scored
    best: NDArray[np.float64]  # (n,)


def comparable(search: pd.Series) -> tuple[NDArray[np.float64], int]:
    """The scores of a search that may be compared, and their epochs: of hyperband's those after the most epochs.

    None where it is not recorded after how many epochs a score came.
    """
    most = max(search["reached"], default=0)
    scores = [score for score, reached in zip(search["scores"], search["reached"], strict=True) if reached == most]
    return np.array(scores if most else [], float), most


def curves(searches: pd.DataFrame) -> list[ExpectedBest]:
    """What the trials of each search that maximises validation accuracy may be expected to find."""
    accurate = searches[searches["objective"] == VAL_ACCURACY.key]
    each = [(search["name"], *comparable(search)) for _, search in accurate.iterrows()]
    return [ExpectedBest(name, epochs, expected_best(scores)) for name, scores, epochs in each if len(scores)]


def overview(searches: pd.DataFrame) -> pd.DataFrame:
    """A row a search: what it tried, its best trial, the best that so many trials may be expected to find, its verdict.

    Args:
        searches: a row a search, as `fmnist.tracking.SearchSummary` describes it, with its objective.

    Returns:
        columns as experiments/README.md describes them; of a search that goes on neither trial nor verdict, which it
        may have concluded from fewer trials before.
    """
    rows = [_row(search) for _, search in searches.iterrows()]
    expected = [f"expected_{n}" for n in TRIALS if any(f"expected_{n}" in row for row in rows)]
    return pd.DataFrame(rows, columns=[*_COLUMNS, *expected, "verdict"])


def _row(search: pd.Series) -> dict[str, object]:
    scores, epochs = comparable(search)
    best = expected_best(scores, RANKING[search["objective"]].higher_is_better) if len(scores) else scores
    concluded = search["status"] in _CONCLUDED
    return {
        **{name: search[name] for name in _COLUMNS[:6]},
        "best_trial": search["best_trial"].lstrip("0") or "0" if concluded and search["best_trial"] else "",
        "best_score": search["best_score"],
        "compared": len(scores),
        "compared_epochs": epochs,
        **{f"expected_{n}": best[n - 1] for n in TRIALS if n <= len(best)},
        "verdict": search["verdict"] if concluded else "",
    }
