"""What `python -m fmnist.compare` prints or writes of findings: the leaderboard, claims, the report."""

from pathlib import Path

import pandas as pd

from fmnist.config import UserError
from fmnist.report import claims
from fmnist.report.formats import FORMAT, put, write
from fmnist.report.leaderboard import render
from fmnist.report.notes import explanation
from fmnist.study.findings import Findings
from fmnist.study.selection import that_have
from fmnist.words import plural


def _cut(findings: Findings) -> pd.DataFrame:
    """The rows of the leaderboard that are wanted.

    Raises:
        UserError: runs have no such option.
    """
    rows, runs, question = findings.leaderboard, findings.selection.runs, findings.question
    for condition in question.where if findings.selection.recorded else ():
        chosen = set(that_have(runs, condition)["run_id"])
        rows = rows[[bool(chosen & set(ids.split())) for ids in rows["run_id"]]]
    return rows if question.top is None else rows.head(question.top)


def leaderboard_text(findings: Findings, format: str, fit: bool = False) -> str:
    """The leaderboard, and what it means where it is to be read; `fit` keeps a table within the terminal's width."""
    recorded = findings.selection.recorded
    elsewhere = f"; {findings.selection.elsewhere}" if findings.selection.elsewhere else ""
    empty = f"of {plural(recorded, 'recorded run')} none matches{elsewhere}" if recorded else None
    table = render(_cut(findings), format, width=None if fit else 0, empty=empty)
    if format not in ("table", "md") or findings.leaderboard.empty:
        return table
    below = explanation(findings.claims, findings.notes, findings.shares, findings.diagnosis, format)
    return "\n\n".join(part for part in (table, below) if part)


def write_folder(findings: Findings, folder: Path, format: str, force: bool = False) -> None:
    """Leaderboard and claims as files of a folder, the leaderboard also in that format.

    Raises:
        UserError: there is no run, or what stands there would be lost, and `force` is False.
    """
    if findings.leaderboard.empty:
        remedy = findings.selection.elsewhere or f"start some with '{findings.command()}'"
        raise UserError(f"nothing to write into {folder}: no recorded run matches; {remedy}")
    if not force and (lost := _lost(findings, folder)):
        raise UserError(f"{folder} holds {lost}: name another folder with --out, or replace it with --force")
    for suffix in dict.fromkeys(("csv", "md", *(end for end in ("json", "tex") if FORMAT[end] == format))):
        put(folder / f"leaderboard.{suffix}", leaderboard_text(findings, FORMAT[suffix]))
    if findings.claims:
        put(folder / "claims.csv", claims.render(findings.claims, "csv"))


def _lost(findings: Findings, folder: Path) -> str:
    """The results of a folder that these findings do not have, with as many seeds; empty if there are none."""
    file = folder / "leaderboard.csv"
    if not file.exists():
        return "a leaderboard of runs that are not known" if (folder / "leaderboard.md").exists() else ""
    key = ["variant_signature", "epochs"]
    try:
        before = pd.read_csv(file, dtype={"variant_signature": str}).dropna(subset=key).astype({"seeds": int})
    except (ValueError, KeyError):  # which pandas' own errors are
        return "a leaderboard that cannot be read"
    seeds = _cut(findings).groupby(key)["seeds"].max().reindex(pd.MultiIndex.from_frame(before[key])).to_numpy()
    lost = before[~(seeds >= before["seeds"])]
    if lost.empty:
        return ""
    first = lost.iloc[0]
    results = f"{plural(len(lost), 'row')} of {plural(len(before), 'row')}" if len(before) > 1 else "a row"
    example = (
        f"{first['variant']} at {plural(int(first['epochs']), 'epoch')} with {plural(int(first['seeds']), 'seed')}"
    )
    return f"{results} that these runs do not have ({example})"


def write_report(findings: Findings, path: Path) -> None:
    """The report as a file, or in a folder with its figures."""
    from fmnist.report import page, svg  # with Matplotlib, which a table does without
    from fmnist.report.figures import draw

    content = findings.content()
    if path.suffix:
        return write(path, page.render(content))
    write(path / "report.html", page.render(content))
    for name, figure in draw(content).items():
        write(path / "figures" / f"{name}.svg", svg.document(figure))
    return None
