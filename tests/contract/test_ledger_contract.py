"""What every ledger and outbox promises (gate.ports): on a file, in memory, and in the application."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from gate.app.records import OwnLedger, OwnOutbox
from gate.config import Config, GateSection, MqttSection
from gate.core.chain import genesis, link
from gate.core.commands import CentreWord
from gate.core.events import Event, Kind, Result, Stage, anomaly, gate_stopped, visit_closed, visit_decided
from gate.core.evidence import Direction, Evidence
from gate.core.moment import Moment
from gate.core.policy import Decision, Disposition, Verdict
from gate.core.uses import Use
from gate.demo.witness import event_validator
from gate.ports import Entry, Held, Outbox, RecordFailure
from gate.store import ledger as store
from tests.brokers import MemoryOutbox

NOW = Moment(5_000_000_000, 1_700_000_000_000, clock_trusted=True)
NOTHING = Decision(Verdict.REFER, Disposition.NONE, (), "policy", "00" * 32)


@dataclass
class Fitted:
    """A ledger, and how to make its disk full and give it room again."""

    ledger: store.Ledger | OwnLedger
    fill: Callable[[], None]
    empty: Callable[[], None]
    outbox: Outbox | None = None


def _limits(db: sqlite3.Connection) -> tuple[Callable[[], None], Callable[[], None]]:
    def limit(pages: int) -> None:
        db.execute(f"PRAGMA max_page_count = {pages}")

    return lambda: limit(1), lambda: limit(1_000_000)  # no fewer than there are


def new_ledger(path: Path | str) -> store.Ledger:
    return store.Ledger(path, site="hall", gate="g", new_epoch="00" * 8, boot_id="boot")


def on_a_file(folder: Path) -> Iterator[Fitted]:
    ledger = new_ledger(folder / "ledger.db")
    outbox = store.Outbox(folder / "ledger.db")
    yield Fitted(ledger, *_limits(ledger._db), outbox)
    outbox.close()
    ledger.close()


def in_memory(_folder: Path) -> Iterator[Fitted]:
    ledger = new_ledger(":memory:")
    yield Fitted(ledger, *_limits(ledger._db))
    ledger.close()


def in_the_application(folder: Path) -> Iterator[Fitted]:
    section = GateSection(site="hall", id="g", state_dir=folder)
    ledger = OwnLedger(Config(gate=section, mqtt=MqttSection(host="h")), lambda _ledger: None)
    assert ledger._ledger is not None
    outbox = OwnOutbox(ledger, folder / "ledger.db")
    yield Fitted(ledger, *_limits(ledger._ledger._db), outbox)
    outbox.close()
    ledger.close()


@pytest.fixture(params=[on_a_file, in_memory, in_the_application])
def fitted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fitted]:
    yield from request.param(tmp_path)


def test_numbers_have_no_gap_and_the_hash_covers_the_bytes(fitted: Fitted) -> None:
    ledger = fitted.ledger
    assert ledger.head == (0, genesis(str(ledger.epoch)))
    previous = genesis(str(ledger.epoch))
    for seq in (1, 2, 3):
        entry = ledger.append(anomaly("what", f"detail {seq}"), NOW)
        assert entry.seq == seq == json.loads(entry.body)["data"]["seq"]
        assert event_validator()(entry.body) is None
        previous = link(previous, entry.body)
        assert ledger.head == (seq, previous)


def test_a_record_that_cannot_be_written_changes_nothing_and_can_be_written_later(fitted: Fitted) -> None:
    ledger = fitted.ledger
    ledger.append(gate_stopped(), NOW)
    fitted.fill()
    written = _write_until_full(ledger)
    head = ledger.head
    with pytest.raises(RecordFailure):
        ledger.append(anomaly("what", "x" * 200), NOW)
    assert ledger.head == head == (written, head[1])
    fitted.empty()
    assert ledger.append(gate_stopped(), NOW).seq == written + 1


def _write_until_full(ledger: store.Ledger | OwnLedger) -> int:
    for _ in range(100):
        try:
            ledger.append(anomaly("what", "x" * 200), NOW)
        except RecordFailure:
            return ledger.head[0]
    pytest.fail("it never is full")


def _decided(visit: str, stage: Stage) -> Event:
    return visit_decided(visit, stage, NOTHING, Evidence(), (), 1)


def test_open_visits_are_those_without_an_end_oldest_first(fitted: Fitted) -> None:
    ledger = fitted.ledger
    assert ledger.open_visits() == ()
    for visit in ("a", "b", "c"):
        ledger.append(_decided(visit, Stage.REFERRED), NOW)
    ledger.append(_decided("a", Stage.AUTHORISED), NOW)
    ledger.append(visit_closed("b", Result.LEFT, 1), NOW)
    assert ledger.open_visits() == ("a", "c")
    ledger.append(visit_closed("a", Result.PASSED, 1), NOW)
    ledger.append(visit_closed("c", Result.PASSED, 1), NOW)
    assert ledger.open_visits() == ()


PASS, OTHER = "counter/cafe0001", "counter/cafe0002"
DAY_MS = 86_400_000


def used(count: int, *, key: str = PASS, direction: Direction = Direction.IN, until_s: int = 2**31) -> Use:
    return Use(key, direction, NOW.wall_ms, until_s, None, count)


def test_of_each_pass_and_direction_the_use_written_last_counts(fitted: Fitted) -> None:
    ledger = fitted.ledger
    assert ledger.uses() == ()
    for use in (used(1), used(2), used(1, key=OTHER), used(5, direction=Direction.OUT), used(1)):
        ledger.append(gate_stopped(), NOW, use)
    wanted = {used(1), used(1, key=OTHER), used(5, direction=Direction.OUT)}
    assert set(ledger.uses()) == wanted, "not the greatest: one was given back"
    assert set(ledger.uses()) == wanted, "and the same again"


def test_a_use_that_was_given_back_was_none(fitted: Fitted) -> None:
    ledger = fitted.ledger
    ledger.append(gate_stopped(), NOW, used(1))
    ledger.append(gate_stopped(), NOW, used(0))
    assert ledger.uses() == ()
    assert ledger.uses() == (), "nor is it when what was overtaken is gone"
    ledger.append(gate_stopped(), NOW, used(1))
    assert ledger.uses() == (used(1),)


def test_a_use_is_on_record_with_its_record_or_not_at_all(fitted: Fitted) -> None:
    ledger = fitted.ledger
    fitted.fill()
    _write_until_full(ledger)
    before = ledger.uses()
    with pytest.raises(RecordFailure):
        ledger.append(anomaly("what", "x" * 200), NOW, used(1))
    fitted.empty()
    assert ledger.uses() == before == ()


def test_passes_are_forgotten_a_day_after_their_end_where_the_time_is_known(fitted: Fitted) -> None:
    ledger = fitted.ledger
    end_ms = NOW.wall_ms + 3_600_000
    ended = used(3, until_s=end_ms // 1000)
    ledger.append(gate_stopped(), NOW, ended)
    ledger.append(gate_stopped(), NOW, used(1, key=OTHER))
    assert ledger.uses(end_ms + DAY_MS) == (ended, used(1, key=OTHER))
    assert set(ledger.uses()) == {ended, used(1, key=OTHER)}, "nobody knows the time"
    assert ledger.uses(end_ms + DAY_MS + 1) == (used(1, key=OTHER),)
    assert ledger.uses() == (used(1, key=OTHER),), "forgotten is forgotten"


def test_a_pass_without_an_end_is_forgotten_a_day_after_its_use(fitted: Fitted) -> None:
    endless = Use(PASS, Direction.IN, NOW.wall_ms, None)
    fitted.ledger.append(gate_stopped(), NOW, endless)
    assert fitted.ledger.uses(NOW.wall_ms + DAY_MS) == (endless,)
    assert fitted.ledger.uses(NOW.wall_ms + DAY_MS + 1) == ()


# --- what goes with a record


def test_the_centres_word_and_what_is_sealed_go_with_their_record(fitted: Fitted) -> None:
    ledger = fitted.ledger
    assert ledger.word() == CentreWord()
    declaring = Event(Kind.GATE_STOPPED, {"sealed": sha256(b"sealed").hexdigest()})
    entry = ledger.append(declaring, NOW, None, CentreWord(4, "why"), b"sealed")
    assert (entry.sealed, ledger.word()) == (b"sealed", CentreWord(4, "why"))
    assert ledger.append(gate_stopped(), NOW).sealed is None
    assert ledger.word() == CentreWord(4, "why")
    if fitted.outbox is not None:
        assert [one.sealed for one in fitted.outbox.pending(0, 9)] == [b"sealed", None]


def test_where_the_record_fails_the_word_has_not_come(fitted: Fitted) -> None:
    ledger = fitted.ledger
    fitted.fill()
    _write_until_full(ledger)
    with pytest.raises(RecordFailure):
        ledger.append(anomaly("what", "x" * 200), NOW, word=CentreWord(9))
    fitted.empty()
    assert ledger.word() == CentreWord()


def test_something_sealed_that_its_record_does_not_declare_is_a_mistake(fitted: Fitted) -> None:
    with pytest.raises(ValueError, match="declare"):
        fitted.ledger.append(gate_stopped(), NOW, sealed=b"sealed")


# --- the application's opens late


def own_ledger(folder: Path, opened: list[store.Ledger]) -> OwnLedger:
    section = GateSection(site="hall", id="g", state_dir=folder)
    return OwnLedger(Config(gate=section, mqtt=MqttSection(host="h")), opened.append)


def test_what_was_on_record_is_told_once_when_the_ledger_opens_late(tmp_path: Path) -> None:
    path, opened = tmp_path / "ledger.db", list[store.Ledger]()
    before = own_ledger(tmp_path, opened)
    before.append(_decided("a", Stage.AUTHORISED), NOW, used(1))
    before.close()
    assert opened == [], "it was open from the start"
    path.rename(tmp_path / "aside.db")
    path.write_bytes(b"noise" * 1000)
    ledger = own_ledger(tmp_path, opened)
    assert (ledger.uses(), ledger.open_visits()) == ((), ())
    with pytest.raises(RecordFailure):
        ledger.append(gate_stopped(), NOW)
    assert opened == []
    (tmp_path / "aside.db").rename(path)
    assert ledger.append(gate_stopped(), NOW).seq == 2
    ledger.append(gate_stopped(), NOW)
    (one,) = opened
    assert (one.open_visits(), one.uses()) == (("a",), (used(1),))
    ledger.close()


# --- the outbox


class Filled:
    """An outbox, and how records get into it."""

    def __init__(self, outbox: Outbox, add: Callable[[int], None]) -> None:
        self.outbox = outbox
        self.add = add


def of_a_ledger(make: Callable[[Path], Iterator[Fitted]]) -> Callable[[Path], Iterator[Filled]]:
    def fill(folder: Path) -> Iterator[Filled]:
        for fitted in make(folder):
            assert fitted.outbox is not None

            def add(records: int, ledger: store.Ledger | OwnLedger = fitted.ledger) -> None:
                for _ in range(records):
                    ledger.append(gate_stopped(), NOW)

            yield Filled(fitted.outbox, add)

    return fill


def of_the_tests(_folder: Path) -> Iterator[Filled]:
    outbox = MemoryOutbox()
    yield Filled(outbox, outbox.add)


@pytest.fixture(
    params=[of_a_ledger(on_a_file), of_a_ledger(in_the_application), of_the_tests],
    ids=["file", "application", "memory"],
)
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    yield from request.param(tmp_path)


def numbers(entries: list[Entry]) -> list[int]:
    return [entry.seq for entry in entries]


def test_an_empty_outbox(filled: Filled) -> None:
    outbox = filled.outbox
    head = outbox.head()
    assert (head.seq, head.hash) == (0, genesis(head.epoch))
    assert (outbox.acknowledged(), outbox.pending(0, 10), outbox.abnormal(0, 10)) == (0, [], [])
    assert (outbox.receipt(), outbox.hash_at(0), outbox.hash_at(1)) == (None, head.hash, None)


def test_pending_comes_in_order_behind_what_is_named_and_no_more_than_asked(filled: Filled) -> None:
    filled.add(7)
    outbox = filled.outbox
    assert outbox.head().seq == 7
    assert numbers(outbox.pending(0, 100)) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(outbox.pending(2, 3)) == [3, 4, 5]
    assert outbox.pending(7, 10) == []
    filled.add(1)
    assert numbers(outbox.pending(7, 10)) == [8]
    assert outbox.pending(2, 1) == outbox.pending(2, 1), "the same bytes each time"


def test_the_mark_moves_forward_only(filled: Filled) -> None:
    filled.add(5)
    outbox = filled.outbox
    outbox.acknowledge(3)
    assert outbox.acknowledged() == 3
    outbox.acknowledge(2)
    assert outbox.acknowledged() == 3
    assert numbers(outbox.pending(outbox.acknowledged(), 10)) == [4, 5]
    assert outbox.head().seq == 5


def test_hashes_are_those_of_the_chain(filled: Filled) -> None:
    filled.add(3)
    outbox = filled.outbox
    digest = genesis(outbox.head().epoch)
    for entry in outbox.pending(0, 3):
        digest = link(digest, entry.body)
        assert outbox.hash_at(entry.seq) == digest
    assert outbox.head().hash == digest
    assert outbox.hash_at(4) is None


def test_the_mark_follows_a_receipt_both_ways(filled: Filled) -> None:
    filled.add(5)
    outbox = filled.outbox
    for at_ms, upto in enumerate((3, 5, 2, 0)):
        digest = outbox.hash_at(upto)
        assert digest is not None
        receipt = Held(outbox.head().epoch, upto, digest, at_ms)
        outbox.receive(receipt)
        assert (outbox.receipt(), outbox.acknowledged()) == (receipt, upto)
    assert numbers(outbox.pending(outbox.acknowledged(), 10)) == [1, 2, 3, 4, 5]


def test_a_young_ledger_keeps_everything(filled: Filled) -> None:
    filled.add(5)
    outbox = filled.outbox
    outbox.receive(Held(outbox.head().epoch, 5, outbox.head().hash, 1))
    assert outbox.prune(NOW.wall_ms + 10**12) == 0
    assert numbers(outbox.pending(0, 10)) == [1, 2, 3, 4, 5]


def test_the_mark_of_a_file_outlives_the_process(tmp_path: Path) -> None:
    for fitted in on_a_file(tmp_path):
        assert fitted.outbox is not None
        fitted.ledger.append(gate_stopped(), NOW)
        fitted.outbox.acknowledge(1)
    for fitted in on_a_file(tmp_path):
        assert fitted.outbox is not None
        assert (fitted.outbox.acknowledged(), fitted.outbox.head().seq) == (1, 1)
