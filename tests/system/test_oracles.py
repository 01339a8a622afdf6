"""Searches without a run: the space, what makes a search the one it is, and Keras Tuner's oracles as we mend them."""

import json
import random
import time
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from fmnist.analysis.importance import expected_best, importance
from fmnist.config import CONF, UserError
from fmnist.report.searches import importance_warning
from fmnist.search import oracles, trials
from fmnist.search.definition import check_agreement, definition, digest
from fmnist.search.limits import Limits, brackets
from fmnist.search.space import KINDS, TUNE, SearchConfig, TunerConfig, check_search, dimensions, to_run
from fmnist.study.compose import compose_config


@cache
def composed(*overrides):
    return compose_config(overrides, TUNE)


# ---- The space -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", sorted(file.stem for file in (CONF / "tuner" / "space").glob("*.yaml")))
def test_every_point_of_a_space_is_a_possible_run(space):
    search = composed("tuner=random", f"tuner/space={space}")
    found = dimensions(search.tuner.space)
    draw, names = oracles.hyperparameters(found), set()
    rng = random.Random(0)
    for _ in range(300):
        draw.values = {}
        for hp in draw.space:
            if draw.is_active(hp):
                draw.values[hp.name] = hp.random_sample(rng.randrange(2**32))
        names.add(str(to_run(search, found, draw.values)))  # checks it
    assert len(names) > 10


def test_what_is_not_active_has_the_value_it_has_otherwise():
    search = composed()
    found = dimensions(search.tuner.space)
    values = {"model.filters.0": 16, "model.filters.1": 64, "model.batch_norm": 1, "model.dropout": 0.123456789}
    off = to_run(search, found, values | {"augmented": 0})
    assert (off.augment.rotation, off.augment.horizontal_flip, off.augment.zoom) == (0.0, False, 0.0)
    assert off.model.filters == [16, 64] and off.model.batch_norm is True and off.model.dropout == 0.1235
    on = to_run(search, found, values | {"augmented": 1, "augment.rotation": 3.25, "augment.horizontal_flip": 1})
    assert on.augment.rotation == 3.25 and on.augment.horizontal_flip is True


