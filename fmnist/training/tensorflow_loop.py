"""Many training steps in one call of TensorFlow."""

from functools import cache, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from fmnist.config import IMAGE_SIZE, Config
from fmnist.training import augment, winograd
from fmnist.training.libraries import quiet_stderr
from fmnist.training.model import Convolve, directly, loss_of

tf.get_logger().setLevel("ERROR")  # or a worker that builds many networks warns of retracing


def use_threads(count: int) -> None:
    """Give TensorFlow `count` threads; they decide the order of sums, and so the last bits of every number.

    Raises:
        RuntimeError: this process has already computed with another number of threads.
    """
    if tf.config.threading.get_intra_op_parallelism_threads() != count:
        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def convolution_of(taps: int, channels: int, filters: int) -> Convolve:
    """What computes a convolution: on a CPU `winograd` where tiles are faster, as a GPU has kernels of its own."""
    outputs = 0 if has_gpu() else winograd.tile_of(taps, channels, filters)
    return partial(winograd.on_tiles, outputs=outputs) if outputs else directly


def maximum_of() -> None:
    """What pools the maximum: Keras's layer."""


@cache
def has_gpu() -> bool:
    """Whether TensorFlow has one, with kernels of its own."""
    with quiet_stderr():  # it prints where there is none
        return bool(tf.config.list_physical_devices("GPU"))


class Loop:
    """The compiled functions that train and evaluate a network; what training changes are Keras's variables."""

    any_length = True  # one compiled function runs segments of any number of steps

    def __init__(self, config: Config, network: keras.Model, optimizer: Any) -> None:
        """For a network that gives logits, and Keras's optimizer."""
        if has_gpu():  # which would take 11 bits of 24 of float32 numbers
            tf.config.experimental.enable_tensor_float_32_execution(False)
        # There is one replica, so nothing to sum; and TensorFlow would keep what sums (a custom gradient), and with it
        # the graph of every loop, for as long as the process lives.
        optimizer._all_reduce_sum_gradients = list
        self._config, self._network, self._optimizer = config, network, optimizer
        self._warped = augment.augments(config.augment)
        pixels = tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 1), tf.float32)
        data = tf.TensorSpec(pixels.shape, tf.uint8), tf.TensorSpec((None,), tf.int32)
        steps = [tf.TensorSpec((None, config.batch_size), tf.int32), tf.TensorSpec((None, None, 8), tf.float32)]
        self._train = tf.function(self._train_steps, input_signature=[data, *steps])
        # XLA is for GPUs: on a CPU it was 2-5 times slower. It gets the step alone, for it knows no warp of images.
        self._step = tf.function(self._one_step, jit_compile=True) if has_gpu() else self._one_step
        self._forward = tf.function(self._forward_batch, input_signature=[pixels])

    @staticmethod
    def data(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Any:
        """A training set on the device, as `train` takes it."""
        return tf.constant(images), tf.constant(labels.astype(np.int32))

    def train(self, data: Any, rows: NDArray[np.int32], transforms: NDArray[np.float32]) -> tuple[Any, Any]:
        """One step for each line of rows (steps, batch): losses and numbers of hits, each (steps,)."""
        losses, correct = self._train(data, tf.constant(rows), tf.constant(transforms))
        return losses.numpy(), correct.numpy()

    def forward(self, images: Any) -> Any:
        """Logits (n, 10) of images (n, 28, 28, 1), float32."""
        return self._forward(tf.constant(images)).numpy()

    def _forward_batch(self, images: tf.Tensor) -> tf.Tensor:
        return self._network(images, training=False)

    def _train_steps(self, data: Any, rows: tf.Tensor, transforms: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        count = tf.shape(rows)[0]
        losses = tf.TensorArray(tf.float32, count)
        corrects = tf.TensorArray(tf.int32, count)
        for step in tf.range(count):
            images, labels = tf.gather(data[0], rows[step]), tf.gather(data[1], rows[step])
            images = tf.cast(images, tf.float32)
            if self._warped:
                images = augment.warp(images, transforms[step])
            loss, correct = self._step(images, labels)
            losses, corrects = losses.write(step, loss), corrects.write(step, correct)
        return losses.stack(), corrects.stack()

    def _one_step(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        variables = self._network.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._network(images, training=True)
            loss = loss_of(self._config, logits, labels)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self._optimizer.apply(gradients, variables)
        hits = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
        return loss, tf.reduce_sum(tf.cast(hits, tf.int32))
