"""What becomes of a code at the gate: asked of a service, rotating, handed back, used up, shown too often."""

import re
from dataclasses import replace

import pytest
from gatebox import PASSES, TOKENS, WALL_0_S, Box, do, effects_of, play, scenarios, service_answer

from gate.config import load_policy
from gate.core import actor
from gate.core.codes import LabTest
from gate.core.codes.model import Appearance
from gate.core.effects import AskService, Record
from gate.core.events import Kind
from gate.core.evidence import Direction
from gate.core.inputs import CodesRead, Started
from gate.core.uses import Use

SERVICE = {
    "green": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone |
        shows token            | ask CN-32; checking_code
        shows token            |
        wait 5                 |
        shows token            |
        service says green     | authorised; UNLOCK; pass_please
        turns                  | passed; LOCK; idle
    """,
    "green before anything else is known": """
        shows token            | welcome; measure; ask CN-32; checking_code
        service says green     |
        desk notes name, phone |
        mask on                |
        36.50                  | authorised; UNLOCK; pass_please
    """,
    "yellow": """
        arrives                | welcome; measure
        shows token            | ask CN-32; checking_code
        service says yellow    | refused TR-2:status_yellow; refused_status
    """,
    "red": """
        arrives                | welcome; measure
        shows token            | ask CN-32; checking_code
        service says red       | refused TR-2:status_red; refused_status
    """,
    "no colour is no green": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone |
        shows token            | ask CN-32; checking_code
        service says unknown   | referred TR-1:status_unknown; status_unknown
    """,
    "green, and the way is not known": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone |
        shows token            | ask CN-32; checking_code
        service says green, travel unknown | referred TR-1:travel_unknown; travel_unknown
        desk notes travel clear            | authorised; UNLOCK; pass_please
    """,
    "green, and the way led through a risk area": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows token            | ask CN-32; checking_code
        service says green, travel risk_area | test_missing
        wait 15                              | refused TR-3:test_missing; test_missing
    """,
    "not found": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone, travel clear |
        shows token            | ask CN-32; checking_code
        service not_found      | referred TR-1:not_found; code_not_found
    """,
    "expired": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone, travel clear |
        shows token            | ask CN-32; checking_code
        service expired        | refused_code_expired
        shows green            | authorised; UNLOCK; pass_please
    """,
    "too slow: a person known by name stands in, and the service works again": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone |
        shows token            | ask CN-32; checking_code
        service timeout        | health_service failed;
                               | referred TR-1:service_timeout TR-1:travel_unknown; service_unavailable
        desk notes id_number, ID checked |
        staff confirms         | authorised; UNLOCK; pass_please
        turns                  | passed; LOCK; idle
        leaves                 |
        arrives                | welcome; measure
        shows other_token      | ask CN-32; checking_code
        service says red       | health_service recovered; refused TR-2:status_red; refused_status
    """,
    "unreachable": """
        arrives                | welcome; measure
        shows token            | ask CN-32; checking_code
        service unreachable    | health_service failed
        mask on                |
        desk notes name, phone, travel clear |
        36.50                  | referred TR-1:service_error; service_unavailable
    """,
    "never answers": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone |
        shows token            | ask CN-32; checking_code
        wait 12                | referred TR-1:not_checkable TR-1:travel_unknown; code_cannot_verify
    """,
    "the visitor has gone": """
        arrives                | welcome; measure
        shows token            | ask CN-32; checking_code
        leaves                 |
        wait 1                 | undecided TR-1:not_checkable TR-1:travel_unknown CH-1:temperature_missing
                               | TR-1:mask_unknown TR-1:registration_missing; left; idle
        service says green     |
        arrives                | welcome; measure
        mask on                |
        service says red       |
        36.50                  |
    """,
    "red while the person on duty looks": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone |
        shows token            | ask CN-32; checking_code
        wait 12                | referred TR-1:not_checkable TR-1:travel_unknown; code_cannot_verify
        service says red       | refused TR-2:status_red; refused_status
        staff confirms         |
        wait 5                 | left; idle
    """,
    "no answer while the person on duty looks": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone |
        shows token            | ask CN-32; checking_code
        wait 12                | referred TR-1:not_checkable TR-1:travel_unknown; code_cannot_verify
        service timeout        | health_service failed
        staff confirms         | authorised; UNLOCK; pass_please
    """,
    "green while the person on duty looks": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone |
        shows token            | ask CN-32; checking_code
        wait 12                | referred TR-1:not_checkable TR-1:travel_unknown; code_cannot_verify
        service says green     |
        staff confirms         | authorised; UNLOCK; pass_please
    """,
    "red for whoever has just been let in: called back": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone |
        shows token            | ask CN-32; checking_code
        wait 12                | referred TR-1:not_checkable TR-1:travel_unknown; code_cannot_verify
        staff confirms         | authorised; UNLOCK; pass_please
        service says yellow    | called_back: 0a1b2c3d-000001: status_yellow; LOCK; not_passed; refused_status
        service says red       |
        wait 5                 | idle
    """,
    "called back, and pushes through": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows token            | ask CN-32; checking_code
        staff confirms         |
        wait 12                | authorised; UNLOCK; pass_please
        service says red       | called_back: 0a1b2c3d-000001: status_red; LOCK; not_passed; refused_status
        turns                  | passage forced; forced
    """,
    "green for whoever has just been let in": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows token            | ask CN-32; checking_code
        staff confirms         |
        wait 12                | authorised; UNLOCK; pass_please
        service says green     |
        turns                  | passed; LOCK; idle
    """,
    "too late for whoever has gone in": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows token            | ask CN-32; checking_code
        staff confirms         |
        wait 12                | authorised; UNLOCK; pass_please
        turns                  | passed; LOCK; idle
        service says red       |
    """,
    "red during the farewell": """
        arrives                | welcome; measure
        shows token            | ask CN-32; checking_code
        staff refuses          | refused CH-6:refused_by_attendant; refused_by_attendant
        service says red       |
        wait 5                 | left; idle
    """,
    "vouched for while the answer is awaited: it may be red": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows token            | ask CN-32; checking_code
        staff confirms         |
        service says red       | refused TR-2:status_red; refused_status
    """,
    "vouched for, and the service is too slow": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows token            | ask CN-32; checking_code
        staff confirms         |
        service timeout        | health_service failed; authorised; UNLOCK; pass_please
    """,
    "vouched for, and it never answers": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows token            | ask CN-32; checking_code
        staff confirms         |
        wait 11.9              |
        wait 0.1               | authorised; UNLOCK; pass_please
    """,
    "another code has taken the place of the token": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows token            | ask CN-32; checking_code
        shows expired          | refused_code_expired
        service says red       | refused TR-2:status_red; refused_status
        shows green            |
    """,
    "a good pass has taken the place of the token: nobody is let in before the answer": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows token            | ask CN-32; checking_code
        shows green            |
        service says red       | refused TR-2:status_red; refused_status
    """,
    "and with a green answer somebody is": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows token            | ask CN-32; checking_code
        shows green            |
        service says green     | authorised; UNLOCK; pass_please
    """,
    "and at the end of the time, without one": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows token            | ask CN-32; checking_code
        wait 5                 |
        shows green            |
        wait 6.9               |
        wait 0.1               | authorised; UNLOCK; pass_please
        service says red       | called_back: 0a1b2c3d-000001: status_red; LOCK; not_passed; refused_status
    """,
    "of two tokens one has been answered": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone |
        shows other_token      | ask CN-32; checking_code
        shows token            | ask CN-32; checking_code
        service says green     |
        wait 12                | authorised; UNLOCK; pass_please
    """,
    "what the service says wrongly is told once": """
        arrives                | welcome; measure
        shows token            | ask CN-32; checking_code
        service error, complaining of no field named colour  | health_service: no field named colour;
                                                             | health_service failed
        leaves                 |
        wait 1                 | undecided TR-1:service_error TR-1:travel_unknown CH-1:temperature_missing
                               | TR-1:mask_unknown TR-1:registration_missing; left; idle
        service error, complaining of no field named colour  |
        service error, complaining of a page instead of JSON | health_service: a page instead of JSON
    """,
    "a region that nobody can be asked about": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone, travel clear |
        shows unserved_token   |
        wait 12                | referred TR-1:not_checkable; code_cannot_verify
        staff confirms         | authorised; UNLOCK; pass_please
    """,
    "a token with a time on it": """
        wait 300               |
        arrives                | welcome; measure
        shows dated_token      | ask CN-31; checking_code
    """,
    "yesterday's picture of one is not even asked about": """
        wait 300.001           |
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone, travel clear |
        shows dated_token      | refused_code_expired
    """,
    "a picture of unknown age: green is for the person on duty": """
        clock unsure           |
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes name, phone, travel clear |
        shows dated_token      | ask CN-31; checking_code; referred TR-1:clock_untrusted; clock_untrusted
        service says green     |
        staff confirms         | authorised; UNLOCK; pass_please
    """,
    "a picture of unknown age: green alone lets nobody in": """
        clock unsure           |
        arrives                | welcome; measure
        mask on                |
        desk notes name, phone, travel clear |
        shows dated_token      | ask CN-31; checking_code
        service says green     |
        36.50                  | referred TR-1:clock_untrusted; clock_untrusted
    """,
    "a picture of unknown age: red is red": """
        clock unsure           |
        arrives                | welcome; measure
        shows dated_token      | ask CN-31; checking_code
        service says red       | refused TR-2:status_red; refused_status
    """,
    "two tokens in view are not asked about": """
        arrives                      | welcome; measure
        shows token and other_token  | one_code_only
    """,
}


