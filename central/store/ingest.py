"""How records come in: sorted out, put behind one another, written at once."""

import hashlib
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, func, select, update

from central.store import reading
from central.store.bulk import RecordRow, insert_records
from central.store.engine import AlreadyThereError, writing
from central.store.model import (
    AlarmKind,
    Arrived,
    ArrivedSealed,
    Code,
    Ingested,
    Progress,
    StoredRecord,
    Suspicion,
)
from central.store.proving import Work, keep_conflicts, link_on, prove, set_hashes
from central.store.reading import Attachment, Incoming, Name, UnreadableError
from central.store.retired import recalled
from central.store.streams import Stream, StreamMissingError, attached, begin, bodies, insert_new, locked
from central.store.tables import attachments, rejects
from gate.core.chain import link
from gate.core.delivery import Ask

REJECTS_KEPT: Final = 10_000
REJECT_START_BYTES: Final = 4096
_SEQ: Final = attrgetter("seq")


@dataclass(frozen=True, slots=True)
class Reject:
    """One message that was none, in whose topic, and why not."""

    site: str
    gate: str
    message: bytes
    reason: str


@dataclass(slots=True)
class Plan:
    """What is to be written for one stream."""

    stream: Stream
    rows: list[RecordRow] = field(default_factory=list)
    new: list[StoredRecord] = field(default_factory=list)
    hashes: list[tuple[int, bytes]] = field(default_factory=list)
    beside: list[tuple[int, bytes]] = field(default_factory=list)
    duplicates: int = 0


def ingest(engine: Engine, arrived: Sequence[Arrived], now_ms: int) -> Ingested:
    """Store a batch of records in one transaction. Raises StoreError."""
    by_name, rejected = sort_out(arrived)
    try:
        return _store(engine, by_name, rejected, now_ms, careful=False)
    except AlreadyThereError:
        # Somebody who is not of this house has written to the table: look at every number before.
        return _store(engine, by_name, rejected, now_ms, careful=True)


def sort_out(arrived: Sequence[Arrived]) -> tuple[dict[Name, list[Incoming]], list[Reject]]:
    """Return the records by ledger, and what is none."""
    by_name: dict[Name, list[Incoming]] = {}
    rejected: list[Reject] = []
    read = reading.record
    last, bucket = Name("", "", ""), list[Incoming]()
    for one in arrived:
        try:
            epoch, incoming = read(one.site, one.gate, one.body)
            if one.gate != last.gate or epoch != last.epoch or one.site != last.site:
                # Mostly a message holds many records of one gate.
                last = reading.checked(Name(one.site, one.gate, epoch))
                bucket = by_name.setdefault(last, [])
            bucket.append(incoming)
        except UnreadableError as error:
            rejected.append(Reject(one.site, one.gate, one.body, str(error)))
    return by_name, rejected


def _store(
    engine: Engine,
    by_name: dict[Name, list[Incoming]],
    rejected: Sequence[Reject],
    now_ms: int,
    *,
    careful: bool,
) -> Ingested:
    def write(work: Work) -> Ingested:
        plans = [
            _plan(work, work.streams[name], incoming, careful=careful) for name, incoming in by_name.items()
        ]
        insert_records(work.connection, [row for plan in plans for row in plan.rows])
        conflicts = sum(_settle(work, plan) for plan in plans)
        return Ingested(
            new=tuple(record for plan in plans for record in plan.new),
            duplicates=sum(plan.duplicates for plan in plans),
            conflicts=conflicts,
        )

    return _in_one_transaction(engine, by_name, rejected, now_ms, write)


def _in_one_transaction(
    engine: Engine,
    names: Collection[Name],
    rejected: Sequence[Reject],
    now_ms: int,
    write: Callable[[Work], Ingested],
) -> Ingested:
    """Keep the rejects, lock the gates, write, save the streams; begin those that are not there yet."""
    while True:
        try:
            with writing(engine) as connection:
                keep_rejects(connection, rejected, now_ms)
                work = Work(connection, locked(connection, names) if names else {}, now_ms)
                done = write(work)
                work.save()
                return replace(
                    done, rejects=len(rejected), raised=tuple(work.raised), progress=_progress(work, names)
                )
        except StreamMissingError:
            begin(engine, names, now_ms)


def _progress(work: Work, names: Iterable[Name]) -> tuple[Progress, ...]:
    return tuple(
        Progress(
            work.streams[name].state(),
            advanced=name in work.advanced,
            ask=Ask.RECORDS if name in work.wanted_again else Ask.NOTHING,
        )
        for name in sorted({*names, *work.changed})
    )


def _plan(work: Work, stream: Stream, incoming: list[Incoming], *, careful: bool) -> Plan:
    """Decide what becomes of these records; nothing is written yet."""
    plan = Plan(stream)
    incoming.sort(key=_SEQ)
    here: Mapping[int, Any] = {}
    if careful or incoming[0].seq <= stream.top:
        here = bodies(work.connection, stream.id, {one.seq for one in incoming})
        if not all(row.body for row in here.values()):
            here = recalled(work.connection, stream, here, incoming)
    fresh = _fresh(plan, incoming, here)
    if fresh:
        sealed = [one.seq for one in (*fresh, *here.values()) if one.sealed is not None]
        present = attached(work.connection, stream.id, sealed) if sealed else set()
        _chain(plan, fresh, here, present, work.now_ms)
        stream.top = max(stream.top, incoming[-1].seq)
        stream.record_ms = work.now_ms
        work.changed.add(stream.name)
    return plan


