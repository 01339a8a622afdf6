"""The report as text; tests/system/test_page.py opens it in a browser."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from findings import EVIL, findings, matrices, renamed

from fmnist import words
from fmnist.analysis import classes
from fmnist.analysis.claims import Kind, Reason
from fmnist.config import CLASSES
from fmnist.report import drawing, figures, svg
from fmnist.report import page as report
from fmnist.report.content import Content

NAMES = {"effects", "learning_accuracy", "learning_loss", "rungs", "recall", "pareto_parameters", "pareto_seconds"}


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def found() -> Content:
    return findings(variants=6, seeds=2, rungs=(1, 3, 10))


@pytest.fixture(scope="module")
def text(found: Content) -> str:
    return report.render(found)


# ---- The text -------------------------------------------------------------------------------------------


def test_the_same_findings_give_the_same_bytes(found: Content, text: str) -> None:
    assert report.render(found) == text
    assert report.render(findings(variants=6, seeds=2, rungs=(1, 3, 10))) == text


def test_verdicts_stand_before_all_else_and_in_the_order_of_the_claims(found: Content, text: str) -> None:
    heads = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert heads[0] == "What holds"
    places = [text.index(f"<h3>{claim.says.replace(chr(39), '&#39;')}</h3>") for claim in found.claims]
    assert places == sorted(places) and places[-1] < text.index("Leaderboard</h2>")
    chips = re.findall(r'<span class="chip [\w-]+">(.*?)</span>', text)
    assert chips[: len(found.claims)] == [claim.verdict for claim in found.claims]


def test_no_id_is_there_twice_and_what_is_referred_to_is_there(text: str) -> None:
    tags = Tags(text).found
    ids = Counter(attributes["id"] for _, attributes in tags if "id" in attributes)
    assert max(ids.values()) == 1
    named = {key for _, each in tags for key in ("xlink:href", "href", "aria-labelledby") if key in each}
    assert {"xlink:href", "href", "aria-labelledby"} <= named
    for _, each in tags:
        for key in ("xlink:href", "href", "aria-labelledby"):
            target = (each.get(key) or "").removeprefix("#")
            assert not target or target in ids, target
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)


def test_every_picture_has_an_alternative_text(text: str) -> None:
    tags = Tags(text).found
    drawn = [each for tag, each in tags if tag == "svg"]
    assert {each["id"] for each in drawn} == NAMES
    assert all(each["role"] == "img" and len(each["aria-label"] or "") > 30 for each in drawn)
    images = [each for tag, each in tags if tag == "img"]
    assert images and all((each["alt"] or "").startswith("test image ") for each in images)


def test_nothing_in_the_page_lies_elsewhere_and_its_policy_forbids_what_it_does_not_need(text: str) -> None:
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)
    policy = next(each["content"] for tag, each in Tags(text).found if "http-equiv" in each)
    assert policy and policy.startswith("default-src 'none'; img-src data:") and "'sha256-" in policy
    assert not re.search(r"<[^>]* on\w+=", text)


def test_figures_follow_the_colours_of_the_page(text: str) -> None:
    page_ink = {ink: text.count(ink) for ink in (drawing.INK, drawing.MUTED, drawing.RULE)}
    style = text[text.index("<style>") : text.index("</style>")]
    assert page_ink == {ink: style.count(ink) for ink in page_ink}
    assert text.count("currentColor") > 20 and text.count("var(--blue)") > 20


def test_what_is_recorded_is_escaped_wherever_it_stands(found: Content) -> None:
    evil = renamed("filters=32", EVIL, found)
    evil.question, evil.study, evil.command = f"Why {EVIL}?", EVIL, f"make {EVIL}"
    evil.notes, evil.provenance = [EVIL], {EVIL: EVIL}
    evil.claims = [
        replace(found.claims[0], says=EVIL, reasons=(Reason(Kind.OTHER_BASELINE, {"name": EVIL}),), run_ids=(EVIL,))
    ]
    failed, improving, *_ = found.diagnosis
    evil.diagnosis = [
        replace(improving, subject=EVIL),
        replace(failed, subject=EVIL, numbers={**failed.numbers, "variants": {EVIL: 1}}),
    ]
    evil.leaderboard = evil.leaderboard.assign(run_id=evil.leaderboard["run_id"] + EVIL, worst_class=EVIL, status=EVIL)
    page = report.render(evil)
    assert EVIL not in page and "</script>alert" not in page
    assert len([tag for tag, _ in Tags(page).found if tag == "script"]) == 2
    assert any(EVIL in run["name"] for run in matrices(page)["runs"])


@pytest.mark.parametrize(
    "name", ["filters=$32$ _{", "bad=\x00\x1f", "long=" + "0123456789" * 20, "a]]>b", "_x", "&amp;"]
)
def test_odd_names_break_nothing(name: str, found: Content) -> None:
    page = report.render(renamed("filters=32", name, found))
    assert {each["id"] for tag, each in Tags(page).found if tag == "svg"} == NAMES


def test_a_confusion_matrix_is_counted_from_the_predictions_of_its_run(found: Content, text: str) -> None:
    content = matrices(text)
    assert content["classes"] == list(CLASSES) and len(content["runs"]) == len(found.runs)
    for run in content["runs"]:
        expected = np.zeros((10, 10), int)
        np.add.at(expected, (found.labels, found.predictions[run["id"]]), 1)
        assert run["counts"] == expected.ravel().tolist()
    assert [run["epochs"] for run in content["runs"]] == sorted(found.runs["epochs"], reverse=True)
    assert content["runs"][0]["name"] == "scale=unit · 10 epochs · seed 0"


# ---- What is missing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"claims": []}, ["declares no claims", "conf/study/article.yaml"]),
        ({"effects": pd.DataFrame()}, ["No effects yet", "make sweep STUDY=article"]),
        ({"histories": {}}, ["No learning curves"]),
        ({"predictions": {}}, ["there are no confusion matrices", "nobody knows which images"]),
        ({"images": np.zeros((0, 28, 28), np.uint8)}, ["test images are not at hand", "make data"]),
        ({"diagnosis": []}, ["Nothing stands out"]),
        ({"command": ""}, ["make sweep STUDY=article"]),
        ({"question": ""}, ["<h1>Study article</h1>"]),
        ({"notes": [], "provenance": {}}, ["Repeat it"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_missing_part_is_named_with_the_way_to_get_it(
    changes: dict[str, Any], said: list[str], found: Content
) -> None:
    page = report.render(replace(found, **changes))
    assert all(words in page for words in said)


def test_without_any_run_the_page_says_how_to_start(found: Content) -> None:
    nothing: dict[str, Any] = {"effects": found.effects.iloc[:0], "histories": {}, "predictions": {}, "diagnosis": []}
    page = report.render(replace(found, leaderboard=found.leaderboard.iloc[:0], runs=found.runs.iloc[:0], **nothing))
    assert "No runs yet. Start some with <code>make sweep STUDY=article</code>" in page and "<svg" not in page


def test_one_seed_is_marked_and_its_effects_have_no_interval() -> None:
    page = report.render(findings(variants=3, seeds=1, rungs=(3,)))
    assert "one seed cannot show" in page and "study.seeds=[0,1,2]" in page and "no interval" in page
    assert not re.search(r"\bnan\b", re.sub(r"data:image/png;base64,[^\"]*", "", page), re.IGNORECASE)
    assert "Fewer than two epoch budgets have runs" in page


def test_failed_and_unscored_runs_are_listed_and_not_drawn(found: Content) -> None:
    failed = {"variant": "filters=0", "epochs": 10, "seeds": 1, "run_id": "dead", "status": "FAILED"}
    page = report.render(
        replace(found, leaderboard=pd.concat([found.leaderboard, pd.DataFrame([failed])], ignore_index=True))
    )
    assert '<span class="failed">failed</span>' in page and "filters=0" in page
    assert all("filters=0" not in part for part in re.findall(r"<svg.*?</svg>", page, re.DOTALL))


def test_fifty_variants_with_three_seeds_stay_under_five_megabytes() -> None:
    assert len(report.render(findings(variants=50, seeds=3)).encode()) < 5e6


# ---- Figures --------------------------------------------------------------------------------------------


def test_figures_are_named_and_the_same_file_each_time(found: Content) -> None:
    first, second = figures.draw(found), figures.draw(found)
    assert set(first) == NAMES
    for name, figure in first.items():
        assert svg.document(figure) == svg.document(second[name])
        assert "<text" in svg.document(figure) and "<dc:date>" not in svg.document(figure)


def test_a_forest_plot_shows_each_level_at_its_longest_budget_with_its_interval(found: Content) -> None:
    figure = figures.forest(found)
    assert figure
    last = found.effects[found.effects["epochs"] == 10]
    drawn = [line.get_xdata() for line in figure.axes[0].lines if line.get_gid()]
    np.testing.assert_array_equal(np.ravel(drawn), last["effect"])
    spans = [line.get_xdata() for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and not line.get_gid()][
        :-1
    ]
    np.testing.assert_array_equal(spans, last[["low", "high"]])


def test_learning_curves_are_means_over_seeds_with_baseline_and_best_marked(found: Content) -> None:
    figure = figures.learning(found, "val/accuracy")
    assert figure
    lines = {str(line.get_gid()): line for line in figure.axes[0].lines}
    assert len(lines) == 6
    baseline = lines["tip:baseline"]
    ids = found.runs.query("variant == 'baseline' and epochs == 10")["run_id"]
    paths = np.mean([found.histories[key]["val/accuracy"] for key in ids], axis=0)
    np.testing.assert_allclose(np.asarray(baseline.get_ydata()), paths)
    assert baseline.get_color() == drawing.INK and lines["tip:scale=unit"].get_linewidth() > 2


def test_what_cannot_be_drawn_is_no_figure(found: Content) -> None:
    none = found.leaderboard.iloc[:0]
    assert figures.draw(replace(found, leaderboard=none, effects=found.effects.iloc[:0])) == {}
    assert figures.rungs(replace(found, leaderboard=found.leaderboard[found.leaderboard["epochs"] == 3])) is None
    assert figures.recall(replace(found, runs=found.runs[["run_id"]])) is None
    assert figures.pareto(replace(found, leaderboard=found.leaderboard.iloc[:1]), "parameters") is None


def test_the_front_is_what_nothing_of_the_same_cost_or_less_equals() -> None:
    cost, accuracy = np.array([1, 1, 2, 3, 4, 5.0]), np.array([0.5, 0.6, 0.6, 0.8, 0.7, 0.9])
    assert figures.front(cost, accuracy).tolist() == [1, 3, 5]
    assert figures.front(np.array([]), np.array([])).tolist() == []


def test_labels_are_moved_apart_no_further_than_needed_and_stay_inside() -> None:
    np.testing.assert_allclose(drawing.apart(np.array([0.9, 0.5, 0.1]), 0.1), [0.9, 0.5, 0.1])
    np.testing.assert_allclose(drawing.apart(np.array([0.5, 0.5]), 0.1), [0.55, 0.45])
    np.testing.assert_allclose(drawing.apart(np.array([1.0, 1.0]), 0.1), [1.0, 0.9])
    np.testing.assert_allclose(drawing.apart(np.array([0.0, 0.0]), 0.1), [0.1, 0.0])


def test_values_far_below_do_not_squeeze_the_rest_and_are_counted() -> None:
    figure, axes = drawing.panel(300, 200, left=40, right=10, bottom=40, top=10)
    values = np.append(np.linspace(0.88, 0.92, 20), 0.1)
    assert drawing.limit(axes, values) == "  (1 value beyond the scale)" and axes.get_ylim()[0] > 0.7
    assert drawing.limit(axes, values[:-1]) == "" and figure.axes == [axes]


# ---- Mistakes and numbers -------------------------------------------------------------------------------


def test_a_confusion_matrix_counts_actual_by_predicted() -> None:
    counts = classes.confusion(np.array([6, 6, 0, 9], np.uint8), np.array([0, 6, 0, 7], np.uint8))
    assert counts.sum() == 4 and counts[6, 0] == counts[6, 6] == counts[0, 0] == counts[9, 7] == 1
    with pytest.raises(ValueError, match="each of the 2 labels needs a prediction, but got 3"):
        classes.confusion(np.zeros(2, np.uint8), np.zeros(3, np.uint8))


def test_the_images_missed_most_often_come_first_and_shirts_before_all() -> None:
    labels = np.array([6, 6, 0, 0, 2], np.uint8)
    predictions = {
        "a": np.array([0, 6, 6, 6, 2], np.uint8),
        "b": np.array([0, 6, 6, 0, 2], np.uint8),
        "c": np.array([2, 0, 3, 0, 2], np.uint8),
    }
    missed = classes.most_missed(labels, predictions)
    assert list(missed) == ["Shirt", "T-shirt/top"]
    assert missed["Shirt"] == (
        4,
        [classes.Missed(0, "Shirt", "T-shirt/top", 3), classes.Missed(1, "Shirt", "T-shirt/top", 1)],
    )
    assert [one.times for one in missed["T-shirt/top"][1]] == [3, 1]
    assert len(classes.most_missed(labels, predictions, most=1)["T-shirt/top"][1]) == 1
    assert classes.most_missed(labels, {}) == {}


def test_numbers_read_well_and_missing_ones_are_dashes() -> None:
    assert words.percent(0.91234) == "91.23 %"
    assert [words.points(0.0123), words.points(-0.005)] == ["+1.23", "−0.50"]
    assert [words.p_value(p) for p in (0.0123, 0.44)] == ["0.012", "0.44"]
    assert words.p_value(0.0001).endswith("0.001")
    assert [words.duration(s)[:3] for s in (12.34, 600, 9000)] == ["12.", "10.", "2.5"]
    assert words.count(940170) == "940,170" and words.plural(1, "run")[-3:] == "run"
    for say in (words.percent, words.points, words.p_value, words.duration, words.count):
        assert say(None) == say(float("nan")) == "–"
    assert words.interval(0.9, None) == "" and words.interval(0.9, 0.91) == "90.00 to 91.00"