def test_the_command_line_narrows_a_space_and_takes_dimensions_out():
    before = dimensions(composed().tuner.space)
    search = composed("tuner.space.model.dropout.max=0.2", "tuner.space.data.scale=null")
    after = dimensions(search.tuner.space)
    assert {entry.key for entry in before} - {entry.key for entry in after} == {"data.scale"}
    assert next(entry for entry in after if entry.key == "model.dropout").high == 0.2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("tuner.space.model.filter={type: choice, values: [1]}", "did you mean 'model.filter"),
        ("tuner.space.model.dropout.max=-1", "needs numbers min < max"),
        ("tuner.space.model.pooling.values=max", "must be a list"),
        ('tuner.space.augment.zoom.when="pooling=max"', "of a key that stands before it"),
        ("tuner.space.model.dropout.sampling=log", "log with min above 0"),
        ("+tuner.space.model.dropout.step=-1", "step must be above 0"),
        ("tuner.space.model.dropout.max=inf", "needs numbers min < max"),
        ("tuner.space.epochs={type: int, min: 1, max: 3}", "no option 'epochs' can vary"),
        ("tuner.space.batch_sise={type: choice, values: [true]}", "did you mean"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(override, words):
    with pytest.raises(UserError, match=words):
        dimensions(composed(override).tuner.space)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["tuner.kind=hyperbnad"], "did you mean 'hyperband'"),
        (["tuner.objective=test/accuracy"], "must be one of val/accuracy, val/loss"),
        (["tuner.max_epochs=0"], "tuner.max_epochs must be at least 1"),
        (["epochs=3"], "set that instead of epochs=3"),
        (["tuner=random", "tuner.max_trials=null"], "has no end of its own"),
        (["tuner.name=a/b"], "name of a folder"),
        (["tuner.name=.hidden"], "no dot in front"),
        ([f"tuner.name={'a' * 101}"], "at most 100 letters"),
        (["tuner.seed=5000000000"], "tuner.seed must be at least 0 and at most 4000000000"),
        (["tuner.minutes=nan"], "tuner.minutes must be at least 0 and at most 1000000, but got nan"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(overrides, words):
    with pytest.raises(UserError, match=words):
        check_search(composed(*overrides))


# ---- What makes a search the one it is -----------------------------------------------------------------


OLD = (
    Path(__file__).parent.parent / "data" / "definitions.json"
)  # name -> overrides and definition, as the first commit of recipe 2 wrote it


def defined(overrides):
    """The definition of a search with these overrides, its options resolved as on any machine."""
    search = composed(*overrides)
    return definition(search, dimensions(search.tuner.space), "0123456789abcdef")


@pytest.mark.parametrize("name", json.loads(OLD.read_text()))
def test_a_search_of_the_recipe_keeps_its_name_and_goes_on(name, tmp_path):
    old = json.loads(OLD.read_text())[name]
    ours = defined(tuple(old["overrides"]))
    assert json.loads(json.dumps(ours)) == old["definition"] and digest(ours) == name.rpartition("-")[2]
    (tmp_path / "definition.json").write_text(json.dumps(old["definition"]))
    check_agreement(tmp_path, ours)


@dataclass
class LaterTuner(TunerConfig):
    """A tuner with an option that was added later."""

    patience: int = 0


def test_an_option_that_is_added_later_changes_only_searches_that_use_it(tmp_path, monkeypatch):
    plain = ("tuner=grid", "compute.precision=float32", "compute.threads=1")
    before = defined(plain)
    search = composed(*plain)
    later = {part.name: getattr(search.tuner, part.name) for part in fields(TunerConfig)}

    def with_patience(patience):
        return replace(search, tuner=LaterTuner(**later, patience=patience))

    monkeypatch.setattr("fmnist.search.definition.SearchConfig", lambda: SearchConfig(tuner=LaterTuner()))
    unused = definition(with_patience(0), dimensions(search.tuner.space), "0123456789abcdef")
    used = definition(with_patience(5), dimensions(search.tuner.space), "0123456789abcdef")
    assert unused == before and used == {**before, "tuner.patience": 5}
    (tmp_path / "definition.json").write_text(json.dumps(before))
    check_agreement(tmp_path, unused)
    with pytest.raises(UserError, match=r"was begun with tuner\.patience=0, but now it is 5"):
        check_agreement(tmp_path, used)


# ---- The oracles ---------------------------------------------------------------------------------------


def make(folder, kind, most=1000, **options):
    folder.mkdir(exist_ok=True)
    search = composed(f"tuner={kind}", *(f"tuner.{key}={value}" for key, value in options.items()))
    oracle = oracles.oracle(search.tuner, dimensions(search.tuner.space))
    oracle.keep(folder, lambda values: len(oracle.trials) < most)
    return oracle


def score(trial):
    """A score that depends on the point alone; some fail."""
    values = {k: v for k, v in trial.hyperparameters.values.items() if not k.startswith("tuner/")}
    number = oracles.seed_of(sorted(values.items())) / 2**32
    return None if number < 0.25 else number + 0.01 * trial.hyperparameters.values.get("tuner/epochs", 0)


def finish(oracle, trial):
    value = score(trial)
    if value is not None:
        oracle.update_trial(trial.trial_id, {"val/accuracy": value})
    oracle.note({"ended": 0})
    trial.status, trial.message = ("COMPLETED", None) if value is not None else ("FAILED", "low")
    oracle.end_trial(trial)


def state(folder):
    return [(a.trial, a.status, a.values, a.score) for a in trials.load_trials(folder)]


def undisturbed(folder, kind, most, **options):
    oracle = make(folder, kind, most, **options)
    while (trial := oracle.create_trial("worker-0")).status == "RUNNING":
        finish(oracle, trial)
    return state(folder)


BOUNDS = {"random": 12, "bayesian": 5, "hyperband": 1000, "grid": 1000}


@pytest.mark.parametrize("kind", KINDS)
def test_an_oracle_stopped_at_every_moment_goes_on_as_if_it_never_was(kind, tmp_path):
    expected = undisturbed(tmp_path / "whole", kind, BOUNDS[kind])
    assert len(expected) == {"random": 12, "bayesian": 5, "hyperband": 23, "grid": 36}[kind]
    assert {status for _, status, _, _ in expected} == {"COMPLETED", "FAILED"}
    folder, rng = tmp_path / "stopped", random.Random(1)
    while True:
        trial = make(folder, kind, BOUNDS[kind]).create_trial("worker-0")
        if trial.status != "RUNNING":
            break
        if rng.random() < 0.5:  # killed while it ran: a new process is given the same trial
            again = make(folder, kind, BOUNDS[kind]).create_trial("worker-0")
            assert (again.trial_id, again.hyperparameters.values) == (trial.trial_id, trial.hyperparameters.values)
        finish(make(folder, kind, BOUNDS[kind]), trial)
    assert state(folder) == expected


def test_a_process_reads_what_is_kept_again_only_where_another_has_written_since(tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(oracles, "read", lambda folder: reads.append(folder) or trials.read(folder))
    ours, other = make(tmp_path, "random"), make(tmp_path, "random")
    for count in range(3):
        finish(ours, ours.create_trial("worker-0"))
        assert len(reads) == 1 and len(ours.trials) == count + 1
    finish(other, other.create_trial("worker-1"))
    assert len(reads) == 2
    assert len({ours.create_trial("worker-0").trial_id, *other.trials}) == 5 and len(reads) == 3


@pytest.mark.parametrize("kind", ["random", "hyperband", "grid"])
def test_what_was_not_kept_before_an_interruption_is_forgotten(kind, tmp_path, monkeypatch):
    oracle = make(tmp_path, kind)
    finish(oracle, oracle.create_trial("worker-0"))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(oracles, "write", interrupted)
        oracle.create_trial("worker-0")
    expected = make(tmp_path, kind).create_trial("worker-1")
    finish(oracle, oracle.create_trial("worker-1"))
    (_, found) = state(tmp_path)
    assert len(oracle.trials) == 2 and found[2] == expected.hyperparameters.values


@pytest.mark.parametrize("kind", ["random", "hyperband", "grid"])
def test_several_workers_that_come_and_go_try_the_same_points_and_none_twice(kind, tmp_path):
    expected = undisturbed(tmp_path / "alone", kind, BOUNDS[kind])
    folder, rng, at = tmp_path / "many", random.Random(2), {}
    oracle = make(folder, kind, BOUNDS[kind])
    stopped = set()
    while len(stopped) < 3:
        name = f"worker-{rng.randrange(3)}"
        if name in at:
            finish(oracle, at.pop(name))
            continue
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(oracles, "POLL_SECONDS", 0.0)
            patch.setattr(oracles, "is_free", lambda folder, other: False)
            trial = oracle.create_trial(name)
        if trial.status == "RUNNING":
            assert trial.trial_id not in [other.trial_id for other in at.values()]
            at[name] = trial
        elif trial.status == "STOPPED":
            stopped.add(name)

    def points(told):  # numbers of trials are given in the order of their beginnings
        return sorted(
            json.dumps([{k: v for k, v in values.items() if k != "tuner/trial_id"}, value], sort_keys=True)
            for _, _, values, value in told
        )

    assert points(state(folder)) == points(expected)


def test_bayesian_search_goes_on_beside_trials_that_have_not_ended(tmp_path):
    oracle = make(tmp_path / "o", "bayesian", 12, initial_points=3)
    for _ in range(4):
        finish(oracle, oracle.create_trial("worker-0"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracles, "is_free", lambda folder, other: False)
        one, two = oracle.create_trial("worker-0"), oracle.create_trial("worker-1")
    assert one.hyperparameters.values != two.hyperparameters.values


def test_the_trial_of_a_worker_that_is_gone_is_given_to_another(tmp_path):
    oracle = make(tmp_path / "o", "random")
    with trials.slot(oracle.folder, "worker") as name:
        first = oracle.create_trial(name)
        other = make(tmp_path / "o", "random").create_trial("worker-1")
        assert other.trial_id != first.trial_id
    oracle = make(tmp_path / "o", "random")
    with FileLock(oracle.folder / "worker-2.lock"):
        assert oracle.create_trial("worker-2").trial_id == first.trial_id
        assert oracle.create_trial("worker-3").trial_id == other.trial_id


def test_hyperband_promotes_the_best_of_whole_rounds_though_some_failed(tmp_path):
    told = undisturbed(tmp_path / "o", "hyperband", 1000)
    first = [entry for entry in told if entry[2]["tuner/bracket"] == 2 and entry[2]["tuner/round"] == 0]
    second = [entry for entry in told if entry[2]["tuner/bracket"] == 2 and entry[2]["tuner/round"] == 1]
    completed = sorted((entry for entry in first if entry[1] == "COMPLETED"), key=lambda entry: -entry[3])
    assert len(first) == 9 and 3 <= len(completed) < 9
    assert [entry[2]["tuner/trial_id"] for entry in second] == [entry[0] for entry in completed[:3]]
    assert all(entry[2]["tuner/epochs"] == 3 and entry[2]["tuner/initial_epoch"] == 1 for entry in second)


@pytest.mark.parametrize(("epochs", "factor"), [(9, 3), (10, 3), (50, 3), (16, 2), (1, 3), (27, 4)])
def test_the_brackets_that_are_announced_are_keras_tuners(epochs, factor):
    objective = oracles.keras_tuner.Objective("val_accuracy", "max")  # to infer the direction would start TensorFlow
    theirs = oracles.HyperbandOracle(objective=objective, max_epochs=epochs, factor=factor)
    ours = brackets(TunerConfig(max_epochs=epochs, factor=factor))
    count = theirs._get_num_brackets()
    assert [[(size, end) for size, _, end in bracket] for bracket in ours] == [
        [(theirs._get_size(n, level), theirs._get_epochs(n, level)) for level in range(n + 1)]
        for n in reversed(range(count))
    ]


def test_a_search_begins_nothing_that_its_budget_does_not_hold():
    def limits(*overrides, **options):
        search = composed("tuner=random", "data.limit=600", "tuner.max_epochs=2", *overrides)
        return Limits(
            search, dimensions(search.tuner.space), data_digest="", images=60_000, pace=1e9, overhead=2.0, **options
        )

    trial = {"model.filters.0": 16, "model.filters.1": 32}
    begun = trials.TrialRecord("0000", trials.RUNNING, trial, None, None)
    assert limits("tuner.max_trials=2").allow(trial, [begun])
    full = limits("tuner.max_trials=2")
    assert not full.allow(trial, [begun, begun]) and full.reached == "tuner.max_trials=2"
    assert limits("tuner.epochs_budget=5").allow(trial, [begun])
    full = limits("tuner.epochs_budget=5")
    assert not full.allow(trial, [begun, begun]) and "needs 2 more epochs" in full.reached
    promoted = trial | {"tuner/epochs": 9, "tuner/initial_epoch": 3}
    assert limits().cost(promoted)[0] == 6
    assert limits(until=time.time() + 3600).allow(trial, [])
    late = limits("tuner.minutes=1", until=time.time() + 1)
    assert not late.allow(trial, []) and "tuner.minutes=1" in late.reached
    slow = replace(begun, work=1.0, seconds=1e3, trained=2, epochs=2)  # an operation in 1,000 s
    assert not limits("tuner.minutes=60", until=time.time() + 3600).allow(trial, [slow])


# ---- What a search teaches -----------------------------------------------------------------------------


def test_importance_finds_what_matters_and_warns_of_few_trials():
    rng = np.random.default_rng(0)
    points = pd.DataFrame(
        {"noise": rng.uniform(size=60), "word": rng.choice(["a", "b"], 60), "rate": rng.uniform(size=60)}
    )
    scores = points["rate"].to_numpy() + 0.5 * (points["word"] == "a").to_numpy()
    points.loc[:5, "noise"] = np.nan
    told = importance(points, scores)
    assert list(told.shares.index) == ["rate", "word", "noise"] and told.shares["noise"] < 0.05
    assert told.shares.sum() == pytest.approx(1) and told.explained > 0.7 and importance_warning(told) == ""
    assert "too few" in importance_warning(importance(points[:9], scores[:9]))
    assert "no better than" in importance_warning(importance(points, rng.uniform(size=60)))
    assert "nothing is known" in importance_warning(importance(points[:2], scores[:2]))


def test_the_expected_best_of_two_scores_by_hand():
    assert expected_best(np.array([0.4, 0.8])).tolist() == pytest.approx([0.6, 0.7])  # 1/4 of pairs are 0.4 twice
    assert expected_best(np.array([0.4, 0.8]), maximise=False).tolist() == pytest.approx([0.6, 0.5])


# ---- Files that are damaged ---------------------------------------------------------------------------------

TRIAL = {
    "trial_id": "0000", "hyperparameters": {"space": [], "values": {"model.filters.0": 16}}, "metrics": {"metrics": {}},
    "score": None, "best_step": None, "status": "RUNNING", "message": None,
}  # fmt: skip
STATE = {"oracle": {}, "trials": [TRIAL], "records": {}}


@pytest.mark.parametrize(
    "content",
    [
        "", '{"oracle": {}, "tri', "[]", "7", b"\xff\xfe", "{}", STATE | {"trials": 7}, STATE | {"records": []},
        *(STATE | {"trials": [change]} for change in ({}, TRIAL | {"trial_id": "one"}, TRIAL | {"score": "high"})),
        STATE | {"records": {"0000": {"epochs": "many"}}},
        STATE | {"trials": [TRIAL | {"hyperparameters": {"values": {"tuner/epochs": "many"}}}]},
    ],
)  # fmt: skip
def test_a_damaged_file_of_trials_is_named_with_a_remedy(content, tmp_path):
    file = tmp_path / trials.STATE
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError) as error:
        trials.load_trials(tmp_path)
    said = str(error.value)
    assert said.startswith(f"{file} is damaged (") and f"or remove {tmp_path}" in said and "\n" not in said


def test_a_state_that_keras_tuner_cannot_take_over_is_named(tmp_path):
    (tmp_path / trials.STATE).write_text(json.dumps(STATE | {"oracle": {"ongoing_trials": {"worker-0": "0007"}}}))
    search = composed("tuner=random", "tuner.max_trials=3")
    oracle = oracles.oracle(search.tuner, dimensions(search.tuner.space))
    oracle.keep(tmp_path, lambda values: True)
    with pytest.raises(UserError, match="is damaged"):
        oracle.create_trial("worker-0")


def test_a_damaged_definition_is_named_with_a_remedy(tmp_path):
    for content in ("", "{", "7", "[1]"):
        (tmp_path / "definition.json").write_text(content)
        with pytest.raises(UserError, match=r"definition\.json is damaged"):
            check_agreement(tmp_path, {})
