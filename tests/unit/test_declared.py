"""A declared study as a question to the store: its variants' signatures, its claims, and how mistakes are refused."""

from dataclasses import replace

import pandas as pd
import pytest
import yaml

from fmnist.analysis.rule import Rule
from fmnist.config import CONF, ComputeConfig, UserError
from fmnist.identity import sign, variant_name
from fmnist.study import plan
from fmnist.study.compose import compose_config
from fmnist.study.declared import declare

STUDIES = sorted(file.stem for file in (CONF / "study").glob("*.yaml") if file.stem != "none")
DIGEST, OTHER = "0123456789abcdef", "fedcba9876543210"


def signed(*overrides, precision="float32", digest=DIGEST):
    config = replace(compose_config(overrides), compute=ComputeConfig(precision, 1))
    return sign(config, digest).variant


def store(*contexts):
    """Runs of no study that were computed so."""
    rows = [{"compute.precision": p, "data_digest": d, "variant_signature": "none"} for p, d in contexts]
    return pd.DataFrame(rows, columns=["compute.precision", "data_digest", "variant_signature"])


ONE = store(("float32", DIGEST))


def refusal(study, *overrides):
    with pytest.raises(UserError) as error:
        declare(study, overrides, ONE)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_is_a_question_that_can_be_put(study):
    declared = yaml.safe_load((CONF / "study" / f"{study}.yaml").read_text())["study"]
    asked = declare(study, [], ONE)
    assert (asked.name, asked.question) == (study, declared["question"])
    assert asked.axes == declared["axes"] and list(asked.base_levels) == list(declared["axes"])
    assert [claim.key for claim in asked.claims] == list(declared.get("claims", {}))
    assert asked.baseline.signatures <= set(asked.levels)
    assert asked.design == declared.get("design", "one_at_a_time")
    config = compose_config([f"study={study}"])
    variants = plan.variants(config.study, lambda more: compose_config([f"study={study}", *more]))  # all are possible
    assert config.study.name == study and config.study.question and config.study.command and config.study.expect
    assert config.study.command.startswith("make sweep") and (study in config.study.command or study == "article")
    assert len(variants) == len({variant_name(point.config) for point in variants})


def test_levels_are_by_signature_what_each_variant_changes():
    asked = declare("pooling", [], ONE)
    assert asked.levels == {signed(): {}, signed("model.pooling=average"): {"model.pooling": "average"}}
    assert asked.baseline.name == "baseline" and asked.baseline.signatures == {signed()}


def test_variants_are_signed_for_every_precision_and_data_that_a_store_has():
    asked = declare("scale", [], store(("float32", DIGEST), ("bfloat16", OTHER), ("float32", DIGEST)))
    assert set(asked.levels) == {
        signed(*level, precision=precision, digest=digest)
        for level in ((), ("data.scale=unit",))
        for precision, digest in (("float32", DIGEST), ("bfloat16", OTHER))
    }
    assert len(asked.baseline.signatures) == 2
    assert all(len(side.signatures) == 2 for side in asked.claims[0].sides)


def test_a_run_that_two_studies_ask_for_belongs_to_both_and_others_to_none():
    runs = store(*[("float32", DIGEST)] * 3).assign(
        variant_signature=[signed(), signed("model.filters=64"), "other"], study=["filters", "filters", ""]
    )
    assert list(declare("filters", [], runs).own(runs).index) == [0, 1]
    assert list(declare("pooling", [], runs).own(runs).index) == [0]
    assert list(declare("article", [], runs).own(runs).index) == [0, 1]


def test_a_grids_variants_have_a_level_of_every_axis():
    asked = declare("grid", ["study.axes.augment=null", "study.axes.model.kernel_size=null"], ONE)
    assert list(asked.axes) == ["model.filters", "model.pooling", "data.scale"]
    assert len(asked.levels) == 12 and all(list(level) == list(asked.axes) for level in asked.levels.values())
    assert asked.base_levels == {"model.filters": "128", "model.pooling": "max", "data.scale": "raw"}
    assert asked.levels[signed()] == asked.base_levels


def test_where_no_level_is_the_baselines_the_first_stands_for_it():
    asked = declare("filters", ["study.axes.model.filters=[16,[8,16]]", "study.design=grid"], ONE)
    assert asked.base_levels == {"model.filters": "16"}
    assert {"model.filters": "[8,16]"} in asked.levels.values()


def test_options_beside_a_study_move_its_baseline_and_its_claims():
    asked = declare("pooling", ["model.filters=64"], ONE)
    assert (asked.baseline.name, asked.baseline.changes) == ("baseline", "filters=64")
    assert asked.baseline.signatures == {signed("model.filters=64")}
    assert [side.signatures for side in asked.claims[0].sides] == [
        {signed("model.filters=64", "model.pooling=average")},
        {signed("model.filters=64")},
    ]


def test_a_study_of_precision_signs_each_level_as_it_says_and_pairs_across_it():
    asked = declare("precision", [], store(("float32", DIGEST), ("bfloat16", DIGEST)))
    small, unit = ("data.limit=6000", "data.validation_rows=null"), "data.scale=unit"
    ours = {
        signed(*small, *more, precision=precision) for more in ((), (unit,)) for precision in ("float32", "bfloat16")
    }
    assert set(asked.levels) == ours and asked.pair_columns == ["data_digest", "recipe"]
    assert asked.levels[signed(*small, precision="bfloat16")]["compute.precision"] == "bfloat16"
    assert asked.baseline.signatures == {signed(*small)}
    raw, scaled = asked.claims
    sides = [{signed(*small, precision=precision)} for precision in ("bfloat16", "float32")]
    assert [side.signatures for side in raw.sides] == sides
    sides = [{signed(*small, unit, precision=precision)} for precision in ("bfloat16", "float32")]
    assert [side.signatures for side in scaled.sides] == sides


