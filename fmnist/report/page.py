"""The report of a study: one HTML file that needs nothing else, neither network nor other files."""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist import words as say
from fmnist.analysis import classes
from fmnist.analysis.budgets import common_budget
from fmnist.analysis.claims import Verdict
from fmnist.analysis.diagnosis import Finding
from fmnist.analysis.leaderboard import measured
from fmnist.analysis.searches import ExpectedBest
from fmnist.config import CLASSES
from fmnist.report import claims, diagnosis, figures, search_figures, svg

_FILES = Path(__file__).parent


@dataclass
class Findings:
    """All that a report tells; empty frames, lists and mappings stand for what is not there."""

    study: str
    question: str
    setting: str  # options that the study was run with, data.limit=12000
    command: str  # that repeats the study
    board: pd.DataFrame
    claims: Sequence[Verdict]
    effects: pd.DataFrame  # axis, level, epochs, seeds, effect, low, high, p_value (shares)
    diagnosis: Sequence[Finding]
    runs: pd.DataFrame
    histories: Mapping[str, pd.DataFrame]  # run_id -> metrics by epoch
    predictions: Mapping[str, NDArray[np.uint8]]  # run_id -> (n_test,)
    labels: NDArray[np.uint8]  # (n_test,)
    images: NDArray[np.uint8]  # (n_test, 28, 28)
    notes: Sequence[str]  # the statistics, stated
    provenance: Mapping[str, str]
    curves: Sequence[ExpectedBest] = ()  # of searches on the same data


def draw_figures(findings: Findings) -> figures.Figures:
    """The report's pictures by name, as far as there is something to draw; see `fmnist.report.figures.figures`."""
    drawn = figures.figures(findings.board, findings.effects, findings.runs, findings.histories)
    return drawn | search_figures.figures(findings.curves)


def render(findings: Findings) -> str:
    """The report as one HTML text; the same findings give the same text.

    All names and values are escaped, and the page forbids itself every script but its own and every request.
    """
    import jinja2

    loader = jinja2.FileSystemLoader(_FILES)
    page = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.filters |= {"percent": say.percent, "points": say.points, "p": say.p_value, "duration": say.duration}
    page.filters |= {"count": say.count, "plural": say.plural}
    script = (_FILES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return page.get_template("page.html.j2").render(
        findings=findings,
        interval=say.interval,
        style=(_FILES / "page.css").read_text(encoding="utf-8"),
        script=script,
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        pictures={name: svg.inline(figure, name) for name, figure in draw_figures(findings).items()},
        summary=_summary(findings),
        rows=[{**row, "run_ids": str(row["run_id"] or "").split()} for row in _records(findings.board)],
        budget=common_budget(measured(findings.board)),
        variants=list(dict.fromkeys(measured(findings.board)["variant"].astype(str))),
        matrices=_matrices(findings),
        missed=_missed(findings),
        diagnosis=diagnosis.by_kind(findings.diagnosis),
        because=claims.because,
    )


def _summary(findings: Findings) -> dict[str, Any]:
    rows = measured(findings.board)
    at = rows[rows["epochs"] == common_budget(measured(findings.board))]
    verdicts = [claim.verdict for claim in findings.claims]
    return {
        "verdicts": {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
        "variants": int(rows["variant"].nunique()),
        "runs": len(findings.runs),
        "seeds": [int(rows["seeds"].min()), int(rows["seeds"].max())] if len(rows) else [0, 0],
        "epochs": sorted({int(epochs) for epochs in rows["epochs"]}),
        "best": at.iloc[0].to_dict() if len(at) else None,
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows with None for what is missing."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


def _matrices(findings: Findings) -> dict[str, Any]:
    """The confusion matrix of every run with predictions, row by row: longest budget and best variant first."""
    order = {key: place for place, ids in enumerate(findings.board["run_id"]) for key in str(ids).split()}
    known = findings.runs[findings.runs["run_id"].isin(list(findings.predictions))]
    known = known.assign(_place=known["run_id"].map(order).fillna(len(order)))
    known = known.sort_values(["epochs", "_place", "seed"], ascending=[False, True, True], kind="stable")
    runs = [
        {
            "id": row["run_id"],
            "name": row["run_name"],
            "epochs": int(row["epochs"]),
            "counts": classes.confusion(findings.labels, findings.predictions[row["run_id"]]).ravel().tolist(),
        }
        for row in _records(known[["run_id", "run_name", "epochs"]])
    ]
    return {"classes": list(CLASSES), "runs": runs}


def _missed(findings: Findings) -> dict[str, Any]:
    """The images most often misclassified by the runs of the common budget of those that have predictions."""
    known = findings.runs[findings.runs["run_id"].isin(list(findings.predictions))]
    if known.empty or not len(findings.images):
        return {}
    epochs = common_budget(known)
    keys = [str(key) for key in known.loc[known["epochs"] == epochs, "run_id"]]
    missed = classes.most_missed(findings.labels, {key: findings.predictions[key] for key in keys})
    sources = {one.image: _png(findings.images[one.image]) for _, images in missed.values() for one in images}
    return {"epochs": epochs, "runs": len(keys), "classes": missed, "sources": sources}


def _png(image: NDArray[np.uint8]) -> str:
    """An image as a data URI."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
