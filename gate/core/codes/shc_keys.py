"""The issuers of SMART Health Cards that a gate believes: their keys and what they have called back."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)

RID: Final = re.compile(r"[A-Za-z0-9_-]{1,24}")
"""A revocation id: the base64url alphabet, 24 characters at most (specification, Revocation)."""

_ISSUER: Final = re.compile(r"https://[!-~]{0,191}[!-.0-~]")
"""Printable ASCII without a slash at the end (specification, Determining keys associated with an issuer)."""

_LISTED: Final = re.compile(rf"({RID.pattern})(?:\.([0-9]{{1,10}}))?")
_COORDINATE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class CardIssuer:
    """One issuer: `url` as in the claim `iss`, P-256 keys by `kid`, and the ids (`rid`) it revoked by `kid`.

    A revoked id stands for the cards issued before the instant beside it (unix seconds), None for all cards.
    """

    url: str
    keys: Mapping[str, EllipticCurvePublicKey]
    revoked: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)

    def revokes(self, kid: str, rid: str, issued_s: float) -> bool:
        """Say whether a card with this id, signed with this key at this time, was called back."""
        listed = self.revoked.get(kid, {})
        before_s = listed.get(rid)
        return rid in listed and (before_s is None or issued_s < before_s)


def read_issuer(
    jwks: Mapping[str, object], revocation_lists: Iterable[Mapping[str, object]] = ()
) -> CardIssuer:
    """Read an issuer's published key set, to which a member "issuer" (its URL) was added, and its lists.

    Keys of another type, curve or use are passed over, as RFC 7517 section 5 asks. Certificates (x5c) are not
    looked at: to pin the key set is the trust. Raises ValueError with a sentence on the first fault found.
    Source: SMART Health Cards 1.4.0, "Determining keys associated with an issuer" and "Revocation".
    """
    url = jwks.get("issuer")
    if not (isinstance(url, str) and _ISSUER.fullmatch(url)):
        raise ValueError("issuer: must be an https URL of at most 200 characters without a slash at the end")
    rows = jwks.get("keys")
    if not (isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows)):
        raise ValueError(f"{url}: keys: must be a list of JSON Web Keys")
    if any("d" in row for row in rows):
        raise ValueError(f"{url}: keys: holds a private key; publish the public part only")
    usable = {str(row.get("kid")): row for row in rows if _is_for_cards(row)}
    if not usable:
        raise ValueError(f"{url}: keys: none is an ES256 signing key")
    keys = {kid: _read_key(f"{url}: key {kid}", kid, row) for kid, row in usable.items()}
    revoked: dict[str, Mapping[str, int | None]] = {}
    for listed in revocation_lists:
        kid, rids = _read_list(url, usable, listed)
        if kid in revoked:
            raise ValueError(f"{url}: key {kid}: two revocation lists")
        revoked[kid] = rids
    return CardIssuer(url, keys, revoked)


def decode_base64url(text: bytes) -> bytes:
    """Decode base64url without padding (RFC 7515 section 2), so that no two texts give the same bytes.

    Raises ValueError.
    """
    raw = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    # The library skips foreign characters and ignores spare bits; writing it again shows both.
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != text:
        raise ValueError("base64url: a foreign character or spare bits")
    return raw


def _is_for_cards(row: Mapping[str, object]) -> bool:
    return (
        row.get("kty") == "EC"
        and row.get("crv") == "P-256"
        and row.get("use", "sig") == "sig"
        and row.get("alg", "ES256") == "ES256"
    )


def _read_key(where: str, kid: str, row: Mapping[str, object]) -> EllipticCurvePublicKey:
    x, y = _coordinate(where, "x", row), _coordinate(where, "y", row)
    # RFC 7638 section 3: the required members in the order of their names, without spaces.
    thumbprint = f'{{"crv":"P-256","kty":"EC","x":"{row["x"]}","y":"{row["y"]}"}}'
    digest = hashlib.sha256(thumbprint.encode("ascii")).digest()
    if kid.encode() != base64.urlsafe_b64encode(digest).rstrip(b"="):
        raise ValueError(f"{where}: kid is not the thumbprint of the key (RFC 7638)")
    try:
        return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    except ValueError as fault:
        raise ValueError(f"{where}: not a point on the curve P-256") from fault


def _coordinate(where: str, name: str, row: Mapping[str, object]) -> int:
    text = row.get(name)
    try:
        raw = decode_base64url(text.encode()) if isinstance(text, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != _COORDINATE_BYTES:
        raise ValueError(f"{where}: {name}: must be 32 bytes in base64url")
    return int.from_bytes(raw, "big")


def _read_list(
    url: str, keys: Mapping[str, Mapping[str, object]], listed: Mapping[str, object]
) -> tuple[str, dict[str, int | None]]:
    kid, rows, ctr = listed.get("kid"), listed.get("rids"), listed.get("ctr")
    if not isinstance(kid, str) or kid not in keys:
        raise ValueError(f"{url}: a revocation list for {kid!r}, which is none of its keys")
    where = f"{url}: revocation list of key {kid}"
    if listed.get("method") != "rid" or not isinstance(ctr, int) or not isinstance(rows, list):
        raise ValueError(f"{where}: must have the method 'rid', a number 'ctr' and a list 'rids'")
    version = keys[kid].get("crlVersion")
    if isinstance(version, int) and ctr < version:
        raise ValueError(f"{where}: out of date: it is number {ctr}, the key set asks for number {version}")
    return kid, _read_rids(where, rows)


def _read_rids(where: str, rows: list[object]) -> dict[str, int | None]:
    rids: dict[str, int | None] = {}
    for row in rows:
        match = _LISTED.fullmatch(row) if isinstance(row, str) else None
        if match is None:
            raise ValueError(f"{where}: {row!r} is not a revocation id")
        rid, before_s = match[1], int(match[2]) if match[2] else None
        # Listed twice: what revokes more cards counts.
        known = rids.get(rid, 0)
        rids[rid] = None if before_s is None or known is None else max(known, before_s)
    return rids
