"""What one run leaves in a real MLflow store."""

import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from invented import configs, write
from mlflow import MlflowClient
from submitit.core.utils import UncompletedJobError

from fmnist import identity, machine, provenance, run, signals, tracking
from fmnist.config import CLASSES, Config, DataConfig, ModelConfig, OptimizerConfig, UserError, from_flat
from fmnist.identity import parameters, sign
from fmnist.schema import PER_EPOCH, PICTURES
from fmnist.training.data import load
from fmnist.training.trajectory import DivergedError
from fmnist.words import percent


def tiny(images, store, **options):
    """A run of a second."""
    base = Config(
        data=DataConfig(dir=str(images)),
        model=ModelConfig(filters=4, kernel_size=3, dense_units=16),
        batch_size=32,
        epochs=2,
        store=str(store),
    )
    exact = {"compute.precision": "float32", "compute.threads": 1}
    return from_flat(base, exact | {key.replace("__", "."): value for key, value in options.items()})


@pytest.fixture(scope="module")
def recorded(images, tmp_path_factory):
    """A finished run: its config, what `execute` said, MLflow's record and a folder with its artifacts."""
    config = tiny(images, tmp_path_factory.mktemp("store"), optimizer__ema_momentum=0.9)  # what is saved is what scored
    outcome = run.execute(config)
    client = MlflowClient(tracking.address(config.store))
    folder = tmp_path_factory.mktemp("artifacts")
    client.download_artifacts(outcome.run_id, "", str(folder))
    return config, outcome, client.get_run(outcome.run_id), folder


def steps(config, run_id, metric):
    history = MlflowClient(tracking.address(config.store)).get_metric_history(run_id, metric)
    return [entry.step for entry in history]


def test_all_resolved_options_are_parameters(recorded):
    config, _, record, _ = recorded
    assert record.data.params == {key: tracking.as_text(value) for key, value in identity.recorded(config).items()}
    assert record.data.params.keys() - parameters(config).keys() == {"augment"}


def test_every_epoch_is_logged_once(recorded):
    config, outcome, _, _ = recorded
    for metric in PER_EPOCH:
        assert steps(config, outcome.run_id, metric) == [1, 2], metric


def test_final_scores_are_logged_once_for_each_class_by_name(recorded):
    config, outcome, record, _ = recorded
    finals = [f"test/{score}/{name}" for score in ("precision", "recall", "f1") for name in CLASSES]
    for metric in ["test/accuracy", "test/loss", "model/parameters", "time/images_per_s", *finals]:
        assert steps(config, outcome.run_id, metric) == [0], metric  # else the UI would draw a curve of one dot
    recalls = [record.data.metrics[f"test/recall/{name}"] for name in CLASSES]
    assert np.mean(recalls) == pytest.approx(record.data.metrics["test/accuracy"], abs=1e-6)  # as many of each class
    assert record.data.metrics["model/parameters"] == 4 * 10 + 4 * 37 + 16 * 101 + 170


def test_the_benchmarks_invented_runs_have_the_numbers_and_words_of_a_real_one(recorded, tmp_path):
    _, _, record, _ = recorded
    store = tracking.Store(str(tmp_path))
    invented = store.client.get_run(write(store, next(configs(1)))).data
    assert invented.metrics.keys() == record.data.metrics.keys()
    assert invented.params.keys() == record.data.params.keys()
    assert invented.tags.keys() - {"fmnist.study"} == record.data.tags.keys() - {"mlflow.loggedImages"}


def test_the_run_has_a_name_a_status_and_says_where_it_came_from(recorded):
    config, _, record, folder = recorded
    assert record.info.status == "FINISHED"
    name = "filters=4 kernel_size=3 dense_units=16 ema_momentum=0.9 batch_size=32 · seed 0 · 2 epochs"
    assert record.info.run_name == name
    tags = record.data.tags
    assert len(tags["fmnist.signature"]) == len(tags["fmnist.trajectory_signature"]) == 16
    assert tags["machine.cpu"] and tags["machine.gpu"] and tags["fmnist.data_digest"] == load(config.data).digest
    versions = json.loads((folder / "provenance/packages.json").read_text())
    assert {"keras", "tensorflow", "mlflow", "numpy"} <= set(versions)
    assert tags["mlflow.user"] and tags["mlflow.source.name"] == "fmnist.train"


