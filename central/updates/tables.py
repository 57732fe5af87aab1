"""An index of the records that tell of versions, on the metadata of the centre's store."""

from typing import Final

from sqlalchemy import Index, text

from central.store.tables import records

VERSIONS: Final = "kind IN ('update', 'gate.started')"
"""Few among many, and asked for by ledger, the newest first."""

Index(
    "records_versions",
    records.c.stream,
    records.c.seq,
    sqlite_where=text(VERSIONS),
    postgresql_where=text(VERSIONS),
)
