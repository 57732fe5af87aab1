"""Delivery through a real Mosquitto: killed, frozen, locked, with certificates good and bad."""

import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pytest import LogCaptureFixture, mark, skip

from gate.sinks.mqtt import MqttSettings, MqttSink, TlsSettings, topic_prefix
from tests.brokers import (
    HOST,
    FreezingProxy,
    MemoryOutbox,
    Mosquitto,
    Subscriber,
    free_port,
    password_file,
    running,
    wait_for,
)
from tests.certificates import Authority

pytestmark = mark.apart

PREFIX = topic_prefix("county", "north-1")


def a_sink(
    port: int,
    outbox: MemoryOutbox,
    uniform: Callable[[float, float], float] = lambda _, high: min(high, 0.05),
    on_document: Callable[[bytes], None] | None = None,
    **given: Any,
) -> MqttSink:
    settings = {"host": HOST, "topic_prefix": PREFIX, "client_id": "north-1", **given}
    return MqttSink(
        MqttSettings(port=port, **settings), outbox, state=dict, on_document=on_document, uniform=uniform
    )


def the_error(sink: MqttSink) -> str:
    with running(sink):
        return str(wait_for(lambda: sink.status().last_error, 5, "an error"))


def drained(sink: MqttSink, outbox: MemoryOutbox) -> Callable[[], bool]:
    return lambda: sink.status().acknowledged == outbox.head().seq


@mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_killed_in_the_middle_costs_no_record(tmp_path: Path, protocol: str) -> None:
    outbox = MemoryOutbox(2000)
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:

        def kill_in_the_middle(count: int) -> None:
            if count == 700:
                broker.kill()

        # The proxy keeps the gate away until the subscriber is back: what a broker acknowledges while nobody
        # listens is gone, and only the centre's receipts will cure that.
        with FreezingProxy(broker.port) as proxy:
            subscriber.on_count = kill_in_the_middle
            with running(a_sink(proxy.port, outbox, protocol=protocol)) as sink:
                wait_for(
                    lambda: len(subscriber.messages) >= 700 and not sink.status().connected, 8, "the kill"
                )
                proxy.freeze()
                at_kill = sink.status().acknowledged
                assert 0 < at_kill < 2000
                broker.start()
                subscriber.wait_subscribed()
                proxy.thaw()
                wait_for(drained(sink, outbox), 10, "2000 records to be acknowledged")
                assert sink.status().reconnects >= 1
        wait_for(lambda: len(set(subscriber.bodies())) == 2000, 5, "2000 records at the subscriber")
        assert list(dict.fromkeys(subscriber.bodies())) == outbox.bodies()
        assert len(subscriber.bodies()) - 2000 <= 20, "no more is repeated than was under way"
        assert outbox.acknowledged() == 2000


def test_a_frozen_connection_is_noticed_and_all_arrives_after_the_thaw(tmp_path: Path) -> None:
    outbox, keepalive_s = MemoryOutbox(50), 2
    with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        FreezingProxy(broker.port) as proxy,
    ):
        with running(a_sink(proxy.port, outbox, keepalive_s=keepalive_s, answer_timeout_s=1.0)) as sink:
            wait_for(drained(sink, outbox), 5, "50 records to be acknowledged")
            proxy.freeze()
            frozen_at = time.monotonic()
            outbox.add(100)
            sink.notify()
            wait_for(lambda: not sink.status().connected, 1.5 * keepalive_s + 1, "the freeze to be noticed")
            assert time.monotonic() - frozen_at <= 1.5 * keepalive_s + 0.5
            assert sink.status().acknowledged == 50
            proxy.thaw()
            wait_for(drained(sink, outbox), 8, "the rest to be acknowledged")
        wait_for(lambda: len(set(subscriber.bodies())) == 150, 5, "150 records at the subscriber")


def test_an_idle_frozen_connection_is_noticed_too(tmp_path: Path) -> None:
    keepalive_s = 2
    with (
        Mosquitto(tmp_path) as broker,
        FreezingProxy(broker.port) as proxy,
        running(a_sink(proxy.port, MemoryOutbox(), keepalive_s=keepalive_s, answer_timeout_s=1.0)) as sink,
    ):
        wait_for(lambda: sink.status().connected, 5, "a connection")
        quiet_until = time.monotonic() + 1.5 * keepalive_s + 0.5
        wait_for(lambda: time.monotonic() > quiet_until, 10, "a while with nothing to send")
        assert sink.status().connected, "pings keep a good idle connection"
        assert sink.status().reconnects == 0
        proxy.freeze()
        frozen_at = time.monotonic()
        wait_for(lambda: not sink.status().connected, 1.5 * keepalive_s + 1, "the freeze to be noticed")
        assert time.monotonic() - frozen_at <= 1.5 * keepalive_s + 0.5
        wait_for(lambda: "silent" in (sink.status().last_error or ""), 2, "the reason to be named")
        proxy.thaw()


