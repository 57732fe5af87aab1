"""Documents that change daily: signed, opened, kept, aged, attacked."""

import base64
import json
from dataclasses import replace
from itertools import permutations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.core.codes.cose import create_sign1
from gate.core.codes.model import Circumstances, CodeError, Credential, Reason
from gate.core.codes.trust import Trust, TrustedKey, key_id
from gate.core.documents import (
    DOCUMENT_BYTES_MAX,
    TEXT_BYTES_MAX,
    Appointment,
    Appointments,
    Content,
    Document,
    Documents,
    Kind,
    Occupancy,
    Residents,
    Revocations,
    RiskAreas,
    Suspension,
    Taken,
    open_document,
    read_document,
    sign_document,
)

CENTRE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
COUNTER = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)
SITE = "hall-east"
DOMAIN = b"health gate, document of a site\x00"
ISSUED, NOW, END = 1_700_000_000, 1_700_003_600, 1_700_007_200


def trusted(issuer: str, key: Ed25519PrivateKey, *purposes: str) -> TrustedKey:
    entry = {
        "issuer": issuer,
        "issuer_name": issuer,
        "public_key": key.public_key().public_bytes_raw().hex(),
        "purposes": list(purposes),
    }
    return Trust.from_documents([("keys", {"keys": [entry]})]).keys[0]


TRUST = Trust((trusted("centre", CENTRE, "documents"), trusted("counter", COUNTER, "visitor")))
ALICE, BOB = "0123456789abcdef", "fedcba9876543210"
ROW = Appointment(ALICE, NOW, NOW + 1800, ISSUED - 86_400, "cafe0001")
CONTENTS: list[Content] = [
    RiskAreas(frozenset({"310115", "吉林市"})),
    Residents(frozenset({ALICE, BOB})),
    Appointments(frozenset({ROW, replace(ROW, subject=BOB, pass_id="cafe0002")})),
    Revocations(frozenset({"cafe0001", "00" * 16})),
    Occupancy(42, NOW - 60),
    Suspension(True),
]
DOCUMENT = Document(SITE, "centre", 1, ISSUED, END, CONTENTS[1])


def at(now_s: float = NOW, *, clock_trusted: bool = True) -> Circumstances:
    return Circumstances(SITE, round(now_s * 1000), clock_trusted)


def opened(text: str | bytes, *, trust: Trust = TRUST, site: str = SITE) -> Document:
    return open_document(text.encode() if isinstance(text, str) else text, trust=trust, site=site)


def refusal(text: str | bytes, *, trust: Trust = TRUST, site: str = SITE) -> Reason:
    with pytest.raises(CodeError) as caught:
        opened(text, trust=trust, site=site)
    return caught.value.reason


def framed(payload: bytes, *, key: Ed25519PrivateKey = CENTRE, domain: bytes = DOMAIN) -> str:
    """Any payload under a signature that fits it, put together here by hand."""
    kid = key_id(key.public_key().public_bytes_raw())
    raw = kid + key.sign(domain + payload) + payload
    return "HGD1:" + base64.urlsafe_b64encode(raw).decode()


def wire(**changes: object) -> bytes:
    """What `DOCUMENT` is on the wire, written out here by hand, and bent."""
    fields = {
        "kind": "residents",
        "issuer": "centre",
        "site": SITE,
        "version": 1,
        "issued_at": ISSUED,
        "not_after": END,
        "content": [ALICE, BOB],
    }
    return json.dumps({**fields, **changes}, separators=(",", ":"), ensure_ascii=False).encode()


# Signed and opened


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: content.kind)
def test_round_trip_of_each_kind(content: Content) -> None:
    document = replace(DOCUMENT, content=content, version=7)
    assert opened(sign_document(CENTRE, document)) == document
    assert document.kind is content.kind


def test_every_kind_has_its_content() -> None:
    assert [content.kind for content in CONTENTS] == list(Kind)


