"""The thermometer's thread: prepared once, one answer to the newest request, an end within its time."""

import threading
from collections.abc import Iterator

import pytest

from gate.core.evidence import Measurement, Reading
from gate.core.inputs import Input, ReadingTaken
from gate.shell.reading import ReadingThread
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
