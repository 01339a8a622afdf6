"""TensorFlow's loop and JAX's compute the same. A process has one backend: JAX's part is done by jax_alone.py."""

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from idx import synthetic

from fmnist.config import AugmentConfig, Config, from_flat
from fmnist.training import augment, checkpoint
from fmnist.training.data import Dataset

HERE = Path(__file__).parent
TESTS = HERE.parent
UNMOVED = AugmentConfig(0, 0, 0, 0, 0)
TINY = from_flat(
    Config(batch_size=32),
    {
        "model.filters": 4,
        "model.kernel_size": 3,
        "model.dense_units": 16,
        "compute.precision": "float32",
        "compute.threads": 1,
    },
)
# Without dropout, whose masks come from each backend's own generator. With batch norm a convolution's bias has a
# gradient of rounding noise, which optimizers other than SGD would turn into whole steps.
SAME: dict[str, dict[str, Any]] = {
    "article": {},
    "nadam with averaged weights, unit scale, average pooling": {
        "optimizer.name": "nadam", "data.scale": "unit", "model.pooling": "average", "augment": UNMOVED,
        "optimizer.ema_momentum": 0.9,
    },
    "batch norm": {"model.batch_norm": True, "optimizer.name": "sgd", "augment": AugmentConfig(horizontal_flip=True)},
}  # fmt: skip
(IMAGES, LABELS), (OTHERS, OTHER_LABELS) = synthetic(400, 803)
DATASET = Dataset(IMAGES, LABELS, OTHERS, OTHER_LABELS, digest="synthetic", source="tests")
TRAINING, STEPS = 360, 11  # of an epoch of DATASET too: XLA compiles a loop for its sizes, for seconds
ROWS = np.random.default_rng(0).permutation(2 * STEPS * 32).reshape(2 * STEPS, 32).astype(np.int32) % TRAINING
WARPS = augment.transforms(augment.draw(AugmentConfig(), ROWS.size, np.random.default_rng(0))).reshape(-1, 32, 8)
BACKENDS = ("tensorflow", "jax")


def warped(variant: str) -> bool:
    return "augment" not in SAME[variant] or SAME[variant]["augment"] is not UNMOVED


def engine(backend: str, **options: Any) -> Any:
    from fmnist.training.engine import Engine

    return Engine(from_flat(TINY, {"compute.backend": backend, **options}), IMAGES[:TRAINING], LABELS[:TRAINING])


def trained(engine: Any, part: slice, variant: str) -> dict[str, Any]:
    losses, hits = engine.train(ROWS[part], WARPS[part] if warped(variant) else None)
    return {"losses": losses, "hits": hits, "logits": engine.logits(OTHERS)}


def begin(folder: Path, backend: str) -> dict[str, Any]:
    """Train each variant for STEPS steps, leaving its states before and after and what was seen; the engines."""
    engines = {variant: engine(backend, **options) for variant, options in SAME.items()}
    for variant, fresh in engines.items():
        checkpoint.save(folder / backend / variant / "start.ckpt", fresh.state(), {})
        checkpoint.save(folder / backend / variant / "seen.ckpt", trained(fresh, slice(STEPS), variant), {})
        checkpoint.save(folder / backend / variant / "middle.ckpt", fresh.state(), {})
    checkpoint.save(folder / backend / "history.ckpt", history(path(folder / "paths" / backend, 2, backend)), {})
    return engines


def go_on(folder: Path, backend: str, engines: dict[str, Any]) -> None:
    """Continue from the states that either backend has left."""
    for of, variant in itertools.product(BACKENDS, SAME):
        engines[variant].restore(checkpoint.load(folder / of / variant / "middle.ckpt")[0])
        seen = trained(engines[variant], slice(STEPS, None), variant)
        checkpoint.save(folder / f"{of}, then {backend}" / variant / "seen.ckpt", seen, {})


def path(folder: Path, epochs: int, backend: str, **options: Any) -> Any:
    """The path of the tiny network, continued from its folder."""
    from fmnist.training.trajectory import Trajectory

    path = Trajectory(from_flat(TINY, {"compute.backend": backend, **options}), DATASET, folder)
    path.resume(epochs)
    path.advance(epochs, lambda step, steps: None, lambda epoch, record: None)
    return path


def history(path: Any) -> dict[str, Any]:
    keys = [key for key in path.history[0] if "time/" not in key]
    return {"rows": path.train_rows, **{key: np.array([epoch[key] for epoch in path.history]) for key in keys}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both backends have left, each having continued its own states and the other's."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed: only TensorFlow's loop is there to be tested")
    folder = tmp_path_factory.mktemp("engines")
    engines = begin(folder, "tensorflow")
    variables = {"KERAS_BACKEND": "jax", "PYTHONPATH": f"{TESTS.parent}:{TESTS}", "ENGINES_FOLDER": str(folder)}
    variables |= {  # XLA compiles equal networks once, and in less time than it needs to make them fast
        "XLA_FLAGS": "--xla_backend_optimization_level=1",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-m", "pytest", "--color=no", HERE / "jax_alone.py"]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    (folder / "jax_alone.txt").write_text(done.stdout + done.stderr)
    go_on(folder, "tensorflow", engines)
    return folder


def both(folder: Path, *names: str) -> tuple[Any, Any]:
    one, other = (checkpoint.load(folder.joinpath(backend, *names))[0] for backend in BACKENDS)
    assert list(one) == list(other)
    return one, other


# ---- The same numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", SAME)
def test_both_start_from_equal_weights_and_name_their_state_alike(folder: Path, variant: str) -> None:
    one, other = both(folder, variant, "start.ckpt")
    for name in one:
        assert one[name].shape == other[name].shape and (one[name] == other[name]).all(), name


@pytest.mark.parametrize("variant", SAME)
def test_the_first_steps_of_both_lose_and_hit_the_same(folder: Path, variant: str) -> None:
    one, other = both(folder, variant, "seen.ckpt")
    assert one["losses"].dtype == other["losses"].dtype and one["hits"].dtype == other["hits"].dtype
    np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-4)
    assert np.abs(one["hits"] - other["hits"]).max() <= 1
    np.testing.assert_allclose(other["logits"], one["logits"], rtol=1e-3, atol=1e-3 * np.abs(one["logits"]).max())


@pytest.mark.parametrize(("first", "then"), [("tensorflow", "jax"), ("jax", "tensorflow")])
@pytest.mark.parametrize("variant", SAME)
def test_each_continues_what_the_other_has_begun(folder: Path, variant: str, first: str, then: str) -> None:
    alone, taken = (
        checkpoint.load(folder / f"{first}, then {backend}" / variant / "seen.ckpt")[0] for backend in (first, then)
    )
    np.testing.assert_allclose(taken["losses"], alone["losses"], rtol=1e-4)


def test_both_take_the_same_rows_in_the_same_order_with_the_same_warps(folder: Path) -> None:
    one, other = both(folder, "history.ckpt")
    assert (one["rows"] == other["rows"]).all() and len(one["train/loss"]) == 2
    for key in ("train/loss", "val/loss"):
        np.testing.assert_allclose(other[key], one[key], rtol=1e-3)


def test_what_holds_of_tensorflow_s_loop_holds_of_jax_s(folder: Path) -> None:
    result = (folder / "jax_alone.txt").read_text()
    assert " passed" in result and "failed" not in result and "error" not in result, result
