"""COSE_Sign1 (RFC 9052) on CBOR (RFC 8949) that strangers wrote.

A CBOR library is built to read everything: it recurses, allocates what a length promises, builds dates,
big numbers and regular expressions for tags, and lets the last of two equal keys win. Here every byte is
walked first, without building anything, and only a plain, shallow, finite and unambiguous item is given to
the library.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from gate.core.codes.model import CodeError, Reason

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DEPTH_MAX: Final = 16
"""Items inside items; real certificates reach 5, and cbor2 5.6 raises RecursionError at a few hundred."""

ITEMS_MAX: Final = 2_048
"""Items in all; real certificates have under 100, and a gate's processor passes some 100 in a millisecond."""

ALG: Final = 1
CRIT: Final = 2
KID: Final = 4
"""Header labels, RFC 9052 section 3.1."""

EDDSA: Final = -8
ES256: Final = -7
PS256: Final = -37
"""RFC 9053 sections 2.2 and 2.1, RFC 8230 section 2."""

RSA_BITS_MIN: Final = 2048
"""RFC 8230 section 6.1."""

TAG_SIGN1: Final = b"\xd2"
TAG_CWT: Final = b"\xd8\x3d"
"""Tags 18 and 61 as they stand before a message (RFC 9052 section 2, RFC 8392 section 6)."""

Header = dict[int | str, object]
PublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey


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


def read_cbor(
    data: bytes, *, size_max: int, tags: frozenset[int] = frozenset(), indefinite: bool = False
) -> object:
    """Read exactly one CBOR item of finite numbers and distinct keys, as lists, dicts and plain values.

    The `tags` that are allowed are taken off, so that no library acts on them: a date stays the text or the
    number that it was. Indefinite lengths are read only where `indefinite` says so. Raises `CodeError`:
    too_large above `size_max` bytes or `ITEMS_MAX` items, malformed for everything else.
    """
    if len(data) > size_max:
        raise CodeError(Reason.TOO_LARGE, f"cbor: more than {size_max} bytes")
    walk = _Walk(data, tags, indefinite=indefinite)
    if walk.item(0, DEPTH_MAX) != len(data):
        raise _malformed("bytes after the end")
    try:
        item: object = cbor2.loads(walk.untagged())
    except Exception as fault:  # what the library raises differs by version, and nothing else runs here
        raise _malformed("refused by the library") from fault
    return item


def parse_sign1(data: bytes, *, size_max: int) -> Sign1:
    """Take a COSE_Sign1 apart (RFC 9052 section 4.2), with or without its tag and the tag of a CWT.

    Raises `CodeError`: malformed, too_large, or unsupported for a critical header (none is known here).
    """
    item = read_cbor(data.removeprefix(TAG_CWT).removeprefix(TAG_SIGN1), size_max=size_max)
    message = _sign1(item, size_max=size_max, indefinite=False)
    unprotected = message.unprotected.keys()
    # By these an unsigned value could stand in for a signed one.
    if unprotected & message.protected.keys() or unprotected & {ALG, CRIT}:
        raise _malformed("a header that must be signed is not, or is there twice")
    return message


def parse_foreign_sign1(data: bytes, *, size_max: int) -> Sign1:
    """Take a COSE_Sign1 apart as other people's libraries write it.

    That is with any spelling of the tags 18 and 61, with indefinite lengths, and with headers of all kinds
    among the unprotected ones; of those only a key id may ever be used. Raises as `parse_sign1` does.
    """
    item = read_cbor(data, size_max=size_max, tags=frozenset({18, 61}), indefinite=True)
    return _sign1(item, size_max=size_max, indefinite=True)


def verify_sign1(message: Sign1, key: PublicKey) -> None:
    """Check the signature; the key says which algorithm it must be, and the signed header has to agree.

    EdDSA with Ed25519, ES256 with P-256 only, PS256 with RSA from 2048 bits. Raises `CodeError` with
    bad_signature.
    """
    algorithm = _algorithm(key)
    if algorithm is None or message.protected.get(ALG) != algorithm:
        raise CodeError(Reason.BAD_SIGNATURE, "cose: not the algorithm of the key")
    try:
        _check(key, message.signature, sig_structure(message.protected_raw, message.payload))
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


def _sign1(item: object, *, size_max: int, indefinite: bool) -> Sign1:
    if not isinstance(item, list) or len(item) != 4:
        raise _malformed("not a COSE_Sign1")
    protected_raw, unprotected, payload, signature = item
    if not (isinstance(protected_raw, bytes) and isinstance(payload, bytes) and isinstance(signature, bytes)):
        raise _malformed("not a COSE_Sign1")
    # RFC 9052 section 3: an empty protected header is a byte string of length zero.
    protected: object = {}
    if protected_raw:
        protected = read_cbor(protected_raw, size_max=size_max, indefinite=indefinite)
    message = Sign1(protected_raw, _header(protected), _header(unprotected), payload, signature)
    if CRIT in message.protected:
        raise CodeError(Reason.UNSUPPORTED, "cose: a critical header")
    return message


def _header(item: object) -> Header:
    if not isinstance(item, dict):
        raise _malformed("a header that is not a map")
    return item


