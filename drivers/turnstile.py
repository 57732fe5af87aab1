"""The turnstile: one relay that frees it, one contact that tells when it turned.

Theory. The relay is in one of three states, and every change happens under one lock:

    locked  -- unlock() --> pulse     one pulse of a stated, bounded length
    pulse   -- in time ---> locked    by the driver's own thread, whatever the rest of the program does
    any     -- hold_open() -> held    evacuation: free until lock()
    any     -- lock(), close() -> locked

Rules: the end of a pulse is set, and the thread that ends it is known to live, before the relay is driven,
so nothing that fails in between leaves the relay on. A pulse is never prolonged and never doubled: unlock()
during a pulse or while held does nothing. The thread is started once, because starting one takes longer than
all the rest of a decision.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from drivers.contacts import BOUNCE_MS, Contact
from drivers.errors import DeviceError, DeviceFailed
from drivers.pins import Output, require_pins, run_all

if TYPE_CHECKING:
    from gpiozero import Factory

OFF_RETRY_S = 1.0  # a relay that could not be switched off is tried again this often


class Turnstile:
    """A turnstile freed by an active-high relay, with a rotation contact (`passage_pin`, None if not fitted).

    on_turned is called once for each rotation, when the contact closes to ground, relay on or off: telling a
    passage from a forced one is the caller's task. The contact must stay closed longer than bounce_ms.
    on_failed is called when a pulse has ended and the relay could not be switched off, which is then tried
    every second; on_recovered when that has worked at last. All run on threads of the drivers and must only
    post.

    Raises ValueError for impossible pins or lengths, DeviceNotAvailable when a pin cannot be had.
    """

    def __init__(
        self,
        relay_pin: int,
        passage_pin: int | None,
        *,
        pin_factory: Factory,
        unlock_ms_max: int,
        on_turned: Callable[[], None],
        on_failed: Callable[[DeviceError], None],
        on_recovered: Callable[[], None] = lambda: None,
        bounce_ms: int = BOUNCE_MS,
    ) -> None:
        require_pins({"turnstile relay": relay_pin, "passage contact": passage_pin})
        if unlock_ms_max <= 0:
            raise ValueError(f"unlock_ms_max must be positive, not {unlock_ms_max}")
        self._unlock_ms_max = unlock_ms_max
        self._on_turned = on_turned
        self._on_failed = on_failed
        self._on_recovered = on_recovered
        self._changed = threading.Condition()
        self._pulse_until_s: float | None = None
        self._stuck = False
        self._held = False
        self._closed = False
        self._passage: Contact | None = None
        self._relay = Output("turnstile relay", relay_pin, pin_factory)
        self._ender = threading.Thread(target=self._end_pulses, name="turnstile-pulse", daemon=True)
        self._ender.start()
        atexit.register(self.close)
        try:
            if passage_pin is not None:
                self._passage = Contact(
                    "passage contact", passage_pin, self._turned, pin_factory=pin_factory, bounce_ms=bounce_ms
                )
        except BaseException:
            self.close()
            raise

    @property
    def unlocked(self) -> bool:
        """Tell whether the relay is on, read back from the pin; False once closed."""
        return self._relay.is_on

    def unlock(self, duration_ms: int) -> bool:
        """Free the turnstile for one pulse; False, and nothing else, if it is already free.

        0 < duration_ms <= unlock_ms_max, else ValueError. Raises DeviceFailed if the relay cannot be driven
        or the driver is closed.
        """
        if not 0 < duration_ms <= self._unlock_ms_max:
            raise ValueError(f"a pulse lasts 1 to {self._unlock_ms_max} ms, not {duration_ms}")
        with self._changed:
            self._check_open()
            if self._held or self._pulse_until_s is not None or self._relay.is_on:
                return False
            if not self._ender.is_alive():
                raise DeviceFailed("turnstile", "nothing would end a pulse", "restart the service")
            self._pulse_until_s = time.monotonic() + duration_ms / 1000
            self._changed.notify()
            self._relay.on()
            return True

    def lock(self) -> None:
        """End a pulse or a hold at once; harmless when locked or closed. Raises DeviceFailed."""
        with self._changed:
            if not self._closed:
                self._held = False
                self._pulse_until_s = time.monotonic()  # if the relay stays on, the thread goes on trying
                self._changed.notify()
                self._switch_off()

    def hold_open(self) -> None:
        """Free the turnstile until lock(): for evacuation only, as no timer ends it. Raises DeviceFailed."""
        with self._changed:
            self._check_open()
            self._pulse_until_s = None
            self._held = True
            self._relay.on()

    def close(self) -> None:
        """Switch the relay off, release the pins; harmless when repeated; also done at interpreter exit."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify()
        atexit.unregister(self.close)
        run_all(self._relay.close, *([] if self._passage is None else [self._passage.close]))

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceFailed("turnstile", "it has been closed", "open it again")

    def _switch_off(self) -> None:
        self._stuck = True
        self._relay.off()
        self._stuck = False
        self._pulse_until_s = None

    def _end_pulses(self) -> None:
        while not self._closed:
            try:
                self._end_each_in_time()
            except DeviceError as error:
                self._on_failed(error)
            else:
                if not self._closed:
                    self._on_recovered()

    def _end_each_in_time(self) -> None:
        """Switch the relay off at the end of each pulse; return when closed, or no longer stuck.

        Raises DeviceFailed each time that the relay stays on.
        """
        with self._changed:
            while not self._closed:
                if self._pulse_until_s is None:
                    self._changed.wait()
                elif (left_s := self._pulse_until_s - time.monotonic()) > 0:
                    self._changed.wait(left_s)
                else:
                    self._pulse_until_s = time.monotonic() + OFF_RETRY_S  # stands until the relay is off
                    was_stuck = self._stuck
                    self._switch_off()
                    if was_stuck:
                        return

    def _turned(self, contact_closed: bool) -> None:
        if contact_closed:
            self._on_turned()
