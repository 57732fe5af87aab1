"""Base45 (RFC 9285): bytes in the 45 characters that a QR code stores most densely."""

from __future__ import annotations

ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_VALUE = {character: value for value, character in enumerate(ALPHABET)}


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
    data = bytearray()
    for at in range(0, len(text), 3):
        group = text[at : at + 3]
        try:
            number = sum(_VALUE[character] * 45**place for place, character in enumerate(group))
        except KeyError as fault:
            raise ValueError(f"base45: no such character near {at}") from fault
        size = len(group) - 1
        if number >= 256**size:
            raise ValueError(f"base45: group above its range near {at}")
        data += number.to_bytes(size, "big")
    return bytes(data)
