"""Pseudonyms: one name all day at every gate of a site, another the next day, and none without the key."""

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from evidences import PLANS, evidences
from gatebox import ORIGIN
from hypothesis import given, settings
from hypothesis import strategies as st
from test_events import CODE, FULL, PLAN, SHA, VISIT, WELL, decided

from gate.config import load_policy
from gate.core.codes.model import LabTest
from gate.core.events import Event, Stage, encode, visit_decided
from gate.core.evidence import Appointment, Direction, Evidence, HouseholdPass, Person
from gate.core.moment import Moment
from gate.core.policy import AppointmentRequirement, Policy
from gate.core.pseudonyms import day_key, day_of, pseudonym, pseudonymised, site_key
from gate.core.recorded import recorded_evidence
from gate.core.rules import decide

KEY, OTHER = bytes(range(32)), bytes(32)
CHINA_MIN = 480
MIDNIGHT_MS = 1_709_164_800_000 - CHINA_MIN * 60_000  # 2024-02-29T00:00:00+08:00
DAY_MS = 86_400_000
BOOKING_PLAN = next(plan for plan in PLANS if plan.appointment)
STAFF_PLAN = load_policy("service-bureau")  # measures staff every two hours


def code_at(
    wall_ms: int, key: bytes | None = KEY, gate: str = "g1", evidence: Evidence = FULL
) -> dict[str, Any]:
    event = decided(Stage.REFERRED, evidence)
    body = encode(event, replace(ORIGIN, gate=gate), 1, Moment(1, wall_ms, clock_trusted=True), key)
    code: dict[str, Any] = json.loads(body)["data"]["evidence"]["code"]
    return code


def written(event: Event, wall_ms: int, key: bytes | None = KEY) -> dict[str, Any]:
    body = encode(event, ORIGIN, 1, Moment(1, wall_ms, clock_trusted=True), key)
    evidence: dict[str, Any] = json.loads(body)["data"]["evidence"]
    return evidence


def test_by_the_book() -> None:
    """Made anew from what the documents say, with nothing of the gate's own."""
    of_day = hmac.new(KEY, b"health gate pseudonym 1\x002024-02-28", hashlib.sha256).digest()
    for what, value in (("subject", CODE.subject_ref), ("pass_id", "cafe0001")):
        expected = hmac.new(of_day, f"{what}\0{value}".encode(), hashlib.sha256).hexdigest()[:16]
        assert code_at(MIDNIGHT_MS - 1)[what] == expected
    assert day_key(KEY, "2024-02-28") == of_day
    assert pseudonym(of_day, "subject", "0000000000000001") == code_at(MIDNIGHT_MS - 1)["subject"]


def test_these_never_change() -> None:
    """What the centre has stored is found again by whatever version of it."""
    key = day_key(KEY, "2024-02-28")
    assert key.hex() == "68ea1cb2e44e59803c556be96f986c523683028c961a7bfdb2a633bcaeb0b4f1"
    assert pseudonym(key, "subject", "0123456789abcdef") == "e461b1a847735d85"
    assert pseudonym(key, "pass_id", "cafe0001") == "de2d9fbc52eefcb3"


def test_one_person_has_one_name_all_day_at_every_gate_with_the_key() -> None:
    morning, evening = MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS - 1  # to 23:59:59.999 in China
    assert code_at(morning) == code_at(evening) == code_at(evening, gate="g2")


@pytest.mark.parametrize("wall_ms", [MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS, MIDNIGHT_MS - 20_000 * DAY_MS])
def test_the_next_day_nobody_knows_them(wall_ms: int) -> None:
    before, after = code_at(wall_ms - 1), code_at(wall_ms)
    for what in ("subject", "pass_id"):
        assert before[what] != after[what]


