"""The way to the centre: a sink with a window, a broker that fails and repeats itself, and what arrived.

The sink keeps the contract of `gate.ports.Outbox`: records go in order, at most `WINDOW` under way, and the
mark moves only over records that the broker has acknowledged, whatever the order of the acknowledgements.
After an outage or a restart it goes on from the saved mark, so that some records travel twice and none is
left out. It imitates `gate.sinks.mqtt` in that, not in its protocol, which a real broker tests.
"""

import random
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Final

from gate.ports import Entry, Outbox
from gate.sim.timeline import Timeline

WINDOW: Final = 20
_SAVE_WITHIN_S: Final = 1.0
_RECONNECT_S: Final = (0.5, 30.0)


class Centre:
    """What has arrived: for every sequence number the hashes (SHA-256) of the bodies that came under it."""

    def __init__(self) -> None:
        self.received: dict[int, set[bytes]] = {}

    def receive(self, seq: int, body: bytes) -> None:
        """Take one message in."""
        self.received.setdefault(seq, set()).add(sha256(body).digest())


class Broker:
    """Takes messages and hands them on, unless it is away; repeats some when told to.

    `most_under_way` is the most messages that ever waited for an acknowledgement at one time.
    """

    def __init__(self, timeline: Timeline, centre: Centre, seed: int) -> None:
        self._timeline = timeline
        self._centre = centre
        self._rng = random.Random(f"{seed}/broker")  # noqa: S311 - chance to be repeated, not a secret
        self.connection = 0
        self.away = False
        self.under_way = self.most_under_way = 0
        self._repeats = False

    def fail(self, word: str) -> None:
        """Repeat messages; or drop every connection: what is under way is lost on its way there or back."""
        if word == "duplicates":
            self._repeats = True
        else:
            self.away = True
            self._hang_up()

    def connect(self) -> int:
        """Take a new connection in place of the one before; return its number."""
        self._hang_up()
        return self.connection

    def _hang_up(self) -> None:
        self.connection += 1
        self.under_way = 0

    def come_back(self) -> None:
        """Work as it should again."""
        self.away = self._repeats = False

    def reconnect_s(self) -> float:
        """Draw the pause of a sink before its next attempt."""
        return self._rng.uniform(*_RECONNECT_S)

    def publish(self, seq: int, body: bytes, acknowledged: Callable[[], None]) -> None:
        """Take one message of the present connection; call back when it is acknowledged, if ever."""
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        there_s = self._rng.uniform(0.005, 0.08)
        self._timeline.after(there_s, partial(self._arrived, self.connection, seq, body, acknowledged))

    def _arrived(self, connection: int, seq: int, body: bytes, acknowledged: Callable[[], None]) -> None:
        if connection != self.connection:
            return
        for _ in range(1 + (self._repeats and self._rng.random() < 0.5)):
            self._centre.receive(seq, body)
        back_s = self._rng.uniform(0.005, 0.3)
        self._timeline.after(back_s, partial(self._acknowledge, connection, acknowledged))

    def _acknowledge(self, connection: int, acknowledged: Callable[[], None]) -> None:
        if connection == self.connection:
            self.under_way -= 1
            acknowledged()


class SimSink:
    """Sends from one outbox for as long as the gate has power; `notify` says that there is something new."""

    window = WINDOW

    def __init__(self, outbox: Outbox, broker: Broker, timeline: Timeline) -> None:
        self._outbox = outbox
        self._broker = broker
        self._timeline = timeline
        self._connection = -1
        self._connecting = False
        self._stopped = False
        self._sent = self._saved = outbox.acknowledged()
        self._under_way: set[int] = set()
        self._saving = False

    def stop(self) -> None:
        """The power is gone: nothing is sent or saved any more."""
        self._stopped = True

    def notify(self) -> None:
        """Send what is new as far as the window has room; connect first when there is no connection."""
        if self._stopped or self._connecting:
            return
        if self._broker.away or self._connection != self._broker.connection:
            self._connecting = True
            self._timeline.after(self._broker.reconnect_s(), self._connect)
            return
        self._send()

    def _connect(self) -> None:
        self._connecting = False
        if not self._broker.away:
            self._connection = self._broker.connect()
            self._under_way.clear()
            self._sent = self._outbox.acknowledged()
        self.notify()

    def _send(self) -> None:
        room = self.window - len(self._under_way)
        if room <= 0:
            return
        for entry in self._outbox.pending(self._sent, room):
            self._sent = entry.seq
            self._publish(entry)

    def _publish(self, entry: Entry) -> None:
        self._under_way.add(entry.seq)
        self._broker.publish(entry.seq, entry.body, partial(self._taken, entry.seq))

    def _taken(self, seq: int) -> None:
        if self._stopped:
            return
        self._under_way.discard(seq)
        if not self._saving:
            self._saving = True
            self._timeline.after(_SAVE_WITHIN_S, self._save)
        self._send()

    def _save(self) -> None:
        if self._stopped:
            return
        self._saving = False
        mark = min(self._under_way) - 1 if self._under_way else self._sent
        if mark > self._saved:
            self._saved = mark
            self._outbox.acknowledge(mark)
