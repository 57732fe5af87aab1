"""Documents over the connection of the records: what comes in, what is left out, and that records go on."""

import itertools
import logging
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pytest import LogCaptureFixture, mark

from gate.sinks.mqtt import MqttSettings, MqttSink, topic_prefix
from tests.brokers import (
    HOST,
    PUBLISH,
    AmqttBroker,
    MemoryOutbox,
    StrictBroker,
    _HangUpError,
    _StrictSession,
    running,
    wait_for,
)

PREFIX = topic_prefix("county", "north-1")
RISK, RESIDENTS = "hg/1/county/doc/risk_areas/centre", "hg/1/county/doc/residents/centre"
TOO_LARGE = b"x" * (512 * 1024 + 1)
SUBACK, SUBSCRIBE, UNSUBSCRIBE = 9, 8, 10


class DocumentBroker(StrictBroker):
    """A strict broker that also answers subscriptions, and can misbehave in what it sends.

    `retained` (topic to payload) follows the SUBACK, whose `suback` code may be a refusal; `on_subscribe` is
    sent raw instead of both, and "hang up" hangs up. `unasked` is sent raw after the CONNACK, `ahead` before
    every bundle of acknowledgements. `drips`: those who have subscribed get a document now and then, and no
    acknowledgement.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.retained: dict[str, bytes] = {}
        self.suback = 1
        self.on_subscribe: bytes | None = None
        self.unasked = b""
        self.ahead = b""
        self.drips = False
        self.asked: list[str] = []
        self.unsubscribed: list[str] = []
        self.limits: bytes = b""
        self.pubacks: list[int] = []
        self.session: DocumentSession | None = None

    def _serve(self, sock: socket.socket) -> None:
        self.session = DocumentSession(self, sock)
        with sock:
            try:
                self.session.run()
            except (OSError, _HangUpError):
                return

    def push(self, topic: str, payload: bytes) -> None:
        """Publish live, to the newest connection."""
        assert self.session
        self.session.publish(topic, payload)


class DocumentSession(_StrictSession):
    """One connection of a DocumentBroker."""

    _broker: DocumentBroker
    _subscribed = False

    def _handle(self, kind: int, flags: int, body: bytes) -> None:
        if kind == SUBSCRIBE:
            self._answer_subscribe(body)
        elif kind == UNSUBSCRIBE:
            self._broker.unsubscribed.append(_filter(body, self._version))
        elif kind == 4:
            self._broker.pubacks.append(struct.unpack_from("!H", body)[0])
        else:
            super()._handle(kind, flags, body)

    def _greet(self, body: bytes) -> None:
        super()._greet(body)
        self._broker.limits = body[10:]
        self._sock.sendall(self._broker.unasked)

    def _answer_subscribe(self, body: bytes) -> None:
        self._broker.asked.append(_filter(body, self._version))
        self._subscribed = True
        if self._broker.on_subscribe == b"hang up":
            raise _HangUpError
        if self._broker.on_subscribe is not None:
            self._sock.sendall(self._broker.on_subscribe)
            return
        properties = b"\x00" if self._version == 5 else b""
        self._sock.sendall(_framed(SUBACK << 4, body[:2] + properties + bytes([self._broker.suback])))
        for topic, payload in self._broker.retained.items():
            self.publish(topic, payload)

    def publish(self, topic: str, payload: bytes) -> None:
        self._sock.settimeout(None)
        self._sock.sendall(published(topic, payload, self._version))

    def _acknowledge(self) -> None:
        if self._broker.drips and self._subscribed:
            threading.Event().wait(0.2)
            self.publish(RISK, b"drip")
            return
        self._sock.settimeout(None)
        self._sock.sendall(self._broker.ahead)
        super()._acknowledge()


def published(topic: str, payload: bytes, version: int = 5, qos: int = 1, mid: int = 7) -> bytes:
    name = topic.encode()
    head = struct.pack("!H", len(name)) + name + (struct.pack("!H", mid) if qos else b"")
    return _framed(PUBLISH << 4 | qos << 1, head + (b"\x00" if version == 5 else b"") + payload)


def _framed(first: int, body: bytes) -> bytes:
    return bytes([first]) + _length(len(body)) + body


def _length(length: int) -> bytes:
    """Encode a variable byte integer (MQTT 5.0, 1.5.5)."""
    parts = bytearray()
    while length > 127:
        parts.append(length & 127 | 128)
        length >>= 7
    return bytes([*parts, length])


def _filter(body: bytes, version: int) -> str:
    at = 3 if version == 5 else 2
    length = struct.unpack_from("!H", body, at)[0]
    return body[at + 2 : at + 2 + length].decode()


class LeapingClock:
    """The monotonic clock, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


