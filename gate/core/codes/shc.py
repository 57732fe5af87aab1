"""SMART Health Cards (specification 1.4.0), verified with pinned keys of the issuer.

    "shc:/" two digits for each character of BASE64URL(header) "." BASE64URL(payload) "." BASE64URL(signature)

The payload is raw DEFLATE of JSON: who issued it (`iss`), since when it holds (`nbf`, with fractions of a
second), perhaps until when (`exp`), and a FHIR bundle. The scheme is the specification's fixed string, lower
case only. A bare JWS, as cards are handed over in files, is read too. A card names its issuer by a URL, which
is compared and never opened. The bundle holds names and birth dates: nothing of it leaves this module but the
kind of credential.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NoReturn, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

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
    Reason,
    Stages,
    reference,
)
from gate.core.codes.shc_keys import RID, CardIssuer, decode_base64url
from gate.core.codes.trust import Trust

PREFIX: Final = b"shc:/"

JWS_BYTES_MAX: Final = 4_296
"""A card for a QR code has up to 1,195 characters, a patient summary in a file about 3,000."""

JSON_BYTES_MAX: Final = 65_536
JSON_DEPTH_MAX: Final = 32
"""Lists and maps inside each other; a patient summary reaches 15."""

HEALTH_CARD: Final = "https://smarthealth.cards#health-card"
LABORATORY: Final = "https://smarthealth.cards#laboratory"

_CHUNK: Final = re.compile(rb"([1-9][0-9]?)/([1-9][0-9]?)/[0-9]+")
_JWS: Final = re.compile(rb"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
_CHARACTER_OF: Final = {b"%02d" % value: value + 45 for value in range(78)}
"""From "00" for "-" to "77" for "z", which are the first and the last character of a JWS."""

Json = Mapping[str, object]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Jws:
    """A compact JWS: what was signed (header and payload as they stand), and the parts decoded."""

    signed: bytes
    kid: str
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class _Span:
    """From when a card holds and, perhaps, until when: unix seconds, with fractions."""

    nbf: float
    exp: float | None

    @property
    def end_s(self) -> int | None:
        return None if self.exp is None else int(self.exp)


@dataclass(frozen=True, slots=True)
class _Contents:
    rid: str | None
    credential: Credential


def is_jws(payload: bytes) -> bool:
    """Tell a bare compact JWS: three base64url parts, of which the first starts as a JSON map does."""
    return _JWS.fullmatch(payload) is not None


def verify(payload: bytes, *, trust: Trust, at: Circumstances) -> Examination:
    """Say what a payload that starts with `PREFIX` is worth; total: any bytes give a result.

    Of the stages, `base45` stands for the digits and `schema` for all that is JSON, the header included.
    """
    stages = Stages(prefix=True)
    try:
        jws = _from_digits(payload.removeprefix(PREFIX))
    except CodeError as fault:
        whole = None if fault.reason is Reason.UNSUPPORTED else False
        return _unproven(fault.reason, replace(stages, base45=whole))
    return _examine(jws, replace(stages, base45=True), trust, at)


def verify_jws(jws: bytes, *, trust: Trust, at: Circumstances) -> Examination:
    """Say what a card is worth that came as a bare JWS (see `is_jws`); total: any bytes give a result."""
    return _examine(jws, Stages(prefix=True), trust, at)


def _examine(jws: bytes, stages: Stages, trust: Trust, at: Circumstances) -> Examination:
    reached = replace(stages, schema=False)
    try:
        message = _open(jws)
        reached = replace(stages, zlib=False)
        text = _inflate(message.body)
        reached = replace(stages, zlib=True, schema=False)
        claims = _read_json(text)
        url = _as(str, claims.get("iss"))
    except CodeError as fault:
        return _unproven(fault.reason, reached)
    return _judge(message, claims, url, replace(stages, zlib=True), trust, at)


def _judge(
    message: _Jws, claims: Json, url: str, stages: Stages, trust: Trust, at: Circumstances
) -> Examination:
    """Look at signature, content and time, each whatever the others say; then name the first fault."""
    # The issuer is read before the signature is checked, but only to look up the key that has to fit it.
    issuer = next((one for one in trust.card_issuers if one.url == url and message.kid in one.keys), None)
    signed = None if issuer is None else _is_signed(message, issuer.keys[message.kid])
    span, contents = _read_span(claims), _read_contents(claims)
    freshness = Freshness.UNKNOWN if span is None else at.freshness(start=span.nbf, end=span.exp)
    stages = replace(
        stages,
        schema=span is not None and contents is not None,
        signature=signed,
        time=None if freshness is Freshness.UNKNOWN else freshness is Freshness.CURRENT,
    )
    if issuer is None:
        return _unproven(Reason.UNKNOWN_ISSUER, stages)
    if not signed:
        return _unproven(Reason.BAD_SIGNATURE, stages)
    if span is None or contents is None:
        return _unproven(Reason.MALFORMED, stages)
    return Examination(_result(message, issuer, span, contents, freshness), stages)


def _unproven(reason: Reason, stages: Stages) -> Examination:
    unknown = reason in {Reason.UNKNOWN_ISSUER, Reason.UNSUPPORTED}
    authenticity = Authenticity.NOT_CHECKABLE if unknown else Authenticity.REFUSED
    return Examination(CodeResult(Format.SHC, reason, authenticity=authenticity), stages)


def _result(
    message: _Jws, issuer: CardIssuer, span: _Span, contents: _Contents, freshness: Freshness
) -> CodeResult:
    # Of what was signed, not of the signature: ECDSA has two signatures for each, (r, s) and (r, n - s).
    pass_id = reference(message.signed)
    # The specification recommends one rid for all cards of a person under one key.
    rid = contents.rid
    revoked = rid is not None and issuer.revokes(message.kid, rid, span.nbf)
    return CodeResult(
        format=Format.SHC,
        reason=Reason.REVOKED if revoked else _reason(freshness),
        authenticity=Authenticity.VERIFIED,
        freshness=freshness,
        credential=contents.credential,
        issuer=issuer.url,
        kid=decode_base64url(message.kid.encode()).hex(),
        subject_ref=pass_id if rid is None else reference(f"{issuer.url}\n{rid}".encode()),
        valid_from=int(span.nbf),
        valid_until=span.end_s,
        issued_at=int(span.nbf),
        pass_id=pass_id,
        assurance=Assurance.OFFLINE_SIGNATURE,
    )


def _reason(freshness: Freshness) -> Reason:
    if freshness is Freshness.UNKNOWN:
        return Reason.CLOCK_UNTRUSTED
    return Reason.OK if freshness is Freshness.CURRENT else Reason(freshness.value)


# From the text to the claims


def _from_digits(digits: bytes) -> bytes:
    """Read digit pairs (specification, Encoding QRs); of a card that was split, no part is judged."""
    chunk = _CHUNK.fullmatch(digits)
    if chunk and 2 <= int(chunk[2]) >= int(chunk[1]):
        raise CodeError(Reason.UNSUPPORTED, "shc: one part of several, which the specification gave up")
    if len(digits) > 2 * JWS_BYTES_MAX:
        raise CodeError(Reason.TOO_LARGE)
    try:
        return bytes(_CHARACTER_OF[digits[at : at + 2]] for at in range(0, len(digits), 2))
    except KeyError as fault:
        raise _malformed("not pairs of digits") from fault


def _open(jws: bytes) -> _Jws:
    """Take a compact JWS apart (RFC 7515 section 7.1); its header has to be that of a health card."""
    if len(jws) > JWS_BYTES_MAX:
        raise CodeError(Reason.TOO_LARGE)
    signed, _, _ = jws.rpartition(b".")
    try:
        header_raw, body, signature = map(decode_base64url, jws.split(b"."))
    except ValueError as fault:
        raise _malformed("not three parts of base64url") from fault
    header = _read_json(header_raw)
    if header.get("alg") != "ES256" or header.get("zip") != "DEF":
        raise _malformed("not the algorithm or not the compression of a health card")
    if "crit" in header:
        raise CodeError(Reason.UNSUPPORTED, "shc: a critical header")
    return _Jws(signed, _as(str, header.get("kid")), body, signature)


def _inflate(data: bytes) -> bytes:
    """Expand raw DEFLATE (RFC 1951) that ends where the data end."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        text = stream.decompress(data, JSON_BYTES_MAX + 1)
    except zlib.error as fault:
        raise _malformed("not DEFLATE") from fault
    if len(text) > JSON_BYTES_MAX:
        raise CodeError(Reason.TOO_LARGE)
    if not stream.eof or stream.unused_data:
        raise _malformed("cut off, or bytes after the end")
    return text


