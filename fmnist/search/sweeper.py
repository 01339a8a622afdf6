"""The Hydra sweeper of a search, by which it gets the launcher that starts its workers."""

from typing import Any

from fmnist.config import UserError
from fmnist.search.space import TUNE, SearchConfig
from fmnist.study.compose import to_config
from fmnist.work.launcher import LaunchingSweeper


class SearchSweeper(LaunchingSweeper):
    """Carries out a search, and compares what it has found with the baseline on fresh seeds."""

    def carry_out(self, arguments: list[str]) -> Any:
        """Carry out the search that the command line asks for.

        Raises:
            UserError: the search is impossible; nothing has started.
            RunError: trials or runs failed.
        """
        from fmnist.search.search import Search

        for override in self.parsed(arguments):
            if override.is_sweep_override():
                raise UserError(
                    f"{override.get_key_element()} names several values, but a search chooses its points itself; "
                    "what it may choose is tuner.space, and a list stands in [brackets]"
                )
        self.overrides = arguments
        config = to_config(self.config, TUNE)
        assert isinstance(config, SearchConfig)
        Search(config, self).carry_out()
