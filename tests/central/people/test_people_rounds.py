"""The rounds of staff (SB-3, TH-5)."""

from collections.abc import Callable
from datetime import date

import pytest

from central.people.rounds import Member, Rounds, rounds
from central.people.settings import PeopleSettings
from central.store import Store
from gate.core.events import Result, Stage
from gate.core.evidence import Direction, Person
from tests.central.people.hall import ALICE, BOB, DAY, STAY, HallGate, at, seen
from tests.central.reports.town import FEVER

Ask = Callable[..., Rounds]
STAFF = {"person": Person.STAFF}


@pytest.fixture
def hall(store: Store) -> HallGate:
    return HallGate(store)


@pytest.fixture
def ask(store: Store, hall: HallGate) -> Ask:
    def asked(time: str = "18:00", day: str = DAY) -> Rounds:
        hall.send(at("23:59", day))
        return rounds(store, PeopleSettings(), STAY, date.fromisoformat(day), at(time, day))

    return asked


def times(said: tuple[int, ...] | list[int]) -> list[str]:
    return [clock(ms) for ms in said]


def clock(at_ms: int | None) -> str:
    assert at_ms is not None
    minutes = (at_ms - at("00:00")) // 60_000
    return f"{minutes // 60:02}:{minutes % 60:02}"


def only(found: Rounds) -> Member:
    (member,) = found.members
    return member


def test_a_day_is_told_from_coming_to_leaving(hall: HallGate, ask: Ask) -> None:
    hall.comes(ALICE, "08:30", **STAFF)
    hall.comes(ALICE, "10:20", **STAFF)
    hall.goes(ALICE, "12:00", **STAFF)
    hall.comes(ALICE, "13:00", **STAFF)
    hall.goes(ALICE, "14:50", **STAFF)
    hall.comes(BOB, "09:00")  # a visitor
    member = only(ask())
    assert (clock(member.arrived_ms), clock(member.left_ms)) == ("08:30", "14:50")
    assert times(member.reentries) == ["13:00"]
    assert times(member.measured_ms) == ["08:30", "10:20", "12:00", "13:00", "14:50"]
    assert (member.inside, member.unmeasured, member.gaps, member.overdue_ms) == (False, (), (), None)


@pytest.mark.parametrize(("time", "due"), [("10:30", False), ("10:31", True), ("12:00", True)])
def test_who_was_not_measured_for_two_hours_is_overdue(
    hall: HallGate, ask: Ask, time: str, *, due: bool
) -> None:
    hall.comes(ALICE, "08:30", **STAFF)
    found = ask(time)
    assert [clock(member.overdue_ms) for member in found.overdue] == (["10:30"] if due else [])
    assert only(found).inside


def test_a_measurement_on_the_way_in_again_is_a_round_and_no_coming_back(hall: HallGate, ask: Ask) -> None:
    hall.comes(ALICE, "08:30", **STAFF)
    hall.comes(ALICE, "10:00", **STAFF)
    member = only(ask("11:59"))
    assert (member.reentries, member.overdue_ms, clock(member.arrived_ms)) == ((), None, "08:30")
    assert clock(only(ask("12:10")).overdue_ms) == "12:00"


def test_passing_without_a_measurement_is_told_and_is_no_round(hall: HallGate, ask: Ask) -> None:
    hall.comes(ALICE, "08:30", **STAFF)
    hall.comes(ALICE, "10:00", measured=False, **STAFF)
    member = only(ask("11:00"))
    assert clock(member.overdue_ms) == "10:30"
    assert [visit.direction for visit in member.unmeasured] == ["in"]


def test_a_round_that_came_too_late_stays_on_record(hall: HallGate, ask: Ask) -> None:
    hall.comes(ALICE, "08:30", **STAFF)
    hall.comes(ALICE, "11:00", **STAFF)
    hall.goes(ALICE, "12:00", **STAFF)
    member = only(ask())
    assert [(clock(gap.from_ms), clock(gap.until_ms)) for gap in member.gaps] == [("08:30", "11:00")]
    assert member.overdue_ms is None


def test_whoever_left_is_not_overdue(hall: HallGate, ask: Ask) -> None:
    hall.comes(ALICE, "08:30", **STAFF)
    hall.goes(ALICE, "09:00", **STAFF)
    assert ask("15:00").overdue == []


def test_a_measurement_counts_however_the_visit_ended(hall: HallGate, ask: Ask) -> None:
    hall.comes(ALICE, "08:30", **STAFF)
    fever = seen(ALICE, Direction.OUT, person=Person.STAFF)
    hall.visit(at("10:00"), (Stage.REFUSED, FEVER), evidence=fever, result=Result.LEFT)
    member = only(ask("11:30"))
    assert (member.inside, member.overdue_ms) == (True, None)


def test_the_night_shift_was_inside_when_the_day_began(hall: HallGate, ask: Ask) -> None:
    hall.comes(ALICE, "22:00", "2022-04-10", **STAFF)
    hall.goes(ALICE, "01:00", **STAFF)
    member = only(ask())
    assert (member.arrived_ms, clock(member.left_ms)) == (None, "01:00")


def test_yesterday_is_none_of_today(hall: HallGate, ask: Ask) -> None:
    hall.comes(ALICE, "19:00", "2022-04-10", **STAFF)
    hall.goes(ALICE, "20:00", "2022-04-10", **STAFF)
    assert ask().members == []


def test_a_person_has_one_name_all_day_and_it_does_not_lead_to_that_of_yesterday(
    hall: HallGate, ask: Ask
) -> None:
    """08:00 is midnight UTC, in the middle of the work; local midnight is when the name changes."""
    hall.comes(ALICE, "23:30", "2022-04-10", **STAFF)
    hall.goes(ALICE, "00:30", **STAFF)
    hall.comes(ALICE, "07:45", **STAFF)
    hall.comes(ALICE, "09:40", **STAFF)
    hall.comes(BOB, "09:41", **STAFF)
    found = ask("11:00")
    assert [(clock(member.measured_ms[0]), len(member.measured_ms)) for member in found.members] == [
        ("00:30", 3), ("09:41", 1),
    ]  # fmt: skip
    assert found.overdue == []


def test_an_instant_outside_of_the_day_is_its_nearest_end(hall: HallGate, ask: Ask) -> None:
    hall.comes(ALICE, "08:30", **STAFF)
    hall.send(at("23:59"))
    found = rounds(hall.store, PeopleSettings(), STAY, date(2022, 4, 11), at("12:00", "2022-04-13"))
    assert found.at_ms == at("00:00", "2022-04-12")
    assert not only(found).inside  # nobody stays for longer than twelve hours
