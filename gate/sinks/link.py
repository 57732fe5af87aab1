"""One MQTT connection: from CONNECT to its end, and in plain words why it ended.

paho's client is driven through its external-loop interface by the one thread that owns the connection, so
an exception anywhere, also in a callback, surfaces in `Link.pump`. (paho's own network thread dies of it
silently and goes on reporting success: eclipse-paho/paho.mqtt.python issue 894.)
"""

import contextlib
import json
import logging
import math
import re
import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

ProtocolVersion = Literal["5", "3.1.1"]

WINDOW_MAX = 20
PACKET_BYTES_MAX = 1 << 20
_INCOMING_MAX = 10
_FORGET_FALLBACK_S = 600.0
_DOCUMENTS = "doc"
_NO_RECEIVE_MAXIMUM = 65535  # MQTT 5.0, 3.2.2.3.3: the value when the broker names none
_NO_PACKET_MAXIMUM = 268_435_455  # MQTT 5.0, 3.2.2.3.6 and 2.1.4: what the protocol itself allows


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files in PEM form; without `ca_file` the system's authorities are trusted."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Where and as whom to deliver.

    `keepalive_s` 2 to 65535: a dead connection is noticed within 1.5 times this. `window`: 1 to 20 messages
    under way. `answer_timeout_s`: how long a broker may take to accept a connection. ValueError when out of
    range.
    """

    host: str
    topic_prefix: str
    client_id: str
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    keepalive_s: int = 30
    window: int = WINDOW_MAX
    tls: TlsSettings | None = None
    answer_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        parts = self.topic_prefix.split("/")
        if len(parts) != 4 or self.topic_prefix != topic_prefix(*parts[2:]):
            raise ValueError(f"topic prefix {self.topic_prefix!r} is not hg/1/<site>/<gate>")
        if not self.client_id:
            raise ValueError("the client id is empty")
        if not 2 <= self.keepalive_s <= 65535:
            raise ValueError(f"keepalive_s = {self.keepalive_s} is outside 2 to 65535")
        if not 1 <= self.window <= WINDOW_MAX:
            raise ValueError(f"window = {self.window} is outside 1 to {WINDOW_MAX}")

    @property
    def broker_port(self) -> int:
        """The configured port, or the standard one: 8883 with TLS, 1883 without (IANA)."""
        return self.port or (8883 if self.tls else 1883)

    @property
    def document_prefix(self) -> str:
        """What all topics of documents start with: they are for a whole site, `hg/1/<site>/doc/`."""
        return f"{self.topic_prefix.rpartition('/')[0]}/{_DOCUMENTS}/"


def topic_prefix(site: str, gate: str) -> str:
    """Return the prefix of all topics of one gate.

    Ids are 1 to 32 of A-Z a-z 0-9 _ -, and no gate is called "doc", else ValueError.
    """
    for name in (site, gate):
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name, re.ASCII):
            raise ValueError(f"{name!r} cannot be part of a topic: use 1 to 32 of A-Z a-z 0-9 _ -")
    if gate == _DOCUMENTS:
        raise ValueError(
            f"a gate cannot be called {gate!r}: the documents of its site travel under that name"
        )
    return f"hg/1/{site}/{gate}"


class Destination(Protocol):
    """Where a connection goes, as far as it is told when none comes about."""

    @property
    def host(self) -> str:
        """The broker's name or address."""

    @property
    def broker_port(self) -> int:
        """Its port."""

    @property
    def tls(self) -> TlsSettings | None:
        """The files for TLS; None without it."""


