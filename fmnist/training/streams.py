"""Random streams keyed by (seed, purpose, epoch), so that there is no generator state to save."""

import zlib

import numpy as np

from fmnist.config import Config


def stream(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """The generator of one purpose at one epoch of one seed; equal keys give equal draws everywhere."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), epoch]))


def seed_of(config: Config, source: str) -> int:
    """The seed of a source of chance, one of `NoiseConfig`'s: its own, or the run's."""
    own = getattr(config.noise, source)
    return config.seed if own is None else int(own)
