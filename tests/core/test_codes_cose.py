"""Guarded CBOR and COSE_Sign1: published examples, and the items that a CBOR library would swallow."""

import math
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.core.codes.cose import (
    DEPTH_MAX,
    ITEMS_MAX,
    Sign1,
    create_sign1,
    parse_foreign_sign1,
    parse_sign1,
    read_cbor,
    sig_structure,
    verify_sign1,
)
from gate.core.codes.model import CodeError, Reason

# RFC 8032 section 7.1, test 1.
RFC8032_SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC8032_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
RFC8032_SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)
# COSE working group examples, "EdDSA-01: EdDSA - 25519 - sign0" (the same key).
EDDSA_SIGN1 = bytes.fromhex(
    "d28445a201270300a10442313154546869732069732074686520636f6e74656e742e58407142fd2ff96d56db85bee905a76ba1d0b7321a95c8c4d3607c5781932b7afb8711497dfa751bf40b58b3bcc32300b1487f3db34085eef013bf08f4a44d6fef0d"
)
EDDSA_TO_BE_SIGNED = bytes.fromhex(
    "846a5369676e61747572653145a2012703004054546869732069732074686520636f6e74656e742e"
)
# RFC 9052 appendix C.2.1, signed with ES256.
ES256_SIGN1 = bytes.fromhex(
    "d28443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36"
)
ES256_TO_BE_SIGNED = bytes.fromhex(
    "846a5369676e61747572653143a101264054546869732069732074686520636f6e74656e742e"
)

PUBLIC = Ed25519PublicKey.from_public_bytes(RFC8032_PUBLIC)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def reason_of(data: bytes, *, size_max: int = 4096, tags: frozenset[int] = frozenset()) -> Reason:
    with pytest.raises(CodeError) as caught:
        read_cbor(data, size_max=size_max, tags=tags)
    return caught.value.reason


def sign1_reason(data: bytes) -> Reason:
    with pytest.raises(CodeError) as caught:
        parse_sign1(data, size_max=4096)
    return caught.value.reason


def sign1_bytes(
    protected: object, unprotected: object, payload: object = b"p", signature: object = b"s"
) -> bytes:
    return b"\xd2" + cbor2.dumps([protected, unprotected, payload, signature])


# Signatures


def test_ed25519_is_the_one_of_rfc_8032() -> None:
    assert Ed25519PrivateKey.from_private_bytes(RFC8032_SECRET).sign(b"") == RFC8032_SIGNATURE
    PUBLIC.verify(RFC8032_SIGNATURE, b"")


@pytest.mark.parametrize("prefix", [b"", b"\xd2", b"\xd8\x3d", b"\xd8\x3d\xd2"])
def test_published_eddsa_example(prefix: bytes) -> None:
    message = parse_sign1(prefix + EDDSA_SIGN1[1:], size_max=512)
    assert message.payload == b"This is the content."
    assert message.unprotected == {4: b"11"}
    assert sig_structure(message.protected_raw, message.payload) == EDDSA_TO_BE_SIGNED
    verify_sign1(message, PUBLIC)
    assert message.encoded() == EDDSA_SIGN1


def test_published_es256_example_is_read_but_not_accepted_for_an_ed25519_key() -> None:
    message = parse_sign1(ES256_SIGN1, size_max=512)
    assert sig_structure(message.protected_raw, message.payload) == ES256_TO_BE_SIGNED
    with pytest.raises(CodeError) as caught:
        verify_sign1(message, PUBLIC)
    assert caught.value.reason is Reason.BAD_SIGNATURE


def test_signature_over_other_bytes_is_refused() -> None:
    message = parse_sign1(EDDSA_SIGN1.replace(b"content", b"contenT"), size_max=512)
    with pytest.raises(CodeError) as caught:
        verify_sign1(message, PUBLIC)
    assert caught.value.reason is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("alg", [{}, {1: None}, {1: 0}, {1: 5}, {1: -7}, {1: "EdDSA"}, {1: "none"}])
def test_the_key_says_the_algorithm_not_the_message(alg: dict[int, object]) -> None:
    raw = cbor2.dumps(alg) if alg else b""
    key = Ed25519PrivateKey.from_private_bytes(RFC8032_SECRET)
    signed = Sign1(raw, {}, {}, b"p", key.sign(sig_structure(raw, b"p")))
    with pytest.raises(CodeError) as caught:
        verify_sign1(parse_sign1(signed.encoded(), size_max=512), PUBLIC)
    assert caught.value.reason is Reason.BAD_SIGNATURE


def test_what_was_created_is_read_and_verified() -> None:
    created = create_sign1(Ed25519PrivateKey.from_private_bytes(RFC8032_SECRET), b"kid", b"payload")
    message = parse_sign1(created.encoded(), size_max=512)
    assert message == created
    assert message.protected == {1: -8, 4: b"kid"}
    verify_sign1(message, PUBLIC)


