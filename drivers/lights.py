"""Lights and buzzer: one signal at a time, said with a lamp and a pattern of beeps."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

from drivers.errors import DeviceError, DeviceFailed
from drivers.pins import Output, require_pins, run_all

if TYPE_CHECKING:
    from gpiozero import Factory

_JOIN_S = 1.0
"""The buzzer's thread only ever waits or writes a pin; it ends within a millisecond of being told."""


class Signal(StrEnum):
    """What the lights say to the person at the gate."""

    OFF = auto()
    WAIT = auto()
    GO = auto()
    ATTENTION = auto()
    STOP = auto()
    EVACUATE = auto()


@dataclass(frozen=True, slots=True)
class Pattern:
    """One lamp, steady, and the lengths of sound and silence in turn, beginning with sound."""

    lamp: str | None
    beeps_ms: tuple[int, ...] = ()
    repeats: bool = False

    def steps(self) -> Iterator[tuple[bool, int]]:
        """Yield (sounding, length in ms), without end if the pattern repeats."""
        lengths = cycle(self.beeps_ms) if self.repeats else self.beeps_ms
        return zip(cycle((True, False)), lengths, strict=False)


PATTERNS: Mapping[Signal, Pattern] = {
    Signal.OFF: Pattern(None),
    Signal.WAIT: Pattern("yellow"),
    Signal.GO: Pattern("green"),
    Signal.ATTENTION: Pattern("yellow", (100,)),
    Signal.STOP: Pattern("red", (200, 150, 200)),
    Signal.EVACUATE: Pattern("green", (500, 500), repeats=True),
}


class Buzzer:
    """Plays one pattern at a time on one thread; a new pattern cuts the old one short."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._changed = threading.Condition()
        self._steps: Iterator[tuple[bool, int]] = iter(())
        self._failure: DeviceError | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="buzzer", daemon=True)
        self._thread.start()

    def play(self, pattern: Pattern) -> None:
        """Begin the pattern and return at once; raises the DeviceFailed of an earlier one."""
        with self._changed:
            self._steps = pattern.steps()
            self._changed.notify()
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Silence the buzzer, end its thread, release its pin; harmless when repeated."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        run_all(self._output.close, partial(self._thread.join, _JOIN_S))

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                sounding, length_ms = next(self._steps, (False, None))
                self._write(sounding)
                self._changed.wait(None if length_ms is None else length_ms / 1000)

    def _write(self, sounding: bool) -> None:
        try:
            self._output.on() if sounding else self._output.off()
        except DeviceError as error:
            self._failure = error


class Lights:
    """The traffic light and the buzzer at the gate, all active-high; a pin of None is a part not fitted.

    Raises ValueError for impossible pins, DeviceNotAvailable when a pin cannot be had.
    """

    def __init__(
        self,
        green_pin: int | None,
        yellow_pin: int | None,
        red_pin: int | None,
        buzzer_pin: int | None,
        *,
        pin_factory: Factory,
    ) -> None:
        pins = {"green": green_pin, "yellow": yellow_pin, "red": red_pin}
        require_pins({**{f"{name} lamp": pin for name, pin in pins.items()}, "buzzer": buzzer_pin})
        self._lock = threading.Lock()
        self._closed = False
        self._lamps: dict[str, Output] = {}
        self._buzzer: Buzzer | None = None
        atexit.register(self.close)
        try:
            for name, pin in pins.items():
                if pin is not None:
                    self._lamps[name] = Output(f"{name} lamp", pin, pin_factory)
            if buzzer_pin is not None:
                self._buzzer = Buzzer(Output("buzzer", buzzer_pin, pin_factory))
        except BaseException:
            self.close()
            raise

    def show(self, signal: Signal) -> None:
        """Show one signal until the next; never two lamps at once; only evacuation beeps without end.

        Returns at once. A lamp that fails does not keep the others dark; then raises DeviceFailed, as it
        does when closed or when the beeps of an earlier signal could not be sounded.
        """
        pattern = PATTERNS[signal]
        with self._lock:
            if self._closed:
                raise DeviceFailed("lights", "they have been closed", "open them again")
            dark = [lamp.off for name, lamp in self._lamps.items() if name != pattern.lamp]
            lit = [lamp.on for name, lamp in self._lamps.items() if name == pattern.lamp]
            beeps = [] if self._buzzer is None else [partial(self._buzzer.play, pattern)]
            run_all(*dark, *lit, *beeps)

    def close(self) -> None:
        """Switch off, then release the pins; harmless when repeated; also done at interpreter exit."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        buzzer = [] if self._buzzer is None else [self._buzzer.close]
        run_all(*(lamp.close for lamp in self._lamps.values()), *buzzer)
