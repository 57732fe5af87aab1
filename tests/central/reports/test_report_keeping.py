"""Reports are made when they are due, put in their folder, and kept as they were handed in."""

import json
import threading
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import update

from central.reports import keeping
from central.reports.day import Order, Report, report_of
from central.reports.keeping import ReportDesk, kept_report, put
from central.reports.sealing import check
from central.reports.settings import ReportSettings
from central.reports.tables import reports
from central.reports.worker import Reporter
from central.store import Arrived, Store, open_store
from tests.brokers import wait_for
from tests.central.reports.town import CENTRE_KEY, CENTRE_PUBLIC, TownGate, ms

DAY = date(2022, 4, 11)


@pytest.fixture
def settings(tmp_path: Path) -> ReportSettings:
    return ReportSettings(folder=tmp_path / "reports")


@pytest.fixture
def gate(store: Store) -> TownGate:
    gate = TownGate(store)
    gate.register("2022-04-11T08:00")
    gate.visit(ms("2022-04-11T12:00"))
    gate.deliver(ms("2022-04-11T16:59:30"))
    return gate


def test_at_the_hour_reports_are_made_and_written(
    store: Store, settings: ReportSettings, gate: TownGate
) -> None:
    desk = ReportDesk(store, settings, CENTRE_KEY)
    assert desk.tick(ms("2022-04-11T16:59:59.999")) == []
    assert desk.tick(ms("2022-04-11T17:00:00.250")) == [
        "report 2022-04-11 level 3 north/g-1 made", "report 2022-04-11 level 2 north made",
    ]  # fmt: skip
    assert desk.tick(ms("2022-04-11T17:00:01")) == []
    assert desk.tick(ms("2022-04-11T18:00:00")) == ["report 2022-04-11 level 1 all made"]
    assert settings.folder is not None
    names = sorted(path.name for path in (settings.folder / "2022-04-11").iterdir())
    assert [name for name in names if name.endswith("json")] == [
        "level1-all.json", "level2-north.json", "level3-north_g-1-" + names[-1][17:25] + ".json",
    ]  # fmt: skip
    assert len(names) == 9
    document = json.loads((settings.folder / "2022-04-11" / "level2-north.json").read_bytes())
    assert list(check(document, CENTRE_PUBLIC)) == []
    assert document["handed_in"] == {"due": "2022-04-11T17:00:00.000+08:00", "late": False}
    assert document["cut_off"] == "2022-04-11T17:00:00.000+08:00"
    assert document["gates"]["vouched"] == 1
    assert store.alarms() == []


def test_a_report_is_kept_as_it_was_handed_in(store: Store, settings: ReportSettings, gate: TownGate) -> None:
    ReportDesk(store, settings, CENTRE_KEY).tick(ms("2022-04-11T17:00:00.250"))
    gate.visit(ms("2022-04-11T16:59:59"))
    gate.deliver(ms("2022-04-11T17:30"))
    kept = kept_report(store, DAY, 2, "north")
    assert kept is not None and kept.made_ms == ms("2022-04-11T17:00:00.250")
    assert kept.document["totals"]["day"]["visits"]["all"] == 1
    assert list(check(kept.document, CENTRE_PUBLIC)) == []
    assert kept_report(store, DAY, 1, "all") is None


def test_the_next_report_goes_on_where_the_last_one_ended(
    store: Store, settings: ReportSettings, gate: TownGate
) -> None:
    desk = ReportDesk(store, settings, CENTRE_KEY)
    desk.tick(ms("2022-04-11T17:30"))  # late: it tells of half an hour more
    gate.visit(ms("2022-04-11T17:15"))
    gate.visit(ms("2022-04-11T17:45"))
    gate.deliver(ms("2022-04-11T17:50"))
    desk.tick(ms("2022-04-12T17:00"))
    kept = kept_report(store, date(2022, 4, 12), 2, "north")
    assert kept is not None and kept.document["since"] == "2022-04-11T17:30:00.000+08:00"
    assert kept.document["totals"]["carried"]["visits"]["all"] == 2


