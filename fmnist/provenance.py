"""How a run was made: its options, the versions of what computed it, and the code as it stood."""

import importlib.metadata
import json
import subprocess
from contextlib import suppress
from dataclasses import asdict
from functools import cache

import yaml

from fmnist.config import PACKAGE, Config

PACKAGES = ("keras", "keras-tuner", "mlflow", "numpy", "pandas", "scikit-learn", "hydra-core")  # and the backend


def files(config: Config) -> dict[str, str]:
    """The files of a record that say how its run was made, as path -> text."""
    options = {key: value for key, value in asdict(config).items() if key != "study"}
    texts = {
        "config.yaml": yaml.safe_dump(options, sort_keys=False),
        "provenance/packages.json": json.dumps(_versions(*PACKAGES, config.compute.backend), indent=1),
        "provenance/uncommitted.diff": _git("diff", "HEAD"),
    }
    return {path: text for path, text in texts.items() if text}


def requirements(config: Config) -> list[str]:
    """What a run's model needs to be loaded again, as pip understands it."""
    return [f"{name}=={version}" for name, version in _versions("keras", "numpy", config.compute.backend).items()]


def _versions(*packages: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in packages}


@cache  # of a process: what it runs was read when it started
def commit() -> str | None:
    """The commit that is checked out; None where there is no checkout, or no git."""
    return _git("rev-parse", "HEAD").strip() or None


def _git(*arguments: str) -> str:
    """What git prints about the project, or nothing where there is no git.

    An installed package may lie within a repository of its user, which is none of ours.
    """
    if not (PACKAGE.parent / ".git").exists():
        return ""
    command = ["git", *arguments]
    with suppress(OSError, subprocess.CalledProcessError):
        return subprocess.check_output(command, cwd=PACKAGE.parent, stderr=subprocess.DEVNULL, errors="replace")
    return ""
