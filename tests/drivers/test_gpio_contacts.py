"""Contacts: a bounce counts once, a spike not at all, no last state is lost, a broken wire is an alarm."""

from __future__ import annotations

import queue
import threading
from types import MappingProxyType

import pytest

from drivers.contacts import AttendantButtons, Button, Contact, FireContact
from drivers.errors import DeviceNotAvailable
from drivers.pins import open_pin_factory
from drivers.sim.pins import close_contact, open_contact

PIN = 20
BOUND_S = 5.0
QUIET_S = 0.2
BOUNCE_MS = 80


class Inbox:
    """What was posted, in order."""

    def __init__(self):
        self._queue = queue.Queue()

    def post(self, item):
        self._queue.put(item)

    def next(self):
        return self._queue.get(timeout=BOUND_S)

    def assert_quiet(self):
        with pytest.raises(queue.Empty):
            self._queue.get(timeout=QUIET_S)


@pytest.fixture
def factory():
    return open_pin_factory("mock")


@pytest.fixture
def inbox():
    return Inbox()


@pytest.fixture
def contact(factory, inbox):
    contact = Contact("door", PIN, inbox.post, pin_factory=factory, bounce_ms=BOUNCE_MS)
    yield contact
    contact.close()


def bounce(factory, *, ends_closed, times=20):
    """Flicker, and end as told."""
    last, other = (close_contact, open_contact) if ends_closed else (open_contact, close_contact)
    for _ in range(times):
        last(factory, PIN)
        other(factory, PIN)
    last(factory, PIN)


def test_nothing_is_said_at_the_start(contact, inbox):
    inbox.assert_quiet()


def test_each_change_is_said_once(factory, contact, inbox):
    close_contact(factory, PIN)
    assert inbox.next() is True
    open_contact(factory, PIN)
    assert inbox.next() is False
    inbox.assert_quiet()


def test_a_bouncing_contact_is_said_once(factory, contact, inbox):
    bounce(factory, ends_closed=True)
    assert inbox.next() is True
    bounce(factory, ends_closed=False)
    assert inbox.next() is False
    inbox.assert_quiet()


def test_a_spike_is_not_said(factory, contact, inbox):
    close_contact(factory, PIN)
    open_contact(factory, PIN)
    inbox.assert_quiet()
    close_contact(factory, PIN)
    assert inbox.next() is True


def test_bouncing_starts_one_thread_at_a_time(factory, contact):
    before = threading.active_count()
    for _ in range(200):
        close_contact(factory, PIN)
        open_contact(factory, PIN)
        assert threading.active_count() <= before + 1


def test_is_closed_is_the_level_now(factory, contact):
    assert not contact.is_closed
    close_contact(factory, PIN)
    assert contact.is_closed


def test_nothing_is_said_after_close_though_a_change_was_under_way(factory, contact, inbox):
    close_contact(factory, PIN)
    contact.close()
    contact.close()
    open_contact(factory, PIN)
    close_contact(factory, PIN)
    inbox.assert_quiet()


def test_a_timer_that_lost_the_race_against_close_says_nothing(factory, contact, inbox):
    close_contact(factory, PIN)
    late = contact._settling
    contact.close()
    late.function()
    inbox.assert_quiet()


def test_a_contact_may_be_closed_by_what_it_calls(factory):
    done = threading.Event()

    def stop(closed):
        contact.close()
        done.set()

    contact = Contact("door", PIN, stop, pin_factory=factory, bounce_ms=1)
    close_contact(factory, PIN)
    assert done.wait(BOUND_S)


def test_a_pin_in_use_is_not_available(factory, contact):
    with pytest.raises(DeviceNotAvailable, match="second on GPIO20"):
        Contact("second", PIN, print, pin_factory=factory)


@pytest.mark.parametrize(("pin", "bounce_ms"), [(3, 30), (28, 30), (20, 0), (20, -1)])
def test_impossible_values_are_refused(factory, pin, bounce_ms):
    with pytest.raises(ValueError, match=r"pin|bounce_ms"):
        Contact("door", pin, print, pin_factory=factory, bounce_ms=bounce_ms)


