"""A network with its optimizer and the compiled loop that trains it, by TensorFlow or JAX, whichever Keras has loaded.

Not `fit` and not `tf.data`: a whole segment of steps runs without returning to Python, over a training set that lives
in memory. From equal weights, order and warps both backends compute the same but for rounding, and either continues
the other's states. Only dropout draws other masks.
"""

import gc
import os
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.training.libraries import give_memory_back, keep_memory, pin_environment, pin_keras, quiet_stderr, without

with quiet_stderr():
    keep_memory()
    pin_environment()
    with without("sklearn", "matplotlib", "pandas", *["jax"] * (os.environ["KERAS_BACKEND"] != "jax")):
        import keras

        pin_keras()
        if keras.config.backend() == "jax":
            from fmnist.training import jax_loop as backend
        else:
            from fmnist.training import tensorflow_loop as backend  # type: ignore[no-redef]

from fmnist.config import Config, DataConfig, NoiseConfig, StudyConfig
from fmnist.training import augment
from fmnist.training.model import build, draw_weights, logits_of, optimizer, variables
from fmnist.training.streams import seed_of, stream

gc.freeze()  # a million objects of libraries, which every collection would look through
EVALUATION_BATCH = 500
Arrays = dict[str, NDArray[Any]]
use_threads = backend.use_threads


class Network:
    """A network with its optimizer, and the compiled functions that train and evaluate it."""

    def __init__(self, config: Config) -> None:
        """Build that of a resolved config."""
        self.computation = _computation(config)
        self.model = build(config)
        self.optimizer = optimizer(config)
        self.optimizer.build(self.model.trainable_variables)
        network = logits_of(self.model, backend.convolution_of, backend.maximum_of())
        self.loop = backend.Loop(config, network, self.optimizer)
        self.first = _copies(self.model, self.optimizer)


# Small networks that no engine uses any more, the last used last: to compile one takes longer than many such train.
_idle: deque[Network] = deque(maxlen=8)
_MOST_IDLE = 200_000  # parameters of each: with Adam and their first state 40 MB in all


def _computation(config: Config) -> Config:
    """What a config says of how a network computes: nothing of seeds, of how long it trains, of images and places."""
    timeless = replace(config, seed=0, noise=NoiseConfig(), epochs=1)
    return replace(timeless, data=DataConfig(scale=config.data.scale), store="", patience=0, study=StudyConfig())


def _network(config: Config) -> Network:
    """An idle network that computes as the config says, or a new one; its variables are anything."""
    wanted = _computation(config)
    for network in _idle:
        if network.computation == wanted:
            _idle.remove(network)
            return network
    keras.utils.clear_session()  # frees what is still held of networks that are not even idle
    return Network(config)


def _or_no_warps(transforms: NDArray[np.float32] | None, steps: int) -> NDArray[np.float32]:
    return np.zeros((steps, 0, 8), np.float32) if transforms is None else transforms


def _copies(model: keras.Model, of_optimizer: Any) -> Arrays:
    own = variables(model, of_optimizer)
    return {name: np.array(keras.ops.convert_to_numpy(v.value)) for name, v in own.items()}


def release() -> None:
    """Free what is held of networks that are no longer used."""
    gc.collect()  # engines in cycles, whose networks become idle by that
    _idle.clear()
    keras.utils.clear_session()


class Engine:
    """A network with its optimizer, and the compiled functions that train and evaluate it."""

    any_length = backend.Loop.any_length  # whether segments may have any number of steps, or each is compiled anew

    def __init__(self, config: Config, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """Take the network of a resolved config, for training images (n, 28, 28, 1) and labels (n,).

        Raises:
            RuntimeError: this process computes with another backend, or other threads, than the config says.
        """
        wanted, loaded = config.compute.backend.replace("auto", "tensorflow"), keras.config.backend()
        if wanted != loaded:
            raise RuntimeError(f"compute.backend is {wanted}, but this process has already loaded Keras with {loaded}")
        use_threads(config.compute.threads or 1)
        give_memory_back()  # what the engine before has left: between runs it would break into ever more pieces
        network = _network(config)
        self.model, self.optimizer, self.loop = network.model, network.optimizer, network.loop
        self.data = self.loop.data(images, labels)
        self.restore(network.first)
        draw_weights(self.model, stream(seed_of(config, "weights"), "weights"))
        self.reseed_dropout(0)
        if self.model.count_params() <= _MOST_IDLE:
            weakref.finalize(self, _idle.append, network)

    def train(
        self, rows: NDArray[np.int32], transforms: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Train one step for each line of rows (steps, batch), warped by transforms (steps, batch, 8) if given.

        Returns loss and number of correct predictions of every step, each (steps,), before its update.
        """
        return self.loop.train(self.data, rows, _or_no_warps(transforms, len(rows)))

    def compile(self, rows: NDArray[np.int32], transforms: NDArray[np.float32] | None) -> None:
        """Compile what `train` will need for these; an engine for segments of any length needs nothing."""
        if not self.any_length:
            self.loop.compile(self.data, rows, _or_no_warps(transforms, len(rows)))

    def logits(self, images: NDArray[np.uint8], transforms: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Logits (n, 10) of all images (n, 28, 28, 1), the last incomplete batch included; nothing is trained."""
        parts = []
        with self.averaged():
            for start in range(0, len(images), EVALUATION_BATCH):
                part = slice(start, start + EVALUATION_BATCH)
                batch = images[part].astype(np.float32)
                parts.append(self.loop.forward(batch if transforms is None else augment.warp(batch, transforms[part])))
        return np.concatenate(parts)

    @contextmanager
    def averaged(self) -> Iterator[keras.Model]:
        """The network as it is scored and saved: with the averages of its weights, where the config asks for them."""
        if not (self.optimizer.use_ema and self.optimizer.iterations > 0):  # before the first step there are none
            yield self.model
            return
        own = self.model.get_weights()
        self.optimizer.finalize_variable_values(self.model.trainable_variables)
        try:
            yield self.model
        finally:
            self.model.set_weights(own)

    def reseed_dropout(self, seed: int) -> None:
        """Start what an epoch's layers draw, the masks of dropout, from `seed`, below 2^32."""
        for layer in self.model.layers:
            if hasattr(layer, "seed_generator"):
                state = layer.seed_generator.state
                state.assign(np.array([seed, 0], dtype=keras.backend.standardize_dtype(state.dtype)))

    def state(self) -> Arrays:
        """Copies of everything that training changes: weights, moving averages, optimizer."""
        return _copies(self.model, self.optimizer)

    def restore(self, arrays: Arrays) -> None:
        """Continue from a state, of this backend or the other."""
        for name, variable in variables(self.model, self.optimizer).items():
            variable.assign(arrays[name])
