"""The same runs on two kinds of processor: whether accuracies differ, and how far rounding alone leads a seed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from bench.recorded import H100, XEON
from bench.table import Row
from fmnist.analysis import stats
from fmnist.schema import BASELINE, TEST_ACCURACY, VAL_ACCURACY, Status
from fmnist.tracking.portable import RunFile
from fmnist.words import plural

RULERS = {"validation": VAL_ACCURACY.key, "test": TEST_ACCURACY.key}


def rows() -> Iterator[Row]:
    """Of each budget the mean difference; of the baseline how its seeds scatter from one processor to the other."""
    ours, theirs = accuracies(H100), accuracies(XEON)
    pairs = ours.join(theirs, lsuffix=" here", rsuffix=" there", how="inner")
    for epochs, of_budget in pairs.groupby(level="epochs"):
        for ruler in RULERS:
            here, there = (of_budget[f"{ruler} {place}"].to_numpy()[None] for place in ("here", "there"))
            result = stats.paired(here, there)
            mean, low, high = (f"{100 * value.item():+.2f}" for value in (result.mean, result.low, result.high))
            what = f"{plural(epochs, 'epoch')}, {ruler} accuracy: on an H100 minus on a Xeon"
            yield Row(
                what, f"{mean} points", f"95 % interval, {len(of_budget)} pairs", f"{low} to {high}", float("nan")
            )
    baseline = pairs.loc[BASELINE, 10]
    for ruler in RULERS:
        between = (baseline[f"{ruler} here"] - baseline[f"{ruler} there"]).std()
        seeds = np.sqrt(2) * theirs.loc[BASELINE, 10][ruler].std()
        what = f"deviation between a seed's two runs, baseline, 10 epochs, {ruler}"
        theirs_text = f"{100 * seeds:.2f} points"
        yield Row(what, f"{100 * between:.2f} points", "between two seeds of the Xeon", theirs_text, between / seeds)


def accuracies(file: Path) -> pd.DataFrame:
    """Of the finished runs of a file, by variant, epochs and seed."""
    stored = [run.facts.stored() for run in RunFile(file)]
    finished = [run for run in stored if run.status == Status.FINISHED]
    keys = [(run.tags["fmnist.variant"], int(run.params["epochs"]), int(run.params["seed"])) for run in finished]
    index = pd.MultiIndex.from_tuples(keys, names=["variant", "epochs", "seed"])
    table = {ruler: [run.metrics[key] for run in finished] for ruler, key in RULERS.items()}
    return pd.DataFrame(table, index=index).sort_index()
