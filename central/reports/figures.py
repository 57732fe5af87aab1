"""Counting: what the records of one gate come to, section by section.

Records go in as they stand in the chain, stream by stream. A visit may have several records (referred, then
authorised, then passed); it counts once, where its first record counts, by what was decided last and how it
ended. A visit that an earlier report has counted is not counted again: only its end is said, under
`ended_later`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from central.reports.cases import (
    NOT_SERVED,
    Case,
    case_of_visit,
    incident,
    is_of_kind,
    is_of_people,
    not_served,
    one_case,
    unread,
)
from central.reports.spans import HOUR_MS, Section, Span
from central.reports.stated import data_of, number, part, parts, plain, word, words
from central.store import StoredRecord
from gate.core.codes.model import Status
from gate.core.events import Kind, Result, Stage
from gate.core.evidence import AttendantWord, Direction, MaskStatus, Person, Symptom
from gate.core.mode import Mode
from gate.core.policy import Disposition, Verdict
from gate.core.rules import CODE_REFUSALS

# How long a visit can take: its records may lie on both sides of midnight.
VISIT_MS_MAX: Final = HOUR_MS

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "cases": ("people", "incidents"),
    "records": ("all", "abnormal", "written_late", "unreadable"),
    "visits": (
        "all",
        "fever",
        "retested",
        "unmeasured",
        "referred",
        "confirmed_by_staff",
        "let_in_by_centre",
        "not_served",
    ),
    "direction": tuple(Direction),
    "person": tuple(Person),
    "verdict": tuple(Verdict),
    "stage": tuple(Stage),
    "result": (*Result, "unfinished"),
    "ended_later": (),
    "refused_for": (),
    "referred_for": (),
    "disposition": tuple(Disposition)[1:],
    "code": (*Status, "none"),
    "code_abnormal": tuple(sorted(CODE_REFUSALS)),
    "mask": tuple(MaskStatus),
    "symptoms": tuple(Symptom),
    "unmeasured": (),
    "stale": (),
    "forced": ("with_visit", "nobody"),
    "device_failed": (),
    "device_recovered": (),
    "device_checked": (),
    "fire": ("alarms", "passages"),
    "service": ("started", "stopped", "first_epoch", "new_epoch"),
    "command": ("done", "refused", "failed"),
    "document": ("accepted",),
    "mode": tuple(Mode),
    "policy": (),
    "anomaly": (),
    "other": (),
}
"""What is counted, and the words that are said also when they count nothing.

