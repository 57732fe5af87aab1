"""The home-issued pass `HG1:`, which a gate verifies alone with public keys only.

    "HG1:" base45( COSE_Sign1( protected {alg: EdDSA, kid}, {}, CWT claims, signature ) )

Not compressed: deflate gains nothing on 100 bytes and brings bombs. The claims are those of a CBOR Web
Token (RFC 8392) under their registered numbers, with one departure: `sub` is 8 random bytes instead of a
text, which saves modules in the picture. The gate's own facts sit in one map under a private-use claim. A
pass has exactly one text: any other spelling of the same message is refused. Unknown claims are ignored, as
RFC 8392 section 3 asks; a claim that would restrict a pass therefore needs a new prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gate.core.codes import base45
from gate.core.codes.cose import KID, Sign1, create_sign1, parse_sign1, read_cbor, verify_sign1
from gate.core.codes.model import (
    NAME,
    REGISTRATION_FIELDS,
    Assurance,
    Authenticity,
    Circumstances,
    CodeError,
    CodeResult,
    Credential,
    Examination,
    Format,
    Freshness,
    Reason,
    Stages,
    Status,
)
from gate.core.codes.trust import Trust, TrustedKey, key_id

PREFIX: Final = b"HG1:"

PASS_BYTES_MAX: Final = 512
"""A pass with every field registered has under 200 bytes."""

_ISS, _SUB, _AUD, _EXP, _NBF, _IAT, _CTI = range(1, 8)
"""RFC 8392 section 4."""

_GATE: Final = -65537
"""The first private-use claim key (RFC 8392 section 9.1); holds a map with the three numbers below."""

_CREDENTIAL, _STATUS, _REGISTERED = 1, 2, 3

# On the wire each word is its place in these rows, counted from 1. Append only.
_CREDENTIALS: Final = (Credential.VISITOR, Credential.APPOINTMENT, Credential.RESIDENT, Credential.STAFF)
_STATUSES: Final = (Status.GREEN, Status.YELLOW, Status.RED)

_STATUS_REASONS: Final = {Status.YELLOW: Reason.STATUS_YELLOW, Status.RED: Reason.STATUS_RED}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PassClaims:
    """What a pass states. Raises ValueError when it could not be issued.

    `issuer`, `site`: 1-32 of A-Z a-z 0-9 - _; `subject`: 8 random bytes, never made from an identity;
    `pass_id`: 4-16 bytes, unique per issuer; times: unix seconds, 0 < t < 2^32; `registered`: of
    `REGISTRATION_FIELDS`.
    """

    issuer: str
    subject: bytes
    site: str
    valid_from: int
    valid_until: int
    issued_at: int
    pass_id: bytes
    credential: Credential
    status: Status
    registered: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not (NAME.fullmatch(self.issuer) and NAME.fullmatch(self.site)):
            raise ValueError("issuer and site: 1 to 32 letters, digits, '-' or '_'")
        if len(self.subject) != 8 or not 4 <= len(self.pass_id) <= 16:
            raise ValueError("subject: 8 bytes; pass_id: 4 to 16 bytes")
        if not all(0 < t < 2**32 for t in (self.valid_from, self.valid_until, self.issued_at)):
            raise ValueError("times: unix seconds above 0 and below 2^32")
        if max(self.valid_from, self.issued_at) > self.valid_until:
            raise ValueError("the pass ends before it starts")
        if self.credential not in _CREDENTIALS or self.status not in _STATUSES:
            raise ValueError("credential and status must be stated")
        if not self.registered <= set(REGISTRATION_FIELDS):
            raise ValueError(f"registered: only {', '.join(REGISTRATION_FIELDS)}")


def issue(private_key: Ed25519PrivateKey, claims: PassClaims) -> str:
    """Sign a pass and return the text for its QR code; the same claims always give the same text."""
    payload = cbor2.dumps(
        {
            _ISS: claims.issuer,
            _SUB: claims.subject,
            _AUD: claims.site,
            _EXP: claims.valid_until,
            _NBF: claims.valid_from,
            _IAT: claims.issued_at,
            _CTI: claims.pass_id,
            _GATE: {
                _CREDENTIAL: _CREDENTIALS.index(claims.credential) + 1,
                _STATUS: _STATUSES.index(claims.status) + 1,
                _REGISTERED: sorted(REGISTRATION_FIELDS.index(field) + 1 for field in claims.registered),
            },
        }
    )
    kid = key_id(private_key.public_key().public_bytes_raw())
    return PREFIX.decode("ascii") + base45.encode(create_sign1(private_key, kid, payload).encoded())


def verify(payload: bytes, *, trust: Trust, at: Circumstances) -> Examination:
    """Say what a payload that starts with `PREFIX` is worth; total: any bytes give a result.

    Valid while now <= exp. With a clock that is not trusted the signature still counts, the time does not.
    """
    try:
        key, claims = _authenticate(payload, trust)
    except CodeError as fault:
        unknown = fault.reason in {Reason.UNKNOWN_ISSUER, Reason.UNSUPPORTED}
        authenticity = Authenticity.NOT_CHECKABLE if unknown else Authenticity.REFUSED
        refused = CodeResult(Format.HOME, fault.reason, authenticity=authenticity)
        return Examination(refused, Stages(prefix=True))
    freshness = at.freshness(start=max(claims.valid_from, claims.issued_at), end=claims.valid_until)
    result = CodeResult(
        format=Format.HOME,
        reason=_reason(key, claims, at.site, freshness),
        status=claims.status,
        authenticity=Authenticity.VERIFIED,
        freshness=freshness,
        credential=claims.credential,
        issuer=claims.issuer,
        kid=key.kid.hex(),
        subject_ref=claims.subject.hex(),
        registered=claims.registered,
        valid_from=claims.valid_from,
        valid_until=claims.valid_until,
        issued_at=claims.issued_at,
        pass_id=claims.pass_id.hex(),
        assurance=Assurance.OFFLINE_SIGNATURE,
    )
    return Examination(result, Stages(prefix=True))


def _authenticate(payload: bytes, trust: Trust) -> tuple[TrustedKey, PassClaims]:
    message = _open(payload)
    claims = _as(dict, read_cbor(message.payload, size_max=PASS_BYTES_MAX))
    # The issuer is read before the signature is checked, but only to look up the key that has to fit it.
    key = trust.find(_as(str, claims.get(_ISS)), _as(bytes, message.protected.get(KID)))
    if key is None:
        raise CodeError(Reason.UNKNOWN_ISSUER)
    verify_sign1(message, Ed25519PublicKey.from_public_bytes(key.public_key))
    return key, _read_claims(claims)


def _open(payload: bytes) -> Sign1:
    try:
        raw = base45.decode(payload.removeprefix(PREFIX))
    except ValueError as fault:
        raise CodeError(Reason.MALFORMED) from fault
    message = parse_sign1(raw, size_max=PASS_BYTES_MAX)
    if message.unprotected or message.encoded() != raw:
        raise CodeError(Reason.MALFORMED, "home: not the one spelling of this pass")
    return message


def _read_claims(claims: dict[object, object]) -> PassClaims:
    gate = _as(dict, claims.get(_GATE))
    fields = _as(list, gate.get(_REGISTERED))
    try:
        return PassClaims(
            issuer=_as(str, claims.get(_ISS)),
            subject=_as(bytes, claims.get(_SUB)),
            site=_as(str, claims.get(_AUD)),
            valid_from=_as(int, claims.get(_NBF)),
            valid_until=_as(int, claims.get(_EXP)),
            issued_at=_as(int, claims.get(_IAT)),
            pass_id=_as(bytes, claims.get(_CTI)),
            credential=_word(_CREDENTIALS, gate.get(_CREDENTIAL)),
            status=_word(_STATUSES, gate.get(_STATUS)),
            registered=frozenset(_word(REGISTRATION_FIELDS, field) for field in fields),
        )
    except ValueError as fault:
        raise CodeError(Reason.MALFORMED) from fault


def _as(kind: type[T], value: object) -> T:
    """Return the value if it is of this kind; true and false are not numbers here."""
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    raise CodeError(Reason.MALFORMED, "home: a claim of another type")


def _word(words: tuple[T, ...], number: object) -> T:
    place = _as(int, number)
    if not 1 <= place <= len(words):
        raise CodeError(Reason.MALFORMED, "home: a number without a word")
    return words[place - 1]


def _reason(key: TrustedKey, claims: PassClaims, site: str, freshness: Freshness) -> Reason:
    """Name the first thing against an authentic pass: meant for something else, out of time, not green."""
    if claims.credential not in key.purposes:
        return Reason.WRONG_PURPOSE
    if claims.site != site:
        return Reason.WRONG_SITE
    if freshness is Freshness.UNKNOWN:
        return Reason.CLOCK_UNTRUSTED
    if freshness is not Freshness.CURRENT:
        return Reason(freshness.value)
    return _STATUS_REASONS.get(claims.status, Reason.OK)
