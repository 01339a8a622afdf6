"""Carrying out many runs: the sweep, its workers and processes, and the display of what goes on."""
