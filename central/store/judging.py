"""What becomes of a checkpoint: who signed it, whether it is news, and what it says of what arrived."""

import hashlib
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, insert, select, update

from central.store.engine import writing
from central.store.ingest import Reject, keep_rejects
from central.store.model import AlarmKind, Code, Outcome, Suspicion, Trust
from central.store.proving import Work, after_end, prove, say_cut, say_goes_on
from central.store.reading import Name, is_name
from central.store.streams import Stream, StreamMissingError, begin, hash_at, locked
from central.store.tables import checkpoints, gate_keys
from gate.core.delivery import Ask, Checkpoint, Why
from gate.core.signed import SignedError, named_key, read_unproved

_ALARMS: Final = {
    Trust.BAD_SIGNATURE: Code.BAD_SIGNATURE,
    Trust.UNKNOWN_GATE: Code.UNKNOWN_GATE,
    Trust.UNKNOWN_KEY: Code.UNKNOWN_KEY,
    Trust.REVOKED_KEY: Code.REVOKED_KEY,
}


def judge(engine: Engine, message: bytes, site: str, gate: str, now_ms: int) -> Outcome:
    """Judge a checkpoint, keep it, and let it prove what it proves, in one transaction. Raises StoreError."""
    try:
        stated = Checkpoint.read(read_unproved(message))
    except SignedError as error:
        return _refuse(engine, Reject(site, gate, message, error.reason), now_ms)
    name = Name(stated.site, stated.gate, stated.epoch)
    if (stated.site, stated.gate) != (site, gate) or not is_name(name) or not _bounded(stated):
        return _refuse(engine, Reject(site, gate, message, "other_gate"), now_ms)
    while True:
        try:
            with writing(engine) as connection:
                work = Work(connection, locked(connection, [name]), now_ms)
                outcome = _judge(work, work.streams[name], stated, message)
                work.save()
                return outcome
        except StreamMissingError:
            begin(engine, [name], now_ms)


def trust_in(message: bytes, keys: list[Row[Any]]) -> Trust:
    """Return whether a checkpoint that can be read is signed by one of these keys of its gate."""
    if not keys:
        return Trust.UNKNOWN_GATE
    valid = tuple(bytes(key.public_key) for key in keys if key.revoked_ms is None)
    trust = _signed(message, valid)
    if trust is not Trust.UNKNOWN_KEY:
        return trust
    revoked = tuple(bytes(key.public_key) for key in keys if key.revoked_ms is not None)
    trust = _signed(message, revoked)
    return Trust.REVOKED_KEY if trust is Trust.TRUSTED else trust


def _signed(message: bytes, keys: tuple[bytes, ...]) -> Trust:
    try:
        Checkpoint.opened(message, keys)
    except SignedError as error:
        return Trust.UNKNOWN_KEY if error.reason == "unknown_key" else Trust.BAD_SIGNATURE
    return Trust.TRUSTED


def _bounded(stated: Checkpoint) -> bool:
    """Return whether its numbers fit into 64 bits."""
    return all(abs(number) < 2**62 for number in (stated.size, stated.at_ms, stated.receipted))


def _refuse(engine: Engine, reject: Reject, now_ms: int) -> Outcome:
    """Keep what is no checkpoint of this gate; whoever may write in its topic should not do that."""
    with writing(engine) as connection:
        keep_rejects(connection, [reject], now_ms)
        work = Work(connection, {}, now_ms)
        if keys_of(connection, reject.site, reject.gate):
            evidence = {
                "reason": reject.reason,
                "message_sha256": hashlib.sha256(reject.message).hexdigest(),
            }
            work.suspect_gate(
                Suspicion(
                    AlarmKind.FALSE, reject.site, reject.gate, "", Code.BAD_SIGNATURE, evidence=evidence
                )
            )
    return Outcome(Trust.MALFORMED, raised=tuple(work.raised))


def keys_of(connection: Connection, site: str, gate: str) -> list[Row[Any]]:
    """Return all keys of a gate, revoked ones too."""
    of_gate = select(gate_keys).where(gate_keys.c.site == site, gate_keys.c.gate == gate)
    return list(connection.execute(of_gate.order_by(gate_keys.c.id)))


def _judge(work: Work, stream: Stream, stated: Checkpoint, message: bytes) -> Outcome:
    trust = trust_in(message, keys_of(work.connection, stream.site, stream.gate))
    repeated = _keep(work, stream, stated, message, trust)
    if trust is Trust.TRUSTED:
        _believe(work, stream, stated, message, repeated=repeated)
    elif not repeated:  # a retained message comes again, also after its key was revoked
        _distrust(work, stream, stated, trust, named_key(message))
    restored = trust is Trust.TRUSTED and stated.receipted > stream.proved
    again = stream.name in work.wanted_again or restored
    return Outcome(
        trust,
        stated,
        stream.state(),
        advanced=stream.name in work.advanced,
        repeated=repeated,
        ask=Ask.RECORDS if again else Ask.NOTHING,
        raised=tuple(work.raised),
    )


