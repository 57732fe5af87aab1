"""The issuers of SMART Health Cards that a gate believes: their keys and what they have called back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class CardIssuer:
    """One issuer: `url` as in the claim `iss`, P-256 keys by `kid`, revoked ids (`rid`) by `kid`."""

    url: str
    keys: Mapping[str, EllipticCurvePublicKey]
    revoked: Mapping[str, frozenset[str]] = field(default_factory=dict)
