"""What a report says of a day: which records it counts, what it proves, whom it cannot vouch for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from central.people.retention import run
from central.people.settings import DAY_MS, RetentionSettings
from central.reports import layout
from central.reports.page import page
from central.reports.scopes import Scope
from central.reports.sealing import sealed
from central.reports.settings import ReportSettings, Unit
from central.reports.spans import instant, local
from central.reports.words import Words
from central.store import AlarmKind, Arrived, Store, Suspicion
from gate.config import load_policy
from gate.core import events
from gate.core.codes.model import Status, Travel
from gate.core.delivery import PreviousEpoch, Why
from gate.core.events import Result, Stage
from gate.core.evidence import Evidence, MaskStatus, Origin
from gate.core.policy import Band, Decision, Finding, Verdict
from gate.core.rules import decide
from tests.central.reports.town import (
    ADMIT,
    CENTRE_KEY,
    FEVER,
    HOT,
    LEAVING,
    MINUTE,
    NORMAL,
    RED,
    REFER,
    RETEST,
    SETTINGS,
    SUSPENDED,
    TownGate,
    code,
    ms,
    report,
)  # fmt: skip

DAY = "2022-04-11"
NOON = ms("2022-04-11T12:00")
CLOSING = "2022-04-11T17:00"


@pytest.fixture
def gate(store: Store) -> TownGate:
    gate = TownGate(store)
    gate.register()
    return gate


def of(found: dict[str, object], group: str, section: str = "day") -> dict[str, int]:
    """Return what a group counts, without zeros."""
    totals: dict[str, dict[str, dict[str, int]]] = found["totals"]  # type: ignore[assignment]
    return {word: count for word, count in totals[section][group].items() if count}


def test_an_empty_day_has_a_zero_report_with_a_proof(store: Store, gate: TownGate) -> None:
    gate.write(events.gate_started("1", "0a1b2c3d", "county", "0" * 64), ms("2022-04-10T08:00"))
    gate.deliver(ms("2022-04-10T08:00"))
    gate.checkpoint(ms("2022-04-11T16:59:30"))
    found = report(store, DAY, CLOSING)
    assert found["zero"] and found["empty"]
    assert not any(count for words in found["totals"]["day"].values() for count in words.values())
    assert found["totals"]["day"]["result"]["passed"] == 0, "what counts nothing is said too"
    unchecked = [{"site": "north", "gate": "g-1"}]
    assert found["gates"] == {"all": 1, "vouched": 1, "not_vouched": [], "begun": 1, "unchecked": unchecked}
    (proof,) = found["proofs"]
    assert (proof["epoch"], proof["from"], proof["to"]) == ("epoch1", None, None)
    assert proof["checkpoint"]["size"] == 1 and proof["checkpoint"]["hash"] == gate.hashes[1].hex()
    assert proof["receipt"]


def test_a_centre_without_gates_has_a_report_too(store: Store) -> None:
    found = report(store, DAY, CLOSING)
    assert found["zero"] and found["gates"]["all"] == 0 and found["proofs"] == []


def test_visits_are_counted_once_by_their_last_decision(store: Store, gate: TownGate) -> None:
    gate.visit(NOON)
    gate.visit(NOON + MINUTE, (Stage.REFERRED, REFER), (Stage.AUTHORISED, ADMIT))
    gate.visit(NOON + 2 * MINUTE, (Stage.REFUSED, FEVER), evidence=HOT, result=Result.LEFT, steps=(RETEST,))
    gate.visit(NOON + 3 * MINUTE, evidence=LEAVING, result=None)
    red = Evidence(code=code(Status.RED), mask=MaskStatus.MISSING)
    gate.visit(NOON + 4 * MINUTE, (Stage.REFUSED, RED), evidence=red, result=Result.FORCED)
    gate.deliver(NOON + 5 * MINUTE)
    found = report(store, DAY, CLOSING)
    assert of(found, "visits") == {"all": 5, "fever": 1, "retested": 1, "unmeasured": 1, "referred": 1}
    assert of(found, "direction") == {"in": 4, "out": 1}
    assert of(found, "stage") == {"authorised": 3, "refused": 2}
    assert of(found, "result") == {"passed": 2, "left": 1, "forced": 1, "unfinished": 1}
    assert of(found, "refused_for") == {"temperature_fever TH-4": 1, "status_red TR-2": 1}
    assert of(found, "referred_for") == {"code_missing TR-1": 1}
    assert of(found, "code") == {"green": 3, "red": 1, "none": 1}
    assert of(found, "code_abnormal") == {"status_red": 1}
    assert of(found, "mask") == {"worn": 3, "missing": 1, "unknown": 1}
    assert of(found, "symptoms") == {"cough": 1}
    assert of(found, "disposition") == {"fever_clinic": 1}
    noon = next(hour for hour in found["hours"] if "T12:" in hour["from"])
    assert (noon["in"], noon["out"], noon["refused"]) == (3, 0, 2)
    assert not found["zero"]


def test_the_list_names_each_abnormal_visit_once_by_pseudonym(store: Store, gate: TownGate) -> None:
    gate.visit(NOON, (Stage.REFERRED, FEVER), (Stage.REFUSED, FEVER), evidence=HOT, result=Result.LEFT)
    gate.write(events.device_failed("thermometer", "frozen"), NOON + MINUTE)
    gate.deliver(NOON + MINUTE)
    found = report(store, DAY, CLOSING)
    (visit,), (fault,) = found["cases"], found["incidents"]
    assert (visit["subject"], visit["temperature_cc"], visit["result"]) == ("1a2b3c4d5e6f7a8b", 3800, "left")
    assert visit["reasons"] == [{"reason": "temperature_fever", "rule": "TH-4"}]
    assert visit["at"] == "2022-04-11T12:00:01.000+08:00"
    facts = {"device": "thermometer", "problem": "frozen"}
    assert (fault["kind"], fault["facts"]) == ("device.failed", facts)
    assert of(found, "cases") == {"people": 1, "incidents": 1}


def test_everything_else_is_counted_by_its_word(store: Store, gate: TownGate) -> None:
    for number, event in enumerate(
        (
            events.gate_started("1", "0a1b2c3d", "county", "0" * 64),
            events.passage_forced(),
            events.device_failed("camera", "gone"),
            events.device_recovered("camera"),
            events.fire_alarm(active=True, passages=0),
            events.fire_alarm(active=False, passages=7),
            events.command(None, events.Outcome.REFUSED, "bad_signature"),
            events.document("residents", "hall", 1, "expired"),
            events.anomaly("odd", "very"),
            events.gate_stopped(),
        )
    ):
        gate.write(event, NOON + number)
    gate.deliver(NOON + MINUTE)
    found = report(store, DAY, CLOSING)
    assert of(found, "forced") == {"nobody": 1}
    assert of(found, "device_failed") == of(found, "device_recovered") == {"camera": 1}
    assert of(found, "fire") == {"alarms": 1, "passages": 7}
    assert of(found, "command") == {"refused": 1}
    assert of(found, "document") == {"expired": 1}
    assert of(found, "anomaly") == {"odd": 1}
    assert of(found, "service") == {"started": 1, "stopped": 1}
    assert of(found, "records") == {"all": 10, "abnormal": 6}
    assert found["policies"] == [{"policy": "county", "policy_hash": "0" * 64}]


def test_a_passage_that_the_centre_has_ordered_is_a_visit(store: Store, gate: TownGate) -> None:
    visit = "0a1b2c3d-000009"
    told = events.Event(events.Kind.COMMAND, {"command": "open_once", "outcome": "done", "visit": visit})
    gate.write(told, NOON)
    gate.write(events.visit_closed(visit, Result.PASSED, 900), NOON + 1)
    gate.deliver(NOON + 2)
    found = report(store, DAY, CLOSING)
    assert of(found, "visits") == {"all": 1, "let_in_by_centre": 1}
    assert of(found, "result") == {"passed": 1} and of(found, "command") == {"done": 1}


def test_the_time_in_each_mode_begins_with_what_the_day_began_with(store: Store, gate: TownGate) -> None:
    gate.write(events.gate_mode("degraded", "serving"), ms("2022-04-10T20:00"))
    gate.write(events.gate_mode("serving", "degraded"), ms("2022-04-11T06:00"))
    gate.write(events.gate_mode("evacuating", "serving"), ms("2022-04-11T16:00"))
    gate.deliver(ms("2022-04-11T16:30"))
    found = report(store, DAY, CLOSING)
    assert found["modes_s"] == {"degraded": 21_600, "serving": 36_000, "evacuating": 1800, "unknown": 1800}
    gate.checkpoint(ms("2022-04-11T16:59:59"))
    found = report(store, DAY, CLOSING)
    assert found["modes_s"] == {"degraded": 6 * 3600, "evacuating": 3600, "serving": 10 * 3600}


def test_who_is_turned_away_because_nobody_is_served_is_no_abnormal_case(
    store: Store, gate: TownGate
) -> None:
    gate.visit(NOON, (Stage.REFUSED, SUSPENDED), result=Result.LEFT)
    gate.visit(NOON + MINUTE, (Stage.REFUSED, with_finding(SUSPENDED, FEVER)), evidence=HOT)
    gate.visit(NOON + 2 * MINUTE, (Stage.REFUSED, SUSPENDED), result=Result.FORCED)
    gate.visit(NOON + 3 * MINUTE, (Stage.UNDECIDED, SUSPENDED), result=Result.LEFT)
    gate.deliver(NOON + 4 * MINUTE)
    found = report(store, DAY, CLOSING)
    assert [case["seq"] for case in found["cases"]] == [3, 6], "the fever, and who has forced their way"
    assert of(found, "cases") == {"people": 2} and of(found, "visits")["not_served"] == 1
    assert of(found, "stage") == {"refused": 3, "undecided": 1}
    assert of(found, "refused_for") == {
        "suspended CO-7": 3,
        "temperature_fever TH-4": 1,
        "mask_missing MA-1": 2,
    }
    assert of(found, "records")["abnormal"] == 5, "the records stay as they were marked"
    noon = next(hour for hour in found["hours"] if "T12:" in hour["from"])
    assert (noon["refused"], noon["abnormal"]) == (3, 2)


def test_a_code_that_is_called_back_is_a_case_of_whose_visit_it_was(store: Store, gate: TownGate) -> None:
    name = gate.visit(NOON, result=None)
    gate.write(events.anomaly("called_back", f"{name}: revoked"), NOON + 1000)
    gate.write(events.visit_closed(name, Result.NOT_PASSED, 2000), NOON + 2000)
    gate.deliver(NOON + MINUTE)
    (case,) = report(store, DAY, CLOSING)["cases"]
    assert (case["subject"], case["facts"]["what"]) == ("1a2b3c4d5e6f7a8b", "called_back")


def test_a_day_on_which_only_parts_failed_is_a_zero_report(store: Store, gate: TownGate) -> None:
    gate.write(events.device_failed("camera", "gone"), NOON)
    gate.deliver(NOON)
    found = report(store, DAY, CLOSING)
    assert found["zero"] and not found["empty"] and len(found["incidents"]) == 1
    gate.write(events.passage_forced(), NOON + MINUTE)
    gate.write(events.anomaly("called_back", "0a1b2c3d-000001: revoked"), NOON + MINUTE)
    gate.deliver(NOON + MINUTE)
    found = report(store, DAY, CLOSING)
    assert not found["zero"] and [len(found[name]) for name in ("cases", "incidents")] == [2, 1]


@pytest.mark.parametrize(
    ("more", "evidence"),
    [
        (Finding("TR-3", Verdict.REFUSE, "test_missing"), NORMAL),
        (Finding("TR-3", Verdict.REFUSE, "test_too_old"), NORMAL),
        (Finding("TR-3", Verdict.REFER, "test_unverified"), NORMAL),
        (Finding("TH-4", Verdict.REFER, "temperature_uncertain"), NORMAL),
        (Finding("SB-2", Verdict.REFER, "symptoms_noted"), NORMAL),
        (None, replace(NORMAL, travel=Travel.RISK_AREA)),
        (None, replace(NORMAL, origin=Origin.KEY_AREA)),
    ],
)
def test_what_speaks_against_somebody_makes_a_case_also_where_nobody_is_served(
    store: Store, gate: TownGate, more: Finding | None, evidence: Evidence
) -> None:
    decided = SUSPENDED if more is None else replace(SUSPENDED, findings=(*SUSPENDED.findings, more))
    gate.visit(NOON, (Stage.REFUSED, decided), evidence=evidence, result=Result.LEFT)
    gate.visit(NOON + MINUTE, (Stage.REFUSED, SUSPENDED), result=Result.LEFT)
    gate.deliver(NOON + 2 * MINUTE)
    found = report(store, DAY, CLOSING)
    assert [case["seq"] for case in found["cases"]] == [1] and of(found, "visits")["not_served"] == 1


@pytest.mark.parametrize("band", [Band.RAISED, Band.FEVER])
def test_who_is_hot_is_a_case_whatever_the_plan_has_found(store: Store, gate: TownGate, band: Band) -> None:
    gate.visit(NOON, (Stage.REFUSED, replace(SUSPENDED, band=band)), evidence=HOT, result=Result.LEFT)
    gate.deliver(NOON + MINUTE)
    assert not report(store, DAY, CLOSING)["zero"]


@pytest.mark.parametrize("plan", sorted(path.stem for path in Path("gate/policies").glob("*.toml")))
@pytest.mark.parametrize("suspended", [False, True])
def test_who_comes_from_a_risk_area_makes_no_zero_report_by_any_plan(
    store: Store, gate: TownGate, plan: str, suspended: bool
) -> None:
    evidence = replace(NORMAL, travel=Travel.RISK_AREA, at_s=NOON / 1000, suspended=suspended)
    decided = decide(load_policy(plan), "0" * 64, evidence)
    gate.visit(NOON, (Stage.REFUSED, decided), evidence=evidence, result=Result.LEFT)
    gate.deliver(NOON + MINUTE)
    assert not report(store, DAY, CLOSING)["zero"]


# --- forced passages: the gate's own sequences, see tests/core/test_actor_leaving.py


def forced_figures(found: dict[str, Any]) -> tuple[dict[str, int], dict[str, int], int, int, int]:
    """Return results and forced passages, and what the summary, the gate's row and the hours make of them."""
    words = Words("en")
    groups = ("result.forced", "ended_later.forced", "forced.with_visit", "forced.nobody")
    names = {words(group) for group in groups}
    summed = sum(row[-1] for row in layout.summary(found, words).rows if row[0] in names)  # type: ignore[misc]
    gates = layout.gates(found, words)
    (row,) = gates.rows
    column = row[gates.heads.index(words("forced"))]
    assert isinstance(column, int)
    abnormal = sum(hour["abnormal"] for hour in found["hours"])
    return of(found, "result"), of(found, "forced"), summed, column, abnormal