def test_the_images_that_trained_validated_and_tested_are_three_data_sets(recorded):
    _, _, record, _ = recorded
    seen = {each.tags[0].value: each.dataset for each in record.inputs.dataset_inputs}
    rows = {name: json.loads(each.profile)["num_rows"] for name, each in seen.items()}
    assert rows == {"training": 540, "validation": 60, "test": 200}
    assert len({each.digest for each in seen.values()}) == 3
    assert all(json.loads(each.schema)["mlflow_tensorspec"]["features"] for each in seen.values())


def test_the_note_says_what_a_run_came_to_and_how_to_repeat_it(recorded):
    _, outcome, record, _ = recorded
    note = record.data.tags["mlflow.note.content"]
    assert note.startswith(f"**Validation accuracy {percent(outcome.metrics['val/accuracy'])}** after 2 epochs")
    assert "Variant: filters=4" in note and "Again: `python -m fmnist.train" in note


def test_the_record_says_how_many_images_validated_and_tested(recorded):
    config, _, _, folder = recorded
    predictions = np.load(folder / "predictions.npz")
    (row,) = tracking.load(config.store).query("epochs == 2").to_dict("records")
    assert row["test_images"] == len(predictions["test_labels"]) == 200
    assert row["validation_images"] == len(predictions["val_labels"]) == 60


def test_the_record_counts_the_rows_that_validate_though_a_limit_left_them_out(recorded):
    config = from_flat(recorded[0], {"data.limit": 300, "data.validation_rows": 200})
    dataset = load(config.data)
    described = run.describe(config, sign(config, dataset.digest), dataset)
    assert described["validation_images"] == 200
    assert described["variant"].startswith("limit=300 validation_rows=200")


def test_a_run_that_the_store_has_with_other_threads_is_told_of_before_it_is_trained(recorded):
    config, outcome, _, _ = recorded

    class ToldError(Exception):
        pass

    def tell(same):
        raise ToldError(same.run_id)

    with pytest.raises(ToldError, match=outcome.run_id):
        run.execute(from_flat(config, {"compute.threads": 2}), run.Listener(on_same=tell))
    assert run.execute(config, run.Listener(on_same=tell)).trained == 0


def test_pictures_stand_at_step_0_of_an_image_grid(recorded):
    names = sorted(file.name for file in (recorded[3] / "images").glob("*.png"))
    assert [name.split("+")[:3] for name in names] == [[key, "step", "0"] for key in PICTURES]


def test_tables_agree_with_each_other_and_with_the_metrics(recorded):
    _, _, record, folder = recorded
    matrix = pd.read_csv(folder / "confusion_matrix.csv", index_col="actual")
    assert list(matrix.columns) == list(matrix.index) == list(CLASSES)
    report = json.loads((folder / "classification_report.json").read_text())
    history = pd.read_csv(folder / "history.csv", index_col="epoch")
    predictions = np.load(folder / "predictions.npz")
    accuracy = record.data.metrics["test/accuracy"]
    assert np.trace(matrix) / matrix.to_numpy().sum() == pytest.approx(accuracy)
    assert report["accuracy"] == accuracy and report["Shirt"]["support"] == 20
    assert (predictions["test_predicted"] == predictions["test_labels"]).mean() == accuracy
    assert (predictions["val_predicted"] == predictions["val_labels"]).mean() == history["val/accuracy"][2]
    assert history["train/loss"][2] == record.data.metrics["train/loss"]
    assert predictions["test_probabilities"].shape == (200, 10)


