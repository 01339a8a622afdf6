"""The page of a study in MLflow: a run below which the study's runs stand, with its verdicts, tables and pictures."""

import numpy as np
from numpy.typing import NDArray

from fmnist.config import CLASSES
from fmnist.report import claims, run_pictures
from fmnist.report.formats import HARMLESS, table
from fmnist.report.leaderboard import texts
from fmnist.schema import BASELINE
from fmnist.study.findings import Findings, answer
from fmnist.study.output import leaderboard_text
from fmnist.study.selection import Question
from fmnist.study.views import choose
from fmnist.tracking import Store, chart_view
from fmnist.words import plural

Matrix = NDArray[np.float64]  # (10, 10) counts, actual by predicted
COLUMNS = ["variant", "seeds", "validation", "test", "difference", "verdict"]  # of the leaderboard that the page shows


def refresh(store: Store, question: Question) -> None:
    """Have a study's page, and the experiment's with its views, say what the store now shows.

    Raises:
        StoreError: the store refuses or does not answer.
        UserError: the study is no longer declared.
    """
    chart_view.save(store.folder, store.id, choose(question.folder, question.study))
    findings = answer(question)
    writer = store.page(question.study)
    writer.texts(
        {
            "leaderboard.md": leaderboard_text(findings, "md"),
            "leaderboard.csv": leaderboard_text(findings, "csv"),
            "claims.csv": claims.render(findings.claims, "csv"),
        }
    )
    matrices = findings.confusions()
    reference = matrices.get(BASELINE)
    writer.pictures("confusion", {name: _picture(name, matrix, reference) for name, matrix in matrices.items()})
    writer.describe(_note(findings))


def _picture(variant: str, matrix: Matrix, reference: Matrix | None) -> NDArray[np.uint8]:
    return run_pictures.to_image(run_pictures.confusion_beside(matrix, reference, CLASSES, variant), 80)


def _note(findings: Findings) -> str:
    """What the page says, in Markdown."""
    study, plain = findings.study, HARMLESS["md"]
    assert study is not None
    size = f"{plural(len(study.levels), 'variant')} of {', '.join(study.axes)}"
    rows = findings.leaderboard[findings.leaderboard["epochs"] == findings.budget]
    verdicts = [
        f"- **{verdict.verdict}**: {plain(verdict.says)} ({plain(claims.because(verdict))})"
        for verdict in findings.claims
    ]
    parts = [
        f"**{plain(study.question)}**",
        f"Plan: {size}; seeds {study.seeds}, epochs {study.rungs}.",
        "\n".join(verdicts),
        f"At {plural(findings.budget, 'epoch')}:\n\n{table(texts(rows)[COLUMNS], 'md')}" if len(rows) else "",
        f"Its runs: `tags.\"fmnist.study\" = '{study.name}'`. *Artifacts* has the whole leaderboard, and mean "
        "confusion matrices beside the baseline's.",
        f"Again: `{findings.command()}`",
    ]
    return "\n\n".join(filter(None, parts))
