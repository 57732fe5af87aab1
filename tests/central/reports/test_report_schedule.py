"""Which reports are due at which second, and which are late."""

from datetime import date

import pytest

from central.reports.schedule import CATCH_UP_DAYS, Due, due
from central.reports.scopes import Scope, registered, scopes
from central.reports.settings import ReportSettings, Unit
from central.store import AlarmKind, GateKey
from tests.central.reports.town import SETTINGS, ms

DAY = date(2022, 4, 11)
BEGUN = ms("2022-04-01T08:00")
EVERYTHING = Scope(1, "all", begun_ms=BEGUN)
HALL = Scope(2, "north", ("north",), begun_ms=BEGUN)
GATE = Scope(3, "north/g-1", ("north",), "g-1", BEGUN)
YESTERDAY = {(scope.level, scope.name): date(2022, 4, 10) for scope in (EVERYTHING, HALL, GATE)}


def at(time: str, kept: dict[tuple[int, str], date] | None = None, *which: Scope) -> list[Due]:
    return due(SETTINGS, which or (GATE, HALL, EVERYTHING), YESTERDAY if kept is None else kept, ms(time))


def test_nothing_is_due_a_second_before_the_hour() -> None:
    assert at("2022-04-11T16:59:59") == []


def test_at_the_hour_gates_and_units_report_and_an_hour_later_the_top() -> None:
    assert [report.scope for report in at("2022-04-11T17:00:00")] == [GATE, HALL]
    made = YESTERDAY | {(3, "north/g-1"): DAY, (2, "north"): DAY}
    assert at("2022-04-11T17:59:59", made) == []
    (top,) = at("2022-04-11T18:00:00", made)
    assert (top.scope, top.day, top.due_ms, top.late) == (EVERYTHING, DAY, ms("2022-04-11T18:00"), False)


def test_a_report_that_is_made_is_not_due_again() -> None:
    made = dict.fromkeys(YESTERDAY, DAY)
    assert at("2022-04-11T23:59:59", made) == []
    assert len(at("2022-04-12T17:00:00", made)) == 2


@pytest.mark.parametrize(("time", "late"), [("17:01:00", False), ("17:01:00.001", True), ("19:00", True)])
def test_a_report_is_late_after_its_time_of_grace(time: str, late: bool) -> None:
    assert at(f"2022-04-11T{time}", None, GATE)[0].late is late


@pytest.mark.parametrize(
    ("now", "cut"),
    [
        ("2022-04-11T17:00:40", "2022-04-11T17:00"),  # in time: as known at the hour itself
        ("2022-04-11T19:00", "2022-04-11T19:00"),  # late: as known now
        ("2022-04-12T09:00", "2022-04-12T00:00"),  # the day is over: all of it, and no more
    ],
)
def test_the_cut_off_is_the_hour_or_when_it_is_made(now: str, cut: str) -> None:
    assert at(now, None, GATE)[0].cut_ms(SETTINGS, ms(now)) == ms(cut)


def test_after_a_downtime_of_days_every_day_is_made_oldest_first_and_late() -> None:
    owed = at("2022-04-14T09:00", None, GATE)
    assert [report.day.day for report in owed] == [11, 12, 13]
    assert all(report.late for report in owed)


def test_no_day_is_made_that_is_too_long_ago() -> None:
    owed = at("2022-12-31T17:00", None, GATE)
    assert len(owed) == CATCH_UP_DAYS + 1


def test_a_new_gate_owes_nothing_for_the_days_before_it() -> None:
    new = Scope(3, "north/g-2", ("north",), "g-2", ms("2022-04-11T17:30"))
    assert at("2022-04-11T18:30", {}, new) == []
    assert [report.day.day for report in at("2022-04-12T17:00", {}, new)] == [12]


def test_a_unit_with_a_new_name_owes_nothing_for_the_days_under_the_old_one() -> None:
    renamed = Scope(2, "North Halls", ("north",), begun_ms=BEGUN)
    assert [report.day.day for report in at("2022-04-11T17:00", None, renamed)] == [11]


def test_a_centre_without_gates_owes_nothing() -> None:
    assert due(SETTINGS, scopes(SETTINGS, {}), {}, ms("2022-04-11T23:00")) == []


def test_the_hour_is_that_of_the_place() -> None:
    settings = ReportSettings(time_zone="Europe/Berlin", level3_due="02:30")
    # On 27 March 2022 02:30 was left out in Berlin: the clocks went from 02:00 to 03:00.
    moment = ms("2022-03-27T03:30", settings.zone)
    kept = {(3, "north/g-1"): date(2022, 3, 26)}
    gate = Scope(3, "north/g-1", ("north",), "g-1", ms("2022-01-01T00:00"))
    assert due(settings, [gate], kept, moment - 1) == []
    assert len(due(settings, [gate], kept, moment)) == 1


def test_the_alarm_names_day_level_unit_and_hour() -> None:
    gate, hall = at("2022-04-11T17:05")[:2]
    about = hall.suspicion(SETTINGS)
    assert about.kind is AlarmKind.MISSED and about.epoch == "2022-04-11"
    assert about.evidence["text"] == "report 2022-04-11 level 2 due 17:00 not made"
    assert (gate.suspicion(SETTINGS).site, gate.suspicion(SETTINGS).gate) == ("north", "g-1")
    assert about != gate.suspicion(SETTINGS)


def test_units_are_made_of_the_sites_that_the_configuration_names() -> None:
    settings = ReportSettings(unit=(Unit("Halls", ("north", "south")),), name="County")
    found = scopes(settings, {("north", "g-1"): 5, ("west", "g-1"): 3})
    assert [(scope.level, scope.name, scope.begun_ms) for scope in found] == [
        (3, "north/g-1", 5), (3, "west/g-1", 3), (2, "Halls", 5), (2, "west", 3), (1, "County", 3),
    ]  # fmt: skip
    halls = found[2]
    assert halls.has("south", "any") and not halls.has("west", "g-1")
    assert found[0].has("north", "g-1") and not found[0].has("north", "g-2")


def test_a_gate_whose_keys_are_all_revoked_reports_no_more() -> None:
    keys = [
        GateKey("north", "g-1", "00", b"", "", 1, 9),
        GateKey("north", "g-2", "00", b"", "", 4, None),
        GateKey("north", "g-2", "01", b"", "", 2, None),
    ]
    assert registered(keys) == {("north", "g-2"): 2}


@pytest.mark.parametrize(
    "wrong",
    [
        {"level3_due": "24:00"},
        {"level1_due": "00:00"},
        {"level2_due": "5pm"},
        {"time_zone": "Asia/Nowhere"},
        {"time_zone": "../etc/passwd"},
        {"unit": (Unit("a", ("north",)), Unit("b", ("north",)))},
        {"unit": (Unit("a", ("north",)), Unit("a", ("south",)))},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).partition("_")[0]):
        ReportSettings(**wrong)  # type: ignore[arg-type]
