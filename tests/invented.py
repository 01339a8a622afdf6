"""Make a store of invented runs that have all the numbers and words of real ones, to measure and try out reading.

    python -m tests.invented --runs 2000 --out /tmp/store

Every variant has all seeds and rungs before the next comes; accuracies follow the options, the epochs and chance, so
that there is something to find. What a run leaves in files (pictures, model, predictions) is not made: no ranking
reads it. The runs of the first variant go through the project's own tracking, which takes a tenth of a second each
and more where the disk is slow; those of the other variants are copies of their rows in the database with numbers,
names and signatures of their own (a test holds that both kinds read alike).
"""

import argparse
import itertools
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput

from fmnist import run, tracking
from fmnist.checks import check
from fmnist.config import CLASSES, AugmentConfig, Config, DataConfig, from_flat
from fmnist.identity import parameters, recorded, run_name, sign
from fmnist.network import flops_per_image, parameter_count
from fmnist.schema import Status
from fmnist.training.data import Dataset

Rows = list[dict[str, Any]]
DIGEST = "0123456789abcdef"  # of the data that the runs saw
RUNGS, SEEDS = (1, 3, 10), range(5)
AXES: dict[str, tuple[Any, ...]] = {  # the baseline's level first: the first combination is the baseline
    "model.filters": (128, 64, 32, 16),
    "model.kernel_size": (5, 3, 7),
    "model.pooling": ("max", "average"),
    "optimizer.learning_rate": (0.001, 0.0003, 0.003),
    "data.scale": ("raw", "unit"),
    "model.dropout": (0.0, 0.25, 0.5),
    "augment": (AugmentConfig(), AugmentConfig(0, 0, 0, 0, 0)),
    "model.batch_norm": (False, True),
}
WORTH = {"data.scale=unit": 0.02, "model.filters=16": -0.02, "model.filters=32": -0.01, "model.dropout=0.5": -0.003}
RECALLS = (0.85, 0.98, 0.86, 0.91, 0.85, 0.97, 0.72, 0.96, 0.98, 0.96)  # of the classes at an accuracy of 0.904


def dataset() -> Dataset:
    """Fashion-MNIST's sizes without its images."""
    images, labels = np.zeros((0, 28, 28, 1), np.uint8), np.zeros(70_000, np.int64)
    return Dataset(images, labels[:60_000], images, labels[60_000:], DIGEST, "nowhere")


def configs(count: int) -> Iterator[Config]:
    """The first so many runs, resolved."""
    combined = itertools.product(itertools.product(*AXES.values()), SEEDS, RUNGS)
    base = Config(data=DataConfig(dir="nowhere"))
    base = from_flat(base, {"compute.precision": "float32", "compute.threads": 1, "study.name": "invented"})
    for levels, seed, epochs in itertools.islice(combined, count):
        yield check(from_flat(base, dict(zip(AXES, levels, strict=True)) | {"seed": seed, "epochs": epochs}))


def history(config: Config) -> list[dict[str, float]]:
    """The epochs of a run, as a trajectory remembers them; those of a longer run begin with those of a shorter."""
    flat = {**parameters(config), "augment": config.augment}
    worth = sum(WORTH.get(f"{key}={value}", 0.0) for key, value in flat.items())
    chance = np.random.default_rng([config.seed, int(sign(config, "").trajectory, 16)])
    now, records = time.time_ns() // 1_000_000, []
    level = 0.88 + worth + chance.normal(0, 0.003)
    for epoch in range(1, config.epochs + 1):
        accuracy = level + 0.02 * (1 - 0.8 ** (epoch - 1)) + chance.normal(0, 0.002)
        records.append(
            {
                "train/loss": 3 * (1 - accuracy) - 0.02 * epoch**0.5,
                "train/accuracy": accuracy + 0.005 * epoch**0.5,
                "val/loss": 3 * (1 - accuracy),
                "val/accuracy": round(accuracy * 6000) / 6000,
                "time/epoch_s": flops_per_image(config.model) / 4e6 * (1 + abs(chance.normal(0, 0.05))),
                "time/ended_ms": float(now + epoch),
            }
        )
    return records


def final(config: Config, epochs: list[dict[str, float]]) -> dict[str, float]:
    """The numbers at the end of a run."""
    chance = np.random.default_rng([config.seed, config.epochs, int(sign(config, "").trajectory, 16)])
    seconds = sum(record["time/epoch_s"] for record in epochs)
    accuracy = epochs[-1]["val/accuracy"] + chance.normal(0, 0.003)
    scores = {
        f"test/{score}/{name}": min(1.0, recall + accuracy - np.mean(RECALLS) + chance.normal(0, 0.01))
        for name, recall in zip(CLASSES, RECALLS, strict=True)
        for score in ("precision", "recall", "f1")
    }
    return {
        "test/accuracy": round(accuracy * 10_000) / 10_000,
        "test/loss": 3 * (1 - accuracy),
        "time/train_s": seconds,
        "time/images_per_s": 54_000 * len(epochs) / seconds,
        "model/parameters": parameter_count(config.model),
        **scores,
        "time/wall_s": seconds + 1,
        "time/overhead_s": 1.0,
    }


