"""Receipts, what is sealed or abnormal, and what may be deleted: beside the chain, and checked with it."""

import contextlib
import itertools
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.core import events
from gate.core.chain import genesis
from gate.core.commands import CentreWord
from gate.core.events import Event
from gate.core.moment import NS_PER_S, Moment
from gate.ports import Entry, Head, Held, RecordFailure
from gate.store import database
from gate.store import outbox as outbox_module
from gate.store.ledger import Ledger, LedgerError, Outbox, entries, linked_entries, verify

EPOCH = "00112233aabbccdd"
WALL_MS = 1_709_164_800_000
KEPT = 4
SEALED = b"sealed for the centre, whoever it is"


def moment(number: int, *, trusted: bool = True) -> Moment:
    return Moment(number * NS_PER_S, WALL_MS + number, clock_trusted=trusted)


def opened(path: Path | str) -> Ledger:
    return Ledger(path, site="hall", gate="g1", new_epoch=EPOCH, boot_id="boot")


def registered(sealed: bytes | None = SEALED) -> Event:
    declared = {} if sealed is None else {"sealed": sha256(sealed).hexdigest()}
    return Event(events.Kind.GATE_STOPPED, declared)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with contextlib.closing(opened(path)) as ledger:
        yield ledger


@pytest.fixture
def outbox(path: Path, ledger: Ledger) -> Iterator[Outbox]:
    with contextlib.closing(Outbox(path)) as outbox:
        yield outbox


@pytest.fixture
def _few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "RECORDS_KEPT", KEPT)


def fill(ledger: Ledger, count: int) -> list[Entry]:
    first = ledger.head[0] + 1
    return [ledger.append(events.gate_stopped(), moment(number)) for number in range(first, first + count)]


def held(outbox: Outbox, upto: int, at_ms: int = 1) -> Held:
    digest = outbox.hash_at(upto)
    assert digest is not None
    return Held(EPOCH, upto, digest, at_ms)


