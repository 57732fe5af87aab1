"""The rules at their edges, and `decide` over everything that evidence can be."""

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.config import load_policy, policy_names
from gate.core.codes.model import (
    REGISTRATION_FIELDS,
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
from gate.core.policy import (
    GRAVITY,
    STRICTNESS,
    Disposition,
    FeverBand,
    Finding,
    Policy,
    Verdict,
)
from gate.core.rules import (
    CODE_CURABLE,
    CODE_REFUSALS,
    RULES,
    appointment,
    attendant,
    decide,
    health_code,
    hours,
    household_pass,
    id_check,
    lab_test,
    mask,
    occupancy,
    residents,
    revocations,
    risk_area,
    staff_round,
    suspension,
    symptoms,
    travel,
)
from gate.core.rules import registration as registration_rule
from gate.core.rules import temperature as temperature_rule

PLANS = {name: load_policy(name) for name in policy_names()}
PLAN, TOWNSHIP = PLANS["county-hall"], PLANS["township-routine"]
SEALED, BUREAU, BOOKED = PLANS["sealed-area"], PLANS["service-bureau"], PLANS["appointment-hall"]
SHA = "0" * 64
ADMIT, RETEST, REFER, REFUSE = Verdict
HOME, CALL_120 = Disposition.OBSERVE_AT_HOME, Disposition.ISOLATE_AND_CALL_120
CONFIRMED, REFUSED = AttendantWord.CONFIRMED, AttendantWord.REFUSED


def code(reason: Reason = Reason.OK, status: Status = Status.GREEN) -> CodeResult:
    """Build the result of a pass with this one thing against it."""
    if reason is Reason.OK:
        return CodeResult(
            Format.HOME, reason, status, Authenticity.VERIFIED, Freshness.CURRENT, Credential.VISITOR
        )
    return CodeResult(Format.HOME, reason, status)


def degrees(value_cc: int, half_cc: int = 0) -> Reading:
    return Reading(value_cc, value_cc - half_cc, value_cc + half_cc)


GREEN = code()
NORMAL = Evidence(
    (degrees(3650),),
    GREEN,
    mask=MaskStatus.WORN,
    registered=frozenset({"name", "phone", "signature"}),
    travel=Travel.CLEAR,
)
BY_HAND = frozenset(HandCheck)


def temperature(
    *measurements: Measurement,
    word: AttendantWord = AttendantWord.NONE,
    by_hand: frozenset[HandCheck] = frozenset(),
) -> Finding | None:
    return temperature_rule(PLAN, Evidence(measurements, attendant=word, by_hand=by_hand))


# --- temperature


@pytest.mark.parametrize("value_cc", [3400, 3729])
def test_below_the_limit_is_normal(value_cc: int) -> None:
    assert temperature(degrees(value_cc)) == Finding("CH-1", ADMIT, "temperature_normal")


@pytest.mark.parametrize("value_cc", [3730, 3731, 4200])
def test_from_the_limit_on_it_is_measured_again(value_cc: int) -> None:
    assert temperature(degrees(value_cc)) == Finding("CH-1", RETEST, "temperature_raised")


@pytest.mark.parametrize(
    ("value_cc", "half_cc", "verdict"),
    [
        (3709, 20, ADMIT),  # up to 37.29
        (3710, 20, RETEST),  # up to 37.30
        (3730, 20, RETEST),
        (3750, 20, RETEST),  # from 37.30
    ],
)
def test_the_whole_interval_counts_the_first_time(value_cc: int, half_cc: int, verdict: Verdict) -> None:
    found = temperature(degrees(value_cc, half_cc))
    assert found is not None
    assert found.verdict is verdict


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (degrees(3729), Finding("CH-1", ADMIT, "temperature_normal")),
        (degrees(3730), Finding("CH-1", REFUSE, "temperature_fever", HOME)),
        (degrees(3731), Finding("CH-1", REFUSE, "temperature_fever", HOME)),
        (degrees(3750), Finding("CH-1", REFUSE, "temperature_fever", HOME)),
        (degrees(3751), Finding("CH-2", REFUSE, "temperature_fever", CALL_120)),
        (degrees(4200), Finding("CH-2", REFUSE, "temperature_fever", CALL_120)),
        (degrees(3709, 20), Finding("CH-1", ADMIT, "temperature_normal")),
        (degrees(3710, 20), Finding("CH-1", REFER, "temperature_uncertain")),
        (degrees(3749, 20), Finding("CH-1", REFER, "temperature_uncertain")),
        (degrees(3740, 10), Finding("CH-1", REFUSE, "temperature_fever", HOME)),
        (degrees(3741, 10), Finding("CH-2", REFUSE, "temperature_fever", CALL_120)),
        (degrees(3750, 20), Finding("CH-2", REFUSE, "temperature_fever", CALL_120)),
        (Unmeasured("timeout"), Finding("CH-1", REFER, "temperature_unmeasurable")),
    ],
)
@pytest.mark.parametrize("first", [degrees(3730), degrees(4000), degrees(3720, 15)])
def test_the_second_measurement_decides(first: Reading, second: Measurement, expected: Finding) -> None:
    assert temperature(first, second) == expected


