"""The command about single runs: `python -m fmnist.runs` lists and shows them, and carries them to another store."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist.advice import command_for
from fmnist.cli.entry import Action, Parser, act, condition, enter
from fmnist.config import UserError
from fmnist.words import duration, harmless, plural, shown, without_passwords

if TYPE_CHECKING:
    import pandas as pd

    from fmnist.tracking import Store

EXAMPLES = """\
actions (each has a --help of its own):
  export FILE   put runs into one file
  import FILE   add the runs of a file to a store; those that it has stay as they are
  list          a table of runs, the latest first
  show RUN      what a run is, and how to repeat it; RUN is its id, or the first letters of it
  diff RUN RUN  what differs: options, code, machine, results
  remove RUN... delete runs, with their files and checkpoints
  tidy          remove what nobody needs any more: files of deleted runs, checkpoints without a run

examples:
  python -m fmnist.runs export runs.zip                       every run of mlruns/ that finished or failed
  python -m fmnist.runs export runs.zip --study article       those of a study
  python -m fmnist.runs export runs.zip --models --checkpoints     with all that can be gone on with
  python -m fmnist.runs import runs.zip --store elsewhere     into another store
  MLFLOW_TRACKING_URI=http://tracking:5000 python -m fmnist.runs import runs.zip     onto a server
  python -m fmnist.runs list --where model.filters=64
  python -m fmnist.runs show 1f0c
  python -m fmnist.runs diff 1f0c 9ab2
  python -m fmnist.runs remove 1f0c 9ab2
  python -m fmnist.runs tidy --dry-run

