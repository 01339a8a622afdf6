"""What many runs have logged in each epoch, read at once: one number of one run takes MLflow's client 3 ms."""

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from fmnist.tracking.client import AwayError, Client, StoreError, is_number_of_step
from fmnist.tracking.database import read_numbers
from fmnist.tracking.server_requests import MOST_NUMBERS, MOST_RUNS
from fmnist.tracking.stored import Number

AT_ONCE = 1000  # runs, lest the numbers of tens of thousands be in memory twice
_RUN, _KEY, _EPOCH, _VALUE = "run_id", "key", "epoch", "value"


def read_histories(client: Client, run_ids: Iterable[str], keys: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The epochs of runs, by run id: a row an epoch (1 to n) and a column of each key, NaN where a number is missing.

    Runs that have logged nothing of it, or are not there, are left out, and so is, and is named, what is no number.

    Raises:
        StoreError: the store refuses or does not answer.
    """
    ids = list(dict.fromkeys(run_ids))
    parts = (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))
    return {run_id: epochs for part in parts for run_id, epochs in _of_some(client, part, keys)}


def _of_some(client: Client, run_ids: Sequence[str], keys: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    logged = [number[:4] for number in numbers(client, run_ids, keys) if is_number_of_step(*number[:4])]
    table = pd.DataFrame(logged, columns=[_RUN, _KEY, _EPOCH, _VALUE])
    last = table.drop_duplicates([_RUN, _KEY, _EPOCH], keep="last").astype({_EPOCH: int, _VALUE: float})
    wide = last.set_index([_RUN, _EPOCH, _KEY])[_VALUE].unstack(_KEY).rename_axis(columns=None)
    wide = wide.reindex(columns=list(keys))
    of_run = {str(run_id): rows.droplevel(_RUN).sort_index() for run_id, rows in wide.groupby(level=_RUN)}
    return ((run_id, of_run[run_id]) for run_id in run_ids if run_id in of_run)


def numbers(client: Client, run_ids: Sequence[str], keys: Sequence[str]) -> Iterable[Number]:
    """All that runs have logged under these keys, of each in the order in which it was logged.

    Raises:
        StoreError: the store refuses or does not answer.
    """
    found = read_numbers(client.uri, run_ids, keys)
    if found is not None:
        return found
    chunks = [run_ids[start : start + MOST_RUNS] for start in range(0, len(run_ids), MOST_RUNS)]
    return (number for chunk in chunks for key in keys for number in _of_server(client, chunk, key))


def _of_server(client: Client, run_ids: Sequence[str], key: str) -> Iterable[Number]:
    """By one request for all, where the server has that and tells all that it knows; else by one for each."""
    if client.uri.startswith("http"):
        try:
            found = client.numbers(run_ids, key)
            if len(found) < MOST_NUMBERS:
                return found
        except AwayError:  # which asking in another way would wait for once more
            raise
        except StoreError:
            pass  # it has no such way
    logged = ((run_id, each) for run_id in run_ids for each in client.get_metric_history(run_id, key))
    return ((run_id, key, each.step, each.value, each.timestamp) for run_id, each in logged)
