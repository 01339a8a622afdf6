"""The one table: every row a figure, what it is compared with, and the ratio of the two, taken in the same run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

HEADS = ("what", "ours", "compared with", "theirs", "ratio", "goal")


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    ours: str
    against: str
    theirs: str
    ratio: float  # ours over theirs, unless
    goal: str = ""
    less: bool = False  # it is theirs over ours: so many times less

    @property
    def comparison(self) -> str:
        """The ratio as it is printed."""
        return "" if math.isnan(self.ratio) else f"{self.ratio:.3g}" + " times less" * self.less


def render(sections: Sequence[tuple[str, Sequence[Row]]]) -> str:
    """The table in Markdown, a line of its own for every section's title."""
    lines = []
    for title, rows in sections:
        lines.append((f"**{title}**", *[""] * (len(HEADS) - 1)))
        lines += [(row.what, row.ours, row.against, row.theirs, row.comparison, row.goal) for row in rows]
    return tabulate(lines, HEADS, tablefmt="pipe", disable_numparse=True)
