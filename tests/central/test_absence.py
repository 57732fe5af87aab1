"""Who has stopped in order, on every database; and how long that excuses them."""

from datetime import UTC, datetime

import pytest

from central.absence import Absences, owed_ms
from central.reports.settings import ReportSettings
from central.store import Store
from gate.core.delivery import Checkpoint, Why
from tests.central.store.ledgers import Centre, Ledger

S = 1000


class Gate:
    """A registered gate, and when the centre heard what it has signed."""

    def __init__(self, store: Store) -> None:
        self.ledger, self.centre, self._store = Ledger(), Centre(store), store
        self.centre.register(self.ledger)

    def signs(self, why: Why, *, receipted: int = 0, later_ms: int = S) -> bytes:
        self.ledger.at_ms += later_ms
        size = self.ledger.size
        message = Checkpoint(
            "north", "g-1", self.ledger.epoch, size, self.ledger.hashes[size], self.ledger.at_ms, True,
            "boot-1", why, receipted,
        ).signed(self.ledger.key)  # fmt: skip
        self.centre.hear(self.ledger, message)
        return message

    def writes(self) -> None:
        self.ledger.write()
        self.centre.take(self.ledger.arrived(self.ledger.size))

    def stopped(self, absences: Absences | None = None, after_ms: int = 100 * S) -> bool:
        asked = absences or Absences(self._store.engine)
        now_ms = self.centre.now_ms + after_ms
        found = asked.stopped(self._store.streams(), now_ms)
        assert found in ({}, {("north", "g-1"): self.centre.now_ms})
        return bool(found)


def test_a_gate_has_stopped_when_that_is_its_last_word(store: Store) -> None:
    gate = Gate(store)
    assert not gate.stopped()
    gate.writes()
    gate.signs(Why.START)
    assert not gate.stopped()
    gate.writes()
    gate.signs(Why.STOP)
    assert gate.stopped()
    gate.signs(Why.START)
    assert not gate.stopped()


def test_also_among_heartbeats_of_the_same_size(store: Store) -> None:
    gate, absences = Gate(store), Absences(store.engine)
    gate.writes()
    for why in (Why.START, Why.INTERVAL, Why.INTERVAL, Why.STOP):
        assert not gate.stopped(absences)
        gate.signs(why)
    assert gate.stopped(absences)
    gate.signs(Why.START)
    assert not gate.stopped(absences)


def test_a_stop_that_comes_a_second_time_means_nothing(store: Store) -> None:
    gate = Gate(store)
    gate.writes()
    stop = gate.signs(Why.STOP)
    gate.signs(Why.START)
    gate.centre.hear(gate.ledger, stop)  # from a broker, or from somebody who has kept it
    gate.centre.now_ms -= S
    assert not gate.stopped()


def test_the_ledger_that_was_heard_last_counts(store: Store) -> None:
    gate = Gate(store)
    gate.writes()
    gate.signs(Why.STOP)
    new = Ledger("epoch2")
    new.follow(gate.ledger)
    gate.ledger = new
    gate.centre.take(new.arrived())
    gate.signs(Why.START)
    assert not gate.stopped()


def test_a_gate_that_was_heard_just_now_is_not_looked_up(store: Store) -> None:
    gate = Gate(store)
    gate.writes()
    gate.signs(Why.STOP)
    assert not gate.stopped(after_ms=74 * S)
    assert gate.stopped(Absences(store.engine, quiet_ms=0), after_ms=0)


def test_a_gate_that_sends_records_behind_its_last_word_is_at_work(store: Store) -> None:
    gate = Gate(store)
    gate.writes()
    gate.signs(Why.STOP)
    assert gate.stopped()
    heard_ms = gate.centre.now_ms
    gate.centre.now_ms += 2 * S
    gate.writes()  # as another centre may have stored them a little later
    assert Absences(store.engine).stopped(store.streams(), heard_ms + 100 * S) == {("north", "g-1"): heard_ms}
    gate.centre.now_ms += 60 * S
    gate.writes()
    assert Absences(store.engine).stopped(store.streams(), gate.centre.now_ms + 100 * S) == {}


def test_a_gate_that_begins_a_ledger_is_at_work_whoever_has_signed_for_it(store: Store) -> None:
    gate = Gate(store)
    gate.writes()
    gate.signs(Why.STOP)
    heard_ms = gate.centre.now_ms
    gate.centre.now_ms += 60 * S
    stranger = Ledger("epoch2", key=b"x" * 32)
    gate.centre.take(stranger.arrived())
    gate.centre.hear(stranger, stranger.checkpoint())
    assert heard_ms < gate.centre.now_ms
    assert Absences(store.engine).stopped(store.streams(), gate.centre.now_ms + 100 * S) == {}


SETTINGS = ReportSettings(time_zone="Asia/Shanghai", level3_due="17:00")


@pytest.mark.parametrize(
    ("stopped", "owed"),
    [
        ("2026-11-22T08:59:59.999", "2026-11-22T09:00:00"),
        ("2026-11-22T09:00:00", "2026-11-23T09:00:00"),
        ("2026-11-22T15:59:59", "2026-11-23T09:00:00"),
        ("2026-11-22T16:00:01", "2026-11-23T09:00:00"),
        ("2026-12-31T20:00:00", "2027-01-01T09:00:00"),
    ],
)  # the reports of 17:00 in Shanghai are due at 09:00 UTC
def test_it_is_excused_until_the_next_report(stopped: str, owed: str) -> None:
    assert owed_ms(SETTINGS, utc_ms(stopped)) == utc_ms(owed)


def utc_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
