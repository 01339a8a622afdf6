"""The article's network and its options, with weights drawn in numpy so that they are the same on every backend."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from fmnist.config import CLASS_COUNT, IMAGE_SIZE, Config
from fmnist.network import filters_per_convolution
from fmnist.training.streams import seed_of, stream

# Of images and a kernel, in the type of a Conv2D's numbers: its output, before the bias.
Convolve = Callable[[Any, Any, str], Any]
_CONSTANTS = ("bias", "gamma", "beta", "moving_mean", "moving_variance")  # weights that begin as zeros or ones


def build(config: Config) -> keras.Model:
    """The untrained network of a resolved config: images (n, 28, 28, 1) in 0..255 to probabilities (n, 10).

    Scaling is part of the network, so a saved model always takes raw pixels. The last layers work in float32
    whatever the precision is. `logits_of` gives the same network up to its logits.

    Raises:
        ValueError: a layer has weights that the seed does not determine.
    """
    options = config.model
    policy = "mixed_bfloat16" if config.compute.precision == "bfloat16" else "float32"
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="pixels")
    x = inputs
    if config.data.scale == "unit":
        x = keras.layers.Rescaling(1 / 255, dtype="float32", name="scale")(x)
    pooling = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}[options.pooling]
    for number, filters in enumerate(filters_per_convolution(options), 1):
        x = keras.layers.Conv2D(filters, options.kernel_size, dtype=policy, name=f"conv{number}")(x)
        if options.batch_norm:
            x = keras.layers.BatchNormalization(dtype=policy, name=f"norm{number}")(x)
        x = keras.layers.ReLU(dtype=policy, name=f"relu{number}")(x)
        x = pooling(2, dtype=policy, name=f"pool{number}")(x)
    x = keras.layers.Flatten(dtype=policy, name="flatten")(x)
    x = keras.layers.Dense(options.dense_units, activation="relu", dtype=policy, name="dense")(x)
    if options.dropout:
        x = keras.layers.Dropout(options.dropout, seed=0, dtype=policy, name="dropout")(x)
    logits = keras.layers.Dense(CLASS_COUNT, dtype="float32", name="logits")(x)
    outputs = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    model = keras.Model(inputs, outputs, name="fmnist")
    draw_weights(model, stream(seed_of(config, "weights"), "weights"))
    return model


def variables(model: keras.Model, of_optimizer: Any) -> dict[str, Any]:
    """Everything that training changes, by name: weights, moving averages, optimizer."""
    weights = {f"model/{v.path}": v for v in model.weights}
    return weights | {f"optimizer/{i:02d}": v for i, v in enumerate(of_optimizer.variables)}


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """The shape of each of the variables of a resolved config."""
    model, own = build(config), optimizer(config)
    own.build(model.trainable_variables)
    return {name: tuple(variable.shape) for name, variable in variables(model, own).items()}


def directly(images: Any, kernel: Any, dtype: str) -> Any:
    """The convolution that Keras has, of numbers of a type."""
    return keras.ops.conv(keras.ops.cast(images, dtype), keras.ops.cast(kernel, dtype), padding="valid")


class Convolution(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """The weights of a Conv2D in another computation, and without the bias where that comes later."""

    def __init__(self, weights: keras.layers.Conv2D) -> None:
        """Of these weights; images and kernel come in the types that they have."""
        super().__init__(name=weights.name, dtype="float32", autocast=False)
        self.of, self.with_bias = weights, True
        self.convolve: Convolve = directly

    def call(self, images: Any) -> Any:
        """Images (n, height, width, channels) to (n, height', width', filters), at the Conv2D's precision."""
        result = self.convolve(images, self.of.kernel, self.of.compute_dtype)
        if self.with_bias:
            result = result + keras.ops.cast(self.of.bias, result.dtype)
        return keras.ops.cast(result, self.of.compute_dtype)


class Maximum(keras.layers.Layer):  # type: ignore[misc]
    """A MaxPooling2D of 2 x 2 in another computation."""

    def __init__(self, of: keras.layers.MaxPooling2D, pool: Callable[[Any], Any]) -> None:
        """Computed by `pool`."""
        super().__init__(name=of.name, dtype=of.dtype_policy)
        self.pool = pool

    def call(self, images: Any) -> Any:
        """Images (n, height, width, filters) to (n, height / 2, width / 2, filters)."""
        return self.pool(images)


