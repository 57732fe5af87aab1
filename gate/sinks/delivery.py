"""What is sent next, and when a record is done, without the network.

The outbox is the only memory: it says up to where every record is done (the mark), and sending begins behind
the mark on every connection. What moves the mark is the difference between two contracts: `ByAcknowledgement`
below believes the broker, for a gate that knows no centre; `gate.sinks.by_receipt` believes the centre alone.

Pure but for the outbox: no clock, no socket, no thread. Instants are seconds of one monotonic clock. Whatever
the outbox raises is passed on.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gate.ports import Entry, Head, Outbox
from gate.sinks.window import Backlog, Fold

READ_AHEAD: Final = 500
_SAVE_EVERY: Final = 500
_SAVE_WITHIN_S: Final = 1.0
_NO_LEDGER: Final = Head("", 0, b"")


@dataclass(frozen=True, slots=True)
class Message:
    """One message for the broker: its place under the gate's topics, and its payload.

    `upto` is the newest record in it, None for what holds no record; `records` is how many it holds.
    """

    leaf: str
    body: bytes
    retain: bool = False
    upto: int | None = None
    records: int = 0


class Cursor:
    """Reads an outbox in order, some way ahead."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._ahead: deque[Entry] = deque()
        self._more = False
        self.at = 0
        """The record that was taken last."""

    def move(self, after: int) -> None:
        """Go on behind this record."""
        self._ahead.clear()
        self.at = after
        self._more = True

    def news(self) -> None:
        """Note that there may be more now."""
        self._more = True

    def at_end(self) -> bool:
        """Tell whether everything has been taken that was there when it was looked for last."""
        return not self._ahead and not self._more

    def take(self, most: int, bytes_max: int) -> list[Entry]:
        """Return the next entries within these bounds, and one in any case if there is one."""
        if len(self._ahead) < most and self._more:
            self._read()
        taken: list[Entry] = []
        left = bytes_max
        while self._ahead and len(taken) < most:
            left -= len(self._ahead[0].body)
            if taken and left < 0:
                break
            taken.append(self._ahead.popleft())
            self.at = taken[-1].seq
        return taken

    def _read(self) -> None:
        self._more = False  # also if the outbox cannot be read: whoever looks again says when
        found = self._outbox.pending(self._ahead[-1].seq if self._ahead else self.at, READ_AHEAD)
        self._ahead.extend(found)
        self._more = len(found) == READ_AHEAD


class Delivery(ABC):
    """How far an outbox has been delivered, and what comes next; used by one thread."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._cursor = Cursor(outbox)
        self._head = _NO_LEDGER
        self._backlog = Backlog()
        self.mark = 0
        """Every record up to here is done."""

    @property
    def known(self) -> bool:
        """Whether there is a ledger, as far as is known."""
        return bool(self._head.epoch)

    @property
    def head(self) -> int:
        """The newest record that is known."""
        return self._head.seq

    @property
    def waiting_since(self) -> float | None:
        """When the oldest record that is not done was first seen; None when nothing waits."""
        return self._backlog.waiting_since()

    def look(self, now: float) -> None:
        """Learn how far the outbox reaches, and whether its ledger is another one than before."""
        head = self._outbox.head()
        if head.epoch != self._head.epoch:
            self._take_up(head)
            self._backlog = Backlog()
            self._backlog.done(self.mark)
        self._head = head
        self._backlog.grown(head.seq, now)
        self._cursor.news()

    def at_end(self) -> bool:
        """Tell whether everything that is known to be there has been handed over in this round."""
        return not self.known or self._cursor.at_end()

    @abstractmethod
    def _take_up(self, head: Head) -> None:
        """Begin with a ledger that was not seen before: learn the mark, and begin behind it."""

    @abstractmethod
    def begin(self, window: int, packet_bytes_max: int) -> None:
        """Begin a connection on which so many messages may be under way, each with so many bytes."""

    @abstractmethod
    def next(self, now: float) -> Message | None:
        """Return the message that is to be handed over now; None when there is none."""

    @abstractmethod
    def last(self, now: float) -> Message | None:
        """Return the message with which to end in order, if there is one."""

    @abstractmethod
    def taken(self, message: Message) -> None:
        """Note that the broker has acknowledged a message of this connection."""

    def refused(self, message: Message) -> bool:  # noqa: ARG002 - a record that is refused is refused
        """Note that the broker has refused a message; tell whether there is another way to bring it."""
        return False

    @abstractmethod
    def settle(self, now: float, *, window_empty: bool) -> None:
        """Do what has become due."""

    @abstractmethod
    def ended(self, under_way: Iterable[Message]) -> None:
        """Note the end of a connection, and what was not acknowledged on it."""

    @abstractmethod
    def due_in_s(self, now: float) -> float | None:
        """Return in how many seconds at the latest `settle` or `next` wants to be called again, if at all."""


class ByAcknowledgement(Delivery):
    """The mark is folded from the broker's acknowledgements, in any order, and saved once in a while.

    At most once a second or every 500 records: one save per record drains five times slower. A lost save
    costs duplicates, never a record.
    """

    def __init__(self, outbox: Outbox) -> None:
        super().__init__(outbox)
        self._fold = Fold(0)
        self._saved = 0
        self._save_due: float | None = None

    def _take_up(self, head: Head) -> None:  # noqa: ARG002 - the mark is all that is to be learnt
        self.mark = self._saved = self._outbox.acknowledged()
        self._save_due = None
        self._restart()

    def _restart(self) -> None:
        self._fold = Fold(self.mark)
        self._cursor.move(self.mark)

    def begin(self, window: int, packet_bytes_max: int) -> None:  # noqa: ARG002 - records go one by one
        """Begin behind the mark."""
        self._restart()

    def next(self, now: float) -> Message | None:  # noqa: ARG002 - nothing waits for its time
        """Return the next record."""
        for entry in self._cursor.take(1, 0) if self.known else ():
            self._fold.sent(entry.seq)
            return Message("ev", entry.body, upto=entry.seq, records=1)
        return None

    def last(self, now: float) -> Message | None:  # noqa: ARG002 - as declared
        """Return nothing."""
        return None

    def taken(self, message: Message) -> None:
        """Fold the acknowledgement of a record into the mark, which `settle` moves."""
        if message.upto is not None:
            self._fold.acknowledged(message.upto)

    def settle(self, now: float, *, window_empty: bool) -> None:  # noqa: ARG002 - as declared
        """Move the mark, and save it when enough has gathered."""
        upto = self._fold.upto()
        if upto > self.mark:
            self.mark = upto
            self._backlog.done(upto)
            if self._save_due is None:
                self._save_due = now + _SAVE_WITHIN_S
        if self._save_due is None:
            return
        if self.mark - self._saved >= _SAVE_EVERY or now >= self._save_due:
            self._save_due = now + _SAVE_WITHIN_S  # if it fails
            self._save()

    def _save(self) -> None:
        self._outbox.acknowledge(self.mark)
        self._saved, self._save_due = self.mark, None

    def ended(self, under_way: Iterable[Message]) -> None:  # noqa: ARG002 - what was under way is sent again
        """Save the mark."""
        if self._save_due is not None:
            self._save()

    def due_in_s(self, now: float) -> float | None:
        """Return when a save is due."""
        return None if self._save_due is None else self._save_due - now
