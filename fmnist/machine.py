"""What this machine is: its cores, its processor, and the precision and threads it suggests for a run."""

import os
import platform
from dataclasses import replace
from functools import cache
from pathlib import Path

import psutil

from fmnist.config import ComputeConfig, Config

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86, Arm


def cores() -> int:
    """Physical cores that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def free_memory() -> int:
    """Bytes that processes can still get without swapping."""
    return int(psutil.virtual_memory().available)


def _cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")


@cache
def cpu() -> str:
    """The processor's name."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


@cache
def gpus() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs that the driver shows."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = (line for file in files for line in file.read_text().splitlines())
    return tuple(line.split(":", 1)[1].strip() for line in lines if "Model" in line)


@cache
def multiplies_bfloat16() -> bool:
    """Whether the hardware multiplies bfloat16; emulated it is tens of times slower than float32."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return bool(gpus()) or bool(flags & _BFLOAT16_FLAGS)


def resolve(config: Config) -> Config:
    """The config with `auto` and unset threads replaced by what this machine and its environment suggest."""
    precision, threads, backend = config.compute.precision, config.compute.threads, config.compute.backend
    if precision == "auto":
        precision = "bfloat16" if multiplies_bfloat16() else "float32"
    if backend == "auto":
        backend = "jax" if os.environ.get("KERAS_BACKEND") == "jax" else "tensorflow"
    return replace(config, compute=ComputeConfig(precision, threads or cores(), backend))


def use_backend(config: Config) -> None:
    """Have Keras compute with a config's backend; without effect once this process has imported Keras."""
    os.environ["KERAS_BACKEND"] = config.compute.backend.replace("auto", "tensorflow")


def this_process() -> str:
    """A name for this process that no other gets, on no machine."""
    return f"{platform.node()} {os.getpid()} {psutil.Process().create_time()}"


def is_gone(process: str) -> bool:
    """Whether a process of that name has ended; False also where only another machine could tell."""
    host, *numbers = process.rsplit(" ", 2)
    if host != platform.node() and len(numbers) == 2:
        return False
    try:
        pid, created = numbers
        other = psutil.Process(int(pid))
        return other.create_time() != float(created) or other.status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):  # or it is no name of a process
        return True


def describe() -> dict[str, str]:
    """What a run's record says of the machine, by its columns."""
    return {
        "machine.cpu": cpu(),
        "machine.cores": str(cores()),
        "machine.gpu": ", ".join(gpus()) or "none",
        "machine.system": platform.platform(),
        "machine.python": platform.python_version(),
    }
