"""The scripted morning: one function for each kind of visitor, and the order in which they come."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from gate.app.desk import DeskError, ask
from gate.app.simulated import SimulatedGate
from gate.core.codes import Credential
from gate.core.texts import Key
from gate.demo.city import GREEN, RED, YELLOW, City
from gate.demo.health_service import Mood
from gate.demo.passes import Issuer
from gate.demo.stage import Stage, StageError
from gate.shell.clock import sleep

# Far enough below the limit that neither the noise nor the interval of a reading can make them warm.
NORMAL_CC: Final = (3600, 3630)
BETWEEN_S: Final = 0.5  # nobody follows so closely that the light barrier would not notice
BUS_TICKET: Final = "https://tickets.example/r/8F2C"
DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Scene:
    """One kind of visitor: what the audience is told, and how it goes."""

    zh: str
    en: str
    play: Callable[["Play"], None]


@dataclass(frozen=True, slots=True)
class Play:
    """The props: the place before the gate, what it does, the desk, passes and tokens, a seeded draw."""

    gate: SimulatedGate
    stage: Stage
    desk: Path
    issuer: Issuer
    city: City
    rng: random.Random

    def perform(self, scene: Scene) -> None:
        """Play one visitor to the end of the visit; raises StageError when the gate does otherwise."""
        self.stage.clear()
        scene.play(self)
        self.stage.until_closed()
        self.gate.step_away()
        sleep(BETWEEN_S)

    def come(self, *codes: str, body_cc: int | None = None, mask: bool = True) -> None:
        """Step up with these codes, this temperature, and a mask or none."""
        self.gate.body_cc(body_cc or self.rng.randint(*NORMAL_CC))
        self.gate.step_up()
        self.stage.until_begun()
        self.gate.press("mask_on" if mask else "mask_off")
        self.gate.show(*codes)

    def walk_through(self) -> None:
        """Wait for the light, step out of the barrier, push the arm."""
        self.stage.until_shown(Key.PASS_PLEASE)
        self.gate.step_away()
        self.gate.push()

    def register_at_desk(self) -> None:
        """Show an ID card to the person on duty, who takes down what is needed and confirms."""
        try:
            ask(self.desk, {"note": {"registered": ["name", "id_number", "phone"], "id_checked": True}})
        except DeskError as error:
            raise StageError(f"the desk was not heard: {error}") from error
        self.gate.press("confirm")

    def leave(self, *keys: Key) -> None:
        """Read one of these texts and go."""
        self.stage.until_shown(*keys)
        self.gate.step_away()


def green(play: Play) -> None:
    """Everything in order."""
    play.come(play.issuer.issue())
    play.walk_through()


def retest_then_normal(play: Play) -> None:
    """Came running: warm at first, normal after a rest."""
    play.come(play.issuer.issue(), body_cc=3745)
    play.stage.until_shown(Key.PLEASE_WAIT_RETEST)
    play.gate.body_cc(NORMAL_CC[1])
    play.walk_through()


def retest_then_fever(play: Play) -> None:
    """Warm twice."""
    play.come(play.issuer.issue(), body_cc=3860)
    play.leave(Key.REFUSED_ISOLATE_AND_CALL_120, Key.REFUSED_OBSERVE_AT_HOME, Key.REFUSED_FEVER_CLINIC)


def mask_put_on(play: Play) -> None:
    """Forgot the mask, puts it on."""
    play.come(play.issuer.issue(), mask=False)
    play.stage.until_shown(Key.MASK_PLEASE)
    play.gate.press("mask_on")
    play.walk_through()


def expired(play: Play) -> None:
    """Yesterday's pass."""
    play.come(play.issuer.issue(expired=True))
    play.leave(Key.REFUSED_CODE_EXPIRED)


def forged(play: Play) -> None:
    """A pass that the counter never signed."""
    play.come(play.issuer.forge())
    play.leave(Key.REFUSED_CODE_NOT_VALID)


def no_phone(play: Play) -> None:
    """An elderly visitor without a phone: the person on duty registers by ID card."""
    play.come()
    play.register_at_desk()
    play.walk_through()


def two_codes(play: Play) -> None:
    """Two phones held up at once, then one."""
    mine, other = play.issuer.issue(), play.issuer.issue()
    play.come(mine, other)
    play.stage.until_shown(Key.ONE_CODE_ONLY)
    play.gate.show(mine)
    play.walk_through()


def wrong_code_first(play: Play) -> None:
    """A bus ticket first, then the right code."""
    play.come(BUS_TICKET)
    play.stage.until_read()
    play.gate.show(play.issuer.issue())
    play.walk_through()


def does_not_walk(play: Play) -> None:
    """Gets the green light and stays on the phone."""
    play.come(play.issuer.issue())
    play.leave(Key.NOT_PASSED)


def pushes_through(play: Play) -> None:
    """Is turned away and pushes through the locked arm."""
    play.come(play.city.token(YELLOW))
    play.stage.until_shown(Key.REFUSED_STATUS)
    play.gate.force()


