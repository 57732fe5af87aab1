import json
import random

import pytest

from central.store import Arrived, Store
from gate.core.chain import link
from gate.core.delivery import Ask
from tests.central.store.ledgers import NOW_MS, Centre, Ledger, altered


def test_records_that_follow_the_chain_are_linked_with_their_hashes(centre: Centre, ledger: Ledger) -> None:
    done = centre.take(ledger.arrived())
    (progress,) = done.progress
    assert (progress.state.linked, progress.state.linked_hash) == (10, ledger.hashes[10])
    assert (progress.state.proved, progress.advanced, progress.ask) == (0, False, Ask.NOTHING)
    assert [record.hash for record in centre.store.records()] == ledger.hashes[1:]
    assert [record.body for record in centre.store.records()] == ledger.bodies
    assert [record.seq for record in done.new] == list(range(1, 11))


def test_time_kind_and_abnormality_are_read_from_the_body(centre: Centre, ledger: Ledger) -> None:
    ledger.write(1, "passage.forced", abnormal=True)
    centre.take(ledger.arrived())
    *_, last = centre.store.records()
    assert (last.kind, last.abnormal, last.at_ms) == ("passage.forced", True, ledger.at_ms)
    assert [record.seq for record in centre.store.records(abnormal=True)] == [11]
    assert [record.seq for record in centre.store.records(kinds=["passage.forced"])] == [11]
    span = centre.store.records(from_ms=NOW_MS + 3000, to_ms=NOW_MS + 5000)
    assert [record.seq for record in span] == [3, 4]


def test_what_comes_again_is_counted_and_changes_nothing(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived())
    done = centre.take([*ledger.arrived(), *ledger.arrived(3, 5)])
    assert (done.new, done.duplicates, done.conflicts) == ((), 13, 0)
    twice = Ledger("epoch2")
    twice.write(2)
    assert centre.take([*twice.arrived(), *twice.arrived()]).duplicates == 2


def test_a_record_behind_a_hole_is_parked_until_the_hole_is_filled(centre: Centre, ledger: Ledger) -> None:
    (progress,) = centre.take([*ledger.arrived(1, 3), *ledger.arrived(6, 7), *ledger.arrived(10)]).progress
    assert (progress.state.linked, progress.state.top, progress.state.hole) == (3, 10, True)
    assert centre.store.holes(progress.state.id) == [(4, 5), (8, 9)]
    assert [record.hash is None for record in centre.store.records()] == [False] * 3 + [True] * 3
    centre.take(ledger.arrived(8, 9))
    (progress,) = centre.take(ledger.arrived(4, 5)).progress
    assert (progress.state.linked, progress.state.linked_hash) == (10, ledger.hashes[10])
    assert centre.store.holes(progress.state.id) == []
    assert [record.hash for record in centre.store.records()] == ledger.hashes[1:]


def test_abnormal_records_that_came_first_are_taken_in_by_the_backlog(centre: Centre, ledger: Ledger) -> None:
    ledger.write(2500)
    ahead = [record for seq in range(7, 2500, 13) for record in ledger.arrived(seq, seq)]
    centre.take(ahead)
    duplicates = sum(centre.take(ledger.arrived(at, at + 99)).duplicates for at in range(1, 2511, 100))
    assert duplicates == len(ahead)
    assert [record.hash for record in centre.store.records()] == ledger.hashes[1:]


@pytest.mark.parametrize("seed", range(5))
def test_any_order_in_any_batches_ends_in_the_same_chain(centre: Centre, seed: int) -> None:
    dice = random.Random(seed)
    ledgers = [Ledger(gate=gate) for gate in ("g-1", "g-2")]
    for ledger in ledgers:
        ledger.write(60)
    everything = [record for ledger in ledgers for record in ledger.arrived()] * 2
    dice.shuffle(everything)
    while everything:
        size = dice.randint(1, 50)
        centre.take(everything[:size])
        del everything[:size]
    for ledger in ledgers:
        found = centre.store.records(gate=ledger.gate)
        assert [record.hash for record in found] == ledger.hashes[1:]
    assert centre.problems() == []


def test_what_is_no_record_is_rejected_and_the_rest_is_stored(centre: Centre, ledger: Ledger) -> None:
    bodies = [
        b"", b"\xff", b"[]", b"{}", b'{"data":{}}', b"[" * 100_000, b"x" * (1 << 21),
        ledger.bodies[0].replace(b'"seq":1', b'"seq":0'),
        ledger.bodies[0].replace(b'"seq":1', b'"seq":"1"'),
        ledger.bodies[0].replace(b'"seq":1', b'"seq":99999999999999999999'),
        ledger.bodies[0].replace(b'"epoch":"epoch1"', b'"epoch":"' + b"e" * 65 + b'"'),
        ledger.bodies[0].replace(b'"epoch":"epoch1"', b'"epoch":"a\\u0000b"'),
        ledger.bodies[0].replace(b"{", b"{\n", 1),
    ]  # fmt: skip
    rejected = [Arrived("north", "g-1", body) for body in bodies]
    elsewhere = [Arrived("south", "g-1", ledger.bodies[0]), Arrived("north", "g-2", ledger.bodies[0])]
    strange = [Arrived("no\0rth/", "g-1", ledger.bodies[0].replace(b"north", b"no\\u0000rth/"))]
    done = centre.take([*rejected, *elsewhere, *ledger.arrived(), *strange])
    assert done.rejects == len(bodies) + 3
    assert len(done.new) == 10
    centre.take(rejected[:1])
    assert centre.store.rejects() == len(bodies) + 4


