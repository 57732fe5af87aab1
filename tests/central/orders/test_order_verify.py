"""Somebody has the database in his hands: what he does to the book of commands is found and named."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import text

from central.orders import book
from central.orders.book import Order
from central.orders.unanswered import suspicion
from central.orders.verify import verify
from central.store import Problem, Store
from gate.core.commands import Name
from tests.central.orders.ordering import S, a_gate, deliver, found, made, reply, wanted
from tests.central.store.ledgers import CENTRE, NOW_MS, Centre, Ledger

KEYS = [CENTRE.public_key().public_bytes_raw()]


def problems(store: Store, keys: list[bytes] = KEYS) -> list[tuple[str, str, int | None]]:
    """What is found: the word, the gate, the record."""
    said: list[Problem] = []
    verify(store, keys, said.append)
    return [(problem.what, problem.gate, problem.seq) for problem in said]


def tamper(store: Store, *statements: str, **values: Any) -> None:
    with store.engine.begin() as connection:
        for statement in statements:
            names = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), names)


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return a_gate(store)


@pytest.fixture
def orders(store: Store, ledger: Ledger) -> list[Order]:
    """Two commands, sent; the first is answered in record 6, the second in record 7, both proved."""
    a_gate(store, "g-2", "other")
    given = [made(store, NOW_MS + 700), made(store, NOW_MS + S, wanted(Name.SUSPEND, reason="cleaning"))]
    for order in given:
        book.claim(store.engine, order, NOW_MS + 2 * S)
        reply(ledger, order)
    deliver(store, ledger, 6)
    found_ = [found(store, order.id) for order in given]
    book.claim(store.engine, found_[0], NOW_MS + 3 * S)
    assert problems(store) == []
    return found_


def test_what_was_looked_at_is_counted(store: Store, orders: list[Order]) -> None:
    assert verify(store, KEYS, pytest.fail) == len(orders)


def test_every_byte_of_a_command_counts(store: Store, orders: list[Order]) -> None:
    message = orders[0].message
    for place in range(0, len(message), 7):
        other = message[:place] + bytes([message[place] ^ 1]) + message[place + 1 :]
        tamper(store, "UPDATE commands SET message = :other WHERE id = :id", other=other, id=orders[0].id)
        assert problems(store) == [("command_altered", "g-1", None)], place


@pytest.mark.parametrize(
    "change",
    [
        "counter = counter - 1", "made_ms = made_ms - 5000", "expires_ms = expires_ms + 1000",
        "expires_ms = expires_ms - 1000", "name = 'resume'", "epoch = 'other'", "site = 'south'",
        "message = (SELECT message FROM commands WHERE name = 'checkpoint')", "summary = 'disinfection'",
    ],
)  # fmt: skip
def test_a_column_that_says_other_than_what_was_signed_is_found(
    store: Store, orders: list[Order], change: str
) -> None:
    tamper(store, f"UPDATE commands SET {change} WHERE id = :id", id=orders[1].id)
    assert [what for what, _, _ in problems(store)] == ["command_altered"]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("value", ["'text'", "x'ff'", "CAST(x'ff' AS TEXT)", "7", "1.5"])
@pytest.mark.parametrize(
    "column",
    ["site", "gate", "epoch", "counter", "name", "summary", "made_by", "made_ms", "expires_ms", "message"],
)
def test_whatever_sqlite_keeps_in_a_column_is_found(
    store: Store, orders: list[Order], column: str, value: str
) -> None:
    """PostgreSQL keeps to the types of its columns."""
    if column == "made_by" and value != "x'ff'":
        return  # a text, or a number that becomes one: nobody has signed it
    tamper(store, f"UPDATE commands SET {column} = {value} WHERE id = :id", id=orders[1].id)
    assert "command_altered" in {what for what, _, _ in problems(store)}


def without_rules(store: Store, *statements: str) -> None:
    """Change the file as somebody could who heeds no foreign keys. Only on SQLite."""
    with closing(sqlite3.connect(str(store.engine.url.database))) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        "command_sendings SET command = x'ff' WHERE n = 2", "command_sendings SET n = 'text' WHERE n = 1",
        "command_sendings SET at_ms = 'text' WHERE n = 1", "commands SET id = x'ff' WHERE name = 'suspend'",
        "commands SET id = CAST(x'ff' AS TEXT) WHERE name = 'suspend'",
    ],
)  # fmt: skip
def test_a_sending_that_cannot_be_read_is_found(store: Store, orders: list[Order], change: str) -> None:
    without_rules(store, f"UPDATE {change}")
    found = {what for what, _, _ in problems(store)}
    assert found and found <= {"command_altered", "command_missing"}


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "change",
    ["streams SET proved = 'text'", "streams SET site = x'ff'", "records SET body = 7",
     "records SET kind = CAST(x'ff' AS TEXT)", "alarms SET evidence = x'ff'", "alarms SET evidence = 7"],
)  # fmt: skip
def test_what_was_altered_beside_the_book_stops_nothing(
    store: Store, orders: list[Order], change: str
) -> None:
    assert store.raise_alarm(suspicion(orders[0]), NOW_MS) is not None
    tamper(store, f"UPDATE {change}")
    assert problems(store) == []


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_ledger_whose_name_cannot_be_read_is_left_to_the_check_of_ledgers(
    store: Store, orders: list[Order]
) -> None:
    """Bytes for a name could not even be printed as JSON."""
    tamper(store, "DELETE FROM command_sendings", "UPDATE streams SET site = x'ff' WHERE gate = 'g-1'")
    assert problems(store) == []


def test_nothing_in_a_column_is_found(store: Store, orders: list[Order]) -> None:
    """Who can write can also drop what forbids it."""
    if store.engine.dialect.name == "sqlite":
        without_rules(
            store, "CREATE TABLE other AS SELECT * FROM commands", "DROP TABLE commands",
            "ALTER TABLE other RENAME TO commands",
        )  # fmt: skip
    for column in ("site", "epoch", "counter", "name", "summary", "made_by", "made_ms", "message"):
        if store.engine.dialect.name == "postgresql":
            tamper(store, f"ALTER TABLE commands ALTER COLUMN {column} DROP NOT NULL")
        tamper(store, f"CREATE TABLE kept_{column} AS SELECT id, {column} FROM commands")
        tamper(store, f"UPDATE commands SET {column} = NULL WHERE id = :id", id=orders[1].id)
        assert [what for what, _, _ in problems(store)] == ["command_altered"], column
        tamper(store, f"UPDATE commands SET {column} = (SELECT {column} FROM kept_{column} AS k"
                      " WHERE k.id = commands.id)")  # fmt: skip
    assert problems(store) == []


def test_another_name_than_an_alarm_has_is_found(store: Store, orders: list[Order]) -> None:
    silent = made(store, NOW_MS + 5 * S)
    assert store.raise_alarm(suspicion(silent), NOW_MS) is not None
    assert problems(store) == []
    tamper(store, "UPDATE commands SET made_by = 'Wu' WHERE id = :id", id=silent.id)
    assert problems(store) == [("command_altered", "g-1", None)]


def test_which_bytes_a_file_had_is_held_against_them(store: Store, orders: list[Order]) -> None:
    order = made(store, NOW_MS + 5 * S, wanted(Name.POLICY, text="plan = 1"))
    assert order.summary.startswith("a file, 8 bytes, SHA-256 ")
    assert problems(store) == []
    other = order.summary.replace("8 bytes", "9 bytes")
    tamper(store, "UPDATE commands SET summary = :other WHERE id = :id", other=other, id=order.id)
    assert problems(store) == [("command_altered", "g-1", None)]


def test_a_command_that_was_put_in_is_found(store: Store, orders: list[Order]) -> None:
    tamper(
        store, "INSERT INTO commands SELECT 'abc', site, 'g-2', epoch, counter, after, name, summary,"
        " made_by, made_ms, expires_ms, message FROM commands WHERE id = :id", id=orders[0].id,
    )  # fmt: skip
    assert problems(store) == [("command_altered", "g-2", None)]


def test_a_command_that_a_gate_has_answered_cannot_be_taken_away(store: Store, orders: list[Order]) -> None:
    gone = ("DELETE FROM command_sendings WHERE command = :id", "DELETE FROM commands WHERE id = :id")
    tamper(store, *gone, id=orders[0].id)
    assert problems(store) == [("command_missing", "g-1", 6)]


def test_what_was_sent_cannot_be_taken_away(store: Store, orders: list[Order]) -> None:
    tamper(store, "DELETE FROM command_sendings WHERE command = :id AND n = 1", id=orders[0].id)
    assert problems(store) == [("command_altered", "", None)]


def test_that_an_answered_command_was_sent_cannot_be_taken_away(store: Store, orders: list[Order]) -> None:
    tamper(store, "DELETE FROM command_sendings")
    assert problems(store) == [("command_altered", "g-1", 6), ("command_altered", "g-1", 7)]


@pytest.mark.parametrize("left", [2, 1, 0])
def test_sendings_that_an_alarm_has_counted_cannot_be_taken_away(
    store: Store, orders: list[Order], left: int
) -> None:
    silent = made(store, NOW_MS + 5 * S)
    for _ in range(3):
        book.claim(store.engine, found(store, silent.id), NOW_MS + 5 * S)
    about = suspicion(found(store, silent.id))
    assert store.raise_alarm(about, NOW_MS) is not None
    assert problems(store) == []
    tamper(store, f"DELETE FROM command_sendings WHERE command = :id AND n > {left}", id=silent.id)
    assert problems(store) == [("command_altered", "", None)]


@pytest.mark.parametrize(
    "evidence",
    ["", "[]", "{}", "[" * 5000, '{"command":[],"sent":1}', '{"command":"c","sent":"x"}', '{"command":"c"}'],
)
def test_an_alarm_that_was_altered_stops_nothing(store: Store, orders: list[Order], evidence: str) -> None:
    assert store.raise_alarm(suspicion(orders[0]), NOW_MS) is not None
    tamper(store, "UPDATE alarms SET evidence = :evidence", evidence=evidence)
    assert problems(store) == []


def test_commands_count_only_with_a_key_of_the_centre(store: Store, orders: list[Order]) -> None:
    assert problems(store, [bytes(32)]) == [("command_altered", "g-1", None)] * 2


def test_what_anybody_can_write_misses_nothing(store: Store, ledger: Ledger) -> None:
    order = made(store)
    book.claim(store.engine, order, NOW_MS)
    ledger.write(1, "command", id="abc", command="resume", counter=1, outcome="done")
    Centre(store).take(ledger.arrived(6))  # and the gate has not signed for it
    assert problems(store) == []
    ledger.write(1, "command", abnormal=True, id=None, command=None, outcome="refused", reason="unknown_key")
    reply(ledger, order)
    Centre(store).take(ledger.arrived(7))
    Centre(store).hear(ledger)
    assert problems(store) == [("command_missing", "g-1", 6)]


def test_what_was_sent_after_the_backup_that_was_put_back_is_not_missed(
    store: Store, ledger: Ledger, orders: list[Order]
) -> None:
    tamper(store, "DELETE FROM command_sendings")
    ledger.write(1, "anomaly", abnormal=True, what="receipt_went_back", detail="from record 7 to record 5")
    deliver(store, ledger, 8)
    assert problems(store) == []


@pytest.mark.parametrize("mark", ["9" * 5000, "x", ""])
def test_a_record_that_makes_no_sense_stops_nothing(
    store: Store, ledger: Ledger, orders: list[Order], mark: str
) -> None:
    tamper(store, "DELETE FROM command_sendings", "DELETE FROM commands")
    said = f"from record 7 to record {mark}"
    ledger.write(1, "anomaly", abnormal=True, what="receipt_went_back", detail=said)
    deliver(store, ledger, 8)
    assert problems(store) == [("command_missing", "g-1", 6), ("command_missing", "g-1", 7)]


def test_what_was_commanded_after_the_backup_that_was_put_back_is_not_missed(
    store: Store, ledger: Ledger, orders: list[Order]
) -> None:
    tamper(store, "DELETE FROM command_sendings", "DELETE FROM commands")
    ledger.write(1, "anomaly", abnormal=True, what="receipt_went_back", detail="from record 7 to record 6")
    deliver(store, ledger, 8)
    assert problems(store) == [("command_missing", "g-1", 6)], "that one the backup must have had"
