"""deploy/mosquitto in a real Mosquitto with real certificates: who gets in, and who may do what."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from central.clock import SystemClock
from central.enrolment.authority import load_authority, make_authority
from central.enrolment.book import EnrolmentBook
from central.enrolment.keeper import write_crl
from gate.app.identity import device_key
from gate.sinks.faults import LinkDown, TlsSettings, tls_context
from gate.sinks.mqtt import MqttSettings, MqttSink, topic_prefix
from tests.brokers import HOST, MemoryOutbox, running, wait_for
from tests.central.enrolment.enrolling import Device, a_token
from tests.integration.secure_broker import SecureBroker, central

NOT_AUTHORISED = 135
OWN = ("ev", "ev/batch", "sealed", "state", "checkpoint")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    with SecureBroker(tmp_path_factory.mktemp("secure")) as broker:
        yield broker


class Somebody:
    """A client with a certificate, by itself: not the gate's own code."""

    def __init__(self, port: int, files: dict[str, Any] | None, ca_file: Path) -> None:
        self.heard: dict[str, bytes] = {}
        self.came: list[Any] = []
        self._answered: dict[int, int] = {}
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        tls = TlsSettings(**files) if files else TlsSettings(ca_file)
        self._client.tls_set_context(tls_context(tls))
        self._client.on_connect = lambda *said: self.came.append(said[3])
        self._client.on_disconnect = lambda *said: self.came.append(said[3])
        self._client.on_message = lambda _c, _u, m: self.heard.update({m.topic: m.payload})
        self._client.on_publish = lambda _c, _u, mid, reason, _p: self._answered.update({mid: reason.value})
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._port = port

    def connect(self) -> None:
        self._client.connect(HOST, self._port)
        self._client.loop_start()
        wait_for(lambda: self.came, 5, "the broker's answer")
        if self.came[0].is_failure:
            raise ConnectionError(self.came[0])

    def listen(self, topics: str) -> None:
        self._subscribed.clear()
        self._client.subscribe(topics, 1)
        wait_for(self._subscribed.is_set, 5, "the subscription")

    def write(self, topic: str, body: bytes = b"x") -> bool:
        """Tell whether the broker takes it."""
        mid = self._client.publish(topic, body, qos=1).mid
        wait_for(lambda: mid in self._answered, 5, f"the answer to {topic}")
        assert self._answered[mid] < 128 or self._answered[mid] == NOT_AUTHORISED
        return self._answered[mid] < 128

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def client(broker: SecureBroker, files: dict[str, Any] | None) -> Iterator[Somebody]:
    somebody = Somebody(broker.port, files, broker.keys / "ca.pem")
    try:
        somebody.connect()
        yield somebody
    finally:
        somebody.close()


def comes_in(broker: SecureBroker, files: dict[str, Any] | None) -> bool:
    try:
        with client(broker, files) as somebody:
            return somebody.write("hg/1/nothing/at/all") is False
    except OSError:
        return False


def test_a_gate_writes_under_its_own_name_only(broker: SecureBroker, tmp_path: Path) -> None:
    with client(broker, broker.gate("north/gate-1", tmp_path)) as gate:
        for leaf in OWN:
            assert gate.write(f"hg/1/north/gate-1/{leaf}"), leaf
            assert not gate.write(f"hg/1/north/gate-2/{leaf}"), leaf
            assert not gate.write(f"hg/1/south/gate-1/{leaf}"), leaf
        for topic in (
            "hg/1/north/gate-1/receipt", "hg/1/north/gate-1/cmd", "hg/1/north/gate-2/cmd",
            "hg/1/north/gate-1/other", "hg/1/north/gate-1", "hg/1/north/doc/risk", "other", "$SYS/x",
        ):  # fmt: skip
            assert not gate.write(topic), topic


def test_a_gate_hears_what_is_for_it_only(broker: SecureBroker, tmp_path: Path) -> None:
    with (
        client(broker, broker.own("centre")) as centre,
        client(broker, broker.own("documents")) as documents,
        client(broker, broker.gate("north/gate-1", tmp_path / "1")) as gate,
        client(broker, broker.gate("north/gate-2", tmp_path / "2")) as neighbour,
    ):
        gate.listen("#")
        gate.listen("hg/1/north/gate-2/#")
        for name in ("gate-2", "gate-1"):  # its own last: when it is there, the other would be, too
            for leaf in ("receipt", "cmd"):
                assert centre.write(f"hg/1/north/{name}/{leaf}")
        for leaf in OWN:
            assert neighbour.write(f"hg/1/north/gate-2/{leaf}")
        assert documents.write("hg/1/north/doc/risk_areas-office")
        wait_for(lambda: "hg/1/north/doc/risk_areas-office" in gate.heard, 5, "the document")
        wait_for(lambda: len(gate.heard) >= 3, 5, "receipt and command")
        assert set(gate.heard) == {
            "hg/1/north/gate-1/receipt", "hg/1/north/gate-1/cmd", "hg/1/north/doc/risk_areas-office",
        }  # fmt: skip


def test_the_centre_may_do_what_it_needs_and_no_more(broker: SecureBroker, tmp_path: Path) -> None:
    with (
        client(broker, broker.own("centre")) as centre,
        client(broker, broker.own("reader")) as reader,
        client(broker, broker.gate("north/gate-1", tmp_path)) as gate,
    ):
        centre.listen("hg/1/#")
        reader.listen("hg/1/#")
        for leaf in OWN:
            assert gate.write(f"hg/1/north/gate-1/{leaf}")
        wanted = {f"hg/1/north/gate-1/{leaf}" for leaf in OWN}
        wait_for(lambda: wanted <= set(centre.heard), 5, "all of it at the centre")
        wait_for(lambda: len(reader.heard) == 4, 5, "what everybody may read")
        assert set(reader.heard) == wanted - {"hg/1/north/gate-1/sealed"}
        for leaf in OWN:
            assert not centre.write(f"hg/1/north/gate-1/{leaf}")
            assert not reader.write(f"hg/1/north/gate-1/{leaf}")
        assert not reader.write("hg/1/north/gate-1/cmd")
        assert not centre.write("hg/1/north/doc/risk_areas-office")


