"""What a gate has signed, held against what has arrived.

A checkpoint (size, hash) is a claim. Where the chain of what arrived has the same hash at that size, all up
to there is proved, for good. Where it has another one, what is not proved yet is cast out into `conflicts`
and asked for again; nothing is thrown away. Each claim may cast out once: two devices that sign for one
ledger would otherwise do it for ever.

Only what is proved is believed about other ledgers as well: the first record of a new one says which ledger
it follows and how that ended. Ledgers stand in the order that they state themselves, in whatever order they
come in; only where one does not say whom it follows, arrival decides, and an alarm says so. That waits until
the oldest ledger of each line has spoken: records that are still on their way may explain the rest.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, select, update

from central.store import streams as rows_of
from central.store.alarm_log import raise_alarm
from central.store.model import Alarm, AlarmKind, Code, Suspicion, Trust
from central.store.reading import Name, announced, is_name
from central.store.streams import Stream, hash_at, insert_new, locked
from central.store.tables import checkpoints, conflicts, records
from gate.core.chain import link

_AT_ONCE: Final = 1000


@dataclass(slots=True)
class Work:
    """What one transaction has locked, changed and found."""

    connection: Connection
    streams: dict[Name, Stream]
    now_ms: int
    changed: set[Name] = field(default_factory=set)
    advanced: set[Name] = field(default_factory=set)
    wanted_again: set[Name] = field(default_factory=set)
    raised: list[Alarm] = field(default_factory=list)

    def suspect(
        self,
        kind: AlarmKind,
        stream: Stream,
        code: Code,
        first: int | None = None,
        last: int | None = None,
        **evidence: Any,
    ) -> None:
        """Raise an alarm about a stream, unless it stands."""
        about = Suspicion(kind, stream.site, stream.gate, stream.epoch, code, first, last, evidence)
        self.suspect_gate(about)

    def suspect_gate(self, about: Suspicion) -> None:
        """Raise an alarm, unless it stands."""
        alarm = raise_alarm(self.connection, about, self.now_ms)
        if alarm is not None:
            self.raised.append(alarm)

    def family(self, stream: Stream) -> list[Stream]:
        """Return the other ledgers of this gate, oldest first; all of them are locked."""
        own = (stream.site, stream.gate)
        others = [one for one in self.streams.values() if (one.site, one.gate) == own and one is not stream]
        return sorted(others, key=lambda one: one.id)

    def save(self) -> None:
        """Write the rows of the streams that have changed."""
        rows_of.save(self.connection, [self.streams[name] for name in sorted(self.changed)])


def link_on(work: Work, stream: Stream) -> None:
    """Link what is parked behind `linked`, as far as it is whole."""
    while stream.top > stream.linked:
        digests = list(_next_links(work.connection, stream))
        if not digests:
            return
        first = stream.linked + 1
        set_hashes(work.connection, stream.id, enumerate(digests, first))
        stream.linked, stream.linked_hash = stream.linked + len(digests), digests[-1]
        work.changed.add(stream.name)


def _next_links(connection: Connection, stream: Stream) -> Iterator[bytes]:
    parked = connection.execute(
        select(records.c.seq, records.c.body, records.c.sealed)
        .where(
            records.c.stream == stream.id,
            records.c.seq > stream.linked,
            records.c.seq <= stream.linked + _AT_ONCE,
        )
        .order_by(records.c.seq)
    ).all()
    here = rows_of.attached(connection, stream.id, [row.seq for row in parked if row.sealed is not None])
    digest = stream.linked_hash
    for expected, row in enumerate(parked, stream.linked + 1):
        if row.seq != expected or (row.sealed is not None and (row.seq, bytes(row.sealed)) not in here):
            return
        digest = link(digest, row.body)
        yield digest


def set_hashes(connection: Connection, stream_id: int, hashes: Iterable[tuple[int, bytes]]) -> None:
    """Note the hashes of records (by number) that were parked until now."""
    found = [(digest, stream_id, seq) for seq, digest in hashes]
    if not found:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("UPDATE records SET hash = ? WHERE stream = ? AND seq = ?", found)
    else:
        connection.exec_driver_sql("UPDATE records SET hash = %s WHERE stream = %s AND seq = %s", found)


def prove(work: Work, stream: Stream) -> None:
    """Hold every claim that can be checked by now against the chain, the farthest first."""
    contradicting: list[Row[Any]] = []
    for claim in _claims(work.connection, stream):
        if hash_at(work.connection, stream, claim.size) == claim.hash:
            _advance(work, stream, claim.size, bytes(claim.hash))
            break
        if not claim.contradicted:
            contradicting.append(claim)
    _prove_by_successor(work, stream)  # which may reach farther than any claim that has come
    for claim in contradicting:
        work.connection.execute(
            update(checkpoints).where(checkpoints.c.id == claim.id).values(contradicted=True)
        )
    if contradicting and stream.linked > stream.proved:
        _cast_out(work, stream, contradicting[0])


def _claims(connection: Connection, stream: Stream) -> list[Row[Any]]:
    if stream.head <= stream.proved:
        return []
    reachable = (
        select(checkpoints)
        .where(
            checkpoints.c.stream == stream.id,
            checkpoints.c.trust == str(Trust.TRUSTED),
            checkpoints.c.size > stream.proved,
            checkpoints.c.size <= stream.linked,
        )
        .order_by(checkpoints.c.size.desc(), checkpoints.c.id.desc())
    )
    return list(connection.execute(reachable.limit(_AT_ONCE)))


def _prove_by_successor(work: Work, stream: Stream) -> None:
    """Take the word of the ledger that followed; it is proved itself."""
    ended, digest = stream.ended, stream.ended_hash
    if ended is None or digest is None or not stream.proved < ended <= stream.linked:
        return
    if _compare_with_end(work, stream, stream.successor, ended, digest):
        _advance(work, stream, ended, digest)


def _advance(work: Work, stream: Stream, size: int, digest: bytes) -> None:
    before = stream.proved
    if stream.conflicts:
        _compare_with_proved(work, stream, size)
    stream.proved, stream.proved_hash = size, digest
    work.changed.add(stream.name)
    work.advanced.add(stream.name)
    if stream.ended is not None and stream.ended_hash is not None and before < stream.ended <= size:
        _compare_with_end(work, stream, stream.successor, stream.ended, stream.ended_hash)
    if before == 0:
        _judge_epoch(work, stream)


def _compare_with_proved(work: Work, stream: Stream, size: int) -> None:
    """Now that it is known which bytes are right, say which of those that came beside them were altered."""
    beside = (
        select(conflicts.c.seq)
        .join(
            records,
            (records.c.stream == conflicts.c.stream)
            & (records.c.seq == conflicts.c.seq)
            & (records.c.body != conflicts.c.body),
        )
        .where(conflicts.c.stream == stream.id, conflicts.c.seq > stream.proved, conflicts.c.seq <= size)
    )
    altered = sorted(set(work.connection.scalars(beside)))
    if altered:
        work.suspect(AlarmKind.FALSE, stream, Code.ALTERED, altered[0], altered[-1], records=altered[:100])


def _cast_out(work: Work, stream: Stream, claim: Row[Any]) -> None:
    here = hash_at(work.connection, stream, claim.size)
    moved = 0
    while some := _unproved(work.connection, stream):
        moved += keep_conflicts(
            work.connection, stream, [(row.seq, row.body) for row in some], "cast_out", work.now_ms
        )
        work.connection.execute(
            delete(records).where(
                records.c.stream == stream.id, records.c.seq > stream.proved, records.c.seq <= some[-1].seq
            )
        )
    work.suspect(
        AlarmKind.FALSE, stream, Code.CHECKPOINT_DIFFERS, stream.proved + 1, claim.size,
        checkpoint=claim.id, stated=bytes(claim.hash).hex(), here=(here or b"").hex(), cast_out=moved,
    )  # fmt: skip
    stream.linked, stream.linked_hash, stream.top = stream.proved, stream.proved_hash, stream.proved
    work.changed.add(stream.name)
    work.wanted_again.add(stream.name)


def _unproved(connection: Connection, stream: Stream) -> list[Row[Any]]:
    behind = select(records.c.seq, records.c.body).where(
        records.c.stream == stream.id, records.c.seq > stream.proved
    )
    return list(connection.execute(behind.order_by(records.c.seq).limit(_AT_ONCE)))


def keep_conflicts(
    connection: Connection, stream: Stream, found: Iterable[tuple[int, bytes]], why: str, now_ms: int
) -> int:
    """Keep records that came beside others, or were contradicted; return how many were not kept already."""
    kept = insert_new(
        connection,
        conflicts,
        [
            {
                "stream": stream.id,
                "seq": seq,
                "digest": hashlib.sha256(body).digest(),
                "body": body,
                "why": why,
                "seen_ms": now_ms,
            }
            for seq, body in found
        ],
    )
    stream.conflicts += kept
    return kept


def _judge_epoch(work: Work, stream: Stream) -> None:
    """A ledger has been proved for the first time: which one does it follow?"""
    first = _first_record(work.connection, stream)
    said = announced(bytes(first.body))
    if said is not None and is_name(stream.name._replace(epoch=said[0])):
        followed = _of_epoch(work, stream, said[0])
        if not _leads_to(work, stream, followed):
            _end(work, stream, followed, said[1], said[2])
    _put_in_order(work, stream)


def _first_record(connection: Connection, stream: Stream) -> Row[Any, Any]:
    first = select(records.c.body, records.c.kind).where(records.c.stream == stream.id, records.c.seq == 1)
    return connection.execute(first).one()


def _of_epoch(work: Work, stream: Stream, epoch: str) -> Stream:
    name = stream.name._replace(epoch=epoch)
    if name not in work.streams:  # never heard of: whatever it held is missing
        rows_of.insert_row(work.connection, name, work.now_ms)
        work.streams |= {
            new: row for new, row in locked(work.connection, [name]).items() if new not in work.streams
        }
    return work.streams[name]


def _leads_to(work: Work, stream: Stream, other: Stream) -> bool:
    """Return whether `other` is this ledger, or follows it by what was announced: no circle of ledgers."""
    for _ in range(len(work.streams)):
        if stream is other:
            return True
        if stream.ended is None:
            return False
        stream = _of_epoch(work, stream, stream.successor)
    return True


def _end(work: Work, stream: Stream, followed: Stream, size: int, digest: bytes) -> None:
    if followed.ended is None:  # of several that say to follow it, the one that was proved first does
        _succeed(work, followed, stream)
        followed.ended, followed.ended_hash = size, digest
    later = after_end(followed, followed.head_at_ms, clock_trusted=followed.head_clock_trusted)
    # Its clock alone accuses nobody here: it may have gone ahead, and been put right before the next one.
    if followed.successor == stream.epoch and later and followed.head > size:
        say_goes_on(work, followed, followed.head, followed.head_at_ms)
    elif max(followed.head, followed.proved) > size:
        say_cut(work, followed, stream.epoch, size, max(followed.head, followed.proved))
    if size <= followed.proved:
        _compare_with_end(work, followed, stream.epoch, size, digest)
    prove(work, followed)


def _compare_with_end(work: Work, old: Stream, successor: str, size: int, digest: bytes) -> bool:
    """Hold a ledger against what one that follows says of its end; return whether that is so."""
    here = hash_at(work.connection, old, size)
    if here != digest:
        work.suspect(
            AlarmKind.FALSE, old, Code.CHECKPOINT_DIFFERS, 1, size,
            successor=successor, stated=digest.hex(), here=(here or b"").hex(),
        )  # fmt: skip
    return here == digest


def after_end(stream: Stream, at_ms: int | None, *, clock_trusted: bool) -> bool | None:
    """Return whether what a gate's clock said was after the next ledger had begun; None: nobody knows."""
    if at_ms is None or stream.ended_at_ms is None or not clock_trusted:
        return None
    return at_ms > stream.ended_at_ms


