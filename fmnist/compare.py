"""The command that shows results: `python -m fmnist.compare` ranks what the store holds and says what it means."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from fmnist.cli.entry import Parser, condition, enter, positive
from fmnist.report.formats import FORMAT, FORMATS, SEARCH_FORMATS, put
from fmnist.schema import RANKING, VAL_ACCURACY
from fmnist.words import shown

EXAMPLES = """\
examples:
  python -m fmnist.compare                                   every run, best validation accuracy first
  python -m fmnist.compare --epochs 10 --top 5               the five best after 10 epochs
  python -m fmnist.compare --study article                   the variants of conf/study/article.yaml, and what they mean
  python -m fmnist.compare --study article --claims          the verdict on each of its claims
  python -m fmnist.compare --study smoke data.limit=3000     ... of the study run with that override
  python -m fmnist.compare --searches                        all searches: trials, best, verdict on fresh seeds
  python -m fmnist.compare --where model.filters=64          only these rows
  python -m fmnist.compare --format csv --out runs.csv       in full precision, to a file
  python -m fmnist.compare --study article --format html --out report.html
  python -m fmnist.compare --study article --format html --out experiments/article
                                                             a folder: report, figures, leaderboard, claims
"""


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        "fmnist.compare",
        "Rank recorded runs by validation accuracy over their seeds, never by the test set, and judge claims.",
        EXAMPLES,
    )
    parser.add_argument("--study", metavar="NAME", default="", help="only the variants of a study in conf/study/")
    parser.add_argument("--claims", action="store_true", help="the verdicts on the study's claims instead")
    parser.add_argument("--searches", action="store_true", help="a table of all searches instead")
    parser.add_argument("--epochs", metavar="N", type=positive, help="only runs of that many epochs")
    parser.add_argument("--metric", choices=tuple(RANKING), default=VAL_ACCURACY.key, help="what ranks (val/accuracy)")
    parser.add_argument("--baseline", metavar="VARIANT", default="", help="compare with it (the study's baseline)")
    parser.add_argument("--by", choices=("variant", "run"), default="variant", help="what a row is (variant)")
    parser.add_argument("--rank-failed", action="store_true", help="rank variants too of which seeds failed")
    only = "only rows whose runs have this option; may be repeated, changes no statistics"
    parser.add_argument("--where", metavar="KEY=VALUE", type=condition, action="append", default=[], help=only)
    parser.add_argument("--top", metavar="N", type=positive, help="only the first N rows")
    parser.add_argument("--format", choices=(*FORMATS, "html"), help="default: as --out is called, else table")
    parser.add_argument("--out", metavar="PATH", type=Path, help="write to a file, or into a folder (no suffix)")
    parser.add_argument("--force", action="store_true", help="replace results of other runs that stand in the folder")
    parser.add_store()
    parser.add_argument("overrides", nargs="*", help="options that the study was run with: data.limit=3000")
    arguments = parser.parse_intermixed_args(argv)
    arguments.format = arguments.format or _format(parser, arguments.out)
    _check(parser, arguments)
    return arguments


def _format(parser: Parser, out: Path | None) -> str:
    """As the suffix of a file says."""
    suffix = out.suffix[1:].lower() if out else ""
    if suffix and suffix not in FORMAT:
        known = ", ".join(f".{name}" for name in FORMAT)
        parser.error(f"--out {shown(out)} says no format: end it in one of {known}, or give --format")
    return FORMAT[suffix] if suffix else "table"


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
    for option in ("study", "claims", "epochs", "metric", "baseline", "by", "rank_failed", "where", "top", "overrides"):
        if getattr(arguments, option) != parser.get_default(option) and getattr(arguments, option) != []:
            name = f"'{arguments.overrides[0]}'" if option == "overrides" else f"--{option}"
            parser.error(f"--searches lists all searches of the store: leave out {name}")
    if arguments.format not in SEARCH_FORMATS:
        parser.error(f"--searches has --format {', '.join(SEARCH_FORMATS)}, but got '{arguments.format}'")
    if arguments.out is not None and not arguments.out.suffix:
        parser.error(f"--searches is one table: give --out a file, {arguments.out / 'searches.csv'}")


def _compare_runs(arguments: argparse.Namespace) -> None:
    from fmnist.report import claims
    from fmnist.study.findings import answer
    from fmnist.study.output import leaderboard_text, write_folder, write_report
    from fmnist.study.question import Question

    options = {field.name: getattr(arguments, field.name) for field in fields(Question) if field.name != "folder"}
    findings, out = answer(Question(arguments.store, **options)), arguments.out
    file = out if out is not None and out.suffix else None
    if out is not None and file is None:
        write_folder(findings, out, arguments.format, arguments.force)
    if arguments.format == "html":
        write_report(findings, out)
    elif arguments.claims:
        put(file, claims.render(findings.claims, arguments.format))
        if findings.selection.elsewhere:
            print(findings.selection.elsewhere, file=sys.stderr)
    else:
        put(file, leaderboard_text(findings, arguments.format, fit=file is None))


def _list_searches(arguments: argparse.Namespace) -> None:
    from fmnist.analysis.searches import overview
    from fmnist.report.searches import render
    from fmnist.study.selection import all_searches

    put(arguments.out, render(overview(all_searches(arguments.store)), arguments.format))


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; see `fmnist.cli.entry` for the exit codes."""

    def body() -> None:
        arguments = _arguments(argv)
        (_list_searches if arguments.searches else _compare_runs)(arguments)

    return enter("fmnist.compare", body)


if __name__ == "__main__":
    raise SystemExit(main())
