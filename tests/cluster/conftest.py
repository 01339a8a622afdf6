"""What tests of servers and clusters share: the study, the numbers of one machine, and a server of their own."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from chaos import Sweep, contents, study, write_images
from sharing import Servers, ends


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def place():
    """A folder that PostgreSQL's user may enter; it stays where a test has failed."""
    folder = Path(tempfile.mkdtemp(prefix="fmnist-cluster-"))
    folder.chmod(0o711)
    failed = []
    yield folder, failed
    if failed:
        print(f"\nwhat the failed tests left stands in {folder}: {', '.join(failed)}")
    else:
        shutil.rmtree(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and "place" in getattr(item, "funcargs", {}):
        item.funcargs["place"][1].append(item.name)
    return report


@pytest.fixture
def folder(place):
    """A folder of this test's own, with a short name: sockets in it may not have a long one."""
    own = place[0] / str(len(list(place[0].iterdir())))
    own.mkdir()
    own.chmod(0o711)
    return own


@pytest.fixture(scope="session")
def arguments(place):
    """A study of three trajectories, a second or less an epoch."""
    write_images(place[0] / "images")
    return study(place[0] / "images", "2,6,20")


@pytest.fixture(scope="session")
def alone(place, arguments):
    """What the study comes to on one machine, where nothing goes wrong."""
    store = place[0] / "alone"
    ends(Sweep([*arguments, "hydra.launcher.n_jobs=2"], store))
    return contents(store)


@pytest.fixture(scope="session")
def new_servers(place):
    """PostgreSQL and MLflow's server that have recorded nothing: their first start takes half a minute, a copy none."""
    servers = Servers(place[0])
    servers.start()
    servers.stop()
    return servers.folder


@pytest.fixture
def servers(new_servers, folder):
    """PostgreSQL and MLflow's server of this test's own, running."""
    subprocess.run(["cp", "--archive", new_servers, folder / "server"], check=True)
    own = Servers(folder)
    try:
        own.start()
        yield own
    finally:
        own.stop()
