"""The home-issued pass `HG1:`, which a gate verifies alone with public keys only.

    "HG1:" base45( COSE_Sign1( protected {alg: EdDSA, kid}, {}, CWT claims, signature ) )

Not compressed: deflate gains nothing on 100 bytes and brings bombs. The claims are those of a CBOR Web
Token (RFC 8392) under their registered numbers, with one departure: `sub` is 8 random bytes instead of a
text, which saves modules in the picture. The gate's own facts sit in one map under a private-use claim. A
pass has exactly one text: any other spelling of the same message is refused. Unknown claims are ignored, as
RFC 8392 section 3 asks; an unknown fact in the gate's own map could restrict the pass, so it is unsupported.

A pass may bind the public key of its holder. Then it is worth something only inside `HG2:` (rotating.py),
where the holder proves to be there now: shown as HG1 it is a copy, whoever shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gate.core.codes import base45
from gate.core.codes.cose import KID, Sign1, create_sign1, parse_sign1, read_cbor, verify_sign1
from gate.core.codes.model import (
    NAME,
    REGISTRATION_FIELDS,
    STATUS_REASONS,
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
    Travel,
)
from gate.core.codes.trust import PASSES, Trust, TrustedKey, anybody_signs_for, key_id

PREFIX: Final = b"HG1:"

PASS_BYTES_MAX: Final = 512
"""A pass with every field filled has under 256 bytes."""

USES_MAX: Final = 0xFFFF

_ISS, _SUB, _AUD, _EXP, _NBF, _IAT, _CTI = range(1, 8)
"""RFC 8392 section 4."""

_GATE: Final = -65537
"""The first private-use claim key (RFC 8392 section 9.1); holds a map with the numbers below."""

_CREDENTIAL, _STATUS, _REGISTERED, _TRAVEL, _USES_MAX, _HOLDER_KEY = range(1, 7)
_FACTS: Final = frozenset(range(1, 7))
"""The first three are always there, each other one only if it says something. Append only."""

# On the wire each word is its place in its row, counted from 1. Append only, as `PASSES`.
_STATUSES: Final = (Status.GREEN, Status.YELLOW, Status.RED)
_TRAVELS: Final = (Travel.CLEAR, Travel.RISK_AREA, Travel.DECLARED)

_FRESHNESS_REASONS: Final = {
    Freshness.REPLAYED: Reason.REPLAY,
    Freshness.UNKNOWN: Reason.CLOCK_UNTRUSTED,
    Freshness.EXPIRED: Reason.EXPIRED,
    Freshness.NOT_YET_VALID: Reason.NOT_YET_VALID,
}

T = TypeVar("T")
P = ParamSpec("P")
Claims = dict[object, object]


@dataclass(frozen=True, slots=True)
class PassClaims:
    """What a pass states. Raises ValueError when it could not be issued.

    `issuer`, `site`: 1-32 of A-Z a-z 0-9 - _; `subject`: 8 random bytes, never made from an identity;
    `pass_id`: 4-16 bytes, unique per issuer; times: unix seconds, 0 < t < 2^32; `registered`: of
    `REGISTRATION_FIELDS`; `uses_max`: how often it may be used in all, 1 to `USES_MAX`, None for any number;
    `holder_key`: an Ed25519 public key (32 bytes), None for a pass that is worth something on paper.
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
    travel: Travel = Travel.UNKNOWN
    uses_max: int | None = None
    holder_key: bytes | None = None

    def __post_init__(self) -> None:
        if not (NAME.fullmatch(self.issuer) and NAME.fullmatch(self.site)):
            raise ValueError("issuer and site: 1 to 32 letters, digits, '-' or '_'")
        if len(self.subject) != 8 or not 4 <= len(self.pass_id) <= 16:
            raise ValueError("subject: 8 bytes; pass_id: 4 to 16 bytes")
        if not all(0 < t < 2**32 for t in (self.valid_from, self.valid_until, self.issued_at)):
            raise ValueError("times: unix seconds above 0 and below 2^32")
        if max(self.valid_from, self.issued_at) > self.valid_until:
            raise ValueError("the pass ends before it starts")
        if self.credential not in PASSES or self.status not in _STATUSES:
            raise ValueError("credential and status must be stated")
        if not self.registered <= set(REGISTRATION_FIELDS):
            raise ValueError(f"registered: only {', '.join(REGISTRATION_FIELDS)}")
        if self.uses_max is not None and not 1 <= self.uses_max <= USES_MAX:
            raise ValueError(f"uses_max: 1 to {USES_MAX}")
        key = self.holder_key
        if key is not None and (len(key) != 32 or anybody_signs_for(key)):
            raise ValueError("holder_key: 32 bytes, a usable Ed25519 public key")