@pytest.mark.parametrize("offset_min", [480, -300, 0, 345, -720, 840])
def test_a_day_is_that_of_the_plan(offset_min: int) -> None:
    midnight_ms = 1_709_164_800_000 - offset_min * 60_000
    days = [day_of(midnight_ms + ms, offset_min) for ms in (-1000, -1, 0, DAY_MS - 1, DAY_MS)]
    assert days == ["2024-02-28", "2024-02-28", "2024-02-29", "2024-02-29", "2024-03-01"]
    elsewhere = replace(PLAN, utc_offset_min=offset_min)
    event = visit_decided(VISIT, Stage.REFERRED, decide(elsewhere, SHA, FULL), FULL, (), 1)
    for wall_ms, day in ((midnight_ms - 1, "2024-02-28"), (midnight_ms, "2024-02-29")):
        named = pseudonym(day_key(KEY, day), "pass_id", "cafe0001")
        assert written(event, wall_ms)["code"]["pass_id"] == named


@pytest.mark.parametrize(
    ("wall_ms", "offset_min", "day"),
    [(253_402_300_799_999, 840, "9999-12-31"), (-62_135_596_800_000, -720, "0001-01-01")],
)
def test_the_calendar_has_ends(wall_ms: int, offset_min: int, day: str) -> None:
    assert day_of(wall_ms, offset_min) == day


def test_another_key_gives_other_names_and_what_is_named_counts() -> None:
    ours, theirs = code_at(MIDNIGHT_MS), code_at(MIDNIGHT_MS, OTHER)
    assert ours["subject"] != theirs["subject"]
    same = replace(FULL, code=replace(CODE, subject_ref="cafe0001", pass_id="cafe0001"))
    named = code_at(MIDNIGHT_MS, evidence=same)
    assert named["subject"] != named["pass_id"]


