"""Which variant is best: ranked by validation accuracy over the seeds, never by the test set, and never by luck."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from fmnist.analysis import stats
from fmnist.analysis.budgets import common_budget
from fmnist.analysis.published import RUNS, Published
from fmnist.analysis.rule import Rule
from fmnist.config import ModelConfig
from fmnist.network import parameter_count
from fmnist.schema import BASELINE, RANKING, REPORTED, VAL_ACCURACY, Comparison, Metric, Status, recall

ALPHA = 0.05  # of a family of comparisons
PAIR_COLUMNS = ("compute.precision", "data_digest", "recipe")  # the runs of a pair share these, unless varied
_RECALL = recall("")
_USUAL_IMAGES = {"validation_images": 6_000, "test_images": 10_000}
_ENDS = ("", "_low", "_high", "_sd")
_IDENTITY = ("rank", "variant", "found_by", "epochs", "seeds", "failed")
_COMPARED = ("pairs", "difference", "difference_low", "difference_high", "difference_sd", "bootstrap_low",
             "bootstrap_high", "p_value", "comparisons", "better_probability", "verdict")  # fmt: skip
_REST = ("worst_class", "worst_recall", "parameters", "train_seconds", "run_id", "status", "variant_signature",
         "changes")  # fmt: skip
_TEXTS = ("variant", "found_by", "verdict", "worst_class", "run_id", "status", "variant_signature", "changes")
_WHOLE = ("epochs", "seeds", "failed", "pairs", "comparisons", "parameters")


def columns(metric: str = VAL_ACCURACY.key) -> list[str]:
    """Names of a leaderboard's columns, in their order."""
    measured = [each.column + end for each in (RANKING[metric], *REPORTED) for end in _ENDS]
    return [*_IDENTITY, *measured, *_COMPARED, *_REST]


def leaderboard(
    runs: pd.DataFrame,
    baseline: str = BASELINE,
    metric: str = VAL_ACCURACY.key,
    *,
    by: str = "variant",
    pair_columns: Sequence[str] = PAIR_COLUMNS,
    rank_failed: bool = False,
    rule: Rule = stats.ONE_LOOK,
) -> pd.DataFrame:
    """A row for each variant at an epoch budget: those of the common budget first, then longer and shorter ones.

    Within a budget the best comes first, and what cannot be ranked last.

    Args:
        runs: a row a run, as `fmnist.tracking.load` returns them; accuracies and recalls in 0..1, times in seconds. Of
            a variant that searches used (`fmnist.analysis.searches`) only runs that it was not chosen by count.
        baseline: the variant that the others are compared with, at the same epochs and `pair_columns`.
        metric: what ranks, a key of `schema.RANKING`.
        by: `variant`, or `run` for a row a run.
        pair_columns: what the runs of a pair share.
        rank_failed: rank a variant of which seeds failed by those that did not, though these may be its lucky ones.
        rule: by which differences are judged.

    Returns:
        the columns of `columns(metric)`. rank: within a budget, the place of the best row that a row cannot be told
        from by `_ranks`. failed: seeds that failed and were not repeated with success. The metric and those of
        `schema.REPORTED` are means over the seeds with 95 % intervals: Student's t, or with 1 seed Wilson's for the
        number of images (none for a loss). difference is that from the baseline over pairs of runs with the same
        seed; p_value is the paired t test's, corrected by Holm over its family, so many comparisons of rows with the
        same epochs and `pair_columns`; difference_low and _high are corrected too (`stats.confidence_levels`), and
        exclude 0 where p_value < 0.05; all three hold however often one looks (`rule`), the bootstrap's interval not.
        better_probability: that of a run to beat one of the baseline's. verdict: a `Comparison`; trials of a search
        that no fresh seed confirms are neither ranked nor compared; a published row stands beside the article's
        baseline at the same epochs. run_id: of all runs of the row, by seed, with spaces between.

    Raises:
        KeyError: a column that every run has is missing.
    """
    measured = (RANKING[metric], *REPORTED)
    counted = _counted(runs, measured, by, pair_columns)
    rows = _grouped(counted)
    for each in measured:
        rows = rows.join(_means(counted, each, rows.index))
    rows = _compared(rows, counted, baseline, RANKING[metric], rule)
    return _finished(_in_order(rows, counted, RANKING[metric], rank_failed, rule), metric)


def ranking_metric(rows: pd.DataFrame) -> Metric:
    """The metric that ranks a leaderboard."""
    return next(metric for metric in RANKING.values() if metric.column in rows)


