"""The store as the rest of the centre sees it."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Self

from sqlalchemy import Engine

from central.store import alarm_log, contents, gates, ingest, judging
from central.store.engine import bring_up_to_date, connect, reading, writing
from central.store.model import (
    Alarm,
    Arrived,
    ArrivedSealed,
    GateKey,
    Ingested,
    Outcome,
    StoredRecord,
    StreamState,
    Suspicion,
)
from central.store.reading import Name
from gate.core.delivery import Receipt


def open_store(url: str, *, migrate: bool = True) -> "Store":
    """Open the database behind this URL and bring its schema up to date.

    `sqlite:///path` (a new file is made; its folder has to be there) or `postgresql+psycopg://...`.
    Raises StoreError when the database cannot be reached, was written by a newer version, or is behind and
    `migrate` is False.
    """
    engine = connect(url)
    try:
        bring_up_to_date(engine, migrate=migrate)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine)


class Store:
    """Everything that the centre knows. Close it when done."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Gates

    def register_gate(self, site: str, gate: str, public_key: bytes, now_ms: int, *, note: str = "") -> None:
        """Believe what this key (Ed25519, 32 bytes) signs for this gate; again after a revocation, too.

        Clears the gate's alarms `unknown_gate` and `unknown_key`. Raises ValueError for a name or key that
        is none, and for a note that is no text in UTF-8 or has a NUL.
        """
        with writing(self.engine) as connection:
            gates.register(connection, site, gate, public_key, now_ms, note)

    def revoke_key(self, site: str, gate: str, kid: str | None, now_ms: int) -> int:
        """Believe this key (8 hex digits; None: every key of the gate) no longer; return how many it were.

        What it has proved before stays proved.
        """
        with writing(self.engine) as connection:
            return gates.revoke(connection, site, gate, kid, now_ms)

    def gates(self) -> list[GateKey]:
        """Return all keys of all gates, revoked ones too, by site, gate and time."""
        with reading(self.engine) as connection:
            return gates.read(connection)

    # What arrives

    def ingest(self, arrived: Sequence[Arrived], now_ms: int) -> Ingested:
        """Store a batch in one transaction: all of it is on disk when this returns.

        Never raises for what arrived; what is no record of the gate in whose topic it came goes to the
        rejects. Up to some 10,000 records at once.
        """
        return ingest.ingest(self.engine, arrived, now_ms)

    def ingest_sealed(self, arrived: Sequence[ArrivedSealed], now_ms: int) -> Ingested:
        """Store sealed attachments in one transaction; records that had waited for them are linked."""
        return ingest.ingest_sealed(self.engine, arrived, now_ms)

    def checkpoint(self, message: bytes, site: str, gate: str, now_ms: int) -> Outcome:
        """Judge a checkpoint that came in this gate's topic, keep it, and move `proved` when it proves more.

        Never raises for what arrived.
        """
        return judging.judge(self.engine, message, site, gate, now_ms)

    def keep_receipts(self, made: Iterable[tuple[Receipt, bytes]]) -> None:
        """Keep receipts (with their signed messages) before they are published.

        The newest of each stream and of each day (UTC) of each stream stays. Ignores those that ask.
        """
        with writing(self.engine) as connection:
            contents.keep_receipts(connection, made)

    # Alarms

    def raise_alarm(self, about: Suspicion, now_ms: int) -> Alarm | None:
        """Write an alarm into the log; None when the same one stands already."""
        with writing(self.engine) as connection:
            return alarm_log.raise_alarm(connection, about, now_ms)

    def clear_alarm(self, alarm_id: int, now_ms: int, *, by: str = "", reason: str = "") -> bool:
        """Write into the log that an alarm is over; False when it is over already or never was.

        Raises ValueError for what is no text in UTF-8 or has a NUL.
        """
        with writing(self.engine) as connection:
            return alarm_log.clear_alarm(connection, alarm_id, now_ms, by, reason)

    def alarms(self, *, standing: bool = True) -> list[Alarm]:
        """Return the alarms that stand, or all there ever were; oldest first."""
        with reading(self.engine) as connection:
            return list(alarm_log.read_alarms(connection, standing=standing))

    def clearings(self) -> dict[int, tuple[str, str]]:
        """Return by the number of an alarm who has looked into it, "" for nobody, and why it is over."""
        with reading(self.engine) as connection:
            return alarm_log.read_clearings(connection)

    # Reading

    def streams(self, site: str | None = None, gate: str | None = None) -> list[StreamState]:
        """Return how every stream stands, by site and gate, each ledger before the one that followed it.

        What says nothing of whom it follows stands by the time at which it first came.
        """
        with reading(self.engine) as connection:
            return contents.states(connection, site, gate)

    def stream(self, site: str, gate: str, epoch: str) -> StreamState | None:
        """Return how one stream stands."""
        with reading(self.engine) as connection:
            return next(iter(contents.states(connection, site, gate, epoch)), None)

    def holes(self, stream_id: int, limit: int = 100) -> list[tuple[int, int]]:
        """Return up to `limit` ranges (first, last) that are missing, also those missing an attachment."""
        with reading(self.engine) as connection:
            return contents.holes(connection, stream_id, limit)

    def records(
        self,
        site: str | None = None,
        gate: str | None = None,
        epoch: str | None = None,
        *,
        from_ms: int | None = None,
        to_ms: int | None = None,
        kinds: Iterable[str] | None = None,
        abnormal: bool | None = None,
    ) -> Generator[StoredRecord]:
        """Yield records by stream and number; of a span of the gates' own time: from_ms <= at_ms < to_ms.

        Reads one consistent view with little memory, however many there are.
        """
        with reading(self.engine) as connection:
            yield from contents.stored(
                connection, site, gate, epoch, from_ms=from_ms, to_ms=to_ms, kinds=kinds, abnormal=abnormal
            )

    def export_lines(
        self,
        site: str | None = None,
        gate: str | None = None,
        *,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> Generator[bytes]:
        """Yield one JSON line (without line break) per record, in the same order as `records`.

        {"site","gate","epoch","seq","hash","record"}; the record's exact bytes stand in it; hash: 64 hex
        digits, null while the record is parked.
        """
        found = self.records(site, gate, from_ms=from_ms, to_ms=to_ms)
        with closing(found):
            yield from map(contents.export_line, found)

    def rejects(self) -> int:
        """Return how many messages were rejected, counting the newest 10,000 different ones."""
        with reading(self.engine) as connection:
            return contents.rejected(connection)

    # Sealed attachments

    def sealed(self, site: str, gate: str, epoch: str, seq: int) -> bytes | None:
        """Return the attachment that a record declares; None when it has none, or it is erased or missing."""
        with reading(self.engine) as connection:
            return contents.sealed(connection, Name(site, gate, epoch), seq)
