"""Who has passed on which pass: single use, counted use, and passback, to the millisecond."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.core import uses as uses_module
from gate.core.codes.model import Authenticity, CodeResult, Format, Freshness, Reason
from gate.core.evidence import Direction
from gate.core.uses import Use, Uses, pass_key

IN, OUT = Direction.IN, Direction.OUT
NOW_MS = 1_709_164_800_000
PASS = CodeResult(
    Format.HOME,
    Reason.OK,
    authenticity=Authenticity.VERIFIED,
    freshness=Freshness.CURRENT,
    issuer="county",
    subject_ref="0123456789abcdef",
    valid_until=NOW_MS // 1000 + 3600,
    pass_id="cafe0001",
)
OTHER = replace(PASS, pass_id="cafe0002")
NAMELESS = replace(PASS, pass_id=None, subject_ref=None)
FORGED = replace(PASS, authenticity=Authenticity.REFUSED)


@pytest.mark.parametrize(
    ("code", "key"),
    [
        (PASS, "county/cafe0001"),
        (replace(PASS, pass_id=None), "county/0123456789abcdef"),
        (replace(PASS, issuer=None, region="CN-31", pass_id=None), "CN-31/0123456789abcdef"),
        (replace(PASS, issuer=None), "-/cafe0001"),
        (replace(PASS, reason=Reason.EXPIRED, freshness=Freshness.EXPIRED), "county/cafe0001"),
        (NAMELESS, None),
        *((replace(PASS, authenticity=word), None) for word in Authenticity if word != "verified"),
    ],
)
def test_a_pass_has_a_name_where_somebody_vouches_for_it(code: CodeResult, key: str | None) -> None:
    assert pass_key(code) == key


def test_uses_are_counted_for_each_pass_and_direction() -> None:
    uses = Uses()
    assert (uses.count(PASS, IN), uses.last_ms(PASS, IN)) == (0, None)
    first = uses.add(PASS, IN, NOW_MS)
    assert first == Use("county/cafe0001", IN, NOW_MS, PASS.valid_until, None, 1)
    assert uses.add(PASS, OUT, NOW_MS + 1) == replace(first, direction=OUT, at_ms=NOW_MS + 1)
    assert uses.add(PASS, IN, NOW_MS + 2) == replace(first, at_ms=NOW_MS + 2, count=2)
    assert (uses.count(PASS, IN), uses.count(PASS, OUT), uses.count(OTHER, IN)) == (2, 1, 0)
    assert (uses.last_ms(PASS, IN), uses.last_ms(PASS, OUT), uses.last_ms(OTHER, IN)) == (
        NOW_MS + 2,
        NOW_MS + 1,
        None,
    )


@pytest.mark.parametrize("code", [NAMELESS, FORGED])
def test_what_names_no_pass_leaves_no_use(code: CodeResult) -> None:
    uses = Uses()
    uses.add(PASS, IN, NOW_MS)
    assert uses.add(code, IN, NOW_MS) is None
    assert (uses.count(code, IN), uses.last_ms(code, IN)) == (0, None)
    assert not uses.replayed(code, IN, NOW_MS, 60)


def test_what_the_ledger_remembers_goes_on() -> None:
    past = Use("county/cafe0001", IN, NOW_MS - 1, PASS.valid_until, 7, 3)
    uses = Uses([past, replace(past, direction=OUT, count=9)])
    assert (uses.count(PASS, IN), uses.count(PASS, OUT)) == (3, 9)
    assert uses.add(replace(PASS, step=8), IN, NOW_MS) == replace(past, at_ms=NOW_MS, step=8, count=4)


# --- given back


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_use_that_is_given_back_was_none(before: int) -> None:
    uses = Uses()
    shown = replace(PASS, step=9)
    uses.add(PASS, OUT, NOW_MS - 500)
    past = [uses.add(replace(PASS, step=n + 1), IN, NOW_MS - 1000 + n) for n in range(before)]
    use = uses.add(shown, IN, NOW_MS)
    assert use is not None
    assert uses.replayed(shown, IN, NOW_MS, 60)
    stored = uses.take_back(use)
    assert stored == (past[-1] if past else Use("county/cafe0001", IN, 0, PASS.valid_until, count=0))
    assert (uses.count(PASS, IN), uses.count(PASS, OUT)) == (before, 1)
    assert uses.last_ms(PASS, IN) == (past[-1].at_ms if past[-1:] and past[-1] else None)
    assert not uses.replayed(shown, IN, NOW_MS, 0)
    assert uses.latest(use) == stored
    assert uses.add(shown, IN, NOW_MS + 1) == replace(use, at_ms=NOW_MS + 1)


def test_a_pass_given_back_is_not_just_used() -> None:
    """Who was let in and did not walk through comes again at once, also at the first second of all."""
    for now_ms in (0, 1, NOW_MS):
        uses = Uses()
        use = uses.add(PASS, IN, now_ms)
        assert use is not None
        uses.take_back(use)
        assert not uses.replayed(PASS, IN, now_ms, 60)
        assert uses.last_ms(PASS, IN) is None


def test_a_pass_the_ledger_remembers_is_given_back_as_it_was() -> None:
    past = Use("county/cafe0001", IN, NOW_MS - 1, PASS.valid_until, 7, 3)
    uses = Uses([past])
    use = uses.add(PASS, IN, NOW_MS)
    assert use is not None
    assert uses.take_back(use) == past
    assert uses.count(PASS, IN) == 3


def test_what_is_known_by_now_not_what_was_known_then() -> None:
    uses = Uses()
    first, second = uses.add(PASS, IN, NOW_MS), uses.add(PASS, IN, NOW_MS + 1)
    leaving = uses.add(PASS, OUT, NOW_MS + 2)
    assert first is not None
    assert second is not None
    assert leaving is not None
    assert (uses.latest(first), uses.latest(second), uses.latest(leaving)) == (second, second, leaving)
    elsewhere = Use("county/cafe0002", IN, NOW_MS)
    assert uses.latest(elsewhere) == elsewhere  # nothing else is known of it


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=40))
def test_only_those_count_who_have_walked_through(turns: list[tuple[int, bool]]) -> None:
    uses, passed = Uses(), [0, 0, 0]
    for number, (which, walks_through) in enumerate(turns):
        one = code(which, None)
        use = uses.add(one, IN, NOW_MS + number)
        assert use is not None
        assert use.count == passed[which] + 1
        if walks_through:
            passed[which] += 1
        else:
            assert uses.take_back(use).count == passed[which]
        assert [uses.count(code(n, None), IN) for n in range(3)] == passed


def test_a_pass_that_is_forgotten_at_once_is_given_back_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uses_module, "KEPT_MAX", 1)
    uses, over = Uses(), code(2, NOW_MS // 1000 - 1)
    uses.add(code(1, None), IN, NOW_MS)
    use = uses.add(over, IN, NOW_MS)
    assert use is not None
    assert uses.count(over, IN) == 0
    assert uses.latest(use) == use
    assert uses.take_back(use).count == 0


# --- passback


@pytest.mark.parametrize(
    ("later_ms", "passback_s", "replayed"),
    [
        (0, 60, True),
        (59_999, 60, True),
        (60_000, 60, False),
        (0, 0, False),
        (-1, 0, False),  # the clock was set back by a little
        (-59_999, 60, True),
        (-60_000, 60, False),  # the clock was set back by much
        (-86_400_000, 60, False),
    ],
)
def test_a_pass_counts_as_handed_back_only_near_its_use(
    later_ms: int, passback_s: int, replayed: bool
) -> None:
    uses = Uses([Use("county/cafe0001", IN, NOW_MS)])
    assert uses.replayed(PASS, IN, NOW_MS + later_ms, passback_s) is replayed
    assert not uses.replayed(PASS, OUT, NOW_MS + later_ms, passback_s)
    assert not uses.replayed(OTHER, IN, NOW_MS + later_ms, passback_s)


@pytest.mark.parametrize(
    ("used", "shown", "replayed"),
    [(7, 6, True), (7, 7, True), (7, 8, False), (0, 0, True), (7, None, False), (None, 7, False)],
)
def test_a_step_counts_once_however_long_ago(used: int | None, shown: int | None, replayed: bool) -> None:
    uses = Uses()
    uses.add(replace(PASS, step=used), IN, NOW_MS)
    week_ms = 7 * 86_400_000
    assert uses.replayed(replace(PASS, step=shown), IN, NOW_MS + week_ms, 60) is replayed


# --- what is kept


def code(number: int, valid_until: int | None) -> CodeResult:
    return replace(PASS, pass_id=f"{number:08x}", valid_until=valid_until)


def kept(uses: Uses, codes: list[CodeResult]) -> list[int]:
    return [number for number, code in enumerate(codes) if uses.count(code, IN)]


def test_nothing_is_forgotten_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uses_module, "KEPT_MAX", 4)
    uses, codes = Uses(), [code(number, 1) for number in range(4)]
    for one in codes:
        uses.add(one, IN, NOW_MS)
    assert kept(uses, codes) == [0, 1, 2, 3]


def test_first_what_has_ended_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Valid until this very second is still valid; a pass without an end stays."""
    monkeypatch.setattr(uses_module, "KEPT_MAX", 4)
    now_s = NOW_MS // 1000
    uses, codes = Uses(), [code(n, end) for n, end in enumerate([now_s - 1, None, now_s, now_s + 1, now_s])]
    for number, one in enumerate(codes):
        uses.add(one, IN, NOW_MS + number)
    assert kept(uses, codes) == [1, 2, 3, 4]


def test_then_the_half_used_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uses_module, "KEPT_MAX", 5)
    uses, codes = Uses(), [code(number, None) for number in range(6)]
    for number, one in enumerate(codes):
        uses.add(one, IN, NOW_MS - number)  # the first is the newest
    assert kept(uses, codes) == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 100), st.integers(0, 100)), max_size=80))
def test_memory_is_bounded_and_the_newest_use_is_known(passages: list[tuple[int, int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uses_module, "KEPT_MAX", 10)
        uses = Uses()
        for number, at_s, end_s in passages:
            one = code(number, max(at_s, end_s))
            count = uses.count(one, IN)
            use = uses.add(one, IN, NOW_MS + at_s * 1000)
            assert use is not None
            assert use.count == count + 1
            assert len(uses._last) <= 10
            assert len(uses._before) == 1  # one visit at a time
