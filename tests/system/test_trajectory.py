"""A path that is stopped and continued is the path that was never stopped."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from idx import synthetic
from numpy.typing import NDArray

from fmnist.config import AugmentConfig, Config, from_flat
from fmnist.training import augment, checkpoint, trajectory
from fmnist.training.data import Dataset
from fmnist.training.engine import Arrays, use_threads
from fmnist.training.evaluation import evaluate
from fmnist.training.streams import stream
from fmnist.training.trajectory import DivergedError, Epoch, Trajectory

use_threads(1)  # before any test computes: a process cannot change it later

(TRAIN, TRAIN_LABELS), (TEST, TEST_LABELS) = synthetic(400, 60)
DATASET = Dataset(TRAIN, TRAIN_LABELS, TEST, TEST_LABELS, digest="synthetic", source="tests")
UNMOVED = AugmentConfig(0, 0, 0, 0, 0)
TINY = from_flat(
    Config(batch_size=32),
    {
        "data.validation_rows": None,
        "data.limit": 300,  # 270 rows train: 8 batches, and 14 rows sit out
        "model.filters": 4,
        "model.kernel_size": 3,
        "model.dense_units": 16,
        "compute.precision": "float32",
        "compute.threads": 1,
    },
)
VARIANTS: dict[str, dict[str, Any]] = {
    "float32": {"augment": UNMOVED},
    "bfloat16": {"compute.precision": "bfloat16", "augment": UNMOVED},
    "float32 with everything": {
        "model.dropout": 0.3, "model.batch_norm": True, "data.scale": "unit", "optimizer.name": "nadam",
        "optimizer.ema_momentum": 0.9,
    },
    "bfloat16 with everything": {
        "compute.precision": "bfloat16", "model.dropout": 0.3, "model.batch_norm": True,
        "data.augment_validation": True, "augment": AugmentConfig(horizontal_flip=True),
    },
}  # fmt: skip
LAST = 4


def path_of(folder: Path, **options: Any) -> Trajectory:
    """A fresh path of the tiny network with options by their flat keys."""
    return Trajectory(from_flat(TINY, options), DATASET, folder)


def go(path: Trajectory, to_epoch: int) -> Trajectory:
    """Continue from the folder's checkpoints as a run does, telling nobody."""
    path.resume(to_epoch)
    path.advance(to_epoch, lambda step, steps: None, lambda epoch, record: None)
    return path


def outcome(path: Trajectory) -> dict[str, bytes]:
    """All that a path has come to, as bytes, but for times."""
    history = [{key: value for key, value in epoch.items() if "time/" not in key} for epoch in path.history]
    numbers: Arrays = {"test logits": path.test_logits(), "validation logits": path.validation_logits()}
    arrays = path.engine.state() | numbers
    return {name: array.tobytes() for name, array in arrays.items()} | {"history": json.dumps(history).encode()}


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.iterdir())


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """What each variant comes to after LAST epochs when it is never stopped."""
    return {
        variant: outcome(go(path_of(tmp_path_factory.mktemp("whole"), **options), LAST))
        for variant, options in VARIANTS.items()
    }


# ---- Stopping and continuing --------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_path_stopped_twice_ends_as_if_never_stopped(
    variant: str, tmp_path: Path, whole: dict[str, dict[str, bytes]]
) -> None:
    for epoch in (1, 3):
        go(path_of(tmp_path, **VARIANTS[variant]), epoch)
    assert outcome(go(path_of(tmp_path, **VARIANTS[variant]), LAST)) == whole[variant]


def test_a_path_is_continued_by_another_process(tmp_path: Path, whole: dict[str, dict[str, bytes]]) -> None:
    variants = [name for name in VARIANTS if "everything" in name]
    code = (
        "import sys; from pathlib import Path; from test_trajectory import VARIANTS, go, path_of\n"
        "for name in sys.argv[2:]: go(path_of(Path(sys.argv[1]) / name, **VARIANTS[name]), 2)"
    )
    system = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{system.parents[1]}:{system.parent}:{system}"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path), *variants], env=environment, check=True)
    for variant in variants:
        path = path_of(tmp_path / variant, **VARIANTS[variant])
        assert path.resume(LAST) == 2
        assert outcome(go(path, LAST)) == whole[variant]


def test_a_path_that_is_interrupted_within_an_epoch_continues_from_the_one_before(
    tmp_path: Path, whole: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectory, "SEGMENT_SECONDS", 0)
    path = go(path_of(tmp_path, **VARIANTS["float32"]), 1)

    def interrupt(step: int, steps: int) -> None:
        if (path.epoch, step) == (2, 5):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        path.advance(LAST, interrupt, lambda epoch, record: None)
    assert names(tmp_path) == ["epoch-0002", "rung-0001"]
    assert path.resume(LAST) == 2 and len(path.history) == 2
    assert outcome(go(path, LAST)) == whole["float32"]


