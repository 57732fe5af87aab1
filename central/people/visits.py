"""Visits out of records: what was decided of somebody, and how it ended.

A visit may have several records (referred, then authorised, then passed), also in two ledgers when one was
begun in between; its name is unique at its gate. What was decided last counts, and any of them may say who it
was. A passage for which there is no decision has a visit of its own here, without a person.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from sqlalchemy import Connection

from central.people.sightings import (
    Finding,
    Ledger,
    Lost,
    Told,
    When,
    first_stated,
    ledgers,
    naming,
    read,
    read_remarkable,
    retired_in,
    strays,
)
from central.people.subjects import Subject
from gate.core.events import Kind, Result, Stage
from gate.core.evidence import Direction, Person
from gate.core.policy import Band, Verdict

VISIT_MS_MAX: Final = 3_600_000
"""How long a visit can take; an end that comes later was written after a restart of the gate."""

_INSIDE: Final = frozenset({Result.PASSED, Result.FORCED})
_PERHAPS: Final = frozenset({"", Result.INTERRUPTED})


@dataclass(slots=True)
class Visit:
    """One visit. `decided`: what was decided, in order; `closed`: how it ended, None while that is not known.

    `forced`: a passage that nobody had authorised.
    """

    site: str
    gate: str
    epoch: str
    name: str
    decided: list[Told] = field(default_factory=list)
    closed: Told | None = None
    forced: Told | None = None
    opened: Told | None = None

    @property
    def last(self) -> Told | None:
        """What was decided last."""
        return self.decided[-1] if self.decided else None

    @property
    def first(self) -> Told:
        """The record that the visit begins with."""
        return next(
            told for told in (*self.decided[:1], self.opened, self.closed, self.forced) if told is not None
        )

    @property
    def subject(self) -> str:
        """The pseudonym of the person, "" when no code has said it."""
        return next((told.subject for told in reversed(self.decided) if told.subject), "")

    @property
    def person(self) -> str:
        """Visitor, staff, resident or supply."""
        return self.last.person if self.last is not None else str(Person.VISITOR)

    @property
    def direction(self) -> str:
        """The direction, in or out."""
        return self.last.direction if self.last is not None else str(Direction.IN)

    @property
    def verdict(self) -> str:
        """What was decided last; "" where the centre or nobody has let the person pass."""
        return self.last.verdict if self.last is not None else ""

    @property
    def reasons(self) -> tuple[Finding, ...]:
        """What stood against a pass in any of the decisions, each once."""
        against = (one for told in self.decided for one in told.findings if one.verdict != Verdict.ADMIT)
        return tuple(dict.fromkeys(against))

    @property
    def band(self) -> str:
        """The temperature band (`gate.core.policy.Band`); "measured" where nothing says which."""
        return _band(self.last) if self.last is not None else str(Band.UNMEASURED)

    @property
    def measured(self) -> Told | None:
        """The newest decision that rests on a measurement."""
        return next((told for told in reversed(self.decided) if told.measured), None)

    @property
    def result(self) -> str:
        """How it ended; "unfinished" while no record says it."""
        if self.forced is not None:
            return str(Result.FORCED)
        return self.closed.result if self.closed is not None else "unfinished"

    @property
    def abnormal(self) -> bool:
        """True when the plans want it reported."""
        told = (*self.decided, self.closed, self.forced)
        return any(one.abnormal for one in told if one is not None)

    @property
    def passed(self) -> When | None:
        """When the person went through; None when he did not. See `perhaps` for what is not known."""
        if self.forced is not None:
            return self.forced.when
        if self.closed is not None and self.closed.result in _INSIDE:
            return self.closed.when
        if self.perhaps and self.last is not None:
            return self.last.when
        return None

    @property
    def perhaps(self) -> bool:
        """True when the arm was free and no record says whether somebody went through."""
        ended = "" if self.closed is None else self.closed.result
        free = self.last is not None and self.last.stage == Stage.AUTHORISED
        return free and self.forced is None and ended in _PERHAPS

    @property
    def sure(self) -> bool:
        """True when the gate trusted its clock all the while."""
        return all(told.when.sure for told in (*self.decided, self.closed, self.forced) if told is not None)

    def is_of(self, subject: Subject) -> bool:
        """Return whether this person showed a code in it."""
        return any(
            told.subject in subject.names(self.site, told.stated_ms) for told in self.decided if told.subject
        )


_MEASURED: Final = "measured"
_BANDS: Final = {
    "temperature_fever": Band.FEVER,
    "fever_seen_out": Band.FEVER,
    "temperature_raised": Band.RAISED,
    "temperature_uncertain": Band.RAISED,
    "temperature_normal": Band.NORMAL,
}


def _band(told: Told) -> str:
    """Return what the record says, or what follows from its findings where it does not say it."""
    if told.band:
        return told.band
    found = {_BANDS[one.reason] for one in told.findings if one.reason in _BANDS}
    if found:
        return str(next(band for band in _BANDS.values() if band in found))
    return _MEASURED if told.measured else str(Band.UNMEASURED)


def visits_of(read_in: Iterable[tuple[Ledger, Told]]) -> list[Visit]:
    """Put records together into visits, by the time at which they begin."""
    found: dict[tuple[str, str, str], Visit] = {}
    for ledger, told in read_in:
        if told.kind == Kind.COMMAND and not told.visit:
            continue
        # What has no name is one of its own; no visit is called after a place in a ledger.
        name = told.visit or f"{ledger.epoch}/{told.seq}"
        key = (ledger.site, ledger.gate, name)
        visit = found.get(key)
        if visit is None:
            visit = found[key] = Visit(ledger.site, ledger.gate, ledger.epoch, name)
        _add(visit, told)
    for visit in found.values():
        visit.decided.sort(key=lambda told: (told.earliest_ms, told.seq))
    return in_order(found.values())


def in_order(found: Iterable[Visit]) -> list[Visit]:
    """Return visits by the time at which they begin."""
    return sorted(found, key=lambda visit: (visit.first.earliest_ms, visit.site, visit.gate, visit.name))


def _add(visit: Visit, told: Told) -> None:
    match told.kind:
        case Kind.VISIT_DECIDED:
            visit.decided.append(told)
        case Kind.VISIT_CLOSED:
            visit.closed = told
        case Kind.PASSAGE_FORCED:
            visit.forced = told
        case _:
            visit.opened = told


def visits(
    connection: Connection, site: str | None, gate: str | None, from_ms: int, to_ms: int, lost: Lost
) -> list[Visit]:
    """Return the visits that begin in a span, with their ends."""
    wider = read(
        connection, ledgers(connection, site, gate), from_ms - VISIT_MS_MAX, to_ms + VISIT_MS_MAX, lost
    )
    return [visit for visit in visits_of(wider) if _begins_in(visit, from_ms, to_ms)]


def remarkable_visits(
    connection: Connection, site: str | None, from_ms: int, to_ms: int, reasons: Container[str], lost: Lost
) -> list[Visit]:
    """Return those of the `visits` of which a record is remarkable (`sightings.read_remarkable`)."""
    span = (from_ms - VISIT_MS_MAX, to_ms + VISIT_MS_MAX)
    found: list[Visit] = []
    for _, own in groupby(ledgers(connection, site), key=lambda ledger: (ledger.site, ledger.gate)):
        found += visits_of(read_remarkable(connection, own, *span, reasons, lost))
    return [visit for visit in in_order(found) if _begins_in(visit, from_ms, to_ms)]


def visits_of_subject(
    connection: Connection, subject: Subject, site: str | None, from_ms: int, to_ms: int, lost: Lost
) -> list[Visit]:
    """Return one person's visits that begin in a span, with their ends."""
    found: dict[tuple[str, str, str], Visit] = {}
    for ledger in ledgers(connection, site):
        for start_ms, end_ms in _spells(connection, subject, ledger, from_ms, to_ms, lost):
            # Of the whole gate: a visit that a restart has broken off may end in the next ledger.
            of_gate = ledgers(connection, ledger.site, ledger.gate)
            for visit in visits_of(read(connection, of_gate, start_ms, end_ms, Lost())):
                if visit.is_of(subject) and _begins_in(visit, from_ms, to_ms):
                    found[visit.site, visit.gate, visit.name] = visit
    return in_order(found.values())


