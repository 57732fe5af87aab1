"""Which of a gate's records is the answer to a command, in whatever order and state they are here."""

import json
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.orders.answers import Answer, Body, Reply, answer, replies
from gate.core.commands import Name
from gate.core.events import Outcome

DONE, REFUSED, FAILED = Outcome.DONE, Outcome.REFUSED, Outcome.FAILED


def body(kind: str, data: Any, *, seq: int = 1, linked: bool = True, proved: bool = True) -> Body:
    return Body("e1", seq, kind, json.dumps({"data": data}).encode(), linked, proved)


def said(
    outcome: Outcome | None, reason: str = "", *, seq: int = 1, linked: bool = True, proved: bool = True
) -> Reply:
    return Reply("c1", "e1", seq, outcome, reason, linked, proved)


def of(*replies: Reply, name: Name = Name.SUSPEND) -> Answer | None:
    return answer(name, replies)


def test_a_command_record_is_a_reply() -> None:
    data = {"id": "c1", "command": "suspend", "counter": 7, "outcome": "failed", "reason": "busy"}
    assert list(replies([body("command", data)])) == [said(FAILED, "busy")]
    assert list(replies([body("command", {**data, "outcome": "done", "reason": ""})])) == [said(DONE)]


def test_what_becomes_of_a_policy_is_a_reply() -> None:
    adopted = body("policy.adopted", {"policy": "hall", "policy_hash": "x", "command": "c1"})
    rejected = body("anomaly", {"what": "policy_rejected", "detail": "c1: no rule: at all"})
    other = body("anomaly", {"what": "records_lost", "detail": "c1: 3"})
    assert list(replies([adopted, rejected, other])) == [said(None), said(None, "no rule: at all")]


@pytest.mark.parametrize("kind", ["command", "policy.adopted", "anomaly", "visit.decided", ""])
@given(
    data=st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(["id", "outcome", "reason", "command", "what", "detail"]), inner
        ),
    )
)
def test_no_record_upsets_it(kind: str, data: Any) -> None:
    for reply in replies([body(kind, data), Body("e1", 1, kind, b"\xff{", True, True)]):
        assert isinstance(reply.id, str)


def test_a_message_that_nobody_known_has_signed_answers_nothing() -> None:
    data = {"id": None, "command": None, "counter": None, "outcome": "refused", "reason": "unknown_key"}
    assert list(replies([body("command", data)])) == []


def test_the_refusal_of_a_repetition_is_not_the_answer_whichever_comes_first() -> None:
    done, again = said(DONE, seq=4), said(REFUSED, "replayed", seq=9)
    for order in permutations([done, again, said(REFUSED, "retained", seq=5)]):
        assert of(*order) == Answer(DONE, "", "e1", 4, proved=True)


@pytest.mark.parametrize(("outcome", "reason"), [(DONE, ""), (REFUSED, "replayed"), (REFUSED, "expired")])
def test_a_record_counts_when_everything_before_it_is_here(outcome: Outcome, reason: str) -> None:
    assert of(said(outcome, reason, seq=9, linked=False, proved=False)) is None
    assert of(said(outcome, reason, seq=9, proved=False)) == Answer(outcome, reason, "e1", 9, proved=False)


def test_a_better_reason_than_a_repetition_counts() -> None:
    found = of(said(REFUSED, "replayed", seq=3), said(REFUSED, "expired", seq=5))
    assert found is not None and (found.reason, found.seq) == ("expired", 5)


def test_somebody_else_who_retains_our_message_answers_nothing() -> None:
    assert of(said(REFUSED, "retained")) is None


def test_what_is_not_proved_counts_only_while_there_is_no_better() -> None:
    forged = said(DONE, seq=2, proved=False)
    assert of(forged) == Answer(DONE, "", "e1", 2, proved=False)
    found = of(forged, said(FAILED, "fault", seq=5))
    assert found == Answer(FAILED, "fault", "e1", 5, proved=True)


def test_a_policy_is_done_when_it_is_followed() -> None:
    taken, followed = said(DONE, seq=2), said(None, seq=6)
    assert of(taken, name=Name.POLICY) == Answer(DONE, "", "e1", 2, proved=True)
    assert of(taken, followed, name=Name.POLICY) == Answer(DONE, "", "e1", 2, proved=True, followed=6)
    rejected = of(taken, said(None, "no plan", seq=3), name=Name.POLICY)
    assert rejected == Answer(FAILED, "no plan", "e1", 3, proved=True)
    assert of(followed, name=Name.POLICY) is None
    refused = of(said(REFUSED, "expired"), followed, name=Name.POLICY)
    assert refused is not None and refused.outcome is REFUSED


def test_no_reply_is_no_answer() -> None:
    assert of() is None