def leap(clock: LeapingClock, sink: MqttSink, ahead_s: float) -> None:
    """Put the clock forward, and have the sink look at it: it sleeps by the real one."""
    clock.ahead_s = ahead_s
    sink.notify()


def a_sink(
    port: int,
    outbox: MemoryOutbox,
    on_document: Callable[[bytes], None] | None,
    monotonic: Callable[[], float] = time.monotonic,
    **settings: Any,
) -> MqttSink:
    given = {"host": HOST, "topic_prefix": PREFIX, "client_id": "north-1", "answer_timeout_s": 2.0}
    return MqttSink(
        MqttSettings(port=port, **{**given, **settings}),
        outbox,
        state=dict,
        on_document=on_document,
        monotonic=monotonic,
        uniform=lambda low, high: min(high, 0.05) if low == 0 else low,
    )


def wait_delivered(sink: MqttSink, outbox: MemoryOutbox) -> None:
    wait_for(
        lambda: sink.status().acknowledged == outbox.head().seq, 8, f"{outbox.head().seq} acknowledgements"
    )


def complaint(sink: MqttSink, words: str) -> Callable[[], bool]:
    return lambda: words in (sink.status().last_error or "")


@mark.parametrize("version_reply", ["", "0x84"], ids=["5", "3.1.1"])
def test_what_is_retained_comes_on_every_connection_and_what_is_new_comes_live(version_reply: str) -> None:
    documents: list[bytes] = []
    outbox = MemoryOutbox(30)
    with DocumentBroker(version_reply=version_reply) as broker:
        broker.retained = {RISK: b"risk \x00\xff 1", RESIDENTS: b"residents 1"}
        with running(a_sink(broker.port, outbox, documents.append)) as sink:
            wait_for(lambda: documents == [b"risk \x00\xff 1", b"residents 1"], 3, "what is retained")
            broker.push(RISK, b"risk 2")
            wait_for(lambda: documents[2:] == [b"risk 2"], 3, "what is new")
            wait_for(lambda: len(broker.pubacks) == 3, 3, "the acknowledgement of each")
            broker.hang_up()
            wait_for(lambda: documents[3:] == documents[:2], 3, "what is retained, once more")
            wait_delivered(sink, outbox)
            assert sink.status().reconnects == 1
        assert broker.asked == ["hg/1/county/doc/#"] * 2


def test_without_anybody_to_take_documents_none_are_asked_for() -> None:
    outbox = MemoryOutbox(5)
    with DocumentBroker() as broker:
        broker.unasked = published(RISK, b"risk")
        with running(a_sink(broker.port, outbox, None)) as sink:
            wait_delivered(sink, outbox)
        assert broker.asked == []


@mark.parametrize("version_reply", ["", "0x84"], ids=["5", "3.1.1"])
def test_the_largest_is_taken_and_what_is_larger_is_dropped_and_named_once(
    caplog: LogCaptureFixture, version_reply: str
) -> None:
    documents: list[bytes] = []
    with DocumentBroker(version_reply=version_reply) as broker:
        broker.retained = {RISK: TOO_LARGE, RESIDENTS: TOO_LARGE[1:]}
        with running(a_sink(broker.port, MemoryOutbox(5), documents.append)) as sink:
            wait_for(lambda: documents == [TOO_LARGE[1:]], 5, "the largest that is allowed")
            broker.push(RISK, TOO_LARGE)
            broker.push(RISK, b"small")
            wait_for(lambda: documents[1:] == [b"small"], 5, "the next")
            assert complaint(sink, "document 'risk_areas/centre' is larger than 524288 bytes")()
            assert sink.status().reconnects == 0
    assert len([r for r in caplog.records if "is larger than 524288 bytes" in r.message]) == 1