@scenarios(SERVICE)
def test_verify_service(scenario: str) -> None:
    play(scenario)


def test_the_service_is_asked_about_a_visit_and_the_whole_token() -> None:
    box = play("shows token | welcome; measure; ask CN-32; checking_code")
    assert effects_of(box, AskService) == [AskService("0a1b2c3d-000001", TOKENS["token"], "CN-32")]


def test_a_gate_without_services_asks_nobody() -> None:
    play("shows token | welcome; measure", Box(services=frozenset()))


def test_the_real_name_stands_on_the_record() -> None:
    box = Box()
    comes = ("arrives", "mask on", "36.50", "desk notes phone", "shows token", "service timeout")
    do(box, *comes, "desk notes name, id_number", "staff confirms", "turns", "leaves")
    assert "code_by_real_name" in {found["reason"] for found in box.decided["findings"]}
    do(box, *comes, "desk notes name", "staff confirms")
    assert "code_by_attendant" in {found["reason"] for found in box.decided["findings"]}


def test_an_answer_counts_for_its_own_visit() -> None:
    box = Box()
    do(box, "arrives", "shows token", "leaves", "wait 5", "arrives", "shows token")
    assert len(box.questions) == 2
    assert box.say(service_answer("red"), box.questions[0]) == []
    assert box.say(service_answer("red"))[0] == "refused TR-2:status_red"