def _algorithm(key: PublicKey) -> int | None:
    """Name the one algorithm that a key may be used with, None when it is too weak or of another kind."""
    if isinstance(key, Ed25519PublicKey):
        return EDDSA
    if isinstance(key, EllipticCurvePublicKey):
        return ES256 if isinstance(key.curve, SECP256R1) else None
    return PS256 if key.key_size >= RSA_BITS_MIN else None


def _check(key: PublicKey, signature: bytes, data: bytes) -> None:
    if isinstance(key, Ed25519PublicKey):
        key.verify(signature, data)
    elif isinstance(key, EllipticCurvePublicKey):
        if len(signature) != 64:  # RFC 9053 section 2.1: r and s side by side, never DER
            raise InvalidSignature
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        key.verify(encode_dss_signature(r, s), data, ECDSA(SHA256()))
    else:
        key.verify(signature, data, PSS(MGF1(SHA256()), SHA256.digest_size), SHA256())


_BREAK: Final = b"\xff"


class _Walk:
    """One pass over the bytes of an item that builds nothing.

    Each step takes the place where something starts and returns the place after its end.
    """

    __slots__ = ("_data", "_indefinite", "_items", "_tag_heads", "_tags")

    def __init__(self, data: bytes, tags: frozenset[int], *, indefinite: bool) -> None:
        self._data = data
        self._tags = tags
        self._indefinite = indefinite
        self._items = 0
        self._tag_heads: list[tuple[int, int]] = []

    def untagged(self) -> bytes:
        """Return the bytes without the tags that were met; they stand before an item and change no length."""
        kept, done = bytearray(), 0
        for start, end in self._tag_heads:
            kept += self._data[done:start]
            done = end
        return bytes(kept + self._data[done:]) if done else self._data

    def item(self, at: int, depth: int) -> int:
        if depth == 0:
            raise _malformed(f"deeper than {DEPTH_MAX}")
        self._count()
        major, argument, content = _head(self._data, at)
        if major in {0, 1, 7}:  # of the last, _head lets through only false, true, null and finite floats
            return content
        if major == 6:
            if argument not in self._tags:
                raise _malformed(f"tag {argument}")
            self._tag_heads.append((at, content))
            return self.item(content, depth - 1)
        if argument is None and not self._indefinite:
            raise _malformed("an indefinite length")
        if major <= 3:
            return self._string(major, argument, content)
        return self._list(argument, content, depth) if major == 4 else self._map(argument, content, depth)

    def _count(self) -> None:
        self._items += 1
        if self._items > ITEMS_MAX:
            raise CodeError(Reason.TOO_LARGE, f"cbor: more than {ITEMS_MAX} items")

    def _string(self, major: int, length: int | None, at: int) -> int:
        if length is not None:
            return self._within(at, length)
        return self._repeat(None, at, lambda place: self._chunk(major, place))

    def _chunk(self, major: int, at: int) -> int:
        """Pass a part of a string of indefinite length: of the same kind, and not in parts itself."""
        self._count()
        kind, length, content = _head(self._data, at)
        if kind != major or length is None:
            raise _malformed("a string of odd parts")
        return self._within(content, length)

    def _list(self, count: int | None, at: int, depth: int) -> int:
        return self._repeat(count, at, lambda place: self.item(place, depth - 1))

    def _map(self, count: int | None, at: int, depth: int) -> int:
        seen: set[tuple[int, int | bytes]] = set()

        def pair(place: int) -> int:
            key, place = self._key(place)
            if key in seen:
                raise _malformed("a key twice")
            seen.add(key)
            return self.item(place, depth - 1)

        return self._repeat(count, at, pair)

    def _key(self, at: int) -> tuple[tuple[int, int | bytes], int]:
        major, argument, content = _head(self._data, at)
        # Only whole numbers and texts: 1, 1.0 and true would all be the same key of a dict.
        if major not in {0, 1, 3} or argument is None:
            raise _malformed("a key that is neither number nor text in one piece")
        if major != 3:
            return (major, argument), content
        end = self._within(content, argument)
        return (major, self._data[content:end]), end

    def _repeat(self, count: int | None, at: int, step: Callable[[int], int]) -> int:
        """Take a step so many times, or until the break that ends an indefinite length."""
        if count is None:
            while self._data[at : at + 1] != _BREAK:
                at = step(at)
            return at + 1
        self._within(at, count)  # each item has a byte at least
        for _ in range(count):
            at = step(at)
        return at

    def _within(self, at: int, length: int) -> int:
        if length > len(self._data) - at:
            raise _malformed("shorter than it promises")
        return at + length


_FLOATS: Final = {25: ">e", 26: ">f", 27: ">d"}
_INDEFINITE: Final = 31


def _head(data: bytes, at: int) -> tuple[int, int | None, int]:
    """Read the head of an item (RFC 8949 section 3): major type, argument, place after it.

    The argument of an indefinite length is None.
    """
    if at >= len(data):
        raise _malformed("shorter than it promises")
    major, info = data[at] >> 5, data[at] & 31
    if info == _INDEFINITE and 2 <= major <= 5:
        return major, None, at + 1
    if info > 27:
        raise _malformed("a reserved value or a break out of place")
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
