"""A Ray cluster of two nodes that loses one in mid-sweep: the bits of one machine."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
from chaos import Sweep
from commands import ROOT
from prepare import RAY
from sharing import ending, ends, has_trained, same, skip_if_others_can_reach

PORT = 6399


class Node:
    """A node of a Ray cluster on this machine: one task at a time."""

    def __init__(self, folder, settings, *role):
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1"]
        sizes = ["--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats"]
        self.said = folder / f"ray-{time.time_ns()}.txt"
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [*command, *sizes, *role], env=os.environ | settings, cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    def processes(self):
        """All that it consists of: the raylet, what it has started, and they that have left their parents."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.process.pid:
                    found.append(process)
        return found

    def raylet(self):
        return next((process for process in self.processes() if process.name() == "raylet"), None)

    def wait(self):
        deadline = time.monotonic() + 300
        while not (self.raylet() and "Ray runtime started" in self.said.read_text()):
            assert self.process.poll() is None and time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.5)
        return self

    def end(self):
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)  # it ends the others
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


@pytest.fixture
def ray(servers, folder):
    """The settings of a sweep that uses the cluster, and its second node."""
    if not (RAY / "ready").exists():
        pytest.skip("Ray is not in .cluster/ray: the package registry did not give it to `make test-cluster`")
    skip_if_others_can_reach("Ray")
    settings = servers.settings(
        PYTHONPATH=f"{ROOT}:{RAY}", RAY_ADDRESS=f"127.0.0.1:{PORT}", RAY_DISABLE_DOCKER_CPU_WARNING="1",
        RAY_USAGE_STATS_ENABLED="0",
    )  # fmt: skip
    nodes = []
    try:
        temporary = f"--temp-dir={folder / 'ray'}" if len(str(folder)) < 40 else "--temp-dir=/tmp/fmnist-ray"
        nodes.append(Node(folder, settings, "--head", f"--port={PORT}", "--include-dashboard=false", temporary).wait())
        nodes.append(Node(folder, settings, f"--address=127.0.0.1:{PORT}").wait())
        yield settings, nodes[1]
    finally:
        for node in reversed(nodes):
            node.end()


def test_a_node_is_lost_in_mid_sweep(ray, servers, folder, arguments, alone):
    settings, second = ray
    sweep = Sweep([*arguments, "hydra/launcher=ray_cluster"], folder / "mlruns", settings)
    with ending(sweep):
        has_trained(sweep)
        workers = [process for process in second.processes() if "ray::" in " ".join(process.cmdline())]
        second.raylet().kill()
        assert workers, "the second node had nothing to do"
        ends(sweep)
    same(alone, servers, sweep.store)
