"""The sink against brokers of our own and a real amqtt: everything that needs no program from outside."""

import json
import logging
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest import LogCaptureFixture, mark, raises

from gate.ports import Head
from gate.sinks.mqtt import MqttSettings, MqttSink, SinkStatus, TlsSettings, topic_prefix
from tests.brokers import (
    HOST,
    AmqttBroker,
    MemoryOutbox,
    StrictBroker,
    Subscriber,
    free_port,
    running,
    wait_for,
)

PREFIX = topic_prefix("county", "north-1")


def quick(low: float, high: float) -> float:
    """Stand for chance: short pauses, but the long interval stays recognisable."""
    return min(high, 0.05) if low == 0 else low


def a_sink(
    port: int, outbox: Any, *, state: Callable[[], dict[str, object]] = dict, **settings: Any
) -> MqttSink:
    given = {
        "host": HOST,
        "topic_prefix": PREFIX,
        "client_id": "north-1",
        "answer_timeout_s": 2.0,
        **settings,
    }
    return MqttSink(MqttSettings(port=port, **given), outbox, state=state, uniform=quick)


def delivered(sink: MqttSink, outbox: MemoryOutbox) -> Callable[[], bool]:
    return lambda: sink.status().acknowledged == outbox.head().seq


def states(bodies: list[bytes]) -> list[str]:
    return [json.loads(body)["state"] for body in bodies]


@mark.parametrize("receive_maximum", [1, 10, 20])
def test_a_backlog_drains_within_the_receive_maximum_in_order(receive_maximum: int) -> None:
    outbox = MemoryOutbox(300)
    with StrictBroker(receive_maximum=receive_maximum) as broker:
        with running(a_sink(broker.port, outbox)) as sink:
            wait_for(delivered(sink, outbox), 8, "300 records to be acknowledged")
        assert broker.bodies() == outbox.bodies()
        assert broker.excess == 0
        # TCP may hold the last small packet back until the others are answered, hence one less.
        assert max(1, receive_maximum - 1) <= broker.most_open <= receive_maximum
        assert outbox.acknowledged() == 300
        assert broker.connects == [5]


def test_the_window_never_exceeds_its_setting_when_the_broker_sets_no_limit() -> None:
    outbox = MemoryOutbox(100)
    with StrictBroker() as broker:
        with running(a_sink(broker.port, outbox, window=7)) as sink:
            wait_for(delivered(sink, outbox), 5, "100 records to be acknowledged")
        assert 6 <= broker.most_open <= 7


