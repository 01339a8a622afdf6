"""The plan of a sweep as people read it before it begins."""

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from fmnist import words
from fmnist.config import StudyConfig
from fmnist.network import disk_bytes
from fmnist.study.plan import PlannedRun, estimate
from fmnist.work.display import table

if TYPE_CHECKING:
    import pandas as pd


def plan_table(planned: list[PlannedRun], study: StudyConfig, workers: int) -> Table:
    """The plan as a table, a row a rung, with the estimated time on so many workers."""
    title = f"Study {study.name}: {study.question or 'a plain sweep'}"
    rows = table("epochs", "runs", "done", "continuing", "new", "estimated time", title=title, title_justify="left")
    for rung in sorted({entry.config.epochs for entry in planned}):
        of_rung = [entry for entry in planned if entry.config.epochs == rung]
        done = sum(entry.done for entry in of_rung)
        continuing = sum(entry.start > 0 and not entry.done for entry in of_rung)
        counts = (rung, len(of_rung), done, continuing, len(of_rung) - done - continuing)
        rows.add_row(*map(str, counts), words.clock(estimate(of_rung, workers)))
    rows.caption = f"{words.plural(workers, 'worker')}, about {words.clock(estimate(planned, workers))} in all"
    return rows


def run_table(planned: list[PlannedRun]) -> Table:
    """Every run of a plan, whether it is done, continues from an epoch, or is new, and its estimated time."""
    rows = table("run", "state", "one worker", box=None, pad_edge=False)
    for entry in planned:
        state = "done" if entry.done else f"continues from epoch {entry.start}" if entry.start else "new"
        rows.add_row(escape(entry.name), state, "" if entry.done else words.clock(entry.seconds))
    return rows


def plan_summary(planned: list[PlannedRun], runs: "pd.DataFrame") -> str:
    """What the plan shares: epochs that continuing saves, trajectories of other studies, and the disk it needs."""
    left = [entry for entry in planned if not entry.done]
    trained = sum(entry.config.epochs - entry.start for entry in left)
    alone = sum(entry.config.epochs for entry in left)
    others = runs[runs["trajectory_signature"].isin({entry.signatures.trajectory for entry in planned})]
    shared = others[~others["study"].isin(["", planned[0].config.study.name])]
    lines = [f"trains {trained} epochs; each run by itself would need {alone}"]
    if len(shared):
        count = shared["trajectory_signature"].nunique()
        lines.append(f"{count} trajectories are shared with {', '.join(sorted(set(shared['study'])))}")
    megabytes = sum(disk_bytes(entry.config.model) for entry in left) / 1e6
    lines.append(f"needs about {megabytes:,.0f} MB of disk")
    return "; ".join(lines)
