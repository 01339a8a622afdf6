"""Which variant is best: ranked by validation accuracy over the seeds, never by the test set, and never by luck."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist.analysis import stats
from fmnist.analysis.published import RUNS, Published
from fmnist.config import ModelConfig
from fmnist.network import parameter_count
from fmnist.schema import BASELINE, RANKING, REPORTED, VAL_ACCURACY, Comparison, Metric, Status, recall

ALPHA = 0.05  # of a family of comparisons
PAIR_COLUMNS = ("compute.precision", "data_digest")  # the runs of a pair share these, unless their study varies one
_RECALL = recall("")
_USUAL_IMAGES = {"validation_images": 6_000, "test_images": 10_000}
_ENDS = ("", "_low", "_high", "_sd")
_IDENTITY = ("rank", "variant", "found_by", "epochs", "seeds")
_COMPARED = ("pairs", "difference", "difference_low", "difference_high", "bootstrap_low", "bootstrap_high", "p_value",
             "better_probability", "verdict")  # fmt: skip
_REST = ("worst_class", "worst_recall", "parameters", "train_seconds", "run_id", "status", "variant_signature",
         "changes")  # fmt: skip
_TEXTS = ("variant", "found_by", "verdict", "worst_class", "run_id", "status", "variant_signature", "changes")
_WHOLE = ("epochs", "seeds", "pairs", "parameters")


def columns(metric: str = VAL_ACCURACY.key) -> list[str]:
    """Names of a leaderboard's columns, in their order."""
    measured = [each.column + end for each in (RANKING[metric], *REPORTED) for end in _ENDS]
    return [*_IDENTITY, *measured, *_COMPARED, *_REST]


def leaderboard(
    runs: pd.DataFrame,
    baseline: str = BASELINE,
    metric: str = VAL_ACCURACY.key,
    by: str = "variant",
    pair_columns: Sequence[str] = PAIR_COLUMNS,
) -> pd.DataFrame:
    """A row for each variant at an epoch budget, best first; runs that cannot be ranked come last.

    Args:
        runs: a row a run, as `fmnist.tracking.load` returns them; accuracies and recalls in 0..1, times in seconds. Of
            a variant that searches used (`fmnist.analysis.searches`) only runs that it was not chosen by count.
        baseline: the variant that the others are compared with, at the same epochs and `pair_columns`.
        metric: what ranks, a key of `schema.RANKING`.
        by: `variant`, or `run` for a row a run.
        pair_columns: what the runs of a pair share.

    Returns:
        the columns of `columns(metric)`. Rows share a rank with the best of them that they cannot be told from. The
        metric and those of `schema.REPORTED` are means over the seeds with 95 % intervals: Student's t, or with 1 seed
        Wilson's for the number of images (none for a loss). difference is that from the baseline over pairs of runs
        with the same seed, with Student's and the bootstrap's interval; p_value is the paired t test's, corrected by
        Holm over the rows at the same epochs and `pair_columns`; better_probability that of a run to beat one of the
        baseline's. verdict: a `Comparison`; trials of a search that no fresh seed confirms are neither ranked nor
        compared, and come after the ranked rows; a published row stands beside the article's baseline at the same
        epochs. run_id: of all runs of the row, by seed, with spaces between.

    Raises:
        KeyError: a column that every run has is missing.
    """
    measured = (RANKING[metric], *REPORTED)
    counted = _counted(runs, measured, by, pair_columns)
    rows = _grouped(counted)
    for each in measured:
        rows = rows.join(_means(counted, each, rows.index))
    rows = _compared(rows, counted, baseline, RANKING[metric])
    return _finished(_in_order(rows, counted, RANKING[metric]), metric, baseline)


def ranking_metric(rows: pd.DataFrame) -> Metric:
    """The metric that ranks a leaderboard."""
    return next(metric for metric in RANKING.values() if metric.column in rows)


