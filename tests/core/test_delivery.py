"""Checkpoints and receipts: read as they were signed, or refused as malformed."""

import json
from dataclasses import asdict, replace
from importlib.resources import files
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gate.core.chain import genesis
from gate.core.delivery import COUNT_MAX, LABEL_MAX, Ask, Checkpoint, Receipt, Why
from gate.core.signed import SignedError, open_signed, read_unproved, sign

DEVICE = Ed25519PrivateKey.from_private_bytes(b"\x0d" * 32)
CENTRE = Ed25519PrivateKey.from_private_bytes(b"\x0c" * 32)
DEVICE_KEYS = (DEVICE.public_key().public_bytes_raw(),)
CENTRE_KEYS = (CENTRE.public_key().public_bytes_raw(),)
HASH = genesis("00112233aabbccdd")
CHECKPOINT = Checkpoint(
    "hall-east", "g1", "00112233aabbccdd", 9, HASH, 1_700_000_000_000, True, "boot-1", Why.START, 7
)
RECEIPT = Receipt("hall-east", "g1", "00112233aabbccdd", 7, HASH, 1_700_000_000_000)

names = st.text("abcXYZ019_-", min_size=1, max_size=32)
labels = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=LABEL_MAX)
counts = st.integers(0, COUNT_MAX)
hashes = st.binary(min_size=32, max_size=32)


def schema(name: str) -> Draft202012Validator:
    text = files("gate.schemas").joinpath(name).read_text("utf-8")
    return Draft202012Validator(json.loads(text))


def stated_by(message: Checkpoint | Receipt) -> dict[str, Any]:
    return read_unproved(message.signed(DEVICE))


def checkpoint_of(stated: dict[str, Any]) -> Checkpoint:
    return Checkpoint.opened(sign(DEVICE, "checkpoint", stated), DEVICE_KEYS)


def receipt_of(stated: dict[str, Any]) -> Receipt:
    return Receipt.opened(sign(CENTRE, "receipt", stated), CENTRE_KEYS)


def test_what_they_say() -> None:
    """Written out by hand: what the other side reads, whatever its version."""
    assert stated_by(CHECKPOINT) == {
        "v": 1,
        "site": "hall-east",
        "gate": "g1",
        "epoch": "00112233aabbccdd",
        "size": 9,
        "hash": HASH.hex(),
        "at_ms": 1_700_000_000_000,
        "clock_trusted": True,
        "boot_id": "boot-1",
        "why": "start",
        "receipted": 7,
    }
    assert stated_by(replace(RECEIPT, ask=Ask.RECORDS)) == {
        "v": 1,
        "site": "hall-east",
        "gate": "g1",
        "epoch": "00112233aabbccdd",
        "upto": 7,
        "hash": HASH.hex(),
        "at_ms": 1_700_000_000_000,
        "ask": "records",
    }


checkpoints = st.builds(
    Checkpoint,
    names,
    names,
    labels,
    counts,
    hashes,
    counts,
    st.booleans(),
    labels,
    st.sampled_from(Why),
    st.just(0),
)


