"""Runs on their way between a store and a file."""

import logging
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from operator import itemgetter
from typing import Any

import yaml
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from pydantic import ValidationError

from fmnist.config import PLACES, Config
from fmnist.provenance import OPTIONS
from fmnist.schema import Column, Status
from fmnist.tracking.chart_view import COLOUR, SHOWN
from fmnist.tracking.client import Client
from fmnist.tracking.histories import numbers
from fmnist.tracking.learnt import check_learnt, latest_checkpoint, model_arrays, put_checkpoint, put_model
from fmnist.tracking.portable import SUFFIXES, DataSet, Facts, PortableRun, reason
from fmnist.tracking.run_writer import PREDICTIONS, EncodedPicture, RunWriter
from fmnist.tracking.store import Store
from fmnist.tracking.stored import StoredRun, condition, leave_out

ORIGIN = Column("exported_as")  # the id of a run where it was made: MLflow gives an imported one another
log = logging.getLogger(__name__)
# Tags that say nothing of the run, but where it stands and who has made it.
_OF_THE_STORE = (ORIGIN.tag, SHOWN, COLOUR, "mlflow.loggedImages", "mlflow.user", "mlflow.parentRunId")
HOME = os.environ.get("HOME", "").rstrip("/") or "~"  # which is nobody else's business


def take(
    store: Store, run_id: str, *, probabilities: bool = False, models: bool = False, checkpoints: bool = False
) -> PortableRun | None:
    """A run that has ended, out of a store; None where it cannot be written down, which is said.

    Args:
        store: that has it.
        run_id: its id there.
        probabilities: with those of every image.
        models: with its weights.
        checkpoints: with the state from which its path goes on.

    Raises:
        StoreError: the store refuses or does not answer.
    """
    run, client = store.client.get_run(run_id), store.client
    tags = {key: value for key, value in run.data.tags.items() if key not in _OF_THE_STORE}
    try:
        facts = Facts(
            id=run.data.tags.get(ORIGIN.tag, run_id),
            name=run.info.run_name or "",
            status=run.info.status,
            start=run.info.start_time,
            end=run.info.end_time,
            tags=tags,
            params=run.data.params,
            metrics=_metrics(client, run),
            data=_data(run),
        )
    except ValidationError as error:
        leave_out(run_id, run.info.run_name or "", reason(error))
        return None
    arrays = store.predictions(run_id) or {}
    kept = {name: array for name, array in arrays.items() if probabilities or "probabilities" not in name}
    stored = replace(facts.stored(), run_id=run_id)
    model = model_arrays(store, stored) if models else {}
    state, history = latest_checkpoint(store, stored) if checkpoints else ({}, [])
    try:
        check_learnt(stored, model, state, history)
    except ValueError as error:  # of an earlier recipe, say
        log.warning("run %s goes without model and checkpoint: %s", run_id[:8], error)
        model, state, history = {}, {}, []
    facts = facts.model_copy(update={"history": [dict(epoch) for epoch in history]})
    files = {path: _of_any_machine(path, text) for path, text in texts(store, run_id).items()}
    return PortableRun(facts, files, kept, dict(model), dict(state))


def _metrics(client: Client, run: Run) -> dict[str, list[tuple[int, int, float | None]]]:
    """All that a run has logged: step, moment in ms, and value as JSON has it, by their keys."""
    logged: dict[str, list[tuple[int, int, float | None]]] = {key: [] for key in run.data.metrics}
    for _, key, step, value, moment in numbers(client, [run.info.run_id], list(logged)):
        logged[key].append((step, moment, _number(value)))
    return {key: sorted(history, key=itemgetter(0, 1)) for key, history in logged.items() if history}


def _of_any_machine(path: str, text: str) -> str:
    """A text artifact without a home folder; a run's options say nothing of where its data and its store were."""
    if path == OPTIONS:
        defaults = Config()
        with suppress(yaml.YAMLError, TypeError, KeyError):
            options = yaml.safe_load(text)
            options["data"] |= {key: getattr(defaults.data, key) for key in PLACES}
            text = yaml.safe_dump(options | {"store": defaults.store}, sort_keys=False)
    return text.replace(f"{HOME}/", "~/")


