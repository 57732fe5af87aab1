"""The rotating pass `HG2:`: a home pass and the proof that its holder is showing it now.

    "HG2:" base45( message of the HG1 pass, time step (4 bytes), Ed25519 signature of the holder (64 bytes) )

The counter binds the public key of the holder's phone in the pass (home.py); the phone signs every 30 s
anew. A screenshot is worth nothing a minute later, and a gate that is stolen can make no passes, which a
shared secret (RFC 6238) would allow. The window is wide enough for a phone that is half a minute off. Within
it the gate's ledger takes each step of a pass once. What remains is a helper who passes the picture on live.

The proof has a fixed size and stands at the end, so that there is one way to write it and nothing to parse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gate.core.codes import base45
from gate.core.codes.home import (
    PassClaims,
    authenticate,
    claims_of,
    judged,
    message_of,
    read_pass,
    refused,
)
from gate.core.codes.model import Circumstances, CodeError, Examination, Freshness, Reason, Stages
from gate.core.codes.trust import Trust

PREFIX: Final = b"HG2:"

STEP_S: Final = 30

STEPS_OFF_MAX: Final = 1
"""How far a step may lie from the gate's own: a window of 90 s in all."""

_STEP_BYTES, _SIGNATURE_BYTES = 4, 64

_PROOF_CHARS: Final = (_STEP_BYTES + _SIGNATURE_BYTES + 2) // 2 * 3
"""Base45 characters that the proof may reach into: one pair may hold a byte of the message before it."""

_DOMAIN: Final = b"health gate, pass shown by its holder\x00"
"""Nothing else that such a key might sign starts like this; a COSE message starts with an array."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A pass as it is shown: its message, the step (unix seconds // 30), the holder's signature."""

    message: bytes
    step: int
    signature: bytes


def present(holder_private_key: Ed25519PrivateKey, pass_text: str, now_s: int) -> str:
    """Return what a phone shows at `now_s` (unix seconds), from an HG1 text as the counter has issued it.

    Raises ValueError for a text that is no pass, or one that binds another holder key or none.
    """
    message, claims = read_pass(pass_text.encode("utf-8", "replace"))
    if claims.holder_key != holder_private_key.public_key().public_bytes_raw():
        raise ValueError("the pass is not bound to this holder key")
    step = now_s // STEP_S
    signature = holder_private_key.sign(_signed_bytes(message, step))
    return PREFIX.decode("ascii") + base45.encode(message + step.to_bytes(_STEP_BYTES, "big") + signature)


def without_step(payload: bytes) -> bytes:
    """Return what stays the same of a code while its step turns: all of it, unless it is a rotating pass.

    A text comparison, for telling what is still held up from what is new; nothing is verified.
    """
    return payload[:-_PROOF_CHARS] if payload.startswith(PREFIX) else payload


def verify(payload: bytes, *, trust: Trust, at: Circumstances) -> Examination:
    """Say what a payload that starts with `PREFIX` is worth; total: any bytes give a result.

    The step has to be that of the gate's clock, the one before or the one after, whatever tolerance `at`
    grants to the times of the pass. An old step is `expired`: the holder has only to show the next one.
    """
    try:
        raw = message_of(payload, PREFIX)
    except CodeError as fault:
        return refused(fault.reason, Stages(prefix=True, base45=False))
    try:
        shown = _split(raw)
    except CodeError as fault:
        return refused(fault.reason, Stages(prefix=True, base45=True, cbor=False))
    return _verify_shown(shown, trust, at)


def read_shown(payload: bytes) -> tuple[Shown, PassClaims]:
    """Return an HG2 text taken apart, for which nobody has vouched; raises `CodeError`."""
    if not payload.startswith(PREFIX):
        raise CodeError(Reason.UNSUPPORTED, "rotating: no rotating pass")
    shown = _split(message_of(payload, PREFIX))
    return shown, claims_of(shown.message)


def _split(raw: bytes) -> Shown:
    size = len(raw) - _STEP_BYTES - _SIGNATURE_BYTES
    if size <= 0:
        raise CodeError(Reason.MALFORMED, "rotating: nothing but a proof")
    proof = raw[size:]
    return Shown(raw[:size], int.from_bytes(proof[:_STEP_BYTES], "big"), proof[_STEP_BYTES:])


def _verify_shown(shown: Shown, trust: Trust, at: Circumstances) -> Examination:
    stages, found = authenticate(shown.message, trust=trust, at=at)
    step_freshness = _freshness(shown.step, at)
    if stages.time is not None:
        stages = replace(stages, time=stages.time and step_freshness is Freshness.CURRENT)
    if isinstance(found, Reason):
        return refused(found, stages)
    if found.claims.holder_key is None:
        return refused(Reason.MALFORMED, replace(stages, schema=False))
    if not _signed_by_holder(shown, found.claims.holder_key):
        return refused(Reason.BAD_SIGNATURE, replace(stages, signature=False))
    freshness = found.freshness(at)
    if freshness is Freshness.CURRENT:  # which it never is without a trusted clock
        freshness = step_freshness
    return Examination(judged(found, freshness, site=at.site, trust=trust, step=shown.step), stages)


def _freshness(step: int, at: Circumstances) -> Freshness:
    ahead = step - at.now_ms // (STEP_S * 1000)
    if abs(ahead) <= STEPS_OFF_MAX:
        return Freshness.CURRENT
    return Freshness.EXPIRED if ahead < 0 else Freshness.NOT_YET_VALID


def _signed_by_holder(shown: Shown, holder_key: bytes) -> bool:
    """Check the proof; the key came from a phone and may be no point of the curve (ValueError)."""
    try:
        key = Ed25519PublicKey.from_public_bytes(holder_key)
        key.verify(shown.signature, _signed_bytes(shown.message, shown.step))
    except (InvalidSignature, ValueError):
        return False
    return True


def _signed_bytes(message: bytes, step: int) -> bytes:
    return _DOMAIN + step.to_bytes(_STEP_BYTES, "big") + message
