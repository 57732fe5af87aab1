"""What the store has to say for the report of a span: records, ledgers, keys, alarms.

Everything is read in one consistent view, so that figures and proofs speak of the same instant.
"""

import heapq
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, exists, func, not_, or_, select, text

from central.reports.figures import MODE_AFTER, VISIT_MS_MAX
from central.reports.proofs import LedgerView, Statement, needed_ms
from central.reports.scopes import Scope
from central.reports.spans import Span
from central.reports.stated import data_of, word
from central.reports.tables import OUT_OF_TIME
from central.store import Code, GateKey, Store, StoredRecord, Trust
from central.store.engine import reading
from central.store.succession import in_succession
from central.store.tables import alarms, checkpoints, receipts, records, streams
from gate.core.chain import genesis
from gate.core.delivery import Checkpoint, Why
from gate.core.signed import SignedError

_BACK_MAX: Final = 5000
"""So many records are looked through, back from the day, for what the gate was doing when it began."""

AGAINST: Final = frozenset(
    {
        Code.ALTERED,
        Code.CHECKPOINT_DIFFERS,
        Code.WENT_BACK,
        Code.UNANNOUNCED_EPOCH,
        Code.CUT_TAIL,
        Code.OLD_EPOCH_GOES_ON,
    }
)
"""Alarms with which nobody can vouch for a ledger until somebody has looked. Others, such as a forged
checkpoint, say something of whoever sent it, and nothing against what the gate has proved."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One row of the streams, as far as a report needs it."""

    id: int
    site: str
    gate: str
    epoch: str
    first_ms: int
    linked: int
    proved: int
    top: int
    head: int
    heard_ms: int | None
    ended: int | None
    ended_hash: bytes | None
    successor: str
    conflicts: int


@dataclass(frozen=True, slots=True)
class AlarmSeen:
    """One alarm that was raised before the cut-off of a report."""

    kind: str
    site: str
    gate: str
    epoch: str
    code: str
    first: int | None
    last: int | None
    raised_ms: int
    cleared_ms: int | None
    began_ms: int
    """Since when there has been what it was raised for, where its evidence says so (a gate that has been
    silent since); else when it was raised."""


