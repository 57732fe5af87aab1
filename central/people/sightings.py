"""What records say of visits and passages, whoever stated it: nothing strange in one stops a question.

A record that cannot be read as one of its kind is counted, not passed over in silence; so is one whose time
is over and whose bytes are gone.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, LargeBinary, and_, func, literal, or_, select, text

from central.people.settings import DAY_MS
from central.reports.tables import OUT_OF_TIME
from central.store.retired import retired_upto
from central.store.succession import in_succession
from central.store.tables import records, streams
from gate.core.codes.model import Travel
from gate.core.events import Kind, Result
from gate.core.evidence import Origin

KINDS: Final = tuple(
    str(kind) for kind in (Kind.VISIT_DECIDED, Kind.VISIT_CLOSED, Kind.PASSAGE_FORCED, Kind.COMMAND)
)
_FORCED: Final = str(Result.FORCED)
_PASSAGE_FORCED: Final = str(Kind.PASSAGE_FORCED)
_RISK_AREA: Final = str(Travel.RISK_AREA)
_KEY_AREA: Final = str(Origin.KEY_AREA)
_WORD_MAX: Final = 64
_FINDINGS_MAX: Final = 64


class When(NamedTuple):
    """When something happened: between two instants (unix ms), which are one where the time is sure."""

    earliest_ms: int
    latest_ms: int

    @property
    def sure(self) -> bool:
        """True when it is one instant."""
        return self.earliest_ms == self.latest_ms


class Finding(NamedTuple):
    """Why, and by which rule of the plan."""

    rule: str
    verdict: str
    reason: str


class Told(msgspec.Struct, frozen=True, gc=False):
    """What one record says, as far as it is asked for here.

    `stated_ms`: by the record itself, None when it states no time. `earliest_ms`, `latest_ms`: see `When`.
    `visit` is "" for a passage without one. `measured`: a temperature was taken. `exposed`: has been in
    a risk area.
    """

    kind: str
    seq: int
    stated_ms: int | None
    earliest_ms: int
    latest_ms: int
    visit: str
    abnormal: bool
    stage: str = ""
    verdict: str = ""
    findings: tuple[Finding, ...] = ()
    subject: str = ""
    person: str = "visitor"
    direction: str = "in"
    band: str = ""
    measured: bool = False
    exposed: bool = False
    result: str = ""

    @property
    def when(self) -> When:
        """When it happened."""
        return When(self.earliest_ms, self.latest_ms)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Whose records are read."""

    id: int
    site: str
    gate: str
    epoch: str
    successor: str = ""


@dataclass(slots=True)
class Lost:
    """Records that should tell something and do not."""

    unreadable: int = 0
    retired: int = 0


class _Code(msgspec.Struct, gc=False):
    subject: str | None = None


class _Taken(msgspec.Struct, gc=False):
    value_cc: int | None = None


class _Evidence(msgspec.Struct, gc=False):
    temperature: list[_Taken] = []
    code: _Code | None = None
    person: str = "visitor"
    direction: str = "in"
    band: str = ""
    at_s: float | None = None
    travel: str = ""
    origin: str = ""


class _Found(msgspec.Struct, gc=False):
    rule: str
    verdict: str
    reason: str


class _Clock(msgspec.Struct, gc=False):
    trusted: bool = False


class _Data(msgspec.Struct, gc=False):
    clock: _Clock
    visit: str | None = None
    stage: str = ""
    verdict: str = ""
    findings: list[_Found] = []
    evidence: _Evidence | None = None
    result: str = ""
    late: bool = False


class _Event(msgspec.Struct, gc=False):
    data: _Data


_event: Final = msgspec.json.Decoder(_Event).decode


def ledgers(connection: Connection, site: str | None = None, gate: str | None = None) -> list[Ledger]:
    """Return the ledgers of a site or gate, or all: by site and gate, each before its successor."""
    asked = select(streams.c.id, streams.c.site, streams.c.gate, streams.c.epoch, streams.c.successor)
    if site is not None:
        asked = asked.where(streams.c.site == site)
    if gate is not None:
        asked = asked.where(streams.c.gate == gate)
    return in_succession(Ledger(*row) for row in connection.execute(asked))


