"""What a store says on a question: gathered once, for the terminal, for files and for the report."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist.analysis import claims, effects, variance
from fmnist.analysis.budgets import common_budget, own_longest
from fmnist.analysis.claims import Verdict
from fmnist.analysis.diagnosis import Finding, diagnose
from fmnist.analysis.leaderboard import PAIR_COLUMNS, leaderboard, measured
from fmnist.analysis.searched import add_searches
from fmnist.analysis.searches import curves
from fmnist.config import UserError, suggest
from fmnist.report.explanation import share_lines
from fmnist.report.notes import notes
from fmnist.report.page import Findings
from fmnist.schema import BASELINE
from fmnist.study.compose import compose_config
from fmnist.study.declared import SCORING, DeclaredStudy, ask
from fmnist.tracking import SearchSummary, Store, load, searches

Predictions = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Question:
    """What is asked of a store; without a study all its runs are looked at."""

    store: str
    study: str = ""
    overrides: Sequence[str] = ()  # that the study was run with
    epochs: int | None = None  # none: every budget
    metric: str = "val/accuracy"
    baseline: str = ""  # none: the study's own
    by: str = "variant"


@dataclass
class Answer:
    """The runs that a question is about, and what they say; what costs time is worked out when it is asked for."""

    question: Question
    asked: DeclaredStudy | None
    runs: pd.DataFrame
    beside: pd.DataFrame  # runs of what searches found, which stand on the leaderboard beside a study's variants
    searches: pd.DataFrame  # a row a search, with the fields of `fmnist.tracking.SearchSummary`
    recorded: int  # runs that the store holds
    _answers: dict[str, dict[str, NDArray[np.uint8]] | None] = field(default_factory=dict)

    @cached_property
    def book(self) -> Store:
        """The store, open."""
        return Store(self.question.store)

    @cached_property
    def board(self) -> pd.DataFrame:
        """The leaderboard."""
        baseline = self.question.baseline or (self.asked.baseline.name if self.asked else BASELINE)
        return leaderboard(
            self._at_epochs(self.shown), baseline, self.question.metric, self.question.by, self._pair_columns
        )

    @property
    def budget(self) -> int:
        """The epochs that the leaderboard is mostly about."""
        return common_budget(measured(self.board))

    @property
    def _pair_columns(self) -> Sequence[str]:
        return self.asked.pair_columns if self.asked else PAIR_COLUMNS

    @property
    def shown(self) -> pd.DataFrame:
        """All runs that the leaderboard may rest on."""
        return pd.concat([self.runs, self.beside]) if len(self.beside) else self.runs

    def _at_epochs(self, runs: pd.DataFrame) -> pd.DataFrame:
        return runs if self.question.epochs is None else runs[runs["epochs"] == self.question.epochs]

    @cached_property
    def claims(self) -> list[Verdict]:
        """A verdict on each claim of the study."""
        if self.asked is None:
            return []
        asked, epochs = self.asked, self.question.epochs
        return claims.judge(
            asked.claims, self.runs, asked.baseline, self._correct, epochs=epochs, pair_columns=asked.pair_columns
        )

    def _correct(self, run_id: str) -> NDArray[np.bool_] | None:
        answers = self._predicted(run_id)
        return None if answers is None else np.asarray(answers["test_predicted"] == answers["test_labels"])

    def _predicted(self, run_id: str) -> dict[str, NDArray[np.uint8]] | None:
        if run_id not in self._answers:
            arrays = self.book.predictions(run_id) or {}
            names = ["test_labels", "test_predicted"]
            kept = {name: arrays[name] for name in names if name in arrays}
            self._answers[run_id] = kept if len(kept) == 2 else None
        return self._answers[run_id]

    @cached_property
    def effects(self) -> pd.DataFrame:
        """What each level of the study's axes changes."""
        if self.asked is None or self.question.by != "variant" or self.question.metric != "val/accuracy":
            return effects.one_at_a_time(self.board.iloc[:0], {})
        if self.asked.design == "grid":
            runs = claims.most_common(self._finished(self.runs), self._pair_columns)
            return effects.main_effects(runs, self.asked.levels, self.asked.base_levels)
        runs = claims.most_common(
            self._finished(self.shown), self._pair_columns
        )  # the family of comparisons is that of the leaderboard
        board = leaderboard(runs, self.asked.baseline.name, pair_columns=self._pair_columns)
        return effects.one_at_a_time(board, self.asked.levels)

    def _finished(self, runs: pd.DataFrame) -> pd.DataFrame:
        runs = self._at_epochs(runs)
        return runs[(runs["status"] == "FINISHED") & runs["val/accuracy"].notna()]

    @cached_property
    def shares(self) -> pd.DataFrame:
        """Of a grid: how much of the variance each axis and each pair of them explains at the leaderboard's budget."""
        runs = claims.most_common(self._finished(self.runs), self._pair_columns)
        if self.asked is None or self.asked.design != "grid" or runs.empty:
            return pd.DataFrame(columns=list(variance.EFFECT_COLUMNS))
        runs = runs[runs["epochs"] == self.budget]
        levels = pd.DataFrame([self.asked.levels[signed] for signed in runs["variant_signature"]], runs.index)
        frame = levels.assign(seed=runs["seed"], accuracy=runs["val/accuracy"].astype(float))
        return variance.grid_effects(frame, "accuracy", list(self.asked.axes), "seed")

    @cached_property
    def histories(self) -> dict[str, pd.DataFrame]:
        """The epochs of each variant's runs at its longest budget."""
        ranked = self.board[self.board["rank"].notna()]
        runs = [run for ids in own_longest(ranked)["run_id"] for run in ids.split()]
        return self.book.histories(runs) if runs else {}  # opening a store would make it

    @cached_property
    def diagnosis(self) -> list[Finding]:
        """What to look at next, of a study."""
        if self.asked is None or self.question.by != "variant" or self.question.metric != "val/accuracy":
            return []
        board = self.board[self.board["variant_signature"].isin(self.runs["variant_signature"])]
        ranked = board[board["rank"].notna()]
        rows = ranked[ranked["epochs"] == self.budget]
        wanted = rows[(rows["verdict"] == BASELINE) | (rows.index == rows.index.min())]
        predictions, labels = self.predictions([run for ids in wanted["run_id"] for run in ids.split()])
        return diagnose(
            self._at_epochs(self.runs),
            board,
            self.asked.axes,
            budget=self.budget,
            histories=self.histories,
            predictions=predictions,
            labels=labels,
        )

    def predictions(self, run_ids: Sequence[str]) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.uint8]]:
        """The classes that runs predict for each test image, and the true ones; runs without are left out."""
        known = {run: answers for run in run_ids if (answers := self._predicted(run)) is not None}
        labels = next((answers["test_labels"] for answers in known.values()), np.zeros(0, np.uint8))
        same = {run: answers for run, answers in known.items() if np.array_equal(answers["test_labels"], labels)}
        return {run: answers["test_predicted"] for run, answers in same.items()}, labels

    @cached_property
    def notes(self) -> list[str]:
        """How the numbers were come by."""
        return notes(self.board)

    def findings(self) -> Findings:
        """All of it, for the report."""
        finished = self._finished(self.shown)
        predictions, labels = self.predictions(list(finished["run_id"]))
        return Findings(
            study=self.question.study or "all runs",
            question=self.asked.question if self.asked else "",
            setting=" ".join(self.question.overrides),
            command=self._command(),
            board=self.board,
            claims=self.claims,
            effects=self.effects,
            diagnosis=self.diagnosis,
            runs=finished,
            histories=self.histories,
            predictions=predictions,
            labels=labels,
            images=self._images(labels),
            notes=[*self.notes, *share_lines(self.shares)],
            provenance=self.provenance(),
            curves=curves(self._comparable_searches()),
        )

    def _comparable_searches(self) -> pd.DataFrame:
        """The searches that scored their trials on the images that the runs were scored on."""
        runs = self._finished(self.runs)
        known = set(runs.reindex(columns=["data_digest", *SCORING]).itertuples(index=False, name=None))
        options = [tuple(given.get(key) for key in ("data", *SCORING)) for given in self.searches["options"]]
        return self.searches[np.array([given in known for given in options], bool)]

    def _command(self) -> str:
        """The sweep that gives these runs."""
        if self.asked is None:
            return "make sweep"
        finished = self._finished(self.runs)
        budgets, seeds = (sorted({int(value) for value in finished[name]}) for name in ("epochs", "seed"))
        own = {"study.rungs": (budgets, self.asked.rungs), "study.seeds": (seeds, self.asked.seeds)}
        found = [f"{key}={ours}".replace(" ", "") for key, (ours, asked) in own.items() if ours and ours != asked]
        options = " ".join([*self.question.overrides, *found])
        return f"make sweep STUDY={self.asked.name}" + (f' ARGS="{options}"' if options else "")

    def _images(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The test images if they can be had here and are those that the runs saw, else none."""
        from fmnist.training import data

        none = np.zeros((0, 28, 28), np.uint8)
        try:
            study = [f"study={self.question.study}"] if self.asked else []
            dataset = data.load(compose_config([*study, *self.question.overrides]).data)
        except UserError:
            return none
        return dataset.test_images[..., 0] if np.array_equal(dataset.test_labels, labels) else none

    def provenance(self) -> dict[str, str]:
        """Where the runs came from."""
        runs = self._finished(self.shown)
        said = {"runs": f"{len(runs):,}"}
        for name, column in (
            ("data digest", "data_digest"),
            ("precision", "compute.precision"),
            ("CPU", "machine.cpu"),
        ):
            said[name] = ", ".join(sorted({str(value) for value in runs[column] if value})) if column in runs else ""
        if len(runs):
            days = [
                time.strftime("%Y-%m-%d", time.gmtime(runs["start_time"].agg(end) / 1000)) for end in ("min", "max")
            ]
            said["run"] = " to ".join(dict.fromkeys(days))
        return {name: value for name, value in said.items() if value}


def all_searches(store: str) -> pd.DataFrame:
    """The searches of a store, a row each, with the fields of `fmnist.tracking.SearchSummary`."""
    return _searches(searches(store))


def _searches(found: Sequence[SearchSummary]) -> pd.DataFrame:
    return pd.DataFrame([asdict(search) for search in found], columns=[field.name for field in fields(SearchSummary)])


def answer(question: Question) -> Answer:
    """Look a question up.

    Raises:
        UserError: the study, an override or the baseline is unknown.
    """
    runs = load(question.store)
    asked = ask(question.study, question.overrides, runs) if question.study else None
    known = all_searches(question.store) if (runs["search"] != "").any() else _searches([])
    trials = dict(zip(known["name"], known["trials"], strict=True))
    runs = add_searches(runs, asked.designed if asked else _designed(runs), trials)
    selected, beside = (asked.of(runs), asked.beside(runs)) if asked else (runs, runs.iloc[:0])
    names = list(dict.fromkeys([*selected["variant"], *beside["variant"]]))
    if question.baseline and question.baseline not in names:
        raise UserError(f"--baseline: no run of variant '{question.baseline}'{suggest(question.baseline, names)}")
    return Answer(question, asked, selected, beside, known, len(runs))


def _designed(runs: pd.DataFrame) -> set[str]:
    """Without a study: the baseline, and what any study has asked for."""
    return set(runs.loc[(runs["study"] != "") | (runs["variant"] == BASELINE), "variant_signature"])
