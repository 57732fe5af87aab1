"""The one way into the brain: a bounded queue that never blocks the edge that posts."""

import queue
import threading
from typing import Final

from gate.core.inputs import InboxOverflowed, Input

INBOX_MAX: Final = 1000  # a minute of a camera that reads sixteen codes a second


class Inbox:
    """Inputs in the order of arrival. A full inbox loses the newest and says how many."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Input] = queue.Queue(INBOX_MAX)
        self._lost = 0
        self._lock = threading.Lock()

    def post(self, happened: Input) -> None:
        """Hand in one input from any thread; returns at once."""
        try:
            self._queue.put_nowait(happened)
        except queue.Full:
            with self._lock:
                self._lost += 1

    def take(self, timeout_s: float | None) -> Input | None:
        """Return the next input, or None when none came within `timeout_s` seconds."""
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost:
            return InboxOverflowed(lost)
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