def test_the_resolved_config_repeats_the_run(recorded):
    config, _, _, folder = recorded
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"] == vars(config.model)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of mlflow's loader
def test_the_model_loads_with_its_signature_and_predicts_what_was_recorded(recorded, monkeypatch):
    config, outcome, _, folder = recorded
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.address(config.store))
    model = mlflow.pyfunc.load_model(f"runs:/{outcome.run_id}/model")
    assert model.metadata.signature.inputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, 28, 28, 1)
    probabilities = model.predict(load(config.data).test_images[:20].astype(np.float32))
    np.testing.assert_allclose(probabilities, np.load(folder / "predictions.npz")["test_probabilities"][:20], atol=1e-3)


def test_the_model_says_what_it_was_made_with_and_what_it_is_worth_on_which_images(recorded):
    config, _, record, _ = recorded
    client = MlflowClient(tracking.address(config.store))
    model = client.get_logged_model(record.outputs.model_outputs[0].model_id)
    assert model.params == record.data.params
    scores = {metric.key: metric for metric in model.metrics}
    assert scores["test/accuracy"].value == record.data.metrics["test/accuracy"] and len(scores) == 32
    (test,) = (each.dataset for each in record.inputs.dataset_inputs if each.dataset.name == "fashion-mnist test")
    assert {(metric.dataset_name, metric.dataset_digest) for metric in scores.values()} == {(test.name, test.digest)}


def test_a_run_that_the_store_has_costs_nothing(recorded):
    config, first, _, _ = recorded
    again = run.execute(config)
    assert (again.run_id, again.trained) == (first.run_id, 0)
    assert again.metrics["test/accuracy"] == first.metrics["test/accuracy"]


def test_a_longer_budget_continues_the_shorter_one_and_equals_a_run_from_the_start(recorded, images, tmp_path):
    config, _, _, _ = recorded
    longer = run.execute(replace(config, epochs=3))
    alone = run.execute(replace(config, epochs=3, store=str(tmp_path)))
    assert (longer.trained, alone.trained) == (1, 3)
    untimed = [{k: v for k, v in found.metrics.items() if not k.startswith("time/")} for found in (longer, alone)]
    assert untimed[0] == untimed[1] and len(untimed[0]) > 30
    assert steps(config, longer.run_id, "val/accuracy") == [1, 2, 3]


def test_an_interrupted_run_is_killed_and_goes_on_in_the_same_record_without_a_double_step(images, tmp_path):
    config = tiny(images, tmp_path, epochs=3)

    def stop(epoch, record):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.execute(config, run.Listener(on_epoch=stop))
    (killed,) = tracking.load(config.store).to_dict("records")
    assert killed["status"] == "KILLED"
    outcome = run.execute(config)
    assert (outcome.run_id, outcome.trained) == (killed["run_id"], 1)
    assert steps(config, outcome.run_id, "val/accuracy") == [1, 2, 3]
    (finished,) = tracking.load(config.store).to_dict("records")
    assert finished["status"] == "FINISHED"


def test_a_cluster_s_time_limit_within_training_interrupts_the_run_and_is_no_failure_of_it(images, tmp_path):
    config = tiny(images, tmp_path, epochs=3)
    before = signal.getsignal(signal.SIGUSR2)

    def limit(number, frame):
        raise UncompletedJobError("Job not requeued because: timed-out too many times.")

    def at_the_limit(epoch, record):
        os.kill(os.getpid(), signal.SIGUSR2)

    signal.signal(signal.SIGUSR2, limit)
    try:
        with pytest.raises(UncompletedJobError), signals.interrupted_by_errors(signal.SIGUSR2):
            run.execute(config, run.Listener(on_epoch=at_the_limit))
        assert signal.getsignal(signal.SIGUSR2) is limit
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert list(tracking.load(config.store)["status"]) == ["KILLED"]
    assert run.execute(config).trained == 2  # goes on after the epoch at which it was stopped