def _fresh(plan: Plan, incoming: Iterable[Incoming], here: Mapping[int, Any]) -> list[Incoming]:
    """Return the records that are new, in order; note those that came twice and those that differ."""
    fresh: list[Incoming] = []
    newest = 0
    for one in incoming:
        if one.seq in here:
            body = here[one.seq].body
        elif one.seq == newest:
            body = fresh[-1].body
        else:
            fresh.append(one)
            newest = one.seq
            continue
        if body == one.body:
            plan.duplicates += 1
        else:
            plan.beside.append((one.seq, one.body))
    return fresh


def _chain(
    plan: Plan,
    fresh: Iterable[Incoming],
    here: Mapping[int, Any],
    present: Container[tuple[int, bytes]],
    now_ms: int,
) -> None:
    """Link what follows without a hole, taking in what was parked; park the rest."""
    stream = plan.stream
    site, gate, epoch, number = stream.site, stream.gate, stream.epoch, stream.id
    digest, expected = stream.linked_hash, stream.linked + 1
    for one in fresh:
        while expected in here and _whole(expected, here[expected].sealed, present):
            digest = link(digest, here[expected].body)
            plan.hashes.append((expected, digest))
            expected += 1
        own = None
        if one.seq == expected and (one.sealed is None or _whole(expected, one.sealed, present)):
            own = digest = link(digest, one.body)
            expected += 1
        plan.rows.append(
            (number, one.seq, one.at_ms, now_ms, one.kind, one.abnormal, one.body, own, one.sealed)
        )
        plan.new.append(
            StoredRecord(site, gate, epoch, one.seq, one.body, own, one.at_ms, now_ms, one.kind, one.abnormal)
        )
    stream.linked, stream.linked_hash = expected - 1, digest


def _whole(seq: int, sealed: bytes | None, present: Container[tuple[int, bytes]]) -> bool:
    return sealed is None or (seq, bytes(sealed)) in present


def _settle(work: Work, plan: Plan) -> int:
    """Do what needs the rows in their places; return how many records differed."""
    stream = plan.stream
    set_hashes(work.connection, stream.id, plan.hashes)
    if plan.beside:
        _keep_beside(work, plan)
    if plan.new:
        link_on(work, stream)
        prove(work, stream)
    _say_unknown(work, stream)
    return len(plan.beside)


def _keep_beside(work: Work, plan: Plan) -> None:
    stream = plan.stream
    keep_conflicts(work.connection, stream, plan.beside, "other_bytes", work.now_ms)
    work.changed.add(stream.name)
    altered = sorted({seq for seq, _ in plan.beside if seq <= stream.proved})
    if altered:  # of what is not proved yet, a checkpoint will say which is right
        work.suspect(AlarmKind.FALSE, stream, Code.ALTERED, altered[0], altered[-1], records=altered[:100])


def _say_unknown(work: Work, stream: Stream) -> None:
    if not stream.known:
        work.suspect_gate(Suspicion(AlarmKind.FALSE, stream.site, stream.gate, "", Code.UNKNOWN_GATE))


def ingest_sealed(engine: Engine, arrived: Sequence[ArrivedSealed], now_ms: int) -> Ingested:
    """Store a batch of sealed attachments in one transaction. Raises StoreError."""
    by_name: dict[Name, list[Attachment]] = {}
    rejected: list[Reject] = []
    for one in arrived:
        try:
            epoch, attachment = reading.sealed_message(one.message)
            by_name.setdefault(reading.checked(Name(one.site, one.gate, epoch)), []).append(attachment)
        except UnreadableError as error:
            rejected.append(Reject(one.site, one.gate, one.message, str(error)))

    def write(work: Work) -> Ingested:
        new = sum(_attach(work, work.streams[name], found) for name, found in by_name.items())
        return Ingested(duplicates=sum(map(len, by_name.values())) - new)

    return _in_one_transaction(engine, by_name, rejected, now_ms, write)


def _attach(work: Work, stream: Stream, found: Sequence[Attachment]) -> int:
    """Store what is new of these; link and prove what has waited for it."""
    rows = [
        {
            "stream": stream.id, "seq": one.seq, "digest": hashlib.sha256(one.blob).digest(),
            "blob": one.blob, "seen_ms": work.now_ms, "erased_by": "", "erased_why": "",
        }
        for one in found
    ]  # fmt: skip
    new = insert_new(work.connection, attachments, rows)
    if new and stream.top > stream.linked:
        link_on(work, stream)
        prove(work, stream)
    _say_unknown(work, stream)
    return new


def keep_rejects(connection: Connection, rejected: Iterable[Reject], now_ms: int) -> None:
    """Keep the start of what was no message, once, with how often it came; the oldest are forgotten."""
    counted: dict[bytes, tuple[Reject, int]] = {}
    for one in rejected:
        digest = hashlib.sha256(one.message).digest()
        counted[digest] = (one, counted.get(digest, (one, 0))[1] + 1)
    for digest in sorted(counted):  # in one order everywhere, so that no two wait for each other
        one, times = counted[digest]
        again = update(rejects).where(rejects.c.digest == digest)
        changes = {"times": rejects.c.times + times, "last_ms": now_ms}
        if connection.execute(again.values(changes)).rowcount == 0:
            insert_new(connection, rejects, [_reject_row(one, digest, times, now_ms)])
    if counted:
        newest = select(func.max(rejects.c.id)).scalar_subquery()
        connection.execute(delete(rejects).where(rejects.c.id <= newest - REJECTS_KEPT))


def _reject_row(one: Reject, digest: bytes, times: int, now_ms: int) -> dict[str, Any]:
    return {
        "digest": digest, "site": _shown(one.site), "gate": _shown(one.gate), "reason": one.reason,
        "size": len(one.message), "start": one.message[:REJECT_START_BYTES],
        "first_ms": now_ms, "last_ms": now_ms, "times": times,
    }  # fmt: skip


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name[:64])
