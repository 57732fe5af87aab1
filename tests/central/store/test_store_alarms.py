import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from central.store import Alarm, AlarmKind, Store, StoreError, Suspicion, open_store
from tests.central.store.ledgers import NOW_MS, Centre, Ledger

LATE = Suspicion(AlarmKind.LATE, "north", "g-1", "epoch1", "late", 4, 9, {"after_s": 60, "what": "晚"})


def test_an_alarm_stands_until_it_is_cleared(store: Store) -> None:
    alarm = store.raise_alarm(LATE, 1000)
    assert alarm == Alarm(1, LATE, 1000)
    assert store.alarms() == [alarm]
    assert store.raise_alarm(LATE, 2000) is None
    assert store.clear_alarm(alarm.id, 3000, by="Li", reason="the line is back")
    assert not store.clear_alarm(alarm.id, 4000)
    assert not store.clear_alarm(99, 4000)
    assert store.alarms() == []
    again = store.raise_alarm(LATE, 5000)
    assert store.alarms(standing=False) == [Alarm(1, LATE, 1000, 3000), again]


def test_alarms_of_other_ledgers_kinds_and_codes_stand_beside_each_other(store: Store) -> None:
    several = [
        LATE,
        Suspicion(AlarmKind.LATE, "north", "g-1", "epoch2", "late"),
        Suspicion(AlarmKind.MISSED, "north", "g-1", "epoch1", "late"),
        Suspicion(AlarmKind.LATE, "north", "g-2", "epoch1", "late"),
        Suspicion(AlarmKind.LATE, "north", "g-1", "epoch1", "silent"),
    ]
    assert [store.raise_alarm(about, 1) for about in several].count(None) == 0
    assert [alarm.about for alarm in store.alarms()] == several


def test_only_a_false_alarm_grows(store: Store) -> None:
    store.raise_alarm(LATE, 1)
    store.raise_alarm(Suspicion(AlarmKind.LATE, "north", "g-1", "epoch1", "late", 4, 99), 2)
    assert store.alarms()[0].about.last == 9


def test_the_same_alarm_from_several_sides_is_raised_once(store_url: str) -> None:
    start = threading.Barrier(4)

    def raise_it(_: int) -> Alarm | None:
        with open_store(store_url) as store:
            start.wait(20)
            return store.raise_alarm(LATE, 1)

    with ThreadPoolExecutor(4) as pool:
        raised = list(pool.map(raise_it, range(4)))
    assert raised.count(None) == 3


def test_the_newest_receipt_of_each_day_is_kept(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    day = 86_400_000
    made = [ledger.receipt(5, NOW_MS), ledger.receipt(10, NOW_MS + 1000), ledger.receipt(9, NOW_MS + 500)]
    centre.store.keep_receipts([*made, ledger.receipt(10, NOW_MS + day)])
    with centre.store.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT upto, at_ms FROM receipts ORDER BY day").all()
    assert [tuple(row) for row in kept] == [(10, NOW_MS + 1000), (10, NOW_MS + day)]
    state = centre.store.stream("north", "g-1", "epoch1")
    assert state is not None
    assert state.receipt_ms == NOW_MS + day
    assert centre.problems() == []


def test_a_receipt_for_a_ledger_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(StoreError):
        store.keep_receipts([Ledger().receipt(0)])
