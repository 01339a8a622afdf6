"""The door to the pictures: `python -m fmnist.ui` serves MLflow's UI, opened where the runs are compared."""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from typing import IO

from fmnist.cli.entry import Parser, enter
from fmnist.config import RunError, UserError

LOOPBACK, EVERYWHERE = ("127.0.0.1", "localhost", "::1"), ("0.0.0.0", "::")
PATIENCE_S = 120.0  # a server that does not answer by then never will
GRACE_S = 5.0  # for open requests, before the server is killed
LAST_WORDS = 20  # lines of the server's output shown when it dies
EXAMPLES = """\
examples:
  python -m fmnist.ui                         serve mlruns/ and open the comparison in a browser
  python -m fmnist.ui --port 5001             ... beside another server
  python -m fmnist.ui --host 0.0.0.0          ... to other machines too; there is no password
  MLFLOW_TRACKING_URI=http://tracking:5000 python -m fmnist.ui      open the comparison on that server
"""


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 65535, but got '{text}'")
    return int(text)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        "fmnist.ui",
        "Serve MLflow's UI over the recorded runs, opened at their curves and confusion matrices.",
        EXAMPLES,
    )
    parser.add_argument("--store", metavar="DIR", default="mlruns", help="folder of the runs (mlruns)")
    parser.add_argument("--port", metavar="N", type=_port, default=5000, help="port to serve on (5000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (127.0.0.1: this machine only)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    return parser.parse_args(argv)


# ---- The server ---------------------------------------------------------------------------------------


def _bind(host: str, port: int) -> None:
    """Try to listen as the server will."""
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(where)


def _is_free(host: str, port: int) -> bool:
    try:
        _bind(host, port)
    except OSError:
        return False
    return True


def _check_place(host: str, port: int) -> None:
    try:
        _bind(host, port)
    except PermissionError as error:
        raise UserError(f"port {port} needs more rights than you have; choose one above 1023 with --port") from error
    except socket.gaierror as error:
        raise UserError(f"there is no host '{host}'; --host 127.0.0.1 serves this machine") from error
    except OSError as error:
        free = next((other for other in range(port + 1, min(port + 100, 65536)) if _is_free(host, other)), None)
        if free is None:
            raise UserError(f"cannot listen on {host}: {error.strerror}") from error
        raise UserError(f"port {port} of {host} is taken; --port {free} is free") from error


def _command(uri: str, host: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--workers", "1"]
    command += ["--host", host, "--port", str(port), "--uvicorn-opts", "--log-level warning"]
    if host not in LOOPBACK:  # MLflow answers only browsers that name it as it was told
        names = {socket.gethostname(), socket.getfqdn()} if host in EVERYWHERE else {_bracketed(host)}
        places = [f"{name}:{port}" for name in sorted({*names, "localhost", "127.0.0.1"})]
        command += ["--allowed-hosts", ",".join(places)]
        command += ["--cors-allowed-origins", ",".join(f"http://{place}" for place in places)]
    return command


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def _server(uri: str, host: str, port: int, output: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """MLflow's server in a process group of its own, of which nothing is left at the end."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(
        _command(uri, host, port),
        env=os.environ | quiet,
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
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(GRACE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(host: str, port: int) -> bool:
    connection = HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _last_words(output: IO[bytes]) -> str:
    output.seek(0)
    return "\n".join(output.read().decode(errors="replace").splitlines()[-LAST_WORDS:])


def serve(uri: str, experiment: str, laid_out: bool, arguments: argparse.Namespace) -> None:
    """Serve a store until a signal comes.

    Raises:
        RunError: the server ended by itself, or did not answer in time.
    """
    from fmnist.tracking import chart_view

    host, port = arguments.host, arguments.port
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    address = chart_view.page(f"http://{_bracketed(near)}:{port}", experiment, laid_out)
    signals: list[int] = []  # Looked at often, for an exception could come where the server would be left alone.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, lambda number, frame: signals.append(number))
    with tempfile.TemporaryFile() as output, _server(uri, host, port, output) as server:
        shown, began = False, time.monotonic()
        while not signals:
            if server.poll() is not None:
                raise RunError(f"MLflow's server has ended; its last output:\n{_last_words(output)}")
            if not shown and time.monotonic() - began > PATIENCE_S:
                raise RunError(
                    f"MLflow's server does not answer on port {port}; its last output:\n{_last_words(output)}"
                )
            if not shown and _answers(near, port):
                print(f"compare the runs at {address}")
                print(f"stop with Ctrl-C (or kill {os.getpid()})", flush=True)
                _open(address, arguments)
                shown = True
            time.sleep(0.1)


def _open(address: str, arguments: argparse.Namespace) -> None:
    """Open a browser where there is a screen to open it on; the printed address is enough where that fails."""
    screen = sys.platform == "darwin" or any(os.environ.get(key) for key in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    if screen and not arguments.no_browser:
        with contextlib.suppress(Exception):
            webbrowser.open(address)


def show(arguments: argparse.Namespace) -> None:
    """Open the comparison: on the server of MLFLOW_TRACKING_URI, else on one started over the store.

    Raises:
        UserError: nothing is recorded yet, the tracking server does not answer, or the port cannot be had.
        RunError: the server that was started ended by itself.
    """
    remote = os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://"))
    if not remote:
        _check_place(arguments.host, arguments.port)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # MLflow would try for minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from fmnist import tracking
    from fmnist.tracking import chart_view

    uri = tracking.address(arguments.store)
    experiment = tracking.experiment_id(arguments.store)
    if experiment is None:
        place = os.environ.get("MLFLOW_TRACKING_URI") or arguments.store
        raise UserError(f"there are no runs in {place} yet; start some with 'make sweep'")
    laid_out = chart_view.save(arguments.store, experiment)
    if remote:
        address = chart_view.page(uri, experiment, laid_out)
        print(f"compare the runs at {address}", flush=True)
        _open(address, arguments)
    else:
        serve(uri, experiment, laid_out, arguments)


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line, until Ctrl-C if a server was started; see `fmnist.cli.entry`."""
    return enter("fmnist.ui", lambda: show(_arguments(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
