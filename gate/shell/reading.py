"""The thermometer's thread: one request, one answer; and while nobody asks, now and then a look at itself."""

import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from gate.core.evidence import THERMOMETER_FAULTS, Measurement, Reading, Unmeasured
from gate.core.inputs import DeviceFailed, DeviceRecovered, Input, ReadingTaken, SensorChecked

CHECK_EVERY_S: Final = 3600.0
CHECK_AGAIN_S: Final = 60.0
"""After a check that has failed: a part that was knocked is not to be missing for an hour."""
TURN_S: Final = 5.0
"""How often a thread that waits proves that it is alive."""

Check = Callable[[], SensorChecked | DeviceFailed]


class Schedule:
    """When a part is to look at itself: at the start, once an hour, and when it measures again after a fault.

    Instants are monotonic seconds, handed in.
    """

    def __init__(self) -> None:
        self._due_s = float("-inf")
        self._faulty = False
        self._check_failed = False

    def wait_s(self, now_s: float) -> float:
        """Return how long it is until the next check, 0 when it is due."""
        return max(0.0, self._due_s - now_s)

    def measured(self, measurement: Measurement) -> None:
        """Take note of how a reading has ended; what it says of the part counts, not what a check said."""
        fault = isinstance(measurement, Unmeasured) and measurement.reason in THERMOMETER_FAULTS
        if isinstance(measurement, Reading) and (self._faulty or self._check_failed):
            self._due_s = float("-inf")
        if fault or isinstance(measurement, Reading):
            self._faulty, self._check_failed = fault, False

    def checked(self, *, well: bool, now_s: float) -> bool:
        """Take note of a check; True when it takes back that the one before had failed."""
        recovered = well and self._check_failed
        self._check_failed = not well
        self._due_s = now_s + (CHECK_EVERY_S if well else CHECK_AGAIN_S)
        return recovered


class ReadingThread:
    """Takes a reading for the newest request; `measure` may take seconds and must not raise.

    `prepare` is called once in the thread, before the first request is looked at. `check` lets the part look
    at itself, and must not raise either: only while no request waits, so that no visitor waits for it.
    `monotonic` reads seconds that only grow. `turn` is called before each piece of work, and every few
    seconds while there is none.
    """

    def __init__(
        self,
        measure: Callable[[], Measurement],
        post: Callable[[Input], None],
        prepare: Callable[[], None] = lambda: None,
        check: Check | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._prepare = prepare
        self._turn = turn
        self._measure = measure
        self._post = post
        self._check = check
        self._monotonic = monotonic
        self._schedule = Schedule()
        self._requests: queue.Queue[str | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="thermometer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def request(self, visit: str) -> None:
        """Ask for one reading for `visit`; returns at once."""
        self._requests.put(visit)

    def stop(self, timeout_s: float) -> None:
        """End the thread after the reading under way, waiting at most `timeout_s`."""
        self._requests.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        self._turn()
        self._prepare()
        while (visit := self._newest()) is not None:
            self._turn()
            measurement = self._measure()
            self._schedule.measured(measurement)
            self._post(ReadingTaken(visit, measurement))

    def _newest(self) -> str | None:
        """Wait for a request; of several only the newest still has its visitor at the gate."""
        visit = self._awaited()
        while not self._requests.empty():
            visit = self._requests.get()
        return visit

    def _awaited(self) -> str | None:
        """Wait for any request, and meanwhile look at the part whenever that is due."""
        while True:
            self._turn()
            due_s = self._schedule.wait_s(self._monotonic()) if self._check else math.inf
            try:
                return self._requests.get(block=due_s > 0, timeout=min(due_s, TURN_S))
            except queue.Empty:
                if self._check and due_s <= TURN_S:
                    self._look(self._check)

    def _look(self, check: Check) -> None:
        found = check()
        well = isinstance(found, SensorChecked)
        if self._schedule.checked(well=well, now_s=self._monotonic()):
            self._post(DeviceRecovered(found.device))
        self._post(found)
