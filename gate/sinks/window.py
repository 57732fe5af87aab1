"""The arithmetic of a connection: what is under way, how far all is taken, when to try again.

And of what comes the other way: when to ask for it, how much of it to take.

Pure: no clock, no socket, no thread. Sequence numbers rise, but may have holes; a mark of n says that every
record up to and including n is done. Instants are seconds of one monotonic clock.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

RETRY_CAP_S = 60.0
INTAKE_WITHIN_S = 10.0
_EARLY_S = 5.0
_FIRST_RETRY_S = 2.0
_MARKS_MAX = 1024

T = TypeVar("T")


class Window(Generic[T]):
    """Messages handed to the broker and not yet acknowledged: never more than `size`.

    Each takes a place, also what is no record (a state), because a broker's Receive Maximum counts every
    unacknowledged PUBLISH (MQTT 5.0, 3.3.4).
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a window of {size} lets nothing through")
        self._size = size
        self._open: dict[int, tuple[T, float]] = {}

    def room(self) -> bool:
        """Tell whether one more message may be sent."""
        return len(self._open) < self._size

    def empty(self) -> bool:
        """Tell whether nothing is under way."""
        return not self._open

    def sent(self, mid: int, message: T, at: float) -> None:
        """Note a message under the number that its acknowledgement will carry."""
        if not self.room() or mid in self._open:
            raise ValueError(f"message {mid} does not fit into the window")
        self._open[mid] = (message, at)

    def under_way(self, mid: int) -> T | None:
        """Return the message that goes under this number; None for an unknown number."""
        found = self._open.get(mid)
        return None if found is None else found[0]

    def all_under_way(self) -> Iterator[T]:
        """Yield every message under way, the oldest first."""
        yield from (message for message, _ in self._open.values())

    def acknowledged(self, mid: int) -> None:
        """Note an acknowledgement, in whatever order it comes; unknown or repeated ones change nothing."""
        self._open.pop(mid, None)

    def oldest_at(self) -> float | None:
        """Return when the oldest message under way was sent."""
        return next((at for _, at in self._open.values()), None)


class Fold:
    """Acknowledgements of records that were sent in order, folded into one mark."""

    def __init__(self, after: int) -> None:
        self._last_sent = after
        self._open: dict[int, None] = {}

    def sent(self, seq: int) -> None:
        """Note a record that is under way; records come in order."""
        if seq <= self._last_sent:
            raise ValueError(f"record {seq} after {self._last_sent} is out of order")
        self._last_sent = seq
        self._open[seq] = None

    def acknowledged(self, seq: int) -> None:
        """Note an acknowledgement, in whatever order it comes; unknown or repeated ones change nothing."""
        self._open.pop(seq, None)

    def upto(self) -> int:
        """Return the mark: everything sent up to here has been acknowledged."""
        oldest = next(iter(self._open), None)
        return self._last_sent if oldest is None else oldest - 1


class Backlog:
    """Since when the oldest record that is not done has been waiting, in bounded memory.

    It keeps when the head of the outbox was seen to grow. Beyond 1024 growths newer records count as old as
    the last one kept, so the age errs on the side of the alarm.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[int, float]] = deque()
        self._done = 0

    def grown(self, head: int, now: float) -> None:
        """Note that records up to `head` exist."""
        if head <= max(self._done, self._marks[-1][0] if self._marks else 0):
            return
        since = now
        if len(self._marks) >= _MARKS_MAX:
            since = self._marks.pop()[1]
        self._marks.append((head, since))

    def done(self, upto: int) -> None:
        """Note that records up to `upto` need no more attention."""
        self._done = max(self._done, upto)
        while self._marks and self._marks[0][0] <= self._done:
            self._marks.popleft()

    def waiting_since(self) -> float | None:
        """Return when the oldest waiting record was first seen; None when nothing waits."""
        return self._marks[0][1] if self._marks else None


class Intake:
    """When to subscribe to a topic, and how many messages to take: the connection is there for the records.

    At most `most` messages are taken in 10 s. `open` tells whether messages are expected. After `patience`
    connections in a row that ended soon after they asked for messages, asking seems to be what ends them;
    with `acquitted` not where a message came before the end. Whoever pauses it loses nothing that is
    retained: the next subscription brings it again.
    """

    def __init__(self, most: int, patience: int, *, acquitted: bool = False) -> None:
        self.most = most
        self._patience = patience
        self._acquitted = acquitted
        self._came = False
        self._asked_at: float | None = None
        self._not_before = -math.inf
        self._early_ends = 0
        self._counted_from = -math.inf
        self._count = 0

    @property
    def open(self) -> bool:
        """Whether this connection has asked for messages."""
        return self._asked_at is not None

    def due(self, now: float) -> bool:
        """Tell whether it is time to subscribe."""
        return not self.open and now >= self._not_before

    def asked(self, now: float) -> None:
        """Note a subscription."""
        self._asked_at = now
        self._came = False

    def pause(self, until: float) -> None:
        """Note that nothing is wanted before that instant."""
        self._asked_at = None
        self._not_before = until

    def takes(self, now: float) -> bool:
        """Count one message, and tell whether it is within the number that is taken in 10 s."""
        if now - self._counted_from >= INTAKE_WITHIN_S:
            self._counted_from, self._count = now, 0
        self._count += 1
        self._came = True
        return self._count <= self.most

    def ended(self, now: float) -> bool:
        """Note the end of a connection, and tell whether asking for messages seems to be what ends them.

        Some brokers hang up on a forbidden subscription instead of refusing it, and a retained message may be
        more than the client library can read. A connection that ends within 5 s counts.
        """
        if self._asked_at is None:
            return False
        early = now - self._asked_at < _EARLY_S and not (self._acquitted and self._came)
        self._early_ends = self._early_ends + 1 if early else 0
        self._asked_at = None
        return self._early_ends >= self._patience


def retry_delay_s(failures: int, *, lasting: bool, uniform: Callable[[float, float], float]) -> float:
    """Choose the pause before the next attempt, spread so that a fleet does not come back in step.

    Full jitter: anywhere between nothing and 2 s, 4 s, 8 s ... 60 s. A fault that waits for a person (wrong
    password, expired certificate) is tried again every 30 to 60 s.
    """
    if lasting:
        return uniform(RETRY_CAP_S / 2, RETRY_CAP_S)
    return uniform(0.0, min(RETRY_CAP_S, _FIRST_RETRY_S * 2.0 ** min(failures, 10)))
