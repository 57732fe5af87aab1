"""Chinese health-code tokens: told apart by host, aged by their text, answered for by a service."""

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.core.codes.china import Token, recognise, verify
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
from gate.core.codes.service import Outcome, ServiceAnswer, answered, service_token
from gate.core.codes.token_families import BUILT_IN, SHANGHAI_AGE_S_MAX, TokenFamily
from gate.core.codes.trust import Trust

ISSUED_S = 1_650_000_000
HEX = "0123456789abcdef" * 2
SHANGHAI = f"https://s.sh.gov.cn/{HEX}{ISSUED_S}123"
DINGTALK = f"https://h5.dingtalk.com/healthAct/index.html?qrCode=V2{HEX}#/result"
JIANGSU = f"https://jsstm.jszwfw.gov.cn/jkmIndex.html?token={HEX}&uuid=77"
ANHUI = TokenFamily("CN-34", "anhui", ("code.example.cn",), "/a/{token}/{unix_ms}", 60)
TRUST = Trust(token_families=(ANHUI,))


def examine(payload: str | bytes, now_ms: int = ISSUED_S * 1000, *, trusted: bool = True) -> Examination:
    raw = payload.encode("utf-8") if isinstance(payload, str) else payload
    return verify(raw, trust=TRUST, at=Circumstances("hall", now_ms, trusted))


def judge(payload: str | bytes, now_ms: int = ISSUED_S * 1000, *, trusted: bool = True) -> CodeResult:
    return examine(payload, now_ms, trusted=trusted).result


def known(payload: str | bytes) -> Token | None:
    return recognise(payload.encode("utf-8") if isinstance(payload, str) else payload, TRUST.token_families)


def shanghai_binary(expiry: bytes = b"20220415120000", end: bytes = b"##", fill: bytes = b"\xfe") -> bytes:
    parts = (fill * 4, fill * 64, b"u" * 32, b"01", b"02", expiry, b"1", fill * 32, end)
    return b"https://s.sh.gov.cn/" + b"".join(parts)


@pytest.mark.parametrize(
    ("payload", "region", "family"),
    [
        (SHANGHAI, "CN-31", "shanghai"),
        (f"HTTPS://S.SH.GOV.CN/{HEX.upper()}{ISSUED_S}123", "CN-31", "shanghai"),
        (DINGTALK, "CN-33", "dingtalk"),
        (DINGTALK.replace("V2", "V5").replace("#", "&b=x%2F#"), "CN-33", "dingtalk"),
        (DINGTALK.replace("h5.", "healthcode."), "CN-33", "dingtalk"),
        (JIANGSU, "CN-32", "jiangsu"),
        (f"https://code.example.cn/a/xyz%20=/{ISSUED_S}123", "CN-34", "anhui"),
        (shanghai_binary(b"20220416120000"), "CN-31", "shanghai"),
    ],
)
def test_a_family_is_known_by_its_host_and_is_no_proof(
    payload: str | bytes, region: str, family: str
) -> None:
    token = known(payload)
    assert token is not None
    assert (token.family, token.region, token.fault) == (family, region, None)
    result = judge(payload)
    assert result.format is Format.CN_HEALTH
    assert (result.region, result.reason) == (region, Reason.NOT_CHECKABLE)
    assert (result.authenticity, result.assurance) == (Authenticity.NOT_CHECKABLE, Assurance.FORMAT_ONLY)
    assert result.status is Status.UNKNOWN
    assert not result.verified


