"""The sheet of a person, and the abnormal visits by risk."""

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from central.people.risk import Risk, by_risk
from central.people.sheet import Sheet, sheet
from central.people.sightings import KINDS, Ledger, Lost, strays
from central.people.visits import visits
from central.store import Arrived, Store, open_store
from central.store.tables import streams
from gate.core import events
from gate.core.codes.model import Travel
from gate.core.events import Result, Stage
from gate.core.evidence import Direction
from gate.core.policy import Band, Decision, Verdict
from tests.central.people.hall import ALICE, BOB, HallGate, at, seen, subject
from tests.central.reports.town import ADMIT, FEVER, RED, REFER, RETEST, decision

Show = Callable[..., Sheet]


@pytest.fixture
def hall(store: Store) -> HallGate:
    return HallGate(store)


@pytest.fixture
def show(store: Store, hall: HallGate) -> Show:
    def shown(start: str = "00:00", end: str = "23:59", site: str | None = None) -> Sheet:
        hall.send(at("23:59"))
        return sheet(store, subject(), at(start), at(end), site)

    return shown


def test_each_visit_has_what_was_decided_and_how_it_ended(hall: HallGate, show: Show) -> None:
    stages = (Stage.REFERRED, REFER), (Stage.AUTHORISED, ADMIT)
    hall.visit(at("09:00"), *stages, evidence=seen(ALICE, Direction.IN))
    hall.comes(BOB, "09:10")
    fever = seen(ALICE, Direction.OUT)
    hall.visit(at("10:00"), (Stage.REFUSED, FEVER), evidence=fever, result=Result.LEFT)
    first, second = show().visits
    assert (first.direction, first.verdict, first.result) == ("in", "admit", "passed")
    assert [(one.rule, one.reason) for one in first.reasons] == [("TR-1", "code_missing")]
    assert (second.direction, second.verdict, second.result) == ("out", "refuse", "left")
    assert (second.first.seq, second.gate, second.passed) == (6, "g-1", None)


def test_a_person_whose_code_came_late_in_the_visit_is_found(hall: HallGate, show: Show) -> None:
    name = "0a1b2c3d-000001"
    for second, who in enumerate((None, ALICE)):
        stage = Stage.AUTHORISED if who else Stage.REFERRED
        evidence = seen(who, Direction.IN)
        event = events.visit_decided(name, stage, ADMIT if who else REFER, evidence, (), 1)
        hall.write(event, at("09:00") + second * 1000)
    (visit,) = show().visits
    assert (len(visit.decided), visit.first.seq, visit.result) == (2, 1, "unfinished")


def test_the_span_and_the_site_limit_it(hall: HallGate, show: Show) -> None:
    for hour in ("08:00", "09:00", "10:00"):
        hall.comes(ALICE, hour)
    assert [visit.first.seq for visit in show("09:00", "10:00").visits] == [3]
    assert show(site="south").visits == []


def test_a_visit_that_a_new_ledger_has_ended_is_whole(hall: HallGate, show: Show) -> None:
    hall.comes(ALICE, "09:00", result=None)
    hall.send(at("09:00"))
    hall.begin("epoch2")
    hall.write(events.visit_closed("0a1b2c3d-000001", Result.INTERRUPTED, None), at("09:05"))
    (visit,) = show().visits
    assert (visit.result, visit.epoch, visit.perhaps) == ("interrupted", "epoch1", True)


def test_a_visit_begins_in_the_older_ledger_whichever_came_first(
    store: Store, hall: HallGate, show: Show
) -> None:
    hall.begin("epoch2")
    hall.write(events.visit_closed("0a1b2c3d-000001", Result.INTERRUPTED, None), at("09:05"))
    hall.send(at("09:05"))
    hall.begin("epoch1")
    hall.comes(ALICE, "09:00", result=None)
    assert [visit.epoch for visit in show().visits] == ["epoch2"], "as long as nobody knows better"
    with store.engine.begin() as connection:
        connection.execute(update(streams).where(streams.c.epoch == "epoch1").values(successor="epoch2"))
    assert [visit.epoch for visit in show().visits] == ["epoch1"]


def test_the_band_is_told_and_never_the_value(hall: HallGate, show: Show) -> None:
    hall.visit(
        at("09:00"), (Stage.REFUSED, replace(FEVER, band=Band.FEVER)), evidence=seen(ALICE, Direction.IN)
    )
    (visit,) = show().visits
    assert visit.band == "fever"
    assert not hasattr(visit.first, "value_cc")


@pytest.mark.parametrize(
    ("decided", "band"),
    [
        (FEVER, "fever"),
        (RETEST, "raised"),
        (decision(Verdict.REFER, "TH-4", "temperature_uncertain"), "raised"),
        (decision(Verdict.ADMIT, "TH-4", "temperature_normal"), "normal"),
        (ADMIT, "measured"),
    ],
)
def test_the_band_of_a_record_that_does_not_say_it_follows_from_its_findings(
    store: Store, hall: HallGate, decided: Decision, band: str
) -> None:
    hall.visit(at("09:00"), (Stage.AUTHORISED, decided), evidence=seen(ALICE, Direction.IN))
    body = hall.bodies[0].replace(b',"band":"unmeasured"', b"")
    assert body != hall.bodies[0]
    store.ingest([Arrived(hall.site, hall.gate, body)], at("09:01"))
    (visit,) = sheet(store, subject(), at("00:00"), at("23:59")).visits
    assert visit.band == band


