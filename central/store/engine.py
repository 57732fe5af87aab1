"""How the store reaches its database: connections, transactions, and the schema's version."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Insert, Table, event, exc, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from central.store.model import StoreError

BUSY_S: Final = 15
"""How long a writer waits for another one before it gives up."""

WAL_PAGES: Final = 8000
"""How far SQLite's write-ahead log grows before it is copied into the file: 32 MB at 4 kB each."""


class AlreadyThereError(StoreError):
    """A row that was to be new is in its table already; nothing of the transaction was done."""


_MIGRATION_LOCK: Final = 0x68675F6D  # any number that nobody else uses
_DRIVERS: Final = {"sqlite", "postgresql+psycopg"}
_FAILURES: Final = (SQLAlchemyError, sqlite3.Error, psycopg.Error)
_ERRORS_OF_THE_PROGRAM: Final = (
    exc.DataError, exc.ProgrammingError, exc.NotSupportedError, sqlite3.DataError, sqlite3.ProgrammingError,
    sqlite3.NotSupportedError, psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError,
)  # fmt: skip


def connect(url: str) -> Engine:
    """Return an engine for this URL; nothing is opened yet. Raises StoreError for a URL that is none."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError("that is no URL of a database: sqlite:///PATH or postgresql+psycopg://…") from error
    if parsed.drivername not in _DRIVERS:
        raise StoreError(f"the store does not know {parsed.drivername}; use sqlite or postgresql+psycopg")
    if parsed.drivername == "sqlite":
        return _sqlite(parsed)
    return sqlalchemy.create_engine(
        parsed, pool_pre_ping=True, connect_args={"connect_timeout": BUSY_S, "application_name": "central"}
    )


def _sqlite(url: sqlalchemy.URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise StoreError("the store needs a file: sqlite:///PATH")
    if not Path(url.database).resolve().parent.is_dir():
        raise StoreError(f"there is no folder for {url.database}; make it first")
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": BUSY_S})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    # The driver would begin transactions at a time of its own; _begin does it instead.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")


def _begin(connection: Connection) -> None:
    # A writer that begins as a reader may find that somebody else wrote in between, and fail.
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def insert_unless_there(connection: Connection, table: Table) -> Insert:
    """Return an INSERT that leaves alone what is there already, in the words of the database."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Give a transaction that is on disk when the block ends, or never was. Raises StoreError."""
    with failures_named(), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give one consistent view of the database, large results in pieces. Raises StoreError."""
    # SQLite gives one view to any transaction; PostgreSQL has to be asked for it.
    level = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    with failures_named(), engine.connect() as connection:
        viewed = connection.execution_options(reads=True, stream_results=True, max_row_buffer=1000, **level)
        with viewed.begin():
            yield viewed


@contextmanager
def failures_named() -> Iterator[None]:
    """Turn what keeps a database from being used into a StoreError: it may work another time.

    What a database refuses because of what it was asked would fail for ever, and is passed on as it is.
    """
    try:
        yield
    except (IntegrityError, psycopg.IntegrityError) as error:
        raise AlreadyThereError(f"the store holds what should be new: {_first_line(error)}") from error
    except _FAILURES as error:
        if not _is_operational(error):
            raise
        raise StoreError(f"the store cannot be used: {_first_line(error)}") from error


def _is_operational(error: Exception) -> bool:
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):  # for whoever runs the database to put right
        return True
    if isinstance(error, exc.StatementError) and not isinstance(error, exc.DBAPIError):
        return False  # it has not even come to the database
    return not isinstance(cause, _ERRORS_OF_THE_PROGRAM)


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    said = str(cause).strip().partition("\n")[0]
    return f"{said}; {_RESTORE}" if _is_damaged(cause) else said


def _is_damaged(cause: Exception) -> bool:
    """Tell whether the database's own files are broken: it will not mend by itself."""
    if isinstance(cause, psycopg.Error):
        return isinstance(cause, psycopg.errors.DataCorrupted | psycopg.errors.IndexCorrupted)
    return getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT


_RESTORE: Final = 'stop the centre, keep the damaged file, restore a backup (docs/centre.md, "Backup")'


def bring_up_to_date(engine: Engine, *, migrate: bool) -> None:
    """Run the steps that this database lacks, all or none of them. Raises StoreError."""
    script = _steps()
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATION_LOCK})
        current = MigrationContext.configure(connection).get_current_revision()
        known = {step.revision for step in script.walk_revisions()}
        if current is not None and current not in known:
            raise StoreError(f"a newer version wrote this store (schema {current}); update the centre")
        if current == script.get_current_head():
            return
        if not migrate:
            raise StoreError("this store is of an older version; migrate it first")
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@cache
def _steps() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
