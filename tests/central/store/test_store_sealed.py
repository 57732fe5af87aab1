import json

from central.people.caller import Caller
from central.people.privacy import Place, erase
from central.store import SEALED_BYTES_MAX, ArrivedSealed
from tests.central.store.ledgers import Centre, Ledger, declare

BLOB = b"sealed name and telephone"


def with_sealed(ledger: Ledger) -> None:
    ledger.write(1, "visit.decided", sealed=declare(BLOB))
    ledger.write(2)


def linked(centre: Centre) -> int:
    state = centre.store.stream("north", "g-1", "epoch1")
    assert state is not None
    return state.linked


def test_a_record_waits_for_the_attachment_that_it_declares(centre: Centre, ledger: Ledger) -> None:
    with_sealed(ledger)
    centre.take(ledger.arrived())
    assert linked(centre) == 10
    state = centre.store.stream("north", "g-1", "epoch1")
    assert state is not None
    assert centre.store.holes(state.id) == [(11, 11)]
    centre.hear(ledger)
    centre.attach(ledger.sealed(11, b"another"))
    assert linked(centre) == 10
    (progress,) = centre.attach(ledger.sealed(11, BLOB)).progress
    assert (progress.state.linked, progress.state.proved, progress.advanced) == (13, 13, True)
    assert centre.store.sealed("north", "g-1", "epoch1", 11) == BLOB
    assert centre.problems() == []


def test_an_attachment_that_comes_first_lets_its_record_through(centre: Centre, ledger: Ledger) -> None:
    with_sealed(ledger)
    assert centre.attach(ledger.sealed(11, BLOB)).duplicates == 0
    assert centre.attach(ledger.sealed(11, BLOB)).duplicates == 1
    centre.take(ledger.arrived())
    assert linked(centre) == 13


def test_a_parked_record_with_an_attachment_is_linked_by_the_backlog(centre: Centre, ledger: Ledger) -> None:
    with_sealed(ledger)
    centre.attach(ledger.sealed(11, BLOB))
    centre.take(ledger.arrived(11, 11))
    centre.take(ledger.arrived())
    assert linked(centre) == 13


def test_an_erased_attachment_is_gone_for_good_and_the_chain_stays_whole(
    centre: Centre, ledger: Ledger
) -> None:
    with_sealed(ledger)
    centre.attach(ledger.sealed(11, BLOB))
    centre.take(ledger.arrived())
    place = Place("north", "g-1", "epoch1", 11)
    assert erase(centre.store, [place], Caller("Li", "asked to be forgotten"), centre.now_ms) == 1
    assert erase(centre.store, [place], Caller("Li", "again"), centre.now_ms) == 0
    assert centre.store.sealed("north", "g-1", "epoch1", 11) is None
    centre.attach(ledger.sealed(11, BLOB))  # the gate sends it once more
    assert centre.store.sealed("north", "g-1", "epoch1", 11) is None
    assert centre.hear(ledger).advanced
    assert centre.problems() == []


def test_what_is_no_attachment_is_rejected(centre: Centre, ledger: Ledger) -> None:
    too_long = ledger.sealed(1, bytes(SEALED_BYTES_MAX + 1)).message
    good = json.loads(ledger.sealed(1, BLOB).message)
    messages = [
        b"", b"[]", b"{" * 9000, too_long,
        *(json.dumps(good | bad).encode() for bad in ({"v": 2}, {"seq": 0}, {"sealed": "?"}, {"epoch": ""})),
    ]  # fmt: skip
    done = centre.attach(*(ArrivedSealed("north", "g-1", message) for message in messages))
    assert done.rejects == len(messages)
    assert centre.store.rejects() == len(messages)
