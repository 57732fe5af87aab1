"""What the gate has found out about one visitor; every part may be unknown, and unknown is never normal."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gate.core.codes.model import CodeResult, LabTest, Travel


@dataclass(frozen=True, slots=True)
class Reading:
    """One temperature reading: several samples, corrected, with the interval that holds the true value.

    All temperatures are centi-degrees Celsius, whole ones wherever a device has measured. `corrections` are
    the named terms that were added to the median of the samples to give `value_cc`.
    """

    value_cc: int
    low_cc: float
    high_cc: float
    samples_cc: tuple[int, ...] = ()
    spread_cc: int = 0
    ambient_cc: int | None = None
    corrections: tuple[tuple[str, int], ...] = ()


THERMOMETER_FAULTS: Final = frozenset(
    {"bus_error", "pec_error", "sensor_error", "timeout", "frozen", "not_available", "no_answer"}
)
"""Words of the thermometer that mean the part, not the visitor, is at fault."""


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A measurement that gave no value; `reason` is the thermometer's own word for why."""

    reason: str
    detail: str = ""


Measurement = Reading | Unmeasured


class Person(StrEnum):
    """The class of people that a plan treats alike; who shows nothing else is a visitor."""

    VISITOR = "visitor"
    STAFF = "staff"
    RESIDENT = "resident"
    SUPPLY = "supply"


class Direction(StrEnum):
    """Which way somebody wants to pass."""

    IN = "in"
    OUT = "out"


class MaskStatus(StrEnum):
    """Whether a mask is worn, as the attendant or a detector says."""

    WORN = "worn"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Symptom(StrEnum):
    """What the person on duty has noted of a visitor's state (SB-2, AH-4, CO-4)."""

    FEVER = "fever"
    COUGH = "cough"
    COLD = "cold"
    BREATHING_DIFFICULTY = "breathing_difficulty"
    AIRWAY_INFECTION = "airway_infection"


class Origin(StrEnum):
    """Whether somebody comes from a key area (TR-3, TR-4)."""

    KEY_AREA = "key_area"
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"


class AttendantWord(StrEnum):
    """What the person on duty has said about this visit."""

    NONE = "none"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


class HandCheck(StrEnum):
    """What the person on duty has done by hand because the gate could not."""

    IDENTITY = "identity"
    REGISTRATION = "registration"
    TEMPERATURE = "temperature"


@dataclass(frozen=True, slots=True)
class Appointment:
    """A booked slot, both ends included, in unix seconds; `booked_s` is when it was made (AH-1).

    What nobody has said is None.
    """

    from_s: float | None
    until_s: float | None
    booked_s: float | None = None
    used: bool = False


@dataclass(frozen=True, slots=True)
class HouseholdPass:
    """A household's or a supplier's pass: its hours, both ends included, in unix seconds (SA-5).

    `uses_left` is None where the pass may be used any number of times, an end where nobody has said it.
    """

    from_s: float | None
    until_s: float | None
    uses_left: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known about one visit at the instant of a decision.

    `at_s` is wall time in unix seconds, None while the clock is not trusted. `measurements` are in the order
    taken, at most two: the second decides (prevention plans, common core). `registered` are the registration
    fields already taken, by the words of `codes.model`; `id_checked` is None where nobody has said.
    `occupancy` is the number of people inside before this one; `last_measured_s` is when a member of staff
    was last measured; `stale` are the kinds of documents that are out of their time.
    """

    measurements: tuple[Measurement, ...] = ()
    code: CodeResult | None = None
    several_codes: bool = False
    mask: MaskStatus = MaskStatus.UNKNOWN
    registered: frozenset[str] = frozenset()
    attendant: AttendantWord = AttendantWord.NONE
    by_hand: frozenset[HandCheck] = frozenset()
    person: Person = Person.VISITOR
    direction: Direction = Direction.IN
    at_s: float | None = None
    travel: Travel = Travel.UNKNOWN
    symptoms: frozenset[Symptom] = frozenset()
    id_checked: bool | None = None
    appointment: Appointment | None = None
    test: LabTest | None = None
    origin: Origin = Origin.UNKNOWN
    household_pass: HouseholdPass | None = None
    occupancy: int | None = None
    suspended: bool = False
    last_measured_s: float | None = None
    stale: frozenset[str] = frozenset()
