"""What control groups leave a process of its machine, in folders that look like the kernel's."""

import math
import os
import subprocess
import sys

import pytest

from fmnist import machine


def kernel(root, cgroup, **files):
    """A root folder with /proc/self/cgroup, and files of /sys/fs/cgroup by their paths."""
    for name, text in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{key}": files[key] for key in files}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


A = {"max": "900\n", "current": "500\n", "stat": "anon 7\ninactive_file 90\n"}
B = {"limit": "900\n", "usage": "300\n"}
V1 = "5:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n0::/\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("0::/\n", {}, math.inf),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "300000 100000\n"}, 3),
        ("0::/../..\n", {"cpu.max": "200000 100000\n"}, 2),
        (V1, {"cpu/docker/1f/cpu.cfs_quota_us": "50000\n", "cpu/docker/1f/cpu.cfs_period_us": "100000\n"}, 0.5),
        (V1, {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),  # the host's path, unseen
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
    ],
)
def test_cores_are_those_that_the_narrowest_group_grants(cgroup, files, cores, tmp_path):
    assert machine.core_quota(kernel(tmp_path, cgroup, **files)) == cores


@pytest.mark.parametrize(
    ("cgroup", "files", "left"),
    [
        ("0::/\n", {"memory.max": "max\n", "memory.current": "500\n"}, math.inf),
        ("0::/\n", {"memory.max": "900\n", "memory.current": "950\n"}, 0),
        ("0::/a\n", {f"a/memory.{name}": text for name, text in A.items()}, 490),
        ("0::/a/b\n", {f"a/memory.{name}": text for name, text in A.items()} | {"a/b/memory.max": "max\n"}, 490),
        (V1, {f"memory/docker/1f/memory.{name}_in_bytes": text for name, text in B.items()}, 600),
    ],
)
def test_memory_is_what_the_narrowest_group_still_grants_with_what_it_can_reclaim(cgroup, files, left, tmp_path):
    assert machine.memory_quota(kernel(tmp_path, cgroup, **files)) == left


def test_without_control_groups_nothing_is_limited(tmp_path):
    assert machine.core_quota(tmp_path) == machine.memory_quota(tmp_path) == math.inf
    assert machine.killed_for_memory(tmp_path) == 0


def test_workers_and_threads_are_as_many_as_a_container_has_cores(monkeypatch):
    monkeypatch.setattr(machine, "core_quota", lambda: 0.5)
    assert machine.cores() == 1
    monkeypatch.setattr(machine, "memory_quota", lambda: 3e9)
    assert machine.free_memory() <= 3_000_000_000


def test_the_system_says_how_many_processes_it_killed_for_memory(tmp_path):
    kernel(tmp_path, "0::/a\n", **{"a/memory.events": "low 0\nhigh 3\nmax 90\noom 2\noom_kill 2\n"})
    assert machine.killed_for_memory(tmp_path) == 2
    kernel(tmp_path, V1, **{"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"})
    assert machine.killed_for_memory(tmp_path) == 3


def test_nothing_that_is_done_here_is_told_to_mlflow_s_makers():
    code = "import fmnist.environment, os; print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    plain = {key: value for key, value in os.environ.items() if key != "MLFLOW_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True)
    assert done.stdout == "true\n"


@pytest.mark.parametrize(
    ("text", "instructions"),
    [
        ("flags\t\t: fpu avx512_bf16 avx fma avx512f avx2\n", "avx avx2 fma avx512f avx512_bf16"),
        ("Features\t: fp asimd sve crc32\n", "asimd sve"),
        ("", ""),
    ],
)  # fmt: skip
def test_processors_of_one_name_are_told_apart_by_their_instructions(text, instructions, tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(text)
    assert machine.instructions(tmp_path) == instructions
