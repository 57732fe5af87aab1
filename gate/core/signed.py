"""Signed messages between gate and centre: one line of JSON that anybody can read, and one that proves it.

    {"v":1,"site":"north","gate":"g-1", ...}
    <key id, 8 hexadecimal digits> <Ed25519 signature, base64>

The signature (RFC 8032) covers the purpose of the message and the exact bytes of the first line, so that
nothing has to be spelled anew to be checked, and a message signed for one purpose is none for another.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gate.core.codes.trust import key_id

KID_BYTES: Final = 4
SIGNATURE_BYTES: Final = 64
MESSAGE_BYTES_MAX: Final = 64 * 1024
_DOMAIN: Final = b"health gate, message 1, "


class SignedError(Exception):
    """A message that cannot be believed: `reason` is malformed, too_large, unknown_key or bad_signature."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def sign(private_key: Ed25519PrivateKey, purpose: str, statement: Mapping[str, Any]) -> bytes:
    """Return the message that states this; the same statement always gives the same bytes.

    Raises ValueError when it would be longer than anybody reads.
    """
    line = json.dumps(statement, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    kid = key_id(private_key.public_key().public_bytes_raw()).hex()
    signature = base64.b64encode(private_key.sign(_covered(purpose, line)))
    message = line + b"\n" + kid.encode() + b" " + signature
    if len(message) > MESSAGE_BYTES_MAX:
        raise ValueError(f"the message has more than {MESSAGE_BYTES_MAX} bytes")
    return message


def open_signed(message: bytes, purpose: str, keys: Iterable[bytes]) -> dict[str, Any]:
    """Return what one of these public keys (32 bytes each) has stated for this purpose. SignedError."""
    line, kid, signature = _parts(message)
    known = [key for key in keys if key_id(key) == kid]
    if not known:
        raise SignedError("unknown_key")
    if not any(_signed_by(key, signature, _covered(purpose, line)) for key in known):
        raise SignedError("bad_signature")
    return _statement(line)


def read_unproved(message: bytes) -> dict[str, Any]:
    """Return what a message states, whoever signed it: to be shown or routed, not believed. SignedError."""
    return _statement(_parts(message)[0])


def named_key(message: bytes) -> str:
    """Return the id (8 hex digits) of the key that a message names, believed or not. SignedError."""
    return _parts(message)[1].hex()


def check_version(stated: Mapping[str, Any]) -> None:
    """Raise SignedError unless this is the one version that there is."""
    version = stated.get("v")
    if version != 1 or type(version) is not int:  # True and 1.0 are equal to it
        raise SignedError("malformed")


def _covered(purpose: str, line: bytes) -> bytes:
    return _DOMAIN + purpose.encode() + b"\0" + line


def _parts(message: bytes) -> tuple[bytes, bytes, bytes]:
    if len(message) > MESSAGE_BYTES_MAX:
        raise SignedError("too_large")
    line, _, proof = message.rpartition(b"\n")
    kid, _, text = proof.partition(b" ")
    try:
        signature, raw_kid = base64.b64decode(text, validate=True), bytes.fromhex(kid.decode("ascii"))
    except ValueError as error:
        raise SignedError("malformed") from error
    # There is one spelling of a proof.
    one_spelling = (raw_kid.hex().encode(), base64.b64encode(signature)) == (kid, text)
    if not one_spelling or (len(raw_kid), len(signature)) != (KID_BYTES, SIGNATURE_BYTES):
        raise SignedError("malformed")
    return line, raw_kid, signature


def _signed_by(key: bytes, signature: bytes, covered: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, covered)
    except InvalidSignature:
        return False
    return True


def _statement(line: bytes) -> dict[str, Any]:
    try:
        statement = json.loads(line.decode())
        # Half a surrogate pair can be written in JSON, and in no file or database behind it.
        json.dumps(statement, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise SignedError("malformed") from error
    if not isinstance(statement, dict):
        raise SignedError("malformed")
    return statement