def _is_signed(message: _Jws, key: EllipticCurvePublicKey) -> bool:
    """Check ES256: r and s side by side (RFC 7518 section 3.4), never the DER form of other protocols."""
    if len(message.signature) != 64:
        return False
    r, s = int.from_bytes(message.signature[:32], "big"), int.from_bytes(message.signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), message.signed, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


# JSON that strangers wrote


def _read_json(raw: bytes) -> Json:
    """Read one JSON map of limited depth, with distinct keys and finite numbers of limited length."""
    _check_depth_and_numbers(raw)
    try:
        return _as(dict, _DECODER.decode(raw.decode("utf-8")))
    except ValueError as fault:  # of which UnicodeDecodeError, JSONDecodeError and CodeError are kinds
        raise _malformed("not JSON, or not plain JSON") from fault


# Without an alternative that can fail after the first quotation mark: the search never goes back.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)
_LONG_NUMBER: Final = re.compile(rb"[0-9]{25}")
_PARENTHESES: Final = bytes.maketrans(b"[{]}", b"(())")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[{]}"))


def _check_depth_and_numbers(raw: bytes) -> None:
    """Look at brackets and digits outside of strings, before a parser recurses on them and multiplies."""
    bare = _STRING.sub(b"", raw)
    if _LONG_NUMBER.search(bare):
        raise _malformed("a number of more than 24 digits")
    brackets = bare.translate(_PARENTHESES, _NO_BRACKETS)
    for _ in range(JSON_DEPTH_MAX):  # each round takes the innermost level away
        brackets = brackets.replace(b"()", b"")
    if brackets:
        raise _malformed(f"deeper than {JSON_DEPTH_MAX}, or brackets that do not match")


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _malformed("a key twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _malformed("a number beyond all numbers")
    return number


def _not_a_number(text: str) -> NoReturn:
    # "exp < now" is false for NaN, so that such a card would never expire.
    raise _malformed(text)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_distinct, parse_float=_finite, parse_constant=_not_a_number
)


