"""What a verified code and the documents of the day add to the evidence of a visit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gate.core.codes.model import Circumstances, CodeResult, Credential, Freshness, Reason, Travel
from gate.core.documents import Documents, Kind
from gate.core.evidence import Appointment, Direction, Evidence, HouseholdPass, Origin, Person
from gate.core.uses import Uses

_PERSONS: Final = {
    Credential.STAFF: Person.STAFF,
    Credential.RESIDENT: Person.RESIDENT,
    Credential.HOUSEHOLD: Person.RESIDENT,
    Credential.SUPPLY: Person.SUPPLY,
}


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a gate knows beside the visit itself: which way it leads, who has passed, today's documents.

    `stale` are the kinds of documents that have come once and are out of their time: they are not used, and
    the evidence says so. `measured_s` is when members of staff were last measured, by pseudonym.
    """

    direction: Direction
    passback_s: int
    uses: Uses
    documents: Documents
    stale: frozenset[Kind]
    measured_s: Mapping[str, float]


def completed(evidence: Evidence, known: Knowledge, at: Circumstances) -> Evidence:
    """Return the evidence with all that follows from the code, the documents and the instant of judging."""
    counted = None if Kind.OCCUPANCY in known.stale else known.documents.occupancy()
    evidence = replace(
        evidence,
        direction=known.direction,
        at_s=at.now_ms / 1000 if at.clock_trusted else None,
        occupancy=None if counted is None else counted.count,
        stale=frozenset(str(kind) for kind in known.stale),
    )
    code = None if evidence.code is None else _unless_replayed(evidence.code, known, at)
    if code is None or not code.verified:
        return replace(evidence, code=code)
    return replace(
        evidence,
        code=code,
        person=_person(evidence.person, code, known),
        registered=evidence.registered | code.registered,
        travel=_graver(evidence.travel, code.travel),
        origin=_origin(evidence.origin, code, known),
        test=evidence.test or code.test,
        appointment=_appointment(code, known, at),
        household_pass=_household_pass(code, known),
        last_measured_s=known.measured_s.get(code.subject_ref or ""),
    )


def _unless_replayed(code: CodeResult, known: Knowledge, at: Circumstances) -> CodeResult:
    # An appointment is used once: its own rule says so, and better.
    if code.credential is Credential.APPOINTMENT or not code.verified:
        return code
    if known.uses.replayed(code, known.direction, at.now_ms, known.passback_s):
        return replace(code, reason=Reason.REPLAY, freshness=Freshness.REPLAYED)
    return code


def _person(said: Person, code: CodeResult, known: Knowledge) -> Person:
    if code.credential in _PERSONS:
        return _PERSONS[code.credential]
    if Kind.RESIDENTS in known.stale or code.subject_ref is None:
        return said
    return Person.RESIDENT if known.documents.is_resident(code.subject_ref) else said


def _graver(one: Travel, other: Travel) -> Travel:
    if Travel.RISK_AREA in {one, other}:
        return Travel.RISK_AREA
    return one if other is Travel.UNKNOWN else other


def _origin(said: Origin, code: CodeResult, known: Knowledge) -> Origin:
    if Kind.RISK_AREAS in known.stale or code.region not in known.documents.risk_areas():
        return said
    return Origin.KEY_AREA


def _appointment(code: CodeResult, known: Knowledge, at: Circumstances) -> Appointment | None:
    """Return the slot on the pass itself, or the next one booked for its holder."""
    if code.credential is Credential.APPOINTMENT and code.valid_from and code.valid_until:
        used = known.uses.count(code, Direction.IN) > 0
        return Appointment(code.valid_from, code.valid_until, code.issued_at, used)
    if Kind.APPOINTMENTS in known.stale or code.subject_ref is None:
        return None
    rows = known.documents.appointments(code.subject_ref)
    row = next((row for row in rows if row.valid_until * 1000 >= at.now_ms), rows[-1] if rows else None)
    if row is None:
        return None
    used = (known.uses.last_ms(code, Direction.IN) or 0) >= row.valid_from * 1000
    return Appointment(row.valid_from, row.valid_until, row.booked_at, used)


def _household_pass(code: CodeResult, known: Knowledge) -> HouseholdPass | None:
    if code.credential not in {Credential.HOUSEHOLD, Credential.SUPPLY}:
        return None
    if not (code.valid_from and code.valid_until):
        return None
    left = None if code.uses_max is None else code.uses_max - known.uses.count(code, known.direction)
    return HouseholdPass(code.valid_from, code.valid_until, left)
