"""Whose signatures a gate believes: one table of keys per code format, read from documents."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from gate.core.codes.business_rules import BusinessRule
from gate.core.codes.dcc_keys import DocumentSigner
from gate.core.codes.model import NAME, Credential
from gate.core.codes.shc_keys import CardIssuer
from gate.core.codes.token_families import TokenFamily

DOCUMENTS: Final = "documents"
"""The purpose of a key that may sign the documents of `gate.core.documents`; no pass comes with it."""

PASSES: Final = (
    Credential.VISITOR,
    Credential.APPOINTMENT,
    Credential.RESIDENT,
    Credential.STAFF,
    Credential.HOUSEHOLD,
    Credential.SUPPLY,
)
"""The kinds of home passes. On the wire each is its place in this row, counted from 1. Append only."""

Purpose = Credential | Literal["documents"]


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """One Ed25519 public key (32 bytes, RFC 8032), the issuer that may use it, and what it may sign."""

    issuer: str
    issuer_name: str
    public_key: bytes
    purposes: frozenset[Purpose]

    @property
    def kid(self) -> bytes:
        """Name the key as passes do."""
        return key_id(self.public_key)


class TrustError(ValueError):
    """Trust documents that cannot be used, with every problem found in them."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys that a gate believes, each for one issuer: under another issuer's name a key is unknown.

    `keys` and `revoked`, the (issuer, pass id) of passes called back, are for home passes; `signers`, the
    `rules` to be met and the `value_sets` that rules refer to for EU certificates; `card_issuers` for SMART
    Health Cards; `token_families` for national tokens beside those that are built in.
    """

    keys: tuple[TrustedKey, ...] = ()
    revoked: frozenset[tuple[str, str]] = frozenset()
    signers: tuple[DocumentSigner, ...] = ()
    rules: tuple[BusinessRule, ...] = ()
    value_sets: Mapping[str, object] = field(default_factory=dict)
    card_issuers: tuple[CardIssuer, ...] = ()
    token_families: tuple[TokenFamily, ...] = ()

    def find(self, issuer: str, kid: bytes) -> TrustedKey | None:
        """Return the key that `issuer` calls `kid`, or None."""
        return next((key for key in self.keys if key.issuer == issuer and key.kid == kid), None)

    @classmethod
    def from_documents(cls, documents: Iterable[tuple[str, object]]) -> Trust:
        """Build the trust from parsed TOML or JSON documents, each with its name for error messages.

        A document is `{"keys": [{"issuer": "county-hall", "issuer_name": "County hall", "public_key": 64
        hexadecimal digits, "purposes": ["visitor", ...]}]}`. Raises `TrustError` with every problem at once.
        """
        problems: list[str] = []
        keys = tuple(key for name, data in documents for key in _read_document(name, data, problems))
        counts = Counter((key.issuer, key.kid) for key in keys)
        problems += [
            f"issuer {issuer}: key {kid.hex()} is listed {n} times"
            for (issuer, kid), n in counts.items()
            if n > 1
        ]
        if problems:
            raise TrustError(problems)
        return cls(keys)


def key_id(public_key: bytes) -> bytes:
    """Name an Ed25519 public key: the first 4 bytes of its SHA-256.

    Four bytes tell the few keys of one issuer apart and keep the QR small; the signature decides, not the id.
    """
    return hashlib.sha256(public_key).digest()[:4]


_KEY_FIELDS = ("issuer", "issuer_name", "public_key", "purposes")

_PURPOSES: Final[Mapping[str, Purpose]] = {**{kind.value: kind for kind in PASSES}, DOCUMENTS: DOCUMENTS}


def _read_document(name: str, data: object, problems: list[str]) -> list[TrustedKey]:
    if not isinstance(data, Mapping) or set(data) != {"keys"} or not isinstance(data["keys"], list):
        problems.append(f"{name}: must hold a list named 'keys' and nothing else")
        return []
    rows = [_read_key(f"{name}: keys[{n}]", row, problems) for n, row in enumerate(data["keys"])]
    return [key for key in rows if key is not None]


def _read_key(where: str, row: object, problems: list[str]) -> TrustedKey | None:
    if not isinstance(row, Mapping):
        problems.append(f"{where}: must be a table with {', '.join(_KEY_FIELDS)}")
        return None
    found = [f"unknown field {field!r}" for field in row if field not in _KEY_FIELDS]
    found += [f"{field}: {wrong}" for field in _KEY_FIELDS if (wrong := _wrong(field, row.get(field)))]
    if found:
        problems.extend(f"{where}: {problem}" for problem in found)
        return None
    return TrustedKey(
        issuer=row["issuer"],
        issuer_name=row["issuer_name"],
        public_key=bytes.fromhex(row["public_key"]),
        purposes=frozenset(_PURPOSES[purpose] for purpose in row["purposes"]),
    )


def _wrong(field: str, value: object) -> str | None:
    """Say what is wrong with one field of a key, or None."""
    if field == "purposes":
        known = list(_PURPOSES)
        good = isinstance(value, list) and value and all(purpose in known for purpose in value)
        return None if good else f"must be a list of one or more of {', '.join(known)}"
    if not isinstance(value, str):
        return "must be a text"
    if field == "issuer" and not NAME.fullmatch(value):
        return "must be 1 to 32 letters A-Z a-z, digits, '-' or '_'"
    if field == "issuer_name" and not (value.isprintable() and 1 <= len(value) <= 64):
        return "must be 1 to 64 printable characters"
    if field == "public_key":
        return _wrong_key(value)
    return None


# The y coordinates of the curve points whose order divides 8 (RFC 8032 section 5.1 gives the curve). For such
# a "key" anybody can write a signature, and the likeliest is a placeholder of zeros left in a document.
_PRIME = 2**255 - 19
_SMALL_ORDER_Y = frozenset(
    int.from_bytes(bytes.fromhex(y), "little") % _PRIME
    for y in (
        "00" * 32,
        "01" + "00" * 31,
        "ec" + "ff" * 30 + "7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
)


def _wrong_key(value: str) -> str | None:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        return "must be 64 hexadecimal digits (a raw Ed25519 public key)"
    if anybody_signs_for(bytes.fromhex(value)):
        return "is not a usable key: anybody could sign for it"
    return None


def anybody_signs_for(public_key: bytes) -> bool:
    """Tell an Ed25519 public key (32 bytes) of small order, under which signatures need no private key."""
    y_sign_cleared = int.from_bytes(public_key, "little") & (2**255 - 1)
    return y_sign_cleared % _PRIME in _SMALL_ORDER_Y
