"""Batches: the records that went in, in their order, or a refusal, within bounded time and memory."""

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.core.batches import BATCH_BYTES_MAX, BATCH_RECORDS_MAX, BatchError, pack, unpack
from gate.core.events import BODY_BYTES_MAX

bodies = st.binary(max_size=300).map(lambda raw: raw.replace(b"\n", b" "))


@given(st.lists(bodies, min_size=1, max_size=BATCH_RECORDS_MAX))
def test_round_trip(records: list[bytes]) -> None:
    assert unpack(pack(records)) == records


def test_as_many_records_as_there_may_be_of_the_greatest_size_fit() -> None:
    records = [b"x" * BODY_BYTES_MAX] * BATCH_RECORDS_MAX
    assert unpack(pack(records)) == records


@pytest.mark.parametrize("count", [0, BATCH_RECORDS_MAX + 1])
def test_fewer_and_more_are_not_packed(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 100 records"):
        pack([b"x"] * count)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"no zlib",
        pack([b"x"])[:-1],
        pack([b"x"]) + b"y",
        pack([b"x"]) + pack([b"y"]),
        zlib.compress(b"\n" * BATCH_RECORDS_MAX),
        zlib.compress(b"x" * (BATCH_BYTES_MAX + 1)),
        bytes([*pack([b"x"])[:-1], 0]),  # the checksum
    ],
)
def test_what_is_no_batch_is_refused(message: bytes) -> None:
    with pytest.raises(BatchError):
        unpack(message)


def test_the_greatest_batch_is_read_to_its_last_byte() -> None:
    assert unpack(zlib.compress(b"x" * BATCH_BYTES_MAX)) == [b"x" * BATCH_BYTES_MAX]


@pytest.mark.parametrize("byte", [b"\0", b"\n"])
def test_a_bomb_takes_no_more_memory_than_a_batch(byte: bytes) -> None:
    bomb = zlib.compress(byte * (30 * BATCH_BYTES_MAX), 9)
    tracemalloc.start()
    try:
        with pytest.raises(BatchError):
            unpack(bomb)
        assert tracemalloc.get_traced_memory()[1] < 5 * BATCH_BYTES_MAX
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200) | st.binary(max_size=200).map(zlib.compress))
def test_any_bytes_are_a_batch_or_refused(message: bytes) -> None:
    try:
        records = unpack(message)
    except BatchError:
        return
    assert pack(records)
