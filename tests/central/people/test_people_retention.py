"""What is erased and retired when its time is over, and what is still proved of it."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from central.orders.book import EXPIRES_S_MAX
from central.orders.courier import GRACE_MS, LOOK_BACK_MS, Courier
from central.people.access_log import entries, newest_ms
from central.people.caller import What
from central.people.retention import Removed, Retention, _retire_piece, due, run
from central.people.settings import DAY_MS, RECORDS_DAYS_MIN, RetentionSettings
from central.people.sheet import sheet
from central.store import Arrived, Ingested, Store, open_store
from central.store.contents import export_line
from central.store.reading import Name
from central.store.retired import retired_upto, summary
from central.store.tables import rejects
from gate.core import events
from gate.core.commands import LIFE_S_MAX
from gate.core.delivery import PreviousEpoch
from tests.brokers import wait_for
from tests.central.orders.ordering import a_gate, deliver, made, reply, wanted
from tests.central.people.hall import ALICE, LI, HallGate, at, problems, sealed, subject
from tests.central.store.ledgers import NOW_MS

SETTINGS = RetentionSettings(sealed_days=30, records_days=90)
LATER = at("12:00") + 92 * DAY_MS  # the first two of the days are over


@pytest.fixture
def hall(store: Store) -> HallGate:
    """Three days of a gate in April, one more in July; all of it proved and receipted."""
    gate = HallGate(store)
    gate.register()
    for day in ("2022-04-11", "2022-04-12", "2022-04-13"):
        gate.comes(ALICE, "09:00", day)
        gate.register_sealed(sealed({"name": "x"}), ALICE, "10:00", day)
        gate.deliver(at("12:00", day))
    gate.comes(ALICE, "09:00", "2022-07-01")
    gate.deliver(at("12:00", "2022-07-01"))
    return gate


def bodies(store: Store) -> list[bytes]:
    return [record.body for record in store.records()]


def upto(store: Store) -> int:
    with store.engine.connect() as connection:
        return retired_upto(connection, 1)


def again(gate: HallGate, store: Store, first: int, last: int, **changes: bytes) -> Ingested:
    found = [changes.get(f"n{seq}", gate.bodies[seq - 1]) for seq in range(first, last + 1)]
    return store.ingest([Arrived(gate.site, gate.gate, body) for body in found], LATER)


def tamper(store: Store, statement: str, **values: Any) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(statement), values)


def test_what_is_over_its_time_goes_and_the_rest_stays(store: Store, hall: HallGate) -> None:
    now_ms = at("12:00", "2022-07-11")  # the 90th day after April 12
    assert due(store, SETTINGS, now_ms) == Removed(sealed=3, records=4)
    assert problems(store) == []
    assert run(store, SETTINGS, now_ms) == Removed(sealed=3, records=4)
    assert [bool(body) for body in bodies(store)] == [False] * 4 + [True] * 10
    assert store.sealed("north", "g-1", "epoch1", 11) is None
    assert problems(store) == []
    assert run(store, SETTINGS, now_ms) == Removed()
    assert problems(store) == []


def test_nothing_is_changed_by_asking_how_much_it_would_be(store: Store, hall: HallGate) -> None:
    due(store, SETTINGS, LATER)
    assert all(bodies(store))
    assert entries(store) == []


def test_records_are_kept_without_a_limit_for_them(store: Store, hall: HallGate) -> None:
    assert run(store, RetentionSettings(), LATER + 10_000 * DAY_MS) == Removed(sealed=3)
    assert all(bodies(store))


def test_whatever_was_done_is_in_the_access_log(store: Store, hall: HallGate) -> None:
    run(store, SETTINGS, LATER)
    found = entries(store)
    assert [entry.what for entry in found] == ["retention", "sealed_erased", "retired"]
    assert found[0].reason == "sealed_days = 30, records_days = 90"
    assert found[2].about["upto"] == {"north/g-1/epoch1": 8}


def test_only_what_is_proved_is_retired(store: Store) -> None:
    gate = HallGate(store)
    gate.comes(ALICE, "09:00")
    gate.send(at("12:00"))
    assert run(store, SETTINGS, LATER).records == 0
    gate.register()
    gate.checkpoint(at("12:00"))
    gate.comes(ALICE, "10:00")
    gate.send(at("12:00"))
    assert run(store, SETTINGS, LATER).records == 2
    assert [bool(body) for body in bodies(store)] == [False, False, True, True]


def test_a_record_is_kept_for_its_time_whatever_is_said_of_when_it_came(store: Store, hall: HallGate) -> None:
    """When a record came is the only time that nobody has signed."""
    tamper(store, f"UPDATE records SET seen_ms = seen_ms - {100 * DAY_MS}")
    now_ms = at("12:00") + DAY_MS
    assert run(store, SETTINGS, now_ms).records == 0
    assert all(bodies(store))


def test_it_is_done_in_pieces(store: Store, hall: HallGate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("central.people.retention._RECORDS_AT_ONCE", 3)
    monkeypatch.setattr("central.people.retention._BLOBS_AT_ONCE", 2)
    assert run(store, SETTINGS, LATER) == Removed(sealed=3, records=8)
    assert [entry.what for entry in entries(store)] == [
        "retention", *2 * ["sealed_erased"], *3 * ["retired"],
    ]  # fmt: skip
    assert problems(store) == []


def test_the_first_record_of_a_ledger_that_follows_another_stays(store: Store, hall: HallGate) -> None:
    size, digest = len(hall.bodies), hall.hashes[-1].hex()
    hall.begin("epoch2")

    begun = events.epoch_started(PreviousEpoch("epoch1", size, digest, "renewed"))
    hall.write(begun, at("13:00", "2022-07-01"))
    hall.comes(ALICE, "13:30", "2022-07-01")
    hall.deliver(at("14:00", "2022-07-01"))
    assert run(store, SETTINGS, LATER + 100 * DAY_MS).records == 14 + 2
    stays = [record for record in store.records() if record.body]
    assert [(record.epoch, record.seq) for record in stays] == [("epoch2", 1)]
    assert problems(store) == []


def test_a_gate_that_sends_retired_records_again_is_no_liar(store: Store, hall: HallGate) -> None:
    run(store, SETTINGS, LATER)
    done = again(hall, store, 1, 14)
    assert (done.duplicates, done.conflicts, done.raised) == (14, 0, ())
    assert not any(bodies(store)[:8])
    assert again(hall, store, 5, 5).duplicates == 1


def test_other_bytes_for_a_retired_record_are_found(store: Store, hall: HallGate) -> None:
    run(store, SETTINGS, LATER)
    other = hall.bodies[4].replace(b'"direction":"in"', b'"direction":"out"').replace(b"admit", b"admix")
    done = again(hall, store, 4, 6, n5=other)
    assert (done.duplicates, done.conflicts) == (2, 1)
    assert [alarm.about.code for alarm in done.raised] == ["altered"]


def test_the_ledger_goes_on_behind_retired_records(store: Store, hall: HallGate) -> None:
    run(store, SETTINGS, LATER + 100 * DAY_MS)
    assert not any(bodies(store))
    assert problems(store) == []
    hall.comes(ALICE, "09:00", "2022-12-01")
    hall.deliver(at("12:00", "2022-12-01"))
    assert problems(store) == []
    assert upto(store) == 14


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_two_who_retire_at_once_agree_on_what_is_retired(
    store: Store, hall: HallGate, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody does it by hand while the centre is at it. On SQLite they would not even begin together."""
    other = HallGate(store, gate="g-2")
    other.register()
    other.comes(ALICE, "09:00")
    other.deliver(at("12:00"))
    by_hand = threading.Thread(target=_retire_by_hand, args=[store_url])
    known = summary

    def summed_up(connection: Connection) -> bytes:
        digest = known(connection)
        if threading.current_thread() is not by_hand:
            by_hand.start()
            wait_for(lambda: not by_hand.is_alive() or _waits(store), 20, "the other to wait, or to be done")
        return digest

    monkeypatch.setattr("central.people.retention.summary", summed_up)
    _retire_piece(store, LI, [Name("north", "g-1", "epoch1")], LATER - 90 * DAY_MS, LATER)
    by_hand.join(20)
    assert [entry.what for entry in entries(store)] == ["retired", "retired"]
    assert problems(store) == []


