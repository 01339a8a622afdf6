"""What is said below a leaderboard of how its numbers were come by, and what its seeds can show."""

import re

import numpy as np
import pytest
from runs import frame, run, seeds

from fmnist.analysis import stats
from fmnist.analysis.leaderboard import PAIR_COLUMNS, leaderboard
from fmnist.report.notes import notes


def lines(runs, **options):
    return notes(leaderboard(runs, **options), runs[runs["status"] == "FINISHED"], PAIR_COLUMNS)


def said(*runs, **options):
    return " ".join(lines(frame(*runs), **options))


BASELINE = seeds("baseline", [0.900, 0.910, 0.920])
BETTER = seeds("x", [0.930, 0.940, 0.951])
OPEN = seeds("y", [0.903, 0.909, 0.924])


def test_one_seed_is_said_to_show_no_noise_of_training_and_nothing_is_said_of_tests_that_were_not_made():
    text = said(run("a", epochs=3), run("b", "x", epochs=3))
    assert "Wilson's 95 % interval, of the images alone" in text and "noise that one seed cannot show" in text
    assert "Student" not in text and "Holm" not in text and "power" not in text


def test_several_seeds_have_their_tests_stated_with_the_size_of_the_family():
    text = said(BASELINE, BETTER, OPEN)
    assert "Student's t" in text and "Wilson" not in text
    assert (
        "in points" in text and "Holm" in text and "the 2 comparisons with the same epochs, data and precision" in text
    )


def test_families_of_several_sizes_are_no_one_number():
    text = said(BASELINE, BETTER, OPEN, seeds("baseline", [0.8, 0.81], epochs=3), seeds("x", [0.82, 0.84], epochs=3))
    assert "over up to 2 comparisons" in text


def test_the_smallest_difference_that_shows_is_of_the_longest_budget_and_its_family():
    rng = np.random.default_rng(0)
    base = 0.9 + rng.normal(0, 0.003, 4)
    step = rng.normal(0.004, 0.003, 4)
    short = [seeds(name, [0.8, 0.9, 0.85, 0.7], epochs=3) for name in ("baseline", "x", "v", "w")]
    text = said(seeds("baseline", list(base)), seeds("x", list(base + step)), *short)
    found = 100 * stats.detectable(float(step.std(ddof=1)), 4, 0.05)  # a family of one
    assert f"seeds show at 10 epochs with 80 % power, in points: 4 seeds {found:.2f} (median" in text
    assert f"median spread of the differences {100 * step.std(ddof=1):.2f}" in text


def test_the_spread_is_that_of_the_pairs_not_of_all_seeds_of_a_row():
    pairs = said(BASELINE, OPEN)
    more = said(BASELINE, seeds("y", [0.903, 0.909, 0.924, 0.5, 0.99]))
    spread = re.compile(r"in points: 3 seeds .*?\)\.")
    assert spread.search(pairs)[0] == spread.search(more)[0]


def test_power_is_told_for_each_number_of_seeds():
    text = said(
        seeds("baseline", [0.9, 0.91, 0.92, 0.905]), seeds("y", [0.9, 0.92, 0.92, 0.9]), seeds("z", [0.9, 0.92])
    )
    assert re.search(r"in points: 2 seeds [\d.]+, 4 seeds [\d.]+ \(median", text)


def test_one_epoch_is_no_epochs():
    assert "at 1 epoch with" in said(
        seeds("baseline", [0.9, 0.91, 0.92], epochs=1), seeds("y", [0.9, 0.92, 0.92], epochs=1)
    )


def test_what_is_open_is_named_with_the_seeds_that_would_settle_it():
    text = said(BASELINE, OPEN)
    differences = np.array([0.003, -0.001, 0.004])
    most = float(stats.most_deviation(differences.std(ddof=1), 3))
    needed = stats.pairs_needed(0.005, most, 0.05)  # half a point, whatever three seeds happened to show
    assert needed > 3 and "were the true difference 0.50 points" in text and f"bounds): y {needed}." in text


def test_what_would_take_more_seeds_than_anyone_trains_is_said_so():
    assert "y over 1,000" in said(BASELINE, seeds("y", [0.80, 0.99, 0.93]))


def test_nothing_open_asks_for_no_seeds():
    assert "to settle" not in said(BASELINE, seeds("x", [0.930, 0.940, 0.951]))


def test_runs_that_agree_to_the_last_bit_ask_for_no_seeds():
    text = said(BASELINE, seeds("y", [0.900, 0.910, 0.920]))
    assert "to settle" not in text and "nan" not in text and "power" not in text


def test_no_more_than_three_open_questions_are_named_the_largest_first():
    rng = np.random.default_rng(0)
    rows = [seeds(f"v{i}", list(0.91 + rng.normal(0, 0.02, 3))) for i in range(6)]
    runs = frame(BASELINE, *rows)
    (line,) = (line for line in lines(runs) if "would settle" in line)
    board = leaderboard(runs).set_index("variant")["difference"].abs().sort_values(ascending=False)
    assert re.findall(r"(v\d) ", line) == list(board.index[:3])


def test_a_loss_is_in_nats_and_has_no_points():
    text = said(BASELINE, BETTER, metric="val/loss")
    assert "in nats" in text and "points" not in text and "Claims are judged by validation accuracy" in text


def test_shared_ranks_and_published_rows_are_explained_where_there_are_any():
    assert "share a rank" in said(BASELINE, OPEN) and "published: one training of the article" in said(BASELINE)
    text = said(seeds("a", [0.9, 0.91, 0.92], epochs=3), seeds("b", [0.80, 0.812, 0.821], epochs=3))
    assert "share a rank" not in text and "published" not in text


@pytest.mark.parametrize("runs", [[], [run("a", val=None, status="RUNNING")]])
def test_where_nothing_finished_nothing_is_said(runs):
    given = frame(*runs) if runs else frame(run("a")).iloc[:0]
    assert lines(given) == []


def test_runs_that_do_not_count_and_what_made_the_others_is_said():
    again = run("again", "y", 0.92, seed=2, start_time=2000, **{"compute.threads": "2"})
    other = seeds("y", [0.9, 0.91], **{"compute.precision": "bfloat16", "variant_signature": "y16"})
    plain = [{**each, "compute.threads": "1"} for each in (*BASELINE, *OPEN, *other)]
    text = said(plain, again)
    assert "1 run left out: a later one repeats the variant, its seed and its epochs." in text
    assert "Claims and effects leave out 2 runs of another precision, recipe" in text
    assert "The runs were not made alike: threads: 1, 2." in text
    assert "leave out" not in " ".join(notes(leaderboard(frame(plain)), frame(plain)))  # without a study nothing does
    assert "not made alike" not in said(plain) and "left out:" not in said(plain)


def test_the_first_of_many_is_called_lucky_whoever_chose_it_and_failed_seeds_are_explained():
    many = [seeds(f"v{i}", [0.9 + i / 1e4, 0.91, 0.92]) for i in range(5)]
    assert "The first of 6 has been lucky too" in said(BASELINE, *many)
    assert "lucky too" not in said(BASELINE, OPEN) and "--rank-failed" not in said(BASELINE, OPEN)
    assert "--rank-failed" in said(BASELINE, OPEN, run("f", "y", None, seed=3, status="FAILED"))


def test_a_baseline_that_is_not_the_article_s_is_told_once_for_all_rows():
    moved = frame(run("a", epochs=10), run("b", "x", epochs=10)).assign(changes="limit=600 filters=16")
    assert lines(moved).count("The baseline, and with it every row, is the article's with limit=600 filters=16.") == 1
    assert "published" not in set(leaderboard(moved)["verdict"])