def write(store: tracking.Store, config: Config) -> str:
    """Write a run as `fmnist.run` does; returns its id."""
    data, epochs = dataset(), history(config)
    signatures = sign(config, data.digest)
    writer = store.begin(run_name(config), signatures.run, recorded(config), run.describe(config, signatures, data))
    parts = {"training": 54_000, "validation": 6_000, "test": 10_000}
    writer.data(data.source, {name: (f"{name[0]}{data.digest[1:]}", count) for name, count in parts.items()})
    writer.epochs(epochs)
    client = MlflowClient(store.uri)  # what `Writer.model` leaves in the database
    model = client.create_logged_model(store.id, name="model", source_run_id=writer.run_id)
    client.log_outputs(writer.run_id, [LoggedModelOutput(model.model_id, step=0)])
    writer.metrics(final(config, epochs))
    writer.end(Status.FINISHED)
    return writer.run_id


class Copier:
    """Makes runs out of the rows that another has in the database."""

    OF_A_RUN = ("tags", "params", "metrics", "latest_metrics")

    def __init__(self, store: tracking.Store) -> None:
        """Of a store that is an SQLite database."""
        self.database = sqlite3.connect(store.uri.removeprefix("sqlite:///"))
        self.database.row_factory = sqlite3.Row
        self._patterns: dict[str, dict[str, Rows]] = {}

    def copy(self, pattern: str, config: Config) -> str:
        """Add the run of a config and return its id; the run that is the pattern has as many epochs."""
        data, epochs, number = dataset(), history(config), uuid.uuid4().hex
        signatures = sign(config, data.digest)
        words = {
            **tracking.as_tags({**run.describe(config, signatures, data), "signature": signatures.run}),
            "mlflow.runName": run_name(config),
            **{key: tracking.as_text(value) for key, value in recorded(config).items()},
        }
        numbers = {(key, epoch): value for epoch, row in enumerate(epochs, 1) for key, value in row.items()}
        numbers |= {(key, 0): value for key, value in final(config, epochs).items()}
        if pattern not in self._patterns:
            self._patterns[pattern] = self._rows(pattern)
        for table, rows in self._patterns[pattern].items():
            for row in rows:
                own = {key: self._own(value, pattern, number) for key, value in row.items()}
                if table == "runs":
                    own["name"] = run_name(config)
                elif table in self.OF_A_RUN:
                    own["value"] = numbers[own["key"], own["step"]] if "step" in own else words[own["key"]]
                self._insert(table, own)
        return number

    def _own(self, value: Any, pattern: str, number: str) -> Any:
        return value.replace(pattern, number) if isinstance(value, str) else value

    def _rows(self, run_id: str) -> dict[str, Rows]:
        found = {table: self._select(table, "run_uuid", run_id) for table in ("runs", *self.OF_A_RUN)}
        found["inputs"] = self._select("inputs", "destination_id", run_id) + self._select("inputs", "source_id", run_id)
        inputs = [row["input_uuid"] for row in found["inputs"]]
        found["input_tags"] = [tag for number in inputs for tag in self._select("input_tags", "input_uuid", number)]
        for rows in (found["inputs"], found["input_tags"]):  # the pattern's id in theirs, to be replaced with it
            for row in rows:
                row["input_uuid"] = run_id + str(inputs.index(row["input_uuid"]))
        return found

    def _select(self, table: str, column: str, value: str) -> Rows:
        return [dict(row) for row in self.database.execute(f"SELECT * FROM {table} WHERE {column} = ?", (value,))]

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))

    def close(self) -> None:
        """Keep what was copied."""
        self.database.commit()
        self.database.close()


def make(folder: Path, count: int) -> None:
    """Fill a new store with so many runs."""
    store = tracking.Store(str(folder))
    chosen = list(configs(count))
    first = len(SEEDS) * len(RUNGS)
    patterns = {config.epochs: write(store, config) for config in chosen[:first]}
    copier = Copier(store)
    for config in chosen[first:]:
        copier.copy(patterns[config.epochs], config)
    copier.close()


def main() -> None:
    """Make the store that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, metavar="N")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the store")
    arguments = parser.parse_args()
    began = time.monotonic()
    make(arguments.out, arguments.runs)
    print(f"{arguments.out}: {arguments.runs} runs in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
