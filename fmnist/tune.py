"""Searches: `python -m fmnist.tune` lets Keras Tuner look for the best configuration."""

import sys
from typing import NoReturn

from fmnist.cli.entry import enter
from fmnist.config import Config, UserError


def _refuse(config: Config) -> NoReturn:
    raise UserError("a search needs hydra.mode=MULTIRUN, as conf/tune.yaml has it")


def _body() -> None:
    from fmnist.search.space import TUNE
    from fmnist.search.sweeper import SearchSweeper
    from fmnist.study.compose import run_application

    if {"-m", "--multirun"} & set(sys.argv[1:]):
        raise UserError("a search chooses its points itself; what it may choose is tuner.space, without -m")
    run_application(_refuse, TUNE, SearchSweeper)


def main() -> int:
    """Carry out the command line; see `fmnist.cli.entry` for the exit codes."""
    return enter("fmnist.tune", _body, interrupted="the same command goes on where this stopped")


if __name__ == "__main__":
    raise SystemExit(main())
