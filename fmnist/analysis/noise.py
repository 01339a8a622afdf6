"""Where the scatter from seed to seed comes from: a source of chance at a time, with the others held."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

from fmnist.schema import TEST_ACCURACY, VAL_ACCURACY, Metric

GROUP = "noise."  # of the options that give a source its own seed
IMAGES = "images"
_SCORES = (VAL_ACCURACY, TEST_ACCURACY)
COLUMNS = ("source", "runs", "val_sd", "val_low", "val_high", "test_sd", "test_low", "test_high")


def ruler(accuracy: float, images: int) -> float:
    """The standard deviation of an accuracy that so many images leave to chance by themselves (binomial)."""
    return float(np.sqrt(accuracy * (1 - accuracy) / images))


def by_source(runs: pd.DataFrame, levels: Mapping[str, Mapping[str, str]], baseline: frozenset[str]) -> pd.DataFrame:
    """The standard deviation of accuracy that each source brings by itself, with 95 % intervals (chi-square).

    As Bouthillier and others 2021 ("Accounting for Variance in Machine Learning Benchmarks") measure it.

    Args:
        runs: finished runs of one budget, a row a run.
        levels: of each variant, the axes that it varies, of which those of `noise` count, and the level.
        baseline: signatures of the baseline, a level of every source.

    Returns:
        a row a source (and `all`, the baseline over its seeds) with two runs or more, the largest first: runs, and
        deviation, low and high of validation and of test accuracy, in shares; last `images`, without runs: what those
        that score leave to chance by themselves.
    """
    base = runs[runs["variant_signature"].isin(list(baseline))]
    first = runs[runs["seed"] == base["seed"].min()]
    axes = {signature: next(iter(own)) for signature, own in levels.items() if len(own) == 1}
    groups = {"all": base}
    for axis in dict.fromkeys(axis for axis in axes.values() if axis.startswith(GROUP)):
        own = [signature for signature, of in axes.items() if of == axis] + list(baseline)
        groups[axis.removeprefix(GROUP)] = first[first["variant_signature"].isin(own)]
    rows: list[tuple[Any, ...]] = []
    for source, group in groups.items():
        if len(group) > 1:
            rows.append((source, len(group), *(number for metric in _SCORES for number in _deviation(group, metric))))
    rows.sort(key=lambda row: row[2], reverse=True)
    if rows:
        alone = (ruler(float(base[metric.key].mean()), int(base[metric.images].max())) for metric in _SCORES)
        rows.append((IMAGES, 0, *(number for sd in alone for number in (sd, np.nan, np.nan))))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _deviation(group: pd.DataFrame, metric: Metric) -> tuple[float, float, float]:
    values = group[metric.key].astype(float).dropna()
    if len(values) < 2:
        return (float("nan"),) * 3
    sd, degrees = float(values.std()), len(values) - 1
    low, high = (sd * float(np.sqrt(degrees / chi2.ppf(share, degrees))) for share in (0.975, 0.025))
    return sd, low, high
