"""What is erased and retired when its time is over, once a day.

Registration values go first, then what records say (`central.store.retired`); both in pieces, so that ingest
waits for none of them long, and each piece with its entry in the access log in the same transaction.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, tuple_, update

from central.clock import Clock
from central.people.access_log import append, lock, newest_ms, note
from central.people.caller import Caller, What
from central.people.privacy import overwrite, scrub
from central.people.settings import DAY_MS, RetentionSettings
from central.store import Store, StreamState
from central.store.engine import reading, writing
from central.store.reading import Name
from central.store.retired import NOTHING, due_upto, retire, retired_upto, summary
from central.store.streams import locked
from central.store.tables import attachments, rejects
from central.worker import Worker

LOG: Final = logging.getLogger(__name__)
ROUND_S: Final = 600.0
FAREWELL_S: Final = 10.0
_BY: Final = "retention"
_BLOBS_AT_ONCE: Final = 2000
_LEDGERS_AT_ONCE: Final = 20
_RECORDS_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Removed:
    """How much was removed, or is to be: registrations, records, starts of messages that were none."""

    sealed: int = 0
    records: int = 0
    rejects: int = 0


def due(store: Store, settings: RetentionSettings, now_ms: int) -> Removed:
    """Return what `run` would remove now; nothing is changed. Raises StoreError."""
    with reading(store.engine) as connection:
        old = attachments.c.seen_ms < now_ms - settings.sealed_days * DAY_MS
        sealed = select(func.count()).where(attachments.c.blob.is_not(None), old)
        found = Removed(sealed=int(connection.scalar(sealed) or 0))
        if settings.records_days is None:
            return found
        before_ms = now_ms - settings.records_days * DAY_MS
        starts = select(func.count()).where(rejects.c.last_ms < before_ms, rejects.c.start != NOTHING)
        count = int(connection.scalar(starts) or 0)
    records = sum(_due_records(store, state, before_ms, now_ms) for state in store.streams())
    return Removed(found.sealed, records, count)


def _due_records(store: Store, state: StreamState, before_ms: int, now_ms: int) -> int:
    with reading(store.engine) as connection:
        upto = due_upto(
            connection, state.id, state.proved, before_ms=before_ms, now_ms=now_ms, at_most=state.proved
        )
        return upto - retired_upto(connection, state.id)


def run(store: Store, settings: RetentionSettings, now_ms: int, by: str = _BY) -> Removed:
    """Remove whatever is over its time. Raises StoreError; what was done until then stays done."""
    kept = f"sealed_days = {settings.sealed_days}, records_days = {settings.records_days or 'unlimited'}"
    caller = Caller(by, kept)
    planned = due(store, settings, now_ms)
    about = {"sealed": planned.sealed, "records": planned.records, "rejects": planned.rejects}
    note(store, caller, What.RETENTION, about, now_ms)
    sealed = sum(_erase_sealed(store, caller, now_ms - settings.sealed_days * DAY_MS, now_ms))
    records = starts = 0
    if settings.records_days is not None:
        before_ms = now_ms - settings.records_days * DAY_MS
        records = sum(_retire(store, caller, before_ms, now_ms))
        starts = _forget_rejects(store, before_ms)
    if sealed or records or starts:
        scrub(store)
    return Removed(sealed, records, starts)


def _erase_sealed(store: Store, caller: Caller, before_ms: int, now_ms: int) -> Iterator[int]:
    """Yield how many registrations each piece was."""
    key = (attachments.c.stream, attachments.c.seq, attachments.c.digest)
    some = (
        select(*key)
        .where(attachments.c.blob.is_not(None), attachments.c.seen_ms < before_ms)
        .limit(_BLOBS_AT_ONCE)
    )
    gone = {"blob": None, "erased_ms": now_ms, "erased_by": caller.by, "erased_why": caller.reason}
    count = 1
    while count:
        with writing(store.engine) as connection:
            overwrite(connection)
            done = connection.execute(update(attachments).where(tuple_(*key).in_(some)).values(gone))
            count = done.rowcount
            if count:
                append(connection, caller, What.SEALED_ERASED, {"erased": count}, now_ms)
        yield count


def _retire(store: Store, caller: Caller, before_ms: int, now_ms: int) -> Iterator[int]:
    """Yield how many records each piece was."""
    names = [Name(state.site, state.gate, state.epoch) for state in store.streams() if state.proved]
    for start in range(0, len(names), _LEDGERS_AT_ONCE):
        some = names[start : start + _LEDGERS_AT_ONCE]
        while some:
            some, count = _retire_piece(store, caller, some, before_ms, now_ms)
            yield count


def _retire_piece(
    store: Store, caller: Caller, names: list[Name], before_ms: int, now_ms: int
) -> tuple[list[Name], int]:
    """Retire the next records of these ledgers; return which may have more, and how many it were."""
    unfinished: list[Name] = []
    upto: dict[str, int] = {}
    count = 0
    with writing(store.engine) as connection:
        overwrite(connection)
        streams = locked(connection, names)
        for name in names:
            stream = streams[name]
            done = retired_upto(connection, stream.id)
            end = due_upto(
                connection, stream.id, stream.proved,
                before_ms=before_ms, now_ms=now_ms, at_most=_RECORDS_AT_ONCE,
            )  # fmt: skip
            if end == done:
                continue
            count += retire(connection, stream.id, end, now_ms)
            upto["/".join(name)] = end
            if end == done + _RECORDS_AT_ONCE:
                unfinished.append(name)
        if upto:
            lock(connection)  # others retire other ledgers at this moment, and the digest is over all of them
            about = {"records": count, "upto": upto, "digest": summary(connection).hex()}
            append(connection, caller, What.RETIRED, about, now_ms)
    return unfinished, count


def _forget_rejects(store: Store, before_ms: int) -> int:
    old = update(rejects).where(rejects.c.last_ms < before_ms, rejects.c.start != NOTHING)
    with writing(store.engine) as connection:
        overwrite(connection)
        return connection.execute(old.values(start=NOTHING)).rowcount


class Retention(Worker):
    """Does it once a day, beside a centre at work."""

    def __init__(self, store: Store, settings: RetentionSettings, clock: Clock) -> None:
        super().__init__("retention", clock, round_s=ROUND_S, trouble_s=ROUND_S, farewell_s=FAREWELL_S)
        self._store = store
        self._settings = settings

    def step(self) -> Removed | None:
        """Remove what is due when a day is over since the last time, else None. Raises StoreError."""
        now_ms = self._clock.now_ms()
        last_ms = newest_ms(self._store, What.RETENTION)
        if last_ms is not None and 0 <= now_ms - last_ms < DAY_MS:
            return None
        removed = run(self._store, self._settings, now_ms)
        LOG.info("retention: %d registrations erased, %d records retired", removed.sealed, removed.records)
        return removed
