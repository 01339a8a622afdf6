"""Where Fashion-MNIST lies on this machine, and how it gets there."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from fmnist.config import UserError
from fmnist.training.readers import sha256

FILES = {  # name -> SHA-256 of the original
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")


class _UnavailableError(Exception):
    """This way of fetching does not work here; says why."""


def folders() -> list[Path]:
    """The usual places; the first, Keras's cache folder, is where a download goes."""
    home = os.path.expanduser("~")  # noqa: PTH111  # as Keras itself decides, where there is none too
    home = home if os.access(home, os.W_OK) else "/tmp"
    keras_home = Path(os.path.expanduser(os.environ.get("KERAS_HOME") or f"{home}/.keras"))  # noqa: PTH111
    return [keras_home / "datasets" / "fashion-mnist", PACKAGE_FOLDER]


def find() -> Path | None:
    """The first of the usual places that holds all four idx files, or None."""
    return next((folder for folder in folders() if all((folder / name).is_file() for name in FILES)), None)


def damaged(folder: Path) -> list[str]:
    """Which of the four files are not the originals."""
    return [name for name, digest in FILES.items() if sha256(folder / name) != digest]


def fetch() -> Path:
    """The folder of the four idx files: where they are already, else Keras's cache folder after a download.

    Tries Keras's downloader, then the Debian package (unpacked, not installed: no root needed). Every attempt
    ends after some minutes at most, and files appear under their names only whole and checked.

    Raises:
        UserError: no way led to the files; the line says what to put where.
    """
    folder = find()
    if folder and not damaged(folder):
        return folder
    target, reasons = folders()[0], []
    for name, way in WAYS.items():
        print(f"fetching Fashion-MNIST with {name} ...", file=sys.stderr, flush=True)
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target) as scratch:
                way(Path(scratch))
                _move_originals(Path(scratch), target)
            return target
        except (_UnavailableError, UserError, OSError) as error:
            print(f"  {error}", file=sys.stderr, flush=True)
            reasons.append(f"{name}: {error}")
    raise UserError(
        f"Fashion-MNIST cannot be fetched ({'; '.join(reasons)}); put {', '.join(FILES)} into {target}, "
        "or into a folder that data.dir=FOLDER names"
    )


def _move_originals(scratch: Path, target: Path) -> None:
    files = {path.name: path for path in scratch.rglob("*.gz") if path.name in FILES}
    for name, digest in FILES.items():
        if name not in files:
            raise _UnavailableError(f"the download lacks {name}")
        if sha256(files[name]) != digest:
            raise _UnavailableError(f"the downloaded {name} is not the original file (its SHA-256 differs)")
    for name, path in files.items():
        path.replace(target / name)


def _from_keras(scratch: Path) -> None:
    # Another process, because only that can be stopped when a server sends a byte a minute.
    code = "import keras, socket; socket.setdefaulttimeout(20); keras.datasets.fashion_mnist.load_data()"
    level = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3")
    _call([sys.executable, "-c", code], scratch, KERAS_HOME=str(scratch), TF_CPP_MIN_LOG_LEVEL=level)


def _from_package(scratch: Path) -> None:
    apt = ["apt-get", "-o", "Acquire::http::Timeout=20"]
    try:
        _call([*apt, "download", PACKAGE], scratch)
    except _UnavailableError:
        if os.geteuid() != 0:
            raise
        _call([*apt, "update"], scratch)  # the lists may be stale
        _call([*apt, "download", PACKAGE], scratch)
    for package in scratch.glob("*.deb"):
        _call(["dpkg", "-x", package.name, "unpacked"], scratch)


WAYS: dict[str, Callable[[Path], None]] = {  # each leaves the four files somewhere in the folder it is given
    "Keras's downloader": _from_keras,
    f"the Debian package {PACKAGE}": _from_package,
}


def _call(command: list[str], folder: Path, timeout: float = 300, **settings: str) -> None:
    """Run a command quietly in `folder`, with `settings` in its environment."""
    # The output goes to a file, because a pipe held open by a grandchild would outlast the timeout.
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                command, cwd=folder, env={**os.environ, "LC_ALL": "C", **settings}, timeout=timeout, check=False,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            ).returncode  # fmt: skip
        except FileNotFoundError:
            raise _UnavailableError(f"there is no {command[0]} here") from None
        except subprocess.TimeoutExpired:
            raise _UnavailableError(f"{command[0]} had not ended after {timeout:.0f} s") from None
        output.seek(0)
        lines = [line.strip() for line in output.read().decode(errors="replace").splitlines() if line.strip()]
    if code:
        raise _UnavailableError(f"{lines[-1][:200] if lines else f'{command[0]} ended with {code}'}")
