"""Somebody has the database in his hands. Whatever he does to it is found and named."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from central.store import AlarmKind, Problem, StoreError, Suspicion, open_store, verify
from central.store.retired import summary
from gate.core.codes.trust import key_id
from tests.central.conftest import QUICK_DATABASES, empty_store
from tests.central.store.ledgers import CENTRE, NOW_MS, Centre, Ledger, altered, declare

BLOB = b"sealed"


@pytest.fixture(params=QUICK_DATABASES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store with nothing in it."""
    return empty_store(request, tmp_path)


@pytest.fixture
def whole(centre: Centre, ledger: Ledger) -> Centre:
    """10 proved records with a receipt, one with an attachment; 2 linked and 1 parked; some alarms."""
    ledger.write(1, sealed=declare(BLOB))
    centre.attach(ledger.sealed(11, BLOB))
    centre.prove(ledger)
    centre.store.keep_receipts([ledger.receipt(11)])
    ledger.write(4)
    centre.take([*ledger.arrived(12, 13), *ledger.arrived(15), altered(ledger.arrived(3)[0])])
    alarm = centre.store.raise_alarm(Suspicion(AlarmKind.LATE, "north", "g-1", "epoch1", "late", 14), 5)
    assert alarm is not None
    centre.store.clear_alarm(alarm.id, 6, by="Li")
    assert centre.problems() == []
    return centre


def tamper(centre: Centre, *statements: str, **values: Any) -> None:
    """Change the database directly, as somebody could who has it."""
    with centre.store.engine.begin() as connection:
        for statement in statements:
            names = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), names)


def flipped(body: bytes) -> bytes:
    place = body.index(b'"visit":"') + 12
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def test_what_was_looked_at_is_counted(whole: Centre) -> None:
    counts = verify(whole.store, [CENTRE.public_key().public_bytes_raw()], pytest.fail)
    assert (counts.streams, counts.records, counts.parked) == (1, 13, 1)
    assert (counts.checkpoints, counts.receipts, counts.attachments, counts.alarm_entries) == (1, 1, 1, 4)


def test_a_flipped_byte_is_found(whole: Centre, ledger: Ledger) -> None:
    tamper(whole, "UPDATE records SET body = :body WHERE seq = 5", body=flipped(ledger.bodies[4]))
    assert whole.problems() == [("record_altered", 5)]


def test_a_flipped_byte_with_a_new_hash_is_found_behind_it(whole: Centre, ledger: Ledger) -> None:
    other = Ledger()
    other.hashes, other.bodies = ledger.hashes[:5], ledger.bodies[:4]
    other.write(1, visit="000006")
    tamper(
        whole, "UPDATE records SET body = :body, hash = :hash, at_ms = :at WHERE seq = 5",
        body=other.bodies[4], hash=other.hashes[5], at=other.at_ms,
    )  # fmt: skip
    assert whole.problems() == [("record_altered", 6)]


def test_a_chain_that_is_computed_anew_contradicts_what_was_signed(whole: Centre, ledger: Ledger) -> None:
    other = Ledger()
    other.write(4)
    other.write(1, "gate.mode")
    other.write(8)
    again = "UPDATE records SET body = :body, hash = :hash, kind = :kind, sealed = NULL WHERE seq = "
    for seq in range(5, 14):
        kind = "gate.mode" if seq == 5 else "gate.stopped"
        tamper(whole, f"{again}{seq}", body=other.bodies[seq - 1], hash=other.hashes[seq], kind=kind)
    what = {problem for problem, _ in whole.problems()}
    assert what == {"stream_differs", "checkpoint_differs", "receipt_differs"}


def test_a_changed_hash_is_found(whole: Centre) -> None:
    tamper(whole, "UPDATE records SET hash = :hash WHERE seq = 5", hash=bytes(32))
    assert whole.problems() == [("record_altered", 5), ("record_altered", 6)]


