"""A new epoch: the old file is put aside whole, the new one knows of it, and nothing breaks in between."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gate.core import events
from gate.core.chain import genesis
from gate.core.commands import CentreWord
from gate.core.delivery import PreviousEpoch
from gate.core.evidence import Direction
from gate.core.moment import Moment
from gate.core.uses import Use
from gate.ports import Entry
from gate.store import database
from gate.store import ledger as ledger_module
from gate.store.ledger import Ledger, LedgerError, Outbox, archive, entries, verify

OLD, NEW = "00112233aabbccdd", "ffeeddccbbaa9988"
WORD = CentreWord(3, "until the school is clean")
USE = Use("county/cafe0001", Direction.IN, 1_709_164_800_000, None, None, 2)
NOW = Moment(1, 1_709_164_800_000, clock_trusted=True)
REASON = "the centre knows another record 5"


def opened(path: Path | str, epoch: str = "of a gate that starts anew") -> Ledger:
    return Ledger(path, site="hall", gate="g1", new_epoch=epoch, boot_id="boot")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with contextlib.closing(opened(path, OLD)) as ledger:
        yield ledger


def fill(ledger: Ledger) -> list[Entry]:
    first = ledger.append(events.gate_stopped(), NOW, USE, WORD)
    return [first, *(ledger.append(events.anomaly("what", str(n)), NOW) for n in range(4))]


def names(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir() if not file.name.endswith(("-wal", "-shm"))}


def is_new(ledger: Ledger, previous: PreviousEpoch) -> bool:
    """Tell whether a ledger is empty, knows the one before it, and what goes on."""
    known = (ledger.epoch, ledger.head, ledger.previous, ledger.word(), ledger.uses())
    return known == (NEW, (0, genesis(NEW)), previous, WORD, (USE,))


def test_the_old_file_is_put_aside_and_a_new_one_begun(path: Path, ledger: Ledger) -> None:
    written = fill(ledger)
    size, head = ledger.head
    assert ledger.previous is None
    previous = ledger.renew(NEW, REASON)
    assert previous == PreviousEpoch(OLD, size, head.hex(), REASON)
    assert is_new(ledger, previous)
    assert ledger.append(events.gate_stopped(), NOW).seq == 1
    assert names(path) == {"ledger.db", f"ledger-{OLD}.db"}
    aside = verify(path.with_name(f"ledger-{OLD}.db"))
    assert (aside.ok, aside.records, aside.head_hash, aside.epoch) == (True, size, head.hex(), OLD)
    assert list(entries(path.with_name(f"ledger-{OLD}.db"))) == written
    found = verify(path)
    assert (found.ok, found.records, found.epoch) == (True, 1, NEW)


def test_a_restart_goes_on_in_the_new_epoch_and_still_knows_why(path: Path, ledger: Ledger) -> None:
    fill(ledger)
    previous = ledger.renew(NEW, REASON)
    ledger.close()
    with contextlib.closing(opened(path)) as again:
        assert is_new(again, previous)
        for _ in range(2):
            again.append(events.gate_stopped(), NOW)
        assert again.previous == previous


def test_nothing_of_the_old_delivery_holds_for_the_new_epoch(path: Path, ledger: Ledger) -> None:
    fill(ledger)
    with contextlib.closing(Outbox(path)) as outbox:
        outbox.acknowledge(4)
        outbox.close()
        ledger.renew(NEW, REASON)
        assert (outbox.head().epoch, outbox.head().seq, outbox.acknowledged()) == (NEW, 0, 0)
        assert (outbox.receipt(), outbox.pending(0, 9)) == (None, [])
        entry = ledger.append(events.gate_stopped(), NOW)
        assert outbox.pending(0, 9) == [entry]


def test_while_anybody_has_the_file_open_it_stays(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_MS", 20)
    ledger.close()
    with contextlib.closing(opened(path, OLD)) as ledger, contextlib.closing(Outbox(path)) as outbox:
        written = fill(ledger)
        assert outbox.pending(0, 9) == written
        with pytest.raises(LedgerError, match="goes on as it is"):
            ledger.renew(NEW, REASON)
        assert names(path) == {"ledger.db"}
        entry = ledger.append(events.gate_stopped(), NOW)
        assert (ledger.epoch, entry.seq, outbox.pending(5, 9)) == (OLD, 6, [entry])
        assert (ledger.word(), ledger.uses(), ledger.previous) == (WORD, (USE,), None)
        outbox.close()
        assert is_new(ledger, ledger.renew(NEW, REASON))
    assert verify(path.with_name(f"ledger-{OLD}.db")).records == 6


@pytest.mark.parametrize("step", ["make the new file", "rename the old one"])
def test_a_disk_that_refuses_leaves_the_ledger_as_it_was(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    fill(ledger)
    with monkeypatch.context() as patch:
        if step == "rename the old one":
            patch.setattr(Path, "rename", refuse)
        else:
            patch.setattr(ledger_module, "_make_next", refuse)
        with pytest.raises(LedgerError, match="No space left"):
            ledger.renew(NEW, REASON)
    assert names(path) == {"ledger.db"}
    assert (ledger.epoch, ledger.append(events.gate_stopped(), NOW).seq, ledger.word()) == (OLD, 6, WORD)
    assert verify(path).records == 6


@pytest.mark.parametrize("renames_done", [0, 1])
def test_a_renewal_that_was_broken_off_is_made_good_at_the_next_start(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, renames_done: int
) -> None:
    """The process ends before either of the two renames; power cuts are in test_power_loss."""
    fill(ledger)
    size, head = ledger.head
    really_rename, left = Path.rename, iter([True] * renames_done)

    class Killed(BaseException):
        pass

    def rename(old: Path, new: Path) -> Path:
        if not next(left, False):
            raise Killed
        return really_rename(old, new)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "rename", rename)
        ledger.renew(NEW, REASON)
    ledger.close()
    assert "ledger.db.next" in names(path)
    with contextlib.closing(opened(path)) as again:
        if renames_done:
            assert is_new(again, PreviousEpoch(OLD, size, head.hex(), REASON))
            assert names(path) == {"ledger.db", f"ledger-{OLD}.db"}
        else:
            assert (again.epoch, again.head, again.previous) == (OLD, (size, head), None)
            assert names(path) == {"ledger.db"}


def test_what_a_broken_off_attempt_has_left_is_not_taken_for_the_new_file(path: Path, ledger: Ledger) -> None:
    fill(ledger)
    path.with_name("ledger.db.next").write_bytes(b"half a file")
    path.with_name("ledger.db.next-wal").write_bytes(b"half a log")
    assert is_new(ledger, ledger.renew(NEW, REASON))
    assert names(path) == {"ledger.db", f"ledger-{OLD}.db"}


def test_a_disk_without_room_for_the_whole_of_a_new_file_leaves_the_ledger_as_it_was(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite commits to the write-ahead log, and closes in silence when that does not go into the file."""
    fill(ledger)
    log = path.with_name("ledger.db.next-wal")
    really_connect, readers = database.connect, contextlib.ExitStack()

    def connect(opened: Path | str) -> sqlite3.Connection:
        db = really_connect(opened)
        if str(opened).endswith(".next"):
            reader = readers.enter_context(contextlib.closing(sqlite3.connect(opened)))
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM sqlite_master").fetchall()
        return db

    with readers, monkeypatch.context() as patch:
        patch.setattr(ledger_module, "connect", connect)
        with pytest.raises(LedgerError, match="no room for another file"):
            ledger.renew(NEW, REASON)
        assert not log.exists()
    assert {file.name for file in path.parent.iterdir()} <= {"ledger.db", "ledger.db-wal", "ledger.db-shm"}
    assert (ledger.epoch, ledger.append(events.gate_stopped(), NOW).seq, ledger.word()) == (OLD, 6, WORD)
    size, head = ledger.head
    assert is_new(ledger, ledger.renew(NEW, REASON))
    assert ledger.previous == PreviousEpoch(OLD, size, head.hex(), REASON)


