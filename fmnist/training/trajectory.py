"""A trajectory: fully determined from its first step on, and stopped and continued at any epoch bit for bit."""

import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist.config import Config, RunError
from fmnist.identity import sign
from fmnist.training import augment, checkpoint
from fmnist.training.data import Dataset, split
from fmnist.training.engine import Arrays, Engine
from fmnist.training.evaluation import log_loss
from fmnist.training.streams import seed_of, stream

log = logging.getLogger(__name__)
SEGMENT_SECONDS = 1.0  # How long the compiled loop runs before Ctrl-C is heard and progress is shown.
Epoch = dict[str, float]  # train/loss, train/accuracy, val/loss, val/accuracy, time/epoch_s, time/ended_ms


class DivergedError(RunError):
    """The loss is no longer a number."""


class Trajectory:
    """The training of a resolved config; `config.epochs` plays no role in it."""

    def __init__(self, config: Config, dataset: Dataset, folder: Path) -> None:
        """Prepare to train; `folder` holds the checkpoints of this trajectory alone."""
        self.config, self.dataset, self.folder = config, dataset, folder
        self.signature = sign(config, dataset.digest).trajectory
        self.train_rows, self.val_rows = split(dataset.train_labels, seed=seed_of(config, "split"), options=config.data)
        self.engine = Engine(config, dataset.train_images[self.train_rows], dataset.train_labels[self.train_rows])
        self._initial = self.engine.state()
        self.epoch = 0
        self.history: list[Epoch] = []
        self._val_logits: NDArray[np.float32] | None = None
        self._pace = 0.0  # seconds a step
        self.compiling = 0.0  # seconds of the first step, within the first epoch that was trained here

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of the training rows; the rest sits the epoch out, as the article's 421 steps."""
        return len(self.train_rows) // self.config.batch_size

    def resume(self, at_most: int) -> int:
        """Go to the latest readable checkpoint of up to `at_most` epochs and return its epoch, 0 for the start.

        A damaged checkpoint is reported and removed, and the one before it used.
        """
        for epoch, path in checkpoint.newest(self.folder, at_most):
            try:
                arrays, meta = checkpoint.load(path)
                if meta["trajectory"] != self.signature or meta["epoch"] != epoch:
                    raise checkpoint.CheckpointError(f"checkpoint {path} belongs to another trajectory")
            except checkpoint.CheckpointError as error:
                log.warning("%s; going back to the one before it", error)
                path.unlink(missing_ok=True)
                continue
            self._go_to(epoch, arrays, meta["history"])
            return epoch
        self._go_to(0, self._initial, [])
        return 0

    def advance(
        self, to_epoch: int, on_step: Callable[[int, int], None], on_epoch: Callable[[int, Epoch], None]
    ) -> None:
        """Train until `to_epoch` epochs are done, leaving a checkpoint after each; the last one stays.

        `on_step` is called with the steps done and in all every second or so, `on_epoch` after every epoch, when its
        checkpoint is safe.

        Raises:
            ValueError: the trajectory is already further.
            DivergedError: a loss is not finite.
        """
        if self.epoch > to_epoch:
            raise ValueError(f"cannot go back from epoch {self.epoch} to {to_epoch}; call resume first")
        while self.epoch < to_epoch:
            self._train_epoch(on_step)
            meta = {"trajectory": self.signature, "epoch": self.epoch, "history": self.history}
            checkpoint.save_epoch(self.folder, self.epoch, self.engine.state(), meta)
            on_epoch(self.epoch, self.history[-1])
        checkpoint.keep_rung(self.folder, to_epoch)

    def parts(self) -> dict[str, tuple[str, int]]:
        """The images that train, validate and test it, each part with a digest of its own and how many they are."""
        rows = {
            "training": self.train_rows,
            "validation": self.val_rows,
            "test": np.arange(len(self.dataset.test_labels)),
        }
        digest = self.dataset.digest.encode()
        return {
            name: (hashlib.sha256(digest + name.encode() + part.tobytes()).hexdigest()[:16], len(part))
            for name, part in rows.items()
        }

    def validation_logits(self) -> NDArray[np.float32]:
        """Logits (n, 10) of the validation rows at the present epoch."""
        if self._val_logits is None:
            is_warped, count = self.config.data.augment_validation, len(self.val_rows)
            transforms = self._transforms("augment-validation", self.epoch, count) if is_warped else None
            self._val_logits = self.engine.logits(self.dataset.train_images[self.val_rows], transforms)
        return self._val_logits

    def test_logits(self) -> NDArray[np.float32]:
        """Logits (n, 10) of the test images at the present epoch."""
        return self.engine.logits(self.dataset.test_images)

    def augmented(self, count: int, versions: int) -> NDArray[np.float32]:
        """The first `count` training images, each followed by its warps of epochs 1..versions."""
        images, rows = self.dataset.train_images[self.train_rows[:count]].astype(np.float32), len(self.train_rows)
        if not augment.augments(self.config.augment):
            return np.stack([images] * (1 + versions), axis=1)[..., 0]
        epochs = (self._transforms("augment", epoch, rows)[:count] for epoch in range(1, versions + 1))
        return np.stack([images, *(np.asarray(augment.warp(images, warps)) for warps in epochs)], axis=1)[..., 0]

    def _transforms(self, purpose: str, epoch: int, count: int) -> NDArray[np.float32]:
        drawn = augment.draw(self.config.augment, count, stream(seed_of(self.config, "warps"), purpose, epoch))
        return augment.transforms(drawn)

    def _go_to(self, epoch: int, state: Arrays, history: list[Epoch]) -> None:
        self.engine.restore(state)
        self.epoch, self.history, self._val_logits = epoch, list(history), None

    def _train_epoch(self, on_step: Callable[[int, int], None]) -> None:
        began, epoch = time.monotonic(), self.epoch + 1
        batch, steps = self.config.batch_size, self.steps_per_epoch
        order = stream(seed_of(self.config, "order"), "order", epoch).permutation(len(self.train_rows))[: steps * batch]
        rows = order.astype(np.int32).reshape(steps, batch)
        warps = None
        if augment.augments(self.config.augment):  # drawn for every image, used for those in a full batch
            warps = self._transforms("augment", epoch, len(self.train_rows))[order].reshape(steps, batch, 8)
        if not (self.engine.any_length or self.compiling):
            tick = time.monotonic()
            self.engine.compile(rows, warps)
            self.compiling = time.monotonic() - tick
        self.engine.reseed_dropout(int(stream(seed_of(self.config, "masks"), "dropout", epoch).integers(2**32)))
        losses, hits, done = np.empty(steps, np.float64), 0, 0
        while done < steps:
            tick = time.monotonic()
            end = min(steps, done + self._segment(steps))
            loss, correct = self.engine.train(rows[done:end], None if warps is None else warps[done:end])
            self.compiling = self.compiling or time.monotonic() - tick
            self._pace = (time.monotonic() - tick) / (end - done)
            if not np.isfinite(loss).all():
                raise self._diverged(epoch, f"step {done + int(np.argmin(np.isfinite(loss))) + 1} of {steps}")
            losses[done:end] = loss
            hits, done = hits + int(correct.sum()), end
            on_step(done, steps)
        self.epoch, self._val_logits = epoch, None
        self.history.append(self._record(float(losses.mean()), hits / (steps * batch), began))

    def _segment(self, steps: int) -> int:
        """How many of an epoch's steps are trained in one go."""
        if not self.engine.any_length:
            return steps
        return max(1, int(SEGMENT_SECONDS / self._pace)) if self._pace else 1

    def _diverged(self, epoch: int, place: str) -> DivergedError:
        remedy = f"lower optimizer.learning_rate={self.config.optimizer.learning_rate}"
        return DivergedError(f"the loss is no longer finite in epoch {epoch}, {place}; {remedy}")

    def _record(self, loss: float, accuracy: float, began: float) -> Epoch:
        logits, labels = self.validation_logits(), self.dataset.train_labels[self.val_rows]
        if not np.isfinite(logits).all():  # the last step's update made them so: no loss of a step has shown it
            raise self._diverged(self.epoch, "validation")
        return {
            "train/loss": loss,
            "train/accuracy": accuracy,
            "val/loss": log_loss(logits, labels),
            "val/accuracy": float((logits.argmax(axis=1) == labels).mean()),
            "time/epoch_s": time.monotonic() - began,
            "time/ended_ms": float(time.time_ns() // 1_000_000),
        }
