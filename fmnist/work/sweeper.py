"""The Hydra sweeper: works a study out, launches workers for what is missing, and shows how it goes on."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override

from fmnist import machine
from fmnist.advice import command_for
from fmnist.config import STORE, Config, StudyConfig, UserError
from fmnist.schema import BASELINE
from fmnist.study.compose import compose_config, to_config
from fmnist.study.typed import group_files
from fmnist.words import shown
from fmnist.work.launcher import LaunchingSweeper

if TYPE_CHECKING:  # pandas, which the others import, would make --help slow
    import pandas as pd

    from fmnist.study.plan import PlannedRun, Variant
    from fmnist.study.question import Question
    from fmnist.training.data import Dataset

MOST_VALUES = 10_000  # of an option in a sweep
WORTH_MEASURING = 90.0  # seconds: for a plan shorter than that a guess will do


class StudySweeper(LaunchingSweeper):
    """Turns a study, or comma-separated values on the command line, into runs, and sees that all are done."""

    def carry_out(self, arguments: list[str]) -> Any:
        """Work out and carry out the sweep that the command line asks for.

        Raises:
            UserError: the study or one of its points is impossible; nothing has started.
            RunError: runs failed; all others are done.
        """
        from fmnist.tracking import load
        from fmnist.training import data
        from fmnist.work.sweep import Sweep
        from fmnist.work.sweep_progress import plan_summary, plan_table, run_table

        began = int(time.time() * 1000)
        parsed = self.parsed(arguments)
        fixed, study = _split(parsed, to_config(self.config).study)
        if study.settle:
            _check_settling(study, parsed)
        points = self._points(fixed, study)
        dataset = data.load(points[0].config.data)
        for point in points:
            data.check_rows(point.config, dataset)
            machine.use_backend(point.config)
        runs = load(self.config.store)
        self.overrides = fixed
        until = began / 1000 + 60 * study.minutes if study.minutes else float("inf")
        if study.settle:
            self._settle(points, study, dataset, runs, until)
            return
        workers = self.workers(len(points) * len(set(study.seeds)))
        planned = self._plan(points, study, dataset, runs, workers)
        if study.dry_run:
            self.console.print(run_table(planned))
        self.console.print(plan_table(planned, study, workers))
        self.say(plan_summary(planned, runs))
        if not study.dry_run:
            question = self._question(study)
            Sweep(planned, began, workers, self, until, question=question, recorded=runs).carry_out()
            self.say("\n  ".join(["next:", *self._next(study.name)]))

    def _settle(
        self, points: list["Variant"], study: StudyConfig, dataset: "Dataset", runs: "pd.DataFrame", until: float
    ) -> None:
        """Train what settles the study's open questions soonest."""
        from fmnist.study.declared import declare
        from fmnist.study.settle import budgets
        from fmnist.training.data import part_sizes
        from fmnist.work.settling import Settling

        if all(point.name != BASELINE for point in points):
            lacking = f"study {study.name} has no baseline to compare with"
            raise UserError(f"{lacking}: give each axis the level that the baseline has")
        question = self._question(study)
        assert question is not None  # `_check_settling` has looked
        _, epochs = budgets(declare(study.name, question.overrides, runs, dataset.digest))
        workers = self.workers(len(points))
        universe = replace(study, seeds=list(range(study.most_seeds)), rungs=epochs)
        planned = self._plan(points, universe, dataset, runs, workers)
        _, images = part_sizes(len(dataset.train_labels), points[0].config.data)
        settling = Settling(planned, question, dataset.digest, self, workers, images, until)
        settling.forecast()
        if not study.dry_run:
            settling.carry_out()
            self.say("\n  ".join(["next:", *self._next(study.name)]))

    def _question(self, study: StudyConfig) -> "Question | None":
        """What is asked of the store about a study; None of one that is not declared."""
        from fmnist.study.question import Question

        is_declared = study.name in group_files("study")
        return Question(self.config.store, study.name, self._options()) if is_declared else None

    def _options(self) -> list[str]:
        """Those that the study was run with."""
        keys = (
            "study",
            "store",
            "patience",
            *(f"study.{key}" for key in ("dry_run", "fail_fast", "settle", "minutes")),
        )
        return [text for text in self.overrides if not text.startswith(("hydra", *(f"{key}=" for key in keys)))]

    def _next(self, study: str) -> list[str]:
        """The commands that show what a sweep has come to, with its options."""
        options = self._options()
        store = [] if self.config.store == STORE else ["--store", self.config.store]
        if study not in group_files("study"):
            return [command_for("compare", "", store), command_for("ui", "", store)]
        shown = [command_for(target, study, [*store, *options]) for target in ("compare", "report")]
        return [*shown, command_for("ui", "", store)]

    def _points(self, fixed: list[str], study: StudyConfig) -> list["Variant"]:
        from fmnist.study.plan import variants

        def compose(changes: Sequence[str]) -> Config:
            config = compose_config([*fixed, *changes])
            config.compute.threads = config.compute.threads or 1  # the numbers shall not depend on the machine's cores
            return machine.resolve(config)

        return variants(study, compose)

    def _plan(
        self, points: list["Variant"], study: StudyConfig, dataset: "Dataset", runs: "pd.DataFrame", workers: int
    ) -> list["PlannedRun"]:
        from fmnist.study import pace, plan
        from fmnist.tracking import shared_epochs
        from fmnist.training import checkpoint
        from fmnist.training.locking import checkpoint_folder

        store = self.config.store
        shared = shared_epochs(store)

        def checkpointed(trajectory: str, epoch: int) -> int:
            here = [own for own, _ in checkpoint.newest(checkpoint_folder(store, trajectory), epoch)]
            return max([0, *here, *(other for other in shared.get(trajectory, []) if other <= epoch)])

        speed = pace.Pace(runs, [point.config for point in points])
        work_out = partial(
            plan.work_out,
            points,
            study,
            runs=runs,
            data_digest=dataset.digest,
            images=len(dataset.train_labels),
            checkpointed=checkpointed,
            flops_per_second=speed.of,
            seconds_per_run=pace.overhead(runs, points[0].config),
        )
        planned = work_out()
        unknown = speed.unknown([run.config for run in planned if not run.done])
        if unknown and plan.estimate(planned, workers) > WORTH_MEASURING:
            print("measuring the pace of this machine (once) ...", flush=True)
            if not speed.measure(unknown, min(workers, machine.cores())):
                print("it cannot be measured: the times below are a guess", flush=True)
            planned = work_out()
        return planned


