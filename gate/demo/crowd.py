"""Visitors who come by themselves to a gate without hardware: `gate run` with a section [simulation].

    [simulation]
    visitors_per_minute = 600
    seed = 1
    world_log = "/tmp/gate-1/pulses.jsonl"

Decisions, ledger (synchronous=FULL), delivery and desk are the real ones; thermometer, contacts and relay
are simulated at the wire. The simulated turnstile itself writes down each pulse of its relay in the world log
(`drivers.sim.pulses`), so that an outsider can hold it against the ledger and the centre, whatever is killed.

Hundreds a minute come only because time is short here: conversions and contacts are up to HASTE_MAX times
quicker than in life, nobody dawdles, and codes are handed in as read, without camera child and pictures. What
the plan itself waits for (a second measurement, somebody who does not walk) lasts as long as the plan says;
so those who wait come the more rarely, the more people come.

Everybody carries a pass of a counter that exists for this seed only. It is trusted where the configuration
names no `trust_files`; with them it is a stranger, as at any gate. The clock is believed, because no NTP runs
where this is tried out. The version in `gate.started` ends with "+simulated", so that no such record is ever
taken for a real one.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.app.simulated import HandedIn, SimulatedGate, without_hardware
from gate.config import Config
from gate.core.codes import Trust
from gate.core.effects import Effect, Show
from gate.core.inputs import (
    ArmTurned,
    AttendantRefused,
    Input,
    MaskSeen,
    PersonArrived,
    PersonLeft,
    Started,
    Stopped,
)
from gate.core.moment import Moment
from gate.core.texts import Key
from gate.demo.passes import Issuer
from gate.shell.clock import SystemClock

log = logging.getLogger(__name__)

HASTE_MAX: Final = 100.0
# In life a visit takes some three seconds; this much quicker there is time to spare at any rate.
_HASTE_PER_VISITOR_PER_MINUTE: Final = 0.1
# Those who wait take at most this part of the time, at about so many seconds each.
_WAITING_SHARE: Final = 0.2
_WAITING_S: Final = 5.0
# Who finds more people than come within this time goes elsewhere.
_QUEUE_S: Final = 5.0

_START_S: Final = 60.0
_NOTICED_S: Final = 2.0
_TURN_S: Final = 0.25
_PRESS_S: Final = 0.1
_PRESSES_MAX: Final = 20
_SCREEN_S: Final = 60.0
_NO_PHONE_S: Final = 0.3

NORMAL_CC: Final = (3600, 3630)
FEVER_CC: Final = 3860
WARM_CC: Final = 3745


class Pass(Enum):
    """What somebody holds up."""

    GOOD = auto()
    EXPIRED = auto()
    FORGED = auto()
    NONE = auto()


class Manner(Enum):
    """What somebody does who may pass."""

    WALKS = auto()
    IS_CALLED_BACK = auto()
    STAYS = auto()


@dataclass(frozen=True, slots=True)
class Visitor:
    """One kind of visitor; `body_cc` None: a normal temperature.

    `obliging`: puts on the mask that is missing. `patient`: waits for the second measurement, by then with
    `rested_cc`.
    """

    held_up: Pass = Pass.GOOD
    body_cc: int | None = None
    masked: bool = True
    obliging: bool = True
    patient: bool = False
    rested_cc: int | None = None
    manner: Manner = Manner.WALKS


QUICK: Final[dict[Visitor, int]] = {
    Visitor(): 890,
    Visitor(masked=False): 30,
    Visitor(masked=False, obliging=False): 15,
    Visitor(body_cc=FEVER_CC): 15,
    Visitor(held_up=Pass.FORGED): 15,
    Visitor(held_up=Pass.EXPIRED): 15,
    Visitor(held_up=Pass.NONE): 5,
    Visitor(manner=Manner.IS_CALLED_BACK): 15,
}
"""Those who keep nobody waiting, and how many of a thousand they are."""

WAITING: Final = (
    Visitor(body_cc=WARM_CC, patient=True),
    Visitor(body_cc=FEVER_CC, patient=True, rested_cc=FEVER_CC),
    Visitor(manner=Manner.STAYS),
)


class Sight:
    """What has been noticed at the gate since somebody has arrived; filled by the brain, awaited by visitors.

    Once the gate has stopped nothing is waited for any more.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._noticed: set[type[Input]] = set()
        self._shown: deque[Key] = deque()
        self._over = False

    def observe(self, happened: Input, effect: Effect | None, _now: Moment) -> None:
        """Take note of one input or effect; called by the brain thread."""
        if effect is not None and not isinstance(effect, Show):
            return
        with self._changed:
            if isinstance(effect, Show):
                self._shown.append(effect.key)
            elif isinstance(happened, PersonArrived):
                self._noticed.clear()
                self._shown.clear()
            if effect is None:
                self._noticed.add(type(happened))
            self._over = self._over or isinstance(happened, Stopped)
            self._changed.notify_all()

    def forget(self, happened: type[Input]) -> None:
        """Wait for the next one of these, not for one that has been."""
        with self._changed:
            self._noticed.discard(happened)

    def end(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """True once the gate has stopped."""
        return self._over

    def until(self, happened: type[Input], within_s: float = _NOTICED_S) -> bool:
        """Wait until this has been noticed; False when it has not been in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or happened in self._noticed, within_s)
            return happened in self._noticed

    def screen(self, within_s: float) -> Key | None:
        """Return what is shown next, None when nothing was in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._shown, within_s)
            return self._shown.popleft() if self._shown else None

    def rest(self, seconds: float) -> None:
        """Let time pass, unless the gate stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._over, seconds)


class Crowd:
    """The visitors of one gate, and the gate without hardware that they come to: `config`, `trust`, `world`.

    They come inside a `with` block around `Application.run`. Raises OSError when the world log cannot be
    written. `config` must have its section [simulation].
    """

    def __init__(self, config: Config, trust: Trust) -> None:
        assert config.simulation is not None
        wanted = config.simulation
        self._clock = SystemClock(lambda: True)
        self._per_s = wanted.visitors_per_minute / 60
        haste = min(HASTE_MAX, max(1.0, wanted.visitors_per_minute * _HASTE_PER_VISITOR_PER_MINUTE))
        self.config = without_hardware(config, config.gate.state_dir)
        self._gate = SimulatedGate(
            self.config, wanted.seed, haste=haste, handed_in=HandedIn(), world_log=wanted.world_log
        )
        self._key = Ed25519PrivateKey.from_private_bytes(_draw(wanted.seed, "counter").randbytes(32))
        # After a restart others come, or their passes would have been used.
        self._rng = _draw(wanted.seed, "visitors", self._gate.pulses)
        stranger = bool(config.gate.trust_files)
        self.trust = trust if stranger else replace(trust, keys=(*trust.keys, *self._counter().trust().keys))
        self._sight = Sight()
        world = self._gate.world(self._sight.observe, self._clock)
        self.world = replace(world, display=_Unread(), simulated=True)
        self._thread = threading.Thread(target=self._come, name="visitors", daemon=True)

    def __enter__(self) -> Self:
        log.warning("all hardware is simulated and visitors come by themselves; no door is driven")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._sight.end()
        self._thread.join()
        self._gate.close()

    def _counter(self) -> Issuer:
        """The counter as it is now: passes are issued when somebody comes."""
        return Issuer(self.config.gate.site, self._rng, self._clock.now().wall_s, self._key)

    def _come(self) -> None:
        self._sight.until(Started, _START_S)
        due_s = time.monotonic()
        for visitor in self._visitors():
            due_s = max(due_s + self._rng.expovariate(self._per_s), time.monotonic() - _QUEUE_S)
            self._sight.rest(due_s - time.monotonic())
            if self._sight.over:
                return
            self._receive(visitor)

    def _visitors(self) -> Iterator[Visitor]:
        waiting = min(0.05, _WAITING_SHARE / (self._per_s * _WAITING_S))
        kinds, weights = list(QUICK), list(QUICK.values())
        while True:
            waits = self._rng.random() < waiting
            yield self._rng.choice(WAITING) if waits else self._rng.choices(kinds, weights)[0]

    def _receive(self, visitor: Visitor) -> None:
        self._gate.body_cc(visitor.body_cc or self._rng.randint(*NORMAL_CC))
        self._sight.forget(PersonArrived)
        self._gate.step_up()
        if self._sight.until(PersonArrived) and (first := self._sight.screen(_NOTICED_S)):
            self._press("mask_on" if visitor.masked else "mask_off", MaskSeen)
            self._gate.show(*self._code(visitor.held_up))
            self._follow(visitor, first)
        self._gate.step_away()
        self._sight.until(PersonLeft)

    def _code(self, held_up: Pass) -> tuple[str, ...]:
        counter = self._counter()
        match held_up:
            case Pass.GOOD:
                return (counter.issue(),)
            case Pass.EXPIRED:
                return (counter.issue(expired=True),)
            case Pass.FORGED:
                return (counter.forge(),)
            case Pass.NONE:
                return ()

    def _follow(self, visitor: Visitor, shown: Key | None) -> None:
        """Do what one screen after the other says, until it says to go or nothing more comes."""
        patience_s = _NO_PHONE_S if visitor.held_up is Pass.NONE else _SCREEN_S
        while shown is not None and self._heed(visitor, shown):
            shown = self._sight.screen(patience_s)

    def _heed(self, visitor: Visitor, shown: Key) -> bool:
        """Do what a screen says; False when that is the end of it."""
        match shown:
            case Key.WELCOME | Key.CHECKING_CODE | Key.MEASURING_AGAIN | Key.ONE_CODE_ONLY:
                return True
            case Key.MASK_PLEASE if visitor.obliging:
                self._press("mask_on", MaskSeen)
                return True
            case Key.PLEASE_WAIT_RETEST if visitor.patient:
                self._gate.body_cc(visitor.rested_cc or NORMAL_CC[1])
                return True
            case Key.PASS_PLEASE:
                return self._pass(visitor.manner)
            case _:
                return False

    def _pass(self, manner: Manner) -> bool:
        match manner:
            case Manner.WALKS:
                self._gate.step_away()
                self._walk()
            case Manner.IS_CALLED_BACK:
                self._press("refuse", AttendantRefused)
            case Manner.STAYS:
                return True  # until the screen says that it is over
        return False

    def _press(self, button: str, noticed: type[Input]) -> None:
        """Press until it has been noticed, again if need be: a button that is hurried may be missed."""
        self._sight.forget(noticed)
        for _ in range(_PRESSES_MAX):
            with self._gate.pressed(button):
                if self._sight.until(noticed, _PRESS_S):
                    return
            self._sight.rest(_PRESS_S)

    def _walk(self) -> None:
        """Push for as long as the arm is free and has not turned: on a busy machine a push may be missed."""
        while self._gate.relay_on:
            with self._gate.turned():
                if self._sight.until(ArmTurned, _TURN_S):
                    return
            self._sight.rest(_TURN_S)


class _Unread:
    """What the display shows is heeded as it is shown; nobody reads a log of it."""

    def show(self, key: Key, facts: tuple[tuple[str, str], ...]) -> None:
        """Show nothing."""


def _draw(seed: int, *what: object) -> random.Random:
    return random.Random("/".join(map(str, (seed, *what))))  # noqa: S311 - a draw of visitors, not a secret