def test_who_pushes_through_while_measured_is_one_person(store: Store, gate: TownGate) -> None:
    gate.write(events.passage_forced("0a1b2c3d-000001"), NOON)
    gate.visit(NOON, (Stage.UNDECIDED, REFER), result=Result.FORCED)
    gate.deliver(NOON + MINUTE)
    found = report(store, DAY, CLOSING)
    (case,) = found["cases"]
    assert (case["subject"], case["result"], case["kind"]) == ("1a2b3c4d5e6f7a8b", "forced", "visit.closed")
    assert of(found, "cases") == {"people": 1}
    assert forced_figures(found) == ({"forced": 1}, {}, 1, 1, 1)


def test_who_forces_the_way_before_anything_is_known_counts_as_forced(store: Store, gate: TownGate) -> None:
    gate.write(events.passage_forced("0a1b2c3d-000001"), NOON)
    gate.deliver(NOON + MINUTE)
    found = report(store, DAY, CLOSING)
    (case,) = found["cases"]
    assert (case["subject"], case["kind"], case["result"]) == ("", "passage.forced", "forced")
    assert forced_figures(found) == ({}, {"with_visit": 1}, 1, 1, 1)


def test_who_forces_the_way_too_late_is_named(store: Store, gate: TownGate) -> None:
    name = gate.visit(NOON, result=Result.NOT_PASSED)
    gate.visit(NOON + 3000)
    gate.write(events.passage_forced(name), NOON + 6000)
    gate.deliver(NOON + MINUTE)
    found = report(store, DAY, CLOSING)
    (case,) = found["cases"]
    assert (case["subject"], case["kind"], case["seq"]) == ("1a2b3c4d5e6f7a8b", "passage.forced", 5)
    assert forced_figures(found) == ({"not_passed": 1, "passed": 1}, {"with_visit": 1}, 1, 1, 1)