@given(checkpoints)
def test_a_checkpoint_goes_round(checkpoint: Checkpoint) -> None:
    checkpoint = replace(checkpoint, receipted=checkpoint.size // 2)
    message = checkpoint.signed(DEVICE)
    assert Checkpoint.opened(message, DEVICE_KEYS) == checkpoint
    schema("checkpoint-1.json").validate(read_unproved(message))


@given(st.builds(Receipt, names, names, labels, counts, hashes, counts, st.sampled_from(Ask)))
def test_a_receipt_goes_round(receipt: Receipt) -> None:
    message = receipt.signed(CENTRE)
    assert Receipt.opened(message, CENTRE_KEYS) == receipt
    schema("receipt-1.json").validate(read_unproved(message))


@pytest.mark.parametrize("name", ["checkpoint", "receipt", "command", "sealed"])
def test_the_schemas_are_schemas(name: str) -> None:
    validator = schema(f"{name}-1.json")
    Draft202012Validator.check_schema(validator.schema)
    assert validator.schema["additionalProperties"] is False
    assert set(validator.schema["required"]) == set(validator.schema["properties"])


def test_neither_can_stand_for_the_other() -> None:
    """A gate's key signs no receipts, and what a gate has signed is none."""
    both = {**stated_by(CHECKPOINT), **stated_by(RECEIPT)}
    with pytest.raises(SignedError, match="bad_signature"):
        Receipt.opened(sign(CENTRE, "checkpoint", both), CENTRE_KEYS)
    with pytest.raises(SignedError, match="bad_signature"):
        Checkpoint.opened(sign(DEVICE, "receipt", both), DEVICE_KEYS)
    with pytest.raises(SignedError, match="unknown_key"):
        Receipt.opened(sign(DEVICE, "receipt", both), CENTRE_KEYS)


def test_edges() -> None:
    for receipted in (0, 9):
        assert checkpoint_of(stated_by(CHECKPOINT) | {"receipted": receipted}).receipted == receipted
    assert checkpoint_of(stated_by(CHECKPOINT) | {"size": COUNT_MAX}).size == COUNT_MAX
    assert receipt_of(stated_by(RECEIPT) | {"upto": 0}).upto == 0
    assert checkpoint_of(stated_by(CHECKPOINT) | {"later": "what a later version says"}) == CHECKPOINT
    assert Checkpoint.read(open_signed(CHECKPOINT.signed(DEVICE), "checkpoint", DEVICE_KEYS)) == CHECKPOINT


WRONG: dict[str, list[Any]] = {
    "v": [2, None, True],
    "site": ["", "a b", "x" * 33, "大厅", 1, None],
    "gate": ["", "a/b", "x" * 33, "+", ["g1"]],
    "epoch": ["", "x" * 65, "a\nb", "é", 1],
    "hash": ["", HASH.hex()[:-2], HASH.hex() + "00", HASH.hex().upper(), HASH.hex()[:-1] + "g", 1, None],
    "at_ms": [-1, COUNT_MAX + 1, 1.5, "1", True, None],
}
WRONG_CHECKPOINT = WRONG | {
    "size": [-1, COUNT_MAX + 1, 8.0, "9", True, 6],  # 6 is less than what is receipted
    "receipted": [-1, 10, True, "7"],
    "clock_trusted": [1, 0, "true", None],
    "boot_id": ["", "x" * 65, "a\tb", None],
    "why": ["", "START", "whim", 1, None],
}
WRONG_RECEIPT = WRONG | {
    "upto": [-1, COUNT_MAX + 1, 7.0, True, None],
    "ask": ["", "everything", 1, None],
}


def cases(table: dict[str, list[Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("field", "value"), [(field, value) for field, values in table.items() for value in values]
    )


@cases(WRONG_CHECKPOINT)
def test_a_checkpoint_with_a_wrong_field_is_malformed(field: str, value: object) -> None:
    with pytest.raises(SignedError, match="malformed"):
        checkpoint_of(stated_by(CHECKPOINT) | {field: value})


@cases(WRONG_RECEIPT)
def test_a_receipt_with_a_wrong_field_is_malformed(field: str, value: object) -> None:
    with pytest.raises(SignedError, match="malformed"):
        receipt_of(stated_by(RECEIPT) | {field: value})


def test_a_field_that_is_missing_is_missed() -> None:
    for field in asdict(CHECKPOINT).keys() | {"v"}:
        with pytest.raises(SignedError, match="malformed"):
            checkpoint_of({name: value for name, value in stated_by(CHECKPOINT).items() if name != field})
    for field in asdict(RECEIPT).keys() | {"v"}:
        with pytest.raises(SignedError, match="malformed"):
            receipt_of({name: value for name, value in stated_by(RECEIPT).items() if name != field})


anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | labels
    | st.just([])
)
fields = st.sampled_from(sorted(WRONG_CHECKPOINT.keys() | WRONG_RECEIPT.keys()))


@given(st.dictionaries(fields, anything, max_size=3))
def test_whatever_is_signed_is_read_or_malformed_and_fits_its_schema(changes: dict[str, Any]) -> None:
    for kind, opened, stated in (
        ("checkpoint", checkpoint_of, stated_by(CHECKPOINT)),
        ("receipt", receipt_of, stated_by(RECEIPT)),
    ):
        given_ = stated | {name: value for name, value in changes.items() if name in stated}
        try:
            opened(given_)
        except SignedError as error:
            assert error.reason == "malformed"
        else:
            schema(f"{kind}-1.json").validate(given_)
