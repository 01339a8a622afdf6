"""What searches found stands beside what studies declare: marked, and judged by fresh seeds alone."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from invented import dataset

from fmnist import compare, tracking
from fmnist.analysis import searches, stats
from fmnist.analysis.leaderboard import leaderboard
from fmnist.analysis.rule import Rule
from fmnist.analysis.searches import add_searches
from fmnist.config import Config, from_flat
from fmnist.identity import parameters, run_name, sign
from fmnist.report.searches import render
from fmnist.run import describe
from fmnist.schema import Status
from fmnist.search.definition import ALWAYS
from fmnist.study.findings import answer
from fmnist.study.question import Question

BASE = from_flat(Config(), {"compute.precision": "float32", "compute.threads": 1, "epochs": 9})
POINTS = {  # trial -> what it changes, its epochs, the score that it was given; none: it failed
    0: ({"model.filters": [16, 64], "model.dropout": 0.1234}, 3, 0.920),
    1: ({"model.filters": [32, 64]}, 3, 0.910),
    2: ({"model.pooling": "average"}, 3, 0.905),  # a study declares it
    3: ({"model.dropout": 0.5}, 3, None),
    4: ({"model.filters": [16, 64], "model.dropout": 0.1234}, 9, 0.950),
    5: ({"model.filters": [32, 64]}, 9, 0.930),
    6: ({"model.kernel_size": 4}, 9, 0.940),
}
NAME, BEST = "hyperband-1f0c9a", "hyperband-1f0c9a/4"
OTHER = "random-2b3c4d"  # a search of fewer images
FEW = {"data.limit": 3000}
FRESH, LUCK = (1, 2, 3), (0.0, 0.001, -0.001)
WORTH = 0.93  # of the best: the search saw two points more


def keep(store, options, seed, epochs, score):
    """A run as real ones are written, without what no ranking reads; returns its id."""
    config = replace(from_flat(BASE, options), seed=seed, epochs=epochs)
    data = dataset()
    signed = sign(config, data.digest)
    writer = store.begin(run_name(config), signed.run, parameters(config), describe(config, signed, data))
    if score is None:
        writer.fail("DivergedError: the loss is nan")
    else:
        numbers = {"val/accuracy": score, "val/loss": 1 - score, "test/accuracy": score - 0.01, "time/train_s": 9.0}
        writer.metrics(numbers)
        writer.end(Status.FINISHED)
    return writer.run_id


def search(folder, store, name, options, points):
    """A search whose trials are runs with seed 0; returns its record."""
    kind = {"tuner.kind": name.split("-")[0], "tuner.objective": "val/accuracy", "tuner.max_epochs": 9}
    flat = parameters(from_flat(BASE, options))
    flat = {key: flat[key] for key in flat if key in ALWAYS or flat[key] != parameters(BASE)[key]}  # as `definition`
    record = tracking.SearchRecord(store, name, {**kind, **flat, "data": dataset().digest})
    rows, epochs, failed, best = [], 0, 0, {}
    for trial, (changed, reached, score) in points.items():
        run_id = keep(store, options | changed, 0, reached, score)
        store.mark(run_id, name, trial=f"{trial:04d}", parent=record.run_id)
        epochs, failed = epochs + reached, failed + (score is None)
        values = {"search/epochs": float(epochs), "search/failed": float(failed)}
        if score is not None:
            best[reached] = max(score, best.get(reached, 0.0))
            values |= {"search/score": score, "search/best": best[max(best)]}
            values |= {"search/reached": float(reached)} if name == NAME else {}
        rows.append((1000 + trial, values))
    record.trials(rows)
    return record


def confirm(store, record, options, best, trial):
    """The best of a search and the baseline on fresh seeds."""
    for seed, luck in zip(FRESH, LUCK, strict=True):
        keep(store, options, seed, 9, 0.9 + luck)
        run_id = keep(store, options | best, seed, 9, WORTH + 0.5 * luck)
        store.mark(run_id, record.name, trial=trial, confirms=True)
    verdict = "on 3 fresh seeds: better than the baseline"
    record.describe("", best_trial=trial, verdict=verdict)
    record.end(Status.FINISHED)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Study pooling, a search of the same data, and one of fewer images."""
    folder = tmp_path_factory.mktemp("searched")
    store, study = tracking.Store(str(folder)), {"study.name": "pooling"}
    for seed in (0, 1):
        keep(store, study, seed, 3, 0.89 + 0.001 * seed)
        keep(store, study | {"model.pooling": "average"}, seed, 3, 0.88)
    for seed, accuracy in zip(FRESH, (0.899, 0.904, 0.896), strict=True):
        keep(store, study | {"model.pooling": "average"}, seed, 9, accuracy)
    confirm(store, search(folder, store, NAME, {}, POINTS), {}, POINTS[4][0], "0004")
    points = {0: ({"model.dropout": 0.3}, 9, 0.85), 1: ({"model.dropout": 0.4}, 9, 0.84)}
    confirm(store, search(folder, store, OTHER, FEW, points), FEW, points[0][0], "0000")
    return folder


