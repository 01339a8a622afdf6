"""Single runs of a store: a table of them, what one is and how to repeat it, and in what two differ."""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from fmnist.advice import command_for
from fmnist.checks import check
from fmnist.config import PLACES, Config, UserError, from_flat
from fmnist.identity import command
from fmnist.provenance import OPTIONS
from fmnist.report.formats import table
from fmnist.schema import COLUMNS, TEST_ACCURACY, VAL_ACCURACY, Status
from fmnist.study.compose import compose_config
from fmnist.tracking import Store, StoredRun, experiment_id
from fmnist.tracking.stored import options_of
from fmnist.tracking.transfer import ORIGIN, texts
from fmnist.training.data import Dataset, load
from fmnist.words import DASH, duration, harmless, percent, plural, shown, some

_CODE = {"recipe": COLUMNS["recipe"].tag, "data": COLUMNS["data_digest"].tag}
_OF_A_VARIANT = {"variant": COLUMNS["variant"].tag, "study": COLUMNS["study"].tag, "search": COLUMNS["search"].tag}


def names_data(override: str) -> bool:
    """Whether an override says where the data are."""
    return override.partition("=")[0] in [f"data.{place}" for place in PLACES]


def listed(runs: pd.DataFrame) -> str:
    """A row a run, the latest first."""
    latest = runs.sort_values(["start_time", "run_id"], ascending=False)
    columns = {
        "run": latest["run_id"].str[:8],
        "variant": latest["variant"],
        "epochs": latest["epochs"],
        "seed": latest["seed"],
        "validation": latest[VAL_ACCURACY.key].map(percent),
        "test": latest[TEST_ACCURACY.key].map(percent),
        "training": latest["train_seconds"].map(duration),
        "began": latest["start_time"].map(_date),
        "status": latest["status"],
    }
    return table(pd.DataFrame(columns), "table")


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment / 1000)) if moment else DASH


