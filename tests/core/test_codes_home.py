"""The home pass: issued, read, aged, attacked."""

from dataclasses import replace

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.core.codes import base45
from gate.core.codes.cose import Sign1, parse_sign1, sig_structure
from gate.core.codes.home import PassClaims, issue, read_pass, verify
from gate.core.codes.model import (
    REGISTRATION_FIELDS,
    Assurance,
    Authenticity,
    Circumstances,
    CodeError,
    CodeResult,
    Credential,
    Format,
    Freshness,
    Reason,
    Stages,
    Status,
    Travel,
)
from gate.core.codes.trust import PASSES, Trust, TrustedKey, key_id

START_TOLERANCE_S = Circumstances("", 0).start_tolerance_s
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
HOLDER = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32).public_key().public_bytes_raw()
KID = key_id(PUBLIC)
VISITS = frozenset({Credential.VISITOR, Credential.APPOINTMENT, Credential.RESIDENT})
TRUST = Trust((TrustedKey("county-hall", "County hall", PUBLIC, VISITS),))
SITE = "hall-east"
START, NOW, END = 1_700_000_000, 1_700_003_600, 1_700_007_200
CLAIMS = PassClaims(
    issuer="county-hall",
    subject=bytes.fromhex("0123456789abcdef"),
    site=SITE,
    valid_from=START,
    valid_until=END,
    issued_at=START - 60,
    pass_id=bytes.fromhex("cafe0001"),
    credential=Credential.VISITOR,
    status=Status.GREEN,
    registered=frozenset({"name", "phone", "signature"}),
)
GOLDEN = (
    "HG1:RRQ+D9P60CO0$+AWKB8CKWJ9380UPC2%ERWEEX5AECKTDS49TK404DGWLW9UTEDAECIUDX C QEFN0K CUT11T"
    "0J C1LUWY0J CVJUF-0 TP100/E7V50S30W50IB0:J0 50L21T685PO5PEB*KP9PA-6K31BSA1ILE673/MJ+3XBF45"
    "EQCR:MD3GN /T28D3+8W085I6KOS896E.NK-M0T8E37*UNAME-96GF2E0"
)


def judge(
    text: str | bytes, *, trust: Trust = TRUST, site: str = SITE, now_s: int = NOW, clock_trusted: bool = True
) -> CodeResult:
    payload = text.encode() if isinstance(text, str) else text
    return verify(payload, trust=trust, at=Circumstances(site, now_s * 1000, clock_trusted)).result


def stages_of(text: str, *, trust: Trust = TRUST, now_s: int = NOW, clock_trusted: bool = True) -> Stages:
    return verify(text.encode(), trust=trust, at=Circumstances(SITE, now_s * 1000, clock_trusted)).stages


ALL_DONE = Stages(
    prefix=True, base45=True, cbor=True, schema=True, signature=True, key_usage=True, time=True, zlib=None
)


def pass_text(raw: bytes) -> str:
    return "HG1:" + base45.encode(raw)


def payload_map() -> dict[object, object]:
    """The claims of the plain pass as they lie on the wire, written out here by hand."""
    return {
        1: "county-hall",
        2: CLAIMS.subject,
        3: SITE,
        4: END,
        5: START,
        6: START - 60,
        7: CLAIMS.pass_id,
        -65537: {1: 1, 2: 1, 3: [1, 5, 8]},
    }


def signed(
    payload: bytes,
    *,
    protected: object = None,
    unprotected: dict[int | str, object] | None = None,
    key: Ed25519PrivateKey = KEY,
) -> str:
    """A pass around any payload and headers, with a signature that fits them."""
    header = {1: -8, 4: KID} if protected is None else protected
    raw = header if isinstance(header, bytes) else cbor2.dumps(header)
    return pass_text(
        Sign1(raw, {}, unprotected or {}, payload, key.sign(sig_structure(raw, payload))).encoded()
    )


def assert_refused(result: CodeResult, reason: Reason | None = None) -> None:
    assert result.authenticity is Authenticity.REFUSED
    assert not result.verified
    assert result == CodeResult(Format.HOME, result.reason, authenticity=Authenticity.REFUSED)
    if reason is not None:
        assert result.reason is reason


# Issued and read


