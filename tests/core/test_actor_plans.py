"""What the plans ask beyond the common core: no phone, appointments, residents, staff, hours, the way out."""

import pytest
from gatebox import Box, do, play, scenarios

from gate.core import rounds
from gate.core.events import Kind
from gate.core.evidence import Direction
from gate.core.moment import NS_PER_S

NO_PHONE = {
    "registered by ID card, vouched for, measured as everybody": """
        arrives                                   | welcome; measure
        mask on                                   |
        desk notes name, phone, ID checked        |
        desk notes id_number                      |
        wait 1                                    |
        36.50                                     |
        wait 11                                   | referred TR-1:code_missing TR-1:travel_unknown; see_staff
        staff confirms                            | authorised; UNLOCK; pass_please
        turns                                     | passed; LOCK; idle
    """,
    "the travel card is asked for and nothing but the code is missing": """
        arrives                                   | welcome; measure
        mask on                                   |
        36.50                                     |
        desk notes name, phone, travel clear      |
        wait 12                                   | referred TR-1:code_missing; see_staff
        staff confirms                            | authorised; UNLOCK; pass_please
    """,
    "vouched for before being measured": """
        arrives                                   | welcome; measure
        desk notes name, phone                    |
        staff confirms                            |
        mask on                                   |
        36.50                                     | authorised; UNLOCK; pass_please
    """,
    "a fever is a fever": """
        arrives                                   | welcome; measure
        desk notes name, phone, ID checked        |
        mask on                                   |
        staff confirms                            |
        38.00                                     | please_wait_retest wait_s=3
        wait 3                                    | measuring_again; measure
        38.00                                     | refused CH-2:temperature_fever;
                                                  | refused_isolate_and_call_120
    """,
    "noted but not vouched for": """
        arrives                                   | welcome; measure
        mask on                                   |
        36.50                                     |
        wait 12                                   | referred TR-1:code_missing TR-1:travel_unknown
                                                  | TR-1:registration_missing; see_staff
        desk notes name, phone, ID checked        |
        wait 120                                  | left; idle
    """,
    "the notes themselves turn somebody away": """
        arrives                                   | welcome; measure
        mask on                                   |
        36.50                                     |
        desk notes travel risk_area               |
        wait 12                                   | refused TR-3:test_missing; test_missing
    """,
    "what the person on duty hears decides at once": """
        arrives                                   | welcome; measure
        mask on                                   |
        36.50                                     |
        wait 12                                   | referred TR-1:code_missing TR-1:travel_unknown
                                                  | TR-1:registration_missing; see_staff
        desk notes test positive 5 h old          | refused TR-3:test_positive; test_positive
        wait 5                                    | left; idle
    """,
    "symptoms are noted and taken back": """
        arrives                                   | welcome; measure
        mask on                                   |
        desk notes cough                          |
        36.50                                     |
        shows green                               | referred CH-1:symptoms_noted; see_staff
        desk notes no symptoms                    | authorised; UNLOCK; pass_please
    """,
    "from a key area, with a test that nobody has seen yet": """
        arrives                                   | welcome; measure
        mask on                                   |
        36.50                                     |
        desk notes test negative 168 h old        |
        desk notes from key_area                  |
        shows green                               | authorised; UNLOCK; pass_please
    """,
    "a note is somebody": """
        desk notes name                           | welcome; measure
    """,
    "a note on somebody who is let in or gone changes nothing": """
        arrives                                   | welcome; measure
        mask on                                   |
        36.50                                     |
        shows green                               | authorised; UNLOCK; pass_please
        desk notes cough                          |
        turns                                     | passed; LOCK; idle
        turnstile fails                           | turnstile failed; mode fault; out of order
        desk notes name                           |
    """,
}


@scenarios(NO_PHONE)
def test_no_phone(scenario: str) -> None:
    play(scenario)


def test_what_was_noted_is_on_record_in_words_only() -> None:
    box = play(NO_PHONE["registered by ID card, vouched for, measured as everybody"])
    evidence = box.decided["evidence"]
    assert (evidence["registered"], evidence["id_checked"]) == (["id_number", "name", "phone"], True)
    assert (evidence["attendant"], evidence["code"]) == ("confirmed", None)
    assert {"rule": "AL-3", "verdict": "admit", "reason": "code_by_attendant"} in box.decided["findings"]