class Records:
    """The runs of a store by the first letters of their ids."""

    def __init__(self, folder: str, also_changed: bool = False) -> None:
        """Open a store, with or without the records that are not as they were written.

        Raises:
            UserError: nothing is recorded there, or it cannot be read.
        """
        if experiment_id(folder) is None:
            raise UserError(f"there are no runs in {folder} yet; start some with '{command_for('sweep')}'")
        self.store = Store(folder)
        self.runs = self.store.all_runs(also_changed)

    def find(self, letters: str) -> StoredRun:
        """The run of that id, here or where it was made, or the only one whose id begins so.

        Raises:
            UserError: there is none, or several.
        """
        ids = {run.run_id: (run.run_id, run.tags.get(ORIGIN.tag, "")) for run in self.runs}
        found = [run for run in self.runs if any(each.startswith(letters) for each in ids[run.run_id])]
        exact = [run for run in found if letters in ids[run.run_id]]
        if len(exact or found) != 1 or not letters:
            begin = some([run.run_id for run in found], ", ")
            several = f"the beginning of {plural(len(found), 'run')}: {begin}; write more letters"
            none = f"of {plural(len(self.runs), 'recorded run')} none begins so; python -m fmnist.runs list shows them"
            raise UserError(f"run '{shown(letters)}': {several if found else none}")
        return (exact or found)[0]

    def config(self, run: StoredRun, overrides: Sequence[str] = ()) -> Config:
        """The config that a run was made with.

        Args:
            run: of the store.
            overrides: that name its data, `data.dir=FOLDER`; none: those that it has seen, or the usual ones.

        Raises:
            UserError: it was killed before its options were recorded, or they are not possible.
        """
        config = options_of(run)
        if config is None:
            raise UserError(f"run {run.run_id[:8]} was killed before its options were recorded")
        named = compose_config(overrides).data if overrides else None
        places = {key: getattr(named, key) for key in PLACES} if named else self._places(run)
        return check(from_flat(config, {f"data.{key}": value for key, value in places.items()}))

    def _places(self, run: StoredRun) -> dict[str, Any]:
        """Where the data of a run were, if they still are."""
        with suppress(yaml.YAMLError, TypeError, KeyError, AttributeError, OSError):
            data = yaml.safe_load(self.store.client.text(run.run_id, OPTIONS))["data"]
            places = {key: data.get(key) for key in PLACES}
            if all(Path(places[key]).exists() for key in PLACES[1:] if places[key]):
                return places
        return {}

    def shown(self, run: StoredRun) -> str:
        """What a run is and how to repeat it."""
        files = texts(self.store, run.run_id)
        lasted = f", {duration((run.ended - run.start_time) / 1000)}" if run.ended else ""
        lines = {
            "run": run.run_id,
            "made as": run.tags.get(ORIGIN.tag, ""),
            "status": f"{run.status}, began {_date(run.start_time)}{lasted}",
            "error": self._last_line(run),
            **_tagged(run, _OF_A_VARIANT),
            "repeat": _repeat(run),
            "commit": run.commit,
            **_tagged(run, _CODE),
            "changes": "not committed: provenance/uncommitted.diff" if "provenance/uncommitted.diff" in files else "",
            **_machine(run),
            **_results(run),
            "files": ", ".join(sorted(files)),
        }
        width = max(map(len, lines))
        told = [f"  {key:<{width}}  {harmless(text, 2000)}" for key, text in lines.items() if text]
        return "\n".join([harmless(run.name, 250), *told])

    def _last_line(self, run: StoredRun) -> str:
        lines = self.store.error(run.run_id).strip().splitlines() if run.status == Status.FAILED else []
        return lines[-1] if lines else ""

    def compared(self, first: StoredRun, second: StoredRun) -> str:
        """In what two runs differ: options, code, machine, packages, results."""
        ours, theirs = self._facts(first), self._facts(second)
        rows = [(key, ours.get(key, DASH), theirs.get(key, DASH)) for key in ours | theirs]
        differing = pd.DataFrame([row for row in rows if row[1] != row[2]])
        if differing.empty:
            return "they differ in nothing that is recorded"
        return table(differing.set_axis(["what", first.run_id[:8], f"{second.run_id[:8]} "], axis=1), "table")

    def _facts(self, run: StoredRun) -> dict[str, str]:
        packages = {}
        with suppress(ValueError, AttributeError):
            packages = json.loads(texts(self.store, run.run_id).get("provenance/packages.json", "{}")).items()
        return {
            **run.params,
            "commit": run.commit,
            **_tagged(run, _CODE),
            **_machine(run),
            **{f"package {name}": str(version) for name, version in dict(packages).items()},
            "status": run.status,
            **_results(run),
        }


def _tagged(run: StoredRun, tags: dict[str, str]) -> dict[str, str]:
    return {key: run.tags[tag] for key, tag in tags.items() if run.tags.get(tag)}


def _machine(run: StoredRun) -> dict[str, str]:
    return {key: value for key, value in sorted(run.tags.items()) if key.startswith("machine.")}


def _results(run: StoredRun) -> dict[str, str]:
    """The last value of every metric but the scores of single classes."""
    return {
        key: percent(value) if key.endswith("/accuracy") else f"{value:,.0f}" if value >= 1000 else f"{value:.5g}"
        for key, value in sorted(run.metrics.items())
        if key.count("/") == 1
    }


def _repeat(run: StoredRun) -> str:
    """The command line that gives the run again, of the code and on the data named below it."""
    config = options_of(run)
    return command(config) if config else ""


def data_of(run: StoredRun, config: Config) -> Dataset:
    """The data that a run has seen, where its config says.

    Raises:
        UserError: they cannot be read, or are others.
    """
    dataset, seen = load(config.data), COLUMNS["data_digest"].read(run.tags)
    if dataset.digest != seen:
        here = f"those in {dataset.source} ({dataset.digest})"
        raise UserError(f"run {run.run_id[:8]} saw other data (digest {seen}) than {here}; name them: data.dir=FOLDER")
    return dataset
