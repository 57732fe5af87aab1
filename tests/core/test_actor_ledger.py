"""The ledger fails and works again, the service starts and stops: no pass without a record, none missed."""

from dataclasses import replace

import pytest
from gatebox import RUN, SITE, TRUST, WALL_0_S, Box, do, play, scenarios

from gate.config import load_policy
from gate.core import events, unwritten
from gate.core.actor import GateActor
from gate.core.effects import Lock
from gate.core.events import Kind
from gate.core.evidence import Direction
from gate.core.inputs import DeviceFailed, LedgerOpened, RecordFailed, TimePassed
from gate.core.moment import NS_PER_S
from gate.core.policy import policy_hash
from gate.core.session import State
from gate.core.uses import Use

OPEN_POLICY = replace(load_policy("county-hall"), on_ledger_failure="open")


CLOSED = {
    "no record, no pass": """
        arrives       | welcome; measure
        36.50         |
        mask on       |
        disk fills up |
        shows green   | authorised!; LOCK; out of order
        turns         | passage without visit!; LOCK; out of order
        arrives       |
        shows green   |
        wait 9.9      |
        wait 0.1      | late undecided!; LOCK; out of order
        disk has room |
        wait 10       | late undecided; late interrupted; late mode fault; late passage without visit;
                      | mode serving; idle
        arrives       | welcome; measure
    """,
    "while collecting: what was measured is kept": """
        arrives       | welcome; measure
        38.00         | please_wait_retest wait_s=3
        disk fills up |
        camera fails  | camera failed!; LOCK; out of order
        disk has room |
        wait 10       | late camera failed; late mode degraded;
                      | late undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                      | TR-1:registration_missing;
                      | late interrupted; late mode fault; mode degraded; idle, see staff
    """,
    "with the person on duty": """
        arrives        | welcome; measure
        36.50          |
        mask on        |
        wait 12        | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        disk fills up  |
        staff confirms | authorised!; LOCK; out of order
        disk has room  |
        wait 10        | late undecided; late interrupted; late mode fault; mode serving; idle
    """,
    "as one passes and the next waits": """
        arrives       | welcome; measure
        36.50         |
        mask on       |
        shows green   | authorised; UNLOCK; pass_please
        leaves        |
        arrives       |
        disk fills up |
        turns         | passed!; LOCK; out of order
        disk has room |
        wait 10       | late passed; late mode fault; mode serving; idle
    """,
    "as one does not pass": """
        arrives       | welcome; measure
        36.50         |
        mask on       |
        shows green   | authorised; UNLOCK; pass_please
        disk fills up |
        wait 6        | LOCK; not_passed!; LOCK; out of order
        disk has room |
        wait 10       | late not_passed; late mode fault; mode serving; idle
    """,
    "in the first of two records": """
        arrives       | welcome; measure
        36.50         |
        disk fills up |
        leaves        |
        wait 1        | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                      | TR-1:registration_missing!; LOCK;
                      | out of order
        disk has room |
        wait 10       | late undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                      | TR-1:registration_missing;
                      | late left; late mode fault; mode serving; idle
    """,
    "on a refusal": """
        disk fills up |
        shows red     | welcome; measure; refused TR-2:status_red!; LOCK; out of order
        disk has room |
        wait 10       | late refused TR-2:status_red; late interrupted; late mode fault; mode serving; idle
    """,
    "again during recovery, in order all the same": """
        disk fills up     |
        camera fails      | camera failed!; LOCK; out of order
        thermometer fails | thermometer failed!; LOCK; out of order
        wait 10           | late camera failed!; LOCK; out of order
        disk has room     |
        wait 9.9          |
        disk fills up     |
        wait 0.1          | late camera failed!; LOCK; out of order
        wait 10           | late camera failed!; LOCK; out of order
        disk has room     |
        wait 10           | late camera failed; late mode degraded; late mode fault;
                          | late thermometer failed; mode degraded; idle, see staff
    """,
    "with the turnstile": """
        turnstile fails | turnstile failed; mode fault; out of order
        disk fills up   |
        camera fails    | camera failed!; LOCK; out of order
        disk has room   |
        wait 10         | late camera failed
        turnstile works | turnstile recovered; mode degraded; idle, see staff
    """,
}
OPEN = {
    "who is admitted passes": """
        arrives       | welcome; measure
        36.50         |
        mask on       |
        disk fills up |
        shows green   | authorised!; UNLOCK; pass_please
        turns         | passed!; LOCK; out of order; out of order
        arrives       | welcome; measure
        36.60         |
        mask on       |
        shows friend  | authorised!; UNLOCK; pass_please
        wait 6        | LOCK; not_passed!; not_passed
        wait 5        | out of order
        disk has room |
        wait 10       | late authorised; late mode fault; late passed; late authorised; late not_passed;
                      | mode serving; idle
    """,
    "who is not stays out": """
        disk fills up |
        shows red     | welcome; measure; refused TR-2:status_red!; refused_status
        wait 5        | left!; out of order; out of order
        disk has room |
        wait 10       | late refused TR-2:status_red; late mode fault; late left; mode serving; idle
    """,
    "the person on duty decides as always": """
        arrives        | welcome; measure
        36.50          |
        mask on        |
        disk fills up  |
        wait 12        | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing!; see_staff
        staff confirms | authorised!; UNLOCK; pass_please
        turns          | passed!; LOCK; out of order; out of order
    """,
    "a late record that fails opens nothing and stops nobody": """
        arrives       | welcome; measure
        36.50         |
        mask on       |
        disk fills up |
        shows green   | authorised!; UNLOCK; pass_please
        turns         | passed!; LOCK; out of order; out of order
        arrives       | welcome; measure
        wait 9        |
        36.50         |
        wait 1        | late authorised!
        mask on       |
        shows friend  | authorised!; UNLOCK; pass_please
    """,
    "nobody passes a failed turnstile": """
        disk fills up   |
        turnstile fails | turnstile failed!; out of order; out of order
        arrives         |
        shows green     |
        turnstile works | turnstile recovered!; out of order
        arrives         | welcome; measure
    """,
    "records go on while the late ones wait": """
        disk fills up |
        camera fails  | camera failed!; idle, see staff; out of order
        disk has room |
        arrives       | welcome; measure
        36.50         |
        mask on       |
        shows green   | authorised; UNLOCK; pass_please
        turns         | passed; LOCK; out of order
        wait 10       | late camera failed; late mode degraded; late mode fault; mode degraded;
                      | idle, see staff
    """,
    "a fire is a fire": """
        arrives       | welcome; measure
        disk fills up |
        fire          | OPEN; evacuate; fire on!; evacuate; evacuate
        turns         |
        disk has room |
        fire over     | LOCK; fire 1; mode fault; out of order
        wait 10       | late fire on; late mode evacuating; mode serving; idle
    """,
}
STARTING = {
    "started": """
        starts       | started; idle
    """,
    "started after a power cut": """
        starts after 0a1b2c3d-000007 0a1b2c3d-000009 | started; interrupted; interrupted; idle
    """,
    "started on a full disk": """
        disk fills up                                |
        starts after 0a1b2c3d-000007 0a1b2c3d-000009 | started!; LOCK; out of order
        disk has room                                |
        wait 10                                      | late started; late interrupted; late interrupted;
                                                     | late mode fault; mode serving; idle
    """,
}
OPENED = {
    "the ledger could be opened at last": """
        disk fills up                       |
        starts                              | started!; LOCK; out of order
        arrives                             |
        disk has room                       |
        ledger opens after 0a1b2c3d-000007  | interrupted
        wait 10                             | late started; late mode fault; mode serving; idle
        arrives                             | welcome; measure
    """,
    "and fails at once": """
        disk fills up                       |
        starts                              | started!; LOCK; out of order
        ledger opens after 0a1b2c3d-000007  | interrupted!; LOCK; out of order
        disk has room                       |
        wait 10                             | late started; late mode fault; late interrupted; mode serving;
                                            | idle
    """,
}
EXIT = {
    "nobody is kept inside because a disk is full": """
        disk fills up   |
        arrives         | authorised!; UNLOCK; pass_please
        turns           | passed!; LOCK; out of order; out of order
        leaves          |
        arrives         | authorised!; UNLOCK; pass_please
        wait 6          | LOCK; not_passed!; not_passed
        wait 5          | out of order
        disk has room   |
        wait 20         | late authorised; late mode fault; late passed; late authorised; late not_passed;
                        | mode serving; idle
    """,
    "nor before the ledger is opened": """
        disk fills up                       |
        starts                              | started!; idle; out of order
        arrives                             | authorised!; UNLOCK; pass_please
        turns                               | passed!; LOCK; out of order; out of order
        disk has room                       |
        ledger opens after 0a1b2c3d-000007  | interrupted
        wait 10                             | late started; late mode fault; late authorised; late passed;
                                            | mode serving; idle
    """,
    "a failed turnstile lets nobody out": """
        disk fills up   |
        turnstile fails | turnstile failed!; out of order; out of order
        arrives         |
    """,
}
STOPPING = {
    "nobody there": """
        stops        | LOCK; stopped; closed
    """,
    "just arrived": """
        arrives      | welcome; measure
        stops        | LOCK; stopped; closed
    """,
    "measured": """
        arrives      | welcome; measure
        36.50        |
        stops        | LOCK;
                     | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                     | TR-1:registration_missing;
                     | interrupted; stopped; closed
    """,
    "resting before the second measurement": """
        arrives      | welcome; measure
        38.00        | please_wait_retest wait_s=3
        stops        | LOCK;
                     | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                     | TR-1:registration_missing;
                     | interrupted; stopped; closed
    """,
    "while looking for a mask": """
        arrives      | welcome; measure
        shows green  |
        mask off     | mask_please
        stops        | LOCK; refused TR-1:mask_missing; interrupted; stopped; closed
    """,
    "with the person on duty": """
        arrives      | welcome; measure
        36.50        |
        wait 12      | referred TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                     | TR-1:registration_missing; see_staff
        stops        | LOCK; interrupted; stopped; closed
    """,
    "let in": """
        arrives      | welcome; measure
        36.50        |
        mask on      |
        shows green  | authorised; UNLOCK; pass_please
        stops        | LOCK; interrupted; stopped; closed
    """,
    "refused": """
        arrives      | welcome; measure
        shows red    | refused TR-2:status_red; refused_status
        stops        | LOCK; interrupted; stopped; closed
    """,
    "the ledger fails": """
        arrives       | welcome; measure
        36.50         |
        disk fills up |
        stops         | LOCK;
                      | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                      | TR-1:registration_missing!;
                      | LOCK; out of order
    """,
    "records wait, and the ledger works again": """
        disk fills up     |
        camera fails      | camera failed!; LOCK; out of order
        thermometer fails | thermometer failed!; LOCK; out of order
        disk has room     |
        stops             | LOCK; late camera failed; late mode degraded; late mode fault;
                          | late thermometer failed; stopped; closed
    """,
    "records wait, and the ledger still fails": """
        disk fills up     |
        camera fails      | camera failed!; LOCK; out of order
        thermometer fails | thermometer failed!; LOCK; out of order
        stops             | LOCK; late camera failed!; LOCK; out of order
        disk has room     |
        wait 10           | late camera failed; late mode degraded; late mode fault;
                          | late thermometer failed; late stopped; mode degraded; idle, see staff
    """,
}
ANOMALIES = {
    "the inbox was full": """
        3 inputs lost | inbox_overflowed: 3 inputs lost
    """,
    "whoever stands there may be somebody else by now": """
        arrives       | welcome; measure
        36.50         |
        mask on       |
        wait 12       | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        3 inputs lost | inbox_overflowed: 3 inputs lost; interrupted; idle
    """,
    "before anything was measured": """
        arrives       | welcome; measure
        3 inputs lost | inbox_overflowed: 3 inputs lost; idle
        shows green   | welcome; measure
    """,
    "whoever is let in passes": """
        arrives       | welcome; measure
        36.50         |
        mask on       |
        shows green   | authorised; UNLOCK; pass_please
        3 inputs lost | inbox_overflowed: 3 inputs lost
        turns         | passed; LOCK; idle
    """,
    "and whoever reads why not is left to read": """
        shows red     | welcome; measure; refused TR-2:status_red; refused_status
        3 inputs lost | inbox_overflowed: 3 inputs lost
        wait 5        | left; idle
    """,
    "and the disk too": """
        disk fills up |
        3 inputs lost | inbox_overflowed: 3 inputs lost!; LOCK; out of order
        disk has room |
        wait 10       | late inbox_overflowed: 3 inputs lost; late mode fault; mode serving; idle
    """,
}