def test_golden_sample() -> None:
    assert issue(KEY, CLAIMS) == GOLDEN
    assert signed(cbor2.dumps(payload_map())) == GOLDEN
    result = judge(GOLDEN)
    assert result.verified
    assert result == CodeResult(
        format=Format.HOME,
        reason=Reason.OK,
        status=Status.GREEN,
        authenticity=Authenticity.VERIFIED,
        freshness=Freshness.CURRENT,
        credential=Credential.VISITOR,
        issuer="county-hall",
        kid="56475aa7",
        subject_ref="0123456789abcdef",
        registered=frozenset({"name", "phone", "signature"}),
        valid_from=START,
        valid_until=END,
        issued_at=START - 60,
        pass_id="cafe0001",
        assurance=Assurance.OFFLINE_SIGNATURE,
    )


names = st.text("ABCXYZabcxyz0189-_", min_size=1, max_size=32)
seconds = st.integers(1, 2**32 - 1)


@st.composite
def claims(draw: st.DrawFn) -> PassClaims:
    issued_at, valid_from, valid_until = draw(
        st.tuples(seconds, seconds, seconds).map(sorted) | st.tuples(seconds).map(lambda t: t * 3)
    )
    return PassClaims(
        issuer=draw(names),
        subject=draw(st.binary(min_size=8, max_size=8)),
        site=draw(names),
        valid_from=valid_from,
        valid_until=valid_until,
        issued_at=issued_at,
        pass_id=draw(st.binary(min_size=4, max_size=16)),
        credential=draw(st.sampled_from(PASSES)),
        status=draw(st.sampled_from([Status.GREEN, Status.YELLOW, Status.RED])),
        registered=draw(st.frozensets(st.sampled_from(REGISTRATION_FIELDS))),
        travel=draw(st.sampled_from(Travel)),
        uses_max=draw(st.none() | st.integers(1, 65_535)),
    )


@settings(deadline=None)  # a busy machine is no fault
@given(claims(), st.binary(min_size=32, max_size=32), st.data())
def test_round_trip(given_claims: PassClaims, seed: bytes, data: st.DataObject) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key().public_bytes_raw()
    purposes = frozenset({given_claims.credential})
    trust = Trust((TrustedKey(given_claims.issuer, "name", public, purposes),))
    now_s = data.draw(st.integers(given_claims.valid_from, given_claims.valid_until))
    result = judge(issue(key, given_claims), trust=trust, site=given_claims.site, now_s=now_s)
    assert result.verified == (given_claims.status is Status.GREEN)
    assert result == CodeResult(
        format=Format.HOME,
        reason={"yellow": Reason.STATUS_YELLOW, "red": Reason.STATUS_RED}.get(given_claims.status, Reason.OK),
        status=given_claims.status,
        authenticity=Authenticity.VERIFIED,
        freshness=Freshness.CURRENT,
        credential=given_claims.credential,
        issuer=given_claims.issuer,
        kid=key_id(public).hex(),
        subject_ref=given_claims.subject.hex(),
        registered=given_claims.registered,
        valid_from=given_claims.valid_from,
        valid_until=given_claims.valid_until,
        issued_at=given_claims.issued_at,
        pass_id=given_claims.pass_id.hex(),
        uses_max=given_claims.uses_max,
        travel=given_claims.travel,
        assurance=Assurance.OFFLINE_SIGNATURE,
    )
    assert read_pass(issue(key, given_claims).encode())[1] == given_claims


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": ""},
        {"issuer": "a b"},
        {"site": "x" * 33},
        {"site": "hall\n"},
        {"subject": bytes(7)},
        {"subject": bytes(9)},
        {"pass_id": bytes(3)},
        {"pass_id": bytes(17)},
        {"valid_from": 0},
        {"valid_until": 2**32},
        {"issued_at": -1},
        {"valid_from": END + 1},
        {"issued_at": END + 1},
        {"credential": Credential.NONE},
        {"status": Status.UNKNOWN},
        {"registered": frozenset({"name", "shoe_size"})},
        {"credential": Credential.VACCINATION},
        {"uses_max": 0},
        {"uses_max": 65_536},
        {"holder_key": b""},
        {"holder_key": bytes(31)},
        {"holder_key": bytes(32)},  # everybody could sign for it
    ],
)
def test_a_pass_that_makes_no_sense_is_not_issued(change: dict[str, object]) -> None:
    with pytest.raises(
        ValueError, match=r"issuer and|subject|times|ends before|credential and|registered|uses|holder_key"
    ):
        replace(CLAIMS, **change)


