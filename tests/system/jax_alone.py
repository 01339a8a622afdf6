"""JAX's part of test_engines.py, which runs it with KERAS_BACKEND=jax: sentences of other tests that hold of it too."""

import gc
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
import test_engine
import test_trajectory
from commands import here
from idx import synthetic, write_idx
from test_engine import (  # noqa: F401
    test_bfloat16_trains_nearly_as_float32_does,
    test_dropout_masks_start_anew_from_a_seed,
    test_evaluation_counts_every_image_in_order_and_equals_predict,
    test_every_step_drops_other_units,
)
from test_engines import ROWS, STEPS, TINY, WARPS, begin, engine, go_on, path

from fmnist import run
from fmnist.config import from_flat
from fmnist.training.engine import release, use_threads

for module in (test_engine, test_trajectory):
    module.TINY = from_flat(module.TINY, {"compute.backend": "jax"})


def test_it_leaves_what_is_compared() -> None:
    folder = Path(os.environ["ENGINES_FOLDER"])
    go_on(folder, "jax", begin(folder, "jax"))


def test_a_path_that_is_stopped_ends_as_if_never_stopped(tmp_path: Path) -> None:
    whole, cut, again = (
        test_trajectory.path_of(tmp_path / name, **test_trajectory.VARIANTS["bfloat16 with everything"])
        for name in ("whole", "cut", "cut")
    )
    test_trajectory.go(cut, 1)
    assert again.resume(3) == 1
    ends = [test_trajectory.outcome(test_trajectory.go(each, 3)) for each in (again, whole)]
    assert ends[0] == ends[1]


def test_an_epoch_is_one_segment_and_compiling_is_told_apart(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    one = path(tmp_path, 1, "jax")
    one.advance(3, lambda step, steps: told.append((step, steps)), lambda epoch, record: None)
    assert told == [(11, 11), (11, 11)]
    assert 0 < one.compiling < one.history[0]["time/epoch_s"]


def test_a_run_is_reproduced_bit_for_bit(tmp_path: Path) -> None:
    write_idx(tmp_path / "images", *synthetic(400, 100))
    place = {"data.dir": str(tmp_path / "images"), "store": str(tmp_path / "store"), "epochs": 1}
    ended = run.execute(from_flat(TINY, {"compute.backend": "jax", **place}))
    said = here("reproduce", ended.run_id, "--store", tmp_path / "store").stdout
    assert "bit-exact: 37 metrics, the curves of 1 epoch, 100 predictions (test), " in said and "its weights" in said


def test_another_number_of_threads_is_refused_once_there_are_results() -> None:
    with pytest.raises(RuntimeError, match="cannot be modified to 2"):
        use_threads(2)
    use_threads(1)


def test_a_config_of_the_other_backend_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"compute\.backend is tensorflow, but"):
        engine("tensorflow")


def test_nothing_of_an_engine_that_has_trained_stays_in_memory() -> None:
    one = engine("jax")
    one.train(ROWS[:STEPS], WARPS[:STEPS])  # as many as before, for which XLA has compiled it
    one.logits(np.zeros((3, 28, 28, 1), np.uint8))
    images, loop = weakref.ref(one.data[0]), weakref.ref(one.loop)
    del one
    release()
    gc.collect()
    assert images() is None and loop() is None
