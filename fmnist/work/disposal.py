"""Runs that are to go, and files that nobody needs any more; beside a sweep or a search nothing is taken from it."""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fmnist import machine
from fmnist.config import UserError
from fmnist.identity import RECIPE
from fmnist.schema import COLUMNS, Status
from fmnist.tracking import RUNNING, Store, StoredRun, shared_epochs
from fmnist.tracking.database import lifecycles
from fmnist.training import checkpoint
from fmnist.training.locking import BusyError, checkpoint_folder
from fmnist.words import plural

CHECKPOINTS, SHARED, DELETED, ORPHANED = "checkpoint", "shared", "deleted", "orphaned"
_KINDS = {  # how so many of a kind are told
    CHECKPOINTS: ("checkpoint", "that no run continues"),
    SHARED: ("trajectory", "of which checkpoints lie on the server that no run continues"),
    DELETED: ("folder", "of deleted runs"),
    ORPHANED: ("folder", "without a run"),
}


@dataclass(frozen=True)
class Leftover:
    """What may go."""

    path: Path  # of the store's checkpoints the trajectory alone
    kind: str
    shared_bytes: int = 0  # in the store

    @property
    def bytes(self) -> int:
        """That it takes."""
        if self.kind == SHARED:
            return self.shared_bytes
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())


def in_use(store: Store, runs: Iterable[StoredRun]) -> set[str]:
    """The trajectories that a sweep or a search under way works on, or may continue.

    Raises:
        UserError: a sweep is about to say which.
    """
    used = set[str]()
    for sweep in store.sweeps.latest(RUNNING):
        plan = store.sweeps.plan(sweep)
        if plan is None:
            raise UserError("a sweep is just beginning; try again in a moment")
        process = str(plan.get("process")) if plan else ""
        if plan and (store.is_alive(sweep) if machine.is_elsewhere(process) else not machine.is_gone(process)):
            used |= {str(run.get("trajectory")) for run in plan.get("runs", [])}
    searches = set(_living_searches(store.folder))
    return used | {run.trajectory for run in runs if searches & set(run.tags.get(COLUMNS["search"].tag, "").split())}


def _living_searches(folder: Path) -> Iterator[str]:
    for file in folder.glob("tuner/*/*.lock"):
        try:
            with FileLock(file, blocking=False):
                pass
        except Timeout:
            yield file.parent.name


# ---- Runs -------------------------------------------------------------------------------------------------


def check_free(store: Store, chosen: list[StoredRun]) -> None:
    """Refuse runs that somebody works on.

    Raises:
        UserError: a sweep or a search needs one of them.
    """
    used = in_use(store, store.all_runs(also_changed=True))
    for run in chosen:
        if run.trajectory in used or (run.status == Status.RUNNING and _is_busy(store, run)):
            raise UserError(
                f"run {run.run_id[:8]} ({run.name}) is used by a sweep or a search that goes on; wait for its end"
            )


def _is_busy(store: Store, run: StoredRun) -> bool:
    try:
        with store.holding(run.trajectory, wait=False):
            return False
    except BusyError:
        return True


def files_of(store: Store, runs: list[StoredRun]) -> list[Leftover]:
    """What hangs on runs: their artifacts and models as far as they lie in the store's folder, and their checkpoints.

    A trajectory whose last run goes, goes whole; else each run's own checkpoint does.
    """
    ids, artifacts = {run.run_id for run in runs}, store.folder / "artifacts"
    left = {run.trajectory for run in store.all_runs(also_changed=True) if run.run_id not in ids}
    models = [model for run in runs for model in store.models(run.run_id)]
    paths = [artifacts / run_id for run_id in ids] + [artifacts / "models" / model for model in models]
    for run in runs:
        folder = checkpoint_folder(str(store.folder), run.trajectory)
        own = [path for epoch, path in checkpoint.newest(folder, 10**9) if str(epoch) == run.params.get("epochs")]
        paths += own if run.trajectory in left else [folder]
    gone = {run.trajectory for run in runs} - left
    files = [Leftover(path, "") for path in dict.fromkeys(paths) if path.exists()]
    return files + _shared(store, [path for path in _shared_paths(store) if path in gone])


def _shared_paths(store: Store) -> list[str]:
    """The trajectories of which there are checkpoints in the store."""
    return [path for path, epochs in shared_epochs(store.folder).items() if epochs]


def _shared(store: Store, trajectories: list[str]) -> list[Leftover]:
    return [Leftover(Path(path), SHARED, store.checkpoint_bytes(path)) for path in trajectories]


def remove(store: Store, runs: list[StoredRun]) -> tuple[int, int]:
    """Delete runs with what hangs on them; returns the bytes freed here, and of how many runs a server keeps files.

    Raises:
        UserError: a sweep or a search needs one of them by now.
    """
    check_free(store, runs)
    files = files_of(store, runs)
    kept = sum(not store.delete(run.run_id) for run in runs)
    return sum(_discard(store, file) for file in files), kept


# ---- Files ------------------------------------------------------------------------------------------------


def leftovers(store: Store) -> list[Leftover]:
    """Checkpoints of trajectories that no run has left, or of an earlier recipe, and files of runs that are gone."""
    places = sorted(path for path in (store.folder / "checkpoints").glob("*") if path.is_dir())
    folders = sorted((store.folder / "artifacts").glob("*")) + sorted(
        (store.folder / "artifacts" / "models").glob("m-*")
    )
    shared = _shared_paths(store)
    runs = store.all_runs(also_changed=True)  # asked after the folders: a run is recorded before it has any
    living = {run.trajectory for run in runs if COLUMNS["recipe"].read(run.tags) == RECIPE} | in_use(store, runs)
    stages, found = lifecycles(store.uri), [Leftover(path, CHECKPOINTS) for path in places if path.name not in living]
    found += _shared(store, [path for path in shared if path not in living])
    if stages is None:  # of a server, which knows of runs elsewhere
        return found
    for path in folders:
        stage = stages.get(path.name, "")
        if re.fullmatch(r"[0-9a-f]{32}|m-[0-9a-f]{32}", path.name) and stage != "active":
            found.append(Leftover(path, DELETED if stage else ORPHANED))
    return found


def discard(store: Store, files: list[Leftover]) -> int:
    """Remove leftovers that still are some, and return the bytes that this has freed."""
    still = {leftover.path for leftover in leftovers(store)}
    freed = 0
    for leftover in files:
        if leftover.path not in still:
            continue
        with suppress(BusyError), store.holding(leftover.path.name, False) if _is_path(leftover) else nullcontext():
            if not (_is_path(leftover) and leftover.path.name in {run.trajectory for run in store.running()}):
                freed += _discard(store, leftover)
    return freed


def _is_path(leftover: Leftover) -> bool:
    return leftover.kind in (CHECKPOINTS, SHARED)


def _discard(store: Store, leftover: Leftover) -> int:
    size = leftover.bytes
    if leftover.kind == SHARED:
        store.discard_checkpoints(leftover.path.name)
    elif leftover.path.is_dir():
        shutil.rmtree(leftover.path, ignore_errors=True)
    else:
        leftover.path.unlink(missing_ok=True)
    return size


def summary(files: list[Leftover]) -> str:
    """How many of each kind, and how much they take: `3 checkpoints ...: 12.3 MB`."""
    counts = Counter(each.kind for each in files)
    told = [f"{plural(counts[kind], noun)} {rest}" for kind, (noun, rest) in _KINDS.items() if counts[kind]]
    return f"{', '.join(told)}: {sum(each.bytes for each in files) / 1e6:,.1f} MB"
