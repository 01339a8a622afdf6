"""What people type, overrides and files, is read or refused in one harmless line."""

import shutil
import time
from importlib.util import find_spec
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import pytest
from commands import here, mistake

from fmnist.config import CONF, Config, UserError, check_option, nearest_option, option_fields
from fmnist.search.space import TUNE, SearchConfig, check_search, dimensions
from fmnist.study import compose, plan, typed
from fmnist.study.compose import compose_config

FOREIGN = ("Exception", "viable", "ListConfig", "Lexer", "full_key", "Traceback", "usage:", "Optional", "hydra.cc")


def plan_of(*overrides):
    """What a command does with these before anything starts."""
    config = compose_config(overrides)
    plan.variants(config.study, lambda more: compose_config([*overrides, *more]))
    return config


def space_of(*overrides):
    search = compose_config(overrides, TUNE)
    check_search(search)
    dimensions(search.tuner.space)
    return search


def refusal(read, *overrides):
    """The line in which these are refused; empty where they are possible."""
    try:
        read(*overrides)
    except UserError as error:
        text = str(error)
        assert len(text) < 700 and text.isprintable(), text
        assert not [word for word in FOREIGN if word in text], text
        return text
    return ""


# ---- Values ---------------------------------------------------------------------------------------------

NUMBERS = ["inf", "nan", "-1", "1e400", "99999999999999999999"]
OTHERS = ["true", "null", "[]", "{}", "[1,x]", "x"]
TAKE = {bool: {"true"}, str: {"x"}, dict: {"{}"}, list: {"[]"}, NoneType: {"null"}}


@pytest.mark.parametrize("key", sorted(option_fields(SearchConfig)))
def test_every_option_refuses_by_its_key_the_values_of_other_types_and_numbers_out_of_range(key):
    field = option_fields(SearchConfig)[key]
    parts = get_args(field.type) if isinstance(field.type, UnionType) else [field.type]
    may_be = set().union(*(TAKE.get(get_origin(part) or part, set()) for part in parts))
    may_be -= {"x"} if field.metadata.get("allowed", [()])[0] else set()
    may_be |= {"99999999999999999999"} if key == "optimizer.learning_rate" else set()
    for text in [*NUMBERS, *OTHERS] if field.type is not Any else ():
        (override,) = typed.read([f"{key}={text}"], SearchConfig)
        try:
            check_option(key, override.value(), field)
        except UserError as error:
            assert str(error).startswith(f"{key} must be ") and text not in may_be
        else:
            assert text in may_be


@pytest.mark.parametrize(
    "value", [*NUMBERS, *OTHERS, "0", "${lr}", "???", "[${lr}]", "[1", "'1", "5000000000", "x" * 999]
)
@pytest.mark.parametrize("key", ["model.filters", "seed", "optimizer.learning_rate", "study.rungs"])
def test_composing_and_checking_refuse_them_too(key, value):
    said = refusal(plan_of, "study=epochs", f"{key}={value}")
    assert key in said or (
        value in ("0", "99999999999999999999", "5000000000") and key not in ("model.filters", "study.rungs")
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.learning_rate=1e-320", "at least 1e-12"),
        ("study.rungs=[0]", "study.rungs must be at least 1 and at most 100000, but got 0"),
        ("study.rungs=[true]", "study.rungs must be a list of whole numbers"),
        ("study.seeds=[5000000000]", "study.seeds must be at least 0 and at most 4294967295"),
        ("study.rungs=3", "study.rungs must be a list of whole numbers like [1,3], but got 3"),
        ("epochs=2.5", "epochs must be a whole number, but got 2.5"),
        ("model=3", "model is a group of options; set one of model.filters"),
        ("augment=null", "augment must be one of article, heavy, light, none, but got null"),
        ("study=[filters,kernel]", "study must be one of"),
        ("epochs=${oc.env:FMNIST_UNSET}", "epochs: ${...} cannot be resolved (Environment variable"),
        ("epochs=???", "epochs has no value (???); write epochs=10"),
        ("epochs='3", "cannot be read: ' has no end"),
        ("model.filters=[32,64", "cannot be read: [ has no end"),
        ("data.dir=a=b", "put the value in quotes: 'data.dir=\"a=b\"'"),
        ("+epochs=3", "epochs=3 is there already; write it without +"),
        ("=3", "has no key"),
        ("hydra=3", "hydra is no option"),
        ("~epochs=7", "~epochs cannot be taken out"),
        ("hydra.job.num=nan", "hydra.job.num must be a whole number, but got nan"),
    ],
)
def test_what_cannot_be_is_said_in_words_of_this_project(override, words):
    assert words in refusal(plan_of, *(["study=pooling"] if override.startswith("study.") else []), override)


