"""The hash chain: golden values, and nothing that could be moved from one place to another."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from gate.core.chain import HASH_SIZE, genesis, link


def test_golden_values() -> None:
    """Written out by hand: the chain of a ledger in the field must be verifiable for ever."""
    first = hashlib.sha256(b"health-gate ledger 1 genesis\0" + b"00112233aabbccdd").digest()
    assert genesis("00112233aabbccdd") == first
    second = hashlib.sha256(b"health-gate ledger 1 record\0" + first + b'{"n":1}').digest()
    assert link(first, b'{"n":1}') == second
    assert second.hex() == "8b10ae2a1fa5f4ced3cf8578ce927173b78482d0fbf1ac67a09b07df17751a98"


def test_a_hash_has_its_size() -> None:
    assert len(genesis("a")) == len(link(genesis("a"), b"")) == HASH_SIZE


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=6), st.data())
def test_any_change_changes_the_end(bodies: list[bytes], data: st.DataObject) -> None:
    changed = data.draw(st.lists(st.binary(max_size=20), max_size=6).filter(lambda other: other != bodies))
    assert head(bodies) != head(changed)


def test_the_epoch_counts() -> None:
    assert head([b"a"], "one") != head([b"a"], "two")


def head(bodies: list[bytes], epoch: str = "epoch") -> bytes:
    end = genesis(epoch)
    for body in bodies:
        end = link(end, body)
    return end