def test_a_full_pass_stays_small() -> None:
    full = replace(
        CLAIMS,
        registered=frozenset(REGISTRATION_FIELDS),
        pass_id=bytes(16),
        travel=Travel.CLEAR,
        uses_max=65_535,
        holder_key=HOLDER,
    )
    assert len(base45.decode(issue(KEY, full).removeprefix("HG1:").encode())) < 256
    assert len(GOLDEN) <= 240


# Time, site, purpose, status


@pytest.mark.parametrize(
    ("now_s", "freshness"),
    [
        (START - START_TOLERANCE_S - 1, Freshness.NOT_YET_VALID),
        (START - START_TOLERANCE_S, Freshness.CURRENT),
        (START, Freshness.CURRENT),
        (END, Freshness.CURRENT),  # the last second still counts
        (END + 1, Freshness.EXPIRED),
        (0, Freshness.NOT_YET_VALID),
        (2**33, Freshness.EXPIRED),
    ],
)
def test_edges_of_the_validity(now_s: int, freshness: Freshness) -> None:
    result = judge(GOLDEN, now_s=now_s)
    assert result.freshness is freshness
    assert result.verified == (freshness is Freshness.CURRENT)
    assert result.authenticity is Authenticity.VERIFIED
    assert result.reason == ("ok" if freshness is Freshness.CURRENT else freshness)


def test_a_pass_from_the_future_waits_for_its_issue_time() -> None:
    text = issue(KEY, replace(CLAIMS, valid_from=START, issued_at=START + 1000))
    assert judge(text, now_s=START + 699).reason is Reason.NOT_YET_VALID
    assert judge(text, now_s=START + 700).reason is Reason.OK


@pytest.mark.parametrize("now_s", [0, NOW, END + 1])
@pytest.mark.parametrize("status", [Status.GREEN, Status.RED])
def test_without_a_trusted_clock_the_time_is_unknown(now_s: int, status: Status) -> None:
    result = judge(issue(KEY, replace(CLAIMS, status=status)), now_s=now_s, clock_trusted=False)
    assert result.authenticity is Authenticity.VERIFIED
    assert result.freshness is Freshness.UNKNOWN
    assert result.reason is Reason.CLOCK_UNTRUSTED
    assert result.status is status
    assert not result.verified


def test_wrong_site() -> None:
    result = judge(GOLDEN, site="hall-west")
    assert (result.reason, result.authenticity) == (Reason.WRONG_SITE, Authenticity.VERIFIED)
    assert not result.verified
    assert judge(GOLDEN, site="hall-west", clock_trusted=False).reason is Reason.WRONG_SITE
    assert judge(GOLDEN, site="HALL-EAST").reason is Reason.WRONG_SITE


def test_an_issuer_may_sign_only_what_it_is_trusted_for() -> None:
    result = judge(issue(KEY, replace(CLAIMS, credential=Credential.STAFF)))
    assert (result.reason, result.credential) == (Reason.WRONG_PURPOSE, Credential.STAFF)
    assert not result.verified


@pytest.mark.parametrize(
    ("status", "reason"), [(Status.YELLOW, Reason.STATUS_YELLOW), (Status.RED, Reason.STATUS_RED)]
)
def test_status_that_is_not_green(status: Status, reason: Reason) -> None:
    result = judge(issue(KEY, replace(CLAIMS, status=status)))
    assert (result.reason, result.status, result.authenticity) == (reason, status, Authenticity.VERIFIED)
    assert not result.verified
    assert judge(issue(KEY, replace(CLAIMS, status=status)), now_s=END + 1).reason is Reason.EXPIRED


# Facts that a pass need not state


def test_what_is_not_stated_is_not_written() -> None:
    assert len(issue(KEY, CLAIMS)) == len(GOLDEN)
    assert (judge(GOLDEN).travel, judge(GOLDEN).uses_max) == (Travel.UNKNOWN, None)


def test_golden_sample_with_every_fact() -> None:
    stated = replace(CLAIMS, travel=Travel.DECLARED, uses_max=3, holder_key=HOLDER)
    facts = {1: 1, 2: 1, 3: [1, 5, 8], 4: 3, 5: 3, 6: HOLDER}
    assert issue(KEY, stated) == signed(cbor2.dumps({**payload_map(), -65537: facts}))


