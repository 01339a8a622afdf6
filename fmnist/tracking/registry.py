"""MLflow's model registry: the versions of the model in use, who is the champion, and a recorded model itself."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist import machine
from fmnist.config import Config, UserError
from fmnist.schema import CANDIDATE, CHAMPION, PREVIOUS
from fmnist.tracking.store import Store
from fmnist.words import harmless

NAME = "fashion-mnist"


@dataclass(frozen=True)
class Version:
    """A version of the registered model."""

    number: str
    run_id: str
    place: str  # where its files lie
    card: str  # its description, Markdown


class Registry:
    """The registered model of a store."""

    def __init__(self, store: Store) -> None:
        """Of a store that is open."""
        self._client = store.client

    def versions(self) -> dict[str, Version]:
        """The version that each alias stands for."""
        models = self._client.search_registered_models(f"name = '{NAME}'")
        return {alias: self._version(number) for model in models for alias, number in model.aliases.items()}

    def find(self, alias: str) -> Version:
        """The version that an alias stands for.

        Raises:
            UserError: it stands for none.
        """
        versions = self.versions()
        if alias not in versions:
            other = next(iter(versions), "")
            there = f"; there is a {other} (--alias {other}, or reproduce {other})" if other else ""
            raise UserError(f"{NAME} has no {alias} yet{there}; python -m fmnist.champion promote chooses one")
        return versions[alias]

    def _version(self, number: str) -> Version:
        entity = self._client.get_model_version(NAME, str(number))
        place = self._client.get_model_version_download_uri(NAME, str(number))
        return Version(str(number), entity.run_id or "", place, entity.description or "")

    def register(self, run_id: str, place: str, model_id: str, card: str) -> Version:
        """Give a run's model a version; the one that it has gets another card."""
        if not self._client.search_registered_models(f"name = '{NAME}'"):
            self._client.create_registered_model(NAME)
        known = self._client.search_model_versions(f"name = '{NAME}'")
        entity = next((version for version in known if version.run_id == run_id), None)
        entity = entity or self._client.create_model_version(NAME, place, run_id, model_id=model_id)
        self._client.update_model_version(NAME, entity.version, card)
        return self._version(entity.version)

    def crown(self, version: Version) -> None:
        """Make a version the champion: the one before becomes `previous`, and it is no candidate any more."""
        before = self.versions()
        if CHAMPION in before and before[CHAMPION] != version:
            self._client.set_registered_model_alias(NAME, PREVIOUS, before[CHAMPION].number)
        self._client.set_registered_model_alias(NAME, CHAMPION, version.number)
        if before.get(CANDIDATE) == version:
            self._client.delete_registered_model_alias(NAME, CANDIDATE)

    def nominate(self, version: Version) -> None:
        """Make a version the candidate."""
        self._client.set_registered_model_alias(NAME, CANDIDATE, version.number)


def model_of(store: Store, run_id: str) -> tuple[str, str] | None:
    """Id and place of the model that a run has left; None if it has none."""
    first = next(iter(store.models(run_id)), None)
    return None if first is None else (first, store.client.get_logged_model(first).artifact_location)


def load_model(uri: str, place: str, config: Config) -> Any:
    """A recorded model as MLflow serves it, in a process that computes as its run's config says.

    Args:
        uri: the store's.
        place: where its files lie.
        config: of the run, resolved.

    Raises:
        UserError: it is missing or damaged.
    """
    machine.use_backend(config)
    from mlflow.artifacts import download_artifacts
    from mlflow.pyfunc import load_model as load

    from fmnist.training import engine  # Keras with its settings, before MLflow imports it

    engine.use_threads(config.compute.threads or 1)
    try:
        with warnings.catch_warnings(action="ignore"):
            return load(download_artifacts(place, tracking_uri=uri), suppress_warnings=True)
    except Exception as error:  # there is no end to what Keras and MLflow make of a damaged file
        raise UserError(f"the model in {place} is missing or damaged ({harmless(str(error), 200)})") from error


def probabilities(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a loaded model makes of images (n, 28, 28, 1) in 0..255: probabilities (n, 10), as its server answers."""
    return np.asarray(model.get_raw_model().predict(images.astype(np.float32), verbose=0))
