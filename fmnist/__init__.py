"""A hyperparameter study of a Fashion-MNIST CNN that people can trust, repeat and browse."""

import gc

__version__ = "0.1.0"

# Importing TensorFlow and MLflow makes a million objects; a fifth of its time was spent looking through them.
gc.set_threshold(50_000, 10, 10)
