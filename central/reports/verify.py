"""Check the reports that were handed in again, from their own bytes; `central verify` does.

    report_altered       a row, or its columns, is not what the centre has signed
    report_missing       a report goes on from another one that is not here
    report_differs       a report states, signed, a hash that the ledger does not have, or the ledger is gone

Each report states, signed, where its unit's report before it ended. When a row is gone, the next report
goes on from nothing that is here. A day that was never reported, because nobody owed it or because it was too
long ago when the centre came back, leaves no such gap: then the next one goes on from the one before it.

Not signed is when a report was made: it is held against what the report says of its time. The oldest reports
of a unit can be taken away unseen, and the newest until `central run` makes them again, late, with an alarm.
"""

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    Row,
    String,
    case,
    cast,
    func,
    select,
)
from sqlalchemy import type_coerce as coerced
from sqlalchemy.types import NullType

from central.reports.sealing import check, written
from central.reports.spans import HOUR_MS
from central.reports.tables import reports
from central.store import Problem, Store
from central.store.engine import reading
from central.store.tables import records, streams
from gate.core.delivery import Receipt

_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of one report as JSON: in the database of somebody else a small row might fill the memory."""

_PIECE: Final = 20
"""So many rows are held at a time."""

_LATE_MS_MAX: Final = HOUR_MS
"""A report that is not late was made at most so long after it was due; see `ReportSettings.late_s`."""

Document = dict[str, Any]


class _AlteredError(Exception):
    """What is wrong with a row, as a sentence."""


def verify(store: Store, centre_keys: Iterable[bytes], report: Callable[[Problem], None]) -> int:
    """Check every report; report every problem, and return how many are kept. Raises StoreError.

    `centre_keys`: the public keys (32 bytes) that reports may be signed with.
    """
    keys = tuple(centre_keys)
    count = 0
    proofs = _Proofs()
    with reading(store.engine) as connection:
        plain = [_plain(column, store.engine.dialect.name).label(column.name) for column in reports.c]
        asked = select(*plain).order_by(reports.c.level, reports.c.unit, reports.c.day)
        rows = connection.execute(asked.execution_options(yield_per=_PIECE))
        for _, of_unit in groupby(rows, key=lambda row: (row.level, row.unit)):
            before: Document | None = None
            for row in of_unit:
                count += 1
                before = _checked(row, before, keys, report)
                if before is not None:
                    proofs.take(before, keys)
        proofs.compare(connection, report)
    return count


class _Proofs:
    """What the reports say of the ledgers: of each one its hashes by number, and the day of the report."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str, str], dict[int, tuple[bytes, str]]] = {}

    def take(self, document: Document, keys: tuple[bytes, ...]) -> None:
        """Take a good report into account."""
        for shown in document["proofs"]:
            for size, digest in _stated(shown, keys):
                if size > 0:
                    ledger = (str(shown["site"]), str(shown["gate"]), str(shown["epoch"]))
                    self._said.setdefault(ledger, {}).setdefault(size, (digest, str(document["date"])))

    def compare(self, connection: Connection, report: Callable[[Problem], None]) -> None:
        """Hold it against the chains: of each ledger the first that differs is reported."""
        for (site, gate, epoch), said in self._said.items():
            names = (streams.c.site == site, streams.c.gate == gate, streams.c.epoch == epoch)
            stream = connection.scalar(select(streams.c.id).where(*names))
            for size, (digest, day) in sorted(said.items()):
                at = (records.c.stream == stream, records.c.seq == size)
                if connection.scalar(select(coerced(records.c.hash, NullType())).where(*at)) != digest:
                    detail = f"the report of {day} states the hash of this record, and it is not here"
                    report(Problem("report_differs", site, gate, epoch, size, detail))
                    break