def test_an_answer_counts_for_its_own_token() -> None:
    box = Box()
    do(box, "arrives", "mask on", "36.50", "desk notes name, phone", "shows token", "shows other_token")
    assert box.say(service_answer("green"), box.questions[0]) == []
    assert box.say(service_answer("red"), box.questions[1]) == ["refused TR-2:status_red", "refused_status"]


def test_a_red_token_is_refused_whichever_token_is_held_up_by_now() -> None:
    box = Box()
    do(box, "arrives", "shows token", "shows other_token")
    assert box.say(service_answer("red"), box.questions[0]) == ["refused TR-2:status_red", "refused_status"]
    assert box.decided["evidence"]["code"]["status"] == "red"


def test_who_is_called_back_has_not_passed_and_the_record_says_why() -> None:
    box = play(SERVICE["red for whoever has just been let in: called back"])
    assert [data["result"] for data in box.data(Kind.VISIT_CLOSED)] == ["not_passed"]
    assert [event.abnormal for event in box.recorded if event.kind is Kind.ANOMALY] == [True]


@pytest.mark.parametrize("order", ["note first", "answer first"])
@pytest.mark.parametrize("age_h", [1, 100])
def test_a_positive_test_counts_beside_a_negative_note(order: str, age_h: int) -> None:
    box = Box()
    do(box, "arrives", "36.50", "shows token")
    test = LabTest(WALL_0_S - age_h * 3600, negative=False)
    answer = replace(service_answer("green"), test=test)
    if order == "note first":
        do(box, "desk notes name, phone, test negative 2 h old")
        box.say(answer)
    else:
        box.say(answer)
        do(box, "desk notes name, phone, test negative 2 h old")
    assert (box.decided["stage"], box.reasons) == ("refused", {"test_positive"})
    assert box.decided["disposition"] == "isolate_and_call_120"


