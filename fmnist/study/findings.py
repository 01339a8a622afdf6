"""What the runs of a question show: worked out when it is asked for, for the terminal, for files and for the report."""

import time
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist.advice import command_for
from fmnist.analysis import claims, effects, noise
from fmnist.analysis.budgets import common_budget, own_longest
from fmnist.analysis.claims import Verdict
from fmnist.analysis.diagnosis import Finding, diagnose
from fmnist.analysis.leaderboard import leaderboard, measured
from fmnist.analysis.searches import curves
from fmnist.analysis.sources import sources
from fmnist.config import STORE, UserError
from fmnist.report.content import Content
from fmnist.report.notes import noise_lines, notes, share_lines
from fmnist.schema import BASELINE, LATE, LATE_ACCURACY, PER_EPOCH, VAL_ACCURACY, Comparison, Judgement
from fmnist.study.compose import compose_config
from fmnist.study.declared import DeclaredStudy
from fmnist.study.question import Question
from fmnist.study.selection import Selection, select
from fmnist.tracking import Store
from fmnist.training.evaluation import confusion

Classes = NDArray[np.uint8]  # (n,) of the test images


class Findings:
    """Leaderboard, claims, effects, diagnosis of a selection of runs; each costs time only if it is asked for."""

    def __init__(self, selection: Selection) -> None:
        """Of these runs."""
        self.selection, self.question, self.study = selection, selection.question, selection.study
        self._answers: dict[str, tuple[Classes, Classes] | None] = {}

    @cached_property
    def leaderboard(self) -> pd.DataFrame:
        """The leaderboard."""
        runs, pair_columns = self.selection.at_epochs(self.selection.runs), self.selection.pair_columns
        question = self.question
        if question.metric == LATE_ACCURACY.key:
            runs = runs.assign(**{LATE_ACCURACY.key: self._late_accuracies(runs)})
        return leaderboard(
            runs,
            self.selection.baseline,
            question.metric,
            by=question.by,
            pair_columns=pair_columns,
            rank_failed=question.rank_failed,
            rule=self.selection.rule,
        )

    def _late_accuracies(self, runs: pd.DataFrame) -> list[float]:
        """Of each run the mean over its last epochs, NaN where it has not ended or its curve is not recorded."""
        key = VAL_ACCURACY.key
        curves = self._histories(list(self.selection.finished(runs)["run_id"]), [key])
        ends = {run_id: float(curve[key].tail(LATE).mean(skipna=False)) for run_id, curve in curves.items()}
        return [ends.get(run_id, np.nan) for run_id in runs["run_id"]]

    @property
    def budget(self) -> int:
        """The epochs that all statements about the leaderboard are about."""
        return common_budget(measured(self.leaderboard))

    @property
    def _explainable(self) -> DeclaredStudy | None:
        """The study, if its variants are ranked by validation accuracy."""
        ranks_variants = self.question.by == "variant" and self.question.metric == VAL_ACCURACY.key
        return self.study if ranks_variants else None

    @cached_property
    def claims(self) -> list[Verdict]:
        """A verdict on each claim of the study."""
        if self.study is None:
            return []
        return claims.judge(
            self.study.claims,
            self.selection.own,
            self.study.baseline,
            self._correct,
            epochs=self.question.epochs,
            pair_columns=self.selection.pair_columns,
            rule=self.selection.rule,
        )

    @cached_property
    def effects(self) -> pd.DataFrame:
        """What each level of the study's axes changes."""
        study, pair_columns = self._explainable, self.selection.pair_columns
        if study is None:
            return effects.one_at_a_time(self.leaderboard.iloc[:0], {})
        if study.design == "grid":
            alike = self._alike(self.selection.own)
            return effects.main_effects(alike, study.levels, study.base_levels, self.selection.rule)
        rows, alike = self.leaderboard, self._alike(self.selection.runs)  # the leaderboard's family of comparisons
        if self.selection.baseline != BASELINE:
            runs = self.selection.at_epochs(self.selection.runs)
            rows = leaderboard(runs, pair_columns=pair_columns, rule=self.selection.rule)
        return effects.one_at_a_time(rows[rows["variant_signature"].isin(alike["variant_signature"])], study.levels)

    def _alike(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Those that count, with the precision and data of most."""
        return claims.unrepeated(claims.most_common(self.selection.finished(runs), self.selection.pair_columns))

    @cached_property
    def shares(self) -> pd.DataFrame:
        """Of a grid: how much of the variance each axis and each pair of them explains at the leaderboard's budget."""
        runs = self._alike(self.selection.own)
        if self.study is None or self.study.design != "grid" or runs.empty:
            return pd.DataFrame(columns=list(effects.SHARE_COLUMNS))
        runs = runs[runs["epochs"] == self.budget]
        levels = pd.DataFrame([self.study.levels[signature] for signature in runs["variant_signature"]], runs.index)
        frame = levels.assign(seed=runs["seed"], accuracy=runs[VAL_ACCURACY.key].astype(float))
        return effects.grid_effects(frame, "accuracy", list(self.study.axes), "seed", self.selection.rule)

    @property
    def _varies_noise(self) -> bool:
        return self.study is not None and any(axis.startswith(noise.GROUP) for axis in self.study.axes)

    @cached_property
    def noise(self) -> pd.DataFrame:
        """Of a study that varies sources of chance: how much scatter each brings, a row a source."""
        if self.study is None or not self._varies_noise:
            return pd.DataFrame(columns=list(noise.COLUMNS))
        runs = self._alike(self.selection.own)
        return noise.by_source(runs[runs["epochs"] == self.budget], self.study.levels, self.study.baseline.signatures)

    @cached_property
    def histories(self) -> dict[str, pd.DataFrame]:
        """The epochs of each variant's runs at its longest budget."""
        ranked = self.leaderboard[self.leaderboard["rank"].notna()]
        return self._histories(_run_ids(own_longest(ranked)), PER_EPOCH)

    @cached_property
    def diagnosis(self) -> list[Finding]:
        """What to look at next, of a study."""
        if self._explainable is None:
            return []
        own = self.selection.own
        rows = self.leaderboard[self.leaderboard["variant_signature"].isin(own["variant_signature"])]
        compared = rows[rows["rank"].notna() & (rows["epochs"] == self.budget)]
        compared = compared[(compared["verdict"] == Comparison.BASELINE) | (compared.index == compared.index.min())]
        predictions, labels = self._predictions(_run_ids(compared))
        return diagnose(
            self.selection.at_epochs(own),
            rows,
            self._explainable.axes,
            budget=self.budget,
            histories=self.histories,
            predictions=predictions,
            labels=labels,
            rule=self.selection.rule,
        )

    def confusions(self) -> dict[str, NDArray[np.float64]]:
        """Of each variant at the budget the confusion matrix, the mean over its seeds."""
        rows = self.leaderboard[self.leaderboard["rank"].notna() & (self.leaderboard["epochs"] == self.budget)]
        predictions, labels = self._predictions(_run_ids(rows))
        of_variant = {
            row["variant"]: [predictions[run_id] for run_id in row["run_id"].split() if run_id in predictions]
            for _, row in rows.iterrows()
        }
        return {name: confusion(labels, np.stack(each)) / len(each) for name, each in of_variant.items() if each}

    @cached_property
    def notes(self) -> list[str]:
        """How the numbers were come by."""
        runs = self.selection.finished(self.selection.runs)
        pair_columns = self.selection.pair_columns if self.study else ()
        found = notes(self.leaderboard, runs, pair_columns, self.selection.rule)
        found += noise_lines(self.noise)
        return [*found, f"What is open, settle it with '{self.settling()}'."] if self.settling() else found

    @cached_property
    def _store(self) -> Store:
        """Opened when the first record is read, as opening a store makes it."""
        return Store(self.question.folder)

    def _histories(self, run_ids: Sequence[str], keys: Sequence[str]) -> dict[str, pd.DataFrame]:
        """The epochs of runs; of none, the store is not opened."""
        return self._store.histories(run_ids, keys) if run_ids else {}

    def _predictions(self, run_ids: Sequence[str]) -> tuple[dict[str, Classes], Classes]:
        """The classes that runs predict for each test image, and the true ones; runs without are left out."""
        answers = {run_id: pair for run_id in run_ids if (pair := self._answer(run_id)) is not None}
        labels = next((labels for labels, _ in answers.values()), np.zeros(0, np.uint8))
        return {key: predicted for key, (own, predicted) in answers.items() if np.array_equal(own, labels)}, labels

    def _correct(self, run_id: str) -> NDArray[np.bool_] | None:
        """Whether a run is right on each test image (n,), if it is known."""
        pair = self._answer(run_id)
        return None if pair is None else np.asarray(pair[0] == pair[1])

    def _answer(self, run_id: str) -> tuple[Classes, Classes] | None:
        """The true classes and the predicted ones, read once."""
        if run_id not in self._answers:
            arrays = self._store.predictions(run_id) or {}
            whole = {"test_labels", "test_predicted"} <= arrays.keys()
            self._answers[run_id] = (arrays["test_labels"], arrays["test_predicted"]) if whole else None
        return self._answers[run_id]

    def content(self) -> Content:
        """All of it."""
        finished = self.selection.finished(self.selection.runs)
        predictions, labels = self._predictions(list(finished["run_id"]))
        return Content(
            study=self.question.study or "all runs",
            question=self.study.question if self.study else "",
            setting=" ".join(self.question.overrides),
            command=self.command(),
            settling=self.settling(),
            leaderboard=self.leaderboard,
            claims=self.claims,
            effects=self.effects,
            noise=self.noise,
            diagnosis=self.diagnosis,
            runs=finished,
            histories=self.histories,
            predictions=predictions,
            labels=labels,
            images=self._images(labels),
            notes=[*self.notes, *share_lines(self.shares)],
            provenance=_provenance(finished),
            curves=curves(self.selection.comparable_searches),
            margin=self.selection.rule.margin,
        )

    def command(self) -> str:
        """The sweep that gives these runs, and those that claims still wait for."""
        store = [] if self.question.folder == STORE else [f"store={self.question.folder}"]
        if self.study is None:
            return command_for("sweep", "", store)
        finished = self.selection.finished(self.selection.own)
        ran = {f"study.{key}": {int(value) for value in finished[column]}
               for key, column in (("rungs", "epochs"), ("seeds", "seed"))}  # fmt: skip
        waiting = {verdict.key for verdict in self.claims if verdict.verdict == Judgement.NOT_RUN}
        sides = [side for claim in self.study.claims if claim.key in waiting for side in claim.sides]
        if waiting:
            ran["study.rungs"] |= {*self.study.rungs, *(side.epochs for side in sides if side.epochs)}
            ran["study.seeds"] |= {*self.study.seeds}
        declared = {"study.rungs": self.study.rungs, "study.seeds": self.study.seeds}
        more = [
            f"{key}={sorted(found)}".replace(" ", "")
            for key, found in ran.items()
            if found and sorted(found) != declared[key]
        ]
        kept = [
            text
            for text in self.question.overrides
            if text.partition("=")[0] not in [m.partition("=")[0] for m in more]
        ]
        return command_for("sweep", self.study.name, [*store, *kept, *more])

    def settling(self) -> str:
        """The command that trains what open questions of the study wait for; empty if there is none, or none may."""
        if self.study is None or not (any(map(self._may_be_settled, self.claims)) or self._has_open_rows()):
            return ""
        if self._varies_noise:  # whose levels are but other draws
            return ""
        store = [] if self.question.folder == STORE else [f"store={self.question.folder}"]
        named = {side.epochs for claim in self.study.claims for side in claim.sides if side.epochs}
        rungs = sorted({*self.study.rungs, *named})
        longer = [] if rungs == sorted(self.study.rungs) else [f"study.rungs={rungs}".replace(" ", "")]
        dropped = ("study.seeds=", *(("study.rungs=",) if longer else ()))
        kept = [text for text in self.question.overrides if not text.startswith(dropped)]
        return command_for("settle", self.study.name, [*store, *kept, *longer])

    def _may_be_settled(self, verdict: Verdict) -> bool:
        is_open = verdict.verdict in (Judgement.NOT_RUN, Judgement.ONE_SEED, Judgement.OPEN)
        is_another = any(reason.kind == claims.Kind.OTHER_BASELINE for reason in verdict.reasons)
        return is_open and not is_another and verdict.seeds < self.selection.rule.most

    def _has_open_rows(self) -> bool:
        rows = self.leaderboard[self.leaderboard["epochs"] == self.budget]
        is_open = rows["verdict"].isin([Comparison.OPEN, Comparison.ONE_SEED])
        return bool((is_open & (rows["pairs"] < self.selection.rule.most)).any())

    def _images(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The test images if they can be had here and are those that the runs saw, else none."""
        from fmnist.training import data

        try:
            study = [f"study={self.question.study}"] if self.study else []
            images, theirs = data.load_test(compose_config([*study, *self.question.overrides]).data)
        except UserError:
            return np.zeros((0, 28, 28), np.uint8)
        return images[..., 0] if np.array_equal(theirs, labels) else np.zeros((0, 28, 28), np.uint8)


def answer(question: Question, digest: str = "") -> Findings:
    """What a store shows of a question.

    Raises:
        UserError: the study, an override or the baseline is unknown.
    """
    return Findings(select(question, digest))


def _run_ids(rows: pd.DataFrame) -> list[str]:
    return [run_id for run_ids in rows["run_id"] for run_id in run_ids.split()]


def _provenance(runs: pd.DataFrame) -> dict[str, str]:
    """Where the runs came from."""
    facts = {"runs": f"{len(runs):,}", **{name: ", ".join(texts) for name, texts in sources(runs).items()}}
    if len(runs):
        ends = [time.gmtime(runs["start_time"].agg(end) / 1000) for end in ("min", "max")]
        facts["run"] = " to ".join(dict.fromkeys(time.strftime("%Y-%m-%d", end) for end in ends))
    return facts
