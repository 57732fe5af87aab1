"""What a record calls for: pure functions from a wire event, or an alarm of the store, to alerts.

Every record that says of itself that it is abnormal leads to at least one alert, also one of a kind that is
not known here (TR-2, CO-4, BU-3). Whatever the JSON, nothing is raised.

No alert holds a name, a pseudonym, a measured value or free text of the gate (AL-2): its text is made of the
words below and of what `_word` lets through.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from central.alerts.codes import ONLY_DOUBTFUL, code_words
from central.store.model import Alarm, AlarmKind, StoredRecord
from gate.core.commands import Refusal, is_version

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_UNSAID: Final = "?"
LISTED_MAX: Final = 16  # rules and tasks of one record: a plan has no more, a hostile gate may say more


class Severity(StrEnum):
    """How much an alert matters, least first."""

    NOTICE = "notice"
    WARNING = "warning"
    ALARM = "alarm"


GRAVITY: Final = {severity: rank for rank, severity in enumerate(Severity)}


class AlertKind(StrEnum):
    """What has happened, gravest first."""

    FIRE = "fire"
    FEVER = "fever"
    POSITIVE_TEST = "positive_test"
    ABNORMAL_CODE = "abnormal_code"
    FORCED_PASSAGE = "forced_passage"
    FALSE = "false"
    CONCEALED = "concealed"
    MISSED = "missed"
    LATE = "late"
    REFUSAL = "refusal"
    SYMPTOMS = "symptoms"
    RISK_AREA = "risk_area"
    SENSOR_FAULT = "sensor_fault"
    COMMAND_REFUSED = "command_refused"
    EPOCH_STARTED = "epoch_started"
    ABNORMAL = "abnormal"
    FOLLOW_UP = "follow_up"


class Source(StrEnum):
    """Where an alert comes from: a record of a gate, or the store's own log of alarms."""

    RECORD = "record"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that somebody has to be told; (source, site, gate, epoch, seq, kind) is its identity.

    `seq`: the record's number, or that of the alarm in the store's log. `at_ms`: unix milliseconds of the
    event, None where it says none; a measure of delay only if `clock_trusted`. `rules`: plan rules behind it.
    `visit`, `policy`, `tasks`: what is left to be done, by rule of that plan (CH-3, CH-4, CH-5).
    `replayed`: the id of the command that the gate has refused because it had come before.
    """

    source: Source
    site: str
    gate: str
    epoch: str
    seq: int
    kind: AlertKind
    severity: Severity
    zh: str
    en: str
    at_ms: int | None
    clock_trusted: bool = False
    rules: tuple[str, ...] = ()
    visit: str = ""
    policy: str = ""
    tasks: tuple[str, ...] = ()
    replayed: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """What an event means, before it is known whose it is."""

    kind: AlertKind
    zh: str
    en: str
    severity: Severity = Severity.WARNING
    rules: tuple[str, ...] = ()
    replayed: str = ""


# What a finding against somebody means, by its reason (gate.core.rules).
_REASONS: Final[Mapping[str, tuple[AlertKind, Severity, str, str]]] = {
    "temperature_fever": (AlertKind.FEVER, Severity.ALARM, "体温异常", "fever, measured twice"),
    "fever_seen_out": (AlertKind.FEVER, Severity.ALARM, "体温异常，已送出", "fever, seen out by staff"),
    "temperature_raised": (AlertKind.FEVER, Severity.WARNING, "体温偏高未复测", "raised, left untested"),
    "test_positive": (AlertKind.POSITIVE_TEST, Severity.ALARM, "核酸检测阳性", "positive test"),
    "status_red": (AlertKind.ABNORMAL_CODE, Severity.ALARM, "健康码红码", "red health code"),
    "status_yellow": (AlertKind.ABNORMAL_CODE, Severity.ALARM, "健康码黄码", "yellow health code"),
    "bad_signature": (AlertKind.ABNORMAL_CODE, Severity.ALARM, "健康码系伪造", "forged health code"),
    "revoked": (AlertKind.ABNORMAL_CODE, Severity.ALARM, "健康码已被撤销", "health code called back"),
    "refused_by_attendant": (AlertKind.REFUSAL, Severity.WARNING, "不配合，被劝离", "turned away by staff"),
    "symptoms": (AlertKind.SYMPTOMS, Severity.WARNING, "有可疑症状", "symptoms"),
    "risk_area": (AlertKind.RISK_AREA, Severity.WARNING, "来自风险地区", "from a risk area"),
    "test_missing": (AlertKind.RISK_AREA, Severity.WARNING, "须核酸检测而无检测", "no test where one is due"),
    "test_too_old": (AlertKind.RISK_AREA, Severity.WARNING, "核酸检测已过期", "test too old"),
}  # fmt: skip

_DISPOSITIONS: Final[Mapping[str, tuple[str, str]]] = {
    "observe_at_home": ("居家观察", "observe at home"),
    "fever_clinic": ("送发热门诊", "to the fever clinic"),
    "isolate_and_call_120": ("隔离并拨打120", "isolate and call 120"),
}

# What the store's own alarms mean.
_ALARMS: Final[Mapping[AlarmKind, tuple[AlertKind, Severity, str, str]]] = {
    AlarmKind.LATE: (AlertKind.LATE, Severity.WARNING, "迟报", "late report"),
    AlarmKind.FALSE: (AlertKind.FALSE, Severity.ALARM, "谎报", "false report"),
    AlarmKind.CONCEALED: (AlertKind.CONCEALED, Severity.ALARM, "瞒报", "concealed report"),
    AlarmKind.MISSED: (AlertKind.MISSED, Severity.WARNING, "漏报", "missed report"),
}

# A command that nobody known has signed, or that comes a second time, is an attack until shown otherwise.
_FORGED: Final = frozenset({
    Refusal.UNKNOWN_KEY, Refusal.BAD_SIGNATURE, Refusal.REPLAYED, Refusal.RETAINED, Refusal.MISADDRESSED,
})  # fmt: skip


def classify(event: Mapping[str, Any]) -> tuple[Alert, ...]:
    """Return what a wire event calls for, gravest first; nothing for a plain one. Total, raises nothing.

    The tasks of a visit stand on the first alert.
    """
    data = _mapping(event.get("data"))
    tasks = tuple(dict.fromkeys(_words(data.get("tasks"))))
    found = _found(_type(event), data) if data.get("abnormal") is True else ()
    if not found and tasks:
        found = (_Found(AlertKind.FOLLOW_UP, "有后续工作", "follow-up work", Severity.NOTICE),)
    alerts = [_alert(event, data, what) for what in _gravest_first(found)]
    return tuple([replace(alert, tasks=tasks) for alert in alerts[:1]] + alerts[1:])


def of_record(record: StoredRecord) -> tuple[Alert, ...]:
    """Return what a stored record calls for, under the identity by which the store knows it.

    A record that the store holds to be abnormal is told in any case, also when its body cannot be read here.
    """
    found = classify(_mapping(_parsed(record.body)))
    if record.abnormal and not found:
        found = classify({"type": record.kind, "data": {"abnormal": True}})
    return tuple(
        replace(alert, site=record.site, gate=record.gate, epoch=record.epoch, seq=record.seq)
        for alert in found
    )


def of_alarm(alarm: Alarm) -> Alert:
    """Return the alert for an alarm of the store's log; its time is the centre's own."""
    about = alarm.about
    kind, severity, zh, en = _ALARMS[about.kind]
    code, span = _word(about.code), _span(about.first, about.last)
    if code in ONLY_DOUBTFUL:
        zh, en = "存疑", "doubtful"
    words = code_words(code)
    zh, en = f"{zh}：{words.zh}", f"{en}: {words.en}"
    if span:
        zh, en = f"{zh}，记录 {span}", f"{en}, records {span}"
    if words.to_do_en:
        zh, en = f"{zh}。处置：{words.to_do_zh}", f"{en}. Next: {words.to_do_en}"
    return Alert(
        Source.ALARM, about.site, about.gate, about.epoch, alarm.id, kind, severity, zh, en,
        alarm.raised_ms, clock_trusted=True, rules=("BU-3",),
    )  # fmt: skip


def own_repeat(alert: Alert) -> Alert:
    """Return the alert for a refused repetition that was the centre's own: nobody attacks."""
    zh, en = (
        "指令重复送达，系本中心重发，未再执行",
        "a command came twice, both times from here; not obeyed again",
    )
    return replace(alert, severity=Severity.NOTICE, zh=zh, en=en)


