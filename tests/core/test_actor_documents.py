"""Documents of the day at the gate: taken, refused, ageing, and what each of them changes for visitors."""

import pytest
from gatebox import KEY, WALL_0_S, Box, do, make_document, play, scenarios
from hypothesis import given
from hypothesis import strategies as st

from gate.core import day
from gate.core.documents import Occupancy
from gate.core.events import Kind
from gate.core.evidence import Direction
from gate.core.inputs import DocumentReceived
from gate.core.mode import Mode

TAKING = {
    "accepted, and again, and newer": """
        document 2: counts 50           | keep occupancy-county; document occupancy 2 accepted
        document 2: counts 50           |
        document 3: counts 51           | keep occupancy-county; document occupancy 3 accepted
    """,
    "older": """
        document 2: counts 50           | keep occupancy-county; document occupancy 2 accepted
        document 1: counts 50           | document occupancy 1 older
    """,
    "two with one version": """
        document 2: counts 50           | keep occupancy-county; document occupancy 2 accepted
        document 2: counts 51           | document occupancy 2 conflict
    """,
    "each issuer counts for itself": """
        document 2: residents green            | keep residents-county; document residents 2 accepted
        document 1 by office: residents friend | keep residents-office; document residents 1 accepted
    """,
    "what nobody vouches for is told once for each kind of fault": """
        forged document 1: counts 50         | document_refused: bad_signature: bad_signature
        forged document 2: counts 50         |
        document elsewhere 1: counts 50      | document_refused: wrong_site: wrong_site
        document elsewhere 2: suspended      |
        document 1 by stranger: suspended    | document_refused: unknown_issuer: unknown_issuer
        arrives                              | welcome; measure
    """,
    "one whose time is over is known, and not used": """
        wait 100                        |
        document 1 for 50: suspended    | keep suspension-county; document suspension 1 accepted;
                                        | document suspension 1 stale; mode degraded; idle, see staff
        document 2: suspended           | keep suspension-county; document suspension 2 accepted;
                                        | mode suspended; idle, suspended
    """,
    "goes out of its time, on record once": """
        document 1 for 600: counts 50   | keep occupancy-county; document occupancy 1 accepted
        wait 600                        |
        wait 60                         | document occupancy 1 stale; mode degraded; idle, see staff
        wait 6000                       |
        document 2: counts 50           | keep occupancy-county; document occupancy 2 accepted;
                                        | mode serving; idle
    """,
    "two kinds go out of their time one after the other": """
        document 1 for 60: counts 50        | keep occupancy-county; document occupancy 1 accepted
        document 1 for 180: residents green | keep residents-county; document residents 1 accepted
        wait 120                            | document occupancy 1 stale; mode degraded; idle, see staff
        wait 120                            | document residents 1 stale
        document 2: counts 50               | keep occupancy-county; document occupancy 2 accepted
        document 2: residents green         | keep residents-county; document residents 2 accepted;
                                            | mode serving; idle
    """,
    "during a visit": """
        arrives                         | welcome; measure
        document 1: counts 50           | keep occupancy-county; document occupancy 1 accepted
        mask on                         |
        36.50                           |
        shows green                     | authorised; UNLOCK; pass_please
    """,
    "while the ledger fails it is kept all the same": """
        disk fills up                   |
        document 1: counts 50           | keep occupancy-county; document occupancy 1 accepted!; LOCK;
                                        | out of order
        disk has room                   |
        wait 10                         | late document occupancy 1 accepted; late mode fault; mode serving;
                                        | idle
    """,
}
SUSPENSION = {
    "CO-7 visitors are told, staff pass, and it goes on by a higher version": """
        document 1: suspended  | keep suspension-county; document suspension 1 accepted; mode suspended;
                               | idle, suspended
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows green            | refused CO-7:suspended; suspended
        leaves                 |
        wait 5                 | left; idle, suspended
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows staff            | authorised; UNLOCK; pass_please
        turns                  | passed; LOCK; idle, suspended
        leaves                 |
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows resident         | refused CO-7:suspended; suspended
        document 2: resumed    | keep suspension-county; document suspension 2 accepted; mode serving
        leaves                 |
        wait 5                 | left; idle
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        shows friend           | authorised; UNLOCK; pass_please
    """,
    "who shows nothing is told when the time is over": """
        document 1: suspended  | keep suspension-county; document suspension 1 accepted; mode suspended;
                               | idle, suspended
        arrives                | welcome; measure
        mask on                |
        36.50                  |
        wait 12                | refused CO-7:suspended; suspended
    """,
    "nobody vouches for a visitor": """
        document 1: suspended  | keep suspension-county; document suspension 1 accepted; mode suspended;
                               | idle, suspended
        arrives                | welcome; measure
        staff confirms         |
        mask on                |
        36.50                  |
        wait 12                | refused CO-7:suspended; suspended
    """,
    "in the middle of a visit": """
        arrives                | welcome; measure
        mask on                |
        shows green            |
        document 1: suspended  | keep suspension-county; document suspension 1 accepted; mode suspended
        36.50                  | refused CO-7:suspended; suspended
        wait 5                 | left; idle, suspended
    """,
    "who has been let in walks through": """
        arrives                | welcome; measure
        mask on                |
        shows green            |
        36.50                  | authorised; UNLOCK; pass_please
        document 1: suspended  | keep suspension-county; document suspension 1 accepted; mode suspended
        turns                  | passed; LOCK; idle, suspended
    """,
    "an older version changes nothing": """
        document 2: suspended  | keep suspension-county; document suspension 2 accepted; mode suspended;
                               | idle, suspended
        document 1: resumed    | document suspension 1 older
    """,
    "one of two issuers is enough": """
        document 1: suspended         | keep suspension-county; document suspension 1 accepted;
                                      | mode suspended; idle, suspended
        document 5 by office: resumed | keep suspension-office; document suspension 5 accepted
        arrives                       | welcome; measure
        shows green                   | refused CO-7:suspended; suspended
    """,
    "an order ends with its time": """
        document 1 for 600: suspended | keep suspension-county; document suspension 1 accepted;
                                      | mode suspended; idle, suspended
        wait 600                      |
        wait 60                       | document suspension 1 stale; mode degraded; idle, see staff
        arrives                       | welcome; measure
        mask on                       |
        36.50                         |
        shows green                   | authorised; UNLOCK; pass_please
    """,
    "a fault counts more, and afterwards it is still suspended": """
        document 1: suspended | keep suspension-county; document suspension 1 accepted; mode suspended;
                              | idle, suspended
        turnstile fails       | turnstile failed; mode fault; out of order
        turnstile works       | turnstile recovered; mode suspended; idle, suspended
    """,
}
REVOKING = {
    "a pass is refused as soon as the list has come": """
        document 1: revokes green renewed | keep revocations-county; document revocations 1 accepted
        shows green                       | welcome; measure; refused TR-2:revoked; revoked
    """,
    "and nobody vouches for it": """
        document 1: revokes green         | keep revocations-county; document revocations 1 accepted
        arrives                           | welcome; measure
        staff confirms                    |
        shows green                       | refused TR-2:revoked; revoked
    """,
    "a list counts for its own issuer's passes": """
        document 1 by office: revokes green | keep revocations-office; document revocations 1 accepted
        arrives                             | welcome; measure
        mask on                             |
        36.50                               |
        shows green                         | authorised; UNLOCK; pass_please
    """,
    "a member of staff": """
        document 1 by office: revokes staff | keep revocations-office; document revocations 1 accepted
        shows staff                         | welcome; measure; refused TR-2:revoked; revoked
    """,
    "a rotating pass": """
        document 1: revokes copy          | keep revocations-county; document revocations 1 accepted
        holds up bound                    | welcome; measure; refused TR-2:revoked; revoked
    """,
    "a newer list takes it back": """
        document 1: revokes green         | keep revocations-county; document revocations 1 accepted
        document 2: revokes friend        | keep revocations-county; document revocations 2 accepted
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        shows green                       | authorised; UNLOCK; pass_please
    """,
    "before its time: authentic is enough": """
        document 1: revokes early         | keep revocations-county; document revocations 1 accepted
        shows early                       | welcome; measure; refused TR-2:revoked; revoked
    """,
    "after its time": """
        document 1: revokes expired       | keep revocations-county; document revocations 1 accepted
        shows expired                     | welcome; measure; refused TR-2:revoked; revoked
    """,
    "while the clock is unsure": """
        document 1: revokes green         | keep revocations-county; document revocations 1 accepted
        clock unsure                      |
        shows green                       | welcome; measure; refused TR-2:revoked; revoked
    """,
    "in the middle of a visit, before its time": """
        arrives                           | welcome; measure
        mask on                           |
        shows early                       | refused_code_not_yet_valid
        document 1: revokes early         | keep revocations-county; document revocations 1 accepted
        36.50                             | refused TR-2:revoked; revoked
    """,
    "a forged one stays forged": """
        document 1: revokes green         | keep revocations-county; document revocations 1 accepted
        arrives                           | welcome; measure
        shows forged                      | refused TR-2:bad_signature; refused_code_not_valid
    """,
    "out of its time: home passes are shown to the person on duty, what was revoked stays so": """
        document 1 for 60: revokes green  | keep revocations-county; document revocations 1 accepted
        wait 120                          | document revocations 1 stale; mode degraded; idle, see staff
        shows green                       | welcome; measure; refused TR-2:revoked; revoked
        leaves                            |
        wait 5                            | left; idle, see staff
        arrives                           | welcome; measure
        mask on                           |
        36.50                             |
        shows friend                      | referred TR-1:revocations_stale; service_unavailable
        staff confirms                    | authorised; UNLOCK; pass_please
    """,
}
INSIDE = {
    "TR-5 room for one more": """
        document 1: counts 99   | keep occupancy-county; document occupancy 1 accepted
        arrives                 | welcome; measure
        mask on                 |
        36.50                   |
        shows green             | authorised; UNLOCK; pass_please
    """,
    "TR-5 full": """
        document 1: counts 100  | keep occupancy-county; document occupancy 1 accepted
        arrives                 | welcome; measure
        mask on                 |
        36.50                   |
        shows green             | referred TR-5:full; full
        staff confirms          | authorised; UNLOCK; pass_please
    """,
    "TR-5 staff come to their work": """
        document 1: counts 100  | keep occupancy-county; document occupancy 1 accepted
        arrives                 | welcome; measure
        mask on                 |
        36.50                   |
        shows staff             | authorised; UNLOCK; pass_please
    """,
    "TR-5 a count that is too old is none: the person on duty looks": """
        document 1 for 60: counts 5   | keep occupancy-county; document occupancy 1 accepted
        wait 120                      | document occupancy 1 stale; mode degraded; idle, see staff
        arrives                       | welcome; measure
        mask on                       |
        36.50                         |
        shows green                   | referred TR-5:occupancy_stale; see_staff
        staff confirms                | authorised; UNLOCK; pass_please
    """,
    "TR-5 of two counts one is too old": """
        document 1 for 60: counts 100    | keep occupancy-county; document occupancy 1 accepted
        document 1 by office: counts 5   | keep occupancy-office; document occupancy 1 accepted
        wait 120                         | document occupancy 1 stale; mode degraded; idle, see staff
        arrives                          | welcome; measure
        mask on                          |
        36.50                            |
        shows green                      | authorised; UNLOCK; pass_please
    """,
    "TR-5 and the other one is full": """
        document 1 for 60: counts 5      | keep occupancy-county; document occupancy 1 accepted
        document 1 by office: counts 100 | keep occupancy-office; document occupancy 1 accepted
        wait 120                         | document occupancy 1 stale; mode degraded; idle, see staff
        arrives                          | welcome; measure
        mask on                          |
        36.50                            |
        shows green                      | referred TR-5:full; full
    """,
}
AREAS = {
    "TR-3 from a region on the list": """
        document 1: areas CN-32       | keep risk_areas-county; document risk_areas 1 accepted
        arrives                       | welcome; measure
        mask on                       |
        36.50                         |
        desk notes name, phone        |
        shows token                   | ask CN-32; checking_code
        service says green            | test_missing
        wait 15                       | refused TR-3:test_missing; test_missing
    """,
    "TR-3 with a test": """
        document 1: areas CN-32       | keep risk_areas-county; document risk_areas 1 accepted
        arrives                       | welcome; measure
        mask on                       |
        36.50                         |
        desk notes name, phone, test negative 168 h old |
        shows token                   | ask CN-32; checking_code
        service says green            | authorised; UNLOCK; pass_please
    """,
    "TR-4 from anywhere else": """
        document 1: areas CN-31 CN-33 | keep risk_areas-county; document risk_areas 1 accepted
        arrives                       | welcome; measure
        mask on                       |
        36.50                         |
        desk notes name, phone        |
        shows token                   | ask CN-32; checking_code
        service says green            | authorised; UNLOCK; pass_please
    """,
    "TR-3 an old list clears nobody: the person on duty asks": """
        document 1 for 60: areas CN-32 | keep risk_areas-county; document risk_areas 1 accepted
        wait 120                      | document risk_areas 1 stale; mode degraded; idle, see staff
        arrives                       | welcome; measure
        mask on                       |
        36.50                         |
        desk notes name, phone        |
        shows token                   | ask CN-32; checking_code
        service says green            | referred TR-3:risk_areas_stale; service_unavailable
        staff confirms                | authorised; UNLOCK; pass_please
    """,
    "TR-3 a code without a region is none of an old list's business": """
        document 1 for 60: areas CN-32 | keep risk_areas-county; document risk_areas 1 accepted
        wait 120                      | document risk_areas 1 stale; mode degraded; idle, see staff
        arrives                       | welcome; measure
        mask on                       |
        36.50                         |
        shows green                   | authorised; UNLOCK; pass_please
    """,
    "TR-3 of two lists one is too old, the other counts": """
        document 1 for 60: areas CN-31  | keep risk_areas-county; document risk_areas 1 accepted
        document 1 by office: areas CN-32 | keep risk_areas-office; document risk_areas 1 accepted
        wait 120                      | document risk_areas 1 stale; mode degraded; idle, see staff
        arrives                       | welcome; measure
        mask on                       |
        36.50                         |
        desk notes name, phone        |
        shows token                   | ask CN-32; checking_code
        service says green            | test_missing
    """,
}


