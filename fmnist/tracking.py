"""The store: MLflow, and the only module that knows it. Writes runs and reads them back as a frame."""

import base64
import json
import logging
import os
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import numpy as np
import pandas as pd
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, LoggedModelOutput, Metric, Param, Run, RunData, RunInfo, RunTag
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from fmnist.config import UserError

logging.getLogger("mlflow").setLevel(logging.WARNING)  # it announces every table that it creates
EXPERIMENT = "fmnist"
FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"
_PAGE = 1000


def address(store: str) -> str:
    """The tracking URI of a store folder: MLFLOW_TRACKING_URI where it is set, else the folder's database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(store).resolve()}/mlflow.db"


class Book:
    """The experiment that all runs of a store are written in."""

    def __init__(self, store: str) -> None:
        """Open the store, creating database and experiment once, whoever comes first."""
        self.uri = address(store)
        folder = Path(store).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".setup.lock"):  # simultaneous first use would race MLflow's migrations
            self.client = MlflowClient(self.uri)
            experiment = self.client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                place = (folder / "artifacts").as_uri() if self.uri.startswith("sqlite") else None
                self.id: str = self.client.create_experiment(EXPERIMENT, artifact_location=place)
            else:
                self.id = experiment.experiment_id

    def runs(self, condition: str = "") -> Iterator[Run]:
        """All runs that are not deleted and meet MLflow's filter, newest first."""
        token: str | None = None
        while True:
            page = self.client.search_runs([self.id], condition, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def find(self, signature: str) -> Run | None:
        """The run of that signature: the finished one if there is one, else the latest attempt."""
        runs = list(self.runs(f"tags.`fmnist.signature` = '{signature}'"))
        return next((run for run in runs if run.info.status == FINISHED), runs[0] if runs else None)

    def begin(self, name: str, signature: str, params: dict[str, Any], tags: dict[str, str]) -> "Writer":
        """Start the run of a signature, or go on with an attempt that did not finish."""
        known = self.find(signature)
        if known is None:
            known = self.client.create_run(self.id, run_name=name, tags={"fmnist.signature": signature, **tags})
            self.client.log_batch(known.info.run_id, params=[Param(k, _text(v)) for k, v in params.items()])
        else:
            self.client.log_batch(known.info.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
        self.client.update_run(known.info.run_id, status=RUNNING)
        return Writer(self.client, known.info.run_id)

    def tag(self, run_id: str, key: str, value: str) -> None:
        """Set a tag of a run."""
        self.client.set_tag(run_id, key, value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class Writer:
    """One run that is being written."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        """Go on where the run's record stands: what an interrupted attempt has logged is not logged again."""
        self._client, self.run_id = client, run_id
        run = client.get_run(run_id)
        logged = client.get_metric_history(run_id, "val/accuracy")
        self._experiment = run.info.experiment_id
        self._epochs = max((metric.step for metric in logged), default=0)
        self._metrics = set(run.data.metrics)
        self._images = {Path(file.path).name.split("+")[0] for file in client.list_artifacts(run_id, "images")}
        self._has_model = bool(run.outputs and run.outputs.model_outputs)

    def epochs(self, history: list[dict[str, float]]) -> None:
        """Log the epochs of a history that the run does not have yet: step = epoch, time = the epoch's end."""
        fresh = [
            Metric(key, value, int(record["time/ended_ms"]), epoch)
            for epoch, record in enumerate(history, 1)
            for key, value in record.items()
            if epoch > self._epochs and key != "time/ended_ms"
        ]
        for start in range(0, len(fresh), _PAGE):
            self._client.log_batch(self.run_id, metrics=fresh[start : start + _PAGE])
        self._epochs = max(self._epochs, len(history))

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Log final numbers."""
        now = int(time.time() * 1000)
        fresh = [Metric(key, float(value), now, step) for key, value in values.items() if key not in self._metrics]
        self._client.log_batch(self.run_id, metrics=fresh)

    def dataset(self, name: str, digest: str, source: str, profile: dict[str, Any]) -> None:
        """Name the data that the run saw."""
        entity = DatasetEntity(name, digest, "local", json.dumps({"uri": source}), profile=json.dumps(profile))
        seen = [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])]
        try:
            self._client.log_inputs(self.run_id, seen)
        except MlflowException:  # two runs naming new data at once: the other's entry stands by now
            self._client.log_inputs(self.run_id, seen)

    def image(self, key: str, pixels: NDArray[np.uint8]) -> None:
        """Log a picture (h, w, 3) to step 0 of an image grid, where the chart view shows it without a touch."""
        if key not in self._images:
            self._client.log_image(self.run_id, pixels, key=key, step=0, synchronous=True)

    def text(self, path: str, content: str) -> None:
        """Keep a text as an artifact."""
        self._client.log_text(self.run_id, content, path)

    def arrays(self, name: str, **arrays: NDArray[Any]) -> None:
        """Keep arrays as a compressed npz artifact."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / name
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
            self._client.log_artifact(self.run_id, str(file))

    def model(self, model: Any, example: NDArray[Any], predictions: NDArray[Any], requirements: list[str]) -> None:
        """Keep a Keras model with its signature; requirements are given since inferring them is slow.

        Not `mlflow.keras.log_model`: it sets the tracking address of the whole process and its children.
        """
        from mlflow.keras import save_model
        from mlflow.models import Model, infer_signature

        if self._has_model:
            return
        logged = self._client.create_logged_model(self._experiment, name="model", source_run_id=self.run_id)
        with tempfile.TemporaryDirectory() as folder:
            save_model(
                model,
                f"{folder}/model",
                signature=infer_signature(example, predictions),
                pip_requirements=requirements,
                mlflow_model=Model(run_id=self.run_id, model_id=logged.model_id),
            )
            self._client.log_model_artifacts(logged.model_id, f"{folder}/model")
        self._client.finalize_logged_model(logged.model_id, "READY")
        self._client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step=0)])

    def end(self, status: str) -> None:
        """Close the run with its true status."""
        self._client.set_terminated(self.run_id, status)


