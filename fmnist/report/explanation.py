"""What stands below a leaderboard to read: claims, notes, what explains the differences, diagnosis."""

import textwrap
from collections.abc import Sequence

import pandas as pd

from fmnist.analysis.claims import Verdict
from fmnist.analysis.diagnosis import Finding
from fmnist.report import claims, diagnosis
from fmnist.words import p_value


def explanation(
    verdicts: Sequence[Verdict], notes: Sequence[str], shares: pd.DataFrame, findings: Sequence[Finding], format: str
) -> str:
    """All of it as `table` (plain text) or `md`; empty if there is nothing."""
    parts = {
        "How to read it": list(notes),
        "What explains the differences (linear model, seeds as blocks)": share_lines(shares),
        "Diagnosis": diagnosis.lines(findings),
    }
    parts = {head: lines for head, lines in parts.items() if lines}
    blocks = {"Claims": claims.render(verdicts, format)} if verdicts else {}
    if format == "md":
        blocks |= {head: "\n".join(f"- {line}" for line in lines) for head, lines in parts.items()}
        return "\n\n".join(f"## {head}\n\n{body}" for head, body in blocks.items())
    blocks |= {head: "\n".join(map(_bullet, lines)) for head, lines in parts.items()}
    return "\n\n".join(f"{head}\n{body}" for head, body in blocks.items())


def _bullet(line: str) -> str:
    return textwrap.fill(line, 118, initial_indent="  - ", subsequent_indent="    ")


def share_lines(shares: pd.DataFrame) -> list[str]:
    """How much of a grid's variance each term explains, as `fmnist.analysis.variance.grid_effects` returned it."""
    return [
        f"{row['term']}: {100 * row['share']:.1f} % of the variance"
        + ("" if pd.isna(row["p"]) else f", p {p_value(row['p'])}")
        for row in shares.to_dict("records")
    ]
