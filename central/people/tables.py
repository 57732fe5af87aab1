"""The access log, on the metadata of the centre's store; `migrations` makes its tables."""

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table

from central.store import retired as _retired  # noqa: F401 - its table belongs to the same step of migration
from central.store.tables import Big, metadata

access_log: Final = Table(
    "access_log",
    metadata,
    Column("n", Big, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
"""Who has looked at whom, and what was erased, append-only; each entry (JSON) with the hash of the chain up
to it."""

access_head: Final = Table(
    "access_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("n", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
"""One row: the newest entry, kept apart so that a cut tail is seen. Locking it is the right to write."""