def test_a_deleted_record_is_found(whole: Centre) -> None:
    tamper(whole, "DELETE FROM records WHERE seq = 5")
    assert whole.problems() == [("record_missing", 5)]


def test_an_inserted_record_is_found(whole: Centre, ledger: Ledger) -> None:
    copy = (
        "INSERT INTO records (stream, seq, at_ms, seen_ms, kind, abnormal, body, hash)"
        " SELECT stream, :seq, at_ms, seen_ms, kind, abnormal, body, hash FROM records WHERE seq = 2"
    )
    tamper(whole, copy.replace(":seq", "16"))
    assert ("record_misplaced", 16) in whole.problems()
    assert ("record_inserted", 16) in whole.problems()
    tamper(whole, "DELETE FROM records WHERE seq = 16", copy.replace(":seq", "-1"))
    assert ("record_inserted", -1) in whole.problems()


def test_a_record_inserted_between_others_is_found(whole: Centre) -> None:
    move = [f"UPDATE records SET seq = {seq + 1} WHERE seq = {seq}" for seq in (15, 13, 12, 11, 10, 9)]
    tamper(whole, *move, _COPY_8_TO_9)
    found = whole.problems()
    assert ("record_misplaced", 9) in found
    assert ("record_altered", 9) in found


_COPY_8_TO_9 = (
    "INSERT INTO records (stream, seq, at_ms, seen_ms, kind, abnormal, body, hash)"
    " SELECT stream, 9, at_ms, seen_ms, kind, abnormal, body, hash FROM records WHERE seq = 8"
)


def test_two_swapped_records_are_found(whole: Centre) -> None:
    tamper(
        whole, "UPDATE records SET seq = 99 WHERE seq = 4", "UPDATE records SET seq = 4 WHERE seq = 7",
        "UPDATE records SET seq = 7 WHERE seq = 99",
    )  # fmt: skip
    found = whole.problems()
    assert {("record_misplaced", 4), ("record_misplaced", 7)} <= set(found)
    assert {seq for what, seq in found if what == "record_altered"} == {4, 5, 7, 8}


def test_a_cut_tail_is_found(whole: Centre) -> None:
    tamper(whole, "DELETE FROM records WHERE seq > 9")
    assert set(whole.problems()) == {
        ("tail_cut", 10), ("stream_differs", 15),
    }  # fmt: skip


def test_a_cut_tail_of_what_nobody_has_signed_yet_is_found(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived())
    tamper(centre, "DELETE FROM records WHERE seq > 7", "UPDATE streams SET top = 7")
    assert centre.problems() == [("tail_cut", 8)]


def test_a_cut_tail_is_found_when_the_stream_says_nothing_of_it(whole: Centre, ledger: Ledger) -> None:
    tamper(
        whole, "DELETE FROM records WHERE seq > 9",
        "UPDATE streams SET linked = 9, proved = 9, top = 9, linked_hash = :hash, proved_hash = :hash",
        hash=ledger.hashes[9],
    )  # fmt: skip
    assert ("tail_cut", 10) in whole.problems()  # the receipt
    assert ("stream_differs", 9) in whole.problems()  # no checkpoint proves this


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("abnormal = NOT abnormal", "record_altered"),
        ("at_ms = at_ms + 1", "record_altered"),
        ("kind = 'gate.mode'", "record_altered"),
        ("hash = NULL", "record_altered"),
    ],
)
def test_a_column_that_says_other_than_the_record_is_found(whole: Centre, change: str, problem: str) -> None:
    tamper(whole, f"UPDATE records SET {change} WHERE seq = 5")
    assert whole.problems()[0] == (problem, 5)


