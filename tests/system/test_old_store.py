"""Stores of earlier versions of this project: what stands in them is read, compared, continued and searched on.

tests/data/recipe1.tar.xz is what commit dca42a9, before signatures by difference, left of a sweep (study smoke), of a
plain sweep with a run that failed, and of a random search, without pictures and models; recipe2.tar.xz the same of the
first commit of recipe 2:

    fmnist.train study=smoke compute.precision=float32
    fmnist.train -m compute.precision=float32 model.filters=4 model.kernel_size=3 model.dense_units=16 batch_size=32
        data.limit=600 epochs=1 optimizer.learning_rate=1e30,0.002 compute.threads=1
    fmnist.tune (the arguments of SEARCH)
"""

import tarfile
from pathlib import Path

import pandas as pd
import pytest
from commands import here, mistake

from fmnist import tracking

STORES = Path(__file__).parent.parent / "data"
SEARCH = [
    "tuner=random", "tuner.max_trials=3", "tuner.max_epochs=2", "tuner.confirm_seeds=2", "tuner/space=coarse",
    "tuner.space.model.filters=null", "tuner.space.model.kernel_size=null", "compute.precision=float32",
    "data.limit=300", "data.validation_rows=null",
    "model.filters=4", "model.kernel_size=3", "model.dense_units=16", "batch_size=32",
]  # fmt: skip


def unpacked(recipe, folder):
    """A store in another place than the one where it was made."""
    with tarfile.open(STORES / f"recipe{recipe}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def old(tmp_path):
    """The store of this recipe."""
    return unpacked(2, tmp_path)


def test_its_sweep_is_finished_and_a_longer_budget_continues_its_paths(old, images, one_process):
    study = ["study=smoke", f"data.dir={images}", "compute.precision=float32", f"store={old}"]
    before = tracking.load(str(old))
    more = here("train", *study, "data.validation_rows=auto", "study.dry_run=true").stdout
    assert "6 runs of data.limit=600; data.validation_rows=null goes on with them" in " ".join(more.split())
    assert here("train", *study).stdout.count("nothing to do") == 2
    pd.testing.assert_frame_equal(tracking.load(str(old)), before)
    assert "trains 3 epochs; each run by itself would need 9" in here("train", *study, "study.rungs=[1,2,3]").stdout
    longer = tracking.load(str(old)).query("epochs == 3")
    assert len(longer) == 3 and set(longer["status"]) == {"FINISHED"}
    assert set(longer["trajectory_signature"]) <= set(before["trajectory_signature"])


def test_its_experiments_say_what_they_are_once_it_is_opened_to_be_written(old):
    store = tracking.Store(str(old))
    said = {each.name: each.tags["mlflow.note.content"] for each in store.client.search_experiments()}
    assert said.keys() == {"Default", "fmnist", "fmnist sweeps", "fmnist searches"} and all(said.values())


@pytest.mark.parametrize("recipe", [1, 2])
def test_its_runs_are_compared_and_the_one_that_failed_is_named(recipe, tmp_path):
    old = unpacked(recipe, tmp_path)
    everything = here("compare", "--store", old, "--format", "csv").stdout
    assert everything.count("FINISHED") == 10 and everything.count("FAILED") == 1
    if recipe == 2:
        study = here("compare", "--store", old, "--study", "smoke").stdout
        assert "scale=unit" in study and "pooling=average" in study
    assert ",val/accuracy,3,0,6," in here("compare", "--store", old, "--searches", "--format", "csv").stdout


def test_its_search_is_finished_and_a_larger_budget_goes_on_with_it(old, images, one_process):
    search = [*SEARCH, f"data.dir={images}", f"store={old}"]
    before = tracking.load(str(old))
    again = here("tune", *search).stdout
    assert "3 trials had ended before" in again and "0 of 4 runs to do" in again
    assert list(tracking.load(str(old))["run_id"]) == list(before["run_id"])
    assert "random-9e4817: 4 trials" in here("tune", *search, "tuner.max_trials=4").stdout


def test_runs_of_an_earlier_recipe_are_neither_continued_nor_mixed_with_new_ones(tmp_path, images, one_process):
    old = unpacked(1, tmp_path)
    study = ["study=smoke", f"data.dir={images}", "compute.precision=float32", f"store={old}"]
    printed = here("train", *study, "study.dry_run=true").stdout
    assert "left as recorded: 14 runs of recipe 1" in " ".join(printed.split())
    assert printed.count("  new") == 3
    before = tracking.load(str(old))
    here(
        "train",
        *study,
        "study.rungs=[1]",
        "study.axes.model.pooling=null",
        "study.axes.data.scale=null",
        "data.validation_rows=auto",
    )
    after = tracking.load(str(old)).set_index("run_id")
    pd.testing.assert_frame_equal(after.loc[before["run_id"], ["status", "val/accuracy"]].reset_index(),
                                  before[["run_id", "status", "val/accuracy"]])  # fmt: skip
    names = here("compare", "--store", old, "--epochs", "1").stdout
    assert "(recipe 1)" in names and "(recipe 2)" in names
    assert "begun with recipe=1, but now it is 2" in mistake("tune", *SEARCH, f"data.dir={images}", f"store={old}",
                                                             "tuner.name=random-1d6b41")  # fmt: skip
