"""Commands that are advised, as they work where they are read: by make in a checkout, by their modules elsewhere."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from fmnist.config import PACKAGE

_STUDY = "article"  # which make sweeps and reports on unless it is told another
MODULES = {  # what each target of the Makefile calls; {} stands for the study
    "sweep": "fmnist.train study={}",
    "settle": "fmnist.train study={} study.settle=true",
    "report": "fmnist.compare --study {0} --format html --out experiments/{0}",
    "compare": "fmnist.compare",
    "data": "fmnist.data",
    "server-stop": "fmnist.server stop",
    "tune": "fmnist.tune",
    "ui": "fmnist.ui",
    "watch": "fmnist.watch",
}


def command_for(target: str, study: str = "", arguments: Sequence[str] = ()) -> str:
    """`make compare STUDY=filters ARGS="data.limit=600"`, or where its Makefile is not in the folder, what that calls.

    Args:
        target: of the Makefile.
        study: by its name; none: the target's usual one.
        arguments: words of a command line, which a shell, and make's own shell after it, will hand on as they are.
    """
    plain = [text if re.fullmatch(r"[\w@%+=:,./\[\]-]+", text) else shlex.quote(text) for text in arguments]
    if _is_checkout():
        escaped = re.sub(r'(["\\`])', r"\\\1", " ".join(plain)).replace("$", r"\$\$")
        return f"make {target}{f' STUDY={study}' if study else ''}" + (f' ARGS="{escaped}"' if escaped else "")
    # Make writes what it compares into the checkout's experiments/ too, which only the checkout has.
    about = ["--study", study] if target == "compare" and study else []
    return " ".join([f"python -m {MODULES[target].format(study or _STUDY)}", *about, *plain])


def _is_checkout() -> bool:
    """Whether this folder is that of the checkout that runs."""
    return (PACKAGE.parent / "Makefile").is_file() and Path.cwd() == PACKAGE.parent.resolve()