STRANGE = [
    f"http://s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https://s.sh.gov.cn@evil.example/{HEX}{ISSUED_S}123",
    f"https://user@s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https://user:word@s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https://s.sh.gov.cn.evil.example/{HEX}{ISSUED_S}123",
    f"https://evil-s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https://x.s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https://s.sh.gov.cn:443/{HEX}{ISSUED_S}123",
    f"https://s.sh.gov.cn:/{HEX}{ISSUED_S}123",
    f"https://s.sh.gov.cn./{HEX}{ISSUED_S}123",
    f"https://s.sh.gov.cn\\{HEX}{ISSUED_S}123",
    f"https://evil.example\\@s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https:\\\\s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https:///s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https:/s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"//s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https://s%2esh.gov.cn/{HEX}{ISSUED_S}123",
    f"https://%73.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https://ѕ.sh.gov.cn/{HEX}{ISSUED_S}123",  # Cyrillic
    f"https://s。sh。gov。cn/{HEX}{ISSUED_S}123",  # ideographic full stop
    f"https://ｓ.sh.gov.cn/{HEX}{ISSUED_S}123",  # full width
    f"https://ſ.sh.gov.cn/{HEX}{ISSUED_S}123",  # long s, which lower-cases and folds to s
    f"https://s\u200b.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https://xn--s-0tb.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https://s.sh.gov.cn\n/{HEX}{ISSUED_S}123",
    f"https://s.sh.gov.cn\x00/{HEX}{ISSUED_S}123",
    f"https://s.sh.gov.cn\t/{HEX}{ISSUED_S}123",
    "https://s.sh.gov.cn\n",
    f" https://s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"\ufeffhttps://s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https://evil.example/?https://s.sh.gov.cn/{HEX}{ISSUED_S}123",
    f"https://h5.dingtalk.com.evil.example/healthAct/index.html?qrCode=V2{HEX}",
    f"https://dingtalk.com/healthAct/index.html?qrCode=V2{HEX}",
    "https://xc.caict.ac.cn.evil.example/",
    "https://",
    "",
    "HC1:NCF",
]


@pytest.mark.parametrize("payload", STRANGE)
def test_a_strangers_address_is_never_taken_for_an_issuers(payload: str) -> None:
    assert known(payload) is None
    nobody = Examination(CodeResult(Format.UNKNOWN, Reason.UNSUPPORTED), Stages(prefix=False))
    assert examine(payload) == nobody


@pytest.mark.parametrize(
    ("payload", "region"),
    [
        ("https://s.sh.gov.cn", "CN-31"),
        ("https://s.sh.gov.cn/", "CN-31"),
        ("https://s.sh.gov.cn?a", "CN-31"),
        (SHANGHAI[:-1], "CN-31"),
        (SHANGHAI + "0", "CN-31"),
        (SHANGHAI + "/", "CN-31"),
        (SHANGHAI + "\n", "CN-31"),
        (SHANGHAI + "\x00", "CN-31"),
        (SHANGHAI + " ", "CN-31"),
        (SHANGHAI + "\u202e", "CN-31"),
        (SHANGHAI.replace("0123", "012g", 1), "CN-31"),
        (SHANGHAI[:-13] + "１６５０００００００１２３", "CN-31"),  # digits of another width
        ("https://h5.dingtalk.com/healthact/index.html", "CN-33"),
        ("https://h5.dingtalk.com/other/healthAct/index.html", "CN-33"),
        (DINGTALK.replace("#", "\\"), "CN-33"),
        (DINGTALK + "\n", "CN-33"),
        ("https://jsstm.jszwfw.gov.cn/?token=1", "CN-32"),
        ("https://jsstm.jszwfw.gov.cn/jkmIndexXhtml?token=1", "CN-32"),
        (f"https://code.example.cn/a//{ISSUED_S}123", "CN-34"),
        (shanghai_binary()[:-1], "CN-31"),
        (shanghai_binary(end=b"#x"), "CN-31"),
        (shanghai_binary(end=b"")[:-20] + b"##", "CN-31"),
        (shanghai_binary().replace(b"cn/", b"cn?"), "CN-31"),
        (shanghai_binary(b"2022041512000x"), "CN-31"),
        (shanghai_binary(b"20220230120000"), "CN-31"),
        (shanghai_binary(b"00000415120000"), "CN-31"),
        (shanghai_binary(fill=b"a"), "CN-31"),
    ],
)
def test_what_no_issuer_writes_on_its_own_host_is_malformed(payload: str | bytes, region: str) -> None:
    examination = examine(payload)
    refused = CodeResult(Format.CN_HEALTH, Reason.MALFORMED, authenticity=Authenticity.REFUSED, region=region)
    assert examination == Examination(refused, Stages(prefix=True))


