"""How a run was made: its options, the versions of what computed it, and the code as it stood."""

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import cache

import yaml

from fmnist import words
from fmnist.config import PACKAGE, Config

LONGEST = 1_000_000  # letters of a diff
SECRETS = (
    ".env*", "*.env", ".netrc", ".pgpass", ".pypirc", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore",
    "*.kdbx", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*credential*", "*secret*", "*token*", "*password*",
)  # fmt: skip
OPTIONS = "config.yaml"  # of a record: all of its run's
LOCK = "requirements.lock"
PACKAGES = ("keras", "keras-tuner", "mlflow", "numpy", "pandas", "scikit-learn", "hydra-core")  # and the backend


def files(config: Config) -> dict[str, str]:
    """The files of a record that say how its run was made, as path -> text."""
    options = {key: value for key, value in asdict(config).items() if key != "study"}
    texts = {
        OPTIONS: yaml.safe_dump(options, sort_keys=False),
        "provenance/packages.json": json.dumps(_versions(*PACKAGES, config.compute.backend), indent=1),
        "provenance/uncommitted.diff": _uncommitted(),
    }
    return {path: text for path, text in texts.items() if text}


def _uncommitted() -> str:
    """What differs from the commit, new code included, without files that may hold secrets, and at most `LONGEST`."""
    diff = ["diff", "--no-color", "--no-ext-diff", "--no-textconv"]
    everywhere = [f"glob,icase)**/{pattern}" for name in SECRETS for pattern in (name, f"{name}/**")]
    but_secrets = [f":(exclude,{pattern}" for pattern in everywhere]
    text = _git(*diff, "HEAD", "--", ".", *but_secrets)
    new = _git("ls-files", "-z", "--others", "--exclude-standard", "--", "fmnist", "conf", *but_secrets)
    text += "".join(_git(*diff, "--no-index", "--", os.devnull, name) for name in new.split("\0") if name)
    if len(text) > LONGEST:
        text = text[:LONGEST].rpartition("\n")[0] + f"\n# cut off here: the whole diff has {len(text):,} letters\n"
    secret = _git(*diff, "--name-only", "HEAD", "--", *(f":({pattern}" for pattern in everywhere)).splitlines()
    left_out = "".join(f"# left out, for it may hold secrets: {name}\n" for name in secret)
    return left_out + words.without_passwords(text)


def lock_digest(text: str) -> str:
    """16 hex digits of the SHA-256 of a lock file."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def lock_of(commit: str = "") -> str:
    """The lock file of a commit, or that which stands in this checkout; empty where there is none."""
    if commit:
        return _git("show", f"{commit}:{LOCK}") if re.fullmatch("[0-9a-f]{7,40}", commit) else ""
    file = PACKAGE.parent / LOCK
    return file.read_text("utf-8") if file.is_file() else ""


@cache  # of a process, as its packages
def lock() -> str | None:
    """The digest of the lock file that packages came from; None where there is no checkout, or others are installed."""
    pinned = re.findall(r"^([\w.-]+)==(\S+)", lock_of(), re.MULTILINE)  # some twice, for several versions of Python
    if pinned and set(_installed()) <= set(pinned):
        return lock_digest(lock_of())
    return None


def _installed() -> Iterator[tuple[str, str]]:
    """What computes, with its version."""
    for name in (*PACKAGES, "tensorflow", "jax"):
        with suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)


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
    trusted = f"safe.directory={PACKAGE.parent}"  # though it may be another user's: it is what we are running
    command = ["git", "-c", trusted, *arguments]
    with suppress(OSError):
        done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, errors="replace", check=False)
        if done.returncode <= 1:  # 1: of files that git does not know, that there is a difference
            return done.stdout
    return ""