def test_a_positive_note_counts_beside_a_negative_test() -> None:
    box = Box()
    do(box, "arrives", "36.50", "shows token", "desk notes test positive 100 h old")
    box.say(replace(service_answer("green"), test=LabTest(WALL_0_S - 3600, negative=True)))
    assert box.reasons == {"test_positive"}


def test_a_token_without_a_name_is_counted_by_itself() -> None:
    box = Box()
    comes = ("arrives", "mask on", "36.50", "desk notes name, phone", "shows token")
    do(box, *comes, "service says green of nobody", "turns", "leaves", "wait 10")
    do(box, *comes, "service says green of nobody")
    assert "replay" in box.reasons
    do(box, "staff refuses", "leaves", "wait 10", *comes[:-1], "shows other_token")
    do(box, "service says green of nobody")
    assert box.decided["stage"] == "authorised"
    assert re.fullmatch("CN-32/[0-9a-f]{16}", box.uses()[0].key)


def test_a_token_is_asked_about_once_in_a_visit_whatever_is_shown_between() -> None:
    box = Box()
    do(box, "arrives", "shows token", "shows foreign", "shows token", "shows foreign", "shows token")
    assert len(box.questions) == 1


def test_the_problems_that_are_told_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor, "PROBLEMS_TOLD_MAX", 1)
    box = Box()
    do(box, "shows token", "service error, complaining of one", "service error, complaining of two")
    assert [word for word in box.performed if word.startswith("health_service:")] == ["health_service: one"]


# --- handed back over the arm

THROUGH = """
    arrives      | welcome; measure
    mask on      |
    36.50        |
    shows green  | authorised; UNLOCK; pass_please
    turns        | passed; LOCK; idle
    leaves       |
"""
PASSBACK = {
    "within a minute somebody else must have it": """
        wait 59.9      |
        arrives        | welcome; measure
        mask on        |
        36.50          |
        desk notes name, phone, travel clear |
        shows green    | referred TR-1:replay; replay
        staff confirms | authorised; UNLOCK; pass_please
    """,
    "and nobody comes to vouch": """
        wait 10        |
        arrives        | welcome; measure
        mask on        |
        36.50          |
        desk notes name, phone, travel clear |
        shows green    | referred TR-1:replay; replay
        staff refuses  | refused CH-6:refused_by_attendant; refused_by_attendant
    """,
    "after a minute it counts again": """
        wait 60        |
        arrives        | welcome; measure
        mask on        |
        36.50          |
        shows green    | authorised; UNLOCK; pass_please
    """,
    "another pass of the same person is another pass": """
        wait 10        |
        arrives        | welcome; measure
        mask on        |
        36.50          |
        shows renewed  | authorised; UNLOCK; pass_please
    """,
    "a clock that is set back proves nothing": """
        wait 10           |
        clock moves -3600 |
        arrives           | welcome; measure
        mask on           |
        36.50             |
        shows green       | authorised; UNLOCK; pass_please
    """,
}


@scenarios(PASSBACK)
def test_passback(scenario: str) -> None:
    play(scenario, play(THROUGH))


