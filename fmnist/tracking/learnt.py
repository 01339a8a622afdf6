"""What a run has learnt, as arrays by the names of `training.model.variables`: out of its files, checked, and back."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist import provenance
from fmnist.checks import check
from fmnist.config import ComputeConfig, Config, UserError
from fmnist.identity import parameters
from fmnist.network import parameter_count
from fmnist.schema import PER_EPOCH
from fmnist.tracking.registry import load_model, model_of
from fmnist.tracking.run_writer import RunWriter
from fmnist.tracking.store import Store
from fmnist.tracking.stored import StoredRun, options_of
from fmnist.training import checkpoint
from fmnist.training.locking import BusyError, checkpoint_folder, exclusively

EXAMPLE = "example"  # images that a model was saved with
History = Sequence[Mapping[str, float]]
Arrays = Mapping[str, NDArray[Any]]
_KNOWN: dict[str, dict[str, tuple[int, ...]]] = {}
_HISTORY = {*PER_EPOCH, "time/ended_ms"}


def _config(run: StoredRun) -> Config:
    """Of a run, to be computed with here: whose weights they are does not depend on it.

    Raises:
        UserError: no network has these options.
    """
    config = options_of(run)
    if config is None:
        raise UserError("it has no options")
    precision = "bfloat16" if config.compute.precision == "bfloat16" else "float32"
    return check(replace(config, compute=ComputeConfig(precision, 1, "tensorflow")))


def model_arrays(store: Store, run: StoredRun) -> Arrays:
    """The weights of a run's model and the images that it was saved with; empty where it has none that can be read."""
    found = model_of(store, run.run_id)
    if found is None:
        return {}
    try:
        config = _config(run)
        model = load_model(store.uri, found[1], config)
    except UserError:
        return {}
    names = [name for name in _shapes(config) if name.startswith("model/")]
    weights = dict(zip(names, model.get_raw_model().get_weights(), strict=True))
    return {EXAMPLE: np.asarray(model.input_example, np.uint8), **weights}


def latest_checkpoint(store: Store, run: StoredRun) -> tuple[Arrays, History]:
    """The state from which a run's path goes on, of at most its epochs, and the epochs up to there; empty without."""
    folder = checkpoint_folder(str(store.folder), run.trajectory)
    for epoch, path in checkpoint.newest(folder, int(run.params.get("epochs", 0))):
        try:
            arrays, meta = checkpoint.load(path)
            if (meta["trajectory"], meta["epoch"], len(meta["history"])) == (run.trajectory, epoch, epoch):
                return arrays, meta["history"]
        except (checkpoint.CheckpointError, OSError):  # of which the next sweep tells
            continue
    return {}, []


def check_learnt(run: StoredRun, model: Arrays, state: Arrays, history: History) -> None:
    """Refuse, with ValueError, what cannot be a run's model, or a checkpoint of its path."""
    if not (model or state or history):
        return
    try:
        config = _config(run)
    except UserError as error:
        raise ValueError(str(error)) from error
    weights = {name: array for name, array in model.items() if name != EXAMPLE}
    for arrays in filter(None, (weights, state)):
        size = sum(array.size for name, array in arrays.items() if name.startswith("model/"))
        if size != parameter_count(config.model):  # before a network of any size is built
            raise ValueError(f"its options give {parameter_count(config.model):,} weights, but it has {size:,}")
    shapes = _shapes(config)
    of_model = {name: shape for name, shape in shapes.items() if name.startswith("model/")}
    for arrays, wanted in ((weights, of_model), (state, shapes)):
        if arrays and {name: array.shape for name, array in arrays.items()} != wanted:
            raise ValueError("its arrays are not those of the network that its options give")
    example = model.get(EXAMPLE, np.zeros((1, 28, 28, 1), np.uint8))
    if example.dtype != np.uint8 or example.shape[1:] != (28, 28, 1) or not len(example) or (model and not weights):
        raise ValueError(f"its {EXAMPLE} is no image")
    if bool(state) != (0 < len(history) <= config.epochs) or any(epoch.keys() != _HISTORY for epoch in history):
        raise ValueError("its checkpoint is of other epochs than it says")


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Of the variables, worked out once for all runs that differ in seed and epochs alone."""
    key = str(sorted(parameters(replace(config, seed=0, epochs=1)).items()))
    if key not in _KNOWN:
        from fmnist.training import engine  # Keras with its settings
        from fmnist.training.model import shapes

        engine.use_threads(1)
        _KNOWN[key] = shapes(config)
    return _KNOWN[key]


def put_model(writer: RunWriter, run: StoredRun, arrays: Arrays) -> None:
    """Give a run the model of these weights, if it has none."""
    if not arrays:
        return
    config = _config(run)
    from fmnist.training import engine  # Keras with its settings
    from fmnist.training.model import build

    engine.use_threads(1)
    model = build(config)
    model.set_weights([arrays[name] for name in _shapes(config) if name.startswith("model/")])
    images = arrays[EXAMPLE].astype(np.float32)
    writer.model(model, images, model.predict(images, verbose=0), provenance.requirements(config))


def put_checkpoint(store: Store, run: StoredRun, arrays: Arrays, history: History) -> None:
    """Leave a state where the next sweep finds it, unless one of as many epochs, or who works on its path, is there."""
    folder, epoch = checkpoint_folder(str(store.folder), run.trajectory), len(history)
    if not arrays or any(number == epoch for number, _ in checkpoint.newest(folder, epoch)):
        return
    meta = {"trajectory": run.trajectory, "epoch": epoch, "history": list(history)}
    with suppress(BusyError), exclusively(str(store.folder), run.trajectory, wait=False):
        checkpoint.save(checkpoint.rung(folder, epoch), dict(arrays), meta)