@pytest.mark.parametrize(
    ("change", "problem", "seq"),
    [
        ("proved = 12", "stream_differs", 12),
        ("linked = 12", "stream_differs", 12),
        ("top = 20", "stream_differs", 20),
        ("conflicts = 0", "stream_differs", None),
    ],
)
def test_a_stream_that_claims_what_is_not_there_is_found(
    whole: Centre, change: str, problem: str, seq: int | None
) -> None:
    tamper(whole, f"UPDATE streams SET {change}")
    assert (problem, seq) in whole.problems()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE checkpoints SET at_ms = 1", "checkpoint_altered"),
        ("UPDATE checkpoints SET message = digest", "checkpoint_altered"),
        ("DELETE FROM checkpoints", "stream_differs"),
        ("UPDATE checkpoints SET trust = 'rubbish'", "checkpoint_altered"),
        ("UPDATE gate_keys SET kid = '00000000'", "keys_differ"),
        ("DELETE FROM receipts", "tail_cut"),
        ("UPDATE streams SET receipt_ms = receipt_ms - 1", "stream_differs"),
        ("UPDATE streams SET receipt_ms = NULL", "stream_differs"),
        ("UPDATE streams SET head = head + 1", "stream_differs"),
        ("UPDATE streams SET ended_hash = :hash", "stream_differs"),
        ("UPDATE streams SET successor = 'epoch0'", "stream_differs"),
        ("UPDATE conflicts SET seq = 4", "conflict_altered"),
        ("UPDATE gate_keys SET public_key = :hash", "checkpoint_altered"),
        ("UPDATE receipts SET upto = 10", "receipt_altered"),
        ("UPDATE receipts SET message = hash", "receipt_altered"),
        ("UPDATE receipts SET day = day + 1", "receipt_altered"),
        ("UPDATE attachments SET blob = digest", "attachment_altered"),
        ("UPDATE attachments SET blob = NULL", "attachment_altered"),
        ("DELETE FROM attachments", "attachment_altered"),
        ("UPDATE attachments SET erased_ms = 5", "attachment_altered"),
        ("UPDATE attachments SET erased_by = 'Li'", "attachment_altered"),
        ("UPDATE alarm_head SET id = 2", "tail_cut"),
        ("INSERT INTO alarm_head SELECT 2, n, hash FROM alarm_head", "tail_cut"),
        ("UPDATE conflicts SET body = digest", "conflict_altered"),
        ("DELETE FROM conflicts", "stream_differs"),
    ],
)
def test_whatever_is_said_of_the_records_is_checked_as_well(whole: Centre, change: str, problem: str) -> None:
    tamper(whole, change, hash=bytes(32))
    assert problem in {what for what, _ in whole.problems()}


