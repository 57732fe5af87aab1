"""The scripted morning: one function for each kind of visitor, and the order in which they come."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from gate.app.simulated import SimulatedGate
from gate.core.codes import Status
from gate.core.texts import Key
from gate.demo.passes import Issuer
from gate.demo.stage import Stage
from gate.shell.clock import sleep

# Far enough below the limit that neither the noise nor the interval of a reading can make them warm.
NORMAL_CC: Final = (3600, 3630)
BETWEEN_S: Final = 0.5  # nobody follows so closely that the light barrier would not notice
BUS_TICKET: Final = "https://tickets.example/r/8F2C"


@dataclass(frozen=True, slots=True)
class Scene:
    """One kind of visitor: what the audience is told, and how it goes."""

    zh: str
    en: str
    play: Callable[["Play"], None]


class Play:
    """The props: the place before the gate, what the gate does, passes, and a seeded draw."""

    def __init__(self, gate: SimulatedGate, stage: Stage, issuer: Issuer, rng: random.Random) -> None:
        self.gate = gate
        self.stage = stage
        self.issuer = issuer
        self.rng = rng

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
    play.gate.press("confirm")
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
    play.come(play.issuer.issue(Status.RED))
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


GREEN: Final = Scene("一切正常", "Everything in order", green)
MORNING: Final = (
    GREEN,
    Scene("赶路来的：首测偏高，复测正常", "Came running: raised, then normal", retest_then_normal),
    Scene("忘戴口罩，当场戴上", "Forgot the mask, puts it on", mask_put_on),
    Scene("复测仍高", "Raised twice", retest_then_fever),
    Scene("昨天的码", "Yesterday's pass", expired),
    Scene("伪造的码", "A forged pass", forged),
    Scene("没有手机的老人", "No phone, registered by the person on duty", no_phone),
    Scene("两部手机同时出示", "Two phones at once", two_codes),
    Scene("先出示车票，再出示健康码", "A bus ticket first, then the pass", wrong_code_first),
    Scene("放行后没有通过", "Gets the light and does not walk", does_not_walk),
    Scene("被拒后强行通过", "Turned away and pushes through", pushes_through),
    Scene("测温故障", "The thermometer stops answering", sensor_fault),
    Scene("火警", "Fire alarm", fire),
    Scene("火警解除后恢复", "Back to normal after the alarm", green),
)
# Who comes after the scripted morning, mostly ordinary people.
_LATER: Final = (GREEN, GREEN, GREEN, GREEN, MORNING[1], MORNING[2], MORNING[4], MORNING[7])


def visitors(count: int, rng: random.Random) -> Iterator[Scene]:
    """Yield `count` scenes: the morning in order, then a seeded draw."""
    for number in range(count):
        yield MORNING[number] if number < len(MORNING) else rng.choice(_LATER)
