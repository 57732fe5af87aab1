"""What has arrived and is not stored yet: a bounded queue between the connection and the store."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MESSAGES_MAX: Final = 20_000
BYTES_MAX: Final = 64 << 20
_LULL_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Message:
    """One message, and what its acknowledgement needs: the connection that it came by, and its number there.

    `mid` is None for QoS 0. `at` is monotonic seconds, when it came.
    """

    topic: str
    payload: bytes
    retained: bool
    connection: int
    mid: int | None
    at: float


class Inbox:
    """At most `capacity` messages and 64 MiB; `put` says no beyond that."""

    def __init__(self, monotonic: Callable[[], float], capacity: int = MESSAGES_MAX) -> None:
        self._capacity = capacity
        self._monotonic = monotonic
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._closed = False
        self._wanted = 1
        self._enough = threading.Condition()

    def put(self, message: Message) -> bool:
        """Add a message; False when there is no room for it."""
        with self._enough:
            size = self._bytes + len(message.payload)
            if self._messages and (len(self._messages) >= self._capacity or size > BYTES_MAX):
                return False
            self._messages.append(message)
            self._bytes = size
            if len(self._messages) >= self._wanted:
                self._enough.notify()
            return True

    def close(self) -> None:
        """Let `gather` return at once from now on; what is still here may be gathered all the same."""
        with self._enough:
            self._closed = True
            self._enough.notify_all()

    def gather(self, limit: int, *, first_within_s: float, linger_s: float) -> list[Message]:
        """Take up to `limit` messages, oldest first.

        Waits for the first one up to `first_within_s`, then for more until `linger_s` have passed or nothing
        has come for 5 ms: a lone message is not kept waiting, and a stream is stored in batches.
        """
        with self._enough:
            self._await(1, first_within_s)
            over_at = self._monotonic() + linger_s
            known = 0
            while known < len(self._messages) < limit and (left_s := over_at - self._monotonic()) > 0:
                known = len(self._messages)
                self._await(limit, min(left_s, _LULL_S))
            taken = [self._messages.popleft() for _ in range(min(limit, len(self._messages)))]
            self._bytes -= sum(len(message.payload) for message in taken)
            return taken

    def _await(self, count: int, within_s: float) -> None:
        # Woken once for a whole batch, not for each message in it.
        self._wanted = count
        self._enough.wait_for(lambda: len(self._messages) >= count or self._closed, within_s)
