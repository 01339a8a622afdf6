"""Which epoch budget a statement is about: every rule that picks one stands here, under its name."""

import pandas as pd

SHARE = 0.5  # of the variants of the budget that most have reached


def common_budget(rows: pd.DataFrame) -> int:
    """The budget of a leaderboard: the longest that at least half as many variants have reached as any other.

    Summary, figures, notes, diagnosis and shares of variance all speak of it, so that they speak of the same rows; a
    search or a study that goes on may have trained one variant longer.

    Args:
        rows: measured rows of a leaderboard, or runs, with `epochs` and `variant`.

    Returns:
        epochs; 0 without rows.
    """
    variants = rows.groupby("epochs")["variant"].nunique()
    return int(variants[variants >= SHARE * variants.max()].index.max()) if len(variants) else 0


def judged_budget(seeds: pd.Series) -> int:
    """The budget of a claim: the one that most seeds have reached, the longest of those.

    `make settle` adds seeds where they settle a claim soonest; a few that have trained for longer do not take it away.

    Args:
        seeds: numbers of seeds by epochs, at least one.
    """
    return int(max(seeds.index, key=lambda epochs: (seeds[epochs], epochs)))


def own_longest(rows: pd.DataFrame, by: str | list[str] = "variant") -> pd.DataFrame:
    """The rows of each variant at the longest budget that it has reached: for what is told of each one alone.

    Args:
        rows: with `epochs` and the columns of `by`.
        by: what each row is of.
    """
    return rows[rows["epochs"] == rows.groupby(by)["epochs"].transform("max")]
