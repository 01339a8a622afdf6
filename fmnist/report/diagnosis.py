"""A diagnosis in sentences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd

from fmnist.analysis.diagnosis import (
    ClassChanges,
    EdgeOfAxis,
    FailedRuns,
    Finding,
    Overfitting,
    SaturatedEarly,
    ShorterBudget,
    StillImproving,
)
from fmnist.analysis.leaderboard import ALPHA
from fmnist.words import NARROW, percent, plural

_SPELLED_OUT = 2  # findings of a kind, where there is little room


@dataclass(frozen=True)
class Statement:
    """One thing that a reader should know: its kind, what it is about, and one sentence with the numbers."""

    kind: str
    subject: str
    text: str


def statement(finding: Finding) -> Statement:
    """A finding in words."""
    kind, subject, sentence = _KINDS[type(finding)]
    return Statement(kind, subject(finding), sentence(finding))


def by_kind(findings: Sequence[Finding]) -> dict[str, list[Statement]]:
    """The findings in words, kind by kind."""
    kinds: dict[str, list[Statement]] = {}
    for each in map(statement, findings):
        kinds.setdefault(each.kind, []).append(each)
    return kinds


def lines(findings: Sequence[Finding]) -> list[str]:
    """A line for each kind, with no more findings of it than anyone reads."""
    result = []
    for kind, statements in by_kind(findings).items():
        more = len(statements) - _SPELLED_OUT
        rest = f" (and {more} more in the report)" if more > 0 else ""
        result.append(f"{kind}: {'; '.join(each.text for each in statements[:_SPELLED_OUT])}{rest}")
    return result


# ---- Sentences ------------------------------------------------------------------------------------------


def _failed(finding: FailedRuns) -> str:
    variants = ", ".join(f"{name} ({count})" for name, count in finding.variants.items())
    share = _percent(finding.failed / finding.ended)
    return f"{finding.failed} of {finding.ended} runs failed or diverged ({share}): {variants}"


def _improving(finding: StillImproving) -> str:
    return (
        f"{finding.variant} still improves at epoch {finding.epochs}: its validation accuracy has risen by "
        f"{100 * finding.rise:.2f} points since epoch {finding.since}, to {_percent(finding.accuracy)} "
        f"({_p(finding.p)})"
    )


def _overfitting(finding: Overfitting) -> str:
    (lowest, last), (before, after) = finding.validation, finding.training
    return (
        f"{finding.variant} overfits: since epoch {finding.since} its validation loss has risen from {lowest:.3f} "
        f"to {last:.3f}, while its training loss fell from {before:.3f} to {after:.3f}"
    )


def _saturated(finding: SaturatedEarly) -> str:
    return (
        f"{finding.variant} is saturated from epoch {finding.reached} of {finding.epochs} on: its validation accuracy "
        f"was {_percent(finding.accuracy)} then and {_percent(finding.best)} at its best"
    )


def _edge(finding: EdgeOfAxis) -> str:
    end, beyond = ("largest", "larger") if finding.is_largest else ("smallest", "smaller")
    (best, beside), (accuracy, other) = finding.levels, finding.accuracies
    sure = "too few seeds to tell them apart" if np.isnan(finding.p) else f"{_p(finding.p)} over {finding.seeds} seeds"
    return (
        f"the {end} {finding.axis} tried, {best:g}, is the best at {_epochs(finding.epochs)}, with "
        f"{_percent(accuracy)} validation accuracy against {_percent(other)} for {beside:g} ({sure}); "
        f"{beyond} ones are untried"
    )


def _shorter(finding: ShorterBudget) -> str:
    longer = _epochs(finding.longer)
    outcome = f"the winner at {longer} too"
    if finding.picked != finding.winner:
        behind = f"{100 * finding.behind:.2f} points of validation accuracy below {finding.winner}"
        outcome = f"number {finding.place} at {longer}, {behind}"
    return (
        f"{_epochs(finding.epochs)} would have picked {finding.picked}, {outcome}; rank correlation over "
        f"{finding.variants} variants: Spearman {finding.spearman:.2f}, Kendall {finding.kendall:.2f}"
    )


def _classes(finding: ClassChanges) -> str:
    amount = f"{finding.seeds} seeds" if finding.seeds > 1 else "one seed, whose luck the test cannot see"
    return (
        f"against the baseline at {_epochs(finding.epochs)} {finding.variant} {_gains_and_losses(finding.changes)} "
        f"(test set; McNemar with Holm; {amount})"
    )


def _gains_and_losses(changes: pd.DataFrame) -> str:
    sure = changes[changes["p"] < ALPHA]
    if sure.empty:
        return f"differs in no class for certain, most in {_changes(changes.loc[[changes['gain'].abs().idxmax()]])}"
    parts = (("gains in", sure[sure["gain"] > 0]), ("loses in", sure[sure["gain"] < 0]))
    return " and ".join(f"{verb} {_changes(rows)}" for verb, rows in parts if len(rows))


def _changes(rows: pd.DataFrame) -> str:
    return ", ".join(
        f"{name} ({100 * gain:+.1f} points of recall, {_p(p)}, {abs(moved):.3g} {'fewer' if moved < 0 else 'more'} "
        f"of {images} taken for {other})"
        for name, images, gain, p, other, moved in rows.itertuples(index=False)
    )


def _percent(share: float) -> str:
    return percent(share).replace(NARROW, " ")


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _epochs(number: int) -> str:
    return plural(number, "epoch").replace(NARROW, " ")


_variant = attrgetter("variant")
_KINDS: dict[type, tuple[str, Callable[[Any], str], Callable[[Any], str]]] = {  # its kind, subject and sentence
    FailedRuns: ("failed runs", lambda finding: "all runs", _failed),
    StillImproving: ("still improving", _variant, _improving),
    Overfitting: ("overfitting", _variant, _overfitting),
    SaturatedEarly: ("saturated early", _variant, _saturated),
    EdgeOfAxis: ("edge of an axis", attrgetter("axis"), _edge),
    ShorterBudget: ("shorter budget", lambda finding: _epochs(finding.epochs), _shorter),
    ClassChanges: ("classes", _variant, _classes),
}
