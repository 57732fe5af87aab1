"""The reports that were made, on the metadata of the centre's store; `migrations` makes them."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    text,
)

from central.store.tables import metadata, records

OUT_OF_TIME: Final = "at_ms IS NULL OR at_ms < seen_ms - 3600000 OR at_ms > seen_ms + 3600000"
"""Records that came more than an hour after they happened, or before: few, and found by when they came."""

Index(
    "records_out_of_time",
    records.c.seen_ms,
    sqlite_where=text(OUT_OF_TIME),
    postgresql_where=text(OUT_OF_TIME),
)

reports: Final = Table(
    "reports",
    metadata,
    Column("day", String(10), nullable=False),
    Column("level", Integer, nullable=False),
    Column("unit", String(80), nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("cut_ms", BigInteger, nullable=False),
    Column("zero", Boolean, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("day", "level", "unit"),
)
"""One row for each report that was due: `day` as 2022-04-11 by local time, `cut_ms` up to when it tells,
`body` the signed JSON document, compressed (zlib). A report is made once and stays as it was handed in."""