@pytest.mark.parametrize("payload", ["https://xc.caict.ac.cn", "HTTPS://XC.caict.ac.cn/?a=\n\x00"])
def test_the_travel_card_is_known_and_its_service_is_closed(payload: str) -> None:
    closed = CodeResult(Format.CN_TRAVEL, Reason.UNSUPPORTED, region="CN")
    assert examine(payload) == Examination(closed, Stages(prefix=True))


# Age, by the whole second of issue.

START_TOLERANCE_S = Circumstances("", 0).start_tolerance_s


@pytest.mark.parametrize(
    ("offset_ms", "freshness", "reason", "in_time"),
    [
        (-START_TOLERANCE_S * 1000 - 1, Freshness.NOT_YET_VALID, Reason.NOT_YET_VALID, False),
        (-START_TOLERANCE_S * 1000, Freshness.CURRENT, Reason.NOT_CHECKABLE, True),
        (0, Freshness.CURRENT, Reason.NOT_CHECKABLE, True),
        (SHANGHAI_AGE_S_MAX * 1000, Freshness.CURRENT, Reason.NOT_CHECKABLE, True),
        (SHANGHAI_AGE_S_MAX * 1000 + 1, Freshness.EXPIRED, Reason.EXPIRED, False),
    ],
)
def test_the_embedded_time_ages(
    offset_ms: int, freshness: Freshness, reason: Reason, *, in_time: bool
) -> None:
    examination = examine(SHANGHAI, ISSUED_S * 1000 + offset_ms)
    assert examination.stages == Stages(prefix=True, time=in_time)
    assert (examination.result.freshness, examination.result.reason) == (freshness, reason)
    assert examination.result.issued_at == ISSUED_S
    assert examination.result.valid_until is None


@pytest.mark.parametrize(("digits", "issued_at"), [("0" * 13, 0), ("9" * 13, 9_999_999_999)])
def test_times_out_of_all_reason_are_only_old_or_early(digits: str, issued_at: int) -> None:
    result = judge(f"https://s.sh.gov.cn/{HEX}{digits}")
    assert result.issued_at == issued_at
    assert result.reason in {Reason.EXPIRED, Reason.NOT_YET_VALID}


@pytest.mark.parametrize("payload", [SHANGHAI, shanghai_binary()])
def test_without_a_trusted_clock_a_time_says_nothing(payload: str | bytes) -> None:
    examination = examine(payload, 0, trusted=False)
    assert (examination.result.reason, examination.result.freshness) == (
        Reason.CLOCK_UNTRUSTED,
        Freshness.UNKNOWN,
    )
    assert examination.stages == Stages(prefix=True)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_token_without_a_time_has_no_age(*, trusted: bool) -> None:
    examination = examine(DINGTALK, 0, trusted=trusted)
    assert (examination.result.reason, examination.result.freshness) == (
        Reason.NOT_CHECKABLE,
        Freshness.UNKNOWN,
    )
    assert examination.stages == Stages(prefix=True)


@pytest.mark.parametrize(
    ("offset_ms", "reason"), [(0, Reason.NOT_CHECKABLE), (1, Reason.EXPIRED), (-1, Reason.NOT_CHECKABLE)]
)
def test_the_binary_form_expires_by_chinas_clock(offset_ms: int, reason: Reason) -> None:
    expiry_ms = 1_649_995_200_000  # 2022-04-15T12:00:00+08:00
    assert judge(shanghai_binary(), expiry_ms + offset_ms).reason is reason


