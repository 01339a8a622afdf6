"""The figures of a study: a function each, and their list in `registry`."""