def with_fact(number: object, value: object) -> str:
    facts: dict[object, object] = {1: 1, 2: 1, 3: [1, 5, 8]}
    return signed(cbor2.dumps({**payload_map(), -65537: {**facts, number: value}}))


@pytest.mark.parametrize(
    ("number", "words"), [(4, [Travel.CLEAR, Travel.RISK_AREA, Travel.DECLARED]), (1, PASSES)]
)
def test_the_numbers_on_the_wire_never_change_their_words(number: int, words: list[str]) -> None:
    keys = (TrustedKey("county-hall", "", PUBLIC, frozenset(PASSES)),)
    for place, word in enumerate(words, 1):
        result = judge(with_fact(number, place), trust=Trust(keys))
        assert word == (result.travel if number == 4 else result.credential)
        assert result.verified
    assert_refused(judge(with_fact(number, len(words) + 1)), Reason.MALFORMED)


def test_the_row_of_credentials() -> None:
    assert PASSES == ("visitor", "appointment", "resident", "staff", "household", "supply")


@pytest.mark.parametrize("number", [4, 5, 6])
@pytest.mark.parametrize(
    "value", [None, True, False, 0, -1, 65_536, 1.0, "1", b"1", bytes(32), HOLDER + b"1", []]
)
def test_each_further_fact_is_of_its_type_and_range(number: int, value: object) -> None:
    assert_refused(judge(with_fact(number, value)), Reason.MALFORMED)


@pytest.mark.parametrize("number", [0, 7, -1, "zone"])
def test_a_fact_of_a_later_version_could_restrict_the_pass(number: object) -> None:
    assert judge(with_fact(number, 1)) == CodeResult(Format.HOME, Reason.UNSUPPORTED)


# Called back, or only a copy


def revoking(issuer: str = "county-hall", pass_id: str = "cafe0001") -> Trust:
    return replace(TRUST, revoked=frozenset({(issuer, pass_id)}))


@pytest.mark.parametrize("now_s", [0, NOW, END + 1])
@pytest.mark.parametrize("clock_trusted", [True, False])
@pytest.mark.parametrize("status", [Status.GREEN, Status.RED])
def test_a_revoked_pass_is_revoked_at_any_time(now_s: int, clock_trusted: bool, status: Status) -> None:
    text = issue(KEY, replace(CLAIMS, status=status))
    result = judge(text, trust=revoking(), now_s=now_s, clock_trusted=clock_trusted)
    assert (result.reason, result.authenticity) == (Reason.REVOKED, Authenticity.VERIFIED)
    assert not result.verified


def test_worse_than_revoked_is_a_pass_that_was_never_for_here() -> None:
    assert judge(GOLDEN, trust=revoking(), site="hall-west").reason is Reason.WRONG_SITE
    staff = issue(KEY, replace(CLAIMS, credential=Credential.STAFF))
    assert judge(staff, trust=revoking()).reason is Reason.WRONG_PURPOSE
    forged = signed(cbor2.dumps(payload_map()), key=STRANGER)
    assert_refused(judge(forged, trust=revoking()), Reason.BAD_SIGNATURE)


def test_only_the_issuers_own_pass_with_this_id_is_revoked() -> None:
    assert judge(GOLDEN, trust=revoking(issuer="other-hall")).verified
    assert judge(GOLDEN, trust=revoking(pass_id="cafe0002")).verified
    assert judge(GOLDEN, trust=revoking(pass_id="cafe000100")).verified


@pytest.mark.parametrize("now_s", [NOW, END + 1])
@pytest.mark.parametrize("clock_trusted", [True, False])
def test_a_pass_bound_to_a_holder_is_a_copy_when_shown_alone(now_s: int, clock_trusted: bool) -> None:
    text = issue(KEY, replace(CLAIMS, holder_key=HOLDER))
    result = judge(text, now_s=now_s, clock_trusted=clock_trusted)
    assert (result.reason, result.freshness) == (Reason.REPLAY, Freshness.REPLAYED)
    assert result.subject_ref == CLAIMS.subject.hex()  # so that it is known whose pass was copied
    assert result.step is None
    assert not result.verified
    assert judge(text, site="hall-west").reason is Reason.WRONG_SITE
    assert judge(text, trust=revoking()).reason is Reason.REVOKED
    assert judge(issue(KEY, replace(CLAIMS, holder_key=HOLDER, status=Status.RED))).reason is Reason.REPLAY