def test_a_diverged_run_is_failed_and_keeps_its_traceback(images, tmp_path):
    config = replace(tiny(images, tmp_path), optimizer=OptimizerConfig(learning_rate=1e30))
    with pytest.raises(DivergedError, match=r"epoch 1, step \d+ of 16; lower optimizer.learning_rate=1e\+30"):
        run.execute(config)
    (failed,) = tracking.load(config.store).to_dict("records")
    assert failed["status"] == "FAILED"
    client = MlflowClient(tracking.address(config.store))
    note = client.get_run(failed["run_id"]).data.tags["mlflow.note.content"]
    assert note.startswith("**Failed**: DivergedError: the loss is no longer finite") and "Again: `" in note
    file = client.download_artifacts(failed["run_id"], "error.txt")
    assert "DivergedError" in Path(file).read_text()


def test_an_impossible_config_leaves_nothing(images, tmp_path):
    with pytest.raises(UserError):
        run.execute(tiny(images, tmp_path / "store", model__filters=0))
    assert not (tmp_path / "store").exists()


def test_a_package_in_somebody_elses_repository_names_none_of_its_commits(tmp_path, monkeypatch):
    assert len(provenance._git("rev-parse", "HEAD").strip()) == 40
    package = tmp_path / "environment" / "fmnist"
    package.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.setattr(provenance, "PACKAGE", package)
    assert provenance._git("rev-parse", "--show-toplevel") == ""


def test_what_is_uncommitted_is_kept_without_secrets_and_cut_where_it_is_long(tmp_path, monkeypatch):
    def git(*arguments):
        who = ("-c", "user.name=me", "-c", "user.email=me@here")
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, stdout=subprocess.DEVNULL)

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "nothing")
    secret = (".env.local", "keys/id_rsa", "keys/My.PEM", "Secrets/a.txt", "aws-credentials.json")
    for name in secret:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("hidden")
    (tmp_path / "a.py").write_text("uri = 'http://me:hidden@host'\n")
    (tmp_path / "z.txt").write_text("a line\n" * 1_000_000)
    git("add", "--all")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "fmnist")
    text = provenance.files(machine.resolve(Config()))["provenance/uncommitted.diff"]
    assert "hidden" not in text and "+uri = 'http://me:***@host'" in text
    assert all(f"# left out, for it may hold secrets: {name}\n" in text for name in secret)
    assert len(text) < 1_001_000 and text.splitlines()[-1].startswith("# cut off here: the whole diff has 8,000,")


def test_new_code_that_git_does_not_know_yet_is_kept_with_what_is_uncommitted(tmp_path, monkeypatch):
    git = ("git", "-C", tmp_path, "-c", "user.name=me", "-c", "user.email=me@here")
    for arguments in (("init", "--quiet"), ("commit", "--quiet", "--allow-empty", "--message", "nothing")):
        subprocess.run([*git, *arguments], check=True)
    for name in ("fmnist/layers.py", "conf/study/own.yaml", "fmnist/my.key", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"content of {name}\n")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "fmnist")
    text = provenance.files(machine.resolve(Config()))["provenance/uncommitted.diff"]
    assert "+content of fmnist/layers.py\n" in text and "+content of conf/study/own.yaml\n" in text
    assert "my.key" not in text and "notes.txt" not in text
    for name in ("fmnist", "conf"):
        shutil.rmtree(tmp_path / name)
    subprocess.run([*git, "apply"], input=text, text=True, check=True)
    assert (tmp_path / "fmnist" / "layers.py").read_text() == "content of fmnist/layers.py\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_commit_of_somebody_elses_checkout_is_known(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    os.chown(tmp_path, 65534, 65534)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "fmnist")
    assert provenance._git("rev-parse", "--show-toplevel").strip() == str(tmp_path)


def test_everything_a_run_writes_lies_in_its_store(recorded):
    config, _, record, _ = recorded
    assert record.info.artifact_uri.startswith(f"file://{config.store}/artifacts/")


def test_an_empty_store_is_an_empty_frame_with_all_columns(tmp_path):
    frame = tracking.load(str(tmp_path / "nothing"))
    assert frame.empty and {"run_id", "status", "val/accuracy", "test/accuracy", "epochs"} <= set(frame)
    assert not (tmp_path / "nothing").exists()
