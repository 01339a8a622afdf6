"""Which run becomes the champion."""

from runs import frame, seeds

from fmnist.analysis.champion import choice_of, choose
from fmnist.analysis.leaderboard import PAIR_COLUMNS
from fmnist.analysis.rule import Rule

FIVE = Rule(most=5, first=5, margin=0.005)
BASE = [0.900, 0.902, 0.901, 0.903, 0.899]


def shifted(by, turn=0):
    """The baseline's accuracies with a difference of which the noise is a variant's own."""
    noise = [0, 1e-4, -1e-4, 2e-4, -3e-4]
    return [value + by + noise[(seed + turn) % 5] for seed, value in enumerate(BASE)]


def variants(**shifts):
    """Five seeds of the baseline and of each variant, the later the cheaper."""
    rows = [("baseline", BASE), *((name, shifted(shift, n)) for n, (name, shift) in enumerate(shifts.items()))]
    return frame(*(seeds(name, values, flops_per_image=100 - n) for n, (name, values) in enumerate(rows)))


def chosen(runs, **how):
    choice = choose(runs, "baseline", PAIR_COLUMNS, FIVE, **how)
    return choice and (choice.row["variant"], choice.is_settled, choice.equals)


def test_the_best_that_a_verdict_supports_is_chosen_and_not_a_cheaper_one_that_is_worse():
    assert chosen(variants(better=0.02, best=0.04, worse=-0.03)) == ("best", True, ())


def test_of_those_that_make_no_difference_that_matters_the_cheapest_is_chosen_and_the_others_are_named():
    assert chosen(variants(best=0.04, nearly=0.038, good=0.02)) == ("nearly", True, ("best",))
    assert chosen(variants(same=0.0005)) == ("same", True, ("baseline",))


def test_what_no_verdict_supports_gives_way_to_what_one_does_and_is_a_candidate_without():
    open_rows = seeds("open", [0.95, 0.93, 0.90, 0.88, 0.91], flops_per_image=1)
    assert chosen(frame(seeds("baseline", BASE, flops_per_image=9), open_rows))[:2] == ("open", False)
    better = seeds("better", shifted(0.02), flops_per_image=99)
    assert chosen(frame(seeds("baseline", BASE, flops_per_image=9), open_rows, better))[:2] == ("better", True)
    assert chosen(frame(seeds("a", BASE[:1], flops_per_image=9), seeds("b", [0.8], flops_per_image=1))) == (
        "a", False, ()
    )  # fmt: skip


def test_runs_of_other_data_and_variants_of_which_seeds_failed_are_not_chosen():
    failed = seeds("failed", [None] * 5 + [0.99], flops_per_image=1)
    failed += [{**row, "run_id": "x", "signature": "x", "seed": 7, "status": "FAILED"} for row in failed]
    other = seeds("other", [0.99, 0.98], flops_per_image=1, data_digest="f" * 16)
    runs = frame(variants(better=0.02).to_dict("records"), failed, other)
    assert chosen(runs)[:2] == ("better", True)
    assert chosen(frame(failed[1:])) is None


def test_of_the_seeds_the_run_nearest_to_the_median_is_taken_and_one_that_is_named_is_judged_by_its_variant():
    runs = variants(better=0.02, worse=-0.03)
    assert choose(runs, "baseline", PAIR_COLUMNS, FIVE).run_id == "better-10-2"
    settled = {
        id: choice_of(f"{id}-10-0", runs, "baseline", PAIR_COLUMNS, FIVE).is_settled for id in ("better", "worse")
    }
    assert settled == {"better": True, "worse": False}


def test_another_budget_can_be_asked_for():
    runs = frame(variants(better=0.02).to_dict("records"), seeds("baseline", BASE, epochs=3, flops_per_image=9))
    assert chosen(runs, epochs=3) == ("baseline", False, ())
