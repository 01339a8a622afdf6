"""Reproduction: `python -m fmnist.reproduce RUN` trains a run again from its record, and says if it is the same."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist.cli.entry import Parser, condition, enter
from fmnist.config import UserError
from fmnist.words import DASH, shown, visible

if TYPE_CHECKING:
    from fmnist.study.records import Records
    from fmnist.tracking import StoredRun

DEVIATED = 3  # exit code
EXAMPLES = """\
examples:
  python -m fmnist.reproduce 1f0c                       train it again; nothing is written into the store
  python -m fmnist.reproduce champion                   the run of the registered model
  python -m fmnist.reproduce --where model.filters=64 --where seed=0 --where epochs=10
  python -m fmnist.reproduce 1f0c data.dir=FOLDER       its data are elsewhere now
  python -m fmnist.reproduce 1f0c --keep                give its record the model that it lacks
  python -m fmnist.reproduce 1f0c --environment FOLDER  its packages, to be called with
  python -m fmnist.reproduce 1f0c --show-diff           what its code had that no commit has

The exit code is 0 if every bit is the same, and 3 if not.
"""


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    description = "Train a run again from its record, and say whether every number and prediction is the same."
    parser = Parser("fmnist.reproduce", description, EXAMPLES)
    given = "the run: first letters of its id, or champion; where its data are: data.dir=FOLDER"
    parser.add_argument("given", nargs="*", metavar="RUN | KEY=VALUE", help=given)
    only = "the run with this option; may be repeated"
    parser.add_argument("--where", metavar="KEY=VALUE", type=condition, action="append", default=[], help=only)
    parser.add_argument("--keep", action="store_true", help="if it is the same, keep its model in the record")
    packages = "only install the packages of its record there"
    parser.add_argument("--environment", metavar="FOLDER", type=Path, help=packages)
    parser.add_argument("--show-diff", action="store_true", help="only print the changes that no commit has")
    parser.add_store()
    return parser.parse_intermixed_args(argv)


def _body(argv: list[str] | None) -> int:
    arguments = _arguments(argv)
    from fmnist.study import reproduction
    from fmnist.study.records import Records, names_data

    places = [text for text in arguments.given if "=" in text]
    named, *more = [text for text in arguments.given if "=" not in text] or [""]
    for wrong in (*more, *(text for text in places if not names_data(text))):
        raise UserError(f"one run, as it was, on its data (data.dir=FOLDER), but got '{shown(wrong)}' too")
    records = Records(arguments.store, also_changed=True)
    run = reproduction.find(records, named, arguments.where)
    if arguments.show_diff:
        diff = records.store.client.text(run.run_id, reproduction.DIFF)
        print("\n".join(map(visible, diff.splitlines())) or f"run {run.run_id[:8]} has no changes recorded")
        return 0
    if arguments.environment is not None:
        from fmnist.study.rebuilding import rebuild

        print(rebuild(run, arguments.environment))
        return 0
    return _train(records, run, places, arguments.keep)


def _train(records: "Records", run: "StoredRun", places: list[str], keep: bool) -> int:
    """Train a run again, saying before what differs here and afterwards what came out; returns the exit code."""
    from fmnist import machine, provenance
    from fmnist.schema import Status
    from fmnist.study import reproduction
    from fmnist.study.records import data_of
    from fmnist.tracking.stored import faults
    from fmnist.work.progress import showing

    if run.status != Status.FINISHED:
        raise UserError(f"run {run.run_id[:8]} has not finished ({run.status}): there is nothing to hold it against")
    config = records.config(run, places)
    dataset = data_of(run, config)
    machine.use_backend(config)
    from fmnist.training.trajectory import DivergedError  # with Keras, which takes that backend

    differences = reproduction.differs_here(records.store, run, config)
    print(f"run {run.run_id[:8]}, made by commit {run.commit or DASH}; ", end="")
    if differences:
        print(f"what differs here from what it was made with:\n\n{reproduction.told(differences)}\n")
    else:
        print("code, packages and machine are those here")
    try:
        with showing(config) as listener:
            again = reproduction.train(config, dataset, listener)
    except DivergedError as error:
        print(f"\nnot the same: {error}")
        return DEVIATED
    rows, compared = reproduction.deviations(records.store, run, again)
    changed = [f"the record was changed: {reason}" for reason in faults(run)]
    if rows or changed:
        print("\n".join(["", *changed, f"not the same, of {compared}:", "", reproduction.told(rows)]))
        return DEVIATED
    print(f"bit-exact: {compared}")
    if keep:
        reproduction.keep(records.store, run, again, provenance.requirements(config))
        print(f"its model and predictions are kept in the record of run {run.run_id[:8]}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; returns 0, `DEVIATED`, or as `fmnist.cli.entry` has it."""
    return enter("fmnist.reproduce", lambda: _body(argv), "nothing was written into the store")


if __name__ == "__main__":
    raise SystemExit(main())