def test_who_did_not_walk_through_may_show_the_pass_again() -> None:
    box = Box()
    comes = ("arrives", "mask on", "36.50", "shows green")
    do(box, *comes, "wait 6", "leaves", "wait 9", *comes)
    assert box.performed.count("UNLOCK") == 2


def test_an_appointment_is_handed_back_no_more_than_any_other_pass() -> None:
    box = Box()
    box.wait(600)
    comes = ("arrives", "mask on", "36.50", "shows slot", "turns", "leaves", "wait 10")
    do(box, *comes, *comes)
    assert box.performed.count("UNLOCK") == 1


def test_staff_who_come_back_at_once_are_still_staff() -> None:
    box = Box("township-hall")
    comes = ("arrives", "mask on", "36.50", "shows staff")
    do(box, *comes, "turns", "leaves", "wait 30", *comes)
    assert box.decided["stage"] == "referred"


def used(seconds_ago: int, *, issuer: str = "county", direction: Direction = Direction.IN) -> Use:
    """Say that the pass "green" was used."""
    return Use(f"{issuer}/00000101", direction, (WALL_0_S - seconds_ago) * 1000)


@pytest.mark.parametrize(
    ("use", "stage"),
    [
        (used(59), "referred"),
        (used(60), "authorised"),
        (used(10, direction=Direction.OUT), "authorised"),
        (used(10, issuer="office"), "authorised"),
    ],
)
def test_uses_on_record_count_after_a_restart(use: Use, stage: str) -> None:
    box = Box()
    box.feed(Started("1.0", (), (use,)))
    do(box, "arrives", "mask on", "36.50", "shows green")
    assert box.decided["stage"] == stage


def test_a_restart_remembers_how_often_a_household_pass_was_used() -> None:
    first = Box("sealed-area", direction=Direction.OUT)
    comes = ("arrives", "shows household", "mask on", "turns", "leaves", "wait 60")
    do(first, *comes)
    second = Box("sealed-area", direction=Direction.OUT)
    second.feed(Started("1.0", (), tuple(first.uses_recorded)))
    second.wait(60)
    do(second, *comes, "arrives", "shows household")
    assert second.reasons == {"pass_used_up"}
    assert [use.count for use in (*first.uses_recorded, *second.uses_recorded)] == [1, 2]


GREEN_USE = Use("county/00000101", Direction.IN, WALL_0_S * 1000, WALL_0_S + 86_400)
GREEN_UNUSED = replace(GREEN_USE, at_ms=0, count=0)
COMES = ("arrives", "mask on", "36.50", "shows green")


def uses_in_records(box: Box) -> list[tuple[str, Use | None]]:
    """Name what was recorded of visits, and the use that each record carried."""
    records = [effect for effect in effects_of(box, Record) if isinstance(effect, Record)]
    visits = [record for record in records if "visit" in record.event.data]
    return [(str(record.event.data.get("result", "decided")), record.use) for record in visits]


def test_the_use_is_recorded_with_the_authorisation_and_with_nothing_else() -> None:
    box = play(THROUGH)
    assert uses_in_records(box) == [("decided", GREEN_USE), ("passed", None)]


GIVEN_BACK = {
    "does not pass": ("wait 6",),
    "is called back by the person on duty": ("staff refuses",),
    "interrupted by a fire": ("fire",),
    "interrupted by the end": ("stops",),
}


@pytest.mark.parametrize("steps", GIVEN_BACK.values(), ids=GIVEN_BACK.keys())
def test_a_use_is_given_back_with_the_record_that_nobody_passed(steps: tuple[str, ...]) -> None:
    box = Box()
    do(box, *COMES, *steps)
    result = "not_passed" if steps[0] in {"wait 6", "staff refuses"} else "interrupted"
    assert uses_in_records(box) == [("decided", GREEN_USE), (result, GREEN_UNUSED)]
    assert box.uses() == (GREEN_UNUSED,)


def test_what_is_given_back_is_the_use_before() -> None:
    box = Box()
    do(box, *COMES, "turns", "leaves", "wait 100", *COMES, "wait 6")
    assert [use.count for use in box.uses_recorded] == [1, 2, 1]
    assert box.uses() == (GREEN_USE,)


