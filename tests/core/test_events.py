"""The wire event: every kind fits the schema and the size, says what happened, and nothing personal."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from evidences import PLANS, WALL_MS, evidences
from gatebox import ORIGIN, checked_body, schema
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gate.config import load_policy
from gate.core import events
from gate.core.codes.model import (
    NAME,
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
from gate.core.commands import Address, Command, Name
from gate.core.delivery import PreviousEpoch
from gate.core.documents import Kind as DocumentKind
from gate.core.documents import Taken
from gate.core.events import BODY_BYTES_MAX, Event, Kind, Outcome, Result, Stage, encode
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
from gate.core.inputs import Device
from gate.core.mode import Mode
from gate.core.moment import Moment
from gate.core.policy import Decision, Disposition, Finding, Policy, Verdict
from gate.core.rules import RULES, decide
from gate.core.updates import UpdateOutcome, UpdateResult

NOW = Moment(123_456_789, 1_700_000_000_001, clock_trusted=True)
VISIT = "0a1b2c3d-000001"
SHA = "0" * 64
CODE = CodeResult(
    Format.HOME,
    Reason.OK,
    Status.GREEN,
    Authenticity.VERIFIED,
    Freshness.CURRENT,
    Credential.VISITOR,
    "county",
    "00112233",
    "0000000000000001",
    frozenset({"name"}),
    1,
    2,
)
FEVER = Evidence((Reading(3800, 3790, 3810), Reading(3760, 3750, 3770)), CODE, mask=MaskStatus.WORN)
WELL = Evidence((Reading(3650, 3640, 3660),), CODE, mask=MaskStatus.WORN)
PLAN = load_policy("county-hall")


def data_of(event: Event) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(checked_body(event, 1, NOW))
    data: dict[str, Any] = body["data"]
    return data


def decided(stage: Stage, evidence: Evidence, *steps: Decision) -> Event:
    return events.visit_decided(VISIT, stage, decide(PLAN, SHA, evidence), evidence, steps, 1500)


def seen_out(stage: Stage) -> Event:
    """A member of staff who leaves with a fever, and with the word of the person on duty."""
    plan = load_policy("county-office")
    evidence = replace(FEVER, direction=Direction.OUT, person=Person.STAFF, attendant=AttendantWord.CONFIRMED)
    decision = decide(plan, SHA, evidence)
    assert decision.verdict is Verdict.ADMIT
    return events.visit_decided(VISIT, stage, decision, evidence, (), 1500)


ORDER = Command(
    "a1", Address("hall-east", "g1", "00112233aabbccdd"), 5, 1, 2, Name.OPEN_ONCE, {"reason": "stretcher"}
)
PREVIOUS = PreviousEpoch("00112233aabbccdd", 40, "ab" * 32, "the centre knows another record 41")
UNWELCOME = (UpdateOutcome.ROLLED_BACK, UpdateOutcome.REFUSED)
UPDATED = UpdateResult("0.2.0", "0.1.0", UpdateOutcome.DONE, "", "a1", 1_700_000_000_000)
SAMPLES = {
    Kind.VISIT_DECIDED: decided(Stage.REFUSED, FEVER, decide(PLAN, SHA, Evidence())),
    Kind.VISIT_CLOSED: events.visit_closed(VISIT, Result.LEFT, 1500),
    Kind.PASSAGE_FORCED: events.passage_forced(VISIT),
    Kind.GATE_STARTED: events.gate_started("1.0", "0a1b2c3d", "county-hall", SHA),
    Kind.GATE_STOPPED: events.gate_stopped(),
    Kind.GATE_MODE: events.gate_mode(Mode.FAULT, Mode.SERVING),
    Kind.DEVICE_FAILED: events.device_failed(Device.CAMERA, "no answer"),
    Kind.DEVICE_RECOVERED: events.device_recovered(Device.CAMERA),
    Kind.DEVICE_CHECKED: events.device_checked(Device.THERMOMETER, {"config": "9ff4", "ambient_cc": -317}),
    Kind.FIRE_ALARM: events.fire_alarm(active=True, passages=0),
    Kind.DOCUMENT: events.document("occupancy", "centre", 7, "stale"),
    Kind.ANOMALY: events.anomaly("inbox_overflowed", "3 inputs lost"),
    Kind.COMMAND: events.command(ORDER, Outcome.DONE, visit=VISIT),
    Kind.EPOCH_STARTED: events.epoch_started(PREVIOUS),
    Kind.POLICY_ADOPTED: events.policy_adopted("county-hall", SHA, "a1"),
    Kind.UPDATE: events.update(UPDATED),
}


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema().schema)


def test_every_kind_has_a_sample() -> None:
    assert set(SAMPLES) == set(Kind)
    assert all(event.kind is kind for kind, event in SAMPLES.items())


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_fits_the_schema_early_and_late(kind: Kind) -> None:
    event = SAMPLES[kind]
    checked_body(event, 1, NOW)
    checked_body(replace(event, data={**event.data, "late": True}), 1, NOW)
    checked_body(replace(event, data={**event.data, "sealed": SHA}), 1, NOW)


@pytest.mark.parametrize("kind", Kind)
def test_the_schema_allows_nothing_more_and_nothing_less(kind: Kind) -> None:
    body = json.loads(encode(SAMPLES[kind], ORIGIN, 1, NOW))
    for key in body["data"].keys() - {"tasks"} - ({"visit"} if kind is Kind.COMMAND else set()):
        lacking = {**body, "data": {name: value for name, value in body["data"].items() if name != key}}
        assert not schema().is_valid(lacking), key
    assert not schema().is_valid({**body, "data": {**body["data"], "phone": "13800000000"}})
    assert not schema().is_valid({**body, "extra": 1})


def test_the_envelope() -> None:
    body = json.loads(encode(events.gate_stopped(), ORIGIN, 7, NOW))
    data = body.pop("data")
    assert body == {
        "specversion": "1.0",
        "id": "g1/00112233aabbccdd/7",
        "source": "hg/1/hall-east/g1",
        "type": "hg.gate.stopped.v1",
        "time": "2023-11-14T22:13:20.001+00:00",
        "datacontenttype": "application/json",
        "dataschema": "urn:health-gate:event:1",
    }
    assert data == {
        "site": "hall-east",
        "gate": "g1",
        "epoch": "00112233aabbccdd",
        "seq": 7,
        "clock": {"mono_ns": 123_456_789, "boot_id": "boot-1", "trusted": True},
        "abnormal": False,
    }


def test_a_clock_that_is_not_trusted_says_so() -> None:
    body = json.loads(encode(events.gate_stopped(), ORIGIN, 1, replace(NOW, clock_trusted=False)))
    assert body["data"]["clock"]["trusted"] is False


@given(st.integers(0, 253_402_300_799_999))
def test_time_is_exact_to_the_millisecond_up_to_the_year_9999(wall_ms: int) -> None:
    body = json.loads(encode(events.gate_stopped(), ORIGIN, 1, replace(NOW, wall_ms=wall_ms)))
    then = datetime.fromisoformat(body["time"])
    since = then - datetime(1970, 1, 1, tzinfo=UTC)
    assert (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000 == wall_ms


# --- the centre's


def test_the_answer_to_a_command_says_what_it_answers() -> None:
    assert events.command(ORDER, Outcome.DONE, visit=VISIT).data == {
        "id": "a1",
        "command": "open_once",
        "counter": 5,
        "outcome": "done",
        "visit": VISIT,
    }


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("name", Name)
def test_the_answer_to_every_command_fits_the_schema(name: Name, outcome: Outcome) -> None:
    args: dict[str, Any] = {"reason": "x"}
    args = {Name.RESEND: {"after": 1}, Name.RESUME: {}, Name.CHECKPOINT: {}}.get(name, args)
    args = {"version": "0.2.0"} if name is Name.UPDATE else args
    args = {"text": "x"} if name in {Name.DOCUMENT, Name.POLICY} else args
    checked_body(events.command(replace(ORDER, name=name, args=args), outcome, "bad_signature"), 1, NOW)


def test_a_message_of_nobody_is_answered_without_a_word_of_it() -> None:
    event = events.command(None, Outcome.REFUSED, "too_many", left_out=7)
    checked_body(event, 1, NOW)
    assert event.data == {
        "id": None,
        "command": None,
        "counter": None,
        "outcome": "refused",
        "reason": "too_many",
        "left_out": 7,
    }


def test_the_first_ledger_of_a_device_has_none_before_it() -> None:
    event = events.epoch_started(PreviousEpoch("", 0, "", "first start"))
    checked_body(event, 1, NOW)
    assert event.data == {"reason": "first start", "previous": None}
    assert len(events.epoch_started(replace(PREVIOUS, reason="x" * 300)).data["reason"]) == 200


# --- what is reported at once


@pytest.mark.parametrize(
    ("event", "abnormal"),
    [
        (decided(Stage.REFUSED, FEVER), True),
        (decided(Stage.REFUSED, Evidence(mask=MaskStatus.MISSING)), True),
        (decided(Stage.UNDECIDED, Evidence((Reading(3800, 3790, 3810),), CODE)), True),
        (decided(Stage.UNDECIDED, Evidence((Reading(3650, 3640, 3660),), CODE)), False),
        (decided(Stage.REFERRED, Evidence()), False),
        (decided(Stage.REFERRED, replace(FEVER, measurements=FEVER.measurements[:1])), False),
        (decided(Stage.AUTHORISED, Evidence()), False),
        *((decided(stage, FEVER), True) for stage in Stage),  # a fever that is certain, whatever became of it
        *((seen_out(stage), True) for stage in Stage),
        (decided(Stage.AUTHORISED, WELL), False),
        *((events.visit_closed(VISIT, result, 1), result is Result.FORCED) for result in Result),
        (events.passage_forced(), True),
        (events.gate_started("1.0", "0a1b2c3d", "county-hall", SHA), False),
        (events.gate_stopped(), False),
        (events.gate_mode(Mode.FAULT, Mode.SERVING), False),
        (events.device_failed(Device.CAMERA, "x"), True),
        (events.device_recovered(Device.CAMERA), False),
        (events.device_checked(Device.THERMOMETER, {}), False),
        (events.fire_alarm(active=True, passages=0), True),
        (events.fire_alarm(active=False, passages=1), False),
        (events.document("occupancy", "centre", 7, "accepted"), False),
        *((events.document("occupancy", "centre", 7, word), True) for word in ("older", "conflict", "stale")),
        (events.anomaly("x", "y"), True),
        (events.command(ORDER, Outcome.DONE), False),
        (events.command(ORDER, Outcome.FAILED, "evacuating"), True),
        *((events.command(told, Outcome.REFUSED, "replayed"), True) for told in (ORDER, None)),
        (events.epoch_started(PREVIOUS), True),
        (events.policy_adopted("county-hall", SHA, "a1"), False),
        *((events.update(replace(UPDATED, outcome=it)), it in UNWELCOME) for it in UpdateOutcome),
    ],
)
def test_what_is_reported_at_once(event: Event, abnormal: bool) -> None:
    assert event.abnormal is abnormal
    assert data_of(event)["abnormal"] is abnormal


# --- what a decision says


def test_a_decision() -> None:
    data = data_of(SAMPLES[Kind.VISIT_DECIDED])
    assert {
        key: data[key] for key in ("visit", "stage", "verdict", "disposition", "policy", "policy_hash")
    } == {
        "visit": VISIT,
        "stage": "refused",
        "verdict": "refuse",
        "disposition": "isolate_and_call_120",
        "policy": "county-hall",
        "policy_hash": SHA,
    }
    assert data["duration_ms"] == 1500
    assert data["findings"] == [
        {"rule": "TR-1", "verdict": "admit", "reason": "code_ok"},
        {"rule": "TR-1", "verdict": "refer", "reason": "travel_unknown"},
        {
            "rule": "CH-2",
            "verdict": "refuse",
            "reason": "temperature_fever",
            "disposition": "isolate_and_call_120",
        },
        {"rule": "TR-1", "verdict": "admit", "reason": "mask_worn"},
        {"rule": "TR-1", "verdict": "refer", "reason": "registration_missing"},
    ]
    assert [step["verdict"] for step in data["steps"]] == ["refer"]
    assert len(data["steps"][0]["findings"]) == 5


def test_evidence() -> None:
    reading = Reading(3650, 3640, 3660, (3640, 3650), 10, 2500, (("offset", -5), ("vdd", 3)))
    evidence = Evidence(
        (reading, Unmeasured("timeout", "d" * 300)),
        CODE,
        several_codes=True,
        mask=MaskStatus.MISSING,
        registered=frozenset({"phone", "name"}),
        attendant=AttendantWord.REFUSED,
    )
    assert data_of(decided(Stage.REFUSED, evidence))["evidence"] == {
        "temperature": [
            {
                "value_cc": 3650,
                "low_cc": 3640,
                "high_cc": 3660,
                "samples_cc": [3640, 3650],
                "spread_cc": 10,
                "ambient_cc": 2500,
                "corrections": {"offset": -5, "vdd": 3},
            },
            {"unmeasured": "timeout", "detail": "d" * 200},
        ],
        "code": {
            "format": "home",
            "reason": "ok",
            "status": "green",
            "authenticity": "verified",
            "freshness": "current",
            "credential": "visitor",
            "issuer": "county",
            "kid": "00112233",
            "subject": "0000000000000001",
            "valid_until": 2,
        },
        "several_codes": True,
        "mask": "missing",
        "registered": ["name", "phone"],
        "attendant": "refused",
        "band": "unmeasured",
    }


def test_no_evidence() -> None:
    """What most visits have nothing of is not said."""
    assert data_of(decided(Stage.UNDECIDED, Evidence()))["evidence"] == {
        "temperature": [],
        "code": None,
        "several_codes": False,
        "mask": "unknown",
        "registered": [],
        "attendant": "none",
        "band": "unmeasured",
    }


FULL = Evidence(
    code=replace(CODE, region="CN-31", pass_id="cafe0001", step=56_666_666),
    by_hand=frozenset({HandCheck.TEMPERATURE, HandCheck.IDENTITY}),
    person=Person.SUPPLY,
    direction=Direction.OUT,
    at_s=1_700_000_000.001,
    travel=Travel.DECLARED,
    symptoms=frozenset({Symptom.FEVER, Symptom.COUGH}),
    id_checked=False,
    appointment=Appointment(1, 2, None, used=True),
    test=LabTest(3, negative=False),
    origin=Origin.ELSEWHERE,
    household_pass=HouseholdPass(4, 5, 0),
    occupancy=0,
    suspended=True,
    last_measured_s=0.5,
    stale=frozenset({"residents", "occupancy"}),
)


def test_all_evidence() -> None:
    """Nothing that is a fact is left out because it is nought or false."""
    evidence = data_of(decided(Stage.UNDECIDED, FULL))["evidence"]
    code = evidence.pop("code")
    assert (code["region"], code["pass_id"], code["step"]) == ("CN-31", "cafe0001", 56_666_666)
    assert evidence == {
        "temperature": [],
        "several_codes": False,
        "mask": "unknown",
        "registered": [],
        "attendant": "none",
        "by_hand": ["identity", "temperature"],
        "person": "supply",
        "direction": "out",
        "at_s": 1_700_000_000.001,
        "travel": "declared",
        "symptoms": ["cough", "fever"],
        "id_checked": False,
        "appointment": {"from_s": 1, "until_s": 2, "booked_s": None, "used": True},
        "test": {"taken_s": 3, "negative": False},
        "origin": "elsewhere",
        "household_pass": {"from_s": 4, "until_s": 5, "uses_left": 0},
        "occupancy": 0,
        "suspended": True,
        "last_measured_s": 0.5,
        "stale": ["occupancy", "residents"],
        "band": "unmeasured",
    }


def test_every_field_of_the_evidence_is_on_record() -> None:
    """A field that is added to the evidence has to be stored, or a past visit cannot be judged again."""
    evidence = data_of(decided(Stage.UNDECIDED, FULL))["evidence"]
    renamed = {"measurements": "temperature"}
    follows = {"band"}  # from the measurements and the plan
    assert {renamed.get(f.name, f.name) for f in fields(Evidence)} == set(evidence) - follows


def test_the_schema_knows_each_part_and_nothing_beside_it() -> None:
    """What is optional may be absent; what has parts has all of them and no other."""
    body = json.loads(encode(decided(Stage.UNDECIDED, FULL), ORIGIN, 1, NOW))
    assert schema().is_valid(body)
    evidence = body["data"]["evidence"]
    for name in ("appointment", "test", "household_pass"):
        for changed in (
            *({k: v for k, v in evidence[name].items() if k != lacking} for lacking in evidence[name]),
            {**evidence[name], "name": "Li"},
        ):
            wrong = {**evidence, name: changed}
            assert not schema().is_valid({**body, "data": {**body["data"], "evidence": wrong}}), changed
    for name, value in (("name", "Li"), ("person", "guest"), ("suspended", False), ("occupancy", -1)):
        wrong = {**evidence, name: value}
        assert not schema().is_valid({**body, "data": {**body["data"], "evidence": wrong}}), name


def test_tasks_are_named_where_findings_call_for_them() -> None:
    plan = next(plan for plan in PLANS if any(task.after for task in plan.tasks))
    decision = replace(decide(plan, SHA, Evidence()), tasks=("TR-2", "TR-3"))
    with_tasks = events.visit_decided(VISIT, Stage.REFUSED, decision, Evidence(), (), 1)
    assert data_of(with_tasks)["tasks"] == ["TR-2", "TR-3"]
    without = events.visit_decided(VISIT, Stage.REFUSED, replace(decision, tasks=()), Evidence(), (), 1)
    assert "tasks" not in data_of(without)


@settings(max_examples=60)
@given(
    evidences(),
    st.lists(evidences(), max_size=4),
    st.sampled_from(list(PLANS)),
    st.sampled_from(Stage),
    st.integers(0, 10**9),
    WALL_MS,
    st.booleans(),
    st.booleans(),
)
def test_every_decision_of_every_plan_on_any_evidence_fits_the_schema_and_the_size(
    evidence: Evidence,
    before: list[Evidence],
    plan: Policy,
    stage: Stage,
    duration_ms: int,
    wall_ms: int,
    trusted: bool,
    late: bool,
) -> None:
    sha256 = PLANS[plan]
    steps = tuple(decide(plan, sha256, earlier) for earlier in before)
    event = events.visit_decided(VISIT, stage, decide(plan, sha256, evidence), evidence, steps, duration_ms)
    if late:
        event = replace(event, data={**event.data, "late": True})
    checked_body(event, 2**53, Moment(2**62, wall_ms, trusted))


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("previous", Mode)
def test_every_change_of_mode_fits_the_schema(mode: Mode, previous: Mode) -> None:
    data_of(events.gate_mode(mode, previous))


@pytest.mark.parametrize("device", Device)
def test_every_part_fits_the_schema(device: Device) -> None:
    data_of(events.device_failed(device, "x"))
    data_of(events.device_recovered(device))


@given(
    st.sampled_from(DocumentKind),
    st.from_regex(NAME, fullmatch=True),
    st.integers(1, 2**32 - 1),
    st.sampled_from([*(str(word) for word in Taken if word is not Taken.SAME), "stale"]),
)
def test_every_document_fits_the_schema(kind: DocumentKind, issuer: str, version: int, outcome: str) -> None:
    data = data_of(events.document(kind, issuer, version, outcome))
    assert (data["document"], data["issuer"], data["version"], data["outcome"]) == (
        kind,
        issuer,
        version,
        outcome,
    )


def test_the_document_that_comes_twice_is_no_event() -> None:
    with pytest.raises(AssertionError, match="outcome"):
        data_of(events.document("occupancy", "centre", 1, Taken.SAME))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_the_tasks_of_a_plan_fit_the_schema(plan: Policy) -> None:
    limit = schema().schema["$defs"]["visit.decided"]["properties"]["tasks"]["maxItems"]
    assert len([task for task in plan.tasks if task.after]) <= limit


# --- size and text


@given(st.text(st.characters(exclude_categories=()), max_size=400))
@example("x" * 201)
@example("a file name of stray bytes: \udcff")
def test_texts_from_outside_are_cut_and_never_break_a_record(problem: str) -> None:
    for event in (events.device_failed(Device.CAMERA, problem), events.anomaly("what", problem)):
        data = data_of(event)
        assert len(data.get("problem", data.get("detail"))) <= 200


def test_the_largest_decision_fits() -> None:
    worst = "\x01" * 300  # six bytes each in JSON
    measurement = Reading(
        -7000, -7000, 40000, (-7000,) * 32, 47000, -7000, tuple((worst[:8] + str(n), -7000) for n in range(8))
    )
    seconds = 1_700_000_000.123
    code = replace(CODE, issuer="i" * 200, kid="k" * 64, subject_ref="s" * 64, region="CN-310")
    evidence = Evidence(
        (measurement, Unmeasured("x" * 64, worst)),
        replace(code, pass_id="p" * 64, step=2**32 - 1, valid_until=2**32 - 1),
        registered=frozenset(REGISTRATION_FIELDS),
        by_hand=frozenset(HandCheck),
        at_s=seconds,
        symptoms=frozenset(Symptom),
        id_checked=False,
        appointment=Appointment(seconds, seconds, seconds, used=True),
        test=LabTest(seconds, negative=False),
        origin=Origin.ELSEWHERE,
        household_pass=HouseholdPass(seconds, seconds, 255),
        occupancy=1_000_000,
        suspended=True,
        last_measured_s=seconds,
        stale=frozenset(str(kind) for kind in DocumentKind),
        person=Person.RESIDENT,
        travel=Travel.RISK_AREA,
    )
    finding = Finding("R" * 16, Verdict.REFUSE, "r" * 32, Disposition.ISOLATE_AND_CALL_120)
    findings, tasks = (finding,) * len(RULES), ("T" * 16,) * 32
    worst_decision = Decision(
        Verdict.REFUSE, Disposition.ISOLATE_AND_CALL_120, findings, "p" * 40, SHA, tasks
    )
    steps = (replace(worst_decision, findings=findings[:10]),) * 4
    event = events.visit_decided(VISIT, Stage.REFUSED, worst_decision, evidence, steps, 10_000_000)
    assert len(checked_body(event, 2**53, NOW)) <= BODY_BYTES_MAX


def test_the_same_arguments_give_the_same_bytes() -> None:
    for event in SAMPLES.values():
        assert encode(event, ORIGIN, 1, NOW) == encode(event, ORIGIN, 1, NOW)


# --- what a subscriber needs no limits for, and what a part says of itself


@pytest.mark.parametrize(
    ("taken", "band"),
    [
        ((), "unmeasured"),
        ((Unmeasured("timeout"),), "unmeasured"),
        ((Reading(3650, 3640, 3660),), "normal"),
        ((Reading(3720, 3710, 3729),), "normal"),
        ((Reading(3720, 3710, 3730),), "raised"),
        ((Reading(3900, 3890, 3910),), "raised"),  # nobody has a fever before the second measurement
        ((Reading(3900, 3890, 3910), Reading(3650, 3640, 3660)), "normal"),
        ((Reading(3900, 3890, 3910), Reading(3735, 3729, 3741)), "raised"),
        ((Reading(3900, 3890, 3910), Reading(3740, 3730, 3750)), "fever"),
        ((Reading(3900, 3890, 3910), Unmeasured("timeout")), "unmeasured"),
        ((Unmeasured("timeout"), Reading(3900, 3890, 3910)), "raised"),
    ],
)
def test_the_band_of_a_temperature(taken: tuple[Any, ...], band: str) -> None:
    assert (PLAN.temperature.abnormal_cc, PLAN.temperature.above) == (3730, False)
    evidence = replace(WELL, measurements=taken)
    assert data_of(decided(Stage.REFERRED, evidence))["evidence"]["band"] == band


@given(st.sampled_from(list(PLANS)), evidences())
def test_the_band_never_contradicts_what_is_found(plan: Policy, evidence: Evidence) -> None:
    decision = decide(plan, SHA, evidence)
    bands = {
        "temperature_normal": "normal",
        "temperature_raised": "raised",
        "temperature_uncertain": "raised",
        "temperature_fever": "fever",
        "fever_seen_out": "fever",
        "temperature_missing": "unmeasured",
        "temperature_unmeasurable": "unmeasured",
    }
    for finding in decision.findings:
        assert bands.get(finding.reason, decision.band) == decision.band


@pytest.mark.parametrize(
    "facts",
    [
        {"remark": "all is well"},
        {"Config": 1},
        {"config": "9FF4"},
        {"serial": "0" * 17},
        {"config": 70_000},
        {"config": 1.5},
        {"config": None},
        {f"fact_{number}": number for number in range(17)},
    ],
)
def test_a_check_has_no_room_for_free_text(facts: dict[str, Any]) -> None:
    body = json.loads(encode(events.device_checked("thermometer", facts), ORIGIN, 1, NOW))
    assert not schema().is_valid(body)
