"""Runs as `fmnist.tracking.load` gives them, made by hand for the tests of what is said about them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from fmnist.config import CLASSES

DIGEST = "0123456789abcdef"


def run(run_id: str, variant: str = "baseline", val: float | None = 0.9, **changes: Any) -> dict[str, Any]:
    """A run; Shirt is its worst class."""
    recalls = {f"test/recall/{name}": 0.7 if name == "Shirt" else 0.85 for name in CLASSES}
    return {
        "run_id": run_id,
        "run_name": variant,
        "status": "FINISHED",
        "variant": variant,
        "variant_signature": f"signed {variant}",
        "signature": f"signed {run_id}",
        "data_digest": DIGEST,
        "compute.precision": "float32",
        "recipe": 2,
        "epochs": 10,
        "seed": 0,
        "start_time": 1000,
        "parameters": 940170,
        "test_images": 10_000,
        "validation_images": 6_000,
        "train_seconds": 100.0,
        "val/accuracy": val,
        "val/loss": None if val is None else 1 - val,
        "test/accuracy": None if val is None else val - 0.01,
        **recalls,
        **changes,
    }


def seeds(variant: str, values: Sequence[float | None], **changes: Any) -> list[dict[str, Any]]:
    """A run of a variant for each seed from 0 on, None for a seed that was not run; ids `variant epochs seed`."""
    epochs = changes.get("epochs", 10)
    return [
        run(f"{variant}-{epochs}-{seed}", variant, value, seed=seed, **changes)
        for seed, value in enumerate(values)
        if value is not None
    ]


def frame(*runs: dict[str, Any] | list[dict[str, Any]]) -> pd.DataFrame:
    """The frame of runs, given one by one or in lists."""
    return pd.DataFrame([row for given in runs for row in (given if isinstance(given, list) else [given])])