def test_who_is_referred_or_refused_uses_nothing() -> None:
    box = Box()
    do(box, *COMES[:-2], "shows green", "wait 12", "wait 200", "arrives", "shows red", "wait 10")
    assert [data["stage"] for data in box.data(Kind.VISIT_DECIDED)] == ["referred", "refused"]
    assert box.uses_recorded == []


def restarted(box: Box) -> Box:
    """Start again with what the ledger holds, as after a power cut."""
    second = Box(box.policy)
    second.now = box.now
    second.feed(Started("1.0", ("0a1b2c3d-000001",), box.uses()))
    return second


def test_after_a_kill_between_authorisation_and_passage_the_pass_is_used() -> None:
    first = Box()
    do(first, *COMES)
    second = restarted(first)
    do(second, "arrives", "mask on", "36.50", "desk notes name, phone, travel clear", "shows green")
    assert second.reasons == {"replay"}


def test_after_a_kill_behind_the_giving_back_it_is_not() -> None:
    first = Box()
    do(first, *COMES, "wait 6")
    second = restarted(first)
    do(second, *COMES)
    assert second.decided["stage"] == "authorised"
    assert [use.count for use in second.uses_recorded] == [1]


TWICE = ("arrives", "mask on", "36.50", "desk notes name, phone, travel clear", "shows twice")


def test_a_pass_for_two_times_is_used_two_times() -> None:
    box = Box()
    for _ in range(2):
        do(box, *TWICE, "turns", "leaves", "wait 100")
    do(box, *TWICE)
    assert (box.decided["stage"], box.reasons) == ("referred", {"replay"})
    assert [use.count for use in box.uses_recorded] == [1, 2]


def test_a_time_that_nobody_passed_is_none_of_the_two() -> None:
    box = Box()
    for end in ("turns", "wait 6", "turns"):
        do(box, *TWICE, end, "leaves", "wait 100")
    assert box.performed.count("passed") == 2
    do(box, *TWICE)
    assert box.reasons == {"replay"}


def test_a_pass_for_two_times_that_a_restart_knows_is_used_up() -> None:
    first = Box()
    for _ in range(2):
        do(first, *TWICE, "turns", "leaves", "wait 100")
    second = restarted(first)
    do(second, *TWICE)
    assert second.reasons == {"replay"}


def test_who_shows_no_pass_uses_none() -> None:
    box = Box()
    do(box, "arrives", "mask on", "36.50", "staff confirms", "turns")
    do(box, "leaves", "arrives", "mask on", "36.50", "shows foreign", "staff confirms", "turns")
    assert box.performed.count("passed") == 2
    assert box.uses_recorded == []


def test_a_passage_whose_record_fails_was_a_use_all_the_same() -> None:
    box = Box()
    do(box, *COMES, "disk fills up", "turns", "wait 30")
    assert box.uses_recorded == [GREEN_USE]
    do(box, "disk has room", "wait 10")
    assert "late passed" in box.performed
    assert box.uses_recorded == [GREEN_USE]
    do(box, "leaves", *COMES)
    assert "replay" in box.reasons


def test_a_use_given_back_while_the_ledger_fails_is_given_back_later() -> None:
    box = Box()
    do(box, *COMES, "disk fills up", "wait 20", "disk has room", "wait 10")
    assert "late not_passed" in box.performed
    assert box.uses() == (GREEN_UNUSED,)


def test_an_authorisation_that_was_never_on_record_uses_no_pass() -> None:
    box = Box()
    do(box, "arrives", "mask on", "36.50", "disk fills up", "shows green", "disk has room", "wait 20")
    assert [use.count for use in box.uses_recorded] == [0]
    do(box, "leaves", "wait 5", *COMES)
    assert box.decided["stage"] == "authorised"


