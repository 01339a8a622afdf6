"""Which variant is best: ranked by validation accuracy over the seeds, never by the test set, and never by luck."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist.analysis import stats
from fmnist.analysis.published import RUNS

ALPHA = 0.05  # of a family of comparisons
METRICS = {"val/accuracy": 1, "val/loss": -1}  # what may rank, and whether more is better
PUBLISHED, BASELINE = "published", "baseline"
ALIKE = ("compute.precision", "data_digest")  # runs that differ in these are no pairs, unless a study varies one
BETTER, WORSE, OPEN, CHOSEN = "better", "worse", "not distinguishable", "chosen by this score"
_RECALL = "test/recall/"
_IMAGES = {"val/accuracy": ("validation_images", 6_000), "test/accuracy": ("test_images", 10_000)}
_TEXTS = ("variant", "found_by", "verdict", "worst_class", "run_id", "status", "variant_signature", "changes")
_WHOLE = ("epochs", "seeds", "pairs", "parameters")


def columns(metric: str = "val/accuracy") -> list[str]:
    """Names of a leaderboard's columns, in their order."""
    measured = [f"{name}{end}" for name in (_column(metric), "test_accuracy") for end in ("", "_low", "_high", "_sd")]
    compared = [
        "pairs",
        "difference",
        "difference_low",
        "difference_high",
        "bootstrap_low",
        "bootstrap_high",
        "p_value",
    ]
    rest = ["worst_class", "worst_recall", "parameters", "train_seconds", "run_id", "status", "variant_signature"]
    judged = [*measured, *compared, "better_probability", "verdict"]
    return ["rank", "variant", "found_by", "epochs", "seeds", *judged, *rest, "changes"]


def leaderboard(
    runs: pd.DataFrame,
    baseline: str = BASELINE,
    metric: str = "val/accuracy",
    by: str = "variant",
    alike: Sequence[str] = ALIKE,
) -> pd.DataFrame:
    """A row for each variant at an epoch budget, best first; runs that cannot be ranked come last.

    Args:
        runs: a row a run, as `fmnist.tracking.load` returns them; accuracies and recalls in 0..1, times in seconds. Of
            a variant that searches found (`fmnist.analysis.searched.marked`) only runs that it was not chosen by count.
        baseline: the variant that the others are compared with, at the same epochs and what `alike` names.
        metric: what ranks, one of `METRICS`.
        by: `variant`, or `run` for a row a run.
        alike: columns that the runs of a pair share.

    Returns:
        the columns of `columns(metric)`. Rows share a rank with the best of them that they cannot be told from. The
        metric and test_accuracy are means over the seeds with 95 % intervals: Student's t, or with 1 seed Wilson's for
        the number of images (none for a loss). difference is that from the baseline over pairs of runs with the same
        seed, with Student's and the bootstrap's interval; p_value is the paired t test's, corrected by Holm over the
        rows at the same epochs and what `alike` names; better_probability that of a run to beat one of the baseline's.
        verdict: better, worse, not distinguishable, baseline, published (a row of the article, beside the article's
        baseline at the same epochs), chosen by this score (trials of a search that no fresh seed confirms: they are
        neither ranked nor compared, and come after the ranked rows), or empty without a baseline. run_id: of all runs
        of the row, by seed, with spaces between.

    Raises:
        KeyError: a column that every run has is missing.
    """
    counted = _counted(runs, metric, by, alike)
    board = _grouped(counted)
    for name in (metric, "test/accuracy"):
        board = board.join(_measured(counted, name, board.index))
    board = _compared(board, counted, baseline, metric)
    return _finished(_in_order(board, counted, metric), metric, baseline)


def measured(board: pd.DataFrame) -> pd.DataFrame:
    """The rows of a leaderboard that this project trained to their end."""
    metric = next(column for name in METRICS if (column := _column(name)) in board)
    return board[board[metric].notna() & (board["verdict"] != PUBLISHED)]


def _column(metric: str) -> str:
    return metric.replace("/", "_")


# ---- Runs and rows --------------------------------------------------------------------------------------


