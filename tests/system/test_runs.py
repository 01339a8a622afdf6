"""Runs carried from store to store in a file: nothing lost, nothing doubled, and nothing taken from a bad file."""

import io
import json
import random
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import here, mistake
from invented import configs, write
from test_old_store import unpacked

from fmnist import artifacts, machine, provenance, tracking
from fmnist.config import Config, UserError, from_flat
from fmnist.identity import parameters, run_name, sign
from fmnist.run import describe
from fmnist.schema import Status
from fmnist.tracking import portable, transfer
from fmnist.tracking.portable import RunFile
from fmnist.training.locking import exclusively
from fmnist.work import disposal, redrawing

PREDICTIONS = {
    "test_labels": np.arange(200, dtype=np.uint8) % 10,
    "test_predicted": np.arange(200, dtype=np.uint8) % 7,
    "test_probabilities": np.full((200, 10), 0.1, np.float16),
    "val_rows": np.arange(60, dtype=np.int32),
    "val_labels": np.arange(60, dtype=np.uint8) % 10,
    "val_predicted": np.arange(60, dtype=np.uint8) % 9,
}


def filled(folder, chosen):
    """A store of these runs, the last of which has failed."""
    store = tracking.Store(str(folder))
    for config in chosen[:-1]:
        writer = tracking.RunWriter(store.client, write(store, config))
        writer.texts({"config.yaml": "seed: 0\n", "provenance/packages.json": "{}"})
        writer.arrays(tracking.PREDICTIONS, **PREDICTIONS)
    data = SimpleNamespace(digest="0123456789abcdef", train_labels=range(60_000), test_labels=range(10_000))
    signatures = sign(chosen[-1], data.digest)
    description = describe(chosen[-1], signatures, data)
    store.begin(run_name(chosen[-1]), signatures.run, parameters(chosen[-1]), description).fail("too hot")
    return folder


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    """The pictures of a run, which every import draws alike, are drawn by the first."""
    draw, drawn = artifacts.redrawn, {}

    def once(run):
        if run.facts.id not in drawn:
            drawn[run.facts.id] = draw(run)
        return drawn[run.facts.id]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "redrawn", once)
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A seed at 1, 3 and 10 epochs, another at 1, which failed at 3."""
    return filled(tmp_path_factory.mktemp("original"), list(configs(5)))


@pytest.fixture(scope="module")
def file(original, tmp_path_factory):
    """All of it in a file."""
    file = tmp_path_factory.mktemp("file") / "runs.zip"
    assert "5 runs" in here("runs", "export", file, "--store", original).stdout
    return file


@pytest.fixture(scope="module")
def imported(file, tmp_path_factory):
    """A store that was empty."""
    folder = tmp_path_factory.mktemp("imported")
    assert here("runs", "import", file, "--store", folder).stdout.startswith("5 runs imported, without their pictures")
    return folder


def leaderboard(store):
    rows = json.loads(here("compare", "--store", store, "--format", "json").stdout)
    return [{key: value for key, value in row.items() if key != "run_id"} for row in rows]


def test_an_imported_store_gives_the_same_leaderboard_and_the_same_file(original, file, imported, tmp_path):
    assert leaderboard(imported) == leaderboard(original)
    here("runs", "export", tmp_path / "again.zip", "--store", imported)
    assert (tmp_path / "again.zip").read_bytes() == file.read_bytes()


def test_rows_that_validate_travel_in_their_order_each_with_what_was_said_of_it_in_a_byte():
    rng = np.random.default_rng(0)
    made = {"val_rows": rng.permutation(60_000)[:6000].astype(np.int32), "test_labels": np.arange(9, dtype=np.uint8)}
    made |= {name: rng.integers(10, size=6000).astype(np.uint8) for name in ("val_labels", "val_predicted")}
    packed = portable._packed(made)
    assert packed["val_steps"].nbytes == 6000
    back, rows = portable._unpacked(packed), made["val_rows"]
    assert np.array_equal(back["val_rows"], np.sort(rows)) and np.array_equal(back["test_labels"], made["test_labels"])
    for name in ("val_labels", "val_predicted"):
        assert np.array_equal(back[name][np.searchsorted(back["val_rows"], rows)], made[name])


def test_runs_keep_all_that_is_recorded_of_them_and_get_their_pictures_again(original, imported):
    stores = tracking.Store(str(original)), tracking.Store(str(imported))
    ours, theirs = ({run.signature: run for run in store.all_runs()} for store in stores)
    for signature, run in ours.items():
        copy = theirs[signature]
        assert (copy.name, copy.status, copy.start_time, copy.ended) == (
            run.name, run.status, run.start_time, run.ended
        )  # fmt: skip
        assert copy.params == run.params and copy.metrics == run.metrics
        own = {key: value for key, value in run.tags.items() if key != "mlflow.user"}  # who made it stays at home
        assert copy.tags[transfer.ORIGIN.tag] == run.run_id and own.items() <= copy.tags.items()
    (first,) = (run for run in ours.values() if "seed 0 · 3 epochs" in run.name)
    copy = theirs[first.signature]
    histories = (store.histories([run.run_id]) for store, run in zip(stores, (first, copy), strict=True))
    pd.testing.assert_frame_equal(*(frame for history in histories for frame in history.values()))
    seen = [inputs(store, each) for store, each in zip(stores, (first, copy), strict=True)]
    assert (
        seen[0] == seen[1] and len(seen[0]) == 3 and all("mlflow_tensorspec" in data["schema"] for data, _ in seen[0])
    )
    kept = stores[1].predictions(copy.run_id)
    assert set(kept) == {name for name in PREDICTIONS if "probabilities" not in name}
    assert all(np.array_equal(kept[name], PREDICTIONS[name]) for name in kept)
    pictures = {
        each.path.split("/")[1].split("+")[0] for each in stores[1].client.list_artifacts(copy.run_id, "images")
    }
    assert pictures == {"curves", "confusion_matrix"}
    assert stores[1].error(next(run.run_id for run in theirs.values() if run.status == "FAILED")) == "too hot"


def inputs(store, run):
    """The data that a run saw, with the tags of each."""
    found = store.client.get_run(run.run_id).inputs.dataset_inputs
    return sorted(((dict(each.dataset), [dict(tag) for tag in each.tags]) for each in found), key=str)


def test_what_a_store_has_stays_and_what_two_have_gives_the_whole(original, file, imported, tmp_path):
    half = filled(tmp_path / "half", list(configs(3)))  # of other hours; the last has failed here and finished there
    before = set(tracking.load(half)["run_id"])
    assert "3 runs imported" in here("runs", "import", file, "--store", half).stdout
    runs = tracking.load(half)
    assert before <= set(runs["run_id"]) and len(runs) == 6
    finished = runs[runs["status"] == "FINISHED"]
    assert len(finished) == 4 and finished["signature"].is_unique
    said = here("runs", "import", file, "--store", half).stdout
    assert said == "0 runs imported; 5 runs had been there\n"
    pd.testing.assert_frame_equal(tracking.load(half), runs)
    part = tmp_path / "part.zip"
    here("runs", "export", part, "--store", original, "--where", "seed=1")
    other = tmp_path / "other.zip"
    here("runs", "export", other, "--store", original, "--where", "seed=0")
    for each in (part, other, file):
        here("runs", "import", each, "--store", tmp_path / "merged")
    assert leaderboard(tmp_path / "merged") == leaderboard(original)


def test_processes_draw_the_same_pictures_in_the_order_of_the_runs(file, monkeypatch):
    monkeypatch.setattr(redrawing, "FEW", 1)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    runs = list(RunFile(file))
    for run, (other, pictures) in zip(runs, redrawing.drawn(iter(runs)), strict=True):
        here_drawn = artifacts.redrawn(run)
        assert run is other and pictures.keys() == here_drawn.keys()
        assert pictures == {name: tracking.encoded(*picture) for name, picture in here_drawn.items()}


@pytest.mark.parametrize("after", ["create_run", "log_batch", "log_artifacts", "set_terminated"])
def test_an_import_that_was_interrupted_ends_complete_and_without_doubles(after, original, file, tmp_path, monkeypatch):
    from fmnist.tracking.client import Client

    calls, honest = [], Client.__getattr__

    def dying(self, name):
        calls.extend([name] * (name == after))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(self, name)

    monkeypatch.setattr(Client, "__getattr__", dying)
    assert "goes on where an import stopped" in here("runs", "import", file, "--store", tmp_path, code=130).stderr
    monkeypatch.undo()
    assert len(tracking.load(tmp_path)) < 5
    here("runs", "import", file, "--store", tmp_path)
    assert len(tracking.load(tmp_path)) == 5 and leaderboard(tmp_path) == leaderboard(original)
    here("runs", "export", tmp_path / "again.zip", "--store", tmp_path)
    assert (tmp_path / "again.zip").read_bytes() == file.read_bytes()


def test_two_imports_into_one_store_do_not_come_between_each_other(file, imported):
    with exclusively(str(imported), "import", wait=False):
        assert "another import into" in mistake("runs", "import", file, "--store", imported)


@pytest.mark.parametrize("recipe", [1, 2])
def test_runs_of_earlier_versions_travel_too(recipe, tmp_path):
    old = unpacked(recipe, tmp_path / "old")
    here("runs", "export", tmp_path / "runs.zip", "--store", old, "--where", "epochs=1")
    here("runs", "import", tmp_path / "runs.zip", "--store", tmp_path / "new")
    ours, theirs = tracking.load(old).query("epochs == 1"), tracking.load(tmp_path / "new")
    assert dict(zip(theirs["signature"], theirs["status"], strict=True)) == dict(
        zip(ours["signature"], ours["status"], strict=True)
    )
    assert "FAILED" in set(theirs["status"])


def test_probabilities_travel_where_they_are_asked_for(original, tmp_path):
    here("runs", "export", tmp_path / "runs.zip", "--store", original, "--probabilities", "--where", "epochs=10")
    assert all("test_probabilities" in run.predictions for run in RunFile(tmp_path / "runs.zip"))


# ---- Single runs ------------------------------------------------------------------------------------------


def test_runs_are_listed_the_latest_first(original):
    lines = here("runs", "list", "--store", original).stdout.splitlines()
    assert len(lines) == 7 and "FAILED" in lines[2]
    assert len(here("runs", "list", "--store", original, "--where", "epochs=10").stdout.splitlines()) == 3


def test_a_run_is_shown_by_its_first_letters_here_or_where_it_was_made(original, imported):
    run = next(run for run in tracking.Store(str(original)).all_runs() if "seed 0 · 3 epochs" in run.name)
    for store, letters in ((original, run.run_id), (imported, run.run_id[:12])):
        said = here("runs", "show", letters, "--store", store).stdout
        assert said.startswith("baseline · seed 0 · 3 epochs\n") and run.run_id in said
        assert "python -m fmnist.train compute.precision=float32 compute.threads=1 epochs=3" in said
        assert f"{run.metrics['test/accuracy']:.2%}".replace("%", " %") in said and "config.yaml" in said
    assert "too hot" in here("runs", "show", failed(imported), "--store", imported).stdout


def failed(store):
    return next(run.run_id for run in tracking.Store(str(store)).failed())


def test_the_difference_of_two_runs_is_what_was_asked_and_what_came_of_it(original):
    runs = {run.name: run.run_id for run in tracking.Store(str(original)).all_runs()}
    first, second = runs["baseline · seed 0 · 1 epoch"], runs["baseline · seed 1 · 1 epoch"]
    rows = [line.split() for line in here("runs", "diff", first, second, "--store", original).stdout.splitlines()[2:]]
    differing = {row[0]: row[1:] for row in rows}
    assert differing["seed"] == ["0", "1"] and "val/loss" in differing and "epochs" not in differing
    assert "differ in nothing" in here("runs", "diff", first, first, "--store", original).stdout


def test_a_run_that_is_not_there_or_not_named_clearly_is_refused(original, tmp_path):
    assert "of 5 recorded runs none begins so" in mistake("runs", "show", "xyz", "--store", original)
    assert "the beginning of 5 runs: " in mistake("runs", "show", "", "--store", original)
    assert "there are no runs in" in mistake("runs", "show", "a", "--store", tmp_path / "none")


# ---- Removing -----------------------------------------------------------------------------------------------


@pytest.fixture
def full(tmp_path):
    """A store of four runs that finished and one that failed, each with a checkpoint as a sweep leaves it."""
    folder = filled(tmp_path / "full", list(configs(5)))
    for run in tracking.Store(str(folder)).all_runs():
        file = folder / "checkpoints" / run.trajectory / f"rung-{int(run.params['epochs']):04d}.ckpt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"0" * 1000)
    return folder


def checkpoints(folder):
    return sorted(f"{file.parent.name[:4]} {file.stem}" for file in (folder / "checkpoints").rglob("*.ckpt"))


def named(folder):
    return {run.name: run for run in tracking.Store(str(folder)).all_runs()}


def test_a_run_is_removed_with_its_files_and_no_other_is(full):
    runs, before = named(full), checkpoints(full)
    gone, kept = runs["baseline · seed 0 · 3 epochs"], runs["baseline · seed 0 · 10 epochs"]
    said = here("runs", "remove", gone.run_id[:12], "--yes", "--store", full).stdout
    assert said.startswith(f"{gone.run_id[:8]}  baseline · seed 0 · 3 epochs\n1 run removed, ")
    assert named(full).keys() == runs.keys() - {gone.name}
    assert set(before) - set(checkpoints(full)) == {f"{gone.trajectory[:4]} rung-0003"}
    assert not (full / "artifacts" / gone.run_id).exists() and (full / "artifacts" / kept.run_id).exists()
    assert here("runs", "tidy", "--yes", "--store", full).stdout == "there is nothing to remove\n"


def test_the_last_runs_of_a_path_take_all_its_checkpoints_along(full):
    runs = [run for run in named(full).values() if "seed 0" in run.name]
    here("runs", "remove", *(run.run_id for run in runs), "--yes", "--store", full)
    assert not (full / "checkpoints" / runs[0].trajectory).exists() and len(named(full)) == 2


def test_nothing_is_removed_where_nobody_can_be_asked(full, monkeypatch):
    run, before = named(full)["baseline · seed 0 · 3 epochs"], checkpoints(full)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ended = here("runs", "remove", run.run_id, "--store", full, code=2)
    assert ended.stderr.count("\n") == 1 and "add --yes" in ended.stderr
    assert checkpoints(full) == before and run.name in named(full)


def test_leftovers_are_counted_in_words_that_agree(tmp_path):
    files = [
        disposal.Leftover(tmp_path / "none", kind) for kind in (disposal.CHECKPOINTS, disposal.DELETED) for _ in "ab"
    ]
    assert disposal.summary(files) == "2 checkpoints that no run continues, 2 folders of deleted runs: 0.0 MB"


def test_files_of_runs_that_are_gone_are_tidied_away_and_those_of_others_stay(full):
    store, run = tracking.Store(str(full)), named(full)["baseline · seed 1 · 1 epoch"]
    for orphan in (full / "artifacts" / ("a" * 32), full / "checkpoints" / "b000"):
        orphan.mkdir()
        (orphan / "file.ckpt").write_bytes(b"0" * 1000)
    store.client.delete_run(run.run_id)  # as MLflow's UI does it
    before = checkpoints(full)
    said = here("runs", "tidy", "--dry-run", "--store", full).stdout
    assert "1 checkpoint that no run continues, 1 folder of deleted runs, 1 folder without a run: 0.0 MB" in said
    assert checkpoints(full) == before
    assert "MB freed" in here("runs", "tidy", "--yes", "--store", full).stdout
    assert set(before) - set(checkpoints(full)) == {"b000 file"}  # the failed run of that path may be tried again
    assert {path.name for path in (full / "artifacts").iterdir()} >= {run.run_id for run in named(full).values()} - {
        failed(full)
    }
    assert not (full / "artifacts" / run.run_id).exists() and not (full / "artifacts" / ("a" * 32)).exists()


def test_what_a_sweep_under_way_may_continue_is_never_removed(full):
    store, runs = tracking.Store(str(full)), named(full)
    run = runs["baseline · seed 0 · 3 epochs"]
    plan = {"process": machine.this_process(), "runs": [{"trajectory": run.trajectory}, {"trajectory": "b000"}]}
    record = store.sweeps.announce("a sweep", plan)
    (full / "checkpoints" / "b000").mkdir()
    (full / "checkpoints" / "b000" / "epoch-0001.ckpt").write_bytes(b"0")
    assert "is used by a sweep" in mistake("runs", "remove", run.run_id, "--yes", "--store", full)
    assert here("runs", "tidy", "--yes", "--store", full).stdout == "there is nothing to remove\n"
    store.close(record, "FINISHED")
    with exclusively(str(full), "b000", wait=False):  # a single run
        here("runs", "tidy", "--yes", "--store", full)
        assert "b000 epoch-0001" in checkpoints(full)
    here("runs", "tidy", "--yes", "--store", full)
    assert "b000 epoch-0001" not in checkpoints(full)


# ---- Bad files --------------------------------------------------------------------------------------------


def changed(file, change):
    """The bytes of a copy whose members by name `change` has changed."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def in_json(edit, prefix="runs/"):
    """A change of the last JSON with that name."""

    def change(members):
        name = next(name for name in reversed(members) if name.startswith(prefix) and "FINISHED" in str(members[name]))
        facts = json.loads(members[name])
        edit(facts)
        members[name] = json.dumps(facts).encode()

    return change


