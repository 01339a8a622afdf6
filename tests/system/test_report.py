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
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fmnist import words
from fmnist.analysis import classes, noise
from fmnist.analysis.claims import Kind, Reason
from fmnist.config import CLASSES
from fmnist.report import drawing, figures, intervals, svg
from fmnist.report import page as report
from fmnist.report.content import Content
from fmnist.training.evaluation import confusion

NAMES = {"effects", "learning_accuracy", "learning_loss", "rungs", "recall", "pareto_parameters", "pareto_seconds"}


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


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
        replace(found.claims[0], says=EVIL, reasons=(Reason(Kind.OTHER_BASELINE, {"changes": EVIL}),), run_ids=(EVIL,))
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
    assert any(EVIL in row["variant"] for row in matrices(page)["rows"])


def test_odd_names_break_nothing() -> None:
    odd = ("filters=$32$ _{", "tip␟s", "数字 🎉", "bad=\x00\x1f", "long=" + "0123456789" * 20, "a]]>b", "_x", "&amp;")
    found = findings(variants=1 + len(odd), seeds=2, rungs=(3, 10))
    plain = [name for name in found.leaderboard["variant"].unique() if name != "baseline"]
    assert len(plain) >= len(odd)
    for old, new in zip(plain, odd, strict=False):
        found = renamed(old, new, found)
    page = report.render(found)
    assert {each["id"] for tag, each in Tags(page).found if tag == "svg"} == NAMES
    assert len(matrices(page)["rows"]) == len(found.measured)


def test_a_confusion_matrix_is_counted_over_the_seeds_of_its_row(found: Content, text: str) -> None:
    content = matrices(text)
    assert content["classes"] == list(CLASSES) and len(content["rows"]) == len(found.measured)
    for row in content["rows"]:
        expected = np.zeros((10, 10), int)
        for key in found.runs.query("variant == @row['variant'] and epochs == @row['epochs']")["run_id"]:
            np.add.at(expected, (found.labels, found.predictions[key]), 1)
        assert row["counts"] == expected.ravel().tolist() and row["seeds"] == 2
    assert [row["epochs"] for row in content["rows"]] == sorted(found.measured["epochs"], reverse=True)
    assert content["rows"][0]["variant"] == "scale=unit"
    assert [row["variant"] for row in content["rows"] if row["baseline"]] == ["baseline"] * 3


def test_every_printed_page_is_headed_by_study_date_and_commit(found: Content) -> None:
    known = replace(found, provenance={**found.provenance, "commit": "0123456789abcdef"})
    head = re.search(r'<div class="running"[^>]*>(.*?)</div>', report.render(known))
    assert head and re.findall(r"<span>(.*?)</span>", head[1]) == [
        "Fashion-MNIST study article", "run 2026-01-02 to 2026-01-03", "report by commit 0123456789",
    ]  # fmt: skip


def test_units_and_signs_are_said(text: str) -> None:
    for said in ("in per cent; differences", "positive: better than the baseline", "Positive: it speaks for the claim",
                 "Positive: better than the baseline", "percentage points: positive"):  # fmt: skip
        assert said in text
    shown = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL)
    assert not re.search(r"(?<![\w.–-])-\d", shown)  # a minus sign is no hyphen


# ---- Colours --------------------------------------------------------------------------------------------

Colour = tuple[float, float, float]
STYLE = (report._FILES / "page.css").read_text()