@scenarios(CLOSED)
def test_closed_policy(scenario: str) -> None:
    play(scenario)


@scenarios(OPEN)
def test_open_policy(scenario: str) -> None:
    play(scenario, Box(OPEN_POLICY))


@scenarios(STARTING)
def test_starting(scenario: str) -> None:
    play(scenario)


@scenarios(OPENED)
def test_a_ledger_that_opens_late(scenario: str) -> None:
    play(scenario)


@scenarios(EXIT)
def test_an_exit_with_a_full_ledger(scenario: str) -> None:
    play(scenario, Box(direction=Direction.OUT))


COMES = ("arrives", "mask on", "36.50", "shows green")


def green_used(seconds_ago: int) -> Use:
    return Use("county/00000101", Direction.IN, (WALL_0_S - seconds_ago) * 1000, WALL_0_S + 86_400)


def test_what_a_ledger_that_opens_late_knows_of_a_pass_counts() -> None:
    box = Box()
    do(box, "disk fills up", "starts", "disk has room")
    box.feed(LedgerOpened((), (green_used(5),)))
    do(box, "wait 10", *COMES, "wait 12")
    assert "replay" in box.reasons


def test_uses_of_this_run_count_on_when_the_ledger_opens() -> None:
    box = Box(OPEN_POLICY)
    do(box, "disk fills up", "starts", *COMES, "turns", "leaves", "disk has room")
    box.feed(LedgerOpened((), (green_used(3600),)))
    do(box, "wait 20")
    assert [use.count for use in box.uses()] == [2]
    do(box, *COMES)
    assert box.actor.visit is not None
    assert box.actor.visit.state is not State.AUTHORISED