def _stated(shown: dict[str, Any], keys: tuple[bytes, ...]) -> Iterator[tuple[int, bytes]]:
    """Yield number and hash of the records up to which a ledger is proved, by a proof that was checked."""
    checkpoint, receipt = shown.get("checkpoint"), shown.get("receipt")
    if checkpoint is not None and checkpoint["size"] <= shown["proved"]:
        yield checkpoint["size"], bytes.fromhex(checkpoint["hash"])
    if receipt is not None:
        promised = Receipt.opened(base64.b64decode(receipt), keys)
        yield promised.upto, promised.hash


def _checked(
    row: Row[Any], before: Document | None, keys: tuple[bytes, ...], report: Callable[[Problem], None]
) -> Document | None:
    """Check one row, and that it goes on where the one before has ended; return its report, if it is good."""
    name = f"{_text(row.day)} level {row.level} {_text(row.unit)}"
    try:
        document = _document(row.body, keys)
        _check_columns(row, document)
    except _AlteredError as error:
        report(Problem("report_altered", "", "", "", None, f"{name}: {error}"))
        return None
    if before is not None and not _goes_on(document, before):
        detail = f"{name}: it goes on from a report that ended {document['since']}, which is not here"
        report(Problem("report_missing", "", "", "", None, detail))
    return document


def _document(body: bytes | None, keys: tuple[bytes, ...]) -> Document:
    """Return the report of a row as the centre has signed it. Raises _AlteredError."""
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(body or b"", _BYTES_MAX)
        document = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise _AlteredError("it cannot be read") from error
    for problem in check(document, keys):
        raise _AlteredError(problem)
    if not inflate.eof or inflate.unused_data or text != written(document):
        raise _AlteredError("more is kept than what the centre has signed")
    assert isinstance(document, dict)  # it is signed
    return document


def _check_columns(row: Row[Any], document: Document) -> None:
    """Hold the columns against the document. Raises _AlteredError."""
    columns = (
        _text(row.day),
        row.level,
        _text(row.unit),
        row.due_ms,
        row.cut_ms,
        row.zero,
        _text(row.sha256),
    )
    try:
        stated = (
            *(document["date"], document["level"], document["unit"], _ms(document["handed_in"]["due"])),
            *(document["cut_off_ms"], document["zero"], document["sha256"]),
        )
        made_then = row.made_ms is not None and _may_be_made(row.made_ms, document)
    except (KeyError, TypeError, ValueError) as error:
        raise _AlteredError("the centre has signed it, but not as a report that was due") from error
    if columns != stated:
        raise _AlteredError("columns say other than the report")
    if not made_then:
        raise _AlteredError("it cannot have been made when its row says so")


def _may_be_made(made_ms: int, document: Document) -> bool:
    """Say whether a report may have been made then: a late one tells up to then, others up to their hour."""
    due_ms, cut_ms = _ms(document["handed_in"]["due"]), int(document["cut_off_ms"])
    if made_ms < due_ms:
        return False
    if not document["handed_in"]["late"]:
        return cut_ms == due_ms and made_ms <= due_ms + _LATE_MS_MAX
    return made_ms >= cut_ms if document["day_over"] else made_ms == cut_ms


def _goes_on(document: Document, before: Document) -> bool:
    return _ms(document["since"]) == min(int(before["cut_off_ms"]), _ms(document["from"]))


def _ms(iso: str) -> int:
    return round(datetime.fromisoformat(iso).timestamp() * 1000)


def _text(found: bytes | str | None) -> str | None:
    return found.decode(errors="backslashreplace") if isinstance(found, bytes) else found


def _plain(column: Column[Any], dialect: str) -> ColumnElement[Any]:
    """Return a column so that nothing in it can stop the reading: None for what is of another type.

    SQLite keeps any value in any column, and texts that are none; texts are therefore read as bytes.
    """
    if dialect != "sqlite":
        return column
    match column.type:
        case String():
            return case((func.typeof(column) == "text", cast(column, LargeBinary)))
        case LargeBinary():
            return case((func.typeof(column) == "blob", column))
    return case((func.typeof(column) == "integer", coerced(column, Integer)))