def test_acknowledgements_in_any_order_fold_into_one_mark() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown by pytest when the test fails
    shuffler, outbox = random.Random(seed), MemoryOutbox(200)
    with StrictBroker(order=lambda mids: shuffler.sample(mids, max(1, len(mids) // 2))) as broker:
        with running(a_sink(broker.port, outbox)) as sink:
            wait_for(delivered(sink, outbox), 8, "200 records to be acknowledged")
        assert broker.bodies() == outbox.bodies()
    assert outbox.saves == sorted(outbox.saves)


def test_a_connection_that_breaks_again_and_again_loses_nothing_and_skips_nothing() -> None:
    outbox = MemoryOutbox(400)
    with StrictBroker() as broker:
        with running(a_sink(broker.port, outbox)) as sink:
            for part in (50, 120, 250):
                wait_for(lambda part=part: len(set(broker.bodies())) >= part, 5, f"{part} records")
                broker.hang_up()
            wait_for(delivered(sink, outbox), 8, "400 records to be acknowledged")
            assert sink.status().reconnects == 3
        assert list(dict.fromkeys(broker.bodies())) == outbox.bodies()
        repeated = len(broker.bodies()) - 400
        assert repeated <= 3 * 20


def test_the_mark_is_saved_in_batches() -> None:
    outbox = MemoryOutbox(1200)
    with StrictBroker() as broker, running(a_sink(broker.port, outbox)) as sink:
        wait_for(delivered(sink, outbox), 8, "1200 records to be acknowledged")
    assert outbox.saves[-1] == 1200
    assert len(outbox.saves) <= 6


def test_a_record_is_sent_when_it_is_announced_and_its_mark_saved_within_a_second() -> None:
    outbox = MemoryOutbox()
    with StrictBroker() as broker, running(a_sink(broker.port, outbox)) as sink:
        wait_for(lambda: broker.bodies("state"), 3, "the birth message")
        for n in range(1, 4):
            outbox.add()
            sink.notify()
            wait_for(lambda n=n: len(broker.bodies()) == n, 2, f"record {n}")
        wait_for(lambda: outbox.acknowledged() == 3, 3, "the mark to be saved")
        assert sink.status().oldest_unacknowledged_age_s is None


def test_a_new_sink_resumes_after_the_mark() -> None:
    outbox = MemoryOutbox(50)
    with StrictBroker() as broker:
        with running(a_sink(broker.port, outbox)) as sink:
            wait_for(delivered(sink, outbox), 5, "50 records to be acknowledged")
        outbox.add(30)
        with running(a_sink(broker.port, outbox)) as sink:
            wait_for(delivered(sink, outbox), 5, "30 more to be acknowledged")
        assert broker.bodies() == outbox.bodies()


def test_stopping_drains_first_then_says_disconnected_and_leaves_in_order() -> None:
    outbox = MemoryOutbox(200)
    with StrictBroker() as broker:
        sink = a_sink(broker.port, outbox, state=lambda: {"mode": "serving"})
        sink.start()
        wait_for(lambda: sink.status().connected, 3, "a connection")
        outbox.add(100)
        sink.notify()
        sink.stop(5)
        assert broker.bodies() == outbox.bodies()
        assert outbox.acknowledged() == 300
        assert states(broker.bodies("state")) == ["ready", "disconnected"]
        assert json.loads(broker.bodies("state")[0]) == {"mode": "serving", "v": 1, "state": "ready"}
        wait_for(lambda: broker.farewells, 1, "DISCONNECT at the broker")
        assert not sink.status().connected


def test_stopping_is_bounded_when_the_broker_acknowledges_nothing() -> None:
    outbox = MemoryOutbox(100)
    with StrictBroker() as broker:
        broker.mute.set()
        sink = a_sink(broker.port, outbox)
        sink.start()
        wait_for(broker.bodies, 3, "the first record")
        sink.stop(0.3)
        assert not sink._thread.is_alive()
        assert not broker.farewells, "with a full window the last will has to speak"


def test_stopping_does_not_wait_for_a_broker_that_never_answers() -> None:
    with StrictBroker(version_reply="mute") as broker:
        sink = a_sink(broker.port, MemoryOutbox(1), answer_timeout_s=30.0)
        sink.start()
        wait_for(lambda: broker.connects, 3, "CONNECT at the broker")
        sink.stop(5)
        assert not sink._thread.is_alive()


def test_stopping_without_a_broker_is_quick() -> None:
    sink = a_sink(free_port(), MemoryOutbox(1))
    sink.start()
    wait_for(lambda: sink.status().last_error, 3, "an error")
    sink.stop(5)
    assert not sink._thread.is_alive()
    sink.stop(5)
    a_sink(free_port(), MemoryOutbox()).stop(1)


@mark.parametrize("reply", ["0x84", "1", "hang up", "mute"])
def test_falls_back_to_3_1_1_and_remembers(reply: str) -> None:
    outbox = MemoryOutbox(40)
    with StrictBroker(version_reply=reply) as broker:
        with running(a_sink(broker.port, outbox, answer_timeout_s=0.3)) as sink:
            wait_for(delivered(sink, outbox), 5, "40 records over MQTT 3.1.1")
            assert sink.status().protocol == "3.1.1"
            broker.hang_up()
            outbox.add(10)
            wait_for(delivered(sink, outbox), 5, "10 more")
        assert broker.connects == [5, 4, 4]
        assert list(dict.fromkeys(broker.bodies())) == outbox.bodies()


def test_a_fixed_version_is_kept() -> None:
    with (
        StrictBroker(version_reply="0x84") as broker,
        running(a_sink(broker.port, MemoryOutbox(), protocol="5")) as s,
    ):
        wait_for(lambda: len(broker.connects) >= 3, 3, "three attempts")
        assert set(broker.connects) == {5}
        assert "unsupported protocol version" in (s.status().last_error or "")


def test_amqtt_with_password(tmp_path: Path) -> None:
    outbox = MemoryOutbox(100)
    with AmqttBroker(tmp_path, "north-1", "secret") as broker:
        subscriber = Subscriber(broker.port, login=("north-1", "secret"), qos=1)
        with subscriber:
            login = {"username": "north-1", "password": "secret", "answer_timeout_s": 0.5}
            with running(a_sink(broker.port, outbox, **login)) as sink:
                wait_for(lambda: len(subscriber.bodies()) == 100, 8, "100 records at the subscriber")
                assert sink.status().protocol == "3.1.1"
            assert subscriber.bodies() == outbox.bodies()
            wait_for(lambda: len(subscriber.bodies("state")) == 2, 3, "two states")
            assert states(subscriber.bodies("state")) == ["ready", "disconnected"]


def test_amqtt_with_a_wrong_password(tmp_path: Path) -> None:
    with AmqttBroker(tmp_path, "north-1", "secret") as broker:
        login = {"username": "north-1", "password": "wrong", "protocol": "3.1.1"}
        with running(a_sink(broker.port, MemoryOutbox(1), **login)) as sink:
            error = wait_for(lambda: sink.status().last_error, 5, "an error")
            assert "check user name" in error


def test_a_state_that_fails_does_not_stop_the_records() -> None:
    def broken() -> dict[str, object]:
        raise RuntimeError("no camera")

    outbox = MemoryOutbox(30)
    with StrictBroker() as broker, running(a_sink(broker.port, outbox, state=broken)) as sink:
        wait_for(delivered(sink, outbox), 5, "30 records to be acknowledged")
        sink.publish_state()
        wait_for(lambda: len(broker.bodies("state")) == 2, 3, "a second state")
        assert "no camera" in (sink.status().last_error or "")
        assert json.loads(broker.bodies("state")[1]) == {"v": 1, "state": "ready"}


def test_a_state_that_is_no_json_does_not_stop_the_records() -> None:
    outbox = MemoryOutbox(3)
    with (
        StrictBroker() as broker,
        running(a_sink(broker.port, outbox, state=lambda: {"x": object()})) as sink,
    ):
        wait_for(delivered(sink, outbox), 5, "3 records to be acknowledged")


class FailingOutbox(MemoryOutbox):
    """An outbox whose methods fail the first few times they are called."""

    def __init__(self, records: int, **failures: int) -> None:
        super().__init__(records)
        self.failures = failures

    def _fail(self, method: str) -> None:
        if self.failures.get(method, 0) > 0:
            self.failures[method] -= 1
            raise OSError(28, "No space left on device")

    def pending(self, after: int, limit: int) -> Any:
        self._fail("pending")
        return super().pending(after, limit)

    def acknowledge(self, upto: int) -> None:
        self._fail("acknowledge")
        super().acknowledge(upto)

    def acknowledged(self) -> int:
        self._fail("acknowledged")
        return super().acknowledged()

    def head(self) -> Head:
        self._fail("head")
        return super().head()


def test_an_outbox_that_fails_for_a_while_delays_delivery_only() -> None:
    outbox = FailingOutbox(30, pending=1, head=1, acknowledged=1, acknowledge=1)
    with StrictBroker() as broker, running(a_sink(broker.port, outbox)) as sink:
        wait_for(lambda: outbox._acknowledged == 30, 8, "30 records to be acknowledged")
        assert broker.bodies() == outbox.bodies()
        assert sink.status().reconnects == 0
        assert "No space left" in (sink.status().last_error or "")


def test_a_gate_without_its_ledger_still_tells_its_state() -> None:
    outbox = FailingOutbox(5, acknowledged=10**6)
    with StrictBroker() as broker:
        sink = a_sink(broker.port, outbox, state=lambda: {"fault": "ledger"})
        with running(sink, stop_s=0.1):
            wait_for(lambda: broker.bodies("state"), 3, "a state")
            assert json.loads(broker.bodies("state")[0])["fault"] == "ledger"
            assert "cannot read the ledger" in (sink.status().last_error or "")
        assert broker.bodies() == []
        assert states(broker.bodies("state")) == ["ready", "disconnected"]


def test_an_exception_in_a_callback_ends_one_connection_not_delivery(caplog: LogCaptureFixture) -> None:
    outbox = MemoryOutbox(30)
    with StrictBroker() as broker:
        sink = a_sink(broker.port, outbox)
        real, calls = sink._taken, []

        def faulty(*args: Any) -> None:
            calls.append(args)
            if len(calls) == 5:
                raise ZeroDivisionError("a bug")
            real(*args)

        sink._taken = faulty  # type: ignore[method-assign]  # the broken callback is what is tested
        with running(sink):
            wait_for(delivered(sink, outbox), 5, "30 records to be acknowledged")
            assert sink.status().reconnects == 1
        assert list(dict.fromkeys(broker.bodies())) == outbox.bodies()
    assert any(record.exc_info for record in caplog.records), "a bug is logged with its traceback"


def test_a_refused_record_stops_delivery_and_says_why() -> None:
    outbox = MemoryOutbox(5)
    refuse = [True]
    reasons = lambda body: 0x87 if refuse and body == outbox.bodies()[2] else 0  # noqa: E731 - short and used once
    with StrictBroker(puback_reason=reasons) as broker, running(a_sink(broker.port, outbox)) as sink:
        error = wait_for(lambda: sink.status().last_error, 3, "an error")
        assert error.startswith("the broker refused record 3: not authorized")
        assert sink.status().acknowledged == 2
        assert outbox.acknowledged() == 2


def test_a_refused_state_does_not_stop_the_records() -> None:
    outbox = MemoryOutbox(5)
    reasons = lambda body: 0x87 if b'"state"' in body else 0  # noqa: E731 - short and used once
    with StrictBroker(puback_reason=reasons) as broker, running(a_sink(broker.port, outbox)) as sink:
        wait_for(delivered(sink, outbox), 5, "5 records to be acknowledged")
        assert "refused the state" in (sink.status().last_error or "")


def test_says_why_the_broker_dismissed_it_and_comes_back() -> None:
    outbox = MemoryOutbox(5)
    with StrictBroker() as broker, running(a_sink(broker.port, outbox)) as sink:
        wait_for(delivered(sink, outbox), 5, "5 records to be acknowledged")
        broker.dismiss(0x8E)
        error = wait_for(lambda: sink.status().last_error, 3, "an error")
        assert "session taken over; another client uses the same client id" in error
        wait_for(lambda: sink.status().reconnects == 1, 3, "a second connection")


def test_says_when_nobody_listens() -> None:
    outbox = MemoryOutbox(5)
    with StrictBroker(puback_reason=lambda _: 0x10) as broker, running(a_sink(broker.port, outbox)) as sink:
        wait_for(delivered(sink, outbox), 5, "5 records to be acknowledged")
        assert sink.status().nobody_listens


def test_a_broker_that_answers_pings_but_acknowledges_nothing_is_left() -> None:
    outbox = MemoryOutbox(5)
    with StrictBroker() as broker:
        broker.mute.set()
        with running(a_sink(broker.port, outbox, keepalive_s=2)) as sink:
            wait_for(broker.bodies, 3, "the first record")
            error = wait_for(lambda: sink.status().last_error, 1.5 * 2, "the watchdog")
            assert "no acknowledgement" in error
            age = sink.status().oldest_unacknowledged_age_s
            assert age is not None
            assert age >= 2
            broker.mute.clear()
            wait_for(delivered(sink, outbox), 5, "5 records to be acknowledged")


def the_error(sink: MqttSink) -> SinkStatus:
    with running(sink):
        wait_for(lambda: sink.status().last_error, 8, "an error")
        return sink.status()


def test_says_that_nothing_listens() -> None:
    status = the_error(a_sink(free_port(), MemoryOutbox(7)))
    assert "nothing listens at 127.0.0.1" in (status.last_error or "")
    assert (status.connected, status.acknowledged, status.head) == (False, 0, 7)
    assert status.oldest_unacknowledged_age_s is not None


def test_says_that_the_name_is_unknown() -> None:
    status = the_error(a_sink(1883, MemoryOutbox(), host="no-such-broker.invalid"))
    assert "no address found for 'no-such-broker.invalid'" in (status.last_error or "")


def test_says_that_the_port_is_mute() -> None:
    with socket.create_server((HOST, 0)) as listener:
        status = the_error(a_sink(listener.getsockname()[1], MemoryOutbox(), answer_timeout_s=0.2))
    assert "does not answer" in (status.last_error or "")


def test_says_that_the_port_speaks_no_tls() -> None:
    with StrictBroker() as broker:
        status = the_error(a_sink(broker.port, MemoryOutbox(), tls=TlsSettings(), answer_timeout_s=0.5))
    assert "is this its TLS port?" in (status.last_error or "")


def test_says_that_a_tls_file_is_missing(tmp_path: Path) -> None:
    tls = TlsSettings(ca_file=tmp_path / "no-ca.pem")
    assert "no-ca.pem" in (the_error(a_sink(1, MemoryOutbox(), tls=tls)).last_error or "")


def test_a_fault_that_repeats_is_logged_once(caplog: LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    with running(a_sink(port, MemoryOutbox(1))) as sink:
        wait_for(lambda: sink._failures >= 4, 3, "four attempts")
    assert [record.message for record in caplog.records if "nothing listens" in record.message] == [
        f"MQTT: nothing listens at 127.0.0.1:{port}; start the broker or check the port"
    ]


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(MqttSettings("h", PREFIX, "c", password="secret"))


def test_standard_ports() -> None:
    assert MqttSettings("h", PREFIX, "c").broker_port == 1883
    assert MqttSettings("h", PREFIX, "c", tls=TlsSettings()).broker_port == 8883
    assert MqttSettings("h", PREFIX, "c", port=99).broker_port == 99


@mark.parametrize("name", ["", "a" * 33, "a/b", "+", "#", "门", "a b", "a\n"])
def test_topic_ids_are_plain(name: str) -> None:
    for site, gate in ((name, "g"), ("s", name)):
        with raises(ValueError, match="cannot be part of a topic"):
            topic_prefix(site, gate)
    assert topic_prefix("a" * 32, "Z_-9") == "hg/1/" + "a" * 32 + "/Z_-9"


def test_documents_have_a_name_beside_the_gates() -> None:
    assert MqttSettings("h", PREFIX, "c").document_prefix == "hg/1/county/doc/"
    assert topic_prefix("doc", "docs") == "hg/1/doc/docs"
    with raises(ValueError, match="a gate cannot be called 'doc'"):
        topic_prefix("county", "doc")
    with raises(ValueError, match="a gate cannot be called 'doc'"):
        MqttSettings("h", "hg/1/county/doc", "c")


@mark.parametrize(
    "wrong",
    [
        {"topic_prefix": "hg/1/site"},
        {"topic_prefix": "hg/2/site/gate"},
        {"topic_prefix": "hg/1/site/gate/ev"},
        {"client_id": ""},
        {"keepalive_s": 1},
        {"window": 0},
        {"window": 21},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with raises(ValueError, match=r"topic|client id|keepalive_s|window"):
        MqttSettings(**{"host": "h", "topic_prefix": PREFIX, "client_id": "c", **wrong})
