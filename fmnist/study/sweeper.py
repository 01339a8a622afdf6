"""The Hydra sweeper: works a study out, launches what is missing rung by rung, and shows each rung's leaderboard."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig
from rich.console import Console

from fmnist import machine
from fmnist.config import CONF, Config, RunError, StudyConfig, UserError, check, suggest
from fmnist.study import plan
from fmnist.study.compose import CONFIG_NAME, compose_config, to_config
from fmnist.study.progress import clock, plan_table
from fmnist.training import checkpoint, data


def job(composed: DictConfig) -> dict[str, float]:
    """What a worker does with a composed config: one run, quietly."""
    from fmnist import run

    return run.execute(to_config(composed)).metrics


def variants_of(study: str, overrides: Sequence[str] = ()) -> set[str]:
    """Names of the variants of a declared study, its baseline moved by overrides.

    Raises:
        UserError: there is no such study, or an override makes it impossible.
    """
    known = sorted(file.stem for file in (CONF / "study").glob("*.yaml") if file.stem != "none")
    if study not in known:
        hint = suggest(study, known)
        raise UserError(f"there is no study '{study}' in conf/study; known are {', '.join(known)}{hint}")
    asked = [f"study={study}", *overrides]
    config = compose_config(asked)
    return plan.variant_names(plan.variants(config.study, lambda more: compose_config([*asked, *more])))


class StudySweeper(Sweeper):
    """Turns a study, or comma-separated values on the command line, into runs, and launches those not yet done."""

    config: DictConfig
    launcher: Launcher
    hydra_context: HydraContext

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context, self.config = hydra_context, config
        if config.hydra.launcher.get("n_jobs") == -1:  # joblib would count hyperthreads
            config.hydra.launcher.n_jobs = machine.cores()
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=job, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Work out and carry out the sweep that the command line asks for.

        Raises:
            UserError: the study or one of its points is impossible; nothing has started.
            RunError: runs failed; all others are done.
        """
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        fixed, study = _split(parser.parse_overrides(arguments), to_config(self.config).study)
        points = self._points(fixed, study)
        dataset = data.load(points[0].config.data)
        planned = self._plan(points, study, dataset)
        console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
        console.print(plan_table(planned, study, self._workers()))
        failures = self._carry_out(planned, fixed, console)
        if failures:
            raise RunError(f"{len(failures)} of {len(planned)} runs failed: " + "; ".join(failures))

    def _workers(self) -> int:
        return int(self.config.hydra.launcher.get("n_jobs", 1))

    def _points(self, fixed: list[str], study: StudyConfig) -> list[plan.Variant]:
        def at(more: Sequence[str]) -> Config:
            composed = self.hydra_context.config_loader.load_configuration(
                CONFIG_NAME, [*fixed, *more], run_mode=RunMode.RUN
            )
            return machine.resolve(_one_thread(to_config(composed)))

        check(at(()))
        return plan.variants(study, at)

    def _plan(self, points: list[plan.Variant], study: StudyConfig, dataset: data.Dataset) -> list[plan.PlannedRun]:
        from fmnist import run, tracking

        store = self.config.store
        runs = tracking.load(store)

        def checkpointed(trajectory: str, epoch: int) -> int:
            found = checkpoint.newest(run.checkpoints(store, trajectory), epoch)
            return found[0][0] if found else 0

        def speed(config: Config) -> float:
            return plan.pace(runs, config) or 0.6 * machine.matmul_flops_per_second()

        return plan.work_out(
            points,
            study,
            runs=runs,
            data_digest=dataset.digest,
            images=len(dataset.train_labels),
            checkpointed=checkpointed,
            flops_per_second=speed,
        )

    def _carry_out(self, planned: list[plan.PlannedRun], fixed: list[str], console: Console) -> list[str]:
        from fmnist import tracking

        failures: list[str] = []
        launched = 0
        tracking.Book(self.config.store)  # database and experiment exist before the workers start
        for rung in sorted({entry.config.epochs for entry in planned}):
            of_rung = [entry for entry in planned if entry.config.epochs == rung]
            missing = [entry for entry in of_rung if not entry.done]
            began = time.monotonic()
            returns: Sequence[JobReturn] = ()
            if missing:
                jobs = [_job(entry, fixed) for entry in missing]
                returns = self.launcher.launch(jobs, initial_job_idx=launched)
                launched += len(jobs)
            for entry, returned in zip(missing, returns, strict=True):
                if returned.status == JobStatus.FAILED:
                    failures.append(f"{entry.name}: {returned._return_value}")
            took = f"{len(missing)} runs in {clock(time.monotonic() - began)}" if missing else "nothing to do"
            console.print(f"\n[bold]Rung {rung}[/]: {took}")
            console.print(_board(self.config.store, of_rung), markup=False)
        return failures


def _split(overrides: list[Override], declared: StudyConfig) -> tuple[list[str], StudyConfig]:
    """Separate what every run gets from what varies.

    Comma-separated values become axes, rungs (`epochs=1,3`) or seeds (`seed=0,1`) of the study; beside a declared
    study a single `epochs` or `seed` replaces its rungs or seeds too.
    """
    study = declared if declared.name else StudyConfig(name="sweep", design="grid", rungs=[], seeds=[])
    fixed: list[str] = []
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            if not override.is_discrete_sweep():
                raise UserError(f"{key}: only lists of values can be swept ({key}=1,2)")
            values: list[Any] = list(override.sweep_iterator())
        elif declared.name and key in ("epochs", "seed"):
            values = [override.value()]
        else:
            fixed.append(override.input_line or "")
            continue
        if key == "epochs":
            study.rungs = [_whole(key, value) for value in values]
        elif key == "seed":
            study.seeds = [_whole(key, value) for value in values]
        else:
            study.axes[key] = values
    if not declared.name:
        base = {entry.get_key_element(): entry.value() for entry in overrides if not entry.is_sweep_override()}
        study.rungs = study.rungs or [_whole("epochs", base.get("epochs", Config().epochs))]
        study.seeds = study.seeds or [_whole("seed", base.get("seed", Config().seed))]
    return fixed, study


def _whole(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{key} must be a whole number, but got {value}")
    return value


def _one_thread(config: Config) -> Config:
    """Workers use one thread unless told otherwise: their numbers shall not depend on the machine's cores."""
    config.compute.threads = config.compute.threads or 1
    return config


def _job(entry: plan.PlannedRun, fixed: list[str]) -> list[str]:
    config = entry.config
    ours = [f"epochs={config.epochs}", f"seed={config.seed}", f"compute.threads={config.compute.threads}"]
    kept = [text for text in fixed if text.split("=")[0] not in ("epochs", "seed", "compute.threads")]
    return [*kept, *entry.overrides, *ours]


def _board(store: str, of_rung: list[plan.PlannedRun]) -> str:
    from fmnist import tracking
    from fmnist.analysis.leaderboard import leaderboard, render

    runs = tracking.load(store)
    return render(leaderboard(runs[runs["signature"].isin({entry.signed.run for entry in of_rung})]), "table")
