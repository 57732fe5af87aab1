"""One MQTT connection of the centre: a session that outlives it, and messages acknowledged by hand.

Like the gate's `Link` it drives paho's client through its external-loop interface by the one thread that owns
the connection, so that an exception anywhere surfaces in `Connection.pump`. It differs in what it promises:
the session is kept by the broker (MQTT 5: for `session_s`; 3.1.1: as long as the broker likes), and a message
counts as received only when `acknowledge` is called for it, which is after the store's commit.
"""

import logging
import math
import select
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gate.sinks.link import (
    PACKET_BYTES_MAX,
    FrugalClient,
    LastWords,
    LinkDown,
    ProtocolVersion,
    TlsSettings,
    connect_fault,
    empty,
    refusal,
    tls_context,
)

_WINDOW_MAX: Final = 20
_NO_RECEIVE_MAXIMUM: Final = 65535  # MQTT 5.0, 3.2.2.3.3: the value when the broker names none
_READS_MAX: Final = 200
"""Packets read in one go: what comes in must not keep acknowledgements from going out."""


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
class Packet:
    """One message as it came; `mid` is None for QoS 0, which nobody acknowledges."""

    topic: str
    payload: bytes
    retained: bool
    mid: int | None


class Connection:
    """One connection from CONNECT to its end, driven by one thread through `pump`.

    `on_packet` gets what arrives, `on_published` the number of a publication that the broker has taken. Both
    are called within `pump`, and whatever they raise comes out of it.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        version: ProtocolVersion,
        monotonic: Callable[[], float],
        *,
        on_packet: Callable[[Packet], None],
        on_published: Callable[[int], object],
    ) -> None:
        self.version = version
        self.accepted = False
        self.window = _WINDOW_MAX
        self._settings = settings
        self._monotonic = monotonic
        self._heard_at = monotonic()
        self._on_packet = on_packet
        self._on_published = on_published
        self._fault: LinkDown | None = None
        self._last_words = LastWords()
        self._client = self._build()

    def _build(self) -> Client:
        settings, v5 = self._settings, self.version == "5"
        client = FrugalClient(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=None if v5 else False,
            protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages = 0  # the window here is the only one
        client.connect_timeout = settings.answer_timeout_s
        if settings.username is not None:
            client.username_pw_set(settings.username, settings.password)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        client.on_message = self._arrived
        client.on_subscribe = self._subscribed
        words = logging.Logger("mqtt-client", logging.ERROR)
        words.addHandler(self._last_words)
        client.enable_logger(words)
        return client

    def open(self) -> None:
        """Connect and send CONNECT; `pump` until `accepted`. Raises LinkDown in words for people."""
        settings = self._settings
        if settings.tls:
            self._client.tls_set_context(tls_context(settings.tls))
        more: dict[str, Any] = {}
        if self.version == "5":
            more = {"clean_start": False, "properties": _wishes(settings)}
        try:
            self._client.connect(settings.host, settings.broker_port, settings.keepalive_s, **more)
        except OSError as error:
            raise connect_fault(error, settings) from error

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for these with QoS 1; a broker that keeps the session is told what it knows already."""
        if self.version == "5":
            self._client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in topics])
        else:
            self._client.subscribe([(topic, 1) for topic in topics])

    def publish(self, topic: str, body: bytes, *, retain: bool) -> int:
        """Hand over one message with QoS 1; returns the number that `on_published` will carry."""
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
        if self._fault:
            return self._fault
        words = self._last_words.words
        if not self.accepted:
            hint = "; does it know this centre's certificate?" if self._settings.tls else ""
            return LinkDown(f"the broker hung up before it accepted the connection{hint}", wrong_version=True)
        why = f" ({words})" if words else ""
        return LinkDown(
            f"the connection broke{why}; if this repeats, look for a second client with the id "
            f"{self._settings.client_id!r}"
        )

    def check_alive(self) -> None:
        """Raise LinkDown when nothing has come for 1.5 x keepalive: half-open TCP reports nothing itself."""
        keepalive = self._client.keepalive  # the broker may have chosen another one, 0 for none
        if self._monotonic() - self._heard_at > (1.5 * keepalive or math.inf):
            raise LinkDown(f"nothing has come from the broker for {1.5 * keepalive:.0f} s; check the network")

    def leave(self) -> None:
        """Say DISCONNECT; the broker keeps the session."""
        self._client.disconnect()

    def close(self) -> None:
        """Drop the socket."""
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
            self._fault = LinkDown("the broker offers QoS 0 only; use another", lasting=True)
            return
        self.window = min(_WINDOW_MAX, getattr(properties, "ReceiveMaximum", _NO_RECEIVE_MAXIMUM))
        self.accepted = True

    def _disconnected(
        self, _c: Client, _u: object, flags: DisconnectFlags, reason: ReasonCode, _p: object
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._fault = refusal("the broker closed the connection", reason)

    def _published(self, _c: Client, _u: object, mid: int, _reason: ReasonCode, _p: object) -> None:
        # A receipt that the broker refuses is answered for by the next one; the gate asks every minute.
        self._on_published(mid)

    def _arrived(self, _c: Client, _u: object, message: MQTTMessage) -> None:
        mid = message.mid if message.qos else None
        try:
            topic = message.topic
        except UnicodeDecodeError:  # paho decodes it only here
            topic = ""
        self._on_packet(Packet(topic, bytes(message.payload), message.retain, mid))

    def _subscribed(self, _c: Client, _u: object, _mid: int, reasons: list[ReasonCode], _p: object) -> None:
        for reason in reasons:
            if reason.is_failure:
                self._fault = refusal("the broker refused a subscription", reason)


def _wishes(settings: BrokerSettings) -> Properties:
    """Build what a broker is told with CONNECT (MQTT 5.0, 3.1.2.11)."""
    wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho does not annotate it
    wishes.SessionExpiryInterval = settings.session_s
    wishes.ReceiveMaximum = settings.receive_maximum
    wishes.MaximumPacketSize = PACKET_BYTES_MAX
    return wishes