class View:
    """One consistent view of the store, for the report of one span and scope; made by `viewed`."""

    def __init__(self, connection: Connection, keys: Sequence[GateKey], span: Span, scope: Scope) -> None:
        self._connection = connection
        self._span = span
        self._scope = scope
        self._keys = [key for key in keys if scope.has(key.site, key.gate)]
        self.streams = self._streams()
        self.alarms = self._alarms()

    def registered(self) -> set[tuple[str, str]]:
        """Return the gates that had a key on that day or have got one since: of these something is said."""
        return self._with_key(self._span.start_ms, self._span.cut_ms)

    def expected(self) -> set[tuple[str, str]]:
        """Return the gates that had a key on that day: of these something has to come."""
        return self._with_key(self._span.start_ms, self._span.until_ms)

    def records(self) -> Iterator[tuple[Stream, StoredRecord]]:
        """Yield the records that can matter, by ledger and number: of each gate in the order of writing."""
        span = self._span
        near = and_(
            records.c.at_ms >= min(span.since_ms, span.start_ms) - VISIT_MS_MAX,
            records.c.at_ms < span.until_ms + VISIT_MS_MAX,
        )
        strayed = and_(
            text(f"({OUT_OF_TIME})"),
            records.c.seen_ms >= span.since_ms,
            records.c.seen_ms < span.until_ms,
            or_(records.c.at_ms.is_(None), not_(near)),
        )
        streams_by_id = {stream.id: stream for stream in self.streams}
        # The first goes by ledger and time; the sum keeps SQLite from doing so with the second.
        by_time = self._ordered(and_(self._in_scope(records.c.stream), near))
        by_arrival = self._ordered(and_(self._in_scope(records.c.stream + 0), strayed))
        found = heapq.merge(by_time, by_arrival, key=lambda row: (row.stream, row.seq))
        # Ledgers come by number, which is the order of arrival; a gate's successor may have arrived first.
        out_of_order = self._out_of_order()
        held: list[tuple[Stream, StoredRecord]] = []
        for row in found:
            stream = streams_by_id[row.stream]
            told = stream, _record(stream, row)
            if (stream.site, stream.gate) in out_of_order:
                held.append(told)
            else:
                yield told
        place = {stream.id: number for number, stream in enumerate(self.streams)}
        yield from sorted(held, key=lambda told: (place[told[0].id], told[1].seq))

    def ledger(self, stream: Stream, last: int) -> LedgerView:
        """Return how a ledger stands; `last` is the highest of its records in the report."""
        missing = self._missing(stream)
        statement = self._statement(stream, last)
        return LedgerView(
            site=stream.site,
            gate=stream.gate,
            epoch=stream.epoch,
            linked=stream.linked,
            proved=stream.proved,
            top=stream.top,
            head=stream.head,
            heard_ms=stream.heard_ms,
            known=(stream.site, stream.gate) in self._with_key(self._span.cut_ms, self._span.cut_ms),
            successor=stream.successor,
            agrees=self._agrees(stream),
            conflicts=stream.conflicts,
            missing=missing,
            suspicions=self._suspicions(stream),
            statement=statement,
            receipt=self._receipt(stream, 0 if statement is None else statement.size),
        )

    def newest_before(self, stream: Stream) -> int:
        """Return the number of the ledger's newest record of before the day, 0 when it had none yet."""
        ours = (records.c.stream == stream.id, records.c.at_ms < self._span.start_ms)
        newest = select(records.c.seq).where(*ours).order_by(records.c.at_ms.desc()).limit(1)
        return self._connection.scalar(newest) or 0

    def mode_before(self, stream: Stream, seq: int) -> str:
        """Return what the gate was doing before this record of the ledger, "" when that is not known."""
        asked = (
            select(records.c.kind, records.c.body)
            .where(records.c.stream == stream.id, records.c.seq.between(seq - _BACK_MAX, seq - 1))
            .where(records.c.kind.in_(list(MODE_AFTER)))
            .order_by(records.c.seq.desc())
            .limit(1)
        )
        row = self._connection.execute(asked).first()
        if row is None:
            return ""
        return MODE_AFTER[row.kind] or word(data_of(row.body) or {}, "mode")

    def _with_key(self, from_ms: int, before_ms: int) -> set[tuple[str, str]]:
        return {
            (key.site, key.gate)
            for key in self._keys
            if key.registered_ms < before_ms and (key.revoked_ms is None or key.revoked_ms >= from_ms)
        }

    def _streams(self) -> list[Stream]:
        asked = select(*(streams.c[name] for name in Stream.__dataclass_fields__)).where(
            streams.c.first_ms < self._span.cut_ms
        )
        found = (Stream(*row) for row in self._connection.execute(asked))
        return in_succession(stream for stream in found if self._scope.has(stream.site, stream.gate))

    def _out_of_order(self) -> set[tuple[str, str]]:
        """Return the gates whose ledgers have not arrived in the order in which they were written."""
        return {
            (new.site, new.gate)
            for old, new in pairwise(self.streams)
            if (old.site, old.gate) == (new.site, new.gate) and old.id > new.id
        }

    def _in_scope(self, stream: ColumnElement[int]) -> ColumnElement[bool]:
        if self._scope.level == 1:
            return stream.in_(select(streams.c.id).where(streams.c.first_ms < self._span.cut_ms))
        return stream.in_([known.id for known in self.streams])

    def _ordered(self, wanted: ColumnElement[bool]) -> Iterator[Any]:
        columns = ("stream", "seq", "body", "hash", "at_ms", "seen_ms", "kind", "abnormal")
        asked = select(*(records.c[name] for name in columns)).where(
            wanted, records.c.seen_ms < self._span.cut_ms
        )
        return iter(self._connection.execute(asked.order_by(records.c.stream, records.c.seq)))

    def _alarms(self) -> list[AlarmSeen]:
        columns = ("kind", "site", "gate", "epoch", "code", "first", "last", "raised_ms", "cleared_ms")
        asked = (
            select(*(alarms.c[name] for name in columns), alarms.c.evidence)
            .where(alarms.c.raised_ms < self._span.cut_ms)
            .where(or_(alarms.c.cleared_ms.is_(None), alarms.c.cleared_ms >= self._span.since_ms))
            .order_by(alarms.c.id)
        )
        found = map(_alarm_seen, self._connection.execute(asked))
        return [alarm for alarm in found if self._scope.has(alarm.site, alarm.gate)]

    def _suspicions(self, stream: Stream) -> tuple[str, ...]:
        cut_ms = self._span.cut_ms
        return tuple(
            sorted(
                alarm.code
                for alarm in self.alarms
                if alarm.code in AGAINST
                and (alarm.site, alarm.gate) == (stream.site, stream.gate)
                and alarm.epoch in {"", stream.epoch}
                and (alarm.cleared_ms is None or alarm.cleared_ms >= cut_ms)
            )
        )

    def _missing(self, stream: Stream) -> int:
        known = max(stream.head, stream.top, stream.ended or 0)
        if known <= stream.linked:
            return 0
        parked = self._connection.execute(
            select(func.count())
            .select_from(records)
            .where(records.c.stream == stream.id, records.c.seq > stream.linked)
        ).scalar_one()
        # When every record is here, one still waits for its attachment.
        return max(known - stream.linked - int(parked), 1)

    def _agrees(self, stream: Stream) -> bool | None:
        if stream.ended is None:
            return None
        return stream.ended <= stream.proved and self._hash_at(stream, stream.ended) == stream.ended_hash

    def _hash_at(self, stream: Stream, seq: int) -> bytes | None:
        if seq == 0:
            return genesis(stream.epoch)
        asked = select(records.c.hash).where(records.c.stream == stream.id, records.c.seq == seq)
        found = self._connection.execute(asked).scalar()
        return None if found is None else bytes(found)

    def _statement(self, stream: Stream, last: int) -> Statement | None:
        """Return the checkpoint to vouch with: the first after a day that is over, or the newest in time."""
        over = self._span.over
        order = (checkpoints.c.size, checkpoints.c.id)
        asked = (
            select(checkpoints.c.came_ms, checkpoints.c.message)
            .where(checkpoints.c.stream == stream.id, checkpoints.c.trust == str(Trust.TRUSTED))
            .where(checkpoints.c.size.between(last if over else 0, stream.proved))
            .where(checkpoints.c.came_ms >= needed_ms(self._span), self._was_said(stream))
            .order_by(*(order if over else (column.desc() for column in order)))
        )
        with self._connection.execute(asked) as rows:
            for row in rows:
                found = self._stated(stream, row)
                if found is not None and found.made_ms >= needed_ms(self._span):
                    return found
        return None

    def _was_said(self, stream: Stream) -> ColumnElement[bool]:
        """Of each size the first and the last checkpoint are kept: between them the ledger stood still."""
        before = checkpoints.alias()
        said = select(before.c.id).where(
            before.c.stream == stream.id,
            before.c.size == checkpoints.c.size,
            before.c.came_ms < self._span.cut_ms,
        )
        return or_(checkpoints.c.came_ms < self._span.cut_ms, exists(said))

    def _stated(self, stream: Stream, row: Any) -> Statement | None:
        message = bytes(row.message)
        key = self._key_of(stream, message)
        if key is None:
            return None
        try:
            said = Checkpoint.opened(message, (key,))
        except SignedError:
            return None
        here = (said.site, said.gate, said.epoch) == (stream.site, stream.gate, stream.epoch)
        # How far a backlog has been sent says nothing of what is behind it.
        if not here or said.why is Why.COUNT or said.hash != self._hash_at(stream, said.size):
            return None
        made_ms = min(said.at_ms, row.came_ms) if said.clock_trusted else row.came_ms
        return Statement(said.size, said.hash, made_ms, row.came_ms, message, key)

    def _key_of(self, stream: Stream, message: bytes) -> bytes | None:
        kid = message.rpartition(b"\n")[2][:8].decode("ascii", errors="replace")
        mine = (key for key in self._keys if (key.site, key.gate) == (stream.site, stream.gate))
        return next((key.public_key for key in mine if key.kid == kid), None)

    def _receipt(self, stream: Stream, size: int) -> bytes | None:
        """Return the first receipt that covers so many records, or the newest."""
        of_stream = select(receipts.c.message).where(receipts.c.stream == stream.id)
        covering = of_stream.where(receipts.c.upto >= size).order_by(receipts.c.day).limit(1)
        newest = of_stream.order_by(receipts.c.day.desc()).limit(1)
        for asked in (covering, newest):
            found = self._connection.execute(asked).scalar()
            if found is not None:
                return bytes(found)
        return None


