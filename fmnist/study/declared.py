"""A declared study, worked out for a store: which runs belong to it, and what its claims compare."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import pandas as pd

from fmnist.analysis.claims import Claim, Side
from fmnist.analysis.leaderboard import PAIR_COLUMNS
from fmnist.analysis.rule import Rule
from fmnist.config import CLASSES, CONF, ComputeConfig, Config, StudyConfig, UserError, check_value, suggest
from fmnist.identity import parameters, sign, variant_name
from fmnist.schema import BASELINE
from fmnist.study import plan
from fmnist.study.compose import compose_config
from fmnist.tracking import as_text
from fmnist.words import plural, shown

# Which images are scored, and how.
SCORING = ("data.limit", "data.validation", "data.validation_rows", "data.augment_validation")
_HOW = "axis and levels (and at, margin), weakest, or published"


@dataclass(frozen=True)
class DeclaredStudy:
    """A study with the signatures of its variants."""

    name: str
    question: str
    design: str
    axes: dict[str, list[Any]]
    rungs: list[int]
    seeds: list[int]
    baseline: Side
    levels: dict[str, dict[str, str]]  # variant signature -> axis -> its level there
    base_levels: dict[str, str]  # axis -> the baseline's level
    options: dict[str, str]  # of the baseline, as the store has them
    claims: list[Claim]
    rule: Rule  # by which its differences are judged

    def own(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The runs of a store that belong to the study, whichever study they were made for.

        Variants go by what they change of the study's own baseline: `pooling=average`, whatever all have in common.
        """
        own = runs[runs["variant_signature"].isin(list(self.levels))]
        return own.assign(variant=own["variant_signature"].map(self._name).astype(object))

    @property
    def pair_columns(self) -> list[str]:
        """The columns that the runs of a pair share: those of `PAIR_COLUMNS` that it does not vary."""
        return [column for column in PAIR_COLUMNS if column not in self.axes]

    @property
    def designed(self) -> frozenset[str]:
        """Signatures of the variants that it declares, and of its baseline."""
        return self.baseline.signatures | self.levels.keys()

    def confirmed(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Fresh seeds of the best trials of searches: of the same data, so that the baseline's runs are pairs."""
        fresh = runs[runs["confirms"].astype(bool) & ~runs["variant_signature"].isin(list(self.designed))]
        for key in SCORING if len(fresh) else ():  # runs killed at once have no options
            fresh = fresh[fresh[key] == self.options[key]]
        return fresh[fresh["data_digest"].isin(self.own(runs)["data_digest"])]

    def other_settings(self, runs: pd.DataFrame) -> dict[str, int]:
        """With which options beside it the study was run instead, `data.limit=600`, and how many runs there are."""
        theirs = runs[(runs["study"] == self.name) & ~runs["variant_signature"].isin(list(self.levels))]
        ours = [key for key in self.options if key not in ("epochs", "seed") and key in theirs
                and not {key, key.split(".")[0]} & {"compute", *self.axes}]  # fmt: skip
        settings = [
            " ".join(f"{key}={row[key].replace(' ', '')}" for key in ours if self._is_other(key, row))
            for row in theirs.dropna(subset=ours).to_dict("records")
        ]
        return dict(Counter(filter(None, settings)).most_common())

    def _is_other(self, key: str, row: Mapping[Any, str]) -> bool:
        if key == "data.validation_rows" and row["data.limit"] != self.options["data.limit"]:
            return True  # whose usual number goes by the limit
        return row[key] != self.options[key]

    def _name(self, signature: str) -> str:
        if signature in self.baseline.signatures:
            return BASELINE
        levels = self.levels[signature].items()
        changed = [(axis, level) for axis, level in levels if level != self.base_levels[axis]] or levels
        return plan.point_name(changed)


def declare(study: str, overrides: Sequence[str], runs: pd.DataFrame, digest: str = "") -> DeclaredStudy:
    """Work out a declared study for what a store holds: variants are signed as its runs were computed.

    Args:
        study: its name, a file of conf/study/.
        overrides: that it was run with.
        runs: a row a run, as `fmnist.tracking.load` returns them.
        digest: of data that runs are about to see, if any.

    Raises:
        UserError: there is no such study, an override makes it impossible, or a claim cannot be understood.
    """
    _check_name(study)
    compose = _composer([f"study={study}", *overrides])
    base = compose(())
    if base.study.name != study:
        raise UserError(f"study {study} cannot be {base.study.name} too: leave out one of them")
    points = plan.variants(base.study, compose)
    contexts = list(dict.fromkeys([*_contexts(runs), *([("float32", digest)] if digest else [])]))

    def side(config: Config, name: str) -> Side:
        return Side(name, frozenset(_signature(config, *context) for context in contexts))

    def level(*texts: str) -> Side:
        return side(compose(texts), texts[-1])

    levels = {
        signature: dict(override.split("=", 1) for override in point.overrides)
        for point in points
        for signature in side(point.config, "").signatures
    }
    baseline = replace(side(base, BASELINE), changes=variant_name(base))
    return DeclaredStudy(
        name=study,
        question=base.study.question,
        design=base.study.design,
        axes=base.study.axes,
        rungs=sorted(base.study.rungs),
        seeds=sorted(base.study.seeds),
        baseline=baseline,
        levels=levels,
        base_levels=_base_levels(base.study.axes, base, compose),
        options={key: as_text(value) for key, value in parameters(base).items()},
        claims=[_claim(key, content, baseline, level) for key, content in base.study.claims.items()],
        rule=rule_of(base.study),
    )


def made_with(study: str, runs: pd.DataFrame) -> list[str]:
    """The options beside it with which most of a study's runs were made, data.limit=6000; none if it has runs without.

    Raises:
        UserError: there is no such study, or not any more as it was.
    """
    declared = declare(study, (), runs)
    if (declared.own(runs)["study"] == study).any():
        return []
    return next(iter(declared.other_settings(runs)), "").split()


def rule_of(study: StudyConfig) -> Rule:
    """The rule that a study declares: as many seeds as it may have at most are looked at once, fewer after each."""
    most = study.most_seeds
    is_fixed = len(set(study.seeds)) == most
    return Rule(most, most if is_fixed else min(3, most), study.margin / 100)


def _composer(overrides: Sequence[str]) -> plan.Compose:
    """Composes these overrides with more, the same ones once."""
    composed = cache(lambda *more: compose_config([*overrides, *more]))
    return lambda more: composed(*more)


def _contexts(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Each precision and data set that runs were computed with."""
    kinds = runs.reindex(columns=["compute.precision", "data_digest"]).dropna()  # attempts killed at once have none
    return list(dict.fromkeys(kinds.itertuples(index=False, name=None)))


def _check_name(study: str) -> None:
    studies = sorted(file.stem for file in (CONF / "study").glob("*.yaml") if file.stem != "none")
    if study not in studies:
        hint = suggest(study, studies)
        raise UserError(f"there is no study '{shown(study)}' in conf/study; known are {', '.join(studies)}{hint}")


def _signature(config: Config, precision: str, digest: str) -> str:
    own = config.compute.precision  # auto: whichever the runs were computed in
    compute = ComputeConfig(precision=precision if own == "auto" else own, threads=1)
    return sign(replace(config, compute=compute), digest).variant


def _base_levels(axes: Mapping[str, list[Any]], base: Config, compose: plan.Compose) -> dict[str, str]:
    """The level of each axis that changes nothing of the baseline, else its first."""
    base_levels: dict[str, str] = {}
    for axis, levels in axes.items():
        texts = [plan.override(axis, level) for level in levels]
        same = [text for text in texts if parameters(compose((text,))) == parameters(base)]
        base_levels[axis] = (same or texts)[0].split("=", 1)[1]
    return base_levels


def _claim(key: str, content: Any, baseline: Side, level: Callable[..., Side]) -> Claim:
    """A claim as the study's file writes it.

    Raises:
        UserError: it does not say what it compares.
    """
    where = f"study.claims.{shown(key)}"
    if not isinstance(content, dict) or "says" not in content:
        raise UserError(f"{where} must be {{says: A SENTENCE, ...}} with {_HOW}, but got {shown(content)}")
    says, how = content["says"], {name: value for name, value in content.items() if name != "says"}
    if not isinstance(says, str):
        raise UserError(f"{where}.says must be a sentence, but got {shown(says)}")
    match how:
        case {"weakest": name} if len(how) == 1:
            if name not in CLASSES:
                raise UserError(
                    f"{where}.weakest must be a class, but got '{shown(name)}'{suggest(str(name), CLASSES)}"
                )
            return Claim(key, says, weakest=name)
        case {"published": True} if len(how) == 1:
            return Claim(key, says, published=True)
        case {"axis": axis, "levels": levels, **other} if set(other) <= {"at", "margin"}:
            place = _place(where, other.get("at"))
            sides = _sides(where, axis, levels, baseline, partial(level, *place))
            return Claim(key, says, sides, margin=_margin(where, other.get("margin")))
    raise UserError(f"{where} must have {_HOW} beside says, but got {shown(', '.join(map(str, how))) or 'nothing'}")


def _margin(where: str, points: Any) -> float | None:
    """The claim's own margin, as a share."""
    if points is not None and (isinstance(points, bool) or not isinstance(points, int | float)):
        raise UserError(f"{where}.margin must be a number of percentage points, but got {shown(points)}")
    check_value(f"{where}.margin", points, least=0, most=100)
    return None if points is None else points / 100


def _place(where: str, at: Any) -> list[str]:
    """The overrides of the point at which levels are compared, where it is another than the baseline."""
    if not isinstance(at, dict | None):
        raise UserError(f"{where}.at must be options like {{data.scale: unit}}, but got {shown(at)}")
    return [plan.override(key, level) for key, level in (at or {}).items()]


def _sides(where: str, axis: str, levels: Any, baseline: Side, level: Callable[..., Side]) -> tuple[Side, ...]:
    """What a claim on an axis compares, each level as better than the one before it."""
    if not isinstance(levels, list) or len(levels) < 2:
        raise UserError(f"{where}.levels must be a list of at least two levels, but got {shown(levels)}")
    if axis == "epochs":
        for epochs in levels:
            if isinstance(epochs, bool) or not isinstance(epochs, int):
                raise UserError(f"{where}.levels must be numbers of epochs, but got {shown(epochs)}")
        return tuple(replace(baseline, name=plural(epochs, "epoch"), epochs=epochs) for epochs in levels)
    try:
        return tuple(level(plan.override(axis, each)) for each in levels)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
