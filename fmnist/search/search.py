"""A search from its first trial to its last: whatever is stopped, its folder says what is left."""

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from rich.console import Console

from fmnist import machine, words
from fmnist.config import Config, UserError, flatten
from fmnist.identity import parameters
from fmnist.schema import Status
from fmnist.search import summary, trials
from fmnist.search.limits import Limits
from fmnist.search.progress import SearchProgress
from fmnist.search.space import OBJECTIVES, Dimension, SearchConfig, base_of, check_search, dimensions
from fmnist.signals import GRACE_SECONDS
from fmnist.study import pace
from fmnist.study.plan import STARTUP_SECONDS, operations
from fmnist.training import data
from fmnist.work.display import showing
from fmnist.work.launcher import LaunchingSweeper, in_spite_of_deaths
from fmnist.work.sweep import CLOSING_SECONDS, close_orphans

if TYPE_CHECKING:
    from fmnist.tracking import SearchRecord, Store

DEFINITION, PARENTS = "definition.json", "parents.json"
# What every definition says, as the first ones did; of other options only those that are not at their defaults.
# An option that is added later changes neither the name of a search that does not use it, nor whether it continues.
ALWAYS = (
    *(f"tuner.{key}" for key in ("kind", "objective", "max_epochs", "executions_per_trial", "seed", "initial_points")),
    *("tuner.factor", "batch_size", "seed", "compute.precision", "compute.threads"),
    *(f"data.{key}" for key in ("scale", "limit", "validation", "augment_validation")),
    *(f"model.{key}" for key in ("filters", "kernel_size", "pooling", "dense_units", "dropout", "batch_norm")),
    *(f"augment.{key}" for key in ("rotation", "width_shift", "height_shift", "shear", "zoom", "horizontal_flip")),
    *("optimizer.name", "optimizer.learning_rate"),
)
GROWS = ("max_trials", "minutes", "epochs_budget", "iterations", "workers", "confirm_seeds", "name")  # may change
RESERVED = 0.5  # of tuner.minutes, which the last comparison gets at most


@dataclass
class Search:
    """A search that this process carries out with its workers; others may be at it too."""

    config: SearchConfig
    launcher: LaunchingSweeper
    console: Console
    began: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        """Check all there is to check; nothing starts.

        Raises:
            UserError: the search is impossible, or its name belongs to another.
        """
        check_search(self.config)
        self.space = dimensions(self.config.tuner.space)
        base = machine.resolve(base_of(self.config))
        self.config = replace(self.config, compute=base.compute)
        self.base: Config = base_of(self.config)
        dataset = data.load(base.data)
        self.data_digest, self.images = dataset.digest, len(dataset.train_labels)
        self.definition = definition(self.config, self.space, self.data_digest)
        self.name = self.config.tuner.name or f"{self.config.tuner.kind}-{digest(self.definition)}"
        self.folder = (Path(self.config.store) / "tuner" / self.name).resolve()
        check_agreement(self.folder, self.definition)
        self.reached = ""

    @property
    def direction(self) -> str:
        """`max` or `min`."""
        return OBJECTIVES[self.config.tuner.objective]

    def carry_out(self) -> "SearchRecord":
        """Run trials until there is none left or a limit is reached; returns the record, which is still open.

        Raises:
            UserError: the store cannot be opened.
            RunError: trials fail one after the other, or workers die; what is done is kept.
        """
        from fmnist.tracking import SearchRecord, Store, StoreError

        store = Store(self.config.store, self.config.patience)
        self.folder.mkdir(parents=True, exist_ok=True)
        trials.write(self.folder / DEFINITION, self.definition)
        _wait_for_orphans(self.folder)
        close_orphans(store, self.config.store)
        record = SearchRecord(store, self.name, self.definition)
        try:
            self._until_done(store, record)
        except BaseException:
            with suppress(StoreError):  # the reason tells more
                close_orphans(store, self.config.store, CLOSING_SECONDS)
                record.end(Status.KILLED)
            raise
        return record

    def _until_done(self, store: "Store", record: "SearchRecord") -> None:
        limits = self.limits()
        progress = SearchProgress(store, limits, self.folder, self.direction, self.data_digest, self.began)
        self._announce(limits)

        def log() -> None:
            summary.log(record, progress.records, self.direction)

        def recover() -> None:
            close_orphans(store, self.config.store, CLOSING_SECONDS)
            _wait_for_workers(self.folder, CLOSING_SECONDS)

        worker = partial(_search, limits, self.folder, record.run_id)
        with _Parent(self.folder), showing(progress, self.console, log):
            reached = in_spite_of_deaths(
                lambda: self.launcher.launch([worker] * self.config.tuner.workers, record.run_id),
                recover,
                count=lambda: len(trials.ended(trials.load_trials(self.folder))),
                what="ending a trial",
                remedy="tuner.workers=1",
                tell=partial(self.console.print, soft_wrap=True),
            )
        log()
        self.reached = next((limit for limit in reached if limit), "")

    def _announce(self, limits: Limits) -> None:
        """Say what is going to be done, and what is already."""
        tuner, total, over = self.config.tuner, limits.total(), trials.ended(trials.load_trials(self.folder))
        size = f"{total[0] or 'some'} trials, {total[1]} epochs" if total else f"{tuner.minutes:g} minutes"
        before = f"; {len(over)} trials have ended before" if over else ""
        workers = words.plural(tuner.workers, "worker")
        self.console.print(
            f"Search {self.name}: {size} in {len(self.space)} dimensions, {workers}{before}", soft_wrap=True
        )

    def deadline(self) -> float | None:
        """When the minutes are over, less those that trials took before this process began."""
        tuner = self.config.tuner
        if tuner.minutes is None:
            return None
        ended = trials.ended(trials.load_trials(self.folder))
        before = [trial.seconds for trial in ended if trial.ended < 1000 * self.began]
        return self.began + 60 * tuner.minutes - sum(before) / tuner.workers

    def limits(self) -> Limits:
        """What may still be begun, from now on."""
        tuner, until = self.config.tuner, None
        speed, overhead = self._pace()
        if (end := self.deadline()) is not None:
            each = overhead + operations(self.base, self.images, 0) / speed
            last = STARTUP_SECONDS + 2 * tuner.confirm_seeds * each / tuner.workers if tuner.confirm_seeds else 0.0
            until = end - min(RESERVED * (end - self.began), last)
        return Limits(self.config, self.space, self.images, speed, overhead, until)

    def _pace(self) -> tuple[float, float]:
        """Operations a second, and seconds of a run beyond its epochs, by the store's runs if there are any alike."""
        from fmnist.tracking import load

        runs = load(self.config.store)
        return pace.Pace(runs, [self.base]).of(self.base), pace.overhead(runs, self.base)


