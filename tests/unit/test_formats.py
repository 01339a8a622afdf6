"""Leaderboards, claims and notes as text."""

import io
import json
import re
from dataclasses import replace

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from runs import frame, run, seeds

from fmnist.analysis import searches
from fmnist.analysis.claims import Kind as ReasonKind
from fmnist.analysis.claims import Reason, Verdict
from fmnist.analysis.diagnosis import Finding, Kind
from fmnist.analysis.importance import Importance
from fmnist.analysis.leaderboard import columns, leaderboard
from fmnist.report import claims, formats
from fmnist.report import searches as report_searches
from fmnist.report.diagnosis import statement
from fmnist.report.leaderboard import render
from fmnist.report.notes import explanation
from fmnist.schema import Judgement
from fmnist.search import summary
from fmnist.search.trials import TrialRecord

NAN = float("nan")
STEP = {"before": "model.filters=32", "after": "model.filters=64", "validation": 0.0124, "test": -0.001, "p": 0.0031,
        "p_images": NAN}  # fmt: skip
HOLDS = Verdict("filters", "more filters are better", Judgement.HOLDS, (Reason(ReasonKind.STEP, STEP),),
                0.0124, 0.0081, 0.0167, 0.0031, 3, 10, ("a", "b"))  # fmt: skip
NOT_RUN = Verdict("x", "x", Judgement.NOT_RUN, (Reason(ReasonKind.MISSING, {"names": ["50 epochs"]}),))
NO_SHARES = pd.DataFrame(columns=["term", "share", "p"])


def board(*runs, **options):
    return leaderboard(frame(*runs), **options)


@pytest.fixture
def compared():
    """A board with all that a board can have."""
    return board(
        seeds("baseline", [0.90, 0.91, 0.92]),
        seeds("scale=unit", [0.93, 0.94, 0.951]),
        seeds("filters=64", [0.899, 0.912, 0.919]),
        run("failed", "filters=32", None, status="FAILED", seed=0),
        run("short", epochs=1, val=0.8),
    )


# ---- The table ------------------------------------------------------------------------------------------


def test_a_table_is_plain_aligned_text_with_intervals_and_short_run_ids():
    ids = ["0123456789abcdef", "fedcba9876543210"]
    text = render(board(run(ids[0], "x", 0.91, seed=0), run(ids[1], "x", 0.93, seed=1)), "table", width=0)
    assert text.isascii() and len({len(line.rstrip()) for line in text.splitlines()}) <= 2
    assert "92.00 [79.29, 100.00]" in text
    assert "Shirt 70.00 %" in text and "940,170" in text and "100.0 s" in text
    assert "01234567 +1" in text and ids[0] not in text


def test_a_table_shows_what_was_compared_in_points_with_the_verdict(compared):
    lines = {line.split()[1]: line for line in render(compared, "table", width=0).splitlines()}
    assert "better" in lines["scale=unit"] and "+3.03 [+2.83, +3.24]" in lines["scale=unit"]
    assert "open" in lines["filters=64"] and "−" not in lines["scale=unit"]
    assert "FAILED" in lines["filters=32"] and "published" in lines["article"]


def test_what_nothing_can_be_said_of_takes_no_columns():
    text = render(board(run("a", "x"), run("b", "y")), "table", width=0)
    heading = text.splitlines()[0]
    assert all(word not in heading for word in ("difference", "verdict", "status")) and " p " not in heading
    assert "nan" not in text.lower()


def test_one_seed_has_a_difference_but_no_p():
    heading = render(board(run("a"), run("b", "y")), "table", width=0).splitlines()[0].split()
    assert "difference" in heading and "verdict" in heading and "p" not in heading and "P(better)" not in heading


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 200])
def test_a_table_keeps_to_the_width_by_leaving_out_the_run_first(width):
    found = board(run("0123456789abcdef", "filters=[32,64] scale=unit optimizer=rmsprop"), run("b", "y"))
    lines = render(found, "table", width=width).splitlines()
    assert max(map(len, lines)) <= max(width, 75)  # narrower than that is left to the terminal
    if width < 160:
        assert "01234567" not in "".join(lines)
    assert "90.00 [" in "".join(lines)
    assert all(word in "".join(lines) for word in ("filters=[32,64]", "scale=unit", "optimizer=rmsprop"))


def test_a_loss_is_shown_in_nats_and_never_as_a_percentage():
    found = board(seeds("baseline", [0.9, 0.91]), seeds("x", [0.8, 0.82]), metric="val/loss")
    heading, _, first, second, *_ = render(found, "table", width=0).splitlines()
    assert "val/loss" in heading and "validation" not in heading
    assert "0.0950 [" in first and "+0.0950 [" in second


# ---- Other formats --------------------------------------------------------------------------------------


def test_markdown_is_a_github_table(compared):
    heading, rule, *rows = render(compared, "md").splitlines()
    assert heading.startswith("|") and "variant" in heading and set(rule) <= set("|-:")
    assert len(rows) == len(compared) and len({row.count("|") for row in [heading, rule, *rows]}) == 1


