"""The rules of the plans: small functions (policy, evidence) -> Finding, and `decide`, which runs them all.

Every rule is total: whatever the evidence, it answers or stays silent, and never raises. On the way out only
what a plan asks of that direction is judged: nobody is kept inside for want of a code. The person on duty may
vouch for what could not be verified (AL-3), never for a confirmed fever or a bad code, and takes the place of
the thermometer only by measuring.
"""

from collections.abc import Callable, Iterable
from typing import Final

from gate.core.codes.model import Authenticity, CodeResult, Credential, Format, Reason, Status, Travel
from gate.core.evidence import (
    Appointment,
    AttendantWord,
    Direction,
    Evidence,
    HandCheck,
    HouseholdPass,
    MaskStatus,
    Origin,
    Person,
    Reading,
    Symptom,
    Unmeasured,
)
from gate.core.policy import (
    GRAVITY,
    GUESTS,
    STRICTNESS,
    AppointmentRequirement,
    Band,
    Decision,
    Disposition,
    FeverBand,
    Finding,
    Policy,
    Verdict,
)

MEASUREMENTS_MAX: Final = 2
HOUR_S: Final = 3600
DAY_S: Final = 86_400

# A code that was surely not made by its issuer, was called back, or says that there is a risk.
CODE_REFUSALS: Final = frozenset(
    {Reason.BAD_SIGNATURE, Reason.REVOKED, Reason.STATUS_YELLOW, Reason.STATUS_RED}
)
# A code that was right once or will be: the visitor may show another one in the same visit.
CODE_CURABLE: Final = frozenset({Reason.EXPIRED, Reason.NOT_YET_VALID})


def attendant(policy: Policy, evidence: Evidence) -> Finding | None:
    """CH-6: the person on duty turns a visitor away who does not co-operate."""
    if evidence.attendant is AttendantWord.REFUSED:
        return Finding(policy.refusal_rule, Verdict.REFUSE, "refused_by_attendant")
    return None


def suspension(policy: Policy, evidence: Evidence) -> Finding | None:
    """CO-7: on order the hall suspends its service; staff and residents still pass."""
    if evidence.suspended and _guest_entering(policy, evidence):
        return Finding(policy.suspension_rule, Verdict.REFUSE, "suspended")
    return None


