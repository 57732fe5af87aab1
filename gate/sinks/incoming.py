"""What comes in over the connection of the records: documents, receipts, commands.

Each is subscribed to anew on every connection, which brings what is retained. So each can be left out for a
while whenever it gets in the way of the records: when more comes than is taken in 10 s (unsubscribing stops
a flood where it starts), when the broker refuses the subscription, when connections break as soon as they
are asked for, or when they keep coming while acknowledgements do not. Nothing that arrives may end the
connection.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from paho.mqtt.reasoncodes import ReasonCode

from gate.sinks.complaints import Complaints
from gate.sinks.connection import Connection, Packet
from gate.sinks.faults import refusal
from gate.sinks.window import INTAKE_WITHIN_S, RETRY_CAP_S, Intake

_PATIENCE: Final = 2
_LONG_PATIENCE: Final = 6
_LONG_PAUSE: Final = 10.0
"""How many pauses it is left out for when it holds up acknowledgements."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic, or a family of topics that ends with `#`, and who takes what comes on it.

    `one` and `many` name the messages in complaints. `take` gets the payload and whether it was retained, in
    the sink's thread; it must return quickly, and it may fail. At most `most` messages come in 10 s, of at
    most `bytes_max` bytes each. `first`: it is subscribed to before anything is sent, and a broker that goes
    down a few times is not taken for one that hangs up because of it, nor one that does so after it has
    brought something. It is left out for `pause_s` when it gets in the way, for ten times as long when it
    holds up acknowledgements.
    """

    one: str
    many: str
    topics: str
    take: Callable[[bytes, bool], None]
    most: int
    bytes_max: int
    pause_s: float
    first: bool = False
    intake: Intake = field(init=False)

    def __post_init__(self) -> None:
        patience = _LONG_PATIENCE if self.first else _PATIENCE
        object.__setattr__(self, "intake", Intake(self.most, patience, acquitted=self.first))

    def covers(self, topic: str) -> bool:
        """Tell whether a message on this topic belongs here."""
        if self.topics.endswith("#"):
            return topic.startswith(self.topics[:-1])
        return topic == self.topics

    def called(self, topic: str) -> str:
        """Name a message on this topic."""
        leaf = topic.removeprefix(self.topics.rstrip("#"))[:64]
        return f"{self.one} {leaf!r}" if leaf else self.one


class Incoming:
    """The subscriptions of a sink, over all of its connections."""

    def __init__(
        self, subscriptions: Iterable[Subscription], monotonic: Callable[[], float], complaints: Complaints
    ) -> None:
        self._subscriptions = tuple(subscriptions)
        self._monotonic = monotonic
        self._complaints = complaints
        self._link: Connection | None = None
        self._asked: dict[int, Subscription] = {}

    def begin(self, link: Connection) -> None:
        """Take a new connection, and subscribe to what comes before the records."""
        self._link = link
        self._asked.clear()
        self._ask(link, [one for one in self._subscriptions if one.first])

    def ask(self, link: Connection) -> None:
        """Subscribe to all that is due."""
        self._ask(link, self._subscriptions)

    def _ask(self, link: Connection, subscriptions: Iterable[Subscription]) -> None:
        now = self._monotonic()
        for one in subscriptions:
            if one.intake.due(now):
                one.intake.asked(now)
                self._asked[link.subscribe(one.topics)] = one

    def answered(self, mid: int, reason: ReasonCode) -> None:
        """Handle a SUBACK."""
        one = self._asked.pop(mid, None)
        if one is not None and reason.is_failure:
            words = refusal(f"the broker refused the subscription to {one.many}", reason).words
            self._pause(one, words, one.pause_s)

    def arrived(self, packet: Packet) -> None:
        """Hand a message on to whom it is for. Never raises: the records need the connection."""
        for one in self._subscriptions:
            if one.intake.open and packet.payload and one.covers(packet.topic):
                self._hand_on(one, packet)
                return

    def holds_up(self) -> None:
        """Leave out what keeps coming while acknowledgements do not: first what was asked for last."""
        for one in reversed(self._subscriptions):
            if one.intake.open:
                words = f"{one.many} may be holding up acknowledgements"
                self._pause(one, words, _LONG_PAUSE * one.pause_s)
                return

    def ended(self) -> None:
        """Note the end of a connection."""
        now = self._monotonic()
        self._link = None
        for one in self._subscriptions:
            if one.intake.ended(now):
                # Long enough for a connection without it to come about.
                pause_s = max(one.pause_s, 2 * RETRY_CAP_S) if one.first else one.pause_s
                self._pause(one, f"connections break when {one.many} are asked for", pause_s)

    def _hand_on(self, one: Subscription, packet: Packet) -> None:
        if not one.intake.takes(self._monotonic()):
            self._stem(one)
        elif len(packet.payload) > one.bytes_max:
            words = f"{one.called(packet.topic)} is larger than {one.bytes_max} bytes and was dropped"
            self._complaints.complain(words)
        else:
            try:
                one.take(packet.payload, packet.retained)
            except Exception as error:  # noqa: BLE001 - the records need the connection; it may come again
                words = f"a {one.one} could not be handed on ({type(error).__name__}: {error})"
                self._complaints.say(logging.ERROR, words, error)

    def _stem(self, one: Subscription) -> None:
        """Stop a flood where it starts; what is under way is dropped."""
        if self._link:
            self._link.unsubscribe(one.topics)
        words = f"more than {one.most} {one.many} within {INTAKE_WITHIN_S:.0f} s; the rest is dropped"
        self._pause(one, words, one.pause_s)

    def _pause(self, one: Subscription, words: str, pause_s: float) -> None:
        one.intake.pause(self._monotonic() + pause_s)
        self._complaints.complain(f"{words}; {one.many} are asked for again in {pause_s:.0f} s")
