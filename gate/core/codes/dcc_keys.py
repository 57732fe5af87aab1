"""The certificates that sign EU Digital COVID Certificates, as keys that a gate can look up.

Certificates are taken apart here instead of by a library for X.509: states have issued signers that a strict
parser refuses (a default value written out, an empty list of purposes), and only three things of them count.
Whether a signer may be believed is decided by the list that it stands on, not by dates or chains in it
(Electronic Health Certificate Specification 1.0.8, section 5.1).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from gate.core.codes.model import Credential

DCC_KINDS: Final = frozenset({Credential.VACCINATION, Credential.TEST, Credential.RECOVERY})

COUNTRY: Final = re.compile(r"[A-Z]{2}")
"""ISO 3166-1 alpha-2."""


@dataclass(frozen=True, slots=True)
class DocumentSigner:
    """One document signer certificate.

    `country`: the issuer that it may sign for (ISO 3166-1 alpha-2), None for whichever one a code names.
    `usages`: what it may sign, of vaccination, test and recovery.
    """

    country: str | None
    kid: bytes
    public_key: EllipticCurvePublicKey | RSAPublicKey
    usages: frozenset[Credential]


def read_signer(certificate: bytes) -> DocumentSigner:
    """Read a certificate (X.509, DER): its key, the country of its subject if any, and what it may sign.

    The key id is the one of the specification, section A.1: 8 bytes of the SHA-256 of the certificate.
    Raises ValueError with a sentence.
    """
    try:
        subject, key_info, extensions = _parts(certificate)
        country, usages = _country(subject), _usages(extensions)
    except _DerError as fault:
        raise ValueError(f"is not a certificate that can be read ({fault})") from fault
    try:
        key = load_der_public_key(key_info)
    except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise ValueError(f"has a public key that cannot be read ({fault})") from fault
    if not isinstance(key, EllipticCurvePublicKey | RSAPublicKey):
        raise ValueError("has a public key that is neither elliptic curve nor RSA")  # noqa: TRY004 - of a file
    return DocumentSigner(country, hashlib.sha256(certificate).digest()[:8], key, usages)


# Object identifiers as their encoded bytes, which saves decoding them.
_OID_COUNTRY: Final = bytes.fromhex("550406")
_OID_EXTENDED_KEY_USAGE: Final = bytes.fromhex("551d25")

# 1.3.6.1.4.1.1847.2021.1.x (specification, section A.4), and with a 0 before 1847 as first published.
_ARCS: Final = (bytes.fromhex("2b060104018e378f6501"), bytes.fromhex("2b06010401008e378f6501"))
_LEAVES: Final = {1: Credential.TEST, 2: Credential.VACCINATION, 3: Credential.RECOVERY}
_PURPOSES: Final = {arc + bytes([leaf]): kind for arc in _ARCS for leaf, kind in _LEAVES.items()}


class _DerError(ValueError):
    """Bytes that are not the DER that was expected."""


_OCTETS, _OID, _SEQUENCE, _SET = 0x04, 0x06, 0x30, 0x31
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_LONG_TAG = 0x1F

Element = tuple[int, bytes, bytes]
"""Tag, content, and the whole with its head."""


def _elements(data: bytes) -> Iterator[Element]:
    """Yield the elements that stand side by side (X.690 sections 8.1 and 10.1)."""
    at = 0
    while at < len(data):
        tag, start = data[at], at + 2
        length = int.from_bytes(data[at + 1 : start], "big")
        if length >= 0x80:
            start += length - 0x80
            length = int.from_bytes(data[at + 2 : start], "big")
        end = start + length
        if tag & _LONG_TAG == _LONG_TAG or end > len(data):
            raise _DerError("cut off or not DER")
        yield tag, data[start:end], data[at:end]
        at = end


def _inside(element: Element, tag: int) -> list[Element]:
    if element[0] != tag:
        raise _DerError(f"tag {element[0]:#04x} where {tag:#04x} belongs")
    return list(_elements(element[1]))


def _only(elements: list[Element]) -> Element:
    if len(elements) != 1:
        raise _DerError("not one element where one belongs")
    return elements[0]


def _parts(certificate: bytes) -> tuple[Element, bytes, list[Element]]:
    """Return subject, public key (with its head) and extensions of a certificate (RFC 5280 section 4.1)."""
    parts = _inside(_only(list(_elements(certificate))), _SEQUENCE)
    if not parts:
        raise _DerError("empty")
    fields = [field for field in _inside(parts[0], _SEQUENCE) if field[0] != _VERSION]
    if len(fields) < 6:
        raise _DerError("fields are missing")
    # Serial number, algorithm, issuer, validity, subject, public key; then extensions among others.
    _, _, _, _, subject, key, *rest = fields
    lists = [_only(_inside(field, _EXTENSIONS)) for field in rest if field[0] == _EXTENSIONS]
    return subject, key[2], _inside(_only(lists), _SEQUENCE) if lists else []


def _country(subject: Element) -> str | None:
    for names in _inside(subject, _SEQUENCE):
        for name in _inside(names, _SET):
            pair = _inside(name, _SEQUENCE)
            if len(pair) == 2 and pair[0][:2] == (_OID, _OID_COUNTRY):
                country = pair[1][1].decode("ascii", "replace").upper()
                return country if COUNTRY.fullmatch(country) else None
    return None


def _usages(extensions: list[Element]) -> frozenset[Credential]:
    """Read what a signer may sign; one without any purpose of health certificates may sign each of them.

    Purposes of other worlds (TLS, e-mail, travel documents) say nothing on this: section 5.2 lets states use
    the signers that they have, and section A.4 limits only where its own identifiers are present.
    """
    for extension in extensions:
        parts = _inside(extension, _SEQUENCE)
        if parts and parts[0][:2] == (_OID, _OID_EXTENDED_KEY_USAGE):
            if parts[-1][0] != _OCTETS:
                raise _DerError("an extension without a value")
            purposes = _inside(_only(list(_elements(parts[-1][1]))), _SEQUENCE)
            known = {_PURPOSES[oid] for _, oid, _ in purposes if oid in _PURPOSES}
            return frozenset(known) or DCC_KINDS
    return DCC_KINDS