def test_who_is_called_back_and_forces_the_way_is_one_person(store: Store, gate: TownGate) -> None:
    name = gate.visit(NOON, result=None)
    gate.write(events.anomaly("called_back", f"{name}: status_red"), NOON + 1000)
    gate.write(events.visit_closed(name, Result.NOT_PASSED, 2000), NOON + 1000)
    gate.write(events.passage_forced(name), NOON + 3000)
    gate.deliver(NOON + MINUTE)
    found = report(store, DAY, CLOSING)
    (case,) = found["cases"]
    assert (case["subject"], case["kind"], case["result"]) == ("1a2b3c4d5e6f7a8b", "passage.forced", "forced")
    assert Words("en").case(case).startswith("forced passage that nobody had authorised: code called back")
    assert forced_figures(found) == ({"not_passed": 1}, {"with_visit": 1}, 1, 1, 1)


def test_an_abnormal_visit_that_is_over_and_forced_then_is_one_person(store: Store, gate: TownGate) -> None:
    name = gate.visit(NOON, (Stage.AUTHORISED, FEVER), evidence=HOT, result=Result.NOT_PASSED)
    gate.write(events.passage_forced(name), NOON + 6000)
    gate.deliver(NOON + MINUTE)
    found = report(store, DAY, CLOSING)
    (case,) = found["cases"]
    assert (case["temperature_cc"], case["result"]) == (3800, "forced")
    assert forced_figures(found) == ({"not_passed": 1}, {"with_visit": 1}, 1, 1, 1)


