"""Standard output as all commands print to it; light, for the command line is read with it."""

import sys

from rich.console import Console

UNWRAPPED = 10_000  # characters


class StandardOutput(Console):
    """A console that leaves it to the command how it ends where nobody reads on."""

    def on_broken_pipe(self) -> None:
        """Called by rich, which would end the process."""
        raise BrokenPipeError


def console() -> Console:
    """Standard output: as wide as its terminal, whose words stay whole; what goes elsewhere is not wrapped at all."""
    width = None if sys.stdout.isatty() else UNWRAPPED
    return StandardOutput(file=sys.stdout, highlight=False, width=width, soft_wrap=width is not None)
