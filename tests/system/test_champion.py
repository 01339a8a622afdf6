"""The champion's way: chosen by a verdict, tried out, registered, shown, asked and served; and what is refused."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import requests
from commands import ROOT, here, mistake, work_here
from idx import synthetic, write_idx
from invented import configs, write
from PIL import Image
from test_runs import changed, in_json

from fmnist import run, tracking
from fmnist.config import CLASSES
from fmnist.study.compose import compose_config
from fmnist.study.prediction import in_use
from fmnist.tracking.registry import Registry, load_model, model_of, probabilities
from fmnist.training.data import load

SMALL = ["model.filters=2", "model.kernel_size=3", "model.dense_units=8", "batch_size=32"]
FIRST = ["--where", "seed=0", "--where", "model.pooling=average"]
SETTLED = ["study.seeds=[0,1]", "study.most_seeds=2", "study.margin=100"]  # after two seeds no difference matters


@pytest.fixture(scope="module")
def original(images, tmp_path_factory):
    """A sweep's runs: two seeds of each pooling after an epoch."""
    folder = tmp_path_factory.mktemp("champion")
    options = [*SMALL, "study.rungs=[1]", "study.seeds=[0,1]", f"data.dir={images}", f"store={folder}"]
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        here("train", "study=pooling", *options)
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


def test_a_champion_s_whole_way_from_a_sweep_to_the_next_champion(store, tmp_path):
    """Chosen by a verdict, shown, asked, served, trained again from its record, and succeeded."""
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
    config = in_use(store, "champion")[2]
    pixels, recorded = load(config.data).test_images[:100], tracking.Store(store).predictions(champion)
    (tmp_path / "picture.png").write_bytes(picture(pixels[0, ..., 0]))
    (said,) = json.loads(here("champion", "predict", tmp_path / "picture.png", "--store", store, "--json").stdout)
    assert said["class"] == CLASSES[recorded["test_predicted"][0]]
    check_server(store, config, pixels, recorded["test_predicted"][:100])
    said = here("reproduce", "champion", "--store", store).stdout
    assert said.startswith(f"run {champion[:8]}, made by commit ") and "bit-exact: 37 metrics" in said
    assert "the champion stays what it is" in here("champion", *options(store)).stdout
    assert "version 2 is the champion" in here("champion", *options(store, *SETTLED, other[:8])).stdout
    assert aliases(store) == {"champion": other, "previous": champion}


def test_only_a_run_that_has_finished_and_is_known_is_promoted(store):
    assert "there are no runs in" in mistake("champion", "promote", "--store", store / "nowhere")
    assert "fashion-mnist has no champion yet; python -m" in mistake("champion", "show", "--store", store)
    assert "needs --study NAME" in mistake("champion", *options(store, "data.limit=300", study=False))
    assert "of 4 recorded runs none matches" in mistake("champion", *options(store, "--epochs", "7"))
    assert "run 'zz': of 4 recorded runs none begins so" in mistake("champion", *options(store, "zz"))
    first, second = (row["run_id"] for row in runs(store))
    tracking.Store(store).close(first, "FAILED")
    tracking.Store(store).close(second, "RUNNING")
    assert f"run {first[:8]} has failed; only" in mistake("champion", *options(store, first))
    assert f"run {second[:8]} has not finished (RUNNING); only" in mistake("champion", *options(store, second))


def test_only_a_run_whose_predictions_its_model_repeats_is_promoted(store, tmp_path):
    opened, (run_id, other) = tracking.Store(store), (row["run_id"] for row in runs(store))
    write_idx(tmp_path / "other", *synthetic(600, 200, seed=1))
    foreign = write(opened, next(configs(1)))
    assert f"run {foreign[:8]} saw other data (" in mistake("champion", "promote", foreign, "--store", store)
    elsewhere = options(store, run_id, f"data.dir={tmp_path / 'other'}")
    assert f"run {run_id[:8]} saw other data (digest " in mistake("champion", *elsewhere)
    arrays = opened.predictions(run_id)
    arrays["test_predicted"][0] = (arrays["test_predicted"][0] + 1) % 10
    np.savez(store / "artifacts" / run_id / "artifacts" / tracking.PREDICTIONS, **arrays)
    assert "its model says otherwise of 1 of 200 test images" in mistake("champion", *options(store, run_id))
    _, place = model_of(opened, other)
    (file,) = (store / "artifacts").glob(f"**/{place.split('/')[-2]}/**/*.keras")
    file.write_bytes(file.read_bytes()[:1000])
    remedy = f"python -m fmnist.reproduce {other[:8]} --keep trains it again and keeps it"
    assert remedy in mistake("champion", *options(store, other))
    assert aliases(store) == {}