def test_who_forces_the_way_after_the_report_that_counted_the_visit_counts_as_forced(
    store: Store, gate: TownGate
) -> None:
    name = gate.visit(ms(CLOSING) - 2000, (Stage.REFUSED, SUSPENDED), result=None)
    gate.send(ms(CLOSING) - 1000)
    gate.write(events.visit_closed(name, Result.FORCED, 1), ms(CLOSING) + 1000)
    gate.deliver(ms(CLOSING) + 2000)
    assert report(store, DAY, CLOSING)["zero"]
    found = report(store, "2022-04-12", "2022-04-12T17:00", since=CLOSING)
    assert [case["result"] for case in found["cases"]] == ["forced"]
    assert of(found, "ended_later", "carried") == {"forced": 1}
    assert forced_figures(found)[2:4] == (1, 1)


def test_a_fever_that_is_found_after_the_cut_off_is_counted_where_it_is_listed(
    store: Store, gate: TownGate
) -> None:
    name = gate.visit(ms("2022-04-11T16:50"), (Stage.REFERRED, REFER), result=None)
    told = gate.visit(ms("2022-04-11T16:50"), (Stage.REFERRED, FEVER), evidence=HOT, result=None)
    gate.send(ms("2022-04-11T16:51"))
    for visit in (name, told):
        decided = events.visit_decided(visit, Stage.REFUSED, FEVER, HOT, (), 1200)
        gate.write(decided, ms("2022-04-11T16:52"))
        gate.write(events.visit_closed(visit, Result.LEFT, 1), ms("2022-04-11T16:53"))
    gate.deliver(ms("2022-04-11T18:00"))
    assert of(report(store, DAY, CLOSING), "visits")["fever"] == 1
    after = report(store, "2022-04-12", "2022-04-12T17:00", since=CLOSING)
    assert of(after, "visits", "carried") == {"fever": 1}, "of the other one it was known"


# --- records that are there no more


def test_a_day_whose_records_are_retired_is_no_zero_report(store: Store, gate: TownGate) -> None:
    gate.visit(NOON, (Stage.REFUSED, FEVER), evidence=HOT, result=Result.LEFT)
    gate.write(events.device_failed("thermometer", "no echo"), NOON + 5000)
    gate.deliver(ms("2022-04-11T16:59:30"))
    run(store, RetentionSettings(records_days=365), NOON + 400 * DAY_MS)
    found = report(store, DAY, CLOSING)
    (case,), (incident,) = found["cases"], found["incidents"]
    assert not found["zero"] and of(found, "cases") == {"people": 1, "incidents": 1}
    assert (case["kind"], case["seq"], case["section"]) == ("visit.decided", 1, "day")
    assert Words("zh").case(case) == "原记录已到期清除"
    assert Words("en").case(incident) == "part failed: the record was retired when its time was over"


def test_a_record_that_cannot_be_read_is_no_zero_report(store: Store, gate: TownGate) -> None:
    gate.visit(NOON, (Stage.REFUSED, FEVER), evidence=HOT, result=None)
    bad = gate.bodies[0].replace(b'"duration_ms":1200', b'"duration_ms":1200,"x":"\xff"')
    store.ingest([Arrived("north", "g-1", bad)], NOON + MINUTE)
    found = report(store, DAY, CLOSING)
    assert not found["zero"] and [Words("en").case(case) for case in found["cases"]] == [
        "the record cannot be read"
    ]


def with_finding(one: Decision, other: Decision) -> Decision:
    return replace(one, findings=(*one.findings, *other.findings))


# --- which day, which section


def test_a_quiet_day_was_spent_in_the_mode_of_then_and_not_of_today(store: Store, gate: TownGate) -> None:
    started = events.gate_started("1", "0a1b2c3d", "county", "0" * 64)
    gate.write(started, ms("2022-04-10T08:00"))
    gate.write(events.gate_mode("degraded", "serving"), ms("2022-04-13T08:00"))
    gate.deliver(ms("2022-04-13T08:00"))
    gate.checkpoint(ms("2022-04-13T16:59:30"))
    assert report(store, DAY, "2022-04-13T17:00")["modes_s"] == {"serving": 86_400}
    assert report(store, "2022-04-09", "2022-04-13T17:00")["modes_s"] == {}, "there was no gate yet"


def test_the_last_millisecond_of_a_day_is_its_own(store: Store, gate: TownGate) -> None:
    midnight = ms("2022-04-12T00:00")
    gate.visit(midnight - 1, result=None)
    gate.visit(midnight, result=None)
    gate.deliver(midnight + MINUTE)
    for day in ("2022-04-11", "2022-04-12"):
        found = report(store, day, "2022-04-13T08:00", since=f"{day}T00:00")
        assert of(found, "visits") == {"all": 1}, day


def test_a_visit_over_midnight_counts_on_the_day_on_which_it_began(store: Store, gate: TownGate) -> None:
    gate.visit(ms("2022-04-11T23:59:59.500"), (Stage.REFERRED, REFER), (Stage.AUTHORISED, ADMIT))
    store.ingest([Arrived("north", "g-1", gate.bodies[0])], ms("2022-04-11T23:59:59.600"))
    gate.deliver(ms("2022-04-12T00:01"))
    handed_in = report(store, DAY, "2022-04-12T00:00")
    assert of(handed_in, "result") == {"unfinished": 1}
    in_hindsight = report(store, DAY, "2022-04-12T08:00")
    assert of(in_hindsight, "visits") == {"all": 1, "referred": 1}
    assert of(in_hindsight, "result") == {"passed": 1}
    after = report(store, "2022-04-12", "2022-04-12T08:00", since="2022-04-12T00:00")
    assert of(after, "visits") == {} and of(after, "ended_later") == {"passed": 1}


