"""What stands below a leaderboard to read: how its numbers were come by, what the seeds show, claims, diagnosis."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from fmnist.analysis import stats
from fmnist.analysis.budgets import common_budget
from fmnist.analysis.claims import Verdict
from fmnist.analysis.diagnosis import Finding
from fmnist.analysis.leaderboard import ALPHA, measured, ranking_metric
from fmnist.analysis.noise import IMAGES, ruler
from fmnist.analysis.rule import Rule
from fmnist.analysis.searches import is_named_by_search
from fmnist.analysis.sources import mixed, repeated, unlike
from fmnist.report import claims, diagnosis
from fmnist.report.formats import HARMLESS, filled
from fmnist.schema import BASELINE, VAL_ACCURACY, Comparison
from fmnist.words import p_value, plural

_NAMED = 3  # variants that are spoken of by name
_MANY = 5  # rows, of which the first is there for its luck as well
MATTERS = 0.005  # accuracy: what is worth settling where no margin says it


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
    return filled(line, "  - ", "    ")


def share_lines(shares: pd.DataFrame) -> list[str]:
    """How much of a grid's variance each term explains, as `fmnist.analysis.variance.grid_effects` returned it."""
    return [
        f"{row['term']}: {100 * row['share']:.1f} % of the variance"
        + ("" if pd.isna(row["p"]) else f", p {p_value(row['p'])}")
        for row in shares.to_dict("records")
    ]


def noise_lines(table: pd.DataFrame) -> list[str]:
    """What each source of chance brings by itself, as `fmnist.analysis.noise.by_source` returned it."""
    if table.empty:
        return []
    return [
        "Scatter of accuracy by source, as standard deviations in points with 95 % intervals (chi-square), each source "
        "varied with the others held; all: everything drawn anew.",
        *(_scatter(row) for row in table.to_dict("records")),
    ]


def _scatter(row: dict[Any, Any]) -> str:
    validation, test = (" ".join((f"{100 * row[f'{part}_sd']:.2f}", f"({100 * row[f'{part}_low']:.2f} to "
                                  f"{100 * row[f'{part}_high']:.2f})")) for part in ("val", "test"))  # fmt: skip
    if row["source"] == IMAGES:
        alone = " and ".join(f"{100 * row[f'{part}_sd']:.2f}" for part in ("val", "test"))
        return f"{IMAGES}: those that score leave {alone} points to chance by themselves, in validation and test."
    return f"{row['source']}: validation {validation}, test {test}, {plural(row['runs'], 'run')}."


def notes(
    rows: pd.DataFrame, runs: pd.DataFrame, pair_columns: Sequence[str] = (), rule: Rule = stats.ONE_LOOK
) -> list[str]:
    """What a reader has to know of a leaderboard's intervals, p-values, ranks, seeds and runs.

    Args:
        rows: what `leaderboard` returned.
        runs: the finished ones of the frame that it was given.
        pair_columns: of a study, which has claims and effects: what the runs of a pair share.
        rule: by which the leaderboard judged.
    """
    return [
        *_statistics(rows, rule),
        *(_ruler(runs) if ranking_metric(rows) == VAL_ACCURACY else ()),
        *_searched(rows),
        *_sources(runs, pair_columns),
    ]


def _statistics(rows: pd.DataFrame, rule: Rule) -> Iterator[str]:
    measured_rows = measured(rows)
    if measured_rows.empty:
        return
    if measured_rows["seeds"].max() > 1:
        yield (
            "[ ]: 95 % intervals of the mean over the seeds (Student's t): of the luck of training on these images, "
            "not of their choice."
        )
    if measured_rows["seeds"].min() == 1:
        yield (
            "Rows of 1 seed: [ ] is Wilson's 95 % interval, of the images alone. Differences between single trainings "
            "include training noise that one seed cannot show; more seeds do: study.seeds=[0,1,2]."
        )
    moved = rows.loc[rows["verdict"] == Comparison.BASELINE, "changes"].drop_duplicates()
    moved = moved[moved != BASELINE]
    if len(moved) == 1:
        yield f"The baseline, and with it every row, is the article's with {moved.iloc[0]}."
    compared = [Comparison.BETTER, Comparison.WORSE, Comparison.NO_DIFFERENCE, Comparison.OPEN]
    tested = rows[rows["verdict"].isin(compared) & rows["p_value"].notna()]
    if len(tested):
        yield _tests(tested)
        yield from _looks(tested, rule)
        yield from _power(tested[tested["epochs"] == common_budget(measured_rows)], rule)
    yield from _ranks(rows)
    if ranking_metric(rows) != VAL_ACCURACY:
        yield "Claims are judged by validation accuracy, whatever metric ranks."
    if (rows["verdict"] == Comparison.PUBLISHED).any():
        yield "published: one training of the article, whose validation images were augmented."


