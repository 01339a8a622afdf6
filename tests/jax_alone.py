"""JAX's part of test_engines.py, which runs it with KERAS_BACKEND=jax: the sentences of other tests hold of it too."""

import gc
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
import test_engine
import test_trajectory
from test_engine import (  # noqa: F401
    test_batch_norm_averages_move_in_training_and_stay_in_evaluation,
    test_bfloat16_trains_nearly_as_float32_does,
    test_dropout_masks_start_anew_from_a_seed,
    test_evaluation_counts_every_image_in_order_and_equals_predict,
    test_evaluation_warps_where_it_is_told_to,
    test_every_optimizer_trains_and_goes_on_from_a_state_bit_for_bit,
    test_every_step_drops_other_units,
)
from test_engines import STEPS, engine, first_half, history, path, second_half
from test_trajectory import (  # noqa: F401
    test_a_path_stopped_twice_ends_as_if_never_stopped,
    test_the_budget_plays_no_role,
    whole,
)

from fmnist.config import from_flat
from fmnist.training import checkpoint
from fmnist.training.engine import release, use_threads

for module in (test_engine, test_trajectory):
    module.TINY = from_flat(module.TINY, {"compute.backend": "jax"})
WARPED = np.zeros((STEPS, 32), np.int32), np.tile(np.float32([1, 0, 0, 0, 1, 0, 0, 0]), (STEPS, 32, 1))


def test_it_leaves_what_is_compared() -> None:
    folder = Path(os.environ["ENGINES_FOLDER"])
    first_half(folder, "jax")
    second_half(folder, "jax", of="jax")
    second_half(folder, "jax", of="tensorflow")
    checkpoint.save(folder / "jax" / "history.ckpt", history(path(folder / "paths", 2, "jax")), {})


def test_an_epoch_is_one_segment_and_compiling_is_told_apart(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    one = path(tmp_path, 1, "jax")
    one.advance(3, lambda step, steps: told.append((step, steps)), lambda epoch, record: None)
    assert told == [(11, 11), (11, 11)]
    assert 0 < one.compiling < one.history[0]["time/epoch_s"]


def test_another_number_of_threads_is_refused_once_there_are_results() -> None:
    with pytest.raises(RuntimeError, match="cannot be modified to 2"):
        use_threads(2)
    use_threads(1)


def test_a_config_of_the_other_backend_is_refused() -> None:
    with pytest.raises(RuntimeError, match="compute.backend is tensorflow, but"):
        engine("tensorflow")


def test_nothing_of_an_engine_that_has_trained_stays_in_memory() -> None:
    one = engine("jax")
    one.train(*WARPED)
    one.logits(np.zeros((3, 28, 28, 1), np.uint8))
    images, loop = weakref.ref(one.loop.data[0]), weakref.ref(one.loop)
    del one
    release()
    gc.collect()
    assert images() is None and loop() is None
