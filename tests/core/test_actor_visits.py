"""Visits as the plans describe them, from arrival to the arm: `county-hall`, then what differs elsewhere."""

from gatebox import Box, do, measurement, play, scenarios

from gate.core.events import Kind
from gate.core.inputs import ReadingTaken

TEMPERATURE = {
    "TR-4 everything in order": """
        arrives      | welcome; measure
        36.50        |
        mask on      |
        shows green  | authorised; UNLOCK; pass_please
        turns        | passed; LOCK; idle
    """,
    "the code comes first and nobody was announced": """
        shows green  | welcome; measure
        arrives      |
        mask on      |
        37.29        | authorised; UNLOCK; pass_please
        turns        | passed; LOCK; idle
    """,
    "37.29 is normal": """
        arrives      | welcome; measure
        mask on      |
        shows green  |
        37.29        | authorised; UNLOCK; pass_please
    """,
    "37.30 is measured again and the second measurement admits": """
        arrives      | welcome; measure
        mask on      |
        shows green  |
        37.30        | please_wait_retest wait_s=3
        wait 2.9     |
        wait 0.1     | measuring_again; measure
        37.29        | authorised; UNLOCK; pass_please
        turns        | passed; LOCK; idle
    """,
    "37.31 is measured again too": """
        arrives      | welcome; measure
        mask on      |
        shows green  |
        37.31        | please_wait_retest wait_s=3
    """,
    "CH-1 from 37.30 on the second measurement sends home": """
        arrives      | welcome; measure
        mask on      |
        shows green  |
        37.30        | please_wait_retest wait_s=3
        wait 3       | measuring_again; measure
        37.30        | refused CH-1:temperature_fever; refused_observe_at_home
        wait 5       | left; idle
    """,
    "CH-1 up to 37.50": """
        arrives      | welcome; measure
        mask on      |
        shows green  |
        39.00        | please_wait_retest wait_s=3
        wait 3       | measuring_again; measure
        37.50        | refused CH-1:temperature_fever; refused_observe_at_home
    """,
    "CH-2 from 37.51 on calls 120": """
        arrives      | welcome; measure
        mask on      |
        shows green  |
        37.30        | please_wait_retest wait_s=3
        wait 3       | measuring_again; measure
        37.51        | refused CH-2:temperature_fever; refused_isolate_and_call_120
        wait 5       | left; idle
    """,
    "an interval across the limit is measured again, then shown to the person on duty": """
        arrives        | welcome; measure
        mask on        |
        shows green    |
        37.20 +-0.10   | please_wait_retest wait_s=3
        wait 3         | measuring_again; measure
        37.30 +-0.10   | referred CH-1:temperature_uncertain; measured_by_staff
        staff confirms | authorised; UNLOCK; pass_please
        turns          | passed; LOCK; idle
    """,
    "a code that comes after the second measurement": """
        arrives      | welcome; measure
        mask on      |
        38.00        | please_wait_retest wait_s=3
        wait 3       | measuring_again; measure
        36.50        |
        wait 5       |
        shows green  | authorised; UNLOCK; pass_please
    """,
    "a code that never comes after the second measurement": """
        arrives      | welcome; measure
        mask on      |
        38.00        | please_wait_retest wait_s=3
        wait 3       | measuring_again; measure
        36.50        |
        wait 12      | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        wait 120     | left; idle
    """,
}
MASK = {
    "TH-3 a mask put on goes on in the same visit": """
        arrives      | welcome; measure
        shows green  |
        36.50        |
        mask off     | mask_please
        wait 14.9    |
        mask on      | authorised; UNLOCK; pass_please
        turns        | passed; LOCK; idle
    """,
    "CO-3 no mask, no entry": """
        arrives      | welcome; measure
        shows green  |
        36.50        |
        mask off     | mask_please
        mask off     |
        wait 15      | refused TR-1:mask_missing; refused_wear_mask
        wait 5       | left; idle
    """,
    "nobody can tell": """
        arrives        | welcome; measure
        shows green    |
        36.50          |
        mask unclear   |
        wait 12        | referred TR-1:mask_unknown; see_staff
        mask on        |
        staff confirms | authorised; UNLOCK; pass_please
        turns          | passed; LOCK; idle
    """,
    "taken off beside the person on duty": """
        arrives        | welcome; measure
        shows green    |
        36.50          |
        wait 12        | referred TR-1:mask_unknown; see_staff
        mask off       |
        staff confirms | refused TR-1:mask_missing; refused_wear_mask
        wait 5         | left; idle
    """,
    "nobody there": """
        mask on      |
    """,
    "no longer asked for once refused": """
        shows red    | welcome; measure; refused TR-2:status_red; refused_status
        mask on      |
    """,
    "missing and fever: the second measurement comes first": """
        arrives      | welcome; measure
        shows green  |
        38.00        | please_wait_retest wait_s=3
        mask off     |
        wait 3       | measuring_again; measure
        36.50        | mask_please
        mask on      | authorised; UNLOCK; pass_please
    """,
    "missing and fever: fever is said": """
        arrives      | welcome; measure
        shows green  |
        mask off     | mask_please
        38.00        | please_wait_retest wait_s=3
        wait 3       | measuring_again; measure
        38.00        | refused CH-2:temperature_fever TR-1:mask_missing; refused_isolate_and_call_120
    """,
}
CODES = {
    "an expired code, then a current one": """
        arrives       | welcome; measure
        mask on       |
        36.50         |
        shows expired | refused_code_expired
        shows expired |
        shows green   | authorised; UNLOCK; pass_please
        turns         | passed; LOCK; idle
    """,
    "an expired code only, held up again later": """
        arrives       | welcome; measure
        mask on       |
        36.50         |
        shows expired | refused_code_expired
        wait 15       | refused TR-1:expired; refused_code_expired
        wait 5        | left; idle
        shows expired |
        wait 3        |
        shows expired | welcome; measure; refused_code_expired
    """,
    "a code of tomorrow": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        shows early  | refused_code_not_yet_valid
        wait 15      | refused TR-1:not_yet_valid; refused_code_not_yet_valid
    """,
    "an expired code and no mask: one after the other is put right": """
        arrives       | welcome; measure
        36.50         |
        shows expired | refused_code_expired
        mask off      |
        shows green   |
        mask on       | authorised; UNLOCK; pass_please
    """,
    "a forged code ends the visit, whatever comes after it": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        shows forged | refused TR-2:bad_signature; refused_code_not_valid
        shows green  |
        wait 5       | left; idle
    """,
    "a forged code before the temperature": """
        arrives      | welcome; measure
        shows forged | refused TR-2:bad_signature; refused_code_not_valid
        36.50        |
    """,
    "yellow": """
        shows yellow | welcome; measure; refused TR-2:status_yellow; refused_status
    """,
    "red after green replaces it": """
        arrives      | welcome; measure
        mask on      |
        shows green  |
        shows red    | refused TR-2:status_red; refused_status
        36.50        |
    """,
    "somebody else's red after green": """
        arrives      | welcome; measure
        shows friend |
        shows yellow | refused TR-2:status_yellow; refused_status
    """,
    "red of yesterday": """
        shows old_red | welcome; measure; refused TR-2:status_red; refused_status
    """,
    "red of tomorrow": """
        shows early_red | welcome; measure; refused TR-2:status_red; refused_status
    """,
    "red while the clock is unsure": """
        clock unsure |
        shows red    | welcome; measure; refused TR-2:status_red; refused_status
    """,
    "red while the clock is unsure, and somebody vouches": """
        clock unsure   |
        arrives        | welcome; measure
        staff confirms |
        mask on        |
        shows red      | refused TR-2:status_red; refused_status
        staff confirms |
    """,
    "red": """
        shows red    | welcome; measure; refused TR-2:status_red; refused_status
    """,
    "a foreign code, then the right one": """
        arrives       | welcome; measure
        mask on       |
        36.50         |
        shows foreign |
        shows noise   |
        shows green   | authorised; UNLOCK; pass_please
    """,
    "a foreign code only": """
        arrives        | welcome; measure
        mask on        |
        36.50          |
        shows foreign  |
        wait 12        | referred TR-1:not_checkable TR-1:travel_unknown TR-1:registration_missing;
                       | code_cannot_verify
        staff confirms | authorised; UNLOCK; pass_please
        turns          | passed; LOCK; idle
    """,
    "an issuer nobody knows": """
        arrives        | welcome; measure
        mask on        |
        36.50          |
        shows stranger | referred TR-1:unknown_issuer TR-1:travel_unknown TR-1:registration_missing;
                       | code_cannot_verify
    """,
    "a pass for another hall": """
        arrives         | welcome; measure
        mask on         |
        36.50           |
        shows elsewhere | referred TR-1:wrong_site TR-1:travel_unknown TR-1:registration_missing; wrong_site
    """,
    "a staff pass from somebody who may not issue it": """
        arrives         | welcome; measure
        mask on         |
        36.50           |
        shows staffpass | referred TR-1:wrong_purpose TR-1:travel_unknown TR-1:registration_missing;
                        | code_cannot_verify
    """,
    "registration incomplete": """
        arrives            | welcome; measure
        mask on            |
        36.50              |
        shows unregistered | referred TR-1:registration_missing; registration_missing
        staff confirms     | authorised; UNLOCK; pass_please
    """,
    "a piece of a split code, then the whole": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows a piece of green |
        shows green            | authorised; UNLOCK; pass_please
    """,
    "two codes in view, then one": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows green and friend | one_code_only
        shows green and friend |
        shows green            | authorised; UNLOCK; pass_please
        turns                  | passed; LOCK; idle
    """,
    "two persons' codes one after the other": """
        arrives       | welcome; measure
        36.50         |
        shows green   |
        shows friend  | one_code_only
        mask on       |
        wait 12       | referred TR-1:multiple_codes; see_staff
        staff refuses | refused CH-6:refused_by_attendant; refused_by_attendant
    """,
    "two persons' codes, then the first alone": """
        arrives      | welcome; measure
        36.50        |
        shows green  |
        shows friend | one_code_only
        shows green  |
        mask on      | authorised; UNLOCK; pass_please
    """,
    "a new pass of the same person": """
        arrives       | welcome; measure
        36.50         |
        shows green   |
        shows renewed |
        mask on       | authorised; UNLOCK; pass_please
    """,
    "a foreign code beside a good one": """
        arrives       | welcome; measure
        36.50         |
        shows green   |
        shows foreign |
        mask on       | authorised; UNLOCK; pass_please
    """,
}
ATTENDANT = {
    "AL-3 no phone, the person on duty confirms": """
        arrives        | welcome; measure
        mask on        |
        36.50          |
        wait 12        | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        staff confirms | authorised; UNLOCK; pass_please
        turns          | passed; LOCK; idle
    """,
    "AL-3 confirmed before the temperature, which is taken of everyone": """
        arrives        | welcome; measure
        staff confirms |
        mask on        |
        36.50          | authorised; UNLOCK; pass_please
        turns          | passed; LOCK; idle
    """,
    "AL-3 no phone and no mask at first": """
        arrives        | welcome; measure
        36.50          |
        wait 11.9      |
        mask off       | mask_please
        wait 14        |
        mask on        | measure
        36.50          |
        wait 12        | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        staff confirms | authorised; UNLOCK; pass_please
    """,
    "nobody vouches for a fever": """
        arrives        | welcome; measure
        mask on        |
        staff confirms |
        38.00          | please_wait_retest wait_s=3
        wait 3         | measuring_again; measure
        38.00          | refused CH-2:temperature_fever; refused_isolate_and_call_120
    """,
    "nobody vouches for a forged code": """
        arrives        | welcome; measure
        mask on        |
        staff confirms |
        36.60 +-0.80   | please_wait_retest wait_s=3
        shows forged   | refused TR-2:bad_signature; refused_code_not_valid
    """,
    "CH-6 the person on duty refuses": """
        arrives       | welcome; measure
        mask on       |
        36.50         |
        wait 12       | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        staff refuses | refused CH-6:refused_by_attendant; refused_by_attendant
        wait 5        | left; idle
    """,
    "CH-6 refused on sight": """
        arrives       | welcome; measure
        staff refuses | refused CH-6:refused_by_attendant; refused_by_attendant
        wait 5        | left; idle
    """,
    "CH-6 refused while resting before the second measurement": """
        arrives       | welcome; measure
        38.00         | please_wait_retest wait_s=3
        staff refuses | refused CH-6:refused_by_attendant; refused_by_attendant
    """,
    "refused twice is refused": """
        shows red     | welcome; measure; refused TR-2:status_red; refused_status
        staff refuses |
    """,
    "called back after being let in": """
        arrives       | welcome; measure
        mask on       |
        36.50         |
        shows green   | authorised; UNLOCK; pass_please
        staff refuses | LOCK; not_passed; refused_by_attendant
        wait 5        | idle
    """,
    "confirmed twice is confirmed": """
        arrives        | welcome; measure
        staff confirms |
        mask on        |
        36.50          | authorised; UNLOCK; pass_please
        staff confirms |
        turns          | passed; LOCK; idle
    """,
    "the person on duty never comes": """
        arrives      | welcome; measure
        mask on      |
        36.50        |
        wait 12      | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        wait 119.9   |
        wait 0.1     | left; idle
    """,
    "the button tells that somebody is there, and vouches for nobody": """
        staff confirms | welcome; measure
        36.50          |
        mask on        |
        wait 12        | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
    """,
    "nobody there to refuse": """
        staff refuses |
    """,
    "an expired pass, and time runs on beside the person on duty": """
        arrives        | welcome; measure
        36.50          |
        shows short    |
        wait 12        | referred TR-1:mask_unknown; see_staff
        mask on        |
        wait 20        |
        staff confirms | authorised; UNLOCK; pass_please
    """,
}
NAMED = {
    "of who stands there": """
        arrives                                       | welcome; measure
        36.50                                         |
        of visit 1: mask on                           |
        of visit 1: desk notes name, phone, travel clear |
        wait 12                                       | referred TR-1:code_missing; see_staff
        of visit 1: staff confirms                    | authorised; UNLOCK; pass_please
        of visit 1: staff refuses                     | LOCK; not_passed; refused_by_attendant
    """,
    "of who has gone: the next one is not meant": """
        arrives                                       | welcome; measure
        36.50                                         |
        mask on                                       |
        wait 12                                       | referred TR-1:code_missing TR-1:travel_unknown
                                                      | TR-1:registration_missing; see_staff
        leaves                                        |
        wait 1                                        | left; idle
        arrives                                       | welcome; measure
        of visit 1: mask on                           |
        36.50                                         |
        of visit 1: desk notes name, phone            |
        of visit 1: staff refuses                     |
        wait 12                                       | referred TR-1:code_missing TR-1:travel_unknown
                                                      | TR-1:mask_unknown TR-1:registration_missing; see_staff
        of visit 1: desk notes name, phone            |
        of visit 1: staff confirms                    |
        of visit 1: staff refuses                     |
        of visit 2: staff confirms                    | authorised; UNLOCK; pass_please
        of visit 1: staff refuses                     |
        turns                                         | passed; LOCK; idle
    """,
    "of who has gone, and nobody has come: nothing begins": """
        arrives                                       | welcome; measure
        leaves                                        |
        wait 1                                        | idle
        of visit 1: desk notes name                   |
        of visit 1: staff confirms                    |
        of visit 1: staff refuses                     |
        of visit 1: mask on                           |
    """,
    "of nobody, and somebody has come meanwhile": """
        arrives                                       | welcome; measure
        mask on                                       |
        of nobody: staff confirms                     |
        of nobody: desk notes name, phone, travel clear |
        of nobody: mask off                           |
        of nobody: staff refuses                      |
        36.50                                         |
        wait 12                                       | referred TR-1:code_missing TR-1:travel_unknown
                                                      | TR-1:registration_missing; see_staff
        of nobody: staff confirms                     |
    """,
    "of nobody: somebody is there whom nothing has announced": """
        of nobody: mask on                            |
        of nobody: staff refuses                      |
        of nobody: desk notes name, phone, travel clear | welcome; measure
        of visit 1: mask on                           |
        36.50                                         |
        wait 12                                       | referred TR-1:code_missing; see_staff
    """,
    "of nobody, by the button": """
        of nobody: staff confirms                     | welcome; measure
    """,
}
ABSENT = {
    "a note or a button begins nothing while nobody is seen": """
        arrives             | welcome; measure
        leaves              |
        wait 1              | idle
        desk notes name     |
        staff confirms      |
        of nobody: desk notes name |
        of nobody: staff confirms  |
        arrives             | welcome; measure
    """,
    "a sensor that has failed sees nobody, and proves nothing": """
        leaves              |
        presence fails      | presence failed; mode degraded; idle, see staff
        desk notes name     | welcome; measure
    """,
    "and when it works again it counts": """
        leaves              |
        presence fails      | presence failed; mode degraded; idle, see staff
        presence works      | presence recovered; mode serving; idle
        staff confirms      |
    """,
    "who has stepped away a moment ago may still be spoken of": """
        arrives             | welcome; measure
        mask on             |
        36.50               |
        desk notes name, phone, travel clear |
        wait 12             | referred TR-1:code_missing; see_staff
        leaves              |
        staff confirms      |
        wait 1              | left; idle
    """,
}


