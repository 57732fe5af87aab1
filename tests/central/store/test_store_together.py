"""Several ingesters side by side, and one that is killed in the middle."""

import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from central.store import Arrived, Store, open_store
from tests.central.store.ledgers import Centre, Ledger

BATCH = 50
ROOT = Path(__file__).resolve().parents[3]

INGESTER = f"""
import sys
from central.store import open_store
from tests.central.store.ledgers import Ledger
url, batches = sys.argv[1], int(sys.argv[2])
ledger = Ledger()
ledger.write(batches * {BATCH})
with open_store(url) as store:
    print("ready", flush=True)
    for n in range(batches):
        store.ingest(ledger.arrived(n * {BATCH} + 1, (n + 1) * {BATCH}), 1)
        print(n + 1, flush=True)
"""


@pytest.mark.parametrize("after", [1, pytest.param(40, marks=pytest.mark.soak)])
def test_an_ingester_that_is_killed_leaves_whole_batches(store_url: str, after: int) -> None:
    command = [sys.executable, "-c", INGESTER, store_url, "2000"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        for _ in range(after):
            child.stdout.readline()
        child.kill()
        committed = after + sum(1 for line in child.stdout if line.endswith(b"\n"))
    with open_store(store_url) as store:
        (state,) = store.streams()
        assert state.linked == state.top == sum(1 for _ in store.records())
        # Whoever was told has it; one more batch may have been committed and not said.
        assert state.linked in {committed * BATCH, (committed + 1) * BATCH}
        again = Ledger()
        again.write(state.linked + BATCH)
        centre = Centre(store)
        assert len(centre.take(again.arrived()).new) == BATCH
        assert centre.problems() == []


def test_several_ingesters_with_the_same_records_make_no_doubles(store_url: str) -> None:
    ledgers = [Ledger(gate=f"g-{number}") for number in range(6)]
    for ledger in ledgers:
        ledger.write(120)
    everything = [record for ledger in ledgers for record in ledger.arrived()]
    start = threading.Barrier(3)

    def ingest(seed: int) -> int:
        dice = random.Random(seed)
        mine = sorted(everything, key=lambda record: (dice.random(), record.body))
        with open_store(store_url) as store:
            start.wait(20)
            return sum(_new(store, mine[at : at + 40]) for at in range(0, len(mine), 40))

    with ThreadPoolExecutor(3) as pool:
        new = list(pool.map(ingest, range(3)))
    assert sum(new) == len(everything)
    with open_store(store_url) as store:
        assert [state.linked for state in store.streams()] == [120] * 6
        assert Centre(store).problems() == []


def _new(store: Store, batch: list[Arrived]) -> int:
    done = store.ingest(batch, 1)
    assert len(done.new) + done.duplicates == len(batch)
    return len(done.new)


def test_checkpoints_and_records_of_one_gate_side_by_side(store_url: str) -> None:
    """A new ledger, its predecessor, and both their checkpoints, from four sides."""
    old, new = Ledger("epoch1"), Ledger("epoch2")
    old.write(200)
    new.follow(old)
    new.write(199)
    start = threading.Barrier(4)

    def records(ledger: Ledger) -> None:
        with open_store(store_url) as store:
            start.wait(20)
            for at in range(1, 201, 20):
                store.ingest(ledger.arrived(at, at + 19), 1)

    def checkpoints(ledger: Ledger) -> None:
        with open_store(store_url) as store:
            start.wait(20)
            for size in range(20, 201, 20):
                at_ms = ledger.at_ms - 1000 * (200 - size)
                store.checkpoint(ledger.checkpoint(size, at_ms=at_ms), "north", "g-1", 1)

    with open_store(store_url) as store:
        Centre(store).register(old)
        store.ingest(old.arrived(1, 1), 1)
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(work, ledger) for ledger in (old, new) for work in (records, checkpoints)]
        for each in done:
            each.result()
    with open_store(store_url) as store:
        assert [state.proved for state in store.streams()] == [200, 200]
        assert [alarm.about.code for alarm in store.alarms()] == []
        assert Centre(store).problems() == []


def test_two_centres_that_register_the_same_key_are_both_content(store_url: str) -> None:
    keys = [bytes([number]) * 32 for number in range(30)]
    together = threading.Barrier(2)

    def register(now_ms: int) -> None:
        with open_store(store_url) as store:
            for key in keys:
                together.wait(20)
                store.register_gate("north", "g-1", key, now_ms, note=f"at {now_ms}")

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(register, now_ms) for now_ms in (1, 2)]
        failed = [each.exception(60) for each in done]
    assert failed == [None, None]
    with open_store(store_url) as store:
        assert {(key.public_key, key.note == f"at {key.registered_ms}") for key in store.gates()} == {
            (key, True) for key in keys
        }
        with store.engine.connect() as connection:
            entries = connection.exec_driver_sql("SELECT count(*) FROM alarm_log").scalar_one()
        assert entries == len(store.gates()) == len(keys)
        assert Centre(store).problems() == []


def test_a_row_that_somebody_slipped_in_does_not_stop_the_ingester(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived(1, 5))
    with centre.store.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO records (stream, seq, at_ms, seen_ms, kind, abnormal, body)"
            " SELECT stream, 7, at_ms, seen_ms, kind, abnormal, body FROM records WHERE seq = 5"
        )
    done = centre.take(ledger.arrived(6))
    assert (len(done.new), done.conflicts) == (4, 1)
    centre.hear(ledger)  # what was slipped in is cast out, the right one is asked for
    centre.take(ledger.arrived())
    (state,) = centre.store.streams()
    assert state.proved == 10
    assert centre.problems() == [("conflict_altered", 7)]  # somebody was at the database: that stays
