"""Processes side by side, for sweeps and searches alike: Hydra's launcher starts them, here or on a cluster.

Locally joblib, elsewhere Ray or submitit. In all of them a worker that dies takes the whole batch along.
"""

import importlib
import logging
import os
import re
import signal
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache, partial
from shutil import which
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from fmnist import machine, signals, temporary
from fmnist.config import RunError, UserError
from fmnist.study.compose import SweeperError
from fmnist.words import shown
from fmnist.work.console import console

if TYPE_CHECKING:
    from fmnist.tracking import Store

WORKER_BYTES = 1_500_000_000  # what a worker takes for the baseline on all images
RAY = {"object_store_memory": 78_643_200}  # the least: the store says all there is
QUIET = "ignore:resource_tracker:UserWarning"  # joblib's, which cleans up after those that are killed
MOST_JOBS = 512
HOPELESS = 3  # launches in a row that end with dead workers and without progress
Task = Callable[[], Any]  # what a process does; it must be picklable


class HopelessError(RunError):
    """Workers die whenever they are started."""


class LaunchingSweeper(Sweeper):
    """What Hydra calls a sweeper: starts processes by the launcher that the command line chooses."""

    config: DictConfig  # with Hydra's own part
    hydra_context: HydraContext
    overrides: list[str]  # that hold for every job

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context, self.config = hydra_context, config
        self.console = console()

    def sweep(self, arguments: list[str]) -> Any:
        """Called by Hydra, whose own errors tell of what was typed."""
        try:
            return self.carry_out(arguments)
        except Exception as error:
            raise SweeperError from error

    @abstractmethod
    def carry_out(self, arguments: list[str]) -> Any:
        """Carry out what the command line asks for."""

    def say(self, text: str) -> None:
        """Print a text as it is."""
        self.console.print(text, markup=False)

    def parsed(self, arguments: list[str]) -> list[Override]:
        """The command line's overrides."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        return parser.parse_overrides(arguments)

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
        if isinstance(jobs, bool) or not isinstance(jobs, int) or not (1 <= jobs <= MOST_JOBS or jobs == -1):
            allowed = f"from 1 to {MOST_JOBS}, or -1 for as many as cores"
            raise UserError(f"hydra.launcher.n_jobs must be {allowed}, but got {shown(jobs)}")
        if jobs != -1:
            return jobs
        return max(1, min(machine.cores(), machine.free_memory() // WORKER_BYTES))  # joblib would count hyperthreads

    def launch(self, tasks: Sequence[Task], record: str, labels: Sequence[list[str]] | None = None) -> list[Any]:
        """A process for each task; returns what they return, once all have ended.

        Args:
            record: of the sweep or search in the store, its run's id; on other machines processes end when it is over.
            labels: overrides of each task, which replace those of the same keys; by them a cluster names its jobs.

        Raises:
            Exception: a task could not go on, or a process died.
        """
        config = self.config.copy()
        is_over = partial(_is_over, config.store, record, machine.this_process())
        if self.is_local:  # with one job joblib would work in this process, and load TensorFlow into it
            config.hydra.launcher.n_jobs = max(2, len(tasks))
        watch = None if self.is_local else partial(_interrupted_when, is_over, len(tasks))
        is_ray = config.hydra.launcher._target_.endswith(".RayLauncher")
        # Ray's processes have its nodes' environment, Slurm's the command's. Nothing here is written anywhere.
        names = [name for name in os.environ if is_ray and name.startswith("MLFLOW_TRACKING_")]
        job = partial(_carry_out, list(tasks), watch, {name: os.environ[name] for name in names})
        launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=job, config=config
        )
        if self.is_local:
            os.environ.setdefault("PYTHONWARNINGS", QUIET)
            launcher.joblib |= {"initializer": signals.end_with, "initargs": (os.getpid(),)}
        if is_ray:
            _start_ray(launcher.ray_cfg.init)
        if config.hydra.launcher._target_.endswith(".SlurmLauncher") and not which("sbatch"):
            raise UserError(
                "hydra/launcher: Slurm's sbatch is not on this machine; submit where it is, or leave it out"
            )
        returned = launcher.launch([self._merged(label) for label in labels or [[]] * len(tasks)], initial_job_idx=0)
        for one in returned:
            if one.status == JobStatus.FAILED:
                raise one._return_value
        return [one.return_value for one in returned]

    def in_spite_of_deaths(
        self, launch: Task, recover: Task, *, count: Callable[[], int], progress: str, remedy: str
    ) -> Any:
        """Launch, and recover and launch again until no worker dies; returns what `launch` returns.

        `count` says how often there has been progress ("finishing an epoch"), and `remedy` what people may try.

        Raises:
            HopelessError: workers died time after time without progress.
        """
        deaths = 0  # without progress
        while True:
            before, killed = count(), machine.killed_for_memory()
            try:
                return launch()
            except (RunError, UserError):
                raise
            except Exception as error:
                recover()
                deaths = 0 if count() > before else deaths + 1
                cause = _cause(error, machine.killed_for_memory() > killed)
                if deaths == HOPELESS:
                    output = "above" if self.is_local else f"in {self.config.hydra.sweep.dir}"
                    raise HopelessError(
                        f"workers died {HOPELESS} times without {progress}; try {remedy} (the last: {cause}; "
                        f"what it printed stands {output})"
                    ) from error
                self.say(f"a worker died ({cause}); what it worked on is started again")

    def _merged(self, label: list[str]) -> list[str]:
        keys = {text.split("=")[0] for text in label}
        return [*(text for text in self.overrides if text.split("=")[0] not in keys), *label]


@cache
def _store(folder: str) -> "Store":
    from fmnist.tracking import Store

    return Store(folder, answered_before=True)


def _is_over(folder: str, record: str, process: str) -> bool:
    """Whether the process of a sweep or search has ended: it was interrupted, or killed."""
    from fmnist.tracking import StoreError

    if machine.is_gone(process):
        return True
    with suppress(StoreError, UserError):
        return not _store(folder).goes_on(record, wait=False)
    return False


def _interrupted_when(is_over: Callable[[], bool], workers: int) -> AbstractContextManager[None]:
    """Interrupt a worker on another machine when its sweep is over; the more there are, the less each asks."""
    from fmnist.tracking.leases import pause

    return signals.interrupted_when(is_over, partial(pause, workers))


def _cause(error: Exception, killed_for_memory: bool) -> str:
    """What is known of a worker's death; memory is to blame where the system, or the worker, says so."""
    codes = re.search(r"exit codes of the workers are {(.*)}", str(error))  # joblib's
    last = codes[1] if codes else (str(error).splitlines() or [""])[0][:200]
    memory = ", for lack of memory" if isinstance(error, MemoryError) or (killed_for_memory and "KILL" in last) else ""
    return f"{type(error).__name__}: {last}{memory}"