@pytest.mark.parametrize("command", ["train", "tune"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "3"], "'--epochs': options have no dashes; write "),
        (["--lr=0.1"], "write optimizer.learning_rate=0.1"),
        (["hydra.launcher.n_jobs=${oc.env:FMNIST_UNSET}"], "hydra.launcher.n_jobs: ${...} cannot be resolved"),
        (["hydra.launcher=3"], "hydra.launcher is a group of options, but got 3"),
        (["hydra/launcher=ray_clusters"], "did you mean 'ray_cluster'"),
        (["hydra/sweeper=basic"], "hydra/sweeper is what fmnist is made of"),
        (["hydra.mode=SOMETIMES"], "hydra.mode"),
        (["hydra.searchpath=[file:///nope]"], "/nope is not available"),
        (["--config-dir", "/nope"], "'/nope' not found"),
        (["--cfg", "everything"], "invalid choice: 'everything'"),
        (["epochs=\x1b[31m\x07\u202e"], "\\x1b[31m\\x07\\u202e"),
    ],
)
def test_a_command_line_that_cannot_be_is_one_line(command, arguments, words):
    said = mistake(command, *arguments)
    assert words in said and said[:-1].isprintable()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["study=filters,kernel"], "make sweep STUDY=filters and make sweep STUDY=kernel"),
        (["-m", "study=filters,kernel"], "make sweep STUDY=filters and make sweep STUDY=kernel"),
        (["study=filters", "hydra.mode=RUN"], "study filters is a sweep"),
        (["study.rungs=1,3"], "study.rungs=[1,3]"),
        (["hydra.launcher.n_jobs=1,2"], "start a sweep for each"),
        (["-m", "seed=range(0,10000000000)"], "seed names more than 10,000 values"),
        (["epochs=1,3"], "put -m before it"),
    ],
)
def test_several_values_where_they_have_no_place_are_refused_with_what_helps(arguments, words):
    assert words in mistake("train", *arguments)


# ---- Suggestions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("optimizer.lr", "optimizer.learning_rate"), ("lr", "optimizer.learning_rate"),
        ("LR", "optimizer.learning_rate"),
        ("learning-rate", "optimizer.learning_rate"), ("epoch", "epochs"), ("seeds", "study.seeds"),
        ("filters", "model.filters"), ("model.filter", "model.filters"), ("bs", "batch_size"), ("batch", "batch_size"),
        ("kernel", "model.kernel_size"), ("pool", "model.pooling"), ("pooling", "model.pooling"),
        ("dropout", "model.dropout"), ("limit", "data.limit"), ("rotaton", "augment.rotation"),
        ("dense_unit", "model.dense_units"), ("optimizer", "optimizer.name"), ("qqqqqqq", ""),
    ],
)  # fmt: skip
def test_an_option_is_known_by_its_last_part_by_other_names_and_by_its_letters(key, meant):
    assert nearest_option(key, option_fields(Config)) == meant


# ---- Files ----------------------------------------------------------------------------------------------

LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
FILES = {
    LAUGHS: "10,000 values",
    "a: &a [*a]\n": "10,000 values",
    "a: *b\n": "is no valid YAML: line 2: found undefined alias",
    "study: " + "[" * 3000 + "]" * 3000: "20 levels deep",
    "study:\n" + "".join(" " * n + "a:\n" for n in range(1, 100)): "20 levels deep",
    "study: {question: " + "x" * 2_000_000 + "}": "larger than 100 kB",
    "study: {name: [}": "is no valid YAML: line 2",
    "study: 'a": "is no valid YAML",
    "study: {seeds: five}": "study.seeds must be a list of whole numbers like [1,3]",
    "study: {rungs: [1, two]}": "study.rungs must be a list",
    "study: {sedes: [1]}": "did you mean 'study.seeds'",
    "study: {name: mine, axes: {model: {3: [1]}}}": "model.3",
    "study: 3": "conf/study/mine.yaml: a value stands where options do",
    "study: {name: mine}\nmodel: [1]": "options",
    "study: {name: mine}\nstudy: {name: mine}": "duplicate key study",
    "- a\n- b\n": "conf/study/mine.yaml: it must hold options",
    "study: !!python/object:os.system {}": "conf/study/mine.yaml",
    "study: {question: '${nobody}'}": "cannot be resolved",
    "data: {limit: yes}": "data.limit",
    "\x00": "mine.yaml",
}