def measured(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a leaderboard that this project trained to their end."""
    return rows[rows[ranking_metric(rows).column].notna() & (rows["verdict"] != Comparison.PUBLISHED)]


# ---- Runs and rows --------------------------------------------------------------------------------------


def _counted(runs: pd.DataFrame, measured: Sequence[Metric], by: str, pair_columns: Sequence[str]) -> pd.DataFrame:
    """The runs that count, with `_ranked`, the `_row` of the leaderboard and the `_family` of comparisons of each."""
    finished, ranking = runs["status"] == Status.FINISHED, measured[0].key
    if "chosen" not in runs:  # no search was looked up (`analysis.searches.add_searches`)
        runs = runs.assign(found_by="", chosen=False, changes=runs["variant"])
    frame = runs.assign(_plain=runs["variant"].astype(object), variant=_names(runs))
    for metric in measured:
        values = frame[metric.key].astype(float) if metric.key in frame else np.nan
        frame[metric.key] = pd.Series(values, frame.index, dtype=float)
    # An unfinished run's latest number is not that of its epoch budget.
    frame[ranking] = frame[ranking].where(finished & np.isfinite(frame[ranking]))
    frame["_ranked"] = finished & frame[ranking].notna()
    frame["_family"] = frame["epochs"].astype(str)
    for name in (name for name in pair_columns if name in frame):
        frame["_family"] += " " + frame[name].astype(str)
    if by == "run":
        frame["variant"] = frame["variant"] + " · seed " + frame["seed"].astype(str)
        row = frame["run_id"].astype(str)
    else:
        row = frame["variant_signature"].astype(str) + " " + frame["epochs"].astype(str)
        row = row.where(frame["_ranked"], frame["run_id"])
    frame = frame.assign(_row=row).sort_values("start_time", kind="stable")
    again = frame["_ranked"] & frame.duplicated(["_row", "seed", "_ranked"], keep="last")
    fresh = set(frame.loc[frame["_ranked"] & ~frame["chosen"], "_row"])  # rows that do without what they were chosen by
    return frame[~again & ~(frame["chosen"] & frame["_row"].isin(fresh))].sort_values("seed", kind="stable")


def _grouped(counted: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard's rows, with what needs no statistics."""
    groups = counted.groupby("_row", sort=False)
    rows = groups.agg(
        variant=("variant", "first"),
        epochs=("epochs", "first"),
        seeds=("seed", "nunique"),
        parameters=("parameters", "first"),
        train_seconds=("train_seconds", "mean"),
        run_id=("run_id", " ".join),
        status=("status", "first"),
        variant_signature=("variant_signature", "first"),
        found_by=("found_by", "first"),
        changes=("changes", "first"),
        _chosen=("chosen", "all"),
        _ranked=("_ranked", "first"),
        _family=("_family", "first"),
        _plain=("_plain", "first"),
    )
    classes = [str(name) for name in counted.columns if str(name).startswith(_RECALL)]
    rows["worst_class"], rows["worst_recall"] = _worst(groups[classes].mean())
    return rows


def _names(runs: pd.DataFrame) -> pd.Series:
    """Variant names, with what tells them apart where one name stands for several signatures."""
    names = runs["variant"].astype(object)
    several = runs.groupby("variant")["variant_signature"].transform("nunique") > 1
    for _, same in runs[several].groupby("variant"):
        signatures = same["variant_signature"]
        extra = pd.Series("", index=same.index, dtype=object)
        for column, before, size in (("compute.precision", " (", None), ("data_digest", " (data ", 8)):
            if column in same and same[column].nunique() > 1:
                extra += before + same[column].astype(str).str[:size] + ")"
        ambiguous = signatures.groupby(extra).transform("nunique") > 1
        extra = extra.mask(ambiguous, extra + " (signature " + signatures.astype(str).str[:8] + ")")
        names = names.mask(names.index.isin(same.index), names + extra.reindex(names.index, fill_value=""))
    return names


def _worst(recalls: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Name and recall of each row's worst class, missing where no recall is known."""
    scored = recalls.notna().any(axis=1)
    if not scored.any():
        return pd.Series(None, recalls.index, dtype=object), pd.Series(np.nan, recalls.index, dtype=float)
    names = recalls[scored].idxmin(axis=1).astype(str).str.removeprefix(_RECALL).astype(object)
    return names.reindex(recalls.index), recalls.min(axis=1)


# ---- Numbers --------------------------------------------------------------------------------------------


def _by_seed(counted: pd.DataFrame, index: str, metric: Metric) -> pd.DataFrame:
    """A metric of the runs that are ranked, a column a seed."""
    ranked = counted[counted["_ranked"]]
    return ranked.pivot_table(index=index, columns="seed", values=metric.key, aggfunc="last", dropna=False)


def _means(counted: pd.DataFrame, metric: Metric, rows: pd.Index) -> pd.DataFrame:
    """Mean, interval and deviation of a metric by row; a single run's interval comes from the images' sampling."""
    means = stats.means(_by_seed(counted, "_row", metric).reindex(rows).to_numpy(dtype=float))
    low, high = means.low, means.high
    if metric.images:
        images = pd.Series(0, rows)
        if metric.images in counted:
            images = counted.groupby("_row")[metric.images].max().reindex(rows)
        images = images.where(images > 0, _USUAL_IMAGES[metric.images])
        single = means.n == 1
        sampled = stats.wilson(np.where(single, means.mean, 0.5), images.to_numpy())
        low, high = (np.where(single, end, student) for end, student in zip(sampled, (low, high), strict=True))
    numbers = zip(_ENDS, (means.mean, low, high, means.sd), strict=True)
    return pd.DataFrame({metric.column + end: values for end, values in numbers}, rows)


def _compared(rows: pd.DataFrame, counted: pd.DataFrame, baseline: str, metric: Metric) -> pd.DataFrame:
    """Each row against the baseline of its family, on the same seeds."""
    scores = _by_seed(counted, "_row", metric).reindex(rows.index)
    theirs = _by_seed(counted[counted["_plain"] == baseline], "_family", metric)
    reference = theirs.reindex(index=rows["_family"], columns=scores.columns).to_numpy(dtype=float)
    is_baseline = (rows["_plain"] == baseline).to_numpy() & rows["_ranked"].to_numpy()
    is_chosen = (rows["_chosen"] & rows["_ranked"]).to_numpy() & ~is_baseline
    values = np.where((is_baseline | is_chosen)[:, None], np.nan, scores.to_numpy(dtype=float))
    pairs = stats.paired(values, reference)
    p = pd.Series(pairs.p, rows.index).groupby(rows["_family"]).transform(stats.holm)
    direction = np.where(metric.sign * pairs.mean > 0, Comparison.BETTER, Comparison.WORSE)
    verdict = np.where((p < ALPHA).to_numpy(), direction, Comparison.UNDECIDED)
    verdict = np.where(pairs.n > 0, verdict, Comparison.NONE)
    verdict = np.where(is_baseline, Comparison.BASELINE, np.where(is_chosen, Comparison.CHOSEN, verdict))
    low, high = stats.bootstrap(values, reference)
    return rows.assign(
        pairs=pairs.n,
        difference=pairs.mean,
        difference_low=pairs.low,
        difference_high=pairs.high,
        bootstrap_low=low,
        bootstrap_high=high,
        p_value=p,
        better_probability=stats.probability_better(metric.sign * values, metric.sign * reference),
        verdict=verdict,
    )


# ---- Order ----------------------------------------------------------------------------------------------


def _in_order(rows: pd.DataFrame, counted: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    # Rounded: the order in which seeds were added up is no reason to rank one variant above another.
    is_chosen, score = rows["verdict"] == Comparison.CHOSEN, -metric.sign * rows[metric.column].round(12)
    keys = rows.assign(_late=is_chosen, _last=~rows["_ranked"], _score=score)
    order = ["_last", "_late", "_score", "parameters", "variant", "epochs"]
    rows = rows.loc[keys.sort_values(order, kind="stable").index]
    ranked = rows.index[rows["_ranked"] & (rows["verdict"] != Comparison.CHOSEN)]
    scores = _by_seed(counted, "_row", metric).reindex(ranked).to_numpy(dtype=float)
    rows["rank"] = pd.Series(_ranks(metric.sign * scores), ranked, dtype="Int64").reindex(rows.index)
    return rows


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ranks of rows (rows, seeds), best first: a row that cannot be told from the first of a rank shares it."""
    ranks = np.zeros(len(scores), dtype=np.int64)
    first = 0
    while first < len(scores):
        pairs = stats.paired(scores[first + 1 :], scores[first])
        # Of other seeds as well, the first may have the higher mean and yet lose on those that both have.
        below = (stats.holm(pairs.p) < ALPHA) & (pairs.mean < 0)
        after = first + 1 + (int(np.argmax(below)) if below.any() else len(below))
        ranks[first:after] = first + 1
        first = after
    return ranks


def _finished(rows: pd.DataFrame, metric: str, baseline: str) -> pd.DataFrame:
    """The leaderboard with its columns and types, and with what the article published."""
    own = set(rows.loc[rows["verdict"] == Comparison.BASELINE, "epochs"]) if baseline == BASELINE else set()
    published = [_published(run) for run in RUNS if run.epochs in own]
    rows = pd.concat([rows, pd.DataFrame(published)]) if published else rows
    rows = rows.reset_index(drop=True).reindex(columns=columns(metric))
    types = {name: "object" if name in _TEXTS else "int64" if name in _WHOLE else "float64" for name in rows}
    return rows.astype({**types, "rank": "Int64"})


def _published(run: Published) -> dict[str, Any]:
    """A row of the article's own figures, its metrics under their columns' names."""
    row = {"variant": f"article · {run.epochs} epochs", "seeds": 1, "pairs": 0, "verdict": Comparison.PUBLISHED,
           "status": Comparison.PUBLISHED, "parameters": parameter_count(ModelConfig())}  # fmt: skip
    return {**dict.fromkeys(("found_by", "run_id", "variant_signature", "changes"), ""), **asdict(run), **row}
