"""COSE_Sign1 (RFC 9052) on CBOR (RFC 8949) that strangers wrote.

A CBOR library is built to read everything: it recurses, allocates what a length promises, builds dates,
big numbers and regular expressions for tags, and lets the last of two equal keys win. Here every byte is
walked first, without building anything, and only a plain, shallow, finite and unambiguous item is given to
the library.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cbor2
from cryptography.exceptions import InvalidSignature

from gate.core.codes.model import CodeError, Reason

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

DEPTH_MAX: Final = 16
"""Items inside items; real certificates reach 5, and cbor2 5.6 raises RecursionError at a few hundred."""

ALG: Final = 1
CRIT: Final = 2
KID: Final = 4
"""Header labels, RFC 9052 section 3.1."""

EDDSA: Final = -8
"""RFC 9053 section 2.2."""

TAG_SIGN1: Final = b"\xd2"
TAG_CWT: Final = b"\xd8\x3d"
"""Tags 18 and 61 as they stand before a message (RFC 9052 section 2, RFC 8392 section 6)."""

Header = dict[int | str, object]


@dataclass(frozen=True, slots=True)
class Sign1:
    """One COSE_Sign1 message, its protected header both as signed and as read."""

    protected_raw: bytes
    protected: Header
    unprotected: Header
    payload: bytes
    signature: bytes

    def encoded(self) -> bytes:
        """Write the message the one shortest way, with tag 18."""
        parts = [self.protected_raw, self.unprotected, self.payload, self.signature]
        return TAG_SIGN1 + cbor2.dumps(parts)


def read_cbor(data: bytes, *, size_max: int, tags: frozenset[int] = frozenset()) -> object:
    """Read exactly one CBOR item made of definite lengths, finite numbers, distinct keys and allowed tags.

    Raises `CodeError`: too_large above `size_max` bytes, malformed for everything else. Inside a tag, newer
    versions of cbor2 return tuples and frozen maps; outside of tags there are lists and dicts only.
    """
    if len(data) > size_max:
        raise CodeError(Reason.TOO_LARGE, f"cbor: more than {size_max} bytes")
    if _walk(data, 0, DEPTH_MAX, tags) != len(data):
        raise _malformed("bytes after the end")
    try:
        item: object = cbor2.loads(data)
    except Exception as fault:  # what the library raises differs by version, and nothing else runs here
        raise _malformed("refused by the library") from fault
    return item


def parse_sign1(data: bytes, *, size_max: int) -> Sign1:
    """Take a COSE_Sign1 apart (RFC 9052 section 4.2), with or without its tag and the tag of a CWT.

    Raises `CodeError`: malformed, too_large, or unsupported for a critical header (none is known here).
    """
    item = read_cbor(data.removeprefix(TAG_CWT).removeprefix(TAG_SIGN1), size_max=size_max)
    if not isinstance(item, list) or len(item) != 4:
        raise _malformed("not a COSE_Sign1")
    protected_raw, unprotected, payload, signature = item
    if not (isinstance(protected_raw, bytes) and isinstance(payload, bytes) and isinstance(signature, bytes)):
        raise _malformed("not a COSE_Sign1")
    # RFC 9052 section 3: an empty protected header is a byte string of length zero.
    protected = _header(read_cbor(protected_raw, size_max=size_max) if protected_raw else {})
    message = Sign1(protected_raw, protected, _header(unprotected), payload, signature)
    _check_headers(message)
    return message


def verify_sign1(message: Sign1, key: Ed25519PublicKey) -> None:
    """Check the signature; the key says which algorithm it must be, and the message has to agree.

    Raises `CodeError` with bad_signature.
    """
    if message.protected.get(ALG) != EDDSA:
        raise CodeError(Reason.BAD_SIGNATURE, "cose: not the algorithm of the key")
    try:
        key.verify(message.signature, sig_structure(message.protected_raw, message.payload))
    except InvalidSignature as fault:
        raise CodeError(Reason.BAD_SIGNATURE) from fault


def create_sign1(key: Ed25519PrivateKey, kid: bytes, payload: bytes) -> Sign1:
    """Sign a payload with EdDSA, with algorithm and key id both under the signature."""
    protected: Header = {ALG: EDDSA, KID: kid}
    protected_raw = cbor2.dumps(protected)
    signature = key.sign(sig_structure(protected_raw, payload))
    return Sign1(protected_raw, protected, {}, payload, signature)


def sig_structure(protected_raw: bytes, payload: bytes) -> bytes:
    """Return the bytes that are signed: Sig_structure of RFC 9052 section 4.4, without external data."""
    return cbor2.dumps(["Signature1", protected_raw, b"", payload])


def _malformed(detail: str) -> CodeError:
    return CodeError(Reason.MALFORMED, f"cbor: {detail}")


def _header(item: object) -> Header:
    if not isinstance(item, dict):
        raise _malformed("a header that is not a map")
    return item


def _check_headers(message: Sign1) -> None:
    """Refuse headers by which an unsigned value could stand in for a signed one."""
    unprotected = message.unprotected.keys()
    if unprotected & message.protected.keys() or unprotected & {ALG, CRIT}:
        raise _malformed("a header that must be signed is not, or is there twice")
    if CRIT in message.protected:
        raise CodeError(Reason.UNSUPPORTED, "cose: a critical header")


# The walk. Each step takes the place where an item starts and returns the place after its end.


def _walk(data: bytes, at: int, depth: int, tags: frozenset[int]) -> int:
    if depth == 0:
        raise _malformed(f"deeper than {DEPTH_MAX}")
    major, argument, at = _head(data, at)
    if major <= 1:
        return at
    if major == 7:
        return at  # _head has let through only false, true, null and finite floats
    if major == 6:
        if argument not in tags:
            raise _malformed(f"tag {argument}")
        return _walk(data, at, depth - 1, tags)
    if argument > len(data) - at:
        raise _malformed("shorter than it promises")
    if major <= 3:
        return at + argument
    if major == 4:
        for _ in range(argument):
            at = _walk(data, at, depth - 1, tags)
        return at
    return _walk_map(data, at, depth, tags, argument)


def _walk_map(data: bytes, at: int, depth: int, tags: frozenset[int], pairs: int) -> int:
    seen: set[tuple[int, int | bytes]] = set()
    for _ in range(pairs):
        major, argument, content = _head(data, at)
        # Only whole numbers and texts: 1, 1.0 and true would all be the same key of a dict.
        if major not in {0, 1, 3}:
            raise _malformed("a key that is neither number nor text")
        at = _walk(data, at, depth - 1, tags)
        key = (major, data[content:at] if major == 3 else argument)
        if key in seen:
            raise _malformed("a key twice")
        seen.add(key)
        at = _walk(data, at, depth - 1, tags)
    return at


_FLOATS: Final = {25: ">e", 26: ">f", 27: ">d"}


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Read the head of an item (RFC 8949 section 3): major type, argument, place after it."""
    if at >= len(data):
        raise _malformed("shorter than it promises")
    major, info = data[at] >> 5, data[at] & 31
    if info > 27:
        raise _malformed("an indefinite length or a reserved value")
    size = 0 if info < 24 else 1 << (info - 24)
    raw = data[at + 1 : at + 1 + size]
    if len(raw) < size:
        raise _malformed("shorter than it promises")
    if major == 7:
        _check_simple(info, raw)
    return major, int.from_bytes(raw, "big") if size else info, at + 1 + size


def _check_simple(info: int, raw: bytes) -> None:
    if info in {20, 21, 22}:  # false, true, null
        return
    # NaN is dangerous as a time: "exp < now" is false for it, so that it would never expire.
    if info not in _FLOATS or not math.isfinite(struct.unpack(_FLOATS[info], raw)[0]):
        raise _malformed("a simple value or a number that is not finite")
