"""A thread of the centre beside ingest: when it works, when it rests, and how it ends."""

import threading

from central.store import StoreError
from central.worker import Worker
from tests.brokers import wait_for

ROUND_S, TROUBLE_S = 60.0, 300.0


class Clock:
    """Time that passes only while somebody waits: so far, or until what is waited for happens."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waiting = threading.Event()

    def now_ms(self) -> int:
        return round(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if event.is_set():
            return True
        self.seconds += seconds
        return False


class Endless(Clock):
    """A time that does not pass at all: only an event ends a wait."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waiting.set()
        return event.wait(20)


class Restless(Worker):
    """Is woken while it works, and notes when it did; its store fails the first `failures` times."""

    def __init__(self, clock: Clock, failures: int, steps: int) -> None:
        super().__init__("restless", clock, round_s=ROUND_S, trouble_s=TROUBLE_S, farewell_s=20)
        self.failures = failures
        self.steps = steps
        self.at: list[float] = []

    def step(self) -> None:
        self.at.append(self._clock.monotonic())
        self.wake()
        if len(self.at) >= self.steps:
            self._stopping = True
        if len(self.at) <= self.failures:
            raise StoreError("down")


def test_after_trouble_nobody_wakes_it_before_its_time() -> None:
    worker = Restless(Clock(), failures=3, steps=6)
    worker.start()
    wait_for(lambda: not worker._thread.is_alive(), 20, "the end")
    assert worker.at == [0.0, TROUBLE_S, 2 * TROUBLE_S, 3 * TROUBLE_S, 3 * TROUBLE_S, 3 * TROUBLE_S]


def test_it_ends_at_once_also_after_trouble() -> None:
    clock = Endless()
    worker = Restless(clock, failures=9, steps=9)
    worker.start()
    assert clock.waiting.wait(20)
    worker.stop()
    assert not worker._thread.is_alive()
    assert len(worker.at) == 1


def test_to_stop_before_it_starts_does_nothing() -> None:
    clock = Endless()
    worker = Restless(clock, failures=9, steps=9)
    worker.stop()
    worker.start()
    assert clock.waiting.wait(20)
    worker.stop()
    assert len(worker.at) == 1