def test_who_is_let_in_as_the_ledger_opens_may_still_not_pass() -> None:
    box = Box(OPEN_POLICY)
    do(box, "disk fills up", "starts", *COMES, "disk has room")
    box.feed(LedgerOpened((), (green_used(3600),)))
    assert do(box, "wait 6")[:2] == ["LOCK", "not_passed"]
    do(box, "wait 20")
    assert box.uses() == (green_used(3600),)


@scenarios(STOPPING)
def test_stopping(scenario: str) -> None:
    play(scenario)


@scenarios(ANOMALIES)
def test_anomalies(scenario: str) -> None:
    play(scenario)


def test_what_waits_in_memory_is_counted_and_written_once() -> None:
    box = Box()
    play("disk fills up |", box)
    play("camera fails | camera failed!; LOCK; out of order", box)
    assert box.actor.unwritten == 3
    play("disk has room |", box)
    play(
        "wait 10 | late camera failed; late mode degraded; late mode fault; mode degraded; idle, see staff",
        box,
    )
    assert (box.actor.unwritten, box.actor.next_wakeup()) == (0, None)
    play("wait 100 |", box)


def test_memory_is_bounded_and_what_is_lost_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unwritten, "UNWRITTEN_MAX", 4)
    box = Box()
    play("disk fills up |", box)
    for _ in range(5):
        play("1 inputs lost | inbox_overflowed: 1 inputs lost!; LOCK; out of order", box)
        assert box.actor.unwritten <= 4
    play("wait 10 | late inbox_overflowed: 1 inputs lost!; LOCK; out of order", box)
    play("disk has room |", box)
    play(
        """
        wait 10 | late inbox_overflowed: 1 inputs lost; late mode fault;
                | late inbox_overflowed: 1 inputs lost; late inbox_overflowed: 1 inputs lost;
                | records_lost: 2 records were lost while the ledger failed; mode serving; idle
        """,
        box,
    )


