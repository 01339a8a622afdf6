"""The UI in a real browser over a real store, and the ends and mistakes of its command."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from browser import BROWSER, FLAGS, NO_BROWSER
from commands import ROOT, TINY, here, mistake
from playwright.sync_api import FloatRect, Locator, Page, Request, sync_playwright
from server import free_port

from fmnist import signals, tracking
from fmnist.cli import server
from fmnist.study.views import choose

POOLINGS = ("max", "average")
HERE = "127.0.0.1"


def environment(**changes: str) -> dict[str, str]:
    """Ours without what would lead the command elsewhere or to a screen."""
    others = ("MLFLOW_TRACKING_URI", "DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return {key: value for key, value in os.environ.items() if key not in others} | changes


def run(*arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    """`python -m fmnist.ui` with these arguments, and these changes of the environment."""
    command = [sys.executable, "-m", "fmnist.ui", *arguments]
    surroundings = environment(**changes)
    return subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, timeout=60, check=False)


def until(happened: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """The first true value of `happened`."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        value = happened()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


@dataclass
class Served:
    """The command as it serves a store."""

    process: "subprocess.Popen[str]"
    port: int
    lines: list[str] = field(default_factory=list)

    @property
    def means(self) -> str:
        """The address of the first view."""
        return self.lines[0].split()[-1]

    @property
    def side_by_side(self) -> str:
        return self.lines[1].split()[-1]

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Its exit code and what it says on its way out, once neither it nor anything it started is left."""
        family = [*psutil.Process(self.process.pid).children(recursive=True)]
        assert family
        self.process.send_signal(number)
        rest = self.process.communicate(timeout=20)[0]
        _, alive = psutil.wait_procs(family, timeout=0.5)
        assert not alive
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HERE, self.port))
        return self.process.returncode, rest


def serve(store: Path) -> Served:
    """Start the command over a store and wait for its lines."""
    port = free_port()
    command = [sys.executable, "-m", "fmnist.ui", "--store", str(store), "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout
    served = Served(process, port, [process.stdout.readline() for _ in range(3)])
    assert served.lines[0].startswith("means over seeds: http"), "".join(served.lines) + process.stdout.read()
    return served


@pytest.fixture(scope="module")
def store(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs that differ in their pooling."""
    folder = tmp_path_factory.mktemp("ui")
    for pooling in POOLINGS:
        options = [*TINY, "epochs=3", "compute.threads=1", f"model.pooling={pooling}"]
        here("train", *options, f"data.dir={images}", f"store={folder}")
    return folder


@pytest.fixture(scope="module")
def served(store: Path) -> Iterator[Served]:
    """By a process that Ctrl-C ends at last, and the server and all that it started with it."""
    started = serve(store)
    yield started
    assert started.stop(signal.SIGINT) == (0, "")


@pytest.fixture(scope="module")
def foreign() -> list[str]:
    """What the page asked of other machines."""
    return []


@pytest.fixture(scope="module")
def browser(served: Served, foreign: list[str]) -> Iterator[Callable[[str], Page]]:
    """Opens an address in a browser of the size of a laptop's screen."""
    if BROWSER is None:
        pytest.skip(NO_BROWSER)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        ours = (f"http://127.0.0.1:{served.port}/", "data:", "blob:")

        def watch(request: Request) -> None:
            if not request.url.startswith(ours):
                foreign.append(request.url)

        def opened(address: str) -> Page:
            page = chromium.new_page(viewport={"width": 1600, "height": 1000})
            page.on("request", watch)
            page.goto(address)
            return page

        yield opened
        chromium.close()


@pytest.fixture(scope="module")
def page(served: Served, browser: Callable[[str], Page]) -> Page:
    """The runs side by side."""
    return browser(served.side_by_side)


def card(page: Page, content: str) -> Locator:
    """A chart that has some content, scrolled to as a user would."""
    chart = page.get_by_test_id("experiment-view-compare-runs-card").filter(has=page.locator(content)).first
    area = page.get_by_test_id("experiment-view-compare-runs-chart-area")
    area.wait_for(timeout=30_000)
    box = area.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
    for step in (*[300] * 12, *[-300] * 12):  # the page draws what is in sight only
        if chart.is_visible():
            chart.scroll_into_view_if_needed()
            return chart
        page.mouse.wheel(0, step)
        page.wait_for_timeout(250)
    raise AssertionError(f"there is no chart with {content}")


