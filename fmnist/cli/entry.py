"""What all commands (`python -m fmnist.NAME`) have in common: their arguments, and how they end."""

import argparse
import io
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from fmnist import __version__, temporary, words
from fmnist.config import RunError, UserError, folder
from fmnist.signals import Interruption
from fmnist.words import harmless, shown


class Parser(argparse.ArgumentParser):
    """The arguments of a command; mistakes become its one line instead of argparse's usage."""

    def __init__(self, command: str, description: str, examples: str = "") -> None:
        """Of `fmnist.compare`, say."""
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=f"python -m {command}", description=description, epilog=examples, formatter_class=layout)
        self.add_argument("--version", action="version", version=f"fmnist {__version__}")

    def add_store(self) -> None:
        """Add the option that names a store."""
        named = partial(folder, "--store")
        self.add_argument("--store", metavar="DIR", type=named, default="mlruns", help="folder of the runs (mlruns)")

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{harmless(message, 300)} ({self.prog} --help says more)")


def condition(text: str) -> tuple[str, str]:
    """What `--where KEY=VALUE` asks."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, model.filters=64, but got '{shown(text)}'")
    return key, value


def enter(name: str, body: Callable[[], None], interrupted: str = "") -> int:
    """Carry out a command and return its exit code; what the user has to know is one line on stderr.

    Args:
        name: of the command, `fmnist.train`.
        body: what it does.
        interrupted: what to say after Ctrl-C or SIGTERM, of which a second one does not wait for anything to close.

    Returns:
        0; 1 if runs failed; 2 after a mistake of the user, or for a file or folder that cannot be used; 130 if
        interrupted. Other errors are ours and pass.
    """
    for stream in (sys.stdout, sys.stderr):  # what a terminal has no letters for
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if "--version" in sys.argv[1:]:  # before Hydra, which would say its own
        print(f"fmnist {__version__}")
        return 0
    farewell = f"\n{name}: interrupted; {interrupted}\n" if interrupted else ""
    interruption = Interruption(farewell)
    try:
        temporary.claim()
        body()
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        interruption.end()
        # Libraries in C make an ImportError of a signal while they are imported.
        if isinstance(error, KeyboardInterrupt) or interruption.has_come:
            sys.stderr.write(farewell)
            return 130
        if isinstance(error, BrokenPipeError):  # `| head` has seen enough; Python would complain again at its exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        elif isinstance(error, UserError | RunError):
            is_mistake = isinstance(error, UserError)
            lines = [str(error)] if is_mistake else str(error).split("\n")  # what a server or a worker said last
            text = "\n".join(words.harmless(line, 1000 if is_mistake else 10_000) for line in lines)
            print(words.without_passwords(f"{name}: {text}"), file=sys.stderr)
            return 2 if is_mistake else 1
        elif isinstance(error, OSError) and error.filename is not None:
            print(f"{name}: {words.shown(error.filename)}: {error.strerror}", file=sys.stderr)
            return 2
        else:
            raise
    finally:
        interruption.end()
    return 0
