"""Contacts: debounced inputs, the fire-alarm loop and the attendant's buttons.

Wiring of all of them: the contact lies between the pin and ground, the pin's pull-up is on. A closed contact
pulls the pin low. Screened cable and a series resistor of about 1 kOhm protect the pin on long runs.

Debouncing is done here and not by gpiozero's `bounce_time`: that one means "stable for" with lgpio, "ignore
after" with other factories, and nothing at all with mock pins, so what passed the tests would not be what
runs at the door.

Rule: the first edge starts one timer; when it ends the pin is read, and a level other than the last reported
one is reported. So a contact may bounce for up to `bounce_ms`, a spike shorter than that is never seen, the
final state is never lost, and a chattering contact costs one timer at a time. A pulse shorter than
`bounce_ms` is not seen either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum, auto
from functools import partial

from gpiozero import DigitalInputDevice, Factory

from drivers.errors import DeviceNotAvailable
from drivers.pins import pin_errors, require_pins, run_all

BOUNCE_MS = 30
"""Push buttons and relay contacts settle within 5 to 20 ms; a person presses for 50 ms or more."""


class Contact:
    """One debounced contact to ground; `on_change(closed)` once for each change, in order.

    on_change runs on a timer thread (with report_start once in the caller's), must not block, and must only
    post: the next change waits for it. After close() it is not called again. bounce_ms > 0. Raises
    DeviceNotAvailable when the pin cannot be had, DeviceFailed when it cannot be read.
    """

    def __init__(
        self,
        function: str,
        pin: int,
        on_change: Callable[[bool], None],
        *,
        pin_factory: Factory,
        bounce_ms: int = BOUNCE_MS,
        report_start: bool = False,
    ) -> None:
        assert pin_factory is not None, "gpiozero would choose a pin factory by itself"
        require_pins({function: pin})
        if bounce_ms <= 0:
            raise ValueError(f"bounce_ms must be positive, not {bounce_ms}")
        self._name = f"{function} on GPIO{pin}"
        self._on_change = on_change
        self._bounce_s = bounce_ms / 1000
        self._lock = threading.RLock()  # re-entered when on_change closes the contact
        self._settling: threading.Timer | None = None
        self._gone = False
        with pin_errors(self._name, kind=DeviceNotAvailable):
            self._device = DigitalInputDevice(pin, pull_up=True, bounce_time=None, pin_factory=pin_factory)
        with self._lock:
            self._device.when_activated = self._edge
            self._device.when_deactivated = self._edge
            self._reported = (
                self.is_closed
            )  # read after the edges are watched, so that no change falls between
            if report_start:
                on_change(self._reported)

    @property
    def is_closed(self) -> bool:
        """Tell whether the contact is closed now, bounces included."""
        with pin_errors(self._name):
            return bool(self._device.value)

    def close(self) -> None:
        """Release the pin; harmless when repeated."""
        with self._lock:
            self._gone = True
            if self._settling is not None:
                self._settling.cancel()
        # Outside the lock: gpiozero has locks of its own, and its thread may be waiting for ours in _edge.
        with pin_errors(self._name):
            self._device.close()

    def _edge(self) -> None:
        with self._lock:
            if self._settling is None and not self._gone:
                self._settling = threading.Timer(self._bounce_s, self._settled)
                self._settling.daemon = True
                self._settling.start()

    def _settled(self) -> None:
        with self._lock:
            if self._gone:
                return
            self._settling = None  # before the pin is read: an edge from here on starts the next look
            level = self.is_closed
            if level != self._reported:
                self._reported = level
                self._on_change(level)


class FireContact:
    """The fire alarm's contact: `on_change(alarm)` at the start and at each change.

    Wiring: a normally closed, potential-free contact of the fire panel in a loop from the pin to ground. The
    alarm, a broken wire, a pulled plug and a panel without power all open the loop, the pull-up lifts the
    pin, and all read as alarm. A short circuit of the two wires is the one fault that reads as "no alarm";
    the panel must also free the turnstile by itself, in hardware. See Contact for threads and errors.
    """

    def __init__(
        self, pin: int, on_change: Callable[[bool], None], *, pin_factory: Factory, bounce_ms: int = BOUNCE_MS
    ) -> None:
        self._on_change = on_change
        self._contact = Contact(
            "fire contact",
            pin,
            self._changed,
            pin_factory=pin_factory,
            bounce_ms=bounce_ms,
            report_start=True,
        )

    @property
    def alarm(self) -> bool:
        """Tell whether the loop is open now, read from the pin."""
        return not self._contact.is_closed

    def close(self) -> None:
        """Release the pin; harmless when repeated."""
        self._contact.close()

    def _changed(self, closed: bool) -> None:
        self._on_change(not closed)


class Button(StrEnum):
    """The attendant's buttons by what they say."""

    CONFIRM = auto()
    REFUSE = auto()
    MASK_ON = auto()
    MASK_OFF = auto()


class AttendantButtons:
    """The attendant's push buttons: `on_button(button)` once for each press; pin None is a button not fitted.

    A button that is already down at the start is stuck or leaned upon: it says nothing until it has been
    released and pressed again. See Contact for wiring, threads and errors.
    """

    def __init__(
        self,
        confirm_pin: int | None,
        refuse_pin: int | None,
        mask_on_pin: int | None,
        mask_off_pin: int | None,
        *,
        pin_factory: Factory,
        on_button: Callable[[Button], None],
        bounce_ms: int = BOUNCE_MS,
    ) -> None:
        pins = dict(zip(Button, (confirm_pin, refuse_pin, mask_on_pin, mask_off_pin), strict=True))
        require_pins({f"{button} button": pin for button, pin in pins.items()})
        self._on_button = on_button
        self._contacts: list[Contact] = []
        try:
            for button, pin in pins.items():
                if pin is not None:
                    changed = partial(self._changed, button)
                    contact = Contact(
                        f"{button} button", pin, changed, pin_factory=pin_factory, bounce_ms=bounce_ms
                    )
                    self._contacts.append(contact)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the pins; harmless when repeated."""
        run_all(*(contact.close for contact in self._contacts))

    def _changed(self, button: Button, pressed: bool) -> None:
        if pressed:
            self._on_button(button)
