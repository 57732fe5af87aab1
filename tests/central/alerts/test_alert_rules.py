"""What a record calls for."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central import store, watch
from central.alerts import rules
from central.alerts.codes import CODES
from central.alerts.messages import BYTES_MAX
from central.alerts.rules import AlertKind, Severity, Source, classify, of_alarm, of_record
from central.orders.unanswered import UNANSWERED
from central.reports import schedule
from central.store import Alarm, AlarmKind, StoredRecord, Suspicion
from gate.core.rules import CODE_REFUSALS
from tests.central.alerts.alerting import NOON_MS, decided, event, fever, golden, record

ALARM, WARNING, NOTICE = Severity.ALARM, Severity.WARNING, Severity.NOTICE
KINDS_OF_GOLDEN: Final = {
    1: ["fever"],
    3: ["forced_passage"],
    7: ["sensor_fault"],
    10: ["abnormal"],
    11: ["abnormal"],
    12: ["follow_up"],  # nothing abnormal, but two tasks
    13: ["fever"],  # walked away from a raised temperature
    14: ["fever"],  # staff who were seen out
    16: ["command_refused"],
    17: ["command_refused"],
    18: ["epoch_started"],
    19: ["epoch_started"],
    22: ["fever"],
    23: ["follow_up"],
    25: ["abnormal"],
}


def fault(kind: str, **data: Any) -> dict[str, Any]:
    return {"kind": kind, "abnormal": True, **data}


def kinds(wire: dict[str, Any]) -> list[str]:
    return [str(alert.kind) for alert in classify(wire)]


@pytest.mark.parametrize("wire", golden(), ids=lambda wire: wire["id"].rpartition("/")[2])
def test_every_golden_event_leads_to_what_is_expected_of_it(wire: dict[str, Any]) -> None:
    data = wire["data"]
    assert kinds(wire) == KINDS_OF_GOLDEN.get(data["seq"], [])
    assert bool(kinds(wire)) == (data["abnormal"] or "tasks" in data)


@pytest.mark.parametrize(
    ("data", "kind", "severity"),
    [
        (fever(), AlertKind.FEVER, ALARM),
        (decided("temperature_raised", verdict="retest", stage="undecided"), AlertKind.FEVER, WARNING),
        (decided("status_red"), AlertKind.ABNORMAL_CODE, ALARM),
        (decided("test_positive"), AlertKind.POSITIVE_TEST, ALARM),
        (decided("refused_by_attendant", rule="CH-6"), AlertKind.REFUSAL, WARNING),
        (decided("symptoms"), AlertKind.SYMPTOMS, WARNING),
        (decided("test_missing", rule="TR-3"), AlertKind.RISK_AREA, WARNING),
        (decided("mask_missing"), AlertKind.ABNORMAL, NOTICE),
        (fault("passage.forced"), AlertKind.FORCED_PASSAGE, ALARM),
        (fault("visit.closed", result="forced"), AlertKind.FORCED_PASSAGE, ALARM),
        (fault("device.failed", device="camera"), AlertKind.SENSOR_FAULT, WARNING),
        (fault("fire.alarm", active=True), AlertKind.FIRE, ALARM),
        (fault("anomaly", what="called_back"), AlertKind.ABNORMAL_CODE, ALARM),
        (fault("anomaly", what="records_lost"), AlertKind.ABNORMAL, ALARM),
        (
            fault("command", command="suspend", outcome="refused", reason="expired"),
            AlertKind.COMMAND_REFUSED, WARNING,
        ),
        (
            fault("command", outcome="refused", reason="bad_signature"),
            AlertKind.COMMAND_REFUSED, ALARM,
        ),
        (fault("epoch.started", reason="clone"), AlertKind.EPOCH_STARTED, WARNING),
        (fault("update", version="0.2.0", outcome="rolled_back"), AlertKind.ABNORMAL, WARNING),
        (fault("of.a.later.version"), AlertKind.ABNORMAL, WARNING),
    ],
)  # fmt: skip
def test_each_kind_of_record(data: dict[str, Any], kind: AlertKind, severity: Severity) -> None:
    (alert,) = classify(event(data))
    assert (alert.kind, alert.severity) == (kind, severity)
    assert alert.zh
    assert alert.en


@pytest.mark.parametrize("reason", sorted(CODE_REFUSALS))
def test_every_code_that_is_refused_is_an_abnormal_code(reason: str) -> None:
    assert kinds(event(decided(reason))) == ["abnormal_code"]


def test_what_is_not_abnormal_and_calls_for_nothing_is_no_alert() -> None:
    assert classify(event(decided("temperature_fever", abnormal=False))) == ()


def test_findings_in_favour_of_somebody_are_none_against_them() -> None:
    assert kinds(event(decided("status_red", verdict="admit"))) == ["abnormal"]


def test_one_visit_with_two_troubles_is_two_alerts_the_graver_first_with_the_tasks() -> None:
    first, second = classify(event(decided("symptoms", "temperature_fever", tasks=("CH-3",))))
    assert (first.kind, first.tasks) == (AlertKind.FEVER, ("CH-3",))
    assert (second.kind, second.tasks) == (AlertKind.SYMPTOMS, ())


def test_two_findings_of_one_kind_are_one_alert_with_the_rules_of_both() -> None:
    findings = [
        {"rule": "TR-3", "verdict": "refuse", "reason": "test_missing"},
        {"rule": "AH-6", "verdict": "refuse", "reason": "risk_area"},
    ]
    (alert,) = classify(event(decided() | {"findings": findings}))
    assert alert.rules == ("TR-3", "AH-6")


def test_an_alert_says_whose_it_is_when_it_was_and_by_which_rules() -> None:
    (alert,) = classify(event(fever(), seq=7))
    assert (alert.source, alert.site, alert.gate, alert.epoch, alert.seq) == (
        Source.RECORD, "hall-east", "gate_1", "e1", 7,
    )  # fmt: skip
    assert (alert.at_ms, alert.clock_trusted, alert.rules) == (NOON_MS, True, ("CH-2",))
    assert (alert.visit, alert.policy, alert.tasks) == ("0a1b2c3d-000042", "county-hall", ("CH-3", "CH-4"))


def test_where_a_feverish_visitor_goes_is_said() -> None:
    finding = {"rule": "CH-2", "verdict": "refuse", "reason": "temperature_fever"}
    (alert,) = classify(event(decided() | {"findings": [finding | {"disposition": "isolate_and_call_120"}]}))
    assert "拨打120" in alert.zh
    assert "call 120" in alert.en


def test_a_clock_that_is_not_trusted_is_none_to_measure_by() -> None:
    (alert,) = classify(event(fever(), trusted=False))
    assert not alert.clock_trusted


@pytest.mark.parametrize(
    "time", ["", "yesterday", "2026-11-22T12:00:00", 5, None, "9999-99-99T00:00:00+00:00"]
)
def test_a_time_that_is_none_is_no_time(time: object) -> None:
    (alert,) = classify(event(fever()) | {"time": time})
    assert alert.at_ms is None


PERSONAL = "张三 110101199001011234 13800138000 0123456789abcdef"
FREE_TEXTS = ("problem", "detail", "subject", "device", "what", "command", "reason", "document", "outcome")


@pytest.mark.parametrize(
    "kind", ["visit.decided", "device.failed", "anomaly", "command", "document", "epoch.started", PERSONAL]
)
def test_no_text_of_a_gate_gets_into_an_alert(kind: str) -> None:
    wire = event({"kind": kind, "abnormal": True, **dict.fromkeys(FREE_TEXTS, PERSONAL), "visit": PERSONAL})
    wire["data"]["findings"] = [
        {"rule": PERSONAL, "verdict": "refuse", "reason": PERSONAL, "disposition": PERSONAL}
    ]
    wire["data"]["tasks"] = [PERSONAL]
    for alert in classify(wire):
        said = json.dumps([alert.zh, alert.en, alert.rules, alert.visit, alert.tasks], ensure_ascii=False)
        assert not any(part in said for part in PERSONAL.split())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
KNOWN = [f"hg.{kind}.v1" for kind in rules._TELLERS]
FIELDS = [
    "findings",
    "tasks",
    "device",
    "what",
    "reason",
    "seq",
    "site",
    "visit",
    "policy",
    "clock",
    "outcome",
]


@given(type_=st.sampled_from(KNOWN) | JSON, data=st.dictionaries(st.sampled_from(FIELDS), JSON), time=JSON)
def test_whatever_is_abnormal_is_told_whatever_it_looks_like(
    type_: Any, data: dict[str, Any], time: Any
) -> None:
    found = classify({"type": type_, "time": time, "data": {**data, "abnormal": True}})
    assert found
    assert len({alert.kind for alert in found}) == len(found)  # each has an identity of its own


@given(wire=JSON)
def test_no_json_makes_it_raise(wire: Any) -> None:
    classify(wire if isinstance(wire, dict) else {"data": wire})


def test_a_stored_record_is_told_under_the_identity_of_the_store() -> None:
    (alert,) = of_record(
        StoredRecord("_s", "-g", "e" * 64, 9, record(fever()).body, None, 1, 2, "visit.decided", True)
    )
    assert (alert.site, alert.gate, alert.epoch, alert.seq) == ("_s", "-g", "e" * 64, 9)


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"data":{"abnormal":false}}'])
def test_what_the_store_holds_to_be_abnormal_is_told_though_nobody_can_read_it(body: bytes) -> None:
    (alert,) = of_record(StoredRecord("s", "g", "e", 1, body, None, None, 2, "", True))
    assert (alert.kind, alert.at_ms) == (AlertKind.ABNORMAL, None)


@pytest.mark.parametrize("kind", list(AlarmKind))
def test_each_alarm_of_the_store_is_an_alert_of_the_same_name(kind: AlarmKind) -> None:
    alert = of_alarm(Alarm(7, Suspicion(kind, "s", "g", "e", "went_back", 3, 9, {"name": PERSONAL}), NOON_MS))
    assert (alert.source, alert.seq, str(alert.kind), alert.rules) == (Source.ALARM, 7, str(kind), ("BU-3",))
    assert ": fewer records than before, records 3-9. Next: " in alert.en


def test_every_code_of_the_store_and_of_the_watch_has_words() -> None:
    known = {*store.Code, *watch.Code, schedule.LATE_CODE, UNANSWERED}
    assert known == CODES.keys()
    assert all(all(words) for words in CODES.values())
    alert = of_alarm(Alarm(1, Suspicion(AlarmKind.MISSED, "s", "g", "", "of_later"), NOON_MS))
    assert alert.zh == "漏报：of_later"


def test_a_gate_that_nobody_has_registered_is_not_called_a_liar() -> None:
    alert = of_alarm(Alarm(1, Suspicion(AlarmKind.FALSE, "s", "g", "", store.Code.UNKNOWN_GATE), NOON_MS))
    assert alert.zh.startswith("存疑：闸机未登记")
    assert alert.en.startswith("doubtful: ")


def test_of_a_broken_link_it_is_said_that_nothing_is_lost_and_what_to_do() -> None:
    alert = of_alarm(Alarm(1, Suspicion(AlarmKind.MISSED, "s", "g", "", watch.Code.LOST), NOON_MS))
    assert alert.zh == (
        "漏报：闸机断线。处置：检查网络和电源；断网的闸机照常工作并保存记录，恢复后自动补传，警报自行解除"
    )
    assert alert.en == (
        "missed report: the gate's connection is broken. Next: see to its network and power; a gate that "
        "only lacks its link serves on and sends all later, and the alarm ends by itself"
    )


def test_what_to_do_about_an_alarm_fits_into_a_message() -> None:
    for code in CODES:
        alert = of_alarm(Alarm(1, Suspicion(AlarmKind.MISSED, "s", "g", "", code, 10**6, 10**7), NOON_MS))
        assert 3 * max(len(alert.zh.encode()), len(alert.en.encode())) <= BYTES_MAX, code
