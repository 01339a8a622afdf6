"""Training: `python -m fmnist.train` is one run, `-m` or `study=NAME` a sweep."""

from fmnist.checks import check
from fmnist.cli.entry import enter
from fmnist.config import Config
from fmnist.words import percent


def task(config: Config) -> None:
    """Carry out one run with its progress shown."""
    from fmnist import run
    from fmnist.work.progress import showing

    with showing(check(config)) as listener:
        outcome = run.execute(config, listener)
    if not outcome.trained:
        place = "this run was already in the store" if outcome.was_stored else "a checkpoint had all epochs of this run"
        print(f"{place}; nothing was trained")
    test, validation = (percent(outcome.metrics[f"{part}/accuracy"]) for part in ("test", "val"))
    print(f"test accuracy {test}, validation accuracy {validation}, run {outcome.run_id}")


def _body() -> None:
    from fmnist.study.compose import run_application
    from fmnist.work.sweeper import StudySweeper

    run_application(task, sweeper=StudySweeper)


def main() -> int:
    """Carry out the command line; see `fmnist.cli.entry` for the exit codes."""
    return enter("fmnist.train", _body, interrupted="the same command goes on where this stopped")


if __name__ == "__main__":
    raise SystemExit(main())
