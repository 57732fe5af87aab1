"""Writes docs/leds.md from the table of the first boot and from the gate's own lamps.

    .venv/bin/python deploy/firstboot/led_page.py > docs/leds.md

A test compares the two, so that the page never says what the code does not do.
"""

import sys
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1])]

from drivers.lights import PATTERNS, Pattern, Signal  # noqa: E402 - found by the line above
from gate.core.mode import Mode  # noqa: E402
from gate.core.screens import idle_screen  # noqa: E402

_SIGNALS: Final = {
    Signal.OFF: "Nobody is at the gate.",
    Signal.WAIT: "A visit is under way: read the display.",
    Signal.GO: "Pass, one person.",
    Signal.ATTENTION: "The visitor is sent to the person on duty.",
    Signal.STOP: "Turned away, or the gate has a fault: read the display.",
    Signal.EVACUATE: "Fire alarm: everybody out, the way is free.",
}
_MODES: Final = {
    Mode.SERVING: "The gate serves.",
    Mode.DEGRADED: "A part is missing or a document is out of date: visitors are sent to the person on duty.",
    Mode.CLOSED_HOURS: "Outside opening hours.",
    Mode.SUSPENDED: "Entry is suspended by the centre or by a document.",
    Mode.FAULT: "The ledger or the turnstile has failed: nobody is let in. Run `gate doctor`.",
    Mode.EVACUATING: "Fire alarm.",
}
_HEAD: Final = """\
<!-- Written by deploy/firstboot/led_page.py; change the code, then run it again. -->
# What the lights tell

Two things have lights: the board itself, and the lamps at the entrance.

## The board's green LED (ACT), at the first boot

| LED | state | what it means | what to do |
| --- | --- | --- | --- |
"""
_MIDDLE: Final = """
The number of flashes is the number of the step that cannot be done yet. It is tried again after seconds at
first, later every two minutes, and the LED goes on to the next state by itself. The file
`health-gate/status.txt` on the card says it in words: take the card out with the power off and read it on any
PC. On a kernel that cannot count flashes the LED blinks four times in two seconds for every error; so it does
where the card has lost the table of these signals, `led-states`.

After that the LED shows, as on every Raspberry Pi, when the card is read and written.

## The lamps at the entrance

| lamp | buzzer | what it means |
| --- | --- | --- |
"""
_END: Final = """
While nobody is at the gate:

| mode | lamp | what it means |
| --- | --- | --- |
"""


class State(NamedTuple):
    """One line of led-states."""

    name: str
    signal: str
    meaning: str
    advice: str


def led_states() -> list[State]:
    """Read the table that gate-firstboot goes by."""
    lines = (HERE / "led-states").read_text(encoding="utf-8").splitlines()
    return [State(*line.split("\t")) for line in lines if not line.startswith("#")]


def page() -> str:
    """Return docs/leds.md."""
    board = "".join(
        f"| {_words(state.signal)} | {state.name.replace('_', ' ')} | {state.meaning} | {state.advice} |\n"
        for state in led_states()
    )
    lamps = "".join(
        f"| {_lamp(PATTERNS[signal])} | {_buzzer(PATTERNS[signal])} | {meaning} |\n"
        for signal, meaning in _SIGNALS.items()
    )
    modes = "".join(
        f"| {mode.replace('_', ' ')} | {_lamp(PATTERNS[Signal(idle_screen(mode).signal)])} | {meaning} |\n"
        for mode, meaning in _MODES.items()
    )
    return _HEAD + board + _MIDDLE + lamps + _END + modes


def _words(signal: str) -> str:
    kind, *numbers = signal.split()
    if kind == "count":
        return f"{numbers[0]} short flash{'es' * (numbers[0] != '1')}, pause"
    if kind == "blink":
        on_ms, off_ms = map(int, numbers)
        return f"blinks: {on_ms / 1000:g} s on, {off_ms / 1000:g} s off"
    return "steady"


def _lamp(pattern: Pattern) -> str:
    return pattern.lamp or "none"


def _buzzer(pattern: Pattern) -> str:
    if not pattern.beeps_ms:
        return "silent"
    if pattern.repeats:
        return "beeps without end"
    count = len(pattern.beeps_ms[::2])
    return "one beep" if count == 1 else f"{count} beeps"


if __name__ == "__main__":
    sys.stdout.write(page())
