"""A server that is shared, sweeps that share it, and what must not be found in what they leave."""

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from chaos import ALL, Sweep, contents
from chaos import compare as compare_bits
from commands import ROOT
from server import URI, free_port

from fmnist.cli.trial_server import HOST, TrialServer

LEASE = 15  # seconds without a beat after which a process is taken for dead
LONGEST = 1200.0  # seconds for what takes one or two on an idle machine


class Servers(TrialServer):
    """`make server`, with ports that are free and a password in its web address, which no output may show."""

    def __init__(self, store):
        super().__init__(store / "server")
        self.ports, self.web_password = (free_port(), free_port()), uuid.uuid4().hex

    def start(self):
        ports = [f"--{name}={port}" for name, port in zip(("port", "database-port"), self.ports, strict=True)]
        command = [sys.executable, "-m", "fmnist.server", "start", f"--store={self.folder.parent}", *ports]
        started = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if started.returncode == 2:
            pytest.skip(started.stderr.strip())
        assert started.returncode == 0 and f"http://{HOST}:{self.ports[0]}" in started.stdout, started
        self.address = f"http://me:{self.web_password}@{HOST}:{self.ports[0]}"

    @property
    def database_password(self):
        return self.password.read_text().strip().rpartition(":")[2]

    def kill(self):
        """What a machine that loses its power does to both."""
        os.killpg(self._process().pid, signal.SIGKILL)
        postmaster = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        processes = [*postmaster.children(), postmaster]
        for process in reversed(processes):
            process.kill()
        psutil.wait_procs(processes)

    def dump(self):
        """All that the database holds, as text."""
        place = ["-h", HOST, "-p", str(self.ports[1]), "-U", "fmnist", "--no-password"]
        return subprocess.run(
            ["pg_dump", *place, "mlflow"], env=self._environment, capture_output=True, check=True
        ).stdout

    def settings(self, **more):
        """The environment of a sweep that uses them."""
        return {URI: self.address, "FMNIST_LEASE_SECONDS": str(LEASE), "PYTHONPATH": str(ROOT), **more}


def skip_if_others_can_reach(what):
    """Skip a test of something that listens on every interface, where there is another than loopback."""
    if psutil.net_if_addrs().keys() - {"lo"}:
        pytest.skip(f"{what} listens on every interface; root's `make test-cluster` has a network of loopback alone")


def sweep(arguments, store, settings, *more):
    """A sweep of one worker, started in the folder that its store lies in."""
    store.parent.mkdir(exist_ok=True)
    store.parent.chmod(0o711)
    return Sweep([*arguments, "hydra.launcher.n_jobs=1", *more], store, settings, store.parent)


@contextmanager
def ending(*sweeps):
    """Leave nothing of them behind."""
    try:
        yield sweeps
    finally:
        for each in sweeps:
            for process in each.processes():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            each.parent.wait()


def ends(*sweeps):
    """Wait for sweeps, which must end well; what they said."""
    with ending(*sweeps):
        for each in sweeps:
            assert each.ends(LONGEST), f"it does not come to an end:\n{each.output}"
            assert each.parent.returncode == 0, each.output
        assert not any("Traceback" in each.output for each in sweeps)
    return [each.output for each in sweeps]


def trained(store):
    """The checkpoints of a folder, with their moments."""
    found = set()
    for path in store.glob("checkpoints/*/epoch-*.ckpt"):
        with suppress(FileNotFoundError):  # an old one, which has just been removed
            found.add((path, path.stat().st_mtime_ns))
    return found


def has_trained(*sweeps):
    """Wait until each of these sweeps, which have just begun, has trained an epoch."""
    before = [trained(each.store) for each in sweeps]
    deadline = time.monotonic() + LONGEST
    for each, known in zip(sweeps, before, strict=True):
        while trained(each.store) <= known:
            assert each.parent.poll() is None and time.monotonic() < deadline, each.output
            time.sleep(0.1)


def killed(*sweeps):
    """Kill sweeps and their workers by a signal that nobody can answer."""
    for each in sweeps:
        assert each.strike(ALL, None), each.output
        each.parent.wait()


def same(wanted, servers, *stores):
    """Hold bit for bit what a server has, and the checkpoints of the folders that used it, against one machine's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(URI, servers.address)
        compare_bits(contents(*stores), wanted)


def tells_no_password(servers, folder, but=Path("/dev")):
    """Search for both passwords in all that servers and sweeps have printed, recorded and written, but one folder."""
    (folder / "dump.sql").write_bytes(servers.dump())
    files = [path for path in folder.rglob("*") if path.is_file() and path != servers.password]
    files = [path for path in files if but not in path.parents]
    assert len(files) > 100 and (folder / "dump.sql").stat().st_size > 100_000
    for secret in (servers.database_password, servers.web_password):
        assert len(secret) > 20
        assert not [path for path in files if secret.encode() in path.read_bytes()]
