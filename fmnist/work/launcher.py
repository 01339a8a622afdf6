"""Processes side by side, for sweeps and searches alike: Hydra's launcher starts them, here or on a cluster.

Locally joblib, elsewhere Ray or submitit. In all of them a worker that dies takes the whole batch along.
"""

import importlib
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from fmnist import machine, signals
from fmnist.config import RunError, UserError

if TYPE_CHECKING:
    from fmnist.tracking import Store

WORKER_BYTES = 1_500_000_000  # what a worker takes for the baseline on all images
RAY = {"log_to_driver": False, "object_store_memory": 78_643_200}  # the store says all there is; Ray's least
QUIET = "ignore:resource_tracker:UserWarning"  # joblib's, which cleans up after those that are killed
HOPELESS = 3  # launches in a row that end with dead workers and without progress
Task = Callable[[], Any]  # what a process does; it must be picklable


@dataclass
class Starter:
    """The process that has started others and its record in the store, for those that are no children of it."""

    folder: str  # of the store
    record: str  # of its sweep or search: the id of a run
    process: str  # as `machine.this_process` names it

    @cached_property
    def _store(self) -> "Store":
        from fmnist.tracking import Store

        return Store(self.folder, answered_before=True)

    def has_ended(self) -> bool:
        """Whether it has: it was interrupted, or killed on this machine."""
        from fmnist.tracking import StoreError

        if machine.is_gone(self.process):
            return True
        with suppress(StoreError, UserError):
            return not self._store.is_running(self.record, wait=False)
        return False


@dataclass
class Launcher:
    """Hydra's launcher as the command line chooses it."""

    context: HydraContext
    config: DictConfig  # with Hydra's own part
    overrides: list[str]  # that hold for every job

    @property
    def is_local(self) -> bool:
        """Whether the processes are children of this one, on its machine."""
        return "n_jobs" in self.config.hydra.launcher

    def workers(self, trajectories: int) -> int:
        """How many processes work side by side: on a cluster one for each trajectory, as far as it has room.

        Raises:
            UserError: n_jobs is no number of processes.
        """
        if not self.is_local:
            return trajectories
        jobs = self.config.hydra.launcher.n_jobs
        if isinstance(jobs, bool) or not isinstance(jobs, int) or (jobs < 1 and jobs != -1):
            raise UserError(f"hydra.launcher.n_jobs must be at least 1, or -1 for as many as cores, but got {jobs}")
        if jobs != -1:
            return jobs
        return max(1, min(machine.cores(), machine.free_memory() // WORKER_BYTES))  # joblib would count hyperthreads

    def launch(self, tasks: Sequence[Task], starter: Starter, labels: Sequence[list[str]] | None = None) -> list[Any]:
        """A process for each task; returns what they return, once all have ended.

        Args:
            tasks: what the processes do.
            starter: this process, with which those on other machines end.
            labels: overrides of each task, which replace those of the same keys; by them a cluster names its jobs.

        Raises:
            Exception: a task could not go on, or a process died.
        """
        config = self.config.copy()
        if self.is_local:  # with one job joblib would work in this process, and load TensorFlow into it
            config.hydra.launcher.n_jobs = max(2, len(tasks))
        job = partial(_carry_out, list(tasks), None if self.is_local else starter)
        launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=job, config=config
        )
        if self.is_local:
            os.environ.setdefault("PYTHONWARNINGS", QUIET)
            launcher.joblib |= {"initializer": signals.end_with, "initargs": (os.getpid(),)}
        if config.hydra.launcher._target_.endswith(".RayLauncher"):
            _start_ray(launcher.ray_cfg.init)
        jobs = [self._merged(label) for label in labels or [[]] * len(tasks)]
        returned = launcher.launch(jobs, initial_job_idx=0)
        for one in returned:
            if one.status == JobStatus.FAILED:
                raise one._return_value
        return [one.return_value for one in returned]

    def _merged(self, label: list[str]) -> list[str]:
        keys = {text.split("=")[0] for text in label}
        return [*(text for text in self.overrides if text.split("=")[0] not in keys), *label]


def _carry_out(tasks: list[Task], starter: Starter | None, composed: DictConfig) -> Any:
    """What a job of the launcher does: one of the tasks, by its number."""
    with signals.interrupted_when(starter.has_ended) if starter else nullcontext():
        return tasks[HydraConfig.get().job.num]()


def _start_ray(options: DictConfig) -> None:
    """Start Ray before its launcher would, and take SIGTERM back, for which it has a handler that aborts."""
    ray: Any = importlib.import_module("ray")  # no package of ours
    if not ray.is_initialized():
        chosen: Any = OmegaConf.to_container(options, resolve=True)
        with signals.preserved(signal.SIGTERM):
            ray.init(**RAY | chosen)


@dataclass
class Deaths:
    """Launches in a row that ended with a dead worker and had come no further."""

    progress: str  # what did not happen: "finishing an epoch"
    remedy: str
    count: int = 0

    def add(self, error: Exception, has_progressed: bool) -> str:
        """Count one more, and return what to tell people.

        Raises:
            RunError: there is no hope.
        """
        self.count = 0 if has_progressed else self.count + 1
        if self.count == HOPELESS:
            raise RunError(
                f"workers died {HOPELESS} times without {self.progress}, for lack of memory perhaps; "
                f"try {self.remedy} (the last error: {_line(error)})"
            ) from error
        return f"a worker died ({type(error).__name__}); what it worked on is started again"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


class LaunchingSweeper(Sweeper):
    """What sweepers here have in common: the command line as Hydra has read it, and the launcher that it chooses."""

    config: DictConfig
    hydra_context: HydraContext

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context, self.config = hydra_context, config

    def parsed(self, arguments: list[str]) -> list[Override]:
        """The command line's overrides."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        return parser.parse_overrides(arguments)

    def make_launcher(self, overrides: list[str]) -> Launcher:
        """The launcher, with the overrides that hold for every job."""
        return Launcher(self.hydra_context, self.config, overrides)
