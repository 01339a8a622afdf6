"""Which variant is best: ranked by mean validation accuracy over the seeds, never by the test set."""

import json
import shutil
import sys
import textwrap
from collections.abc import Callable

import numpy as np
import pandas as pd

from fmnist.config import suggest

NO_RUNS = "no runs yet: start some with 'make sweep'"
FORMATS = ("table", "csv", "md", "json")
_RECALL = "test/recall/"
_LEFT = ("variant", "worst class", "run", "status")  # the other columns are numbers
_COLUMNS = {
    "rank": "Int64",
    "variant": "object",
    "epochs": "int64",
    "seeds": "int64",
    "val_accuracy": "float64",
    "test_accuracy": "float64",
    "worst_class": "object",
    "worst_recall": "float64",
    "parameters": "int64",
    "train_seconds": "float64",
    "run_id": "object",
    "status": "object",
}


def leaderboard(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each variant at an epoch budget, best first; runs that cannot be ranked come last.

    Args:
        runs: a row a run, as `fmnist.tracking.load` returns them; accuracies and recalls in 0..1, times
            in seconds.

    Returns:
        rank (missing where nothing can be ranked), variant, epochs, seeds (their number), parameters, status,
        the means over the seeds val_accuracy, test_accuracy, worst_recall (of worst_class) and train_seconds,
        and run_id (of all runs of the row, by seed, with spaces between), in the order of `_COLUMNS`.

    Raises:
        KeyError: a column that every run has is missing.
    """
    if runs.empty:
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _COLUMNS.items()})
    counted = _counted(runs)
    groups = counted.groupby("_row", sort=False)
    board = groups.agg(
        variant=("variant", "first"),
        epochs=("epochs", "first"),
        seeds=("seed", "nunique"),
        val_accuracy=("val/accuracy", "mean"),
        test_accuracy=("test/accuracy", "mean"),
        parameters=("parameters", "first"),
        train_seconds=("train_seconds", "mean"),
        run_id=("run_id", " ".join),
        status=("status", "first"),
        _ranked=("_ranked", "first"),
    )
    classes = [str(name) for name in counted.columns if str(name).startswith(_RECALL)]
    board["worst_class"], board["worst_recall"] = _worst(groups[classes].mean())
    return _in_order(board)


def _counted(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that count, with `_ranked` and with the `_row` of the board that each belongs to."""
    finished = runs["status"] == "FINISHED"
    # An unfinished run's latest validation accuracy is not that of its epoch budget.
    accuracy = runs["val/accuracy"].astype(float).where(finished)
    ranked = finished & np.isfinite(accuracy)
    row = runs["variant_signature"].astype(str) + " " + runs["epochs"].astype(str)
    frame = runs.assign(variant=_names(runs), _ranked=ranked, _row=row.where(ranked, runs["run_id"]))
    frame["val/accuracy"] = accuracy
    if "test/accuracy" not in frame:
        frame["test/accuracy"] = np.nan
    frame = frame.sort_values("start_time", kind="stable")
    again = frame["_ranked"] & frame.duplicated(["_row", "seed"], keep="last")
    return frame[~again].sort_values("seed", kind="stable")


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


def _in_order(board: pd.DataFrame) -> pd.DataFrame:
    # Rounded: the order in which seeds were added up is no reason to rank one variant above another.
    keys = board.assign(_last=~board["_ranked"], _accuracy=-board["val_accuracy"].round(12))
    order = keys.sort_values(["_last", "_accuracy", "parameters", "variant", "epochs"], kind="stable").index
    board = board.loc[order].reset_index(drop=True)
    board["rank"] = pd.Series(np.arange(1, len(board) + 1), dtype="Int64").where(board["_ranked"])
    return board[list(_COLUMNS)].astype(_COLUMNS)


def render(board: pd.DataFrame, format: str, width: int | None = None, empty: str = NO_RUNS) -> str:
    """The leaderboard as text without a newline at its end.

    Args:
        board: what `leaderboard` returned, or rows of it.
        format: `table` for reading, `md` for GitHub, `csv` and `json` (records) in full precision.
        width: characters that a line of a table may have, columns that matter least are left out first; none:
            the terminal's where standard output is one, else any; 0: any.
        empty: what a table without rows says.

    Raises:
        ValueError: the format is unknown.
    """
    writers: dict[str, Callable[[], str]] = {
        "table": lambda: _table(_texts(board), _terminal() if width is None else width),
        "csv": lambda: board.to_csv(index=False).rstrip("\n"),
        "md": lambda: _markdown(_texts(board)),
        "json": lambda: _json(board),
    }
    if format not in writers:
        known = ", ".join(FORMATS)
        raise ValueError(f"format must be one of {known}, but got '{format}'{suggest(format, FORMATS)}")
    if board.empty and format in ("table", "md"):
        return empty
    return writers[format]()


def _terminal() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _json(board: pd.DataFrame) -> str:
    plain = board.astype(object).where(board.notna(), None)
    return json.dumps(plain.to_dict("records"), indent=1 if len(plain) else None)


def _texts(board: pd.DataFrame) -> pd.DataFrame:
    """Every cell as it is read, under short headings."""
    worst = board["worst_class"].astype(str) + board["worst_recall"].map(" {:.2%}".format)
    columns = {
        "rank": board["rank"].astype(object).map("{}".format),
        "variant": board["variant"].astype(str),
        "epochs": board["epochs"].map("{}".format),
        "seeds": board["seeds"].map("{}".format),
        "validation": board["val_accuracy"].map("{:.2%}".format),
        "test": board["test_accuracy"].map("{:.2%}".format),
        "worst class": worst,
        "parameters": board["parameters"].map("{:,}".format),
        "training": board["train_seconds"].map("{:,.1f} s".format),
        "run": board["run_id"].map(_short),
        "status": board["status"].astype(str),
    }
    missing = {
        "rank": "rank",
        "validation": "val_accuracy",
        "test": "test_accuracy",
        "worst class": "worst_recall",
        "training": "train_seconds",
    }
    texts = pd.DataFrame(columns).replace("%$", " %", regex=True)
    for heading, column in missing.items():
        texts[heading] = texts[heading].mask(board[column].isna(), "-")
    return texts


def _short(run_ids: str) -> str:
    first, *others = run_ids.split()
    return first[:8] + (f" +{len(others)}" if others else "")


def _markdown(texts: pd.DataFrame) -> str:
    from tabulate import tabulate

    cells = [[str(cell) for cell in row] for row in texts.to_numpy()]
    align = ["left" if heading in _LEFT else "right" for heading in texts.columns]
    return tabulate(cells, list(texts.columns), tablefmt="github", disable_numparse=True, colalign=align)


def _table(texts: pd.DataFrame, width: int) -> str:
    """An aligned table that keeps within the width as long as dropping columns and wrapping names helps."""
    droppable = ["run", "training", "parameters", "seeds"]
    if (texts["status"] == "FINISHED").all():
        droppable.insert(1, "status")
    while width and droppable and sum(_widths(texts).values()) > width:
        texts = texts.drop(columns=droppable.pop(0))
    widths = _widths(texts)
    excess = sum(widths.values()) - width
    if width and excess > 0:
        longest = max(len(word) for name in ["variant", *texts["variant"]] for word in name.split())
        widths["variant"] = max(widths["variant"] - excess, longest + 2)
    lines = [
        texts.columns.tolist(),
        ["-" * (size - 2) for size in widths.values()],
        *texts.to_numpy().tolist(),
    ]
    return "\n".join(_line(cells, widths) for cells in lines)


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
            f"  {cell:<{size - 2}}" if heading in _LEFT else f"{cell:>{size}}"
            for cell, (heading, size) in zip(line, widths.items(), strict=True)
        ).rstrip()
        for line in lines
    )
