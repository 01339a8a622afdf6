"""The door to training: `python -m fmnist.train` is one run, `-m` or `study=NAME` a sweep."""

import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

from fmnist.config import CONF, UserError, suggest

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(composed: "DictConfig") -> dict[str, float]:
    """Carry out the run of a composed config with its progress shown."""
    from fmnist import run
    from fmnist.study.progress import shown
    from fmnist.study.sweeper import to_config

    config = to_config(composed)
    with shown(config) as listener:
        outcome = run.execute(config, listener)
    if not outcome.trained:
        print("this run was already in the store; nothing was trained")
    print(
        f"test accuracy {outcome.metrics['test/accuracy']:.4f}, "
        f"validation accuracy {outcome.metrics['val/accuracy']:.4f}, run {outcome.run_id}"
    )
    return outcome.metrics


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Hand the command line to Hydra; mistakes become one line and exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us whole instead of being printed by Hydra
    import hydra
    from hydra.errors import HydraException

    from fmnist.study import sweeper

    signal.signal(signal.SIGTERM, _interrupt)
    sweeper.register()
    application = hydra.main(version_base="1.3", config_path=str(CONF), config_name=sweeper.CONFIG_NAME)
    try:
        application(task)()
    except (UserError, HydraException) as error:
        print(f"fmnist.train: {_one_line(error)}", file=sys.stderr)
        return 2
    except sweeper.SweepError as error:
        print(f"fmnist.train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nfmnist.train: interrupted; the same command goes on where this stopped", file=sys.stderr)
        return 130
    return 0


def _one_line(error: Exception) -> str:
    """Hydra's explanations in a line of our own, with the nearest known key."""
    if isinstance(error, UserError):
        return str(error)
    text = str(error)
    cause = str(error.__cause__ or "")
    unknown = re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' is not in struct", text)
    if unknown:
        from fmnist.config import Config, flatten

        key = unknown[1]
        known = [*flatten(Config()), "augment", "study", "study.axes", "study.rungs", "study.seeds", "study.design"]
        return f"there is no option '{key}'{suggest(key, known)} (python -m fmnist.train --help lists all)"
    options = re.search(r"Could not find '([^/]+)/([^']+)'\s+Available options in '[^']+':\s+((?:\t\S+\s*)+)", text)
    if options:
        group, name, known = options[1], options[2], options[3].split()
        return f"there is no {group} '{name}'; known are {', '.join(known)}{suggest(name, known)}"
    first = " ".join(line.strip() for line in text.splitlines()[:1])
    reason = cause.splitlines()[0] if cause else ""
    return f"{first}: {reason}" if reason and reason not in first else first


if __name__ == "__main__":
    raise SystemExit(main())
