"""The store: MLflow, known to this folder alone. Writes runs and reads them back as a frame."""

from fmnist.tracking.book import Book, Record, experiment_id, save_view
from fmnist.tracking.client import AwayError, StoreError, address
from fmnist.tracking.frame import frame, load
from fmnist.tracking.searches import SearchRecord, SearchSummary, searches
from fmnist.tracking.writer import ERROR, FAILED, FINISHED, KILLED, PREDICTIONS, RUNNING, Writer

__all__ = [
    "ERROR",
    "FAILED",
    "FINISHED",
    "KILLED",
    "PREDICTIONS",
    "RUNNING",
    "AwayError",
    "Book",
    "Record",
    "SearchRecord",
    "SearchSummary",
    "StoreError",
    "Writer",
    "address",
    "experiment_id",
    "frame",
    "load",
    "save_view",
    "searches",
]
