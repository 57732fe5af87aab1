"""The way to the centre and back: a sink with a window, and a broker that fails, loses and repeats itself.

The sink keeps the gate's half of the delivery contract (`gate.core.delivery`): records go in order, at most
`WINDOW` under way, and what the broker acknowledges makes room and nothing more. A record is done when a
receipt of the centre has the very hash that the ledger has there. It imitates `gate.sinks` in that, not in
its protocol, which a real broker tests; batches and the order after an outage are left out.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.core.delivery import Ask, Checkpoint, Receipt, Why
from gate.core.inputs import CommandReceived, Input, ReceiptDisagreed, ReceiptWentBack
from gate.core.moment import Moment
from gate.core.signed import SignedError
from gate.ports import Entry, Held, Outbox
from gate.sim.timeline import Timeline

WINDOW: Final = 20
EV: Final = "ev"
CHECKPOINT: Final = "checkpoint"
RECEIPT: Final = "receipt"
CMD: Final = "cmd"
_RECONNECT_S: Final = (0.5, 30.0)
_CHECKPOINT_EVERY_S: Final = 60.0
_CHECKPOINT_RECORDS: Final = 100
_DRAINED_S: Final = 5.0  # a real gate waits one second; it is the same, with fewer signatures
_REPEATED_WITHIN_S: Final = 120.0  # so that an old receipt comes behind newer ones
_RESEND_S: Final = (30.0, 600.0)

Handler = Callable[[str, bytes, bool], None]
"""Takes topic, message, and whether it was retained."""


class Taker(Protocol):
    """The centre, as the broker knows it."""

    def take(self, topic: str, message: bytes) -> None:
        """Take one message in."""
        ...


class Broker:
    """Takes messages and hands them on, unless it is away; loses or repeats some when told to.

    `most_under_way` is the most messages that ever waited for an acknowledgement at one time.
    """

    def __init__(self, timeline: Timeline, seed: int) -> None:
        self._timeline = timeline
        self._rng = random.Random(f"{seed}/broker")  # noqa: S311 - chance to be repeated, not a secret
        self.centre: Taker | None = None
        self.connection = 0
        self.away = False
        self.under_way = self.most_under_way = 0
        self._word = ""
        self._gate: Handler | None = None
        self._retained: bytes | None = None
        self._last_command: bytes | None = None

    def fail(self, word: str) -> None:
        """Repeat messages, or acknowledge and lose them; or drop every connection and what is under way."""
        self._word = word
        if word == "outage":
            self.away = True
            self._hang_up()

    def connect(self, gate: Handler) -> int:
        """Take a new connection in place of the one before; return its number."""
        self._hang_up()
        self._gate = gate
        if self._retained is not None:
            self._deliver(RECEIPT, self._retained, retained=True)
        if self._last_command is not None:
            self._deliver(CMD, self._last_command, retained=False)  # it cannot say whether it has arrived
        return self.connection

    def _hang_up(self) -> None:
        self.connection += 1
        self.under_way = 0
        self._gate = None

    def come_back(self) -> None:
        """Work as it should again."""
        self.away, self._word = False, ""

    def reconnect_s(self) -> float:
        """Draw the pause of a sink before its next attempt."""
        return self._rng.uniform(*_RECONNECT_S)

    # --- from the gate

    def publish(self, topic: str, message: bytes, acknowledged: Callable[[], None]) -> None:
        """Take one message of the present connection; call back when it is acknowledged, if ever."""
        self.under_way += topic == EV
        self.most_under_way = max(self.most_under_way, self.under_way)
        there_s = self._rng.uniform(0.005, 0.08)
        self._timeline.after(there_s, partial(self._arrived, self.connection, topic, message, acknowledged))

    def _arrived(self, connection: int, topic: str, message: bytes, acknowledged: Callable[[], None]) -> None:
        if connection != self.connection:
            return
        assert self.centre is not None
        for _ in range(self._copies()):
            self.centre.take(topic, message)
        back_s = self._rng.uniform(0.005, 0.3)
        self._timeline.after(back_s, partial(self._acknowledge, connection, topic, acknowledged))

    def _acknowledge(self, connection: int, topic: str, acknowledged: Callable[[], None]) -> None:
        if connection == self.connection:
            self.under_way -= topic == EV
            acknowledged()

    def _copies(self) -> int:
        struck = self._word in {"duplicates", "loses"} and self._rng.random() < 0.5
        return 1 + (0 if not struck else 1 if self._word == "duplicates" else -1)

    # --- to the gate

    def send(self, topic: str, message: bytes, *, retained: bool = False) -> None:
        """Hand a message to the gate if it is connected; keep it for later if it is to be retained."""
        if topic == CMD:
            self._last_command = message
        if not self.away:
            if retained:
                self._retained = message
            for copy in range(self._copies()):
                later_s = copy * self._rng.uniform(0, _REPEATED_WITHIN_S)
                self._deliver(topic, message, retained=False, later_s=later_s)

    def forge_retained(self, topic: str, message: bytes) -> None:
        """Hand out a message as one that was kept, whoever has had it kept."""
        self._deliver(topic, message, retained=True)

    def _deliver(self, topic: str, message: bytes, *, retained: bool, later_s: float = 0.0) -> None:
        after_s = later_s + self._rng.uniform(0.005, 0.08)
        arrives = partial(self._reaches_gate, self.connection, topic, message, retained)
        self._timeline.after(after_s, arrives)

    def _reaches_gate(self, connection: int, topic: str, message: bytes, retained: bool) -> None:
        if connection == self.connection and self._gate is not None:
            self._gate(topic, message, retained)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the gate is to the centre, and whom it believes."""

    site: str
    gate: str
    boot_id: str
    device_key: Ed25519PrivateKey
    centre_keys: tuple[bytes, ...]