def test_a_run_without_its_model_is_refused_with_the_command_that_trains_it_with_one(original, tmp_path):
    here(
        "runs",
        "export",
        tmp_path / "runs.zip",
        "--where",
        "seed=0",
        "--where",
        "model.pooling=max",
        "--store",
        original,
    )
    here("runs", "import", tmp_path / "runs.zip", "--store", tmp_path / "imported")
    said = mistake("champion", *options(tmp_path / "imported"))
    assert "has no model in this store, as one that was exported without --models; python -m fmnist.reproduce " in said


# ---- Models and checkpoints that travel -------------------------------------------------------------------


@pytest.fixture(scope="module")
def learnt(original, tmp_path_factory):
    """The first run of average pooling in a file, with all that it has learnt."""
    file = tmp_path_factory.mktemp("learnt") / "runs.zip"
    here("runs", "export", file, "--models", "--checkpoints", *FIRST, "--store", original)
    return file


def test_a_model_and_a_checkpoint_go_on_where_they_were_carried_to(original, store, learnt, images, tmp_path):
    there, small = tmp_path / "there", tmp_path / "small.zip"
    here("runs", "export", small, *FIRST, "--store", original)
    here("runs", "import", small, "--store", there)  # what was learnt follows later
    assert model_of(tracking.Store(there), runs(there)[0]["run_id"]) is None
    assert here("runs", "import", learnt, "--store", there).stdout.startswith("0 runs imported; 1 run had been there\n")
    row, here_too = runs(there)[0], runs(store)[0]
    promoted = here("champion", *options(there, *SETTLED, row["run_id"][:8], f"data.dir={images}")).stdout
    assert "version 1 is the c" in promoted
    more = [*SMALL, "compute.threads=1", "epochs=2", "model.pooling=average", "seed=0", f"data.dir={images}"]
    config = compose_config(more)
    pixels, made = load(config.data).test_images, []
    for folder, run_id in ((there, row["run_id"]), (store, here_too["run_id"])):
        opened = tracking.Store(folder)
        made.append(probabilities(load_model(opened.uri, model_of(opened, run_id)[1], config), pixels))
    assert np.array_equal(*made)
    longer = [run.execute(compose_config(["study=pooling", *more, f"store={at}"])) for at in (there, store)]
    assert [outcome.trained for outcome in longer] == [1, 1]
    ends = [{key: value for key, value in one.metrics.items() if "time/" not in key} for one in longer]
    assert ends[0] == ends[1]
    kept = [tracking.Store(at).predictions(one.run_id) for at, one in zip((there, store), longer, strict=True)]
    assert all(np.array_equal(kept[0][name], kept[1][name]) for name in kept[0])


def swap(group, name, other):
    return in_json(lambda facts: facts[group].update({name: facts[group][other]}))


def without_a_weight(members):
    (facts,) = (json.loads(content) for name, content in members.items() if name.startswith("runs/"))
    members.pop(facts["model"]["model/conv1/kernel"])


WRONG, OTHER = "are not those of the network", "of other epochs"
LEARNT = {
    "no bias": (in_json(lambda facts: facts["model"].pop("model/dense/bias")), "weights, but it has"),
    "a bias of another shape": (swap("model", "model/dense/bias", "model/dense/kernel"), "weights, but it has"),
    "a name that is a path": (in_json(lambda facts: facts["model"].update({"../x": "files/x.npy"})), "model.../x"),
    "a program": (in_json(lambda facts: facts["model"].update({"MLmodel": "files/x.npy"})), "model.MLmodel"),
    "weights as images": (swap("model", "example", "model/conv1/bias"), "is no image"),
    "images alone": (in_json(lambda f: f.update(model={"example": f["model"]["example"]})), "is no image"),
    "no optimizer": (in_json(lambda facts: facts["checkpoint"].pop("optimizer/00")), WRONG),
    "another moment": (swap("checkpoint", "optimizer/02", "optimizer/00"), WRONG),
    "no history": (in_json(lambda facts: facts.pop("history")), OTHER),
    "a history alone": (in_json(lambda facts: facts.pop("checkpoint")), OTHER),
    "too many epochs": (in_json(lambda facts: facts.update(history=facts["history"] * 2)), OTHER),
    "half an epoch": (in_json(lambda facts: facts["history"][0].pop("val/loss")), OTHER),
    "no number": (in_json(lambda f: f["history"][0].update({"val/loss": float("nan")})), "history.0.val/loss"),
    "a lost member": (without_a_weight, "it lacks files/"),
}


