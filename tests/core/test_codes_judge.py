"""Every payload gets a result: the right reader, a recognised stranger, or a plain refusal."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.core.codes import (
    FORMATS,
    PAYLOAD_BYTES_MAX,
    Authenticity,
    Circumstances,
    CodeResult,
    Credential,
    Format,
    Freshness,
    Reason,
    Status,
    Trust,
    TrustedKey,
    base45,
    judge_code,
)
from gate.core.codes.home import PassClaims, issue
from gate.core.codes.token_families import TokenFamily

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUST = Trust(
    (TrustedKey("hall", "Hall", KEY.public_key().public_bytes_raw(), frozenset({Credential.VISITOR})),)
)
PASS = issue(
    KEY,
    PassClaims("hall", bytes(8), "east", 100, 200, 100, bytes(4), Credential.VISITOR, Status.GREEN),
).encode()


def judge(payload: bytes, *, fragment: bool = False) -> CodeResult:
    return judge_code(payload, fragment=fragment, trust=TRUST, at=Circumstances("east", 150_000))


def test_a_home_pass_goes_to_its_reader() -> None:
    result = judge(PASS)
    assert (result.format, result.reason, result.verified) == (Format.HOME, Reason.OK, True)


def test_a_fragment_is_never_judged() -> None:
    assert judge(PASS, fragment=True) == CodeResult(Format.UNKNOWN, Reason.UNSUPPORTED)


def test_nothing_is_unreadable() -> None:
    assert judge(b"") == CodeResult(Format.UNKNOWN, Reason.UNREADABLE)
    assert judge(b"", fragment=True) == CodeResult(Format.UNKNOWN, Reason.UNREADABLE)


@pytest.mark.parametrize("start", [b"HG1:", b"https://", b"A"])
def test_nothing_above_the_size_of_a_qr_code_is_read(start: bytes) -> None:
    largest = start.ljust(PAYLOAD_BYTES_MAX, b"0")
    assert judge(largest + b"0") == CodeResult(
        Format.UNKNOWN, Reason.TOO_LARGE, authenticity=Authenticity.REFUSED
    )
    assert judge(largest).format is not Format.UNKNOWN


@pytest.mark.parametrize(
    ("payload", "recognised"),
    [
        (b"https://example.org/0123456789abcdef", Format.URL),
        (b"HTTP://EXAMPLE.ORG/", Format.URL),
        (b"https://s.sh.gov.cn@evil.example/", Format.URL),
        (b"ftp://example.org/", Format.TEXT),
        (b"javascript:alert(1)", Format.TEXT),
        (b"hello", Format.TEXT),
        ("健康码".encode(), Format.TEXT),
        ("健康码".encode("gb18030"), Format.TEXT),
        (b"two\r\nlines\tand a tab", Format.TEXT),
        (b"cut\x00text", Format.BINARY),
        (b"\x1b[2J", Format.BINARY),
        (bytes(range(256)), Format.BINARY),
        (b"\xff\xff", Format.BINARY),
        (b"HL0:6BF", Format.TEXT),
        (b"HG3:6BF", Format.TEXT),
        (b"eyJhbGciOiJFUzI1NiJ9", Format.TEXT),
        (b"HG1", Format.TEXT),
        (b"hg1:" + PASS[4:], Format.TEXT),
        (b" " + PASS, Format.TEXT),
        (b"\xef\xbb\xbf" + PASS, Format.TEXT),
        (b"'; DROP TABLE visits; --", Format.TEXT),
    ],
)
def test_strangers_are_recognised_and_cannot_be_verified(payload: bytes, recognised: Format) -> None:
    assert judge(payload) == CodeResult(recognised, Reason.NOT_CHECKABLE)


@pytest.mark.parametrize(
    ("payload", "recognised", "reason"),
    [
        (b"HG1:6BF", Format.HOME, Reason.MALFORMED),
        (b"HG2:6BF", Format.HOME, Reason.MALFORMED),
        (b"HC1:6BF", Format.DCC, Reason.MALFORMED),
        (b"shc:/56", Format.SHC, Reason.MALFORMED),
        (b"eyJhbGciOiJFUzI1NiJ9.AAAA.AAAA", Format.SHC, Reason.MALFORMED),
        (b"https://s.sh.gov.cn/0123456789abcdef", Format.CN_HEALTH, Reason.MALFORMED),
        (b"https://xc.caict.ac.cn/", Format.CN_TRAVEL, Reason.UNSUPPORTED),
    ],
)
def test_each_family_goes_to_its_reader(payload: bytes, recognised: Format, reason: Reason) -> None:
    result = judge(payload)
    assert (result.format, result.reason) == (recognised, reason)


def test_a_family_may_be_configured() -> None:
    payload = b"https://codes.example/x?t=0123"
    at = Circumstances("east", 150_000)
    trust = Trust(token_families=(TokenFamily("CN-42", "hubei", ("codes.example",)),))
    assert judge_code(payload, fragment=False, trust=TRUST, at=at).format is Format.URL
    assert judge_code(payload, fragment=False, trust=trust, at=at).region == "CN-42"


@settings(deadline=None)  # a busy machine is no fault
@given(
    st.binary(max_size=300)
    | st.binary(max_size=300).map(lambda raw: b"HG1:" + raw)
    | st.binary(max_size=300).map(lambda raw: b"HG1:" + base45.encode(raw).encode())
    | st.binary(max_size=300).map(lambda raw: b"HG1:" + base45.encode(b"\xd2\x84" + raw).encode()),
    st.booleans(),
)
def test_any_bytes_give_a_result_that_is_not_verified(payload: bytes, fragment: bool) -> None:
    result = judge(payload, fragment=fragment)
    assert isinstance(result, CodeResult)
    assert not result.verified
    assert result.subject_ref is None


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.format)
@settings(deadline=None)  # a busy machine is no fault
@given(data=st.data())
def test_no_reader_raises(known: object, data: st.DataObject) -> None:
    payload = data.draw(st.binary(max_size=200))
    for entry in FORMATS:
        result = entry.verify(entry.prefix + payload, trust=TRUST, at=Circumstances("east", 150_000)).result
        assert result.format is entry.format


@pytest.mark.parametrize("authenticity", Authenticity)
@pytest.mark.parametrize("freshness", Freshness)
@pytest.mark.parametrize("reason", Reason)
def test_verified_means_authentic_current_and_ok(
    authenticity: Authenticity, freshness: Freshness, reason: Reason
) -> None:
    result = CodeResult(Format.HOME, reason, authenticity=authenticity, freshness=freshness)
    assert result.verified == ((authenticity, freshness, reason) == ("verified", "current", "ok"))