def test_a_second_measurement_decides_even_after_a_normal_one() -> None:
    assert temperature(degrees(3650), degrees(3760)) == Finding("CH-2", REFUSE, "temperature_fever", CALL_120)


def test_the_township_sends_every_fever_to_the_clinic() -> None:
    clinic = Finding("TR-2", REFUSE, "temperature_fever", Disposition.FEVER_CLINIC)
    for value_cc in (3730, 3750, 3751, 4200):
        raised = Evidence((degrees(3730), degrees(value_cc)))
        assert temperature_rule(TOWNSHIP, raised) == clinic


def test_every_band_begins_above_the_one_before() -> None:
    bands = tuple(
        FeverBand(f"R-{number}", disposition, limit)
        for number, (disposition, limit) in enumerate(
            [(HOME, 3750), (Disposition.FEVER_CLINIC, 3800), (CALL_120, None)]
        )
    )
    policy = replace(PLAN, temperature=replace(PLAN.temperature, bands=bands))
    found = [
        temperature_rule(policy, Evidence((degrees(3730), degrees(value_cc))))
        for value_cc in (3750, 3751, 3800, 3801)
    ]
    assert [finding.rule for finding in found if finding] == ["R-0", "R-1", "R-1", "R-2"]


def test_cannot_measure_is_never_normal() -> None:
    assert temperature(Unmeasured("timeout")) == Finding("CH-1", REFER, "temperature_unmeasurable")


@pytest.mark.parametrize(
    "measurements", [(Unmeasured("x"),), (degrees(3730), Unmeasured("x")), (degrees(3730), degrees(3730, 1))]
)
def test_the_person_on_duty_takes_the_place_of_the_thermometer_by_measuring(
    measurements: tuple[Measurement, ...],
) -> None:
    by_hand = Finding("AL-3", ADMIT, "temperature_by_attendant")
    assert temperature(*measurements, word=CONFIRMED, by_hand=BY_HAND) == by_hand
    others = BY_HAND - {HandCheck.TEMPERATURE}
    for word, hands in ((CONFIRMED, others), (CONFIRMED, frozenset()), (AttendantWord.NONE, BY_HAND)):
        found = temperature(*measurements, word=word, by_hand=hands)
        assert found is not None
        assert (found.rule, found.verdict) == ("CH-1", REFER)


@pytest.mark.parametrize("word", AttendantWord)
@pytest.mark.parametrize(
    ("measurements", "verdict"),
    [((), REFER), ((degrees(3730),), RETEST), ((degrees(3730), degrees(3730)), REFUSE)],
)
def test_nobody_vouches_for_a_measurement_not_made_or_a_fever(
    measurements: tuple[Measurement, ...], verdict: Verdict, word: AttendantWord
) -> None:
    found = temperature(*measurements, word=word, by_hand=BY_HAND)
    assert found is not None
    assert found.verdict is verdict


def test_no_measurement() -> None:
    assert temperature() == Finding("CH-1", REFER, "temperature_missing")


def test_a_plan_without_temperature_still_minds_a_fever() -> None:
    policy = replace(PLAN, temperature=replace(PLAN.temperature, required=False))
    assert temperature_rule(policy, Evidence()) is None
    fever = temperature_rule(policy, Evidence((degrees(3800), degrees(3800))))
    assert fever == Finding("CH-2", REFUSE, "temperature_fever", CALL_120)


# --- the code


def test_a_green_code() -> None:
    assert health_code(PLAN, Evidence(code=GREEN)) == Finding("TR-1", ADMIT, "code_ok")


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.OK])
def test_every_reason_against_a_code(reason: Reason) -> None:
    evidence = Evidence(code=code(reason))
    found = health_code(PLAN, evidence)
    vouched = health_code(PLAN, replace(evidence, attendant=CONFIRMED))
    if reason in {
        Reason.BAD_SIGNATURE,
        Reason.REVOKED,
        Reason.STATUS_YELLOW,
        Reason.STATUS_RED,
    }:
        assert found == vouched == Finding("TR-2", REFUSE, reason)
    elif reason in {Reason.EXPIRED, Reason.NOT_YET_VALID}:
        assert found == Finding("TR-1", REFUSE, reason, curable=True)
        assert vouched == Finding("AL-3", ADMIT, "code_by_attendant")
    else:
        assert found == Finding("TR-1", REFER, reason)
        assert vouched == Finding("AL-3", ADMIT, "code_by_attendant")


def test_refusals_and_curable_ones_are_told_apart() -> None:
    assert not CODE_REFUSALS & CODE_CURABLE
    assert Reason.OK not in CODE_REFUSALS | CODE_CURABLE


