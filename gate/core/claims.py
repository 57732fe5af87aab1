"""What a verified code and the documents of the day add to the evidence of a visit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gate.core.codes.model import (
    Authenticity,
    Circumstances,
    CodeResult,
    Credential,
    Freshness,
    Reason,
    Travel,
)
from gate.core.documents import Appointment as Booking
from gate.core.documents import Documents, Kind
from gate.core.evidence import Appointment, Direction, Evidence, HouseholdPass, Origin, Person
from gate.core.uses import Uses

_PERSONS: Final = {
    Credential.STAFF: Person.STAFF,
    Credential.RESIDENT: Person.RESIDENT,
    Credential.HOUSEHOLD: Person.RESIDENT,
    Credential.SUPPLY: Person.SUPPLY,
}


# An authentic code says who its holder is, also when it is out of its time or was used a moment ago.
_TELLS: Final = frozenset(
    {
        Reason.OK,
        Reason.EXPIRED,
        Reason.NOT_YET_VALID,
        Reason.CLOCK_UNTRUSTED,
        Reason.REPLAY,
        Reason.STATUS_YELLOW,
        Reason.STATUS_RED,
    }
)
# Appointments are counted under a name of their own, so that one is used once whichever pass it is used with.
_BOOKED: Final = "appointment"


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a gate knows beside the visit itself: which way it leads, who has passed, today's documents.

    `by_appointment`: the plan asks for one. `revoked` holds (issuer, pass id). `stale` are the kinds of
    documents that have come once and are out of their time: they are not used, and the evidence says so.
    `measured_s` is when members of staff were last measured, by pseudonym.
    """

    direction: Direction
    by_appointment: bool
    passback_s: int
    uses: Uses
    documents: Documents
    revoked: frozenset[tuple[str, str]]
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
    code = None if evidence.code is None else _as_of_now(evidence.code, known, at)
    evidence = replace(evidence, code=code)
    if code is None or code.authenticity is not Authenticity.VERIFIED or code.reason not in _TELLS:
        return evidence
    evidence = replace(
        evidence,
        person=_person(evidence.person, code, known),
        appointment=_appointment(code, known, at),
        household_pass=_household_pass(code, known),
        last_measured_s=known.measured_s.get(code.subject_ref or ""),
    )
    if not code.verified:
        return evidence
    return replace(
        evidence,
        registered=evidence.registered | code.registered,
        travel=_graver(evidence.travel, code.travel),
        origin=_origin(evidence.origin, code, known),
        test=evidence.test or code.test,
    )


def used_code(code: CodeResult, known: Knowledge, at: Circumstances) -> CodeResult:
    """Return the code under whose name a passage counts: that of the appointment, where one is asked for."""
    if not known.by_appointment:
        return code
    if code.credential is Credential.APPOINTMENT:
        return _own_slot(code)
    row = _row(code, known, at)
    return code if row is None else _booked(code, row)


def _as_of_now(code: CodeResult, known: Knowledge, at: Circumstances) -> CodeResult:
    """Say of a code what has happened since it was read: called back, or used by somebody else."""
    if not code.verified:
        return code
    if (code.issuer or "", code.pass_id or "") in known.revoked:
        return replace(code, reason=Reason.REVOKED)
    # Where appointments are asked for, one is used once: its own rule says so, and better.
    if known.by_appointment and code.credential is Credential.APPOINTMENT:
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
    if code.credential is Credential.APPOINTMENT:
        used = known.uses.count(_own_slot(code), Direction.IN) > 0
        return Appointment(code.valid_from, code.valid_until, code.issued_at, used)
    row = _row(code, known, at)
    if row is None:
        return None
    used = known.uses.count(_booked(code, row), Direction.IN) > 0
    return Appointment(row.valid_from, row.valid_until, row.booked_at, used)


def _row(code: CodeResult, known: Knowledge, at: Circumstances) -> Booking | None:
    if Kind.APPOINTMENTS in known.stale or code.subject_ref is None:
        return None
    rows = known.documents.appointments(code.subject_ref)
    return next((row for row in rows if row.valid_until * 1000 >= at.now_ms), rows[-1] if rows else None)


# One pass may have several slots.


def _own_slot(code: CodeResult) -> CodeResult:
    return replace(code, issuer=_BOOKED, pass_id=f"{code.pass_id}@{code.valid_from}")


def _booked(code: CodeResult, row: Booking) -> CodeResult:
    name = f"{row.pass_id}@{row.valid_from}"
    return replace(code, issuer=_BOOKED, pass_id=name, valid_until=row.valid_until, step=None)


def _household_pass(code: CodeResult, known: Knowledge) -> HouseholdPass | None:
    if code.credential not in {Credential.HOUSEHOLD, Credential.SUPPLY}:
        return None
    left = None if code.uses_max is None else code.uses_max - known.uses.count(code, known.direction)
    return HouseholdPass(code.valid_from, code.valid_until, left)
