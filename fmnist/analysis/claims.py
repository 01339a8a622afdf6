"""What is claimed, put to the test: holds, does not hold, not distinguishable, or not yet run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as distributions

from fmnist import words
from fmnist.analysis import stats
from fmnist.analysis.budgets import judged_budget
from fmnist.analysis.leaderboard import ALIKE, ALPHA, BASELINE
from fmnist.analysis.published import RUNS, Published
from fmnist.config import CLASSES

HOLDS, FAILS, OPEN, NOT_RUN = "holds", "does not hold", "not distinguishable", "not yet run"
NAN = float("nan")

Correct = Callable[[str], NDArray[np.bool_] | None]  # run id -> whether it is right on each test image, if known


@dataclass(frozen=True)
class Side:
    """What a claim compares: a variant, at its own number of epochs or at any that both sides have reached."""

    name: str
    signatures: frozenset[str]  # of the variant, in each precision and on each data that were used
    epochs: int | None = None


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


@dataclass(frozen=True)
class Verdict:
    """A claim and what the runs say of it; effect and interval are shares, NaN where there is none."""

    key: str
    says: str
    verdict: str  # holds | does not hold | not distinguishable | not yet run
    effect: float
    low: float
    high: float
    p_value: float  # corrected by Holm over the claims
    seeds: int
    epochs: int  # the budget it was judged at
    run_ids: tuple[str, ...]
    because: str


def judge(
    claims: Sequence[Claim],
    runs: pd.DataFrame,
    baseline: Side,
    correct: Correct,
    *,
    epochs: int | None = None,
    alike: Sequence[str] = ALIKE,
) -> list[Verdict]:
    """A verdict on each claim, at the 5 % level over all claims that can be judged together (Holm).

    A claim that compares more than two variants holds if every step is better than the one before it, and does not
    hold if any is worse. The budget is the longest that 3 seeds have reached, else the one that most have. One seed
    gives no verdict: what two single trainings differ by includes training noise.

    Args:
        claims: what is to be judged.
        runs: a row a run, as `fmnist.tracking.load` returns them; those are looked at that have of what `alike` names
            what most finished runs have.
        baseline: the variant that `weakest` and `published` are about.
        correct: the answers of a run, to support what a single seed shows.
        epochs: the budget to judge at, for claims that do not name their own.
        alike: columns that the runs of a pair share.
    """
    finished = runs[(runs["status"] == "FINISHED") & np.isfinite(runs["val/accuracy"].astype(float))]
    finished = usual(finished, alike).sort_values("start_time", kind="stable")
    finished = finished.drop_duplicates(["variant_signature", "epochs", "seed"], keep="last")
    at_epochs = finished if epochs is None else finished[finished["epochs"] == epochs]
    found = [_one(claim, finished if _has_own(claim) else at_epochs, baseline, correct) for claim in claims]
    corrected = stats.holm([verdict.p_value for verdict in found])
    return [_weighed(*each) for each in zip(claims, found, corrected, strict=True)]


def usual(runs: pd.DataFrame, alike: Sequence[str] = ALIKE) -> pd.DataFrame:
    """Of the runs those that have what most of them have, in the columns that the runs of a pair share."""
    if runs.empty:
        return runs
    group = runs.groupby(list(alike)).ngroup()
    return runs[group == group.value_counts().sort_index().idxmax()]  # of equally many the first, in whatever order


def _has_own(claim: Claim) -> bool:
    return claim.published or any(side.epochs is not None for side in claim.sides)


def _one(claim: Claim, runs: pd.DataFrame, baseline: Side, correct: Correct) -> Verdict:
    if claim.weakest is not None:
        return _weakest(claim, claim.weakest, _of(runs, baseline))
    if claim.published:
        if baseline.name != BASELINE:
            return _not_run(claim, f"the article trained another baseline than this {baseline.name}")
        return _published(claim, _of(runs, baseline))
    return _rising(claim, runs, correct)


def _weighed(claim: Claim, verdict: Verdict, p: float) -> Verdict:
    """With the corrected p: what looked clear alone may not be so among several."""
    if verdict.p_value < ALPHA <= p:
        verdict = replace(verdict, verdict=OPEN)
    in_favour = claim.published and verdict.verdict == HOLDS  # which no small p speaks for
    return replace(verdict, p_value=NAN if in_favour else p)


def _of(runs: pd.DataFrame, side: Side) -> pd.DataFrame:
    found = runs[runs["variant_signature"].isin(side.signatures)]
    return found if side.epochs is None else found[found["epochs"] == side.epochs]


def _not_run(claim: Claim, because: str) -> Verdict:
    return Verdict(claim.key, claim.says, NOT_RUN, NAN, NAN, NAN, NAN, 0, 0, (), because)


# ---- Each better than the one before --------------------------------------------------------------------


def _rising(claim: Claim, runs: pd.DataFrame, correct: Correct) -> Verdict:
    tables = [_of(runs, side) for side in claim.sides]
    if claim.sides[0].epochs is None:
        common = set.intersection(*(set(zip(table["epochs"], table["seed"], strict=True)) for table in tables))
        if common:
            epochs = judged_budget(pd.Series([epochs for epochs, _ in common]).value_counts())
            tables = [table[table["epochs"] == epochs] for table in tables]
    else:
        common = set.intersection(*(set(table["seed"]) for table in tables))
    if not common:
        lacking = [side.name for side, table in zip(claim.sides, tables, strict=True) if table.empty]
        return _not_run(claim, f"no run yet of {' or '.join(lacking)}" if lacking else "no seed that all sides share")
    seeds = sorted(set.intersection(*(set(table["seed"]) for table in tables)))
    tables = [table.set_index("seed").loc[seeds] for table in tables]
    values = np.array([table["val/accuracy"].to_numpy(dtype=float) for table in tables])
    steps, whole = stats.paired(values[1:], values[:-1]), stats.paired(values[-1:], values[:1])
    p, verdict = _steps(steps.mean, steps.p)
    return Verdict(
        key=claim.key,
        says=claim.says,
        verdict=verdict,
        effect=float(whole.mean[0]),
        low=float(whole.low[0]),
        high=float(whole.high[0]),
        p_value=p,
        seeds=len(seeds),
        epochs=int(tables[-1]["epochs"].iloc[0]),
        run_ids=tuple(run for table in tables for run in table["run_id"]),
        because=_because(claim, tables, steps, correct),
    )


def _steps(means: NDArray[np.float64], p: NDArray[np.float64]) -> tuple[float, str]:
    """p and verdict of "every step rises": an intersection-union test for it, Holm's over the steps against it."""
    if np.isnan(p).any():
        return NAN, OPEN
    rises = float(np.where(means > 0, p, 1.0).max())
    falls = float(np.where(means < 0, stats.holm(p), 1.0).min())
    verdict = HOLDS if rises < ALPHA else FAILS if falls < ALPHA else OPEN
    return min(rises, falls), verdict


