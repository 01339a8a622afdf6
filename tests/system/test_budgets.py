"""Which budget a statement is about: one rule for all that is said of a leaderboard."""

import re

import pandas as pd
import pytest
from invented import write

from fmnist import tracking
from fmnist.analysis.budgets import common_budget, judged_budget, own_longest
from fmnist.analysis.diagnosis import Kind
from fmnist.analysis.effects import grid_effects
from fmnist.config import Config, from_flat
from fmnist.report import page
from fmnist.study.findings import answer
from fmnist.study.question import Question

GRID = ["study.seeds=[0,1]", "study.most_seeds=2", "study.design=grid", "+study.axes.model.pooling=[max,average]"]


def rows(**reached):
    """A row for each variant and budget that it has reached."""
    return pd.DataFrame(
        [(name, epochs) for name, budgets in reached.items() for epochs in budgets], columns=["variant", "epochs"]
    )


def test_the_common_budget_is_the_longest_that_half_of_the_variants_reached():
    assert common_budget(rows(a=[3, 10], b=[3], c=[3], d=[3])) == 3
    assert common_budget(rows(a=[3, 10], b=[3, 10], c=[3], d=[3])) == 10
    assert common_budget(rows(a=[3], b=[10])) == 10
    assert common_budget(rows()) == 0


def test_a_variants_own_budget_is_the_longest_that_it_has_reached():
    found = own_longest(rows(a=[3, 10], b=[3]))
    assert found.to_numpy().tolist() == [["a", 10], ["b", 3]]


@pytest.mark.parametrize(
    ("seeds", "epochs"), [({3: 3, 10: 5, 50: 3}, 10), ({3: 2, 10: 2, 50: 1}, 10), ({3: 1, 50: 1}, 50)]
)
def test_a_claim_is_judged_at_the_budget_of_most_seeds_the_longest_of_them(seeds, epochs):
    assert judged_budget(pd.Series(seeds)) == epochs


# ---- One leaderboard ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A grid of six variants with two seeds after 3 and 10 epochs, two of which have gone on to 50."""
    folder = tmp_path_factory.mktemp("store")
    store = tracking.Store(str(folder))
    base = from_flat(Config(), {"compute.precision": "float32", "compute.threads": 1})
    for filters in (32, 64, 128):
        for pooling in ("max", "average"):
            for seed in (0, 1):
                for epochs in (3, 10, 50) if filters == 128 else (3, 10):
                    options = {"model.filters": filters, "model.pooling": pooling, "seed": seed, "epochs": epochs}
                    write(store, from_flat(base, options))
    return answer(Question(str(folder), "filters", GRID))


def test_page_summary_notes_diagnosis_and_shares_of_variance_speak_of_the_same_budget(found):
    text = re.sub(r"\s+", " ", page.render(found.content()).replace("\N{NO-BREAK SPACE}", " "))
    assert "<dt>Best at 10 epochs</dt>" in text and "mean over the seeds at 10 epochs, best variant first" in text
    assert "that seeds show at 10 epochs" in text and "at 50 epochs" not in text.split('id="diagnosis"')[1]
    shorter = [each for each in found.diagnosis if each.kind == Kind.SHORTER]
    assert [(each.subject, each.numbers["longer"]) for each in shorter] == [("3", 10)]
    runs = found.selection.own[found.selection.own["epochs"] == 10]
    shares = grid_effects(runs, "val/accuracy", ["model.filters", "model.pooling"], "seed")
    assert found.shares["share"].tolist() == pytest.approx(shares["share"].tolist()) and len(shares) > 2
