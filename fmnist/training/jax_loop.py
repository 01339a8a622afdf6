"""Many training steps in one call of JAX: a scan over an epoch, with everything it needs on the device.

For GPUs. On a CPU it computes the same, but slowly: there XLA uses no convolution library within a loop.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from numpy.typing import NDArray

from fmnist.config import Config
from fmnist.training import augment, xla
from fmnist.training.model import Convolve, directly, loss_of

# The same bits whichever process computes them, and no search for the fastest products, which took half a minute.
OPTIONS = {"xla_gpu_deterministic_ops": True, "xla_gpu_enable_triton_gemm": False}
FORWARD_BATCH = 500  # one compiled size; what a batch lacks of it is filled up
State = tuple[list[Any], list[Any], list[Any]]  # trainable weights, other variables of the network, the optimizer's
jax.config.update("jax_default_matmul_precision", "highest")  # a GPU would take 11 bits of 24 of float32 numbers
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


def has_gpu() -> bool:
    """Whether JAX has one: `xla` is for those alone."""
    return str(jax.default_backend()) == "gpu"


def convolution_of(taps: int, channels: int, filters: int) -> Convolve:
    """What computes a convolution."""
    return xla.of_one_channel if channels == 1 and has_gpu() else directly


def maximum_of() -> Callable[[Any], Any] | None:
    """What pools the maximum; None: Keras's layer."""
    return xla.maximum if has_gpu() else None


class Loop:
    """The compiled functions that train and evaluate a network; what training changes are Keras's variables."""

    any_length = False  # XLA compiles a scan for its number of steps: an epoch is one segment

    def __init__(self, config: Config, network: keras.Model, optimizer: Any) -> None:
        """For a network that gives logits, and Keras's optimizer."""
        self._config, self.network, self._optimizer = config, network, optimizer
        self._warped = augment.augments(config.augment)
        self._train = jax.jit(self.segment, donate_argnums=0, compiler_options=OPTIONS)
        self._forward = jax.jit(
            lambda state, batch: network.stateless_call(state[0], state[1], batch)[0], compiler_options=OPTIONS
        )
        self._compiled: dict[Any, Any] = {}  # what trains segments, by the shapes of all that it takes

    @staticmethod
    def data(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Any:
        """A training set on the device, as `train` takes it."""
        return jnp.asarray(images), jnp.asarray(labels.astype(np.int32))

    def compile(self, data: Any, rows: NDArray[np.int32], transforms: NDArray[np.float32]) -> Any:
        """What trains these, compiled where it has not been yet."""
        shapes = data[0].shape, rows.shape, transforms.shape  # a network may go on with other images
        if shapes not in self._compiled:
            self._compiled[shapes] = self._train.lower(self.state(), data, rows, transforms).compile()
        return self._compiled[shapes]

    def train(self, data: Any, rows: NDArray[np.int32], transforms: NDArray[np.float32]) -> tuple[Any, Any]:
        """One step for each line of rows (steps, batch): losses and numbers of hits, each (steps,)."""
        state, results = self.compile(data, rows, transforms)(self.state(), data, rows, transforms)
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
                images = augment.warp(images, transforms)
            return self._step(state, images, labels)

        state, results = jax.lax.scan(step, state, (rows, transforms))
        return state, results

    def _step(self, state: State, images: Any, labels: Any) -> tuple[State, tuple[Any, Any]]:
        def forward(weights: list[Any]) -> tuple[Any, tuple[Any, list[Any]]]:
            logits, others = self.network.stateless_call(weights, state[1], images, training=True)
            return loss_of(self._config, logits, labels), (logits, others)

        (loss, (logits, others)), gradients = jax.value_and_grad(forward, has_aux=True)(state[0])
        weights, moments = self._optimizer.stateless_apply(state[2], gradients, state[0])
        hits = (logits.argmax(axis=1) == labels).sum(dtype=jnp.int32)
        return (weights, others, moments), (loss, hits)

    def _variables(self) -> State:
        return self.network.trainable_variables, self.network.non_trainable_variables, self._optimizer.variables