# RFC 9052 appendix C.7.1, the key "11".
ES256_PUBLIC = ec.EllipticCurvePublicNumbers(
    int("bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff", 16),
    int("20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e", 16),
    ec.SECP256R1(),
).public_key()


def test_published_es256_example() -> None:
    message = parse_foreign_sign1(ES256_SIGN1, size_max=512)
    verify_sign1(message, ES256_PUBLIC)
    with pytest.raises(CodeError) as caught:
        verify_sign1(replace(message, payload=b"This is other content."), ES256_PUBLIC)
    assert caught.value.reason is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("cut", [slice(0, 63), slice(0, 0), slice(0, 32)])
def test_es256_signature_of_another_length(cut: slice) -> None:
    message = parse_foreign_sign1(ES256_SIGN1, size_max=512)
    for signature in (message.signature[cut], message.signature + b"\0"):
        with pytest.raises(CodeError, match="bad_signature"):
            verify_sign1(replace(message, signature=signature), ES256_PUBLIC)


def signed(alg: int, sign: Callable[[bytes], bytes]) -> Sign1:
    protected = {1: alg}
    raw = cbor2.dumps(protected)
    return Sign1(raw, protected, {}, b"payload", sign(sig_structure(raw, b"payload")))


def test_es256_is_the_two_numbers_side_by_side_and_not_der() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    message = signed(-7, lambda data: key.sign(data, ec.ECDSA(hashes.SHA256())))
    with pytest.raises(CodeError, match="bad_signature"):
        verify_sign1(message, key.public_key())
    r, s = decode_dss_signature(message.signature)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    verify_sign1(replace(message, signature=raw), key.public_key())
    for wrong in (bytes(64), b"\xff" * 64, raw[32:] + raw[:32], raw[:32] + b"\0" + raw[32:]):
        with pytest.raises(CodeError, match="bad_signature"):
            verify_sign1(replace(message, signature=wrong), key.public_key())


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1()])
def test_es256_is_for_p256_only(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    message = signed(-7, lambda _: bytes(64))
    for wrong in (message, replace(message, protected={})):
        with pytest.raises(CodeError, match="not the algorithm of the key"):
            verify_sign1(wrong, key.public_key())


def rsa_signer(key: rsa.RSAPrivateKey, salt: int = 32) -> Callable[[bytes], bytes]:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), salt)
    return lambda data: key.sign(data, pss, hashes.SHA256())


def test_ps256(rsa_key: rsa.RSAPrivateKey) -> None:
    message = signed(-37, rsa_signer(rsa_key))
    verify_sign1(message, rsa_key.public_key())
    old_padding = signed(-37, lambda data: rsa_key.sign(data, padding.PKCS1v15(), hashes.SHA256()))
    wrong = [
        replace(message, payload=b"another"),
        replace(message, signature=message.signature[:-1]),
        replace(message, signature=b""),
        signed(-37, rsa_signer(rsa_key, salt=20)),  # RFC 8230 section 2: as long as the hash
        old_padding,
        signed(-257, rsa_signer(rsa_key)),
        signed(-7, rsa_signer(rsa_key)),
    ]
    for message in wrong:
        with pytest.raises(CodeError, match=r"bad_signature|not the algorithm"):
            verify_sign1(message, rsa_key.public_key())


def test_ps256_needs_2048_bits() -> None:
    key = rsa.generate_private_key(65537, 1024)
    with pytest.raises(CodeError, match="not the algorithm of the key"):
        verify_sign1(signed(-37, rsa_signer(key)), key.public_key())


# Shape of a COSE_Sign1


@pytest.mark.parametrize(
    "spelling",
    [
        ES256_SIGN1,
        ES256_SIGN1[1:],
        b"\xd8\x3d" + ES256_SIGN1,
        b"\xd8\x12" + ES256_SIGN1[1:],
        b"\xd2\x9f" + ES256_SIGN1[2:] + b"\xff",
        ES256_SIGN1.replace(b"\xa1\x04\x42", b"\xbf\x04\x42").replace(b"11\x54", b"11\xff\x54"),
        ES256_SIGN1.replace(b"\x54This is", b"\x5f\x47This is\x4d").replace(b"content.", b"content.\xff"),
        ES256_SIGN1.replace(b"\xa1\x04\x42\x31\x31", b"\xa3\x04\x42\x31\x31\x01\x26\x02\x81\x04"),
    ],
)
def test_foreign_spellings_of_the_published_example(spelling: bytes) -> None:
    message = parse_foreign_sign1(spelling, size_max=512)
    assert (message.protected, message.unprotected[4]) == ({1: -7}, b"11")
    verify_sign1(message, ES256_PUBLIC)