@scenarios(TAKING)
def test_taking(scenario: str) -> None:
    play(scenario)


@scenarios(SUSPENSION)
def test_suspension(scenario: str) -> None:
    play(scenario)


@scenarios(REVOKING)
def test_revoking(scenario: str) -> None:
    play(scenario)


@scenarios(INSIDE)
def test_occupancy(scenario: str) -> None:
    play(scenario)


@scenarios(AREAS)
def test_risk_areas(scenario: str) -> None:
    play(scenario)


def test_the_order_stands_on_the_record_of_whom_it_sent_away() -> None:
    box = play(SUSPENSION["CO-7 visitors are told, staff pass, and it goes on by a higher version"])
    assert [data["evidence"].get("suspended") for data in box.data(Kind.VISIT_DECIDED)] == [
        True,
        True,
        True,
        None,
    ]


def test_who_is_inside_gets_out_while_service_is_suspended() -> None:
    box = Box(direction=Direction.OUT)
    do(box, "document 1: suspended", "arrives")
    assert box.decided["stage"] == "authorised"


def test_what_is_out_of_its_time_stands_on_the_record() -> None:
    box = play(INSIDE["TR-5 a count that is too old is none: the person on duty looks"])
    assert box.decided["evidence"]["stale"] == ["occupancy"]
    assert box.actor.stale_documents == {"occupancy"}
    assert "occupancy" not in box.decided["evidence"]


