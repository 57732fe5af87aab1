"""Opening and erasing registrations, and what stays of them in the files."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from nacl.public import PrivateKey, SealedBox
from sqlalchemy import make_url, text

from central.people.access_log import entries
from central.people.caller import Caller
from central.people.privacy import Place, SealedError, erase, find, opened, reveal, scrub, sealed_of
from central.store import Store, open_store
from gate.core import events
from gate.core.events import Result, Stage
from gate.core.evidence import Direction
from tests.central.people.hall import (
    ALICE,
    BOB,
    LI,
    SEAL,
    HallGate,
    at,
    problems,
    sealed,
    seen,
    subject,
)
from tests.central.postgres import Postgres
from tests.central.reports.town import ADMIT, REFER

NOON = at("12:00")
FIELDS = {"name": "王小明", "phone": "13800000000"}
PLACE = Place("north", "g-1", "epoch1", 1)


@pytest.fixture
def hall(store: Store) -> HallGate:
    gate = HallGate(store)
    gate.register()
    return gate


def last(store: Store) -> tuple[str, str, str]:
    entry = entries(store)[-1]
    return entry.what, entry.by, entry.reason


def test_a_registration_is_opened_and_that_is_in_the_log(store: Store, hall: HallGate) -> None:
    seq = hall.register_sealed(sealed(FIELDS), ALICE, "09:00")
    hall.deliver(NOON)
    place = find(store, "g-1", "epoch1", seq)
    assert reveal(store, SEAL, place, LI, NOON) == FIELDS
    assert last(store) == ("reveal", "Li", "contact tracing")
    assert entries(store)[-1].about == {"site": "north", "gate": "g-1", "epoch": "epoch1", "seq": seq}
    assert not any("王" in json.dumps(dict(entry.about)) for entry in entries(store))


def test_whoever_has_another_key_reads_nothing_and_has_been_noted(store: Store, hall: HallGate) -> None:
    hall.register_sealed(sealed(FIELDS), ALICE, "09:00")
    hall.deliver(NOON)
    with pytest.raises(SealedError, match="another key"):
        reveal(store, PrivateKey(b"x" * 32), PLACE, LI, NOON)
    assert last(store)[0] == "reveal"


def test_a_record_that_came_without_one_is_told_from_one_that_is_erased(store: Store, hall: HallGate) -> None:
    hall.register_sealed(sealed(FIELDS), ALICE, "09:00")
    hall.deliver(NOON)
    for seq, why in ((2, "without a registration"), (99, "no record 99")):
        with pytest.raises(SealedError, match=why):
            reveal(store, SEAL, Place("north", "g-1", "epoch1", seq), LI, NOON)
    assert erase(store, [PLACE], Caller("Wu", "asked to be forgotten"), NOON) == 1
    with pytest.raises(SealedError, match="erased by Wu: asked to be forgotten"):
        reveal(store, SEAL, PLACE, LI, NOON)


def test_a_registration_that_has_not_come_is_said_to_be_missing(store: Store, hall: HallGate) -> None:
    event = events.visit_decided("0a1b2c3d-000001", Stage.AUTHORISED, ADMIT, seen(ALICE, Direction.IN), (), 1)
    hall.write(events.with_sealed(event, sealed(FIELDS)), at("09:00"))
    hall.send(NOON)
    with pytest.raises(SealedError, match="not come yet"):
        reveal(store, SEAL, PLACE, LI, NOON)


@pytest.mark.parametrize(
    "plain",
    [
        b"", b"no JSON", b"[]", b"[" * 8000, b'{"v":2,"site":"north","gate":"g-1","fields":{}}',
        b'{"v":1,"site":"north","gate":"g-1","fields":{"name":7}}', b'{"v":1,"site":"north","gate":"g-1"}',
        b'{"v":1,"site":"north","gate":"g-1","fields":[]}', b"\xff",
    ],
)  # fmt: skip
def test_whatever_was_sealed_that_is_no_registration_is_refused(plain: bytes) -> None:
    with pytest.raises(SealedError, match="no registration"):
        opened(SealedBox(SEAL.public_key).encrypt(plain), SEAL, PLACE)


def test_a_registration_of_another_gate_is_not_shown(store: Store, hall: HallGate) -> None:
    with pytest.raises(SealedError, match="another gate"):
        opened(sealed(FIELDS, gate="g-2"), SEAL, PLACE)
    assert opened(sealed({"name": "\x1b[2Jx\u202e"}), SEAL, PLACE) == {"name": "?[2Jx?"}


def test_a_ledger_that_two_sites_have_has_to_be_told_apart(store: Store, hall: HallGate) -> None:
    for site in ("north", "south"):
        gate = HallGate(store, site=site)
        gate.comes(ALICE, "09:00")
        gate.send(NOON)
    with pytest.raises(SealedError, match="north, south"):
        find(store, "g-1", "epoch1", 1)
    assert find(store, "g-1", "epoch1", 1, "south").site == "south"
    with pytest.raises(SealedError, match="no gate g-9"):
        find(store, "g-9", "epoch1", 1)


def test_all_registrations_of_a_person_are_found_on_every_day(store: Store, hall: HallGate) -> None:
    first = hall.register_sealed(sealed(FIELDS), ALICE, "09:00")
    hall.register_sealed(sealed(FIELDS), BOB, "09:30")
    second = hall.register_sealed(sealed(FIELDS), ALICE, "09:00", "2022-04-12")
    hall.deliver(at("12:00", "2022-04-12"))
    assert [place.seq for place in sealed_of(store, subject())] == [first, second]
    assert erase(store, sealed_of(store, subject()), LI, NOON, subject=ALICE) == 2
    assert sealed_of(store, subject()) == []
    assert entries(store)[-1].about["subject"] == ALICE
    assert len(sealed_of(store, subject(BOB))) == 1
    assert problems(store) == []


def test_a_registration_before_the_code_of_its_visit_is_found(store: Store, hall: HallGate) -> None:
    name, blob = "0a1b2c3d-000001", sealed(FIELDS)
    without = events.visit_decided(name, Stage.REFERRED, REFER, seen(None, Direction.IN), (), 1)
    hall.write(events.with_sealed(without, blob), at("09:00"))
    hall.attach(1, blob, NOON)
    for who, other in ((BOB, "0a1b2c3d-000002"), (ALICE, name)):
        found = events.visit_decided(other, Stage.AUTHORISED, ADMIT, seen(who, Direction.IN), (), 1)
        hall.write(found, at("09:01"))
    hall.send(NOON)
    assert sealed_of(store, subject(BOB)) == []
    assert [place.seq for place in sealed_of(store, subject())] == [1]


@pytest.mark.parametrize(
    "change",
    [
        "blob = NULL, erased_ms = 1 WHERE seq = 3",
        "blob = NULL, erased_ms = 5, erased_by = 'Li', erased_why = 'tracing' WHERE seq = 3",
        f"blob = NULL, erased_ms = {NOON}, erased_by = 'Li', erased_why = 'contact tracing' WHERE seq = 3",
        "erased_by = 'Wu' WHERE seq = 1", "erased_why = '' WHERE seq = 1", "erased_ms = 7 WHERE seq = 1",
    ],
)  # fmt: skip
def test_a_registration_that_is_gone_without_an_entry_in_the_access_log_is_found(
    store: Store, hall: HallGate, change: str
) -> None:
    hall.register_sealed(sealed(FIELDS), ALICE, "09:00")
    hall.register_sealed(sealed(FIELDS), BOB, "09:30")
    hall.deliver(NOON)
    erase(store, [PLACE], LI, NOON)
    assert problems(store) == []
    with store.engine.begin() as connection:
        assert connection.execute(text(f"UPDATE attachments SET {change}")).rowcount == 1
    assert {what for what, _ in problems(store)} == {"erased_differs"}


def test_what_came_beside_and_no_record_declares_is_erased_and_counted(store: Store, hall: HallGate) -> None:
    hall.register_sealed(sealed(FIELDS), ALICE, "09:00")
    hall.attach(1, sealed(FIELDS), NOON)
    hall.deliver(NOON)
    assert erase(store, [PLACE, PLACE], LI, NOON) == 2
    assert entries(store)[-1].about["erased"] == 2
    assert problems(store) == []


def test_the_chain_stays_whole_and_a_gate_that_sends_again_brings_nothing_back(
    store: Store, hall: HallGate
) -> None:
    blob = sealed(FIELDS)
    hall.register_sealed(blob, ALICE, "09:00")
    hall.deliver(NOON)
    erase(store, [PLACE], LI, NOON)
    hall.attach(1, blob, NOON)
    assert store.sealed(*PLACE.name, 1) is None
    assert problems(store) == []


# In the files


def test_no_byte_of_it_is_left_in_the_file_of_sqlite(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    path.write_bytes(sqlite_template.read_bytes())
    with open_store(f"sqlite:///{path}") as store:
        gone, kept = _many(HallGate(store))
        assert _found(gone, path, path.with_name("central.db-wal")) == len(gone)
        erase(store, sealed_of(store, subject()), LI, NOON)
        assert scrub(store)
        assert _found(gone, path, path.with_name("central.db-wal")) == 0
        assert _found(kept, path, path.with_name("central.db-wal")) == len(kept)


def test_a_reader_keeps_the_bytes_in_the_log_and_that_is_said(
    sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("central.store.engine.BUSY_S", 0.1)
    path = tmp_path / "central.db"
    path.write_bytes(sqlite_template.read_bytes())
    with open_store(f"sqlite:///{path}") as store:
        hall = HallGate(store)
        hall.register_sealed(sealed(FIELDS), ALICE, "09:00")
        hall.send(NOON)
        with store.engine.connect() as reader:
            reader.execution_options(reads=True).execute(text("SELECT count(*) FROM records"))
            erase(store, [PLACE], LI, NOON)
            assert not scrub(store)
        assert scrub(store)


@pytest.mark.soak
def test_no_byte_of_it_is_left_in_the_table_of_postgresql(postgres: Postgres) -> None:
    url = postgres.new_database()
    with open_store(url) as store:
        gone, kept = _many(HallGate(store))
        erase(store, sealed_of(store, subject()), LI, NOON)
        assert scrub(store)
        with store.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("CHECKPOINT"))
        folder = next((postgres.folder / "data" / "base").glob(f"*{_number(store)}"))
        files = [path for path in folder.iterdir() if path.is_file()]
        assert _found(gone, *files) == 0
        assert _found(kept, *files) == len(kept)
    assert make_url(url).database


def _number(store: Store) -> int:
    with store.engine.connect() as connection:
        return int(
            connection.execute(
                text("SELECT oid FROM pg_database WHERE datname = current_database()")
            ).scalar_one()
        )


def _many(hall: HallGate) -> tuple[list[bytes], list[bytes]]:
    """Registrations of Alice, of every size, between those of Bob."""
    blobs: dict[str, list[bytes]] = {ALICE: [], BOB: []}
    for number in range(60):
        for who, own in blobs.items():
            fields = {f"f{index}": "x" * 200 for index in range(1 + number % 8)}
            own.append(sealed(fields))
            hall.register_sealed(own[-1], who, f"09:{number:02}")
    hall.send(NOON)
    return blobs[ALICE], blobs[BOB]


def _found(blobs: list[bytes], *files: Path) -> int:
    """Count the blobs of which any part is in the files: pages may hold one in pieces."""
    content = b"\0".join(path.read_bytes() for path in files if path.exists())
    return sum(any(piece in content for piece in _pieces(blob)) for blob in blobs)


def _pieces(blob: bytes) -> Iterator[bytes]:
    return (blob[start : start + 32] for start in range(0, len(blob) - 32, 64))


def test_a_registration_beside_the_end_of_a_visit_is_found(store: Store, hall: HallGate) -> None:
    blob = sealed(FIELDS)
    name = hall.comes(ALICE, "09:00", result=None)
    seq = hall.write(events.with_sealed(events.visit_closed(name, Result.PASSED, 1), blob), at("09:01"))
    hall.attach(seq, blob, NOON)
    hall.send(NOON)
    assert sealed_of(store, subject(BOB)) == []
    assert [place.seq for place in sealed_of(store, subject())] == [seq]
