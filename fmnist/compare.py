"""The door to results: `python -m fmnist.compare` ranks what the store holds and says what it means."""

import argparse
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist.cli.entry import Parser, enter
from fmnist.config import UserError, suggest
from fmnist.report.formats import FORMATS, SEARCH_FORMATS
from fmnist.schema import RANKING, VAL_ACCURACY

if TYPE_CHECKING:
    import pandas as pd

    from fmnist.study.findings import Answer

EXAMPLES = """\
examples:
  python -m fmnist.compare                                   every run, best validation accuracy first
  python -m fmnist.compare --epochs 10 --top 5               the five best after 10 epochs
  python -m fmnist.compare --study article                   the variants of conf/study/article.yaml, and what they mean
  python -m fmnist.compare --study article --claims          the verdict on each of its claims
  python -m fmnist.compare --study smoke data.limit=3000     ... of the study run with that override
  python -m fmnist.compare --searches                        all searches: trials, best, verdict on fresh seeds
  python -m fmnist.compare --where model.filters=64          only these rows
  python -m fmnist.compare --format csv --out board.csv      in full precision, to a file
  python -m fmnist.compare --study article --format html --out report.html
  python -m fmnist.compare --study article --format html --out experiments/article
                                                             a folder: report, figures, leaderboard, claims
"""


def _positive(text: str) -> int:
    if not text.lstrip("+-").isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, but got '{text}'")
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but got {text}")
    return int(text)


def _condition(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, model.filters=64, but got '{text}'")
    return key, value


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        "fmnist.compare",
        "Rank recorded runs by validation accuracy over their seeds, never by the test set, and judge claims.",
        EXAMPLES,
    )
    parser.add_argument("--study", metavar="NAME", default="", help="only the variants of a study in conf/study/")
    parser.add_argument("--claims", action="store_true", help="the verdicts on the study's claims instead")
    parser.add_argument("--searches", action="store_true", help="a table of all searches instead")
    parser.add_argument("--epochs", metavar="N", type=_positive, help="only runs of that many epochs")
    parser.add_argument("--metric", choices=tuple(RANKING), default=VAL_ACCURACY.key, help="what ranks (val/accuracy)")
    parser.add_argument("--baseline", metavar="VARIANT", default="", help="compare with it (the study's baseline)")
    parser.add_argument("--by", choices=("variant", "run"), default="variant", help="what a row is (variant)")
    condition = "only rows whose runs have this option; may be repeated, changes no statistics"
    parser.add_argument("--where", metavar="KEY=VALUE", type=_condition, action="append", default=[], help=condition)
    parser.add_argument("--top", metavar="N", type=_positive, help="only the first N rows")
    parser.add_argument("--format", choices=(*FORMATS, "html"), default="table", help="default: table")
    parser.add_argument("--out", metavar="PATH", type=Path, help="write to a file, or into a folder (no suffix)")
    parser.add_argument("--store", metavar="DIR", default="mlruns", help="folder of the runs (mlruns)")
    parser.add_argument("overrides", nargs="*", help="options that the study was run with: data.limit=3000")
    arguments = parser.parse_intermixed_args(argv)
    _check(parser, arguments)
    return arguments