`visits` `not_served`: of those refused, who was because the gate serves nobody, no abnormal cases; `cases`
`people`: those in the list of names, `incidents`: all else that was abnormal (a part that failed). `forced`
`with_visit`: after a visit, or when one had hardly begun; who forces the way in a visit counts as its result.
"""

HOURLY: Final = ("in", "out", "refused", "abnormal")

WORDS_MAX: Final = 100
"""Different words of one group that are told apart; what some gate makes up beyond that is `other_words`."""

# What the gate is doing after each of these records; a gate that has stopped does not serve either.
_STOPPED: Final = "stopped"
MODE_AFTER: Final[Mapping[str, str]] = {
    Kind.GATE_STARTED: Mode.SERVING,
    Kind.GATE_STOPPED: _STOPPED,
    Kind.GATE_MODE: "",  # the record says it
}
_FEVER: Final = frozenset({"temperature_fever", "fever_seen_out"})
_OF_VISITS: Final = frozenset({Kind.VISIT_DECIDED, Kind.VISIT_CLOSED})

Counts = Counter[tuple[str, str]]


@dataclass(slots=True)
class Figures:
    """What was counted; figures of several gates add up. `mode_ms`: how long the gates were in each mode."""

    counts: dict[Section, Counts] = field(default_factory=lambda: {section: Counter() for section in Section})
    hours: Counter[tuple[int, str]] = field(default_factory=Counter)
    mode_ms: Counter[str] = field(default_factory=Counter)
    policies: set[tuple[str, str]] = field(default_factory=set)
    cases: list[Case] = field(default_factory=list)
    incidents: list[Case] = field(default_factory=list)

    def add(self, other: "Figures") -> None:
        """Take in the figures of another gate."""
        for section, counts in other.counts.items():
            self.counts[section].update(counts)
        self.hours.update(other.hours)
        self.mode_ms.update(other.mode_ms)
        self.policies.update(other.policies)
        self.cases.extend(other.cases)
        self.incidents.extend(other.incidents)

    def stated(self, section: Section) -> dict[str, dict[str, int]]:
        """Return the counts of a section as a report states them: known words first, then others by name."""
        counts = self.counts[section]
        return {group: dict(_words(counts, group, known)) for group, known in GROUPS.items()}

    @property
    def checked(self) -> bool:
        """True when a part of the gate has looked at itself in this day and found itself in order."""
        counts = self.counts[Section.DAY]
        return any(count for (group, _), count in counts.items() if group == "device_checked")

    @property
    def nothing(self) -> bool:
        """True when there is not one record to report."""
        return not any(counts["records", "all"] for counts in self.counts.values())


def _words(counts: Counts, group: str, known: Iterable[str]) -> Iterator[tuple[str, int]]:
    expected = [str(name) for name in known]
    more = {name: n for (found, name), n in counts.items() if found == group and name not in expected}
    often = sorted(more, key=lambda name: (-more[name], name))
    yield from ((name, counts[group, name]) for name in expected)
    yield from ((name, more[name]) for name in sorted(often[:WORDS_MAX]))
    if often[WORDS_MAX:]:
        yield "other_words", sum(more[name] for name in often[WORDS_MAX:])


@dataclass(slots=True)
class Range:
    """Which records of a ledger are in a report: `first` to `last`; `day_first` is the first of the day."""

    first: int
    last: int = 0
    records: int = 0
    day_first: int | None = None


@dataclass(slots=True)
class _Visit:
    """A visit as far as its records have told; `section` None: an earlier report has counted it."""

    section: Section | None
    at_ms: int
    decided: Mapping[str, Any] | None = None
    referred: Mapping[str, Any] | None = None
    result: str = ""
    retested: bool = False
    by_centre: bool = False
    fever_told: bool = False
    abnormal: StoredRecord | None = None
    abnormal_section: Section | None = None

    @property
    def not_served(self) -> bool:
        """True when somebody was only not served, and took it."""
        return self.result != Result.FORCED and not_served(self.decided or {})


@dataclass(slots=True)
class _Held:
    """What is known of a visit beyond its end: what comes after it may be about the same person.

    `strays`: cases of records that name the visit, and are not of the visit.
    """

    subject: str = ""
    at_ms: int = 0
    case: Case | None = None
    forced: bool = False
    strays: list[Case] = field(default_factory=list)


class Tally:
    """Counts the records of one gate, which come ledger by ledger and by number; `figures` ends it."""

    def __init__(self, span: Span) -> None:
        self.ranges: dict[str, Range] = {}
        self._span = span
        self._found = Figures()
        self._visits: dict[str, _Visit] = {}
        self._held: dict[str, _Held] = {}
        self._modes: list[tuple[int, str, str]] = []

    def count(self, record: StoredRecord) -> None:
        """Take in the next record."""
        if record.seen_ms >= self._span.cut_ms:
            return
        data = data_of(record.body)
        trusted = _is_trusted(record, data)
        section = self._span.section(record.at_ms, record.seen_ms, trusted=trusted)
        if section is not None:
            self._count_record(record, data, section)
        if data is None:
            if section is not None and record.abnormal:
                self._count_unread(record, section)
            return
        if section is not None and record.kind not in _OF_VISITS:
            self._count_other(record, data, section)
        if record.kind in _OF_VISITS or (record.kind == Kind.COMMAND and word(data, "visit")):
            self._count_visit(record, data, section)

    def figures(self, mode_before: str = "", known_ms: int | None = None) -> Figures:
        """Return what was counted; visits without an end are unfinished.

        `mode_before`: what the gate was doing when the day began, "" where that is not known. `known_ms`:
        when it was heard last; that it went on as its last record says is known until then, None: for good.
        """
        for name in list(self._visits):
            self._end(name)
        while self._held:
            self._settle(self._held.pop(next(iter(self._held))))
        self._found.mode_ms = self._time_in_modes(
            mode_before, self._span.until_ms if known_ms is None else known_ms
        )
        return self._found

    def _count_record(self, record: StoredRecord, data: Mapping[str, Any] | None, section: Section) -> None:
        found = self.ranges.setdefault(record.epoch, Range(record.seq))
        found.first, found.last = min(found.first, record.seq), max(found.last, record.seq)
        found.records += 1
        if section is Section.DAY and found.day_first is None:
            found.day_first = record.seq
        counts = self._found.counts[section]
        counts["records", "all"] += 1
        counts["records", "abnormal"] += record.abnormal
        counts["records", "unreadable"] += data is None
        counts["records", "written_late"] += data is not None and data.get("late") is True

    def _count_hour(self, at_ms: int | None, what: str) -> None:
        self._found.hours[((at_ms or 0) - self._span.start_ms) // HOUR_MS, what] += 1

    # --- visits

    def _count_visit(self, record: StoredRecord, data: Mapping[str, Any], section: Section | None) -> None:
        name = word(data, "visit")
        visit = self._visits.get(name)
        if visit is None:
            begun = record.kind != Kind.VISIT_CLOSED
            visit = _Visit(section if begun else None, record.at_ms or record.seen_ms)
            self._visits[name] = visit
        if record.abnormal:
            visit.abnormal, visit.abnormal_section = record, section
        if record.kind != Kind.VISIT_CLOSED:
            visit.fever_told |= section is None and _is_fever(data)
            _note_decision(visit, data, by_centre=record.kind == Kind.COMMAND)
            return
        visit.result = word(data, "result")
        if visit.section is None and section is not None:
            self._found.counts[section]["ended_later", visit.result] += 1
        self._end(name)

    def _end(self, name: str) -> None:
        visit = self._visits.pop(name)
        self._hold(name, visit)
        if visit.section is not None and visit.decided is not None:
            self._found.counts[visit.section].update(_of_visit(visit, visit.decided))
            self._note_policy(visit.decided)
            if visit.section is Section.DAY:
                self._count_visit_hour(visit, visit.decided)

    def _hold(self, name: str, visit: _Visit) -> None:
        """Keep what may be wanted of a visit that has ended: its case, and whose it was."""
        listed = visit.section or visit.abnormal_section
        record = None if listed is None or visit.not_served else visit.abnormal
        if record is None and visit.result == Result.PASSED and name not in self._held:
            return
        if name in self._held and self._held[name].case is not None:
            self._settle(self._held.pop(name))  # a name that a gate gives twice hides nobody
        held = self._held.setdefault(name, _Held())
        decided = visit.decided or {}
        held.subject = word(part(part(decided, "evidence"), "code"), "subject")
        held.forced = visit.result == Result.FORCED and visit.abnormal is not None
        if record is None or listed is None:
            return
        held.case = case_of_visit(record, listed, decided, visit.result or "unfinished")
        held.at_ms = visit.at_ms if visit.section is Section.DAY else held.case.at_ms
        if visit.section is None and _is_fever(decided) and not visit.fever_told:
            self._found.counts[listed]["visits", "fever"] += 1  # found only after the report that counted it

    def _settle(self, held: _Held) -> None:
        """List whoever a visit, and what came after it, tells of: one person, once."""
        strays = [case for case in held.strays if not (held.forced and case.kind == Kind.PASSAGE_FORCED)]
        for case in strays:
            if case.kind == Kind.PASSAGE_FORCED:
                self._found.counts[case.section]["forced", "with_visit"] += 1
        cases = strays if held.case is None else [held.case, *strays]
        if cases:
            case = one_case(cases, held.subject)
            self._list(case, case.at_ms if held.case is None else held.at_ms)

    def _list(self, case: Case, at_ms: int) -> None:
        self._found.cases.append(case)
        self._found.counts[case.section]["cases", "people"] += 1
        if case.section is Section.DAY:
            self._count_hour(at_ms, "abnormal")

    def _note_policy(self, data: Mapping[str, Any]) -> None:
        if "policy" in data:
            self._found.policies.add((word(data, "policy"), word(data, "policy_hash")))

    def _count_visit_hour(self, visit: _Visit, decided: Mapping[str, Any]) -> None:
        direction = word(part(decided, "evidence"), "direction", Direction.IN)
        if visit.result in {Result.PASSED, Result.FORCED}:
            self._count_hour(visit.at_ms, direction)
        if decided.get("stage") == Stage.REFUSED:
            self._count_hour(visit.at_ms, "refused")

    # --- everything else

    def _count_other(self, record: StoredRecord, data: Mapping[str, Any], section: Section) -> None:
        counts = self._found.counts[section]
        counted = _of_record(record.kind, data)
        if counted is not None:
            counts[counted] += 1
        if record.kind == Kind.FIRE_ALARM:
            counts["fire", "passages"] += max(0, number(data, "passages") or 0)
        if record.kind == Kind.GATE_STARTED:
            self._note_policy(data)
        if is_of_people(record.kind, data, abnormal=record.abnormal):
            self._count_stray(incident(record, section, data), _visit_named(data))
        elif record.abnormal:
            self._add_incident(incident(record, section, data))
        if record.kind in MODE_AFTER and section is Section.DAY and record.at_ms is not None:
            before = word(data, "previous") if record.kind == Kind.GATE_MODE else ""
            self._modes.append((record.at_ms, before, MODE_AFTER[record.kind] or word(data, "mode")))

    def _count_stray(self, case: Case, visit: str) -> None:
        """Take in a record about somebody that is not of a visit, but may name one."""
        if visit:
            self._held.setdefault(visit, _Held()).strays.append(case)
        else:
            self._list(case, case.at_ms)

    def _count_unread(self, record: StoredRecord, section: Section) -> None:
        """Take in an abnormal record that nobody can read: by its kind it is about somebody, or not."""
        case = unread(record, section)
        if is_of_kind(record.kind):
            self._list(case, case.at_ms)
        else:
            self._add_incident(case)

    def _add_incident(self, case: Case) -> None:
        self._found.incidents.append(case)
        self._found.counts[case.section]["cases", "incidents"] += 1

    def _time_in_modes(self, mode: str, known_ms: int) -> Counter[str]:
        spent: Counter[str] = Counter()
        since_ms = self._span.start_ms
        for at_ms, before, after in sorted(self._modes, key=lambda change: change[0]):
            spent[mode or before or "unknown"] += at_ms - since_ms
            since_ms, mode = at_ms, after
        if self._found.nothing and not mode:
            return spent
        known_ms = min(max(known_ms, since_ms), self._span.until_ms)
        spent[mode or "unknown"] += known_ms - since_ms
        spent["unknown"] += self._span.until_ms - known_ms
        return +spent  # without the modes that took no time


def _is_trusted(record: StoredRecord, data: Mapping[str, Any] | None) -> bool:
    """Say whether the time of a record is believed; of one that nobody can read, when it came no earlier."""
    if data is None:
        return record.at_ms is not None and record.at_ms <= record.seen_ms
    return part(data, "clock").get("trusted") is True


def _visit_named(data: Mapping[str, Any]) -> str:
    """Return the visit that a record names which is not of the visit, "" without one."""
    return word(data, "visit") or word(data, "detail").partition(":")[0]


def _is_fever(decided: Mapping[str, Any]) -> bool:
    return any(word(found, "reason") in _FEVER for found in parts(decided, "findings"))


def _note_decision(visit: _Visit, data: Mapping[str, Any], *, by_centre: bool) -> None:
    if by_centre:  # the command's own record is the authorisation of the passage that it allows
        visit.by_centre = True
        data = {**(visit.decided or {}), "stage": Stage.AUTHORISED, "verdict": Verdict.ADMIT}
    visit.decided = data
    if data.get("stage") == Stage.REFERRED:
        visit.referred = data
    visit.retested |= any(step.get("verdict") == Verdict.RETEST for step in parts(data, "steps"))


def _of_visit(visit: _Visit, decided: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield all that one visit counts for."""
    evidence = part(decided, "evidence")
    yield "visits", "all"
    yield "direction", word(evidence, "direction", Direction.IN)
    yield "person", word(evidence, "person", Person.VISITOR)
    yield "verdict", word(decided, "verdict")
    yield "stage", word(decided, "stage")
    yield "result", visit.result or "unfinished"
    yield from _of_judgement(visit, decided)
    yield from _of_evidence(evidence)


