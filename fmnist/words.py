"""Numbers and addresses as people read them; what is missing is a dash."""

import math
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeGuard

DASH = "–"
# Control characters, ends of lines, turned directions of reading, halves of characters.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _is_known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def percent(share: float | None, digits: int = 2) -> str:
    """0.91234 as `91.23 %`."""
    return f"{100 * share:.{digits}f} %" if _is_known(share) else DASH


def points(share: float | None) -> str:
    """0.0123 as `+1.23`, in percentage points."""
    return f"{100 * share:+.2f}".replace("-", "−") if _is_known(share) else DASH


def interval(low: float | None, high: float | None, signed: bool = False) -> str:
    """`90.9 to 91.5`, or with signs `+0.80 to +1.60`; empty if an end is missing."""
    if not (_is_known(low) and _is_known(high)):
        return ""
    return f"{points(low)} to {points(high)}" if signed else f"{100 * low:.2f} to {100 * high:.2f}"


def p_value(p: float | None) -> str:
    """0.0123 as `0.012`, and what is smaller than 0.001 as that."""
    if not _is_known(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def duration(seconds: float | None) -> str:
    """Seconds as `12.3 s`, `4.5 min` or `2.1 h`."""
    if not _is_known(seconds):
        return DASH
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def count(number: float | None) -> str:
    """940170 as `940,170`."""
    return f"{int(number):,}" if _is_known(number) else DASH


def plural(number: float, noun: str) -> str:
    """`1 run`, `2 runs`, `3 trajectories`."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeou" else f"{noun}s"
    return f"{number:,.10g} {noun if number == 1 else several}"


def score(value: float | None, unit: str, signed: bool = False) -> str:
    """A metric or a difference of two: shares as `91.23 %` and `+1.23 points`, nats as `0.1234`."""
    if not _is_known(value):
        return DASH
    if unit == "share":
        return f"{points(value)} points" if signed else percent(value)
    return f"{value:{'+' * signed}.4f}".replace("-", "−")


def clock(seconds: float) -> str:
    """`1:02:03`."""
    return str(timedelta(seconds=round(seconds)))


def harmless(text: str, most: int = 1000) -> str:
    """A text on one line of at most so many characters, without any that a terminal would obey."""
    line = visible(text[: most + 1])
    return line if len(line) <= most else f"{line[: most - 1]}…"


def shown(value: Any) -> str:
    """A value that somebody has typed, to be told in a message: as YAML writes it, and no more than a line of it."""
    plain = {None: "null", True: "true", False: "false"}
    return harmless(plain[value] if value is None or isinstance(value, bool) else str(value), 100)


def some(texts: Sequence[str], separator: str = "; ", most: int = 3) -> str:
    """The first few of several texts, and how many more there are."""
    more = [f"and {len(texts) - most:,} more"] if len(texts) > most else []
    return separator.join([*texts[:most], *more])


def without_passwords(text: str) -> str:
    """`http://user:***@host` for an address with a password, and `?password=***` for one that has it there."""
    text = re.sub(r"(://[^/\s:@]*:)[^/\s]+@", r"\1***@", text)
    return re.sub(r"([?&]\w*(?:password|passwd|pwd|token|secret)=)[^&\s'\"]+", r"\1***", text, flags=re.IGNORECASE)


def visible(text: str) -> str:
    """The text with what steers a terminal spelled out, `\\x1b`."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
