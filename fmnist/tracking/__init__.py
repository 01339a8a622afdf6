"""The store: MLflow, which no other folder imports. Writes runs and reads them back as a frame."""

from fmnist import environment  # noqa: F401  # before MLflow is imported
from fmnist.tracking.client import AwayError, StoreError, address
from fmnist.tracking.frame import frame, load
from fmnist.tracking.run_writer import ERROR, PREDICTIONS, EncodedPicture, RunWriter, encoded
from fmnist.tracking.searches import SearchRecord, SearchSummary, searches
from fmnist.tracking.shared_checkpoints import SharedCheckpoints
from fmnist.tracking.store import Store, experiment_id, shared_epochs
from fmnist.tracking.stored import RUNNING, StoredRun, as_tags, as_text

__all__ = [
    "ERROR",
    "PREDICTIONS",
    "RUNNING",
    "AwayError",
    "EncodedPicture",
    "RunWriter",
    "SearchRecord",
    "SearchSummary",
    "SharedCheckpoints",
    "Store",
    "StoreError",
    "StoredRun",
    "address",
    "as_tags",
    "as_text",
    "encoded",
    "experiment_id",
    "frame",
    "load",
    "searches",
    "shared_epochs",
]
