"""The leaderboard as text: tables to read, data to compute with."""

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields

import pandas as pd

from fmnist import words
from fmnist.analysis import searched, variance
from fmnist.analysis.claims import Verdict
from fmnist.analysis.diagnosis import Finding
from fmnist.analysis.leaderboard import METRICS
from fmnist.config import suggest

NO_RUNS = "no runs yet: start some with 'make sweep'"
FORMATS = ("table", "csv", "md", "json", "latex")
_LEFT = ("variant", "verdict", "worst class", "run", "status", "claim", "because")  # the other columns are numbers
_MARKUP = {"md": "github", "latex": "latex_booktabs"}
_MANY = 2  # findings of a kind that are spelled out
_CLAIM = [field.name for field in fields(Verdict)]


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
        "md": lambda: _tabulated(_texts(board), _MARKUP["md"]),
        "latex": lambda: _tabulated(_texts(board), _MARKUP["latex"]),
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


# ---- Words beside the table -----------------------------------------------------------------------------


def render_claims(claims: Sequence[Verdict], format: str) -> str:
    """The verdict on each claim: for `table` a paragraph each, for the other formats a row each."""
    if format == "table":
        return "\n".join(_claim(claim) for claim in claims) or "this study declares no claims"
    frame = pd.DataFrame([{**asdict(claim), "run_ids": " ".join(claim.run_ids)} for claim in claims], columns=_CLAIM)
    if format == "csv":
        return frame.to_csv(index=False).rstrip("\n")
    if format == "json":
        return _json(frame)
    texts = pd.DataFrame(
        {
            "verdict": frame["verdict"],
            "claim": frame["says"],
            "effect": [_interval(*ends) for ends in zip(frame["effect"], frame["low"], frame["high"], strict=True)],
            "p": frame["p_value"].map(words.p_value),
            "epochs": frame["epochs"].astype(str),
            "seeds": frame["seeds"].astype(str),
            "because": frame["because"],
        }
    ).replace(words.NARROW, " ", regex=True)
    return _tabulated(texts, _MARKUP[format])


def _claim(claim: Verdict) -> str:
    numbers = "" if pd.isna(claim.effect) else f" {_interval(claim.effect, claim.low, claim.high)} points"
    at = f", {words.plural(claim.epochs, 'epoch')}, {words.plural(claim.seeds, 'seed')}" if claim.seeds else ""
    p = "" if pd.isna(claim.p_value) else f", p {words.p_value(claim.p_value)}"
    said = f"{claim.verdict.upper()}: {claim.says}.{numbers}{at}{p}".replace(words.NARROW, " ")
    because = claim.because.replace(words.NARROW, " ")
    return (
        textwrap.fill(said, 118) + "\n" + textwrap.fill(because, 118, initial_indent="    ", subsequent_indent="    ")
    )


def explained(
    claims: Sequence[Verdict], notes: Sequence[str], shares: pd.DataFrame, diagnosis: Sequence[Finding], format: str
) -> str:
    """What stands below a table to read (`table` or `md`): notes, claims, a grid's variance, diagnosis."""
    parts = {
        "How to read it": list(notes),
        "What explains the differences (linear model, seeds as blocks)": variance.sentences(shares),
        "Diagnosis": _by_kind(diagnosis),
    }
    if format == "md":
        bullets = {head: "\n".join(f"- {line}" for line in lines) for head, lines in parts.items() if lines}
        if claims:
            bullets = {"Claims": render_claims(claims, "md"), **bullets}
        return "\n\n".join(f"## {head}\n\n{body}" for head, body in bullets.items()).replace(words.NARROW, " ")
    blocks = ["Claims\n" + render_claims(claims, "table")] if claims else []
    for head, lines in parts.items():
        if lines:
            filled = [textwrap.fill(line, 118, initial_indent="  - ", subsequent_indent="    ") for line in lines]
            blocks.append("\n".join([head, *filled]))
    return "\n\n".join(blocks).replace(words.NARROW, " ")


def _by_kind(diagnosis: Sequence[Finding]) -> list[str]:
    """What was found, of each kind no more than anyone reads."""
    lines = []
    for kind in dict.fromkeys(found.kind for found in diagnosis):
        of_kind = [found.text for found in diagnosis if found.kind == kind]
        rest = f" (and {len(of_kind) - _MANY} more in the report)" if len(of_kind) > _MANY else ""
        lines.append(f"{kind}: {'; '.join(of_kind[:_MANY])}{rest}")
    return lines


# ---- Cells ----------------------------------------------------------------------------------------------


def _texts(board: pd.DataFrame) -> pd.DataFrame:
    """Every cell as it is read, under short headings."""
    metric = next(name for name in METRICS if name.replace("/", "_") in board)
    worst = [
        f"{name} {words.percent(share)}" if isinstance(name, str) else words.DASH
        for name, share in zip(board["worst_class"], board["worst_recall"], strict=True)
    ]
    texts = {
        "rank": board["rank"].astype(object).map(lambda rank: words.DASH if rank is pd.NA else f"{rank}"),
        "variant": [searched.short(*names) for names in zip(board["variant"], board["found_by"], strict=True)],
        "epochs": board["epochs"].map("{}".format),
        "seeds": board["seeds"].map("{}".format),
        "validation" if metric == "val/accuracy" else metric: _measured(board, metric),
        "test": _measured(board, "test/accuracy"),
        "difference": _difference(board, metric),
        "p": board["p_value"].map(words.p_value),
        "P(better)": board["better_probability"].map("{:.2f}".format).replace("nan", words.DASH),
        "verdict": board["verdict"].replace("", words.DASH),
        "worst class": worst,
        "parameters": board["parameters"].map("{:,}".format),
        "training": board["train_seconds"].map(words.duration),
        "run": board["run_id"].map(_short),
        "status": board["status"].astype(str),
    }
    return pd.DataFrame(texts).replace(words.NARROW, " ", regex=True)


def _measured(board: pd.DataFrame, metric: str) -> list[str]:
    name = metric.replace("/", "_")
    scale, digits = (1, 4) if metric.endswith("loss") else (100, 2)
    return [
        words.DASH
        if pd.isna(value)
        else f"{scale * value:.{digits}f}"
        + ("" if pd.isna(low) else f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]")
        for value, low, high in zip(board[name], board[f"{name}_low"], board[f"{name}_high"], strict=True)
    ]


def _difference(board: pd.DataFrame, metric: str) -> list[str]:
    ends = zip(board["difference"], board["difference_low"], board["difference_high"], strict=True)
    return [_interval(value, low, high, metric.endswith("loss")) for value, low, high in ends]


def _interval(value: float, low: float, high: float, is_loss: bool = False) -> str:
    """A signed difference with its interval, in points or in nats: `+1.20 [+0.80, +1.60]`."""
    if pd.isna(value):
        return words.DASH
    scale, digits = (1, 4) if is_loss else (100, 2)
    within = "" if pd.isna(low) else f" [{scale * low:+.{digits}f}, {scale * high:+.{digits}f}]"
    return f"{scale * value:+.{digits}f}{within}".replace("-", "−")


def _short(run_ids: str) -> str:
    first, *others = run_ids.split() or [words.DASH]
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
    compared = ["difference", "p", "P(better)", *(["verdict"] if (texts["difference"] == words.DASH).all() else [])]
    texts = texts.drop(columns=[name for name in compared if name == "verdict" or (texts[name] == words.DASH).all()])
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
