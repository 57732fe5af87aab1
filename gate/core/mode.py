"""The gate as a whole: which of its conditions counts most, and what it may do then."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gate.core.documents import Kind
from gate.core.inputs import Device


class Mode(StrEnum):
    """What the gate is doing as a whole, in the order of what counts most."""

    EVACUATING = "evacuating"
    FAULT = "fault"
    SUSPENDED = "suspended"
    CLOSED_HOURS = "closed_hours"
    DEGRADED = "degraded"
    SERVING = "serving"


@dataclass(slots=True)
class Conditions:
    """The facts that a mode follows from."""

    fire: bool = False
    ledger_failed: bool = False
    failed: set[Device] = field(default_factory=set)
    suspended: bool = False
    closed: bool = False
    stale: frozenset[Kind] = frozenset()


# DEGRADED still serves: what cannot be measured is referred to the person on duty, visit by visit. So do
# SUSPENDED and CLOSED_HOURS: staff pass, and visitors are told.
SERVES: Final = frozenset({Mode.SERVING, Mode.DEGRADED, Mode.SUSPENDED, Mode.CLOSED_HOURS})


def mode_of(conditions: Conditions) -> Mode:
    """Return the mode that follows from the conditions: fire first, then the ledger, then the parts.

    A turnstile that cannot be moved is a fault: nobody is told to pass who then stands before a locked arm.
    """
    if conditions.fire:
        return Mode.EVACUATING
    if conditions.ledger_failed or Device.TURNSTILE in conditions.failed:
        return Mode.FAULT
    if conditions.suspended:
        return Mode.SUSPENDED
    if conditions.closed:
        return Mode.CLOSED_HOURS
    # Without a verify service or the desk's socket most visitors are served as ever.
    failed = conditions.failed - {Device.HEALTH_SERVICE, Device.DESK}
    return Mode.DEGRADED if failed or conditions.stale else Mode.SERVING
