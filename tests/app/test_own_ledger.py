"""The gate's own ledger when its epoch ends: put aside and renewed, or gone on with as it is."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from pytest import MonkeyPatch, fixture, raises

from gate.app.records import FIRST_START, LEDGER_NAME, OwnLedger, OwnOutbox
from gate.config import CentreSection, Config, GateSection, MqttSection
from gate.core.commands import CentreWord
from gate.core.events import gate_stopped
from gate.core.evidence import Direction
from gate.core.moment import Moment
from gate.core.uses import Use
from gate.ports import RecordFailure
from gate.store import ledger as store
from gate.store.ledger import Ledger, LedgerError, verify

NOW = Moment(1, 1_700_000_000_000, clock_trusted=True)
USE = Use("counter/cafe0001", Direction.IN, NOW.wall_ms, 1_800_000_000)
WORD = CentreWord(7, "drill")


class Own:
    """A gate's ledger and outbox in a folder, with what was told when the ledger was opened late."""

    def __init__(self, folder: Path, *, centre: bool = True) -> None:
        section = GateSection(site="hall", id="north-1", state_dir=folder)
        keys = CentreSection(folder / "centre.json") if centre else None
        self.path = folder / LEDGER_NAME
        self.late: list[Ledger] = []
        self.ledger = OwnLedger(Config(section, MqttSection("h"), centre=keys), self.late.append)
        self.outbox = OwnOutbox(self.ledger, self.path)

    def write(self, **more: Any) -> int:
        return self.ledger.append(gate_stopped(), NOW, **more).seq

    def renew(self) -> Any:
        with self.outbox.put_away():
            return self.ledger.renew("rolled back")

    def close(self) -> None:
        self.outbox.close()
        self.ledger.close()


@fixture
def own(tmp_path: Path) -> Any:
    with closing(Own(tmp_path)) as own:
        own.write(use=USE)
        own.write(word=WORD)
        yield own


def test_a_new_epoch_keeps_the_old_file_and_what_must_not_be_forgotten(own: Own) -> None:
    assert own.outbox.head().seq == 2, "the sending thread has the file open"
    old, head = own.ledger.epoch, own.ledger.head
    previous = own.renew()
    assert (previous.epoch, previous.size, previous.hash) == (old, 2, head[1].hex())
    assert own.ledger.epoch != old
    assert (own.ledger.head[0], own.ledger.new_epoch) == (0, previous)
    assert (own.ledger.uses(), own.ledger.word()) == ((USE,), WORD)
    assert own.outbox.head().epoch == own.ledger.epoch
    assert own.write() == 1
    assert own.ledger.new_epoch is None, "it has said so by now"
    aside = own.path.with_name(f"ledger-{old}.db")
    assert verify(aside).records == 2
    assert [entry.seq for entry in own.outbox.pending(0, 10)] == [1]


def test_a_ledger_that_somebody_reads_goes_on_and_is_renewed_later(
    own: Own, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.store.database.BUSY_MS", 10)
    old = own.ledger.epoch
    with closing(sqlite3.connect(own.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM head").fetchone()
        with raises(LedgerError):
            own.renew()
        assert own.ledger.epoch == old
        assert own.write() == 3
    assert own.renew().size == 3
    assert own.write() == 1


def test_a_new_ledger_that_cannot_be_opened_is_opened_late_and_says_what_came_before(
    own: Own, monkeypatch: MonkeyPatch
) -> None:
    old, real = own.ledger.epoch, store.connect
    full = [False]

    def connect(path: Path | str) -> sqlite3.Connection:
        if full[0] and not str(path).endswith(".next"):
            raise sqlite3.OperationalError("disk I/O error")
        return real(path)

    monkeypatch.setattr(store, "connect", connect)
    full[0] = True
    with raises(LedgerError):
        own.renew()
    assert own.ledger.epoch is None
    assert own.outbox.head().epoch == ""
    with raises(RecordFailure):
        own.write()
    full[0] = False
    assert own.write() == 1
    assert len(own.late) == 1
    previous = own.late[0].previous
    assert previous is not None
    assert (previous.epoch, previous.size, previous.reason) == (old, 2, "rolled back")


def test_a_new_ledger_that_opens_at_the_second_attempt_is_a_renewal(
    own: Own, monkeypatch: MonkeyPatch
) -> None:
    old, real = own.ledger.epoch, store.connect
    refusals = iter([True])

    def connect(path: Path | str) -> sqlite3.Connection:
        if path == own.path and next(refusals, False):
            raise sqlite3.OperationalError("disk I/O error")
        return real(path)

    monkeypatch.setattr(store, "connect", connect)
    previous = own.renew()
    assert next(refusals, None) is None, "it was refused once"
    assert (previous.epoch, previous.size, previous.reason) == (old, 2, "rolled back")
    assert own.ledger.epoch not in {old, None}
    assert own.ledger.new_epoch == previous
    assert own.write() == 1
    assert own.late == []


def test_only_a_gate_with_a_centre_says_that_its_first_ledger_is_its_first(tmp_path: Path) -> None:
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    with closing(Own(tmp_path / "with")) as own:
        assert own.ledger.new_epoch == FIRST_START
        own.write()
        assert own.ledger.new_epoch is None
    with closing(Own(tmp_path / "without", centre=False)) as own:
        assert own.ledger.new_epoch is None
