"""The command about the model that is in use: `python -m fmnist.champion` chooses it, shows it and asks it."""

import argparse
import sys

from fmnist.cli.entry import Action, Parser, act, enter, positive
from fmnist.config import UserError
from fmnist.words import shown

EXAMPLES = """\
actions (each has a --help of its own):
  promote       register the best variant that a verdict supports as the champion
  show          which run it is, and why

examples:
  python -m fmnist.champion promote --study article              of the study's variants
  python -m fmnist.champion promote --study article --epochs 10  ... after 10 epochs
  python -m fmnist.champion promote 1f0c                         this run: the champion if a verdict supports it
  python -m fmnist.champion show

The versions are those of MLflow's registered model fashion-mnist, which `make ui` shows.
"""


def _add_promote(parser: Parser) -> None:
    parser.add_argument("--study", metavar="NAME", default="", help="of the variants of a study in conf/study/")
    parser.add_argument("--epochs", metavar="N", type=positive, help="of the runs of that many epochs")
    given = "a run, by the first letters of its id; options that the study was run with: data.limit=3000"
    parser.add_argument("given", nargs="*", metavar="RUN | KEY=VALUE", help=given)


def _promote(arguments: argparse.Namespace) -> None:
    from fmnist.study.promotion import promote

    overrides = [text for text in arguments.given if "=" in text]
    run, *more = [text for text in arguments.given if "=" not in text] or [""]
    if more:
        raise UserError(f"one run can be promoted, but got '{shown(run)}' and '{shown(more[0])}'")
    print(promote(arguments.store, arguments.study, overrides, arguments.epochs, run))


def _show(arguments: argparse.Namespace) -> None:
    from fmnist.study.promotion import told

    print(told(arguments.store))


ACTIONS = {
    "promote": Action("Register the best variant that a verdict supports.", _promote, _add_promote),
    "show": Action("Which run is the champion, and why.", _show, lambda parser: None),
}


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; see `fmnist.cli.entry` for the exit codes."""
    description = "Choose the model that is in use, and show it."
    given = sys.argv[1:] if argv is None else argv
    return enter("fmnist.champion", lambda: act("fmnist.champion", description, EXAMPLES, ACTIONS, given))


if __name__ == "__main__":
    raise SystemExit(main())
