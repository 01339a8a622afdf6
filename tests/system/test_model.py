"""The article's network, its options and its first weights."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fmnist.config import Config, from_flat
from fmnist.network import parameter_count
from fmnist.training.engine import keras, use_threads
from fmnist.training.model import build, draw_weights, logits_of

use_threads(1)  # before any test computes: a process cannot change it later

ARTICLE = from_flat(Config(), {"compute.precision": "float32", "compute.threads": 1})
TINY = from_flat(ARTICLE, {"model.filters": 4, "model.kernel_size": 3, "model.dense_units": 16})
PIXELS = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1)).astype(np.float32)


def tiny(**options: object) -> keras.Model:
    """The tiny network with options by their flat keys, `__` for the dot."""
    return build(from_flat(TINY, {key.replace("__", "."): value for key, value in options.items()}))


def kernels(model: keras.Model) -> dict[str, NDArray[np.float32]]:
    return {layer.name: layer.kernel.value.numpy() for layer in model.layers if hasattr(layer, "kernel")}


def types(model: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def output_of(model: keras.Model, layer: str) -> NDArray[np.float32]:
    return np.asarray(keras.Model(model.input, model.get_layer(layer).output)(PIXELS))


# ---- The article's network ----------------------------------------------------------------------------


def test_the_baseline_is_the_article_s_network_layer_by_layer() -> None:
    model = build(ARTICLE)
    found = [
        (layer.name, type(layer).__name__, tuple(layer.output.shape[1:]), layer.count_params())
        for layer in model.layers
    ]
    assert found == [
        ("pixels", "InputLayer", (28, 28, 1), 0),
        ("conv1", "Conv2D", (24, 24, 128), 3_328),
        ("relu1", "ReLU", (24, 24, 128), 0),
        ("pool1", "MaxPooling2D", (12, 12, 128), 0),
        ("conv2", "Conv2D", (8, 8, 128), 409_728),
        ("relu2", "ReLU", (8, 8, 128), 0),
        ("pool2", "MaxPooling2D", (4, 4, 128), 0),
        ("flatten", "Flatten", (2048,), 0),
        ("dense", "Dense", (256,), 524_544),
        ("logits", "Dense", (10,), 2_570),
        ("probabilities", "Softmax", (10,), 0),
    ]
    assert model.count_params() == parameter_count(ARTICLE.model) == 940_170
    for name in ("conv1", "conv2"):
        layer = model.get_layer(name)
        assert (layer.kernel_size, layer.strides, layer.padding) == ((5, 5), (1, 1), "valid")
        assert layer.activation is keras.activations.linear  # ReLU is a layer of its own
    for name in ("pool1", "pool2"):
        layer = model.get_layer(name)
        assert (layer.pool_size, layer.strides, layer.padding) == ((2, 2), (2, 2), "valid")
    assert model.get_layer("dense").activation is keras.activations.relu


def test_the_network_gives_probabilities_of_its_logits() -> None:
    model = tiny()
    logits = np.asarray(logits_of(model)(PIXELS), np.float64)
    exact = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(np.asarray(model(PIXELS)), exact / exact.sum(axis=1, keepdims=True), atol=1e-6)


def test_the_logits_share_the_network_s_weights() -> None:
    model = tiny()
    for variable in model.trainable_variables:
        variable.assign(np.zeros(variable.shape, np.float32))
    assert not np.asarray(logits_of(model)(PIXELS)).any()


def gradients_of(network: keras.Model, variables: list[Any]) -> tuple[Any, list[Any]]:
    """Logits of a pass of training, and the gradients of its loss, as TensorFlow compiles it."""
    import tensorflow as tf

    @tf.function
    def passes() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits = network(PIXELS, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(np.arange(50) % 10, logits))
        return logits, tape.gradient(loss, variables)

    return passes()


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pooling_the_maximum_before_bias_and_relu_changes_no_bit_but_of_the_biases_gradients(
    precision: str, batch_norm: bool
) -> None:
    def passes(precision: str, network: Callable[[keras.Model], keras.Model]) -> tuple[Any, dict[str, Any]]:
        model = tiny(compute__precision=precision, data__scale="unit", model__batch_norm=batch_norm)
        called = network(model)
        called_types.append(types(called))
        logits, gradients = gradients_of(called, [variable.value for variable in model.trainable_variables])
        paths = [variable.path for variable in model.trainable_variables]
        return logits, dict(zip(paths, map(np.asarray, gradients), strict=True))

    def as_written(model: keras.Model) -> keras.Model:
        return keras.Model(model.input, model.get_layer("logits").output)

    called_types: list[list[str]] = []
    (logits, gradients), (ours, our_gradients) = passes(precision, as_written), passes(precision, logits_of)
    assert called_types[0] != called_types[1]
    np.testing.assert_array_equal(logits, ours)
    _, exact = passes("float32", as_written)  # in bfloat16 some processors add up many of them with large errors
    rounding = {"atol": 1e-2} if precision == "bfloat16" else {"rtol": 1e-4, "atol": 1e-5}
    for path, theirs in gradients.items():
        assert theirs.any()
        if path.startswith("conv") and path.endswith("bias"):  # added up in another order
            np.testing.assert_allclose(our_gradients[path], exact[path], **rounding)
        else:
            np.testing.assert_array_equal(theirs, our_gradients[path])


def test_an_average_is_pooled_after_relu_as_written() -> None:
    names = [layer.name for layer in logits_of(tiny(model__pooling="average")).layers]
    assert names.index("pool1") == names.index("relu1") + 1


# ---- Options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"model.filters": 64},
        {"model.filters": [3, 5]},
        {"model.filters": (6, 2), "model.batch_norm": True},
        {"model.kernel_size": 1, "model.filters": 2},
        {"model.kernel_size": 2, "model.filters": 7, "model.dropout": 0.4},
        {"model.kernel_size": 9, "model.filters": [1, 2], "model.batch_norm": True, "model.dropout": 0.5},
        {"model.dense_units": 1, "model.pooling": "average", "data.scale": "unit"},
    ],
    ids=str,
)
def test_the_number_of_parameters_is_known_before_the_network_is_built(options: dict[str, object]) -> None:
    config = from_flat(TINY, options)
    assert build(config).count_params() == parameter_count(config.model)


def test_a_list_of_filters_gives_each_convolution_its_own() -> None:
    model = tiny(model__filters=[3, 5])
    assert [model.get_layer(name).filters for name in ("conv1", "conv2")] == [3, 5]


def test_pooling_takes_the_largest_or_the_mean_of_four() -> None:
    for pooling, reduce in (("max", np.max), ("average", np.mean)):
        model = tiny(model__pooling=pooling)
        before, after = output_of(model, "relu1"), output_of(model, "pool1")
        expected = reduce(before.reshape(50, 13, 2, 13, 2, 4), axis=(2, 4))
        np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_stands_between_each_convolution_and_its_relu() -> None:
    model = tiny(model__batch_norm=True)
    block = ["Conv2D", "BatchNormalization", "ReLU", "MaxPooling2D"]
    assert types(model)[1:9] == block * 2
    assert output_of(model, "relu1").min() == 0
    trained = np.asarray(keras.Model(model.input, model.get_layer("norm1").output)(PIXELS, training=True))
    np.testing.assert_allclose(trained.mean(axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(trained.std(axis=(0, 1, 2)), 1, atol=1e-3)


def test_dropout_silences_its_share_of_the_dense_layer_in_training_only() -> None:
    model = tiny(model__dropout=0.25, model__dense_units=400)
    assert types(model)[-4:] == ["Dense", "Dropout", "Dense", "Softmax"]
    dropped = keras.Model(model.input, model.get_layer("dropout").output)
    dense, out = output_of(model, "dense"), np.asarray(dropped(PIXELS, training=True))
    np.testing.assert_array_equal(np.asarray(dropped(PIXELS, training=False)), dense)
    kept = out[dense > 0] > 0
    assert 0.73 < kept.mean() < 0.77
    np.testing.assert_allclose(out[dense > 0][kept], dense[dense > 0][kept] / 0.75, rtol=1e-5)


def test_without_dropout_batch_norm_and_unit_scale_their_layers_are_absent() -> None:
    assert not {"Dropout", "BatchNormalization", "Rescaling"} & set(types(tiny()))


def test_whatever_the_scale_is_the_network_takes_raw_pixels() -> None:
    raw, unit = tiny(), tiny(data__scale="unit")
    np.testing.assert_allclose(output_of(unit, "scale"), PIXELS / 255, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(unit(PIXELS)), np.asarray(raw(PIXELS / 255)), rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_and_the_last_layers_stay_float32(precision: str) -> None:
    model = tiny(compute__precision=precision, model__batch_norm=True, data__scale="unit")
    assert {variable.dtype for variable in model.weights} == {"float32"}
    inner = {model.get_layer(name).compute_dtype for name in ("conv1", "norm1", "relu1", "pool1", "conv2", "dense")}
    assert inner == {precision}
    assert {model.get_layer(name).compute_dtype for name in ("scale", "logits", "probabilities")} == {"float32"}
    assert np.asarray(model(PIXELS)).dtype == np.float32


# ---- First weights ------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_weights_and_other_seeds_others() -> None:
    first, again, other = (kernels(tiny(seed=seed)) for seed in (5, 5, 6))
    assert list(first) == ["conv1", "conv2", "dense", "logits"]
    for name in first:
        assert first[name].tobytes() == again[name].tobytes()
        assert (first[name] != other[name]).all()


def test_the_first_weights_do_not_depend_on_precision_dropout_pooling_or_scale() -> None:
    plain = kernels(tiny())
    for options in ({"compute__precision": "bfloat16"}, {"model__dropout": 0.5}, {"model__pooling": "average"}):
        for name, kernel in kernels(tiny(**options, data__scale="unit")).items():
            assert kernel.tobytes() == plain[name].tobytes()


def test_the_first_weights_do_not_depend_on_what_was_drawn_before() -> None:
    before = kernels(tiny())
    keras.utils.set_random_seed(99)
    assert all((kernel == before[name]).all() for name, kernel in kernels(tiny()).items())


def test_kernels_are_uniform_within_glorot_s_limits_and_biases_zero() -> None:
    model = build(ARTICLE)
    inputs_and_outputs = {
        "conv1": (25, 25 * 128), "conv2": (25 * 128, 25 * 128), "dense": (2048, 256), "logits": (256, 10),
    }  # fmt: skip
    for name, kernel in kernels(model).items():
        limit = math.sqrt(6 / sum(inputs_and_outputs[name]))
        assert 0.99 * limit < np.abs(kernel).max() <= np.float32(limit)
        assert kernel.std() == pytest.approx(limit / math.sqrt(3), rel=0.03)
        assert abs(kernel.mean()) < 0.03 * limit
        assert not model.get_layer(name).bias.value.numpy().any()


# ---- The saved network --------------------------------------------------------------------------------


def test_a_saved_and_loaded_model_predicts_the_same_from_raw_pixels(tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        model = tiny(compute__precision=precision, data__scale="unit", model__batch_norm=True, model__dropout=0.5)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert types(loaded) == types(model)
        np.testing.assert_array_equal(loaded.predict(PIXELS, verbose=0), model.predict(PIXELS, verbose=0))


def test_a_layer_whose_weights_no_seed_determines_is_refused() -> None:
    pixels = keras.Input((28, 28, 1))
    for layer, weight in (
        (keras.layers.SeparableConv2D(2, 3, name="mine"), "depthwise_kernel"),
        (keras.layers.Conv2D(2, 3, bias_initializer="glorot_uniform", name="mine"), "bias"),
        (keras.layers.PReLU(alpha_initializer="uniform", name="mine"), "alpha"),
    ):
        with pytest.raises(ValueError, match=rf"layer 'mine' \({type(layer).__name__}\) has weights '{weight}'"):
            draw_weights(keras.Model(pixels, layer(pixels)), np.random.default_rng(0))


def test_logits_are_taken_of_a_chain_that_ends_in_a_softmax_and_of_nothing_else() -> None:
    pixels = keras.Input((28, 28, 1))
    one, other = keras.layers.Flatten(name="one")(pixels), keras.layers.Flatten(name="other")(pixels)
    with pytest.raises(ValueError, match=r"'other' \(Flatten\) does not take the output of 'one'"):
        logits_of(keras.Model(pixels, keras.layers.Softmax()(keras.layers.Add()([one, other]))))
    with pytest.raises(ValueError, match=r"must be a Softmax, but got 'one' \(Flatten\)"):
        logits_of(keras.Model(pixels, one))
