"""The centre's store: every record of every gate, followed along its chain and never changed.

    store = open_store("sqlite:////var/lib/central/central.db")     # or postgresql+psycopg://...
    done = store.ingest([Arrived(site, gate, body), ...], now_ms)   # one transaction, whatever has arrived
    outcome = store.checkpoint(message, site, gate, now_ms)
    store.keep_receipts([(receipt, message)])                       # then publish

Records come in any order and more than once. What follows the chain without a hole is *linked*; what a
checkpoint signed by the gate covers with the same hash is *proved*; the rest is *parked*. All of it is kept,
also from gates that nobody has registered.

One schema serves SQLite and PostgreSQL; Alembic carries it from version to version (`migrations`). Times are
unix milliseconds and come from the caller. A store may be used by several threads; several processes may use
one database (PostgreSQL: side by side; SQLite: one writes at a time). `StoreError` from any method means
that the database could not be used and that nothing of the call was done.
"""

from central.store.model import (
    SEALED_BYTES_MAX,
    Alarm,
    AlarmKind,
    Arrived,
    ArrivedSealed,
    Code,
    Counts,
    GateKey,
    Ingested,
    Outcome,
    Problem,
    Progress,
    StoredRecord,
    StoreError,
    StreamState,
    Suspicion,
    Trust,
)
from central.store.store import Store, open_store
from central.store.verify import verify

__all__ = [
    "SEALED_BYTES_MAX",
    "Alarm",
    "AlarmKind",
    "Arrived",
    "ArrivedSealed",
    "Code",
    "Counts",
    "GateKey",
    "Ingested",
    "Outcome",
    "Problem",
    "Progress",
    "Store",
    "StoreError",
    "StoredRecord",
    "StreamState",
    "Suspicion",
    "Trust",
    "open_store",
    "verify",
]
