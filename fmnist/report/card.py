"""The model card of a registered version: what it is, what it is worth, where it is weak, and how to get it again."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fmnist.analysis.champion import Choice
from fmnist.analysis.stats import wilson
from fmnist.config import CLASSES, Config
from fmnist.identity import command, default_parameters, differing, parameters
from fmnist.report.formats import HARMLESS, difference, number
from fmnist.schema import COLUMNS, TEST_ACCURACY, VAL_ACCURACY, Comparison
from fmnist.tracking import StoredRun
from fmnist.training.evaluation import confusion
from fmnist.words import duration, p_value, percent, plural, some

_WEAKEST = 3  # classes that are spoken of
_VERDICTS = {
    Comparison.BETTER: "better than the baseline",
    Comparison.NO_DIFFERENCE: "no difference from the baseline that matters",
    Comparison.OPEN: "its verdict is open",
    Comparison.ONE_SEED: "one seed, which tells nothing",
    Comparison.SEEDS_FAILED: "seeds of its baseline have failed",
    Comparison.WORSE: "worse than the baseline",
    Comparison.NONE: "there is no baseline to compare it with (--study NAME says which)",
}


def reasons(choice: Choice, settling: str = "") -> Iterator[str]:
    """Why a run is the one, as sentences.

    Args:
        choice: the run.
        settling: the command that would train what its verdict waits for, if any.
    """
    row = choice.row
    verdict = _VERDICTS.get(row["verdict"], "the baseline" if choice.is_settled else "nothing is told from it yet")
    tested = f", p {p_value(row['p_value'])}" if row["p_value"] == row["p_value"] else ""
    effect = difference(row["difference"], row["difference_low"], row["difference_high"])
    pairs = f", {effect} points on {plural(row['pairs'], 'seed')}{tested}" if row["pairs"] else ""
    yield f"{row['variant']} after {plural(row['epochs'], 'epoch')}: {verdict}{pairs}."
    if not choice.is_settled:
        more = f"; '{settling}' trains what is missing" if settling else ""
        yield f"So it is a candidate, not the champion{more}."
    if choice.equals:
        names = [f"{name} (the highest mean)" if name == choice.best else name for name in choice.equals]
        cost = f"{plural(row['flops_per_image'], 'operation')} for an image in a training step"
        yield f"As good, as far as its seeds tell, but no cheaper: {some(names, ', ', most=5)}. It takes {cost}."
    if choice.is_median and row["seeds"] > 1:
        yield f"Of its {plural(row['seeds'], 'seed')} this run is the nearest to their median in validation."


def card(
    run: StoredRun,
    config: Config,
    choice: Choice,
    *,
    because: str,
    labels: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
) -> str:
    """The card, in Markdown.

    Args:
        run: that is registered.
        config: its options.
        choice: its variant's figures.
        because: why it is the one.
        labels: (n,) of the test images.
        predicted: (n,) by the run.
    """
    parts = {
        "Data": _data(run, len(labels)),
        "Recipe": _recipe(run, config),
        "Figures": _figures(run, choice, len(labels)),
        "Weak classes": _weak_classes(labels, predicted),
        "Limits": _limits(run),
        "Again": _again(run, config),
    }
    body = "\n\n".join(f"## {head}\n\n{text}" for head, text in parts.items())
    return f"# {HARMLESS['md'](run.name)}\n\n{HARMLESS['md'](because)}\n\n{body}\n"


def _data(run: StoredRun, tested: int) -> str:
    validated, digest = (COLUMNS[name].read(run.tags) for name in ("validation_images", "data_digest"))
    return (
        f"Fashion-MNIST, digest `{digest}`: {validated:,} images validate, {tested:,} test. An image is 28x28 "
        "numbers from 0 to 255, bright cloth on black; scaling is part of the model."
    )


def _recipe(run: StoredRun, config: Config) -> str:
    changes = differing(parameters(config), default_parameters())
    options = ", ".join(f"`{key}={value}`" for key, value in changes.items()) or "nothing"
    return f"What differs from the article's baseline: {options}. Recipe {COLUMNS['recipe'].read(run.tags)}."


def _figures(run: StoredRun, choice: Choice, tested: int) -> str:
    row, lines = choice.row, ["| | this run | mean over its seeds, 95 % |", "| --- | --- | --- |"]
    for metric in (VAL_ACCURACY, TEST_ACCURACY):
        ends = (row[metric.column], row[f"{metric.column}_low"], row[f"{metric.column}_high"])
        lines.append(f"| {metric.label} | {percent(run.metrics.get(metric.key))} | {number(*ends)} % |")
    low, high = wilson(run.metrics.get(TEST_ACCURACY.key, float("nan")), tested)
    return "\n".join(lines) + (
        f"\n\nWere the {tested:,} test images others, this run's test accuracy would be from {percent(float(low))} to "
        f"{percent(float(high))} (Wilson, 95 %). {plural(row['parameters'], 'parameter')}, trained in "
        f"{duration(run.metrics.get('time/train_s'))}."
    )


def _weak_classes(labels: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> str:
    counts = confusion(labels, predicted)
    recalls = np.diag(counts) / np.maximum(1, counts.sum(axis=1))
    lines = []
    for label in np.argsort(recalls, kind="stable")[:_WEAKEST]:
        others = np.where(np.arange(len(counts)) == label, 0, counts[label])
        taken = f", most often taken for {CLASSES[others.argmax()]} ({others.max()} of {counts[label].sum():,})"
        lines.append(f"- {CLASSES[label]}: {percent(recalls[label], 1)} recognised{taken if others.any() else ''}")
    return "\n".join(lines)


def _limits(run: StoredRun) -> str:
    lines = [
        "Validation chose it; the test images chose nothing.",
        "Intervals over seeds are of the luck of training on these images, not of their choice.",
        "It knows ten classes and names one of them for whatever it is shown; its probabilities are not calibrated.",
        "It has seen single pieces of cloth, cut out, centred and facing the camera; photographs of another kind have "
        "not been tried.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _again(run: StoredRun, config: Config) -> str:
    code = f"commit `{run.commit}`" if run.commit else "a commit that is not known"
    again = f"    python -m fmnist.reproduce {run.run_id[:8]}\n    {command(config)}"
    return f"Run `{run.run_id}`, of {code}; trained again and held against its record, and alone:\n\n{again}"
