"""What a database says: some of it passes, and some would be said for ever."""

import sqlite3

import psycopg
import pytest
from sqlalchemy import exc, text

from central.store import Store, StoreError
from central.store.engine import AlreadyThereError, failures_named, reading, writing
from central.store.tables import streams


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("database is locked"),
        sqlite3.DatabaseError("database disk image is malformed"),
        psycopg.OperationalError("the connection is lost"),
        psycopg.InterfaceError("the connection is closed"),
        psycopg.errors.DeadlockDetected("deadlock"),
        psycopg.errors.InsufficientPrivilege("permission denied"),
        exc.TimeoutError("no connection is free"),
        exc.OperationalError("SELECT", None, sqlite3.OperationalError("disk I/O error")),
        exc.ProgrammingError("SELECT", None, psycopg.errors.InsufficientPrivilege("permission denied")),
    ],
)
def test_what_may_pass_is_waited_for(error: Exception) -> None:
    with pytest.raises(StoreError, match="cannot be used") as named, failures_named():
        raise error
    assert named.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.ProgrammingError("incorrect number of bindings"),
        psycopg.errors.NumericValueOutOfRange("too large"),
        psycopg.errors.SyntaxError("at or near"),
        exc.DataError("INSERT", None, psycopg.errors.UntranslatableCharacter("no such letter")),
        exc.StatementError("no type for that", "INSERT", None, TypeError("object")),
        ValueError("ours"),
    ],
)
def test_what_would_fail_for_ever_is_not(error: Exception) -> None:
    with pytest.raises(type(error)) as passed, failures_named():
        raise error
    assert passed.value is error


def test_what_is_there_already_is_said_to_be(store: Store) -> None:
    store.register_gate("north", "g-1", b"k" * 32, 0)
    with pytest.raises(AlreadyThereError), writing(store.engine) as connection:
        connection.exec_driver_sql("INSERT INTO gate_keys SELECT * FROM gate_keys")


def test_a_number_that_no_column_holds_is_an_error_of_the_program(store: Store) -> None:
    wrong = streams.update().values(linked=2**63)
    with pytest.raises((exc.DataError, OverflowError)), writing(store.engine) as connection:
        connection.execute(streams.insert().values(**row()))
        connection.execute(wrong)
    with reading(store.engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM streams")) == 0


def row() -> dict[str, object]:
    return {
        "site": "north", "gate": "g-1", "epoch": "e", "first_ms": 0, "linked": 0, "linked_hash": b"",
        "proved": 0, "proved_hash": b"", "top": 0, "head": 0, "head_clock_trusted": False, "receipted": 0,
        "successor": "", "conflicts": 0,
    }  # fmt: skip