class LinkDown(Exception):  # noqa: N818 - an operating fact with words for people, not an error of the program
    """One connection is over.

    A `lasting` fault waits for a person; `wrong_version` suggests that the other protocol version may work.
    """

    def __init__(self, words: str, *, lasting: bool = False, wrong_version: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.lasting = lasting
        self.wrong_version = wrong_version


# Reason codes of CONNACK, PUBACK and DISCONNECT (MQTT 5.0, 2.4) that somebody can do something about.
_ADVICE = {
    0x85: "choose another client id",
    0x86: "check user name and password",
    0x87: "check user name, password and the broker's access list",
    0x8A: "the broker has banned this client; ask its operator",
    0x8C: "the broker wants another way to log in",
    0x8E: "another client uses the same client id; every gate needs its own",
    0x90: "the broker does not allow this topic",
    0x95: "a record is larger than the broker allows; raise its limit",
    0x97: "the broker's quota is used up; ask its operator",
    0x99: "the broker rejects the form of the record",
    0x9A: "the broker must allow retained messages",
}
_LASTING = frozenset({0x85, 0x86, 0x87, 0x8A, 0x8C, 0x90, 0x99, 0x9A})
_UNSUPPORTED_VERSION = 0x84
NO_MATCHING_SUBSCRIBERS = 0x10


def refusal(what: str, reason: ReasonCode) -> LinkDown:
    """Put a broker's reason code into words, with what to do."""
    advice = _ADVICE.get(reason.value)
    return LinkDown(
        f"{what}: {str(reason).lower()}" + (f"; {advice}" if advice else ""),
        lasting=reason.value in _LASTING,
        wrong_version=reason.value == _UNSUPPORTED_VERSION,
    )


# X509_V_ERR_* numbers of OpenSSL (openssl-verify man page, "Diagnostics").
_NOT_YET_VALID, _EXPIRED, _UNKNOWN_CA, _WRONG_NAME = 9, 10, frozenset({18, 19, 20, 21}), frozenset({62, 64})


def _certificate_words(error: ssl.SSLCertVerificationError, ca_file: Path | None) -> str:
    if error.verify_code == _EXPIRED:
        return "the broker's certificate has expired; renew it, or set this gate's clock"
    if error.verify_code == _NOT_YET_VALID:
        return "the broker's certificate is not valid yet; set this gate's clock"
    if error.verify_code in _UNKNOWN_CA:
        return f"the broker's certificate is not signed by an authority in {ca_file or 'the system store'}"
    if error.verify_code in _WRONG_NAME:
        return "the broker's certificate is for another host name; use the name that it carries"
    return f"the broker's certificate is not accepted: {error.verify_message}"


def connect_fault(error: OSError, settings: Destination) -> LinkDown:
    """Put into words why no connection came about, with what to do."""
    where = f"{settings.host}:{settings.broker_port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return LinkDown(
            _certificate_words(error, settings.tls.ca_file if settings.tls else None), lasting=True
        )
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError):  # perhaps it is only just going down
        return LinkDown(f"{where} broke off the TLS handshake; is this its TLS port?")
    if isinstance(error, ssl.SSLError):
        return LinkDown(f"TLS with {where} fails ({error.reason}); is this its TLS port?", lasting=True)
    if isinstance(error, socket.gaierror):
        return LinkDown(f"no address found for {settings.host!r}; check the host name and the name server")
    if isinstance(error, ConnectionRefusedError):
        return LinkDown(f"nothing listens at {where}; start the broker or check the port")
    if isinstance(error, TimeoutError):
        return LinkDown(f"{where} does not answer; check the network and the firewall")
    return LinkDown(f"cannot reach {where}: {error.strerror or error}; check the network")


