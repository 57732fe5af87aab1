"""Fire: open first, count, never block, and go back to where the gate was."""

from gatebox import Box, play, scenarios

from gate.core.effects import HoldOpen, LightSignal, Show
from gate.core.events import Kind
from gate.core.texts import Key

FIRE = {
    "nobody there, two go out": """
        fire           | OPEN; evacuate; fire on; mode evacuating; evacuate
        fire           |
        turns          |
        turns          |
        arrives        |
        shows green    |
        staff confirms |
        staff refuses  |
        mask on        |
        leaves         |
        wait 100       |
        fire over      | LOCK; fire 2; mode serving; idle
        fire over      |
    """,
    "a second alarm counts from none": """
        fire         | OPEN; evacuate; fire on; mode evacuating; evacuate
        turns        |
        fire over    | LOCK; fire 1; mode serving; idle
        fire         | OPEN; evacuate; fire on; mode evacuating; evacuate
        fire over    | LOCK; fire 0; mode serving; idle
    """,
    "just arrived": """
        arrives      | welcome; measure
        fire         | OPEN; evacuate; fire on; mode evacuating; evacuate
    """,
    "measured": """
        arrives      | welcome; measure
        36.50        |
        fire         | OPEN; evacuate;
                     | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                     | TR-1:registration_missing; interrupted;
                     | fire on; mode evacuating; evacuate
        turns        |
        fire over    | LOCK; fire 1; mode serving; idle
        arrives      | welcome; measure
    """,
    "resting before the second measurement": """
        arrives      | welcome; measure
        38.00        | please_wait_retest wait_s=3
        fire         | OPEN; evacuate;
                     | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                     | TR-1:registration_missing; interrupted;
                     | fire on; mode evacuating; evacuate
    """,
    "while looking for a mask": """
        arrives      | welcome; measure
        shows green  |
        mask off     | mask_please
        fire         | OPEN; evacuate; refused TR-1:mask_missing; interrupted; fire on; mode evacuating;
                     | evacuate
    """,
    "with the person on duty": """
        arrives      | welcome; measure
        36.50        |
        wait 12      | referred TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                     | TR-1:registration_missing; see_staff
        fire         | OPEN; evacuate; interrupted; fire on; mode evacuating; evacuate
    """,
    "let in": """
        arrives      | welcome; measure
        36.50        |
        mask on      |
        shows green  | authorised; UNLOCK; pass_please
        fire         | OPEN; evacuate; interrupted; fire on; mode evacuating; evacuate
        turns        |
        fire over    | LOCK; fire 1; mode serving; idle
    """,
    "refused": """
        arrives      | welcome; measure
        shows red    | refused TR-2:status_red; refused_status
        fire         | OPEN; evacuate; interrupted; fire on; mode evacuating; evacuate
    """,
    "after not passing": """
        arrives      | welcome; measure
        36.50        |
        mask on      |
        shows green  | authorised; UNLOCK; pass_please
        wait 6       | LOCK; not_passed; not_passed
        fire         | OPEN; evacuate; fire on; mode evacuating; evacuate
    """,
    "a reading and a code that come too late": """
        arrives      | welcome; measure
        fire         | OPEN; evacuate; fire on; mode evacuating; evacuate
        36.50        |
        shows green  |
        fire over    | LOCK; fire 0; mode serving; idle
        36.50        |
    """,
    "parts fail and work meanwhile": """
        fire            | OPEN; evacuate; fire on; mode evacuating; evacuate
        camera fails    | camera failed
        turnstile fails | turnstile failed
        turnstile works | turnstile recovered
        fire over       | LOCK; fire 0; mode degraded; idle, see staff
    """,
    "in a fault": """
        turnstile fails | turnstile failed; mode fault; out of order
        fire            | OPEN; evacuate; fire on; mode evacuating; evacuate
        turnstile works | turnstile recovered
        fire over       | LOCK; fire 0; mode serving; idle
    """,
    "the gate stays open and says so when the service stops": """
        fire         | OPEN; evacuate; fire on; mode evacuating; evacuate
        stops        | stopped; evacuate
    """,
    "the ledger fails in the middle": """
        arrives       | welcome; measure
        36.50         |
        disk fills up |
        fire          | OPEN; evacuate;
                      | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                      | TR-1:registration_missing!; evacuate
        turns         |
        wait 10       | late undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                      | TR-1:registration_missing!;
                      | evacuate
        disk has room |
        wait 10       | late undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                      | TR-1:registration_missing;
                      | late interrupted; late fire on; late mode evacuating
        fire over     | LOCK; fire 1; mode serving; idle
    """,
    "the ledger fails when it is over": """
        fire          | OPEN; evacuate; fire on; mode evacuating; evacuate
        disk fills up |
        fire over     | LOCK; fire 0!; LOCK; out of order
        disk has room |
        wait 10       | late fire 0; late mode serving; late mode fault; mode serving; idle
    """,
    "the ledger had failed before": """
        disk fills up |
        camera fails  | camera failed!; LOCK; out of order
        fire          | OPEN; evacuate; fire on!; evacuate
        wait 10       | late camera failed!; evacuate
        fire over     | LOCK; fire 0!; LOCK; out of order
    """,
}


@scenarios(FIRE)
def test_fire(scenario: str) -> None:
    play(scenario)


def test_lamps_and_buzzer_say_it_too() -> None:
    box = play("fire | OPEN; evacuate; fire on; mode evacuating; evacuate", Box())
    _, effects = box.actor.answers[-1]
    assert effects[:2] == [HoldOpen(), Show(Key.EVACUATE, LightSignal.EVACUATE)]


def test_both_ends_are_on_record_and_the_first_is_reported_at_once() -> None:
    box = play(FIRE["a second alarm counts from none"])
    alarms = [event for event in box.recorded if event.kind is Kind.FIRE_ALARM]
    assert [(event.data["active"], event.data["passages"], event.abnormal) for event in alarms] == [
        (True, 0, True),
        (False, 1, False),
        (True, 0, True),
        (False, 0, False),
    ]
