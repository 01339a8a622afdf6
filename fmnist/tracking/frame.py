"""The runs of a store as a DataFrame."""

from typing import Any

import pandas as pd
from mlflow.entities import Run

from fmnist.tracking.client import address, is_new
from fmnist.tracking.database import StoredRun, entries
from fmnist.tracking.run_writer import FINISHED
from fmnist.tracking.store import CONFIRMS, EXPERIMENT, Store


def load(store: str) -> pd.DataFrame:
    """All runs of a store as `frame` gives them; nothing is created where there is no store yet."""
    uri = address(store)
    if is_new(uri):
        return _frame([])
    found = entries(uri, EXPERIMENT)
    return frame(Store(store)) if found is None else _frame(found)


def frame(book: Store) -> pd.DataFrame:
    """All runs of a store as a frame, a row a run, oldest first.

    Columns: run_id, run_name, status, variant, variant_signature, trajectory_signature, signature, data_digest,
    study (the last that asked for it), search (names of all that used it), trial (its number in the first of them),
    confirms (whether they used it only to compare what was chosen before with the baseline), machine.cpu, epochs, seed,
    start_time (ms), parameters, flops_per_image,
    test_images, validation_images (whole numbers, 0 where unknown), train_seconds, every metric by its name
    (`val/accuracy`, the last value) and every option by its key (`model.filters`, as text).
    """
    found = entries(book.uri, EXPERIMENT)
    return _frame([_entry(run) for run in book.runs()] if found is None else found)


def _entry(run: Run) -> StoredRun:
    info, data = run.info, run.data
    return StoredRun(info.run_id, info.run_name, info.status, info.start_time, data.tags, data.params, data.metrics)


def _row(run: StoredRun) -> dict[str, Any]:
    params, tags, metrics = run.params, run.tags, run.metrics
    return {
        "run_id": run.run_id,
        "run_name": run.name,
        "status": run.status,
        "variant": tags.get("fmnist.variant", ""),
        "variant_signature": tags.get("fmnist.variant_signature", ""),
        "trajectory_signature": tags.get("fmnist.trajectory_signature", ""),
        "signature": tags.get("fmnist.signature", ""),
        "data_digest": tags.get("fmnist.data_digest", ""),
        "study": tags.get("fmnist.study", ""),
        "search": tags.get("fmnist.search", ""),
        "trial": tags.get("fmnist.trial", ""),
        "confirms": tags.get(CONFIRMS) == "true",
        "machine.cpu": tags.get("machine.cpu", ""),
        "start_time": run.start_time,
        "parameters": int(tags.get("fmnist.parameters", 0)),
        "flops_per_image": int(tags.get("fmnist.flops_per_image", 0)),
        "test_images": int(tags.get("fmnist.test_images", 0)),
        "validation_images": int(tags.get("fmnist.validation_images", 0)),
        "train_seconds": metrics.get("time/train_s", float("nan")),
        **metrics,
        **params,
        "epochs": int(params.get("epochs", 0)),
        "seed": int(params.get("seed", 0)),
    }


def _frame(runs: list[StoredRun]) -> pd.DataFrame:
    """Of runs that come newest first."""
    found = pd.DataFrame([_row(run) for run in reversed(runs)] or [_row(_NO_RUN)])
    for metric in ("val/accuracy", "test/accuracy"):  # missing while no run has got that far
        if metric not in found:
            found[metric] = float("nan")
    return found if runs else found.iloc[:0]


_NO_RUN = StoredRun("", "", FINISHED, 0)
