"""The command that opens the charts: `python -m fmnist.ui` serves MLflow's UI, opened where the runs are compared."""

import os
import sys
import webbrowser
from contextlib import suppress

from fmnist import words
from fmnist.cli import server
from fmnist.cli.entry import Parser, enter
from fmnist.config import UserError

EXAMPLES = """\
examples:
  python -m fmnist.ui                         serve mlruns/ and open the comparison in a browser
  python -m fmnist.ui --port 5001             ... beside another server
  python -m fmnist.ui --host 0.0.0.0          ... to other machines too; there is no password
  MLFLOW_TRACKING_URI=http://tracking:5000 python -m fmnist.ui      open the comparison on that server
"""


def show(store: str, host: str, port: int, *, with_browser: bool = True) -> None:
    """Open the comparison: on the server of MLFLOW_TRACKING_URI, else on one started over the store.

    Raises:
        UserError: nothing is recorded yet, the tracking server does not answer, or the port cannot be had.
        RunError: the server that was started ended by itself.
    """
    is_remote = os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://"))
    if not is_remote:
        server.check_place(host, port)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # MLflow would try for minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from fmnist import tracking
    from fmnist.tracking import chart_view

    uri, experiment = tracking.address(store), tracking.experiment_id(store)
    if experiment is None:
        place = os.environ.get("MLFLOW_TRACKING_URI") or store
        raise UserError(f"there are no runs in {place} yet; start some with 'make sweep'")
    if not is_remote:
        with suppress(UserError):  # of a store that can only be read
            tracking.Store(store)  # which tells one that was moved where its pictures are
    is_laid_out = chart_view.save(store, experiment)
    page = chart_view.page(uri if is_remote else server.address(host, port), experiment, is_laid_out)

    def tell() -> None:
        print(words.without_passwords(f"compare the runs at {page}"), flush=True)
        if not is_remote:
            print(f"stop with Ctrl-C (or kill {os.getpid()})", flush=True)
        has_screen = sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
        if with_browser and has_screen:
            with suppress(Exception):  # the printed address is enough
                webbrowser.open(page)

    if is_remote:
        tell()
    else:
        server.serve_ui(uri, host, port, tell)


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line, until Ctrl-C if a server was started; see `fmnist.cli.entry`."""
    description = "Serve MLflow's UI over the recorded runs, opened at their curves and confusion matrices."
    parser = Parser("fmnist.ui", description, EXAMPLES)
    parser.add_store()
    parser.add_place(5000)
    parser.add_argument("--no-browser", action="store_true", help="only print the address")

    def body() -> None:
        arguments = parser.parse_args(argv)
        show(arguments.store, arguments.host, arguments.port, with_browser=not arguments.no_browser)

    return enter("fmnist.ui", body)


if __name__ == "__main__":
    raise SystemExit(main())
