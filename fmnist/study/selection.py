"""The runs that a question to a store is about."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd

from fmnist.advice import command_for
from fmnist.analysis.leaderboard import PAIR_COLUMNS
from fmnist.analysis.rule import Rule
from fmnist.analysis.searches import add_searches
from fmnist.config import STORE, StudyConfig, UserError, suggest, suggest_option
from fmnist.schema import BASELINE, VAL_ACCURACY, Status
from fmnist.study.declared import SCORING, DeclaredStudy, declare, rule_of
from fmnist.study.question import Question
from fmnist.tracking import SearchSummary, load, searches
from fmnist.words import plural, shown, some


@dataclass(frozen=True)
class Selection:
    """The runs that a question is about."""

    question: Question
    study: DeclaredStudy | None
    own: pd.DataFrame  # the study's, or all
    confirmed: pd.DataFrame  # fresh seeds of what searches tried, which stand on the leaderboard beside a study's
    searches: pd.DataFrame  # a row a search, with the fields of `fmnist.tracking.SearchSummary`
    recorded: int  # runs that the store holds
    elsewhere: str = ""  # where a study has no run: how those are named that it has with other options

    @property
    def runs(self) -> pd.DataFrame:
        """All runs that the leaderboard may rest on."""
        return pd.concat([self.own, self.confirmed]) if len(self.confirmed) else self.own

    @property
    def pair_columns(self) -> Sequence[str]:
        """The columns that the runs of a pair share."""
        return self.study.pair_columns if self.study else PAIR_COLUMNS

    @property
    def rule(self) -> Rule:
        """By which differences are judged: the study's, or that of a study which declares nothing."""
        return self.study.rule if self.study else rule_of(StudyConfig())

    @property
    def baseline(self) -> str:
        """The variant that the others are compared with."""
        return self.question.baseline or BASELINE

    def at_epochs(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Those of the runs that have the epochs in question."""
        return runs if self.question.epochs is None else runs[runs["epochs"] == self.question.epochs]

    def finished(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Those that also have finished."""
        runs = self.at_epochs(runs)
        return runs[(runs["status"] == Status.FINISHED) & runs[VAL_ACCURACY.key].notna()]

    @property
    def comparable_searches(self) -> pd.DataFrame:
        """The searches that scored their trials on the images that the runs were scored on."""
        images = self.finished(self.own).reindex(columns=["data_digest", *SCORING])
        scored = set(images.itertuples(index=False, name=None))
        options = [tuple(each.get(key) for key in ("data", *SCORING)) for each in self.searches["options"]]
        return self.searches[np.array([each in scored for each in options], bool)]


def select(question: Question, digest: str = "") -> Selection:
    """Look the runs up; the digest is of data that runs are about to see, if any.

    Raises:
        UserError: the study, an override or the baseline is unknown.
    """
    runs = load(question.folder)
    study = declare(question.study, question.overrides, runs, digest) if question.study else None
    searched = all_searches(question.folder) if (runs["search"] != "").any() else _frame([])
    trials = dict(zip(searched["name"], searched["trials"], strict=True))
    runs = add_searches(runs, study.designed if study else _designed(runs), trials)
    own, confirmed = (study.own(runs), study.confirmed(runs)) if study else (runs, runs.iloc[:0])
    names = list(dict.fromkeys([*own["variant"], *confirmed["variant"]]))
    if question.baseline and question.baseline not in names:
        raise UserError(
            f"--baseline: no run of variant '{shown(question.baseline)}'{suggest(question.baseline, names)}"
        )
    elsewhere = _elsewhere(question, study, runs) if study and own.empty else ""
    return Selection(question, study, own, confirmed, searched, len(runs), elsewhere)


def _elsewhere(question: Question, study: DeclaredStudy, runs: pd.DataFrame) -> str:
    store = [] if question.folder == STORE else ["--store", question.folder]
    found = [
        f"{plural(count, 'run')} with {setting}: {command_for('compare', study.name, [*store, *setting.split()])}"
        for setting, count in study.other_settings(runs).items()
    ]
    return f"study {study.name} has {some(found)}" if found else ""


def all_searches(folder: str) -> pd.DataFrame:
    """The searches of a store, a row each, with the fields of `fmnist.tracking.SearchSummary`."""
    return _frame(searches(folder))


def _frame(summaries: Sequence[SearchSummary]) -> pd.DataFrame:
    return pd.DataFrame(map(asdict, summaries), columns=[field.name for field in fields(SearchSummary)])


def _designed(runs: pd.DataFrame) -> set[str]:
    """Without a study: the baseline, and what any study has asked for."""
    return set(runs.loc[(runs["study"] != "") | (runs["variant"] == BASELINE), "variant_signature"])


def that_have(runs: pd.DataFrame, condition: tuple[str, str]) -> pd.DataFrame:
    """The runs that have this value of an option.

    Raises:
        UserError: runs have no such option.
    """
    key, value = condition
    if key not in runs:
        raise UserError(f"--where: runs have no '{shown(key)}'{suggest_option(key, [str(name) for name in runs])}")
    return runs[_equals(runs[key], value)]


def _equals(column: pd.Series, value: str) -> pd.Series:
    """Whether texts are this value however it is written: 0.001 as 1e-3, [32,64] with a blank, true as True."""
    texts, text = column.astype(str).str.replace(" ", "").str.lower(), value.replace(" ", "").lower()
    try:
        number = float(text)
    except ValueError:
        return texts == text
    return (texts == text) | (pd.to_numeric(texts, errors="coerce") == number)
