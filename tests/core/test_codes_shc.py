"""SMART Health Cards: the published ones, our own at every edge, and hostile ones."""

import base64
import hashlib
import json
import random
import tracemalloc
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from hypothesis import given
from hypothesis import strategies as st

from gate.core.codes.model import (
    Assurance,
    Authenticity,
    Circumstances,
    CodeResult,
    Credential,
    Examination,
    Format,
    Freshness,
    Reason,
    Stages,
)
from gate.core.codes.shc import JSON_BYTES_MAX, JSON_DEPTH_MAX, JWS_BYTES_MAX, is_jws, verify, verify_jws
from gate.core.codes.shc_keys import CardIssuer, decode_base64url, read_issuer
from gate.core.codes.trust import Trust

DATA = Path(__file__).parents[1] / "data" / "codes" / "shc"
MANIFEST = json.loads((DATA / "manifest.json").read_text())
ISSUER = MANIFEST["issuer"]
CLOCK = Circumstances("hall", 1_767_225_600_000, start_tolerance_s=0)
"""2026-01-01T00:00:00Z, the clock of the manifest."""

OWN_URL = "https://cards.example/issuer"
CURVE_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


# Published cards


@cache
def published_trust() -> Trust:
    jwks = json.loads((DATA / "issuer-jwks.json").read_text())
    revoked = json.loads((DATA / "crl-3Kfdg.json").read_text())
    return Trust(card_issuers=(read_issuer({**jwks, "issuer": ISSUER}, [revoked]),))


def published(name: str) -> bytes:
    return (DATA / name).read_bytes()


def judge_published(payload: bytes, at: Circumstances = CLOCK) -> Examination:
    reader = verify if payload.startswith(b"shc:/") else verify_jws
    return reader(payload, trust=published_trust(), at=at)


def test_the_copies_are_those_of_the_manifest() -> None:
    for row in MANIFEST["cases"] + MANIFEST["extra"]:
        assert hashlib.sha256(published(row["file"])).hexdigest() == row["sha256"], row["file"]
    assert len(MANIFEST["cases"]) == 28


EXPECTED = {
    "valid": {Reason.OK},
    "chunk": {Reason.UNSUPPORTED},
    # The list names the card's rid with an instant before the card was issued: by the specification it is
    # not revoked, and what remains is that it has expired.
    "expired and revoked": {Reason.EXPIRED},
    "invalid": {Reason.MALFORMED, Reason.UNKNOWN_ISSUER, Reason.BAD_SIGNATURE},
}


@pytest.mark.parametrize("row", MANIFEST["cases"], ids=lambda row: row["file"])
def test_published_cards(row: dict[str, str]) -> None:
    examined = judge_published(published(row["file"]))
    assert examined.result.reason in EXPECTED[row["expected"]]
    assert examined.result.verified == (row["expected"] == "valid")


GOOD = {"zlib": True, "schema": True, "signature": True, "time": True}
REASONS = {
    "DER not raw r||s": (Reason.BAD_SIGNATURE, {**GOOD, "signature": False}),
    "DER, r with leading zero": (Reason.BAD_SIGNATURE, {**GOOD, "signature": False}),
    "signature": (Reason.BAD_SIGNATURE, {**GOOD, "signature": False}),
    "kid not of this issuer": (Reason.UNKNOWN_ISSUER, {**GOOD, "signature": None}),
    "iss has no such key: bind kid to iss": (Reason.UNKNOWN_ISSUER, {**GOOD, "signature": None}),
    "unknown kid": (Reason.UNKNOWN_ISSUER, {**GOOD, "signature": None}),
    "zip header/payload": (Reason.MALFORMED, {"schema": False}),
    "alg missing": (Reason.MALFORMED, {"schema": False}),
    "kid missing": (Reason.MALFORMED, {"schema": False}),
    "zip missing": (Reason.MALFORMED, {"schema": False}),
    "trailing characters": (Reason.MALFORMED, {"schema": False}),
    # An old draft under an older issuer's name: who signed comes before what is in it.
    "nbf/shape": (Reason.UNKNOWN_ISSUER, {"zlib": True, "schema": False}),
    "index-out-of-range": (Reason.MALFORMED, {"base45": False}),
    "number-too-big": (Reason.MALFORMED, {"base45": False}),
    "odd-count": (Reason.MALFORMED, {"base45": False}),
    "wrong-multi-chunk": (Reason.MALFORMED, {"base45": False}),
    # These two do not start with the prefix, so a gate takes them for text; here even the reader refuses.
    "trailing_chars": (Reason.MALFORMED, {"schema": False}),
    "wrong_qr_header": (Reason.MALFORMED, {"schema": False}),
}


@pytest.mark.parametrize(
    "row", [row for row in MANIFEST["cases"] if row["expected"] == "invalid"], ids=lambda row: row["file"]
)
def test_published_faults_by_their_cause(row: dict[str, str]) -> None:
    examined = judge_published(published(row["file"]))
    reason, stages = REASONS[row["why"]]
    assert examined.result.reason is reason
    assert examined.stages == Stages(prefix=True, **stages)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_the_numeric_code_and_the_jws_are_the_same_card(number: int) -> None:
    jws = judge_published(published(f"example-0{number}-d-jws.txt"))
    code = judge_published(published(f"example-0{number}-f-qr-code-numeric-value-0.txt"))
    assert jws.result == code.result
    assert (jws.stages.base45, code.stages.base45) == (None, True)