def measured(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a leaderboard that this project trained to their end."""
    return rows[rows[ranking_metric(rows).column].notna() & (rows["verdict"] != Comparison.PUBLISHED)]


# ---- Runs and rows --------------------------------------------------------------------------------------


def _counted(runs: pd.DataFrame, measured: Sequence[Metric], by: str, pair_columns: Sequence[str]) -> pd.DataFrame:
    """The runs that count, with `_ranked`, the `_row` of the leaderboard, and `_peers`: one baseline, one family."""
    finished, ranking = runs["status"] == Status.FINISHED, measured[0].key
    if "chosen" not in runs:  # no search was looked up (`analysis.searches.add_searches`)
        runs = runs.assign(found_by="", chosen=False)
    if "changes" not in runs:
        runs = runs.assign(changes=runs["variant"])
    frame = runs.assign(_plain=runs["variant"].astype(object), variant=_names(runs))
    for metric in measured:
        values = frame[metric.key].astype(float) if metric.key in frame else np.nan
        frame[metric.key] = pd.Series(values, frame.index, dtype=float)
    # An unfinished run's latest number is not that of its epoch budget.
    frame[ranking] = frame[ranking].where(finished & np.isfinite(frame[ranking]))
    frame["_ranked"] = finished & frame[ranking].notna()
    frame["_peers"] = frame["epochs"].astype(str)
    for name in (name for name in pair_columns if name in frame):
        frame["_peers"] += " " + frame[name].astype(str)
    frame["_failed"] = failures(frame)
    if by == "run":
        frame["variant"] = frame["variant"] + " · seed " + frame["seed"].astype(str)
        row = frame["run_id"].astype(str)
    else:
        row = frame["variant_signature"].astype(str) + " " + frame["epochs"].astype(str)
        frame["_failed"] = frame.groupby(row)["_failed"].transform("sum")
        row = row.where(frame["_ranked"], frame["run_id"])
    frame = frame.assign(_row=row).sort_values("start_time", kind="stable")
    again = frame["_ranked"] & frame.duplicated(["_row", "seed", "_ranked"], keep="last")
    fresh = set(frame.loc[frame["_ranked"] & ~frame["chosen"], "_row"])  # rows that do without what they were chosen by
    return frame[~again & ~(frame["chosen"] & frame["_row"].isin(fresh))].sort_values("seed", kind="stable")


def _grouped(counted: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard's rows, with what needs no statistics."""
    groups = counted.groupby("_row", sort=False)
    same = ["variant", "epochs", "_failed", "parameters", "status", "variant_signature", "found_by", "changes"]
    rows = groups[[*same, "_ranked", "_peers", "_plain"]].first().rename(columns={"_failed": "failed"})
    rows["seeds"], rows["train_seconds"] = groups["seed"].nunique(), groups["train_seconds"].mean()
    rows["run_id"], rows["_chosen"] = groups["run_id"].agg(" ".join), groups["chosen"].all()
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
        for column, before, size in (
            ("compute.precision", " (", None),
            ("data_digest", " (data ", 8),
            ("recipe", " (recipe ", None),
            ("data.validation_rows", " (validation_rows=", None),
        ):
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


def failures(runs: pd.DataFrame) -> pd.Series:
    """Whether each run is the first that failed of its signature, of which none has ended with a number."""
    finite = np.isfinite(runs[VAL_ACCURACY.key].astype(float))
    good = (runs["status"] == Status.FINISHED) & finite
    bad = ((runs["status"] == Status.FAILED) | (runs["status"] == Status.FINISHED)) & ~good
    bad &= ~runs["signature"].isin(runs.loc[good, "signature"])
    return bad & ~runs[bad].duplicated("signature").reindex(runs.index, fill_value=False)


# ---- Numbers --------------------------------------------------------------------------------------------


def _by_seed(counted: pd.DataFrame, index: str, metric: Metric) -> pd.DataFrame:
    """A metric of the runs that are ranked, a column a seed."""
    return counted[counted["_ranked"]].groupby([index, "seed"])[metric.key].last().unstack("seed")


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
        low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)  # a share cannot lie beyond, as Student's t does not know
    numbers = zip(_ENDS, (means.mean, low, high, means.sd), strict=True)
    return pd.DataFrame({metric.column + end: values for end, values in numbers}, rows)


def _compared(rows: pd.DataFrame, counted: pd.DataFrame, baseline: str, metric: Metric, rule: Rule) -> pd.DataFrame:
    """Each row against the baseline of its family, on the same seeds."""
    scores = _by_seed(counted, "_row", metric).reindex(rows.index)
    theirs = _by_seed(counted[counted["_plain"] == baseline], "_peers", metric)
    reference = theirs.reindex(index=rows["_peers"], columns=scores.columns).to_numpy(dtype=float)
    is_baseline = (rows["_plain"] == baseline).to_numpy() & rows["_ranked"].to_numpy()
    is_chosen = (rows["_chosen"] & rows["_ranked"]).to_numpy() & ~is_baseline
    values = np.where((is_baseline | is_chosen)[:, None], np.nan, scores.to_numpy(dtype=float))
    family = pd.Series(stats.paired(values, reference, rule=rule).p, rows.index).groupby(rows["_peers"])
    p, levels = family.transform(stats.holm), family.transform(stats.confidence_levels)
    pairs = stats.paired(values, reference, levels.to_numpy(), rule)
    lacking = rows["_peers"].isin(rows.loc[is_baseline & (rows["failed"] > 0), "_peers"]) | (rows["failed"] > 0)
    direction = np.where(metric.sign * pairs.mean > 0, Comparison.BETTER, Comparison.WORSE)
    verdict = np.where((p < ALPHA).to_numpy(), direction, Comparison.OPEN)
    if metric.unit == "share":
        verdict = np.where(rule.is_small(pairs.low, pairs.high), Comparison.NO_DIFFERENCE, verdict)
    verdict = np.where(pairs.n == 1, Comparison.ONE_SEED, np.where(lacking, Comparison.SEEDS_FAILED, verdict))
    verdict = np.where(pairs.n > 0, verdict, Comparison.NONE)
    verdict = np.where(is_baseline, Comparison.BASELINE, np.where(is_chosen, Comparison.CHOSEN, verdict))
    low, high = stats.bootstrap(values, reference)
    most = 1.0 if metric.unit == "share" else np.inf  # by which two can differ
    ends = np.clip((pairs.low, pairs.high), -most, most)
    return rows.assign(
        pairs=pairs.n,
        difference=pairs.mean,
        difference_low=ends[0],
        difference_high=ends[1],
        difference_sd=pairs.sd,
        bootstrap_low=low,
        bootstrap_high=high,
        p_value=p,
        comparisons=family.transform("count").where(p.notna(), 0),
        better_probability=stats.probability_better(metric.sign * values, metric.sign * reference),
        verdict=verdict,
    )