def colours(scheme: str) -> dict[str, Colour]:
    """The style sheet's variables, 0..255."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[:2]
    text = light + (dark if scheme == "dark" else "")
    return {name: (int(value[:2], 16), int(value[2:4], 16), int(value[4:], 16))
            for name, value in re.findall(r"--(\w+): #([0-9a-f]{6})", text)}  # fmt: skip


def mixed(share: float, over: Colour, under: Colour) -> Colour:
    red, green, blue = (share * one + (1 - share) * other for one, other in zip(over, under, strict=True))
    return red, green, blue


def contrast(one: Colour, other: Colour) -> float:
    """WCAG's, 1 to 21."""

    def luminance(colour: Colour) -> float:
        linear = [c / 3294.6 if c <= 10.31 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_reading_takes_wherever_it_stands(scheme: str) -> None:
    named = colours(scheme)
    inks = ("ink", "muted", "blue", "alarm", "purple")
    grounds = {name: named[name] for name in ("ground", "surface", "faint")}
    grounds["picked"] = mixed(0.14, named["pick"], named["surface"])
    pairs = {f"{ink} on {name}": (named[ink], ground) for ink in inks for name, ground in grounds.items()
             if not (name == "picked" and ink in ("alarm", "purple", "blue"))}  # fmt: skip
    for tone in ("muted", "blue", "alarm", "purple", "ink"):  # a chip
        pairs[f"chip {tone}"] = (named[tone], mixed(0.09, named[tone], named["surface"]))
    for cell in ("blue", "vermilion"):  # the strongest of matrices and heat maps
        for name in ("ground", "surface"):
            pairs[f"ink on {cell} on {name}"] = (named["ink"], mixed(drawing.STRONGEST, named[cell], named[name]))
    ratios = {name: round(contrast(*pair), 2) for name, pair in pairs.items()}
    assert min(ratios.values()) >= 4.5, {name: ratio for name, ratio in ratios.items() if ratio < 4.5}
    assert f"--strongest: {drawing.STRONGEST};" in STYLE


# ---- What is missing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"effects": pd.DataFrame()}, ["No effects yet", "make sweep STUDY=article"]),
        ({"histories": {}}, ["No learning curves"]),
        ({"predictions": {}}, ["there are no confusion matrices", "nobody knows which images"]),
        ({"images": np.zeros((0, 28, 28), np.uint8)}, ["test images are not at hand", "make data"]),
        ({"command": ""}, ["make sweep STUDY=article"]),
        (
            {"claims": [], "diagnosis": [], "question": "", "notes": [], "provenance": {}},
            [
                "declares no claims",
                "conf/study/article.yaml",
                "Nothing stands out",
                "<h1>Study article</h1>",
                "Repeat it",
            ],
        ),
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
    figure = intervals.forest(found)
    assert figure
    last = found.effects[found.effects["epochs"] == 10]
    drawn = [line.get_xdata() for line in figure.axes[0].lines if line.get_gid()]
    np.testing.assert_array_equal(np.ravel(drawn), last["effect"])
    spans = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and not line.get_gid()][:-1]
    valid, plain = ([line.get_xdata() for line in spans[first::2]] for first in (0, 1))
    np.testing.assert_array_equal(valid, last[["low", "high"]])
    np.testing.assert_allclose(np.diff(plain)[:, 0], 2 * last["plain"])
    assert spans[0].get_linewidth() > 2 * spans[1].get_linewidth()


def test_an_interval_that_is_far_too_wide_leaves_room_for_the_effects_and_is_counted(found: Content) -> None:
    wide = found.effects.assign(low=lambda frame: frame["effect"] - 0.7, high=lambda frame: frame["effect"] + 0.7)
    figure = intervals.forest(replace(found, effects=wide))
    assert figure
    left, right = figure.axes[0].get_xlim()
    assert -0.5 < left < wide["effect"].min() and wide["effect"].max() < right < 0.5
    count = len(wide[wide["epochs"] == 10])
    assert f"({count} intervals beyond the scale)" in figure.axes[0].get_xlabel()


def test_scatter_by_source_has_intervals_but_for_what_the_images_alone_bring(found: Content) -> None:
    assert intervals.scatter(found) is None  # which no study of chance is
    rows = [
        ("all", 9, 0.0147, 0.01, 0.028, 0.009, 0.006, 0.017),
        ("images", 0, 0.0145, *2 * [np.nan], 0.0036, *2 * [np.nan]),
    ]
    figure = intervals.scatter(replace(found, noise=pd.DataFrame(rows, columns=list(noise.COLUMNS))))
    assert figure
    points = [line for line in figure.axes[0].lines if line.get_gid()]
    assert np.ravel([line.get_xdata() for line in points]) == pytest.approx([1.47, 0.9, 1.45, 0.36])
    assert [line.get_markerfacecolor() == "none" for line in points] == [False, False, True, True]


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


def test_bands_reach_from_the_lowest_seed_to_the_highest_and_are_named(found: Content, text: str) -> None:
    figure = figures.learning(found, "val/accuracy")
    assert figure
    bands = {
        str(band.get_gid()): band for band in figure.axes[0].collections if str(band.get_gid()).startswith("band:")
    }
    assert len(bands) == 6 and bands["band:baseline"].get_alpha() and not bands["band:filters=64"].get_alpha()
    ids = found.runs.query("variant == 'baseline' and epochs == 10")["run_id"]
    paths = np.array([found.histories[key]["val/accuracy"] for key in ids])
    corners = bands["band:baseline"].get_paths()[0].vertices
    for epoch in range(10):
        ends = corners[corners[:, 0] == epoch + 1][:, 1]
        np.testing.assert_allclose([ends.min(), ends.max()], [paths[:, epoch].min(), paths[:, epoch].max()])
    assert text.count("bands: from the lowest seed to the highest") == 2


