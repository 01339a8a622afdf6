"""MLflow's chart views of the runs: their layouts, kept where the UI keeps its own, and the addresses that they have.

The form is MLflow's own and undocumented (seen in 3.17); a test looks at the pages that come of it.
"""

import base64
import itertools
import json
import math
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import RunTag

from fmnist.advice import command_for
from fmnist.config import CLASSES
from fmnist.schema import CONFUSION_MATRIX, CURVES, PICTURES, TEST_ACCURACY, VAL_ACCURACY, VAL_LOSS, Column
from fmnist.tracking.client import Client, StoreError, address
from fmnist.tracking.stored import as_tags

MEANS, SIDE_BY_SIDE = "means", "runs"
VIEWS = {MEANS: "means over seeds", SIDE_BY_SIDE: "runs side by side"}  # by their keys in addresses
MOST = 6  # variants that are shown at once: more curves, or smaller matrices, cannot be told apart
SHOWN, COLOUR = Column("shown").tag, "mlflow.runColor"  # tags of the runs that the views open on
_SHARED = "mlflow.sharedViewState."
# Of the UI, which gives a group the colour that the letters of its name add up to.
_PALETTE = (
    "#a6630c", "#c83243", "#b45091", "#8a63bf", "#434a93", "#137dae", "#04867d", "#308613", "#facb66", "#1f272d",
    "#445461", "#5f7281", "#8396a5", "#93320b", "#be501e", "#de7921", "#f2be88", "#115026", "#277c43", "#3ba65e",
    "#8ddda8", "#9e102c", "#c82d4c", "#e65b77", "#f792a6", "#0e538b", "#2272b4", "#4299e0", "#8acaff",
)  # fmt: skip
_COLOURS = ("#1f272d", "#2272b4", "#de7921", "#3ba65e", "#b45091", "#8acaff")  # the baseline's, then the best's
_LETTERS = 45  # of a name that is no wider than a matrix
_CURVES = (VAL_ACCURACY.key, "train/accuracy", VAL_LOSS.key, "train/loss")
_FINAL = (  # single numbers, for each of which the UI would draw a chart
    *(f"test/{score}" for score in ("accuracy", "loss")),
    *(f"test/{score}/{name}" for score in ("precision", "recall", "f1") for name in CLASSES),
    *(f"time/{name}" for name in ("epoch_s", "train_s", "images_per_s", "wall_s", "overhead_s")),
    "model/parameters",
)

_DESCRIPTION = """\
{views}{study}{question}. Where this page shows GenAI's tabs, switch to *Model training* at its top left.

Hyperparameters of a small network for Fashion-MNIST; a run is a variant with a seed, trained for some epochs.

- **Repeat**: `{sweep}` trains what is missing, `{compare}` judges it, `{report}` writes the report, `{ui}` opens \
these views of another study.
- **Search**, in the field above the runs; names with a dot or a slash stand in double quotes, our tags begin with \
`fmnist.`:
  - `{condition}`
  - `params."model.filters" = '64'`
  - `tags."fmnist.variant" = 'filters=64' and metrics."val/accuracy" > 0.9`
  - `tags."fmnist.search" LIKE '%random%'`
- Each run's page says what it came to and how to repeat it; a study's page has its verdicts.
"""


@dataclass(frozen=True)
class Choice:
    """What the views open on; without variants on all runs."""

    study: str = ""
    question: str = ""  # that it asks
    condition: str = ""  # MLflow's filter for all its runs at these epochs, as far as it can say that
    variants: Mapping[str, Sequence[str]] = field(default_factory=dict)  # to the ids of runs, in the order to be shown
    seed: int = 0  # of the runs that stand side by side
    letters: int = 0  # of the longest of their names
    axes: Sequence[str] = ()  # the options that the variants vary


def save(folder: str | Path, experiment: str, choice: Choice) -> bool:
    """Mark the runs of a choice, leave both layouts where the UI keeps shared ones, and describe the experiment.

    False where the store refuses it.
    """
    client, now = Client(address(folder), patience=0), int(time.time() * 1000)
    try:
        _mark(client, experiment, choice)
        for key, name in VIEWS.items():
            layout = json.dumps(_layout(choice, _ranges(client, choice) if key == MEANS else None))
            packed = "deflate;" + base64.b64encode(zlib.compress(layout.encode())).decode()
            view = json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": packed})
            client.set_experiment_tag(experiment, _SHARED + key, view)
        for key, text in as_tags({"note": describe(choice, experiment)}).items():
            client.set_experiment_tag(experiment, key, text)
    except StoreError:
        return False
    return True


def _mark(client: Client, experiment: str, choice: Choice) -> None:
    """Have the runs of a choice, and no others, bear its tag: a shared layout cannot say by itself which it shows."""
    before = {run.run_id: run.tags for run in client.all_runs(experiment, f"tags.`{SHOWN}` LIKE '%'")}
    groups = zip(_groups(choice), choice.variants.values(), _COLOURS, strict=False)
    wanted = {run_id: {SHOWN: group, COLOUR: colour} for group, run_ids, colour in groups for run_id in run_ids}
    for run_id in before.keys() - wanted.keys():
        client.delete_tag(run_id, SHOWN)
    for run_id, tags in wanted.items():
        if not tags.items() <= before.get(run_id, {}).items():
            client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def _groups(choice: Choice) -> list[str]:
    """How the variants are called where they are groups: by their places, for so they are sorted."""
    named = enumerate(zip(choice.variants, _COLOURS, strict=False), 1)
    return [_coloured(f"{place} {variant}", colour) for place, (variant, colour) in named]


