"""How a visit ends: leaving, passing, not passing, pushing through; and who comes next."""

from gatebox import play, scenarios

from gate.core.events import Kind

LEAVING = {
    "at once, without a trace": """
        arrives      | welcome; measure
        leaves       |
        wait 0.9     |
        wait 0.1     | idle
    """,
    "measured, on record": """
        arrives      | welcome; measure
        36.50        |
        leaves       |
        wait 1       | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                     | TR-1:registration_missing; left; idle
    """,
    "before the second measurement, on record": """
        arrives      | welcome; measure
        38.00        | please_wait_retest wait_s=3
        leaves       |
        wait 1       | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                     | TR-1:registration_missing; left; idle
    """,
    "while looking for a mask": """
        arrives      | welcome; measure
        mask off     | mask_please
        36.50        |
        shows green  |
        leaves       |
        wait 1       | refused TR-1:mask_missing; left; idle
    """,
    "with only a mask seen, without a trace": """
        arrives      | welcome; measure
        mask off     | mask_please
        leaves       |
        wait 1       | idle
    """,
    "from the person on duty": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        wait 12      | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        leaves       |
        wait 1       | left; idle
    """,
    "through the arm": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        shows green  | authorised; UNLOCK; pass_please
        leaves       |
        wait 5.9     |
        turns        | passed; LOCK; idle
    """,
    "refused": """
        arrives      | welcome; measure
        shows red    | refused TR-2:status_red; refused_status
        leaves       |
        wait 1       | left; idle
    """,
}
RETURNING = {
    "back within the grace: evidence is for one person, so all is asked again": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        leaves       |
        wait 0.9     |
        arrives      | undecided TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; left;
                     | welcome; measure
        shows green  |
        36.50        |
        mask on      | authorised; UNLOCK; pass_please
    """,
    "back after it": """
        arrives      | welcome; measure
        36.50        |
        leaves       |
        wait 1       | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                     | TR-1:registration_missing; left; idle
        arrives      | welcome; measure
        mask on      |
        shows green  |
    """,
    "still there": """
        arrives      | welcome; measure
        arrives      |
    """,
}
AWAY = {
    "who has stepped away is not let in": """
        arrives      | welcome; measure
        mask on      |
        shows green  |
        leaves       |
        36.50        |
        wait 1       | undecided; left; idle
    """,
    "nor by the person on duty": """
        arrives        | welcome; measure
        mask on        |
        36.50          |
        wait 12        | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        leaves         |
        staff confirms |
        wait 1         | left; idle
    """,
    "nor does a deadline come first": """
        arrives      | welcome; measure
        36.50        |
        wait 11.5    |
        leaves       |
        wait 1       | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                     | TR-1:registration_missing; left; idle
    """,
    "a code that stays behind is nobody's": """
        arrives      | welcome; measure
        leaves       |
        shows green  |
        wait 1       | idle
        shows green  |
        arrives      | welcome; measure
        mask on      |
        36.50        |
        shows green  |
        wait 1       |
        shows green  | authorised; UNLOCK; pass_please
    """,
    "where the presence sensor has failed, a code is somebody": """
        arrives        | welcome; measure
        leaves         |
        wait 1         | idle
        presence fails | presence failed; mode degraded; idle, see staff
        shows green    | welcome; measure
    """,
}

NEXT = {
    "the next person comes during the farewell": """
        arrives      | welcome; measure
        shows red    | refused TR-2:status_red; refused_status
        leaves       |
        wait 0.5     |
        arrives      | left; welcome; measure
        mask on      |
        36.50        |
    """,
    "the refused person stays": """
        arrives      | welcome; measure
        shows red    | refused TR-2:status_red; refused_status
        arrives      |
        wait 5       | left; idle
    """,
    "the next person waits while one passes": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        shows green  | authorised; UNLOCK; pass_please
        leaves       |
        arrives      |
        turns        | passed; LOCK; welcome; measure
        mask on      |
        36.60        |
        shows friend | authorised; UNLOCK; pass_please
        turns        | passed; LOCK; idle
    """,
    "the next person waits and leaves": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        shows green  | authorised; UNLOCK; pass_please
        leaves       |
        arrives      |
        leaves       |
        turns        | passed; LOCK; idle
    """,
}
SAME_CODE = {
    "the same code within 3 s belongs to the visit that is over": """
        shows green  | welcome; measure
        mask on      |
        36.50        | authorised; UNLOCK; pass_please
        turns        | passed; LOCK; idle
        shows green  |
        wait 2.9     |
        shows green  |
        wait 0.9     |
        shows green  |
        wait 1       |
        shows green  | welcome; measure
    """,
    "and as long as it stays in view, as before a camera that stands still": """
        shows green  | welcome; measure
        mask on      |
        36.50        | authorised; UNLOCK; pass_please
        turns        | passed; LOCK; idle
        wait 2.9     |
        shows green  |
        wait 0.9     |
        shows green  |
        arrives      | welcome; measure
        wait 0.9     |
        shows green  |
    """,
    "nor does what was held up during the farewell": """
        shows red    | welcome; measure; refused TR-2:status_red; refused_status
        shows green  |
        wait 5       | left; idle
        shows green  |
        wait 3       |
        shows green  | welcome; measure
    """,
    "another code is another visitor": """
        shows green  | welcome; measure
        mask on      |
        36.50        | authorised; UNLOCK; pass_please
        turns        | passed; LOCK; idle
        shows friend | welcome; measure
    """,
    "the same code beside another is another visit": """
        shows green            | welcome; measure
        mask on                |
        36.50                  | authorised; UNLOCK; pass_please
        turns                  | passed; LOCK; idle
        shows green and friend | welcome; measure; one_code_only
    """,
}
NOT_PASSING = {
    "does not walk through": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        shows green  | authorised; UNLOCK; pass_please
        wait 5.9     |
        wait 0.1     | LOCK; not_passed; not_passed
        wait 5       | idle
    """,
    "is let in and asked again by nobody": """
        arrives        | welcome; measure
        mask on        |
        36.50          |
        shows green    | authorised; UNLOCK; pass_please
        shows red      |
        38.00          |
        mask off       |
        staff confirms |
        wait 6         | LOCK; not_passed; not_passed
    """,
}
FORCING = {
    "nobody was there": """
        turns        | passage without visit; forced
    """,
    "before anything was known": """
        arrives      | welcome; measure
        turns        | passage forced; forced
    """,
    "measured only": """
        arrives      | welcome; measure
        36.50        |
        turns        | passage forced;
                     | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                     | TR-1:registration_missing; forced;
                     | forced
    """,
    "refused": """
        arrives      | welcome; measure
        shows red    | refused TR-2:status_red; refused_status
        turns        | forced; forced
    """,
    "resting before the second measurement": """
        arrives      | welcome; measure
        38.00        | please_wait_retest wait_s=3
        turns        | passage forced;
                     | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                     | TR-1:registration_missing; forced;
                     | forced
    """,
    "while looking for a mask": """
        arrives      | welcome; measure
        mask off     | mask_please
        turns        | passage forced; forced
    """,
    "waiting for the person on duty": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        wait 12      | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        turns        | forced; forced
    """,
    "too late": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        shows green  | authorised; UNLOCK; pass_please
        wait 6       | LOCK; not_passed; not_passed
        turns        | passage forced; forced
    """,
    "a second person behind the first": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        shows green  | authorised; UNLOCK; pass_please
        turns        | passed; LOCK; idle
        turns        | passage without visit; forced
        wait 100     |
    """,
    "the next person in line behind the first": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        shows green  | authorised; UNLOCK; pass_please
        leaves       |
        arrives      |
        turns        | passed; LOCK; welcome; measure
        turns        | passage forced; forced
    """,
    "and the gate goes on": """
        turns        | passage without visit; forced
        arrives      | welcome; measure
        mask on      |
        36.50        |
        shows green  | authorised; UNLOCK; pass_please
    """,
}


