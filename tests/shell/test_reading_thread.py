"""The thermometer's thread: prepared once, one answer to the newest request, an end within its time."""

import threading
from collections.abc import Iterator

import pytest

from gate.core.evidence import THERMOMETER_FAULTS, Measurement, Reading, Unmeasured
from gate.core.inputs import Device, DeviceFailed, DeviceRecovered, Input, ReadingTaken, SensorChecked
from gate.shell.reading import CHECK_AGAIN_S, CHECK_EVERY_S, ReadingThread, Schedule
from tests.brokers import wait_for


class Slow:
    """Measures when it is let, and keeps count."""

    def __init__(self) -> None:
        self.let = threading.Semaphore(0)
        self.calls: list[str] = []
        self.posted: list[Input] = []
        self.thread = ReadingThread(self.measure, self.posted.append, lambda: self.calls.append("prepare"))

    def measure(self) -> Measurement:
        self.calls.append("measure")
        assert self.let.acquire(timeout=5)
        return Reading(3650 + len(self.calls), 3640, 3660)


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    slow.thread.start()
    yield slow
    slow.let.release(10)
    slow.thread.stop(5)


def test_it_is_prepared_before_the_first_reading(slow: Slow) -> None:
    wait_for(lambda: slow.calls == ["prepare"], 3, "the preparation, without any request")
    slow.let.release(2)
    slow.thread.request("a")
    wait_for(lambda: slow.posted, 3, "an answer")
    slow.thread.request("b")
    wait_for(lambda: len(slow.posted) == 2, 3, "another answer")
    assert slow.calls == ["prepare", "measure", "measure"]
    assert slow.posted == [
        ReadingTaken("a", Reading(3652, 3640, 3660)),
        ReadingTaken("b", Reading(3653, 3640, 3660)),
    ]


def test_of_several_requests_only_the_newest_is_answered(slow: Slow) -> None:
    slow.thread.request("a")
    wait_for(lambda: "measure" in slow.calls, 3, "the first reading to be under way")
    for visit in "bcd":
        slow.thread.request(visit)
    slow.let.release(10)
    wait_for(lambda: len(slow.posted) == 2, 3, "two answers")
    slow.thread.request("e")
    wait_for(lambda: len(slow.posted) == 3, 3, "a third")
    assert [answer.visit for answer in slow.posted if isinstance(answer, ReadingTaken)] == ["a", "d", "e"]


def test_a_request_returns_at_once_and_stop_waits_no_longer_than_said(slow: Slow) -> None:
    slow.thread.request("a")
    wait_for(lambda: "measure" in slow.calls, 3, "the reading to be under way")
    slow.thread.stop(0.01)
    assert slow.thread._thread.is_alive()
    assert slow.thread._thread.daemon, "a bus that hangs keeps no process alive"


def test_an_error_in_a_reading_is_not_swallowed() -> None:
    def broken() -> Measurement:
        raise ZeroDivisionError("a programming error")

    failed: list[str] = []
    before, threading.excepthook = threading.excepthook, lambda args: failed.append(str(args.exc_value))
    try:
        thread = ReadingThread(broken, lambda _: None)
        thread.start()
        thread.request("a")
        wait_for(lambda: failed, 3, "the error to surface")
        thread.stop(1)
    finally:
        threading.excepthook = before
    assert failed == ["a programming error"]


# --- the part looks at itself

FACTS = (("config", "9ff4"),)
WELL = SensorChecked(Device.THERMOMETER, FACTS)
ILL = DeviceFailed(Device.THERMOMETER, "answers are spoiled; shorten the wires")
READING = Reading(3650, 3640, 3660)


