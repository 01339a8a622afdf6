"""What searches found, beside what studies declare: marked, judged by fresh seeds alone, and all searches in a table."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.store import dataset
from fmnist import compare, tracking
from fmnist.config import Config, from_flat
from fmnist.identity import parameters, run_name, signatures
from fmnist.run import tags
from fmnist.study.answer import Question, answer

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
FRESH, LUCK = (1, 2, 3), (0.0, 0.001, -0.001)
WORTH = 0.93  # of the best: the search saw two points more


def keep(book, options, seed, epochs, score):
    """A run as real ones are written, without what no ranking reads; returns its id."""
    config = replace(from_flat(BASE, options), seed=seed, epochs=epochs)
    data = dataset()
    signed = signatures(config, data.digest)
    writer = book.begin(run_name(config), signed.run, parameters(config), tags(config, signed, data))
    if score is None:
        writer.fail("DivergedError: the loss is nan")
    else:
        numbers = {"val/accuracy": score, "val/loss": 1 - score, "test/accuracy": score - 0.01, "time/train_s": 9.0}
        writer.metrics(numbers, step=epochs)
        writer.end(tracking.FINISHED)
    return writer.run_id


def search(folder, book, confirmed=True):
    """A hyperband search of seven trials, each a run with seed 0, and its best beside the baseline on fresh seeds."""
    options = {"tuner.kind": "hyperband", "tuner.objective": "val/accuracy", "tuner.max_epochs": 9}
    record = tracking.SearchRecord(book, str(folder), NAME, {**options, **parameters(BASE), "data": dataset().digest})
    rows, epochs, failed, best = [], 0, 0, {}
    for trial, (changed, reached, score) in POINTS.items():
        run_id = keep(book, changed, 0, reached, score)
        book.mark(run_id, NAME, {"mlflow.parentRunId": record.run_id, "fmnist.trial": f"{trial:04d}"})
        epochs, failed = epochs + reached, failed + (score is None)
        values = {"search/epochs": float(epochs), "search/failed": float(failed)}
        if score is not None:
            best[reached] = max(score, best.get(reached, 0.0))
            values |= {"search/score": score, "search/reached": float(reached), "search/best": best[max(best)]}
        rows.append((1000 + trial, values))
    record.trials(rows)
    if confirmed:
        for seed, luck in zip(FRESH, LUCK, strict=True):
            keep(book, {}, seed, 9, 0.9 + luck)
            run_id = keep(book, POINTS[4][0], seed, 9, WORTH + 0.5 * luck)
            book.mark(run_id, NAME, {"fmnist.trial": "0004", "fmnist.confirms": "true"})
    verdict = "on 3 fresh seeds: better than the baseline" if confirmed else ""
    record.describe("", {}, len(POINTS), {"fmnist.best_trial": "0004", "fmnist.verdict": verdict})
    record.end(tracking.FINISHED)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Study pooling with two seeds at 3 epochs, and a search of the same data."""
    folder = tmp_path_factory.mktemp("searched")
    book = tracking.Book(str(folder))
    for seed in (0, 1):
        keep(book, {"study.name": "pooling"}, seed, 3, 0.89 + 0.001 * seed)
        keep(book, {"study.name": "pooling", "model.pooling": "average"}, seed, 3, 0.88)
    search(folder, book)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A search that was not confirmed, and nothing else."""
    folder = tmp_path_factory.mktemp("alone")
    search(folder, tracking.Book(str(folder)), confirmed=False)
    return folder


def board(store, *question, **more):
    return answer(Question(str(store), *question, **more)).board


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


def test_a_variant_that_a_study_declares_keeps_its_name_and_all_its_seeds(store):
    for found in (board(store, "pooling"), board(store)):
        pooled = row(found, "pooling=average", 3)
        assert pooled["found_by"] == f"search {NAME}, one of 7 trials" and pooled["seeds"] == 2
        assert row(found, "baseline", 3)["found_by"] == ""
