"""The experiment that all runs of a store are written in."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from mlflow.entities import Param, RunTag
from numpy.typing import NDArray

from fmnist import words
from fmnist.config import UserError
from fmnist.schema import COLUMNS, PER_EPOCH, Status
from fmnist.tracking.client import AwayError, Client, StoreError, address, elsewhere
from fmnist.tracking.database import create, is_new, read, take_place
from fmnist.tracking.ended_runs import read_all
from fmnist.tracking.run_writer import ERROR, PREDICTIONS, RunWriter
from fmnist.tracking.stored import (
    PAGE_OF,
    RUNNING,
    StoredRun,
    as_tags,
    as_text,
    check_classes,
    condition,
    leave_out,
    readable,
)

OPENING_SECONDS = 5.0  # that a store may take which has never answered
EXPERIMENT, SWEEPS, SEARCHES = "fmnist", "fmnist sweeps", "fmnist searches"
_DESCRIPTIONS = {  # that stand on their pages; a sweep and `make ui` say more about the first
    EXPERIMENT: "Hyperparameters of a small network for Fashion-MNIST: `make ui` opens its charts. Where this page "
    "shows GenAI's tabs, switch to *Model training* at its top left.",
    SWEEPS: "What each sweep announced to those who watch it (`make watch`). The runs themselves are in the experiment "
    f"*{EXPERIMENT}*.",
    SEARCHES: "A run is a search by Keras Tuner: its page has the history, the importance of each dimension and links "
    f"to the trials, whose runs are in the experiment *{EXPERIMENT}*. `make compare ARGS=--searches` lists all.",
}
PLAN = "plan.json"


class Store:
    """The experiment that all runs of a store are written in."""

    def __init__(self, folder: str | Path, patience: float = 0.0, answered_before: bool = False) -> None:
        """Open the store, creating database and experiments once, whoever comes first.

        Args:
            folder: of the database, or of the checkpoints alone where MLFLOW_TRACKING_URI is set.
            patience: seconds to wait in a call for a store that does not answer.
            answered_before: opening it waits as long, too; else not for long, for the address may be wrong.

        Raises:
            UserError: the store cannot be opened.
        """
        self.uri, self.folder = address(folder), Path(folder).resolve()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".setup.lock")  # simultaneous first use would race MLflow's migrations
            with lock if os.access(self.folder, os.W_OK) else nullcontext():  # or the store can only be read
                if is_new(self.uri):
                    create(self.uri)
                take_place(self.uri, self._artifacts, EXPERIMENT)
                self.client = Client(self.uri, patience if answered_before else min(patience, OPENING_SECONDS))
                self.id = self.experiment(EXPERIMENT)
                self._sweeps = self.experiment(SWEEPS)
                self.client.patience = patience
        except (StoreError, OSError) as error:
            raise UserError(f"the store cannot be opened: {error}{elsewhere(error, folder)}") from error

    def experiment(self, name: str) -> str:
        """The id of an experiment, made if need be; its artifacts lie in the store's folder."""
        experiment = self.client.get_experiment_by_name(name)
        if experiment is not None:
            return _living(experiment, self.uri)
        place = None if self.uri.startswith("http") else self._artifacts  # a server has a place of its own
        tags = as_tags({"note": _DESCRIPTIONS[name]})
        return str(self.client.create_experiment(name, artifact_location=place, tags=tags))

    @property
    def _artifacts(self) -> str:
        return (self.folder / "artifacts").as_uri()

    def stop_waiting(self) -> None:
        """Wait no longer for a store that does not answer, in calls under way neither, nor long for one that hangs."""
        self.client.patience = 0.0
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "2"

    def runs(self, condition: str = "") -> Iterator[StoredRun]:
        """All runs of ours that are not deleted and meet MLflow's filter, newest first."""
        return readable(self.client.all_runs(self.id, condition))

    def find(self, signature: str) -> StoredRun | None:
        """The run of that signature: the finished one if there is one, else the latest attempt."""
        runs = list(self.runs(condition("signature", signature)))
        return next((run for run in runs if run.status == Status.FINISHED), runs[0] if runs else None)

    def begin(self, name: str, signature: str, params: dict[str, Any], description: dict[str, Any]) -> RunWriter:
        """Start a run, whose description is one for `as_tags`, or go on with an attempt that did not finish."""
        run, tags = self.find(signature), as_tags(description)
        signed = tags | as_tags({"signature": signature})
        run_id = run.run_id if run else self.client.new_run(self.id, name, signed)
        self.client.log_batch(  # killed before this is done, an attempt has no parameters: hence for all
            run_id,
            params=[Param(key, as_text(value)) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        self.client.update_run(run_id, status=Status.RUNNING)
        return RunWriter(self.client, run_id)

    def running(self) -> list[StoredRun]:
        """The runs that a process works on, or worked on when it was killed."""
        return list(self.runs(RUNNING))

    def failed(self) -> list[StoredRun]:
        """The runs whose last attempt has failed."""
        return list(self.runs(f"attributes.status = '{Status.FAILED}'"))

    def all_runs(self, also_changed: bool = False) -> list[StoredRun]:
        """All runs of ours that are not deleted, newest first, as fast as the store allows.

        Args:
            also_changed: those too that are not as they were written.
        """
        found = read(self.uri, EXPERIMENT)
        runs = all_of(self.client, self.id, self.folder) if found is None else found
        return list(runs if also_changed else readable(runs))

    def newest_end(self) -> int:
        """When the last of all runs has ended, in ms by the clocks of those that wrote; 0 where none has."""
        page = self.client.search_runs([self.id], order_by=["attributes.end_time DESC"], max_results=1)
        return max((run.info.end_time or 0 for run in page), default=0)

    def ended_after(self, moment: int) -> list[StoredRun]:
        """The runs that have ended after a moment (ms), by the clocks of those that wrote."""
        return list(self.runs(f"attributes.end_time > {moment}"))

    def of_trajectories(self, trajectories: Iterable[str]) -> list[StoredRun]:
        """The runs of these trajectories, whatever has become of them."""
        return [run for each in trajectories for run in self.runs(condition("trajectory_signature", each))]

    def models(self, run_id: str) -> list[str]:
        """The ids of the models that a run has left."""
        outputs = self.client.get_run(run_id).outputs
        return [model.model_id for model in outputs.model_outputs] if outputs else []

    def histories(self, run_ids: Iterable[str]) -> dict[str, pd.DataFrame]:
        """The epochs of runs, by run id: a row an epoch (1 to n) and the columns of `schema.PER_EPOCH`.

        Losses in nats, accuracies as shares, seconds; NaN where a number is missing. Runs that have logged no epoch,
        or are not there, are left out.

        Raises:
            StoreError: the store refuses or does not answer.
        """
        histories = {}
        for run_id in run_ids:
            columns = {key: self.client.by_step(run_id, key) for key in PER_EPOCH}
            history = pd.DataFrame(columns, dtype=float).sort_index().rename_axis("epoch")
            if len(history):
                histories[run_id] = history
        return histories

    def predictions(self, run_id: str) -> dict[str, NDArray[Any]] | None:
        """The arrays by name that a run's `predictions.npz` holds, None where it is missing, or damaged and named.

        Raises:
            AwayError: the store does not answer.
        """
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = self.client.download_artifacts(run_id, PREDICTIONS, folder)
                with Path(file).open("rb") as stream, np.load(stream, allow_pickle=False) as opened:
                    arrays = dict(opened)
            check_classes(arrays["test_labels"], arrays["test_predicted"])
        except AwayError:
            raise
        except StoreError:
            return None
        except Exception as error:  # there is no end to what numpy makes of a damaged file
            leave_out(run_id, PREDICTIONS, f"it is damaged ({error})")
            return None
        return arrays

    def error(self, run_id: str) -> str:
        """The traceback that a failed run left, nothing if it left none."""
        return self.text(run_id, ERROR)

    def text(self, run_id: str, artifact: str) -> str:
        """A text that a run has kept, nothing if it cannot be read."""
        with suppress(StoreError, OSError), tempfile.TemporaryDirectory() as folder:
            return Path(self.client.download_artifacts(run_id, artifact, folder)).read_text("utf-8", "replace")
        return ""

    def announce(self, name: str, plan: dict[str, Any]) -> str:
        """Open the record of a sweep, for those who watch; returns its id. It stands beside the experiment of runs."""
        run_id = self.client.new_run(self._sweeps, name)
        self.client.log_dict(run_id, plan, PLAN)
        return run_id

    def page(self, study: str) -> RunWriter:
        """The page of a study, below which MLflow's UI shows its runs; it is no run of ours."""
        found = next(self.client.all_runs(self.id, condition(PAGE_OF, study)), None)
        if found is None:
            run_id = self.client.new_run(self.id, f"study {study}", as_tags({PAGE_OF: study}))
            self.client.set_terminated(run_id)
        return RunWriter(self.client, found.run_id if found else run_id)

    def sweeps(self, condition: str = "") -> Iterator[tuple[str, str]]:
        """Id and status of every sweep that meets MLflow's filter, the latest first."""
        return ((sweep.run_id, sweep.status) for sweep in self.client.all_runs(self._sweeps, condition))

    def plan(self, sweep: str) -> dict[str, Any] | None:
        """What a sweep was announced with; None if it was killed before it had, {} if that is damaged."""
        text = self.text(sweep, PLAN)
        with suppress(ValueError, TypeError):
            return dict(json.loads(text)) if text else None
        return {}

    def is_running(self, run_id: str, wait: bool = True) -> bool:
        """Whether a run or a sweep still stands as running; with or without waiting for a store that is away."""
        get_run = self.client.get_run if wait else self.client.at_once("get_run")
        return bool(get_run(run_id).info.status == Status.RUNNING)

    def status(self, run_id: str) -> str:
        """Of a run or a sweep."""
        return str(self.client.get_run(run_id).info.status)

    def mark(self, run_id: str, search: str, *, trial: str, parent: str = "", confirms: bool = False) -> None:
        """Mark a run as used by a search of that name; one that several used names all, and belongs to the first.

        Args:
            run_id: of the run.
            search: its name.
            trial: the run's number in it.
            parent: id of its record, below which MLflow's UI is to show the run.
            confirms: only to compare what was chosen before with the baseline; no more once a search chose by the run.
        """
        tags = self.client.get_run(run_id).data.tags
        names = str(COLUMNS["search"].read(tags)).split()
        if search in names:
            return
        changes: dict[str, Any] = {"search": " ".join([*names, search])}
        if not names:
            changes |= {"trial": trial, "parent": parent or None, "confirms": confirms or None}
        elif not confirms:
            changes["confirms"] = False
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in as_tags(changes).items()])

    def close(self, run_id: str, status: str) -> None:
        """End a run or a sweep that nobody works on any more."""
        self.client.set_terminated(run_id, status)