@pytest.fixture
def said(store, capsys):
    """What compare prints with these arguments, of that store."""

    def call(*arguments, code=0, where=store):
        assert compare.main(["--store", str(where), *map(str, arguments)]) == code
        found = capsys.readouterr()
        return found.err if code else found.out

    return call


def board(store, *question, **more):
    return answer(Question(str(store), *question, **more)).leaderboard


def row(board, variant, epochs=9):
    (found,) = board[(board["variant"] == variant) & (board["epochs"] == epochs)].to_dict("records")
    return found


# ---- The leaderboard -----------------------------------------------------------------------------------


def test_what_a_search_found_stands_beside_the_study_and_is_judged_on_fresh_seeds_alone(store):
    found = board(store, "pooling")
    assert set(found["variant"]) == {"baseline", "pooling=average", BEST}
    best = row(found, BEST)
    assert best["found_by"] == f"search {NAME}, one of 7 trials"
    assert best["changes"] == "filters=[16,64] dropout=0.1234"
    assert (best["seeds"], best["pairs"], best["verdict"]) == (3, 3, "better")
    assert best["val_accuracy"] == pytest.approx(WORTH) and best["difference"] == pytest.approx(WORTH - 0.9)


def test_a_search_of_other_data_stands_beside_the_study_that_was_run_with_them(store):
    assert set(board(store, "pooling", ["data.limit=3000"])["variant"]) == {"baseline", f"{OTHER}/0"}


def test_a_variant_that_a_study_declares_keeps_its_name_and_all_its_seeds(store):
    for found in (board(store, "pooling"), board(store)):
        pooled = row(found, "pooling=average", 3)
        assert pooled["found_by"] == f"search {NAME}, one of 7 trials" and pooled["seeds"] == 2
        assert row(found, "baseline", 3)["found_by"] == ""


def test_what_was_found_is_one_of_the_comparisons_that_holm_corrects(store):
    runs = tracking.load(str(store))
    at = runs[(runs["epochs"] == 9) & (runs["seed"] > 0) & (runs["data.limit"] == "null")]
    table = at.pivot(index="variant", columns="seed", values="val/accuracy")
    best, pooled, baseline = (table.loc[name].to_numpy() for name in
                              ("filters=[16,64] dropout=0.1234", "pooling=average", "baseline"))  # fmt: skip
    expected = stats.holm(stats.paired(np.stack([best, pooled]), baseline, rule=Rule(20)).p)
    found = board(store, "pooling")
    assert [row(found, name)["p_value"] for name in (BEST, "pooling=average")] == pytest.approx(expected.tolist())


def test_trials_that_nothing_confirms_are_neither_ranked_nor_called_better(store):
    found = board(store)
    chosen = found[found["verdict"] == "chosen by this score"]
    full = chosen[~chosen["changes"].str.startswith("limit")]
    assert list(zip(full["variant"], full["epochs"], strict=True)) == [
        (f"{NAME}/6", 9), (f"{NAME}/5", 9), (BEST, 3), (f"{NAME}/5", 3),
    ]  # fmt: skip
    assert chosen["rank"].isna().all() and chosen["p_value"].isna().all() and chosen["difference"].isna().all()
    assert chosen.index.min() > found.index[found["rank"].notna()].max()
    assert row(found, f"{NAME}/3", 3)["status"] == "FAILED" and row(found, f"{NAME}/3", 3)["verdict"] == ""


def test_trials_of_several_executions_are_no_more_evidence(store):
    runs = add_searches(tracking.load(str(store)), set(), {})
    again = runs[runs["changes"] == "kernel_size=4"]
    more = pd.concat([runs, again.assign(seed=1, run_id="a"), again.assign(seed=2, run_id="b")])
    assert row(leaderboard(more), f"{NAME}/6")["verdict"] == "chosen by this score"


def test_by_run_a_trial_is_seen_beside_the_fresh_seeds(store):
    found = board(store, by="run").set_index("variant")["verdict"]
    assert found[f"{BEST} · seed 0"].tolist() == ["chosen by this score"] * 2  # after 3 epochs and after 9
    assert f"{BEST} · seed 1" in found


def test_a_run_that_another_search_has_chosen_by_confirms_nothing(store):
    opened = tracking.Store(str(store))
    first, second = (keep(opened, {"data.limit": 5000, "model.filters": filters}, 1, 9, 0.9) for filters in (32, 64))
    trial, fresh = {"trial": "0001"}, {"trial": "0002", "confirms": True}
    for run_id, uses in ((first, (fresh, trial)), (second, (trial, fresh))):
        for name, use in zip(("a", "b"), uses, strict=True):
            opened.mark(run_id, name, **use)
    runs = tracking.load(str(store))
    assert not runs.loc[runs["data.limit"] == "5000", "confirms"].any()
    found = row(board(store), "a/2")
    assert (found["verdict"], found["found_by"]) == (
        "chosen by this score",
        "search a, one of several trials; search b, one of several trials",
    )


# ---- How it is shown -----------------------------------------------------------------------------------


