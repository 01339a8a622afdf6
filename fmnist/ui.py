"""The command that opens the charts: `python -m fmnist.ui` serves MLflow's UI, opened where the runs are compared."""

import os
import sys
import webbrowser
from contextlib import suppress

from fmnist import words
from fmnist.advice import command_for
from fmnist.cli import server
from fmnist.cli.entry import Parser, enter, positive
from fmnist.config import UserError

EXAMPLES = """\
examples:
  python -m fmnist.ui                         serve mlruns/ and open the latest study in a browser
  python -m fmnist.ui --study article --epochs 10        ... of a study at a number of epochs
  python -m fmnist.ui --port 5001             ... beside another server
  python -m fmnist.ui --host 0.0.0.0          ... to other machines too; there is no password
  MLFLOW_TRACKING_URI=http://tracking:5000 python -m fmnist.ui      open the comparison on that server
"""


def show(
    store: str, host: str, port: int, study: str = "", epochs: int | None = None, *, with_browser: bool = True
) -> None:
    """Open the charts of a study: on the server of MLFLOW_TRACKING_URI, else on one started over the store.

    Raises:
        UserError: nothing of that is recorded yet, the tracking server does not answer, or the port cannot be had.
        RunError: the server that was started ended by itself.
    """
    is_remote = os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://"))
    if not is_remote:
        server.check_place(host, port)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # MLflow would try for minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from fmnist import tracking
    from fmnist.study.views import choose
    from fmnist.tracking import chart_view

    uri, experiment = tracking.address(store), tracking.experiment_id(store)
    if experiment is None:
        place = os.environ.get("MLFLOW_TRACKING_URI") or store
        raise UserError(f"there are no runs in {place} yet; start some with '{command_for('sweep')}'")
    with suppress(UserError):  # of a store that can only be read
        tracking.Store(store)  # which tells one that was moved where its pictures are, and experiments what they are
    place = uri if is_remote else server.address(host, port)
    is_saved = chart_view.save(store, experiment, choose(store, study, epochs))
    views = chart_view.VIEWS if is_saved else {"": "all runs"}
    pages = {name: chart_view.page(place, experiment, key) for key, name in views.items()}

    def tell() -> None:
        for name, page in pages.items():
            print(words.without_passwords(f"{name}: {page}"), flush=True)
        if not is_remote:
            print(f"stop with Ctrl-C (or kill {os.getpid()})", flush=True)
        has_screen = sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
        if with_browser and has_screen:
            with suppress(Exception):  # the printed address is enough
                webbrowser.open(next(iter(pages.values())))

    if is_remote:
        tell()
    else:
        server.serve_ui(uri, host, port, tell)


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line, until Ctrl-C if a server was started; see `fmnist.cli.entry`."""
    description = "Serve MLflow's UI over the recorded runs, opened at means over seeds, and at runs side by side."
    parser = Parser("fmnist.ui", description, EXAMPLES)
    parser.add_store()
    parser.add_place(5000)
    parser.add_argument("--study", metavar="NAME", default="", help="open its runs (those of the latest study)")
    parser.add_argument("--epochs", metavar="N", type=positive, help="with so many epochs (the longest budget)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")

    def body() -> None:
        arguments = parser.parse_args(argv)
        place = arguments.store, arguments.host, arguments.port
        show(*place, arguments.study, arguments.epochs, with_browser=not arguments.no_browser)

    return enter("fmnist.ui", body)


if __name__ == "__main__":
    raise SystemExit(main())
