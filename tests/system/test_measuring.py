"""Processes that measure side by side; apart from test_bench, whose imports each of them would repeat."""

import os
import time

import pytest

from bench.processes import Workers, in_process, run_python
from fmnist.config import RunError


def _counting(amount):
    return {"count": lambda: (amount, 0.5), "fail": lambda: 1 / 0, "die": lambda: os._exit(3)}


def test_what_processes_measure_is_added_up():
    with Workers(2, _counting, 3.0) as workers:
        assert workers.rate("count", 0.0) == 12.0 and workers.memory() > 1e6


def test_a_process_that_fails_or_dies_is_told_in_a_line():
    for measure, reason in (("fail", "failed: ZeroDivisionError: division by zero"), ("die", r"died \(exit code 3\)")):
        with Workers(1, _counting, 3.0) as workers, pytest.raises(RunError, match=f"a measuring process {reason}"):
            workers.rate(measure, 0.0)
    with pytest.raises(RunError, match="failed: ValueError: invalid literal"):
        in_process(int, "three")
    with pytest.raises(RunError, match="has not answered within 0 s"):
        in_process(time.sleep, 60, seconds=0.1)
    with pytest.raises(RunError, match="python -c import nothing_of_the_kind failed: ModuleNotFoundError"):
        run_python("-c", "import nothing_of_the_kind")


def test_a_process_gets_variables_that_this_one_keeps_clear_of():
    assert in_process(os.getenv, "BENCH_OF_TESTS", environment={"BENCH_OF_TESTS": "1"}) == "1"
    assert "BENCH_OF_TESTS" not in os.environ