def test_what_lies_beside_a_file_that_is_gone_is_taken_away(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(f"ledger.db.next{suffix}").write_bytes(b"half a log")
    opened(path, OLD).close()
    assert [file.name for file in path.parent.iterdir()] == ["ledger.db"]


def test_a_new_file_that_cannot_be_opened_does_not_give_its_epoch_to_the_old_ledger(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger)
    really_connect = database.connect

    def connect(opened: Path | str) -> sqlite3.Connection:
        if opened == path:
            raise sqlite3.OperationalError("disk I/O error")
        return really_connect(opened)

    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "connect", connect)
        with pytest.raises(LedgerError):
            ledger.renew(NEW, REASON)
    assert ledger.epoch == OLD
    with contextlib.closing(opened(path)) as again:
        assert (again.epoch, again.previous and again.previous.epoch) == (NEW, OLD)


def test_in_memory_for_simulation() -> None:
    with contextlib.closing(opened(":memory:", OLD)) as ledger:
        fill(ledger)
        size, head = ledger.head
        assert is_new(ledger, ledger.renew(NEW, REASON))
        assert ledger.previous == PreviousEpoch(OLD, size, head.hex(), REASON)


def test_epoch_after_epoch(path: Path, ledger: Ledger) -> None:
    for number in range(3):
        fill(ledger)
        ledger.renew(f"epoch{number}", REASON)
    assert names(path) == {"ledger.db", f"ledger-{OLD}.db", "ledger-epoch0.db", "ledger-epoch1.db"}
    assert all(verify(path.parent / name).ok for name in names(path))


