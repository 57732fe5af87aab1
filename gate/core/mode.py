"""The gate as a whole: which of its conditions counts most, and what it may do then."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gate.core.inputs import Device


class Mode(StrEnum):
    """What the gate is doing as a whole, in the order of what counts most."""

    EVACUATING = "evacuating"
    FAULT = "fault"
    DEGRADED = "degraded"
    SERVING = "serving"


@dataclass(slots=True)
class Conditions:
    """The facts that a mode follows from."""

    fire: bool = False
    ledger_failed: bool = False
    failed: set[Device] = field(default_factory=set)


# DEGRADED still serves: what cannot be measured is referred to the person on duty, visit by visit.
SERVES: Final = frozenset({Mode.SERVING, Mode.DEGRADED})


def mode_of(conditions: Conditions) -> Mode:
    """Return the mode that follows from the conditions: fire first, then the ledger, then the parts.

    A turnstile that cannot be moved is a fault: nobody is told to pass who then stands before a locked arm.
    """
    if conditions.fire:
        return Mode.EVACUATING
    if conditions.ledger_failed or Device.TURNSTILE in conditions.failed:
        return Mode.FAULT
    return Mode.DEGRADED if conditions.failed else Mode.SERVING
