"""The experiment that all runs of a store are written in."""

import logging
import os
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from mlflow.entities import Param, RunTag, ViewType
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from numpy.typing import NDArray

from fmnist import words
from fmnist.advice import command_for
from fmnist.config import UserError
from fmnist.schema import COLUMNS, PER_EPOCH, Column, Status
from fmnist.tracking.client import (
    SCHEME,
    AwayError,
    Client,
    StoreError,
    UnusableError,
    address,
    database_path,
    elsewhere,
    stored,
)
from fmnist.tracking.database import create, is_new, read, take_place
from fmnist.tracking.ended_runs import read_all
from fmnist.tracking.histories import read_histories
from fmnist.tracking.leases import Lease, Leases, Pulses, beat_of, beating, pause
from fmnist.tracking.run_writer import ERROR, PREDICTIONS, RunWriter
from fmnist.tracking.shared_checkpoints import SharedCheckpoints, discard, epochs_of, shared_bytes
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
from fmnist.tracking.sweep_records import SweepRecords
from fmnist.training.locking import BusyError, exclusively, is_free

log = logging.getLogger(__name__)
OPENING_SECONDS = 5.0  # that a store may take which has never answered
MOST_DELETED = 1000  # that are counted
EXPERIMENT, SWEEPS, SEARCHES = "fmnist", "fmnist sweeps", "fmnist searches"
TRAJECTORIES, ROOT = "fmnist trajectories", Column("root").tag
_DEFAULT = "Default"  # MLflow's own
_ARTIFACTS = "artifacts"  # the folder, within that of the store


def _description(experiment: str) -> str:
    """What stands on an experiment's page; a sweep and `fmnist.ui` say more about that of the runs."""
    ui, watch = (command_for(target) for target in ("ui", "watch"))
    runs = f"The runs themselves are in the experiment *{EXPERIMENT}*."
    return {
        EXPERIMENT: f"Hyperparameters of a small network for Fashion-MNIST: `{ui}` opens its charts. Where this page "
        "shows GenAI's tabs, switch to *Model training* at its top left.",
        SWEEPS: f"What each sweep announced to those who watch it (`{watch}`). {runs}",
        SEARCHES: "A run is a search by Keras Tuner: its page has the history, the importance of each dimension and "
        f"links to the trials. {runs} `{command_for('compare', '', ['--searches'])}` lists all.",
        TRAJECTORIES: "Which process works on which trajectory, and the newest checkpoint of each, for those who share "
        f"a server. {runs}",
        _DEFAULT: f"Nothing is written here: MLflow has this in every store. {runs}",
    }[experiment]