def test_a_record_of_a_later_version_finds_its_place_all_the_same(centre: Centre, ledger: Ledger) -> None:
    body = json.dumps(
        {
            "time": "later",
            "type": 7,
            "data": {"site": "north", "gate": "g-1", "epoch": "e", "seq": 1, "sealed": 0},
        }
    ).encode()
    (new,) = centre.take([Arrived("north", "g-1", body)]).new
    assert (new.at_ms, new.kind, new.abnormal) == (None, "", False)


def test_other_bytes_for_a_proved_record_are_an_alarm_and_kept(centre: Centre, ledger: Ledger) -> None:
    centre.prove(ledger)
    forged = [altered(record) for record in ledger.arrived(4, 5)]
    done = centre.take(forged)
    assert (done.conflicts, len(done.raised)) == (2, 1)
    assert centre.standing() == [("epoch1", "altered", 4, 5)]
    centre.take([altered(record) for record in ledger.arrived(8, 8)])
    assert centre.standing() == [("epoch1", "altered", 4, 8)]  # one alarm, over more records
    assert centre.take(forged).raised == ()
    state = centre.store.stream("north", "g-1", "epoch1")
    assert state is not None
    assert state.conflicts == 3
    assert [record.body for record in centre.store.records()] == ledger.bodies
    assert centre.problems() == []


def test_other_bytes_are_judged_when_it_is_proved_which_are_right(centre: Centre, ledger: Ledger) -> None:
    centre.take(ledger.arrived())
    centre.take([altered(record) for record in ledger.arrived(4, 4)])
    assert centre.standing() == []
    centre.hear(ledger)
    assert centre.standing() == [("epoch1", "altered", 4, 4)]


def test_records_of_an_unknown_gate_are_stored_and_proved_once_it_is_registered(centre: Centre) -> None:
    ledger = Ledger(gate="g-9")
    ledger.write(5)
    done = centre.take(ledger.arrived())
    assert len(done.new) == 5
    assert not done.progress[0].state.known
    assert not centre.hear(ledger).advanced
    assert centre.standing() == [("", "unknown_gate", None, None)]
    centre.register(ledger)
    assert centre.standing() == []
    again = centre.hear(ledger)  # the retained message, word for word
    assert again.advanced
    assert centre.problems() == []


def test_export_lines_hold_the_exact_record_and_its_hash(centre: Centre, ledger: Ledger) -> None:
    centre.take([*ledger.arrived(1, 2), *ledger.arrived(4, 4)])
    lines = list(centre.store.export_lines("north", "g-1"))
    read = [json.loads(line) for line in lines]
    assert [line["hash"] for line in read] == [ledger.hashes[1].hex(), ledger.hashes[2].hex(), None]
    assert [(line["site"], line["gate"], line["epoch"], line["seq"]) for line in read] == [
        ("north", "g-1", "epoch1", seq) for seq in (1, 2, 4)
    ]
    assert ledger.bodies[3] in lines[2]
    assert list(centre.store.export_lines("south")) == []


def test_a_reader_that_stops_early_gives_its_connection_back(store: Store) -> None:
    centre, ledger = Centre(store), Ledger()
    ledger.write(3000)
    centre.take(ledger.arrived())
    for _ in range(30):
        lines = store.export_lines()
        next(lines)
        lines.close()
    assert centre.take(ledger.arrived()).duplicates == 3000


PLACE = b'"site":"north","gate":"g-1","epoch":"epoch1","seq":'


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"hg.a.v1","data":{"site":"north","gate":"g-1","epoch":"\xff","seq":1}}',
        b'{"type":"hg.a.v1","data":{"site":"\xff","gate":"g-1","epoch":"epoch1","seq":1}}',
        b'{"type":"hg.a.v1","data":{' + PLACE + b'1,"sealed":"\xff"}}',
        b'{"type":"hg.a.v1","data":{' + PLACE + b'1,"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}}",
        b"[" * 20_000,  # deeper than any Python reads
    ],
)
def test_bytes_that_no_reader_can_read_are_kept_as_rejects_beside_the_others(
    centre: Centre, ledger: Ledger, body: bytes
) -> None:
    done = centre.take([*ledger.arrived(), Arrived("north", "g-1", body)])
    assert (len(done.new), done.rejects, centre.store.rejects()) == (10, 1, 1)


@pytest.mark.parametrize(
    "first",
    [
        b'{"type":5,"data":{' + PLACE + b"1}}",
        b'{"type":"hg.\xff.v1","data":{' + PLACE + b"1}}",
        b'{"type":"hg.a.v1","time":"\xff","data":{' + PLACE + b"1}}",
        b'{"type":"hg.a.v1","data":{' + PLACE + b'1,"x":"\xff"}}',
        b'{"type":"hg.epoch.started.v1","data":{' + PLACE + b'1,"previous":{"epoch":"\xff"}}}',
        b'{"type":"hg.epoch.started.v1","data":{' + PLACE + b'1,"previous":5}}',
    ],
)
def test_a_first_record_that_says_nothing_is_proved_like_any_other(centre: Centre, first: bytes) -> None:
    ledger = Ledger()
    ledger.bodies.append(first)
    ledger.hashes.append(link(ledger.hashes[0], first))
    ledger.write(2)
    centre.register(ledger)
    centre.prove(ledger)
    assert centre.standing() == []
    assert centre.problems() == []
