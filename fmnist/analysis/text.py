"""The leaderboard as text: tables to read, data to compute with."""

import json
import shutil
import sys
import textwrap
from collections.abc import Callable

import pandas as pd

from fmnist.analysis import readable
from fmnist.analysis.leaderboard import METRICS
from fmnist.config import suggest

NO_RUNS = "no runs yet: start some with 'make sweep'"
FORMATS = ("table", "csv", "md", "json", "latex")
_LEFT = ("variant", "verdict", "worst class", "run", "status")  # the other columns are numbers


def render(board: pd.DataFrame, format: str, width: int | None = None, empty: str = NO_RUNS) -> str:
    """The leaderboard as text without a newline at its end.

    Args:
        board: what `leaderboard` returned, or rows of it.
        format: `table` for reading, `md` for GitHub, `latex` for a paper (needs booktabs), `csv` and `json` (records)
            in full precision.
        width: characters that a line of a table may have, columns that matter least are left out first; none:
            the terminal's where standard output is one, else any; 0: any.
        empty: what a table without rows says.

    Raises:
        ValueError: the format is unknown.
    """
    writers: dict[str, Callable[[], str]] = {
        "table": lambda: _table(_texts(board), _terminal() if width is None else width),
        "csv": lambda: board.to_csv(index=False).rstrip("\n"),
        "md": lambda: _tabulated(_texts(board), "github"),
        "latex": lambda: _tabulated(_texts(board), "latex_booktabs"),
        "json": lambda: _json(board),
    }
    if format not in writers:
        known = ", ".join(FORMATS)
        raise ValueError(f"format must be one of {known}, but got '{format}'{suggest(format, FORMATS)}")
    if board.empty and format not in ("csv", "json"):
        return empty
    return writers[format]()


def _terminal() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _json(board: pd.DataFrame) -> str:
    plain = board.astype(object).where(board.notna(), None)
    return json.dumps(plain.to_dict("records"), indent=1 if len(plain) else None)


# ---- Cells ----------------------------------------------------------------------------------------------


def _texts(board: pd.DataFrame) -> pd.DataFrame:
    """Every cell as it is read, under short headings."""
    metric = next(name for name in METRICS if name.replace("/", "_") in board)
    worst = [
        f"{name} {readable.percent(share)}" if isinstance(name, str) else readable.DASH
        for name, share in zip(board["worst_class"], board["worst_recall"], strict=True)
    ]
    texts = {
        "rank": board["rank"].astype(object).map(lambda rank: readable.DASH if rank is pd.NA else f"{rank}"),
        "variant": board["variant"].astype(str),
        "epochs": board["epochs"].map("{}".format),
        "seeds": board["seeds"].map("{}".format),
        "validation" if metric == "val/accuracy" else metric: _measured(board, metric),
        "test": _measured(board, "test/accuracy"),
        "difference": _difference(board, metric),
        "p": board["p_value"].map(readable.p_value),
        "P(better)": board["better_probability"].map("{:.2f}".format).replace("nan", readable.DASH),
        "verdict": board["verdict"].replace("", readable.DASH),
        "worst class": worst,
        "parameters": board["parameters"].map("{:,}".format),
        "training": board["train_seconds"].map(readable.duration),
        "run": board["run_id"].map(_short),
        "status": board["status"].astype(str),
    }
    return pd.DataFrame(texts).replace(readable.NARROW, " ", regex=True)


def _measured(board: pd.DataFrame, metric: str) -> list[str]:
    name = metric.replace("/", "_")
    scale, digits = (1, 4) if metric.endswith("loss") else (100, 2)
    return [
        readable.DASH
        if pd.isna(value)
        else f"{scale * value:.{digits}f}"
        + ("" if pd.isna(low) else f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]")
        for value, low, high in zip(board[name], board[f"{name}_low"], board[f"{name}_high"], strict=True)
    ]


def _difference(board: pd.DataFrame, metric: str) -> list[str]:
    scale, digits = (1, 4) if metric.endswith("loss") else (100, 2)
    return [
        readable.DASH
        if pd.isna(value)
        else f"{scale * value:+.{digits}f}"
        + ("" if pd.isna(low) else f" [{scale * low:+.{digits}f}, {scale * high:+.{digits}f}]")
        for value, low, high in zip(
            board["difference"], board["difference_low"], board["difference_high"], strict=True
        )
    ]


def _short(run_ids: str) -> str:
    first, *others = run_ids.split() or [readable.DASH]
    return first[:8] + (f" +{len(others)}" if others else "")


# ---- Tables ---------------------------------------------------------------------------------------------


def _tabulated(texts: pd.DataFrame, form: str) -> str:
    from tabulate import tabulate

    cells = [[str(cell) for cell in row] for row in texts.to_numpy()]
    align = ["left" if heading in _LEFT else "right" for heading in texts.columns]
    return tabulate(cells, list(texts.columns), tablefmt=form, disable_numparse=True, colalign=align)


def _table(texts: pd.DataFrame, width: int) -> str:
    """An aligned table that keeps within the width as long as dropping columns and wrapping names helps."""
    if texts["status"].isin(["FINISHED", "published"]).all():
        texts = texts.drop(columns="status")
    if (texts["difference"] == readable.DASH).all():
        texts = texts.drop(columns=["difference", "p", "P(better)", "verdict"])
    for column in ("run", "training", "parameters", "P(better)", "p", "worst class", "seeds", "test"):
        if width and column in texts and sum(_widths(texts).values()) > width:
            texts = texts.drop(columns=column)
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