@dataclass(frozen=True, slots=True)
class Authentic:
    """A pass that its issuer has signed: with which key, and what it states."""

    key: TrustedKey
    claims: PassClaims

    def freshness(self, at: Circumstances) -> Freshness:
        """Say whether now lies in the span of the pass."""
        return at.freshness(
            start=max(self.claims.valid_from, self.claims.issued_at), end=self.claims.valid_until
        )


def issue(private_key: Ed25519PrivateKey, claims: PassClaims) -> str:
    """Sign a pass and return the text for its QR code; the same claims always give the same text."""
    facts: dict[int, object] = {
        _CREDENTIAL: PASSES.index(claims.credential) + 1,
        _STATUS: _STATUSES.index(claims.status) + 1,
        _REGISTERED: sorted(REGISTRATION_FIELDS.index(field) + 1 for field in claims.registered),
    }
    if claims.travel is not Travel.UNKNOWN:
        facts[_TRAVEL] = _TRAVELS.index(claims.travel) + 1
    if claims.uses_max is not None:
        facts[_USES_MAX] = claims.uses_max
    if claims.holder_key is not None:
        facts[_HOLDER_KEY] = claims.holder_key
    payload = cbor2.dumps(
        {
            _ISS: claims.issuer,
            _SUB: claims.subject,
            _AUD: claims.site,
            _EXP: claims.valid_until,
            _NBF: claims.valid_from,
            _IAT: claims.issued_at,
            _CTI: claims.pass_id,
            _GATE: facts,
        }
    )
    kid = key_id(private_key.public_key().public_bytes_raw())
    return PREFIX.decode("ascii") + base45.encode(create_sign1(private_key, kid, payload).encoded())


def verify(payload: bytes, *, trust: Trust, at: Circumstances) -> Examination:
    """Say what a payload that starts with `PREFIX` is worth; total: any bytes give a result.

    Valid while now <= exp. With a clock that is not trusted the signature still counts, the time does not.
    """
    try:
        raw = message_of(payload, PREFIX)
    except CodeError as fault:
        return refused(fault.reason, Stages(prefix=True, base45=False))
    stages, found = authenticate(raw, trust=trust, at=at)
    if isinstance(found, Reason):
        return refused(found, stages)
    freshness = Freshness.REPLAYED if found.claims.holder_key else found.freshness(at)
    return Examination(judged(found, freshness, site=at.site, trust=trust), stages)


def read_pass(payload: bytes) -> tuple[bytes, PassClaims]:
    """Return the message and the claims of an HG1 text, for which nobody has vouched; raises `CodeError`."""
    if not payload.startswith(PREFIX):
        raise CodeError(Reason.UNSUPPORTED, "home: no pass")
    raw = message_of(payload, PREFIX)
    return raw, claims_of(raw)


def message_of(payload: bytes, prefix: bytes) -> bytes:
    """Return the bytes behind a prefix; raises `CodeError` with malformed."""
    try:
        return base45.decode(payload.removeprefix(prefix))
    except ValueError as fault:
        raise CodeError(Reason.MALFORMED) from fault


def claims_of(raw: bytes) -> PassClaims:
    """Return what the message of a pass states, for which nobody has vouched; raises `CodeError`."""
    return _read_claims(_parse(raw)[1])


def authenticate(raw: bytes, *, trust: Trust, at: Circumstances) -> tuple[Stages, Authentic | Reason]:
    """Try each step on the message of a pass, also when another one fails; a reason is the first failure."""
    parsed = _attempt(_parse, raw)
    if isinstance(parsed, CodeError):
        return Stages(prefix=True, base45=True, cbor=False), parsed.reason
    message, claims = parsed
    key = _attempt(_signer, message, claims, trust)
    signed = None if isinstance(key, CodeError) else _attempt(_check_signature, message, key)
    stated = _attempt(_read_claims, claims)
    stages = Stages(
        prefix=True,
        base45=True,
        cbor=True,
        schema=not isinstance(stated, CodeError),
        signature=None if signed is None else signed is True,
        key_usage=_key_usage(key, claims),
        time=_in_time(claims, at),
    )
    if isinstance(key, CodeError):
        return stages, key.reason
    if isinstance(signed, CodeError):
        return stages, signed.reason
    if isinstance(stated, CodeError):
        return stages, stated.reason
    return stages, Authentic(key, stated)


def refused(reason: Reason, stages: Stages) -> Examination:
    """Pass on nothing but the reason of a pass that is not proven to be its issuer's."""
    unknown = reason in {Reason.UNKNOWN_ISSUER, Reason.UNSUPPORTED}
    authenticity = Authenticity.NOT_CHECKABLE if unknown else Authenticity.REFUSED
    return Examination(CodeResult(Format.HOME, reason, authenticity=authenticity), stages)


