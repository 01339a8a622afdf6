"""A diagnosis in sentences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd

from fmnist.analysis.diagnosis import Finding, Kind
from fmnist.analysis.leaderboard import ALPHA
from fmnist.report.formats import minus
from fmnist.words import percent, plural

_SPELLED_OUT = 2  # findings of a kind, where there is little room
Pair = tuple[float, float]


@dataclass(frozen=True)
class Statement:
    """One thing that a reader should know: its kind, what it is about, and one sentence with the numbers."""

    kind: str
    subject: str
    text: str


def statement(finding: Finding) -> Statement:
    """A finding in words."""
    subject = plural(int(finding.subject), "epoch") if finding.kind == Kind.SHORTER else finding.subject
    return Statement(finding.kind, subject, minus(_SENTENCES[finding.kind](subject, **finding.numbers)))


def by_kind(findings: Sequence[Finding]) -> dict[str, list[Statement]]:
    """The findings in words, kind by kind."""
    return {kind: list(map(statement, of_kind)) for kind, of_kind in groupby(findings, lambda each: each.kind)}


def lines(findings: Sequence[Finding]) -> list[str]:
    """A line for each kind, with no more findings of it than anyone reads."""
    result = []
    for kind, statements in by_kind(findings).items():
        more = len(statements) - _SPELLED_OUT
        rest = f" (and {more} more in the report)" if more > 0 else ""
        result.append(f"{kind}: {'; '.join(each.text for each in statements[:_SPELLED_OUT])}{rest}")
    return result


# ---- Sentences: the parameters are a finding's subject and numbers ----------------------------------------


def _failed(subject: str, *, failed: int, ended: int, variants: dict[str, int]) -> str:
    names = ", ".join(f"{name} ({count})" for name, count in variants.items())
    return f"{failed} of {plural(ended, 'run')} failed or diverged ({percent(failed / ended)}): {names}"


def _improving(variant: str, *, epochs: int, since: int, rise: float, accuracy: float, p: float) -> str:
    return (
        f"{variant} still improves at epoch {epochs}: its validation accuracy has risen by "
        f"{100 * rise:.2f} points since epoch {since}, to {percent(accuracy)} ({_p(p)})"
    )


def _overfitting(variant: str, *, since: int, validation: Pair, training: Pair) -> str:
    return (
        f"{variant} overfits: since epoch {since} its validation loss has risen from {validation[0]:.3f} "
        f"to {validation[1]:.3f}, while its training loss fell from {training[0]:.3f} to {training[1]:.3f}"
    )


def _saturated(variant: str, *, epochs: int, reached: int, accuracy: float, best: float) -> str:
    return (
        f"{variant} is saturated from epoch {reached} of {epochs} on: its validation accuracy "
        f"was {percent(accuracy)} then and {percent(best)} at its best"
    )


def _edge(axis: str, *, epochs: int, is_largest: bool, levels: Pair, accuracies: Pair, p: float, seeds: int) -> str:
    end, beyond = ("largest", "larger") if is_largest else ("smallest", "smaller")
    return (
        f"the {end} {axis} tried, {levels[0]:g}, is the best at {plural(epochs, 'epoch')}, with "
        f"{percent(accuracies[0])} validation accuracy against {percent(accuracies[1])} for {levels[1]:g} "
        f"({_p(p)} over {plural(seeds, 'seed')}); {beyond} ones are untried"
    )


def _shorter(
    epochs: str, *, longer: int, picked: str, winner: str, place: int, behind: float, variants: int, spearman: float,
) -> str:  # fmt: skip
    outcome = f"the winner at {plural(longer, 'epoch')} too"
    if picked != winner:
        below = f"{100 * behind:.2f} points of validation accuracy below {winner}"
        outcome = f"number {place} at {plural(longer, 'epoch')}, {below}"
    order = "" if np.isnan(spearman) else (
        f"; rank correlation over {variants} variants, between other seeds at either budget: {spearman:.2f} (Spearman)"
    )  # fmt: skip
    return f"{epochs} would have picked {picked}, {outcome}{order}"


def _classes(variant: str, *, epochs: int, seeds: int, changes: pd.DataFrame) -> str:
    amount = f"paired t test over {plural(seeds, 'seed')} with Holm" if seeds > 1 else "one seed, which shows no luck"
    return (
        f"against the baseline at {plural(epochs, 'epoch')} {variant} {_gains_and_losses(changes)} (test set; {amount})"
    )


def _gains_and_losses(changes: pd.DataFrame) -> str:
    sure = changes[changes["p"] < ALPHA]
    if sure.empty:
        return f"differs in no class for certain, most in {_changes(changes.loc[[changes['gain'].abs().idxmax()]])}"
    parts = (("gains in", sure[sure["gain"] > 0]), ("loses in", sure[sure["gain"] < 0]))
    return " and ".join(f"{verb} {_changes(rows)}" for verb, rows in parts if len(rows))


def _changes(rows: pd.DataFrame) -> str:
    return ", ".join(
        f"{name} ({100 * gain:+.1f} points of recall{'' if np.isnan(p) else f', {_p(p)}'}, "
        f"{abs(moved):.3g} {'fewer' if moved < 0 else 'more'} "
        f"of {images} taken for {other})"
        for name, images, gain, p, other, moved in rows.itertuples(index=False)
    )


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


_SENTENCES: dict[Kind, Callable[..., str]] = {
    Kind.FAILED: _failed,
    Kind.IMPROVING: _improving,
    Kind.OVERFITTING: _overfitting,
    Kind.SATURATED: _saturated,
    Kind.EDGE: _edge,
    Kind.SHORTER: _shorter,
    Kind.CLASSES: _classes,
}
