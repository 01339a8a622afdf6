"""A store of an earlier version of this project: what stands in it is read, compared, continued and searched on.

tests/data/recipe1.tar.xz is what commit dca42a9, before signatures by difference, left of a sweep (study smoke), of a
plain sweep with a run that failed, and of a random search, without pictures and models:

    fmnist.train study=smoke compute.precision=float32
    fmnist.train -m compute.precision=float32 model.filters=4 model.kernel_size=3 model.dense_units=16 batch_size=32
        data.limit=600 epochs=1 optimizer.learning_rate=1e30,0.002 compute.threads=1
    fmnist.tune (the arguments of SEARCH)
"""

import tarfile
from pathlib import Path

import pandas as pd
import pytest
from commands import here

from fmnist import tracking

STORE = Path(__file__).parent.parent / "data" / "recipe1.tar.xz"
SEARCH = [
    "tuner=random", "tuner.max_trials=3", "tuner.max_epochs=2", "tuner.confirm_seeds=2", "tuner/space=coarse",
    "tuner.space.model.filters=null", "tuner.space.model.kernel_size=null", "compute.precision=float32",
    "data.limit=300", "model.filters=4", "model.kernel_size=3", "model.dense_units=16", "batch_size=32",
]  # fmt: skip


@pytest.fixture
def old(tmp_path):
    """The store, unpacked in another place than the one where it was made."""
    with tarfile.open(STORE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_its_sweep_is_finished_and_a_longer_budget_continues_its_paths(old, images, one_process):
    study = ["study=smoke", f"data.dir={images}", "compute.precision=float32", f"store={old}"]
    before = tracking.load(str(old))
    assert here("train", *study).stdout.count("nothing to do") == 2
    pd.testing.assert_frame_equal(tracking.load(str(old)), before)
    assert "trains 3 epochs; each run by itself would need 9" in here("train", *study, "study.rungs=[1,2,3]").stdout
    longer = tracking.load(str(old)).query("epochs == 3")
    assert len(longer) == 3 and set(longer["status"]) == {"FINISHED"}
    assert set(longer["trajectory_signature"]) <= set(before["trajectory_signature"])


def test_its_runs_are_compared_and_the_one_that_failed_is_named(old):
    everything = here("compare", "--store", old, "--format", "csv").stdout
    assert everything.count("FINISHED") == 10 and everything.count("FAILED") == 1
    study = here("compare", "--store", old, "--study", "smoke").stdout
    assert "scale=unit" in study and "pooling=average" in study
    assert ",val/accuracy,3,0,6," in here("compare", "--store", old, "--searches", "--format", "csv").stdout


def test_its_search_is_finished_and_a_larger_budget_goes_on_with_it(old, images, one_process):
    search = [*SEARCH, f"data.dir={images}", f"store={old}"]
    before = tracking.load(str(old))
    again = here("tune", *search).stdout
    assert "3 trials have ended before" in again and "0 of 4 runs to do" in again
    assert list(tracking.load(str(old))["run_id"]) == list(before["run_id"])
    assert "random-1d6b41: 4 trials" in here("tune", *search, "tuner.max_trials=4").stdout
