"""Reading a database that somebody may have altered by hand, so that what was altered can be named.

SQLite keeps any value in any column, and text that is none; a driver that converts values fails for the whole
question then. Here values are asked for as they are stored, and looked at one by one.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Boolean, Connection, Row, Table, inspect, select, type_coerce
from sqlalchemy.types import NullType

from central.store.model import StoreError

DAMAGED: Final = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""What reading a value raises that is not what its column should hold."""


def as_stored(table: Table) -> Any:
    """Return the question (a `Select`) for whole rows, with the values as the database holds them."""
    return select(*(type_coerce(column, NullType()).label(column.name) for column in table.c))


@contextmanager
def any_text(connection: Connection) -> Iterator[None]:
    """Let text be read that is not UTF-8, with U+FFFD for what it is not; PostgreSQL keeps none."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    driver.text_factory = lambda raw: raw.decode(errors="replace")
    try:
        yield
    finally:
        driver.text_factory = str


def unreadable(row: Row[Any], table: Table) -> list[str]:
    """Return the columns of a row (see `as_stored`) that hold what their types do not allow."""
    return [column.name for column in table.c if not _fits(row, column)]


def _fits(row: Row[Any], column: Any) -> bool:
    value = row._mapping[column.name]  # noqa: SLF001 - that is its public name
    if value is None:
        return bool(column.nullable)
    if isinstance(column.type, Boolean):
        return value in {0, 1}
    return type(value) is column.type.python_type


def guarded(check: Callable[[], None], say: Callable[[str], None]) -> None:
    """Run a check; say in a sentence when it finds what cannot be read, so that the next one can follow."""
    try:
        check()
    except DAMAGED as error:
        say(f"it cannot be read ({type(error).__name__})")


def without_rules(connection: Connection, tables: Iterable[Table]) -> Iterator[tuple[str, str]]:
    """Yield the tables that hold what their rules forbade, with what is missing: somebody has taken it away.

    Raises StoreError for a table or column that is not there, or on PostgreSQL is of another type: then
    nothing can be asked.
    """
    known = inspect(connection)
    there = set(known.get_table_names())
    for table in tables:
        found = known.get_columns(table.name) if table.name in there else []
        here = {column["name"]: column for column in found}
        for column in table.c:
            if column.name not in here or not _typed(here[column.name]["type"], column, connection):
                raise StoreError(f"{table.name}.{column.name} is gone or of another type; {_RESTORE}")
        key = known.get_pk_constraint(table.name)["constrained_columns"]
        if set(key) != set(table.primary_key.columns.keys()):
            yield table.name, "its primary key is gone: a row may be there twice"
        loose = [column.name for column in table.c if here[column.name]["nullable"] and not column.nullable]
        if loose:
            yield table.name, f"these may be empty and must not: {', '.join(loose)}"


_RESTORE: Final = 'somebody has altered the tables; restore a backup (docs/centre.md, "Backup")'


def _typed(here: Any, column: Any, connection: Connection) -> bool:
    """Tell whether a column is of its type, as far as the database cares: SQLite keeps anything anywhere."""
    if connection.dialect.name == "sqlite":
        return True
    try:
        return bool(here.python_type is column.type.python_type)
    except NotImplementedError:
        return False
