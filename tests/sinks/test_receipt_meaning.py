"""What a receipt means, for every way in which it can stand to what is known."""

from dataclasses import replace

from pytest import mark

from gate.core.delivery import Receipt
from gate.ports import Head, Held
from gate.sinks.receipts import Meaning, meaning

HASH = b"h" * 32
HEAD = Head("e0", 100, HASH)
HELD = Held("e0", 50, HASH, 1000)
RECEIPT = Receipt("county", "north-1", "e0", 60, HASH, 1001)


def of(receipt: Receipt, held: Held | None = HELD, own_hash: bytes | None = HASH) -> Meaning:
    return meaning(receipt, head=HEAD, held=held, own_hash=own_hash)


@mark.parametrize(
    ("upto", "at_ms", "means"),
    [
        (60, 1001, Meaning.NEWS),
        (60, 1000, Meaning.NEWS),
        (60, 999, Meaning.OUTDATED),
        (50, 1001, Meaning.REPEATED),
        (50, 1000, Meaning.REPEATED),
        (50, 999, Meaning.OUTDATED),
        (40, 1001, Meaning.WENT_BACK),
        (40, 1000, Meaning.OUTDATED),
        (40, 999, Meaning.OUTDATED),
        (100, 1001, Meaning.NEWS),
        (101, 1001, Meaning.BEYOND),
        (101, 1, Meaning.BEYOND),
    ],
)
def test_place_and_time(upto: int, at_ms: int, means: Meaning) -> None:
    assert of(replace(RECEIPT, upto=upto, at_ms=at_ms)) is means


def test_the_first_receipt_is_news_wherever_it_reaches() -> None:
    assert {of(replace(RECEIPT, upto=upto), held=None) for upto in (0, 60, 100)} == {Meaning.NEWS}


@mark.parametrize("upto", [0, 40, 50, 60, 100])
@mark.parametrize("at_ms", [1, 1000, 2000])
def test_another_hash_is_another_ledger_at_any_time(upto: int, at_ms: int) -> None:
    assert of(replace(RECEIPT, upto=upto, at_ms=at_ms), own_hash=b"x" * 32) is Meaning.DIFFERS


@mark.parametrize("upto", [0, 60, 101])
def test_another_epoch_means_nothing(upto: int) -> None:
    assert of(replace(RECEIPT, upto=upto, epoch="e1"), own_hash=b"x" * 32) is Meaning.FOREIGN


def test_what_is_no_longer_here_cannot_be_compared() -> None:
    assert of(replace(RECEIPT, upto=10), own_hash=None) is Meaning.WENT_BACK
    assert of(replace(RECEIPT, upto=10, at_ms=1), own_hash=None) is Meaning.OUTDATED


def test_only_what_cannot_be_is_a_disagreement() -> None:
    assert {means for means in Meaning if means.disagrees} == {Meaning.BEYOND, Meaning.DIFFERS}