def test_a_damaged_checkpoint_is_reported_removed_and_the_one_before_it_used(
    tmp_path: Path, whole: dict[str, dict[str, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    """However it is damaged, test_checkpoint tells."""
    path = go(path_of(tmp_path, **VARIANTS["float32"]), 3)
    assert names(tmp_path) == ["epoch-0002", "rung-0003"]
    last = tmp_path / "rung-0003.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert path.resume(LAST) == 2
    assert f"checkpoint {last} is damaged" in caplog.text and "going back" in caplog.text
    assert not last.exists()
    assert outcome(go(path, LAST)) == whole["float32"]


def test_when_no_checkpoint_can_be_read_the_path_starts_anew(
    tmp_path: Path, whole: dict[str, dict[str, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    path = go(path_of(tmp_path, **VARIANTS["float32"]), 2)
    for file in tmp_path.iterdir():
        file.write_bytes(b"")
    assert path.resume(LAST) == 0 and path.history == [] and names(tmp_path) == []
    assert len(caplog.records) == 2
    assert outcome(go(path, LAST)) == whole["float32"]


def test_a_checkpoint_of_another_path_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    go(path_of(tmp_path, seed=1), 1)
    path = path_of(tmp_path, seed=2)
    assert path.resume(5) == 0 and "belongs to another trajectory" in caplog.text


def test_a_checkpoint_under_another_epoch_s_name_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = go(path_of(tmp_path), 1)
    (tmp_path / "rung-0001.ckpt").rename(tmp_path / "rung-0003.ckpt")
    assert path.resume(5) == 0 and "rung-0003" in caplog.text


def test_a_path_goes_back_to_an_earlier_rung_only_by_resuming(tmp_path: Path) -> None:
    path = go(path_of(tmp_path), 1)
    first = outcome(path)
    go(path, 3)
    with pytest.raises(ValueError, match="cannot go back from epoch 3 to 1"):
        path.advance(1, lambda step, steps: None, lambda epoch, record: None)
    assert path.resume(1) == 1 and outcome(path) == first


def test_the_budget_plays_no_role(tmp_path: Path) -> None:
    short, long = (go(path_of(tmp_path / str(epochs), epochs=epochs), 2) for epochs in (2, 50))
    assert short.signature == long.signature and outcome(short) == outcome(long)


def test_how_often_progress_is_shown_changes_no_bit(
    tmp_path: Path, whole: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectory, "SEGMENT_SECONDS", 0)
    variant = "float32 with everything"
    assert outcome(go(path_of(tmp_path, **VARIANTS[variant]), LAST)) == whole[variant]


def test_rungs_stay_and_passing_checkpoints_are_reduced_to_two(tmp_path: Path) -> None:
    path, seen = path_of(tmp_path), []
    for rung in (1, 5):
        path.advance(rung, lambda step, steps: None, lambda epoch, record: seen.append(names(tmp_path)))
    assert seen[-1] == ["epoch-0004", "epoch-0005", "rung-0001"]
    assert names(tmp_path) == ["epoch-0004", "rung-0001", "rung-0005"]
    assert all(checkpoint.load(file)[1]["trajectory"] == path.signature for file in tmp_path.iterdir())


# ---- What is told -------------------------------------------------------------------------------------


def test_steps_and_epochs_are_told_after_the_checkpoint_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectory, "SEGMENT_SECONDS", 0)  # every step is told
    path, told = path_of(tmp_path), []

    def on_epoch(epoch: int, record: Epoch) -> None:
        arrays, meta = checkpoint.load(tmp_path / f"epoch-{epoch:04d}.ckpt")
        assert meta == {"trajectory": path.signature, "epoch": epoch, "history": path.history}
        assert arrays.keys() == path.engine.state().keys()
        assert record == path.history[-1]
        told.append(("epoch", epoch, set(record)))

    path.advance(2, lambda step, steps: told.append(("step", step, steps)), on_epoch)
    keys = {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "time/epoch_s", "time/ended_ms"}
    steps = [("step", step, 8) for step in range(1, 9)]
    assert told == [*steps, ("epoch", 1, keys), *steps, ("epoch", 2, keys)]


def test_where_there_is_nothing_to_train_nothing_is_told(tmp_path: Path) -> None:
    path = go(path_of(tmp_path), 1)
    path.advance(1, lambda step, steps: pytest.fail("a step"), lambda epoch, record: pytest.fail("an epoch"))
    assert names(tmp_path) == ["rung-0001"]


def test_the_record_of_an_epoch_is_what_its_segments_and_its_logits_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_of(tmp_path)
    parts = watch(path, monkeypatch)
    go(path, 1)
    record = path.history[0]
    losses, hits = (np.concatenate([part[which] for part in parts]) for which in (2, 3))
    assert record["train/loss"] == pytest.approx(losses.mean(), rel=1e-6)
    assert record["train/accuracy"] == hits.sum() / 256
    validation = evaluate(path.validation_logits(), TRAIN_LABELS[path.val_rows])
    assert (record["val/loss"], record["val/accuracy"]) == (validation.loss, validation.accuracy)


# ---- Rows, order, warps -------------------------------------------------------------------------------


def watch(path: Trajectory, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any, Any, Any]]:
    """Collects rows, warps, losses and hits of every segment that the path trains."""
    parts, train = [], path.engine.train

    def watched(rows: NDArray[np.int32], warps: NDArray[np.float32] | None) -> tuple[Any, Any]:
        losses, hits = train(rows, warps)
        parts.append((rows, warps, losses, hits))
        return losses, hits

    monkeypatch.setattr(path.engine, "train", watched)
    return parts


def epochs_of(seed: int, count: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """The rows and warps of each epoch of a path."""
    path = path_of(folder, seed=seed)
    parts, found = watch(path, monkeypatch), []
    for epoch in range(1, count + 1):
        go(path, epoch)
        found.append((np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])))
        parts.clear()
    return found


def test_each_epoch_takes_full_batches_of_distinct_rows_in_its_own_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = ([rows for rows, _ in epochs_of(seed, 2, tmp_path / str(seed), monkeypatch)] for seed in (0, 1))
    for rows in (*ours, *theirs):
        assert rows.shape == (8, 32) and len(np.unique(rows)) == 256
        assert rows.min() >= 0 and rows.max() < 270
    assert len({rows.tobytes() for rows in (*ours, *theirs)}) == 4
    assert set(ours[0].ravel()) != set(ours[1].ravel())  # other rows sit out


def test_each_epoch_of_each_seed_starts_its_own_dropout_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    for seed in (0, 1):
        path = path_of(tmp_path / str(seed), seed=seed, **{"model.dropout": 0.5})
        reseed = path.engine.reseed_dropout
        monkeypatch.setattr(path.engine, "reseed_dropout", lambda at, reseed=reseed: (started.append(at), reseed(at)))
        go(path, 2)
    assert len(set(started)) == len(started) == 4


def test_an_image_s_warp_goes_with_it_wherever_it_stands_in_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for epoch, (rows, warps) in enumerate(epochs_of(3, 2, tmp_path, monkeypatch), 1):
        drawn = augment.transforms(augment.draw(TINY.augment, 270, stream(3, "augment", epoch)))
        np.testing.assert_array_equal(warps, drawn[rows])


def test_the_shown_samples_are_the_warps_that_are_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = path_of(tmp_path, seed=3)
    samples = path.augmented(4, versions=2)
    assert samples.shape == (4, 3, 28, 28)
    images = TRAIN[path.train_rows].astype(np.float32)
    np.testing.assert_array_equal(samples[:, 0], images[:4, ..., 0])
    for epoch, (rows, warps) in enumerate(epochs_of(3, 2, tmp_path, monkeypatch), 1):
        for number in set(range(4)) & set(rows.ravel()):
            moved = np.asarray(augment.warp(images[[number]], warps[rows == number]))[0, ..., 0]
            np.testing.assert_allclose(samples[number, epoch], moved, atol=1e-3)
    np.testing.assert_array_equal(
        path_of(tmp_path, seed=3, augment=UNMOVED).augmented(4, 2), np.repeat(samples[:, :1], 3, axis=1)
    )


def test_the_engine_trains_on_the_training_rows_alone(tmp_path: Path) -> None:
    changed = TRAIN.copy()
    path = path_of(tmp_path / "a", augment=UNMOVED)
    others = np.setdiff1d(np.arange(400), path.train_rows)
    assert len(others) == 130 and set(path.val_rows) <= set(others) and len(path.val_rows) == 30
    changed[others] = 0
    dataset = Dataset(changed, TRAIN_LABELS, TEST, TEST_LABELS, digest="changed", source="tests")
    other = Trajectory(path.config, dataset, tmp_path / "b")
    for each in (path, other):
        go(each, 1)
    assert (path.test_logits() == other.test_logits()).all()
    assert path.history[0]["val/loss"] != other.history[0]["val/loss"]


def test_of_54_000_rows_421_full_batches_of_128_are_trained(tmp_path: Path) -> None:
    images, labels = np.zeros((60_000, 28, 28, 1), np.uint8), np.arange(60_000) % 10
    dataset = Dataset(images, labels, TEST, TEST_LABELS, digest="zeros", source="tests")
    path = Trajectory(from_flat(TINY, {"data.limit": None, "batch_size": 128}), dataset, tmp_path)
    assert (len(path.train_rows), len(path.val_rows), path.steps_per_epoch) == (54_000, 6_000, 421)


@pytest.mark.parametrize("augmented", [False, True])
def test_validation_images_are_warped_only_on_request(augmented: bool, tmp_path: Path) -> None:
    path = go(path_of(tmp_path, **{"data.augment_validation": augmented}), 2)
    images, labels = TRAIN[path.val_rows], TRAIN_LABELS[path.val_rows]
    warps = augment.transforms(augment.draw(TINY.augment, 30, stream(0, "augment-validation", 2)))
    plain, warped = path.engine.logits(images), path.engine.logits(images, warps)
    expected, other = (warped, plain) if augmented else (plain, warped)
    assert path.validation_logits().tobytes() == expected.tobytes() != other.tobytes()
    assert path.history[1]["val/loss"] == evaluate(expected, labels).loss


def test_other_rows_that_validate_change_no_bit_of_the_training(tmp_path: Path) -> None:
    usual = go(path_of(tmp_path / "usual"), 2)
    more = go(path_of(tmp_path / "more", **{"data.validation_rows": 10_000}), 2)
    assert [len(path.validation_logits()) for path in (usual, more)] == [30, 130]
    ours, theirs = ([epoch["train/loss"] for epoch in path.history] for path in (usual, more))
    assert ours == theirs and usual.history[1]["val/loss"] != more.history[1]["val/loss"]
    for name, array in usual.engine.state().items():
        assert array.tobytes() == more.engine.state()[name].tobytes(), name
    assert usual.test_logits().tobytes() == more.test_logits().tobytes()


# ---- Learning and diverging ---------------------------------------------------------------------------


def test_training_learns(tmp_path: Path) -> None:
    path = go(path_of(tmp_path, **{"data.limit": None, "data.scale": "unit", "optimizer.learning_rate": 0.01}), 6)
    first, last = path.history[0], path.history[-1]
    assert last["train/loss"] < first["train/loss"] / 3
    assert last["train/accuracy"] > 0.8 and last["val/accuracy"] > 0.8
    assert evaluate(path.test_logits(), TEST_LABELS).accuracy > 0.8


def test_a_loss_that_is_no_number_names_epoch_step_and_learning_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_of(tmp_path, **{"optimizer.learning_rate": 1e30})
    with pytest.raises(DivergedError, match=r"in epoch 1, step 2 of 8; lower optimizer.learning_rate=1e\+30"):
        go(path, 3)
    assert names(tmp_path) == [] and path.epoch == 0


def test_a_validation_loss_that_is_no_number_is_no_epoch_either(tmp_path: Path) -> None:
    path = path_of(tmp_path, **{"optimizer.learning_rate": 1e30, "batch_size": 270})
    with pytest.raises(DivergedError, match=r"in epoch 1, validation; lower optimizer.learning_rate=1e\+30"):
        go(path, 3)
    assert not tmp_path.exists() or names(tmp_path) == []


# ---- One source of chance at a time --------------------------------------------------------------------


SOURCES = ("split", "weights", "order", "warps", "masks")
NOISY: dict[str, Any] = {**VARIANTS["float32 with everything"], "model.dropout": 0.5}


def ends_of(path: Trajectory) -> tuple[NDArray[np.int64], Arrays, dict[str, bytes]]:
    """The training rows of a fresh path, its first weights, and what it comes to after an epoch."""
    return path.train_rows, path.engine.state(), outcome(go(path, 1))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[NDArray[np.int64], Arrays, dict[str, bytes]]:
    """Of a path whose sources of chance all have its seed."""
    return ends_of(path_of(tmp_path_factory.mktemp("plain"), **NOISY))


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_with_a_seed_of_its_own_changes_nothing_of_the_others(
    source: str, tmp_path: Path, plain: tuple[NDArray[np.int64], Arrays, dict[str, bytes]]
) -> None:
    rows, state, end = ends_of(path_of(tmp_path, **NOISY, **{f"noise.{source}": 7}))
    weights_differ = any((plain[1][key] != value).any() for key, value in state.items())
    assert ((rows != plain[0]).any(), weights_differ) == (source == "split", source == "weights")
    assert end != plain[2]


def test_sources_that_are_given_the_path_s_own_seed_change_nothing(
    tmp_path: Path, plain: tuple[NDArray[np.int64], Arrays, dict[str, bytes]]
) -> None:
    _, _, end = ends_of(path_of(tmp_path, **NOISY, **{f"noise.{source}": TINY.seed for source in SOURCES}))
    assert end == plain[2]
