"""The compiled loop: many training steps in one call of TensorFlow, over a training set that lives in memory.

Not `fit` and not `tf.data`: a whole segment of steps runs without returning to Python.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.training.quiet import quiet_stderr

with quiet_stderr():
    import keras
    import tensorflow as tf

from fmnist.config import IMAGE_SIZE, Config
from fmnist.training import augment
from fmnist.training.model import build, logits_of, optimizer

tf.get_logger().setLevel("ERROR")  # a worker that builds many networks is told of retracing otherwise
EVALUATION_BATCH = 500
Arrays = dict[str, NDArray[Any]]


def use_threads(count: int) -> None:
    """Give TensorFlow `count` threads; they decide the order of sums, and so the last bits of every number.

    Raises:
        RuntimeError: this process has already computed with another number of threads.
    """
    if tf.config.threading.get_intra_op_parallelism_threads() != count:
        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def release() -> None:
    """Free what Keras and Python still hold of networks that are no longer used: a worker trains many."""
    keras.utils.clear_session()


class Engine:
    """A network with its optimizer, and the compiled functions that train and evaluate it."""

    def __init__(self, config: Config, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """Build the network of a resolved config for training images (n, 28, 28, 1) and labels (n,)."""
        use_threads(config.compute.threads or 1)
        self.model = build(config)
        self.optimizer = optimizer(config)
        self.optimizer.build(self.model.trainable_variables)
        # There is one replica, so nothing to sum; and TensorFlow would keep what sums (a custom gradient), and with it
        # the graph and the images of every engine, for as long as the process lives.
        self.optimizer._all_reduce_sum_gradients = list
        self._batch_size = config.batch_size
        self._logits = logits_of(self.model)
        self._augments = augment.augments(config.augment)
        self._images, self._labels = tf.constant(images), tf.constant(labels.astype(np.int32))
        self._train = tf.function(
            self._train_steps,
            input_signature=[
                tf.TensorSpec((None, config.batch_size), tf.int32),
                tf.TensorSpec((None, None, 8), tf.float32),
            ],
        )
        pixels = tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 1), tf.float32)
        self._forward = tf.function(self._forward_batch, input_signature=[pixels])

    def train(
        self, rows: NDArray[np.int32], transforms: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Train one step for each line of rows (steps, batch), warped by transforms (steps, batch, 8) if given.

        Returns loss and number of correct predictions of every step, each (steps,), before its update.
        """
        if transforms is None:
            transforms = np.zeros((len(rows), 0, 8), np.float32)
        losses, correct = self._train(tf.constant(rows), tf.constant(transforms))
        return losses.numpy(), correct.numpy()

    def logits(self, images: NDArray[np.uint8], transforms: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Logits (n, 10) of all images (n, 28, 28, 1), the last incomplete batch included; nothing is trained."""
        parts = []
        for start in range(0, len(images), EVALUATION_BATCH):
            batch = images[start : start + EVALUATION_BATCH].astype(np.float32)
            if transforms is not None:
                batch = augment.warp(batch, transforms[start : start + EVALUATION_BATCH])
            parts.append(self._forward(tf.constant(batch)).numpy())
        return np.concatenate(parts)

    def reseed_dropout(self, seed: int) -> None:
        """Start the dropout masks of an epoch from `seed`, below 2^32."""
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout):
                state = layer.seed_generator.state
                state.assign(np.array([seed, 0], dtype=keras.backend.standardize_dtype(state.dtype)))

    def state(self) -> Arrays:
        """Copies of everything that training changes: weights, moving averages, optimizer."""
        return {name: np.array(variable.value.numpy()) for name, variable in self._variables().items()}

    def restore(self, arrays: Arrays) -> None:
        """Continue from a state."""
        for name, variable in self._variables().items():
            variable.assign(arrays[name])

    def _variables(self) -> dict[str, Any]:
        weights = {f"model/{v.path}": v for v in self.model.weights}
        return weights | {f"optimizer/{i:02d}": v for i, v in enumerate(self.optimizer.variables)}

    def _forward_batch(self, images: tf.Tensor) -> tf.Tensor:
        return self._logits(images, training=False)

    def _train_steps(self, rows: tf.Tensor, transforms: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        count = tf.shape(rows)[0]
        losses = tf.TensorArray(tf.float32, count)
        corrects = tf.TensorArray(tf.int32, count)
        for step in tf.range(count):
            labels = tf.gather(self._labels, rows[step])
            images = tf.cast(tf.gather(self._images, rows[step]), tf.float32)
            if self._augments:
                images = augment.warp(images, transforms[step])
            loss, correct = self._step(images, labels)
            losses, corrects = losses.write(step, loss), corrects.write(step, correct)
        return losses.stack(), corrects.stack()

    def _step(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._logits(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self.optimizer.apply(gradients, variables)
        hits = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
        return loss, tf.reduce_sum(tf.cast(hits, tf.int32))