def _malformed(detail: str) -> CodeError:
    return CodeError(Reason.MALFORMED, f"shc: {detail}")


def _as(kind: type[T], value: object) -> T:
    if isinstance(value, kind):
        return value
    raise _malformed("a value of another type")


# What a card has to hold


def _read_span(claims: Json) -> _Span | None:
    """Read `nbf`, which is also the time of issue, and `exp`, which may be absent; None if unusable."""
    nbf, exp = _time(claims.get("nbf")), _time(claims.get("exp"))
    if nbf is None or (exp is None and "exp" in claims):
        return None
    return _Span(nbf, exp)


def _time(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 < value < 2**32 else None


def _read_contents(claims: Json) -> _Contents | None:
    """Read `vc` as far as a gate needs it; None if it is not as the specification shows it."""
    try:
        vc = _as(dict, claims.get("vc"))
        types = _as(list, vc.get("type"))
        resources = _read_bundle(_as(dict, vc.get("credentialSubject")))
    except CodeError:
        return None
    rid = vc.get("rid")
    named = "rid" not in vc or (isinstance(rid, str) and RID.fullmatch(rid))
    if HEALTH_CARD not in types or not named:
        return None
    return _Contents(rid, _credential(resources, LABORATORY in types))


def _read_bundle(subject: Json) -> list[Json]:
    _as(str, subject.get("fhirVersion"))
    bundle = _as(dict, subject.get("fhirBundle"))
    if bundle.get("resourceType") != "Bundle":
        raise _malformed("not a FHIR bundle")
    return [_as(dict, _as(dict, entry).get("resource")) for entry in _as(list, bundle.get("entry"))]


def _credential(resources: list[Json], laboratory: bool) -> Credential:
    """Class a card by its contents, as version 1.4.0 asks; only results of a laboratory count as a test."""
    if any(_is_a(one, "Immunization", ("completed",)) for one in resources):
        return Credential.VACCINATION
    observations = [one for one in resources if _is_a(one, "Observation", ("final", "amended", "corrected"))]
    if any(laboratory or _is_laboratory(one) for one in observations):
        return Credential.TEST
    return Credential.NONE


def _is_a(resource: Json, kind: str, statuses: tuple[str, ...]) -> bool:
    # FHIR keeps what was not done or was entered in error under the same type.
    return resource.get("resourceType") == kind and resource.get("status") in statuses


def _is_laboratory(observation: Json) -> bool:
    """Look for the code "laboratory" (FHIR observation-category) among the categories of an observation."""
    try:
        categories = [_as(dict, one) for one in _as(list, observation.get("category"))]
        codings = [_as(dict, one) for category in categories for one in _as(list, category.get("coding"))]
    except CodeError:
        return False
    return any(coding.get("code") == "laboratory" for coding in codings)
