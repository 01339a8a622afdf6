"""JAX's part of test_engines.py, which runs it with KERAS_BACKEND=jax: sentences of other tests that hold of it too."""

import gc
import os
import weakref
from pathlib import Path

import jax
import keras
import numpy as np
import pytest
import test_engine
import test_trajectory
from commands import here
from idx import synthetic, write_idx
from test_engine import (  # noqa: F401
    test_bfloat16_trains_nearly_as_float32_does,
    test_dropout_masks_start_anew_from_a_seed,
    test_evaluation_counts_every_image_in_order_and_equals_predict,
    test_every_step_drops_other_units,
)
from test_engines import IMAGES, LABELS, ROWS, STEPS, TINY, WARPS, begin, engine, go_on, path

from fmnist import run
from fmnist.config import from_flat
from fmnist.training import augment, xla
from fmnist.training.engine import Engine, release, use_threads
from fmnist.training.model import Maximum, directly

for module in (test_engine, test_trajectory):
    module.TINY = from_flat(module.TINY, {"compute.backend": "jax"})


def test_it_leaves_what_is_compared() -> None:
    folder = Path(os.environ["ENGINES_FOLDER"])
    go_on(folder, "jax", begin(folder, "jax"))


def test_a_path_that_is_stopped_ends_as_if_never_stopped(tmp_path: Path) -> None:
    whole, cut, again = (
        test_trajectory.path_of(tmp_path / name, **test_trajectory.VARIANTS["bfloat16 with everything"])
        for name in ("whole", "cut", "cut")
    )
    test_trajectory.go(cut, 1)
    assert again.resume(3) == 1
    ends = [test_trajectory.outcome(test_trajectory.go(each, 3)) for each in (again, whole)]
    assert ends[0] == ends[1]


def test_an_epoch_is_one_segment_and_compiling_is_told_apart(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    one = path(tmp_path, 1, "jax")
    one.advance(3, lambda step, steps: told.append((step, steps)), lambda epoch, record: None)
    assert told == [(11, 11), (11, 11)]
    assert 0 < one.compiling < one.history[0]["time/epoch_s"]


def test_a_run_is_reproduced_bit_for_bit(tmp_path: Path) -> None:
    write_idx(tmp_path / "images", *synthetic(400, 100))
    place = {"data.dir": str(tmp_path / "images"), "store": str(tmp_path / "store"), "epochs": 1}
    ended = run.execute(from_flat(TINY, {"compute.backend": "jax", **place}))
    said = here("reproduce", ended.run_id, "--store", tmp_path / "store").stdout
    assert "bit-exact: 37 metrics, the curves of 1 epoch, 100 predictions (test), " in said and "its weights" in said


@pytest.mark.parametrize("side", [8, 9])
def test_the_maximum_and_its_gradient_on_gpus_are_keras_s_bit_for_bit_also_of_equal_pixels(side: int) -> None:
    rng = np.random.default_rng(0)
    images = jax.numpy.asarray(rng.integers(0, 3, (4, side, side, 5)).astype(np.float32))
    of_largest = jax.numpy.asarray(rng.normal(size=(4, 4, 4, 5)).astype(np.float32))
    keras_s, ours = (
        jax.vjp(pool, images) for pool in (lambda x: keras.ops.max_pool(x, 2, 2, padding="valid"), xla.maximum)
    )
    np.testing.assert_array_equal(ours[0], keras_s[0])
    np.testing.assert_array_equal(ours[1](of_largest)[0], keras_s[1](of_largest)[0])


@pytest.mark.parametrize("taps", [3, 4])
def test_the_first_convolution_and_its_gradients_on_gpus_are_those_of_keras(taps: int) -> None:
    rng = np.random.default_rng(0)
    images, kernel = (
        jax.numpy.asarray(rng.normal(size=shape).astype(np.float32)) for shape in ((4, 28, 28, 1), (taps, taps, 1, 6))
    )
    (theirs, their_gradients), (ours, our_gradients) = (
        jax.vjp(jax.jit(lambda images, kernel, way=way: way(images, kernel, "float32")), images, kernel)
        for way in (directly, xla.of_one_channel)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    for one, other in zip(our_gradients(theirs), their_gradients(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def test_a_network_for_gpus_trains_as_that_for_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for has_gpu in (False, True):
        monkeypatch.setattr("fmnist.training.jax_loop.has_gpu", lambda has_gpu=has_gpu: has_gpu)
        release()
        one = engine("jax")
        assert any(type(layer) is Maximum for layer in one.loop.network.layers) == has_gpu
        losses.append(one.train(ROWS[:STEPS], WARPS[:STEPS])[0])
    release()
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_a_network_that_was_trained_goes_on_with_more_images() -> None:
    losses = []
    for count in (360, 400, 360):
        one = Engine(from_flat(TINY, {"compute.backend": "jax"}), IMAGES[:count], LABELS[:count])
        losses.append(one.train(ROWS[:STEPS], WARPS[:STEPS])[0])
        del one
        gc.collect()
    np.testing.assert_array_equal(losses[0], losses[2])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)  # none of the further images is drawn


def test_no_product_of_float32_takes_fewer_bits_on_gpus() -> None:
    one = engine("jax")
    train = jax.make_jaxpr(one.loop.segment)(one.loop.state(), one.data, ROWS[:2], WARPS[:2])
    warp = jax.make_jaxpr(augment.warp)(np.zeros((3, 28, 28, 1), np.float32), WARPS[0, :3])  # in validation, by itself
    for program in (str(train), str(warp)):
        assert "HIGHEST" in program and "precision=None" not in program


def test_another_number_of_threads_is_refused_once_there_are_results() -> None:
    with pytest.raises(RuntimeError, match="cannot be modified to 2"):
        use_threads(2)
    use_threads(1)


def test_a_config_of_the_other_backend_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"compute\.backend is tensorflow, but"):
        engine("tensorflow")


def test_nothing_of_an_engine_that_has_trained_stays_in_memory() -> None:
    one = engine("jax")
    one.train(ROWS[:STEPS], WARPS[:STEPS])  # as many as before, for which XLA has compiled it
    one.logits(np.zeros((3, 28, 28, 1), np.uint8))
    images, loop = weakref.ref(one.data[0]), weakref.ref(one.loop)
    del one
    release()
    gc.collect()
    assert images() is None and loop() is None