def _because(claim: Claim, tables: list[pd.DataFrame], steps: stats.Paired, correct: Correct) -> str:
    said = []
    for index, (before, after) in enumerate(pairwise(tables)):
        names = f"{claim.sides[index + 1].name} against {claim.sides[index].name}"
        test = float((after["test/accuracy"].astype(float) - before["test/accuracy"].astype(float)).mean())
        text = f"{names}: {words.points(steps.mean[index])} points in validation, {words.points(test)} in test"
        if steps.n[index] == 1:
            text += _support(before["run_id"].iloc[0], after["run_id"].iloc[0], correct)
        elif len(tables) > 2:
            text += f" (p {words.p_value(float(steps.p[index]))})"
        said.append(text)
    if steps.n[0] == 1:
        said.append("one seed cannot show the noise of training: add seeds")
    return "; ".join(said)


def _support(before: str, after: str, correct: Correct) -> str:
    theirs, ours = correct(before), correct(after)
    if theirs is None or ours is None or len(theirs) != len(ours):
        return ""
    p = words.p_value(stats.mcnemar(ours, theirs))
    return f" (McNemar on the test images, of these two networks alone: p {p})"


# ---- The weakest class, the published numbers -----------------------------------------------------------


def _at_budget(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["epochs"] == judged_budget(runs.groupby("epochs")["seed"].nunique())]