def test_a_configured_family_comes_before_the_built_in_one() -> None:
    strict = replace(BUILT_IN[0], name="strict", age_s_max=60)
    ageless = replace(BUILT_IN[0], name="ageless", age_s_max=None)
    payload, at = SHANGHAI.encode(), Circumstances("", (ISSUED_S + 61) * 1000)
    for family, reason in ((strict, Reason.EXPIRED), (ageless, Reason.NOT_CHECKABLE)):
        assert verify(payload, trust=Trust(token_families=(family,)), at=at).result.reason is reason
    elsewhere = TokenFamily("CN-32", "sukang", ("h5.dingtalk.com",), "/healthAct/{rest}")
    token = recognise(DINGTALK.encode(), (elsewhere,))
    assert token == Token(Format.CN_HEALTH, "sukang", "CN-32")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"region": "cn-31"}, "region must be"),
        ({"region": "CN-31\n"}, "region must be"),
        ({"name": "an hui"}, "name must be"),
        ({"hosts": ()}, "hosts must be"),
        ({"hosts": ("Code.example.cn",)}, "hosts must be"),
        ({"hosts": ("code.example.cn:443",)}, "hosts must be"),
        ({"hosts": ("a.xn--fiqs8s",)}, "hosts must be"),
        ({"hosts": ("localhost",)}, "hosts must be"),
        ({"hosts": ("code.example.cn.",)}, "hosts must be"),
        ({"hosts": ("码.example.cn",)}, "hosts must be"),
        ({"path": "a/{unix_ms}"}, "path must start"),
        ({"path": "/{hex:0}{unix_ms}"}, "path must start"),
        ({"path": "/{word}{unix_ms}"}, "path must start"),
        ({"path": "/a b{unix_ms}"}, "path must start"),
        ({"path": "/a\\{unix_ms}"}, "path must start"),
        ({"path": "/{unix_ms}{unix_ms}"}, "stands once"),
        ({"path": "/{rest}{unix_ms}"}, "at the end"),
        ({"path": "/{token}"}, "age_s_max needs"),
    ],
)
def test_a_family_that_could_not_be_recognised_safely_is_refused(
    change: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(ANHUI, **change)


def test_all_that_is_wrong_with_a_family_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"region .*name .*hosts .*path .*age"):
        TokenFamily("x", "", (), "", 5)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(["https://", "HTTPS://", "http://", ""]),
    st.sampled_from([*(host for family in (*BUILT_IN, ANHUI) for host in family.hosts), "xc.caict.ac.cn"]),
    st.binary(max_size=220) | st.from_regex(r"[/?#][!-~]{0,200}", fullmatch=True).map(str.encode),
    st.booleans(),
)
def test_any_bytes_are_recognised_or_not_and_never_proven(
    scheme: str, host: str, rest: bytes, trusted: bool
) -> None:
    examination = examine(scheme.encode() + host.encode() + rest, trusted=trusted)
    result = examination.result
    assert result.format in {Format.CN_HEALTH, Format.CN_TRAVEL, Format.UNKNOWN}
    assert result.reason in {
        Reason.NOT_CHECKABLE,
        Reason.EXPIRED,
        Reason.NOT_YET_VALID,
        Reason.CLOCK_UNTRUSTED,
        Reason.UNSUPPORTED,
        Reason.MALFORMED,
    }
    assert result.authenticity in {Authenticity.NOT_CHECKABLE, Authenticity.REFUSED}
    if rest[:1] not in {b"", b"/", b"?", b"#"} or not scheme.lower().startswith("https"):
        assert result.format is Format.UNKNOWN


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_answered(payload: bytes) -> None:
    result = examine(payload).result
    assert result.format in {Format.UNKNOWN, Format.CN_HEALTH, Format.CN_TRAVEL}
    assert result.authenticity is not Authenticity.VERIFIED
    if not payload.lower().startswith(b"https://"):
        assert result.format is Format.UNKNOWN


@pytest.mark.parametrize("piece", ["a", "a/", "1", "=.", "\x7f", "\\"])
def test_the_longest_payload_takes_no_time(piece: str) -> None:
    """A pattern that searches on and on would take minutes here, hence the generous bound."""
    winding = TokenFamily("CN", "winding", ("a.cn",), "/{token}{token}/{token}{token}{token}!{rest}")
    payload = ("https://a.cn/" + piece * 4_296)[:4_296].encode()
    begun = time.process_time()
    for _ in range(10):
        token = recognise(payload, (winding,))
        assert token is not None
        assert token.fault is Reason.MALFORMED
    assert time.process_time() - begun < 0.5


# The verify service.

TOKEN_RESULT = judge(DINGTALK)
GREEN = ServiceAnswer(
    Outcome.ANSWERED, Status.GREEN, Travel.CLEAR, "ab" * 16, LabTest(ISSUED_S - 3600, negative=True)
)