def test_a_signed_checkpoint_that_differs_is_named_when_no_alarm_is(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    clone = Ledger()
    clone.write(1, "gate.mode")
    centre.hear(clone)
    assert centre.problems() == []
    tamper(centre, "UPDATE checkpoints SET contradicted = :no WHERE size = 1", no=False)
    assert centre.problems() == [("checkpoint_differs", 1)]


def test_a_wiped_alarm_log_leaves_what_it_was_about(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    clone = Ledger()
    clone.write(1, "gate.mode")
    centre.hear(clone)
    wiped = ("DELETE FROM alarms", "DELETE FROM alarm_log", "UPDATE alarm_head SET n = 0, hash = :hash")
    tamper(centre, *wiped, hash=bytes(32))
    assert centre.problems() == [("checkpoint_differs", 1), ("keys_differ", None)]


def test_records_of_no_stream_are_found(whole: Centre) -> None:
    tamper(
        whole, "INSERT INTO records (stream, seq, seen_ms, kind, abnormal, body)"
        " SELECT 77, seq, seen_ms, kind, abnormal, body FROM records WHERE seq = 1",
    )  # fmt: skip
    assert whole.problems() == [("record_inserted", None)]


def test_rows_that_name_no_stream_at_all_are_found(whole: Centre) -> None:
    """Who can write can also drop what forbids it."""
    if whole.store.engine.dialect.name == "postgresql":
        tamper(whole, "ALTER TABLE receipts DROP CONSTRAINT receipts_pkey",
               "ALTER TABLE receipts ALTER COLUMN stream DROP NOT NULL")  # fmt: skip
    else:
        tamper(whole, "CREATE TABLE other AS SELECT * FROM receipts", "DROP TABLE receipts",
               "ALTER TABLE other RENAME TO receipts")  # fmt: skip
    tamper(whole, "UPDATE receipts SET stream = NULL")
    assert ("record_inserted", None) in whole.problems()


def entry(centre: Centre, n: int) -> dict[str, Any]:
    with centre.store.engine.connect() as connection:
        line = connection.execute(text("SELECT entry FROM alarm_log WHERE n = :n"), {"n": n}).scalar_one()
    found: dict[str, Any] = json.loads(bytes(line))
    return found


def test_a_changed_alarm_is_found(whole: Centre) -> None:
    said = entry(whole, 2) | {"code": "harmless"}
    tamper(whole, "UPDATE alarm_log SET entry = :entry WHERE n = 2", entry=json.dumps(said).encode())
    assert ("alarm_log_altered", 2) in whole.problems()


@pytest.mark.parametrize(
    ("statements", "problems"),
    [
        (["DELETE FROM alarm_log WHERE n = 1"], [("alarm_log_altered", 1)]),
        (["DELETE FROM alarm_log WHERE n = 4"], [("tail_cut", 4)]),
        (["UPDATE alarm_log SET hash = :hash WHERE n = 2"], [("alarm_log_altered", 2)]),
        (["UPDATE alarm_head SET n = 2"], [("tail_cut", 5)]),
        (["UPDATE alarms SET cleared_ms = 7 WHERE id = 2"], [("alarms_differ", 2)]),
        (["UPDATE alarms SET first = 1 WHERE id = 3"], [("alarms_differ", 3)]),
        (["DELETE FROM alarms WHERE id = 2"], [("alarms_differ", 2)]),
        (
            ["UPDATE alarm_log SET n = 9 WHERE n = 1", "UPDATE alarm_log SET n = 1 WHERE n = 2",
             "UPDATE alarm_log SET n = 2 WHERE n = 9"],
            [("alarm_log_altered", 1), ("alarm_log_altered", 2)],
        ),
    ],
)  # fmt: skip
def test_the_alarm_log_is_checked_as_well(
    whole: Centre, statements: Sequence[str], problems: list[tuple[str, int]]
) -> None:
    tamper(whole, *statements, hash=bytes(32))
    found = whole.problems()
    assert set(problems) <= set(found)


def test_receipts_count_only_with_the_key_of_the_centre(whole: Centre) -> None:
    found: list[str] = []
    verify(whole.store, [bytes(32)], lambda problem: found.append(problem.what))
    assert found == ["receipt_altered"]


def test_a_text_in_place_of_bytes_is_found(sqlite_template: Path, tmp_path: Path) -> None:
    """Only on SQLite: PostgreSQL keeps to the types of its columns."""
    shutil.copy(sqlite_template, tmp_path / "central.db")
    ledger = Ledger()
    ledger.write(10)
    with open_store(f"sqlite:///{tmp_path / 'central.db'}") as store:
        centre = Centre(store)
        centre.take(ledger.arrived())
        tamper(centre, "UPDATE records SET body = 'text' WHERE seq = 5")
        assert centre.problems() == [("record_altered", 5)]


# What cannot be read: one problem, and the other checks go on


@pytest.mark.parametrize("place", [b"hg.gate", b"epoch1", b"visit"])
def test_bytes_that_are_no_text_are_found_wherever_they_are(
    whole: Centre, ledger: Ledger, place: bytes
) -> None:
    at = ledger.bodies[4].index(place) + 4
    body = ledger.bodies[4][:at] + bytes([ledger.bodies[4][at] ^ 0x80]) + ledger.bodies[4][at + 1 :]
    tamper(whole, "UPDATE records SET body = :body WHERE seq = 5", "DELETE FROM conflicts", body=body)
    found = whole.problems()
    assert ("record_altered", 5) in found
    assert ("stream_differs", None) in found  # that conflicts are missing


def test_a_record_that_is_nested_too_deeply_to_be_read_is_found(whole: Centre, ledger: Ledger) -> None:
    deep = ledger.bodies[4][:-2] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}}"
    tamper(whole, "UPDATE records SET body = :body WHERE seq = 5", body=deep)
    assert whole.problems() == [("record_altered", 5)]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE alarms SET kind = 'rubbish' WHERE id = 2", "alarms_differ"),
        ("UPDATE alarms SET evidence = 'rubbish' WHERE id = 2", "alarms_differ"),
        ("UPDATE alarms SET evidence = '[1]' WHERE id = 2", "alarms_differ"),
        ("DELETE FROM alarm_head", "tail_cut"),
    ],
)
def test_an_alarm_that_makes_no_sense_is_found(whole: Centre, change: str, problem: str) -> None:
    tamper(whole, change, "UPDATE receipts SET upto = 10")
    assert {what for what, _ in whole.problems()} == {"receipt_altered", problem}
    assert len(whole.store.alarms(standing=False)) == 2  # and the centre goes on showing it