def test_a_report_that_was_not_made_in_time_is_an_alarm_and_then_made_late(
    store: Store, settings: ReportSettings, gate: TownGate
) -> None:
    desk = ReportDesk(store, settings, CENTRE_KEY)
    told = desk.tick(ms("2022-04-11T19:00"))
    assert "report 2022-04-11 level 2 north made, late" in told
    assert store.alarms() == [], "made, so the alarms are over"
    raised = {alarm.about.evidence["text"] for alarm in store.alarms(standing=False)}
    assert "report 2022-04-11 level 2 due 17:00 not made" in raised
    kept = kept_report(store, DAY, 2, "north")
    assert kept is not None and kept.document["handed_in"]["late"] is True
    assert kept.document["cut_off"] == "2022-04-11T19:00:00.000+08:00"


def test_after_a_start_what_is_late_waits_for_the_gates_to_come_back(
    store: Store, settings: ReportSettings, gate: TownGate
) -> None:
    desk = ReportDesk(store, settings, CENTRE_KEY, began_ms=ms("2022-04-11T17:59"))
    assert desk.tick(ms("2022-04-11T17:59:30")) == []
    assert len(store.alarms()) == 2, "the alarm does not wait"
    assert desk.tick(ms("2022-04-11T18:00:00")) == ["report 2022-04-11 level 1 all made"], (
        "nor what is in time"
    )
    gate.deliver(ms("2022-04-11T18:00:50"))
    assert len(desk.tick(ms("2022-04-11T18:01:00"))) == 2
    kept = kept_report(store, DAY, 2, "north")
    assert kept is not None and kept.document["gates"]["vouched"] == 1


class FiveOClock:
    """A clock at which it is five o'clock."""

    def now_ms(self) -> int:
        return ms("2022-04-11T17:00")

    def monotonic(self) -> float:
        return 0.0

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)


def test_the_thread_makes_what_is_due_and_ends(
    store: Store, settings: ReportSettings, gate: TownGate
) -> None:
    reporter = Reporter(store, settings, CENTRE_KEY, FiveOClock())
    reporter.start()
    wait_for(lambda: kept_report(store, DAY, 2, "north"), 20, "the report")
    reporter.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "reports"]


