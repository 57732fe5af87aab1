"""Questions as they are signed, answers as strangers might write them."""

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.core.codes.model import LabTest, Status, Travel
from gate.core.codes.service import Outcome, ServiceAnswer
from gate.core.documents import Residents
from gate.demo.health_service import ANSWER, QUESTION
from gate.services.messages import question, read_answer
from gate.services.settings import LabTestForm

KEY = b"k" * 16


def read(document: Any, **form: Any) -> ServiceAnswer:
    return read_answer(replace(ANSWER, **form), json.dumps(document).encode(), KEY)


def an_answer(**data: Any) -> dict[str, Any]:
    return {"code": 200, "data": {"level": "00", **data}}


def test_a_question_has_all_fields_and_a_signature_over_them_in_order() -> None:
    body = question(QUESTION, b"key", token="t&x=1", request_id="r", unix_ms=5)
    document = json.loads(body)
    text = "appKey=demo-gate&bizData.qrCode=t&x=1&deviceId=north-1&requestId=r&timestamp=5&version=1.0"
    assert document == {
        "appKey": "demo-gate",
        "bizData": {"qrCode": "t&x=1"},
        "deviceId": "north-1",
        "requestId": "r",
        "timestamp": 5,
        "version": "1.0",
        "sign": hmac.new(b"key", text.encode(), hashlib.sha256).hexdigest(),
    }


def test_the_configured_order_is_what_is_signed() -> None:
    reverse = replace(QUESTION, signed=QUESTION.signed[::-1])
    both = [question(form, b"key", token="t", request_id="r", unix_ms=5) for form in (QUESTION, reverse)]
    assert json.loads(both[0])["sign"] != json.loads(both[1])["sign"]


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("11", "'11'"),
        (0, "'0'"),
        (True, "'true'"),
        (None, "what is missing there"),
        ([], "what is missing there"),
        (1.0, "what is missing there"),
        ("11010119900101", "the value there"),
        ("张三", "the value there"),
        ("green", "the value there"),
        ("", "the value there"),
    ],
)
def test_only_a_listed_value_is_a_colour_and_persons_are_not_shown(level: object, shown: str) -> None:
    answer = read(an_answer(level=level))
    assert answer.status is Status.UNKNOWN
    assert answer.problems == (f"data.level: {shown} has no word",)


def test_texts_and_numbers_are_looked_up_alike() -> None:
    words = {"0": Status.RED, "1": Status.GREEN, "true": Status.YELLOW}
    given_and_read = [(1, Status.GREEN), ("1", Status.GREEN), (0, Status.RED), (True, Status.YELLOW)]
    for level, status in given_and_read:
        assert read(an_answer(level=level), status_words=words).status is status


def test_an_outcome_without_a_word_is_an_error_and_states_nothing() -> None:
    answer = read({"code": 201, "data": {"level": "00"}})
    assert answer == ServiceAnswer(Outcome.ERROR, problems=("code: '201' has no word",))


@pytest.mark.parametrize("trip", [None, "absent"])
def test_a_missing_travel_status_is_unknown_without_a_problem(trip: str | None) -> None:
    answer = read(an_answer() if trip else an_answer(trip=None))
    assert (answer.travel, answer.problems) == (Travel.UNKNOWN, ())


@pytest.mark.parametrize("person", [None, "", [], {}, 1.5])
def test_no_person_no_pseudonym(person: object) -> None:
    assert read(an_answer(idcardNo=person)).subject_ref is None
    assert read(an_answer(idcardNo="1"), subject=None).subject_ref is None


def test_a_pseudonym_has_the_digits_that_documents_ask_for() -> None:
    """So that whom a service has named is found in the lists of residents and of appointments."""
    subject = read(an_answer(idcardNo="1")).subject_ref
    assert subject is not None
    assert Residents(frozenset({subject})).subjects == {subject}


def test_a_lone_surrogate_is_a_person_too() -> None:
    body = b'{"code": 200, "data": {"level": "00", "idcardNo": "\\ud800"}}'
    assert read_answer(ANSWER, body, KEY).subject_ref is not None


@pytest.mark.parametrize(
    ("form", "value", "taken_s"),
    [
        ("text", "2022-04-14 08:00:00", 1_649_894_400),
        ("text", "2022-04-14T00:00:00Z", 1_649_894_400),
        ("text", "2022-04-14T02:00:00.5+02:00", 1_649_894_400),
        ("unix_s", 1_649_894_400, 1_649_894_400),
        ("unix_s", "1649894400", 1_649_894_400),
        ("unix_ms", 1_649_894_400_999, 1_649_894_400),
        ("unix_s", 2**32 - 1, 2**32 - 1),
    ],
)
def test_the_time_of_a_test_is_read_in_its_form(form: Any, value: object, taken_s: int) -> None:
    lab_test = LabTestForm("data.t", "data.r", {"0": "negative", "1": "positive"}, form)
    for result, negative in ((0, True), ("1", False)):
        answer = read(an_answer(t=value, r=result), test=lab_test)
        assert answer.test == LabTest(taken_s, negative=negative)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("text", "yesterday"),
        ("text", 1_649_894_400),
        ("text", "0001-01-01 00:00:00"),
        ("text", "9999-12-31T23:59:59-23:59"),
        ("text", {}),
        ("unix_s", "1.5"),
        ("unix_s", True),
        ("unix_s", 0),
        ("unix_s", -1),
        ("unix_s", 2**32),
        ("unix_ms", 1e12),
    ],
)
def test_a_test_at_no_possible_time_is_none_and_reported(form: Any, value: object) -> None:
    lab_test = LabTestForm("data.t", "data.r", {"0": "negative"}, form)
    answer = read(an_answer(t=value, r=0), test=lab_test)
    assert answer.test is None
    assert answer.problems == (f"data.t: no time of the form {form}",)


def test_a_result_without_a_word_is_no_test() -> None:
    answer = read(an_answer(nat={"time": "2022-04-14 08:00:00", "result": 3}))
    assert (answer.test, answer.problems) == (None, ("data.nat.result: '3' has no word",))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe{\x00}\x00",
        b'{"code": NaN}',
        b'{"code": Infinity}',
        b'{"code": 200, "code": 200}',
        b'{"code": ' + b"9" * 5000 + b"}",
        b'{"code": 200} {}',
        b'{"data": ' + b"[" * 16 + b"]" * 16 + b"}",
        b'{"a": "\\"[", "b": ' + b"[" * 60_000,
        b"[" * 65_536,
        b'"' + b"\\" * 65_535,
    ],
)
def test_what_is_no_plain_object_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_answer(ANSWER, body, KEY)


def test_depth_is_counted_outside_of_texts_only() -> None:
    brackets = "[" * 100 + '\\"' + "{" * 100
    body = '{"code":200,"data":{"level":"00"},"note":"' + brackets + '","deep":' + "[" * 15 + "]" * 15 + "}"
    assert read_answer(ANSWER, body.encode(), KEY).status is Status.GREEN


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["code", "data", "level", "trip", "nat", "time", "result"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(documents.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=200))
def test_any_answer_is_read_or_refused(body: bytes) -> None:
    try:
        answer = read_answer(ANSWER, body, KEY)
    except ValueError:
        return
    assert answer.outcome is Outcome.ANSWERED or answer.status is Status.UNKNOWN
