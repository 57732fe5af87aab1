"""The access log: nobody looks without a trace, and nobody takes one away."""

from typing import Any

import pytest
from sqlalchemy import text

from central.people.access_log import entries, newest_ms, note, verify
from central.people.caller import Caller, What
from central.people.privacy import Place, erase
from central.store import Problem, Store
from tests.central.people.hall import LI, HallGate, at, problems
from tests.central.reports.town import TownGate


@pytest.fixture
def noted(store: Store) -> Store:
    for n, what in enumerate((What.TRACE, What.PERSON, What.RETENTION, What.TRACE), 1):
        assert note(store, LI, what, {"subject": "a11ce", "名": "汉字"}, n) == n
    assert problems(store) == []
    return store


def tamper(store: Store, *statements: str, **values: Any) -> None:
    with store.engine.begin() as connection:
        for statement in statements:
            names = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), names)


def test_what_was_asked_is_read_back(noted: Store) -> None:
    found = entries(noted)
    assert [entry.what for entry in found] == ["trace", "person", "retention", "trace"]
    assert (found[0].n, found[0].at_ms, found[0].by, found[0].reason) == (1, 1, "Li", "contact tracing")
    assert found[0].about == {"subject": "a11ce", "名": "汉字"}
    assert newest_ms(noted, What.TRACE) == 4
    assert newest_ms(noted, What.RETENTION) == 3
    assert newest_ms(noted, What.ERASE) is None


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        ("", "tracing"), (" ", "tracing"), ("Li ", "tracing"), ("x" * 65, "tracing"), ("L\ni", "tracing"),
        ("Li", ""), ("Li", "  x  "), ("Li", "x" * 201), ("Li", "\x1b[2J all"),
    ],
)  # fmt: skip
def test_who_says_neither_name_nor_reason_may_not_ask(by: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"by|reason"):
        Caller(by, reason)


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (["UPDATE access_log SET entry = :entry WHERE n = 2"], [("access_log_altered", 2)]),
        (["UPDATE access_log SET hash = :hash WHERE n = 2"],
         [("access_log_altered", 2), ("access_log_altered", 3)]),
        (["DELETE FROM access_log WHERE n = 2"], [("access_log_altered", 2)]),
        (["DELETE FROM access_log WHERE n = 4"], [("tail_cut", 4)]),
        (["DELETE FROM access_log"], [("tail_cut", 1)]),
        (["UPDATE access_head SET n = 3"], [("tail_cut", 5)]),
        (["DELETE FROM access_head"], [("tail_cut", 5)]),
        (["UPDATE access_head SET id = 2"], [("tail_cut", 5)]),
        (["INSERT INTO access_head SELECT 2, n, hash FROM access_head"], [("tail_cut", 5)]),
        (["INSERT INTO access_log SELECT 5, entry, hash FROM access_log WHERE n = 4"],
         [("access_log_altered", 5), ("tail_cut", 6)]),
        (["UPDATE access_log SET n = 9 WHERE n = 1", "UPDATE access_log SET n = 1 WHERE n = 2",
          "UPDATE access_log SET n = 2 WHERE n = 9"],
         [("access_log_altered", 1), ("access_log_altered", 2), ("access_log_altered", 3)]),
    ],
)  # fmt: skip
def test_whatever_is_done_to_it_is_found(
    noted: Store, statements: list[str], found: list[tuple[str, int]]
) -> None:
    entry = b'{"n":2,"at_ms":2,"what":"person","by":"Wu","reason":"curiosity","about":{}}'
    tamper(noted, *statements, entry=entry, hash=bytes(32))
    assert problems(noted) == found


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("access_log SET entry = 'text' WHERE n = 2", [("access_log_altered", 2)]),
        ("access_log SET entry = CAST(entry AS TEXT) WHERE n = 2", [("access_log_altered", 2)]),
        ("access_log SET hash = 'text' WHERE n = 2", [("access_log_altered", 2), ("access_log_altered", 3)]),
        ("access_head SET hash = 'text'", [("tail_cut", 5)]),
        ("access_head SET n = 'text'", [("tail_cut", 5)]),
        ("access_log SET entry = 7 WHERE n = 2", [("access_log_altered", 2)]),
        (
            f"access_log SET hash = {2**62} WHERE n = 2",
            [("access_log_altered", 2), ("access_log_altered", 3)],
        ),
        ("access_head SET hash = 9", [("tail_cut", 5)]),
        ("access_log SET entry = CAST(x'ff' AS TEXT) WHERE n = 2", [("access_log_altered", 2)]),
    ],
)
def test_another_value_where_bytes_should_be_is_found(
    noted: Store, change: str, found: list[tuple[str, int]]
) -> None:
    """Only on SQLite: PostgreSQL keeps to the types of its columns."""
    tamper(noted, f"UPDATE {change}")
    assert problems(noted) == found