def _keep(work: Work, stream: Stream, stated: Checkpoint, message: bytes, trust: Trust) -> bool:
    """Keep a checkpoint; return whether it was here before, and as trustworthy."""
    digest = hashlib.sha256(message).digest()
    ours = checkpoints.c.stream == stream.id
    same = work.connection.execute(select(checkpoints).where(ours, checkpoints.c.digest == digest)).first()
    content = {
        "size": stated.size, "hash": stated.hash, "at_ms": stated.at_ms, "came_ms": work.now_ms,
        "trust": str(trust), "contradicted": False, "digest": digest, "message": message,
    }  # fmt: skip
    if same is not None:
        if same.trust != str(trust) and same.trust != str(Trust.TRUSTED):  # its key was registered since
            work.connection.execute(update(checkpoints).where(checkpoints.c.id == same.id).values(content))
            return False
        return True
    replaced = _heartbeat_before(work.connection, stream, stated, trust)
    if replaced is None:
        work.connection.execute(insert(checkpoints).values(stream=stream.id, **content))
    else:
        content["contradicted"] = replaced.contradicted
        work.connection.execute(update(checkpoints).where(checkpoints.c.id == replaced.id).values(content))
    return False


def _heartbeat_before(
    connection: Connection, stream: Stream, stated: Checkpoint, trust: Trust
) -> Row[Any] | None:
    """Return the newest checkpoint when it and the one before say the same as this: it can go."""
    newest = select(checkpoints).where(checkpoints.c.stream == stream.id).order_by(checkpoints.c.id.desc())
    rows = connection.execute(newest.limit(2)).all()
    same = [
        row
        for row in rows
        if (row.size, bytes(row.hash), row.trust) == (stated.size, stated.hash, str(trust))
    ]
    return rows[0] if len(same) == 2 and same[0].at_ms <= stated.at_ms else None


def _distrust(work: Work, stream: Stream, stated: Checkpoint, trust: Trust, key: str) -> None:
    # About the gate as a whole, unless a registered key is misused.
    epoch = "" if trust in {Trust.UNKNOWN_GATE, Trust.UNKNOWN_KEY} else stream.epoch
    said = {"epoch": stream.epoch, "size": stated.size, "hash": stated.hash.hex(), "at_ms": stated.at_ms}
    code, evidence = _ALARMS[trust], {"key": key, **said}
    work.suspect_gate(Suspicion(AlarmKind.FALSE, stream.site, stream.gate, epoch, code, evidence=evidence))


def _believe(work: Work, stream: Stream, stated: Checkpoint, message: bytes, *, repeated: bool) -> None:
    if not repeated:
        _compare_with_newest(work, stream, stated)
        _watch_old_epoch(work, stream, stated)
        # A retained message says nothing of whether the gate still lives; and this instant is held against
        # what the gate's clock said when it stated the whole of its ledger.
        if stated.why is not Why.COUNT:
            stream.heard_ms = work.now_ms
    stream.receipted = max(stream.receipted, stated.receipted)
    # Of an idle gate the newest word counts, not the latest clock: that may have been put right.
    heartbeat = stated.size == stream.head and stated.why is not Why.COUNT and not repeated
    if stated.size > stream.head or heartbeat:
        stream.head, stream.head_at_ms = stated.size, stated.at_ms
        stream.head_clock_trusted = stated.clock_trusted
    work.changed.add(stream.name)
    if 0 < stated.size <= stream.proved:
        _compare_with_proved(work, stream, stated, message)
    prove(work, stream)


def _compare_with_newest(work: Work, stream: Stream, stated: Checkpoint) -> None:
    """Fewer records than before, and later: the ledger went back. Earlier: it only came late.

    Not where it is stated how far a backlog has been sent: that says nothing of how far the ledger reaches.
    """
    if stated.why is Why.COUNT or stream.head_at_ms is None:
        return
    if stated.size < stream.head and stated.at_ms > stream.head_at_ms:
        work.suspect(
            AlarmKind.CONCEALED, stream, Code.WENT_BACK, stated.size + 1, stream.head,
            size=stated.size, at_ms=stated.at_ms, size_before=stream.head, at_ms_before=stream.head_at_ms,
        )  # fmt: skip


def _watch_old_epoch(work: Work, stream: Stream, stated: Checkpoint) -> None:
    """Signed for a ledger that had ended: two devices with one identity, or one that goes back and forth."""
    if not stream.successor:
        return
    later = after_end(stream, stated.at_ms, clock_trusted=stated.clock_trusted)
    if stream.ended is not None and stated.size > stream.ended and later is False:
        say_cut(work, stream, stream.successor, stream.ended, stated.size)  # stated in time, but it came late
    elif later or stated.size > (stream.head if stream.ended is None else stream.ended):
        say_goes_on(work, stream, stated.size, stated.at_ms)


def _compare_with_proved(work: Work, stream: Stream, stated: Checkpoint, message: bytes) -> None:
    here = hash_at(work.connection, stream, stated.size)
    if here == stated.hash:
        return
    ours = (checkpoints.c.stream == stream.id) & (checkpoints.c.digest == hashlib.sha256(message).digest())
    work.connection.execute(update(checkpoints).where(ours).values(contradicted=True))
    work.suspect(
        AlarmKind.FALSE, stream, Code.CHECKPOINT_DIFFERS, 1, stated.size,
        stated=stated.hash.hex(), here=(here or b"").hex(), at_ms=stated.at_ms, proved=stream.proved,
    )  # fmt: skip