def test_a_store_whose_alarm_log_lost_its_head_says_so(whole: Centre) -> None:
    tamper(whole, "DELETE FROM alarm_head")
    with pytest.raises(StoreError, match="head of the alarm log"):
        whole.store.raise_alarm(Suspicion(AlarmKind.LATE, "north", "g-1", "epoch1", "other"), 7)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE records SET seq = 'text' WHERE seq = 5", "record_missing"),
        ("UPDATE records SET hash = 'text' WHERE seq = 5", "record_altered"),
        ("UPDATE records SET seen_ms = 'text' WHERE seq = 5", "record_altered"),
        ("UPDATE records SET kind = CAST(x'ff' AS TEXT) WHERE seq = 5", "record_altered"),
        ("UPDATE streams SET linked_hash = 'text'", "stream_differs"),
        ("UPDATE streams SET proved = 'text'", "stream_differs"),
        ("UPDATE gate_keys SET public_key = 'text'", "checkpoint_altered"),
        ("UPDATE checkpoints SET came_ms = 'text', message = 'text'", "checkpoint_altered"),
        ("UPDATE receipts SET at_ms = 'text'", "receipt_altered"),
        ("UPDATE attachments SET blob = 'text'", "attachment_altered"),
        ("UPDATE conflicts SET body = 'text'", "conflict_altered"),
        ("UPDATE conflicts SET seen_ms = 'text'", "conflict_altered"),
        ("UPDATE alarm_log SET entry = 'text' WHERE n = 1", "alarm_log_altered"),
        ("UPDATE alarm_log SET hash = 'text' WHERE n = 1", "alarm_log_altered"),
        ("UPDATE alarm_head SET hash = 'text'", "tail_cut"),
        ("UPDATE alarms SET evidence = CAST(x'ff' AS TEXT) WHERE id = 2", "alarms_differ"),
        ("INSERT INTO retired VALUES (1, 2, 'text', 0)", "retired_differs"),
        ("INSERT INTO retired VALUES (1, 'text', 'text', 0)", "retired_differs"),
    ],
)
def test_a_value_of_the_wrong_type_is_found_and_the_rest_is_checked(
    sqlite_template: Path, tmp_path: Path, change: str, problem: str
) -> None:
    """Only on SQLite: PostgreSQL keeps to the types of its columns."""
    with in_sqlite(sqlite_template, tmp_path) as centre:
        tamper(centre, change, "UPDATE alarms SET first = 99 WHERE id = 3")
        found = {what for what, _ in centre.problems()}
        assert {problem, "alarms_differ"} <= found
        summary_of(centre)


