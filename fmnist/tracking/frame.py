"""The runs of a store as a DataFrame."""

from typing import Any

import pandas as pd
from mlflow.entities import Run, RunData, RunInfo

from fmnist.tracking.book import Book
from fmnist.tracking.client import address, is_new
from fmnist.tracking.writer import FINISHED


def load(store: str) -> pd.DataFrame:
    """All runs of a store as `frame` gives them; nothing is created where there is no store yet."""
    return _frame([]) if is_new(address(store)) else frame(Book(store))


def frame(book: Book) -> pd.DataFrame:
    """All runs of a store as a frame, a row a run, oldest first.

    Columns: run_id, run_name, status, variant, variant_signature, trajectory_signature, signature, data_digest,
    study (the last that asked for it), machine.cpu, epochs, seed, start_time (ms), parameters, flops_per_image,
    test_images, validation_images (whole numbers, 0 where unknown), train_seconds, every metric by its name
    (`val/accuracy`, the last value) and every option by its key (`model.filters`, as text).
    """
    return _frame([_row(run) for run in book.runs()][::-1])


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
        "study": tags.get("fmnist.study", ""),
        "machine.cpu": tags.get("machine.cpu", ""),
        "start_time": run.info.start_time,
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


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    found = pd.DataFrame(rows or [_row(_NO_RUN)])
    for metric in ("val/accuracy", "test/accuracy"):  # missing while no run has got that far
        if metric not in found:
            found[metric] = float("nan")
    return found if rows else found.iloc[:0]


_NO_RUN = Run(RunInfo("", "", "", FINISHED, 0, 0, "active"), RunData())