def test_nothing_else_is_changed() -> None:
    plain, named = code_at(MIDNIGHT_MS, None), code_at(MIDNIGHT_MS)
    assert plain["subject"] == CODE.subject_ref
    assert {name for name in plain if plain[name] != named[name]} == {"subject", "pass_id", "valid_until"}
    assert list(plain) == list(named)
    today = replace(FULL, code=replace(CODE, valid_until=MIDNIGHT_MS // 1000 + 1))
    plain, named = code_at(MIDNIGHT_MS, None, evidence=today), code_at(MIDNIGHT_MS, evidence=today)
    assert {name for name in plain if plain[name] != named[name]} == {"subject"}
    nobody = replace(WELL, code=replace(CODE, subject_ref=None))
    assert code_at(MIDNIGHT_MS, evidence=nobody)["subject"] is None
    data = decided(Stage.REFERRED, replace(WELL, code=None)).data
    assert pseudonymised(data, KEY, MIDNIGHT_MS, CHINA_MIN) is data


def test_what_is_handed_in_stays_as_it_is() -> None:
    """The gate's own memory goes by it, and a record that fails is encoded once more."""
    event = decided(Stage.REFERRED, FULL)
    encode(event, ORIGIN, 1, Moment(1, MIDNIGHT_MS, clock_trusted=True), KEY)
    assert event == decided(Stage.REFERRED, FULL)


def test_a_record_that_waits_over_midnight_has_the_name_of_the_day_that_it_states() -> None:
    event = decided(Stage.REFERRED, FULL)
    late = replace(event, data={**event.data, "late": True})
    body = json.loads(encode(late, ORIGIN, 1, Moment(1, MIDNIGHT_MS, clock_trusted=True), KEY))
    of_day = day_key(KEY, "2024-02-29")
    assert body["time"] == "2024-02-28T16:00:00.000+00:00"
    assert body["data"]["evidence"]["code"]["subject"] == pseudonym(of_day, "subject", "0000000000000001")


def near_midnight(evidence: Evidence, base_ms: int, times: list[int]) -> Evidence:
    """Evidence with all its times, where it has them, so many seconds after an instant."""
    slot, held, test = evidence.appointment, evidence.household_pass, evidence.test
    at = [base_ms // 1000 + time for time in times]
    return replace(
        evidence,
        at_s=None if evidence.at_s is None else at[0] + 0.001,
        code=evidence.code and replace(evidence.code, valid_until=at[1]),
        appointment=slot and replace(slot, from_s=at[2], until_s=at[3], booked_s=at[4]),
        household_pass=held and replace(held, from_s=at[5], until_s=at[6]),
        test=test and replace(test, taken_s=at[7]),
    )


def test_of_another_day_nothing_is_told_by_who_did_not_know_the_time() -> None:
    evidence = replace(WELL, at_s=None, last_measured_s=(MIDNIGHT_MS - 1) / 1000)
    event = visit_decided(VISIT, Stage.REFERRED, decide(STAFF_PLAN, SHA, evidence), evidence, (), 1)
    assert "last_measured_s" not in written(event, MIDNIGHT_MS)


SECONDS = st.integers(-3 * 86_400, 3 * 86_400) | st.integers(-72, 72).map(lambda hours: hours * 3600)


def with_test_age(plan: Policy, hours: int) -> Policy:
    return replace(plan, risk_area=replace(plan.risk_area, enters_tested=True, test_age_max_h=hours))


@settings(max_examples=300)
@given(
    evidences(),
    st.lists(SECONDS, min_size=8, max_size=8),
    st.booleans(),
    st.integers(0, 1440),
    st.integers(1, 504),
    SECONDS,
)
def test_every_plan_of_the_same_local_time_decides_the_same(
    evidence: Evidence, times: list[int], near: bool, booked_by_min: int, age_h: int, written: int
) -> None:
    """Also another than the one that was followed; and a record may be written days after it was judged."""
    evidence = replace(evidence, last_measured_s=None)
    if near:
        evidence = near_midnight(evidence, MIDNIGHT_MS, times)
    event = visit_decided(VISIT, Stage.REFERRED, decide(PLAN, SHA, evidence), evidence, (), 1)
    event = replace(event, data={**event.data, "late": True})
    now = Moment(1, MIDNIGHT_MS + written * 1000, clock_trusted=True)
    again = recorded_evidence(json.loads(encode(event, ORIGIN, 1, now, KEY)))
    booking = replace(BOOKING_PLAN, appointment=AppointmentRequirement("AH-1", booked_by_min))
    for plan in (*PLANS, booking, with_test_age(PLAN, age_h)):
        assert decide(plan, SHA, again) == decide(plan, SHA, evidence), plan.name


@pytest.mark.parametrize("plan", [PLAN, STAFF_PLAN])
@given(evidence=evidences())
def test_a_record_with_pseudonyms_is_judged_again_like_one_without(plan: Policy, evidence: Evidence) -> None:
    event = visit_decided(VISIT, Stage.REFERRED, decide(plan, SHA, evidence), evidence, (), 1)
    now = Moment(1, MIDNIGHT_MS, clock_trusted=evidence.at_s is not None)
    plain, named = (
        decide(plan, SHA, recorded_evidence(json.loads(encode(event, ORIGIN, 1, now, key))))
        for key in (None, KEY)
    )
    assert plain == named == decide(plan, SHA, evidence)


HOUR_MS = 3_600_000


def a_round(
    at_ms: int, last_ms: int, direction: Direction = Direction.OUT, plan: Policy = STAFF_PLAN
) -> Event:
    evidence = replace(
        WELL, person=Person.STAFF, direction=direction, at_s=at_ms / 1000, last_measured_s=last_ms / 1000
    )
    return visit_decided(VISIT, Stage.REFERRED, decide(plan, SHA, evidence), evidence, (), 1)


OVERDUE_MS = -2 * DAY_MS


@pytest.mark.parametrize(
    ("at_ms", "last_ms", "told_ms"),
    [
        (HOUR_MS, 0, 0),  # one name, one day: as it was
        (DAY_MS - 1, 0, 0),
        (HOUR_MS, -1, HOUR_MS),  # the round was kept, and no more is said
        (HOUR_MS, -HOUR_MS, HOUR_MS),
        (HOUR_MS, -HOUR_MS - 1, HOUR_MS + OVERDUE_MS),
        (9 * HOUR_MS, -1, 9 * HOUR_MS + OVERDUE_MS),
        (0, DAY_MS, OVERDUE_MS),  # a clock that was set back
    ],
)
@pytest.mark.parametrize("direction", list(Direction))
def test_when_somebody_was_measured_on_another_day_is_not_told(
    at_ms: int, last_ms: int, told_ms: int, direction: Direction
) -> None:
    """It is the time of a record in which they have another name, to the millisecond."""
    event = a_round(MIDNIGHT_MS + at_ms, MIDNIGHT_MS + last_ms, direction)
    found = written(event, MIDNIGHT_MS + at_ms)
    assert found["last_measured_s"] == (MIDNIGHT_MS + told_ms) / 1000
    body = encode(event, ORIGIN, 1, Moment(1, MIDNIGHT_MS + at_ms, clock_trusted=True), KEY)
    again = decide(STAFF_PLAN, SHA, recorded_evidence(json.loads(body)))
    assert [str(finding.reason) for finding in again.findings] == [
        finding["reason"] for finding in event.data["findings"]
    ]
    assert "round_kept" in str(event.data["findings"]) or "round_overdue" in str(event.data["findings"])


def test_a_record_that_waits_over_midnight_does_not_tell_of_the_day_before() -> None:
    event = a_round(MIDNIGHT_MS - 1, MIDNIGHT_MS - HOUR_MS)
    assert written(event, MIDNIGHT_MS - 1)["last_measured_s"] == (MIDNIGHT_MS - HOUR_MS) / 1000
    assert written(event, MIDNIGHT_MS)["last_measured_s"] == (MIDNIGHT_MS - 1) / 1000  # when it was judged


DAY_S, NOON_S = DAY_MS // 1000, MIDNIGHT_MS // 1000 + 43_200
BEGAN_S, ENDS_S = MIDNIGHT_MS // 1000 - 1, MIDNIGHT_MS // 1000 + DAY_S


def with_pass(from_s: int, until_s: int, booked_s: int, taken_s: int, at_s: float | None = NOON_S) -> Event:
    evidence = replace(
        WELL,
        code=replace(CODE, valid_until=until_s),
        at_s=at_s,
        appointment=Appointment(from_s, until_s, booked_s),
        household_pass=HouseholdPass(from_s, until_s),
        test=LabTest(taken_s, negative=True),
    )
    return visit_decided(VISIT, Stage.REFERRED, decide(PLAN, SHA, evidence), evidence, (), 1)


def times(event: Event, wall_s: int, key: bytes | None = KEY) -> dict[str, Any]:
    found = written(event, wall_s * 1000, key)
    slot, held = found["appointment"], found["household_pass"]
    assert (slot["from_s"], slot["until_s"]) == (held["from_s"], held["until_s"])
    assert slot["until_s"] == found["code"]["valid_until"]
    return {**held, "booked_s": slot["booked_s"], "taken_s": found["test"]["taken_s"]}


def test_nobody_is_followed_by_the_times_of_a_pass() -> None:
    """Two passes of several days that have not a second in common are told alike on a day between."""
    one = with_pass(NOON_S - DAY_S, NOON_S + 5 * DAY_S + 17, NOON_S - 9 * DAY_S, NOON_S - 47 * 3600)
    other = with_pass(NOON_S - 8 * DAY_S + 1, NOON_S + DAY_S, NOON_S - 99 * DAY_S, NOON_S - 46 * 3600 - 1)
    told = times(one, NOON_S)
    assert told == times(other, NOON_S)
    assert (told["from_s"], told["until_s"]) == (BEGAN_S, ENDS_S)
    assert told["taken_s"] == NOON_S - 47 * 3600 + 1800
    assert told["booked_s"] == MIDNIGHT_MS // 1000 - 2 * DAY_S - 30  # before the eve of the day told


@pytest.mark.parametrize("direction", [-1, 1])
def test_what_is_over_or_has_not_begun_is_told_as_that_and_no_more(direction: int) -> None:
    away = [NOON_S + direction * (days * DAY_S + 5) for days in (1, 2, 3, 4)]
    told = times(with_pass(*away), NOON_S)
    assert told["from_s"] == told["until_s"] == (BEGAN_S if direction < 0 else ENDS_S)
    assert told["taken_s"] == (NOON_S - 97 * 3600 + 1800 if direction < 0 else ENDS_S)


def test_times_of_the_day_of_a_record_stand_in_it() -> None:
    event = with_pass(BEGAN_S + 1, ENDS_S - 1, NOON_S - 1, NOON_S - 2)
    assert times(event, NOON_S) == times(event, NOON_S, key=None)
    assert times(event, NOON_S)["booked_s"] == NOON_S - 1


@pytest.mark.parametrize(
    ("booked_s", "told_s"),
    [  # for a slot of the day, by the minute of the day before
        (BEGAN_S - 7 * DAY_S, BEGAN_S + 1 - DAY_S - 30),
        (BEGAN_S + 1 - DAY_S, BEGAN_S + 1 - DAY_S - 30),
        (BEGAN_S + 2 - DAY_S, BEGAN_S + 1 - DAY_S + 30),
        (BEGAN_S, BEGAN_S + 1 - 30),
        (ENDS_S + DAY_S, BEGAN_S + 1 + 30),
    ],
)
def test_when_an_appointment_was_made_is_told_to_the_minute(booked_s: int, told_s: int) -> None:
    assert times(with_pass(NOON_S, NOON_S, booked_s, NOON_S), NOON_S)["booked_s"] == told_s


def test_a_slot_of_another_day_takes_the_booking_with_it() -> None:
    """Made today for next week, it was made in time; told as one for tomorrow, it must still be."""
    told = times(with_pass(NOON_S + 7 * DAY_S, NOON_S + 7 * DAY_S, NOON_S, NOON_S), NOON_S)
    assert (told["from_s"], told["booked_s"]) == (ENDS_S, ENDS_S - DAY_S - 30)


def test_an_old_test_is_told_as_too_old_for_every_plan() -> None:
    for days in (21 * DAY_S + 1, 99 * DAY_S):
        told = times(with_pass(NOON_S, NOON_S, NOON_S, NOON_S - days), NOON_S)
        assert told["taken_s"] == NOON_S - 505 * 3600 + 1800


def test_without_a_trusted_clock_the_day_is_that_of_the_record() -> None:
    event = with_pass(NOON_S - DAY_S, NOON_S + DAY_S, NOON_S, NOON_S - DAY_S, at_s=None)
    told = times(event, NOON_S)
    assert (told["from_s"], told["until_s"], told["taken_s"]) == (BEGAN_S, ENDS_S, BEGAN_S)


def test_who_has_no_slot_has_not_made_it_to_the_second_either() -> None:
    evidence = replace(WELL, at_s=NOON_S, appointment=Appointment(None, None, NOON_S - 2 * DAY_S))
    found = written(decided(Stage.REFERRED, evidence), NOON_S * 1000)
    assert found["appointment"]["booked_s"] == BEGAN_S


def test_a_late_record_tells_no_times_of_the_day_on_which_it_was_judged() -> None:
    """It has a name of its own day, and others of the day before show another."""
    event = with_pass(NOON_S - 9, NOON_S + 9, NOON_S - 99 * DAY_S, NOON_S)
    told = times(event, NOON_S + DAY_S)
    assert (told["from_s"], told["until_s"], told["taken_s"]) == (BEGAN_S, ENDS_S, NOON_S)


def test_without_a_key_it_stands_as_it_is() -> None:
    event = a_round(MIDNIGHT_MS, MIDNIGHT_MS - 1)
    assert written(event, MIDNIGHT_MS, key=None)["last_measured_s"] == (MIDNIGHT_MS - 1) / 1000


@given(st.binary(min_size=16, max_size=80))
def test_any_secret_is_a_key_and_digits_are_read_as_bytes(secret: bytes) -> None:
    assert site_key(secret.hex().encode() if len(secret) == 32 else secret + b"!")
    assert site_key(secret[:16].hex().encode() * 2) == secret[:16] * 2


def test_64_digits_are_a_key_of_32_bytes() -> None:
    assert site_key(KEY.hex().encode()) == KEY
    assert site_key(KEY[:16]) == KEY[:16]


@pytest.mark.parametrize("content", [b"", bytes(15)])
def test_a_secret_has_16_bytes(content: bytes) -> None:
    with pytest.raises(ValueError, match="a secret has 16 or more"):
        site_key(content)
