"""Records whose bytes were taken away when their time was over, and how the chain goes on over them.

Of a retired record stay number, times, kind and the hash of the chain, so that numbers have no holes and the
records behind it are still linked to it. Always a ledger's oldest records are retired, without a gap, and
only what is proved: the signed checkpoint that covers them stays. For each ledger one row of `retired` says
how far that has gone, with a digest over the hashes that were kept; the access log holds the `summary` of
these rows, so that nobody can take bytes away and say that it was their time.

The first record of a ledger that follows another one is never retired: it says which one, and holds nothing
of any person.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    Row,
    Table,
    insert,
    or_,
    select,
    update,
)

from central.store.damage import as_stored
from central.store.reading import Incoming
from central.store.streams import Stream, hash_at
from central.store.tables import conflicts, metadata, records
from gate.core.chain import link
from gate.core.events import Kind

NOTHING: Final = b""
"""What stands in place of the bytes; no record is empty."""

_TAG: Final = b"health-gate retired 1\0"
_START: Final = bytes(32)
_DAY_MS: Final = 86_400_000
_STAYS: Final = str(Kind.EPOCH_STARTED)

retired: Final = Table(
    "retired",
    metadata,
    Column("stream", Integer, ForeignKey("streams.id"), primary_key=True, autoincrement=False),
    Column("upto", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
"""How far the records of a ledger are retired, over which hashes, and when that was last done."""


def retired_upto(connection: Connection, stream_id: int) -> int:
    """Return up to where this ledger's records are retired."""
    return _row(connection, stream_id).upto


def due_upto(
    connection: Connection, stream_id: int, proved: int, *, before_ms: int, now_ms: int, at_most: int
) -> int:
    """Return up to where this ledger's records are proved, and came and were written before an instant.

    When one came nothing signed says; when it was written stands in its own bytes. A time that lies ahead of
    us is that of a wrong clock, and says nothing.
    At most `at_most` records beyond what is retired already; that itself when there is nothing more.
    """
    done = retired_upto(connection, stream_id)
    limit = min(proved, done + at_most)
    ahead = (records.c.stream == stream_id, records.c.seq > done, records.c.seq <= limit)
    written_later = records.c.at_ms.between(before_ms, now_ms + _DAY_MS)
    younger = select(records.c.seq).where(*ahead, or_(records.c.seen_ms >= before_ms, written_later))
    first_younger = connection.scalar(younger.order_by(records.c.seq).limit(1))
    return max(done, limit if first_younger is None else first_younger - 1)


def retire(connection: Connection, stream_id: int, upto: int, now_ms: int) -> int:
    """Take away the bytes of a locked ledger's records up to `upto`; return how many records it were."""
    done = _row(connection, stream_id)
    span = (records.c.stream == stream_id, records.c.seq > done.upto, records.c.seq <= upto)
    digest = done.digest
    for stored in connection.scalars(select(records.c.hash).where(*span).order_by(records.c.seq)):
        digest = _extended(digest, stored)
    gone = update(records).where(*span, records.c.kind != _STAYS).values(body=NOTHING)
    count = connection.execute(gone).rowcount
    beside = update(conflicts).where(conflicts.c.stream == stream_id, conflicts.c.seq <= upto)
    connection.execute(beside.values(body=NOTHING))
    values = {"upto": upto, "digest": digest, "at_ms": now_ms}
    if connection.execute(update(retired).where(retired.c.stream == stream_id).values(values)).rowcount == 0:
        connection.execute(insert(retired).values(stream=stream_id, **values))
    return count


def summary(connection: Connection) -> bytes:
    """Return one digest of how far every ledger is retired; 32 zero bytes when none is."""
    rows = connection.execute(as_stored(retired).order_by(retired.c.stream)).all()
    if not rows:
        return _START
    lines = (f"{row.stream} {row.upto} {_spelled(row.digest)}\n" for row in rows)
    return hashlib.sha256(_TAG + "".join(lines).encode()).digest()


def _spelled(digest: object) -> str:
    return digest.hex() if isinstance(digest, bytes) else repr(digest)  # SQLite keeps a text there as well


class _Recalled(NamedTuple):
    """A row of `records` as it was before it was retired."""

    seq: int
    body: bytes
    hash: bytes
    sealed: bytes | None


def recalled(
    connection: Connection, stream: Stream, here: Mapping[int, Any], incoming: Iterable[Incoming]
) -> Mapping[int, Any]:
    """Return these rows (by number) with the bytes of retired ones that have come again.

    Whether they are the bytes that were there is told by the hash that was kept.
    """
    found = dict(here)
    for one in incoming:
        row = here.get(one.seq)
        if row is None or row.body:
            continue
        before = here.get(one.seq - 1)
        previous = hash_at(connection, stream, one.seq - 1) if before is None else before.hash
        if previous is not None and link(bytes(previous), one.body) == row.hash:
            found[one.seq] = _Recalled(one.seq, one.body, row.hash, row.sealed)
    return found


@dataclass(slots=True)
class RetiredCheck:
    """Follows a ledger's records, in order, and tells which are rightly without bytes."""

    upto: int
    expected: bytes
    digest: bytes = _START

    @classmethod
    def of(cls, connection: Connection, stream_id: int) -> Self:
        """Return the check of one ledger."""
        row = connection.execute(as_stored(retired).where(retired.c.stream == stream_id)).first()
        if row is None:
            return cls(0, _START)
        return cls(row.upto if isinstance(row.upto, int) else 0, row.digest)

    def covers(self, seq: int) -> bool:
        """Return whether the bytes that came with this number may be gone."""
        return seq <= self.upto

    def follow(self, row: Row[Any]) -> bool:
        """Take the next record into account; return whether it is retired."""
        if not self.covers(row.seq):
            return False
        self.digest = _extended(self.digest, row.hash if isinstance(row.hash, bytes) else NOTHING)
        return not row.body and row.kind != _STAYS

    @property
    def differs(self) -> bool:
        """True when the hashes that were followed are not those over which records were retired."""
        return self.digest != self.expected


class _Done(NamedTuple):
    upto: int
    digest: bytes


def _row(connection: Connection, stream_id: int) -> _Done:
    row = connection.execute(
        select(retired.c.upto, retired.c.digest).where(retired.c.stream == stream_id)
    ).first()
    return _Done(0, _START) if row is None else _Done(row.upto, bytes(row.digest))


def _extended(digest: bytes, stored: bytes) -> bytes:
    return hashlib.sha256(_TAG + digest + bytes(stored)).digest()
