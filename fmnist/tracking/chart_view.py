"""MLflow's chart view, laid out to compare runs: the layout, kept where the UI keeps its own, and the address it has.

The form is MLflow's own and undocumented (seen in 3.17); a test looks at the page that comes of it.
"""

import base64
import json
import time
import zlib
from pathlib import Path
from typing import Any

from fmnist.config import CLASSES
from fmnist.schema import PICTURES, TEST_ACCURACY, VAL_ACCURACY, VAL_LOSS
from fmnist.tracking.client import Client, StoreError, address

_KEY, _NAME = "fmnist", "compare runs"  # of the layout in addresses, and in the menu of views


def save(folder: str | Path, experiment: str) -> bool:
    """Leave the layout where MLflow's UI keeps those that users share, in place of an older one.

    False where the store refuses it.
    """
    packed = "deflate;" + base64.b64encode(zlib.compress(json.dumps(_layout()).encode())).decode()
    now = int(time.time() * 1000)
    view = json.dumps({"name": _NAME, "createdAt": now, "updatedAt": now, "state": packed})
    try:
        Client(address(folder), patience=0).set_experiment_tag(experiment, f"mlflow.sharedViewState.{_KEY}", view)
    except StoreError:
        return False
    return True


def page(server: str, experiment: str, saved: bool) -> str:
    """The address that opens a server's charts directly, laid out if the layout was saved."""
    view = f"&viewStateShareKey={_KEY}" if saved else ""
    runs = f"{server.rstrip('/')}/#/experiments/{experiment}/runs"
    return f"{runs}?compareRunsMode=CHART&workflowType=machine_learning{view}"  # else it would open as GenAI


def _layout() -> dict[str, Any]:
    """Best runs first; curves, pictures side by side, the rest folded.

    Left to itself the UI sorts groups of charts by name, which puts the curves below forty single numbers,
    and sets pictures below each other, as wide as the list of all options above them.
    """
    scores = ("f1", "precision", "recall")  # the UI takes T-shirt/top for a group of its own
    by_class = sorted({f"test/{score}/{name}".rpartition("/")[0] for score in scores for name in CLASSES})
    columns = [f"metrics.`{VAL_ACCURACY.key}`", f"metrics.`{TEST_ACCURACY.key}`", "params.`epochs`", "params.`seed`"]
    return {
        "orderByKey": f"metrics.`{VAL_ACCURACY.key}`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "isAccordionReordered": True,  # keep this order of sections
        "compareRunSections": [
            _section("accuracy", columns=2, cardHeight=330),
            _section("pictures", columns=1, cardHeight=560),
            _section("loss", columns=2, cardHeight=330),
            *(_section(name, display=False) for name in ("test", *by_class, "time", "model")),
        ],
        "compareRunCharts": [
            _curve(VAL_ACCURACY.key, "accuracy"),
            _curve("train/accuracy", "accuracy"),
            # Several pictures in one chart make a table with a column for each run.
            _chart("pictures", "pictures", "IMAGE", imageKeys=list(PICTURES), step=0, showRunParams=False),
            _curve(VAL_LOSS.key, "loss"),
            _curve("train/loss", "loss"),
            # Without these the UI would add a chart for each picture.
            *(_chart(key, "pictures", "IMAGE", imageKeys=[key], step=0, deleted=True) for key in PICTURES),
        ],
    }


def _section(name: str, **options: Any) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": True, "isReordered": True, "deleted": False, **options}


def _chart(name: str, section: str, kind: str, **options: Any) -> dict[str, Any]:
    identity = {"uuid": f"{kind} {name}", "type": kind, "metricSectionId": section}
    return {**identity, "runsCountToCompare": 10, "deleted": False, "isGenerated": False, **options}


def _curve(metric: str, section: str) -> dict[str, Any]:
    scales = {"xAxisKey": "step", "xAxisScaleType": "linear", "yAxisKey": "metric", "scaleType": "linear", "range": {}}
    rest = {"selectedXAxisMetricKey": "", "yAxisExpressions": [], "lineSmoothness": 0, "ignoreOutliers": False}
    shared = {"useGlobalXaxisKey": True, "useGlobalLineSmoothing": True}
    return _chart(metric, section, "LINE", metricKey=metric, displayName=metric, **scales, **rest, **shared)
