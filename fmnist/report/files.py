"""The one way in which results are put into files."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from fmnist.config import UserError


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
