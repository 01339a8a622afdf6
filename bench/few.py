"""What one seed, or three and a t test, would have said of the article's variants: all choices of recorded seeds.

The article trained once; many papers train three times and test each difference at 5 %. The recorded runs tell how
often that says something else than all of their seeds do.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.ruler import EPOCHS, recorded_differences
from bench.table import Row
from fmnist.analysis import stats
from fmnist.analysis.leaderboard import ALPHA
from fmnist.analysis.rule import Rule
from fmnist.config import StudyConfig

FEW, STUDIES = 3, 2_000
Array = NDArray[np.float64]


def rows() -> Iterator[Row]:
    """Each variant with more than three seeds, then studies in which no variant differs."""
    differences = recorded_differences()["accuracy"]
    for variant, of_variant in differences.groupby(level=0):
        if len(of_variant) > FEW:
            yield from _of_variant(str(variant), of_variant.to_numpy())
    yield _of_studies(differences.index.get_level_values(0).nunique())


def _of_variant(variant: str, values: Array) -> Iterator[Row]:
    """How often its sign is another with fewer seeds, and how often a t test finds that it is better or worse."""
    mean = values.mean()
    chosen = np.array([values[list(which)] for which in combinations(range(len(values)), FEW)])
    found = stats.paired(chosen, np.zeros(FEW)).p < ALPHA
    wrong = np.sign(chosen.mean(axis=1)) != np.sign(mean)
    against = f"mean of {len(values)} seeds, {EPOCHS} epochs", f"{100 * mean:+.2f} points"
    alone = np.sign(values) != np.sign(mean)
    yield Row(f"{variant}, one seed: of the other sign", f"{alone.sum()} of {len(values)}", *against, float("nan"))
    texts = f"{found.sum()} of {len(found)}; of the other sign {(found & wrong).sum()}"
    yield Row(f"{variant}, {FEW} seeds: a t test finds a difference", texts, *against, float("nan"))


def _of_studies(variants: int) -> Row:
    """How many studies of equal variants, each beside the same baseline, find one that differs."""
    scores = np.random.default_rng(0).standard_normal((STUDIES, variants + 1, FEW))
    p = [stats.paired(each[1:], each[0]).p for each in scores]
    rule = Rule(StudyConfig().most_seeds)
    ours = np.mean([(stats.holm(rule.valid(each, FEW)) < ALPHA).any() for each in p])
    theirs = np.mean([(each < ALPHA).any() for each in p])
    what = f"studies of {variants} variants that differ in nothing, {FEW} seeds: our rule finds a difference"
    against = f"a t test each, {STUDIES:,} studies"
    return Row(what, f"{100 * ours:.1f} %", against, f"{100 * theirs:.1f} %", float(ours / theirs))
