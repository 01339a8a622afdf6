"""How Keras, TensorFlow and JAX are imported: without their greeting, and with settings that no user's files change.

A signature promises the bits of a run, so nothing that changes them may lie in a file of the home folder or in a
variable of the shell. `keep_memory` and `pin_environment` come before the imports, `pin_keras` after.
"""

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

TAKEN_AWAY = (  # XLA_FLAGS stays, with which GPUs may find their libraries
    "DNNL_DEFAULT_FPMATH_MODE",  # oneDNN may compute float32 in less
    "DNNL_MAX_CPU_ISA",
    "JAX_DEFAULT_DTYPE_BITS",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_ENABLE_X64",
    "KERAS_NNX_ENABLED",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "TF_CUDNN_DETERMINISTIC",
    "TF_DETERMINISTIC_OPS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_XLA_FLAGS",  # compiles what we do not
)
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}  # or the first takes it all

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of mallopt(3), in malloc.h


def keep_memory() -> None:
    """Have this process keep the memory that it frees, where the C library is GNU's.

    Every step of training frees what it has allocated, pieces of tens of megabytes, each of which malloc by itself
    gives back to the system, and page after page of which it then asks for anew (`make bench ARGS=memory`).
    One arena, as those that further threads get hold no such pieces.
    """
    for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1)):
        _libc("mallopt", option, value)


def give_memory_back() -> None:
    """Give back to the system what this process has kept."""
    _libc("malloc_trim", 0)


def _libc(function: str, *arguments: int) -> None:
    found = getattr(ctypes.CDLL(None), function, None) if os.name == "posix" else None
    if found is not None:
        found(*arguments)


def pin_environment() -> None:
    """Take away what would change the numbers, and leave GPUs' memory to other processes too."""
    for name in TAKEN_AWAY:
        os.environ.pop(name, None)
    for name, value in SHARED.items():
        os.environ.setdefault(name, value)


def pin_keras() -> None:
    """Set what ~/.keras/keras.json may say otherwise."""
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """Have modules not found that others would import if they are installed: they cost seconds, and nothing uses them.

    JAX beside TensorFlow, and what Keras has for those that plot with it or fit its networks in pipelines.
    """
    hidden = [module for module in modules if module not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # as Python has it
    try:
        yield
    finally:
        for module in hidden:
            del sys.modules[module]


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what is written to file descriptor 2, as C++ does past all log levels; show it if the block fails."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:  # an interruption has nothing to explain
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