def test_a_study_in_one_precision_takes_no_run_of_the_other():
    runs = store(("float32", DIGEST), ("bfloat16", DIGEST))
    runs["variant_signature"] = [signed(), signed(precision="bfloat16")]
    assert list(declare("pooling", ["compute.precision=float32"], runs).own(runs).index) == [0]
    assert list(declare("pooling", [], runs).own(runs).index) == [0, 1]


def test_an_axis_that_is_taken_out_takes_its_variants_with_it():
    asked = declare("article", ["study.axes.augment=null"], ONE)
    assert "augment" not in asked.axes and len(asked.levels) == 7


def test_claims_say_what_they_compare():
    by_key = {claim.key: claim for claim in declare("article", [], ONE).claims}
    assert [(side.name, side.epochs) for side in by_key["epochs"].sides] == [("10 epochs", 10), ("50 epochs", 50)]
    assert all(side.signatures == {signed()} for side in by_key["epochs"].sides)
    assert [side.name for side in by_key["filters"].sides] == [f"model.filters={n}" for n in (32, 64, 128)]
    assert by_key["filters"].sides[2].signatures == {signed()} and by_key["filters"].sides[0].epochs is None
    assert by_key["shirt"].weakest == "Shirt" and by_key["published"].published


def test_a_store_without_runs_or_with_attempts_that_have_no_options_is_no_mistake():
    for runs in (ONE.iloc[:0], ONE.drop(columns="compute.precision"), ONE.assign(**{"compute.precision": None})):
        asked = declare("pooling", [], runs)
        assert asked.levels == {} and asked.own(runs).empty


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("smoek", ["no study 'smoek' in conf/study", "did you mean 'smoke'"]),
        ("none", ["no study 'none'"]),
        ("../config", ["no study '../config'"]),
    ],
)
def test_an_unknown_study_is_refused_with_those_that_there_are(study, words):
    text = refusal(study)
    assert [word for word in [*words, "article"] if word not in text] == []


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ("{weakest: Shirt}", ["must be {says: A SENTENCE, ...}", "got {'weakest': 'Shirt'}"]),
        ("word", ["must be {says: A SENTENCE, ...}", "got word"]),
        ("{says: 3, weakest: Bag}", [".says must be a sentence, but got 3"]),
        ("{says: s}", ["must have axis and levels (and at, margin), weakest, or published", "got nothing"]),
        ("{says: s, weakest: Shrit}", [".weakest must be a class, but got 'Shrit'; did you mean 'Shirt'"]),
        ("{says: s, weakest: 3}", [".weakest must be a class, but got '3'"]),
        ("{says: s, axis: model.filters}", ["got axis"]),
        ("{says: s, axis: model.filters, levels: [64]}", ["at least two levels", "got [64]"]),
        ("{says: s, axis: model.filters, levels: [32, 64], at: data}", [".at must be options like", "got data"]),
        ("{says: s, axis: model.filters, levels: [32, 64], at: {data.scal: unit}}", ["did you mean 'data.scale'"]),
        ("{says: s, axis: model.filters, levels: [32, 64], where: x}", ["got axis, levels, where"]),
        ("{says: s, axis: model.filters, levels: [32, 64], margin: x}", [".margin must be a number", "got x"]),
        ("{says: s, axis: model.filters, levels: [32, 64], margin: -1}", [".margin must be at least 0", "got -1"]),
        ("{says: s, axis: epochs, levels: [10]}", ["at least two levels"]),
        ("{says: s, axis: epochs, levels: [ten, 50]}", ["numbers of epochs", "got ten"]),
        ("{says: s, axis: model.filters, levels: 64}", ["at least two levels"]),
        ("{says: s, axis: model.filter, levels: [1, 2]}", ["no option 'model.filter'", "did you mean 'model.filters'"]),
        ("{says: s, axis: augment, levels: [none, lite]}", ["no augment 'lite'", "did you mean 'light'"]),
        ("{says: s, weakest: Shirt, published: true}", ["got weakest, published"]),
    ],
)
def test_a_claim_that_cannot_be_understood_is_one_line(claim, words):
    text = refusal("pooling", f"+study.claims.mine={claim}")
    assert [word for word in ["study.claims.mine", *words] if word not in text] == []


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.filter=3", "did you mean 'model.filters'"),
        ("nonsense", "KEY=VALUE"),
        ("study=filters", "pooling cannot be filters too"),
        ("study.design=square", "one_at_a_time, grid"),
        ("model.kernel_size=12", "model.kernel_size=12 is too large"),
        ("study.axes.model.pooling=max", "list of levels"),
        ("study.most_seeds=1", "at least 2"),
        ("study.margin=nan", "study.margin"),
    ],
)
def test_an_override_that_makes_a_study_impossible_is_one_line(override, words):
    assert words in refusal("pooling", override)


def test_a_study_declares_how_often_it_looks_and_what_is_too_small_to_matter():
    assert declare("pooling", [], ONE).rule == Rule(20, 3, 0.005)
    chosen_before = ["study.seeds=[0,1,2]", "study.most_seeds=3", "study.margin=1"]
    assert declare("pooling", chosen_before, ONE).rule == Rule(3, 3, 0.01)
    own = declare("pooling", ["+study.claims.mine={says: s, axis: model.filters, levels: [32, 64], margin: 2}"], ONE)
    assert [claim.margin for claim in own.claims] == [None, 0.02]
    assert "study.seeds has 3 seeds" in refusal("pooling", "study.seeds=[0,1,2]", "study.most_seeds=2")
