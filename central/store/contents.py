"""What can be read from the store, and the little that is written beside ingestion."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select, update

from central.store import streams as rows_of
from central.store.model import StoredRecord, StreamState
from central.store.reading import Name
from central.store.succession import in_succession
from central.store.tables import attachments, receipts, records, rejects, streams
from gate.core.delivery import Ask, Receipt

DAY_MS: Final = 86_400_000
"""Of each day the last receipt is kept."""


def states(
    connection: Connection, site: str | None = None, gate: str | None = None, epoch: str | None = None
) -> list[StreamState]:
    """Return how these streams stand, by site, gate and age (see `central.store.succession`)."""
    rows = connection.execute(_of(rows_of.everything(), site, gate, epoch))
    return in_succession(rows_of.of_row(row).state() for row in rows)


def holes(connection: Connection, stream_id: int, limit: int) -> list[tuple[int, int]]:
    """Return up to `limit` ranges that are missing between what is linked and what is known to exist."""
    row = connection.execute(rows_of.everything().where(streams.c.id == stream_id)).first()
    if row is None:
        return []
    stream = rows_of.of_row(row)
    end = max(stream.head, stream.top, stream.ended or 0)
    found: list[tuple[int, int]] = []
    expected = stream.linked + 1
    for seq in _whole_above(connection, stream.id, stream.linked):
        if seq > expected:
            found.append((expected, seq - 1))
        expected = seq + 1
        if len(found) >= limit:
            return found
    return [*found, (expected, end)] if expected <= end else found


def _whole_above(connection: Connection, stream_id: int, above: int) -> Iterator[int]:
    """Yield the numbers of parked records that do not lack an attachment."""
    attachment = (
        select(attachments.c.seq)
        .where(
            attachments.c.stream == records.c.stream,
            attachments.c.seq == records.c.seq,
            attachments.c.digest == records.c.sealed,
        )
        .exists()
    )
    parked = select(records.c.seq).where(records.c.stream == stream_id, records.c.seq > above)
    whole = parked.where(records.c.sealed.is_(None) | attachment).order_by(records.c.seq)
    yield from connection.scalars(whole)


def stored(
    connection: Connection,
    site: str | None = None,
    gate: str | None = None,
    epoch: str | None = None,
    *,
    from_ms: int | None = None,
    to_ms: int | None = None,
    kinds: Iterable[str] | None = None,
    abnormal: bool | None = None,
) -> Iterator[StoredRecord]:
    """Yield records by site, gate, age of the ledger, and number."""
    wanted = select(records).order_by(records.c.seq)
    if from_ms is not None:
        wanted = wanted.where(records.c.at_ms >= from_ms)
    if to_ms is not None:
        wanted = wanted.where(records.c.at_ms < to_ms)
    if kinds is not None:
        wanted = wanted.where(records.c.kind.in_(list(kinds)))
    if abnormal is not None:
        wanted = wanted.where(records.c.abnormal == abnormal)
    # One stream after the other, as they are indexed, so that little has to be sorted.
    for stream in states(connection, site, gate, epoch):
        with connection.execute(wanted.where(records.c.stream == stream.id)) as rows:
            for row in rows:
                yield _stored(stream, row)


def _stored(stream: StreamState, row: Row[Any]) -> StoredRecord:
    return StoredRecord(
        stream.site, stream.gate, stream.epoch, row.seq, row.body, row.hash, row.at_ms, row.seen_ms,
        row.kind, row.abnormal,
    )  # fmt: skip


def export_line(record: StoredRecord) -> bytes:
    """Return one JSON line; the record's exact bytes stand in it, null when it is retired."""
    about = {
        "site": record.site,
        "gate": record.gate,
        "epoch": record.epoch,
        "seq": record.seq,
        "hash": None if record.hash is None else record.hash.hex(),
    }
    start = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode()
    return start[:-1] + b',"record":' + (record.body or b"null") + b"}"


def rejected(connection: Connection) -> int:
    """Return how many messages were rejected, of those that are still kept."""
    return int(connection.scalar(select(func.coalesce(func.sum(rejects.c.times), 0))) or 0)


def keep_receipts(connection: Connection, made: Iterable[tuple[Receipt, bytes]]) -> None:
    """Keep receipts, but none that asks or is older than what is kept."""
    kept = [(receipt, message) for receipt, message in made if receipt.ask is Ask.NOTHING]
    if not kept:
        return
    found = rows_of.locked(connection, {_name(receipt) for receipt, _ in kept})
    for receipt, message in kept:
        stream = found[_name(receipt)]
        _keep_receipt(connection, stream.id, receipt, message)
        stream.receipt_ms = max(stream.receipt_ms or receipt.at_ms, receipt.at_ms)
    rows_of.save(connection, {_name(receipt): found[_name(receipt)] for receipt, _ in kept}.values())


def _keep_receipt(connection: Connection, stream_id: int, receipt: Receipt, message: bytes) -> None:
    content = {"upto": receipt.upto, "hash": receipt.hash, "at_ms": receipt.at_ms, "message": message}
    day = receipt.at_ms // DAY_MS
    if rows_of.insert_new(connection, receipts, [{"stream": stream_id, "day": day, **content}]):
        return
    older = update(receipts).where(
        receipts.c.stream == stream_id, receipts.c.day == day, receipts.c.at_ms <= receipt.at_ms
    )
    connection.execute(older.values(content))


def _name(receipt: Receipt) -> Name:
    return Name(receipt.site, receipt.gate, receipt.epoch)


def sealed(connection: Connection, name: Name, seq: int) -> bytes | None:
    """Return the attachment that a record declares, if it is here."""
    blob = connection.scalar(
        select(attachments.c.blob).select_from(_DECLARED).where(*_at(name), records.c.seq == seq)
    )
    return None if blob is None else bytes(blob)


_DECLARED: Final = streams.join(records, records.c.stream == streams.c.id).join(
    attachments,
    (attachments.c.stream == records.c.stream)
    & (attachments.c.seq == records.c.seq)
    & (attachments.c.digest == records.c.sealed),
)


def _at(name: Name) -> tuple[ColumnElement[bool], ...]:
    return streams.c.site == name.site, streams.c.gate == name.gate, streams.c.epoch == name.epoch


def _of(wanted: Select[Any], site: str | None, gate: str | None, epoch: str | None) -> Select[Any]:
    for column, value in ((streams.c.site, site), (streams.c.gate, gate), (streams.c.epoch, epoch)):
        if value is not None:
            wanted = wanted.where(column == value)
    return wanted