def test_what_the_service_says_becomes_the_codes_own() -> None:
    assert answered(TOKEN_RESULT, GREEN) == CodeResult(
        Format.CN_HEALTH,
        Reason.OK,
        Status.GREEN,
        Authenticity.VERIFIED,
        Freshness.CURRENT,
        Credential.STATUS,
        subject_ref="ab" * 16,
        region="CN-33",
        travel=Travel.CLEAR,
        test=LabTest(ISSUED_S - 3600, negative=True),
        assurance=Assurance.ONLINE_SERVICE,
    )
    assert answered(TOKEN_RESULT, GREEN).verified


@pytest.mark.parametrize(
    ("status", "reason"), [(Status.YELLOW, Reason.STATUS_YELLOW), (Status.RED, Reason.STATUS_RED)]
)
@pytest.mark.parametrize("trusted", [True, False])
def test_yellow_and_red_count_whatever_the_clock(status: Status, reason: Reason, *, trusted: bool) -> None:
    code = answered(judge(SHANGHAI, trusted=trusted), replace(GREEN, status=status))
    assert (code.reason, code.status, code.verified) == (reason, status, False)


def test_a_status_that_is_not_stated_is_not_green() -> None:
    code = answered(TOKEN_RESULT, ServiceAnswer(Outcome.ANSWERED))
    assert (code.status, code.reason, code.authenticity) == (
        Status.UNKNOWN,
        Reason.OK,
        Authenticity.VERIFIED,
    )


def test_green_does_not_stand_in_for_an_age_that_nobody_could_judge() -> None:
    code = answered(judge(SHANGHAI, trusted=False), GREEN)
    assert (code.reason, code.freshness, code.verified) == (
        Reason.CLOCK_UNTRUSTED,
        Freshness.UNKNOWN,
        False,
    )
    assert (code.status, code.authenticity) == (Status.GREEN, Authenticity.VERIFIED)


@pytest.mark.parametrize(
    ("outcome", "reason", "authenticity", "freshness"),
    [
        (Outcome.NOT_FOUND, Reason.NOT_FOUND, Authenticity.REFUSED, Freshness.UNKNOWN),
        (Outcome.EXPIRED, Reason.EXPIRED, Authenticity.VERIFIED, Freshness.EXPIRED),
        (Outcome.TIMEOUT, Reason.SERVICE_TIMEOUT, Authenticity.SERVICE_UNREACHABLE, Freshness.UNKNOWN),
        (Outcome.UNREACHABLE, Reason.SERVICE_ERROR, Authenticity.SERVICE_UNREACHABLE, Freshness.UNKNOWN),
        (Outcome.ERROR, Reason.SERVICE_ERROR, Authenticity.SERVICE_UNREACHABLE, Freshness.UNKNOWN),
    ],
)
def test_only_an_answer_states_anything(
    outcome: Outcome, reason: Reason, authenticity: Authenticity, freshness: Freshness
) -> None:
    code = answered(TOKEN_RESULT, replace(GREEN, outcome=outcome))
    assert (code.reason, code.authenticity, code.freshness) == (reason, authenticity, freshness)
    assert (code.status, code.travel, code.subject_ref, code.test) == (
        Status.UNKNOWN,
        Travel.UNKNOWN,
        None,
        None,
    )
    assert not code.verified


CLOSED = [
    judge(SHANGHAI, (ISSUED_S + 3600) * 1000),
    judge(SHANGHAI, (ISSUED_S - 3600) * 1000),
    judge(SHANGHAI + "x"),
    judge("https://xc.caict.ac.cn/"),
    judge("https://evil.example/"),
    CodeResult(Format.HOME, Reason.NOT_CHECKABLE, region="CN-33"),
]


@pytest.mark.parametrize("result", CLOSED, ids=lambda result: str(result.reason))
def test_what_its_text_says_against_a_token_stands(result: CodeResult) -> None:
    assert answered(result, GREEN) == result
    assert service_token(SHANGHAI.encode(), result) is None


def test_a_service_is_asked_about_texts_that_nothing_speaks_against() -> None:
    assert service_token(DINGTALK.encode(), TOKEN_RESULT) == DINGTALK.encode()
    assert service_token(SHANGHAI.encode(), judge(SHANGHAI, trusted=False)) == SHANGHAI.encode()
    assert service_token(shanghai_binary(), judge(shanghai_binary(), 0, trusted=False)) is None
