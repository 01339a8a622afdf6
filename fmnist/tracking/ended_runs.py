"""The ended runs of a server, kept in the store's folder: reading them anew takes a server 4 ms each.

Nothing kept is believed before the server has counted. How many runs are not deleted, by the first letter of their ids;
how many stand as finished, failed, killed, running; how many bear each tag that a frame reads, and by its value: who
deletes, restores or imports a run, takes one up again, or edits a tag, changes one of some seventy counts, and all are
read anew. A count costs the server as much as four runs. Parameters and metrics of what has ended do not change.

Who sees a thousand more of them than before leaves all among the experiment's artifacts, so that a folder that has read
none begins with what others have. The server's counts are what it is held against too.
"""

import gzip
import hashlib
import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from fmnist.schema import COLUMNS, Status
from fmnist.tracking.client import PAGE, Client
from fmnist.tracking.stored import RUNNING, StoredRun

Runs = dict[str, StoredRun]  # by id
REQUESTS = 4  # at once: as many processes as a server of MLflow has, unless told otherwise
FEW = 20  # values of a tag, each of which is counted; of more, their last letters are
GIVEN = ("trajectory_signature", "variant_signature")  # by parameters, which nobody can change, as the run's is
FORMAT = 1  # of the file
SHARED, SHARED_EVERY = f"ended-runs-{FORMAT}.json.gz", 1_000  # runs


def read_all(client: Client, experiment: str, folder: Path) -> list[StoredRun]:
    """All runs of a server's experiment that are not deleted, newest first."""
    address = hashlib.sha256(f"{FORMAT} {client.uri} {experiment}".encode()).hexdigest()[:16]
    file = folder / f".server-{address}.db"
    own = _kept(file)
    kept = own or _shared(client, experiment)
    with ThreadPoolExecutor(REQUESTS) as pool:
        runs = _brought_up_to_date(client, experiment, kept, pool) if kept else None
        if runs is None:
            kept, runs = {}, _by_id(_all(client, experiment, pool))
    ended = {run_id: run for run_id, run in runs.items() if run.status != Status.RUNNING}
    _keep(file, own, ended)
    if len(ended) // SHARED_EVERY > len(kept) // SHARED_EVERY:
        _share(client, experiment, ended)
    return sorted(sorted(runs.values(), key=lambda run: run.run_id), key=lambda run: run.start_time, reverse=True)


def _brought_up_to_date(client: Client, experiment: str, kept: Runs, pool: ThreadPoolExecutor) -> Runs | None:
    """What is kept, with what goes on and what has ended since; None if the server counts otherwise."""
    for _ in range(2):  # a run may begin or end while they are counted
        newest = max(run.ended for run in kept.values())
        filters = RUNNING, f"attributes.end_time > {newest}"
        runs = kept | _by_id(run for each in filters for run in client.all_runs(experiment, each))
        counts = _counts(runs.values()).items()
        if all(pool.map(lambda count: client.counts(experiment, *count), counts)):
            return runs
    return None


def _all(client: Client, experiment: str, pool: ThreadPoolExecutor) -> Iterator[StoredRun]:
    first = 0
    while True:
        offsets = range(first, first + REQUESTS * PAGE, PAGE)
        pages = list(pool.map(lambda offset: client.page(experiment, offset), offsets))
        for page in pages:
            yield from page
        if len(pages[-1]) < PAGE:
            return
        first += REQUESTS * PAGE


def _by_id(runs: Iterable[StoredRun]) -> Runs:
    return {run.run_id: run for run in runs}


def _counts(runs: Iterable[StoredRun]) -> dict[str, int]:
    """How many runs meet each of MLflow's filters, if these are all."""
    every = list(runs)
    ids, statuses = Counter(run.run_id[:1] for run in every), Counter(run.status for run in every)
    counts = {f"attributes.run_id LIKE '{digit}%'": ids[digit] for digit in "0123456789abcdef"}
    counts |= {f"attributes.status = '{status}'": statuses[status] for status in Status}
    for column in COLUMNS.values():
        values = Counter(run.tags[column.tag] for run in every if column.tag in run.tags)
        if column.name in GIVEN:
            by = {}
        elif len(values) <= FEW:
            by = {f"tags.`{column.tag}` = '{value}'": n for value, n in values.items() if "'" not in value}
        else:
            last = Counter(letter for value in values.elements() if (letter := value[-1:]).isalnum())
            by = {f"tags.`{column.tag}` LIKE '%{letter}'": n for letter, n in last.items()}
        if sum(by.values()) < len(every):  # else no other run is left to bear the tag
            by[f"tags.`{column.tag}` LIKE '%'"] = values.total()
        counts |= by
    return counts


# ---- The file -------------------------------------------------------------------------------------------------


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file)) as database, database:
        yield database


def _kept(file: Path) -> Runs:
    """What the file holds; a damaged one is thrown away."""
    if not file.exists():
        return {}
    try:
        with _opened(file) as database:
            return _by_id(StoredRun(*json.loads(record)) for (record,) in database.execute("SELECT record FROM runs"))
    except (sqlite3.Error, OSError, ValueError, TypeError):
        with suppress(OSError):
            file.unlink()
        return {}


def _keep(file: Path, before: Mapping[str, StoredRun], runs: Mapping[str, StoredRun]) -> None:
    """Write what has changed; where nothing can be written nothing is kept."""
    fresh = [(run.run_id, json.dumps(_record(run))) for run in runs.values() if before.get(run.run_id) is not run]
    gone = [(run_id,) for run_id in before.keys() - runs.keys()]
    if fresh or gone:
        with suppress(sqlite3.Error, OSError), _opened(file) as database:
            database.execute("CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, record TEXT)")
            database.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?)", fresh)
            database.executemany("DELETE FROM runs WHERE id = ?", gone)


def _record(run: StoredRun) -> list[Any]:
    return [*vars(run).values()]


# ---- Among the experiment's artifacts ---------------------------------------------------------------------------


def _shared(client: Client, experiment: str) -> Runs:
    """What others have left there; nothing where it is damaged, or nobody has."""
    with suppress(OSError, EOFError, ValueError, TypeError, zlib.error):
        records = json.loads(gzip.decompress(client.artifact(experiment, SHARED)))
        return _by_id(StoredRun(*record) for record in records)
    return {}


def _share(client: Client, experiment: str, runs: Runs) -> None:
    records = json.dumps([_record(run) for run in runs.values()]).encode()
    client.put_artifact(experiment, SHARED, gzip.compress(records, compresslevel=3))
