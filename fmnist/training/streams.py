"""Random streams keyed by (seed, purpose, epoch), so that there is no generator state to save."""

import zlib

import numpy as np


def stream(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """The generator of one purpose at one epoch of one seed; equal keys give equal draws everywhere."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), epoch]))