def test_every_mark_says_its_name_and_value(found: Content, text: str) -> None:
    titles = re.findall(r"<title>(.*?)</title>", text)
    row = found.measured.query("variant == 'filters=64' and epochs == 10").iloc[0]
    accuracy = f"{100 * row['val_accuracy']:.2f} ["
    for said in (
        f"filters=64, 10 epochs: {accuracy}",
        "filters=64, epoch 10: ",
        "filters=64, Shirt: ",
        f"filters=64, 10 epochs, {row['parameters']:,} parameters: {accuracy}",
        "model.filters=64, 10 epochs, 2 ",
    ):
        assert any(title.startswith(said) for title in titles), said
    for file in (svg.document(figure) for figure in figures.draw(found).values()):
        assert "<title>filters=64" in file or "<title>model.filters=64" in file


def test_what_costs_the_same_is_drawn_within_the_frame(found: Content) -> None:
    figure = figures.pareto(replace(found, leaderboard=found.leaderboard.assign(parameters=940_170)), "parameters")
    assert figure
    low, high = figure.axes[0].get_xlim()
    assert low < 0.9 * 940_170 and high > 1.1 * 940_170
    assert svg.document(figure).count(", 940,170 parameters: ") == 6


def test_a_point_far_beyond_the_scale_is_not_drawn_and_its_figure_is() -> None:
    found = findings(variants=20, seeds=1, rungs=(3,))
    board = found.leaderboard.assign(
        val_accuracy=found.leaderboard["val_accuracy"].mask(found.leaderboard["variant"] == "filters=64", 0.1)
    )
    assert "1 value beyond the scale" in report.render(replace(found, leaderboard=board))


def test_many_epochs_have_fewer_marks_and_what_is_beyond_the_scale_has_none() -> None:
    _, axes = drawing.panel(300, 200, left=40, right=10, bottom=40, top=10)
    axes.set_ylim(0, 1)
    drawing.marks(axes, range(1000), np.linspace(-1, 1, 1000), "many", [f"{number}" for number in range(1000)])
    gid = str(axes.collections[0].get_gid()).split(drawing.TIPS)
    assert gid[0] == "tip:many" and 50 <= len(gid) - 1 <= drawing.MOST_TIPS and int(gid[1]) == 500


def test_intervals_stay_in_the_frame_or_are_counted() -> None:
    _, axes = drawing.panel(300, 200, left=40, right=10, bottom=40, top=10)
    values, spans = np.linspace(0.88, 0.92, 20), np.full((20, 2), np.nan)
    spans[0] = 0.86, 0.93
    assert drawing.limit(axes, values, spans) == ""
    assert axes.get_ylim()[0] < 0.86 and axes.get_ylim()[1] > 0.93
    spans[1] = 0.2, 1.6
    assert drawing.limit(axes, values, spans) == "  (1 interval beyond the scale)" and axes.get_ylim()[0] > 0.8


def test_a_label_is_clear_of_lines_and_intervals(found: Content) -> None:
    for cost in ("parameters", "train_seconds"):
        figure = figures.pareto(found, cost)
        assert figure
        axes, canvas = figure.axes[0], FigureCanvasAgg(figure)
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
        strokes = [axes.transData.transform(path.vertices) for lines in axes.collections for path in lines.get_paths()]
        assert boxes and len(strokes) > 1
        for box in boxes:
            for line in strokes:
                points = np.linspace(line[0], line[-1], 50)
                assert not box.count_contains(points[np.isfinite(points).all(axis=1)])


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
    counts = confusion(np.array([6, 6, 0, 9], np.uint8), np.array([0, 6, 0, 7], np.uint8))
    assert counts.sum() == 4 and counts[6, 0] == counts[6, 6] == counts[0, 0] == counts[9, 7] == 1
    with pytest.raises(ValueError, match="each of the 2 labels needs a prediction, but got 3"):
        confusion(np.zeros(2, np.uint8), np.zeros(3, np.uint8))


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
