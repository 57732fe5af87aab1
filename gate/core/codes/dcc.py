"""The EU Digital COVID Certificate `HC1:`, verified alone with a list of the states' signers.

    "HC1:" base45( zlib( COSE_Sign1( protected {alg, kid}, {}, claims {-260: {1: payload}}, signature ) ) )

Electronic Health Certificate Specification 1.0.8. A certificate says that its holder was vaccinated, tested
or has recovered; it never says green. What that is worth here and today is for business rules to say.

Signature, key usage, time and content are judged each for itself, so that the person on duty can be told all
that is wrong; the reason is the first of them in the order of `_reason`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from gate.core.codes import base45
from gate.core.codes.business_rules import unmet
from gate.core.codes.cose import KID, Sign1, parse_foreign_sign1, read_cbor, verify_sign1
from gate.core.codes.dcc_keys import COUNTRY, DocumentSigner
from gate.core.codes.dcc_schema import KINDS, fits_schema
from gate.core.codes.model import (
    Assurance,
    Authenticity,
    Circumstances,
    CodeError,
    CodeResult,
    Credential,
    Examination,
    Format,
    Freshness,
    LabTest,
    Reason,
    Stages,
    Status,
    reference,
)
from gate.core.codes.trust import Trust

PREFIX: Final = b"HC1:"

INFLATED_BYTES_MAX: Final = 16_384
"""Real certificates have under 900 bytes; what one QR code holds could inflate to 3 MB."""

_ISS, _EXP, _NBF, _IAT, _HCERT = 1, 4, 5, 6, -260
"""RFC 8392 section 4; the last is registered for health certificates."""

_DCC_V1: Final = 1

_DATE_TAGS: Final = frozenset({0, 1})
"""Some issuers tag dates (RFC 8949 section 3.4)."""

_NUCLEIC_ACID_TEST: Final = "LP6464-4"
_NOT_DETECTED: Final = "260415000"
"""Value sets of the eHealth Network: LOINC for the kind of a test, SNOMED CT for its result."""

_SIGNERS_TRIED_MAX: Final = 8
"""A key id may be shared (section 3.3.3), by chance and so by two at most."""


@dataclass(frozen=True, slots=True)
class _Claims:
    """What a certificate states, as far as it can be read. Times are unix seconds, fractions included.

    `country` is None where the issuer names none. `payload` is None where there is none of version 1, and
    `timely` false where a time is no time or the end is missing.
    """

    country: str | None
    issued_at: float | None
    valid_from: float | None
    valid_until: float | None
    stated_end: float | None
    timely: bool
    payload: dict[object, object] | None

    @property
    def usable(self) -> bool:
        return self.timely and self.payload is not None


@dataclass(frozen=True, slots=True)
class _Findings:
    """How each judgement went; None where it could not be made."""

    schema: bool | None
    signature: bool | None
    key_usage: bool | None
    freshness: Freshness
    rules_met: bool | None


def verify(payload: bytes, *, trust: Trust, at: Circumstances) -> Examination:
    """Say what a payload that starts with `PREFIX` is worth; total: any bytes give a result.

    Valid from the later of iat and nbf until exp, both included. With a clock that is not trusted the
    signature still counts, the time does not.
    """
    # `stages` always says what has failed should the next line raise.
    stages = Stages(prefix=False)
    try:
        text = _without_prefix(payload)
        stages = Stages(prefix=True, base45=False)
        packed = _decoded(text)
        stages = Stages(prefix=True, base45=True, zlib=False)
        raw = _inflated(packed)
        stages = Stages(prefix=True, base45=True, zlib=True, cbor=False)
        message = parse_foreign_sign1(raw, size_max=INFLATED_BYTES_MAX)
    except CodeError as fault:
        return _refused(fault, stages)
    try:
        claims = _read_claims(message)
    except CodeError as fault:
        # A signature covers bytes: it is judged also where they make no sense.
        return _refused(fault, replace(stages, signature=_check_signature(message, None, trust)[0]))
    return _judged(message, claims, trust, at)


def _refused(fault: CodeError, stages: Stages) -> Examination:
    unknown = fault.reason is Reason.UNSUPPORTED
    authenticity = Authenticity.NOT_CHECKABLE if unknown else Authenticity.REFUSED
    return Examination(CodeResult(Format.DCC, fault.reason, authenticity=authenticity), stages)


def _without_prefix(payload: bytes) -> bytes:
    if not payload.startswith(PREFIX):
        raise CodeError(Reason.MALFORMED, "dcc: another prefix")
    return payload[len(PREFIX) :]


def _decoded(text: bytes) -> bytes:
    try:
        return base45.decode(text)
    except ValueError as fault:
        raise CodeError(Reason.MALFORMED) from fault


def _inflated(packed: bytes) -> bytes:
    """Inflate one whole zlib stream (RFC 1950) with nothing after it, and never more than the cap."""
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(packed, INFLATED_BYTES_MAX + 1)
    except zlib.error as fault:
        raise CodeError(Reason.MALFORMED) from fault
    if len(raw) > INFLATED_BYTES_MAX:
        raise CodeError(Reason.TOO_LARGE, "dcc: inflates without end")
    if not stream.eof or stream.unused_data:
        raise CodeError(Reason.MALFORMED, "dcc: cut off, or bytes after the end")
    return raw


def _read_claims(message: Sign1) -> _Claims:
    raw = message.payload
    claims = read_cbor(raw, size_max=INFLATED_BYTES_MAX, tags=_DATE_TAGS, indefinite=True)
    if not isinstance(claims, dict):
        raise CodeError(Reason.MALFORMED, "dcc: claims that are no map")
    times = {claim: _time(claims.get(claim)) for claim in (_EXP, _NBF, _IAT)}
    wrong = any(time is None and claims.get(claim) is not None for claim, time in times.items())
    certificates = claims.get(_HCERT)
    payload = certificates.get(_DCC_V1) if isinstance(certificates, dict) else None
    return _Claims(
        country=_country(claims.get(_ISS)),
        issued_at=times[_IAT],
        valid_from=max((time for time in (times[_IAT], times[_NBF]) if time is not None), default=None),
        valid_until=times[_EXP],
        stated_end=_number(claims.get(_EXP)),
        timely=times[_EXP] is not None and not wrong,
        payload=payload if isinstance(payload, dict) else None,
    )


def _time(value: object) -> float | None:
    """Accept a NumericDate (RFC 8392 section 2), of which some issuers write fractions; else None."""
    number = _number(value)
    return number if number is not None and 0 < number < 2**32 else None


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _country(issuer: object) -> str | None:
    """Read the issuer, which need not be there (section 3.3.4); some states write the name of an office."""
    known = isinstance(issuer, str) and COUNTRY.fullmatch(issuer.upper()) is not None
    return str(issuer).upper() if known else None


def _judged(message: Sign1, claims: _Claims, trust: Trust, at: Circumstances) -> Examination:
    signature, signer = _check_signature(message, claims.country, trust)
    kinds = _kinds(claims.payload)
    schema = None if claims.payload is None else fits_schema(claims.payload)
    found = _Findings(
        schema=schema,
        signature=signature,
        key_usage=kinds <= signer.usages if signer and kinds else None,
        freshness=_freshness(claims, at),
        # Whose signature counts is known by now: rules cost more than all the rest.
        rules_met=_meets_rules(claims, kinds, trust, at) if schema and signature else None,
    )
    stages = Stages(
        prefix=True,
        base45=True,
        zlib=True,
        cbor=claims.payload is not None,
        schema=found.schema,
        signature=found.signature,
        key_usage=found.key_usage,
        time=_in_time(claims, at),
    )
    return Examination(_result(claims, signer, found), stages)


def _kinds(payload: dict[object, object] | None) -> frozenset[Credential]:
    """Name what a certificate claims to certify, whether or not it does so in good form."""
    return frozenset(kind for group, kind in KINDS.items() if payload and payload.get(group))


def _freshness(claims: _Claims, at: Circumstances) -> Freshness:
    if not claims.timely:
        return Freshness.UNKNOWN
    return at.freshness(start=claims.valid_from, end=claims.valid_until)


def _in_time(claims: _Claims, at: Circumstances) -> bool | None:
    """Say whether now lies in what can be read of the span, also where something else is wrong with it."""
    if not at.clock_trusted or (claims.stated_end is None and claims.valid_from is None):
        return None
    return at.freshness(start=claims.valid_from, end=claims.stated_end) is Freshness.CURRENT


def _check_signature(
    message: Sign1, country: str | None, trust: Trust
) -> tuple[bool | None, DocumentSigner | None]:
    """Say whether the signature is good, and whose it is or should be; None, None if nobody known claims it.

    Where one signer is given that may sign for anybody, the question is whether the code is of that one.
    """
    # Section 3.3.3: the protected key id wins, and each signer that has it must be tried.
    kid = message.protected.get(KID, message.unprotected.get(KID))
    anybodys = [signer for signer in trust.signers if signer.country is None]
    named = [signer for signer in trust.signers if signer.kid == kid and _may_sign_for(signer, country)]
    if KID not in message.protected and KID not in message.unprotected:
        named = anybodys
    for signer in named[:_SIGNERS_TRIED_MAX]:
        try:
            verify_sign1(message, signer.public_key)
        except CodeError:
            continue
        return True, signer
    meant = named or anybodys
    return (False, meant[0]) if named or len(meant) == 1 else (None, None)


def _meets_rules(
    claims: _Claims, kinds: frozenset[Credential], trust: Trust, at: Circumstances
) -> bool | None:
    """Say whether all business rules are met; None where there are none, or no clock to judge them by."""
    if not trust.rules or not at.clock_trusted:
        return None
    (kind,) = kinds  # the schema knows of no certificate with several
    payload: Any = claims.payload
    return not unmet(trust.rules, payload, kind, at.now_ms, trust.value_sets, issuer=claims.country)


def _may_sign_for(signer: DocumentSigner, country: str | None) -> bool:
    """Hold a signer to its country; a code that names none is whose key id says, and the signature proves."""
    return country is None or signer.country in {country, None}


def _reason(claims: _Claims, found: _Findings) -> Reason:
    """Name the first thing against a certificate."""
    if not claims.usable:
        return Reason.MALFORMED
    if found.signature is None:
        return Reason.UNKNOWN_ISSUER
    if not found.signature:
        return Reason.BAD_SIGNATURE
    if found.key_usage is False:
        return Reason.WRONG_PURPOSE
    if not found.schema:
        return Reason.MALFORMED
    if found.freshness is Freshness.UNKNOWN:
        return Reason.CLOCK_UNTRUSTED
    if found.freshness is not Freshness.CURRENT:
        return Reason(found.freshness.value)
    return Reason.RULES_NOT_MET if found.rules_met is False else Reason.OK


_AUTHENTICITY: Final = {
    True: Authenticity.VERIFIED,
    False: Authenticity.REFUSED,
    None: Authenticity.NOT_CHECKABLE,
}


def _result(claims: _Claims, signer: DocumentSigner | None, found: _Findings) -> CodeResult:
    """Tell what a certificate states, of which nothing is passed on unless somebody known has signed it."""
    result = CodeResult(
        format=Format.DCC,
        reason=_reason(claims, found),
        authenticity=_AUTHENTICITY[found.signature if claims.usable else False],
        freshness=found.freshness,
    )
    if result.authenticity is not Authenticity.VERIFIED or signer is None:
        return result
    result = replace(
        result,
        status=Status.GREEN if found.rules_met else Status.UNKNOWN,
        issuer=claims.country or signer.country,
        kid=signer.kid.hex(),
        valid_from=_whole(claims.valid_from, math.ceil),
        valid_until=_whole(claims.valid_until, math.floor),
        issued_at=_whole(claims.issued_at, math.floor),
        assurance=Assurance.OFFLINE_SIGNATURE,
    )
    return _with_entry(result, claims.payload) if claims.payload and found.schema else result


def _whole(time_s: float | None, round_to: Callable[[float], int]) -> int | None:
    return None if time_s is None else round_to(time_s)


def _with_entry(result: CodeResult, payload: dict[object, Any]) -> CodeResult:
    """Add what the one entry of a payload says that fits the schema."""
    group, entries = next((group, payload[group]) for group in KINDS if group in payload)
    entry = entries[0]
    named = reference(entry["ci"].encode("utf-8"))
    test = _lab_test(entry) if KINDS[group] is Credential.TEST else None
    return replace(result, credential=KINDS[group], subject_ref=named, pass_id=named, test=test)


def _lab_test(entry: dict[str, str]) -> LabTest | None:
    """Read a nucleic-acid test; one whose sample has no readable time is worth nothing."""
    if entry["tt"] != _NUCLEIC_ACID_TEST:
        return None
    try:
        taken = datetime.fromisoformat(entry["sc"])
        taken_s = math.floor((taken if taken.tzinfo else taken.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None
    return LabTest(taken_s, negative=entry["tr"] == _NOT_DETECTED)
