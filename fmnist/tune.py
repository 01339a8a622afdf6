"""The door to searches: `python -m fmnist.tune` lets Keras Tuner look for the best configuration."""

import sys

from fmnist.cli.entry import enter
from fmnist.config import UserError
from fmnist.search.space import SearchConfig


def task(config: SearchConfig) -> None:
    """Carry out a search, and compare what it found with the baseline on fresh seeds."""
    from rich.console import Console

    from fmnist.search.confirm import conclude
    from fmnist.search.search import Search

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    search = Search(config, console)
    conclude(search, search.carry_out())


def _body() -> None:
    from fmnist.search.space import TUNE
    from fmnist.study.compose import run_application

    if {"-m", "--multirun"} & set(sys.argv[1:]):
        raise UserError("a search chooses its points itself; what it may choose is tuner.space, without -m")
    run_application(task, TUNE)


def main() -> int:
    """Carry out the command line; see `fmnist.cli.entry` for the exit codes."""
    return enter("fmnist.tune", _body, interrupted="the same command goes on where this stopped")


if __name__ == "__main__":
    raise SystemExit(main())