def test_a_late_record_carries_what_is_known_by_then() -> None:
    box = Box(replace(load_policy("county-hall"), on_ledger_failure="open"))
    do(box, "disk fills up", *COMES, "turns", "leaves", "wait 100", *COMES, "turns", "leaves")
    do(box, "disk has room", "wait 200")
    assert [use.count for use in box.uses_recorded] == [2, 2]


def test_with_a_failing_ledger_that_stops_nobody_a_pass_is_used_once_all_the_same() -> None:
    box = Box(replace(load_policy("county-hall"), on_ledger_failure="open"))
    comes = ("arrives", "mask on", "36.50", "shows green")
    do(box, "disk fills up", *comes, "turns", "leaves", "wait 5", *comes)
    assert box.performed.count("UNLOCK") == 1
    do(box, "disk has room", "wait 200")
    assert [use.count for use in box.uses()] == [1]


# --- passes that rotate

ROTATING = {
    "shown now": """
        arrives                      | welcome; measure
        mask on                      |
        36.50                        |
        holds up bound               | authorised; UNLOCK; pass_please
        turns                        | passed; LOCK; idle
    """,
    "the next step in the same visit keeps it fresh": """
        arrives                      | welcome; measure
        holds up bound               |
        wait 8                       |
        36.50                        |
        mask off                     | mask_please
        wait 3                       |
        holds up bound               |
        wait 10                      |
        mask on                      | authorised; UNLOCK; pass_please
    """,
    "which it needs": """
        arrives                      | welcome; measure
        holds up bound               |
        wait 8                       |
        36.50                        |
        mask off                     | mask_please
        wait 13                      |
        mask on                      |
        holds up bound               | authorised; UNLOCK; pass_please
    """,
    "a picture taken a minute ago, then the phone itself": """
        arrives                      | welcome; measure
        mask on                      |
        36.50                        |
        holds up bound of 60 s ago   | refused_code_expired
        holds up bound               | authorised; UNLOCK; pass_please
    """,
    "a phone that is half a minute off": """
        arrives                      | welcome; measure
        mask on                      |
        36.50                        |
        holds up bound of -30 s ago  | authorised; UNLOCK; pass_please
    """,
    "the next step, while its owner walks through, is nobody": """
        arrives                      | welcome; measure
        mask on                      |
        36.50                        |
        wait 8                       |
        holds up bound               | authorised; UNLOCK; pass_please
        turns                        | passed; LOCK; idle
        wait 2.9                     |
        holds up bound               |
    """,
    "nor is it the next person": """
        arrives                      | welcome; measure
        mask on                      |
        36.50                        |
        wait 8                       |
        holds up bound               | authorised; UNLOCK; pass_please
        leaves                       |
        arrives                      |
        turns                        | passed; LOCK; welcome; measure
        wait 2.9                     |
        mask on                      |
        36.50                        |
        holds up bound               |
        shows friend                 | authorised; UNLOCK; pass_please
    """,
    "somebody else's phone at that moment is somebody": """
        arrives                      | welcome; measure
        mask on                      |
        36.50                        |
        holds up bound               | authorised; UNLOCK; pass_please
        turns                        | passed; LOCK; idle
        holds up bound_staff         | welcome; measure
    """,
    "and beside another code too": """
        arrives                      | welcome; measure
        mask on                      |
        36.50                        |
        holds up bound               | authorised; UNLOCK; pass_please
        turns                        | passed; LOCK; idle
        shows green and friend       | welcome; measure; one_code_only
    """,
}


@scenarios(ROTATING)
def test_rotating(scenario: str) -> None:
    play(scenario)


def test_a_step_counts_once_however_late() -> None:
    timing = replace(load_policy("county-hall").timing, passback_s=1)
    box = Box(replace(load_policy("county-hall"), timing=timing))
    comes = ("arrives", "mask on", "36.50", "desk notes name, phone, travel clear")
    do(box, *comes, "holds up bound", "turns", "leaves", "wait 25", *comes, "holds up bound of 25 s ago")
    assert box.reasons == {"replay"}
    do(box, "staff refuses", "leaves", "wait 6", *comes, "holds up bound")
    assert box.decided["stage"] == "authorised"


