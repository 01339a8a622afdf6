"""The champion's way: chosen by a verdict, tried out, registered, shown, asked and served; and what is refused."""

import shutil

import numpy as np
import pytest
from commands import here, mistake
from idx import synthetic, write_idx

from fmnist import run, tracking
from fmnist.study.compose import compose_config
from fmnist.tracking.registry import Registry, model_of

SMALL = ["model.filters=2", "model.kernel_size=3", "model.dense_units=8", "batch_size=32"]
SETTLED = ["study.seeds=[0,1]", "study.most_seeds=2", "study.margin=100"]  # after two seeds no difference matters


@pytest.fixture(scope="module")
def original(images, tmp_path_factory):
    """Two seeds of each pooling after an epoch."""
    folder = tmp_path_factory.mktemp("champion")
    for pooling in ("max", "average"):
        for seed in range(2):
            options = [*SMALL, "compute.threads=1", "epochs=1", f"model.pooling={pooling}", f"seed={seed}"]
            run.execute(compose_config(["study=pooling", *options, f"data.dir={images}", f"store={folder}"]))
    return folder


@pytest.fixture
def store(original, tmp_path):
    """The same elsewhere, to be changed."""
    shutil.copytree(original, tmp_path / "store")
    return tmp_path / "store"


def options(store, *more, study=True):
    """Of `promote`."""
    return ["promote", *(["--study", "pooling", *SMALL] if study else []), *more, "--store", store]


def runs(store, pooling="average"):
    """The runs of a variant by seed."""
    frame = tracking.load(store)
    return frame[frame["model.pooling"] == pooling].sort_values("seed").to_dict("records")


def aliases(store):
    return {alias: version.run_id for alias, version in Registry(tracking.Store(store)).versions().items()}


def test_what_a_verdict_supports_becomes_the_champion_and_the_one_before_stays_at_hand(store):
    said = here("champion", *options(store)).stdout
    assert "version 1 is the candidate" in said and "'make settle STUDY=pooling" in said
    said = here("champion", *options(store, *SETTLED)).stdout
    assert "version 1 is the champion" in said and "no difference from the baseline that matters" in said
    assert "As good, as far as its seeds tell, but no cheaper: baseline." in said
    champion, other = runs(store)[0]["run_id"], runs(store, "max")[1]["run_id"]
    assert aliases(store) == {"champion": champion}
    shown = here("champion", "show", "--store", store).stdout
    assert shown.startswith(f"champion   version 1, run {champion[:8]}: ")
    assert all(f"## {part}" in shown for part in ("Data", "Recipe", "Figures", "Weak classes", "Limits", "Again"))
    assert "the champion stays what it is" in here("champion", *options(store)).stdout
    assert "version 2 is the champion" in here("champion", *options(store, *SETTLED, other[:8])).stdout
    assert aliases(store) == {"champion": other, "previous": champion}


def test_only_a_run_that_has_finished_and_is_known_is_promoted(store):
    assert "there are no runs in" in mistake("champion", "promote", "--store", store / "nowhere")
    assert "fashion-mnist has no champion yet; python -m" in mistake("champion", "show", "--store", store)
    assert "needs --study NAME" in mistake("champion", *options(store, "data.limit=300", study=False))
    assert "none of the 4 recorded runs matches" in mistake("champion", *options(store, "--epochs", "7"))
    assert "run 'zz': no run of 4 recorded runs" in mistake("champion", *options(store, "zz"))
    first, second = (row["run_id"] for row in runs(store))
    tracking.Store(store).close(first, "FAILED")
    tracking.Store(store).close(second, "RUNNING")
    assert f"run {first[:8]} has failed; only" in mistake("champion", *options(store, first))
    assert f"run {second[:8]} has not finished (RUNNING); only" in mistake("champion", *options(store, second))


def test_only_a_run_whose_predictions_its_model_repeats_is_promoted(store, tmp_path):
    opened, (run_id, other) = tracking.Store(store), (row["run_id"] for row in runs(store))
    write_idx(tmp_path / "other", *synthetic(600, 200, seed=1))
    elsewhere = options(store, run_id, f"data.dir={tmp_path / 'other'}")
    assert f"run {run_id[:8]} saw other data (digest " in mistake("champion", *elsewhere)
    arrays = opened.predictions(run_id)
    arrays["test_predicted"][0] = (arrays["test_predicted"][0] + 1) % 10
    np.savez(store / "artifacts" / run_id / "artifacts" / tracking.PREDICTIONS, **arrays)
    assert "its model says otherwise of 1 of 200 test images" in mistake("champion", *options(store, run_id))
    _, place = model_of(opened, other)
    (file,) = (store / "artifacts").glob(f"**/{place.split('/')[-2]}/**/*.keras")
    file.write_bytes(file.read_bytes()[:1000])
    remedy = "train it again, into another store: python -m fmnist.train model.filters=2"
    assert remedy in mistake("champion", *options(store, other))
    assert aliases(store) == {}


def test_a_run_without_its_model_is_refused_with_the_command_that_trains_it_with_one(original, tmp_path):
    here("runs", "export", tmp_path / "runs.zip", "--store", original)
    here("runs", "import", tmp_path / "runs.zip", "--store", tmp_path / "imported")
    said = mistake("champion", *options(tmp_path / "imported", *SETTLED))
    assert "has no model in this store, as no imported run has; train it again, into another store: " in said