def test_a_table_marks_what_was_found_and_says_what_it_changes(said):
    text = said("--study", "pooling")
    assert f"{BEST} (one of 7 trials)" in text and f"pooling=average (search {NAME}, one of 7 trials)" in text
    assert f"{BEST} is filters=[16,64] dropout=0.1234" in " ".join(text.split()) and "chosen by this score" not in text
    assert f"| {BEST} (one of 7 trials)" in said("--study", "pooling", "--format", "md")
    assert "no fresh seed has confirmed" in " ".join(said().split())


def test_data_say_which_search_found_a_row_and_how_many_trials_it_took(said):
    back = pd.read_csv(io.StringIO(said("--study", "pooling", "--format", "csv")))
    assert set(back["found_by"].dropna()) == {f"search {NAME}, one of 7 trials"}
    rows = json.loads(said("--study", "pooling", "--format", "json"))
    assert {row["changes"] for row in rows} == {"baseline", "pooling=average", "filters=[16,64] dropout=0.1234"}


def test_the_report_draws_what_trials_may_be_expected_to_find_for_searches_of_the_same_data(said, store, tmp_path):
    said("--study", "pooling", "--format", "html", "--out", tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert f"{NAME}: 3 trials of 9 epochs" in page and "Dodge et al. 2019" in page and OTHER not in page
    assert f"<small>search {NAME}, one of 7 trials</small>" in page
    said("--study", "scale", "data.limit=4000", "--format", "html", "--out", tmp_path / "b.html")
    assert "Dodge" not in (tmp_path / "b.html").read_text()


def test_what_was_scored_on_other_images_stands_beside_no_study(said, tmp_path):
    store, few, many = tracking.Store(str(tmp_path)), "data.limit=3000", "data.validation_rows=9000"
    points = {0: ({"model.dropout": 0.3}, 9, 0.85)}
    confirm(store, search(tmp_path, store, OTHER, FEW, points), FEW, points[0][0], "0000")
    for seed in FRESH:
        keep(store, FEW | {"data.validation_rows": 9000}, seed, 9, 0.9)
    assert f"{OTHER}/0" in said("--study", "pooling", few, where=tmp_path)
    text = said("--study", "pooling", few, many, where=tmp_path)
    assert OTHER not in text and "baseline" in text


# ---- All searches --------------------------------------------------------------------------------------


def test_all_searches_stand_in_a_table_with_their_verdicts(said):
    text = said("--searches")
    assert "7 (1)" in text and "3 at 9 epochs" in text and "95.00" in text
    assert f"{NAME}: on 3 fresh seeds: better than the baseline" in text
    assert said("--searches", "--format", "md").startswith("| search")


def test_only_scores_after_the_most_epochs_are_compared(said):
    back = pd.read_csv(io.StringIO(said("--searches", "--format", "csv"))).set_index("name")
    ours = back.loc[NAME]
    assert (ours["trials"], ours["failed"], ours["epochs"], ours["best_trial"], ours["best_score"]) == (
        7,
        1,
        39,
        4,
        0.95,
    )
    assert (ours["compared"], ours["compared_epochs"]) == (3, 9)
    assert ours["expected_1"] == pytest.approx(0.94)  # of 0.95, 0.93 and 0.94
    assert ours["expected_2"] == pytest.approx((5 * 0.95 + 3 * 0.94 + 0.93) / 9)
    assert (back.loc[OTHER, "compared"], back.loc[OTHER, "expected_2"]) == (2, pytest.approx(0.8475))
    assert [row["name"] for row in json.loads(said("--searches", "--format", "json"))] == list(back.index)


def test_a_search_that_goes_on_shows_nothing_that_it_concluded_from_fewer_trials():
    search = {
        "name": "a", "status": "RUNNING", "objective": "val/loss", "trials": 2, "failed": 0, "epochs": 6,
        "best_trial": "0001", "best_score": 0.3, "verdict": "better", "scores": [0.5, 0.3], "reached": [3, 3],
    }  # fmt: skip
    (found,) = searches.overview(pd.DataFrame([search])).to_dict("records")
    assert (found["best_trial"], found["verdict"], found["best_score"]) == ("", "", 0.3)
    assert found["expected_2"] == pytest.approx(0.35)  # of a loss the least
    assert "0.3500" in render(searches.overview(pd.DataFrame([search])), "table")


def test_a_search_that_has_not_recorded_its_epochs_has_no_curve():
    search = {"name": "a", "objective": "val/accuracy", "scores": [0.5, 0.3], "reached": [0, 0]}
    assert searches.curves(pd.DataFrame([search])) == []


def test_a_store_without_searches_says_so_and_stays_as_it_is(said, tmp_path):
    assert said("--searches", where=tmp_path / "none").startswith("no searches yet")
    assert said("--searches", "--format", "json", where=tmp_path / "none") == "[]\n"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--study", "pooling"], "leave out --study"),
        (["--top", "3"], "leave out --top"),
        (["data.limit=3000"], "leave out 'data.limit=3000'"),
        (["--format", "html"], "table, csv, md, json, but got 'html'"),
        (["--out", "folder"], "folder/searches.csv"),
    ],
)
def test_what_a_table_of_searches_has_not_is_refused(said, arguments, words):
    told = said("--searches", *arguments, code=2)
    assert words in told and told.count("\n") == 1