def _span(first: int | None, last: int | None) -> str:
    ends = [str(end) for end in dict.fromkeys((first, last)) if end is not None]
    return "-".join(ends)


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _found(kind: str, data: Mapping[str, Any]) -> tuple[_Found, ...]:
    teller = _TELLERS.get(kind)
    found = teller(data) if teller else ()
    return found or (_Found(AlertKind.ABNORMAL, f"异常记录 {kind}", f"abnormal record {kind}"),)


def _visit_decided(data: Mapping[str, Any]) -> tuple[_Found, ...]:
    by_kind: dict[AlertKind, _Found] = {}
    rules: tuple[str, ...] = ()
    for finding in _against(data.get("findings")):
        rules = tuple(dict.fromkeys(rules + _words([finding.get("rule")])))
        told = _REASONS.get(_text(finding.get("reason")))
        if told is not None:
            what = _of_finding(finding, *told)
            by_kind[what.kind] = _graver(by_kind.get(what.kind), what)
    turned_away = _Found(AlertKind.ABNORMAL, "未获放行", "turned away", Severity.NOTICE, rules[:LISTED_MAX])
    return tuple(by_kind.values()) or (turned_away,)


def _of_finding(finding: Mapping[str, Any], kind: AlertKind, severity: Severity, zh: str, en: str) -> _Found:
    way = _DISPOSITIONS.get(_text(finding.get("disposition")))
    zh, en = (f"{zh}，{way[0]}", f"{en}, {way[1]}") if way else (zh, en)
    return _Found(kind, zh, en, severity, _words([finding.get("rule")]))


