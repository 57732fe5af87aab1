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
    LabTest,
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
_COUNTED: Final = frozenset({Credential.HOUSEHOLD, Credential.SUPPLY})
# Appointments are counted under a name of their own, so that one is used once whichever pass it is used with.
_BOOKED: Final = "appointment"


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a gate knows beside the visit itself: which way it leads, who has passed, today's documents.

    `by_appointment`, `by_household`: the plan has a rule of its own for such passes. `revoked` holds
    (issuer, pass id). `stale` are the kinds of documents of which one is out of its time: it is not used, and
    the evidence says so. `measured_s` is when members of staff were last measured, by pseudonym.
    """

    direction: Direction
    by_appointment: bool
    by_household: bool
    passback_s: int
    uses: Uses
    documents: Documents
    revoked: frozenset[tuple[str, str]]
    stale: frozenset[Kind]
    measured_s: Mapping[str, float]


def completed(evidence: Evidence, known: Knowledge, at: Circumstances) -> Evidence:
    """Return the evidence with all that follows from the code, the documents and the instant of judging."""
    counted = known.documents.occupancy(at)
    evidence = replace(
        evidence,
        direction=known.direction,
        at_s=at.now_ms / 1000 if at.clock_trusted else None,
        occupancy=None if counted is None else counted.count,
        stale=frozenset(str(kind) for kind in known.stale),
    )
    read = evidence.code
    code = None if read is None else _as_of_now(read, known, at)
    evidence = replace(evidence, code=code)
    if read is None or code is None or code.authenticity is not Authenticity.VERIFIED:
        return evidence
    # What speaks against somebody counts however the code stands; the rest only as far as the code does.
    evidence = _with_warnings(evidence, code, known, at)
    if code.reason not in _TELLS or read.reason is Reason.REPLAY:  # a copy of a pass tells of nobody
        return evidence
    evidence = replace(
        evidence,
        person=_person(evidence.person, code, known, at),
        appointment=_appointment(code, known, at),
        household_pass=_household_pass(code, known),
        last_measured_s=known.measured_s.get(code.subject_ref or ""),
    )
    if not code.verified:
        return evidence
    return replace(
        evidence,
        registered=evidence.registered | code.registered,
        travel=_travel(evidence.travel, code.travel),
        test=_newer(evidence.test, code.test),
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
    """Say of a code what has happened since it was read: called back, run out, used up or used just now."""
    if code.authenticity is not Authenticity.VERIFIED:
        return code
    if (code.issuer or "", code.pass_id or "") in known.revoked:
        return replace(code, reason=Reason.REVOKED)
    if not code.verified:
        return code
    if at.clock_trusted and code.valid_until is not None and at.now_ms > code.valid_until * 1000:
        return replace(code, reason=Reason.EXPIRED, freshness=Freshness.EXPIRED)
    # Where appointments are asked for, one is used once: its own rule says so, and better.
    if known.by_appointment and code.credential is Credential.APPOINTMENT:
        return code
    used_up = code.uses_max is not None and known.uses.count(code, known.direction) >= code.uses_max
    by_its_rule = known.by_household and code.credential in _COUNTED
    if (used_up and not by_its_rule) or known.uses.replayed(
        code, known.direction, at.now_ms, known.passback_s
    ):
        return replace(code, reason=Reason.REPLAY, freshness=Freshness.REPLAYED)
    return code


def _with_warnings(evidence: Evidence, code: CodeResult, known: Knowledge, at: Circumstances) -> Evidence:
    at_risk = code.region in known.documents.risk_areas(at)
    return replace(
        evidence,
        travel=Travel.RISK_AREA if code.travel is Travel.RISK_AREA else evidence.travel,
        origin=Origin.KEY_AREA if at_risk else evidence.origin,
        test=code.test if code.test is not None and not code.test.negative else evidence.test,
    )


def _travel(said: Travel, coded: Travel) -> Travel:
    return said if said is Travel.RISK_AREA or coded is Travel.UNKNOWN else coded


def _newer(one: LabTest | None, other: LabTest | None) -> LabTest | None:
    """Of two tests the newer one, and a positive one before all."""
    tests = [test for test in (one, other) if test is not None]
    return max(tests, key=lambda test: (not test.negative, test.taken_s), default=None)


def _person(said: Person, code: CodeResult, known: Knowledge, at: Circumstances) -> Person:
    if code.credential in _PERSONS:
        return _PERSONS[code.credential]
    if code.subject_ref is None:
        return said
    return Person.RESIDENT if known.documents.is_resident(code.subject_ref, at) else said


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
    """Return the next slot that is neither over nor used, else the next, else the last."""
    if code.subject_ref is None:
        return None
    rows = known.documents.appointments(code.subject_ref, at)
    ahead = [row for row in rows if row.valid_until * 1000 >= at.now_ms]
    unused = [row for row in ahead if not known.uses.count(_booked(code, row), Direction.IN)]
    return next(iter([*unused, *ahead, *rows[-1:]]), None)


# One pass may have several slots.


def _own_slot(code: CodeResult) -> CodeResult:
    return replace(code, issuer=_BOOKED, pass_id=f"{code.pass_id}@{code.valid_from}")


def _booked(code: CodeResult, row: Booking) -> CodeResult:
    name = f"{row.pass_id}@{row.valid_from}"
    return replace(code, issuer=_BOOKED, pass_id=name, valid_until=row.valid_until, step=None)


def _household_pass(code: CodeResult, known: Knowledge) -> HouseholdPass | None:
    if code.credential not in _COUNTED:
        return None
    left = None if code.uses_max is None else code.uses_max - known.uses.count(code, known.direction)
    return HouseholdPass(code.valid_from, code.valid_until, left)
