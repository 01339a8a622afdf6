"""What stands below a leaderboard to read: how its numbers were come by, what the seeds show, claims, diagnosis."""

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from fmnist.analysis import stats
from fmnist.analysis.budgets import common_budget
from fmnist.analysis.claims import Verdict
from fmnist.analysis.diagnosis import Finding
from fmnist.analysis.leaderboard import ALPHA, measured, ranking_metric
from fmnist.analysis.searches import is_named_by_search
from fmnist.report import claims, diagnosis
from fmnist.report.formats import HARMLESS
from fmnist.schema import VAL_ACCURACY, Comparison
from fmnist.words import p_value, plural, points

_NAMED = 3  # variants that are spoken of by name


def explanation(
    verdicts: Sequence[Verdict], reading: Sequence[str], shares: pd.DataFrame, findings: Sequence[Finding], format: str
) -> str:
    """All of it as `table` (plain text) or `md`; empty if there is nothing."""
    parts = {
        "How to read it": list(reading),
        "What explains the differences (linear model, seeds as blocks)": share_lines(shares),
        "Diagnosis": diagnosis.lines(findings),
    }
    parts = {head: lines for head, lines in parts.items() if lines}
    blocks = {"Claims": claims.render(verdicts, format)} if verdicts else {}
    if format == "md":
        blocks |= {head: "\n".join(f"- {HARMLESS[format](line)}" for line in lines) for head, lines in parts.items()}
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


def notes(rows: pd.DataFrame) -> list[str]:
    """What a reader has to know of a leaderboard's intervals, p-values, ranks and seeds.

    Args:
        rows: what `leaderboard` returned.
    """
    return [*_statistics(rows), *_searched(rows)]


def _statistics(rows: pd.DataFrame) -> Iterator[str]:
    ranked = rows[rows["rank"].notna()]
    if ranked.empty:
        return
    if ranked["seeds"].max() > 1:
        yield "[ ]: 95 % intervals of the mean over the seeds (Student's t)."
    if ranked["seeds"].min() == 1:
        yield (
            "Rows of 1 seed: [ ] is Wilson's 95 % interval, of the images alone. Differences between single trainings "
            "include training noise that one seed cannot show; more seeds do: study.seeds=[0,1,2]."
        )
    compared = [Comparison.BETTER, Comparison.WORSE, Comparison.UNDECIDED]
    tested = ranked[ranked["verdict"].isin(compared) & ranked["p_value"].notna()]
    if len(tested):
        yield _tests(tested)
        yield from _power(tested[tested["epochs"] == common_budget(measured(rows))])
    if len(ranked) > 1 and ranked["rank"].duplicated().any():
        yield "Rows that share a rank cannot be told from the first of them."
    if (rows["verdict"] == Comparison.PUBLISHED).any():
        yield "published: one training of the article, whose validation images were augmented."


def _tests(tested: pd.DataFrame) -> str:
    families = tested.groupby("epochs").size()
    amount = "up to" if families.nunique() > 1 else "the"
    unit = "points" if ranking_metric(tested).unit == "share" else "nats"
    return (
        f"difference: in {unit} from the baseline on the same seeds; p: paired t test, corrected (Holm) over "
        f"{amount} {plural(int(families.max()), 'comparison')} at the same number of epochs; better and "
        f"worse: p < {ALPHA}."
    )


def _searched(rows: pd.DataFrame) -> Iterator[str]:
    """What was found by searches, and why the score that it was chosen by does not count."""
    ranked = rows[rows["rank"].notna()]
    trials = {
        name: changes
        for name, by, changes in zip(ranked["variant"], ranked["found_by"], ranked["changes"], strict=True)
        if is_named_by_search(name, by)
    }
    if trials:
        named = "; ".join(f"{name} is {changes}" for name, changes in list(trials.items())[:_NAMED])
        more = len(trials) - _NAMED
        rest = f"; and {more} more (column changes of --format csv)" if more > 0 else ""
        yield (
            "Found by search, and judged by seeds alone that it was not chosen by: the best of many trials has been "
            f"the luckiest too. {named}{rest}."
        )
    if (rows["verdict"] == Comparison.CHOSEN).any():
        yield (
            f"{Comparison.CHOSEN}: trials of a search that no fresh seed has confirmed, neither ranked nor compared; "
            "tuner.confirm_seeds=3 has a search train its best on fresh seeds, beside the baseline."
        )


def _power(tested: pd.DataFrame) -> Iterator[str]:
    """What a difference must be to be found with these seeds, and how many would settle what is open."""
    if tested.empty or ranking_metric(tested) != VAL_ACCURACY:
        return
    alpha = ALPHA / len(tested)  # as Holm begins
    spreads = _spreads(tested)
    if np.isfinite(spreads).any():
        spread, least = float(np.nanmedian(spreads)), int(tested["pairs"].min())
        smallest = stats.detectable(spread, least, alpha)
        if np.isfinite(smallest):
            yield (
                f"At {plural(int(tested['epochs'].max()), 'epoch')} {least} seeds show a difference of "
                f"{100 * smallest:.2f} points or more (80 % power, median spread of the differences "
                f"{100 * spread:.2f})."
            )
    undecided = (tested["verdict"] == Comparison.UNDECIDED).to_numpy() & np.isfinite(spreads)
    rows = tested.assign(spread=spreads)[undecided]
    rows = rows.reindex(rows["difference"].abs().sort_values(ascending=False).index)
    needs = [_need(row["variant"], row["difference"], row["spread"], alpha) for _, row in rows.head(_NAMED).iterrows()]
    if needs:
        yield "Seeds to settle what is open, if the differences are as large as they look: " + "; ".join(needs) + "."


def _spreads(tested: pd.DataFrame) -> NDArray[np.float64]:
    """The deviation of each row's differences, from the width of their interval."""
    seeds = tested["pairs"].to_numpy()
    half = (tested["difference_high"] - tested["difference"]).to_numpy(dtype=float)
    return np.asarray(half / student.ppf(0.975, np.maximum(seeds - 1, 1)) * np.sqrt(seeds))


def _need(variant: str, difference: float, spread: float, alpha: float) -> str:
    count = stats.pairs_needed(difference, spread, alpha)
    return f"{variant} ({points(difference)}) {f'over {stats.MOST_PAIRS:,}' if count is None else count}"