TOWNSHIP = """
    arrives      | welcome; measure
    mask on      |
    shows green  |
    39.00        | please_wait_retest wait_s=3
    wait 3       | measuring_again; measure
    37.30        | refused TR-2:temperature_fever; refused_fever_clinic
"""


@scenarios(TEMPERATURE)
def test_temperature(scenario: str) -> None:
    play(scenario)


@scenarios(MASK)
def test_mask(scenario: str) -> None:
    play(scenario)


@scenarios(CODES)
def test_codes(scenario: str) -> None:
    play(scenario)


@scenarios(ATTENDANT)
def test_attendant(scenario: str) -> None:
    play(scenario)


@scenarios(NAMED)
def test_words_of_the_desk(scenario: str) -> None:
    play(scenario)


@scenarios(ABSENT)
def test_words_while_nobody_is_seen(scenario: str) -> None:
    play(scenario)


def test_a_note_takes_nothing_from_somebody_whom_the_person_on_duty_may_still_vouch_for() -> None:
    box = Box()
    do(box, "arrives", "36.50", "shows short", "wait 12", "mask on", "wait 20", "desk notes name")
    assert "refused_code_expired" not in box.performed
    do(box, "staff confirms")
    assert box.decided["stage"] == "authorised"


def test_a_pass_that_ran_out_beside_the_person_on_duty_is_on_record_as_vouched_for() -> None:
    box = play(ATTENDANT["an expired pass, and time runs on beside the person on duty"])
    assert box.decided["evidence"]["code"]["reason"] == "expired"
    assert "code_by_attendant" in {found["reason"] for found in box.decided["findings"]}


