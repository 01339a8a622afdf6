"""The record of a search: the parent of its trials' runs, in an experiment of its own, so that it counts as no run."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from fmnist.tracking.book import SEARCH, Book
from fmnist.tracking.writer import RUNNING, as_text

SEARCHES = "fmnist searches"
_VALUE = 500  # letters of a parameter that every server takes


@dataclass(frozen=True)
class SearchSummary:
    """What the store knows of a search."""

    name: str
    run_id: str  # of its record
    status: str
    trials: int  # that have ended
    best_trial: str  # as the column `trial` of a frame has it
    verdict: str  # of the comparison on fresh seeds, in a sentence; empty if there is none yet
    scores: list[float]  # of the trials, in the order of their ends, without those that failed


def searches(book: Book, store: str) -> list[SearchSummary]:
    """All searches of a store, the latest first."""
    experiment = book.experiment_by_name(Path(store).resolve(), SEARCHES)
    found = []
    for run in book.client.search_runs([experiment]):
        tags, run_id = run.data.tags, run.info.run_id
        history = sorted(book.client.get_metric_history(run_id, "search/score"), key=lambda metric: metric.step)
        found.append(
            SearchSummary(
                name=tags[SEARCH],
                run_id=run_id,
                status=run.info.status,
                trials=int(tags.get("fmnist.search_trials", len(history))),
                best_trial=tags.get("fmnist.best_trial", ""),
                verdict=tags.get("fmnist.verdict", ""),
                scores=[metric.value for metric in history],
            )
        )
    return found


class SearchRecord:
    """What the store shows of a search."""

    def __init__(self, book: Book, store: str, name: str, options: dict[str, Any]) -> None:
        """Open the record of a search, or go on with it."""
        self._client, self.name = book.client, name
        experiment = book.experiment_by_name(Path(store).resolve(), SEARCHES)
        found = self._client.search_runs([experiment], f"tags.`{SEARCH}` = '{name}'", max_results=1)
        run = found[0] if found else self._client.create_run(experiment, run_name=name, tags={SEARCH: name})
        self.run_id = str(run.info.run_id)
        known = run.data.params  # a larger budget is another value, which a parameter cannot take: a tag says it
        self._client.log_batch(
            self.run_id,
            params=[Param(k, as_text(v)[:_VALUE]) for k, v in options.items() if k not in known],
        )
        self._client.update_run(self.run_id, status=RUNNING)
        self._logged = {
            (key, metric.step): metric.value
            for key in ("search/best", "search/score")
            for metric in self._client.get_metric_history(self.run_id, key)
        }

    def trials(self, rows: list[tuple[int, dict[str, float]]]) -> None:
        """Log numbers of the trials that have ended, each (ms, metric -> value), the first to end at step 1."""
        fresh = [
            Metric(key, value, moment, step)
            for step, (moment, values) in enumerate(rows, 1)
            for key, value in values.items()
            if self._logged.get((key, step)) != value
        ]
        self._logged |= {(metric.key, metric.step): metric.value for metric in fresh}
        for start in range(0, len(fresh), 1000):
            self._client.log_batch(self.run_id, metrics=fresh[start : start + 1000])

    def describe(self, text: str, numbers: dict[str, float], step: int, tags: dict[str, str]) -> None:
        """Replace what the record's page says (Markdown), and log numbers at a step."""
        now = int(time.time() * 1000)
        self._client.log_batch(
            self.run_id,
            metrics=[Metric(key, value, now, step) for key, value in numbers.items()],
            tags=[RunTag("mlflow.note.content", text), *(RunTag(key, value) for key, value in tags.items())],
        )

    def end(self, status: str) -> None:
        """Close the record with its true status."""
        self._client.set_terminated(self.run_id, status)
