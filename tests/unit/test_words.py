"""How numbers, counts and typed values are told: in one way each."""

import ast
import itertools
import re

import pandas as pd
import pytest
from rich.console import Console

from fmnist import words
from fmnist.config import PACKAGE, Config, StudyConfig, from_flat
from fmnist.identity import Signatures, run_name
from fmnist.study.plan import PlannedRun
from fmnist.work.sweep_progress import plan_summary, plan_table, run_table

COUNTED = re.compile(r" (run|epoch|seed|trial|worker|row|minute|dimension|trajectory|trajectories|point of)s?\b")


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1234, "1,234 runs"), (1.0, "1 run"), (1.5, "1.5 runs")],
)
def test_a_count_agrees_with_its_noun(number, told):
    assert words.plural(number, "run") == told


def test_nouns_in_y_have_their_plural():
    assert words.plural(1, "trajectory") == "1 trajectory" and words.plural(0, "trajectory") == "0 trajectories"


def messages():
    """Where each f-string of the package stands, and its parts."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for text in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.JoinedStr)):
            yield f"{file.relative_to(PACKAGE)}:{text.lineno}", text.values


def test_every_count_in_a_message_is_told_by_that_helper():
    """An f-string that puts a number before a noun itself says `1 runs` some day."""
    found = []
    for where, parts in messages():
        if where.startswith("analysis/"):
            continue  # values and names; the report makes sentences of them
        for number, noun in itertools.pairwise(parts):
            is_value = isinstance(number, ast.FormattedValue) and not re.search("plural|[A-Z]{3}", ast.unparse(number))
            if is_value and isinstance(noun, ast.Constant) and COUNTED.match(noun.value):
                found.append(f"{where}: {ast.unparse(number)}{noun.value[:20]}")
    assert found == []


def told(parts, number):
    """A message in which every count is this number and every other value is a word."""
    text = ""
    for part in parts:
        counts = re.findall(r"plural\([^']*'([^']+)'\)", ast.unparse(part))
        text += part.value if isinstance(part, ast.Constant) else words.plural(number, counts[0]) if counts else "word"
    return text


def told_by_the_page(number):
    """The lines of the page's template, likewise."""
    for index, line in enumerate((PACKAGE / "report/page.html.j2").read_text().splitlines()):
        if "|plural(" in line:
            text = re.sub(r'\{\{[^}]*\|plural\("(\w+)"\)[^}]*\}\}', lambda count: words.plural(number, count[1]), line)
            yield f"page.html.j2:{index + 1}", re.sub(r"<[^>]*>|\{[{%].*?[}%]\}", " ", text)


# What follows a count of one or of several, at once or after a word or two: `1 run are`, `2 runs that has`.
OF_SEVERAL = r"are|were|have|(?<!to )do|stay|begin|match|give|get|train|come|need|wait|differ|fail|remain|rest|lack|say"
OF_ONE = r"is|was|has|does|stays|begins|matches|gives|gets|trains|comes|needs|waits|differs|fails|remains|rests|lacks"


def agrees(text, number):
    """Whether no verb that follows a count is of another number."""
    one, several = rf"\b1 [\w ]{{2,40}}\b(?:{OF_SEVERAL})\b", rf"\b[02] (?:\w+ ){{1,2}}(?:that |which )?(?:{OF_ONE})\b"
    return not re.search(one if number == 1 else several, text)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_message_is_a_sentence_whatever_its_count_is(number):
    """Each is printed with 0, 1 and 2: what follows a count agrees with it, or does not depend on it."""
    texts = [
        (where, told(parts, number)) for where, parts in messages() if any("plural(" in ast.unparse(p) for p in parts)
    ]
    texts += told_by_the_page(number)
    print("\n".join(f"{where}: {text}" for where, text in texts))
    assert len(texts) > 60 and [text for text in texts if not agrees(text[1], number)] == []


@pytest.mark.parametrize(
    "text", ["0 runs is left", "1 run are left", "1 row that train", "2 recorded seeds that was left"]
)
def test_a_count_that_does_not_agree_is_seen(text):
    assert not agrees(text, int(text[0])) and agrees("1 run is left, 2 runs are", 1) and agrees("2 runs are left", 2)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "null"), (True, "true"), ("a\nb", "a\\nb"), ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("\u202eabc", "\\u202eabc"),
        ("\udc80", "\\udc80"), ("x" * 101, "x" * 99 + "…"), ([1, 2], "[1, 2]"), ("é·", "é·"),
    ],
)  # fmt: skip
def test_what_was_typed_is_told_on_one_line_and_harmlessly(value, told):
    assert words.shown(value) == told


def test_some_of_many_texts_are_told_and_how_many_more_there_are():
    assert words.some(["a", "b"]) == "a; b" and words.some(list("abcde")) == "a; b; c; and 2 more"


def test_scores_are_told_in_one_unit_each():
    assert [words.score(0.9123, "share"), words.score(-0.0123, "share", signed=True)] == ["91.23 %", "−1.23 points"]
    assert [words.score(0.25, "nats"), words.score(-0.25, "nats", signed=True), words.score(None, "nats")] == [
        "0.2500", "−0.2500", "–",
    ]  # fmt: skip


def test_a_run_s_name_is_short_however_much_its_variant_changes():
    options = {"model.filters": [32, 64], "model.pooling": "average", "optimizer.learning_rate": 0.00012345678901234}
    options |= {f"augment.{name}": 0.123456789012345 for name in ("rotation", "width_shift", "shear", "zoom")}
    name = run_name(from_flat(Config(), options))
    assert len(name) < 160 and name.endswith("… · seed 0 · 10 epochs")


# ---- Terminals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80])
def test_no_word_of_a_plan_is_broken_on_a_narrow_terminal(width):
    question = "Which of the article's choices matter, each varied alone around its baseline, and which of them do not?"
    study = StudyConfig(name="article", question=question)
    variant = "filters=[32,64] kernel_size=7 pooling=average augment=heavy scale=unit learning_rate=0.0001"
    signatures = Signatures("run", "trajectory", "variant")
    planned = [
        PlannedRun(Config(study=study, epochs=n), (), signatures, n == 2, n // 3, 60.0, variant) for n in (1, 2, 3)
    ]
    console = Console(width=width, force_terminal=False)
    nothing = pd.DataFrame(columns=["trajectory_signature", "study", "status", "recipe"])
    with console.capture() as capture:
        for part in (run_table(planned), plan_table(planned, study, 2), plan_summary(planned, nothing)):
            console.print(part)
    text = capture.get()
    assert {*variant.split(), *question.split()} <= set(text.split()) and max(map(len, text.splitlines())) <= width
    assert "trains 3 epochs" in " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:a@b:c@host/x of it", "at http://me:***@host/x of it"),
        ("postgresql://host/db?user=me&password=word", "postgresql://host/db?user=me&password=***"),
        ("'https://host/?access_token=word&x=1'", "'https://host/?access_token=***&x=1'"),
        ("http://host:5000/x", "http://host:5000/x"),
    ],
)
def test_an_address_is_told_without_its_password(text, shown):
    assert words.without_passwords(text) == shown