def _counted(runs: pd.DataFrame, metric: str, by: str, alike: Sequence[str]) -> pd.DataFrame:
    """The runs that count, with `_ranked`, the `_row` of the board and the `_family` of comparisons of each."""
    finished = runs["status"] == "FINISHED"
    frame = _searched(runs).assign(_plain=runs["variant"].astype(object), variant=_names(runs))
    for name in (metric, "test/accuracy"):
        known = frame[name].astype(float) if name in frame else np.nan
        frame[name] = pd.Series(known, frame.index, dtype=float)
    # An unfinished run's latest number is not that of its epoch budget.
    frame[metric] = frame[metric].where(finished & np.isfinite(frame[metric]))
    frame["_ranked"] = finished & frame[metric].notna()
    frame["_family"] = frame["epochs"].astype(str)
    for name in (name for name in alike if name in frame):
        frame["_family"] += " " + frame[name].astype(str)
    if by == "run":
        frame["variant"] = frame["variant"] + " · seed " + frame["seed"].astype(str)
        row = frame["run_id"].astype(str)
    else:
        row = (frame["variant_signature"].astype(str) + " " + frame["epochs"].astype(str)).where(
            frame["_ranked"], frame["run_id"]
        )
    frame["_row"] = row
    frame = frame.sort_values("start_time", kind="stable")
    again = frame["_ranked"] & frame.duplicated(["_row", "seed", "_ranked"], keep="last")
    fresh = set(frame.loc[frame["_ranked"] & ~frame["chosen"], "_row"])  # rows that do without what they were chosen by
    return frame[~again & ~(frame["chosen"] & frame["_row"].isin(fresh))].sort_values("seed", kind="stable")


