"""What reaches the numbers from outside a config: settings of libraries, held at one value whatever the user's are.

A signature promises the bits of a run, so nothing that changes them may lie in a file of the home folder or in a
variable of the shell. `pin_environment` comes before TensorFlow, JAX and Keras are imported, `pin_keras` after.
"""

import os

TAKEN_AWAY = (
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
UNPINNED = ("XLA_FLAGS",)  # which GPUs may need to find their libraries; recorded with a run


def pin_environment() -> None:
    """Take away what would change the numbers."""
    for name in TAKEN_AWAY:
        os.environ.pop(name, None)


def pin_keras() -> None:
    """Set what ~/.keras/keras.json may say otherwise."""
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")


def unpinned() -> dict[str, str]:
    """Variables that are set, may change the numbers, and cannot be held at one value."""
    return {name: os.environ[name] for name in UNPINNED if os.environ.get(name)}
