"""The leaderboard as text: tables to read, data to compute with."""

import textwrap

import pandas as pd

from fmnist.advice import command_for
from fmnist.analysis.leaderboard import ranking_metric
from fmnist.analysis.searches import is_named_by_search
from fmnist.report import formats
from fmnist.report.formats import WORDS
from fmnist.schema import TEST_ACCURACY, VAL_ACCURACY, Comparison, Metric, Status
from fmnist.words import DASH, duration, p_value, percent

_DISPENSABLE = ("run", "training", "parameters", "P(better)", "p", "worst class", "seeds", "test")  # in this order


def render(rows: pd.DataFrame, format: str, width: int | None = None, empty: str | None = None) -> str:
    """The leaderboard as text without a newline at its end.

    Args:
        rows: what `leaderboard` returned, or some of it.
        format: one of `report.formats.FORMATS`.
        width: characters that a line of a table may have, columns that matter least are left out first; none:
            the terminal's where standard output is one, else any; 0: any.
        empty: what a table without rows says; none: how to start some runs.

    Raises:
        ValueError: the format is unknown.
    """
    formats.check(format)
    if format in formats.DATA:
        return formats.data(rows, format)
    if rows.empty:
        return empty or f"no runs yet: start some with '{command_for('sweep')}'"
    if format != "table":
        return formats.table(texts(rows), format)
    return _aligned(texts(rows).map(formats.HARMLESS[format]), formats.terminal_width() if width is None else width)


def texts(rows: pd.DataFrame) -> pd.DataFrame:
    """Every cell as it is read, under short headings."""
    metric = ranking_metric(rows)
    ends = zip(rows["difference"], rows["difference_low"], rows["difference_high"], strict=True)
    worst = [
        f"{name} {percent(share)}" if isinstance(name, str) else DASH
        for name, share in zip(rows["worst_class"], rows["worst_recall"], strict=True)
    ]
    texts = {
        "rank": rows["rank"].astype(object).map(lambda rank: DASH if rank is pd.NA else f"{rank}"),
        "variant": [_name(*names) for names in zip(rows["variant"], rows["found_by"], strict=True)],
        "epochs": rows["epochs"].map("{}".format),
        "seeds": rows["seeds"].map("{}".format),
        "validation" if metric == VAL_ACCURACY else metric.key: _numbers(rows, metric),
        "test": _numbers(rows, TEST_ACCURACY),
        "difference": [formats.difference(*each, metric.unit) for each in ends],
        "p": rows["p_value"].map(p_value),
        "P(better)": rows["better_probability"].map("{:.2f}".format).replace("nan", DASH),
        "verdict": rows["verdict"].replace("", DASH),
        "worst class": worst,
        "parameters": rows["parameters"].map("{:,}".format),
        "training": rows["train_seconds"].map(duration),
        "run": rows["run_id"].map(_short_ids),
        "status": rows["status"].astype(str),
    }
    return pd.DataFrame(texts)


def _name(variant: str, found_by: str) -> str:
    """The variant with what found it: `hyperband-1f0c9a/7 (one of 23 trials)`."""
    if is_named_by_search(variant, found_by):
        found_by = found_by.removeprefix(f"search {variant.rpartition('/')[0]}, ")
    return f"{variant} ({found_by})" if found_by else variant


def _numbers(rows: pd.DataFrame, metric: Metric) -> list[str]:
    values, low, high = (rows[f"{metric.column}{end}"] for end in ("", "_low", "_high"))
    return [formats.number(*each, metric.unit) for each in zip(values, low, high, strict=True)]


def _short_ids(run_ids: str) -> str:
    first, *others = run_ids.split() or [DASH]
    return first[:8] + (f" +{len(others)}" if others else "")


def _aligned(texts: pd.DataFrame, width: int) -> str:
    """An aligned table that keeps within the width as long as dropping columns and wrapping names helps."""
    if texts["status"].isin([Status.FINISHED, Comparison.PUBLISHED]).all():
        texts = texts.drop(columns="status")
    compared = ["difference", "p", "P(better)", *(["verdict"] if (texts["difference"] == DASH).all() else [])]
    texts = texts.drop(columns=[name for name in compared if name == "verdict" or (texts[name] == DASH).all()])
    dropped: list[str] = []
    for column in _DISPENSABLE:
        if width and column in texts and sum(_widths(texts).values()) > width:
            texts, dropped = texts.drop(columns=column), [column, *dropped]
    widths = _widths(texts)
    excess = sum(widths.values()) - width
    if width and excess > 0:
        longest = max(len(word) for name in ["variant", *texts["variant"]] for word in name.split())
        widths["variant"] = max(widths["variant"] - excess, longest + 2)
    lines = [texts.columns.tolist(), ["-" * (size - 2) for size in widths.values()], *texts.to_numpy().tolist()]
    note = f"no room for {', '.join(dropped)}: --format csv has all columns"
    missing = [formats.filled(note, "  ", "  ", width)] if dropped else []
    return "\n".join([*(_line(cells, widths) for cells in lines), *missing])


def _widths(texts: pd.DataFrame) -> dict[str, int]:
    """Characters of each column with the two blanks before it."""
    return {str(heading): 2 + max(len(str(heading)), *map(len, cells)) for heading, cells in texts.items()}


def _line(cells: list[str], widths: dict[str, int]) -> str:
    """A row of a table, on more than one line where the variant has to be wrapped."""
    folded = textwrap.wrap(cells[1], widths["variant"] - 2, break_long_words=False, break_on_hyphens=False) or [""]
    blank = [""] * len(cells)
    lines = [[cells[0], folded[0], *cells[2:]], *([blank[0], part, *blank[2:]] for part in folded[1:])]
    return "\n".join(
        "".join(
            f"  {cell:<{size - 2}}" if heading in WORDS else f"{cell:>{size}}"
            for cell, (heading, size) in zip(line, widths.items(), strict=True)
        ).rstrip()
        for line in lines
    )
