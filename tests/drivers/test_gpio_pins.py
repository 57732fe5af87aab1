"""Pin choice, pin checks and outputs: every error at once, nothing chosen silently, off whatever happens."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from drivers import pins
from drivers.errors import DeviceFailed, DeviceNotAvailable
from drivers.pins import Output, check_pins, open_pin_factory, require_pins, run_all
from drivers.sim.pins import HISTORY_MAX, SimPin, close_contact, is_high, levels, open_contact

RELAY = 17


@pytest.mark.parametrize("pin", [9, 10, 17, 26, 27, None])
def test_allowed_pins_pass(pin):
    assert check_pins({"relay": pin}) == []


@pytest.mark.parametrize("pin", [-1, 0, 2, 8, 28, 40, True])
def test_other_pins_are_refused_by_function_and_number(pin):
    (error,) = check_pins({"relay": pin})
    assert error.startswith(f"relay: pin {pin} is not one of BCM 9 to 27")


def test_every_error_is_told_at_once():
    errors = check_pins(
        {"relay": 4, "red lamp": 17, "buzzer": 17, "fire contact": 30, "passage": 18, "beam": None}
    )
    assert [error.split(":")[0] for error in errors] == ["relay", "fire contact", "red lamp and buzzer"]
    assert "all on pin 17" in errors[2]


def test_functions_that_are_not_wired_share_nothing():
    assert check_pins({"relay": None, "beam": None}) == []


def test_require_pins_raises_all_sentences():
    with pytest.raises(ValueError, match=r"relay: pin 4 .*; beam: pin 5 "):
        require_pins({"relay": 4, "beam": 5})


def test_lgpio_is_never_replaced_by_something_else(monkeypatch):
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    try:
        factory = open_pin_factory("lgpio")
    except DeviceNotAvailable as error:
        assert "/dev/gpiochip" in error.device
        assert "python3-lgpio" in error.advice or "group gpio" in error.advice
    else:  # this machine is a Raspberry Pi
        assert type(factory).__name__ == "LGPIOFactory"
        factory.close()


def test_the_mock_factory_does_not_listen_to_the_environment(monkeypatch):
    monkeypatch.setenv("GPIOZERO_MOCK_PIN_CLASS", "mockchargingpin")
    assert type(open_pin_factory("mock").pin(RELAY)) is SimPin


def test_an_output_starts_off_and_closes_off():
    factory = open_pin_factory("mock")
    output = Output("relay", RELAY, factory)
    assert (output.is_on, levels(factory, RELAY)) == (False, [False])
    output.on()
    assert output.is_on
    output.close()
    output.close()
    assert (output.is_on, levels(factory, RELAY)) == (False, [False, True, False])


def test_a_pin_in_use_is_not_available():
    factory = open_pin_factory("mock")
    output = Output("relay", RELAY, factory)
    with pytest.raises(DeviceNotAvailable, match=r"red lamp on GPIO17: .*in use"):
        Output("red lamp", RELAY, factory)
    output.close()
    Output("red lamp", RELAY, factory).close()


def test_no_factory_is_refused_instead_of_guessed():
    with pytest.raises(AssertionError):
        Output("relay", RELAY, None)


def test_a_pin_that_cannot_be_written_fails_and_is_still_released():
    factory = open_pin_factory("mock")
    output = Output("relay", RELAY, factory)
    factory.pin(RELAY).broken = True
    for write in (output.on, output.off, output.close):
        with pytest.raises(DeviceFailed, match="relay on GPIO17"):
            write()
    factory.pin(RELAY).broken = False
    Output("relay", RELAY, factory).close()


def test_run_all_runs_what_comes_after_a_failure():
    done = []

    def fail():
        raise DeviceFailed("lamp", "gone", "look")

    with pytest.raises(DeviceFailed):
        run_all(lambda: done.append(1), fail, lambda: done.append(2))
    assert done == [1, 2]


def test_the_history_of_a_simulated_pin_is_bounded():
    factory = open_pin_factory("mock")
    output = Output("relay", RELAY, factory)
    for _ in range(HISTORY_MAX):
        output.on()
        output.off()
    assert levels(factory, RELAY) == [True, False] * (HISTORY_MAX // 2)
    output.close()


def test_a_contact_is_stronger_than_the_pull_whichever_came_first():
    factory = open_pin_factory("mock")
    close_contact(factory, 20)
    pin = factory.pin(20)
    pin.pull = "up"
    assert not is_high(factory, 20)
    open_contact(factory, 20)
    assert is_high(factory, 20)


def test_errors_of_a_loaded_lgpio_are_known(monkeypatch):
    class Error(Exception):
        pass

    module = type(sys)("lgpio")
    module.error = Error
    monkeypatch.setitem(sys.modules, "lgpio", module)
    with pytest.raises(DeviceFailed, match="bad gpio handle"), pins.pin_errors("relay"):
        raise Error("bad gpio handle")


def test_importing_the_drivers_loads_neither_lgpio_nor_the_simulation():
    code = textwrap.dedent("""
        import sys
        import drivers.pins, drivers.turnstile, drivers.lights, drivers.contacts, drivers.presence
        print([name for name in ("lgpio", "drivers.sim") if name in sys.modules])
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
