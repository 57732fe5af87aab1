"""The rows of the streams: begun, locked, saved, and what can be asked about one of them.

Whoever changes anything of a gate holds the rows of all its ledgers, locked in the order of their numbers, so
that no two wait for each other. Rows are begun in a transaction of their own for the same reason.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, Select, exists, select, tuple_

from central.store.engine import insert_unless_there, writing
from central.store.model import StoreError, StreamState
from central.store.reading import Name
from central.store.tables import attachments, gate_keys, records, streams
from gate.core.chain import genesis

_AT_ONCE: Final = 500
"""Numbers in one question."""

T = TypeVar("T")


@dataclass(slots=True)
class Stream:
    """One row of `streams`, locked by this transaction; `known` is looked up with it. See `StreamState`."""

    id: int
    site: str
    gate: str
    epoch: str
    first_ms: int
    linked: int
    linked_hash: bytes
    proved: int
    proved_hash: bytes
    top: int
    head: int
    head_at_ms: int | None
    head_clock_trusted: bool
    heard_ms: int | None
    record_ms: int | None
    receipted: int
    receipt_ms: int | None
    ended: int | None
    ended_hash: bytes | None
    ended_at_ms: int | None
    successor: str
    conflicts: int
    known: bool

    @property
    def name(self) -> Name:
        """Return which ledger it is."""
        return Name(self.site, self.gate, self.epoch)

    @property
    def vouched(self) -> bool:
        """True when a registered key has ever spoken for it."""
        return self.heard_ms is not None or self.proved > 0

    def state(self) -> StreamState:
        """Return what others may know of it."""
        return StreamState(*_STATE(self))


_STATE: Final = attrgetter(*(field.name for field in fields(StreamState)))
_KNOWN: Final = exists().where(
    gate_keys.c.site == streams.c.site,
    gate_keys.c.gate == streams.c.gate,
    gate_keys.c.revoked_ms.is_(None),
)


def everything() -> Select[Any]:
    """Return the question for whole rows, to be narrowed down."""
    return select(streams, _KNOWN.label("known"))


def of_row(row: Sequence[Any]) -> Stream:
    """Return a row that `everything` has asked for."""
    return Stream(*row)


class StreamMissingError(StoreError):
    """Ledgers that have no row yet: `begin` them, then do everything again."""


def begin(engine: Engine, names: Iterable[Name], now_ms: int) -> None:
    """Make rows for ledgers that have none, in one order everywhere."""
    with writing(engine) as connection:
        for name in sorted(names):
            insert_row(connection, name, now_ms)


def insert_row(connection: Connection, name: Name, now_ms: int) -> None:
    """Make a row for a ledger, unless there is one."""
    start = genesis(name.epoch)
    insert_new(connection, streams, [{
        "site": name.site, "gate": name.gate, "epoch": name.epoch, "first_ms": now_ms, "linked": 0,
        "linked_hash": start, "proved": 0, "proved_hash": start, "top": 0, "head": 0,
        "head_clock_trusted": False, "receipted": 0, "successor": "", "conflicts": 0,
    }])  # fmt: skip


def locked(connection: Connection, names: Iterable[Name]) -> dict[Name, Stream]:
    """Lock and return all ledgers of the gates that these ledgers belong to. Raises StreamMissingError."""
    wanted = set(names)
    # One question, however many gates: in pieces the order of the locks would depend on the pieces.
    gates = sorted({(name.site, name.gate) for name in wanted})
    of_gates = everything().where(tuple_(streams.c.site, streams.c.gate).in_(gates))
    rows = connection.execute(of_gates.order_by(streams.c.id).with_for_update(of=streams))
    found = {stream.name: stream for stream in map(of_row, rows)}
    if wanted - found.keys():
        raise StreamMissingError
    return found


def save(connection: Connection, changed: Iterable[Stream]) -> None:
    """Write these rows back."""
    rows = [_VALUES(stream) for stream in changed]
    if rows:
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        connection.exec_driver_sql(_SAVE.replace("?", mark), rows)


# Every batch writes as many of these as it has gates: too often to be put together each time.
_CHANGING: Final = tuple(
    column.name
    for column in streams.columns
    if column.name not in {"id", "site", "gate", "epoch", "first_ms"}
)
_VALUES: Final = attrgetter(*_CHANGING, "id")
_SAVE: Final = f"UPDATE streams SET {', '.join(f'{name} = ?' for name in _CHANGING)} WHERE id = ?"  # noqa: S608


def insert_new(connection: Connection, table: Any, rows: Sequence[dict[str, Any]]) -> int:
    """Insert the rows that are not there yet and return how many they were."""
    if not rows:
        return 0
    insert = insert_unless_there(connection, table)
    kept = connection.execution_options(preserve_rowcount=True)
    return sum(kept.execute(insert.values(row)).rowcount for row in rows)


def hash_at(connection: Connection, stream: Stream, seq: int) -> bytes | None:
    """Return the hash of the chain at this record; genesis for 0, None where nothing is linked."""
    if seq == 0:
        return genesis(stream.epoch)
    found = connection.scalar(
        select(records.c.hash).where(records.c.stream == stream.id, records.c.seq == seq)
    )
    return None if found is None else bytes(found)


def attached(connection: Connection, stream_id: int, seqs: Iterable[int]) -> set[tuple[int, bytes]]:
    """Return which attachments (number and hash) are here for these records; an erased one counts."""
    return {
        (row.seq, bytes(row.digest))
        for some in _pieces(sorted(seqs))
        for row in connection.execute(
            select(attachments.c.seq, attachments.c.digest).where(
                attachments.c.stream == stream_id, attachments.c.seq.in_(some)
            )
        )
    }


def bodies(connection: Connection, stream_id: int, seqs: Iterable[int]) -> dict[int, Any]:
    """Return those of these records that are here: number to row (seq, body, hash, sealed)."""
    columns = select(records.c.seq, records.c.body, records.c.hash, records.c.sealed)
    return {
        row.seq: row
        for some in _pieces(sorted(seqs))
        for row in connection.execute(columns.where(records.c.stream == stream_id, records.c.seq.in_(some)))
    }


def _pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
