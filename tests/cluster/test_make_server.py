"""`make server` and `make server-stop` as they are typed."""

import subprocess
import sys

import psutil
from commands import ROOT
from server import URI, free_port

from fmnist.cli import server


def command(action, store, *options):
    line = [sys.executable, "-m", "fmnist.server", action, f"--store={store}", *options]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_it_starts_once_answers_at_the_address_that_it_prints_and_leaves_no_process(new_servers, folder):
    subprocess.run(["cp", "--archive", new_servers, folder / "server"], check=True)
    ports = [f"--port={free_port()}", f"--database-port={free_port()}"]
    try:
        printed = command("start", folder, *ports)
        address = printed.strip().removeprefix(f"export {URI}=")
        assert address == f"http://127.0.0.1:{ports[0].removeprefix('--port=')}"
        assert command("start", folder).splitlines()[1:] == printed.splitlines()  # it is running already
        assert server.answers("127.0.0.1", int(address.rpartition(":")[2]))
        postmaster = psutil.Process(int((folder / "server/postgres/postmaster.pid").read_text().split()[0]))
    finally:
        stopped = command("stop", folder)
    assert "have ended" in stopped and "no server" in command("stop", folder)
    assert not postmaster.is_running() or postmaster.status() == psutil.STATUS_ZOMBIE