class Day:
    """A schedule in virtual time; `look` says when the part looks at itself within so many seconds."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.now_s = 5000.0

    def look(self, seconds: float, *, well: bool = True) -> list[float]:
        looked, until_s, began_s = [], self.now_s + seconds, self.now_s
        while (wait_s := self.schedule.wait_s(self.now_s)) + self.now_s <= until_s:
            self.now_s += wait_s
            self.schedule.checked(well=well, now_s=self.now_s)
            looked.append(self.now_s - began_s)
        self.now_s = until_s
        return looked


def test_at_the_start_and_once_an_hour() -> None:
    day = Day()
    assert day.look(24 * CHECK_EVERY_S - 1) == [hour * 3600.0 for hour in range(24)]


@pytest.mark.parametrize("fault", sorted(THERMOMETER_FAULTS))
def test_when_it_measures_again_after_a_fault(fault: str) -> None:
    day = Day()
    assert day.look(100) == [0]
    day.schedule.measured(READING)
    assert day.look(100) == []
    day.schedule.measured(Unmeasured(fault))
    day.schedule.measured(Unmeasured("unsteady"))  # says nothing of the part
    assert day.look(100) == []
    day.schedule.measured(READING)
    assert day.look(3000) == [0]
    day.schedule.measured(READING)
    assert day.look(500) == []
    assert day.look(200) == [100]


def test_after_a_minute_when_the_check_has_failed_and_then_once_an_hour_again() -> None:
    day = Day()
    assert day.look(150, well=False) == [0, 60, 120]
    assert day.look(4000) == [30, 3630]


def test_a_check_takes_back_what_a_check_has_said_and_never_what_a_reading_says() -> None:
    schedule = Schedule()
    assert not schedule.checked(well=False, now_s=1)
    assert schedule.checked(well=True, now_s=2)
    assert not schedule.checked(well=True, now_s=3)
    schedule.checked(well=False, now_s=4)
    schedule.measured(Unmeasured("frozen"))
    assert not schedule.checked(well=True, now_s=5)
    schedule.checked(well=False, now_s=6)
    schedule.measured(READING)  # the actor knows from it that the part works
    assert schedule.wait_s(6) == 0
    assert not schedule.checked(well=True, now_s=7)


def test_it_looks_at_itself_while_nobody_asks_and_never_before_who_waits() -> None:
    calls: list[str] = []
    posted: list[Input] = []
    found: list[SensorChecked | DeviceFailed] = [WELL, ILL, WELL]
    now_s = [0.0]

    def measure() -> Measurement:
        calls.append("measure")
        return READING

    def check() -> SensorChecked | DeviceFailed:
        calls.append("check")
        now_s[0] += 1
        return found.pop(0)

    thread = ReadingThread(measure, posted.append, lambda: None, check, lambda: now_s[0])
    thread.request("a")
    thread.start()
    try:
        wait_for(lambda: len(posted) == 2, 3, "the reading, and then the first check")
        assert posted == [ReadingTaken("a", READING), WELL]
        now_s[0] += CHECK_EVERY_S
        thread.request("b")
        wait_for(lambda: len(posted) == 4, 3, "who waits, and then the check that is due")
        assert posted[2:] == [ReadingTaken("b", READING), ILL]
        now_s[0] += CHECK_AGAIN_S
        thread.request("c")
        wait_for(lambda: len(posted) == 6, 3, "the reading and the check after it")
        assert posted[4:] == [ReadingTaken("c", READING), WELL]
    finally:
        thread.stop(5)
    assert calls == ["measure", "check"] * 3


def test_a_check_that_passes_again_says_that_the_part_works() -> None:
    posted: list[Input] = []
    found: list[SensorChecked | DeviceFailed] = [ILL, WELL]
    times = iter([0.0, 0.0, CHECK_AGAIN_S + 1])
    thread = ReadingThread(
        lambda: READING, posted.append, lambda: None, lambda: found.pop(0), lambda: next(times, 62.0)
    )
    thread.start()
    try:
        wait_for(lambda: len(posted) == 3, 3, "two checks")
    finally:
        thread.stop(5)
    assert posted == [ILL, DeviceRecovered(Device.THERMOMETER), WELL]
