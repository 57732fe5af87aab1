"""Business rules for EU certificates: which of them a certificate does not fulfil, by CertLogic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BusinessRule:
    """One rule as published (dgc-business-rules): valid in a span, for some certificates, with its logic."""

    identifier: str
    logic: object