def test_documents_that_change_nothing_good_are_reported_at_once() -> None:
    box = Box()
    do(box, "document 2 for 60: counts 1", "document 1: counts 1", "document 2: counts 3")
    do(box, "document elsewhere 3: counts 1", "wait 120")
    assert [event.abnormal for event in box.recorded] == [False, True, True, True, True, False]


def test_what_is_kept_is_what_came() -> None:
    box = Box()
    text = make_document(1, Occupancy(5, WALL_0_S), key=KEY)
    box.feed(DocumentReceived(text))
    assert box.kept == {"occupancy-county": text}


def test_an_order_stands_while_the_clock_is_unsure() -> None:
    box = Box()
    do(box, "document 1: suspended", "clock unsure", "wait 120")
    assert box.actor.mode is Mode.SUSPENDED


def test_a_pass_that_is_called_back_in_the_middle_of_a_visit_opens_nothing() -> None:
    box = Box()
    do(box, "arrives", "mask on", "shows green", "document 1: revokes green", "shows green", "36.50")
    assert "UNLOCK" not in box.performed


def test_a_pass_that_is_called_back_beside_the_person_on_duty_opens_nothing() -> None:
    box = Box()
    do(box, "arrives", "36.50", "shows green", "wait 12", "document 1: revokes green", "staff confirms")
    assert "UNLOCK" not in box.performed


