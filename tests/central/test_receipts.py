"""Receipts and what they ask for: at_ms never repeats, asking is patient."""

from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.receipts import Asks, Signer
from central.store import StreamState
from gate.core.delivery import Ask, Receipt
from tests.central.streams import S, stream

KEY = Ed25519PrivateKey.generate()
PUBLIC = (KEY.public_key().public_bytes_raw(),)


def opened(message: bytes) -> Receipt:
    return Receipt.opened(message, PUBLIC)


def test_a_receipt_states_what_is_proved_and_nothing_else() -> None:
    [signed] = Signer(KEY).sign(stream(linked=9, proved=4), Ask.NOTHING, 77)
    assert opened(signed.message) == Receipt("north", "g-1", "e1", 4, b"p" * 32, 77)
    assert (signed.topic, signed.retain) == ("hg/1/north/g-1/receipt", True)


def test_one_that_asks_comes_beside_one_that_stays() -> None:
    asking, plain = Signer(KEY).sign(stream(proved=4), Ask.RECORDS, 77)
    assert (plain.retain, opened(plain.message).ask) == (True, Ask.NOTHING)
    assert (asking.retain, opened(asking.message).ask, opened(asking.message).upto) == (False, Ask.RECORDS, 4)


def test_no_two_receipts_of_a_ledger_carry_the_same_instant_whatever_the_clock_does() -> None:
    signer = Signer(KEY)
    stands = stream(receipt_ms=1000)
    times = [signer.sign(stands, Ask.NOTHING, now)[0].receipt.at_ms for now in (500, 500, 2000, 1999)]
    assert times == [1001, 1002, 2000, 2001]
    other = signer.sign(stream(id=2, epoch="e2"), Ask.NOTHING, 500)
    assert other[0].receipt.at_ms == 500


def test_the_receipt_of_a_finished_ledger_does_not_push_its_successor_s_aside() -> None:
    [signed] = Signer(KEY).sign(stream(successor="e2"), Ask.NOTHING, 1)
    assert not signed.retain


def asked(asks: Asks, state: StreamState, seconds: range) -> list[tuple[int, Ask]]:
    return [(at, ask) for at in seconds for _, ask in asks.due([state], at * S)]


def test_missing_records_are_asked_for_when_nothing_comes_and_ever_more_seldom() -> None:
    hole = stream(linked=3, head=10, record_ms=0)
    times = [at for at, ask in asked(Asks(), hole, range(1, 1500)) if ask is Ask.RECORDS]
    assert times[0] == 6
    pauses = [later - sooner for sooner, later in pairwise(times)]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def coming(second: int, linked: int) -> StreamState:
    return stream(linked=linked, top=90 + second, head=1000, record_ms=second * S - 4 * S)


def test_nothing_is_asked_while_the_chain_grows() -> None:
    asks = Asks()
    for second in range(1, 100):
        assert not list(asks.due([coming(second, 3 + second // 4)], second * S))


def test_a_hole_behind_which_records_never_cease_to_come_is_asked_for_too() -> None:
    asks = Asks()
    times = [second for second in range(1, 30) if list(asks.due([coming(second, 3)], second * S))]
    assert times == [6, 11, 21]


def test_progress_makes_the_pauses_short_again() -> None:
    asks = Asks()
    asked(asks, stream(linked=3, head=10), range(1, 100))
    times = [at for at, _ in asked(asks, stream(linked=5, head=10), range(100, 130))]
    assert times == [105, 115]


def test_a_ledger_that_contradicts_its_checkpoints_is_not_asked_in_circles() -> None:
    asks = Asks()
    count = 0
    for tenth in range(6000):  # records come, are found wrong and leave again, ten times a second
        state = stream(linked=10 if tenth % 2 else 3, proved=3, head=10)
        count += asks.allowed(state, tenth * 100)
    assert count <= 9


def test_a_checkpoint_is_asked_for_when_more_has_come_than_is_stated() -> None:
    unproved = stream(linked=10, proved=3, head=3)
    assert asked(Asks(), unproved, range(1, 8)) == [(6, Ask.CHECKPOINT)]
    asks = Asks()
    for second in range(1, 60):  # always a few ahead, but checkpoints come
        assert not list(asks.due([stream(linked=second + 3, head=second)], second * S))


def test_whoever_has_all_proved_is_a_stranger_or_has_a_successor_is_not_asked() -> None:
    whole = stream(linked=10, proved=10, head=10)
    stranger = stream(linked=3, head=10, known=False)
    ended = stream(linked=3, head=10, successor="e2")
    for state in (whole, stranger, ended):
        assert asked(Asks(), state, range(1, 100)) == []