class _TidySocket(ssl.SSLSocket):
    """A TLS socket that is closed when its handshake fails, which paho leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands as the parent does, but leave nothing open behind a failure."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return what these files are good for. Raises LinkDown."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:
        files = ", ".join(str(path) for path in (tls.ca_file, tls.cert_file, tls.key_file) if path)
        raise LinkDown(
            f"cannot use the TLS files {files}: {error.strerror or error}", lasting=True
        ) from error
    context.sslsocket_class = _TidySocket
    return context


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
    """A client that reads no packet of more than 1 MiB, where paho would take 256 MiB into memory.

    MQTT 3.1.1 has no way to tell the broker of a limit, and with MQTT 5 it may ignore ours.
    """

    def _sock_recv(self, bufsize: int) -> bytes:
        # paho (2.1 and 2.2 alike) asks here for all that is missing of a packet.
        if bufsize > PACKET_BYTES_MAX:
            raise LinkDown(f"the broker sends a packet of {bufsize} bytes; {PACKET_BYTES_MAX} are the limit")
        return super()._sock_recv(bufsize)


class Link:
    """One connection from CONNECT to its end, driven by one thread through `pump`.

    `on_message` gets the topic and payload of whatever the broker sends, asked for or not, and whether it was
    retained; `on_subscribed` gets the number of a `subscribe` and the answer to it. Both are called within
    `pump`. `receive_maximum` and `packet_bytes_max` are the broker's limits, known once it has `accepted`.
    """

    def __init__(
        self,
        settings: MqttSettings,
        version: ProtocolVersion,
        on_taken: Callable[[int, ReasonCode], None],
        monotonic: Callable[[], float],
        *,
        on_message: Callable[[str, bytes, bool], None] = lambda _topic, _payload, _retained: None,
        on_subscribed: Callable[[int, ReasonCode], None] = lambda _mid, _reason: None,
    ) -> None:
        self.version = version
        self.accepted = False
        self.receive_maximum = _NO_RECEIVE_MAXIMUM
        self.packet_bytes_max = _NO_PACKET_MAXIMUM
        self.heard_at = monotonic()
        self._settings = settings
        self._on_taken = on_taken
        self._hand_on = on_message
        self._on_subscribed = on_subscribed
        self._monotonic = monotonic
        self._fault: LinkDown | None = None
        self._last_words = LastWords()
        self._client = self._build(version)

    def _build(self, version: ProtocolVersion) -> Client:
        client = FrugalClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if version == "5" else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,  # or it would reconnect by itself with MQTT 3.1
        )
        client.max_inflight_messages = 0  # the window here is the only one
        client.connect_timeout = self._settings.answer_timeout_s
        if self._settings.username is not None:
            client.username_pw_set(self._settings.username, self._settings.password)
        client.will_set(f"{self._settings.topic_prefix}/state", state_body("lost", {}), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        words = logging.Logger("mqtt-client", logging.ERROR)
        words.addHandler(self._last_words)
        client.enable_logger(words)
        return client

    def open(self) -> None:
        """Connect and send CONNECT; `pump` until `accepted`. Raises LinkDown in words for people."""
        if self._settings.tls:
            self._client.tls_set_context(tls_context(self._settings.tls))
        settings, limits = self._settings, _limits() if self.version == "5" else None
        try:
            self._client.connect(settings.host, settings.broker_port, settings.keepalive_s, properties=limits)
        except OSError as error:
            raise connect_fault(error, self._settings) from error

    def publish(self, leaf: str, body: bytes, *, retain: bool) -> int:
        """Hand over one message with QoS 1; returns the number its acknowledgement will carry."""
        return self._client.publish(f"{self._settings.topic_prefix}/{leaf}", body, qos=1, retain=retain).mid

    def subscribe(self, topics: str) -> int:
        """Ask with QoS 1 for what is published under `topics`, what is retained first.

        Returns the number that the answer will carry.
        """
        _, mid = self._client.subscribe(topics, qos=1)
        return mid or 0

    def unsubscribe(self, topics: str) -> None:
        """Ask for no more; what is on its way still arrives."""
        self._client.unsubscribe(topics)

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
            self.heard_at = self._monotonic() if sock in readable else self.heard_at
            self._client.loop_read()
            self._refuse_excess()
        if writable:
            self._client.loop_write()
        self._client.loop_misc()
        if self._fault:
            raise self._fault
        self._sock()

    def _refuse_excess(self) -> None:
        """Keep a broker from filling the memory with messages of QoS 2, of which paho keeps any number."""
        if self._client._in_messages:  # noqa: SLF001 - there is no public way to see them
            raise LinkDown("the broker sends with QoS 2, which was not asked for")

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
            return LinkDown(
                f"the broker ended TLS ({words}); renew this gate's own certificate", lasting=True
            )
        if not self.accepted:
            # The alert that names a bad certificate is easily lost: TLS 1.3 sends it after our CONNECT.
            hint = "; does it know this gate's own certificate?" if self._settings.tls else ""
            return LinkDown(f"the broker hung up before it accepted the connection{hint}", wrong_version=True)
        why = f" ({words})" if words else ""
        return LinkDown(
            f"the connection broke{why}; if this repeats, look for a second client with the same id"
        )

    def silent_s(self) -> float:
        """Return how long nothing at all has come from the broker."""
        return self._monotonic() - self.heard_at

    def silence_allowed_s(self) -> float:
        """Return 1.5 x the keepalive in force: a ping is sent after one, its answer is due within the half.

        The broker may have chosen another keepalive than we asked for (MQTT 5.0, 3.2.2.3.14), 0 for none.
        """
        return 1.5 * self._client.keepalive or math.inf

    def leave(self) -> None:
        """Say DISCONNECT, so that the broker discards the last will."""
        self._client.disconnect()

    def close(self) -> None:
        """Drop the socket; without `leave` before it the broker publishes the last will."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        # The client and these bound methods hold each other; letting go frees it at once.
        self._client.on_connect = self._client.on_disconnect = self._client.on_publish = None
        self._client.on_message = self._client.on_subscribe = None

    def _on_connect(
        self,
        _client: Client,
        _userdata: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
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

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._fault = refusal("the broker closed the connection", reason)

    def _on_publish(
        self, _client: Client, _userdata: object, mid: int, reason: ReasonCode, _properties: object
    ) -> None:
        self._on_taken(mid, reason)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # paho decodes it only here
            return
        self._hand_on(topic, bytes(message.payload), message.retain)

    def _on_subscribe(
        self, _client: Client, _userdata: object, mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        for reason in reasons:
            self._on_subscribed(mid, reason)


def _limits() -> Properties:
    """Build what a broker is told of our limits (MQTT 5.0, 3.1.2.11.3 and 3.1.2.11.4).

    An acknowledgement of a record stands behind at most so much of what comes from the broker.
    """
    limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho does not annotate it
    limits.ReceiveMaximum = _INCOMING_MAX
    limits.MaximumPacketSize = PACKET_BYTES_MAX
    return limits


def state_body(state: str, facts: dict[str, object]) -> bytes:
    """Build a state message: `v` and `state` beside whatever facts the gate adds."""
    return json.dumps({**facts, "v": 1, "state": state}, ensure_ascii=False, separators=(",", ":")).encode()


def empty(wake: socket.socket) -> None:
    """Take what has gathered in a wake-up socket."""
    with contextlib.suppress(BlockingIOError):
        wake.recv(4096)