class TestFireContact:
    @pytest.fixture
    def build(self, factory, inbox):
        built = []

        def build():
            built.append(FireContact(PIN, inbox.post, pin_factory=factory, bounce_ms=BOUNCE_MS))
            return built[-1]

        yield build
        for contact in built:
            contact.close()

    def test_an_intact_loop_is_no_alarm_and_said_so(self, factory, inbox, build):
        close_contact(factory, PIN)
        assert build().alarm is False
        assert inbox.next() is False
        inbox.assert_quiet()

    def test_a_wire_broken_before_the_start_is_an_alarm(self, inbox, build):
        assert build().alarm is True
        assert inbox.next() is True
        inbox.assert_quiet()

    def test_a_wire_that_breaks_is_an_alarm_and_its_repair_ends_it(self, factory, inbox, build):
        close_contact(factory, PIN)
        fire = build()
        assert inbox.next() is False
        open_contact(factory, PIN)
        assert inbox.next() is True
        assert fire.alarm is True
        close_contact(factory, PIN)
        assert inbox.next() is False
        inbox.assert_quiet()

    def test_a_relay_that_bounces_into_alarm_alarms_once(self, factory, inbox, build):
        close_contact(factory, PIN)
        build()
        assert inbox.next() is False
        bounce(factory, ends_closed=False)
        assert inbox.next() is True
        inbox.assert_quiet()


class TestAttendantButtons:
    PINS = MappingProxyType(dict(zip(Button, (12, 13, 16, 19), strict=True)))

    @pytest.fixture
    def buttons(self, factory, inbox):
        buttons = AttendantButtons(
            *self.PINS.values(), pin_factory=factory, on_button=inbox.post, bounce_ms=20
        )
        yield buttons
        buttons.close()

    def test_words(self):
        assert [str(button) for button in Button] == ["confirm", "refuse", "mask_on", "mask_off"]

    @pytest.mark.parametrize("button", Button)
    def test_a_press_is_said_once_and_a_release_not(self, factory, inbox, buttons, button):
        pin = self.PINS[button]
        close_contact(factory, pin)
        assert inbox.next() is button
        open_contact(factory, pin)
        inbox.assert_quiet()

    def test_each_press_counts(self, factory, inbox, buttons):
        for _ in range(2):
            close_contact(factory, 12)
            assert inbox.next() is Button.CONFIRM
            open_contact(factory, 12)
            threading.Event().wait(0.1)

    def test_a_button_down_at_the_start_says_nothing_until_pressed_again(self, factory, inbox):
        close_contact(factory, 12)
        buttons = AttendantButtons(
            12, None, None, None, pin_factory=factory, on_button=inbox.post, bounce_ms=20
        )
        inbox.assert_quiet()
        open_contact(factory, 12)
        inbox.assert_quiet()
        close_contact(factory, 12)
        assert inbox.next() is Button.CONFIRM
        buttons.close()

    def test_buttons_that_are_not_fitted_are_left_out(self, factory, inbox):
        AttendantButtons(None, None, None, None, pin_factory=factory, on_button=inbox.post).close()

    def test_two_buttons_on_one_pin_are_refused(self, factory, inbox):
        with pytest.raises(ValueError, match="confirm button and refuse button: all on pin 12"):
            AttendantButtons(12, 12, None, None, pin_factory=factory, on_button=inbox.post)

    def test_a_pin_in_use_leaves_the_others_released(self, factory, inbox):
        taken = Contact("door", 13, inbox.post, pin_factory=factory)
        with pytest.raises(DeviceNotAvailable, match="refuse button on GPIO13"):
            AttendantButtons(12, 13, None, None, pin_factory=factory, on_button=inbox.post)
        taken.close()
        AttendantButtons(12, 13, None, None, pin_factory=factory, on_button=inbox.post).close()
