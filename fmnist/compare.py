"""The door to results: `python -m fmnist.compare` ranks what the store holds."""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist.config import UserError
from fmnist.door import Parser, enter

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("table", "csv", "md", "json")  # as in analysis.leaderboard, which costs --help a second
EXAMPLES = """\
examples:
  python -m fmnist.compare                                   every run, best validation accuracy first
  python -m fmnist.compare --epochs 10 --top 5               the five best after 10 epochs
  python -m fmnist.compare --study filters                   the variants of conf/study/filters.yaml
  python -m fmnist.compare --study smoke data.limit=3000     ... of the study run with that override
  python -m fmnist.compare --format csv --out board.csv      in full precision, to a file
"""


def _positive(text: str) -> int:
    if not text.lstrip("+-").isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, but got '{text}'")
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but got {text}")
    return int(text)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        "fmnist.compare",
        "Rank recorded runs by mean validation accuracy over their seeds, never by the test set.",
        EXAMPLES,
    )
    parser.add_argument("--study", metavar="NAME", help="only the variants of a study in conf/study/")
    parser.add_argument("--epochs", metavar="N", type=_positive, help="only runs of that many epochs")
    parser.add_argument("--top", metavar="N", type=_positive, help="only the first N rows")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write to a file, not to standard output")
    parser.add_argument("--store", metavar="DIR", default="mlruns", help="folder of the runs (mlruns)")
    parser.add_argument("overrides", nargs="*", help="options that the study was run with: data.limit=3000")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.overrides and arguments.study is None:
        parser.error(f"'{arguments.overrides[0]}' changes a study and needs --study NAME")
    return arguments


def _selected(runs: "pd.DataFrame", arguments: argparse.Namespace) -> "pd.DataFrame":
    if arguments.study is not None:
        from fmnist.study.sweeper import variants_of

        runs = runs[runs["variant"].isin(variants_of(arguments.study, arguments.overrides))]
    return runs if arguments.epochs is None else runs[runs["epochs"] == arguments.epochs]


def compare(arguments: argparse.Namespace) -> str:
    """The leaderboard that the arguments ask for, as text.

    Raises:
        UserError: the study or one of its overrides is unknown.
    """
    from fmnist import tracking
    from fmnist.analysis.leaderboard import NO_RUNS, leaderboard, render

    runs = tracking.load(arguments.store)
    board = leaderboard(_selected(runs, arguments))
    if arguments.top is not None:
        board = board.head(arguments.top)
    to_terminal = arguments.out is None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if to_terminal else 0
    empty = NO_RUNS if runs.empty else f"none of the {len(runs)} recorded runs match"
    return render(board, arguments.format, width=width, empty=empty)


def _write(file: Path, text: str) -> None:
    """Write all of a file or nothing."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot write {file}: {error.strerror}") from error


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; see `fmnist.door.enter` for the exit codes."""

    def body() -> None:
        arguments = _arguments(argv)
        text = compare(arguments)
        if arguments.out is None:
            print(text)
        else:
            _write(arguments.out, text)
            print(f"wrote {arguments.out}", file=sys.stderr)

    return enter("fmnist.compare", body)


if __name__ == "__main__":
    raise SystemExit(main())
