"""The rotating pass: shown by its holder, photographed, cut up, put together anew."""

from dataclasses import replace

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.core.codes import base45
from gate.core.codes.cose import create_sign1
from gate.core.codes.home import PassClaims, issue, read_pass
from gate.core.codes.home import verify as verify_plain
from gate.core.codes.model import (
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
from gate.core.codes.rotating import PREFIX, STEP_S, present, read_shown, verify
from gate.core.codes.trust import Trust, TrustedKey

COUNTER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PHONE = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)
OTHER_PHONE = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
SITE = "hall-east"
STEP = 56_666_700
START, NOW, END = STEP * 30 - 3600, STEP * 30, STEP * 30 + 3600
TRUST = Trust(
    (
        TrustedKey(
            "county-hall",
            "County hall",
            COUNTER.public_key().public_bytes_raw(),
            frozenset({Credential.VISITOR}),
        ),
    )
)
CLAIMS = PassClaims(
    issuer="county-hall",
    subject=bytes.fromhex("0123456789abcdef"),
    site=SITE,
    valid_from=START,
    valid_until=END,
    issued_at=START,
    pass_id=bytes.fromhex("cafe0001"),
    credential=Credential.VISITOR,
    status=Status.GREEN,
    registered=frozenset({"name", "phone"}),
    holder_key=PHONE.public_key().public_bytes_raw(),
)
PASS = issue(COUNTER, CLAIMS)
SHOWN = present(PHONE, PASS, NOW)
ALL_DONE = Stages(
    prefix=True, base45=True, cbor=True, schema=True, signature=True, key_usage=True, time=True, zlib=None
)


def examine(
    text: str,
    *,
    trust: Trust = TRUST,
    site: str = SITE,
    now_ms: int = NOW * 1000,
    clock_trusted: bool = True,
) -> Examination:
    return verify(text.encode(), trust=trust, at=Circumstances(site, now_ms, clock_trusted))


def judge(text: str, *, trust: Trust = TRUST, site: str = SITE, now_ms: int = NOW * 1000) -> CodeResult:
    return examine(text, trust=trust, site=site, now_ms=now_ms).result


def raw_of(text: str) -> bytes:
    return base45.decode(text[4:].encode())


def text_of(raw: bytes) -> str:
    return "HG2:" + base45.encode(raw)


def proof(phone: Ed25519PrivateKey, message: bytes, step: int, *, domain: bytes | None = None) -> bytes:
    """Step and signature as a phone writes them, put together here by hand."""
    prefix = b"health gate, pass shown by its holder\x00" if domain is None else domain
    wire = step.to_bytes(4, "big")
    return wire + phone.sign(prefix + wire + message)


def assert_refused(result: CodeResult, reason: Reason) -> None:
    assert result == CodeResult(Format.HOME, reason, authenticity=Authenticity.REFUSED)


# Shown and read


def test_a_pass_shown_by_its_holder() -> None:
    found = examine(SHOWN)
    plain = verify_plain(PASS.encode(), trust=TRUST, at=Circumstances(SITE, NOW * 1000)).result
    assert found.result == replace(plain, reason=Reason.OK, freshness=Freshness.CURRENT, step=STEP)
    assert found.result.verified
    assert found.stages == ALL_DONE


def test_the_wire() -> None:
    message = raw_of(PASS)
    assert raw_of(SHOWN) == message + proof(PHONE, message, STEP)
    assert present(PHONE, PASS, NOW + 29) == SHOWN
    shown, claims = read_shown(SHOWN.encode())
    assert (shown.message, shown.step, claims) == (message, STEP, CLAIMS)


def test_it_fits_a_small_picture() -> None:
    assert len(raw_of(SHOWN)) == len(raw_of(PASS)) + 68
    assert len(SHOWN) <= 419  # what QR version 12-M holds


def test_only_the_holder_of_the_bound_key_can_show_it() -> None:
    unbound = issue(COUNTER, replace(CLAIMS, holder_key=None))
    for phone, text in [(OTHER_PHONE, PASS), (PHONE, unbound)]:
        with pytest.raises(ValueError, match="not bound to this holder key"):
            present(phone, text, NOW)
    for text in ("", "HG1:", SHOWN, "健康码", "\ud800"):
        with pytest.raises(CodeError):
            present(PHONE, text, NOW)


