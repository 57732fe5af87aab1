"""Evidence read back from a stored event, so that a past visit can be judged again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gate.core.codes.model import (
    Appearance,
    Authenticity,
    CodeResult,
    Credential,
    Format,
    Freshness,
    LabTest,
    Reason,
    Status,
    Travel,
)
from gate.core.evidence import (
    Appointment,
    AttendantWord,
    Direction,
    Evidence,
    HandCheck,
    HouseholdPass,
    MaskStatus,
    Measurement,
    Origin,
    Person,
    Reading,
    Symptom,
    Unmeasured,
)


def recorded_evidence(event: Mapping[str, Any]) -> Evidence:
    """Return the evidence of a `visit.decided` event (`gate.core.events`), as it was judged.

    What no rule asks for is not on record and comes back as not given: what a code says of registration,
    travel, test, use and start (the evidence itself has what follows from it), how the code was checked, and
    details beyond 200 characters. Raises KeyError, TypeError, ValueError or AttributeError on anything else.
    """
    data = event["data"]
    found = data["evidence"]
    slot, held, test = found.get("appointment"), found.get("household_pass"), found.get("test")
    return Evidence(
        measurements=tuple(_measurement(taken) for taken in found["temperature"]),
        code=None if found["code"] is None else _code(found["code"]),
        several_codes=found["several_codes"],
        mask=MaskStatus(found["mask"]),
        registered=frozenset(found["registered"]),
        attendant=AttendantWord(found["attendant"]),
        by_hand=frozenset(HandCheck(check) for check in found.get("by_hand", ())),
        person=Person(found.get("person", Person.VISITOR)),
        direction=Direction(found.get("direction", Direction.IN)),
        at_s=_judged_s(event, found),
        travel=Travel(found.get("travel", Travel.UNKNOWN)),
        symptoms=frozenset(Symptom(symptom) for symptom in found.get("symptoms", ())),
        id_checked=found.get("id_checked"),
        appointment=slot and Appointment(**slot),
        test=test and LabTest(**test),
        origin=Origin(found.get("origin", Origin.UNKNOWN)),
        household_pass=held and HouseholdPass(**held),
        occupancy=found.get("occupancy"),
        suspended=found.get("suspended", False),
        last_measured_s=found.get("last_measured_s"),
        stale=frozenset(found.get("stale", ())),
    )


def _judged_s(event: Mapping[str, Any], found: Mapping[str, Any]) -> float | None:
    """Return when it was judged; the first events did not say it, and were written at once or marked late."""
    data = event["data"]
    if "at_s" in found or "late" in data or not data["clock"]["trusted"]:
        return found.get("at_s")
    return datetime.fromisoformat(event["time"]).timestamp()


def _measurement(taken: Mapping[str, Any]) -> Measurement:
    if "unmeasured" in taken:
        return Unmeasured(taken["unmeasured"], taken["detail"])
    return Reading(
        value_cc=taken["value_cc"],
        low_cc=taken["low_cc"],
        high_cc=taken["high_cc"],
        samples_cc=tuple(taken["samples_cc"]),
        spread_cc=taken["spread_cc"],
        ambient_cc=taken["ambient_cc"],
        corrections=tuple(taken["corrections"].items()),
    )


def _code(code: Mapping[str, Any]) -> CodeResult:
    return CodeResult(
        format=Format(code["format"]),
        reason=Reason(code["reason"]),
        status=Status(code["status"]),
        authenticity=Authenticity(code["authenticity"]),
        freshness=Freshness(code["freshness"]),
        credential=Credential(code["credential"]),
        issuer=code["issuer"],
        kid=code["kid"],
        subject_ref=code["subject"],
        valid_until=code["valid_until"],
        region=code.get("region"),
        pass_id=code.get("pass_id"),
        step=code.get("step"),
        appearance=Appearance(code.get("appearance", Appearance.NONE)),
    )
