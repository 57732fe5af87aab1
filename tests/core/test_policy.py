"""A plan as data: what cannot be a plan is refused, what is said the same has the same hash."""

from dataclasses import fields, replace

import pytest

from gate.config import load_policy, policy_names
from gate.core.evidence import Person, Symptom
from gate.core.policy import (
    GRAVITY,
    STRICTNESS,
    AppointmentRequirement,
    CodeRequirement,
    Decision,
    Disposition,
    FeverBand,
    Finding,
    HoursRequirement,
    IdRequirement,
    LabTestRequirement,
    PassRequirement,
    ResidentsRequirement,
    StaffRequirement,
    TemperatureRequirement,
    Timing,
    UpdateWindow,
    Verdict,
    policy_hash,
)

HOME, CLINIC = Disposition.OBSERVE_AT_HOME, Disposition.FEVER_CLINIC


def bands(*limits: int | None) -> TemperatureRequirement:
    return TemperatureRequirement("R-1", 3730, tuple(FeverBand("R-1", CLINIC, limit) for limit in limits))


@pytest.mark.parametrize("limits", [(None,), (3750, None), (3730, None), (3740, 3750, 3850, None)])
def test_bands_that_answer_every_temperature(limits: tuple[int | None, ...]) -> None:
    assert len(bands(*limits).bands) == len(limits)


@pytest.mark.parametrize(
    "limits",
    [
        (3750,),
        (3750, 3800),
        (None, None),
        (None, 3750),
        (None, 3750, None),
        (3750, None, None),
    ],
)
def test_the_last_band_and_no_other_is_without_limit(limits: tuple[int | None, ...]) -> None:
    with pytest.raises(ValueError, match="the last must take everything"):
        bands(*limits)


def test_the_last_band_is_for_people_with_symptoms_too() -> None:
    with pytest.raises(ValueError, match="the last must take everything"):
        TemperatureRequirement("R-1", 3730, (FeverBand("R-1", CLINIC, None, symptom_free=True),))


@pytest.mark.parametrize(("opens", "closes"), [(0, 1440), (510, 511)])
def test_hours_that_are(opens: int, closes: int) -> None:
    assert HoursRequirement("R-1", opens, closes).closes_min == closes


@pytest.mark.parametrize(("opens", "closes"), [(510, 510), (1050, 510)])
def test_hours_that_never_are(opens: int, closes: int) -> None:
    with pytest.raises(ValueError, match="must be later than opens_min"):
        HoursRequirement("R-1", opens, closes)


@pytest.mark.parametrize("limits", [(3750, 3750, None), (3800, 3750, None), (3729, None), (3700, 3800, None)])
def test_limits_rise_from_the_abnormal_temperature(limits: tuple[int | None, ...]) -> None:
    with pytest.raises(ValueError, match="must rise from band to band"):
        bands(*limits)


@pytest.mark.parametrize("field", ["collect_s", "cure_s"])
def test_evidence_outlives_the_waiting_for_it(field: str) -> None:
    assert Timing(**{"evidence_age_max_s": 31, field: 30}).evidence_age_max_s == 31
    with pytest.raises(ValueError, match="must be more than collect_s and cure_s"):
        Timing(**{"evidence_age_max_s": 30, field: 30})


def test_words_go_from_mild_to_strict() -> None:
    assert sorted(Verdict, key=STRICTNESS.__getitem__) == ["admit", "retest", "refer", "refuse"]
    assert sorted(Disposition, key=GRAVITY.__getitem__) == [
        "none",
        "wear_mask",
        "observe_at_home",
        "fever_clinic",
        "isolate_and_call_120",
    ]


def test_the_hash_names_the_content() -> None:
    policy = load_policy("county-hall")
    assert policy_hash(policy) == policy_hash(load_policy("county-hall"))
    assert len(policy_hash(policy)) == 64
    assert policy_hash(policy) != policy_hash(load_policy("township-routine"))


def test_any_changed_field_changes_the_hash() -> None:
    policy = load_policy("county-hall")
    others = {
        "name": "other",
        "version": policy.version + 1,
        "title_zh": "别的",
        "title_en": "Other",
        "code": replace(policy.code, required=False),
        "temperature": replace(policy.temperature, abnormal_cc=3720),
        "mask": replace(policy.mask, required=False),
        "registration": replace(policy.registration, fields=("name",)),
        "travel": replace(policy.travel, required=False),
        "risk_area": replace(policy.risk_area, enters_tested=False),
        "symptoms": replace(policy.symptoms, rule="X-1"),
        "occupancy": replace(policy.occupancy, people_max=99),
        "test": LabTestRequirement("X-1", 48, (Person.RESIDENT,)),
        "staff": StaffRequirement("X-1"),
        "id_check": IdRequirement("X-1"),
        "appointment": AppointmentRequirement("X-1"),
        "residents": ResidentsRequirement("X-1"),
        "household_pass": PassRequirement("X-1"),
        "hours": HoursRequirement("X-1", 1, 2),
        "tasks": policy.tasks[1:],
        "suspension_rule": "X-1",
        "utc_offset_min": 0,
        "attendant_rule": "X-1",
        "refusal_rule": "X-1",
        "on_ledger_failure": "open",
        "timing": replace(policy.timing, pass_s=7),
        "update_window": UpdateWindow(0, 60),
    }
    assert set(others) == {field.name for field in fields(policy)}
    hashes = {policy_hash(replace(policy, **{name: value})) for name, value in others.items()}
    assert len(hashes | {policy_hash(policy)}) == len(others) + 1


