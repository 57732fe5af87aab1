"""Simulated pins and what is wired to them, over gpiozero's mock factory.

Not imitated: bias currents, voltage levels, interrupt latency, the event queue of the kernel. Callbacks of
mock pins run in the thread that drives the pin, those of real pins in one of gpiozero's.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from gpiozero.pins.mock import MockPin, MockTriggerPin

if TYPE_CHECKING:
    from gpiozero import Factory

HISTORY_MAX = 1000
"""gpiozero keeps every state of a mock pin for ever; a demonstration left running must not grow."""

SPEED_OF_SOUND_CM_S = 34_326
"""The value that gpiozero.DistanceSensor computes with."""


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)


class SimPin(MockPin):  # type: ignore[misc]  # gpiozero has no types
    """A pin with a bounded history, that something outside can drive, and that can break.

    As on the board, what is wired to the pin is stronger than its pull resistor, whichever came first.
    `broken` makes every write fail as the kernel does, with OSError; the level stays. `on_rise` is called in
    the thread that drives the pin, before it goes from low to high; an OSError from it keeps the pin low.
    """

    broken = False
    on_rise: Callable[[], None] | None = None
    _outside: bool | None = None

    def clear_states(self) -> None:
        """Forget the history except for the present level."""
        super().clear_states()
        self.states: deque[object] = deque(self.states, maxlen=HISTORY_MAX)

    def wire(self, high: bool | None) -> None:
        """Drive the pin from outside, or let go of it (None), when its pull decides."""
        self._outside = high
        if self.function == "input":
            self._follow(self.pull == "up" if high is None else high)

    def _set_pull(self, value: str) -> None:
        super()._set_pull(value)
        if self._outside is not None:
            self._follow(self._outside)

    def _set_state(self, value: float) -> None:
        if self.broken:
            raise OSError(5, "simulated: the pin cannot be written")
        if value and not self._state and self.on_rise is not None:
            self.on_rise()
        super()._set_state(value)

    def _follow(self, high: bool) -> None:
        if high:
            self.drive_high()
        else:
            self.drive_low()


def close_contact(factory: Factory, pin: int) -> None:
    """Close a contact from the pin to ground: a pressed button, an intact fire loop, somebody in the beam."""
    factory.pin(pin).wire(False)


def open_contact(factory: Factory, pin: int) -> None:
    """Open the contact: the pin's pull-up lifts it, as it does when the wire breaks."""
    factory.pin(pin).wire(None)


def is_high(factory: Factory, pin: int) -> bool:
    """Tell the level of a pin, such as a lamp or the relay."""
    return bool(factory.pin(pin).state)


def levels(factory: Factory, pin: int) -> list[bool]:
    """Give the levels that the pin went through, oldest first, at most the last HISTORY_MAX."""
    return [bool(entry.state) for entry in list(factory.pin(pin).states)]


class SimTurnstileArm:
    """The arm of a turnstile that turns when the relay is on and somebody pushes.

    While it turns, the passage contact is closed for turn_ms; then it rests as long before push() returns,
    which therefore takes 2 x turn_ms. turn_ms must exceed the driver's bounce_ms. `on_pulse` is called at
    each pulse of the relay, as `SimPin.on_rise` says. Not imitated: a mechanism that bars a second person
    after the first although the relay is still on.
    """

    def __init__(
        self,
        factory: Factory,
        relay_pin: int,
        passage_pin: int,
        *,
        turn_ms: int = 80,
        sleep: Callable[[float], object] = _wait,
        on_pulse: Callable[[], None] | None = None,
    ) -> None:
        self._factory = factory
        factory.pin(relay_pin).on_rise = on_pulse
        self._relay_pin = relay_pin
        self._passage_pin = passage_pin
        self._turn_s = turn_ms / 1000
        self._sleep = sleep

    def push(self) -> bool:
        """Push as a visitor does; tells whether the arm turned."""
        if not is_high(self._factory, self._relay_pin):
            return False
        self.force()
        return True

    def force(self) -> None:
        """Turn the arm whether or not it is free."""
        close_contact(self._factory, self._passage_pin)
        self._sleep(self._turn_s)
        open_contact(self._factory, self._passage_pin)
        self._sleep(self._turn_s)


class _PingPin(MockTriggerPin):  # type: ignore[misc]  # gpiozero has no types
    silent = False

    def _set_state(self, value: float) -> None:
        if self.silent:
            MockPin._set_state(self, value)  # noqa: SLF001 - its own base, one level past the echo
        else:
            super()._set_state(value)


class SimEcho:
    """What an ultrasonic sensor hears: set `distance_cm` and `silent` at any time.

    Create it before the driver opens the pins. The echo is timed by real threads, so it is some centimetres
    late.
    """

    def __init__(self, factory: Factory, trigger_pin: int, echo_pin: int, *, distance_cm: float) -> None:
        self._trigger = factory.pin(trigger_pin, pin_class=_PingPin, echo_pin=factory.pin(echo_pin))
        self.distance_cm = distance_cm

    @property
    def distance_cm(self) -> float:
        """Tell the distance to whatever stands before the sensor."""
        return float(self._trigger.echo_time * SPEED_OF_SOUND_CM_S / 2)

    @distance_cm.setter
    def distance_cm(self, distance_cm: float) -> None:
        self._trigger.echo_time = 2 * distance_cm / SPEED_OF_SOUND_CM_S

    @property
    def silent(self) -> bool:
        """Tell whether echoes stay away, as with a broken wire."""
        return bool(self._trigger.silent)

    @silent.setter
    def silent(self, silent: bool) -> None:
        self._trigger.silent = silent
