"""What MLflow's charts open on: a study at a number of epochs, its baseline first, then the best of its variants."""

from collections.abc import Iterable
from contextlib import suppress

import pandas as pd

from fmnist.analysis.budgets import common_budget
from fmnist.config import UserError, suggest
from fmnist.schema import BASELINE, VAL_ACCURACY, Column, Status
from fmnist.study.declared import DeclaredStudy, declare, made_with
from fmnist.study.typed import group_files
from fmnist.tracking import load
from fmnist.tracking.chart_view import MOST, Choice
from fmnist.words import plural, shown


def choose(folder: str, study: str = "", epochs: int | None = None) -> Choice:
    """The runs of a study, else of the latest one, at its longest budget.

    Raises:
        UserError: no run of that study, or with those epochs, has finished.
    """
    runs = load(folder)
    finished = runs[(runs["status"] == Status.FINISHED) & runs[VAL_ACCURACY.key].notna()]
    latest = finished.sort_values("start_time", ascending=False)["study"]
    studies = [name for name in dict.fromkeys(latest) if name]
    name = study or next(iter(studies), "")
    own, declared = _runs_of(name, finished) if name else (finished, None)
    if study and own.empty:
        raise UserError(f"--study: no run of '{shown(study)}' has finished; {_there(studies)}{suggest(study, studies)}")
    budgets = sorted(set(own["epochs"]))
    if epochs is not None and epochs not in budgets:
        of_study = f" of {name}" if name else ""
        raise UserError(f"--epochs: no finished run{of_study} has {plural(epochs, 'epoch')}; {_there(budgets)}")
    return of_runs(own, name, declared, epochs)


def of_runs(own: pd.DataFrame, name: str, declared: DeclaredStudy | None, epochs: int | None = None) -> Choice:
    """The choice of these runs of a study, which have finished."""
    if own.empty:
        return Choice()
    at = own[own["epochs"] == (common_budget(own) if epochs is None else epochs)]
    variants = _ranked(at)
    best = at[at["variant"].isin(variants)]
    seeds = best.groupby("seed")["variant"].nunique()
    return Choice(
        study=name,
        question=declared.question if declared else "",
        condition=_condition(at, name),
        variants={variant: list(best.loc[best["variant"] == variant, "run_id"]) for variant in variants},
        seed=int(seeds.index[int(seeds.argmax())]),
        letters=int(best["run_name"].str.len().max()),
        axes=list(declared.axes) if declared else (),
    )


def _there(values: Iterable[object]) -> str:
    return f"there are {', '.join(map(str, values)) or 'none'}"


def _runs_of(study: str, runs: pd.DataFrame) -> tuple[pd.DataFrame, DeclaredStudy | None]:
    """A study's runs with the variants as it names them, whichever study they were made for; and what it declares."""
    marked = runs[runs["study"] == study]
    if study in group_files("study"):
        with suppress(UserError):  # its file is another by now: what is marked is left
            declared = declare(study, made_with(study, runs), runs)
            own = declared.own(runs)
            return (own if len(own) else marked), declared
    return marked, None


def _ranked(runs: pd.DataFrame) -> list[str]:
    """The variants that are shown: the baseline first, then the best by their means."""
    means = runs.groupby("variant")[VAL_ACCURACY.key].mean().sort_values(ascending=False, kind="stable")
    return sorted(means.index, key=lambda name: name != BASELINE)[:MOST]


def _condition(runs: pd.DataFrame, study: str) -> str:
    """MLflow's filter for these runs, with the study where all are marked as its own: beside the mark, for people."""
    of_study = f"tags.\"{Column('study').tag}\" = '{study}' and "
    is_marked = study and "'" not in study and (runs["study"] == study).all()
    return f"{of_study if is_marked else ''}params.epochs = '{int(runs['epochs'].iloc[0])}'"