def _grouped(counted: pd.DataFrame) -> pd.DataFrame:
    """The board's rows, with what needs no statistics."""
    groups = counted.groupby("_row", sort=False)
    board = groups.agg(
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
    board["worst_class"], board["worst_recall"] = _worst(groups[classes].mean())
    return board


def _searched(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with the columns that `fmnist.analysis.searched.marked` adds; without searches they say nothing."""
    return runs if "chosen" in runs else runs.assign(found_by="", chosen=False, changes=runs["variant"])


def _names(runs: pd.DataFrame) -> pd.Series:
    """Variant names, with what tells them apart where one name stands for several signatures."""
    names = runs["variant"].astype(object)
    several = runs.groupby("variant")["variant_signature"].transform("nunique") > 1
    for _, same in runs[several].groupby("variant"):
        signed = same["variant_signature"]
        extra = pd.Series("", index=same.index, dtype=object)
        if _differs(same, "compute.precision"):
            extra += " (" + same["compute.precision"].astype(str) + ")"
        if _differs(same, "data_digest"):
            extra += " (data " + same["data_digest"].astype(str).str[:8] + ")"
        alike = signed.groupby(extra).transform("nunique") > 1
        extra = extra.mask(alike, extra + " (signature " + signed.astype(str).str[:8] + ")")
        names = names.mask(names.index.isin(same.index), names + extra.reindex(names.index, fill_value=""))
    return names


def _differs(runs: pd.DataFrame, column: str) -> bool:
    return column in runs and runs[column].nunique() > 1


def _worst(recalls: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Name and recall of each row's worst class, missing where no recall is known."""
    known = recalls.notna().any(axis=1)
    if not known.any():
        return pd.Series(None, recalls.index, dtype=object), pd.Series(np.nan, recalls.index, dtype=float)
    names = recalls[known].idxmin(axis=1).astype(str).str.removeprefix(_RECALL).astype(object)
    return names.reindex(recalls.index), recalls.min(axis=1)


# ---- Numbers --------------------------------------------------------------------------------------------


def _by_seed(counted: pd.DataFrame, index: str, metric: str) -> pd.DataFrame:
    """A metric of the runs that are ranked, a column a seed."""
    ranked = counted[counted["_ranked"]]
    return ranked.pivot_table(index=index, columns="seed", values=metric, aggfunc="last", dropna=False)


def _measured(counted: pd.DataFrame, metric: str, rows: pd.Index) -> pd.DataFrame:
    """Mean, interval and deviation of a metric by row; a single run's interval comes from the images' sampling."""
    found = stats.means(_by_seed(counted, "_row", metric).reindex(rows).to_numpy(dtype=float))
    low, high = found.low, found.high
    if metric in _IMAGES:
        column, usual = _IMAGES[metric]
        images = counted.groupby("_row")[column].max().reindex(rows) if column in counted else pd.Series(0, rows)
        single = found.n == 1
        sampled = stats.wilson(np.where(single, found.mean, 0.5), images.where(images > 0, usual).to_numpy())
        low, high = (np.where(single, end, known) for end, known in zip(sampled, (low, high), strict=True))
    name = _column(metric)
    return pd.DataFrame({name: found.mean, f"{name}_low": low, f"{name}_high": high, f"{name}_sd": found.sd}, rows)


def _compared(board: pd.DataFrame, counted: pd.DataFrame, baseline: str, metric: str) -> pd.DataFrame:
    """Each row against the baseline of its family, on the same seeds."""
    sign = METRICS[metric]
    scores = _by_seed(counted, "_row", metric).reindex(board.index)
    theirs = _by_seed(counted[counted["_plain"] == baseline], "_family", metric)
    reference = theirs.reindex(index=board["_family"], columns=scores.columns).to_numpy(dtype=float)
    values = scores.to_numpy(dtype=float)
    is_baseline = (board["_plain"] == baseline).to_numpy() & board["_ranked"].to_numpy()
    chosen = (board["_chosen"] & board["_ranked"]).to_numpy() & ~is_baseline
    values = np.where((is_baseline | chosen)[:, None], np.nan, values)
    found = stats.paired(values, reference)
    p = pd.Series(found.p, board.index).groupby(board["_family"]).transform(stats.holm)
    clear = (p < ALPHA).to_numpy()
    verdict = np.where(clear, np.where(sign * found.mean > 0, BETTER, WORSE), OPEN)
    verdict = np.where(found.n > 0, verdict, "")
    verdict = np.where(is_baseline, BASELINE, np.where(chosen, CHOSEN, verdict))
    low, high = stats.bootstrap(values, reference)
    return board.assign(
        pairs=found.n,
        difference=found.mean,
        difference_low=found.low,
        difference_high=found.high,
        bootstrap_low=low,
        bootstrap_high=high,
        p_value=p,
        better_probability=stats.probability_better(sign * values, sign * reference),
        verdict=verdict,
    )


# ---- Order ----------------------------------------------------------------------------------------------


def _in_order(board: pd.DataFrame, counted: pd.DataFrame, metric: str) -> pd.DataFrame:
    sign, name = METRICS[metric], _column(metric)
    # Rounded: the order in which seeds were added up is no reason to rank one variant above another.
    keys = board.assign(_late=board["verdict"] == CHOSEN, _last=~board["_ranked"], _score=-sign * board[name].round(12))
    order = ["_last", "_late", "_score", "parameters", "variant", "epochs"]
    board = board.loc[keys.sort_values(order, kind="stable").index]
    ranked = board.index[board["_ranked"] & (board["verdict"] != CHOSEN)]
    scores = _by_seed(counted, "_row", metric).reindex(ranked).to_numpy(dtype=float)
    board["rank"] = pd.Series(_ranks(sign * scores), ranked, dtype="Int64").reindex(board.index)
    return board


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ranks of rows (rows, seeds), best first: a row that cannot be told from the first of a rank shares it."""
    ranks = np.zeros(len(scores), dtype=np.int64)
    first = 0
    while first < len(scores):
        found = stats.paired(scores[first + 1 :], scores[first])
        # Of other seeds as well, the first may have the higher mean and yet lose on those that both have.
        below = (stats.holm(found.p) < ALPHA) & (found.mean < 0)
        after = first + 1 + (int(np.argmax(below)) if below.any() else len(below))
        ranks[first:after] = first + 1
        first = after
    return ranks


def _finished(board: pd.DataFrame, metric: str, baseline: str) -> pd.DataFrame:
    """The board with its columns and types, and with what the article published."""
    ours = board.loc[board["verdict"] == BASELINE, "epochs"] if baseline == BASELINE else pd.Series(dtype=int)
    said = [_said(run, metric) for run in RUNS if run.epochs in set(ours)]
    board = pd.concat([board, pd.DataFrame(said)], ignore_index=True) if said else board.reset_index(drop=True)
    board = board.reindex(columns=columns(metric))
    types = {name: "object" if name in _TEXTS else "int64" if name in _WHOLE else "float64" for name in board}
    return board.astype({**types, "rank": "Int64"})


def _said(run: Any, metric: str) -> dict[str, Any]:
    said = {
        "variant": f"article · {run.epochs} epochs",
        "found_by": "",
        "epochs": run.epochs,
        "seeds": 1,
        "pairs": 0,
        "val_accuracy": run.val_accuracy,
        "test_accuracy": run.test_accuracy,
        "verdict": PUBLISHED,
        "worst_class": run.worst_class,
        "worst_recall": run.worst_recall,
        "parameters": 940_170,
        "run_id": "",
        "status": PUBLISHED,
        "variant_signature": "",
        "changes": "",
    }
    return {key: value for key, value in said.items() if key in columns(metric)}
