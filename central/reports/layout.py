"""What the printed forms say, the same on paper, in a workbook and in the terminal: facts, notes, tables."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from central.reports.schedule import LATE_CODE
from central.reports.spans import Section
from central.reports.words import Words, clock_time
from gate.core.mode import Mode

Cell = str | int | float | datetime | None
"""Times are local ones, as the heading says which."""

Row = tuple[Cell, ...]
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its title, the heads of its columns, its rows."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


UNCHECKED_NAMED_MAX: Final = 20
"""In the head of a form; the report names them all."""

_SUMMARY: Final[tuple[tuple[str, str], ...]] = (
    ("cases", "people"),
    ("visits", "all"),
    ("direction", "in"),
    ("direction", "out"),
    ("result", "passed"),
    ("result", "not_passed"),
    ("result", "left"),
    ("result", "interrupted"),
    ("result", "unfinished"),
    ("stage", "refused"),
    ("visits", "not_served"),
    ("visits", "referred"),
    ("visits", "confirmed_by_staff"),
    ("visits", "let_in_by_centre"),
    ("visits", "fever"),
    ("visits", "retested"),
    ("visits", "unmeasured"),
    ("code_abnormal", ""),
    ("mask", "missing"),
    ("symptoms", ""),
    ("result", "forced"),
    ("ended_later", "forced"),
    ("forced", "with_visit"),
    ("forced", "nobody"),
    ("device_failed", ""),
    ("fire", "alarms"),
    ("fire", "passages"),
    ("command", ""),
    ("stale", ""),
    ("anomaly", ""),
    ("cases", "incidents"),
    ("records", "all"),
)
"""What a county office asks first; without a word the whole group."""

_HAMPERED: Final = frozenset({Mode.DEGRADED, Mode.SUSPENDED, Mode.FAULT, Mode.EVACUATING})
_SECTIONS: Final = tuple(Section)


@dataclass(frozen=True, slots=True)
class Note:
    """One of the sentences that sum a report up; `good`: there is nothing to look into."""

    name: str
    text: str
    good: bool


def title(document: Document, words: Words) -> str:
    """Return what a report is called."""
    return f"{words('title')} {document['date']} {words.unit(document)}"


def facts(document: Document, words: Words) -> Iterator[tuple[str, str]]:
    """Yield what stands at the head of every form: whose report, of when, by which plans; name and text."""
    yield words("unit"), words.unit(document)
    yield words("level"), words(f"level.{document['level']}")
    yield words("date"), f"{document['date']} ({words.known('zone', document['time_zone'])})"
    yield words("span"), _span(document["from"], document["to"])
    yield words("cut_off"), clock_time(document["cut_off"])
    yield words("since"), clock_time(document["since"])
    yield words("due"), _handed_in(document, words)
    plans = dict.fromkeys(plan["policy"] for plan in document["policies"])
    yield words("policies"), words("comma").join(plans) or words("none")


def notes(document: Document, words: Words) -> tuple[Note, ...]:
    """Return what counts first: who was abnormal, what can be vouched for, what else has happened."""
    gates = document["gates"]
    vouched = bool(gates["all"]) and not gates["not_vouched"]
    checked = bool(_begun(gates)) and not gates["unchecked"]
    left_out = document.get("alarms_left_out", 0)  # older reports do not say
    more = words("alarms_more", count=left_out, all=len(document["alarms"]) + left_out)
    return (
        # That nobody abnormal is known is no good news where something may be missing.
        Note(words("cases"), case_note(document, words), document["zero"] and vouched),
        Note(words("proofs"), vouch_note(document, words), vouched),
        Note(words("incidents"), incident_note(document, words), not document["incidents"]),
        Note(words("checked"), check_note(document, words), checked),
        *([Note(words("alarms"), more, good=False)] if left_out else []),
    )


def heading(document: Document, words: Words) -> Iterator[tuple[str, str]]:
    """Yield facts and notes, and the hash, for a form that has one column for all of them."""
    yield from facts(document, words)
    yield from ((note.name, note.text) for note in notes(document, words))
    yield words("sha256"), document["sha256"]


def _span(begins: str, ends: str) -> str:
    day, until = clock_time(begins)[:10], clock_time(ends)
    return f"{clock_time(begins)} – {until.removeprefix(day).strip()}"


def _handed_in(document: Document, words: Words) -> str:
    handed_in = document["handed_in"]
    if handed_in is None:
        return words("asked_for")
    return f"{clock_time(handed_in['due'])} · {words('late' if handed_in['late'] else 'on_time')}"


def case_note(document: Document, words: Words) -> str:
    """Say how many cases there are, or that there are none: the zero report (GR-2)."""
    if not document["zero"]:
        return _listed(document, words, "cases", "not_zero")
    return words.joined([words("zero"), words("empty")]) if document["empty"] else words("zero")


def incident_note(document: Document, words: Words) -> str:
    """Say how many incidents there are that are about nobody."""
    if not document["incidents"]:
        return words("no_incidents")
    return _listed(document, words, "incidents", "incidents_note")


def _listed(document: Document, words: Words, name: str, said: str) -> str:
    left_out = document[f"{name}_left_out"]
    text = words(said, count=len(document[name]) + left_out)
    return words.joined([text, words("cases_more", count=left_out)]) if left_out else text


def vouch_note(document: Document, words: Words) -> str:
    """Say whether the figures are proved to be complete."""
    gates = document["gates"]
    if not gates["all"]:
        return words("no_gates")
    if not gates["not_vouched"]:
        return words("all_vouched", all=gates["all"])
    return words("not_vouched", count=len(gates["not_vouched"]), all=gates["all"])


def check_note(document: Document, words: Words) -> str:
    """Say whether the sensors of every gate have checked themselves in the day; name those that have not."""
    gates = document["gates"]
    unchecked = [f"{gate['site']}/{gate['gate']}" for gate in gates["unchecked"]]
    if not gates["all"]:
        return words("no_gates")
    begun = _begun(gates)
    if not begun:
        return words("none_begun")
    if not unchecked:
        return words("all_checked", all=begun)
    named = words("comma").join(unchecked[:UNCHECKED_NAMED_MAX])
    more = " …" if unchecked[UNCHECKED_NAMED_MAX:] else ""
    return words("unchecked", count=len(unchecked), all=begun, gates=named + more)


def _begun(gates: Mapping[str, Any]) -> int:
    """Return how many gates owe a check; older reports do not say when a gate began."""
    return int(gates.get("begun", gates["all"]))


def summary(document: Document, words: Words) -> Table:
    """Return the figures that every report begins with, those that count nothing too."""
    rows: list[Row] = []
    for group, word in _SUMMARY:
        counts = [_count(document["totals"][section], group, word) for section in _SECTIONS]
        name = words.count(group, word) if word else words(f"group.{group}")
        rows.append((name, *counts, sum(counts)))
    sections = (words(f"section.{section}") for section in _SECTIONS)
    return Table(words("summary"), (words("figure"), *sections, words("total")), tuple(rows))


def refusals(document: Document, words: Words) -> Table:
    """Return why people were refused or referred, by reason and rule of the plan."""
    refused, referred = (_total(document["totals"], group) for group in ("refused_for", "referred_for"))
    rows = []
    for why in sorted({*refused, *referred}, key=lambda why: (-refused.get(why, 0), why)):
        reason, _, rule = why.partition(" ")
        rows.append((words.reason(reason), rule, refused.get(why, 0), referred.get(why, 0)))
    heads = tuple(words(head) for head in ("reason", "rule", "refused", "referred"))
    return Table(words("refusals"), heads, tuple(rows))


def details(document: Document, words: Words) -> Table:
    """Return everything that was counted at all, group by group."""
    rows: list[Row] = []
    totals = document["totals"]
    for group in totals[Section.DAY]:
        if group in {"refused_for", "referred_for"}:
            continue
        for word, total in _total(totals, group).items():
            counts = [_count(totals[section], group, word) for section in _SECTIONS]
            rows.append((words(f"group.{group}"), words.count(group, word), *counts, total))
    sections = (words(f"section.{section}") for section in _SECTIONS)
    heads = (words("kind"), words("figure"), *sections, words("total"))
    return Table(words("details"), heads, tuple(rows))


def hours(document: Document, words: Words) -> Table:
    """Return people by the hour."""
    heads = ("in", "out", "refused", "abnormal")
    rows = tuple((at(hour["from"]), *(hour[head] for head in heads)) for hour in document["hours"])
    return Table(words("hours"), (words("hour"), *(words(head) for head in heads)), rows)


_OF_GATE: Final[tuple[tuple[str, tuple[tuple[str, str], ...]], ...]] = (
    ("visits", (("visits", "all"),)),
    ("passed", (("result", "passed"),)),
    ("refused", (("stage", "refused"),)),
    ("not_served", (("visits", "not_served"),)),
    ("referred", (("visits", "referred"),)),
    ("fever", (("visits", "fever"),)),
    ("forced", (("result", "forced"), ("ended_later", "forced"), ("forced", ""))),
    ("faults", (("device_failed", ""),)),
    ("abnormal", (("cases", "people"),)),
)
"""Heads, and what each adds up."""


def gates(document: Document, words: Words) -> Table:
    """Return the main figures of each gate, all sections together."""
    rows = []
    for gate in document["by_gate"]:
        hampered = sum(seconds for mode, seconds in gate["modes_s"].items() if mode in _HAMPERED)
        vouched = words("yes" if gate["vouched"] else "no")
        rows.append((gate["site"], gate["gate"], *_main_figures(gate), round(hampered / 60), vouched))
    heads = ("site", "gate", *(head for head, _ in _OF_GATE), "degraded", "vouched")
    return Table(words("gates"), tuple(words(head) for head in heads), tuple(rows))


def units(document: Document, words: Words) -> Table:
    """Return the main figures of each part that reports to this one, where there is more than one."""
    rows = [
        (unit["unit"], *_main_figures(unit), f"{unit['vouched']} / {unit['gates']}")
        for unit in document["units"]
        if len(document["units"]) > 1
    ]
    heads = ("unit", *(head for head, _ in _OF_GATE), "vouched")
    return Table(words("units"), tuple(words(head) for head in heads), tuple(rows))


def doubts(document: Document, words: Words) -> Table:
    """Return by name the gates that cannot be vouched for, and why."""
    rows = [
        (gate["site"], gate["gate"], doubt["epoch"] or "", words.doubt(doubt))
        for gate in document["gates"]["not_vouched"]
        for doubt in gate["doubts"]
    ]
    heads = tuple(words(head) for head in ("site", "gate", "epoch", "why"))
    return Table(words("doubts"), heads, tuple(rows))


def cases(document: Document, words: Words) -> Table:
    """Return the list of names: pseudonym, place and time, and what was the matter (CH-4)."""
    rows = []
    for case in document["cases"]:
        reading = case["temperature_cc"]
        rows.append(
            (
                at(case["at"]),
                f"{case['site']}/{case['gate']}",
                case["subject"],
                words.case(case),
                None if reading is None else reading / 100,
                words.known("disposition", case["disposition"]),
                words.known("result", case["result"]),
                case["seq"],
            )
        )
    heads = ("time", "gate", "person", "what", "temperature", "disposition", "result", "number")
    return Table(words("cases"), tuple(words(head) for head in heads), tuple(rows))


def incidents(document: Document, words: Words) -> Table:
    """Return what was abnormal about nobody: parts that failed, commands not obeyed, ledgers that began."""
    rows = [
        (at(case["at"]), f"{case['site']}/{case['gate']}", words.case(case), case["seq"])
        for case in document["incidents"]
    ]
    heads = ("time", "gate", "what", "number")
    return Table(words("incidents"), tuple(words(head) for head in heads), tuple(rows))


def modes(document: Document, words: Words) -> Table:
    """Return how long the gates were in each mode, in minutes."""
    rows = tuple((words.known("mode", mode), round(s / 60)) for mode, s in document["modes_s"].items())
    return Table(words("modes"), (words("kind"), words("total")), rows)


def alarms(document: Document, words: Words) -> Table:
    """Return the alarms about late, false, concealed and missed records (BU-3)."""
    rows = [
        (
            words.alarm(alarm["kind"], alarm["code"]),
            alarm["site"],
            _about(alarm, words),
            words.code(alarm["code"]),
            _range(alarm["first"], alarm["last"]),
            at(alarm["raised"]),
            words("standing") if alarm["cleared"] is None else at(alarm["cleared"]),
        )
        for alarm in document["alarms"]
    ]
    heads = tuple(words(head) for head in ("kind", "site", "gate", "what", "range", "raised", "cleared"))
    return Table(words("alarms"), heads, tuple(rows))


def proofs(document: Document, words: Words) -> Table:
    """Return what proves each ledger."""
    heads = ("site", "gate", "epoch", "range", "records", "size", "made", "hash", "key", "vouched")
    return Table(
        words("proofs"),
        tuple(words(head) for head in heads),
        tuple(tuple(_proof(shown, words)) for shown in document["proofs"]),
    )


def _about(alarm: Mapping[str, Any], words: Words) -> str:
    """Return whom an alarm is about: a gate, or the unit whose report is late."""
    unit = re.fullmatch(r"level ([123]) (.*)", alarm["gate"]) if alarm["code"] == LATE_CODE else None
    if unit is None:
        return str(alarm["gate"])
    level, name = int(unit[1]), unit[2]
    return f"{words(f'level.{level}')} {words.unit({'level': level, 'unit': name})}"


def width(text: str) -> int:
    """Return how wide a text is; Chinese characters take the room of two letters."""
    return sum(2 if ord(letter) > 0x2E7F else 1 for letter in text)


def at(iso: str) -> datetime:
    """Return an instant of a report as local time without a zone, to the second."""
    return datetime.fromisoformat(iso).replace(tzinfo=None, microsecond=0)


def _proof(shown: Mapping[str, Any], words: Words) -> Iterator[Cell]:
    signed = shown["checkpoint"] or {}
    yield from (shown["site"], shown["gate"], shown["epoch"] or words("none"))
    yield _range(shown["from"], shown["to"])
    yield shown["records"]
    yield signed.get("size")
    yield at(signed["made"]) if signed else None
    yield signed.get("hash", "")
    yield signed.get("public_key", "")
    yield words("yes" if shown["vouched"] else "no")


def _range(first: int | None, last: int | None) -> str:
    return "" if first is None or last is None else f"{first}–{last}"


def _main_figures(part: Mapping[str, Any]) -> list[int]:
    return [
        sum(_count(part["totals"][section], group, word) for section in _SECTIONS for group, word in counted)
        for _, counted in _OF_GATE
    ]


def _count(totals: Mapping[str, Mapping[str, int]], group: str, word: str) -> int:
    counts = totals.get(group, {})
    return counts.get(word, 0) if word else sum(counts.values())


def _total(totals: Mapping[str, Any], group: str) -> dict[str, int]:
    """Return what a group counts in all sections together, without the words that count nothing."""
    total: dict[str, int] = {}
    for section in _SECTIONS:
        for word, count in totals[section].get(group, {}).items():
            total[word] = total.get(word, 0) + count
    return {word: count for word, count in total.items() if count}


TABLES: Final[tuple[Callable[[Document, Words], Table], ...]] = (
    doubts,
    summary,
    cases,
    incidents,
    alarms,
    refusals,
    hours,
    units,
    gates,
    modes,
    details,
    proofs,
)
"""In the order in which the forms have them; one without rows may be left out."""
