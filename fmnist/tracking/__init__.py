"""The store: MLflow, known to this folder alone. Writes runs and reads them back as a frame."""

from fmnist.schema import Status
from fmnist.tracking.client import AwayError, StoreError, address
from fmnist.tracking.frame import frame, load
from fmnist.tracking.run_writer import ERROR, PREDICTIONS, RunWriter
from fmnist.tracking.searches import SearchRecord, SearchSummary, searches
from fmnist.tracking.store import RunSummary, Store, experiment_id
from fmnist.tracking.tags import as_tags, as_text

RUNNING, FINISHED, FAILED, KILLED = Status  # old names of the statuses

__all__ = [
    "ERROR",
    "FAILED",
    "FINISHED",
    "KILLED",
    "PREDICTIONS",
    "RUNNING",
    "AwayError",
    "RunSummary",
    "RunWriter",
    "SearchRecord",
    "SearchSummary",
    "Store",
    "StoreError",
    "address",
    "as_tags",
    "as_text",
    "experiment_id",
    "frame",
    "load",
    "searches",
]
