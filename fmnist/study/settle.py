"""Which seeds of which variants to train next so that the open questions of a study are settled soonest.

A choice by what the seeds have shown so far does not make verdicts wrong, as they hold for stopping at any number of
seeds (`fmnist.analysis.rule`).
"""

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from fmnist.analysis import claims
from fmnist.analysis.claims import Claim, Verdict
from fmnist.analysis.leaderboard import ALPHA
from fmnist.analysis.published import RUNS
from fmnist.analysis.rule import Rule
from fmnist.schema import BASELINE, VAL_ACCURACY, Comparison, Judgement, recall
from fmnist.study.declared import DeclaredStudy
from fmnist.study.findings import Findings

Point = tuple[str, int]  # a variant's signature, and a number of epochs
Run = tuple[Point, int]  # and a seed
Series: TypeAlias = "pd.Series[float]"
BUSY = 0.8  # of the workers' time
_WRONG = 0.1  # of the images, roughly, of any variant
_OPEN = (Comparison.OPEN, Comparison.ONE_SEED, Comparison.NONE)
_UNJUDGED = (Judgement.OPEN, Judgement.ONE_SEED, Judgement.NOT_RUN)


@dataclass(frozen=True)
class Contrast:
    """A difference that a verdict waits for, or the last that it waited for."""

    name: str  # of the variant, or of the claim
    points: tuple[Point, ...]  # a seed counts that all of them have
    verdict: str
    is_open: bool
    alpha: float  # level at which it is judged
    margin: float
    seeds: frozenset[int] = frozenset()
    mean: float = float("nan")  # of the difference, NaN where none is measured
    sd: float = float("nan")

    def seeds_expected(self, rule: Rule, spread: float) -> int | None:
        """At how many seeds the verdict comes if mean and deviation stay as they are; None: at none that is allowed.

        Args:
            rule: of the study.
            spread: the deviation where it is not measured yet; the mean is then taken to be 0.
        """
        n = np.arange(max(len(self.seeds) + 1, rule.first), rule.most + 1)
        mean, sd = (abs(self.mean), self.sd) if self.sd > 0 else (0.0, spread)
        half = _half_widths(rule, self.alpha)[n] * sd
        decided = (mean > half) | (mean + half < self.margin)
        return int(n[np.argmax(decided)]) if decided.any() else None


@cache
def _half_widths(rule: Rule, alpha: float) -> NDArray[np.float64]:
    """Half the width of the interval over n seeds, by n, in deviations."""
    n = np.arange(2, rule.most + 1)
    halves = student.isf(rule.level(alpha, n) / 2, n - 1) / np.sqrt(n)
    return np.concatenate([[np.inf, np.inf], halves])


@dataclass(frozen=True)
class Step:
    """What an open contrast needs: the runs of its next seeds, and the seconds until it is expected to be settled."""

    contrast: Contrast
    runs: tuple[tuple[Run, ...], ...]  # of each seed, as many as are expected to be needed; at least one seed
    seeds: int | None  # at which it is expected
    seconds: float  # of one worker; infinite if it is not expected at all


def steps(
    contrasts: Sequence[Contrast],
    rule: Rule,
    seconds: Callable[[Point, int], float],
    images: int,
    failed: Container[Run] = (),
) -> list[Step]:
    """The next step of every open contrast that may have more seeds, the cheapest first.

    Args:
        contrasts: of the study.
        rule: of the study.
        seconds: what a run of a point with a seed takes, 0 if it is done.
        images: that validate.
        failed: what has failed and is not tried again.
    """
    spread = spread_of(contrasts, images)
    found = []
    for contrast in contrasts:
        usable = [seed for seed in range(rule.most) if not any((point, seed) in failed for point in contrast.points)]
        fresh = [seed for seed in usable if seed not in contrast.seeds]
        if not (contrast.is_open and fresh):
            continue
        needed = contrast.seeds_expected(rule, spread)
        if needed is not None and needed > len(usable):
            needed = None
        left = fresh if needed is None else fresh[: needed - len(contrast.seeds)]
        cost = sum(seconds(point, seed) for seed in left for point in contrast.points)
        runs = tuple(
            tuple((point, seed) for point in contrast.points if seconds(point, seed) > 0) for seed in left or fresh
        )
        found.append(Step(contrast, runs, needed, float("inf") if needed is None else cost))
    return sorted(found, key=lambda step: (step.seconds, len(step.contrast.seeds)))