def test_another_plan_sends_a_fever_elsewhere() -> None:
    play(TOWNSHIP, Box("township-routine"))


def test_the_record_holds_the_steps_on_the_way_and_both_measurements() -> None:
    box = play("""
        arrives      | welcome; measure
        shows green  |
        37.40        | please_wait_retest wait_s=3
        mask off     |
        wait 3       | measuring_again; measure
        36.60        | mask_please
        wait 2       |
        mask on      | authorised; UNLOCK; pass_please
    """)
    steps = [
        [step["verdict"], *(found["reason"] for found in step["findings"])] for step in box.decided["steps"]
    ]
    assert steps == [["refer", "temperature_raised", "mask_unknown"], ["refuse", "mask_missing"]]
    assert [taken["value_cc"] for taken in box.decided["evidence"]["temperature"]] == [3740, 3660]
    assert box.decided["evidence"]["code"]["subject"] == "0000000000000001"
    assert box.decided["evidence"]["mask"] == "worn"
    assert box.decided["evidence"]["registered"] == ["name", "phone"]
    assert (box.decided["duration_ms"], box.decided["policy"]) == (5000, "county-hall")


def test_what_a_pass_has_registered_goes_with_it() -> None:
    box = play("""
        arrives            | welcome; measure
        shows unregistered |
        shows expired      |
        leaves             |
        wait 1             | undecided CH-1:temperature_missing TR-1:mask_unknown TR-1:registration_missing;
                           | left; idle
    """)
    assert box.decided["evidence"]["registered"] == ["name"]