def _carry_out(
    tasks: list[Task],
    watch: Callable[[], AbstractContextManager[None]] | None,
    environment: dict[str, str],
    composed: DictConfig,
) -> Any:
    """What a job of the launcher does: one of the tasks, by its number."""
    os.environ.update(environment)
    at_limits = signals.interrupted_by_errors(signal.SIGUSR1, signal.SIGUSR2)  # Slurm's, by submitit
    with at_limits, watch() if watch else nullcontext():
        temporary.claim()
        logging.getLogger("fmnist.tracking.stored").setLevel(logging.ERROR)  # the command has said it already
        os.chdir(HydraConfig.get().runtime.cwd)  # where paths begin, whatever hydra.job.chdir says
        return tasks[HydraConfig.get().job.num]()


def _start_ray(options: DictConfig) -> None:
    """Start Ray before its launcher would, and take SIGTERM back, for which it has a handler that aborts."""
    ray: Any = importlib.import_module("ray")  # no package of ours
    if not ray.is_initialized():
        chosen: Any = OmegaConf.to_container(options, resolve=True)
        ours = {} if chosen.get("address") else RAY  # a cluster that runs has its memory already
        with signals.preserved(signal.SIGTERM):
            ray.init(**{"log_to_driver": False} | ours | chosen)