@contextmanager
def in_sqlite(template: Path, folder: Path) -> Iterator[Centre]:
    """A ledger of 10 proved records with one of everything, and two alarms."""
    shutil.copy(template, folder / "central.db")
    ledger = Ledger()
    ledger.write(9)
    ledger.write(1, sealed=declare(BLOB))
    with open_store(f"sqlite:///{folder / 'central.db'}") as store:
        centre = Centre(store)
        centre.register(ledger)
        centre.attach(ledger.sealed(10, BLOB))
        centre.prove(ledger)
        store.keep_receipts([ledger.receipt(10)])
        centre.take([altered(ledger.arrived(3)[0])])
        store.raise_alarm(Suspicion(AlarmKind.LATE, "north", "g-1", "epoch1", "late", 14), 5)
        assert centre.problems() == []
        yield centre


def summary_of(centre: Centre) -> bytes:
    with centre.store.engine.connect() as connection:
        return summary(connection)


# Which ledger follows which


@pytest.fixture
def three(centre: Centre, ledger: Ledger) -> Centre:
    """Three ledgers of one gate: the second says that it follows the first, the third says nothing."""
    centre.prove(ledger)
    second, third = Ledger("epoch2"), Ledger("epoch3")
    second.follow(ledger)
    centre.prove(second)
    third.write(2)
    centre.prove(third)
    assert centre.problems() == []
    return centre


@pytest.mark.parametrize(
    "change",
    [
        "ended = 9 WHERE epoch = 'epoch1'",
        "ended = NULL, ended_hash = NULL, successor = '' WHERE epoch = 'epoch1'",
        "successor = 'epoch3' WHERE epoch = 'epoch1'",
        "successor = '' WHERE epoch = 'epoch1'",
        "successor = '' WHERE epoch = 'epoch2'",
        "successor = 'epoch1' WHERE epoch = 'epoch2'",
        "successor = 'epoch1' WHERE epoch = 'epoch3'",
        "ended = 1, ended_hash = linked_hash, successor = 'epoch3' WHERE epoch = 'epoch2'",
    ],
)
def test_ledgers_that_were_put_in_another_order_are_found(three: Centre, change: str) -> None:
    tamper(three, f"UPDATE streams SET {change}")
    assert {what for what, _ in three.problems()} == {"stream_differs"}


def test_a_ledger_whose_end_has_another_hash_is_found(three: Centre) -> None:
    tamper(three, "UPDATE streams SET ended_hash = :hash WHERE epoch = 'epoch1'", hash=bytes(32))
    assert three.problems() == [("stream_differs", 10)]


