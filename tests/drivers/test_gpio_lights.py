"""Lights and buzzer: one lamp at a time, beeps that end, one thread, off at the end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time

import pytest

from drivers.errors import DeviceFailed, DeviceNotAvailable
from drivers.lights import PATTERNS, Lights, Signal
from drivers.pins import Output, open_pin_factory
from drivers.sim.pins import is_high, levels

GREEN, YELLOW, RED, BUZZER = 22, 23, 24, 25
LAMPS = (GREEN, YELLOW, RED)
BOUND_S = 5.0


@pytest.fixture
def factory():
    return open_pin_factory("mock")


@pytest.fixture
def lights(factory):
    lights = Lights(GREEN, YELLOW, RED, BUZZER, pin_factory=factory)
    yield lights
    lights.close()


def wait_for(condition):
    deadline = time.monotonic() + BOUND_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        pause.wait(0.005)


def lit(factory):
    return [pin for pin in LAMPS if is_high(factory, pin)]


@pytest.mark.parametrize(
    ("signal", "lamps"),
    [
        (Signal.OFF, []),
        (Signal.WAIT, [YELLOW]),
        (Signal.GO, [GREEN]),
        (Signal.ATTENTION, [YELLOW]),
        (Signal.STOP, [RED]),
        (Signal.EVACUATE, [GREEN]),
    ],
)
def test_each_signal_lights_its_lamp_and_no_other(factory, lights, signal, lamps):
    for before in Signal:
        lights.show(before)
        lights.show(signal)
        assert lit(factory) == lamps


def test_every_signal_has_a_pattern():
    assert set(PATTERNS) == set(Signal)
    assert [signal for signal, pattern in PATTERNS.items() if pattern.repeats] == [Signal.EVACUATE]


def test_never_two_lamps_at_once(factory, lights):
    seen = []
    for pin in LAMPS:
        original = factory.pin(pin)._change_state
        factory.pin(pin)._change_state = lambda value, original=original: (
            original(value),
            seen.append(len(lit(factory))),
        )
    for signal in [*Signal, *reversed(Signal)]:
        lights.show(signal)
    assert max(seen) == 1


@pytest.mark.parametrize(("signal", "beeps"), [(Signal.ATTENTION, 1), (Signal.STOP, 2)])
def test_beeps_are_counted_and_end(factory, lights, signal, beeps):
    lights.show(signal)
    expected = [False] + [True, False] * beeps
    wait_for(lambda: len(levels(factory, BUZZER)) >= len(expected))
    threading.Event().wait(0.3)
    assert levels(factory, BUZZER) == expected


@pytest.mark.parametrize("signal", [Signal.OFF, Signal.WAIT, Signal.GO])
def test_other_signals_are_silent(factory, lights, signal):
    lights.show(signal)
    threading.Event().wait(0.05)
    assert levels(factory, BUZZER) == [False]


def test_evacuation_sounds_until_the_next_signal(factory, lights):
    lights.show(Signal.EVACUATE)
    wait_for(lambda: levels(factory, BUZZER) == [False, True, False, True])
    lights.show(Signal.OFF)
    wait_for(lambda: not is_high(factory, BUZZER))
    assert levels(factory, BUZZER) == [False, True, False, True, False]


def test_a_new_signal_cuts_a_beep_short(factory, lights):
    lights.show(Signal.STOP)
    wait_for(lambda: is_high(factory, BUZZER))
    lights.show(Signal.GO)
    wait_for(lambda: not is_high(factory, BUZZER))
    threading.Event().wait(0.3)
    assert levels(factory, BUZZER) == [False, True, False]


def test_signals_start_no_threads(lights):
    before = threading.active_count()
    for _ in range(50):
        lights.show(Signal.EVACUATE)
        lights.show(Signal.STOP)
        assert threading.active_count() == before


def test_close_switches_all_off_ends_the_thread_and_is_idempotent(factory):
    before = threading.active_count()
    lights = Lights(GREEN, YELLOW, RED, BUZZER, pin_factory=factory)
    lights.show(Signal.EVACUATE)
    wait_for(lambda: is_high(factory, BUZZER))
    lights.close()
    lights.close()
    assert [is_high(factory, pin) for pin in (*LAMPS, BUZZER)] == [False] * 4
    assert threading.active_count() == before
    with pytest.raises(DeviceFailed, match="closed"):
        lights.show(Signal.GO)


def test_parts_that_are_not_fitted_are_left_out(factory):
    lights = Lights(None, None, RED, None, pin_factory=factory)
    for signal in Signal:
        lights.show(signal)
        assert is_high(factory, RED) == (signal is Signal.STOP)
    lights.close()
    Lights(None, None, None, None, pin_factory=factory).close()


def test_a_broken_lamp_does_not_keep_the_others_from_changing(factory, lights):
    lights.show(Signal.GO)
    factory.pin(GREEN).broken = True
    with pytest.raises(DeviceFailed, match="green lamp on GPIO22"):
        lights.show(Signal.STOP)
    assert is_high(factory, RED)
    with pytest.raises(DeviceFailed):
        lights.close()
    assert not is_high(factory, RED)


def test_a_broken_buzzer_is_reported_by_the_next_signal(factory, lights):
    factory.pin(BUZZER).broken = True
    lights.show(Signal.ATTENTION)
    wait_for(lambda: lights._buzzer._failure is not None)
    with pytest.raises(DeviceFailed, match="buzzer on GPIO25"):
        lights.show(Signal.STOP)
    assert lit(factory) == [RED]
    factory.pin(BUZZER).broken = False


def test_a_pin_in_use_leaves_the_others_released(factory):
    taken = Output("relay", BUZZER, factory)
    with pytest.raises(DeviceNotAvailable, match="buzzer on GPIO25"):
        Lights(GREEN, YELLOW, RED, BUZZER, pin_factory=factory)
    taken.close()
    Lights(GREEN, YELLOW, RED, BUZZER, pin_factory=factory).close()


def test_impossible_pins_are_told_together(factory):
    with pytest.raises(ValueError, match=r"green lamp: pin 3 .*; yellow lamp and buzzer: all on pin 23"):
        Lights(3, YELLOW, None, YELLOW, pin_factory=factory)


def test_all_is_dark_after_the_interpreter_exits():
    code = textwrap.dedent("""
        import atexit
        from drivers.lights import Lights, Signal
        from drivers.pins import open_pin_factory
        from drivers.sim.pins import is_high, levels
        factory = open_pin_factory("mock")
        atexit.register(lambda: print([levels(factory, pin) for pin in (22, 23, 24)], is_high(factory, 25)))
        Lights(22, 23, 24, 25, pin_factory=factory).show(Signal.EVACUATE)
        raise RuntimeError
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.strip() == "[[False, True, False], [False], [False]] False", done.stderr