def _graver(known: _Found | None, new: _Found) -> _Found:
    if known is None:
        return new
    first, second = sorted((known, new), key=lambda what: -GRAVITY[what.severity])
    rules = tuple(dict.fromkeys(first.rules + second.rules))[:LISTED_MAX]
    return _Found(first.kind, first.zh, first.en, first.severity, rules)


def _forced(_data: Mapping[str, Any]) -> tuple[_Found, ...]:
    return (_Found(AlertKind.FORCED_PASSAGE, "强行通过", "forced passage", Severity.ALARM),)


def _device_failed(data: Mapping[str, Any]) -> tuple[_Found, ...]:
    device = _word(data.get("device"))
    return (_Found(AlertKind.SENSOR_FAULT, f"设备故障：{device}", f"part failed: {device}"),)


def _fire(_data: Mapping[str, Any]) -> tuple[_Found, ...]:
    return (_Found(AlertKind.FIRE, "火警，闸机已开放", "fire alarm, the gate is open", Severity.ALARM),)


def _document(data: Mapping[str, Any]) -> tuple[_Found, ...]:
    what, outcome = _word(data.get("document")), _word(data.get("outcome"))
    return (_Found(AlertKind.ABNORMAL, f"当日文件 {what}：{outcome}", f"document {what}: {outcome}"),)


def _anomaly(data: Mapping[str, Any]) -> tuple[_Found, ...]:
    what = _word(data.get("what"))
    if what == "called_back":
        zh, en = "放行后健康码被撤销", "health code called back after the passage"
        return (_Found(AlertKind.ABNORMAL_CODE, zh, en, Severity.ALARM, ("TR-2",)),)
    severity = Severity.ALARM if what == "records_lost" else Severity.WARNING
    return (_Found(AlertKind.ABNORMAL, f"异常情况：{what}", f"anomaly: {what}", severity),)


