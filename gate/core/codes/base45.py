"""Base45 (RFC 9285): bytes in the 45 characters that a QR code stores most densely."""

from __future__ import annotations

import struct

ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_FOREIGN = 0xFF
_VALUES = bytes(ALPHABET.find(character) % 256 for character in range(256))
"""The value of each character; -1 of `find` becomes _FOREIGN."""


def encode(data: bytes) -> str:
    """Encode bytes: two become three characters, a last single one becomes two (RFC 9285 section 4)."""
    digits: list[int] = []
    for at in range(0, len(data), 2):
        pair = data[at : at + 2]
        rest, low = divmod(int.from_bytes(pair, "big"), 45)
        digits += (low, rest % 45, rest // 45) if len(pair) == 2 else (low, rest)
    return bytes(ALPHABET[digit] for digit in digits).decode("ascii")


def decode(text: bytes) -> bytes:
    """Decode strictly, so that no two texts give the same bytes.

    Raises ValueError on a foreign character, an impossible length, or a group above its range.
    """
    if len(text) % 3 == 1:
        raise ValueError("base45: one character is left over")
    values = text.translate(_VALUES)
    if _FOREIGN in values:
        raise ValueError(f"base45: no such character at {values.index(_FOREIGN)}")
    pairs = [
        low + 45 * middle + 2025 * high
        for low, middle, high in zip(values[::3], values[1::3], values[2::3], strict=False)
    ]
    single = [values[-2] + 45 * values[-1]] if len(text) % 3 else []
    try:
        return struct.pack(f">{len(pairs)}H{len(single)}B", *pairs, *single)
    except struct.error as fault:
        raise ValueError("base45: a group above its range") from fault
