"""The compiled loop against plain ones, its states, its evaluation."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from idx import synthetic
from numpy.typing import NDArray

from fmnist.config import OPTIMIZERS, AugmentConfig, Config, from_flat
from fmnist.training import augment
from fmnist.training.engine import Arrays, Engine, keras, release, use_threads
from fmnist.training.evaluation import evaluate
from fmnist.training.model import build, logits_of

use_threads(1)  # before any test computes: a process cannot change it later

UNMOVED = AugmentConfig(0, 0, 0, 0, 0)
TINY = from_flat(
    Config(batch_size=32),
    {
        "model.filters": 4,
        "model.kernel_size": 3,
        "model.dense_units": 16,
        "augment": UNMOVED,
        "compute.precision": "float32",
        "compute.threads": 1,
    },
)
EVERYTHING = {"model.dropout": 0.3, "model.batch_norm": True, "augment": AugmentConfig(), "optimizer.name": "nadam"}
# With batch norm the gradient of a convolution's bias is rounding noise, which Adam would turn into whole steps.
SGD = {"optimizer.name": "sgd", "optimizer.learning_rate": 0.1}
(IMAGES, LABELS), (OTHERS, _) = synthetic(300, 1203)
ROWS = np.random.default_rng(0).permutation(320).reshape(10, 32).astype(np.int32) % 300
WARPS = augment.transforms(augment.draw(AugmentConfig(), 320, np.random.default_rng(0))).reshape(10, 32, 8)


def engine(**options: Any) -> Engine:
    """An engine of the tiny network with options by their flat keys."""
    return Engine(from_flat(TINY, options), IMAGES, LABELS)


def equal(one: Arrays, other: Arrays) -> bool:
    """Bit for bit."""
    return list(one) == list(other) and all(one[name].tobytes() == other[name].tobytes() for name in one)


def plain_loop(config: Config, steps: int, warps: NDArray[np.float32] | None) -> tuple[keras.Model, Any, Any]:
    """The network, losses and hits of steps done one by one with Keras's own optimizer and loss, not compiled."""
    import tensorflow as tf  # here, since jax_alone.py borrows other tests

    optimizer = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[config.optimizer.name]
    model, updating = build(config), optimizer(config.optimizer.learning_rate)
    network, loss_of = logits_of(model), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses, hits = [], []
    for step in range(steps):
        images, labels = IMAGES[ROWS[step]].astype(np.float32), LABELS[ROWS[step]]
        if warps is not None:
            images = augment.warp(images, warps[step])
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            loss = loss_of(labels, logits)
        gradients = tape.gradient(loss, network.trainable_weights)
        updating.apply_gradients(zip(gradients, network.trainable_weights, strict=True))
        losses.append(float(loss))
        hits.append(int((np.asarray(logits).argmax(axis=1) == labels).sum()))
    return model, losses, hits


# ---- Training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"augment": AugmentConfig()},
        {"model.batch_norm": True, "model.dropout": 0.3, "data.scale": "unit", **SGD},
    ],
    ids=["article", "warped", "batch norm and dropout"],
)
def test_a_segment_equals_a_plain_loop(options: dict[str, Any]) -> None:
    config = from_flat(TINY, options)
    warps = WARPS if augment.augments(config.augment) else None
    model, losses, hits = plain_loop(config, 10, warps)
    compiled = engine(**options)
    loss, correct = compiled.train(ROWS, warps)
    assert (loss.shape, loss.dtype, correct.shape, correct.dtype) == ((10,), np.float32, (10,), np.int32)
    np.testing.assert_allclose(loss, losses, rtol=1e-5)
    assert correct.tolist() == hits
    for ours, theirs in zip(compiled.model.weights, model.weights, strict=True):
        np.testing.assert_allclose(ours.value.numpy(), theirs.value.numpy(), rtol=1e-4, atol=1e-6)


