"""Studies that choose their seeds themselves, and sweeps that end when their time is over."""

import pytest
from commands import TINY, here, mistake, work_here

from fmnist import tracking

SETTLE = ["study=pooling", "study.settle=true", "study.rungs=[1]", "study.most_seeds=4", *TINY]


@pytest.fixture(scope="module")
def settled(images, tmp_path_factory):
    """The arguments of a study that was settled, its store, and what it printed."""
    store = tmp_path_factory.mktemp("settled")
    arguments = [*SETTLE, "study.margin=90", f"data.dir={images}", f"store={store}"]
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        return arguments, store, here("train", *arguments).stdout


def test_a_study_is_trained_seed_by_seed_until_its_questions_are_settled(settled):
    _, store, printed = settled
    runs = tracking.load(str(store))
    assert runs.groupby("variant")["seed"].apply(sorted).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert set(runs["status"]) == {"FINISHED"} and len(runs) == 6
    assert "assumed, by the 60 images that validate" in printed and "3 seeds" in printed
    assert "settled: pooling=average: no difference that matters" in printed
    assert "NO DIFFERENCE THAT MATTERS: max pooling beats average pooling." in printed
    assert "2 of 2 questions settled" in printed and "make compare STUDY=pooling" in printed


def test_what_is_settled_is_not_trained_for_again(settled):
    arguments, store, _ = settled
    again = here("train", *arguments).stdout
    assert again.startswith("2 of 2 questions settled") and len(tracking.load(str(store))) == 6


def test_a_forecast_starts_nothing_and_says_by_which_spread(settled):
    arguments, store, _ = settled
    open_again = [*arguments, "study.dry_run=true", "study.minutes=0.001"]
    printed = here("train", *[text for text in open_again if "margin" not in text], "study.margin=0").stdout
    assert "measured, the median" in printed and "0 of 2 questions settled" in printed
    assert len(tracking.load(str(store))) == 6


def test_seeds_that_settle_nothing_are_told_with_what_is_left(settled, one_process):
    arguments, store, _ = settled
    arguments = [text for text in arguments if "margin" not in text]
    printed = here("train", *arguments, "study.margin=0").stdout
    assert "4 seeds (study.most_seeds) would hardly settle pooling=average; pooling" in printed
    assert len(tracking.load(str(store))) == 8


@pytest.mark.parametrize("settle", [True, False])
def test_when_the_time_is_over_no_run_is_begun_and_the_same_command_goes_on(settle, images, tmp_path, one_process):
    chosen = SETTLE if settle else [*SETTLE[:1], *SETTLE[2:]]
    arguments = [*chosen, f"data.dir={images}", f"store={tmp_path}"]
    printed = here("train", *arguments, "study.minutes=0.000001").stdout
    assert tracking.load(str(tmp_path)).empty
    left = "hardly settle pooling=average; pooling" if settle else "(study.minutes=1e-06) is over: 2 of 2 runs left"
    assert left in printed
    here("train", *arguments, *([] if not settle else ["study.dry_run=true"]))
    assert len(tracking.load(str(tmp_path))) == (0 if settle else 2)


def test_what_settling_can_do_nothing_with_is_refused(images, tmp_path):
    place = [f"data.dir={images}", f"store={tmp_path}"]
    assert "begin with study=NAME" in mistake("train", "-m", "study.settle=true", "model.filters=4,8", *place)
    assert "leave out study.seeds" in mistake(
        "train", "study=pooling", "study.settle=true", "study.seeds=[0,1]", *place
    )
    settle = ["study=pooling", "study.settle=true", *place]
    assert "set those, not epochs" in mistake("train", *settle, "epochs=3")
    assert "write +study.axes.data.scale=[...]" in mistake("train", "-m", *settle, "data.scale=raw,unit")
    alone = ["study.axes.model.pooling=[average]", "study.design=grid"]
    assert "study pooling has no baseline to compare with" in mistake("train", *settle, *alone)
    assert "study.minutes must be above 0" in mistake("train", "study=pooling", "study.minutes=0", *place)


def test_seeds_that_fail_are_passed_over_until_none_is_left(images, tmp_path, one_process):
    place = [f"data.dir={images}", f"store={tmp_path}"]
    arguments = [*SETTLE, *place, "optimizer.learning_rate=1e30", "study.most_seeds=2"]
    ended = here("train", *arguments, code=1)
    assert "runs failed" in ended.stderr and ended.stderr.count("\n") == 1
    runs = tracking.load(str(tmp_path))
    assert "FAILED" in set(runs["status"]) and set(runs["seed"]) == {0, 1}
    assert not runs.duplicated(["variant", "seed"]).any()
    again = here("train", *arguments, "study.fail_fast=true", code=1)  # tries them again, and stops at the first
    assert "failed" in again.stderr and again.stdout.count("next") == 1
