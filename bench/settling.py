"""How long the variants of study article take to settle, drawn from recorded runs: `make settle`, and uniform seeds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.recorded import XEON
from bench.table import Row
from fmnist.analysis import stats
from fmnist.analysis.leaderboard import ALPHA
from fmnist.analysis.rule import Rule
from fmnist.config import StudyConfig
from fmnist.schema import BASELINE, VAL_ACCURACY
from fmnist.study.settle import Contrast, next_block, steps
from fmnist.tracking.portable import RunFile

STUDIES, WORKERS, IMAGES = 50, 2, 6_000
EPOCHS, LONGEST = 10, 50  # where variants are compared, and the longest budget of the study
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Recorded:
    """What the recorded runs say of each variant but the baseline, which comes last in `seconds`."""

    effects: Array  # (variants,) its mean difference from the baseline at the longest budget up to EPOCHS
    residuals: Array  # of all of them, by how much a seed's difference is off its mean
    seconds: Array  # (variants + 1,) of an epoch


def rows() -> Iterator[Row]:
    """Hours of two workers until what both ways settle is settled, mean over simulated studies."""
    recorded, rng = read(XEON), np.random.default_rng(0)
    studies = [recorded.effects[:, None] + rng.choice(recorded.residuals, (len(recorded.effects), 20))
               for _ in range(STUDIES)]  # fmt: skip
    rule = Rule(StudyConfig().most_seeds, margin=StudyConfig().margin / 100)
    ours = [settled(each, recorded.seconds, rule) for each in studies]
    spread, count = 100 * recorded.residuals.std(), len(recorded.effects)
    for budget in (EPOCHS, LONGEST):
        theirs = [settled(each, recorded.seconds, rule, uniform=budget) for each in studies]
        both = [np.isfinite(a) & np.isfinite(b) for a, b in zip(ours, theirs, strict=True)]
        took, other = (
            np.mean([times[each].max(initial=0) for times, each in zip(way, both, strict=True)]) / 3600 / WORKERS
            for way in (ours, theirs)
        )
        settles = np.mean([each.sum() for each in both])
        what = f"{settles:.1f} of {count} variants settled (of 20 seeds, spread {spread:.2f} points)"
        goal = "at least 3 times less" if budget == LONGEST else ""
        against = f"every seed for all variants, to {budget} epochs"
        yield Row(what, f"{took:.1f} h", against, f"{other:.1f} h", other / took, goal, less=True)


def read(path: Path) -> Recorded:
    """What a file of runs holds."""
    found = []
    for run in RunFile(path):
        stored, times = run.facts.stored(), [value for *_, value in run.facts.metrics.get("time/epoch_s", [])]
        name = stored.tags["fmnist.variant"]
        where = (name, int(stored.params["epochs"]), int(stored.params["seed"]))
        found.append((*where, stored.metrics.get(VAL_ACCURACY.key), np.median([value for value in times if value])))
    runs = pd.DataFrame(found, columns=["variant", "epochs", "seed", "accuracy", "seconds"])
    table = runs[runs["epochs"] <= EPOCHS].pivot_table(index=["epochs", "seed"], columns="variant", values="accuracy")
    table = table.sub(table.pop(BASELINE), axis=0)
    latest = table.groupby("epochs").mean().ffill().iloc[-1]
    of_budget = next(group for _, group in reversed(list(table.groupby("epochs"))) if group.notna().sum().min() > 2)
    residuals = (of_budget - of_budget.mean()).to_numpy() * np.sqrt(len(of_budget) / (len(of_budget) - 1))
    seconds = runs.groupby("variant")["seconds"].median()
    return Recorded(latest.to_numpy(), residuals[np.isfinite(residuals)], seconds[[*table, BASELINE]].to_numpy())


def settled(values: Array, seconds: Array, rule: Rule, uniform: int = 0) -> Array:
    """After how many seconds of one worker each variant is settled, infinity where it is not.

    Args:
        values: (variants, seeds), minus the baseline's.
        seconds: (variants + 1,) of an epoch, the baseline's last.
        rule: of the study.
        uniform: epochs to which every variant is trained with every seed; 0: blocks as `make settle` chooses them.
    """
    counts, spent, times = np.zeros(len(values), int), 0.0, np.full(len(values), np.inf)
    while True:
        seen = np.where(np.arange(values.shape[1]) < counts[:, None], values, np.nan)
        nothing = np.zeros(values.shape[1])
        p = stats.paired(seen, nothing, rule=rule).p
        pairs = stats.paired(seen, nothing, stats.confidence_levels(p), rule)
        sure = (stats.holm(p) < ALPHA) | rule.is_small(pairs.low, pairs.high)
        times[sure & np.isinf(times)] = spent
        if uniform:
            chosen = set(range(len(values))) if counts.max() < rule.most and np.isinf(times).any() else set()
        else:
            chosen = _chosen(counts, pairs, times, seconds, rule)
        if not chosen:
            return times
        is_new = max(counts[list(chosen)]) == counts.max()  # a seed that the baseline has not had
        spent += (uniform or EPOCHS) * float(sum(seconds[list(chosen)]) + is_new * seconds[-1])
        counts[list(chosen)] += 1


def _chosen(counts: NDArray[np.int_], pairs: stats.Paired, times: Array, seconds: Array, rule: Rule) -> set[int]:
    """The variants that the next block trains."""
    contrasts = [
        Contrast(str(index), ((str(index), EPOCHS), ("baseline", EPOCHS)), "", bool(np.isinf(time)),
                 ALPHA / len(counts), rule.margin, frozenset(range(n)), float(mean), float(sd))
        for index, (n, mean, sd, time) in enumerate(zip(counts, pairs.mean, pairs.sd, times, strict=True))
    ]  # fmt: skip

    def cost(point: tuple[str, int], seed: int) -> float:
        index = -1 if point[0] == "baseline" else int(point[0])
        done = counts.max() if index < 0 else counts[index]
        return 0.0 if seed < done else EPOCHS * float(seconds[index])

    block = next_block(steps(contrasts, rule, cost, IMAGES), rule, WORKERS, cost)
    return {int(point[0]) for point, _ in block if point[0] != "baseline"}
