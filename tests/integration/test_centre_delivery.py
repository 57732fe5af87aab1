"""Receipts through a real Mosquitto, in both versions of MQTT: what it loses is sent again."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pytest import MonkeyPatch, fixture, mark

from gate.core.delivery import Ask
from gate.sinks.mqtt import MqttSettings, MqttSink, topic_prefix
from tests.brokers import HOST, FreezingProxy, MemoryOutbox, Mosquitto, running, wait_for
from tests.centre import GATE, SITE, Heard, SmallCentre

pytestmark = mark.apart

PREFIX = topic_prefix(SITE, GATE)
PROTOCOLS = ["5", "3.1.1"]


@fixture(autouse=True)
def _quick_checkpoints(monkeypatch: MonkeyPatch) -> None:
    """Let it all follow sooner; the real pace is for `test_checkpoints` and `test_by_receipt`."""
    monkeypatch.setattr("gate.sinks.checkpoints.APART_S", 0.1)
    monkeypatch.setattr("gate.sinks.by_receipt.ASKS_APART_S", 1.0)


class CentreClient:
    """The small centre as a client of a broker; its receipts are retained unless they ask for something.

    Like a centre that is careful it asks for records again when a checkpoint says more than it has.
    """

    def __init__(self, port: int, centre: SmallCentre | None = None) -> None:
        self.centre = centre or SmallCentre()
        self._prefix = topic_prefix(self.centre.site, self.centre.gate)
        self._port = port
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.max_inflight_messages = 1000
        self._client.on_connect = lambda client, *_: client.subscribe(f"{self._prefix}/#", qos=1)
        self._client.on_message = lambda _c, _u, message: self._take(message.topic, message.payload)

    def _take(self, topic: str, payload: bytes) -> None:
        leaf = topic.removeprefix(f"{self._prefix}/")
        for receipt in self.centre.take(leaf, payload) if payload else ():
            self.says(receipt)
        if leaf != "checkpoint":
            return
        stated = self.centre.checkpoints[-1]
        stream = self.centre.stream(stated.epoch)
        if stated.size > stream.linked:
            asking = self.centre.receipt(stated.epoch, upto=stream.proved, ask=Ask.RECORDS)
            self.says(asking, retain=False)

    def says(self, receipt: bytes, *, retain: bool = True) -> None:
        self._client.publish(f"{self._prefix}/receipt", receipt, qos=1, retain=retain)

    def publish(self, leaf: str, body: bytes, *, retain: bool) -> None:
        self._client.publish(f"{self._prefix}/{leaf}", body, qos=1, retain=retain).wait_for_publish(5)

    def _connects(self) -> bool:
        with contextlib.suppress(OSError):
            self._client.connect(HOST, self._port)
            return True
        return False

    def __enter__(self) -> Self:
        wait_for(self._connects, 5, "the broker to listen")
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def a_sink(port: int, outbox: MemoryOutbox, heard: Heard | None = None, **settings: Any) -> MqttSink:
    given = {"host": HOST, "topic_prefix": PREFIX, "client_id": "north-1", **settings}
    return MqttSink(
        MqttSettings(port=port, **given),
        outbox,
        state=dict,
        centre=(heard or Heard()).centre(),
        uniform=lambda _, high: min(high, 0.05),
    )


def receipted(sink: MqttSink, outbox: MemoryOutbox) -> Callable[[], bool]:
    return lambda: sink.status().acknowledged == outbox.head().seq


@contextlib.contextmanager
def growing(outbox: MemoryOutbox, sink: MqttSink) -> Iterator[Callable[[int], None]]:
    """Yield what adds records as a gate does that goes on serving."""

    def grow(records: int) -> None:
        outbox.add(records)
        sink.notify()

    yield grow


@mark.parametrize("protocol", PROTOCOLS)
def test_everything_is_receipted_although_the_broker_is_killed_again_and_again(
    tmp_path: Path, protocol: str
) -> None:
    outbox = MemoryOutbox(5000)
    outbox.sealed_bytes = {seq: b"sealed %d" % seq for seq in range(1, 5000, 500)}
    with Mosquitto(tmp_path) as broker, CentreClient(broker.port) as client:
        with running(a_sink(broker.port, outbox, protocol=protocol)) as sink:
            for part in (500, 3000):
                wait_for(lambda part=part: len(client.centre.stream().bodies) > part, 8, f"{part} records")
                broker.kill()
                outbox.add(10)
                sink.notify()
                broker.start()
            wait_for(receipted(sink, outbox), 30, "receipts for everything")
            assert sink.status().reconnects >= 2
        assert client.centre.bodies() == outbox.bodies()
        assert client.centre.stream().sealed == outbox.sealed_bytes
        assert outbox.acknowledged() == 5020


@mark.parametrize("protocol", PROTOCOLS)
def test_what_the_broker_has_acknowledged_while_no_centre_was_there_is_not_lost(
    tmp_path: Path, protocol: str
) -> None:
    outbox = MemoryOutbox(300)
    with Mosquitto(tmp_path) as broker, running(a_sink(broker.port, outbox, protocol=protocol)) as sink:
        wait_for(lambda: sink._delivery._all_sent() and sink._window.empty(), 5, "300 acknowledgements")
        assert sink.status().acknowledged == 0
        with CentreClient(broker.port) as client:  # it finds the retained checkpoint, and asks
            wait_for(receipted(sink, outbox), 8, "receipts for everything")
            assert client.centre.bodies() == outbox.bodies()
        assert sink.status().reconnects == 0


@mark.parametrize("protocol", PROTOCOLS)
def test_a_retained_receipt_is_there_on_the_next_connection(tmp_path: Path, protocol: str) -> None:
    outbox = MemoryOutbox(300)
    with Mosquitto(tmp_path) as broker:
        with (
            CentreClient(broker.port) as client,
            running(a_sink(broker.port, outbox, protocol=protocol)) as s,
        ):
            wait_for(receipted(s, outbox), 8, "receipts for everything")
        assert client.centre.checkpoints
        forgetful = MemoryOutbox(300)  # the receipt never reached it
        with running(a_sink(broker.port, forgetful, protocol=protocol)) as sink:
            wait_for(receipted(sink, forgetful), 5, "the retained receipt")


def test_a_frozen_connection_loses_nothing_and_its_receipts_come_later(tmp_path: Path) -> None:
    outbox, keepalive_s = MemoryOutbox(50), 2
    with (
        Mosquitto(tmp_path) as broker,
        CentreClient(broker.port) as client,
        FreezingProxy(broker.port) as proxy,
        running(a_sink(proxy.port, outbox, keepalive_s=keepalive_s, answer_timeout_s=1.0)) as sink,
        growing(outbox, sink) as grow,
    ):
        wait_for(receipted(sink, outbox), 5, "receipts for the first")
        proxy.freeze()
        frozen_at = time.monotonic()
        grow(500)
        wait_for(lambda: not sink.status().connected, 1.5 * keepalive_s + 1, "the freeze to be noticed")
        assert time.monotonic() - frozen_at <= 1.5 * keepalive_s + 0.5
        assert sink.status().acknowledged == 50
        proxy.thaw()
        wait_for(receipted(sink, outbox), 8, "receipts for everything")
        assert client.centre.bodies() == outbox.bodies()


@mark.parametrize("protocol", PROTOCOLS)
def test_commands_say_whether_they_were_retained(tmp_path: Path, protocol: str) -> None:
    heard = Heard()
    with Mosquitto(tmp_path) as broker, CentreClient(broker.port) as client:
        client.publish("cmd", b"old", retain=True)
        with running(a_sink(broker.port, MemoryOutbox(), heard, protocol=protocol)):
            wait_for(lambda: heard.commands == [(b"old", True)], 5, "what is retained")
            client.publish("cmd", b"new", retain=False)
            wait_for(lambda: heard.commands[1:] == [(b"new", False)], 5, "what is new")


def test_another_gate_under_the_same_identity_is_noticed(tmp_path: Path) -> None:
    """The state folder was copied: two ledgers of one epoch, each growing by itself."""
    first, second, heard = MemoryOutbox(50), MemoryOutbox(50), Heard()
    second._bodies[49] = second._bodies[49].replace(b"xxx", b"yyy")
    with Mosquitto(tmp_path) as broker, CentreClient(broker.port):
        with running(a_sink(broker.port, first)) as sink:
            wait_for(receipted(sink, first), 8, "receipts for the first")
        with running(a_sink(broker.port, second, heard)):
            wait_for(lambda: heard.disagreed, 5, "the disagreement")
        assert heard.disagreed == [(50, "the centre holds another record in that place")]
