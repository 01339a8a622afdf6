"""The content of a made-up study's report, for its tests."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from idx import synthetic
from scipy import stats

from fmnist.analysis.claims import Kind as ReasonKind
from fmnist.analysis.claims import Reason, Verdict
from fmnist.analysis.diagnosis import Finding, Kind
from fmnist.analysis.noise import COLUMNS
from fmnist.config import CLASSES
from fmnist.report.content import Content
from fmnist.schema import Judgement

EVIL = "<script>alert(1)</script>"
# Option, level, gain in validation accuracy at the end, parameters relative to the baseline's.
LEVELS = (
    ("data.scale", "unit", 0.021, 1.0), ("model.filters", "32", -0.009, 0.12), ("model.filters", "64", -0.004, 0.35),
    ("model.kernel_size", "3", 0.002, 0.8), ("model.kernel_size", "7", -0.012, 1.3),
    ("model.pooling", "average", -0.007, 1.0), ("augment", "none", -0.005, 1.0), ("augment", "light", 0.004, 1.0),
    ("augment", "heavy", -0.018, 1.0),
)  # fmt: skip
# Recall of each class, and what it is taken for.
RECALLS = np.array([0.86, 0.985, 0.86, 0.91, 0.85, 0.98, 0.72, 0.965, 0.985, 0.96])
TAKEN_FOR = np.array([[6, 3], [3, 0], [4, 6], [0, 6], [2, 6], [7, 9], [0, 2], [9, 5], [6, 3], [7, 5]])
PARAMETERS = 940_170
ENDS = ("", "_low", "_high", "_sd")
GAIN = {1: -0.08, 3: -0.04, 10: -0.01, 50: 0.0}  # how far a budget stays behind


def levels(count: int) -> list[tuple[str, str, float, float]]:
    """As many levels as there are variants beside the baseline."""
    many = [("model.dense_units", str(16 * (i + 1)), 0.0004 * i - 0.008, 0.5 + i / 20) for i in range(count)]
    return [*LEVELS, *many][:count]


def findings(
    variants: int = 10,
    seeds: int = 3,
    rungs: tuple[int, ...] = (1, 3, 10, 50),
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    **changes: Any,
) -> Content:
    """A study of so many variants; `images` (n, 28, 28) and `labels` (n,) instead of 200 synthetic ones."""
    rng = np.random.default_rng(0)
    if images is None or labels is None:
        pictures, actual = synthetic(10, 200)[1]
        images, labels = pictures[..., 0], actual.astype(np.uint8)
    chosen = [("", "", 0.0, 1.0), *levels(variants - 1)]
    hard = rng.uniform(0, 1, len(labels))  # some images are harder than others, for every run
    rows, histories, predictions = [], {}, {}
    for axis, level, gain, size in chosen:
        name = f"{axis.split('.')[-1]}={level}" if axis else "baseline"
        for seed in range(seeds):
            path = curve(gain, max(rungs), rng)
            for epochs in rungs:
                key = f"{rng.integers(2**63):016x}{rng.integers(2**63):016x}"
                histories[key] = path.iloc[:epochs]
                predictions[key] = guess(labels, hard, gain + GAIN.get(epochs, 0), rng)
                known = {"last": path.loc[epochs], "labels": labels, "guesses": predictions[key]}
                rows.append(run(key, name, epochs=epochs, seed=seed, size=size, **known))
    runs = pd.DataFrame(rows)
    parts: dict[str, Any] = {
        "study": "article",
        "question": "Which of the article's choices matter, each varied alone around its baseline?",
        "setting": "",
        "command": "make sweep STUDY=article",
        "settling": "",
        "leaderboard": board(runs),
        "claims": claims(seeds, rungs),
        "effects": effects(runs, chosen),
        "noise": pd.DataFrame(columns=list(COLUMNS)),
        "diagnosis": DIAGNOSIS,
        "runs": runs,
        "histories": histories,
        "predictions": predictions,
        "labels": labels,
        "images": images,
        "notes": NOTES,
        "provenance": {
            "store": "mlruns",
            "runs": str(len(runs)),
            "data": "0123456789abcdef",
            "CPU": "a made-up one",
            "run": "2026-01-02 to 2026-01-03",
        },
    }
    return Content(**{**parts, **changes})


def curve(gain: float, epochs: int, rng: np.random.Generator) -> pd.DataFrame:
    """A learning curve whose validation loss turns up again."""
    epoch = np.arange(1, epochs + 1)
    start, noise = 0.11 / epoch**0.7, rng.normal(0, 0.002, (2, epochs))
    return pd.DataFrame(
        {
            "train/loss": 0.2 + 3 * start,
            "train/accuracy": 0.93 - start,
            "val/loss": 0.27 + 2.5 * start - 2 * gain + 0.0012 * epoch + noise[0],
            "val/accuracy": 0.905 + gain * epoch / (epoch + 2) - start + noise[1],
        },
        index=pd.RangeIndex(1, epochs + 1, name="epoch"),
    )


def guess(labels: np.ndarray, hard: np.ndarray, gain: float, rng: np.random.Generator) -> np.ndarray:
    """Predictions with about these recalls, wrong on about the same images."""
    effort = 0.7 * hard + 0.3 * rng.uniform(0, 1, len(labels))
    wrong = effort > np.clip(RECALLS + gain, 0, 1)[labels]
    other = TAKEN_FOR[labels, (rng.uniform(0, 1, len(labels)) > 0.75).astype(int)]
    return np.where(wrong, other, labels).astype(np.uint8)


def run(
    key: str,
    name: str,
    *,
    epochs: int,
    seed: int,
    size: float,
    last: pd.Series,
    labels: np.ndarray,
    guesses: np.ndarray,
) -> dict[str, Any]:
    """A run as the store gives it."""
    recalls = {f"test/recall/{CLASSES[k]}": float((guesses[labels == k] == k).mean()) for k in range(10)}
    return {
        "run_id": key,
        "run_name": f"{name} · {epochs} epoch{'s'[: epochs != 1]} · seed {seed}",
        "status": "FINISHED",
        "variant": name,
        "epochs": epochs,
        "seed": seed,
        "parameters": round(PARAMETERS * size),
        "train_seconds": 26.0 * epochs * (0.3 + 0.7 * size) + seed,
        **{metric: float(value) for metric, value in last.items()},
        "test/accuracy": float((guesses == labels).mean()),
        **recalls,
    }


def interval(values: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, ends of its interval, deviation."""
    if len(values) < 2:
        return float(values.mean()), np.nan, np.nan, np.nan
    sd = float(values.std(ddof=1))
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * sd / np.sqrt(len(values))
    return float(values.mean()), values.mean() - reach, values.mean() + reach, sd


