"""The rules at their edges, and `decide` over everything that evidence can be."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.config import load_policy
from gate.core.codes.model import (
    REGISTRATION_FIELDS,
    Authenticity,
    CodeResult,
    Credential,
    Format,
    Freshness,
    Reason,
    Status,
)
from gate.core.evidence import AttendantWord, Evidence, MaskStatus, Measurement, Reading, Unmeasured
from gate.core.policy import GRAVITY, STRICTNESS, Disposition, FeverBand, Finding, Policy, Verdict
from gate.core.rules import CODE_CURABLE, CODE_REFUSALS, RULES, attendant, decide, health_code, mask
from gate.core.rules import registration as registration_rule
from gate.core.rules import temperature as temperature_rule

PLAN = load_policy("county-hall")
TOWNSHIP = load_policy("township-routine")
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
    (degrees(3650),), GREEN, mask=MaskStatus.WORN, registered=frozenset({"name", "phone", "signature"})
)


def temperature(*measurements: Measurement, word: AttendantWord = AttendantWord.NONE) -> Finding | None:
    return temperature_rule(PLAN, Evidence(measurements, attendant=word))


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
        (degrees(3750, 20), Finding("CH-1", REFUSE, "temperature_fever", HOME)),
        (degrees(3751, 20), Finding("CH-2", REFUSE, "temperature_fever", CALL_120)),
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
def test_the_person_on_duty_vouches_for_what_cannot_be_measured(
    measurements: tuple[Measurement, ...],
) -> None:
    assert temperature(*measurements, word=CONFIRMED) == Finding("AL-3", ADMIT, "temperature_by_attendant")


@pytest.mark.parametrize("word", AttendantWord)
@pytest.mark.parametrize(
    ("measurements", "verdict"),
    [((), REFER), ((degrees(3730),), RETEST), ((degrees(3730), degrees(3730)), REFUSE)],
)
def test_nobody_vouches_for_a_measurement_not_made_or_a_fever(
    measurements: tuple[Measurement, ...], verdict: Verdict, word: AttendantWord
) -> None:
    found = temperature(*measurements, word=word)
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
    if reason in {Reason.BAD_SIGNATURE, Reason.STATUS_YELLOW, Reason.STATUS_RED}:
        assert found == vouched == Finding("TR-1", REFUSE, reason)
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
    assert refused == Finding("TR-1", REFUSE, "status_red")


def test_a_plan_without_codes_still_minds_a_bad_one() -> None:
    policy = replace(PLAN, code=replace(PLAN.code, required=False))
    assert health_code(policy, Evidence()) is None
    assert health_code(policy, Evidence(code=code(Reason.EXPIRED), several_codes=True)) is None
    assert health_code(policy, Evidence(code=code(Reason.STATUS_RED))) == Finding(
        "TR-1", REFUSE, "status_red"
    )


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
    ("registered", "word", "expected"),
    [
        ({"name", "phone"}, AttendantWord.NONE, Finding("TR-1", ADMIT, "registration_complete")),
        ({"name", "phone", "residence"}, AttendantWord.NONE, Finding("TR-1", ADMIT, "registration_complete")),
        ({"name"}, AttendantWord.NONE, Finding("TR-1", REFER, "registration_missing")),
        (set(), AttendantWord.NONE, Finding("TR-1", REFER, "registration_missing")),
        (set(), CONFIRMED, Finding("AL-3", ADMIT, "registration_by_attendant")),
    ],
)
def test_registration(registered: set[str], word: AttendantWord, expected: Finding) -> None:
    found = registration_rule(PLAN, Evidence(registered=frozenset(registered), attendant=word))
    assert found == expected


def test_a_plan_without_registration() -> None:
    policy = replace(PLAN, registration=replace(PLAN.registration, fields=()))
    assert registration_rule(policy, Evidence()) is None


def test_the_person_on_duty_refuses() -> None:
    refused = Finding("CH-6", REFUSE, "refused_by_attendant")
    assert attendant(PLAN, replace(NORMAL, attendant=REFUSED)) == refused
    assert attendant(PLAN, replace(NORMAL, attendant=CONFIRMED)) is None
    assert attendant(PLAN, NORMAL) is None
    assert decide(PLAN, SHA, replace(NORMAL, attendant=REFUSED)).verdict is REFUSE


# --- decide


def test_all_normal() -> None:
    decision = decide(PLAN, SHA, NORMAL)
    assert (decision.verdict, decision.disposition) == (ADMIT, Disposition.NONE)
    assert (decision.policy, decision.policy_hash) == ("county-hall", SHA)
    assert [finding.reason for finding in decision.findings] == [
        "code_ok",
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
)
all_evidence = st.builds(
    Evidence,
    measurements_made,
    st.none() | st.just(GREEN) | codes,
    st.booleans(),
    st.sampled_from(MaskStatus),
    st.frozensets(st.sampled_from(REGISTRATION_FIELDS)),
    st.sampled_from(AttendantWord),
)
policies = st.builds(
    lambda plan, code, measured, worn, fields: replace(
        plan,
        code=replace(plan.code, required=code),
        temperature=replace(plan.temperature, required=measured),
        mask=replace(plan.mask, required=worn),
        registration=replace(plan.registration, fields=fields),
    ),
    st.sampled_from([PLAN, TOWNSHIP]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([(), ("name",), ("name", "phone"), REGISTRATION_FIELDS]),
)


def rule_ids(policy: Policy) -> set[str]:
    return {
        policy.attendant_rule,
        policy.refusal_rule,
        policy.code.rule,
        policy.temperature.rule,
        policy.mask.rule,
        policy.registration.rule,
        *(band.rule for band in policy.temperature.bands),
    }


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
    assert {finding.rule for finding in decision.findings} <= rule_ids(policy)


@given(all_evidence)
def test_what_admits_has_all_four_steps_or_somebody_who_vouches(evidence: Evidence) -> None:
    decision = decide(PLAN, SHA, evidence)
    if decision.verdict is not ADMIT:
        return
    vouched = evidence.attendant is CONFIRMED
    assert evidence.attendant is not REFUSED
    assert evidence.measurements
    last = evidence.measurements[-1]
    assert vouched or (isinstance(last, Reading) and last.high_cc < 3730)
    assert not isinstance(last, Reading) or last.low_cc < 3730
    assert evidence.code is None or evidence.code.reason not in CODE_REFUSALS
    assert vouched or (evidence.code is not None and evidence.code.verified and not evidence.several_codes)
    assert evidence.mask is MaskStatus.WORN or (vouched and evidence.mask is MaskStatus.UNKNOWN)
    assert vouched or {"name", "phone"} <= evidence.registered


@given(policies, all_evidence)
def test_the_person_on_duty_never_makes_it_stricter_by_confirming(policy: Policy, evidence: Evidence) -> None:
    silent = decide(policy, SHA, replace(evidence, attendant=AttendantWord.NONE))
    confirmed = decide(policy, SHA, replace(evidence, attendant=CONFIRMED))
    assert STRICTNESS[confirmed.verdict] <= STRICTNESS[silent.verdict]
