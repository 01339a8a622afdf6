"""How MLflow's chart view lays runs out for comparison: data in the form in which the UI keeps its own layouts.

The form is MLflow's own and undocumented (seen in 3.17); a test looks at the page that comes of it.
"""

from typing import Any

from fmnist.config import CLASSES
from fmnist.schema import PICTURES


def layout() -> dict[str, Any]:
    """The comparison as MLflow's chart view keeps it: best runs first, curves, pictures side by side, the rest folded.

    Left to itself the UI sorts groups of charts by name, which puts the curves below forty single numbers,
    and sets pictures below each other, as wide as the list of all options above them.
    """
    kinds = ("f1", "precision", "recall")  # the UI takes T-shirt/top for a group of its own
    by_class = sorted({f"test/{kind}/{name}".rpartition("/")[0] for kind in kinds for name in CLASSES})
    return {
        "orderByKey": "metrics.`val/accuracy`",
        "orderByAsc": False,
        "selectedColumns": ["metrics.`val/accuracy`", "metrics.`test/accuracy`", "params.`epochs`", "params.`seed`"],
        "isAccordionReordered": True,  # keep this order of sections
        "compareRunSections": [
            _section("accuracy", columns=2, cardHeight=330),
            _section("pictures", columns=1, cardHeight=560),
            _section("loss", columns=2, cardHeight=330),
            *(_section(name, display=False) for name in ("test", *by_class, "time", "model")),
        ],
        "compareRunCharts": [
            _curve("val/accuracy", "accuracy"),
            _curve("train/accuracy", "accuracy"),
            # Several pictures in one chart make a table with a column for each run.
            _chart("pictures", "pictures", "IMAGE", imageKeys=list(PICTURES), step=0, showRunParams=False),
            _curve("val/loss", "loss"),
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