@mark.parametrize(
    "topic",
    [
        "hg/1/county/doc",
        "hg/1/county/docs/risk_areas",
        "hg/1/county/north-1/ev",
        "hg/1/other/doc/risk_areas",
        "x/hg/1/county/doc/risk_areas",
    ],
)
def test_other_topics_are_ignored(topic: str) -> None:
    documents: list[bytes] = []
    with DocumentBroker() as broker, running(a_sink(broker.port, MemoryOutbox(), documents.append)):
        broker.retained = {topic: b"no document", RISK: b"risk"}
        wait_for(lambda: documents, 3, "a document")
        assert documents == [b"risk"]


def test_the_deletion_of_a_retained_document_is_no_document() -> None:
    documents: list[bytes] = []
    with DocumentBroker() as broker:
        broker.retained = {RISK: b"", RESIDENTS: b"residents"}
        with running(a_sink(broker.port, MemoryOutbox(), documents.append)):
            wait_for(lambda: documents, 3, "a document")
    assert documents == [b"residents"]


@mark.parametrize(
    ("version_reply", "code", "words"), [("", 0x87, "not authorized"), ("0x84", 0x80, "unspecified error")]
)
def test_a_refused_subscription_is_said_and_records_go_on(version_reply: str, code: int, words: str) -> None:
    outbox, clock, documents = MemoryOutbox(30), LeapingClock(), []
    with DocumentBroker(version_reply=version_reply) as broker:
        broker.suback = code
        sink = a_sink(broker.port, outbox, documents.append, clock, keepalive_s=6000)
        with running(sink):
            wait_for(complaint(sink, f"refused the subscription to documents: {words}"), 3, "the refusal")
            outbox.add(30)
            sink.notify()
            wait_delivered(sink, outbox)
            broker.suback, broker.retained = 1, {RISK: b"risk"}
            leap(clock, sink, 59)
            outbox.add(1)
            sink.notify()
            wait_delivered(sink, outbox)
            assert len(broker.asked) == 1
            leap(clock, sink, 61)
            wait_for(lambda: documents == [b"risk"], 3, "a document after the second question")
            assert sink.status().reconnects == 0
        assert broker.bodies() == outbox.bodies()


def test_a_broker_that_hangs_up_on_the_subscription_still_gets_the_records() -> None:
    outbox, clock, documents = MemoryOutbox(300), LeapingClock(), []
    with DocumentBroker() as broker:
        broker.on_subscribe = b"hang up"
        with running(a_sink(broker.port, outbox, documents.append, clock, keepalive_s=6000)) as sink:
            wait_for(complaint(sink, "connections break when documents are asked for"), 5, "the suspicion")
            wait_delivered(sink, outbox)
            assert sink.status().reconnects == 2
            assert len(broker.asked) == 2
            broker.on_subscribe, broker.retained = None, {RISK: b"risk"}
            leap(clock, sink, 61)
            wait_for(lambda: documents == [b"risk"], 3, "a document a minute later")
        assert list(dict.fromkeys(broker.bodies())) == outbox.bodies()


GARBAGE = {
    "QoS 2": published(RISK, b"risk", qos=2),
    "QoS 3": published(RISK, b"risk", qos=3),
    "a topic longer than its packet": _framed(PUBLISH << 4, b"\xff\xffhg"),
    "an empty publication": _framed(PUBLISH << 4, b""),
    "a length without end": bytes([PUBLISH << 4]) + b"\xff" * 6,
    "an unknown reason": _framed(SUBACK << 4, b"\x00\x01\x00\x7e"),
    "noise": b"\xff\x0a" + random.Random(1).randbytes(300),
}


@mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_in_answer_to_the_subscription_costs_two_connections(garbage: bytes) -> None:
    outbox = MemoryOutbox(100)
    with DocumentBroker() as broker:
        broker.on_subscribe = garbage
        with running(a_sink(broker.port, outbox, lambda _: None)) as sink:
            wait_for(complaint(sink, "connections break when documents are asked for"), 5, "the suspicion")
            wait_delivered(sink, outbox)
            assert sink.status().reconnects == 2
        assert list(dict.fromkeys(broker.bodies())) == outbox.bodies()


