"""Base45 against the examples of RFC 9285 and against itself."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.core.codes import base45

# RFC 9285 section 4.3 (encoding) and 4.4 (decoding).
RFC_VECTORS = [
    (b"AB", "BB8"),
    (b"Hello!!", "%69 VD92EX0"),
    (b"base-45", "UJCLQE7W581"),
    (b"ietf!", "QED8WEX0"),
    (b"", ""),
    (b"\x00", "00"),
    (b"\xff\xff", "FGW"),
    (b"\xff", "U5"),
]


@pytest.mark.parametrize(("data", "text"), RFC_VECTORS)
def test_vectors_both_ways(data: bytes, text: str) -> None:
    assert base45.encode(data) == text
    assert base45.decode(text.encode()) == data


@pytest.mark.parametrize(
    "text",
    [
        b"GGW",  # RFC 9285 section 6: 65,536 does not fit two bytes
        b":::",
        b"V5",  # 256 does not fit one byte
        b"::",
        b"B",
        b"BB8B",
        b"0",
        b"BB80",
        b"bb8",
        b"BB\n",
        b"BB8 \x00",
        "BB８".encode(),
    ],
)
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="base45"):
        base45.decode(text)


@settings(deadline=None)  # a busy machine is no fault
@given(st.binary(max_size=300))
def test_round_trip(data: bytes) -> None:
    assert base45.decode(base45.encode(data).encode()) == data


@settings(deadline=None)  # a busy machine is no fault
@given(st.text(alphabet=base45.ALPHABET.decode(), max_size=12))
def test_no_two_texts_for_the_same_bytes(text: str) -> None:
    try:
        data = base45.decode(text.encode())
    except ValueError:
        return
    assert base45.encode(data) == text


def test_the_fullest_qr_code() -> None:
    data = bytes(range(256)) * 11
    text = base45.encode(data)[: 4296 - 4]
    assert data.startswith(base45.decode(text[: len(text) // 3 * 3].encode()))