# --- appointment-hall

APPOINTMENT = {
    "AH-1 in its slot, from the first second": """
        wait 600               |
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes ID checked  |
        shows slot             | authorised; UNLOCK; pass_please
        turns                  | passed; LOCK; idle
    """,
    "AH-1 to the last": """
        wait 1200              |
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes ID checked  |
        shows slot             | authorised; UNLOCK; pass_please
    """,
    "AH-1 a second early": """
        wait 599               |
        arrives                | welcome; measure
        shows slot             | refused AH-1:appointment_early; appointment_early
        wait 5                 | left; idle
    """,
    "AH-1 and in time after all": """
        wait 595               |
        arrives                | welcome; measure
        shows slot             | refused AH-1:appointment_early; appointment_early
        leaves                 |
        wait 9                 | left; idle
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes ID checked  |
        shows slot             | authorised; UNLOCK; pass_please
    """,
    "AH-1 a second late": """
        wait 1201              |
        arrives                | welcome; measure
        shows slot             | refused AH-1:appointment_late; appointment_late
    """,
    "AH-1 used once": """
        wait 600               |
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes ID checked  |
        shows slot             | authorised; UNLOCK; pass_please
        turns                  | passed; LOCK; idle
        leaves                 |
        wait 100               |
        arrives                | welcome; measure
        shows slot             | refused AH-1:appointment_used; appointment_used
    """,
    "AH-1 not used by somebody who does not walk through": """
        wait 600               |
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes ID checked  |
        shows slot             | authorised; UNLOCK; pass_please
        wait 6                 | LOCK; not_passed; not_passed
        leaves                 |
        wait 9                 | idle
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes ID checked  |
        shows slot             | authorised; UNLOCK; pass_please
    """,
    "AH-1 booked at 16:30 on the day before": """
        wait 600               |
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes ID checked  |
        shows just_booked      | authorised; UNLOCK; pass_please
    """,
    "AH-1 booked a second later": """
        wait 600               |
        arrives                | welcome; measure
        shows late_booked      | refused AH-1:appointment_booked_late; appointment_booked_late
    """,
    "AH-1 no appointment, no entry": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows green            | refused AH-1:appointment_missing; appointment_missing
    """,
    "AH-1 nothing to show": """
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        wait 11.9              |
        wait 0.1               | refused AH-1:appointment_missing; appointment_missing
    """,
    "AH-1 nobody vouches for an appointment that there is not": """
        arrives                | welcome; measure
        mask on                |
        staff confirms         |
        36.50                  |
        wait 12                | refused AH-1:appointment_missing; appointment_missing
    """,
    "AH-2 the ID card, looked at while the visitor waits": """
        wait 600               |
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows slot             | referred AH-2:id_unchecked; id_unchecked
        desk notes ID checked  | authorised; UNLOCK; pass_please
        turns                  | passed; LOCK; idle
    """,
    "AH-2 no ID card, and nobody vouches for one": """
        wait 600               |
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows slot             | referred AH-2:id_unchecked; id_unchecked
        desk notes no ID       |
        staff confirms         | refused AH-2:id_unchecked; id_unchecked
    """,
    "AH-4 37.00 is normal": """
        wait 600               |
        arrives                | welcome; measure
        mask on                |
        desk notes ID checked  |
        shows slot             |
        37.00                  | authorised; UNLOCK; pass_please
    """,
    "AH-4 above 37 degrees": """
        wait 600               |
        arrives                | welcome; measure
        mask on                |
        desk notes ID checked  |
        shows slot             |
        37.01                  | please_wait_retest wait_s=3
        wait 3                 | measuring_again; measure
        37.01                  | refused AH-4:temperature_fever; refused_fever_clinic
    """,
    "AH-4 a dry cough": """
        wait 600               |
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes cough       | refused AH-1:appointment_missing AH-4:symptoms; symptoms_fever_clinic
    """,
    "AH-6 a risk area, tested or not": """
        wait 600               |
        arrives                | welcome; measure
        desk notes test negative 1 h old  |
        desk notes travel risk_area       | refused AH-1:appointment_missing AH-6:risk_area; risk_area
    """,
    "AH-1 from the list of the day": """
        document 1: books green 600-1200  | keep appointments-county; document appointments 1 accepted
        wait 599                          |
        arrives                           | welcome; measure
        shows green                       | refused AH-1:appointment_early; appointment_early
        leaves                            |
        wait 9                            | left; idle
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        desk notes ID checked             |
        shows green                       | authorised; UNLOCK; pass_please
        turns                             | passed; LOCK; idle
        leaves                            |
        wait 100                          |
        arrives                           | welcome; measure
        shows green                       | refused AH-1:appointment_used; appointment_used
    """,
    "AH-1 late by the list of the day": """
        document 1: books green 600-1200  | keep appointments-county; document appointments 1 accepted
        wait 1200.1                       |
        arrives                           | welcome; measure
        shows green                       | refused AH-1:appointment_late; appointment_late
    """,
    "AH-1 the second appointment of the day": """
        document 1: books green 0-60, green 600-1200 | keep appointments-county;
                                                     | document appointments 1 accepted
        arrives                                      | welcome; measure
        mask on                                      |
        36.50                                        |
        desk notes ID checked                        |
        shows green                                  | authorised; UNLOCK; pass_please
        turns                                        | passed; LOCK; idle
        leaves                                       |
        wait 600                                     |
        arrives                                      | welcome; measure
        mask on                                      |
        36.50                                        |
        desk notes ID checked                        |
        shows green                                  | authorised; UNLOCK; pass_please
    """,
    "AH-1 a list that is out of its time is not used": """
        document 1 for 300: books green 600-1200 | keep appointments-county; document appointments 1 accepted
        wait 600               | document appointments 1 stale; mode degraded; idle, see staff
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        desk notes ID checked  |
        shows green            | referred AH-1:appointment_unverified; appointment_unverified
        staff confirms         | authorised; UNLOCK; pass_please
    """,
}


@scenarios(APPOINTMENT)
def test_appointment_hall(scenario: str) -> None:
    play(scenario, Box("appointment-hall"))


def test_who_has_no_mask_may_still_show_an_appointment() -> None:
    box = play(
        """
        wait 600              |
        arrives               | welcome; measure
        36.50                 |
        desk notes ID checked |
        """,
        Box("appointment-hall"),
    )
    do(box, "mask off", "shows slot", "mask on")
    assert box.decided["stage"] == "authorised"


def test_an_appointment_is_used_once_whichever_pass_it_is_used_with() -> None:
    box = play(APPOINTMENT["AH-1 from the list of the day"], Box("appointment-hall"))
    do(box, "leaves", "wait 100", "arrives", "mask on", "36.50", "desk notes ID checked", "shows renewed")
    assert box.reasons == {"appointment_used"}


def test_whose_token_is_being_checked_is_not_sent_away_meanwhile() -> None:
    box = play(
        """
        document 1: books token 0-1200             | keep appointments-county;
                                                   | document appointments 1 accepted
        arrives                                    | welcome; measure
        mask on                                    |
        36.50                                      |
        desk notes name, phone, ID checked         |
        shows token                                | ask CN-32; checking_code
        service says green                         | authorised; UNLOCK; pass_please
        """,
        Box("appointment-hall"),
    )
    assert box.decided["evidence"]["appointment"]["used"] is False


# --- sealed-area

SEALED = {
    "SA-4 a resident with a test of 48 h": """
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        desk notes test negative 48 h old |
        shows resident                    | authorised; UNLOCK; pass_please
        turns                             | passed; LOCK; idle
    """,
    "SA-4 an older one": """
        arrives                           | welcome; measure
        desk notes test negative 48 h old |
        wait 0.1                          |
        shows resident                    | refused SA-4:test_too_old; test_too_old
    """,
    "SA-4 none": """
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        shows resident                    | test_missing
        wait 15                           | refused SA-4:test_missing; test_missing
    """,
    "SA-2 on the list of residents": """
        document 1: residents friend      | keep residents-county; document residents 1 accepted
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        desk notes test negative 1 h old  |
        shows friend                      | authorised; UNLOCK; pass_please
    """,
    "SA-2 an old list makes nobody a resident": """
        document 1 for 60: residents friend | keep residents-county; document residents 1 accepted
        wait 120                            | document residents 1 stale; mode degraded; idle, see staff
        arrives                             | welcome; measure
        mask on                             |
        36.50                               |
        desk notes test negative 1 h old    |
        shows friend                        | not_resident
        wait 15                             | refused SA-2:not_resident; not_resident
    """,
    "SA-2 a stranger": """
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        shows green                       | not_resident
        wait 15                           | refused SA-2:not_resident; not_resident
    """,
    "SA-2 a stranger with nothing to show": """
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        wait 12                           | refused SA-2:not_resident; not_resident
    """,
    "SA-2 an exception with all evidence": """
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        shows green                       | not_resident
        desk notes id_number, ID checked  |
        staff confirms                    | authorised; UNLOCK; pass_please
    """,
    "SA-5 supplies, in hours": """
        wait 3600                         |
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        shows supplier                    | authorised; UNLOCK; pass_please
    """,
    "SA-5 a supplier without a pass": """
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        desk notes supply, name, id_number, phone |
        wait 12                           | refused SA-5:pass_missing; pass_missing
    """,
    "a red household pass, after its hours": """
        wait 3601                         |
        desk notes test negative 1 h old  | welcome; measure
        shows household_red               | refused TR-2:status_red; refused_status
    """,
    "a red household pass, while the clock is unsure": """
        clock unsure                      |
        arrives                           | welcome; measure
        staff confirms                    | exception_incomplete
        desk notes test negative 1 h old  |
        shows household_red               | refused TR-2:status_red; refused_status
    """,
    "a rotating pass says who comes home": """
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        desk notes test negative 1 h old  |
        holds up bound_resident           | authorised; UNLOCK; pass_please
    """,
    "a copy of one says nothing of who shows it": """
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        desk notes test negative 1 h old  |
        shows copy_resident               | not_resident
        wait 15                           | refused SA-2:not_resident; not_resident
    """,
    "SA-5 a household pass home": """
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        desk notes test negative 1 h old  |
        shows household                   | authorised; UNLOCK; pass_please
    """,
}
SEALED_OUT = {
    "SA-3 with a mask": """
        arrives          | welcome; measure
        36.50            |
        mask on          | authorised; UNLOCK; pass_please
        turns            | passed; LOCK; idle
    """,
    "SA-3 without one": """
        arrives          | welcome; measure
        mask off         | mask_please
        36.50            |
        wait 15          | refused SA-3:mask_missing; refused_wear_mask
    """,
    "SA-3 nobody can tell": """
        arrives          | welcome; measure
        36.50            |
        wait 12          | referred SA-3:mask_unknown; see_staff
        staff confirms   | authorised; UNLOCK; pass_please
    """,
    "SA-5 a resident without a pass is shown to the person on duty": """
        arrives          | welcome; measure
        shows resident   |
        mask on          | referred SA-5:pass_missing; pass_missing
        staff confirms   | authorised; UNLOCK; pass_please
        turns            | passed; LOCK; idle
    """,
    "SA-5 and may be sent back": """
        arrives          | welcome; measure
        shows resident   |
        mask on          | referred SA-5:pass_missing; pass_missing
        staff refuses    | refused CH-6:refused_by_attendant; refused_by_attendant
    """,
    "SA-5 a supplier leaves without one": """
        arrives          | welcome; measure
        desk notes supply |
        mask on          | authorised; UNLOCK; pass_please
    """,
    "SA-5 a time that nobody went out is none": """
        arrives          | welcome; measure
        shows household  |
        mask on          | authorised; UNLOCK; pass_please
        wait 6           | LOCK; not_passed; not_passed
        leaves           |
        wait 60          | idle
        arrives          | welcome; measure
        shows household  |
        mask on          | authorised; UNLOCK; pass_please
        turns            | passed; LOCK; idle
        leaves           |
        wait 60          |
        arrives          | welcome; measure
        shows household  |
        mask on          | authorised; UNLOCK; pass_please
        turns            | passed; LOCK; idle
    """,
    "SA-5 two ways out on one pass, and no third": """
        arrives          | welcome; measure
        shows household  |
        mask on          | authorised; UNLOCK; pass_please
        turns            | passed; LOCK; idle
        leaves           |
        wait 60          |
        arrives          | welcome; measure
        shows household  |
        mask on          | authorised; UNLOCK; pass_please
        turns            | passed; LOCK; idle
        leaves           |
        wait 60          |
        arrives          | welcome; measure
        shows household  | refused SA-5:pass_used_up; pass_used_up
    """,
}


@scenarios(SEALED)
def test_sealed_area(scenario: str) -> None:
    play(scenario, Box("sealed-area"))


@scenarios(SEALED_OUT)
def test_out_of_a_sealed_area(scenario: str) -> None:
    play(scenario, Box("sealed-area", direction=Direction.OUT))


EXCEPTION = [
    "36.50",
    "mask on",
    "desk notes id_number, ID checked, from elsewhere",
    "shows green",
    "staff confirms",
]


def test_an_exception_stands_on_all_of_its_evidence() -> None:
    box = Box("sealed-area")
    do(box, "arrives", *EXCEPTION)
    assert box.decided["stage"] == "authorised"


@pytest.mark.parametrize(
    ("step", "instead"),
    [
        ("36.50", "cannot measure, unstable"),
        ("36.50", "38.00"),
        ("mask on", "mask off"),
        ("desk notes id_number, ID checked, from elsewhere", "desk notes id_number, no ID"),
        ("desk notes id_number, ID checked, from elsewhere", "desk notes ID checked"),
        (
            "desk notes id_number, ID checked, from elsewhere",
            "desk notes id_number, ID checked, from key_area",
        ),
        (
            "desk notes id_number, ID checked, from elsewhere",
            "desk notes id_number, ID checked, test positive 1 h old",
        ),
        ("shows green", "shows untravelled"),
        ("shows green", "shows expired"),
        ("shows green", "shows foreign"),
        ("shows green", "wait 0"),
        ("staff confirms", "wait 0"),
    ],
)
def test_no_exception_with_one_thing_missing(step: str, instead: str) -> None:
    box = Box("sealed-area")
    do(box, "arrives", *(instead if word == step else word for word in EXCEPTION))
    do(box, "wait 3", "38.00", "wait 200")
    assert "UNLOCK" not in box.performed
    assert box.actor.visit is None


def test_what_is_left_of_a_household_pass_is_on_record() -> None:
    box = play(
        SEALED_OUT["SA-5 two ways out on one pass, and no third"],
        Box("sealed-area", direction=Direction.OUT),
    )
    decided = [data["evidence"]["household_pass"]["uses_left"] for data in box.data(Kind.VISIT_DECIDED)]
    assert decided == [2, 1, 0]


def test_a_household_pass_handed_back_over_the_arm_lets_nobody_else_out() -> None:
    box = Box("sealed-area", direction=Direction.OUT)
    for _ in range(3):
        do(box, "arrives", "shows household", "mask on", "turns", "leaves", "wait 5")
    assert box.performed.count("UNLOCK") < 3


@pytest.mark.parametrize("late_s", [1, 3600])
def test_who_comes_home_late_is_shown_to_the_person_on_duty(late_s: int) -> None:
    box = Box("sealed-area")
    box.wait(3600 + late_s)
    do(box, "arrives", "mask on", "36.50", "desk notes test negative 1 h old", "shows household", "wait 200")
    assert box.decided["stage"] == "referred"
    assert "pass_outside_hours" in box.reasons


def test_who_comes_home_early_is_shown_to_the_person_on_duty() -> None:
    box = Box("sealed-area")
    do(box, "arrives", "mask on", "36.50", "desk notes test negative 1 h old", "shows household_soon")
    assert (box.decided["stage"], box.reasons) == ("referred", {"pass_outside_hours"})


def test_a_supplier_after_hours_is_told_so() -> None:
    box = Box("sealed-area")
    box.wait(3601)
    do(box, "arrives", "mask on", "36.50", "shows supplier", "wait 30")
    assert "UNLOCK" not in box.performed
    assert "pass_outside_hours" in box.reasons


# --- service-bureau

STAFF_IN = {
    "SB-3 staff are measured, and asked for no registration": """
        arrives       | welcome; measure
        mask on       |
        shows staff   |
        36.50         | authorised; UNLOCK; pass_please
        turns         | passed; LOCK; idle
    """,
    "SB-3 whoever comes back is measured again, however soon": """
        arrives       | welcome; measure
        mask on       |
        shows staff   |
        36.50         | authorised; UNLOCK; pass_please
        turns         | passed; LOCK; idle
        leaves        |
        wait 600      |
        arrives       | welcome; measure
        mask on       |
        shows staff   |
        38.00         | please_wait_retest wait_s=3
        wait 3        | measuring_again; measure
        38.00         | refused SB-2:temperature_fever; refused_fever_clinic
    """,
}
STAFF_OUT = {
    "SB-3 measured on the way out, and not again within 2 hours": """
        arrives       | welcome; measure
        shows staff   |
        36.50         | authorised; UNLOCK; pass_please
        turns         | passed; LOCK; idle
        leaves        |
        wait 7200     |
        arrives       | welcome; measure
        shows staff   | authorised; UNLOCK; pass_please
        turns         | passed; LOCK; idle
    """,
    "SB-3 one member of staff is not another": """
        arrives         | welcome; measure
        shows staff     |
        36.50           | authorised; UNLOCK; pass_please
        turns           | passed; LOCK; idle
        leaves          |
        wait 600        |
        arrives         | welcome; measure
        shows colleague |
        36.50           | authorised; UNLOCK; pass_please
    """,
    "SB-3 who shows nothing is nobody of the staff, and is let out": """
        arrives       | welcome; measure
        38.00         | authorised; UNLOCK; pass_please
    """,
    "SB-2 a fever is confirmed: the person on duty sees them out": """
        arrives        | welcome; measure
        shows staff    |
        38.00          | please_wait_retest wait_s=3
        wait 3         | measuring_again; measure
        38.00          | referred SB-2:temperature_fever; measured_by_staff
        staff confirms | authorised; UNLOCK; pass_please
        turns          | passed; LOCK; idle
    """,
    "SB-2 a fever that the second measurement does not confirm": """
        arrives        | welcome; measure
        shows staff    |
        38.00          | please_wait_retest wait_s=3
        wait 3         | measuring_again; measure
        36.50          | authorised; UNLOCK; pass_please
    """,
    "SB-3 overdue: is measured now": """
        arrives       | welcome; measure
        shows staff   |
        36.50         | authorised; UNLOCK; pass_please
        turns         | passed; LOCK; idle
        leaves        |
        wait 7200.1   |
        arrives       | welcome; measure
        shows staff   |
        36.50         | authorised; UNLOCK; pass_please
        turns         | passed; LOCK; idle
        leaves        |
        wait 7200     |
        arrives       | welcome; measure
        shows staff   | authorised; UNLOCK; pass_please
    """,
    "SB-3 a clock that was set back says nothing of the round": """
        arrives           | welcome; measure
        shows staff       |
        36.50             | authorised; UNLOCK; pass_please
        turns             | passed; LOCK; idle
        leaves            |
        wait 100          |
        clock moves -1000 |
        arrives           | welcome; measure
        shows staff       |
        36.50             | authorised; UNLOCK; pass_please
    """,
    "SB-3 nor does one that nobody is sure of": """
        arrives           | welcome; measure
        shows staff       |
        36.50             | authorised; UNLOCK; pass_please
        turns             | passed; LOCK; idle
        leaves            |
        wait 100          |
        clock unsure      |
        arrives           | welcome; measure
        shows staff       |
        36.50             | authorised; UNLOCK; pass_please
    """,
}


@scenarios(STAFF_IN)
def test_staff_come(scenario: str) -> None:
    play(scenario, Box("service-bureau"))


@scenarios(STAFF_OUT)
def test_staff_go(scenario: str) -> None:
    play(scenario, Box("service-bureau", direction=Direction.OUT))


def test_who_is_seen_out_with_a_fever_is_reported_at_once() -> None:
    box = play(
        STAFF_OUT["SB-2 a fever is confirmed: the person on duty sees them out"],
        Box("service-bureau", direction=Direction.OUT),
    )
    assert (box.reasons, box.decided["disposition"]) == ({"fever_seen_out"}, "fever_clinic")
    assert [event.abnormal for event in box.recorded if event.kind is Kind.VISIT_DECIDED] == [True, True]


def test_the_rounds_of_two_thousand_people_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "STAFF_MAX", 1)
    box = Box("service-bureau", direction=Direction.OUT)
    for name in ("staff", "colleague", "staff"):
        do(box, "arrives", f"shows {name}", "36.50", "turns", "leaves", "wait 100")
    evidence = [data["evidence"] for data in box.data(Kind.VISIT_DECIDED)]
    assert [found.get("last_measured_s") for found in evidence] == [None, None, None]
    do(box, "arrives", "shows staff")
    assert box.decided["evidence"]["last_measured_s"] is not None


@pytest.mark.parametrize("how", ["who", "by hand"])
def test_who_was_not_measured_by_the_gate_has_kept_no_round(how: str) -> None:
    box = Box("service-bureau", direction=Direction.OUT)
    if how == "who":
        do(box, "arrives", "desk notes staff", "shows foreign", "36.50", "staff confirms", "turns")
    else:
        do(box, "arrives", "shows staff", *3 * ["cannot measure, unstable"], "staff confirms", "turns")
    assert box.performed[-3:] == ["passed", "LOCK", "idle"]
    do(box, "leaves", "wait 100", "arrives", "shows staff")
    assert box.actor.visit is not None
    assert box.actor.visit.judged.last_measured_s is None


def test_rounds_are_kept_of_staff_only() -> None:
    box = Box()
    comes = ("arrives", "mask on", "36.50", "shows green", "turns", "leaves", "wait 100")
    do(box, *comes, *comes)
    assert [data["evidence"].get("last_measured_s") for data in box.data(Kind.VISIT_DECIDED)] == [None, None]


def test_whoever_is_overdue_where_nothing_measures_gets_out_with_the_person_on_duty() -> None:
    box = play(
        STAFF_OUT["SB-3 measured on the way out, and not again within 2 hours"],
        Box("service-bureau", direction=Direction.OUT),
    )
    do(
        box,
        "leaves",
        "wait 7300",
        "arrives",
        "shows staff",
        *3 * ["cannot measure, unstable"],
        "staff confirms",
    )
    assert box.decided["stage"] == "authorised"


# --- township-hall: the box begins at 06:13:20 local time

HOURS = {
    "TH-6 the doors open at 08:30 and close at 17:30": """
        leaves        | mode closed_hours; idle, closed
        wait 8199.999 |
        wait 0.001    | mode serving; idle
        wait 32399.9  |
        wait 0.1      | mode closed_hours; idle, closed
        wait 54000    | mode serving; idle
    """,
    "TH-6 a visitor before hours is told": """
        wait 1        |
        arrives       | mode closed_hours; idle, closed; welcome; measure
        mask on       |
        36.50         |
        shows known   | refused TH-6:closed_hours; closed_hours
        wait 5        | left; idle, closed
    """,
    "TH-6 also one with nothing to show": """
        arrives       | mode closed_hours; idle, closed; welcome; measure
        36.50         |
        mask on       |
        wait 12       | refused TH-6:closed_hours; closed_hours
    """,
    "TH-6 TH-5 staff are measured and enter, though the pass is shown last": """
        arrives       | mode closed_hours; idle, closed; welcome; measure
        36.50         |
        mask on       |
        wait 5        |
        shows staff   | authorised; UNLOCK; pass_please
        turns         | passed; LOCK; idle, closed
    """,
    "TH-6 a fever is found although nobody knows who it is": """
        arrives       | mode closed_hours; idle, closed; welcome; measure
        38.00         | please_wait_retest wait_s=3
        wait 3        | measuring_again; measure
        38.00         | refused TH-6:closed_hours TH-4:temperature_fever; refused_fever_clinic
    """,
    "TH-6 the doors open while somebody waits": """
        wait 8199     |
        arrives       | mode closed_hours; idle, closed; welcome; measure
        mask on       |
        36.50         |
        wait 1        | mode serving
        shows known   | authorised; UNLOCK; pass_please
        turns         | passed; LOCK; idle
    """,
    "TH-6 the clock is set": """
        leaves           | mode closed_hours; idle, closed
        clock moves 9000 |
        wait 60          | mode serving; idle
    """,
    "TH-6 without a clock nobody is sent away, nor let in": """
        clock unsure  |
        starts        | started; idle
        arrives       | welcome; measure
        mask on       |
        36.50         |
        desk notes name, phone, id_number, travel clear |
        shows known   | referred TH-6:hours_unknown TR-1:clock_untrusted; clock_untrusted
        staff confirms | authorised; UNLOCK; pass_please
        turns         | passed; LOCK; idle
        clock sure    |
        wait 60       | mode closed_hours; idle, closed
    """,
}


@scenarios(HOURS)
def test_township_hall(scenario: str) -> None:
    play(scenario, Box("township-hall"))


@pytest.mark.parametrize("order", [("mask off", "shows staff", "mask on"), ("shows foreign", "shows staff")])
def test_staff_before_hours_may_put_something_right(order: tuple[str, ...]) -> None:
    box = Box("township-hall")
    do(box, "arrives", "36.50")
    if "mask off" not in order:
        do(box, "mask on")
    do(box, *order)
    assert box.decided["stage"] == "authorised"


def test_the_start_is_the_first_record_of_a_run() -> None:
    assert do(Box("township-hall"), "starts")[0] == "started"


def test_no_door_waits_for_the_hour_in_a_fire() -> None:
    box = play("leaves | mode closed_hours; idle, closed", Box("township-hall"))
    box.move_to(box.now.mono_ns + 8200 * NS_PER_S)
    assert do(box, "fire")[0] == "OPEN"


# --- the way out

CHECKPOINT = """
    arrives       | welcome; measure
    36.50         | referred CP-2:registration_missing; registration_missing
    desk notes name, id_number, household_place, residence, phone |
    desk notes plate_number, key_area_contact, signature          | authorised; UNLOCK; pass_please
    turns         | passed; LOCK; idle
"""


@pytest.mark.parametrize("said", ["service says red", "service says yellow"])
@pytest.mark.parametrize("answered", [("36.50", "wait 12"), ("36.50",), ("wait 12",)])
def test_nobody_is_called_back_on_the_way_out(said: str, answered: tuple[str, ...]) -> None:
    box = Box("county-office", direction=Direction.OUT)
    do(box, "arrives", "shows token", *answered, said, "36.50", "staff confirms", "turns")
    assert box.performed.count("UNLOCK") == box.performed.count("passed") == 1


@pytest.mark.parametrize("plan", ["township-routine", "county-hall", "appointment-hall"])
def test_where_nothing_is_asked_of_who_leaves_the_arm_opens_at_once(plan: str) -> None:
    box = Box(plan, direction=Direction.OUT)
    assert do(box, "arrives")[-3:] == ["authorised", "UNLOCK", "pass_please"]


def test_the_checkpoint_measures_and_registers_both_ways() -> None:
    play(CHECKPOINT, Box("checkpoint", direction=Direction.OUT))


def test_a_fever_does_not_leave_by_the_checkpoint_either() -> None:
    box = Box("checkpoint", direction=Direction.OUT)
    do(box, "arrives", "38.00", "wait 3", "38.00")
    assert (box.decided["stage"], box.reasons) == ("refused", {"temperature_fever"})
    assert box.decided["evidence"]["direction"] == "out"


def test_nobody_is_kept_inside_by_a_code() -> None:
    for name in ("red", "forged", "expired", "foreign"):
        box = Box("township-routine", direction=Direction.OUT)
        do(box, "arrives", f"shows {name}")
        assert "UNLOCK" in box.performed, name
