"""Training: `python -m fmnist.train` is one run, `-m` or `study=NAME` a sweep."""

from fmnist.checks import check
from fmnist.cli.entry import enter
from fmnist.config import Config


def task(config: Config) -> None:
    """Carry out one run with its progress shown."""
    from fmnist import run
    from fmnist.work.progress import showing

    with showing(check(config)) as listener:
        outcome = run.execute(config, listener)
    if not outcome.trained:
        place = "this run was already in the store" if outcome.was_stored else "a checkpoint had all epochs of this run"
        print(f"{place}; nothing was trained")
    print(
        f"test accuracy {outcome.metrics['test/accuracy']:.4f}, "
        f"validation accuracy {outcome.metrics['val/accuracy']:.4f}, run {outcome.run_id}"
    )


def _body() -> None:
    from fmnist.study.compose import run_application
    from fmnist.work.sweeper import StudySweeper

    run_application(task, sweeper=StudySweeper)


def main() -> int:
    """Carry out the command line; see `fmnist.cli.entry` for the exit codes."""
    return enter("fmnist.train", _body, interrupted="the same command goes on where this stopped")


if __name__ == "__main__":
    raise SystemExit(main())
