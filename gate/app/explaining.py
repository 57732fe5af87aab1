"""A plan for people to read: what the gate judges by which rule and what happens on each side, in words.

Also the whole plan as TOML again, with everything that it takes from the plan that it extends.
"""

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from gate.config import load_policy
from gate.core.evidence import Direction
from gate.core.policy import Policy, TemperatureRequirement, policy_hash
from gate.core.texts import LANGUAGES, reason_text

HASH_DIGITS_SHOWN: Final = 12

Row = tuple[str, ...]
Section = tuple[str, str, Mapping[str, Any]]

# Where a plan is silent its file follows this one.
COMMON_PLAN: Final = "township-routine"

# By section of a policy: what is judged, and what happens on each side. One sentence each.
_SECTIONS_EN: Final = {
    "attendant": (
        "person on duty",
        "vouches for what could not be verified, never for a fever or a bad code",
    ),
    "refusal": ("person on duty", "turns away who does not co-operate: refused"),
    "suspension": ("suspended service", "{guests}: refused until it is resumed"),
    "hours": ("opening hours", "{guests}: pass from {opens} until {closes}; at other times refused"),
    "residents": (
        "residents only",
        "others are refused; exception: person on duty, ID card, {fields}, green code, travel in order",
    ),
    "appointment": (
        "appointment",
        "in its time, used once, booked by {booked_by} on the day before: passes; else refused",
    ),
    "household_pass": (
        "pass",
        (
            "in its hours and with uses left: passes; else refused;"
            " residents leaving without one or coming home late: to the person on duty"
        ),
    ),
    "occupancy": (
        "people inside",
        "up to {people_max}: passes; one more needs the approval of the person on duty",
    ),
    "id_check": ("ID card", "{persons}: the original checked: passes; else to the person on duty"),
    "code": (
        "health code",
        "verified and green: passes; expired: refused until another is shown; else to the person on duty",
    ),
    "code_optional": ("health code", "not required"),
    "code_abnormal": ("abnormal code", "yellow, red, forged or called back: refused"),
    "travel": ("travel code", "known: passes; unknown: to the person on duty"),
    "travel_optional": ("travel code", "not required"),
    "risk_area": (
        "risk area",
        "been there or from there: a negative test of the last {hours} h passes; none, older: refused",
    ),
    "risk_area_never": ("risk area", "been there or from there: refused, tested or not"),
    "positive": ("positive test", "refused, isolation zone, call 120"),
    "test": (
        "test",
        "{persons} coming in: a negative test of the last {hours} h passes; none, older: refused",
    ),
    "symptoms": (
        "symptoms",
        "{refused}: refused{disposition}; any other: to the person on duty",
    ),
    "symptoms_noted": ("symptoms", "whatever is noted goes to the person on duty"),
    "temperature": (
        "temperature",
        "{directions}: {limit}, which decides; not measurable: to the person on duty",
    ),
    "temperature_optional": (
        "temperature",
        "not required; who is measured all the same: {limit}, which decides",
    ),
    "band": ("fever", "the second time {span}: refused{disposition}"),
    "staff": ("staff", "{directions}: measured like everybody; not measured: to the person on duty"),
    "staff_leaving": (
        "staff",
        "on the way out with a fever: to the person on duty, who sees them out",
    ),
    "staff_round": (
        "staff on duty",
        "measured again every {hours} h; overdue: to the person on duty",
    ),
    "mask": (
        "mask",
        "{directions}: worn: passes; none: refused until it is put on; unclear: to the person on duty",
    ),
    "mask_optional": ("mask", "not required"),
    "registration": (
        "registration",
        "{persons} {directions}: {fields} taken: passes; else to the person on duty",
    ),
    "registration_by_id": (
        "registration",
        "without a phone: by ID card, if the person on duty agrees",
    ),
}
_SECTIONS_ZH: Final = {
    "attendant": ("值守人员", "无法核验的项目，可人工核实并确认；确认发热或码异常的，不得放行"),
    "refusal": ("值守人员", "不配合者，由值守人员拒绝进入"),
    "suspension": ("暂停服务", "暂停期间{guests}不得进入，恢复后照常"),
    "hours": ("开放时间", "{guests}：{opens}至{closes}可通行，其余时间不得进入"),
    "residents": (
        "限居民",
        "非居民不得进入；确需进入的，须值守人员同意、核对身份证、登记{fields}、绿码、行程正常",
    ),
    "appointment": ("预约", "前一日{booked_by}前预约、在预约时段内、未用过：通行；否则不得进入"),
    "household_pass": (
        "通行证",
        "在时段内且有剩余次数：通行；否则不得进出；居民无证离开或逾时回家的，转值守人员",
    ),
    "occupancy": ("场内人数", "不超过{people_max}人：通行；超过的，须值守人员批准"),
    "id_check": ("身份证", "{persons}：已核对原件：通行；否则转值守人员"),
    "code": ("健康码", "核验为绿码：通行；过期：出示有效码前不得进入；其他情况转值守人员"),
    "code_optional": ("健康码", "不作要求"),
    "code_abnormal": ("码异常", "黄码、红码、伪造、已吊销：不得进入"),
    "travel": ("行程码", "行程已知：通行；不明：转值守人员"),
    "travel_optional": ("行程码", "不作要求"),
    "risk_area": ("风险地区", "来自或到过：有{hours}小时内阴性证明的通行；没有或过期：不得进入"),
    "risk_area_never": ("风险地区", "来自或到过：不论有无检测，不得进入"),
    "positive": ("检测阳性", "不得进入，转隔离区并拨打120"),
    "test": ("核酸检测", "{persons}进入：有{hours}小时内阴性证明的通行；没有或过期：不得进入"),
    "symptoms": ("症状", "{refused}：不得进入{disposition}；其他症状转值守人员"),
    "symptoms_noted": ("症状", "发现任何症状，转值守人员判断"),
    "temperature": ("体温", "{directions}：{limit}，以复测为准；测不出的转值守人员"),
    "temperature_optional": ("体温", "不作要求；如已测温，{limit}，以复测为准"),
    "band": ("发热", "复测{span}：不得进入{disposition}"),
    "staff": ("工作人员", "{directions}：与众人同样测温；未测的转值守人员"),
    "staff_leaving": ("工作人员", "离开时发热：转值守人员，由其送出"),
    "staff_round": ("在岗人员", "每{hours}小时复测一次；超时转值守人员"),
    "mask": ("口罩", "{directions}：已戴：通行；未戴：戴好前不得通行；看不清：转值守人员"),
    "mask_optional": ("口罩", "不作要求"),
    "registration": ("登记", "{persons}{directions}：已登记{fields}：通行；否则转值守人员"),
    "registration_by_id": ("登记", "没有手机的：凭身份证登记，须值守人员同意"),
}
_WORDS_EN: Final = {
    "visitor": "visitors",
    "staff": "staff",
    "resident": "residents",
    "supply": "suppliers",
    "in": "on the way in",
    "out": "on the way out",
    "both": "both ways",
    "name": "name",
    "id_number": "ID number",
    "household_place": "household place",
    "residence": "residence",
    "phone": "phone",
    "plate_number": "plate number",
    "key_area_contact": "contact with key areas",
    "signature": "signature",
    "fever": "fever",
    "cough": "cough",
    "cold": "cold",
    "breathing_difficulty": "breathing difficulty",
    "airway_infection": "airway infection",
    "none": "",
    "wear_mask": ", put on a mask",
    "observe_at_home": ", observe at home",
    "fever_clinic": ", fever clinic",
    "isolate_and_call_120": ", isolation zone, call 120",
    "guests": "visitors and suppliers",
    "all_guests": "everybody but staff",
    "limit_from": "below {low} °C passes; else measured again",
    "limit_above": "up to {low} °C passes; else measured again",
    "from": "{low} °C and more",
    "from_to": "{low} to {high} °C",
    "above": "above {low} °C",
    "above_to": "above {low} to {high} °C",
    "symptom_free": " and no other symptom",
    "with_symptoms": ", or {raised} with another symptom",
    "comma": ", ",
    "version": "version",
    "gate": "What the gate judges",
    "people": "What people have to do: outside the gate's reach",
    "after": " (after: {occasions})",
    "semicolon": "; ",
}
_WORDS_ZH: Final = {
    "visitor": "访客",
    "staff": "工作人员",
    "resident": "居民",
    "supply": "保供人员",
    "in": "进入",
    "out": "离开",
    "both": "进出",
    "name": "姓名",
    "id_number": "身份证号",
    "household_place": "户籍地",
    "residence": "现住址",
    "phone": "电话",
    "plate_number": "车牌号",
    "key_area_contact": "重点地区接触史",
    "signature": "签名",
    "fever": "发热",
    "cough": "咳嗽",
    "cold": "感冒",
    "breathing_difficulty": "呼吸困难",
    "airway_infection": "呼吸道感染",
    "none": "",
    "wear_mask": "，戴好口罩",
    "observe_at_home": "，居家观察",
    "fever_clinic": "，转发热门诊",
    "isolate_and_call_120": "，转隔离区并拨打120",
    "guests": "访客、保供人员",
    "all_guests": "工作人员以外的人员",
    "limit_from": "低于{low} °C通行；达到或超过的复测一次",
    "limit_above": "不高于{low} °C通行；高于的复测一次",
    "from": "{low} °C及以上",
    "from_to": "{low}至{high} °C",
    "above": "高于{low} °C",
    "above_to": "高于{low}至{high} °C",
    "symptom_free": "且无其他症状",
    "with_symptoms": "，或{raised}且有其他症状",
    "comma": "、",
    "version": "版本",
    "gate": "闸机判断的事项",
    "people": "须由人员落实的事项：闸机职责之外",
    "after": "（遇到：{occasions}）",
    "semicolon": "；",
}
_SECTIONS: Final = {"en": _SECTIONS_EN, "zh": _SECTIONS_ZH}
_WORDS: Final = {"en": _WORDS_EN, "zh": _WORDS_ZH}


