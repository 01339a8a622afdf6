"""Searches with Keras Tuner: the space, its oracles mended, and the trials, which are runs like all others."""