def test_what_is_told_of_bad_documents_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(day, "REFUSALS_TOLD_MAX", 1)
    box = Box()
    assert do(box, "forged document 1: counts 5") == ["document_refused: bad_signature: bad_signature"]
    assert do(box, "document elsewhere 1: counts 5") == []


def test_of_two_offices_residents_the_list_that_is_current_counts() -> None:
    box = Box("sealed-area")
    do(box, "document 1 for 60: residents green", "document 1 by office: residents friend", "wait 120")
    comes = ("arrives", "mask on", "36.50", "desk notes test negative 1 h old")
    do(box, *comes, "shows friend", "turns", "leaves", "wait 10")
    assert box.decided["stage"] == "authorised"
    do(box, *comes, "shows green", "wait 15")
    assert (box.decided["stage"], box.reasons) == ("refused", {"not_resident"})


def test_of_two_offices_appointments_the_list_that_is_current_counts() -> None:
    box = Box("appointment-hall")
    do(box, "document 1 for 60: books green 0-9000", "document 1 by office: books friend 0-9000", "wait 120")
    comes = ("arrives", "mask on", "36.50", "desk notes ID checked")
    do(box, *comes, "shows friend", "turns", "leaves", "wait 10")
    assert box.decided["stage"] == "authorised"
    do(box, *comes, "shows green")
    assert (box.decided["stage"], box.reasons) == ("referred", {"appointment_unverified"})


def test_of_two_orders_the_one_that_is_current_counts() -> None:
    box = Box()
    do(box, "document 1 for 60: suspended", "document 1 by office: resumed", "wait 120")
    assert box.actor.mode is Mode.DEGRADED
    do(box, "document 2 by office: suspended")
    assert box.actor.mode is Mode.SUSPENDED


def test_an_order_that_was_over_stands_again_while_nobody_knows_the_time() -> None:
    box = Box()
    do(box, "document 1 for 60: suspended", "wait 120", "clock unsure", "wait 60")
    assert box.actor.mode is Mode.SUSPENDED


@given(st.binary(max_size=200))
def test_no_bytes_break_the_gate(text: bytes) -> None:
    box = Box()
    performed = [*box.feed(DocumentReceived(text)), *box.feed(DocumentReceived(b"HGD1:" + text))]
    assert all(word.startswith("document_refused: ") for word in performed)