def is_alone(page: Page) -> bool:
    """Whether MLflow's assistant, which comes some time after the page, leaves it the width; if not, close it."""
    close = page.locator("button[data-component-id='mlflow.assistant.chat_panel.close']")
    if close.is_visible():
        close.click()
        return False
    return True


def boxes(pictures: Locator) -> list[FloatRect]:
    """Where they are; those that are being laid out anew have no place."""
    return [box for box in (picture.bounding_box() for picture in pictures.all()) if box]


# ---- The page -----------------------------------------------------------------------------------------


def test_the_charts_show_without_a_touch(page: Page) -> None:
    charts = page.get_by_test_id("experiment-view-compare-runs-card")
    charts.first.wait_for(timeout=30_000)
    assert page.get_by_text("2 matching runs").is_visible()
    assert charts.first.get_by_role("heading", name="val/accuracy").is_visible()


def test_the_curves_of_two_runs_lie_over_each_other(page: Page) -> None:
    curves = card(page, "h4[title='val/accuracy']")
    curves.locator(".scatterlayer .trace").nth(1).wait_for(state="attached")
    for pooling in ("", " pooling=average"):
        name = f"^filters=4 kernel_size=3{pooling} dense_units=16 "
        assert curves.get_by_text(re.compile(name)).count()
    drawn = {path.get_attribute("d") for path in curves.locator(".scatterlayer .trace .lines path").all()}
    assert len(drawn) == len(POOLINGS) and all(line and line.count("L") == 2 for line in drawn)  # three epochs


def in_the_order_of_the_selection(store: Path) -> list[str]:
    """The names of the runs, the baseline's first, then the best."""
    names = {run.run_id: run.name for run in tracking.Store(str(store)).all_runs()}
    return [names[run_ids[0]] for run_ids in choose(str(store)).variants.values()]


def test_the_confusion_matrices_of_two_runs_stand_side_by_side(page: Page, store: Path) -> None:
    pictures = card(page, "img[src*=confusion_matrix]").locator("img[src*=confusion_matrix]")
    until(lambda: pictures.count() == len(POOLINGS), "two matrices")
    for picture in pictures.all():
        until(lambda: picture.evaluate("image => image.complete && image.naturalWidth > 0"), "the picture")  # noqa: B023
    until(
        lambda: is_alone(page) and sum(box["width"] > 200 for box in boxes(pictures)) == len(POOLINGS),
        "matrices in full size",
    )
    above = card(page, "img[src*=confusion_matrix]").inner_text()
    assert sorted(in_the_order_of_the_selection(store), key=above.index) == in_the_order_of_the_selection(store)
    left, right = sorted(boxes(pictures), key=lambda box: box["x"])
    assert left["x"] + left["width"] <= right["x"]
    assert abs(left["y"] - right["y"]) < 5
    assert "model.kernel_size" not in card(page, "img[src*=confusion_matrix]").inner_text()  # no wall of options


def test_single_numbers_get_no_charts(page: Page) -> None:
    assert page.get_by_test_id("experiment-view-compare-runs-card").count() <= 5
    assert not page.get_by_role("heading", name="test/").count()


def test_means_are_grouped_by_variant_in_colours_that_can_be_told_apart(
    served: Served, browser: Callable[[str], Page]
) -> None:
    means = browser(served.means)
    groups = means.get_by_text(re.compile("^Group: "))
    groups.nth(1).wait_for(timeout=30_000)
    assert groups.count() == len(POOLINGS)
    curves = card(means, "h4[title='val/accuracy']")
    curves.locator(".scatterlayer .trace").nth(1).wait_for(state="attached")
    styles = [line.get_attribute("style") or "" for line in curves.locator(".trace .lines path.js-line").all()]
    colours = {found[1] for style in styles if (found := re.search(r"stroke: (rgb\(.*?\)); stroke-opacity: 1", style))}
    assert colours == {"rgb(31, 39, 45)", "rgb(34, 114, 180)"}  # the first two of ours, not what the UI would choose


def test_the_experiment_says_what_it_is_and_links_to_both_views(page: Page) -> None:
    for name in ("means over seeds", "runs side by side"):
        assert "viewStateShareKey=" in (page.get_by_role("link", name=name).first.get_attribute("href") or "")