def test_no_code() -> None:
    assert health_code(PLAN, Evidence()) == Finding("TR-1", REFER, "code_missing")
    vouched = health_code(PLAN, Evidence(attendant=CONFIRMED))
    assert vouched == Finding("AL-3", ADMIT, "code_by_attendant")


def test_a_verified_code_that_says_nothing_of_health() -> None:
    silent = Evidence(code=code(status=Status.UNKNOWN))
    assert health_code(PLAN, silent) == Finding("TR-1", REFER, "status_unknown")


def test_several_codes_in_view() -> None:
    several = Evidence(code=GREEN, several_codes=True)
    assert health_code(PLAN, several) == Finding("TR-1", REFER, "multiple_codes")
    vouched = health_code(PLAN, replace(several, attendant=CONFIRMED))
    assert vouched == Finding("AL-3", ADMIT, "code_by_attendant")
    refused = health_code(PLAN, replace(several, code=code(Reason.STATUS_RED), attendant=CONFIRMED))
    assert refused == Finding("TR-2", REFUSE, "status_red")


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("status", [Status.YELLOW, Status.RED])
def test_an_authentic_bad_status_counts_whatever_else_there_is_to_say(reason: Reason, status: Status) -> None:
    shown = replace(GREEN, reason=reason, status=status)
    for word in AttendantWord:
        found = health_code(PLAN, Evidence(code=shown, attendant=word))
        assert found == Finding("TR-2", REFUSE, f"status_{status}")
    assert health_code(BOOKED, Evidence(code=shown)) == Finding("AH-5", REFUSE, f"status_{status}")
    assert health_code(PLAN, Evidence(code=shown, direction=Direction.OUT)) is None


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("authenticity", [kind for kind in Authenticity if kind is not Authenticity.VERIFIED])
def test_a_status_that_nobody_has_verified_is_no_statement(
    authenticity: Authenticity, status: Status
) -> None:
    shown = CodeResult(Format.HOME, Reason.UNKNOWN_ISSUER, status, authenticity)
    assert health_code(PLAN, Evidence(code=shown)) == Finding("TR-1", REFER, "unknown_issuer")


@pytest.mark.parametrize(
    ("credential", "own"),
    [(Credential.APPOINTMENT, BOOKED), (Credential.HOUSEHOLD, SEALED), (Credential.SUPPLY, SEALED)],
)
@pytest.mark.parametrize("reason", sorted(CODE_CURABLE))
def test_a_pass_with_hours_of_its_own_is_not_asked_for_anew(
    reason: Reason, credential: Credential, own: Policy
) -> None:
    late = Evidence(person=Person.RESIDENT, code=replace(GREEN, reason=reason, credential=credential))
    assert health_code(own, late) == Finding(own.code.rule, REFER, reason)
    assert health_code(PLAN, late) == Finding("TR-1", REFUSE, reason, curable=True)


def test_an_authentic_green_status_is_no_refusal() -> None:
    late = replace(GREEN, reason=Reason.EXPIRED)
    assert health_code(PLAN, Evidence(code=late)) == Finding("TR-1", REFUSE, "expired", curable=True)


def test_the_rule_of_an_abnormal_code_is_the_plans() -> None:
    policy = replace(PLAN, code=replace(PLAN.code, abnormal_rule="X-1"))
    assert health_code(policy, Evidence(code=code(Reason.REVOKED))) == Finding("X-1", REFUSE, "revoked")
    assert health_code(policy, Evidence(code=GREEN)) == Finding("TR-1", ADMIT, "code_ok")


def test_a_plan_without_codes_still_minds_a_bad_one() -> None:
    policy = replace(PLAN, code=replace(PLAN.code, required=False))
    assert health_code(policy, Evidence()) is None
    assert health_code(policy, Evidence(code=code(Reason.EXPIRED), several_codes=True)) is None
    assert health_code(policy, Evidence(code=code(Reason.STATUS_RED))) == Finding(
        "TR-2", REFUSE, "status_red"
    )
    authentic = replace(GREEN, reason=Reason.EXPIRED, status=Status.YELLOW)
    assert health_code(policy, Evidence(code=authentic)) == Finding("TR-2", REFUSE, "status_yellow")


# --- mask, registration, the person on duty


@pytest.mark.parametrize(
    ("status", "word", "expected"),
    [
        (MaskStatus.WORN, AttendantWord.NONE, Finding("TR-1", ADMIT, "mask_worn")),
        (MaskStatus.UNKNOWN, AttendantWord.NONE, Finding("TR-1", REFER, "mask_unknown")),
        (MaskStatus.UNKNOWN, CONFIRMED, Finding("AL-3", ADMIT, "mask_by_attendant")),
        *(
            (MaskStatus.MISSING, word, Finding("TR-1", REFUSE, "mask_missing", Disposition.WEAR_MASK, True))
            for word in AttendantWord
        ),
    ],
)
def test_mask(status: MaskStatus, word: AttendantWord, expected: Finding) -> None:
    assert mask(PLAN, Evidence(mask=status, attendant=word)) == expected