@pytest.mark.parametrize(
    ("day", "hours", "first_offset"), [("2022-03-27", 23, "+01:00"), ("2022-10-30", 25, "+02:00")]
)
def test_a_day_is_as_long_as_it_is(
    store: Store, gate: TownGate, day: str, hours: int, first_offset: str
) -> None:
    settings = ReportSettings(time_zone="Europe/Berlin")
    begins = ms(f"{day}T00:00", settings.zone)
    for hour in range(hours):
        gate.visit(begins + hour * 60 * MINUTE)
    gate.deliver(begins + hours * 60 * MINUTE)
    found = report(store, day, f"{day[:8]}{int(day[8:]) + 1}T08:00", settings=settings)
    assert [hour["in"] for hour in found["hours"]] == [1] * hours
    assert found["hours"][0]["from"] == f"{day}T00:00:00.000{first_offset}"
    assert of(found, "visits") == {"all": hours}


def test_a_midnight_that_is_left_out_or_comes_twice_begins_the_day_once() -> None:
    from datetime import date
    from zoneinfo import ZoneInfo

    beirut, havana = ZoneInfo("Asia/Beirut"), ZoneInfo("America/Havana")
    assert local(instant(date(2022, 3, 27), 0, beirut), beirut) == "2022-03-27T01:00:00.000+03:00"
    assert local(instant(date(2022, 11, 6), 0, havana), havana) == "2022-11-06T00:00:00.000-04:00"


def test_every_record_is_in_exactly_one_of_the_reports_handed_in(store: Store, gate: TownGate) -> None:
    seen = ms("2022-04-10T00:30")
    total = 0
    for minute in range(0, 4 * 24 * 60, 47):  # four days; some records come hours after they happened
        at_ms = ms("2022-04-10T00:00") + minute * MINUTE
        gate.visit(at_ms, result=None, trusted=minute % 5 != 0)
        total += 1
        if minute % 3:
            seen = max(seen, at_ms + (minute % 7) * 200)
            gate.deliver(seen)
    gate.deliver(ms("2022-04-14T09:00"))
    counted, since = 0, "2022-04-09T17:00"
    for day in range(10, 16):
        cut = f"2022-04-{day}T17:00"
        found = report(store, f"2022-04-{day}", cut, since=since)
        counted += sum(sum(of(found, "visits", section).values()) for section in found["totals"])
        assert of(found, "records", "unsure") or day > 14
        since = cut
    assert counted == total


def test_what_comes_only_after_the_cut_off_is_carried_over(store: Store, gate: TownGate) -> None:
    gate.visit(NOON)
    gate.deliver(ms("2022-04-11T19:00"))  # the gate was cut off over the time of the report
    gate.visit(ms("2022-04-11T20:00"))
    gate.deliver(ms("2022-04-11T20:01"))
    first = report(store, DAY, CLOSING)
    assert first["empty"] and not first["gates"]["vouched"]
    second = report(store, "2022-04-12", "2022-04-12T17:00", since=CLOSING)
    assert of(second, "visits") == {} and of(second, "visits", "carried") == {"all": 2}


def test_a_record_at_the_very_cut_off_is_in_the_next_report(store: Store, gate: TownGate) -> None:
    gate.visit(ms(CLOSING), result=None)
    gate.deliver(ms(CLOSING))
    assert report(store, DAY, CLOSING)["empty"]
    after = report(store, "2022-04-12", "2022-04-12T17:00", since=CLOSING)
    assert of(after, "visits", "carried") == {"all": 1}


def test_a_clock_that_is_ahead_does_not_hide_a_record(store: Store, gate: TownGate) -> None:
    gate.visit(ms("2022-04-11T17:00:30"), result=None)
    gate.deliver(ms("2022-04-11T16:59:50"))
    assert report(store, DAY, CLOSING)["empty"]
    after = report(store, "2022-04-12", "2022-04-12T17:00", since=CLOSING)
    assert of(after, "visits", "carried") == {"all": 1}


def test_records_of_an_unsure_clock_count_where_they_came_and_are_named(store: Store, gate: TownGate) -> None:
    gate.visit(ms("1970-01-02T00:00"), trusted=False)
    gate.visit(ms("2031-01-02T00:00"), trusted=False)
    gate.visit(NOON - 1, trusted=False)
    gate.deliver(NOON)
    found = report(store, DAY, CLOSING)
    assert of(found, "visits") == {} and of(found, "visits", "unsure") == {"all": 3}
    assert report(store, "2022-04-12", "2022-04-12T17:00", since=CLOSING)["empty"]


def test_the_same_cut_off_gives_the_same_report_later(store: Store, gate: TownGate) -> None:
    gate.visit(NOON)
    gate.deliver(ms("2022-04-11T16:59:30"))
    before = report(store, DAY, CLOSING)
    gate.visit(ms("2022-04-11T16:59:50"))
    gate.deliver(ms("2022-04-11T17:00"))
    assert report(store, DAY, CLOSING)["totals"] == before["totals"]
    assert report(store, DAY, "2022-04-11T17:00:00.001")["totals"] != before["totals"]


# --- what can be vouched for


def vouching(store: Store, cut: str = CLOSING, day: str = DAY) -> list[dict[str, object]]:
    """Return the doubts about the one gate."""
    found = report(store, day, cut)
    doubtful = found["gates"]["not_vouched"]
    return doubtful[0]["doubts"] if doubtful else []


def test_a_running_day_is_vouched_for_by_a_checkpoint_of_the_last_two_minutes(
    store: Store, gate: TownGate
) -> None:
    gate.visit(NOON)
    gate.deliver(ms("2022-04-11T16:58"))
    assert vouching(store) == []
    (doubt,) = vouching(store, "2022-04-11T17:00:00.001")
    assert (doubt["reason"], doubt["since"]) == ("silent", "2022-04-11T16:58:00.000+08:00")


def test_a_past_day_is_vouched_for_by_a_checkpoint_after_its_end(store: Store, gate: TownGate) -> None:
    gate.visit(NOON)
    gate.deliver(ms("2022-04-11T23:59:59.999"))
    assert [doubt["reason"] for doubt in vouching(store, "2022-04-12T09:00")] == ["silent"]
    gate.checkpoint(ms("2022-04-12T00:00"))
    assert vouching(store, "2022-04-12T09:00") == []


