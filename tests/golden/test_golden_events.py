"""The wire form, byte for byte: what is on disks and at the centre must be readable for ever.

`events.jsonl` holds one event of each kind, made of fixed inputs. A test that fails here says that the wire
form has changed: if that is meant, it takes a new event version, its schema, and a new file.
"""

import json
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
    Reason,
    Status,
)
from gate.core.events import Event, Kind, Origin, Result, Stage, encode
from gate.core.evidence import AttendantWord, Evidence, MaskStatus, Reading, Unmeasured
from gate.core.moment import Moment
from gate.core.policy import Decision, Disposition, Finding, Verdict

GOLDEN = Path(__file__).with_name("events.jsonl").read_bytes().splitlines()
ORIGIN = Origin("hall-east", "gate_1", "00112233445566778899aabbccddeeff", "boot-1")
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
]


def test_one_event_of_each_kind() -> None:
    assert [event.kind for event in EVENTS] == list(Kind)
    assert len(GOLDEN) == len(EVENTS)


@pytest.mark.parametrize(("seq", "event"), list(enumerate(EVENTS, 1)), ids=list(Kind))
def test_the_bytes_are_what_they_were(seq: int, event: Event) -> None:
    assert encode(event, ORIGIN, seq, MOMENT) == GOLDEN[seq - 1]


def test_they_fit_the_schema() -> None:
    schema = json.loads(files("gate.schemas").joinpath("event-1.json").read_text("utf-8"))
    for line in GOLDEN:
        Draft202012Validator(schema).validate(json.loads(line))


def test_every_golden_event_is_its_own_one_spelling() -> None:
    for line in GOLDEN:
        assert json.dumps(json.loads(line), ensure_ascii=False, separators=(",", ":")).encode() == line