def _retire_by_hand(store_url: str) -> None:
    with open_store(store_url) as store:
        _retire_piece(store, LI, [Name("north", "g-2", "epoch1")], LATER - 90 * DAY_MS, LATER)


def _waits(store: Store) -> bool:
    """Tell whether somebody waits for a lock in the database."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with store.engine.connect() as connection:
        return bool(connection.scalar(text(f"{waiting} AND wait_event_type = 'Lock'")))


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE records SET hash = :hash WHERE seq = 3", {("retired_differs", 8)}),
        ("UPDATE records SET hash = :hash WHERE seq = 8", {("retired_differs", 8), ("record_altered", 9)}),
        ("DELETE FROM records WHERE seq = 3", {("retired_differs", 8), ("record_missing", 3)}),
        ("UPDATE records SET body = :nothing WHERE seq = 9", {("record_altered", 9)}),
        ("UPDATE retired SET upto = 9", {("retired_differs", 9), ("retired_differs", None)}),
        ("DELETE FROM retired", {("record_altered", 1), ("retired_differs", None)}),
        ("DELETE FROM records WHERE seq < 9", {("retired_differs", 8), ("record_missing", 1)}),
        ("UPDATE streams SET proved = 4", {("retired_differs", 8)}),
    ],
)
def test_whoever_meddles_with_retired_records_is_found(
    store: Store, hall: HallGate, statement: str, found: set[tuple[str, int | None]]
) -> None:
    run(store, SETTINGS, LATER)
    values = {"hash": bytes(32), "nothing": b""}
    tamper(store, statement, **{name: value for name, value in values.items() if f":{name}" in statement})
    assert found <= set(problems(store))


def test_records_that_were_kept_beside_retired_ones_are_retired_as_well(store: Store, hall: HallGate) -> None:
    again(hall, store, 2, 2, n2=hall.bodies[1].replace(b"passed", b"forced"))
    run(store, SETTINGS, LATER)
    with store.engine.connect() as connection:
        assert [bytes(body) for body in connection.scalars(text("SELECT body FROM conflicts"))] == [b""]
    assert problems(store) == []


def test_the_starts_of_messages_that_were_none_are_forgotten(store: Store) -> None:
    store.ingest([Arrived("north", "g-1", b"name: Wang")], at("12:00"))
    assert run(store, SETTINGS, LATER).rejects == 1
    with store.engine.connect() as connection:
        row = connection.execute(select(rejects)).one()
    assert (bytes(row.start), row.times) == (b"", 1)


def test_a_retired_record_is_told_to_be_one(store: Store, hall: HallGate) -> None:
    run(store, SETTINGS, LATER)
    found = sheet(store, subject(), at("00:00"), LATER)
    assert (len(found.visits), found.lost.retired) == (3, 4)
    line = json.loads(export_line(next(iter(store.records()))))
    assert (line["seq"], line["record"], len(line["hash"])) == (1, None, 64)


def test_no_byte_of_it_is_left_in_the_file_of_sqlite(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    path.write_bytes(sqlite_template.read_bytes())
    with open_store(f"sqlite:///{path}") as store:
        gate = HallGate(store)
        gate.register()
        for number in range(100):
            gate.comes(f"{number:016x}", f"09:{number % 60:02}")
        gate.deliver(at("12:00"))
        assert run(store, SETTINGS, LATER).records == 200
        content = path.read_bytes() + path.with_name("central.db-wal").read_bytes()
    assert b'"findings"' not in content


def alarms_after(store: Store, days: int) -> list[str]:
    """A command that is valid for a day is answered at once; the centre starts again a week after that."""
    ledger = a_gate(store)
    order = made(store, NOW_MS, wanted(expires_s=EXPIRES_S_MAX))
    reply(ledger, order)
    deliver(store, ledger, 6)
    later_ms = order.expires_ms + LOOK_BACK_MS + GRACE_MS - 1
    settings = RetentionSettings(sealed_days=1)
    object.__setattr__(settings, "records_days", days)
    run(store, settings, later_ms)
    Courier(store, Clock(later_ms), publish=lambda *_: None, connected=lambda: False).step()
    return [alarm.about.code for alarm in store.alarms()]


@pytest.mark.parametrize("days", [RECORDS_DAYS_MIN, 365])
def test_the_answer_to_a_command_is_kept_for_as_long_as_it_is_looked_for(store: Store, days: int) -> None:
    assert alarms_after(store, days) == []


def test_a_shorter_time_would_be_a_false_alarm_and_is_refused(store: Store) -> None:
    assert alarms_after(store, 1) == ["command_unanswered"]
    with pytest.raises(ValueError, match="records_days must be 9 or more: so long the centre looks for"):
        RetentionSettings(sealed_days=1, records_days=RECORDS_DAYS_MIN - 1)
    life_ms = LIFE_S_MAX * 1000 + LOOK_BACK_MS + GRACE_MS
    assert (RECORDS_DAYS_MIN - 1) * DAY_MS <= life_ms <= RECORDS_DAYS_MIN * DAY_MS


def test_nobody_keeps_values_longer_than_the_record_that_says_whose_they_are() -> None:
    with pytest.raises(ValueError, match="records_days"):
        RetentionSettings(sealed_days=31, records_days=30)


class Clock:
    """Time that stands still, and waits for nothing."""

    def __init__(self, now_ms: int) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(0.001)


def test_the_centre_does_it_once_a_day(store: Store, hall: HallGate) -> None:
    clock = Clock(LATER)
    worker = Retention(store, SETTINGS, clock)
    assert worker.step() == Removed(sealed=3, records=8)
    clock.ms += DAY_MS - 1
    assert worker.step() is None
    clock.ms += 1
    assert worker.step() == Removed(records=4)
    assert newest_ms(store, What.RETENTION) == clock.ms


def test_a_store_that_cannot_be_used_stops_nothing(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    worker = Retention(store, SETTINGS, Clock(LATER))
    tamper(store, "DROP TABLE access_log")
    worker.start()
    wait_for(lambda: "tried again" in caplog.text, 20, "the trouble to be said")
    worker.stop()


def test_the_thread_ends_when_told_to(store: Store) -> None:
    worker = Retention(store, SETTINGS, Clock(LATER))
    worker.start()
    worker.stop()
    assert newest_ms(store, What.RETENTION) == LATER