# ---- Order ----------------------------------------------------------------------------------------------


def _in_order(rows: pd.DataFrame, counted: pd.DataFrame, metric: Metric, rank_failed: bool, rule: Rule) -> pd.DataFrame:
    ranked = rows["_ranked"] & (rows["verdict"] != Comparison.CHOSEN) & (rank_failed | (rows["failed"] == 0))
    # Rounded: the order in which seeds were added up is no reason to rank one variant above another.
    score = -metric.sign * rows[metric.column].round(12)
    main = common_budget(rows[rows["_ranked"]])
    rows = rows.assign(_last=~rows["_ranked"], _other=rows["epochs"] != main, _budget=-rows["epochs"],
                       _late=~ranked, _unsure=rows["verdict"] == Comparison.CHOSEN, _score=score)  # fmt: skip
    budgets, ties = ["_last", "_unsure", "_other", "_budget", "_late"], ["parameters", "variant"]
    rows = rows.sort_values([*budgets, "_score", *ties], kind="stable")
    scores, ranked = metric.sign * _by_seed(counted, "_row", metric).reindex(rows.index), ranked.reindex(rows.index)
    ranks = [_ranks(budget, rule) for _, budget in scores[ranked].groupby(rows["epochs"][ranked])]
    rows["rank"] = pd.concat([*ranks, pd.Series(dtype=float)]).reindex(rows.index)
    return rows.sort_values([*budgets, "rank", "_score", *ties], kind="stable")


def _ranks(scores: pd.DataFrame, rule: Rule) -> pd.Series:
    """Ranks of the rows of a budget (rows, seeds), best first; who cannot be told from the first of one shares it.

    Told apart by paired t tests, corrected for all pairs of rows (Bonferroni), since the first of many is there for its
    luck too. Of a row with one seed nothing can be told: it shares its rank with those of the same number alone.
    """
    values = scores.to_numpy(dtype=float)
    several = (~np.isnan(values)).sum(axis=1) > 1
    comparisons = max(1, several.sum() * (several.sum() - 1) // 2)
    means = np.round(np.nanmean(values, axis=1), 12)
    leaders = np.asarray(np.searchsorted(-means, -means))  # the first that a row shares its rank with
    left = np.flatnonzero(several)
    while len(left):
        first, left = left[0], left[1:]
        leaders[first] = first
        pairs = stats.paired(values[left], values[first], rule=rule)
        # Of other seeds as well, the first may have the higher mean and yet lose on those that both have.
        below = (pairs.p * comparisons < ALPHA) & (pairs.mean < 0)
        leaders[left[~below]] = first
        left = left[below]
    return pd.Series(1 + np.searchsorted(np.sort(leaders), leaders), scores.index)


def _finished(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The leaderboard with its columns and types, and with what the article published."""
    is_articles = (rows["verdict"] == Comparison.BASELINE) & (rows["changes"] == BASELINE)
    own = set(rows.loc[is_articles, "epochs"])
    published = [_published(run) for run in RUNS if run.epochs in own]
    rows = pd.concat([rows, pd.DataFrame(published)]) if published else rows
    rows = rows.reset_index(drop=True).reindex(columns=columns(metric))
    rows = rows.fillna({"failed": 0, "comparisons": 0})  # of a published row
    types = {name: "object" if name in _TEXTS else "int64" if name in _WHOLE else "float64" for name in rows}
    return rows.astype({**types, "rank": "Int64"})


def _published(run: Published) -> dict[str, Any]:
    """A row of the article's own figures, its metrics under their columns' names."""
    row = {"variant": f"article · {run.epochs} epochs", "seeds": 1, "pairs": 0, "verdict": Comparison.PUBLISHED,
           "status": Comparison.PUBLISHED, "parameters": parameter_count(ModelConfig())}  # fmt: skip
    return {**dict.fromkeys(("found_by", "run_id", "variant_signature", "changes"), ""), **asdict(run), **row}
