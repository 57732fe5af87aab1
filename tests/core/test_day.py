"""What the day brings: opening hours to the millisecond, documents that come, age, and are called back."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gatebox import checked_body
from hypothesis import example, given
from hypothesis import strategies as st

from gate.config import load_policy
from gate.core import events
from gate.core.codes.model import NAME, Circumstances, Credential, Reason
from gate.core.codes.trust import DOCUMENTS, Trust, TrustedKey, key_id
from gate.core.day import DAY_MS, LOOK_AGAIN_NS, REFUSALS_TOLD_MAX, Day, closed_at
from gate.core.documents import (
    Content,
    Document,
    Kind,
    Occupancy,
    Residents,
    Revocations,
    Suspension,
    sign_document,
)
from gate.core.effects import KeepDocument, Record
from gate.core.events import Event
from gate.core.moment import NS_PER_MS, NS_PER_S, Moment
from gate.core.policy import HoursRequirement

CENTRE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
COUNTER = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)
SITE = "hall-east"
ISSUED_S, END_S = 1_700_000_000, 1_700_007_200
NOW = Moment(5 * NS_PER_S, 1_700_003_600_000, clock_trusted=True)
AT = Circumstances(SITE, NOW.wall_ms)
ALWAYS = load_policy("county-hall")
HOURS = HoursRequirement("TH-6", 8 * 60, 17 * 60 + 30)


def trusted(issuer: str, key: Ed25519PrivateKey, purpose: Credential | str) -> TrustedKey:
    return TrustedKey(issuer, issuer, key.public_key().public_bytes_raw(), frozenset({purpose}))  # type: ignore[arg-type]  # a purpose


TRUST = Trust(
    (
        trusted("centre", CENTRE, DOCUMENTS),
        trusted("branch", CENTRE, DOCUMENTS),
        trusted("counter", COUNTER, Credential.VISITOR),
    )
)


def day() -> Day:
    assert ALWAYS.hours is None
    return Day(ALWAYS, TRUST, SITE)


def signed(
    content: Content,
    version: int = 1,
    *,
    issuer: str = "centre",
    site: str = SITE,
    end_s: int = END_S,
    key: Ed25519PrivateKey = CENTRE,
) -> bytes:
    return sign_document(key, Document(site, issuer, version, ISSUED_S, end_s, content)).encode()


def told(effects: Iterator[Record | KeepDocument]) -> list[tuple[object, ...]]:
    """Say effects in short: what was recorded, checked against the schema, or kept."""
    said: list[tuple[object, ...]] = []
    for effect in effects:
        if isinstance(effect, KeepDocument):
            said.append(("keep", effect.name))
            continue
        checked_body(effect.event, 1, NOW)
        data = effect.event.data
        said.append(tuple(data.values()))
    return said


def later(seconds: float, now: Moment = NOW, *, trusted: bool = True) -> Moment:
    ns = round(seconds * NS_PER_S)
    return Moment(now.mono_ns + ns, now.wall_ms + ns // NS_PER_MS, clock_trusted=trusted)


# --- opening hours


def at_local(minute: int, ms: int = 0, *, offset_min: int = 480) -> Moment:
    return Moment(7, 20_000 * DAY_MS + (minute - offset_min) * 60_000 + ms, clock_trusted=True)


@pytest.mark.parametrize(
    ("minute", "ms", "closed"),
    [
        (0, 0, True),
        (8 * 60, -1, True),
        (8 * 60, 0, False),
        (17 * 60 + 30, -1, False),
        (17 * 60 + 30, 0, True),
        (24 * 60, -1, True),
    ],
)
@pytest.mark.parametrize("offset_min", [480, 0, -720, 840])
def test_the_first_minute_is_open_and_the_last_one_is_not(
    minute: int, ms: int, closed: bool, offset_min: int
) -> None:
    assert closed_at(HOURS, offset_min, at_local(minute, ms, offset_min=offset_min))[0] is closed


@pytest.mark.parametrize(
    ("minute", "ms", "wait_ms"),
    [
        (8 * 60, -1, 1),
        (8 * 60, -60_000, 60_000),
        (8 * 60, -60_001, 60_000),  # wall time may be set meanwhile
        (8 * 60, 0, 60_000),
        (17 * 60 + 30, -20, 20),
        (17 * 60 + 30, 0, 60_000),
    ],
)
def test_it_is_looked_at_again_when_the_hour_comes_and_each_minute(
    minute: int, ms: int, wait_ms: int
) -> None:
    now = at_local(minute, ms)
    assert closed_at(HOURS, 480, now)[1] == now.mono_ns + wait_ms * NS_PER_MS


def test_open_all_day_is_never_closed() -> None:
    hours = HoursRequirement("TH-6", 0, 1440)
    for minute, ms, wait_ms in ((0, 0, 60_000), (1440, -1, 1), (700, 0, 60_000)):
        now = at_local(minute, ms)
        assert closed_at(hours, 480, now) == (False, now.mono_ns + wait_ms * NS_PER_MS)


def test_never_closed_without_hours_or_a_clock() -> None:
    night = at_local(0)
    assert closed_at(None, 480, night) == (False, None)
    unsure = replace(night, clock_trusted=False)
    assert closed_at(HOURS, 480, unsure) == (False, night.mono_ns + LOOK_AGAIN_NS)


@given(st.integers(0, DAY_MS - 1), st.integers(0, 1439), st.integers(1, 1440), st.integers(-720, 840))
def test_nothing_changes_before_it_is_looked_at_again(
    into_ms: int, opens: int, length: int, offset_min: int
) -> None:
    hours = HoursRequirement("TH-6", opens, min(opens + length, 1440))
    now = replace(NOW, wall_ms=19_000 * DAY_MS + into_ms)
    closed, again_ns = closed_at(hours, offset_min, now)
    assert again_ns is not None
    wait_ms = (again_ns - now.mono_ns) // NS_PER_MS
    assert 0 < wait_ms <= 60_000
    just_before = replace(now, wall_ms=now.wall_ms + wait_ms - 1)
    assert closed_at(hours, offset_min, just_before)[0] is closed


def test_a_day_opens_and_closes_with_the_clock() -> None:
    hall = Day(replace(ALWAYS, hours=HOURS), TRUST, SITE)
    before = at_local(8 * 60, -1)
    assert list(hall.look(before)) == []
    assert (hall.closed, hall.next_look_ns) == (True, before.mono_ns + NS_PER_MS)
    early = replace(before, wall_ms=before.wall_ms + 999_999)
    list(hall.look(early))
    assert hall.closed  # it is not yet time to look
    list(hall.look(later(0.001, before)))
    assert not hall.closed


def test_without_hours_and_documents_there_is_nothing_to_wake_up_for() -> None:
    empty = day()
    assert list(empty.look(NOW)) == []
    assert (empty.next_look_ns, empty.closed, empty.suspended, empty.stale) == (
        None,
        False,
        False,
        frozenset(),
    )


# --- documents come


def test_a_document_is_kept_recorded_and_used() -> None:
    today = day()
    assert told(today.receive(signed(Occupancy(42, 1), 7), NOW)) == [
        ("keep", "occupancy-centre"),
        ("occupancy", "centre", 7, "accepted"),
    ]
    counted = today.documents.occupancy(AT)
    assert counted is not None
    assert counted.count == 42
    assert today.next_look_ns == NOW.mono_ns + LOOK_AGAIN_NS


def test_it_is_kept_byte_for_byte() -> None:
    text = signed(Occupancy(42, 1))
    (kept,) = [effect for effect in day().receive(text, NOW) if isinstance(effect, KeepDocument)]
    assert kept.text == text


def test_only_a_newer_one_changes_anything() -> None:
    today = day()
    list(today.receive(signed(Occupancy(42, 1), 7), NOW))
    assert told(today.receive(signed(Occupancy(42, 1), 7), NOW)) == []
    assert told(today.receive(signed(Occupancy(1, 1), 6), NOW)) == [("occupancy", "centre", 6, "older")]
    assert told(today.receive(signed(Occupancy(1, 1), 7), NOW)) == [("occupancy", "centre", 7, "conflict")]
    for version in (5, 6, 7):  # told once
        assert told(today.receive(signed(Occupancy(2, 2), version), NOW)) == []
    branch = signed(Occupancy(1, 1), 7, issuer="branch")
    assert [say[-1] for say in told(today.receive(branch, NOW))[1:]] == ["accepted"]
    older = signed(Occupancy(1, 1), 6, issuer="branch")
    assert told(today.receive(older, NOW)) == [("occupancy", "branch", 6, "older")]
    counted = today.documents.occupancy(AT)
    assert counted is not None
    assert counted.count == 42
    assert told(today.receive(signed(Occupancy(1, 1), 8), NOW))[0] == ("keep", "occupancy-centre")


REFUSED = {
    Reason.MALFORMED: b"nothing like it",
    Reason.UNKNOWN_ISSUER: signed(Occupancy(1, 1), key=STRANGER),
    Reason.BAD_SIGNATURE: signed(Occupancy(1, 1))[:-4] + b"AAAA",
    Reason.WRONG_PURPOSE: signed(Occupancy(1, 1), issuer="counter", key=COUNTER),
    Reason.WRONG_SITE: signed(Occupancy(1, 1), site="hall-west"),
    Reason.TOO_LARGE: b"x" * 1_000_000,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_refusal_is_told_once_for_each_reason(reason: Reason) -> None:
    today = day()
    ((what, detail),) = told(today.receive(REFUSED[reason], NOW))
    assert what == "document_refused"
    assert str(detail).startswith(f"{reason}: ")
    assert told(today.receive(REFUSED[reason], NOW)) == []
    assert today.documents.kinds == frozenset()


def test_every_reason_has_its_own_record_and_there_are_never_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    today = day()
    assert len([say for text in REFUSED.values() for say in told(today.receive(text, NOW))]) == len(REFUSED)
    assert len(REFUSED) <= REFUSALS_TOLD_MAX
    monkeypatch.setattr("gate.core.day.REFUSALS_TOLD_MAX", 2)
    today = day()
    assert len([say for text in REFUSED.values() for say in told(today.receive(text, NOW))]) == 2


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
@example("centre")
@example("../x")
@example("a/b")
@example("..")
@example("a\n")
@example("x" * 32)
@example("x" * 33)
def test_a_name_that_is_no_name_is_never_kept(issuer: str) -> None:
    """Even whoever holds a trusted key cannot have a file written elsewhere (`../x`) or of another kind."""
    fields = {"kind": "occupancy", "issuer": issuer, "site": SITE, "version": 1}
    payload = json.dumps({**fields, "issued_at": 1, "not_after": 2, "content": [1, 1]}).encode()
    signature = CENTRE.sign(b"health gate, document of a site\x00" + payload)
    kid = key_id(CENTRE.public_key().public_bytes_raw())
    text = b"HGD1:" + base64.urlsafe_b64encode(kid + signature + payload)
    trust = Trust((trusted(issuer, CENTRE, DOCUMENTS),))
    effects = Day(ALWAYS, trust, SITE).receive(text, NOW)
    kept = [effect.name for effect in effects if isinstance(effect, KeepDocument)]
    assert kept == ([f"occupancy-{issuer}"] if NAME.fullmatch(issuer) else [])


# --- documents age


def test_a_document_out_of_its_time_is_said_once_and_waited_for() -> None:
    today = day()
    list(today.receive(signed(Occupancy(42, 1), 7), NOW))
    list(today.receive(signed(Occupancy(43, 1), 9, issuer="branch"), NOW))
    in_time = later(3600)
    assert told(today.look(in_time)) == []
    assert today.stale == frozenset()
    over = later(60.001, in_time)  # the first look after the end
    assert told(today.look(over)) == [
        ("occupancy", "branch", 9, "stale"),
        ("occupancy", "centre", 7, "stale"),
    ]
    assert today.stale == {Kind.OCCUPANCY}
    assert told(today.look(later(60, over))) == []
    assert told(today.receive(signed(Occupancy(42, 1), 8, end_s=END_S * 2), over))[1:] == [
        ("occupancy", "centre", 8, "accepted")
    ]
    assert today.stale == {Kind.OCCUPANCY}  # that of the branch still is
    list(today.receive(signed(Occupancy(42, 1), 10, issuer="branch", end_s=END_S * 2), over))
    assert today.stale == frozenset()


@pytest.mark.parametrize(("wall_ms", "stale"), [(END_S * 1000, False), (END_S * 1000 + 1, True)])
def test_the_last_second_still_counts(wall_ms: int, stale: bool) -> None:
    today = day()
    list(today.receive(signed(Occupancy(42, 1)), replace(NOW, wall_ms=wall_ms)))
    assert today.stale == ({Kind.OCCUPANCY} if stale else frozenset())


def test_a_document_that_is_old_when_it_comes_is_taken_and_stale_at_once() -> None:
    said = told(day().receive(signed(Occupancy(42, 1), end_s=ISSUED_S), NOW))
    assert said == [
        ("keep", "occupancy-centre"),
        ("occupancy", "centre", 1, "accepted"),
        ("occupancy", "centre", 1, "stale"),
    ]


def test_what_has_never_come_is_not_stale() -> None:
    today = day()
    list(today.receive(signed(Occupancy(42, 1)), NOW))
    assert today.stale == frozenset()


def test_without_a_clock_every_document_is_stale_until_there_is_one() -> None:
    today = day()
    unsure = replace(NOW, clock_trusted=False)
    list(today.receive(signed(Residents(frozenset())), unsure))
    assert today.stale == {Kind.RESIDENTS}
    sure = later(60)
    assert told(today.look(sure)) == []
    assert today.stale == frozenset()


def test_of_a_kind_that_is_stale_already_the_next_document_is_told_too() -> None:
    """Once each: that one list of a kind has run out says nothing of the other."""
    today = day()
    list(today.receive(signed(Occupancy(42, 1), 7, end_s=END_S - 3600), NOW))
    list(today.receive(signed(Occupancy(43, 1), 9, issuer="branch"), NOW))
    first = replace(later(60), wall_ms=(END_S - 3600) * 1000 + 1)
    assert told(today.look(first)) == [("occupancy", "centre", 7, "stale")]
    assert today.documents.occupancy(Circumstances(SITE, first.wall_ms)) == Occupancy(43, 1)
    second = replace(later(60, first), wall_ms=END_S * 1000 + 1)
    assert told(today.look(second)) == [("occupancy", "branch", 9, "stale")]
    assert told(today.look(later(60, second))) == []
    assert today.stale == {Kind.OCCUPANCY}


def test_kinds_are_told_in_one_order() -> None:
    today = day()
    for content in (Suspension(suspended=True), Residents(frozenset()), Occupancy(1, 1)):
        list(today.receive(signed(content), NOW))
    over = replace(later(60), wall_ms=END_S * 1000 + 1)
    assert [say[0] for say in told(today.look(over))] == ["occupancy", "residents", "suspension"]


# --- what they do


@pytest.mark.parametrize("wall_ms", [END_S * 1000, END_S * 1000 + 1, 1])
def test_a_suspension_stands_while_nobody_knows_the_time(wall_ms: int) -> None:
    today = day()
    list(today.receive(signed(Suspension(suspended=True), 1), NOW))
    unsure = replace(later(60), wall_ms=wall_ms, clock_trusted=False)
    assert told(today.look(unsure)) == [("suspension", "centre", 1, "stale")]
    assert (today.suspended, today.stale) == (True, {Kind.SUSPENSION})
    sure = replace(later(120), wall_ms=END_S * 1000 + 1)
    assert told(today.look(sure)) == []
    assert not today.suspended
    list(today.receive(signed(Suspension(suspended=False), 2), unsure))
    assert not today.suspended


def test_a_suspension_holds_in_its_time_and_until_it_is_lifted() -> None:
    today = day()
    list(today.receive(signed(Suspension(suspended=True), 1), NOW))
    assert today.suspended
    list(today.look(replace(later(60), wall_ms=END_S * 1000 + 1)))
    assert not today.suspended
    list(today.look(later(120)))
    assert today.suspended
    list(today.receive(signed(Suspension(suspended=False), 2), later(120)))
    assert not today.suspended


def test_what_was_called_back_stays_so_also_when_the_list_is_old() -> None:
    today = day()
    assert today.trust is TRUST
    list(today.receive(signed(Revocations(frozenset({"cafe0001"})), 1), NOW))
    list(today.receive(signed(Revocations(frozenset({"cafe0002"})), 1, issuer="branch"), NOW))
    over = replace(later(60), wall_ms=END_S * 1000 + 1)
    list(today.look(over))
    assert today.stale == {Kind.REVOCATIONS}
    assert today.trust == replace(TRUST, revoked=frozenset({("centre", "cafe0001"), ("branch", "cafe0002")}))


def test_an_abnormal_document_is_reported_at_once() -> None:
    def abnormal(outcome: str) -> Event:
        return events.document("occupancy", "centre", 1, outcome)

    assert [abnormal(word).abnormal for word in ("accepted", "older", "conflict", "stale")] == [
        False,
        True,
        True,
        True,
    ]
