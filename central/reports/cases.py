"""The lists that go with a report: who was abnormal, when, where, and in a few words (CH-4); and what was.

People stand in theirs by their pseudonym; whoever may know more asks the centre with a reason. Parts that
failed, commands that were not obeyed, ledgers that began: such incidents stand in a list of their own. Who is
turned away because the gate serves nobody (CO-7, TH-6) is abnormal in nothing, and is in no list. Of a record
that was marked abnormal, and that nobody can read any more, its kind decides in which list it stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from central.reports.spans import Section, Span
from central.reports.stated import TEXT_MAX, number, part, parts, plain, word
from central.store import StoredRecord
from gate.core.codes.model import Travel
from gate.core.events import Kind, Result
from gate.core.evidence import Direction, Origin, Person
from gate.core.policy import Band, Disposition, Verdict
from gate.core.rules import CODE_REFUSALS

CASES_MAX: Final = 5000
"""In one list of one report; how many more there are is said."""

NOT_SERVED: Final = frozenset({"suspended", "closed_hours"})
"""Reasons for which a gate turns everybody away."""

_OF_SOMEBODY: Final = frozenset(
    {
        *("temperature_fever", "fever_seen_out", "temperature_raised", "temperature_uncertain"),
        *("symptoms", "symptoms_noted", "refused_by_attendant", *map(str, CODE_REFUSALS)),
        *("risk_area", "test_positive", "test_missing", "test_too_old", "test_unverified"),
    }
)
"""Reasons that say something of somebody, whether or not the gate serves.