def test_all_that_is_known_of_a_published_card() -> None:
    assert judge_published(published("example-03-f-qr-code-numeric-value-0.txt")) == Examination(
        CodeResult(
            format=Format.SHC,
            reason=Reason.EXPIRED,
            authenticity=Authenticity.VERIFIED,
            freshness=Freshness.EXPIRED,
            credential=Credential.VACCINATION,
            issuer=ISSUER,
            kid="dca7dd83e5f03feee05f2cb0b547d4003c01ba60ce3ca310c7e8842cbd755bdb",
            subject_ref=hashlib.sha256(f"{ISSUER}\nvwAjHdarZuc".encode()).hexdigest()[:16],
            valid_from=1_715_107_763,
            valid_until=1_746_643_763,
            issued_at=1_715_107_763,
            pass_id=hashlib.sha256(published("example-03-d-jws.txt").rpartition(b".")[0]).hexdigest()[:16],
            assurance=Assurance.OFFLINE_SIGNATURE,
        ),
        Stages(prefix=True, base45=True, zlib=True, schema=True, signature=True, time=False),
    )


def test_nothing_personal_leaves_a_card() -> None:
    shown = repr(judge_published(published("example-00-d-jws.txt")))
    for word in ("Anyperson", "John", "1951", "MKyCxh7p6uQ"):
        assert word not in shown


def test_a_patient_summary_is_neither_vaccination_nor_test() -> None:
    result = judge_published(published("example-02-d-jws.txt")).result
    assert (result.verified, result.credential) == (True, Credential.NONE)


def test_every_byte_of_a_published_card_counts() -> None:
    whole = published("example-00-d-jws.txt")
    for at in range(len(whole)):
        bent = bytearray(whole)
        bent[at] ^= 1 << (at % 7)
        result = judge_published(bytes(bent)).result
        assert result.reason in EXPECTED["invalid"], at
        assert result.subject_ref is None
    code = published("example-00-f-qr-code-numeric-value-0.txt")
    for at in range(5, len(code)):
        bent = bytearray(code)
        bent[at] = ord("0") + (bent[at] - ord("0") + 1 + at % 9) % 10
        assert judge_published(bytes(bent)).result.reason in EXPECTED["invalid"], at


def test_a_published_card_cut_off_anywhere() -> None:
    code = published("example-00-f-qr-code-numeric-value-0.txt")
    for length in range(5, len(code)):
        assert judge_published(code[:length]).result.reason in EXPECTED["invalid"], length


# Cards of our own