The file is a zip of JSON, texts and NumPy arrays; about.json in it says what is where.
"""
WHOLE = {  # what is exported only if it is asked for
    "probabilities": "the probabilities of each test and validation image: 20 times as large",
    "models": "their weights, 1 MB or more a run: what is imported can be predicted with, and become the champion",
    "checkpoints": "the state after their last epoch, three times as much: more epochs go on from there, bit for bit",
}
SAMPLES_LEFT = "without their pictures of augmented samples, which need the images"


def _chosen(arguments: argparse.Namespace) -> "pd.DataFrame":
    """The runs of a store that are asked for, oldest first."""
    from fmnist.study.question import Question
    from fmnist.study.selection import select, that_have

    if arguments.overrides and not arguments.study:
        raise UserError(f"'{shown(arguments.overrides[0])}' is about a study and needs --study NAME")
    selection = select(Question(arguments.store, study=arguments.study, overrides=arguments.overrides))
    if not selection.recorded:
        raise UserError(f"there are no runs in {arguments.store} yet; start some with '{command_for('sweep')}'")
    runs = selection.runs
    for asked in arguments.where:
        runs = that_have(runs, asked)
    if runs.empty:
        more = f"; {selection.elsewhere}" if selection.elsewhere else ""
        raise UserError(f"of {plural(selection.recorded, 'recorded run')} none matches{more}")
    return runs


def _export(arguments: argparse.Namespace) -> None:
    from fmnist import tracking
    from fmnist.schema import Status
    from fmnist.tracking import portable, transfer
    from fmnist.work.progress import counted

    runs = _chosen(arguments)
    ended = runs[runs["status"].isin([Status.FINISHED, Status.FAILED])].sort_values(["start_time", "run_id"])
    store = tracking.Store(arguments.store)
    taken = (
        transfer.take(store, run_id, **{name: getattr(arguments, name) for name in WHOLE})
        for run_id in counted("export", ended["run_id"], len(ended))
    )
    written = portable.write(arguments.file, (run for run in taken if run is not None))
    left = f"; {plural(len(runs) - written, 'run')} not ended or not readable left out" if written < len(runs) else ""
    size = arguments.file.stat().st_size
    print(f"{arguments.file}: {plural(written, 'run')}, {size / 1000:,.0f} kB{left}")


def _import(arguments: argparse.Namespace) -> None:
    from fmnist.schema import COLUMNS
    from fmnist.tracking.portable import RunFile

    file = RunFile(arguments.file)
    # All of it is checked before anything is written.
    studies = {str(COLUMNS["study"].read(run.facts.tags)) for run in file} - {""}
    from fmnist import tracking
    from fmnist.study import study_page
    from fmnist.tracking import transfer
    from fmnist.training.locking import BusyError
    from fmnist.work.progress import counted
    from fmnist.work.redrawing import drawn

    began, store = time.monotonic(), tracking.Store(arguments.store)
    try:
        with store.holding("import", wait=store.leases is not None) as held:
            lacking = transfer.lacking(held, counted("import", file, len(file)))
            new = sum(transfer.put(held, *each) for each in drawn(lacking))
            pages = study_page.refresh_all(held, arguments.store, studies)
    except BusyError as error:
        raise UserError(f"another import into {arguments.store} goes on; wait for its end") from error
    there = f"; {plural(len(file) - new, 'run')} had been there" if new < len(file) else ""
    print(f"{plural(new, 'run')} imported{f', {SAMPLES_LEFT}' if new else ''}{there}")
    if pages:
        took = duration(time.monotonic() - began)
        print(f"page of study {', '.join(pages)}: says what the store now shows; {took} in all")


def _list(arguments: argparse.Namespace) -> None:
    runs = _chosen(arguments)
    from fmnist.study.records import listed

    print(listed(runs))


def _show(arguments: argparse.Namespace) -> None:
    from fmnist.study.records import Records

    records = Records(arguments.store)
    print(records.shown(records.find(arguments.run)))


def _diff(arguments: argparse.Namespace) -> None:
    from fmnist.study.records import Records

    records = Records(arguments.store)
    print(records.compared(records.find(arguments.run), records.find(arguments.other)))


def _remove(arguments: argparse.Namespace) -> None:
    from fmnist.study.records import Records
    from fmnist.work import disposal

    records = Records(arguments.store)
    runs = list(dict.fromkeys(records.find(letters) for letters in arguments.runs))
    disposal.check_free(records.store, runs)
    files = disposal.files_of(records.store, runs)
    for run in runs:
        print(f"{run.run_id[:8]}  {harmless(run.name, 250)}")
    is_server = records.store.deleted() is not None
    size = f"{sum(file.bytes for file in files) / 1e6:,.1f} MB{' here, and what the server has of them' * is_server}"
    if not _agreed(f"remove {plural(len(runs), 'run')} with artifacts, models and checkpoints, {size}?", arguments.yes):
        return
    freed, kept = disposal.remove(records.store, runs)
    print(f"{plural(len(runs), 'run')} removed, {freed / 1e6:,.1f} MB freed{' here' * is_server}")
    if kept:
        print(f"on the server, which does not let them be removed from here, stay the files of {plural(kept, 'run')}")
    _tell_deleted(records.store)


def _tidy(arguments: argparse.Namespace) -> None:
    from fmnist.study.records import Records
    from fmnist.work import disposal

    store = Records(arguments.store).store
    files = disposal.leftovers(store)
    _tell_deleted(store)
    if not files:
        print("there is nothing to remove")
        return
    print(disposal.summary(files))
    if not arguments.dry_run and _agreed("remove them?", arguments.yes):
        print(f"{disposal.discard(store, files) / 1e6:,.1f} MB freed")


def _tell_deleted(store: "Store") -> None:
    """Of a server: who can remove for good what was deleted there."""
    if count := store.deleted():
        address = without_passwords(store.uri)
        gc = f"MLFLOW_TRACKING_URI={address} python -m mlflow gc --backend-store-uri ITS_DATABASE"
        print(f"the server keeps record of {plural(count, 'deleted run')}; who runs it removes that with: {gc}")


def _agreed(question: str, is_sure: bool) -> bool:
    """Whether the user wants it.

    Raises:
        UserError: there is nobody to ask.
    """
    if is_sure:
        return True
    if not sys.stdin.isatty():
        raise UserError(f"{question} Nobody is here to be asked: add --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _zip(text: str) -> Path:
    """A file that may be replaced."""
    path = Path(text)
    if path.suffix != ".zip" or path.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file that ends in .zip, but got '{shown(text)}'")
    return path


def _add_choice(parser: Parser) -> None:
    parser.add_argument("--study", metavar="NAME", default="", help="only the runs of a study in conf/study/")
    only = "only runs with this option; may be repeated"
    parser.add_argument("--where", metavar="KEY=VALUE", type=condition, action="append", default=[], help=only)
    parser.add_argument("overrides", nargs="*", help="options that the study was run with: data.limit=3000")


def _add_export(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", type=_zip, help="to be written: runs.zip")
    for name, text in WHOLE.items():
        parser.add_argument(f"--{name}", action="store_true", help=f"with {text}")
    _add_choice(parser)


def _add_import(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="that export has written")


def _add_run(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="its id, or the first letters of it")


def _add_runs(parser: Parser) -> None:
    _add_run(parser)
    parser.add_argument("other", metavar="RUN", help="the other's")


def _add_certainty(parser: Parser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _add_remove(parser: Parser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="its id, or the first letters of it")
    _add_certainty(parser)


def _add_tidy(parser: Parser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    _add_certainty(parser)


ACTIONS = {
    "export": Action("Put runs that finished or failed into one file.", _export, _add_export),
    "import": Action("Add the runs of a file to a store, which keeps what it has.", _import, _add_import),
    "list": Action("A table of runs, the latest first.", _list, _add_choice),
    "show": Action("What a run is, and how to repeat it.", _show, _add_run),
    "diff": Action("What differs between two runs.", _diff, _add_runs),
    "remove": Action("Delete runs, with artifacts, models and checkpoints.", _remove, _add_remove),
    "tidy": Action(
        "Remove files of deleted runs, and checkpoints that no run continues; on a server, say what its owner can.",
        _tidy,
        _add_tidy,
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; see `fmnist.cli.entry` for the exit codes."""
    description = "List and show recorded runs, and carry them to another store."
    again = "the same command goes on where an import stopped"
    given = sys.argv[1:] if argv is None else argv
    return enter("fmnist.runs", lambda: act("fmnist.runs", description, EXAMPLES, ACTIONS, given), again)


if __name__ == "__main__":
    raise SystemExit(main())