def test_foreign_messages_are_held_to_shape_and_critical_headers() -> None:
    for data, reason in (
        (sign1_bytes(b"", {})[:-1], Reason.MALFORMED),
        (b"\xd2\x83\x40\xa0\x40", Reason.MALFORMED),
        (b"\xd3" + ES256_SIGN1[1:], Reason.MALFORMED),
        (sign1_bytes(cbor2.dumps({1: -7, 2: [99]}), {}), Reason.UNSUPPORTED),
    ):
        with pytest.raises(CodeError) as caught:
            parse_foreign_sign1(data, size_max=512)
        assert caught.value.reason is reason


@pytest.mark.parametrize(
    "item",
    [
        1,
        b"bytes",
        [],
        [b"", {}, b"p"],
        [b"", {}, b"p", b"s", 0],
        ["", {}, b"p", b"s"],
        [b"", {}, None, b"s"],
        [b"", {}, b"p", "s"],
        [b"", [], b"p", b"s"],
        [cbor2.dumps([1, 2]), {}, b"p", b"s"],
        [b"\xff", {}, b"p", b"s"],
        [b"", {1: -8}, b"p", b"s"],
        [cbor2.dumps({1: -8}), {1: -8}, b"p", b"s"],
        [cbor2.dumps({4: b"k"}), {4: b"other"}, b"p", b"s"],
        [cbor2.dumps({1: -8}), {2: [4]}, b"p", b"s"],
    ],
)
def test_other_shapes_and_unsigned_stand_ins_are_malformed(item: object) -> None:
    assert sign1_reason(b"\xd2" + cbor2.dumps(item)) is Reason.MALFORMED


def test_critical_headers_are_unsupported() -> None:
    assert sign1_reason(sign1_bytes(cbor2.dumps({1: -8, 2: [99], 99: 1}), {})) is Reason.UNSUPPORTED


def test_protected_header_counts_towards_the_size() -> None:
    assert sign1_reason(sign1_bytes(cbor2.dumps({1: b"x" * 5000}), {})) is Reason.TOO_LARGE


def test_more_tags_than_the_two_are_malformed() -> None:
    assert sign1_reason(b"\xd2\xd2" + EDDSA_SIGN1[1:]) is Reason.MALFORMED
    assert sign1_reason(b"\xd2\xd8\x3d" + EDDSA_SIGN1[1:]) is Reason.MALFORMED


# Guarded CBOR


@pytest.mark.parametrize(
    "hexadecimal",
    [
        "",  # nothing
        "18",  # argument cut off
        "1b00000000000000",
        "4461",  # shorter than it promises
        "6461",
        "8201",
        "a101",
        "a1",
        "5bffffffffffffffff",  # lengths that nobody can store
        "7bffffffffffffffff",
        "9bffffffffffffffff",
        "bbffffffffffffffff",
        "9affffffff",
        "1c",  # reserved
        "5f4161ff",  # indefinite
        "7f6161ff",
        "9f01ff",
        "bf0101ff",
        "ff",
        "0000",  # trailing bytes
        "a10102f6",
        "a201010102",  # the same key twice
        "a20101180102",
        "a2616101616102",
        "a261610178016102",
        "a220012001",
        "a1f501",  # keys that equal another key: true, 1.0, bytes, null, list, tag
        "a1f93c0001",
        "a1416101",
        "a1f601",
        "a18001",
        "a1c10101",
        "f97e00",  # NaN, infinities
        "fa7fc00000",
        "fb7ff8000000000000",
        "f97c00",
        "f9fc00",
        "faff800000",
        "fb7ff0000000000000",
        "f7",  # undefined and other simple values
        "e0",
        "f820",
        "61ff",  # not UTF-8
        "62c328",
        "63eda080",
    ],
)
def test_hostile_items_are_malformed(hexadecimal: str) -> None:
    item = bytes.fromhex(hexadecimal)
    assert reason_of(item) is Reason.MALFORMED
    if item:
        assert reason_of(b"\x81" + item) is Reason.MALFORMED
        assert reason_of(b"\xa1\x01" + item) is Reason.MALFORMED


# Date texts, big numbers, fractions, regular expressions, shared references, string references, sets ...
@pytest.mark.parametrize("tag", [0, 1, 2, 3, 4, 5, 18, 25, 28, 29, 30, 35, 36, 37, 61, 256, 258, 2**64 - 1])
def test_tags_are_malformed_unless_allowed(tag: int) -> None:
    head = bytes([0xDB]) + tag.to_bytes(8, "big")
    assert reason_of(head + b"\x00") is Reason.MALFORMED
    assert reason_of(head + b"\x00", tags=frozenset({tag + 1})) is Reason.MALFORMED


