"""The command about the model that is in use: `python -m fmnist.champion` chooses it, shows it and asks it."""

import argparse
import os
import sys

from fmnist.cli import server
from fmnist.cli.entry import Action, Parser, act, enter, positive
from fmnist.config import UserError
from fmnist.schema import ALIASES, CHAMPION
from fmnist.words import shown

EXAMPLES = """\
actions (each has a --help of its own):
  promote       register the best variant that a verdict supports as the champion
  show          which run it is, and why
  predict IMAGE what it makes of pictures
  serve         have MLflow's model server answer for it

examples:
  python -m fmnist.champion promote --study article              of the study's variants
  python -m fmnist.champion promote --study article --epochs 10  ... after 10 epochs
  python -m fmnist.champion promote 1f0c                         this run: the champion if a verdict supports it
  python -m fmnist.champion show
  python -m fmnist.champion predict shirt.png photos/
  curl -s https://example.org/shirt.jpg | python -m fmnist.champion predict --json -
  python -m fmnist.champion serve --port 5002

The versions are those of MLflow's registered model fashion-mnist, which its UI shows.
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


def _add_alias(parser: Parser) -> None:
    parser.add_argument("--alias", choices=ALIASES, default=CHAMPION, help=f"which version ({CHAMPION})")


def _add_predict(parser: Parser) -> None:
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="files (PNG, JPEG), folders, - for standard input")
    parser.add_argument("--json", action="store_true", help="all of it as JSON, in full precision")
    _add_alias(parser)


def _predict(arguments: argparse.Namespace) -> int:
    from fmnist.study.prediction import predict

    return predict(arguments.store, arguments.alias, arguments.images, arguments.json)


def _add_serve(parser: Parser) -> None:
    parser.add_place(5001)
    _add_alias(parser)


def _serve(arguments: argparse.Namespace) -> None:
    server.check_place(arguments.host, arguments.port)
    from fmnist.study.prediction import in_use

    uri, version, config = in_use(arguments.store, arguments.alias)
    page = f"{server.address(arguments.host, arguments.port)}/invocations"

    def tell() -> None:
        print(f"version {version.number}, the {arguments.alias}, answers at {page}", flush=True)
        print('it takes {"inputs": IMAGES} as JSON: n times 28x28x1 numbers from 0 to 255, bright cloth on black')
        print(f"stop with Ctrl-C (or kill {os.getpid()})", flush=True)

    how = [version.place, arguments.host, str(arguments.port), config.compute.backend, str(config.compute.threads)]
    command = ["fmnist.tracking.scoring", *how]
    server.serve(command, {"MLFLOW_TRACKING_URI": uri}, arguments.host, arguments.port, tell)


ACTIONS = {
    "promote": Action("Register the best variant that a verdict supports.", _promote, _add_promote),
    "show": Action("Which run is the champion, and why.", _show, lambda parser: None),
    "predict": Action("What the champion makes of pictures.", _predict, _add_predict),
    "serve": Action("Serve the champion by MLflow's model server.", _serve, _add_serve),
}


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; see `fmnist.cli.entry` for the exit codes."""
    description = "Choose the model that is in use, show it, and ask it."
    given = sys.argv[1:] if argv is None else argv
    return enter("fmnist.champion", lambda: act("fmnist.champion", description, EXAMPLES, ACTIONS, given))


if __name__ == "__main__":
    raise SystemExit(main())
