"""What waits for the ledger: in order, marked late, bounded, and nothing authorised that never was."""

from dataclasses import replace
from typing import Any

import pytest
from gatebox import checked_body
from hypothesis import given
from hypothesis import strategies as st

from gate.config import load_policy
from gate.core import events, unwritten
from gate.core.effects import Record
from gate.core.events import Result, Stage
from gate.core.evidence import Direction, Evidence
from gate.core.moment import Moment
from gate.core.rules import decide
from gate.core.unwritten import UNWRITTEN_MAX, Unwritten
from gate.core.uses import Use

NOW = Moment(1, 1, clock_trusted=True)
PLAN = load_policy("county-hall")


def record(number: int) -> Record:
    return Record(events.anomaly("test", str(number)))


def decided(stage: Stage) -> Record:
    decision = decide(PLAN, "0" * 64, Evidence())
    return Record(events.visit_decided("0a1b2c3d-000001", stage, decision, Evidence(), (), 1))


def written(waiting: Unwritten) -> list[Record]:
    return [waiting.next() for _ in range(len(waiting))]


def details(records: list[Record]) -> list[Any]:
    return [record.event.data["detail"] for record in records]


def test_they_come_back_in_order_marked_late_and_with_their_uses() -> None:
    waiting = Unwritten(serves_on=False)
    use = Use("county/cafe0001", Direction.IN, 1)
    given_ = [record(1), replace(record(2), use=use), record(3)]
    waiting.keep(given_)
    assert len(waiting) == 3
    come = written(waiting)
    assert [one.use for one in come] == [None, use, None]
    for before, after in zip(given_, come, strict=True):
        assert after.event == replace(before.event, data={**before.event.data, "late": True})
        checked_body(after.event, 1, NOW)
        assert "late" not in before.event.data  # what was handed in is left as it was
    assert len(waiting) == 0
    with pytest.raises(IndexError):
        waiting.next()


def test_what_fails_again_goes_back_to_the_front() -> None:
    waiting = Unwritten(serves_on=False)
    waiting.keep(record(number) for number in (1, 2, 3))
    first = waiting.next()
    second = waiting.next()
    waiting.keep([first, second, record(4)])
    assert details(written(waiting)) == ["1", "2", "3", "4"]


@given(st.lists(st.integers(0, 3), max_size=30))
def test_order_holds_however_often_writing_fails(taken: list[int]) -> None:
    waiting, seen, number = Unwritten(serves_on=True), list[str](), 0
    for count in taken:
        tried = [waiting.next() for _ in range(min(count, len(waiting)))]
        number += 1
        waiting.keep([*tried[1:], record(number)])  # the first was written, the rest and a new one were not
        seen += details(tried[:1])
    assert seen + details(written(waiting)) == [str(n + 1) for n in range(number)]


@pytest.mark.parametrize("serves_on", [False, True])
@pytest.mark.parametrize("stage", Stage)
def test_an_authorisation_that_was_not_durable_was_none_unless_people_passed_on_it(
    serves_on: bool, stage: Stage
) -> None:
    waiting = Unwritten(serves_on=serves_on)
    use = Use("county/cafe0001", Direction.IN, 1)
    waiting.hold(replace(decided(stage), use=use))
    late = waiting.next()
    undone = stage is Stage.AUTHORISED and not serves_on
    assert late.event.data["stage"] == (Stage.UNDECIDED if undone else stage)
    assert late.use == (None if undone else use)  # nobody has passed on it
    checked_body(late.event, 1, NOW)


def test_an_authorisation_that_fails_again_is_not_undone_twice() -> None:
    waiting = Unwritten(serves_on=False)
    given_back = Use("county/cafe0001", Direction.IN, 0, count=0)
    closed = Record(events.visit_closed("0a1b2c3d-000001", Result.INTERRUPTED, 1), given_back)
    waiting.keep([replace(decided(Stage.AUTHORISED), use=replace(given_back, count=1)), closed])
    waiting.keep(written(waiting))
    assert [(one.event.data.get("stage"), one.use) for one in written(waiting)] == [
        ("undecided", None),
        (None, given_back),
    ]


def test_the_limit_is_held_and_what_is_lost_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert UNWRITTEN_MAX == 1000
    monkeypatch.setattr(unwritten, "UNWRITTEN_MAX", 2)
    waiting = Unwritten(serves_on=False)
    waiting.hold(record(1))
    waiting.hold(record(2))
    assert waiting.lost() is None
    waiting.hold(record(3))
    waiting.keep([record(4)])
    assert len(waiting) == 2
    lost = waiting.lost()
    assert lost is not None
    assert lost.data == {"what": "records_lost", "detail": "2 records were lost while the ledger failed"}
    assert waiting.lost() is None
    assert details(written(waiting)) == ["1", "2"]
