"""Delivery to a centre that signs for what it has: only a receipt makes a record done.

A broker may lose, repeat and reorder whatever it has acknowledged, so its PUBACK only makes room in the
window.

- When everything was sent and acknowledged and no receipt comes for 30 s, sending begins behind the mark
  again; then after 60 s, and so on up to 10 min, until a receipt shows progress.
- A backlog of 100 records or more goes in batches. If one is refused, a connection ends on one, or a whole
  round leads to nothing, what follows goes singly, in case the broker lets no batches through.
- If more waits than fits into the window when a connection begins, the abnormal records of it (at most 1000)
  go before all others. They go once more in their places: receivers drop doubles.
- What is sealed for the centre goes immediately before the record that declares it.
- Checkpoints go before all records (`gate.sinks.checkpoints`). While a backlog is being sent some of them
  state how far it has been sent, in order, so that it is receipted on the way: a connection that does not
  last until all is sent still gets it further. What the one before has sent is stated first.
- A receipt that disagrees with the ledger stops everything until the ledger has been renewed.
- Records that were receipted and are older than `keep_days` are deleted, once an hour while nothing waits.
"""

import base64
import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.core.batches import BATCH_BYTES_MAX, BATCH_RECORDS_MAX, pack
from gate.core.delivery import Ask, Checkpoint, Receipt, Why
from gate.core.moment import Moment
from gate.ports import Entry, Head, Held, Outbox
from gate.sinks.checkpoints import CheckpointClock
from gate.sinks.delivery import Delivery, Message
from gate.sinks.receipts import Meaning, meaning, opened
from gate.sinks.window import Backlog

ABNORMAL_MAX: Final = 1000
PATIENCE_S: Final = 30.0
PATIENCE_MAX_S: Final = 600.0
ASKS_APART_S: Final = 5.0
TELL_AGAIN_S: Final = 60.0
PRUNE_EVERY_S: Final = 3600.0
PRUNE_AT_ONCE: Final = 100
_DAY_MS: Final = 86_400_000
_FRAME_BYTES: Final = 256  # of a PUBLISH around its payload: fixed header, topic, packet identifier


@dataclass(frozen=True, slots=True)
class Centre:
    """What delivery to a centre needs.

    `keys`: the centre's public keys (Ed25519, 32 bytes each). Without a `device_key` no checkpoint is made,
    and then the centre cannot sign for anything. `keep_days`: how long receipted records stay.

    All callables are called in the sink's thread, and must return quickly. `on_command` gets whatever comes
    on the topic of commands, unchecked (cut off beyond 64 KiB), and whether it was retained; `on_went_back`
    how far the centre had the records and how far it has them now; `on_disagreement` up to where the centre
    has signed, and how that differs from this ledger.
    """

    keys: tuple[bytes, ...]
    device_key: Ed25519PrivateKey | None
    boot_id: str
    now: Callable[[], Moment]
    keep_days: int
    on_command: Callable[[bytes, bool], None]
    on_went_back: Callable[[int, int], None]
    on_disagreement: Callable[[int, str], None]


class Patience:
    """How long receipts are waited for once everything has been sent, before all of it is sent again."""

    def __init__(self) -> None:
        self._wait_s = PATIENCE_S
        self._since: float | None = None

    def over(self, now: float) -> bool:
        """Tell whether the time is up; then the next time is twice as long."""
        if self._since is None:
            self._since = now
        if now - self._since < self._wait_s:
            return False
        self._wait_s = min(2 * self._wait_s, PATIENCE_MAX_S)
        self._since = None
        return True

    def progress(self) -> None:
        """Note a receipt for something new: the centre is there."""
        self._wait_s = PATIENCE_S
        self._since = None

    def nothing_waits(self) -> None:
        """Note that there is nothing to wait for at the moment."""
        self._since = None


