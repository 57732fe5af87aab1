"""What a visitor says of themselves: taken, sealed for the centre alone, and nowhere repeated."""

import builtins
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey, SealedBox

from gate.core.codes.model import REGISTRATION_FIELDS
from gate.core.inputs import AttendantNoted
from gate.shell.registration import (
    PADDED_TO_BYTES,
    VALUE_CHARS_MAX,
    Registration,
    RegistrationError,
    Sealer,
    as_note,
    no_seal,
    read_registration,
)

CENTRE = PrivateKey(bytes(range(32)))
AT_MS = 1_709_164_800_000
SAID = {"name": "欧阳 修", "phone": "13800138000"}
SEALED_BYTES_MAX = 8192  # beside a record (docs/messages.md)


def sealer(key: bytes = bytes(CENTRE.public_key)) -> Sealer:
    return Sealer("hall", "g1", key, lambda: AT_MS)


def opened(sealed: bytes) -> bytes:
    return bytes(SealedBox(CENTRE).decrypt(sealed))


def test_only_the_centre_reads_it_and_reads_all_of_it() -> None:
    sealed = sealer()(SAID)
    assert json.loads(opened(sealed)) == {
        "v": 1,
        "site": "hall",
        "gate": "g1",
        "at_ms": AT_MS,
        "fields": SAID,
    }
    for value in SAID.values():
        assert value.encode() not in sealed
    stranger = SealedBox(PrivateKey.generate())
    with pytest.raises(Exception, match="decrypt"):
        stranger.decrypt(sealed)


def test_the_same_words_are_sealed_differently_each_time() -> None:
    assert sealer()(SAID) != sealer()(SAID)


def test_the_text_is_canonical_and_then_spaces() -> None:
    text = opened(sealer()({"phone": "1", "name": "é"}))
    assert text.rstrip(b" ") == (
        '{"at_ms":1709164800000,"fields":{"name":"é","phone":"1"},"gate":"g1","site":"hall","v":1}'.encode()
    )
    assert len(text) == PADDED_TO_BYTES


@given(
    st.dictionaries(
        st.sampled_from(REGISTRATION_FIELDS),
        st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp", "Cf"]), max_size=VALUE_CHARS_MAX),
        min_size=1,
    )
)
def test_whatever_may_be_said_fits_and_tells_nothing_by_its_length(said: dict[str, str]) -> None:
    try:
        registration = read_registration(said)
    except RegistrationError as error:
        assert str(error).endswith("must be a text that says something")  # nothing but spaces
        return
    sealed = sealer()(registration.fields)
    assert len(sealed) <= SEALED_BYTES_MAX
    text = opened(sealed)
    assert len(text) % PADDED_TO_BYTES == 0
    assert json.loads(text)["fields"] == {name: value.strip() for name, value in said.items()}


def test_the_longest_that_may_be_said_fits() -> None:
    said = dict.fromkeys(REGISTRATION_FIELDS, "\U0002070e" * VALUE_CHARS_MAX)
    assert len(sealer()(read_registration(said).fields)) <= SEALED_BYTES_MAX


SECRET = "Li Lei"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "must be an object such as"),
        ([SECRET], "must be an object such as"),
        (SECRET, "must be an object such as"),
        ({}, "must be an object such as"),
        ({"surname": SECRET}, "there is a field that is none of name, id_number"),
        ({"name": SECRET, SECRET: "x"}, "there is a field that is none of"),
        ({"name": [SECRET]}, "name: must be a text"),
        ({"name": 7}, "name: must be a text"),
        ({"name": " \u3000 "}, "name: must be a text"),
        ({"phone": SECRET * 34}, "phone: has more than 200 characters"),
        *(
            ({"name": f"{SECRET}{char}x"}, "name: has a character that is no text")
            for char in "\x00\n\r\t\x1b\x7f\x85\u2028\u2029\u202e\u2066\ud800"
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_and_not_repeated(said: Any, why: str) -> None:
    with pytest.raises(RegistrationError) as refused:
        read_registration(said)
    assert why in str(refused.value)
    assert SECRET not in str(refused.value)


def test_two_hundred_characters_and_those_that_names_need_are_taken() -> None:
    said = {"name": "ن\u200cام", "residence": "乡" * VALUE_CHARS_MAX, "phone": f" {'1' * VALUE_CHARS_MAX} "}
    assert read_registration(said).fields == {**said, "phone": "1" * VALUE_CHARS_MAX}


def test_a_registration_does_not_print_itself() -> None:
    assert SECRET not in repr(Registration({"name": SECRET}))


def test_the_gate_is_told_the_fields_and_what_it_cannot_read() -> None:
    note = as_note(Registration(SAID, visit="v1"), lambda fields: json.dumps(fields).encode()[::-1])
    assert note == AttendantNoted(
        registered=frozenset(SAID), visit="v1", sealed=json.dumps(SAID).encode()[::-1]
    )


def test_without_a_centre_it_says_what_to_do() -> None:
    with pytest.raises(RegistrationError, match=r"nothing was kept.*gate desk note --registered.*\[centre\]"):
        as_note(Registration(SAID), no_seal)


@pytest.mark.parametrize("key", [b"", bytes(31)])
def test_a_key_that_is_none_seals_nothing(key: bytes) -> None:
    with pytest.raises(RegistrationError, match="nothing was kept: the key seal"):
        sealer(key)(SAID)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def bare(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("nacl"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", bare)
    with pytest.raises(RegistrationError, match="python3-nacl"):
        sealer()(SAID)
