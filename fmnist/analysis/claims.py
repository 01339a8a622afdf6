"""What is claimed, put to the test: a verdict with its numbers; `report.claims` says why."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as distributions

from fmnist.analysis import stats
from fmnist.analysis.budgets import judged_budget
from fmnist.analysis.leaderboard import ALPHA, PAIR_COLUMNS, failures
from fmnist.analysis.published import RUNS, Published
from fmnist.analysis.rule import Rule
from fmnist.config import CLASSES
from fmnist.schema import BASELINE, TEST_ACCURACY, VAL_ACCURACY, Judgement, Status, recall

NAN = float("nan")
NARROW = 0.01  # accuracy: half an interval wider than a point within which a published number lies says nothing

Correct = Callable[[str], NDArray[np.bool_] | None]  # run id -> whether it is right on each test image, if known


@dataclass(frozen=True)
class Side:
    """What a claim compares: a variant, at its own number of epochs or at any that both sides have reached."""

    name: str
    signatures: frozenset[str]  # of the variant, in each precision and on each data that were used
    epochs: int | None = None
    changes: str = BASELINE  # of a study's baseline: what it changes of the article's, `filters=64`


@dataclass(frozen=True)
class Claim:
    """A sentence to be tested. Exactly one of `sides` (each is better than the one before it), `weakest` and
    `published` says how; the latter two are about the baseline.
    """

    key: str
    says: str
    sides: tuple[Side, ...] = ()
    weakest: str | None = None  # a class that has the lowest recall
    published: bool = False  # the article's test accuracies lie where one more run of ours would
    margin: float | None = None  # of accuracy, where it is another than the study's


class Kind(StrEnum):
    """What a reason is, with the names of its numbers; those that are not known are NaN."""

    MISSING = "missing"  # names, epochs: runs that the store lacks; without names, no seed is common to all sides
    OTHER_BASELINE = "other baseline"  # changes: of the one that the claim is not about
    FAILED = "failed"  # counts: seeds that failed, by the names of the sides
    STEP = "step"  # before, after: sides; validation, test: differences of means; p; p_images: McNemar's, of one seed
    WEAKEST = "weakest"  # name, recall: the class; other, other_recall: the one that decides
    PUBLISHED = "published"  # epochs, published; mean: ours; low, high: where one more run of ours would lie


@dataclass(frozen=True)
class Reason:
    """What a verdict rests on, in values."""

    kind: Kind
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """A claim and what the runs say of it; effect and interval are shares, NaN where there is none."""

    key: str
    says: str
    verdict: Judgement
    reasons: tuple[Reason, ...]
    effect: float = NAN
    low: float = NAN
    high: float = NAN
    p_value: float = NAN  # corrected by Holm over the claims
    seeds: int = 0
    epochs: int = 0  # the budget it was judged at
    run_ids: tuple[str, ...] = ()
    among: float = (
        1.0  # so many comparisons the one that decides was found, by Holm's count; the interval allows for it
    )


def judge(
    claims: Sequence[Claim],
    runs: pd.DataFrame,
    baseline: Side,
    correct: Correct,
    *,
    epochs: int | None = None,
    pair_columns: Sequence[str] = PAIR_COLUMNS,
    rule: Rule = stats.ONE_LOOK,
) -> list[Verdict]:
    """A verdict on each claim, at the 5 % level over all claims that can be judged together (Holm).

    A claim that compares more than two variants holds if every step is better than the one before it, and does not
    hold if any is worse. Its effect is that of the step that decides, the least certain to rise or the most certain to
    fall; it does not hold either if the interval of that step lies within the margin. The budget is
    `budgets.judged_budget`. One seed gives no verdict: what two single trainings differ by includes training noise. Nor
    do sides of which seeds failed: those that are left may be the lucky ones. Intervals are corrected for the number of
    claims (`stats.confidence_levels`).

    Args:
        claims: what is to be judged.
        runs: a row a run, as `fmnist.tracking.load` returns them; those are looked at that have of `pair_columns` what
            most finished runs have.
        baseline: the variant that `weakest` and `published` are about.
        correct: the answers of a run, to support what a single seed shows.
        epochs: the budget to judge at, for claims that do not name their own.
        pair_columns: what the runs of a pair share.
        rule: by which differences are judged.
    """
    alike = most_common(runs[runs["status"].isin([Status.FINISHED, Status.FAILED])], pair_columns)
    failed, finished = alike[failures(alike)], unrepeated(alike)
    at_epochs = finished if epochs is None else finished[finished["epochs"] == epochs]
    verdicts = []
    for claim in claims:
        verdict = _judged(claim, finished if _names_epochs(claim) else at_epochs, baseline, correct, rule)
        verdicts.append(_without_failures(claim, verdict, failed, baseline))
    p = [verdict.p_value for verdict in verdicts]
    family = zip(claims, verdicts, stats.holm(p), stats.confidence_levels(p), strict=True)
    return [_corrected(*each, rule) for each in family]


def unrepeated(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that have finished with a number; of those that repeat a variant's seed to the same epoch the latest."""
    finished = runs[(runs["status"] == Status.FINISHED) & np.isfinite(runs[VAL_ACCURACY.key].astype(float))]
    finished = finished.sort_values("start_time", kind="stable")
    return finished.drop_duplicates(["variant_signature", "epochs", "seed"], keep="last")


