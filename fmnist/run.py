"""One run, from config to record: advance the trajectory, evaluate it, draw it, log it."""

import importlib.metadata
import json
import subprocess
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from fmnist import machine, tracking
from fmnist.checks import check
from fmnist.config import CLASSES, CONF, Config
from fmnist.identity import RECIPE, Signatures, command, parameters, run_name, sign, variant_name
from fmnist.network import flops_per_image, parameter_count
from fmnist.schema import Status
from fmnist.training.data import Dataset, load, validation_count
from fmnist.training.locking import checkpoint_folder, exclusively

if TYPE_CHECKING:
    from fmnist.training.evaluation import Evaluation
    from fmnist.training.trajectory import Trajectory

PACKAGES = ("keras", "keras-tuner", "mlflow", "numpy", "pandas", "scikit-learn", "hydra-core")  # and the backend


@dataclass
class Listener:
    """What a run tells while it goes on; the defaults say nothing."""

    on_start: Callable[[int], None] = lambda epoch: None  # the epoch it continues from
    on_step: Callable[[int, int], None] = lambda step, steps: None
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, record: None


@dataclass(frozen=True)
class Outcome:
    """Where a run ended up."""

    run_id: str
    metrics: dict[str, float]
    trained: int  # epochs trained for it; 0 if the store had it or its trajectory was already there


def execute(
    config: Config, listener: Listener | None = None, wait: bool = True, store: tracking.Store | None = None
) -> Outcome:
    """Carry out one run and leave it in the store; a run that is already there costs nothing.

    Args:
        config: the run.
        listener: is told how it goes on.
        wait: for another process that is on the run's trajectory.
        store: the config's store, if it is open already.

    Raises:
        BusyError: another process is on its trajectory, and we were told not to wait.
        AwayError: the store's server has been away for too long; what was trained stays in checkpoints.
        UserError: the config is impossible or the data cannot be read; nothing is recorded.
        DivergedError: the loss is no longer a number; the run is recorded as FAILED.
    """
    config = machine.resolve(check(config))
    machine.use_backend(config)
    dataset = load(config.data)
    signatures = sign(config, dataset.digest)
    store = store or tracking.Store(config.store, config.patience)
    folder = checkpoint_folder(config.store, signatures.trajectory)
    with exclusively(config.store, signatures.trajectory, wait):
        known = store.find(signatures.run)
        if known is not None and known.info.status == Status.FINISHED:
            return Outcome(known.info.run_id, known.data.metrics, trained=0)
        writer = store.begin(
            run_name(config), signatures.run, parameters(config), describe(config, signatures, dataset)
        )
        try:
            outcome = _carry_out(config, dataset, folder, writer, listener or Listener())
        except BaseException as error:
            with suppress(tracking.StoreError):  # the error tells more; the next sweep closes what stands as running
                if isinstance(error, KeyboardInterrupt | SystemExit):
                    store.hurry()
                    writer.end(Status.KILLED)
                elif not isinstance(error, tracking.AwayError):
                    writer.fail(traceback.format_exc())
            raise
        writer.end(Status.FINISHED)
        _release()
        return outcome


def _release() -> None:
    from fmnist.training.engine import release

    release()


def _carry_out(
    config: Config, dataset: Dataset, folder: Path, writer: tracking.RunWriter, listener: Listener
) -> Outcome:
    from fmnist.training.evaluation import evaluate
    from fmnist.training.trajectory import Trajectory

    began = time.monotonic()
    _log_provenance(config, dataset, writer)
    path = Trajectory(config, dataset, folder)
    resumed = path.resume(config.epochs)
    writer.epochs(path.history)
    listener.on_start(resumed)

    def on_epoch(epoch: int, record: dict[str, float]) -> None:
        writer.epochs(path.history)
        listener.on_epoch(epoch, record)

    path.advance(config.epochs, listener.on_step, on_epoch)
    writer.epochs(path.history, wait=True)  # what could not be sent while the store was away
    test = evaluate(path.test_logits(), dataset.test_labels)
    validation = evaluate(path.validation_logits(), dataset.train_labels[path.val_rows])
    _log_pictures(config, path, test, writer)
    _log_tables(path, test, validation, dataset, writer)
    writer.model(
        path.engine.model,
        dataset.test_images[:2].astype(np.float32),
        test.probabilities[:2],
        [f"{name}=={importlib.metadata.version(name)}" for name in ("keras", "numpy", config.compute.backend)],
    )
    metrics = _final_metrics(path, test) | _times(path, resumed, time.monotonic() - began)
    writer.metrics(metrics, step=config.epochs)
    return Outcome(writer.run_id, {**path.history[-1], **metrics}, trained=config.epochs - resumed)


def _final_metrics(path: "Trajectory", test: "Evaluation") -> dict[str, float]:
    final: dict[str, float] = {
        "test/accuracy": test.accuracy,
        "test/loss": test.loss,
        "model/parameters": path.engine.model.count_params(),
    }
    for index, name in enumerate(CLASSES):
        final[f"test/precision/{name}"] = test.precision[index]
        final[f"test/recall/{name}"] = test.recall[index]
        final[f"test/f1/{name}"] = test.f1[index]
    return final


