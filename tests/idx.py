"""Small synthetic sets in Fashion-MNIST's file format, for the tests."""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Half = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (n, 28, 28, 1), labels (n,)


def pack(array: NDArray[np.uint8]) -> bytes:
    """The bytes of an idx file, not yet compressed."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


def write_idx(folder: Path, train: Half, test: Half) -> None:
    """Write the four files into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for half, (images, labels) in (("train", train), ("t10k", test)):
        for name, array in (
            ("images-idx3", np.asarray(images, np.uint8).reshape(len(images), *np.shape(images)[1:3])),
            ("labels-idx1", np.asarray(labels, np.uint8)),
        ):
            content = gzip.compress(pack(array), compresslevel=1, mtime=0)
            (folder / f"{half}-{name}-ubyte.gz").write_bytes(content)


def synthetic(n_train: int, n_test: int, seed: int = 0) -> tuple[Half, Half]:
    """Images a network can learn: each class has a blurry pattern of its own, moved a little and noisy.

    The patterns are the same for every seed; classes are as even as the counts allow.
    """
    patterns = np.kron(np.random.default_rng(0).uniform(0, 200, (10, 7, 7)), np.ones((4, 4)))
    for axis in (1, 2):  # a moving average along each side blurs the blocks
        patterns = sum(np.roll(patterns, step, axis) for step in (-1, 0, 1)) / 3
    rng = np.random.default_rng(seed)

    def half(count: int) -> Half:
        labels = rng.permutation(np.arange(count) % 10)
        moves = rng.integers(-1, 2, (count, 2))
        images = np.stack([np.roll(patterns[k], move, (0, 1)) for k, move in zip(labels, moves, strict=True)])
        noisy = images + rng.normal(0, 25, images.shape)
        return np.clip(noisy, 0, 255).astype(np.uint8)[..., np.newaxis], labels.astype(np.int64)

    return half(n_train), half(n_test)