def _search(limits: Limits, folder: Path, parent: str) -> str:
    """What a worker does."""
    from fmnist.search import tuner  # in a worker alone: it loads TensorFlow

    return tuner.search(limits, folder, parent)


def _options(config: SearchConfig) -> dict[str, Any]:
    """All options that determine which trials come one after the other, and what they come to."""
    kept = {key: value for key, value in asdict(config.tuner).items() if key not in (*GROWS, "space")}
    tuner, run = {f"tuner.{key}": value for key, value in kept.items()}, base_of(config)
    determining = {*ALWAYS, *tuner, *parameters(run)} - {"epochs"}  # which max_epochs decides
    options = {**tuner, **flatten(run), **parameters(run)}  # which have filters in one spelling
    return {key: value for key, value in options.items() if key in determining}


def definition(config: SearchConfig, space: list[Dimension], data_digest: str) -> dict[str, Any]:
    """What makes a search the one it is, by key: its options, its space, and its data."""
    options, defaults = _options(config), _options(SearchConfig())
    signed = {
        key: value for key, value in options.items() if key in ALWAYS or key not in defaults or value != defaults[key]
    }
    described = {f"tuner.space.{dimension.key}": str(dimension) for dimension in space}
    return {**signed, **described, "data": data_digest}


def digest(definition: dict[str, Any]) -> str:
    """By which a search is named that has no name."""
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:6]


def check_agreement(folder: Path, ours: dict[str, Any]) -> None:
    """Refuse to go on with a search that was begun with other options; one that is not named is at its default.

    Raises:
        UserError: it was.
    """
    file = folder / DEFINITION
    if not file.exists():
        return
    theirs, ours = json.loads(file.read_text()), json.loads(json.dumps(ours))
    defaults = json.loads(json.dumps({**flatten(SearchConfig()), **_options(SearchConfig())}))
    for key in {**theirs, **ours}:
        before, now = (options.get(key, defaults.get(key)) for options in (theirs, ours))
        if before != now:
            raise UserError(
                f"search '{folder.name}' was begun with {key}={before}, but now it is {now}; "
                "give this one another tuner.name"
            )


# ---- Workers of a process that was killed ---------------------------------------------------------------


class _Parent:
    """While it lasts, the folder names this process as one that has workers."""

    def __init__(self, folder: Path) -> None:
        self._file, self._lock = folder / PARENTS, FileLock(folder / f".{PARENTS}.lock")

    def __enter__(self) -> None:
        self._change(lambda names: [*names, machine.this_process()])

    def __exit__(self, *reason: object) -> None:
        self._change(lambda names: [name for name in names if name != machine.this_process()])

    def _change(self, change: Any) -> None:
        with self._lock:
            names = json.loads(self._file.read_text()) if self._file.exists() else []
            trials.write(self._file, change([name for name in names if not machine.is_gone(name)]))


def _wait_for_orphans(folder: Path) -> None:
    """Let the workers of a killed process end before others take their places: there is one at a trial then."""
    file = folder / PARENTS
    names = json.loads(file.read_text()) if file.exists() else []
    if names and all(map(machine.is_gone, names)):
        _wait_for_workers(folder, GRACE_SECONDS + 5.0)


def _wait_for_workers(folder: Path, seconds: float) -> None:
    """Until no process works on the search any more, but no longer than that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not all(
        trials.is_free(folder, lock.stem) for lock in folder.glob("worker-*.lock")
    ):
        time.sleep(0.2)
