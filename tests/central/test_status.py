"""What `central status` draws, in terminals of any width."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from central.status import ALARMS_SHOWN, MIDDLING, WIDE, GateStatus, Standing, drawn
from tests.central.fake_gate import NOW_MS

S, MINUTE, HOUR = 1000, 60_000, 3_600_000


def gate(name: str = "north-1", **changes: Any) -> GateStatus:
    fields: dict[str, Any] = {
        "site": "county-hall", "gate": name, "identity": "registered", "epoch": "d488c3839e96f696",
        "seen_ms": NOW_MS - 5 * S, "stopped_ms": None, "stated": 145_000, "linked": 145_000,
        "proved": 145_000, "receipted": 144_990, "backlog": 0, "conflicts": 0, "ahead_ms": -20, "alarms": (),
    }  # fmt: skip
    return GateStatus(**(fields | changes))


def alarm(number: int = 7, **changes: Any) -> Standing:
    fields: dict[str, Any] = {
        "kind": "missed", "code": "hole", "site": "county-hall", "gate": "north-1",
        "first": 1201, "last": 1207, "since_ms": NOW_MS - 10 * MINUTE,
    }  # fmt: skip
    return Standing(id=number, **(fields | changes))


def lines(gates: list[GateStatus], alarms: list[Standing] | None = None, width: int = WIDE) -> list[str]:
    console = Console(width=width, highlight=False, force_terminal=False)
    with console.capture() as capture:
        console.print(drawn(gates, alarms or [], NOW_MS, width, ZoneInfo("Asia/Shanghai")))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_one_gate_that_is_well() -> None:
    assert lines([gate()]) == [
        "gate                 state           stated   proved  receipted  backlog  clock  ledger    alarms",
        "county-hall/north-1  heard 5 s ago  145,000  145,000    144,990        0  right  d488c383",
        "",
        "1 gate, nothing outstanding, no alarms",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stopped_ms": NOW_MS - 3 * HOUR}, "stopped 3 h ago"),
        ({"seen_ms": None, "ahead_ms": None}, "never heard"),
        ({"identity": "unknown"}, "not registered, heard 5 s ago"),
        ({"identity": "revoked", "stopped_ms": NOW_MS - HOUR}, "key revoked, stopped 60 min ago"),
        ({"mode": "serving"}, "heard 5 s ago"),
        ({"mode": "fault"}, "in fault, heard 5 s ago"),
        ({"mode": "suspended"}, "suspended, heard 5 s ago"),
        ({"mode": "closed_hours"}, "closed hours, heard 5 s ago"),
        ({"mode": "suspended", "stopped_ms": NOW_MS - HOUR}, "stopped 60 min ago"),
        ({"mode": "fault", "stopped_ms": NOW_MS - HOUR}, "in fault, stopped 60 min ago"),
    ],
)
def test_how_it_is_with_a_gate(changes: dict[str, Any], said: str) -> None:
    assert f"  {said}  " in lines([gate(**changes)])[1]


@pytest.mark.parametrize(
    ("ahead_ms", "said"),
    [(None, "?"), (0, "right"), (-999, "right"), (999, "right"), (1000, "+1 s"), (-90_000, "-90 s"),
     (3 * HOUR, "+3 h")],
)  # fmt: skip
def test_a_clock_in_words(ahead_ms: int | None, said: str) -> None:
    assert f" {said}  d488c383" in lines([gate(ahead_ms=ahead_ms)])[1]


def test_alarms_stand_below_in_words_with_when_they_were_raised() -> None:
    late = alarm(9, kind="missed", code="report_late", site="", gate="level 1 all", first=None, last=None)
    said = lines([gate(alarms=("hole",), backlog=7)], [alarm(), late, alarm(10, code="new_word")])
    assert said[1].endswith("d488c383  hole")
    assert said[3] == "1 gate, 7 records outstanding, 3 alarms:"
    hole = "  7  county-hall/north-1  missed: a hole among the records (1,201-1,207)"
    assert said[4].startswith(f"{hole}, raised 2026-11-18 18:56:40+")
    assert said[4].endswith(", 10 min ago")
    assert said[5].startswith("  9  level 1 all  missed: the daily report is late or absent, raised 2")
    assert "missed: new_word (1,201-1,207)" in said[6]


def test_gates_in_fault_are_counted() -> None:
    assert lines([gate(), gate("north-2", mode="fault")])[-1].startswith("2 gates, 1 in fault, nothing")


def test_more_alarms_than_anybody_reads() -> None:
    said = lines([gate()], [alarm(number) for number in range(30)])
    assert said[-1] == f"  ... and {30 - ALARMS_SHOWN} more; see: central alarms"
    assert len(said) == 4 + ALARMS_SHOWN + 1
    assert "more" not in lines([gate()], [alarm(number) for number in range(ALARMS_SHOWN)])[-1]


@pytest.mark.parametrize("width", [60, 80, MIDDLING, WIDE, 200])
def test_forty_gates_fit_and_their_figures_stay_whole(width: int) -> None:
    gates = [gate(f"north-{number}", alarms=("late", "hole") if number == 5 else ()) for number in range(40)]
    said = lines(gates, width=width)
    assert max(map(len, said)) <= width
    for number, each in enumerate(gates):
        (row,) = (line for line in said if line.startswith(f"county-hall/{each.gate} "))
        assert "145,000" in row
        assert (row.endswith(("2", "late, hole"))) == (number == 5)
    if width >= 80:
        assert len(said) == 1 + 40 + 2  # a line for each