@pytest.mark.parametrize("table", ["access_log", "access_head"])
@pytest.mark.parametrize("column", ["n", "entry", "hash"])
def test_nothing_where_a_value_should_be_is_found(noted: Store, table: str, column: str) -> None:
    """Who can write can also drop what forbids it."""
    if (table, column) == ("access_head", "entry"):
        return
    if noted.engine.dialect.name == "sqlite":
        tamper(
            noted, f"CREATE TABLE other AS SELECT * FROM {table}", f"DROP TABLE {table}",
            f"ALTER TABLE other RENAME TO {table}",
        )  # fmt: skip
    else:
        tamper(noted, f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
        tamper(noted, f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL")
    tamper(noted, f"UPDATE {table} SET {column} = NULL WHERE n = (SELECT max(n) FROM {table})")
    assert {what for what, _ in problems(noted)} - {"schema_differs"} != set()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("value", ["CAST(x'ff' AS TEXT)", "x'ff'", "7"])
@pytest.mark.parametrize("column", ["erased_by", "erased_why", "erased_ms"])
def test_whatever_stands_where_an_erasure_is_noted_is_found(store: Store, column: str, value: str) -> None:
    gate = HallGate(store)
    gate.register()
    seq = gate.register_sealed(b"sealed", None, "09:00")
    gate.deliver(at("10:00"))
    assert erase(store, [Place("north", "g-1", "epoch1", seq)], LI, at("11:00")) == 1
    assert problems(store) == []
    tamper(store, f"UPDATE attachments SET {column} = {value}")
    assert "erased_differs" in {what for what, _ in problems(store)}


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_text_in_the_digest_of_what_is_retired_is_found(noted: Store) -> None:
    gate = TownGate(noted)
    gate.visit(1_650_000_000_000)
    gate.deliver(1_650_000_100_000)
    tamper(noted, "INSERT INTO retired (stream, upto, digest, at_ms) VALUES (1, 1, 'text', 1)")
    said: list[Problem] = []
    verify(noted, said.append)
    assert [problem.what for problem in said] == ["retired_differs"]


@pytest.mark.parametrize("entry", [b"", b"[]", b"{}", b"[" * 5000, b'{"n":1}'])
def test_an_entry_that_cannot_be_read_is_found_and_stops_nothing(noted: Store, entry: bytes) -> None:
    tamper(noted, "UPDATE access_log SET entry = :entry WHERE n = 1", entry=entry)
    assert problems(noted) == [("access_log_altered", 1)]
    assert [one.n for one in entries(noted)] == [2, 3, 4]


def test_two_who_ask_at_once_stand_one_behind_the_other(store: Store) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda n: note(store, LI, What.TRACE, {}, n), range(20)))
    assert sorted(numbers) == list(range(1, 21))
    assert problems(store) == []


def test_bytes_that_were_taken_away_without_a_word_are_found(store: Store) -> None:
    gate = TownGate(store)
    gate.register()
    gate.visit(1_650_000_000_000)
    gate.deliver(1_650_000_100_000)
    tamper(store, "UPDATE records SET body = :nothing WHERE seq = 1", nothing=b"")
    assert ("record_altered", 1) in problems(store)
    digest = "INSERT INTO retired (stream, upto, digest, at_ms) VALUES (1, 1, :hash, 1)"
    tamper(store, digest, hash=bytes(32))
    assert {("retired_differs", 1), ("retired_differs", None)} <= set(problems(store))
