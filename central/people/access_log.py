"""The access log: who has looked at the records of a person, or erased something, and why; chained.

Entry n is one line of JSON with the hash SHA-256(tag, hash of entry n-1, entry); before the first stand 32
zero bytes. It is written and committed before anything is shown, so that a look that was broken off is in
the log as well.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, func, insert, select, type_coerce, update
from sqlalchemy.types import NullType

from central.people.caller import Caller, What
from central.people.tables import access_head, access_log
from central.store import Problem, Store
from central.store.damage import any_text, as_stored
from central.store.engine import reading, writing
from central.store.retired import summary
from central.store.tables import attachments

_START: Final = bytes(32)
_TAG: Final = b"health-gate access log 1\0"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it is read back; `about` says whom or what it was about."""

    n: int
    at_ms: int
    what: str
    by: str
    reason: str
    about: Mapping[str, Any]


def note(store: Store, caller: Caller, what: What, about: Mapping[str, Any], now_ms: int) -> int:
    """Write one entry and have it on disk; return its number. Raises StoreError."""
    with writing(store.engine) as connection:
        return append(connection, caller, what, about, now_ms)


def lock(connection: Connection) -> Row[Any]:
    """Hold the end of the log until this transaction ends, and return it. Nothing may be locked after it."""
    return connection.execute(select(access_head).with_for_update()).one()


def append(connection: Connection, caller: Caller, what: What, about: Mapping[str, Any], now_ms: int) -> int:
    """Write one entry in this transaction; return its number. Nothing may be locked after it."""
    head = lock(connection)
    n = int(head.n) + 1
    said = {"n": n, "at_ms": now_ms, "what": str(what), "by": caller.by, "reason": caller.reason}
    text = json.dumps(
        {**said, "about": dict(about)}, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    line = text.encode(errors="replace")
    digest = _chained(bytes(head.hash), line)
    connection.execute(insert(access_log).values(n=n, entry=line, hash=digest))
    connection.execute(update(access_head).values(n=n, hash=digest))
    return n


def entries(store: Store) -> list[Entry]:
    """Return the log, oldest first; an entry that cannot be read is left to `verify`."""
    with reading(store.engine) as connection:
        found = (_read(row.n, _bytes(row.entry)) for row in _rows(connection))
        return [entry for entry in found if entry is not None]


def newest_ms(store: Store, what: What) -> int | None:
    """Return when this was last done, None if never."""
    # Looked for from the end: what is asked for is written every day.
    backwards = as_stored(access_log).order_by(access_log.c.n.desc())
    with reading(store.engine) as connection, connection.execute(backwards) as found:
        for row in found:
            entry = _read(row.n, _bytes(row.entry))
            if entry is not None and entry.what == what:
                return entry.at_ms
    return None


def verify(store: Store, report: Callable[[Problem], None]) -> int:
    """Check the log, and that no more is gone than it says; return the number of entries. Raises StoreError.

    access_log_altered   the chain of the log is broken
    tail_cut             it ends before it should, or nobody can tell
    retired_differs      records were retired of which the log does not know
    erased_differs       registrations were erased of which the log does not know
    """

    def found(what: str, n: int | None, detail: str) -> None:
        report(Problem(what, "", "", "", n, detail))

    said = _Said()
    digest, expected = _START, 0
    with reading(store.engine) as connection, any_text(connection):
        for row in _rows(connection):
            expected += 1
            if type(row.n) is not int:
                found("access_log_altered", expected, "the number of an entry is none")
                continue
            line, stored = _bytes(row.entry), _bytes(row.hash)
            entry = _read(row.n, line)
            if row.n != expected:
                found("access_log_altered", expected, f"entries {expected} to {row.n - 1} are missing")
            elif entry is None or _chained(digest, line) != stored:
                found("access_log_altered", row.n, "the entry does not have its hash in the access log")
            digest, expected = stored, row.n
            if entry is not None:
                said.take(entry)
        heads = connection.execute(as_stored(access_head)).all()
        if [(head.id, head.n, _bytes(head.hash)) for head in heads] != [(1, expected, digest)]:
            found("tail_cut", expected + 1, "the access log does not end where it was written last")
        said.compare(connection, found)
    return expected


class _Said:
    """What the entries say is gone."""

    def __init__(self) -> None:
        self._retired = _START
        self._erased: Counter[_Erasing] = Counter()

    def take(self, entry: Entry) -> None:
        """Take the next entry into account."""
        if entry.what == What.RETIRED:
            self._retired = _digest(entry)
        elif entry.what in {What.ERASE, What.SEALED_ERASED}:
            count = entry.about.get("erased")
            self._erased[entry.at_ms, entry.by, entry.reason] += count if isinstance(count, int) else 0

    def compare(self, connection: Connection, found: Callable[[str, int | None, str], None]) -> None:
        """Hold it against what is gone."""
        if summary(connection) != self._retired:
            found("retired_differs", None, "records are retired otherwise than the access log says")
        gone = _erased(connection)
        for one in sorted(gone.keys() | self._erased.keys(), key=str):
            if gone[one] != self._erased[one]:
                at_ms, by, reason = one
                counts = f"{gone[one]} registrations are erased, the access log says {self._erased[one]}"
                found("erased_differs", None, f"at {at_ms} by {by!r} ({reason!r}): {counts}")


_Erasing = tuple[Any, Any, Any]
"""When (unix milliseconds) registrations were erased, by whom, and why."""


def _erased(connection: Connection) -> Counter[_Erasing]:
    columns = (attachments.c.erased_ms, attachments.c.erased_by, attachments.c.erased_why)
    key = [type_coerce(column, NullType()).label(column.name) for column in columns]
    gone = select(*key, func.count().label("count_")).where(attachments.c.blob.is_(None)).group_by(*columns)
    rows = connection.execute(gone)
    return Counter({(row.erased_ms, row.erased_by, row.erased_why): row.count_ for row in rows})


def _rows(connection: Connection) -> Iterator[Row[Any]]:
    yield from connection.execute(as_stored(access_log).order_by(access_log.c.n))


def _bytes(stored: object) -> bytes:
    """Return what a column of bytes holds; nothing for a text, which SQLite keeps there as well."""
    return bytes(stored) if isinstance(stored, bytes | memoryview) else b""


def _read(n: int, line: bytes) -> Entry | None:
    try:
        said = json.loads(line)
        entry = Entry(**said)
        words = all(isinstance(word, str) for word in (entry.what, entry.by, entry.reason))
        sound = entry.n == n and words and isinstance(entry.at_ms, int) and isinstance(entry.about, dict)
    except (ValueError, TypeError, RecursionError):
        return None
    return entry if sound else None


def _digest(entry: Entry) -> bytes:
    try:
        return bytes.fromhex(str(entry.about.get("digest")))
    except ValueError:
        return b""


def _chained(previous: bytes, line: bytes) -> bytes:
    return hashlib.sha256(_TAG + previous + line).digest()