def test_each_visit_has_its_own_name_and_its_own_evidence() -> None:
    box = Box()
    for _ in range(2):
        play(TEMPERATURE["TR-4 everything in order"].replace("green", "friend"), box)
        play("wait 60 |", box)
    play("arrives | welcome; measure", box)
    play("leaves |", box)
    play("wait 1 | idle", box)
    assert [data["visit"] for data in box.data(Kind.VISIT_CLOSED)] == ["0a1b2c3d-000001", "0a1b2c3d-000002"]
    assert box.requests[-1] == "0a1b2c3d-000003"


def test_a_reading_for_another_visit_is_nobodys() -> None:
    box = play("""
        arrives      | welcome; measure
        leaves       |
        wait 1       | idle
        arrives      | welcome; measure
        mask on      |
        shows green  |
    """)
    assert box.feed(ReadingTaken(box.requests[0], measurement("36.50"))) == []
    play("39.00 | please_wait_retest wait_s=3", box)


def test_a_pass_counts_to_its_last_instant() -> None:
    play("""
        wait 30      |
        shows short  | welcome; measure
        wait 0.1     |
        staff refuses | refused CH-6:refused_by_attendant TR-1:expired; refused_by_attendant
        wait 8       | left; idle
        shows short  | welcome; measure; refused_code_expired
    """)
