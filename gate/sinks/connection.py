"""One MQTT connection: from CONNECT to its end, and in plain words why it ended.

paho's client is driven through its external-loop interface by the one thread that owns the connection, so
that an exception anywhere, also in a callback, surfaces in `Connection.pump`. (paho's own network thread dies
of it silently and goes on reporting success: eclipse-paho/paho.mqtt.python issue 894.) Gate and centre share
this, and the doctor calls with it.
"""

import contextlib
import logging
import math
import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gate.sinks.faults import Destination, LinkDown, connect_fault, refusal, tls_context

ProtocolVersion = Literal["5", "3.1.1"]

PACKET_BYTES_MAX: Final = 1 << 20
_FORGET_FALLBACK_S: Final = 600.0
_NO_RECEIVE_MAXIMUM: Final = 65535  # MQTT 5.0, 3.2.2.3.3: the value when the broker names none
_NO_PACKET_MAXIMUM: Final = 268_435_455  # MQTT 5.0, 3.2.2.3.6 and 2.1.4: what the protocol itself allows
_READS_MAX: Final = 200
"""Packets read in one go: what comes in must not keep acknowledgements from going out."""


class Party(Destination, Protocol):
    """Where a connection goes, and as whom."""

    @property
    def client_id(self) -> str:
        """By which the broker tells its clients apart."""

    @property
    def username(self) -> str | None:
        """None where the broker asks for none."""

    @property
    def password(self) -> str | None:
        """Of that user."""

    @property
    def keepalive_s(self) -> int:
        """A ping after so much silence."""

    @property
    def answer_timeout_s(self) -> float:
        """How long a broker may take to accept a connection."""


@dataclass(frozen=True, slots=True)
class Session:
    """What becomes of what comes, and of the connection's memory at the broker.

    `receive_maximum`: 1 to 65535 messages that the broker may send ahead of their acknowledgement.
    `kept_s`: how long the broker keeps what comes while nobody is there (MQTT 3.1.1: as long as it likes); a
    message counts as received only when `Connection.acknowledge` is called for it. None: every connection
    begins anew, and what has come counts as received.
    """

    receive_maximum: int
    kept_s: int | None = None


@dataclass(frozen=True, slots=True)
class Packet:
    """One message as it came; `mid` is None for QoS 0, which nobody acknowledges. "" for no topic at all."""

    topic: str
    payload: bytes
    retained: bool
    mid: int | None


class Dialect:
    """Which protocol version to speak next; remembers for ten minutes that a broker does not know MQTT 5."""

    def __init__(self, setting: Literal["auto", "5", "3.1.1"]) -> None:
        self._setting = setting
        self._fallback_until = 0.0

    def choose(self, now: float) -> ProtocolVersion:
        """Return the version for the next attempt."""
        if self._setting == "auto":
            return "3.1.1" if now < self._fallback_until else "5"
        return self._setting

    def refused(self, version: ProtocolVersion, now: float) -> None:
        """Note that the broker does not seem to know this version."""
        self._fallback_until = now + _FORGET_FALLBACK_S if version == "5" else 0.0


class LastWords(logging.Handler):
    """Keeps paho's last complaint: the only place where it says why reading a socket failed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.words = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the words of this one."""
        self.words = record.getMessage()


class FrugalClient(Client):
    """A client that no message can bring down: whoever may publish would have a kept session do it for ever.

    Of a packet of more than 1 MiB, where paho would take 256 MiB into memory, the rest is read and cut off,
    so that whoever takes the message finds it too long. MQTT 3.1.1 has no way to tell the broker of a limit,
    and with MQTT 5 it may ignore ours. The properties of a message are passed over unread: paho raises for
    some that brokers let through.
    """

    def _sock_recv(self, bufsize: int) -> bytes:
        # paho (2.1 and 2.2 alike) asks here for all that is missing of a packet.
        del self._in_packet["packet"][PACKET_BYTES_MAX + 1 :]
        return super()._sock_recv(min(bufsize, PACKET_BYTES_MAX))

    def _handle_publish(self) -> Any:
        if self._protocol == MQTTProtocolVersion.MQTTv5:  # MQTT 5.0, 3.3.2
            packet, qos = self._in_packet["packet"], self._in_packet["command"] >> 1 & 3
            start = 2 + int.from_bytes(packet[:2], "big") + (2 if qos else 0)
            size, digits = VariableByteIntegers.decode(packet[start : start + 4])  # type: ignore[no-untyped-call]
            packet[start : start + digits + size] = b"\0"
        return super()._handle_publish()


