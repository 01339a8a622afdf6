"""What the champion makes of pictures, and what serving it takes."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist.config import CLASSES, Config
from fmnist.image_files import Garment, ImageError, files, read
from fmnist.report.formats import table
from fmnist.study.records import Records
from fmnist.tracking.registry import NAME, Registry, Version, load_model, probabilities
from fmnist.words import harmless, percent


def in_use(folder: str, alias: str) -> tuple[str, Version, Config]:
    """The address of a store, the version that an alias stands for in it, and the config of its run.

    Raises:
        UserError: there is none.
    """
    records = Records(folder)
    version = Registry(records.store).find(alias)
    return records.store.uri, version, records.config(records.find(version.run_id))


def predict(folder: str, alias: str, names: Sequence[str], as_json: bool) -> int:
    """Print what a version makes of each picture that can be read, and name the others; returns the exit code."""
    uri, version, config = in_use(folder, alias)
    pictures: dict[str, Garment | str] = {}
    for name, source in files(names):
        try:
            pictures[name] = read(name, source)
        except ImageError as error:
            pictures[name] = str(error)
            print(harmless(f"fmnist.champion: {name}: {error}"), file=sys.stderr)
    garments = {name: picture for name, picture in pictures.items() if isinstance(picture, Garment)}
    said: dict[str, dict[str, Any]] = {}
    if garments:
        images = np.stack([garment.pixels for garment in garments.values()])[..., np.newaxis]
        rows = probabilities(load_model(uri, version.place, config), images)
        said = {name: _said(name, garments[name], row) for name, row in zip(garments, rows, strict=True)}
    if as_json:
        print(json.dumps([said.get(name) or {"file": name, "error": pictures[name]} for name in pictures], indent=1))
    elif said:
        print(f"{NAME} version {version.number}, the {alias}, says:")
        print(_table(pd.DataFrame(said.values())))
    return 2 if len(said) < len(pictures) else 0


def _said(name: str, garment: Garment, row: NDArray[np.float32]) -> dict[str, Any]:
    first, second = np.argsort(-row, kind="stable")[:2]
    return {
        "file": name,
        "class": CLASSES[first],
        "probability": float(row[first]),
        "runner_up": CLASSES[second],
        "runner_up_probability": float(row[second]),
        "inverted": garment.was_inverted,
    }


def _table(rows: pd.DataFrame) -> str:
    columns = {
        "file": rows["file"],
        "class": rows["class"],
        "probability": rows["probability"].map(percent),
        "runner-up": rows["runner_up"] + " " + rows["runner_up_probability"].map(percent),
        "background": np.where(rows["inverted"], "bright: inverted", "dark"),
    }
    return table(pd.DataFrame(columns), "table")
