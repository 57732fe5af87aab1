"""Sorting what arrives: whatever the bytes, nothing raises, and a topic is believed only as a whole."""

import json

from hypothesis import given
from hypothesis import strategies as st

from central.inbox import Message
from central.intake import Sorted, Stated, sort
from central.store import Arrived, ArrivedSealed
from gate.core.batches import pack

LEAVES = ["ev", "ev/batch", "sealed", "checkpoint", "state", "receipt", "ev/more", ""]


def sorted_(*messages: tuple[str, bytes]) -> Sorted:
    return sort(Message(topic, payload, False, 1, 1, 0.0) for topic, payload in messages)


def test_each_leaf_goes_its_way() -> None:
    found = sorted_(
        ("hg/1/north/g-1/ev", b"one"),
        ("hg/1/north/g-1/ev/batch", pack([b"two", b"three"])),
        ("hg/1/north/g-1/sealed", b"secret"),
        ("hg/1/north/g-1/checkpoint", b"signed"),
        ("hg/1/north/g-1/state", b'{"v":1,"state":"ready"}'),
    )
    assert found.records == [Arrived("north", "g-1", body) for body in (b"one", b"two", b"three")]
    assert found.sealed == [ArrivedSealed("north", "g-1", b"secret")]
    assert [signed.message for signed in found.checkpoints] == [b"signed"]
    assert found.states == [Stated("north", "g-1", "ready")]
    assert found.strays == 0


def test_a_mode_is_a_word_that_gates_say_or_none() -> None:
    place = "hg/1/north/g-1/state"
    bodies = [
        json.dumps({"state": "ready", "mode": mode}).encode() for mode in ("fault", "asleep", ["fault"], None)
    ]
    found = sorted_(*((place, body) for body in bodies))
    assert [stated.mode for stated in found.states] == ["fault", "", "", ""]
    assert found.strays == 0


def test_a_checkpoint_that_comes_twice_in_a_batch_is_judged_once_and_an_empty_one_never() -> None:
    place = "hg/1/north/g-1/checkpoint"
    found = sorted_((place, b"a"), (place, b"b"), (place, b"a"), (place, b""))
    assert [signed.message for signed in found.checkpoints] == [b"a", b"b"]


def test_a_batch_that_is_none_is_kept_as_it_came() -> None:
    assert sorted_(("hg/1/north/g-1/ev/batch", b"junk")).records == [Arrived("north", "g-1", b"junk")]


def test_topics_that_are_not_ours_are_strays() -> None:
    names = [
        "",
        "hg/1/north/g-1",
        "hg/2/north/g-1/ev",
        "hg/1/n rth/g-1/ev",
        "hg/1/north//ev",
        "x/hg/1/a/b/ev",
    ]
    found = sorted_(*((name, b"{}") for name in names), ("hg/1/north/g-1/receipt", b"{}"))
    assert found == Sorted(strays=7)


@given(st.lists(st.tuples(st.sampled_from(LEAVES), st.binary(max_size=200)), max_size=20))
def test_nothing_that_arrives_raises(arrived: list[tuple[str, bytes]]) -> None:
    sorted_(*((f"hg/1/north/g-1/{leaf}", payload) for leaf, payload in arrived))


@given(st.recursive(st.none() | st.text() | st.integers(), lambda kids: st.dictionaries(st.text(), kids)))
def test_a_state_is_one_of_three_words(stated: object) -> None:
    found = sorted_(("hg/1/north/g-1/state", json.dumps({"state": stated}).encode()))
    assert not found.states
    assert found.strays == 1
