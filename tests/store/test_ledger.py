"""The ledger: durable, gapless, chained; nothing that was changed passes for what was written."""

import contextlib
import hashlib
import json
import random
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.core import events
from gate.core.chain import genesis, link
from gate.core.events import Event, Origin, Result, Stage, encode
from gate.core.evidence import Evidence
from gate.core.moment import NS_PER_S, Moment
from gate.core.policy import Decision, Disposition, Verdict
from gate.ports import Entry, RecordFailure
from gate.store import database
from gate.store import ledger as ledger_module
from gate.store.ledger import Ledger, LedgerError, Outbox, Verification, entries, verify

EPOCH = "00112233aabbccdd"
RECORDS = 9
FORWARD, BACK = 1, -1


def moment(number: int) -> Moment:
    return Moment(number * NS_PER_S, 1_700_000_000_000 + number, clock_trusted=True)


def event(number: int) -> Event:
    return events.anomaly("test", f"record {number}")


def opened(path: Path | str, **changes: str) -> Ledger:
    wanted = {"site": "hall", "gate": "g1", "new_epoch": EPOCH, "boot_id": "boot", **changes}
    return Ledger(path, **wanted)


def write(path: Path, count: int = RECORDS) -> list[Entry]:
    with contextlib.closing(opened(path)) as ledger:
        first = ledger.head[0] + 1
        return [ledger.append(event(number), moment(number)) for number in range(first, first + count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a ledger of some records, closed in order."""
    path = tmp_path_factory.mktemp("original") / "ledger.db"
    write(path)
    return path.read_bytes()


@contextlib.contextmanager
def tampering(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        with db:
            yield db
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# --- writing


def test_records_are_numbered_chained_and_kept_as_they_are_sent(path: Path) -> None:
    written = write(path, 3)
    assert [entry.seq for entry in written] == [1, 2, 3]
    origin = Origin("hall", "g1", EPOCH, "boot")
    assert [entry.body for entry in written] == [encode(event(n), origin, n, moment(n)) for n in (1, 2, 3)]
    assert list(entries(path)) == written
    head = genesis(EPOCH)
    with contextlib.closing(sqlite3.connect(path)) as db:
        for entry, (digest,) in zip(
            written, db.execute("SELECT hash FROM records ORDER BY seq"), strict=True
        ):
            head = link(head, entry.body)
            assert digest == head
    assert verify(path) == Verification(3, head.hex(), EPOCH)
    assert verify(path).ok


def test_an_empty_ledger_is_well(path: Path) -> None:
    with contextlib.closing(opened(path)) as ledger:
        assert (ledger.epoch, ledger.head) == (EPOCH, (0, genesis(EPOCH)))
    assert verify(path) == Verification(0, genesis(EPOCH).hex(), EPOCH)
    assert list(entries(path)) == []


def test_opened_again_it_goes_on_under_its_old_epoch(path: Path) -> None:
    write(path, 2)
    with contextlib.closing(opened(path, new_epoch="another", boot_id="next")) as ledger:
        assert (ledger.epoch, ledger.head[0]) == (EPOCH, 2)
        entry = ledger.append(event(3), moment(3))
        assert ledger.head == (3, bytes.fromhex(verify(path).head_hash))
    assert (entry.seq, json.loads(entry.body)["data"]["clock"]["boot_id"]) == (3, "next")
    assert verify(path).records == 3


def test_in_memory_for_simulation() -> None:
    with contextlib.closing(opened(":memory:")) as ledger:
        assert [ledger.append(event(number), moment(number)).seq for number in (1, 2)] == [1, 2]


def test_every_commit_is_flushed_before_it_is_told(path: Path) -> None:
    with contextlib.closing(opened(path)) as ledger:
        modes = [
            ledger._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
    assert modes == ["wal", 2]  # 2: FULL


def decided(visit: str, stage: Stage) -> Event:
    decision = Decision(Verdict.REFER, Disposition.NONE, (), "plan", "0" * 64)
    return events.visit_decided(visit, stage, decision, Evidence(), (), 1)


def test_visits_without_an_end_are_named_oldest_first(path: Path) -> None:
    with contextlib.closing(opened(path)) as ledger:
        assert ledger.open_visits() == ()
        for made in (
            decided("a", Stage.REFERRED),
            decided("b", Stage.AUTHORISED),
            decided("a", Stage.AUTHORISED),
            events.passage_forced("b"),
            events.command(None, events.Outcome.DONE, visit="let in by the centre"),
            events.command(None, events.Outcome.REFUSED, "unknown_key"),
            decided("c", Stage.REFUSED),
            events.visit_closed("c", Result.LEFT, 1),
            events.visit_closed("of an earlier ledger", Result.LEFT, 1),
            events.gate_stopped(),
        ):
            ledger.append(made, moment(1))
        assert ledger.open_visits() == ("a", "b", "let in by the centre")


def test_a_visit_without_an_end_is_looked_for_among_the_newest(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "OPEN_VISITS_LOOKED_AT", 2)
    with contextlib.closing(opened(path)) as ledger:
        for visit in ("a", "b", "c"):
            ledger.append(decided(visit, Stage.AUTHORISED), moment(1))
        assert ledger.open_visits() == ("b", "c")


# --- records that cannot be written


def fails_and_recovers(
    ledger: Ledger, path: Path, break_it: Callable[[], None], mend: Callable[[], None]
) -> None:
    ledger.append(event(1), moment(1))
    break_it()
    head = ledger.head
    try:
        with pytest.raises(RecordFailure):
            for number in range(1000):
                ledger.append(event(number), moment(number))
                head = ledger.head
        assert ledger.head == head
    finally:
        mend()
    assert verify(path).ok
    assert verify(path).head_hash == head[1].hex()
    assert ledger.append(event(2), moment(2)).seq == head[0] + 1
    assert verify(path).records == head[0] + 1


def test_no_page_left(path: Path) -> None:
    with contextlib.closing(opened(path)) as ledger:
        execute = ledger._db.execute

        def fill() -> None:
            (pages,) = execute("PRAGMA page_count").fetchone()
            execute(f"PRAGMA max_page_count = {pages + 3}")

        fails_and_recovers(ledger, path, fill, lambda: execute("PRAGMA max_page_count = 1000000").close())


def test_the_disk_takes_no_more(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with contextlib.closing(opened(path)) as ledger:

        def fill() -> None:
            size = path.with_name("ledger.db-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, hard))

        fails_and_recovers(
            ledger, path, fill, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        )


def test_half_a_record_is_none(path: Path) -> None:
    """The record goes in and the head does not: neither has happened."""
    with contextlib.closing(opened(path)) as ledger:

        def run(statement: str) -> None:
            with contextlib.closing(sqlite3.connect(path)) as other:
                other.execute(statement)

        fails_and_recovers(
            ledger,
            path,
            lambda: run("CREATE TRIGGER no BEFORE UPDATE ON head BEGIN SELECT RAISE(ABORT, 'no'); END"),
            lambda: run("DROP TRIGGER no"),
        )


def test_somebody_else_holds_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_MS", 20)
    with contextlib.closing(opened(path)) as ledger, contextlib.closing(sqlite3.connect(path)) as other:
        fails_and_recovers(ledger, path, lambda: other.execute("BEGIN IMMEDIATE").close(), other.rollback)


# --- what verify finds


def changed_byte(raw: bytes, place: int, mask: int) -> bytes:
    place %= len(raw)
    return raw[:place] + bytes([raw[place] ^ mask]) + raw[place + 1 :]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bytes], Path]]:
    """Make a file of given bytes, in a folder of its own each time."""
    folder = tmp_path_factory.mktemp("scratch")
    numbers = iter(range(1_000_000))

    def make(raw: bytes) -> Path:
        path = folder / str(next(numbers)) / "ledger.db"
        path.parent.mkdir()
        path.write_bytes(raw)
        return path

    return make


seqs = st.integers(1, RECORDS)


@settings(max_examples=80, deadline=None)
@given(seqs, st.sampled_from(["body", "hash"]), st.integers(0, 10_000), st.integers(1, 255))
def test_any_byte_of_any_record(
    original: bytes, scratch: Callable[[bytes], Path], seq: int, column: str, place: int, mask: int
) -> None:
    path = scratch(original)
    with tampering(path) as db:
        (raw,) = db.execute(f"SELECT {column} FROM records WHERE seq = ?", (seq,)).fetchone()
        db.execute(f"UPDATE records SET {column} = ? WHERE seq = ?", (changed_byte(raw, place, mask), seq))
    assert (verify(path).ok, verify(path).bad_seq) == (False, seq)


@settings(max_examples=40, deadline=None)
@given(seqs, st.integers(-3, RECORDS + 20))
def test_any_number(original: bytes, scratch: Callable[[bytes], Path], seq: int, other: int) -> None:
    path = scratch(original)
    with tampering(path) as db:
        if db.execute("SELECT 1 FROM records WHERE seq = ?", (other,)).fetchone():
            return
        db.execute("UPDATE records SET seq = ? WHERE seq = ?", (other, seq))
    found = verify(path)
    assert (found.ok, found.bad_seq) == (False, 1 if other < 1 else seq)


def remove(seq: int) -> list[str]:
    return [f"DELETE FROM records WHERE seq = {seq}"]


def swap(one: int, other: int) -> list[str]:
    moves = [(one, 1000), (other, one), (1000, other)]
    return [f"UPDATE records SET seq = {after} WHERE seq = {before}" for before, after in moves]


def insert_after(seq: int) -> list[str]:
    return [
        f"UPDATE records SET seq = -seq - 1 WHERE seq > {seq}",
        "UPDATE records SET seq = -seq WHERE seq < 0",
        f"INSERT INTO records SELECT {seq + 1}, body, hash FROM records WHERE seq = {seq}",
    ]


TAMPERINGS = {
    "first removed": (remove(1), 1),
    "middle removed": (remove(5), 5),
    "last removed": (remove(RECORDS), RECORDS),
    "all removed": (["DELETE FROM records"], 1),
    "first removed and the rest moved up": ([*remove(1), "UPDATE records SET seq = seq - 1"], 1),
    "last removed and the head set back": (
        [*remove(RECORDS), f"UPDATE head SET seq = {RECORDS - 1}"],
        RECORDS,
    ),
    "two swapped": (swap(3, 4), 3),
    "two far apart swapped": (swap(1, RECORDS), 1),
    "one inserted": (insert_after(4), 5),
    "the last doubled at the end": (insert_after(RECORDS), RECORDS + 1),
    "the last doubled and the head moved": (
        [*insert_after(RECORDS), f"UPDATE head SET seq = {RECORDS + 1}"],
        RECORDS + 1,
    ),
    "body as text": (["UPDATE records SET body = CAST(body AS TEXT) WHERE seq = 2"], 2),
    "hash as text": (["UPDATE records SET hash = 'x' WHERE seq = 2"], 2),
    "head number changed": ([f"UPDATE head SET seq = {RECORDS + 1}"], RECORDS + 1),
    "head hash changed": (["UPDATE head SET hash = zeroblob(32)"], RECORDS + 1),
    "another epoch": (["UPDATE ledger SET epoch = 'another'"], 1),
    "acknowledged beyond the end": ([f"UPDATE delivery SET acknowledged = {RECORDS + 1}"], RECORDS),
    "acknowledged below none": (["UPDATE delivery SET acknowledged = -1"], RECORDS),
    "acknowledged in words": (["UPDATE delivery SET acknowledged = 'all'"], RECORDS),
}


@pytest.mark.parametrize(("statements", "bad_seq"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_records_removed_moved_and_added(
    original: bytes, scratch: Callable[[bytes], Path], statements: list[str], bad_seq: int
) -> None:
    path = scratch(original)
    with tampering(path) as db:
        for statement in statements:
            db.execute(statement)
    found = verify(path)
    assert (found.ok, found.bad_seq) == (False, bad_seq), found.problem


UNUSABLE = {
    "no head": "DELETE FROM head",
    "no owner": "DELETE FROM ledger",
    "no head table": "DROP TABLE head",
    "no delivery": "DELETE FROM delivery",
    "epoch of bytes": "UPDATE ledger SET epoch = x'ff'",
    "epoch of no text": "UPDATE ledger SET epoch = CAST(x'ff' AS TEXT)",
}


@pytest.mark.parametrize("statement", UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_no_ledger_any_more(
    original: bytes, scratch: Callable[[bytes], Path], statement: str
) -> None:
    path = scratch(original)
    with tampering(path) as db:
        db.execute(statement)
    with pytest.raises(LedgerError, match="damaged"):
        verify(path)
    if "delivery" not in statement:
        with pytest.raises(LedgerError, match="copy it away"):
            opened(path)


@pytest.mark.parametrize(
    "body", [{"data": {"epoch": EPOCH, "seq": 7}}, {"data": {"epoch": "x", "seq": 1}}, [], 1]
)
def test_a_new_chain_over_another_ledgers_record(path: Path, body: object) -> None:
    """Even whoever forges hash and head cannot pass off a record as another's or at another place."""
    write(path, 1)
    raw = json.dumps(body).encode()
    with tampering(path) as db:
        digest = link(genesis(EPOCH), raw)
        db.execute("UPDATE records SET body = ?, hash = ?", (raw, digest))
        db.execute("UPDATE head SET hash = ?", (digest,))
    assert "another number or epoch" in verify(path).problem


def test_a_record_nested_beyond_reading(path: Path) -> None:
    write(path, 1)
    raw = b"[" * 100_000
    with tampering(path) as db:
        digest = link(genesis(EPOCH), raw)
        db.execute("UPDATE records SET body = ?, hash = ?", (raw, digest))
        db.execute("UPDATE head SET hash = ?", (digest,))
    assert verify(path).bad_seq == 1


def examined(path: Path, original: bytes, scratch: Callable[[bytes], Path]) -> bool:
    """Tell whether verify says ok: it never crashes, and it says ok of the same records only."""
    before = path.read_bytes()
    try:
        ok = verify(path).ok
    except LedgerError:
        ok = False
    assert path.read_bytes() == before
    if ok:
        assert list(entries(path)) == list(entries(scratch(original)))
    with contextlib.suppress(LedgerError):
        opened(path).close()  # refused or taken, and nothing else
    return ok


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1_000_000))
def test_a_file_cut_anywhere(original: bytes, scratch: Callable[[bytes], Path], place: int) -> None:
    path = scratch(original[: place % len(original)])
    assert not examined(path, original, scratch)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 1_000_000), st.binary(min_size=1, max_size=600))
