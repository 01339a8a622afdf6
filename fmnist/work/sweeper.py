"""The Hydra sweeper: works a study out, launches workers for what is missing, and shows how it goes on."""

import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from fmnist import machine, signals
from fmnist.checks import check
from fmnist.config import Config, StudyConfig, UserError
from fmnist.study import pace, plan
from fmnist.study.compose import TRAIN, to_config
from fmnist.training import checkpoint, data
from fmnist.training.locking import checkpoint_folder
from fmnist.work.progress import plan_summary, plan_table, run_table
from fmnist.work.sweep import Sweep
from fmnist.work.worker import Worker

if TYPE_CHECKING:
    import pandas as pd

WORKER_BYTES = 1_500_000_000  # what a worker takes for the baseline on all images
RAY = {"log_to_driver": False, "object_store_memory": 78_643_200}  # the store says all there is; Ray's least
QUIET = "ignore:resource_tracker:UserWarning"  # joblib's, which cleans up after those that are killed
WORTH_MEASURING = 90.0  # seconds: for a plan shorter than that a guess will do


def work(workers: list[Worker], composed: DictConfig) -> None:
    """What a job of the launcher does: it is one of the workers, by its number."""
    workers[HydraConfig.get().job.num]()


class StudySweeper(Sweeper):
    """Turns a study, or comma-separated values on the command line, into runs, and sees that all are done."""

    config: DictConfig
    hydra_context: HydraContext

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context, self.config = hydra_context, config

    def sweep(self, arguments: list[str]) -> Any:
        """Work out and carry out the sweep that the command line asks for.

        Raises:
            UserError: the study or one of its points is impossible; nothing has started.
            RunError: runs failed; all others are done.
        """
        from fmnist.tracking import load

        began = int(time.time() * 1000)
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        fixed, study = _split(parser.parse_overrides(arguments), to_config(self.config).study)
        points = self._points(fixed, study)
        dataset = data.load(points[0].config.data)
        runs = load(self.config.store)
        workers = self._workers(points, study)
        planned = self._plan(points, study, dataset, runs, workers)
        console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
        if study.dry_run:
            console.print(run_table(planned))
        console.print(plan_table(planned, study, workers))
        console.print(plan_summary(planned, runs), soft_wrap=True)
        if study.dry_run:
            return
        sweep = Sweep(
            planned=planned,
            study=study,
            store=self.config.store,
            patience=self.config.patience,
            began=began,
            workers=workers,
            is_local=self.is_local,
            launch=lambda staff: self._launch(staff, fixed),
            console=console,
        )
        sweep.carry_out()

    @property
    def is_local(self) -> bool:
        """Whether the workers are children of this process, on its machine."""
        return "n_jobs" in self.config.hydra.launcher

    def _workers(self, points: list[plan.Variant], study: StudyConfig) -> int:
        """Processes side by side: on a cluster one for each trajectory, as far as it has room."""
        if not self.is_local:
            return len(points) * len(set(study.seeds))
        jobs = int(self.config.hydra.launcher.n_jobs)
        if jobs != -1:
            return jobs
        return max(1, min(machine.cores(), machine.free_memory() // WORKER_BYTES))  # joblib would count hyperthreads

    def _points(self, fixed: list[str], study: StudyConfig) -> list[plan.Variant]:
        def at(more: Sequence[str]) -> Config:
            composed = self.hydra_context.config_loader.load_configuration(
                TRAIN.name, [*fixed, *more], run_mode=RunMode.RUN
            )
            return machine.resolve(_one_thread(to_config(composed)))

        check(at(()))
        return plan.variants(study, at)

    def _plan(
        self, points: list[plan.Variant], study: StudyConfig, dataset: data.Dataset, runs: "pd.DataFrame", workers: int
    ) -> list[plan.PlannedRun]:
        store = self.config.store

        def checkpointed(trajectory: str, epoch: int) -> int:
            found = checkpoint.newest(checkpoint_folder(store, trajectory), epoch)
            return found[0][0] if found else 0

        speed = pace.Pace(runs, [point.config for point in points])

        def work_out() -> list[plan.PlannedRun]:
            return plan.work_out(
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
        unknown = speed.untold([entry.config for entry in planned if not entry.done])
        if unknown and plan.estimate(planned, workers) > WORTH_MEASURING:
            print("measuring the pace of this machine (once) ...", flush=True)
            speed.measure(unknown, min(workers, machine.cores()))
            planned = work_out()
        return planned

    def _launch(self, staff: list[Worker], fixed: list[str]) -> None:
        """A job of Hydra's launcher for each worker.

        Raises:
            Exception: a worker could not go on, or died.
        """
        config = self.config.copy()
        if self.is_local:  # with one job joblib would work in this process, and load TensorFlow into it
            config.hydra.launcher.n_jobs = max(2, len(staff))
        launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=partial(work, staff), config=config
        )
        if self.is_local:
            os.environ.setdefault("PYTHONWARNINGS", QUIET)
            launcher.joblib |= {"initializer": signals.end_with, "initargs": (os.getpid(),)}
        if config.hydra.launcher._target_.endswith(".RayLauncher"):
            _start_ray(launcher.ray_cfg.init)
        jobs = [_overrides(worker, fixed) if not self.is_local else fixed for worker in staff]
        for returned in launcher.launch(jobs, initial_job_idx=0):
            if returned.status == JobStatus.FAILED:
                raise returned._return_value


def _start_ray(options: DictConfig) -> None:
    """Start Ray before its launcher would, and take SIGTERM back, for which it has a handler that aborts."""
    ray: Any = importlib.import_module("ray")  # no package of ours
    if not ray.is_initialized():
        chosen: Any = OmegaConf.to_container(options, resolve=True)
        with signals.preserved(signal.SIGTERM):
            ray.init(**RAY | chosen)


def _split(overrides: list[Override], declared: StudyConfig) -> tuple[list[str], StudyConfig]:
    """Separate what every run gets from what varies.

    Comma-separated values become axes, rungs (`epochs=1,3`) or seeds (`seed=0,1`) of the study; beside a declared
    study a single `epochs` or `seed` replaces its rungs or seeds too.
    """
    study = declared if declared.name else replace(declared, name="sweep", design="grid", rungs=[], seeds=[])
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


def _overrides(worker: Worker, fixed: list[str]) -> list[str]:
    """What a cluster's job is called by: its trajectory up to its last rung."""
    entry = worker.runs[-1]
    ours = [f"epochs={entry.config.epochs}", f"seed={entry.config.seed}"]
    return [*(text for text in fixed if text.split("=")[0] not in ("epochs", "seed")), *entry.overrides, *ours]
