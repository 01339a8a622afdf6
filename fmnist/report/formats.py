"""The formats of tables, and the files that results are put into. Imports nothing heavy by itself."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist.config import UserError, suggest
from fmnist.words import DASH

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
WORDS = ("variant", "verdict", "worst class", "run", "status", "claim", "because", "search")  # the rest are numbers
_MARKUP = {"table": "simple", "md": "github", "latex": "latex_booktabs"}


def check(format: str, formats: Sequence[str] = FORMATS) -> None:
    """Refuse an unknown format.

    Raises:
        ValueError: names the formats, and the nearest of them.
    """
    if format not in formats:
        raise ValueError(f"format must be one of {', '.join(formats)}, but got '{format}'{suggest(format, formats)}")


def data(frame: "pd.DataFrame", format: str) -> str:
    """A frame as `csv` or `json` (records), without a newline at its end; what is missing is empty, or null."""
    if format == "csv":
        return frame.to_csv(index=False).rstrip("\n")
    return json.dumps(records(frame), indent=1 if len(frame) else None)


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows with None for what is missing."""
    return [{str(key): value for key, value in row.items()}
            for row in frame.astype(object).where(frame.notna(), None).to_dict("records")]  # fmt: skip


def table(texts: "pd.DataFrame", format: str) -> str:
    """A frame of texts as an aligned table (`table`), for GitHub (`md`) or for a paper (`latex`, needs booktabs)."""
    from tabulate import tabulate

    align = ["left" if heading in WORDS else "right" for heading in texts.columns]
    cells, headings = texts.astype(str).to_numpy().tolist(), list(texts.columns)
    return tabulate(cells, headings, tablefmt=_MARKUP[format], disable_numparse=True, colalign=align)


def number(value: float, low: float, high: float, unit: str = "share") -> str:
    """A number with its interval as a cell: `92.00 [91.20, 92.80]`, shares in per cent."""
    return _cell(value, low, high, unit, "")


def difference(value: float, low: float, high: float, unit: str = "share") -> str:
    """The same of a signed difference, in points or in nats: `+1.20 [+0.80, +1.60]`."""
    return _cell(value, low, high, unit, "+").replace("-", "−")


def _cell(value: float, low: float, high: float, unit: str, sign: str) -> str:
    if isnan(value):
        return DASH
    scale, digits = (100, 2) if unit == "share" else (1, 4)
    form = f"{sign}.{digits}f"
    interval = f" [{scale * low:{form}}, {scale * high:{form}}]" if not isnan(low) else ""
    return f"{scale * value:{form}}{interval}"


def write(file: Path, content: str) -> None:
    """Write all of a file or nothing, and say so.

    Raises:
        UserError: it cannot be written.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(content, encoding="utf-8")
        part.replace(file)
    except OSError as error:
        with suppress(OSError):  # of a folder that is a file, say
            part.unlink()
        raise UserError(f"cannot write {file}: {error.strerror}") from error
    print(f"wrote {file}", file=sys.stderr)


def put(file: Path | None, text: str) -> None:
    """Write lines into a file, or where there is none to standard output."""
    if file is None:
        print(text)
    else:
        write(file, text + "\n")