def test_latex_escapes_what_it_would_read_as_its_own(compared):
    found = compared.assign(variant=compared["variant"].replace("scale=unit", "a_b & 5% #1"))
    text = render(found, "latex")
    assert r"a\_b \& 5\% \#1" in text and r"Shirt 70.00 \%" in text and text.count(r"\toprule") == 1


def test_csv_has_every_digit_and_no_number_that_was_rounded_for_reading():
    text = render(board(run("a", "x", val=0.1 + 0.2, train_seconds=1 / 3)), "csv")
    assert repr(0.1 + 0.2) in text and repr(1 / 3) in text and not text.endswith("\n")


def test_json_is_records_in_full_precision_with_null_where_nothing_is_known():
    first, second = json.loads(render(board(run("a", "x", val=0.1 + 0.2), run("b", "x", status="KILLED")), "json"))
    assert list(first) == columns()
    assert first["val_accuracy"] == 0.1 + 0.2 and first["rank"] == 1
    assert second["rank"] is None and second["val_accuracy"] is None and second["p_value"] is None


def test_an_empty_board_says_so_in_the_way_of_each_format():
    empty = board(run("a")).iloc[:0]
    assert (
        render(empty, "table")
        == render(empty, "md")
        == render(empty, "latex")
        == "no runs yet: start some with 'make sweep'"
    )
    assert render(empty, "csv") == ",".join(columns())
    assert render(empty, "json") == "[]"
    assert render(empty, "table", empty="none match") == "none match"


def test_an_unknown_format_is_refused_with_the_nearest_known():
    with pytest.raises(ValueError, match="table, csv, md, json, latex, but got 'cvs'; did you mean 'csv'"):
        render(board(run("a")), "cvs")


# ---- Claims and what stands below -----------------------------------------------------------------------


def test_a_claim_is_its_verdict_its_numbers_and_its_reason():
    first, *because = claims.render([HOLDS], "table").splitlines()
    assert first == ("HOLDS: more filters are better. +1.24 [+0.81, +1.67] points, 10 epochs, 3 seeds, p 0.003")
    assert because[0].startswith("    model.filters=64 against")
    assert claims.render([NOT_RUN], "table") == "NOT YET RUN: x.\n    no run yet of 50 epochs"
    assert claims.render([], "table") == "this study declares no claims"


def test_claims_are_rows_in_every_other_format():
    back = pd.read_csv(io.StringIO(claims.render([HOLDS, NOT_RUN], "csv")))
    assert list(back["verdict"]) == ["holds", "not yet run"] and back["effect"][0] == 0.0124
    assert back["run_ids"][0] == "a b"
    records = json.loads(claims.render([HOLDS, NOT_RUN], "json"))
    assert records[0]["p_value"] == 0.0031 and records[1]["effect"] is None
    assert "| holds " in claims.render([HOLDS], "md") and "+1.24 [+0.81, +1.67]" in claims.render([HOLDS], "md")
    assert "nan" not in claims.render([NOT_RUN], "md").lower()
    assert r"\toprule" in claims.render([replace(HOLDS, says="50 % of a_b")], "latex")


@pytest.mark.parametrize("format", ["csv", "json", "md", "latex"])
def test_no_claims_are_no_rows(format):
    assert "nan" not in claims.render([], format).lower()


def test_below_a_table_stand_claims_notes_variance_and_diagnosis():
    shares = pd.DataFrame([("model.filters", 0.25, 0.012), ("rest", 0.75, NAN)], columns=["term", "share", "p"])
    found = [Finding(Kind.FAILED, "", {"failed": i, "ended": 9, "variants": {}}) for i in range(4)]
    text = explanation([HOLDS], ["a note"], shares, found, "table")
    heads = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert [head.split()[0] for head in heads] == ["Claims", "HOLDS:", "How", "What", "Diagnosis"]
    assert "model.filters: 25.0 % of the variance, p 0.012" in text and "rest: 75.0 % of the variance\n" in text
    assert re.search(r"failed runs: 0 of 9 [^;]*; 1 of 9 [^;]*\(and 2 more in the report\)", " ".join(text.split()))
    markdown = explanation([HOLDS], ["a note"], shares, found, "md")
    assert markdown.startswith("## Claims\n\n|") and "\n- a note" in markdown
    assert explanation([], [], NO_SHARES, [], "table") == explanation([], [], NO_SHARES, [], "md") == ""


# ---- Names that would do something ----------------------------------------------------------------------

HOSTILE = [
    "=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", " =A1", "＝1", "\t=1", "\r=1", "a\r\nb", "a\u2028b", "a|b",
    "[x](https://e.org)", "![x](e.png)", "https://e.org www.e.org", "`code`", "*a* __b__ ~~c~~", "<b>x</b>", "<!-- x",
    "&lt;b&gt;", "\x1b[31mred", "\x9b31m", "\u202eturned", "a\x00b", "\\begin{x} 5% $a_1$ #2 ~ ^ &", "−5",
]  # fmt: skip


@pytest.fixture
def hostile():
    """A board of a variant for each such name."""
    return board(*(run(f"{number:032x}", name, status="FAILED") for number, name in enumerate(HOSTILE)))


