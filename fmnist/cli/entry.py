"""What all commands (`python -m fmnist.NAME`) have in common: their arguments, and how they end."""

import argparse
import atexit
import gc
import io
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from fmnist import __version__, temporary, words
from fmnist.config import RunError, UserError, folder
from fmnist.signals import Interruption
from fmnist.words import harmless, shown

atexit.register(gc.freeze)  # Python's last collection would go through all that libraries have made: 0.4 s


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

    def add_place(self, port: int) -> None:
        """Add the options that say where a server listens, usually on this port."""
        self.add_port("--port", port, "port to serve on")
        self.add_argument("--host", default="127.0.0.1", help="address to serve on (127.0.0.1: this machine only)")

    def add_port(self, name: str, port: int, what: str) -> None:
        """Add an option that names a port."""
        self.add_argument(name, metavar="N", type=_port, default=port, help=f"{what} ({port})")

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{harmless(message, 300)} ({self.prog} --help says more)")


@dataclass(frozen=True)
class Action:
    """One of several things that a command can do."""

    description: str
    carry_out: Callable[[argparse.Namespace], int | None]  # returns the exit code, if it is another than 0
    add: Callable[[Parser], None]  # its arguments, beside --store


def act(command: str, description: str, examples: str, actions: Mapping[str, Action], argv: list[str]) -> int | None:
    """Carry out the action that the first argument names; each has a --help of its own."""
    parser = Parser(command, description, examples)
    parser.add_argument("action", choices=actions, help="what to do")
    action = actions[parser.parse_args(argv[:1]).action]
    own = Parser(f"{command} {argv[0]}", action.description)
    action.add(own)
    own.add_store()
    return action.carry_out(own.parse_intermixed_args(argv[1:]))


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 65535, but got '{shown(text)}'")
    return int(text)


def positive(text: str) -> int:
    """A number of epochs or rows."""
    if not text.lstrip("+-").isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, but got '{shown(text)}'")
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but got {shown(text)}")
    return int(text)


def condition(text: str) -> tuple[str, str]:
    """What `--where KEY=VALUE` asks."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, model.filters=64, but got '{shown(text)}'")
    return key, value


def _check_folder() -> None:
    """Refuse to work in a folder that is no more: every relative path begins there.

    Raises:
        UserError: somebody has removed it.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("the folder that this was started in has been removed; change to another") from None


def enter(name: str, body: Callable[[], int | None], interrupted: str = "") -> int:
    """Carry out a command and return its exit code; what the user has to know is one line on stderr.

    Args:
        name: of the command, `fmnist.train`.
        body: what it does; it may return an exit code of its own.
        interrupted: what to say after Ctrl-C or SIGTERM, of which a second one does not wait for anything to close.

    Returns:
        0, or what the body returned; 1 if runs failed; 2 after a mistake of the user, or for a file or folder that
        cannot be used; 130 if interrupted. Other errors are ours and pass.
    """
    for stream in (sys.stdout, sys.stderr):  # what a terminal has no letters for
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if "--version" in sys.argv[1:]:  # before Hydra, which would say its own
        print(f"fmnist {__version__}")
        return 0
    farewell = f"\n{name}: interrupted; {interrupted}\n" if interrupted else ""
    interruption, code = Interruption(farewell), None
    try:
        _check_folder()
        temporary.claim()
        code = body()
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
    return code or 0
