"""The centre's ear: one thread keeps a connection to the broker, come what may, and speaks for the centre.

What arrives goes into the inbox; it is acknowledged when the store says so, through `acknowledge`. What the
centre says goes out through `publish`: of two receipts for one topic only the newest is kept, because a later
one says all that an earlier one did. Of commands each counts.

- The session is kept by the broker. What was not acknowledged comes again on the next connection, and what
  the broker has lost comes again from the gates, which wait for receipts.
- Memory is bounded by the inbox. Receive Maximum (MQTT 5) asks brokers not to fill it, but MQTT 3.1.1 has no
  such bound, and Mosquitto 2.0 sends that many more for every acknowledgement while it drains a queue. What
  finds no room is dropped, unacknowledged; what has found room is stored and acknowledged, so that every
  connection gets further; then the connection is ended, because only the next one brings the dropped again.
- A connection is given up when nothing has been heard for 1.5 x keepalive, or when the broker has not taken
  a message of ours within one.
- The pause between two attempts is drawn at random, so that centres and gates do not come back in step.
"""

import contextlib
import logging
import math
import random
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from paho.mqtt.reasoncodes import ReasonCode

from central.inbox import Inbox, Message
from gate.sinks.connection import Connection, Dialect, Packet, ProtocolVersion, Session, empty
from gate.sinks.faults import LinkDown, TlsSettings, refusal