class Connection:
    """One connection from CONNECT to its end, driven by one thread through `pump`.

    `will`: topic and body of what the broker publishes, to be retained, when the connection breaks off.
    `on_packet` gets whatever the broker sends, asked for or not; `on_taken` the number of a publication and
    the answer to it; `on_subscribed` the number of a subscription and each answer to it. All are called
    within `pump`, and whatever they raise comes out of it. `receive_maximum` and `packet_bytes_max` are the
    broker's limits, known once it has `accepted`.
    """

    def __init__(
        self,
        settings: Party,
        version: ProtocolVersion,
        monotonic: Callable[[], float],
        *,
        session: Session,
        will: tuple[str, bytes] | None = None,
        on_packet: Callable[[Packet], None] = lambda _packet: None,
        on_taken: Callable[[int, ReasonCode], None] = lambda _mid, _reason: None,
        on_subscribed: Callable[[int, ReasonCode], None] = lambda _mid, _reason: None,
    ) -> None:
        self.version = version
        self.accepted = False
        self.receive_maximum = _NO_RECEIVE_MAXIMUM
        self.packet_bytes_max = _NO_PACKET_MAXIMUM
        self._settings = settings
        self._session = session
        self._monotonic = monotonic
        self._heard_at = monotonic()
        self._on_packet = on_packet
        self._on_taken = on_taken
        self._on_subscribed = on_subscribed
        self._fault: LinkDown | None = None
        self._last_words = LastWords()
        self._client = self._build()
        if will is not None:
            self._client.will_set(*will, qos=1, retain=True)

    def _build(self) -> Client:
        settings, v5 = self._settings, self.version == "5"
        client = FrugalClient(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=None if v5 else self._session.kept_s is None,
            protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,  # or it would reconnect by itself with MQTT 3.1
            manual_ack=self._session.kept_s is not None,
        )
        client.max_inflight_messages = 0  # the window of whoever sends is the only one
        client.connect_timeout = settings.answer_timeout_s
        if settings.username is not None:
            client.username_pw_set(settings.username, settings.password)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._taken
        client.on_message = self._arrived
        client.on_subscribe = self._subscribed
        words = logging.Logger("mqtt-client", logging.ERROR)
        words.addHandler(self._last_words)
        client.enable_logger(words)
        return client

    def open(self, wake: socket.socket, stopped: Callable[[], bool] = lambda: False) -> None:
        """Connect, and wait until the broker has accepted. Raises LinkDown in words for people."""
        settings = self._settings
        if settings.tls:
            self._client.tls_set_context(tls_context(settings.tls))
        more: dict[str, Any] = {}
        if self.version == "5":
            more = {"clean_start": self._session.kept_s is None, "properties": _wishes(self._session)}
        try:
            self._client.connect(settings.host, settings.broker_port, settings.keepalive_s, **more)
        except (OSError, UnicodeError) as error:  # a host may be what no name can be
            raise connect_fault(error, settings) from error
        deadline = self._monotonic() + settings.answer_timeout_s
        while not self.accepted:
            if (left_s := deadline - self._monotonic()) <= 0:
                raise LinkDown("the broker does not answer; is it an MQTT port?", wrong_version=True)
            if stopped():
                raise LinkDown("stopped while connecting")
            self.pump(wake, left_s)

    def subscribe(self, *topics: str) -> int:
        """Ask with QoS 1 for what is published under these, what is retained first.

        Returns the number that the answers will carry.
        """
        if self.version == "5":
            _, mid = self._client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in topics])
        else:
            _, mid = self._client.subscribe([(topic, 1) for topic in topics])
        return mid or 0

    def unsubscribe(self, topic: str) -> None:
        """Ask for no more; what is on its way still arrives."""
        self._client.unsubscribe(topic)

    def publish(self, topic: str, body: bytes, *, retain: bool) -> int:
        """Hand over one message with QoS 1; returns the number that its acknowledgement will carry."""
        return self._client.publish(topic, body, qos=1, retain=retain).mid

    def acknowledge(self, mid: int) -> None:
        """Tell the broker that this message is kept; of no effect when the connection has just ended."""
        self._client.ack(mid, 1)

    def pump(self, wake: socket.socket, timeout_s: float) -> None:
        """Do what the sockets are ready for, waiting at most `timeout_s`. Raises LinkDown at the end."""
        sock = self._sock()
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            timeout_s = 0.0  # data that TLS has decoded already does not make the socket readable
        writing = [sock] if self._client.want_write() else []
        readable, writable, _ = select.select([sock, wake], writing, [], timeout_s)
        if wake in readable:
            empty(wake)
        if sock in readable or timeout_s == 0.0:
            self._read(sock)
        if writable:
            self._client.loop_write()
        self._client.loop_misc()
        if self._fault:
            raise self._fault
        self._sock()

    def _read(self, sock: Any) -> None:
        for _ in range(_READS_MAX):
            pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
            if not pending and not select.select([sock], [], [], 0.0)[0]:
                return
            self._heard_at = self._monotonic()
            self._client.loop_read()
            # Of messages of QoS 2 paho would keep any number in memory.
            if self._client._in_messages:  # noqa: SLF001 - there is no public way to see them
                raise LinkDown("the broker sends with QoS 2, which was not asked for")
            if self._client.socket() is not sock:
                return

    def _sock(self) -> Any:  # paho's own type for it is private
        sock = self._client.socket()
        if sock is None:
            raise self._end()
        return sock

    def _end(self) -> LinkDown:
        """Say why the connection is gone, from the best witness there is."""
        if self._fault:
            return self._fault
        words = self._last_words.words
        if "_ALERT_" in words:
            return LinkDown(f"the broker ended TLS ({words}); renew {self._certificate()}", lasting=True)
        if not self.accepted:
            # The alert that names a bad certificate is easily lost: TLS 1.3 sends it after our CONNECT.
            hint = f"; does it know {self._certificate()}?" if self._settings.tls else ""
            return LinkDown(f"the broker hung up before it accepted the connection{hint}", wrong_version=True)
        why = f" ({words})" if words else ""
        return LinkDown(
            f"the connection broke{why}; if this repeats, look for a second client with the id "
            f"{self._settings.client_id!r}"
        )

    def _certificate(self) -> str:
        file = self._settings.tls and self._settings.tls.cert_file
        return f"this client's own certificate ({file or 'there is none'})"

    def silent_s(self) -> float:
        """Return how long nothing at all has come from the broker."""
        return self._monotonic() - self._heard_at

    def check_alive(self) -> None:
        """Raise LinkDown after 1.5 x the keepalive in force: half-open TCP reports nothing itself.

        A ping is sent after one, its answer is due within the half. The broker may have chosen another
        keepalive than we asked for (MQTT 5.0, 3.2.2.3.14), 0 for none.
        """
        if self.silent_s() > (1.5 * self._client.keepalive or math.inf):
            words = f"the broker has been silent for {self.silent_s():.0f} s; check the network"
            raise LinkDown(words)

    def leave(self) -> None:
        """Say DISCONNECT: the broker discards a last will, and keeps what the session says."""
        self._client.disconnect()

    def close(self) -> None:
        """Drop the socket; without `leave` before it the broker publishes the last will."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        # The client and these bound methods hold each other; letting go frees it at once.
        self._client.on_connect = self._client.on_disconnect = self._client.on_publish = None
        self._client.on_message = self._client.on_subscribe = None

    # What paho calls

    def _connected(
        self, _c: Client, _u: object, _f: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._fault = refusal("the broker refused the connection", reason)
            return
        if getattr(properties, "MaximumQoS", 1) < 1:
            self._fault = LinkDown(
                "the broker offers QoS 0 only, which loses records; use another", lasting=True
            )
            return
        self.receive_maximum = getattr(properties, "ReceiveMaximum", _NO_RECEIVE_MAXIMUM)
        self.packet_bytes_max = getattr(properties, "MaximumPacketSize", _NO_PACKET_MAXIMUM)
        self.accepted = True

    def _disconnected(
        self, _c: Client, _u: object, flags: DisconnectFlags, reason: ReasonCode, _p: object
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._fault = refusal("the broker closed the connection", reason)

    def _taken(self, _c: Client, _u: object, mid: int, reason: ReasonCode, _p: object) -> None:
        self._on_taken(mid, reason)

    def _arrived(self, _c: Client, _u: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # paho decodes it only here
            topic = ""
        mid = message.mid if message.qos else None
        self._on_packet(Packet(topic, bytes(message.payload), message.retain, mid))

    def _subscribed(self, _c: Client, _u: object, mid: int, reasons: list[ReasonCode], _p: object) -> None:
        for reason in reasons:
            self._on_subscribed(mid, reason)


def _wishes(session: Session) -> Properties:
    """Build what a broker is told with CONNECT (MQTT 5.0, 3.1.2.11)."""
    wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho does not annotate it
    if session.kept_s is not None:
        wishes.SessionExpiryInterval = session.kept_s
    wishes.ReceiveMaximum = session.receive_maximum
    wishes.MaximumPacketSize = PACKET_BYTES_MAX
    return wishes


def empty(wake: socket.socket) -> None:
    """Take what has gathered in a wake-up socket."""
    with contextlib.suppress(BlockingIOError):
        wake.recv(4096)