class Store:
    """The experiment that all runs of a store are written in."""

    checkpoints: SharedCheckpoints | None = None  # of the trajectory that this store is held for

    def __init__(self, folder: str | Path, patience: float = 0.0, answered_before: bool = False) -> None:
        """Open the store, creating database and experiments once, whoever comes first.

        Args:
            folder: of the database, or of the checkpoints alone where MLFLOW_TRACKING_URI is set.
            patience: seconds to wait in a call for a store that does not answer.
            answered_before: opening it waits as long, too; else not for long, for the address may be wrong.

        Raises:
            UserError: the store cannot be opened.
        """
        self.uri, self.folder, self._pulses = address(folder), Path(folder).resolve(), Pulses()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".setup.lock")  # simultaneous first use would race MLflow's migrations
            with lock if os.access(self.folder, os.W_OK) else nullcontext():  # or the store can only be read
                if is_new(self.uri):
                    create(self.uri)
                take_place(self.uri, self._artifacts, EXPERIMENT)
                self.client = Client(self.uri, patience if answered_before else min(patience, OPENING_SECONDS))
                self.id = self.experiment(EXPERIMENT)
                self.sweeps = SweepRecords(self.client, self.experiment(SWEEPS))
                if self.uri.startswith(SCHEME):  # all that is in it is ours
                    for name in (SEARCHES, _DEFAULT):
                        self._describe(self.client.get_experiment_by_name(name))
                self.client.patience = patience
        except (StoreError, OSError) as error:
            raise UserError(f"the store cannot be opened: {error}{elsewhere(error, folder)}") from error

    def experiment(self, name: str) -> str:
        """The id of an experiment, made if need be; its artifacts lie in the store's folder."""
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return self._new_experiment(name, _description(name))
            except StoreError:  # another was faster
                experiment = self.client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        self._describe(experiment)
        return _living(experiment, self.uri)

    def _new_experiment(self, name: str, description: str) -> str:
        place = None if self.uri.startswith("http") else self._artifacts  # a server has a place of its own
        tags = as_tags({"note": description})
        return str(self.client.create_experiment(name, artifact_location=place, tags=tags))

    def _describe(self, experiment: Any) -> None:
        """Have one of an earlier version say what it is."""
        note = as_tags({"note": ""}).popitem()[0]
        if experiment is not None and note not in experiment.tags:
            with suppress(UnusableError):  # a store that can only be read
                self.client.set_experiment_tag(experiment.experiment_id, note, _description(experiment.name))

    @property
    def _artifacts(self) -> str:
        return (self.folder / _ARTIFACTS).as_uri()

    # ---- Who works on what

    @cached_property
    def leases(self) -> Leases | None:
        """Who works on which trajectory; None of a store in its folder, where file locks are enough."""
        own = self.folder / "mlflow.db"
        if self.uri.startswith(SCHEME) and database_path(self.uri).resolve() == own:
            return None
        experiment = self.client.get_experiment_by_name(TRAJECTORIES) or self._trajectories()
        return Leases(self.client, _living(experiment, self.uri), experiment.tags[ROOT], self.folder)

    def _trajectories(self) -> Any:
        """MLflow's experiment with a record of each, made under another name and renamed when it is whole."""
        made = self._new_experiment(f"{TRAJECTORIES} {uuid.uuid4().hex}", _description(TRAJECTORIES))
        self.client.set_experiment_tag(made, ROOT, self.client.new_run(made, "all trajectories"))
        try:
            self.client.rename_experiment(made, TRAJECTORIES)
        except StoreError:
            self.client.delete_experiment(made)
            if self.client.get_experiment_by_name(TRAJECTORIES) is None:
                raise
        return self.client.get_experiment_by_name(TRAJECTORIES)

    def is_free(self, trajectory: str) -> bool:
        """Whether no other process is known to work on a trajectory; the store is not asked."""
        return is_free(str(self.folder), trajectory) and not (self.leases and self.leases.rests(trajectory))

    @contextmanager
    def holding(self, trajectory: str, wait: bool) -> Iterator["Store"]:
        """Let only this process work on a trajectory; gives the store as it is to be written while that is so.

        Raises:
            BusyError: another process works on it, and `wait` is False; or, from any call, it does by now.
        """
        with ExitStack() as stack:
            stack.enter_context(exclusively(str(self.folder), trajectory, wait))
            held = copy(self)
            if self.leases:
                lease = self._lease(self.leases, trajectory, wait)
                stack.enter_context(lease.kept())
                held.client = self.client.guarded(lease.confirm)
                held.checkpoints = SharedCheckpoints(held.client, lease.record)
            yield held

    def checkpoint_bytes(self, trajectory: str) -> int:
        """That a trajectory's checkpoints take in the store."""
        return shared_bytes(self.client, self.leases.record(trajectory)) if self.leases else 0

    def discard_checkpoints(self, trajectory: str) -> None:
        """Remove those from the store."""
        if self.leases:
            discard(self.client, self.leases.record(trajectory))

    @staticmethod
    def _lease(leases: Leases, trajectory: str, wait: bool) -> Lease:
        told = False
        while True:
            try:
                return leases.claim(trajectory)
            except BusyError:
                if not wait:
                    raise
            if not told:
                log.warning("another folder on this server works on the same; waiting until it has ended")
            told = True
            time.sleep(pause(1))

    def stop_waiting(self) -> None:
        """Wait no longer for a store that does not answer, in calls under way neither, nor long for one that hangs."""
        self.client.patience, self.client.tries = 0.0, 1
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "2"

    def runs(self, condition: str = "") -> Iterator[StoredRun]:
        """All runs of ours that are not deleted and meet MLflow's filter, newest first."""
        return readable(self.client.all_runs(self.id, condition))

    def find(self, signature: str) -> StoredRun | None:
        """The run of that signature: the finished one if there is one, else the latest attempt."""
        runs = list(self.runs(condition("signature", signature)))
        return next((run for run in runs if run.status == Status.FINISHED), runs[0] if runs else None)

    def begin(
        self,
        name: str,
        signature: str,
        params: dict[str, Any],
        description: dict[str, Any],
        attempt: StoredRun | None = None,
    ) -> RunWriter:
        """Start a run, whose description is one for `as_tags`, or go on with an attempt that did not finish."""
        tags = as_tags(description)
        signed = tags | as_tags({"signature": signature})
        run_id = attempt.run_id if attempt else self.client.new_run(self.id, name, signed)
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

    def histories(self, run_ids: Iterable[str], keys: Sequence[str] = PER_EPOCH) -> dict[str, pd.DataFrame]:
        """The epochs of runs, by run id: a row an epoch (1 to n) and these columns of `schema.PER_EPOCH`.

        Losses in nats, accuracies as shares, seconds; NaN where a number is missing. Runs that have logged no epoch,
        or are not there, are left out.

        Raises:
            StoreError: the store refuses or does not answer.
        """
        return read_histories(self.client, run_ids, keys)

    def file(self, run_id: str, path: str, folder: str) -> Path:
        """A file that a run has left: where it lies below the store, at once; else a copy in that folder.

        Raises:
            StoreError: there is none, or the store does not answer.
        """
        own = self.folder / _ARTIFACTS / run_id / "artifacts" / path
        is_readable = own.is_file() and os.access(own, os.R_OK)
        return own if is_readable else Path(self.client.download_artifacts(run_id, path, folder))

    def predictions(self, run_id: str) -> dict[str, NDArray[Any]] | None:
        """The arrays by name that a run's `predictions.npz` holds, None where it is missing, or damaged and named.

        Raises:
            AwayError: the store does not answer.
        """
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = self.file(run_id, PREDICTIONS, folder)
                with file.open("rb") as stream, np.load(stream, allow_pickle=False) as opened:
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
        return self.client.text(run_id, ERROR)

    def page(self, study: str) -> RunWriter:
        """The page of a study, below which MLflow's UI shows its runs; it is no run of ours."""
        found = next(self.client.all_runs(self.id, condition(PAGE_OF, study)), None)
        return RunWriter(self.client, found.run_id if found else self._new_page(study))

    def _new_page(self, study: str) -> str:
        if self.leases is None:
            run_id = self.client.new_run(self.id, f"study {study}", as_tags({PAGE_OF: study}))
        else:  # where another folder may begin the same study at once
            made = self.client.new_run(self.id, f"study {study}", as_tags({PAGE_OF: ""}))
            run_id = self.leases.agreed(f"page {study}", made, as_tags({PAGE_OF: study}))
        self.client.set_terminated(run_id)
        return run_id

    def place_below(self, page: str, study: str) -> None:
        """Have MLflow's UI show below a study's page the runs made for it that stand below nothing yet."""
        parent = as_tags({"parent": page})
        for run in self.all_runs():
            if COLUMNS["study"].read(run.tags) == study and not parent.keys() & run.tags.keys():
                self.client.log_batch(run.run_id, tags=[RunTag(*tag) for tag in parent.items()])

    def status(self, run_id: str) -> str:
        """Of a run or a sweep."""
        return str(self.client.get_run(run_id).info.status)

    def goes_on(self, run_id: str, wait: bool = True) -> bool:
        """Whether a sweep or a search goes on: it stands as running, and as far as this process has looked it beats."""
        with self._pulses.looking():
            run = stored((self.client.get_run if wait else self.client.at_once("get_run"))(run_id))
        return run.status == Status.RUNNING and not self._pulses.has_stopped(run_id, beat_of(run))

    def is_alive(self, run_id: str) -> bool:
        """Whether a sweep or a search of another machine goes on; its beat is watched until that is certain."""
        first = beat_of(stored(self.client.get_run(run_id)))
        while self.goes_on(run_id):
            if not first or beat_of(stored(self.client.get_run(run_id))) != first:
                return True
            time.sleep(1.0)
        return False

    def beating(self, run_id: str) -> AbstractContextManager[None]:
        """Show on the record of a sweep or a search that this process is alive, until the block ends."""
        return beating(self.client, run_id)

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

    def delete(self, run_id: str) -> bool:
        """Delete a run with its artifacts and models; False where files stay that only their server can remove.

        Those in the store's folder are left to who deletes folders.
        """
        places = [self.client.get_run(run_id).info.artifact_uri]
        places += [self.client.get_logged_model(model).artifact_location for model in self.models(run_id)]
        self.client.delete_run(run_id)
        try:
            for place in places:
                if not place.startswith(self._artifacts):
                    repository: Any = get_artifact_repository(place, self.uri)  # its methods have no types
                    repository.delete_artifacts()
        except Exception:  # every kind of place has its own: no right to delete, no package for that bucket
            return False
        return True

    def deleted(self) -> int | None:
        """How many runs are deleted, of which the database and the files may stay; None of a store of one folder."""
        if not self.uri.startswith("http"):
            return None
        return len(self.client.search_runs([self.id], run_view_type=ViewType.DELETED_ONLY, max_results=MOST_DELETED))

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


def shared_epochs(folder: str | Path) -> dict[str, list[int]]:
    """After how many epochs there are checkpoints in the store that other folders use too, by trajectory.

    Raises:
        UserError: the store cannot be read.
    """
    with reading(folder, TRAJECTORIES) as experiment:
        runs = experiment.runs() if experiment else ()
        return {run.trajectory: epochs_of(run) for run in runs if run.trajectory}


def experiment_id(folder: str | Path) -> str | None:
    """The id of the experiment of a store, None where nothing is recorded yet; nothing is created.

    Raises:
        UserError: the store cannot be read.
    """
    with reading(folder, EXPERIMENT) as experiment:
        return None if experiment is None else experiment.id
