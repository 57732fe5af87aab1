"""What every turnstile promises (gate.ports.Turnstile): the driver on simulated pins, the simulated arm."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from drivers.pins import open_pin_factory
from drivers.sim.pins import is_high
from gate.app.hardware import open_pins
from gate.config import Config, GateSection, MqttSection, PinsSection
from gate.core.moment import NS_PER_MS
from gate.ports import Turnstile
from gate.sim.entrance import Arm
from gate.sim.timeline import Timeline
from tests.brokers import wait_for

RELAY = 17


@dataclass
class Fitted:
    """A turnstile, whether it is free right now, and a way to let a pulse end."""

    turnstile: Turnstile
    is_free: Callable[[], bool]
    wait_locked: Callable[[float], None]


def on_pins() -> Iterator[Fitted]:
    factory = open_pin_factory("mock")
    pins = PinsSection(factory="mock", relay=RELAY, fire=None, beam=None)
    config = Config(gate=GateSection(site="s", id="g"), mqtt=MqttSection(host="h"), pins=pins)
    opened = open_pins(config, lambda _: None, factory)

    def free() -> bool:
        return is_high(factory, RELAY)

    yield Fitted(
        opened.turnstile, free, lambda within_s: wait_for(lambda: not free(), within_s, "the pulse to end")
    )
    for part in opened.closing:
        part.close()


class Deaf:
    """An oracle that is told everything and judges nothing."""

    def __getattr__(self, _: str) -> Any:
        return lambda: None


def in_virtual_time() -> Iterator[Fitted]:
    timeline = Timeline()
    arm = Arm(timeline, Deaf())  # type: ignore[arg-type]  # it has every method of an oracle

    def free() -> bool:
        return arm._held or timeline.now_ns < arm._pulse_until_ns

    def wait_locked(within_s: float) -> None:
        timeline.run_until(timeline.now_ns + round(within_s * 1000) * NS_PER_MS)
        assert not free()

    yield Fitted(arm, free, wait_locked)


@pytest.fixture(params=[on_pins, in_virtual_time])
def fitted(request: pytest.FixtureRequest) -> Iterator[Fitted]:
    yield from request.param()


def test_it_is_locked_at_the_start(fitted: Fitted) -> None:
    assert not fitted.is_free()
    fitted.turnstile.lock()
    assert not fitted.is_free()


def test_a_pulse_ends_by_itself(fitted: Fitted) -> None:
    assert fitted.turnstile.unlock(100)
    assert fitted.is_free()
    fitted.wait_locked(1)


def test_a_pulse_is_neither_doubled_nor_prolonged(fitted: Fitted) -> None:
    assert fitted.turnstile.unlock(100)
    assert not fitted.turnstile.unlock(2000)
    fitted.wait_locked(1)
    assert fitted.turnstile.unlock(100), "the next one is a pulse of its own"
    fitted.wait_locked(1)


def test_lock_ends_a_pulse_at_once(fitted: Fitted) -> None:
    fitted.turnstile.unlock(2000)
    fitted.turnstile.lock()
    assert not fitted.is_free()
    assert fitted.turnstile.unlock(100)


def test_held_open_stays_open_until_lock(fitted: Fitted) -> None:
    fitted.turnstile.unlock(100)
    fitted.turnstile.hold_open()
    assert not fitted.turnstile.unlock(100), "no pulse may end an evacuation"
    assert fitted.is_free()
    fitted.turnstile.hold_open()
    assert fitted.is_free()
    fitted.turnstile.lock()
    assert not fitted.is_free()
