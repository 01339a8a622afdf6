"""What the numbers warn of, as sentences."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing to know: its kind, what it is about (a variant, an axis or nothing) and a sentence with the numbers."""

    kind: str
    subject: str
    text: str
