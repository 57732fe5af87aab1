"""The accounts of a chaos run find what is wrong, each thing by its name, and nothing else."""

import json
from typing import Any

import pytest

from tests.chaos.accounts import Account, Named, Passes, Row, compare, passes, rows, undetected

AT = "2026-11-22T08:00:00.{:03}+00:00"
MS = 1_795_334_400_000


def row(seq: int, hash_: str | None = "", body: bytes = b"{}", gate: str = "g1") -> Row:
    return Row((gate, "e1", seq), f"{seq:064x}" if hash_ == "" else hash_, body)


LEDGER = [row(1), row(2), row(3)]


def found(centre: list[Row], **how: bool) -> tuple[list[int], list[int], int]:
    account = compare(LEDGER, centre, **how)
    return [p[2] for p in account.lost], [p[2] for p in account.doubled], len(account.others)


def test_the_same_books() -> None:
    account = compare(LEDGER, reversed(LEDGER))
    assert (account.good, account.records) == (True, 3)
    assert account.line == "lost 0 doubled 0 undetected 0 passes-without-record 0"


@pytest.mark.parametrize(
    "second",
    [None, row(2, "f" * 64), row(2, body=b'{"altered":1}'), row(2, None), row(2, gate="g2")],
    ids=["not there", "another hash", "other bytes", "parked", "under another name"],
)
def test_what_is_lost(second: Row | None) -> None:
    lost, doubled, others = found([row(1), *([second] if second else []), row(3)])
    assert (lost, doubled) == ([2], [])
    assert others == (second is not None and second.place[0] == "g2")


def test_a_parked_row_counts_only_where_it_may_and_its_bytes_are_the_same() -> None:
    assert found([row(1), row(2, None), row(3, None)], parked_counts=True) == ([], [], 0)
    assert found([row(1), row(2, None, b"[]"), row(3)], parked_counts=True) == ([2], [], 0)
    assert found([row(1), row(2, "f" * 64), row(3)], parked_counts=True) == ([2], [], 0)


def test_what_is_doubled_and_what_nobody_has_written() -> None:
    assert found([*LEDGER, row(2)]) == ([], [2], 0)
    assert found([*LEDGER, row(4)]) == ([], [], 1)


def test_the_last_line_says_all() -> None:
    account = Account(lost=[("g1", "e1", 2)], doubled=[("g1", "e1", 3)] * 2, unrecorded=4, others=["more"])
    assert account.line == "lost 1 doubled 2 undetected 0 passes-without-record 4 others 1"
    assert not account.good


@pytest.mark.parametrize(
    ("named", "covered"),
    [
        (Named("g1", "e1", 2, 2), True),
        (Named("g1", "e1", None, None), True),
        (Named("g1", "", None, 2), True),
        (Named("g1", "e1", 3, None), False),
        (Named("g1", "e2", 2, 2), False),
        (Named("g2", "e1", 2, 2), False),
    ],
)
def test_what_an_alarm_names_is_detected(named: Named, covered: bool) -> None:
    place = ("g1", "e1", 2)
    assert undetected([place], [named]) == ([] if covered else [place])


def test_exported_lines_are_read_with_the_exact_bytes_of_the_record() -> None:
    body = b'{"a": "\xc3\xa9\\u00e9", "record":{}, "b":1.50}'
    for gap in (b"", b" "):
        line = b'{"site":"s","gate":"g1","epoch":"e1","seq":7,"hash":null,"record":' + gap + body + b"}\n"
        assert list(rows([line])) == [Row(("g1", "e1", 7), None, body)]


# Pulses


def event(seq: int, ms: int, stage: str = "", kind: str = "visit.decided") -> dict[str, Any]:
    data = {"seq": seq} | ({"stage": stage} if stage else {})
    return {"type": f"hg.{kind}.v1", "time": AT.format(ms), "data": data}


def allowed(seq: int, ms: int) -> dict[str, Any]:
    return event(seq, ms, "authorised")


STARTED = "gate.started"


@pytest.mark.parametrize(
    ("events", "pulses", "unrecorded", "unopened"),
    [
        ([allowed(1, 10), allowed(2, 20)], [10, 25], 0, ()),
        ([allowed(1, 10)], [9], 1, ()),
        ([allowed(1, 10)], [11, 12], 1, ()),
        ([event(1, 10, "refused")], [11], 1, ()),
        ([allowed(1, 10), event(2, 20, kind="visit.closed")], [], 0, (1,)),
        ([allowed(1, 10), event(2, 20, kind=STARTED), allowed(3, 30)], [31], 0, ()),
        ([allowed(1, 10), event(2, 20, kind=STARTED), allowed(3, 30)], [11], 0, ()),
        ([allowed(1, 10), allowed(2, 20), event(3, 30, kind="visit.closed")], [21], 0, (1,)),
        ([allowed(1, 10)], [], 0, ()),
    ],
    ids=[
        "each its own", "before its record", "one record, two pulses", "a refusal opens nothing",
        "a record, no pulse, and it goes on", "killed between the two", "killed in the next run",
        "the newer record has the pulse", "killed for good",
    ],
)  # fmt: skip
def test_pulses_and_records(
    events: list[dict[str, Any]], pulses: list[int], unrecorded: int, unopened: tuple[int, ...]
) -> None:
    assert passes(events, [MS + ms for ms in pulses]) == Passes(unrecorded, unopened)


def test_the_events_of_a_row() -> None:
    assert row(1, body=json.dumps(allowed(1, 5)).encode()).event == allowed(1, 5)
