"""The plain way, which everything is measured against: one configuration, trained as one would write it down.

    python -m bench.plain_way --filters 64 --epochs 10   # its records come into the folder that it is called in

ImageDataGenerator and Keras's `fit` in float32, and MLflow's automatic logging. It shares no code with fmnist.
"""

import argparse
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers
from tensorflow.keras.preprocessing.image import ImageDataGenerator


def _ranges(rotation: float, share: float, shear: float, *, flip: bool = False) -> dict[str, Any]:
    shifts = dict.fromkeys(("width_shift_range", "height_shift_range", "zoom_range"), share)
    return {"rotation_range": rotation, "shear_range": shear, "horizontal_flip": flip, **shifts}


CALLBACKS: list[keras.callbacks.Callback] = []  # for whoever measures
AUGMENT = {
    "none": {},
    "light": _ranges(4, 0.04, 0.15),
    "article": _ranges(8, 0.08, 0.3),
    "heavy": _ranges(16, 0.16, 16, flip=True),
}


def network(filters: int = 128, kernel_size: int = 5, pooling: str = "max") -> keras.Model:
    """The article's network, compiled."""
    pool = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}[pooling]
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(filters, kernel_size, activation="relu"),
            pool(2),
            layers.Conv2D(filters, kernel_size, activation="relu"),
            pool(2),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def batches(images: Any, labels: Any, augment: str = "article") -> Any:
    """Shuffled and augmented batches of 128, without end."""
    return ImageDataGenerator(**AUGMENT[augment]).flow(images, labels, batch_size=128)


def data(limit: int | None, scale: str) -> tuple[Any, Any, tuple[Any, Any], tuple[Any, Any]]:
    """Training images and labels, those for validation, and the test set."""
    (images, labels), (test_images, test_labels) = keras.datasets.fashion_mnist.load_data()
    divisor = {"raw": 1, "unit": 255}[scale]
    images, test_images = (each[..., None].astype("float32") / divisor for each in (images, test_images))
    images, labels = images[:limit], labels[:limit]
    held_back = len(images) // 10
    validation = images[:held_back], labels[:held_back]
    return images[held_back:], labels[held_back:], validation, (test_images, test_labels)


def main() -> None:
    """Train one configuration."""
    import mlflow

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filters", type=int, default=128)
    parser.add_argument("--kernel-size", type=int, default=5)
    parser.add_argument("--pooling", default="max")
    parser.add_argument("--augment", default="article")
    parser.add_argument("--scale", default="raw")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    mlflow.keras.autolog()
    images, labels, validation, test = data(options.limit, options.scale)
    model = network(options.filters, options.kernel_size, options.pooling)
    train = batches(images, labels, options.augment)
    with mlflow.start_run():
        mlflow.log_params(vars(options))
        # No steps_per_epoch, as the article had: Keras 3 takes what one epoch leaves over for the whole of the next.
        model.fit(train, epochs=options.epochs, validation_data=validation, callbacks=CALLBACKS, verbose=0)
        loss, accuracy = model.evaluate(*test, batch_size=128, verbose=0)
        mlflow.log_metrics({"test_loss": loss, "test_accuracy": accuracy})
        predicted = np.argmax(model.predict(test[0], verbose=0), axis=1)
        print(f"test accuracy {accuracy:.4f}, {int((predicted == test[1]).sum())} right")


if __name__ == "__main__":
    main()
