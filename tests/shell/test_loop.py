"""The loop around the brain: inputs in order, time when it is due, an end when it was asked for."""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gate.config import load_policy
from gate.core.actor import GateActor
from gate.core.codes import Trust
from gate.core.effects import Effect, LightSignal
from gate.core.inputs import (
    DocumentReceived,
    FireAlarmChanged,
    InboxOverflowed,
    Input,
    PersonArrived,
    PersonLeft,
    Started,
    Stopped,
    TimePassed,
)
from gate.core.moment import NS_PER_S, Moment
from gate.core.texts import Key
from gate.perform import Brain, Outputs
from gate.shell.inbox import INBOX_MAX, Inbox
from gate.shell.loop import BrainLoop
from gate.store.ledger import Ledger
from tests.brokers import wait_for


class HandClock:
    """A clock that moves when the test says so."""

    def __init__(self) -> None:
        self.mono_ns = 5_000 * NS_PER_S

    def now(self) -> Moment:
        return Moment(self.mono_ns, self.mono_ns // 1_000_000, clock_trusted=True)

    def pass_s(self, seconds: float) -> None:
        self.mono_ns += int(seconds * NS_PER_S)


class Nothing:
    """Stands for outputs that this test does not look at."""

    def unlock(self, duration_ms: int) -> bool:
        return True

    def lock(self) -> None:
        pass

    def hold_open(self) -> None:
        pass

    def request(self, visit: str) -> None:
        pass


class Dark:
    """Shows nothing."""

    def show(self, signal: LightSignal | Key, facts: tuple[tuple[str, str], ...] = ()) -> None:
        pass


class Running:
    """The real brain in a loop of its own, with its inputs written down."""

    def __init__(self, meddle: Callable[[Input], None] = lambda _: None) -> None:
        self.clock, self.inbox = HandClock(), Inbox()
        self.inputs: list[Input] = []
        self._meddle = meddle
        ledger = Ledger(":memory:", site="hall", gate="g", new_epoch="00" * 8, boot_id="boot")
        weakref.finalize(self, ledger.close)
        outputs = Outputs(Nothing(), Dark(), Dark(), Nothing(), ledger, on_record=lambda _: None)
        self.actor = GateActor(load_policy("county-hall"), Trust(()), "hall", "run")
        self.loop = BrainLoop(Brain(self.actor, outputs, self._observe), self.inbox, self.clock)

    def _observe(self, happened: Input, effect: Effect | None, _now: Moment) -> None:
        if effect is None:
            self.inputs.append(happened)
            self._meddle(happened)

    def kinds(self) -> list[type[Input]]:
        return [type(happened) for happened in self.inputs]

    @contextmanager
    def in_a_thread(self) -> Iterator[None]:
        thread = threading.Thread(target=self.loop.run, args=(Started("0"),))
        thread.start()
        try:
            yield
        finally:
            self.inbox.post(Stopped())
            thread.join(5)
        assert not thread.is_alive()


def test_inputs_in_order_until_stopped() -> None:
    gate = Running()
    for happened in (PersonArrived(), PersonLeft(), Stopped(), PersonArrived()):
        gate.inbox.post(happened)
    gate.loop.run(Started("0"))
    assert gate.kinds() == [Started, PersonArrived, PersonLeft, Stopped]


def test_what_was_there_at_the_start_comes_right_after_it_and_before_what_has_come_since() -> None:
    gate = Running()
    gate.inbox.post(PersonArrived())
    gate.inbox.post(Stopped())
    gate.loop.run(Started("0"), map(DocumentReceived, (b"one", b"two")))
    assert gate.kinds() == [Started, DocumentReceived, DocumentReceived, PersonArrived, Stopped]
    assert gate.inputs[1:3] == [DocumentReceived(b"one"), DocumentReceived(b"two")]


def test_the_start_is_told_after_it_and_after_each_of_what_was_there() -> None:
    gate = Running()
    told: list[int] = []
    loop = BrainLoop(gate.loop._brain, gate.inbox, gate.clock, lambda: told.append(len(gate.inputs)))
    gate.inbox.post(Stopped())
    loop.run(Started("0"), [DocumentReceived(b"one")])
    assert told == [1, 2, 3]


def test_a_fire_alarm_overtakes_what_waits() -> None:
    gate = Running()
    for happened in (PersonArrived(), Stopped(), FireAlarmChanged(active=True)):
        gate.inbox.post(happened)
    gate.loop.run(Started("0"))
    assert gate.kinds() == [Started, FireAlarmChanged, PersonArrived, Stopped]


def test_time_that_is_due_comes_before_the_input() -> None:
    gate = Running()
    with gate.in_a_thread():
        gate.inbox.post(PersonArrived())
        wait_for(gate.actor.next_wakeup, 3, "a deadline")
        gate.clock.pass_s(60)
        gate.inbox.post(PersonLeft())
        wait_for(lambda: PersonLeft in gate.kinds(), 3, "the input")
    assert gate.kinds()[:4] == [Started, PersonArrived, TimePassed, PersonLeft]


def test_time_passes_without_any_input() -> None:
    gate = Running()
    with gate.in_a_thread():
        gate.inbox.post(PersonArrived())
        wait_for(gate.actor.next_wakeup, 3, "a deadline")
        gate.clock.pass_s(60)
        wait_for(lambda: TimePassed in gate.kinds(), 3, "the deadline to be kept")


def test_nothing_is_due_before_its_time() -> None:
    gate = Running()
    with gate.in_a_thread():
        gate.inbox.post(PersonArrived())
        wait_for(gate.actor.next_wakeup, 3, "a deadline")
        gate.clock.pass_s(1)
        gate.inbox.post(PersonLeft())
        wait_for(lambda: PersonLeft in gate.kinds(), 3, "the input")
    assert TimePassed not in gate.kinds()


def test_lost_inputs_are_told() -> None:
    gate = Running()
    for _ in range(INBOX_MAX + 5):
        gate.inbox.post(PersonLeft())
    gate.inbox.post(Stopped())
    gate.loop.run(Started("0"))
    assert gate.inputs[1] == InboxOverflowed(5)


def test_programming_errors_are_raised() -> None:
    def fail(happened: Input) -> None:
        if isinstance(happened, PersonArrived):
            raise ZeroDivisionError("in the brain")

    gate = Running(fail)
    gate.inbox.post(PersonArrived())
    with pytest.raises(ZeroDivisionError, match="in the brain"):
        gate.loop.run(Started("0"))
    other = Running()
    other.inbox.crash(ZeroDivisionError("elsewhere"))
    with pytest.raises(ZeroDivisionError, match="elsewhere"):
        other.loop.run(Started("0"))


def test_slow_work_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    gate = Running(lambda happened: gate.clock.pass_s(0.1 if isinstance(happened, PersonArrived) else 0.01))
    gate.inbox.post(PersonArrived())
    gate.inbox.post(PersonLeft())
    gate.inbox.post(Stopped())
    gate.loop.run(Started("0"))
    assert [record.message for record in caplog.records] == ["handling PersonArrived took 100 ms"]