def board(runs: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard of these runs, with one row that the article published."""
    paths = runs[runs["variant"] == "baseline"].set_index(["epochs", "seed"])["val/accuracy"]
    rows = []
    for (name, epochs), group in runs.groupby(["variant", "epochs"], sort=False):
        val, test = interval(group["val/accuracy"].to_numpy()), interval(group["test/accuracy"].to_numpy())
        pairs = group["val/accuracy"].to_numpy() - paths.loc[epochs].loc[group["seed"]].to_numpy()
        mean, low, high, _ = interval(pairs) if name != "baseline" else (np.nan,) * 4
        recalls = group[[f"test/recall/{label}" for label in CLASSES]].mean()
        verdict = "better" if low > 0 else "worse" if high < 0 else "open"
        rows.append(
            {
                "variant": name,
                "epochs": epochs,
                "seeds": len(group),
                **{f"val_accuracy{end}": value for end, value in zip(ENDS, val, strict=True)},
                **{f"test_accuracy{end}": value for end, value in zip(ENDS, test, strict=True)},
                "difference": mean,
                "difference_low": low,
                "difference_high": high,
                "bootstrap_low": low,
                "bootstrap_high": high,
                "p_value": {"better": 0.012, "worse": 0.031}.get(verdict, 0.44) if np.isfinite(mean) else np.nan,
                "better_probability": 0.5 if name == "baseline" else float(np.clip(0.5 + 30 * mean, 0, 1)),
                "verdict": "baseline" if name == "baseline" else verdict,
                "worst_class": str(recalls.idxmin()).removeprefix("test/recall/"),
                "worst_recall": float(recalls.min()),
                "parameters": group["parameters"].iloc[0],
                "train_seconds": group["train_seconds"].mean(),
                "run_id": " ".join(group["run_id"]),
                "status": "FINISHED",
            }
        )  # fmt: skip
    frame = pd.DataFrame(rows).sort_values("val_accuracy", ascending=False, kind="stable")
    frame.insert(0, "rank", pd.Series(range(1, len(frame) + 1), index=frame.index, dtype="Int64"))
    said = {"variant": "epochs=50 (article)", "epochs": 50, "seeds": 1, "val_accuracy": 0.9032,
            "test_accuracy": 0.9118, "verdict": "published", "run_id": "", "status": ""}  # fmt: skip
    return pd.concat([frame, pd.DataFrame([said])], ignore_index=True)


def effects(runs: pd.DataFrame, chosen: list[tuple[str, str, float, float]]) -> pd.DataFrame:
    """The effect of each level at each budget."""
    means = board(runs).set_index(["variant", "epochs"])
    rows = []
    for axis, level, *_ in chosen[1:]:
        for epochs in sorted(runs["epochs"].unique()):
            row = means.loc[(f"{axis.split('.')[-1]}={level}", epochs)]
            numbers = [row[key] for key in ("seeds", "difference", "difference_low", "difference_high", "p_value")]
            rows.append((axis, level, epochs, *numbers))
    frame = pd.DataFrame(rows, columns=["axis", "level", "epochs", "seeds", "effect", "low", "high", "p_value"])
    return frame.assign(plain=(frame["high"] - frame["low"]) / 4)


def claims(seeds: int, rungs: tuple[int, ...]) -> list[Verdict]:
    """One claim of every verdict."""
    last, ids, nan = max(rungs), ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"), float("nan")

    def step(before: str, after: str, gain: float) -> tuple[Reason, ...]:
        numbers = {"before": before, "after": after, "validation": gain, "test": gain - 0.001, "p": 0.01}
        return (Reason(ReasonKind.STEP, {**numbers, "p_images": nan}),)

    weakest = Reason(ReasonKind.WEAKEST, {"name": "Shirt", "recall": 0.7, "other": "Coat", "other_recall": 0.8})
    missing = Reason(ReasonKind.MISSING, {"names": ["the baseline"], "epochs": [10, 50]})

    return [
        Verdict("epochs", "50 epochs beat 10", Judgement.HOLDS, step("10 epochs", "50 epochs", 0.0124),
                0.0124, 0.0081, 0.0167, 0.003, seeds, 50, ids),
        Verdict("filters", "more filters are better", Judgement.OPEN,
                step("model.filters=64", "model.filters=128", 0.0041), 0.0041, -0.0012, 0.0094, 0.21, seeds, last, ids),
        Verdict("pooling", "max pooling beats average pooling", Judgement.HOLDS,
                step("model.pooling=average", "model.pooling=max", 0.007), 0.007, 0.0031, 0.0109, 0.018, seeds, last,
                ids),
        Verdict("augmentation", "the article's augmentation helps", Judgement.FAILS,
                step("augment=none", "augment=article", -0.0043), -0.0043, -0.0071, -0.0015, 0.02, seeds, last, ids),
        Verdict("shirt", "Shirt is the weakest class", Judgement.HOLDS, (weakest,),
                seeds=seeds, epochs=last, run_ids=ids),
        Verdict("published", "the published accuracies are within our interval", Judgement.NOT_RUN,
                (missing,), epochs=50),
    ]  # fmt: skip


DIAGNOSIS = [
    Finding(Kind.FAILED, "all runs", {"failed": 1, "ended": 120, "variants": {"filters=32": 1}}),
    Finding(Kind.IMPROVING, "scale=unit", {"epochs": 50, "since": 34, "rise": 0.006, "accuracy": 0.93, "p": 0.001}),
    Finding(Kind.OVERFITTING, "baseline", {"since": 21, "validation": (0.291, 0.334), "training": (0.2, 0.1)}),
    Finding(Kind.EDGE, "model.filters", {"epochs": 50, "is_largest": True, "levels": (128.0, 64.0),
                                         "accuracies": (0.91, 0.905), "p": 0.03, "seeds": 3}),
    Finding(Kind.SHORTER, "3", {"longer": 50, "picked": "scale=unit", "winner": "scale=unit", "place": 1, "behind": 0.0,
                                "variants": 10, "spearman": 0.84}),
]  # fmt: skip
NOTES = [
    "Validation accuracy ranks; the test set is scored once per run and never ranks.",
    "Intervals are 95 % Student t intervals over the seeds; differences are paired by seed.",
    "p-values are Holm-corrected over the comparisons of one budget.",
]


def renamed(old: str, new: str, given: Content) -> Content:
    """The findings with another name for a variant, wherever it stands."""
    return replace(
        given,
        leaderboard=given.leaderboard.assign(variant=given.leaderboard["variant"].replace(old, new)),
        runs=given.runs.assign(
            variant=given.runs["variant"].replace(old, new),
            run_name=given.runs["run_name"].str.replace(old, new, regex=False),
        ),
        effects=given.effects.assign(level=given.effects["level"].replace(old.split("=")[1], new)),
    )


def matrices(text: str) -> dict[str, Any]:
    block = re.search(r'<script type="application/json" id="matrices">(.*?)</script>', text)
    assert block
    content: dict[str, Any] = json.loads(block[1])
    return content
