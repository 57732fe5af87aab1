import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.config import load_policy, policy_names
from gate.core.policy import UpdateWindow, policy_hash
from gate.core.updates import (
    BYTES_MAX,
    UpdateOrder,
    UpdateOutcome,
    UpdateResult,
    read_order,
    read_result,
)

ORDER = UpdateOrder("0.2.0-1", "a1b2", 1_700_000_000_000)
RESULT = UpdateResult("0.2.0-1", "0.1.0-1", UpdateOutcome.DONE, "ready after 3 s", "a1b2", 1_700_000_000_000)


def test_what_one_half_writes_the_other_reads() -> None:
    assert read_order(ORDER.encoded()) == ORDER
    assert read_result(RESULT.encoded()) == RESULT


def test_a_first_version_has_none_before_it() -> None:
    assert read_result(json.dumps({**json.loads(RESULT.encoded()), "previous": ""}).encode()).previous == ""


@pytest.mark.parametrize(
    "change",
    [
        {"version": "-y"},
        {"version": "0.2 --allow-unauthenticated"},
        {"version": 2},
        {"version": None},
        {"command": ""},
        {"command": "a/../b"},
        {"command": "a" * 33},
        {"command": 7},
        {"command": "长"},
        {"asked_ms": "now"},
        {"asked_ms": True},
        {"asked_ms": -1},
        {"asked_ms": 2**53},
    ],
)
def test_an_order_says_a_version_and_a_command_or_nothing(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"version|command|asked_ms"):
        read_order(json.dumps({**json.loads(ORDER.encoded()), **change}).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "fine"},
        {"detail": 7},
        {"detail": "two\nlines"},
        {"previous": None},
        {"previous": "x"},
        {"at_ms": None},
    ],
)
def test_a_result_is_one_of_four(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_result(json.dumps({**json.loads(RESULT.encoded()), **change}).encode())


def test_a_long_detail_is_cut() -> None:
    assert (
        len(read_result(json.dumps({**json.loads(RESULT.encoded()), "detail": "x" * 999}).encode()).detail)
        == 200
    )


@pytest.mark.parametrize("content", [b"[" * BYTES_MAX, b"1", b"{}", b"x" * (BYTES_MAX + 1), b'"', b"\xff"])
def test_what_is_no_such_file_is_refused(content: bytes) -> None:
    for read in (read_order, read_result):
        with pytest.raises(ValueError, match=r"."):
            read(content)


@given(st.binary(max_size=200))
def test_whatever_stands_there_is_read_or_refused(content: bytes) -> None:
    for read in (read_order, read_result):
        with pytest.raises(ValueError, match=r"."):
            read(content)


# --- the quiet hours


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        (UpdateWindow(), (120, 239), (119, 240, 0, 1439)),
        (UpdateWindow(1380, 60), (1380, 1439, 0, 59), (60, 1379, 720)),
        (UpdateWindow(0, 1440), (0, 1439), ()),
        (UpdateWindow(1440, 60), (0, 59), (60, 1439)),
    ],
)
def test_both_edges_of_the_window(
    window: UpdateWindow, inside: tuple[int, ...], outside: tuple[int, ...]
) -> None:
    assert all(window.contains(minute) for minute in inside)
    assert not any(window.contains(minute) for minute in outside)


def test_a_window_that_never_is_is_refused() -> None:
    with pytest.raises(ValueError, match="ends_min"):
        UpdateWindow(60, 60)


def test_the_window_in_words() -> None:
    assert str(UpdateWindow()) == "02:00 to 04:00"


@pytest.mark.parametrize("name", policy_names())
def test_no_plan_updates_while_it_is_open(name: str) -> None:
    plan = load_policy(name)
    opened = range(plan.hours.opens_min, plan.hours.closes_min) if plan.hours else ()
    assert not any(plan.update_window.contains(minute) for minute in opened)


def test_a_plan_that_says_nothing_of_updates_has_the_hash_that_it_had_before_there_were_any() -> None:
    """Records of 0.1.0 name it, and 0.1.0 may come back."""
    assert policy_hash(load_policy("county-hall"))[:12] == "a3c6b52fe6bc"