def say_cut(work: Work, old: Stream, successor: str, size: int, reached: int) -> None:
    """Say that a ledger reached farther than one that follows states."""
    work.suspect(
        AlarmKind.CONCEALED, old, Code.CUT_TAIL, size + 1, reached,
        successor=successor, stated=size, reached=reached, proved=old.proved,
    )  # fmt: skip


def say_goes_on(work: Work, old: Stream, size: int, at_ms: int | None) -> None:
    """Say that a ledger was signed for, with so many records, after the next one had begun."""
    end = old.head if old.ended is None else old.ended
    grown = (end + 1, size) if size > end else (None, None)
    work.suspect(
        AlarmKind.CONCEALED, old, Code.OLD_EPOCH_GOES_ON, *grown,
        successor=old.successor, ended=end, ended_at_ms=old.ended_at_ms, size=size, at_ms=at_ms,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """Ledgers of one gate that follow one another by their own word: the oldest and the newest of them.

    `speaker` is the oldest of which anything is proved.
    """

    root: Stream
    speaker: Stream
    newest: Stream


def _put_in_order(work: Work, stream: Stream) -> None:
    """Put the lines of ledgers that do not say whom they follow behind the others, in order of arrival."""
    lines = sorted(whole_lines([stream, *work.family(stream)]), key=lambda line: line.root.id)
    for old, new in pairwise(lines):
        if old.newest.successor != new.speaker.epoch:
            _succeed(work, old.newest, new.speaker)
    for last in lines[-1:]:  # it may have had a successor before another line took that one's place
        if last.newest.successor:
            last.newest.successor, last.newest.ended_at_ms = "", None
            work.changed.add(last.newest.name)
    place = next((place for place, line in enumerate(lines) if line.speaker is stream), None)
    if place is None or len(lines) == 1:
        return
    # Where the line that comes in now is the first one, the second is without a word from now on.
    later = max(place, 1)
    _say_unannounced(work, lines[later].speaker, [line.newest.epoch for line in lines[:later]])


def whole_lines(family: Iterable[Stream]) -> Iterator[Line]:
    """Yield the lines whose oldest ledger has spoken: it will not say any more that it follows another."""
    family = list(family)
    before = {one.successor: one for one in family if one.ended is not None}
    for newest in family:
        if newest.proved == 0 or newest.ended is not None:
            continue
        root = speaker = newest
        while root.epoch in before:
            root = before[root.epoch]
            speaker = root if root.proved else speaker
        if root.proved or root.ended == 0:  # one without records never speaks
            yield Line(root, speaker, newest)


def _say_unannounced(work: Work, stream: Stream, not_named: list[str]) -> None:
    work.suspect(
        AlarmKind.CONCEALED, stream, Code.UNANNOUNCED_EPOCH, 1, 1,
        first_record=_first_record(work.connection, stream).kind, not_named=not_named,
    )  # fmt: skip


def _succeed(work: Work, old: Stream, new: Stream) -> None:
    old.successor = new.epoch
    old.ended_at_ms = new.head_at_ms if new.head_clock_trusted else None
    work.changed.add(old.name)
