"""Watching a sweep that goes on: `python -m fmnist.watch` shows it from another terminal or machine."""

import time
from typing import TYPE_CHECKING

from fmnist.advice import command_for
from fmnist.cli.entry import Parser, enter
from fmnist.config import RunError, UserError

if TYPE_CHECKING:
    from fmnist.tracking import Store


NEXT_SECONDS = 60.0  # in which a settling on another host begins its next block, or never


def watch(store: str) -> None:
    """Show the latest sweep of a store until it ends; of a settling, one block after the other.

    Raises:
        UserError: the store cannot be opened, or has never seen a sweep.
        RunError: the sweep ended with failures, or was stopped.
    """
    from fmnist import tracking

    if tracking.experiment_id(store) is None:
        raise UserError(f"there are no runs in {store} yet; start some with '{command_for('sweep')}'")
    opened = tracking.Store(store, patience=60)
    watched = next(opened.sweeps.latest(tracking.RUNNING), "") or next(opened.sweeps.latest(), "")
    if not watched:
        raise UserError(f"no sweep has run in {store}; start one with '{command_for('sweep')}'")
    while watched:
        watched = _show(opened, watched)


def _show(opened: "Store", watched: str) -> str:
    """Show a sweep until it ends; returns the next of the same settling, or nothing."""
    from fmnist import machine, words
    from fmnist.schema import Status
    from fmnist.work.console import console
    from fmnist.work.display import pause, showing
    from fmnist.work.sweep_progress import SweepProgress

    plan = opened.sweeps.plan(watched)
    if plan is None:
        raise UserError("the latest sweep has not said yet what it will do; try again in a moment")
    sweep = SweepProgress.of(opened, plan)
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(sweep.began / 1000))
    size = f"{words.plural(len(sweep.runs), 'run')}, {words.plural(sweep.workers, 'worker')}"

    def goes_on() -> bool:
        return not machine.is_gone(sweep.process) and opened.goes_on(watched)

    out, since = console(), "since" if goes_on() else "not running any more; it began"
    out.print(f"Study {sweep.study}: {size}, {since} {began}", markup=False)
    looked = time.monotonic()
    with showing(sweep, out):
        while goes_on():
            time.sleep(pause(opened, looked))
        sweep.ask_for_all()
    status = opened.status(watched)
    out.print(f"ended: {len(sweep.ended)} of {words.plural(len(sweep.runs), 'run')}")
    if status != Status.FINISHED:
        how = "was killed" if status == Status.RUNNING else f"has ended as {status}"
        raise RunError(f"the sweep {how}; the command that started it goes on where it stopped")
    return _next(opened, watched, sweep.process) if sweep.is_block else ""


def _next(opened: "Store", before: str, process: str) -> str:
    """The sweep that a settling begins after that one; nothing if it begins none."""
    from fmnist import machine
    from fmnist.work.display import REFRESH_SECONDS

    began = time.monotonic()
    while not machine.is_gone(process) and time.monotonic() - began < NEXT_SECONDS:
        latest = next(opened.sweeps.latest())
        plan = None if latest == before else opened.sweeps.plan(latest)
        if plan is not None:
            return latest if plan.get("process") == process else ""
        time.sleep(REFRESH_SECONDS)
    return ""


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; see `fmnist.cli.entry` for the exit codes."""

    description = "Show a store's sweep that is going on, or its latest; Ctrl-C ends only the showing."
    parser = Parser("fmnist.watch", description)
    parser.add_store()
    return enter("fmnist.watch", lambda: watch(parser.parse_args(argv).store))


if __name__ == "__main__":
    raise SystemExit(main())