def test_noise_anywhere(original: bytes, scratch: Callable[[bytes], Path], place: int, noise: bytes) -> None:
    place %= len(original)
    damaged = (original[:place] + noise + original[place + len(noise) :])[: len(original)]
    examined(scratch(damaged), original, scratch)


def test_a_hole_of_any_page(original: bytes, scratch: Callable[[bytes], Path]) -> None:
    """Each page in turn comes back empty, as a card does that has lost it."""
    size = database.PAGE_BYTES
    beside = 0
    for start in range(0, len(original), size):
        path = scratch(original[:start] + bytes(size) + original[start + size :])
        if examined(path, original, scratch):
            beside += 1  # no part of the chain: the uses of passes, the index of what is abnormal
            with pytest.raises(LedgerError, match="copy it away"):
                opened(path)
    assert beside == 2


def test_not_a_ledger(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database " * 100)
    for wrong in (tmp_path / "missing", tmp_path, text):
        with pytest.raises(LedgerError):
            verify(wrong)
        with pytest.raises(LedgerError):
            list(entries(wrong))


def test_a_growing_ledger_is_seen_whole(path: Path) -> None:
    stop = threading.Event()
    started = threading.Event()

    def grow() -> None:
        with contextlib.closing(opened(path)) as ledger:
            while not stop.is_set():
                ledger.append(event(1), moment(1))
                started.set()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        assert started.wait(10)
        assert [found.problem for found in (verify(path) for _ in range(30)) if not found.ok] == []
    finally:
        stop.set()
        thread.join(10)


# --- what is refused at opening, and left as it is


def refused(path: Path, match: str, **changes: str) -> None:
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(LedgerError, match=match):
            opened(path, **changes)
    assert path.read_bytes() == before


REFUSED_AT_OPENING = {
    "the last record changed": "UPDATE records SET body = x'00' WHERE seq = (SELECT seq FROM head)",
    "the last hash changed": "UPDATE records SET hash = x'00' WHERE seq = (SELECT seq FROM head)",
    "the one before changed": "UPDATE records SET hash = x'00' WHERE seq = (SELECT seq - 1 FROM head)",
    "the last record lost": "DELETE FROM records WHERE seq = (SELECT seq FROM head)",
    "all records lost": "DELETE FROM records",
    "one record too many": "INSERT INTO records SELECT seq + 1, hash, hash FROM head",
    "the head set back": "UPDATE head SET seq = seq - 1",
    "another head": "UPDATE head SET hash = x'00'",
}


@pytest.mark.parametrize("statement", REFUSED_AT_OPENING.values(), ids=REFUSED_AT_OPENING)
def test_a_damaged_tail(path: Path, statement: str) -> None:
    write(path, 3)
    with tampering(path) as db:
        db.execute(statement)
    refused(path, "not the one written last")


def test_the_only_record_changed(path: Path) -> None:
    write(path, 1)
    with tampering(path) as db:
        db.execute("UPDATE records SET body = x'00'")
    refused(path, "not the one written last")


@pytest.mark.parametrize("changes", [{"site": "other"}, {"gate": "g2"}])
def test_the_ledger_of_another_gate(path: Path, changes: dict[str, str]) -> None:
    write(path, 1)
    refused(path, "belongs to gate hall/g1, not", **changes)


def test_a_newer_schema(path: Path) -> None:
    write(path, 1)
    with tampering(path) as db:
        db.execute("PRAGMA user_version = 2")
    refused(path, "newer version")
    with pytest.raises(LedgerError, match="newer version"):
        Outbox(path).head()


def test_the_database_of_another_program(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (a)")
    refused(path, "another program")


def test_a_file_of_noise(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(5000))
    refused(path, "copy it away for examination")


def test_nowhere_to_write(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be opened"):
        opened(tmp_path / "no folder" / "ledger.db")


# --- the outbox


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    box = Outbox(path)
    yield box
    box.close()


def test_the_outbox_never_makes_a_ledger(path: Path, outbox: Outbox) -> None:
    with pytest.raises(LedgerError, match="cannot be read"):
        outbox.head()
    assert list(path.parent.iterdir()) == []
    write(path, 2)
    assert (outbox.head().seq, outbox.acknowledged()) == (2, 0)


def test_pending_entries_come_in_order_and_in_portions(path: Path, outbox: Outbox) -> None:
    written = write(path, 5)
    assert outbox.pending(0, 100) == written
    assert outbox.pending(0, 2) == written[:2]
    assert outbox.pending(3, 2) == written[3:]
    assert outbox.pending(5, 2) == []
    assert outbox.pending(99, 2) == []


def test_the_mark_moves_forward_only_and_never_past_the_head(path: Path, outbox: Outbox) -> None:
    write(path, 5)
    marks = []
    for upto in (2, 1, -7, 4, 99, 3):
        outbox.acknowledge(upto)
        marks.append(outbox.acknowledged())
    assert marks == [2, 2, 2, 4, 5, 5]
    outbox.close()
    again = Outbox(path)
    assert again.acknowledged() == 5
    again.close()
    assert verify(path).ok


def test_a_new_record_is_pending_at_once(path: Path, outbox: Outbox) -> None:
    with contextlib.closing(opened(path)) as ledger:
        assert outbox.pending(0, 9) == []
        entry = ledger.append(event(1), moment(1))
        assert (outbox.head().seq, outbox.pending(0, 9)) == (1, [entry])


def test_sending_beside_writing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_MS", 30_000)  # what arrives is tested, not how busy the disk is
    count, sent, failures = 300, [], []

    def send() -> None:
        box = Outbox(path)
        try:
            while len(sent) < count:
                sent.extend(box.pending(len(sent), 20))
                box.acknowledge(len(sent))
        except Exception as error:  # noqa: BLE001 - told to the test
            failures.append(error)
        finally:
            box.close()

    with contextlib.closing(opened(path)) as ledger:
        thread = threading.Thread(target=send)
        thread.start()
        written = [ledger.append(event(number), moment(number)) for number in range(1, count + 1)]
        thread.join(30)
    assert (failures, thread.is_alive()) == ([], False)
    assert sent == written
    assert verify(path).records == count


# --- power cuts

WRITER = """
import hashlib, sys
from gate.core import events
from gate.core.moment import Moment
from gate.store.ledger import Ledger
ledger = Ledger(sys.argv[1], site="hall", gate="g1", new_epoch="epoch", boot_id="boot")
while True:
    entry = ledger.append(events.anomaly("test", "x" * (ledger.head[0] % 180)), Moment(1, 1, True))
    print(entry.seq, hashlib.sha256(entry.body).hexdigest(), flush=True)
"""


def written_until_killed(path: Path, lines: int) -> list[list[str]]:
    """Start a writer, kill it in the middle once it has told of some records; return all that it told."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        told += child.stdout.readlines()
    return [line.split() for line in told if line.endswith("\n")]


def test_what_was_told_durable_is_there_after_a_kill(path: Path) -> None:
    seed = 20_240_229
    chance = random.Random(seed)
    told: dict[int, str] = {}
    for cut in range(5):
        told |= {int(seq): digest for seq, digest in written_until_killed(path, chance.randint(1, 120))}
        assert verify(path).ok, (seed, cut)  # before anything is repaired
        opened(path).close()
        assert verify(path).ok, (seed, cut)
        kept = {entry.seq: hashlib.sha256(entry.body).hexdigest() for entry in entries(path)}
        assert told.items() <= kept.items(), (seed, cut)
        assert max(kept) - max(told) <= 1 + cut, (seed, cut)  # at most the one being told at each cut
    assert sorted(kept) == list(range(1, len(kept) + 1))