HARMLESS = {
    "an unknown property": _framed(PUBLISH << 4, b"\x00\x04hg/1\x02\x7f\x00risk"),
    "a property that paho does not take": _framed(
        PUBLISH << 4, b"\x00\x04hg/1\x0b\x26\x00\x01a\x00\x05\xef\xbb\xbfbbrisk"
    ),
    "a topic that is no text": _framed(PUBLISH << 4, b"\x00\x02\xff\xfe\x00risk"),
    "a SUBACK without a code": _framed(SUBACK << 4, b"\x00\x63\x00"),
    "a SUBACK nobody waits for": _framed(SUBACK << 4, b"\x00\x63\x00\x01"),
    "an UNSUBACK": _framed(11 << 4, b"\x00\x63\x00\x00"),
    "a PUBACK for nothing": b"\x40\x02\x63\x63",
    "a document before it is asked for": published(RISK, b"risk"),
    "a document with QoS 0": published(RISK, b"risk", qos=0),
}


@mark.parametrize("unasked", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_nobody_asked_for_changes_nothing(unasked: bytes) -> None:
    outbox, documents = MemoryOutbox(30), []
    with DocumentBroker() as broker:
        broker.unasked, broker.retained = unasked, {RESIDENTS: b"residents"}
        with running(a_sink(broker.port, outbox, documents.append)) as sink:
            wait_delivered(sink, outbox)
            wait_for(lambda: b"residents" in documents, 3, "the document that was asked for")
            assert sink.status().reconnects == 0
            assert sink.status().last_error is None


def test_a_message_that_is_too_large_by_far_is_read_past_and_named() -> None:
    outbox, documents = MemoryOutbox(30), []
    with DocumentBroker() as broker:
        broker.retained = {RISK: b"x" * (3 << 20), RESIDENTS: b"residents"}
        with running(a_sink(broker.port, outbox, documents.append)) as sink:
            wait_delivered(sink, outbox)
            wait_for(lambda: b"residents" in documents, 3, "the document that was asked for")
            assert sink.status().reconnects == 0
            assert "is larger than" in (sink.status().last_error or "")
    assert documents == [b"residents"]


def test_the_broker_is_told_how_much_may_come_at_once() -> None:
    with DocumentBroker() as broker, running(a_sink(broker.port, MemoryOutbox(), lambda _: None)) as sink:
        wait_for(lambda: sink.status().connected, 3, "a connection")
        # Receive Maximum 10 and Maximum Packet Size 1 MiB (MQTT 5.0, 3.1.2.11.3 and 3.1.2.11.4)
        assert b"\x21\x00\x0a" in broker.limits
        assert b"\x27\x00\x10\x00\x00" in broker.limits


@mark.parametrize("size", [10, 10_000, 512 * 1024])
def test_a_flood_ahead_of_the_acknowledgements_stops_no_record(caplog: LogCaptureFixture, size: int) -> None:
    flood = b"".join(
        published(f"{RISK}/{n}", b"x" * size, qos=n % 2) for n in range(12 if size > 10 else 500)
    )
    outbox, clock, documents = MemoryOutbox(300), LeapingClock(), []
    with DocumentBroker() as broker:
        broker.ahead = flood
        with running(a_sink(broker.port, outbox, documents.append, clock, keepalive_s=600)) as sink:
            wait_delivered(sink, outbox)
            assert len(documents) == 100
            wait_for(lambda: broker.unsubscribed == ["hg/1/county/doc/#"], 3, "UNSUBSCRIBE")
            assert sink.status().reconnects == 0
            broker.ahead, broker.retained = b"", {RISK: b"risk"}
            leap(clock, sink, 61)
            wait_for(lambda: documents[100:] == [b"risk"], 3, "what is retained a minute later")
        assert broker.bodies() == outbox.bodies()
    assert len([r for r in caplog.records if "more than 100 documents within 10 s" in r.message]) == 1


def test_documents_that_keep_acknowledgements_waiting_are_left_out() -> None:
    outbox, documents = MemoryOutbox(30), []
    with DocumentBroker() as broker:
        broker.drips = True
        with running(a_sink(broker.port, outbox, documents.append, keepalive_s=2)) as sink:
            wait_delivered(sink, outbox)
            assert sink.status().reconnects == 1
        assert documents
        assert broker.asked == ["hg/1/county/doc/#"]


def test_a_consumer_that_fails_stops_neither_records_nor_later_documents(caplog: LogCaptureFixture) -> None:
    outbox, documents = MemoryOutbox(30), []

    def consume(document: bytes) -> None:
        if document == b"risk":
            raise RuntimeError("no room")
        documents.append(document)

    with DocumentBroker() as broker:
        broker.retained = {RISK: b"risk", RESIDENTS: b"residents"}
        with running(a_sink(broker.port, outbox, consume)) as sink:
            wait_for(lambda: documents == [b"residents"], 3, "the other document")
            wait_delivered(sink, outbox)
            assert sink.status().reconnects == 0
    assert [r.levelno for r in caplog.records if "RuntimeError: no room" in r.message] == [logging.ERROR]


@contextmanager
def amqtt_with_centre(folder: Path, *allowed: str) -> Iterator[tuple[AmqttBroker, Client]]:
    """Run amqtt with a client that publishes; `allowed` limits what may be subscribed to."""
    amqtt = AmqttBroker(folder, "north-1", "secret")
    if allowed:
        acl = {"acl": {"north-1": list(allowed)}}
        amqtt._config["plugins"]["amqtt.plugins.topic_checking.TopicAccessControlListPlugin"] = acl
    with amqtt as broker:
        centre = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        centre.username_pw_set("north-1", "secret")
        centre.connect(HOST, broker.port)
        centre.loop_start()
        try:
            yield broker, centre
        finally:
            centre.disconnect()
            centre.loop_stop()


LOGIN = {"username": "north-1", "password": "secret", "protocol": "3.1.1"}


def publish(centre: Client, topic: str, payload: bytes) -> None:
    centre.publish(topic, payload, qos=1, retain=True).wait_for_publish(5)


def test_amqtt_brings_what_is_retained_and_what_is_new(tmp_path: Path) -> None:
    outbox, documents = MemoryOutbox(50), []
    with amqtt_with_centre(tmp_path) as (broker, centre):
        publish(centre, RISK, b"risk 1")
        publish(centre, "hg/1/other/doc/risk_areas", b"for others")
        publish(centre, RESIDENTS, TOO_LARGE)
        with running(a_sink(broker.port, outbox, documents.append, **LOGIN)) as sink:
            wait_for(lambda: documents == [b"risk 1"], 5, "what is retained")
            publish(centre, RISK, b"risk 2")
            wait_for(lambda: documents[1:] == [b"risk 2"], 5, "what is new")
            wait_delivered(sink, outbox)
            wait_for(complaint(sink, "'residents/centre' is larger"), 5, "what is too large")
            sink._link._client.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]  # the network breaks
            wait_for(lambda: documents[2:] == [b"risk 2"], 5, "what is retained, once more")


