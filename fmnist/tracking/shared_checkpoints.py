"""Checkpoints that travel: the newest of a trajectory lies in the store too, and any node or folder goes on from it."""

import logging
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from requests import RequestException

from fmnist import words
from fmnist.schema import Column
from fmnist.tracking.client import AwayError, Client, StoreError
from fmnist.tracking.stored import StoredRun
from fmnist.training import checkpoint

log = logging.getLogger(__name__)
EVERY_SECONDS = 300.0  # beside those at rungs
KEPT = 2  # should the last be damaged
FOLDER, CHECKPOINTS = "checkpoints", Column("checkpoints").tag


def epochs_of(record: StoredRun) -> list[int]:
    """After how many epochs the checkpoints of a trajectory's record are, the latest first."""
    texts = record.tags.get(CHECKPOINTS, "").split()
    return sorted((int(text) for text in texts if text.isdecimal()), reverse=True)


class SharedCheckpoints:
    """Those of a trajectory that this process holds."""

    def __init__(self, client: Client, record: StoredRun) -> None:
        """As its record has them."""
        self._client, self._record, self._epochs = client, record, epochs_of(record)
        self._last = time.monotonic()

    def fetch(self, folder: Path, at_most: int) -> None:
        """Bring the latest of up to so many epochs, unless the folder has a later one; what is damaged is named.

        Raises:
            AwayError: the store does not answer.
        """
        own = checkpoint.newest(folder, at_most)
        for epoch in self._epochs:
            if (own[0][0] if own else 0) < epoch <= at_most and self._fetch(folder, epoch):
                return

    def _fetch(self, folder: Path, epoch: int) -> bool:
        name = checkpoint.file_name(epoch)
        try:
            with tempfile.TemporaryDirectory() as place:
                file = Path(self._client.download_artifacts(self._record.run_id, f"{FOLDER}/{name}", place))
                checkpoint.load(file)
                folder.mkdir(parents=True, exist_ok=True)
                part = folder / f".{name}.part"
                shutil.copyfile(file, part)
            part.replace(folder / name)
            return True
        except AwayError:
            raise
        except (StoreError, checkpoint.CheckpointError) as error:
            reason = str(error).splitlines()[0]
            log.warning("the store's checkpoint after %s is left out: %s", words.plural(epoch, "epoch"), reason)
            return False

    def offer(self, folder: Path, epoch: int, at_rung: bool = False) -> None:
        """Put the checkpoint after an epoch into the store, at rungs and every few minutes; older ones go."""
        if not at_rung and time.monotonic() - self._last < EVERY_SECONDS:
            return
        self._last = time.monotonic()
        if epoch in self._epochs:
            return
        try:
            self._put(checkpoint.newest(folder, epoch)[0][1], epoch)
        except AwayError:  # as the run's own record says
            pass
        except StoreError as error:  # the run itself is not in danger
            log.warning("the checkpoint after %s stays in this folder alone: %s", words.plural(epoch, "epoch"), error)

    def _put(self, path: Path, epoch: int) -> None:
        with tempfile.TemporaryDirectory() as place:
            file = shutil.copyfile(path, Path(place) / checkpoint.file_name(epoch))
            self._client.at_once("log_artifact")(self._record.run_id, str(file), FOLDER)
        older = [each for each in self._epochs if each < epoch][KEPT - 1 :]
        self._epochs = sorted({epoch, *self._epochs} - set(older), reverse=True)
        self._client.at_once("set_tag")(self._record.run_id, CHECKPOINTS, " ".join(map(str, self._epochs)))
        for each in older:
            _remove(self._client, self._record, f"{FOLDER}/{checkpoint.file_name(each)}")


def shared_bytes(client: Client, record: StoredRun) -> int:
    """That the checkpoints of a trajectory's record take."""
    return sum(file.file_size or 0 for file in client.list_artifacts(record.run_id, FOLDER))


def discard(client: Client, record: StoredRun) -> None:
    """Remove the checkpoints of a trajectory's record."""
    client.set_tag(record.run_id, CHECKPOINTS, "")
    _remove(client, record, FOLDER)


def _remove(client: Client, record: StoredRun, path: str) -> None:
    """Remove a file or a folder, as far as the store lets it: MLflow's client has nothing for that."""
    artifacts = client.at_once("get_run")(record.run_id).info.artifact_uri
    with suppress(MlflowException, RequestException, OSError):
        repository: Any = get_artifact_repository(artifacts, tracking_uri=client.uri)
        repository.delete_artifacts(path)
