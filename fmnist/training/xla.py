"""Parts of the network in the form in which XLA's code for GPUs is fastest, and repeats itself bit for bit."""

from typing import Any

import jax
import jax.numpy as jnp

_ALIGNED = 8  # numbers in a row of a matrix whose product the tensor cores take


def of_one_channel(images: Any, kernel: Any, dtype: str) -> Any:
    """The valid convolution of images (n, height, width, 1) with a kernel (taps, taps, 1, filters), as one product.

    For one channel cuDNN's own gradient of the filters takes as long as that of 128 channels.
    """
    images, kernel = jnp.asarray(images, dtype)[..., 0], jnp.asarray(kernel, dtype)
    taps, filters = kernel.shape[0], kernel.shape[-1]
    height, width = (side - taps + 1 for side in images.shape[1:])
    columns = [images[:, i : i + height, j : j + width] for i in range(taps) for j in range(taps)]
    lacking = -len(columns) % _ALIGNED
    patches = jnp.stack(columns + [jnp.zeros_like(columns[0])] * lacking, axis=-1)
    rows = jnp.pad(kernel.reshape(-1, filters), ((0, lacking), (0, 0)))
    return (patches.reshape(-1, len(rows)) @ rows).reshape(-1, height, width, filters)


def _pooled(images: Any) -> tuple[Any, tuple[Any, Any]]:
    height, width = (side // 2 * 2 for side in images.shape[1:3])
    parts = [images[:, row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]
    largest = jnp.maximum(jnp.maximum(parts[0], parts[1]), jnp.maximum(parts[2], parts[3]))
    first = jnp.full(largest.shape, 3, jnp.uint8)
    for place in (2, 1, 0):
        first = jnp.where(parts[place] == largest, jnp.uint8(place), first)
    return largest, (first, jnp.zeros((images.shape[1] % 2, images.shape[2] % 2)))  # an array tells the odd rows' shape


def _gradient(kept: tuple[Any, Any], of_largest: Any) -> tuple[Any]:
    first, odd = kept
    count, height, width, channels = of_largest.shape
    places = jnp.arange(4, dtype=jnp.uint8).reshape(2, 1, 2, 1)
    of_parts = jnp.where(first[:, :, None, :, None] == places, of_largest[:, :, None, :, None], 0)
    of_images = of_parts.reshape(count, 2 * height, 2 * width, channels)
    return (jnp.pad(of_images, ((0, 0), (0, odd.shape[0]), (0, odd.shape[1]), (0, 0))),)


# The maximum of each 2 x 2 of images (n, height, width, channels); a last odd row or column is left out. Its gradient
# goes to the first of equal ones, as that of Keras's layer does, but is selected instead of added up in any order.
maximum = jax.custom_vjp(lambda images: _pooled(images)[0])
maximum.defvjp(_pooled, _gradient)
