"""Counting is total: whatever a gate has written, it is counted or left out, and stops nothing."""

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.reports.figures import WORDS_MAX, Figures, Tally
from central.reports.spans import Section, span_of
from central.store import StoredRecord
from gate.core.events import Kind
from tests.central.reports.town import ZONE, ms

SPAN = span_of(date(2022, 4, 11), ZONE, ms("2022-04-11T17:00"), ms("2022-04-10T17:00"))
NOON = ms("2022-04-11T12:00")
_OF_PEOPLE = {Kind.VISIT_DECIDED, Kind.VISIT_CLOSED, Kind.PASSAGE_FORCED}


def record(
    body: bytes, kind: str = "visit.decided", *, at_ms: int | None = NOON, seq: int = 1, abnormal: bool = True
) -> StoredRecord:
    return StoredRecord("north", "g-1", "epoch1", seq, body, None, at_ms, NOON, kind, abnormal)


def body(**data: object) -> bytes:
    return json.dumps({"data": {"clock": {"trusted": True}, **data}}).encode()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=90),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = """visit stage verdict disposition findings evidence steps result mode previous device active passages
    what policy policy_hash command outcome clock late"""
names = st.sampled_from(NAMES.split())
leaves = anything | st.sampled_from([10**400, -(10**400), 1e308])
told = st.dictionaries(
    st.sampled_from(["reason", "rule", "verdict", "value_cc", "unmeasured", "status", "subject"]), leaves
)
EVIDENCE = ["temperature", "code", "mask", "symptoms", "stale", "attendant", "person", "direction"]
evidence = st.lists(told, max_size=3) | st.dictionaries(
    st.sampled_from(EVIDENCE), leaves | told | st.lists(told, max_size=3)
)
hostile = st.fixed_dictionaries({"data": st.dictionaries(names, leaves | evidence)}) | anything
times = st.none() | st.integers(NOON - 10**9, NOON + 10**9)
kinds = st.sampled_from([*Kind, "", "of.tomorrow"])


@given(
    st.lists(st.tuples(hostile, kinds, st.none() | st.integers(NOON - 10**9, NOON + 10**9), st.booleans()))
)
def test_every_record_is_counted_whatever_it_states(
    records: list[tuple[object, str, int | None, bool]],
) -> None:
    tally = Tally(SPAN)
    for seq, (stated, kind, at_ms, abnormal) in enumerate(records, 1):
        tally.count(record(json.dumps(stated).encode(), kind, at_ms=at_ms, seq=seq, abnormal=abnormal))
    found = tally.figures()
    for section in Section:
        json.dumps(found.stated(section))
    counted = sum(found.counts[section]["records", "all"] for section in Section)
    assert counted == sum(place.records for place in tally.ranges.values()) <= len(records)
    for case in found.cases:
        json.dumps(case.stated(SPAN))


def test_bytes_that_are_no_record_are_counted_as_unreadable() -> None:
    tally = Tally(SPAN)
    tally.count(record(b"\xff{", "", at_ms=None))
    found = tally.figures().stated(Section.UNSURE)
    assert found["records"]["unreadable"] == found["records"]["all"] == 1


@pytest.mark.parametrize("gone", [b"", b"\xff{"])
@pytest.mark.parametrize("at_ms", [NOON, None])
def test_an_abnormal_record_that_nobody_can_read_is_listed_by_its_kind(
    gone: bytes, at_ms: int | None
) -> None:
    tally = Tally(SPAN)
    kinds = [*Kind, ""]
    for seq, kind in enumerate(kinds, 1):
        tally.count(record(gone, kind, at_ms=at_ms, seq=seq))
        tally.count(record(gone, kind, at_ms=at_ms, seq=100 + seq, abnormal=False))
    found = tally.figures()
    section = Section.UNSURE if at_ms is None else Section.DAY
    assert [case.kind for case in found.cases] == ["visit.decided", "visit.closed", "passage.forced"]
    assert [case.kind for case in found.incidents] == [kind for kind in kinds if kind not in _OF_PEOPLE]
    assert {case.section for case in (*found.cases, *found.incidents)} == {section}
    assert found.counts[section]["cases", "people"] == 3
    assert found.counts[section]["records", "unreadable"] == 2 * len(kinds)


