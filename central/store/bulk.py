"""The fast way in for many records: COPY for PostgreSQL, one prepared statement for SQLite.

Nobody else writes records of a stream while its row is locked, and doubles have been sorted out before, so
that rows can go straight into the table. Its primary key stands guard.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection

RecordRow = tuple[int, int, int | None, int, str, bool, bytes, bytes | None, bytes | None]
"""stream, seq, at_ms, seen_ms, kind, abnormal, body, hash, sealed"""

COLUMNS: Final = "stream, seq, at_ms, seen_ms, kind, abnormal, body, hash, sealed"
TYPES: Final = ["int4", "int8", "int8", "int8", "varchar", "bool", "bytea", "bytea", "bytea"]
_INSERT: Final = f"INSERT INTO records ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_COPY: Final = f"COPY records ({COLUMNS}) FROM STDIN (FORMAT BINARY)"


def insert_records(connection: Connection, rows: Sequence[RecordRow]) -> None:
    """Insert rows, all of them new; a number that is there already is an AlreadyThereError."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_INSERT, rows)
        return
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(TYPES)
        for row in rows:
            copy.write_row(row)
