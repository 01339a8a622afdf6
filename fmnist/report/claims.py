"""The verdicts on claims as text, and why."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, fields

import pandas as pd

from fmnist.analysis.claims import Missing, OtherBaseline, PublishedPlace, Reason, Step, Verdict, Weakest
from fmnist.report.formats import DATA, data, difference, table
from fmnist.words import interval, p_value, percent, plural, points

_COLUMNS = [*(field.name for field in fields(Verdict) if field.name != "reasons"), "because"]
_ADD_SEEDS = "one seed cannot show the noise of training: add seeds"


def render(verdicts: Sequence[Verdict], format: str) -> str:
    """The verdict on each claim: for `table` a paragraph each, for the other formats a row each."""
    if format == "table":
        return "\n".join(map(_paragraph, verdicts)) or "this study declares no claims"
    rows = [{**asdict(each), "run_ids": " ".join(each.run_ids), "because": because(each)} for each in verdicts]
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    return data(frame, format) if format in DATA else table(_texts(frame), format)


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "verdict": frame["verdict"],
            "claim": frame["says"],
            "effect": [difference(*ends) for ends in zip(frame["effect"], frame["low"], frame["high"], strict=True)],
            "p": frame["p_value"].map(p_value),
            "epochs": frame["epochs"].astype(str),
            "seeds": frame["seeds"].astype(str),
            "because": frame["because"],
        }
    )


def _paragraph(verdict: Verdict) -> str:
    effect = "" if pd.isna(verdict.effect) else f" {difference(verdict.effect, verdict.low, verdict.high)} points"
    amount = f", {plural(verdict.epochs, 'epoch')}, {plural(verdict.seeds, 'seed')}" if verdict.seeds else ""
    p = "" if pd.isna(verdict.p_value) else f", p {p_value(verdict.p_value)}"
    head = f"{verdict.verdict.upper()}: {verdict.says}.{effect}{amount}{p}"
    return textwrap.fill(head, 118) + "\n" + textwrap.indent(textwrap.fill(because(verdict), 114), "    ")


# ---- Reasons --------------------------------------------------------------------------------------------


def because(verdict: Verdict) -> str:
    """What a verdict rests on, in words."""
    texts = [_reason(reason, verdict) for reason in verdict.reasons]
    if verdict.seeds == 1:
        has_interval = any(isinstance(reason, PublishedPlace) for reason in verdict.reasons)
        texts.append("one seed has no interval: add seeds" if has_interval else _ADD_SEEDS)
    return "; ".join(texts)


def _reason(reason: Reason, verdict: Verdict) -> str:
    match reason:
        case Missing():
            return _missing(reason)
        case OtherBaseline():
            return f"the article trained another baseline than this {reason.name}"
        case Step():
            return _step(reason, verdict)
        case Weakest():
            return (
                f"recall of {reason.name} {percent(reason.recall, 1)}, lowest of the others {reason.other} "
                f"{percent(reason.other_recall, 1)}"
            )
        case PublishedPlace():
            return _place(reason)


def _missing(reason: Missing) -> str:
    if not reason.names:
        return "no seed that all sides share"
    epochs = f" at {' or '.join(map(str, reason.epochs))} epochs" if reason.epochs else ""
    return f"no run yet of {' or '.join(reason.names)}{epochs}"


def _step(step: Step, verdict: Verdict) -> str:
    text = (
        f"{step.after} against {step.before}: {points(step.validation)} points in validation, "
        f"{points(step.test)} in test"
    )
    if not pd.isna(step.p_images):
        return f"{text} (McNemar on the test images, of these two networks alone: p {p_value(step.p_images)})"
    return f"{text} (p {p_value(step.p)})" if len(verdict.reasons) > 1 and verdict.seeds > 1 else text


def _place(place: PublishedPlace) -> str:
    within = interval(place.low, place.high)
    ours = f"one more run of ours lies within {within}" if within else f"ours {percent(place.mean)}"
    return f"test accuracy {percent(place.published)} published for {place.epochs} epochs, {ours}"
