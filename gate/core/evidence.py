"""What the gate has found out about one visitor; every part may be unknown, and unknown is never normal."""

from dataclasses import dataclass
from enum import StrEnum

from gate.core.codes.model import CodeResult


@dataclass(frozen=True, slots=True)
class Reading:
    """One temperature reading: several samples, corrected, with the interval that holds the true value.

    All temperatures are integers in centi-degrees Celsius. `corrections` are the named terms that were
    added to the median of the samples to give `value_cc`.
    """

    value_cc: int
    low_cc: int
    high_cc: int
    samples_cc: tuple[int, ...] = ()
    spread_cc: int = 0
    ambient_cc: int | None = None
    corrections: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A measurement that gave no value; `reason` is the thermometer's own word for why."""

    reason: str
    detail: str = ""


Measurement = Reading | Unmeasured


class MaskStatus(StrEnum):
    """Whether a mask is worn, as the attendant or a detector says."""

    WORN = "worn"
    MISSING = "missing"
    UNKNOWN = "unknown"


class AttendantWord(StrEnum):
    """What the person on duty has said about this visit."""

    NONE = "none"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known about one visit at the instant of a decision.

    `measurements` are in the order taken, at most two: the second decides (prevention plans, common core).
    `registered` are the registration fields already taken, by the words of `codes.model`.
    """

    measurements: tuple[Measurement, ...] = ()
    code: CodeResult | None = None
    several_codes: bool = False
    mask: MaskStatus = MaskStatus.UNKNOWN
    registered: frozenset[str] = frozenset()
    attendant: AttendantWord = AttendantWord.NONE
