"""Who was inside while somebody was (CH-5)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from central.people.answers import Statement
from central.people.trace import Shared, Trace, trace
from central.store import Store
from gate.core import events
from gate.core.commands import Address, Command, Name
from gate.core.events import Event, Outcome, Result, Stage
from gate.core.evidence import Direction
from gate.core.pseudonyms import day_key, pseudonym
from tests.central.people.hall import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    DAY,
    SITE_KEY,
    STAY,
    HallGate,
    at,
    seen,
    subject,
)  # fmt: skip
from tests.central.reports.town import ADMIT, RED, ZONE

Follow = Callable[..., Trace]


@pytest.fixture
def hall(store: Store) -> HallGate:
    return HallGate(store)


@pytest.fixture
def back_door(store: Store) -> HallGate:
    return HallGate(store, gate="g-2", epoch="epoch2")


@pytest.fixture
def follow(store: Store) -> Follow:
    def followed(who: str = ALICE, start: str = "00:00", end: str = "23:59", day: str = DAY) -> Trace:
        return trace(store, subject(who), STAY, at(start, day), at(end, day))

    return followed


def name(reference: str, day: str = DAY) -> str:
    """What somebody is called in records of this local day."""
    return pseudonym(day_key(SITE_KEY, day), "subject", reference)


def met(shared: Shared) -> list[tuple[str, str, str]]:
    """Who was inside at the same time, and the minutes of it."""
    return [
        (contact.presence.who, clock(contact.from_ms), clock(contact.until_ms)) for contact in shared.contacts
    ]


def clock(at_ms: int) -> str:
    minutes, ms_left = divmod(at_ms - at("00:00"), 60_000)
    assert ms_left in {0, 1000}  # a passage is a second after its decision
    return f"{minutes // 60:02}:{minutes % 60:02}"


def test_whoever_was_inside_meanwhile_is_found_with_gates_and_times(
    hall: HallGate, back_door: HallGate, follow: Follow
) -> None:
    hall.comes(CAROL, "08:30")
    hall.goes(CAROL, "08:59")
    hall.comes(ALICE, "09:00")
    back_door.comes(BOB, "09:30")
    hall.goes(BOB, "10:00")
    hall.goes(ALICE, "11:00")
    hall.comes(DAVE, "11:01")
    for gate in (hall, back_door):
        gate.send(at("12:00"))
    (shared,) = follow().shared
    assert met(shared) == [(name(BOB), "09:30", "10:00")]
    (contact,) = shared.contacts
    assert contact.presence.entered is not None
    assert contact.presence.left is not None
    assert (contact.presence.entered.gate, contact.presence.left.gate) == ("g-2", "g-1")
    assert contact.presence.sure
    assert not shared.leavers


def test_somebody_who_was_not_seen_leaving_is_assumed_inside_for_so_long(
    hall: HallGate, follow: Follow
) -> None:
    hall.comes(BOB, "08:10")
    hall.comes(ALICE, "19:00")
    hall.comes(CAROL, "20:30")
    hall.send(at("21:00"))
    (shared,) = follow().shared
    assert met(shared) == [
        (name(BOB), "19:00", "20:10"),  # twelve hours
        (name(CAROL), "20:30", "24:00"),  # the end of the day
    ]
    assert [contact.presence.left for contact in shared.contacts] == [None, None]
    assert not shared.presence.sure


def test_somebody_who_was_not_seen_coming_is_assumed_inside_before(hall: HallGate, follow: Follow) -> None:
    hall.comes(ALICE, "09:00")
    hall.goes(BOB, "09:30")
    hall.goes(ALICE, "10:00")
    hall.send(at("12:00"))
    (shared,) = follow().shared
    assert met(shared) == [(name(BOB), "09:00", "09:30")]
    assert shared.contacts[0].presence.entered is None


def test_who_comes_in_again_was_outside_just_before(hall: HallGate, follow: Follow) -> None:
    hall.comes(BOB, "08:30")
    hall.comes(ALICE, "09:00")
    hall.goes(ALICE, "09:30")
    hall.comes(BOB, "10:00")
    hall.send(at("12:00"))
    (shared,) = follow().shared
    assert met(shared) == [(name(BOB), "09:00", "09:30")]


def test_visits_without_a_code_are_found_by_their_names(hall: HallGate, follow: Follow) -> None:
    visit = hall.comes(None, "08:30")
    hall.comes(ALICE, "09:00")
    hall.goes(None, "09:15")
    hall.goes(ALICE, "09:30")
    hall.send(at("12:00"))
    (shared,) = follow().shared
    assert met(shared) == [(visit, "09:00", "09:30")]
    assert [clock(leaver.passed.earliest_ms) for leaver in shared.leavers if leaver.passed] == ["09:15"]


def test_whoever_did_not_get_in_was_not_inside(hall: HallGate, follow: Follow) -> None:
    hall.comes(ALICE, "08:00")
    hall.visit(at("08:30"), (Stage.REFUSED, RED), evidence=seen(BOB, Direction.IN), result=Result.LEFT)
    hall.comes(CAROL, "08:40", result=Result.NOT_PASSED)
    hall.goes(ALICE, "09:00")
    hall.send(at("12:00"))
    (shared,) = follow().shared
    assert met(shared) == []


def test_whoever_forced_a_way_in_or_may_have_got_in_counts(hall: HallGate, follow: Follow) -> None:
    hall.comes(ALICE, "08:01")
    hall.visit(at("08:30"), (Stage.REFUSED, RED), evidence=seen(BOB, Direction.IN), result=Result.FORCED)
    hall.comes(CAROL, "08:40", result=Result.INTERRUPTED)
    hall.comes(DAVE, "08:45", result=None)
    hall.write(events.passage_forced(), at("08:50"))
    refused = hall.visit(
        at("08:55"), (Stage.REFUSED, RED), evidence=seen(None, Direction.IN), result=Result.LEFT
    )
    hall.write(events.passage_forced(refused), at("08:56"))
    hall.goes(ALICE, "09:00")
    hall.send(at("12:00"))
    (shared,) = follow().shared
    nobody = "epoch1/8"
    assert [who for who, *_ in met(shared)] == [name(BOB), name(CAROL), name(DAVE), nobody, refused]
    assert [c.presence.visit.perhaps for c in shared.contacts] == [False, True, True, False, False]


def test_somebody_whom_the_centre_let_in_is_found(hall: HallGate, follow: Follow) -> None:
    hall.comes(ALICE, "08:01")
    order = Command("c1", Address("north", "g-1", "epoch1"), 1, 0, 1, Name.OPEN_ONCE, {"reason": "delivery"})
    hall.write(events.command(order, Outcome.DONE, visit="0a1b2c3d-000077"), at("08:30"))
    hall.write(events.visit_closed("0a1b2c3d-000077", Result.PASSED, 2000), at("08:31"))
    hall.write(events.command(order, Outcome.REFUSED, "replayed"), at("08:32"))
    hall.goes(ALICE, "09:00")
    hall.send(at("12:00"))
    (shared,) = follow().shared
    assert [(who, start) for who, start, _ in met(shared)] == [("0a1b2c3d-000077", "08:31")]


def test_a_fire_alarm_is_told_because_anybody_may_have_gone_through(hall: HallGate, follow: Follow) -> None:
    hall.comes(ALICE, "08:01")
    hall.write(events.fire_alarm(active=True, passages=0), at("08:30"))
    hall.goes(ALICE, "09:00")
    hall.send(at("12:00"))
    (shared,) = follow().shared
    assert shared.fires == (("g-1", at("08:30")),)


def test_another_site_is_none_of_it(store: Store, hall: HallGate, follow: Follow) -> None:
    elsewhere = HallGate(store, site="south")
    hall.comes(ALICE, "09:00")
    elsewhere.comes(BOB, "09:10")
    for gate in (hall, elsewhere):
        gate.send(at("12:00"))
    (shared,) = follow().shared
    assert met(shared) == []


def test_a_person_is_followed_over_midnight_with_the_key_of_the_site(hall: HallGate, follow: Follow) -> None:
    before = "2022-04-10"
    hall.comes(ALICE, "23:50", before)
    hall.comes(BOB, "23:55", before)
    hall.goes(BOB, "00:30")
    hall.goes(ALICE, "01:00")
    hall.send(at("12:00"))
    (shared,) = follow().shared
    assert (shared.presence.from_ms, clock(shared.presence.until_ms)) == (at("23:50", before) + 1000, "01:00")
    # Nobody asked for Bob, so that he is two persons: nobody is missed.
    assert {who for who, *_ in met(shared)} == {name(BOB, before), name(BOB)}


@pytest.mark.parametrize("offset_min", [480, -300, 0])
def test_a_person_is_found_whatever_the_local_time_of_the_gate(
    hall: HallGate, follow: Follow, offset_min: int
) -> None:
    """08:00 here is midnight UTC; the centre does not know by which local time a gate goes."""
    hall.utc_offset_min = offset_min
    for time in ("00:00", "07:59", "08:00", "12:59", "13:00", "23:59"):
        hall.comes(ALICE, time)
    hall.send(at("23:59"))
    found = follow(end="23:59:59").visits
    assert len(found) == 6
    assert len({visit.subject for visit in found}) == (1 if offset_min == 480 else 2)


def test_a_pseudonym_of_a_record_is_followed_on_its_day(hall: HallGate, follow: Follow) -> None:
    hall.comes(ALICE, "09:00")
    hall.comes(ALICE, "09:00", "2022-04-12")
    hall.send(at("12:00", "2022-04-12"))
    found = follow(name(ALICE))
    assert [visit.subject for visit in found.visits] == [name(ALICE)]
    assert follow(name(ALICE), day="2022-04-12").visits == []
    assert len(follow(ALICE, day="2022-04-12").visits) == 1


def test_records_without_pseudonyms_are_found_by_the_reference(hall: HallGate, follow: Follow) -> None:
    hall.site_key = None
    hall.comes(ALICE, "09:00")
    hall.send(at("12:00"))
    assert [visit.subject for visit in follow().visits] == [ALICE]


def test_what_a_gate_with_a_wrong_clock_says_may_have_been_any_time_until_it_came(
    hall: HallGate, back_door: HallGate, follow: Follow
) -> None:
    hall.comes(ALICE, "09:00")
    hall.goes(ALICE, "10:00")
    hall.send(at("10:30"))
    back_door.comes(BOB, "03:00", trusted=False)  # two days of its clock late, says it
    back_door.goes(BOB, "03:30", trusted=False)
    back_door.send(at("10:15"))
    (shared,) = follow().shared
    assert [contact.presence.who for contact in shared.contacts] == [name(BOB)]
    assert not shared.contacts[0].presence.sure
    assert shared.presence.sure


def test_a_gate_whose_clock_is_years_behind_is_not_missed(hall: HallGate, follow: Follow) -> None:
    hall.comes(ALICE, "09:00")
    hall.goes(ALICE, "10:00")
    hall.comes(BOB, "00:10", "1970-01-01", trusted=False)
    hall.send(at("09:30"))
    (shared,) = follow().shared
    assert [contact.presence.entered is not None for contact in shared.contacts] == [True]


def test_the_own_visits_that_ended_at_the_gate_are_told(hall: HallGate, follow: Follow) -> None:
    hall.visit(at("09:00"), (Stage.REFUSED, RED), evidence=seen(ALICE, Direction.IN), result=Result.LEFT)
    hall.send(at("12:00"))
    found = follow()
    assert (len(found.visits), found.shared) == (1, [])
    assert found.visits[0].reasons[0].rule == "TR-2"


def test_who_came_in_before_the_span_was_inside_when_it_began(hall: HallGate, follow: Follow) -> None:
    hall.comes(ALICE, "08:30")
    hall.comes(BOB, "09:30")
    hall.goes(ALICE, "12:00")
    hall.send(at("13:00"))
    found = follow(start="10:00", end="11:00")
    assert found.visits == []
    assert [who for who, *_ in met(found.shared[0])] == [name(BOB)]


def test_records_that_cannot_be_read_are_counted_and_stop_nothing(hall: HallGate, follow: Follow) -> None:
    hall.comes(ALICE, "09:00")
    hall.send(at("09:30"))
    strange = hall.bodies[0].replace(b'"seq":1,', b'"seq":3,').replace(b'"findings":[', b'"findings":[7,')
    hall.raw(strange, at("09:31"))
    found = follow()
    assert (len(found.visits), found.lost.unreadable) == (1, 1)


def test_nothing_in_a_record_can_steer_a_terminal(hall: HallGate, follow: Follow) -> None:
    hall.comes(ALICE, "09:00")
    event = Event(events.Kind.VISIT_CLOSED, {"visit": "\x1b[2J\u202e", "result": "passed"})
    hall.write(event, at("09:10"))
    hall.send(at("09:30"))
    (shared,) = follow().shared
    assert [who for who, *_ in met(shared)] == ["?[2J?"]


@pytest.mark.parametrize("direction", ["comes", "goes"])
@pytest.mark.parametrize("stated", ["9999-12-31", "0001-01-01", "1969-12-31"])
@pytest.mark.parametrize("trusted", [False, True])
def test_the_ends_of_the_calendar_stop_nothing(
    hall: HallGate, follow: Follow, stated: str, direction: str, *, trusted: bool
) -> None:
    hall.comes(ALICE, "09:00")
    moment = "23:59:59" if stated.startswith("9") else "12:00"
    getattr(hall, direction)(BOB, moment, stated, result=None, trusted=trusted)
    hall.write(events.visit_closed("0a1b2c3d-000002", Result.PASSED, 1), at(moment, stated), trusted=trusted)
    hall.send(at("09:30"))
    (shared,) = follow().shared
    assert len(shared.contacts) == (0 if trusted else 1)
    wide = trace(hall.store, subject(BOB), STAY, -(2**46), 2**48)
    told = Statement(ZONE, "en").trace(wide)
    assert len(told["visits"]) == 1


def test_a_record_that_was_written_late_may_be_as_old_as_the_judgement(
    hall: HallGate, follow: Follow
) -> None:
    evidence = replace(seen(ALICE, Direction.IN), at_s=at("08:55") / 1000)
    decided = events.visit_decided("0a1b2c3d-000001", Stage.AUTHORISED, ADMIT, evidence, (), 1)
    hall.write(replace(decided, data={**decided.data, "late": True}), at("09:00"))
    absurd = replace(evidence, at_s=-1e300)
    decided = events.visit_decided("0a1b2c3d-000002", Stage.AUTHORISED, ADMIT, absurd, (), 1)
    hall.write(replace(decided, data={**decided.data, "late": True}), at("09:10"))
    hall.send(at("09:30"))
    first, second = follow().visits
    assert (clock(first.first.earliest_ms), first.sure) == ("08:55", False)
    assert (clock(second.first.earliest_ms), second.sure) == ("09:10", True)