def explain(policy: Policy, lang: str) -> str:
    """Return the plan in words of one language (`zh`, `en`): title, what the gate judges, what people do."""
    words = _WORDS[lang]
    title = policy.title_zh if lang == "zh" else policy.title_en
    head = f"{policy.name} · {words['version']} {policy.version} · {short_hash(policy)}"
    order = _order(policy)
    judged = sorted(_judged(policy, lang), key=lambda row: order(row[0]))
    tasks = sorted(_tasks(policy, lang), key=lambda row: order(row[0]))
    lines = [title, head, "", words["gate"], *indented(judged)]
    if tasks:
        lines += ["", words["people"], *indented(tasks)]
    return "\n".join(lines)


def rule_ids(policy: Policy) -> set[str]:
    """Return the ids of all rules that this plan turns on or leaves to people."""
    return {rule for rule, _, _ in _sections(policy)} | {task.rule for task in policy.tasks}


def short_hash(policy: Policy) -> str:
    """Return the first digits of the policy's hash, enough for people to compare."""
    return policy_hash(policy)[:HASH_DIGITS_SHOWN]


def unknown_reasons(policy: Policy) -> list[str]:
    """Return a line for each word after which a task is to be called for, but which no rule ever says."""
    known = LANGUAGES["en"].reasons
    return [
        f"tasks, {task.rule}: after: {word!r} is no reason of a finding"
        for task in policy.tasks
        for word in task.after
        if word not in known
    ]


