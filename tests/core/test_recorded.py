"""A stored visit judged again: what is on record is enough for every plan to decide as it did."""

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from evidences import PLANS, WALL_MS, evidences
from gatebox import ORIGIN
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gate.core import events
from gate.core.codes.model import Assurance, CodeResult, Format, LabTest, Reason, Status, Travel
from gate.core.effects import Record
from gate.core.events import Stage, encode
from gate.core.evidence import Evidence, HandCheck, Person, Reading, Unmeasured
from gate.core.moment import Moment
from gate.core.policy import Policy
from gate.core.recorded import recorded_evidence
from gate.core.rules import decide
from gate.core.unwritten import Unwritten

VISIT = "0a1b2c3d-000001"
PLAN, SHA = next(iter(PLANS.items()))
WALL = 1_709_164_799_999
DAMAGE = (KeyError, TypeError, ValueError, AttributeError)


def moment(wall_ms: int = WALL, *, trusted: bool = True) -> Moment:
    return Moment(1, wall_ms, clock_trusted=trusted)


def stored(evidence: Evidence, now: Moment, plan: Policy = PLAN) -> dict[str, Any]:
    decision = decide(plan, PLANS[plan], evidence)
    event = events.visit_decided(VISIT, Stage.REFERRED, decision, evidence, (), 1)
    body: dict[str, Any] = json.loads(encode(event, ORIGIN, 1, now))
    return body


def readable(text: str) -> str:
    return text.encode(errors="replace").decode()


def kept(evidence: Evidence) -> Evidence:
    """Return the evidence without what is deliberately not stored."""
    measurements = tuple(
        Unmeasured(taken.reason, readable(taken.detail[:200]))
        if isinstance(taken, Unmeasured)
        else replace(taken, corrections=tuple((readable(name), cc) for name, cc in taken.corrections))
        for taken in evidence.measurements
    )
    code = evidence.code and replace(
        evidence.code,
        registered=frozenset(),
        valid_from=None,
        issued_at=None,
        uses_max=None,
        travel=Travel.UNKNOWN,
        test=None,
        assurance=Assurance.FORMAT_ONLY,
    )
    return replace(evidence, measurements=measurements, code=code)


@settings(max_examples=60)
@given(evidences(), WALL_MS, st.booleans())
@example(Evidence(), WALL, False)
@example(Evidence(at_s=0.0, id_checked=False, suspended=True, occupancy=0, last_measured_s=0.0), 0, True)
def test_what_is_stored_is_what_was_judged(evidence: Evidence, written_ms: int, trusted: bool) -> None:
    """Also when it is written later than it was judged, and the clock has become trusted or untrusted."""
    event = stored(evidence, moment(written_ms, trusted=trusted))
    if evidence.at_s is None:
        event["data"]["late"] = True
    again = recorded_evidence(event)
    assert again == kept(evidence)
    for plan, sha256 in PLANS.items():
        assert decide(plan, sha256, again) == decide(plan, sha256, evidence), plan.name


@settings(max_examples=40)
@given(st.data(), WALL_MS, st.booleans())
def test_every_plan_decides_again_as_it_did_at_the_instant_of_writing(
    data: st.DataObject, wall_ms: int, trusted: bool
) -> None:
    """As the actor does it: judged and written at one instant, by each of the plans."""
    evidence = data.draw(evidences(st.just(wall_ms / 1000 if trusted else None)))
    for plan, sha256 in PLANS.items():
        event = stored(evidence, moment(wall_ms, trusted=trusted), plan)
        decision = decide(plan, sha256, recorded_evidence(event))
        assert (decision.verdict, decision.disposition) == (
            event["data"]["verdict"],
            event["data"]["disposition"],
        )
        assert [(f.rule, f.reason) for f in decision.findings] == [
            (found["rule"], found["reason"]) for found in event["data"]["findings"]
        ]


