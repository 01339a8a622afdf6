"""What this machine is: its cores, its memory, its processor, and the threads it suggests for a run."""

import getpass
import importlib.util
import math
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import psutil

from fmnist.config import ComputeConfig, Config, UserError, validation_rows

_INSTRUCTIONS = ("avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")


def cores() -> int:
    """Physical cores that this process may use; a container's share of them is rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed, math.ceil(min(allowed, core_quota()))))


def free_memory() -> int:
    """Bytes that processes can still get without swapping."""
    return int(min(psutil.virtual_memory().available, memory_quota()))


# ---- Control groups, by which containers and batch systems limit processes; joblib knows only the outermost ------


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the groups that this process is in, of version 2 and of a controller of version 1."""
    file = root / "proc/self/cgroup"
    for line in file.read_text().splitlines() if file.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            base = root / "sys/fs/cgroup" / (controller if controllers else "")
            parts = [part for part in path.split("/") if part not in ("", "..")]
            yield from (base.joinpath(*parts[:length]) for length in range(len(parts) + 1))


def core_quota(root: Path = Path("/")) -> float:
    """Cores that control groups grant; infinite where none does."""
    quota = math.inf
    for group in _groups("cpu", root):
        first = [*_words(group / "cpu.cfs_quota_us"), *_words(group / "cpu.cfs_period_us")]
        granted = _words(group / "cpu.max") or first
        if len(granted) == 2 and granted[0] not in ("max", "-1"):
            quota = min(quota, int(granted[0]) / int(granted[1]))
    return quota


def memory_quota(root: Path = Path("/")) -> float:
    """Bytes that control groups still grant; infinite where none limits them."""
    quota = math.inf
    for group in _groups("memory", root):
        limit = _words(group / "memory.max") or _words(group / "memory.limit_in_bytes")
        used = _words(group / "memory.current") or _words(group / "memory.usage_in_bytes")
        if limit and used and limit != ["max"]:
            cached = _named(group / "memory.stat", "inactive_file", "total_inactive_file")  # which gives way
            quota = min(quota, max(0, int(limit[0]) - int(used[0]) + cached))
    return quota


def killed_for_memory(root: Path = Path("/")) -> int:
    """How many processes of our control groups the system has killed for lack of memory."""
    files = [group / name for group in _groups("memory", root) for name in ("memory.events", "memory.oom_control")]
    return max((_named(file, "oom_kill") for file in files), default=0)


def _words(file: Path) -> list[str]:
    with suppress(OSError):
        return file.read_text().split()
    return []


def _named(file: Path, *names: str) -> int:
    """The largest number behind one of the names in a file, 0 where there is none."""
    words = _words(file)
    return max((int(value) for name, value in zip(words[::2], words[1::2], strict=False) if name in names), default=0)


def _cpuinfo(key: str, root: Path = Path("/")) -> str:
    path = root / "proc/cpuinfo"
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")


@cache
def cpu() -> str:
    """The processor's name."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


@cache
def instructions(root: Path = Path("/")) -> str:
    """Which of the instructions that libraries pick their code by the processor has; empty where nothing tells.

    A virtual machine's processor often has no other name than its maker's, whatever it is.
    """
    flags = _cpuinfo("flags", root).split() or _cpuinfo("Features", root).split()  # x86, ARM
    return " ".join(name for name in _INSTRUCTIONS if name in flags)


@cache
def gpus() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs that the driver shows."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = (line for file in files for line in file.read_text().splitlines())
    return tuple(line.split(":", 1)[1].strip() for line in lines if "Model" in line)


def gpu() -> str:
    """What a record says of this machine's GPUs."""
    return ", ".join(gpus()) or "none"


def resolve(config: Config) -> Config:
    """The config with `auto` and unset threads replaced by what stands for them here."""
    precision, threads, backend = config.compute.precision, config.compute.threads, config.compute.backend
    if precision == "auto":  # one kind of numbers everywhere: what bfloat16 saves is small (bench/README.md)
        precision = "float32"
    if backend == "auto":
        backend = "jax" if os.environ.get("KERAS_BACKEND") == "jax" else "tensorflow"
    data = replace(config.data, validation_rows=validation_rows(config.data))
    return replace(config, data=data, compute=ComputeConfig(precision, threads or cores(), backend))


def use_backend(config: Config) -> None:
    """Have Keras compute with a config's backend; without effect once this process has imported Keras.

    Raises:
        UserError: it is not installed.
    """
    backend = config.compute.backend.replace("auto", "tensorflow")
    if importlib.util.find_spec(backend) is None:
        raise UserError(f"compute.backend={backend} needs the package {backend}, which is not installed")
    os.environ["KERAS_BACKEND"] = backend


def this_process() -> str:
    """A name for this process that no other gets, on no machine."""
    return f"{platform.node()} {os.getpid()} {psutil.Process().create_time()}"


def is_elsewhere(process: str) -> bool:
    """Whether a process of that name is another machine's, which alone could tell whether it lives."""
    host, *numbers = process.rsplit(" ", 2)
    return host != platform.node() and len(numbers) == 2


def is_gone(process: str) -> bool:
    """Whether a process of that name has ended; False also where only another machine could tell."""
    if is_elsewhere(process):
        return False
    try:
        _, pid, created = process.rsplit(" ", 2)
        other = psutil.Process(int(pid))
        return other.create_time() != float(created) or other.status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):  # or it is no name of a process
        return True


def user() -> str | None:
    """Who this process works for; None where the system has no name for that."""
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return None


def describe() -> dict[str, str]:
    """What a run's record says of the machine, by its columns."""
    return {
        "machine.cpu": cpu(),
        "machine.instructions": instructions(),
        "machine.cores": str(cores()),
        "machine.gpu": gpu(),
        "machine.system": platform.platform(),
        "machine.python": platform.python_version(),
    }