def test_abnormal_visits_stand_by_risk_under_each_reason(store: Store, hall: HallGate) -> None:
    hall.comes(ALICE, "08:00")
    hall.comes(BOB, "08:10", travel=Travel.RISK_AREA)
    for minute, decided in enumerate((FEVER, RED, decision(Verdict.REFUSE, "TH-3", "mask_missing"))):
        place = (Stage.REFUSED, decided)
        hall.visit(at(f"09:0{minute}"), place, evidence=seen(ALICE, Direction.IN), result=Result.LEFT)
    both = seen(BOB, Direction.IN, travel=Travel.RISK_AREA)
    hall.visit(at("09:30"), (Stage.REFUSED, FEVER), evidence=both, result=Result.FORCED)
    odd = decision(Verdict.REFUSE, "AH-1", "appointment_missing")
    hall.visit(at("09:40"), (Stage.REFUSED, odd), evidence=both, result=Result.LEFT)
    other = decision(Verdict.REFUSE, "AH-1", "appointment_missing")
    hall.visit(at("09:50"), (Stage.REFUSED, other), evidence=seen(ALICE, Direction.IN), result=Result.LEFT)
    hall.send(at("12:00"))
    found = by_risk(store, at("00:00"), at("23:59"))
    assert [(group.risk, group.name, len(group.visits)) for group in found.groups] == [
        (Risk.HIGH, "fever", 2),
        (Risk.HIGH, "red_code", 1),
        (Risk.HIGH, "risk_area", 3),
        (Risk.MEDIUM, "forced", 1),
        (Risk.LOW, "no_mask", 1),
        (Risk.LOW, "other", 1),
    ]


def test_a_day_without_anything_abnormal_is_empty(store: Store, hall: HallGate) -> None:
    hall.comes(ALICE, "08:00")
    hall.send(at("12:00"))
    assert by_risk(store, at("00:00"), at("23:59")).groups == []


def test_a_visit_by_risk_is_told_whole(store: Store, hall: HallGate) -> None:
    """Also what is nothing remarkable in it, before and after what is, and in the next ledger."""
    evidence = seen(ALICE, Direction.IN)
    doubt = (Stage.REFERRED, decision(Verdict.REFER, "TR-1", "status_yellow"))
    hall.comes(BOB, "08:50")
    visit = hall.visit(
        at("09:00"), (Stage.REFERRED, REFER), doubt, (Stage.AUTHORISED, ADMIT), evidence=evidence
    )
    cut_off = hall.visit(at("09:30"), doubt, evidence=evidence, result=None)
    hall.send(at("09:40"))
    hall.begin("epoch2")
    hall.write(events.visit_closed(cut_off, Result.INTERRUPTED, None), at("09:50"))
    hall.comes(BOB, "10:00")
    hall.send(at("12:00"))
    with store.engine.connect() as connection:
        every = visits(connection, None, None, at("00:00"), at("23:59"), Lost())
    assert len(every) == 4
    (group,) = by_risk(store, at("00:00"), at("23:59")).groups
    assert (group.name, [one.name for one in group.visits]) == ("yellow_code", [visit, cut_off])
    assert list(group.visits) == [one for one in every if one.name in {visit, cut_off}]
    assert [(len(one.decided), one.result) for one in group.visits] == [(3, "passed"), (1, "interrupted")]


def test_what_cannot_be_read_is_counted_by_risk_as_well(store: Store, hall: HallGate) -> None:
    hall.comes(ALICE, "09:00")
    hall.send(at("09:30"))
    strange = hall.bodies[0].replace(b'"seq":1,', b'"seq":3,').replace(b'"findings":[', b'"findings":[7,')
    hall.raw(strange, at("09:31"))
    assert by_risk(store, at("00:00"), at("23:59")).lost == Lost(unreadable=1)


def test_what_is_out_of_its_time_is_found_by_its_own_index(sqlite_template: Path, tmp_path: Path) -> None:
    """SQLite would rather read a whole ledger for each day that is asked for."""
    path = shutil.copy(sqlite_template, tmp_path / "central.db")
    asked: list[str] = []
    with open_store(f"sqlite:///{path}") as store, store.engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.set_trace_callback(asked.append)
        assert (
            list(strays(connection, Ledger(1, "north", "g-1", "epoch1"), at("00:00"), at("23:59"), KINDS))
            == []
        )
        raw.set_trace_callback(None)
        (query,) = [said for said in asked if "FROM records" in said]
        (plan,) = raw.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
    assert "USING INDEX records_out_of_time" in plan[-1]
