"""The report of a study: one HTML file that needs nothing else, neither network nor other files."""

import base64
import hashlib
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmnist import words
from fmnist.advice import command_for
from fmnist.analysis import classes
from fmnist.analysis.budgets import common_budget
from fmnist.config import CLASSES
from fmnist.provenance import commit
from fmnist.report import claims, diagnosis, svg
from fmnist.report.content import Content
from fmnist.report.figures import FIGURES, draw
from fmnist.report.formats import records
from fmnist.schema import Comparison
from fmnist.training.evaluation import confusion

_FILES = Path(__file__).parent
_WIDE = 450 / 72  # inches
NO_BREAK = "\N{NO-BREAK SPACE}"


def render(content: Content) -> str:
    """The report as one HTML text; the same content gives the same text.

    All names and values are escaped, and the page forbids itself every script but its own and every request.
    """
    script = (_FILES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page: str = _template().render(
        content=content,
        interval=words.interval,
        sweep_with=lambda *more: command_for("sweep", content.study, [*content.setting.split(), *more]),
        fetch=command_for("data"),
        style=(_FILES / "page.css").read_text(encoding="utf-8"),
        script=script,
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        figures=_figures(content),
        summary=_summary(content),
        rows=[{**row, "run_ids": str(row["run_id"] or "").split()} for row in records(content.leaderboard)],
        variants=list(dict.fromkeys(content.measured["variant"].astype(str))),
        matrices=_matrices(content),
        missed=_missed(content),
        diagnosis=diagnosis.by_kind(content.diagnosis),
        running=_running(content),
    )
    return page


@cache
def _template() -> Any:
    import jinja2

    loader = jinja2.FileSystemLoader(_FILES)
    page = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    numbers = (words.percent, words.points, words.p_value, words.duration, words.count, words.plural)
    page.filters |= {number.__name__: _unbroken(number) for number in numbers}
    page.filters |= {"because": lambda claim: claims.because(claim).replace(" %", NO_BREAK + "%")}
    return page.get_template("page.html.j2")


def _running(content: Content) -> list[str]:
    """What stands above every printed page: study, date, commit."""
    known = content.provenance
    code = known.get("commit") or commit() or ""
    facts = {"Fashion-MNIST study": content.study, "run": known.get("run", ""), "report by commit": code[:10]}
    return [f"{name} {value}" for name, value in facts.items() if value]


def _unbroken(say: Callable[..., str]) -> Callable[..., str]:
    """The same words on one line."""
    return lambda *values: say(*values).replace(" ", NO_BREAK)


def _figures(content: Content) -> dict[str, list[dict[str, Any]]]:
    """The figures that could be drawn, by section."""
    drawn, budget = draw(content), _unbroken(words.plural)(content.budget, "epoch")
    sections: dict[str, list[dict[str, Any]]] = {entry.section: [] for entry in FIGURES}
    for entry in (entry for entry in FIGURES if entry.name in drawn):
        figure = drawn[entry.name]
        sections[entry.section].append(
            {
                "name": entry.name,
                "caption": entry.caption.format(budget=budget),
                "svg": svg.inline(figure, entry.name),
                "is_wide": figure.get_figwidth() > _WIDE,
            }
        )
    return sections


def _summary(content: Content) -> dict[str, Any]:
    rows, best = content.measured, content.at_budget
    verdicts = [claim.verdict for claim in content.claims]
    return {
        "verdicts": {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
        "variants": int(rows["variant"].nunique()),
        "runs": len(content.runs),
        "seeds": [int(rows["seeds"].min()), int(rows["seeds"].max())] if len(rows) else [0, 0],
        "epochs": sorted({int(epochs) for epochs in rows["epochs"]}),
        "best": best.iloc[0].to_dict() if len(best) else None,
    }


def _predicting(content: Content) -> pd.DataFrame:
    """The runs whose predictions are known."""
    return content.runs[content.runs["run_id"].isin(list(content.predictions))]


def _matrices(content: Content) -> dict[str, Any]:
    """The confusion matrix of every row with predictions, added up over its seeds: longest budget and best first."""
    rows = content.measured.sort_values("epochs", ascending=False, kind="stable")
    matrices = []
    for row in records(rows[["variant", "epochs", "run_id", "verdict"]]):
        predictions = [content.predictions[key] for key in row["run_id"].split() if key in content.predictions]
        if predictions:
            counts = confusion(content.labels, np.array(predictions)).ravel().tolist()
            row |= {"seeds": len(predictions), "counts": counts, "baseline": row["verdict"] == Comparison.BASELINE}
            matrices.append({key: row[key] for key in ("variant", "epochs", "seeds", "baseline", "counts")})
    return {"classes": list(CLASSES), "rows": matrices}


def _missed(content: Content) -> dict[str, Any]:
    """The images most often misclassified by the runs of the common budget of those that have predictions."""
    runs = _predicting(content)
    if runs.empty or not len(content.images):
        return {}
    epochs = common_budget(runs)
    keys = [str(key) for key in runs.loc[runs["epochs"] == epochs, "run_id"]]
    missed = classes.most_missed(content.labels, {key: content.predictions[key] for key in keys})
    sources = {one.image: _png(content.images[one.image]) for _, images in missed.values() for one in images}
    return {"epochs": epochs, "runs": len(keys), "classes": missed, "sources": sources}


def _png(image: NDArray[Any]) -> str:
    """An image as a data URI."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