def test_records_kept_beside_that_changed_places_are_found(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    centre.take([altered(one) for one in ledger.arrived(3, 4)])
    assert centre.problems() == []
    move = "UPDATE conflicts SET seq = {} WHERE seq = {}".format
    tamper(centre, move(99, 3), move(3, 4), move(4, 99))
    assert centre.problems() == [("conflict_altered", 3), ("conflict_altered", 4)]


def test_the_clock_of_a_receipt_is_signed_too(whole: Centre) -> None:
    tamper(whole, f"UPDATE receipts SET at_ms = {NOW_MS + 5}")
    assert whole.problems() == [("receipt_altered", 11)]


# Whose checkpoints are believed


@pytest.fixture
def gates(whole: Centre) -> Centre:
    """Beside the whole gate one with 5 checkpoints by a key that was revoked and its successor."""
    first, second = Ledger(gate="g-2"), Ledger(gate="g-2", key=b"2" * 32)
    whole.register(first)
    for _ in range(5):
        first.write(1)
        whole.prove(first, first.size)
    whole.store.revoke_key("north", "g-2", None, whole.now_ms)
    whole.register(second)
    assert whole.problems() == []
    return whole


def about_keys(centre: Centre) -> list[tuple[str, str, str]]:
    found: list[Problem] = []
    verify(centre.store, [CENTRE.public_key().public_bytes_raw()], found.append)
    return [(problem.what, problem.gate, problem.detail) for problem in found]


_ADDED = (
    "INSERT INTO gate_keys (id, site, gate, kid, public_key, note, registered_ms)"
    " SELECT 99, site, gate, :kid, :other, note, registered_ms FROM gate_keys WHERE gate = 'g-1'"
)


@pytest.mark.parametrize(
    ("change", "gate", "said"),
    [
        ("UPDATE gate_keys SET revoked_ms = NULL", "g-2", "the log says otherwise"),
        ("UPDATE gate_keys SET revoked_ms = revoked_ms + 1", "g-2", "the log says otherwise"),
        ("UPDATE gate_keys SET revoked_ms = 1 WHERE gate = 'g-1'", "g-1", "the log says otherwise"),
        ("UPDATE gate_keys SET registered_ms = 1 WHERE gate = 'g-1'", "g-1", "the log says otherwise"),
        ("UPDATE gate_keys SET note = 'x' WHERE gate = 'g-1'", "g-1", "the log says otherwise"),
        ("UPDATE gate_keys SET kid = '00000000' WHERE gate = 'g-1'", "g-1", "the log says otherwise"),
        (_ADDED, "g-1", "the log does not say"),
        ("DELETE FROM gate_keys WHERE revoked_ms IS NULL AND gate = 'g-2'", "g-2", "it is gone"),
    ],
)
def test_a_key_that_stands_otherwise_than_was_said_is_found(
    gates: Centre, change: str, gate: str, said: str
) -> None:
    other = Ledger(key=b"o" * 32).public_key
    tamper(gates, change, other=other, kid=key_id(other).hex())
    found = [(what, of_gate) for what, of_gate, detail in about_keys(gates) if said in detail]
    assert ("keys_differ", gate) in found
    assert len(found) == 1


def test_keys_that_are_gone_are_one_problem_for_each_gate_and_cause(gates: Centre) -> None:
    tamper(gates, "DELETE FROM gate_keys")
    found = about_keys(gates)
    assert sorted(what_gate[:2] for what_gate in found) == [
        ("checkpoint_altered", "g-1"), ("checkpoint_altered", "g-2"),
        ("keys_differ", "g-1"), ("keys_differ", "g-2"),
    ]  # fmt: skip
    (checkpoints,) = (detail for what, gate, detail in found if (what, gate) == ("checkpoint_altered", "g-2"))
    assert checkpoints.startswith("5 from here on: ")
    (keys,) = (detail for what, gate, detail in found if (what, gate) == ("keys_differ", "g-2"))
    assert "(and 1 more)" in keys


def test_what_an_exchanged_key_has_signed_is_not_believed(gates: Centre) -> None:
    other = Ledger(key=b"o" * 32).public_key
    change = "UPDATE gate_keys SET public_key = :other, kid = :kid WHERE gate = 'g-1'"
    tamper(gates, change, other=other, kid=key_id(other).hex())
    assert [what for what, _, _ in about_keys(gates)] == ["checkpoint_altered", "keys_differ", "keys_differ"]


@pytest.mark.parametrize("mend", ["register", "revoke"])
def test_saying_anew_what_holds_mends_the_keys(gates: Centre, mend: str) -> None:
    if mend == "register":
        tamper(gates, "DELETE FROM gate_keys WHERE gate = 'g-1'")
        gates.register(Ledger())
    else:
        oldest = "SELECT min(registered_ms) FROM gate_keys WHERE gate = 'g-2'"
        tamper(gates, f"UPDATE gate_keys SET revoked_ms = NULL WHERE registered_ms = ({oldest})")
        gates.store.revoke_key("north", "g-2", key_id(Ledger().public_key).hex(), gates.now_ms)
    assert gates.problems() == []


def test_a_key_that_is_registered_again_stands_in_the_log(gates: Centre) -> None:
    gates.register(Ledger())
    gates.register(Ledger(gate="g-2"))
    assert gates.problems() == []
    before = entries(gates)
    gates.register(Ledger(gate="g-2"))
    assert entries(gates) == before, "nothing has changed"


def entries(centre: Centre) -> int:
    with centre.store.engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM alarm_log")).scalar_one())


@pytest.mark.parametrize("statement", [{"by": "\ud800"}, {"reason": "so \udfff"}])
def test_what_is_no_text_is_not_written_into_the_log(whole: Centre, statement: dict[str, str]) -> None:
    (alarm,) = whole.store.alarms()
    with pytest.raises(ValueError, match="no text in UTF-8"):
        whole.store.clear_alarm(alarm.id, 7, **statement)
    with pytest.raises(ValueError, match="note: this is no text"):
        whole.store.register_gate("north", "g-9", bytes(32), 7, note="\ud800")
    with pytest.raises(ValueError, match="note: this is no text, there is a NUL"):
        whole.store.register_gate("north", "g-9", bytes(32), 7, note="a\0b")
    assert whole.store.alarms() == [alarm]
    assert whole.problems() == []


def test_a_number_that_is_none_in_the_log_is_found(sqlite_template: Path, tmp_path: Path) -> None:
    with in_sqlite(sqlite_template, tmp_path) as centre:
        tamper(
            centre, "CREATE TABLE other AS SELECT * FROM alarm_log", "DROP TABLE alarm_log",
            "ALTER TABLE other RENAME TO alarm_log", "UPDATE alarm_log SET n = 'text' WHERE n = 3",
        )  # fmt: skip
        assert {what for what, _ in centre.problems()} == {
            "alarm_log_altered", "tail_cut", "alarms_differ", "schema_differs",
        }  # fmt: skip


def test_a_damaged_file_says_what_to_do(sqlite_template: Path, tmp_path: Path) -> None:
    with in_sqlite(sqlite_template, tmp_path) as centre:
        tamper(centre, "UPDATE records SET body = zeroblob(900000) WHERE seq = 5")
        with centre.store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA page_size").scalar()
    path = tmp_path / "central.db"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(StoreError, match=r'malformed; .*restore a backup \(docs/centre.md, "Backup"\)'):
        open_store(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("sqlite", "postgresql"),
    [
        ("CREATE TABLE other (n INTEGER NOT NULL, entry BLOB NOT NULL, hash BLOB NOT NULL)",
         "ALTER TABLE alarm_log DROP CONSTRAINT alarm_log_pkey"),
        ("CREATE TABLE other (n INTEGER NOT NULL PRIMARY KEY, entry BLOB, hash BLOB NOT NULL)",
         "ALTER TABLE alarm_log ALTER COLUMN entry DROP NOT NULL"),
    ],
)  # fmt: skip
def test_a_table_that_has_lost_its_rules_is_named(whole: Centre, sqlite: str, postgresql: str) -> None:
    if whole.store.engine.dialect.name == "postgresql":
        tamper(whole, postgresql)
    else:
        tamper(whole, sqlite, "INSERT INTO other SELECT * FROM alarm_log", "DROP TABLE alarm_log",
               "ALTER TABLE other RENAME TO alarm_log")  # fmt: skip
    assert whole.problems() == [("schema_differs", None)]


def test_a_column_that_is_gone_is_said_in_words(whole: Centre) -> None:
    tamper(whole, "ALTER TABLE receipts DROP COLUMN at_ms")
    with pytest.raises(StoreError, match=r"receipts.at_ms is gone.*restore a backup"):
        whole.problems()


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_column_of_another_type_is_said_in_words(whole: Centre) -> None:
    tamper(whole, "ALTER TABLE records ALTER COLUMN seq TYPE text")
    with pytest.raises(StoreError, match=r"records.seq is gone or of another type"):
        whole.problems()


def test_a_table_that_is_gone_is_said_in_words(whole: Centre) -> None:
    tamper(whole, "DROP TABLE receipts")
    with pytest.raises(StoreError, match=r"receipts.stream is gone"):
        whole.problems()