@pytest.mark.parametrize("name", LEARNT)
def test_a_file_whose_weights_cannot_be_is_refused_and_nothing_is_changed(name, learnt, tmp_path):
    change, reason = LEARNT[name]
    (tmp_path / "bad.zip").write_bytes(changed(learnt, change))
    said = mistake("runs", "import", tmp_path / "bad.zip", "--store", tmp_path / "store")
    assert reason in said and "nothing was changed" in said and not (tmp_path / "store").exists()


# ---- Asked --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def champion(original):
    """The store with a champion, its config, and what its run has recorded of the test images."""
    here("champion", *options(original, *SETTLED))
    _, version, config = in_use(original, "champion")
    return original, version, config, tracking.Store(original).predictions(version.run_id)


def picture(pixels, **how):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, **{"format": "PNG", **how})
    return stream.getvalue()


def test_pictures_of_any_kind_are_predicted_as_the_images_were_and_damaged_ones_are_named(
    champion, images, tmp_path, monkeypatch
):
    store, _, config, recorded = champion
    pixels, folder = load(config.data).test_images[0, ..., 0], tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(pixels))
    (folder / "b.PNG").write_bytes(picture(255 - pixels))
    (folder / "c.png").write_bytes(picture(pixels.astype(np.uint16) * 257))
    (folder / "d.jpg").write_bytes(picture(255 - pixels, format="JPEG", quality=100))
    large = Image.fromarray(255 - pixels).resize((280, 280), Image.Resampling.NEAREST).convert("RGBA")
    (folder / "e.png").write_bytes(picture(np.asarray(large)))
    (folder / "notes.txt").write_text("no picture")
    (folder / "x.png").write_bytes(picture(pixels)[:300])
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(picture(np.zeros((9000, 9000), bool)))))
    asked = ["predict", folder, "-", tmp_path / "none.png", "--store", store]
    done = here("champion", *asked, "--json", code=2)
    *said, damaged, bomb, missing = json.loads(done.stdout)
    assert [row["inverted"] for row in said] == [False, True, False, True, True]
    assert [row["class"] for row in said] == [CLASSES[recorded["test_predicted"][0]]] * 5
    assert {said[number]["probability"] for number in (0, 1, 2, 4)} == {said[0]["probability"]}
    assert said[0]["probability"] == pytest.approx(recorded["test_probabilities"][0].max(), abs=1e-3)
    assert "damaged" in damaged["error"] and "pixels" in bomb["error"] and "No such file" in missing["error"]
    assert done.stderr.count("\n") == 3
    table = here("champion", *asked[:1], folder / "b.PNG", *asked[-2:]).stdout
    assert "b.PNG" in table and "bright: inverted" in table


def check_server(store, config, pixels, recorded):
    """The model server answers as the model does, bit for bit, and refuses what is no picture."""
    place = in_use(store, "champion")[1].place
    with serving(store) as (process, address):
        headers = {"content-type": "application/json"}

        def post(inputs):
            data = inputs if isinstance(inputs, bytes) else json.dumps({"inputs": inputs}).encode()
            return requests.post(address, data, headers=headers, timeout=60)

        def answers():
            made = np.array(post(pixels.tolist()).json()["predictions"], np.float32)
            model = load_model(tracking.address(store), place, config)
            assert np.array_equal(made, probabilities(model, pixels))
            assert np.array_equal(made.argmax(axis=1), recorded)

        answers()
        numbers = pixels[:1].astype(float)
        wrong = [numbers[:, :27], numbers * np.nan, numbers - 1, np.zeros(0)]
        refused = [post(each.tolist()) for each in wrong] + [
            post("text"),
            post(b""),
            post(b"text"),
            post(b"[" * 99_999),
        ]
        assert [each.status_code for each in refused] == [400] * 8
        assert requests.post(address, b"{}", timeout=60).status_code == 400  # without a type
        assert post(b" " * 65_000_000).status_code == 413
        answers()
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(20) == 0 and psutil.wait_procs(children, timeout=1)[1] == []


@contextmanager
def serving(store):
    """The command as it serves a store's champion, and the address that it tells."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "fmnist.champion", "serve", "--port", str(port), "--store", str(store)]
    surroundings = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    with subprocess.Popen(command, cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.terminate()