def about(**edit):
    return lambda members: members.update({"about.json": json.dumps(json.loads(members["about.json"]) | edit).encode()})


def array(content):
    def change(members):
        name = next(name for name in members if name.endswith(".npy"))
        members[name] = content(members[name])

    return change


def deep(members):
    members[next(name for name in members if name.startswith("runs/"))] = b"[" * 99_999


BAD = {
    "no about": (lambda members: members.pop("about.json"), "it lacks about.json"),
    "another format": (about(format="cats"), "no file of runs but of 'cats'"),
    "newer": (about(version=3), "it is of version 3, and this fmnist reads 2; update it"),
    "version true": (about(version=True), "it is of version true"),
    "about is a list": (lambda members: members.update({"about.json": b"[]"}), "does not say so"),
    "deep about": (lambda members: members.update({"about.json": b"[" * 99_999}), "does not say so"),
    "bomb": (lambda members: members.update({"files/bomb.txt": b"0" * 17_000_000}), "which no runs need"),
    "lost member": (lambda members: members.pop(next(name for name in members if ".yaml" in name)), "it lacks files/"),
    "run too many": (lambda members: members.update({f"runs/{'a' * 32}.json": b"{}"}), "other runs than it says"),
    "run too few": (about(runs=[]), "other runs than it says"),
    "runs are a number": (about(runs=5), "does not say so"),
    "deep run": (deep, "runs/"),
    "traversal": (in_json(lambda run: run["files"].update({"../x.txt": run["files"]["config.yaml"]})), "words with /"),
    "absolute": (in_json(lambda run: run["files"].update({"/x.txt": run["files"]["config.yaml"]})), "words with /"),
    "other suffix": (in_json(lambda run: run["files"].update({"x.txt": run["files"]["config.yaml"]})), "no text that"),
    "a program": (in_json(lambda run: run["files"].update({"x.py": run["files"]["config.yaml"]})), "no text that runs"),
    "member outside": (in_json(lambda run: run["files"].update({"config.yaml": "about.json"})), "files.config.yaml"),
    "another's id": (in_json(lambda run: run.update(id="b" * 32)), "it is that of run bbbb"),
    "id is a path": (in_json(lambda run: run.update(id="../" + "b" * 29)), "id: "),
    "running": (in_json(lambda run: run.update(status="RUNNING")), "status: "),
    "text for a number": (in_json(lambda run: run.update(start="1000")), "start: "),
    "long ago": (in_json(lambda run: run.update(start=-1)), "start: "),
    "far off": (in_json(lambda run: run.update(end=10**30)), "end: "),
    "nan": (in_json(lambda run: run["metrics"].update({"val/loss": [[1, 5, float("nan")]]})), "metrics.val/loss"),
    "infinite": (in_json(lambda run: run["metrics"].update({"val/loss": [[1, 5, float("inf")]]})), "metrics.val/loss"),
    "huge": (in_json(lambda run: run["metrics"].update({"val/loss": [[1, 5, 10**400]]})), "metrics.val/loss"),
    "no share": (in_json(lambda run: run["metrics"].update({"val/accuracy": [[1, 5, 2.0]]})), "from 0 to 1, but got 2"),
    "steps as text": (in_json(lambda run: run["metrics"].update({"x": [["1", 5, 2.0]]})), "metrics.x"),
    "no points": (in_json(lambda run: run["metrics"].update({"x": []})), "metrics.x"),
    "odd key": (in_json(lambda run: run["metrics"].update({"x\n": [[1, 5, 2.0]]})), "words with /"),
    "unknown field": (in_json(lambda run: run.update(model="x")), "model: "),
    "many tags": (in_json(lambda run: run["tags"].update({f"t{n}": "" for n in range(200)})), "tags: "),
    "long tag": (in_json(lambda run: run["tags"].update({"t": "x" * 9000})), "tags.t: "),
    "other options": (in_json(lambda run: run["params"].update({"batch_size": "64"})), "give another fmnist.signature"),
    "no options": (in_json(lambda run: run.update(params={})), "it has no parameters"),
    "unsigned": (in_json(lambda run: run["tags"].pop("fmnist.signature")), "has no fmnist.signature"),
    "array file": (in_json(lambda run: run["predictions"].update({"file": run["predictions"]["val_steps"]})), "file"),
    "array of objects": (array(lambda was: was.replace(b"|u1", b"|O8")), "of type object"),
    "huge array": (array(lambda was: was.replace(b"(200,), }          ", b"(9999999999999,), }")), "runs/"),
    "array of nothing": (array(lambda was: b""), "runs/"),
    "half an array": (array(lambda was: was[:200]), "of shape (200,) has"),
    "no classes": (array(lambda was: was[:-1] + b"\xff"), "classes reach from 0 to 255"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_says_what_cannot_be_is_refused_and_nothing_is_changed(name, file, tmp_path):
    change, reason = BAD[name]
    bad = tmp_path / "bad.zip"
    bad.write_bytes(changed(file, change))
    said = mistake("runs", "import", bad, "--store", tmp_path / "store")
    assert reason in said and "nothing was changed" in said and str(bad) in said
    assert not (tmp_path / "store").exists()


def test_a_damaged_or_truncated_file_is_refused_or_was_damaged_where_nothing_stands(file, tmp_path):
    whole, rng, bad = file.read_bytes(), random.Random(0), tmp_path / "bad.zip"
    good = [run.facts for run in RunFile(file)]
    spoilt = [whole[: rng.randrange(len(whole))] for _ in range(40)] + [b"", b"PK", b"x" * 999]
    for _ in range(200):
        content = bytearray(whole)
        content[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        spoilt.append(bytes(content))
    refused = 0
    for content in spoilt:
        bad.write_bytes(content)
        try:
            assert [run.facts for run in RunFile(bad)] == good  # a date, say
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and "nothing was changed" in str(error)
    assert refused > 200


# ---- Mistakes ---------------------------------------------------------------------------------------------


def test_mistakes_are_named_in_a_line_and_leave_nothing(original, file, tmp_path):
    assert "invalid choice: 'exprt'" in mistake("runs", "exprt")
    assert "there are no runs in" in mistake("runs", "export", tmp_path / "x.zip", "--store", tmp_path / "none")
    assert "runs have no 'filters'; did you mean" in mistake(
        "runs", "export", tmp_path / "x.zip", "--store", original, "--where", "filters=3"
    )
    assert "of 5 recorded runs none matches" in mistake(
        "runs", "export", tmp_path / "x.zip", "--store", original, "--study", "smoke"
    )
    assert "needs --study" in mistake("runs", "export", tmp_path / "x.zip", "seed=1", "--store", original)
    assert "No such file" in mistake("runs", "import", tmp_path / "x.zip", "--store", tmp_path / "none")
    for name in ("", "/", "README.md", tmp_path):
        assert "must be a file that ends in .zip" in mistake("runs", "export", name, "--store", original)
    assert "Is a directory" in mistake("runs", "import", tmp_path, "--store", tmp_path / "none")
    assert "cannot write" in mistake("runs", "export", tmp_path / "no" / "x.zip", "--store", original)
    assert list(tmp_path.iterdir()) == []


def test_the_home_folder_of_who_made_a_run_does_not_travel(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "HOME", "/home/somebody")
    store = tracking.Store(str(tmp_path))
    writer = store.begin("run", "s1", {}, {})
    writer.data("/home/somebody/images", {"training": ("digest", 1)})
    writer.texts({"error.txt": "File /home/somebody/fmnist/run.py"})
    writer.end(Status.FAILED)
    run = transfer.take(store, writer.run_id)
    (data,) = run.facts.data
    assert "somebody" not in data.source and "~/images" in data.source
    assert run.texts == {"error.txt": "File ~/fmnist/run.py"}


def test_where_data_and_store_of_a_run_were_does_not_travel(tmp_path):
    config = from_flat(Config(), {"data.dir": "/data/images", "data.limit": 600, "store": str(tmp_path)})
    config.compute.backend = "tensorflow"
    store = tracking.Store(str(tmp_path))
    writer = store.begin("run", "s1", {}, {})
    writer.texts(provenance.files(config))
    writer.end(Status.FINISHED)
    options = transfer.take(store, writer.run_id).texts["config.yaml"]
    assert options == yaml.safe_dump(yaml.safe_load(options), sort_keys=False)
    assert yaml.safe_load(options)["data"]["limit"] == 600 and yaml.safe_load(options)["store"] == "mlruns"
    assert "/data/images" not in options and str(tmp_path) not in options
