"""The experiment that all runs of a store are written in."""

import base64
import gc
import json
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from mlflow.entities import Param, Run, RunTag
from numpy.typing import NDArray

from fmnist.config import UserError
from fmnist.tracking.client import AwayError, Client, StoreError, address, create, is_new
from fmnist.tracking.run_writer import ERROR, FINISHED, PREDICTIONS, RUNNING, RunWriter, as_text

OPENING_SECONDS = 5.0  # that a store may take which nothing is known of
EXPERIMENT, SWEEPS = "fmnist", "fmnist sweeps"
PLAN = "plan.json"
SEARCH, CONFIRMS = "fmnist.search", "fmnist.confirms"
PAGE = 250  # runs of one answer: a busy server needs seconds for them, and 20 s is all that a call waits
PER_EPOCH = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "time/epoch_s")


class Store:
    """The experiment that all runs of a store are written in."""

    def __init__(self, store: str, patience: float = 0.0, known: bool = False) -> None:
        """Open the store, creating database and experiment once, whoever comes first.

        Args:
            store: folder of the database, or of the checkpoints alone where MLFLOW_TRACKING_URI is set.
            patience: seconds to wait in a call for a store that does not answer.
            known: the store has answered before, so that opening it waits as long; else the address may be wrong.

        Raises:
            UserError: the store cannot be opened.
        """
        self.uri = address(store)
        folder = Path(store).resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".setup.lock"):  # simultaneous first use would race MLflow's migrations
                if is_new(self.uri):
                    create(self.uri)
                self.client = Client(self.uri, patience if known else min(patience, OPENING_SECONDS))
                self.id = self.experiment_by_name(folder, EXPERIMENT)
                self._sweeps = self.experiment_by_name(folder, SWEEPS)
                self.client.patience = patience
        except (StoreError, OSError) as error:
            raise UserError(f"the store cannot be opened: {error}") from error

    def experiment_by_name(self, folder: Path, name: str) -> str:
        """The id of an experiment, made if need be; its artifacts lie in the store's folder."""
        experiment = self.client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        place = (folder / "artifacts").as_uri() if self.uri.startswith("sqlite") else None
        return str(self.client.create_experiment(name, artifact_location=place))

    def hurry(self) -> None:
        """Wait no longer for a store that does not answer, in calls under way neither, nor long for one that hangs."""
        self.client.patience = 0.0
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "2"

    def runs(self, condition: str = "") -> Iterator[Run]:
        """All runs that are not deleted and meet MLflow's filter, newest first."""
        token: str | None = None
        while True:
            with _uncollected():
                page = self.client.search_runs([self.id], condition, max_results=PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def find(self, signature: str) -> Run | None:
        """The run of that signature: the finished one if there is one, else the latest attempt."""
        runs = list(self.runs(f"tags.`fmnist.signature` = '{signature}'"))
        return next((run for run in runs if run.info.status == FINISHED), runs[0] if runs else None)

    def begin(self, name: str, signature: str, params: dict[str, Any], tags: dict[str, str]) -> RunWriter:
        """Start the run of a signature, or go on with an attempt that did not finish."""
        known = self.find(signature)
        if known is None:
            known = self.client.create_run(self.id, run_name=name, tags={**tags, "fmnist.signature": signature})
        run_id = known.info.run_id  # killed before this is done, an attempt has no parameters: hence for all
        self.client.log_batch(
            run_id,
            params=[Param(key, as_text(value)) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        self.client.update_run(run_id, status=RUNNING)
        return RunWriter(self.client, run_id)

    def running(self) -> list["RunSummary"]:
        """The runs that somebody is at, or was at when it was killed."""
        return [_record(run) for run in self.runs("attributes.status = 'RUNNING'")]

    def failed(self) -> list["RunSummary"]:
        """The runs whose last attempt has failed."""
        return [_record(run) for run in self.runs("attributes.status = 'FAILED'")]

    def ended_since(self, moment: int) -> list["RunSummary"]:
        """The runs that ended at or after a moment in ms, the latest last."""
        ended = [_record(run) for run in self.runs(f"attributes.end_time >= {moment}")]
        return sorted((run for run in ended if run.status != RUNNING), key=lambda run: run.ended)

    def progress(self, run_id: str) -> list[tuple[int, float, float]]:
        """Epoch, validation accuracy and seconds of every epoch that a run has logged."""
        accuracies, seconds = (self.client.get_metric_history(run_id, key) for key in ("val/accuracy", "time/epoch_s"))
        taken = {metric.step: metric.value for metric in seconds}
        return sorted((metric.step, metric.value, taken.get(metric.step, 0.0)) for metric in accuracies)

    def histories(self, run_ids: Iterable[str]) -> dict[str, pd.DataFrame]:
        """What every epoch of these runs left: by run, a row an epoch (1 to n) and the columns of `PER_EPOCH`.

        Losses in nats, accuracies as shares, seconds; NaN where a number is missing. Runs that have logged no epoch,
        or are not there, are left out.

        Raises:
            StoreError: the store refuses or does not answer.
        """
        found = {}
        for run_id in run_ids:
            logged = {key: self.client.get_metric_history(run_id, key) for key in PER_EPOCH}
            columns = {key: {metric.step: metric.value for metric in metrics} for key, metrics in logged.items()}
            history = pd.DataFrame(columns, dtype=float).sort_index().rename_axis("epoch")
            if len(history):
                found[run_id] = history
        return found

    def predictions(self, run_id: str) -> dict[str, NDArray[Any]] | None:
        """The arrays by name that a run's `predictions.npz` holds, None where it is missing or damaged.

        Raises:
            AwayError: the store does not answer.
        """
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = self.client.download_artifacts(run_id, PREDICTIONS, folder)
                with Path(file).open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                    return dict(arrays)
        except AwayError:
            raise
        except (StoreError, OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
            return None

    def error(self, run_id: str) -> str:
        """The traceback that a failed run left, nothing if it left none."""
        return self._text(run_id, ERROR)

    def _text(self, run_id: str, artifact: str) -> str:
        try:
            with tempfile.TemporaryDirectory() as folder:
                return Path(self.client.download_artifacts(run_id, artifact, folder)).read_text()
        except (StoreError, OSError):
            return ""

    def announce(self, name: str, plan: dict[str, Any]) -> str:
        """Open the record of a sweep, for those who watch; returns its id. It stands beside the experiment of runs."""
        run_id = str(self.client.create_run(self._sweeps, run_name=name).info.run_id)
        self.client.log_dict(run_id, plan, PLAN)
        return run_id

    def sweeps(self) -> list[tuple[str, str]]:
        """Id and status of every sweep, the latest first."""
        found = self.client.search_runs([self._sweeps], max_results=PAGE)
        return [(run.info.run_id, run.info.status) for run in found]

    def plan(self, sweep: str) -> dict[str, Any] | None:
        """What a sweep was announced with, None if it was killed before it could say."""
        text = self._text(sweep, PLAN)
        return json.loads(text) if text else None

    def is_running(self, run_id: str, wait: bool = True) -> bool:
        """Whether a run or a sweep still stands as running; with or without waiting for a store that is away."""
        get_run = self.client.get_run if wait else self.client.at_once("get_run")
        return bool(get_run(run_id).info.status == RUNNING)

    def mark(self, run_id: str, search: str, tags: dict[str, str]) -> None:
        """Mark a run as used by a search; one that several searches used names all, and belongs to the first.

        It confirms nothing (`fmnist.confirms`) as soon as any of them has chosen by it.
        """
        known = self.client.get_run(run_id).data.tags
        names = known.get(SEARCH, "").split()
        if search in names:
            return
        fresh = tags
        if names:
            fresh = {} if tags.get(CONFIRMS) else {CONFIRMS: "false"}
        self.client.log_batch(
            run_id, tags=[RunTag(key, value) for key, value in {**fresh, SEARCH: " ".join([*names, search])}.items()]
        )

    def close(self, run_id: str, status: str) -> None:
        """End a run or a sweep that nobody is at any more."""
        self.client.set_terminated(run_id, status)


@dataclass(frozen=True)
class RunSummary:
    """What the store says of a run at a glance; `ended` in ms, 0 for one that has not."""

    run_id: str
    name: str
    signature: str
    trajectory: str
    status: str
    ended: int
    val_accuracy: float


def _record(run: Run) -> RunSummary:
    tags = run.data.tags
    return RunSummary(
        run_id=run.info.run_id,
        name=run.info.run_name,
        signature=tags.get("fmnist.signature", ""),
        trajectory=tags.get("fmnist.trajectory_signature", ""),
        status=run.info.status,
        ended=run.info.end_time or 0,
        val_accuracy=run.data.metrics.get("val/accuracy", float("nan")),
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector from looking, again and again, through the many objects of a page of runs.

    It frees nothing while they come, and took two thirds of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def experiment_id(store: str) -> str | None:
    """The id of the experiment of a store, none where nothing is recorded yet; asking creates nothing.

    Raises:
        UserError: the tracking server does not answer.
    """
    uri = address(store)
    if is_new(uri):
        return None
    try:
        experiment = Client(uri, patience=0).get_experiment_by_name(EXPERIMENT)
    except StoreError as error:
        raise UserError(f"cannot read {uri}: {error}") from error
    return None if experiment is None else experiment.experiment_id


def save_view(store: str, experiment: str, key: str, name: str, state: dict[str, Any]) -> bool:
    """Leave a layout of the chart view where MLflow's UI keeps those that users share, also in its menu of views.

    A new layout replaces the old one. False where the store refuses it.
    """
    packed = "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    now = int(time.time() * 1000)
    value = json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": packed})
    try:
        Client(address(store), patience=0).set_experiment_tag(experiment, f"mlflow.sharedViewState.{key}", value)
    except StoreError:
        return False
    return True
