"""`gate judge`: evidence in JSON in, a decision in JSON out, and a clear sentence for what cannot be read."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from gate.app.judging import PROBLEM_CHARS_MAX, PROBLEMS_MAX, EvidenceError, EvidenceForm, read_evidence
from gate.cli.policies import judge
from gate.config import load_policy
from gate.core.evidence import Evidence, Person, Reading, Unmeasured
from gate.core.policy import policy_hash

IN_ORDER: dict[str, Any] = {
    "temperatures_c": [36.5],
    "health_code": "green",
    "travel_code": "clear",
    "mask": "worn",
    "registration": ["name", "phone"],
}


def run(data: bytes, *options: str, policy: str = "township-routine") -> Result:
    return CliRunner().invoke(judge, ["--policy", policy, "--evidence", "-", *options], input=data)


def test_a_decision() -> None:
    result = run(json.dumps(IN_ORDER).encode())
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "verdict": "admit",
        "disposition": "none",
        "findings": [
            {"rule": "TR-1", "verdict": "admit", "reason": "code_ok"},
            {"rule": "TR-1", "verdict": "admit", "reason": "travel_clear"},
            {"rule": "TR-2", "verdict": "admit", "reason": "temperature_normal"},
            {"rule": "TR-1", "verdict": "admit", "reason": "mask_worn"},
            {"rule": "TR-1", "verdict": "admit", "reason": "registration_complete"},
        ],
        "policy": "township-routine",
        "policy_hash": policy_hash(load_policy("township-routine")),
    }


def test_tasks_are_named_when_they_are_asked_for() -> None:
    normal, red = (
        json.dumps(IN_ORDER | change).encode() for change in ({}, {"health_code": "red", "mask": None})
    )
    for lines in ([], ["--lines"]):
        for data, tasks in ((normal, []), (red, ["TR-2"])):
            silent = json.loads(run(data, *lines).stdout)
            assert "tasks" not in silent
            assert json.loads(run(data, *lines, "--tasks").stdout) == silent | {"tasks": tasks}


def test_everything_may_be_absent_or_null() -> None:
    everything = dict.fromkeys((field.name for field in fields(EvidenceForm)), None)
    assert read_evidence({}) == read_evidence(everything) == Evidence()
    assert run(b"{}").exit_code == 0


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(IN_ORDER).encode())
    result = CliRunner().invoke(judge, ["--policy", "grid", "--evidence", str(file)])
    assert json.loads(result.stdout)["verdict"] == "admit"


def test_no_such_file_and_a_folder(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.json", "No such file"), (tmp_path, "Is a directory")):
        result = CliRunner().invoke(judge, ["--policy", "grid", "--evidence", str(path)])
        assert result.exit_code == 2
        assert said in result.stderr


def test_no_such_plan() -> None:
    result = run(b"{}", policy="gird")
    assert result.exit_code == 78
    assert "did you mean 'grid'?" in result.stderr


BAD = [
    (b"", "there is no evidence: the input is empty"),
    (b" \n ", "there is no evidence: the input is empty"),
    (b"{", "not valid JSON at line 1, column 2: Expecting property name"),
    (b"mask: worn", "not valid JSON at line 1, column 1: Expecting value"),
    (
        b"{}{}",
        "more than one JSON value, from line 1, column 3: with --lines each stands on a line of its own",
    ),
    (b"[]", "evidence is one JSON object in braces"),
    (b"null", "evidence is one JSON object in braces"),
    (b'"x"', "evidence is one JSON object in braces"),
    (b'{"mask": "\xff"}', "not UTF-8: byte 11 cannot be read"),
    (b'{"mask": "\\ud800"}', "a text holds half a character, such as \\ud800 without its other half"),
    (b'{"\\udfff": 1}', "a text holds half a character"),
    (b"[" * 100_000, "nested too deep to be evidence"),
    (b'{"mask":' + b"[" * 400 + b"]" * 400 + b"}", "nested too deep to be evidence"),
    (b'{"temperatures_c": [NaN]}', "NaN is no number in JSON; null says that there is none"),
    (b'{"temperatures_c": [-Infinity]}', "-Infinity is no number in JSON"),
    (b'{"temperatures_c": [1e400]}', "1e400 is too large a number"),
    (b'{"occupancy": ' + b"9" * 5000 + b"}", "999999999999… is too large a number"),
    (b'{"occupancy": 1000001}', "occupancy: Input should be less than or equal to 1000000"),
    (b'{"occupancy": -1}', "occupancy: Input should be greater than or equal to 0"),
    (b'{"mask": "worn", "mask": "missing"}', "'mask' is given twice"),
    (b'{"attendant": {"confirmed": true, "confirmed": true}}', "'confirmed' is given twice"),
    (b'{"masc": "worn"}', "masc: unknown key; did you mean 'mask'?"),
    (
        b'{"mask": "on"}',
        "mask: Input should be 'worn', 'missing' or 'unknown' (found 'on'; did you mean 'worn'?)",
    ),
    (b'{"temperatures_c": 37}', "temperatures_c: Input should be a valid array (found 37)"),
    (b'{"temperatures_c": ["37"]}', "temperatures_c.0: Input should be a valid number (found '37')"),
    (b'{"temperatures_c": [true]}', "temperatures_c.0: Input should be a valid number (found True)"),
    (b'{"temperatures_c": [36.5, 36.5, 36.5]}', "temperatures_c: "),
    (b'{"temperatures_c": [150.1]}', "temperatures_c.0: Input should be less than or equal to 150"),
    (b'{"temperature_error_c": -0.1}', "temperature_error_c: Input should be greater than or equal to 0"),
    (b'{"symptoms": "cough"}', "symptoms: Input should be a valid array (found 'cough')"),
    (b'{"id_checked": 1}', "id_checked: Input should be a valid boolean (found 1)"),
    (b'{"registration": ["nam"]}', "registration.0: Input should be 'name', "),
    (b'{"at": 1649642400}', "at: Input should be a valid string (found 1649642400)"),
    (b'{"at": "today"}', "at: 'today' is no instant such as 2022-04-11T10:00:00+08:00"),
    (b'{"at": "2022-02-30T10:00:00+08:00"}', "at: '2022-02-30T10:00:00+08:00' is no instant such as"),
    (b'{"at": "2022-04-11T10:00:00+25:00"}', "at: '2022-04-11T10:00:00+25:00' is no instant such as"),
    (b'{"at": "2022-04-11T10:00:00"}', "at: '2022-04-11T10:00:00' lacks its offset from UTC, such as +08:00"),
    (b'{"at": "2022-04-11"}', "at: '2022-04-11' lacks its offset from UTC"),
    (b'{"at": "' + b"2" * 41 + b'"}', "at: String should have at most 40 characters"),
    (b'{"appointment": {"until": "x"}}', "appointment.until: 'x' is no instant"),
    (b'{"appointment": {"from_": "x", "until": "x", "from": "x"}}', "appointment.from_: unknown key"),
    (b'{"appointment": {"form": "x", "until": "x"}}', "appointment.form: unknown key; did you mean 'from'?"),
    (b'{"nucleic_acid_test": {"result": "bad"}}', "nucleic_acid_test.result: Input should be 'negative'"),
    (b'{"household_pass": {"from": "x", "until": "y"}}', "household_pass.from: 'x' is no instant such as"),
    (b'{"household_pass": []}', "household_pass: Input should be an object"),
]


def said_in(case: tuple[bytes, str]) -> str:
    return case[1]


@pytest.mark.parametrize("case", BAD, ids=said_in)
def test_evidence_that_cannot_be_read(case: tuple[bytes, str]) -> None:
    data, said = case
    result = run(data)
    assert (result.exit_code, result.stdout) == (2, "")
    assert any(line.startswith(said) for line in result.stderr.splitlines()), result.stderr
    assert isinstance(result.exception, SystemExit)


def test_bad_lines_have_their_error_in_place() -> None:
    good = json.dumps(IN_ORDER).encode()
    lines = [line for data, _ in BAD if (line := data.replace(b"\n", b" ")).strip()]
    result = run(b"\n".join([good, *lines, b"", good + b"\r"]), "--lines")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert result.stderr == ""
    assert [answers[0]["verdict"], answers[-1]["verdict"]] == ["admit", "admit"]
    assert len(answers) == len(lines) + 2
    assert all(list(answer) == ["error"] for answer in answers[1:-1])
    expected = [said for data, said in BAD if data.strip()]
    for said, answer in zip(expected, answers[1:-1], strict=True):
        assert said in answer["error"]


def test_good_lines() -> None:
    result = run(b'{"mask": "missing"}\n{"attendant": {"refuses": true}}', "--lines")
    assert result.exit_code == 0
    assert [json.loads(line)["disposition"] for line in result.stdout.splitlines()] == ["wear_mask", "none"]
    nothing = run(b"", "--lines")
    assert (nothing.exit_code, nothing.output) == (0, "")


def test_every_problem_at_once_but_not_without_end() -> None:
    result = run(b'{"mask": "on", "occupancy": "1", "symptoms": ["x"]}')
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == [
        "mask",
        "symptoms.0",
        "occupancy",
    ]
    many = run(json.dumps({f"key{number}": "x" * 1000 for number in range(1000)}).encode())
    lines = many.stderr.splitlines()
    assert len(lines) == PROBLEMS_MAX + 1
    assert lines[-1] == "and 980 more"
    long = run(json.dumps({"mask": "x" * 10_000}).encode()).stderr.strip()
    assert len(long) == PROBLEM_CHARS_MAX


@pytest.mark.parametrize(
    ("celsius", "error_c", "expected"),
    [
        (37.3, 0, Reading(3730, 3730, 3730)),
        (37.29, 0, Reading(3729, 3729, 3729)),
        (37.3, 0.1, Reading(3730, 3720, 3740)),
        (37.3, 0.001, Reading(3730, 3729.9, 3730.1)),
        (37.294, 0, Reading(3729, 3729.4, 3729.4)),
        (37.001, 0, Reading(3700, 3700.1, 3700.1)),
        (37.299, 0, Reading(3730, 3729.9, 3729.9)),
        (37.505, 0, Reading(3751, 3750.5, 3750.5)),
        (37.2, 0.1, Reading(3720, 3710, 3730)),
        (37, 0, Reading(3700, 3700, 3700)),
        (34.0, 0, Reading(3400, 3400, 3400)),
        (43.0, 0, Reading(4300, 4300, 4300)),
        (33.99, 0, Unmeasured("implausible", "33.99 °C")),
        (43.01, 0, Unmeasured("implausible", "43.01 °C")),
        (None, 0, Unmeasured("not_measured")),
    ],
)
def test_hundredths_of_a_degree(
    celsius: float | None, error_c: float, expected: Reading | Unmeasured
) -> None:
    evidence = read_evidence({"temperatures_c": [celsius], "temperature_error_c": error_c})
    assert evidence.measurements == (expected,)


@pytest.mark.parametrize(
    ("policy", "celsius", "error_c", "expected"),
    [
        ("township-routine", [37.299], 0, ("admit", "none")),
        ("township-routine", [37.3], 0, ("retest", "none")),
        ("township-routine", [37.299], 0.001, ("retest", "none")),
        ("township-routine", [38, 37.2999], 0, ("admit", "none")),
        ("county-hall", [38, 37.5], 0, ("refuse", "observe_at_home")),
        ("county-hall", [38, 37.505], 0, ("refuse", "isolate_and_call_120")),
        ("county-hall", [38, 37.4], 0.1, ("refuse", "observe_at_home")),
        ("county-hall", [38, 37.4], 0.101, ("refer", "none")),
    ],
)
def test_a_limit_is_met_as_exactly_as_the_temperature_is_given(
    policy: str, celsius: list[float], error_c: float, expected: tuple[str, str]
) -> None:
    evidence = IN_ORDER | {"temperatures_c": celsius, "temperature_error_c": error_c}
    decision = json.loads(run(json.dumps(evidence).encode(), policy=policy).stdout)
    assert (decision["verdict"], decision["disposition"]) == expected


def test_instants_in_any_zone_and_year() -> None:
    for text in ("1970-01-02T00:00:00Z", "1970-01-02T08:00:00+08:00", "19700101T190000-0500"):
        assert read_evidence({"at": text}).at_s == 86_400
    for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        assert read_evidence({"at": text}).at_s is not None


words = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(Person)
)
values = st.recursive(
    words, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3)
)
keys = st.sampled_from([field.name for field in fields(EvidenceForm)])


@given(st.dictionaries(keys, values) | values)
def test_whatever_it_is_it_is_evidence_or_said_to_be_none(data: object) -> None:
    try:
        evidence = read_evidence(data)
    except EvidenceError as error:
        assert error.problems
    else:
        assert isinstance(evidence, Evidence)


@given(
    st.binary(max_size=40)
    | st.text(alphabet='{}[]":,0123456789.eE+-nulltrefas\\ ', max_size=40).map(str.encode)
)
def test_any_bytes(data: bytes) -> None:
    result = run(data)
    assert result.exit_code in {0, 2}
    assert isinstance(result.exception, SystemExit | None)
