"""The certificates that sign EU Digital COVID Certificates, as keys that a gate can look up."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gate.core.codes.model import Credential


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
