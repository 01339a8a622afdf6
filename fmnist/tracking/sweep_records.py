"""Records of sweeps, for those who watch and for workers elsewhere; they stand beside the experiment of runs."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from fmnist.schema import Column
from fmnist.tracking.client import Client

PLAN = "plan.json"
_TIME_IS_OVER = Column("time_is_over").tag


class SweepRecords:
    """Those of a store."""

    def __init__(self, client: Client, experiment: str) -> None:
        """In an experiment of its own, by its id."""
        self._client, self._experiment = client, experiment

    def announce(self, name: str, plan: dict[str, Any]) -> str:
        """Open the record of a sweep; returns its id."""
        run_id = self._client.new_run(self._experiment, name)
        self._client.log_dict(run_id, plan, PLAN)
        return run_id

    def latest(self, condition: str = "") -> Iterator[str]:
        """The id of every sweep that meets MLflow's filter, the latest first."""
        return (sweep.run_id for sweep in self._client.all_runs(self._experiment, condition))

    def plan(self, sweep: str) -> dict[str, Any] | None:
        """What a sweep was announced with; None if it was killed before it had, {} if that is damaged."""
        text = self._client.text(sweep, PLAN)
        with suppress(ValueError, TypeError):
            return dict(json.loads(text)) if text else None
        return {}

    def note_that_time_is_over(self, sweep: str) -> None:
        """Have workers everywhere begin no more runs of a sweep, whatever their clocks say."""
        self._client.set_tag(sweep, _TIME_IS_OVER, "true")

    def time_is_over(self, sweep: str) -> bool:
        """Whether no more runs of a sweep are to be begun."""
        return _TIME_IS_OVER in self._client.get_run(sweep).data.tags