def test_a_lost_count_that_cannot_be_written_waits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unwritten, "UNWRITTEN_MAX", 2)
    box = Box()
    play("disk fills up |", box)
    for _ in range(2):
        play("1 inputs lost | inbox_overflowed: 1 inputs lost!; LOCK; out of order", box)
    play("disk has room |", box)
    box.move_to(box.now.mono_ns + 10 * NS_PER_S)
    assert box.feed(TimePassed()) == ["late inbox_overflowed: 1 inputs lost"]
    assert box.feed(TimePassed()) == ["late mode fault"]
    play("disk fills up |", box)
    lost = "records_lost: 1 records were lost while the ledger failed"
    assert box.feed(TimePassed()) == [f"{lost}!", "LOCK", "out of order"]
    play("disk has room |", box)
    # The change back to "fault" found no room, and is counted in turn.
    assert box.wait(10) == [f"late {lost}", "late mode serving", lost, "mode serving", "idle"]


def test_a_failed_record_that_was_never_asked_for_is_kept_all_the_same() -> None:
    box = Box()
    effects = box.actor.handle(RecordFailed(events.gate_stopped(), "disk full"), box.now)
    assert (effects[0], box.actor.unwritten) == (Lock(), 2)


def test_late_records_say_so_and_are_never_authorisations_after_the_fact() -> None:
    box = play(CLOSED["no record, no pass"])
    assert [event.data.get("late", False) for event in box.recorded] == [True, True, True, True, False]
    assert box.decided["stage"] == "undecided"
    assert box.decided["verdict"] == "admit"
    assert box.data(Kind.VISIT_CLOSED)[-1]["result"] == "interrupted"


