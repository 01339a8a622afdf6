"""What all doors (`python -m fmnist.X`) have in common: how they end."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from fmnist.config import RunError, UserError


class Parser(argparse.ArgumentParser):
    """A door's arguments; mistakes become its one line instead of argparse's usage."""

    def __init__(self, door: str, description: str, examples: str = "") -> None:
        """Of `fmnist.compare`, say."""
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=f"python -m {door}", description=description, epilog=examples, formatter_class=layout)

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{message} ({self.prog} --help says more)")


def enter(name: str, body: Callable[[], None], interrupted: str = "") -> int:
    """Carry out a door's body and return its exit code; what the user has to know is one line on stderr.

    Args:
        name: of the door, `fmnist.train`.
        body: what it does.
        interrupted: what to say after Ctrl-C or SIGTERM.

    Returns:
        0; 1 if runs failed; 2 after a mistake of the user; 130 if interrupted. Other errors are ours and pass.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        body()
        sys.stdout.flush()
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if interrupted:
            print(f"\n{name}: interrupted; {interrupted}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has seen enough; Python would complain again at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
