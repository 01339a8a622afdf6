from pathlib import Path

import pytest
from idx import synthetic, write_idx


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 600 training and 200 test images that a small network can learn."""
    folder = tmp_path_factory.mktemp("images")
    write_idx(folder, *synthetic(600, 200))
    return folder
