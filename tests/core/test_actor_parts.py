"""Parts that fail and work again, and evidence that ages."""

from gatebox import Box, play, scenarios

from gate.core.inputs import Device
from gate.core.mode import Mode

THERMOMETER = {
    "answers too late": """
        arrives        | welcome; measure
        mask on        |
        shows green    |
        wait 12        | thermometer failed; mode degraded; referred CH-1:temperature_unmeasurable;
                       | sensor_fault
        36.50          |
        staff confirms | authorised; UNLOCK; pass_please
        turns          | passed; LOCK; idle, see staff
    """,
    "never answers": """
        arrives      | welcome; measure
        mask on      |
        wait 12      | thermometer failed; mode degraded;
                     | referred TR-1:code_missing TR-1:travel_unknown CH-1:temperature_unmeasurable
                     | TR-1:registration_missing;
                     | see_staff
    """,
    "cannot measure this visitor": """
        arrives                  | welcome; measure
        mask on                  |
        shows green              |
        cannot measure, unstable | measure
        cannot measure, unstable | measure
        cannot measure, unstable | referred CH-1:temperature_unmeasurable; sensor_fault
        staff confirms           | authorised; UNLOCK; pass_please
        turns                    | passed; LOCK; idle
    """,
    "measures at the third attempt": """
        arrives                  | welcome; measure
        mask on                  |
        shows green              |
        cannot measure, unstable | measure
        cannot measure, unstable | measure
        36.50                    | authorised; UNLOCK; pass_please
    """,
    "is broken, then works": """
        arrives                   | welcome; measure
        mask on                   |
        shows green               |
        cannot measure, bus_error | measure
        cannot measure, bus_error | measure
        cannot measure, bus_error | thermometer failed; mode degraded;
                                  | referred CH-1:temperature_unmeasurable; sensor_fault
        staff confirms            | authorised; UNLOCK; pass_please
        turns                     | passed; LOCK; idle, see staff
        arrives                   | welcome; measure
        36.50                     | thermometer recovered; mode serving
        mask on                   |
        shows friend              | authorised; UNLOCK; pass_please
    """,
    "breaks before the second measurement": """
        arrives                 | welcome; measure
        mask on                 |
        shows green             |
        38.00                   | please_wait_retest wait_s=3
        wait 3                  | measuring_again; measure
        cannot measure, timeout | measure
        cannot measure, timeout | measure
        cannot measure, timeout | thermometer failed; mode degraded; referred CH-1:temperature_unmeasurable;
                                | sensor_fault
        staff confirms          | authorised; UNLOCK; pass_please
    """,
    "never gives the second measurement": """
        arrives      | welcome; measure
        mask on      |
        shows green  |
        38.00        | please_wait_retest wait_s=3
        wait 3       | measuring_again; measure
        wait 11.9    |
        wait 0.1     | thermometer failed; mode degraded; referred CH-1:temperature_unmeasurable;
                     | sensor_fault
    """,
    "answers while nobody asked": """
        arrives      | welcome; measure
        36.50        |
        39.00        |
        mask on      |
        shows green  | authorised; UNLOCK; pass_please
    """,
    "answers while the visitor rests": """
        arrives      | welcome; measure
        38.00        | please_wait_retest wait_s=3
        36.50        |
        mask on      |
        shows green  |
        wait 3       | measuring_again; measure
        36.50        | authorised; UNLOCK; pass_please
    """,
    "answers after the refusal": """
        arrives      | welcome; measure
        shows red    | refused TR-2:status_red; refused_status
        39.00        |
        wait 5       | left; idle
        36.50        |
    """,
}
AGEING = {
    "a measurement is worth 20 s": """
        arrives       | welcome; measure
        36.50         |
        wait 11       |
        shows expired | refused_code_expired
        wait 9        |
        mask on       |
        shows green   | authorised; UNLOCK; pass_please
    """,
    "and no longer": """
        arrives       | welcome; measure
        36.50         |
        wait 11       |
        shows expired | refused_code_expired
        wait 9.1      |
        mask on       | measure
        shows green   |
        36.60         | authorised; UNLOCK; pass_please
    """,
    "the new measurement gets its time": """
        arrives      | welcome; measure
        36.50        |
        wait 11      |
        mask off     | mask_please
        wait 14.9    |
        shows green  | measure
        mask on      |
        wait 11.9    |
        36.60        | authorised; UNLOCK; pass_please
    """,
    "and is not waited for twice": """
        arrives      | welcome; measure
        36.50        |
        wait 11      |
        mask off     | mask_please
        wait 14.9    |
        shows green  | measure
        mask on      |
        wait 12      | thermometer failed; mode degraded; referred CH-1:temperature_unmeasurable;
                     | sensor_fault
    """,
    "nor is anybody sent to the person on duty without one": """
        arrives        | welcome; measure
        36.50          |
        wait 11        |
        mask off       | mask_please
        wait 8         |
        mask on        |
        wait 7         | measure
        36.60          |
        wait 12        | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        staff confirms | authorised; UNLOCK; pass_please
    """,
    "a raised new measurement is measured again": """
        arrives       | welcome; measure
        36.50         |
        wait 11       |
        shows expired | refused_code_expired
        wait 10       |
        shows green   | measure
        mask on       |
        38.00         | please_wait_retest wait_s=3
        wait 3        | measuring_again; measure
        36.50         | authorised; UNLOCK; pass_please
    """,
    "a code is worth 20 s": """
        arrives      | welcome; measure
        shows green  |
        wait 11      |
        mask off     | mask_please
        36.50        |
        wait 10      |
        mask on      |
        shows green  | authorised; UNLOCK; pass_please
    """,
    "a code that is still held up stays fresh": """
        arrives      | welcome; measure
        shows green  |
        wait 11      |
        mask off     | mask_please
        36.50        |
        wait 5       |
        shows green  |
        wait 5       |
        mask on      | authorised; UNLOCK; pass_please
    """,
    "a raised temperature does not age away": """
        arrives      | welcome; measure
        38.00        | please_wait_retest wait_s=3
        wait 3       | measuring_again; measure
        38.00        | refused CH-2:temperature_fever; refused_isolate_and_call_120
        wait 10      | left; idle
        shows green  | welcome; measure
    """,
}
CLOCK = {
    "not trusted: a pass cannot be judged, the person on duty can": """
        arrives        | welcome; measure
        mask on        |
        36.50          |
        shows green    | referred TR-1:clock_untrusted TR-1:travel_unknown TR-1:registration_missing;
                       | clock_untrusted
        staff confirms | authorised; UNLOCK; pass_please
        turns          | passed; LOCK; idle
    """,
}
CAMERA = {
    "fails and works": """
        camera fails   | camera failed; mode degraded; idle, see staff
        camera fails   |
        arrives        | welcome; measure
        mask on        |
        36.50          |
        wait 12        | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        staff confirms | authorised; UNLOCK; pass_please
        turns          | passed; LOCK; idle, see staff
        camera works   | camera recovered; mode serving; idle
        camera works   |
    """,
    "during a visit": """
        arrives      | welcome; measure
        camera fails | camera failed; mode degraded
        36.50        |
        camera works | camera recovered; mode serving
        mask on      |
        shows green  | authorised; UNLOCK; pass_please
    """,
    "and thermometer": """
        camera fails      | camera failed; mode degraded; idle, see staff
        thermometer fails | thermometer failed
        camera works      | camera recovered
        thermometer works | thermometer recovered; mode serving; idle
    """,
    "verify service: whoever comes without a national code is served as ever": """
        health_service fails | health_service failed
        arrives              | welcome; measure
        health_service works | health_service recovered
    """,
    "the desk: there are the buttons": """
        desk fails           | desk failed
        desk works           | desk recovered
    """,
    "presence sensor, during a visit: nobody knows who stands there": """
        arrives        | welcome; measure
        36.50          |
        mask on        |
        wait 12        | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        presence fails | presence failed; interrupted; idle; mode degraded; idle, see staff
        staff confirms | welcome; measure
    """,
    "presence sensor, while somebody passes": """
        arrives        | welcome; measure
        36.50          |
        mask on        |
        shows green    | authorised; UNLOCK; pass_please
        presence fails | presence failed; mode degraded
        turns          | passed; LOCK; idle, see staff
    """,
    "presence sensor": """
        presence fails | presence failed; mode degraded; idle, see staff
        presence works | presence recovered; mode serving; idle
    """,
}
TURNSTILE = {
    "fails: nobody is let in": """
        turnstile fails | turnstile failed; mode fault; out of order
        arrives         |
        shows green     |
        staff confirms  |
        turns           | passage without visit; forced
        turnstile works | turnstile recovered; mode serving; idle
        arrives         | welcome; measure
    """,
    "breaks a visit off": """
        arrives         | welcome; measure
        36.50           |
        turnstile fails | turnstile failed;
                        | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                        | TR-1:registration_missing;
                        | interrupted; mode fault; out of order
        mask on         |
        shows green     |
    """,
    "breaks off the wait for the person on duty": """
        arrives         | welcome; measure
        36.50           |
        mask on         |
        wait 12         | referred TR-1:code_missing TR-1:travel_unknown TR-1:registration_missing; see_staff
        turnstile fails | turnstile failed; interrupted; mode fault; out of order
        staff confirms  |
    """,
    "breaks off a farewell": """
        arrives         | welcome; measure
        shows red       | refused TR-2:status_red; refused_status
        turnstile fails | turnstile failed; interrupted; mode fault; out of order
        wait 5          |
    """,
    "while somebody passes: how that ends is still seen": """
        arrives         | welcome; measure
        36.50           |
        mask on         |
        shows green     | authorised; UNLOCK; pass_please
        turnstile fails | turnstile failed; mode fault
        turns           | passed; LOCK; out of order
    """,
    "while somebody passes: or that nobody did": """
        arrives         | welcome; measure
        36.50           |
        mask on         |
        shows green     | authorised; UNLOCK; pass_please
        turnstile fails | turnstile failed; mode fault
        wait 6          | LOCK; not_passed; not_passed
        wait 5          | out of order
    """,
    "while somebody passes and the next waits": """
        arrives         | welcome; measure
        36.50           |
        mask on         |
        shows green     | authorised; UNLOCK; pass_please
        leaves          |
        arrives         |
        turnstile fails | turnstile failed; mode fault
        turns           | passed; LOCK; out of order
    """,
}


@scenarios(THERMOMETER)
def test_thermometer(scenario: str) -> None:
    play(scenario)


@scenarios(AGEING)
def test_ageing(scenario: str) -> None:
    play(scenario)


@scenarios(CLOCK)
def test_clock(scenario: str) -> None:
    play(scenario, Box(clock_trusted=False))


@scenarios(CAMERA)
def test_camera_and_presence(scenario: str) -> None:
    play(scenario)


@scenarios(TURNSTILE)
def test_turnstile(scenario: str) -> None:
    play(scenario)


def test_the_gate_tells_what_has_failed() -> None:
    box = Box()
    assert (box.actor.mode, box.actor.failed_devices) == (Mode.SERVING, frozenset())
    play("camera fails | camera failed; mode degraded; idle, see staff", box)
    assert (box.actor.mode, box.actor.failed_devices) == (Mode.DEGRADED, {Device.CAMERA})
    play("turnstile fails | turnstile failed; mode fault; out of order", box)
    assert (box.actor.mode, box.actor.failed_devices) == (Mode.FAULT, {Device.CAMERA, Device.TURNSTILE})