def rows(
    connection: Connection, ledger: Ledger, from_ms: int, to_ms: int, kinds: Sequence[str] = KINDS
) -> Iterator[Any]:
    """Yield the rows of a ledger that may tell of a span (the end excluded), in no order.

    Also those of gates whose clock was wrong, by when they came.
    """
    near = select(*_COLUMNS).where(_near(ledger, from_ms, to_ms), records.c.kind.in_(kinds))
    yield from connection.execute(near)
    yield from strays(connection, ledger, from_ms, to_ms, kinds)


def strays(
    connection: Connection, ledger: Ledger, from_ms: int, to_ms: int, kinds: Sequence[str]
) -> Iterator[Any]:
    """Yield the rows that came in a span and state no time, or one outside of it."""
    # Not by the index on the ledger, hence + 0: SQLite would prefer it and read the whole ledger.
    of_ledger = and_(records.c.stream + 0 == ledger.id, records.c.kind.in_(kinds))
    came = and_(records.c.seen_ms >= from_ms, records.c.seen_ms < to_ms)
    elsewhere = or_(records.c.at_ms.is_(None), records.c.at_ms < from_ms, records.c.at_ms >= to_ms)
    strayed = and_(text(f"({OUT_OF_TIME})"), came, elsewhere)
    yield from connection.execute(select(*_COLUMNS).where(of_ledger, strayed))


def naming(
    connection: Connection, ledger: Ledger, from_ms: int, to_ms: int, names: Iterable[str]
) -> Iterator[int]:
    """Yield the stated times of decisions of a span in which one of these names stands, anywhere.

    The database looks for it: a ledger has many records, and few are of one person.
    """
    place = func.instr if connection.dialect.name == "sqlite" else func.pg_catalog.position
    found = or_(*(place(records.c.body, literal(name.encode(), LargeBinary)) > 0 for name in names))
    decided = records.c.kind == str(Kind.VISIT_DECIDED)
    yield from connection.scalars(
        select(records.c.at_ms).where(_near(ledger, from_ms, to_ms), decided, found)
    )


def first_stated(connection: Connection, ledger: Ledger, from_ms: int, to_ms: int) -> int | None:
    """Return the first time in a span that a record states, None when none does."""
    found = select(records.c.at_ms).where(_near(ledger, from_ms, to_ms)).order_by(records.c.at_ms).limit(1)
    return connection.scalar(found)


def retired_in(connection: Connection, ledger: Ledger, from_ms: int, to_ms: int) -> int:
    """Return how many decisions of a span are retired."""
    gone = and_(
        records.c.kind == str(Kind.VISIT_DECIDED), records.c.seq <= retired_upto(connection, ledger.id)
    )
    return int(connection.scalar(select(func.count()).where(_near(ledger, from_ms, to_ms), gone)) or 0)


def _near(ledger: Ledger, from_ms: int, to_ms: int) -> ColumnElement[bool]:
    return and_(records.c.stream == ledger.id, records.c.at_ms >= from_ms, records.c.at_ms < to_ms)


_COLUMNS: Final = [records.c[name] for name in ("seq", "at_ms", "seen_ms", "kind", "abnormal", "body")]


def told(row: Any, lost: Lost) -> Told | None:
    """Return what a row says; None, and counted, where that cannot be known."""
    data = _data(row, lost)
    return None if data is None else _understood(row, data, lost)


def _data(row: Any, lost: Lost) -> _Data | None:
    if not row.body:
        lost.retired += 1
        return None
    try:
        return _event(row.body).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        lost.unreadable += 1
        return None


def _understood(row: Any, data: _Data, lost: Lost) -> Told | None:
    try:
        return _told(row, data)
    except (OverflowError, ValueError):
        lost.unreadable += 1
        return None


