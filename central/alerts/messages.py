"""The words of one message, in the language of a role: pure.

Every title begins with the same words, because the robots of DingTalk may be told to pass on only what
contains a keyword. A message is short: the robots of WeCom take 2048 bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from central.alerts.packing import Due, ranges
from central.alerts.rules import GRAVITY, AlertKind, Severity
from central.clock import moment

LINES_MAX: Final = 8  # of what has happened, and as many of what is to be done
BYTES_MAX: Final = 750  # likewise


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to one address."""

    title: str
    body: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of one language around those of the alerts."""

    name: str
    severities: Mapping[Severity, str]
    kinds: Mapping[AlertKind, str]
    several: str
    count: str
    at: str
    between: str
    unsure: str
    escalated: str
    acknowledged: str
    numbers: str
    duties: str
    more: str


KINDS_ZH: Final[Mapping[AlertKind, str]] = {
    AlertKind.FIRE: "火警", AlertKind.FEVER: "体温异常", AlertKind.POSITIVE_TEST: "检测阳性",
    AlertKind.ABNORMAL_CODE: "健康码异常", AlertKind.FORCED_PASSAGE: "强行通过",
    AlertKind.FALSE: "谎报或存疑", AlertKind.CONCEALED: "瞒报", AlertKind.MISSED: "漏报",
    AlertKind.LATE: "迟报",
    AlertKind.REFUSAL: "不配合", AlertKind.SYMPTOMS: "可疑症状", AlertKind.RISK_AREA: "风险地区",
    AlertKind.SENSOR_FAULT: "设备故障", AlertKind.COMMAND_REFUSED: "指令未执行",
    AlertKind.EPOCH_STARTED: "台账启用", AlertKind.ABNORMAL: "异常", AlertKind.FOLLOW_UP: "后续工作",
}  # fmt: skip

_WORDS: Final[Mapping[str, _Words]] = {
    "zh": _Words(
        name="健康闸机",
        severities={Severity.NOTICE: "通知", Severity.WARNING: "警告", Severity.ALARM: "警报"},
        kinds=KINDS_ZH,
        several="{} 条告警",
        count="共 {} 起",
        at="时间 {}",
        between="时间 {} 至 {}",
        unsure="（闸机时钟未校准）",
        escalated="无人确认，升级通知",
        acknowledged="已由 {} 确认",
        numbers="告警编号 {}，请确认",
        duties="后续工作：",
        more="另有 {} 项",
    ),
    "en": _Words(
        name="Health gate",
        severities={Severity.NOTICE: "notice", Severity.WARNING: "warning", Severity.ALARM: "ALARM"},
        kinds={kind: str(kind).replace("_", " ") for kind in AlertKind},
        several="{} alerts",
        count="{} in all",
        at="at {}",
        between="{} to {}",
        unsure=" (the gate's clock is not sure)",
        escalated="Nobody has answered: you are called in",
        acknowledged="Taken on by {}",
        numbers="Alert {}: please acknowledge",
        duties="To be done:",
        more="and {} more",
    ),
}


def word(dues: Sequence[Due], duties: Sequence[tuple[str, str, str]], *, lang: str, zone: tzinfo) -> Message:
    """Return the message about these alerts, at least one; `duties` are open tasks (rule, zh, en)."""
    words = _WORDS[lang]
    severity = max((one.severity for one in dues), key=GRAVITY.__getitem__)
    groups = _groups(dues)
    lines = [] if len(groups) == 1 else [_group_line(words, group) for group in groups]
    if len(groups) == 1:
        lines = _statements(dues, lang)
        if len(dues) > 1:
            lines.insert(0, words.count.format(len(dues)))
    lines = _shortened(words, lines)
    lines.append(_span(words, dues, zone))
    if any(one.escalated for one in dues):
        lines.append(words.escalated)
    if duties:
        said = [f"{rule} {zh if lang == 'zh' else en}" for rule, zh, en in duties]
        lines += [words.duties, *_shortened(words, said)]
    lines.append(_answer(words, dues))
    title = f"{words.name} [{words.severities[severity]}] {_headline(words, groups, len(dues))}"
    return Message(title, "\n".join(lines), severity)


def _groups(dues: Sequence[Due]) -> list[list[Due]]:
    groups: dict[str, list[Due]] = {}
    for one in dues:
        groups.setdefault(one.about, []).append(one)
    return list(groups.values())


def _headline(words: _Words, groups: Sequence[Sequence[Due]], count: int) -> str:
    return words.several.format(count) if len(groups) > 1 else _group_line(words, groups[0])


def _group_line(words: _Words, group: Sequence[Due]) -> str:
    first = group[0]
    times = f" ×{len(group)}" if len(group) > 1 else ""
    return f"{words.kinds[first.kind]} {first.site}/{first.gate}{times}"


def _statements(dues: Sequence[Due], lang: str) -> list[str]:
    said: dict[str, None] = {}
    for one in dues:
        rules = f" ({', '.join(one.rules)})" if one.rules else ""
        said[(one.zh if lang == "zh" else one.en) + rules] = None
    return list(said)


def _shortened(words: _Words, lines: Sequence[str]) -> list[str]:
    """Return as many lines as there is room for, and how many more there are."""
    room, kept = BYTES_MAX, 0
    for line in lines[:LINES_MAX]:
        room -= len(line.encode())
        kept += room >= 0
    left = len(lines) - kept
    return [*lines[:kept], words.more.format(left)] if left else list(lines)


def _span(words: _Words, dues: Iterable[Due], zone: tzinfo) -> str:
    """Say when it happened, by the gates' clocks; by the centre's where a gate says nothing."""
    at = sorted((one.noted_ms if one.event_ms is None else one.event_ms, one.clock_trusted) for one in dues)
    first, last = (moment(ms, zone) for ms, _ in (at[0], at[-1]))
    said = words.at.format(first) if first == last else words.between.format(first, last)
    return said if all(trusted for _, trusted in at) else said + words.unsure


def _answer(words: _Words, dues: Sequence[Due]) -> str:
    if len(dues) == 1 and dues[0].acknowledged_by:
        return words.acknowledged.format(dues[0].acknowledged_by)
    numbers = ranges(sorted(one.alert for one in dues))
    return words.numbers.format(numbers if len(numbers) <= 120 else numbers[:120].rpartition(",")[0] + " …")