class SimSink:
    """Sends from one outbox for as long as the gate has power; `notify` says that there is something new.

    `post` takes what the actor has to know, `clock` tells the gate's time.
    """

    window = WINDOW

    def __init__(
        self,
        outbox: Outbox,
        broker: Broker,
        timeline: Timeline,
        identity: Identity,
        post: Callable[[Input], None],
        clock: Callable[[], Moment],
    ) -> None:
        self._outbox = outbox
        self._broker = broker
        self._timeline = timeline
        self._identity = identity
        self._post = post
        self._clock = clock
        self._connection = -1
        self._connecting = False
        self._stopped = False
        self._disagreed = False
        self._under_way: set[tuple[str, int]] = set()  # of an epoch that is over as well
        self._epoch = outbox.head().epoch
        self._sent = outbox.acknowledged()
        self._stated = -1  # up to where the newest checkpoint reaches
        self._draining = False
        self._resend_s = _RESEND_S[0]
        self._timeline.after(_CHECKPOINT_EVERY_S, self._interval)
        self._timeline.after(self._resend_s, partial(self._look_for_progress, self._sent))

    def stop(self) -> None:
        """The power is gone: nothing is sent or received any more."""
        self._stopped = True

    def renewed(self) -> None:
        """Go on with the first record of a new epoch."""
        self._disagreed = False
        self._epoch = self._outbox.head().epoch
        self._sent, self._stated = self._outbox.acknowledged(), -1
        self._checkpoint(Why.START)

    # --- sending

    def notify(self) -> None:
        """Send what is new as far as the window has room; connect first when there is no connection."""
        if self._stopped or self._connecting:
            return
        if self._broker.away or self._connection != self._broker.connection:
            self._connecting = True
            self._timeline.after(self._broker.reconnect_s(), self._connect)
            return
        self._send()

    def send_again(self, after: int) -> None:
        """Send what comes after this record once more."""
        self._sent = min(self._sent, after)
        self.notify()

    def make_checkpoint(self) -> None:
        """Say at once how far the ledger reaches."""
        self._checkpoint(Why.DEMAND)

    def _connect(self) -> None:
        self._connecting = False
        if self._stopped:
            return
        if not self._broker.away:
            self._connection = self._broker.connect(self._arrived)
            self._under_way.clear()
            self._sent = self._outbox.acknowledged()
            self._checkpoint(Why.START)
        self.notify()

    def _send(self) -> None:
        room = self.window - len(self._under_way)
        if room <= 0 or self._disagreed:
            return
        for entry in self._outbox.pending(self._sent, room):
            self._sent = entry.seq
            if (self._epoch, entry.seq) in self._under_way:
                continue  # to be sent again, and not yet acknowledged the first time
            self._publish(entry)
            if entry.seq % _CHECKPOINT_RECORDS == 0:
                self._checkpoint(Why.COUNT)

    def _publish(self, entry: Entry) -> None:
        place = self._epoch, entry.seq
        self._under_way.add(place)
        self._broker.publish(EV, entry.body, partial(self._taken, place))

    def _taken(self, place: tuple[str, int]) -> None:
        """Make room, and see whether all has been sent: a broker's word means no more than that."""
        if self._stopped:
            return
        self._under_way.discard(place)
        self._send()
        if not self._under_way and not self._draining:
            self._draining = True
            self._timeline.after(_DRAINED_S, self._drained)

    # --- checkpoints

    def _drained(self) -> None:
        self._draining = False
        if not self._stopped and self._stated < self._sent:
            self._checkpoint(Why.DRAINED)

    def _interval(self) -> None:
        if not self._stopped:
            self._checkpoint(Why.INTERVAL)
            self._timeline.after(_CHECKPOINT_EVERY_S, self._interval)

    def _checkpoint(self, why: Why) -> None:
        if self._disagreed or self._connection != self._broker.connection:
            return
        head, now, me = self._outbox.head(), self._clock(), self._identity
        # What is counted is what was sent; everything else states the whole ledger.
        size = self._sent if why is Why.COUNT else head.seq
        digest = self._outbox.hash_at(size)
        if digest is None:
            return
        self._stated = size
        checkpoint = Checkpoint(
            me.site,
            me.gate,
            head.epoch,
            size,
            digest,
            now.wall_ms,
            now.clock_trusted,
            me.boot_id,
            why,
            min(self._outbox.acknowledged(), size),
        )
        self._broker.publish(CHECKPOINT, checkpoint.signed(me.device_key), lambda: None)

    # --- receipts and commands

    def _arrived(self, topic: str, message: bytes, retained: bool) -> None:
        if self._stopped:
            return
        if topic == CMD:
            self._post(CommandReceived(message, retained))
            return
        try:
            receipt = Receipt.opened(message, self._identity.centre_keys)
        except SignedError:
            return
        if receipt.epoch == self._epoch and not self._disagreed:
            self._receive(receipt)

    def _receive(self, receipt: Receipt) -> None:
        if self._outbox.hash_at(receipt.upto) != receipt.hash:
            self._disagreed = True
            self._post(ReceiptDisagreed(receipt.upto, "the centre knows another ledger"))
            return
        held = self._outbox.receipt()
        if held is None or receipt.at_ms > held.at_ms:
            self._outbox.receive(Held(receipt.epoch, receipt.upto, receipt.hash, receipt.at_ms))
            if held is not None and receipt.upto < held.upto:
                self._sent = min(self._sent, receipt.upto)
                self._post(ReceiptWentBack(held.upto, receipt.upto))
        if self._stopped:  # the power has failed over it
            return
        if receipt.ask is Ask.RECORDS:
            self._sent = min(self._sent, self._outbox.acknowledged())
        elif receipt.ask is Ask.CHECKPOINT:
            self._checkpoint(Why.DEMAND)
        self.notify()

    def _look_for_progress(self, mark: int) -> None:
        """Send again what the broker has acknowledged and the centre has not, if nothing moves."""
        if self._stopped:
            return
        now_at = self._outbox.acknowledged()
        stuck = now_at == mark < self._sent and not self._under_way
        self._resend_s = min(2 * self._resend_s, _RESEND_S[1]) if stuck else _RESEND_S[0]
        if stuck:
            self.send_again(mark)
        self._timeline.after(self._resend_s, partial(self._look_for_progress, now_at))