def test_the_page_asks_nothing_of_other_machines(page: Page, foreign: list[str]) -> None:
    card(page, "img[src*=confusion_matrix]")
    assert not foreign


# ---- The command -----------------------------------------------------------------------------------------


def test_it_says_where_the_charts_are_and_how_to_stop(served: Served) -> None:
    charts = f"http://127.0.0.1:{served.port}/#/experiments/1/runs?compareRunsMode=CHART&workflowType=machine_learning"
    assert served.means == f"{charts}&viewStateShareKey=means" and served.side_by_side.endswith("=runs")
    assert served.lines[2] == f"stop with Ctrl-C (or kill {served.process.pid})\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_server_ends_with_its_command_whatever_ends_that(number: signal.Signals, tmp_path: Path) -> None:
    """One that starts at once; MLflow's ends with Ctrl-C, in `served`."""
    (tmp_path / "health").touch()
    port = free_port()
    small = ["http.server", "--bind", HERE, "--directory", str(tmp_path), str(port)]
    with ExitStack() as stack:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            stack.enter_context(signals.preserved(each))
        signal.signal(number, signal.SIG_DFL)
        server.serve(small, {}, HERE, port, lambda: os.kill(os.getpid(), number))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HERE, port))


def test_the_charts_of_a_tracking_server_are_opened_there(served: Served, tmp_path: Path) -> None:
    script, opened = tmp_path / "browser", tmp_path / "opened"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.part && mv {opened}.part {opened}\n')
    script.chmod(0o755)
    place = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{served.port}", "BROWSER": f"{script} %s"}
    ended = run(**place)
    assert ended.returncode == 0 and not ended.stderr
    assert ended.stdout == "".join(served.lines[:2])
    assert until(opened.exists, "the browser") and opened.read_text() == served.means
    opened.unlink()
    assert here("ui", "--no-browser", **place).stdout == ended.stdout
    assert not opened.exists()


def test_a_browser_that_fails_is_no_failure(served: Served) -> None:
    ended = run(MLFLOW_TRACKING_URI=f"http://127.0.0.1:{served.port}", BROWSER="/no/such/browser %s")
    assert ended.returncode == 0 and served.means in ended.stdout


def test_a_server_that_dies_at_its_start_shows_its_last_output(store: Path) -> None:
    place = ["--store", str(store), "--port", str(free_port())]
    ended = here("ui", *place, code=1, UVICORN_SSL_KEYFILE="/no/such/file")
    assert not ended.stdout
    assert ended.stderr.startswith("fmnist.ui: MLflow's server has ended") and "ssl_certfile" in ended.stderr


# ---- Mistakes -----------------------------------------------------------------------------------------


def test_without_a_store_it_says_how_to_get_one_and_makes_none(tmp_path: Path) -> None:
    said = mistake("ui", "--store", str(tmp_path / "none"), "--port", str(free_port()))
    assert f"no runs in {tmp_path}/none yet" in said and "make sweep" in said
    assert not (tmp_path / "none").exists()


def test_a_taken_port_is_named_with_a_free_one(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = mistake("ui", "--store", str(tmp_path), "--port", str(port))
    offered = re.search(r"port (\d+) of 127.0.0.1 is taken; --port (\d+) is free", said)
    assert offered and int(offered[1]) == port < int(offered[2])


def test_a_study_or_a_budget_without_runs_is_named_with_what_there_is(store: Path) -> None:
    where = "--store", str(store), "--port", str(free_port())
    assert "no run of 'artcle' has finished; there are none" in mistake("ui", *where, "--study", "artcle")
    assert "no finished run has 7 epochs; there are 3" in mistake("ui", *where, "--epochs", "7")
    assert "--epochs: must be a whole number" in mistake("ui", *where, "--epochs", "ten")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "web"])
def test_a_port_that_cannot_be_is_a_mistake(port: str) -> None:
    assert "--port: must be a whole number from 1 to 65535" in mistake("ui", f"--port={port}")


def test_a_host_that_cannot_be_is_a_mistake() -> None:
    assert "there is no host 'nowhere.invalid'" in mistake("ui", "--host", "nowhere.invalid")


def test_a_tracking_server_that_is_not_there_is_a_mistake() -> None:
    uri = f"http://{HERE}:{free_port()}"
    assert mistake("ui", MLFLOW_TRACKING_URI=uri).startswith(f"fmnist.ui: cannot read {uri}: ")