def test_a_record_that_waited_for_the_ledger_is_judged_at_its_own_time() -> None:
    """Written in the morning, but it was night when somebody came: with opening hours that is all."""
    plan = next(plan for plan in PLANS if plan.hours)
    assert plan.hours
    midnight_ms = 1_709_164_800_000 - plan.utc_offset_min * 60_000
    open_ms = midnight_ms + plan.hours.opens_min * 60_000
    evidence = Evidence(at_s=(open_ms - 1) / 1000)
    decision = decide(plan, PLANS[plan], evidence)
    waiting = Unwritten(serves_on=False)
    waiting.hold(Record(events.visit_decided(VISIT, Stage.REFUSED, decision, evidence, (), 1)))
    late = json.loads(encode(waiting.next().event, ORIGIN, 1, moment(open_ms)))
    assert decide(plan, PLANS[plan], recorded_evidence(late)) == decision
    assert "closed_hours" in {finding.reason for finding in decision.findings}


@pytest.mark.parametrize(
    ("late", "trusted", "at_s"),
    [(False, True, WALL / 1000), (False, False, None), (True, True, None), (True, False, None)],
)
def test_the_first_events_said_no_time_of_judging(late: bool, trusted: bool, at_s: float | None) -> None:
    event = stored(Evidence(), moment(trusted=trusted))
    assert "at_s" not in event["data"]["evidence"]
    if late:
        event["data"]["late"] = True
    assert recorded_evidence(event).at_s == at_s


def test_what_is_not_stored() -> None:
    """What a code says beyond its worth is in the evidence itself; the rest serves no rule."""
    code = CodeResult(
        Format.HOME,
        Reason.OK,
        Status.GREEN,
        registered=frozenset({"name"}),
        valid_from=1,
        valid_until=2,
        issued_at=3,
        uses_max=4,
        travel=Travel.CLEAR,
        test=LabTest(5, negative=True),
        assurance=Assurance.OFFLINE_SIGNATURE,
    )
    again = recorded_evidence(stored(Evidence((Unmeasured("timeout", "x" * 201),), code), moment()))
    assert again.code == CodeResult(Format.HOME, Reason.OK, Status.GREEN, valid_until=2)
    assert again.measurements == (Unmeasured("timeout", "x" * 200),)


# --- what is no event, or a damaged one

WHOLE = stored(
    Evidence(
        (Reading(3650, 3640, 3660, (3650,), 0, 2500, (("offset", 1),)), Unmeasured("timeout")),
        CodeResult(Format.HOME, Reason.OK, region="CN-31"),
        by_hand=frozenset(HandCheck),
        person=Person.STAFF,
        test=LabTest(1, negative=True),
    ),
    moment(),
)


@pytest.mark.parametrize(
    "wrong", [None, 1, "x", [], {}, {"data": {}}, {"data": []}, {"data": {"evidence": []}}]
)
def test_what_is_no_decision(wrong: Any) -> None:
    with pytest.raises(DAMAGE):
        recorded_evidence(wrong)


def places(tree: Any, *above: str | int) -> list[tuple[str | int, ...]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [above, *(place for key, value in inner for place in places(value, *above, key))]


@given(
    st.sampled_from(places(WHOLE)[1:]), st.sampled_from([None, -1, 1.5, "?", "2024", [], {}, [[]], {"a": 1}])
)
def test_a_damaged_event_is_refused_or_read_and_nothing_else(
    place: tuple[str | int, ...], wrong: Any
) -> None:
    event = json.loads(json.dumps(WHOLE))
    holder = event
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = wrong
    with contextlib.suppress(DAMAGE):
        recorded_evidence(event)


@pytest.mark.parametrize("word", ["mask", "attendant", "person", "by_hand"])
def test_a_word_of_another_version_is_refused(word: str) -> None:
    event = json.loads(json.dumps(WHOLE))
    event["data"]["evidence"][word] = ["unheard_of"] if word == "by_hand" else "unheard_of"
    with pytest.raises(ValueError, match="unheard_of"):
        recorded_evidence(event)
