"""Presence: is somebody standing at the gate? A light barrier or mat, or an ultrasonic distance sensor."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import Any

from gpiozero import DistanceSensor, DistanceSensorNoEcho, Factory, PWMSoftwareFallback

from drivers.contacts import Contact
from drivers.errors import DeviceNotAvailable
from drivers.pins import pin_error_types, pin_errors, require_pins

BEAM_BOUNCE_MS = 100
"""Longer than a button's: a swinging arm or bag in the beam is not an arrival."""

RANGE_CM_MAX = 400
"""HC-SR04 user's manual: measures 2 cm to 400 cm."""

_SAMPLES = 3
"""The median of three rejects one stray echo and costs about 0.2 s (gpiozero samples every 60 ms)."""

_SILENT_SAMPLES_MAX = 5
"""Pings without echo before the sensor counts as failing: 5 x (100 ms wait + 60 ms pause) = 0.8 s."""


class Beam:
    """A light barrier or mat whose output closes to ground while somebody is there.

    on_arrived and on_left are called once for each change, on_arrived also at the start if somebody is there.
    A broken wire reads as "nobody", so the gate stays shut. See drivers.contacts.Contact for threads and
    errors.
    """

    def __init__(
        self,
        pin: int,
        *,
        pin_factory: Factory,
        on_arrived: Callable[[], None],
        on_left: Callable[[], None],
        bounce_ms: int = BEAM_BOUNCE_MS,
    ) -> None:
        self._on_arrived = on_arrived
        self._on_left = on_left
        self._present = False
        self._contact = Contact(
            "presence contact",
            pin,
            self._changed,
            pin_factory=pin_factory,
            bounce_ms=bounce_ms,
            report_start=True,
        )

    @property
    def present(self) -> bool:
        """Tell what was last reported."""
        return self._present

    def close(self) -> None:
        """Release the pin; harmless when repeated."""
        self._contact.close()

    def _changed(self, present: bool) -> None:
        if present != self._present:
            self._present = present
            (self._on_arrived if present else self._on_left)()


class Distance:
    """An ultrasonic sensor (HC-SR04, echo through a voltage divider): near is present, far is absent.

    Present from near_cm down, absent from far_cm up; between the two the last state stays, so a person who
    sways does not arrive twice.  2 <= near_cm < far_cm <= 400, else ValueError. A sensor without echo is not
    "nobody": after 0.8 s it is reported with on_online(False), `present` becomes None, and nobody is said to
    have left. on_online is also called once with the first finding. All callbacks run on gpiozero's thread
    and must only post.

    Raises DeviceNotAvailable when a pin cannot be had.
    """

    def __init__(
        self,
        trigger_pin: int,
        echo_pin: int,
        near_cm: int,
        far_cm: int,
        *,
        pin_factory: Factory,
        on_arrived: Callable[[], None],
        on_left: Callable[[], None],
        on_online: Callable[[bool], None],
    ) -> None:
        assert pin_factory is not None, "gpiozero would choose a pin factory by itself"
        require_pins({"distance trigger": trigger_pin, "distance echo": echo_pin})
        if not 2 <= near_cm < far_cm <= RANGE_CM_MAX:
            raise ValueError(f"2 <= near_cm < far_cm <= {RANGE_CM_MAX} must hold, not {near_cm} and {far_cm}")
        self._near_cm, self._far_cm = near_cm, far_cm
        self._on_arrived, self._on_left, self._on_online = on_arrived, on_left, on_online
        self._samples_cm: deque[float] = deque(maxlen=_SAMPLES)
        self._silent_samples = 0
        self._online: bool | None = None
        self._present = False
        name = f"distance sensor on GPIO{trigger_pin} and GPIO{echo_pin}"
        with pin_errors(name, kind=DeviceNotAvailable):
            self._sensor = _open_sensor(self._sampled, trigger_pin, echo_pin, pin_factory)

    @property
    def online(self) -> bool | None:
        """Tell whether the sensor answers; None until the first finding."""
        return self._online

    @property
    def present(self) -> bool | None:
        """Tell whether somebody is there; None while that cannot be known."""
        return self._present if self._online else None

    def close(self) -> None:
        """Stop measuring and release the pins; harmless when repeated."""
        self._sensor.close()

    def _sampled(self, distance_cm: float | None) -> None:
        if distance_cm is None:
            self._missed()
            return
        self._silent_samples = 0
        self._set_online(True)
        self._samples_cm.append(distance_cm)
        if len(self._samples_cm) == _SAMPLES:
            self._judge(median(self._samples_cm))

    def _missed(self) -> None:
        self._silent_samples += 1
        if self._silent_samples >= _SILENT_SAMPLES_MAX:
            self._samples_cm.clear()  # what was measured before the silence says nothing about after
            self._set_online(False)

    def _judge(self, distance_cm: float) -> None:
        if not self._present and distance_cm <= self._near_cm:
            self._present = True
            self._on_arrived()
        elif self._present and distance_cm >= self._far_cm:
            self._present = False
            self._on_left()

    def _set_online(self, online: bool) -> None:
        if online != self._online:
            self._online = online
            self._on_online(online)


def _open_sensor(
    on_sample: Callable[[float | None], None], trigger_pin: int, echo_pin: int, pin_factory: Factory
) -> _Sensor:
    with warnings.catch_warnings():
        # gpiozero recommends pigpio here, which does not run on a Raspberry Pi 5; centimetres do not need it.
        warnings.simplefilter("ignore", PWMSoftwareFallback)
        return _Sensor(on_sample, trigger=trigger_pin, echo=echo_pin, pin_factory=pin_factory)


class _Sensor(DistanceSensor):  # type: ignore[misc]  # gpiozero has no types
    """gpiozero's sensor, handing on every single sample.

    gpiozero itself keeps the last median for ever when echoes cease: a dead sensor would look like a person
    who never leaves.
    """

    def __init__(self, on_sample: Callable[[float | None], None], **pins: Any) -> None:
        self._on_sample = on_sample
        self._closing = False
        super().__init__(max_distance=RANGE_CM_MAX / 100, **pins)

    def close(self) -> None:
        self._closing = True
        super().close()

    def _read(self) -> float | None:
        value = self._ping()
        if not self._closing:
            self._on_sample(None if value is None else value * RANGE_CM_MAX)
        return value

    def _ping(self) -> float | None:
        try:
            value: float | None = super()._read()
        except (DistanceSensorNoEcho, *pin_error_types()):
            return None  # no echo is a warning, which the interpreter may have been told to raise
        except AttributeError:
            # gpiozero takes the trigger away before it stops this thread.
            if not self._closing:
                raise
            return None
        return value
