"""How fast this project is, measured: against the plain way, against the machine's limit, as things grow.

    make bench                          # all parts, about an hour
    make bench ARGS="limit growth"      # some of them

One table; every figure stands beside what it is compared with, taken in the same run. bench/README.md says how to read
it. The machine should have nothing else to do.
"""

import os
import sys
import time
from collections.abc import Iterator

from bench import (
    agreement,
    few,
    growth,
    limit,
    memory,
    plain,
    power,
    processors,
    ruler,
    scale,
    settling,
    startup,
    tiles,
)
from bench.table import Row, render
from fmnist import machine
from fmnist.cli.entry import Parser, enter
from fmnist.config import RunError, suggest

PARTS = {  # in this order; about how many minutes each takes on two cores
    "limit": ("Against the limit", limit.rows, 4),
    "tiles": ("Convolutions on tiles against direct ones", tiles.rows, 9),
    "agreement": ("Networks trained on tiles and directly", agreement.rows, 5),
    "plain": ("Against the plain way", plain.rows, 15),
    "startup": ("Start-up, and an epoch beside its training", startup.rows, 2),
    "growth": ("Growth", growth.rows, 5),
    "scale": ("Scale: stores of 100, 1,000 and 10,000 runs", scale.rows, 25),
    "memory": ("A worker's memory", memory.rows, 1),
    "settling": ("Time until variants are settled, drawn from recorded runs", settling.rows, 1),
    "ruler": ("What other rulers gain", ruler.rows, 8),
    "late": ("What other rulers gain, by recorded runs", ruler.recorded_rows, 1),
    "few": ("What few seeds would have said, drawn from recorded runs", few.rows, 1),
    "processors": ("The same runs on two kinds of processor, as recorded", processors.rows, 1),
    "power": ("Power of verdicts that one may look at after every seed", power.rows, 1),
}


def main() -> None:
    """Print the table."""
    parser = Parser("bench", str(__doc__))
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parts = parser.parse_args().parts or list(PARTS)
    for part in parts:
        if part not in PARTS:
            parser.error(f"PART must be one of {', '.join(PARTS)}, but got '{part}'{suggest(part, PARTS)}")
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # it would win over the stores
    began, load = time.time(), os.getloadavg()[0]
    sections, failed = list[tuple[str, list[Row]]](), list[str]()
    for index, part in enumerate(parts):
        title, rows, _ = PARTS[part]
        left = sum(PARTS[later][2] for later in parts[index:])
        print(f"{part} ... (about {left} minutes left)", file=sys.stderr, flush=True)
        measured: list[Row] = []
        sections.append((title, measured))
        try:
            for row in _printed(rows()):
                measured.append(row)  # so that those before a failure stay
        except RunError as error:  # an hour of other rows shall not be lost for it
            failed.append(f"{part}: {error}")
    print(f"{machine.cpu()}, {machine.cores()} cores, {', '.join(machine.gpus()) or 'no GPU'}; ", end="")
    print(f"load {load:.1f} before; {time.strftime('%Y-%m-%d')}, {(time.time() - began) / 60:.0f} minutes\n")
    print(render(sections))
    if failed:
        raise RunError("; ".join(failed))


def _printed(rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        texts = f"{row.ours}; {row.against} {row.theirs}: {row.comparison}"
        print(f"  {row.what}: {texts}", file=sys.stderr, flush=True)
        yield row


if __name__ == "__main__":
    sys.exit(enter("bench", main, interrupted="what was measured is lost"))