@pytest.mark.parametrize(
    ("hexadecimal", "expected"),
    [
        ("d863182a", 42),
        ("d863d8638101", [1]),
        ("82d86301d86302", [1, 2]),
        ("a201d8636161d9006361620282", None),
        ("a201d8636161616202", {1: "a", "b": 2}),
        ("c074323032312d30362d30345431363a31333a35315a", "2021-06-04T16:13:51Z"),
        ("c11a60ba3e8f", 1622818447),
        ("81c1fb41d82e8fa3c0ed91", [1622818447.0149]),
    ],
)
def test_an_allowed_tag_is_taken_off(hexadecimal: str, expected: object) -> None:
    tags = frozenset({0, 1, 99})
    if expected is None:  # a key has no tag
        assert reason_of(bytes.fromhex(hexadecimal), tags=tags) is Reason.MALFORMED
        return
    read = read_cbor(bytes.fromhex(hexadecimal), size_max=99, tags=tags)
    assert read == (pytest.approx(expected) if "fb" in hexadecimal else expected)
    assert type(read) is type(expected)


@pytest.mark.parametrize(
    ("hexadecimal", "expected"),
    [
        ("5fff", b""),
        ("5f4161426263ff", b"abc"),
        ("7f61616162ff", "ab"),
        ("9fff", []),
        ("9f019f02ffff", [1, [2]]),
        ("bfff", {}),
        ("bf019fff6161bfffff", {1: [], "a": {}}),
        ("bf617601ff", {"v": 1}),
    ],
)
def test_indefinite_lengths_where_they_are_asked_for(hexadecimal: str, expected: object) -> None:
    item = bytes.fromhex(hexadecimal)
    assert read_cbor(item, size_max=99, indefinite=True) == expected
    assert reason_of(item) is Reason.MALFORMED


@pytest.mark.parametrize(
    "hexadecimal",
    [
        "5f",  # without an end
        "9f",
        "9f01",
        "bf",
        "bf01",
        "bf01ff",
        "5f6161ff",  # parts of another kind
        "7f4161ff",
        "5f01ff",
        "5f5f4161ffff",  # parts in parts
        "5f42ff",
        "bf7f6161ff01ff",  # a key in parts
        "bf01010102ff",
        "81ff",  # breaks out of place
        "a1ff01",
        "ff",
        "1f",  # no length at all
        "3f",
        "df01",
        "9f01ff00",
    ],
)
def test_hostile_indefinite_lengths(hexadecimal: str) -> None:
    with pytest.raises(CodeError) as caught:
        read_cbor(bytes.fromhex(hexadecimal), size_max=99, indefinite=True)
    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x00", b"\xd2"])
def test_depth_is_bounded(opening: bytes) -> None:
    tags = frozenset({18})
    read_cbor(opening * (DEPTH_MAX - 1) + b"\x00", size_max=4096, tags=tags)
    for depth in (DEPTH_MAX, 400, 1000, 2000):
        assert reason_of(opening * depth + b"\x00", size_max=5000, tags=tags) is Reason.MALFORMED


@pytest.mark.parametrize(
    ("head", "tail"), [(b"\x9f", b"\xff"), (b"\xa1\x00\x9f", b"\xff"), (b"\x5f", b"\xff")]
)
def test_the_number_of_items_is_bounded(head: bytes, tail: bytes) -> None:
    part = b"\x40" if head == b"\x5f" else b"\xa0"
    most = ITEMS_MAX - (2 if head.startswith(b"\xa1") else 1)
    read_cbor(head + part * most + tail, size_max=1 << 14, indefinite=True)
    with pytest.raises(CodeError) as caught:
        read_cbor(head + part * (most + 1) + tail, size_max=1 << 14, indefinite=True)
    assert caught.value.reason is Reason.TOO_LARGE


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(max_size=40)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(-(2**64), 2**64 - 1) | st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(deadline=None)  # a busy machine is no fault
@given(plain)
def test_plain_items_are_read_as_they_are(item: object) -> None:
    assert read_cbor(cbor2.dumps([item]), size_max=1 << 20) == [item]


lax_cbor = partial(read_cbor, tags=frozenset({0, 1}), indefinite=True)


@settings(deadline=None)  # a busy machine is no fault
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_cbor, parse_sign1, parse_foreign_sign1, lax_cbor):
        try:
            read(data, size_max=150)
        except CodeError:
            continue


@pytest.mark.parametrize("value", [0.0, -1.5, 65504.0, 1e300])
@pytest.mark.parametrize("form", [(0xFA, ">f"), (0xFB, ">d")])
def test_finite_floats_pass(value: float, form: tuple[int, str]) -> None:
    head, layout = form
    if layout == ">f" and value > 1e38:
        value = 1e38
    raw = bytes([head]) + struct.pack(layout, value)
    read = read_cbor(raw, size_max=9)
    assert isinstance(read, float)
    assert math.isclose(read, value, rel_tol=1e-6)
