"""What is in the store and should be in the book of alerts: found again after a crash between the two.

Every abnormal record leads to at least one alert (`rules`), so that one without any was never looked at. A
record that is not abnormal and calls only for follow-up work is not found again here.
"""

import json
from typing import Final

from sqlalchemy import Engine, exists, select

from central.alerts.rules import Source
from central.alerts.tables import alerts
from central.store.engine import reading
from central.store.model import Alarm, AlarmKind, StoredRecord, Suspicion
from central.store.tables import alarms, records, streams

BATCH: Final = 1000


def records_without_alert(engine: Engine, since_ms: int) -> list[StoredRecord]:
    """Return up to 1000 abnormal records that have come since and led to no alert. Raises StoreError."""
    noted = exists().where(
        alerts.c.source == str(Source.RECORD),
        alerts.c.site == streams.c.site,
        alerts.c.gate == streams.c.gate,
        alerts.c.epoch == streams.c.epoch,
        alerts.c.seq == records.c.seq,
    )
    query = (
        select(streams.c.site, streams.c.gate, streams.c.epoch, records.c.seq, records.c.body, records.c.hash)
        .add_columns(records.c.at_ms, records.c.seen_ms, records.c.kind, records.c.abnormal)
        .join(streams, streams.c.id == records.c.stream)
        .where(records.c.abnormal, records.c.seen_ms >= since_ms, ~noted)
        .order_by(records.c.seen_ms)
        .limit(BATCH)
    )
    with reading(engine) as connection:
        return [StoredRecord(*row) for row in connection.execute(query)]


def alarms_after(engine: Engine, number: int) -> list[Alarm]:
    """Return up to 1000 alarms of the log with higher numbers, oldest first. Raises StoreError.

    Alarms are numbered in the order in which they become visible, so that none appears behind a higher one.
    """
    query = select(alarms).where(alarms.c.id > number).order_by(alarms.c.id).limit(BATCH)
    with reading(engine) as connection:
        return [
            Alarm(
                row.id,
                Suspicion(
                    AlarmKind(row.kind), row.site, row.gate, row.epoch, row.code, row.first, row.last,
                    json.loads(row.evidence),
                ),
                row.raised_ms,
                row.cleared_ms,
            )
            for row in connection.execute(query)
        ]  # fmt: skip


def first_unnoted_alarm(engine: Engine, since_ms: int) -> int:
    """Return the number before the first alarm since then that led to no alert; all later ones count as new.

    The number of the newest alarm where each has led to one. Raises StoreError.
    """
    noted = exists().where(alerts.c.source == str(Source.ALARM), alerts.c.seq == alarms.c.id)
    missing = select(alarms.c.id).where(alarms.c.raised_ms >= since_ms, ~noted).order_by(alarms.c.id).limit(1)
    newest = select(alarms.c.id).order_by(alarms.c.id.desc()).limit(1)
    with reading(engine) as connection:
        first = connection.scalar(missing)
        return (connection.scalar(newest) or 0) if first is None else first - 1
