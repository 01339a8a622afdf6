"""Choosing the champion: what verdicts support, tried out before it is registered."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.analysis.champion import Choice, choice_of, choose
from fmnist.config import Config, UserError
from fmnist.report.card import card, reasons
from fmnist.report.formats import filled
from fmnist.schema import ALIASES, CANDIDATE, CHAMPION, COLUMNS, Status
from fmnist.study.findings import Findings
from fmnist.study.question import Question
from fmnist.study.records import Records, data_of, names_data
from fmnist.study.selection import Selection, select
from fmnist.tracking import Store, StoredRun
from fmnist.tracking.registry import NAME, Registry, load_model, model_of, probabilities
from fmnist.words import plural, shown, visible

# Of probabilities, as convolutions may be computed in another order than in training; the record rounds them too.
TOLERANCE, ROUNDED = {"float32": 1e-4, "bfloat16": 5e-2}, 2.5e-4


def promote(folder: str, study: str, overrides: Sequence[str], epochs: int | None, letters: str) -> str:
    """Register the run that verdicts support, or the one that is named, and say what it is and why.

    Args:
        folder: of the store.
        study: none: all runs.
        overrides: that the study was run with, and where the data are.
        epochs: the budget; none: the one that the leaderboard speaks of.
        letters: the first of the id of a run, to have that one; none: the best.

    Raises:
        UserError: there is no such run, or its predictions cannot be repeated.
    """
    places = list(filter(names_data, overrides))
    if not study and (own := [text for text in overrides if text not in places]):
        raise UserError(f"'{shown(own[0])}' is about a study and needs --study NAME")
    records = Records(folder)
    selection = select(Question(folder, study=study, overrides=overrides, epochs=epochs))
    choice = _choice_of(records.find(letters), selection) if letters else _best(selection)
    run = records.find(choice.run_id)
    config = records.config(run, places)
    model_id, place = _model(records.store, run)
    predictions = _repeated(records.store, run, config, place)
    because = list(reasons(choice, Findings(selection).settling()))
    labels, predicted = predictions["test_labels"], predictions["test_predicted"]
    registry = Registry(records.store)
    named = f"run {run.run_id[:8]} ({run.name})"
    before = registry.versions().get(CHAMPION)
    if before and before.run_id == run.run_id and not choice.is_settled:
        return filled(f"the champion stays what it is, {named}, though: {because[0]}")
    text = card(run, config, choice, because=" ".join(because), labels=labels, predicted=predicted)
    version = registry.register(run.run_id, place, model_id, text)
    (registry.crown if choice.is_settled else registry.nominate)(version)
    alias = CHAMPION if choice.is_settled else CANDIDATE
    return "\n".join(map(filled, (f"{NAME} version {version.number} is the {alias}: {named}", *because)))


def _best(selection: Selection) -> Choice:
    """The run to promote, as far as the records tell."""
    runs = selection.at_epochs(selection.runs)
    if selection.finished(runs).empty:
        more = f"; {selection.elsewhere}" if selection.elsewhere else ""
        raise UserError(f"of {plural(selection.recorded, 'recorded run')} none matches and has finished{more}")
    how = selection.baseline, selection.pair_columns, selection.rule
    choice = choose(runs, *how, selection.question.epochs)
    if choice is None:
        raise UserError("no variant can be ranked: seeds of each have failed, or a search chose it by this score")
    return choice


def _choice_of(run: StoredRun, selection: Selection) -> Choice:
    """What supports a run that is named."""
    name = f"run {run.run_id[:8]}"
    if run.status != Status.FINISHED:
        ended = "has failed" if run.status == Status.FAILED else f"has not finished ({run.status})"
        raise UserError(f"{name} {ended}; only a run that has finished can be promoted")
    if run.run_id not in set(selection.runs["run_id"]):
        raise UserError(f"{name} does not belong to study {selection.question.study}; leave out --study")
    seen, usual = run.tags.get(COLUMNS["data_digest"].tag), selection.finished(selection.runs)["data_digest"].mode()
    if seen not in set(usual):
        most = f"most runs here ({usual.iloc[0]})"
        raise UserError(
            f"{name} saw other data (digest {seen}) than {most}; keep the runs of each in a store of their own"
        )
    how = selection.baseline, selection.pair_columns, selection.rule
    choice = choice_of(run.run_id, selection.runs, *how)
    if choice is None:
        raise UserError(f"{name} cannot be ranked: seeds of its variant have failed, or a later run repeats it")
    return choice


def _model(store: Store, run: StoredRun) -> tuple[str, str]:
    """Id and place of a run's model."""
    found = model_of(store, run.run_id)
    if found is None:
        lacks = f"run {run.run_id[:8]} has no model in this store, as one that was exported without --models"
        raise UserError(f"{lacks}; {_remedy(run)}")
    return found


