"""What a search has come to, as text for people and as its record in the store."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table

from fmnist.analysis.importance import Importance, importance
from fmnist.report.formats import HARMLESS
from fmnist.report.run_pictures import to_image
from fmnist.report.search_picture import overview
from fmnist.report.searches import importance_warning
from fmnist.schema import RANKING
from fmnist.search.space import Dimension
from fmnist.search.trials import FAILED, TrialRecord, best, ended, ranked, scored
from fmnist.tracking import SearchRecord
from fmnist.words import percent, plural, score
from fmnist.work.display import table

TOP, LINKED = 5, 30  # trials that are named, and that the record's page links to


def log(record: SearchRecord, trials: list[TrialRecord], direction: str) -> None:
    """Leave in the record, a step a trial: its score, the best so far, epochs and failures so far.

    Of hyperband's also the epochs after which it was scored: only scores after the same epochs can be compared.
    """
    rows, epochs, failed = [], 0, 0
    over = ended(trials)
    for number, trial in enumerate(over, 1):
        epochs, failed = epochs + trial.epochs, failed + (trial.status == FAILED)
        values = {"search/epochs": float(epochs), "search/failed": float(failed)}
        if trial.score is not None:
            values["search/score"] = trial.score
            values |= {"search/reached": float(trial.reached)} if trial.reached else {}
        leader = best(over[:number], direction)
        if leader is not None and leader.score is not None:
            values["search/best"] = leader.score
        rows.append((trial.ended, values))
    record.trials(rows)


def importances(trials: list[TrialRecord], space: list[Dimension]) -> Importance:
    """How much each dimension matters, by the last trial of every point: hyperband's scores after fewer epochs too."""
    used, columns = scored(trials), [dimension.key for dimension in space]
    points = pd.DataFrame([{key: trial.values.get(key) for key in columns} for trial in used], columns=columns)
    if any(trial.reached for trial in used):
        points["epochs"] = [trial.reached for trial in used]
    return importance(points, np.array([trial.score for trial in used], float))


def result_lines(trials: list[TrialRecord], name: str, objective: str, direction: str) -> list[str]:
    """What a search has cost, and the best trials, with the score of every execution if there are several."""
    over = ended(trials)
    failed = sum(trial.status == FAILED for trial in over)
    needed, trained = sum(trial.epochs for trial in over), sum(trial.trained for trial in over)
    counts = plural(len(over), "trial") + (f", {failed} failed" if failed else "")
    lines = [
        f"\nSearch {name}: {counts}, {plural(needed, 'epoch')}, {trained} of them trained for it; best {objective}"
    ]
    unit = RANKING[objective].unit
    for trial in ranked(trials, direction)[:TOP]:
        each = ", ".join(f"seed {seed} {score(value, unit)}" for seed, value in trial.scores.items())
        executions = f" ({each})" if len(trial.scores) > 1 else ""
        lines.append(f"{score(trial.score, unit)}  trial {trial.number}: {trial.name}{executions}")
    return lines


def bracket_table(trials: list[TrialRecord]) -> Table:
    """Hyperband's brackets: epochs trained, against those that training every rung afresh would have cost."""
    headings = ("bracket", "trials", "for epochs", "needed", "trained now", "every rung afresh", "saved")
    rows = table(*headings, title="Epochs of training by bracket", title_justify="left", box=None, pad_edge=False)
    over = ended(trials)
    for number in sorted({trial.values["tuner/bracket"] for trial in over}, reverse=True):
        rows.add_row(str(number), *_costs([trial for trial in over if trial.values["tuner/bracket"] == number]))
    rows.add_row("all", *_costs(over))
    return rows


def _costs(trials: list[TrialRecord]) -> list[str]:
    needed, trained = sum(trial.epochs for trial in trials), sum(trial.trained for trial in trials)
    afresh = sum(trial.reached * max(1, len(trial.scores)) for trial in trials)
    ends = [trial.reached for trial in trials]
    rungs = "+".join(f"{ends.count(end)}x{end}" for end in sorted(set(ends)))
    saved = f"{afresh - needed} ({percent((afresh - needed) / afresh, 0)})" if afresh else "0"
    return [str(len(trials)), rungs, str(needed), str(trained), str(afresh), saved]


def importance_lines(result: Importance) -> list[str]:
    """The importances that are not nothing, and what to think of them."""
    shares = [f"{key} {percent(share, 0)}" for key, share in result.shares.items() if share >= 0.01]
    lines = [f"importance: {', '.join(shares)}"] if shares else []
    warning = importance_warning(result)
    return [*lines, *([f"importance {warning}"] if warning else [])]


def picture(
    trials: list[TrialRecord], space: list[Dimension], direction: str, name: str, result: Importance
) -> NDArray[np.uint8]:
    """The history of a search, the importance of its dimensions, and its trials across them."""
    used = scored(trials)
    leaders = [best(used[:number], direction) for number in range(1, len(used) + 1)]
    points = pd.DataFrame([{entry.key: trial.values.get(entry.key) for entry in space} for trial in used])
    scores, bests = ([trial.score or 0.0 for trial in each if trial is not None] for each in (used, leaders))
    return to_image(overview(points, scores, bests, result.shares, f"search {name}: {plural(len(used), 'trial')}"), 95)


def page(
    trials: list[TrialRecord],
    space: list[Dimension],
    direction: str,
    objective: str,
    result: Importance,
    *,
    experiment: str,
) -> str:
    """What the record's page says, in Markdown: trials with links to their runs, importance, space, failures."""
    over, plain = ended(trials), HARMLESS["md"]
    failures = [trial for trial in over if trial.status == FAILED]
    lines = [f"{plural(len(over), 'trial')}, {len(failures)} of them failed; {objective} ({direction})", ""]
    lines += ["| trial | score | settings | runs |", "|---|---|---|---|"]
    for trial in ranked(trials, direction)[:LINKED]:
        cells = (
            str(trial.number),
            score(trial.score, RANKING[objective].unit),
            plain(trial.name),
            " ".join(f"[{run_id[:8]}](#/experiments/{experiment}/runs/{run_id})" for run_id in trial.run_ids.values()),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| dimension | space | importance |", "|---|---|---|"]
    lines += [
        f"| {entry.key} | {plain(str(entry))} | {result.shares.get(entry.key, math.nan):.2f} |" for entry in space
    ]
    trust = importance_warning(result) or f"the forest explains {percent(result.explained, 0)} of unseen trials"
    lines += ["", f"Importance: {trust}."]
    lines += [f"- trial {trial.number} failed: {plain(str(trial.message))}" for trial in failures]
    return "\n".join(lines)