@pytest.mark.parametrize("status", MaskStatus)
def test_a_plan_without_masks(status: MaskStatus) -> None:
    assert mask(replace(PLAN, mask=replace(PLAN.mask, required=False)), Evidence(mask=status)) is None


@pytest.mark.parametrize(
    ("registered", "by_hand", "expected"),
    [
        ({"name", "phone"}, set(), Finding("TR-1", ADMIT, "registration_complete")),
        ({"name", "phone", "residence"}, BY_HAND, Finding("TR-1", ADMIT, "registration_complete")),
        ({"name"}, set(), Finding("TR-1", REFER, "registration_missing")),
        (set(), BY_HAND - {HandCheck.REGISTRATION}, Finding("TR-1", REFER, "registration_missing")),
        (set(), {HandCheck.REGISTRATION}, Finding("AL-3", ADMIT, "registration_by_attendant")),
    ],
)
def test_registration(registered: set[str], by_hand: set[HandCheck], expected: Finding) -> None:
    evidence = Evidence(registered=frozenset(registered), by_hand=frozenset(by_hand), attendant=CONFIRMED)
    assert registration_rule(PLAN, evidence) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Finding("AL-3", ADMIT, "registration_by_id")),
        ({"attendant": AttendantWord.NONE}, Finding("TR-1", REFER, "registration_missing")),
        ({"attendant": REFUSED}, Finding("TR-1", REFER, "registration_missing")),
        ({"id_checked": None}, Finding("TR-1", REFER, "registration_missing")),
        ({"id_checked": False}, Finding("TR-1", REFER, "registration_missing")),
        ({"registered": frozenset()}, Finding("TR-1", REFER, "registration_missing")),
        ({"registered": frozenset({"phone"})}, Finding("TR-1", REFER, "registration_missing")),
        ({"registered": frozenset({"name", "phone"})}, Finding("TR-1", ADMIT, "registration_complete")),
        ({"by_hand": BY_HAND}, Finding("AL-3", ADMIT, "registration_by_id")),
        (
            {"registered": frozenset(), "by_hand": BY_HAND},
            Finding("AL-3", ADMIT, "registration_by_attendant"),
        ),
    ],
)
def test_registration_without_a_phone(change: dict[str, object], expected: Finding) -> None:
    shown = Evidence(registered=frozenset({"name"}), attendant=CONFIRMED, id_checked=True)
    assert registration_rule(PLAN, replace(shown, **change)) == expected  # type: ignore[arg-type]  # any field


def test_a_plan_without_registration() -> None:
    policy = replace(PLAN, registration=replace(PLAN.registration, fields=()))
    assert registration_rule(policy, Evidence()) is None


def test_the_person_on_duty_refuses() -> None:
    refused = Finding("CH-6", REFUSE, "refused_by_attendant")
    assert attendant(PLAN, replace(NORMAL, attendant=REFUSED)) == refused
    assert attendant(PLAN, replace(NORMAL, attendant=CONFIRMED)) is None
    assert attendant(PLAN, NORMAL) is None
    assert decide(PLAN, SHA, replace(NORMAL, attendant=REFUSED)).verdict is REFUSE


# --- who, which way, when (the edges of these are in the tables of the plans)


@pytest.mark.parametrize(
    ("id_checked", "by_hand", "verdict"),
    [
        (True, set(), ADMIT),
        (None, {HandCheck.IDENTITY}, ADMIT),
        (None, BY_HAND - {HandCheck.IDENTITY}, REFER),
        (False, {HandCheck.IDENTITY}, REFER),  # looked at, and not that person's
    ],
)
def test_an_identity_card_looked_at(
    id_checked: bool | None, by_hand: set[HandCheck], verdict: Verdict
) -> None:
    evidence = Evidence(id_checked=id_checked, by_hand=frozenset(by_hand), attendant=CONFIRMED)
    found = id_check(BOOKED, evidence)
    assert found is not None
    assert found.verdict is verdict
    assert id_check(BOOKED, replace(evidence, direction=Direction.OUT)) is None
    assert id_check(BOOKED, replace(evidence, person=Person.STAFF)) is None
    assert id_check(PLAN, evidence) is None


def test_a_stranger_can_go_on_when_the_person_on_duty_agrees() -> None:
    assert residents(SEALED, Evidence()) == Finding("SA-2", REFUSE, "not_resident", curable=True)
    shown = replace(NORMAL, attendant=CONFIRMED, registered=frozenset({"name", "id_number"}), by_hand=BY_HAND)
    for status in Travel:
        found = residents(SEALED, replace(shown, travel=status))
        granted = status in {Travel.CLEAR, Travel.DECLARED}
        expected = (ADMIT, "exception_granted") if granted else (REFUSE, "exception_incomplete")
        assert found is not None
        assert (found.verdict, found.reason) == expected


