"""One PostgreSQL database for many tests. Putting it back costs a tenth of copying the template once more."""

from collections.abc import Callable
from typing import Final

import psycopg
from psycopg.sql import SQL, Composable, Identifier
from sqlalchemy import make_url

_SHAPE: Final = """
SELECT string_agg(line, chr(10) ORDER BY line) FROM (
    SELECT concat_ws(' ', relname, relkind, relpersistence, relacl, attnum, attname, atttypid, attnotnull,
                     pg_get_expr(adbin, adrelid))
    FROM pg_class
    LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT tgname || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT setconfig::text FROM pg_db_role_setting
) AS said(line)
"""
_OTHERS: Final = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_TABLES: Final = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
_COUNTED: Final = "SELECT sequencename FROM pg_sequences WHERE last_value IS NOT NULL"


class ReusedDatabase:
    """A copy of a template, put back for each test, or made anew when a test has changed the tables."""

    def __init__(self, copy: Callable[[], str]) -> None:
        self._copy = copy
        self._url = ""
        self._shape = ""
        self._rows: dict[str, list[bytes]] = {}

    def url(self) -> str:
        """Return the URL of a database that is like the template; whoever was still connected is cut off."""
        if not self._url or not self._put_back():
            self._url = self._copy()
            with self._connected() as server:
                self._shape = _one(server, _SHAPE)
                self._rows = {table: _rows(server, table) for table in _filled(server)}
        return self._url

    def _connected(self) -> psycopg.Connection[tuple[str]]:
        url = make_url(self._url)
        return psycopg.connect(
            host=str(url.query["host"]), user=url.username, dbname=url.database, autocommit=True
        )

    def _put_back(self) -> bool:
        with self._connected() as server:
            server.execute(_OTHERS)
            if _one(server, _SHAPE) != self._shape:
                return False
            server.execute("SET session_replication_role = replica")  # rows come in any order
            if filled := _filled(server):
                server.execute(SQL("TRUNCATE {} CASCADE").format(SQL(", ").join(map(Identifier, filled))))
            for (sequence,) in server.execute(_COUNTED).fetchall():
                server.execute(SQL("ALTER SEQUENCE {} RESTART").format(Identifier(sequence)))
            for table, rows in self._rows.items():
                with server.cursor().copy(SQL("COPY {} FROM STDIN").format(Identifier(table))) as copy:
                    for row in rows:
                        copy.write(row)
        return True


def _one(server: psycopg.Connection[tuple[str]], query: str) -> str:
    row = server.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _filled(server: psycopg.Connection[tuple[str]]) -> list[str]:
    tables = [table for (table,) in server.execute(_TABLES).fetchall()]
    each: list[Composable] = [
        SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(table, Identifier(table)) for table in tables
    ]
    return [table for (table,) in server.execute(SQL(" UNION ALL ").join(each)).fetchall()]


def _rows(server: psycopg.Connection[tuple[str]], table: str) -> list[bytes]:
    with server.cursor().copy(SQL("COPY {} TO STDOUT").format(Identifier(table))) as copy:
        return [bytes(row) for row in copy]