def test_the_wire() -> None:
    assert sign_document(CENTRE, DOCUMENT) == framed(wire())
    rows: list[object] = [
        ["310115", "吉林市"],
        [ALICE, BOB],
        [
            [ALICE, NOW, NOW + 1800, ISSUED - 86_400, "cafe0001"],
            [BOB, NOW, NOW + 1800, ISSUED - 86_400, "cafe0002"],
        ],
        ["00" * 16, "cafe0001"],
        [42, NOW - 60],
        [1],
    ]
    for content, row in zip(CONTENTS, rows, strict=True):
        signed = sign_document(CENTRE, replace(DOCUMENT, content=content))
        assert signed == framed(wire(kind=content.kind, content=row))


subjects = st.binary(min_size=8, max_size=8).map(bytes.hex)
pass_ids = st.binary(min_size=4, max_size=16).map(bytes.hex)
seconds = st.integers(1, 2**32 - 1)
spans = st.tuples(seconds, seconds).map(sorted)
contents = st.one_of(
    st.frozensets(st.text(min_size=1, max_size=64).filter(str.isprintable)).map(RiskAreas),
    st.frozensets(subjects).map(Residents),
    st.frozensets(
        st.builds(lambda s, span, b, p: Appointment(s, *span, b, p), subjects, spans, seconds, pass_ids)
    ).map(Appointments),
    st.frozensets(pass_ids).map(Revocations),
    st.builds(Occupancy, st.integers(0, 1_000_000), seconds),
    st.builds(Suspension, st.booleans()),
)


@settings(deadline=None)  # a busy machine is no fault
@given(contents, spans, st.integers(1, 2**32 - 1))
def test_round_trip(content: Content, span: list[int], version: int) -> None:
    document = Document(SITE, "centre", version, span[0], span[1], content)
    assert opened(sign_document(CENTRE, document)) == document


def test_thousands_of_residents_fit() -> None:
    many = Residents(frozenset(f"{number:016x}" for number in range(13_000)))
    text = sign_document(CENTRE, replace(DOCUMENT, content=many))
    assert len(text) <= TEXT_BYTES_MAX
    assert opened(text).content == many