def _spells(
    connection: Connection, subject: Subject, ledger: Ledger, from_ms: int, to_ms: int, lost: Lost
) -> list[tuple[int, int]]:
    """Return the spans around the records of a ledger in which this person's names stand."""
    spells: list[tuple[int, int]] = []
    seen = sorted(_seen_ms(connection, subject, ledger, from_ms, to_ms, lost))
    for at_ms in seen:
        start_ms, end_ms = at_ms - VISIT_MS_MAX, at_ms + VISIT_MS_MAX
        if spells and spells[-1][1] >= start_ms:
            spells[-1] = (spells[-1][0], end_ms)
        else:
            spells.append((start_ms, end_ms))
    return spells


def _seen_ms(
    connection: Connection, subject: Subject, ledger: Ledger, from_ms: int, to_ms: int, lost: Lost
) -> Iterator[int]:
    """Yield when the records were written, or came, in which one of the names stands that they may have."""
    start_ms, end_ms = from_ms - VISIT_MS_MAX, to_ms + VISIT_MS_MAX
    lost.retired += retired_in(connection, ledger, start_ms, end_ms)
    since_ms = first_stated(connection, ledger, start_ms, end_ms)
    while since_ms is not None:  # from day to day on which there is a record: a gate may state any
        until_ms, names = subject.spell(ledger.site, since_ms, end_ms)
        yield from naming(connection, ledger, since_ms, until_ms, names)
        since_ms = first_stated(connection, ledger, until_ms, end_ms)
    for row in strays(connection, ledger, start_ms, end_ms, _DECIDED):
        if any(name.encode() in row.body for name in subject.names(ledger.site, row.at_ms)):
            yield row.seen_ms if row.at_ms is None else row.at_ms


_DECIDED: Final = (str(Kind.VISIT_DECIDED),)


def _begins_in(visit: Visit, from_ms: int, to_ms: int) -> bool:
    return visit.first.latest_ms >= from_ms and visit.first.earliest_ms < to_ms