def test_a_segment_equals_keras_s_own_train_on_batch() -> None:
    config = from_flat(TINY, {"data.scale": "unit"})
    model = build(config)
    model.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy", jit_compile=False)
    for rows in ROWS:
        model.train_on_batch(IMAGES[rows].astype(np.float32), LABELS[rows])
    compiled = engine(**{"data.scale": "unit"})
    compiled.train(ROWS, None)
    for ours, theirs in zip(compiled.model.weights, model.weights, strict=True):
        np.testing.assert_allclose(ours.value.numpy(), theirs.value.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_how_steps_are_cut_into_segments_changes_no_bit(precision: str) -> None:
    options = {**EVERYTHING, "compute.precision": precision}
    trained = engine(**options)
    start = trained.state()
    loss, correct = trained.train(ROWS, WARPS)
    whole = trained.state()
    trained.restore(start)
    trained.reseed_dropout(0)
    parts = [trained.train(ROWS[part], WARPS[part]) for part in (slice(0, 4), slice(4, 10))]
    assert np.concatenate([part[0] for part in parts]).tobytes() == loss.tobytes()
    assert np.concatenate([part[1] for part in parts]).tolist() == correct.tolist()
    assert equal(trained.state(), whole)


def test_bfloat16_trains_nearly_as_float32_does() -> None:
    rows = np.tile(ROWS, (6, 1))
    single, half = (engine(**{"compute.precision": precision}) for precision in ("float32", "bfloat16"))
    (expected, _), (losses, correct) = single.train(rows, None), half.train(rows, None)
    assert losses[:3] == pytest.approx(expected[:3], rel=0.1) and losses[0] != expected[0]
    assert losses[-10:].mean() < losses[:10].mean() / 3
    assert correct[-10:].mean() > 2 * correct[:10].mean()
    assert {array.dtype for name, array in half.state().items() if "model/" in name} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_goes_on_from_a_state_bit_for_bit_and_leaves_nothing_in_memory(name: str) -> None:
    trained = engine(**{"optimizer.name": name, "data.scale": "unit", "optimizer.learning_rate": 0.02})
    assert type(trained.optimizer).__name__.lower() == name
    assert float(trained.optimizer.learning_rate) == pytest.approx(0.02)
    first, _ = trained.train(ROWS, None)
    middle = trained.state()
    untouched = {key: array.copy() for key, array in middle.items()}
    last, _ = trained.train(ROWS, None)
    end = trained.state()
    assert last.mean() < first.mean() and not equal(end, middle)
    assert equal(middle, untouched)  # a state is a copy
    trained.restore(middle)
    assert equal(trained.state(), middle)
    again, _ = trained.train(ROWS, None)
    assert again.tobytes() == last.tobytes() and equal(trained.state(), end)
    graph = weakref.ref(trained.loop._train.get_concrete_function().graph)
    assert graph() is not None
    del trained
    release()
    gc.collect()
    assert graph() is None, "TensorFlow would keep the graphs of all networks that a worker trains"


# ---- Dropout and batch norm ---------------------------------------------------------------------------


def test_dropout_masks_start_anew_from_a_seed() -> None:
    dropping = engine(**{"model.dropout": 0.5})
    start = dropping.state()

    def losses(seed: int | None) -> bytes:
        dropping.restore(start)
        if seed is not None:
            dropping.reseed_dropout(seed)
        return dropping.train(ROWS[:6], None)[0].tobytes()

    first = losses(7)
    assert losses(None) != first  # the masks went on
    assert losses(7) == first
    assert losses(2**32 - 1) not in (first, losses(0))


def test_every_step_drops_other_units() -> None:
    still = engine(**{"model.dropout": 0.5, "optimizer.learning_rate": 1e-30})
    losses, _ = still.train(np.repeat(ROWS[:1], 6, axis=0), None)
    assert len(set(losses.tolist())) == 6


def test_batch_norm_averages_move_in_training_and_stay_in_evaluation() -> None:
    normed = engine(**{"model.batch_norm": True})
    before = normed.state()
    normed.logits(IMAGES)
    assert equal(normed.state(), before)
    normed.train(ROWS[:2], None)
    after = normed.state()
    moving = [name for name in after if "moving" in name]
    assert len(moving) == 4
    assert all((after[name] != before[name]).any() for name in moving)


# ---- Evaluation ---------------------------------------------------------------------------------------


def test_evaluation_counts_every_image_in_order_and_equals_predict() -> None:
    trained = engine(**EVERYTHING)
    trained.train(ROWS, WARPS)
    logits = trained.logits(OTHERS)
    assert logits.shape == (1203, 10) and logits.dtype == np.float32
    exact = np.exp(logits - logits.max(axis=1, keepdims=True))
    predicted = trained.model.predict(OTHERS.astype(np.float32), batch_size=64, verbose=0)
    np.testing.assert_allclose(exact / exact.sum(axis=1, keepdims=True), predicted, atol=1e-5)
    np.testing.assert_allclose(trained.logits(OTHERS[1200:]), logits[1200:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0.1, 1, 3])
def test_the_loss_of_an_evaluation_is_that_of_keras(scale: float) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(scale=scale, size=(1234, 10)).astype(np.float32), rng.integers(0, 10, 1234)
    theirs = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    assert evaluate(logits, labels).loss == pytest.approx(float(np.mean(theirs)), rel=1e-5)


def test_averaged_weights_are_scored_and_training_goes_on_from_its_own() -> None:
    plain, averaging = engine(), engine(**{"optimizer.ema_momentum": 0.75})
    np.testing.assert_array_equal(averaging.logits(OTHERS), plain.logits(OTHERS))  # there is nothing yet to average
    averages: list[NDArray[Any]] = []
    for step in ROWS[:4, np.newaxis]:
        assert [part.tobytes() for part in plain.train(step, None)] == [
            part.tobytes() for part in averaging.train(step, None)
        ]
        averaging.logits(OTHERS[:3])
        weights = plain.model.get_weights()
        averages = [0.75 * old + 0.25 * new for old, new in zip(averages or weights, weights, strict=True)]
    with averaging.averaged() as model:
        for ours, theirs in zip(averages, model.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
        saved = model.predict(OTHERS[:20].astype(np.float32), verbose=0)
    assert [weight.tobytes() for weight in averaging.model.get_weights()] == [weight.tobytes() for weight in weights]
    scored = keras.ops.convert_to_numpy(keras.ops.softmax(averaging.logits(OTHERS[:20])))
    np.testing.assert_allclose(saved, scored, atol=1e-5)
    assert np.abs(plain.logits(OTHERS) - averaging.logits(OTHERS)).max() > 0.01


def test_evaluation_warps_where_it_is_told_to() -> None:
    fresh, images = engine(), np.concatenate([IMAGES, OTHERS])[:503]
    warps = augment.transforms(augment.draw(AugmentConfig(), 503, np.random.default_rng(1)))
    moved = np.asarray(augment.warp(images.astype(np.float32), warps))
    np.testing.assert_allclose(fresh.logits(images, warps), fresh.logits(moved), rtol=1e-4, atol=1e-3)
    assert np.abs(fresh.logits(images, warps) - fresh.logits(images)).max() > 1


def test_another_number_of_threads_is_refused_once_there_are_results() -> None:
    engine()
    with pytest.raises(RuntimeError, match="cannot be modified"):
        use_threads(2)
    use_threads(1)


def test_a_network_that_another_engine_has_trained_starts_and_goes_on_like_a_new_one() -> None:
    options = {**EVERYTHING, "seed": 1}

    def outcome(trained: Engine) -> tuple[int, Arrays, bytes, Arrays, bytes]:
        first, (losses, _) = trained.state(), trained.train(ROWS, WARPS)
        return id(trained.loop), first, losses.tobytes(), trained.state(), trained.logits(OTHERS).tobytes()

    release()
    loop, *new = outcome(engine(**options))
    other = engine(**options | {"seed": 2})
    other.train(ROWS, WARPS)
    assert id(other.loop) == loop and not equal(other.state(), new[2])
    beside, *compiled = outcome(engine(**options))  # while the other is in use
    del other
    again, *used = outcome(engine(**options))
    assert beside != loop and again in (beside, loop)
    for first, losses, last, logits in (compiled, used):
        assert equal(first, new[0]) and losses == new[1] and equal(last, new[2]) and logits == new[3]


def test_few_networks_are_kept_compiled_the_last_and_none_that_is_large() -> None:
    release()
    sizes = [*range(1, 10), 21_000]  # of 2.1 million parameters
    loops = [weakref.ref(engine(**{"model.dense_units": size}).loop) for size in sizes]
    gc.collect()
    assert [loop() is not None for loop in loops] == [False, *[True] * 8, False]