def _check(parser: Parser, arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if arguments.searches:
        return _check_searches(parser, arguments)
    if not arguments.study:
        for option in (*arguments.overrides[:1], *(["--claims"] if arguments.claims else [])):
            parser.error(f"'{option}' is about a study and needs --study NAME")
    for option in arguments.overrides:
        if option.startswith("store="):
            parser.error(f"'{option}' changes nothing here; --store {option.removeprefix('store=')} reads those runs")
    if arguments.format == "html" and arguments.out is None:
        parser.error("--format html needs --out FILE.html or --out FOLDER")
    if arguments.format == "html" and arguments.metric != VAL_ACCURACY.key:
        parser.error(f"the report ranks by {VAL_ACCURACY.key}: leave out --metric {arguments.metric}")
    return None


def _check_searches(parser: Parser, arguments: argparse.Namespace) -> None:
    for option in ("study", "claims", "epochs", "metric", "baseline", "by", "where", "top", "overrides"):
        if getattr(arguments, option) != parser.get_default(option) and getattr(arguments, option) != []:
            name = f"'{arguments.overrides[0]}'" if option == "overrides" else f"--{option}"
            parser.error(f"--searches lists all searches of the store: leave out {name}")
    if arguments.format not in SEARCH_FORMATS:
        parser.error(f"--searches has --format {', '.join(SEARCH_FORMATS)}, but got '{arguments.format}'")
    if arguments.out is not None and not arguments.out.suffix:
        parser.error(f"--searches is one table: give --out a file, {arguments.out / 'searches.csv'}")


# ---- What is shown --------------------------------------------------------------------------------------


def _rows(answer: "Answer", arguments: argparse.Namespace) -> "pd.DataFrame":
    """The rows of the leaderboard that are asked for: cut after the statistics, which do not depend on it."""
    board, runs = answer.board, answer.shown
    for key, value in arguments.where if answer.recorded else ():
        if key not in runs:
            raise UserError(f"--where: runs have no '{key}'{suggest(key, [str(name) for name in runs])}")
        chosen = set(runs.loc[_equals(runs[key], value), "run_id"])
        board = board[[bool(chosen & set(ids.split())) for ids in board["run_id"]]]
    return board if arguments.top is None else board.head(arguments.top)


def _equals(column: "pd.Series", value: str) -> "pd.Series":
    """Whether texts are this value however it is written: 0.001 as 1e-3, [32,64] with a blank, true as True."""
    texts, text = column.astype(str).str.replace(" ", "").str.lower(), value.replace(" ", "").lower()
    try:
        number = float(text)
    except ValueError:
        return texts == text
    import pandas as pd

    return (texts == text) | (pd.to_numeric(texts, errors="coerce") == number)


def _text(answer: "Answer", arguments: argparse.Namespace, form: str) -> str:
    """What goes to standard output, or into a file of that format."""
    if arguments.claims:
        return _claims(answer, form)
    return _board(answer, arguments, form)


def _claims(answer: "Answer", form: str) -> str:
    from fmnist.report import claims

    return claims.render(answer.claims, form)


def _searches(store: str, form: str) -> str:
    from fmnist.analysis.searches import overview
    from fmnist.report.searches import render
    from fmnist.study.findings import all_searches

    return render(overview(all_searches(store)), form)


def _board(answer: "Answer", arguments: argparse.Namespace, form: str) -> str:
    """The leaderboard, and what it means where it is to be read."""
    from fmnist.report.explanation import explanation
    from fmnist.report.leaderboard import NO_RUNS, render

    rows = _rows(answer, arguments)
    to_terminal = arguments.out is None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if to_terminal else 0
    empty = f"none of the {answer.recorded} recorded runs match" if answer.recorded else NO_RUNS
    table = render(rows, form, width=width, empty=empty)
    if form not in ("table", "md") or answer.board.empty:
        return table
    below = explanation(answer.claims, answer.notes, answer.shares, answer.diagnosis, form)
    return "\n\n".join(part for part in (table, below) if part)


# ---- Where it goes --------------------------------------------------------------------------------------


def _write(file: Path, content: str) -> None:
    """Write all of a file or nothing, and say so."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(content, encoding="utf-8")
        part.replace(file)
    except OSError as error:
        with suppress(OSError):  # of a folder that is a file, say
            part.unlink()
        raise UserError(f"cannot write {file}: {error.strerror}") from error
    print(f"wrote {file}", file=sys.stderr)


def _put(out: Path | None, text: str) -> None:
    """Into the file, or where there is none to standard output."""
    if out is None:
        print(text)
    else:
        _write(out, text + "\n")


def _write_report(answer: "Answer", out: Path) -> None:
    """The report as a file, or in a folder with its figures."""
    from fmnist.report import page, svg

    findings = answer.findings()
    if out.suffix:
        return _write(out, page.render(findings))
    _write(out / "report.html", page.render(findings))
    for name, figure in page.draw_figures(findings).items():
        _write(out / "figures" / f"{name}.svg", svg.document(figure))
    return None


def _write_folder(answer: "Answer", arguments: argparse.Namespace) -> None:
    for form in ("csv", "md"):
        _write(arguments.out / f"leaderboard.{form}", _board(answer, arguments, form) + "\n")
    if answer.claims:
        _write(arguments.out / "claims.csv", _claims(answer, "csv") + "\n")


def _body(argv: list[str] | None) -> None:
    arguments = _arguments(argv)
    if arguments.searches:
        return _put(arguments.out, _searches(arguments.store, arguments.format))
    from fmnist.study.findings import Question, answer

    question = Question(
        store=arguments.store,
        study=arguments.study,
        overrides=arguments.overrides,
        epochs=arguments.epochs,
        metric=arguments.metric,
        baseline=arguments.baseline,
        by=arguments.by,
    )
    found = answer(question)
    out = arguments.out
    if out is not None and not out.suffix:
        if found.board.empty:  # or nothing would take the place of what stands there
            raise UserError(f"nothing to write into {out}: no recorded run matches; start some with 'make sweep'")
        _write_folder(found, arguments)
    if arguments.format == "html":
        _write_report(found, out)
    else:
        _put(out if out is None or out.suffix else None, _text(found, arguments, arguments.format))
    return None


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; see `fmnist.cli.entry` for the exit codes."""
    return enter("fmnist.compare", lambda: _body(argv))


if __name__ == "__main__":
    raise SystemExit(main())
