"""How a gate is made known to the centre: by what `gate identity` prints, or by a certificate.

    {"site": "north", "gate": "g-1", "public_key": "<64 hex>"}

or an X.509 certificate in PEM form with an Ed25519 key, whose common name is `<site>/<gate>`. Who may enrol
is whoever may run the command: the certificate's issuer is not asked for, only its dates are said.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import Certificate, load_pem_x509_certificate
from cryptography.x509.oid import NameOID

from gate.core.codes.model import NAME

TEXT_BYTES_MAX: Final = 64 * 1024
_PEM: Final = b"-----BEGIN CERTIFICATE-----"


class EnrolmentError(ValueError):
    """What names no gate, in a sentence that says what is wrong."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which gate, and the Ed25519 key (32 bytes) that its checkpoints are signed with."""

    site: str
    gate: str
    public_key: bytes


def read_identity(text: bytes, now_ms: int) -> Identity:
    """Return the gate that a line of `gate identity` or a certificate names. Raises EnrolmentError."""
    if len(text) > TEXT_BYTES_MAX:
        raise EnrolmentError("this is too large for the identity of a gate")
    identity = _certified(text, now_ms) if _PEM in text else _stated(text)
    for name in (identity.site, identity.gate):
        if not NAME.fullmatch(name):
            raise EnrolmentError(f"{name!r} is no name of a site or gate: 1 to 32 of A-Z a-z 0-9 _ -")
    try:
        Ed25519PublicKey.from_public_bytes(identity.public_key)
    except ValueError as error:
        raise EnrolmentError("public_key: must be 64 hexadecimal digits") from error
    return identity


def _stated(text: bytes) -> Identity:
    try:
        stated = json.loads(text)
        site, gate, key = stated["site"], stated["gate"], stated["public_key"]
        return Identity(_word(site), _word(gate), bytes.fromhex(key))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EnrolmentError(
            "this is neither a certificate nor what `gate identity` prints: "
            '{"site": …, "gate": …, "public_key": "<64 hex>"}'
        ) from error


def _word(item: object) -> str:
    if isinstance(item, str):
        return item
    raise TypeError("no text")


def _certified(pem: bytes, now_ms: int) -> Identity:
    try:
        certificate = load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except ValueError as error:
        raise EnrolmentError(f"this certificate cannot be read: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise EnrolmentError("the key of this certificate is not Ed25519")
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise EnrolmentError(
            f"this certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d} "
            f"until {certificate.not_valid_after_utc:%Y-%m-%d} only"
        )
    site, _, gate = _common_name(certificate).partition("/")
    return Identity(site, gate, key.public_bytes_raw())


def _common_name(certificate: Certificate) -> str:
    names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(names) != 1 or names[0].count("/") != 1:
        raise EnrolmentError("the common name of this certificate is not <site>/<gate>")
    return names[0]
