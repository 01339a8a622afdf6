"""Convolutions with fewer multiplications: Winograd's minimal filtering, as matrix products.

F(m, r) computes m outputs of a filter of r taps with n = m + r - 1 multiplications instead of m·r: both are seen as
polynomials, evaluated at n points, multiplied there, and interpolated (Toom and Cook; Winograd 1980). In two dimensions
an n x n tile of the image gives m x m outputs with n² products, 6.25 times fewer than directly for r = 5 and m = 4, and
over channels each of these products is one of matrices (Lavin and Gray 2016). The gradients for images and filters are
the same products transposed, so that differentiation finds them by itself.

What makes it fast: images and channels come last, in one long row, so that each one-dimensional transform is a small
constant matrix times a long one, and cutting out the tiles of a row is part of that matrix.
"""

from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

# The finite points by their number; one more is infinity. Exact rationals near 1, whose powers stay of a size, for what
# is rounded grows with the powers' spread (Barabasz and others 2020); of pairs of such those that rounded least.
_FEW = "0 1 -1 2 -2 1/2 -1/2"
_MANY = {
    8: "0 1 -1 3/2 -3/2 2/5 -2/5 3",
    9: "0 1 -1 4/3 -4/3 5/2 -5/2 2/5 -2/5",
    10: "0 1 -1 3 -3 4/3 -4/3 3/5 -3/5 1/4",
}
# By the taps of a kernel's side: outputs of a tile's side, and from how many pairs of channel and filter on tiles are
# faster than direct convolution. Measured for the network's second convolution and its gradients (bench/README.md); a
# rule of shapes alone, since a run's bits must not depend on how busy a machine was.
TILES = {3: (6, 64 * 64), 4: (5, 32 * 32), 5: (4, 16 * 16), 6: (6, 16 * 16), 7: (5, 16 * 16), 8: (3, 16 * 16),
         9: (2, 16 * 16)}  # fmt: skip


def tile_of(taps: int, channels: int, filters: int) -> int:
    """Outputs of the side of a tile in which a convolution of taps x taps is computed; 0: directly."""
    outputs, least = TILES.get(taps, (0, 0))
    return outputs if channels * filters >= least else 0


def _points(count: int) -> list[Fraction]:
    texts = _MANY.get(count, _FEW).split()
    if not 0 <= count <= len(texts):
        raise ValueError(f"there are points for at most {max(_MANY) + 1} multiplications, but got {count + 1}")
    return [Fraction(text) for text in texts[:count]]


@cache
def transforms(outputs: int, taps: int) -> tuple[Matrix, Matrix, Matrix]:
    """The matrices (A, G, B) of F(outputs, taps): Aᵀ((G g) · (B d)) is the correlation of n inputs d with taps g.

    Row i of A has the powers of point pᵢ, that of G those over Π(pᵢ - pₖ), and that of B the coefficients of Π(x - pₖ),
    k from all but i; at infinity A and G have the highest power alone, and B all points. Rows of B are scaled to a
    largest entry of 1, those of G by the inverse. Worked out exactly, then rounded.

    Returns:
        A (n, outputs), G (n, taps), B (n, n).

    Raises:
        ValueError: no points are known for so many.
    """
    points = _points(outputs + taps - 2)
    a = [[point**power for power in range(outputs)] for point in points] + [_last(outputs)]
    g, b = [], []
    for point in points:
        others = [other for other in points if other != point]
        row, divisor = [*_product(others), Fraction(0)], Fraction(1)
        for other in others:
            divisor *= point - other
        scale = max(map(abs, row))
        b.append([entry / scale for entry in row])
        g.append([scale * point**power / divisor for power in range(taps)])
    row = _product(points)
    scale = max(map(abs, row))
    b.append([entry / scale for entry in row])
    g.append([scale * entry for entry in _last(taps)])
    return tuple(np.array(matrix, dtype=np.float64) for matrix in (a, g, b))  # type: ignore[return-value]


def _product(points: Any) -> list[Fraction]:
    """The coefficients of Π(x - p), the constant first."""
    coefficients = [Fraction(1)]
    for point in points:
        padded = [Fraction(0), *coefficients, Fraction(0)]
        coefficients = [lower - point * higher for lower, higher in pairwise(padded)]
    return coefficients


def _last(size: int) -> list[Fraction]:
    return [Fraction(int(place == size - 1)) for place in range(size)]


@cache
def _placed(size: int, outputs: int, taps: int) -> tuple[Matrix, Matrix]:
    """The transforms of every tile along a side of an image, in their places.

    What a last tile has beyond the image is 0, and what it gives beyond the outputs is left out.

    Returns:
        into the tiles (tiles, n, size), and out of them (tiles, n, size - taps + 1).
    """
    a, _, b = transforms(outputs, taps)
    results, count = size - taps + 1, len(b)
    tiles = -(-results // outputs)
    into, out = np.zeros((tiles, count, tiles * outputs + count)), np.zeros((tiles, count, tiles * outputs))
    for tile, start in enumerate(range(0, results, outputs)):
        into[tile, :, start : start + count], out[tile, :, start : start + outputs] = b, a
    return into[..., :size], out[..., :results]


def convolve(images: Any, kernel: Any, outputs: int) -> Any:
    """The valid convolution of images (n, height, width, channels) with a kernel (taps, taps, channels, filters).

    In tiles of outputs x outputs, at the images' precision; returns (n, height - taps + 1, width - taps + 1, filters).
    """
    _, height, width, channels = images.shape
    taps, filters = kernel.shape[0], kernel.shape[-1]
    count = outputs + taps - 1

    def constant(matrix: Matrix) -> Any:
        return ops.convert_to_tensor(matrix, dtype=images.dtype)

    g = constant(transforms(outputs, taps)[1])
    half = ops.reshape(ops.matmul(g, ops.reshape(kernel, (taps, -1))), (count, taps, -1))
    products = ops.reshape(ops.matmul(g, half), (count**2, channels, filters))

    into, out = _placed(width, outputs, taps)  # along a row the points come first, so that its tiles are one matrix
    into_columns, out_of_columns = (
        constant(np.swapaxes(each, 0, 1).reshape(-1, each.shape[-1]).T) for each in (into, out)
    )
    long = ops.reshape(ops.transpose(images, (1, 2, 0, 3)), (height, -1))
    strips = []
    for tile, (into, out) in enumerate(zip(*_placed(height, outputs, taps), strict=True)):
        rows = ops.reshape(ops.matmul(constant(into), long), (count, width, -1))
        tiles = ops.reshape(ops.matmul(ops.transpose(into_columns), rows), (count**2, -1, channels))
        results = ops.reshape(ops.matmul(tiles, products), (count, into_columns.shape[1], -1))
        columns = ops.reshape(ops.matmul(out_of_columns, results), (count, -1))
        strips.append(ops.matmul(constant(out[:, tile * outputs : (tile + 1) * outputs].T), columns))
    shape = (height - taps + 1, width - taps + 1, -1, filters)
    return ops.transpose(ops.reshape(ops.concatenate(strips), shape), (2, 0, 1, 3))


def on_tiles(images: Any, kernel: Any, dtype: str, outputs: int) -> Any:
    """`convolve` in float32 whatever the type of the network's numbers.

    In bfloat16 its transforms err by 5e-2, where products in bfloat16 err by 3e-3.
    """
    return convolve(ops.cast(images, "float32"), ops.cast(kernel, "float32"), outputs)
