"""What `python -m fmnist.compare` prints or writes of findings: the leaderboard, claims, the report."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fmnist.config import UserError, suggest
from fmnist.report import claims, page, svg
from fmnist.report.explanation import explanation
from fmnist.report.figures import draw
from fmnist.report.files import put, write
from fmnist.report.leaderboard import NO_RUNS, render
from fmnist.study.findings import Findings


@dataclass(frozen=True)
class Cut:
    """The rows of the leaderboard that are wanted: cut after the statistics, which do not depend on it."""

    where: Sequence[tuple[str, str]] = ()  # options that a row's runs must have, and their values
    top: int | None = None  # the first so many

    def rows(self, findings: Findings) -> pd.DataFrame:
        """What is left of the leaderboard.

        Raises:
            UserError: runs have no such option.
        """
        rows, runs = findings.leaderboard, findings.selection.runs
        for key, value in self.where if findings.selection.recorded else ():
            if key not in runs:
                raise UserError(f"--where: runs have no '{key}'{suggest(key, [str(name) for name in runs])}")
            chosen = set(runs.loc[_equals(runs[key], value), "run_id"])
            rows = rows[[bool(chosen & set(ids.split())) for ids in rows["run_id"]]]
        return rows if self.top is None else rows.head(self.top)


def _equals(column: pd.Series, value: str) -> pd.Series:
    """Whether texts are this value however it is written: 0.001 as 1e-3, [32,64] with a blank, true as True."""
    texts, text = column.astype(str).str.replace(" ", "").str.lower(), value.replace(" ", "").lower()
    try:
        number = float(text)
    except ValueError:
        return texts == text
    return (texts == text) | (pd.to_numeric(texts, errors="coerce") == number)


def leaderboard_text(findings: Findings, cut: Cut, format: str, fit: bool = False) -> str:
    """The leaderboard, and what it means where it is to be read; `fit` keeps a table within the terminal's width."""
    recorded = findings.selection.recorded
    width = shutil.get_terminal_size().columns if fit and sys.stdout.isatty() else 0
    empty = f"none of the {recorded} recorded runs match" if recorded else NO_RUNS
    table = render(cut.rows(findings), format, width=width, empty=empty)
    if format not in ("table", "md") or findings.leaderboard.empty:
        return table
    below = explanation(findings.claims, findings.notes, findings.shares, findings.diagnosis, format)
    return "\n\n".join(part for part in (table, below) if part)


def write_folder(findings: Findings, cut: Cut, folder: Path) -> None:
    """Leaderboard and claims as files of a folder.

    Raises:
        UserError: there is no run, so that nothing would take the place of what stands there.
    """
    if findings.leaderboard.empty:
        raise UserError(f"nothing to write into {folder}: no recorded run matches; start some with 'make sweep'")
    for format in ("csv", "md"):
        put(folder / f"leaderboard.{format}", leaderboard_text(findings, cut, format))
    if findings.claims:
        put(folder / "claims.csv", claims.render(findings.claims, "csv"))


def write_report(findings: Findings, path: Path) -> None:
    """The report as a file, or in a folder with its figures."""
    content = findings.content()
    if path.suffix:
        return write(path, page.render(content))
    write(path / "report.html", page.render(content))
    for name, figure in draw(content).items():
        write(path / "figures" / f"{name}.svg", svg.document(figure))
    return None
