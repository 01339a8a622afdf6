import gc
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import work_here
from idx import synthetic, write_idx

# The first to start, the longest first: no worker shall end up alone.
LONG = ("sweep", "tuner", "outages", "leases", "remedies", "installed", "engines", "ui", "processes", "champion")


def pytest_configure() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's & would have it ignored, and inherited
    # JAX sets 1 as it is imported, as Keras does where it is installed; commands that tests start would inherit that.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores for tests of the system: they wait for servers most of their time."""
    cores = os.process_cpu_count() if sys.version_info >= (3, 13) else os.cpu_count() or 1
    return cores if all("unit" in argument for argument in config.args) else cores + 1


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their number: gzip writes the time into its own, and all workers must collect the same tests."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = [f"test_{name}" for name in LONG]
    items.sort(key=lambda item: names.index(item.path.stem) if item.path.stem in names else len(names))


def pytest_collection_finish() -> None:
    """Make what many tests do cheap, once all is imported that they need."""
    gc.freeze()  # a million objects of libraries, which every collection would look through
    if "tensorflow" in sys.modules:  # which takes no other number once it has computed anything
        for kind in ("intra", "inter"):
            getattr(sys.modules["tensorflow"].config.threading, f"set_{kind}_op_parallelism_threads")(1)
    if "sqlalchemy" in sys.modules:
        from sqlalchemy import Engine, event

        event.listen(Engine, "connect", _write_without_waiting)


def _write_without_waiting(connection: Any, _: Any) -> None:
    """Do not have SQLite wait for the disk at every commit: no test here cuts the power."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(scope="module", autouse=True)
def lasting() -> Iterator[None]:
    """Have collections not look any more through what the tests of a module have left in libraries, hundreds of MB."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of sweeps and searches do their work in this process, one after the other."""
    work_here(monkeypatch)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 600 training and 200 test images that a small network can learn."""
    folder = tmp_path_factory.mktemp("images")
    write_idx(folder, *synthetic(600, 200))
    return folder