def test_amqtt_refuses_the_subscription_and_takes_the_records(tmp_path: Path) -> None:
    outbox, documents = MemoryOutbox(50), []
    with amqtt_with_centre(tmp_path, "hg/1/county/north-1/#") as (broker, centre):
        publish(centre, RISK, b"risk 1")
        with running(a_sink(broker.port, outbox, documents.append, **LOGIN)) as sink:
            wait_for(complaint(sink, "refused the subscription to documents"), 5, "the refusal")
            wait_delivered(sink, outbox)
            assert sink.status().reconnects == 0
    assert documents == []


def test_amqtt_with_many_documents_takes_all_records(tmp_path: Path) -> None:
    outbox, documents = MemoryOutbox(0), []
    with amqtt_with_centre(tmp_path) as (broker, centre):
        with running(a_sink(broker.port, outbox, documents.append, **LOGIN)) as sink:
            publish(centre, RISK, b"risk")
            wait_for(lambda: documents, 5, "the subscription")
            flood = [centre.publish(f"{RISK}/{n % 7}", b"%d" % n, qos=1) for n in range(400)]
            for _ in itertools.repeat(None, 5):
                outbox.add(20)
                sink.notify()
            wait_delivered(sink, outbox)
            flood[-1].wait_for_publish(10)
            wait_for(complaint(sink, "more than 100 documents"), 5, "the limit")
            assert sink.status().reconnects == 0
        assert len(documents) == 100
