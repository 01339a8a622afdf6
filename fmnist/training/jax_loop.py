"""Many training steps in one call of JAX: a scan over an epoch, with everything it needs on the device.

For GPUs. On a CPU it computes the same, but slowly: there XLA uses no convolution library within a loop.
"""

import os
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from numpy.typing import NDArray

from fmnist.config import Config
from fmnist.training import augment
from fmnist.training.model import loss_of

FORWARD_BATCH = 500  # one compiled size; what a batch lacks of it is filled up
State = tuple[list[Any], list[Any], list[Any]]  # trainable weights, other variables of the network, the optimizer's
_started: dict[str, int] = {}  # this process's threads, once it has computed


def use_threads(count: int) -> None:
    """Give XLA `count` threads on the CPU: it reads NPROC once, when it starts. On a GPU they do nothing.

    Raises:
        RuntimeError: this process has already computed with another number of threads.
    """
    if _started.get("threads", count) != count:
        raise RuntimeError(f"XLA has started with {_started['threads']} threads, which cannot be modified to {count}")
    if not _started:
        before = os.environ.get("NPROC")
        os.environ["NPROC"] = str(count)
        jax.devices()  # starts XLA
        os.environ.pop("NPROC") if before is None else os.environ.update(NPROC=before)
        _started["threads"] = count


def tile_of(taps: int, channels: int, filters: int) -> int:
    """The tile in which a convolution is computed: none, but directly."""
    return 0


class Loop:
    """The compiled functions that train and evaluate a network; what training changes are Keras's variables."""

    any_length = False  # XLA compiles a scan for its number of steps: an epoch is one segment

    def __init__(self, config: Config, network: keras.Model, optimizer: Any) -> None:
        """For a network that gives logits, and Keras's optimizer."""
        self._config, self._network, self._optimizer = config, network, optimizer
        self._warped = augment.augments(config.augment)
        self._train = jax.jit(self.segment, donate_argnums=0)
        self._forward = jax.jit(lambda state, batch: network.stateless_call(state[0], state[1], batch)[0])

    @staticmethod
    def data(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Any:
        """A training set on the device, as `train` takes it."""
        return jnp.asarray(images), jnp.asarray(labels.astype(np.int32))

    def train(self, data: Any, rows: NDArray[np.int32], transforms: NDArray[np.float32]) -> tuple[Any, Any]:
        """One step for each line of rows (steps, batch): losses and numbers of hits, each (steps,)."""
        state, results = self._train(self.state(), data, rows, transforms)
        for variable, value in zip(jax.tree.leaves(self._variables()), jax.tree.leaves(state), strict=True):
            variable.assign(value)
        losses, correct = jax.device_get(results)
        return losses, correct

    def forward(self, images: Any) -> Any:
        """Logits (n, 10) of up to FORWARD_BATCH images (n, 28, 28, 1), float32."""
        filled = np.zeros((FORWARD_BATCH, *images.shape[1:]), np.float32)
        filled[: len(images)] = images
        return np.asarray(self._forward(self.state(), filled))[: len(images)]

    def state(self) -> State:
        """All that training changes, as arrays on the device."""
        weights, others, moments = ([variable.value for variable in group] for group in self._variables())
        return weights, others, moments

    def segment(self, state: State, data: Any, rows: Any, transforms: Any) -> tuple[State, tuple[Any, Any]]:
        """Train from a state, one step for each line of rows (steps, batch): a function without side effects."""

        def step(state: State, taken: tuple[Any, Any]) -> tuple[State, tuple[Any, Any]]:
            rows, transforms = taken
            images, labels = data[0][rows].astype(jnp.float32), data[1][rows]
            if self._warped:
                with jax.default_matmul_precision("highest"):  # the 11 bits of TF32 are too few for coordinates
                    images = augment.warp(images, transforms)
            return self._step(state, images, labels)

        state, results = jax.lax.scan(step, state, (rows, transforms))
        return state, results

    def _step(self, state: State, images: Any, labels: Any) -> tuple[State, tuple[Any, Any]]:
        def forward(weights: list[Any]) -> tuple[Any, tuple[Any, list[Any]]]:
            logits, others = self._network.stateless_call(weights, state[1], images, training=True)
            return loss_of(self._config, logits, labels), (logits, others)

        (loss, (logits, others)), gradients = jax.value_and_grad(forward, has_aux=True)(state[0])
        weights, moments = self._optimizer.stateless_apply(state[2], gradients, state[0])
        hits = (logits.argmax(axis=1) == labels).sum(dtype=jnp.int32)
        return (weights, others, moments), (loss, hits)

    def _variables(self) -> State:
        return self._network.trainable_variables, self._network.non_trainable_variables, self._optimizer.variables