class ByReceipt(Delivery):
    """Delivery of one gate's outbox to a centre."""

    def __init__(self, outbox: Outbox, site: str, gate: str, centre: Centre) -> None:
        super().__init__(outbox)
        self._site, self._gate = site, gate
        self._centre = centre
        self._checkpoints = CheckpointClock()
        self._patience = Patience()
        self._held: Held | None = None
        self._centre_has: int | None = None
        self._urgent: deque[Entry] = deque()
        self._urgent_wanted = False
        self._outgoing: deque[Message] = deque()
        self._ordered = True
        self._sent = 0  # up to here all behind the mark was handed over, in order
        self._sent_before = 0  # up to here it was acknowledged, on the connection before
        self._window = 1
        self._batch_bytes_max = BATCH_BYTES_MAX
        self._batched = self._singly = False
        self._rewound_at = self._disagreed_at = float("-inf")
        self._asked_again = False
        self._halted = False
        self._prune_at = float("-inf")

    @property
    def receipt_at_ms(self) -> int | None:
        """When the centre made the newest receipt, unix milliseconds on its clock; None before the first."""
        return None if self._held is None else self._held.at_ms

    # Where sending is

    def _take_up(self, head: Head) -> None:
        held = self._outbox.receipt()
        # A mark that only a broker's acknowledgements have moved, before there was a centre, means nothing.
        self._held = held if held is not None and held.epoch == head.epoch else None
        self.mark = 0 if self._held is None else self._held.upto
        self._centre_has = None
        self._halted = False
        self._patience.progress()
        self._checkpoints.begin()
        self._sent_before = 0
        self._restart()

    def _restart(self) -> None:
        self._rewind(self.mark)
        self._urgent.clear()
        self._urgent_wanted = True

    def _rewind(self, after: int) -> None:
        self._cursor.move(after)
        self._outgoing.clear()
        self._sent = after
        self._checkpoints.again()
        self._batched = False

    def begin(self, window: int, packet_bytes_max: int) -> None:
        """Begin behind the mark."""
        self._window = window
        self._batch_bytes_max = min(BATCH_BYTES_MAX, packet_bytes_max - _FRAME_BYTES)
        self._patience.nothing_waits()
        self._checkpoints.begin()
        self._restart()

    def ended(self, under_way: Iterable[Message]) -> None:
        """Note how far all has left this gate, and whether the connection has perhaps ended of a batch."""
        unsure = [message for message in under_way if message.upto is not None]
        self._singly = any(message.records > 1 for message in unsure)
        firsts = (message.upto - message.records for message in unsure if message.upto is not None)
        self._sent_before = min([self._sent, *firsts])

    def at_end(self) -> bool:
        """Tell whether everything that is known to be there has been handed over in this round."""
        return self._halted or (super().at_end() and not self._urgent and not self._outgoing)

    def _all_sent(self) -> bool:
        return self._cursor.at >= self._head.seq and not self._urgent and not self._outgoing

    def send_again(self, after: int) -> None:
        """Send every record behind this one again, as far as it is still there and has been sent."""
        unsent = (message.upto for message in self._outgoing if message.upto is not None)
        after = min([after, *(upto - 1 for upto in unsent)])
        if after < self._cursor.at:
            self._rewind(after)

    # What comes next

    def next(self, now: float) -> Message | None:
        """Return the checkpoint that is due, or what is to be sent next."""
        if self._halted or not self.known:
            return None
        return self._due_checkpoint(now) or self._next_record()

    def _due_checkpoint(self, now: float) -> Message | None:
        if why := self._checkpoints.due(now, size=self._head.seq, drained=self._all_sent()):
            return self._checkpoint(why, now)
        if self.mark < (before := self._sent_before) < self._head.seq:
            self._sent_before = 0
            return self._stated(Why.COUNT, before)
        return None

    def _next_record(self) -> Message | None:
        if not self._outgoing:
            self._outgoing.extend(self._portion())
        if not self._outgoing:
            return None
        message = self._outgoing.popleft()
        self._batched = self._batched or message.records > 1
        if self._ordered and message.upto is not None:
            self._sent = message.upto
            self._checkpoints.sent(message.records)
        return message

    def last(self, now: float) -> Message | None:
        """Return a last checkpoint."""
        return None if self._halted or not self.known else self._checkpoint(Why.STOP, now)

    def make_checkpoint(self) -> None:
        """Have a checkpoint made soon."""
        self._checkpoints.ask()

    def _checkpoint(self, why: Why, now: float) -> Message | None:
        """State the whole ledger, or for Why.COUNT how far it was sent."""
        self._checkpoints.made(now, why, size=self._head.seq, drained=self._all_sent())
        return self._stated(why, self._sent if why is Why.COUNT else self._head.seq)

    def _stated(self, why: Why, size: int) -> Message | None:
        key, head = self._centre.device_key, self._head
        digest = head.hash if size == head.seq else self._outbox.hash_at(size)
        if key is None or digest is None:
            return None
        at = self._centre.now()
        stated = Checkpoint(
            site=self._site,
            gate=self._gate,
            epoch=head.epoch,
            size=size,
            hash=digest,
            at_ms=at.wall_ms,
            clock_trusted=at.clock_trusted,
            boot_id=self._centre.boot_id,
            why=why,
            receipted=min(self.mark, size),
        )
        return Message("checkpoint", stated.signed(key), retain=True)

    def _portion(self) -> list[Message]:
        """Return the messages that bring the next records: each with what is sealed in it ahead."""
        if self._urgent_wanted:
            self._find_urgent()
        self._ordered = not self._urgent
        if self._urgent:
            entries = [self._urgent.popleft()]
        else:
            batch = not self._singly and self._head.seq - self._cursor.at >= BATCH_RECORDS_MAX
            entries = self._cursor.take(BATCH_RECORDS_MAX if batch else 1, BATCH_BYTES_MAX // 2)
        if len(entries) > 1:
            body = pack([entry.body for entry in entries])
            if len(body) <= self._batch_bytes_max:
                batched = Message("ev/batch", body, upto=entries[-1].seq, records=len(entries))
                return [*(self._sealed(entry) for entry in entries if entry.sealed is not None), batched]
        return [message for entry in entries for message in self._single(entry)]

    def _find_urgent(self) -> None:
        if self._head.seq - self.mark > self._window:
            self._urgent.extend(self._outbox.abnormal(self.mark, ABNORMAL_MAX))
        self._urgent_wanted = False

    def _single(self, entry: Entry) -> list[Message]:
        record = Message("ev", entry.body, upto=entry.seq, records=1)
        return [record] if entry.sealed is None else [self._sealed(entry), record]

    def _sealed(self, entry: Entry) -> Message:
        assert entry.sealed is not None
        text = base64.b64encode(entry.sealed).decode()
        line = {"v": 1, "epoch": self._head.epoch, "seq": entry.seq, "sealed": text}
        return Message("sealed", json.dumps(line, separators=(",", ":")).encode())

    # What comes back

    def taken(self, message: Message) -> None:
        """Take an acknowledgement for what it is: the message has left this gate."""

    def refused(self, message: Message) -> bool:
        """Bring the records of a refused batch singly; there is no other way for a single one."""
        if message.records <= 1 or message.upto is None:
            return False
        self._singly = True
        self.send_again(message.upto - message.records)
        return True

    def receive(self, message: bytes, now: float) -> None:
        """Take what has come on the topic of receipts. Raises SignedError for what is not to be believed."""
        receipt = opened(message, self._centre.keys, self._site, self._gate)
        head = self._outbox.head()
        if head.epoch != self._head.epoch:
            return  # the ledger has just been renewed; nobody can have signed for the new one yet
        means = meaning(receipt, head=head, held=self._held, own_hash=self._own_hash(receipt, head))
        if means is Meaning.WENT_BACK and receipt.upto == self._centre_has:
            means = Meaning.REPEATED  # what it lacks is not here any more either; that has been said
        if means.disagrees:
            self._disagree(receipt, means, now)
        elif means in {Meaning.NEWS, Meaning.REPEATED, Meaning.WENT_BACK}:
            self._believe(receipt, means, now)
            self._serve(receipt.ask, now)

    def _own_hash(self, receipt: Receipt, head: Head) -> bytes | None:
        known = receipt.epoch == head.epoch and receipt.upto <= head.seq
        return self._outbox.hash_at(receipt.upto) if known else None

    def _believe(self, receipt: Receipt, means: Meaning, now: float) -> None:
        self._centre_has = receipt.upto
        if means is Meaning.NEWS:
            self._hold(Held(receipt.epoch, receipt.upto, receipt.hash, receipt.at_ms))
            self._patience.progress()
            self._asked_again = False
            self._skip_done()
        elif means is Meaning.WENT_BACK:
            self._go_back(receipt, now)
        elif self._held is not None:
            self._held = replace(self._held, at_ms=receipt.at_ms)

    def _hold(self, held: Held) -> None:
        self._outbox.receive(held)
        self._held, self.mark = held, held.upto
        self._backlog.done(held.upto)

    def _skip_done(self) -> None:
        """Leave out what the centre turns out to have, as when its receipt got lost with a connection."""
        self._urgent = deque(entry for entry in self._urgent if entry.seq > self.mark)
        if self._cursor.at < self.mark:
            self._rewind(self.mark)

    def _go_back(self, receipt: Receipt, now: float) -> None:
        """Begin again where the centre is now, or at the oldest record that is still here."""
        had = self.mark
        held = Held(receipt.epoch, receipt.upto, receipt.hash, receipt.at_ms)
        oldest = next(iter(self._outbox.pending(receipt.upto, 1)), None)
        if oldest is not None and oldest.seq > receipt.upto + 1:
            base = oldest.seq - 1
            held = replace(held, upto=base, hash=self._outbox.hash_at(base) or b"")
        self._backlog = Backlog()
        self._hold(held)
        self._backlog.grown(self._head.seq, now)
        self._patience.progress()
        self._rewind(self.mark)
        self._centre.on_went_back(had, receipt.upto)

    def _disagree(self, receipt: Receipt, means: Meaning, now: float) -> None:
        """Stop, and tell; tell again in case that the ledger could not be renewed."""
        self._halted = True
        if now - self._disagreed_at >= TELL_AGAIN_S:
            self._disagreed_at = now
            self._centre.on_disagreement(receipt.upto, str(means.value))

    def _serve(self, ask: Ask, now: float) -> None:
        """Do what a receipt asks for, not all the time: somebody may repeat it, signature and all."""
        if ask is Ask.CHECKPOINT:
            self._checkpoints.ask()
        elif ask is Ask.RECORDS:
            self._asked_again = True
            self._answer(now)

    def _answer(self, now: float) -> None:
        if self._asked_again and now - self._rewound_at >= ASKS_APART_S:
            self._asked_again, self._rewound_at = False, now
            self.send_again(self.mark)

    # What time brings

    def settle(self, now: float, *, window_empty: bool) -> None:
        """Send again what was not receipted in time; delete what nobody needs any more."""
        if self.mark >= self._head.seq or self._halted:
            self._patience.nothing_waits()
        elif window_empty and self._all_sent() and self._patience.over(now):
            self._singly = self._batched
            self._rewind(self.mark)
        elif window_empty and self._all_sent():
            self._answer(now)
        if now >= self._prune_at and self.known and window_empty and self._all_sent():
            self._prune(now)

    def _prune(self, now: float) -> None:
        at = self._centre.now()
        self._prune_at = now + PRUNE_EVERY_S  # also if it fails
        if at.clock_trusted:
            before_ms = at.wall_ms - self._centre.keep_days * _DAY_MS
            if self._outbox.prune(before_ms, PRUNE_AT_ONCE) == PRUNE_AT_ONCE:
                self._prune_at = now

    def due_in_s(self, now: float) -> float | None:
        """Return when a checkpoint is due."""
        if self._halted or not self.known or self._centre.device_key is None:
            return None
        return self._checkpoints.due_in_s(now, size=self._head.seq, drained=self._all_sent())