def spread_of(contrasts: Sequence[Contrast], images: int) -> float:
    """The median deviation of those that are measured; if none is, what so many images leave to chance."""
    measured = [contrast.sd for contrast in contrasts if contrast.sd > 0]
    return float(np.median(measured)) if measured else float(np.sqrt(2 * _WRONG * (1 - _WRONG) / images))


def next_block(planned: Sequence[Step], rule: Rule, workers: int, seconds: Callable[[Point, int], float]) -> list[Run]:
    """The runs to train now: first three seeds of all, since nothing is known before; then what is soonest settled.

    Steps that take up to twice as long as the cheapest go together. Where some of the workers would wait for the others
    to end, the next steps have their turn too, and then further seeds: what is open needs them all the same. What is
    not expected to be settled at all comes last.
    """
    young = [step for step in planned if len(step.contrast.seeds) < rule.first]
    if young:
        fewest = min(len(step.contrast.seeds) for step in young)
        chosen = [step for step in young if len(step.contrast.seeds) == fewest]
    else:
        chosen = [step for step in planned if step.seconds <= 2 * planned[0].seconds]
    runs = dict.fromkeys(run for step in chosen for run in step.runs[0])
    for number in range(rule.most):
        for step in planned:
            if number < len(step.runs) and _share_of_work(runs, workers, seconds) < BUSY:
                runs |= dict.fromkeys(step.runs[number])
    return list(runs)


def _share_of_work(runs: Collection[Run], workers: int, seconds: Callable[[Point, int], float]) -> float:
    """How much of their time the workers have to do until the longest of the runs ends, at least."""
    took = [seconds(*run) for run in runs]
    return sum(took) / (workers * max(took)) if took else 0.0


# ---- The contrasts of a study ---------------------------------------------------------------------------


def budgets(study: DeclaredStudy) -> tuple[int, list[int]]:
    """At which budget variants are compared, and all that are trained: longer ones are for the claims that name them.

    The shortest that a claim on epochs names, if the study's rungs have it, else the longest rung.
    """
    named = {side.epochs for claim in study.claims for side in claim.sides if side.epochs in study.rungs}
    longest = min((epochs for epochs in named if epochs is not None), default=max(study.rungs))
    published = {run.epochs for claim in study.claims if claim.published for run in RUNS} & set(study.rungs)
    return longest, sorted({longest, *(epochs for epochs in named if epochs is not None), *published})


def contrasts(findings: Findings, variants: Mapping[str, str]) -> list[Contrast]:
    """What the verdicts of a study wait for: each variant beside the baseline, and its claims.

    Args:
        findings: of the study.
        variants: signature -> name, of those that can be trained; the baseline is one of them.
    """
    assert findings.study is not None
    return _Reader(findings, findings.study, variants).contrasts()