def _coloured(name: str, colour: str) -> str:
    """The name with such blanks behind it that the UI gives a group of that name this colour."""
    for blanks in itertools.product(" \u00a0", repeat=9):
        whole, first, second = name + "".join(blanks), 0, 0
        for letter in map(ord, f"tag.{SHOWN}.{whole}"):
            first = (first + letter) % 255
            second = (second + first) % 255
        if _PALETTE[(first | second << 8) % len(_PALETTE)] == colour:
            return whole
    return name


def _ranges(client: Client, choice: Choice) -> dict[str, dict[str, float]]:
    """Where the axes of curves begin and end: beside bands the UI would begin all at 0, and lines lie together."""
    ranges = {}
    for key in _CURVES if choice.variants else ():
        values = [each for run_ids in choice.variants.values() for each in client.by_step(run_ids[0], key).values()]
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            margin = 0.1 * (max(finite) - min(finite)) or 0.01
            ranges[key] = {"yMin": min(finite) - margin, "yMax": max(finite) + margin}
    return ranges


def describe(choice: Choice, experiment: str) -> str:
    """What the page of the experiment says, in Markdown."""
    views = " and ".join(f"[{name}]({page('', experiment, key).lstrip('/')})" for key, name in VIEWS.items())
    repeat = {target: command_for(target, choice.study) for target in ("sweep", "compare", "report")}
    return _DESCRIPTION.format(
        **repeat,
        ui=command_for("ui", "", ["--study", "NAME", "--epochs", "N"]),
        study=f" of study {choice.study}" if choice.study else "",
        question=f" ({choice.question.rstrip('.')})" if choice.question else "",
        views=views,
        condition=choice.condition or "params.epochs = '10'",
    )


def page(server: str, experiment: str, view: str = "") -> str:
    """The address that opens a server's charts directly, laid out as that view if it was saved."""
    shared = f"&viewStateShareKey={view}" if view else ""
    runs = f"{server.rstrip('/')}/#/experiments/{experiment}/runs"
    return f"{runs}?compareRunsMode=CHART&workflowType=machine_learning{shared}"  # else it would open as GenAI


def _layout(choice: Choice, ranges: Mapping[str, dict[str, float]] | None) -> dict[str, Any]:
    """Curves, then matrices side by side, and no chart for a single number; means where there are ranges for them.

    Left to itself the UI draws a chart for each of forty numbers, and sets pictures below each other.
    """
    is_grouped = ranges is not None
    metrics, columns = (VAL_ACCURACY.key, TEST_ACCURACY.key), ("seed", "epochs", *choice.axes)
    shown = f"tags.\"{SHOWN}\" LIKE '%'" if choice.variants else ""
    seed = f"params.seed = '{choice.seed}'" if choice.variants and not is_grouped else ""
    group = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": SHOWN}]}
    # Each picture is as wide as its run's name; those of several kinds make a table with a column for each run.
    pictures = [CONFUSION_MATRIX] if choice.letters <= _LETTERS else [CONFUSION_MATRIX, CURVES]
    matrices = _chart("confusion matrices", "pictures", "IMAGE", imageKeys=pictures, step=0, showRunParams=False)
    return {
        "searchFilter": " and ".join(filter(None, (choice.condition, seed, shown))),
        "orderByKey": f"tags.`{SHOWN}`" if choice.variants else f"metrics.`{VAL_ACCURACY.key}`",
        "orderByAsc": bool(choice.variants) and is_grouped,  # the UI draws pictures from the last run to the first
        "selectedColumns": [
            f"tags.`{Column('variant').tag}`",
            *(f"params.`{key}`" for key in columns),
            *(f"metrics.`{key}`" for key in metrics),
        ],
        "groupBy": group if is_grouped else None,
        "groupsExpanded": dict.fromkeys((f"tag.{SHOWN}.{name}" for name in _groups(choice)), False),
        "isAccordionReordered": True,  # keep this order of sections
        "compareRunSections": [
            _section("accuracy", columns=2, cardHeight=400),
            *([] if is_grouped else [_section("pictures", columns=1, cardHeight=820)]),  # the UI has none of groups
            _section("loss", columns=2, cardHeight=400),
        ],
        "compareRunCharts": [
            *(_curve(key, ranges.get(key, {}) if ranges else {}) for key in _CURVES),
            *([] if is_grouped else [matrices]),
            # Without these the UI would add a chart for each.
            *(_chart(key, "loss", "BAR", metricKey=key, deleted=True) for key in _FINAL),
            *(_chart(f"no {key}", "loss", "IMAGE", imageKeys=[key], step=0, deleted=True) for key in PICTURES),
        ],
    }


def _section(name: str, **options: Any) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": True, "isReordered": True, "deleted": False, **options}


def _chart(name: str, section: str, kind: str, **options: Any) -> dict[str, Any]:
    identity = {"uuid": f"{kind} {name}", "type": kind, "metricSectionId": section}
    return {**identity, "runsCountToCompare": 10, "deleted": False, "isGenerated": False, **options}


def _curve(metric: str, limits: dict[str, float]) -> dict[str, Any]:
    scales = {
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "yAxisKey": "metric",
        "scaleType": "linear",
        "range": limits,
    }
    rest = {"selectedXAxisMetricKey": "", "yAxisExpressions": [], "lineSmoothness": 0, "ignoreOutliers": False}
    shared = {"useGlobalXaxisKey": True, "useGlobalLineSmoothing": True}
    return _chart(
        metric, metric.rpartition("/")[2], "LINE", metricKey=metric, displayName=metric, **scales, **rest, **shared
    )
