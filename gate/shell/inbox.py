"""The one way into the brain: a bounded queue that never blocks the edge that posts."""

import queue
import threading
from collections import deque
from typing import Final

from gate.core.inputs import (
    FireAlarmChanged,
    InboxOverflowed,
    Input,
    LedgerOpened,
    PolicyReceived,
    PolicyRejected,
    ReceiptDisagreed,
    Stopped,
)

INBOX_MAX: Final = 1000  # a minute of a camera that reads sixteen codes a second
# All are rare, and nobody would say them again.
NEVER_LOST: Final = (
    FireAlarmChanged,
    LedgerOpened,
    PolicyReceived,
    PolicyRejected,
    ReceiptDisagreed,
    Stopped,
)


class Inbox:
    """Inputs in the order of arrival, a fire alarm before all others.

    A full inbox loses the newest and says how many; what is in NEVER_LOST is kept even then.
    """

    def __init__(self) -> None:
        # A SimpleQueue, because a signal handler posts from within the very thread that takes: the lock of a
        # plain queue, held at that moment, would never be released.
        self._queue: queue.SimpleQueue[Input | None] = queue.SimpleQueue()
        self._alarms: deque[Input] = deque()  # its two ends are safe without a lock
        self._lost = 0
        self._lock = threading.Lock()
        self._crash: BaseException | None = None

    def post(self, happened: Input) -> None:
        """Hand in one input from any thread; returns at once."""
        if isinstance(happened, FireAlarmChanged):
            self._alarms.append(happened)
            self._queue.put(None)  # wakes the one who waits
            return
        if isinstance(happened, NEVER_LOST) or self._queue.qsize() < INBOX_MAX:
            self._queue.put(happened)
            return
        with self._lock:
            self._lost += 1

    def crash(self, error: BaseException) -> None:
        """Let the next `take` raise the programming error that has ended another thread."""
        self._crash = error
        self._queue.put(None)  # wakes the one who waits

    def take(self, timeout_s: float | None) -> Input | None:
        """Return the next input, or None when none came within `timeout_s` seconds."""
        if self._crash is not None:
            raise self._crash
        if self._alarms:
            return self._alarms.popleft()
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost:
            return InboxOverflowed(lost)
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