@pytest.fixture
def own_conf(tmp_path, monkeypatch):
    shutil.copytree(CONF, tmp_path / "conf")
    for module in ("compose", "typed"):
        monkeypatch.setattr(f"fmnist.study.{module}.CONF", tmp_path / "conf")
    return tmp_path / "conf"


@pytest.mark.parametrize(("content", "words"), FILES.items(), ids=range(len(FILES)))
def test_a_file_that_cannot_be_is_refused_in_one_line_and_at_once(content, words, own_conf):
    (own_conf / "study" / "mine.yaml").write_text(f"# @package _global_\n{content}\n")
    began = time.process_time()
    assert words in refusal(plan_of, "study=mine")
    assert time.process_time() - began < 5


def test_a_tuner_s_space_is_read_with_the_same_care(own_conf):
    (own_conf / "tuner" / "space" / "mine.yaml").write_text(LAUGHS)
    assert "10,000 values" in refusal(space_of, "tuner/space=mine")


def test_aliases_are_no_mistake(own_conf):
    text = "# @package _global_\nstudy:\n  name: mine\n  rungs: &few [1, 2]\n  seeds: *few\n"
    (own_conf / "study" / "mine.yaml").write_text(text)
    assert plan_of("study=mine").study.seeds == [1, 2]


def test_an_override_that_would_keep_a_parser_busy_is_refused():
    assert "nested deeper" in refusal(plan_of, "study=pooling", f"study.axes.model.filters={'[' * 3000}{']' * 3000}")
    assert "longer than" in refusal(plan_of, f"data.dir={'x' * 20_000}")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("tuner.space.model.pooling.values=[maximum,max]", "did you mean 'max'"),
        ("tuner.space.model.dropout.max=2.0", "model.dropout must be at least 0 and below 1, but got 2.0"),
        ("tuner.space.model.kernel_size.values=[0]", "model.kernel_size must be at least 1"),
        ("tuner.space.model.dense_units={type: float, min: 16, max: 64}", "model.dense_units must be a whole number"),
        ("tuner.space.model.filters.0.values=[many]", "model.filters must be one whole number"),
        ("+tuner.space.model.dropout.step=nan", "step must be above 0, but got nan"),
        ("tuner.space.augment.zoom.otherwise=5", "augment.zoom must be at least 0 and below 1, but got 5"),
        ("tuner.workers=100000", "tuner.workers must be at least 1 and at most 512"),
    ],
)
def test_a_space_of_values_that_no_run_can_have_is_refused_before_a_trial_fails(override, words):
    assert words in refusal(space_of, override)


@pytest.mark.parametrize("arguments", [["seed=1", "-m", "epochs=1,2"], ["-m", "seed=1", "epochs=1,2"]])
def test_where_m_stands_makes_no_difference(arguments, images, tmp_path):
    plan_only = ["study.dry_run=true", "model.filters=4", f"data.dir={images}", f"store={tmp_path}"]
    assert "trains 2 epochs" in here("train", *arguments, *plan_only).stdout


@pytest.mark.skipif(bool(find_spec("hydra_plugins.hydra_ray_launcher")), reason="Hydra's Ray launcher is installed")
@pytest.mark.parametrize("launcher", ["ray", "ray_cluster"])
def test_a_launcher_that_is_not_installed_is_told_with_its_package(launcher):
    assert "comes with the package hydra-ray-launcher" in mistake("train", f"hydra/launcher={launcher}", "-m", "seed=1")


def test_slurm_is_refused_where_there_is_none(tmp_path, monkeypatch, images):
    monkeypatch.setenv("PATH", str(tmp_path))
    options = ["study=smoke", "hydra/launcher=slurm", f"data.dir={images}", f"store={tmp_path}"]
    assert "sbatch is not on this machine" in here("train", *options, code=2).stderr


def test_slurm_s_jobs_go_on_after_their_time_limit():
    launcher = compose._composed(["hydra/launcher=slurm"], compose.TRAIN, with_hydra=True).hydra.launcher
    assert (
        launcher._target_.endswith(".SlurmLauncher") and launcher.max_num_timeout > 1 and launcher.signal_delay_s > 10
    )