def test_more_than_a_gate_reads_is_not_signed() -> None:
    many = Residents(frozenset(f"{number:016x}" for number in range(DOCUMENT_BYTES_MAX // 19 + 1)))
    with pytest.raises(ValueError, match="more than"):
        sign_document(CENTRE, replace(DOCUMENT, content=many))


@pytest.mark.parametrize(
    "build",
    [
        lambda: replace(DOCUMENT, site="hall east"),
        lambda: replace(DOCUMENT, issuer=""),
        lambda: replace(DOCUMENT, version=0),
        lambda: replace(DOCUMENT, version=2**32),
        lambda: replace(DOCUMENT, issued_at=0),
        lambda: replace(DOCUMENT, not_after=2**32),
        lambda: replace(DOCUMENT, not_after=ISSUED - 1),
        lambda: RiskAreas(frozenset({""})),
        lambda: RiskAreas(frozenset({"x" * 65})),
        lambda: RiskAreas(frozenset({"a\u202eb"})),
        lambda: Residents(frozenset({ALICE.upper()})),
        lambda: Residents(frozenset({ALICE[:-2]})),
        lambda: Residents(frozenset({ALICE + "\n"})),
        lambda: Revocations(frozenset({"cafe00"})),
        lambda: Revocations(frozenset({"cafe0001c"})),
        lambda: Revocations(frozenset({"00" * 17})),
        lambda: replace(ROW, subject="x"),
        lambda: replace(ROW, pass_id=""),
        lambda: replace(ROW, booked_at=0),
        lambda: replace(ROW, valid_from=NOW + 1801),
        lambda: Occupancy(-1, NOW),
        lambda: Occupancy(1_000_001, NOW),
        lambda: Occupancy(1, 2**32),
    ],
)
def test_what_makes_no_sense_is_not_signed(build: object) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=r".+"):
        build()


# Who signed, and for whom


def test_unknown_key_and_unknown_issuer() -> None:
    assert refusal(sign_document(STRANGER, DOCUMENT)) is Reason.UNKNOWN_ISSUER
    assert refusal(sign_document(CENTRE, replace(DOCUMENT, issuer="counter"))) is Reason.UNKNOWN_ISSUER
    assert refusal(sign_document(CENTRE, DOCUMENT), trust=Trust()) is Reason.UNKNOWN_ISSUER


def test_a_list_signed_by_a_key_for_passes() -> None:
    assert refusal(sign_document(COUNTER, replace(DOCUMENT, issuer="counter"))) is Reason.WRONG_PURPOSE


def test_a_key_may_be_trusted_for_both() -> None:
    both = Trust((trusted("counter", COUNTER, "visitor", "documents"),))
    assert opened(sign_document(COUNTER, replace(DOCUMENT, issuer="counter")), trust=both)


def test_a_key_of_two_issuers_signs_for_each_what_each_may() -> None:
    two = Trust((trusted("a", CENTRE, "visitor"), trusted("b", CENTRE, "documents")))
    assert opened(sign_document(CENTRE, replace(DOCUMENT, issuer="b")), trust=two).issuer == "b"
    assert refusal(sign_document(CENTRE, replace(DOCUMENT, issuer="a")), trust=two) is Reason.WRONG_PURPOSE


def test_a_document_of_another_site() -> None:
    text = sign_document(CENTRE, DOCUMENT)
    assert refusal(text, site="hall-west") is Reason.WRONG_SITE
    assert refusal(text, site="HALL-EAST") is Reason.WRONG_SITE


def test_a_stranger_who_names_a_trusted_key() -> None:
    raw = base64.urlsafe_b64decode(sign_document(STRANGER, DOCUMENT)[5:])
    forged = key_id(CENTRE.public_key().public_bytes_raw()) + raw[4:]
    assert refusal(b"HGD1:" + base64.urlsafe_b64encode(forged)) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("domain", [b"", b"health gate, pass shown by its holder\x00", DOMAIN[:-1]])
def test_what_was_signed_for_something_else(domain: bytes) -> None:
    assert refusal(framed(wire(), domain=domain)) is Reason.BAD_SIGNATURE


def test_the_signature_of_a_pass_signs_no_document() -> None:
    payload = wire()
    message = create_sign1(CENTRE, TRUST.keys[0].kid, payload)
    raw = TRUST.keys[0].kid + message.signature + payload
    assert refusal(b"HGD1:" + base64.urlsafe_b64encode(raw)) is Reason.BAD_SIGNATURE


# Well signed, but not a document


@pytest.mark.parametrize("name", list(json.loads(wire())))
@pytest.mark.parametrize("value", [None, True, -1, 0, 2**32, 2**63, 1.5, "no name", {}, [[]], [1], [""]])
def test_each_field_of_another_type_or_range(name: str, value: object) -> None:
    assert refusal(framed(wire(**{name: value}))) is Reason.MALFORMED


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("row", [None, True, 1, 1.5, "", "a\n", "x" * 65, "\ud800", [], [1], [ALICE] * 5, {}])
def test_each_row_of_another_type_or_range(kind: Kind, row: object) -> None:
    if kind is Kind.SUSPENSION and row == 1 and row is not True:
        return
    payload = json.dumps(json.loads(wire(kind=kind)) | {"content": [row]}).encode()
    assert refusal(framed(payload)) is Reason.MALFORMED


@pytest.mark.parametrize(
    "payload",
    [
        b"null",
        b"[]",
        b"{",
        b"\xff",
        wire(more=1),
        wire(kind="Residents"),
        wire().replace(b'"version":1,', b""),
        wire() + b"{}",
        wire().decode().encode("utf-16"),
        b"\xef\xbb\xbf" + wire(),
        wire().replace(b":1,", b":NaN,"),
        wire().replace(b":1,", b":1e400,"),
        wire().replace(b":1,", b":" + b"1" * 5_000 + b","),
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
    ids=range(15),
)
def test_a_hostile_payload_is_malformed_even_well_signed(payload: bytes) -> None:
    assert refusal(framed(payload)) is Reason.MALFORMED


# Bent texts


def test_sizes() -> None:
    assert refusal(b"HGD1:" + b"A" * (TEXT_BYTES_MAX - 5)) is Reason.UNKNOWN_ISSUER
    assert refusal(b"HGD1:" + b"A" * (TEXT_BYTES_MAX - 4)) is Reason.TOO_LARGE
    assert refusal(b"HGD1:" + base64.urlsafe_b64encode(bytes(68))) is Reason.MALFORMED
    assert refusal(b"HGD1:" + base64.urlsafe_b64encode(bytes(69))) is Reason.UNKNOWN_ISSUER


def test_one_spelling() -> None:
    text = sign_document(CENTRE, replace(DOCUMENT, content=Revocations(frozenset())))
    assert opened(text)
    others = [
        text[5:],
        "HGD1:" + text,
        text.lower(),
        text + "\n",
        " " + text,
        text.rstrip("=") if text.endswith("=") else text + "====",
        text[:20] + "\n" + text[20:],
        text.replace("-", "+").replace("_", "/") + "=",
        "HG1:" + text[5:],
    ]
    for other in others:
        assert refusal(other) is Reason.MALFORMED, other


def test_unused_bits_at_the_end_are_zero() -> None:
    text = next(
        text
        for version in range(1, 10)
        for issuer in ("c", "ce", "cen")
        if (text := sign_document(CENTRE, replace(DOCUMENT, version=version, issuer=issuer))).endswith("=")
    )
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    body, padding = text.rstrip("="), "=" * text.count("=")
    other = body[:-1] + alphabet[alphabet.index(body[-1]) + 1] + padding
    assert base64.urlsafe_b64decode(other[5:]) == base64.urlsafe_b64decode(text[5:])
    assert refusal(other) is Reason.MALFORMED


def test_every_bit_of_every_byte() -> None:
    raw = base64.urlsafe_b64decode(sign_document(CENTRE, DOCUMENT)[5:])
    for place in range(len(raw)):
        for bit in range(8):
            bent = bytearray(raw)
            bent[place] ^= 1 << bit
            reason = refusal(b"HGD1:" + base64.urlsafe_b64encode(bent))
            assert reason is (Reason.UNKNOWN_ISSUER if place < 4 else Reason.BAD_SIGNATURE)


@settings(deadline=None)  # a busy machine is no fault
@given(
    st.binary(max_size=300)
    | st.binary(max_size=300).map(lambda raw: b"HGD1:" + base64.urlsafe_b64encode(raw))
    | st.binary(max_size=300).map(lambda payload: framed(payload).encode())
)
def test_any_bytes_are_refused_with_a_reason(text: bytes) -> None:
    assert refusal(text) in {Reason.MALFORMED, Reason.UNKNOWN_ISSUER, Reason.BAD_SIGNATURE}


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | subjects | seconds
items = st.recursive(leaves, lambda inner: st.lists(inner, max_size=6), max_leaves=12)


@settings(deadline=None)  # a busy machine is no fault
@given(st.sampled_from(Kind), items)
def test_any_well_signed_content_is_read_or_malformed(kind: Kind, content: object) -> None:
    payload = json.dumps(json.loads(wire(kind=kind)) | {"content": content}).encode()
    try:
        document = opened(framed(payload))
    except CodeError as error:
        assert error.reason is Reason.MALFORMED
    else:
        assert opened(sign_document(CENTRE, document)) == document


# Kept


def version(number: int, **changes: object) -> Document:
    return replace(DOCUMENT, version=number, **changes)


def test_it_never_goes_back() -> None:
    documents = Documents()
    fewer = Residents(frozenset({BOB}))
    assert documents.take(version(2)) is Taken.ACCEPTED
    assert documents.take(version(1, content=fewer)) is Taken.OLDER
    assert documents.held(Kind.RESIDENTS) == (version(2),)
    assert documents.take(version(3, content=fewer)) is Taken.ACCEPTED
    assert documents.take(version(2)) is Taken.OLDER
    assert not documents.is_resident(ALICE, at())


def test_the_same_again_changes_nothing() -> None:
    documents = Documents()
    documents.take(version(2))
    assert documents.take(version(2)) is Taken.SAME


@pytest.mark.parametrize(
    "changes", [{"content": Residents(frozenset())}, {"not_after": END + 1}, {"issued_at": ISSUED - 1}]
)
def test_one_version_says_one_thing(changes: dict[str, object]) -> None:
    documents = Documents()
    documents.take(version(2))
    assert documents.take(version(2, **changes)) is Taken.CONFLICT
    assert documents.held(Kind.RESIDENTS) == (version(2),)


@pytest.mark.parametrize("order", list(permutations([1, 2, 3])))
def test_any_order_ends_with_the_highest(order: tuple[int, ...]) -> None:
    documents = Documents()
    for number in order:
        documents.take(version(number))
    assert documents.held(Kind.RESIDENTS) == (version(3),)


def test_kinds_and_issuers_count_for_themselves() -> None:
    documents = Documents()
    for issuer, subject in (("centre", ALICE), ("bureau", BOB)):
        content = Residents(frozenset({subject}))
        assert documents.take(version(5, issuer=issuer, content=content)) is Taken.ACCEPTED
    for content in CONTENTS:
        if content.kind is not Kind.RESIDENTS:
            assert documents.take(version(1, content=content)) is Taken.ACCEPTED
    assert documents.is_resident(ALICE, at())
    assert documents.is_resident(BOB, at())
    assert [document.issuer for document in documents.held(Kind.RESIDENTS)] == ["bureau", "centre"]


# Looked up


def test_nothing_is_known_without_documents() -> None:
    documents = Documents()
    assert documents.risk_areas(at()) == frozenset()
    assert documents.revoked() == frozenset()
    assert documents.appointments(ALICE, at()) == ()
    assert documents.occupancy(at()) is None
    assert not documents.suspended(at())
    assert documents.kinds == frozenset()
    assert not documents.is_resident(ALICE, at())
    assert documents.held(Kind.OCCUPANCY) == ()


def test_what_each_kind_says() -> None:
    documents = Documents()
    for content in CONTENTS:
        documents.take(replace(DOCUMENT, content=content))
    assert documents.risk_areas(at()) == {"310115", "吉林市"}
    assert documents.is_resident(ALICE, at())
    assert not documents.is_resident("00" * 8, at())
    assert documents.appointments(ALICE, at()) == (ROW,)
    assert documents.appointments("00" * 8, at()) == ()
    assert documents.revoked() == {("centre", "cafe0001"), ("centre", "00" * 16)}
    assert documents.occupancy(at()) == Occupancy(42, NOW - 60)
    assert documents.suspended(at())
    assert documents.kinds == frozenset(Kind)


def test_an_issuer_revokes_only_its_own_passes() -> None:
    documents = Documents()
    for issuer in ("a", "b"):
        documents.take(version(1, issuer=issuer, content=Revocations(frozenset({f"{issuer}0" * 4}))))
    assert documents.revoked() == {("a", "a0a0a0a0"), ("b", "b0b0b0b0")}


def test_appointments_of_all_issuers_come_in_order() -> None:
    documents = Documents()
    late, early = replace(ROW, valid_from=NOW + 10, pass_id="00" * 4), replace(ROW, pass_id="ff" * 4)
    for issuer, row in (("a", late), ("b", early)):
        documents.take(version(1, issuer=issuer, content=Appointments(frozenset({row, ROW}))))
    assert documents.appointments(ALICE, at()) == (ROW, ROW, early, late)


def test_the_latest_count_counts() -> None:
    documents = Documents()
    for issuer, counted_at in (("a", NOW - 5), ("b", NOW - 1), ("c", NOW - 9)):
        documents.take(
            version(1, issuer=issuer, content=Occupancy(len(issuer) + NOW - counted_at, counted_at))
        )
    assert documents.occupancy(at()) == Occupancy(2, NOW - 1)


def test_whoever_suspends_visits_has_to_lift_it() -> None:
    documents = Documents()
    documents.take(version(1, issuer="a", content=Suspension(True)))
    documents.take(version(9, issuer="b", content=Suspension(False)))
    assert documents.suspended(at())
    documents.take(version(2, issuer="a", content=Suspension(False)))
    assert not documents.suspended(at())


# Aged


@pytest.mark.parametrize(
    ("now_s", "stale"),
    [
        (ISSUED - 300.001, True),
        (ISSUED - 300, False),
        (NOW, False),
        (END, False),  # the last second still counts
        (END + 0.001, True),
        (0, True),
    ],
)
def test_a_document_is_current_in_its_time(now_s: float, stale: bool) -> None:
    documents = Documents()
    documents.take(DOCUMENT)
    assert documents.stale(at(now_s)) == ({Kind.RESIDENTS} if stale else frozenset())
    assert documents.not_current(at(now_s)) == ({DOCUMENT} if stale else frozenset())
    assert documents.is_resident(ALICE, at(now_s)) is not stale


EMPTY: tuple[object, ...] = (frozenset(), False, (), None)


def looked_up(documents: Documents, now: Circumstances) -> tuple[object, ...]:
    """What is known of risk areas, Alice, her appointments and the number inside."""
    return (
        documents.risk_areas(now),
        documents.is_resident(ALICE, now),
        documents.appointments(ALICE, now),
        documents.occupancy(now),
    )


@pytest.mark.parametrize(
    ("now_s", "current"), [(ISSUED - 300.001, False), (ISSUED - 300, True), (END, True), (END + 0.001, False)]
)
def test_only_what_is_current_is_looked_into_but_revocations_stay(now_s: float, current: bool) -> None:
    documents = Documents()
    for content in CONTENTS:
        documents.take(replace(DOCUMENT, content=content))
    full = (frozenset({"310115", "吉林市"}), True, (ROW,), Occupancy(42, NOW - 60))
    assert looked_up(documents, at(now_s)) == (full if current else EMPTY)
    assert documents.suspended(at(now_s)) is current
    assert documents.stale(at(now_s)) == (frozenset() if current else frozenset(Kind))
    assert documents.revoked() == {("centre", "cafe0001"), ("centre", "00" * 16)}


def test_each_document_counts_as_long_as_it_is_current_itself() -> None:
    """A list that has run out takes nothing from that of another issuer, and adds nothing to it."""
    documents = Documents()
    over = NOW - 1
    for issuer, end, areas, subject in (("a", over, "CN-22", ALICE), ("b", END, "CN-31", BOB)):
        for content in (
            RiskAreas(frozenset({areas})),
            Residents(frozenset({subject})),
            Appointments(frozenset({replace(ROW, subject=subject)})),
            Occupancy(len(areas) + (end == END), NOW - 60 + (end == over)),
        ):
            documents.take(version(1, issuer=issuer, not_after=end, content=content))
    assert looked_up(documents, at()) == ({"CN-31"}, False, (), Occupancy(6, NOW - 60))
    assert looked_up(documents, at(over))[0] == {"CN-22", "CN-31"}
    assert documents.is_resident(BOB, at())
    assert documents.appointments(BOB, at()) == (replace(ROW, subject=BOB),)
    assert {document.issuer for document in documents.not_current(at())} == {"a"}


@pytest.mark.parametrize("now_s", [0, NOW, END + 1])
def test_an_untrusted_clock_makes_nothing_current(now_s: int) -> None:
    documents = Documents()
    for content in CONTENTS:
        documents.take(replace(DOCUMENT, content=content))
    unsure = at(now_s, clock_trusted=False)
    assert documents.stale(unsure) == frozenset(Kind)
    assert len(documents.not_current(unsure)) == len(CONTENTS)
    assert looked_up(documents, unsure) == EMPTY


def test_what_has_never_come_is_not_stale() -> None:
    documents = Documents()
    for now in (at(), at(END + 1), at(clock_trusted=False)):
        assert (documents.stale(now), documents.not_current(now)) == (frozenset(), frozenset())
    documents.take(DOCUMENT)
    assert documents.stale(at()) == frozenset()
    assert documents.stale(at(END + 1)) == {Kind.RESIDENTS}


def test_a_kind_is_as_old_as_the_oldest_of_its_issuers() -> None:
    documents = Documents()
    documents.take(version(1, not_after=NOW - 1, issuer="a"))
    documents.take(version(1, issuer="b"))
    assert documents.stale(at()) == {Kind.RESIDENTS}
    documents.take(version(2, issuer="a"))
    assert documents.stale(at()) == frozenset()


@pytest.mark.parametrize(
    ("now_s", "trusted_clock", "ordered", "suspended"),
    [
        (END, True, True, True),
        (END + 0.001, True, True, False),
        (END + 1, False, True, True),  # nobody knows whether it has run out
        (0, False, True, True),
        (NOW, True, False, False),
        (NOW, False, False, False),
    ],
)
def test_an_order_stands_in_its_time_and_while_nobody_knows_the_time(
    now_s: float, trusted_clock: bool, ordered: bool, suspended: bool
) -> None:
    documents = Documents()
    documents.take(replace(DOCUMENT, content=Suspension(ordered)))
    documents.take(DOCUMENT)  # of another kind
    assert documents.suspended(at(now_s, clock_trusted=trusted_clock)) is suspended


def test_an_order_that_was_lifted_does_not_come_back_with_the_clock_in_doubt() -> None:
    documents = Documents()
    documents.take(version(1, content=Suspension(True)))
    documents.take(version(2, content=Suspension(False)))
    assert not documents.suspended(at(clock_trusted=False))


def test_an_order_that_has_run_out_leaves_that_of_another_issuer() -> None:
    documents = Documents()
    documents.take(version(1, issuer="a", not_after=NOW - 1, content=Suspension(True)))
    assert not documents.suspended(at())
    documents.take(version(1, issuer="b", content=Suspension(True)))
    assert documents.suspended(at())


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: content.kind)
def test_what_a_document_states_can_be_read_whoever_signed_it(content: Content) -> None:
    document = replace(DOCUMENT, site="hall-west", content=content, not_after=ISSUED)
    text = sign_document(STRANGER, document).encode()
    assert refusal(text) is Reason.UNKNOWN_ISSUER
    assert read_document(text) == document
    bent = base64.urlsafe_b64decode(text[5:])
    bent = bent[:4] + bytes(64) + bent[68:]
    assert read_document(b"HGD1:" + base64.urlsafe_b64encode(bent)) == document


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", Reason.MALFORMED),
        (b"HGD1:", Reason.MALFORMED),
        (framed(b"{}").encode(), Reason.MALFORMED),
        (framed(wire(version=0)).encode(), Reason.MALFORMED),
        (b"HGD1:" + base64.urlsafe_b64encode(bytes(68)), Reason.MALFORMED),
        (b"HGD1:" + b"A" * (TEXT_BYTES_MAX - 5), Reason.MALFORMED),
        (b"HGD1:" + b"A" * (TEXT_BYTES_MAX - 4), Reason.TOO_LARGE),
    ],
    ids=range(7),
)
def test_what_cannot_be_read_has_its_reason(text: bytes, reason: Reason) -> None:
    with pytest.raises(CodeError) as caught:
        read_document(text)
    assert caught.value.reason is reason


