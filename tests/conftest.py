import os
import signal
from pathlib import Path

import pytest
from idx import synthetic, write_idx

LONG = ("test_sweep", "test_outages", "test_chaos", "test_ui")  # the first to start: no worker shall end up alone


def pytest_configure() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's & would have it ignored, and inherited
    # JAX sets 1 as it is imported, as Keras does where it is installed; commands that tests start would inherit that.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 600 training and 200 test images that a small network can learn."""
    folder = tmp_path_factory.mktemp("images")
    write_idx(folder, *synthetic(600, 200))
    return folder