def _told(row: Any, data: _Data) -> Told:
    earliest, latest = _when(row, data)
    said = data.evidence
    if said is None:
        return Told(
            row.kind, row.seq, row.at_ms, earliest, latest, _word(data.visit), row.abnormal,
            result=_word(data.result),
        )  # fmt: skip
    return Told(
        kind=row.kind,
        seq=row.seq,
        stated_ms=row.at_ms,
        earliest_ms=earliest,
        latest_ms=latest,
        visit=_word(data.visit),
        abnormal=row.abnormal,
        stage=_word(data.stage),
        verdict=_word(data.verdict),
        findings=tuple(
            Finding(_word(one.rule), _word(one.verdict), _word(one.reason))
            for one in data.findings[:_FINDINGS_MAX]
        ),
        subject=_word(said.code.subject) if said.code is not None else "",
        person=_word(said.person),
        direction=_word(said.direction),
        band=_word(said.band),
        measured=any(one.value_cc is not None for one in said.temperature),
        exposed=_exposed(said),
    )


def _exposed(said: _Evidence) -> bool:
    return said.travel == _RISK_AREA or said.origin == _KEY_AREA


def _when(row: Any, data: _Data) -> tuple[int, int]:
    """Between what the record states and when it came, where the gate did not trust its clock.

    Nothing happened after it came: a clock that is ahead, or no stated time, leaves the day before that.
    """
    if row.at_ms is None or (not data.clock.trusted and row.at_ms > row.seen_ms):
        return row.seen_ms - DAY_MS, row.seen_ms
    if not data.clock.trusted:
        return max(row.at_ms, 0), row.seen_ms
    if data.late and data.evidence is not None and data.evidence.at_s is not None:
        judged_ms = round(data.evidence.at_s * 1000)
        return (judged_ms if 0 <= row.at_ms - judged_ms <= DAY_MS else row.at_ms), row.at_ms
    return row.at_ms, row.at_ms


def _word(said: str | None) -> str:
    """Return a word as it may be shown: nothing in it can steer a terminal."""
    if not said:
        return ""
    short = said[:_WORD_MAX]
    return short if short.isprintable() else "".join(c if c.isprintable() else "?" for c in short)


def read(
    connection: Connection, of: Iterable[Ledger], from_ms: int, to_ms: int, lost: Lost
) -> Iterator[tuple[Ledger, Told]]:
    """Yield what the records say that may tell of a span, ledger by ledger."""
    for ledger in of:
        for row in rows(connection, ledger, from_ms, to_ms):
            said = told(row, lost)
            if said is not None:
                yield ledger, said


def read_remarkable(
    connection: Connection,
    of: Iterable[Ledger],
    from_ms: int,
    to_ms: int,
    reasons: Container[str],
    lost: Lost,
) -> Iterator[tuple[Ledger, Told]]:
    """Yield like `read`, of the ledgers of one gate, all records of the visits of which one is remarkable.

    That is one that is abnormal, gives one of these reasons, tells of a risk area or of a forced passage.
    """
    others: list[tuple[Ledger, Any, str | None]] = []
    names: set[str | None] = set()
    for ledger in of:
        for row in rows(connection, ledger, from_ms, to_ms):
            data = _data(row, lost)
            if data is None:
                continue
            if not _remarkable(row, data, reasons):
                others.append((ledger, row, data.visit))
            elif (said := _understood(row, data, lost)) is not None:
                names.add(data.visit or None)
                yield ledger, said
    for ledger, row, visit in others:
        if visit and visit in names and (said := told(row, lost)) is not None:
            yield ledger, said


def _remarkable(row: Any, data: _Data, reasons: Container[str]) -> bool:
    if row.abnormal or data.result == _FORCED or row.kind == _PASSAGE_FORCED:
        return True
    for finding in data.findings:
        if finding.reason in reasons:
            return True
    return data.evidence is not None and _exposed(data.evidence)
