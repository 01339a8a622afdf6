"""The live table of a sweep, drawn without one."""

import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from fmnist.schema import Status
from fmnist.tracking import StoredRun, as_tags
from fmnist.work import sweep_progress
from fmnist.work.display import LAST, ActiveRun, ExpectedRun, pause, picture
from fmnist.work.sweep_progress import SweepProgress

NAME = "limit=600 filters=4 kernel_size=3 dense_units=16 learning_rate=1e+30 batch_size=[32] · {} epochs · seed {}"


def progress(workers=2, ended=()):
    """A sweep of seeds over rungs 1 and 3, some of whose runs have ended with these statuses."""
    runs = [
        ExpectedRun(NAME.format(e, s), f"{e}-{s}", e, 0, 10.0 * e, f"path {s}") for e in (1, 3) for s in range(workers)
    ]
    records = {}
    for run, status in zip(runs, ended, strict=False):
        tags = as_tags({"signature": run.signature, "trajectory_signature": run.trajectory})
        records[run.signature] = StoredRun("id", run.name, status, 0, 1, tags, metrics={"val/accuracy": 0.9123})
    left = [run for run in runs if run.signature not in records][:workers]
    active = [ActiveRun(run, 1, 0.875, 2.0) for run in left]
    return SweepProgress(None, "test", workers, int(1000 * (time.time() - 20)), "here 1 1.0", runs, [], records, active)


def drawn(observed, width, height=30):
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(picture(observed.view(), height))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [20, 70, 110, 200])
def test_no_line_is_wider_than_the_terminal_and_names_in_it_are_whole(width):
    plain = Console(width=width, file=io.StringIO())
    plain.print(picture(progress(ended=[Status.FINISHED]).view(), 30))
    lines = plain.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    if width >= 70:
        text = " ".join("".join(lines).split())
        assert "seed 1" in text and "1/3" in text and "87.50 %" in text


def test_the_rung_the_share_and_the_end_stand_by_the_bar():
    assert "rung 1 of 2 (1 epoch); left" in drawn(progress(), 110)
    half = drawn(progress(ended=[Status.FINISHED, Status.FINISHED]), 110)
    assert "rung 2 of 2 (3 epochs); left" in half and "2/4 runs" in half and "until" in half
    assert "rung" not in drawn(progress(ended=[Status.FINISHED] * 4), 110)


def test_what_ended_last_stands_below_the_newest_first_with_failures_in_red():
    text = drawn(progress(ended=[Status.FINISHED, Status.FAILED]), 70)
    assert text.index("FAILED") < text.index("validation 91.23 %")
    assert "\x1b[31mFAILED" in text and "\x1b[2mvalidation" in text
    many = drawn(progress(workers=9, ended=[Status.FINISHED] * 9), 110)
    assert many.count("validation 91.23 %") == LAST


def test_later_rungs_of_a_path_that_failed_are_expected_no_more():
    half = progress(ended=[Status.FINISHED, Status.FAILED])
    assert "2/3 runs" in drawn(half, 110) and "rung 2 of" in drawn(half, 110) and not half.complete
    assert progress(ended=[Status.FAILED, Status.FAILED]).complete
    assert half.seconds_left() < progress(ended=[Status.FINISHED, Status.FINISHED]).seconds_left()


def test_more_workers_than_lines_do_not_hide_the_bar():
    lines = drawn(progress(workers=40), 110, height=30).splitlines()
    assert (
        len(lines) <= 30 and any("0/80 runs" in line for line in lines) and any("and 30 more" in line for line in lines)
    )


def test_hours_that_the_machine_slept_are_no_pace(monkeypatch):
    watched = progress(ended=[])
    monkeypatch.setattr(sweep_progress, "active_runs", lambda store, runs: [])
    monkeypatch.setattr(SweepProgress, "_news", lambda self: [])
    for now, ended in ((0.0, 0), (30.0, 1), (30.0 + 86_400, 1), (60.0 + 86_400, 2)):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        watched.ended = progress(ended=[Status.FINISHED] * ended).ended
        watched.refresh()
    assert watched.seconds_left() < 600


@pytest.mark.parametrize(
    ("uri", "waited", "seconds"), [("http://s", 1, 1), ("http://s", 8, 4), ("http://s", 99, 10), ("sqlite:///x", 99, 1)]
)
def test_a_server_is_looked_at_the_less_often_the_longer_nothing_has_ended(uri, waited, seconds, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + waited)
    assert pause(SimpleNamespace(uri=uri), 100.0) == seconds
