"""The wire form, byte for byte: what is on disks and at the centre must be readable for ever.

`events.jsonl` holds events of each kind, made of fixed inputs. A line is never changed; what an event says in
addition is a line of its own at the end. A test that fails here says that the wire form has changed: if that
is meant, it takes a new event version, its schema, and a new file.
"""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from gate.core import events
from gate.core.codes.model import (
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
from gate.core.events import Event, Kind, Outcome, Result, Stage, encode
from gate.core.events import Origin as LedgerOrigin
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
from gate.core.moment import Moment
from gate.core.policy import Band, Decision, Disposition, Finding, Verdict
from gate.core.recorded import recorded_evidence
from gate.core.updates import UpdateOutcome, UpdateResult

GOLDEN = Path(__file__).with_name("events.jsonl").read_bytes().splitlines()
ORIGIN = LedgerOrigin("hall-east", "gate_1", "00112233445566778899aabbccddeeff", "boot-1")
MOMENT = Moment(987_654_321_012, 1_709_164_799_999, clock_trusted=True)
VISIT = "0a1b2c3d-000042"
POLICY = ("county-hall", "0123456789abcdef" * 4)
CODE = CodeResult(
    Format.HOME,
    Reason.OK,
    Status.GREEN,
    Authenticity.VERIFIED,
    Freshness.CURRENT,
    Credential.APPOINTMENT,
    "county",
    "deadbeef",
    "0123456789abcdef",
    frozenset({"phone", "name"}),
    1_709_160_000,
    1_709_170_000,
)
READING = Reading(3752, 3732, 3772, (3740, 3738, 3742), 4, 2215, (("ambient_to_core", 10), ("offset", 2)))
EVIDENCE = Evidence(
    (READING, Unmeasured("timeout", "no answer at 0x5a")),
    CODE,
    several_codes=False,
    mask=MaskStatus.WORN,
    registered=frozenset({"phone", "name"}),
    attendant=AttendantWord.CONFIRMED,
)
STEP = Decision(
    Verdict.RETEST, Disposition.NONE, (Finding("CH-1", Verdict.RETEST, "temperature_raised"),), *POLICY
)
REFUSED = Decision(
    Verdict.REFUSE,
    Disposition.ISOLATE_AND_CALL_120,
    (
        Finding("TR-1", Verdict.ADMIT, "code_ok"),
        Finding("CH-2", Verdict.REFUSE, "temperature_fever", Disposition.ISOLATE_AND_CALL_120),
    ),
    *POLICY,
)
# What a plan may ask for beyond the first events: all of it, and one code that may be used again.
MORE_EVIDENCE = Evidence(
    code=replace(
        CODE, credential=Credential.HOUSEHOLD, region="CN-31", pass_id="cafe0001", step=56_972_159, uses_max=2
    ),
    by_hand=frozenset({HandCheck.REGISTRATION, HandCheck.IDENTITY}),
    person=Person.RESIDENT,
    direction=Direction.OUT,
    at_s=1_709_164_799.999,
    travel=Travel.RISK_AREA,
    symptoms=frozenset({Symptom.BREATHING_DIFFICULTY, Symptom.COUGH}),
    id_checked=False,
    appointment=Appointment(1_709_160_000, 1_709_170_000, 1_709_000_000, used=False),
    test=LabTest(1_709_100_000, negative=True),
    origin=Origin.KEY_AREA,
    household_pass=HouseholdPass(1_709_160_000, 1_709_170_000, 1),
    occupancy=42,
    suspended=True,
    last_measured_s=1_709_157_600.5,
    stale=frozenset({"risk_areas", "residents"}),
)
REFERRED = Decision(
    Verdict.REFER,
    Disposition.NONE,
    (Finding("AH-2", Verdict.REFER, "id_unchecked"), Finding("SA-5", Verdict.ADMIT, "pass_kept")),
    *POLICY,
    tasks=("AH-6", "TR-3"),
)
# Judged a minute and a half before the ledger could take it.
WAITED = events.visit_decided(
    VISIT, Stage.UNDECIDED, STEP, replace(EVIDENCE, at_s=1_709_164_709.999), (), 6543
)
# Seen out by the person on duty: admitted, and reported at once all the same. What nobody has said is null.
SEEN_OUT_EVIDENCE = replace(
    EVIDENCE,
    person=Person.STAFF,
    direction=Direction.OUT,
    at_s=1_709_164_799.999,
    appointment=Appointment(None, None),
    household_pass=HouseholdPass(None, 1_709_170_000),
)
SEEN_OUT = Decision(
    Verdict.ADMIT,
    Disposition.OBSERVE_AT_HOME,
    (Finding("CO-4", Verdict.ADMIT, "fever_seen_out", Disposition.OBSERVE_AT_HOME),),
    *POLICY,
)
OPEN_ONCE = Command(
    "a1b2c3",
    Address("hall-east", "gate_1", "00112233445566778899aabbccddeeff"),
    7,
    1_709_164_000,
    1_709_164_900,
    Name.OPEN_ONCE,
    {"reason": "stretcher"},
)
SEALED = events.visit_closed(VISIT, Result.PASSED, 11_543)
EVENTS = [
    events.visit_decided(VISIT, Stage.REFUSED, REFUSED, EVIDENCE, (STEP,), 6543),
    events.visit_closed(VISIT, Result.LEFT, 11_543),
    events.passage_forced(),
    events.gate_started("0.1.0", "0a1b2c3d", *POLICY),
    events.gate_stopped(),
    events.gate_mode("degraded", "serving"),
    events.device_failed("thermometer", "线断了 (wire broken)"),
    events.device_recovered("thermometer"),
    events.fire_alarm(active=False, passages=17),
    events.anomaly("inbox_overflowed", '3 inputs lost "here"\n'),
    events.document("risk_areas", "county", 42, "stale"),
    events.visit_decided(VISIT, Stage.REFERRED, REFERRED, MORE_EVIDENCE, (), 6543),
    replace(WAITED, data={**WAITED.data, "late": True}),
    events.visit_decided(VISIT, Stage.AUTHORISED, SEEN_OUT, SEEN_OUT_EVIDENCE, (), 6543),
    events.command(OPEN_ONCE, Outcome.DONE, visit=VISIT),
    events.command(OPEN_ONCE, Outcome.REFUSED, "replayed"),
    events.command(None, Outcome.REFUSED, "too_many", left_out=17),
    events.epoch_started(PreviousEpoch("8899aabbccddeeff", 41, "0123456789abcdef" * 4, "断电 (power cut)")),
    events.epoch_started(PreviousEpoch("", 0, "", "first start")),
    events.policy_adopted(*POLICY, "a1b2c3"),
    replace(SEALED, data={**SEALED.data, "sealed": "fedcba9876543210" * 4}),
    events.visit_decided(VISIT, Stage.REFUSED, replace(REFUSED, band=Band.FEVER), EVIDENCE, (STEP,), 6543),
    events.visit_decided(VISIT, Stage.REFERRED, REFERRED, MORE_EVIDENCE, (), 6543),
    events.device_checked(
        "thermometer",
        {"serial": "0123456789abcdef", "config": "9ff4", "emissivity": "ffff", "ambient_cc": 2215},
    ),
    events.update(
        UpdateResult("0.2.0-1", "0.1.0-1", UpdateOutcome.ROLLED_BACK, "not ready in 30 s", "a1b2c3", 1)
    ),
]
# Decisions of gates that did not say the band of the temperature yet, and called a person by the reference
# that stands in the pass.
WITHOUT_BAND = (1, 12, 13, 14)
# ... and those on which a key of the site is used, as it is by every gate since. What a pass says of another
# day is told by its midnight, and when an appointment was made by the minute (`gate.core.pseudonyms`).
PSEUDONYMOUS = (22, 23)
SITE_KEY = bytes(range(32))
MIDNIGHT_S = 1_709_164_800


def as_it_was(seq: int, event: Event) -> Event:
    if seq not in WITHOUT_BAND:
        return event
    evidence = {name: value for name, value in event.data["evidence"].items() if name != "band"}
    return replace(event, data={**event.data, "evidence": evidence})


def encoded(seq: int, event: Event) -> bytes:
    key = SITE_KEY if seq in PSEUDONYMOUS else None
    return encode(as_it_was(seq, event), ORIGIN, seq, MOMENT, key)


def test_events_of_each_kind() -> None:
    assert {event.kind for event in EVENTS} == set(Kind)
    assert len(GOLDEN) == len(EVENTS)


@pytest.mark.parametrize(("seq", "event"), list(enumerate(EVENTS, 1)))
def test_the_bytes_are_what_they_were(seq: int, event: Event) -> None:
    assert encoded(seq, event) == GOLDEN[seq - 1]


def test_they_fit_the_schema() -> None:
    schema = json.loads(files("gate.schemas").joinpath("event-1.json").read_text("utf-8"))
    for line in GOLDEN:
        Draft202012Validator(schema).validate(json.loads(line))


def test_every_golden_event_is_its_own_one_spelling() -> None:
    for line in GOLDEN:
        assert json.dumps(json.loads(line), ensure_ascii=False, separators=(",", ":")).encode() == line


@pytest.mark.parametrize(
    "seq", [seq for seq, event in enumerate(EVENTS, 1) if event.kind is Kind.VISIT_DECIDED]
)
def test_a_decision_of_any_age_can_be_judged_again(seq: int) -> None:
    """The first events did not say when they were judged: it was when they were written."""
    again = recorded_evidence(json.loads(GOLDEN[seq - 1]))
    evidence = {12: MORE_EVIDENCE, 14: SEEN_OUT_EVIDENCE, 23: MORE_EVIDENCE}.get(seq, EVIDENCE)
    code = evidence.code
    assert code is not None
    # Not on record: what follows from a code is in the evidence itself.
    code = replace(code, registered=frozenset(), valid_from=None, issued_at=None, uses_max=None)
    if seq in PSEUDONYMOUS:
        named = json.loads(GOLDEN[seq - 1])["data"]["evidence"]["code"]
        assert named["subject"] != code.subject_ref
        code = replace(code, subject_ref=named["subject"], pass_id=named.get("pass_id"))
        code = replace(code, valid_until=MIDNIGHT_S)
    if seq == 23:
        evidence = replace(
            evidence,
            appointment=Appointment(1_709_160_000, MIDNIGHT_S, 1_709_000_010, used=False),
            household_pass=HouseholdPass(1_709_160_000, MIDNIGHT_S, 1),
        )
    judged_s = 1_709_164_709.999 if seq == 13 else 1_709_164_799.999
    assert again == replace(evidence, at_s=judged_s, code=code)