def test_reading_without_judging() -> None:
    raw, claims = read_pass(GOLDEN.encode())
    assert (pass_text(raw), claims) == (GOLDEN, CLAIMS)
    for text, reason in [
        ("HG2:" + GOLDEN[4:], Reason.UNSUPPORTED),
        ("HG1:A", Reason.MALFORMED),
        (GOLDEN[:-3], Reason.MALFORMED),
    ]:
        with pytest.raises(CodeError) as caught:
            read_pass(text.encode())
        assert caught.value.reason is reason


# How each step went


def test_all_steps_of_a_good_pass() -> None:
    assert stages_of(GOLDEN) == ALL_DONE


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("HG1:A", Stages(prefix=True, base45=False)),
        ("HG1:", Stages(prefix=True, base45=True, cbor=False)),
        (GOLDEN[:-2], Stages(prefix=True, base45=True, cbor=False)),
        (signed(b"\x80"), Stages(prefix=True, base45=True, cbor=False)),
        (signed(cbor2.dumps(payload_map()), protected={1: -8}), Stages(prefix=True, base45=True, cbor=False)),
        (signed(cbor2.dumps(payload_map()), key=STRANGER), replace(ALL_DONE, signature=False)),
        (issue(STRANGER, CLAIMS), replace(ALL_DONE, signature=None, key_usage=None)),
        (
            issue(KEY, replace(CLAIMS, credential=Credential.STAFF, valid_until=NOW - 1)),
            replace(ALL_DONE, key_usage=False, time=False),
        ),
        (with_fact(4, 9), replace(ALL_DONE, schema=False)),
        (with_fact(1, 4), replace(ALL_DONE, key_usage=False)),
        (with_fact(1, 9), replace(ALL_DONE, schema=False, key_usage=None)),
        (
            signed(cbor2.dumps({**payload_map(), -65537: 1, 4: NOW - 1}), key=STRANGER),
            replace(ALL_DONE, schema=False, signature=False, key_usage=None, time=False),
        ),
        (signed(cbor2.dumps({**payload_map(), 4: 1.5})), replace(ALL_DONE, schema=False, time=None)),
        (signed(cbor2.dumps({**payload_map(), 5: True})), replace(ALL_DONE, schema=False, time=None)),
        (
            signed(cbor2.dumps({**payload_map(), 1: 5})),
            replace(ALL_DONE, schema=False, signature=None, key_usage=None),
        ),
    ],
)
def test_each_step_is_tried_whatever_became_of_the_others(text: str, stages: Stages) -> None:
    assert stages_of(text) == stages


def test_without_a_trusted_clock_the_step_of_time_is_not_reached() -> None:
    assert stages_of(GOLDEN, clock_trusted=False) == replace(ALL_DONE, time=None)


# Who signed


def test_unknown_key_unknown_issuer_and_a_known_key_under_another_name() -> None:
    other = Trust((TrustedKey("other-hall", "Other", PUBLIC, VISITS),))
    cases = [
        (issue(STRANGER, CLAIMS), TRUST),
        (issue(KEY, replace(CLAIMS, issuer="nobody")), TRUST),
        (issue(KEY, CLAIMS), Trust()),
        (issue(KEY, CLAIMS), other),
        (signed(cbor2.dumps(payload_map()), protected={1: -8, 4: b""}), TRUST),
    ]
    for text, trust in cases:
        assert judge(text, trust=trust) == CodeResult(Format.HOME, Reason.UNKNOWN_ISSUER)


def test_a_stranger_who_names_a_trusted_key_is_refused() -> None:
    assert_refused(judge(signed(cbor2.dumps(payload_map()), key=STRANGER)), Reason.BAD_SIGNATURE)


@pytest.mark.parametrize("alg", [None, 0, 4, 5, -7, -37, "none", "HS256", "EdDSA"])
def test_other_algorithms_are_refused_even_well_signed(alg: object) -> None:
    text = signed(cbor2.dumps(payload_map()), protected={1: alg, 4: KID})
    assert_refused(judge(text), Reason.BAD_SIGNATURE)