def test_a_checkpoint_that_lay_in_a_broker_over_midnight_proves_nothing_of_the_evening(
    store: Store, gate: TownGate
) -> None:
    gate.visit(NOON)
    gate.send(NOON)
    gate.checkpoint(ms("2022-04-12T06:00"), at_ms=ms("2022-04-11T13:00"))
    assert [doubt["reason"] for doubt in vouching(store, "2022-04-12T09:00")] == ["silent"]


def test_how_far_a_backlog_has_been_sent_vouches_for_nothing(store: Store, gate: TownGate) -> None:
    gate.visit(NOON)
    gate.send(NOON)
    gate.visit(NOON)
    at_ms = ms("2022-04-12T00:10")
    sent = gate.sign(at_ms, size=gate.sent, why=Why.COUNT)
    outcome = store.checkpoint(sent, gate.site, gate.gate, at_ms)
    assert outcome.state is not None
    assert outcome.state.proved == gate.sent
    assert [doubt["reason"] for doubt in vouching(store, "2022-04-12T09:00")] != []


def test_one_that_came_later_will_do_when_the_ledger_has_stood_still(store: Store, gate: TownGate) -> None:
    # The store keeps the first and the last checkpoint of each size only.
    gate.visit(NOON)
    for at_ms in range(ms("2022-04-11T16:30"), ms("2022-04-11T19:00"), 5 * MINUTE):
        gate.deliver(at_ms)
    assert vouching(store) == []


def test_a_missing_record_is_counted(store: Store, gate: TownGate) -> None:
    for _ in range(5):
        gate.visit(NOON)
    gate.send(NOON, without=frozenset({4, 5}))
    gate.checkpoint(ms("2022-04-11T16:59:30"))
    (doubt,) = vouching(store)
    assert (doubt["reason"], doubt["count"]) == ("missing", 2)
    (proof,) = report(store, DAY, CLOSING)["proofs"]
    assert (proof["from"], proof["to"], proof["records"]) == (1, 10, 8)


def test_a_gate_whose_sensors_have_not_checked_themselves_in_the_day_is_named(
    store: Store, gate: TownGate
) -> None:
    other = TownGate(store, gate="g-2")
    other.register()
    check = events.device_checked("thermometer", {"config": "9ff4"})
    for at in ("2022-04-11T08:00", "2022-04-11T09:00"):
        gate.write(check, ms(at))
    other.write(check, ms("2022-04-10T23:59:59.999"))
    other.write(events.device_recovered("thermometer"), NOON)
    for one in (gate, other):
        one.deliver(NOON)
    found = report(store, DAY, CLOSING)
    assert found["gates"]["unchecked"] == [{"site": "north", "gate": "g-2"}]
    assert of(found, "device_checked") == {"thermometer": 2}
    by_gate = {shown["gate"]: shown["totals"]["day"].get("device_checked") for shown in found["by_gate"]}
    assert by_gate == {"g-1": {"thermometer": 2}, "g-2": None}
    assert not found["cases"], "a check is nothing abnormal"


def test_a_registered_gate_that_was_never_heard_is_named(store: Store, gate: TownGate) -> None:
    found = report(store, DAY, CLOSING)
    assert found["zero"] and found["empty"]
    assert found["gates"]["not_vouched"] == [
        {"site": "north", "gate": "g-1", "doubts": [{"reason": "never_heard", "epoch": None}]}
    ]


def test_a_ledger_that_began_later_proves_that_there_was_nothing_before(store: Store, gate: TownGate) -> None:
    gate.visit(ms("2022-04-13T08:00"))
    gate.deliver(ms("2022-04-13T08:00"))  # the first that was ever heard of it
    (proof,) = report(store, DAY, "2022-04-14T08:00")["proofs"]
    assert (proof["epoch"], proof["records"], proof["vouched"]) == ("epoch1", 0, True)
    (proof,) = report(store, DAY, "2022-04-12T08:00")["proofs"]
    assert (proof["epoch"], proof["vouched"]) == (None, False)


def test_a_gate_that_began_later_owes_no_check_of_that_day(store: Store, gate: TownGate) -> None:
    gate.visit(ms("2022-04-13T08:00"))
    gate.deliver(ms("2022-04-13T08:00"))
    found = report(store, DAY, "2022-04-14T08:00")
    assert (found["gates"]["unchecked"], found["gates"]["begun"]) == ([], 0)
    assert layout.check_note(found, Words("en")) == "no gate had begun by the end of the day"
    assert report(store, "2022-04-13", "2022-04-14T08:00")["gates"]["unchecked"] != []


def test_of_a_gate_that_was_registered_later_and_never_ran_nothing_is_said(store: Store) -> None:
    store.register_gate("north", "g-1", b"k" * 32, ms("2022-04-13T09:00"))
    assert report(store, DAY, "2022-04-14T08:00")["gates"]["all"] == 0
    assert report(store, "2022-04-12", "2022-04-14T08:00")["gates"]["all"] == 0
    (named,) = report(store, "2022-04-13", "2022-04-14T08:00")["gates"]["not_vouched"]
    assert named["gate"] == "g-1"


def test_of_a_gate_that_is_taken_out_of_service_nothing_is_said_from_then_on(
    store: Store, gate: TownGate
) -> None:
    store.revoke_key("north", "g-1", None, ms("2022-04-10T12:00"))
    assert report(store, "2022-04-10", CLOSING)["gates"]["all"] == 1
    assert report(store, DAY, CLOSING)["gates"]["all"] == 0


def test_a_gate_without_a_registered_key_is_counted_and_named(store: Store) -> None:
    stranger = TownGate(store, gate="g-9")
    stranger.visit(NOON)
    stranger.deliver(ms("2022-04-11T16:59:30"))
    assert [doubt["reason"] for doubt in vouching(store)] == ["no_key", "never_heard"]
    assert of(report(store, DAY, CLOSING), "visits") == {"all": 1}


def test_other_bytes_for_a_proved_record_are_a_suspicion(store: Store, gate: TownGate) -> None:
    gate.visit(NOON)
    gate.deliver(ms("2022-04-11T16:59:30"))
    forged = gate.bodies[0].replace(b'"in"', b'"IN"').replace(b"authorised", b"referred")
    assert forged != gate.bodies[0]
    store.ingest([Arrived("north", "g-1", forged)], ms("2022-04-11T16:59:40"))
    (doubt,) = vouching(store)
    assert (doubt["reason"], doubt["codes"]) == ("suspected", ["altered"])
    found = report(store, DAY, CLOSING)
    assert found["proofs"][0]["conflicts"] == 1 and found["alarms"][0]["kind"] == "false"
    assert of(found, "visits") == {"all": 1}, "the proved record counts"


