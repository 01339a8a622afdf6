"""On tiles against directly: what Winograd's convolutions save, in float32 and beside bfloat16, variant by variant.

All workers of a sweep train at the same time, each way in turn, so that what else the machine does meets all of them.
"""

from collections.abc import Iterator
from contextlib import ExitStack

from bench.measures import EPOCH, directly, ours
from bench.plain import one_thread_points
from bench.processes import Workers
from bench.table import Row
from fmnist import machine
from fmnist.config import Config, from_flat

ROUNDS, SECONDS = 3, 2.0
FLOAT, FLOAT_DIRECT, BFLOAT, BFLOAT_DIRECT = "float32", "float32, directly", "bfloat16", "bfloat16, directly"
GOALS = {"baseline": "at least 1.8", "model.kernel_size=7": "at least 2.3"}
FOUR_WAYS = ("baseline", "model.filters=64", "model.filters=32", "model.kernel_size=3", "model.kernel_size=7")


def rows() -> Iterator[Row]:
    """Every variant of study article; the whole of it, whose variants all train as long."""
    totals = dict.fromkeys((FLOAT, FLOAT_DIRECT, BFLOAT_DIRECT), 0.0)
    for point in one_thread_points("study=article"):
        name = " ".join(point.overrides) or "baseline"
        seconds = _seconds(point.config, with_tiles_in_bfloat16=name in FOUR_WAYS)
        for way, total in totals.items():
            totals[way] = total + seconds[way]
        yield _row(f"epoch, {name}", seconds, FLOAT_DIRECT, GOALS.get(name, ""))
        for way in (BFLOAT_DIRECT, BFLOAT):
            if way in seconds:
                yield _row(f"epoch, {name}", seconds, way)
    yield _row("all variants of study article", totals, FLOAT_DIRECT, "at least 1.65")
    yield _row("all variants of study article", totals, BFLOAT_DIRECT, "at least 1.35")


def _row(what: str, seconds: dict[str, float], against: str, goal: str = "") -> Row:
    texts = (f"{seconds[FLOAT]:.1f} s", against, f"{seconds[against]:.1f} s")
    return Row(f"{what}, {FLOAT}", *texts, seconds[against] / seconds[FLOAT], goal, less=True)


def _seconds(point: Config, with_tiles_in_bfloat16: bool) -> dict[str, float]:
    """Of an epoch's training by all workers, by the way in which it is computed."""
    rounded = from_flat(point, {"compute.precision": "bfloat16"})
    ways = {FLOAT: (ours, point), FLOAT_DIRECT: (directly, point), BFLOAT_DIRECT: (directly, rounded)}
    ways |= {BFLOAT: (ours, rounded)} if with_tiles_in_bfloat16 else {}
    with ExitStack() as stack:
        teams = {way: stack.enter_context(Workers(machine.cores(), *how)) for way, how in ways.items()}
        for team in teams.values():
            team.wait()
        rates = [{way: team.rate("train", SECONDS) for way, team in teams.items()} for _ in range(ROUNDS)]
    return {way: EPOCH * ROUNDS / sum(rate[way] for rate in rates) for way in teams}