def load(store: str) -> pd.DataFrame:
    """All runs of a store as a frame, a row a run, oldest first.

    Columns: run_id, run_name, status, variant, variant_signature, trajectory_signature, signature, data_digest,
    epochs, seed, start_time (ms), parameters, train_seconds, every metric by its name (`val/accuracy`, the last
    value) and every option by its key (`model.filters`, as text).
    """
    if address(store).startswith("sqlite") and not (Path(store) / "mlflow.db").exists():
        return _frame([])
    return _frame([_row(run) for run in Book(store).runs()][::-1])


def experiment_id(store: str) -> str | None:
    """The id of the experiment of a store, none where nothing is recorded yet; asking creates nothing.

    Raises:
        UserError: the tracking server does not answer.
    """
    uri = address(store)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return None
    try:
        experiment = MlflowClient(uri).get_experiment_by_name(EXPERIMENT)
    except MlflowException as error:
        reason = str(error).splitlines()[0]
        if "Caused by" in reason:  # of requests, whose innermost reason comes last
            reason = reason.split(": ")[-1].strip("')\"")
        raise UserError(f"cannot read {uri}: {reason}") from error
    return None if experiment is None else experiment.experiment_id


def save_view(store: str, experiment: str, key: str, name: str, state: dict[str, Any]) -> bool:
    """Leave a layout of the chart view where MLflow's UI keeps those that users share, also in its menu of views.

    A new layout replaces the old one. False where the store refuses it.
    """
    packed = "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    now = int(time.time() * 1000)
    value = json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": packed})
    try:
        MlflowClient(address(store)).set_experiment_tag(experiment, f"mlflow.sharedViewState.{key}", value)
    except MlflowException:
        return False
    return True


def _row(run: Run) -> dict[str, Any]:
    params, tags, metrics = run.data.params, run.data.tags, run.data.metrics
    return {
        "run_id": run.info.run_id,
        "run_name": run.info.run_name,
        "status": run.info.status,
        "variant": tags.get("fmnist.variant", ""),
        "variant_signature": tags.get("fmnist.variant_signature", ""),
        "trajectory_signature": tags.get("fmnist.trajectory_signature", ""),
        "signature": tags.get("fmnist.signature", ""),
        "data_digest": tags.get("fmnist.data_digest", ""),
        "start_time": run.info.start_time,
        "parameters": int(tags.get("fmnist.parameters", 0)),
        "flops_per_image": int(tags.get("fmnist.flops_per_image", 0)),
        "train_seconds": metrics.get("time/train_s", float("nan")),
        **metrics,
        **params,
        "epochs": int(params.get("epochs", 0)),
        "seed": int(params.get("seed", 0)),
    }


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows or [_row(_NO_RUN)])
    for metric in ("val/accuracy", "test/accuracy"):  # missing while no run has got that far
        if metric not in frame:
            frame[metric] = float("nan")
    return frame if rows else frame.iloc[:0]


_NO_RUN = Run(RunInfo("", "", "", FINISHED, 0, 0, "active"), RunData())
