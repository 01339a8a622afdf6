"""The article's network and its options, with weights drawn in numpy so that they are the same on every backend."""

import math
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from fmnist.config import CLASS_COUNT, IMAGE_SIZE, Config
from fmnist.network import filters_per_convolution
from fmnist.training.streams import stream

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
    draw_weights(model, stream(config.seed, "weights"))
    return model


def logits_of(model: keras.Model) -> keras.Model:
    """The network up to its logits, sharing all weights: the loss is stable only on logits.

    The maximum is pooled before ReLU and not after it: the same numbers and gradients, bit for bit, with a quarter of
    the pixels to pass through.

    Raises:
        ValueError: the model is no chain of layers from one input to a Softmax at its end, as `build` makes it.
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
    layers = model.layers[1:-1]
    for index, (first, second) in enumerate(pairwise(layers)):
        if isinstance(first, keras.layers.ReLU) and isinstance(second, keras.layers.MaxPooling2D):
            layers[index : index + 2] = second, first
    x = pixels = keras.Input(model.input_shape[1:], name="pixels")
    for layer in layers:
        x = layer(x)
    return keras.Model(pixels, x)


def cross_entropy(logits: Any, labels: Any) -> Any:
    """What training lowers: the mean in nats of logits (n, 10) against labels (n,)."""
    return keras.ops.mean(keras.ops.sparse_categorical_crossentropy(labels, logits, from_logits=True))


def optimizer(config: Config) -> keras.optimizers.Optimizer:
    """Keras's optimizer of that name with its defaults but for the learning rate."""
    return keras.optimizers.get(
        {"class_name": config.optimizer.name, "config": {"learning_rate": config.optimizer.learning_rate}}
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
