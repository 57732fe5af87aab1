"""`central verify` finds reports that were changed, exchanged or taken away."""

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import delete, insert, select

from central.reports.keeping import ReportDesk
from central.reports.sealing import sealed, written
from central.reports.tables import reports
from central.reports.verify import verify
from central.store import Store
from tests.central.reports.town import CENTRE_KEY, CENTRE_PUBLIC, SETTINGS, TownGate, ms

REPORTS = 3 * 6
"""Of three levels, six days."""


@pytest.fixture
def reported(store: Store) -> Store:
    """A store with six days of reports, some of them late, and one made in the night after its day."""
    gate = TownGate(store)
    gate.register("2022-04-10T08:00")
    gate.visit(ms("2022-04-10T12:00"))
    gate.deliver(ms("2022-04-10T12:01"))
    desk = ReportDesk(store, SETTINGS, CENTRE_KEY)
    for at in (
        "10T17:00",
        "10T18:00",
        "11T17:01",
        "11T18:30",
        "12T17:00:03",
        "12T18:00",
        "14T20:00",
        "15T20:00",
    ):
        desk.tick(ms(f"2022-04-{at}"))
    return store


def problems(store: Store) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    verify(store, CENTRE_PUBLIC, lambda problem: found.append((problem.what, problem.detail)))
    return found


def change(store: Store, statement: str, *values: Any) -> None:
    with store.engine.begin() as connection:
        marks = statement if store.engine.dialect.name == "sqlite" else statement.replace("?", "%s")
        connection.exec_driver_sql(marks, values)


@contextmanager
def restored(store: Store) -> Iterator[None]:
    """Put back, after the block, what was in the table before."""
    with store.engine.connect() as connection:
        rows = [dict(row._mapping) for row in connection.execute(select(reports))]
    yield
    with store.engine.begin() as connection:
        connection.execute(delete(reports))
        connection.execute(insert(reports), rows)


def test_reports_that_nobody_has_touched_are_good(reported: Store) -> None:
    assert problems(reported) == []
    assert verify(reported, CENTRE_PUBLIC, lambda _: None) == REPORTS


def test_no_report_is_good_before_the_first_is_due(store: Store) -> None:
    assert verify(store, CENTRE_PUBLIC, lambda _: None) == 0 and problems(store) == []


def test_a_day_without_gates_is_no_gap(reported: Store) -> None:
    reported.revoke_key("north", "g-1", None, ms("2022-04-16T08:00"))
    gate = TownGate(reported)
    desk = ReportDesk(reported, SETTINGS, CENTRE_KEY)
    desk.tick(ms("2022-04-17T20:00"))
    reported.register_gate("north", "g-1", b"k" * 32, ms("2022-04-18T08:00"))
    gate.deliver(ms("2022-04-18T09:00"))
    desk.tick(ms("2022-04-18T20:00"))
    assert problems(reported) == []


@pytest.mark.parametrize("days", [["12"], ["13"], ["11", "12"], ["14"]])
def test_a_report_that_was_taken_away_is_missed(reported: Store, days: list[str]) -> None:
    for level in (1, 2, 3):
        with restored(reported):
            for day in days:
                change(reported, "DELETE FROM reports WHERE level = ? AND day = ?", level, f"2022-04-{day}")
            ((what, detail),) = problems(reported)
            assert what == "report_missing"
            assert detail.startswith(f"2022-04-{int(days[-1]) + 1} level {level} ")


ALTERED = (
    "due_ms = due_ms + 1",
    "made_ms = made_ms + 3600001",
    "made_ms = made_ms - 60000",
    "cut_ms = cut_ms - 1",
    "zero = NOT zero",
    "sha256 = 'x'",
    "unit = 'south'",
    "level = 9",
    "day = '2022-04-09'",
)


def test_a_column_that_was_changed_is_found(reported: Store) -> None:
    for altered in ALTERED:
        with restored(reported):
            change(reported, f"UPDATE reports SET {altered} WHERE level = 2 AND day = '2022-04-12'")
            assert "report_altered" in {what for what, _ in problems(reported)}, altered


def body_of(store: Store, level: int, day: str) -> bytes:
    with store.engine.connect() as connection:
        asked = f"SELECT body FROM reports WHERE level = {level} AND day = '{day}'"
        return bytes(connection.exec_driver_sql(asked).scalar_one())


def test_a_document_that_was_changed_is_found(reported: Store) -> None:
    body = body_of(reported, 2, "2022-04-12")
    document = json.loads(zlib.decompress(body))
    false = {**document, "empty": not document["empty"]}
    bodies = {
        "figure": zlib.compress(written(false)),
        "resigned": zlib.compress(written(sealed(false, TownGate(reported).key))),
        "bytes": body[:50] + bytes([body[50] ^ 0x80]) + body[51:],
        "rest": body + b"more",
        "spaces": zlib.compress(json.dumps(document).encode()),
        "other day": body_of(reported, 2, "2022-04-11"),
        "nothing": b"",
        "deep": zlib.compress(b"[" * 100_000),
    }
    for how, altered in bodies.items():
        change(reported, "UPDATE reports SET body = ? WHERE level = 2 AND day = '2022-04-12'", altered)
        ((what, detail),) = problems(reported)
        assert what == "report_altered" and detail.startswith("2022-04-12 level 2 north: "), how


def test_a_report_that_was_only_asked_for_is_none_that_was_handed_in(reported: Store) -> None:
    document = json.loads(zlib.decompress(body_of(reported, 2, "2022-04-12")))
    asked = sealed({**document, "handed_in": None}, CENTRE_KEY)
    change(
        reported,
        "UPDATE reports SET body = ?, sha256 = ? WHERE level = 2 AND day = '2022-04-12'",
        *(zlib.compress(written(asked)), asked["sha256"]),
    )
    ((what, detail),) = problems(reported)
    assert what == "report_altered" and "not as a report that was due" in detail


@pytest.mark.parametrize(
    "change_",
    [
        "DELETE FROM records WHERE seq = 2",
        "UPDATE records SET hash = body WHERE seq = 2",
        "UPDATE streams SET epoch = 'other'",
        "DELETE FROM records",
    ],
)
def test_a_ledger_that_is_not_what_a_report_has_signed_for_is_found(reported: Store, change_: str) -> None:
    change(reported, change_)
    ((what, detail),) = problems(reported)
    assert (what, detail[:24]) == ("report_differs", "the report of 2022-04-10")


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_whatever_sqlite_keeps_in_a_column_is_a_problem_and_no_error(reported: Store) -> None:
    for column in (each.name for each in reports.c):
        for value in ("CAST(x'ff80' AS TEXT)", "x'ff'", "'text'", "1.5", "9", "CAST(unit AS BLOB)"):
            with restored(reported):
                change(
                    reported,
                    f"UPDATE reports SET {column} = {value} WHERE level = 1 AND day = '2022-04-12'",
                )
                assert "report_altered" in {what for what, _ in problems(reported)}, (column, value)