def test_the_state_is_retained_and_a_lost_gate_is_said_to_be_lost(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, FreezingProxy(broker.port) as proxy:

        def retained() -> str:
            with Subscriber(broker.port, f"{PREFIX}/state") as late:
                wait_for(lambda: late.messages, 3, "a retained state")
                return str(json.loads(late.messages[0][1])["state"])

        with running(a_sink(proxy.port, MemoryOutbox(1))) as sink:
            wait_for(lambda: sink.status().acknowledged == 1, 5, "a record to be acknowledged")
            assert retained() == "ready"
        assert retained() == "disconnected"

        with Subscriber(broker.port, f"{PREFIX}/#") as watcher:
            sink = a_sink(proxy.port, MemoryOutbox(1))
            with running(sink):
                wait_for(lambda: len(watcher.bodies("state")) == 2, 5, "the birth message")
                sink._link._client.socket().close()  # type: ignore[union-attr]  # as the kernel does with a dead process
                wait_for(lambda: len(watcher.bodies("state")) == 4, 5, "the last will and the next birth")
        words = [json.loads(body)["state"] for body in watcher.bodies("state")]
        assert words[:4] == ["disconnected", "ready", "lost", "ready"]


def test_a_wrong_password_is_named_tried_rarely_and_cured_without_loss(tmp_path: Path) -> None:
    outbox, pauses = MemoryOutbox(20), []

    def uniform(low: float, high: float) -> float:
        pauses.append((low, high))
        return 0.1

    passwords = password_file(tmp_path, "north-1", "secret")
    with Mosquitto(tmp_path, f"password_file {passwords}") as broker:
        for protocol in ("5", "3.1.1"):
            sink = a_sink(
                broker.port, outbox, uniform, username="north-1", password="wrong", protocol=protocol
            )
            with running(sink):
                wait_for(lambda: len(pauses) >= 2, 5, "two attempts")
                assert sink.status().last_error == (
                    "the broker refused the connection: not authorized; "
                    "check user name, password and the broker's access list"
                )
            assert set(pauses) == {(30.0, 60.0)}
            pauses.clear()
        with running(a_sink(broker.port, outbox, username="north-1", password="secret")) as sink:
            wait_for(drained(sink, outbox), 5, "20 records to be acknowledged")


def test_nobody_listening_is_seen_through_mqtt_5(tmp_path: Path) -> None:
    outbox = MemoryOutbox(3)
    with Mosquitto(tmp_path) as broker, running(a_sink(broker.port, outbox)) as sink:
        wait_for(drained(sink, outbox), 5, "3 records to be acknowledged")
        assert sink.status().nobody_listens
        with Subscriber(broker.port):
            outbox.add()
            sink.notify()
            wait_for(lambda: not sink.status().nobody_listens, 3, "somebody to listen")


def a_tls_broker(folder: Path, authority: Authority, files: tuple[Path, Path], *lines: str) -> Mosquitto:
    return Mosquitto(
        folder,
        "allow_anonymous true",
        f"cafile {authority.ca_file}",
        f"certfile {files[0]}",
        f"keyfile {files[1]}",
        *lines,
    )


@mark.parametrize("protocol", ["5", "3.1.1"])
def test_records_travel_over_tls_with_certificates_on_both_sides(tmp_path: Path, protocol: str) -> None:
    authority, outbox = Authority(tmp_path / "ca"), MemoryOutbox(500)
    own = authority.issue("north-1")
    tls = TlsSettings(authority.ca_file, *own)
    broker = a_tls_broker(tmp_path, authority, authority.issue("broker"), "require_certificate true")
    with broker, running(a_sink(broker.port, outbox, tls=tls, protocol=protocol)) as sink:
        wait_for(drained(sink, outbox), 8, "500 records to be acknowledged")
        assert sink.status().protocol == protocol


@mark.parametrize(
    ("days", "address", "words"),
    [
        ((-10, -1), HOST, "has expired"),
        ((1, 10), HOST, "is not valid yet"),
        ((-1, 10), "127.0.0.9", "is for another host name"),
    ],
)
def test_a_bad_certificate_of_the_broker_is_named(
    tmp_path: Path, days: tuple[int, int], address: str, words: str
) -> None:
    authority = Authority(tmp_path / "ca")
    with a_tls_broker(tmp_path, authority, authority.issue("broker", days=days, address=address)) as broker:
        error = the_error(a_sink(broker.port, MemoryOutbox(1), tls=TlsSettings(authority.ca_file)))
    assert error.startswith("the broker's certificate " + words)


def test_an_unknown_authority_is_named(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    with a_tls_broker(tmp_path, authority, authority.issue("broker")) as broker:
        error = the_error(a_sink(broker.port, MemoryOutbox(1), tls=TlsSettings(other.ca_file)))
    assert error.startswith("the broker's certificate is not signed by an authority in ")
    assert error.endswith("ca.pem")


@mark.parametrize("days", [None, (-10, -1)])
def test_a_bad_certificate_of_the_gate_is_named(tmp_path: Path, days: tuple[int, int] | None) -> None:
    authority = Authority(tmp_path / "ca")
    own = authority.issue("north-1", days=days) if days else (None, None)
    with a_tls_broker(tmp_path, authority, authority.issue("broker"), "require_certificate true") as broker:
        error = the_error(a_sink(broker.port, MemoryOutbox(1), tls=TlsSettings(authority.ca_file, *own)))
    assert "this client's own certificate" in error


def test_a_plain_port_asked_for_tls_is_named(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        error = the_error(a_sink(broker.port, MemoryOutbox(1), tls=TlsSettings(), answer_timeout_s=1.0))
    assert "is this its TLS port?" in error


def test_a_broker_that_comes_late_gets_everything(tmp_path: Path) -> None:
    outbox, seed = MemoryOutbox(100), random.randrange(2**32)
    broker = Mosquitto(tmp_path)
    with running(a_sink(broker.port, outbox)) as sink:
        wait_for(lambda: sink.status().last_error, 5, "an error")
        outbox.add(10)
        sink.notify()
        wait_for(lambda: sink.status().head == 110, 3, "the outbox to be counted while offline")
        with broker:
            wait_for(drained(sink, outbox), 5, f"110 records to be acknowledged (seed {seed})")
            sink.stop(2)


RISK, RESIDENTS = "hg/1/county/doc/risk_areas/centre", "hg/1/county/doc/residents/centre"
LARGEST = bytes(range(256)) * 2048


def _connects(client: Client, port: int) -> bool:
    try:
        client.connect(HOST, port)
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def a_centre(port: int) -> Iterator[Callable[..., Any]]:
    """Yield what publishes as the centre does; documents are retained unless told otherwise."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages = 1000
    wait_for(lambda: _connects(client, port), 5, "the broker to listen")
    client.loop_start()
    try:
        yield lambda topic, body, retain=True, qos=1: client.publish(topic, body, qos=qos, retain=retain)
    finally:
        client.disconnect()
        client.loop_stop()


@mark.parametrize("protocol", ["5", "3.1.1"])
def test_documents_arrive_when_connecting_live_and_after_the_broker_was_killed(
    tmp_path: Path, protocol: str
) -> None:
    outbox, documents, broker = MemoryOutbox(50), [], Mosquitto(tmp_path)
    with broker, a_centre(broker.port) as publish:
        for topic, body in ((RISK, b"risk 1"), ("hg/1/other/doc/risk_areas", b"x"), (f"{PREFIX}/doc", b"x")):
            publish(topic, body).wait_for_publish(5)
        sink = a_sink(broker.port, outbox, on_document=documents.append, protocol=protocol)
        with running(sink):
            wait_for(lambda: documents == [b"risk 1"], 5, "what is retained")
            publish(RESIDENTS, LARGEST).wait_for_publish(5)  # or it would be published again after the kill
            wait_for(lambda: documents[1:] == [LARGEST], 5, "what is new, to the byte")
            broker.kill()
            broker.start()
            wait_for(lambda: sink.status().reconnects == 1, 5, "the next connection")
            publish(RISK, b"risk 2")  # the broker keeps nothing over its death; the centre publishes again
            wait_for(lambda: documents[2:] == [b"risk 2"], 5, "a document on the second connection")
            wait_for(drained(sink, outbox), 5, "50 records to be acknowledged")


@mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_is_retained_comes_again_on_the_next_connection(tmp_path: Path, protocol: str) -> None:
    documents: list[bytes] = []
    with Mosquitto(tmp_path) as broker, a_centre(broker.port) as publish:
        publish(RISK, b"risk").wait_for_publish(5)
        sink = a_sink(broker.port, MemoryOutbox(), on_document=documents.append, protocol=protocol)
        with running(sink):
            wait_for(lambda: documents == [b"risk"], 5, "what is retained")
            sink._link._client.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]  # the network breaks
            wait_for(lambda: documents == [b"risk"] * 2, 5, "what is retained, once more")
            assert sink.status().reconnects == 1


@mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_document_that_is_too_large_is_dropped_and_the_next_arrives(
    tmp_path: Path, protocol: str, caplog: LogCaptureFixture
) -> None:
    outbox, documents = MemoryOutbox(50), []
    with Mosquitto(tmp_path) as broker, a_centre(broker.port) as publish:
        publish(RESIDENTS, LARGEST + b"x").wait_for_publish(5)
        publish(RISK, b"risk").wait_for_publish(5)
        with running(a_sink(broker.port, outbox, on_document=documents.append, protocol=protocol)) as sink:
            wait_for(lambda: documents == [b"risk"], 5, "the other document")
            wait_for(lambda: "is larger than 524288 bytes" in caplog.text, 5, "a word on the large one")
            wait_for(drained(sink, outbox), 5, "50 records to be acknowledged")
            assert sink.status().reconnects == 0
    assert caplog.text.count("is larger than 524288 bytes") == 1


@mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_monster_stays_at_the_broker_or_is_read_past(tmp_path: Path, protocol: str) -> None:
    outbox, documents = MemoryOutbox(300), []
    with Mosquitto(tmp_path) as broker, a_centre(broker.port) as publish:
        publish(RESIDENTS, bytes(100 << 20)).wait_for_publish(10)
        publish(RISK, b"risk").wait_for_publish(5)
        with running(a_sink(broker.port, outbox, on_document=documents.append, protocol=protocol)) as sink:
            wait_for(drained(sink, outbox), 8, "300 records to be acknowledged")
            wait_for(lambda: documents == [b"risk"], 5, "the other document")
            assert sink.status().reconnects == 0


@mark.parametrize("protocol", ["5", "3.1.1"])
@mark.parametrize("qos", [0, 1])
def test_records_go_on_through_a_flood_of_documents(tmp_path: Path, protocol: str, qos: int) -> None:
    outbox, documents = MemoryOutbox(), []
    with Mosquitto(tmp_path) as broker, a_centre(broker.port) as publish:
        with running(a_sink(broker.port, outbox, on_document=documents.append, protocol=protocol)) as sink:
            publish(RISK, b"risk").wait_for_publish(5)
            wait_for(lambda: documents, 5, "the subscription")
            for n in range(1, 301):
                publish(f"{RISK}/{n}", bytes(50_000), retain=False, qos=qos)
                outbox.add()
                sink.notify()
            wait_for(drained(sink, outbox), 8, "300 records to be acknowledged")
            wait_for(lambda: "more than 100 documents" in str(sink.status().last_error), 5, "the limit")
            assert sink.status().reconnects == 0
        assert len(documents) == 100


@mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_subscription_that_mosquitto_refuses_leaves_the_records(tmp_path: Path, protocol: str) -> None:
    plugin = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
    if plugin is None:
        skip("mosquitto_dynamic_security.so is missing")
    access = {
        "publishClientSend": True,
        "publishClientReceive": True,
        "subscribe": False,
        "unsubscribe": True,
    }
    (tmp_path / "rights.json").write_text(json.dumps({"defaultACLAccess": access}))
    outbox, documents = MemoryOutbox(50), []
    lines = f"plugin {plugin}", f"plugin_opt_config_file {tmp_path / 'rights.json'}"
    with (
        Mosquitto(tmp_path, *lines) as broker,
        running(a_sink(broker.port, outbox, on_document=documents.append, protocol=protocol)) as sink,
    ):
        words = "the broker refused the subscription to documents"
        wait_for(lambda: words in str(sink.status().last_error), 5, "the refusal")
        wait_for(drained(sink, outbox), 5, "50 records to be acknowledged")
        assert sink.status().reconnects == 0


@mark.parametrize("protocol", ["5", "3.1.1"])
def test_the_largest_document_arrives_over_tls(tmp_path: Path, protocol: str) -> None:
    authority, outbox, documents = Authority(tmp_path / "ca"), MemoryOutbox(200), []
    own = authority.issue("north-1")
    plain = free_port()
    broker = a_tls_broker(tmp_path, authority, authority.issue("broker"), f"listener {plain} {HOST}")
    with broker, a_centre(plain) as publish:
        for topic in (RISK, RESIDENTS):
            publish(topic, LARGEST).wait_for_publish(5)
        tls = TlsSettings(authority.ca_file, *own)
        sink = a_sink(broker.port, outbox, on_document=documents.append, tls=tls, protocol=protocol)
        with running(sink):
            wait_for(lambda: documents == [LARGEST] * 2, 5, "the documents")
            wait_for(drained(sink, outbox), 8, "200 records to be acknowledged")
