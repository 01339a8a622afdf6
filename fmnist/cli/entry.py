"""What all doors (`python -m fmnist.X`) have in common: how they end."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from fmnist import __version__
from fmnist.config import RunError, UserError

SHOW_CURSOR = b"\x1b[?25h"  # which a live table hides


class Parser(argparse.ArgumentParser):
    """A door's arguments; mistakes become its one line instead of argparse's usage."""

    def __init__(self, door: str, description: str, examples: str = "") -> None:
        """Of `fmnist.compare`, say."""
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=f"python -m {door}", description=description, epilog=examples, formatter_class=layout)
        self.add_argument("--version", action="version", version=f"fmnist {__version__}")

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{message} ({self.prog} --help says more)")


def enter(name: str, body: Callable[[], None], interrupted: str = "") -> int:
    """Carry out a door's body and return its exit code; what the user has to know is one line on stderr.

    Args:
        name: of the door, `fmnist.train`.
        body: what it does.
        interrupted: what to say after Ctrl-C or SIGTERM, of which a second one does not wait for anything to close.

    Returns:
        0; 1 if runs failed; 2 after a mistake of the user; 130 if interrupted. Other errors are ours and pass.
    """
    if "--version" in sys.argv[1:]:  # before Hydra, which would say its own
        print(f"fmnist {__version__}")
        return 0
    said = f"\n{name}: interrupted; {interrupted}\n" if interrupted else ""
    heard: list[int] = []
    _hear(lambda number, frame: _interrupt(said, number, heard))
    try:
        _carry_out(body, heard)
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _hear(lambda number, frame: _stop(""))
        sys.stderr.write(said)
        return 130
    except BrokenPipeError:  # `| head` has seen enough; Python would complain again at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        _hear(lambda number, frame: _stop(""))
    return 0


def _carry_out(body: Callable[[], None], heard: list[int]) -> None:
    try:
        body()
        sys.stdout.flush()
    except Exception as error:
        if (
            heard
        ):  # whatever it is comes of the signal: libraries in C make an ImportError of it while they are imported
            raise KeyboardInterrupt from error
        raise


def _hear(handler: Callable[[int, Any], Any]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as of a command that a script has started with &
            signal.signal(number, handler)


def _interrupt(said: str, number: int, heard: list[int]) -> NoReturn:
    """The first signal: everything gets to close what it has open."""
    heard.append(number)
    _hear(lambda number, frame: _stop(said))
    raise KeyboardInterrupt


def _stop(said: str) -> NoReturn:
    """The second signal, or one at the exit: no process is left; the next sweep closes what stands open."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.terminate()
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), SHOW_CURSOR)
    os.write(sys.stderr.fileno(), said.encode())
    os._exit(130)
