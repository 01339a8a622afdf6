"""Convolution on tiles: the numbers of direct convolution, in training too, and the same bits whatever stops it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fmnist.config import Config, from_flat
from fmnist.training.engine import Engine, keras, release, use_threads
from fmnist.training.model import build, directly, logits_of
from fmnist.training.tensorflow_loop import convolution_of
from fmnist.training.winograd import TILES, convolve, on_tiles, tile_of, transforms

use_threads(1)  # before any test computes: a process cannot change it later
import tensorflow as tf  # noqa: E402

ARTICLE = from_flat(Config(), {"compute.precision": "float32", "compute.threads": 1})
STILL = {f"augment.{name}": 0.0 for name in ("rotation", "width_shift", "height_shift", "shear", "zoom")}
SMALL = from_flat(ARTICLE, {"model.filters": 16, "model.dense_units": 16, "batch_size": 32, **STILL})
Arrays = list[NDArray[Any]]


def passes(convolution: Any, dtype: Any, *arrays: NDArray[np.float64]) -> Arrays:
    """Outputs, and gradients for images and kernel, of a convolution of (images, kernel, gradient of the outputs)."""
    images, kernel, upstream = (tf.constant(array, dtype) for array in arrays)
    with tf.GradientTape() as tape:
        tape.watch([images, kernel])
        outputs = convolution(images, kernel)
    return [
        array.numpy().astype(np.float64) for array in (outputs, *tape.gradient(outputs, [images, kernel], upstream))
    ]


def direct(images: Any, kernel: Any) -> Any:
    return tf.nn.conv2d(images, kernel, 1, "VALID")


def drawn(taps: int, sides: tuple[int, int], channels: int, filters: int, batch: int) -> Arrays:
    rng = np.random.default_rng(taps)
    outputs = [side - taps + 1 for side in sides]
    shapes = ((batch, *sides, channels), (taps, taps, channels, filters), (batch, *outputs, filters))
    return [rng.normal(size=shape) for shape in shapes]


def errors(found: Arrays, exact: Arrays) -> list[float]:
    """Relative, in the norm, of outputs and both gradients."""
    return [
        float(np.linalg.norm(ours - right) / np.linalg.norm(right)) for ours, right in zip(found, exact, strict=True)
    ]


SHAPES = [((12, 12), 8, 9, 3), ((13, 11), 1, 130, 1), ((10, 14), 130, 1, 2), ((11, 12), 33, 5, 130)]


@pytest.mark.parametrize("taps", range(1, 10))
def test_outputs_and_gradients_are_those_of_direct_convolution(taps: int) -> None:
    outputs, _ = TILES.get(taps, (4, 0))
    for shape in SHAPES:
        arrays = drawn(taps, *shape)
        exact = passes(direct, tf.float64, *arrays)
        ours = passes(lambda images, kernel: convolve(images, kernel, outputs), tf.float32, *arrays)
        assert max(errors(ours, exact)) < (2e-5 if taps <= 5 else 5e-4)
        rounded = passes(lambda images, kernel: convolve(images, kernel, outputs), tf.float64, *arrays)
        assert max(errors(rounded, exact)) < 1e-11  # nothing but rounding tells them apart


@pytest.mark.parametrize("taps", TILES)
def test_what_is_computed_on_tiles_is_at_least_five_times_nearer_than_bfloat16(taps: int) -> None:
    arrays = drawn(taps, (12, 12), 64, 64, 4)
    exact = passes(direct, tf.float64, *arrays)
    ours = errors(
        passes(lambda images, kernel: convolve(images, kernel, tile_of(taps, 64, 64)), tf.float32, *arrays), exact
    )
    theirs = errors(passes(direct, tf.bfloat16, *arrays), exact)
    assert all(5 * own < other for own, other in zip(ours, theirs, strict=True))


def test_the_matrices_of_two_outputs_of_three_taps_are_those_of_the_textbook_up_to_scaling() -> None:
    a, g, b = transforms(2, 3)
    np.testing.assert_array_equal(a.T, [[1, 1, 1, 0], [0, 1, -1, 1]])
    np.testing.assert_array_equal(g * [[-1], [1], [1], [1]], [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    np.testing.assert_array_equal(
        b * [[-1], [1], [1], [1]], [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]
    )
    with pytest.raises(ValueError, match="at most 11 multiplications, but got 12"):
        transforms(6, 7)


def test_small_kernels_and_few_channels_are_computed_directly() -> None:
    assert [tile_of(taps, 128, 128) for taps in range(1, 11)] == [0, 0, 6, 5, 4, 6, 5, 3, 2, 0]
    assert [tile_of(5, *pair) for pair in ((1, 128), (15, 16), (16, 16))] == [0, 0, 4]
    assert [tile_of(3, *pair) for pair in ((32, 32), (64, 64))] == [0, 6]


# ---- In the network -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"model.pooling": "average"}, {"model.batch_norm": True}], ids=str)
def test_the_network_on_tiles_has_the_weights_and_the_logits_of_the_one_that_is_saved(
    options: dict[str, Any], tmp_path: Path
) -> None:
    model = build(from_flat(SMALL, options))
    trained = logits_of(model, convolution_of)
    ways = [layer.convolve for layer in trained.layers if hasattr(layer, "convolve")]
    assert ways[0] is directly and ways[1].func is on_tiles and ways[1].keywords == {"outputs": 4}
    assert list(map(id, trained.trainable_variables)) == list(map(id, model.trainable_variables))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects={})
    assert {type(layer).__module__.partition(".")[0] for layer in loaded.layers} == {"keras"}
    pixels = np.random.default_rng(0).integers(0, 256, (7, 28, 28, 1)).astype(np.float32)
    ours = keras.ops.softmax(trained(pixels))
    np.testing.assert_allclose(loaded(pixels), ours, atol=1e-4)


def test_fifty_steps_lose_what_they_lose_by_direct_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (320, 28, 28, 1), dtype=np.uint8), rng.integers(0, 10, 320)
    rows = np.arange(1600, dtype=np.int32).reshape(50, 32) % 320
    config = from_flat(SMALL, {"data.scale": "unit"})
    tiled, _ = Engine(config, images, labels).train(rows, None)
    release()
    monkeypatch.setattr("fmnist.training.winograd.TILES", {})
    plain, _ = Engine(config, images, labels).train(rows, None)
    assert (tiled != plain).any()
    np.testing.assert_allclose(tiled, plain, rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_that_is_continued_ends_bit_for_bit_like_one_that_was_not_stopped(precision: str) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (96, 28, 28, 1), dtype=np.uint8), rng.integers(0, 10, 96)
    rows = np.arange(192, dtype=np.int32).reshape(6, 32) % 96
    config = from_flat(SMALL, {"compute.precision": precision})
    whole, cut = (Engine(config, images, labels) for _ in range(2))
    whole.train(rows, None)
    cut.train(rows[:2], None)
    middle = cut.state()
    cut.train(rows[2:], None)  # on from where it goes back to
    cut.restore(middle)
    cut.train(rows[2:], None)
    for name, array in whole.state().items():
        np.testing.assert_array_equal(array, cut.state()[name])
    np.testing.assert_array_equal(whole.logits(images), cut.logits(images))
    assert whole.logits(images[:1]).shape == (1, 10)  # a batch of any size
