"""Facts of the network, from its options alone: sizes, parameters, operations.

A change of the network in `training.model` is a change here too; a test compares the two.
"""

from fmnist.config import CLASS_COUNT, IMAGE_SIZE, ModelConfig, UserError, check_value
from fmnist.words import shown


def filters_per_convolution(model: ModelConfig) -> tuple[int, int]:
    """The number of filters of each of the two convolutions.

    Raises:
        UserError: `model.filters` is neither a whole number nor a list of two.
    """
    filters = model.filters
    numbers = list(filters) if isinstance(filters, list | tuple) else [filters, filters]
    if len(numbers) != 2 or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        raise UserError(
            "model.filters must be one whole number or one for each of the 2 convolutions "
            f"(64 or [32,64]), but got {shown(filters)}"
        )
    for number in numbers:
        check_value("model.filters", number, least=1, most=4096)
    return numbers[0], numbers[1]


def feature_sizes(model: ModelConfig) -> list[tuple[int, int]]:
    """Side of the square feature map after each convolution and after its pooling: [(24, 12), (8, 4)].

    Raises:
        UserError: a kernel is larger than what is left of the image, or pooling leaves nothing.
    """
    sizes: list[tuple[int, int]] = []
    side = IMAGE_SIZE
    for number in ("first", "second"):
        convolved = side - model.kernel_size + 1
        if convolved < 2:
            largest = max(k for k in range(1, IMAGE_SIZE) if ((IMAGE_SIZE - k + 1) // 2) - k + 1 >= 2)
            raise UserError(
                f"model.kernel_size={model.kernel_size} is too large: the {number} convolution sees "
                f"{side}x{side} pixels and would leave {max(convolved, 0)}x{max(convolved, 0)}, "
                f"where pooling needs 2x2; the largest that fits is {largest}"
            )
        side = convolved // 2
        sizes.append((convolved, side))
    return sizes


def parameter_count(model: ModelConfig) -> int:
    """Trainable and non-trainable parameters of the network; the baseline has 940,170."""
    first, second = filters_per_convolution(model)
    area, flat = model.kernel_size**2, feature_sizes(model)[-1][1] ** 2 * second
    convolutions = (area + 1) * first + (area * first + 1) * second
    norm = 4 * (first + second) if model.batch_norm else 0
    return convolutions + norm + (flat + 1) * model.dense_units + (model.dense_units + 1) * CLASS_COUNT


def flops_per_image(model: ModelConfig) -> int:
    """Floating-point operations of one training step for one image, forward and backward.

    Forward costs two per multiply-add and backward twice the forward, except that the gradient with respect
    to the input image is not needed; 172 million for the baseline.
    """
    first, second = filters_per_convolution(model)
    (size_one, _), (size_two, pooled) = feature_sizes(model)
    area, dense = model.kernel_size**2, model.dense_units
    conv_one, conv_two = size_one**2 * area * first, size_two**2 * area * first * second
    return 4 * conv_one + 6 * (conv_two + pooled**2 * second * dense + dense * CLASS_COUNT)


def disk_bytes(model: ModelConfig) -> int:
    """What a run leaves on disk: a checkpoint with Adam's two moments, the model, and a megabyte of the rest."""
    return 4 * parameter_count(model) * (3 + 1) + 1_000_000
