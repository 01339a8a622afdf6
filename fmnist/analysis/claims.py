"""What the article claims, put to the test."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """A claim and what the runs say of it; effect and interval are shares, NaN where there is none."""

    key: str
    says: str
    verdict: str  # holds | does not hold | not distinguishable | not yet run
    effect: float
    low: float
    high: float
    p_value: float
    seeds: int
    epochs: int  # the budget it was judged at
    run_ids: tuple[str, ...]
    because: str