def test_an_appointment_that_a_list_out_of_its_time_may_have_missed() -> None:
    unknown = Evidence(stale=frozenset({"appointments"}))
    assert appointment(BOOKED, unknown) == Finding("AH-1", REFER, "appointment_unverified")
    vouched = Finding("AL-3", ADMIT, "appointment_by_attendant")
    assert appointment(BOOKED, replace(unknown, attendant=CONFIRMED)) == vouched
    others = replace(unknown, stale=frozenset({"residents", "revocations"}))
    assert appointment(BOOKED, others) == Finding("AH-1", REFUSE, "appointment_missing")
    used = replace(unknown, appointment=Appointment(0, 1, 0, used=True))
    assert appointment(BOOKED, used) == Finding("AH-1", REFUSE, "appointment_used")


def test_a_number_of_people_that_is_out_of_its_time() -> None:
    unknown = Evidence(stale=frozenset({"occupancy"}))
    assert occupancy(PLAN, unknown) == Finding("TR-5", REFER, "occupancy_stale")
    vouched = Finding("AL-3", ADMIT, "full_approved")
    assert occupancy(PLAN, replace(unknown, attendant=CONFIRMED)) == vouched
    assert occupancy(PLAN, replace(unknown, occupancy=1)) == Finding("TR-5", ADMIT, "room_inside")
    for silent in (
        replace(unknown, stale=frozenset({"appointments"})),
        replace(unknown, direction=Direction.OUT),
        replace(unknown, person=Person.STAFF),
    ):
        assert occupancy(PLAN, silent) is None
    assert occupancy(SEALED, replace(unknown, person=Person.RESIDENT)) is None
    assert occupancy(PLAN, replace(unknown, person=Person.RESIDENT)) == occupancy(PLAN, unknown)


def test_a_region_that_may_have_become_one_of_risk() -> None:
    shown = Evidence(code=replace(GREEN, region="330327"), stale=frozenset({"risk_areas"}))
    assert risk_area(PLAN, shown) == Finding("TR-3", REFER, "risk_areas_stale")
    assert risk_area(BOOKED, shown) == Finding("AH-6", REFER, "risk_areas_stale")
    vouched = Finding("AL-3", ADMIT, "travel_by_attendant")
    assert risk_area(PLAN, replace(shown, attendant=CONFIRMED)) == vouched
    exposed = replace(shown, travel=Travel.RISK_AREA, attendant=CONFIRMED)
    assert risk_area(PLAN, exposed) == Finding("TR-3", REFUSE, "test_missing", curable=True)
    for silent in (
        replace(shown, stale=frozenset({"occupancy"})),
        replace(shown, code=GREEN),
        replace(shown, code=None),
        replace(shown, direction=Direction.OUT),
    ):
        assert risk_area(PLAN, silent) is None


def test_a_resident_where_nobody_lives_is_a_visitor() -> None:
    somebody = Evidence(person=Person.RESIDENT, suspended=True)
    assert suspension(PLAN, somebody) == Finding("CO-7", REFUSE, "suspended")
    assert suspension(SEALED, somebody) is None
    assert suspension(PLAN, replace(somebody, direction=Direction.OUT)) is None
    assert appointment(BOOKED, somebody) == Finding("AH-1", REFUSE, "appointment_missing")
    assert id_check(BOOKED, somebody) == Finding("AH-2", REFER, "id_unchecked")
    assert hours(PLANS["township-hall"], somebody) == Finding("TH-6", REFER, "hours_unknown")
    assert registration_rule(PLAN, somebody) == Finding("TR-1", REFER, "registration_missing")
    assert registration_rule(SEALED, somebody) is None
    # A plan may still name them, as the checkpoint does.
    for persons in ((Person.RESIDENT,), (Person.VISITOR,)):
        policy = replace(PLAN, registration=replace(PLAN.registration, persons=persons))
        assert registration_rule(policy, somebody) == Finding("TR-1", REFER, "registration_missing")


def test_a_pass_that_may_have_been_called_back_since_the_list() -> None:
    shown = Evidence(code=GREEN, stale=frozenset({"revocations"}))
    assert revocations(PLAN, shown) == Finding("TR-1", REFER, "revocations_stale")
    vouched = Finding("AL-3", ADMIT, "code_by_attendant")
    assert revocations(PLAN, replace(shown, attendant=CONFIRMED)) == vouched
    for silent in (
        replace(shown, stale=frozenset({"appointments"})),
        replace(shown, direction=Direction.OUT),
        replace(shown, code=None),
        replace(shown, code=replace(GREEN, format=Format.DCC)),
        replace(shown, code=code(Reason.EXPIRED)),
    ):
        assert revocations(PLAN, silent) is None