def _check_settling(study: StudyConfig, overrides: Sequence[Override]) -> None:
    """Refuse what study.settle can do nothing with.

    Raises:
        UserError: says why.
    """
    if study.name not in group_files("study"):
        raise UserError("study.settle=true needs a study whose questions it can settle: begin with study=NAME")
    keys = [override.get_key_element() for override in overrides]
    if {"study.seeds", "seed"} & set(keys):
        raise UserError("study.settle=true chooses the seeds itself: leave out study.seeds, and set study.most_seeds")
    if "epochs" in keys:
        raise UserError("study.settle=true chooses among study.rungs: set those, not epochs")
    if swept := [key for key, override in zip(keys, overrides, strict=True) if override.is_sweep_override()]:
        raise UserError(f"study.settle=true needs axes of the study: write +study.axes.{swept[0]}=[...]")


def _split(overrides: list[Override], declared: StudyConfig) -> tuple[list[str], StudyConfig]:
    """Separate what every run gets from what varies.

    Comma-separated values become axes, rungs (`epochs=1,3`) or seeds (`seed=0,1`) of the study; beside a declared
    study a single `epochs` or `seed` replaces its rungs or seeds too.
    """
    from fmnist.study.plan import PLAIN

    study = declared if declared.name else replace(declared, name=PLAIN, design="grid", rungs=[], seeds=[])
    numbers: dict[str, list[Any]] = {"epochs": study.rungs, "seed": study.seeds}
    fixed: list[str] = []
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            if not override.is_discrete_sweep():
                raise UserError(f"{key}: only lists of values can be swept ({key}=1,2)")
            values = list(itertools.islice(override.sweep_iterator(), MOST_VALUES + 1))
            if len(values) > MOST_VALUES:
                raise UserError(f"{key} names more than {MOST_VALUES:,} values")
            (numbers if key in numbers else study.axes)[key] = values
        elif declared.name and key in numbers:
            numbers[key] = [override.value()]
        else:
            fixed.append(override.input_line or "")
    if not declared.name:
        base = {entry.get_key_element(): entry.value() for entry in overrides if not entry.is_sweep_override()}
        numbers = {key: values or [base.get(key, getattr(Config(), key))] for key, values in numbers.items()}
    study.rungs, study.seeds = ([_whole(key, value) for value in values] for key, values in numbers.items())
    return fixed, study


def _whole(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{key} must be a whole number, but got {shown(value)}")
    return value
