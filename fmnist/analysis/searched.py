"""Variants that searches used: what they are called, and which of their runs they were chosen by."""

from collections.abc import Collection, Mapping

import pandas as pd


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
    return f"{trials[name]:,} trials" if name in trials else "several trials"


def is_named_by_search(variant: str, found_by: str) -> bool:
    """Whether the variant goes by its search and trial."""
    return "/" in variant and found_by.startswith(f"search {variant.rpartition('/')[0]}, ")
