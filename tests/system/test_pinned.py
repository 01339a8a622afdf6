"""What a user's shell and home folder say of libraries changes no bit of a run; what training loads of them; memory."""

import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT

from fmnist.training.libraries import TAKEN_AWAY, give_memory_back, keep_memory

TRAIN = """
import hashlib, sys
import numpy as np
from fmnist.config import Config, from_flat
from fmnist.training.engine import Engine
options = {"compute.precision": "float32", "compute.threads": 1, "model.filters": 8, "model.batch_norm": True}
rng = np.random.default_rng(0)
engine = Engine(
    from_flat(Config(), options), rng.integers(0, 256, (256, 28, 28, 1), dtype=np.uint8), rng.integers(0, 10, 256)
)
warps = np.tile(np.float32([1, 0.1, 0.5, 0, 1, 0, 0, 0]), (2, 128, 1))
engine.train(np.arange(256, dtype=np.int32).reshape(2, 128), warps)
digest = hashlib.sha256()
for name, array in sorted(engine.state().items()):
    digest.update(array.tobytes())
print(digest.hexdigest(), *sorted({"jax", "matplotlib", "pandas", "sklearn"} & {*sys.modules}))
"""


def printed(home: Path, **environment: str) -> str:
    """The digest of what a little training comes to, and which libraries are loaded that it does not need."""
    plain = {key: value for key, value in os.environ.items() if key not in TAKEN_AWAY}
    return subprocess.run(
        [sys.executable, "-c", TRAIN],
        cwd=ROOT,
        env=plain | {"KERAS_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    return printed(tmp_path_factory.mktemp("home"))


def test_training_loads_no_library_that_only_others_need(plain: str) -> None:
    assert len(plain.split()) == 1, plain


def test_settings_of_libraries_outside_a_config_change_no_bit(plain: str, tmp_path: Path) -> None:
    settings = {"floatx": "float16", "epsilon": 1e-3, "image_data_format": "channels_first", "backend": "tensorflow"}
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "keras.json").write_text(json.dumps(settings))
    odd = {name: "1" for name in TAKEN_AWAY} | {
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
        "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
    }
    assert printed(tmp_path / "odd", **odd) == plain


def pages_asked_for(size: int) -> int:
    """Pages that the system hands out while C code takes, fills and frees so many bytes."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    memory = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(memory, 1, size)
    libc.free(memory)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
def test_a_process_that_trains_keeps_what_it_frees_until_it_is_to_give_it_back() -> None:
    size, few = 2**26, 16  # huge pages, if the system takes those, are 2 MB
    keep_memory()
    pages_asked_for(size)
    assert pages_asked_for(size) < few
    give_memory_back()
    assert pages_asked_for(size) > few