def aligned(rows: Iterable[Row]) -> list[str]:
    """Return the rows as lines with straight columns, where a Chinese character is two columns wide."""
    table = list(rows)
    widths = [max(map(_columns, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(_padded, row, widths)).rstrip() for row in table]


def indented(rows: Iterable[Row]) -> list[str]:
    """Return aligned lines, two columns in."""
    return [f"  {line}" for line in aligned(rows)]


def as_toml(policy: Policy) -> str:
    """Return the whole policy as TOML that reads back to the same policy and hash."""
    return "\n".join(_toml_lines(asdict(policy))) + "\n"


def _judged(policy: Policy, lang: str) -> Iterator[Row]:
    """Yield rule id, subject and sentence of everything that this plan judges, in the order of the rules."""
    for rule, section, facts in _sections(policy):
        subject, sentence = _SECTIONS[lang][section]
        said = {key: _said(key, value, lang) for key, value in facts.items()}
        yield rule, subject, sentence.format_map(said)


def _sections(policy: Policy) -> Iterator[Section]:
    yield from _gate_sections(policy)
    yield from _paper_sections(policy)
    yield from _body_sections(policy)


def _gate_sections(policy: Policy) -> Iterator[Section]:
    yield policy.refusal_rule, "refusal", {}
    yield policy.attendant_rule, "attendant", {}
    # Where nobody lives, a resident is a visitor like others.
    guests = {"guests": "all_guests" if policy.residents is None else "guests"}
    yield policy.suspension_rule, "suspension", guests
    if (hours := policy.hours) is not None:
        times = {"opens": _clock(hours.opens_min), "closes": _clock(hours.closes_min)}
        yield hours.rule, "hours", guests | times
    if (residents := policy.residents) is not None:
        yield residents.rule, "residents", {"fields": residents.fields}
    if (booking := policy.appointment) is not None:
        yield booking.rule, "appointment", {"booked_by": _clock(booking.booked_by_min)}
    if (held := policy.household_pass) is not None:
        yield held.rule, "household_pass", {}
    yield policy.occupancy.rule, "occupancy", {"people_max": policy.occupancy.people_max}


def _paper_sections(policy: Policy) -> Iterator[Section]:
    if (card := policy.id_check) is not None:
        yield card.rule, "id_check", {"persons": card.persons}
    yield policy.code.rule, _asked("code", required=policy.code.required), {}
    yield policy.code.abnormal_rule, "code_abnormal", {}
    yield policy.travel.rule, _asked("travel", required=policy.travel.required), {}
    risk = policy.risk_area
    yield risk.rule, "risk_area" if risk.enters_tested else "risk_area_never", {"hours": risk.test_age_max_h}
    if (test := policy.test) is not None:
        yield test.rule, "test", {"persons": test.persons, "hours": test.age_max_h}
    yield risk.rule, "positive", {}
    if (form := policy.registration).fields:
        facts = {"persons": form.persons, "directions": form.directions, "fields": form.fields}
        yield form.rule, "registration", facts
        if "phone" in form.fields:
            yield policy.attendant_rule, "registration_by_id", {}


def _body_sections(policy: Policy) -> Iterator[Section]:
    signs, measured = policy.symptoms, policy.temperature
    facts = {"refused": signs.refused, "disposition": signs.disposition}
    yield signs.rule, "symptoms" if signs.refused else "symptoms_noted", facts
    limit = {"directions": measured.directions, "limit": measured}
    yield measured.rule, _asked("temperature", required=measured.required), limit
    for index, band in enumerate(measured.bands):
        yield band.rule, "band", {"span": (measured, index), "disposition": band.disposition}
    if (staff := policy.staff) is not None:
        yield staff.rule, "staff", {"directions": staff.directions}
        if staff.measured_every_s is not None:
            yield staff.rule, "staff_round", {"hours": f"{staff.measured_every_s / 3600:g}"}
        if Direction.OUT in staff.directions:
            yield staff.rule, "staff_leaving", {}
    worn = policy.mask
    yield worn.rule, _asked("mask", required=worn.required), {"directions": worn.directions}


def _asked(section: str, *, required: bool) -> str:
    return section if required else f"{section}_optional"


def _said(key: str, value: Any, lang: str) -> str:
    words = _WORDS[lang]
    if key == "span":
        temperature, index = value
        return _span(temperature, index, words)
    if key == "directions":
        return words["both"] if len(value) == len(Direction) else words[value[0]]
    if key == "limit":
        kind, low = _raised_from(value)
        return words[f"limit_{kind}"].format(low=low)
    if key in {"disposition", "guests"}:
        return words[value]
    if isinstance(value, tuple):
        return words["comma"].join(words[word] for word in value)
    return str(value)


def _span(temperature: TemperatureRequirement, index: int, words: Mapping[str, str]) -> str:
    """Say from where to where a band goes, and whom a band before it has left to it because of symptoms."""
    band, before = temperature.bands[index], temperature.bands[:index]
    raised = _raised_from(temperature)
    kind, low = ("above", _celsius(before[-1].up_to_cc)) if before else raised
    ending = "" if band.up_to_cc is None else "_to"
    said = words[kind + ending].format(low=low, high=_celsius(band.up_to_cc))
    if band.symptom_free:
        return said + words["symptom_free"]
    left = any(earlier.symptom_free for earlier in before)
    return said + (
        words["with_symptoms"].format(raised=words[raised[0]].format(low=raised[1])) if left else ""
    )


def _raised_from(temperature: TemperatureRequirement) -> tuple[str, str]:
    return ("above" if temperature.above else "from"), _celsius(temperature.abnormal_cc)


def _tasks(policy: Policy, lang: str) -> Iterator[Row]:
    words = _WORDS[lang]
    for task in policy.tasks:
        occasions = words["semicolon"].join(reason_text(lang, reason) for reason in task.after)
        when = words["after"].format(occasions=occasions) if task.after else ""
        yield task.rule, (task.zh if lang == "zh" else task.en) + when


def _celsius(value_cc: int | None) -> str:
    return "" if value_cc is None else f"{value_cc / 100:.2f}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _order(policy: Policy) -> Callable[[str], tuple[int, str, int]]:
    """Return the order of rule ids: the plan's own families, then the plan that it follows, then the rest."""
    common = load_policy(COMMON_PLAN)
    own = {_family(rule)[0] for rule in rule_ids(policy) - rule_ids(common)}
    ranks = {_family(common.code.rule)[0]: 1} | dict.fromkeys(own, 0)
    return lambda rule: (ranks.get(_family(rule)[0], 2), *_family(rule))


def _family(rule: str) -> tuple[str, int]:
    """Split CH-12 into CH and 12, so that it stands after CH-2."""
    family, _, number = rule.partition("-")
    return family, int(number) if number.isdecimal() else 0


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - _columns(text))


def _toml_lines(table: Mapping[str, Any], *path: str) -> Iterator[str]:
    """Yield a table: what stands in it alone first, for what follows a heading belongs to that."""
    inner: list[str] = []
    for key, value in table.items():
        place = (*path, key)
        if isinstance(value, dict):
            inner += ["", f"[{'.'.join(place)}]", *_toml_lines(value, *place)]
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
            for part in value:
                inner += ["", f"[[{'.'.join(place)}]]", *_toml_lines(part, *place)]
        elif value is not None:
            yield f"{key} = {_toml_value(value)}"
    yield from inner


def _toml_value(value: Any) -> str:
    """Return numbers, truths, lists and texts as JSON: TOML spells these the same, but for one character."""
    text: str = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")