def test_a_checkpoint_that_disagrees_is_a_suspicion(store: Store, gate: TownGate) -> None:
    gate.visit(NOON)
    gate.send(NOON)
    gate.hashes[2] = b"x" * 32
    gate.checkpoint(ms("2022-04-11T16:59:30"))
    reasons = [doubt["reason"] for doubt in vouching(store)]
    assert reasons[0] == "suspected"


def test_an_alarm_that_is_settled_before_the_cut_off_does_not_count(store: Store, gate: TownGate) -> None:
    gate.visit(NOON)
    gate.deliver(ms("2022-04-11T16:59:30"))
    alarm = store.raise_alarm(Suspicion(AlarmKind.CONCEALED, "north", "g-1", "epoch1", "went_back"), NOON)
    assert alarm is not None and vouching(store)
    store.clear_alarm(alarm.id, ms("2022-04-11T16:30"), by="duty", reason="looked into")
    assert vouching(store) == []
    (told,) = report(store, DAY, CLOSING)["alarms"]
    assert told["cleared"] == "2022-04-11T16:30:00.000+08:00"
    (told,) = report(store, DAY, "2022-04-11T16:00")["alarms"]
    assert told["cleared"] is None, "a report does not know what came later"


# --- which alarms belong to a day

AFTER = "2022-04-20T08:00"


def listed(store: Store, day: str = DAY, cut: str = AFTER) -> list[str]:
    """Return the codes of the alarms in the report of a day that is over, made much later."""
    return [alarm["code"] for alarm in report(store, day, cut, since=f"{day}T00:00")["alarms"]]


def raised(store: Store, at: str, *range_: int, epoch: str = "", code: str = "hole", since: str = "") -> int:
    evidence = {"since_ms": ms(since)} if since else {}
    first, last = range_ or (None, None)
    about = Suspicion(AlarmKind.MISSED, "north", "g-1", epoch, code, first, last, evidence)
    alarm = store.raise_alarm(about, ms(at))
    assert alarm is not None
    return alarm.id


@pytest.mark.parametrize(
    ("at", "since", "there"),
    [
        ("2022-04-11T23:59:59.999", "", True),
        ("2022-04-12T00:00", "", False),
        ("2022-04-12T00:10", "2022-04-11T23:59:59.999", True),  # it was silent on the day already
        ("2022-04-12T00:10", "2022-04-12T00:00", False),
        ("2022-04-10T12:00", "", True),  # and still stands
    ],
)
def test_an_alarm_is_in_the_report_of_the_days_on_which_it_stood(
    store: Store, gate: TownGate, at: str, since: str, there: bool
) -> None:
    raised(store, at, code="silent", since=since)
    assert listed(store) == ["silent"] * there


@pytest.mark.parametrize(
    ("cleared", "there"), [("2022-04-10T23:59:59.999", False), ("2022-04-11T00:00", True)]
)
def test_one_that_was_over_before_is_not(store: Store, gate: TownGate, cleared: str, there: bool) -> None:
    alarm = raised(store, "2022-04-10T12:00", code="silent")
    store.clear_alarm(alarm, ms(cleared), by="central", reason="heard")
    assert listed(store) == ["silent"] * there


@pytest.mark.parametrize(
    ("first", "last", "there"), [(1, 2, False), (1, 3, True), (4, 4, True), (4, 90, True), (5, 90, False)]
)
def test_an_alarm_raised_later_is_there_when_it_is_about_records_of_the_day(
    store: Store, gate: TownGate, first: int, last: int, there: bool
) -> None:
    for at in ("2022-04-10T12:00", "2022-04-11T12:00", "2022-04-12T12:00"):
        gate.visit(ms(at))  # records 1 and 2, 3 and 4, 5 and 6
        gate.deliver(ms(at))
    raised(store, "2022-04-19T08:00", first, last, epoch="epoch1")
    assert listed(store) == ["hole"] * there
    assert listed(store, "2022-04-19") == ["hole"], "in the report of its own day in any case"
    assert listed(store, cut="2022-04-19T08:00") == [], "what came after the cut-off is not known"


def test_an_alarm_about_other_records_of_the_same_numbers_is_not(store: Store, gate: TownGate) -> None:
    gate.visit(NOON)
    gate.deliver(NOON)
    raised(store, "2022-04-19T08:00", 1, 2, epoch="epoch2")
    assert listed(store) == []


def test_a_suspicion_that_speaks_against_a_ledger_is_told_whenever_it_came(
    store: Store, gate: TownGate
) -> None:
    gate.visit(NOON)
    gate.deliver(ms("2022-04-12T00:00"))
    raised(store, "2022-04-19T08:00", epoch="epoch1", code="went_back")
    assert [doubt["codes"] for doubt in vouching(store, AFTER)] == [["went_back"]]
    assert listed(store) == ["went_back"]
    assert listed(store, "2022-04-09") == ["went_back"], "which doubts that day too"