def _weakest(claim: Claim, name: str, runs: pd.DataFrame) -> Verdict:
    columns = [f"test/recall/{other}" for other in CLASSES]
    if runs.empty or not set(columns) <= set(runs.columns):
        return _not_run(claim, "no run yet of the baseline")
    runs = _at_budget(runs)
    recalls = pd.DataFrame(runs[columns].to_numpy(dtype=float).T, CLASSES)
    others = recalls.drop(name)
    found = stats.paired(others.to_numpy(), recalls.loc[name].to_numpy())
    p, verdict = _steps(found.mean, found.p)
    nearest = int(np.argmin(found.mean))
    share = recalls.mean(axis=1).map("{:.1%}".format).str.replace("%", " %")
    other = others.index[nearest]
    because = f"recall of {name} {share[name]}, lowest of the others {other} {share[other]}"
    if len(runs) == 1:
        because += "; one seed cannot show the noise of training: add seeds"
    return Verdict(
        key=claim.key,
        says=claim.says,
        verdict=verdict,
        effect=-float(found.mean[nearest]),
        low=-float(found.high[nearest]),
        high=-float(found.low[nearest]),
        p_value=p,
        seeds=len(runs),
        epochs=int(runs["epochs"].iloc[0]),
        run_ids=tuple(runs["run_id"]),
        because=because,
    )


def _published(claim: Claim, runs: pd.DataFrame) -> Verdict:
    """Whether the published test accuracies are such as one more run of ours could have."""
    runs = runs[runs["test/accuracy"].notna()]
    known = [run for run in RUNS if (runs["epochs"] == run.epochs).any()]
    if not known:
        return _not_run(claim, f"no run yet of the baseline at {' or '.join(str(run.epochs) for run in RUNS)} epochs")
    said = [runs[runs["epochs"] == run.epochs]["test/accuracy"].to_numpy(dtype=float) for run in known]
    off = [float(run.test_accuracy - ours.mean()) for run, ours in zip(known, said, strict=True)]
    p = [_p_of_one_more(run.test_accuracy, ours) for run, ours in zip(known, said, strict=True)]
    worst = int(np.argmax(np.abs(off)) if np.isnan(p).all() else np.nanargmin(p))
    ours, seeds = said[worst], min(map(len, said))
    low, high = (float(end[0]) - float(ours.mean()) for end in stats.prediction_interval(ours[None]))
    corrected = stats.holm(p)
    verdict = FAILS if (corrected < ALPHA).any() else OPEN if np.isnan(corrected).any() else HOLDS
    texts = list(_places(known, said))
    if seeds == 1:
        texts.append("one seed has no interval: add seeds")
    return Verdict(
        key=claim.key,
        says=claim.says,
        verdict=verdict,
        effect=off[worst],
        low=off[worst] - high,
        high=off[worst] - low,
        p_value=float(corrected[worst]),
        seeds=seeds,
        epochs=known[worst].epochs,
        run_ids=tuple(runs[runs["epochs"].isin([run.epochs for run in known])]["run_id"]),
        because="; ".join(texts),
    )


def _places(known: Sequence[Published], said: list[NDArray[np.float64]]) -> Iterator[str]:
    for run, ours in zip(known, said, strict=True):
        low, high = (float(end[0]) for end in stats.prediction_interval(ours[None]))
        within = words.interval(low, high)
        mean = words.percent(float(ours.mean()))
        place = f"one more run of ours lies within {within}" if within else f"ours {mean}"
        yield f"test accuracy {words.percent(run.test_accuracy)} published for {run.epochs} epochs, {place}"


def _p_of_one_more(value: float, ours: NDArray[np.float64]) -> float:
    """p of a value for being one more of ours: Student's t with the deviation of one run beside n."""
    n = len(ours)
    if n < 2 or np.ptp(ours) == 0:
        return NAN
    t = (value - ours.mean()) / (ours.std(ddof=1) * np.sqrt(1 + 1 / n))
    return float(2 * distributions.t.sf(abs(t), n - 1))