def _times(path: "Trajectory", resumed: int, wall: float) -> dict[str, float]:
    """Seconds of the whole path and of this run alone; what compiling takes is no part of the pace."""
    epochs = [record["time/epoch_s"] for record in path.history]
    trained = sum(epochs[resumed:]) - path.compiling if len(epochs) > resumed else 0.0
    images = path.steps_per_epoch * path.config.batch_size
    return {
        "time/train_s": sum(epochs),
        "time/images_per_s": images * (len(epochs) - resumed) / trained if trained > 0 else images / min(epochs),
        "time/wall_s": wall,
        "time/overhead_s": wall - trained,
    }


def _log_pictures(config: Config, path: "Trajectory", test: "Evaluation", writer: tracking.RunWriter) -> None:
    from fmnist.report import run_pictures

    title = run_name(config)
    names = [CLASSES[label] for label in path.dataset.train_labels[path.train_rows[:6]]]
    pictures = {
        "confusion_matrix": run_pictures.confusion(test.confusion, CLASSES, title),
        "curves": run_pictures.curves(_history(path), title),
        "samples": run_pictures.samples(path.augmented(len(names), versions=7), names, title),
    }
    for key, figure in pictures.items():
        writer.image(key, run_pictures.to_image(figure))


def _log_tables(
    path: "Trajectory", test: "Evaluation", validation: "Evaluation", dataset: Dataset, writer: tracking.RunWriter
) -> None:
    report = {
        name: {
            "precision": test.precision[index],
            "recall": test.recall[index],
            "f1-score": test.f1[index],
            "support": int(test.support[index]),
        }
        for index, name in enumerate(CLASSES)
    }
    writer.text("classification_report.json", json.dumps({**report, "accuracy": test.accuracy}, indent=1))
    matrix = pd.DataFrame(test.confusion, index=pd.Index(CLASSES, name="actual"), columns=CLASSES)
    writer.text("confusion_matrix.csv", matrix.to_csv())
    writer.text("history.csv", _history(path).to_csv())
    writer.arrays(
        tracking.PREDICTIONS,
        test_labels=dataset.test_labels.astype(np.uint8),
        test_predicted=test.predicted.astype(np.uint8),
        test_probabilities=test.probabilities.astype(np.float16),
        val_rows=path.val_rows.astype(np.int32),
        val_labels=dataset.train_labels[path.val_rows].astype(np.uint8),
        val_predicted=validation.predicted.astype(np.uint8),
        val_probabilities=validation.probabilities.astype(np.float16),
    )


def _history(path: "Trajectory") -> pd.DataFrame:
    epochs = pd.RangeIndex(1, len(path.history) + 1, name="epoch")
    return pd.DataFrame(path.history, index=epochs).drop(columns="time/ended_ms")


def describe(config: Config, signatures: Signatures, dataset: Dataset) -> dict[str, Any]:
    """What a run's record says of it from its first moment on, besides its options, as `tracking.as_tags` takes it.

    Args:
        config: the run, resolved.
        signatures: its signatures.
        dataset: the data that it is to see.
    """
    rows = len(dataset.train_labels)
    return {
        "variant": variant_name(config),
        "trajectory_signature": signatures.trajectory,
        "variant_signature": signatures.variant,
        "data_digest": dataset.digest,
        "test_images": len(dataset.test_labels),
        "validation_images": validation_count(rows, config.data.validation, config.data.limit),
        "recipe": RECIPE,
        "parameters": parameter_count(config.model),
        "flops_per_image": flops_per_image(config.model),
        **machine.describe(),
        "source": "fmnist.train",
        "note": f"Again: `{command(config)}`",
        "commit": _commit() or None,
        "study": config.study.name or None,
    }


def _log_provenance(config: Config, dataset: Dataset, writer: tracking.RunWriter) -> None:
    options = {key: value for key, value in asdict(config).items() if key != "study"}
    writer.text("config.yaml", yaml.safe_dump(options, sort_keys=False))
    versions = {name: importlib.metadata.version(name) for name in (*PACKAGES, config.compute.backend)}
    writer.text("provenance/packages.json", json.dumps(versions, indent=1))
    difference = _git("diff", "HEAD")
    if difference:
        writer.text("provenance/uncommitted.diff", difference)
    profile = {"train_images": len(dataset.train_labels), "test_images": len(dataset.test_labels)}
    writer.dataset("fashion-mnist", dataset.digest, dataset.source, profile)


@cache  # of a process: what it runs was read when it started
def _commit() -> str:
    """The commit that is checked out, or nothing where there is none."""
    return _git("rev-parse", "HEAD").strip()


def _git(*arguments: str) -> str:
    """What git says of the project, or nothing where it is no checkout or there is no git."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=CONF.parent, capture_output=True, text=True, check=True, errors="replace"
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout
