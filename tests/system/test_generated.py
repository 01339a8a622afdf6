"""Whatever is typed, a command ends with 0 or 2 and at most one harmless line; what is typed is drawn from a seed."""

import random
import shutil
import signal
import sys

import pytest
from commands import here

from fmnist.cli.entry import enter
from fmnist.config import CONF, option_fields
from fmnist.search.space import TUNE, SearchConfig, check_search, dimensions
from fmnist.study import plan
from fmnist.study.compose import compose_config
from fmnist.study.declared import declare
from fmnist.tracking import load

KEYS = [key for key in option_fields(SearchConfig) if key not in ("store", "study.dry_run")]
OTHER_KEYS = (
    "study augment tuner tuner/space hydra.launcher.n_jobs hydra.mode hydra.verbose hydra lr optimizer.lr model "
    "study@x model.filters.0 study.axes.model.filters study.axes.foo study.axes.augment study.claims.x hydra/launcher "
    "tuner.space.model.dropout.max tuner.space.x"
)
VALUES = (
    "1 3 0 -1 0.5 1e-3 inf nan 1e400 99999999999999999999 true null [] {} [1,3] [[1,2],[3,4]] 1,2 raw,unit none max "
    "adam filters pooling grid wide '' a=b [1 {a: 'x \" ${x} ${oc.env:NOPE} ${epochs} ??? $ range(1,4) range(0,1e12) "
    "choice(1,2) interval(0,1) glob(*) int(3) int(x) sort(3,1) {a:{b:[1]}} é· %s%n {type:float,min:0,max:1} "
    "{says:s,weakest:Bag} \x1b[2J \u202e [[[[[[[[[[[[[[[[[[[[[[[[["
)
GOOD = "1 3 0.5 2.0 true max raw [1,3] [32,64] [max,average] [none,heavy] adam log [0.1,0.2] [true,false] 0 16"
BAD = ".inf .nan null -1 'x [ ] { *a !!python/name:os | ${x} ??? % @ 1e400 {} é &a \t {says:1}"
STUDY_KEYS = ["name", "question", "axes", "design", "rungs", "seeds", "claims", "dry_run", "sedes", "1"]
PARTS = ["step", "sampling", "when", "otherwise", "wehn", "min"]


def scalar(rng):
    return rng.choice((GOOD if rng.random() < 0.85 else BAD).split(" "))


def override(rng):
    key = rng.choice(KEYS if rng.random() < 0.7 else OTHER_KEYS.split())
    before, equals = rng.choice([*[""] * 4, "+", "++", "~"]), rng.choice([*["="] * 5, "", " = "])
    return before + key + equals + rng.choice(VALUES.split(" "))


def study_file(rng):
    lines = ["# @package _global_" if rng.random() < 0.9 else "", "study:", "  name: mine"]
    for key in rng.sample(STUDY_KEYS, rng.randrange(5)):
        if key in ("axes", "claims") and rng.random() < 0.7:
            lines.append(f"  {key}:")
            inner = rng.choice(KEYS) if key == "axes" else "x"
            lines.append(f"    {inner}: {scalar(rng)}")
        else:
            lines.append(f"  {key}: {scalar(rng)}")
    if rng.random() < 0.3:
        lines.append(f"{rng.choice(['model', 'data', 'hydra', 'defaults', 'nothing'])}: {scalar(rng)}")
    return "\n".join(lines) + "\n"


def space_file(rng):
    lines = []
    for _ in range(rng.randrange(1, 4)):
        key = rng.choice(
            [*(key for key in KEYS if key[:4] in ("mode", "augm", "opti")), "model.filters.0", "free", "seed"]
        )
        kind = rng.choice(
            ["type: choice, values: [{}, {}]", "type: float, min: {}, max: {}", "type: int, min: 1, max: {}"]
        )
        parts = [
            kind.format(scalar(rng), scalar(rng)),
            *(f"{part}: {scalar(rng)}" for part in PARTS if rng.random() < 0.05),
        ]
        lines.append(f"{key}: {{{', '.join(parts)}}}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def own_conf(tmp_path, monkeypatch):
    shutil.copytree(CONF, tmp_path / "conf")
    for module in ("study.compose", "study.typed", "study.declared"):
        monkeypatch.setattr(f"fmnist.{module}.CONF", tmp_path / "conf")
    return tmp_path / "conf"


@pytest.fixture
def ends_well(capsys, monkeypatch):
    """Checks that a body ends with 0, or 2 and one line."""
    monkeypatch.setattr(sys, "argv", ["fmnist.train"])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def check(body, what):
        try:
            code = enter("fmnist.train", body)
        except Exception as error:
            raise AssertionError(f"{what!r}: {type(error).__name__}: {error}") from error
        err = capsys.readouterr().err
        assert code in (0, 2) and err.count("\n") == (code == 2), (what, code, err)
        assert err.rstrip("\n").isprintable() and len(err) < 1100, (what, err)

    yield check
    for number, handler in handlers.items():
        signal.signal(number, handler)


def planned(overrides):
    config = compose_config(overrides)
    plan.variants(config.study, lambda more: compose_config([*overrides, *more]))
    if config.study.name in ("mine", "pooling"):
        declare(config.study.name, [text for text in overrides if not text.startswith("study=")], load("/nowhere"))


def searched(overrides):
    search = compose_config(overrides, TUNE)
    check_search(search)
    dimensions(search.tuner.space)


FEW = [("override", 40), ("study", 14), ("space", 14)]
MANY = [
    pytest.param("override", 500, marks=pytest.mark.slow),
    pytest.param("study", 150, marks=pytest.mark.slow),
    pytest.param("space", 100, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("kind", "number"), [*FEW, *MANY])
def test_whatever_is_typed_or_written_is_possible_or_one_line(kind, number, own_conf, ends_well):
    for seed in range(number):
        rng = random.Random(f"{kind} {seed}")
        if kind == "override":
            texts = [*rng.choice([[], ["study=pooling"]]), *(override(rng) for _ in range(rng.randrange(1, 4)))]
            ends_well(lambda texts=texts: planned(texts), texts)
            ends_well(lambda texts=texts: searched([text for text in texts if text != "study=pooling"]), texts)
        elif kind == "study":
            content = study_file(rng)
            (own_conf / "study" / "mine.yaml").write_text(content)
            ends_well(lambda: planned(["study=mine"]), content)
        else:
            content = space_file(rng)
            (own_conf / "tuner" / "space" / "mine.yaml").write_text(content)
            ends_well(lambda: searched(["tuner/space=mine", "tuner=random"]), content)


@pytest.mark.slow
def test_whatever_is_typed_the_command_itself_ends_well(images, tmp_path):
    for seed in range(150):
        rng = random.Random(seed)
        texts = [override(rng) for _ in range(rng.randrange(1, 4))]
        arguments = [
            *rng.choice([["-m"], ["study=smoke"]]),
            f"data.dir={images}",
            f"store={tmp_path}",
            *texts,
            "study.dry_run=true",
        ]
        for code in (0, 2):
            try:
                done = here("train", *arguments, code=code)
            except AssertionError:
                if code == 2:
                    raise
            else:
                assert done.stderr.count("\n") == (code == 2)
                break