@contextmanager
def viewed(store: Store, span: Span, scope: Scope) -> Iterator[View]:
    """Give a view of the store as it stands now. Raises StoreError."""
    keys = store.gates()
    with reading(store.engine) as connection:
        yield View(connection, keys, span, scope)


def _alarm_seen(row: Any) -> AlarmSeen:
    said = row._asdict()
    began_ms = _began_ms(said.pop("evidence"), row.raised_ms)
    return AlarmSeen(**said, began_ms=began_ms)


def _began_ms(evidence: str, raised_ms: int) -> int:
    """Return since when there has been what an alarm was raised for, as far as its evidence says."""
    try:
        stated = json.loads(evidence)
    except (ValueError, RecursionError):
        return raised_ms
    # A gate that has stopped in order was not expected to be heard until somebody missed it.
    if not isinstance(stated, dict) or stated.get("stopped_ms") is not None:
        return raised_ms
    since_ms = stated.get("since_ms", stated.get("heard_ms"))
    return min(raised_ms, since_ms) if isinstance(since_ms, int) else raised_ms


def _record(stream: Stream, row: Any) -> StoredRecord:
    return StoredRecord(
        site=stream.site,
        gate=stream.gate,
        epoch=stream.epoch,
        seq=row.seq,
        body=bytes(row.body),
        hash=None if row.hash is None else bytes(row.hash),
        at_ms=row.at_ms,
        seen_ms=row.seen_ms,
        kind=row.kind,
        abnormal=row.abnormal,
    )