def _ranks(rows: pd.DataFrame) -> Iterator[str]:
    ranked = rows[rows["rank"].notna()]
    if (ranked["epochs"].nunique()) > 1:
        yield "Ranks are those within a number of epochs."
    if ranked[ranked["seeds"] > 1].duplicated(["epochs", "rank"]).any():
        yield (
            "Rows that share a rank cannot be told from the first of them (paired t tests, corrected for all pairs of "
            "rows)."
        )
    several = int((ranked["epochs"] == common_budget(measured(rows))).sum())
    if several >= _MANY:
        yield f"The first of {several} has been lucky too: on fresh seeds its lead will rather be smaller."
    if (rows["verdict"] == Comparison.SEEDS_FAILED).any():
        yield (
            f"{Comparison.SEEDS_FAILED}: of this row or of its baseline, and those that are left may be the lucky "
            "ones; the same sweep tries them again, and --rank-failed ranks what is left."
        )


def _tests(tested: pd.DataFrame) -> str:
    families = tested["comparisons"]
    amount = "up to" if families.nunique() > 1 else "the"
    unit = "points" if ranking_metric(tested).unit == "share" else "nats"
    return (
        f"difference: in {unit} from the baseline on the same seeds; p: paired t test, corrected (Holm) over "
        f"{amount} {plural(int(families.max()), 'comparison')} with the same epochs, data and precision, and so is the "
        f"interval; better and worse: p < {ALPHA}."
    )


def _looks(tested: pd.DataFrame, rule: Rule) -> Iterator[str]:
    """For how often one may look, and what is too small to matter."""
    most = int(tested["pairs"].max())
    if not rule.most:
        return
    if most > rule.most:
        yield (
            f"More seeds ({most}) than study.most_seeds={rule.most}: verdicts are those of a study of {most}, and hold "
            "if it was to have no more."
        )
    elif rule.first == rule.most:
        yield f"p and interval are those of {plural(rule.most, 'seed')}, a number chosen before; fewer decide nothing."
    else:
        yield (
            f"p and interval hold for looking after every seed up to {rule.most} (study.most_seeds), and for stopping "
            "at any (group-sequential t test)."
        )
    if rule.margin and ranking_metric(tested).unit == "share":
        yield (
            f"{Comparison.NO_DIFFERENCE}: the interval lies within ±{100 * rule.margin:g} points (study.margin); "
            f"{Comparison.OPEN}: neither that nor better or worse."
        )


def _sources(runs: pd.DataFrame, pair_columns: Sequence[str]) -> Iterator[str]:
    """Runs that do not count, and what tells those apart that do."""
    if count := repeated(runs):
        yield f"{plural(count, 'run')} left out: a later one repeats the variant, its seed and its epochs."
    if pair_columns and (count := unlike(runs, pair_columns)):
        yield f"Claims and effects leave out {plural(count, 'run')} of another precision, recipe or data than most."
    if differences := mixed(runs):
        texts = "; ".join(f"{name}: {', '.join(values)}" for name, values in differences.items())
        yield f"The runs were not made alike: {texts}."


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


def _ruler(runs: pd.DataFrame) -> Iterator[str]:
    """What the images that validate bring to the scatter of accuracy, whatever is trained."""
    images = sorted(set(runs[VAL_ACCURACY.images].astype(int))) if len(runs) else []
    if images:
        accuracy = float(runs[VAL_ACCURACY.key].astype(float).mean())
        alone = " and ".join(f"{count:,} images {100 * ruler(accuracy, count):.2f}" for count in images if count)
        yield f"What the images that validate leave of an accuracy to chance by themselves, in points: {alone}."


def _power(tested: pd.DataFrame, rule: Rule) -> Iterator[str]:
    """What a difference must be to be found with these seeds, and how many would settle what is open."""
    if ranking_metric(tested) != VAL_ACCURACY or not (tested["difference_sd"] > 0).any():
        return
    alpha = ALPHA / int(tested["comparisons"].max())  # as Holm begins
    tested = tested[tested["difference_sd"] > 0]
    spread = float(tested["difference_sd"].median())
    levels = {int(seeds): float(rule.level(alpha, seeds)) for seeds in sorted(set(tested["pairs"]))}
    shown = [f"{plural(seeds, 'seed')} {100 * stats.detectable(spread, seeds, level):.2f}"
             for seeds, level in levels.items() if level]  # fmt: skip
    if shown:
        epochs = plural(int(tested["epochs"].max()), "epoch")
        yield (
            f"Differences that seeds show at {epochs} with 80 % power, in points: {', '.join(shown)} (median spread of "
            f"the differences {100 * spread:.2f})."
        )
    rows = tested[tested["verdict"] == Comparison.OPEN]
    rows = rows.reindex(rows["difference"].abs().sort_values(ascending=False).index).head(_NAMED)
    most = stats.most_deviation(rows["difference_sd"].to_numpy(), rows["pairs"].to_numpy())
    needs = [f"{name} {_need(float(sd), alpha, rule)}" for name, sd in zip(rows["variant"], most, strict=True)]
    if needs:
        matters = 100 * (rule.margin or MATTERS)
        yield (
            f"Seeds that would settle what is open, were the true difference {matters:.2f} points (80 % power, spreads "
            f"at their upper 80 % bounds): {'; '.join(needs)}."
        )


def _need(spread: float, alpha: float, rule: Rule) -> str:
    count = stats.pairs_needed(rule.margin or MATTERS, spread, alpha, rule=rule)
    return f"over {rule.most or stats.MOST_PAIRS:,}" if count is None else f"{count}"