def test_what_is_kept_of_a_raised_temperature_is_reported_at_once() -> None:
    box = play(CLOSED["while collecting: what was measured is kept"])
    assert [event.abnormal for event in box.recorded if event.kind is Kind.VISIT_DECIDED] == [True]


def test_the_start_names_run_version_and_policy() -> None:
    box = play(STARTING["started after a power cut"])
    policy = load_policy("county-hall")
    assert box.data(Kind.GATE_STARTED) == [
        {"version": "1.0", "run": RUN, "policy": "county-hall", "policy_hash": policy_hash(policy)}
    ]
    assert box.data(Kind.VISIT_CLOSED) == [
        {"visit": name, "result": "interrupted", "duration_ms": None}
        for name in ("0a1b2c3d-000007", "0a1b2c3d-000009")
    ]


def test_something_that_is_no_input_is_an_error_of_the_program_and_changes_nothing() -> None:
    box = play(CLOSED["with the person on duty"])
    before = {name: repr(value) for name, value in vars(box.actor).items() if name != "answers"}
    with pytest.raises(KeyError):
        box.actor.handle("a text", box.now)  # type: ignore[arg-type]  # on purpose
    assert {name: repr(value) for name, value in vars(box.actor).items() if name != "answers"} == before


def test_the_list_of_effects_belongs_to_the_caller() -> None:
    gate = GateActor(load_policy("county-hall"), TRUST, SITE, RUN)
    box = Box()
    effects = gate.handle(DeviceFailed("camera", "no answer"), box.now)  # type: ignore[arg-type]  # a word will do
    failed = effects[0].event  # type: ignore[union-attr]  # it is a record
    effects.clear()
    gate.handle(RecordFailed(failed, "disk full"), box.now)
    assert gate.unwritten == 3
