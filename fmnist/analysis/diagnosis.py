"""What the numbers warn of, as sentences."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing to know: its kind (a heading), what it is about (a variant, an axis) and a sentence with its numbers."""

    kind: str
    subject: str
    text: str