def test_a_pass_without_a_clock() -> None:
    held = Evidence(person=Person.RESIDENT, household_pass=HouseholdPass(0, 1))
    assert household_pass(SEALED, held) == Finding("SA-5", REFER, "pass_unverified")
    assert household_pass(SEALED, replace(held, attendant=CONFIRMED)) == Finding(
        "AL-3", ADMIT, "pass_by_attendant"
    )
    assert household_pass(SEALED, replace(held, household_pass=None)) is None
    leaving = replace(held, household_pass=None, direction=Direction.OUT)
    assert household_pass(SEALED, leaving) == Finding("SA-5", REFER, "pass_missing")
    vouched = Finding("AL-3", ADMIT, "pass_by_attendant")
    assert household_pass(SEALED, replace(leaving, attendant=CONFIRMED)) == vouched
    spent = replace(leaving, household_pass=HouseholdPass(0, 1, 0))
    assert household_pass(SEALED, replace(spent, attendant=CONFIRMED)) == Finding(
        "SA-5", REFUSE, "pass_used_up"
    )
    for shown in (None, HouseholdPass(0, 1, 0)):  # a supplier who has come in may leave
        supplier = replace(leaving, person=Person.SUPPLY, household_pass=shown)
        assert household_pass(SEALED, supplier) is None
    assert household_pass(SEALED, replace(held, person=Person.STAFF)) is None
    assert household_pass(PLAN, held) is None


def test_a_plan_that_asks_for_a_test_of_some_minds_a_positive_one_of_others() -> None:
    positive = Evidence(person=Person.STAFF, test=LabTest(0, negative=False))
    assert lab_test(SEALED, positive) == Finding("TR-3", REFUSE, "test_positive", CALL_120)
    assert lab_test(SEALED, replace(positive, test=LabTest(0, negative=True))) is None
    assert lab_test(SEALED, replace(positive, direction=Direction.OUT)) is None


@pytest.mark.parametrize("exposed", [{"travel": Travel.RISK_AREA}, {"origin": Origin.KEY_AREA}])
def test_a_positive_test_is_said_by_one_rule(exposed: dict[str, object]) -> None:
    positive = Evidence(test=LabTest(0, negative=False))
    ill = replace(positive, **exposed)  # type: ignore[arg-type]  # any field
    found = Finding("TR-3", REFUSE, "test_positive", CALL_120)
    assert (risk_area(PLAN, ill), lab_test(PLAN, ill)) == (found, None)
    assert (risk_area(PLAN, positive), lab_test(PLAN, positive)) == (None, found)
    # Where nobody comes in from there, tested or not, the test has still to be said.
    never = Finding("AH-6", REFUSE, "risk_area")
    told = Finding("AH-6", REFUSE, "test_positive", CALL_120)
    assert (risk_area(BOOKED, ill), lab_test(BOOKED, ill)) == (never, told)


@pytest.mark.parametrize(
    ("at_s", "last_s", "expected"),
    [
        (None, 0.0, None),
        (0.0, None, None),
        (7200.0, 0.0, Finding("SB-3", ADMIT, "round_kept")),
        (7200.5, 0.0, Finding("SB-3", REFER, "round_overdue")),
        (0.0, 0.0, Finding("SB-3", ADMIT, "round_kept")),
        (0.0, 0.5, Finding("SB-3", REFER, "round_overdue")),
    ],
)
def test_the_round_of_the_staff(at_s: float | None, last_s: float | None, expected: Finding | None) -> None:
    evidence = Evidence(person=Person.STAFF, at_s=at_s, last_measured_s=last_s)
    assert staff_round(BUREAU, evidence) == expected
    assert staff_round(BUREAU, replace(evidence, person=Person.VISITOR)) is None
    assert staff_round(PLANS["county-office"], evidence) is None
    assert staff_round(PLAN, evidence) is None


def test_staff_who_are_measured_in_one_direction_only() -> None:
    staff = BUREAU.staff
    assert staff is not None
    policy = replace(BUREAU, staff=replace(staff, directions=(Direction.IN,)))
    leaving = Evidence((degrees(3800), degrees(3800)), person=Person.STAFF, direction=Direction.OUT)
    assert temperature_rule(policy, leaving) is None
    assert temperature_rule(BUREAU, leaving) is not None


def test_staff_who_leave_with_a_fever_are_seen_out() -> None:
    leaving = Evidence((degrees(3800), degrees(3800)), person=Person.STAFF, direction=Direction.OUT)
    clinic = Disposition.FEVER_CLINIC
    assert temperature_rule(BUREAU, leaving) == Finding("SB-2", REFER, "temperature_fever", clinic)
    seen_out = Finding("SB-2", ADMIT, "fever_seen_out", clinic)
    assert temperature_rule(BUREAU, replace(leaving, attendant=CONFIRMED)) == seen_out
    for kept in (
        replace(leaving, direction=Direction.IN, attendant=CONFIRMED),
        replace(leaving, direction=Direction.IN),
    ):
        assert temperature_rule(BUREAU, kept) == Finding("SB-2", REFUSE, "temperature_fever", clinic)
    checked = PLANS["checkpoint"]
    others = replace(leaving, person=Person.VISITOR, attendant=CONFIRMED)
    assert temperature_rule(checked, others) == Finding("CP-3", REFUSE, "temperature_fever", clinic)
    decision = decide(BUREAU, SHA, leaving)
    assert (decision.verdict, decision.disposition) == (REFER, clinic)
    assert "SB-2" in decision.tasks


