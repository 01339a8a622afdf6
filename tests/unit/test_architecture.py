"""The arrows between the modules run down only, and each big library is used in few modules."""

import ast
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "fmnist"
MODULES = {
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): file
    for file in PACKAGE.rglob("*.py")
    if file.parent != PACKAGE or file.name != "__init__.py"
}
COMMANDS = {"train", "compare", "tune", "ui", "watch", "data", "runs", "champion", "reproduce", "server"}
LEVELS = [  # a module imports from levels below its own, or from its own folder
    {"environment", "schema", "words", "signals", "temporary"},
    {"config"},
    {"network"},
    {"identity", "checks", "image_files", "advice"},
    {"machine", "provenance", "training"},
    {"tracking", "analysis", "cli"},
    {"report"},
    {"artifacts"},
    {"run"},
    {"study"},
    {"work"},
    {"search"},
    COMMANDS,
]
LIBRARIES = {
    "mlflow": {
        "tracking.store",
        "tracking.client",
        "tracking.database",
        "tracking.frame",
        "tracking.searches",
        "tracking.server_requests",
        "tracking.run_writer",
        "tracking.registry",
        "tracking.shared_checkpoints",
        "tracking.scoring",
        "tracking.transfer",
        "tracking.chart_view",
    },
    "hydra": {"study.compose", "study.typed", "work.launcher", "work.sweeper"},
    "omegaconf": {"study.compose", "study.typed", "work.launcher"},
    "keras_tuner": {"search.oracles", "search.tuner"},
    "tensorflow": {"training.tensorflow_loop"},
    "jax": {"training.jax_loop", "training.xla"},
    "keras": {
        f"training.{name}"
        for name in ("engine", "model", "augment", "winograd", "tensorflow_loop", "jax_loop", "libraries")
    },
    "matplotlib": {
        f"report.{name}"
        for name in ("drawing", "figures", "intervals", "run_pictures", "search_picture", "sheet", "svg")
    },
    "rich": {
        "watch",
        "search.summary",
        "work.console",
        "work.display",
        "work.launcher",
        "work.sweep_progress",
        "work.progress",
    },
}


@cache
def imports(name):
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def own(name):
    """The project's modules that a module imports, as `training.data`."""
    return {found.removeprefix("fmnist.") for found in imports(name)} & set(MODULES)


def level(name):
    head = name.split(".")[0]
    return next(number for number, members in enumerate(LEVELS) if head in members)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_arrows_run_down_only(name):
    for other in own(name):
        same_folder = name.split(".")[0] == other.split(".")[0]
        assert same_folder or level(other) < level(name), f"{name} imports {other}"


def test_no_module_leads_back_to_itself():
    def reaches(start, goal, seen):
        return any(
            other == goal or (other not in seen and reaches(other, goal, seen | {other})) for other in own(start)
        )

    assert [name for name in MODULES if reaches(name, name, set())] == []


@pytest.mark.parametrize(("library", "allowed"), LIBRARIES.items())
def test_each_library_is_imported_only_where_it_belongs(library, allowed):
    users = {name for name in MODULES if any(found.split(".")[0] == library for found in imports(name))}
    assert users <= allowed


def test_training_itself_needs_keras_numpy_and_a_backend_alone():
    needed = {"training.engine", "training.checkpoint", "training.streams", "network"}
    while more := {other for name in needed for other in own(name)} - needed:
        needed |= more
    libraries = {found.split(".")[0] for name in needed for found in imports(name)} - sys.stdlib_module_names
    assert libraries == {"fmnist", "keras", "numpy", "tensorflow", "jax"}


def test_training_needs_neither_store_nor_study_nor_analysis():
    used = {other.split(".")[0] for name in MODULES if name.startswith("training.") for other in own(name)}
    assert used <= {"advice", "config", "identity", "network", "training", "words"}


def test_a_package_that_is_built_has_every_folder():
    named = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {file.parent.relative_to(PACKAGE.parent) for file in PACKAGE.rglob("*.py")}
    assert set(named) == {".".join(folder.parts) for folder in folders} | {"fmnist.conf"}


def test_analysis_returns_values_and_leaves_words_to_the_report():
    used = {other for name in MODULES if name.startswith("analysis") for other in own(name)}
    assert not {name for name in used if name.split(".")[0] in ("words", "report")}