def _without_failures(claim: Claim, verdict: Verdict, failed: pd.DataFrame, baseline: Side) -> Verdict:
    """No verdict where seeds failed at the budgets that it is about."""
    sides, published = claim.sides or (baseline,), [run.epochs for run in RUNS if claim.published]
    lost = {side.name: len(own[own["epochs"].isin(published or [side.epochs or verdict.epochs])])
            for side in sides if len(own := _runs_of(side, failed))}  # fmt: skip
    lost = {name: count for name, count in lost.items() if count}
    if verdict.verdict == Judgement.NOT_RUN or not lost:
        return verdict
    reasons = (*verdict.reasons, Reason(Kind.FAILED, {"counts": lost}))
    return replace(verdict, verdict=Judgement.SEEDS_FAILED, reasons=reasons)


def most_common(runs: pd.DataFrame, pair_columns: Sequence[str] = PAIR_COLUMNS) -> pd.DataFrame:
    """Of the runs those that have what most of them have, in the columns that the runs of a pair share."""
    if runs.empty:
        return runs
    group = runs.groupby(list(pair_columns)).ngroup()
    return runs[group == group.value_counts().sort_index().idxmax()]  # of equally many the first, in whatever order


def _names_epochs(claim: Claim) -> bool:
    return claim.published or any(side.epochs is not None for side in claim.sides)


def _judged(claim: Claim, runs: pd.DataFrame, baseline: Side, correct: Correct, rule: Rule) -> Verdict:
    """A verdict whose p and interval stand alone, the interval as if there were one look."""
    if claim.weakest is not None:
        return _weakest(claim, claim.weakest, _runs_of(baseline, runs), rule)
    if not claim.published:
        return _rising(claim, runs, correct, rule)
    if baseline.changes != BASELINE:
        return _not_run(claim, Kind.OTHER_BASELINE, changes=baseline.changes)
    return _published(claim, _runs_of(baseline, runs), rule)


def _corrected(claim: Claim, verdict: Verdict, p: float, confidence: float, rule: Rule) -> Verdict:
    """With the corrected p and interval: what looked clear alone may not be so among several."""
    wider = stats.widening(verdict.seeds, _level(claim, verdict, 1 - confidence, rule))
    low, high = (verdict.effect + wider * (end - verdict.effect) for end in (verdict.low, verdict.high))
    low, high = (float(np.clip(end, -1, 1)) if np.isfinite(end) else NAN for end in (low, high))  # of shares
    if verdict.p_value < ALPHA <= p and verdict.verdict != Judgement.SEEDS_FAILED:
        verdict = replace(verdict, verdict=Judgement.OPEN)
    if verdict.verdict in (Judgement.HOLDS, Judgement.FAILS, Judgement.OPEN) and claim.sides:
        margin = rule.margin if claim.margin is None else claim.margin
        if replace(rule, margin=margin).is_small(low, high):
            verdict = replace(verdict, verdict=Judgement.NO_DIFFERENCE)
    in_favour = claim.published and verdict.verdict == Judgement.HOLDS  # which no small p speaks for
    return replace(verdict, p_value=NAN if in_favour else p, low=low, high=high)


