"""What a search has found, as text for people and as its record in the store."""

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from rich.table import Table

from fmnist.analysis.importance import Importance, importance
from fmnist.report.searches import importance_warning
from fmnist.search import trials
from fmnist.search.space import Dimension
from fmnist.search.trials import COMPLETED, FAILED, TrialRecord

if TYPE_CHECKING:
    from fmnist.tracking import SearchRecord

TOP = 5  # trials that are named


def log(record: "SearchRecord", found: list[TrialRecord], direction: str) -> None:
    """Leave in the record, a step a trial: its score, the best so far, epochs and failures so far.

    Of hyperband's also the epochs after which it was scored: only scores after the same epochs can be compared.
    """
    rows, epochs, failed = [], 0, 0
    over = trials.ended(found)
    for number, a in enumerate(over, 1):
        epochs, failed = epochs + a.epochs, failed + (a.status == FAILED)
        values = {"search/epochs": float(epochs), "search/failed": float(failed)}
        leader = trials.best(over[:number], direction)
        if a.score is not None:
            values["search/score"] = a.score
            values |= {"search/reached": float(a.reached)} if a.reached else {}
        if leader is not None and leader.score is not None:
            values["search/best"] = leader.score
        rows.append((a.ended, values))
    record.trials(rows)


def weights(found: list[TrialRecord], space: list[Dimension]) -> Importance:
    """How much each dimension matters, by the last trial of every point: hyperband's scores after fewer epochs too."""
    scored = [a for a in trials.ended(found) if a.status == COMPLETED and a.score is not None]
    columns = [entry.key for entry in space]
    points = pd.DataFrame([{key: a.values.get(key) for key in columns} for a in scored], columns=columns)
    if any(a.reached for a in scored):
        points["epochs"] = [a.reached for a in scored]
    return importance(points, np.array([a.score for a in scored], float))


def top(found: list[TrialRecord], direction: str) -> list[TrialRecord]:
    """The best trials, of those that reached the most epochs."""
    left, best = trials.ended(found), list[TrialRecord]()
    reached = None
    while len(best) < TOP and (leader := trials.best(left, direction)) is not None:
        if reached is not None and leader.reached < reached:
            break
        reached = leader.reached
        best.append(leader)
        left = [a for a in left if a.trial != leader.trial]
    return best


def top_lines(found: list[TrialRecord], direction: str) -> list[str]:
    """The best trials in a line each, with the score of every execution if there are several."""
    lines = []
    for a in top(found, direction):
        each = ", ".join(f"seed {seed} {score:.4f}" for seed, score in a.scores.items())
        lines.append(f"{a.score:.4f}  trial {int(a.trial)}: {a.name}{f' ({each})' if len(a.scores) > 1 else ''}")
    return lines


def bracket_table(found: list[TrialRecord]) -> Table:
    """Hyperband's brackets: epochs trained, against those that training every rung afresh would have cost."""
    shown = Table(title="Epochs of training by bracket", title_justify="left", box=None, pad_edge=False)
    for heading in ("bracket", "trials", "for epochs", "needed", "trained now", "every rung afresh", "saved"):
        shown.add_column(heading, justify="right")
    over = [a for a in trials.ended(found) if "tuner/bracket" in a.values]
    groups = [
        (str(n), [a for a in over if a.values["tuner/bracket"] == n])
        for n in sorted({a.values["tuner/bracket"] for a in over}, reverse=True)
    ]
    for name, members in [*groups, ("all", over)]:
        needed, trained = sum(a.epochs for a in members), sum(a.trained for a in members)
        afresh = sum(a.reached * max(1, len(a.scores)) for a in members)
        rungs = "+".join(f"{sum(a.reached == r for a in members)}x{r}" for r in sorted({a.reached for a in members}))
        saved = f"{afresh - needed} ({100 * (afresh - needed) / afresh:.0f} %)" if afresh else "0"
        shown.add_row(name, str(len(members)), rungs, str(needed), str(trained), str(afresh), saved)
    return shown


def importance_lines(told: Importance) -> list[str]:
    """The importances that are not nothing, and what to think of them."""
    shares = [f"{key} {100 * share:.0f} %" for key, share in told.shares.items() if share >= 0.01]
    lines = [f"importance: {', '.join(shares)}"] if shares else []
    warning = importance_warning(told)
    return [*lines, *([f"importance {warning}"] if warning else [])]


def page(found: list[TrialRecord], space: list[Dimension], direction: str, objective: str, told: Importance) -> str:
    """What the record's page says, in Markdown: best trials, importance, space, failures."""
    over = trials.ended(found)
    failures = [a for a in over if a.status == FAILED]
    lines = [f"{len(over)} trials, {len(failures)} of them failed; {objective} ({direction})", ""]
    lines += ["| trial | score | run | ids |", "|---|---|---|---|"]
    lines += [
        f"| {int(a.trial)} | {a.score:.4f} | {a.name} | {' '.join(a.run_ids.values())} |" for a in top(found, direction)
    ]
    lines += ["", "| dimension | space | importance |", "|---|---|---|"]
    lines += [f"| {entry.key} | {entry} | {told.shares.get(entry.key, math.nan):.2f} |" for entry in space]
    lines += [
        "",
        f"Importance: {importance_warning(told) or f'the forest explains {told.explained:.0%} of unseen trials'}.",
    ]
    lines += [f"- trial {int(a.trial)} failed: {a.message}" for a in failures]
    return "\n".join(lines)