def _command(data: Mapping[str, Any]) -> tuple[_Found, ...]:
    command, outcome, why = (_word(data.get(name)) for name in ("command", "outcome", "reason"))
    severity = Severity.ALARM if why in _FORGED else Severity.WARNING
    zh, en = f"指令未执行：{command}，{outcome}，{why}", f"command not obeyed: {command}, {outcome}, {why}"
    replayed = _optional(data.get("id")) if why == Refusal.REPLAYED else ""
    return (_Found(AlertKind.COMMAND_REFUSED, zh, en, severity, replayed=replayed),)


def _update(data: Mapping[str, Any]) -> tuple[_Found, ...]:
    version = _text(data.get("version"))
    version = version if is_version(version) else _UNSAID
    back = data.get("outcome") == "rolled_back"
    zh = f"升级至 {version}：{'未成功，已退回原版本' if back else '未执行'}"
    en = f"update to {version}: {'undone, the version before serves' if back else 'refused'}"
    return (_Found(AlertKind.ABNORMAL, zh, en),)


def _epoch_started(data: Mapping[str, Any]) -> tuple[_Found, ...]:
    size = _mapping(data.get("previous")).get("size")
    zh, en = "闸机启用第一本台账", "the gate has begun its first ledger"
    if isinstance(size, int):
        zh = f"闸机另起台账，前一台账 {size} 条"
        en = f"the gate has begun another ledger after one of {size} records"
    return (_Found(AlertKind.EPOCH_STARTED, zh, en, rules=("BU-3",)),)


_TELLERS: Final = {
    "visit.decided": _visit_decided,
    "visit.closed": _forced,  # abnormal only when the visit ended so
    "passage.forced": _forced,
    "device.failed": _device_failed,
    "fire.alarm": _fire,
    "document": _document,
    "anomaly": _anomaly,
    "command": _command,
    "epoch.started": _epoch_started,
    "update": _update,
}


def _alert(event: Mapping[str, Any], data: Mapping[str, Any], what: _Found) -> Alert:
    seq = data.get("seq")
    return Alert(
        Source.RECORD, _word(data.get("site")), _word(data.get("gate")), _word(data.get("epoch")),
        seq if isinstance(seq, int) and not isinstance(seq, bool) else 0,
        what.kind, what.severity, what.zh, what.en, _at_ms(event.get("time")),
        clock_trusted=_mapping(data.get("clock")).get("trusted") is True,
        rules=what.rules, visit=_optional(data.get("visit")), policy=_optional(data.get("policy")),
        replayed=what.replayed,
    )  # fmt: skip


def _gravest_first(found: tuple[_Found, ...]) -> list[_Found]:
    order = {kind: rank for rank, kind in enumerate(AlertKind)}
    return sorted(found, key=lambda what: (-GRAVITY[what.severity], order[what.kind]))


def _type(event: Mapping[str, Any]) -> str:
    """Return the kind of an event of version 1; whatever else it says, as far as it is a word."""
    words = _word(event.get("type"))
    return words.removeprefix("hg.").removesuffix(".v1")


def _at_ms(text: object) -> int | None:
    try:
        at = datetime.fromisoformat(_text(text))
        return (at - _UNIX_EPOCH) // _MS if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _against(findings: object) -> Iterable[Mapping[str, Any]]:
    """Yield the findings that speak against somebody; like those that call for tasks at the gate."""
    for finding in map(_mapping, findings if isinstance(findings, list) else ()):
        if finding.get("verdict") != "admit" or _text(finding.get("disposition")) not in {"", "none"}:
            yield finding


def _mapping(item: object) -> Mapping[str, Any]:
    return item if isinstance(item, dict) else {}


def _text(item: object) -> str:
    return item if isinstance(item, str) else ""


def _word(item: object) -> str:
    """Return an identifier of the wire, or "?": no sentence, and so no name, passes through here."""
    return item if isinstance(item, str) and _WORD.fullmatch(item) else _UNSAID


def _optional(item: object) -> str:
    return "" if item is None else _word(item)


def _words(items: object) -> tuple[str, ...]:
    listed = items if isinstance(items, list) else []
    return tuple(item for item in listed[:LISTED_MAX] if isinstance(item, str) and _WORD.fullmatch(item))
