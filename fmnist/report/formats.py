"""The formats of tables, and the files that results are put into. Imports nothing heavy by itself.

Names come from users, so every cell goes through its format's function in `HARMLESS`: it shows what stands there and
does nothing in a terminal, a spreadsheet, a browser or a paper.
"""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist.config import UserError, suggest
from fmnist.words import DASH, visible

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("table", "csv", "md", "json", "latex")
FORMAT = {
    "txt": "table",
    "csv": "csv",
    "md": "md",
    "json": "json",
    "tex": "latex",
    "html": "html",
}  # by a file's suffix
SEARCH_FORMATS = ("table", "csv", "md", "json")
DATA = ("csv", "json")  # in full precision; the others are to be read
WORDS = (
    "variant",
    "verdict",
    "worst class",
    "run",
    "status",
    "claim",
    "because",
    "search",
    "what",
    "file",
    "class",
    "runner-up",
    "background",
)  # the rest are numbers
_MARKUP = {"table": "simple", "md": "github", "latex": "latex_booktabs"}
_MARKDOWN = re.compile(r"[\\`*|~$]|(?<![^\W_])_|_(?![^\W_])|(?<=\])[(\[]|(?<=:)//|(?<=www)\.", re.IGNORECASE)
_HTML = re.compile(r"<(?=[a-z/!?])|&(?=#?\w+;)", re.IGNORECASE)
_FORMULA = tuple("=+-@＝＋－＠")


def check(format: str, formats: Sequence[str] = FORMATS) -> None:
    """Refuse an unknown format.

    Raises:
        ValueError: names the formats, and the nearest of them.
    """
    if format not in formats:
        raise ValueError(f"format must be one of {', '.join(formats)}, but got '{format}'{suggest(format, formats)}")


def minus(text: str) -> str:
    """A sentence whose numbers have minus signs instead of hyphens."""
    return re.sub(r"(?<![^\s(])-(?=\d)", "−", text)


def _markdown(text: str) -> str:
    """The text where GitHub would read tables, links, code, emphasis, formulas or HTML."""
    return _HTML.sub(lambda found: {"<": "&lt;", "&": "&amp;"}[found[0]], _MARKDOWN.sub(r"\\\g<0>", visible(text)))


def _spreadsheet(text: str) -> str:
    """The text, after an apostrophe where a spreadsheet would take it for a formula; numbers stay what they are."""
    shown = visible(text)
    try:
        float(shown)
    except ValueError:
        return "'" * shown.lstrip().startswith(_FORMULA) + shown
    return shown


HARMLESS: dict[str, Callable[[str], str]] = {
    "table": visible, "csv": _spreadsheet, "md": _markdown, "latex": visible,  # tabulate escapes what is LaTeX's own
}  # fmt: skip


def data(frame: "pd.DataFrame", format: str) -> str:
    """A frame as `csv` or `json` (records), without a newline at its end; what is missing is empty, or null."""
    if format == "csv":
        texts = frame.select_dtypes(exclude="number")
        safe = texts.map(lambda cell: HARMLESS["csv"](cell) if isinstance(cell, str) else cell)
        return frame.assign(**safe).to_csv(index=False, lineterminator="\n").rstrip("\n")
    return json.dumps(records(frame), indent=1 if len(frame) else None)


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows with None for what is missing."""
    return [{str(key): value for key, value in row.items()}
            for row in frame.astype(object).where(frame.notna(), None).to_dict("records")]  # fmt: skip


def table(texts: "pd.DataFrame", format: str) -> str:
    """A frame of texts as an aligned table (`table`), for GitHub (`md`) or for a paper (`latex`, needs booktabs)."""
    from tabulate import tabulate

    align = ["left" if heading in WORDS else "right" for heading in texts.columns]
    cells, headings = texts.astype(str).map(HARMLESS[format]).to_numpy().tolist(), list(texts.columns)
    text = tabulate(cells, headings, tablefmt=_MARKUP[format], disable_numparse=True, colalign=align)
    return text.replace("−", "$-$") if format == "latex" else text  # which LaTeX knows without packages


def terminal_width() -> int:
    """Characters that a line may have: the terminal's; 0, any, where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def filled(text: str, first: str = "", rest: str = "", width: int | None = None) -> str:
    """A text on as many lines as a width needs, the terminal's unless given, with what begins the first and others."""
    width = terminal_width() if width is None else width
    if not width:
        return first + text
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False,
                         break_on_hyphens=False)  # fmt: skip


def number(value: float, low: float, high: float, unit: str = "share") -> str:
    """A number with its interval as a cell: `92.00 [91.20, 92.80]`, shares in per cent."""
    return _cell(value, low, high, unit, "")


def difference(value: float, low: float, high: float, unit: str = "share") -> str:
    """The same of a signed difference, in points or in nats: `+1.20 [+0.80, +1.60]`."""
    return _cell(value, low, high, unit, "+")


def _cell(value: float, low: float, high: float, unit: str, sign: str) -> str:
    if isnan(value):
        return DASH
    scale, digits = (100, 2) if unit == "share" else (1, 4)
    form = f"{sign}.{digits}f"
    interval = f" [{scale * low:{form}}, {scale * high:{form}}]" if not isnan(low) else ""
    return f"{scale * value:{form}}{interval}".replace("-", "−")


def write(file: Path, content: str) -> None:
    """Write all of a file or nothing, and say so.

    Raises:
        UserError: it cannot be written.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(content, encoding="utf-8", errors="backslashreplace", newline="\n")
        part.replace(file)
    except OSError as error:
        with suppress(OSError):  # of a folder that is a file, say
            part.unlink()
        raise UserError(f"cannot write {file}: {error.strerror}") from error
    print(f"wrote {file}", file=sys.stderr)


def put(file: Path | None, text: str) -> None:
    """Write lines into a file, or where there is none to standard output."""
    lines = "\n".join(map(visible, text.split("\n")))  # sentences have names in them that no table has judged
    if file is None:
        print(lines)
    else:
        write(file, lines + "\n")
