"""The turnstile: one bounded pulse, never two, off on every way out."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time

import pytest

from drivers import turnstile
from drivers.errors import DeviceFailed, DeviceNotAvailable
from drivers.lights import Lights
from drivers.pins import open_pin_factory, run_all
from drivers.sim.pins import SimTurnstileArm, close_contact, is_high, levels, open_contact
from drivers.turnstile import Turnstile

RELAY, PASSAGE = 17, 27
LONG_MS = 60_000
BOUND_S = 5.0


class Gate:
    """A turnstile on simulated pins, and what it reported."""

    def __init__(self, *, unlock_ms_max=LONG_MS, passage=PASSAGE, bounce_ms=15, on_recovered=lambda: None):
        self.factory = open_pin_factory("mock")
        self.turns = 0
        self.turned = threading.Semaphore(0)
        self.failures = []
        self.failed = threading.Event()
        self.turnstile = Turnstile(
            RELAY,
            passage,
            pin_factory=self.factory,
            unlock_ms_max=unlock_ms_max,
            on_turned=self._on_turned,
            on_failed=self._on_failed,
            on_recovered=on_recovered,
            bounce_ms=bounce_ms,
        )
        self.arm = SimTurnstileArm(self.factory, RELAY, PASSAGE, turn_ms=60)

    def _on_turned(self):
        self.turns += 1
        self.turned.release()

    def _on_failed(self, error):
        self.failures.append(error)
        self.failed.set()

    @property
    def history(self):
        return levels(self.factory, RELAY)

    def wait_locked(self):
        deadline = time.monotonic() + BOUND_S
        pause = threading.Event()
        while self.turnstile.unlocked:
            assert time.monotonic() < deadline, "the pulse did not end by itself"
            pause.wait(0.002)


@pytest.fixture
def make():
    gates = []

    def build(**options):
        gates.append(Gate(**options))
        return gates[-1]

    yield build
    for gate in gates:
        gate.turnstile.close()


def test_locked_at_the_start(make):
    gate = make()
    assert (gate.turnstile.unlocked, gate.history) == (False, [False])


def test_a_pulse_ends_by_itself(make):
    gate = make()
    assert gate.turnstile.unlock(30) is True
    gate.wait_locked()
    assert gate.history == [False, True, False]


def test_a_pulse_lasts_as_long_as_asked(make):
    gate = make()
    before = time.monotonic()
    gate.turnstile.unlock(80)
    gate.wait_locked()
    assert time.monotonic() - before >= 0.08


def test_a_second_unlock_is_refused_and_prolongs_nothing(make):
    gate = make()
    before = time.monotonic()
    assert gate.turnstile.unlock(50) is True
    assert gate.turnstile.unlock(LONG_MS) is False
    gate.wait_locked()
    assert time.monotonic() - before < BOUND_S
    assert gate.history == [False, True, False]


def test_many_threads_make_one_pulse(make):
    gate = make()
    start = threading.Barrier(8)
    answers = []

    def ask():
        start.wait()
        answers.append(gate.turnstile.unlock(LONG_MS))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S)
    assert sorted(answers) == [False] * 7 + [True]
    assert gate.history == [False, True]


@pytest.mark.parametrize("duration_ms", [1, 499, 500])
def test_lengths_up_to_the_limit_pass(make, duration_ms):
    gate = make(unlock_ms_max=500)
    assert gate.turnstile.unlock(duration_ms) is True


@pytest.mark.parametrize("duration_ms", [-1, 0, 501, 10**9])
def test_other_lengths_raise_and_move_nothing(make, duration_ms):
    gate = make(unlock_ms_max=500)
    with pytest.raises(ValueError, match="1 to 500 ms"):
        gate.turnstile.unlock(duration_ms)
    assert gate.history == [False]


def test_lock_ends_a_pulse_at_once_and_the_next_one_is_whole(make):
    gate = make()
    gate.turnstile.unlock(40)
    gate.turnstile.lock()
    assert gate.history == [False, True, False]
    assert gate.turnstile.unlock(LONG_MS) is True
    threading.Event().wait(0.1)  # the first pulse's timer would have rung by now
    assert gate.history == [False, True, False, True]


def test_without_the_thread_that_ends_a_pulse_none_begins(make):
    gate = make()
    gate.turnstile._ender = threading.Thread()
    with pytest.raises(DeviceFailed):
        gate.turnstile.unlock(LONG_MS)
    assert gate.history == [False]
    gate.turnstile.hold_open()  # a fire does not wait for it
    assert gate.turnstile.unlocked


def test_closing_ends_the_thread(make):
    gate = make()
    gate.turnstile.close()
    gate.turnstile._ender.join(BOUND_S)
    assert not gate.turnstile._ender.is_alive()


def test_lock_is_harmless_when_locked(make):
    gate = make()
    gate.turnstile.lock()
    assert gate.history == [False]


def test_hold_open_outlives_a_pulse_and_refuses_unlock(make):
    gate = make()
    gate.turnstile.unlock(20)
    gate.turnstile.hold_open()
    assert gate.turnstile.unlock(20) is False
    threading.Event().wait(0.06)
    assert gate.history == [False, True]
    gate.turnstile.lock()
    assert gate.history == [False, True, False]
    assert gate.turnstile.unlock(20) is True


def test_close_locks_and_is_idempotent(make):
    gate = make()
    gate.turnstile.unlock(LONG_MS)
    gate.turnstile.close()
    gate.turnstile.close()
    assert (gate.turnstile.unlocked, gate.history) == (False, [False, True, False])
    gate.turnstile.lock()
    for move in (lambda: gate.turnstile.unlock(100), gate.turnstile.hold_open):
        with pytest.raises(DeviceFailed, match="closed"):
            move()
    assert gate.history == [False, True, False]


def test_close_ends_a_hold(make):
    gate = make()
    gate.turnstile.hold_open()
    gate.turnstile.close()
    assert gate.history == [False, True, False]


def test_a_relay_that_cannot_be_switched_off_is_reported_and_not_pulsed_again(make):
    gate = make()
    gate.turnstile.unlock(30)
    gate.factory.pin(RELAY).broken = True
    assert gate.failed.wait(BOUND_S)
    assert [type(error) for error in gate.failures] == [DeviceFailed]
    assert gate.turnstile.unlock(30) is False
    gate.factory.pin(RELAY).broken = False
    gate.turnstile.lock()
    assert gate.history == [False, True, False]


def test_a_relay_that_stayed_on_is_switched_off_as_soon_as_that_works(make, monkeypatch):
    monkeypatch.setattr(turnstile, "OFF_RETRY_S", 0.05)
    recovered = threading.Event()
    gate = make(on_recovered=recovered.set)
    gate.turnstile.unlock(30)
    gate.factory.pin(RELAY).broken = True
    assert gate.failed.wait(BOUND_S)
    assert not recovered.is_set()
    gate.factory.pin(RELAY).broken = False
    assert recovered.wait(BOUND_S)
    assert gate.history == [False, True, False]
    assert gate.turnstile.unlock(30) is True


def test_a_lock_that_fails_does_not_leave_the_relay_on(make, monkeypatch):
    monkeypatch.setattr(turnstile, "OFF_RETRY_S", 0.05)
    recovered = threading.Event()
    gate = make(on_recovered=recovered.set)
    gate.turnstile.unlock(LONG_MS)
    gate.factory.pin(RELAY).broken = True
    with pytest.raises(DeviceFailed):
        gate.turnstile.lock()
    gate.factory.pin(RELAY).broken = False
    assert recovered.wait(BOUND_S)
    assert not gate.turnstile.unlocked


def test_a_relay_that_cannot_be_switched_on_raises(make):
    gate = make()
    gate.factory.pin(RELAY).broken = True
    with pytest.raises(DeviceFailed, match="turnstile relay on GPIO17"):
        gate.turnstile.unlock(LONG_MS)
    gate.factory.pin(RELAY).broken = False
    gate.turnstile.lock()
    assert gate.history == [False]


def test_another_device_that_fails_to_close_does_not_keep_the_relay_on(make):
    gate = make()
    lights = Lights(22, 23, 24, None, pin_factory=gate.factory)
    gate.turnstile.unlock(LONG_MS)
    for pin in (22, 23, 24):
        gate.factory.pin(pin).broken = True
    with pytest.raises(DeviceFailed):
        run_all(lights.close, gate.turnstile.close)
    assert gate.history == [False, True, False]


def test_a_passage_pin_in_use_leaves_the_relay_off_and_released():
    factory = open_pin_factory("mock")
    lights = Lights(PASSAGE, None, None, None, pin_factory=factory)

    def build():
        return Turnstile(
            RELAY,
            PASSAGE,
            pin_factory=factory,
            unlock_ms_max=500,
            on_turned=lambda: None,
            on_failed=lambda error: None,
        )

    with pytest.raises(DeviceNotAvailable, match="passage contact on GPIO27"):
        build()
    assert levels(factory, RELAY) == [False]
    lights.close()
    build().close()


@pytest.mark.parametrize(("relay", "passage"), [(4, 27), (17, 2), (17, 17), (28, None)])
def test_impossible_pins_raise_before_a_pin_is_touched(relay, passage):
    factory = open_pin_factory("mock")
    with pytest.raises(ValueError, match="pin"):
        Turnstile(
            relay,
            passage,
            pin_factory=factory,
            unlock_ms_max=500,
            on_turned=lambda: None,
            on_failed=lambda error: None,
        )
    assert dict(factory.pins) == {}


@pytest.mark.parametrize("unlock_ms_max", [0, -1])
def test_a_limit_that_allows_nothing_is_refused(make, unlock_ms_max):
    with pytest.raises(ValueError, match="unlock_ms_max"):
        make(unlock_ms_max=unlock_ms_max)


def test_an_arm_that_is_not_free_does_not_turn(make):
    gate = make()
    assert gate.arm.push() is False
    assert gate.turns == 0


def test_a_free_arm_turns_and_counts_once(make):
    gate = make()
    gate.turnstile.unlock(LONG_MS)
    assert gate.arm.push() is True
    assert gate.turned.acquire(timeout=BOUND_S)
    assert gate.turns == 1


def test_a_forced_arm_is_reported_before_and_after_a_pulse(make):
    gate = make()
    gate.arm.force()
    gate.turnstile.unlock(LONG_MS)
    gate.turnstile.lock()
    gate.arm.force()
    assert gate.turned.acquire(timeout=BOUND_S)
    assert gate.turned.acquire(timeout=BOUND_S)
    assert gate.turns == 2


def test_a_bouncing_passage_contact_counts_once(make):
    gate = make(bounce_ms=80)
    for _ in range(10):
        close_contact(gate.factory, PASSAGE)
        open_contact(gate.factory, PASSAGE)
    close_contact(gate.factory, PASSAGE)
    assert gate.turned.acquire(timeout=BOUND_S)
    for _ in range(10):
        open_contact(gate.factory, PASSAGE)
        close_contact(gate.factory, PASSAGE)
    open_contact(gate.factory, PASSAGE)
    assert not gate.turned.acquire(timeout=0.2)
    assert gate.turns == 1


def test_a_contact_closed_at_the_start_is_not_a_turn(make):
    gate = make(passage=None)
    close_contact(gate.factory, PASSAGE)
    turns = []
    second = Turnstile(
        18,
        PASSAGE,
        pin_factory=gate.factory,
        unlock_ms_max=500,
        on_turned=lambda: turns.append(1),
        on_failed=lambda error: None,
        bounce_ms=10,
    )
    open_contact(gate.factory, PASSAGE)
    threading.Event().wait(0.05)
    second.close()
    assert turns == []


def test_no_passage_contact_is_fine(make):
    gate = make(passage=None)
    assert gate.turnstile.unlock(20) is True
    gate.wait_locked()
    assert gate.history == [False, True, False]


@pytest.mark.parametrize(
    ("move", "ending"),
    [
        ("unlock(60000)", "pass"),
        ("unlock(60000)", "raise RuntimeError('crash')"),
        ("hold_open()", "sys.exit(3)"),
    ],
)
def test_the_relay_is_off_after_the_interpreter_exits(move, ending):
    code = textwrap.dedent(f"""
        import atexit, sys
        from drivers.pins import open_pin_factory
        from drivers.sim.pins import levels
        from drivers.turnstile import Turnstile
        factory = open_pin_factory("mock")
        atexit.register(lambda: print(levels(factory, 17)))   # registered first, so it runs last
        turnstile = Turnstile(17, 27, pin_factory=factory, unlock_ms_max=60000,
                              on_turned=lambda: None, on_failed=lambda error: None)
        turnstile.{move}
        {ending}
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.strip() == "[False, True, False]", done.stderr


def test_levels_seen_by_the_simulation_are_the_relays(make):
    gate = make()
    gate.turnstile.hold_open()
    assert is_high(gate.factory, RELAY)