class Bias(keras.layers.Layer):  # type: ignore[misc]
    """The bias of a Conv2D alone."""

    def __init__(self, weights: keras.layers.Conv2D) -> None:
        """Of these weights."""
        super().__init__(dtype=weights.dtype_policy)
        self.of = weights

    def call(self, images: Any) -> Any:
        """Images (n, height, width, filters) with the bias added."""
        return images + self.of.bias


def logits_of(
    model: keras.Model,
    convolution_of: Callable[[int, int, int], Convolve] = lambda *shape: directly,
    maximum: Callable[[Any], Any] | None = None,
) -> keras.Model:
    """The network up to its logits as it is trained and evaluated, sharing all weights.

    The loss is stable only on logits. The maximum is pooled before a convolution's bias and ReLU and not after them: a
    quarter of the pixels to pass through, and the same numbers bit for bit, but for the order in which the bias's
    gradient is added up.

    Args:
        model: as `build` makes it.
        convolution_of: what computes a convolution of so many taps a side, channels and filters.
        maximum: what pools the maximum of 2 x 2; Keras's layer by default.

    Raises:
        ValueError: the model is no chain of layers from one input to a Softmax at its end.
    """
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Softmax):
        raise ValueError(f"the last layer must be a Softmax, but got '{last.name}' ({type(last).__name__})")
    for before, layer in pairwise(model.layers):
        if layer.input is not before.output:
            raise ValueError(
                f"each layer must take what the one before it gives, but '{layer.name}' ({type(layer).__name__}) "
                f"does not take the output of '{before.name}'"
            )
    x = pixels = keras.Input(model.input_shape[1:], name="pixels")
    for layer in _in_order(model.layers[1:-1]):
        if isinstance(layer, Convolution):
            layer.convolve = convolution_of(layer.of.kernel_size[0], x.shape[-1], layer.of.filters)
        elif maximum and isinstance(layer, keras.layers.MaxPooling2D):
            layer = Maximum(layer, maximum)  # noqa: PLW2901
        x = layer(x)
    return keras.Model(pixels, x)


def _in_order(layers: list[keras.Layer]) -> list[keras.Layer]:
    """The layers in the order in which they are computed, convolutions as `Convolution`."""
    result: list[keras.Layer] = []
    for layer in layers:
        result.append(Convolution(layer) if isinstance(layer, keras.layers.Conv2D) else layer)
        if isinstance(layer, keras.layers.MaxPooling2D) and isinstance(result[-2], keras.layers.ReLU):
            result[-2:] = layer, result[-2]
            if isinstance(convolution := result[-3], Convolution):
                convolution.with_bias = False
                result.insert(-1, Bias(convolution.of))
    return result


def loss_of(config: Config, logits: Any, labels: Any) -> Any:
    """What training lowers, as a config says: the mean cross-entropy in nats of logits (n, 10) against labels (n,)."""
    return keras.ops.mean(keras.ops.sparse_categorical_crossentropy(labels, logits, from_logits=True))


def optimizer(config: Config) -> keras.optimizers.Optimizer:
    """Keras's optimizer of that name with its defaults but for the learning rate and whether it averages weights."""
    options = config.optimizer
    averaging = {"use_ema": True, "ema_momentum": options.ema_momentum} if options.ema_momentum else {}
    return keras.optimizers.get(
        {"class_name": options.name, "config": {"learning_rate": options.learning_rate, **averaging}}
    )


def draw_weights(model: keras.Model, rng: np.random.Generator) -> None:
    """Draw all kernels, Glorot uniform as Keras's default; what begins as zeros or ones stays as it is.

    Raises:
        ValueError: a layer has weights of another kind, which Keras would draw without our seed.
    """
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name == "kernel" and len(weight.shape) > 1:
                *field, inputs, outputs = weight.shape
                limit = math.sqrt(6 / (math.prod(field) * (inputs + outputs)))
                weight.assign(rng.uniform(-limit, limit, weight.shape).astype(np.float32))
            elif weight.name not in _CONSTANTS or np.ptp(keras.ops.convert_to_numpy(weight.value)) > 0:
                raise ValueError(
                    f"layer '{layer.name}' ({type(layer).__name__}) has weights '{weight.name}' "
                    "that no seed determines; draw them in draw_weights"
                )