@settings(deadline=None)  # a busy machine is no fault
@given(
    st.binary(max_size=300)
    | st.binary(max_size=300).map(lambda raw: b"HGD1:" + base64.urlsafe_b64encode(raw))
    | st.sampled_from(Kind).map(lambda kind: framed(wire(kind=kind)).encode())
)
def test_any_bytes_are_read_or_have_a_reason(text: bytes) -> None:
    try:
        assert read_document(text).site == SITE
    except CodeError as error:
        assert error.reason is Reason.MALFORMED


def test_an_expired_list_is_taken_and_stays_stale() -> None:
    """A pass that was called back stays called back, and a newer list says more than an older one."""
    documents = Documents()
    expired = version(2, content=CONTENTS[3], not_after=NOW - 1)
    assert documents.take(version(1, content=Revocations(frozenset()))) is Taken.ACCEPTED
    assert documents.take(opened(sign_document(CENTRE, expired))) is Taken.ACCEPTED
    assert Kind.REVOCATIONS in documents.stale(at())
    assert ("centre", "cafe0001") in documents.revoked()


def test_credentials_are_no_purpose_for_documents() -> None:
    every_pass = TrustedKey("centre", "", CENTRE.public_key().public_bytes_raw(), frozenset(Credential))
    assert refusal(sign_document(CENTRE, DOCUMENT), trust=Trust((every_pass,))) is Reason.WRONG_PURPOSE
