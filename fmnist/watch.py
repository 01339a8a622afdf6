"""The door to a sweep that is going on: `python -m fmnist.watch` shows it from another terminal or machine."""

import time

from fmnist.cli.entry import Parser, enter
from fmnist.config import RunError, UserError


def watch(store: str) -> None:
    """Show the latest sweep of a store until it ends.

    Raises:
        UserError: the store cannot be opened, or has never seen a sweep.
        RunError: the sweep ended with failures, or was stopped.
    """
    from rich.console import Console

    from fmnist import machine, tracking
    from fmnist.work import display

    if tracking.experiment_id(store) is None:
        raise UserError(f"there are no runs in {store} yet; start some with 'make sweep'")
    book = tracking.Store(store, patience=60)
    sweeps = book.sweeps()
    if not sweeps:
        raise UserError(f"no sweep has run in {store}; start one with 'make sweep'")
    running = [sweep for sweep, status in sweeps if status == tracking.RUNNING]
    watched = running[0] if running else sweeps[0][0]
    plan = book.plan(watched)
    if plan is None:
        raise UserError("the latest sweep has not said yet what it will do; try again in a moment")
    announced = display.AnnouncedSweep.from_json(plan)
    console = Console(highlight=False)
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(announced.began / 1000))
    console.print(f"Study {announced.study}: {len(announced.runs)} runs, {announced.workers} workers, since {began}")
    with display.shown(display.SweepProgress(book, announced), console, lambda record: None):
        while dict(book.sweeps())[watched] == tracking.RUNNING and not machine.is_gone(announced.process):
            time.sleep(display.REFRESH_SECONDS)
    status = dict(book.sweeps())[watched]
    if status != tracking.FINISHED:
        how = "was killed" if status == tracking.RUNNING else f"has ended as {status}"
        raise RunError(f"the sweep {how}; the command that started it goes on where it stopped")


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; see `fmnist.cli.entry` for the exit codes."""

    def body() -> None:
        parser = Parser(
            "fmnist.watch", "Show a store's sweep that is going on, or its latest; Ctrl-C ends only the showing."
        )
        parser.add_argument("--store", metavar="DIR", default="mlruns", help="folder of the runs (mlruns)")
        watch(parser.parse_args(argv).store)

    return enter("fmnist.watch", body)


if __name__ == "__main__":
    raise SystemExit(main())
