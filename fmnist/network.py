"""What a network costs, from its options alone: parameters and operations."""

from fmnist.config import CLASS_COUNT, ModelConfig, feature_sizes, filters_per_convolution


def parameter_count(model: ModelConfig) -> int:
    """Trainable and non-trainable parameters of the network; the baseline has 940,170."""
    first, second = filters_per_convolution(model)
    area = model.kernel_size**2
    flat = feature_sizes(model)[-1][1] ** 2 * second
    norm = 4 * (first + second) if model.batch_norm else 0
    return (
        (area + 1) * first
        + (area * first + 1) * second
        + norm
        + (flat + 1) * model.dense_units
        + (model.dense_units + 1) * CLASS_COUNT
    )


def flops_per_image(model: ModelConfig) -> int:
    """Floating-point operations of one training step for one image, forward and backward.

    Forward costs two per multiply-add and backward twice the forward, except that the gradient with respect
    to the input image is not needed; 172 million for the baseline.
    """
    first, second = filters_per_convolution(model)
    (size_one, _), (size_two, pooled) = feature_sizes(model)
    area = model.kernel_size**2
    conv_one = size_one**2 * area * first
    others = (
        size_two**2 * area * first * second + pooled**2 * second * model.dense_units + model.dense_units * CLASS_COUNT
    )
    return 4 * conv_one + 6 * others


def disk_bytes(model: ModelConfig) -> int:
    """What a run leaves on disk: a checkpoint with Adam's two moments, the model, and a megabyte of the rest."""
    return 4 * parameter_count(model) * (3 + 1) + 1_000_000