# --- the name of a file that is put aside


def test_a_copy_that_came_back_never_overwrites_what_was_put_aside(path: Path) -> None:
    for content in (b"first", b"second", b"third"):
        path.write_bytes(content)
        archive(path, OLD)
    kept = {name: (path.parent / name).read_bytes() for name in names(path)}
    assert kept == {
        f"ledger-{OLD}.db": b"first",
        f"ledger-{OLD}-2.db": b"second",
        f"ledger-{OLD}-3.db": b"third",
    }


def test_a_name_that_leads_elsewhere_does_not(path: Path) -> None:
    path.write_bytes(b"x")
    assert archive(path, "../../etc/x").parent == path.parent


def test_a_file_that_was_not_closed_in_order_is_not_put_aside(path: Path) -> None:
    """Its newest records are in the write-ahead log, which goes by its name."""
    with contextlib.closing(opened(path, OLD)) as ledger:
        fill(ledger)
        with pytest.raises(LedgerError, match="still in use"):
            archive(path, OLD)
    assert archive(path, OLD) == path.with_name(f"ledger-{OLD}.db")
    with pytest.raises(FileNotFoundError):
        archive(path, OLD)


def test_the_new_names_are_flushed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr(
        os, "fsync", lambda number: flushed.append(Path(f"/proc/self/fd/{number}").readlink())
    )
    path.write_bytes(b"x")
    archive(path, OLD)
    assert flushed == [path.parent]


def test_a_previous_epoch_that_cannot_be_read_is_a_damaged_ledger(path: Path, ledger: Ledger) -> None:
    ledger.close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE previous")
        db.execute("CREATE TABLE previous (a)")
    for reader in (opened, verify):
        with pytest.raises(LedgerError, match="copy it away"):
            reader(path)


def test_a_file_that_cannot_be_read_any_more_is_not_put_aside(path: Path, ledger: Ledger) -> None:
    fill(ledger)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE uses RENAME TO lost")
    with pytest.raises(LedgerError, match="copy it away"):
        ledger.renew(NEW, REASON)
    assert names(path) == {"ledger.db"}