def sensor_fault(play: Play) -> None:
    """The thermometer stops answering; the person on duty measures by hand."""
    play.gate.break_thermometer()
    play.come(play.issuer.issue())
    play.stage.until_shown(Key.SENSOR_FAULT, Key.SEE_STAFF)
    play.gate.repair_thermometer()
    play.gate.press("confirm")
    play.walk_through()


def fire(play: Play) -> None:
    """The fire alarm goes off while somebody is at the gate."""
    play.come(play.issuer.issue())
    play.stage.until_shown(Key.PASS_PLEASE)
    play.gate.fire(active=True)
    play.stage.until_shown(Key.EVACUATE)
    play.gate.push()
    play.gate.step_away()
    play.gate.fire(active=False)
    play.stage.until_shown(Key.WELCOME)


def staff(play: Play) -> None:
    """Somebody who works here."""
    play.come(play.issuer.issue(Credential.STAFF))
    play.walk_through()


def city_green(play: Play) -> None:
    """The city's service says green, and that it knows name and phone of everybody whom it gives a code."""
    play.come(play.city.token(GREEN))
    play.walk_through()


def city_red(play: Play) -> None:
    """The city's service says red."""
    play.come(play.city.token(RED))
    play.leave(Key.REFUSED_STATUS)


def city_screenshot(play: Play) -> None:
    """A picture of yesterday's code, then the code itself."""
    play.come(play.city.token(GREEN, age_s=DAY_S))
    play.stage.until_shown(Key.REFUSED_CODE_EXPIRED)
    play.gate.show(play.city.token(GREEN))
    play.walk_through()


def city_tested(play: Play) -> None:
    """From a risk area: the city's service knows of a negative test."""
    play.come(play.city.token(play.city.tested(hours_ago=20)))
    play.walk_through()


def city_silent(play: Play, mood: Mood) -> None:
    """The code cannot be looked up: the person on duty looks at the ID card instead."""
    with play.city.in_mood(mood):
        play.come(play.city.token(GREEN))
        play.stage.until_shown(Key.SERVICE_UNAVAILABLE)
    play.gate.press("confirm")
    play.walk_through()


ORDINARY: Final = Scene("一切正常", "Everything in order", green)
RESTED: Final = Scene("赶路来的：首测偏高，复测正常", "Came running: raised, then normal", retest_then_normal)
MASK: Final = Scene("忘戴口罩，当场戴上", "Forgot the mask, puts it on", mask_put_on)
EXPIRED: Final = Scene("昨天的通行码", "Yesterday's pass", expired)
TWO_PHONES: Final = Scene("两部手机同时出示", "Two phones at once", two_codes)
STAFF: Final = Scene("本单位工作人员", "A member of staff", staff)
CITY_GREEN: Final = Scene("上海随申码，绿码", "A Shanghai health code, green", city_green)
CITY_RED: Final = Scene("上海随申码，红码", "A Shanghai health code, red", city_red)
SCREENSHOT: Final = Scene(
    "先出示昨天的随申码截图，再出示现在的码",
    "Yesterday's screenshot of a Shanghai code, then a fresh one",
    city_screenshot,
)
# Whoever looks in for a minute sees every kind of thing that can happen among the first fourteen.
MORNING: Final = (
    ORDINARY,
    CITY_GREEN,
    RESTED,
    MASK,
    CITY_RED,
    Scene("复测仍高", "Raised twice", retest_then_fever),
    Scene("伪造的通行码", "A forged pass", forged),
    Scene(
        "上海随申码，核验服务连不上",
        "A Shanghai health code while the city's service cannot be reached",
        partial(city_silent, mood=Mood.AWAY),
    ),
    Scene("黄码，被拒后强行通过", "Yellow, turned away, and pushes through", pushes_through),
    Scene("没有手机的老人", "No phone, registered by the person on duty", no_phone),
    Scene("放行后没有通过", "Gets the light and does not walk", does_not_walk),
    Scene("测温故障", "The thermometer stops answering", sensor_fault),
    Scene("火警", "Fire alarm", fire),
    Scene("火警解除，工作人员回岗", "The alarm is over, a member of staff returns", staff),
    SCREENSHOT,
    EXPIRED,
    TWO_PHONES,
    Scene("先出示车票，再出示通行码", "A bus ticket first, then the pass", wrong_code_first),
    Scene(
        "上海随申码，核验服务迟迟不答",
        "A Shanghai health code while the city's service is too slow",
        partial(city_silent, mood=Mood.SLOW),
    ),
    Scene("来自风险地区，核酸阴性", "From a risk area, with a negative test", city_tested),
)
# Who comes after the scripted morning, mostly ordinary people.
_LATER: Final = (
    *(ORDINARY, ORDINARY, ORDINARY, CITY_GREEN, CITY_GREEN, STAFF),
    *(RESTED, MASK, EXPIRED, TWO_PHONES, SCREENSHOT, CITY_RED),
)


def visitors(count: int, seed: int) -> Iterator[Scene]:
    """Yield `count` scenes: the morning in order, then a draw; who comes follows from the seed alone."""
    rng = random.Random(f"{seed}/visitors")  # noqa: S311 - a draw of visitors, not a secret
    for number in range(count):
        yield MORNING[number] if number < len(MORNING) else rng.choice(_LATER)
