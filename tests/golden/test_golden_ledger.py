"""A ledger may go from one version to the next and back, whatever either has written (docs/updates.md).

`ledger-0.1.0.db` was written by 0.1.0 and is never written again. A version of this schema number adds tables
and indexes, and changes none that are there: the version before inserts whole rows, and deletes by what it
knows. What cannot be done so gets another schema number two versions later, when nobody goes back behind it.
"""

import shutil
import sqlite3
from pathlib import Path

import pytest

from gate.core import events
from gate.core.commands import CentreWord
from gate.core.moment import Moment
from gate.core.updates import UpdateOutcome, UpdateResult
from gate.store.ledger import Ledger, entries, verify

GOLDEN = Path(__file__).with_name("ledger-0.1.0.db")
OPEN_VISIT = "0a1b2c3d-000002"
NOW = Moment(1, 1_709_200_000_000, True)


def schema(path: Path) -> tuple[int, dict[str, list[tuple[object, ...]]], set[str]]:
    """The number, each table with its columns, and all that acts by itself."""
    with sqlite3.connect(path) as db:
        (number,) = db.execute("PRAGMA user_version").fetchone()
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables = {name: db.execute(f"PRAGMA table_info({name})").fetchall() for name in names}
        active = {
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view')")
        }
    db.close()
    return number, tables, active


def opened(path: Path) -> Ledger:
    return Ledger(path, site="hall-east", gate="gate_1", new_epoch="ff" * 16, boot_id="boot-2")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(GOLDEN, tmp_path / "ledger.db"))


def test_the_ledger_of_0_1_0_is_read_and_goes_on(ledger: Path) -> None:
    before = [entry.body for entry in entries(ledger)]
    assert len(before) == 5
    mine = opened(ledger)
    assert mine.epoch == "00112233445566778899aabbccddeeff"
    assert mine.open_visits() == (OPEN_VISIT,)
    assert mine.word() == CentreWord(5, "drill")
    mine.append(events.update(UpdateResult("0.2.0", "0.1.0", UpdateOutcome.DONE, "", "a1", 1)), NOW)
    mine.close()
    assert [entry.body for entry in entries(ledger)][:5] == before
    assert verify(ledger).ok
    assert verify(ledger).records == 6


def test_what_0_1_0_finds_when_it_comes_back_is_what_it_had(ledger: Path) -> None:
    mine = opened(ledger)
    mine.append(events.gate_stopped(), NOW)
    mine.close()
    was, now = schema(GOLDEN), schema(ledger)
    assert now[0] == was[0]
    assert {name: columns for name, columns in now[1].items() if name in was[1]} == was[1]
    assert now[2] == set()


def test_a_new_ledger_is_one_for_0_1_0_as_well(tmp_path: Path) -> None:
    opened(tmp_path / "ledger.db").close()
    was, new = schema(GOLDEN), schema(tmp_path / "ledger.db")
    assert new[0] == was[0]
    assert {name: new[1].get(name) for name in was[1]} == was[1]
    assert new[2] == set()


# What 0.1.0 writes, word for word.
STATEMENTS = (
    "INSERT INTO records VALUES (6, x'7b7d', x'00')",
    "UPDATE head SET seq = 6, hash = x'00'",
    "INSERT INTO uses VALUES (NULL, 'pass', 'in', 1, NULL, NULL, 1)",
    "INSERT OR REPLACE INTO word VALUES (1, 6, '')",
    "INSERT INTO sealed VALUES (6, x'00')",
)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_0_1_0_can_write_on_where_this_version_was(ledger: Path, statement: str) -> None:
    mine = opened(ledger)
    mine.append(events.gate_stopped(), NOW)
    mine.close()
    db = sqlite3.connect(ledger)
    db.execute("DELETE FROM records WHERE seq = 6")
    assert db.execute(statement).rowcount == 1
    db.close()


def test_the_golden_file_is_what_0_1_0_has_left() -> None:
    assert verify(GOLDEN).ok
    assert next(iter(entries(GOLDEN))).body.count(b'"version":"0.1.0"') == 1