def test_the_time_of_a_retired_record_is_believed_when_it_came_later() -> None:
    tally = Tally(SPAN)
    for seq, at_ms in enumerate((NOON, NOON + 1), 1):
        tally.count(record(b"", at_ms=at_ms, seq=seq))
    assert [case.section for case in tally.figures().cases] == [Section.DAY, Section.UNSURE]


def test_a_name_that_a_gate_gives_to_two_visits_hides_nobody() -> None:
    tally = Tally(SPAN)
    for seq in (1, 3):
        tally.count(record(body(visit="v", stage="refused", evidence={}), seq=seq))
        tally.count(record(body(visit="v", result="left"), Kind.VISIT_CLOSED, seq=seq + 1, abnormal=False))
    assert len(tally.figures().cases) == 2


@pytest.mark.parametrize(
    "unprinted", ["\x1b[2J", "\x07", "\x9b", "\u202e", "\u2066", "\u200b", "\n", "\u2028"]
)
def test_what_is_not_printed_is_not_taken_from_a_record(unprinted: str) -> None:
    odd = f"{unprinted}北京 A-1{unprinted}"
    tally = Tally(SPAN)
    found = [{"reason": odd, "rule": odd, "verdict": "refuse"}]
    seen = {"code": {"subject": odd}, "symptoms": [odd]}
    data = {"policy": odd, "policy_hash": odd, "findings": found, "evidence": seen}
    tally.count(record(body(visit="v", stage="refused", **data)))
    tally.count(record(body(device=odd, problem=odd), Kind.DEVICE_FAILED, seq=2))
    tally.count(record(body(), odd, seq=3))
    told = tally.figures()
    stated = [told.stated(Section.DAY), [case.stated(SPAN) for case in (*told.cases, *told.incidents)]]
    text = json.dumps([stated, sorted(told.policies)], ensure_ascii=False)
    assert text.isprintable() and "北京 A-1" in text


@pytest.mark.parametrize("odd", [[], {}, [["x"]], None, True, 1.5, 10**400, "x" * 9000])
def test_a_reason_that_is_no_word_counts_for_nothing(odd: object) -> None:
    tally = Tally(SPAN)
    seen = {"code": {"reason": odd, "status": odd}, "temperature": [{"unmeasured": odd}, {"value_cc": odd}]}
    found = [{"reason": odd, "rule": odd, "verdict": odd}]
    tally.count(record(body(visit="v", stage="refused", findings=found, evidence=seen)))
    (case,) = tally.figures().cases
    assert case.temperature_cc is None
    stated = tally.figures().stated(Section.DAY)
    assert stated["visits"]["all"] == 1 and stated["visits"]["fever"] == 0


@pytest.mark.parametrize("odd", [-5, 10**400, True, "3"])
def test_passages_that_nobody_can_count_are_left_out(odd: object) -> None:
    tally = Tally(SPAN)
    for seq, passages in enumerate((odd, 3), 1):
        told = body(active=False, passages=passages)
        tally.count(record(told, Kind.FIRE_ALARM, seq=seq))
    assert tally.figures().stated(Section.DAY)["fire"]["passages"] == 3


def test_words_that_a_gate_makes_up_do_not_fill_a_report() -> None:
    tally = Tally(SPAN)
    for seq in range(3 * WORDS_MAX):
        tally.count(record(body(what=f"w{seq:04}", detail=""), Kind.ANOMALY, seq=seq + 1))
    stated = tally.figures().stated(Section.DAY)["anomaly"]
    assert len(stated) == WORDS_MAX + 1 and stated["other_words"] == 2 * WORDS_MAX


def test_figures_of_gates_add_up() -> None:
    one, other = Tally(SPAN), Tally(SPAN)
    for tally in (one, other):
        tally.count(record(body(visit="v", stage="refused", evidence={}), seq=1))
    total = Figures()
    for tally in (one, other):
        total.add(tally.figures())
    assert total.stated(Section.DAY)["visits"]["all"] == 2
    assert total.hours[12, "refused"] == 2 and len(total.cases) == 2