@dataclass
class _Reader:
    """Reads contrasts off what a study's runs show."""

    findings: Findings
    study: DeclaredStudy
    variants: Mapping[str, str]

    def __post_init__(self) -> None:
        selection = self.findings.selection
        self.runs = claims.unrepeated(claims.most_common(selection.own, selection.pair_columns))
        self.scores = self._by_point(VAL_ACCURACY.key)
        self.epochs, _ = budgets(self.study)
        self.base = next(signature for signature, name in self.variants.items() if name == BASELINE)

    def contrasts(self) -> list[Contrast]:
        rows = self.findings.leaderboard
        rows = rows[rows["epochs"] == self.epochs].drop_duplicates("variant_signature")
        verdicts = rows.set_index("variant_signature")["verdict"]
        others = [signature for signature in self.variants if signature != self.base]
        found = []
        for signature in others:
            word = str(verdicts.get(signature, ""))
            place = Contrast(self.variants[signature], ((signature, self.epochs), (self.base, self.epochs)), word,
                             word in _OPEN, ALPHA / len(others), self.study.rule.margin)  # fmt: skip
            found.append(_measured(place, self.scores))
        for claim, verdict in zip(self.study.claims, self.findings.claims, strict=True):
            found += self._of_claim(claim, verdict)
        return found

    def _of_claim(self, claim: Claim, verdict: Verdict) -> list[Contrast]:
        """A claim's contrast; none if its points are not the study's to train."""
        points = self._points(claim)
        margin = self.study.rule.margin if claim.margin is None else claim.margin
        place = Contrast(claim.key, points, verdict.verdict, verdict.verdict in _UNJUDGED,
                         ALPHA / len(self.study.claims), margin if claim.sides else 0.0)  # fmt: skip
        if not points:
            return []
        if claim.weakest is not None:
            return [_measured(place, self._gaps(verdict))]
        seeds = _common(points, self.scores)
        if claim.published:
            return [replace(place, seeds=seeds, is_open=place.is_open and self.study.baseline.changes == BASELINE)]
        steps = [_measured(replace(place, points=(after, before)), self.scores) for before, after in pairwise(points)]
        weakest = min(steps, key=lambda step: step.mean / step.sd if step.sd > 0 else float("-inf"))
        return [replace(weakest, points=points, seeds=seeds)]

    def _points(self, claim: Claim) -> tuple[Point, ...]:
        if claim.weakest is not None:
            return ((self.base, self.epochs),)
        if claim.published:
            return tuple((self.base, run.epochs) for run in RUNS if run.epochs in self.study.rungs)
        points = []
        for side in claim.sides:
            signature = next((each for each in self.variants if each in side.signatures), None)
            if signature is None or (side.epochs is not None and side.epochs not in self.study.rungs):
                return ()
            points.append((signature, side.epochs or self.epochs))
        return tuple(points)

    def _gaps(self, verdict: Verdict) -> dict[Point, Series]:
        """How far the recall of the class that decides is above that of the one which is claimed to be the weakest."""
        numbers = verdict.reasons[0].numbers
        if "other" not in numbers:
            return {}
        lowest, other = (self._by_point(recall(numbers[name])) for name in ("name", "other"))
        return {point: other[point] - lowest[point] for point in lowest}

    def _by_point(self, column: str) -> dict[Point, Series]:
        """Values by seed of each variant and budget."""
        if column not in self.runs:
            return {}
        values = {}
        for _, group in self.runs.groupby(["variant_signature", "epochs"]):
            signature, epochs = group["variant_signature"].iloc[0], group["epochs"].iloc[0]
            values[str(signature), int(epochs)] = group.set_index("seed")[column].astype(float)
        return values


def _common(points: Sequence[Point], values: Mapping[Point, Series]) -> frozenset[int]:
    """The seeds that all of the points have."""
    of_points = [frozenset(map(int, values[point].index)) if point in values else frozenset() for point in points]
    return frozenset.intersection(*of_points)


def _measured(contrast: Contrast, values: Mapping[Point, Series]) -> Contrast:
    """With its seeds, and mean and deviation of the first point minus the second, or of the first alone."""
    seeds = sorted(_common(contrast.points, values))
    if not seeds:
        return contrast
    first, *second = (values[point].loc[seeds].to_numpy(dtype=float) for point in contrast.points)
    difference = first - second[0] if second else first
    sd = float(difference.std(ddof=1)) if len(seeds) > 1 else float("nan")
    return replace(contrast, seeds=frozenset(seeds), mean=float(difference.mean()), sd=sd)