def all_of(client: Client, experiment: str, folder: Path) -> list[StoredRun]:
    """All runs of an experiment that are not deleted, newest first; of a server the ended ones are kept in a folder."""
    is_server = client.uri.startswith("http")
    return read_all(client, experiment, folder) if is_server else list(client.all_runs(experiment))


@dataclass(frozen=True)
class Experiment:
    """An experiment of a store that is only read."""

    client: Client
    id: str

    def runs(self) -> Iterator[StoredRun]:
        """All its runs that are not deleted, newest first."""
        return self.client.all_runs(self.id)


def _living(experiment: Any, uri: str) -> str:
    """The id of MLflow's experiment.

    Raises:
        UserError: it was deleted.
    """
    if experiment.lifecycle_stage == "deleted":
        restore = f"MLFLOW_TRACKING_URI='{uri}' python -m mlflow experiments restore -x {experiment.experiment_id}"
        gone = f"the experiment '{experiment.name}' was deleted in MLflow, and with it its runs"
        raise UserError(words.without_passwords(f"{gone}; get them back with: {restore}"))
    return str(experiment.experiment_id)


@contextmanager
def reading(folder: str | Path, name: str) -> Iterator[Experiment | None]:
    """An experiment of a store by its name, to be read; None where nothing is recorded yet.

    Nothing is created, and a store that does not answer is not waited for.

    Raises:
        UserError: the store cannot be read, now or in the block.
    """
    uri = address(folder)
    try:
        client = None if is_new(uri) else Client(uri, patience=0.0)
        entity = client and client.get_experiment_by_name(name)
        yield Experiment(client, _living(entity, uri)) if client and entity else None
    except StoreError as error:
        raise UserError(f"cannot read {uri}: {error}{elsewhere(error, folder)}") from error


def experiment_id(folder: str | Path) -> str | None:
    """The id of the experiment of a store, None where nothing is recorded yet; nothing is created.

    Raises:
        UserError: the store cannot be read.
    """
    with reading(folder, EXPERIMENT) as experiment:
        return None if experiment is None else experiment.id
