"""Signals, and how long processes live: what interrupts a command, and what ends the processes that it has started.

Lowest of all: nothing of the project is imported here.
"""

import _thread
import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = b"\x1b[?25h"  # which a live table hides
WATCH_SECONDS = 1.0  # between looks whether what a process works for is still there
AGAIN_SECONDS = 0.05  # after an interruption that was lost
GRACE_SECONDS = 15.0  # that a process without a parent has to close what it has open
Handler = Callable[[int, Any], Any] | signal.Handlers


def handle(handler: Handler, *numbers: int) -> None:
    """Call a handler on these signals, SIGINT and SIGTERM if none are named, but on none that is ignored.

    A script ignores SIGINT for what it starts with &, and nohup SIGHUP.
    """
    for number in numbers or INTERRUPTIONS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def noted(*numbers: int) -> list[int]:
    """A list to which every further signal of these numbers is added, instead of interrupting anything."""
    received: list[int] = []
    handle(lambda number, frame: received.append(number), *numbers)
    return received


@contextmanager
def preserved(number: int) -> Iterator[None]:
    """Give a signal its handler back at the end, whatever a library has made of it meanwhile."""
    handler = signal.getsignal(number)
    try:
        yield
    finally:
        signal.signal(number, handler)


class Interruption:
    """What SIGINT and SIGTERM do to a command from now on.

    The first raises KeyboardInterrupt, so that all that is open gets closed. A second ends the process and all that
    it has started at once, with a message on stderr.
    """

    def __init__(self, message: str) -> None:
        """Begin to listen."""
        self.has_come, self._hook = False, sys.unraisablehook
        self._message = message
        atexit.register(handle, signal.SIG_IGN)  # Python's last steps would be cut off, and the exit code with them
        self._listen()

    def _listen(self) -> None:
        handle(self._interrupt)
        _repeat_what_is_lost(self._listen)

    def _interrupt(self, number: int, frame: Any) -> NoReturn:
        self.has_come = True
        handle(lambda number, frame: _stop(self._message))
        raise KeyboardInterrupt

    def end(self) -> None:
        """From now on a signal ends the process without a word."""
        sys.unraisablehook = self._hook
        handle(lambda number, frame: _stop(""))


def _repeat_what_is_lost(listen: Callable[[], None]) -> None:
    """Interrupt again where a KeyboardInterrupt came in the midst of what lets none through, such as a `__del__`."""

    before = sys.unraisablehook

    def report(lost: "sys.UnraisableHookArgs") -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            listen()
            threading.Timer(AGAIN_SECONDS, _thread.interrupt_main).start()
        else:
            before(lost)

    sys.unraisablehook = report


def _stop(message: str) -> NoReturn:
    """Leave no process; what stands open in the store is closed by the next sweep."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.terminate()
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), SHOW_CURSOR)
    os.write(sys.stderr.fileno(), message.encode())
    os._exit(130)


def end_with(parent: int) -> None:
    """Call this first in a process that shall not outlive its parent, not even one that is killed.

    Not as late as with its first task: if the parent is killed before it sends one, the process waits for it forever.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a script starts with &
    _repeat_what_is_lost(lambda: None)
    threading.Thread(
        target=_watch, args=(lambda: os.getppid() != parent, threading.Event(), lambda: WATCH_SECONDS), daemon=True
    ).start()


@contextmanager
def interrupted_when(is_over: Callable[[], bool], pause: Callable[[], float]) -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread once something is over; the process may serve others then.

    `pause` says how many seconds there are until the next look.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    done = threading.Event()
    threading.Thread(target=_watch, args=(is_over, done, pause), daemon=True).start()
    try:
        yield
    finally:
        done.set()


@contextmanager
def interrupted_by_errors(*numbers: int) -> Iterator[None]:
    """Have the error of a signal's handler, such as a cluster's at its time limit, interrupt what goes on.

    It is raised at the end, when all that was open is closed as interrupted.
    """
    handlers = {number: signal.getsignal(number) for number in numbers}
    if threading.current_thread() is not threading.main_thread():
        handlers = {}

    def interrupt(number: int, frame: Any) -> None:
        handler = handlers[number]
        try:
            if callable(handler):
                handler(number, frame)
        except Exception as error:
            raise KeyboardInterrupt from error

    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt as interruption:
        raise interruption.__cause__ or interruption from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _watch(is_over: Callable[[], bool], done: threading.Event, pause: Callable[[], float]) -> None:
    while not done.wait(pause()):
        if is_over():
            _thread.interrupt_main()
            if not done.wait(GRACE_SECONDS):
                os._exit(1)
            return