def _remedy(run: StoredRun) -> str:
    return f"python -m fmnist.reproduce {run.run_id[:8]} --keep trains it again and keeps it"


def _repeated(store: Store, run: StoredRun, config: Config, place: str) -> dict[str, NDArray[Any]]:
    """The predictions that a run has recorded, if its model makes them again.

    Raises:
        UserError: they are missing, the data are others, or the model makes others.
    """
    name, recorded = f"run {run.run_id[:8]}", store.predictions(run.run_id)
    if recorded is None:
        raise UserError(f"{name} has no readable predictions to hold its model against; {_remedy(run)}")
    dataset = data_of(run, config)
    try:
        made = probabilities(load_model(store.uri, place, config), dataset.test_images)
    except UserError as error:
        raise UserError(f"{name}: {error}; {_remedy(run)}") from error
    wrong = otherwise(recorded, made, TOLERANCE[config.compute.precision])
    if wrong:
        images = f"{wrong:,} of {plural(len(made), 'test image')}"
        raise UserError(f"{name}: its model says otherwise of {images} than was recorded; {_remedy(run)}")
    return recorded


def otherwise(recorded: dict[str, NDArray[Any]], made: NDArray[np.float32], tolerance: float) -> int:
    """Of how many test images a model says otherwise than was recorded, by more than rounding.

    Args:
        recorded: predictions as `fmnist.artifacts` made them; probabilities may be lacking.
        made: probabilities (n, 10) of the model.
        tolerance: of probabilities.
    """
    predicted = recorded["test_predicted"]
    if len(predicted) != len(made):
        return max(len(predicted), len(made))
    is_same = made[np.arange(len(made)), predicted] >= made.max(axis=1) - tolerance
    known = recorded.get("test_probabilities", made)
    if known.shape == made.shape:
        is_same &= np.abs(made - known.astype(np.float32)).max(axis=1) <= tolerance + ROUNDED
    return int((~is_same).sum())


def told(folder: str) -> str:
    """Which runs are the champion and those beside it, and the card of the champion, or else of the candidate.

    Raises:
        UserError: none has been promoted.
    """
    records = Records(folder)
    registry = Registry(records.store)
    versions = registry.versions()
    names = {run.run_id: run.name for run in records.runs}
    lines = [
        f"{alias:<9}  version {version.number}, run {version.run_id[:8]}: {names.get(version.run_id, 'deleted')}"
        for alias in ALIASES
        if (version := versions.get(alias))
    ]
    text = (versions.get(CHAMPION) or versions.get(CANDIDATE) or registry.find(CHAMPION)).card
    return "\n".join([*map(visible, lines), "", *map(_laid_out, text.rstrip().splitlines())])


def _laid_out(line: str) -> str:
    """A line of Markdown for the terminal."""
    is_whole = line.startswith(("|", "#", "    "))
    return visible(line) if is_whole else filled(visible(line), rest="  " * line.startswith("- "))