def test_a_change_inside_a_section_changes_the_hash_too() -> None:
    policy = load_policy("appointment-hall")
    assert policy.id_check is not None
    others = [
        replace(policy, code=replace(policy.code, abnormal_rule="X-1")),
        replace(policy, id_check=replace(policy.id_check, persons=(Person.VISITOR,))),
        replace(policy, symptoms=replace(policy.symptoms, disposition=HOME)),
    ]
    assert len({policy_hash(other) for other in (policy, *others)}) == len(others) + 1


def test_what_an_abnormal_code_and_an_identity_card_are_judged_by() -> None:
    """A plan that is silent follows the township: any abnormal code is reported, any guest shows a card."""
    rules = {name: load_policy(name).code.abnormal_rule for name in policy_names()}
    assert rules == dict.fromkeys(policy_names(), "TR-2") | {"appointment-hall": "AH-5"}
    assert CodeRequirement("X-1").abnormal_rule == "TR-2"
    assert IdRequirement("X-1").persons == (Person.VISITOR, Person.SUPPLY)


def test_where_the_plans_send_a_fever_that_somebody_tells_of() -> None:
    sent = {name: load_policy(name).symptoms for name in policy_names()}
    assert all(Symptom.FEVER in signs.refused for signs in sent.values())
    others = {"county-hall": HOME, "county-office": Disposition.NONE, "service-bureau": Disposition.NONE}
    assert {name: signs.disposition for name, signs in sent.items()} == dict.fromkeys(sent, CLINIC) | others


def test_the_hashes_of_the_plans_that_come_with_the_gate() -> None:
    """They stand in every record: a plan that changes gets a new version as well."""
    assert {name: policy_hash(load_policy(name))[:12] for name in policy_names()} == {
        "appointment-hall": "82c4c5595114",
        "bureau": "94ef1f5b9d7f",
        "checkpoint": "70b38012f225",
        "clinic": "6bbb87be04bd",
        "county-hall": "a3c6b52fe6bc",
        "county-office": "6122b252a51a",
        "grid": "6af221c76065",
        "sealed-area": "3bfaf5fd64e9",
        "service-bureau": "88b55f711d9d",
        "township-hall": "3f31ee80787a",
        "township-routine": "8465676a8766",
    }


def decision(*findings: tuple[Verdict, str, bool]) -> Decision:
    made = tuple(Finding("R-1", verdict, reason, curable=curable) for verdict, reason, curable in findings)
    verdict = max((finding.verdict for finding in made), key=STRICTNESS.__getitem__)
    return Decision(verdict, Disposition.NONE, made, "plan", "0" * 64)


def test_the_deciding_findings_are_the_strictest() -> None:
    mixed = decision((Verdict.ADMIT, "a", False), (Verdict.REFER, "b", False), (Verdict.REFER, "c", False))
    assert [finding.reason for finding in mixed.deciding] == ["b", "c"]
    assert [finding.reason for finding in mixed.against] == ["b", "c"]
    assert decision((Verdict.ADMIT, "a", False)).against == ()


@pytest.mark.parametrize(
    ("findings", "curable"),
    [
        ([(Verdict.REFUSE, "a", True)], True),
        ([(Verdict.REFUSE, "a", True), (Verdict.REFUSE, "b", True)], True),
        ([(Verdict.REFUSE, "a", True), (Verdict.REFUSE, "b", False)], False),
        ([(Verdict.REFUSE, "a", True), (Verdict.REFER, "b", False)], True),
        ([(Verdict.REFER, "a", True)], False),
    ],
)
def test_curable_is_what_the_visitor_can_put_right(
    findings: list[tuple[Verdict, str, bool]], curable: bool
) -> None:
    assert decision(*findings).curable == curable


def test_a_second_measurement_is_wanted_whatever_else_is_found() -> None:
    assert decision((Verdict.RETEST, "a", False), (Verdict.REFUSE, "b", True)).retest_wanted
    assert not decision((Verdict.ADMIT, "a", False), (Verdict.REFUSE, "b", True)).retest_wanted