def hours(policy: Policy, evidence: Evidence) -> Finding | None:
    """TH-6: outside opening hours the gate is closed to visitors."""
    requirement = policy.hours
    if requirement is None or not _guest_entering(policy, evidence):
        return None
    if evidence.at_s is None:
        return _or_vouched(policy, evidence, requirement.rule, "hours_unknown", "hours_by_attendant")
    minute = int((evidence.at_s + policy.utc_offset_min * 60) % DAY_S // 60)
    if requirement.opens_min <= minute < requirement.closes_min:
        return Finding(requirement.rule, Verdict.ADMIT, "open_hours")
    return Finding(requirement.rule, Verdict.REFUSE, "closed_hours")


def residents(policy: Policy, evidence: Evidence) -> Finding | None:
    """SA-2: residents only; an exception needs the person on duty and all evidence."""
    requirement = policy.residents
    if requirement is None or evidence.direction is Direction.OUT or evidence.person is not Person.VISITOR:
        return None
    if evidence.attendant is not AttendantWord.CONFIRMED:
        return Finding(requirement.rule, Verdict.REFUSE, "not_resident", curable=True)
    known = _identified(evidence) and _registered(evidence, requirement.fields)
    verified = evidence.code is not None and _is_green(evidence.code)
    if known and verified and evidence.travel in {Travel.CLEAR, Travel.DECLARED}:
        return Finding(requirement.rule, Verdict.ADMIT, "exception_granted")
    return Finding(requirement.rule, Verdict.REFUSE, "exception_incomplete", curable=True)


def appointment(policy: Policy, evidence: Evidence) -> Finding | None:
    """AH-1: no appointment, no entry; in its slot, used once, booked in time."""
    requirement = policy.appointment
    if requirement is None or not _guest_entering(policy, evidence):
        return None
    booked, rule, at_s = evidence.appointment, requirement.rule, evidence.at_s
    if booked is None and "appointments" in evidence.stale:
        return _or_vouched(policy, evidence, rule, "appointment_unverified", "appointment_by_attendant")
    if booked is None:
        return Finding(rule, Verdict.REFUSE, "appointment_missing")
    if fault := _appointment_fault(policy, requirement, booked, at_s):
        return Finding(rule, Verdict.REFUSE, fault)
    if None in {at_s, booked.from_s, booked.until_s, booked.booked_s}:
        return _or_vouched(policy, evidence, rule, "appointment_unverified", "appointment_by_attendant")
    return Finding(rule, Verdict.ADMIT, "appointment_kept")


def household_pass(policy: Policy, evidence: Evidence) -> Finding | None:
    """SA-5: a pass counts in its hours and as often as it says; suppliers enter on one.

    Residents come home whatever their pass says; the person on duty sees to it.
    """
    requirement = policy.household_pass
    entering = evidence.direction is Direction.IN
    held = evidence.household_pass
    if requirement is None or evidence.person not in {Person.RESIDENT, Person.SUPPLY}:
        return None
    if evidence.person is Person.SUPPLY and not entering:
        return None
    if held is None:
        if entering and evidence.person is Person.SUPPLY:
            return Finding(requirement.rule, Verdict.REFUSE, "pass_missing")
        if entering:
            return None
        # Who leaves shows by the pass that it is needed and whose turn it is; coming home takes none.
        return _or_vouched(policy, evidence, requirement.rule, "pass_missing", "pass_by_attendant")
    fault = _pass_fault(held, evidence.at_s)
    if fault is not None and entering and evidence.person is Person.RESIDENT:
        return _or_vouched(policy, evidence, requirement.rule, fault, "pass_by_attendant")
    if fault is not None:
        return Finding(requirement.rule, Verdict.REFUSE, fault)
    if None in {evidence.at_s, held.from_s, held.until_s}:
        return _or_vouched(policy, evidence, requirement.rule, "pass_unverified", "pass_by_attendant")
    return Finding(requirement.rule, Verdict.ADMIT, "pass_kept")


def occupancy(policy: Policy, evidence: Evidence) -> Finding | None:
    """TR-5: more people inside than the limit need approval."""
    requirement = policy.occupancy
    if not _guest_entering(policy, evidence):
        return None
    if evidence.occupancy is None:
        if "occupancy" not in evidence.stale:
            return None
        return _or_vouched(policy, evidence, requirement.rule, "occupancy_stale", "full_approved")
    if evidence.occupancy < requirement.people_max:
        return Finding(requirement.rule, Verdict.ADMIT, "room_inside")
    return _or_vouched(policy, evidence, requirement.rule, "full", "full_approved")


def id_check(policy: Policy, evidence: Evidence) -> Finding | None:
    """AH-2: the original ID card has been checked."""
    requirement = policy.id_check
    if requirement is None or evidence.direction is Direction.OUT:
        return None
    if not {evidence.person, _class(policy, evidence)}.intersection(requirement.persons):
        return None
    if _identified(evidence):
        return Finding(requirement.rule, Verdict.ADMIT, "id_checked")
    return Finding(requirement.rule, Verdict.REFER, "id_unchecked")


def health_code(policy: Policy, evidence: Evidence) -> Finding | None:
    """TR-1: a code that verifies and is green; what cannot be verified goes to the person on duty."""
    requirement, code = policy.code, evidence.code
    if evidence.direction is Direction.OUT:
        return None
    if code is not None and (refused := _refused_word(code)):
        return Finding(requirement.abnormal_rule, Verdict.REFUSE, refused)
    if not requirement.required:
        return None
    if evidence.several_codes:
        return _code_or_vouched(policy, evidence, str(Reason.MULTIPLE_CODES))
    if code is not None and _is_green(code):
        return Finding(requirement.rule, Verdict.ADMIT, "code_ok")
    curable = code is not None and code.reason in CODE_CURABLE and not _has_hours(policy, code)
    if code is not None and curable and not _vouched(policy, evidence):
        return Finding(requirement.rule, Verdict.REFUSE, str(code.reason), curable=True)
    return _code_or_vouched(policy, evidence, "code_missing" if code is None else _unverified_word(code))


def revocations(policy: Policy, evidence: Evidence) -> Finding | None:
    """TR-1: whether a pass was called back is not known while the list is out of its time."""
    code = evidence.code
    if "revocations" not in evidence.stale or evidence.direction is Direction.OUT:
        return None
    if code is None or code.format is not Format.HOME or not code.verified:
        return None
    return _or_vouched(policy, evidence, policy.code.rule, "revocations_stale", "code_by_attendant")


def travel(policy: Policy, evidence: Evidence) -> Finding | None:
    """TR-1, AH-5: the travel status is known; what a risk area means is for `risk_area` to say."""
    requirement = policy.travel
    if not requirement.required or evidence.direction is Direction.OUT:
        return None
    if evidence.travel is Travel.UNKNOWN:
        return _or_vouched(policy, evidence, requirement.rule, "travel_unknown", "travel_by_attendant")
    return Finding(requirement.rule, Verdict.ADMIT, f"travel_{evidence.travel}")


def risk_area(policy: Policy, evidence: Evidence) -> Finding | None:
    """TR-3, AH-6: who has been in a risk area enters with a fresh negative test, or not at all; TR-4."""
    requirement = policy.risk_area
    exposed = _exposed(evidence)
    if evidence.direction is Direction.OUT:
        return None
    unsure = "risk_areas" in evidence.stale and evidence.code is not None and evidence.code.region is not None
    if not exposed and unsure:
        return _or_vouched(policy, evidence, requirement.rule, "risk_areas_stale", "travel_by_attendant")
    if not exposed:
        known = evidence.origin is Origin.ELSEWHERE
        return Finding(requirement.elsewhere_rule, Verdict.ADMIT, "from_elsewhere") if known else None
    if not requirement.enters_tested:
        return Finding(requirement.rule, Verdict.REFUSE, "risk_area")
    return _tested(policy, evidence, requirement.rule, requirement.test_age_max_h)


def lab_test(policy: Policy, evidence: Evidence) -> Finding | None:
    """SA-4: a negative test no older than the plan says; a positive one counts wherever it is known."""
    requirement = policy.test
    if evidence.direction is Direction.OUT:
        return None
    if requirement is not None and evidence.person in requirement.persons:
        return _tested(policy, evidence, requirement.rule, requirement.age_max_h)
    said = _exposed(evidence) and policy.risk_area.enters_tested
    if evidence.test is not None and not evidence.test.negative and not said:
        return _positive(policy.risk_area.rule)
    return None


def symptoms(policy: Policy, evidence: Evidence) -> Finding | None:
    """SB-2, AH-4, CO-4: symptoms with which nobody enters; any other is for the person on duty to judge."""
    requirement = policy.symptoms
    if not evidence.symptoms or evidence.direction is Direction.OUT:
        return None
    if evidence.symptoms.intersection(requirement.refused):
        return Finding(requirement.rule, Verdict.REFUSE, "symptoms", requirement.disposition)
    return _or_vouched(policy, evidence, requirement.rule, "symptoms_noted", "symptoms_by_attendant")


def temperature(policy: Policy, evidence: Evidence) -> Finding | None:
    """CH-1, CH-2, TR-2: judged on the interval; the second measurement decides."""
    rule = _temperature_rule(policy, evidence)
    if rule is None:
        return None
    if not evidence.measurements:
        # Nobody vouches for a measurement that has not been tried: it is taken of everyone (AL-3).
        return Finding(rule, Verdict.REFER, "temperature_missing") if policy.temperature.required else None
    last = evidence.measurements[-1]
    if isinstance(last, Unmeasured):
        return _or_measured_by_hand(policy, evidence, rule, "temperature_unmeasurable")
    if policy.temperature.is_normal(last.high_cc):
        return Finding(rule, Verdict.ADMIT, "temperature_normal")
    if sum(isinstance(taken, Reading) for taken in evidence.measurements) < MEASUREMENTS_MAX:
        return Finding(rule, Verdict.RETEST, "temperature_raised")
    if policy.temperature.is_abnormal(last.low_cc):
        return _fever(policy, evidence, last)
    return _or_measured_by_hand(policy, evidence, rule, "temperature_uncertain")


def staff_round(policy: Policy, evidence: Evidence) -> Finding | None:
    """SB-3: during work staff are measured again and again; who is overdue is measured now."""
    requirement = policy.staff
    if requirement is None or evidence.person is not Person.STAFF or requirement.measured_every_s is None:
        return None
    if evidence.at_s is None or evidence.last_measured_s is None:
        return None
    if 0 <= evidence.at_s - evidence.last_measured_s <= requirement.measured_every_s:
        return Finding(requirement.rule, Verdict.ADMIT, "round_kept")
    if any(isinstance(taken, Reading) for taken in evidence.measurements):
        return Finding(requirement.rule, Verdict.ADMIT, "round_overdue")
    return _or_measured_by_hand(policy, evidence, requirement.rule, "round_overdue")


def mask(policy: Policy, evidence: Evidence) -> Finding | None:
    """CO-3, TH-3: no mask, no entry; it can be put on and the visit goes on."""
    requirement = policy.mask
    if not requirement.required or evidence.direction not in requirement.directions:
        return None
    if evidence.mask is MaskStatus.WORN:
        return Finding(requirement.rule, Verdict.ADMIT, "mask_worn")
    if evidence.mask is MaskStatus.MISSING:
        return Finding(requirement.rule, Verdict.REFUSE, "mask_missing", Disposition.WEAR_MASK, curable=True)
    return _or_vouched(policy, evidence, requirement.rule, "mask_unknown", "mask_by_attendant")


def registration(policy: Policy, evidence: Evidence) -> Finding | None:
    """TR-1, CP-2: the plan's fields have been taken, by the issuer of the code or the person on duty."""
    requirement = policy.registration
    known = {evidence.person, _class(policy, evidence)}
    if not known.intersection(requirement.persons) or evidence.direction not in requirement.directions:
        return None
    if not requirement.fields:
        return None
    if _registered(evidence, requirement.fields):
        return Finding(requirement.rule, Verdict.ADMIT, "registration_complete")
    without_phone = [name for name in requirement.fields if name != "phone"]
    if _vouched(policy, evidence) and evidence.id_checked and _registered(evidence, without_phone):
        return Finding(policy.attendant_rule, Verdict.ADMIT, "registration_by_id")
    if HandCheck.REGISTRATION in evidence.by_hand:
        return Finding(policy.attendant_rule, Verdict.ADMIT, "registration_by_attendant")
    return Finding(requirement.rule, Verdict.REFER, "registration_missing")


Rule = Callable[[Policy, Evidence], Finding | None]
RULES: Final[tuple[Rule, ...]] = (
    attendant,
    suspension,
    hours,
    residents,
    appointment,
    household_pass,
    occupancy,
    id_check,
    health_code,
    revocations,
    travel,
    risk_area,
    lab_test,
    symptoms,
    temperature,
    staff_round,
    mask,
    registration,
)


def decide(policy: Policy, policy_sha256: str, evidence: Evidence) -> Decision:
    """Judge the evidence by every rule; the strictest finding is the verdict. Total, raises nothing.

    `policy_sha256` is `policy_hash(policy)`, handed in because it is worth computing once only.
    """
    findings = tuple(found for rule in RULES if (found := rule(policy, evidence)) is not None)
    verdict = max((found.verdict for found in findings), key=STRICTNESS.__getitem__, default=Verdict.ADMIT)
    deciding = (found.disposition for found in findings if found.verdict is verdict)
    disposition = max(deciding, key=GRAVITY.__getitem__, default=Disposition.NONE)
    against = {found.reason for found in findings if _calls_for_tasks(found)}
    tasks = tuple(task.rule for task in policy.tasks if not against.isdisjoint(task.after)) if against else ()
    band = temperature_band(policy, evidence)
    return Decision(
        verdict, disposition, findings, policy.name, policy_sha256, tasks, band, policy.utc_offset_min
    )


def temperature_band(policy: Policy, evidence: Evidence) -> Band:
    """Say what the plan's limits make of the last measurement, whether or not it is asked of this person.

    As in `temperature`: in doubt it is raised, and nobody has a fever before the second measurement.
    """
    last = evidence.measurements[-1] if evidence.measurements else None
    if not isinstance(last, Reading):
        return Band.UNMEASURED
    if policy.temperature.is_normal(last.high_cc):
        return Band.NORMAL
    readings = sum(isinstance(taken, Reading) for taken in evidence.measurements)
    surely = readings >= MEASUREMENTS_MAX and policy.temperature.is_abnormal(last.low_cc)
    return Band.FEVER if surely else Band.RAISED


def _calls_for_tasks(found: Finding) -> bool:
    return found.verdict is not Verdict.ADMIT or found.disposition is not Disposition.NONE


def _class(policy: Policy, evidence: Evidence) -> Person:
    """Where nobody lives, a resident is a visitor like others."""
    lives_here = policy.residents is not None
    return Person.VISITOR if evidence.person is Person.RESIDENT and not lives_here else evidence.person


def _guest_entering(policy: Policy, evidence: Evidence) -> bool:
    return evidence.direction is Direction.IN and _class(policy, evidence) in GUESTS


def _visitor_entering(evidence: Evidence) -> bool:
    return evidence.direction is Direction.IN and evidence.person is Person.VISITOR


def _exposed(evidence: Evidence) -> bool:
    return evidence.travel is Travel.RISK_AREA or evidence.origin is Origin.KEY_AREA


def _identified(evidence: Evidence) -> bool:
    if evidence.id_checked is None:
        return HandCheck.IDENTITY in evidence.by_hand
    return evidence.id_checked


def _registered(evidence: Evidence, wanted: Iterable[str]) -> bool:
    return evidence.registered.issuperset(wanted)


def _is_green(code: CodeResult) -> bool:
    return code.verified and code.status is Status.GREEN


def _refused_word(code: CodeResult) -> str | None:
    """Name what is against a code: its colour before everything else."""
    if code.abnormal:
        return f"status_{code.status}"
    return str(code.reason) if code.reason in CODE_REFUSALS else None


def _has_hours(policy: Policy, code: CodeResult) -> bool:
    """Some passes are valid for a slot with a rule of its own, which says better what being late means."""
    if code.credential is Credential.APPOINTMENT:
        return policy.appointment is not None
    return code.credential in {Credential.HOUSEHOLD, Credential.SUPPLY} and policy.household_pass is not None


def _unverified_word(code: CodeResult) -> str:
    # A verified code that says nothing of health is as good as no statement.
    return "status_unknown" if code.verified else str(code.reason)


def _vouched(policy: Policy, evidence: Evidence) -> bool:
    """An exception for strangers in a sealed area stands on evidence, not on somebody's word (SA-2)."""
    exception = policy.residents is not None and _visitor_entering(evidence)
    return evidence.attendant is AttendantWord.CONFIRMED and not exception


def _or_vouched(policy: Policy, evidence: Evidence, rule: str, reason: str, vouched: str) -> Finding:
    if _vouched(policy, evidence):
        return Finding(policy.attendant_rule, Verdict.ADMIT, vouched)
    return Finding(rule, Verdict.REFER, reason)


def _code_or_vouched(policy: Policy, evidence: Evidence, reason: str) -> Finding:
    """A person known by name stands in for a code that nobody could verify, and the record says so."""
    code = evidence.code
    unverified = code is not None and code.authenticity in {
        Authenticity.NOT_CHECKABLE,
        Authenticity.SERVICE_UNREACHABLE,
    }
    real_name = unverified and _registered(evidence, policy.code.real_name)
    vouched = "code_by_real_name" if real_name else "code_by_attendant"
    return _or_vouched(policy, evidence, policy.code.rule, reason, vouched)


def _or_measured_by_hand(policy: Policy, evidence: Evidence, rule: str, reason: str) -> Finding:
    if HandCheck.TEMPERATURE in evidence.by_hand:
        return _or_vouched(policy, evidence, rule, reason, "temperature_by_attendant")
    return Finding(rule, Verdict.REFER, reason)


# What is known to be wrong counts before what is not known: nobody vouches for a pass that is used up.


def _appointment_fault(
    policy: Policy, requirement: AppointmentRequirement, booked: Appointment, at_s: float | None
) -> str | None:
    if booked.used:
        return "appointment_used"
    if booked.from_s is not None and booked.booked_s is not None:
        local_midnight_s = booked.from_s - (booked.from_s + policy.utc_offset_min * 60) % DAY_S
        if booked.booked_s > local_midnight_s - DAY_S + requirement.booked_by_min * 60:
            return "appointment_booked_late"
    if at_s is not None and booked.from_s is not None and at_s < booked.from_s:
        return "appointment_early"
    if at_s is not None and booked.until_s is not None and at_s > booked.until_s:
        return "appointment_late"
    return None


def _pass_fault(held: HouseholdPass, at_s: float | None) -> str | None:
    if held.uses_left is not None and held.uses_left < 1:
        return "pass_used_up"
    early = at_s is not None and held.from_s is not None and at_s < held.from_s
    late = at_s is not None and held.until_s is not None and at_s > held.until_s
    return "pass_outside_hours" if early or late else None


def _tested(policy: Policy, evidence: Evidence, rule: str, age_max_h: int) -> Finding:
    taken = evidence.test
    if taken is None:
        return Finding(rule, Verdict.REFUSE, "test_missing", curable=True)
    if not taken.negative:
        return _positive(rule)
    if evidence.at_s is None or taken.taken_s > evidence.at_s:
        return _or_vouched(policy, evidence, rule, "test_unverified", "test_by_attendant")
    if evidence.at_s - taken.taken_s > age_max_h * HOUR_S:
        return Finding(rule, Verdict.REFUSE, "test_too_old")
    return Finding(rule, Verdict.ADMIT, "test_negative")


def _positive(rule: str) -> Finding:
    return Finding(rule, Verdict.REFUSE, "test_positive", Disposition.ISOLATE_AND_CALL_120)


def _temperature_rule(policy: Policy, evidence: Evidence) -> str | None:
    """Return the rule by which this person is measured in this direction, or None."""
    staff = policy.staff if evidence.person is Person.STAFF else None
    if staff is None:
        return policy.temperature.rule if evidence.direction in policy.temperature.directions else None
    if evidence.direction not in staff.directions:
        return None
    # Who leaves between two rounds has been measured; who comes back from anywhere is measured again.
    leaving = evidence.direction is Direction.OUT and not evidence.measurements
    known = None not in {staff.measured_every_s, evidence.at_s, evidence.last_measured_s}
    return None if leaving and known else staff.rule


def _fever(policy: Policy, evidence: Evidence, reading: Reading) -> Finding:
    """A band is taken only when the whole interval lies in it: in doubt the graver one.

    Staff who leave with a fever are not kept inside: the person on duty sees them out.
    """
    others = evidence.symptoms - {Symptom.FEVER}
    bands = policy.temperature.bands
    band = next((band for band in bands if _fits(band, reading, others)), bands[-1])
    leaving = evidence.direction is Direction.OUT and evidence.person is Person.STAFF
    if leaving and evidence.attendant is AttendantWord.CONFIRMED:
        return Finding(band.rule, Verdict.ADMIT, "fever_seen_out", band.disposition)
    verdict = Verdict.REFER if leaving else Verdict.REFUSE
    return Finding(band.rule, verdict, "temperature_fever", band.disposition)


def _fits(band: FeverBand, reading: Reading, others: frozenset[Symptom]) -> bool:
    within = band.up_to_cc is not None and reading.high_cc <= band.up_to_cc
    return within and not (band.symptom_free and others)