@scenarios(LEAVING)
def test_leaving(scenario: str) -> None:
    play(scenario)


@scenarios(RETURNING)
def test_returning(scenario: str) -> None:
    play(scenario)


@scenarios(AWAY)
def test_stepping_away(scenario: str) -> None:
    play(scenario)


SIGHT = {
    "a phone held out ahead of its owner is read": """
        leaves       |
        shows green  |
        wait 0.3     |
        arrives      | welcome; measure
        36.50        |
        mask on      |
        wait 0.5     |
        shows green  |
        wait 0.5     |
        shows green  | authorised; UNLOCK; pass_please
    """,
    "inputs were lost: it may be another person by now": """
        arrives        | welcome; measure
        36.50          |
        mask on        |
        3 inputs lost  | inbox_overflowed: 3 inputs lost;
                       | undecided TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing;
                       | interrupted; idle
        shows green    | welcome; measure
    """,
    "the presence sensor fails: the same": """
        arrives        | welcome; measure
        36.50          |
        mask on        |
        presence fails | presence failed;
                       | undecided TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing;
                       | interrupted;
                       | idle; mode degraded; idle, see staff
    """,
}


@scenarios(SIGHT)
def test_losing_sight_of_somebody(scenario: str) -> None:
    play(scenario)


@scenarios(NEXT)
def test_the_next_person(scenario: str) -> None:
    play(scenario)


@scenarios(SAME_CODE)
def test_a_code_that_was_just_used(scenario: str) -> None:
    play(scenario)


@scenarios(NOT_PASSING)
def test_not_passing(scenario: str) -> None:
    play(scenario)


@scenarios(FORCING)
def test_forcing(scenario: str) -> None:
    play(scenario)


def test_who_walks_away_from_a_raised_temperature_is_reported_at_once() -> None:
    box = play(LEAVING["before the second measurement, on record"])
    assert [(event.kind, event.abnormal) for event in box.recorded] == [
        (Kind.VISIT_DECIDED, True),
        (Kind.VISIT_CLOSED, False),
    ]


def test_who_walks_away_from_nothing_is_not() -> None:
    box = play(LEAVING["measured, on record"])
    assert not any(event.abnormal for event in box.recorded)


def test_whoever_pushes_through_is_reported_at_once() -> None:
    box = play(FORCING["refused"])
    assert [event.abnormal for event in box.recorded] == [True, True]
    box = play(FORCING["a second person behind the first"])
    assert [event.abnormal for event in box.recorded] == [False, False, True]


def test_the_length_of_a_visit_is_on_record() -> None:
    box = play(LEAVING["through the arm"])
    assert [data["duration_ms"] for data in box.data(Kind.VISIT_CLOSED)] == [5900]