A test is asked of whoever comes from a risk area; in most plans that is all that is found of them.
"""

_HOT: Final = frozenset({Band.RAISED, Band.FEVER})


@dataclass(frozen=True, slots=True)
class Case:
    """One visit, or one incident without a visitor, that the plans want reported.

    `at_ms`: by the gate's clock, or when it came where that is not to be believed. `reasons`: pairs of reason
    and rule id. `temperature_cc`: centi-degrees Celsius, None when nothing was measured. `facts`: of an
    incident, what its record says: field and word, or the words of a part or of the gate itself.
    """

    section: Section
    at_ms: int
    site: str
    gate: str
    epoch: str
    seq: int
    kind: str
    subject: str = ""
    person: str = ""
    direction: str = ""
    reasons: tuple[tuple[str, str], ...] = ()
    temperature_cc: int | None = None
    disposition: str = ""
    result: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def order(self) -> tuple[int, str, str, str, int]:
        """Cases stand in order of time, and in the same order each time."""
        return self.at_ms, self.site, self.gate, self.epoch, self.seq

    def stated(self, span: Span) -> dict[str, Any]:
        """Return the case as a report states it."""
        return {
            "section": str(self.section),
            "at": span.local(self.at_ms),
            "site": self.site,
            "gate": self.gate,
            "epoch": self.epoch,
            "seq": self.seq,
            "kind": self.kind,
            "subject": self.subject,
            "person": self.person,
            "direction": self.direction,
            "reasons": [{"reason": reason, "rule": rule} for reason, rule in self.reasons],
            "temperature_cc": self.temperature_cc,
            "disposition": self.disposition,
            "result": self.result,
            "facts": dict(self.facts),
        }


def not_served(decided: Mapping[str, Any]) -> bool:
    """Say whether somebody was turned away only because the gate serves nobody now (CO-7, TH-6).

    What else is missing then counts for nothing: nobody was asked to show it.
    """
    against = {
        word(found, "reason") for found in parts(decided, "findings") if found.get("verdict") != Verdict.ADMIT
    }
    refused = decided.get("verdict") == Verdict.REFUSE
    somebody = bool(against & _OF_SOMEBODY) or _seen_in(part(decided, "evidence"))
    return refused and bool(against & NOT_SERVED) and not somebody


def _seen_in(evidence: Mapping[str, Any]) -> bool:
    """Say whether what was seen of somebody speaks for itself, whatever a plan makes of it."""
    exposed = evidence.get("travel") == Travel.RISK_AREA or evidence.get("origin") == Origin.KEY_AREA
    return exposed or word(evidence, "band") in _HOT


def unread(record: StoredRecord, section: Section) -> Case:
    """Build the case, or the incident (see `is_of_kind`), of an abnormal record that nobody can read."""
    lost = "unreadable" if record.body else "retired"
    return Case(*_place(record, section), kind=plain(record.kind), facts=(("record", lost),))


def is_of_kind(kind: str) -> bool:
    """Say by the kind alone whether a record is about somebody."""
    return kind in {Kind.VISIT_DECIDED, Kind.VISIT_CLOSED, Kind.PASSAGE_FORCED}


def is_of_people(kind: str, data: Mapping[str, Any], *, abnormal: bool) -> bool:
    """Say whether a record that is not about a visit is a case of somebody all the same."""
    called_back = kind == Kind.ANOMALY and word(data, "what") == "called_back"
    return kind == Kind.PASSAGE_FORCED or (abnormal and called_back)


def case_of_visit(record: StoredRecord, section: Section, decided: Mapping[str, Any], result: str) -> Case:
    """Build the case of a visit from its abnormal record, what was decided last, and how it ended."""
    evidence = part(decided, "evidence")
    disposition = word(decided, "disposition")
    return Case(
        *_place(record, section),
        kind=record.kind,
        subject=word(part(evidence, "code"), "subject"),
        person=word(evidence, "person", Person.VISITOR) if decided else "",
        direction=word(evidence, "direction", Direction.IN) if decided else "",
        reasons=tuple(
            (word(found, "reason"), word(found, "rule"))
            for found in parts(decided, "findings")
            if found.get("verdict") != Verdict.ADMIT
        ),
        temperature_cc=_temperature_cc(evidence),
        disposition="" if disposition == Disposition.NONE else disposition,
        result=result,
    )


def one_case(cases: list[Case], subject: str) -> Case:
    """Return the one case of what happened in and after a visit; `cases`: its own before any other."""
    first = cases[0]
    forced = next((case for case in cases if case.kind == Kind.PASSAGE_FORCED), None)
    if forced is not None and first.kind == Kind.ANOMALY:
        first = replace(forced, facts=first.facts)
    facts = {name: said for case in cases for name, said in case.facts} | dict(first.facts)
    result = first.result if forced is None else str(Result.FORCED)
    return replace(first, subject=first.subject or subject, result=result, facts=tuple(facts.items()))


def incident(record: StoredRecord, section: Section, data: Mapping[str, Any]) -> Case:
    """Build the case of an abnormal record that is not about a visit."""
    told = [(name, word(data, name, longest=TEXT_MAX)) for name in _TOLD.get(record.kind, ())]
    if record.kind == Kind.EPOCH_STARTED:
        told.append(("previous", word(part(data, "previous"), "epoch")))
    facts = tuple((name, said) for name, said in told if said)
    return Case(*_place(record, section), kind=plain(record.kind), facts=facts)


_TOLD: Final[Mapping[str, tuple[str, ...]]] = {
    Kind.DEVICE_FAILED: ("device", "problem"),
    Kind.DOCUMENT: ("document", "outcome"),
    Kind.ANOMALY: ("what", "detail"),
    Kind.COMMAND: ("command", "outcome", "reason"),
    Kind.EPOCH_STARTED: ("reason",),
}


def _place(record: StoredRecord, section: Section) -> tuple[Section, int, str, str, str, int]:
    at_ms = record.seen_ms if section is Section.UNSURE or record.at_ms is None else record.at_ms
    return section, at_ms, record.site, record.gate, record.epoch, record.seq


def _temperature_cc(evidence: Mapping[str, Any]) -> int | None:
    taken = [number(reading, "value_cc") for reading in parts(evidence, "temperature")]
    return next((value for value in reversed(taken) if value is not None), None)
