"""Opening and erasing what people have stated at a registration.

The values come sealed to the centre's public key (a libsodium sealed box); gate and broker cannot read them,
and only `seal.key` opens them. The chain holds the SHA-256 of the sealed bytes, and sealing is random: who
knows the values cannot find them in the hash, and without the bytes nothing can be opened or compared any
more. So they can be erased while the chain stays whole.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox
from sqlalchemy import Connection, select, update

from central.people.access_log import append, note
from central.people.caller import Caller, What
from central.people.sightings import Ledger, Lost, Told, ledgers, read, told
from central.people.subjects import Subject
from central.people.visits import VISIT_MS_MAX, visits_of
from central.store import Store, StoreError
from central.store.contents import sealed
from central.store.engine import BUSY_S, failures_named, reading, writing
from central.store.reading import Name
from central.store.tables import attachments, records, streams

_VALUE_MAX: Final = 400


class SealedError(Exception):
    """A registration that cannot be opened or erased, in a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which record. Its ledger is named by an epoch, which no two have in common unless one is a copy."""

    site: str
    gate: str
    epoch: str
    seq: int

    @property
    def name(self) -> Name:
        """The ledger."""
        return Name(self.site, self.gate, self.epoch)

    def stated(self) -> dict[str, Any]:
        """Return what the access log says of it."""
        return {"site": self.site, "gate": self.gate, "epoch": self.epoch, "seq": self.seq}


def find(store: Store, gate: str, epoch: str, seq: int, site: str | None = None) -> Place:
    """Return the place of a record. Raises SealedError when there is no such ledger, or more than one."""
    found = [stream for stream in store.streams(site, gate) if stream.epoch == epoch]
    if not found:
        raise SealedError(f"no gate {gate} with a ledger {epoch} is known")
    if len(found) > 1:
        sites = ", ".join(sorted(stream.site for stream in found))
        raise SealedError(f"there is a gate {gate} with a ledger {epoch} in {sites}; say which with --site")
    return Place(found[0].site, gate, epoch, seq)


def reveal(store: Store, key: PrivateKey, place: Place, caller: Caller, now_ms: int) -> Mapping[str, str]:
    """Return what somebody has stated at a registration: field to value.

    That it was asked for is in the access log before. Raises SealedError, StoreError.
    """
    note(store, caller, What.REVEAL, place.stated(), now_ms)
    with reading(store.engine) as connection:
        blob = sealed(connection, place.name, place.seq)
        if blob is None:
            raise SealedError(_why_not(connection, place))
    return opened(blob, key, place)


def opened(blob: bytes, key: PrivateKey, place: Place) -> Mapping[str, str]:
    """Open a registration: {"v":1,"site","gate","at_ms","fields":{...}} and spaces. Raises SealedError."""
    try:
        said = json.loads(SealedBox(key).decrypt(blob))
        names, fields = (said["site"], said["gate"]), said["fields"]
        sound = said["v"] == 1 and all(isinstance(value, str) for value in fields.values())
    except CryptoError as error:
        raise SealedError("this centre's seal.key does not open it; it was sealed to another key") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SealedError("what was sealed is no registration") from error
    if not sound:
        raise SealedError("what was sealed is no registration")
    if names != (place.site, place.gate):
        raise SealedError("it was sealed at another gate than the one whose record it came with")
    return {_shown(name): _shown(value) for name, value in fields.items()}


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_VALUE_MAX])


def _why_not(connection: Connection, place: Place) -> str:
    of_gate = ledgers(connection, place.site, place.gate)
    own = [ledger.id for ledger in of_gate if ledger.epoch == place.epoch]
    declared = connection.execute(
        select(records.c.sealed).where(records.c.stream.in_(own), records.c.seq == place.seq)
    ).first()
    if declared is None:
        return f"there is no record {place.seq} in this ledger"
    if declared.sealed is None:
        return "this record came without a registration"
    erased = connection.execute(
        select(attachments.c.erased_by, attachments.c.erased_why).where(
            attachments.c.stream.in_(own), attachments.c.seq == place.seq, attachments.c.blob.is_(None)
        )
    ).first()
    if erased is None:
        return "the registration has not come yet"
    return f"the registration was erased by {erased.erased_by}: {erased.erased_why}"


def erase(
    store: Store, places: Iterable[Place], caller: Caller, now_ms: int, *, subject: str | None = None
) -> int:
    """Delete the registrations beside these records, of this subject if given; return how many there were.

    All that came with them, also what no record declares. In one transaction with its entry in the access
    log; `scrub` the store after it. Raises StoreError.
    """
    wanted = list(places)
    with writing(store.engine) as connection:
        overwrite(connection)
        count = sum(_erase(connection, place, caller, now_ms) for place in wanted)
        about = {
            "subject": subject,
            "erased": count,
            "records": [place.stated() for place in wanted[:_NAMED_MAX]],
        }
        append(connection, caller, What.ERASE, about, now_ms)
    return count


def _erase(connection: Connection, place: Place, caller: Caller, now_ms: int) -> int:
    """Delete what came with one record; return how many it were: `verify` counts them again."""
    of_ledger = select(streams.c.id).where(
        streams.c.site == place.site, streams.c.gate == place.gate, streams.c.epoch == place.epoch
    )
    there = update(attachments).where(
        attachments.c.stream == of_ledger.scalar_subquery(),
        attachments.c.seq == place.seq,
        attachments.c.blob.is_not(None),
    )
    gone = {"blob": None, "erased_ms": now_ms, "erased_by": caller.by, "erased_why": caller.reason}
    return connection.execute(there.values(gone)).rowcount


_NAMED_MAX: Final = 1000


def sealed_of(store: Store, subject: Subject) -> list[Place]:
    """Return the records of this person beside which a registration is kept. Raises StoreError."""
    with reading(store.engine) as connection:
        return [place for ledger in ledgers(connection) for place in _sealed_in(connection, subject, ledger)]


def _sealed_in(connection: Connection, subject: Subject, ledger: Ledger) -> Iterator[Place]:
    beside = (
        select(records.c.seq, records.c.at_ms, records.c.seen_ms, records.c.kind, records.c.abnormal)
        .add_columns(records.c.body)
        .join(attachments, (attachments.c.stream == records.c.stream) & (attachments.c.seq == records.c.seq))
        .where(records.c.stream == ledger.id, attachments.c.blob.is_not(None))
        .distinct()
    )
    for row in connection.execute(beside.order_by(records.c.seq)).all():
        said = told(row, Lost())
        if said is None:
            continue
        if said.subject:
            is_of = said.subject in subject.names(ledger.site, said.stated_ms)
        else:
            # It may stand before the code that says who it was.
            is_of = _visit_is_of(connection, subject, ledger, said)
        if is_of:
            yield Place(ledger.site, ledger.gate, ledger.epoch, row.seq)


def _visit_is_of(connection: Connection, subject: Subject, ledger: Ledger, said: Told) -> bool:
    start_ms, end_ms = said.earliest_ms - VISIT_MS_MAX, said.latest_ms + VISIT_MS_MAX
    around = visits_of(read(connection, [ledger], start_ms, end_ms, Lost()))
    return any(visit.name == said.visit and visit.is_of(subject) for visit in around)


# The bytes in the files


def overwrite(connection: Connection) -> None:
    """Have SQLite write zeros over whatever this connection deletes from now on."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")


def scrub(store: Store) -> bool:
    """Have the database drop from its files what was deleted; False when others kept it from doing so now.

    SQLite: the write-ahead log is copied into the file, where zeros stand by now, and emptied. PostgreSQL:
    the table of the sealed values is written anew. Neither reaches backups, archived logs, or what a disk
    keeps to itself.
    """
    try:
        with failures_named():
            return _empty_log(store) if store.engine.dialect.name == "sqlite" else _write_anew(store)
    except StoreError:
        return False


def _empty_log(store: Store) -> bool:
    connection = store.engine.raw_connection()
    try:
        cursor = connection.cursor()
        busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        cursor.close()
    finally:
        connection.close()
    return not busy


def _write_anew(store: Store) -> bool:
    with store.engine.connect() as plain:
        connection = plain.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql(f"SET lock_timeout = '{BUSY_S}s'")
        try:
            connection.exec_driver_sql("VACUUM (FULL) attachments")
        finally:
            connection.exec_driver_sql("RESET lock_timeout")
    return True