def test_missing_algorithm_is_refused() -> None:
    assert_refused(judge(signed(cbor2.dumps(payload_map()), protected={4: KID})), Reason.BAD_SIGNATURE)


@pytest.mark.parametrize("unprotected", [{1: -8}, {4: KID}, {4: b"x"}, {2: [1]}, {"x": 1}, {33: b"cert"}])
def test_anything_unprotected_is_refused(unprotected: dict[int | str, object]) -> None:
    for protected in ({1: -8, 4: KID}, {4: KID}, {1: -8}):
        text = signed(cbor2.dumps(payload_map()), protected=protected, unprotected=unprotected)
        assert_refused(judge(text), Reason.MALFORMED)


@pytest.mark.parametrize("kid", [None, "text", 5, [KID]])
def test_a_kid_of_another_type_is_refused(kid: object) -> None:
    text = signed(cbor2.dumps(payload_map()), protected={1: -8, 4: kid})
    assert_refused(judge(text), Reason.MALFORMED)


def test_a_critical_header_is_not_for_this_gate() -> None:
    text = signed(cbor2.dumps(payload_map()), protected={1: -8, 2: [99], 4: KID, 99: 1})
    assert judge(text) == CodeResult(Format.HOME, Reason.UNSUPPORTED)


# Well signed, but not a pass


@pytest.mark.parametrize("claim", [1, 2, 3, 4, 5, 6, 7, -65537])
@pytest.mark.parametrize("value", [None, True, False, 1.5, "no name", b"abc", [], {}, -1, 2**32, 2**63])
def test_each_claim_of_another_type_or_range_is_malformed(claim: int, value: object) -> None:
    result = judge(signed(cbor2.dumps({**payload_map(), claim: value})))
    if (claim, value) == (1, "no name"):  # a text, so it is looked up, and nobody is called that
        assert result == CodeResult(Format.HOME, Reason.UNKNOWN_ISSUER)
    else:
        assert_refused(result, Reason.MALFORMED)


@pytest.mark.parametrize("claim", [1, 2, 3, 4, 5, 6, 7, -65537])
def test_each_claim_is_required(claim: int) -> None:
    whole = payload_map()
    del whole[claim]
    assert_refused(judge(signed(cbor2.dumps(whole))), Reason.MALFORMED)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("value", [None, True, 0, -1, 9, 1.0, "1", b"1", [0], [9], [None], [True], {1: 1}])
def test_each_fact_of_the_gate_is_a_known_number(number: int, value: object) -> None:
    facts = {1: 1, 2: 1, 3: [1, 5, 8], number: value}
    text = signed(cbor2.dumps({**payload_map(), -65537: facts}))
    assert_refused(judge(text), Reason.MALFORMED)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_fact_of_the_gate_is_required(number: int) -> None:
    facts = {1: 1, 2: 1, 3: [1, 5, 8]}
    del facts[number]
    text = signed(cbor2.dumps({**payload_map(), -65537: facts}))
    assert_refused(judge(text), Reason.MALFORMED)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float(END), "1700007200", True, 0, -1, 2**32])
def test_an_end_that_would_never_come_is_malformed(value: object) -> None:
    assert_refused(judge(signed(cbor2.dumps({**payload_map(), 4: value}))), Reason.MALFORMED)


def test_unknown_claims_are_ignored() -> None:
    assert judge(signed(cbor2.dumps({**payload_map(), -70000: [1], "note": {"a": 1}}))).verified


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xf6",
        b"\x80",
        b"\xff",
        b"\xbf\xff",
        cbor2.dumps(payload_map()) + b"\x00",  # trailing bytes
        b"\xa9" + cbor2.dumps(payload_map())[1:] + cbor2.dumps(4) + cbor2.dumps(2**31),  # exp twice
        b"\xd8\x3d" + cbor2.dumps(payload_map()),
        b"\xa1\x01" * 200 + b"\x00",
        b"\x81" * 300 + b"\x00",
        b"\xc2\x41\x01",
        b"\xd8\x23\x62((",
        b"\xd8\x1c\x81\xd8\x1d\x00",
        b"\x5b" + b"\xff" * 8,
        b"\xbb" + b"\xff" * 8,
    ],
)
def test_a_hostile_payload_is_malformed_even_well_signed(payload: bytes) -> None:
    assert_refused(judge(signed(payload)), Reason.MALFORMED)


