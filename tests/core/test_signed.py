"""Signed messages: what one key has said for one purpose, or a refusal with its reason."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gate.core.codes.trust import key_id
from gate.core.signed import (
    MESSAGE_BYTES_MAX,
    SignedError,
    check_version,
    named_key,
    open_signed,
    read_unproved,
    sign,
)

CENTRE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
KEY = CENTRE.public_key().public_bytes_raw()
STRANGERS_KEY = STRANGER.public_key().public_bytes_raw()
STATEMENT = {"v": 1, "site": "大厅", "upto": 7}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
statements = st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts, max_size=6)


def refusal(message: bytes, purpose: str = "receipt", keys: tuple[bytes, ...] = (KEY,)) -> str:
    with pytest.raises(SignedError) as refused:
        open_signed(message, purpose, keys)
    return refused.value.reason


def signed_line(line: bytes, purpose: str = "receipt", key: Ed25519PrivateKey = CENTRE) -> bytes:
    """Sign any bytes as the module does, written out by hand."""
    signature = key.sign(b"health gate, message 1, " + purpose.encode() + b"\0" + line)
    kid = key_id(key.public_key().public_bytes_raw()).hex().encode()
    return line + b"\n" + kid + b" " + base64.b64encode(signature)


def test_the_bytes_are_what_they_were() -> None:
    """Messages of one version must be readable by the other side whatever its version."""
    message = sign(CENTRE, "receipt", {"v": 1, "upto": 7})
    assert message == signed_line(b'{"v":1,"upto":7}')
    assert message == (
        b'{"v":1,"upto":7}\n56475aa7 '
        b"bdKXp8mY0YCGV96cO1XIkdpdxJeZxgUajrkCUovsfUP3/yK9wNvJI5tgE79r"
        b"wAYqgQB+KVK6Jbhkoid8bZ2KCA=="
    )


@given(statements)
def test_round_trip(statement: dict[str, Any]) -> None:
    message = sign(CENTRE, "receipt", statement)
    assert open_signed(message, "receipt", (STRANGERS_KEY, KEY)) == statement
    assert read_unproved(message) == statement
    assert message.count(b"\n") == 1


def test_a_message_for_one_purpose_is_none_for_another() -> None:
    for made, asked in (("receipt", "command"), ("command", "checkpoint"), ("checkpoint", "receipt")):
        message = sign(CENTRE, made, STATEMENT)
        assert refusal(message, asked) == "bad_signature"
        assert open_signed(message, made, (KEY,)) == STATEMENT


def test_the_purpose_does_not_run_into_the_statement() -> None:
    """What follows the purpose cannot be read as a part of it."""
    assert refusal(signed_line(b"\0" + b'{"v":1}', "receip")) in {"bad_signature", "malformed"}
    assert refusal(sign(CENTRE, "receipts", STATEMENT)) == "bad_signature"


def test_nobody_known_has_signed_it() -> None:
    message = sign(STRANGER, "receipt", STATEMENT)
    assert refusal(message) == "unknown_key"
    assert refusal(message, keys=()) == "unknown_key"
    assert message.rpartition(b"\n")[2].startswith(named_key(message).encode() + b" ")


def test_a_stranger_cannot_take_the_name_of_a_known_key() -> None:
    line, _, proof = sign(STRANGER, "receipt", STATEMENT).partition(b"\n")
    assert refusal(line + b"\n" + key_id(KEY).hex().encode() + proof[8:]) == "bad_signature"


def test_of_two_keys_with_one_name_the_right_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gate.core.signed.key_id", lambda _key: b"same")
    message = sign(CENTRE, "receipt", STATEMENT)
    assert open_signed(message, "receipt", (STRANGERS_KEY, KEY)) == STATEMENT
    assert refusal(message, keys=(STRANGERS_KEY,)) == "bad_signature"


def test_every_flipped_bit_is_found() -> None:
    message = sign(CENTRE, "receipt", STATEMENT)
    for place in range(len(message)):
        for bit in (1, 32, 128):
            changed = bytearray(message)
            changed[place] ^= bit
            assert refusal(bytes(changed)) in {"bad_signature", "malformed", "unknown_key"}


def test_every_cut_is_found() -> None:
    message = sign(CENTRE, "receipt", STATEMENT)
    for length in range(len(message)):
        assert refusal(message[:length]) in {"bad_signature", "malformed"}


@pytest.mark.parametrize(
    "change",
    [
        lambda line, kid, text: line + b"\n" + kid.upper() + b" " + text,
        lambda line, kid, text: line + b"\n" + kid + b"  " + text,
        lambda line, kid, text: line + b"\n" + kid + b" " + text + b"\n",
        lambda line, kid, text: line + b"\n" + kid + b" " + text.rstrip(b"="),
        lambda line, kid, text: line + b"\n" + kid[:2] + b" " + kid[2:] + b" " + text,
        lambda line, kid, text: line + b"\n" + kid[:6] + b" " + text,
        lambda line, kid, text: line + b"\n" + "ёё".encode() + kid[4:] + b" " + text,
        lambda line, kid, text: line + b"\n" + kid + b" " + base64.b64encode(b"\0" * 63),
        lambda line, kid, text: line + b"\n" + kid + b" " + base64.b64encode(b"\0" * 65),
        lambda line, kid, text: line + b" " + kid + b" " + text,
        lambda line, kid, text: b"",
    ],
)
def test_a_proof_has_one_spelling(change: Any) -> None:
    line, _, proof = sign(STRANGER, "receipt", STATEMENT).partition(b"\n")
    kid, _, text = proof.partition(b" ")
    assert kid != kid.upper()
    assert refusal(change(line, kid, text), keys=(STRANGERS_KEY,)) == "malformed"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"7",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b'{"v":1}x',
        b'{"v":"\xff"}',
        '{"v":1}'.encode("utf-16"),
        b"\xef\xbb\xbf" + b'{"v":1}',
        b'{"site":"\\ud800"}',  # half a surrogate pair: no file takes it
        b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",  # deeper than any Python reads
        b'{"upto":' + b"9" * 5000 + b"}",  # longer than Python reads
    ],
)
def test_what_is_signed_and_no_statement_is_malformed(line: bytes) -> None:
    message = signed_line(line)
    assert refusal(message) == "malformed"
    with pytest.raises(SignedError, match="malformed"):
        read_unproved(message)


def test_the_longest_message_is_read_and_no_longer_one() -> None:
    overhead = len(sign(CENTRE, "receipt", {"text": ""}))
    longest = {"text": "a" * (MESSAGE_BYTES_MAX - overhead)}
    message = sign(CENTRE, "receipt", longest)
    assert len(message) == MESSAGE_BYTES_MAX
    assert open_signed(message, "receipt", (KEY,)) == longest
    with pytest.raises(ValueError, match="65536 bytes"):
        sign(CENTRE, "receipt", {"text": longest["text"] + "a"})
    assert refusal(signed_line(message)) == "too_large"
    with pytest.raises(SignedError, match="too_large"):
        read_unproved(b" " + message)


def test_what_json_cannot_say_is_not_signed() -> None:
    with pytest.raises(ValueError, match="JSON"):
        sign(CENTRE, "receipt", {"at": float("nan")})
    with pytest.raises(ValueError, match="surrogates"):
        sign(CENTRE, "receipt", {"site": "\ud800"})


@pytest.mark.parametrize("stated", [{}, {"v": 0}, {"v": 2}, {"v": "1"}, {"v": None}, {"v": True}, {"v": 1.0}])
def test_another_version_is_not_read(stated: dict[str, Any]) -> None:
    with pytest.raises(SignedError, match="malformed"):
        check_version(stated)


def test_this_version_is_read() -> None:
    check_version({"v": 1})


@given(
    st.binary(max_size=200)
    | st.builds(lambda line, tail: line + b"\n" + tail, st.binary(max_size=80), st.binary(max_size=120))
    | st.builds(lambda line: signed_line(line, key=STRANGER), st.binary(max_size=80))
)
def test_any_bytes_are_refused_with_a_reason(message: bytes) -> None:
    assert refusal(message) in {"malformed", "unknown_key", "bad_signature"}


@given(st.binary(max_size=120) | st.builds(lambda item: json.dumps(item).encode(), st.integers() | st.text()))
def test_any_signed_bytes_are_a_statement_or_malformed(line: bytes) -> None:
    try:
        statement = open_signed(signed_line(line), "receipt", (KEY,))
    except SignedError as error:
        assert error.reason == "malformed"
    else:
        assert isinstance(statement, dict)
