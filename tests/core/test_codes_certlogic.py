"""CertLogic: what the specification says, what its suite leaves out, and that nothing runs away."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gate.core.codes.certlogic import (
    DEPTH_MAX,
    STEPS_MAX,
    WHOLE_MAX,
    CertLogicError,
    DateTime,
    evaluate,
    parse_date_time,
    truthy,
)

DATA = Path(__file__).parent.parent / "data" / "codes" / "certlogic"
SUITES = sorted((DATA / "suite").glob("*.json"))
SKIPPED_AS_PUBLISHED = {
    ("inswithnulls", "null-safety"): 4,  # "in" on what is no array
    ("patchedoperations", "patchedreduceknowsaboutglobaldata"): 10,  # reduce with the outer data
}


def var(path: str) -> object:
    return {"var": path}


def after(date: object, amount: object, unit: object) -> object:
    return {"plusTime": [date, amount, unit]}


def squeezed(name: str) -> str:
    return name.replace(" ", "")


# The published suite


def test_the_copies_are_those_of_the_manifest() -> None:
    listed = json.loads((DATA / "manifest.json").read_text())["files"]
    assert [DATA / entry["file"] for entry in listed] == SUITES
    for entry in listed:
        assert hashlib.sha256((DATA / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]


def test_the_published_suite_passes_but_for_what_it_skips_itself() -> None:
    passed, skipped = 0, Counter[tuple[str, str]]()
    for file in SUITES:
        suite = json.loads(file.read_text())
        for case in suite["cases"]:
            for assertion in case["assertions"]:
                if "skip" in (suite.get("directive"), assertion.get("directive")):
                    skipped[squeezed(suite["name"]), squeezed(case["name"])] += 1
                    continue
                expression = assertion.get("certLogicExpression", case.get("certLogicExpression"))
                got = evaluate(expression, assertion["data"])
                assert json.dumps(got) == json.dumps(assertion["expected"]), (
                    file.name,
                    case["name"],
                    assertion,
                )
                passed += 1
    assert passed == 218
    assert skipped == SKIPPED_AS_PUBLISHED


# Truthiness


@pytest.mark.parametrize("value", [True, "0", " ", 1, -1, 2.0, [0], [[]], {"a": None}])
def test_truthy(value: object) -> None:
    assert truthy(value) is True
    assert evaluate({"if": [var(""), "yes", "no"]}, value) == "yes"
    assert evaluate({"!": [var("")]}, value) is False


@pytest.mark.parametrize("value", [False, None, "", 0, -0.0, [], {}])
def test_falsy(value: object) -> None:
    assert truthy(value) is False
    assert evaluate({"if": [var(""), "yes", "no"]}, value) == "no"
    assert evaluate({"!": [var("")]}, value) is True


@pytest.mark.parametrize("value", [DateTime(0), 0.5, float("nan"), float("inf"), b"x", object()])
def test_neither_truthy_nor_falsy_is_an_error_wherever_a_condition_stands(value: object) -> None:
    for expression in (
        {"if": [var(""), 1, 2]}, {"!": [var("")]}, {"and": [var(""), True]}, {"and": [True, var("")]}
    ):  # fmt: skip
        with pytest.raises(CertLogicError, match="neither truthy nor falsy"):
            evaluate(expression, value)


# Operations


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (True, 1, False),
        (0, False, False),
        (1, 1.0, True),
        (1.5, 1.5, True),
        (1, "1", False),
        (None, None, True),
        (None, False, False),
        ([1, ["a"]], [1, ["a"]], True),
        ([1], [True], False),
        ([1], [1, 2], False),
        ([], {}, False),
        ({"a": [1], "b": 2}, {"b": 2, "a": [1]}, True),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, None, False),
        (DateTime(5), DateTime(5), True),
        (b"x", b"x", False),
    ],
)
def test_equality_compares_content_without_coercion(left: object, right: object, equal: bool) -> None:
    assert evaluate({"===": [var("0"), var("1")]}, [left, right]) is equal
    assert evaluate({"===": [var("1"), var("0")]}, [left, right]) is equal
    assert evaluate({"in": [var("0"), [var("1")]]}, [left, right]) is equal


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.0", "x"),
        ("a.1", None),
        ("a.-1", None),
        ("a.00", "x"),
        ("a.0.0", None),
        ("a.length", None),
        ("a." + "9" * 5000, None),
        ("a.\u0660", None),  # a digit, but not of ASCII
        ("o.0", "zero"),
        ("o.", "empty"),
        (".", None),
        ("o.none.deeper", None),
        ("n.real", None),
    ],
)
def test_paths(path: str, value: object) -> None:
    assert evaluate(var(path), {"a": ["x"], "o": {"0": "zero", "": "empty", "none": None}, "n": 1}) == value


def test_conditions_leave_the_other_branch_alone() -> None:
    assert evaluate({"if": [True, 1, {"broken": []}]}, None) == 1
    assert evaluate({"if": [False, {"broken": []}, 2]}, None) == 2
    assert evaluate({"and": [1, 0, {"broken": []}]}, None) == 0


def test_three_operands_hold_pair_by_pair() -> None:
    for name, ok, wrong in (
        ("<", [1, 2, 3], [1, 3, 2]),
        (">", [3, 2, 1], [3, 1, 2]),
        (">=", [2, 2, 1], [2, 1, 2]),
    ):
        assert evaluate({name: ok}, None) is True
        assert evaluate({name: wrong}, None) is False


def test_reduce_sees_only_the_item_and_what_was_gathered() -> None:
    data = {"list": [3, 4], "x": 9}
    assert evaluate({"reduce": [var("list"), [var("accumulator"), var("current")], var("x")]}, data) == [
        [9, 3],
        4,
    ]
    assert evaluate({"reduce": [var("list"), var("x"), 1]}, data) is None
    assert evaluate({"reduce": [[], {"broken": []}, 1]}, data) == 1


@pytest.mark.parametrize(
    ("text", "index", "fragment"),
    [
        ("urn:uvci:01:NL", 0, "urn"),
        ("URN:UCI:01", 1, "UCI"),
        ("URN:UVCI:", 0, ""),
        ("URN:UVCI", 1, "UVCI"),
        ("URN:UVCI:URN:UVCI:01", 0, "URN"),
        ("a", 1, None),
        (None, 0, None),
    ],
)
def test_fragments_of_an_identifier(text: object, index: int, fragment: object) -> None:
    assert evaluate({"extractFromUVCI": [var(""), index]}, text) == fragment


@pytest.mark.parametrize(
    "expression",
    [
        None,
        1.5,
        float("nan"),
        {},
        {"var": "a", "!": [1]},
        [None],
        {"var": 0},
        {"var": ["a"]},
        {"var": None},
        {"or": [True, False]},
        {"extractFromUCVI": ["a", 0]},  # the name of the suite's file, not of the operation
        {"x" * 10_000: []},
        {5: []},
        {"!": True},
        {"!": []},
        {"!": [1, 2]},
        {"if": [True, 1]},
        {"if": [True, 1, 2, 3]},
        {"and": [True]},
        {"===": [1]},
        {"===": [1, 1, 1]},
        {"in": [1, "1"]},
        {"in": [1, {"var": "missing"}]},
        {"+": [1, "1"]},
        {"+": [1, True]},
        {"+": [1, {"var": "missing"}]},
        {"+": [1, 2, 3]},
        {"+": [WHOLE_MAX, 1]},
        {"+": [-WHOLE_MAX, -1]},
        {"<": [1]},
        {"<": [1, 2, 3, 4]},
        {"<": [1, "2"]},
        {"<": [False, True]},
        {">": [{"var": "missing"}, 1]},
        {"<": [after("2021", 0, "day"), after("2022", 0, "day")]},
        {"before": ["2021-01-01", "2021-01-02"]},
        {"before": [1, 2]},
        {"reduce": [1, var("accumulator"), 0]},
        {"reduce": [[1], var("accumulator")]},
        {"plusTime": ["2021-01-01", 1]},
        after("2021-01-01", 1.5, "day"),
        after("2021-01-01", True, "day"),
        after("2021-01-01", {"+": [1, 1]}, "day"),
        after("2021-01-01", 1, "week"),
        after("2021-01-01", 1, ["day"]),
        after(None, 1, "day"),
        after(20210101, 1, "day"),
        after(after("2021-01-01", 1, "day"), 1, "day"),
        after("2021-01-01", 9_000, "year"),
        after("2021-01-01", -2_021, "year"),
        after("2021-01-01", 10**400, "month"),
        after("2021-01-01", -(10**400), "hour"),
        after("9999-12-31", 1, "day"),
        {"dccDateOfBirth": ["2021-01-01T00:00:00Z"]},
        {"dccDateOfBirth": [{"var": "missing"}]},
        {"dccDateOfBirth": [""]},
        {"extractFromUVCI": [5, 0]},
        {"extractFromUVCI": ["a", "0"]},
        {"extractFromUVCI": ["a", {"+": [0, 0]}]},
    ],
    ids=lambda expression: repr(expression)[:60],
)
def test_what_is_invalid_or_of_the_wrong_type_is_an_error_in_a_sentence(expression: object) -> None:
    with pytest.raises(CertLogicError) as caught:
        evaluate(expression, {})
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 200


def test_the_largest_integers_still_add_up() -> None:
    assert evaluate({"+": [WHOLE_MAX, -1]}, None) == WHOLE_MAX - 1
    assert evaluate({"+": [WHOLE_MAX - 1, 1.0]}, None) == WHOLE_MAX


# Dates


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2021", "2021-12-31T00:00:00.000Z"),
        ("2021-02", "2021-02-28T00:00:00.000Z"),
        ("2020-02", "2020-02-29T00:00:00.000Z"),
        ("2021-12", "2021-12-31T00:00:00.000Z"),
        ("2021-05-04", "2021-05-04T00:00:00.000Z"),
        ("2021-05-04T13:37:42", "2021-05-04T13:37:42.000Z"),
        ("2021-05-04T13:37:42Z", "2021-05-04T13:37:42.000Z"),
        ("2021-05-04T13:37:42-00:00", "2021-05-04T13:37:42.000Z"),
        ("2021-05-04T13:37:42+2", "2021-05-04T11:37:42.000Z"),
        ("2021-05-04T13:37:42+02", "2021-05-04T11:37:42.000Z"),
        ("2021-05-04T13:37:42+130", "2021-05-04T12:07:42.000Z"),
        ("2021-05-04T13:37:42+0130", "2021-05-04T12:07:42.000Z"),
        ("2021-05-04T13:37:42+1:30", "2021-05-04T12:07:42.000Z"),
        ("2021-05-04T13:37:42-01:30", "2021-05-04T15:07:42.000Z"),
        ("2021-05-04T13:37:42-11", "2021-05-05T00:37:42.000Z"),
        ("2021-05-04T13:37:42.1", "2021-05-04T13:37:42.100Z"),
        ("2021-05-04T13:37:42.01Z", "2021-05-04T13:37:42.010Z"),
        ("2021-05-04T13:37:42.9999999999+00:00", "2021-05-04T13:37:42.999Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
        ("0001-01-01", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_every_form_of_a_date(text: str, utc: str) -> None:
    assert str(parse_date_time(text)) == utc
    assert str(evaluate(after(var(""), 0, "month"), text)) == utc
    if "T" not in text:
        assert str(evaluate({"dccDateOfBirth": [var("")]}, text)) == utc


@pytest.mark.parametrize(
    "text",
    [
        "",
        "21-01-01",
        "2021-1-1",
        "2021-13",
        "2021-00",
        "0000",
        "2021-09-99",
        "2021-02-29",
        "2021-01-01T",
        "2021-01-01T10",
        "2021-01-01T10:00Z",
        "2021-01-01 10:00:00",
        "2021-01-01t10:00:00z",
        "2021-01-01T24:00:00Z",
        "2021-01-01T10:60:00Z",
        "2021-01-01T23:59:60Z",
        "2021-01-01T10:00:00.Z",
        "2021-01-01T10:00:00+24",
        "2021-01-01T10:00:00+01:60",
        "2021-01-01T10:00:00+00:00:00",
        "2021-01-01T10:00:00 UTC",
        "2021-01-01\n",
        "-2021-01-01",
        "０２０２-01-01",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2021-01-01T10:00:00." + "1" * 100,
    ],
)  # fmt: skip
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(CertLogicError):
        parse_date_time(text)


@pytest.mark.parametrize(
    ("start", "amount", "unit", "end"),
    [
        ("2020-02-29", 1, "day", "2020-03-01"),
        ("2020-02-29", 1, "month", "2020-03-29"),
        ("2020-02-29", 1, "year", "2021-03-01"),
        ("2020-02-29", -1, "year", "2019-03-01"),
        ("2020-02-29", 4, "year", "2024-02-29"),
        ("2021-01-31", 1, "month", "2021-03-03"),
        ("2020-01-31", 1, "month", "2020-03-02"),
        ("2021-03-31", -1, "month", "2021-03-03"),
        ("2021-12-31", 2, "month", "2022-03-03"),
        ("2021-01-15", -1, "month", "2020-12-15"),
        ("2021-01-15", -13, "month", "2019-12-15"),
        ("2021-01-15", 24, "month", "2023-01-15"),
        ("2021-02-28", 1, "day", "2021-03-01"),
        ("2020-12-31", 366, "day", "2022-01-01"),
        ("2020-12-31", 24, "hour", "2021-01-01"),
        ("2021-03-01", -24, "hour", "2021-02-28"),
        ("2004-02", 18, "year", "2022-03-01"),
        ("2004-02-29T23:30:00-01:00", 0, "year", "2004-03-01T00:30:00.000Z"),
        ("2021-03-01T00:30:00+01:00", 1, "month", "2021-03-28T23:30:00.000Z"),
        ("2021-03-28T01:59:59+01:00", 1, "hour", "2021-03-28T01:59:59.000Z"),
        ("2021-01-31T12:34:56.789", 1, "month", "2021-03-03T12:34:56.789Z"),
    ],
)
def test_offsets_run_over_as_in_javascript(start: str, amount: int, unit: str, end: str) -> None:
    expected = end if "T" in end else f"{end}T00:00:00.000Z"
    assert str(evaluate(after(start, amount, unit), None)) == expected


def test_instants_compare_across_zones_to_the_millisecond() -> None:
    def between(name: str, left: str, right: str) -> object:
        return evaluate({name: [after(left, 0, "day"), after(right, 0, "day")]}, None)

    same = ("2021-05-04T01:00:00+02:00", "2021-05-03T23:00:00")
    later = ("2021-05-03T23:00:00.001Z", "2021-05-03T23:00:00")
    for name, at_same, at_later in (
        ("after", False, True),
        ("before", False, False),
        ("not-after", True, False),
        ("not-before", True, True),
    ):
        assert (between(name, *same), between(name, *later)) == (at_same, at_later)


# Caps


def nested(depth: int, *, inner: object = True) -> object:
    for _ in range(depth):
        inner = {"!": [inner]}
    return inner


def test_depth_is_capped_with_room_on_the_stack_to_spare() -> None:
    assert evaluate(nested(DEPTH_MAX), None) is True
    with pytest.raises(CertLogicError, match="deep"):
        evaluate(nested(DEPTH_MAX + 1), None)
    with pytest.raises(CertLogicError, match="deep"):
        evaluate(nested(200_000), None)


def test_the_deepest_expression_takes_four_frames_a_level() -> None:
    expression: object = 1
    for _ in range(DEPTH_MAX):
        expression = {"+": [expression, 0]}
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len_of_stack() + 4 * DEPTH_MAX + 40)
    try:
        assert evaluate(expression, None) == 1
    finally:
        sys.setrecursionlimit(limit)


def len_of_stack() -> int:
    frame, count = sys._getframe(), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count


def deep_list(depth: int) -> object:
    value: object = []
    for _ in range(depth):
        value = [value]
    return value


def deep_object(depth: int) -> object:
    value: object = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("build", [deep_list, deep_object])
def test_deep_data_is_handed_out_or_compared_only_within_the_cap(build: Callable[[int], object]) -> None:
    assert evaluate(var(""), build(DEPTH_MAX)) == build(DEPTH_MAX)
    for expression in (var(""), {"===": [var(""), var("")]}, {"in": [var(""), [var("")]]}):
        with pytest.raises(CertLogicError, match="deep"):
            evaluate(expression, build(100_000))


def test_steps_are_capped_exactly() -> None:
    def counting(items: int) -> object:
        return evaluate({"reduce": [var(""), 0, 0]}, [None] * items)

    # The other four: reduce, what it reduces, where it starts, and the value that is handed out.
    assert counting(STEPS_MAX - 4) == 0
    with pytest.raises(CertLogicError, match="steps"):
        counting(STEPS_MAX - 3)


MANY_KEYS = {"many": [dict.fromkeys(map(str, range(200)), 1) | {"other": {"a": 1}}] * 200}


@pytest.mark.parametrize(
    ("expression", "data"),
    [
        ({"reduce": [var(""), {"+": [var("current"), var("accumulator")]}, 0]}, [1] * 1_000_000),
        ({"reduce": [var(""), [var("accumulator"), var("accumulator")], 0]}, [1] * 100),
        ({"reduce": [var(""), {"===": [var("accumulator"), var("current")]}, 0]}, [[0] * 3_000] * 3_000),
        ({"reduce": [var(""), after("2021-01-01", 1, "day"), 0]}, [1] * 1_200),
        ({"in": [1, var("")]}, [0] * 1_000_000),
        ({"reduce": [var("many"), {"===": [var("current"), var("current.other")]}, 0]}, MANY_KEYS),
        ({"extractFromUVCI": [var(""), 0]}, ":" * 1_000_000),
        (var("a" + ".a" * STEPS_MAX), {}),
        (var(""), [0] * 1_000_000),
        ([0] * 1_000_000, None),
        ({"and": [1] * 1_000_000}, None),
    ],
    ids=["sum", "doubling", "comparing", "dates", "in", "keys", "cutting", "path", "value", "array", "and"],
)
def test_no_expression_runs_away(expression: object, data: object) -> None:
    with pytest.raises(CertLogicError):
        evaluate(expression, data)


def test_doubling_sums_stay_small() -> None:
    step = {"+": [var("accumulator"), var("accumulator")]}
    assert evaluate({"reduce": [var(""), step, 1]}, [0] * 52) == 2**52
    with pytest.raises(CertLogicError, match="larger"):
        evaluate({"reduce": [var(""), step, 1]}, [0] * 53)


OPERATIONS = {"var", "if", "and", "!", "===", "in", "+", "<", ">", "<=", ">=", "reduce", "plusTime", "or"}
OPERATIONS |= {"before", "after", "not-after", "not-before", "dccDateOfBirth", "extractFromUVCI"}
WORDS = ["2021-06-01", "2021-06", "2021-06-01T10:00:00+02", "day", "year", "a", "0", "a.0", "current"]
KEYS = st.sampled_from(["a", "0", "b"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=15,
)
EXPRESSION = st.recursive(
    JSON | st.builds(var, st.sampled_from(["", "a", "a.0", "current", "accumulator"])),
    lambda inner: (
        st.dictionaries(
            st.sampled_from(sorted(OPERATIONS)),
            st.lists(inner, min_size=1, max_size=4),
            min_size=1,
            max_size=1,
        )
        | st.lists(inner, max_size=3)
        | st.builds(after, inner, st.integers(), st.sampled_from(["year", "month", "day", "hour"]))
    ),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(EXPRESSION, JSON)
@example({"plusTime": ["2021-06-01", 10**5000, "day"]}, None)
@example({"+": [10**5000, 10**5000]}, None)
@example({"10" * 3000: [10**5000]}, None)
def test_any_json_gives_a_value_or_the_one_error(expression: object, data: object) -> None:
    try:
        first = evaluate(expression, data)
    except CertLogicError as fault:
        assert len(str(fault)) < 200
        return
    assert repr(evaluate(expression, data)) == repr(first), "the same again"
