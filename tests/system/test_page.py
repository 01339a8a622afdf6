"""The report as a page opened from disk in a real browser."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import BROWSER, FLAGS, NO_BROWSER
from findings import EVIL, matrices, renamed
from playwright.sync_api import Browser, Page, sync_playwright

from fmnist.report import page as report
from fmnist.report.content import Content


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


def tables(page: Page) -> list[list[list[str]]]:
    shown: list[list[list[str]]] = page.eval_on_selector_all(
        "#matrix table",
        "all => all.map(t => [...t.tBodies[0].rows].map(r => [...r.querySelectorAll('td')].map(c => c.textContent)))",
    )
    return shown


def said(shares: np.ndarray, sign: str = "") -> list[list[str]]:
    return [[f"{value:{sign}.1f}".replace("-", "−") if abs(value) >= 0.05 else "" for value in row] for row in shares]


def percentages(text: str) -> list[np.ndarray]:
    """Of each matrix that can be chosen, per cent of a class."""
    counts = [np.array(row["counts"]).reshape(10, 10) for row in matrices(text)["rows"]]
    return [100 * each / each.sum(axis=1, keepdims=True) for each in counts]


def test_the_best_and_the_baseline_stand_side_by_side_with_their_difference(page: Page, text: str) -> None:
    shares, rows = percentages(text), matrices(text)["rows"]
    baseline = next(place for place, row in enumerate(rows) if row["baseline"])
    assert tables(page) == [said(shares[0]), said(shares[baseline]), said(shares[0] - shares[baseline], "+")]
    captions = page.locator("#matrix caption").all_inner_texts()
    assert captions[0].startswith("scale=unit · 10 epochs: accuracy ") and captions[0].endswith("mean of 2 seeds")
    gain = float(np.trace(shares[0]) - np.trace(shares[baseline])) / 10
    assert captions[2].endswith(f"scale=unit · 10 epochs minus baseline · 10 epochs: {gain:+.2f} points of accuracy")


def test_any_two_matrices_can_be_chosen_or_one_alone(page: Page, text: str) -> None:
    shares = percentages(text)
    page.select_option("#matrix-left", "5")
    page.select_option("#matrix-right", "17")
    assert tables(page) == [said(shares[5]), said(shares[17]), said(shares[5] - shares[17], "+")]
    page.select_option("#matrix-right", "")
    assert tables(page) == [said(shares[5])]
    assert page.locator("#matrix-status").inner_text().startswith(f"{matrices(text)['rows'][5]['variant']} · 10 epochs")


def test_a_difference_is_blue_where_the_first_does_better(page: Page, text: str) -> None:
    shares = percentages(text)
    page.select_option("#matrix-right", "17")
    better = (shares[0] - shares[17]).round(1) * np.where(np.eye(10, dtype=bool), 1, -1)
    shown = page.eval_on_selector_all(
        "#matrix > :last-child tbody td", "all => all.map(c => c.matches('.good') - c.matches('.bad'))"
    )
    assert np.array_equal(np.reshape(shown, (10, 10)), np.sign(better))


def picked(page: Page) -> set[tuple[str, str]]:
    """Names that are pointed out, and where."""
    where = "g => [g.dataset.name, (g.closest('svg') ?? g.closest('table, dl')).id]"
    return {(name, place) for name, place in page.eval_on_selector_all(".picked", f"all => all.map({where})")}


def test_a_click_on_a_row_or_a_line_points_a_variant_out_everywhere_and_escape_ends_it(page: Page) -> None:
    figures = {
        "effects",
        "learning_accuracy",
        "learning_loss",
        "rungs",
        "recall",
        "pareto_parameters",
        "pareto_seconds",
    }
    everywhere = {("filters=64", place) for place in (*figures, "ranking")}
    page.locator("#ranking tbody tr[data-name='filters=64'] th").first.click()
    assert picked(page) == everywhere
    assert page.locator("figure .pointed:visible").all_inner_texts() == ["filters=64"] * len(figures)
    assert page.locator("#pointed").inner_text() == "filters=64 (Escape clears)"
    assert page.locator("#pick").input_value() == "filters=64"
    assert page.locator("#matrix caption").first.inner_text().startswith("filters=64 · 10 epochs")
    page.keyboard.press("Escape")
    assert picked(page) == set() and page.locator(".pointed:visible").count() == 0
    for line in ("#rungs .series:not(.tips)", "#recall .series"):
        page.locator(f"{line}[data-name='filters=64']").dispatch_event("click", {"bubbles": True})
        assert picked(page) == everywhere
        page.locator(f"{line}[data-name='filters=64']").dispatch_event("click", {"bubbles": True})
        assert picked(page) == set()
    page.select_option("#pick", "filters=64")
    assert picked(page) == everywhere
    page.select_option("#pick", "")
    assert picked(page) == set()


def test_what_is_pointed_out_has_its_band(page: Page) -> None:
    band = page.locator("#learning_loss .band[data-name='filters=64'] :is(use, path:not(defs path))").first
    opacity = "mark => Number(getComputedStyle(mark).fillOpacity)"
    assert band.evaluate(opacity) == 0
    page.select_option("#pick", "filters=64")
    assert 0.1 < band.evaluate(opacity) < 0.5


def test_hostile_names_are_shown_as_they_are_and_do_nothing(page: Page) -> None:
    assert page.locator("#ranking tbody th", has_text=EVIL).count() == 3
    assert page.locator("#matrix-left option", has_text=EVIL).count() == 3
    assert page.locator(f'#learning_loss [data-name="{EVIL}"] title').count() == 1 + 1 + 10  # line, band, epochs


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
    page.wait_for_function(
        "document.querySelector('#matrix .scroll').getAttribute('aria-label').startsWith('confusion')"
    )


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
    style = "([e, part, name]) => getComputedStyle(document.querySelector(e), part || null)[name]"
    for element, part, name, value in (
        (".running", "", "display", "table-header-group"),  # is repeated on every page if it is not to be broken
        (".running", "", "break-inside", "avoid"),
        ("#ranking thead", "", "break-inside", "avoid"),
        ("#ranking thead th", "::before", "content", '"Rank"'),
        ("#ranking tbody tr", "", "break-inside", "avoid"),
        ("#matrix tbody tr", "", "break-inside", "avoid"),
    ):
        assert page.evaluate(style, [element, part, name]) == value, (element, name)
    assert "study article" in page.locator(".running").inner_text()
    assert page.pdf()[:5] == b"%PDF-"


def test_without_scripts_everything_but_what_they_draw_is_there(browser: Browser, file: Path) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(file.as_uri())
    assert page.locator(".claim").count() == 6 and page.locator("#ranking tbody tr").count() == 19
    assert page.locator("select:visible, #copy:visible").count() == 0
    assert page.get_by_text("The matrices are drawn by a script in this file.").is_visible()
    page.close()