_WINDOW_MAX: Final = 20
RETRY_CAP_S: Final = 30.0
_FIRST_RETRY_S: Final = 1.0
_STABLE_AFTER_S: Final = 10.0
_DROPPING_S_MAX: Final = 10.0
_FAREWELL_S: Final = 2.0
_IDLE_S: Final = 1.0
_REPEAT_LOG_S: Final = 600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where to listen, and as whom.

    `client_id` names the session that the broker keeps; two centres side by side need two. `receive_maximum`:
    1 to 65535 messages that the broker may send ahead of their acknowledgement. `session_s`: how long the
    broker keeps what comes while the centre is away.
    """

    host: str
    client_id: str
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    keepalive_s: int = 30
    receive_maximum: int = 1000
    session_s: int = 86_400
    tls: TlsSettings | None = None
    answer_timeout_s: float = 5.0

    @property
    def broker_port(self) -> int:
        """The configured port, or the standard one: 8883 with TLS, 1883 without (IANA)."""
        return self.port or (8883 if self.tls else 1883)


@dataclass(frozen=True, slots=True)
class Listening:
    """How the connection stands. `fault`: in words, what is wrong and what to do; None while all is well."""

    connected: bool
    protocol: ProtocolVersion | None
    connections: int
    fault: str | None


class Subscriber:
    """Listens to `topics` and fills `inbox`. One object runs once; its thread is called `subscriber`."""

    def __init__(
        self,
        settings: BrokerSettings,
        topics: Sequence[str],
        inbox: Inbox,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._settings = settings
        self._topics = tuple(topics)
        self._inbox = inbox
        self._monotonic = monotonic
        self._uniform = uniform
        self._dialect = Dialect(settings.protocol)
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._thread = threading.Thread(target=self._run, name="subscriber", daemon=True)
        self._stop_at: float | None = None
        # Filled by others, emptied by the thread; appending to and popping from a deque is atomic.
        self._stored: deque[Message] = deque()
        self._outgoing: dict[tuple[str, bool, bytes], bytes] = {}
        self._outgoing_lock = threading.Lock()
        # From here on everything belongs to the thread; others only read single values of it.
        self._connection: Connection | None = None
        self._under_way: dict[int, float] = {}
        self._unacknowledged = 0
        self._dropping_since: float | None = None
        self._attempt = 0
        self._connections = 0
        self._failures = 0
        self._fault: str | None = None
        self._logged: dict[str, float] = {}

    # What other threads may call

    def start(self) -> None:
        """Begin to listen, in a thread of its own; returns at once."""
        read, write = socket.socketpair()
        read.setblocking(False)
        write.setblocking(False)
        self._wake = (read, write)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Say what is left to say, and end. Messages that are not acknowledged come again next time."""
        if self._wake is None:
            return
        self._stop_at = self._monotonic() + min(timeout_s, _FAREWELL_S)
        self._poke()
        self._thread.join(timeout_s)
        if self._thread.is_alive():  # kept waiting by a name server or a TLS peer; it is a daemon thread
            _log.warning("still connecting after %.1f s; left behind", timeout_s)

    def acknowledge(self, messages: Iterable[Message]) -> None:
        """Note that these are stored for good; never blocks."""
        self._stored.extend(message for message in messages if message.mid is not None)
        self._poke()

    def publish(self, topic: str, body: bytes, *, retain: bool, newest_only: bool = True) -> None:
        """Send this with QoS 1, if `newest_only` instead of what waits for its topic; never blocks.

        Otherwise each counts, in the order in which they came first: one that waits already keeps its place.
        """
        place = (topic, retain, b"" if newest_only else body)
        with self._outgoing_lock:
            if newest_only:
                self._outgoing.pop(place, None)
            self._outgoing[place] = body
        self._poke()

    def status(self) -> Listening:
        """Return how the connection stands at this moment."""
        connection = self._connection
        return Listening(
            connection is not None,
            connection.version if connection else None,
            self._connections,
            self._fault,
        )

    def _poke(self) -> None:
        if self._wake:
            with contextlib.suppress(OSError):  # full: it is awake already; closed: it has ended
                self._wake[1].send(b"!")

    # The thread: connect, listen, rest, again

    def _run(self) -> None:
        assert self._wake is not None
        read, write = self._wake
        with read, write:
            while self._stop_at is None:
                fault = self._one_connection(read)
                if fault and self._stop_at is None:
                    self._rest(read, fault)

    def _one_connection(self, wake: socket.socket) -> LinkDown | None:
        """Serve one connection to its end; None after a farewell."""
        version = self._dialect.choose(self._monotonic())
        self._attempt += 1  # before anything can arrive: a kept session speaks right behind CONNACK
        connection = None
        try:
            connection = Connection(
                self._settings,
                version,
                self._monotonic,
                session=Session(self._settings.receive_maximum, self._settings.session_s),
                on_packet=self._arrived,
                on_taken=self._taken,
                on_subscribed=self._subscribed,
            )
            connection.open(wake, lambda: self._stop_at is not None)
            self._listen(connection, wake)
        except LinkDown as fault:
            if fault.wrong_version:
                self._dialect.refused(version, self._monotonic())
            return fault
        except Exception as error:  # noqa: BLE001 - whatever broke, gates wait: say it and connect again
            _log.exception("the connection was ended by an error of the program")
            return LinkDown(f"{type(error).__name__}: {error}")
        finally:
            self._connection = None
            self._unacknowledged, self._dropping_since = 0, None
            self._under_way.clear()
            if connection:
                connection.close()
        return None

    def _listen(self, connection: Connection, wake: socket.socket) -> None:
        self._connections += 1
        since = self._monotonic()
        self._connection = connection
        connection.subscribe(*self._topics)  # a broker that keeps the session is told what it knows already
        self._say(f"listening at {self._settings.host} with MQTT {connection.version}")
        while not self._may_leave():
            self._speak(connection)
            self._check_dropped()
            connection.pump(wake, _IDLE_S)
            connection.check_alive()
            self._check_taken()
            if self._fault and self._monotonic() - since > _STABLE_AFTER_S:
                self._fault, self._failures = None, 0
        connection.leave()

    def _may_leave(self) -> bool:
        if self._stop_at is None:
            return False
        said = not self._stored and not self._outgoing and not self._under_way
        return said or self._monotonic() >= self._stop_at

    def _speak(self, connection: Connection) -> None:
        """Send acknowledgements, then as many publications as the broker may be given."""
        while self._stored:
            message = self._stored.popleft()
            # The number of a message means nothing on another connection.
            if message.connection == self._attempt and message.mid is not None:
                connection.acknowledge(message.mid)
                self._unacknowledged -= 1
        while self._outgoing and len(self._under_way) < min(_WINDOW_MAX, connection.receive_maximum):
            with self._outgoing_lock:
                place, body = next(iter(self._outgoing.items()))
                del self._outgoing[place]
            topic, retain, _ = place
            self._under_way[connection.publish(topic, body, retain=retain)] = self._monotonic()

    def _taken(self, mid: int, _reason: ReasonCode) -> None:
        # A receipt that the broker refuses is answered for by the next one; the gate asks every minute.
        self._under_way.pop(mid, None)

    def _subscribed(self, _mid: int, reason: ReasonCode) -> None:
        if reason.is_failure:
            raise refusal("the broker refused a subscription", reason)

    def _check_taken(self) -> None:
        """Raise LinkDown when the broker has left a message of ours unanswered for too long."""
        oldest = next(iter(self._under_way.values()), math.inf)
        if self._monotonic() - oldest > self._settings.keepalive_s:
            raise LinkDown(f"the broker has not acknowledged a message for {self._settings.keepalive_s} s")

    def _arrived(self, packet: Packet) -> None:
        message = Message(
            packet.topic, packet.payload, packet.retained, self._attempt, packet.mid, self._monotonic()
        )
        if self._inbox.put(message):
            self._unacknowledged += packet.mid is not None
        elif self._dropping_since is None:
            self._dropping_since = self._monotonic()

    def _check_dropped(self) -> None:
        """Raise LinkDown when messages were dropped, and all that were not are acknowledged."""
        if self._dropping_since is None:
            return
        if not self._unacknowledged or self._monotonic() - self._dropping_since > _DROPPING_S_MAX:
            raise LinkDown("more has come than could be stored; connecting again for the rest")

    def _rest(self, wake: socket.socket, fault: LinkDown) -> None:
        """Wait before the next attempt."""
        self._fault = fault.words
        self._say(fault.words, logging.WARNING)
        over_at = self._monotonic() + retry_delay_s(
            self._failures, lasting=fault.lasting, uniform=self._uniform
        )
        self._failures += 1
        while self._stop_at is None and (left_s := over_at - self._monotonic()) > 0:
            select.select([wake], [], [], left_s)
            empty(wake)

    def _say(self, words: str, level: int = logging.INFO) -> None:
        """Log, but the same words at most every ten minutes."""
        now = self._monotonic()
        if now - self._logged.get(words, -_REPEAT_LOG_S) >= _REPEAT_LOG_S:
            self._logged = {known: at for known, at in self._logged.items() if now - at < _REPEAT_LOG_S}
            self._logged[words] = now
            _log.log(level, "%s", words)


def retry_delay_s(failures: int, *, lasting: bool, uniform: Callable[[float, float], float]) -> float:
    """Choose the pause before the next attempt: anywhere between nothing and 1 s, 2 s, 4 s ... 30 s.

    A fault that waits for a person (wrong password, expired certificate) is tried again every 15 to 30 s.
    """
    if lasting:
        return uniform(RETRY_CAP_S / 2, RETRY_CAP_S)
    return uniform(0.0, min(RETRY_CAP_S, _FIRST_RETRY_S * 2.0 ** min(failures, 10)))
