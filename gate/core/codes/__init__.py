"""From the bytes of a QR code to what they are worth: one file per format, `FORMATS` lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from gate.core.codes import china, dcc, home, rotating, shc
from gate.core.codes.model import (
    Assurance,
    Authenticity,
    Circumstances,
    CodeResult,
    Credential,
    Examination,
    Format,
    Freshness,
    LabTest,
    Reason,
    Stages,
    Status,
    Travel,
)
from gate.core.codes.trust import Trust, TrustedKey, TrustError

__all__ = [
    "FORMATS",
    "PAYLOAD_BYTES_MAX",
    "Assurance",
    "Authenticity",
    "Circumstances",
    "CodeFormat",
    "CodeResult",
    "Credential",
    "Examination",
    "Format",
    "Freshness",
    "LabTest",
    "Reason",
    "Stages",
    "Status",
    "Travel",
    "Trust",
    "TrustError",
    "TrustedKey",
    "examine",
    "judge_code",
]

PAYLOAD_BYTES_MAX: Final = 4_296
"""The most characters that one QR code holds: version 40-L, alphanumeric (ISO/IEC 18004 table 7)."""


class Verifier(Protocol):
    """Judges a payload of its own format; promises never to raise, whatever the bytes."""

    def __call__(self, payload: bytes, *, trust: Trust, at: Circumstances) -> Examination: ...


@dataclass(frozen=True, slots=True)
class CodeFormat:
    """One family of codes: the prefix by which it is known, and who judges it."""

    format: Format
    prefix: bytes
    verify: Verifier


FORMATS: Final = (
    CodeFormat(Format.HOME, home.PREFIX, home.verify),
    CodeFormat(Format.HOME, rotating.PREFIX, rotating.verify),
    CodeFormat(Format.DCC, dcc.PREFIX, dcc.verify),
    CodeFormat(Format.SHC, shc.PREFIX, shc.verify),
)


def judge_code(payload: bytes, *, fragment: bool, trust: Trust, at: Circumstances) -> CodeResult:
    """Say what a read code is worth; total: any bytes give a result.

    `fragment` marks one part of a split code (structured append), which is never judged.
    """
    if fragment and payload:
        return CodeResult(Format.UNKNOWN, Reason.UNSUPPORTED)
    return examine(payload, trust=trust, at=at).result


def examine(payload: bytes, *, trust: Trust, at: Circumstances) -> Examination:
    """Judge a whole code and say how each step went; total. Nothing that a code names is ever opened."""
    if not payload:
        return Examination(CodeResult(Format.UNKNOWN, Reason.UNREADABLE), Stages(prefix=False))
    if len(payload) > PAYLOAD_BYTES_MAX:
        result = CodeResult(Format.UNKNOWN, Reason.TOO_LARGE, authenticity=Authenticity.REFUSED)
        return Examination(result, Stages())
    for known in FORMATS:
        if payload.startswith(known.prefix):
            return known.verify(payload, trust=trust, at=at)
    if shc.is_jws(payload):
        return shc.verify_jws(payload, trust=trust, at=at)
    if china.recognise(payload, trust.token_families) is not None:
        return china.verify(payload, trust=trust, at=at)
    return Examination(CodeResult(_foreign_format(payload), Reason.NOT_CHECKABLE), Stages(prefix=False))


def _foreign_format(payload: bytes) -> Format:
    if payload[:8].lower().startswith((b"http://", b"https://")):
        return Format.URL
    return Format.TEXT if _is_text(payload) else Format.BINARY


def _is_text(payload: bytes) -> bool:
    """Tell text from bytes; Chinese codes come as GB18030 without saying so, hence the second try."""
    if any(byte < 0x20 and byte not in b"\t\r\n" for byte in payload):
        return False
    for encoding in ("utf-8", "gb18030"):
        try:
            payload.decode(encoding)
        except UnicodeDecodeError:
            continue
        return True
    return False