@settings(deadline=None)  # a busy machine is no fault
@given(st.binary(min_size=32, max_size=32), st.integers(START, END), st.integers(0, 2**16))
def test_round_trip(seed: bytes, now_s: int, number: int) -> None:
    phone = Ed25519PrivateKey.from_private_bytes(seed)
    bound = replace(
        CLAIMS, holder_key=phone.public_key().public_bytes_raw(), pass_id=number.to_bytes(4, "big")
    )
    result = judge(present(phone, issue(COUNTER, bound), now_s), now_ms=now_s * 1000)
    assert result.verified
    assert (result.step, result.pass_id) == (now_s // STEP_S, bound.pass_id.hex())


# Steps


@pytest.mark.parametrize(
    ("now_ms", "freshness"),
    [
        ((NOW - 30) * 1000 - 1, Freshness.NOT_YET_VALID),
        ((NOW - 30) * 1000, Freshness.CURRENT),
        (NOW * 1000, Freshness.CURRENT),
        ((NOW + 60) * 1000 - 1, Freshness.CURRENT),
        ((NOW + 60) * 1000, Freshness.EXPIRED),
    ],
)
def test_a_step_counts_for_90_seconds(now_ms: int, freshness: Freshness) -> None:
    found = examine(SHOWN, now_ms=now_ms)
    assert found.result.freshness is freshness
    assert found.result.reason == ("ok" if freshness is Freshness.CURRENT else freshness)
    assert found.result.step == STEP
    assert found.stages == replace(ALL_DONE, time=freshness is Freshness.CURRENT)


@pytest.mark.parametrize("off", [-2, -1, 0, 1, 2])
def test_steps_around_that_of_the_gate(off: int) -> None:
    result = judge(present(PHONE, PASS, NOW + off * STEP_S))
    assert result.verified == (abs(off) <= 1)
    if not result.verified:
        assert result.reason is (Reason.EXPIRED if off < 0 else Reason.NOT_YET_VALID)


def test_no_tolerance_widens_the_window() -> None:
    wide = Circumstances(SITE, (NOW + 60) * 1000, start_tolerance_s=3600, end_tolerance_s=3600)
    assert verify(SHOWN.encode(), trust=TRUST, at=wide).result.reason is Reason.EXPIRED


@pytest.mark.parametrize("now_s", [0, NOW, NOW + 60, END + 1])
def test_without_a_trusted_clock_no_step_counts(now_s: int) -> None:
    found = examine(SHOWN, now_ms=now_s * 1000, clock_trusted=False)
    assert found.result.reason is Reason.CLOCK_UNTRUSTED
    assert found.result.authenticity is Authenticity.VERIFIED
    assert found.stages.time is None


@pytest.mark.parametrize("now_s", [START - 301, END + 1])
def test_a_fresh_step_keeps_no_old_pass_alive(now_s: int) -> None:
    found = examine(present(PHONE, PASS, now_s), now_ms=now_s * 1000)
    assert found.result.reason is (Reason.NOT_YET_VALID if now_s < START else Reason.EXPIRED)
    assert found.stages.time is False


@pytest.mark.parametrize("step", [0, 2**32 - 1])
def test_steps_at_the_ends_of_their_range(step: int) -> None:
    message = raw_of(PASS)
    result = judge(text_of(message + proof(PHONE, message, step)))
    assert result.reason is (Reason.EXPIRED if step == 0 else Reason.NOT_YET_VALID)


# What the pass itself says still counts


def test_whatever_is_against_the_pass_is_said() -> None:
    revoked = replace(TRUST, revoked=frozenset({("county-hall", "cafe0001")}))
    assert judge(SHOWN, trust=revoked).reason is Reason.REVOKED
    assert judge(SHOWN, trust=revoked, now_ms=(NOW + 60) * 1000).reason is Reason.REVOKED
    assert judge(SHOWN, site="hall-west").reason is Reason.WRONG_SITE
    assert judge(SHOWN, trust=Trust()) == CodeResult(Format.HOME, Reason.UNKNOWN_ISSUER)
    for change, reason in [
        ({"credential": Credential.STAFF}, Reason.WRONG_PURPOSE),
        ({"status": Status.RED}, Reason.STATUS_RED),
    ]:
        assert judge(present(PHONE, issue(COUNTER, replace(CLAIMS, **change)), NOW)).reason is reason


# Attacks


def test_the_pass_inside_is_worth_nothing_alone() -> None:
    """Whoever photographs the picture can take the pass out of it, but not show it."""
    screenshot = "HG1:" + base45.encode(read_shown(SHOWN.encode())[0].message)
    assert screenshot == PASS
    result = verify_plain(screenshot.encode(), trust=TRUST, at=Circumstances(SITE, NOW * 1000)).result
    assert (result.reason, result.verified) == (Reason.REPLAY, False)


def test_another_phone_cannot_show_the_pass() -> None:
    message = raw_of(PASS)
    found = examine(text_of(message + proof(OTHER_PHONE, message, STEP)))
    assert_refused(found.result, Reason.BAD_SIGNATURE)
    assert found.stages == replace(ALL_DONE, signature=False)


def test_a_pass_that_is_bound_to_nobody_cannot_be_shown_by_somebody() -> None:
    message = raw_of(issue(COUNTER, replace(CLAIMS, holder_key=None)))
    found = examine(text_of(message + proof(PHONE, message, STEP)))
    assert_refused(found.result, Reason.MALFORMED)
    assert found.stages == replace(ALL_DONE, schema=False)


def test_a_proof_belongs_to_one_pass() -> None:
    """The same phone may hold two passes; the proof of one does not show the other."""
    other = raw_of(issue(COUNTER, replace(CLAIMS, pass_id=bytes(4))))
    assert_refused(judge(text_of(other + raw_of(SHOWN)[-68:])), Reason.BAD_SIGNATURE)


def test_a_step_cannot_be_stretched() -> None:
    raw = bytearray(raw_of(SHOWN))
    raw[-65] += 1
    found = examine(text_of(bytes(raw)), now_ms=(NOW + 30) * 1000)
    assert_refused(found.result, Reason.BAD_SIGNATURE)
    assert found.stages == replace(ALL_DONE, signature=False)


@pytest.mark.parametrize(
    "domain", [b"", b"health gate, pass shown by its holder", b"health gate, document of a site\x00"]
)
def test_what_a_key_signed_for_something_else_shows_no_pass(domain: bytes) -> None:
    message = raw_of(PASS)
    assert_refused(judge(text_of(message + proof(PHONE, message, STEP, domain=domain))), Reason.BAD_SIGNATURE)


def test_a_forged_pass_stays_forged_however_it_is_shown() -> None:
    forged = bytearray(raw_of(PASS))
    forged[-1] ^= 1
    message = bytes(forged)
    found = examine(text_of(message + proof(PHONE, message, STEP)), now_ms=(NOW + 60) * 1000)
    assert_refused(found.result, Reason.BAD_SIGNATURE)
    assert found.stages == replace(ALL_DONE, signature=False, time=False)


def test_a_holder_key_that_is_no_key_is_refused() -> None:
    nowhere = replace(CLAIMS, holder_key=b"\x02" + bytes(31))
    message = raw_of(issue(COUNTER, nowhere))
    assert_refused(judge(text_of(message + bytes(68))), Reason.BAD_SIGNATURE)


def test_a_holder_key_for_which_anybody_signs_is_malformed() -> None:
    text = issue(COUNTER, CLAIMS)
    payload = cbor2.loads(cbor2.loads(raw_of(text)).value[2])
    payload[-65537][6] = bytes(32)
    message = create_sign1(COUNTER, TRUST.keys[0].kid, cbor2.dumps(payload)).encoded()
    assert_refused(judge(text_of(message + proof(PHONE, message, STEP))), Reason.MALFORMED)


# Bent texts


@pytest.mark.parametrize(
    ("raw", "reason", "stages"),
    [
        (b"", Reason.MALFORMED, Stages(prefix=True, base45=True, cbor=False)),
        (bytes(68), Reason.MALFORMED, Stages(prefix=True, base45=True, cbor=False)),
        (bytes(69), Reason.MALFORMED, Stages(prefix=True, base45=True, cbor=False)),
        (bytes(512 + 68), Reason.MALFORMED, Stages(prefix=True, base45=True, cbor=False)),
        (bytes(513 + 68), Reason.TOO_LARGE, Stages(prefix=True, base45=True, cbor=False)),
    ],
)
def test_sizes(raw: bytes, reason: Reason, stages: Stages) -> None:
    found = examine(text_of(raw))
    assert_refused(found.result, reason)
    assert found.stages == stages


def test_no_base45() -> None:
    found = examine("HG2:a")
    assert_refused(found.result, Reason.MALFORMED)
    assert found.stages == Stages(prefix=True, base45=False)


def test_times_that_cannot_be_read_leave_the_step_of_time_open() -> None:
    message = raw_of(PASS)
    payload = cbor2.loads(cbor2.loads(message).value[2])
    payload[4] = 1.5
    bent = create_sign1(COUNTER, TRUST.keys[0].kid, cbor2.dumps(payload)).encoded()
    found = examine(text_of(bent + proof(PHONE, bent, STEP)))
    assert_refused(found.result, Reason.MALFORMED)
    assert found.stages == replace(ALL_DONE, schema=False, time=None)


@pytest.mark.parametrize("junk", ["0", "00", "000", " ", "\n", "HG2:"])
def test_trailing_junk(junk: str) -> None:
    assert not judge(SHOWN + junk).verified


def test_one_spelling() -> None:
    raw = raw_of(SHOWN)
    others = [raw[1:], b"\xd8\x12" + raw[1:], b"\xd8\x3d" + raw, raw.replace(b"\x84", b"\x98\x04", 1)]
    for other in others:
        message = other[:-68]
        assert_refused(judge(text_of(message + proof(PHONE, message, STEP))), Reason.MALFORMED)
    assert_refused(judge("HG2:" + SHOWN[4:].lower()), Reason.MALFORMED)


def test_a_signature_shifted_by_the_group_order_is_refused() -> None:
    """RFC 8032 section 5.1.7: S must be below the order."""
    raw = raw_of(SHOWN)
    order = 2**252 + 27742317777372353535851937790883648493
    shifted = int.from_bytes(raw[-32:], "little") + order
    assert_refused(judge(text_of(raw[:-32] + shifted.to_bytes(32, "little"))), Reason.BAD_SIGNATURE)


def test_every_bit_of_every_byte() -> None:
    raw = raw_of(SHOWN)
    for at in range(len(raw)):
        for bit in range(8):
            bent = bytearray(raw)
            bent[at] ^= 1 << bit
            assert judge(text_of(bytes(bent))).subject_ref is None, (at, bit)


def test_cut_off_anywhere() -> None:
    for length in range(4, len(SHOWN)):
        assert not judge(SHOWN[:length]).verified


@settings(deadline=None)  # a busy machine is no fault
@given(st.integers(0, 330), st.binary(max_size=6), st.integers(0, 6))
def test_any_bytes_spliced_in(at: int, insert: bytes, cut: int) -> None:
    raw = raw_of(SHOWN)
    bent = raw[:at] + insert + raw[at + cut :]
    assert judge(text_of(bent)).verified == (bent == raw)


@settings(deadline=None)  # a busy machine is no fault
@given(st.binary(max_size=700) | st.binary(max_size=700).map(lambda raw: base45.encode(raw).encode()))
def test_any_bytes_give_a_result(payload: bytes) -> None:
    result = verify(PREFIX + payload, trust=TRUST, at=Circumstances(SITE, NOW * 1000)).result
    assert result.format is Format.HOME
    assert not result.verified
    try:
        read_shown(PREFIX + payload)
    except CodeError as error:
        assert error.reason in {Reason.MALFORMED, Reason.TOO_LARGE, Reason.UNSUPPORTED}


def test_reading_something_else() -> None:
    for text in (PASS, "", "hg2:"):
        with pytest.raises(CodeError) as caught:
            read_shown(text.encode())
        assert caught.value.reason is Reason.UNSUPPORTED
    assert read_pass(PASS.encode())[1] == CLAIMS
