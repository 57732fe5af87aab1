"""The records for others: JSON lines as `gate ledger export` prints them, or comma separated values."""

import csv
from datetime import datetime
from typing import IO, Final

from central.store import Store

COLUMNS: Final = ("site", "gate", "epoch", "seq", "hash", "at_ms", "seen_ms", "kind", "abnormal", "record")


def as_lines(
    store: Store,
    out: IO[bytes],
    site: str | None,
    gate: str | None,
    *,
    from_ms: int | None,
    to_ms: int | None,
) -> None:
    """Write one line per record: {"site","gate","epoch","seq","hash","record"}; hash null while parked."""
    for line in store.export_lines(site, gate, from_ms=from_ms, to_ms=to_ms):
        out.write(line + b"\n")
    out.flush()


def as_csv(
    store: Store,
    out: IO[str],
    site: str | None,
    gate: str | None,
    *,
    from_ms: int | None = None,
    to_ms: int | None = None,
) -> None:
    """Write a heading and one row per record (RFC 4180); `record` is the JSON itself."""
    rows = csv.writer(out)
    rows.writerow(COLUMNS)
    for record in store.records(site, gate, from_ms=from_ms, to_ms=to_ms):
        rows.writerow([
            record.site, record.gate, record.epoch, record.seq, (record.hash or b"").hex(), record.at_ms,
            record.seen_ms, record.kind, int(record.abnormal), record.body.decode(errors="replace"),
        ])  # fmt: skip


def instant(text: str) -> int:
    """Read ISO 8601 as unix milliseconds. ValueError without an offset: nobody could say which is meant."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no instant such as 2026-11-22T08:00+08:00") from error
    if read.tzinfo is None:
        raise ValueError(f"{text!r} does not say its offset; write it as 2026-11-22T08:00+08:00")
    return round(read.timestamp() * 1000)