def _level(claim: Claim, verdict: Verdict, alpha: float, rule: Rule) -> float:
    """Of the interval of a verdict, so that it excludes 0 where p is below alpha."""
    of_rule = rule.bound_level if claim.published else rule.level
    return float(of_rule(alpha / verdict.among, verdict.seeds))


def _runs_of(side: Side, runs: pd.DataFrame) -> pd.DataFrame:
    own = runs[runs["variant_signature"].isin(side.signatures)]
    return own if side.epochs is None else own[own["epochs"] == side.epochs]


def _not_run(claim: Claim, kind: Kind, **numbers: Any) -> Verdict:
    return Verdict(claim.key, claim.says, Judgement.NOT_RUN, (Reason(kind, numbers),))


# ---- Each better than the one before --------------------------------------------------------------------


def _rising(claim: Claim, runs: pd.DataFrame, correct: Correct, rule: Rule) -> Verdict:
    tables = [_runs_of(side, runs) for side in claim.sides]
    if claim.sides[0].epochs is None:
        common = set.intersection(*(set(zip(table["epochs"], table["seed"], strict=True)) for table in tables))
        if common:
            epochs = judged_budget(pd.Series([epochs for epochs, _ in common]).value_counts())
            tables = [table[table["epochs"] == epochs] for table in tables]
    else:
        common = set.intersection(*(set(table["seed"]) for table in tables))
    if not common:
        lacking = [side.name for side, table in zip(claim.sides, tables, strict=True) if table.empty]
        return _not_run(claim, Kind.MISSING, names=lacking)
    seeds = sorted(set.intersection(*(set(table["seed"]) for table in tables)))
    tables = [table.set_index("seed").loc[seeds] for table in tables]
    values = np.array([table[VAL_ACCURACY.key].to_numpy(dtype=float) for table in tables])
    steps, alone = stats.paired(values[1:], values[:-1], rule=rule), stats.paired(values[1:], values[:-1])
    p, verdict, decides, among = _every_step(steps.mean, steps.p)
    effect, low, high = (float(array[decides]) for array in (alone.mean, alone.low, alone.high))
    epochs, run_ids = int(tables[-1]["epochs"].iloc[0]), [run for table in tables for run in table["run_id"]]
    reasons = tuple(_steps(claim, tables, steps, correct))
    return Verdict(
        claim.key, claim.says, verdict, reasons, effect, low, high, p, len(seeds), epochs, tuple(run_ids), among
    )


def _every_step(means: NDArray[np.float64], p: NDArray[np.float64]) -> tuple[float, Judgement, int, float]:
    """p and verdict of "every step rises": an intersection-union test for it, Holm's over the steps against it.

    Then come the number of the step that decides, to which p belongs, and `Verdict.among`.
    """
    if np.isnan(p).any():
        return NAN, Judgement.ONE_SEED, int(np.argmin(means)), 1.0
    rises = float(np.where(means > 0, p, 1.0).max())
    falls = float(np.where(means < 0, stats.holm(p), 1.0).min())
    verdict = Judgement.HOLDS if rises < ALPHA else Judgement.FAILS if falls < ALPHA else Judgement.OPEN
    if falls < rises:
        decides = int(np.argmin(np.where(means < 0, p, np.inf)))
        return falls, verdict, decides, falls / float(p[decides])
    return rises, verdict, int(np.argmax(np.where(means > 0, p, 2 - p))), 1.0


def _steps(claim: Claim, tables: list[pd.DataFrame], steps: stats.Paired, correct: Correct) -> Iterator[Reason]:
    for index, (before, after) in enumerate(pairwise(tables)):
        numbers = {
            "before": claim.sides[index].name,
            "after": claim.sides[index + 1].name,
            "validation": float(steps.mean[index]),
            "test": float((after[TEST_ACCURACY.key].astype(float) - before[TEST_ACCURACY.key].astype(float)).mean()),
            "p": float(steps.p[index]),
            "p_images": _p_images(before, after, correct) if steps.n[index] == 1 else NAN,
        }
        yield Reason(Kind.STEP, numbers)


def _p_images(before: pd.DataFrame, after: pd.DataFrame, correct: Correct) -> float:
    theirs, ours = (correct(table["run_id"].iloc[0]) for table in (before, after))
    if theirs is None or ours is None or len(theirs) != len(ours):
        return NAN
    return stats.mcnemar(ours, theirs)


