"""The report as a page opened from disk in a real browser."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import BROWSER, FLAGS, NO_BROWSER
from findings import EVIL, findings, matrices, renamed
from playwright.sync_api import Browser, Page, sync_playwright

from fmnist.report import page as report
from fmnist.report.content import Content


@pytest.fixture(scope="module")
def found() -> Content:
    return findings(variants=6, seeds=2, rungs=(1, 3, 10))


@pytest.fixture(scope="module")
def text(found: Content) -> str:
    return report.render(found)


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