def _number(value: Any) -> Any:
    """As JSON has it; infinity as MLflow's databases keep it, and what is none as it is, to be refused."""
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else max(-sys.float_info.max, min(value, sys.float_info.max))


def _data(run: Run) -> list[DataSet]:
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return [
        DataSet(
            name=each.dataset.name,
            digest=each.dataset.digest,
            source_type=each.dataset.source_type,
            source=each.dataset.source.replace(f"{HOME}/", "~/"),
            profile=each.dataset.profile or "",
            features=each.dataset.schema or "",
            tags={tag.key: tag.value for tag in each.tags},
        )
        for each in inputs
    ]


def texts(store: Store, run_id: str, folder: str | None = None) -> dict[str, str]:
    """The text artifacts of a run."""
    found: dict[str, str] = {}
    for file in store.client.list_artifacts(run_id, folder):
        if file.is_dir and file.path not in ("images", "model"):
            found |= texts(store, run_id, file.path)
        elif file.path.endswith(SUFFIXES) and re.fullmatch(r"[\w./ -]+", file.path):
            with tempfile.TemporaryDirectory() as place:
                found[file.path] = store.file(run_id, file.path, place).read_bytes().decode(errors="replace")
    return found


def lacking(store: Store, runs: Iterable[PortableRun]) -> Iterator[PortableRun]:
    """Those of the runs that a store does not have, or of which it may lack what they have learnt."""
    return (run for run in runs if run.model or run.checkpoint or not _found(store, run.facts)[1])


def put(store: Store, run: PortableRun, pictures: Mapping[str, EncodedPicture]) -> bool:
    """Write a run into a store; False where it has that by now.

    An import that was interrupted is gone on with: nothing that it has logged is there twice.

    Raises:
        StoreError: the store refuses or does not answer.
    """
    facts, client = run.facts, store.client
    begun, there = _found(store, facts)
    if there:
        _put_learnt(store, RunWriter(client, there.run_id), run)
        return False
    tags = facts.tags | {ORIGIN.tag: facts.id}
    run_id = begun or str(client.create_run(store.id, facts.start, tags, facts.name).info.run_id)
    client.log_batch(
        run_id,
        params=[Param(key, value) for key, value in facts.params.items()],
        tags=[RunTag(key, value) for key, value in facts.tags.items()] if begun else [],
    )
    metrics = [
        Metric(key, math.nan if value is None else value, moment, step)
        for key, points in facts.metrics.items()
        for step, moment, value in points
    ]
    client.log_metrics(run_id, metrics)
    client.log_inputs(run_id, _inputs(facts))
    writer = RunWriter(client, run_id)
    writer.texts(run.texts)
    if run.predictions:
        writer.arrays(PREDICTIONS, **run.predictions)
    writer.images(pictures)
    _put_learnt(store, writer, run)
    client.set_terminated(run_id, facts.status, facts.end)
    return True


def _put_learnt(store: Store, writer: RunWriter, run: PortableRun) -> None:
    put_model(writer, run.facts.stored(), run.model)
    put_checkpoint(store, run.facts.stored(), run.checkpoint, run.facts.history)


def _inputs(facts: Facts) -> list[DatasetInput]:
    return [
        DatasetInput(
            Dataset(each.name, each.digest, each.source_type, each.source, each.features or None, each.profile),
            [InputTag(key, value) for key, value in each.tags.items()],
        )
        for each in facts.data
    ]


def _found(store: Store, facts: Facts) -> tuple[str | None, StoredRun | None]:
    """The id of the record that an interrupted import has left of a run, if any, and the run if it is there.

    One that has finished is there if any of its signature has; one that has failed, if any has ended.
    """
    alike = list(store.runs(condition("signature", facts.stored().signature)))
    ended = {Status.FINISHED, Status(facts.status)}
    begun = (run.run_id for run in alike if run.tags.get(ORIGIN.tag) == facts.id)
    return next(begun, None), next((run for run in alike if run.status in ended), None)