def test_too_large_is_said() -> None:
    assert_refused(judge(signed(b"\x59\x02\x00" + bytes(512))), Reason.TOO_LARGE)
    assert_refused(judge(pass_text(b"\xa0" * 2800)), Reason.TOO_LARGE)


@pytest.mark.parametrize(
    "protected", [b"\xa3\x01\x27\x04\x41\x01\x01\x26", b"\xf6", b"\xbf\xff", b"\x81" * 300]
)
def test_a_hostile_protected_header_is_malformed(protected: bytes) -> None:
    assert_refused(judge(signed(cbor2.dumps(payload_map()), protected=protected)), Reason.MALFORMED)


# Bent texts


def test_cut_off_anywhere() -> None:
    for length in range(4, len(GOLDEN)):
        assert_refused(judge(GOLDEN[:length]), Reason.MALFORMED)


@pytest.mark.parametrize("junk", ["0", "00", "000", " ", "\n", "\x00", ":", "HG1:", GOLDEN])
def test_trailing_junk(junk: str) -> None:
    assert_refused(judge(GOLDEN + junk))


def test_every_bit_of_every_byte_of_the_text() -> None:
    whole = GOLDEN.encode()
    for at in range(4, len(whole)):
        for bit in range(8):
            bent = bytearray(whole)
            bent[at] ^= 1 << bit
            assert not judge(bytes(bent)).verified, (at, bit)


def test_every_bit_of_every_byte_of_the_message() -> None:
    raw = base45.decode(GOLDEN[4:].encode())
    for at in range(len(raw)):
        for bit in range(8):
            bent = bytearray(raw)
            bent[at] ^= 1 << bit
            result = judge(pass_text(bytes(bent)))
            # A bent issuer or kid makes the key unknown; everything else disproves the pass.
            assert result.authenticity is Authenticity.REFUSED or result.reason in {
                Reason.UNKNOWN_ISSUER,
                Reason.UNSUPPORTED,
            }, (at, bit)
            assert result.subject_ref is None


@settings(deadline=None)  # a busy machine is no fault
@given(st.integers(0, 400), st.binary(max_size=6), st.integers(0, 6))
def test_any_bytes_spliced_into_the_message(at: int, insert: bytes, cut: int) -> None:
    raw = base45.decode(GOLDEN[4:].encode())
    bent = raw[:at] + insert + raw[at + cut :]
    assert judge(pass_text(bent)).verified == (bent == raw)


def test_one_pass_has_one_spelling() -> None:
    raw = base45.decode(GOLDEN[4:].encode())
    message = parse_sign1(raw, size_max=512)
    kid_and_alg, payload = message.protected_raw, message.payload
    others = [
        raw[1:],  # no tag
        b"\xd8\x12" + raw[1:],  # a longer tag
        b"\xd8\x3d" + raw,  # the tag of a CWT in front
        raw.replace(b"\x84", b"\x98\x04", 1),  # a longer length of the array
        raw.replace(bytes([0x40 + len(kid_and_alg)]), bytes([0x58, len(kid_and_alg)]), 1),
        raw.replace(bytes([0x58, len(payload)]), bytes([0x59, 0, len(payload)]), 1),
        raw.replace(b"\xa0\x58", b"\xb8\x00\x58", 1),
    ]
    for other in others:
        assert other != raw
        assert_refused(judge(pass_text(other)), Reason.MALFORMED)


def test_a_signature_shifted_by_the_group_order_is_refused() -> None:
    """RFC 8032 section 5.1.7: S must be below the order, or one pass would have several signatures."""
    raw = base45.decode(GOLDEN[4:].encode())
    order = 2**252 + 27742317777372353535851937790883648493
    shifted = int.from_bytes(raw[-32:], "little") + order
    assert_refused(judge(pass_text(raw[:-32] + shifted.to_bytes(32, "little"))), Reason.BAD_SIGNATURE)


@pytest.mark.parametrize("change", [str.lower, lambda text: text.replace("HG1:", "HG1: "), str.swapcase])
def test_other_letters_are_refused(change: object) -> None:
    assert callable(change)
    assert_refused(judge("HG1:" + change(GOLDEN)[4:]), Reason.MALFORMED)
