"""The verdicts on claims as text, and why."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields

import pandas as pd

from fmnist.analysis.claims import Kind, Reason, Verdict
from fmnist.report.formats import DATA, data, difference, filled, table
from fmnist.schema import Judgement
from fmnist.words import interval, p_value, percent, plural, points

_COLUMNS = [*(field.name for field in fields(Verdict) if field.name not in ("reasons", "among")), "because"]


def render(verdicts: Sequence[Verdict], format: str) -> str:
    """The verdict on each claim: for `table` a paragraph each, for the other formats a row each."""
    if format == "table":
        return "\n".join(map(_paragraph, verdicts)) or "this study declares no claims"
    minus = "-" if format in DATA else "−"
    rows = [{**asdict(each), "run_ids": " ".join(each.run_ids), "because": because(each).replace("−", minus)}
            for each in verdicts]  # fmt: skip
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    return data(frame, format) if format in DATA else table(_texts(frame), format)


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    ends = zip(frame["effect"], frame["low"], frame["high"], strict=True)
    texts = frame.assign(effect=[difference(*each) for each in ends], p=frame["p_value"].map(p_value))
    texts = texts.rename(columns={"says": "claim"})
    return texts[["verdict", "claim", "effect", "p", "epochs", "seeds", "because"]]


def _paragraph(verdict: Verdict) -> str:
    effect = "" if pd.isna(verdict.effect) else f" {difference(verdict.effect, verdict.low, verdict.high)} points"
    amount = f", {plural(verdict.epochs, 'epoch')}, {plural(verdict.seeds, 'seed')}" if verdict.seeds else ""
    p = "" if pd.isna(verdict.p_value) else f", p {p_value(verdict.p_value)}"
    head = f"{verdict.verdict.upper()}: {verdict.says}.{effect}{amount}{p}"
    return filled(head) + "\n" + filled(because(verdict), "    ", "    ")


def because(verdict: Verdict) -> str:
    """What a verdict rests on, in words."""
    one_of_several = len(verdict.reasons) > 1 and verdict.seeds > 1
    texts = [_SENTENCES[reason.kind](**reason.numbers) + (_p_of_step(reason) if one_of_several else "")
             for reason in verdict.reasons]  # fmt: skip
    if verdict.verdict == Judgement.ONE_SEED:
        of_interval = verdict.reasons[0].kind == Kind.PUBLISHED
        texts.append(f"one seed {'has no interval' if of_interval else 'cannot show the noise of training'}: add seeds")
    return "; ".join(texts)


# The sentences; their parameters are a reason's numbers.


def _missing(names: Sequence[str], epochs: Sequence[int] = ()) -> str:
    if not names:
        return "no seed that all sides share"
    budgets = [*map(str, epochs[:-1]), *(plural(last, "epoch") for last in epochs[-1:])]
    return f"no run yet of {' or '.join(names)}" + (f" at {' or '.join(budgets)}" if budgets else "")


def _other_baseline(changes: str) -> str:
    return f"the article trained another baseline than this one with {changes}"


def _step(*, before: str, after: str, validation: float, test: float, p: float, p_images: float) -> str:
    text = f"{after} against {before}: {points(validation)} points in validation, {points(test)} in test"
    if pd.isna(p_images):
        return text
    return f"{text} (McNemar on the test images, of these two networks alone: p {p_value(p_images)})"


def _p_of_step(reason: Reason) -> str:
    return f" (p {p_value(reason.numbers['p'])})" if reason.kind == Kind.STEP else ""


def _failed(counts: dict[str, int]) -> str:
    lost = ", ".join(f"{plural(count, 'seed')} of {name}" for name, count in counts.items())
    return f"{lost} failed: those that are left may be the lucky ones"


def _weakest(name: str, recall: float, other: str, other_recall: float) -> str:
    return f"recall of {name} {percent(recall, 1)}, of {other}, which decides, {percent(other_recall, 1)}"


def _published(epochs: int, published: float, mean: float, low: float, high: float) -> str:
    within = interval(low, high)
    ours = f"one more run of ours lies within {within}" if within else f"ours {percent(mean)}"
    return f"test accuracy {percent(published)} published for {plural(epochs, 'epoch')}, {ours}"


_SENTENCES: dict[Kind, Callable[..., str]] = {
    Kind.MISSING: _missing,
    Kind.OTHER_BASELINE: _other_baseline,
    Kind.FAILED: _failed,
    Kind.STEP: _step,
    Kind.WEAKEST: _weakest,
    Kind.PUBLISHED: _published,
}
