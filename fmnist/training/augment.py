"""Random affine warps with the arithmetic of Keras's ImageDataGenerator: drawn in numpy, resampled once.

The generator composes rotation, shift, shear and zoom into one matrix about the centre of the image. Since Keras
2.9 it swaps the axes of that matrix before it resamples, so that height_shift moves columns; both are kept.
"""

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.config import IMAGE_SIZE, AugmentConfig

Floats = NDArray[np.float64]
CENTRE = IMAGE_SIZE / 2 - 0.5


@dataclass(frozen=True)
class Draws:
    """The parameters of n warps, each an array of shape (n,)."""

    theta: Floats  # rotation in degrees
    tx: Floats  # height shift in pixels
    ty: Floats  # width shift in pixels
    shear: Floats  # degrees
    zx: Floats
    zy: Floats
    flip: NDArray[np.bool_]  # mirrored left to right after the warp


def augments(ranges: AugmentConfig) -> bool:
    """Whether any range lets an image change."""
    return any(astuple(ranges))


def draw(ranges: AugmentConfig, count: int, rng: np.random.Generator) -> Draws:
    """Draw the parameters of `count` warps, uniformly within the ranges.

    Every parameter is drawn whatever the ranges are, so that variants with the same seed share their draws.
    """
    unit = rng.uniform(-1.0, 1.0, (6, count))
    mirrored = rng.random(count) < 0.5
    return Draws(
        theta=unit[0] * ranges.rotation,
        tx=unit[1] * ranges.height_shift * IMAGE_SIZE,
        ty=unit[2] * ranges.width_shift * IMAGE_SIZE,
        shear=unit[3] * ranges.shear,
        zx=1.0 + unit[4] * ranges.zoom,
        zy=1.0 + unit[5] * ranges.zoom,
        flip=mirrored & ranges.horizontal_flip,
    )


def transforms(draws: Draws) -> NDArray[np.float32]:
    """The warps as rows for `keras.ops.image.affine_transform`, shape (n, 8).

    With M = rotation · shift · shear · zoom the generator samples, for the output pixel (row, column), the input
    at M' (row, column) + offset, where M' is M with both axes swapped. The op counts (x, y) = (column, row),
    which swaps them back: its rows are [m00, m01, b0, m10, m11, b1, 0, 0] with b = o + R·t - A·o.
    """
    theta, shear = np.deg2rad(draws.theta), np.deg2rad(draws.shear)
    cos, sin = np.cos(theta), np.sin(theta)
    # rotation · shear · zoom, and rotation · shift
    m00, m01 = cos * draws.zx, (-cos * np.sin(shear) - sin * np.cos(shear)) * draws.zy
    m10, m11 = sin * draws.zx, (-sin * np.sin(shear) + cos * np.cos(shear)) * draws.zy
    b0 = CENTRE + cos * draws.tx - sin * draws.ty - (m00 + m01) * CENTRE
    b1 = CENTRE + sin * draws.tx + cos * draws.ty - (m10 + m11) * CENTRE
    # A mirrored output pixel x is the unmirrored one at 27 - x: the flip comes after the warp.
    last = IMAGE_SIZE - 1
    b0, b1 = np.where(draws.flip, b0 + m00 * last, b0), np.where(draws.flip, b1 + m10 * last, b1)
    m00, m10 = np.where(draws.flip, -m00, m00), np.where(draws.flip, -m10, m10)
    zero = np.zeros_like(m00)
    return np.stack([m00, m01, b0, m10, m11, b1, zero, zero], axis=1).astype(np.float32)


def warp(images: Any, rows: Any) -> Any:
    """Resample images (n, 28, 28, 1), float32, by transforms (n, 8); beyond the border the nearest pixel counts."""
    from keras import ops

    return ops.image.affine_transform(
        images, rows, interpolation="bilinear", fill_mode="nearest", data_format="channels_last"
    )