def test_alarms_of_strangers_push_no_other_out_of_a_report(
    store: Store, gate: TownGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("central.reports.day.ALARMS_MAX", 4)
    gate.visit(NOON)
    gate.deliver(NOON)
    store.raise_alarm(Suspicion(AlarmKind.FALSE, "north", "g-1", "epoch1", "altered", 1, 1), NOON)
    store.raise_alarm(Suspicion(AlarmKind.MISSED, "", "level 1 all", DAY, "report_late"), NOON + 1)
    raised(store, "2022-04-11T12:01", code="silent")
    for number in range(6):
        stranger = Suspicion(AlarmKind.FALSE, "x", f"s{number}", "", "unknown_gate")
        store.raise_alarm(stranger, NOON + 2 * MINUTE + number)
    found = report(store, DAY, CLOSING)
    assert [(alarm["gate"], alarm["code"]) for alarm in found["alarms"]] == [
        ("g-1", "altered"), ("level 1 all", "report_late"), ("g-1", "silent"), ("s5", "unknown_gate"),
    ]  # fmt: skip
    assert found["alarms_left_out"] == 5
    note = ("Alarms", "5 of 9 are not listed; those of registered gates come first")
    printed = sealed(found, CENTRE_KEY)
    assert note in list(layout.heading(printed, Words("en"))), "in the workbook and in the terminal"
    assert note[1] in page(printed, "en").decode()
    for what in ("lost", "late", "hole", "clock"):
        raised(store, "2022-04-11T12:03", code=what)
    codes = [alarm["code"] for alarm in report(store, DAY, CLOSING)["alarms"]]
    assert codes == ["altered", "late", "hole", "clock"], "what speaks against vouching before all others"


@pytest.mark.parametrize(("day", "there"), [(DAY, True), ("2022-04-12", False)])
def test_that_a_report_is_late_stands_in_the_report_of_its_day(
    store: Store, gate: TownGate, day: str, there: bool
) -> None:
    about = Suspicion(AlarmKind.MISSED, "", "level 1 all", day, "report_late")
    store.raise_alarm(about, ms("2022-04-14T08:00"))
    assert listed(store) == ["report_late"] * there


def test_a_visit_that_goes_on_in_the_next_ledger_ends_there_in_whatever_order_they_came(
    store: Store, gate: TownGate
) -> None:
    visit = gate.visit(NOON, (Stage.REFERRED, REFER), result=None)
    old = gate.bodies
    before = PreviousEpoch(epoch="epoch1", size=len(old), hash=gate.hashes[-1].hex(), reason="rolled back")
    gate.begin("epoch2")
    gate.write(events.epoch_started(before), NOON + MINUTE)
    gate.write(events.visit_closed(visit, Result.LEFT, 2000), NOON + 2 * MINUTE)
    gate.deliver(NOON + 3 * MINUTE)
    store.ingest([Arrived("north", "g-1", body) for body in old], NOON + 4 * MINUTE)
    found = report(store, DAY, CLOSING)
    assert of(found, "result") == {"left": 1} and of(found, "ended_later") == {}


def test_two_ledgers_of_one_day_are_proved_each(store: Store, gate: TownGate) -> None:
    gate.visit(NOON)
    gate.deliver(NOON + MINUTE)
    size, head = len(gate.bodies), gate.hashes[-1]
    gate.begin("epoch2")
    before = PreviousEpoch(epoch="epoch1", size=size, hash=head.hex(), reason="rolled back")
    gate.write(events.epoch_started(before), NOON + 2 * MINUTE)
    gate.visit(NOON + 3 * MINUTE)
    gate.deliver(ms("2022-04-11T16:59:30"))
    found = report(store, DAY, CLOSING)
    assert [(proof["epoch"], proof["from"], proof["to"]) for proof in found["proofs"]] == [
        ("epoch1", 1, 2), ("epoch2", 1, 3),
    ]  # fmt: skip
    assert found["gates"]["vouched"] == 1, found["gates"]
    assert of(found, "visits") == {"all": 2} and of(found, "service") == {"new_epoch": 1}


def test_on_a_quiet_day_the_newest_ledger_was_in_use_although_it_came_first(
    store: Store, gate: TownGate
) -> None:
    before_ms = ms("2022-04-09T12:00")
    gate.visit(before_ms)
    old = gate.bodies
    before = PreviousEpoch(epoch="epoch1", size=len(old), hash=gate.hashes[-1].hex(), reason="rolled back")
    gate.begin("epoch2")
    gate.write(events.epoch_started(before), before_ms + MINUTE)
    gate.deliver(before_ms + MINUTE)
    store.ingest([Arrived("north", "g-1", body) for body in old], before_ms + 2 * MINUTE)
    gate.checkpoint(ms("2022-04-11T16:59:30"))
    found = report(store, DAY, CLOSING)
    assert [proof["epoch"] for proof in found["proofs"]] == ["epoch2"]
    assert found["gates"]["vouched"] == 1, found["gates"]


def test_a_ledger_whose_end_nobody_has_accounted_for_is_named(store: Store, gate: TownGate) -> None:
    gate.visit(NOON)
    gate.deliver(NOON + MINUTE)
    gate.begin("epoch2")
    gate.visit(NOON + 3 * MINUTE)
    gate.deliver(ms("2022-04-11T16:59:30"))
    reasons = {doubt["reason"] for doubt in vouching(store)}
    assert "suspected" in reasons and "end_unknown" in reasons


# --- levels


def test_each_level_adds_up_what_reports_to_it(store: Store) -> None:
    settings = ReportSettings(unit=(Unit("Halls", ("north", "east")),), name="County")
    for site, name, visits in (
        ("north", "g-1", 1),
        ("north", "g-2", 2),
        ("east", "g-1", 3),
        ("west", "g-1", 4),
    ):
        town_gate = TownGate(store, site, name)
        town_gate.register()
        for _ in range(visits):
            town_gate.visit(NOON)
        town_gate.deliver(ms("2022-04-11T16:59:30"))

    def visits_of(scope: Scope) -> int:
        found = report(store, DAY, CLOSING, settings=settings, scope=scope)
        assert found["gates"]["vouched"] == len(found["by_gate"]) == len(found["proofs"])
        return of(found, "visits")["all"]

    assert visits_of(Scope(3, "north/g-2", ("north",), "g-2")) == 2
    assert visits_of(Scope(2, "Halls", ("east", "north"))) == 6
    assert visits_of(Scope(1, "County")) == 10
    found = report(store, DAY, CLOSING, settings=settings, scope=Scope(1, "County"))
    assert [(unit["unit"], unit["totals"]["day"]["visits"]["all"]) for unit in found["units"]] == [
        ("Halls", 6), ("west", 4),
    ]  # fmt: skip


def test_a_day_that_has_not_begun_has_no_report(store: Store) -> None:
    with pytest.raises(ValueError, match="begins after the cut-off"):
        report(store, "2022-04-12", CLOSING)
    assert SETTINGS.zone.key == "Asia/Shanghai"