def test_a_store_that_cannot_be_used_does_not_end_the_thread(
    store: Store, settings: ReportSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE reports")
    reporter = Reporter(store, settings, CENTRE_KEY, FiveOClock())
    reporter.start()
    wait_for(lambda: "tried again" in caplog.text, 20, "the trouble to be said")
    assert reporter._thread.is_alive()
    reporter.stop()


def test_while_the_folder_cannot_be_written_the_alarm_stands(
    store: Store, settings: ReportSettings, gate: TownGate, tmp_path: Path
) -> None:
    blocked = tmp_path / "reports"
    blocked.write_text("a file where the folder should be")
    desk = ReportDesk(store, settings, CENTRE_KEY)
    (first, *_) = desk.tick(ms("2022-04-11T17:00"))
    assert "cannot be written" in first and kept_report(store, DAY, 2, "north") is not None
    assert desk.tick(ms("2022-04-11T17:00:30")) == [], "tried again after a minute, not at once"
    desk.tick(ms("2022-04-11T17:02"))
    assert {alarm.about.code for alarm in store.alarms()} == {"report_late"}
    blocked.unlink()
    gate.visit(ms("2022-04-11T17:03"))
    gate.deliver(ms("2022-04-11T17:03:30"))
    assert desk.tick(ms("2022-04-11T17:04")) == [
        "report 2022-04-11 level 3 north/g-1 written", "report 2022-04-11 level 2 north written",
    ]  # fmt: skip
    assert store.alarms() == []
    kept = kept_report(store, DAY, 2, "north")
    assert kept is not None and handed_in(settings, "level2-north") == kept.document
    assert desk.tick(ms("2022-04-11T17:05")) == []


@pytest.mark.parametrize("later", ["2022-04-11T17:03", "2022-04-14T09:00"])
def test_files_that_were_not_written_before_a_start_are_written_after_it(
    store: Store, settings: ReportSettings, gate: TownGate, tmp_path: Path, later: str
) -> None:
    (tmp_path / "reports").write_text("a file where the folder should be")
    desk = ReportDesk(store, settings, CENTRE_KEY)
    desk.tick(ms("2022-04-11T17:00"))
    desk.tick(ms("2022-04-11T17:02"))
    (tmp_path / "reports").unlink()
    again = ReportDesk(store, settings, CENTRE_KEY, began_ms=ms(later))
    assert "report 2022-04-11 level 2 north written" in again.tick(ms(later))
    assert not [
        alarm for alarm in store.alarms() if alarm.about.epoch == "2022-04-11" and alarm.about.gate == "g-1"
    ]
    kept = kept_report(store, DAY, 2, "north")
    assert kept is not None and handed_in(settings, "level2-north") == kept.document
    once_more = ReportDesk(store, settings, CENTRE_KEY, began_ms=ms(later))
    assert not [line for line in once_more.tick(ms(later)) if line.endswith("written")]


def test_a_kept_report_that_somebody_has_spoilt_stops_no_other_one(
    store: Store, settings: ReportSettings, gate: TownGate
) -> None:
    ReportDesk(store, replace(settings, folder=None), CENTRE_KEY).tick(ms("2022-04-11T17:00"))
    with store.engine.begin() as connection:
        connection.execute(update(reports).where(reports.c.level == 2).values(body=b"rubbish"))
    told = ReportDesk(store, settings, CENTRE_KEY).tick(ms("2022-04-11T18:00"))
    assert told[0] == "report 2022-04-11 level 3 north/g-1 written"
    assert "level 2 north cannot be written" in told[1]
    assert told[2] == "report 2022-04-11 level 1 all made"


class BrokenFor:
    """Makes reports, but those of one level and day end with an error of the program."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, level: int) -> None:
        self.level: int | None = level
        monkeypatch.setattr(keeping, "report_of", self)

    def __call__(self, store: Store, settings: ReportSettings, order: Order) -> Report:
        if (order.scope.level, order.span.day) == (self.level, DAY):
            raise TypeError("unhashable type: 'list'")
        return report_of(store, settings, order)


def test_a_report_that_fails_stops_no_other_one(
    store: Store,
    settings: ReportSettings,
    gate: TownGate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = BrokenFor(monkeypatch, 3)
    desk = ReportDesk(store, settings, CENTRE_KEY)
    assert desk.tick(ms("2022-04-11T17:00")) == [
        "report 2022-04-11 level 3 north/g-1 has failed: an error in the program",
        "report 2022-04-11 level 2 north made",
    ]
    assert "unhashable type" in caplog.text
    assert desk.tick(ms("2022-04-11T17:00:30")) == [], "tried again after a minute, not at once"
    assert len(desk.tick(ms("2022-04-11T17:02"))) == 1
    assert [alarm.about.gate for alarm in store.alarms()] == ["g-1"]
    assert desk.tick(ms("2022-04-11T18:00"))[-1] == "report 2022-04-11 level 1 all made"
    broken.level = None
    assert desk.tick(ms("2022-04-11T18:02")) == ["report 2022-04-11 level 3 north/g-1 made, late"]
    assert store.alarms() == []


def test_a_day_waits_for_the_day_before_so_that_none_is_left_out(
    store: Store, settings: ReportSettings, gate: TownGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = BrokenFor(monkeypatch, 2)
    desk = ReportDesk(store, settings, CENTRE_KEY)
    for day in (11, 12):
        desk.tick(ms(f"2022-04-{day}T17:00"))
    assert kept_report(store, date(2022, 4, 12), 3, "north/g-1") is not None
    broken.level = None
    desk.tick(ms("2022-04-12T17:02"))
    assert kept_report(store, DAY, 2, "north") and kept_report(store, date(2022, 4, 12), 2, "north")


def test_one_record_of_whoever_it_is_stops_no_report(
    store: Store, settings: ReportSettings, gate: TownGate
) -> None:
    odd = {"reason": [], "rule": {}, "verdict": []}
    data = {"site": "other", "gate": "rogue", "epoch": "e", "seq": 1, "abnormal": True, "visit": "v"}
    data |= {"clock": {"trusted": True}, "stage": "authorised", "findings": [odd]}
    data |= {"evidence": {"code": odd, "temperature": [{"value_cc": 10**400}]}}
    event = {"type": "hg.visit.decided.v1", "time": "0001-01-01T00:00:00+00:00", "data": data}
    settings = replace(settings, time_zone="America/New_York")
    due = ms("2022-04-11T17:00", settings.zone)
    assert store.ingest([Arrived("other", "rogue", json.dumps(event).encode())], due - 60_000).new
    told = ReportDesk(store, settings, CENTRE_KEY).tick(due + 3_600_000)
    assert len(told) == 3 and all(" made" in line for line in told)
    kept = kept_report(store, DAY, 1, "all")
    assert kept is not None and kept.document["totals"]["carried"]["records"]["all"] == 1


def handed_in(settings: ReportSettings, stem: str) -> object:
    assert settings.folder is not None
    return json.loads((settings.folder / "2022-04-11" / f"{stem}.json").read_bytes())


def test_what_is_handed_in_is_what_is_kept_also_when_another_centre_was_first(
    store: Store, store_url: str, settings: ReportSettings, gate: TownGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(store_url) as other:
        first = ReportDesk(other, replace(settings, folder=None), CENTRE_KEY)

        def meanwhile(store: Store, settings: ReportSettings, order: Order) -> Report:
            mine = report_of(store, settings, order)
            monkeypatch.setattr(keeping, "report_of", report_of)
            first.tick(ms("2022-04-11T17:20"))
            return mine

        monkeypatch.setattr(keeping, "report_of", meanwhile)
        ReportDesk(store, settings, CENTRE_KEY).tick(ms("2022-04-11T17:30"))
    kept = kept_report(store, DAY, 3, "north/g-1")
    assert kept is not None and kept.made_ms == ms("2022-04-11T17:20")
    assert settings.folder is not None
    (path,) = (settings.folder / "2022-04-11").glob("level3-*.json")
    assert json.loads(path.read_bytes()) == kept.document


@pytest.mark.parametrize("registered_again", [False, True])
def test_the_alarm_about_a_report_that_nobody_owes_any_more_ends(
    store: Store,
    settings: ReportSettings,
    gate: TownGate,
    monkeypatch: pytest.MonkeyPatch,
    registered_again: bool,
) -> None:
    TownGate(store, gate="g-2").register()
    BrokenFor(monkeypatch, 3)
    desk = ReportDesk(store, replace(settings, folder=None), CENTRE_KEY)
    desk.tick(ms("2022-04-11T17:02"))
    desk.tick(ms("2022-04-11T17:04"))
    assert {alarm.about.gate for alarm in store.alarms()} >= {"g-1", "g-2"}
    store.revoke_key("north", "g-1", None, ms("2022-04-11T17:04"))
    if registered_again:
        store.register_gate("north", "g-1", b"k" * 32, ms("2022-04-11T17:04:30"))
    desk.tick(ms("2022-04-11T17:05"))
    assert {alarm.about.gate for alarm in store.alarms() if alarm.about.site} == {"g-2"}


def test_two_centres_make_one_report(
    store: Store, store_url: str, settings: ReportSettings, gate: TownGate
) -> None:
    with open_store(store_url) as other:
        first = ReportDesk(store, settings, CENTRE_KEY)
        second = ReportDesk(other, replace(settings, folder=None), CENTRE_KEY)
        assert first.tick(ms("2022-04-11T17:00:00"))
        assert second.tick(ms("2022-04-11T17:00:01")) == []


def test_a_unit_cannot_write_outside_the_folder(
    store: Store, settings: ReportSettings, gate: TownGate, tmp_path: Path
) -> None:
    ReportDesk(store, settings, CENTRE_KEY).tick(ms("2022-04-11T17:00"))
    kept = kept_report(store, DAY, 2, "north")
    assert kept is not None and settings.folder is not None
    for unit in ("../../evil", "/etc/passwd", "乡镇 大厅", "..", "a/b", "a_b"):
        for path in put({**kept.document, "unit": unit}, settings):
            assert path.parent == settings.folder / "2022-04-11"
    assert len(list((settings.folder / "2022-04-11").glob("level2-a_b*.json"))) == 2
    assert not list((settings.folder / "2022-04-11").glob("*.part"))
