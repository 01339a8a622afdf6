"""A server of MLflow's as a child of this process: where it may listen, when it answers, that nothing of it is left."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from typing import IO

from fmnist import signals
from fmnist.config import RunError, UserError

LOOPBACK, EVERYWHERE = ("127.0.0.1", "localhost", "::1"), ("0.0.0.0", "::")
START_SECONDS = 120.0  # a server that does not answer by then never will
CLOSE_SECONDS = 5.0  # for open requests, before the server is killed
OUTPUT_LINES = 20  # of the server, shown when it has ended by itself
POLL_SECONDS = 0.1
SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # of a server of MLflow's, in its environment


def check_place(host: str, port: int, option: str = "--port") -> None:
    """Refuse a host and a port on which no server can listen.

    Raises:
        UserError: says why, with a free port if this one is taken.
    """
    error = _refusal(host, port)
    if isinstance(error, PermissionError):
        raise UserError(f"port {port} needs more rights than you have; choose one above 1023 with {option}")
    if isinstance(error, socket.gaierror):
        raise UserError(f"there is no host '{host}'; --host 127.0.0.1 serves this machine")
    if error is not None:
        for free in range(port + 1, min(port + 100, 65536)):
            if _refusal(host, free) is None:
                raise UserError(f"port {port} of {host} is taken; {option} {free} is free")
        raise UserError(f"cannot listen on {host}: {error.strerror}")


def _refusal(host: str, port: int) -> OSError | None:
    """Try to listen as the server will; returns what is wrong."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        return error
    return None


def address(host: str, port: int) -> str:
    """The address by which a browser on this machine reaches a server."""
    return f"http://{_bracketed(_near(host))}:{port}"


def _near(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def serve(
    command: Sequence[str], settings: Mapping[str, str], host: str, port: int, on_ready: Callable[[], None]
) -> None:
    """Have a server serve until a signal comes.

    Args:
        command: what starts it, after `python -m`.
        settings: variables of its environment, which only its user can read.
        host: on which it listens.
        port: likewise.
        on_ready: is called once it answers.

    Raises:
        RunError: the server ended by itself, or did not answer in time.
    """
    # Looked at often, for an exception could come where the server would be left alone.
    received = signals.noted(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with tempfile.TemporaryFile() as output, _running(command, settings, output) as server:
        is_ready, began, wrong = False, time.monotonic(), ""
        while not (received or wrong):
            if server.poll() is not None:
                wrong = "has ended"
            elif not is_ready and time.monotonic() - began > START_SECONDS:
                wrong = f"does not answer on port {port}"
            elif not is_ready and answers(_near(host), port):
                on_ready()
                is_ready = True
            time.sleep(POLL_SECONDS)
        if wrong:
            output.seek(0)
            last = output.read().decode(errors="replace").splitlines()[-OUTPUT_LINES:]
            raise RunError("\n".join([f"MLflow's server {wrong}; its last output:", *last]))


@contextmanager
def _running(
    command: Sequence[str], settings: Mapping[str, str], output: IO[bytes]
) -> Iterator["subprocess.Popen[bytes]"]:
    """The server in a process group of its own, of which nothing is left at the end."""
    server = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield server
    finally:
        if server.poll() is None:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(CLOSE_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def serve_ui(uri: str, host: str, port: int, on_ready: Callable[[], None]) -> None:
    """The same of MLflow's UI over a store."""
    settings = {
        **SETTINGS,
        "MLFLOW_BACKEND_STORE_URI": uri,
    }  # not among the arguments, which all users of a machine can read
    serve(_ui(host, port), settings, host, port, on_ready)


def _ui(host: str, port: int) -> list[str]:
    command = ["mlflow", "server", "--workers", "1"]
    command += ["--host", host, "--port", str(port), "--uvicorn-opts", "--log-level warning"]
    if host not in LOOPBACK:  # MLflow answers only browsers that name it by a name that it was given
        names = {socket.gethostname(), socket.getfqdn()} if host in EVERYWHERE else {_bracketed(host)}
        places = [f"{name}:{port}" for name in sorted({*names, "localhost", "127.0.0.1"})]
        command += ["--allowed-hosts", ",".join(places)]
        command += ["--cors-allowed-origins", ",".join(f"http://{place}" for place in places)]
    return command


def answers(host: str, port: int) -> bool:
    """Whether a server there is ready."""
    with suppress(OSError, HTTPException), closing(HTTPConnection(host, port, timeout=1)) as connection:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False
