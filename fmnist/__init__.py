"""A hyperparameter study of a Fashion-MNIST CNN that people can trust, repeat and browse."""

__version__ = "0.1.0"