def _of_judgement(visit: _Visit, decided: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if _is_fever(decided):
        yield "visits", "fever"
    if visit.retested:
        yield "visits", "retested"
    if visit.by_centre:
        yield "visits", "let_in_by_centre"
    if visit.referred is not None:
        yield "visits", "referred"
        yield from (("referred_for", why) for why in _reasons(visit.referred, Verdict.REFER))
    if decided.get("stage") == Stage.REFUSED:
        why = _reasons(decided, Verdict.REFUSE)
        if visit.not_served:
            yield "visits", "not_served"
            why = {reason for reason in why if reason.partition(" ")[0] in NOT_SERVED}
        yield from (("refused_for", reason) for reason in why)
    disposition = word(decided, "disposition", Disposition.NONE)
    if disposition != Disposition.NONE:
        yield "disposition", disposition


def _of_evidence(evidence: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if evidence.get("attendant") == AttendantWord.CONFIRMED:
        yield "visits", "confirmed_by_staff"
    failures = [
        word(taken, "unmeasured") for taken in parts(evidence, "temperature") if "unmeasured" in taken
    ]
    if failures:
        yield "visits", "unmeasured"
        yield "unmeasured", failures[-1]
    code = part(evidence, "code")
    yield "code", word(code, "status", "none")
    if word(code, "reason") in CODE_REFUSALS:
        yield "code_abnormal", word(code, "reason")
    yield "mask", word(evidence, "mask", MaskStatus.UNKNOWN)
    yield from (("symptoms", symptom) for symptom in words(evidence, "symptoms"))
    yield from (("stale", document) for document in words(evidence, "stale"))


def _reasons(decided: Mapping[str, Any], verdict: Verdict) -> set[str]:
    """Return reason and rule, with a space between, of the findings that led to a verdict."""
    return {
        f"{word(found, 'reason')} {word(found, 'rule')}"
        for found in parts(decided, "findings")
        if found.get("verdict") == verdict
    }


def _of_record(kind: str, data: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what a record that is not about a visit counts for."""
    if kind == Kind.FIRE_ALARM:
        return ("fire", "alarms") if data.get("active") is True else None
    if kind == Kind.PASSAGE_FORCED:  # of one that names a visit it depends on how that has ended
        return None if word(data, "visit") else ("forced", "nobody")
    if kind == Kind.EPOCH_STARTED:
        return "service", "new_epoch" if part(data, "previous") else "first_epoch"
    group, said = _COUNTED.get(kind, ("other", ""))
    return group, _SERVICE.get(kind) or word(data, said) or plain(kind)


_COUNTED: Final[Mapping[str, tuple[str, str]]] = {
    Kind.DEVICE_FAILED: ("device_failed", "device"),
    Kind.DEVICE_RECOVERED: ("device_recovered", "device"),
    Kind.DEVICE_CHECKED: ("device_checked", "device"),
    Kind.GATE_STARTED: ("service", ""),
    Kind.GATE_STOPPED: ("service", ""),
    Kind.GATE_MODE: ("mode", "mode"),
    Kind.DOCUMENT: ("document", "outcome"),
    Kind.COMMAND: ("command", "outcome"),
    Kind.POLICY_ADOPTED: ("policy", "policy"),
    Kind.ANOMALY: ("anomaly", "what"),
}
"""The group that a kind of record counts in, and the field that holds the word."""

_SERVICE: Final[Mapping[str, str]] = {
    Kind.GATE_STARTED: "started",
    Kind.GATE_STOPPED: "stopped",
}