# ---- The weakest class, the published numbers -----------------------------------------------------------


def _weakest(claim: Claim, name: str, runs: pd.DataFrame, rule: Rule) -> Verdict:
    columns = [recall(other) for other in CLASSES]
    if runs.empty or not set(columns) <= set(runs.columns):
        return _not_run(claim, Kind.MISSING, names=["the baseline"])
    runs = runs[runs["epochs"] == judged_budget(runs.groupby("epochs")["seed"].nunique())]
    recalls = pd.DataFrame(runs[columns].to_numpy(dtype=float).T, CLASSES)
    others, mean = recalls.drop(name), recalls.mean(axis=1)
    above = stats.paired(others.to_numpy(), recalls.loc[name].to_numpy())
    p, verdict, decides, among = _every_step(above.mean, rule.valid(above.p, above.n))
    other = str(others.index[decides])
    effect, low, high = (float(array[decides]) for array in (above.mean, above.low, above.high))
    numbers = {"name": name, "recall": float(mean[name]), "other": other, "other_recall": float(mean[other])}
    reasons = (Reason(Kind.WEAKEST, numbers),)
    epochs, run_ids = int(runs["epochs"].iloc[0]), tuple(runs["run_id"])
    return Verdict(claim.key, claim.says, verdict, reasons, effect, low, high, p, len(runs), epochs, run_ids, among)


def _published(claim: Claim, runs: pd.DataFrame, rule: Rule) -> Verdict:
    """Whether the published test accuracies are such as one more run of ours could have."""
    runs = runs[runs[TEST_ACCURACY.key].notna()]
    trained = [run for run in RUNS if (runs["epochs"] == run.epochs).any()]
    if not trained:
        return _not_run(claim, Kind.MISSING, names=["the baseline"], epochs=[run.epochs for run in RUNS])
    ours = [runs[runs["epochs"] == run.epochs][TEST_ACCURACY.key].to_numpy(dtype=float) for run in trained]
    places = [_place(*each) for each in zip(trained, ours, strict=True)]
    off = [place["published"] - place["mean"] for place in places]
    p = [
        float(rule.bound(_p_of_one_more(place["published"], values), len(values)))
        for place, values in zip(places, ours, strict=True)
    ]
    corrected = stats.holm(p)
    worst = int(np.argmax(np.abs(off)) if np.isnan(p).all() else np.nanargmin(p))
    precise = all(place["high"] - place["low"] <= 2 * NARROW for place in places)
    verdict = Judgement.HOLDS if precise else Judgement.OPEN
    verdict = Judgement.FAILS if (corrected < ALPHA).any() else verdict
    verdict = Judgement.ONE_SEED if min(map(len, ours)) == 1 and verdict != Judgement.FAILS else verdict
    effect, low, high = (places[worst]["published"] - places[worst][end] for end in ("mean", "high", "low"))
    reasons = tuple(Reason(Kind.PUBLISHED, place) for place in places)
    seeds, run_ids = len(ours[worst]), tuple(runs[runs["epochs"].isin([run.epochs for run in trained])]["run_id"])
    p_value, epochs = float(corrected[worst]), trained[worst].epochs
    among = p_value / p[worst] if p[worst] > 0 else 1.0
    return Verdict(claim.key, claim.says, verdict, reasons, effect, low, high, p_value, seeds, epochs, run_ids, among)


def _place(run: Published, ours: NDArray[np.float64]) -> dict[str, Any]:
    low, high = (float(end[0]) for end in np.clip(stats.prediction_interval(ours[None]), 0, 1))
    numbers = {"mean": float(ours.mean()), "low": low, "high": high}
    return {"epochs": run.epochs, "published": run.test_accuracy, **numbers}


def _p_of_one_more(value: float, ours: NDArray[np.float64]) -> float:
    """p of a value for being one more of ours: Student's t with the deviation of one run beside n."""
    n = len(ours)
    if n < 2 or np.ptp(ours) == 0:
        return NAN
    t = (value - ours.mean()) / (ours.std(ddof=1) * np.sqrt(1 + 1 / n))
    return float(2 * distributions.t.sf(abs(t), n - 1))
