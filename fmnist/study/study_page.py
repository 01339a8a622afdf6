"""The page of a study in MLflow: a run below which the study's runs stand, with its verdicts, tables and pictures."""

import re
from collections.abc import Collection
from contextlib import suppress

from fmnist.config import CLASSES, UserError
from fmnist.report import claims, page, run_pictures
from fmnist.report.formats import HARMLESS, table
from fmnist.report.leaderboard import texts
from fmnist.schema import BASELINE
from fmnist.study.declared import made_with
from fmnist.study.findings import Findings, answer
from fmnist.study.output import leaderboard_text
from fmnist.study.question import Question
from fmnist.study.views import of_runs
from fmnist.tracking import Store, chart_view, encoded, frame
from fmnist.words import plural

COLUMNS = ["variant", "seeds", "validation", "test", "difference", "verdict"]  # of the leaderboard that the page shows


def refresh(store: Store, question: Question) -> None:
    """Have a study's page, and the experiment's with its views, say what the store now shows.

    Raises:
        StoreError: the store refuses or does not answer.
        UserError: the study is no longer declared.
    """
    findings = answer(question)
    own = findings.selection.finished(findings.selection.own)
    chart_view.save(store.folder, store.id, of_runs(own, question.study, findings.study))
    writer = store.page(question.study)
    writer.texts(
        {
            "leaderboard.md": leaderboard_text(findings, "md"),
            "leaderboard.csv": leaderboard_text(findings, "csv"),
            "claims.csv": claims.render(findings.claims, "csv"),
            "report.html": page.render(findings.content()),
        }
    )
    matrices = findings.confusions()
    reference = matrices.get(BASELINE)
    pictures = {}
    for name, matrix in matrices.items():
        large = run_pictures.confusion_beside(matrix, reference, CLASSES, name)
        small = run_pictures.small_confusion(matrix, CLASSES, None if name == BASELINE else reference)
        pictures[re.sub(r"[^\w=., -]", "_", name)[:100]] = encoded(large, small)
    writer.images(pictures)
    writer.describe(_note(findings))
    store.place_below(writer.run_id, question.study)


def refresh_all(store: Store, folder: str, names: Collection[str]) -> list[str]:
    """The same for those of these studies that are declared, the latest last; returns which.

    Raises:
        StoreError: the store refuses or does not answer.
    """
    runs, refreshed = frame(store.all_runs()), list[str]()
    latest = runs[runs["study"].isin(list(names))].sort_values("start_time")["study"]
    for name in latest.drop_duplicates(keep="last"):
        with suppress(UserError):  # of a study that is no longer declared
            refresh(store, Question(folder, name, made_with(name, runs)))
            refreshed.append(name)
    return refreshed


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
        f"Its runs: `tags.\"fmnist.study\" = '{study.name}'`. *Artifacts* has the whole leaderboard and the report, "
        "*Model metrics* how each variant's mean confusion matrix differs from the baseline's: a click shows both.",
        f"Again: `{findings.command()}`",
    ]
    return "\n\n".join(filter(None, parts))