def test_a_name_does_nothing_in_a_terminal(hostile):
    for format in ("table", "csv", "md", "json", "latex"):
        text = render(hostile, format)
        assert "".join(character for character in text if not character.isprintable()).strip("\n") == "", format
    assert len(render(hostile, "table").splitlines()) == 2 + len(HOSTILE)
    assert r"\x1b[31mred" in render(hostile, "table") and r"\u202eturned" in render(hostile, "table")


def test_a_name_is_no_formula_in_a_spreadsheet_and_numbers_stay_numbers(hostile):
    back = pd.read_csv(io.StringIO(render(hostile, "csv")))
    assert len(back) == len(HOSTILE) and not back["variant"].str.match(r"\s*[=+\-@＝\t\r]").any()
    assert {"'=1+1", "'-2+3", "'@SUM(A1)", "' =A1", "a|b", "a\\r\\nb"} <= set(back["variant"])
    numbers = formats.data(pd.DataFrame({"text": ["-0.5", "+1", "-x"], "number": [-0.5, -1e-9, 2.0]}), "csv")
    assert numbers == "text,number\n-0.5,-0.5\n+1,-1e-09\n'-x,2.0"


def test_a_name_is_shown_as_it_is_on_github_and_is_no_link(hostile):
    text = render(hostile, "md")
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    cells = [tokens[at + 1].children for at, token in enumerate(tokens) if token.type == "td_open"]
    names = cells[1 :: sum(token.type == "th_open" for token in tokens)]
    assert {part.type for parts in names for part in parts} == {"text"}
    shown = ["".join(part.content for part in parts) for parts in names]
    assert sorted(shown) == sorted(formats.visible(name).strip() for name in HOSTILE)
    assert "://" not in text and "www.e" not in text  # which GitHub makes links of, brackets or not


def test_a_name_is_text_in_latex_and_minus_signs_need_no_package(hostile):
    text = render(hostile, "latex")
    assert r"\textbackslash{}begin\{x\} 5\% \$a\_1\$ \#2 \textasciitilde{} \^{} \&" in text and "$-$5" in text
    assert "−" not in text and len(re.findall(r"(?<!\\)&", text)) == 14 * (len(HOSTILE) + 1)


def test_a_minus_sign_is_one_in_text_and_another_in_data():
    falls = replace(HOLDS, effect=-0.01, low=-0.02, high=-0.001)
    for format in ("table", "md"):
        assert "−1.00 [−2.00, −0.10]" in claims.render([falls], format) and "−0.10 in test" in claims.render(
            [falls], format
        )
    for format in ("csv", "json"):
        assert "-0.01" in claims.render([falls], format) and "-0.10 in test" in claims.render([falls], format)
    assert formats.number(0.001, -0.002, 0.004) == "0.10 [−0.20, 0.40]"
    numbers = {"longer": 9, "picked": "a", "winner": "b", "place": 2, "behind": 0.1, "variants": 5, "spearman": -0.84}
    assert ": −0.84 (Spearman)" in statement(Finding(Kind.SHORTER, "3", numbers)).text
    assert formats.minus("lr=1e-4 x-2 (-1) -0.5") == "lr=1e-4 x-2 (−1) −0.5"


def test_sentences_with_names_in_them_do_nothing_either(tmp_path, capsys):
    for file in (None, tmp_path / "file.txt"):
        formats.put(file, "a\x1b[2J\ud800b\nc")
    assert capsys.readouterr().out == (tmp_path / "file.txt").read_text() == "a\\x1b[2J\\ud800b\nc\n"
    assert "\\| \\`x\\`" in explanation([], ["| `x`"], NO_SHARES, [], "md")


def test_a_search_has_hyphens_for_minus_signs_in_data_alone():
    search = {
        "name": "a|b", "status": "FINISHED", "objective": "val/accuracy", "trials": 2, "failed": 0, "epochs": 6,
        "best_trial": "0001", "best_score": 0.3, "verdict": "on 3 seeds: -0.0012 (95 %: -0.1000 .. +0.2000), 1e-4",
        "scores": [0.5, 0.3], "reached": [3, 3],
    }  # fmt: skip
    found = searches.overview(pd.DataFrame([search]))
    for format, sign in (("table", "−"), ("md", "−"), ("csv", "-"), ("json", "-")):
        assert f"{sign}0.0012 (95 %: {sign}0.1000 .. +0.2000), 1e-4" in report_searches.render(found, format)


def test_the_markdown_page_of_a_search_shows_names_and_messages_as_they_are():
    trials = [
        TrialRecord("0001", "COMPLETED", {}, 0.9, None, name="activation=<b>a|b</b>", run_ids={"0": "abc"}),
        TrialRecord("0002", "FAILED", {}, None, "out of\nmemory | `x`"),
    ]
    text = summary.page(trials, [], "max", "val/accuracy", Importance(pd.Series(dtype=float), 0.5, 10), experiment="7")
    assert r"| 1 | 90.00 % | activation=&lt;b>a\|b&lt;/b> | [abc](#/experiments/7/runs/abc) |" in text
    assert r"- trial 2 failed: out of\\nmemory \| \`x\`" in text