KEY = derive_private_key(int.from_bytes(hashlib.sha256(b"issuer").digest(), "big"), SECP256R1())
STRANGER = derive_private_key(int.from_bytes(hashlib.sha256(b"stranger").digest(), "big"), SECP256R1())
NBF, EXP = 1_700_000_000, 1_700_086_400
RID = "Ab-_9"


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwk(key: EllipticCurvePrivateKey = KEY, **change: object) -> dict[str, object]:
    numbers = key.public_key().public_numbers()
    x, y = b64(numbers.x.to_bytes(32, "big")), b64(numbers.y.to_bytes(32, "big"))
    thumbprint = hashlib.sha256(f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode()).digest()
    plain = {"kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "x": x, "y": y}
    return {"kid": b64(thumbprint), **plain, **change}


KID = str(jwk()["kid"])
HEADER = {"zip": "DEF", "alg": "ES256", "kid": KID}
IMMUNIZATION = {"resourceType": "Immunization", "status": "completed"}
LAB = {
    "resourceType": "Observation",
    "status": "final",
    "category": [{"coding": [{"code": "laboratory"}]}],
}


def jwks(*keys: dict[str, object], **change: object) -> dict[str, object]:
    return {"issuer": OWN_URL, "keys": list(keys) or [jwk()], **change}


def crl(*rids: object, **change: object) -> dict[str, object]:
    return {"kid": KID, "method": "rid", "ctr": 1, "rids": list(rids), **change}


TRUST = Trust(card_issuers=(read_issuer(jwks()),))


def claims_of(*resources: object, **change: object) -> dict[str, object]:
    bundle = {"resourceType": "Bundle", "entry": [{"resource": one} for one in resources or [IMMUNIZATION]]}
    return {
        "iss": OWN_URL,
        "nbf": NBF,
        "vc": {
            "type": ["https://smarthealth.cards#health-card"],
            "credentialSubject": {"fhirVersion": "4.0.1", "fhirBundle": bundle},
            "rid": RID,
        },
        **change,
    }


def deflate(raw: bytes) -> bytes:
    stream = zlib.compressobj(9, wbits=-15)
    return stream.compress(raw) + stream.flush()


def signed(
    body: bytes,
    header: object = HEADER,
    key: EllipticCurvePrivateKey = KEY,
    digest: HashAlgorithm | None = None,
) -> bytes:
    """A JWS around any bytes, with a signature that fits them."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    text = f"{b64(head)}.{b64(body)}".encode()
    r, s = decode_dss_signature(key.sign(text, ECDSA(digest or SHA256())))
    return text + b"." + b64(r.to_bytes(32, "big") + s.to_bytes(32, "big")).encode()


def card(claims: object = None, **how: object) -> bytes:
    text = (
        claims
        if isinstance(claims, bytes)
        else json.dumps(claims_of() if claims is None else claims).encode()
    )
    return signed(deflate(text), **how)  # type: ignore[arg-type]  # passed on as given


def code(jws: bytes) -> bytes:
    return b"shc:/" + b"".join(b"%02d" % (character - 45) for character in jws)


def examine(jws: bytes, trust: Trust = TRUST, at: Circumstances | None = None) -> Examination:
    """Judge a card both as a JWS and, if it can be one, as a code; the answer has to be the same."""
    at = at or Circumstances("hall", NBF * 1000 + 3_600_000)
    examined = verify_jws(jws, trust=trust, at=at)
    if all(45 <= character <= 122 for character in jws):
        assert verify(code(jws), trust=trust, at=at).result == examined.result
    return examined


def judge(jws: bytes, trust: Trust = TRUST, at: Circumstances | None = None) -> CodeResult:
    return examine(jws, trust, at).result


def assert_refused(jws: bytes, reason: Reason = Reason.MALFORMED) -> None:
    assert judge(jws) == CodeResult(Format.SHC, reason, authenticity=Authenticity.REFUSED)


def assert_malformed(claims: object) -> None:
    """Well signed, and yet not a card: the schema failed, and not the signature."""
    examined = examine(card(claims))
    assert examined.result == CodeResult(Format.SHC, Reason.MALFORMED, authenticity=Authenticity.REFUSED)
    assert examined.stages.schema is False


CARD = card()
CODE = code(CARD)


def test_a_card_of_our_own() -> None:
    examined = examine(CARD)
    assert examined.result.verified
    assert examined.result.issuer == OWN_URL
    assert examined.stages == Stages(prefix=True, zlib=True, schema=True, signature=True, time=True)


def test_a_bare_jws_is_recognised() -> None:
    assert is_jws(card())
    assert is_jws(b"eyJ..")
    others = (
        b"",
        b"eyJ",
        b"eyJ.a",
        b"eyJ.a.b.c",
        b"eyA.a.b",
        b"eyJ.a.b\n",
        b" eyJ.a.b",
        b"eyJ.a=.b",
        code(card()),
    )
    for other in others:
        assert not is_jws(other), other


# Who signed


def test_unknown_issuers_and_keys_go_to_a_person() -> None:
    other_url = Trust(card_issuers=(CardIssuer("https://other.example", TRUST.card_issuers[0].keys),))
    cases = [
        (card(), Trust()),
        (card(), other_url),
        (card(claims_of(iss="https://other.example")), TRUST),
        (card(claims_of(iss=OWN_URL + "/")), TRUST),
        (card(claims_of(iss=OWN_URL.upper())), TRUST),
        (card(header={**HEADER, "kid": ""}), TRUST),
        (card(header={**HEADER, "kid": "\ud800"}), TRUST),
    ]
    for jws, trust in cases:
        examined = examine(jws, trust)
        assert examined.result == CodeResult(Format.SHC, Reason.UNKNOWN_ISSUER)
        assert (examined.stages.signature, examined.stages.schema, examined.stages.time) == (None, True, True)


def test_a_key_counts_only_for_its_own_issuer() -> None:
    theirs = read_issuer(jwks(jwk(STRANGER), issuer="https://theirs.example"))
    both = Trust(card_issuers=(*TRUST.card_issuers, theirs))
    header = {**HEADER, "kid": jwk(STRANGER)["kid"]}
    own_name = card(header=header, key=STRANGER)
    assert judge(own_name, both).reason is Reason.UNKNOWN_ISSUER
    honest = card(claims_of(iss="https://theirs.example"), header=header, key=STRANGER)
    assert judge(honest, both).verified


def test_an_issuer_may_be_listed_in_two_documents() -> None:
    both = Trust(card_issuers=(read_issuer(jwks(jwk(STRANGER))), *TRUST.card_issuers))
    assert judge(card(), both).verified


def test_a_stranger_who_names_a_trusted_key() -> None:
    examined = examine(card(key=STRANGER))
    assert examined.result.reason is Reason.BAD_SIGNATURE
    assert examined.stages == Stages(prefix=True, zlib=True, schema=True, signature=False, time=True)


@pytest.mark.parametrize(
    "alg", ["none", "None", "HS256", "ES384", "ES512", "RS256", "es256", "", None, 0, ["ES256"]]
)
def test_other_algorithms_are_refused_even_well_signed(alg: object) -> None:
    assert_refused(card(header={**HEADER, "alg": alg}))


@pytest.mark.parametrize("change", [{"zip": "GZ"}, {"zip": None}, {"kid": None}, {"kid": 5}, {"kid": [KID]}])
def test_other_headers_are_refused(change: dict[str, object]) -> None:
    assert_refused(card(header={**HEADER, **change}))


def test_headers_that_lead_elsewhere_are_not_followed() -> None:
    assert judge(card(header={**HEADER, "typ": "JWT", "jku": "https://evil.example/keys"})).verified
    evil = {**HEADER, "jwk": jwk(STRANGER), "x5c": ["AAAA"]}
    assert_refused(card(header=evil, key=STRANGER), Reason.BAD_SIGNATURE)


def test_a_critical_header_is_not_for_this_gate() -> None:
    assert judge(card(header={**HEADER, "crit": ["b64"], "b64": False})) == CodeResult(
        Format.SHC, Reason.UNSUPPORTED
    )


def test_other_forms_of_the_signature() -> None:
    text, _, given_signature = card().rpartition(b".")
    raw = decode_base64url(given_signature)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    others = [
        b"",
        raw[:-1],
        raw + b"\x00",
        raw[:32] + b"\x00" + raw[32:],  # the same numbers, one of them written longer
        encode_dss_signature(r, s),
        bytes(64),
        raw[:32] + bytes(32),
        raw[32:] + raw[:32],
        b"\xff" * 64,
        decode_base64url(card(digest=SHA384()).rpartition(b".")[2]),
    ]
    for other in others:
        assert_refused(text + b"." + b64(other).encode(), Reason.BAD_SIGNATURE)


def test_the_second_signature_of_a_card_does_not_make_a_second_pass() -> None:
    text, _, given_signature = card().rpartition(b".")
    raw = decode_base64url(given_signature)
    s = CURVE_ORDER - int.from_bytes(raw[32:], "big")
    twin = text + b"." + b64(raw[:32] + s.to_bytes(32, "big")).encode()
    assert twin != card()
    assert judge(twin) == judge(text + b"." + given_signature)


# Time


def at_ms(now_ms: int, **change: object) -> Circumstances:
    return Circumstances("hall", now_ms, **change)  # type: ignore[arg-type]  # passed on as given


@pytest.mark.parametrize("tolerance_s", [0, 300])
@pytest.mark.parametrize("nbf_ms", [NBF * 1000, NBF * 1000 + 677, 1_715_107_763_001, 1_715_107_763_999])
def test_the_start_is_exact_to_the_millisecond(nbf_ms: int, tolerance_s: int) -> None:
    jws = card(json.dumps(claims_of(nbf=0)).replace('"nbf": 0', f'"nbf": {nbf_ms / 1000:.3f}').encode())
    edge_ms = nbf_ms - tolerance_s * 1000
    early = examine(jws, at=at_ms(edge_ms - 1, start_tolerance_s=tolerance_s))
    assert (early.result.reason, early.result.freshness) == (Reason.NOT_YET_VALID, Freshness.NOT_YET_VALID)
    assert (early.result.authenticity, early.stages.time) == (Authenticity.VERIFIED, False)
    current = examine(jws, at=at_ms(edge_ms, start_tolerance_s=tolerance_s))
    assert (current.result.verified, current.stages.time) == (True, True)
    assert (current.result.valid_from, current.result.issued_at) == (nbf_ms // 1000, nbf_ms // 1000)
    assert current.result.valid_until is None


@pytest.mark.parametrize("tolerance_s", [0, 60])
@pytest.mark.parametrize("exp", [EXP, EXP + 0.678])
def test_the_last_millisecond_still_counts(exp: float, tolerance_s: int) -> None:
    jws = card(claims_of(exp=exp))
    edge_ms = round(exp * 1000) + tolerance_s * 1000
    last = judge(jws, at=at_ms(edge_ms, end_tolerance_s=tolerance_s))
    assert (last.verified, last.valid_until) == (True, EXP)
    late = examine(jws, at=at_ms(edge_ms + 1, end_tolerance_s=tolerance_s))
    assert (late.result.reason, late.result.freshness) == (Reason.EXPIRED, Freshness.EXPIRED)
    assert late.stages.time is False


def test_a_card_without_an_end_does_not_end() -> None:
    assert judge(card(), at=at_ms(2**33 * 1000)).verified


def test_without_a_trusted_clock_the_time_is_unknown() -> None:
    examined = examine(card(claims_of(exp=EXP)), at=at_ms(0, clock_trusted=False))
    assert (examined.result.reason, examined.result.freshness) == (Reason.CLOCK_UNTRUSTED, Freshness.UNKNOWN)
    assert (examined.result.authenticity, examined.stages.time) == (Authenticity.VERIFIED, None)


def test_each_stage_is_judged_even_when_another_fails() -> None:
    late = at_ms((EXP + 1) * 1000)
    forged = examine(card(claims_of(exp=EXP, vc={}), key=STRANGER), at=late)
    assert forged.result.reason is Reason.BAD_SIGNATURE
    assert forged.stages == Stages(prefix=True, zlib=True, schema=False, signature=False, time=False)
    empty = examine(card(claims_of(exp=EXP, vc={})), at=late)
    assert empty.result.reason is Reason.MALFORMED
    assert empty.stages == Stages(prefix=True, zlib=True, schema=False, signature=True, time=False)
    timeless = examine(card(claims_of(exp="soon")), at=late)
    assert timeless.stages == Stages(prefix=True, zlib=True, schema=False, signature=True, time=None)


# Revocation


def revoking(*rids: object, kid: str = KID, keys: tuple[dict[str, object], ...] = ()) -> Trust:
    return Trust(card_issuers=(read_issuer(jwks(*keys), [crl(*rids, kid=kid)]),))


@pytest.mark.parametrize(
    ("rids", "revoked"),
    [
        ([], False),
        ([RID], True),
        ([RID.lower()], False),
        ([RID[:-1], RID + "x"], False),
        ([f"{RID}.{NBF}"], False),  # issued at that very instant is not before it
        ([f"{RID}.{NBF + 1}"], True),
        ([f"{RID}.{NBF - 1}"], False),
        ([f"{RID}.{NBF - 1}", f"{RID}.{NBF + 1}"], True),
        ([f"{RID}.{NBF + 1}", f"{RID}.{NBF - 1}"], True),
        ([f"{RID}.{NBF - 1}", RID], True),
        ([RID, f"{RID}.{NBF - 1}"], True),
        ([f"{RID}.0"], False),
    ],
)
def test_revoked_by_rid_and_time(rids: list[str], revoked: bool) -> None:
    examined = examine(card(), revoking(*rids))
    assert examined.result.reason is (Reason.REVOKED if revoked else Reason.OK)
    assert (examined.result.authenticity, examined.result.freshness) == ("verified", "current")
    assert examined.result.pass_id is not None


def test_the_instant_of_revocation_is_compared_with_the_fraction_of_the_issue() -> None:
    trust = revoking(f"{RID}.{NBF + 1}")
    assert judge(card(claims_of(nbf=NBF + 0.999)), trust).reason is Reason.REVOKED
    assert judge(card(claims_of(nbf=NBF + 1.001)), trust).reason is Reason.OK


def test_a_revoked_card_is_revoked_before_it_is_anything_else() -> None:
    trust, jws = revoking(RID), card(claims_of(exp=EXP))
    cases = [
        (at_ms((EXP + 1) * 1000), Freshness.EXPIRED),
        (at_ms(0), Freshness.NOT_YET_VALID),
        (at_ms(0, clock_trusted=False), Freshness.UNKNOWN),
    ]
    for at, freshness in cases:
        result = judge(jws, trust, at)
        assert (result.reason, result.freshness, result.verified) == (Reason.REVOKED, freshness, False)
    forged = judge(card(claims_of(exp=EXP), key=STRANGER), trust)
    assert forged.reason is Reason.BAD_SIGNATURE


def test_a_list_counts_for_its_own_key_only() -> None:
    other = jwk(STRANGER)
    assert judge(card(), revoking(RID, kid=str(other["kid"]), keys=(jwk(), other))).verified


def test_a_card_without_a_rid_cannot_be_revoked() -> None:
    claims = claims_of()
    del claims["vc"]["rid"]  # type: ignore[attr-defined]  # built above as a dict
    result = judge(card(claims), revoking(RID))
    assert result.verified
    assert result.subject_ref == result.pass_id


def test_one_rid_is_one_subject_and_two_cards_are_two_passes() -> None:
    first, second = judge(card()), judge(card(claims_of(nbf=NBF + 1)))
    assert first.subject_ref == second.subject_ref
    assert first.pass_id != second.pass_id
    assert first.subject_ref != first.pass_id


# What a card has to hold


def changed(path: str, value: object) -> dict[str, object]:
    """The plain claims with one value at a dotted path replaced, or removed if `value` is Ellipsis."""
    claims = claims_of()
    *parents, last = path.split(".")
    node: dict[str, object] = claims
    for name in parents:
        node = node[name]  # type: ignore[assignment]  # paths below lead through dicts only
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return claims


SUBJECT = "vc.credentialSubject"
REQUIRED = [
    "iss",
    "nbf",
    "vc",
    "vc.type",
    SUBJECT,
    f"{SUBJECT}.fhirVersion",
    f"{SUBJECT}.fhirBundle",
    f"{SUBJECT}.fhirBundle.resourceType",
    f"{SUBJECT}.fhirBundle.entry",
]


@pytest.mark.parametrize("path", REQUIRED)
@pytest.mark.parametrize("value", [..., None, True, [5], {"a": 1}, {}])
def test_each_part_is_required_and_has_its_type(path: str, value: object) -> None:
    assert_malformed(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("vc.type", []),
        ("vc.type", "https://smarthealth.cards#health-card"),
        ("vc.type", ["https://smarthealth.cards#wrong-health-card", {}]),
        ("vc.rid", None),
        ("vc.rid", 5),
        ("vc.rid", ""),
        ("vc.rid", "x" * 25),
        ("vc.rid", "a.1"),
        ("vc.rid", "a\n"),
        ("vc.rid", "ä"),
        (f"{SUBJECT}.fhirBundle.resourceType", "Patient"),
        (f"{SUBJECT}.fhirBundle.entry", [{"resource": "Immunization"}]),
        (f"{SUBJECT}.fhirBundle.entry", [{}]),
    ],
)
def test_other_contents_are_malformed(path: str, value: object) -> None:
    assert_malformed(changed(path, value))


def test_what_is_not_needed_is_passed_over() -> None:
    more_types = ["https://smarthealth.cards#health-card", "https://smarthealth.cards#unheard-of", 5]
    assert judge(card(changed("vc.type", more_types))).verified
    assert judge(card({**claims_of(), "iat": "x", "ssi": [None]})).verified
    assert judge(card(changed("vc.rid", "x" * 24))).verified


BAD_TIMES = ["0", "-1", "4294967296", "1e300", '"1700000000"', "true", "null", "[]", "{}", "1" * 24]
NO_JSON_TIMES = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "1" * 25,
    "1" * 5000,
    "1." + "1" * 25,
    "01",
    "+1",
]


@pytest.mark.parametrize("claim", ["nbf", "exp"])
@pytest.mark.parametrize("value", BAD_TIMES + NO_JSON_TIMES, ids=lambda value: value[:12])
def test_a_time_that_would_never_come_is_malformed(claim: str, value: str) -> None:
    text = json.dumps(claims_of(**{claim: "TIME"})).replace('"TIME"', value)
    assert_malformed(text.encode())
    assert examine(card(text.encode())).stages.time is None


@pytest.mark.parametrize("value", ["NaN", "1e999", "-Infinity", "9" * 25])
def test_numbers_without_end_are_refused_wherever_they_stand(value: str) -> None:
    assert_malformed(json.dumps(claims_of(x=[0])).replace("[0]", f"[{value}]").encode())


@pytest.mark.parametrize(
    ("resources", "credential"),
    [
        ([IMMUNIZATION], Credential.VACCINATION),
        ([LAB, IMMUNIZATION], Credential.VACCINATION),
        ([{**IMMUNIZATION, "status": "not-done"}], Credential.NONE),
        ([{**IMMUNIZATION, "status": "entered-in-error"}, LAB], Credential.TEST),
        ([{**IMMUNIZATION, "status": ["completed"]}], Credential.NONE),
        ([LAB], Credential.TEST),
        ([{**LAB, "status": "amended"}], Credential.TEST),
        ([{**LAB, "status": "cancelled"}], Credential.NONE),
        ([{**LAB, "category": [{"coding": [{"code": "vital-signs"}]}]}], Credential.NONE),
        ([{**LAB, "category": [{"coding": []}]}], Credential.NONE),
        ([{**LAB, "category": "laboratory"}], Credential.NONE),
        ([{**LAB, "category": [{"coding": ["laboratory"]}]}], Credential.NONE),
        ([{"resourceType": "Patient"}], Credential.NONE),
        ([{"resourceType": ["Immunization"], "status": "completed"}], Credential.NONE),
    ],
)
def test_a_card_is_classed_by_its_contents(resources: list[object], credential: Credential) -> None:
    assert judge(card(claims_of(*resources))).credential is credential


def test_the_deprecated_type_still_makes_an_observation_a_test() -> None:
    types = ["https://smarthealth.cards#health-card", "https://smarthealth.cards#laboratory"]
    plain = {"resourceType": "Observation", "status": "final"}
    claims = claims_of(plain)
    assert judge(card(claims)).credential is Credential.NONE
    claims["vc"]["type"] = types  # type: ignore[index]  # built above as a dict
    assert judge(card(claims)).credential is Credential.TEST


# Hostile texts


@pytest.mark.parametrize("text", [b"0", b"567", b"5x", b"78" * 9, b"99", b"5 ", b"+1+1", b"\xb2\xb2", b"5_"])
def test_anything_but_pairs_of_digits_is_malformed(text: bytes) -> None:
    examined = verify(b"shc:/" + text, trust=TRUST, at=CLOCK)
    assert examined.result == CodeResult(Format.SHC, Reason.MALFORMED, authenticity=Authenticity.REFUSED)
    assert examined.stages == Stages(prefix=True, base45=False)


def test_a_prefix_without_a_card() -> None:
    examined = verify(b"shc:/", trust=TRUST, at=CLOCK)
    assert examined.result.reason is Reason.MALFORMED
    assert examined.stages == Stages(prefix=True, base45=True, schema=False)


@pytest.mark.parametrize("chunk", [b"1/2/", b"2/2/", b"1/99/", b"10/11/"])
def test_a_part_of_a_card_is_not_judged(chunk: bytes) -> None:
    examined = verify(b"shc:/" + chunk + CODE[5:], trust=TRUST, at=CLOCK)
    assert examined == Examination(CodeResult(Format.SHC, Reason.UNSUPPORTED), Stages(prefix=True))


@pytest.mark.parametrize(
    "chunk", [b"1/1/", b"0/2/", b"3/2/", b"1/100/", b"01/2/", b"1/2/3/", b"-1/2/", b"1/2", b"/"]
)
def test_a_part_that_cannot_be_one_is_malformed(chunk: bytes) -> None:
    examined = verify(b"shc:/" + chunk + CODE[5:], trust=TRUST, at=CLOCK)
    assert examined.result.reason is Reason.MALFORMED


def test_one_card_has_one_spelling() -> None:
    jws = card()
    header, body, signature = jws.split(b".")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare = bytes([alphabet[alphabet.index(signature[-1]) + 1]])  # other bits that the decoder would drop
    others = [
        jws + b"=",
        jws + b"==",
        jws + b"\n",
        b" " + jws,
        jws + b".",
        b"." + jws,
        header + b"." + body,
        header + b".." + body + b"." + signature,
        header + b"." + body + b"." + signature[:-1] + spare,
        header + b"." + body + b"." + signature[:-1],
        jws.replace(b".", b",", 1),
        header[:9] + b"+" + header[9:] + b"." + body + b"." + signature,
        jws + b"\xff",
        b"",
        b"..",
    ]
    for other in others:
        assert other != jws
        assert_refused(other)


def test_deflate_that_is_cut_off_trailed_or_another_format() -> None:
    plain = json.dumps(claims_of()).encode()
    packed = deflate(plain)
    for body in (packed + b"\x00", packed + packed, packed[:-1], plain, zlib.compress(plain), b"", b"\x07"):
        examined = examine(signed(body))
        assert examined.result.reason is Reason.MALFORMED
        assert examined.stages == Stages(prefix=True, zlib=False)


def test_a_bomb_is_too_large() -> None:
    for size in (JSON_BYTES_MAX + 1, 3_000_000):
        examined = examine(card(bytes(size)))
        assert examined.result.reason is Reason.TOO_LARGE
        assert examined.stages == Stages(prefix=True, zlib=False)
    padded = json.dumps(claims_of()).encode().ljust(JSON_BYTES_MAX)
    assert judge(card(padded)).verified


def test_no_text_above_the_size_of_any_card_is_read() -> None:
    assert judge(b"A" * JWS_BYTES_MAX).reason is Reason.MALFORMED
    assert_refused(b"A" * (JWS_BYTES_MAX + 1), Reason.TOO_LARGE)
    examined = verify(b"shc:/" + b"5" * (2 * JWS_BYTES_MAX + 2), trust=TRUST, at=CLOCK)
    assert (examined.result.reason, examined.stages.base45) == (Reason.TOO_LARGE, False)


def test_the_depth_of_json_is_limited_on_both_sides_of_the_edge() -> None:
    def nested(levels: int) -> bytes:
        deep = "[" * levels + "]" * levels
        return json.dumps(claims_of(x="DEEP")).replace('"DEEP"', deep).encode()

    assert judge(card(nested(JSON_DEPTH_MAX - 1))).verified  # the claims themselves are one level
    assert_malformed(nested(JSON_DEPTH_MAX))
    assert_malformed(nested(30_000))
    assert_refused(card(header=b"[" * 2000))


def test_brackets_and_digits_inside_strings_do_not_count() -> None:
    for text in ("[" * 100, '"[{' * 50, "\\" * 7 + '"' + "{" * 99, "1" * 5000, "]}"):
        assert judge(card(claims_of(x=text))).verified


HOSTILE = [
    b"",
    b"[]",
    b"5",
    b'"text"',
    b"null",
    b"{",
    b"}",
    b"{}{}",
    b"{}x",
    b"{} {}",
    b"\xef\xbb\xbf{}",
    b'{"a":1,"a":1}',
    b'{"a":{"b":1,"c":2,"b":3}}',
    b"{'a':1}",
    b'{"a":1,}',
    b'{"a":"\n"}',
    b'{"a":"\xff"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\\u12"}',
    b'{"a":"',
    b'{"a":"\\',
    b"[" * 60_000,
    b'{"a":' * 12_000,
    b'"' * 60_000,
    b'{"' + b'\\"' * 30_000,
    "{}".encode("utf-16"),
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
def test_hostile_json_is_malformed_even_well_signed(text: bytes) -> None:
    assert_malformed(text)
    if len(text) < 1000:
        assert_refused(card(header=text))


def test_duplicate_keys_are_refused_in_claims_and_header() -> None:
    assert_malformed(json.dumps(claims_of()).replace('"nbf"', '"nbf": 1, "nbf"').encode())
    assert_refused(card(header=json.dumps(HEADER).replace('"alg"', '"alg": "none", "alg"').encode()))


# Worst payloads


def filled(unit: bytes) -> bytes:
    """A whole card with as many of one unit as fit: well signed, and all of it has to be read."""
    text = json.dumps(claims_of(x=["FILL"])).encode()
    count = (JSON_BYTES_MAX - len(text)) // (len(unit) + 1)
    return text.replace(b'"FILL"', b",".join([unit] * count))


WORST = [b"{}", b"[]", b'""', b'"a"', b"1", b"1.5", b'{"a":0}', b"[" * 29 + b"]" * 29, b"1" * 24]


def test_no_payload_takes_much_memory() -> None:
    codes = [code(card(filled(unit))) for unit in WORST]
    codes += [code(card(text)) for text in (b'{"a":' * 13_000, b'"' * JSON_BYTES_MAX, bytes(3_000_000))]
    at = at_ms(NBF * 1000 + 1000)
    for payload in codes:
        tracemalloc.start()
        verify(payload, trust=TRUST, at=at)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 32 * 2**20, payload[:40]
    assert all(verify(payload, trust=TRUST, at=at).result.verified for payload in codes[: len(WORST)])


# Any bytes

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def assert_a_result(examined: Examination) -> None:
    assert examined.result.format is Format.SHC
    assert examined.stages.prefix is True
    if examined.result.authenticity is not Authenticity.VERIFIED:
        assert examined.result == CodeResult(
            Format.SHC, examined.result.reason, authenticity=examined.result.authenticity
        )


@given(
    st.binary(max_size=300)
    | st.text("0123456789/", max_size=300).map(str.encode)
    | st.text("eyJABCabc.-_", max_size=200).map(lambda text: code(text.encode())[5:])
)
def test_any_bytes_give_a_result(payload: bytes) -> None:
    for examined in (
        verify(b"shc:/" + payload, trust=TRUST, at=CLOCK),
        verify_jws(payload, trust=TRUST, at=CLOCK),
    ):
        assert_a_result(examined)
        assert not examined.result.verified


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_signed_bytes_give_a_result(header: bytes, body: bytes) -> None:
    for jws in (signed(body), card(body), card(header=header)):
        examined = examine(jws)
        assert_a_result(examined)
        assert not examined.result.verified


@given(json_values, st.sampled_from([*REQUIRED, "exp", "vc.rid", "x"]))
def test_any_json_in_any_place_gives_a_result(value: object, path: str) -> None:
    examined = examine(card(changed(path, value)))
    assert_a_result(examined)
    assert examined.stages.zlib is True


@given(json_values)
def test_any_json_as_header_gives_a_result(value: object) -> None:
    assert_a_result(examine(card(header=value)))


@given(st.integers(0, 700), st.binary(max_size=4), st.integers(0, 4))
def test_any_bytes_spliced_into_a_card(at: int, insert: bytes, cut: int) -> None:
    bent = CARD[:at] + insert + CARD[at + cut :]
    examined = examine(bent)
    assert_a_result(examined)
    assert examined.result.verified == (bent == CARD)


def test_random_bends_of_the_deflated_claims() -> None:
    rng = random.Random(20_260_101)
    packed = deflate(json.dumps(claims_of()).encode())
    for _ in range(300):
        bent = bytearray(packed)
        for _ in range(rng.randint(1, 3)):
            bent[rng.randrange(len(bent))] = rng.randrange(256)
        assert_a_result(examine(signed(bytes(bent))))


# The published key set


def test_the_published_key_set_is_read() -> None:
    issuer = published_trust().card_issuers[0]
    assert issuer.url == ISSUER
    assert set(issuer.keys) == {
        "3Kfdg-XwP-7gXyywtUfUADwBumDOPKMQx-iELL11W9s",
        "EBKOr72QQDcTBUuVzAzkfBTGew0ZA16GuWty64nS-sw",
    }
    assert issuer.revoked["3Kfdg-XwP-7gXyywtUfUADwBumDOPKMQx-iELL11W9s"] == {
        "vwAjHdarZuc": 1_664_492_124,
        "FKDIxsTCGlU": None,
        "XkNHp2Iyk0Y": 1_664_492_124,
        "TqB_qu_6OtM": None,
    }


def test_what_may_be_absent_from_a_key() -> None:
    lean = {name: value for name, value in jwk().items() if name not in {"use", "alg"}}
    assert set(read_issuer(jwks(lean)).keys) == {KID}


def test_keys_for_something_else_are_passed_over() -> None:
    others = [
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        jwk(STRANGER, crv="P-384"),
        jwk(STRANGER, use="enc"),
        jwk(STRANGER, alg="ES384"),
        {},
    ]
    assert set(read_issuer(jwks(*others, jwk())).keys) == {KID}
    assert set(read_issuer(jwks(jwk(), jwk(x5c=["anything"]))).keys) == {KID}  # once for each certificate
    with pytest.raises(ValueError, match="none is an ES256 signing key"):
        read_issuer(jwks(*others))


ON_NO_CURVE = {"x": b64(bytes(31) + b"\x05"), "y": b64(bytes(31) + b"\x05")}


def thumbprint_of(x: str, y: str) -> str:
    return b64(hashlib.sha256(f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode()).digest())


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "issuer: must be an https URL"),
        (jwks(issuer=5), "issuer: must be an https URL"),
        (jwks(issuer="http://cards.example"), "issuer: must be an https URL"),
        (jwks(issuer="https://cards.example/"), "issuer: must be an https URL"),
        (jwks(issuer="https://"), "issuer: must be an https URL"),
        (jwks(issuer="https://a b"), "issuer: must be an https URL"),
        (jwks(issuer="https://cärds.example"), "issuer: must be an https URL"),
        (jwks(issuer="https://a\n"), "issuer: must be an https URL"),
        (jwks(issuer="https://" + "a" * 193), "issuer: must be an https URL"),
        (jwks(keys=None), "keys: must be a list"),
        (jwks(keys=[5]), "keys: must be a list"),
        (jwks(keys=[]), "none is an ES256 signing key"),
        (jwks(jwk(), jwk(STRANGER, d="AAAA")), "private key"),
        (jwks({"kty": "RSA", "d": "AAAA"}, jwk()), "private key"),
        (jwks(jwk(kid=None)), "kid is not the thumbprint"),
        (jwks(jwk(kid="key-1")), "key key-1: kid is not the thumbprint"),
        (jwks(jwk(kid="ключ")), "kid is not the thumbprint"),
        (jwks(jwk(kid=KID + "=")), "kid is not the thumbprint"),
        (jwks(jwk(x=None)), "x: must be 32 bytes"),
        (jwks(jwk(y="AAAA")), "y: must be 32 bytes"),
        (jwks(jwk(y="A" * 44)), "y: must be 32 bytes"),
        (jwks(jwk(y=str(jwk()["y"]) + "=")), "y: must be 32 bytes"),
        (jwks(jwk(x="ж" * 43)), "x: must be 32 bytes"),
        (jwks(jwk(x="A")), "x: must be 32 bytes"),
        (jwks(jwk(**ON_NO_CURVE, kid=thumbprint_of(**ON_NO_CURVE))), "not a point on the curve"),
    ],
)
def test_key_sets_that_cannot_be_used(document: Mapping[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_issuer(document)


def test_an_x5c_does_not_stand_in_for_the_coordinates() -> None:
    rows = json.loads((DATA / "issuer-jwks.json").read_text())["keys"]
    certified = next(row for row in rows if "x5c" in row)
    with pytest.raises(ValueError, match="x: must be 32 bytes"):
        read_issuer(jwks({name: value for name, value in certified.items() if name not in {"x", "y"}}))


def test_the_longest_url_is_accepted() -> None:
    assert read_issuer(jwks(issuer="https://" + "a" * 192)).url.endswith("aaa")


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (crl(kid="other"), "a revocation list for 'other', which is none of its keys"),
        (crl(kid=[]), "which is none of its keys"),
        (crl(method="legacy"), "must have the method 'rid'"),
        (crl(ctr="1"), "must have the method 'rid', a number 'ctr'"),
        (crl(rids={"a": 1}), "a list 'rids'"),
        (crl(ctr=2), "out of date: it is number 2, the key set asks for number 3"),
        (crl(5, ctr=3), "5 is not a revocation id"),
        (crl("", ctr=3), "'' is not a revocation id"),
        (crl("a" * 25, ctr=3), "is not a revocation id"),
        (crl("a.", ctr=3), "is not a revocation id"),
        (crl("a.b", ctr=3), "is not a revocation id"),
        (crl("a.1.2", ctr=3), "is not a revocation id"),
        (crl("a.-1", ctr=3), "is not a revocation id"),
        (crl("a\n", ctr=3), "is not a revocation id"),
        (crl("ä", ctr=3), "is not a revocation id"),
    ],
)
def test_revocation_lists_that_cannot_be_used(listed: Mapping[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_issuer(jwks(jwk(crlVersion=3)), [listed])


def test_revocation_lists_that_can() -> None:
    for ctr in (3, 4):
        assert read_issuer(jwks(jwk(crlVersion=3)), [crl("a", ctr=ctr)]).revoked == {KID: {"a": None}}
    assert read_issuer(jwks()).revoked == {}
    with pytest.raises(ValueError, match="two revocation lists"):
        read_issuer(jwks(), [crl(), crl()])
