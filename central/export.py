"""The records for others: JSON lines as `gate ledger export` prints them, or comma separated values."""

import csv
from datetime import datetime
from typing import IO, Final

from central.store import Store
from gate.checked import did_you_mean

COLUMNS: Final = ("site", "gate", "epoch", "seq", "hash", "at_ms", "seen_ms", "kind", "abnormal", "record")
_SEE: Final = " (see: central status)"


def as_lines(
    store: Store,
    out: IO[bytes],
    site: str | None,
    gate: str | None,
    *,
    from_ms: int | None,
    to_ms: int | None,
) -> int:
    """Write one line per record: {"site","gate","epoch","seq","hash","record"}; hash null while parked.

    Return how many.
    """
    count = 0
    for line in store.export_lines(site, gate, from_ms=from_ms, to_ms=to_ms):
        out.write(line + b"\n")
        count += 1
    out.flush()
    return count


def as_csv(
    store: Store,
    out: IO[str],
    site: str | None,
    gate: str | None,
    *,
    from_ms: int | None = None,
    to_ms: int | None = None,
) -> int:
    """Write a heading and one row per record (RFC 4180); `record` is the JSON itself. Return how many."""
    rows, count = csv.writer(out), 0
    rows.writerow(COLUMNS)
    for record in store.records(site, gate, from_ms=from_ms, to_ms=to_ms):
        rows.writerow([
            record.site, record.gate, record.epoch, record.seq, (record.hash or b"").hex(), record.at_ms,
            record.seen_ms, record.kind, int(record.abnormal), record.body.decode(errors="replace"),
        ])  # fmt: skip
        count += 1
    return count


def unknown(store: Store, site: str | None, gate: str | None) -> str:
    """Return in words that nobody who is registered, or has sent anything, bears these names; else ""."""
    known = {(one.site, one.gate) for one in store.streams()} | {
        (key.site, key.gate) for key in store.gates()
    }
    if any(site in {None, its_site} and gate in {None, its_gate} for its_site, its_gate in known):
        return ""
    sites = {its_site for its_site, _ in known}
    if site is not None and site not in sites:
        return f"there is no site {site!r}{did_you_mean(site, sites)}" + _SEE
    if gate is None:
        return ""  # nothing was asked for by name, and nobody is known
    gates = {its_gate for its_site, its_gate in known if site in {None, its_site}}
    where = f" at the site {site!r}" if site is not None else ""
    return f"there is no gate {gate!r}{where}{did_you_mean(gate, gates)}" + _SEE


def instant(text: str) -> int:
    """Read ISO 8601 as unix milliseconds. ValueError without an offset: nobody could say which is meant."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no instant such as 2026-11-22T08:00+08:00") from error
    if read.tzinfo is None:
        raise ValueError(f"{text!r} does not say its offset; write it as 2026-11-22T08:00+08:00")
    return round(read.timestamp() * 1000)
