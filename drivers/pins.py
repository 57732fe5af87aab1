"""Pins: which may be used, who drives them, and the one output that every lamp and relay is made of.

gpiozero picks a pin factory by itself when none is passed, and falls back from one to the next with a
warning. On a gate that would turn a missing library into a turnstile that silently never moves, so every
driver here takes its factory as an argument and refuses None.

What software cannot promise: a process that is killed (SIGKILL, power cut) runs none of this, and a released
pin is a floating input. The relay board must therefore be active-high with a pull-down resistor, and the
turnstile must treat "relay off" as locked for entry and free for escape.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Literal

from gpiozero import Factory, GPIOZeroError, OutputDevice

from drivers.errors import DeviceError, DeviceFailed, DeviceNotAvailable

ALLOWED_PINS = range(9, 28)
"""BCM numbers whose pull at power-on is down (BCM2835 peripherals, table 6-31); 0-8 are pulled up and would
close an active-high relay while the board starts, 28 and above are not on the header."""

_ADVICE = "check the wiring, that no other program holds the pin, and that the service is in group gpio"


def open_pin_factory(name: Literal["lgpio", "mock"]) -> Factory:
    """Open the one pin factory of the process: `lgpio` drives real pins, `mock` simulated ones.

    Raises DeviceNotAvailable when the library, the chip or the permission is missing.
    """
    return _open_mock() if name == "mock" else _open_lgpio()


def _open_mock() -> Factory:
    from gpiozero.pins.mock import MockFactory  # noqa: PLC0415 - a gate with real pins does not load it

    from drivers.sim.pins import SimPin  # noqa: PLC0415 - as above

    # Board and pin class are said here, because gpiozero would otherwise take them from the environment.
    factory = MockFactory(revision="a02082", pin_class=SimPin)
    factory.reset()  # in gpiozero 1.6 all factories of a process share their pins
    return factory


def _open_lgpio() -> Factory:
    device = "GPIO chip (/dev/gpiochip*)"
    try:
        from gpiozero.pins.lgpio import LGPIOFactory  # noqa: PLC0415 - only a Raspberry Pi has it
    except ImportError as error:
        raise DeviceNotAvailable(device, str(error), "install the package python3-lgpio") from error
    except OSError as error:  # lgpio makes a named pipe in the working folder as it is imported
        advice = "start in a writable folder, or name one in LG_WD (which becomes the working folder)"
        raise DeviceNotAvailable(device, str(error), advice) from error
    advice = "run on a Raspberry Pi, and add the user of the service to group gpio"
    with pin_errors(device, advice, kind=DeviceNotAvailable):
        return LGPIOFactory()


def check_pins(assignments: Mapping[str, int | None]) -> list[str]:
    """Tell everything that is wrong with an assignment of BCM pins to functions; None is not wired.

    Returns one sentence for each error, none if all is well: pins outside ALLOWED_PINS, pins given twice.
    """
    functions: defaultdict[int, list[str]] = defaultdict(list)
    for function, pin in assignments.items():
        if pin is not None:
            functions[pin].append(function)
    outside = [
        f"{function}: pin {pin} is not one of BCM {ALLOWED_PINS[0]} to {ALLOWED_PINS[-1]}, "
        "the header pins that stay low while the board starts"
        for pin, names in functions.items()
        if pin not in ALLOWED_PINS
        for function in names
    ]
    shared = [
        f"{' and '.join(names)}: all on pin {pin}; give each function a pin of its own"
        for pin, names in functions.items()
        if len(names) > 1
    ]
    return outside + shared


def require_pins(assignments: Mapping[str, int | None]) -> None:
    """Raise ValueError with every sentence of check_pins, before a pin is touched."""
    if errors := check_pins(assignments):
        raise ValueError("; ".join(errors))


@contextmanager
def pin_errors(
    device: str, advice: str = _ADVICE, *, kind: type[DeviceError] = DeviceFailed
) -> Iterator[None]:
    """Turn what gpiozero, lgpio and the kernel raise about pins into one typed error."""
    try:
        yield
    except pin_error_types() as error:
        raise kind(device, str(error), advice) from error


def pin_error_types() -> tuple[type[Exception], ...]:
    """Name what a pin operation may raise; lgpio has a class of its own, and may not be loaded."""
    lgpio = sys.modules.get("lgpio")
    return (GPIOZeroError, OSError) if lgpio is None else (GPIOZeroError, OSError, lgpio.error)


def run_all(*steps: Callable[[], object]) -> None:
    """Run the steps in order, each of them even if one before it failed; then raise the last failure."""
    with ExitStack() as stack:
        for step in reversed(steps):
            stack.callback(step)


class Output:
    """One pin that drives a relay, lamp or buzzer: active-high, off when opened, off before it is released.

    Raises DeviceNotAvailable when the pin cannot be had, DeviceFailed when it cannot be driven.
    """

    def __init__(self, function: str, pin: int, pin_factory: Factory) -> None:
        assert pin_factory is not None, "gpiozero would choose a pin factory by itself"
        self._name = f"{function} on GPIO{pin}"
        with pin_errors(self._name, kind=DeviceNotAvailable):
            # OutputDevice and not LED or Buzzer: those bring blink threads of their own.
            self._device = OutputDevice(pin, active_high=True, initial_value=False, pin_factory=pin_factory)

    @property
    def is_on(self) -> bool:
        """Tell the level read back from the pin; False once closed."""
        if self._device.closed:
            return False
        with pin_errors(self._name):
            return bool(self._device.value)

    def on(self) -> None:
        """Drive the pin high."""
        with pin_errors(self._name):
            self._device.on()

    def off(self) -> None:
        """Drive the pin low."""
        with pin_errors(self._name):
            self._device.off()

    def close(self) -> None:
        """Drive the pin low and release it; harmless when repeated."""
        if not self._device.closed:
            run_all(self.off, self._release)

    def _release(self) -> None:
        with pin_errors(self._name):
            self._device.close()
