"""Processes that measure side by side; apart from test_bench, whose imports each of them would repeat."""

from bench.team import Team


def _counting(amount):
    return {"count": lambda: (amount, 0.5), "fail": lambda: 1 / 0}


def test_a_team_adds_up_what_its_processes_measure():
    with Team(2, _counting, 3.0) as team:
        assert team.rate("count", 0.0) == 12.0 and team.memory() > 1e6
