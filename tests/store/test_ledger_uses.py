"""Uses of passes in the ledger: in the transaction of their record or not at all, and beside the chain."""

import contextlib
import itertools
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from gate.core import events
from gate.core.chain import genesis, link
from gate.core.events import Event, Origin, Result, encode
from gate.core.evidence import Direction
from gate.core.moment import NS_PER_S, Moment
from gate.core.uses import Use
from gate.ports import RecordFailure
from gate.store import database
from gate.store.ledger import USES_KEPT_MS, Ledger, LedgerError, entries, owner, verify

EPOCH = "00112233aabbccdd"
WALL_MS = 1_709_164_800_000
USE = Use("county/cafe0001", Direction.IN, WALL_MS, WALL_MS // 1000 + 3600, 7, 1)
PASSED: Event = events.visit_closed("0a1b2c3d-000001", Result.PASSED, 1)


def moment(number: int) -> Moment:
    return Moment(number * NS_PER_S, WALL_MS + number, clock_trusted=True)


def opened(path: Path | str) -> Ledger:
    return Ledger(path, site="hall", gate="g1", new_epoch=EPOCH, boot_id="boot")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with contextlib.closing(opened(path)) as ledger:
        yield ledger


def run(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        return [row for statement in statements for row in db.execute(statement)]


def remembered(path: Path) -> tuple[Use, ...]:
    with contextlib.closing(opened(path)) as ledger:
        return ledger.uses()


def test_a_use_comes_back_as_it_was(path: Path, ledger: Ledger) -> None:
    other = Use("CN-31/0123456789abcdef", Direction.OUT, WALL_MS + 1, None, None, 250)
    ledger.append(PASSED, moment(1), USE)
    ledger.append(PASSED, moment(2))
    ledger.append(PASSED, moment(3), other)
    assert set(ledger.uses()) == {USE, other}
    assert set(remembered(path)) == {USE, other}
    assert all(isinstance(use.direction, Direction) for use in ledger.uses())


def test_of_one_pass_and_direction_the_last_use_is_kept(ledger: Ledger) -> None:
    again = Use(USE.key, Direction.IN, WALL_MS + 5, USE.until_s, 8, 2)
    leaving = Use(USE.key, Direction.OUT, WALL_MS + 6, USE.until_s, 8, 1)
    for use in (USE, again, leaving):
        ledger.append(PASSED, moment(1), use)
    assert set(ledger.uses()) == {again, leaving}


def test_what_was_written_last_counts(path: Path, ledger: Ledger) -> None:
    """Not the greatest count: what was given back counts less than before."""
    again = Use(USE.key, Direction.IN, WALL_MS + 5, USE.until_s, 8, 2)
    for use in (USE, again, USE):
        ledger.append(PASSED, moment(1), use)
    assert ledger.uses() == (USE,)
    assert run(path, "SELECT count(*) FROM uses") == [(1,)]  # what was overtaken is gone
    assert remembered(path) == (USE,)


def test_what_was_given_back_was_never_used(path: Path, ledger: Ledger) -> None:
    """Also when the row of its use is still there, and of the other direction nothing is taken away."""
    leaving = Use(USE.key, Direction.OUT, WALL_MS + 6, USE.until_s, 8, 1)
    given_back = Use(USE.key, Direction.IN, 0, USE.until_s, count=0)
    for use in (USE, leaving, given_back):
        ledger.append(PASSED, moment(1), use)
    assert run(path, "SELECT count FROM uses ORDER BY id") == [(1,), (1,), (0,)]
    assert remembered(path) == (leaving,)
    again = Use(USE.key, Direction.IN, WALL_MS + 9, USE.until_s, 9, 1)
    ledger.append(PASSED, moment(2), again)
    assert set(remembered(path)) == {leaving, again}


def test_what_was_given_back_stays_so_where_nothing_can_be_forgotten(ledger: Ledger) -> None:
    ledger.append(PASSED, moment(1), USE)
    ledger.append(PASSED, moment(2), Use(USE.key, Direction.IN, 0, USE.until_s, count=0))
    ledger._db.execute("CREATE TEMP TRIGGER no BEFORE DELETE ON uses BEGIN SELECT 1 FROM nothing_there; END")
    assert ledger.uses(WALL_MS) == ()


def test_what_is_given_back_of_a_pass_without_an_end_does_not_come_back_a_day_later(
    path: Path, ledger: Ledger
) -> None:
    """It was used at no time at all, so it is the first to be forgotten: with all that was before it."""
    endless = Use(USE.key, Direction.IN, WALL_MS)
    ledger.append(PASSED, moment(1), endless)
    ledger.append(PASSED, moment(2), Use(USE.key, Direction.IN, 0, count=0))
    assert ledger.uses(WALL_MS) == ()
    assert run(path, "SELECT count(*) FROM uses") == [(0,)]


def test_uses_are_no_part_of_the_chain(path: Path, ledger: Ledger) -> None:
    plain = path.with_name("plain.db")
    with contextlib.closing(opened(plain)) as other:
        other.append(PASSED, moment(1))
    ledger.append(PASSED, moment(1), USE)
    assert verify(path) == verify(plain)
    run(
        path, "UPDATE uses SET count = 99, at_ms = 1", "INSERT INTO uses VALUES (NULL, 'x', 'in', 1, 1, 1, 1)"
    )
    assert verify(path) == verify(plain)
    run(path, "DROP TABLE uses")
    assert verify(path) == verify(plain)
    assert list(entries(path)) == list(entries(plain))


# --- both or none


def fails(path: Path, ledger: Ledger, use: Use) -> None:
    """The record is refused; neither it nor the use is there, and nothing of it comes after a restart."""
    before, uses = verify(path), set(ledger.uses())
    with pytest.raises(RecordFailure):
        ledger.append(PASSED, moment(9), use)
    assert (ledger.head[0], verify(path), set(ledger.uses())) == (before.records, before, uses)
    assert set(remembered(path)) == uses


@pytest.mark.parametrize(
    ("place", "table"), [("BEFORE INSERT", "uses"), ("BEFORE UPDATE", "head"), ("AFTER INSERT", "uses")]
)
def test_the_use_fails_or_the_record_fails(path: Path, ledger: Ledger, place: str, table: str) -> None:
    ledger.append(PASSED, moment(1), USE)
    run(path, f"CREATE TRIGGER no {place} ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END")
    newer = Use(USE.key, USE.direction, WALL_MS + 1, USE.until_s, 8, 2)
    fails(path, ledger, newer)
    run(path, "DROP TRIGGER no")
    assert ledger.append(PASSED, moment(2), newer).seq == 2
    assert ledger.uses() == (newer,)
    assert verify(path).records == 2


def test_the_disk_is_full(path: Path, ledger: Ledger) -> None:
    ledger.append(PASSED, moment(1), USE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    wal = path.with_name("ledger.db-wal")
    frame = database.PAGE_BYTES + 24
    newer = Use(USE.key, USE.direction, WALL_MS + 1, USE.until_s, 8, 2)
    refused = 0
    for pages in itertools.count():  # the disk ends after each page of the transaction in turn
        resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size // frame * frame + pages * frame, hard))
        try:
            ledger.append(PASSED, moment(2), newer)
        except RecordFailure:
            refused += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if ledger.head[0] == 2:
            break
        assert (verify(path).records, ledger.uses()) == (1, (USE,))
    assert refused > 2
    assert (verify(path).records, ledger.uses()) == (2, (newer,))


WRITER = """
import sys
from gate.core import events
from gate.core.evidence import Direction
from gate.core.moment import Moment
from gate.core.uses import Use
from gate.store.ledger import Ledger
ledger = Ledger(sys.argv[1], site="hall", gate="g1", new_epoch="epoch", boot_id="boot")
while True:
    seq = ledger.head[0] + 1
    use = Use("county/cafe0001", Direction.IN, seq, count=seq)
    ledger.append(events.gate_stopped(), Moment(1, 1, True), use)
    print(seq, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 7, 40])
def test_a_kill_leaves_both_or_none(path: Path, lines: int) -> None:
    """Every record has a use whose count is its number: they must agree whenever the process ends."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        told += [line for line in child.stdout if line.endswith("\n")]
    found = verify(path)
    assert found.ok
    (use,) = remembered(path)
    assert use.count == use.at_ms == found.records
    assert found.records - int(told[-1]) in {0, 1}


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE uses; CREATE TABLE uses (a)",
        "INSERT INTO uses VALUES (NULL, 'x', 'up', 1, 1, 1, 1)",
    ],
)
def test_uses_that_cannot_be_read_are_a_damaged_ledger(path: Path, statement: str) -> None:
    """Whether a pass was used is not known then: nobody may be let in as if it had not been."""
    opened(path).close()
    run(path, *statement.split(";"))
    with pytest.raises(LedgerError, match="copy it away"):
        opened(path)


# --- what is forgotten


@pytest.mark.parametrize(
    ("until_s", "at_ms", "kept"),
    [
        ((WALL_MS - USES_KEPT_MS) // 1000, 1, True),
        ((WALL_MS - USES_KEPT_MS) // 1000 - 1, 1, False),
        (WALL_MS // 1000 + 1, 1, True),
        (None, WALL_MS - USES_KEPT_MS, True),
        (None, WALL_MS - USES_KEPT_MS - 1, False),
    ],
)
def test_a_pass_is_forgotten_a_day_after_its_end(
    path: Path, ledger: Ledger, until_s: int | None, at_ms: int, kept: bool
) -> None:
    old = Use("county/old", Direction.IN, at_ms, until_s)
    ledger.append(PASSED, moment(1), old)
    ledger.append(PASSED, moment(2), USE)
    for _ in range(2):  # while nobody knows the time nothing is forgotten
        assert set(ledger.uses()) == {old, USE}
    assert set(remembered(path)) == {old, USE}
    assert set(ledger.uses(WALL_MS)) == ({old, USE} if kept else {USE})
    assert run(path, "SELECT count(*) FROM uses") == [(2 if kept else 1,)]


def test_a_use_far_ahead_makes_nothing_be_forgotten(ledger: Ledger) -> None:
    """It shows that the clock was wrong once, and says nothing of what time it is."""
    ahead = Use("county/ahead", Direction.IN, WALL_MS * 2, None)
    for use in (USE, ahead):
        ledger.append(PASSED, moment(1), use)
    assert set(ledger.uses()) == {USE, ahead}
    assert set(ledger.uses(WALL_MS)) == {USE, ahead}


def test_none_at_all(ledger: Ledger) -> None:
    assert ledger.uses() == ()


def test_where_nothing_can_be_forgotten_everything_is_remembered(ledger: Ledger) -> None:
    """A gate starts also on a disk that is full: that is for its next record to tell."""
    old = Use("county/old", Direction.IN, 1, 1)
    ledger.append(PASSED, moment(1), old)
    ledger.append(PASSED, moment(2), USE)
    ledger._db.execute("CREATE TEMP TRIGGER no BEFORE DELETE ON uses BEGIN SELECT 1 FROM nothing_there; END")
    assert set(ledger.uses(WALL_MS)) == {old, USE}


# --- read by others, without a change


def test_whose_ledger_it_is(path: Path, ledger: Ledger) -> None:
    before = path.read_bytes()
    assert owner(path) == ("hall", "g1")
    assert path.read_bytes() == before
    run(path, "DELETE FROM ledger")
    with pytest.raises(LedgerError, match="is no ledger or is damaged"):
        owner(path)


@pytest.mark.parametrize("reader", [owner, lambda path: list(entries(path))])
def test_where_there_is_no_ledger(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    with pytest.raises(LedgerError, match="no ledger at"):
        reader(tmp_path / "ledger.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "ledger.db").write_bytes(b"no database at all, but as long as the head of one" * 20)
    with pytest.raises(LedgerError):
        reader(tmp_path / "ledger.db")


def test_a_ledger_that_may_not_be_read(path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not bind whoever may do everything, as in some places where tests run."""

    def denied(*_args: object, **_kwargs: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", denied)
    with pytest.raises(LedgerError, match="look at its permissions"):
        owner(path)


def test_a_record_that_is_no_bytes_is_damage(path: Path, ledger: Ledger) -> None:
    ledger.append(PASSED, moment(1), USE)
    run(path, "UPDATE records SET body = 7")
    with pytest.raises(LedgerError, match="not bytes"):
        list(entries(path))


# --- the ledgers of the version before, which had no uses


def made_by_the_version_before(path: Path, count: int) -> None:
    """Write a ledger as it was made and written before: no table of uses, and nobody asks for one."""
    schema = files("gate.store").joinpath("schema.sql").read_text("utf-8")
    assert "uses" not in schema
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA page_size = 512")
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(f"BEGIN IMMEDIATE;\n{schema}\nPRAGMA user_version = 1;")
        db.execute("INSERT INTO ledger VALUES (1, ?, 'hall', 'g1')", (EPOCH,))
        db.execute("INSERT INTO head VALUES (1, 0, ?)", (genesis(EPOCH),))
        db.execute("INSERT INTO delivery VALUES (1, 0)")
        db.commit()
        write_as_before(db, count)


def write_as_before(db: sqlite3.Connection, count: int) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    assert version == 1  # what the version before asks of a file
    for _ in range(count):
        seq, digest = db.execute("SELECT seq, hash FROM head").fetchone()
        body = encode(PASSED, Origin("hall", "g1", EPOCH, "boot"), seq + 1, moment(seq + 1))
        digest = link(digest, body)
        db.execute("INSERT INTO records VALUES (?, ?, ?)", (seq + 1, body, digest))
        db.execute("UPDATE head SET seq = ?, hash = ?", (seq + 1, digest))
        db.commit()


OF_THE_CENTRE = {"receipt", "pruned", "word", "sealed", "previous"}


def tables(path: Path) -> set[object]:
    return {name for (name,) in run(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_an_older_ledger_is_taken_over_and_can_go_back(path: Path) -> None:
    made_by_the_version_before(path, 3)
    before = verify(path)
    assert (before.ok, before.records) == (True, 3)
    assert tables(path) == {"records", "head", "ledger", "delivery"}
    with contextlib.closing(opened(path)) as ledger:
        assert (ledger.epoch, ledger.head[0], ledger.uses()) == (EPOCH, 3, ())
        assert verify(path) == before
        ledger.append(PASSED, moment(4), USE)
    assert tables(path) == {"records", "head", "ledger", "delivery", "uses", *OF_THE_CENTRE}
    assert run(path, "PRAGMA user_version") == [(1,)]
    with contextlib.closing(sqlite3.connect(path)) as db:
        write_as_before(db, 2)
    assert (verify(path).ok, verify(path).records) == (True, 6)
    assert remembered(path) == (USE,)


def test_an_older_ledger_on_a_full_disk_is_an_operating_fault(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by_the_version_before(path, 1)
    connect = sqlite3.connect

    def full(*args: object, **kwargs: object) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **kwargs)  # type: ignore[call-overload]  # whatever it takes
        db.execute("PRAGMA max_page_count = 1")
        return db

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(LedgerError, match="cannot be opened"):
        opened(path)
    monkeypatch.undo()
    assert verify(path).ok
    opened(path).close()