def run(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        return [row for statement in statements for row in db.execute(statement)]


# --- what is sealed


def test_what_is_sealed_goes_with_its_record(path: Path, ledger: Ledger, outbox: Outbox) -> None:
    first = ledger.append(registered(), moment(1), sealed=SEALED)
    second = ledger.append(registered(None), moment(2))
    assert (first.sealed, second.sealed) == (SEALED, None)
    assert json.loads(first.body)["data"]["sealed"] == sha256(SEALED).hexdigest()
    assert SEALED not in first.body
    assert outbox.pending(0, 9) == list(entries(path)) == [first, second]
    assert [linked.entry for linked in linked_entries(path)] == [first, second]
    assert verify(path).ok


@pytest.mark.parametrize(
    ("event", "sealed"),
    [
        (registered(), None),
        (registered(None), SEALED),
        (registered(), SEALED + b"x"),
        (registered(b""), SEALED),
    ],
)
def test_a_record_that_would_never_be_whole_is_not_written(
    path: Path, ledger: Ledger, event: Event, sealed: bytes | None
) -> None:
    with pytest.raises(ValueError, match="declare"):
        ledger.append(event, moment(1), sealed=sealed)
    assert (ledger.head[0], verify(path).records) == (0, 0)


SEALED_TAMPERINGS = {
    "gone": ("DELETE FROM sealed WHERE seq = 2", 2),
    "changed": ("UPDATE sealed SET blob = CAST(blob || 'x' AS BLOB) WHERE seq = 2", 2),
    "as text": ("UPDATE sealed SET blob = CAST(blob AS TEXT) WHERE seq = 2", 2),
    "under another record": ("UPDATE sealed SET seq = 3 WHERE seq = 2", 2),
    "with a record that has none": ("INSERT INTO sealed VALUES (1, x'00')", 1),
    "without a record": ("INSERT INTO sealed VALUES (7, x'00')", 7),
    "all gone": ("DROP TABLE sealed", 2),
}


@pytest.mark.parametrize(("statement", "bad_seq"), SEALED_TAMPERINGS.values(), ids=SEALED_TAMPERINGS)
def test_what_was_done_to_something_sealed_is_found(path: Path, statement: str, bad_seq: int) -> None:
    with contextlib.closing(opened(path)) as ledger:
        fill(ledger, 1)
        ledger.append(registered(), moment(2), sealed=SEALED)
        fill(ledger, 1)
    run(path, statement)
    found = verify(path)
    assert (found.ok, found.bad_seq) == (False, bad_seq)
    assert "sealed" in found.problem


# --- the centre's word


def test_the_centres_word_outlives_a_restart(path: Path) -> None:
    word = CentreWord(7, "a case at the school 学校")
    with contextlib.closing(opened(path)) as ledger:
        assert ledger.word() == CentreWord()
        ledger.append(registered(None), moment(1), word=word)
        ledger.append(registered(None), moment(2))
        assert ledger.word() == word
    with contextlib.closing(opened(path)) as ledger:
        assert ledger.word() == word
        ledger.append(registered(None), moment(3), word=CentreWord(8))
    with contextlib.closing(opened(path)) as ledger:
        assert ledger.word() == CentreWord(8, "")


@pytest.mark.parametrize("table", ["word", "sealed", "head"])
def test_all_that_goes_with_a_record_is_there_or_nothing(path: Path, ledger: Ledger, table: str) -> None:
    ledger.append(registered(None), moment(1), word=CentreWord(1))
    run(path, f"CREATE TRIGGER i BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END")
    run(path, f"CREATE TRIGGER u BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(RecordFailure):
        ledger.append(registered(), moment(2), word=CentreWord(2), sealed=SEALED)
    assert (ledger.word(), ledger.head[0]) == (CentreWord(1), 1)
    assert run(path, "SELECT counter FROM word", "SELECT count(*) FROM sealed") == [(1,), (0,)]
    assert verify(path).ok


@pytest.mark.parametrize("change", ["counter = 'many'", "suspended = 5", "suspended = x'00'"])
def test_a_word_that_cannot_be_read_is_a_damaged_ledger(path: Path, change: str) -> None:
    """Whether visitors may be served is not known then."""
    with contextlib.closing(opened(path)) as ledger:
        ledger.append(registered(None), moment(1), word=CentreWord(1, "x"))
    run(
        path,
        "DROP TABLE word",
        "CREATE TABLE word (id, counter, suspended)",
        "INSERT INTO word VALUES (1, 1, '')",
    )
    run(path, f"UPDATE word SET {change}")
    for reader in (opened, verify):
        with pytest.raises(LedgerError, match="copy it away"):
            reader(path)


# --- receipts


def test_head_and_hashes(ledger: Ledger, outbox: Outbox) -> None:
    assert outbox.head() == Head(EPOCH, 0, genesis(EPOCH))
    hashes = [genesis(EPOCH)]
    for _ in range(3):
        fill(ledger, 1)
        hashes.append(ledger.head[1])
    assert outbox.head() == Head(EPOCH, 3, hashes[-1])
    assert [outbox.hash_at(seq) for seq in range(4)] == hashes
    assert [outbox.hash_at(seq) for seq in (-1, 4, 2**62)] == [None] * 3


def test_a_receipt_is_kept_and_moves_the_mark_both_ways(path: Path, ledger: Ledger, outbox: Outbox) -> None:
    fill(ledger, 5)
    assert outbox.receipt() is None
    for at_ms, upto in enumerate((3, 5, 0, 2)):
        outbox.receive(held(outbox, upto, at_ms))
        assert (outbox.receipt(), outbox.acknowledged()) == (held(outbox, upto, at_ms), upto)
        assert verify(path).ok
    outbox.close()
    assert (outbox.receipt(), outbox.acknowledged()) == (held(outbox, 2, 3), 2)


@pytest.mark.parametrize(
    "change", [{"upto": 3}, {"upto": -1}, {"epoch": "another"}, {"upto": 0}, {"hash": bytes(32)}]
)
def test_a_receipt_of_something_else_is_never_kept(
    ledger: Ledger, outbox: Outbox, change: dict[str, object]
) -> None:
    fill(ledger, 2)
    fields = {"epoch": EPOCH, "upto": 1, "hash": outbox.hash_at(1), "at_ms": 1} | change
    with pytest.raises(ValueError, match="no receipt of this ledger"):
        outbox.receive(Held(**fields))  # type: ignore[arg-type]
    assert (outbox.receipt(), outbox.acknowledged()) == (None, 0)


def test_receipt_and_mark_move_together_or_not_at_all(path: Path, ledger: Ledger, outbox: Outbox) -> None:
    fill(ledger, 3)
    outbox.receive(held(outbox, 1))
    run(path, "CREATE TRIGGER no BEFORE UPDATE ON delivery BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(sqlite3.Error):
        outbox.receive(held(outbox, 3, 2))
    assert (outbox.receipt(), outbox.acknowledged()) == (held(outbox, 1), 1)


RECEIPT_TAMPERINGS = {
    "beyond the head": "UPDATE receipt SET upto = 6",
    "below none": "UPDATE receipt SET upto = -1",
    "of another record": "UPDATE receipt SET upto = 2",
    "of none": "UPDATE receipt SET upto = 0",
    "of another hash": "UPDATE receipt SET hash = zeroblob(32)",
    "of another epoch": "UPDATE receipt SET epoch = 'another'",
    "the ledger rolled back": "UPDATE receipt SET upto = 9, hash = zeroblob(32)",
}


@pytest.mark.parametrize("statement", RECEIPT_TAMPERINGS.values(), ids=RECEIPT_TAMPERINGS)
def test_a_receipt_that_claims_something_else_is_found(path: Path, statement: str) -> None:
    with contextlib.closing(opened(path)) as ledger, contextlib.closing(Outbox(path)) as outbox:
        fill(ledger, 5)
        outbox.receive(held(outbox, 3))
    assert verify(path).ok
    run(path, statement)
    assert "receipt" in verify(path).problem


@pytest.mark.parametrize("change", ["upto = 'all'", "hash = 'x'", "at_ms = 'now'", "epoch = x'ff'"])
def test_a_receipt_that_cannot_be_read_is_damage(path: Path, change: str) -> None:
    with contextlib.closing(opened(path)) as ledger, contextlib.closing(Outbox(path)) as outbox:
        fill(ledger, 1)
        outbox.receive(held(outbox, 1))
    run(path, f"UPDATE receipt SET {change}")
    with pytest.raises(LedgerError, match="damaged"):
        verify(path)


# --- what is abnormal


def test_the_abnormal_are_found_among_the_others(ledger: Ledger, outbox: Outbox) -> None:
    abnormal = []
    for number in range(1, 30):
        odd = events.anomaly("what", f"number {number}")
        entry = ledger.append(odd if number % 7 == 0 else events.gate_stopped(), moment(number))
        abnormal += [entry] * (number % 7 == 0)
    assert outbox.abnormal(0, 99) == abnormal
    assert outbox.abnormal(0, 2) == abnormal[:2]
    assert outbox.abnormal(7, 2) == abnormal[1:3]
    assert outbox.abnormal(28, 9) == []


def test_a_record_that_only_speaks_of_it_is_not_abnormal(ledger: Ledger, outbox: Outbox) -> None:
    """The bytes that the index looks for are there, and what they are in is another field."""
    ledger.append(Event(events.Kind.GATE_STOPPED, {"note": {"abnormal": True}}), moment(1))
    ledger.append(events.gate_mode('","abnormal":true,"x":"', "serving"), moment(2))
    assert outbox.abnormal(0, 9) == []


def test_what_is_sealed_goes_with_an_abnormal_record_too(ledger: Ledger, outbox: Outbox) -> None:
    declared = registered()
    entry = ledger.append(Event(declared.kind, declared.data, abnormal=True), moment(1), sealed=SEALED)
    assert outbox.abnormal(0, 9) == [entry]
    assert entry.sealed == SEALED


def test_looking_for_the_abnormal_does_not_read_all_others(ledger: Ledger, outbox: Outbox) -> None:
    fill(ledger, 300)
    ledger.append(events.anomaly("what", "detail"), moment(400))
    looked_at = itertools.count()
    outbox._db.set_progress_handler(lambda: next(looked_at) and None, 1)
    assert len(outbox.abnormal(0, 1000)) == 1
    outbox._db.set_progress_handler(None, 1)
    assert next(looked_at) < 100, "steps of SQLite's machine, of which 300 records would take thousands"


# --- what may be deleted


@pytest.mark.usefixtures("_few_kept")
def test_old_records_go_once_they_are_receipted(path: Path, ledger: Ledger, outbox: Outbox) -> None:
    written = fill(ledger, 20)
    last = WALL_MS + 1000
    assert outbox.prune(last) == 0, "there is no receipt"
    outbox.acknowledge(20)
    assert outbox.prune(last) == 0, "a broker's acknowledgement is none"
    outbox.receive(held(outbox, 10))
    base = outbox.hash_at(9)
    assert outbox.prune(WALL_MS + 1) == 0, "none is old enough"
    assert outbox.prune(WALL_MS + 4) == 3
    assert outbox.prune(last, 2) == 2
    assert outbox.prune(last) == 4, "the one of the mark stays"
    assert outbox.prune(last) == 0
    assert list(entries(path)) == outbox.pending(0, 99) == written[9:]
    assert [outbox.hash_at(seq) for seq in (0, 8, 9)] == [genesis(EPOCH), None, base]
    outbox.receive(held(outbox, 20))
    assert outbox.prune(last) == 7, "the newest stay"
    found = verify(path)
    assert (found.ok, found.records, found.pruned) == (True, KEPT, 16)
    assert outbox.prune(last) == 0


@pytest.mark.usefixtures("_few_kept")
def test_a_ledger_without_its_beginning_goes_on(path: Path) -> None:
    with contextlib.closing(opened(path)) as ledger, contextlib.closing(Outbox(path)) as outbox:
        fill(ledger, 10)
        outbox.receive(held(outbox, 10))
        assert outbox.prune(WALL_MS + 99) == 6
        head = ledger.head
    with contextlib.closing(opened(path)) as ledger:
        assert ledger.head == head
        fill(ledger, 2)
    found = verify(path)
    assert (found.ok, found.records, found.pruned) == (True, 6, 6)
    assert [linked.entry.seq for linked in linked_entries(path, 8)] == [9, 10, 11, 12]


@pytest.mark.usefixtures("_few_kept")
def test_what_was_sealed_goes_with_its_record(path: Path, ledger: Ledger, outbox: Outbox) -> None:
    for number in range(1, 11):
        ledger.append(registered(), moment(number), sealed=SEALED)
    outbox.receive(held(outbox, 10))
    assert outbox.prune(WALL_MS + 4) == 3
    assert run(path, "SELECT min(seq), count(*) FROM sealed") == [(4, 7)]
    assert verify(path).ok


@pytest.mark.usefixtures("_few_kept")
def test_a_time_that_nobody_was_sure_of_decides_nothing(ledger: Ledger, outbox: Outbox) -> None:
    """A device without a battery starts in 1970, or where it stopped: such a record goes with a later one."""
    times = [
        (1, True),
        (2, True),
        (-(10**12), False),
        (10**10, False),
        (5, True),
        (-(10**12), False),
        (900, True),
    ]
    for wall, trusted in [*times, *[(1000, True)] * KEPT]:
        ledger.append(events.gate_stopped(), moment(wall, trusted=trusted))
    outbox.receive(held(outbox, len(times) + KEPT))
    assert outbox.prune(WALL_MS + 5) == 2
    assert outbox.prune(WALL_MS + 6) == 3
    assert outbox.prune(WALL_MS + 901) == 2


@pytest.mark.usefixtures("_few_kept")
def test_many_records_without_a_sure_time_do_not_stop_it(ledger: Ledger, outbox: Outbox) -> None:
    for number in range(20):
        ledger.append(events.gate_stopped(), moment(number, trusted=number == 15))
    outbox.receive(held(outbox, 20))
    assert [outbox.prune(WALL_MS + 99, 5) for _ in range(5)] == [5, 5, 5, 1, 0]


@pytest.mark.usefixtures("_few_kept")
def test_a_centre_restored_from_its_backup_wants_what_is_not_there_any_more(
    path: Path, ledger: Ledger, outbox: Outbox
) -> None:
    """Its receipt reaches less far than what was deleted: what is there is sent, and the ledger is whole."""
    fill(ledger, 20)
    early = held(outbox, 3, 2)
    outbox.receive(held(outbox, 20))
    assert outbox.prune(WALL_MS + 99) == 16
    for receipt in (early, Held(EPOCH, 0, genesis(EPOCH), 3)):
        outbox.receive(receipt)
        assert outbox.pending(outbox.acknowledged(), 1)[0].seq == 17
        assert verify(path).ok
        assert outbox.prune(WALL_MS + 99) == 0


PRUNED_TAMPERINGS = {
    "one more": ("DELETE FROM records WHERE seq = 4", 4),
    "one more, and said so": ("UPDATE pruned SET seq = 4; DELETE FROM records WHERE seq = 4", 5),
    "nothing is said": ("DELETE FROM pruned", 1),
    "another hash is said": ("UPDATE pruned SET hash = zeroblob(32)", 4),
    "no receipt": ("DELETE FROM receipt", 3),
    "a receipt of another": ("UPDATE receipt SET upto = 3", 3),
    "a receipt of none": ("UPDATE receipt SET upto = 0", 0),
}


@pytest.mark.usefixtures("_few_kept")
@pytest.mark.parametrize(("statements", "bad_seq"), PRUNED_TAMPERINGS.values(), ids=PRUNED_TAMPERINGS)
def test_what_else_was_deleted_is_found(path: Path, statements: str, bad_seq: int) -> None:
    with contextlib.closing(opened(path)) as ledger, contextlib.closing(Outbox(path)) as outbox:
        fill(ledger, 10)
        outbox.receive(held(outbox, 10))
        assert outbox.prune(WALL_MS + 4) == 3
    assert verify(path).ok
    run(path, *statements.split(";"))
    found = verify(path)
    assert (found.ok, found.bad_seq) == (False, bad_seq), found.problem


@pytest.mark.parametrize("change", ["seq = 'x'", "hash = 'x'", "hash = x'00'"])
def test_a_beginning_that_cannot_be_read_is_damage(path: Path, change: str) -> None:
    opened(path).close()
    run(path, "INSERT INTO pruned VALUES (1, 1, zeroblob(32))", f"UPDATE pruned SET {change}")
    with pytest.raises(LedgerError, match="damaged"):
        verify(path)


def test_the_newest_thousand_stay(ledger: Ledger, outbox: Outbox) -> None:
    ledger._db.execute("PRAGMA synchronous = OFF")
    fill(ledger, 1010)
    outbox.receive(held(outbox, 1010))
    assert outbox.prune(WALL_MS * 2) == 10


receipts = st.tuples(st.just("receive"), st.integers(0, 30))
prunings = st.tuples(st.just("prune"), st.integers(0, 60))
records = st.tuples(st.just("append"), st.integers(1, 8))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(receipts, prunings, records), max_size=14))
def test_whatever_comes_the_chain_holds_and_nothing_unreceipted_goes(
    tmp_path_factory: pytest.TempPathFactory, doings: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "ledger.db"
    furthest = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.closing(opened(path)) as ledger,
        contextlib.closing(Outbox(path)) as outbox,
    ):
        patch.setattr(outbox_module, "RECORDS_KEPT", KEPT)
        for what, number in doings:
            if what == "append":
                fill(ledger, number)
            elif what == "prune":
                outbox.prune(WALL_MS + number, 5)
            elif outbox.hash_at(number) is not None:
                outbox.receive(held(outbox, number))
                furthest = max(furthest, number)
            found = verify(path)
            assert found.ok, found.problem
            assert found.pruned < max(furthest, 1)
            assert found.records + found.pruned == ledger.head[0]
            assert found.records >= min(KEPT, ledger.head[0])


# --- beside a writer


class Writer:
    """Holds the file as a gate does that writes record after record, each with a slow flush."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        disk = threading.Event()
        while not self._stopped.is_set():
            self._db.execute("BEGIN IMMEDIATE")
            disk.wait(0.003)
            self._db.execute("COMMIT")
            for _ in range(40):  # some 30 µs, as encoding the next record takes
                sha256(bytes(1000)).digest()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._db.close()


def test_a_receipt_finds_its_place_between_two_records(path: Path, ledger: Ledger, outbox: Outbox) -> None:
    fill(ledger, 20)
    with Writer(path):
        for upto in range(1, 21):
            outbox.receive(held(outbox, upto))  # SQLite's own wait would often be over first
    assert outbox.acknowledged() == 20


def test_a_file_that_stays_locked_is_an_error_and_nothing_is_left_behind(
    path: Path, ledger: Ledger, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_MS", 20)
    fill(ledger, 3)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            outbox.receive(held(outbox, 3))
    assert (outbox.receipt(), outbox.acknowledged()) == (None, 0)
    outbox.receive(held(outbox, 3))
    assert outbox._db.execute("PRAGMA busy_timeout").fetchone() == (20,)
    assert outbox.acknowledged() == 3


# --- an earlier version's file


def test_an_outbox_alone_makes_do_with_the_ledger_of_an_earlier_version(path: Path) -> None:
    with contextlib.closing(opened(path)) as ledger:
        written = fill(ledger, 3)
    run(
        path,
        "DROP INDEX abnormal",
        *(f"DROP TABLE {name}" for name in ("receipt", "pruned", "word", "sealed")),
    )
    before: list[Callable[[], object]] = [lambda: verify(path).ok, lambda: list(entries(path))]
    assert [ask() for ask in before] == [True, written]
    with contextlib.closing(Outbox(path)) as outbox:
        assert (outbox.pending(0, 9), outbox.abnormal(0, 9), outbox.receipt()) == (written, [], None)
    assert [ask() for ask in before] == [True, written]


def test_an_outbox_leaves_a_file_alone_that_is_no_ledger_yet(path: Path) -> None:
    path.touch()
    with contextlib.closing(Outbox(path)) as outbox, pytest.raises(sqlite3.OperationalError):
        outbox.head()
    opened(path).close()
    assert verify(path).ok