def judged(
    found: Authentic, freshness: Freshness, *, site: str | None, trust: Trust, step: int | None = None
) -> CodeResult:
    """Say what an authentic pass is worth, with its freshness as the way in which it was shown makes it."""
    claims = found.claims
    return CodeResult(
        format=Format.HOME,
        reason=_reason(found, freshness, site, trust),
        status=claims.status,
        authenticity=Authenticity.VERIFIED,
        freshness=freshness,
        credential=claims.credential,
        issuer=claims.issuer,
        kid=found.key.kid.hex(),
        subject_ref=claims.subject.hex(),
        registered=claims.registered,
        valid_from=claims.valid_from,
        valid_until=claims.valid_until,
        issued_at=claims.issued_at,
        pass_id=claims.pass_id.hex(),
        step=step,
        uses_max=claims.uses_max,
        travel=claims.travel,
        assurance=Assurance.OFFLINE_SIGNATURE,
    )


def _reason(found: Authentic, freshness: Freshness, site: str | None, trust: Trust) -> Reason:
    """Name the first thing against a pass: not for here, called back, a copy, not now, not green.

    A copy comes before the doubts about time, which a person may clear up: nothing clears up a copy.
    """
    claims = found.claims
    if claims.credential not in found.key.purposes:
        return Reason.WRONG_PURPOSE
    if site is not None and claims.site != site:
        return Reason.WRONG_SITE
    if (claims.issuer, claims.pass_id.hex()) in trust.revoked:
        return Reason.REVOKED
    return _FRESHNESS_REASONS.get(freshness) or STATUS_REASONS.get(claims.status, Reason.OK)


def _parse(raw: bytes) -> tuple[Sign1, Claims]:
    message = parse_sign1(raw, size_max=PASS_BYTES_MAX)
    if message.unprotected or message.encoded() != raw:
        raise CodeError(Reason.MALFORMED, "home: not the one spelling of this pass")
    _as(bytes, message.protected.get(KID))
    return message, _as(dict, read_cbor(message.payload, size_max=PASS_BYTES_MAX))


def _signer(message: Sign1, claims: Claims, trust: Trust) -> TrustedKey:
    # The issuer is read before the signature is checked, but only to look up the key that has to fit it.
    key = trust.find(_as(str, claims.get(_ISS)), _as(bytes, message.protected.get(KID)))
    if key is None:
        raise CodeError(Reason.UNKNOWN_ISSUER)
    return key


def _check_signature(message: Sign1, key: TrustedKey) -> bool:
    verify_sign1(message, Ed25519PublicKey.from_public_bytes(key.public_key))
    return True


def _key_usage(key: TrustedKey | CodeError, claims: Claims) -> bool | None:
    """Say whether the key may sign this kind of pass; None where one of the two is not known."""
    facts = claims.get(_GATE)
    credential = _attempt(_word, PASSES, facts.get(_CREDENTIAL) if isinstance(facts, dict) else None)
    if isinstance(key, CodeError) or isinstance(credential, CodeError):
        return None
    return credential in key.purposes


def _in_time(claims: Claims, at: Circumstances) -> bool | None:
    """Say whether now lies in the stated span; None without three times or without a trusted clock."""
    times = [time for name in (_NBF, _IAT, _EXP) if type(time := claims.get(name)) is int]
    if len(times) != 3 or not at.clock_trusted:
        return None
    return at.freshness(start=max(times[:2]), end=times[2]) is Freshness.CURRENT


def _read_claims(claims: Claims) -> PassClaims:
    facts = _as(dict, claims.get(_GATE))
    if not facts.keys() <= _FACTS:
        raise CodeError(Reason.UNSUPPORTED, "home: a fact of a later version")
    fields = _as(list, facts.get(_REGISTERED))
    try:
        return PassClaims(
            issuer=_as(str, claims.get(_ISS)),
            subject=_as(bytes, claims.get(_SUB)),
            site=_as(str, claims.get(_AUD)),
            valid_from=_as(int, claims.get(_NBF)),
            valid_until=_as(int, claims.get(_EXP)),
            issued_at=_as(int, claims.get(_IAT)),
            pass_id=_as(bytes, claims.get(_CTI)),
            credential=_word(PASSES, facts.get(_CREDENTIAL)),
            status=_word(_STATUSES, facts.get(_STATUS)),
            registered=frozenset(_word(REGISTRATION_FIELDS, field) for field in fields),
            travel=_word(_TRAVELS, facts[_TRAVEL]) if _TRAVEL in facts else Travel.UNKNOWN,
            uses_max=_as(int, facts[_USES_MAX]) if _USES_MAX in facts else None,
            holder_key=_as(bytes, facts[_HOLDER_KEY]) if _HOLDER_KEY in facts else None,
        )
    except ValueError as fault:
        raise CodeError(Reason.MALFORMED) from fault


def _attempt(step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | CodeError:
    """Return what a step gives, or the fault that it raises, so that the next step can be tried too."""
    try:
        return step(*args, **kwargs)
    except CodeError as fault:
        return fault


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
