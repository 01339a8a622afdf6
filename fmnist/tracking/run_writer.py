"""One run that is being written."""

import io
import json
import logging
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, RunTag
from numpy.typing import NDArray
from PIL import Image

from fmnist.config import IMAGE_SIZE
from fmnist.schema import VAL_ACCURACY, Status
from fmnist.tracking.client import AwayError, Client, StoreError
from fmnist.tracking.stored import LONGEST_TAG, as_tags
from fmnist.training.libraries import quiet_stderr

log = logging.getLogger(__name__)
ERROR, PREDICTIONS = "error.txt", "predictions.npz"
GRID_PIXELS = 640  # of a picture's longer side in the chart view; MLflow's own 256 leave numbers unreadable
_IMAGES = {"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, IMAGE_SIZE, IMAGE_SIZE, 1]}}
_LABELS = {"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}
SCHEMA = json.dumps(  # of data, as MLflow writes it
    {"mlflow_tensorspec": {"features": json.dumps([_IMAGES]), "targets": json.dumps([_LABELS])}}
)
MODEL = "model"  # the same of all, so that runs:/RUN/model names it
# Between two tries, times the time that all failed ones took: a server that hangs must not hold training up.
PAUSE = 10.0


def _tags(note: str) -> list[RunTag]:
    return [RunTag(key, value) for key, value in as_tags({"note": note[:LONGEST_TAG] or None}).items()]


def _data_name(purpose: str) -> str:
    return f"fashion-mnist {purpose}"


class EncodedPicture(NamedTuple):
    """A picture as the files of an image grid: what the chart view shows without a touch, and what a click shows."""

    png: bytes
    webp: bytes


def encoded(pixels: NDArray[np.uint8], small: NDArray[np.uint8] | None = None) -> EncodedPicture:
    """A picture (h, w, 3), and the one (h, w, 3) that the grid shows in its place; None: itself, no larger than that.

    As `MlflowClient.log_image` does, but for the size of what the grid shows.
    """
    png, webp, image = io.BytesIO(), io.BytesIO(), Image.fromarray(pixels)
    image.save(png, "PNG", compress_level=3)  # two thirds of the time, 5 % more bytes
    if small is None:
        image.thumbnail((GRID_PIXELS, GRID_PIXELS))
    else:
        image = Image.fromarray(small)
    image.save(webp, "WEBP", quality=90, method=2)  # half the time, 3 % more bytes
    return EncodedPicture(png.getvalue(), webp.getvalue())


class RunWriter:
    """One run that is being written."""

    def __init__(self, client: Client, run_id: str) -> None:
        """Go on where the run's record stands: what an interrupted attempt has logged is not logged again."""
        self._client, self.run_id = client, run_id
        run = client.get_run(run_id)
        self._experiment = run.info.experiment_id
        self._epochs = max(client.by_step(run_id, VAL_ACCURACY.key), default=0)
        self._wasted, self._next_try = 0.0, 0.0  # seconds spent on a store that is away, and the moment for more
        self._metrics = set(run.data.metrics)
        self._began = run.info.start_time
        self._params = dict(run.data.params)
        models = run.outputs.model_outputs if run.outputs else []
        self._model = str(models[0].model_id) if models else ""
        self._digests: dict[str, str] = {}  # of the data, by what they are for

    def epochs(self, history: list[dict[str, float]], wait: bool = False) -> None:
        """Log the epochs of a history that the run does not have yet: step = epoch, time = the epoch's end."""
        fresh = [
            Metric(key, value, int(record["time/ended_ms"]), epoch)
            for epoch, record in enumerate(history, 1)
            for key, value in record.items()
            if epoch > self._epochs and key != "time/ended_ms"
        ]
        began = time.monotonic()
        if began < self._next_try and not wait:
            return
        try:
            self._client.log_metrics(self.run_id, fresh, wait)
        except AwayError as error:  # the checkpoint keeps the history; all that is missing goes with a later epoch
            if wait:
                raise
            if not self._wasted:
                log.warning("%s; training goes on, and what is missing is sent later", error)
            self._wasted += time.monotonic() - began
            self._next_try = time.monotonic() + PAUSE * self._wasted
        else:
            self._wasted = self._next_try = 0.0
            self._epochs = max(self._epochs, len(history))

    def metrics(self, values: dict[str, float], note: str = "") -> None:
        """Log final numbers, and replace what the run's page says.

        At step 0, where the UI takes them for single numbers: at a later one it would draw a curve of one dot for each.
        Those on the test images are the model's too.
        """
        now = int(time.time() * 1000)
        of_test = {
            "model_id": self._model or None,
            "dataset_name": _data_name("test") if self._digests else None,
            "dataset_digest": self._digests.get("test"),
        }
        fresh = [
            Metric(key, float(value), now, 0, **(of_test if key.startswith("test/") else {}))
            for key, value in values.items()
            if key not in self._metrics
        ]
        self._client.log_batch(self.run_id, metrics=fresh, tags=_tags(note))

    def data(self, source: str, parts: Mapping[str, tuple[str, int]]) -> None:
        """Name the images that the run saw: of what each part of them is for, its digest and how many they are."""
        self._digests = {purpose: digest for purpose, (digest, _) in parts.items()}
        inputs = [
            DatasetInput(
                Dataset(
                    _data_name(purpose),
                    digest,
                    "local",
                    json.dumps({"uri": source}),
                    SCHEMA,
                    json.dumps({"num_rows": count}),
                ),
                [InputTag("mlflow.data.context", purpose)],
            )
            for purpose, (digest, count) in parts.items()
        ]
        try:
            self._client.log_inputs(self.run_id, inputs)
        except StoreError:  # two runs naming new data at once: the other's entry stands by now
            self._client.log_inputs(self.run_id, inputs)

    def images(self, pictures: Mapping[str, EncodedPicture]) -> None:
        """Log pictures, by their keys, to step 0 of image grids.

        As `MlflowClient.log_image` does, but for the names: they are the same in every attempt, so that a file that
        was broken off is replaced.
        """
        if not pictures:
            return
        with tempfile.TemporaryDirectory() as folder:
            for key, picture in pictures.items():
                number = uuid.uuid5(uuid.NAMESPACE_OID, f"{self.run_id} {key}")
                name = f"{folder}/{key}+step+0+timestamp+{self._began}+{number}"
                Path(f"{name}.png").write_bytes(picture.png)
                Path(f"{name}+compressed.webp").write_bytes(picture.webp)
            self._client.log_artifacts(self.run_id, folder, "images")
        self._client.set_tag(self.run_id, "mlflow.loggedImages", "True")

    def picture(self, name: str, pixels: NDArray[np.uint8]) -> str:
        """Keep a picture (h, w, 3) as a file, and return what shows it in a note, in Markdown."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.png"
            Image.fromarray(pixels).save(file)
            self._client.log_artifact(self.run_id, str(file))
        return f"![{name}](get-artifact?path={name}.png&run_uuid={self.run_id})"

    def describe(self, note: str) -> None:
        """Replace what the run's page says."""
        self._client.log_batch(self.run_id, tags=_tags(note))

    def texts(self, files: dict[str, str]) -> None:
        """Keep texts as artifacts by their paths."""
        for path, content in files.items():
            self._client.log_text(self.run_id, content, path)

    def arrays(self, name: str, **arrays: NDArray[Any]) -> None:
        """Keep arrays as a compressed npz artifact."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / name
            np.savez_compressed(file, **arrays, allow_pickle=False)
            self._client.log_artifact(self.run_id, str(file))

    def model(
        self, model: Any, example: NDArray[Any], predictions: NDArray[Any], requirements: list[str], anew: bool = False
    ) -> None:
        """Keep a Keras model with its signature and an example; requirements are given since inferring them is slow.

        A run that has one keeps it, unless it is to be written anew.

        Not `mlflow.keras.log_model`: it sets the tracking address of the whole process and its children.
        """
        from mlflow.keras import save_model
        from mlflow.models import Model, infer_signature

        has_model = bool(self._model)
        if has_model and not anew:
            return
        models = self._client.search_logged_models([self._experiment], f"source_run_id = '{self.run_id}'")
        logged = next(iter(models), None) or self._client.create_logged_model(
            self._experiment, name=MODEL, source_run_id=self.run_id, params=self._params
        )
        self._model = str(logged.model_id)
        with tempfile.TemporaryDirectory() as folder:
            with quiet_stderr():  # Keras, computing with JAX, may load TensorFlow here
                save_model(
                    model,
                    folder,
                    signature=infer_signature(example, predictions),
                    input_example=example,
                    pip_requirements=requirements,
                    mlflow_model=Model(run_id=self.run_id, model_id=logged.model_id),
                )
            self._client.log_model_artifacts(logged.model_id, folder)
        self._client.finalize_logged_model(logged.model_id, "READY")
        if not has_model:
            self._client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step=0)])

    def fail(self, reason: str, note: str = "") -> None:
        """Close the run as failed, with a traceback and what its page says if the store still takes them.

        Raises:
            StoreError: it does not even take the status.
        """
        try:
            self.texts({ERROR: reason})
            if note:
                self._client.log_batch(self.run_id, tags=_tags(note))
        except AwayError:
            raise
        except StoreError:  # of a full disk perhaps, where the status may still fit
            pass
        self.end(Status.FAILED)

    def end(self, status: str) -> None:
        """Close the run with its true status."""
        self._client.set_terminated(self.run_id, status)
