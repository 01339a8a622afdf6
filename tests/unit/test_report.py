"""The report as text, and as a page opened from disk in a real browser."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import BROWSER, FLAGS, NO_BROWSER
from findings import findings
from playwright.sync_api import Browser, Page, sync_playwright

from fmnist import words
from fmnist.analysis import classes
from fmnist.analysis.claims import OtherBaseline
from fmnist.config import CLASSES
from fmnist.report import drawing, svg
from fmnist.report import page as report
from fmnist.report.content import Content
from fmnist.report.figures import classes as class_figures
from fmnist.report.figures import costs, effects, epochs, registry

EVIL = "<script>alert(1)</script>"
NAMES = {"effects", "learning_accuracy", "learning_loss", "rungs", "recall", "pareto_parameters", "pareto_seconds"}


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def renamed(old: str, new: str, given: Content) -> Content:
    """The findings with another name for a variant, wherever it stands."""
    return replace(
        given,
        leaderboard=given.leaderboard.assign(variant=given.leaderboard["variant"].replace(old, new)),
        runs=given.runs.assign(
            variant=given.runs["variant"].replace(old, new),
            run_name=given.runs["run_name"].str.replace(old, new, regex=False),
        ),
        effects=given.effects.assign(level=given.effects["level"].replace(old.split("=")[1], new)),
    )


@pytest.fixture(scope="module")
def found() -> Content:
    return findings(variants=6, seeds=2, rungs=(1, 3, 10))


@pytest.fixture(scope="module")
def text(found: Content) -> str:
    return report.render(found)


def matrices(text: str) -> dict[str, Any]:
    block = re.search(r'<script type="application/json" id="matrices">(.*?)</script>', text)
    assert block
    content: dict[str, Any] = json.loads(block[1])
    return content


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
    evil.claims = [replace(found.claims[0], says=EVIL, reasons=(OtherBaseline(EVIL),), run_ids=(EVIL,))]
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
    first, second = registry.draw(found), registry.draw(found)
    assert set(first) == NAMES
    for name, figure in first.items():
        assert svg.document(figure) == svg.document(second[name])
        assert "<text" in svg.document(figure) and "<dc:date>" not in svg.document(figure)


def test_a_forest_plot_shows_each_level_at_its_longest_budget_with_its_interval(found: Content) -> None:
    figure = effects.forest(found)
    assert figure
    last = found.effects[found.effects["epochs"] == 10]
    drawn = [line.get_xdata() for line in figure.axes[0].lines if line.get_gid()]
    np.testing.assert_array_equal(np.ravel(drawn), last["effect"])
    spans = [line.get_xdata() for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and not line.get_gid()][
        :-1
    ]
    np.testing.assert_array_equal(spans, last[["low", "high"]])


def test_learning_curves_are_means_over_seeds_with_baseline_and_best_marked(found: Content) -> None:
    figure = epochs.learning(found, "val/accuracy")
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
    assert registry.draw(replace(found, leaderboard=none, effects=found.effects.iloc[:0])) == {}
    assert epochs.rungs(replace(found, leaderboard=found.leaderboard[found.leaderboard["epochs"] == 3])) is None
    assert class_figures.recall(replace(found, runs=found.runs[["run_id"]])) is None
    assert costs.pareto(replace(found, leaderboard=found.leaderboard.iloc[:1]), "parameters") is None


def test_the_front_is_what_nothing_of_the_same_cost_or_less_equals() -> None:
    cost, accuracy = np.array([1, 1, 2, 3, 4, 5.0]), np.array([0.5, 0.6, 0.6, 0.8, 0.7, 0.9])
    assert costs.front(cost, accuracy).tolist() == [1, 3, 5]
    assert costs.front(np.array([]), np.array([])).tolist() == []


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


def test_a_report_needs_neither_keras_nor_mlflow_nor_pyplot() -> None:
    heavy = "{'matplotlib.pyplot', 'keras', 'tensorflow', 'mlflow'}"
    code = f"import sys, fmnist.report.page; print({heavy} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# ---- The page -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if BROWSER is None:
        pytest.skip(NO_BROWSER)
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(found: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with a hostile name, on disk."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report.render(renamed("filters=32", EVIL, found)), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    """The report opened from disk; it may complain of nothing and ask for nothing."""
    opened = browser.new_page(viewport={"width": 1400, "height": 900})
    opened.set_default_timeout(10_000)
    troubles: list[str] = []
    opened.on("console", lambda message: troubles.append(message.text))
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("dialog", lambda dialog: troubles.append(dialog.message))
    opened.on("request", lambda request: troubles.append(request.url) if not request.url.startswith("data:") else None)
    opened.goto(file.as_uri())
    assert troubles == [file.as_uri()]
    yield opened
    assert troubles == [file.as_uri()]
    opened.close()


def column(page: Page, number: int) -> list[str]:
    values: list[str] = page.eval_on_selector_all(
        "#ranking tbody tr", f"rows => rows.filter(r => !r.hidden).map(r => r.cells[{number}].dataset.value)"
    )
    return values


def test_a_click_on_a_head_sorts_and_another_turns_the_order(page: Page) -> None:
    assert page.locator("#ranking th[aria-sort]").inner_text() == "Rank"
    head = page.locator("#ranking thead th", has_text="Test")
    head.get_by_role("button").click()
    values = [float(value) for value in column(page, 5)]
    assert values == sorted(values, reverse=True) and head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()
    assert [float(value) for value in column(page, 5)] == sorted(values)
    assert head.get_attribute("aria-sort") == "ascending" and page.locator("#ranking th[aria-sort]").count() == 1
    assert page.locator("#ranking-status").inner_text() == "sorted by Test, ascending"


def test_the_keyboard_sorts_and_what_is_missing_comes_last_in_either_order(page: Page) -> None:
    button = page.get_by_role("button", name="Difference")
    for order in ("Enter", "Space"):
        button.press(order)
        values = column(page, 6)
        assert values[-4:] == [""] * 4 and "" not in values[:-4]  # the baseline's rows and the published one
    assert [float(value) for value in values[:-4]] == sorted(float(value) for value in values[:-4])


def test_text_sorts_as_people_read_it(page: Page) -> None:
    page.get_by_role("button", name="Variant").click()
    names = column(page, 1)
    assert names[0] == EVIL and names.index("filters=64") < names.index("kernel_size=3") < names.index("scale=unit")


def test_one_budget_can_be_chosen(page: Page) -> None:
    page.select_option("#ranking-epochs", "3")
    assert set(column(page, 2)) == {"3"} and len(column(page, 2)) == 6
    page.select_option("#ranking-epochs", "")
    assert len(column(page, 2)) == 19


def cells(page: Page) -> list[list[str]]:
    shown: list[list[str]] = page.eval_on_selector_all(
        "#matrix tbody tr", "rows => rows.map(r => [...r.querySelectorAll('td')].map(c => c.textContent))"
    )
    return shown


def test_the_matrix_of_any_run_and_the_difference_of_any_two_can_be_chosen(page: Page, text: str) -> None:
    runs = [np.array(run["counts"]).reshape(10, 10) for run in matrices(text)["runs"]]
    assert cells(page) == [[str(count or "") for count in row] for row in runs[0].tolist()]
    page.select_option("#matrix-left", "5")
    assert cells(page) == [[str(count or "") for count in row] for row in runs[5].tolist()]
    wrong = int(200 - np.trace(runs[5]))
    assert f"{wrong} of 200 wrong, accuracy {100 - wrong / 2:.2f} %" in page.locator("#matrix-status").inner_text()
    page.select_option("#matrix-right", "35")
    expected = [
        [f"{count:+d}".replace("-", "−") if count else "" for count in row] for row in (runs[5] - runs[35]).tolist()
    ]
    assert cells(page) == expected
    more = int(np.trace(runs[35]) - np.trace(runs[5]))
    assert (
        f"{abs(more)} {'more' if more > 0 else 'fewer'} wrong than the other"
        in page.locator("#matrix caption").inner_text()
    )
    assert page.locator("#matrix-difference").is_visible() and page.locator("#matrix-counts").is_hidden()


def test_a_difference_is_blue_where_the_first_run_does_better(page: Page, text: str) -> None:
    runs = [np.array(run["counts"]).reshape(10, 10) for run in matrices(text)["runs"]]
    page.select_option("#matrix-left", "0")
    page.select_option("#matrix-right", "35")
    better = (runs[0] - runs[35]) * np.where(np.eye(10, dtype=bool), 1, -1)
    shown = page.eval_on_selector_all(
        "#matrix tbody td", "all => all.map(c => c.matches('.good') - c.matches('.bad'))"
    )  # fmt: skip
    assert np.array_equal(np.reshape(shown, (10, 10)), np.sign(better))


def test_a_variant_can_be_pointed_out_in_all_curves(page: Page) -> None:
    page.select_option("#pick", "filters=64")
    picked = page.eval_on_selector_all(".series.picked", "all => all.map(g => [g.dataset.name, g.closest('svg').id])")
    assert sorted(picked) == [["filters=64", name] for name in ("learning_accuracy", "learning_loss", "rungs")]
    page.select_option("#pick", "")
    assert page.locator(".series.picked").count() == 0


def test_hostile_names_are_shown_as_they_are_and_do_nothing(page: Page) -> None:
    assert page.locator("#ranking tbody th", has_text=EVIL).count() == 3
    assert page.locator("#matrix-left option", has_text=EVIL).count() == 6
    assert page.locator(f'#learning_loss [data-name="{EVIL}"] title').count() == 1


def test_the_command_can_be_copied_or_else_stays_selected(page: Page, found: Content) -> None:
    page.locator("#copy").click()
    page.wait_for_function("document.getElementById('copy').textContent !== 'Copy'")
    if page.locator("#copy").inner_text() != "Copied":
        assert page.evaluate("String(getSelection())").strip() == found.command


@pytest.mark.parametrize("width", [360, 390, 768, 1400])
def test_the_page_is_never_wider_than_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    boxes = page.eval_on_selector_all(
        "main p, main li, main h2, main select", "all => all.map(e => e.getBoundingClientRect().right)"
    )
    assert max(boxes) <= width


def test_long_names_and_values_break_rather_than_widen_the_page(
    browser: Browser, found: Content, tmp_path: Path
) -> None:
    endless = "x" * 300
    long = replace(renamed("scale=unit", endless, found), command=endless, provenance={endless: endless})
    widths = []
    for shown in (found, long):
        (tmp_path / "page.html").write_text(report.render(shown), encoding="utf-8")
        page = browser.new_page(viewport={"width": 360, "height": 800})
        page.goto((tmp_path / "page.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        widths.append(page.locator("#ranking").evaluate("table => table.offsetWidth"))
        page.close()
    assert widths[1] < 1.1 * widths[0]


def test_what_scrolls_in_its_own_box_is_reached_by_keyboard(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    page.wait_for_function("document.querySelector('.ranking').tabIndex === 0")
    assert page.locator("#effects").evaluate("svg => svg.parentNode.tabIndex") == 0
    assert page.locator("#matrix").get_attribute("aria-label") == "confusion matrix"


def test_ink_and_ground_change_places_in_the_dark(page: Page) -> None:
    def shades() -> tuple[float, float]:
        ink = page.eval_on_selector("#rungs text", "text => getComputedStyle(text).fill")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        first, second = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 765 for colour in (ink, ground))
        return first, second

    ink, ground = shades()
    assert ink < 0.5 and ground > 0.9
    page.emulate_media(color_scheme="dark")
    ink, ground = shades()
    assert ground < 0.1 and ink > 0.5
    page.emulate_media(color_scheme="dark", media="print")
    assert shades()[1] == 1  # paper


def test_on_paper_there_are_no_controls_and_the_whole_table(page: Page) -> None:
    page.emulate_media(media="print")
    assert page.locator("select:visible, nav:visible, #copy:visible").count() == 0
    assert page.locator(".ranking").evaluate("box => box.scrollHeight <= box.clientHeight + 1")
    assert page.pdf()[:5] == b"%PDF-"


def test_without_scripts_everything_but_what_they_draw_is_there(browser: Browser, file: Path) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(file.as_uri())
    assert page.locator(".claim").count() == 6 and page.locator("#ranking tbody tr").count() == 19
    assert page.locator("select:visible, #copy:visible").count() == 0
    assert page.get_by_text("The matrices are drawn by a script in this file.").is_visible()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    ratios = page.evaluate(CONTRAST)
    assert min(ratios.values()) >= 4.5, ratios


CONTRAST = """() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    const parts = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
    const [r, g, b] = parts.map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = {};
  for (const ink of ["--ink", "--muted", "--blue", "--alarm", "--purple"]) {
    for (const ground of ["--ground", "--surface", "--faint"]) {
      const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
      found[`${ink} on ${ground}`] = (a + 0.05) / (b + 0.05);
    }
  }
  return found;
}"""
