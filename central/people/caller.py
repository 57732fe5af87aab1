"""Who asks about persons, why, and what they have done: what an entry of the access log is made of."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

BY_MAX: Final = 64
REASON_MAX: Final = 200


class What(StrEnum):
    """What was done."""

    PERSON = "person"
    ROUNDS = "rounds"
    RISK = "risk"
    TRACE = "trace"
    REVEAL = "reveal"
    ERASE = "erase"
    RETENTION = "retention"
    """One run of the retention job, with what it was to do."""
    SEALED_ERASED = "sealed_erased"
    RETIRED = "retired"
    """`about.digest`: how far records are retired since then (`central.store.retired.summary`)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and why. Raises ValueError for what says neither.

    `by`: 1 to 64, `reason`: 3 to 200 printable characters.
    """

    by: str
    reason: str

    def __post_init__(self) -> None:
        """Refuse what nobody could be held to."""
        if not 1 <= len(self.by) <= BY_MAX or not self.by.isprintable() or self.by.strip() != self.by:
            raise ValueError(f"by: a name of 1 to {BY_MAX} printable characters")
        if not 3 <= len(self.reason.strip()) <= REASON_MAX or not self.reason.isprintable():
            raise ValueError(f"reason: 3 to {REASON_MAX} printable characters")