def test_a_reading_between_two_hundredths() -> None:
    normal, raised = Reading(3730, 3729.9, 3729.9), Reading(3730, 3729.9, 3730.0)
    assert temperature(normal) == Finding("CH-1", ADMIT, "temperature_normal")
    assert temperature(raised) == Finding("CH-1", RETEST, "temperature_raised")
    graver = temperature(raised, Reading(3750, 3750.1, 3750.1))
    assert graver == Finding("CH-2", REFUSE, "temperature_fever", CALL_120)


def test_a_plan_without_travel_codes() -> None:
    policy = replace(PLAN, travel=replace(PLAN.travel, required=False))
    assert travel(policy, Evidence()) is None


def test_symptoms_on_the_way_out_are_not_judged() -> None:
    ill = Evidence(symptoms=frozenset(Symptom))
    assert symptoms(BUREAU, ill) == Finding("SB-2", REFUSE, "symptoms")
    assert symptoms(BUREAU, replace(ill, direction=Direction.OUT)) is None


# --- decide


def test_all_normal() -> None:
    decision = decide(PLAN, SHA, NORMAL)
    assert (decision.verdict, decision.disposition) == (ADMIT, Disposition.NONE)
    assert (decision.policy, decision.policy_hash) == ("county-hall", SHA)
    assert [finding.reason for finding in decision.findings] == [
        "code_ok",
        "travel_clear",
        "temperature_normal",
        "mask_worn",
        "registration_complete",
    ]


@pytest.mark.parametrize(
    "missing",
    [
        {"code": None},
        {"measurements": ()},
        {"mask": MaskStatus.UNKNOWN},
        {"registered": frozenset()},
        {"several_codes": True},
        {"travel": Travel.UNKNOWN},
    ],
    ids=lambda missing: next(iter(missing)),
)
def test_nothing_unknown_is_normal(missing: dict[str, object]) -> None:
    assert decide(PLAN, SHA, replace(NORMAL, **missing)).verdict is REFER  # type: ignore[arg-type]  # any field


def test_the_gravest_disposition_of_what_decides() -> None:
    both = replace(NORMAL, measurements=(degrees(3800), degrees(3800)), mask=MaskStatus.MISSING)
    assert decide(PLAN, SHA, both).disposition is CALL_120
    mild = replace(NORMAL, mask=MaskStatus.MISSING, code=None)
    assert decide(PLAN, SHA, mild).disposition is Disposition.WEAR_MASK


def test_a_plan_that_asks_for_nothing_admits() -> None:
    policy = replace(
        PLAN,
        code=replace(PLAN.code, required=False),
        travel=replace(PLAN.travel, required=False),
        temperature=replace(PLAN.temperature, required=False),
        mask=replace(PLAN.mask, required=False),
        registration=replace(PLAN.registration, fields=()),
    )
    decision = decide(policy, SHA, Evidence())
    assert (decision.verdict, decision.disposition, decision.findings) == (ADMIT, Disposition.NONE, ())