def test_nobody_comes_in_without_a_certificate_of_ours(broker: SecureBroker, tmp_path: Path) -> None:
    good = broker.gate("north/gate-1", tmp_path / "good")
    assert comes_in(broker, good)
    assert not comes_in(broker, None)
    make_authority(tmp_path / "other", SystemClock().now_ms())
    other = load_authority(tmp_path / "other")

    key = device_key(tmp_path / "good").public_key().public_bytes_raw()
    foreign = other.gate_certificate("north/gate-1", key, SystemClock().now_ms())
    (tmp_path / "foreign.pem").write_bytes(foreign.public_bytes(Encoding.PEM))
    assert not comes_in(broker, good | {"cert_file": tmp_path / "foreign.pem"})
    old = broker.authority.gate_certificate("north/gate-1", key, SystemClock().now_ms() - 91 * 86_400_000)
    (tmp_path / "old.pem").write_bytes(old.public_bytes(Encoding.PEM))
    assert not comes_in(broker, good | {"cert_file": tmp_path / "old.pem"})
    assert comes_in(broker, good)


def test_a_server_certificate_is_no_client(broker: SecureBroker) -> None:
    files = broker.files(broker.keys / "tls" / "broker.pem", broker.keys / "tls" / "broker.key")
    assert not comes_in(broker, files)


def test_a_revoked_gate_stays_out_once_the_broker_has_read_the_list(
    broker: SecureBroker, tmp_path: Path
) -> None:
    good, revoked = broker.gate("north/gate-8", tmp_path / "8"), tmp_path / "9"
    with broker.store() as store:
        book, now_ms = EnrolmentBook(store.engine), SystemClock().now_ms()
        revoked.mkdir()
        device = Device("gate-9", key=device_key(revoked))
        came = book.ask(device.asks(a_token(book, now_ms=now_ms), at_ms=now_ms), broker.authority, now_ms)

        (revoked / "gate.pem").write_bytes(came.certificate.public_bytes(Encoding.PEM))  # type: ignore[union-attr]
        files = broker.files(revoked / "gate.pem", revoked / "device.key")
        assert comes_in(broker, files)
        said = central("gates", "revoke", "north", "gate-9", "--config", broker.config)
        assert "1 key revoked" in said
        assert comes_in(broker, files), "the broker has not read it yet"
        assert "ca.crl" in broker.refresh()
        assert not comes_in(broker, files)
        assert comes_in(broker, good)
        assert not write_crl(broker.keys, broker.authority, book, SystemClock().now_ms())
    assert broker.refresh() == "", "nothing is new"


def test_a_list_made_by_a_clock_that_is_ahead_keeps_nobody_out(broker: SecureBroker, tmp_path: Path) -> None:
    kept = (broker.keys / "ca.crl").read_bytes()
    now_ms = SystemClock().now_ms()
    (broker.keys / "ca.crl").write_bytes(broker.authority.revocation_list([], now_ms + 3_600_000))
    broker.refresh()
    assert comes_in(broker, broker.gate("north/gate-1", tmp_path))
    (broker.keys / "ca.crl").write_bytes(kept)
    broker.refresh()


def test_a_renewed_broker_certificate_is_shown_after_a_reload(broker: SecureBroker, tmp_path: Path) -> None:
    def shown() -> str:
        return ssl.get_server_certificate((HOST, broker.port))

    before = shown()
    (broker.keys / "tls" / "broker.pem").unlink()
    central("enrol", "certificate", "broker", "--host", HOST, "--config", broker.config)
    assert broker.refresh().split() == ["new:", "broker.pem"]
    assert shown() != before
    assert comes_in(broker, broker.gate("north/gate-1", tmp_path))


def test_the_broker_is_known_by_its_name(broker: SecureBroker, tmp_path: Path) -> None:

    files = broker.gate("north/gate-1", tmp_path)
    for host, words in ((HOST, None), ("localhost", "another host name")):
        settings = MqttSettings(
            host=host, port=broker.port, topic_prefix=topic_prefix("north", "gate-1"), client_id="g",
            tls=TlsSettings(**files),
        )  # fmt: skip
        outbox = MemoryOutbox(20)
        with running(MqttSink(settings, outbox, state=dict, uniform=lambda _, high: min(high, 0.05))) as sink:
            if words is None:
                wait_for(lambda sink=sink: sink.status().acknowledged == 20, 8, "20 records to be taken")
            else:
                said = wait_for(lambda sink=sink: sink.status().last_error, 5, "an error")
                assert words in said


def test_the_queue_has_bounds_and_room() -> None:
    lines = dict(
        line.split(maxsplit=1)
        for line in Path("deploy/mosquitto/gate.conf").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert int(lines["max_queued_messages"]) >= 100_000, "a day of a busy hall"
    assert 0 < int(lines["max_queued_bytes"]) <= 1 << 29
    assert int(lines["message_size_limit"]) >= 512 * 1024


def test_certificates_that_do_not_fit_are_said(tmp_path: Path) -> None:
    with pytest.raises(LinkDown, match="cannot use the TLS files"):
        tls_context(TlsSettings(tmp_path / "ca.pem", tmp_path / "gate.pem", tmp_path / "device.key"))