def test_a_use_on_record_holds_its_step() -> None:
    box = Box()
    step = WALL_0_S // 30
    use = Use("county/00001101", Direction.IN, (WALL_0_S - 61) * 1000, WALL_0_S + 86_400, step)
    box.feed(Started("1.0", (), (use,)))
    comes = ("arrives", "mask on", "36.50", "desk notes name, phone, travel clear")
    do(box, *comes, "holds up bound")
    assert box.reasons == {"replay"}
    box = Box()
    box.feed(Started("1.0", (), (replace(use, step=step - 1),)))
    do(box, *comes, "holds up bound")
    assert box.decided["stage"] == "authorised"


def test_the_step_that_was_used_is_on_record() -> None:
    box = play(ROTATING["shown now"])
    assert [use.step for use in box.uses_recorded] == [WALL_0_S // 30]
    assert box.decided["evidence"]["code"]["step"] == WALL_0_S // 30


def test_a_copy_of_a_bound_pass_is_worth_nothing() -> None:
    box = Box()
    do(box, "arrives", "mask on", "36.50", "desk notes name, phone, travel clear", "shows copy")
    assert box.decided["stage"] != "authorised"
    assert box.reasons == {"replay"}


def test_a_phone_that_stays_before_the_camera_is_nobody_however_often_it_turns() -> None:
    box = Box()
    do(box, "arrives", "mask on", "36.50", "holds up bound", "turns")
    visits = box.requests.copy()
    for _ in range(50):
        do(box, "wait 0.9", "holds up bound")
    assert box.requests == visits


def test_of_two_phones_the_first_stays() -> None:
    box = Box()
    do(box, "arrives", "holds up bound", "holds up bound_staff", "mask on", "36.50")
    assert box.performed[-1] == "one_code_only"
    assert do(box, "holds up bound") == ["authorised", "UNLOCK", "pass_please"]


# --- too many codes


def test_the_twenty_first_code_of_a_visit_is_not_looked_at() -> None:
    box = Box()
    do(box, "arrives", "mask on", "36.50", "desk notes name, phone, travel clear")
    for number in range(actor.CODES_MAX):
        assert box.feed(CodesRead((b"https://health.example/%d" % number,))) == []
    assert do(box, "shows green") == ["referred TR-1:rate_limited", "rate_limited"]
    assert do(box, "staff confirms") == ["authorised", "UNLOCK", "pass_please"]


def test_the_twentieth_is() -> None:
    box = Box()
    do(box, "arrives", "mask on", "36.50")
    for number in range(actor.CODES_MAX - 1):
        box.feed(CodesRead((b"https://health.example/%d" % number,)))
    assert do(box, "shows green") == ["authorised", "UNLOCK", "pass_please"]


def test_the_next_visitor_is_not_counted_with_the_last() -> None:
    box = Box()
    do(box, "arrives")
    for number in range(actor.CODES_MAX):
        box.feed(CodesRead((b"https://health.example/%d" % number,)))
    do(box, "leaves", "wait 5", "arrives", "mask on", "36.50")
    assert do(box, "shows green") == ["authorised", "UNLOCK", "pass_please"]


def test_twenty_different_codes_are_not_two_that_take_turns() -> None:
    box = Box()
    do(box, "arrives", "mask on", "36.50")
    for _ in range(actor.CODES_MAX):
        do(box, "shows foreign", "shows noise")
    assert do(box, "shows green") == ["authorised", "UNLOCK", "pass_please"]


@pytest.mark.parametrize("seen", [Appearance.RED, Appearance.GREEN, Appearance.NONE])
def test_the_colour_of_a_picture_is_recorded_and_counts_for_nothing(seen: Appearance) -> None:
    box = play("""
        arrives | welcome; measure
        mask on |
        36.50   |
    """)
    box.brain.step(CodesRead((PASSES["green"],), appearance=seen), box.now)
    assert box.decided["stage"] == "authorised"
    said = box.decided["evidence"]["code"].get("appearance")
    assert said == (None if seen is Appearance.NONE else seen)