readings = st.builds(
    lambda value, low, high: Reading(value, value - low, value + high),
    st.sampled_from([3400, 3728, 3729, 3730, 3731, 3749, 3750, 3751, 4200]) | st.integers(-7000, 40000),
    st.integers(0, 60),
    st.integers(0, 60),
)
measurements_made = st.lists(readings | st.builds(Unmeasured, st.text(max_size=8)), max_size=2).map(tuple)
codes = st.builds(
    CodeResult,
    st.sampled_from(Format),
    st.sampled_from(Reason),
    st.sampled_from(Status),
    st.sampled_from(Authenticity),
    st.sampled_from(Freshness),
    region=st.none() | st.just("330327"),
)
instants = st.sampled_from([0.0, 59.5, 7200.0, 7201.0, 1e9, -1.0, float("inf")]) | st.floats(-1e10, 1e10)
all_evidence = st.builds(
    Evidence,
    measurements=measurements_made,
    code=st.none() | st.just(GREEN) | codes,
    several_codes=st.booleans(),
    mask=st.sampled_from(MaskStatus),
    registered=st.frozensets(st.sampled_from(REGISTRATION_FIELDS)) | st.just(frozenset(REGISTRATION_FIELDS)),
    attendant=st.sampled_from(AttendantWord),
    by_hand=st.frozensets(st.sampled_from(HandCheck)),
    person=st.sampled_from(Person),
    direction=st.sampled_from(Direction),
    at_s=st.none() | st.sampled_from([7200.0, 1e9]) | st.floats(-1e10, 1e10),
    travel=st.sampled_from(Travel),
    symptoms=st.frozensets(st.sampled_from(Symptom)),
    id_checked=st.none() | st.booleans(),
    appointment=st.none()
    | st.builds(Appointment, st.floats(-1e10, 1e10), instants, st.none() | instants, st.booleans()),
    test=st.none() | st.builds(LabTest, instants, st.booleans()),
    origin=st.sampled_from(Origin),
    household_pass=st.none() | st.builds(HouseholdPass, instants, instants, st.none() | st.integers(0, 2)),
    occupancy=st.none() | st.integers(0, 200),
    suspended=st.booleans(),
    last_measured_s=st.none() | instants,
    stale=st.frozensets(
        st.sampled_from(["appointments", "revocations", "residents", "occupancy", "risk_areas"])
    ),
)
policies = st.builds(
    lambda plan, code, measured, worn, fields: replace(
        plan,
        code=replace(plan.code, required=code),
        temperature=replace(plan.temperature, required=measured),
        mask=replace(plan.mask, required=worn),
        registration=replace(plan.registration, fields=fields),
    ),
    st.sampled_from([PLANS[name] for name in sorted(PLANS)]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([(), ("name",), ("name", "phone"), REGISTRATION_FIELDS]),
)


def rules_named(part: object) -> set[str]:
    """Return every rule id in a policy, wherever it stands."""
    if isinstance(part, dict):
        own = {value for key, value in part.items() if key == "rule" or key.endswith("_rule")}
        return own.union(*map(rules_named, part.values()))
    return set().union(*map(rules_named, part)) if isinstance(part, list | tuple) else set()


@given(policies, all_evidence)
def test_decide_is_total_deterministic_and_as_strict_as_its_findings(
    policy: Policy, evidence: Evidence
) -> None:
    decision = decide(policy, SHA, evidence)
    assert decision == decide(policy, SHA, evidence)
    assert decision.findings == tuple(found for rule in RULES if (found := rule(policy, evidence)))
    ranks = [STRICTNESS[finding.verdict] for finding in decision.findings]
    assert STRICTNESS[decision.verdict] == max(ranks, default=0)
    graves = [GRAVITY[finding.disposition] for finding in decision.deciding]
    assert GRAVITY[decision.disposition] == max(graves, default=0)
    assert {finding.rule for finding in decision.findings} <= rules_named(asdict(policy))
    # Who is let out with a fever is work for the plan, too.
    sent_on = [finding for finding in decision.findings if finding.disposition is not Disposition.NONE]
    against = {finding.reason for finding in (*decision.against, *sent_on)}
    assert decision.tasks == tuple(task.rule for task in policy.tasks if against.intersection(task.after))


@given(all_evidence)
def test_what_admits_has_all_four_steps_or_somebody_who_vouches(evidence: Evidence) -> None:
    # Everybody comes in here; what else is known is whatever it is.
    evidence = replace(evidence, direction=Direction.IN, person=Person.VISITOR)
    decision = decide(PLAN, SHA, evidence)
    if decision.verdict is not ADMIT:
        return
    vouched = evidence.attendant is CONFIRMED
    assert evidence.attendant is not REFUSED
    assert evidence.measurements
    last = evidence.measurements[-1]
    by_hand = vouched and HandCheck.TEMPERATURE in evidence.by_hand
    assert by_hand or (isinstance(last, Reading) and last.high_cc < 3730)
    assert not isinstance(last, Reading) or last.low_cc < 3730
    assert evidence.code is None or evidence.code.reason not in CODE_REFUSALS
    authentic = evidence.code is not None and evidence.code.authenticity is Authenticity.VERIFIED
    bad = evidence.code is not None and evidence.code.status in {Status.YELLOW, Status.RED}
    assert not (authentic and bad)
    assert vouched or not (evidence.occupancy is None and "occupancy" in evidence.stale)
    assert vouched or (evidence.code is not None and evidence.code.verified and not evidence.several_codes)
    assert evidence.mask is MaskStatus.WORN or (vouched and evidence.mask is MaskStatus.UNKNOWN)
    by_id = vouched and evidence.id_checked and "name" in evidence.registered
    by_staff = HandCheck.REGISTRATION in evidence.by_hand
    assert {"name", "phone"} <= evidence.registered or by_id or by_staff
    assert vouched or evidence.travel is not Travel.UNKNOWN
    assert vouched or not evidence.symptoms
    assert not evidence.suspended
    assert evidence.test is None or evidence.test.negative


@given(policies, all_evidence)
def test_the_person_on_duty_never_makes_it_stricter_by_confirming(policy: Policy, evidence: Evidence) -> None:
    silent = decide(policy, SHA, replace(evidence, attendant=AttendantWord.NONE))
    confirmed = decide(policy, SHA, replace(evidence, attendant=CONFIRMED))
    assert STRICTNESS[confirmed.verdict] <= STRICTNESS[silent.verdict]
