"""The alarm log: every raising and clearing of an alarm, and every key of a gate; append-only and chained.

Entry n is one line of JSON with the hash SHA-256(tag, hash of entry n-1, entry); before the first stand 32
zero bytes. `alarms` and `gate_keys` say what it amounts to. An entry is `raised`, `widened` (the same false
alarm, over more records) or `cleared`; or `key`: how a key of a gate stands from then on.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, Select, insert, select, update

from central.store.damage import DAMAGED, as_stored
from central.store.model import Alarm, AlarmKind, StoreError, Suspicion
from central.store.tables import alarm_head, alarm_log, alarms


class KeySaid(NamedTuple):
    """How a key of a gate stands: the columns of `gate_keys`, but for the gate and what follows."""

    public_key: bytes
    note: str
    registered_ms: int
    revoked_ms: int | None


START: Final = bytes(32)
_TAG: Final = b"health-gate alarm log 1\0"


def chained(previous: bytes, entry: bytes) -> bytes:
    """Return the hash of an entry that follows the one with the hash `previous`."""
    return hashlib.sha256(_TAG + previous + entry).digest()


def raise_alarm(connection: Connection, about: Suspicion, now_ms: int) -> Alarm | None:
    """Write an alarm into the log; None when the same one stands already."""
    standing = connection.execute(_standing(about)).first()
    if standing is not None and not _wider(standing, about):
        return None
    head = _lock(connection)
    standing = connection.execute(_standing(about)).first()  # another process may have been first
    if standing is not None:
        _widen(connection, head, standing, about, now_ms)
        return None
    entry = {"what": "raised", "at_ms": now_ms, **_stated(about)}
    alarm_id = _append(connection, head, entry)
    connection.execute(
        insert(alarms).values(
            id=alarm_id,
            kind=str(about.kind),
            site=about.site,
            gate=about.gate,
            epoch=about.epoch,
            code=str(about.code),
            first=about.first,
            last=about.last,
            evidence=_line(about.evidence),
            raised_ms=now_ms,
        )
    )
    return Alarm(alarm_id, about, now_ms)


def clear_alarm(connection: Connection, alarm_id: int, now_ms: int, by: str, reason: str) -> bool:
    """Write into the log that an alarm is over; False when it is over already or never was.

    Raises ValueError for what is no text in UTF-8.
    """
    must_be_text(by=by, reason=reason)
    head = _lock(connection)
    over = update(alarms).where(alarms.c.id == alarm_id, alarms.c.cleared_ms.is_(None))
    if connection.execute(over.values(cleared_ms=now_ms)).rowcount == 0:
        return False
    _append(
        connection, head, {"what": "cleared", "at_ms": now_ms, "alarm": alarm_id, "by": by, "reason": reason}
    )
    return True


def note_key(connection: Connection, site: str, gate: str, key: KeySaid, now_ms: int) -> None:
    """Write into the log how a key of a gate stands from now on."""
    said = {"site": site, "gate": gate, **key._asdict(), "public_key": key.public_key.hex()}
    _append(connection, _lock(connection), {"what": "key", "at_ms": now_ms, **said})


def must_be_text(**said: str) -> None:
    """Raise ValueError for what not every database can hold as text: half a pair of surrogates, a NUL."""
    for name, words in said.items():
        try:
            words.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{name}: this is no text in UTF-8") from error
        if "\0" in words:
            raise ValueError(f"{name}: this is no text, there is a NUL in it")


def read_alarms(connection: Connection, *, standing: bool) -> Iterator[Alarm]:
    """Yield the alarms that stand, or all there ever were; oldest first."""
    every = as_stored(alarms).order_by(alarms.c.id)
    for row in connection.execute(every.where(alarms.c.cleared_ms.is_(None)) if standing else every):
        yield _alarm(row)


def read_clearings(connection: Connection) -> dict[int, tuple[str, str]]:
    """Return by the number of an alarm who has looked into it, "" for nobody, and why it is over."""
    said: dict[int, tuple[str, str]] = {}
    for row in read_log(connection):
        try:
            entry = json.loads(row.entry)
            if entry["what"] == "cleared":
                said[entry["alarm"]] = (str(entry["by"]), str(entry["reason"]))
        except DAMAGED:  # `verify` names it
            continue
    return said


def _alarm(row: Row[Any]) -> Alarm:
    kind, evidence = _kind(row.kind), _evidence(row.evidence)
    if kind is None or evidence is None:
        # Somebody has altered the row. It is shown all the same; `verify` says that the log says other.
        evidence = {"altered": {"kind": str(row.kind), "evidence": str(row.evidence)}}
    about = Suspicion(
        kind or AlarmKind.FALSE, row.site, row.gate, row.epoch, row.code, row.first, row.last, evidence
    )
    return Alarm(row.id, about, row.raised_ms, row.cleared_ms)


def _kind(stored: Any) -> AlarmKind | None:
    try:
        return AlarmKind(stored)
    except ValueError:
        return None


def _evidence(stored: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(stored)
    except (ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _standing(about: Suspicion) -> Select[Any]:
    return select(alarms).where(
        alarms.c.kind == str(about.kind),
        alarms.c.site == about.site,
        alarms.c.gate == about.gate,
        alarms.c.epoch == about.epoch,
        alarms.c.code == str(about.code),
        alarms.c.cleared_ms.is_(None),
    )


def _lock(connection: Connection) -> Row[Any]:
    # Always the last thing that a transaction locks.
    head = connection.execute(select(alarm_head).with_for_update()).first()
    if head is None:
        raise StoreError("the head of the alarm log is gone: somebody has altered the database; verify it")
    return head


def _append(connection: Connection, head: Row[Any], entry: dict[str, Any]) -> int:
    n = int(head.n) + 1
    line = _line({"n": n, **entry}).encode()
    digest = chained(bytes(head.hash), line)
    connection.execute(insert(alarm_log).values(n=n, entry=line, hash=digest))
    connection.execute(update(alarm_head).values(n=n, hash=digest))
    return n


def _wider(standing: Row[Any], about: Suspicion) -> bool:
    """Return whether records are altered that the standing alarm does not name yet."""
    if about.kind is not AlarmKind.FALSE or None in {about.first, about.last, standing.first, standing.last}:
        return False
    return bool(about.first < standing.first or about.last > standing.last)


def _widen(connection: Connection, head: Row[Any], standing: Row[Any], about: Suspicion, now_ms: int) -> None:
    if not _wider(standing, about):
        return
    wider = {"first": min(standing.first, about.first or 0), "last": max(standing.last, about.last or 0)}
    evidence = dict(about.evidence)
    _append(
        connection,
        head,
        {"what": "widened", "at_ms": now_ms, "alarm": standing.id, **wider, "evidence": evidence},
    )
    connection.execute(update(alarms).where(alarms.c.id == standing.id).values(**wider))


def _stated(about: Suspicion) -> dict[str, Any]:
    return {
        "kind": str(about.kind),
        "site": about.site,
        "gate": about.gate,
        "epoch": about.epoch,
        "code": str(about.code),
        "first": about.first,
        "last": about.last,
        "evidence": dict(about.evidence),
    }


def _line(statement: Any) -> str:
    return json.dumps(statement, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def read_log(connection: Connection) -> Iterator[Row[Any]]:
    """Yield the entries as they are stored: n, entry, hash."""
    yield from connection.execute(as_stored(alarm_log).order_by(alarm_log.c.n))


def read_head(connection: Connection) -> tuple[object, object] | None:
    """Return number and hash of the entry that was written last, as they are stored; None: they are gone.

    Or another row claims to be that: there is one, with the number 1.
    """
    heads = connection.execute(as_stored(alarm_head)).all()
    return (heads[0].n, heads[0].hash) if [head.id for head in heads] == [1] else None


class Amounts:
    """What the entries of a log amount to: the alarms by number, and the keys by gate and public key."""

    def __init__(self) -> None:
        self.alarms: dict[int, Alarm] = {}
        self.keys: dict[tuple[str, str, bytes], KeySaid] = {}

    def add(self, n: int, entry: bytes) -> bool:
        """Take the next entry into account; False when it makes no sense."""
        try:
            said = json.loads(entry)
            if said.pop("n") != n:
                return False
            self._take(n, said.pop("what"), said.pop("at_ms"), said)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False
        return True

    def _take(self, n: int, what: str, at_ms: int, said: dict[str, Any]) -> None:
        if what == "raised":
            about = Suspicion(**{**said, "kind": AlarmKind(said["kind"])})
            self.alarms[n] = Alarm(n, about, at_ms)
            return
        if what == "key":
            site, gate, public_key = said.pop("site"), said.pop("gate"), bytes.fromhex(said.pop("public_key"))
            self.keys[site, gate, public_key] = KeySaid(public_key, **said)
            return
        before = self.alarms[said["alarm"]]
        if what == "widened":
            wider = replace(before.about, first=said["first"], last=said["last"])
            self.alarms[before.id] = replace(before, about=wider)
        elif what == "cleared":
            self.alarms[before.id] = replace(before, cleared_ms=at_ms)
        else:
            raise ValueError(what)
